//! One element of a vector lane: the table's functions over `F32`, `F64`, `I32`, `I64` and `B`, each with a marker of
//! the instruction set. Bodies are branch-free where they can be: LLVM vectorises the kernels' loops over them.
//! Not here: transcendental functions (`math_f32`, `math_f64`), the loops (`kernels`).

use std::marker::PhantomData;

/// What a body may count on. Without FMA hardware `mul_add` would be a call of libm, without rounding instructions
/// `floor` too.
pub trait Isa: Copy + 'static {
    const FMA: bool;
    const ROUND: bool;
    /// Vector products of 64-bit integers, and their conversions from and to f64?
    const LONG: bool;
}

#[derive(Clone, Copy)]
pub struct Baseline;
#[derive(Clone, Copy)]
pub struct Avx2;
#[derive(Clone, Copy)]
pub struct Avx512;

impl Isa for Baseline {
    const FMA: bool = cfg!(target_arch = "aarch64");
    const ROUND: bool = cfg!(target_arch = "aarch64");
    const LONG: bool = false;
}
impl Isa for Avx2 {
    const FMA: bool = true;
    const ROUND: bool = true;
    const LONG: bool = false;
}
impl Isa for Avx512 {
    const FMA: bool = true;
    const ROUND: bool = true;
    const LONG: bool = true;
}

/// A value in a lane and how it lies in memory.
pub trait Lane: Copy {
    type Mem: Copy;
    fn get(m: Self::Mem) -> Self;
    fn put(self) -> Self::Mem;
}

macro_rules! lane {
    ($name:ident, $mem:ty) => {
        #[derive(Clone, Copy)]
        pub struct $name<I: Isa>(pub $mem, PhantomData<I>);
        impl<I: Isa> Lane for $name<I> {
            type Mem = $mem;
            #[inline(always)]
            fn get(m: $mem) -> Self {
                $name(m, PhantomData)
            }
            #[inline(always)]
            fn put(self) -> $mem {
                self.0
            }
        }
    };
}
lane!(F32, f32);
lane!(F64, f64);
lane!(I32, i32);
lane!(I64, i64);

/// A bool: one byte, anything but 0 is true.
#[derive(Clone, Copy)]
pub struct B(pub bool);
impl Lane for B {
    type Mem = u8;
    #[inline(always)]
    fn get(m: u8) -> B {
        B(m != 0)
    }
    #[inline(always)]
    fn put(self) -> u8 {
        self.0 as u8
    }
}

/// Rows of classes Num and Compare.
pub trait Num: Lane {
    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    /// This and the next three are right unless `is_far`: for those lanes the kernels patch in the exact forms.
    fn floor_div(self, b: Self) -> Self;
    fn trunc_div(self, b: Self) -> Self;
    fn remainder(self, b: Self) -> Self;
    fn fmod(self, b: Self) -> Self;
    /// Is the quotient too large for one vector division, or none at all?
    fn is_far(self, b: Self) -> bool;
    fn floor_div_exact(self, b: Self) -> Self;
    fn trunc_div_exact(self, b: Self) -> Self;
    fn remainder_exact(self, b: Self) -> Self;
    fn fmod_exact(self, b: Self) -> Self;
    fn neg(self) -> Self;
    fn abs(self) -> Self;
    fn sign(self) -> Self;
    fn maximum(self, b: Self) -> Self;
    fn minimum(self, b: Self) -> Self;
    fn fmax(self, b: Self) -> Self;
    fn fmin(self, b: Self) -> Self;
    fn pow(self, b: Self) -> Self;
    fn eq(self, b: Self) -> B;
    fn ne(self, b: Self) -> B;
    fn lt(self, b: Self) -> B;
    fn le(self, b: Self) -> B;
}

/// Computes a tile: `(arguments, results)`.
pub type Tile = fn(&[f64], &mut [f64]);

/// Rows of classes Float, Round and Test.
pub trait Real: Num {
    /// A number of the type, rounded to it.
    fn lit(self, v: f64) -> Self;
    fn div(self, b: Self) -> Self;
    fn recip(self) -> Self;
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    fn round(self) -> Self;
    fn trunc(self) -> Self;
    fn exp(self) -> Self;
    fn exp2(self) -> Self;
    fn expm1(self) -> Self;
    fn log(self) -> Self;
    fn log2(self) -> Self;
    fn log10(self) -> Self;
    fn log1p(self) -> Self;
    fn sqrt(self) -> Self;
    fn rsqrt(self) -> Self;
    /// Right for |x| up to `BIG_ANGLE`, beyond which the kernels patch the lane with the exact reduction.
    fn sin(self) -> Self;
    fn cos(self) -> Self;
    fn tan(self) -> Self;
    fn asin(self) -> Self;
    fn acos(self) -> Self;
    fn atan(self) -> Self;
    fn atan2(self, b: Self) -> Self;
    fn sinh(self) -> Self;
    fn cosh(self) -> Self;
    fn tanh(self) -> Self;
    fn asinh(self) -> Self;
    fn acosh(self) -> Self;
    fn atanh(self) -> Self;
    fn hypot(self, b: Self) -> Self;
    fn sigmoid(self) -> Self;
    fn erf(self) -> Self;
    fn erfc(self) -> Self;
    fn erfinv(self) -> Self;
    fn erfcx(self) -> Self;
    /// A function that is computed by whole tiles in f64: its form for results rounded to f32, and that for f64.
    fn tile(single: Tile, double: Tile, a: &[Self::Mem], dst: &mut [Self::Mem]);
    fn copysign(self, b: Self) -> Self;
    fn nextafter(self, b: Self) -> Self;
    fn isnan(self) -> B;
    fn isinf(self) -> B;
    fn signbit(self) -> B;
    /// Is the angle beyond what `sin`, `cos` and `tan` reduce themselves?
    fn big_angle(self) -> bool;
    fn sin_big(self) -> Self;
    fn cos_big(self) -> Self;
    fn tan_big(self) -> Self;
}

/// Rows of class Int.
pub trait IntLane: Num {
    fn bit_not(self) -> Self;
    fn bit_and(self, b: Self) -> Self;
    fn bit_or(self, b: Self) -> Self;
    fn bit_xor(self, b: Self) -> Self;
    fn shl(self, b: Self) -> Self;
    fn shr(self, b: Self) -> Self;
    fn gcd(self, b: Self) -> Self;
}

/// Quotient rounded to zero and rest; 0 and 0 of a division by zero, which is refused before a program runs.
macro_rules! plain_division {
    ($name:ident, $t:ty) => {
        #[inline(always)]
        fn $name(a: $t, b: $t) -> ($t, $t) {
            if b == 0 { (0, 0) } else { (a.wrapping_div(b), a.wrapping_rem(b)) }
        }
    };
}
plain_division!(divide_i32, i32);
plain_division!(divide_i64, i64);

/// As `divide_i32` by a division of doubles, which comes in vectors: a quotient of such integers is never so near to a
/// whole number that it would be rounded to it.
// The table below names every division's instruction set, this one's too.
#[allow(clippy::extra_unused_type_parameters)]
#[inline(always)]
fn divide_i32_fast<I: Isa>(a: i32, b: i32) -> (i32, i32) {
    let d = if b == 0 || b == -1 { 1 } else { b };
    // SAFETY: at most |a|; the one quotient that does not fit, that of -1, is not computed so.
    let q: i32 = unsafe { (a as f64 / d as f64).to_int_unchecked() };
    let r = a.wrapping_sub(q.wrapping_mul(d));
    let (q, r) = if b == -1 { (a.wrapping_neg(), 0) } else { (q, r) };
    if b == 0 { (0, 0) } else { (q, r) }
}

/// As `divide_i64` where neither number is `is_long`. The quotient of doubles may be rounded up to the next whole
/// number: then the rest's sign is wrong.
#[inline(always)]
fn divide_i64_fast<I: Isa>(a: i64, b: i64) -> (i64, i64) {
    if !I::LONG {
        return divide_i64(a, b);
    }
    let long = is_long(a, b);
    let (a, b) = (if long { 0 } else { a }, if long { 1 } else { b });
    // SAFETY: at most |a|, which is below 2^52.
    let q: i64 = unsafe { (a as f64 / b as f64).to_int_unchecked() };
    let r = a.wrapping_sub(q.wrapping_mul(b));
    let over = r != 0 && (r ^ a) < 0;
    let away = (b ^ a) < 0;
    let step = if away { -1 } else { 1 };
    let back = if away { -b } else { b };
    if over { (q - step, r + back) } else { (q, r) }
}

/// Is a number beyond what doubles hold, or the division one by zero?
#[inline(always)]
fn is_long(a: i64, b: i64) -> bool {
    (a.unsigned_abs() | b.unsigned_abs()) >> 52 != 0 || b == 0
}

/// The four divisions from quotient and rest.
macro_rules! divisions {
    ($divide:expr; $floor_div:ident $trunc_div:ident $remainder:ident $fmod:ident) => {
        #[inline(always)]
        fn $floor_div(self, b: Self) -> Self {
            let (q, r) = $divide(self.0, b.0);
            Self::get(if r != 0 && ((r ^ b.0) < 0) { q - 1 } else { q })
        }
        #[inline(always)]
        fn $trunc_div(self, b: Self) -> Self {
            Self::get($divide(self.0, b.0).0)
        }
        #[inline(always)]
        fn $remainder(self, b: Self) -> Self {
            let r = $divide(self.0, b.0).1;
            Self::get(if r != 0 && ((r ^ b.0) < 0) { r + b.0 } else { r })
        }
        #[inline(always)]
        fn $fmod(self, b: Self) -> Self {
            Self::get($divide(self.0, b.0).1)
        }
    };
}

macro_rules! int_lane {
    ($name:ident, $t:ty, $bits:literal, $plain:ident, $fast:ident, $far:expr) => {
        impl<I: Isa> Num for $name<I> {
            #[inline(always)]
            fn add(self, b: Self) -> Self {
                Self::get(self.0.wrapping_add(b.0))
            }
            #[inline(always)]
            fn sub(self, b: Self) -> Self {
                Self::get(self.0.wrapping_sub(b.0))
            }
            #[inline(always)]
            fn mul(self, b: Self) -> Self {
                Self::get(self.0.wrapping_mul(b.0))
            }
            divisions!($fast::<I>; floor_div trunc_div remainder fmod);
            divisions!($plain; floor_div_exact trunc_div_exact remainder_exact fmod_exact);
            #[inline(always)]
            fn is_far(self, b: Self) -> bool {
                $far(self.0, b.0)
            }
            #[inline(always)]
            fn neg(self) -> Self {
                Self::get(self.0.wrapping_neg())
            }
            #[inline(always)]
            fn abs(self) -> Self {
                Self::get(self.0.wrapping_abs())
            }
            #[inline(always)]
            fn sign(self) -> Self {
                Self::get((self.0 > 0) as $t - (self.0 < 0) as $t)
            }
            #[inline(always)]
            fn maximum(self, b: Self) -> Self {
                Self::get(self.0.max(b.0))
            }
            #[inline(always)]
            fn minimum(self, b: Self) -> Self {
                Self::get(self.0.min(b.0))
            }
            #[inline(always)]
            fn fmax(self, b: Self) -> Self {
                self.maximum(b)
            }
            #[inline(always)]
            fn fmin(self, b: Self) -> Self {
                self.minimum(b)
            }
            #[inline(always)]
            fn pow(self, b: Self) -> Self {
                if b.0 < 0 {
                    return Self::get(match self.0 {
                        1 => 1,
                        -1 => 1 - 2 * (b.0 & 1),
                        _ => 0,
                    });
                }
                let (mut r, mut x, mut e) = (1 as $t, self.0, b.0);
                while e > 0 {
                    if e & 1 == 1 {
                        r = r.wrapping_mul(x);
                    }
                    x = x.wrapping_mul(x);
                    e >>= 1;
                }
                Self::get(r)
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
        impl<I: Isa> IntLane for $name<I> {
            #[inline(always)]
            fn bit_not(self) -> Self {
                Self::get(!self.0)
            }
            #[inline(always)]
            fn bit_and(self, b: Self) -> Self {
                Self::get(self.0 & b.0)
            }
            #[inline(always)]
            fn bit_or(self, b: Self) -> Self {
                Self::get(self.0 | b.0)
            }
            #[inline(always)]
            fn bit_xor(self, b: Self) -> Self {
                Self::get(self.0 ^ b.0)
            }
            #[inline(always)]
            fn shl(self, b: Self) -> Self {
                let shifted = self.0.wrapping_shl(b.0 as u32);
                Self::get(if (0..$bits).contains(&b.0) { shifted } else { 0 })
            }
            #[inline(always)]
            fn shr(self, b: Self) -> Self {
                let n = if (0..$bits).contains(&b.0) { b.0 } else { $bits - 1 };
                Self::get(self.0.wrapping_shr(n as u32))
            }
            #[inline(always)]
            fn gcd(self, b: Self) -> Self {
                let (mut x, mut y) = (self.0.unsigned_abs(), b.0.unsigned_abs());
                while y != 0 {
                    (x, y) = (y, x % y);
                }
                Self::get(x as $t)
            }
        }
    };
}
int_lane!(I32, i32, 32, divide_i32, divide_i32_fast, |_, _| false);
int_lane!(I64, i64, 64, divide_i64, divide_i64_fast, |a, b| I::LONG && is_long(a, b));

macro_rules! forward {
    ($bound:ident, 1: $($one:ident)*, 2: $($two:ident)*) => {
        $(#[inline(always)]
        pub fn $one<T: super::$bound>(a: T) -> T {
            a.$one()
        })*
        $(#[inline(always)]
        pub fn $two<T: super::$bound>(a: T, b: T) -> T {
            a.$two(b)
        })*
    };
}

/// The functions that the table's body column names.
pub mod functions {
    use super::{B, F32, I64, Isa, Lane};

    forward!(Num, 1: neg abs sign, 2: add sub mul floor_div trunc_div remainder fmod maximum minimum fmax fmin pow);
    forward!(Real,
        1: recip floor ceil round trunc exp exp2 expm1 log log2 log10 log1p sqrt rsqrt sin cos tan asin acos atan sinh
            cosh tanh asinh acosh atanh sigmoid erf erfc erfinv erfcx,
        2: div atan2 hypot copysign nextafter);
    forward!(IntLane, 1: bit_not, 2: bit_and bit_or bit_xor shl shr gcd);

    macro_rules! compare {
        ($($name:ident)*) => {$(
            #[inline(always)]
            pub fn $name<T: super::Num>(a: T, b: T) -> B {
                a.$name(b)
            }
        )*};
    }
    compare!(eq ne lt le);
    macro_rules! test {
        ($($name:ident)*) => {$(
            #[inline(always)]
            pub fn $name<T: super::Real>(a: T) -> B {
                a.$name()
            }
        )*};
    }
    test!(isnan isinf signbit);

    #[inline(always)]
    pub fn lit<T: super::Real>(a: T, v: f64) -> T {
        a.lit(v)
    }

    #[inline(always)]
    pub fn logical_not(a: B) -> B {
        B(!a.0)
    }
    #[inline(always)]
    pub fn logical_and(a: B, b: B) -> B {
        B(a.0 & b.0)
    }
    #[inline(always)]
    pub fn logical_or(a: B, b: B) -> B {
        B(a.0 | b.0)
    }
    #[inline(always)]
    pub fn logical_xor(a: B, b: B) -> B {
        B(a.0 ^ b.0)
    }
    #[inline(always)]
    pub fn where_<T: Lane>(c: B, a: T, b: T) -> T {
        if c.0 { a } else { b }
    }

    /// Philox4x32-10 (Salmon et al. 2011) of (key, counter): the four words, each in the low half of its lane.
    #[inline(always)]
    fn philox(key: u64, counter: u64) -> [u64; 4] {
        const LOW: u64 = 0xFFFF_FFFF;
        let (mut k0, mut k1) = (key & LOW, key >> 32);
        let (mut c0, mut c1, mut c2, mut c3) = (counter & LOW, counter >> 32, 0u64, 0u64);
        for _ in 0..10 {
            let a = 0xD251_1F53u64.wrapping_mul(c0);
            let b = 0xCD9E_8D57u64.wrapping_mul(c2);
            (c0, c1, c2, c3) = ((b >> 32) ^ c1 ^ k0, b & LOW, (a >> 32) ^ c3 ^ k1, a & LOW);
            k0 = (k0 + 0x9E37_79B9) & LOW;
            k1 = (k1 + 0xBB67_AE85) & LOW;
        }
        [c0, c1, c2, c3]
    }
    /// Word `i % 4` of block `i / 4`.
    #[inline(always)]
    fn pick(w: [u64; 4], i: u64) -> u64 {
        let low = if i & 1 == 0 { w[0] } else { w[1] };
        let high = if i & 1 == 0 { w[2] } else { w[3] };
        if i & 2 == 0 { low } else { high }
    }
    #[inline(always)]
    pub fn philox_uniform<I: Isa>(seed: I64<I>, counter: I64<I>) -> F32<I> {
        let i = counter.0 as u64;
        let w = pick(philox(seed.0 as u64, i / 4), i);
        F32::get((w >> 8) as i32 as f32 * (1.0 / 16777216.0))
    }
    /// Box-Muller on words 2k and 2k+1 of the stream: the cosine for even counters, the sine for odd ones.
    #[inline(always)]
    pub fn philox_normal<I: Isa>(seed: I64<I>, counter: I64<I>) -> F32<I> {
        use crate::simd::math_f64 as m;
        let i = counter.0 as u64;
        let w = philox(seed.0 as u64, i / 4);
        let (w1, w2) = if i & 2 == 0 { (w[0], w[1]) } else { (w[2], w[3]) };
        let u1 = ((w1 >> 8) as i32 as f64 + 1.0) * (1.0 / 16777216.0);
        let u2 = (w2 >> 8) as i32 as f64 * (1.0 / 16777216.0);
        let r = (-2.0 * m::log::<I>(u1)).sqrt();
        let (sin, cos) = m::sin_cos::<I>(std::f64::consts::TAU * u2);
        F32::get((r * if i & 1 == 0 { cos } else { sin }) as f32)
    }
}
