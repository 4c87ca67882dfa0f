//! Shared by the core's tests: tensors from numbers and back, and one test at a time (the counters are the process's).

#![allow(dead_code)]

use std::sync::{Mutex, MutexGuard};

use rtorch_core::stats::{self, Event, Mode};
use rtorch_core::{DType, Device, Tensor, ops};

static ONE: Mutex<()> = Mutex::new(());

/// Counters from zero, in a mode, until the guard drops.
pub fn alone(mode: Mode) -> MutexGuard<'static, ()> {
    let g = ONE.lock().unwrap_or_else(|e| e.into_inner());
    stats::set_mode(mode);
    stats::reset();
    g
}

pub fn kernels() -> u64 {
    stats::counted(Event::Kernels)
}
pub fn written() -> u64 {
    stats::counted(Event::BytesWritten)
}
pub fn read() -> u64 {
    stats::counted(Event::BytesRead)
}
pub fn cow() -> u64 {
    stats::counted(Event::CowCopies)
}
pub fn pending() -> usize {
    stats::PENDING.load(std::sync::atomic::Ordering::Relaxed)
}

pub fn f32s(v: &[f32], shape: &[usize]) -> Tensor {
    let bytes: Vec<u8> = v.iter().flat_map(|x| x.to_ne_bytes()).collect();
    Tensor::from_bytes(&bytes, shape, DType::F32, Device::Cpu).unwrap()
}

/// 0, 1, 2 ... as f32.
pub fn iota(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    f32s(&(0..n).map(|i| i as f32).collect::<Vec<_>>(), shape)
}

pub fn values(t: &Tensor) -> Vec<f32> {
    let t = ops::convert::to_dtype(&t.detach(), DType::F32).unwrap();
    t.to_bytes().unwrap().chunks_exact(4).map(|c| f32::from_ne_bytes(c.try_into().unwrap())).collect()
}

pub fn mul(t: &Tensor, s: f64) -> Tensor {
    ops::mul_scalar(t, s).unwrap()
}
pub fn add(a: &Tensor, b: &Tensor) -> Tensor {
    ops::add(a, b).unwrap()
}

/// Backward of a scalar.
pub fn backward(loss: &Tensor) {
    use rtorch_core::autograd::{backward, record};
    let edge = record::edge(loss).expect("a graph");
    let one = ops::factory::full_like(&loss.detach(), 1.into()).unwrap();
    let opts = backward::Options { keep_graph: false, create_graph: false, accumulate: true, boundary: false };
    backward::run(&[(edge, one)], None, &opts).unwrap();
}

pub fn leaf(t: Tensor) -> Tensor {
    t.set_requires_grad(true).unwrap();
    t
}
