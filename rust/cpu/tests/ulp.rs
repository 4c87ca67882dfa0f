//! The error of f32 functions against f64 libm over the whole range, in units of the last place of the exact value.
//! A sample of bit patterns by default; `cargo test --release -- --ignored` takes every one of them.

use rtorch_cpu::simd::detect::{Capability, set_capability};
use rtorch_cpu::{Arg, map};
use rtorch_ir::{DType, Layout, Program, ScalarOp};

static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn ulps(have: f32, exact: f64) -> f64 {
    if have.is_nan() && exact.is_nan() {
        return 0.0;
    }
    if have.is_infinite() || exact.abs() > f32::MAX as f64 * (1.0 + 2f64.powi(-25)) {
        // beyond the largest float there is only infinity, up to one ulp early
        let overflow = exact.abs() >= f32::MAX as f64 * (1.0 - 2f64.powi(-24));
        return if overflow && have as f64 * exact > 0.0 { 0.0 } else { f64::INFINITY };
    }
    let e = (exact.abs().log2().floor()).max(-126.0);
    let d = (have as f64 - exact).abs() / 2f64.powi(e as i32 - 23);
    if d.is_nan() { f64::INFINITY } else { d }
}

fn worst(op: ScalarOp, columns: &[Vec<f32>], exact: impl Fn(&[f64]) -> f64) -> (f64, Vec<f32>) {
    let n = columns[0].len();
    let mut p = Program::new();
    let args: Vec<u16> = columns.iter().map(|_| p.load(DType::F32)).collect();
    let y = p.op(op, &args);
    p.outputs.push(y);
    let l = Layout::contiguous(&[n]);
    let mut out = vec![0f32; n];
    let leaves: Vec<Arg> =
        columns.iter().map(|c| Arg { ptr: c.as_ptr().cast_mut().cast(), dtype: DType::F32, layout: &l }).collect();
    map(&p, &[n], &leaves, &[Arg { ptr: out.as_mut_ptr().cast(), dtype: DType::F32, layout: &l }]).unwrap();
    let mut worst = (0.0, vec![]);
    for i in 0..n {
        let x: Vec<f64> = columns.iter().map(|c| c[i] as f64).collect();
        let u = ulps(out[i], exact(&x));
        if u > worst.0 {
            worst = (u, columns.iter().map(|c| c[i]).collect());
        }
    }
    worst
}

fn unary() -> Vec<(ScalarOp, f64, fn(f64) -> f64)> {
    use ScalarOp as S;
    vec![
        (S::Exp, 2.0, libm::exp),
        (S::Log, 2.0, libm::log),
        (S::Log1p, 2.0, libm::log1p),
        (S::Expm1, 2.0, libm::expm1),
        (S::Tanh, 2.0, libm::tanh),
        (S::Sigmoid, 2.0, |x| if x >= 0.0 { 1.0 / (1.0 + libm::exp(-x)) } else { libm::exp(x) / (1.0 + libm::exp(x)) }),
        (S::Erf, 2.0, libm::erf),
        (S::Sin, 2.0, libm::sin),
        (S::Cos, 2.0, libm::cos),
        (S::Exp2, 4.0, libm::exp2),
        (S::Log2, 4.0, libm::log2),
        (S::Log10, 4.0, libm::log10),
        (S::Tan, 4.0, libm::tan),
        (S::Asin, 4.0, libm::asin),
        (S::Acos, 4.0, libm::acos),
        (S::Atan, 4.0, libm::atan),
        (S::Sinh, 4.0, libm::sinh),
        (S::Cosh, 4.0, libm::cosh),
        (S::Asinh, 4.0, libm::asinh),
        (S::Atanh, 4.0, libm::atanh),
        (S::Erfc, 4.0, libm::erfc),
    ]
}

fn sweep(step: u32) {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut report = Vec::new();
    for c in Capability::ALL.into_iter().filter(|c| c.available()) {
        assert!(set_capability(c));
        for (op, allowed, exact) in unary() {
            let mut bits = 0u32;
            let mut most = (0.0, vec![]);
            loop {
                let mut x = Vec::with_capacity(1 << 16);
                while x.len() < 1 << 16 {
                    x.push(f32::from_bits(bits));
                    let Some(next) = bits.checked_add(step) else { break };
                    bits = next;
                }
                let w = worst(op, &[x.clone()], |v| exact(v[0]));
                if w.0 > most.0 {
                    most = w;
                }
                if x.len() < 1 << 16 {
                    break;
                }
            }
            report.push(format!("{op:?} {c:?}: {:.3} at {:?}", most.0, most.1));
            assert!(most.0 <= allowed, "{}", report.join("\n"));
        }
        // powers of every size, many of them near 1 where large exponents matter
        let mut s = 1u64;
        let mut next = || {
            s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (s >> 32) as u32
        };
        let n = 400_000;
        let mut a: Vec<f32> = (0..n).map(|_| f32::from_bits(next())).collect();
        let mut b: Vec<f32> = (0..n).map(|_| f32::from_bits(next())).collect();
        for i in 0..n {
            match i % 4 {
                0 => {}
                1 => b[i] = (next() % 4001) as f32 / 100.0 - 20.0,
                2 => {
                    a[i] = 1.0 + (next() % 20001) as f32 * 1e-5 - 0.1;
                    b[i] = (next() % 40001) as f32 / 10.0 - 2000.0;
                }
                _ => {
                    a[i] = (next() % 4001) as f32 / 100.0 - 20.0;
                    b[i] = (next() % 41) as f32 - 20.0;
                }
            }
        }
        let w = worst(ScalarOp::Pow, &[a, b], |v| libm::pow(v[0], v[1]));
        report.push(format!("Pow {c:?}: {:.3} at {:?}", w.0, w.1));
        assert!(w.0 <= 2.0, "{}", report.join("\n"));
    }
    println!("{}", report.join("\n"));
}

/// f64 functions of our own against libm, whose error (about 1 ulp) is in these bounds.
#[test]
fn doubles() {
    use rtorch_ir::oracle::special;
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let cases: [(ScalarOp, fn(f64) -> f64, f64, f64, f64); 10] = [
        (ScalarOp::Exp2, libm::exp2, -1000.0, 1020.0, 2.0),
        (ScalarOp::Log2, libm::log2, 0.0, 4.0, 2.0),
        (ScalarOp::Log2, libm::log2, 0.99, 1.01, 2.0),
        (ScalarOp::Log10, libm::log10, 0.0, 1e3, 2.0),
        (ScalarOp::Log10, libm::log10, 0.9, 1.1, 2.0),
        (ScalarOp::Erf, libm::erf, -6.0, 6.0, 3.0),
        (ScalarOp::Erfc, libm::erfc, -1.0, 1.0, 8.0),
        (ScalarOp::Erfc, libm::erfc, -6.0, 26.0, 8.0),
        (ScalarOp::Erfinv, special::erfinv, -1.0, 1.0, 4.0),
        (ScalarOp::Erfinv, special::erfinv, 0.999_999, 1.0, 4.0),
    ];
    let mut s = 1u64;
    for c in Capability::ALL.into_iter().filter(|c| c.available()) {
        assert!(set_capability(c));
        for (op, exact, from, to, allowed) in cases {
            let n = 50_000;
            let x: Vec<f64> = (0..n)
                .map(|_| {
                    s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    from + (to - from) * ((s >> 11) as f64 / 9007199254740992.0)
                })
                .collect();
            let mut y = vec![0f64; n];
            let mut p = Program::new();
            let leaf = p.load(DType::F64);
            let value = p.op(op, &[leaf]);
            p.outputs.push(value);
            let l = Layout::contiguous(&[n]);
            let arg = |v: &[f64]| Arg { ptr: v.as_ptr().cast_mut().cast(), dtype: DType::F64, layout: &l };
            let out = Arg { ptr: y.as_mut_ptr().cast(), dtype: DType::F64, layout: &l };
            map(&p, &[n], &[arg(&x)], &[out]).unwrap();
            for (&x, &y) in x.iter().zip(&y) {
                let want = exact(x);
                let ulp = want.abs().max(f64::MIN_POSITIVE) * f64::EPSILON * 0.5;
                assert!((y - want).abs() <= 2.0 * allowed * ulp, "{op:?} {c:?} of {x:e}: {y:e}, not {want:e}");
            }
        }
    }
}

#[test]
fn a_sample_of_all_floats() {
    sweep(20_011);
}

#[test]
#[ignore = "minutes: a sixteenth of all floats"]
fn many_floats() {
    sweep(17);
}
