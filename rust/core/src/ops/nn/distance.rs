//! Distances of all pairs of rows: a primitive of the CPU. Where the device has none, and for other norms, it is a
//! composition in Python (`rtorch.cdist`, `rtorch.nn.functional.pdist`), which checks the arguments.

use rtorch_ir::prim::Metric;
use rtorch_ir::shape::broadcast;
use rtorch_ir::{Error, Prim, Result, Shape};

use crate::dispatch::prim1;
use crate::ops::shape::{expand_to, reshape_to};
use crate::tensor::Tensor;

/// The metric of a p-norm, as far as it needs no powers.
fn metric(p: f64) -> Result<Metric> {
    match p {
        0.0 => Ok(Metric::Count),
        1.0 => Ok(Metric::Sum),
        2.0 => Ok(Metric::Euclid),
        f64::INFINITY => Ok(Metric::Largest),
        p => Err(Error::runtime(format!("cdist: no primitive of norm {p}"))),
    }
}

/// x1 (..., P, M), x2 (..., R, M) -> (..., P, R), batches broadcast; `upper`: zero where j <= i.
pub fn distance(name: &'static str, x1: &Tensor, x2: &Tensor, p: f64, upper: bool) -> Result<Tensor> {
    let (a, b) = (x1.shape(), x2.shape());
    let (n, k) = (a.len() - 2, b.len() - 2);
    let batch = broadcast(&a[..n], &b[..k])?;
    let flat = |x: &Tensor, tail: &[usize]| {
        let mut full = batch.clone();
        full.extend_from_slice(tail);
        reshape_to(&expand_to(x, &full)?, Shape::from_slice(&[batch.iter().product(), tail[0], tail[1]]))
    };
    let prim = Prim::Distance { metric: metric(p)?, upper };
    let y = prim1(name, prim, &[&flat(x1, &a[n..])?, &flat(x2, &b[k..])?])?;
    let mut s = batch;
    s.extend_from_slice(&[a[n], b[k]]);
    reshape_to(&y, s)
}
