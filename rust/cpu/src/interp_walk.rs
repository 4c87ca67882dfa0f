//! Where the elements of an operand lie, for a range of the iteration: as they are, or gathered into a tile and
//! scattered back. Not here: what is computed with them (`interp_plan`, `interp`).

use rtorch_ir::{DType, Layout};
use smallvec::SmallVec;

use crate::versions::versions;

/// One dimension of a walk: elements, and bytes from one to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dim {
    pub size: usize,
    pub stride: isize,
}

pub type Dims = SmallVec<[Dim; 4]>;

/// An operand's memory over the iteration space, dimensions merged as far as this operand alone allows.
#[derive(Clone, Debug)]
pub struct Walk {
    pub base: *mut u8,
    /// Bytes of an element in memory.
    pub size: usize,
    pub dims: Dims,
}

// SAFETY: a description of memory; threads that use it touch disjoint elements of what is written.
unsafe impl Send for Walk {}
// SAFETY: as above.
unsafe impl Sync for Walk {}

/// What a range of an operand is.
pub enum Piece {
    /// Contiguous elements, here.
    Direct(*mut u8),
    /// Anything else: to be gathered.
    Strided,
}

/// Merges neighbouring dimensions that one stride describes, and drops those of size 1.
pub fn merge(dims: impl Iterator<Item = Dim>) -> Dims {
    let mut out = Dims::new();
    for d in dims {
        if d.size == 1 {
            continue;
        }
        match out.last_mut() {
            Some(last) if last.stride == d.stride.wrapping_mul(d.size as isize) => {
                *last = Dim { size: last.size * d.size, stride: d.stride };
            }
            Some(_) | None => out.push(d),
        }
    }
    out
}

impl Walk {
    /// `order`: the dimensions of `layout` in iteration order, outermost first.
    pub fn new(ptr: *mut u8, dtype: DType, layout: &Layout, order: &[usize]) -> Walk {
        let size = dtype.size();
        let dims =
            order.iter().map(|&d| Dim { size: layout.shape[d], stride: layout.strides[d].wrapping_mul(size as isize) });
        Walk { base: ptr.wrapping_add(layout.offset * size), size, dims: merge(dims) }
    }
    /// Are all elements of the iteration one contiguous run?
    #[inline]
    pub fn is_linear(&self) -> bool {
        match self.dims.as_slice() {
            [] => true,
            [d] => d.stride == self.size as isize,
            [_, ..] => false,
        }
    }
    /// One element everywhere?
    pub fn is_constant(&self) -> bool {
        self.dims.iter().all(|d| d.stride == 0)
    }
    /// The length of a contiguous run that repeats over the whole iteration: a row, or one element.
    pub fn period(&self) -> Option<usize> {
        match self.dims.as_slice() {
            [only] if only.stride == 0 => Some(1),
            [outer, inner] if outer.stride == 0 && inner.stride == self.size as isize => Some(inner.size),
            [] | [_] | [_, ..] => None,
        }
    }
    /// The length of the contiguous rows that the operand consists of, where it is not one of them.
    pub fn row(&self) -> Option<usize> {
        match self.dims.as_slice() {
            [_, .., inner] if inner.stride == self.size as isize => Some(inner.size),
            [] | [_] | [_, ..] => None,
        }
    }
    /// Rows that lie across: contiguous from row to row, strided within one.
    pub fn is_across(&self) -> bool {
        match self.dims.as_slice() {
            [outer, inner] => {
                let size = self.size as isize;
                outer.stride == size && inner.stride != size && inner.stride != 0
            }
            [] | [_] | [_, ..] => false,
        }
    }
    /// Address of element `i` of the iteration, and the elements left in the innermost dimension from there on.
    #[inline]
    pub fn locate(&self, i: usize) -> (*mut u8, usize) {
        match self.dims.as_slice() {
            [] => (self.base, 1),
            [d] => (self.base.wrapping_offset(i as isize * d.stride), d.size - i),
            [outer, inner] => {
                let (row, col) = (i / inner.size, i % inner.size);
                let at = row as isize * outer.stride + col as isize * inner.stride;
                (self.base.wrapping_offset(at), inner.size - col)
            }
            dims => {
                let mut rest = i;
                let mut at = 0isize;
                let mut left = 0;
                for (k, d) in dims.iter().enumerate().rev() {
                    let c = rest % d.size;
                    rest /= d.size;
                    at += c as isize * d.stride;
                    if k + 1 == dims.len() {
                        left = d.size - c;
                    }
                }
                (self.base.wrapping_offset(at), left)
            }
        }
    }
    /// Elements `start..start + n` of the iteration.
    #[inline]
    pub fn piece(&self, start: usize, n: usize) -> Piece {
        let inner = match self.dims.last() {
            Some(d) => d.stride,
            None => self.size as isize,
        };
        if inner == self.size as isize {
            let (p, left) = self.locate(start);
            if left >= n || self.dims.is_empty() {
                return Piece::Direct(p);
            }
        }
        Piece::Strided
    }
    /// Calls `f(address, stride, done, count)` for every run of one stride within `start..start + n`.
    #[inline]
    fn runs(&self, start: usize, n: usize, mut f: impl FnMut(*mut u8, isize, usize, usize)) {
        let stride = self.dims.last().map_or(0, |d| d.stride);
        let [middle @ .., outer, inner] = self.dims.as_slice() else {
            let (p, _) = self.locate(start);
            return f(p, stride, 0, n);
        };
        // rows are short where this matters: only the first of each plane is looked for
        let mut done = 0;
        while done < n {
            let (mut p, left) = self.locate(start + done);
            let row = (start + done) / inner.size;
            let rows = if middle.is_empty() { usize::MAX } else { outer.size - row % outer.size };
            let mut count = left.min(n - done);
            let mut row_start = p.wrapping_offset((left as isize - inner.size as isize).wrapping_mul(inner.stride));
            for _ in 0..rows {
                f(p, stride, done, count);
                done += count;
                if done == n {
                    break;
                }
                row_start = row_start.wrapping_offset(outer.stride);
                p = row_start;
                count = inner.size.min(n - done);
            }
        }
    }
    /// Copies the range's elements into contiguous memory.
    ///
    /// # Safety
    /// The range lies in the iteration, the operand's memory is valid, `dst` holds `n` elements.
    pub unsafe fn gather(&self, start: usize, n: usize, dst: *mut u8) {
        // SAFETY: the caller's promise; elements of other types are moved by their size.
        unsafe {
            match self.size {
                1 => self.gather_typed::<u8>(start, n, dst),
                2 => self.gather_typed::<u16>(start, n, dst),
                4 => self.gather_typed::<u32>(start, n, dst),
                8 => self.gather_typed::<u64>(start, n, dst),
                _ => self.gather_typed::<[u64; 2]>(start, n, dst),
            }
        }
    }
    unsafe fn gather_typed<T: Copy>(&self, start: usize, n: usize, dst: *mut u8) {
        let dst = dst.cast::<T>();
        // SAFETY: runs of the operand; `done + count <= n`.
        self.runs(start, n, |src, stride, done, count| unsafe { read_run(dst.add(done), src.cast(), stride, count) });
    }
    /// Copies contiguous memory to the range's elements.
    ///
    /// # Safety
    /// As `gather`, with `src` holding `n` elements.
    pub unsafe fn scatter(&self, start: usize, n: usize, src: *const u8) {
        // SAFETY: as in `gather`.
        unsafe {
            match self.size {
                1 => self.scatter_typed::<u8>(start, n, src),
                2 => self.scatter_typed::<u16>(start, n, src),
                4 => self.scatter_typed::<u32>(start, n, src),
                8 => self.scatter_typed::<u64>(start, n, src),
                _ => self.scatter_typed::<[u64; 2]>(start, n, src),
            }
        }
    }
    unsafe fn scatter_typed<T: Copy>(&self, start: usize, n: usize, src: *const u8) {
        let src = src.cast::<T>();
        // SAFETY: as in `gather_typed`.
        self.runs(start, n, |dst, stride, done, count| unsafe { write_run(dst.cast(), stride, src.add(done), count) });
    }
}

impl Walk {
    /// For a walk over logical numbers (strides count elements): those of the range.
    ///
    /// # Safety
    /// `dst` holds `n` numbers.
    pub unsafe fn numbers(&self, start: usize, n: usize, dst: *mut i64) {
        self.runs(start, n, |first, step, done, count| {
            // SAFETY: `done + count <= n`.
            let out = unsafe { std::slice::from_raw_parts_mut(dst.add(done), count) };
            count_up(out, first as isize as i64, step as i64);
        });
    }
}

/// Sums, which come in vectors where products of 64-bit integers do not.
#[inline(always)]
fn sums(out: &mut [i64], first: i64, step: i64) {
    let mut at = first;
    for y in out {
        *y = at;
        at = at.wrapping_add(step);
    }
}
versions!(fn count_up[](out: &mut [i64], first: i64, step: i64) = sums);

/// Runs up to this many bytes are copied by a loop, not by a call.
const SHORT: usize = 64;

/// Copies `n` elements that lie `stride` bytes apart into contiguous memory. Memory of others may be unaligned.
///
/// # Safety
/// Both places are valid for their elements.
#[inline(always)]
unsafe fn read_run<T: Copy>(dst: *mut T, src: *const T, stride: isize, n: usize) {
    let size = size_of::<T>() as isize;
    // SAFETY: the caller's promise.
    unsafe {
        if stride == size {
            if n * size_of::<T>() > SHORT {
                return std::ptr::copy_nonoverlapping(src.cast::<u8>(), dst.cast::<u8>(), n * size_of::<T>());
            }
            for i in 0..n {
                dst.add(i).write_unaligned(src.add(i).read_unaligned());
            }
        } else if stride == 0 {
            let v = src.read_unaligned();
            for i in 0..n {
                dst.add(i).write_unaligned(v);
            }
        } else if stride == -size {
            for i in 0..n {
                dst.add(i).write_unaligned(src.sub(i).read_unaligned());
            }
        } else {
            for i in 0..n {
                dst.add(i).write_unaligned(src.byte_offset(i as isize * stride).read_unaligned());
            }
        }
    }
}

/// Copies contiguous elements to places `stride` bytes apart.
///
/// # Safety
/// As `read_run`.
#[inline(always)]
unsafe fn write_run<T: Copy>(dst: *mut T, stride: isize, src: *const T, n: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if stride == size_of::<T>() as isize {
            return std::ptr::copy_nonoverlapping(src.cast::<u8>(), dst.cast::<u8>(), n * size_of::<T>());
        }
        for i in 0..n {
            dst.byte_offset(i as isize * stride).write_unaligned(src.add(i).read_unaligned());
        }
    }
}

/// Copies a block of `rows` by `cols` elements whose rows are contiguous in the source's *columns*: element (r, c) lies
/// at `src + r * size + c * stride`, and goes to `dst[r * width + c]`.
///
/// # Safety
/// The block lies in valid memory, `dst` holds `rows` rows that are `width` elements apart.
pub unsafe fn transpose_block(
    dst: *mut u8,
    width: usize,
    src: *const u8,
    stride: isize,
    block: [usize; 2],
    size: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match size {
            1 => transpose_typed::<u8>(dst, width, src, stride, block),
            2 => transpose_typed::<u16>(dst, width, src, stride, block),
            4 => transpose_typed::<u32>(dst, width, src, stride, block),
            8 => transpose_typed::<u64>(dst, width, src, stride, block),
            _ => transpose_typed::<[u64; 2]>(dst, width, src, stride, block),
        }
    }
}

unsafe fn transpose_typed<T: Copy>(
    dst: *mut u8,
    width: usize,
    src: *const u8,
    stride: isize,
    [rows, cols]: [usize; 2],
) {
    const B: usize = 8;
    let d = dst.cast::<T>();
    // SAFETY: the caller's promise; all indices lie in the block.
    unsafe {
        let at = |r: usize, c: usize| src.offset(c as isize * stride).cast::<T>().add(r).read_unaligned();
        let (full_r, full_c) = (rows / B * B, cols / B * B);
        for c0 in (0..full_c).step_by(B) {
            for r0 in (0..full_r).step_by(B) {
                // eight columns are read whole, then written as eight rows: registers do the transposing
                let mut t = [[at(r0, c0); B]; B];
                for c in 0..B {
                    for r in 0..B {
                        t[c][r] = at(r0 + r, c0 + c);
                    }
                }
                for r in 0..B {
                    for c in 0..B {
                        d.add((r0 + r) * width + c0 + c).write_unaligned(t[c][r]);
                    }
                }
            }
            for r in full_r..rows {
                for c in c0..c0 + B {
                    d.add(r * width + c).write_unaligned(at(r, c));
                }
            }
        }
        for c in full_c..cols {
            for r in 0..rows {
                d.add(r * width + c).write_unaligned(at(r, c));
            }
        }
    }
}
