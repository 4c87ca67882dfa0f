//! Sampling at places, and resizing.

use rtorch_ir::prim::{ResizeParams, SampleParams};
use rtorch_ir::{Prim, Result};

use super::{Cotangents, Ctx, by_composition};
use crate::autograd::backward::{self, Options};
use crate::autograd::record;
use crate::dispatch::{prim, prim1};
use crate::ops;
use crate::ops::nn::sample;
use crate::tensor::Tensor;

pub fn grid_sample(c: &Ctx, p: SampleParams) -> Result<Cotangents> {
    let x = c.input(0)?;
    let name = if x.ndim() == 4 { "GridSampler2DBackwardBackward0" } else { "GridSampler3DBackwardBackward0" };
    let made = prim(name, Prim::GridSampleGrad(p), &[&c.grad(0)?, &x, &c.input(1)?])?;
    Ok(made.into_iter().map(Some).collect())
}

/// (g, x, grid) -> gradients of x and grid, which are differentiated as those of the composition.
pub fn grid_sample_grad(c: &Ctx, p: SampleParams) -> Result<Cotangents> {
    by_composition(
        &[c.input(0)?, c.input(1)?, c.input(2)?],
        |t| {
            let y = sample::sampled(&t[1], &t[2], p)?;
            gradients(&y, &t[0], &[&t[1], &t[2]])
        },
        c.grads,
    )
}

/// Gradients of `y`'s inputs as parts of the graph; zeros where nothing flows.
fn gradients(y: &Tensor, g: &Tensor, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
    let zeros = |t: &Tensor| ops::factory::zeros(&t.shape(), t.dtype(), t.device());
    let edges: Option<Vec<_>> = inputs.iter().map(|t| record::edge(t)).collect();
    let (Some(root), Some(edges)) = (record::edge(y), edges) else {
        return inputs.iter().map(|t| zeros(t)).collect();
    };
    let options = Options { keep_graph: true, create_graph: true, accumulate: false, boundary: false };
    let found = backward::run(&[(root, g.clone())], Some(&edges), &options)?;
    found.into_iter().zip(inputs).map(|(f, t)| f.map_or_else(|| zeros(t), Ok)).collect()
}

pub fn resize(c: &Ctx, params: &ResizeParams) -> Result<Cotangents> {
    let p = Prim::ResizeGrad { params: params.clone(), input: c.shape(0) };
    let name = match (params.out.len(), params.cubic) {
        (1, _) => "UpsampleLinear1DBackwardBackward0",
        (2, false) => "UpsampleBilinear2DBackwardBackward0",
        (2, true) => "UpsampleBicubic2DBackwardBackward0",
        _ => "UpsampleTrilinear3DBackwardBackward0",
    };
    Ok(vec![Some(prim1(name, p, &[&c.grad(0)?])?)])
}

pub fn resize_grad(c: &Ctx, params: &ResizeParams) -> Result<Cotangents> {
    Ok(vec![Some(prim1("", Prim::Resize { params: params.clone() }, &[&c.grad(0)?])?)])
}
