//! Deferral (DESIGN section 3): what is recorded, when it runs, and what is written.

mod common;

use common::*;
use rtorch_core::ops::{self, Arg, shape};
use rtorch_core::stats::Mode;
use rtorch_core::{DType, ScalarOp, Tensor, defer};

const N: usize = 1 << 16;
const BYTES: u64 = 4 * N as u64;

fn big() -> Tensor {
    iota(&[N])
}

#[test]
fn a_chain_is_one_kernel_and_temporaries_are_never_written() {
    let _g = alone(Mode::Default);
    let a = big();
    let y = {
        let t = mul(&a, 2.0);
        let t = ops::unary(ScalarOp::Sqrt, &t).unwrap();
        add(&t, &a)
    };
    assert_eq!((kernels(), pending() > 0), (0, true));
    y.force().unwrap();
    assert_eq!((kernels(), written(), read(), pending()), (1, BYTES, BYTES, 0));
    assert_eq!(values(&y)[8], 4.0 + 8.0);
}

#[test]
fn small_cpu_tensors_run_at_once_and_always_defers_everything() {
    let _g = alone(Mode::Default);
    let _y = mul(&iota(&[4]), 2.0);
    assert_eq!(kernels(), 1);
    drop(_g);
    let _g = alone(Mode::Always);
    let y = mul(&iota(&[4]), 2.0);
    assert_eq!(kernels(), 0);
    assert_eq!(values(&y), [0.0, 2.0, 4.0, 6.0]);
    drop(_g);
    let _g = alone(Mode::Eager);
    let _y = mul(&big(), 2.0);
    assert_eq!(kernels(), 1);
}

#[test]
fn nodes_still_held_are_written_in_the_same_pass() {
    let _g = alone(Mode::Default);
    let a = big();
    let b = mul(&a, 2.0);
    let c = add(&b, &a);
    c.force().unwrap();
    assert_eq!((kernels(), written()), (1, 2 * BYTES));
    b.force().unwrap();
    assert_eq!(kernels(), 1);
    assert_eq!((values(&b)[3], values(&c)[3]), (6.0, 9.0));
}

#[test]
fn doubling_sixty_four_times_stays_linear() {
    let _g = alone(Mode::Default);
    let mut x = ops::factory::full(&[N], 1e-10.into(), DType::F32, rtorch_core::Device::Cpu).unwrap();
    x.force().unwrap();
    for _ in 0..64 {
        x = add(&x, &x);
    }
    x.force().unwrap();
    assert!(kernels() <= 4, "{}", kernels());
    let want = (0..64).fold(1e-10f32, |v, _| v + v);
    assert_eq!(values(&x)[N - 1], want);
}

#[test]
fn limits_of_leaves_hold() {
    let _g = alone(Mode::Default);
    let xs: Vec<Tensor> = (0..12).map(|i| mul(&big(), i as f64)).collect();
    for x in &xs {
        x.force().unwrap();
    }
    let mut y = xs[0].clone();
    for x in &xs[1..] {
        y = add(&y, x);
    }
    assert_eq!(values(&y)[1], (0..12).sum::<i32>() as f32);
}

#[test]
fn a_write_to_a_leaf_runs_its_readers_first() {
    for mode in [Mode::Default, Mode::Always] {
        let _g = alone(mode);
        let a = big();
        let y = mul(&a, 2.0);
        ops::add_(&a, &a).unwrap();
        assert_eq!((values(&y)[3], values(&a)[3]), (6.0, 6.0));
        let z = mul(&a, 2.0);
        // through a view: not the whole storage
        let part = shape::slice(&a, 0, Some(0), Some(8), 1).unwrap();
        ops::add_(&part, &part).unwrap();
        assert_eq!((values(&z)[3], values(&a)[3], values(&a)[9]), (12.0, 12.0, 18.0));
        assert_eq!(cow(), 0);
    }
}

#[test]
fn views_of_pending_values_alias() {
    let _g = alone(Mode::Default);
    let y = mul(&iota(&[256, 256]), 2.0);
    let row = shape::select(&y, 0, 1).unwrap();
    ops::add_(&row, &row).unwrap();
    assert_eq!(values(&y)[256], 1024.0);
    assert_eq!(values(&y)[0], 0.0);
}

#[test]
fn a_leaf_much_larger_than_the_result_is_not_kept_alive() {
    let _g = alone(Mode::Default);
    let wide = iota(&[1 << 14, 8]);
    let column = shape::select(&wide, 1, 0).unwrap();
    let y = mul(&column, 2.0);
    assert_eq!((kernels(), pending()), (1, 0));
    assert_eq!(values(&y)[1], 16.0);
}

#[test]
fn a_reduction_takes_the_chain_as_its_prologue() {
    let _g = alone(Mode::Default);
    let (a, b) = (big(), ops::factory::ones(&[N], DType::F32, rtorch_core::Device::Cpu).unwrap());
    b.force().unwrap();
    let before = (kernels(), written());
    let s = ops::reduce::sum(&ops::mul(&a, &b).unwrap(), &[], false, None).unwrap();
    assert_eq!((kernels() - before.0, written() - before.1), (1, 4));
    let eager = {
        rtorch_core::stats::set_mode(Mode::Eager);
        ops::reduce::sum(&ops::mul(&a, &b).unwrap(), &[], false, None).unwrap()
    };
    assert_eq!(s.to_bytes().unwrap(), eager.to_bytes().unwrap());
}

#[test]
fn gradients_of_chains_fuse_and_saves_are_recomputed_when_cheap() {
    let _g = alone(Mode::Default);
    let a = leaf(big());
    let loss = {
        // nobody holds the values in between once the sum runs
        let y = ops::unary(ScalarOp::Tanh, &ops::mul(&mul(&a, 1e-5), &a).unwrap()).unwrap();
        ops::reduce::sum(&y, &[], false, None).unwrap()
    };
    assert_eq!(written(), 4);
    backward(&loss);
    drop(loss);
    a.grad().unwrap().force().unwrap();
    // forward reads a; backward reads a and writes its gradient
    assert!(written() <= BYTES + 64 && read() <= 2 * BYTES + 64, "{} {}", written(), read());
    let x = 100.0f32;
    let y = (x * 1e-5f32 * x).tanh();
    let want = (1.0 - y * y) * 2e-5 * x;
    assert!((values(&a.grad().unwrap())[100] - want).abs() < 1e-6);
}

#[test]
fn an_unheld_leaf_is_donated() {
    let _g = alone(Mode::Default);
    let a = big();
    a.force().unwrap();
    let ptr = a.storage().force().unwrap();
    // the whole storage in place: the old value is held by the new one's node alone
    ops::add_(&a, &a).unwrap();
    assert!(!a.storage().force().unwrap().same(&ptr), "the test holds the buffer, so it must not be reused");
    let ptr = match a.storage().force().unwrap() {
        rtorch_core::storage::Buf::Cpu(b) => b.as_ptr() as usize,
        #[allow(unreachable_patterns)]
        _ => 0,
    };
    ops::add_(&a, &a).unwrap();
    let now = match a.storage().force().unwrap() {
        rtorch_core::storage::Buf::Cpu(b) => b.as_ptr() as usize,
        #[allow(unreachable_patterns)]
        _ => 0,
    };
    assert_eq!(ptr, now);
    assert_eq!(values(&a)[1], 4.0);
}

#[test]
fn all_modes_agree_to_the_bit() {
    let run = |mode| {
        let _g = alone(mode);
        let a = mul(&iota(&[300, 70]), 0.01);
        let b = shape::slice(&shape::t(&iota(&[70, 300])).unwrap(), 1, Some(0), Some(70), 1).unwrap();
        let y = ops::unary(ScalarOp::Sigmoid, &ops::mul(&a, &b).unwrap()).unwrap();
        let z = ops::binary(ScalarOp::Div, Arg::T(&y), Arg::S(3.0.into())).unwrap();
        ops::add_(&y, &z).unwrap();
        let s = ops::reduce::sum(&y, &[1], false, None).unwrap();
        (y.to_bytes().unwrap(), s.to_bytes().unwrap())
    };
    let eager = run(Mode::Eager);
    assert!(eager == run(Mode::Default));
    assert!(eager == run(Mode::Always));
}

#[test]
fn the_threshold_is_the_documented_one() {
    let _g = alone(Mode::Default);
    assert!(!defer::defers(rtorch_core::Device::Cpu, defer::DEFER_MIN_NUMEL - 1));
    assert!(defer::defers(rtorch_core::Device::Cpu, defer::DEFER_MIN_NUMEL));
}

#[test]
fn a_product_takes_the_program_that_follows_as_its_epilogue() {
    use rtorch_core::ops::linalg;
    let relu_like = |x: &Tensor| ops::unary(ScalarOp::Abs, x).unwrap();
    let run = |mode| {
        let _g = alone(mode);
        let (a, b) = (mul(&iota(&[200, 64]), 1e-3), mul(&iota(&[64, 200]), 1e-3));
        a.force().unwrap();
        b.force().unwrap();
        let before = kernels();
        let y = relu_like(&ops::mul_scalar(&linalg::matmul(&a, &b).unwrap(), -2.0).unwrap());
        y.force().unwrap();
        let fused = kernels() - before;
        let (held, z) = {
            let h = linalg::matmul(&a, &b).unwrap();
            let z = mul(&h, 3.0);
            (h, z)
        };
        let sum = add(&z, &held);
        (fused, y.to_bytes().unwrap(), sum.to_bytes().unwrap(), held.to_bytes().unwrap())
    };
    let eager = run(Mode::Eager);
    let fused = run(Mode::Default);
    assert_eq!((eager.0, fused.0), (3, 1));
    assert!(eager.1 == fused.1 && eager.2 == fused.2 && eager.3 == fused.3);
}
