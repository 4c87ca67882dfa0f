//! Fused optimizer steps against their formulas in plain numbers.

mod common;

use common::*;
use rtorch_core::Tensor;
use rtorch_core::optim::{self, Adam, Common, Sgd};
use rtorch_core::stats::Mode;

const P: [f32; 3] = [1.0, -2.0, 0.5];
const G: [f32; 3] = [0.3, -0.1, 2.0];

fn one(v: &[f32]) -> Vec<Tensor> {
    vec![f32s(v, &[v.len()])]
}

fn close(got: &[f32], want: &[f64]) {
    for (a, b) in got.iter().zip(want) {
        assert!((*a as f64 - b).abs() < 1e-6 * (1.0 + b.abs()), "{got:?} for {want:?}");
    }
}

/// What a formula makes of each element over some steps, with two states.
fn expect(steps: usize, f: impl Fn(usize, f64, f64, &mut [f64; 2]) -> f64) -> Vec<f64> {
    (0..3)
        .map(|i| {
            let (mut p, mut s) = (P[i] as f64, [0.0; 2]);
            for t in 1..=steps {
                p = f(t, p, G[i] as f64, &mut s);
            }
            p
        })
        .collect()
}

#[test]
fn sgd_with_momentum_and_decay() {
    let _g = alone(Mode::Default);
    for nesterov in [false, true] {
        let (p, g) = (one(&P), one(&G));
        let mut buffers = vec![None];
        let o = Sgd { lr: 0.1, momentum: 0.9, dampening: 0.0, weight_decay: 0.01, nesterov, maximize: false };
        for _ in 0..3 {
            assert!(optim::sgd_(&p, &g, &mut buffers, &o).unwrap());
        }
        let want = expect(3, |t, p, g, s| {
            let g = g + 0.01 * p;
            s[0] = if t == 1 { g } else { 0.9 * s[0] + g };
            p - 0.1 * if nesterov { g + 0.9 * s[0] } else { s[0] }
        });
        close(&values(&p[0]), &want);
        assert_eq!(values(&g[0]), G);
    }
}

#[test]
fn adam_and_its_variants() {
    let _g = alone(Mode::Default);
    for (amsgrad, decoupled, maximize) in [(false, false, false), (true, true, false), (false, true, true)] {
        let (p, g) = (one(&P), one(&G));
        let (m, v, top) = (one(&[0.0; 3]), one(&[0.0; 3]), one(&[0.0; 3]));
        let step = vec![f32s(&[0.0], &[])];
        let o = Adam { lr: 0.1, beta1: 0.9, beta2: 0.99, weight_decay: 0.1, eps: 1e-8, amsgrad, maximize, decoupled };
        let top = if amsgrad { top } else { Vec::new() };
        for _ in 0..3 {
            assert!(optim::adam_(&p, &g, &m, &v, &top, &step, &o).unwrap());
        }
        // the gradient is constant, so that the second moment never falls
        let want = expect(3, |t, p, g, s| {
            let g = if maximize { -g } else { g };
            let (p, g) = if decoupled { (p * (1.0 - 0.1 * 0.1), g) } else { (p, g + 0.1 * p) };
            s[0] += (g - s[0]) * 0.1;
            s[1] = s[1] * 0.99 + g * g * 0.01;
            let t = t as i32;
            p - 0.1 / (1.0 - 0.9f64.powi(t)) * s[0] / ((s[1] / (1.0 - 0.99f64.powi(t))).sqrt() + 1e-8)
        });
        close(&values(&p[0]), &want);
        assert_eq!(values(&step[0]), [3.0]);
    }
}

#[test]
fn adaptive_steps() {
    let _g = alone(Mode::Default);
    let o = Common { lr: 0.1, weight_decay: 0.0, eps: 1e-3, maximize: false };
    let (p, g, s, step) = (one(&P), one(&G), one(&[0.0; 3]), vec![f32s(&[0.0], &[])]);
    for _ in 0..2 {
        assert!(optim::adagrad_(&p, &g, &s, &step, 0.5, &o).unwrap());
    }
    let want = expect(2, |t, p, g, s| {
        s[0] += g * g;
        p - 0.1 / (1.0 + (t as f64 - 1.0) * 0.5) * g / (s[0].sqrt() + 1e-3)
    });
    close(&values(&p[0]), &want);
    let (p, s, a, step) = (one(&P), one(&[0.0; 3]), one(&[0.0; 3]), vec![f32s(&[0.0], &[])]);
    for _ in 0..2 {
        assert!(optim::adadelta_(&p, &g, &s, &a, &step, 0.9, &o).unwrap());
    }
    let want = expect(2, |_, p, g, s| {
        s[0] = 0.9 * s[0] + 0.1 * g * g;
        let delta = ((s[1] + 1e-3).sqrt() / (s[0] + 1e-3).sqrt()) * g;
        s[1] = 0.9 * s[1] + 0.1 * delta * delta;
        p - 0.1 * delta
    });
    close(&values(&p[0]), &want);
    let (p, s, b, step) = (one(&P), one(&[0.0; 3]), one(&[0.0; 3]), vec![f32s(&[0.0], &[])]);
    for _ in 0..2 {
        assert!(optim::rmsprop_(&p, &g, &s, &[], &b, &step, (0.9, 0.5), &o).unwrap());
    }
    let want = expect(2, |_, p, g, s| {
        s[0] = 0.9 * s[0] + 0.1 * g * g;
        s[1] = 0.5 * s[1] + g / (s[0].sqrt() + 1e-3);
        p - 0.1 * s[1]
    });
    close(&values(&p[0]), &want);
}

#[test]
fn a_step_writes_in_place_and_refuses_what_does_not_fit() {
    let _g = alone(Mode::Default);
    let (p, g) = (one(&P), one(&G));
    let alias = p[0].detach();
    let o = Sgd { lr: 1.0, momentum: 0.0, dampening: 0.0, weight_decay: 0.0, nesterov: false, maximize: false };
    assert!(optim::sgd_(&p, &g, &mut [], &o).unwrap());
    close(&values(&alias), &[0.7, -1.9, -1.5]);
    assert_eq!(cow(), 0);
    assert!(!optim::sgd_(&p, &one(&[1.0]), &mut [], &o).unwrap());
    let p = vec![leaf(p[0].detach())];
    assert!(optim::sgd_(&p, &g, &mut [], &o).is_err());
}
