//! Complex arithmetic as real arithmetic on the parts: pointwise expressions are lowered (`rtorch_ir::complex`), and
//! `real`, `imag` and `complex` are views and a join that know their gradients, so that whatever is composed of them is
//! differentiable too. One node of the graph with the operator's name stands for the composition.

use rtorch_ir::complex::{self as lowering, Part};
use rtorch_ir::{DType, Ex, Program, Result, ScalarOp, Shape, ensure};
use smallvec::SmallVec;

use super::nn::rule;
use super::pointwise::{Arg, Rule, Spec, compose, not_implemented, program};
use super::{several, shape};
use crate::autograd::{composite, mode};
use crate::backend;
use crate::dispatch;
use crate::inplace;
use crate::kernel::Kernel;
use crate::tensor::Tensor;
use crate::view::ViewOp;

/// Real and imaginary parts in a new last dimension: a view.
pub fn view_as_real(x: &Tensor) -> Result<Tensor> {
    ensure!(x.dtype().is_complex(), runtime, "view_as_real is only supported for complex tensors");
    dispatch::view("ViewAsRealBackward0", ViewOp::AsReal, x)?
        .ok_or_else(|| rtorch_ir::Error::runtime("view_as_real: no view"))
}

/// The way back: the last dimension, of size 2, becomes one complex number.
pub fn view_as_complex(x: &Tensor) -> Result<Tensor> {
    ensure!(
        matches!(x.dtype(), DType::F32 | DType::F64),
        runtime,
        "view_as_complex is only supported for half, float and double tensors, but got a tensor of scalar type: {}",
        x.dtype().cpp_name()
    );
    let n = x.ndim();
    ensure!(n > 0, runtime, "Input tensor must have one or more dimensions");
    ensure!(x.size(n - 1) == 2, runtime, "Tensor must have a last dimension of size 2");
    dispatch::view("ViewAsComplexBackward0", ViewOp::AsComplex, x)?
        .ok_or_else(|| rtorch_ir::Error::runtime("Tensor must have a last dimension with stride 1"))
}

/// The real (0) or imaginary (1) parts as a view of the same memory.
pub fn part(x: &Tensor, which: usize) -> Result<Tensor> {
    shape::select(&view_as_real(x)?, -1, which as i64)
}

/// A complex tensor from its parts, in the memory order of a pointwise result.
pub fn join(re: &Tensor, im: &Tensor) -> Result<Tensor> {
    let out = {
        let _off = mode::Guard::new(false);
        let layout = dispatch::map_layout(&[&re.layout(), &im.layout()])?;
        let out = Tensor::empty_with(layout, re.dtype().complex(), re.device())?;
        let out = crate::batch::cover(out, &[re, im])?;
        if !in_one_pass(re, im, &out)? {
            inplace::copy_(&part(&out, 0)?, re)?;
            inplace::copy_(&part(&out, 1)?, im)?;
        }
        out
    };
    rule::record("ComplexBackward0", &[re, im], &[&out], &[], |b| {
        let g = b.grad(0)?;
        let one = |i: usize| if b.wants(i) { part(&g, i).map(Some) } else { Ok(None) };
        Ok(vec![one(0)?, one(1)?])
    })?;
    Ok(out)
}

/// Writes both parts at once where they lie row by row on the CPU, or are one number.
fn in_one_pass(re: &Tensor, im: &Tensor, out: &Tensor) -> Result<bool> {
    if !several::applies(&[re, im]) || re.dtype() != im.dtype() || !out.is_contiguous() || out.numel() == 0 {
        return Ok(false);
    }
    let shape = out.shape();
    let whole = |t: &Tensor| t.numel() == 1 || t.shape() == shape && t.is_contiguous();
    if !whole(re) || !whole(im) {
        return Ok(false);
    }
    backend::interleave([&dispatch::window(re)?, &dispatch::window(im)?], &dispatch::window(out)?)?;
    Ok(true)
}

/// An expression some of whose arguments are complex; `common` is their promoted dtype.
pub fn run(spec: &Spec, args: &[Arg], common: DType) -> Result<Tensor> {
    let out = match spec.rule {
        Rule::RealFloat | Rule::RealBool => return Err(not_implemented(spec.name, common)),
        Rule::Bool => DType::Bool,
        Rule::Same | Rule::Float | Rule::FloatOnly => common,
    };
    let whole = program(spec, args, common, out, out);
    let Some((lowered, leaves)) = lowering::lower(&whole) else { return Err(not_implemented(spec.name, common)) };
    let tensors: SmallVec<[&Tensor; 3]> =
        args.iter().filter_map(|a| if let Arg::T(t) = a { Some(*t) } else { None }).collect();
    let operands: Vec<Tensor> = leaves
        .iter()
        .map(|l| match *l {
            Part::Real(n) => part(tensors[n], 0),
            Part::Imag(n) => part(tensors[n], 1),
            Part::Whole(n) => Ok(tensors[n].clone()),
        })
        .collect::<Result<_>>()?;
    let shape = broadcast_all(&operands)?;
    let parts: SmallVec<[Tensor; 2]> =
        (0..lowered.outputs.len()).map(|k| one_output(spec, &lowered, k, &operands, &shape)).collect::<Result<_>>()?;
    let made = match parts.as_slice() {
        [re, im] => join(re, im)?,
        _ => return Ok(parts[0].clone()),
    };
    composite::collapse(spec.grad, &tensors, &[&made]);
    Ok(made)
}

fn broadcast_all(ts: &[Tensor]) -> Result<Shape> {
    let mut s = Shape::new();
    for t in ts {
        s = rtorch_ir::shape::broadcast(&s, &t.shape())?;
    }
    Ok(s)
}

/// One output of a program as an op of its own.
fn one_output(spec: &Spec, p: &Program, k: usize, operands: &[Tensor], shape: &Shape) -> Result<Tensor> {
    let mut one = p.clone();
    one.outputs = SmallVec::from_slice(&[p.outputs[k]]);
    let kept = one.prune();
    let refs: SmallVec<[&Tensor; 4]> = kept.iter().map(|&i| &operands[i]).collect();
    let made = if refs.is_empty() {
        let layout = rtorch_ir::Layout::contiguous(shape);
        dispatch::generate(&Kernel::new(one), layout, operands[0].device())?
    } else {
        dispatch::map(spec.grad, &Kernel::new(one), &refs)?
    };
    // a part that depends on fewer operands than the other
    if made.shape() == *shape { Ok(made) } else { shape::expand_to(&made, shape) }
}

/// A real function of the parts.
fn of_parts(name: &'static str, grad: &'static str, x: &Tensor, f: fn(Ex, Ex) -> Ex) -> Result<Tensor> {
    let (re, im) = (part(x, 0)?, part(x, 1)?);
    let out = compose(name, grad, Rule::Same, &[Arg::T(&re), Arg::T(&im)], None, |a| f(a[0], a[1]))?;
    composite::collapse(grad, &[x], &[&out]);
    Ok(out)
}

/// The magnitude.
pub fn abs(x: &Tensor) -> Result<Tensor> {
    of_parts("complex_abs", "AbsBackward0", x, lowering::abs_parts)
}

/// The angle in the complex plane.
pub fn angle(x: &Tensor) -> Result<Tensor> {
    of_parts("complex_angle", "AngleBackward0", x, lowering::angle_parts)
}

/// The conjugate, as a copy.
pub fn conj(x: &Tensor) -> Result<Tensor> {
    if !x.dtype().is_complex() {
        return shape::alias(x);
    }
    let out = join(&part(x, 0)?, &super::unary(ScalarOp::Neg, &part(x, 1)?)?)?;
    composite::collapse("ConjBackward0", &[x], &[&out]);
    Ok(out)
}

/// As `conj`, the result marked as what PyTorch answers: a conjugate view (`is_conj`).
pub fn conj_view(x: &Tensor) -> Result<Tensor> {
    let out = conj(x)?;
    if x.dtype().is_complex() && !is_conj(x) {
        out.storage().mark_conjugate(&x.storage(), x.layout().offset * x.dtype().size());
    }
    Ok(out)
}

/// Does PyTorch have a conjugate view here?
pub fn is_conj(x: &Tensor) -> bool {
    x.dtype().is_complex() && x.with(|p| p.storage.is_conjugate())
}

/// The same numbers in memory of their own where `is_conj` holds.
pub fn resolve_conj(x: &Tensor) -> Result<Tensor> {
    if is_conj(x) { shape::clone(x) } else { Ok(x.clone()) }
}

/// Complex numbers from absolute values and angles.
pub fn polar(size: &Tensor, angle: &Tensor) -> Result<Tensor> {
    let dtype = size.dtype();
    ensure!(
        matches!(dtype, DType::F32 | DType::F64) && dtype == angle.dtype(),
        runtime,
        "Expected both inputs to be Half, Float or Double tensors of one dtype but got {} and {}",
        dtype.cpp_name(),
        angle.dtype().cpp_name()
    );
    let by = |op: ScalarOp| super::mul(size, &super::unary(op, angle)?);
    let out = join(&by(ScalarOp::Cos)?, &by(ScalarOp::Sin)?)?;
    composite::collapse("PolarBackward0", &[size, angle], &[&out]);
    Ok(out)
}

/// The sign: of a complex number the one of absolute value 1 in its direction, 0 for 0.
pub fn sgn(x: &Tensor) -> Result<Tensor> {
    if !x.dtype().is_complex() {
        return super::unary(ScalarOp::Sign, x);
    }
    let size = abs(x)?;
    let none = super::binary(ScalarOp::Eq, Arg::T(&size), Arg::S(0.into()))?;
    let size = super::pointwise::where_(&none, Arg::S(1.0.into()), Arg::T(&size))?;
    super::div(x, &size)
}

/// Running products, in passes that each multiply in what lies twice as far back.
pub fn cumprod(x: &Tensor, axis: usize) -> Result<Tensor> {
    let (mut y, d, n) = (x.clone(), axis as i64, x.size(axis) as i64);
    let mut step = 1;
    while step < n {
        let head = shape::narrow(&y, d, 0, step)?;
        let rest = super::mul(&shape::narrow(&y, d, step, n - step)?, &shape::narrow(&y, d, 0, n - step)?)?;
        y = shape::cat(&[head, rest], d)?;
        step *= 2;
    }
    let out = if n > 1 { y } else { shape::clone(x)? };
    composite::collapse("CumprodBackward0", &[x], &[&out]);
    Ok(out)
}

/// The product over some dimensions, by halves.
pub fn prod(x: &Tensor, axes: &[usize], keepdim: bool) -> Result<Tensor> {
    let mut y = x.clone();
    for &axis in axes {
        let d = axis as i64;
        if y.size(axis) == 0 {
            let mut s = y.shape();
            s[axis] = 1;
            y = super::factory::ones(&s, y.dtype(), y.device())?;
        }
        while y.size(axis) > 1 {
            let n = y.size(axis) as i64;
            let piece = |from: i64, to: i64| shape::slice(&y, d, Some(from), Some(to), 1);
            let half = super::mul(&piece(0, n / 2)?, &piece(n / 2, n / 2 * 2)?)?;
            y = if n % 2 == 1 { shape::cat(&[half, piece(n - 1, n)?], d)? } else { half };
        }
    }
    let out = if keepdim { y } else { shape::reshape_to(&y, rtorch_ir::prim::reduced_shape(&y.shape(), axes, false))? };
    composite::collapse(if axes.len() == x.ndim() { "ProdBackward0" } else { "ProdBackward1" }, &[x], &[&out]);
    Ok(out)
}

/// The conjugate transpose of the last two dimensions; of real matrices a view.
pub fn adjoint(x: &Tensor) -> Result<Tensor> {
    let t = shape::mt(x)?;
    if t.dtype().is_complex() { conj_view(&t) } else { Ok(t) }
}

/// A bilinear product of complex tensors from four real ones.
pub fn bilinear(
    name: &'static str,
    a: &Tensor,
    b: &Tensor,
    f: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let dense = |t: &Tensor, k: usize| shape::contiguous(&part(t, k)?);
    let (ar, ai, br, bi) = (dense(a, 0)?, dense(a, 1)?, dense(b, 0)?, dense(b, 1)?);
    let re = super::sub(&f(&ar, &br)?, &f(&ai, &bi)?)?;
    let im = super::add(&f(&ar, &bi)?, &f(&ai, &br)?)?;
    let out = join(&re, &im)?;
    composite::collapse(name, &[a, b], &[&out]);
    Ok(out)
}
