//! Special functions of `Prim::Special` as operators: dtypes and broadcasting. Those that are rows of the table or
//! short programs are in `pointwise` and `composite`; the kernels in `rtorch-cpu/src/special`.

use rtorch_ir::{DType, Prim, Result, SpecialFn, ensure};

use super::convert::to_dtype;
use super::pointwise::{Arg, default_dtype, not_implemented, result_type};
use super::shape::expand_to;
use crate::dispatch::prim1;
use crate::tensor::Tensor;

/// Name of the node of a function.
fn grad_name(f: SpecialFn) -> &'static str {
    match f {
        SpecialFn::I0 => "I0Backward0",
        SpecialFn::I0e => "SpecialI0EBackward0",
        SpecialFn::I1 => "SpecialI1Backward0",
        SpecialFn::I1e => "SpecialI1EBackward0",
        SpecialFn::Ndtri => "SpecialNdtriBackward0",
        SpecialFn::LogNdtr => "SpecialLogNdtrBackward0",
        SpecialFn::Polygamma(_) => "PolygammaBackward0",
        SpecialFn::Gammainc => "IgammaBackward0",
        SpecialFn::Gammaincc => "IgammacBackward0",
        _ => "SpecialBackward0",
    }
}

fn float_dtype(f: SpecialFn, args: &[Arg]) -> Result<DType> {
    let common = result_type(args)?;
    if common.is_complex() {
        return Err(not_implemented(f.name(), common));
    }
    Ok(if common.is_float() { common } else { default_dtype() })
}

/// A function of one argument; integers become the default float dtype.
pub fn one(f: SpecialFn, x: &Tensor) -> Result<Tensor> {
    let dtype = float_dtype(f, &[Arg::T(x)])?;
    prim1(grad_name(f), Prim::Special(f), &[&to_dtype(x, dtype)?])
}

/// A function of two arguments, broadcast against each other.
pub fn two(f: SpecialFn, a: Arg, b: Arg) -> Result<Tensor> {
    let dtype = float_dtype(f, &[a, b])?;
    let device = match (a, b) {
        (Arg::T(t), _) | (_, Arg::T(t)) => t.device(),
        (Arg::S(_), Arg::S(_)) => crate::device::Device::Cpu,
    };
    let tensor = |x: Arg| -> Result<Tensor> {
        match x {
            Arg::T(t) => to_dtype(t, dtype),
            Arg::S(s) => super::factory::full(&[], s, dtype, device),
        }
    };
    let (a, b) = (tensor(a)?, tensor(b)?);
    let shape = rtorch_ir::shape::broadcast(&a.shape(), &b.shape())?;
    let wide = |t: &Tensor| if t.shape() == shape { Ok(t.clone()) } else { expand_to(t, &shape) };
    prim1(grad_name(f), Prim::Special(f), &[&wide(&a)?, &wide(&b)?])
}

/// `polygamma(n, x)`.
pub fn polygamma(n: i64, x: &Tensor) -> Result<Tensor> {
    ensure!(n >= 0, runtime, "polygamma(n, x) does not support negative n.");
    let n = u32::try_from(n).map_err(|_| rtorch_ir::Error::runtime("polygamma(n, x): n is too large"))?;
    one(SpecialFn::Polygamma(n), x)
}
