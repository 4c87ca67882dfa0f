//! What kernels cost on this machine's adapter: `cargo run --release -p rtorch-gpu --example speed`.
//! Each line is the best of several rounds, with a wait at the end of each.

use std::sync::Arc;
use std::time::Instant;

use rtorch_gpu::{Buffer, Device, GpuArg, GpuSource, adapters, device};
use rtorch_ir::prim::{Axes, ConvParams, Meta, ReduceOp, Spatial};
use rtorch_ir::program::{Ex, build, ex};
use rtorch_ir::{DType, Layout, Prim, Program, Shape};

struct T {
    buffer: Buffer,
    layout: Layout,
}

fn tensor(dev: &Arc<Device>, shape: &[usize]) -> rtorch_ir::Result<T> {
    let layout = Layout::contiguous(shape);
    let n = layout.numel();
    let buffer = dev.alloc(n * 4)?;
    let data: Vec<u8> = (0..n).flat_map(|i| ((i * 7919 % 1000) as f32 / 500.0 - 1.0).to_le_bytes()).collect();
    dev.upload(&buffer, 0, &data)?;
    Ok(T { buffer, layout })
}

fn arg(t: &T) -> GpuArg<'_> {
    GpuArg { buffer: &t.buffer, dtype: DType::F32, layout: &t.layout }
}

/// CPU time of this process in microseconds: on a software adapter of a busy machine the better measure.
fn cpu_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) * 1e4
}

/// Best time of one call in microseconds, of `rounds` rounds of `count` calls each.
fn time(dev: &Arc<Device>, rounds: usize, count: usize, f: &mut dyn FnMut() -> rtorch_ir::Result<()>) -> f64 {
    let mut best = f64::MAX;
    let mut before = 0.0;
    for round in 0..=rounds {
        if round == 1 {
            before = cpu_time();
        }
        let start = Instant::now();
        for _ in 0..count {
            if let Err(e) = f() {
                println!("  failed: {e}");
                return f64::NAN;
            }
        }
        if let Err(e) = dev.synchronize() {
            println!("  failed: {e}");
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e6 / count as f64);
    }
    print!("[cpu {:.0} us] ", (cpu_time() - before) / (rounds * count) as f64);
    best
}

fn prim(dev: &Arc<Device>, prim: &Prim, ins: &[&T]) -> rtorch_ir::Result<()> {
    let metas: Vec<Meta> = ins.iter().map(|t| Meta::new(&t.layout.shape, DType::F32)).collect();
    let mut outs = Vec::new();
    for m in prim.infer(&metas) {
        let layout = Layout::contiguous(&m.shape);
        outs.push((dev.alloc(layout.numel() * m.dtype.size())?, layout, m.dtype));
    }
    let p = Program::copy(DType::F32, DType::F32);
    let leaves: Vec<[GpuArg; 1]> = ins.iter().map(|t| [arg(t)]).collect();
    let sources: Vec<GpuSource> =
        ins.iter().zip(&leaves).map(|(t, l)| GpuSource { program: &p, leaves: l, shape: &t.layout.shape }).collect();
    let args: Vec<GpuArg> = outs.iter().map(|(b, l, d)| GpuArg { buffer: b, dtype: *d, layout: l }).collect();
    dev.run(prim, &sources, None, &args)
}

fn main() -> rtorch_ir::Result<()> {
    for a in adapters() {
        println!("{a:?}");
    }
    let dev = device(0)?;
    println!("{:?}", dev.profile);
    let small = tensor(&dev, &[64])?;
    let (mut chain, out) = build(Program::new(), || {
        let x = Ex::leaf(DType::F32);
        x * ex::sigmoid(x) + ex::tanh(x) * 0.5
    });
    chain.outputs.push(out.0);
    let y = tensor(&dev, &[64])?;
    let t = time(&dev, 5, 1000, &mut || dev.map(&chain, &[64], &[arg(&small)], &[arg(&y)]));
    println!("dispatch of 64 elements: {t:.2} us");
    let mut four = [0u8; 4];
    let t = time(&dev, 5, 200, &mut || dev.download(&y.buffer, 0, &mut four));
    println!("item(): {t:.1} us");
    let (x, z) = (tensor(&dev, &[1 << 22])?, tensor(&dev, &[1 << 22])?);
    let t = time(&dev, 3, 4, &mut || dev.map(&chain, &[1 << 22], &[arg(&x)], &[arg(&z)]));
    println!("swish + tanh of 4M: {t:.0} us ({:.1} GB/s)", 33.5e3 / t);
    let t = time(&dev, 3, 4, &mut || dev.copy_elements(&arg(&x), &arg(&z)));
    println!("copy of 16 MB: {t:.0} us ({:.1} GB/s)", 33.5e3 / t);
    let rows = T { buffer: x.buffer.clone(), layout: Layout::contiguous(&[4096, 1024]) };
    for axis in [0, 1] {
        let p = Prim::Reduce { op: ReduceOp::Sum, axes: Axes::from_slice(&[axis]), keepdim: false, dtype: DType::F32 };
        println!("sum of 4M over axis {axis}: {:.0} us", time(&dev, 3, 4, &mut || prim(&dev, &p, &[&rows])));
    }
    let p = Prim::Softmax { axis: 1, log: false };
    println!("softmax of 4096 x 1024: {:.0} us", time(&dev, 3, 2, &mut || prim(&dev, &p, &[&rows])));
    for n in [64, 256, 512, 1024] {
        let (a, b) = (tensor(&dev, &[1, n, n])?, tensor(&dev, &[1, n, n])?);
        let p = Prim::MatMul { bias: false, alpha: 1.0, beta: 0.0 };
        let t = time(&dev, 3, 2, &mut || prim(&dev, &p, &[&a, &b]));
        println!("matmul {n}: {t:.0} us ({:.2} GFLOP/s)", 2.0 * (n as f64).powi(3) / t / 1e3);
    }
    let two = |v: usize| Spatial::from_slice(&[v, v]);
    for (n, c, o, s) in [(64, 1, 16, 8), (64, 16, 32, 8), (8, 32, 64, 32)] {
        let params = ConvParams { stride: two(1), padding: two(1), dilation: two(1), groups: 1 };
        let (x, w) = (tensor(&dev, &[n, c, s, s])?, tensor(&dev, &[o, c, 3, 3])?);
        let g = tensor(&dev, &[n, o, s, s])?;
        let flop = (2 * n * o * s * s * c * 9) as f64;
        let shape = |t: &T| Shape::from_slice(&t.layout.shape);
        for (what, p, ins) in [
            ("conv", Prim::Conv { params: params.clone(), bias: false }, [&x, &w]),
            ("  of x", Prim::ConvGradInput { params: params.clone(), input: shape(&x) }, [&g, &w]),
            ("  of w", Prim::ConvGradWeight { params: params.clone(), weight: shape(&w) }, [&g, &x]),
        ] {
            let t = time(&dev, 3, 2, &mut || prim(&dev, &p, &ins));
            println!("{what} {n}x{c}->{o} at {s}: {t:.0} us ({:.2} GFLOP/s)", flop / t / 1e3);
        }
    }
    let p = Prim::Sort { axis: 0, descending: false, stable: true };
    let line = T { buffer: x.buffer.clone(), layout: Layout::contiguous(&[1 << 20]) };
    println!("sort of 1M: {:.0} us", time(&dev, 2, 1, &mut || prim(&dev, &p, &[&line])));
    Ok(())
}
