//! The multi-class margin loss. Its composition copied the scores to take one class out of each sample, and added up
//! two whole gradients; here both are written once, and the one class in place.

use rtorch_ir::prim::ScatterOp;
use rtorch_ir::program::{Ex, ex};
use rtorch_ir::{Prim, Result};

use super::rule::{self, Save};
use crate::autograd::{forward, mode};
use crate::dispatch::prim1;
use crate::inplace;
use crate::ops::pointwise::{Arg, Rule, compose};
use crate::ops::{reduce, shape};
use crate::tensor::Tensor;

/// Which power of the gaps is taken, and what the margin is.
#[derive(Clone, Copy)]
struct Gaps {
    square: bool,
    margin: f64,
}

impl Gaps {
    /// How far each score comes nearer to the target's than the margin.
    fn of(self, a: &[Ex]) -> Ex {
        a[0].lit(self.margin) - a[1] + a[0]
    }
    fn name(self, linear: &'static str, square: &'static str) -> &'static str {
        if self.square { square } else { linear }
    }
}

/// `x` with other values at each row's target: in place where no graph is made.
fn at_target(x: &Tensor, y: &Tensor, values: &Tensor) -> Result<Tensor> {
    let p = Prim::Scatter { axis: 1, op: ScatterOp::Set };
    if mode::is_enabled() || forward::active() {
        return prim1("ScatterBackward0", p, &[x, y, values]);
    }
    inplace::prim("scatter_", x, p, &[x, y, values])?;
    Ok(x.clone())
}

fn zeros(y: &Tensor, like: &Tensor) -> Result<Tensor> {
    crate::ops::factory::zeros(&y.shape(), like.dtype(), like.device())
}

/// x [n, c], the classes y [n, 1] -> the losses [n]: sums of max(0, margin - x_y + x_i) or of their squares over i
/// other than y, divided by c.
pub fn multi_margin(x: &Tensor, y: &Tensor, square: bool, margin: f64) -> Result<Tensor> {
    let (gaps, classes) = (Gaps { square, margin }, x.size(1) as f64);
    let out = {
        let _off = mode::Guard::new(false);
        let x = x.detach();
        let chosen = prim1("", Prim::Gather { axis: 1 }, &[&x, y])?;
        // the margin is a constant of the program
        let args = [Arg::T(&x), Arg::T(&chosen), margin.into()];
        let each = compose(gaps.name("margin_gaps", "margin_squares"), "", Rule::FloatOnly, &args, None, |a| {
            let v = gaps.of(a);
            let v = ex::where_(ex::lt(v, v.lit(0.0)), v.lit(0.0), v);
            if square { v * v } else { v }
        })?;
        let each = at_target(&each, y, &zeros(y, &each)?)?;
        crate::ops::pointwise::binary(
            rtorch_ir::ScalarOp::Div,
            Arg::T(&reduce::sum(&each, &[1], false, None)?),
            classes.into(),
        )?
    };
    rule::record("MultiMarginLossBackward0", &[x], &[&out], &[Save::Input(x), Save::Input(y)], move |b| {
        let (x, y, g) = (b.saved(0)?, b.saved(1)?, shape::unsqueeze(&b.grad(0)?, 1)?);
        let chosen = prim1("GatherBackward0", Prim::Gather { axis: 1 }, &[&x, &y])?;
        let args = [Arg::T(&x), Arg::T(&chosen), Arg::T(&g), margin.into(), (1.0 / classes).into()];
        let name = gaps.name("margin_slopes", "margin_square_slopes");
        let each = compose(name, "MulBackward0", Rule::FloatOnly, &args, None, |a| {
            let v = gaps.of(a);
            let slope = if square { v * 2.0 * a[4] * a[2] } else { a[2] * a[4] };
            ex::where_(ex::gt(v, v.lit(0.0)), slope, v.lit(0.0))
        })?;
        let others = at_target(&each, &y, &zeros(&y, &each)?)?;
        let sum = crate::ops::unary(rtorch_ir::ScalarOp::Neg, &reduce::sum(&others, &[1], true, None)?)?;
        Ok(vec![Some(at_target(&others, &y, &sum)?)])
    })?;
    Ok(out)
}
