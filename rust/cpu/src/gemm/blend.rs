//! What `addmm` does to a finished region of C: alpha * C + beta * bias.
//! Programs that follow (epilogues) are the tile interpreter's.

use super::View;
use super::kernel::Body;
use super::lanes::{Lanes, Real};

/// The region `rows` x `cols`. C's rows are `ld` apart; the bias has any strides (0 where it is broadcast).
pub struct Blend<T> {
    pub rows: [usize; 2],
    pub cols: [usize; 2],
    pub c: *mut T,
    pub ld: usize,
    pub alpha: T,
    pub beta: T,
    pub bias: Option<View<T>>,
}

/// # Safety
/// The region lies within C and the bias, and nobody else touches it; the instruction set of `V` was detected.
#[inline(always)]
unsafe fn blend<V: Lanes>(b: &Blend<V::T>) {
    let (rows, cols) = (b.rows, b.cols);
    for i in rows[0]..rows[1] {
        // SAFETY: as the caller's.
        unsafe {
            let (alpha, beta) = (V::splat(b.alpha), V::splat(b.beta));
            let c = b.c.add(i * b.ld);
            let mut j = cols[0];
            while j < cols[1] {
                let n = (cols[1] - j).min(V::N);
                let full = n == V::N;
                let v = (if full { V::load(c.add(j)) } else { V::load_n(c.add(j), n) }).mul(alpha);
                let v = match b.bias {
                    None => v,
                    Some(bias) => {
                        let p = bias.at(i, j);
                        let x = match bias.cs {
                            0 => V::splat(*p),
                            1 if full => V::load(p),
                            1 => V::load_n(p, n),
                            step => {
                                let mut some = [V::T::ZERO; 16];
                                for t in 0..n {
                                    some[t] = *p.wrapping_offset(step * t as isize);
                                }
                                V::load(some.as_ptr())
                            }
                        };
                        beta.fma(x, v)
                    }
                };
                if full {
                    v.store(c.add(j));
                } else {
                    v.store_n(c.add(j), n);
                }
                j += V::N;
            }
        }
    }
}

impl<T: Real> Body<T> for &Blend<T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        // SAFETY: as the caller's.
        unsafe { blend::<V>(self) }
    }
}
