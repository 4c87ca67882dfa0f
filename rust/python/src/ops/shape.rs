//! Views, copies in another memory order, joining and splitting.

use rtorch_core::autograd::forward;
use rtorch_core::ops::shape;
use rtorch_core::{Result, Tensor};

use crate::dtype::MemoryFormat;
use crate::output::Out;
use crate::registry::Registry;

pub fn register(r: &mut Registry) {
    views(r);
    dims(r);
    windows(r);
    copies(r);
    pieces(r);
}

fn shape_i64(t: &Tensor) -> Vec<i64> {
    t.shape().iter().map(|&s| s as i64).collect()
}

fn views(r: &mut Registry) {
    r.op("view", &["view(Tensor input, int[] size)", "view(Tensor input, dtype dtype)"], |a| match a.overload {
        0 => Ok(shape::view_as_shape(a.t(0), a.ints(1))?.into()),
        _ => Ok(shape::view_dtype(a.t(0), a.dtype_of(1))?.into()),
    })
    .method_only();
    r.op("view_as", &["view_as(Tensor input, Tensor other)"], |a| {
        Ok(shape::view_as_shape(a.t(0), &shape_i64(a.t(1)))?.into())
    })
    .method_only();
    r.op("reshape", &["reshape(Tensor input, int[] shape)"], |a| Ok(shape::reshape(a.t(0), a.ints(1))?.into()));
    r.op("reshape_as", &["reshape_as(Tensor input, Tensor other)"], |a| {
        Ok(shape::reshape(a.t(0), &shape_i64(a.t(1)))?.into())
    })
    .method_only();
    r.op("expand", &["expand(Tensor input, int[] size, *, bool implicit=False)"], |a| {
        Ok(shape::expand(a.t(0), a.ints(1))?.into())
    })
    .method_only();
    r.op("expand_as", &["expand_as(Tensor input, Tensor other)"], |a| {
        Ok(shape::expand(a.t(0), &shape_i64(a.t(1)))?.into())
    })
    .method_only();
    r.op("broadcast_to", &["broadcast_to(Tensor input, int[] size)"], |a| Ok(shape::expand(a.t(0), a.ints(1))?.into()));
    r.op("flatten", &["flatten(Tensor input, int start_dim=0, int end_dim=-1)"], |a| {
        Ok(shape::flatten(a.t(0), a.i(1), a.i(2))?.into())
    });
    r.op("ravel", &["ravel(Tensor input)"], |a| {
        let x = shape::contiguous(a.t(0))?;
        Ok(shape::view_as_shape(&x, &[-1])?.into())
    });
    let sig = "as_strided(Tensor input, int[] size, int[] stride, int? storage_offset=None)";
    r.op("as_strided", &[sig], |a| Ok(shape::as_strided(a.t(0), a.ints(1), a.ints(2), a.opt_i(3))?.into()));
    r.op("alias", &["alias(Tensor input)"], |a| Ok(shape::alias(a.t(0))?.into())).function_only();
}

fn dims(r: &mut Registry) {
    r.op("permute", &["permute(Tensor input, int[] dims)"], |a| Ok(shape::permute(a.t(0), a.ints(1))?.into()));
    for name in ["movedim", "moveaxis"] {
        let sig = format!("{name}(Tensor input, int[1] source, int[1] destination)");
        r.op_named(name.into(), vec![sig], |a| Ok(shape::movedim(a.t(0), a.ints(1), a.ints(2))?.into()));
    }
    for name in ["transpose", "swapaxes", "swapdims"] {
        let (p, q) = if name == "swapaxes" { ("axis0", "axis1") } else { ("dim0", "dim1") };
        let sig = format!("{name}(Tensor input, int {p}, int {q})");
        r.op_named(name.into(), vec![sig], |a| Ok(shape::transpose(a.t(0), a.i(1), a.i(2))?.into()));
        let sig = format!("{name}_(Tensor input, int {p}, int {q})");
        r.op_named(format!("{name}_"), vec![sig], |a| relayout(a.t(0), &shape::transpose(a.t(0), a.i(1), a.i(2))?))
            .method_only();
    }
    r.op("t", &["t(Tensor input)"], |a| Ok(shape::t(a.t(0))?.into()));
    r.op("t_", &["t_(Tensor input)"], |a| relayout(a.t(0), &shape::t(a.t(0))?)).method_only();
    r.op("as_strided_", &["as_strided_(Tensor input, int[] size, int[] stride, int? storage_offset=None)"], |a| {
        relayout(a.t(0), &shape::as_strided(a.t(0), a.ints(1), a.ints(2), a.opt_i(3))?)
    })
    .method_only();
    r.op("adjoint", &["adjoint(Tensor input)"], |a| Ok(rtorch_core::ops::complex::adjoint(a.t(0))?.into()));
    r.op("unsqueeze", &["unsqueeze(Tensor input, int dim)"], |a| Ok(shape::unsqueeze(a.t(0), a.i(1))?.into()));
    r.op("unsqueeze_", &["unsqueeze_(Tensor input, int dim)"], |a| {
        relayout(a.t(0), &shape::unsqueeze(a.t(0), a.i(1))?)
    })
    .method_only();
    let squeeze = |name: &str| {
        vec![
            format!("{name}(Tensor input)"),
            format!("{name}(Tensor input, int dim)"),
            format!("{name}(Tensor input, int[] dim)"),
        ]
    };
    let squeezed = |a: &crate::parse::Args| match a.overload {
        0 => shape::squeeze(a.t(0), None),
        1 => shape::squeeze(a.t(0), Some(&[a.i(1)])),
        _ => shape::squeeze(a.t(0), Some(a.ints(1))),
    };
    r.op_named("squeeze".into(), squeeze("squeeze"), move |a| Ok(squeezed(a)?.into()));
    r.op_named("squeeze_".into(), squeeze("squeeze_"), move |a| relayout(a.t(0), &squeezed(a)?)).method_only();
}

/// `t_`, `squeeze_` and their like change the tensor's own sizes, not its memory.
fn relayout(x: &Tensor, to: &Tensor) -> Result<Out> {
    rtorch_core::inplace::check_grad(x)?;
    let edge = to.grad_fn();
    x.set_parts(to.parts());
    if let Some(e) = edge {
        x.with_meta(|m| m.grad_fn = Some(e));
    }
    if let Some(tangent) = forward::tangent(to) {
        forward::set_tangent(x, Some(tangent));
    }
    x.bump_version();
    Ok(x.clone().into())
}

fn windows(r: &mut Registry) {
    r.op(
        "select",
        &["select(Tensor input, int dim, int index)"],
        |a| Ok(shape::select(a.t(0), a.i(1), a.i(2))?.into()),
    );
    let sigs = [
        "narrow(Tensor input, int dim, int start, int length)",
        "narrow(Tensor input, int dim, Tensor start, int length)",
    ];
    r.op("narrow", &sigs, |a| {
        let start = match a.opt_i(2) {
            Some(i) => i,
            None => {
                let t = a.t(2);
                rtorch_ir::ensure!(
                    t.ndim() == 0 && t.dtype().is_int(),
                    runtime,
                    "start must be an 0-dim integral Tensor."
                );
                rtorch_core::ops::convert::item(t)?.to_i64()
            }
        };
        Ok(shape::narrow(a.t(0), a.i(1), start, a.i(3))?.into())
    });
    r.op("diagonal", &["diagonal(Tensor input, int offset=0, int dim1=0, int dim2=1)"], |a| {
        Ok(shape::diagonal(a.t(0), a.i(1), a.i(2), a.i(3))?.into())
    });
    r.op("unfold", &["unfold(Tensor input, int dimension, int size, int step)"], |a| {
        Ok(shape::unfold(a.t(0), a.i(1), a.i(2), a.i(3))?.into())
    })
    .method_only();
    let sig = "_slice(Tensor input, int dim=0, int? start=None, int? end=None, int step=1)";
    r.op("_slice", &[sig], |a| Ok(shape::slice(a.t(0), a.i(1), a.opt_i(2), a.opt_i(3), a.i(4))?.into()))
        .function_only();
    r.op("flip", &["flip(Tensor input, int[1] dims)"], |a| Ok(shape::flip(a.t(0), a.ints(1))?.into()));
    r.op("fliplr", &["fliplr(Tensor input)"], |a| {
        rtorch_ir::ensure!(a.t(0).ndim() >= 2, runtime, "Input must be >= 2-d.");
        Ok(shape::flip(a.t(0), &[1])?.into())
    });
    r.op("flipud", &["flipud(Tensor input)"], |a| {
        rtorch_ir::ensure!(a.t(0).ndim() >= 1, runtime, "Input must be >= 1-d.");
        Ok(shape::flip(a.t(0), &[0])?.into())
    });
}

/// A copy or the tensor itself in a memory format.
pub fn in_format(x: &Tensor, format: MemoryFormat) -> Result<Tensor> {
    match format {
        MemoryFormat::Contiguous => shape::contiguous(x),
        MemoryFormat::Preserve => Ok(x.clone()),
        MemoryFormat::ChannelsLast => {
            rtorch_ir::ensure!(x.ndim() == 4, runtime, "required rank 4 tensor to use channels_last format");
            shape::contiguous_channels_last(x)
        }
        MemoryFormat::ChannelsLast3d => {
            rtorch_ir::ensure!(x.ndim() == 5, runtime, "required rank 5 tensor to use channels_last_3d format");
            shape::contiguous_channels_last(x)
        }
    }
}

/// A copy in a memory format.
pub fn copy_in_format(x: &Tensor, format: MemoryFormat) -> Result<Tensor> {
    match format {
        MemoryFormat::Preserve => shape::clone(x),
        MemoryFormat::Contiguous => shape::clone_contiguous(x),
        MemoryFormat::ChannelsLast | MemoryFormat::ChannelsLast3d => {
            let y = in_format(x, format)?;
            if y.same(x) { shape::clone(x) } else { Ok(y) }
        }
    }
}

fn copies(r: &mut Registry) {
    r.op("contiguous", &["contiguous(Tensor input, *, memory_format? memory_format=None)"], |a| {
        Ok(in_format(a.t(0), a.format(1).unwrap_or(MemoryFormat::Contiguous))?.into())
    })
    .method_only();
    r.op("clone", &["clone(Tensor input, *, memory_format? memory_format=None)"], |a| {
        Ok(copy_in_format(a.t(0), a.format(1).unwrap_or(MemoryFormat::Preserve))?.into())
    });
    r.op(
        "copy_",
        &["copy_(Tensor input, Tensor src, bool non_blocking=False)", "copy_(Tensor input, Scalar src)"],
        |a| {
            match a.opt_t(1) {
                Some(src) => rtorch_core::inplace::copy_(a.t(0), src)?,
                None => fill(a.t(0), a.s(1))?,
            }
            Ok(a.t(0).clone().into())
        },
    )
    .method_only();
    r.op("fill_", &["fill_(Tensor input, Scalar value)", "fill_(Tensor input, Tensor value)"], |a| {
        match a.opt_t(1) {
            Some(v) => {
                rtorch_ir::ensure!(
                    v.ndim() == 0,
                    runtime,
                    "fill_ only supports 0-dimension value tensor but got tensor with {} dimensions.",
                    v.ndim()
                );
                rtorch_core::inplace::copy_(a.t(0), v)?;
            }
            None => fill(a.t(0), a.s(1))?,
        }
        Ok(a.t(0).clone().into())
    })
    .method_only();
    r.op("zero_", &["zero_(Tensor input)"], |a| {
        fill(a.t(0), rtorch_core::Scalar::Int(0))?;
        Ok(a.t(0).clone().into())
    });
}

/// A constant written everywhere.
pub fn fill(x: &Tensor, s: rtorch_core::Scalar) -> Result<()> {
    s.check_fits(x.dtype(), "fill_")?;
    let p = x.parts();
    if p.layout.overlaps_itself() && p.layout.numel() > 0 {
        // an expanded tensor takes a constant: once per element that exists
        let mut layout = p.layout.clone();
        for (n, &stride) in layout.shape.iter_mut().zip(&p.layout.strides) {
            if stride == 0 {
                *n = 1;
            }
        }
        return fill(&Tensor::from_parts(rtorch_core::tensor::Parts { layout, ..p }), s);
    }
    let k = rtorch_core::kernel::Kernel::new(rtorch_ir::Program::fill(s, x.dtype()));
    rtorch_core::inplace::map("FillBackward0", x, &k, &[])
}

fn pieces(r: &mut Registry) {
    for name in ["cat", "concat", "concatenate"] {
        let sig = format!("{name}(Tensor[] tensors, int dim=0)");
        r.op_named(name.into(), vec![sig], |a| Ok(shape::cat(a.ts(0), a.i(1))?.into())).function_only().out_typed();
    }
    r.op("stack", &["stack(Tensor[] tensors, int dim=0)"], |a| Ok(shape::stack(a.ts(0), a.i(1))?.into()))
        .function_only()
        .out();
    let sigs = [
        "split(Tensor tensor, int split_size_or_sections, int dim=0)",
        "split(Tensor tensor, int[] split_size_or_sections, int dim=0)",
    ];
    r.op("split", &sigs, |a| Ok(split(a)?.into())).function_only();
    let sigs = ["split(Tensor input, int split_size, int dim=0)", "split(Tensor input, int[] split_size, int dim=0)"];
    r.op("split", &sigs, |a| Ok(split(a)?.into())).method_only();
    r.op("split_with_sizes", &["split_with_sizes(Tensor input, int[] split_sizes, int dim=0)"], |a| {
        Ok(shape::split_sizes(a.t(0), a.ints(1), a.i(2))?.into())
    });
    r.op(
        "chunk",
        &["chunk(Tensor input, int chunks, int dim=0)"],
        |a| Ok(shape::chunk(a.t(0), a.i(1), a.i(2))?.into()),
    );
    r.op("unbind", &["unbind(Tensor input, int dim=0)"], |a| Ok(shape::unbind(a.t(0), a.i(1))?.into()));
}

fn split(a: &crate::parse::Args) -> Result<Vec<Tensor>> {
    match a.overload {
        0 => shape::split(a.t(0), a.i(1), a.i(2)),
        _ => shape::split_sizes(a.t(0), a.ints(1), a.i(2)),
    }
}
