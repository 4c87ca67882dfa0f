//! Transforms of the generator's bits into typed slices, element by element as PyTorch's CPU kernels do: which draws
//! are 32 and which 64 bits, and in which precision each formula runs, is part of the stream. See `../random.rs`.

use half::{bf16, f16};
use rtorch_ir::{Result, ensure};

use super::box_muller;
use super::mt19937::Mt19937;
use crate::threads::parallel_for;
use crate::versions::versions;
use crate::walk::Base;

/// Draws made at a time: the bits stay in the L1 cache.
const CHUNK: usize = 1024;
/// The same for slow functions, and how many of their elements are worth a thread.
const SLOW_CHUNK: usize = 1 << 15;
const SLOW_GRAIN: usize = 1 << 10;
/// Ranges from here on take 64 bits a draw (PyTorch's threshold: the bias of the remainder).
const WIDE_RANGE: u64 = 1 << 28;

/// A bool as stored.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
#[repr(transparent)]
pub struct Bool(pub u8);

/// A type that draws are stored as.
pub trait Item: Copy + Default + Send + Sync {
    /// C++'s conversions from the type a transform runs in.
    fn from_f64(v: f64) -> Self;
    fn from_i64(v: i64) -> Self;
    fn from_bool(v: bool) -> Self;
    /// Largest value of `random_()` plus one, and whether it takes 64 bits.
    const RANDOM: (u64, bool);
}

macro_rules! int_item {
    ($($t:ty, $wide:expr);*) => {$(
        impl Item for $t {
            fn from_f64(v: f64) -> Self {
                rtorch_ir::dtype::float_to_i64(v) as $t
            }
            fn from_i64(v: i64) -> Self {
                v as $t
            }
            fn from_bool(v: bool) -> Self {
                v as $t
            }
            const RANDOM: (u64, bool) = (<$t>::MAX as u64 + 1, $wide);
        }
    )*};
}
int_item!(u8, false; i8, false; i16, false; i32, false; i64, true);

impl Item for Bool {
    fn from_f64(v: f64) -> Self {
        Bool((v != 0.0) as u8)
    }
    fn from_i64(v: i64) -> Self {
        Bool((v != 0) as u8)
    }
    fn from_bool(v: bool) -> Self {
        Bool(v as u8)
    }
    const RANDOM: (u64, bool) = (2, false);
}

macro_rules! float_item {
    ($($t:ty, $from64:expr, $from_int:expr, $digits:expr, $wide:expr);*) => {$(
        impl Item for $t {
            fn from_f64(v: f64) -> Self {
                $from64(v)
            }
            fn from_i64(v: i64) -> Self {
                $from_int(v)
            }
            fn from_bool(v: bool) -> Self {
                $from_int(v as i64)
            }
            const RANDOM: (u64, bool) = ((1 << $digits) + 1, $wide);
        }
    )*};
}
// 16-bit floats are made from a float, as C++'s static_cast does
float_item!(
    f16, |v: f64| f16::from_f32(v as f32), |v: i64| f16::from_f32(v as f32), 11, false;
    bf16, |v: f64| bf16::from_f32(v as f32), |v: i64| bf16::from_f32(v as f32), 8, false;
    f32, |v: f64| v as f32, |v: i64| v as f32, 24, false;
    f64, |v: f64| v, |v: i64| v as f64, 53, true
);

/// A floating type that draws are stored as.
pub trait Real: Item + PartialEq {
    const HIGHEST: f64;
    /// PyTorch's name of the type in messages.
    const CPP_NAME: &'static str;
    fn to_f64(self) -> f64;
    /// A uniform draw of the type's own precision (16-bit types: float's), scaled.
    fn uniform(rng: &mut Mt19937, out: &mut [Self], from: f64, to: f64);
    /// Box-Muller over whole blocks, at least one.
    fn normal_blocks(rng: &mut Mt19937, out: &mut [Self], mean: f64, std: f64);
}

impl Real for f32 {
    const HIGHEST: f64 = f32::MAX as f64;
    const CPP_NAME: &'static str = "float";
    fn to_f64(self) -> f64 {
        self as f64
    }
    fn uniform(rng: &mut Mt19937, out: &mut [f32], from: f64, to: f64) {
        uniform32(rng, out, from as f32, to as f32, |v| v);
    }
    fn normal_blocks(rng: &mut Mt19937, out: &mut [f32], mean: f64, std: f64) {
        box_muller::normal_f32(rng, out, mean as f32, std as f32, true);
    }
}

impl Real for f64 {
    const HIGHEST: f64 = f64::MAX;
    const CPP_NAME: &'static str = "double";
    fn to_f64(self) -> f64 {
        self
    }
    fn uniform(rng: &mut Mt19937, out: &mut [f64], from: f64, to: f64) {
        each64(rng, out, |bits| {
            let v = unit64(bits) * (to - from) + from;
            if v == to { from } else { v }
        });
    }
    fn normal_blocks(rng: &mut Mt19937, out: &mut [f64], mean: f64, std: f64) {
        box_muller::normal_f64(rng, out, mean, std);
    }
}

macro_rules! half_real {
    ($t:ty, $highest:expr, $name:literal) => {
        impl Real for $t {
            const HIGHEST: f64 = $highest;
            const CPP_NAME: &'static str = $name;
            fn to_f64(self) -> f64 {
                self.to_f32() as f64
            }
            fn uniform(rng: &mut Mt19937, out: &mut [$t], from: f64, to: f64) {
                uniform32(rng, out, from as f32, to as f32, <$t>::from_f32);
            }
            fn normal_blocks(rng: &mut Mt19937, out: &mut [$t], mean: f64, std: f64) {
                // in float, rounded once
                let mut tmp = vec![0f32; out.len()];
                box_muller::normal_f32(rng, &mut tmp, mean as f32, std as f32, false);
                for (o, v) in out.iter_mut().zip(tmp) {
                    *o = <$t>::from_f32(v);
                }
            }
        }
    };
}
half_real!(f16, 65504.0, "at::Half");
half_real!(bf16, 3.3895313892515355e38, "at::BFloat16");

/// A double as C++'s ostream prints it (six significant digits).
pub fn cpp_number(v: f64) -> String {
    let s = format!("{v:.5e}");
    let (mantissa, exp) = s.split_once('e').unwrap_or((&s, "0"));
    let exp: i32 = exp.parse().unwrap_or(0);
    let trim = |s: &str| match s.contains('.') {
        true => s.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => s.to_string(),
    };
    if !v.is_finite() {
        return if v.is_nan() { "nan".into() } else { if v > 0.0 { "inf" } else { "-inf" }.into() };
    }
    if (-4..6).contains(&exp) {
        trim(&format!("{v:.*}", (5 - exp).max(0) as usize))
    } else {
        format!("{}e{}{:02}", trim(mantissa), if exp < 0 { '-' } else { '+' }, exp.abs())
    }
}

// ---- bits

/// [0, 1) with 24 bits.
#[inline(always)]
pub fn unit32(bits: u32) -> f32 {
    (bits & 0xff_ffff) as f32 * (1.0 / 16777216.0)
}

/// [0, 1) with 53 bits.
#[inline(always)]
pub fn unit64(bits: u64) -> f64 {
    (bits & ((1 << 53) - 1)) as f64 * (1.0 / 9007199254740992.0)
}

/// One 32-bit draw for each element.
#[inline(always)]
pub fn each32<T>(rng: &mut Mt19937, out: &mut [T], f: impl Fn(u32) -> T) {
    let mut bits = [0u32; CHUNK];
    for block in out.chunks_mut(CHUNK) {
        let bits = &mut bits[..block.len()];
        rng.fill_u32(bits);
        for (o, &b) in block.iter_mut().zip(bits.iter()) {
            *o = f(b);
        }
    }
}

/// One 64-bit draw for each element.
#[inline(always)]
pub fn each64<T>(rng: &mut Mt19937, out: &mut [T], f: impl Fn(u64) -> T) {
    let mut bits = [0u32; 2 * CHUNK];
    for block in out.chunks_mut(CHUNK) {
        let bits = &mut bits[..2 * block.len()];
        rng.fill_u32(bits);
        for (o, b) in block.iter_mut().zip(bits.chunks_exact(2)) {
            *o = f((b[0] as u64) << 32 | b[1] as u64);
        }
    }
}

/// As `each64`, for functions that take long: bits are drawn in order, the functions run on several threads.
fn each64_slow<T: Item>(rng: &mut Mt19937, out: &mut [T], f: impl Fn(u64) -> T + Sync) {
    let mut bits = vec![0u32; 2 * SLOW_CHUNK.min(out.len())];
    for block in out.chunks_mut(SLOW_CHUNK) {
        rng.fill_u32(&mut bits[..2 * block.len()]);
        let (bits, to) = (&bits, Base::new(block.as_mut_ptr().cast()));
        parallel_for(block.len(), SLOW_GRAIN, &|range| {
            for i in range {
                let v = f((bits[2 * i] as u64) << 32 | bits[2 * i + 1] as u64);
                // SAFETY: an element of the block, this thread's own.
                unsafe { *to.at::<T>((i * size_of::<T>()) as isize) = v };
            }
        });
    }
}

versions!(
    fn uniform32[T: Real, F: Fn(f32) -> T](rng: &mut Mt19937, out: &mut [T], from: f32, to: f32, round: F) =
        uniform_body::<T, F>
);

#[inline(always)]
fn uniform_body<T: Real, F: Fn(f32) -> T>(rng: &mut Mt19937, out: &mut [T], from: f32, to: f32, round: F) {
    // a result that rounds to `to` becomes `from`: the interval is half open in the stored type too
    let (low, high) = (round(from), round(to));
    each32(rng, out, |bits| {
        let v = round(unit32(bits) * (to - from) + from);
        if v == high { low } else { v }
    });
}

// ---- distributions

pub fn uniform<T: Real>(rng: &mut Mt19937, out: &mut [T], from: f64, to: f64) {
    T::uniform(rng, out, from, to);
}

/// One normal draw in double precision, the sine of each pair kept for the next call.
pub fn normal_one(rng: &mut Mt19937, mean: f64, std: f64) -> f64 {
    let z = rng.take_normal().unwrap_or_else(|| {
        let u1 = unit64(rng.random64());
        let u2 = unit64(rng.random64());
        let r = (-2.0 * (-u2).ln_1p()).sqrt();
        let theta = 2.0 * std::f64::consts::PI * u1;
        rng.keep_normal(r * theta.sin());
        r * theta.cos()
    });
    z * std + mean
}

pub fn normal<T: Real>(rng: &mut Mt19937, out: &mut [T], mean: f64, std: f64) {
    for o in out {
        *o = T::from_f64(normal_one(rng, mean, std));
    }
}

pub fn log_normal<T: Real>(rng: &mut Mt19937, out: &mut [T], mean: f64, std: f64) {
    for o in out {
        *o = T::from_f64(normal_one(rng, mean, std).exp());
    }
}

pub fn exponential<T: Real>(rng: &mut Mt19937, out: &mut [T], lambda: f64) {
    each64_slow(rng, out, |bits| T::from_f64(-1.0 / lambda * (-unit64(bits)).ln_1p()));
}

pub fn cauchy<T: Real>(rng: &mut Mt19937, out: &mut [T], median: f64, sigma: f64) {
    each64_slow(rng, out, |bits| T::from_f64(median + sigma * (std::f64::consts::PI * (unit64(bits) - 0.5)).tan()));
}

pub fn geometric<T: Item>(rng: &mut Mt19937, out: &mut [T], p: f64) {
    let scale = (-p).ln_1p();
    each64_slow(rng, out, |bits| T::from_f64((unit64(bits).ln() / scale).ceil()));
}

versions!(pub fn bernoulli[T: Item](rng: &mut Mt19937, out: &mut [T], p: f64) = bernoulli_body::<T>);

#[inline(always)]
fn bernoulli_body<T: Item>(rng: &mut Mt19937, out: &mut [T], p: f64) {
    each64(rng, out, |bits| T::from_bool(unit64(bits) < p));
}

pub fn bernoulli_each32<T: Item>(rng: &mut Mt19937, p: &[f64], out: &mut [T]) {
    for (o, &p) in out.iter_mut().zip(p) {
        *o = T::from_bool((unit32(rng.random()) as f64) < p);
    }
}

pub fn bernoulli_each64<T: Item>(rng: &mut Mt19937, p: &[f64], out: &mut [T]) {
    for (o, &p) in out.iter_mut().zip(p) {
        *o = T::from_bool(unit64(rng.random64()) < p);
    }
}

pub fn range<T: Item>(rng: &mut Mt19937, out: &mut [T], range: u64, base: i64) {
    if range >= WIDE_RANGE {
        each64(rng, out, |bits| T::from_i64((bits % range.max(1)).wrapping_add(base as u64) as i64));
        return;
    }
    range32(rng, out, (range as u32).max(1), base);
}

versions!(fn range32[T: Item](rng: &mut Mt19937, out: &mut [T], range: u32, base: i64) = range_body::<T>);

#[inline(always)]
fn range_body<T: Item>(rng: &mut Mt19937, out: &mut [T], range: u32, base: i64) {
    // the remainder through a double reciprocal, which vectorises: the quotient is off by one at most
    let inverse = 1.0 / range as f64;
    each32(rng, out, |bits| {
        let quotient = (bits as f64 * inverse) as i32 as u32;
        let rest = bits.wrapping_sub(quotient.wrapping_mul(range)) as i32;
        let rest = if rest < 0 { rest + range as i32 } else { rest };
        let rest = if rest >= range as i32 { rest - range as i32 } else { rest };
        T::from_i64((rest as i64).wrapping_add(base))
    });
}

pub fn bits64<T: Item>(rng: &mut Mt19937, out: &mut [T]) {
    each64(rng, out, |bits| T::from_i64(bits as i64));
}

pub fn random<T: Item>(rng: &mut Mt19937, out: &mut [T]) {
    let (count, wide) = T::RANDOM;
    if wide {
        each64(rng, out, |bits| T::from_i64((bits % count) as i64));
    } else {
        each32(rng, out, |bits| T::from_i64((bits as u64 % count) as i64));
    }
}

/// Below this PyTorch shuffles with 32-bit draws.
const SMALL_PERMUTATION: usize = u32::MAX as usize / 20;

pub fn randperm<T: Item>(rng: &mut Mt19937, out: &mut [T]) {
    let n = out.len();
    if n >= SMALL_PERMUTATION {
        for i in 0..n {
            let z = (rng.random64() % (i as u64 + 1)) as usize;
            out[i] = T::from_i64(i as i64);
            out.swap(i, z);
        }
        return;
    }
    for (i, o) in out.iter_mut().enumerate() {
        *o = T::from_i64(i as i64);
    }
    let mut bits = [0u32; CHUNK];
    for start in (0..n.saturating_sub(1)).step_by(CHUNK) {
        let count = CHUNK.min(n - 1 - start);
        rng.fill_u32(&mut bits[..count]);
        for (i, &b) in (start..start + count).zip(&bits) {
            out.swap(i, i + b as usize % (n - i));
        }
    }
}

/// Appends the running sum of a row of probabilities, divided by its last, in the precision of the dtype.
pub fn cumulative_row(row: &[f64], double: bool, out: &mut Vec<f64>) -> Result<()> {
    let round = |v: f64| if double { v } else { v as f32 as f64 };
    let start = out.len();
    let mut sum = 0.0;
    for &p in row {
        ensure!(
            p >= 0.0 || p.is_nan(),
            runtime,
            "invalid multinomial distribution (encountering probability entry < 0)"
        );
        ensure!(
            p.is_finite(),
            runtime,
            "invalid multinomial distribution (encountering probability entry = infinity or NaN)"
        );
        sum = round(sum + p);
        out.push(sum);
    }
    ensure!(sum > 0.0, runtime, "invalid multinomial distribution (sum of probabilities <= 0)");
    for v in &mut out[start..] {
        *v = round(*v / sum);
    }
    if let Some(last) = out[start..].last_mut() {
        *last = 1.0;
    }
    Ok(())
}

/// Positions drawn from a row made by `cumulative_row`.
pub fn multinomial_row(rng: &mut Mt19937, cumulative: &[f64], out: &mut [i64]) {
    for o in out {
        let u = unit64(rng.random64());
        *o = cumulative.partition_point(|&c| c < u) as i64;
    }
}
