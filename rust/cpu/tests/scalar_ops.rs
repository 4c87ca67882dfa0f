//! Every row of the table x every dtype it takes x special values, by the tile interpreter on each capability of this
//! machine, against the oracle. Then programs over strided, broadcast and transposed operands.

use rtorch_cpu::simd::detect::{Capability, set_capability};
use rtorch_cpu::{Arg, map};
use rtorch_ir::oracle::{self, Val};
use rtorch_ir::{CType, Class, DType, Layout, Program, ScalarOp, table::ROWS};

/// The capability is one setting of the process.
static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn capabilities() -> Vec<Capability> {
    Capability::ALL.into_iter().filter(|c| c.available()).collect()
}

fn specials(d: DType) -> Vec<Val> {
    if let Some((lo, hi)) = d.int_range() {
        let (lo, hi) = (lo as i64, hi as i64);
        let mut v: Vec<i64> = vec![0, 1, hi, lo];
        if d != DType::Bool {
            v.extend([2, 3, 5, 7, 13, 31, 32, 63, 64, 100, hi - 1, lo + 1, hi / 2, hi / 3]);
        }
        if d.is_signed() && d.is_int() {
            v.extend([-1, -2, -3, -7, -64, -100]);
        }
        return v.into_iter().map(Val::Int).collect();
    }
    let mut v = vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        1.5,
        -1.5,
        2.0,
        -2.0,
        2.5,
        3.0,
        -3.0,
        0.1,
        -0.7,
        1e-3,
        7.25,
        -7.75,
        10.0,
        20.0,
        -20.0,
        88.7,
        89.0,
        -87.4,
        -88.0,
        -103.9,
        -104.5,
        0.9,
        0.99999,
        1.0001,
        1e10,
        -1e10,
        3.0e5,
        1e30,
        -1e30,
        1e-30,
        1e-38,
        1e-40,
        -1e-41,
        1.4e-45,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        8388607.5,
        16777217.0,
        2147483647.0,
        -2147483648.0,
        9.3e18,
        std::f64::consts::PI,
        std::f64::consts::FRAC_PI_2,
        1e6,
        -3e7,
    ];
    if d == DType::F64 {
        v.extend([1e300, -1e300, 1e-308, 5e-324, 709.7, 710.0, -745.0, -746.0, 4503599627370495.5]);
    }
    v.into_iter().map(|x| oracle::cast(Val::Float(x), DType::F64, d)).collect()
}

fn write(d: DType, v: &[Val]) -> Vec<u8> {
    let mut out = Vec::new();
    for &x in v {
        match d {
            DType::Bool | DType::U8 => out.push(x.int() as u8),
            DType::I8 => out.push(x.int() as i8 as u8),
            DType::I16 => out.extend((x.int() as i16).to_ne_bytes()),
            DType::I32 => out.extend((x.int() as i32).to_ne_bytes()),
            DType::I64 => out.extend(x.int().to_ne_bytes()),
            DType::F16 => out.extend(half::f16::from_f64(x.float()).to_bits().to_ne_bytes()),
            DType::BF16 => out.extend(half::bf16::from_f64(x.float()).to_bits().to_ne_bytes()),
            DType::F32 => out.extend((x.float() as f32).to_ne_bytes()),
            DType::F64 => out.extend(x.float().to_ne_bytes()),
            DType::C64 | DType::C128 | rtorch_ir::storage_dtypes!() => unreachable!(),
        }
    }
    out
}

fn read(d: DType, b: &[u8]) -> Vec<Val> {
    b.chunks_exact(d.size())
        .map(|c| match d {
            DType::Bool | DType::U8 => Val::Int(c[0] as i64),
            DType::I8 => Val::Int(c[0] as i8 as i64),
            DType::I16 => Val::Int(i16::from_ne_bytes([c[0], c[1]]) as i64),
            DType::I32 => Val::Int(i32::from_ne_bytes(c.try_into().unwrap()) as i64),
            DType::I64 => Val::Int(i64::from_ne_bytes(c.try_into().unwrap())),
            DType::F16 => Val::Float(half::f16::from_bits(u16::from_ne_bytes([c[0], c[1]])).to_f64()),
            DType::BF16 => Val::Float(half::bf16::from_bits(u16::from_ne_bytes([c[0], c[1]])).to_f64()),
            DType::F32 => Val::Float(f32::from_ne_bytes(c.try_into().unwrap()) as f64),
            DType::F64 => Val::Float(f64::from_ne_bytes(c.try_into().unwrap())),
            DType::C64 | DType::C128 | rtorch_ir::storage_dtypes!() => unreachable!(),
        })
        .collect()
}

fn ulps(a: f64, b: f64, d: DType) -> f64 {
    if a.is_nan() && b.is_nan() || a == b {
        return 0.0;
    }
    if a.is_nan() || b.is_nan() || a.is_infinite() != b.is_infinite() {
        // an overflow one step early or late is one ulp
        return if a.abs().min(b.abs()) >= max_of(d) * (1.0 - 1e-6) { 1.0 } else { f64::INFINITY };
    }
    let (digits, smallest) = match d {
        DType::F64 => (52, 5e-324),
        DType::BF16 => (7, 2f64.powi(-133)),
        DType::F16 => (10, 2f64.powi(-24)),
        _ => (23, 2f64.powi(-149)),
    };
    let e = b.abs().max(f64::MIN_POSITIVE).log2().floor() as i32;
    (a - b).abs() / f64::from(e - digits).exp2().max(smallest)
}

fn max_of(d: DType) -> f64 {
    if d == DType::F64 { f64::MAX } else { f32::MAX as f64 }
}

/// Ulps that a row may be away from the oracle (which rounds the exact value once).
fn allowed(op: ScalarOp, t: CType) -> f64 {
    use ScalarOp as S;
    match op {
        S::Exp | S::Log | S::Log1p | S::Expm1 | S::Tanh | S::Sigmoid | S::Erf | S::Sin | S::Cos | S::Pow => 2.0,
        S::Exp2 | S::Log2 | S::Log10 | S::Tan | S::Asin | S::Acos | S::Atan | S::Atan2 | S::Sinh | S::Cosh => 3.0,
        S::Asinh | S::Acosh | S::Atanh | S::Erfc | S::Erfinv | S::Lgamma | S::Digamma | S::Trigamma => 4.0,
        S::Rsqrt | S::Hypot | S::RandNormal => 2.0,
        S::FloorDiv if t == CType::F32 => 2.0,
        // composed of other rows, in the row's own type
        S::Erfcx => 256.0,
        S::Gelu => 4.0,
        _ => 0.0,
    }
}

fn same(a: Val, b: Val, d: DType, tolerance: f64) -> bool {
    match (a, b) {
        (Val::Int(x), Val::Int(y)) => x == y,
        _ => {
            let (x, y) = (a.float(), b.float());
            let sign = x != 0.0 || y != 0.0 || x.is_sign_negative() == y.is_sign_negative();
            ulps(x, y, d) <= tolerance && (sign || tolerance > 0.0)
        }
    }
}

fn run(p: &Program, inputs: &[(DType, Vec<Val>)], n: usize) -> Vec<Val> {
    let mut bytes: Vec<Vec<u8>> = inputs.iter().map(|(d, v)| write(*d, v)).collect();
    let layout = Layout::contiguous(&[n]);
    let leaves: Vec<Arg> =
        bytes.iter_mut().zip(inputs).map(|(b, i)| Arg { ptr: b.as_mut_ptr(), dtype: i.0, layout: &layout }).collect();
    let d = p.dtype(p.outputs[0]);
    let mut out = vec![0u8; n * d.size()];
    map(p, &[n], &leaves, &[Arg { ptr: out.as_mut_ptr(), dtype: d, layout: &layout }]).unwrap();
    read(d, &out)
}

fn inputs_of(op: ScalarOp, d: DType) -> Option<Vec<DType>> {
    let t = d.ctype();
    let (int, float) = (matches!(t, CType::I32 | CType::I64), matches!(t, CType::F32 | CType::F64));
    match op.row().class {
        Class::Num | Class::Compare => (int || float).then(|| vec![d; op.row().arity]),
        Class::Float | Class::Round | Class::Test => float.then(|| vec![d; op.row().arity]),
        Class::Int => int.then(|| vec![d; op.row().arity]),
        Class::Logic => (t == CType::Bool).then(|| vec![d; op.row().arity]),
        Class::Select => (int || float || t == CType::Bool).then(|| vec![DType::Bool, d, d]),
        Class::Random => (d == DType::I64).then(|| vec![d, d]),
    }
}

#[test]
fn every_row_every_dtype_special_values() {
    let _one = ONE.lock().unwrap();
    let mut failures = Vec::new();
    for row in ROWS {
        for d in DType::ALL.into_iter().filter(|d| !d.is_complex() && !d.is_storage()) {
            let Some(dtypes) = inputs_of(row.op, d) else { continue };
            let mut p = Program::new();
            let args: Vec<u16> = dtypes.iter().map(|&d| p.load(d)).collect();
            let y = p.op(row.op, &args);
            // as the core does: an op on a storage type ends in a cast to it
            let answer = p.dtype(y);
            let y = if answer == d.ctype().dtype() { p.cast(y, d) } else { y };
            p.outputs.push(y);
            p.verify().unwrap();
            let sets: Vec<Vec<Val>> = dtypes.iter().map(|&d| specials(d)).collect();
            let n: usize = sets.iter().map(Vec::len).product();
            let element = |i: usize| -> Vec<Val> {
                let mut rest = i;
                sets.iter()
                    .map(|s| {
                        let v = s[rest % s.len()];
                        rest /= s.len();
                        v
                    })
                    .collect()
            };
            let columns: Vec<(DType, Vec<Val>)> =
                dtypes.iter().enumerate().map(|(k, &d)| (d, (0..n).map(|i| element(i)[k]).collect())).collect();
            let want: Vec<Val> = (0..n)
                .map(|i| match (row.op, d.ctype(), element(i).as_slice()) {
                    // PyTorch truncates the quotient that f32 arithmetic gives (1 / 0.1 is 10 there)
                    (ScalarOp::TruncDiv, CType::F32, &[a, b]) => {
                        let q = (a.float() as f32 / b.float() as f32).trunc();
                        oracle::cast(Val::Float(q as f64), DType::F32, d)
                    }
                    (_, _, x) => oracle::run(&p, x, i as i64)[0],
                })
                .collect();
            let tolerance = allowed(row.op, d.ctype());
            for c in capabilities() {
                assert!(set_capability(c));
                let have = run(&p, &columns, n);
                for i in 0..n {
                    // gelu's lower tail is a difference of nearly equal numbers, as PyTorch's is
                    let (h, w) = (have[i].float(), want[i].float());
                    if row.op == ScalarOp::Gelu && (h - w).abs() < 1e-6 {
                        continue;
                    }
                    // integer division by zero is refused by the core
                    if !same(have[i], want[i], p.dtype(y), tolerance) {
                        failures.push(format!(
                            "{} {d} {c:?} {:?}: {:?}, oracle {:?}",
                            row.name,
                            element(i),
                            have[i],
                            want[i]
                        ));
                    }
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} differences:\n{}",
        failures.len(),
        failures.iter().take(60).cloned().collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn every_cast() {
    let _one = ONE.lock().unwrap();
    for from in DType::ALL.into_iter().filter(|d| !d.is_complex() && !d.is_storage()) {
        for to in DType::ALL.into_iter().filter(|d| !d.is_complex() && !d.is_storage()) {
            let p = Program::copy(from, to);
            let v = specials(from);
            for c in capabilities() {
                assert!(set_capability(c));
                let have = run(&p, &[(from, v.clone())], v.len());
                for (i, &x) in v.iter().enumerate() {
                    let want = oracle::run(&p, &[x], 0)[0];
                    assert!(
                        same(have[i], want, to, 0.0),
                        "{from} to {to} {c:?}: {x:?} gave {:?}, want {want:?}",
                        have[i]
                    );
                }
            }
        }
    }
}
