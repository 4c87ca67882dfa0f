//! `Num` and `Real` for f32 and f64 lanes: PyTorch's rules for NaN and signs, and which function is computed where
//! (`math_f32`, `math_f64`, or the scalar `libm` for the rare ones).

use super::lane::{B, F32, F64, Isa, Lane, Num, Real, Tile};
use super::{math_f32, math_f64};

/// The divisions of floats from their rest, whose sign is the dividend's.
macro_rules! float_divisions {
    ($t:ty, $rest:expr; $floor_div:ident $remainder:ident $fmod:ident) => {
        /// Rounded to minus infinity as c10's div_floor does.
        #[inline(always)]
        fn $floor_div(self, b: Self) -> Self {
            let (a, b) = (self.0, b.0);
            let m: $t = $rest(a, b);
            let d = (a - m) / b;
            let d = if m != 0.0 && ((b < 0.0) != (m < 0.0)) { d - 1.0 } else { d };
            let f = Self::get(d).floor().0;
            let f = if d - f > 0.5 { f + 1.0 } else { f };
            let f = if d == 0.0 { (0.0 as $t).copysign(a / b) } else { f };
            Self::get(if b == 0.0 { a / b } else { f })
        }
        #[inline(always)]
        fn $remainder(self, b: Self) -> Self {
            let m: $t = $rest(self.0, b.0);
            Self::get(if m != 0.0 && ((b.0 < 0.0) != (m < 0.0)) { m + b.0 } else { m })
        }
        #[inline(always)]
        fn $fmod(self, b: Self) -> Self {
            Self::get($rest(self.0, b.0))
        }
    };
}

macro_rules! num_float {
    ($name:ident, $t:ty, $far:literal, $pow:expr) => {
        impl<I: Isa> $name<I> {
            #[inline(always)]
            fn exact_rest(a: $t, b: $t) -> $t {
                a % b
            }
            /// a - n b for n = a / b rounded to zero, where that is not far. A rest of b has no more digits than b, so
            /// that the fused product and sum is exact; the quotient may have been rounded up to the next whole number.
            #[inline(always)]
            fn near_rest(a: $t, b: $t) -> $t {
                if !I::FMA {
                    return a % b;
                }
                let (x, y) = (a.abs(), b.abs());
                let q = (x / y).trunc();
                let r = (-q).mul_add(y, x);
                let r = if r < 0.0 { r + y } else { r };
                if x < y { a } else { r.copysign(a) }
            }
        }
        impl<I: Isa> Num for $name<I> {
            #[inline(always)]
            fn add(self, b: Self) -> Self {
                Self::get(self.0 + b.0)
            }
            #[inline(always)]
            fn sub(self, b: Self) -> Self {
                Self::get(self.0 - b.0)
            }
            #[inline(always)]
            fn mul(self, b: Self) -> Self {
                Self::get(self.0 * b.0)
            }
            float_divisions!($t, Self::near_rest; floor_div remainder fmod);
            float_divisions!($t, Self::exact_rest; floor_div_exact remainder_exact fmod_exact);
            #[inline(always)]
            fn trunc_div(self, b: Self) -> Self {
                Self::get(self.0 / b.0).trunc()
            }
            #[inline(always)]
            fn trunc_div_exact(self, b: Self) -> Self {
                self.trunc_div(b)
            }
            #[allow(clippy::neg_cmp_op_on_partial_ord)]
            #[inline(always)]
            fn is_far(self, b: Self) -> bool {
                // NaN and division by zero are far, too
                I::FMA && !((self.0 / b.0).abs() < $far)
            }
            #[inline(always)]
            fn neg(self) -> Self {
                Self::get(-self.0)
            }
            #[inline(always)]
            fn abs(self) -> Self {
                Self::get(self.0.abs())
            }
            #[inline(always)]
            fn sign(self) -> Self {
                let up = if self.0 > 0.0 { 1.0 } else { 0.0 };
                Self::get(if self.0 < 0.0 { -1.0 } else { up })
            }
            #[inline(always)]
            fn maximum(self, b: Self) -> Self {
                let y = if self.0 > b.0 { self.0 } else { b.0 };
                Self::get(if self.0.is_nan() { self.0 } else { y })
            }
            #[inline(always)]
            fn minimum(self, b: Self) -> Self {
                let y = if self.0 < b.0 { self.0 } else { b.0 };
                Self::get(if self.0.is_nan() { self.0 } else { y })
            }
            #[inline(always)]
            fn fmax(self, b: Self) -> Self {
                let y = if self.0 > b.0 { self.0 } else { b.0 };
                Self::get(if b.0.is_nan() { self.0 } else { y })
            }
            #[inline(always)]
            fn fmin(self, b: Self) -> Self {
                let y = if self.0 < b.0 { self.0 } else { b.0 };
                Self::get(if b.0.is_nan() { self.0 } else { y })
            }
            #[inline(always)]
            fn pow(self, b: Self) -> Self {
                Self::get($pow(self.0, b.0))
            }
            #[inline(always)]
            fn eq(self, b: Self) -> B {
                B(self.0 == b.0)
            }
            #[inline(always)]
            fn ne(self, b: Self) -> B {
                B(self.0 != b.0)
            }
            #[inline(always)]
            fn lt(self, b: Self) -> B {
                B(self.0 < b.0)
            }
            #[inline(always)]
            fn le(self, b: Self) -> B {
                B(self.0 <= b.0)
            }
        }
    };
}
num_float!(F32, f32, 4194304.0, math_f32::pow::<I>);
num_float!(F64, f64, 2251799813685248.0, math_f64::pow::<I>);

/// Rounding without rounding instructions: beyond `$whole` every float is an integer.
macro_rules! rounding {
    ($whole:literal) => {
        #[inline(always)]
        fn floor(self) -> Self {
            if I::ROUND {
                return Self::get(self.0.floor());
            }
            let r = self.round().0;
            Self::get((if r > self.0 { r - 1.0 } else { r }).copysign(self.0))
        }
        #[inline(always)]
        fn ceil(self) -> Self {
            if I::ROUND {
                return Self::get(self.0.ceil());
            }
            let r = self.round().0;
            Self::get((if r < self.0 { r + 1.0 } else { r }).copysign(self.0))
        }
        #[inline(always)]
        fn round(self) -> Self {
            if I::ROUND {
                return Self::get(self.0.round_ties_even());
            }
            let a = self.0.abs();
            let r = (a + $whole) - $whole;
            Self::get(if a < $whole { r.copysign(self.0) } else { self.0 })
        }
        #[inline(always)]
        fn trunc(self) -> Self {
            if I::ROUND {
                return Self::get(self.0.trunc());
            }
            let a = self.0.abs();
            let r = (a + $whole) - $whole;
            let r = if r > a { r - 1.0 } else { r };
            Self::get(if a < $whole { r.copysign(self.0) } else { self.0 })
        }
    };
}

macro_rules! calls {
    ($($name:ident $f:expr;)*) => {$(
        #[inline(always)]
        fn $name(self) -> Self {
            Self::get($f(self.0))
        }
    )*};
}

macro_rules! common {
    () => {
        #[inline(always)]
        fn div(self, b: Self) -> Self {
            Self::get(self.0 / b.0)
        }
        #[inline(always)]
        fn recip(self) -> Self {
            Self::get(1.0 / self.0)
        }
        #[inline(always)]
        fn sqrt(self) -> Self {
            Self::get(self.0.sqrt())
        }
        #[inline(always)]
        fn rsqrt(self) -> Self {
            Self::get(1.0 / self.0.sqrt())
        }
        #[inline(always)]
        fn copysign(self, b: Self) -> Self {
            Self::get(self.0.copysign(b.0))
        }
        #[inline(always)]
        fn nextafter(self, b: Self) -> Self {
            let (a, b) = (self.0, b.0);
            let away = (a < b) == (a > 0.0);
            let bits = a.to_bits();
            let step = if away { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
            let y = Self::get(f_from_bits(step)).0;
            let y = if a == 0.0 { Self::get(f_from_bits(1)).0.copysign(b) } else { y };
            let y = if a == b { b } else { y };
            Self::get(if a.is_nan() || b.is_nan() { a + b } else { y })
        }
        #[inline(always)]
        fn isnan(self) -> B {
            B(self.0.is_nan())
        }
        #[inline(always)]
        fn isinf(self) -> B {
            B(self.0.is_infinite())
        }
        #[inline(always)]
        fn signbit(self) -> B {
            B(self.0.is_sign_negative())
        }
    };
}

trait FromBits<U> {
    fn of(bits: U) -> Self;
}
impl FromBits<u32> for f32 {
    #[inline(always)]
    fn of(bits: u32) -> f32 {
        f32::from_bits(bits)
    }
}
impl FromBits<u64> for f64 {
    #[inline(always)]
    fn of(bits: u64) -> f64 {
        f64::from_bits(bits)
    }
}
#[inline(always)]
fn f_from_bits<U, F: FromBits<U>>(bits: U) -> F {
    F::of(bits)
}

/// A function of f64 for an f32: rounded once.
#[inline(always)]
fn through(f: impl Fn(f64) -> f64, x: f32) -> f32 {
    f(x as f64) as f32
}

impl<I: Isa> Real for F32<I> {
    common!();
    #[inline(always)]
    fn lit(self, v: f64) -> Self {
        Self::get(v as f32)
    }
    rounding!(8388608.0);
    calls! {
        exp math_f32::exp::<I>;
        exp2 math_f32::exp2::<I>;
        expm1 math_f32::expm1::<I>;
        log math_f32::log::<I>;
        log2 math_f32::log2::<I>;
        log10 math_f32::log10::<I>;
        log1p math_f32::log1p::<I>;
        sin math_f32::sin_quarter::<I, 0>;
        cos math_f32::sin_quarter::<I, 1>;
        tan |x| through(|x| { let (s, c) = math_f64::sin_cos::<I>(x); s / c }, x);
        asin |x| through(math_f64::asin::<I>, x);
        acos |x| through(math_f64::acos::<I>, x);
        atan |x| through(math_f64::atan::<I>, x);
        sinh math_f32::sinh::<I>;
        cosh math_f32::cosh::<I>;
        tanh math_f32::tanh::<I>;
        asinh |x| through(math_f64::asinh::<I>, x);
        acosh |x| through(math_f64::acosh::<I>, x);
        atanh math_f32::atanh::<I>;
        sigmoid math_f32::sigmoid::<I>;
        erf math_f32::erf::<I>;
        erfc math_f32::erfc::<I>;
        erfinv |x| through(math_f64::erfinv_start::<I>, x);
        erfcx |x| through(math_f64::erfcx::<I>, x);
        sin_big |x| through(libm::sin, x);
        cos_big |x| through(libm::cos, x);
        tan_big |x| through(libm::tan, x);
    }
    fn tile(f: Tile, _: Tile, a: &[f32], dst: &mut [f32]) {
        const PIECE: usize = 256;
        let (mut x, mut y) = ([0.0; PIECE], [0.0; PIECE]);
        for (a, dst) in a.chunks(PIECE).zip(dst.chunks_mut(PIECE)) {
            let n = a.len();
            for (x, &a) in x.iter_mut().zip(a) {
                *x = f64::from(a);
            }
            f(&x[..n], &mut y[..n]);
            for (d, &y) in dst.iter_mut().zip(&y) {
                *d = y as f32;
            }
        }
    }
    #[inline(always)]
    fn atan2(self, b: Self) -> Self {
        Self::get(math_f64::atan2::<I>(self.0 as f64, b.0 as f64) as f32)
    }
    #[inline(always)]
    fn hypot(self, b: Self) -> Self {
        let (x, y) = (self.0 as f64, b.0 as f64);
        let h = (x * x + y * y).sqrt() as f32;
        let infinite = self.0.is_infinite() || b.0.is_infinite();
        Self::get(if infinite { f32::INFINITY } else { h })
    }
    #[inline(always)]
    fn big_angle(self) -> bool {
        let a = self.0.abs();
        a > math_f64::BIG_ANGLE as f32 && a < f32::INFINITY
    }
}

impl<I: Isa> Real for F64<I> {
    common!();
    #[inline(always)]
    fn lit(self, v: f64) -> Self {
        Self::get(v)
    }
    rounding!(4503599627370496.0);
    calls! {
        exp math_f64::exp::<I>;
        exp2 math_f64::exp2::<I>;
        expm1 math_f64::expm1::<I>;
        log math_f64::log::<I>;
        log2 math_f64::log2::<I>;
        log10 math_f64::log10::<I>;
        log1p math_f64::log1p::<I>;
        sin |x| math_f64::sin_cos::<I>(x).0;
        cos |x| math_f64::sin_cos::<I>(x).1;
        tan |x| { let (s, c) = math_f64::sin_cos::<I>(x); s / c };
        asin math_f64::asin::<I>;
        acos math_f64::acos::<I>;
        atan math_f64::atan::<I>;
        sinh math_f64::sinh::<I>;
        cosh math_f64::cosh::<I>;
        tanh math_f64::tanh::<I>;
        asinh math_f64::asinh::<I>;
        acosh math_f64::acosh::<I>;
        atanh math_f64::atanh::<I>;
        sigmoid math_f64::sigmoid::<I>;
        erf math_f64::erf::<I>;
        erfc math_f64::erfc::<I>;
        erfinv math_f64::erfinv::<I>;
        erfcx math_f64::erfcx::<I>;
        sin_big libm::sin;
        cos_big libm::cos;
        tan_big libm::tan;
    }
    fn tile(_: Tile, f: Tile, a: &[f64], dst: &mut [f64]) {
        f(a, dst);
    }
    #[inline(always)]
    fn atan2(self, b: Self) -> Self {
        Self::get(math_f64::atan2::<I>(self.0, b.0))
    }
    #[inline(always)]
    fn hypot(self, b: Self) -> Self {
        Self::get(math_f64::hypot::<I>(self.0, b.0))
    }
    #[inline(always)]
    fn big_angle(self) -> bool {
        let a = self.0.abs();
        a > math_f64::BIG_ANGLE && a < f64::INFINITY
    }
}
