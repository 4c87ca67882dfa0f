//! How matrices, vectors and numbers of a batch are read from operands' windows and written to results'.

use std::ops::Range;

use faer::{Mat, MatRef, c32, c64};
use rtorch_ir::DType;
use smallvec::SmallVec;

use super::element::Element;
use crate::Arg;
use crate::walk::{Base, Walk, byte_strides};

/// The matrices, vectors or numbers that one operand or result holds per batch element.
pub struct Part {
    base: Base,
    batch: Walk<1>,
    /// Sizes and byte strides of the dimensions after the batch.
    dims: SmallVec<[(usize, isize); 2]>,
}

impl Part {
    pub fn new(arg: Arg, batch_dims: usize) -> Part {
        let strides = byte_strides(arg.layout, arg.dtype.size());
        let shape = &arg.layout.shape;
        Part {
            base: Base::of(&arg),
            batch: Walk::new(&shape[..batch_dims], [&strides[..batch_dims]]),
            dims: (batch_dims..shape.len()).map(|d| (shape[d], strides[d])).collect(),
        }
    }
    fn at(&self, b: usize) -> isize {
        let [at] = self.batch.at(b);
        at
    }
    /// Matrix `b` where it lies.
    pub fn view<T: Element>(&self, b: usize) -> MatRef<'_, T> {
        let ((m, row), (n, col)) = (self.dims[0], self.dims[1]);
        let size = size_of::<T>() as isize;
        // SAFETY: the window's elements, whose dtype is T's: strides are whole elements, and nobody writes operands.
        unsafe { MatRef::from_raw_parts(self.base.at::<T>(self.at(b)), m, n, row / size, col / size) }
    }
    /// Matrix `b`, by columns.
    pub fn read<T: Element>(&self, b: usize) -> Mat<T> {
        let a: MatRef<T> = self.view(b);
        let (start, row, col) = (a.as_ptr(), a.row_stride(), a.col_stride());
        // SAFETY: an element of the window.
        Mat::from_fn(a.nrows(), a.ncols(), |i, j| unsafe { *start.offset(i as isize * row + j as isize * col) })
    }
    /// Matrix `b`, which is square, as its columns one behind the other, and its size.
    pub fn read_columns<T: Element>(&self, b: usize) -> (Vec<T>, usize) {
        let a: MatRef<T> = self.view(b);
        let (start, row, col, n) = (a.as_ptr(), a.row_stride(), a.col_stride(), a.nrows());
        let mut columns = Vec::with_capacity(n * n);
        for j in 0..n as isize {
            // SAFETY: an element of the window.
            columns.extend((0..n as isize).map(|i| unsafe { *start.offset(i * row + j * col) }));
        }
        (columns, n)
    }
    /// The adjoint of matrix `b`, by columns.
    pub fn read_adjoint<T: Element>(&self, b: usize) -> Mat<T> {
        let a: MatRef<T> = self.view(b);
        let (start, row, col) = (a.as_ptr(), a.row_stride(), a.col_stride());
        Mat::from_fn(a.ncols(), a.nrows(), |i, j| {
            // SAFETY: an element of the window.
            unsafe { *start.offset(j as isize * row + i as isize * col) }.conjugate()
        })
    }
    /// Stores `a` as matrix `b`.
    pub fn put<T: Element>(&self, b: usize, a: MatRef<T>) {
        let n = a.ncols();
        self.put_rows(b, a, |_| 0..n);
    }
    /// Stores those columns of each row of `a` as matrix `b`, and zeros beside them.
    pub fn put_rows<T: Element>(&self, b: usize, a: MatRef<T>, kept: impl Fn(usize) -> Range<usize>) {
        let at = self.at(b);
        let ((m, row), (n, col)) = (self.dims[0], self.dims[1]);
        debug_assert_eq!((a.nrows(), a.ncols()), (m, n));
        let (start, a_row, a_col) = (a.as_ptr(), a.row_stride(), a.col_stride());
        for i in 0..m {
            let Range { start: from, end: to } = kept(i);
            let (from, to) = (from.min(n), to.min(n));
            let line = at + i as isize * row;
            // SAFETY: elements of `a` and of the window; each matrix is one thread's.
            let put = |j: usize, v: T| unsafe { *self.base.at::<T>(line + j as isize * col) = v };
            (0..from).for_each(|j| put(j, T::zero()));
            // SAFETY: as above.
            (from..to).for_each(|j| put(j, unsafe { *start.offset(i as isize * a_row + j as isize * a_col) }));
            (from.max(to)..n).for_each(|j| put(j, T::zero()));
        }
    }
    pub fn read_vector<V: Copy>(&self, b: usize) -> Vec<V> {
        let (at, (n, step)) = (self.at(b), self.dims[0]);
        // SAFETY: an element of the window, whose dtype is V's.
        (0..n).map(|i| unsafe { *self.base.at::<V>(at + i as isize * step) }).collect()
    }
    pub fn write_vector<V: Copy>(&self, b: usize, v: &[V]) {
        let (at, (_, step)) = (self.at(b), self.dims[0]);
        for (i, &v) in v.iter().enumerate() {
            // SAFETY: an element of the window; each matrix is one thread's.
            unsafe { *self.base.at::<V>(at + i as isize * step) = v };
        }
    }
    pub fn write_number<V>(&self, b: usize, v: V) {
        // SAFETY: an element of the window; each matrix is one thread's.
        unsafe { *self.base.at::<V>(self.at(b)) = v };
    }
    /// Real numbers of T's precision.
    pub fn write_reals<T: Element>(&self, b: usize, v: &[f64]) {
        let (at, step) = (self.at(b), self.dims.first().map_or(0, |d| d.1));
        for (i, &v) in v.iter().enumerate() {
            // SAFETY: an element of the window; each matrix is one thread's.
            unsafe { T::store_real(self.base.at(at + i as isize * step), v) };
        }
    }
    /// Complex numbers, of single precision where T is.
    pub fn write_complex<T: Element>(&self, b: usize, f: impl Fn(usize, usize) -> c64, columns: bool) {
        let double = matches!(T::DTYPE, DType::F64 | DType::C128);
        let at = self.at(b);
        let (m, row) = self.dims[0];
        let (n, col) = if columns { self.dims[1] } else { (1, 0) };
        for i in 0..m {
            for j in 0..n {
                let (at, v) = (at + i as isize * row + j as isize * col, f(i, j));
                // SAFETY: an element of the window; each matrix is one thread's.
                unsafe {
                    if double {
                        *self.base.at::<c64>(at) = v;
                    } else {
                        *self.base.at::<c32>(at) = c32::new(v.re as f32, v.im as f32);
                    }
                }
            }
        }
    }
}
