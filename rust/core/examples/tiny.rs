use rtorch_core::{DType, Device, Tensor, ops};
use std::time::Instant;
fn main() {
    let mk = |n: usize| Tensor::from_bytes(&vec![0u8; 4 * n], &[n], DType::F32, Device::Cpu).unwrap();
    let (a, b) = (mk(4), mk(4));
    let time = |name: &str, f: &mut dyn FnMut()| {
        for _ in 0..1000 {
            f();
        }
        let mut best = f64::MAX;
        for _ in 0..7 {
            let t = Instant::now();
            for _ in 0..20000 {
                f();
            }
            best = best.min(t.elapsed().as_secs_f64() / 20000.0 * 1e9);
        }
        println!("{name:20} {best:8.1} ns");
    };
    time("add", &mut || {
        std::hint::black_box(ops::add(&a, &b).unwrap());
    });
    time("empty", &mut || {
        std::hint::black_box(Tensor::empty(&[4], DType::F32, Device::Cpu).unwrap());
    });
    time("operand", &mut || {
        std::hint::black_box(a.operand());
    });
    let m = ops::shape::reshape(&mk(24), &[4, 6]).unwrap();
    time("t", &mut || {
        std::hint::black_box(ops::shape::t(&m).unwrap());
    });
    time("views", &mut || {
        let x = ops::shape::t(&m).unwrap();
        let x = ops::shape::reshape(&x, &[-1]).unwrap();
        let x = ops::shape::slice(&x, 0, Some(2), Some(8), 1).unwrap();
        std::hint::black_box(ops::shape::unsqueeze(&x, 0).unwrap());
    });
    let g = mk(4);
    g.set_requires_grad(true).unwrap();
    time("add grad", &mut || {
        std::hint::black_box(ops::add(&a, &g).unwrap());
    });
    time("mul scalar", &mut || {
        std::hint::black_box(ops::mul_scalar(&a, 2.0).unwrap());
    });
}
