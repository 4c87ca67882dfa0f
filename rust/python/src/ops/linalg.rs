//! Matrix products and triangles. Decompositions stand with their Python front in `rtorch.linalg`.

use rtorch_core::ops::{Arg, binary, linalg};
use rtorch_core::{Result, Scalar, ScalarOp, Tensor};

use crate::registry::Registry;

pub fn register(r: &mut Registry) {
    products(r);
    sums_of_products(r);
    triangles(r);
}

fn products(r: &mut Registry) {
    r.op("matmul", &["matmul(Tensor input, Tensor other)"], |a| Ok(linalg::matmul(a.t(0), a.t(1))?.into())).out();
    r.op("mm", &["mm(Tensor input, Tensor mat2)"], |a| Ok(linalg::mm(a.t(0), a.t(1))?.into())).out();
    r.op("bmm", &["bmm(Tensor input, Tensor mat2)"], |a| Ok(linalg::bmm(a.t(0), a.t(1))?.into())).out();
    r.op("mv", &["mv(Tensor input, Tensor vec)"], |a| Ok(linalg::mv(a.t(0), a.t(1))?.into())).out();
    r.op("dot", &["dot(Tensor input, Tensor tensor)"], |a| Ok(linalg::dot(a.t(0), a.t(1))?.into())).out();
    for name in ["outer", "ger"] {
        let sig = format!("{name}(Tensor input, Tensor vec2)");
        r.op_named(name.into(), vec![sig], |a| {
            rtorch_ir::ensure!(
                a.t(0).ndim() == 1 && a.t(1).ndim() == 1,
                runtime,
                "outer: Expected 1-D argument self and vec2, but got {}-D and {}-D",
                a.t(0).ndim(),
                a.t(1).ndim()
            );
            let column = rtorch_core::ops::shape::unsqueeze(a.t(0), 1)?;
            Ok(binary(ScalarOp::Mul, Arg::T(&column), Arg::T(a.t(1)))?.into())
        })
        .out();
    }
}

/// beta * c + alpha * p, where beta 0 ignores what c holds.
fn combine(c: &Tensor, p: &Tensor, beta: Scalar, alpha: Scalar) -> Result<Tensor> {
    let integral = c.dtype().is_integral() && p.dtype().is_integral();
    // integers are scaled by whole numbers
    let whole = |s: Scalar| if integral { Scalar::Int(s.to_i64()) } else { s };
    let (beta, alpha) = (whole(beta), whole(alpha));
    let p = if alpha == Scalar::Int(1) { p.clone() } else { binary(ScalarOp::Mul, Arg::T(p), Arg::S(alpha))? };
    if !beta.is_true() {
        return Ok(p);
    }
    let c = if beta == Scalar::Int(1) { c.clone() } else { binary(ScalarOp::Mul, Arg::T(c), Arg::S(beta))? };
    rtorch_core::ops::add(&c, &p)
}

fn sums_of_products(r: &mut Registry) {
    for (name, a1, a2, grad) in
        [("addmm", "mat1", "mat2", "AddmmBackward0"), ("baddbmm", "batch1", "batch2", "BaddbmmBackward0")]
    {
        let sig = format!("{name}(Tensor input, Tensor {a1}, Tensor {a2}, *, Scalar beta=1, Scalar alpha=1)");
        r.op_named(name.into(), vec![sig], move |a| {
            let (c, x, y) = (a.t(0), a.t(1), a.t(2));
            let (beta, alpha) = (a.s(3).to_f64(), a.s(4).to_f64());
            let n = if name == "addmm" { 2 } else { 3 };
            rtorch_ir::ensure!(x.ndim() == n, runtime, "{a1} must be a {n}D tensor, got {}-D tensor", x.ndim());
            rtorch_ir::ensure!(y.ndim() == n, runtime, "{a2} must be a {n}D tensor, got {}-D tensor", y.ndim());
            Ok(linalg::addmm(grad, c, x, y, beta, alpha)?.into())
        })
        .out();
        r.inplace();
    }
    let sig = "addmv(Tensor input, Tensor mat, Tensor vec, *, Scalar beta=1, Scalar alpha=1)";
    r.op("addmv", &[sig], |a| Ok(combine(a.t(0), &linalg::mv(a.t(1), a.t(2))?, a.s(3), a.s(4))?.into())).out();
    r.inplace();
    let sig = "addr(Tensor input, Tensor vec1, Tensor vec2, *, Scalar beta=1, Scalar alpha=1)";
    r.op("addr", &[sig], |a| {
        for (name, i) in [("vec1", 1), ("vec2", 2)] {
            let n = a.t(i).ndim();
            rtorch_ir::ensure!(n == 1, runtime, "addr: Expected 1-D argument {name}, but got {n}-D");
        }
        for (name, i) in [("beta", 3), ("alpha", 4)] {
            let fraction = matches!(a.s(i), Scalar::Float(_)) && (0..3).all(|t| a.t(t).dtype().is_integral());
            rtorch_ir::ensure!(
                !fraction,
                runtime,
                "For integral input tensors, argument {name} must not be a floating point number."
            );
        }
        let column = rtorch_core::ops::shape::unsqueeze(a.t(1), 1)?;
        let p = binary(ScalarOp::Mul, Arg::T(&column), Arg::T(a.t(2)))?;
        Ok(combine(a.t(0), &p, a.s(3), a.s(4))?.into())
    })
    .out();
    r.inplace();
    let sig = "addbmm(Tensor input, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1)";
    r.op("addbmm", &[sig], |a| {
        let each = linalg::bmm(a.t(1), a.t(2))?;
        let p = rtorch_core::ops::reduce::sum(&each, &[0], false, Some(each.dtype()))?;
        Ok(combine(a.t(0), &p, a.s(3), a.s(4))?.into())
    })
    .out();
    r.inplace();
}

fn triangles(r: &mut Registry) {
    for (name, lower) in [("tril", true), ("triu", false)] {
        let sig = format!("{name}(Tensor input, int diagonal=0)");
        r.op_named(name.into(), vec![sig], move |a| Ok(linalg::triangle(a.t(0), a.i(1), lower)?.into())).out();
        r.inplace();
    }
}
