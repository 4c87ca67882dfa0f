use rtorch_cpu::{map, Arg, Buffer};
use rtorch_ir::program::{build, ex, Ex};
use rtorch_ir::{DType, Layout, Program};
fn cpu_now() -> f64 { unsafe { let mut t: libc::timespec = std::mem::zeroed(); libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t); t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9 } }
fn bench(name: &str, p: &Program, shape: &[usize], ls: &[Layout], dts: &[DType], out: DType) {
    let bufs: Vec<Buffer> = ls.iter().zip(dts).map(|(l, d)| {
        let n = l.extent().unwrap().1;
        let b = Buffer::uninit(n * d.size()).unwrap();
        for i in 0..n { unsafe { match d { DType::F32 => *(b.as_ptr() as *mut f32).add(i) = ((i * 7919) % 1000) as f32 / 250.0 - 2.0,
            DType::F64 => *(b.as_ptr() as *mut f64).add(i) = ((i * 7919) % 1000) as f64 / 250.0 - 2.0,
            DType::BF16|DType::F16 => *(b.as_ptr() as *mut u16).add(i) = 0x3c00 + (i % 1000) as u16, _ => *b.as_ptr().add(i) = (i % 2) as u8 } } }
        b }).collect();
    let leaves: Vec<Arg> = bufs.iter().zip(ls).zip(dts).map(|((b, l), &d)| Arg { ptr: b.as_ptr(), dtype: d, layout: l }).collect();
    let ol = Layout::contiguous(shape);
    let n: usize = shape.iter().product();
    let run = || { let o = Buffer::uninit(n * out.size()).unwrap(); map(p, shape, &leaves, &[Arg { ptr: o.as_ptr(), dtype: out, layout: &ol }]).unwrap(); };
    for _ in 0..20 { run() }
    let mut best = f64::MAX; let mut all = vec![];
    for _ in 0..15 {
        let reps = if n < 1000 { 100000 } else { 20 };
        let t = cpu_now();
        for _ in 0..reps { run() }
        let dt = (cpu_now() - t) / reps as f64; best = best.min(dt); all.push(dt);
    }
    all.sort_by(|a, b| a.total_cmp(b));
    println!("{name:24} min {:10.3} us  median {:10.3} us", best * 1e6, all[7] * 1e6);
}
fn prog(f: impl FnOnce() -> Ex) -> Program { let (mut p, o) = build(Program::new(), f); p.outputs.push(o.0); p.verify().unwrap(); p }
fn main() {
    rtorch_cpu::threads::set_num_threads(std::env::var("T").ok().and_then(|t| t.parse().ok()).unwrap_or(1));
    use DType::*;
    let c = |s: &[usize]| Layout::contiguous(s);
    let m = 1 << 20;
    let x = || Ex::leaf(F32);
    let f = |n: &str| std::env::args().nth(1).is_none_or(|a| n.contains(&a));
    macro_rules! b { ($n:expr, $($t:tt)*) => { if f($n) { bench($n, $($t)*) } } }
    b!("tiny_add", &prog(|| x() + x()), &[4], &[c(&[4]), c(&[4])], &[F32, F32], F32);
    b!("tiny_add_scalar", &prog(|| x() + 1.5), &[4], &[c(&[4])], &[F32], F32);
    b!("tiny_add_bcast", &prog(|| x() + x()), &[4, 8], &[c(&[4, 8]), c(&[8]).broadcast_to(&[4, 8]).unwrap()], &[F32, F32], F32);
    b!("add_1m", &prog(|| x() + x()), &[m], &[c(&[m]), c(&[m])], &[F32, F32], F32);
    b!("add_16m", &prog(|| x() + x()), &[1 << 24], &[c(&[1 << 24]), c(&[1 << 24])], &[F32, F32], F32);
    b!("add_broadcast", &prog(|| x() + x()), &[2048, 1024], &[c(&[2048, 1024]), c(&[1024]).broadcast_to(&[2048, 1024]).unwrap()], &[F32, F32], F32);
    b!("add_bcast_10", &prog(|| x() + x()), &[100000, 10], &[c(&[100000, 10]), c(&[10]).broadcast_to(&[100000, 10]).unwrap()], &[F32, F32], F32);
    b!("add_bcast_col", &prog(|| x() + x()), &[1024, 1024], &[c(&[1024, 1024]), c(&[1024, 1]).broadcast_to(&[1024, 1024]).unwrap()], &[F32, F32], F32);
    b!("add_transposed", &prog(|| x() + x()), &[1024, 1024], &[c(&[1024, 1024]), c(&[1024, 1024]).transpose(0, 1)], &[F32, F32], F32);
    b!("transpose_copy", &Program::copy(F32, F32), &[1024, 1024], &[c(&[1024, 1024]).transpose(0, 1)], &[F32], F32);
    b!("mul_scalar_1m", &prog(|| x() * 2.0), &[m], &[c(&[m])], &[F32], F32);
    b!("chain", &prog(|| { let a = x(); a * ex::sigmoid(a) + ex::tanh(a) * 0.5 - ex::sqrt(ex::abs(a)) }), &[m], &[c(&[m])], &[F32], F32);
    b!("gelu", &prog(|| { let a = x(); a * 0.5 * (ex::erf(a * 0.7071067811865476) + 1.0) }), &[m], &[c(&[m])], &[F32], F32);
    macro_rules! un { ($($n:ident)*) => { $( b!(stringify!($n), &prog(|| ex::$n(x())), &[m], &[c(&[m])], &[F32], F32); )* } }
    un!(exp tanh sigmoid erf log log1p expm1 sin cos sqrt rsqrt exp2 log2 tan atan asin sinh cosh floor sign abs neg erfc lgamma digamma);
    b!("pow", &prog(|| ex::pow(x(), x())), &[m], &[c(&[m]), c(&[m])], &[F32, F32], F32);
    b!("div", &prog(|| x() / x()), &[m], &[c(&[m]), c(&[m])], &[F32, F32], F32);
    b!("maximum", &prog(|| ex::maximum(x(), x())), &[m], &[c(&[m]), c(&[m])], &[F32, F32], F32);
    b!("lt", &prog(|| ex::lt(x(), x())), &[m], &[c(&[m]), c(&[m])], &[F32, F32], Bool);
    b!("fmod", &prog(|| ex::fmod(x(), x())), &[m], &[c(&[m]), c(&[m])], &[F32, F32], F32);
    b!("bf16_add", &prog(|| (Ex::leaf(BF16).cast(F32) + Ex::leaf(BF16).cast(F32)).cast(BF16)), &[m], &[c(&[m]), c(&[m])], &[BF16, BF16], BF16);
    b!("f16_add", &prog(|| (Ex::leaf(F16).cast(F32) + Ex::leaf(F16).cast(F32)).cast(F16)), &[m], &[c(&[m]), c(&[m])], &[F16, F16], F16);
    b!("f64_exp", &prog(|| ex::exp(Ex::leaf(F64))), &[m], &[c(&[m])], &[F64], F64);
    b!("f64_log", &prog(|| ex::log(Ex::leaf(F64))), &[m], &[c(&[m])], &[F64], F64);
    b!("where", &prog(|| { let c = Ex::leaf(Bool); ex::where_(c, x(), x()) }), &[m], &[c(&[m]), c(&[m]), c(&[m])], &[Bool, F32, F32], F32);
    b!("rand", &prog(|| { let i = Ex::index(); ex::philox_uniform(i.lit(5.0), i) }), &[m], &[], &[], F32);
    b!("fill", &Program::fill(rtorch_ir::Scalar::Float(1.0), F32), &[m], &[], &[], F32);
}
