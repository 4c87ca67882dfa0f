//! What reductions accumulate: sums, products, extremes, positions and moments, for one row (`Rows`) and for many
//! columns
//! at once (`Columns`). Not here: which elements belong together and in which order (`reduce_drive`).

use std::marker::PhantomData;
use std::ops::{Add, Mul};

use rtorch_ir::Result;

use crate::reader::{Cursor, Element};
use crate::versions::versions;

/// Independent accumulators of a row: element `i` goes to lane `i % LANES`, lanes are then folded in halves.
const LANES: usize = 64;
/// Rows up to this length are folded from left to right.
pub const SHORT: usize = 16;

/// An associative operation on numbers.
pub trait Fold: Copy + Send + Sync + 'static {
    type T: Element;
    fn identity() -> Self::T;
    fn fold(a: Self::T, b: Self::T) -> Self::T;
}

macro_rules! folds {
    ($name:ident, $($t:ty: $id:expr, $f:expr;)*) => {$(
        impl Fold for $name<$t> {
            type T = $t;
            #[inline(always)]
            fn identity() -> $t {
                $id
            }
            #[inline(always)]
            fn fold(a: $t, b: $t) -> $t {
                let f: fn($t, $t) -> $t = $f;
                f(a, b)
            }
        }
    )*};
}

#[derive(Clone, Copy)]
pub struct Sum<T>(PhantomData<T>);
folds!(Sum, f32: 0.0, |a, b| a + b; f64: 0.0, |a, b| a + b;
    i32: 0, |a, b| a.wrapping_add(b); i64: 0, |a, b| a.wrapping_add(b););
#[derive(Clone, Copy)]
pub struct Prod<T>(PhantomData<T>);
folds!(Prod, f32: 1.0, |a, b| a * b; f64: 1.0, |a, b| a * b;
    i32: 1, |a, b| a.wrapping_mul(b); i64: 1, |a, b| a.wrapping_mul(b););
// a NaN wins
#[derive(Clone, Copy)]
pub struct Max<T>(PhantomData<T>);
folds!(Max,
    f32: f32::NEG_INFINITY, |a, b| if a > b || a.is_nan() { a } else { b };
    f64: f64::NEG_INFINITY, |a, b| if a > b || a.is_nan() { a } else { b };
    i32: i32::MIN, |a, b| a.max(b); i64: i64::MIN, |a, b| a.max(b); u8: 0, |a, b| a.max(b););
#[derive(Clone, Copy)]
pub struct Min<T>(PhantomData<T>);
folds!(Min,
    f32: f32::INFINITY, |a, b| if a < b || a.is_nan() { a } else { b };
    f64: f64::INFINITY, |a, b| if a < b || a.is_nan() { a } else { b };
    i32: i32::MAX, |a, b| a.min(b); i64: i64::MAX, |a, b| a.min(b); u8: 1, |a, b| a.min(b););

/// Adds a run of whole rounds of lanes, or the last one of a piece.
#[inline(always)]
fn add<F: Fold>(sum: &mut [F::T; LANES], x: &[F::T]) {
    let mut acc = *sum;
    let mut blocks = x.chunks_exact(LANES);
    for b in &mut blocks {
        for l in 0..LANES {
            acc[l] = F::fold(acc[l], b[l]);
        }
    }
    for (l, &v) in blocks.remainder().iter().enumerate() {
        acc[l] = F::fold(acc[l], v);
    }
    *sum = acc;
}
versions!(fn fold_run[F: Fold](sum: &mut [F::T; LANES], x: &[F::T]) = add::<F>);

#[inline(always)]
fn lanes<F: Fold>(x: &[F::T]) -> F::T {
    if x.len() <= SHORT {
        return x.iter().fold(F::identity(), |a, &b| F::fold(a, b));
    }
    let mut acc = [F::identity(); LANES];
    add::<F>(&mut acc, x);
    finish::<F>(acc)
}

/// What the lanes give together.
#[inline(always)]
fn finish<F: Fold>(mut acc: [F::T; LANES]) -> F::T {
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            acc[l] = F::fold(acc[l], acc[l + width]);
        }
        width /= 2;
    }
    acc[0]
}
versions!(fn fold_row[F: Fold](x: &[F::T]) -> F::T = lanes::<F>);

#[inline(always)]
fn columns<F: Fold>(acc: &mut [F::T], x: &[F::T]) {
    for (a, &v) in acc.iter_mut().zip(x) {
        *a = F::fold(*a, v);
    }
}
versions!(fn fold_columns[F: Fold](acc: &mut [F::T], x: &[F::T]) = columns::<F>);

/// A reduction seen along its rows: contiguous pieces give states, states merge in order.
pub trait Rows: Send + Sync {
    type In: Element;
    type State: Copy + Send;
    /// Of a piece whose first element is number `first` of the reduced ones.
    fn piece(&self, x: &[Self::In], first: usize) -> Self::State;
    /// The same of elements `start..start + n` of a reader.
    fn read(&self, cursor: &mut Cursor, start: usize, n: usize, first: usize) -> Result<Self::State> {
        Ok(self.piece(cursor.read(start, n)?, first))
    }
    fn merge(&self, a: Self::State, b: Self::State) -> Self::State;
}

/// The same across its columns: rows are added one by one.
pub trait Columns: Send {
    type In: Element;
    type State: Copy + Send;
    fn new(width: usize) -> Self;
    fn clear(&mut self);
    /// Adds to the first `x.len()` columns; `k` is the row's number among the reduced ones.
    fn add(&mut self, x: &[Self::In], k: usize);
    /// Takes in what later rows gave.
    fn absorb(&mut self, later: &Self);
    fn state(&self, column: usize) -> Self::State;
}

/// `Fold` as rows.
pub struct FoldRows<F>(pub PhantomData<F>);
impl<F: Fold> Rows for FoldRows<F> {
    type In = F::T;
    type State = F::T;
    #[inline]
    fn piece(&self, x: &[F::T], _: usize) -> F::T {
        fold_row::<F>(x)
    }
    // what a prologue gives is added tile by tile, while it is in L1 with the prologue's constants
    fn read(&self, cursor: &mut Cursor, start: usize, n: usize, first: usize) -> Result<F::T> {
        let step = cursor.step(LANES);
        if n <= step.max(SHORT) {
            return Ok(self.piece(cursor.read(start, n)?, first));
        }
        let mut sum = [F::identity(); LANES];
        for at in (0..n).step_by(step) {
            fold_run::<F>(&mut sum, cursor.read(start + at, step.min(n - at))?);
        }
        Ok(finish::<F>(sum))
    }
    #[inline]
    fn merge(&self, a: F::T, b: F::T) -> F::T {
        F::fold(a, b)
    }
}

/// The sum of the squares of what is read, to the bit that of squares read by `FoldRows<Sum<_>>`: a pass less.
pub struct SquareRows<T>(pub PhantomData<T>);
impl<T: Number> Rows for SquareRows<T> {
    type In = T;
    type State = T;
    #[inline]
    fn piece(&self, x: &[T], _: usize) -> T {
        square_row::<T>(x)
    }
    #[inline]
    fn merge(&self, a: T, b: T) -> T {
        a + b
    }
}

/// A number of which squares are summed.
pub trait Number: Float + Mul<Output = Self> + Add<Output = Self> {
    type Sum: Fold<T = Self>;
}
impl Number for f32 {
    type Sum = Sum<f32>;
}
impl Number for f64 {
    type Sum = Sum<f64>;
}

#[inline(always)]
fn squares<T: Number>(x: &[T]) -> T {
    let zero = T::Sum::identity();
    if x.len() <= SHORT {
        return x.iter().fold(zero, |a, &v| a + v * v);
    }
    let mut acc = [zero; LANES];
    let mut blocks = x.chunks_exact(LANES);
    for b in &mut blocks {
        for l in 0..LANES {
            acc[l] = acc[l] + b[l] * b[l];
        }
    }
    for (l, &v) in blocks.remainder().iter().enumerate() {
        acc[l] = acc[l] + v * v;
    }
    finish::<T::Sum>(acc)
}
versions!(fn square_row[T: Number](x: &[T]) -> T = squares::<T>);

/// `Fold` as columns.
pub struct FoldColumns<F: Fold>(Vec<F::T>);
impl<F: Fold> Columns for FoldColumns<F> {
    type In = F::T;
    type State = F::T;
    fn new(width: usize) -> Self {
        FoldColumns(vec![F::identity(); width])
    }
    fn clear(&mut self) {
        self.0.fill(F::identity());
    }
    #[inline]
    fn add(&mut self, x: &[F::T], _: usize) {
        fold_columns::<F>(&mut self.0[..x.len()], x);
    }
    fn absorb(&mut self, later: &Self) {
        fold_columns::<F>(&mut self.0, &later.0);
    }
    fn state(&self, column: usize) -> F::T {
        self.0[column]
    }
}

// ---- positions

/// An extreme and the number of the element that gave it, the first of equals; a NaN wins over all.
#[derive(Clone, Copy)]
pub struct Found<T> {
    pub value: T,
    pub at: i64,
}

/// Does `b` beat an earlier `a`?
trait Beats: Fold {
    fn beats(b: Self::T, a: Self::T) -> bool;
    fn same(a: Self::T, b: Self::T) -> bool;
}
macro_rules! beats {
    ($($name:ident $op:tt $($t:ty)*;)*) => {$($(
        impl Beats for $name<$t> {
            #[inline(always)]
            #[allow(clippy::eq_op)]
            fn beats(b: $t, a: $t) -> bool {
                // NaN is what differs from itself
                (b $op a) | ((b != b) & (a == a))
            }
            #[inline(always)]
            #[allow(clippy::eq_op)]
            fn same(a: $t, b: $t) -> bool {
                (a == b) | ((a != a) & (b != b))
            }
        }
    )*)*};
}
beats!(Max > f32 f64 i32 i64 u8; Min < f32 f64 i32 i64 u8;);

/// Public face of `Beats`.
#[allow(private_bounds)]
pub trait Extreme: Beats {}
impl<F: Beats> Extreme for F {}

/// The extreme's first position in a row: the value is found with all lanes, then looked for.
#[inline(always)]
fn find<F: Extreme>(x: &[F::T], value: F::T) -> usize {
    for (i, block) in x.chunks(LANES).enumerate() {
        let mut hit = false;
        for &v in block {
            hit |= F::same(v, value);
        }
        if hit {
            let k = block.iter().position(|&v| F::same(v, value)).unwrap_or(0);
            return i * LANES + k;
        }
    }
    0
}
versions!(fn find_row[F: Extreme](x: &[F::T], value: F::T) -> usize = find::<F>);

#[inline(always)]
fn update<F: Extreme>(value: &mut [F::T], at: &mut [i64], x: &[F::T], k: i64) {
    for ((v, p), &b) in value.iter_mut().zip(at.iter_mut()).zip(x) {
        let better = F::beats(b, *v);
        *v = if better { b } else { *v };
        *p = if better { k } else { *p };
    }
}
versions!(fn update_columns[F: Extreme](value: &mut [F::T], at: &mut [i64], x: &[F::T], k: i64) = update::<F>);

pub struct FindRows<F>(pub PhantomData<F>);
impl<F: Extreme> Rows for FindRows<F> {
    type In = F::T;
    type State = Found<F::T>;
    #[inline]
    fn piece(&self, x: &[F::T], first: usize) -> Found<F::T> {
        let value = fold_row::<F>(x);
        Found { value, at: (first + find_row::<F>(x, value)) as i64 }
    }
    fn merge(&self, a: Found<F::T>, b: Found<F::T>) -> Found<F::T> {
        if F::beats(b.value, a.value) { b } else { a }
    }
}

pub struct FindColumns<F: Extreme> {
    value: Vec<F::T>,
    at: Vec<i64>,
    empty: bool,
}
impl<F: Extreme> Columns for FindColumns<F> {
    type In = F::T;
    type State = Found<F::T>;
    fn new(width: usize) -> Self {
        FindColumns { value: vec![F::identity(); width], at: vec![0; width], empty: true }
    }
    fn clear(&mut self) {
        self.empty = true;
    }
    #[inline]
    fn add(&mut self, x: &[F::T], k: usize) {
        let n = x.len();
        if self.empty {
            self.value[..n].copy_from_slice(x);
            self.at.fill(k as i64);
            self.empty = false;
        } else {
            update_columns::<F>(&mut self.value[..n], &mut self.at[..n], x, k as i64);
        }
    }
    fn absorb(&mut self, later: &Self) {
        for c in 0..self.value.len() {
            if F::beats(later.value[c], self.value[c]) {
                self.value[c] = later.value[c];
                self.at[c] = later.at[c];
            }
        }
    }
    fn state(&self, c: usize) -> Found<F::T> {
        Found { value: self.value[c], at: self.at[c] }
    }
}

// ---- moments

/// Count, mean and sum of squared deviations (Welford 1962; merged as in Chan, Golub and LeVeque 1979).
#[derive(Clone, Copy)]
pub struct Moments {
    pub n: f64,
    pub mean: f64,
    pub m2: f64,
}

impl Moments {
    pub const NONE: Moments = Moments { n: 0.0, mean: 0.0, m2: 0.0 };
    pub fn merge(self, b: Moments) -> Moments {
        let n = self.n + b.n;
        if b.n == 0.0 {
            return self;
        }
        if self.n == 0.0 {
            return b;
        }
        let d = b.mean - self.mean;
        let share = b.n / n;
        Moments { n, mean: self.mean + d * share, m2: self.m2 + b.m2 + d * d * self.n * share }
    }
}

/// Floats that moments are taken of.
pub trait Float: Element {
    fn wide(self) -> f64;
}
impl Float for f32 {
    #[inline(always)]
    fn wide(self) -> f64 {
        self as f64
    }
}
impl Float for f64 {
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
}

/// Two passes over a piece that stays in the cache, in f64.
#[inline(always)]
fn moments<T: Float>(x: &[T]) -> Moments {
    const L: usize = 32;
    let n = x.len() as f64;
    let sum_of = |f: &dyn Fn(f64) -> f64| x.iter().map(|&v| f(v.wide())).sum::<f64>();
    if x.len() < L {
        let mean = sum_of(&|v| v) / n;
        return Moments { n, mean, m2: sum_of(&|v| (v - mean) * (v - mean)) };
    }
    let mut acc = [0f64; L];
    let (blocks, rest) = x.split_at(x.len() / L * L);
    for b in blocks.chunks_exact(L) {
        for l in 0..L {
            acc[l] += b[l].wide();
        }
    }
    let mean = (acc.iter().sum::<f64>() + rest.iter().map(|v| v.wide()).sum::<f64>()) / n;
    acc = [0.0; L];
    for b in blocks.chunks_exact(L) {
        for l in 0..L {
            let d = b[l].wide() - mean;
            acc[l] += d * d;
        }
    }
    let tail = rest.iter().map(|v| (v.wide() - mean) * (v.wide() - mean)).sum::<f64>();
    Moments { n, mean, m2: acc.iter().sum::<f64>() + tail }
}
versions!(fn moments_row[T: Float](x: &[T]) -> Moments = moments::<T>);

#[inline(always)]
fn welford<T: Float>(mean: &mut [f64], m2: &mut [f64], x: &[T], inverse: f64) {
    for ((m, s), &v) in mean.iter_mut().zip(m2.iter_mut()).zip(x) {
        let v = v.wide();
        let d = v - *m;
        let new = *m + d * inverse;
        *s += d * (v - new);
        *m = new;
    }
}
versions!(fn welford_columns[T: Float](mean: &mut [f64], m2: &mut [f64], x: &[T], inverse: f64) = welford::<T>);

pub struct MomentRows<T>(pub PhantomData<T>);
impl<T: Float> Rows for MomentRows<T> {
    type In = T;
    type State = Moments;
    fn piece(&self, x: &[T], _: usize) -> Moments {
        moments_row::<T>(x)
    }
    fn merge(&self, a: Moments, b: Moments) -> Moments {
        a.merge(b)
    }
}

pub struct MomentColumns<T> {
    n: f64,
    mean: Vec<f64>,
    m2: Vec<f64>,
    _in: PhantomData<T>,
}
impl<T: Float> Columns for MomentColumns<T> {
    type In = T;
    type State = Moments;
    fn new(width: usize) -> Self {
        MomentColumns { n: 0.0, mean: vec![0.0; width], m2: vec![0.0; width], _in: PhantomData }
    }
    fn clear(&mut self) {
        self.n = 0.0;
        self.mean.fill(0.0);
        self.m2.fill(0.0);
    }
    fn add(&mut self, x: &[T], _: usize) {
        self.n += 1.0;
        welford_columns::<T>(&mut self.mean[..x.len()], &mut self.m2[..x.len()], x, 1.0 / self.n);
    }
    fn absorb(&mut self, later: &Self) {
        for c in 0..self.mean.len() {
            let m = self.state(c).merge(later.state(c));
            (self.mean[c], self.m2[c]) = (m.mean, m.m2);
        }
        self.n += later.n;
    }
    fn state(&self, c: usize) -> Moments {
        Moments { n: self.n, mean: self.mean[c], m2: self.m2[c] }
    }
}
