//! `nonzero`: the positions of what is not zero, in row-major order. Its size depends on the data: `count` tells it
//! first, the caller allocates, `nonzero` fills.

use rtorch_ir::{Error, Result, ensure};

use crate::element::dispatch;
use crate::threads::{num_threads, parallel_for};
use crate::walk::{Base, Walk, byte_strides, direct};
use crate::{Arg, Source};

/// Elements counted as one: the unit in which threads share the work.
const BLOCK: usize = 1 << 14;
/// Elements tested before their positions are written.
const CHUNK: usize = 512;

/// Is a stored value different from zero? (NaN is, -0.0 is not.)
trait Test: Copy {
    fn is_nonzero(self) -> bool;
}
macro_rules! test_numbers {
    ($($t:ty: $zero:expr),*) => {$(
        impl Test for $t {
            #[inline(always)]
            fn is_nonzero(self) -> bool {
                self != $zero
            }
        }
    )*};
}
test_numbers!(u8: 0, i8: 0, i16: 0, i32: 0, i64: 0, f32: 0.0, f64: 0.0);
impl Test for crate::element::Bool {
    #[inline(always)]
    fn is_nonzero(self) -> bool {
        self.0 != 0
    }
}
impl Test for half::f16 {
    #[inline(always)]
    fn is_nonzero(self) -> bool {
        self.to_bits() & 0x7fff != 0
    }
}
impl Test for half::bf16 {
    #[inline(always)]
    fn is_nonzero(self) -> bool {
        self.to_bits() & 0x7fff != 0
    }
}
impl<T: Copy + PartialEq + Default> Test for crate::element::Complex<T> {
    #[inline(always)]
    fn is_nonzero(self) -> bool {
        self.0 != T::default() || self.1 != T::default()
    }
}

/// How many elements are not zero: the rows of `nonzero`'s result.
pub fn count(x: Arg) -> Result<usize> {
    dispatch!(x.dtype, T => Ok(counts::<T>(x)?.iter().sum()))
}

fn counts<T: Test>(x: Arg) -> Result<Vec<usize>> {
    let n = x.layout.numel();
    let walk = Walk::new(&x.layout.shape, [&byte_strides(x.layout, x.dtype.size())]);
    let (_, [step]) = walk.inner();
    let base = Base::of(&x);
    // an expanded operand may have more blocks than there is memory
    let mut out = Vec::new();
    let refused = |_| Error::memory(format!("nonzero: no memory to count {n} elements"));
    out.try_reserve_exact(n.div_ceil(BLOCK)).map_err(refused)?;
    out.resize(n.div_ceil(BLOCK), 0usize);
    let slots = Base::new(out.as_mut_ptr().cast());
    parallel_for(out.len(), 1, &|range| {
        for b in range {
            let mut total = 0;
            walk.runs(b * BLOCK..((b + 1) * BLOCK).min(n), |[at], count| {
                if step == size_of::<T>() as isize {
                    // SAFETY: a contiguous run of the window's elements.
                    let s = unsafe { std::slice::from_raw_parts(base.at::<T>(at), count) };
                    total += s.iter().map(|v| v.is_nonzero() as u32).sum::<u32>() as usize;
                } else {
                    for j in 0..count as isize {
                        // SAFETY: an element of the window.
                        total += unsafe { *base.at::<T>(at + j * step) }.is_nonzero() as usize;
                    }
                }
            });
            // SAFETY: each block has its slot.
            unsafe { *slots.at::<usize>((b * size_of::<usize>()) as isize) = total };
        }
    });
    Ok(out)
}

/// `Prim::Nonzero` into an output with as many rows as `count` answers.
pub fn nonzero(inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let (x, out) = (direct(&inputs[0])?, outs[0]);
    dispatch!(x.dtype, T => fill::<T>(x, out))
}

fn fill<T: Test>(x: Arg, out: Arg) -> Result<()> {
    let counts = counts::<T>(x)?;
    let total: usize = counts.iter().sum();
    ensure!(out.layout.shape[0] == total, runtime, "nonzero: the result has {} rows, not {total}", out.layout.shape[0]);
    let mut start = 0;
    let starts: Vec<usize> = counts
        .iter()
        .map(|c| {
            start += c;
            start - c
        })
        .collect();
    let shape = &x.layout.shape;
    let n = x.layout.numel();
    let walk = Walk::new(shape, [&byte_strides(x.layout, x.dtype.size())]);
    let (_, [step]) = walk.inner();
    let (base, to) = (Base::of(&x), Base::of(&out));
    let row = out.layout.strides[0] * 8;
    let col = out.layout.strides[1] * 8;
    let per_thread = counts.len().div_ceil(num_threads()).max(1);
    parallel_for(counts.len(), if n < 2 * BLOCK { per_thread } else { 1 }, &|range| {
        for b in range {
            if counts[b] == 0 {
                continue;
            }
            let mut y = starts[b] as isize * row;
            let mut linear = b * BLOCK;
            let mut index = Index::new(shape, linear);
            walk.runs(linear..((b + 1) * BLOCK).min(n), |[at], count| {
                let mut found = [0u32; CHUNK];
                for first in (0..count).step_by(CHUNK) {
                    // every position is stored, and kept where the element counts: no branch to predict
                    let mut hits = 0;
                    for j in first..(first + CHUNK).min(count) {
                        // SAFETY: an element of the window; hits is below the positions seen.
                        unsafe {
                            *found.get_unchecked_mut(hits) = j as u32;
                            hits += (*base.at::<T>(at + j as isize * step)).is_nonzero() as usize;
                        }
                    }
                    if let ([_], 8) = (shape.as_slice(), row) {
                        // SAFETY: row numbers below `total`.
                        let rows = unsafe { std::slice::from_raw_parts_mut(to.at::<i64>(y), hits) };
                        for (row, &j) in rows.iter_mut().zip(&found[..hits]) {
                            *row = (linear + j as usize) as i64;
                        }
                        y += 8 * hits as isize;
                        continue;
                    }
                    for &j in &found[..hits] {
                        index.advance(shape, linear + j as usize);
                        for (d, &i) in index.at.iter().enumerate() {
                            // SAFETY: row number below `total`, one column per dimension.
                            unsafe { *to.at::<i64>(y + d as isize * col) = i as i64 };
                        }
                        y += row;
                    }
                }
                linear += count;
            });
        }
    });
    Ok(())
}

/// A multi-index that follows a growing linear one with few divisions.
struct Index {
    linear: usize,
    at: smallvec::SmallVec<[usize; 5]>,
}

impl Index {
    fn new(shape: &[usize], linear: usize) -> Index {
        let mut index = Index { linear, at: smallvec::SmallVec::from_elem(0, shape.len()) };
        index.set(shape, linear);
        index
    }
    fn set(&mut self, shape: &[usize], linear: usize) {
        self.linear = linear;
        let mut rest = linear;
        for d in (0..shape.len()).rev() {
            self.at[d] = rest % shape[d];
            rest /= shape[d];
        }
    }
    #[inline(always)]
    fn advance(&mut self, shape: &[usize], linear: usize) {
        let step = linear - self.linear;
        match self.at.last_mut() {
            Some(last) if *last + step < shape[shape.len() - 1] => {
                *last += step;
                self.linear = linear;
            }
            Some(_) => self.set(shape, linear),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use rtorch_ir::DType;

    use super::*;
    use crate::testing::{Rng, T, call, layouts};

    #[test]
    fn positions_are_row_major() {
        let mut rng = Rng(1);
        for dtype in DType::ALL {
            for layout in layouts(&[3, 41, 200]) {
                let n = layout.numel();
                let values: Vec<f64> = (0..n).map(|_| if rng.below(5) == 0 { 1.0 } else { 0.0 }).collect();
                let x = T::with(dtype, layout, &values);
                let rows = count(x.arg()).unwrap();
                let out = T::full(DType::I64, &[rows, 3], -1.0);
                call(nonzero, &[&x], &[&out]).unwrap();
                let mut want = Vec::new();
                for (i, &v) in values.iter().enumerate() {
                    if v != 0.0 {
                        want.extend([(i / 8200) as f64, (i / 200 % 41) as f64, (i % 200) as f64]);
                    }
                }
                assert_eq!(out.get(), want);
            }
        }
        let x = T::new(DType::F32, &[4], &[-0.0, f64::NAN, 0.0, 1.0]);
        assert_eq!(count(x.arg()).unwrap(), 2);
        let scalar = T::full(DType::F32, &[], 3.0);
        assert_eq!(count(scalar.arg()).unwrap(), 1);
        call(nonzero, &[&scalar], &[&T::full(DType::I64, &[1, 0], 0.0)]).unwrap();
        assert_eq!(count(T::full(DType::F32, &[0, 3], 0.0).arg()).unwrap(), 0);
    }
}
