//! `Prim::Distance`: distances of all pairs of rows, and the gradients of the rows.
//! A tile of one operand's rows is laid out column by column, so that the differences of one row of the other operand
//! to all of the tile's are made at once; what belongs to one pair is added up in blocks of columns (or of rows, in the
//! gradients). Threads take tiles of a batch.
//! Not here: p-norms that need powers, and the Euclidean distance by a matrix product (`rtorch.cdist`).

use std::ops::Range;

use rtorch_ir::prim::Metric;
use rtorch_ir::{DType, Result};

use crate::gemm::lanes::Lanes;
use crate::gemm::{Body, Gemm};
use crate::operand::{Operand, Output};
use crate::threads::parallel_for;
use crate::{Arg, Source};

/// Rows of a tile; a last one of few rows is narrower.
const WIDE: usize = 32;
const NARROW: usize = 8;
/// Columns that are laid out at a time.
const COLUMNS: usize = 64;
/// Rows that are compared with a tile before another task may, and that are added up by themselves.
const ROWS: usize = 64;
/// Differences a thread should make at least.
const GRAIN: usize = 1 << 14;

/// The arithmetic of distances.
trait Number: Gemm {
    fn abs(self) -> Self;
    fn sqrt(self) -> Self;
    fn is_nan(self) -> bool;
}

macro_rules! number {
    ($($t:ty)*) => {$(
        impl Number for $t {
            #[inline(always)]
            fn abs(self) -> $t {
                <$t>::abs(self)
            }
            #[inline(always)]
            fn sqrt(self) -> $t {
                <$t>::sqrt(self)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                <$t>::is_nan(self)
            }
        }
    )*};
}
number!(f32 f64);

/// `v` with the sign of `d`, zero where d is zero.
#[inline(always)]
fn signed<T: Number>(v: T, d: T) -> T {
    let below = if d < T::ZERO { T::ZERO - v } else { T::ZERO };
    if d > T::ZERO { v } else { below }
}

/// A metric, as code that the loops are compiled for.
trait Measure<T: Number> {
    /// The distance of one difference.
    fn of(d: T) -> T;
    /// The distance of what two parts make together.
    #[inline(always)]
    fn join(a: T, b: T) -> T {
        a + b
    }
    #[inline(always)]
    fn end(sum: T) -> T {
        sum
    }
    /// What the pair's cotangent and distance give for `slope`.
    #[inline(always)]
    fn weight(g: T, _distance: T) -> T {
        g
    }
    /// The part of one difference in the gradient.
    fn slope(weight: T, distance: T, d: T) -> T;
}

struct Count;
struct Sum;
struct Euclid;
struct Largest;

impl<T: Number> Measure<T> for Count {
    #[inline(always)]
    fn of(d: T) -> T {
        if d == T::ZERO { T::ZERO } else { T::from_f64(1.0) }
    }
    #[inline(always)]
    fn slope(_: T, _: T, _: T) -> T {
        T::ZERO
    }
}

impl<T: Number> Measure<T> for Sum {
    #[inline(always)]
    fn of(d: T) -> T {
        d.abs()
    }
    #[inline(always)]
    fn slope(weight: T, _: T, d: T) -> T {
        signed(weight, d)
    }
}

impl<T: Number> Measure<T> for Euclid {
    #[inline(always)]
    fn of(d: T) -> T {
        d * d
    }
    #[inline(always)]
    fn end(sum: T) -> T {
        sum.sqrt()
    }
    #[inline(always)]
    fn weight(g: T, distance: T) -> T {
        // divided in every lane, without a branch
        let zero = distance == T::ZERO;
        let ratio = g / if zero { T::from_f64(1.0) } else { distance };
        if zero { T::ZERO } else { ratio }
    }
    #[inline(always)]
    fn slope(weight: T, _: T, d: T) -> T {
        weight * d
    }
}

impl<T: Number> Measure<T> for Largest {
    #[inline(always)]
    fn of(d: T) -> T {
        d.abs()
    }
    #[inline(always)]
    fn join(a: T, b: T) -> T {
        if b > a || b.is_nan() { b } else { a }
    }
    #[inline(always)]
    fn slope(weight: T, distance: T, d: T) -> T {
        if d.abs() == distance { signed(weight, d) } else { T::ZERO }
    }
}

/// Values of a tile's rows, for each of some columns.
type Laid<T> = [[T; WIDE]; COLUMNS];
/// Weights and distances of a tile's rows with some of the other operand's.
type Pairs<T> = [[[T; WIDE]; ROWS]; 2];

/// Lays `cols` columns of `rows` rows out; `x` is the first row's first column. Lanes without a row are zero.
///
/// # Safety
/// `x` holds these values in rows of `stride`.
#[inline(always)]
unsafe fn lay<T: Number, const W: usize>(to: &mut Laid<T>, x: *const T, stride: usize, rows: usize, cols: usize) {
    for l in 0..W {
        for (m, column) in to.iter_mut().enumerate().take(cols) {
            // SAFETY: as the caller's.
            column[l] = if l < rows { unsafe { *x.add(l * stride + m) } } else { T::ZERO };
        }
    }
}

/// Parts of at most `size` of a range: the start and the size of each.
fn parts(n: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).step_by(size).map(move |start| (start, size.min(n - start)))
}

/// Both operands' rows and what is made of them.
struct Forward<T> {
    x: [*const T; 2],
    y: *mut T,
    rows: [usize; 2],
    columns: usize,
    metric: Metric,
    upper: bool,
    /// Of batch x blocks of the first's rows x tiles of the second's.
    tasks: Range<usize>,
}

impl<T: Number> Forward<T> {
    /// # Safety
    /// As the body's.
    #[inline(always)]
    unsafe fn all<M: Measure<T>>(&self) {
        let [p, r] = self.rows;
        let (blocks, tiles) = (p.div_ceil(ROWS), r.div_ceil(WIDE));
        let mut laid: Laid<T> = [[T::ZERO; WIDE]; COLUMNS];
        for task in self.tasks.clone() {
            let (b, i, j) = (task / (blocks * tiles), task / tiles % blocks * ROWS, task % tiles * WIDE);
            let (rows, width) = (ROWS.min(p - i), WIDE.min(r - j));
            // SAFETY: the rows' and columns' numbers are the operands'.
            unsafe {
                if width > NARROW {
                    self.tile::<M, WIDE>(&mut laid, b, i..i + rows, j..j + width);
                } else {
                    self.tile::<M, NARROW>(&mut laid, b, i..i + rows, j..j + width);
                }
            }
        }
    }

    /// # Safety
    /// Rows of batch `b`.
    #[inline(always)]
    unsafe fn tile<M: Measure<T>, const W: usize>(
        &self,
        laid: &mut Laid<T>,
        b: usize,
        rows: Range<usize>,
        tile: Range<usize>,
    ) {
        let ([p, r], n, width) = (self.rows, self.columns, tile.len());
        for (m, cols) in parts(n, COLUMNS) {
            // SAFETY: as the caller's; a task's results are its own.
            unsafe {
                lay::<T, W>(laid, self.x[1].add((b * r + tile.start) * n + m), n, width, cols);
                for i in rows.clone() {
                    let x = self.x[0].add((b * p + i) * n + m);
                    let y = self.y.add((b * p + i) * r + tile.start);
                    if self.upper && i >= tile.end - 1 {
                        (0..width).for_each(|l| *y.add(l) = T::ZERO);
                        continue;
                    }
                    let mut sums = [T::ZERO; W];
                    for (k, column) in laid.iter().enumerate().take(cols) {
                        let a = *x.add(k);
                        for l in 0..W {
                            sums[l] = M::join(sums[l], M::of(a - column[l]));
                        }
                    }
                    let last = m + cols == n;
                    for (l, &sum) in sums.iter().enumerate().take(width) {
                        let sum = if m > 0 { M::join(*y.add(l), sum) } else { sum };
                        let left_out = last && self.upper && tile.start + l <= i;
                        let sum = if last { M::end(sum) } else { sum };
                        *y.add(l) = if left_out { T::ZERO } else { sum };
                    }
                }
            }
        }
    }
}

impl<T: Number> Body<T> for Forward<T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        // SAFETY: as the caller's.
        unsafe {
            match self.metric {
                Metric::Count => self.all::<Count>(),
                Metric::Sum => self.all::<Sum>(),
                Metric::Euclid => self.all::<Euclid>(),
                Metric::Largest => self.all::<Largest>(),
            }
        }
    }
}

/// The gradient of one operand's rows (the tile's); the other's are added up.
struct Backward<T> {
    own: *const T,
    other: *const T,
    /// Cotangents and distances, and how far the next row of the tile and of the other operand is in them.
    pairs: [*const T; 2],
    steps: [usize; 2],
    out: *mut T,
    /// Of the tile's operand, and of the other.
    rows: [usize; 2],
    columns: usize,
    metric: Metric,
    /// Of batch x tiles.
    tasks: Range<usize>,
}

impl<T: Number> Backward<T> {
    /// # Safety
    /// As the body's.
    #[inline(always)]
    unsafe fn all<M: Measure<T>>(&self) {
        let tiles = self.rows[0].div_ceil(WIDE);
        let zero = [[T::ZERO; WIDE]; COLUMNS];
        let mut space = ([zero; 3], [[[T::ZERO; WIDE]; ROWS]; 2]);
        for task in self.tasks.clone() {
            let (b, start) = (task / tiles, task % tiles * WIDE);
            let width = WIDE.min(self.rows[0] - start);
            // SAFETY: the rows' and columns' numbers are the operands'.
            unsafe {
                if width > NARROW {
                    self.tile::<M, WIDE>(&mut space, b, start..start + width);
                } else {
                    self.tile::<M, NARROW>(&mut space, b, start..start + width);
                }
            }
        }
    }

    /// # Safety
    /// Rows of batch `b`.
    #[inline(always)]
    unsafe fn tile<M: Measure<T>, const W: usize>(
        &self,
        space: &mut ([Laid<T>; 3], Pairs<T>),
        b: usize,
        tile: Range<usize>,
    ) {
        let ([own, other], n, width) = (self.rows, self.columns, tile.len());
        let ([laid, sums, part], pairs) = space;
        // SAFETY: as the caller's; a task's results are its own.
        unsafe {
            for (m, cols) in parts(n, COLUMNS) {
                let first = (b * own + tile.start) * n + m;
                lay::<T, W>(laid, self.own.add(first), n, width, cols);
                sums[..cols].fill([T::ZERO; WIDE]);
                for (k, count) in parts(other, ROWS) {
                    part[..cols].fill([T::ZERO; WIDE]);
                    self.weigh::<M>(pairs, b * own * other, &tile, k..k + count);
                    for r in 0..count {
                        let x = self.other.add((b * other + k + r) * n + m);
                        let (weight, distance) = (&pairs[0][r], &pairs[1][r]);
                        for (c, (part, column)) in part.iter_mut().zip(laid.iter()).enumerate().take(cols) {
                            let a = *x.add(c);
                            for l in 0..W {
                                part[l] += M::slope(weight[l], distance[l], column[l] - a);
                            }
                        }
                    }
                    for (sum, part) in sums.iter_mut().zip(part.iter()).take(cols) {
                        (0..W).for_each(|l| sum[l] += part[l]);
                    }
                }
                for l in 0..width {
                    for (c, sum) in sums.iter().enumerate().take(cols) {
                        *self.out.add(first + l * n + c) = sum[l];
                    }
                }
            }
        }
    }

    /// Weights and distances of the tile's pairs with `others` rows of the other operand. By themselves: in the loop
    /// that uses them LLVM would unroll all lanes into scalars.
    ///
    /// # Safety
    /// As the body's.
    #[inline(always)]
    unsafe fn weigh<M: Measure<T>>(&self, to: &mut Pairs<T>, batch: usize, tile: &Range<usize>, others: Range<usize>) {
        let [weights, distances] = to;
        for ((weight, distance), k) in weights.iter_mut().zip(distances).zip(others) {
            for l in 0..tile.len() {
                let pair = batch + (tile.start + l) * self.steps[0] + k * self.steps[1];
                // SAFETY: as the caller's.
                (weight[l], distance[l]) = unsafe { (*self.pairs[0].add(pair), *self.pairs[1].add(pair)) };
            }
            for l in 0..tile.len() {
                weight[l] = M::weight(weight[l], distance[l]);
            }
        }
    }
}

impl<T: Number> Body<T> for Backward<T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        // SAFETY: as the caller's.
        unsafe {
            match self.metric {
                Metric::Count => self.all::<Count>(),
                Metric::Sum => self.all::<Sum>(),
                Metric::Euclid => self.all::<Euclid>(),
                Metric::Largest => self.all::<Largest>(),
            }
        }
    }
}

fn forward<T: Number>(metric: Metric, upper: bool, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let (a, b) = (inputs[0].shape, inputs[1].shape);
    let (rows, columns) = ([a[1], b[1]], a[2]);
    let (x1, x2) = (Operand::dense(&inputs[0], T::DTYPE)?, Operand::dense(&inputs[1], T::DTYPE)?);
    let y = Output::dense(outs[0], T::DTYPE)?;
    let tasks = a[0] * rows[0].div_ceil(ROWS) * rows[1].div_ceil(WIDE);
    let grain = (GRAIN / (rows[0].min(ROWS) * rows[1].min(WIDE) * columns).max(1)).max(1);
    parallel_for(tasks, grain, &|tasks| {
        let (x, y) = ([x1.as_ptr(), x2.as_ptr()], y.as_ptr());
        // SAFETY: operands of these sizes; a task's results are its own.
        unsafe { T::run(Forward { x, y, rows, columns, metric, upper, tasks }) };
    });
    y.store()
}

fn backward<T: Number>(metric: Metric, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let (a, b) = (inputs[1].shape, inputs[2].shape);
    let (p, r, columns) = (a[1], b[1], a[2]);
    let of = |i: usize| Operand::dense(&inputs[i], T::DTYPE);
    let (g, x1, x2, d) = (of(0)?, of(1)?, of(2)?, of(3)?);
    for (x, out, rows, steps) in [([&x1, &x2], outs[0], [p, r], [r, 1]), ([&x2, &x1], outs[1], [r, p], [1, r])] {
        let y = Output::dense(out, T::DTYPE)?;
        let tasks = a[0] * rows[0].div_ceil(WIDE);
        let grain = (GRAIN / (rows[0].min(WIDE) * rows[1] * columns).max(1)).max(1);
        parallel_for(tasks, grain, &|tasks| {
            let (own, other, pairs) = (x[0].as_ptr(), x[1].as_ptr(), [g.as_ptr(), d.as_ptr()]);
            let out = y.as_ptr();
            // SAFETY: operands of these sizes; a task's results are its own.
            unsafe { T::run(Backward { own, other, pairs, steps, out, rows, columns, metric, tasks }) };
        });
        y.store()?;
    }
    Ok(())
}

/// (x1 [b, p, m], x2 [b, r, m]) -> [b, p, r].
pub fn distance(metric: Metric, upper: bool, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    match inputs[0].dtype() {
        DType::F64 => forward::<f64>(metric, upper, inputs, outs),
        _ => forward::<f32>(metric, upper, inputs, outs),
    }
}

/// (g, x1, x2, distances) -> gradients of x1 and x2.
pub fn distance_grad(metric: Metric, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    match inputs[1].dtype() {
        DType::F64 => backward::<f64>(metric, inputs, outs),
        _ => backward::<f32>(metric, inputs, outs),
    }
}
