//! The Rust types behind dtypes, for kernels that are generic over them: how each is stored (`Element`), the type it
//! computes in, and plain arithmetic of a stored type (`Arith`). Which dtype runs which type is `dispatch!`; a storage
//! dtype runs its twin's, since only kernels that move elements are given one.

use half::{bf16, f16};

/// A bool as stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[repr(transparent)]
pub struct Bool(pub u8);

/// A complex number as stored.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
#[repr(C)]
pub struct Complex<T>(pub T, pub T);

/// A stored type; sums and products of it run in `C` (float for the 16-bit floats) and are rounded when stored.
pub trait Element: Copy + Default + Send + Sync + 'static {
    type C: Arith;
    fn load(self) -> Self::C;
    fn store(v: Self::C) -> Self;
}

/// Arithmetic as PyTorch's on the type: integers wrap, bools are or / and, NaN wins a maximum and a minimum.
pub trait Arith: Copy + Default + Send + Sync + PartialEq + 'static {
    fn add(self, o: Self) -> Self;
    fn mul(self, o: Self) -> Self;
    fn max(self, o: Self) -> Self;
    fn min(self, o: Self) -> Self;
}

macro_rules! identity {
    ($($t:ty),*) => {$(
        impl Element for $t {
            type C = $t;
            #[inline(always)]
            fn load(self) -> $t {
                self
            }
            #[inline(always)]
            fn store(v: $t) -> $t {
                v
            }
        }
    )*};
}
identity!(Bool, u8, i8, i16, i32, i64, f32, f64, Complex<f32>, Complex<f64>);

macro_rules! half_element {
    ($($t:ty),*) => {$(
        impl Element for $t {
            type C = f32;
            #[inline(always)]
            fn load(self) -> f32 {
                self.to_f32()
            }
            #[inline(always)]
            fn store(v: f32) -> $t {
                <$t>::from_f32(v)
            }
        }
    )*};
}
half_element!(f16, bf16);

macro_rules! int_arith {
    ($($t:ty),*) => {$(
        impl Arith for $t {
            #[inline(always)]
            fn add(self, o: $t) -> $t {
                self.wrapping_add(o)
            }
            #[inline(always)]
            fn mul(self, o: $t) -> $t {
                self.wrapping_mul(o)
            }
            #[inline(always)]
            fn max(self, o: $t) -> $t {
                Ord::max(self, o)
            }
            #[inline(always)]
            fn min(self, o: $t) -> $t {
                Ord::min(self, o)
            }
        }
    )*};
}
int_arith!(u8, i8, i16, i32, i64);

macro_rules! float_arith {
    ($($t:ty),*) => {$(
        impl Arith for $t {
            #[inline(always)]
            fn add(self, o: $t) -> $t {
                self + o
            }
            #[inline(always)]
            fn mul(self, o: $t) -> $t {
                self * o
            }
            #[inline(always)]
            fn max(self, o: $t) -> $t {
                if self > o || self.is_nan() { self } else { o }
            }
            #[inline(always)]
            fn min(self, o: $t) -> $t {
                if self < o || self.is_nan() { self } else { o }
            }
        }
        impl Arith for Complex<$t> {
            #[inline(always)]
            fn add(self, o: Self) -> Self {
                Complex(self.0 + o.0, self.1 + o.1)
            }
            #[inline(always)]
            fn mul(self, o: Self) -> Self {
                Complex(self.0 * o.0 - self.1 * o.1, self.0 * o.1 + self.1 * o.0)
            }
            // complex numbers have no order; `dispatch!` users refuse them before
            #[inline(always)]
            fn max(self, _: Self) -> Self {
                self
            }
            #[inline(always)]
            fn min(self, _: Self) -> Self {
                self
            }
        }
    )*};
}
float_arith!(f32, f64);

impl Arith for Bool {
    #[inline(always)]
    fn add(self, o: Bool) -> Bool {
        Bool(self.0 | o.0)
    }
    #[inline(always)]
    fn mul(self, o: Bool) -> Bool {
        Bool(self.0 & o.0)
    }
    #[inline(always)]
    fn max(self, o: Bool) -> Bool {
        Bool(self.0 | o.0)
    }
    #[inline(always)]
    fn min(self, o: Bool) -> Bool {
        Bool(self.0 & o.0)
    }
}

/// Runs `$body` with `$t` bound to the Rust type that stores `$dtype`.
macro_rules! dispatch {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            rtorch_ir::DType::Bool => {
                type $t = $crate::element::Bool;
                $body
            }
            rtorch_ir::DType::U8
            | rtorch_ir::DType::E4M3
            | rtorch_ir::DType::E5M2
            | rtorch_ir::DType::E4M3Z
            | rtorch_ir::DType::E5M2Z
            | rtorch_ir::DType::E8M0 => {
                type $t = u8;
                $body
            }
            rtorch_ir::DType::I8 => {
                type $t = i8;
                $body
            }
            rtorch_ir::DType::I16 | rtorch_ir::DType::U16 => {
                type $t = i16;
                $body
            }
            rtorch_ir::DType::I32 | rtorch_ir::DType::U32 => {
                type $t = i32;
                $body
            }
            rtorch_ir::DType::I64 | rtorch_ir::DType::U64 => {
                type $t = i64;
                $body
            }
            rtorch_ir::DType::F16 => {
                type $t = half::f16;
                $body
            }
            rtorch_ir::DType::BF16 => {
                type $t = half::bf16;
                $body
            }
            rtorch_ir::DType::F32 => {
                type $t = f32;
                $body
            }
            rtorch_ir::DType::F64 => {
                type $t = f64;
                $body
            }
            rtorch_ir::DType::C64 => {
                type $t = $crate::element::Complex<f32>;
                $body
            }
            rtorch_ir::DType::C128 => {
                type $t = $crate::element::Complex<f64>;
                $body
            }
        }
    };
}

/// Runs `$body` with `$t` bound to a type of `$dtype`'s size and alignment: for kernels that only move elements.
macro_rules! dispatch_size {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            rtorch_ir::DType::Bool
            | rtorch_ir::DType::U8
            | rtorch_ir::DType::I8
            | rtorch_ir::DType::E4M3
            | rtorch_ir::DType::E5M2
            | rtorch_ir::DType::E4M3Z
            | rtorch_ir::DType::E5M2Z
            | rtorch_ir::DType::E8M0 => {
                type $t = u8;
                $body
            }
            rtorch_ir::DType::I16 | rtorch_ir::DType::U16 | rtorch_ir::DType::F16 | rtorch_ir::DType::BF16 => {
                type $t = u16;
                $body
            }
            rtorch_ir::DType::I32 | rtorch_ir::DType::U32 | rtorch_ir::DType::F32 => {
                type $t = u32;
                $body
            }
            rtorch_ir::DType::I64 | rtorch_ir::DType::U64 | rtorch_ir::DType::F64 => {
                type $t = u64;
                $body
            }
            rtorch_ir::DType::C64 => {
                type $t = $crate::element::Complex<f32>;
                $body
            }
            rtorch_ir::DType::C128 => {
                type $t = $crate::element::Complex<f64>;
                $body
            }
        }
    };
}

/// Runs `$body` with `$t` bound to the Rust type of a floating dtype, `$else` for the others.
macro_rules! dispatch_float {
    ($dtype:expr, $t:ident => $body:expr, $else:expr) => {
        match $dtype {
            rtorch_ir::DType::F16 => {
                type $t = half::f16;
                $body
            }
            rtorch_ir::DType::BF16 => {
                type $t = half::bf16;
                $body
            }
            rtorch_ir::DType::F32 => {
                type $t = f32;
                $body
            }
            rtorch_ir::DType::F64 => {
                type $t = f64;
                $body
            }
            rtorch_ir::DType::Bool
            | rtorch_ir::DType::U8
            | rtorch_ir::DType::I8
            | rtorch_ir::DType::I16
            | rtorch_ir::DType::I32
            | rtorch_ir::DType::I64
            | rtorch_ir::DType::C64
            | rtorch_ir::DType::C128
            | rtorch_ir::storage_dtypes!() => $else,
        }
    };
}

/// As `dispatch!`, with `$else` for complex dtypes.
macro_rules! dispatch_real {
    ($dtype:expr, $t:ident => $body:expr, $else:expr) => {
        match $dtype {
            rtorch_ir::DType::Bool => {
                type $t = $crate::element::Bool;
                $body
            }
            rtorch_ir::DType::U8
            | rtorch_ir::DType::E4M3
            | rtorch_ir::DType::E5M2
            | rtorch_ir::DType::E4M3Z
            | rtorch_ir::DType::E5M2Z
            | rtorch_ir::DType::E8M0 => {
                type $t = u8;
                $body
            }
            rtorch_ir::DType::I8 => {
                type $t = i8;
                $body
            }
            rtorch_ir::DType::I16 | rtorch_ir::DType::U16 => {
                type $t = i16;
                $body
            }
            rtorch_ir::DType::I32 | rtorch_ir::DType::U32 => {
                type $t = i32;
                $body
            }
            rtorch_ir::DType::I64 | rtorch_ir::DType::U64 => {
                type $t = i64;
                $body
            }
            rtorch_ir::DType::F16 => {
                type $t = half::f16;
                $body
            }
            rtorch_ir::DType::BF16 => {
                type $t = half::bf16;
                $body
            }
            rtorch_ir::DType::F32 => {
                type $t = f32;
                $body
            }
            rtorch_ir::DType::F64 => {
                type $t = f64;
                $body
            }
            rtorch_ir::DType::C64 | rtorch_ir::DType::C128 => $else,
        }
    };
}
pub(crate) use {dispatch, dispatch_float, dispatch_real, dispatch_size};
