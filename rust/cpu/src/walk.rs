//! Walking several strided windows of one shape together, in runs along the innermost dimension. For the kernels that
//! move single elements or rows (gather, scatter, cat, ...); pointwise work has the tile interpreter instead.

use std::ops::Range;

use rtorch_ir::{Error, Layout, Result};
use smallvec::SmallVec;

use crate::{Arg, Source};

/// Sizes and byte strides of K windows, neighbouring dimensions merged where all of them allow it. Outermost first,
/// at least one dimension.
#[derive(Clone, Debug)]
pub struct Walk<const K: usize> {
    dims: SmallVec<[(usize, [isize; K]); 5]>,
}

/// Base address of a window that several threads use.
#[derive(Clone, Copy)]
pub struct Base(*mut u8);

// SAFETY: a plain address; the kernels write disjoint elements from their threads.
unsafe impl Send for Base {}
// SAFETY: as above.
unsafe impl Sync for Base {}

impl Base {
    pub fn of(arg: &Arg) -> Base {
        Base(arg.base())
    }
    pub fn new(p: *mut u8) -> Base {
        Base(p)
    }
    /// The address `bytes` further, as one of `T`.
    #[inline(always)]
    pub fn at<T>(self, bytes: isize) -> *mut T {
        self.0.wrapping_offset(bytes).cast()
    }
}

/// The operand itself: primitives without prologues get identities only.
pub fn direct<'a>(source: &Source<'a>) -> Result<Arg<'a>> {
    source.direct().ok_or_else(|| Error::runtime("internal: a prologue where the kernel takes none"))
}

/// Strides of a layout in bytes.
pub fn byte_strides(l: &Layout, size: usize) -> SmallVec<[isize; 5]> {
    l.strides.iter().map(|&s| s * size as isize).collect()
}

impl<const K: usize> Walk<K> {
    pub fn new(shape: &[usize], strides: [&[isize]; K]) -> Walk<K> {
        let dims = shape.iter().enumerate().map(|(d, &n)| (n, std::array::from_fn(|k| strides[k][d])));
        let mut walk = Walk { dims: dims.filter(|d| d.0 != 1).collect() };
        walk.merge();
        walk
    }
    /// As `new`, without the dimensions for which `keep` is false.
    pub fn of_dims(shape: &[usize], strides: [&[isize]; K], keep: impl Fn(usize) -> bool) -> Walk<K> {
        let dims = shape.iter().enumerate().filter(|d| keep(d.0));
        let dims = dims.map(|(d, &n)| (n, std::array::from_fn(|k| strides[k][d])));
        let mut walk = Walk { dims: dims.filter(|d| d.0 != 1).collect() };
        walk.merge();
        walk
    }
    /// Puts the dimensions in the memory order of window `k`; for work whose order does not matter.
    pub fn sorted_by(mut self, k: usize) -> Walk<K> {
        self.dims.sort_by_key(|d| std::cmp::Reverse(d.1[k].unsigned_abs()));
        self.merge();
        self
    }
    fn merge(&mut self) {
        let mut out: SmallVec<[(usize, [isize; K]); 5]> = SmallVec::new();
        for &(n, strides) in &self.dims {
            match out.last_mut() {
                Some(last) if (0..K).all(|k| last.1[k] == strides[k].wrapping_mul(n as isize)) => {
                    *last = (last.0 * n, strides);
                }
                Some(_) | None => out.push((n, strides)),
            }
        }
        if out.is_empty() {
            out.push((1, [0; K]));
        }
        self.dims = out;
    }
    /// The dimensions, outermost first: sizes and byte strides.
    pub fn dims(&self) -> &[(usize, [isize; K])] {
        &self.dims
    }
    /// The walk over the other dimensions.
    pub fn without(&self, drop: &[usize]) -> Walk<K> {
        let mut walk = Walk { dims: SmallVec::new() };
        walk.dims.extend(self.dims.iter().enumerate().filter(|d| !drop.contains(&d.0)).map(|d| *d.1));
        walk.merge();
        walk
    }
    pub fn len(&self) -> usize {
        self.dims.iter().map(|d| d.0).product()
    }
    /// The innermost dimension: its size and byte strides.
    pub fn inner(&self) -> (usize, [isize; K]) {
        self.dims[self.dims.len() - 1]
    }
    /// Byte offsets of element `i`.
    pub fn at(&self, mut i: usize) -> [isize; K] {
        let mut offsets = [0isize; K];
        for &(n, strides) in self.dims.iter().rev() {
            let at = (i % n) as isize;
            i /= n;
            for k in 0..K {
                offsets[k] += at * strides[k];
            }
        }
        offsets
    }
    /// Calls `f(offsets, count)` for runs along the innermost dimension that cover elements `range`, in order.
    #[inline]
    pub fn runs(&self, range: Range<usize>, mut f: impl FnMut([isize; K], usize)) {
        if range.is_empty() {
            return;
        }
        let last = self.dims.len() - 1;
        let (inner, inner_strides) = self.dims[last];
        let mut index: SmallVec<[usize; 5]> = SmallVec::from_elem(0, self.dims.len());
        let mut rest = range.start;
        for d in (0..=last).rev() {
            index[d] = rest % self.dims[d].0;
            rest /= self.dims[d].0;
        }
        let mut offsets = self.at(range.start);
        let mut left = range.end - range.start;
        loop {
            let count = (inner - index[last]).min(left);
            f(offsets, count);
            left -= count;
            if left == 0 {
                return;
            }
            // to the start of the next run
            for k in 0..K {
                offsets[k] -= index[last] as isize * inner_strides[k];
            }
            index[last] = 0;
            for d in (0..last).rev() {
                let (n, strides) = self.dims[d];
                index[d] += 1;
                for k in 0..K {
                    offsets[k] += strides[k];
                }
                if index[d] < n {
                    break;
                }
                index[d] = 0;
                for k in 0..K {
                    offsets[k] -= n as isize * strides[k];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_every_part_of_every_layout() {
        let shape = [3, 4, 5];
        let a = Layout::contiguous(&shape);
        let b = Layout::contiguous(&[5, 4, 3]).transpose(0, 2);
        let c = Layout::contiguous(&[4, 1]).broadcast_to(&shape).unwrap();
        let strides = [&a, &b, &c].map(|l| byte_strides(l, 1));
        let walk = Walk::new(&shape, [&strides[0], &strides[1], &strides[2]]);
        let mut want = Vec::new();
        for i in 0..3 {
            for j in 0..4 {
                for k in 0..5 {
                    want.push([&a, &b, &c].map(|l| l.at(&[i, j, k]) as isize));
                }
            }
        }
        let (_, inner) = walk.inner();
        for start in 0..=60 {
            for end in start..=60 {
                let mut got = Vec::new();
                walk.runs(start..end, |at, n| {
                    for i in 0..n as isize {
                        got.push(std::array::from_fn(|k| at[k] + i * inner[k]));
                    }
                });
                assert_eq!(got, want[start..end]);
            }
        }
        assert_eq!(Walk::new(&shape, [&strides[0]]).inner(), (60, [1]));
        assert_eq!(Walk::new(&shape, [&strides[1]]).sorted_by(0).inner(), (60, [1]));
        assert_eq!(Walk::new(&[], [&[]]).len(), 1);
    }
}
