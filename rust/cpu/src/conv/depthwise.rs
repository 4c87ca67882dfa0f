//! Depthwise convolution: one input channel per group, so that a matrix product would have a row or two. Registers of
//! positions are multiplied with single weights; a table of spans serves all channels.

use rtorch_ir::Result;

use super::patches::{gather, with_spans};
use super::sweep::Place;
use super::window::{Spans, Window};
use super::{Geometry, Operand, Shared};
use crate::gemm::lanes::{Lanes, Real};
use crate::gemm::tasks::for_each;
use crate::gemm::{Body, Gemm, Scratch};

/// Registers of positions per task.
const REGISTERS: usize = 16;
/// Channels per task of the weight gradient: their accumulators (9 taps of 64 bytes each) stay in L1.
const CHANNELS: usize = 16;

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

struct Block<'a, T> {
    of: &'a Depthwise<'a, T>,
    spans: &'a mut Spans,
    image: usize,
    from: usize,
    to: usize,
}

impl<T: Real> Body<T> for Block<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let d = self.of;
        let (plane, out) = (d.window.plane(), d.place.sizes.iter().product::<usize>());
        let sources = d.channels * d.per_result / d.per_source;
        let step = d.window.step[2] as isize;
        let in_order = d.place.stride == [1; 3];
        let mut buf = [T::ZERO; 16];
        for p in (self.from..self.to).step_by(V::N) {
            let n = (self.to - p).min(V::N);
            self.spans.build(d.window, p, p + n, 1, V::N);
            for c in 0..d.channels {
                // SAFETY: planes and weights are as the struct says.
                unsafe {
                    let mut acc = d.bias.map_or(V::zero(), |b| V::splat(*b.add(c)));
                    for r in 0..d.per_result {
                        let source = (c * d.per_result + r) / d.per_source;
                        let x = d.src.wrapping_add((self.image * sources + source) * plane);
                        let w = d.w.wrapping_add((c * d.per_result + r) * d.taps);
                        for (t, tap) in d.window.taps.iter().enumerate() {
                            acc = gather::<V>(x, step, self.spans, 0, t).fma(V::splat(*w.add(tap.number)), acc);
                        }
                    }
                    let y = d.dst.wrapping_add((self.image * d.channels + c) * out);
                    if !in_order {
                        acc.store(buf.as_mut_ptr());
                        d.place.scatter(d.window, p, n, buf.as_ptr(), y);
                    } else if n == V::N {
                        acc.store(y.add(p));
                    } else {
                        acc.store_n(y.add(p), n);
                    }
                }
            }
        }
    }
}

pub fn run<T: Gemm>(d: &Depthwise<T>) -> Result<()> {
    let positions = d.window.positions();
    let per = REGISTERS * T::kernels().lanes;
    let blocks = positions.div_ceil(per);
    for_each(d.images * blocks, &|t, _| {
        let (image, b) = (t / blocks, t % blocks);
        let (from, to) = (b * per, ((b + 1) * per).min(positions));
        // SAFETY: as the struct says.
        with_spans(|spans| unsafe { T::run(Block { of: d, spans, image, from, to }) });
        Ok(())
    })
}

struct Weights<'a, T> {
    geometry: &'a Geometry,
    window: &'a Window,
    spans: &'a mut Spans,
    g: *const T,
    x: *const T,
    /// Output channels.
    from: usize,
    to: usize,
    /// A register for every (channel, tap).
    acc: *mut T,
    out: *mut T,
}

impl<T: Real> Body<T> for Weights<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let g = self.geometry;
        let (plane, positions) = (self.window.plane(), self.window.positions());
        let (taps, step) = (self.window.taps.len(), self.window.step[2] as isize);
        let all = g.groups * g.cout;
        // SAFETY: planes are contiguous, `acc` has room for the registers, `out` for all weights.
        unsafe {
            for i in 0..(self.to - self.from) * taps {
                V::zero().store(self.acc.add(i * V::N));
            }
            for p in (0..positions).step_by(V::N) {
                let n = (positions - p).min(V::N);
                self.spans.build(self.window, p, p + n, 1, V::N);
                for o in self.from..self.to {
                    for image in 0..g.images {
                        let gp = self.g.add((image * all + o) * positions + p);
                        let gv = if n == V::N { V::load(gp) } else { V::load_n(gp, n) };
                        let x = self.x.add((image * g.groups + o / g.cout) * plane);
                        for t in 0..taps {
                            let a = self.acc.add(((o - self.from) * taps + t) * V::N);
                            gather::<V>(x, step, self.spans, 0, t).fma(gv, V::load(a)).store(a);
                        }
                    }
                }
            }
            for i in 0..(self.to - self.from) * taps {
                *self.out.add(self.from * taps + i) = V::load(self.acc.add(i * V::N)).sum();
            }
        }
    }
}

/// The gradient of the weights [channel, tap].
pub fn weights<T: Gemm>(geometry: &Geometry, window: &Window, g: &Operand, x: &Operand, out: *mut T) -> Result<()> {
    let all = geometry.groups * geometry.cout;
    let out = Shared(out);
    for_each(all.div_ceil(CHANNELS), &|t, _| {
        let (from, to) = (t * CHANNELS, ((t + 1) * CHANNELS).min(all));
        let acc = Scratch::<T>::new((to - from) * geometry.taps() * T::kernels().lanes)?;
        // SAFETY: operands are contiguous and of the geometry's sizes; tasks write their own channels.
        with_spans(|spans| unsafe {
            T::run(Weights {
                geometry,
                window,
                spans,
                g: g.as_ptr::<T>(),
                x: x.as_ptr::<T>(),
                from,
                to,
                acc: acc.as_ptr(),
                out: out.at(0),
            })
        });
        Ok(())
    })
}
