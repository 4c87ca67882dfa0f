//! `sort` and `topk` along an axis. Every element becomes a pair of an order-preserving unsigned key and its position;
//! pairs are sorted by radix, least significant digit first, which is stable. NaN is the largest value, and -0.0 equals
//! 0.0, as in PyTorch. `topk` filters a row by the k-th best so far. Maxima are in `reduce`, running ones in `scan.rs`.

use rtorch_ir::{DType, Error, Result};

use crate::alloc::Buffer;
use crate::element::{Bool, dispatch_real};
use crate::gemm::tasks::Stop;
use crate::threads::{num_threads, parallel_for};
use crate::versions::versions;
use crate::walk::{Base, Walk, byte_strides, direct};
use crate::{Arg, Source};

/// Bits of a digit: its 2048 counters and the heads of its runs fit the L1 and L2 caches (Zen 5).
const DIGIT: u32 = 11;
const BUCKETS: usize = 1 << DIGIT;
/// Rows up to here are sorted by comparisons of pairs: clearing and summing counters would cost more.
const SMALL: usize = 1024;
/// From this size on, one row is sorted by all threads.
const PARALLEL_ROW: usize = 1 << 16;
/// Elements between two looks at Ctrl-C: some milliseconds of scattered writes.
const STOP_BLOCK: usize = 1 << 18;
/// Elements of `topk` tested against the threshold at a time.
const BLOCK: usize = 128;

/// A dtype that can be ordered: its bits as an unsigned number of the same order.
pub(crate) trait Key: Copy + Default + Send + Sync + 'static {
    type Pair: Pair;
    /// Bits of a key that can differ.
    const BITS: u32;
    fn key(self) -> <Self::Pair as Pair>::Key;
}

/// A key and a position.
pub(crate) trait Pair: Copy + Ord + Send + Sync + 'static {
    type Key: Copy + Ord + Default + Send + Sync + std::ops::Not<Output = Self::Key> + 'static;
    fn new(key: Self::Key, at: usize) -> Self;
    fn at(self) -> usize;
    fn key(self) -> Self::Key;
    fn digit(self, shift: u32) -> usize;
}

/// Keys up to 32 bits and positions below 2^32 in one word.
impl Pair for u64 {
    type Key = u32;
    #[inline(always)]
    fn new(key: u32, at: usize) -> u64 {
        (key as u64) << 32 | at as u64
    }
    #[inline(always)]
    fn at(self) -> usize {
        self as u32 as usize
    }
    #[inline(always)]
    fn key(self) -> u32 {
        (self >> 32) as u32
    }
    #[inline(always)]
    fn digit(self, shift: u32) -> usize {
        (self >> (32 + shift)) as usize & (BUCKETS - 1)
    }
}

/// 64-bit keys, or rows of 2^32 elements and more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wide(u64, u64);

impl Pair for Wide {
    type Key = u64;
    #[inline(always)]
    fn new(key: u64, at: usize) -> Wide {
        Wide(key, at as u64)
    }
    #[inline(always)]
    fn at(self) -> usize {
        self.1 as usize
    }
    #[inline(always)]
    fn key(self) -> u64 {
        self.0
    }
    #[inline(always)]
    fn digit(self, shift: u32) -> usize {
        (self.0 >> shift) as usize & (BUCKETS - 1)
    }
}

macro_rules! int_keys {
    ($($t:ty, $pair:ty, $key:ty, $bits:literal, $flip:expr);*) => {$(
        impl Key for $t {
            type Pair = $pair;
            const BITS: u32 = $bits;
            #[inline(always)]
            fn key(self) -> $key {
                $flip(self)
            }
        }
    )*};
}
int_keys!(
    u8, u64, u32, 8, |v: u8| v as u32;
    Bool, u64, u32, 1, |v: Bool| (v.0 != 0) as u32;
    i8, u64, u32, 8, |v: i8| (v as u8 ^ 0x80) as u32;
    i16, u64, u32, 16, |v: i16| (v as u16 ^ 0x8000) as u32;
    i32, u64, u32, 32, |v: i32| v as u32 ^ 0x8000_0000;
    i64, Wide, u64, 64, |v: i64| v as u64 ^ (1 << 63)
);

macro_rules! float_keys {
    ($($t:ty, $pair:ty, $key:ty, $bits:ty, $int:ty, $count:literal, $infinity:expr);*) => {$(
        impl Key for $t {
            type Pair = $pair;
            const BITS: u32 = $count;
            #[inline(always)]
            fn key(self) -> $key {
                const SIGN: $bits = 1 << ($count - 1);
                let bits = self.to_bits();
                let size = bits & !SIGN;
                // negative numbers in reverse below the positive ones; zeros of both signs as one, NaN above all
                let bits = if size == 0 { 0 } else { bits };
                let key = bits ^ ((bits as $int >> ($count - 1)) as $bits | SIGN);
                (if size > $infinity { <$bits>::MAX } else { key }) as $key
            }
        }
    )*};
}
float_keys!(
    half::f16, u64, u32, u16, i16, 16, 0x7c00;
    half::bf16, u64, u32, u16, i16, 16, 0x7f80;
    f32, u64, u32, u32, i32, 32, 0x7f80_0000;
    f64, Wide, u64, u64, i64, 64, 0x7ff0_0000_0000_0000
);

/// The lines of an operand and two results along an axis.
struct Rows {
    x: Base,
    values: Base,
    positions: Base,
    walk: Walk<3>,
    /// Elements of an operand's line, and byte strides along the axis.
    len: usize,
    axis: [isize; 3],
}

impl Rows {
    fn new(axis: usize, x: Arg, outs: &[Arg]) -> Rows {
        let size = x.dtype.size();
        let strides =
            [byte_strides(x.layout, size), byte_strides(outs[0].layout, size), byte_strides(outs[1].layout, 8)];
        let all: [&[isize]; 3] = [&strides[0], &strides[1], &strides[2]];
        Rows {
            x: Base::of(&x),
            values: Base::of(&outs[0]),
            positions: Base::of(&outs[1]),
            walk: Walk::of_dims(&x.layout.shape, all, |d| d != axis),
            len: x.layout.shape.get(axis).copied().unwrap_or(1),
            axis: std::array::from_fn(|k| all[k].get(axis).copied().unwrap_or(0)),
        }
    }
    /// Element `i` of the line that starts at `at`.
    ///
    /// # Safety
    /// `at` is a line's start and `i` below its length.
    #[inline(always)]
    unsafe fn read<T: Copy>(&self, at: [isize; 3], i: usize) -> T {
        // SAFETY: the caller's promise.
        unsafe { *self.x.at::<T>(at[0] + i as isize * self.axis[0]) }
    }
    /// Stores result `i`, which is element `from` of the line.
    ///
    /// # Safety
    /// As `read`; `i` is below the results' length.
    #[inline(always)]
    unsafe fn write<T: Copy>(&self, at: [isize; 3], i: usize, from: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            *self.values.at::<T>(at[1] + i as isize * self.axis[1]) = self.read(at, from);
            *self.positions.at::<i64>(at[2] + i as isize * self.axis[2]) = from as i64;
        }
    }
}

fn refuse_complex(dtype: DType, text: &str) -> Result<()> {
    if dtype.is_complex() { Err(Error::runtime(text)) } else { Ok(()) }
}

/// `Prim::Sort`: x -> values, int64 positions. The order is always stable.
pub fn sort(axis: usize, descending: bool, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let x = direct(&inputs[0])?;
    refuse_complex(x.dtype, " Sort does not support complex dtypes on CPU")?;
    if x.layout.numel() == 0 {
        return Ok(());
    }
    let rows = Rows::new(axis, x, outs);
    if rows.len > u32::MAX as usize {
        return Err(Error::runtime("sort: lines of 2^32 elements and more are not supported"));
    }
    dispatch_real!(x.dtype, T => sort_rows::<T>(&rows, descending), Ok(()))
}

fn sort_rows<T: Key>(rows: &Rows, descending: bool) -> Result<()> {
    let (count, n) = (rows.walk.len(), rows.len);
    let bytes = 2 * n * size_of::<T::Pair>();
    let stop = Stop::on_interrupt();
    if count < num_threads() && n >= PARALLEL_ROW {
        let scratch = Buffer::uninit(bytes)?;
        for i in 0..count {
            sort_one::<T>(rows, rows.walk.at(i), descending, &scratch, true, &stop)?;
        }
        return Ok(());
    }
    let failed = std::sync::Mutex::new(None);
    let fail = |e| {
        stop.raise();
        *failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(e);
    };
    parallel_for(count, (SMALL / n).max(1), &|range| {
        let scratch = match Buffer::uninit(bytes) {
            Ok(b) => b,
            Err(e) => return fail(e),
        };
        for i in range {
            if let Err(e) = sort_one::<T>(rows, rows.walk.at(i), descending, &scratch, false, &stop) {
                return fail(e);
            }
        }
    });
    failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Sorts one line. `scratch` holds two arrays of its pairs.
fn sort_one<T: Key>(
    rows: &Rows,
    at: [isize; 3],
    descending: bool,
    scratch: &Buffer,
    parallel: bool,
    stop: &Stop,
) -> Result<()> {
    let n = rows.len;
    let first = scratch.as_ptr().cast::<T::Pair>();
    // SAFETY: the scratch has room for two arrays of n pairs; every pair is written before it is read.
    let (pairs, spare) = unsafe { (first, first.add(n)) };
    let to = Base::new(pairs.cast());
    let grain = if parallel { PARALLEL_ROW / 2 } else { n };
    by_blocks(n, grain, stop, &|range| {
        for i in range {
            // SAFETY: an element of the line, and its place in the scratch.
            unsafe {
                let key = rows.read::<T>(at, i).key();
                let key = if descending { !key } else { key };
                *to.at::<T::Pair>((i * size_of::<T::Pair>()) as isize) = Pair::new(key, i);
            }
        }
    })?;
    let sorted = if n <= SMALL {
        // SAFETY: n pairs, written above.
        unsafe { std::slice::from_raw_parts_mut(pairs, n) }.sort_unstable();
        pairs
    } else {
        radix::<T>(pairs, spare, n, parallel, stop)?
    };
    let from = Base::new(sorted.cast());
    by_blocks(n, grain, stop, &|range| {
        for i in range {
            // SAFETY: positions are those of the line's elements.
            unsafe {
                let pair = *from.at::<T::Pair>((i * size_of::<T::Pair>()) as isize);
                rows.write::<T>(at, i, pair.at());
            }
        }
    })
}

/// `parallel_for` in blocks, which end early once the user wants to stop.
fn by_blocks(n: usize, grain: usize, stop: &Stop, f: &(dyn Fn(std::ops::Range<usize>) + Sync)) -> Result<()> {
    parallel_for(n, grain, &|range| {
        for start in range.clone().step_by(STOP_BLOCK) {
            if stop.now() {
                return;
            }
            f(start..(start + STOP_BLOCK).min(range.end));
        }
    });
    stop.result()
}

/// Sorts by radix; answers which of the two arrays holds the result.
fn radix<T: Key>(
    mut a: *mut T::Pair,
    mut b: *mut T::Pair,
    n: usize,
    parallel: bool,
    stop: &Stop,
) -> Result<*mut T::Pair> {
    // how the row is split is no part of the result: parts keep their order
    let parts = if parallel { num_threads().min(n.div_ceil(PARALLEL_ROW / 2)) } else { 1 };
    let chunk = n.div_ceil(parts);
    let mut counts = vec![[0u32; BUCKETS]; parts];
    let table = Base::new(counts.as_mut_ptr().cast());
    let counter = |p: usize| (p * size_of::<[u32; BUCKETS]>()) as isize;
    for shift in (0..T::BITS).step_by(DIGIT as usize) {
        let (from, to) = (Base::new(a.cast()), Base::new(b.cast()));
        let slot = |i: usize| (i * size_of::<T::Pair>()) as isize;
        parallel_for(parts, 1, &|range| {
            for p in range {
                let (start, end) = (p * chunk, ((p + 1) * chunk).min(n));
                // SAFETY: the part's pairs, and counters of its own.
                unsafe {
                    let pairs = std::slice::from_raw_parts(from.at::<T::Pair>(slot(start)), end - start);
                    let counts = &mut *table.at::<[u32; BUCKETS]>(counter(p));
                    counts.fill(0);
                    for block in pairs.chunks(STOP_BLOCK) {
                        if stop.now() {
                            return;
                        }
                        block.iter().for_each(|pair| counts[pair.digit(shift)] += 1);
                    }
                }
            }
        });
        stop.result()?;
        // counters become the places of the first pair of each digit of each part
        let mut place = 0u32;
        let mut trivial = false;
        for digit in 0..BUCKETS {
            let before = place;
            for part in counts.iter_mut() {
                place += std::mem::replace(&mut part[digit], place);
            }
            trivial |= (place - before) as usize == n;
        }
        if trivial {
            continue; // all have the same digit
        }
        parallel_for(parts, 1, &|range| {
            for p in range {
                let (start, end) = (p * chunk, ((p + 1) * chunk).min(n));
                // SAFETY: as above; each pair gets a place of its own.
                unsafe {
                    let pairs = std::slice::from_raw_parts(from.at::<T::Pair>(slot(start)), end - start);
                    let places = &mut *table.at::<[u32; BUCKETS]>(counter(p));
                    for block in pairs.chunks(STOP_BLOCK) {
                        if stop.now() {
                            return;
                        }
                        for pair in block {
                            let place = &mut places[pair.digit(shift)];
                            *to.at::<T::Pair>(slot(*place as usize)) = *pair;
                            *place += 1;
                        }
                    }
                }
            }
        });
        stop.result()?;
        std::mem::swap(&mut a, &mut b);
    }
    Ok(a)
}

/// `Prim::TopK`: x -> the k largest or smallest with their positions, best first (where not `sorted` only the last has
/// its place). Of equal ones the first are taken.
pub fn topk(k: usize, axis: usize, largest: bool, sorted: bool, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let x = direct(&inputs[0])?;
    refuse_complex(x.dtype, "topk does not support complex dtypes on CPU")?;
    if outs[0].layout.numel() == 0 {
        return Ok(());
    }
    let rows = Rows::new(axis, x, outs);
    if rows.len > u32::MAX as usize {
        return Err(Error::runtime("topk: lines of 2^32 elements and more are not supported"));
    }
    dispatch_real!(x.dtype, T => topk_rows::<T>(&rows, k, largest, sorted), Ok(()))
}

/// Candidates beyond k that are collected before the k best of them are kept.
const SLACK: usize = 256;

fn topk_rows<T: Key>(rows: &Rows, k: usize, largest: bool, sorted: bool) -> Result<()> {
    let (count, n) = (rows.walk.len(), rows.len);
    let grain = (16 * BLOCK / n).max(1);
    let stop = Stop::on_interrupt();
    parallel_for(count, grain, &|range| {
        let mut best: Vec<T::Pair> = Vec::with_capacity((2 * k + SLACK).min(n));
        for i in range {
            if stop.now() {
                return;
            }
            let at = rows.walk.at(i);
            best.clear();
            select::<T>(rows, at[0], k, largest, &mut best);
            if sorted {
                best.sort_unstable();
            } else if let Some(last) = (0..best.len()).max_by_key(|&i| best[i]) {
                let end = best.len() - 1;
                best.swap(last, end);
            }
            for (i, pair) in best.iter().enumerate() {
                // SAFETY: k results, positions of the line's elements.
                unsafe { rows.write::<T>(at, i, pair.at()) };
            }
        }
    });
    stop.result()
}

versions!(
    /// Leaves in `best` the pairs of the k best elements of a line, smaller pairs being better.
    fn select[T: Key](rows: &Rows, at: isize, k: usize, largest: bool, best: &mut Vec<T::Pair>) = select_body::<T>
);

#[inline(always)]
fn select_body<T: Key>(rows: &Rows, at: isize, k: usize, largest: bool, best: &mut Vec<T::Pair>) {
    let mut keys = [<T::Pair as Pair>::Key::default(); BLOCK];
    let mut threshold = None;
    let step = rows.axis[0];
    for start in (0..rows.len).step_by(BLOCK) {
        let keys = &mut keys[..BLOCK.min(rows.len - start)];
        if step == size_of::<T>() as isize {
            // SAFETY: elements of the line, side by side.
            let line = unsafe { std::slice::from_raw_parts(rows.x.at::<T>(at + start as isize * step), keys.len()) };
            for (key, v) in keys.iter_mut().zip(line) {
                *key = if largest { !v.key() } else { v.key() };
            }
        } else {
            for (j, key) in keys.iter_mut().enumerate() {
                // SAFETY: an element of the line.
                let v = unsafe { *rows.x.at::<T>(at + (start + j) as isize * step) };
                *key = if largest { !v.key() } else { v.key() };
            }
        }
        match threshold {
            None => best.extend(keys.iter().enumerate().map(|(j, &key)| T::Pair::new(key, start + j))),
            Some(limit) => {
                if !keys.iter().fold(false, |any, &key| any | (key < limit)) {
                    continue;
                }
                for (j, &key) in keys.iter().enumerate() {
                    if key < limit {
                        best.push(T::Pair::new(key, start + j));
                    }
                }
            }
        }
        if best.len() >= k + SLACK.max(k) || (threshold.is_none() && best.len() >= k) {
            threshold = keep(best, k);
        }
    }
    keep::<T::Pair>(best, k);
}

/// Keeps the k smallest pairs; answers the key of the last of them.
fn keep<P: Pair>(best: &mut Vec<P>, k: usize) -> Option<P::Key> {
    if best.len() > k {
        best.select_nth_unstable(k - 1);
        best.truncate(k);
    }
    best.iter().max().map(|pair| pair.key())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, T, call, layouts};

    /// Positions of a line in PyTorch's stable order.
    fn order(line: &[f64], descending: bool) -> Vec<usize> {
        let mut at: Vec<usize> = (0..line.len()).collect();
        let rank = |v: f64| if v.is_nan() { f64::INFINITY } else { v.clamp(-1e300, 1e300) };
        at.sort_by(|&a, &b| {
            let c = rank(line[a]).total_cmp(&(rank(line[b]) + 0.0)).then(std::cmp::Ordering::Equal);
            let c = if rank(line[a]) == rank(line[b]) { std::cmp::Ordering::Equal } else { c };
            if descending { c.reverse() } else { c }
        });
        at
    }

    const DTYPES: [DType; 10] = [
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
    ];

    fn values(dtype: DType, n: usize, rng: &mut Rng) -> Vec<f64> {
        let mut v = rng.numbers(n, 40);
        if dtype.is_float() && n > 3 {
            v[0] = f64::NAN;
            v[1] = -0.0;
            v[2] = f64::NEG_INFINITY;
            v[3] = 0.0;
        }
        if dtype == DType::U8 {
            v.iter_mut().for_each(|v| *v = v.abs());
        }
        v
    }

    fn same(a: f64, b: f64) -> bool {
        a == b && a.is_sign_negative() == b.is_sign_negative() || a.is_nan() && b.is_nan()
    }

    #[test]
    fn sorting_is_stable_in_every_layout() {
        let mut rng = Rng(1);
        for dtype in DTYPES {
            for shape in [[3usize, 50], [2, 3000], [3000, 2], [1, 1], [2, 0]] {
                for (axis, descending, layout) in
                    (0..2).flat_map(|a| layouts(&shape).into_iter().map(move |l| (a, a == 1, l)))
                {
                    let n = shape[0] * shape[1];
                    let x = T::with(dtype, layout.clone(), &values(dtype, n, &mut rng));
                    let out = T::with(dtype, layout, &vec![0.0; n]);
                    let at = T::full(DType::I64, &shape, -1.0);
                    call(|i, o| sort(axis, descending, i, o), &[&x], &[&out, &at]).unwrap();
                    let (xv, ov, av) = (x.get(), out.get(), at.get());
                    for line in 0..if n == 0 { 0 } else { n / shape[axis] } {
                        let place = |i: usize| if axis == 1 { line * shape[1] + i } else { i * shape[1] + line };
                        let lv: Vec<f64> = (0..shape[axis]).map(|i| xv[place(i)]).collect();
                        for (i, from) in order(&lv, descending).into_iter().enumerate() {
                            assert_eq!(av[place(i)] as usize, from, "{dtype:?} {shape:?} {axis} {descending}");
                            assert!(same(ov[place(i)], lv[from]));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn one_long_row_is_sorted_by_all_threads() {
        let mut rng = Rng(2);
        for dtype in [DType::F32, DType::I64, DType::F16] {
            let n = 200_003;
            let x = T::new(dtype, &[n], &rng.reals(n).iter().map(|v| v * 1e4).collect::<Vec<_>>());
            let (out, at) = (T::full(dtype, &[n], 0.0), T::full(DType::I64, &[n], 0.0));
            call(|i, o| sort(0, true, i, o), &[&x], &[&out, &at]).unwrap();
            let (xv, ov, av) = (x.get(), out.get(), at.get());
            assert!((0..n).all(|i| ov[i] == xv[av[i] as usize]));
            assert!((1..n).all(|i| ov[i - 1] > ov[i] || ov[i - 1] == ov[i] && av[i - 1] < av[i]));
        }
    }

    #[test]
    fn topk_takes_the_first_of_equal_ones() {
        let mut rng = Rng(3);
        for dtype in DTYPES {
            for (n, k) in [(5usize, 5usize), (50, 1), (3000, 10), (3000, 700), (300, 299), (1, 1), (7, 0)] {
                for (largest, layout) in
                    [true, false].into_iter().flat_map(|l| layouts(&[3, n]).into_iter().map(move |y| (l, y)))
                {
                    let x = T::with(dtype, layout, &values(dtype, 3 * n, &mut rng));
                    let (out, at) = (T::full(dtype, &[3, k], 0.0), T::full(DType::I64, &[3, k], 0.0));
                    call(|i, o| topk(k, 1, largest, true, i, o), &[&x], &[&out, &at]).unwrap();
                    let (xv, ov, av) = (x.get(), out.get(), at.get());
                    for r in 0..3 {
                        for (i, from) in order(&xv[r * n..][..n], largest).into_iter().take(k).enumerate() {
                            assert_eq!(av[r * k + i] as usize, from, "{dtype:?} {n} {k} {largest}");
                            assert!(same(ov[r * k + i], xv[r * n + from]));
                        }
                    }
                    call(|i, o| topk(k, 1, largest, false, i, o), &[&x], &[&out, &at]).unwrap();
                    let unsorted = at.get();
                    for r in (0..3).filter(|_| k > 0) {
                        let (mut all, last) = (unsorted[r * k..][..k].to_vec(), unsorted[r * k + k - 1]);
                        all.sort_by(f64::total_cmp);
                        let mut want = av[r * k..][..k].to_vec();
                        assert_eq!(last, want[k - 1], "{dtype:?} {n} {k} {largest}");
                        want.sort_by(f64::total_cmp);
                        assert_eq!(all, want);
                    }
                }
            }
        }
    }

    #[test]
    fn complex_numbers_have_no_order() {
        let x = T::full(DType::C64, &[2], 0.0);
        assert!(call(|i, o| sort(0, false, i, o), &[&x], &[&x, &T::ints(&[2], &[0, 0])]).is_err());
        let scalar = T::full(DType::F32, &[], 3.0);
        let (out, at) = (T::full(DType::F32, &[], 0.0), T::full(DType::I64, &[], 1.0));
        call(|i, o| sort(0, false, i, o), &[&scalar], &[&out, &at]).unwrap();
        assert_eq!((out.get(), at.get()), (vec![3.0], vec![0.0]));
    }
}
