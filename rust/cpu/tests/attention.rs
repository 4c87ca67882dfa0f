//! Attention and its gradient against plain loops in f64.

mod tensors;

use rtorch_ir::prim::AttentionParams;
use rtorch_ir::{DType, Layout, Prim};
use tensors::{Rng, Tensor, call, indices, some_layout};

struct Case {
    p: AttentionParams,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Option<Tensor>,
}

impl Case {
    /// Sizes: batch, heads, queries, keys, size of q and k, size of v.
    fn new(n: [usize; 6], causal: bool, mask: Option<DType>, dtype: DType, rng: &mut Rng) -> Case {
        let [b, h, t, s, d, dv] = n;
        let mut tensor = |shape: &[usize]| Tensor::random(some_layout(shape, rng), dtype, rng);
        let (q, k, v) = (tensor(&[b, h, t, d]), tensor(&[b, h, s, d]), tensor(&[b, h, s, dv]));
        let mask = mask.map(|dtype| {
            let layout = match rng.below(3) {
                0 => Layout::contiguous(&[t, s]).broadcast_to(&[b, h, t, s]).unwrap(),
                1 => Layout::contiguous(&[b, 1, 1, s]).broadcast_to(&[b, h, t, s]).unwrap(),
                _ => Layout::contiguous(&[b, h, t, s]),
            };
            let mut m = Tensor::with_layout(layout, dtype);
            m.fill(|_| if dtype == DType::Bool { (rng.below(3) != 0) as u8 as f64 } else { rng.value() });
            if rng.below(2) == 0 {
                // a query that sees nothing
                let nothing = if dtype == DType::Bool { 0.0 } else { f64::NEG_INFINITY };
                (0..s).for_each(|j| m.set(&[0, 0, t / 2, j], nothing));
            }
            m
        });
        let p = AttentionParams { causal, scale: 1.0 / (d as f64).sqrt(), mask: mask.is_some() };
        Case { p, q, k, v, mask }
    }

    /// Probabilities of one row, and their logsumexp.
    fn row(&self, at: &[usize]) -> (Vec<f64>, f64) {
        let (s, d) = (self.k.layout.shape[2], self.k.layout.shape[3]);
        let scores: Vec<f64> = (0..s)
            .map(|j| {
                let dot: f64 =
                    (0..d).map(|e| self.q.get(&[at[0], at[1], at[2], e]) * self.k.get(&[at[0], at[1], j, e])).sum();
                let add = self.mask.as_ref().map_or(0.0, |m| {
                    let v = m.get(&[at[0], at[1], at[2], j]);
                    if m.dtype != DType::Bool {
                        v
                    } else if v == 0.0 {
                        f64::NEG_INFINITY
                    } else {
                        0.0
                    }
                });
                if self.p.causal && j > at[2] { f64::NEG_INFINITY } else { dot * self.p.scale + add }
            })
            .collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if max == f64::NEG_INFINITY {
            return (vec![0.0; s], max);
        }
        let sum: f64 = scores.iter().map(|x| (x - max).exp()).sum();
        (scores.iter().map(|x| (x - max).exp() / sum).collect(), max + sum.ln())
    }

    fn check(&self, what: &str, rng: &mut Rng, tolerance: f64) {
        let dtype = self.q.dtype;
        let inner = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let qs = self.q.layout.shape.to_vec();
        let (s, d, dv) = (self.k.layout.shape[2], qs[3], self.v.layout.shape[3]);
        let out = [qs[0], qs[1], qs[2], dv];
        let mut inputs = vec![&self.q, &self.k, &self.v];
        inputs.extend(&self.mask);
        let have = call(&Prim::Attention(self.p.clone()), &inputs, &[(&out, dtype), (&qs[..3], inner)]);
        have[0].compare(&format!("{what} out"), tolerance, |i| {
            let (p, _) = self.row(i);
            (0..s).map(|j| p[j] * self.v.get(&[i[0], i[1], j, i[3]])).sum()
        });
        have[1].compare(&format!("{what} logsumexp"), tolerance, |i| self.row(i).1);

        let g = Tensor::random(some_layout(&out, rng), dtype, rng);
        let (ks, vs) = (self.k.layout.shape.to_vec(), self.v.layout.shape.to_vec());
        let mut inputs = vec![&g, &self.q, &self.k, &self.v, &have[0], &have[1]];
        inputs.extend(&self.mask);
        let prim = Prim::AttentionGrad(self.p.clone());
        let grads = call(&prim, &inputs, &[(&qs, dtype), (&ks, dtype), (&vs, dtype)]);
        let flat = |shape: &[usize], i: &[usize]| i.iter().zip(shape).fold(0, |a, (i, s)| a * s + i);
        let mut want = [&qs, &ks, &vs].map(|s| vec![0.0; s.iter().product()]);
        for i in indices(&qs[..3]) {
            let (p, _) = self.row(&i);
            let value = |j: usize, e: usize| self.v.get(&[i[0], i[1], j, e]);
            let grad = |e: usize| g.get(&[i[0], i[1], i[2], e]);
            let dp: Vec<f64> = (0..s).map(|j| (0..dv).map(|e| grad(e) * value(j, e)).sum()).collect();
            let dot: f64 = (0..s).map(|j| p[j] * dp[j]).sum();
            for j in 0..s {
                let ds = p[j] * (dp[j] - dot) * self.p.scale;
                for e in 0..d {
                    want[0][flat(&qs, &[i[0], i[1], i[2], e])] += ds * self.k.get(&[i[0], i[1], j, e]);
                    want[1][flat(&ks, &[i[0], i[1], j, e])] += ds * self.q.get(&[i[0], i[1], i[2], e]);
                }
                (0..dv).for_each(|e| want[2][flat(&vs, &[i[0], i[1], j, e])] += p[j] * grad(e));
            }
        }
        for (n, shape) in [&qs, &ks, &vs].into_iter().enumerate() {
            let what = format!("{what} gradient {n}");
            grads[n].compare(&what, 4.0 * tolerance, |i| want[n][flat(shape, i)]);
        }
    }
}

#[test]
fn sizes_masks_and_orders() {
    let mut rng = Rng(1);
    let masks = [None, Some(DType::Bool), Some(DType::F32)];
    for round in 0..60 {
        let mut n = [1 + rng.below(2), 1 + rng.below(3), 1 + rng.below(40), 1 + rng.below(40), 0, 0];
        n[4] = [1, 3, 8, 32, 64][rng.below(5)];
        n[5] = [1, 8, 20, 32, 64][rng.below(5)];
        let causal = round % 2 == 0;
        Case::new(n, causal, masks[round % 3], DType::F32, &mut rng).check(&format!("{n:?} {causal}"), &mut rng, 1e-5);
    }
}

#[test]
fn several_blocks() {
    let mut rng = Rng(2);
    for (n, causal) in [
        ([1, 1, 300, 290, 16, 16], true),
        ([1, 2, 130, 300, 32, 8], false),
        ([1, 1, 300, 130, 5, 33], true),
        ([1, 1, 113, 129, 64, 64], false),
    ] {
        Case::new(n, causal, None, DType::F32, &mut rng).check(&format!("{n:?}"), &mut rng, 2e-5);
        Case::new(n, causal, Some(DType::Bool), DType::F64, &mut rng).check(&format!("{n:?}"), &mut rng, 1e-11);
    }
    Case::new([1, 2, 20, 30, 16, 16], true, None, DType::BF16, &mut rng).check("bf16", &mut rng, 2e-2);
    Case::new([1, 2, 20, 30, 16, 16], false, Some(DType::BF16), DType::BF16, &mut rng).check("bf16", &mut rng, 2e-2);
}

#[test]
fn nothing_to_attend_to() {
    let mut rng = Rng(3);
    let case = Case::new([1, 1, 4, 0, 3, 5], false, None, DType::F32, &mut rng);
    let out = call(
        &Prim::Attention(case.p.clone()),
        &[&case.q, &case.k, &case.v],
        &[(&[1, 1, 4, 5], DType::F32), (&[1, 1, 4], DType::F32)],
    );
    out[0].compare("no keys", 0.0, |_| 0.0);
    let case = Case::new([0, 1, 4, 2, 3, 5], false, None, DType::F32, &mut rng);
    case.check("no batch", &mut rng, 0.0);
}
