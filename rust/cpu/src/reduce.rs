//! The primitives `Reduce`, `Extreme` and `VarMean`: dtypes to compute in, results to where they belong.
//! Not here: the order of a reduction (`reduce_drive`), what is accumulated (`reduce_fold`).

use std::marker::PhantomData;

use rtorch_ir::prim::ReduceOp;
use rtorch_ir::program::Inst;
use rtorch_ir::{CType, DType, Error, Layout, Program, Result, ScalarOp};
use smallvec::SmallVec;

use crate::alloc::Buffer;
use crate::operand::{Operand, copy};
use crate::reader::{Element, Reader, compute_dtype};
use crate::reduce_drive::{Geometry, Sink, across, along};
use crate::reduce_fold::{
    Extreme, FindColumns, FindRows, Float, Fold, FoldColumns, FoldRows, Found, Max, Min, MomentColumns, MomentRows,
    Moments, Number, Prod, SquareRows, Sum,
};
use crate::{Arg, Source};

/// Where results go, in order: the output itself where it is contiguous and of the type, else a buffer that is copied.
struct Target {
    ptr: *mut u8,
    dtype: DType,
    n: usize,
    buffer: Option<Buffer>,
}

// SAFETY: threads write disjoint elements.
unsafe impl Sync for Target {}

impl Target {
    fn new(dtype: DType, n: usize, out: &Arg) -> Result<Target> {
        if out.dtype == dtype && out.layout.is_contiguous() {
            return Ok(Target { ptr: out.base(), dtype, n, buffer: None });
        }
        let buffer = Buffer::uninit(n * dtype.size())?;
        Ok(Target { ptr: buffer.as_ptr(), dtype, n, buffer: Some(buffer) })
    }
    #[inline]
    fn put<T: Element>(&self, i: usize, v: T) {
        debug_assert!(i < self.n && T::DTYPE == self.dtype);
        // SAFETY: `n` elements of this type, and the drivers call once per output.
        unsafe { self.ptr.cast::<T>().add(i).write_unaligned(v) }
    }
    #[inline]
    fn put_all<T: Element>(&self, first: usize, values: &[T]) {
        values.iter().enumerate().for_each(|(i, &v)| self.put(first + i, v));
    }
    fn store(self, out: &Arg) -> Result<()> {
        if self.buffer.is_none() {
            return Ok(());
        }
        let layout = Layout::contiguous(&out.layout.shape);
        copy(&Arg { ptr: self.ptr, dtype: self.dtype, layout: &layout }, out)
    }
}

/// x -> reduced over `axes`, accumulated in `dtype`'s compute type.
pub fn reduce(op: ReduceOp, axes: &[usize], dtype: DType, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let ([x], [out]) = (inputs, outs) else { return Err(Error::runtime("reduce: takes one input")) };
    let g = Geometry::new(x.shape, axes);
    if g.outputs == 0 {
        return Ok(());
    }
    // a sum is computed in the dtype it is asked for; everything else in that of its operand
    let own = compute_dtype(x.dtype());
    let asked = if dtype == DType::Bool { DType::I64 } else { compute_dtype(dtype) };
    macro_rules! numbers {
        ($t:expr, $go:ident, $f:ident $(, $byte:ty)?) => {
            match $t.ctype() {
                CType::F32 => $go::<$f<f32>>(x, &g, out),
                CType::F64 => $go::<$f<f64>>(x, &g, out),
                CType::I32 => $go::<$f<i32>>(x, &g, out),
                CType::I64 => $go::<$f<i64>>(x, &g, out),
                CType::Bool => numbers!(@byte $go, $f $(, $byte)?),
                CType::C64 | CType::C128 => Err(unsupported(op, x.dtype())),
            }
        };
        (@byte $go:ident, $f:ident, $byte:ty) => { $go::<$f<$byte>>(x, &g, out) };
        (@byte $go:ident, $f:ident) => { Err(unsupported(op, x.dtype())) };
    }
    if x.dtype().is_complex() || dtype.is_complex() {
        return match op {
            ReduceOp::Sum if dtype.is_complex() => complex_sum(axes, dtype, x, out),
            ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min => Err(unsupported(op, x.dtype())),
            ReduceOp::Any | ReduceOp::All if x.dtype().is_complex() => truth(op, x, &g, out),
            ReduceOp::Any | ReduceOp::All | ReduceOp::ArgMax | ReduceOp::ArgMin => Err(unsupported(op, x.dtype())),
        };
    }
    match op {
        ReduceOp::Sum => match (root(x, asked), asked) {
            (Some(root), DType::F32) if g.is_along() && g.count > 0 => squares::<f32>(root, x.shape, &g, out),
            (Some(root), DType::F64) if g.is_along() && g.count > 0 => squares::<f64>(root, x.shape, &g, out),
            _ => numbers!(asked, fold, Sum),
        },
        ReduceOp::Prod => numbers!(asked, fold, Prod),
        ReduceOp::Max => numbers!(own, fold, Max, u8),
        ReduceOp::Min => numbers!(own, fold, Min, u8),
        ReduceOp::Any | ReduceOp::All => truth(op, x, &g, out),
        ReduceOp::ArgMax => numbers!(own, position, Max, u8),
        ReduceOp::ArgMin => numbers!(own, position, Min, u8),
    }
}

/// The operand of a prologue that squares one, of the dtype that its sum is computed in.
fn root<'a>(x: &Source<'a>, dtype: DType) -> Option<Arg<'a>> {
    let p = x.program;
    let (Inst::Op(ScalarOp::Square, [of, ..]), squared) = p.values[*p.outputs.first()? as usize] else { return None };
    let (Inst::Load(leaf), stored) = p.values[of as usize] else { return None };
    if squared == dtype && stored == dtype { x.leaves.get(leaf as usize).copied() } else { None }
}

/// The sum of squares, without writing them.
fn squares<T: Number>(root: Arg, shape: &[usize], g: &Geometry, out: &Arg) -> Result<()> {
    let target = Target::new(T::DTYPE, g.outputs, out)?;
    let (program, leaves) = (Program::copy(T::DTYPE, T::DTYPE), [root]);
    let reader = Reader::new(&Source { program: &program, leaves: &leaves, shape }, T::DTYPE)?;
    along(&reader, g, &SquareRows::<T>(PhantomData), &|first, s: &[T]| target.put_all(first, s))?;
    target.store(out)
}

fn unsupported(op: ReduceOp, dtype: DType) -> Error {
    let name = format!("{op:?}").to_lowercase();
    Error::not_implemented(format!("\"{name}\" not implemented for '{}'", dtype.cpp_name()))
}

fn truth(op: ReduceOp, x: &Source, g: &Geometry, out: &Arg) -> Result<()> {
    if op == ReduceOp::Any { fold::<Max<u8>>(x, g, out) } else { fold::<Min<u8>>(x, g, out) }
}

fn fold<F: Fold>(x: &Source, g: &Geometry, out: &Arg) -> Result<()> {
    let target = Target::new(F::T::DTYPE, g.outputs, out)?;
    let sink = |first: usize, s: &[F::T]| target.put_all(first, s);
    if g.count == 0 {
        (0..g.outputs).for_each(|o| sink(o, &[F::identity()]));
        return target.store(out);
    }
    if g.has_short_rows() {
        return in_two_steps::<F>(x, g, out);
    }
    let reader = Reader::new(x, F::T::DTYPE)?;
    if g.is_along() {
        along(&reader, g, &FoldRows::<F>(PhantomData), &sink)?;
    } else {
        across::<FoldColumns<F>>(&reader, g, Some(&F::fold), &sink)?;
    }
    target.store(out)
}

/// The outer dimensions first, then the short rows that are left.
fn in_two_steps<F: Fold>(x: &Source, g: &Geometry, out: &Arg) -> Result<()> {
    let (outer, shape, rest) = g.without_last();
    let rows = Layout::contiguous(&shape);
    let buffer = Buffer::uninit(rows.numel() * F::T::DTYPE.size())?;
    let partial = Arg { ptr: buffer.as_ptr(), dtype: F::T::DTYPE, layout: &rows };
    fold::<F>(x, &outer, &partial)?;
    let program = rtorch_ir::Program::copy(F::T::DTYPE, F::T::DTYPE);
    fold::<F>(&Source { program: &program, leaves: &[partial], shape: &shape }, &rest, out)
}

fn find<F: Extreme>(x: &Source, g: &Geometry, sink: Sink<Found<F::T>>) -> Result<()> {
    if g.count == 0 {
        return Err(Error::index("max(): Expected reduction dim to have non-zero size."));
    }
    let reader = Reader::new(x, F::T::DTYPE)?;
    if g.is_along() {
        along(&reader, g, &FindRows::<F>(PhantomData), sink)
    } else {
        across::<FindColumns<F>>(&reader, g, None, sink)
    }
}

fn position<F: Extreme>(x: &Source, g: &Geometry, out: &Arg) -> Result<()> {
    let target = Target::new(DType::I64, g.outputs, out)?;
    find::<F>(x, g, &|first, s| s.iter().enumerate().for_each(|(i, s)| target.put(first + i, s.at)))?;
    target.store(out)
}

/// A complex sum is that of the parts: the pairs become a last, kept dimension.
fn complex_sum(axes: &[usize], dtype: DType, x: &Source, out: &Arg) -> Result<()> {
    let dense = Operand::dense(x, dtype)?;
    let part = dtype.real();
    let mut shape: SmallVec<[usize; 6]> = SmallVec::from_slice(x.shape);
    shape.push(2);
    let layout = Layout::contiguous(&shape);
    let leaf = Arg { ptr: dense.as_ptr::<u8>().cast_mut(), dtype: part, layout: &layout };
    let program = rtorch_ir::Program::copy(part, part);
    let parts = Source { program: &program, leaves: &[leaf], shape: &shape };
    let g = Geometry::new(&shape, axes);
    let buffer = Buffer::uninit(g.outputs * part.size())?;
    let flat = Layout::contiguous(&[g.outputs]);
    let result = Arg { ptr: buffer.as_ptr(), dtype: part, layout: &flat };
    if part == DType::F64 {
        fold::<Sum<f64>>(&parts, &g, &result)?;
    } else {
        fold::<Sum<f32>>(&parts, &g, &result)?;
    }
    let layout = Layout::contiguous(&out.layout.shape);
    copy(&Arg { ptr: buffer.as_ptr(), dtype, layout: &layout }, out)
}

/// x -> values and int64 positions of the largest or smallest along one axis.
pub fn extreme(largest: bool, axis: usize, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let ([x], [values, positions]) = (inputs, outs) else {
        return Err(Error::runtime("extreme: takes one input and gives two results"));
    };
    let axes: &[usize] = if x.shape.is_empty() { &[] } else { &[axis] };
    let g = Geometry::new(x.shape, axes);
    if g.outputs == 0 {
        return Ok(());
    }
    match (compute_dtype(x.dtype()).ctype(), largest) {
        (CType::F32, true) => both::<Max<f32>>(x, &g, values, positions),
        (CType::F32, false) => both::<Min<f32>>(x, &g, values, positions),
        (CType::F64, true) => both::<Max<f64>>(x, &g, values, positions),
        (CType::F64, false) => both::<Min<f64>>(x, &g, values, positions),
        (CType::I32, true) => both::<Max<i32>>(x, &g, values, positions),
        (CType::I32, false) => both::<Min<i32>>(x, &g, values, positions),
        (CType::I64, true) => both::<Max<i64>>(x, &g, values, positions),
        (CType::I64, false) => both::<Min<i64>>(x, &g, values, positions),
        (CType::Bool, true) => both::<Max<u8>>(x, &g, values, positions),
        (CType::Bool, false) => both::<Min<u8>>(x, &g, values, positions),
        (CType::C64 | CType::C128, _) => {
            Err(unsupported(if largest { ReduceOp::Max } else { ReduceOp::Min }, x.dtype()))
        }
    }
}

fn both<F: Extreme>(x: &Source, g: &Geometry, values: &Arg, positions: &Arg) -> Result<()> {
    let v = Target::new(F::T::DTYPE, g.outputs, values)?;
    let p = Target::new(DType::I64, g.outputs, positions)?;
    find::<F>(x, g, &|first, s| {
        for (o, s) in (first..).zip(s) {
            v.put(o, s.value);
            p.put(o, s.at);
        }
    })?;
    v.store(values)?;
    p.store(positions)
}

/// x -> variance (divisor n - correction), mean.
pub fn var_mean(axes: &[usize], correction: f64, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let ([x], [var, mean]) = (inputs, outs) else {
        return Err(Error::runtime("var_mean: takes one input and gives two results"));
    };
    let g = Geometry::new(x.shape, axes);
    if g.outputs == 0 {
        return Ok(());
    }
    match x.dtype().ctype() {
        CType::F64 => moments::<f64>(x, &g, correction, var, mean),
        CType::F32 => moments::<f32>(x, &g, correction, var, mean),
        CType::Bool | CType::I32 | CType::I64 | CType::C64 | CType::C128 => {
            Err(Error::not_implemented(format!("\"std_cpu\" not implemented for '{}'", x.dtype().cpp_name())))
        }
    }
}

fn moments<T: Float>(x: &Source, g: &Geometry, correction: f64, var: &Arg, mean: &Arg) -> Result<()> {
    let v = Target::new(DType::F64, g.outputs, var)?;
    let m = Target::new(DType::F64, g.outputs, mean)?;
    let sink = |first: usize, s: &[Moments]| {
        for (o, s) in (first..).zip(s) {
            // a divisor that is not positive gives NaN or infinity, as PyTorch does
            v.put(o, s.m2 / (s.n - correction).max(0.0));
            m.put(o, s.mean);
        }
    };
    if g.count == 0 {
        (0..g.outputs).for_each(|o| sink(o, &[Moments { mean: f64::NAN, ..Moments::NONE }]));
    } else {
        let reader = Reader::new(x, T::DTYPE)?;
        if g.is_along() {
            along(&reader, g, &MomentRows::<T>(PhantomData), &sink)?;
        } else {
            across::<MomentColumns<T>>(&reader, g, None, &sink)?;
        }
    }
    v.store(var)?;
    m.store(mean)
}
