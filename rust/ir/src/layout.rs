//! `Layout`: shape, strides and offset over a storage, and the views that only change these.
//! Pure arithmetic, checked for overflow; no memory is touched here.

use smallvec::{SmallVec, smallvec};

use crate::ensure;
use crate::error::{Error, Result};

/// Sizes in elements per dimension.
pub type Shape = SmallVec<[usize; 5]>;
/// Strides in elements; negative ones exist inside the core only (a flipped read before a copy).
pub type Strides = SmallVec<[isize; 5]>;

#[derive(PartialEq, Eq, Debug, Hash, Default)]
pub struct Layout {
    pub shape: Shape,
    pub strides: Strides,
    /// First element, in elements from the start of the storage.
    pub offset: usize,
}

/// A copy. `SmallVec::clone` goes element by element, which a small operator does twenty times.
#[inline]
pub fn copied<T: Copy, const N: usize>(v: &SmallVec<[T; N]>) -> SmallVec<[T; N]> {
    if v.spilled() {
        return SmallVec::from_slice(v);
    }
    // SAFETY: numbers that stand in the vector itself: a copy of its bits owns nothing that the original owns.
    unsafe { std::ptr::read(v) }
}

impl Clone for Layout {
    #[inline]
    fn clone(&self) -> Layout {
        Layout { shape: copied(&self.shape), strides: copied(&self.strides), offset: self.offset }
    }
}

/// So many zeros.
#[inline]
fn zeros(n: usize) -> Strides {
    const INLINE: [isize; 5] = [0; 5];
    if n <= INLINE.len() { SmallVec::from_buf_and_len(INLINE, n) } else { smallvec![0; n] }
}

/// Row-major strides of a shape (a size of 0 counts as 1, as in PyTorch).
#[inline]
pub fn contiguous_strides(shape: &[usize]) -> Strides {
    let mut strides = zeros(shape.len());
    let mut step = 1isize;
    for i in (0..shape.len()).rev() {
        strides[i] = step;
        step = step.wrapping_mul(shape[i].max(1) as isize);
    }
    strides
}

/// Product of the sizes, or an error where it does not fit an i64 (PyTorch's limit).
pub fn checked_numel(shape: &[usize]) -> Result<usize> {
    if shape.contains(&0) {
        // nothing is stored, but the strides count the other dimensions
        let reach = shape.iter().try_fold(1usize, |n, &s| n.checked_mul(s.max(1)).filter(|&n| n <= i64::MAX as usize));
        return reach.map(|_| 0).ok_or_else(|| Error::runtime("Stride calculation overflowed"));
    }
    let mut n = 1usize;
    for &s in shape {
        n = n
            .checked_mul(s)
            .filter(|&n| n <= i64::MAX as usize)
            .ok_or_else(|| Error::runtime(format!("numel: integer multiplication overflow for sizes {shape:?}")))?;
    }
    Ok(n)
}

/// A dimension given by a user, negative from the end; `IndexError` with PyTorch's text when out of range.
pub fn normalize_dim(dim: i64, ndim: usize) -> Result<usize> {
    let n = ndim.max(1) as i64;
    ensure!(
        (-n..n).contains(&dim),
        index,
        "Dimension out of range (expected to be in range of [{}, {}], but got {})",
        -n,
        n - 1,
        dim
    );
    Ok(if dim < 0 { dim + n } else { dim } as usize)
}

/// The dims of a reduction as a sorted list; none given means all.
pub fn normalize_dims(dims: &[i64], ndim: usize) -> Result<SmallVec<[usize; 5]>> {
    let mut out: SmallVec<[usize; 5]> = SmallVec::new();
    for &d in dims {
        let d = normalize_dim(d, ndim)?;
        ensure!(!out.contains(&d), runtime, "dim {d} appears multiple times in the list of dims");
        if ndim > 0 {
            out.push(d);
        }
    }
    out.sort_unstable();
    Ok(out)
}

impl Layout {
    #[inline]
    pub fn contiguous(shape: &[usize]) -> Layout {
        const INLINE: usize = 5;
        if shape.len() <= INLINE {
            // in one go: every small operator makes one
            let (mut sizes, mut strides, mut step) = ([0; INLINE], [0; INLINE], 1isize);
            for i in (0..shape.len()).rev() {
                (sizes[i], strides[i]) = (shape[i], step);
                step = step.wrapping_mul(shape[i].max(1) as isize);
            }
            let (shape, n) = (Shape::from_buf_and_len(sizes, shape.len()), shape.len());
            return Layout { shape, strides: Strides::from_buf_and_len(strides, n), offset: 0 };
        }
        Layout { shape: Shape::from_slice(shape), strides: contiguous_strides(shape), offset: 0 }
    }
    pub fn new(shape: &[usize], strides: &[isize], offset: usize) -> Layout {
        Layout { shape: Shape::from_slice(shape), strides: Strides::from_slice(strides), offset }
    }
    pub fn ndim(&self) -> usize {
        self.shape.len()
    }
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }
    /// Row-major without gaps (dimensions of size 1 do not count).
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        let mut step = 1isize;
        for (&s, &st) in self.shape.iter().zip(&self.strides).rev() {
            if s == 0 {
                return true;
            }
            if s != 1 {
                if st != step {
                    return false;
                }
                step *= s as isize;
            }
        }
        true
    }
    /// Every element once, without gaps, in some order of the dimensions.
    pub fn is_dense(&self) -> bool {
        if self.is_contiguous() {
            return true;
        }
        let mut dims: SmallVec<[(isize, usize); 5]> =
            self.strides.iter().copied().zip(self.shape.iter().copied()).filter(|d| d.1 != 1).collect();
        dims.sort_unstable();
        let mut step = 1isize;
        for (st, s) in dims {
            if st != step {
                return false;
            }
            step *= s as isize;
        }
        true
    }
    /// Channels-last memory order of 4 or 5 dimensions.
    pub fn is_channels_last(&self) -> bool {
        let n = self.ndim();
        if !(n == 4 || n == 5) {
            return false;
        }
        let mut step = 1isize;
        for i in std::iter::once(1).chain((2..n).rev()).chain(std::iter::once(0)) {
            if self.shape[i] == 0 {
                return false;
            }
            if self.shape[i] != 1 {
                if self.strides[i] != step {
                    return false;
                }
                step *= self.shape[i] as isize;
            }
        }
        true
    }
    /// Lowest and one past the highest element touched, relative to the storage; None when empty.
    pub fn extent(&self) -> Option<(usize, usize)> {
        let (mut lo, mut hi) = (self.offset as isize, self.offset as isize);
        for (&s, &st) in self.shape.iter().zip(&self.strides) {
            if s == 0 {
                return None;
            }
            let d = (s as isize - 1) * st;
            if d < 0 {
                lo += d;
            } else {
                hi += d;
            }
        }
        Some((lo.max(0) as usize, hi as usize + 1))
    }
    /// Do the strides say that channels (dim 1 of 4 or 5) come last, where sizes of 1 leave it open? PyTorch's rule.
    pub fn suggests_channels_last(&self) -> bool {
        let n = self.ndim();
        if !(4..=5).contains(&n) || self.strides[1] == 0 {
            return false;
        }
        let mut least = 0;
        for d in std::iter::once(1).chain((2..n).rev()).chain([0]) {
            let (size, stride) = (self.shape[d], self.strides[d]);
            if size == 0 || stride < least || d == 0 && least == self.strides[1] {
                return false;
            }
            least = if size > 1 { stride.saturating_mul(size as isize) } else { stride };
        }
        true
    }
    /// Do two indices share an element? (expanded or overlapping strided dims)
    pub fn overlaps_itself(&self) -> bool {
        if self.is_dense() || self.numel() < 2 {
            return false;
        }
        let mut dims: SmallVec<[(isize, usize); 5]> =
            self.strides.iter().map(|s| s.abs()).zip(self.shape.iter().copied()).filter(|d| d.1 != 1).collect();
        dims.sort_unstable();
        let mut reach = 0isize;
        for (st, s) in dims {
            if st <= reach {
                return true;
            }
            reach += st * (s as isize - 1);
        }
        false
    }

    // ---- views

    /// The dims in another order; those not named (of size 1) are left out.
    pub fn permute(&self, dims: &[usize]) -> Layout {
        let mut l = self.clone();
        for (i, &d) in dims.iter().enumerate() {
            l.shape[i] = self.shape[d];
            l.strides[i] = self.strides[d];
        }
        l.shape.truncate(dims.len());
        l.strides.truncate(dims.len());
        l
    }
    pub fn transpose(&self, a: usize, b: usize) -> Layout {
        let mut l = self.clone();
        if l.ndim() > 0 {
            l.shape.swap(a, b);
            l.strides.swap(a, b);
        }
        l
    }
    /// Elements start, start+step, ... below end along a dimension; `start <= end <= size`, `step >= 1`.
    pub fn slice(&self, dim: usize, start: usize, end: usize, step: usize) -> Layout {
        let mut l = self.clone();
        let n = end.saturating_sub(start).div_ceil(step);
        l.shape[dim] = n;
        if n > 0 {
            l.offset = (l.offset as isize + l.strides[dim] * start as isize) as usize;
        }
        l.strides[dim] = l.strides[dim].wrapping_mul(step as isize);
        l
    }
    /// One index along a dimension, which goes away.
    pub fn select(&self, dim: usize, index: usize) -> Layout {
        let mut l = self.clone();
        l.offset = (l.offset as isize + l.strides[dim] * index as isize) as usize;
        l.shape.remove(dim);
        l.strides.remove(dim);
        l
    }
    pub fn unsqueeze(&self, dim: usize) -> Layout {
        let mut l = self.clone();
        let stride = if dim < l.ndim() { l.shape[dim] as isize * l.strides[dim] } else { 1 };
        l.shape.insert(dim, 1);
        l.strides.insert(dim, stride);
        l
    }
    pub fn squeeze(&self, dim: usize) -> Layout {
        let mut l = self.clone();
        l.shape.remove(dim);
        l.strides.remove(dim);
        l
    }
    /// Reversed along the dims: negative strides, for a read that is copied at once.
    pub fn flip(&self, dims: &[usize]) -> Layout {
        let mut l = self.clone();
        for &d in dims {
            if l.shape[d] > 0 {
                l.offset = (l.offset as isize + l.strides[d] * (l.shape[d] as isize - 1)) as usize;
            }
            l.strides[d] = -l.strides[d];
        }
        l
    }
    /// Broadcast to `shape` (right-aligned), new and expanded dims with stride 0.
    pub fn broadcast_to(&self, shape: &[usize]) -> Result<Layout> {
        ensure!(
            shape.len() >= self.ndim(),
            runtime,
            "expand: the number of sizes provided ({}) must be greater or equal to the number of dimensions in the \
             tensor ({})",
            shape.len(),
            self.ndim()
        );
        let lead = shape.len() - self.ndim();
        let mut l = Layout { shape: Shape::from_slice(shape), strides: zeros(shape.len()), offset: self.offset };
        for i in 0..self.ndim() {
            let (have, want) = (self.shape[i], shape[lead + i]);
            if have == want {
                l.strides[lead + i] = self.strides[i];
            } else {
                ensure!(
                    have == 1,
                    runtime,
                    "The expanded size of the tensor ({want}) must match the existing size ({have}) at non-singleton \
                     dimension {}.  Target sizes: {:?}.  Tensor sizes: {:?}",
                    lead + i,
                    shape,
                    self.shape.as_slice()
                );
            }
        }
        Ok(l)
    }
    /// The same elements under another shape without a copy, where the strides allow it.
    pub fn reshape(&self, shape: &[usize]) -> Option<Layout> {
        if self.is_contiguous() || self.numel() == 0 {
            return Some(Layout {
                shape: Shape::from_slice(shape),
                strides: contiguous_strides(shape),
                offset: self.offset,
            });
        }
        let mut strides = zeros(shape.len());
        // walk from the right, matching runs of old dims that are contiguous among themselves with runs of new dims
        let mut new = shape.len();
        let mut base = self.strides.last().copied().unwrap_or(1);
        let (mut tensor_numel, mut view_numel) = (1usize, 1usize);
        for old in (0..self.ndim()).rev() {
            tensor_numel *= self.shape[old];
            let ends = old == 0 || (self.shape[old - 1] != 1 && self.strides[old - 1] != tensor_numel as isize * base);
            if ends {
                while new > 0 && (view_numel < tensor_numel || shape[new - 1] == 1) {
                    strides[new - 1] = view_numel as isize * base;
                    view_numel *= shape[new - 1];
                    new -= 1;
                }
                if view_numel != tensor_numel {
                    return None;
                }
                if old > 0 {
                    base = self.strides[old - 1];
                    tensor_numel = 1;
                    view_numel = 1;
                }
            }
        }
        if new != 0 {
            return None;
        }
        Some(Layout { shape: Shape::from_slice(shape), strides, offset: self.offset })
    }
    /// Windows of `size` every `step` along `dim`, as a new last dimension.
    pub fn unfold(&self, dim: usize, size: usize, step: usize) -> Layout {
        let mut l = self.clone();
        let (have, stride) = if self.ndim() == 0 { (1, 1) } else { (self.shape[dim], self.strides[dim]) };
        if self.ndim() > 0 {
            l.shape[dim] = (have - size) / step + 1;
            l.strides[dim] = stride * step as isize;
        }
        l.shape.push(size);
        l.strides.push(stride);
        l
    }
    /// The diagonal of two dims as a new last dimension.
    pub fn diagonal(&self, offset: i64, dim1: usize, dim2: usize) -> Layout {
        let (n1, n2) = (self.shape[dim1] as i64, self.shape[dim2] as i64);
        let len = if offset >= 0 { n1.min(n2 - offset) } else { (n1 + offset).min(n2) }.max(0) as usize;
        let mut l = self.clone();
        if len > 0 {
            let step =
                if offset >= 0 { self.strides[dim2] * offset as isize } else { -self.strides[dim1] * offset as isize };
            l.offset = (l.offset as isize + step) as usize;
        }
        let stride = self.strides[dim1] + self.strides[dim2];
        let (hi, lo) = (dim1.max(dim2), dim1.min(dim2));
        for d in [hi, lo] {
            l.shape.remove(d);
            l.strides.remove(d);
        }
        l.shape.push(len);
        l.strides.push(stride);
        l
    }
    /// Memory order of the dims, outermost first: what `dense_like` and `empty_like` keep.
    pub fn dense_strides_like(&self) -> Strides {
        if self.is_contiguous() {
            return contiguous_strides(&self.shape);
        }
        if !self.is_dense() {
            return crate::shape::result_strides(&self.shape, &[self]);
        }
        copied(&self.strides)
    }
    /// Index of the element at a multi-index, relative to the storage.
    pub fn at(&self, index: &[usize]) -> usize {
        let mut p = self.offset as isize;
        for (&i, &s) in index.iter().zip(&self.strides) {
            p += i as isize * s;
        }
        p as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshape_keeps_memory_order_or_refuses() {
        let l = Layout::contiguous(&[2, 3, 4]);
        assert_eq!(l.reshape(&[6, 4]).unwrap().strides.as_slice(), &[4, 1]);
        let t = l.transpose(1, 2); // 2,4,3 strides 12,1,4
        assert!(t.reshape(&[2, 12]).is_none());
        assert_eq!(t.reshape(&[2, 1, 4, 3]).unwrap().strides.as_slice(), &[12, 4, 1, 4]);
        assert_eq!(t.reshape(&[2, 2, 2, 3]).unwrap().strides.as_slice(), &[12, 2, 1, 4]);
        assert_eq!(Layout::contiguous(&[]).reshape(&[1, 1]).unwrap().strides.as_slice(), &[1, 1]);
    }

    #[test]
    fn overlap_and_density() {
        let l = Layout::contiguous(&[3]);
        assert!(l.broadcast_to(&[2, 3]).unwrap().overlaps_itself());
        assert!(!Layout::contiguous(&[4, 6]).slice(1, 0, 6, 2).overlaps_itself());
        assert!(Layout::contiguous(&[4, 6]).transpose(0, 1).is_dense());
        assert!(Layout::contiguous(&[5]).unfold(0, 3, 1).overlaps_itself());
    }

    #[test]
    fn diagonals() {
        let l = Layout::contiguous(&[3, 4]);
        let d = l.diagonal(1, 0, 1);
        assert_eq!((d.shape.as_slice(), d.strides.as_slice(), d.offset), (&[3usize][..], &[5isize][..], 1));
        let d = l.diagonal(-1, 0, 1);
        assert_eq!((d.shape.as_slice(), d.offset), (&[2usize][..], 4));
    }
}
