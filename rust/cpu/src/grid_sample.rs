//! `Prim::GridSample`: pixels of an image at places between them, and the gradients of the image and the places.
//! A place is a few taps a dimension, each a coordinate, a weight and the weight's derivative; their products weigh the
//! pixels. Tiles of places are prepared together, in loops that vectorize, and then read in every channel. What PyTorch
//! makes of places that are no numbers differs between its two and three dimensions, and so it does here.
//! Not here: resizing, whose places form a grid (`resize`).

use std::ops::Range;

use rtorch_ir::prim::{SampleMode, SamplePadding, SampleParams};
use rtorch_ir::{DType, Result, ensure};

use crate::gemm::lanes::Lanes;
use crate::gemm::{Body, Gemm};
use crate::operand::{Operand, Output};
use crate::threads::parallel_for;
use crate::{Arg, Source};

/// Places that are prepared at a time.
const TILE: usize = 32;
/// Most pixels that a place is made of: 4 x 4.
const PIXELS: usize = 16;
/// Pixels a thread should read at least.
const GRAIN: usize = 1 << 14;

/// The arithmetic of coordinates.
pub trait Coordinate: Gemm {
    fn floor(self) -> Self;
    fn even(self) -> Self;
    fn abs(self) -> Self;
    fn rest(self, b: Self) -> Self;
    /// NaN gives `b`.
    fn at_least(self, b: Self) -> Self;
    fn at_most(self, b: Self) -> Self;
    /// The value unless it is less than this; NaN is not.
    fn unless_less(self, v: Self) -> Self;
    /// # Safety
    /// The value is no NaN and lies in i32.
    unsafe fn whole(self) -> i32;
}

macro_rules! coordinate {
    ($($t:ty)*) => {$(
        impl Coordinate for $t {
            #[inline(always)]
            fn floor(self) -> Self {
                <$t>::floor(self)
            }
            #[inline(always)]
            fn even(self) -> Self {
                self.round_ties_even()
            }
            #[inline(always)]
            fn abs(self) -> Self {
                <$t>::abs(self)
            }
            #[inline(always)]
            fn rest(self, b: Self) -> Self {
                self % b
            }
            #[inline(always)]
            fn at_least(self, b: Self) -> Self {
                if self > b { self } else { b }
            }
            #[inline(always)]
            fn at_most(self, b: Self) -> Self {
                if self < b { self } else { b }
            }
            #[inline(always)]
            fn unless_less(self, v: Self) -> Self {
                if v < self { self } else { v }
            }
            #[inline(always)]
            unsafe fn whole(self) -> i32 {
                // SAFETY: as the caller's.
                unsafe { self.to_int_unchecked() }
            }
        }
    )*};
}
coordinate!(f32 f64);

/// One dimension of the image: its size, elements between neighbours, and how grid coordinates become pixels.
#[derive(Clone, Copy)]
struct Axis<T> {
    size: T,
    last: T,
    stride: i32,
    /// Pixels per unit of the grid, and what is taken off.
    scale: T,
    shift: T,
    /// Where reflection begins, and how far it is to the other side.
    low: T,
    span: T,
}

fn axis<T: Gemm>(size: usize, stride: usize, align: bool) -> Axis<T> {
    let n = size as f64;
    let (scale, shift, low, span) = if align { ((n - 1.0) / 2.0, 0.0, 0.0, n - 1.0) } else { (n / 2.0, 0.5, -0.5, n) };
    let t = T::from_f64;
    let (size, last) = (t(n), t(n - 1.0));
    Axis { size, last, stride: stride as i32, scale: t(scale), shift: t(shift), low: t(low), span: t(span) }
}

/// What a kernel knows of its operands: D dimensions, the last first.
struct Image<T, const D: usize> {
    axes: [Axis<T>; D],
    params: SampleParams,
    channels: usize,
    plane: usize,
    places: usize,
}

impl<T: Coordinate, const D: usize> Image<T, D> {
    fn new(p: SampleParams, x: &[usize], grid: &[usize]) -> Result<Image<T, D>> {
        let mut stride = 1;
        let axes = std::array::from_fn(|d| {
            let size = x[x.len() - 1 - d];
            let axis = axis(size, stride, p.align_corners);
            stride *= size;
            axis
        });
        ensure!(stride <= i32::MAX as usize, runtime, "grid_sampler(): images of {stride} pixels are not supported");
        let places = grid[1..grid.len() - 1].iter().product();
        Ok(Image { axes, params: p, channels: x[1], plane: stride, places })
    }

    /// Pixel coordinates of a tile brought into the image as the padding asks; `moves` takes the derivatives.
    #[inline(always)]
    fn bound(&self, v: &mut Line<T>, moves: &mut Line<T>, a: &Axis<T>) {
        let one = T::from_f64(1.0);
        match self.params.padding {
            SamplePadding::Zeros => *moves = [one; TILE],
            SamplePadding::Border => {
                for p in 0..TILE {
                    (v[p], moves[p]) = clip::<T, D>(v[p], a);
                }
            }
            SamplePadding::Reflection => {
                for p in 0..TILE {
                    let (inner, sign) = reflect(v[p], a);
                    let (inner, still) = clip::<T, D>(inner, a);
                    (v[p], moves[p]) = (inner, sign * still);
                }
            }
        }
    }
}

/// Inside the image, and whether it moves with the grid there. NaN ends where PyTorch's does.
#[inline(always)]
fn clip<T: Coordinate, const D: usize>(v: T, a: &Axis<T>) -> (T, T) {
    let moves = if v > T::ZERO && v < a.last { T::from_f64(1.0) } else { T::ZERO };
    // as C++'s std::min(last, std::max(v, 0)) in three dimensions
    let up = if D == 2 { v.at_least(T::ZERO) } else { T::ZERO.unless_less(v) };
    (up.at_most(a.last), moves)
}

/// Reflected at the borders until it is inside, and whether it runs backwards there.
#[inline(always)]
fn reflect<T: Coordinate>(v: T, a: &Axis<T>) -> (T, T) {
    let one = T::from_f64(1.0);
    if a.span <= T::ZERO {
        return (T::ZERO, T::ZERO);
    }
    let from = v - a.low;
    let sign = if from < T::ZERO { T::ZERO - one } else { one };
    let from = from.abs();
    let (rest, flips) = (from.rest(a.span), (from / a.span).floor());
    let odd = (flips - (flips * T::from_f64(0.5)).floor() * T::from_f64(2.0)) != T::ZERO;
    if odd { (a.span - rest + a.low, T::ZERO - sign) } else { (rest + a.low, sign) }
}

/// A value for each place of a tile.
type Line<T> = [T; TILE];

/// One tap of one dimension of a tile's places.
#[derive(Clone, Copy)]
struct Tap<T> {
    /// Elements from the image's start; any pixel where the tap is outside.
    at: Line<i32>,
    /// -1 if it is.
    outside: Line<i32>,
    weight: Line<T>,
    /// The weight's derivative with respect to the grid's coordinate.
    slope: Line<T>,
}

/// A tile of places: the taps of each dimension, and the pixels that they make (K = N to the D).
struct Tile<T> {
    taps: [[Tap<T>; 4]; 3],
    /// Elements from the image's start, -1 for a pixel outside.
    at: [Line<i32>; PIXELS],
    weight: [Line<T>; PIXELS],
    /// Is no pixel outside?
    inside: bool,
}

impl<T: Coordinate> Tile<T> {
    fn new() -> Tile<T> {
        let (none, zero) = ([0; TILE], [T::ZERO; TILE]);
        let tap = Tap { at: none, outside: none, weight: zero, slope: zero };
        Tile { taps: [[tap; 4]; 3], at: [none; PIXELS], weight: [zero; PIXELS], inside: false }
    }

    /// Prepares `count` places from `grid` on; what lies behind them in the tile is somewhere in the image.
    ///
    /// # Safety
    /// `grid` holds that many places of D coordinates.
    #[inline(always)]
    unsafe fn fill<const D: usize, const N: usize>(&mut self, image: &Image<T, D>, grid: *const T, count: usize) {
        for d in 0..D {
            let mut v = [T::ZERO; TILE];
            for (p, v) in v.iter_mut().enumerate().take(count) {
                // SAFETY: as the caller's.
                *v = unsafe { *grid.add(p * D + d) };
            }
            self.line::<D, N>(image, v, d);
        }
        let mut outside = 0;
        for z in 0..if D == 3 { N } else { 1 } {
            for y in 0..N {
                for x in 0..N {
                    let k = (z * N + y) * N + x;
                    let (a, b, c) = (&self.taps[0][x], &self.taps[1][y], &self.taps[2][z]);
                    let (at, weight) = (&mut self.at[k], &mut self.weight[k]);
                    for p in 0..TILE {
                        let (mut place, mut out, mut w) =
                            (a.at[p] + b.at[p], a.outside[p] | b.outside[p], a.weight[p] * b.weight[p]);
                        if D == 3 {
                            (place, out, w) = (place + c.at[p], out | c.outside[p], w * c.weight[p]);
                            // left out altogether; in two dimensions a weight that is NaN shows
                            w = if out != 0 { T::ZERO } else { w };
                        }
                        at[p] = place | out;
                        weight[p] = w;
                        outside |= out;
                    }
                }
            }
        }
        self.inside = outside == 0;
    }

    /// The taps of dimension `d` from its grid coordinates.
    #[inline(always)]
    fn line<const D: usize, const N: usize>(&mut self, image: &Image<T, D>, mut v: Line<T>, d: usize) {
        let (a, one) = (&image.axes[d], T::from_f64(1.0));
        for v in &mut v {
            *v = (*v + one) * a.scale - a.shift;
        }
        let mut moves = [one; TILE];
        if N < 4 {
            image.bound(&mut v, &mut moves, a);
        }
        let mut low = v;
        for low in &mut low {
            *low = if N == 1 { low.even() } else { low.floor() };
        }
        for n in 0..N {
            let offset = T::from_f64(n as f64 - if N == 4 { 1.0 } else { 0.0 });
            let mut place = low;
            for place in &mut place {
                *place += offset;
            }
            if N == 4 {
                // every tap for itself
                image.bound(&mut place, &mut moves, a);
            }
            let tap = &mut self.taps[d][n];
            for p in 0..TILE {
                let inner = place[p].at_least(T::ZERO).at_most(a.last);
                // SAFETY: a pixel's coordinate; NaN became 0.
                tap.at[p] = unsafe { inner.whole() } * a.stride;
                tap.outside[p] = if place[p] >= T::ZERO && place[p] < a.size { 0 } else { -1 };
                let t = v[p] - low[p];
                (tap.weight[p], tap.slope[p]) = match (N, n) {
                    (1, _) => (one, T::ZERO),
                    (2, 0) => (one - t, T::ZERO - moves[p] * a.scale),
                    (2, _) => (t, moves[p] * a.scale),
                    _ => {
                        let (weight, slope) = crate::resize::keys(t - offset);
                        (weight, slope * a.scale)
                    }
                };
            }
        }
    }
}

/// Kernels over places of all samples: `run` is compiled for the machine's instruction set.
struct Forward<'a, T, const D: usize, const N: usize, const K: usize> {
    image: &'a Image<T, D>,
    x: *const T,
    grid: *const T,
    y: *mut T,
    range: Range<usize>,
}

impl<T: Coordinate, const D: usize, const N: usize, const K: usize> Body<T> for Forward<'_, T, D, N, K> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let Image { channels, plane, .. } = *self.image;
        let mut tile = Tile::<T>::new();
        tiles(self.image.places, self.range, |start, count| {
            // SAFETY: places of the image's number.
            unsafe { tile.fill::<D, N>(self.image, self.grid.add(start * D), count) };
            pieces(self.image.places, start, count, |n, place, piece| {
                for c in n * channels..(n + 1) * channels {
                    // SAFETY: planes of the image's sizes; offsets lie in a plane.
                    unsafe {
                        let (x, y) = (self.x.add(c * plane), self.y.add(c * self.image.places + place));
                        for p in piece.clone() {
                            let mut sum = T::ZERO;
                            for k in 0..K {
                                sum += tile.weight[k][p] * tile.pixel(x, k, p);
                            }
                            *y.add(p - piece.start) = sum;
                        }
                    }
                }
            });
        });
    }
}

impl<T: Coordinate> Tile<T> {
    /// Pixel `k` of place `p`, zero outside, without a branch for each.
    ///
    /// # Safety
    /// `x` is a plane of the image.
    #[inline(always)]
    unsafe fn pixel(&self, x: *const T, k: usize, p: usize) -> T {
        let at = self.at[k][p];
        // SAFETY: as the caller's.
        let v = unsafe { *x.add(at.max(0) as usize) };
        if at < 0 { T::ZERO } else { v }
    }
}

/// Cuts a range of places into tiles: `f` gets each one's start and size.
#[inline(always)]
fn tiles(places: usize, range: Range<usize>, mut f: impl FnMut(usize, usize)) {
    let mut start = range.start;
    while start < range.end && places > 0 {
        let count = TILE.min(range.end - start);
        f(start, count);
        start += count;
    }
}

/// Cuts a tile where a sample ends: `f` gets the sample, the first place in it, and the tile's part.
#[inline(always)]
fn pieces(places: usize, start: usize, count: usize, mut f: impl FnMut(usize, usize, Range<usize>)) {
    let (mut n, mut place, mut done) = (start / places, start % places, 0);
    while done < count {
        let size = (places - place).min(count - done);
        f(n, place, done..done + size);
        (n, place, done) = (n + 1, 0, done + size);
    }
}

struct Backward<'a, T, const D: usize, const N: usize, const K: usize> {
    image: &'a Image<T, D>,
    g: *const T,
    x: *const T,
    grid: *const T,
    gx: *mut T,
    ggrid: *mut T,
    samples: Range<usize>,
}

impl<T: Coordinate, const D: usize, const N: usize, const K: usize> Body<T> for Backward<'_, T, D, N, K> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let Image { channels, plane, places, .. } = *self.image;
        let size = channels * plane;
        // SAFETY: a task's samples are its own.
        unsafe { std::slice::from_raw_parts_mut(self.gx.add(self.samples.start * size), self.samples.len() * size) }
            .fill(T::ZERO);
        let mut tile = Tile::<T>::new();
        let range = self.samples.start * places..self.samples.end * places;
        tiles(places, range, |start, count| {
            // SAFETY: places of the image's number.
            unsafe { tile.fill::<D, N>(self.image, self.grid.add(start * D), count) };
            let mut sums = [[T::ZERO; TILE]; K];
            let mut nowhere = [[T::ZERO; TILE]; K];
            pieces(places, start, count, |n, place, piece| {
                for c in n * channels..(n + 1) * channels {
                    // SAFETY: planes of the image's sizes; offsets lie in a plane.
                    unsafe {
                        let (x, gx) = (self.x.add(c * plane), self.gx.add(c * plane));
                        let g = self.g.add(c * places + place);
                        for p in piece.clone() {
                            let v = *g.add(p - piece.start);
                            for k in 0..K {
                                let at = tile.at[k][p];
                                let part = tile.weight[k][p] * v;
                                // what is outside is added where nobody looks, each to its own place: sums that
                                // all went to one would wait for each other
                                let to = if at < 0 { nowhere[k].as_mut_ptr().add(p) } else { gx.add(at as usize) };
                                *to += part;
                                sums[k][p] += v * tile.pixel(x, k, p);
                            }
                        }
                    }
                }
            });
            let slopes = slopes::<T, D, N, K>(&tile.taps, &sums);
            for p in 0..count {
                for (d, slope) in slopes.iter().enumerate().take(D) {
                    // SAFETY: places of the image's number.
                    unsafe { *self.ggrid.add((start + p) * D + d) = slope[p] };
                }
            }
        });
    }
}

/// The gradient of the coordinates from those of the pixels' weights.
#[inline(always)]
fn slopes<T: Coordinate, const D: usize, const N: usize, const K: usize>(
    taps: &[[Tap<T>; 4]; 3],
    sums: &[Line<T>; K],
) -> [Line<T>; 3] {
    let mut out = [[T::ZERO; TILE]; 3];
    for (k, sum) in sums.iter().enumerate() {
        let (a, b, c) = (&taps[0][k % N], &taps[1][k / N % N], &taps[2][k / (N * N)]);
        for p in 0..TILE {
            let (s, u, v) = (sum[p], a.weight[p], b.weight[p]);
            if D == 3 {
                let w = c.weight[p];
                out[0][p] += s * a.slope[p] * v * w;
                out[1][p] += s * u * b.slope[p] * w;
                out[2][p] += s * u * v * c.slope[p];
            } else {
                out[0][p] += s * a.slope[p] * v;
                out[1][p] += s * u * b.slope[p];
            }
        }
    }
    out
}

fn forward<T: Coordinate, const D: usize, const N: usize, const K: usize>(
    p: SampleParams,
    inputs: &[Source],
    outs: &[Arg],
) -> Result<()> {
    let image = Image::<T, D>::new(p, inputs[0].shape, inputs[1].shape)?;
    let (x, grid) = (Operand::dense(&inputs[0], T::DTYPE)?, Operand::dense(&inputs[1], T::DTYPE)?);
    let y = Output::dense(outs[0], T::DTYPE)?;
    let grain = (GRAIN / (K * (image.channels + D))).max(1);
    parallel_for(inputs[0].shape[0] * image.places, grain, &|range| {
        let (x, grid, y) = (x.as_ptr(), grid.as_ptr(), y.as_ptr());
        // SAFETY: operands of the image's sizes; a task's places are its own.
        unsafe { T::run(Forward::<T, D, N, K> { image: &image, x, grid, y, range }) };
    });
    y.store()
}

fn backward<T: Coordinate, const D: usize, const N: usize, const K: usize>(
    p: SampleParams,
    inputs: &[Source],
    outs: &[Arg],
) -> Result<()> {
    let image = Image::<T, D>::new(p, inputs[1].shape, inputs[2].shape)?;
    let g = Operand::dense(&inputs[0], T::DTYPE)?;
    let (x, grid) = (Operand::dense(&inputs[1], T::DTYPE)?, Operand::dense(&inputs[2], T::DTYPE)?);
    let (gx, ggrid) = (Output::dense(outs[0], T::DTYPE)?, Output::dense(outs[1], T::DTYPE)?);
    let (pixels, places) = (image.channels * image.plane, image.places);
    let grain = (GRAIN / (places * K * image.channels + pixels).max(1)).max(1);
    parallel_for(inputs[1].shape[0], grain, &|range| {
        let (g, x, grid) = (g.as_ptr(), x.as_ptr(), grid.as_ptr());
        let (gx, ggrid) = (gx.as_ptr(), ggrid.as_ptr());
        // SAFETY: operands of the image's sizes; a task's samples are its own.
        unsafe { T::run(Backward::<T, D, N, K> { image: &image, g, x, grid, gx, ggrid, samples: range }) };
    });
    gx.store()?;
    ggrid.store()
}

/// Picks the body of a mode and a number of dimensions.
macro_rules! pick {
    ($f:ident, $t:ty, $p:expr, $dims:expr, $inputs:expr, $outs:expr) => {
        match ($p.mode, $dims) {
            (SampleMode::Nearest, 2) => $f::<$t, 2, 1, 1>($p, $inputs, $outs),
            (SampleMode::Nearest, _) => $f::<$t, 3, 1, 1>($p, $inputs, $outs),
            (SampleMode::Bilinear, 2) => $f::<$t, 2, 2, 4>($p, $inputs, $outs),
            (SampleMode::Bilinear, _) => $f::<$t, 3, 2, 8>($p, $inputs, $outs),
            (SampleMode::Bicubic, _) => $f::<$t, 2, 4, 16>($p, $inputs, $outs),
        }
    };
}

/// (x [n, c, ...], grid [n, ..., d]) -> [n, c, ...].
pub fn grid_sample(p: SampleParams, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let dims = inputs[0].shape.len() - 2;
    match inputs[0].dtype() {
        DType::F64 => pick!(forward, f64, p, dims, inputs, outs),
        _ => pick!(forward, f32, p, dims, inputs, outs),
    }
}

/// (g, x, grid) -> gradients of x and grid.
pub fn grid_sample_grad(p: SampleParams, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let dims = inputs[1].shape.len() - 2;
    match inputs[1].dtype() {
        DType::F64 => pick!(backward, f64, p, dims, inputs, outs),
        _ => pick!(backward, f32, p, dims, inputs, outs),
    }
}
