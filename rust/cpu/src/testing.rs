//! For the kernels' tests only: small tensors of any dtype and layout, with their values as f64.

use rtorch_ir::{DType, Layout, Program, Result};

use crate::element::{Bool, Complex, dispatch};
use crate::{Arg, Source};

/// A tensor over memory of its own.
pub struct T {
    data: Vec<u128>,
    pub dtype: DType,
    pub layout: Layout,
    program: Program,
}

/// Conversions between stored types and f64.
pub trait Number: Copy {
    fn of(v: f64) -> Self;
    fn to(self) -> f64;
}
macro_rules! numbers {
    ($($t:ty),*) => {$(
        impl Number for $t {
            fn of(v: f64) -> Self {
                v as $t
            }
            fn to(self) -> f64 {
                self as f64
            }
        }
    )*};
}
numbers!(u8, i8, i16, i32, i64, f32, f64);
impl Number for Bool {
    fn of(v: f64) -> Self {
        Bool((v != 0.0) as u8)
    }
    fn to(self) -> f64 {
        self.0 as f64
    }
}
impl Number for half::f16 {
    fn of(v: f64) -> Self {
        half::f16::from_f64(v)
    }
    fn to(self) -> f64 {
        self.to_f64()
    }
}
impl Number for half::bf16 {
    fn of(v: f64) -> Self {
        half::bf16::from_f64(v)
    }
    fn to(self) -> f64 {
        self.to_f64()
    }
}
impl<F: Number> Number for Complex<F> {
    fn of(v: f64) -> Self {
        Complex(F::of(v), F::of(-v))
    }
    fn to(self) -> f64 {
        self.0.to()
    }
}

impl T {
    /// Of any layout, with values in row-major order.
    pub fn with(dtype: DType, layout: Layout, values: &[f64]) -> T {
        assert_eq!(layout.numel(), values.len());
        let end = layout.extent().map_or(0, |e| e.1);
        let mut t =
            T { data: vec![0; end * dtype.size() / 16 + 1], dtype, program: Program::copy(dtype, dtype), layout };
        for (i, &v) in values.iter().enumerate() {
            t.set(i, v);
        }
        t
    }
    pub fn new(dtype: DType, shape: &[usize], values: &[f64]) -> T {
        T::with(dtype, Layout::contiguous(shape), values)
    }
    /// Contiguous, of one number.
    pub fn full(dtype: DType, shape: &[usize], v: f64) -> T {
        T::new(dtype, shape, &vec![v; shape.iter().product()])
    }
    /// Contiguous int64.
    pub fn ints(shape: &[usize], values: &[i64]) -> T {
        T::new(DType::I64, shape, &values.iter().map(|&v| v as f64).collect::<Vec<_>>())
    }
    fn set(&mut self, i: usize, v: f64) {
        let at = self.offset(i);
        let p = self.data.as_mut_ptr();
        // SAFETY: within the layout's extent.
        dispatch!(self.dtype, N => unsafe { p.cast::<N>().add(at).write(N::of(v)) });
    }
    fn offset(&self, mut i: usize) -> usize {
        let mut index = vec![0; self.layout.ndim()];
        for d in (0..index.len()).rev() {
            index[d] = i % self.layout.shape[d];
            i /= self.layout.shape[d];
        }
        self.layout.at(&index)
    }
    /// Values in row-major order.
    pub fn get(&self) -> Vec<f64> {
        let p = self.data.as_ptr();
        // SAFETY: within the layout's extent.
        let one = |at: usize| dispatch!(self.dtype, N => unsafe { p.cast::<N>().add(at).read().to() });
        (0..self.layout.numel()).map(|i| one(self.offset(i))).collect()
    }
    pub fn arg(&self) -> Arg<'_> {
        Arg { ptr: self.data.as_ptr().cast_mut().cast(), dtype: self.dtype, layout: &self.layout }
    }
    /// The same memory under another layout.
    pub fn view(mut self, layout: Layout) -> T {
        self.layout = layout;
        self
    }
}

/// Calls a kernel with plain operands.
pub fn call(f: impl FnOnce(&[Source], &[Arg]) -> Result<()>, inputs: &[&T], outs: &[&T]) -> Result<()> {
    let leaves: Vec<[Arg; 1]> = inputs.iter().map(|t| [t.arg()]).collect();
    let sources: Vec<Source> = inputs
        .iter()
        .zip(&leaves)
        .map(|(t, l)| Source { program: &t.program, leaves: l, shape: &t.layout.shape })
        .collect();
    let outs: Vec<Arg> = outs.iter().map(|t| t.arg()).collect();
    f(&sources, &outs)
}

/// Layouts of a shape: row-major, reversed order of the dimensions, and with gaps and an offset.
pub fn layouts(shape: &[usize]) -> Vec<Layout> {
    let n = shape.len();
    let mut out = vec![Layout::contiguous(shape)];
    let reversed: Vec<usize> = shape.iter().rev().copied().collect();
    out.push(Layout::contiguous(&reversed).permute(&(0..n).rev().collect::<Vec<_>>()));
    let wide: Vec<usize> = shape.iter().map(|s| 2 * s + 1).collect();
    let mut gaps = Layout::contiguous(&wide);
    for d in 0..n {
        gaps = gaps.slice(d, 1, 2 * shape[d] + 1, 2);
    }
    out.push(gaps);
    out
}

/// A small generator of test values.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
    /// Whole numbers from -range to range.
    pub fn numbers(&mut self, n: usize, range: usize) -> Vec<f64> {
        (0..n).map(|_| self.below(2 * range + 1) as f64 - range as f64).collect()
    }
    /// In (-1, 1).
    pub fn reals(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.next() as f64 / (1u64 << 30) as f64 - 1.0).collect()
    }
    pub fn indices(&mut self, n: usize, size: usize) -> Vec<i64> {
        (0..n).map(|_| self.below(size) as i64).collect()
    }
}
