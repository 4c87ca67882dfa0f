//! Special functions: `rtorch._C._special` holds them under the names of `torch.special`; those that PyTorch also has
//! in `torch` and as methods have a second entry.

use rtorch_core::ops::special;
use rtorch_core::{Error, Result};
use rtorch_ir::SpecialFn;

use crate::output::Out;
use crate::parse::Args;
use crate::registry::Registry;

fn call(f: SpecialFn, a: &Args) -> Result<Out> {
    Ok(if f.arity() == 1 { special::one(f, a.t(0))? } else { special::two(f, a.arg(0), a.arg(1))? }.into())
}

/// The forms of a function of two arguments.
fn sigs(name: &str, f: SpecialFn, numbers: bool) -> Vec<String> {
    if f.arity() == 1 {
        return vec![format!("{name}(Tensor input)")];
    }
    let (a, b) = if polynomial(f) { ("x", "n") } else { ("input", "other") };
    let a = if polynomial(f) { "input" } else { a };
    let mut out = vec![format!("{name}(Tensor {a}, Tensor {b})")];
    if numbers {
        out.push(format!("{name}(Tensor {a}, Scalar {b})"));
        out.push(format!("{name}(Scalar {a}, Tensor {b})"));
    }
    out
}

fn polynomial(f: SpecialFn) -> bool {
    f.name().contains("polynomial")
}

pub fn register(r: &mut Registry) {
    for &f in SpecialFn::ALL {
        let numbers = !matches!(f, SpecialFn::Gammainc | SpecialFn::Gammaincc);
        r.op_named(f.name().into(), sigs(f.name(), f, numbers), move |a| call(f, a)).within("_special").out();
    }
    for (name, f) in [("i0", SpecialFn::I0), ("igamma", SpecialFn::Gammainc), ("igammac", SpecialFn::Gammaincc)] {
        r.op_named(name.into(), sigs(name, f, false), move |a| call(f, a)).out();
        r.inplace();
    }
    let polygamma = |a: &Args| -> Result<Out> {
        if a.i(0) < 0 {
            return Err(Error::runtime("polygamma(n, x) does not support negative n."));
        }
        Ok(special::polygamma(a.i(0), a.t(1))?.into())
    };
    r.op("polygamma", &["polygamma(int n, Tensor input)"], polygamma).function_only().out();
    r.op("polygamma", &["polygamma(int n, Tensor input)"], polygamma).within("_special").out();
    r.op("polygamma", &["polygamma(Tensor input, int n)"], |a| Ok(special::polygamma(a.i(1), a.t(0))?.into()))
        .method_only();
    r.inplace();
}
