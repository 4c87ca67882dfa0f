//! Fused optimizer steps against their formulas in plain numbers.

mod common;

use common::*;
use rtorch_core::Tensor;
use rtorch_core::optim::{self, Adam, Formula, Sgd};
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

/// What two steps of a formula of the table make of the parameter; `numbers` of step t.
fn stepped(formula: Formula, states: &[f32], numbers: impl Fn(f64) -> Vec<f64>, maximize: bool) -> Vec<f32> {
    let (p, g, step) = (one(&P), one(&G), vec![f32s(&[0.0], &[])]);
    let states: Vec<Tensor> = states.iter().map(|&s| f32s(&[s; 3], &[3])).collect();
    for t in 1..=2 {
        assert!(optim::step_(formula, &p, &g, &states, &step, &numbers(t as f64), maximize).unwrap());
    }
    assert_eq!(values(&step[0]), [2.0]);
    assert_eq!(states.len(), formula.states());
    values(&p[0])
}

#[test]
fn adaptive_steps() {
    let _g = alone(Mode::Default);
    let got = stepped(Formula::Adagrad, &[0.0], |t| vec![0.0, 0.1 / (1.0 + (t - 1.0) * 0.5), 1e-3], false);
    let want = expect(2, |t, p, g, s| {
        s[0] += g * g;
        p - 0.1 / (1.0 + (t as f64 - 1.0) * 0.5) * g / (s[0].sqrt() + 1e-3)
    });
    close(&got, &want);
    let got = stepped(Formula::Adadelta, &[0.0; 2], |_| vec![0.0, 0.1, 0.9, 1e-3, 0.1], false);
    let want = expect(2, |_, p, g, s| {
        s[0] = 0.9 * s[0] + 0.1 * g * g;
        let delta = ((s[1] + 1e-3).sqrt() / (s[0] + 1e-3).sqrt()) * g;
        s[1] = 0.9 * s[1] + 0.1 * delta * delta;
        p - 0.1 * delta
    });
    close(&got, &want);
    let formula = Formula::RmsProp { momentum: true, centered: false };
    let got = stepped(formula, &[0.0; 2], |_| vec![0.0, 0.1, 0.9, 1e-3, 0.1, 0.5], true);
    let want = expect(2, |_, p, g, s| {
        s[0] = 0.9 * s[0] + 0.1 * g * g;
        s[1] = 0.5 * s[1] - g / (s[0].sqrt() + 1e-3);
        p - 0.1 * s[1]
    });
    close(&got, &want);
}

#[test]
fn moments_averages_and_signs() {
    let _g = alone(Mode::Default);
    let got = stepped(Formula::Adamax, &[0.0; 2], |_| vec![0.01, 0.1, 0.1, 0.9, 1e-3], false);
    let want = expect(2, |_, p, g, s| {
        let g = g + 0.01 * p;
        s[0] += (g - s[0]) * 0.1;
        s[1] = (s[1] * 0.9).max(g.abs() + 1e-3);
        p - 0.1 * s[0] / s[1]
    });
    close(&got, &want);
    let got = stepped(Formula::Asgd { first: false }, &[0.0], |_| vec![0.0, 0.1, 0.99, 0.5], false);
    close(&got, &expect(2, |_, p, g, _| p * 0.99 - 0.1 * g));
    let got = stepped(Formula::Rprop, &[0.0, 0.1], |_| vec![0.0, 0.5, 1.2, 1e-6, 50.0], false);
    close(&got, &expect(2, |t, p, g, _| p - g.signum() * if t == 1 { 0.1 } else { 0.12 }));
    let got =
        stepped(Formula::RAdam { adaptive: false }, &[0.0; 2], |_| vec![0.0, 0.1, 0.1, 0.9, 0.1, 1e-8, 1.0], false);
    let want = expect(2, |_, p, g, s| {
        s[0] += (g - s[0]) * 0.1;
        p - 0.1 * s[0]
    });
    close(&got, &want);
    let two = one(&P);
    assert!(!optim::step_(Formula::Rprop, &two, &one(&G), &two, &two, &[0.0], false).unwrap());
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
