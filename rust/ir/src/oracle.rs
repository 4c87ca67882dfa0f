//! The slow scalar interpreter that defines what a program means: one element at a time, f64 and i64, libm's functions.
//! Results of f32 values are rounded to f32 once per instruction; the backends are tested against this.

use crate::dtype::{CType, DType, Scalar, float_to_i64};
use crate::float8;
use crate::program::{Inst, Program};
use crate::table::ScalarOp;

/// One value: integers and bools as `Int`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Val {
    Int(i64),
    Float(f64),
}

impl Val {
    pub fn float(self) -> f64 {
        match self {
            Val::Int(i) => i as f64,
            Val::Float(f) => f,
        }
    }
    pub fn int(self) -> i64 {
        match self {
            Val::Int(i) => i,
            Val::Float(f) => float_to_i64(f),
        }
    }
}

/// Runs a program on one element; `leaves` are values of the leaves' dtypes, `index` the element's logical number.
pub fn run(p: &Program, leaves: &[Val], index: i64) -> Vec<Val> {
    let mut v: Vec<Val> = Vec::with_capacity(p.values.len());
    for (inst, dtype) in &p.values {
        let r = match *inst {
            Inst::Load(n) => leaves[n as usize],
            Inst::Const(n) => {
                let s = p.consts[n as usize].scalar;
                if dtype.is_integral() { Val::Int(s.to_i64()) } else { Val::Float(round_to(s.to_f64(), dtype.ctype())) }
            }
            Inst::Index => Val::Int(index),
            Inst::Op(op, a) => {
                let t = p.ctype(if op == ScalarOp::Where { a[1] } else { a[0] });
                let x = a.map(|r| v[r as usize]);
                match t {
                    CType::F32 | CType::F64 => float_op(op, x, t),
                    CType::I32 | CType::I64 | CType::Bool => int_op(op, x, t),
                    CType::C64 | CType::C128 => Val::Float(f64::NAN),
                }
            }
            Inst::Cast(a) => cast(v[a as usize], p.dtype(a), *dtype),
        };
        v.push(r);
    }
    p.outputs.iter().map(|&o| cast(v[o as usize], p.ctype(o).dtype(), p.dtype(o))).collect()
}

fn round_to(x: f64, t: CType) -> f64 {
    match t {
        CType::F32 | CType::C64 => x as f32 as f64,
        CType::F64 | CType::C128 | CType::Bool | CType::I32 | CType::I64 => x,
    }
}

/// PyTorch's conversion between dtypes.
pub fn cast(v: Val, from: DType, to: DType) -> Val {
    let wrap = |i: i64| match to {
        DType::Bool => (i != 0) as i64,
        DType::U8 => i as u8 as i64,
        DType::I8 => i as i8 as i64,
        DType::I16 => i as i16 as i64,
        DType::I32 => i as i32 as i64,
        DType::U16 => i as u16 as i64,
        DType::U32 => i as u32 as i64,
        DType::I64
        | DType::U64
        | DType::F16
        | DType::BF16
        | DType::F32
        | DType::F64
        | DType::C64
        | DType::C128
        | DType::E4M3
        | DType::E5M2
        | DType::E4M3Z
        | DType::E5M2Z
        | DType::E8M0 => i,
    };
    // a uint64 stands as the bits of an int64
    let float = || match v {
        Val::Int(i) if from == DType::U64 => i as u64 as f64,
        Val::Int(_) | Val::Float(_) => v.float(),
    };
    match to {
        DType::Bool => Val::Int((if from.is_integral() { v.int() != 0 } else { v.float() != 0.0 }) as i64),
        // floats go to 32-bit integers directly (INT_MIN when out of range), to smaller ones by way of it
        DType::U8 | DType::I8 | DType::I16 | DType::U16 | DType::I32 => Val::Int(match v {
            Val::Int(i) => wrap(i),
            Val::Float(f) => {
                let f = f.trunc();
                wrap(if (-2147483648.0..=2147483647.0).contains(&f) { f as i64 } else { i32::MIN as i64 })
            }
        }),
        DType::I64 => Val::Int(v.int()),
        DType::U32 => Val::Int(wrap(v.int())),
        DType::U64 => Val::Int(match v {
            Val::Int(i) => i,
            Val::Float(f) => float_to_u64(f) as i64,
        }),
        DType::F16 => Val::Float(half::f16::from_f32(float() as f32).to_f64()),
        DType::BF16 => Val::Float(half::bf16::from_f32(float() as f32).to_f64()),
        DType::F32 | DType::C64 => Val::Float(float() as f32 as f64),
        DType::F64 | DType::C128 => Val::Float(float()),
        DType::E4M3 | DType::E5M2 | DType::E4M3Z | DType::E5M2Z | DType::E8M0 => {
            let byte = float8::encode(to, float() as f32).unwrap_or(0);
            Val::Float(float8::values(to)[byte as usize].into())
        }
    }
}

/// Truncation to an unsigned integer: negative numbers by way of int64, so that they wrap.
fn float_to_u64(f: f64) -> u64 {
    if f < 9.223372036854775808e18 { float_to_i64(f) as u64 } else { f as u64 }
}

/// A row on floats: its body over f64, rounded to the type once.
fn float_op(op: ScalarOp, x: [Val; 3], t: CType) -> Val {
    use float_fns::*;
    macro_rules! eval {
        ($([$name:ident $fn:ident ($($arg:ident),+; $y:ident, $g:ident) $class:ident, $body:expr, $wgsl:literal,
            [$($d:expr),+ $(,)?], $cost:literal, $ulp:literal, $doc:literal])*) => {
            match op {$(
                ScalarOp::$name => {
                    let mut args = x.iter().copied();
                    $(let $arg = F { v: args.next().unwrap_or(Val::Int(0)), t };)+
                    let r: F = $body;
                    r.v
                }
            )*}
        };
    }
    match crate::for_each_scalar_op!(eval) {
        Val::Float(f) => Val::Float(round_to(f, t)),
        Val::Int(i) => Val::Int(i),
    }
}

fn int_op(op: ScalarOp, x: [Val; 3], t: CType) -> Val {
    use int_fns::*;
    macro_rules! eval {
        ($([$name:ident $fn:ident ($($arg:ident),+; $y:ident, $g:ident) $class:ident, $body:expr, $wgsl:literal,
            [$($d:expr),+ $(,)?], $cost:literal, $ulp:literal, $doc:literal])*) => {
            match op {$(
                ScalarOp::$name => {
                    let mut args = x.iter().copied();
                    $(let $arg = I { v: args.next().unwrap_or(Val::Int(0)), t };)+
                    let r: I = $body;
                    r.v
                }
            )*}
        };
    }
    match crate::for_each_scalar_op!(eval) {
        Val::Int(i) if t == CType::I32 => Val::Int(i as i32 as i64),
        v => v,
    }
}

/// Philox4x32-10 (Salmon et al. 2011): four 32-bit words for a 64-bit key and a 128-bit counter.
pub fn philox(key: u64, counter: u64) -> [u32; 4] {
    let (mut k0, mut k1) = (key as u32, (key >> 32) as u32);
    let mut c = [counter as u32, (counter >> 32) as u32, 0u32, 0u32];
    for _ in 0..10 {
        let a = 0xD2511F53u64 * c[0] as u64;
        let b = 0xCD9E8D57u64 * c[2] as u64;
        c = [(b >> 32) as u32 ^ c[1] ^ k0, b as u32, (a >> 32) as u32 ^ c[3] ^ k1, a as u32];
        k0 = k0.wrapping_add(0x9E3779B9);
        k1 = k1.wrapping_add(0xBB67AE85);
    }
    c
}

/// Word `i % 4` of block `i / 4`.
pub fn philox_word(seed: u64, i: u64) -> u32 {
    philox(seed, i / 4)[(i % 4) as usize]
}

/// The table's functions on floats.
#[allow(clippy::float_cmp)]
mod float_fns {
    use super::{CType, Val};

    #[derive(Clone, Copy)]
    pub struct F {
        pub v: Val,
        pub t: CType,
    }
    impl F {
        fn f(self) -> f64 {
            self.v.float()
        }
        fn of(self, f: f64) -> F {
            F { v: Val::Float(f), t: self.t }
        }
        fn bool(self, b: bool) -> F {
            F { v: Val::Int(b as i64), t: self.t }
        }
    }
    macro_rules! unary {
        ($($name:ident: $f:expr;)*) => {$(
            pub fn $name(a: F) -> F {
                let f: fn(f64) -> f64 = $f;
                a.of(f(a.f()))
            }
        )*};
    }
    macro_rules! binary {
        ($($name:ident: $f:expr;)*) => {$(
            pub fn $name(a: F, b: F) -> F {
                let f: fn(f64, f64) -> f64 = $f;
                a.of(f(a.f(), b.f()))
            }
        )*};
    }
    macro_rules! compare {
        ($($name:ident: $f:expr;)*) => {$(
            pub fn $name(a: F, b: F) -> F {
                let f: fn(f64, f64) -> bool = $f;
                a.bool(f(a.f(), b.f()))
            }
        )*};
    }
    macro_rules! integers_only {
        ($($name:ident)*) => {$(
            pub fn $name(a: F, _b: F) -> F {
                a.of(f64::NAN)
            }
        )*};
    }
    unary! {
        neg: |a| -a;
        abs: |a| a.abs();
        sign: |a| if a > 0.0 { 1.0 } else if a < 0.0 { -1.0 } else { 0.0 };
        recip: |a| 1.0 / a;
        floor: |a| a.floor();
        ceil: |a| a.ceil();
        round: |a| a.round_ties_even();
        trunc: |a| a.trunc();
        exp: libm::exp;
        exp2: libm::exp2;
        expm1: libm::expm1;
        log: libm::log;
        log2: libm::log2;
        log10: libm::log10;
        log1p: libm::log1p;
        sqrt: |a| a.sqrt();
        rsqrt: |a| 1.0 / a.sqrt();
        sin: libm::sin;
        cos: libm::cos;
        tan: libm::tan;
        asin: libm::asin;
        acos: libm::acos;
        atan: libm::atan;
        sinh: libm::sinh;
        cosh: libm::cosh;
        tanh: libm::tanh;
        asinh: libm::asinh;
        // libm 0.2.16 answers a number for large negative arguments
        acosh: |a| if a < 1.0 { f64::NAN } else { libm::acosh(a) };
        atanh: libm::atanh;
        sigmoid: |a| if a >= 0.0 { 1.0 / (1.0 + libm::exp(-a)) } else { libm::exp(a) / (1.0 + libm::exp(a)) };
        erf: libm::erf;
        erfc: libm::erfc;
        erfinv: crate::oracle::special::erfinv;
        lgamma: |a| if a == f64::NEG_INFINITY { f64::INFINITY } else { libm::lgamma(a) };
        digamma: crate::oracle::special::digamma;
        trigamma: crate::oracle::special::trigamma;
    }
    binary! {
        add: |a, b| a + b;
        sub: |a, b| a - b;
        mul: |a, b| a * b;
        div: |a, b| a / b;
        trunc_div: |a, b| (a / b).trunc();
        floor_div: crate::oracle::special::floor_div;
        remainder: |a, b| {
            let m = a % b;
            if m != 0.0 && ((b < 0.0) != (m < 0.0)) { m + b } else { m }
        };
        fmod: |a, b| a % b;
        maximum: |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else if a > b { a } else { b };
        minimum: |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else if a < b { a } else { b };
        fmax: |a, b| if a.is_nan() { b } else if b.is_nan() || a > b { a } else { b };
        fmin: |a, b| if a.is_nan() { b } else if b.is_nan() || a < b { a } else { b };
        pow: libm::pow;
        atan2: libm::atan2;
        hypot: libm::hypot;
        copysign: |a, b| a.copysign(b);
    }
    compare! {
        eq: |a, b| a == b;
        ne: |a, b| a != b;
        lt: |a, b| a < b;
        le: |a, b| a <= b;
    }
    integers_only! {
        logical_and logical_or logical_xor bit_and bit_or bit_xor shl shr gcd philox_uniform philox_normal
    }
    pub fn lit(a: F, v: f64) -> F {
        a.of(super::round_to(v, a.t))
    }
    pub fn nextafter(a: F, b: F) -> F {
        a.of(match a.t {
            CType::F32 => libm::nextafterf(a.f() as f32, b.f() as f32) as f64,
            _ => libm::nextafter(a.f(), b.f()),
        })
    }
    pub fn logical_not(a: F) -> F {
        a.bool(a.f() == 0.0)
    }
    pub fn bit_not(a: F) -> F {
        a.of(f64::NAN)
    }
    pub fn isnan(a: F) -> F {
        a.bool(a.f().is_nan())
    }
    pub fn isinf(a: F) -> F {
        a.bool(a.f().is_infinite())
    }
    pub fn signbit(a: F) -> F {
        a.bool(a.f().is_sign_negative())
    }
    pub fn where_(c: F, a: F, b: F) -> F {
        if c.v.int() != 0 { a } else { b }
    }
}

/// The table's functions on integers and bools.
mod int_fns {
    use super::{CType, Val, philox_word};

    #[derive(Clone, Copy)]
    pub struct I {
        pub v: Val,
        pub t: CType,
    }
    impl I {
        fn i(self) -> i64 {
            self.v.int()
        }
        fn of(self, i: i64) -> I {
            I { v: Val::Int(i), t: self.t }
        }
        fn bits(self) -> i64 {
            if self.t == CType::I32 { 32 } else { 64 }
        }
    }
    macro_rules! unary {
        ($($name:ident: $f:expr;)*) => {$(
            pub fn $name(a: I) -> I {
                let f: fn(i64) -> i64 = $f;
                a.of(f(a.i()))
            }
        )*};
    }
    macro_rules! binary {
        ($($name:ident: $f:expr;)*) => {$(
            pub fn $name(a: I, b: I) -> I {
                let f: fn(i64, i64) -> i64 = $f;
                a.of(f(a.i(), b.i()))
            }
        )*};
    }
    macro_rules! floats_only {
        ($($name:ident)*) => {$(
            pub fn $name(a: I) -> I {
                a
            }
        )*};
    }
    unary! {
        neg: |a| a.wrapping_neg();
        abs: |a| a.wrapping_abs();
        sign: |a| a.signum();
        logical_not: |a| (a == 0) as i64;
        bit_not: |a| !a;
    }
    binary! {
        add: |a, b| a.wrapping_add(b);
        sub: |a, b| a.wrapping_sub(b);
        mul: |a, b| a.wrapping_mul(b);
        maximum: |a, b| a.max(b);
        minimum: |a, b| a.min(b);
        fmax: |a, b| a.max(b);
        fmin: |a, b| a.min(b);
        // division by zero is refused before a program runs on the CPU; here it answers 0
        trunc_div: |a, b| if b == 0 { 0 } else { a.wrapping_div(b) };
        floor_div: |a, b| {
            if b == 0 { return 0; }
            let (q, r) = (a.wrapping_div(b), a.wrapping_rem(b));
            if r != 0 && ((r < 0) != (b < 0)) { q - 1 } else { q }
        };
        remainder: |a, b| {
            if b == 0 { return 0; }
            let r = a.wrapping_rem(b);
            if r != 0 && ((r < 0) != (b < 0)) { r + b } else { r }
        };
        fmod: |a, b| if b == 0 { 0 } else { a.wrapping_rem(b) };
        pow: |a, b| if b < 0 {
            match a { 1 => 1, -1 => if b % 2 == 0 { 1 } else { -1 }, _ => 0 }
        } else {
            let (mut r, mut x, mut e) = (1i64, a, b);
            while e > 0 {
                if e & 1 == 1 { r = r.wrapping_mul(x); }
                x = x.wrapping_mul(x);
                e >>= 1;
            }
            r
        };
        eq: |a, b| (a == b) as i64;
        ne: |a, b| (a != b) as i64;
        lt: |a, b| (a < b) as i64;
        le: |a, b| (a <= b) as i64;
        logical_and: |a, b| (a != 0 && b != 0) as i64;
        logical_or: |a, b| (a != 0 || b != 0) as i64;
        logical_xor: |a, b| ((a != 0) != (b != 0)) as i64;
        bit_and: |a, b| a & b;
        bit_or: |a, b| a | b;
        bit_xor: |a, b| a ^ b;
        gcd: |a, b| {
            let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
            while b != 0 { (a, b) = (b, a % b); }
            a as i64
        };
        div: |a, _| a;
        atan2: |a, _| a;
        hypot: |a, _| a;
        copysign: |a, _| a;
        nextafter: |a, _| a;
    }
    floats_only! {
        recip floor ceil round trunc exp exp2 expm1 log log2 log10 log1p sqrt rsqrt sin cos tan asin acos atan sinh
        cosh tanh asinh acosh atanh sigmoid erf erfc erfinv lgamma digamma trigamma isnan isinf signbit
    }
    pub fn lit(a: I, v: f64) -> I {
        a.of(v as i64)
    }
    pub fn shl(a: I, b: I) -> I {
        let n = b.i();
        a.of(if (0..a.bits()).contains(&n) { a.i().wrapping_shl(n as u32) } else { 0 })
    }
    pub fn shr(a: I, b: I) -> I {
        let n = b.i();
        a.of(a.i() >> if (0..a.bits()).contains(&n) { n } else { a.bits() - 1 })
    }
    pub fn where_(c: I, a: I, b: I) -> I {
        if c.i() != 0 { a } else { b }
    }
    pub fn philox_uniform(a: I, b: I) -> I {
        let w = philox_word(a.i() as u64, b.i() as u64);
        I { v: Val::Float((w >> 8) as f64 / 16777216.0), t: a.t }
    }
    /// Box-Muller on words 2k and 2k+1 of the stream, cosine for even counters and sine for odd ones.
    pub fn philox_normal(a: I, b: I) -> I {
        let (seed, i) = (a.i() as u64, b.i() as u64);
        let u1 = ((philox_word(seed, i & !1) >> 8) as f64 + 1.0) / 16777216.0;
        let u2 = (philox_word(seed, i | 1) >> 8) as f64 / 16777216.0;
        let r = (-2.0 * u1.ln()).sqrt();
        let angle = std::f64::consts::TAU * u2;
        let z = if i & 1 == 0 { r * angle.cos() } else { r * angle.sin() };
        I { v: Val::Float(z as f32 as f64), t: a.t }
    }
}

/// Functions that libm lacks, in f64.
pub mod special {
    /// Division rounded to minus infinity as Python and PyTorch define it on floats (div_floor of c10).
    pub fn floor_div(a: f64, b: f64) -> f64 {
        if b == 0.0 {
            return a / b;
        }
        let m = a % b;
        let mut d = (a - m) / b;
        if m != 0.0 && ((b < 0.0) != (m < 0.0)) {
            d -= 1.0;
        }
        if d == 0.0 {
            return 0.0f64.copysign(a / b);
        }
        let f = d.floor();
        if d - f > 0.5 { f + 1.0 } else { f }
    }

    /// Inverse error function: Giles' starting value (2012), then Newton steps on erf.
    pub fn erfinv(y: f64) -> f64 {
        if y.is_nan() || y.abs() > 1.0 {
            return f64::NAN;
        }
        if y.abs() == 1.0 {
            return f64::INFINITY.copysign(y);
        }
        if y == 0.0 {
            return y;
        }
        let w = -libm::log1p(-y * y);
        let mut x = y.signum() * {
            // Winitzki's closed form as the start
            let a = 0.147;
            let t = 2.0 / (std::f64::consts::PI * a) - w / 2.0;
            ((t * t + w / a).sqrt() - t).sqrt()
        };
        for _ in 0..4 {
            let e = if x.abs() < 1.0 { libm::erf(x) - y } else { x.signum() * ((1.0 - y.abs()) - libm::erfc(x.abs())) };
            let slope = std::f64::consts::FRAC_2_SQRT_PI * libm::exp(-x * x);
            let step = e / slope;
            x -= step / (1.0 + x * step);
        }
        x
    }

    /// Recurrence up to 10, then the asymptotic series; reflection for negative arguments.
    pub fn digamma(x: f64) -> f64 {
        if x == 0.0 {
            return f64::INFINITY.copysign(-x);
        }
        if x < 0.0 {
            if x == x.trunc() {
                return f64::NAN;
            }
            let frac = x - x.trunc();
            return digamma(1.0 - x) - std::f64::consts::PI / libm::tan(std::f64::consts::PI * frac);
        }
        let (mut x, mut sum) = (x, 0.0);
        while x < 10.0 {
            sum -= 1.0 / x;
            x += 1.0;
        }
        let z = 1.0 / (x * x);
        let series = z
            * (1.0 / 12.0
                - z * (1.0 / 120.0
                    - z * (1.0 / 252.0
                        - z * (1.0 / 240.0 - z * (1.0 / 132.0 - z * (691.0 / 32760.0 - z * (1.0 / 12.0)))))));
        sum + libm::log(x) - 0.5 / x - series
    }

    pub fn trigamma(x: f64) -> f64 {
        if x < 0.5 {
            let s = libm::sin(std::f64::consts::PI * x);
            return -trigamma(1.0 - x) + std::f64::consts::PI * std::f64::consts::PI / (s * s);
        }
        let (mut x, mut sum) = (x, 0.0);
        while x < 10.0 {
            sum += 1.0 / (x * x);
            x += 1.0;
        }
        let z = 1.0 / (x * x);
        let series = 1.0 / 6.0
            - z * (1.0 / 30.0 - z * (1.0 / 42.0 - z * (1.0 / 30.0 - z * (5.0 / 66.0 - z * (691.0 / 2730.0)))));
        sum + 1.0 / x + z / 2.0 + series * z / x
    }
}

/// A scalar as an oracle value of a dtype.
pub fn scalar(s: Scalar, dtype: DType) -> Val {
    if dtype.is_integral() {
        cast(Val::Int(s.to_i64()), DType::I64, dtype)
    } else {
        cast(Val::Float(s.to_f64()), DType::F64, dtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_matches_the_published_vector() {
        assert_eq!(philox(0, 0), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    }

    #[test]
    fn special_functions() {
        assert!((special::digamma(1.0) + 0.5772156649015329).abs() < 1e-14);
        assert!((special::trigamma(1.0) - 1.6449340668482264).abs() < 1e-13);
        for y in [-0.999, -0.5, 1e-9, 0.3, 0.9999999] {
            assert!((libm::erf(special::erfinv(y)) - y).abs() < 1e-15 + 1e-15 * y.abs(), "{y}");
        }
    }
}
