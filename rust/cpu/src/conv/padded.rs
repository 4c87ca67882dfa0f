//! Padded copies of pieces of a plane, a tile of output positions at a time: in them every tap of a row of positions is
//! a run of memory. Where columns have a stride they are dealt out first, so that neighbouring positions are
//! neighbours. For depthwise convolution; `runs` copies for matrix products.

use super::Spatial3;
use super::window::Window;
use crate::gemm::lanes::{Lanes, Real};
use crate::gemm::{Body, Gemm};

/// Positions of a tile, about: with a 3x3 kernel its piece takes 36 KB of f32, which fits 48 KB of L1 (Zen 5).
const TILE: usize = 1 << 13;
/// Columns of a tile.
const TILE_COLUMNS: usize = 1 << 10;

pub struct Padded<'a> {
    pub window: &'a Window,
    /// Least offset of the taps, and how far the others lie from it.
    first: [isize; 3],
    reach: Spatial3,
    /// Positions of a full tile, and the number of tiles, per dimension.
    tile: Spatial3,
    count: Spatial3,
    /// Padded rows per depth, and columns of one phase.
    height: usize,
    columns: usize,
    len: usize,
}

impl<'a> Padded<'a> {
    /// For registers of `lanes` positions.
    pub fn new(window: &'a Window, lanes: usize) -> Padded<'a> {
        let bound = |d: usize| {
            let offsets = window.taps.iter().map(move |t| t.offset[d]);
            (offsets.clone().min().unwrap_or(0), offsets.max().unwrap_or(0))
        };
        let first = [bound(0).0, bound(1).0, bound(2).0];
        let reach = [0, 1, 2].map(|d| (bound(d).1 - bound(d).0) as usize);
        // of a wide kernel a tile is wider, so that most of what is copied is not copied twice
        let [depth, height, width] = window.out;
        let w = width.min(TILE_COLUMNS.max(2 * reach[2]));
        let h = height.min((TILE / w).max(2 * reach[1]).max(1));
        let d = depth.min((TILE / w / h).max(2 * reach[0]).max(1));
        let tile = [d, h, w];
        let count = [0, 1, 2].map(|i| window.out[i].div_ceil(tile[i]));
        let rows = |i: usize| (tile[i] - 1) * window.step[i] + reach[i] + 1;
        let columns = w + reach[2] / window.step[2];
        let len = (rows(0) * rows(1) * window.step[2] * columns + lanes).next_multiple_of(lanes);
        Padded { window, first, reach, tile, count, height: rows(1), columns, len }
    }
    pub fn tiles(&self) -> usize {
        self.count.iter().product()
    }
    /// Values of a piece, a register's slack included.
    pub fn len(&self) -> usize {
        self.len
    }
    /// The first position of a tile.
    #[inline(always)]
    pub fn first(&self, tile: usize) -> Spatial3 {
        let [_, n1, n2] = self.count;
        [tile / n2 / n1 * self.tile[0], tile / n2 % n1 * self.tile[1], tile % n2 * self.tile[2]]
    }
    /// Positions of a tile.
    #[inline(always)]
    pub fn sizes(&self, tile: usize) -> Spatial3 {
        let at = self.first(tile);
        [
            self.tile[0].min(self.window.out[0] - at[0]),
            self.tile[1].min(self.window.out[1] - at[1]),
            self.tile[2].min(self.window.out[2] - at[2]),
        ]
    }
    /// Where the reads of a tile's row of positions begin, before a tap is added.
    #[inline(always)]
    pub fn row(&self, d: usize, h: usize) -> usize {
        (d * self.window.step[0] * self.height + h * self.window.step[1]) * self.window.step[2] * self.columns
    }
    /// What each tap adds.
    pub fn taps(&self) -> Vec<usize> {
        let step = self.window.step[2];
        let at = |t: &super::window::Tap| {
            let [d, h, w] = [0, 1, 2].map(|i| (t.offset[i] - self.first[i]) as usize);
            ((d * self.height + h) * step + w % step) * self.columns + w / step
        };
        self.window.taps.iter().map(at).collect()
    }
    /// Copies a tile's piece of the plane. `fresh`: nothing of the same tile lies there yet, whose padding would serve.
    ///
    /// # Safety
    /// A plane at `src`; room for a piece at `dst`.
    pub unsafe fn fill<T: Gemm>(&self, tile: usize, src: *const T, dst: *mut T, fresh: bool) {
        // SAFETY: as the caller's.
        unsafe {
            if fresh {
                super::zero(dst, self.len);
            }
            T::run(Fill { of: self, tile, src, dst });
        }
    }
}

struct Fill<'a, T> {
    of: &'a Padded<'a>,
    tile: usize,
    src: *const T,
    dst: *mut T,
}

impl<T: Real> Body<T> for Fill<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let (of, w) = (self.of, self.of.window);
        let (from, sizes) = (of.first(self.tile), of.sizes(self.tile));
        let start = [0, 1, 2].map(|d| (from[d] * w.step[d]) as isize + of.first[d]);
        // padded indices of dimension d that exist in the plane
        let range = |d: usize| {
            let n = ((sizes[d] - 1) * w.step[d] + of.reach[d] + 1) as isize;
            let lo = (-start[d]).clamp(0, n);
            (lo as usize, (w.input[d] as isize - start[d]).clamp(lo, n) as usize)
        };
        let ((d0, d1), (h0, h1), (w0, w1)) = (range(0), range(1), range(2));
        for (d, h) in (d0..d1).flat_map(|d| (h0..h1).map(move |h| (d, h))) {
            let row = (start[0] + d as isize) * w.input[1] as isize + start[1] + h as isize;
            // SAFETY: the ranges lie in the plane and in the piece.
            unsafe {
                let src = self.src.offset(row * w.input[2] as isize + start[2]);
                let dst = self.dst.add((d * of.height + h) * w.step[2] * of.columns);
                if w.step[2] == 1 {
                    let mut x = w0;
                    while x + V::N <= w1 {
                        V::load(src.add(x)).store(dst.add(x));
                        x += V::N;
                    }
                    if x < w1 {
                        V::load_n(src.add(x), w1 - x).store_n(dst.add(x), w1 - x);
                    }
                } else {
                    for phase in 0..w.step[2] {
                        let (src, dst) = (src.add(phase), dst.add(phase * of.columns));
                        let column = |x: usize| x.saturating_sub(phase).div_ceil(w.step[2]);
                        let (mut i, end) = (column(w0), column(w1));
                        while i < end {
                            let n = (end - i).min(V::N);
                            V::load_span(src.add(i * w.step[2]), w.step[2] as isize, 0, n).store_n(dst.add(i), n);
                            i += n;
                        }
                    }
                }
            }
        }
    }
}
