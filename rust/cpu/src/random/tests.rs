//! Draws against values recorded from PyTorch (`tests/data/random.txt`), and windows with gaps.

use rtorch_ir::Layout;

use super::*;

/// Rounding of transcendental functions and of half-precision stores.
fn close(got: f64, want: f64, dtype: DType) -> bool {
    let rel = match dtype {
        DType::F64 => 1e-13,
        DType::F32 => 2e-6,
        DType::F16 => 2e-3,
        _ => 2e-2,
    };
    got == want || (got - want).abs() <= rel * want.abs() + if dtype == DType::F64 { 1e-15 } else { 1e-6 }
}

fn dtype_of(name: &str) -> DType {
    let long = match name {
        "u8" => "uint8",
        "i8" => "int8",
        "i16" => "int16",
        "i32" => "int32",
        "i64" => "int64",
        "f16" => "float16",
        "bf16" => "bfloat16",
        "f32" => "float32",
        "f64" => "float64",
        other => other,
    };
    DType::from_name(long).unwrap()
}

fn values(out: Arg) -> Vec<f64> {
    typed!(out.dtype, "test", T => Ok(items::<T>(out))).unwrap()
}

trait AsF64 {
    fn to_f64(self) -> f64;
}
macro_rules! to_f64 {
    ($($t:ty),*) => {$(impl AsF64 for $t { fn to_f64(self) -> f64 { self as f64 } })*};
}
to_f64!(u8, i8, i16, i32, i64, f32, f64);
impl AsF64 for fill::Bool {
    fn to_f64(self) -> f64 {
        self.0 as f64
    }
}
impl AsF64 for f16 {
    fn to_f64(self) -> f64 {
        self.to_f64()
    }
}
impl AsF64 for bf16 {
    fn to_f64(self) -> f64 {
        self.to_f64()
    }
}

fn items<T: AsF64 + Copy>(out: Arg) -> Vec<f64> {
    let mut index: SmallVec<[usize; 5]> = SmallVec::from_elem(0, out.layout.ndim());
    (0..out.layout.numel())
        .map(|_| {
            // SAFETY: an element of the window.
            let v = unsafe { out.ptr.cast::<T>().add(out.layout.at(&index)).read() };
            step(&mut index, &out.layout.shape);
            v.to_f64()
        })
        .collect()
}

/// Stores 0..n through `f` in a buffer of a float dtype.
fn probabilities(dtype: DType, n: usize, f: impl Fn(usize) -> f64) -> Vec<u64> {
    let mut buf = vec![0u64; n * 2];
    let layout = Layout::contiguous(&[n]);
    let arg = Arg { ptr: buf.as_mut_ptr().cast(), dtype, layout: &layout };
    typed_float!(dtype, "test", T => {
        with_slice::<T>(arg, |s| s.iter_mut().enumerate().for_each(|(i, o)| *o = fill::Item::from_f64(f(i))));
        Ok(())
    })
    .unwrap();
    buf
}

fn draw(rng: &mut Mt19937, op: &str, dtype: DType, n: usize, args: &[f64]) -> (Vec<f64>, DType) {
    let mut buf = vec![0u64; n * 2];
    let layout = Layout::contiguous(&[n]);
    let mut out = Arg { ptr: buf.as_mut_ptr().cast(), dtype, layout: &layout };
    let dist = match op {
        "uniform" => Distribution::Uniform { from: args[0], to: args[1] },
        "normal" => Distribution::Normal { mean: args[0], std: args[1] },
        "log_normal" => Distribution::LogNormal { mean: args[0], std: args[1] },
        "exponential" => Distribution::Exponential { lambda: args[0] },
        "cauchy" => Distribution::Cauchy { median: args[0], sigma: args[1] },
        "geometric" => Distribution::Geometric { p: args[0] },
        "bernoulli" => Distribution::Bernoulli { p: args[0] },
        "random" => Distribution::Random,
        "range" => Distribution::Range { range: (args[1] - args[0]) as u64, base: args[0] as i64 },
        "bits64" => Distribution::Bits64,
        "randperm" => {
            randperm(rng, out).unwrap();
            return (values(out), dtype);
        }
        "bernoulli_each" => {
            let mut p = probabilities(dtype, n, |i| i as f64 / n as f64);
            bernoulli(rng, Arg { ptr: p.as_mut_ptr().cast(), dtype, layout: &layout }, out).unwrap();
            return (values(out), dtype);
        }
        "multinomial" => {
            let mut p = probabilities(dtype, 10, |i| i as f64 + 1.0);
            let (rows, draws) = (Layout::contiguous(&[2, 5]), Layout::contiguous(&[2, 6]));
            out = Arg { ptr: out.ptr, dtype: DType::I64, layout: &draws };
            multinomial(rng, Arg { ptr: p.as_mut_ptr().cast(), dtype, layout: &rows }, out).unwrap();
            return (values(out), DType::I64);
        }
        other => panic!("{other}"),
    };
    fill(rng, &dist, out).unwrap();
    (values(out), dtype)
}

#[test]
fn draws_are_pytorchs() {
    let text = include_str!("../../tests/data/random.txt");
    let mut cases = 0;
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let (call, rest) = line.split_once(" : ").unwrap();
        let (want, next) = rest.split_once(" | ").unwrap();
        let words: Vec<&str> = call.split_whitespace().collect();
        let (op, dtype, n) = (words[1], dtype_of(words[2]), words[3].parse::<usize>().unwrap());
        let args: Vec<f64> = words[4..].iter().map(|w| w.parse().unwrap()).collect();
        let mut rng = Mt19937::new(words[0].parse().unwrap());
        let (got, dtype) = draw(&mut rng, op, dtype, n, &args);
        let want: Vec<f64> = want.split_whitespace().map(|w| w.parse().unwrap()).collect();
        let head = want.len().min(24);
        let got: Vec<f64> = got[..head].iter().chain(&got[got.len() - (want.len() - head)..]).copied().collect();
        for (i, (&g, &w)) in got.iter().zip(&want).enumerate() {
            assert!(close(g, w, dtype), "{call}: value {i} is {g}, PyTorch's is {w}");
        }
        assert_eq!(fill::unit32(rng.random()) as f64, next.parse::<f64>().unwrap(), "{call}: the draw after it");
        cases += 1;
    }
    assert!(cases > 90, "{cases}");
}

#[test]
fn state_bytes_are_pytorchs() {
    let bytes = include_bytes!("../../tests/data/rng_state.bin");
    let mut rng = Mt19937::new(11);
    rng.fill_u32(&mut [0; 700]);
    draw(&mut rng, "normal", DType::F32, 3, &[0.0, 1.0]);
    assert_eq!(rng.get_state(), bytes);
    let mut other = Mt19937::new(0);
    other.set_state(bytes).unwrap();
    assert_eq!(other.get_state(), bytes);
    let (a, b) = (
        draw(&mut rng, "normal", DType::F32, 40, &[0.0, 1.0]),
        draw(&mut other, "normal", DType::F32, 40, &[0.0, 1.0]),
    );
    assert_eq!(a, b);
    assert!(other.set_state(&bytes[1..]).is_err());
    let fresh = Mt19937::new(5);
    other.set_state(&fresh.get_state()).unwrap();
    assert_eq!(other.get_state(), fresh.get_state());
}

#[test]
fn windows_are_filled_in_memory_order() {
    let draws = draw(&mut Mt19937::new(3), "uniform", DType::F32, 12, &[0.0, 1.0]).0;
    let mut buf = [0f32; 64];
    let whole = Layout::contiguous(&[3, 4]).transpose(0, 1);
    let dist = Distribution::Uniform { from: 0.0, to: 1.0 };
    let out = Arg { ptr: buf.as_mut_ptr().cast(), dtype: DType::F32, layout: &whole };
    fill(&mut Mt19937::new(3), &dist, out).unwrap();
    assert!((0..12).all(|i| buf[i] as f64 == draws[i]));
    let gaps = Layout::contiguous(&[3, 8]).slice(1, 1, 8, 2).transpose(0, 1);
    let out = Arg { ptr: buf.as_mut_ptr().cast(), dtype: DType::F32, layout: &gaps };
    fill(&mut Mt19937::new(3), &dist, out).unwrap();
    assert!((0..12).all(|i| buf[i / 4 * 8 + 1 + i % 4 * 2] as f64 == draws[i]));
    // a normal fill with gaps takes the scalar draws
    let gaps = Layout::contiguous(&[20, 2]).slice(1, 0, 1, 1);
    let out = Arg { ptr: buf.as_mut_ptr().cast(), dtype: DType::F32, layout: &gaps };
    fill(&mut Mt19937::new(0), &Distribution::Normal { mean: 0.0, std: 1.0 }, out).unwrap();
    let scalar = draw(&mut Mt19937::new(0), "normal", DType::F32, 5, &[0.0, 1.0]).0;
    assert!((0..5).all(|i| buf[2 * i] as f64 == scalar[i]));
}

#[test]
fn bad_parameters_are_refused() {
    let mut rng = Mt19937::new(0);
    let mut buf = [0f32; 4];
    let layout = Layout::contiguous(&[4]);
    let ptr = buf.as_mut_ptr().cast();
    let out = Arg { ptr, dtype: DType::F32, layout: &layout };
    for dist in [
        Distribution::Uniform { from: 2.0, to: 1.0 },
        Distribution::Uniform { from: 0.0, to: 1e39 },
        Distribution::Normal { mean: 0.0, std: -1.0 },
        Distribution::Exponential { lambda: 0.0 },
        Distribution::Geometric { p: 1.0 },
        Distribution::Bernoulli { p: 1.5 },
    ] {
        assert!(fill(&mut rng, &dist, out).is_err(), "{dist:?}");
    }
    let ints = Arg { ptr, dtype: DType::I32, layout: &layout };
    assert!(fill(&mut rng, &Distribution::Normal { mean: 0.0, std: 1.0 }, ints).is_err());
    assert_eq!(fill::cpp_number(1e-5), "1e-05");
    assert_eq!(fill::cpp_number(2.0), "2");
    assert_eq!(fill::cpp_number(-1234567.0), "-1.23457e+06");
}
