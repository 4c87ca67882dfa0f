//! Reductions and running values.

use rtorch_core::ops::{self, Arg, binary, reduce};
use rtorch_core::{DType, Result, Scalar, ScalarOp, Tensor};
use rtorch_ir::prim::ScanOp;
use smallvec::SmallVec;

use crate::output::Out;
use crate::parse::Args;
use crate::registry::Registry;

pub fn register(r: &mut Registry) {
    sums(r);
    extremes(r);
    spread(r);
    scans(r);
}

fn pair(name: &'static str, p: (Tensor, Tensor)) -> Result<Out> {
    Ok(Out::Named(name, vec![p.0, p.1]))
}

/// The dims of argument 1, all of them where it has none: the node is that of dims all the same.
fn dims_or_all(a: &crate::parse::Args) -> SmallVec<[i64; 6]> {
    let dims = a.dims(1);
    if dims.is_empty() { (0..a.t(0).ndim().max(1) as i64).collect() } else { SmallVec::from_slice(dims) }
}

fn sums(r: &mut Registry) {
    let sigs = [
        "sum(Tensor input, *, dtype? dtype=None)",
        "sum(Tensor input, int[1]? dim, bool keepdim=False, *, dtype? dtype=None)",
    ];
    r.op("sum", &sigs, |a| match a.overload {
        0 => Ok(reduce::sum(a.t(0), &[], false, a.dtype(1))?.into()),
        _ => Ok(reduce::sum(a.t(0), &dims_or_all(a), a.b(2), a.dtype(3))?.into()),
    })
    .out();
    let sigs = [
        "mean(Tensor input, *, dtype? dtype=None)",
        "mean(Tensor input, int[1]? dim, bool keepdim=False, *, dtype? dtype=None)",
    ];
    r.op("mean", &sigs, |a| match a.overload {
        0 => Ok(reduce::mean(a.t(0), &[], false, a.dtype(1))?.into()),
        _ => Ok(reduce::mean(a.t(0), &dims_or_all(a), a.b(2), a.dtype(3))?.into()),
    })
    .out();
    let sigs = [
        "prod(Tensor input, *, dtype? dtype=None)",
        "prod(Tensor input, int dim, bool keepdim=False, *, dtype? dtype=None)",
    ];
    r.op("prod", &sigs, |a| match a.overload {
        0 => Ok(reduce::prod(a.t(0), None, false, a.dtype(1))?.into()),
        _ => Ok(reduce::prod(a.t(0), Some(a.i(1)), a.b(2), a.dtype(3))?.into()),
    })
    .out();
    for (name, all) in [("all", true), ("any", false)] {
        let sigs =
            vec![format!("{name}(Tensor input)"), format!("{name}(Tensor input, int[1]? dim, bool keepdim=False)")];
        r.op_named(name.into(), sigs, move |a| {
            let f = if all { reduce::all } else { reduce::any };
            match a.overload {
                0 => Ok(f(a.t(0), &[], false)?.into()),
                _ => Ok(f(a.t(0), a.dims(1), a.b(2))?.into()),
            }
        })
        .out();
    }
    let sig = "logsumexp(Tensor input, int[1] dim, bool keepdim=False)";
    r.op("logsumexp", &[sig], |a| Ok(reduce::logsumexp(a.t(0), a.ints(1), a.b(2))?.into())).out();
    let sigs = ["count_nonzero(Tensor input, int[1]? dim=None)"];
    r.op("count_nonzero", &sigs, |a| {
        let hit = binary(ScalarOp::Ne, Arg::T(&a.t(0).detach()), Arg::S(Scalar::Int(0)))?;
        Ok(reduce::sum(&hit, a.dims(1), false, None)?.into())
    });
    let sig = "_vector_norm(Tensor input, Scalar ord=2, int[1]? dim=None, bool keepdim=False, *, dtype? dtype=None)";
    r.op("_vector_norm", &[sig], |a| Ok(reduce::norm(a.t(0), a.s(1).to_f64(), a.dims(2), a.b(3), a.dtype(4))?.into()))
        .function_only()
        .out();
}

fn extreme(a: &Args, largest: bool) -> Result<Out> {
    match a.overload {
        0 => Ok(reduce::max_all(a.t(0), largest)?.into()),
        1 => {
            let op = if largest { ScalarOp::Maximum } else { ScalarOp::Minimum };
            Ok(binary(op, Arg::T(a.t(0)), Arg::T(a.t(1)))?.into())
        }
        _ => pair(if largest { "max" } else { "min" }, reduce::max_dim(a.t(0), a.i(1), a.b(2), largest)?),
    }
}

fn extremes(r: &mut Registry) {
    for (name, largest) in [("max", true), ("min", false)] {
        let sigs = vec![
            format!("{name}(Tensor input)"),
            format!("{name}(Tensor input, Tensor other)"),
            format!("{name}(Tensor input, int dim, bool keepdim=False)"),
        ];
        r.op_named(name.into(), sigs, move |a| extreme(a, largest)).out();
        let name = format!("a{name}");
        let sig = format!("{name}(Tensor input, int[1] dim=[], bool keepdim=False)");
        r.op_named(name, vec![sig], move |a| Ok(reduce::amax(a.t(0), a.ints(1), a.b(2), largest)?.into())).out();
        let name = if largest { "argmax" } else { "argmin" };
        let sig = format!("{name}(Tensor input, int? dim=None, bool keepdim=False)");
        r.op_named(name.into(), vec![sig], move |a| {
            let d = a.t(0).dtype();
            let refused = d.is_complex() || d == DType::Bool;
            rtorch_ir::ensure!(!refused, runtime, "{name}(): does not support {} input", d.name());
            Ok(reduce::argmax(a.t(0), a.opt_i(1), a.b(2), largest)?.into())
        })
        .out();
    }
    r.op("aminmax", &["aminmax(Tensor input, *, int? dim=None, bool keepdim=False)"], |a| {
        let dims: Vec<i64> = a.opt_i(1).into_iter().collect();
        let lo = reduce::amax(a.t(0), &dims, a.b(2), false)?;
        Ok(Out::Named("aminmax", vec![lo, reduce::amax(a.t(0), &dims, a.b(2), true)?]))
    })
    .out_exact();
}

/// (dims, correction, keepdim) of the three overloads of `var` and its kin.
fn spread_args<'a>(a: &'a Args) -> (&'a [i64], f64, bool) {
    let unbiased = |i: usize| f64::from(u8::from(a.opt_b(i).unwrap_or(true)));
    match a.overload {
        0 => (&[], unbiased(1), false),
        1 => (a.dims(1), unbiased(2), a.b(3)),
        _ => (a.dims(1), a.opt_s(2).map_or(1.0, Scalar::to_f64), a.b(3)),
    }
}

fn spread(r: &mut Registry) {
    for name in ["var", "std", "var_mean", "std_mean"] {
        let sigs = vec![
            format!("{name}(Tensor input, bool unbiased=True)"),
            format!("{name}(Tensor input, int[1]? dim, bool unbiased=True, bool keepdim=False)"),
            format!("{name}(Tensor input, int[1]? dim=None, *, Scalar? correction=None, bool keepdim=False)"),
        ];
        let op = r.op_named(name.into(), sigs, move |a| {
            let (dims, correction, keepdim) = spread_args(a);
            let x = a.t(0);
            Ok(match name {
                "var" => reduce::var(x, dims, correction, keepdim)?.into(),
                "std" => reduce::std(x, dims, correction, keepdim)?.into(),
                _ => {
                    let (v, m) = reduce::var_mean(x, dims, correction, keepdim)?;
                    let v = if name == "std_mean" { ops::unary(ScalarOp::Sqrt, &v)? } else { v };
                    Out::Tensors(vec![v, m])
                }
            })
        });
        if name.ends_with("_mean") {
            op.function_only();
        } else {
            op.out();
        }
    }
}

fn scans(r: &mut Registry) {
    for (name, op, grad) in [("cumsum", ScanOp::Sum, "CumsumBackward0"), ("cumprod", ScanOp::Prod, "CumprodBackward0")]
    {
        let sig = format!("{name}(Tensor input, int dim, *, dtype? dtype=None)");
        r.op_named(name.into(), vec![sig], move |a| {
            Ok(reduce::scan(grad, op, a.t(0), a.i(1), a.dtype(2))?.swap_remove(0).into())
        })
        .out();
        r.inplace();
    }
    for (name, op, grad) in [("cummax", ScanOp::Max, "CummaxBackward0"), ("cummin", ScanOp::Min, "CumminBackward0")] {
        let sig = format!("{name}(Tensor input, int dim)");
        r.op_named(name.into(), vec![sig], move |a| {
            Ok(Out::Named(name, reduce::scan(grad, op, a.t(0), a.i(1), None)?.into_vec()))
        })
        .out();
    }
    r.op("logcumsumexp", &["logcumsumexp(Tensor input, int dim)"], |a| {
        if a.t(0).dtype().is_complex() {
            return Ok(reduce::log_cumsum_exp_complex(a.t(0), a.i(1))?.into());
        }
        let x = if a.t(0).dtype().is_float() { a.t(0).clone() } else { ops::convert::to_dtype(a.t(0), DType::F32)? };
        Ok(reduce::scan("LogcumsumexpBackward0", ScanOp::LogSumExp, &x, a.i(1), None)?.swap_remove(0).into())
    })
    .out();
}
