use rtorch_cpu::{run, Arg, Buffer, Source};
use rtorch_ir::prim::{reduced_shape, Axes, ReduceOp};
use rtorch_ir::{DType, Layout, Prim, Program};
fn cpu_now() -> f64 { unsafe { let mut t: libc::timespec = std::mem::zeroed(); libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t); t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9 } }
fn bench(name: &str, prim: &Prim, shape: &[usize], axes: &[usize], l: &Layout, outs: &[DType]) {
    if let Some(a) = std::env::args().nth(1) { if !name.contains(&a) { return; } }
    let n = l.extent().unwrap().1;
    let b = Buffer::uninit(n * 4).unwrap();
    for i in 0..n { unsafe { *(b.as_ptr() as *mut f32).add(i) = ((i * 7919) % 1000) as f32 / 250.0 - 2.0 } }
    let p = Program::copy(DType::F32, DType::F32);
    let ol = Layout::contiguous(&reduced_shape(shape, axes, false));
    let f = || {
        let o: Vec<Buffer> = outs.iter().map(|d| Buffer::uninit(ol.numel() * d.size()).unwrap()).collect();
        let args: Vec<Arg> = o.iter().zip(outs).map(|(b, &d)| Arg { ptr: b.as_ptr(), dtype: d, layout: &ol }).collect();
        run(prim, &[Source { program: &p, leaves: &[Arg { ptr: b.as_ptr(), dtype: DType::F32, layout: l }], shape }], None, &args).unwrap();
    };
    for _ in 0..20 { f() }
    let mut all = vec![];
    for _ in 0..15 {
        let reps = if n < 1000 { 20000 } else { 20 };
        let t = cpu_now();
        for _ in 0..reps { f() }
        all.push((cpu_now() - t) / reps as f64);
    }
    all.sort_by(|a, b| a.total_cmp(b));
    println!("{name:24} min {:10.3} us  median {:10.3} us", all[0] * 1e6, all[7] * 1e6);
}
fn red(op: ReduceOp, axes: &[usize]) -> Prim { Prim::Reduce { op, axes: Axes::from_slice(axes), keepdim: false, dtype: if matches!(op, ReduceOp::ArgMax) { DType::I64 } else { DType::F32 } } }
fn main() {
    rtorch_cpu::threads::set_num_threads(std::env::var("T").ok().and_then(|t| t.parse().ok()).unwrap_or(1));
    use ReduceOp::*; use DType::*;
    let c = |s: &[usize]| Layout::contiguous(s);
    let m = 1 << 20;
    bench("tiny_sum", &red(Sum, &[0]), &[4], &[0], &c(&[4]), &[F32]);
    bench("sum_all", &red(Sum, &[0]), &[m], &[0], &c(&[m]), &[F32]);
    bench("sum16m", &red(Sum, &[0]), &[1 << 24], &[0], &c(&[1 << 24]), &[F32]);
    let s = [1024, 1024];
    bench("sum0", &red(Sum, &[0]), &s, &[0], &c(&s), &[F32]);
    bench("sum1", &red(Sum, &[1]), &s, &[1], &c(&s), &[F32]);
    bench("sum0_t", &red(Sum, &[0]), &s, &[0], &c(&s).transpose(0, 1), &[F32]);
    bench("sum1_t", &red(Sum, &[1]), &s, &[1], &c(&s).transpose(0, 1), &[F32]);
    bench("amax0", &red(Max, &[0]), &s, &[0], &c(&s), &[F32]);
    bench("max1", &Prim::Extreme { largest: true, axis: 1, keepdim: false }, &s, &[1], &c(&s), &[F32, I64]);
    bench("max0", &Prim::Extreme { largest: true, axis: 0, keepdim: false }, &s, &[0], &c(&s), &[F32, I64]);
    bench("argmax", &red(ArgMax, &[1]), &s, &[1], &c(&s), &[I64]);
    bench("var1", &Prim::VarMean { axes: Axes::from_slice(&[1]), keepdim: false, correction: 1.0 }, &s, &[1], &c(&s), &[F32, F32]);
    bench("var0", &Prim::VarMean { axes: Axes::from_slice(&[0]), keepdim: false, correction: 1.0 }, &s, &[0], &c(&s), &[F32, F32]);
    let s = [64, 128, 256];
    bench("sum_mid", &red(Sum, &[1]), &s, &[1], &c(&s), &[F32]);
    bench("sum02", &red(Sum, &[0, 2]), &s, &[0, 2], &c(&s), &[F32]);
    let s = [350000, 3];
    bench("sum_n3_0", &red(Sum, &[0]), &s, &[0], &c(&s), &[F32]);
    bench("sum_n3_1", &red(Sum, &[1]), &s, &[1], &c(&s), &[F32]);
    let s = [16, 64, 32, 32];
    bench("sum_nchw023", &red(Sum, &[0, 2, 3]), &s, &[0, 2, 3], &c(&s), &[F32]);
    let s = [64, 10]; bench("sum_64x10_0", &red(Sum, &[0]), &s, &[0], &c(&s), &[F32]);
    let s = [64, 256]; bench("sum_64x256_0", &red(Sum, &[0]), &s, &[0], &c(&s), &[F32]);
}
