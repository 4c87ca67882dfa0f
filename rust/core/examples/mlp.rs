//! Trains a small network with the core alone, no Python: is a point inside or outside of a circle?
//!
//!     cargo run --release -p rtorch-core --example mlp

use rtorch_core::autograd::{backward, mode, record};
use rtorch_core::ops::{self, Arg};
use rtorch_core::{DType, Device, Result, ScalarOp, Tensor, inplace};

const POINTS: usize = 512;
const HIDDEN: usize = 32;
const STEPS: usize = 400;
const RATE: f64 = 0.5;

/// Points of a fixed low-discrepancy sequence in [-1, 1]^2 and whether each lies within radius 0.7.
fn data() -> Result<(Tensor, Tensor)> {
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for i in 0..POINTS {
        let at = |step: f64| (2.0 * ((i as f64 + 0.5) * step).fract() - 1.0) as f32;
        let (a, b) = (at(0.754877666), at(0.569840291));
        x.extend(a.to_ne_bytes());
        x.extend(b.to_ne_bytes());
        y.extend(f32::from(a * a + b * b < 0.49).to_ne_bytes());
    }
    let x = Tensor::from_bytes(&x, &[POINTS, 2], DType::F32, Device::Cpu)?;
    Ok((x, Tensor::from_bytes(&y, &[POINTS, 1], DType::F32, Device::Cpu)?))
}

/// A weight of small spread values, as a leaf of the graph.
fn weight(rows: usize, cols: usize, scale: f64) -> Result<Tensor> {
    let mut bytes = Vec::new();
    for i in 0..rows * cols {
        let v = (((i as f64 + 1.0) * 0.618033988).fract() * 2.0 - 1.0) * scale;
        bytes.extend((v as f32).to_ne_bytes());
    }
    let w = Tensor::from_bytes(&bytes, &[rows, cols], DType::F32, Device::Cpu)?;
    w.set_requires_grad(true)?;
    Ok(w)
}

fn forward(x: &Tensor, p: &[Tensor]) -> Result<Tensor> {
    let h = ops::unary(ScalarOp::Tanh, &ops::linalg::linear(x, &p[0], Some(&p[1]))?)?;
    ops::unary(ScalarOp::Sigmoid, &ops::linalg::linear(&h, &p[2], Some(&p[3]))?)
}

fn main() -> Result<()> {
    let (x, y) = data()?;
    let params = [weight(HIDDEN, 2, 1.5)?, weight(1, HIDDEN, 0.5)?, weight(1, HIDDEN, 0.3)?, weight(1, 1, 0.1)?];
    for step in 0..=STEPS {
        let guess = forward(&x, &params)?;
        let error = ops::unary(ScalarOp::Square, &ops::sub(&guess, &y)?)?;
        let loss = ops::reduce::mean(&error, &[], false, None)?;
        if step % 100 == 0 {
            println!("step {step:4}  loss {:.4}", ops::convert::item(&loss.detach())?.to_f64());
        }
        let root = record::edge(&loss).ok_or_else(|| rtorch_core::Error::runtime("the loss has no graph"))?;
        let one = ops::factory::full_like(&loss.detach(), 1.into())?;
        let opts = backward::Options { keep_graph: false, create_graph: false, accumulate: true, boundary: false };
        backward::run(&[(root, one)], None, &opts)?;
        let _no_grad = mode::Guard::new(false);
        for p in &params {
            if let Some(g) = p.grad() {
                let change = ops::binary(ScalarOp::Mul, Arg::T(&g), Arg::S((-RATE).into()))?;
                inplace::copy_(p, &ops::add(p, &change)?)?;
                p.set_grad(None);
            }
        }
    }
    let right = ops::binary(ScalarOp::Gt, Arg::T(&forward(&x, &params)?), Arg::S(0.5.into()))?;
    let same = ops::binary(ScalarOp::Eq, Arg::T(&right), Arg::T(&y))?;
    let rate = ops::reduce::mean(&ops::convert::to_dtype(&same, DType::F32)?, &[], false, None)?;
    println!("accuracy {:.3}", ops::convert::item(&rate)?.to_f64());
    Ok(())
}
