//! Parts of complex tensors, and their conjugates: copies, which say that PyTorch's are views.

use rtorch_core::ops::complex;
use rtorch_core::{DType, Error};

use crate::registry::Registry;

pub fn register(r: &mut Registry) {
    r.op("complex", &["complex(Tensor real, Tensor imag)"], |a| {
        let (re, im) = (a.t(0), a.t(1));
        if !matches!(re.dtype(), DType::F32 | DType::F64 | DType::F16) || re.dtype() != im.dtype() {
            return Err(Error::runtime(format!(
                "Expected both inputs to be Half, Float or Double tensors of one dtype but got {} and {}",
                re.dtype().cpp_name(),
                im.dtype().cpp_name()
            )));
        }
        Ok(complex::join(re, im)?.into())
    })
    .function_only()
    .out_exact();
    // a real tensor is its own conjugate
    r.op("conj", &["conj(Tensor input)"], |a| {
        let x = a.t(0);
        Ok(if x.dtype().is_complex() { complex::conj_view(x)? } else { x.clone() }.into())
    });
    r.op("conj_physical", &["conj_physical(Tensor input)"], |a| {
        let x = a.t(0);
        Ok(if x.dtype().is_complex() { complex::conj(x)? } else { x.clone() }.into())
    });
    r.op("resolve_conj", &["resolve_conj(Tensor input)"], |a| Ok(complex::resolve_conj(a.t(0))?.into()));
    r.op("resolve_neg", &["resolve_neg(Tensor input)"], |a| Ok(a.t(0).clone().into()));
    r.op("is_conj", &["is_conj(Tensor input)"], |a| Ok(complex::is_conj(a.t(0)).into()));
    r.op("is_neg", &["is_neg(Tensor input)"], |_| Ok(false.into()));
    r.op("view_as_real", &["view_as_real(Tensor input)"], |a| {
        rtorch_ir::ensure!(
            !complex::is_conj(a.t(0)),
            runtime,
            "view_as_real doesn't work on unresolved conjugated tensors.  To resolve the conjugate tensor so you can \
             view it as real, use self.resolve_conj(); however, be warned that the resulting tensor will NOT alias the \
             original."
        );
        Ok(complex::view_as_real(a.t(0))?.into())
    })
    .function_only();
    r.op("view_as_complex", &["view_as_complex(Tensor input)"], |a| Ok(complex::view_as_complex(a.t(0))?.into()))
        .function_only();
    r.op("polar", &["polar(Tensor abs, Tensor angle)"], |a| Ok(complex::polar(a.t(0), a.t(1))?.into()))
        .function_only()
        .out_exact();
    r.op("sgn", &["sgn(Tensor input)"], |a| Ok(complex::sgn(a.t(0))?.into())).out();
    r.inplace();
    for (name, which) in [("real", 0), ("imag", 1)] {
        r.op_named(name.into(), vec![format!("{name}(Tensor input)")], move |a| {
            let x = a.t(0);
            if x.dtype().is_complex() {
                return Ok(complex::part(x, which)?.into());
            }
            if which == 1 {
                return Err(Error::runtime("imag is not implemented for tensors with non-complex dtypes."));
            }
            Ok(x.clone().into())
        })
        .function_only();
    }
}
