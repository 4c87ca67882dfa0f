//! Depthwise convolution: one input channel per group, so that a matrix product would have a row or two. Rows of
//! registers of positions are multiplied with single weights. They read a padded copy of a piece of the plane that
//! each thread makes for itself (`padded`), so that every tap of a register is one load.

use rtorch_ir::Result;

use super::padded::Padded;
use super::sweep::{Place, strips_per_task};
use super::window::Window;
use super::{Geometry, Operand, Shared};
use crate::gemm::lanes::{Lanes, Real};
use crate::gemm::tasks::for_each;
use crate::gemm::{Body, Gemm, Scratch};

/// Rows of positions that share the registers of weights, and whose chains of sums run side by side.
const ROWS: usize = 4;
/// Taps of the weight gradient that are summed in one pass: a 3x3 kernel's fit the registers of AVX2.
const TAPS: usize = 9;

/// Forward: `channels` results, each from source `channel / per_source`. Input gradient: `channels` results, each the
/// sum over `per_result` sources. The weights of result c and its r-th source are row `c * per_result + r`.
pub struct Depthwise<'a, T> {
    pub window: &'a Window,
    pub images: usize,
    pub channels: usize,
    pub per_source: usize,
    pub per_result: usize,
    /// Weights per row.
    pub taps: usize,
    pub src: *const T,
    pub w: *const T,
    pub bias: Option<*const T>,
    pub dst: *mut T,
    pub place: Place,
}

// SAFETY: tasks write disjoint positions.
unsafe impl<T> Sync for Depthwise<'_, T> {}

/// One channel's results on one tile.
struct Block<'a, T> {
    of: &'a Depthwise<'a, T>,
    padded: &'a Padded<'a>,
    tile: usize,
    /// Padded pieces, one per source, and where in them each weight's run begins.
    pieces: *const T,
    reads: &'a [usize],
    weights: *const T,
    bias: T,
    /// The result's plane.
    dst: *mut T,
}

impl<T: Real> Body<T> for Block<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let [depth, height, width] = self.padded.sizes(self.tile);
        let (from, place) = (self.padded.first(self.tile), self.of.place);
        let index = |i: usize, at: usize| (from[i] + at) * place.stride[i] + place.phase[i];
        let next = [self.padded.row(0, 1), place.stride[1] * place.sizes[2]];
        for d in 0..depth {
            let mut h = 0;
            while h < height {
                let to = (index(0, d) * place.sizes[1] + index(1, h)) * place.sizes[2] + index(2, 0);
                let rows = Rows { x: self.padded.row(d, h), y: to, next, width, step: place.stride[2] };
                // SAFETY: the padded pieces have a register's slack behind each row of positions, all positions lie
                // in the result's plane.
                h += unsafe {
                    match height - h {
                        0 => 0,
                        1 => self.rows::<V, 1>(&rows),
                        2 | 3 => self.rows::<V, 2>(&rows),
                        _ => self.rows::<V, ROWS>(&rows),
                    }
                };
            }
        }
    }
}

/// Some rows of positions: where the first one's reads begin and its results lie, what the next row adds to these, the
/// number of its positions and the step between their results.
struct Rows {
    x: usize,
    y: usize,
    next: [usize; 2],
    width: usize,
    step: usize,
}

impl<T: Real> Block<'_, T> {
    /// `R` rows; answers how many.
    #[inline(always)]
    unsafe fn rows<V: Lanes<T = T>, const R: usize>(&self, rows: &Rows) -> usize {
        let mut w = 0;
        while w < rows.width {
            let n = (rows.width - w).min(V::N);
            // SAFETY: as the caller's.
            unsafe {
                let x = self.pieces.add(rows.x + w);
                let mut acc = [V::splat(self.bias); R];
                for (i, &at) in self.reads.iter().enumerate() {
                    let weight = V::splat(*self.weights.add(i));
                    for r in 0..R {
                        acc[r] = V::load(x.add(at + r * rows.next[0])).fma(weight, acc[r]);
                    }
                }
                for r in 0..R {
                    keep(acc[r], self.dst.add(rows.y + r * rows.next[1] + w * rows.step), n, rows.step);
                }
            }
            w += V::N;
        }
        R
    }
}

/// Stores `n` values `step` apart.
#[inline(always)]
unsafe fn keep<V: Lanes>(v: V, y: *mut V::T, n: usize, step: usize) {
    // SAFETY: the caller vouches for these places; no register has more than 16 values.
    unsafe {
        if step != 1 {
            let mut values = [V::T::ZERO; 16];
            v.store(values.as_mut_ptr());
            for i in 0..n {
                *y.add(i * step) = values[i];
            }
        } else if n == V::N {
            v.store(y);
        } else {
            v.store_n(y, n);
        }
    }
}

impl<T: Gemm> Depthwise<'_, T> {
    /// The weights of all channels in the order of a block's reads.
    fn weights(&self) -> Result<Scratch<T>> {
        let some = self.window.taps.len();
        let all = Scratch::<T>::new(self.channels * self.per_result * some)?;
        for row in 0..self.channels * self.per_result {
            for (t, tap) in self.window.taps.iter().enumerate() {
                // SAFETY: a row of `taps` weights; the scratch holds the window's taps of every row.
                unsafe { *all.as_ptr().add(row * some + t) = *self.w.add(row * self.taps + tap.number) };
            }
        }
        Ok(all)
    }
}

pub fn run<T: Gemm>(d: &Depthwise<T>) -> Result<()> {
    let padded = Padded::new(d.window, T::kernels().lanes);
    let weights = d.weights()?;
    let (taps, piece) = (padded.taps(), padded.len());
    let reads: Vec<usize> = (0..d.per_result).flat_map(|r| taps.iter().map(move |t| r * piece + t)).collect();
    let (plane, out) = (d.window.plane(), d.place.sizes.iter().product::<usize>());
    let sources = d.channels * d.per_result / d.per_source;
    let (outer, all) = (d.images * padded.tiles(), Shared(weights.as_ptr()));
    let per = strips_per_task(outer, d.channels);
    let blocks = d.channels.div_ceil(per);
    for_each(outer * blocks, &|t, _| {
        let (block, t) = (t % blocks, t / blocks);
        let (tile, image) = (t % padded.tiles(), t / padded.tiles());
        let pieces = Scratch::<T>::new(d.per_result * piece)?;
        let mut held = usize::MAX;
        for c in block * per..((block + 1) * per).min(d.channels) {
            let source = c * d.per_result / d.per_source;
            // SAFETY: planes and weights are as the struct says, the scratch has room for a piece per source.
            unsafe {
                for r in (0..d.per_result).filter(|_| source != held) {
                    let src = d.src.wrapping_add((image * sources + source + r) * plane);
                    let dst = pieces.as_ptr().add(r * piece);
                    padded.fill(tile, src, dst, held == usize::MAX);
                }
                held = source;
                T::run(Block {
                    of: d,
                    padded: &padded,
                    tile,
                    pieces: pieces.as_ptr(),
                    reads: &reads,
                    weights: all.at(c * reads.len()),
                    bias: d.bias.map_or(T::ZERO, |b| *b.add(c)),
                    dst: d.dst.wrapping_add((image * d.channels + c) * out),
                });
            }
        }
        Ok(())
    })
}

/// One tile's part of the gradient of one channel's weights.
struct Weights<'a, T> {
    padded: &'a Padded<'a>,
    tile: usize,
    g: *const T,
    x: *const T,
    taps: &'a [usize],
    /// A register for every tap.
    acc: *mut T,
}

impl<T: Real> Body<T> for Weights<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let mut t = 0;
        // SAFETY: as of `some`.
        unsafe {
            while t + TAPS <= self.taps.len() {
                self.some::<V, TAPS>(t);
                t += TAPS;
            }
            while t + 3 <= self.taps.len() {
                self.some::<V, 3>(t);
                t += 3;
            }
            while t < self.taps.len() {
                self.some::<V, 1>(t);
                t += 1;
            }
        }
    }
}

impl<T: Real> Weights<'_, T> {
    /// Taps t.. of all positions.
    #[inline(always)]
    unsafe fn some<V: Lanes<T = T>, const K: usize>(&self, t: usize) {
        let [depth, height, width] = self.padded.sizes(self.tile);
        let [d0, h0, w0] = self.padded.first(self.tile);
        let out = self.padded.window.out;
        // SAFETY: the gradient's plane has the window's positions, the padded piece those of the tile.
        unsafe {
            let mut acc = [V::zero(); K];
            for k in 0..K {
                acc[k] = V::load(self.acc.add((t + k) * V::N));
            }
            for (d, h) in (0..depth).flat_map(|d| (0..height).map(move |h| (d, h))) {
                let g = self.g.add(((d0 + d) * out[1] + h0 + h) * out[2] + w0);
                let x = self.x.add(self.padded.row(d, h));
                let mut w = 0;
                while w + V::N <= width {
                    let v = V::load(g.add(w));
                    for k in 0..K {
                        acc[k] = V::load(x.add(w + self.taps[t + k])).fma(v, acc[k]);
                    }
                    w += V::N;
                }
                if w < width {
                    // what lies behind the positions may be infinite, and is not multiplied
                    let v = V::load_n(g.add(w), width - w);
                    for k in 0..K {
                        acc[k] = V::load_n(x.add(w + self.taps[t + k]), width - w).fma(v, acc[k]);
                    }
                }
            }
            for k in 0..K {
                acc[k].store(self.acc.add((t + k) * V::N));
            }
        }
    }
}

/// The sums over the lanes of some registers.
struct Sums<T> {
    acc: *const T,
    n: usize,
    out: *mut T,
}

impl<T: Real> Body<T> for Sums<T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        for i in 0..self.n {
            // SAFETY: n registers at `acc`, n values at `out`.
            unsafe { *self.out.add(i) = V::load(self.acc.add(i * V::N)).sum() };
        }
    }
}

/// The gradient of the weights [channel, tap], summed over images, tiles and rows in this order.
pub fn weights<T: Gemm>(geometry: &Geometry, window: &Window, g: &Operand, x: &Operand, out: *mut T) -> Result<()> {
    let all = geometry.groups * geometry.cout;
    let (positions, plane, taps) = (window.positions(), window.plane(), geometry.taps());
    let out = Shared(out);
    let padded = Padded::new(window, T::kernels().lanes);
    let starts = padded.taps();
    for_each(all, &|o, _| {
        let acc = Scratch::<T>::new(taps * T::kernels().lanes)?;
        let piece = Scratch::<T>::new(padded.len())?;
        // SAFETY: operands are contiguous and of the geometry's sizes; tasks write their own channels.
        unsafe {
            super::zero(acc.as_ptr(), taps * T::kernels().lanes);
            for (image, tile) in (0..geometry.images).flat_map(|i| (0..padded.tiles()).map(move |t| (i, t))) {
                let source = image * geometry.groups + o / geometry.cout;
                let fresh = padded.tiles() > 1 || image == 0;
                padded.fill(tile, x.as_ptr::<T>().add(source * plane), piece.as_ptr(), fresh);
                T::run(Weights {
                    padded: &padded,
                    tile,
                    g: g.as_ptr::<T>().add((image * all + o) * positions),
                    x: piece.as_ptr(),
                    taps: &starts,
                    acc: acc.as_ptr(),
                });
            }
            T::run(Sums { acc: acc.as_ptr(), n: taps, out: out.at(o * taps) });
        }
        Ok(())
    })
}
