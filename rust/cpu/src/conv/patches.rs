//! Panels of the transposed patch matrix, packed when a task of the weight gradient needs them and never written as a
//! whole: from planes (`Turned`) or from a channels-last copy (`Pixels`).

use std::cell::RefCell;

use super::window::{Spans, Window};
use crate::gemm::lanes::{Lanes, Real};
use crate::gemm::{Body, Gemm, Panels};

thread_local! {
    /// Its memory is used again: a panel asks for one every few microseconds.
    static SPANS: RefCell<Spans> = RefCell::new(Spans::default());
}

/// Runs `f` with this thread's table.
pub fn with_spans<R>(f: impl FnOnce(&mut Spans) -> R) -> R {
    SPANS.with(|s| match s.try_borrow_mut() {
        Ok(mut s) => f(&mut s),
        Err(_) => f(&mut Spans::default()),
    })
}

/// Loads what the spans of a register cover.
#[inline(always)]
pub unsafe fn gather<V: Lanes>(x: *const V::T, step: isize, spans: &Spans, tap: usize) -> V {
    // SAFETY: the spans lie within the plane at `x`; what they do not cover is not read.
    unsafe {
        let mut v = V::zero();
        for s in spans.of(tap) {
            v = v.or(V::load_span(x.wrapping_offset(s.offset), step, s.lo as usize, s.hi as usize));
        }
        v
    }
}

/// (channel, tap) across, positions along k, from planes: registers of positions are gathered, then transposed.
pub struct Turned<'a, T> {
    pub window: &'a Window,
    pub x: *const T,
}

// SAFETY: only read.
unsafe impl<T> Sync for Turned<'_, T> {}

struct Turn<'a, T> {
    of: &'a Turned<'a, T>,
    spans: &'a mut Spans,
    at: usize,
    width: usize,
    k0: usize,
    k: usize,
    dst: *mut T,
    step: usize,
}

impl<T: Real> Body<T> for Turn<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let window = self.of.window;
        let (taps, plane, step) = (window.taps.len(), window.plane(), window.step[2] as isize);
        let mut block = [[T::ZERO; 16]; 16];
        for p in (0..self.k).step_by(V::N) {
            let count = (self.k - p).min(V::N);
            self.spans.build(window, self.k0 + p, self.k0 + p + count);
            for x0 in (0..self.step).step_by(V::N) {
                // SAFETY: planes cover the spans; `dst` has `k` rows of `step` values.
                unsafe {
                    for i in 0..V::N {
                        let j = self.at + x0 + i;
                        let v = if x0 + i < self.width {
                            gather::<V>(self.of.x.wrapping_add(j / taps * plane), step, self.spans, j % taps)
                        } else {
                            V::zero()
                        };
                        v.store(block[i].as_mut_ptr());
                    }
                    let dst = self.dst.add(p * self.step + x0);
                    if count == V::N {
                        V::transpose(block[0].as_ptr(), 16, V::N, dst, self.step);
                    } else {
                        for q in 0..count {
                            for i in 0..V::N {
                                *dst.add(q * self.step + i) = block[i][q];
                            }
                        }
                    }
                }
            }
        }
    }
}

impl<T: Gemm> Panels<T> for Turned<'_, T> {
    unsafe fn panel(
        &self,
        at: usize,
        width: usize,
        k0: usize,
        k: usize,
        dst: *mut T,
        step: usize,
    ) -> (*const T, usize) {
        with_spans(|spans| {
            // SAFETY: the caller vouches for `dst`.
            unsafe { T::run(Turn { of: self, spans, at, width, k0, k, dst, step }) };
        });
        (dst, step)
    }
}

/// (tap, channel) across, positions along k, from a channels-last copy: rows of channels are copied.
pub struct Pixels<'a, T> {
    pub window: &'a Window,
    /// The group's first channel of the first position.
    pub x: *const T,
    /// Channels of the group, and of all groups (the distance between positions).
    pub channels: usize,
    pub all: usize,
}

// SAFETY: only read.
unsafe impl<T> Sync for Pixels<'_, T> {}

struct Copy<'a, T> {
    of: &'a Pixels<'a, T>,
    at: usize,
    width: usize,
    k0: usize,
    k: usize,
    dst: *mut T,
    step: usize,
}

impl<T: Real> Body<T> for Copy<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let (of, window) = (self.of, self.of.window);
        let mut x = 0;
        while x < self.width {
            let (tap, channel) = ((self.at + x) / of.channels, (self.at + x) % of.channels);
            let n = (of.channels - channel).min(self.width - x);
            let tap = &window.taps[tap];
            let mut dst = self.dst.wrapping_add(x);
            window.rows(self.k0, self.k0 + self.k, |d, h, from, to| {
                let row = window.row(d, h, tap);
                let (lo, hi) = if row.is_some() { window.columns(from, to, tap) } else { (to, to) };
                let start = row.unwrap_or(0) + (lo * window.step[2]) as isize + tap.offset[2];
                let src = of.x.wrapping_offset(start * of.all as isize).wrapping_add(channel);
                // SAFETY: lo..hi are positions whose input exists; `dst` has a row for every position.
                unsafe {
                    for _ in from..lo {
                        run::<V>(None, dst, n);
                        dst = dst.wrapping_add(self.step);
                    }
                    for w in 0..hi - lo {
                        run::<V>(Some(src.wrapping_add(w * window.step[2] * of.all)), dst, n);
                        dst = dst.wrapping_add(self.step);
                    }
                    for _ in hi..to {
                        run::<V>(None, dst, n);
                        dst = dst.wrapping_add(self.step);
                    }
                }
            });
            x += n;
        }
        for p in 0..self.k {
            for x in self.width..self.step {
                // SAFETY: within the panel.
                unsafe { *self.dst.add(p * self.step + x) = T::ZERO };
            }
        }
    }
}

/// Copies `n` values, or writes zeros.
#[inline(always)]
unsafe fn run<V: Lanes>(src: Option<*const V::T>, dst: *mut V::T, n: usize) {
    // SAFETY: the caller vouches for n values at both.
    unsafe {
        let mut i = 0;
        while i + V::N <= n {
            src.map_or(V::zero(), |s| V::load(s.add(i))).store(dst.add(i));
            i += V::N;
        }
        if i < n {
            src.map_or(V::zero(), |s| V::load_n(s.add(i), n - i)).store_n(dst.add(i), n - i);
        }
    }
}

impl<T: Gemm> Panels<T> for Pixels<'_, T> {
    unsafe fn panel(
        &self,
        at: usize,
        width: usize,
        k0: usize,
        k: usize,
        dst: *mut T,
        step: usize,
    ) -> (*const T, usize) {
        // SAFETY: the caller vouches for `dst`.
        unsafe { T::run(Copy { of: self, at, width, k0, k, dst, step }) };
        (dst, step)
    }
}
