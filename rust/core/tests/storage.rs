//! Values, storages and writes (DESIGN section 2): copy-on-write, addressed and exported memory, views, overlap.

mod common;

use common::*;
use rtorch_core::ops::{self, shape};
use rtorch_core::stats::Mode;
use rtorch_core::{ScalarOp, Tensor, inplace};

const MODES: [Mode; 3] = [Mode::Default, Mode::Eager, Mode::Always];

#[test]
fn a_recurrence_over_rows_copies_nothing() {
    for mode in MODES {
        let _g = alone(mode);
        let x = iota(&[512, 8]);
        for i in 1..512 {
            let before = shape::select(&x, 0, i - 1).unwrap();
            let next = mul(&before, 0.5);
            inplace::copy_(&shape::select(&x, 0, i).unwrap(), &next).unwrap();
        }
        assert_eq!(cow(), 0);
        assert_eq!(values(&x)[8..12], [0.0, 0.5, 1.0, 1.5]);
    }
}

#[test]
fn an_ema_loop_copies_nothing() {
    for mode in MODES {
        let _g = alone(mode);
        let (ema, p) = (iota(&[1 << 15]), iota(&[1 << 15]));
        for _ in 0..5 {
            ops::pointwise::binary_into(ScalarOp::Mul, (&ema).into(), 0.5.into(), Some(&ema)).unwrap();
            let half = mul(&p, 0.5);
            ops::add_(&ema, &half).unwrap();
        }
        assert_eq!(cow(), 0);
        assert_eq!(values(&ema)[7], 7.0);
    }
}

#[test]
fn a_save_for_backward_is_copied_on_write_and_the_gradient_is_right() {
    for mode in MODES {
        let _g = alone(mode);
        let a = leaf(iota(&[4]));
        let b = mul(&a, 3.0);
        let y = ops::mul(&b, &b).unwrap();
        // PyTorch refuses this backward; here the save still sees the old b
        ops::add_(&b, &b).unwrap();
        let loss = ops::reduce::sum(&y, &[], false, None).unwrap();
        backward(&loss);
        assert_eq!(values(&a.grad().unwrap()), [0.0, 18.0, 36.0, 54.0]);
    }
}

#[test]
fn addressed_memory_stays_where_it_is() {
    for mode in MODES {
        let _g = alone(mode);
        let a = leaf(iota(&[4]));
        let b = mul(&a, 1.0);
        let at = b.data_ptr().unwrap();
        let y = ops::mul(&b, &b).unwrap();
        ops::add_(&b, &b).unwrap();
        assert_eq!(b.data_ptr().unwrap(), at);
        assert_eq!(values(&b), [0.0, 2.0, 4.0, 6.0]);
        backward(&ops::reduce::sum(&y, &[], false, None).unwrap());
        assert_eq!(values(&a.grad().unwrap()), [0.0, 2.0, 4.0, 6.0]);
    }
}

#[test]
fn exported_memory_is_written_in_place_and_versions_are_checked() {
    for mode in MODES {
        let _g = alone(mode);
        let a = leaf(iota(&[4]));
        let b = mul(&a, 1.0);
        let (export, memory) = inplace::export(&b).unwrap();
        let y = ops::mul(&b, &b).unwrap();
        ops::add_(&b, &b).unwrap();
        // SAFETY: four floats that the export keeps alive.
        let seen = unsafe { std::slice::from_raw_parts(memory.as_ptr().cast::<f32>(), 4) };
        assert_eq!(seen, [0.0, 2.0, 4.0, 6.0]);
        let edge = rtorch_core::autograd::record::edge(&y).unwrap();
        let opts = rtorch_core::autograd::backward::Options {
            keep_graph: false,
            create_graph: false,
            accumulate: true,
            boundary: false,
        };
        let r = rtorch_core::autograd::backward::run(&[(edge, iota(&[4]))], None, &opts);
        assert!(r.is_err_and(|e| e.message.contains("modified by an inplace operation")));
        drop(export);
        assert!(!b.storage().is_exported());
    }
}

#[test]
fn overlapping_reads_and_writes_behave() {
    for mode in MODES {
        let _g = alone(mode);
        let a = iota(&[2, 2]);
        ops::add_(&a, &shape::t(&a).unwrap()).unwrap();
        assert_eq!(values(&a), [0.0, 3.0, 3.0, 6.0]);
        let b = iota(&[5]);
        let (to, from) =
            (shape::slice(&b, 0, Some(1), None, 1).unwrap(), shape::slice(&b, 0, None, Some(4), 1).unwrap());
        inplace::copy_(&to, &from).unwrap();
        assert_eq!(values(&b), [0.0, 0.0, 1.0, 2.0, 3.0]);
        let wide = shape::expand_to(&iota(&[1]), &[3]).unwrap();
        assert!(ops::add_(&wide, &iota(&[3])).is_err());
    }
}

#[test]
fn a_view_written_rebases_its_base() {
    let _g = alone(Mode::Default);
    let w = leaf(iota(&[3]));
    let x = ops::factory::zeros(&[2, 3], rtorch_core::DType::F32, rtorch_core::Device::Cpu).unwrap();
    let row = shape::select(&x, 0, 1).unwrap();
    let other = shape::select(&x, 0, 1).unwrap();
    inplace::copy_(&row, &mul(&w, 2.0)).unwrap();
    assert!(x.requires_grad() && other.requires_grad());
    assert_eq!(other.grad_fn().unwrap().node.name, "SelectBackward0");
    let scale = iota(&[2, 3]);
    backward(&ops::reduce::sum(&ops::mul(&x, &scale).unwrap(), &[], false, None).unwrap());
    assert_eq!(values(&w.grad().unwrap()), [6.0, 8.0, 10.0]);
}

#[test]
fn a_deep_graph_runs_and_dies_without_recursion() {
    let _g = alone(Mode::Default);
    let a = leaf(iota(&[1]));
    let mut x: Tensor = a.clone();
    for _ in 0..200_000 {
        x = mul(&x, 1.0);
    }
    backward(&ops::reduce::sum(&x, &[], false, None).unwrap());
    assert_eq!(values(&a.grad().unwrap()), [1.0]);
    let mut y: Tensor = a.clone();
    for _ in 0..200_000 {
        y = mul(&y, 1.0);
    }
    drop(y);
}
