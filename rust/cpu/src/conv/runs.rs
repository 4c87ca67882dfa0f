//! The walk of every convolution that is neither depthwise nor 1x1: no patch is packed. A task copies what it reads
//! once for each column offset of the taps, padded and with rows as wide as the result's: there the positions of a tap
//! are one run of memory over any number of rows, and tiles read B's rows where they lie (`Kernels::scattered`).
//! Rows and columns with a stride are dealt out by the copies. Each copy is of the channels that one block along k
//! covers, and of a band of positions, so that it stays in cache.
//! The phases of a strided input gradient are one walk: their positions alternate in the result's rows.

use std::ops::Range;

use rtorch_ir::Result;

use super::sweep::{Sweep, TASKS_PER_THREAD};
use super::{Shared, Spatial3};
use crate::gemm::lanes::{Lanes, Real};
use crate::gemm::tasks::{Stop, for_each};
use crate::gemm::{Body, Gemm, KC, Panels, Scratch, Tile};
use crate::threads;

/// Bytes of copies (and of results that change places at the end) in a task: with a block of weights in 1 MB of L2.
const COPIED: usize = 384 << 10;
/// Positions of a task, if images have fewer: a block of weights is then read once for all of them.
const POSITIONS: usize = 256;
/// Panels of positions that a cut row of positions has at least.
const CUT_PANELS: usize = 8;

/// What a copy holds: input rows `s * i + row` of one depth, from column `column` on in steps of the stride.
#[derive(Clone, Copy, PartialEq)]
struct Source {
    depth: isize,
    row: isize,
    column: isize,
}

/// One window, its positions on the grid that all windows of the walk share.
struct Part<'a, T> {
    of: &'a Sweep<'a, T>,
    copies: Vec<Source>,
    /// Rows of input above the band's first, and how many more than the band's there are.
    first: isize,
    reach: usize,
    /// The copy of each tap, and the row of it that is the band's first.
    taps: Vec<(usize, usize)>,
    /// Where each row of the patch matrix starts.
    rows: Vec<usize>,
}

impl<'a, T: Gemm> Part<'a, T> {
    fn new(of: &'a Sweep<'a, T>) -> Part<'a, T> {
        let step = of.window.step[1] as isize;
        let shifts = || of.window.taps.iter().map(|t| t.offset[1].div_euclid(step));
        let first = shifts().min().unwrap_or(0);
        let reach = (shifts().max().unwrap_or(0) - first) as usize;
        let mut copies: Vec<Source> = Vec::new();
        let mut taps = Vec::new();
        for t in &of.window.taps {
            let source = Source { depth: t.offset[0], row: t.offset[1].rem_euclid(step), column: t.offset[2] };
            let at = copies.iter().position(|c| *c == source).unwrap_or(copies.len());
            if at == copies.len() {
                copies.push(source);
            }
            taps.push((at, (t.offset[1].div_euclid(step) - first) as usize));
        }
        Part { of, copies, first, reach, taps, rows: Vec::new() }
    }
    /// Channels that a block along k touches at most.
    fn channels(&self) -> usize {
        (KC.div_ceil(self.taps.len()) + 1).min(self.of.channels)
    }
    /// Values of a channel's copies for a band.
    fn channel(&self, band: [usize; 2]) -> usize {
        self.copies.len() * (band[0] + self.reach) * band[1]
    }
    fn set_rows(&mut self, band: [usize; 2]) {
        let (channel, plane) = (self.channel(band), (band[0] + self.reach) * band[1]);
        let starts: Vec<usize> = self.taps.iter().map(|&(copy, row)| copy * plane + row * band[1]).collect();
        self.rows = (0..self.of.channels).flat_map(|c| starts.iter().map(move |s| c * channel + s)).collect();
    }
}

/// Where a task works: images of a group, a depth, a range of rows and of columns of positions.
struct Band {
    images: Range<usize>,
    group: usize,
    depth: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Band {
    fn positions(&self) -> usize {
        self.rows.len() * self.columns.len()
    }
}

pub struct Runs<'a, T> {
    parts: Vec<Part<'a, T>>,
    grid: Spatial3,
    /// Rows and columns of a band; all columns if there is more than one row.
    band: [usize; 2],
    /// Images of a task.
    images: usize,
    /// Results lie in the plane as they are computed; else they are brought there from scratch.
    in_place: bool,
}

// SAFETY: tasks write disjoint parts of the result.
unsafe impl<T> Sync for Runs<'_, T> {}

impl<'a, T: Gemm> Runs<'a, T> {
    /// `sweeps`: one, or those of all phases of the same result.
    pub fn new(sweeps: &'a [Sweep<'a, T>]) -> Runs<'a, T> {
        let mut parts: Vec<Part<T>> = sweeps.iter().map(Part::new).collect();
        let grid: Spatial3 = [0, 1, 2].map(|d| sweeps.iter().map(|s| s.window.out[d]).max().unwrap_or(0));
        let in_place = sweeps.iter().all(|s| s.place.is_plane());
        let outer = sweeps[0].images * sweeps[0].groups * grid[0];
        let wanted = TASKS_PER_THREAD * threads::num_threads();
        let band = band(&parts, grid, in_place, wanted.div_ceil(outer));
        let whole = in_place && grid[0] == 1 && band == [grid[1], grid[2]];
        let some = if whole { (POSITIONS / (grid[1] * grid[2])).min(outer / wanted) } else { 1 };
        for p in &mut parts {
            p.set_rows(band);
        }
        Runs { parts, grid, band, images: some.max(1), in_place }
    }

    pub fn run(&self) -> Result<()> {
        let (images, groups) = (self.parts[0].of.images, self.parts[0].of.groups);
        let blocks = images.div_ceil(self.images);
        let across = self.grid[2].div_ceil(self.band[1]);
        let bands = self.grid[1].div_ceil(self.band[0]) * across;
        for_each(blocks * groups * self.grid[0] * bands, &|t, stop| {
            let (b, t) = (t % bands, t / bands);
            let (depth, t) = (t % self.grid[0], t / self.grid[0]);
            let (group, first) = (t % groups, t / groups * self.images);
            let range = |i: usize, d: usize| i * self.band[d]..((i + 1) * self.band[d]).min(self.grid[d + 1]);
            let images = first..(first + self.images).min(images);
            let at = Band { images, group, depth, rows: range(b / across, 0), columns: range(b % across, 1) };
            self.task(&at, stop)
        })
    }

    fn task(&self, at: &Band, stop: &Stop) -> Result<()> {
        let of = self.parts[0].of;
        let (positions, width) = (at.positions(), T::kernels().width);
        let size = self.parts.iter().map(|p| p.channels() * p.channel(self.band)).max().unwrap_or(0);
        let copies = Scratch::<T>::new(size + width)?;
        let results = Scratch::<T>::new(if self.in_place { 0 } else { self.parts.len() * of.m * positions })?;
        let out: usize = of.place.sizes.iter().product();
        let first = (at.depth * self.grid[1] + at.rows.start) * self.grid[2] + at.columns.start;
        // SAFETY: the last run of a strip may be read beyond its end.
        unsafe { super::zero(copies.as_ptr().add(size), width) };
        for (i, part) in self.parts.iter().enumerate() {
            let taps = part.taps.len();
            for k0 in (0..part.rows.len()).step_by(KC) {
                let k = (part.rows.len() - k0).min(KC);
                let channels = k0 / taps..(k0 + k).div_ceil(taps);
                for image in at.images.clone() {
                    if stop.now() {
                        return Ok(());
                    }
                    let (c, ldc) = if self.in_place {
                        (of.result(image, at.group).wrapping_add(first), out)
                    } else {
                        (results.as_ptr().wrapping_add(i * of.m * positions), positions)
                    };
                    let src = part.of.source(image, at.group);
                    let dst = copies.as_ptr();
                    let fill = Fill { of: part, band: self.band, at, channels: channels.clone(), src, dst };
                    // SAFETY: the scratch has room for the block's channels.
                    unsafe { T::run(fill) };
                    let b = copies.as_ptr().wrapping_sub(channels.start * part.channel(self.band));
                    // SAFETY: the rows of the block lie in the copies, the band in C.
                    unsafe { multiply(part, [k0, k], at.group, b, Shared(c), ldc, positions) };
                }
            }
        }
        for image in at.images.clone() {
            if self.in_place {
                of.finish(image, at.group, [0, of.m], [first, first + positions])?;
            } else {
                let dst = of.result(image, at.group);
                // SAFETY: the scratch holds the band of every part; its positions of the result are this task's.
                unsafe { T::run(Deal { of: self, at, src: results.as_ptr(), dst }) };
            }
        }
        Ok(())
    }
}

/// Rows and columns of a band: what fits the cache, in at least `wanted` bands if there are rows for it.
fn band<T: Gemm>(parts: &[Part<T>], grid: Spatial3, in_place: bool, wanted: usize) -> [usize; 2] {
    let results = if in_place { 0 } else { parts.len() * parts[0].of.m };
    let values = |rows: usize, columns: usize| {
        let copies = parts.iter().map(|p| p.channels() * p.channel([rows, columns])).max().unwrap_or(0);
        (copies + results * rows * columns) * size_of::<T>()
    };
    let reach = parts.iter().map(|p| p.reach).max().unwrap_or(0);
    let width = T::kernels().width;
    let (base, row) = (values(0, grid[2]), values(1, grid[2]) - values(0, grid[2]));
    let fit = COPIED.saturating_sub(base) / row;
    if fit == 0 && grid[2] > CUT_PANELS * width {
        let columns = COPIED / values(1, 1);
        return [1, columns.max(CUT_PANELS * width).next_multiple_of(width).min(grid[2])];
    }
    // rows above and below the band are copied with it: of a tall kernel not more than twice what is needed
    let rows = fit.max(reach + 1).min(grid[1]);
    let least = (2 * width).div_ceil(grid[2]).max(reach);
    let rows = rows.min(grid[1].div_ceil(wanted).max(least)).min(grid[1]);
    if rows == 1 || grid[1] == 1 {
        let columns = grid[2].div_ceil(wanted.div_ceil(grid[1])).next_multiple_of(width);
        return [1, columns.max(CUT_PANELS * width).min(grid[2])];
    }
    // bands of nearly the same height
    [grid[1].div_ceil(grid[1].div_ceil(rows)), grid[2]]
}

/// A block along k (its start and length) of the product for one band.
///
/// # Safety
/// `b` plus the part's rows are runs of `positions` values and a panel's slack; C has a row of as many for each of A's.
unsafe fn multiply<T: Gemm>(
    part: &Part<T>,
    [k0, k]: [usize; 2],
    group: usize,
    b: *const T,
    c: Shared<T>,
    ldc: usize,
    positions: usize,
) {
    let (of, kn) = (part.of, T::kernels());
    let weights = of.weights[group].panels();
    for q in (0..positions).step_by(kn.width) {
        let n = (positions - q).min(kn.width);
        for i in 0..of.rows.panels {
            let (r0, r1) = (of.rows.start(i), of.rows.start(i + 1));
            // SAFETY: weights are packed; the rest is the caller's.
            unsafe {
                let (a, lda) = weights.panel(r0, r1 - r0, k0, k, std::ptr::null_mut(), r1 - r0);
                let b = b.wrapping_add(q);
                let tile = Tile { k, a, lda, b, ldb: 0, c: c.at(r0 * ldc + q), ldc, n, add: k0 > 0 };
                kn.run_scattered(r1 - r0, &tile, part.rows.as_ptr().add(k0));
            }
        }
    }
}

/// The copies of some channels of an image and group for a band.
struct Fill<'a, T> {
    of: &'a Part<'a, T>,
    band: [usize; 2],
    at: &'a Band,
    channels: Range<usize>,
    /// The group's first channel.
    src: *const T,
    dst: *mut T,
}

impl<T: Real> Body<T> for Fill<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let Fill { of: part, band, at, channels, src, dst: mut plane } = self;
        let (w, reach) = (part.of.window, part.reach);
        let step = w.step[2] as isize;
        let (pitch, columns) = (band[1], at.columns.len());
        let inside = |i: isize, d: usize| (0..w.input[d] as isize).contains(&i);
        for channel in channels {
            let src = src.wrapping_add(channel * w.plane());
            for source in &part.copies {
                let z = (at.depth * w.step[0]) as isize + source.depth;
                // columns whose input exists
                let from = at.columns.start as isize * step + source.column;
                let lo = ((-from).max(0) as usize).div_ceil(w.step[2]).min(columns);
                let hi = ((w.input[2] as isize - from).max(0) as usize).div_ceil(w.step[2]).clamp(lo, columns);
                for i in 0..at.rows.len() + reach {
                    let y = (at.rows.start as isize + i as isize + part.first) * w.step[1] as isize + source.row;
                    let dst = plane.wrapping_add(i * pitch);
                    let exists = inside(z, 0) && inside(y, 1);
                    let row = src.wrapping_offset((z * w.input[1] as isize + y) * w.input[2] as isize + from);
                    // SAFETY: columns lo..hi of the row exist. A register may write beyond the row's end: what is
                    // written there comes later, and behind the last row there is a register's room.
                    unsafe {
                        let mut x = 0;
                        while x < columns {
                            let v = if !exists {
                                V::zero()
                            } else if step == 1 && x >= lo && x + V::N <= hi {
                                V::load(row.wrapping_add(x))
                            } else {
                                let (lo, hi) = (lo.saturating_sub(x).min(V::N), hi.saturating_sub(x).min(V::N));
                                V::load_span(row.wrapping_offset(x as isize * step), step, lo, hi)
                            };
                            v.store(dst.wrapping_add(x));
                            x += V::N;
                        }
                    }
                }
                plane = plane.wrapping_add((band[0] + reach) * pitch);
            }
        }
    }
}

/// Brings a band's results of all parts to their places in the result's rows.
struct Deal<'a, T> {
    of: &'a Runs<'a, T>,
    at: &'a Band,
    src: *const T,
    dst: *mut T,
}

impl<T: Real> Body<T> for Deal<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let (at, parts) = (self.at, &self.of.parts);
        let place = parts[0].of.place;
        let [_, s1, s2] = place.stride;
        let [_, n1, n2] = place.sizes;
        let (out, positions, m) = (place.sizes.iter().product::<usize>(), at.positions(), parts[0].of.m);
        let (start, columns) = (at.columns.start * s2, at.columns.len());
        // values of a phase that lie in a row
        let count = |phase: usize| n2.saturating_sub(start + phase).div_ceil(s2).min(columns);
        let mut i = 0;
        while i < parts.len() {
            let phase = parts[i].of.place.phase;
            // both columns' phases of a stride of 2 are written at once
            let both = s2 == 2
                && phase[2] == 0
                && parts.get(i + 1).is_some_and(|p| p.of.place.phase == [phase[0], phase[1], 1]);
            let depth = at.depth * place.stride[0] + phase[0];
            for (r, h) in (0..m).flat_map(|r| (0..at.rows.len()).map(move |h| (r, h))) {
                let row = (at.rows.start + h) * s1 + phase[1];
                if depth >= place.sizes[0] || row >= n1 {
                    continue;
                }
                // SAFETY: the scratch holds `m` rows of the band for each part, the plane has the place's sizes.
                unsafe {
                    let src = self.src.add((i * m + r) * positions + h * columns);
                    let dst = self.dst.add(r * out + (depth * n1 + row) * n2 + start + phase[2]);
                    let mut done = 0;
                    if both {
                        let other = src.add(m * positions);
                        done = count(1);
                        for x in 0..done {
                            *dst.add(2 * x) = *src.add(x);
                            *dst.add(2 * x + 1) = *other.add(x);
                        }
                    }
                    for x in done..count(phase[2]) {
                        *dst.add(x * s2) = *src.add(x);
                    }
                }
            }
            i += 1 + both as usize;
        }
    }
}
