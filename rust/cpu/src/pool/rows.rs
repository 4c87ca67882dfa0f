//! Pooling row by row: for each row of windows, each kernel position is one pass over the row, which LLVM turns into
//! vector code for the instruction set at hand. The first pass of a row is the start of its maximum or sum.

use std::cell::Cell;
use std::ops::Range;

use rtorch_ir::DType;

use crate::conv::window::{Tap, Window};
use crate::gemm::lanes::{Lanes, Real};
use crate::gemm::{Body, Gemm};

/// What maxima are taken of.
pub trait Ordered: Copy + Send + Sync + PartialOrd + 'static {
    /// A position, as wide as a value: both are then chosen by one comparison of a vector.
    type Place: Copy + From<u32> + Into<u64>;
    const DTYPE: DType;
    const ZERO: Self;
    const LOWEST: Self;
    fn plus(a: Self, b: Self) -> Self;
    /// Runs `f` compiled for this machine.
    ///
    /// # Safety
    /// As the call's own.
    unsafe fn enter(call: MaxPlanes<Self>);
}

macro_rules! ordered {
    ($t:ty, $dtype:ident, $place:ty, $lowest:expr, $plus:expr, $call:ident => $enter:expr) => {
        impl Ordered for $t {
            type Place = $place;
            const DTYPE: DType = DType::$dtype;
            const ZERO: $t = 0 as $t;
            const LOWEST: $t = $lowest;
            #[inline(always)]
            fn plus(a: $t, b: $t) -> $t {
                $plus(a, b)
            }
            unsafe fn enter($call: MaxPlanes<$t>) {
                // SAFETY: as the caller's.
                unsafe { $enter }
            }
        }
    };
}
ordered!(f32, F32, u32, f32::NEG_INFINITY, |a: f32, b| a + b, call => <f32 as Gemm>::run(call));
ordered!(f64, F64, u64, f64::NEG_INFINITY, |a: f64, b| a + b, call => <f64 as Gemm>::run(call));
ordered!(i64, I64, u64, i64::MIN, i64::wrapping_add, call => planes(&mut { call }));

/// Planes of maxima and their positions; the pointers are those of the first of all planes.
pub struct MaxPlanes<'a, T> {
    window: &'a Window,
    columns: &'a [(usize, usize)],
    planes: Range<usize>,
    x: *const T,
    y: *mut T,
    at: *mut i64,
    positions: &'a mut [u32],
}

/// Rows of fewer results are not worth a pass for each kernel position: a table tells where their elements lie.
const SHORT: usize = 8;
/// Entries of such a table, at most.
const ENTRIES: usize = 4096;

/// Bytes of the values that are compared together, of as many planes: a vector of 256 bits.
const TOGETHER: usize = 32;

/// Where the elements of each result of a plane lie in the input's plane, in the order of the taps.
struct Table {
    /// One behind the last element of each result.
    ends: Vec<u32>,
    elements: Vec<u32>,
}

impl Table {
    fn new(window: &Window) -> Option<Table> {
        let [depth, height, width] = window.out;
        if width >= SHORT || window.positions() * window.taps.len() > ENTRIES {
            return None;
        }
        let mut table = Table { ends: Vec::new(), elements: Vec::new() };
        for (d, h) in (0..depth).flat_map(|d| (0..height).map(move |h| (d, h))) {
            for w in 0..width {
                let exists = |tap: &&Tap| window.columns(w, w + 1, tap) == (w, w + 1);
                for tap in window.taps.iter().filter(exists) {
                    let Some(row) = window.row(d, h, tap) else { continue };
                    table.elements.push((row + (w * window.step[2]) as isize + tap.offset[2]) as u32);
                }
                table.ends.push(table.elements.len() as u32);
            }
        }
        Some(table)
    }
    /// Calls `f(result, its elements)` for every result of a plane.
    #[inline(always)]
    fn each(&self, mut f: impl FnMut(usize, &[u32])) {
        let mut start = 0;
        for (i, &end) in self.ends.iter().enumerate() {
            f(i, &self.elements[start..end as usize]);
            start = end as usize;
        }
    }
}

/// The columns of a result's row whose input column exists, for every tap.
fn columns(window: &Window) -> Vec<(usize, usize)> {
    window.taps.iter().map(|tap| window.columns(0, window.out[2], tap)).collect()
}

impl<T: Real + Ordered> Body<T> for MaxPlanes<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(mut self) {
        // SAFETY: as the caller's.
        unsafe { planes(&mut self) }
    }
}

thread_local! {
    /// Positions of one row, in half the space of the result's.
    static POSITIONS: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

/// A window in which nothing exceeded the lowest value.
const NONE: u32 = u32::MAX;

/// # Safety
/// `x` is the first plane of the window's input, `y` and `at` of its positions; there are these planes of each.
pub unsafe fn max_planes<T: Ordered>(window: &Window, planes: Range<usize>, x: *const T, y: *mut T, at: *mut i64) {
    let mut positions = POSITIONS.take();
    positions.resize(window.out[2], NONE);
    let columns = &columns(window);
    // SAFETY: as the caller's.
    unsafe { T::enter(MaxPlanes { window, columns, planes, x, y, at, positions: &mut positions }) };
    POSITIONS.set(positions);
}

#[inline(always)]
unsafe fn planes<T: Ordered>(p: &mut MaxPlanes<T>) {
    let window = p.window;
    let positions = &mut *p.positions;
    let ([depth, height, width], size) = (window.out, window.plane());
    if let Some(table) = Table::new(window) {
        let (mut plane, end) = (p.planes.start, p.planes.end);
        while plane < end {
            // SAFETY: as the caller's; these planes exist.
            unsafe {
                if size_of::<T>() == 4 && end - plane >= TOGETHER / 4 {
                    maxima::<T, { TOGETHER / 4 }>(&table, p, plane, size);
                    plane += TOGETHER / 4;
                } else if size_of::<T>() == 8 && end - plane >= TOGETHER / 8 {
                    maxima::<T, { TOGETHER / 8 }>(&table, p, plane, size);
                    plane += TOGETHER / 8;
                } else {
                    maxima::<T, 1>(&table, p, plane, size);
                    plane += 1;
                }
            }
        }
        return;
    }
    for plane in p.planes.clone() {
        let x = p.x.wrapping_add(plane * size);
        for (d, h) in (0..depth).flat_map(|d| (0..height).map(move |h| (d, h))) {
            let row = ((plane * depth + d) * height + h) * width;
            // SAFETY: a row of the results.
            let (y, at) = unsafe {
                let y = std::slice::from_raw_parts_mut(p.y.add(row), width);
                (y, std::slice::from_raw_parts_mut(p.at.add(row), width))
            };
            y.fill(T::LOWEST);
            positions.fill(NONE);
            for (tap, &(lo, hi)) in window.taps.iter().zip(p.columns) {
                let Some(start) = window.row(d, h, tap) else { continue };
                let start = start + tap.offset[2];
                // SAFETY: columns lo..hi of the row exist.
                unsafe {
                    match window.step[2] {
                        1 => pass::<T, 1>(1, x, start, lo, &mut y[lo..hi], &mut positions[lo..hi]),
                        2 => pass::<T, 2>(2, x, start, lo, &mut y[lo..hi], &mut positions[lo..hi]),
                        s => pass::<T, 0>(s, x, start, lo, &mut y[lo..hi], &mut positions[lo..hi]),
                    }
                }
            }
            let mut none = false;
            for (a, p) in at.iter_mut().zip(positions.iter()) {
                *a = *p as i64;
                none |= *p == NONE;
            }
            if none {
                first_positions(window, d, h, at);
            }
        }
    }
}

/// Maxima of `N` planes from `first` on, which are compared together: maxima of one wait for each other, and branches
/// would be guessed wrong.
///
/// # Safety
/// As `max_planes`.
#[inline(always)]
unsafe fn maxima<T: Ordered, const N: usize>(table: &Table, p: &MaxPlanes<T>, first: usize, size: usize) {
    let (x, results) = (p.x.wrapping_add(first * size), table.ends.len());
    table.each(|i, elements| {
        // a window of the lowest value alone has its maximum at its first element
        let (mut best, mut at) = ([T::LOWEST; N], [T::Place::from(elements.first().map_or(NONE, |&e| e)); N]);
        for &e in elements {
            let (mut v, place) = ([T::LOWEST; N], T::Place::from(e));
            for (l, v) in v.iter_mut().enumerate() {
                // SAFETY: an element of the plane.
                *v = unsafe { *x.add(l * size + e as usize) };
            }
            for l in 0..N {
                #[allow(clippy::eq_op)]
                let better = (v[l] > best[l]) | (v[l] != v[l]);
                best[l] = if better { v[l] } else { best[l] };
                at[l] = if better { place } else { at[l] };
            }
        }
        for l in 0..N {
            // SAFETY: a result of the plane.
            unsafe {
                *p.y.add((first + l) * results + i) = best[l];
                *p.at.add((first + l) * results + i) = at[l].into() as i64;
            }
        }
    });
}

/// Compares one kernel position of a row of windows with what was found so far.
#[inline(always)]
unsafe fn pass<T: Ordered, const S: usize>(
    step: usize,
    x: *const T,
    start: isize,
    lo: usize,
    y: &mut [T],
    at: &mut [u32],
) {
    let step = if S == 0 { step } else { S };
    let start = start + (lo * step) as isize;
    let row = x.wrapping_offset(start);
    for i in 0..y.len() {
        // SAFETY: the caller vouches for the row.
        let v = unsafe { *row.add(i * step) };
        // NaN differs from itself
        #[allow(clippy::eq_op)]
        let better = (v > y[i]) | (v != v);
        y[i] = if better { v } else { y[i] };
        at[i] = if better { (start as usize + i * step) as u32 } else { at[i] };
    }
}

/// Where no maximum was found, the window's first element that is not padding is the answer.
#[cold]
fn first_positions(window: &Window, d: usize, h: usize, at: &mut [i64]) {
    for (w, a) in at.iter_mut().enumerate().filter(|a| *a.1 == NONE as i64) {
        let exists = |t: &&Tap| window.row(d, h, t).is_some() && window.columns(w, w + 1, t) == (w, w + 1);
        if let Some(t) = window.taps.iter().find(exists) {
            let row = window.row(d, h, t).unwrap_or(0);
            *a = (row + (w * window.step[2]) as isize + t.offset[2]) as i64;
        }
    }
}

/// Planes in and planes out; the pointers are those of the first of all planes.
pub struct Planes<'a, T> {
    pub window: &'a Window,
    pub range: Range<usize>,
    pub x: *const T,
    pub y: *mut T,
}

/// Means: the sum of each window, divided.
pub struct Means<'a, T> {
    pub planes: Planes<'a, T>,
    pub divisors: &'a [T],
}

impl<T: Real> Body<T> for Means<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let Planes { window, range, x, y } = self.planes;
        let ([depth, height, width], size, columns) = (window.out, window.plane(), columns(window));
        if let Some(table) = Table::new(window) {
            let results = window.positions();
            for plane in range {
                table.each(|i, elements| {
                    let mut sum = T::ZERO;
                    for &e in elements {
                        // SAFETY: an element of the plane.
                        sum += unsafe { *x.add(plane * size + e as usize) };
                    }
                    // SAFETY: a result of the plane.
                    unsafe { *y.add(plane * results + i) = sum / self.divisors[i] };
                });
            }
            return;
        }
        for plane in range {
            let x = x.wrapping_add(plane * size);
            let y = y.wrapping_add(plane * depth * height * width);
            for (d, h) in (0..depth).flat_map(|d| (0..height).map(move |h| (d, h))) {
                let row = (d * height + h) * width;
                // SAFETY: rows of the result and of the divisors; columns lo..hi of the input's row exist.
                unsafe {
                    let y = std::slice::from_raw_parts_mut(y.add(row), width);
                    y.fill(T::ZERO);
                    for (tap, &(lo, hi)) in window.taps.iter().zip(&columns) {
                        let Some(start) = window.row(d, h, tap) else { continue };
                        let x = x.wrapping_offset(start + tap.offset[2] + (lo * window.step[2]) as isize);
                        match window.step[2] {
                            1 => add::<T, 1>(1, x, &mut y[lo..hi]),
                            2 => add::<T, 2>(2, x, &mut y[lo..hi]),
                            s => add::<T, 0>(s, x, &mut y[lo..hi]),
                        }
                    }
                    for (y, s) in y.iter_mut().zip(&self.divisors[row..row + width]) {
                        *y = *y / *s;
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn add<T: Real, const S: usize>(step: usize, x: *const T, y: &mut [T]) {
    let step = if S == 0 { step } else { S };
    for i in 0..y.len() {
        // SAFETY: the caller vouches for the row.
        y[i] += unsafe { *x.add(i * step) };
    }
}

/// The gradient of means: `x` is the result's gradient, `y` the input's.
pub struct Grads<'a, T> {
    pub planes: Planes<'a, T>,
    pub divisors: &'a [T],
}

impl<T: Real> Body<T> for Grads<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let Planes { window, range, x: g, y: x } = self.planes;
        let ([depth, height, width], size, columns) = (window.out, window.plane(), columns(window));
        let step = window.step[2];
        for plane in range {
            let (x, g) = (x.wrapping_add(plane * size), g.wrapping_add(plane * depth * height * width));
            // SAFETY: planes as the struct says; columns lo..hi of the row exist.
            unsafe {
                std::slice::from_raw_parts_mut(x, size).fill(T::ZERO);
                for (d, h) in (0..depth).flat_map(|d| (0..height).map(move |h| (d, h))) {
                    let row = (d * height + h) * width;
                    for (tap, &(lo, hi)) in window.taps.iter().zip(&columns) {
                        let Some(start) = window.row(d, h, tap) else { continue };
                        let x = x.wrapping_offset(start + tap.offset[2]);
                        for w in lo..hi {
                            *x.wrapping_add(w * step) += *g.add(row + w) / self.divisors[row + w];
                        }
                    }
                }
            }
        }
    }
}
