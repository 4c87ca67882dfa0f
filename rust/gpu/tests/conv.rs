//! Convolutions, pooling and their gradients against plain loops.

mod common;

use common::{T, close, gpu, indices, noise, run};
use rtorch_ir::prim::{ConvParams, PoolParams, Spatial, window_count};
use rtorch_ir::{DType, Prim, Shape};

struct Case {
    n: usize,
    groups: usize,
    /// Channels per group, in and out.
    c: usize,
    o: usize,
    size: Vec<usize>,
    kernel: Vec<usize>,
    stride: usize,
    padding: usize,
    dilation: usize,
}

impl Case {
    fn params(&self) -> ConvParams {
        let all = |v: usize| Spatial::from_elem(v, self.size.len());
        ConvParams {
            stride: all(self.stride),
            padding: all(self.padding),
            dilation: all(self.dilation),
            groups: self.groups,
        }
    }
    fn out(&self) -> Vec<usize> {
        (0..self.size.len())
            .map(|d| window_count(self.size[d], self.kernel[d], self.stride, self.padding, self.dilation))
            .collect()
    }
    /// Calls f(output element, weight element, input element) for every product of the convolution.
    fn each(&self, mut f: impl FnMut(usize, usize, usize)) {
        let (out, nd) = (self.out(), self.size.len());
        let flat = |at: &[usize], shape: &[usize]| at.iter().zip(shape).fold(0, |p, (a, s)| p * s + a);
        let kk: usize = self.kernel.iter().product();
        for n in 0..self.n {
            for o in 0..self.groups * self.o {
                let g = o / self.o;
                for (pi, p) in indices(&out).iter().enumerate() {
                    for c in 0..self.c {
                        for (ki, k) in indices(&self.kernel).iter().enumerate() {
                            let at: Vec<isize> = (0..nd)
                                .map(|d| (p[d] * self.stride + k[d] * self.dilation) as isize - self.padding as isize)
                                .collect();
                            if at.iter().zip(&self.size).any(|(&a, &s)| a < 0 || a >= s as isize) {
                                continue;
                            }
                            let at: Vec<usize> = at.iter().map(|&a| a as usize).collect();
                            let pixels: usize = self.size.iter().product();
                            let x = (n * self.groups * self.c + g * self.c + c) * pixels + flat(&at, &self.size);
                            let y = (n * self.groups * self.o + o) * out.iter().product::<usize>() + pi;
                            f(y, (o * self.c + c) * kk + ki, x);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn convolutions_and_their_gradients() {
    let Some(dev) = gpu() else { return };
    let case = |n, groups, c, o, size: &[usize], kernel: &[usize], stride, padding, dilation| Case {
        n,
        groups,
        c,
        o,
        size: size.to_vec(),
        kernel: kernel.to_vec(),
        stride,
        padding,
        dilation,
    };
    for k in [
        case(2, 1, 3, 5, &[8, 9], &[3, 3], 1, 1, 1),
        case(3, 1, 2, 4, &[7, 8], &[3, 2], 2, 1, 2),
        case(2, 2, 2, 3, &[6, 6], &[3, 3], 1, 0, 1),
        case(1, 4, 1, 2, &[9], &[4], 3, 2, 1),
        case(2, 1, 2, 3, &[4, 5, 4], &[2, 3, 2], 1, 1, 1),
        case(40, 1, 2, 3, &[8, 8], &[3, 3], 1, 1, 1),
    ] {
        let out = k.out();
        let xs = [&[k.n, k.groups * k.c][..], &k.size].concat();
        let ws = [&[k.groups * k.o, k.c][..], &k.kernel].concat();
        let ys = [&[k.n, k.groups * k.o][..], &out].concat();
        let make = |shape: &[usize], seed| T::floats(&dev, &noise(shape.iter().product(), seed), shape);
        let (x, w, g, bias) = (make(&xs, 1), make(&ws, 2), make(&ys, 3), make(&[k.groups * k.o], 4));
        let (xv, wv, gv, bv) = (x.f32s(), w.f32s(), g.f32s(), bias.f32s());
        let pixels: usize = out.iter().product();
        let mut y: Vec<f32> = (0..gv.len()).map(|i| bv[i / pixels % bv.len()]).collect();
        let (mut dx, mut dw) = (vec![0.0; xv.len()], vec![0.0; wv.len()]);
        k.each(|yi, wi, xi| {
            y[yi] += xv[xi] * wv[wi];
            dx[xi] += gv[yi] * wv[wi];
            dw[wi] += gv[yi] * xv[xi];
        });
        let params = k.params();
        let got = run(&dev, &Prim::Conv { params: params.clone(), bias: true }, &[&x, &w, &bias]);
        close(&got[0].f32s(), &y, 1e-4, "conv");
        let prim = Prim::ConvGradInput { params: params.clone(), input: Shape::from_slice(&xs) };
        close(&run(&dev, &prim, &[&g, &w])[0].f32s(), &dx, 1e-4, "conv gradient of x");
        let prim = Prim::ConvGradWeight { params, weight: Shape::from_slice(&ws) };
        close(&run(&dev, &prim, &[&g, &x])[0].f32s(), &dw, 2e-4, "conv gradient of w");
    }
}

#[test]
fn pooling() {
    let Some(dev) = gpu() else { return };
    let shape = [2, 3, 9, 7];
    let x = T::floats(&dev, &noise(378, 5), &shape);
    let v = x.f32s();
    for (kernel, stride, padding, dilation, include, divisor) in [
        (2, 2, 0, 1, true, None),
        (3, 2, 1, 1, true, None),
        (3, 1, 1, 1, false, None),
        (3, 2, 1, 1, true, Some(5)),
        (2, 1, 0, 3, true, None),
    ] {
        let out: Vec<usize> = [9, 7].iter().map(|&s| window_count(s, kernel, stride, padding, dilation)).collect();
        let two = |v: usize| Spatial::from_slice(&[v, v]);
        let params = PoolParams {
            kernel: two(kernel),
            stride: two(stride),
            padding: two(padding),
            dilation: two(dilation),
            out: Spatial::from_slice(&out),
            count_include_pad: include,
            divisor,
        };
        let os = [2, 3, out[0], out[1]];
        let g = T::floats(&dev, &noise(os.iter().product(), 6), &os);
        let gv = g.f32s();
        let (mut best, mut place, mut mean, mut dx) = (vec![], vec![], vec![], vec![0.0f32; v.len()]);
        for (i, o) in indices(&os).iter().enumerate() {
            let plane = (o[0] * 3 + o[1]) * 63;
            let (mut top, mut at, mut sum, mut inside) = (f32::MIN, 0, 0.0, vec![]);
            for k in indices(&[kernel, kernel]) {
                let p: Vec<isize> =
                    (0..2).map(|d| (o[2 + d] * stride + k[d] * dilation) as isize - padding as isize).collect();
                if p[0] < 0 || p[1] < 0 || p[0] >= 9 || p[1] >= 7 {
                    continue;
                }
                let q = (p[0] * 7 + p[1]) as usize;
                if v[plane + q] > top {
                    (top, at) = (v[plane + q], q as i64);
                }
                sum += v[plane + q];
                inside.push(plane + q);
            }
            let whole: usize = (0..2)
                .map(|d| {
                    let start = (o[2 + d] * stride) as isize - padding as isize;
                    ((start + kernel as isize).min(([9, 7][d] + padding) as isize) - start) as usize
                })
                .product();
            let n = divisor.unwrap_or(if include { whole } else { inside.len() } as i64) as f32;
            for q in &inside {
                dx[*q] += gv[i] / n;
            }
            best.push(top);
            place.push(at);
            mean.push(sum / n);
        }
        let got = run(&dev, &Prim::MaxPool { params: params.clone() }, &[&x]);
        assert_eq!(got[0].f32s(), best);
        assert_eq!(got[1].i64s(), place);
        if dilation == 1 {
            close(&run(&dev, &Prim::AvgPool { params: params.clone() }, &[&x])[0].f32s(), &mean, 1e-5, "mean");
            let prim = Prim::AvgPoolGrad { params, input: Shape::from_slice(&shape) };
            close(&run(&dev, &prim, &[&g])[0].f32s(), &dx, 1e-5, "gradient of mean");
        }
    }
}

#[test]
fn adaptive_pooling() {
    let Some(dev) = gpu() else { return };
    let shape = [2, 3, 9, 7];
    let x = T::floats(&dev, &noise(378, 5), &shape);
    let v = x.f32s();
    let out = [4, 3];
    let os = [2, 3, 4, 3];
    let g = T::floats(&dev, &noise(72, 7), &os);
    let gv = g.f32s();
    let (mut mean, mut best, mut dx) = (vec![], vec![], vec![0.0f32; v.len()]);
    for (i, o) in indices(&os).iter().enumerate() {
        let range = |d: usize, s: usize| o[2 + d] * s / out[d]..((o[2 + d] + 1) * s).div_ceil(out[d]);
        let cells: Vec<usize> =
            range(0, 9).flat_map(|y| range(1, 7).map(move |x| y * 7 + x)).map(|q| (o[0] * 3 + o[1]) * 63 + q).collect();
        mean.push(cells.iter().map(|&q| v[q]).sum::<f32>() / cells.len() as f32);
        best.push(cells.iter().map(|&q| v[q]).fold(f32::MIN, f32::max));
        for &q in &cells {
            dx[q] += gv[i] / cells.len() as f32;
        }
    }
    let sizes = Spatial::from_slice(&out);
    close(&run(&dev, &Prim::AdaptiveAvgPool { out: sizes.clone() }, &[&x])[0].f32s(), &mean, 1e-5, "adaptive mean");
    assert_eq!(run(&dev, &Prim::AdaptiveMaxPool { out: sizes }, &[&x])[0].f32s(), best);
    let prim = Prim::AdaptiveAvgPoolGrad { input: Shape::from_slice(&shape) };
    close(&run(&dev, &prim, &[&g])[0].f32s(), &dx, 1e-5, "gradient of adaptive mean");
    let h = T::empty(&dev, DType::F16, &shape);
    dev.copy_elements(&x.arg(), &h.arg()).unwrap();
    close(&run(&dev, &Prim::AdaptiveAvgPool { out: Spatial::from_slice(&out) }, &[&h])[0].f32s(), &mean, 2e-3, "half");
}
