//! The walk over wide planes: no patch is packed. In a padded plane, all positions of a tap are the plane itself,
//! shifted; so a row of the patch matrix is a run of memory, if the positions beyond each row's end are computed too
//! and thrown away. Tiles read B's rows where they lie (`Kernels::scattered`). With a stride, the planes are first
//! split into phases, in which neighbouring positions are neighbours.

use rtorch_ir::Result;

use super::sweep::{Sweep, strips_per_task};
use super::window::Window;
use super::{Shared, Spatial3};
use crate::gemm::lanes::{Lanes, Real};
use crate::gemm::tasks::{Stop, for_each};
use crate::gemm::{Body, Gemm, KC, Panels, Scratch, Tile};

/// Positions thrown away, in percent of those kept, up to which this walk is the faster one.
const WASTE: usize = 20;
/// Bytes of padded planes that are held at a time.
const PADDED: usize = 4 << 20;
/// Rows of channels below which packing costs less than what is thrown away (a first layer's three).
const ROWS: usize = 8;

pub struct Shifted<'a, T> {
    of: &'a Sweep<'a, T>,
    /// Sizes of a padded plane, and the shift that is its first element.
    padded: Spatial3,
    first: [isize; 3],
    /// Where each row of the patch matrix starts.
    rows: Vec<usize>,
    /// Padded values per channel (of all phases), and per image.
    channel: usize,
    image: usize,
    /// Positions that are computed.
    positions: usize,
    /// The planes serve as they are.
    in_place: bool,
}

// SAFETY: tasks write disjoint parts of the result.
unsafe impl<T> Sync for Shifted<'_, T> {}

impl<'a, T: Gemm> Shifted<'a, T> {
    pub fn new(of: &'a Sweep<'a, T>) -> Option<Shifted<'a, T>> {
        let w = of.window;
        if w.is_identity() || of.m < ROWS {
            return None;
        }
        let shift = |d: usize, offset: isize| offset.div_euclid(w.step[d] as isize);
        let bound = |d: usize| {
            let shifts = w.taps.iter().map(move |t| shift(d, t.offset[d]));
            (shifts.clone().min().unwrap_or(0), shifts.max().unwrap_or(0))
        };
        let first: [isize; 3] = std::array::from_fn(|d| bound(d).0);
        let padded: Spatial3 = std::array::from_fn(|d| w.out[d] + (bound(d).1 - bound(d).0) as usize);
        let positions = ((w.out[0] - 1) * padded[1] + w.out[1] - 1) * padded[2] + w.out[2];
        let enough = positions * 100 <= w.positions() * (100 + WASTE) && positions >= T::kernels().width;
        if !enough {
            return None;
        }
        let plane: usize = padded.iter().product();
        let phases: usize = w.step.iter().product();
        let channel = plane * phases;
        let starts: Vec<usize> = w
            .taps
            .iter()
            .map(|t| {
                let phase = |d: usize| t.offset[d].rem_euclid(w.step[d] as isize) as usize;
                let at = |d: usize| (shift(d, t.offset[d]) - first[d]) as usize;
                let number = (phase(0) * w.step[1] + phase(1)) * w.step[2] + phase(2);
                number * plane + (at(0) * padded[1] + at(1)) * padded[2] + at(2)
            })
            .collect();
        let rows = (0..of.channels).flat_map(|c| starts.iter().map(move |s| c * channel + s)).collect();
        let in_place = phases == 1 && padded == w.input && first == [0; 3];
        let image = of.groups * of.channels * channel;
        Some(Shifted { of, padded, first, rows, channel, image, positions, in_place })
    }

    pub fn run(&self) -> Result<()> {
        let some = if self.in_place { self.of.images } else { PADDED / (self.image * size_of::<T>()).max(1) };
        let some = some.clamp(1, self.of.images);
        let scratch = Scratch::<T>::new(if self.in_place { 0 } else { some * self.image })?;
        for first in (0..self.of.images).step_by(some) {
            let images = (self.of.images - first).min(some);
            let src = if self.in_place { self.of.src } else { scratch.as_ptr() };
            if !self.in_place {
                self.pad(first, images, Shared(scratch.as_ptr()))?;
            }
            self.multiply(first, images, Shared(src.cast_mut()))?;
        }
        Ok(())
    }

    /// Copies planes of some images into padded ones.
    fn pad(&self, first: usize, images: usize, to: Shared<T>) -> Result<()> {
        let channels = self.of.groups * self.of.channels;
        let w = self.of.window;
        for_each(images * channels, &|i, _| {
            let src = self.of.src.wrapping_add((first * channels + i) * w.plane());
            // SAFETY: a channel's plane, and room for its padded ones.
            unsafe { T::run(Pad { of: self, src, dst: to.at(i * self.channel) }) };
            Ok(())
        })
    }

    fn multiply(&self, first: usize, images: usize, src: Shared<T>) -> Result<()> {
        let strips = self.positions.div_ceil(T::kernels().width);
        let outer = images * self.of.groups;
        let per = strips_per_task(outer, strips);
        let blocks = strips.div_ceil(per);
        for_each(outer * blocks, &|t, stop| {
            let (b, t) = (t % blocks, t / blocks);
            let (image, group) = (t / self.of.groups, t % self.of.groups);
            let planes = src.at(image * self.image + group * self.of.channels * self.channel);
            self.task(planes, first + image, group, b * per..((b + 1) * per).min(strips), stop)
        })
    }

    fn task(
        &self,
        planes: *const T,
        image: usize,
        group: usize,
        strips: std::ops::Range<usize>,
        stop: &Stop,
    ) -> Result<()> {
        let (of, kn) = (self.of, T::kernels());
        let width = kn.width;
        let out: usize = of.place.sizes.iter().product();
        let dst = of.dst.at((image * of.groups + group) * of.m * out);
        let weights = of.weights[group].panels();
        let scratch = Scratch::<T>::new(of.m * width)?;
        for s in strips {
            if stop.now() {
                return Ok(());
            }
            // the last strip lies over the one before it
            let q = (s * width).min(self.positions - width);
            for k0 in (0..self.rows.len()).step_by(KC) {
                let k = (self.rows.len() - k0).min(KC);
                for i in 0..of.rows.panels {
                    let (r0, r1) = (of.rows.start(i), of.rows.start(i + 1));
                    // SAFETY: weights are packed; the runs of a strip lie within the padded planes, as positions do.
                    unsafe {
                        let (a, lda) = weights.panel(r0, r1 - r0, k0, k, std::ptr::null_mut(), r1 - r0);
                        let c = scratch.as_ptr().add(r0 * width);
                        let (b, n) = (planes.add(q), width);
                        let tile = Tile { k, a, lda, b, ldb: 0, c, ldc: width, n, add: k0 > 0 };
                        kn.scattered[r1 - r0 - 1](&tile, self.rows.as_ptr().add(k0));
                    }
                }
            }
            let bias = of.bias.map(|b| b.as_ptr::<T>().wrapping_add(group * of.m));
            // SAFETY: the scratch holds the strip; its positions of the result are this task's (or were computed
            // just as well by the task before).
            let kept = unsafe { T::run(Keep { of: self, scratch: scratch.as_ptr(), q, bias, dst, from: s * width }) };
            if let (Some(tail), true) = (of.tail, kept[0] < kept[1]) {
                tail.run(image, [group * of.m, (group + 1) * of.m], kept)?;
            }
        }
        Ok(())
    }
}

/// One channel's plane to its padded phases.
struct Pad<'a, T> {
    of: &'a Shifted<'a, T>,
    src: *const T,
    dst: *mut T,
}

impl<T: Real> Body<T> for Pad<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let w: &Window = self.of.of.window;
        let (padded, first) = (self.of.padded, self.of.first);
        let [n0, n1, n2] = padded;
        let mut dst = self.dst;
        for phase in 0..w.step.iter().product::<usize>() {
            let phase = [phase / w.step[2] / w.step[1], phase / w.step[2] % w.step[1], phase % w.step[2]];
            // the input index of padded index i along dimension d
            let index = |d: usize, i: usize| (i as isize + first[d]) * w.step[d] as isize + phase[d] as isize;
            let inside = |d: usize, i: isize| i >= 0 && i < w.input[d] as isize;
            let lo = (0..n2).find(|&i| index(2, i) >= 0).unwrap_or(n2);
            let hi = (lo..n2).find(|&i| !inside(2, index(2, i))).unwrap_or(n2);
            for (i, j) in (0..n0).flat_map(|i| (0..n1).map(move |j| (i, j))) {
                let (a, b) = (index(0, i), index(1, j));
                let row = if inside(0, a) && inside(1, b) { hi } else { lo };
                // SAFETY: columns lo..hi of the row exist, a padded row has n2 values.
                unsafe {
                    for x in (0..lo).chain(row..n2) {
                        *dst.add(x) = T::ZERO;
                    }
                    if row > lo {
                        let start = (a * w.input[1] as isize + b) * w.input[2] as isize + index(2, lo);
                        let src = self.src.offset(start);
                        if w.step[2] == 1 {
                            std::ptr::copy_nonoverlapping(src, dst.add(lo), hi - lo);
                        } else {
                            for x in 0..hi - lo {
                                *dst.add(lo + x) = *src.add(x * w.step[2]);
                            }
                        }
                    }
                    dst = dst.add(n2);
                }
            }
        }
    }
}

/// Brings the positions of a strip that exist to where they belong, with the bias. Answers their range.
struct Keep<'a, T> {
    of: &'a Shifted<'a, T>,
    scratch: *const T,
    /// First computed position of the strip.
    q: usize,
    /// First one that the strip before has not kept.
    from: usize,
    bias: Option<*const T>,
    dst: *mut T,
}

impl<T: Real> Body<T> for Keep<'_, T> {
    type Out = [usize; 2];
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) -> [usize; 2] {
        let (s, sweep) = (self.of, self.of.of);
        let (window, place) = (sweep.window, sweep.place);
        let out: usize = place.sizes.iter().product();
        let width = 2 * V::N;
        let [_, n1, n2] = s.padded;
        let mut kept = [usize::MAX, 0];
        let mut at = self.from;
        while at < self.q + width {
            let (d, h, w) = (at / n2 / n1, at / n2 % n1, at % n2);
            let end = (at + n2 - w).min(self.q + width);
            if h < window.out[1] && d < window.out[0] && w < window.out[2] {
                let n = (end - at).min(window.out[2] - w);
                let p = (d * window.out[1] + h) * window.out[2] + w;
                kept = [kept[0].min(p), p + n];
                let plane = [d, h, w];
                let index = |i: usize| plane[i] * place.stride[i] + place.phase[i];
                let to = (index(0) * place.sizes[1] + index(1)) * place.sizes[2] + index(2);
                for r in 0..sweep.m {
                    // SAFETY: the scratch holds a strip of every row, planes of the result have the place's sizes.
                    unsafe {
                        let src = self.scratch.add(r * width + at - self.q);
                        let dst = self.dst.add(r * out + to);
                        let bias = self.bias.map_or(T::ZERO, |b| *b.add(r));
                        if place.stride[2] != 1 {
                            for i in 0..n {
                                *dst.add(i * place.stride[2]) = *src.add(i) + bias;
                            }
                            continue;
                        }
                        let bias = V::splat(bias);
                        let mut i = 0;
                        while i < n {
                            let m = (n - i).min(V::N);
                            V::load_n(src.add(i), m).add(bias).store_n(dst.add(i), m);
                            i += V::N;
                        }
                    }
                }
            }
            at = end;
        }
        kept
    }
}
