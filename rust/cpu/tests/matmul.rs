//! MatMul against plain loops: odd sizes, every path of the blocking, strides, broadcasts, dtypes.

mod tensors;

use rtorch_ir::{DType, Layout, Prim};
use tensors::{Rng, Tensor, call, call_into, some_layout};

const PLAIN: Prim = Prim::MatMul { bias: false, alpha: 1.0, beta: 1.0 };

fn shape_of(batch: &[usize], m: usize, n: usize) -> Vec<usize> {
    [batch, &[m, n]].concat()
}

fn product(a: &Tensor, b: &Tensor, index: &[usize]) -> f64 {
    let n = index.len();
    let (mut ia, mut ib) = (index.to_vec(), index.to_vec());
    (0..a.layout.shape[n - 1])
        .map(|p| {
            ia[n - 1] = p;
            ib[n - 2] = p;
            a.get(&ia) * b.get(&ib)
        })
        .sum()
}

#[test]
fn sizes_and_strides_of_f32_and_f64() {
    let mut rng = Rng(1);
    let sizes = [1, 2, 3, 5, 8, 13, 14, 15, 16, 17, 31, 33, 48, 64, 65, 100];
    for round in 0..400 {
        let dtype = if round % 2 == 0 { DType::F32 } else { DType::F64 };
        let [m, n, k] = std::array::from_fn(|_| sizes[rng.below(sizes.len())]);
        let batch: &[usize] = match rng.below(4) {
            0 => &[3],
            1 => &[2, 2],
            _ => &[],
        };
        let a = Tensor::random(some_layout(&shape_of(batch, m, k), &mut rng), dtype, &mut rng);
        let b = Tensor::random(some_layout(&shape_of(batch, k, n), &mut rng), dtype, &mut rng);
        let shape = shape_of(batch, m, n);
        let c = &call(&PLAIN, &[&a, &b], &[(&shape, dtype)])[0];
        c.compare(&format!("{batch:?} {m}x{k}x{n} {:?} {:?}", a.layout, b.layout), 2e-5, |i| product(&a, &b, i));
    }
}

#[test]
fn blocks_of_large_products() {
    let mut rng = Rng(2);
    for (m, n, k) in [(400, 130, 300), (20, 700, 600), (700, 20, 530), (345, 1100, 270), (3, 1500, 700), (2000, 2, 400)]
    {
        for _ in 0..3 {
            let a = Tensor::random(some_layout(&[m, k], &mut rng), DType::F32, &mut rng);
            let b = Tensor::random(some_layout(&[k, n], &mut rng), DType::F32, &mut rng);
            let c = &call(&PLAIN, &[&a, &b], &[(&[m, n], DType::F32)])[0];
            for _ in 0..2000 {
                let at = [rng.below(m), rng.below(n)];
                let (have, want) = (c.get(&at), product(&a, &b, &at));
                assert!((have - want).abs() < 1e-4 * want.abs().max(1.0), "{m} {k} {n} {at:?} {have} {want}");
            }
        }
    }
}

#[test]
fn empty_sums_are_zero_and_empty_results_are_left_alone() {
    for (m, n, k) in [(3, 4, 0), (0, 4, 2), (3, 0, 2), (0, 0, 0)] {
        let (a, b) = (Tensor::zeros(&[2, m, k], DType::F32), Tensor::zeros(&[2, k, n], DType::F32));
        call(&PLAIN, &[&a, &b], &[(&[2, m, n], DType::F32)])[0].compare("empty", 0.0, |_| 0.0);
    }
}

#[test]
fn results_with_columns_or_gaps() {
    let mut rng = Rng(3);
    for (m, n) in [(40, 33), (1, 9), (9, 1), (200, 3)] {
        for layout in
            [Layout::contiguous(&[n, m]).transpose(0, 1), Layout::contiguous(&[m, n + 7]).slice(1, 4, 4 + n, 1)]
        {
            let a = Tensor::random(some_layout(&[m, 20], &mut rng), DType::F32, &mut rng);
            let b = Tensor::random(some_layout(&[20, n], &mut rng), DType::F32, &mut rng);
            let c = Tensor::with_layout(layout, DType::F32);
            call_into(&PLAIN, &[&a, &b], None, &[&c]);
            c.compare("layout", 1e-5, |i| product(&a, &b, i));
        }
    }
}

#[test]
fn alpha_beta_and_bias() {
    let mut rng = Rng(4);
    let prim = Prim::MatMul { bias: true, alpha: 0.5, beta: -2.0 };
    for (m, n, k) in [(30, 40, 20), (1, 40, 20), (40, 1, 20), (64, 300, 256), (5, 5, 0)] {
        let a = Tensor::random(some_layout(&[m, k], &mut rng), DType::F32, &mut rng);
        let b = Tensor::random(some_layout(&[k, n], &mut rng), DType::F32, &mut rng);
        for bias in [
            Layout::contiguous(&[n]).broadcast_to(&[m, n]).unwrap(),
            Layout::contiguous(&[m, 1]).broadcast_to(&[m, n]).unwrap(),
            Layout::contiguous(&[n, m]).transpose(0, 1),
            Layout::contiguous(&[m, n]),
        ] {
            let bias = Tensor::random(bias, DType::F32, &mut rng);
            let c = &call(&prim, &[&a, &b, &bias], &[(&[m, n], DType::F32)])[0];
            c.compare("addmm", 1e-5, |i| 0.5 * product(&a, &b, i) - 2.0 * bias.get(i));
        }
    }
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let mut rng = Rng(5);
    for (m, n, k) in [(200, 300, 700), (8, 3000, 400), (500, 700, 300), (64, 128, 2000)] {
        let a = Tensor::random(Layout::contiguous(&[m, k]), DType::F32, &mut rng);
        let b = Tensor::random(Layout::contiguous(&[n, k]).transpose(0, 1), DType::F32, &mut rng);
        let mut first: Option<Tensor> = None;
        for threads in [1, 2, 3, 7] {
            rtorch_cpu::threads::set_num_threads(threads);
            let c = call(&PLAIN, &[&a, &b], &[(&[m, n], DType::F32)]).remove(0);
            if let Some(f) = &first {
                assert!(f.bytes == c.bytes, "{m} {n} {k} with {threads} threads");
            }
            first.get_or_insert(c);
        }
    }
}
