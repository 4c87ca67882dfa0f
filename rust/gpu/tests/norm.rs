//! Norms, attention and their gradients against plain loops in f64.

mod common;

use common::{T, close, gpu, noise, run};
use rtorch_ir::oracle::Val;
use rtorch_ir::prim::AttentionParams;
use rtorch_ir::{DType, Prim};

#[test]
fn layer_norm_and_its_gradient() {
    let Some(dev) = gpu() else { return };
    for (rows, n) in [(5, 12), (3, 300), (2, 2000)] {
        let (xv, gv) = (noise(rows * n, 1), noise(rows * n, 2));
        let (wv, bv) = (noise(n, 3), noise(n, 4));
        let (x, g) = (T::floats(&dev, &xv, &[rows, n]), T::floats(&dev, &gv, &[rows, n]));
        let (w, b) = (T::floats(&dev, &wv, &[n]), T::floats(&dev, &bv, &[n]));
        for rms in [false, true] {
            let eps = 1e-5;
            let prim = Prim::LayerNorm { dims: 1, eps, weight: true, bias: true, rms };
            let y = run(&dev, &prim, &[&x, &w, &b]);
            let (mut want, mut dx) = (vec![], vec![]);
            let (mut dw, mut db) = (vec![0.0f32; n], vec![0.0f32; n]);
            for r in 0..rows {
                let v: Vec<f64> = xv[r * n..][..n].iter().map(|&v| v as f64).collect();
                let mean = if rms { 0.0 } else { v.iter().sum::<f64>() / n as f64 };
                let var = v.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
                let rstd = 1.0 / (var + eps).sqrt();
                let xhat: Vec<f64> = v.iter().map(|v| (v - mean) * rstd).collect();
                let h: Vec<f64> = (0..n).map(|j| gv[r * n + j] as f64 * wv[j] as f64).collect();
                let m1 = if rms { 0.0 } else { h.iter().sum::<f64>() / n as f64 };
                let m2 = h.iter().zip(&xhat).map(|(a, b)| a * b).sum::<f64>() / n as f64;
                for j in 0..n {
                    want.push((xhat[j] * wv[j] as f64 + bv[j] as f64) as f32);
                    dx.push((rstd * (h[j] - m1 - xhat[j] * m2)) as f32);
                    dw[j] += gv[r * n + j] * xhat[j] as f32;
                    db[j] += gv[r * n + j];
                }
            }
            close(&y[0].f32s(), &want, 1e-4, "layer_norm");
            let prim = Prim::LayerNormGrad { dims: 1, weight: true, rms };
            let d = run(&dev, &prim, &[&g, &x, &y[1], &y[2], &w]);
            close(&d[0].f32s(), &dx, 2e-4, "layer_norm gradient of x");
            close(&d[1].f32s(), &dw, 2e-4, "layer_norm gradient of weight");
            close(&d[2].f32s(), &db, 2e-4, "layer_norm gradient of bias");
        }
        let h = T::empty(&dev, DType::F16, &[rows, n]);
        dev.copy_elements(&x.arg(), &h.arg()).unwrap();
        let prim = Prim::LayerNorm { dims: 1, eps: 1e-5, weight: false, bias: false, rms: false };
        let (a, b) = (run(&dev, &prim, &[&x]), run(&dev, &prim, &[&h]));
        close(&b[0].f32s(), &a[0].f32s(), 5e-3, "half");
    }
}

#[test]
fn batch_norm_and_its_gradient() {
    let Some(dev) = gpu() else { return };
    for shape in [vec![6, 3, 4, 5], vec![40, 7]] {
        let (n, c) = (shape.iter().product::<usize>(), shape[1]);
        let inner: usize = shape[2..].iter().product();
        let (xv, gv, wv, bv) = (noise(n, 1), noise(n, 2), noise(c, 3), noise(c, 4));
        let (x, g) = (T::floats(&dev, &xv, &shape), T::floats(&dev, &gv, &shape));
        let (w, b) = (T::floats(&dev, &wv, &[c]), T::floats(&dev, &bv, &[c]));
        let eps = 1e-5;
        let y = run(&dev, &Prim::BatchNorm { eps, weight: true, bias: true }, &[&x, &w, &b]);
        let d = run(&dev, &Prim::BatchNormGrad { eps, weight: true }, &[&g, &x, &y[1], &y[2], &w]);
        let channel = |i: usize| i / inner % c;
        let m = (n / c) as f64;
        let mut stats = vec![[0.0f64; 4]; c];
        for i in 0..n {
            stats[channel(i)][0] += xv[i] as f64 / m;
        }
        for i in 0..n {
            let mean = stats[channel(i)][0];
            stats[channel(i)][1] += (xv[i] as f64 - mean).powi(2) / m;
        }
        let xhat = |i: usize, s: &[[f64; 4]]| (xv[i] as f64 - s[channel(i)][0]) / (s[channel(i)][1] + eps).sqrt();
        for i in 0..n {
            let h = xhat(i, &stats);
            stats[channel(i)][2] += gv[i] as f64;
            stats[channel(i)][3] += gv[i] as f64 * h;
        }
        let want: Vec<f32> =
            (0..n).map(|i| (xhat(i, &stats) * wv[channel(i)] as f64 + bv[channel(i)] as f64) as f32).collect();
        close(&y[0].f32s(), &want, 1e-4, "batch_norm");
        close(&y[1].f32s(), &stats.iter().map(|s| s[0] as f32).collect::<Vec<_>>(), 1e-5, "mean");
        close(&y[2].f32s(), &stats.iter().map(|s| s[1] as f32).collect::<Vec<_>>(), 1e-5, "variance");
        let dx: Vec<f32> = (0..n)
            .map(|i| {
                let s = stats[channel(i)];
                let rstd = 1.0 / (s[1] + eps).sqrt();
                (wv[channel(i)] as f64 * rstd * (gv[i] as f64 - s[2] / m - xhat(i, &stats) * s[3] / m)) as f32
            })
            .collect();
        close(&d[0].f32s(), &dx, 2e-4, "batch_norm gradient of x");
        close(&d[1].f32s(), &stats.iter().map(|s| s[3] as f32).collect::<Vec<_>>(), 2e-4, "gradient of weight");
        close(&d[2].f32s(), &stats.iter().map(|s| s[2] as f32).collect::<Vec<_>>(), 2e-4, "gradient of bias");
    }
}

#[test]
fn attention_and_its_gradient() {
    let Some(dev) = gpu() else { return };
    let (b, h, t, s, d) = (2, 3, 9, 11, 8);
    let (qs, ks) = ([b, h, t, d], [b, h, s, d]);
    let (qv, kv, vv, gv) = (noise(432, 1), noise(528, 2), noise(528, 3), noise(432, 4));
    let mv = noise(b * t * s, 5);
    let keep: Vec<Val> = (0..t * s).map(|i| Val::Int(i64::from(i % 3 != 1 || i % s == 0))).collect();
    let (q, k) = (T::floats(&dev, &qv, &qs), T::floats(&dev, &kv, &ks));
    let (v, g) = (T::floats(&dev, &vv, &ks), T::floats(&dev, &gv, &qs));
    let float_mask = T::floats(&dev, &mv, &[b, 1, t, s]);
    let bool_mask = T::new(&dev, &keep, DType::Bool, &[t, s]);
    let scale = 0.3;
    for (causal, mask) in [(false, 0), (true, 0), (false, 1), (false, 2), (true, 2)] {
        let (mut out, mut lse) = (vec![], vec![]);
        let (mut dq, mut dk, mut dv) = (vec![0.0f32; 432], vec![0.0f32; 528], vec![0.0f32; 528]);
        for bh in 0..b * h {
            for i in 0..t {
                let x: Vec<f64> = (0..s)
                    .map(|j| {
                        let dot: f64 =
                            (0..d).map(|l| qv[(bh * t + i) * d + l] as f64 * kv[(bh * s + j) * d + l] as f64).sum();
                        let masked = causal && j > i || mask == 2 && keep[i * s + j] == Val::Int(0);
                        let add = if mask == 1 { mv[(bh / h * t + i) * s + j] as f64 } else { 0.0 };
                        if masked { f64::NEG_INFINITY } else { dot * scale + add }
                    })
                    .collect();
                let top = x.iter().copied().fold(f64::MIN, f64::max);
                let sum: f64 = x.iter().map(|x| (x - top).exp()).sum();
                lse.push((top + sum.ln()) as f32);
                let p: Vec<f64> = x.iter().map(|x| (x - top).exp() / sum).collect();
                let at = |w: &[f32], j: usize, l: usize| w[(bh * s + j) * d + l] as f64;
                let gi = |l: usize| gv[(bh * t + i) * d + l] as f64;
                for l in 0..d {
                    out.push((0..s).map(|j| p[j] * at(&vv, j, l)).sum::<f64>() as f32);
                }
                let dp: Vec<f64> = (0..s).map(|j| (0..d).map(|l| gi(l) * at(&vv, j, l)).sum()).collect();
                let row: f64 = (0..s).map(|j| p[j] * dp[j]).sum();
                for j in 0..s {
                    let ds = p[j] * (dp[j] - row) * scale;
                    for l in 0..d {
                        dq[(bh * t + i) * d + l] += (ds * at(&kv, j, l)) as f32;
                        dk[(bh * s + j) * d + l] += (ds * qv[(bh * t + i) * d + l] as f64) as f32;
                        dv[(bh * s + j) * d + l] += (p[j] * gi(l)) as f32;
                    }
                }
            }
        }
        let params = AttentionParams { causal, scale, mask: mask > 0 };
        let mut ins = vec![&q, &k, &v];
        let which = if mask == 1 { &float_mask } else { &bool_mask };
        if mask > 0 {
            ins.push(which);
        }
        let y = run(&dev, &Prim::Attention(params.clone()), &ins);
        close(&y[0].f32s(), &out, 1e-4, "attention");
        close(&y[1].f32s(), &lse, 1e-4, "logsumexp");
        let mut ins = vec![&g, &q, &k, &v, &y[0], &y[1]];
        if mask > 0 {
            ins.push(which);
        }
        let dy = run(&dev, &Prim::AttentionGrad(params), &ins);
        close(&dy[0].f32s(), &dq, 2e-4, "gradient of q");
        close(&dy[1].f32s(), &dk, 2e-4, "gradient of k");
        close(&dy[2].f32s(), &dv, 2e-4, "gradient of v");
    }
}
