//! Convolution and its gradients against plain loops: one to three dimensions, strides, padding, dilation, groups.

mod tensors;

use rtorch_ir::prim::{ConvParams, window_count};
use rtorch_ir::{DType, Layout, Prim};
use tensors::{Rng, Tensor, call, indices, some_layout};

struct Case {
    x: Vec<usize>,
    w: Vec<usize>,
    y: Vec<usize>,
    params: ConvParams,
}

impl Case {
    fn new(x: &[usize], w: &[usize], stride: &[usize], padding: &[usize], dilation: &[usize], groups: usize) -> Case {
        let mut y = vec![x[0], w[0]];
        for d in 0..stride.len() {
            y.push(window_count(x[2 + d], w[2 + d], stride[d], padding[d], dilation[d]));
        }
        let params = ConvParams { stride: stride.into(), padding: padding.into(), dilation: dilation.into(), groups };
        Case { x: x.to_vec(), w: w.to_vec(), y, params }
    }

    /// Calls f(x index, w index, y index) for every product of the sum.
    fn each(&self, mut f: impl FnMut(&[usize], &[usize], &[usize])) {
        let p = &self.params;
        let (cin, cout) = (self.w[1], self.w[0] / p.groups);
        for y in indices(&self.y) {
            for w in indices(&self.w[1..]) {
                let w: Vec<usize> = [&[y[1]], &w[..]].concat();
                let mut x = vec![y[0], y[1] / cout * cin + w[1]];
                let inside = (0..p.stride.len()).all(|d| {
                    let at = (y[2 + d] * p.stride[d] + w[2 + d] * p.dilation[d]).wrapping_sub(p.padding[d]);
                    x.push(at);
                    at < self.x[2 + d]
                });
                if inside {
                    f(&x, &w, &y);
                }
            }
        }
    }

    fn check(&self, dtype: DType, rng: &mut Rng) {
        let what = format!("x {:?} w {:?} {:?}", self.x, self.w, self.params);
        let x = Tensor::random(some_layout(&self.x, rng), dtype, rng);
        let w = Tensor::random(some_layout(&self.w, rng), dtype, rng);
        let g = Tensor::random(some_layout(&self.y, rng), dtype, rng);
        let bias = Tensor::random(Layout::contiguous(&[self.w[0]]), dtype, rng);
        let flat = |shape: &[usize], index: &[usize]| index.iter().zip(shape).fold(0, |a, (i, s)| a * s + i);
        let mut y = vec![0.0; self.y.iter().product()];
        let mut gx = vec![0.0; self.x.iter().product()];
        let mut gw = vec![0.0; self.w.iter().product()];
        self.each(|ix, iw, iy| {
            y[flat(&self.y, iy)] += x.get(ix) * w.get(iw);
            gx[flat(&self.x, ix)] += g.get(iy) * w.get(iw);
            gw[flat(&self.w, iw)] += g.get(iy) * x.get(ix);
        });
        let params = self.params.clone();
        let conv = Prim::Conv { params: params.clone(), bias: true };
        let have = &call(&conv, &[&x, &w, &bias], &[(&self.y, dtype)])[0];
        have.compare(&format!("conv {what}"), 2e-5, |i| y[flat(&self.y, i)] + bias.get(&[i[1]]));
        let prim = Prim::ConvGradInput { params: params.clone(), input: self.x.as_slice().into() };
        let have = &call(&prim, &[&g, &w], &[(&self.x, dtype)])[0];
        have.compare(&format!("conv_grad_input {what}"), 2e-5, |i| gx[flat(&self.x, i)]);
        let prim = Prim::ConvGradWeight { params, weight: self.w.as_slice().into() };
        let have = &call(&prim, &[&g, &x], &[(&self.w, dtype)])[0];
        have.compare(&format!("conv_grad_weight {what}"), 5e-5, |i| gw[flat(&self.w, i)]);
    }
}

#[test]
fn chosen_cases() {
    let mut rng = Rng(1);
    for (x, w, stride, padding, dilation, groups) in [
        (&[2, 3, 9, 7][..], &[5, 3, 3, 3][..], [1, 1], [1, 1], [1, 1], 1),
        (&[1, 16, 20, 21], &[20, 16, 3, 3], [1, 1], [1, 1], [1, 1], 1),
        (&[2, 9, 13, 40], &[33, 9, 3, 2], [2, 2], [1, 0], [1, 1], 1),
        (&[2, 8, 12, 12], &[10, 8, 1, 1], [1, 1], [0, 0], [1, 1], 1),
        (&[2, 8, 12, 12], &[10, 8, 1, 1], [2, 2], [0, 0], [1, 1], 1),
        (&[1, 4, 17, 19], &[6, 4, 5, 5], [3, 2], [2, 3], [1, 2], 1),
        (&[3, 6, 10, 10], &[6, 1, 3, 3], [1, 1], [1, 1], [1, 1], 6),
        (&[1, 6, 11, 35], &[12, 1, 3, 5], [2, 2], [1, 2], [1, 1], 6),
        (&[2, 8, 9, 9], &[12, 4, 3, 3], [1, 2], [1, 1], [2, 1], 2),
        (&[2, 32, 9, 9], &[30, 16, 3, 3], [1, 1], [1, 1], [1, 1], 2),
        (&[2, 3, 16, 16], &[7, 3, 4, 4], [4, 4], [0, 0], [1, 1], 1),
        (&[1, 2, 3, 3], &[2, 2, 3, 3], [1, 1], [4, 4], [1, 1], 1),
        (&[1, 20, 40, 5], &[64, 20, 3, 3], [1, 1], [1, 1], [1, 1], 1),
        (&[0, 3, 5, 5], &[4, 3, 3, 3], [1, 1], [1, 1], [1, 1], 1),
    ] {
        for dtype in [DType::F32, DType::F64] {
            Case::new(x, w, &stride, &padding, &dilation, groups).check(dtype, &mut rng);
        }
    }
}

/// Planes larger than the tile that a depthwise walk pads at a time, in each dimension.
#[test]
fn depthwise_tiles() {
    let mut rng = Rng(3);
    let one = [1, 1, 1];
    Case::new(&[2, 2, 70, 150], &[4, 1, 3, 5], &[1, 1], &[1, 2], &[1, 1], 2).check(DType::F32, &mut rng);
    Case::new(&[1, 2, 41, 450], &[2, 1, 5, 3], &[1, 2], &[2, 1], &[2, 1], 2).check(DType::F64, &mut rng);
    Case::new(&[1, 3, 2500], &[3, 1, 7], &[1], &[9], &[3], 3).check(DType::F32, &mut rng);
    Case::new(&[1, 2, 2500], &[2, 1, 4], &[3], &[1], &[2], 2).check(DType::F32, &mut rng);
    Case::new(&[1, 2, 9, 31, 40], &[2, 1, 3, 3, 3], &one, &one, &one, 2).check(DType::F32, &mut rng);
}

/// Several blocks along k, bands of rows, parts of a row, images that share a task, tall and wide kernels; strided
/// gradients whose phases are not equally long, in bands and in parts of a row.
#[test]
fn bands_and_blocks() {
    let mut rng = Rng(4);
    let one = [1, 1];
    Case::new(&[1, 61, 33, 40], &[9, 61, 3, 3], &one, &one, &one, 1).check(DType::F32, &mut rng);
    Case::new(&[1, 30, 90, 61], &[3, 30, 3, 3], &[2, 2], &one, &one, 1).check(DType::F32, &mut rng);
    Case::new(&[65, 13, 5, 4], &[5, 13, 3, 3], &one, &one, &one, 1).check(DType::F32, &mut rng);
    Case::new(&[33, 12, 4, 5], &[4, 6, 3, 2], &one, &one, &one, 2).check(DType::F64, &mut rng);
    Case::new(&[40, 3, 11, 9], &[5, 3, 3, 3], &[2, 1], &one, &one, 1).check(DType::F32, &mut rng);
    Case::new(&[1, 3, 40, 12], &[4, 3, 25, 2], &one, &[12, 1], &one, 1).check(DType::F32, &mut rng);
    Case::new(&[1, 2, 9, 90], &[3, 2, 2, 41], &[1, 3], &[0, 20], &one, 1).check(DType::F32, &mut rng);
    Case::new(&[1, 40, 4501], &[3, 40, 5], &[1], &[2], &[1], 1).check(DType::F32, &mut rng);
    Case::new(&[1, 33, 9002], &[2, 33, 4], &[2], &[1], &[1], 1).check(DType::F64, &mut rng);
    Case::new(&[1, 5, 6000], &[3, 5, 7], &[3], &[9], &[2], 1).check(DType::F32, &mut rng);
    Case::new(&[1, 20, 4, 30, 20], &[5, 20, 3, 3, 3], &[1; 3], &[1; 3], &[1; 3], 1).check(DType::F32, &mut rng);
    Case::new(&[1, 4, 7, 12, 13], &[6, 4, 3, 3, 2], &[2, 2, 2], &[1, 1, 0], &[1; 3], 1).check(DType::F32, &mut rng);
}

#[test]
fn one_and_three_dimensions() {
    let mut rng = Rng(2);
    Case::new(&[2, 3, 50], &[4, 3, 5], &[2], &[2], &[3], 1).check(DType::F32, &mut rng);
    Case::new(&[1, 10, 40], &[8, 10, 3], &[1], &[1], &[1], 1).check(DType::F32, &mut rng);
    Case::new(&[2, 3, 5, 6, 7], &[4, 3, 3, 2, 3], &[1, 2, 1], &[1, 0, 1], &[1, 1, 2], 1).check(DType::F32, &mut rng);
    Case::new(&[1, 4, 6, 5, 7], &[8, 1, 3, 3, 3], &[2, 1, 2], &[1, 1, 1], &[1, 1, 1], 4).check(DType::F32, &mut rng);
}

#[test]
fn random_cases() {
    let mut rng = Rng(3);
    for _ in 0..150 {
        let groups = [1, 1, 2, 3, 5][rng.below(5)];
        let (cin, cout) = (1 + rng.below(11), 1 + rng.below(17));
        let kernel: [usize; 2] = std::array::from_fn(|_| 1 + rng.below(4));
        let stride: [usize; 2] = std::array::from_fn(|_| 1 + rng.below(3));
        let dilation: [usize; 2] = std::array::from_fn(|_| 1 + rng.below(2));
        let padding: [usize; 2] = std::array::from_fn(|_| rng.below(3));
        let size: [usize; 2] = std::array::from_fn(|d| dilation[d] * (kernel[d] - 1) + 1 + rng.below(20));
        let x = [1 + rng.below(2), groups * cin, size[0], size[1]];
        let w = [groups * cout, cin, kernel[0], kernel[1]];
        Case::new(&x, &w, &stride, &padding, &dilation, groups).check(DType::F32, &mut rng);
    }
}
