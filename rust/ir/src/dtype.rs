//! Dtypes, their classes, PyTorch's promotion, and `Scalar`, a Python number.
//! Not here: conversions of whole buffers (the backends) or of Python objects (`rtorch-python`).

use crate::error::{Error, Result};

/// Element type of a tensor, named as PyTorch names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[repr(u8)]
pub enum DType {
    Bool,
    U8,
    I8,
    I16,
    I32,
    I64,
    F16,
    BF16,
    F32,
    F64,
    C64,
    C128,
}

/// The coarse class that decides promotion: bool < integer < floating < complex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Category {
    Bool,
    Int,
    Float,
    Complex,
}

/// The few types arithmetic really runs in; storage types convert when loaded and stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum CType {
    /// One byte, 0 or 1.
    Bool,
    I32,
    I64,
    F32,
    F64,
    /// Pairs of f32 (real, imaginary).
    C64,
    /// Pairs of f64.
    C128,
}

impl DType {
    pub const ALL: [DType; 12] = [
        DType::Bool,
        DType::U8,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::F16,
        DType::BF16,
        DType::F32,
        DType::F64,
        DType::C64,
        DType::C128,
    ];

    /// Bytes per element.
    pub const fn size(self) -> usize {
        match self {
            DType::Bool | DType::U8 | DType::I8 => 1,
            DType::I16 | DType::F16 | DType::BF16 => 2,
            DType::I32 | DType::F32 => 4,
            DType::I64 | DType::F64 | DType::C64 => 8,
            DType::C128 => 16,
        }
    }

    /// PyTorch's attribute name (`float32`).
    pub const fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::U8 => "uint8",
            DType::I8 => "int8",
            DType::I16 => "int16",
            DType::I32 => "int32",
            DType::I64 => "int64",
            DType::F16 => "float16",
            DType::BF16 => "bfloat16",
            DType::F32 => "float32",
            DType::F64 => "float64",
            DType::C64 => "complex64",
            DType::C128 => "complex128",
        }
    }

    /// The name PyTorch uses in error messages (`Float`).
    pub const fn cpp_name(self) -> &'static str {
        match self {
            DType::Bool => "Bool",
            DType::U8 => "Byte",
            DType::I8 => "Char",
            DType::I16 => "Short",
            DType::I32 => "Int",
            DType::I64 => "Long",
            DType::F16 => "Half",
            DType::BF16 => "BFloat16",
            DType::F32 => "Float",
            DType::F64 => "Double",
            DType::C64 => "ComplexFloat",
            DType::C128 => "ComplexDouble",
        }
    }

    pub const fn category(self) -> Category {
        match self {
            DType::Bool => Category::Bool,
            DType::U8 | DType::I8 | DType::I16 | DType::I32 | DType::I64 => Category::Int,
            DType::F16 | DType::BF16 | DType::F32 | DType::F64 => Category::Float,
            DType::C64 | DType::C128 => Category::Complex,
        }
    }

    /// The type arithmetic on this dtype runs in (PyTorch's opmath).
    pub const fn ctype(self) -> CType {
        match self {
            DType::Bool => CType::Bool,
            DType::U8 | DType::I8 | DType::I16 | DType::I32 => CType::I32,
            DType::I64 => CType::I64,
            DType::F16 | DType::BF16 | DType::F32 => CType::F32,
            DType::F64 => CType::F64,
            DType::C64 => CType::C64,
            DType::C128 => CType::C128,
        }
    }

    pub const fn is_float(self) -> bool {
        matches!(self.category(), Category::Float)
    }
    pub const fn is_complex(self) -> bool {
        matches!(self.category(), Category::Complex)
    }
    /// Integers without bool.
    pub const fn is_int(self) -> bool {
        matches!(self.category(), Category::Int)
    }
    /// Integers and bool.
    pub const fn is_integral(self) -> bool {
        matches!(self.category(), Category::Int | Category::Bool)
    }
    /// Dtypes that can require grad.
    pub const fn is_differentiable(self) -> bool {
        matches!(self.category(), Category::Float | Category::Complex)
    }
    pub const fn is_signed(self) -> bool {
        !matches!(self, DType::Bool | DType::U8)
    }

    /// The real dtype behind a complex one; itself otherwise.
    pub const fn real(self) -> DType {
        match self {
            DType::C64 => DType::F32,
            DType::C128 => DType::F64,
            DType::Bool
            | DType::U8
            | DType::I8
            | DType::I16
            | DType::I32
            | DType::I64
            | DType::F16
            | DType::BF16
            | DType::F32
            | DType::F64 => self,
        }
    }

    /// The complex dtype over a floating one (`float16` has `complex64` here: complex32 does not exist).
    pub const fn complex(self) -> DType {
        match self {
            DType::F64 | DType::C128 => DType::C128,
            DType::Bool
            | DType::U8
            | DType::I8
            | DType::I16
            | DType::I32
            | DType::I64
            | DType::F16
            | DType::BF16
            | DType::F32
            | DType::C64 => DType::C64,
        }
    }

    /// Inclusive range of an integral dtype as i64.
    pub const fn int_range(self) -> Option<(i64, i64)> {
        match self {
            DType::Bool => Some((0, 1)),
            DType::U8 => Some((0, 255)),
            DType::I8 => Some((-128, 127)),
            DType::I16 => Some((-32768, 32767)),
            DType::I32 => Some((i32::MIN as i64, i32::MAX as i64)),
            DType::I64 => Some((i64::MIN, i64::MAX)),
            DType::F16 | DType::BF16 | DType::F32 | DType::F64 | DType::C64 | DType::C128 => None,
        }
    }

    /// Can a result of this dtype be written to a tensor of `to` in place? PyTorch: not down a category.
    pub fn can_cast_to(self, to: DType) -> bool {
        let (a, b) = (self.category(), to.category());
        match a {
            Category::Complex => b == Category::Complex,
            Category::Float => b >= Category::Float,
            Category::Int => b >= Category::Int,
            Category::Bool => true,
        }
    }

    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|d| d.name() == name)
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "torch.{}", self.name())
    }
}

impl CType {
    /// Bytes of one value in a tile register.
    pub const fn size(self) -> usize {
        match self {
            CType::Bool => 1,
            CType::I32 | CType::F32 => 4,
            CType::I64 | CType::F64 | CType::C64 => 8,
            CType::C128 => 16,
        }
    }
    /// The dtype whose values are stored exactly as this compute type.
    pub const fn dtype(self) -> DType {
        match self {
            CType::Bool => DType::Bool,
            CType::I32 => DType::I32,
            CType::I64 => DType::I64,
            CType::F32 => DType::F32,
            CType::F64 => DType::F64,
            CType::C64 => DType::C64,
            CType::C128 => DType::C128,
        }
    }
}

/// PyTorch's `promote_types` of two dtypes (both as tensors with dimensions).
pub fn promote(a: DType, b: DType) -> DType {
    use DType::{BF16, Bool, C64, C128, F16, F32, F64, I8, I16, I32, I64, U8};
    if a == b {
        return a;
    }
    let (lo, hi) = if a < b { (a, b) } else { (b, a) };
    match (lo, hi) {
        (Bool, x) => x,
        // uint8 with a signed type: the smallest signed type that holds both
        (U8, I8) => I16,
        (U8 | I8 | I16 | I32 | I64, I8 | I16 | I32 | I64) => hi,
        (U8 | I8 | I16 | I32 | I64, F16 | BF16 | F32 | F64 | C64 | C128) => hi,
        (F16, BF16) => F32,
        (F16 | BF16 | F32, F32 | F64) => hi,
        (F16 | BF16 | F32, C64) => C64,
        (F64, C64) => C128,
        (_, C128) => C128,
        (x, _) => x,
    }
}

/// A Python number: enters a program at the inner precision, never rounded to the tensor's 16-bit dtype first.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Scalar {
    Bool(bool),
    Int(i64),
    Float(f64),
    Complex(f64, f64),
}

impl Scalar {
    pub fn category(self) -> Category {
        match self {
            Scalar::Bool(_) => Category::Bool,
            Scalar::Int(_) => Category::Int,
            Scalar::Float(_) => Category::Float,
            Scalar::Complex(..) => Category::Complex,
        }
    }
    /// The real part as f64.
    pub fn to_f64(self) -> f64 {
        match self {
            Scalar::Bool(b) => b as u8 as f64,
            Scalar::Int(i) => i as f64,
            Scalar::Float(f) => f,
            Scalar::Complex(re, _) => re,
        }
    }
    pub fn imag(self) -> f64 {
        match self {
            Scalar::Complex(_, im) => im,
            Scalar::Bool(_) | Scalar::Int(_) | Scalar::Float(_) => 0.0,
        }
    }
    /// As i64, floats truncated (saturating; NaN gives i64::MIN as x86 and PyTorch do).
    pub fn to_i64(self) -> i64 {
        match self {
            Scalar::Bool(b) => b as i64,
            Scalar::Int(i) => i,
            Scalar::Float(f) => float_to_i64(f),
            Scalar::Complex(re, _) => float_to_i64(re),
        }
    }
    pub fn is_true(self) -> bool {
        match self {
            Scalar::Bool(b) => b,
            Scalar::Int(i) => i != 0,
            Scalar::Float(f) => f != 0.0,
            Scalar::Complex(re, im) => re != 0.0 || im != 0.0,
        }
    }
    /// Fails where PyTorch fails: an integer beyond the dtype's range, a float into a type that cannot hold it.
    pub fn check_fits(self, dt: DType, op: &str) -> Result<()> {
        let fits = match (dt.int_range(), self) {
            (Some(_), Scalar::Complex(_, im)) if im != 0.0 => false,
            (Some((lo, hi)), s) if dt != DType::Bool => match s {
                // negative numbers wrap into uint8 in PyTorch's fills; the lower limit is that of the signed type
                Scalar::Int(i) if dt == DType::U8 => (-255..=hi).contains(&i),
                Scalar::Int(i) => (lo..=hi).contains(&i),
                Scalar::Float(f) | Scalar::Complex(f, _) => f.is_finite() && f >= lo as f64 - 1.0 && f <= hi as f64,
                Scalar::Bool(_) => true,
            },
            (None, Scalar::Complex(_, im)) => dt.is_complex() || im == 0.0,
            _ => true,
        };
        if fits {
            return Ok(());
        }
        Err(Error::runtime(format!(
            "{op}: value cannot be converted to type {} without overflow",
            dt.cpp_name().to_lowercase()
        )))
    }
}

/// Truncation as x86's cvttsd2si: out of range and NaN give i64::MIN.
pub fn float_to_i64(f: f64) -> i64 {
    if (-9.223372036854775808e18..9.223372036854775808e18).contains(&f) { f as i64 } else { i64::MIN }
}

impl From<bool> for Scalar {
    fn from(v: bool) -> Self {
        Scalar::Bool(v)
    }
}
impl From<i64> for Scalar {
    fn from(v: i64) -> Self {
        Scalar::Int(v)
    }
}
impl From<f64> for Scalar {
    fn from(v: f64) -> Self {
        Scalar::Float(v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promotion_is_commutative_and_matches_pytorch() {
        for a in DType::ALL {
            for b in DType::ALL {
                assert_eq!(promote(a, b), promote(b, a));
            }
        }
        assert_eq!(promote(DType::U8, DType::I8), DType::I16);
        assert_eq!(promote(DType::U8, DType::I16), DType::I16);
        assert_eq!(promote(DType::I64, DType::F16), DType::F16);
        assert_eq!(promote(DType::F16, DType::BF16), DType::F32);
        assert_eq!(promote(DType::F64, DType::C64), DType::C128);
        assert_eq!(promote(DType::BF16, DType::C64), DType::C64);
    }
}
