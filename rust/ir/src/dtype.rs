//! Dtypes, their classes, PyTorch's promotion, and `Scalar`, a Python number.
//! Not here: conversions of whole buffers (the backends) or of Python objects (`rtorch-python`).

use crate::error::{Error, Result};

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

/// What is known of a dtype; a row of the list below.
struct Facts {
    name: &'static str,
    cpp_name: &'static str,
    size: usize,
    category: Category,
    ctype: CType,
    twin: DType,
}

macro_rules! dtypes {
    ($($variant:ident $name:literal $cpp:literal $size:literal $category:ident $ctype:ident $twin:ident;)*) => {
        /// Element type of a tensor, named as PyTorch names it.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DType { $($variant),* }

        impl DType {
            pub const ALL: [DType; [$(DType::$variant),*].len()] = [$(DType::$variant),*];
        }

        static FACTS: [Facts; DType::ALL.len()] = [$(Facts {
            name: $name, cpp_name: $cpp, size: $size, category: Category::$category, ctype: CType::$ctype,
            twin: DType::$twin,
        }),*];
    };
}

// name in Python and in error messages, bytes, category, compute type, and the dtype whose kernels move it; those after
// complex128 are mostly storage (`DType::is_storage`)
dtypes! {
    Bool "bool" "Bool" 1 Bool Bool Bool;
    U8 "uint8" "Byte" 1 Int I32 U8;
    I8 "int8" "Char" 1 Int I32 I8;
    I16 "int16" "Short" 2 Int I32 I16;
    I32 "int32" "Int" 4 Int I32 I32;
    I64 "int64" "Long" 8 Int I64 I64;
    F16 "float16" "Half" 2 Float F32 F16;
    BF16 "bfloat16" "BFloat16" 2 Float F32 BF16;
    F32 "float32" "Float" 4 Float F32 F32;
    F64 "float64" "Double" 8 Float F64 F64;
    C64 "complex64" "ComplexFloat" 8 Complex C64 C64;
    C128 "complex128" "ComplexDouble" 16 Complex C128 C128;
    U16 "uint16" "UInt16" 2 Int I32 I16;
    U32 "uint32" "UInt32" 4 Int I64 I32;
    U64 "uint64" "UInt64" 8 Int I64 I64;
    E4M3 "float8_e4m3fn" "Float8_e4m3fn" 1 Float F32 U8;
    E5M2 "float8_e5m2" "Float8_e5m2" 1 Float F32 U8;
    E4M3Z "float8_e4m3fnuz" "Float8_e4m3fnuz" 1 Float F32 U8;
    E5M2Z "float8_e5m2fnuz" "Float8_e5m2fnuz" 1 Float F32 U8;
    E8M0 "float8_e8m0fnu" "Float8_e8m0fnu" 1 Float F32 U8;
}

/// The storage dtypes (`DType::is_storage`) as a pattern, for matches that treat them alike.
#[macro_export]
macro_rules! storage_dtypes {
    () => {
        ($crate::DType::U16
            | $crate::DType::U32
            | $crate::DType::U64
            | $crate::DType::E4M3
            | $crate::DType::E5M2
            | $crate::DType::E4M3Z
            | $crate::DType::E5M2Z
            | $crate::DType::E8M0)
    };
}

impl DType {
    const fn facts(self) -> &'static Facts {
        &FACTS[self as usize]
    }
    /// Bytes per element.
    pub const fn size(self) -> usize {
        self.facts().size
    }
    /// PyTorch's attribute name (`float32`).
    pub const fn name(self) -> &'static str {
        self.facts().name
    }
    /// The name PyTorch uses in error messages (`Float`).
    pub const fn cpp_name(self) -> &'static str {
        self.facts().cpp_name
    }
    pub const fn category(self) -> Category {
        self.facts().category
    }
    /// The type arithmetic on this dtype runs in (PyTorch's opmath). A uint64 is the bits of an int64 there: whatever
    /// asks for more than its bits converts it first.
    pub const fn ctype(self) -> CType {
        self.facts().ctype
    }
    /// A dtype of the same size that all kernels know: what moves elements treats both alike.
    pub const fn twin(self) -> DType {
        self.facts().twin
    }
    /// The dtypes that PyTorch converts, copies and compares but has few operators for: the wider unsigned integers and
    /// the 8-bit floats. Kernels are not compiled for them.
    pub const fn is_storage(self) -> bool {
        self as u8 > DType::C128 as u8
    }
    /// The 8-bit floats.
    pub const fn is_float8(self) -> bool {
        self as u8 >= DType::E4M3 as u8
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
        !matches!(self, DType::Bool | DType::U8 | DType::U16 | DType::U32 | DType::U64 | DType::E8M0)
    }

    /// The real dtype behind a complex one; itself otherwise.
    pub fn real(self) -> DType {
        match self {
            DType::C64 => DType::F32,
            DType::C128 => DType::F64,
            real => real,
        }
    }

    /// The complex dtype over a floating one (`float16` has `complex64` here: complex32 does not exist).
    pub fn complex(self) -> DType {
        if matches!(self, DType::F64 | DType::C128) { DType::C128 } else { DType::C64 }
    }

    /// Inclusive range of an integral dtype.
    pub const fn int_range(self) -> Option<(i128, i128)> {
        let bits = self.size() as u32 * 8;
        match self.category() {
            Category::Bool => Some((0, 1)),
            Category::Int if self.is_signed() => Some((-(1 << (bits - 1)), (1 << (bits - 1)) - 1)),
            Category::Int => Some((0, (1 << bits) - 1)),
            Category::Float | Category::Complex => None,
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

/// PyTorch's `promote_types` of two dtypes (both as tensors with dimensions), or its refusal.
pub fn promote(a: DType, b: DType) -> Result<DType> {
    use DType::{BF16, Bool, C64, C128, F16, F32, F64, I8, I16, I32, I64, U8};
    if a == b {
        return Ok(a);
    }
    if a.is_storage() || b.is_storage() {
        return promote_storage(a, b);
    }
    let (lo, hi) = if a < b { (a, b) } else { (b, a) };
    Ok(match (lo, hi) {
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
    })
}

/// The wider unsigned integers meet floats alone, the 8-bit floats nothing.
fn promote_storage(a: DType, b: DType) -> Result<DType> {
    let kind = if a.is_float8() || b.is_float8() {
        "Float8 Types"
    } else {
        match (a.is_float(), b.is_float()) {
            (true, _) => return Ok(a),
            (_, true) => return Ok(b),
            (false, false) => "uint16, uint32, uint64 types",
        }
    };
    let (a, b) = (a.cpp_name(), b.cpp_name());
    Err(Error::runtime(format!("Promotion for {kind} is not supported, attempted to promote {a} and {b}")))
}

/// A Python number: enters a program at the inner precision, never rounded to the tensor's 16-bit dtype first.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Scalar {
    Bool(bool),
    Int(i64),
    /// An integer beyond int64.
    UInt(u64),
    Float(f64),
    Complex(f64, f64),
}

impl Scalar {
    /// An integer that may pass int64.
    pub fn unsigned(v: u64) -> Scalar {
        i64::try_from(v).map_or(Scalar::UInt(v), Scalar::Int)
    }
    pub fn category(self) -> Category {
        match self {
            Scalar::Bool(_) => Category::Bool,
            Scalar::Int(_) | Scalar::UInt(_) => Category::Int,
            Scalar::Float(_) => Category::Float,
            Scalar::Complex(..) => Category::Complex,
        }
    }
    /// The real part as f64.
    pub fn to_f64(self) -> f64 {
        match self {
            Scalar::Bool(b) => b as u8 as f64,
            Scalar::Int(i) => i as f64,
            Scalar::UInt(u) => u as f64,
            Scalar::Float(f) => f,
            Scalar::Complex(re, _) => re,
        }
    }
    pub fn imag(self) -> f64 {
        match self {
            Scalar::Complex(_, im) => im,
            Scalar::Bool(_) | Scalar::Int(_) | Scalar::UInt(_) | Scalar::Float(_) => 0.0,
        }
    }
    /// As i64, floats truncated (saturating; NaN gives i64::MIN as x86 and PyTorch do), what is beyond int64 wrapped.
    pub fn to_i64(self) -> i64 {
        match self {
            Scalar::Bool(b) => b as i64,
            Scalar::Int(i) => i,
            Scalar::UInt(u) => u as i64,
            Scalar::Float(f) => float_to_i64(f),
            Scalar::Complex(re, _) => float_to_i64(re),
        }
    }
    pub fn is_true(self) -> bool {
        match self {
            Scalar::Bool(b) => b,
            Scalar::Int(i) => i != 0,
            Scalar::UInt(_) => true,
            Scalar::Float(f) => f != 0.0,
            Scalar::Complex(re, im) => re != 0.0 || im != 0.0,
        }
    }
    /// Fails where PyTorch fails: an integer beyond the dtype's range, a float into a type that cannot hold it.
    pub fn check_fits(self, dt: DType, op: &str) -> Result<()> {
        let fits = match (dt.int_range(), self) {
            (Some(_), Scalar::Complex(_, im)) if im != 0.0 => false,
            (Some((lo, hi)), s) if dt != DType::Bool => match s {
                // negative numbers wrap into unsigned types in PyTorch's fills, down to the largest's negative
                Scalar::Int(i) if !dt.is_signed() => (-hi..=hi).contains(&i.into()),
                Scalar::Int(i) => (lo..=hi).contains(&i.into()),
                Scalar::UInt(u) => i128::from(u) <= hi,
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
                assert_eq!(promote(a, b).ok(), promote(b, a).ok());
            }
        }
        assert_eq!(promote(DType::U8, DType::I8).unwrap(), DType::I16);
        assert_eq!(promote(DType::U8, DType::I16).unwrap(), DType::I16);
        assert_eq!(promote(DType::I64, DType::F16).unwrap(), DType::F16);
        assert_eq!(promote(DType::F16, DType::BF16).unwrap(), DType::F32);
        assert_eq!(promote(DType::F64, DType::C64).unwrap(), DType::C128);
        assert_eq!(promote(DType::BF16, DType::C64).unwrap(), DType::C64);
    }
}
