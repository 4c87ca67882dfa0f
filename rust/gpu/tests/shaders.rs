//! Every shader without a GPU: the static ones, and what is printed for a sample of programs and primitives, in the
//! full and the portable profile, is parsed, validated and translated to SPIR-V, MSL and HLSL by naga. The portable
//! samples are kept in tests/data/wgsl, where pytest runs them under wgpu-py; `RTORCH_UPDATE=1` writes them anew.

mod common;

use std::fmt::Write;
use std::sync::Arc;

use common::{T, run};
use rtorch_gpu::{Device, GpuArg, Recorded, noop_device, static_shaders};
use rtorch_ir::prim::{Axes, ConvParams, PoolParams, ReduceOp, ScanOp, ScatterOp, Spatial};
use rtorch_ir::program::{Ex, build, ex};
use rtorch_ir::table::{Class, ROWS};
use rtorch_ir::{DType, Layout, Prim, Program, Shape};

/// Parses, validates and translates; fails with the text of what is wrong.
fn check(what: &str, text: &str, full: bool) {
    use naga::valid::{Capabilities, ValidationFlags, Validator};
    let wgsl = naga::front::wgsl::Options { parse_doc_comments: false, capabilities: Capabilities::all() };
    let module = naga::front::wgsl::Frontend::new_with_options(wgsl)
        .parse(text)
        .unwrap_or_else(|e| panic!("{what}: {}", e.emit_to_string(text)));
    let native = Capabilities::SHADER_INT64 | Capabilities::SHADER_FLOAT16;
    let caps = if full { native | Capabilities::IMMEDIATES | Capabilities::SUBGROUP } else { Capabilities::empty() };
    let info = Validator::new(ValidationFlags::all(), caps)
        .validate(&module)
        .unwrap_or_else(|e| panic!("{what}: {}", e.emit_to_string(text)));
    let stage = naga::ShaderStage::Compute;
    let spv = naga::back::spv::PipelineOptions { shader_stage: stage, entry_point: "main".to_string() };
    let options = naga::back::spv::Options { lang_version: (1, 3), ..Default::default() };
    naga::back::spv::write_vec(&module, &info, &options, Some(&spv))
        .unwrap_or_else(|e| panic!("{what} as SPIR-V: {e}"));
    // the least versions that have what the text uses
    let options = naga::back::msl::Options { lang_version: if full { (2, 3) } else { (1, 2) }, ..Default::default() };
    naga::back::msl::write_string(&module, &info, &options, &Default::default())
        .unwrap_or_else(|e| panic!("{what} as MSL: {e}"));
    let mut out = String::new();
    let model = naga::back::hlsl::ShaderModel::V6_2;
    let mut options = naga::back::hlsl::Options::default();
    if full {
        options.shader_model = model;
        options.immediates_target = Some(naga::back::hlsl::BindTarget::default());
    }
    let pipeline = Default::default();
    naga::back::hlsl::Writer::new(&mut out, &options, &pipeline)
        .write(&module, &info, None)
        .unwrap_or_else(|e| panic!("{what} as HLSL: {e}"));
}

#[test]
fn static_shaders_are_valid_everywhere() {
    for (name, text) in static_shaders() {
        check(name, &text, name.contains("native") || text.contains("subgroup"));
    }
}

fn device(portable: bool) -> Arc<Device> {
    noop_device(portable).unwrap().expect("wgpu is built with its noop backend for tests")
}

/// A program of one row, on leaves that are stored as `d`.
fn row_program(r: &rtorch_ir::table::Row, d: DType) -> Program {
    let (mut p, out) = build(Program::new(), || {
        let args: Vec<Ex> = (0..r.arity)
            .map(|i| {
                let leaf = if r.class == Class::Select && i == 0 { DType::Bool } else { d };
                let x = Ex::leaf(leaf);
                x.cast(leaf.ctype().dtype())
            })
            .collect();
        Ex::apply(r.op, &args)
    });
    p.outputs.push(out.0);
    p
}

#[test]
fn every_row_prints_valid_kernels() {
    for portable in [false, true] {
        let dev = device(portable);
        dev.start_recording();
        for r in ROWS {
            let dtypes: &[DType] = match r.class {
                Class::Num | Class::Compare | Class::Select => &[DType::F32, DType::I64, DType::U8],
                Class::Float | Class::Round | Class::Test => &[DType::F32, DType::BF16],
                Class::Int => &[DType::I32, DType::I64],
                Class::Logic => &[DType::Bool],
                Class::Random => &[DType::I64],
            };
            for &d in dtypes {
                let p = row_program(r, d);
                let ins: Vec<T> = p.leaves.iter().map(|&l| T::empty(&dev, l, &[5])).collect();
                let out = T::empty(&dev, p.dtype(p.outputs[0]), &[5]);
                let leaves: Vec<GpuArg> = ins.iter().map(T::arg).collect();
                dev.map(&p, &[5], &leaves, &[out.arg()]).unwrap();
            }
        }
        let all = dev.take_recording();
        assert!(all.len() >= ROWS.len());
        for r in &all {
            check("a row", &r.text, !portable);
        }
    }
}

/// Runs many primitives in several dtypes and layouts.
fn primitives(dev: &Arc<Device>) {
    let f = |d: DType, shape: &[usize]| T::empty(dev, d, shape);
    for d in [DType::F32, DType::F16, DType::I64, DType::U8, DType::Bool] {
        let x = f(d, &[4, 300]);
        let acc = if d.is_float() { DType::F32 } else { DType::I64 };
        for axes in [&[1][..], &[0], &[0, 1]] {
            let axes = Axes::from_slice(axes);
            let sum = Prim::Reduce { op: ReduceOp::Sum, axes: axes.clone(), keepdim: false, dtype: acc };
            run(dev, &sum, &[&x]);
            run(dev, &Prim::Reduce { op: ReduceOp::Max, axes: axes.clone(), keepdim: true, dtype: d }, &[&x]);
            run(dev, &Prim::Reduce { op: ReduceOp::ArgMin, axes, keepdim: false, dtype: DType::I64 }, &[&x]);
        }
        run(dev, &Prim::Sort { axis: 1, descending: true, stable: true }, &[&x]);
        run(dev, &Prim::Scan { op: ScanOp::Max, axis: 1 }, &[&x]);
        let index = f(DType::I64, &[7]);
        run(dev, &Prim::IndexSelect { axis: 0 }, &[&x, &index]);
        run(dev, &Prim::Cat { axis: 1 }, &[&x, &x]);
        let src = f(d, &[7, 300]);
        run(dev, &Prim::IndexAdd { axis: 0, op: ScatterOp::Set }, &[&x, &index, &src]);
        if d != DType::Bool {
            for op in [ScatterOp::Add, ScatterOp::Mul, ScatterOp::Max] {
                run(dev, &Prim::IndexAdd { axis: 0, op }, &[&x, &index, &src]);
            }
            let view = Layout::contiguous(&[20]).unfold(0, 5, 3);
            let g = f(d, &view.shape);
            run(dev, &Prim::ScatterView { view, base: Shape::from_slice(&[20]) }, &[&g]);
            let (a, b) = (f(d, &[2, 40, 3000]), f(d, &[2, 3000, 50]));
            run(dev, &Prim::MatMul { bias: false, alpha: 1.0, beta: 1.0 }, &[&a, &b]);
        }
    }
    for d in [DType::F32, DType::BF16] {
        let x = f(d, &[4, 6, 16, 20]);
        run(dev, &Prim::Softmax { axis: 3, log: true }, &[&x]);
        run(dev, &Prim::SoftmaxGrad { axis: 1, log: false }, &[&x, &x]);
        run(dev, &Prim::Scan { op: ScanOp::LogSumExp, axis: 2 }, &[&x]);
        run(dev, &Prim::VarMean { axes: Axes::from_slice(&[0, 2]), keepdim: true, correction: 1.0 }, &[&x]);
        let two = |v: usize| Spatial::from_slice(&[v, v]);
        let params = ConvParams { stride: two(1), padding: two(1), dilation: two(1), groups: 2 };
        let w = f(d, &[8, 3, 3, 3]);
        let y = &run(dev, &Prim::Conv { params: params.clone(), bias: false }, &[&x, &w])[0];
        let input = Shape::from_slice(&[4, 6, 16, 20]);
        run(dev, &Prim::ConvGradInput { params: params.clone(), input: input.clone() }, &[y, &w]);
        run(dev, &Prim::ConvGradWeight { params, weight: Shape::from_slice(&[8, 3, 3, 3]) }, &[y, &x]);
        let pool = PoolParams {
            kernel: two(2),
            stride: two(2),
            padding: two(0),
            dilation: two(1),
            out: Spatial::from_slice(&[8, 10]),
            count_include_pad: true,
            divisor: None,
        };
        let m = run(dev, &Prim::MaxPool { params: pool.clone() }, &[&x]);
        run(dev, &Prim::MaxPoolGrad { input: input.clone() }, &[&m[0], &m[1]]);
        run(dev, &Prim::AvgPool { params: pool.clone() }, &[&x]);
        run(dev, &Prim::AvgPoolGrad { params: pool, input }, &[&m[0]]);
        let (c, n) = (f(d, &[6]), f(d, &[20]));
        let b = run(dev, &Prim::BatchNorm { eps: 1e-5, weight: true, bias: true }, &[&x, &c, &c]);
        run(dev, &Prim::BatchNormGrad { eps: 1e-5, weight: true }, &[&x, &x, &b[1], &b[2], &c]);
        let norm = Prim::LayerNorm { dims: 1, eps: 1e-5, weight: true, bias: true, rms: false };
        let l = run(dev, &norm, &[&x, &n, &n]);
        run(dev, &Prim::LayerNormGrad { dims: 1, weight: true, rms: false }, &[&x, &x, &l[1], &l[2], &n]);
        let p = rtorch_ir::prim::AttentionParams { causal: true, scale: 0.5, mask: false };
        let a = run(dev, &Prim::Attention(p.clone()), &[&x, &x, &x]);
        run(dev, &Prim::AttentionGrad(p), &[&x, &x, &x, &x, &a[0], &a[1]]);
    }
}

#[test]
fn every_primitive_prints_valid_kernels() {
    for portable in [false, true] {
        let dev = device(portable);
        dev.start_recording();
        primitives(&dev);
        let all = dev.take_recording();
        let mut texts: Vec<&str> = all.iter().map(|r| r.text.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert!(texts.len() > 60, "{}", texts.len());
        for t in texts {
            check("a primitive", t, !portable);
        }
    }
}

#[test]
fn constants_and_sizes_compile_nothing() {
    let dev = device(true);
    let go = |n: usize, c: f64| {
        let (mut p, out) = build(Program::new(), || Ex::leaf(DType::F32) * c);
        p.outputs.push(out.0);
        let (x, y) = (T::empty(&dev, DType::F32, &[n]), T::empty(&dev, DType::F32, &[n]));
        dev.map(&p, &[n], &[x.arg()], &[y.arg()]).unwrap();
        dev.counters().pipelines
    };
    let first = go(10, 2.0);
    assert_eq!(go(2000, 0.1), first);
}

// ---- samples for wgpu-py

/// A launch with what its operands are, in the order of the bindings.
struct Sample {
    name: &'static str,
    launch: Recorded,
    operands: Vec<(&'static str, DType, Vec<usize>, u64)>,
}

fn sample(name: &'static str, ins: &[(DType, &[usize])], f: impl FnOnce(&Arc<Device>, &[T]) -> Vec<T>) -> Sample {
    let dev = device(true);
    let ins: Vec<T> = ins.iter().map(|(d, s)| T::empty(&dev, *d, s)).collect();
    dev.start_recording();
    let outs = f(&dev, &ins);
    let all = dev.take_recording();
    assert_eq!(all.len(), 1, "{name}");
    let describe = |role, t: &T| (role, t.dtype, t.layout.shape.to_vec(), t.buffer.offset());
    let mut operands: Vec<_> = ins.iter().map(|t| describe("in", t)).collect();
    operands.extend(outs.iter().map(|t| describe("out", t)));
    Sample { name, launch: all[0].clone(), operands }
}

fn pointwise(name: &'static str, ins: &[(DType, &[usize])], shape: &[usize], f: impl FnOnce() -> Ex) -> Sample {
    sample(name, ins, |dev, ins| {
        let (mut p, out) = build(Program::new(), f);
        p.outputs.push(out.0);
        let y = T::empty(dev, p.dtype(out.0), shape);
        let leaves: Vec<GpuArg> = ins.iter().map(T::arg).collect();
        dev.map(&p, shape, &leaves, &[y.arg()]).unwrap();
        vec![y]
    })
}

fn samples() -> Vec<Sample> {
    use DType::{BF16, Bool, F16, F32, I64, U8};
    let leaf = Ex::leaf;
    let n: &[usize] = &[1003];
    let sum = |axis| Prim::Reduce { op: ReduceOp::Sum, axes: Axes::from_slice(&[axis]), keepdim: false, dtype: F32 };
    let one = |name, prim: Prim, ins: &[(DType, &[usize])]| {
        sample(name, ins, move |dev, ins| run(dev, &prim, &ins.iter().collect::<Vec<_>>()))
    };
    let two = |v: usize| Spatial::from_slice(&[v, v]);
    vec![
        pointwise("map_chain", &[(F32, n)], n, || {
            let x = leaf(F32);
            x * ex::sigmoid(x) + ex::tanh(x) * 0.5 - ex::sqrt(ex::abs(x))
        }),
        pointwise("map_broadcast", &[(F32, &[4, 5]), (F32, &[5])], &[4, 5], || leaf(F32) * leaf(F32)),
        pointwise("map_compare", &[(F32, n), (F32, n)], n, || ex::lt(leaf(F32), leaf(F32))),
        pointwise("map_uint8", &[(U8, n)], n, || {
            let x = leaf(U8).cast(DType::I32);
            (x + x.lit(200.0)).cast(U8)
        }),
        pointwise("map_half", &[(F16, n)], n, || ex::exp(leaf(F16).cast(F32)).cast(F16)),
        pointwise("map_bfloat16", &[(BF16, n)], n, || (leaf(BF16).cast(F32) * 3.0).cast(BF16)),
        pointwise("map_int64", &[(I64, n), (I64, n)], n, || ex::floor_divide(leaf(I64), leaf(I64))),
        pointwise("map_erf", &[(F32, n)], n, || ex::erf(leaf(F32))),
        pointwise("map_sin", &[(F32, n)], n, || ex::sin(leaf(F32) * 1000.0)),
        pointwise("map_arange", &[], n, || Ex::index().cast(F32) * 0.5),
        pointwise("map_where", &[(Bool, n), (F32, n)], n, || {
            let (c, x) = (leaf(Bool), leaf(F32));
            ex::where_(c, x, -x)
        }),
        one("reduce_rows", sum(1), &[(F32, &[7, 300])]),
        one("reduce_columns", sum(0), &[(F32, &[200, 64])]),
        one(
            "reduce_argmax",
            Prim::Reduce { op: ReduceOp::ArgMax, axes: Axes::from_slice(&[1]), keepdim: false, dtype: I64 },
            &[(F32, &[9, 50])],
        ),
        one("softmax", Prim::Softmax { axis: 1, log: false }, &[(F32, &[6, 70])]),
        one("matmul", Prim::MatMul { bias: false, alpha: 1.0, beta: 1.0 }, &[(F32, &[2, 40, 33]), (F32, &[2, 33, 50])]),
        one("cumsum", Prim::Scan { op: ScanOp::Sum, axis: 1 }, &[(F32, &[3, 700])]),
        // the kernel binds the weight before the input
        sample("conv2d", &[(F32, &[3, 8, 3, 3]), (F32, &[2, 8, 9, 7])], |dev, ins| {
            let params = ConvParams { stride: two(1), padding: two(1), dilation: two(1), groups: 1 };
            run(dev, &Prim::Conv { params, bias: false }, &[&ins[1], &ins[0]])
        }),
    ]
}

/// The text of a sample's file: what Python needs to run it, as comments, then the shader.
fn file_text(s: &Sample) -> String {
    let join = |v: &[u32]| v.iter().map(|w| w.to_string()).collect::<Vec<_>>().join(" ");
    let mut t = "// Printed by rtorch-gpu for tests/test_shaders.py (cargo test, RTORCH_UPDATE=1).\n".to_string();
    let _ = writeln!(t, "// groups: {}", join(&s.launch.groups));
    for words in s.launch.params.chunks(16) {
        let _ = writeln!(t, "// params: {}", join(words));
    }
    for ((role, d, shape, offset), size) in s.operands.iter().zip(&s.launch.bindings) {
        let shape: Vec<String> = shape.iter().map(|v| v.to_string()).collect();
        let _ = writeln!(t, "// binding: {role} {} {} {offset} {size}", d.name(), shape.join("x"));
    }
    t + &s.launch.text
}

#[test]
fn the_samples_for_wgpu_py_are_what_is_printed() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/wgsl");
    let update = std::env::var("RTORCH_UPDATE").as_deref() == Ok("1");
    for s in samples() {
        check(s.name, &s.launch.text, false);
        assert!(!s.launch.immediates);
        let (text, path) = (file_text(&s), dir.join(format!("{}.wgsl", s.name)));
        if update {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(&path, text).unwrap();
        } else {
            let kept = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(kept == text, "{}: the printed kernel changed; look at it, then run with RTORCH_UPDATE=1", s.name);
        }
    }
}
