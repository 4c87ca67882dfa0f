//! Running sums, products, extremes with positions, and log-sum-exp along an axis; and `nonzero`, whose places are a
//! running sum. Shader: `scan.wgsl`.

use std::sync::Arc;

use rtorch_ir::prim::ScanOp;
use rtorch_ir::{CType, DType, Layout, Program, Result};
use smallvec::SmallVec;

use crate::access::word;
use crate::device::Device;
use crate::emit::{convert, store, suffix, type_name};
use crate::kernel::{Id, Kernel, fold, grid, open_main, splice};
use crate::memory::Buffer;
use crate::work::Work;
use crate::{GpuArg, GpuSource};

const TEMPLATE: &str = include_str!("../../../shaders/scan.wgsl");
/// Lines up to this long, or this many of them, are each one thread's.
const SHORT: usize = 32;
const MANY: usize = 4096;

/// The state of a scan: its WGSL, and the values that are written of it.
fn state(op: ScanOp, t: CType) -> (String, Vec<(String, CType)>) {
    let (ty, sx) = (type_name(t), suffix(t));
    let float = matches!(t, CType::F32 | CType::F64 | CType::C64 | CType::C128);
    let plain = |start: &str, helper: &str| {
        format!(
            "alias State = {ty};\nfn start() -> State {{ return {start}; }}\n\
             fn one(k: u32, j: u32) -> State {{ return src(k, j); }}\n\
             fn merge(a: State, b: State) -> State {{ return {}; }}\n",
            // values from memory leave nothing to simplify: no need for the helper's care
            if float && helper == "add" { "a + b".to_string() } else { format!("rt_{helper}_{sx}(a, b)") }
        )
    };
    let literal = |v: &str| match t {
        CType::I64 => format!("rt_i64_make({v}u, 0u)"),
        CType::I32 => v.to_string(),
        CType::Bool | CType::F32 | CType::F64 | CType::C64 | CType::C128 => format!("{v}.0"),
    };
    match op {
        ScanOp::Sum => (plain(&literal("0"), "add"), vec![("s".to_string(), t)]),
        ScanOp::Prod => (plain(&literal("1"), "mul"), vec![("s".to_string(), t)]),
        ScanOp::Max | ScanOp::Min => {
            let wins = if op == ScanOp::Max { "ge" } else { "le" };
            let takes = match t {
                CType::Bool if op == ScanOp::Max => "b.v || !a.v".to_string(),
                CType::Bool => "!b.v || a.v".to_string(),
                _ if float => format!("rt_isnan_f32(b.v) || (!rt_isnan_f32(a.v) && rt_{wins}_f32(b.v, a.v))"),
                _ => format!("rt_{wins}_{sx}(b.v, a.v)"),
            };
            let zero = if t == CType::Bool { "false".to_string() } else { literal("0") };
            let text = format!(
                "struct State {{ v: {ty}, i: u32 }}\nfn start() -> State {{ return State({zero}, 0xffffffffu); }}\n\
                 fn one(k: u32, j: u32) -> State {{ return State(src(k, j), j); }}\n\
                 fn merge(a: State, b: State) -> State {{\nif (b.i == 0xffffffffu) {{ return a; }}\n\
                 if (a.i == 0xffffffffu || {takes}) {{ return b; }}\nreturn a;\n}}\n"
            );
            (text, vec![("s.v".to_string(), t), ("rt_i64_of_u32(s.i)".to_string(), CType::I64)])
        }
        ScanOp::LogSumExp => {
            let text = "alias State = vec2<f32>;\n\
                        fn start() -> State { return vec2<f32>(-3.4028234e38, 0.0); }\n\
                        fn one(k: u32, j: u32) -> State { let v = src(k, j); \
                        return merge(start(), vec2<f32>(v, 1.0)); }\n\
                        fn part(a: vec2<f32>, m: f32) -> f32 { if (a.x == m) { return a.y; } \
                        return a.y * rt_exp_f32(a.x - m); }\n\
                        fn merge(a: State, b: State) -> State {\nlet m = max(a.x, b.x);\n\
                        if (rt_isnan_f32(a.x) || rt_isnan_f32(b.x)) { return vec2<f32>(rt_nan(), 1.0); }\n\
                        return vec2<f32>(m, part(a, m) + part(b, m));\n}\n";
            (text.to_string(), vec![("s.x + rt_log_f32(s.y)".to_string(), CType::F32)])
        }
    }
}

impl Device {
    pub(crate) fn scan(self: &Arc<Self>, op: ScanOp, axis: usize, source: &GpuSource, outs: &[GpuArg]) -> Result<()> {
        let one = [1usize];
        let shape: &[usize] = if source.shape.is_empty() { &one } else { source.shape };
        if shape.contains(&0) {
            return Ok(());
        }
        let kept: SmallVec<[usize; 5]> = (0..shape.len()).filter(|&d| d != axis).collect();
        let n = shape[axis];
        let lines = shape.iter().product::<usize>() / n;
        let lanes = if n <= SHORT || lines >= MANY { 1 } else { 256u32 };
        let groups: &[&[usize]] = &[&kept, &[axis]];
        let mut k = Kernel::new(self, Id::Scan);
        let t = source.program.ctype(source.program.outputs[0]);
        k.key((op as u32) << 16 | (t as u32) << 10 | lanes);
        k.words(&[lines as u32, n as u32]);
        let src = k.source(&GpuSource { shape, ..*source }, groups)?;
        let mut works: SmallVec<[Work; 2]> = SmallVec::new();
        let mut targets = SmallVec::<[_; 2]>::new();
        for o in outs {
            let w = Work::of(self, o)?;
            let layout = crate::kernel::broadcast(&w.layout, shape)?;
            targets.push(k.operand(&GpuArg { layout: &layout, ..w.arg() }, groups, false)?);
            works.push(w);
        }
        k.launch(fold(lines.div_ceil(256 / lanes as usize) as u64), |names| {
            let (text, values) = state(op, t);
            let mut io = format!("const LANES = {lanes}u;\n{}", src.function(names, "src"));
            io += "fn write(k: u32, j: u32, s: State) {\n";
            for (i, (target, (v, from))) in targets.iter().zip(&values).enumerate() {
                let at = format!("at{i}");
                io += &target.access.print(&at, &["k", "j"]);
                io += &store(&names.of(target.slot), target.dtype, &at, &convert(v, *from, target.dtype.ctype()));
            }
            io += "}\n";
            splice(TEMPLATE, &[("io", &io), ("op", &text)])
        })?;
        for (w, o) in works.iter().zip(outs) {
            w.finish(self, o)?;
        }
        Ok(())
    }

    /// Running count of elements that are not zero, over the flattened operand.
    fn places(self: &Arc<Self>, source: &GpuSource) -> Result<Work> {
        let n: usize = source.shape.iter().product();
        let (flags, _) = {
            let mut p = source.program.clone();
            p.outputs[0] = p.cast(p.outputs[0], DType::Bool);
            self.materialise(&GpuSource { program: &p, ..*source }, DType::I32)?
        };
        // two levels: blocks side by side, then what comes before each block
        let blocks = n.div_ceil(BLOCK);
        let line = Layout::contiguous(&[n]);
        let flags = GpuArg { buffer: &flags, dtype: DType::I32, layout: &line };
        let program = Program::copy(DType::I32, DType::I32);
        let out = Work::temporary(self, DType::I32, &[blocks * BLOCK])?;
        if blocks == 1 {
            let leaves = [flags];
            let target = Layout::contiguous(&[n]);
            let source = GpuSource { program: &program, leaves: &leaves, shape: &[n] };
            self.scan(ScanOp::Sum, 0, &source, &[GpuArg { layout: &target, ..out.arg() }])?;
            return Ok(out);
        }
        let padded = Work::temporary(self, DType::I32, &[blocks * BLOCK])?;
        self.fill(&padded.arg(), rtorch_ir::Scalar::Int(0))?;
        let head = Layout::contiguous(&[n]);
        self.copy_elements(&flags, &GpuArg { layout: &head, ..padded.arg() })?;
        let square = Layout::contiguous(&[blocks, BLOCK]);
        let leaves = [GpuArg { layout: &square, ..padded.arg() }];
        let source = GpuSource { program: &program, leaves: &leaves, shape: &[blocks, BLOCK] };
        self.scan(ScanOp::Sum, 1, &source, &[GpuArg { layout: &square, ..out.arg() }])?;
        let totals = Layout::new(&[blocks], &[BLOCK as isize], BLOCK - 1);
        let sums = Work::temporary(self, DType::I32, &[blocks])?;
        let leaves = [GpuArg { layout: &totals, ..out.arg() }];
        let source = GpuSource { program: &program, leaves: &leaves, shape: &[blocks] };
        self.scan(ScanOp::Sum, 0, &source, &[sums.arg()])?;
        let rest = Layout::new(&[blocks - 1, BLOCK], &[BLOCK as isize, 1], BLOCK);
        let before = Layout::new(&[blocks - 1, BLOCK], &[1, 0], 0);
        let mut p = Program::new();
        let (a, b) = (p.load(DType::I32), p.load(DType::I32));
        let r = p.op(rtorch_ir::ScalarOp::Add, &[a, b]);
        p.outputs.push(r);
        let rest_arg = GpuArg { layout: &rest, ..out.arg() };
        self.map(&p, &rest.shape, &[rest_arg, GpuArg { layout: &before, ..sums.arg() }], &[rest_arg])?;
        Ok(out)
    }

    /// The number of elements that are not zero, and their int64 positions [count, ndim] in row-major order.
    pub fn nonzero(self: &Arc<Self>, source: &GpuSource) -> Result<(usize, Buffer)> {
        let n: usize = source.shape.iter().product();
        let nd = source.shape.len();
        if n == 0 {
            return Ok((0, self.alloc(0)?));
        }
        let places = self.places(source)?;
        let mut last = [0u8; 4];
        self.download(&places.buffer, 4 * (n - 1), &mut last)?;
        let count = u32::from_le_bytes(last) as usize;
        let buffer = self.alloc(count * nd * 8)?;
        let layout = Layout::contiguous(&[count, nd]);
        self.put_places(source.shape, &places, &GpuArg { buffer: &buffer, dtype: DType::I64, layout: &layout })?;
        Ok((count, buffer))
    }

    /// `Prim::Nonzero` into an output with as many rows as there are elements that are not zero.
    pub(crate) fn nonzero_into(self: &Arc<Self>, source: &GpuSource, out: &GpuArg) -> Result<()> {
        if source.shape.contains(&0) {
            return Ok(());
        }
        let places = self.places(source)?;
        self.put_places(source.shape, &places, out)
    }

    fn put_places(self: &Arc<Self>, shape: &[usize], places: &Work, out: &GpuArg) -> Result<()> {
        let n: usize = shape.iter().product();
        if shape.is_empty() || out.layout.shape[0] == 0 {
            return Ok(());
        }
        let mut k = Kernel::new(self, Id::Nonzero);
        k.key(shape.len() as u32);
        k.words(&[n as u32, out.layout.shape[0] as u32]);
        for &s in shape {
            k.word(s as u32);
        }
        let from = k.operand(&places.arg(), &[&[0]], false)?;
        let to = k.operand(out, &[&[0], &[1]], false)?;
        k.launch(grid(n as u64), |names| {
            let b = names.of(from.slot);
            let mut s = to.store_function(names, "put") + &open_main();
            s += &format!("if (t >= {}) {{ return; }}\n", word(0));
            s += &from.access.print("at", &["t"]);
            s += &format!(
                "let place = {b}[at];\nvar before = 0u;\nif (t > 0u) {{ before = {b}[at - 1u]; }}\n\
                 if (place == before || place > {}) {{ return; }}\nvar rest = t;\n",
                word(1)
            );
            for d in (0..shape.len()).rev() {
                let size = word(2 + d);
                s += &format!("put(place - 1u, {d}u, rt_i64_of_u32(rest % {size}));\nrest = rest / {size};\n");
            }
            s + "}\n"
        })
    }
}

/// Elements whose running count is one workgroup's, in `nonzero`.
const BLOCK: usize = 2048;
