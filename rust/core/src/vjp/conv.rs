//! Convolutions (closed under differentiation) and pooling.

use rtorch_ir::prim::{ConvParams, PoolParams};
use rtorch_ir::{Prim, Result};

use super::{Cotangents, Ctx};
use crate::dispatch::prim1;
use crate::ops::{self, shape};
use crate::tensor::Tensor;

fn grad_input(p: &ConvParams, g: &Tensor, w: &Tensor, input: &[usize]) -> Result<Tensor> {
    let prim = Prim::ConvGradInput { params: p.clone(), input: rtorch_ir::Shape::from_slice(input) };
    prim1("ConvolutionBackward0", prim, &[g, w])
}

fn grad_weight(p: &ConvParams, g: &Tensor, x: &Tensor, weight: &[usize]) -> Result<Tensor> {
    let prim = Prim::ConvGradWeight { params: p.clone(), weight: rtorch_ir::Shape::from_slice(weight) };
    prim1("ConvolutionBackward0", prim, &[g, x])
}

fn forward(p: &ConvParams, x: &Tensor, w: &Tensor) -> Result<Tensor> {
    prim1("ConvolutionBackward0", Prim::Conv { params: p.clone(), bias: false }, &[x, w])
}

pub fn conv(c: &Ctx, p: &ConvParams, bias: bool) -> Result<Cotangents> {
    let g = c.grad(0)?;
    let mut out = vec![
        c.when(0, || grad_input(p, &g, &c.input(1)?, &c.shape(0)))?,
        c.when(1, || grad_weight(p, &g, &c.input(0)?, &c.shape(1)))?,
    ];
    if bias {
        out.push(c.when(2, || {
            let dims: Vec<i64> = (0..g.ndim() as i64).filter(|&d| d != 1).collect();
            ops::reduce::sum(&g, &dims, false, None)
        })?);
    }
    Ok(out)
}

/// Of (g, w) -> dx: a cotangent h has the shape of x.
pub fn conv_grad_input(c: &Ctx, p: &ConvParams) -> Result<Cotangents> {
    let h = c.grad(0)?;
    let dg = |w: &Tensor| -> Result<Tensor> {
        let (mut y, want) = (forward(p, &h, w)?, c.shape(0));
        // an output padding of a stride or more (PyTorch allows it below the dilation) makes room for more windows
        for (d, &n) in want.iter().enumerate() {
            if y.size(d) > n {
                y = shape::slice(&y, d as i64, Some(0), Some(n as i64), 1)?;
            }
        }
        Ok(y)
    };
    Ok(vec![c.when(0, || dg(&c.input(1)?))?, c.when(1, || grad_weight(p, &c.input(0)?, &h, &c.shape(1)))?])
}

/// Of (g, x) -> dw: a cotangent h has the shape of w.
pub fn conv_grad_weight(c: &Ctx, p: &ConvParams) -> Result<Cotangents> {
    let h = c.grad(0)?;
    Ok(vec![c.when(0, || forward(p, &c.input(1)?, &h))?, c.when(1, || grad_input(p, &c.input(0)?, &h, &c.shape(1)))?])
}

pub fn max_pool(c: &Ctx) -> Result<Cotangents> {
    let p = Prim::MaxPoolGrad { input: c.shape(0) };
    Ok(vec![Some(prim1("MaxPoolBackwardBackward0", p, &[&c.grad(0)?, &c.output(1)?])?)])
}

/// Adding g at positions is undone by reading there.
pub fn max_pool_grad(c: &Ctx) -> Result<Cotangents> {
    let h = c.grad(0)?;
    let index = c.input(1)?;
    let (n, full) = (index.ndim(), h.shape());
    let spatial = spatial_dims(&index, &h);
    let lead = rtorch_ir::Shape::from_slice(&full[..n - spatial]);
    let flat = |t: &Tensor| {
        let mut s = lead.clone();
        s.push(t.shape()[n - spatial..].iter().product());
        shape::reshape_to(t, s)
    };
    let axis = lead.len();
    let picked = prim1("GatherBackward0", Prim::Gather { axis }, &[&flat(&h)?, &flat(&index)?])?;
    Ok(vec![Some(shape::reshape_to(&picked, index.shape())?), None])
}

/// Pooling keeps (n, c): all dims after the first two are spatial.
fn spatial_dims(index: &Tensor, _h: &Tensor) -> usize {
    index.ndim() - 2
}

pub fn avg_pool(c: &Ctx, p: &PoolParams) -> Result<Cotangents> {
    let prim = Prim::AvgPoolGrad { params: p.clone(), input: c.shape(0) };
    Ok(vec![Some(prim1("AvgPoolBackwardBackward0", prim, &[&c.grad(0)?])?)])
}

pub fn avg_pool_grad(c: &Ctx, p: &PoolParams) -> Result<Cotangents> {
    Ok(vec![Some(prim1("AvgPoolBackward0", Prim::AvgPool { params: p.clone() }, &[&c.grad(0)?])?)])
}

pub fn adaptive_avg_pool(c: &Ctx) -> Result<Cotangents> {
    let p = Prim::AdaptiveAvgPoolGrad { input: c.shape(0) };
    Ok(vec![Some(prim1("AdaptiveAvgPoolBackwardBackward0", p, &[&c.grad(0)?])?)])
}

pub fn adaptive_avg_pool_grad(c: &Ctx) -> Result<Cotangents> {
    let out = c.shape(0)[2..].iter().copied().collect();
    Ok(vec![Some(prim1("AdaptiveAvgPoolBackward0", Prim::AdaptiveAvgPool { out }, &[&c.grad(0)?])?)])
}
