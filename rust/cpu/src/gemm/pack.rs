//! Packing: a panel of an operand, `width` values for each k, written so that a tile reads it front to back.
//! A's panels and B's are the same thing seen from two sides. Convolution has a packer of its own (`conv::patches`).

use super::kernel::Body;
use super::lanes::{Lanes, Real};

/// Source element (x, p) lies at `src + x * across + p * along`, and goes to `dst + p * step + x`. Values up to `step`
/// that the source does not have are filled with something finite or with repeats, never left unset.
#[derive(Clone, Copy)]
pub struct Panel<T> {
    pub src: *const T,
    pub across: isize,
    pub along: isize,
    pub width: usize,
    pub k: usize,
    pub dst: *mut T,
    pub step: usize,
}

/// Values that a packer may write behind the end of a panel.
pub const SLACK: usize = 16;

/// # Safety
/// The pointers must be good for what the struct says (and `SLACK` more in `dst`), the instruction set of `V` detected.
#[inline(always)]
unsafe fn pack<V: Lanes>(p: &Panel<V::T>) {
    // SAFETY: as the caller's.
    unsafe {
        if p.across == 1 {
            rows::<V>(p);
        } else if p.along == 1 {
            columns::<V>(p);
        } else {
            scalar(p, 0, p.k);
        }
    }
}

/// A row of the panel is contiguous in the source.
#[inline(always)]
unsafe fn rows<V: Lanes>(p: &Panel<V::T>) {
    // SAFETY: as `pack`.
    unsafe {
        if p.width == 2 * V::N && p.step == 2 * V::N {
            for i in 0..p.k {
                let s = p.src.wrapping_offset(p.along * i as isize);
                let d = p.dst.add(i * p.step);
                let (x, y) = (V::load(s), V::load(s.add(V::N)));
                x.store(d);
                y.store(d.add(V::N));
            }
            return;
        }
        for i in 0..p.k {
            let s = p.src.wrapping_offset(p.along * i as isize);
            let d = p.dst.add(i * p.step);
            let mut x = 0;
            while x < p.step {
                let have = p.width.saturating_sub(x).min(V::N);
                V::load_n(s.wrapping_add(x), have).store_n(d.add(x), (p.step - x).min(V::N));
                x += V::N;
            }
        }
    }
}

/// A column of the panel is contiguous in the source: square blocks are transposed in registers.
#[inline(always)]
unsafe fn columns<V: Lanes>(p: &Panel<V::T>) {
    let whole = p.k / V::N * V::N;
    // SAFETY: as `pack`; `transpose` writes at most N - 1 values behind a row, which the next row, or the slack, takes.
    unsafe {
        let mut i = 0;
        while i < whole {
            // from the last block back to the first, which overwrites what the others wrote into the next row
            let mut x = p.step.div_ceil(V::N) * V::N;
            while x > 0 {
                x -= V::N;
                let have = p.width.saturating_sub(x).min(V::N);
                // the last panel's missing columns repeat one that exists
                let from = if have == 0 { p.width - 1 } else { x };
                let s = p.src.wrapping_offset(p.across * from as isize).add(i);
                V::transpose(s, p.across, have.max(1), p.dst.add(i * p.step + x), p.step);
            }
            i += V::N;
        }
        scalar(p, whole, p.k);
    }
}

unsafe fn scalar<T: Real>(p: &Panel<T>, from: usize, to: usize) {
    for i in from..to {
        // SAFETY: as `pack`.
        unsafe {
            let s = p.src.wrapping_offset(p.along * i as isize);
            let d = p.dst.add(i * p.step);
            for x in 0..p.width {
                *d.add(x) = *s.wrapping_offset(p.across * x as isize);
            }
            for x in p.width..p.step {
                *d.add(x) = T::ZERO;
            }
        }
    }
}

impl<T: Real> Body<T> for &Panel<T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        // SAFETY: as the caller's.
        unsafe { pack::<V>(self) }
    }
}
