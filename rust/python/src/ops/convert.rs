//! Conversions between dtypes and devices, and questions about dtypes.

use rtorch_core::ops::convert;
use rtorch_core::ops::pointwise::result_type;
use rtorch_core::ops::shape;
use rtorch_core::{DType, Device, Result, Tensor};

use crate::dtype::MemoryFormat;
use crate::error::OrRaise;
use crate::output::Out;
use crate::registry::Registry;

pub fn register(r: &mut Registry) {
    to(r);
    shortcuts(r);
    questions(r);
}

/// `Tensor.to` once its forms are told apart.
fn moved(
    x: &Tensor,
    device: Option<Device>,
    dtype: Option<DType>,
    copy: bool,
    format: Option<MemoryFormat>,
) -> Result<Out> {
    let d = dtype.unwrap_or_else(|| x.dtype());
    let device = device.unwrap_or_else(|| x.device());
    // to the narrower place last: float64 does not exist on the GPU
    let y = if device.is_cpu() {
        convert::to_dtype(&convert::to_device(x, device)?, d)?
    } else {
        convert::to_device(&convert::to_dtype(x, d)?, device)?
    };
    let y = match format {
        // one channel or one pixel lies in both orders: the strides say which is meant
        Some(f @ (MemoryFormat::ChannelsLast | MemoryFormat::ChannelsLast3d)) => {
            let z = super::shape::in_format(&y, f)?;
            if z.same(&y) && !y.layout().suggests_channels_last() { shape::copy_channels_last(&y)? } else { z }
        }
        Some(f) => super::shape::in_format(&y, f)?,
        None => y,
    };
    let y = if copy && y.same(x) { shape::clone(x)? } else { y };
    if !y.same(x) {
        rtorch_core::autograd::composite::collapse("ToCopyBackward0", &[x], &[&y]);
    }
    Ok(y.into())
}

fn to(r: &mut Registry) {
    let tail = "bool non_blocking=False, bool copy=False, *, memory_format? memory_format=None)";
    let sigs = vec![
        format!("to(Tensor input, device? device=None, dtype? dtype=None, {tail}"),
        format!("to(Tensor input, dtype dtype, {tail}"),
        format!("to(Tensor input, Tensor other, {tail}"),
    ];
    r.op_named("to".into(), sigs, |a| match a.overload {
        0 => moved(a.t(0), a.device(1), a.dtype(2), a.b(4), a.format(5)),
        1 => moved(a.t(0), None, a.dtype(1), a.b(3), a.format(4)),
        _ => moved(a.t(0), Some(a.t(1).device()), Some(a.t(1).dtype()), a.b(3), a.format(4)),
    })
    .method_only();
    r.op("cpu", &["cpu(Tensor input, *, memory_format? memory_format=None)"], |a| {
        moved(a.t(0), Some(Device::Cpu), None, false, a.format(1))
    })
    .method_only();
    r.op("wgpu", &["wgpu(Tensor input, device? device=None, bool non_blocking=False)"], |a| {
        moved(a.t(0), Some(a.device(1).unwrap_or(Device::Wgpu(0))), None, false, None)
    })
    .method_only();
    r.op("type_as", &["type_as(Tensor input, Tensor other)"], |a| {
        moved(a.t(0), Some(a.t(1).device()), Some(a.t(1).dtype()), false, None)
    })
    .method_only();
}

fn shortcuts(r: &mut Registry) {
    let named = [
        ("half", DType::F16),
        ("bfloat16", DType::BF16),
        ("float", DType::F32),
        ("double", DType::F64),
        ("short", DType::I16),
        ("int", DType::I32),
        ("long", DType::I64),
        ("char", DType::I8),
        ("byte", DType::U8),
        ("bool", DType::Bool),
        ("cfloat", DType::C64),
        ("cdouble", DType::C128),
    ];
    for (name, d) in named {
        let sig = format!("{name}(Tensor input, *, memory_format? memory_format=None)");
        r.op_named(name.into(), vec![sig], move |a| moved(a.t(0), None, Some(d), false, a.format(1))).method_only();
    }
}

fn questions(r: &mut Registry) {
    r.py("promote_types", &["promote_types(dtype type1, dtype type2)"], |py, a| {
        Ok(crate::dtype::object(py, rtorch_ir::promote(a.dtype_of(0), a.dtype_of(1)).or_raise()?)?.into_any())
    })
    .function_only();
    let sigs = [
        "result_type(Tensor tensor1, Tensor tensor2)",
        "result_type(Tensor tensor, Scalar other)",
        "result_type(Scalar scalar, Tensor tensor)",
        "result_type(Scalar scalar1, Scalar scalar2)",
    ];
    r.py("result_type", &sigs, |py, a| {
        Ok(crate::dtype::object(py, result_type(&[a.arg(0), a.arg(1)]).or_raise()?)?.into_any())
    })
    .function_only();
    r.op("can_cast", &["can_cast(dtype from_, dtype to)"], |a| Ok(a.dtype_of(0).can_cast_to(a.dtype_of(1)).into()))
        .function_only();
    r.op("is_floating_point", &["is_floating_point(Tensor input)"], |a| Ok(a.t(0).dtype().is_float().into()))
        .function_only();
    r.op("is_complex", &["is_complex(Tensor input)"], |a| Ok(a.t(0).dtype().is_complex().into())).function_only();
    r.op("is_same_size", &["is_same_size(Tensor input, Tensor other)"], |a| {
        Ok((a.t(0).shape() == a.t(1).shape()).into())
    });
    r.op("numel", &["numel(Tensor input)"], |a| Ok(Out::Int(a.t(0).numel() as i64))).function_only();
    // for the tests: a kernel that panics on the pool's threads
    r.op("_panic_in_kernel", &["_panic_in_kernel(Tensor input)"], |a| {
        rtorch_cpu::threads::parallel_for(a.t(0).numel(), 1, &|part| assert!(part.is_empty(), "a planted panic"));
        Ok(Out::None)
    })
    .function_only();
    r.op("get_device", &["get_device(Tensor input)"], |a| Ok(Out::Int(a.t(0).device().index().map_or(-1, i64::from))));
    r.op("detach", &["detach(Tensor input)"], |a| Ok(a.t(0).detach().into())).function_only();
    r.op("resize_", &["resize_(Tensor input, int[] size, *, memory_format? memory_format=None)"], |a| {
        rtorch_ir::ensure!(!a.t(0).requires_grad(), runtime, "cannot resize variables that require grad");
        crate::storage::resize(a.t(0), &rtorch_core::ops::factory::checked_shape(a.ints(1))?)?;
        Ok(a.t(0).clone().into())
    })
    .method_only();
    r.op("resize_as_", &["resize_as_(Tensor input, Tensor the_template, *, memory_format? memory_format=None)"], |a| {
        crate::storage::resize(a.t(0), &a.t(1).shape())?;
        Ok(a.t(0).clone().into())
    });
    let sigs = [
        "set_(Tensor input)",
        "set_(Tensor input, Tensor source)",
        "set_(Tensor input, Tensor source, int storage_offset, int[] size, int[] stride=[])",
        "set_(Tensor input, object source)",
        "set_(Tensor input, object source, int storage_offset, int[] size, int[] stride=[])",
    ];
    r.py("set_", &sigs, crate::storage::set).method_only();
}
