//! Pointwise compositions of the core under PyTorch's names (`rtorch-core/src/ops/composite.rs`).

use rtorch_core::ops::Arg;
use rtorch_core::ops::composite as core;
use rtorch_core::ops::cross;
use rtorch_core::ops::nn::margin;
use rtorch_core::{Result, Tensor};

use crate::registry::Registry;

type Binary = fn(Arg, Arg, Option<&Tensor>) -> Result<Tensor>;
type Unary = fn(&Tensor, Option<&Tensor>) -> Result<Tensor>;

/// name, function, has an in-place form
const UNARY: [(&str, Unary, bool); 8] = [
    ("rad2deg", core::rad2deg, true),
    ("deg2rad", core::deg2rad, true),
    ("frac", core::frac, true),
    ("sinc", core::sinc, true),
    ("isfinite", core::isfinite, false),
    ("isposinf", core::isposinf, false),
    ("isneginf", core::isneginf, false),
    ("angle", core::angle, false),
];

pub fn register(r: &mut Registry) {
    for (name, f, inplace) in UNARY {
        r.op_named(name.into(), vec![format!("{name}(Tensor input)")], move |a| Ok(f(a.t(0), None)?.into())).out();
        if inplace {
            let name = format!("{name}_");
            let sig = format!("{name}(Tensor input)");
            r.op_named(name, vec![sig], move |a| Ok(f(a.t(0), Some(a.t(0)))?.into()));
        }
    }
    for (name, divides) in [("addcmul", false), ("addcdiv", true)] {
        let sig = |n: &str| vec![format!("{n}(Tensor input, Tensor tensor1, Tensor tensor2, *, Scalar value=1)")];
        let f = if divides { core::addcdiv } else { core::addcmul };
        r.op_named(name.into(), sig(name), move |a| Ok(f(a.t(0), a.t(1), a.t(2), a.s(3), None)?.into())).out();
        let name = format!("{name}_");
        let s = sig(&name);
        r.op_named(name, s, move |a| Ok(f(a.t(0), a.t(1), a.t(2), a.s(3), Some(a.t(0)))?.into())).method_only();
    }
    let sigs = |n: &str| {
        vec![
            format!("{n}(Tensor input, Tensor end, Scalar weight)"),
            format!("{n}(Tensor input, Tensor end, Tensor weight)"),
        ]
    };
    r.op_named("lerp".into(), sigs("lerp"), |a| Ok(core::lerp(a.t(0), a.t(1), a.arg(2), None)?.into())).out();
    r.op_named("lerp_".into(), sigs("lerp_"), |a| Ok(core::lerp(a.t(0), a.t(1), a.arg(2), Some(a.t(0)))?.into()))
        .method_only();
    logs(r);
    parts(r);
    repairs(r);
}

/// What Python's own compositions are made of.
fn parts(r: &mut Registry) {
    r.op("_filled", &["_filled(Tensor input, Scalar value)"], |a| Ok(core::filled(a.t(0), a.s(1))?.into()))
        .within("_nn");
    r.op("_rounded_distance", &["_rounded_distance(Tensor input, float width, bool divided)"], |a| {
        Ok(core::rounded_distance(a.t(0), a.f(1), a.b(2))?.into())
    })
    .within("_nn");
    r.op("_link_mantissa", &["_link_mantissa(Tensor input, Tensor mantissa)"], |a| {
        core::link_mantissa(a.t(0), a.t(1))?;
        Ok(a.t(1).clone().into())
    })
    .within("_nn");
    r.op("_multi_margin", &["_multi_margin(Tensor input, Tensor target, bool square, float margin)"], |a| {
        Ok(margin::multi_margin(a.t(0), a.t(1), a.b(2), a.f(3))?.into())
    })
    .within("_nn");
    r.op("_cross", &["_cross(Tensor input, Tensor other, int dim)"], |a| {
        Ok(cross::cross(a.t(0), a.t(1), a.i(2))?.into())
    })
    .within("_nn");
}

fn logs(r: &mut Registry) {
    r.op("logit", &["logit(Tensor input, float? eps=None)"], |a| Ok(core::logit(a.t(0), a.opt_f(1), None)?.into()))
        .out();
    r.op("logit_", &["logit_(Tensor input, float? eps=None)"], |a| {
        Ok(core::logit(a.t(0), a.opt_f(1), Some(a.t(0)))?.into())
    });
    for (name, f) in [("xlogy", core::xlogy as Binary), ("xlog1py", core::xlog1py)] {
        let sigs = vec![
            format!("{name}(Tensor input, Tensor other)"),
            format!("{name}(Tensor input, Scalar other)"),
            format!("{name}(Scalar input, Tensor other)"),
        ];
        let op = r.op_named(name.into(), sigs, move |a| Ok(f(a.arg(0), a.arg(1), None)?.into()));
        op.out();
        if name == "xlog1py" {
            op.within("_special");
        }
    }
    for (name, f) in [("entr", core::entr as Unary), ("ndtr", core::ndtr)] {
        let sig = format!("{name}(Tensor input)");
        r.op_named(name.into(), vec![sig], move |a| Ok(f(a.t(0), None)?.into())).within("_special").out();
    }
    r.op("xlogy_", &["xlogy_(Tensor input, Tensor other)", "xlogy_(Tensor input, Scalar other)"], |a| {
        Ok(core::xlogy(a.arg(0), a.arg(1), Some(a.t(0)))?.into())
    });
    r.op(
        "logaddexp",
        &["logaddexp(Tensor input, Tensor other)"],
        |a| Ok(core::logaddexp(a.t(0), a.t(1), None)?.into()),
    )
    .out();
    r.op("logaddexp2", &["logaddexp2(Tensor input, Tensor other)"], |a| {
        Ok(core::logaddexp2(a.t(0), a.t(1), None)?.into())
    })
    .out();
}

fn repairs(r: &mut Registry) {
    r.op("ldexp", &["ldexp(Tensor input, Tensor other)"], |a| Ok(core::ldexp(a.arg(0), a.arg(1), None)?.into())).out();
    r.op("ldexp_", &["ldexp_(Tensor input, Tensor other)"], |a| {
        Ok(core::ldexp(a.arg(0), a.arg(1), Some(a.t(0)))?.into())
    });
    r.op("heaviside", &["heaviside(Tensor input, Tensor values)"], |a| {
        Ok(core::heaviside(a.t(0), a.t(1), None)?.into())
    })
    .out();
    r.op("heaviside_", &["heaviside_(Tensor input, Tensor values)"], |a| {
        Ok(core::heaviside(a.t(0), a.t(1), Some(a.t(0)))?.into())
    })
    .method_only();
    for inplace in [false, true] {
        let name = if inplace { "nan_to_num_" } else { "nan_to_num" };
        let sig = format!("{name}(Tensor input, float? nan=None, float? posinf=None, float? neginf=None)");
        let op = r.op_named(name.into(), vec![sig], move |a| {
            let dest = inplace.then(|| a.t(0));
            Ok(core::nan_to_num(a.t(0), a.opt_f(1), a.opt_f(2), a.opt_f(3), dest)?.into())
        });
        if !inplace {
            op.out();
        }
    }
    let sig = "(Tensor input, Tensor other, float rtol=1e-05, float atol=1e-08, bool equal_nan=False)";
    r.op_named("isclose".into(), vec![format!("isclose{sig}")], |a| {
        Ok(core::isclose(a.t(0), a.t(1), a.f(2), a.f(3), a.b(4))?.into())
    });
    r.op_named("allclose".into(), vec![format!("allclose{sig}")], |a| {
        let close = core::isclose(a.t(0), a.t(1), a.f(2), a.f(3), a.b(4))?;
        let all = rtorch_core::ops::reduce::all(&close, &[], false)?;
        Ok(rtorch_core::ops::convert::item(&all)?.is_true().into())
    });
    r.op("equal", &["equal(Tensor input, Tensor other)"], |a| {
        let (x, y) = (a.t(0), a.t(1));
        if x.shape() != y.shape() {
            return Ok(false.into());
        }
        let same = rtorch_core::ops::binary(rtorch_core::ScalarOp::Eq, x.into(), y.into())?;
        let all = rtorch_core::ops::reduce::all(&same, &[], false)?;
        Ok(rtorch_core::ops::convert::item(&all)?.is_true().into())
    });
    let sigs = [
        "float_power(Tensor input, Tensor exponent)",
        "float_power(Tensor input, Scalar exponent)",
        "float_power(Scalar input, Tensor exponent)",
    ];
    r.op("float_power", &sigs, |a| Ok(core::float_power(a.arg(0), a.arg(1))?.into())).out();
}
