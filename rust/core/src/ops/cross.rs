//! The vector product: on the CPU its three components in one pass, elsewhere one after the other.

use std::sync::OnceLock;

use rtorch_ir::program::{Ex, build};
use rtorch_ir::{DType, Program, Result};

use super::nn::rule::{self, Save};
use super::pointwise::{Arg, Rule, compose};
use super::{several, shape};
use crate::autograd::mode;
use crate::tensor::Tensor;

/// a x b along a dim of size 3, broadcast.
pub fn cross(a: &Tensor, b: &Tensor, dim: i64) -> Result<Tensor> {
    let sizes = rtorch_ir::shape::broadcast(&a.shape(), &b.shape())?;
    let dtype = a.dtype();
    if dtype != b.dtype() || dtype.is_complex() || dtype.is_storage() || !several::applies(&[a, b]) {
        return components(&shape::expand_to(a, &sizes)?, &shape::expand_to(b, &sizes)?, dim);
    }
    let out = {
        let _off = mode::Guard::new(false);
        let out = Tensor::empty(&sizes, dtype, a.device())?;
        let (x, y) = (shape::expand_to(&a.detach(), &sizes)?, shape::expand_to(&b.detach(), &sizes)?);
        let parts = [&x, &y, &out].map(|t| (0..3).map(|i| shape::select(t, dim, i)).collect::<Result<Vec<_>>>());
        let [x, y, to] = parts;
        let (x, y, to) = (x?, y?, to?);
        let ins: Vec<&Tensor> = x.iter().chain(&y).collect();
        several::write(program(dtype), &ins, &to.iter().collect::<Vec<_>>())?;
        out
    };
    rule::record("LinalgCrossBackward0", &[a, b], &[&out], &[Save::Input(a), Save::Input(b)], move |n| {
        let (a, b, g) = (n.saved(0)?, n.saved(1)?, n.grad(0)?);
        let when = |i, x: &Tensor, y: &Tensor| if n.wants(i) { cross(x, y, dim).map(Some) } else { Ok(None) };
        Ok(vec![when(0, &b, &g)?, when(1, &g, &a)?])
    })?;
    Ok(out)
}

fn components(a: &Tensor, b: &Tensor, dim: i64) -> Result<Tensor> {
    let (a, b) = (shape::unbind(a, dim)?, shape::unbind(b, dim)?);
    let one = |i: usize, j: usize| {
        let args = [Arg::T(&a[i]), Arg::T(&b[j]), Arg::T(&a[j]), Arg::T(&b[i])];
        compose("cross_component", "SubBackward0", Rule::Same, &args, None, |x| x[0] * x[1] - x[2] * x[3])
    };
    shape::stack(&[one(1, 2)?, one(2, 0)?, one(0, 1)?], dim)
}

/// The components from those of both vectors.
fn program(dtype: DType) -> &'static Program {
    static PROGRAMS: OnceLock<Vec<OnceLock<Program>>> = OnceLock::new();
    let all = PROGRAMS.get_or_init(|| DType::ALL.iter().map(|_| OnceLock::new()).collect());
    all[dtype as usize].get_or_init(|| {
        let inner = if dtype == DType::Bool { DType::I32 } else { dtype.ctype().dtype() };
        let (mut p, parts) = build(Program::new(), || {
            let x: [Ex; 6] = [(); 6].map(|()| Ex::leaf(dtype).cast(inner));
            let part = |i: usize, j: usize| (x[i] * x[3 + j] - x[j] * x[3 + i]).cast(dtype);
            [part(1, 2), part(2, 0), part(0, 1)]
        });
        p.outputs.extend(parts.map(|x| x.0));
        p
    })
}
