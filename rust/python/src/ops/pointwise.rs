//! Pointwise operators: every row of the table under PyTorch's name, its aliases, and those with arguments of their
//! own.

use rtorch_core::ops::composite;
use rtorch_core::ops::pointwise::{self, binary_into, unary_into};
use rtorch_core::ops::{Arg, binary, unary};
use rtorch_core::{Result, Scalar, ScalarOp, Tensor};
use rtorch_ir::Class;
use rtorch_ir::table::ROWS;

use crate::output::Out;
use crate::parse::Args;
use crate::registry::Registry;

/// PyTorch's second names.
const ALIASES: [(ScalarOp, &str); 16] = [
    (ScalarOp::Abs, "absolute"),
    (ScalarOp::Neg, "negative"),
    (ScalarOp::Acos, "arccos"),
    (ScalarOp::Acosh, "arccosh"),
    (ScalarOp::Asin, "arcsin"),
    (ScalarOp::Asinh, "arcsinh"),
    (ScalarOp::Atan, "arctan"),
    (ScalarOp::Atanh, "arctanh"),
    (ScalarOp::Atan2, "arctan2"),
    (ScalarOp::Trunc, "fix"),
    (ScalarOp::Mul, "multiply"),
    (ScalarOp::Gt, "greater"),
    (ScalarOp::Ge, "greater_equal"),
    (ScalarOp::Lt, "less"),
    (ScalarOp::Le, "less_equal"),
    (ScalarOp::Ne, "not_equal"),
];

/// Rows with more to say than their arguments: entries below, or compositions only.
fn has_own_entry(op: ScalarOp) -> bool {
    matches!(
        op,
        ScalarOp::Add
            | ScalarOp::Sub
            | ScalarOp::Div
            | ScalarOp::TruncDiv
            | ScalarOp::Pow
            | ScalarOp::Round
            | ScalarOp::Where
            | ScalarOp::RandUniform
            | ScalarOp::RandNormal
            | ScalarOp::Trigamma
            | ScalarOp::Gelu
    )
}

pub fn register(r: &mut Registry) {
    for row in ROWS {
        if has_own_entry(row.op) {
            continue;
        }
        let names = ALIASES.iter().filter(|a| a.0 == row.op).map(|a| a.1);
        for name in std::iter::once(row.op.name()).chain(names) {
            match row.arity {
                1 => unary_row(r, name, row.op),
                _ => binary_row(r, name, row.op, row.class),
            }
        }
    }
    arithmetic(r);
    powers(r);
    choices(r);
}

fn unary_row(r: &mut Registry, name: &str, op: ScalarOp) {
    r.op_named(name.into(), vec![format!("{name}(Tensor input)")], move |a| Ok(unary(op, a.t(0))?.into())).out();
    let name = format!("{name}_");
    let sig = format!("{name}(Tensor input)");
    r.op_named(name, vec![sig], move |a| Ok(unary_into(op, a.t(0), Some(a.t(0)))?.into()));
}

/// Does PyTorch take a Python number as the second argument?
fn takes_numbers(op: ScalarOp) -> bool {
    !matches!(
        op,
        ScalarOp::Maximum
            | ScalarOp::Minimum
            | ScalarOp::Fmax
            | ScalarOp::Fmin
            | ScalarOp::Atan2
            | ScalarOp::Hypot
            | ScalarOp::Nextafter
            | ScalarOp::Gcd
            | ScalarOp::LogicalAnd
            | ScalarOp::LogicalOr
            | ScalarOp::LogicalXor
    )
}

fn binary_row(r: &mut Registry, name: &str, op: ScalarOp, class: Class) {
    let mut sigs = vec![format!("{name}(Tensor input, Tensor other)")];
    if takes_numbers(op) {
        sigs.push(format!("{name}(Tensor input, Scalar other)"));
    }
    if class == Class::Int && op != ScalarOp::Gcd || matches!(op, ScalarOp::Remainder | ScalarOp::FloorDiv) {
        sigs.push(format!("{name}(Scalar input, Tensor other)"));
    }
    let own = sigs.iter().filter(|s| s.contains("(Tensor")).map(|s| s.replacen('(', "_(", 1)).collect();
    r.op_named(name.into(), sigs, move |a| Ok(binary(op, a.arg(0), a.arg(1))?.into())).out();
    let name = format!("{name}_");
    r.op_named(name, own, move |a| Ok(binary_into(op, a.arg(0), a.arg(1), Some(a.t(0)))?.into())).method_only();
}

/// x + alpha * y
fn scaled(op: ScalarOp, a: &Args, dest: Option<&Tensor>) -> Result<Out> {
    if a.s(2) == Scalar::Int(1) {
        return Ok(binary_into(op, a.arg(0), a.arg(1), dest)?.into());
    }
    Ok(composite::add_alpha(a.arg(0), a.arg(1), a.s(2), op == ScalarOp::Sub, dest)?.into())
}

/// `div` with its rounding mode.
fn divide(x: Arg, y: Arg, mode: Option<&str>, dest: Option<&Tensor>) -> Result<Out> {
    let op = match mode {
        None => ScalarOp::Div,
        Some("floor") => ScalarOp::FloorDiv,
        Some("trunc") => ScalarOp::TruncDiv,
        Some(m) => {
            return Err(rtorch_core::Error::runtime(format!(
                "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{m}'"
            )));
        }
    };
    Ok(binary_into(op, x, y, dest)?.into())
}

fn arithmetic(r: &mut Registry) {
    for (name, op) in [("add", ScalarOp::Add), ("sub", ScalarOp::Sub), ("subtract", ScalarOp::Sub)] {
        let sigs = |n: &str| {
            vec![
                format!("{n}(Tensor input, Tensor other, *, Scalar alpha=1)"),
                format!("{n}(Tensor input, Scalar other, Scalar alpha=1)"),
            ]
        };
        r.op_named(name.into(), sigs(name), move |a| scaled(op, a, None)).out();
        let name = format!("{name}_");
        let s = sigs(&name);
        r.op_named(name, s, move |a| scaled(op, a, Some(a.t(0)))).method_only();
    }
    let rsub =
        ["rsub(Tensor input, Tensor other, *, Scalar alpha=1)", "rsub(Tensor input, Scalar other, Scalar alpha=1)"];
    r.op("rsub", &rsub, |a| {
        if a.s(2) == Scalar::Int(1) {
            return Ok(binary(ScalarOp::Sub, a.arg(1), a.arg(0))?.into());
        }
        let m = binary(ScalarOp::Mul, a.arg(0), Arg::S(a.s(2)))?;
        Ok(binary(ScalarOp::Sub, a.arg(1), Arg::T(&m))?.into())
    })
    .function_only();
    for name in ["div", "divide"] {
        let sigs = |n: &str| {
            vec![
                format!("{n}(Tensor input, Tensor other, *, str? rounding_mode=None)"),
                format!("{n}(Tensor input, Scalar other, *, str? rounding_mode=None)"),
            ]
        };
        r.op_named(name.into(), sigs(name), |a| divide(a.arg(0), a.arg(1), a.opt_str(2), None)).out();
        let name = format!("{name}_");
        let s = sigs(&name);
        r.op_named(name, s, |a| divide(a.arg(0), a.arg(1), a.opt_str(2), Some(a.t(0)))).method_only();
    }
    let sigs = ["true_divide(Tensor input, Tensor other)", "true_divide(Tensor input, Scalar other)"];
    r.op("true_divide", &sigs, |a| divide(a.arg(0), a.arg(1), None, None)).out();
    let sigs = ["true_divide_(Tensor input, Tensor other)", "true_divide_(Tensor input, Scalar other)"];
    r.op("true_divide_", &sigs, |a| divide(a.arg(0), a.arg(1), None, Some(a.t(0)))).method_only();
    r.op("positive", &["positive(Tensor input)"], |a| {
        rtorch_ir::ensure!(
            a.t(0).dtype() != rtorch_core::DType::Bool,
            runtime,
            "The `+` operator, on a bool tensor is not supported."
        );
        Ok(a.t(0).clone().into())
    });
}

/// Squares, roots and reciprocals by name: as PyTorch, exactly, and cheaper than `pow`.
fn power(x: Arg, e: Arg, dest: Option<&Tensor>) -> Result<Out> {
    if let (Arg::T(t), Arg::S(s)) = (x, e)
        && t.dtype().is_differentiable()
    {
        let op = match s.to_f64() {
            2.0 => Some(ScalarOp::Square),
            0.5 => Some(ScalarOp::Sqrt),
            -1.0 => Some(ScalarOp::Reciprocal),
            -0.5 => Some(ScalarOp::Rsqrt),
            _ => None,
        };
        if let Some(op) = op
            && !matches!(s, Scalar::Complex(..))
        {
            let body = |e: &[rtorch_ir::Ex]| rtorch_ir::Ex::apply(op, &[e[0]]);
            let name = match op {
                ScalarOp::Square => "pow_square",
                ScalarOp::Sqrt => "pow_sqrt",
                ScalarOp::Reciprocal => "pow_reciprocal",
                _ => "pow_rsqrt",
            };
            return Ok(pointwise::compose(name, "PowBackward0", pointwise::Rule::Same, &[x], dest, body)?.into());
        }
    }
    Ok(binary_into(ScalarOp::Pow, x, e, dest)?.into())
}

fn powers(r: &mut Registry) {
    let sigs = [
        "pow(Tensor input, Tensor exponent)",
        "pow(Tensor input, Scalar exponent)",
        "pow(Scalar input, Tensor exponent)",
    ];
    r.op("pow", &sigs, |a| power(a.arg(0), a.arg(1), None)).out();
    let sigs = ["pow_(Tensor input, Tensor exponent)", "pow_(Tensor input, Scalar exponent)"];
    r.op("pow_", &sigs, |a| power(a.arg(0), a.arg(1), Some(a.t(0)))).method_only();
    let decimals = |a: &crate::parse::Args| if a.overload == 0 { 0 } else { a.i(1) };
    let sigs = ["round(Tensor input)", "round(Tensor input, *, int decimals)"];
    r.op("round", &sigs, move |a| round(a.t(0), decimals(a), None)).out();
    let sigs = ["round_(Tensor input)", "round_(Tensor input, *, int decimals)"];
    r.op("round_", &sigs, move |a| round(a.t(0), decimals(a), Some(a.t(0))));
}

fn round(x: &Tensor, decimals: i64, dest: Option<&Tensor>) -> Result<Out> {
    if decimals == 0 {
        return Ok(unary_into(ScalarOp::Round, x, dest)?.into());
    }
    Ok(composite::round_decimals(x, decimals, dest)?.into())
}

fn clamp(x: &Tensor, lo: Option<Arg>, hi: Option<Arg>, alone: bool, dest: Option<&Tensor>) -> Result<Out> {
    let args: Vec<Arg> = std::iter::once(Arg::T(x)).chain(lo).chain(hi).collect();
    let common = rtorch_core::ops::pointwise::result_type(&args)?;
    // a tensor as the one bound: PyTorch's maximum or minimum, which know bool
    if let (rtorch_core::DType::Bool, &[x, bound @ Arg::T(_)]) = (common, args.as_slice()) {
        let op = if lo.is_some() { ScalarOp::Maximum } else { ScalarOp::Minimum };
        return Ok(rtorch_core::ops::pointwise::binary_into(op, x, bound, dest)?.into());
    }
    if common == rtorch_core::DType::Bool || common.is_complex() {
        return Err(pointwise::not_implemented("clamp", x.dtype()));
    }
    Ok(composite::clamp(x, lo, hi, alone, dest)?.into())
}

fn choices(r: &mut Registry) {
    for name in ["clamp", "clip"] {
        let sigs = |n: &str| {
            vec![
                format!("{n}(Tensor input, Scalar? min=None, Scalar? max=None)"),
                format!("{n}(Tensor input, Tensor? min=None, Tensor? max=None)"),
            ]
        };
        r.op_named(name.into(), sigs(name), |a| clamp(a.t(0), a.opt_arg(1), a.opt_arg(2), false, None)).out();
        let name = format!("{name}_");
        let s = sigs(&name);
        r.op_named(name, s, |a| clamp(a.t(0), a.opt_arg(1), a.opt_arg(2), false, Some(a.t(0))));
    }
    for (name, low) in [("clamp_min", true), ("clamp_max", false)] {
        let arg = if low { "min" } else { "max" };
        let sigs =
            |n: &str| vec![format!("{n}(Tensor input, Scalar {arg})"), format!("{n}(Tensor input, Tensor {arg})")];
        let go = move |a: &Args, dest: Option<&Tensor>| {
            let b = Some(a.arg(1));
            if low { clamp(a.t(0), b, None, true, dest) } else { clamp(a.t(0), None, b, true, dest) }
        };
        r.op_named(name.into(), sigs(name), move |a| go(a, None)).out();
        let name = format!("{name}_");
        let s = sigs(&name);
        r.op_named(name, s, move |a| go(a, Some(a.t(0))));
    }
    let sigs = [
        "where(Tensor condition, Tensor input, Tensor other)",
        "where(Tensor condition, Scalar input, Tensor other)",
        "where(Tensor condition, Tensor input, Scalar other)",
        "where(Tensor condition, Scalar input, Scalar other)",
        "where(Tensor condition)",
    ];
    r.op("where", &sigs, |a| {
        if a.overload == 4 {
            let found = rtorch_core::ops::index::nonzero(a.t(0))?;
            return Ok(rtorch_core::ops::shape::unbind(&found, 1)?.into());
        }
        Ok(pointwise::where_(a.t(0), a.arg(1), a.arg(2))?.into())
    })
    .function_only()
    .out();
    let sigs =
        ["where(Tensor input, Tensor condition, Tensor other)", "where(Tensor input, Tensor condition, Scalar other)"];
    r.op("where", &sigs, |a| Ok(pointwise::where_(a.t(1), a.arg(0), a.arg(2))?.into())).method_only();
    let sigs = [
        "masked_fill(Tensor input, Tensor mask, Scalar value)",
        "masked_fill(Tensor input, Tensor mask, Tensor value)",
    ];
    let zero_d = |a: &Args| -> Result<()> {
        match a.opt_t(2) {
            Some(v) if v.ndim() > 0 => Err(rtorch_core::Error::runtime(format!(
                "masked_fill only supports a 0-dimensional value tensor, but got tensor with {} dimension(s).",
                v.ndim()
            ))),
            Some(_) | None => Ok(()),
        }
    };
    r.op("masked_fill", &sigs, move |a| {
        zero_d(a)?;
        Ok(pointwise::masked_fill(a.t(0), a.t(1), a.arg(2), None)?.into())
    });
    let sigs = [
        "masked_fill_(Tensor input, Tensor mask, Scalar value)",
        "masked_fill_(Tensor input, Tensor mask, Tensor value)",
    ];
    r.op("masked_fill_", &sigs, move |a| {
        zero_d(a)?;
        Ok(pointwise::masked_fill(a.t(0), a.t(1), a.arg(2), Some(a.t(0)))?.into())
    })
    .method_only();
}
