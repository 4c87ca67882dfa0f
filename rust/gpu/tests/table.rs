//! Every row of the scalar-op table, every dtype it takes, special values, against the oracle.

mod common;

use common::{T, gpu};
use rtorch_ir::oracle::{self, Val};
use rtorch_ir::table::{Class, ROWS};
use rtorch_ir::{DType, Program, ScalarOp};

const FLOATS: [f64; 42] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    2.0,
    -2.0,
    3.0,
    0.1,
    -0.1,
    0.7,
    -0.7,
    0.99,
    -0.99,
    1.5,
    -1.5,
    2.5,
    -2.5,
    3.7,
    -3.7,
    7.9,
    9.5,
    -9.5,
    20.0,
    88.0,
    -87.0,
    100.0,
    -104.5,
    1e-6,
    -1e-6,
    1e-20,
    12345.678,
    -98765.4,
    1e10,
    -3e20,
    3e38,
    1e-41,
    -5e-39,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
];
const INTS: [i64; 22] = [
    0,
    1,
    -1,
    2,
    -2,
    3,
    -3,
    7,
    -7,
    10,
    31,
    32,
    63,
    64,
    100,
    -128,
    127,
    1000,
    i32::MAX as i64,
    i32::MIN as i64,
    i64::MAX,
    i64::MIN,
];
/// Near a root, or where a reflection cancels, only the absolute error is meaningful.
const ABSOLUTE: f64 = 4e-6;

fn values(d: DType) -> Vec<Val> {
    match d {
        DType::Bool => vec![Val::Int(0), Val::Int(1)],
        _ if d.is_integral() => INTS.iter().map(|&i| oracle::cast(Val::Int(i), DType::I64, d)).collect(),
        _ => FLOATS.iter().map(|&f| oracle::cast(Val::Float(f), DType::F64, d)).collect(),
    }
}

fn ulps(a: f64, b: f64) -> f64 {
    let b32 = (b as f32).abs().max(f32::MIN_POSITIVE);
    let ulp = f32::from_bits(b32.to_bits() + 1) - b32;
    (a - b).abs() / ulp as f64
}

fn agrees(op: ScalarOp, got: Val, want: Val) -> bool {
    let (Val::Float(g), Val::Float(w)) = (got, want) else { return got == want };
    if w.is_nan() || g.is_nan() {
        return w.is_nan() && g.is_nan();
    }
    let signs = g.is_sign_negative() == w.is_sign_negative();
    if g == w {
        return signs || w != 0.0 || op.row().gpu_ulp > 0;
    }
    // denormals may flush
    if w.abs() < f32::MIN_POSITIVE as f64 * 1.01 && g.abs() < f32::MIN_POSITIVE as f64 * 1.01 {
        return true;
    }
    if g.is_infinite() || w.is_infinite() {
        return false;
    }
    let near_root =
        matches!(op, ScalarOp::Gelu | ScalarOp::Lgamma | ScalarOp::Digamma | ScalarOp::Trigamma | ScalarOp::RandNormal)
            && (g - w).abs() < ABSOLUTE;
    near_root || ulps(g, w) <= op.row().gpu_ulp as f64
}

/// A denormal as a device may take it: for zero.
fn flush(v: Val) -> Val {
    match v {
        Val::Float(f) if f.abs() < f32::MIN_POSITIVE as f64 => Val::Float(0.0f64.copysign(f)),
        v => v,
    }
}

/// Sine and friends of arguments where the f64 oracle itself has digits left.
fn meaningful(op: ScalarOp, x: &[Val]) -> bool {
    let big = |v: &Val, limit: f64| v.float().is_finite() && v.float().abs() > limit;
    match op {
        ScalarOp::Lgamma | ScalarOp::Digamma | ScalarOp::Trigamma => {
            let a = x[0].float();
            let pole = op == ScalarOp::Trigamma && a <= 0.0 && a == a.round();
            !(pole || big(&x[0], 1e30) || a < -20.0 && a.is_finite())
        }
        // libm's acosh answers numbers far below its domain
        ScalarOp::Acosh => x[0].float() > -1e4,
        // a quotient of this size has no fraction: what is left depends on how it was divided
        ScalarOp::FloorDiv | ScalarOp::TruncDiv => {
            let (a, b) = (x[0].float(), x[1].float());
            matches!(x[0], Val::Int(_)) || !(a / b).is_finite() || (a / b).abs() < 1e6 && exact_quotient(a, b)
        }
        _ => true,
    }
}

/// Is the f32 quotient on the same side of the next integer as the true one?
fn exact_quotient(a: f64, b: f64) -> bool {
    let q = a / b;
    (q - q.round()).abs() > 2e-7 * q.abs() || q == q.round()
}

fn check(op: ScalarOp, types: &[DType], at: &[Vec<Val>]) -> Option<String> {
    let dev = gpu()?;
    let n = at[0].len();
    let mut p = Program::new();
    let regs: Vec<u16> = types
        .iter()
        .map(|&d| {
            let r = p.load(d);
            p.cast(r, d.ctype().dtype())
        })
        .collect();
    let r = p.op(op, &regs);
    p.outputs.push(r);
    p.verify().unwrap();
    let out = T::empty(&dev, p.dtype(r), &[n]);
    let ins: Vec<T> = at.iter().zip(types).map(|(v, &d)| T::new(&dev, v, d, &[n])).collect();
    let leaves: Vec<_> = ins.iter().map(T::arg).collect();
    dev.map(&p, &[n], &leaves, &[out.arg()]).unwrap();
    let got = out.values();
    for i in 0..n {
        let x: Vec<Val> = at.iter().map(|v| v[i]).collect();
        if !meaningful(op, &x) {
            continue;
        }
        let want = oracle::run(&p, &x, i as i64)[0];
        let flushed: Vec<Val> = x.iter().map(|&v| flush(v)).collect();
        if !agrees(op, got[i], want) && !agrees(op, got[i], oracle::run(&p, &flushed, i as i64)[0]) {
            let u = ulps(got[i].float(), want.float());
            return Some(format!("{op:?} of {x:?} as {types:?}: {:?} instead of {want:?} ({u:.0} ulp)", got[i]));
        }
    }
    None
}

/// All pairs (or single values) of the special values.
fn grid(types: &[DType]) -> Vec<Vec<Val>> {
    let lists: Vec<Vec<Val>> = types.iter().map(|&d| values(d)).collect();
    let mut out: Vec<Vec<Val>> = vec![Vec::new(); types.len()];
    let total: usize = lists.iter().map(Vec::len).product();
    for i in 0..total {
        let mut rest = i;
        for (k, l) in lists.iter().enumerate() {
            out[k].push(l[rest % l.len()]);
            rest /= l.len();
        }
    }
    out
}

#[test]
fn every_row_agrees_with_the_oracle() {
    if gpu().is_none() {
        return;
    }
    let mut bad = Vec::new();
    for row in ROWS {
        let dtypes: &[DType] = match row.class {
            Class::Num | Class::Compare => &[DType::F32, DType::I32, DType::I64],
            Class::Float | Class::Round | Class::Test => &[DType::F32],
            Class::Int => &[DType::I32, DType::I64],
            Class::Logic => &[DType::Bool],
            Class::Select => &[DType::F32, DType::I32, DType::I64, DType::Bool],
            Class::Random => &[DType::I64],
        };
        for &d in dtypes {
            let mut types = vec![d; row.arity];
            if row.class == Class::Select {
                types[0] = DType::Bool;
            }
            let at = if types.len() == 3 {
                // the condition times pairs: a sample
                let g = grid(&types);
                g.iter().map(|v| v.iter().step_by(7).copied().collect()).collect()
            } else {
                grid(&types)
            };
            bad.extend(check(row.op, &types, &at));
        }
    }
    assert!(bad.is_empty(), "{} rows differ:\n{}", bad.len(), bad.join("\n"));
}

/// Drivers may know that x - x is 0 and x / x is 1: not of infinity and NaN.
#[test]
fn a_value_with_itself_agrees_with_the_oracle() {
    if gpu().is_none() {
        return;
    }
    let dev = gpu().unwrap();
    let x = values(DType::F32);
    let input = T::new(&dev, &x, DType::F32, &[x.len()]);
    let mut bad = Vec::new();
    for row in ROWS.iter().filter(|r| r.arity == 2 && matches!(r.class, Class::Num | Class::Compare | Class::Float)) {
        let mut p = Program::new();
        let a = p.load(DType::F32);
        let r = p.op(row.op, &[a, a]);
        p.outputs.push(r);
        let out = T::empty(&dev, p.dtype(r), &[x.len()]);
        dev.map(&p, &[x.len()], &[input.arg()], &[out.arg()]).unwrap();
        for (&v, got) in x.iter().zip(out.values()) {
            let want = oracle::run(&p, &[v], 0)[0];
            if meaningful(row.op, &[v, v]) && !agrees(row.op, got, want) {
                bad.push(format!("{:?} of {v:?} and itself: {got:?} instead of {want:?}", row.op));
            }
        }
    }
    // (x + y) - x is not y
    let mut p = Program::new();
    let (a, b) = (p.load(DType::F32), p.load(DType::F32));
    let sum = p.op(ScalarOp::Add, &[a, b]);
    let r = p.op(ScalarOp::Sub, &[sum, a]);
    p.outputs.push(r);
    let ones = T::floats(&dev, &vec![1.0; x.len()], &[x.len()]);
    let out = T::empty(&dev, DType::F32, &[x.len()]);
    dev.map(&p, &[x.len()], &[input.arg(), ones.arg()], &[out.arg()]).unwrap();
    for (v, got) in x.iter().zip(out.values()) {
        if !v.float().is_finite() && !got.float().is_nan() {
            bad.push(format!("({v:?} + 1) - {v:?}: {got:?} instead of NaN"));
        }
    }
    assert!(bad.is_empty(), "{} differ:\n{}", bad.len(), bad.join("\n"));
}

#[test]
fn elementary_functions_over_their_range() {
    if gpu().is_none() {
        return;
    }
    let mut bad = Vec::new();
    for row in ROWS.iter().filter(|r| r.class == Class::Float && r.arity == 1) {
        let at: Vec<Val> = (0..20000)
            .map(|i| {
                let t = i as f32 / 10000.0 - 1.0;
                let v = if i % 3 == 0 { t } else { t * t * t * 90.0 };
                Val::Float(v as f64)
            })
            .collect();
        bad.extend(check(row.op, &[DType::F32], &[at]));
    }
    assert!(bad.is_empty(), "{} rows differ:\n{}", bad.len(), bad.join("\n"));
}

#[test]
fn every_cast_agrees_with_the_oracle() {
    let Some(dev) = gpu() else { return };
    let all: Vec<DType> = DType::ALL
        .into_iter()
        .filter(|d| !matches!(d, DType::F64 | DType::C64 | DType::C128) && !d.is_storage())
        .collect();
    for &a in &all {
        for &b in &all {
            let v = values(a);
            let x = T::new(&dev, &v, a, &[v.len()]);
            let y = T::empty(&dev, b, &[v.len()]);
            dev.copy_elements(&x.arg(), &y.arg()).unwrap();
            let got = y.values();
            for i in 0..v.len() {
                let want = oracle::cast(oracle::cast(v[i], a, a), a, b);
                let ok = got[i] == want
                    || (got[i].float().is_nan() && want.float().is_nan())
                    || (want.float().abs() < 1.2e-38 && got[i].float().abs() < 1.2e-38);
                assert!(ok, "{a} {:?} to {b}: {:?} instead of {want:?}", v[i], got[i]);
            }
        }
    }
}
