//! Gathers, scatters, masks, sorting, and subscripts by name.

use rtorch_core::ops::index;
use rtorch_core::{Result, Tensor};
use rtorch_ir::prim::ScatterOp;

use crate::output::Out;
use crate::parse::Args;
use crate::registry::Registry;

pub fn register(r: &mut Registry) {
    reads(r);
    scatters(r);
    writes(r);
    orders(r);
    subscripts(r);
}

fn reads(r: &mut Registry) {
    r.op("gather", &["gather(Tensor input, int dim, Tensor index, *, bool sparse_grad=False)"], |a| {
        Ok(index::gather(a.t(0), a.i(1), a.t(2))?.into())
    })
    .out_exact();
    r.op("index_select", &["index_select(Tensor input, int dim, Tensor index)"], |a| {
        Ok(index::index_select(a.t(0), a.i(1), a.t(2))?.into())
    })
    .out();
    r.op("masked_select", &["masked_select(Tensor input, Tensor mask)"], |a| {
        Ok(index::masked_select(a.t(0), a.t(1))?.into())
    })
    .out();
    r.op("nonzero", &["nonzero(Tensor input, *, bool as_tuple=False)"], |a| {
        if !a.b(1) {
            return Ok(index::nonzero(a.t(0))?.into());
        }
        let one = if a.t(0).ndim() == 0 { rtorch_core::ops::shape::unsqueeze(a.t(0), 0)? } else { a.t(0).clone() };
        Ok(rtorch_core::ops::shape::unbind(&index::nonzero(&one)?, 1)?.into())
    })
    .out();
    r.op("argwhere", &["argwhere(Tensor input)"], |a| Ok(index::nonzero(a.t(0))?.into()));
}

fn scatter_op(reduce: Option<&str>) -> Result<ScatterOp> {
    Ok(match reduce {
        None => ScatterOp::Set,
        Some("add" | "sum") => ScatterOp::Add,
        Some("multiply" | "prod") => ScatterOp::Mul,
        Some("amax") => ScatterOp::Max,
        Some("amin") => ScatterOp::Min,
        Some(_) => {
            return Err(rtorch_core::Error::runtime("reduce argument must be either add or multiply."));
        }
    })
}

/// The source of a scatter: a tensor, or a number everywhere.
fn source(a: &Args) -> Result<Tensor> {
    match a.opt_t(3) {
        Some(t) => Ok(t.clone()),
        None => {
            let x = a.t(0);
            rtorch_core::ops::factory::full(&a.t(2).shape(), a.s(3), x.dtype(), x.device())
        }
    }
}

fn scatters(r: &mut Registry) {
    let sigs = |n: &str| {
        vec![
            format!("{n}(Tensor input, int dim, Tensor index, Tensor src, *, str? reduce=None)"),
            format!("{n}(Tensor input, int dim, Tensor index, Scalar value, *, str? reduce=None)"),
        ]
    };
    let name = "ScatterBackward0";
    r.op_named("scatter".into(), sigs("scatter"), move |a| {
        Ok(index::scatter(name, a.t(0), a.i(1), a.t(2), &source(a)?, scatter_op(a.opt_str(4))?)?.into())
    })
    .out();
    r.op_named("scatter_".into(), sigs("scatter_"), move |a| {
        index::scatter_(name, a.t(0), a.i(1), a.t(2), &source(a)?, scatter_op(a.opt_str(4))?)?;
        Ok(a.t(0).clone().into())
    })
    .method_only();
    let name = "ScatterAddBackward0";
    r.op("scatter_add", &["scatter_add(Tensor input, int dim, Tensor index, Tensor src)"], move |a| {
        Ok(index::scatter(name, a.t(0), a.i(1), a.t(2), a.t(3), ScatterOp::Add)?.into())
    })
    .out();
    r.op("scatter_add_", &["scatter_add_(Tensor input, int dim, Tensor index, Tensor src)"], move |a| {
        index::scatter_(name, a.t(0), a.i(1), a.t(2), a.t(3), ScatterOp::Add)?;
        Ok(a.t(0).clone().into())
    })
    .method_only();
}

fn writes(r: &mut Registry) {
    let name = "IndexAddBackward0";
    let scaled = |a: &Args| -> Result<Tensor> {
        let (src, s) = (a.t(3), a.s(4));
        if s == rtorch_core::Scalar::Int(1) {
            return Ok(src.clone());
        }
        // the number takes the source's dtype, not the other way round
        let s = match src.dtype() {
            rtorch_core::DType::Bool => rtorch_core::Scalar::Bool(s.is_true()),
            d if d.is_integral() => rtorch_core::Scalar::Int(s.to_i64()),
            _ => s,
        };
        rtorch_core::ops::binary(rtorch_core::ScalarOp::Mul, rtorch_core::ops::Arg::T(src), s.into())
    };
    let sig = "index_add(Tensor input, int dim, Tensor index, Tensor source, *, Scalar alpha=1)";
    r.op("index_add", &[sig], move |a| {
        Ok(index::index_add(name, a.t(0), a.i(1), a.t(2), &scaled(a)?, ScatterOp::Add)?.into())
    })
    .out();
    let sig = "index_add_(Tensor input, int dim, Tensor index, Tensor source, *, Scalar alpha=1)";
    r.op("index_add_", &[sig], move |a| {
        index::index_add_(name, a.t(0), a.i(1), a.t(2), &scaled(a)?, ScatterOp::Add)?;
        Ok(a.t(0).clone().into())
    })
    .method_only();
    let name = "IndexCopyBackward0";
    r.op("index_copy", &["index_copy(Tensor input, int dim, Tensor index, Tensor source)"], move |a| {
        Ok(index::index_add(name, a.t(0), a.i(1), a.t(2), a.t(3), ScatterOp::Set)?.into())
    })
    .out();
    r.op("index_copy_", &["index_copy_(Tensor input, int dim, Tensor index, Tensor source)"], move |a| {
        index::index_add_(name, a.t(0), a.i(1), a.t(2), a.t(3), ScatterOp::Set)?;
        Ok(a.t(0).clone().into())
    })
    .method_only();
    let sigs = ["Tensor", "Scalar"].map(|v| format!("_index_fill(Tensor input, int dim, Tensor index, {v} value)"));
    r.op_named(
        "_index_fill".into(),
        sigs.to_vec(),
        |a| Ok(index::index_fill(a.t(0), a.i(1), a.t(2), a.arg(3))?.into()),
    )
    .within("_nn");
    let sig = "_index_reduce(Tensor input, int dim, Tensor index, Tensor source, str reduce)";
    r.op("_index_reduce", &[sig], move |a| {
        let op = match a.str(4) {
            "prod" => ScatterOp::Mul,
            "amax" => ScatterOp::Max,
            _ => ScatterOp::Min,
        };
        Ok(index::index_add("IndexReduceBackward0", a.t(0), a.i(1), a.t(2), a.t(3), op)?.into())
    })
    .within("_nn");
    for name in ["index_put_", "index_put"] {
        let sig = format!("{name}(Tensor input, Tensor?[] indices, Tensor values, bool accumulate=False)");
        r.op_named(name.into(), vec![sig], move |a| {
            let x = if name == "index_put_" { a.t(0).clone() } else { copy_for(a)? };
            index::put(&x, &positions(a.ots(1))?, a.t(2), a.b(3))?;
            Ok(x.into())
        });
    }
}

/// The tensor that a write into a copy goes to: inside a vmap, one for each sample of the values.
fn copy_for(a: &Args) -> Result<rtorch_core::Tensor> {
    let mut others: Vec<&rtorch_core::Tensor> = a.ots(1).iter().flatten().collect();
    others.push(a.t(2));
    rtorch_core::batch::cover(rtorch_core::ops::shape::clone(a.t(0))?, &others)
}

/// Masks as the positions of what they select.
fn positions(at: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
    let mut out = Vec::new();
    for t in at {
        match t {
            Some(m) if matches!(m.dtype(), rtorch_core::DType::Bool | rtorch_core::DType::U8) => {
                out.extend(rtorch_core::ops::shape::unbind(&index::nonzero(m)?, 1)?.into_iter().map(Some));
            }
            other => out.push(other.clone()),
        }
    }
    Ok(out)
}

fn named(name: &'static str, p: (Tensor, Tensor)) -> Out {
    Out::Named(name, vec![p.0, p.1])
}

fn orders(r: &mut Registry) {
    let sigs = [
        "sort(Tensor input, int dim=-1, bool descending=False)",
        "sort(Tensor input, *, bool? stable, int dim=-1, bool descending=False)",
    ];
    r.op("sort", &sigs, |a| {
        let (dim, descending, stable) = match a.overload {
            0 => (a.i(1), a.b(2), false),
            _ => (a.i(2), a.b(3), a.opt_b(1).unwrap_or(false)),
        };
        Ok(named("sort", index::sort(a.t(0), dim, descending, stable)?))
    })
    .out();
    let tail = "(Tensor input, int dim=-1, bool descending=False, bool? stable=None)";
    r.op_named("argsort".into(), vec![format!("argsort{tail}")], |a| {
        Ok(index::sort(&a.t(0).detach(), a.i(1), a.b(2), a.opt_b(3).unwrap_or(false))?.1.into())
    });
    r.op("topk", &["topk(Tensor input, int k, int dim=-1, bool largest=True, bool sorted=True)"], |a| {
        Ok(named("topk", index::topk(a.t(0), a.i(1), a.i(2), a.b(3))?))
    })
    .out();
    r.op("kth_position", &["kth_position(Tensor input, int k, int dim)"], |a| {
        Ok(index::kth_position(a.t(0), a.i(1), a.i(2))?.into())
    })
    .within("_nn");
}

fn subscripts(r: &mut Registry) {
    r.py("__getitem__", &["__getitem__(Tensor input, object index)"], |py, a| {
        crate::index::get_plain(py, a.t(0), a.opt_obj(1).unwrap_or(&py.None()).bind(py))
    })
    .function_only();
    r.py("__setitem__", &["__setitem__(Tensor input, object index, object value)"], |py, a| {
        let none = py.None();
        let (key, value) = (a.opt_obj(1).unwrap_or(&none), a.opt_obj(2).unwrap_or(&none));
        crate::index::set_plain(a.t(0), key.bind(py), value.bind(py))?;
        Ok(py.None())
    })
    .function_only();
}
