//! Conversions of the storage dtypes (`DType::is_storage`), by way of the types that every kernel knows: 8-bit floats
//! by float32, unsigned integers by the signed ones that hold them, a uint64 by float64 where its size matters.
//! Not here: conversions among the other dtypes (`convert`).

use std::mem::MaybeUninit;

use rtorch_ir::{DType, float8};
use smallvec::SmallVec;

use super::convert::converter;
use super::kernels::Kernel;

/// Elements that go through a chain of conversions at once.
const CHUNK: usize = 256;
/// Bytes of the largest element.
const WIDEST: usize = 16;

/// The type that a storage dtype meets `other` in; itself for the other dtypes.
fn hub(dtype: DType, other: DType) -> DType {
    match dtype {
        DType::U16 => DType::I32,
        DType::U32 => DType::I64,
        DType::U64 if other.is_differentiable() => DType::F64,
        DType::U64 => DType::I64,
        DType::E4M3 | DType::E5M2 | DType::E4M3Z | DType::E5M2Z | DType::E8M0 => DType::F32,
        DType::Bool
        | DType::U8
        | DType::I8
        | DType::I16
        | DType::I32
        | DType::I64
        | DType::F16
        | DType::BF16
        | DType::F32
        | DType::F64
        | DType::C64
        | DType::C128 => dtype,
    }
}

/// # Safety
/// `n` elements each, apart from each other.
unsafe fn each<S: Copy, D>(dst: *mut u8, src: *const u8, n: usize, f: impl Fn(S) -> D) {
    let (dst, src) = (dst.cast::<D>(), src.cast::<S>());
    for i in 0..n {
        // SAFETY: the caller's promise.
        unsafe { dst.add(i).write(f(src.add(i).read())) };
    }
}

fn f64_to_u64(x: f64) -> u64 {
    // negative numbers wrap by way of int64, as in the oracle
    if x < 9.223372036854775808e18 { rtorch_ir::dtype::float_to_i64(x) as u64 } else { x as u64 }
}

/// One conversion between a storage dtype and its hub, or among the others.
///
/// # Safety
/// As a kernel.
unsafe fn step(from: DType, to: DType, dst: *mut u8, src: *const u8, n: usize) {
    macro_rules! float8 {
        ($format:ident, $encode:expr) => {{
            static VALUES: [f32; 256] = float8::values(DType::$format);
            if from == DType::$format {
                each(dst, src, n, |b: u8| VALUES[b as usize])
            } else {
                each(dst, src, n, $encode)
            }
        }};
    }
    // SAFETY: the caller's promise.
    unsafe {
        match (from, to) {
            (DType::U16, DType::I32) => each(dst, src, n, |x: u16| x as i32),
            (DType::I32, DType::U16) => each(dst, src, n, |x: i32| x as u16),
            (DType::U32, DType::I64) => each(dst, src, n, |x: u32| x as i64),
            (DType::I64, DType::U32) => each(dst, src, n, |x: i64| x as u32),
            (DType::U64, DType::I64) | (DType::I64, DType::U64) => std::ptr::copy_nonoverlapping(src, dst, n * 8),
            (DType::U64, DType::F64) => each(dst, src, n, |x: u64| x as f64),
            (DType::F64, DType::U64) => each(dst, src, n, f64_to_u64),
            (DType::E4M3, _) | (_, DType::E4M3) => float8!(E4M3, |x| float8::E4M3.encode(x)),
            (DType::E5M2, _) | (_, DType::E5M2) => float8!(E5M2, |x| float8::E5M2.encode(x)),
            (DType::E4M3Z, _) | (_, DType::E4M3Z) => float8!(E4M3Z, |x| float8::E4M3Z.encode(x)),
            (DType::E5M2Z, _) | (_, DType::E5M2Z) => float8!(E5M2Z, |x| float8::E5M2Z.encode(x)),
            (DType::E8M0, _) | (_, DType::E8M0) => float8!(E8M0, float8::encode_scale),
            (a, b) => converter(a, b)(dst, src, src, src, n),
        }
    }
}

/// # Safety
/// As a kernel.
unsafe fn chain(from: DType, to: DType, dst: *mut u8, src: *const u8, n: usize) {
    if from == to {
        // SAFETY: the caller's promise.
        return unsafe { std::ptr::copy_nonoverlapping(src, dst, n * from.size()) };
    }
    let mut path: SmallVec<[DType; 4]> = SmallVec::from_slice(&[from, hub(from, to), hub(to, from), to]);
    path.dedup();
    let mut space = [[MaybeUninit::<u64>::uninit(); CHUNK * WIDEST / 8]; 2];
    let [a, b] = &mut space;
    let (mut next, mut other) = (a.as_mut_ptr().cast::<u8>(), b.as_mut_ptr().cast::<u8>());
    let last = path.len() - 2;
    for start in (0..n).step_by(CHUNK) {
        let count = CHUNK.min(n - start);
        let mut at = src.wrapping_add(start * from.size());
        for (i, pair) in path.windows(2).enumerate() {
            let target = if i == last { dst.wrapping_add(start * to.size()) } else { next };
            // SAFETY: `count` elements of the window, or of a chunk's space; the two spaces take turns.
            unsafe { step(pair[0], pair[1], target, at, count) };
            at = target;
            std::mem::swap(&mut next, &mut other);
        }
    }
}

unsafe fn kernel<const FROM: usize, const TO: usize>(
    dst: *mut u8,
    src: *const u8,
    _: *const u8,
    _: *const u8,
    n: usize,
) {
    // SAFETY: the interpreter passes `n` elements each, apart from each other.
    unsafe { chain(DType::ALL[FROM], DType::ALL[TO], dst, src, n) }
}

macro_rules! table {
    ($($n:literal)*) => { table!(@rows [$($n)*] $($n)*) };
    (@rows $all:tt $($from:literal)*) => { [$(table!(@row $from $all)),*] };
    (@row $from:literal [$($to:literal)*]) => { [$(kernel::<$from, $to> as Kernel),*] };
}
static TABLE: [[Kernel; DType::ALL.len()]; DType::ALL.len()] =
    table!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);

/// As `converter`, for pairs with a storage dtype.
pub fn storage_converter(from: DType, to: DType) -> Kernel {
    TABLE[from as usize][to as usize]
}

#[cfg(test)]
mod tests {
    use rtorch_ir::oracle::{self, Val};

    use super::*;

    /// Elements of a dtype as values of the oracle, from their bytes.
    fn value(dtype: DType, b: &[u8]) -> Val {
        let wide = |n: usize| {
            let mut w = [0u8; 8];
            w[..n].copy_from_slice(&b[..n]);
            u64::from_le_bytes(w)
        };
        match dtype {
            DType::F32 => Val::Float(f32::from_bits(wide(4) as u32) as f64),
            DType::F64 => Val::Float(f64::from_bits(wide(8))),
            DType::I32 => Val::Int(wide(4) as i32 as i64),
            d if d.is_float8() => Val::Float(float8::values(d)[b[0] as usize] as f64),
            d => Val::Int(wide(d.size()) as i64),
        }
    }

    #[test]
    fn conversions_are_the_oracles() {
        let plain = [DType::I32, DType::I64, DType::F32, DType::F64, DType::Bool];
        let storage: Vec<DType> = DType::ALL.into_iter().filter(|d| d.is_storage()).collect();
        let numbers: Vec<f64> = (-300..300).map(|i| i as f64 * 0.37 * 1.03f64.powi(i)).collect();
        for &from in storage.iter().chain(&plain) {
            // a source of the dtype with some of everything
            let mut bytes = vec![0u8; numbers.len() * from.size()];
            let n = numbers.len();
            let wide: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            // SAFETY: `n` elements each.
            unsafe { converter(DType::F64, from)(bytes.as_mut_ptr(), wide.as_ptr(), wide.as_ptr(), wide.as_ptr(), n) };
            for &to in storage.iter().chain(&plain) {
                let mut out = vec![0u8; n * to.size()];
                let p = bytes.as_ptr();
                // SAFETY: `n` elements each.
                unsafe { converter(from, to)(out.as_mut_ptr(), p, p, p, n) };
                for i in 0..n {
                    let x = value(from, &bytes[i * from.size()..]);
                    let (want, have) = (oracle::cast(x, from, to), value(to, &out[i * to.size()..]));
                    assert!(
                        want == have || want.float().is_nan() && have.float().is_nan(),
                        "{from} {x:?} -> {to} {have:?}"
                    );
                }
            }
        }
    }
}
