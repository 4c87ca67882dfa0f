//! Reductions along axes: sum, product, extremes, any/all, argmax, values with positions, variance with mean. The
//! prologue is evaluated as values are read. The order is a function of shape and axes alone. Shader: `reduce.wgsl`.

use std::sync::Arc;

use rtorch_ir::prim::{Axes, ReduceOp};
use rtorch_ir::{CType, DType, Error, Layout, Program, Result, ScalarOp};
use smallvec::SmallVec;

use crate::access::word;
use crate::device::Device;
use crate::emit::{convert, load, store, suffix, type_name};
use crate::kernel::{Id, Kernel, Names, Operand, broadcast, fits, fold, splice};
use crate::lanes::{self, Field, moved};
use crate::work::Work;
use crate::{GpuArg, GpuSource};

const TEMPLATE: &str = include_str!("../../../shaders/reduce.wgsl");
/// A part is folded by one set of lanes; longer rows are cut where there are few of them.
const THREAD_SPAN: usize = 256;
const GROUP_SPAN: usize = 8192;
/// With this many rows there is work enough without cutting them.
const MANY_ROWS: usize = 128;

/// What is folded.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Fold {
    Plain(ReduceOp),
    /// Value and position.
    Extreme {
        largest: bool,
    },
    /// Variance and mean; the divisor is the count minus a correction.
    Var,
}

impl Fold {
    fn code(self) -> u32 {
        match self {
            Fold::Plain(op) => op as u32,
            Fold::Extreme { largest } => 16 + largest as u32,
            Fold::Var => 18,
        }
    }
    /// Is the position kept?
    fn positional(self) -> Option<bool> {
        match self {
            Fold::Plain(ReduceOp::ArgMax) => Some(true),
            Fold::Plain(ReduceOp::ArgMin) => Some(false),
            Fold::Extreme { largest } => Some(largest),
            Fold::Plain(
                ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min | ReduceOp::Any | ReduceOp::All,
            )
            | Fold::Var => None,
        }
    }
    /// The row of the table that folds two values.
    fn row(op: ReduceOp) -> Option<ScalarOp> {
        match op {
            ReduceOp::Sum => Some(ScalarOp::Add),
            ReduceOp::Prod => Some(ScalarOp::Mul),
            ReduceOp::Max => Some(ScalarOp::Maximum),
            ReduceOp::Min => Some(ScalarOp::Minimum),
            ReduceOp::Any => Some(ScalarOp::LogicalOr),
            ReduceOp::All => Some(ScalarOp::LogicalAnd),
            ReduceOp::ArgMax | ReduceOp::ArgMin => None,
        }
    }
}

/// The value that leaves others as they are.
fn neutral(op: ReduceOp, t: CType) -> String {
    let (zero, one) = match t {
        CType::Bool => ("false", "true"),
        CType::I32 => ("0", "1"),
        CType::I64 => ("rt_i64_make(0u, 0u)", "rt_i64_make(1u, 0u)"),
        CType::F32 | CType::F64 | CType::C64 | CType::C128 => ("0.0", "1.0"),
    };
    let extreme = |largest: bool| match (t, largest) {
        (CType::Bool, l) => (if l { "true" } else { "false" }).to_string(),
        (CType::I32, true) => "2147483647".to_string(),
        (CType::I32, false) => "bitcast<i32>(0x80000000u)".to_string(),
        (CType::I64, true) => "rt_i64_make(0xffffffffu, 0x7fffffffu)".to_string(),
        (CType::I64, false) => "rt_i64_make(0u, 0x80000000u)".to_string(),
        (CType::F32 | CType::F64 | CType::C64 | CType::C128, true) => "rt_inf()".to_string(),
        (CType::F32 | CType::F64 | CType::C64 | CType::C128, false) => "rt_from_bits(0xff800000u)".to_string(),
    };
    match op {
        ReduceOp::Sum | ReduceOp::Any => zero.to_string(),
        ReduceOp::Prod | ReduceOp::All => one.to_string(),
        ReduceOp::Max | ReduceOp::ArgMax => extreme(false),
        ReduceOp::Min | ReduceOp::ArgMin => extreme(true),
    }
}

/// `alias State`, its start, its merge and its words in memory. `more` makes a state of one value at position `r`.
struct StateText {
    text: String,
    /// A state of value `v` at position `r`.
    one: String,
    /// The state `s` of a lane further on (`lanes.rs`).
    moved: String,
    words: usize,
}

fn state(what: Fold, t: CType) -> StateText {
    let ty = type_name(t);
    let value_words = if t == CType::I64 { 2 } else { 1 };
    match (what, what.positional()) {
        (Fold::Var, _) => StateText {
            text: "struct State { n: f32, mean: f32, m2: f32 }\n\
                   fn start() -> State { return State(0.0, 0.0, 0.0); }\n\
                   fn merge(a: State, b: State) -> State {\n\
                   if (b.n == 0.0) { return a; }\n\
                   let n = a.n + b.n;\nlet d = b.mean - a.mean;\nlet f = b.n / n;\n\
                   return State(n, a.mean + d * f, a.m2 + b.m2 + d * d * a.n * f);\n}\n\
                   fn save(at: u32, s: State) { partial[at] = bitcast<u32>(s.n); partial[at + 1u] = \
                   bitcast<u32>(s.mean); partial[at + 2u] = bitcast<u32>(s.m2); }\n\
                   fn restore(at: u32) -> State { return State(bitcast<f32>(partial[at]), \
                   bitcast<f32>(partial[at + 1u]), bitcast<f32>(partial[at + 2u])); }\n"
                .to_string(),
            one: "State(1.0, v, 0.0)".to_string(),
            moved: moved(&[Field::Words("s.n"), Field::Words("s.mean"), Field::Words("s.m2")]),
            words: 3,
        },
        (_, Some(largest)) => {
            let op = if largest { ReduceOp::Max } else { ReduceOp::Min };
            let (start, cmp) = (neutral(op, t), if largest { "gt" } else { "lt" });
            let beats = match t {
                CType::F32 | CType::F64 | CType::C64 | CType::C128 => {
                    format!("(rt_isnan_f32(a) && !rt_isnan_f32(b)) || rt_{cmp}_f32(a, b)")
                }
                CType::Bool => (if largest { "a && !b" } else { "!a && b" }).to_string(),
                CType::I32 | CType::I64 => format!("rt_{cmp}_{}(a, b)", suffix(t)),
            };
            let put = if t == CType::Bool { "select(0, 1, s.v)" } else { "s.v" };
            let stored = if t == CType::Bool { DType::I32 } else { t.dtype() };
            let get = if t == CType::Bool { "(partial[at] != 0u)".to_string() } else { load("partial", stored, "at") };
            let get = get.replace("2u * at + 1u", "at + 1u").replace("2u * at", "at");
            let save = store("partial", stored, "at", put);
            let save = save.replace("2u * at + 1u", "at + 1u").replace("2u * at", "at").replace('\n', " ");
            StateText {
                text: format!(
                    "struct State {{ v: {ty}, i: u32 }}\n\
                     fn start() -> State {{ return State({start}, 0xffffffffu); }}\n\
                     fn beats(a: {ty}, b: {ty}) -> bool {{ return {beats}; }}\n\
                     fn merge(a: State, b: State) -> State {{\n\
                     if (b.i == 0xffffffffu) {{ return a; }}\n\
                     if (a.i == 0xffffffffu || beats(b.v, a.v)) {{ return b; }}\n\
                     if (b.i < a.i && !beats(a.v, b.v)) {{ return b; }}\nreturn a;\n}}\n\
                     fn save(at: u32, s: State) {{ {save} partial[at + {value_words}u] = s.i; }}\n\
                     fn restore(at: u32) -> State {{ return State({get}, partial[at + {value_words}u]); }}\n"
                ),
                one: "State(v, r)".to_string(),
                moved: moved(&[Field::Of("s.v", t), Field::Words("s.i")]),
                words: value_words + 1,
            }
        }
        (Fold::Plain(op), None) => plain_state(op, t),
        (Fold::Extreme { .. }, None) => {
            StateText { text: String::new(), one: String::new(), moved: String::new(), words: 1 }
        }
    }
}

/// The state of a fold of values alone: the value.
fn plain_state(op: ReduceOp, t: CType) -> StateText {
    let row = Fold::row(op).unwrap_or(ScalarOp::Add).row();
    // values from memory leave nothing to simplify: no need for the helper's care
    let merge = match (op, t) {
        (ReduceOp::Sum, CType::F32) => "a + b".to_string(),
        _ => format!("{}_{}(a, b)", row.wgsl, suffix(t)),
    };
    let (put, get) = match t {
        CType::Bool => ("partial[at] = select(0u, 1u, s);".to_string(), "(partial[at] != 0u)".to_string()),
        CType::I64 => (
            "partial[at] = rt_words(s).x; partial[at + 1u] = rt_words(s).y;".to_string(),
            "rt_i64_make(partial[at], partial[at + 1u])".to_string(),
        ),
        CType::I32 | CType::F32 | CType::F64 | CType::C64 | CType::C128 => {
            ("partial[at] = bitcast<u32>(s);".to_string(), load("partial", t.dtype(), "at"))
        }
    };
    StateText {
        text: format!(
            "alias State = {};\nfn start() -> State {{ return {}; }}\n\
             fn merge(a: State, b: State) -> State {{ return {merge}; }}\n\
             fn save(at: u32, s: State) {{ {put} }}\nfn restore(at: u32) -> State {{ return {get}; }}\n",
            type_name(t),
            neutral(op, t),
        ),
        one: "v".to_string(),
        moved: moved(&[Field::Of("s", t)]),
        words: if t == CType::I64 { 2 } else { 1 },
    }
}

/// What `put` does with a finished state.
fn finish_text(what: Fold, t: CType, outs: &[Operand], names: &Names, correction: usize) -> String {
    let values: SmallVec<[(String, CType); 2]> = match (what, what.positional()) {
        (Fold::Var, _) => {
            let divisor = format!("max(s.n - bitcast<f32>({}), 0.0)", word(correction));
            SmallVec::from_vec(vec![(format!("s.m2 / ({divisor})"), CType::F32), ("s.mean".to_string(), CType::F32)])
        }
        (Fold::Extreme { .. }, _) => {
            SmallVec::from_vec(vec![("s.v".to_string(), t), ("rt_i64_of_u32(s.i)".to_string(), CType::I64)])
        }
        (Fold::Plain(_), Some(_)) => SmallVec::from_vec(vec![("rt_i64_of_u32(s.i)".to_string(), CType::I64)]),
        (Fold::Plain(_), None) => SmallVec::from_vec(vec![("s".to_string(), t)]),
    };
    let mut text = String::new();
    for (i, (out, (v, from))) in outs.iter().zip(values).enumerate() {
        let at = format!("at{i}");
        text += &out.access.print(&at, &["k"]);
        text += &store(&names.of(out.slot), out.dtype, &at, &convert(&v, from, out.dtype.ctype()));
    }
    text
}

/// How a reduction of `n` values to each of `rows` results is cut: lanes per part, parts per row.
fn plan(rows: usize, n: usize, inner: bool) -> (u32, usize) {
    if n <= 32 || !inner && rows >= 32 {
        return (1, n.div_ceil(THREAD_SPAN).max(1));
    }
    let lanes = if n <= 1024 { 32 } else { 256 };
    let parts = if rows < MANY_ROWS { n.div_ceil(GROUP_SPAN) } else { n.div_ceil(GROUP_SPAN * 16) };
    (lanes, parts.max(1))
}

impl Device {
    /// Folds `source` over `axes` into `outs` (of word types, of the reduced shape without the axes kept).
    pub(crate) fn fold(
        self: &Arc<Self>,
        what: Fold,
        source: &GpuSource,
        axes: &[usize],
        outs: &[GpuArg],
        correction: f32,
    ) -> Result<()> {
        if outs[0].layout.shape.contains(&0) {
            return Ok(());
        }
        let kept: SmallVec<[usize; 5]> = (0..source.shape.len()).filter(|d| !axes.contains(d)).collect();
        let rows: usize = kept.iter().map(|&d| source.shape[d]).product();
        let n: usize = axes.iter().map(|&d| source.shape[d]).product();
        let last = (0..source.shape.len()).rev().find(|&d| source.shape[d] > 1);
        let (lanes, parts) = plan(rows, n, last.is_none_or(|d| axes.contains(&d)));
        let span = n.div_ceil(parts);
        let t = source.program.ctype(source.program.outputs[0]);
        let text = state(what, t);
        let mut k = Kernel::new(self, Id::Reduce);
        k.key(what.code() << 8 | (t as u32) << 4);
        k.key(lanes << 1 | (parts > 1) as u32);
        k.words(&[rows as u32, n as u32, parts as u32, span as u32]);
        let c = k.word(correction.to_bits());
        let src = k.source(source, &[&kept, axes])?;
        let step = format!(
            "fn step(s: State, k: u32, r: u32) -> State {{\nlet v = src(k, r);\nreturn merge(s, {});\n}}\n",
            text.one
        );
        let groups = fold((rows * parts).div_ceil(256 / lanes as usize) as u64);
        if parts == 1 {
            let outs = bind_outs(&mut k, outs)?;
            return k.launch(groups, |names| {
                let io = format!(
                    "const LANES = {lanes}u;\n{}fn put(k: u32, part: u32, s: State) {{\n{}}}\n",
                    src.function(names, "src"),
                    finish_text(what, t, &outs, names, c)
                );
                let op = without_memory(&text.text) + &step;
                template(self, &io, &op, &text.moved)
            });
        }
        // partial states go to memory and are folded once more
        let memory = Work::temporary(self, DType::I32, &[rows * parts * text.words])?;
        let words = text.words;
        let slot = k.operand(&memory.arg(), &[&[0]], false)?;
        k.launch(groups, |names| {
            let base = word(slot.access.word);
            let io = format!(
                "const LANES = {lanes}u;\n{}fn put(k: u32, part: u32, s: State) {{\n\
                 save({base} + (k * P.w[0].z + part) * {words}u, s);\n}}\n",
                src.function(names, "src"),
            );
            let op = text.text.replace("partial", &names.of(slot.slot)) + &step;
            template(self, &io, &op, &text.moved)
        })?;
        self.fold_parts(what, t, &memory, rows, parts, outs, correction)
    }

    /// The second pass: folds the states of each row's parts.
    fn fold_parts(
        self: &Arc<Self>,
        what: Fold,
        t: CType,
        memory: &Work,
        rows: usize,
        parts: usize,
        outs: &[GpuArg],
        correction: f32,
    ) -> Result<()> {
        let text = state(what, t);
        let lanes = if parts <= 32 { 1 } else { 32u32 };
        let mut k = Kernel::new(self, Id::Reduce);
        k.key(what.code() << 8 | (t as u32) << 4 | 1);
        k.key(lanes);
        k.words(&[rows as u32, parts as u32, 1, parts as u32]);
        let c = k.word(correction.to_bits());
        let slot = k.operand(&memory.arg(), &[&[0]], false)?;
        let outs = bind_outs(&mut k, outs)?;
        let words = text.words;
        k.launch(fold(rows.div_ceil(256 / lanes as usize) as u64), |names| {
            let base = word(slot.access.word);
            let io = format!(
                "const LANES = {lanes}u;\nfn put(k: u32, part: u32, s: State) {{\n{}}}\n",
                finish_text(what, t, &outs, names, c)
            );
            let op = format!(
                "{}fn step(s: State, k: u32, r: u32) -> State {{ return merge(s, restore({base} + (k * P.w[0].y + r) * \
                 {words}u)); }}\n",
                text.text.replace("partial", &names.of(slot.slot))
            );
            template(self, &io, &op, &text.moved)
        })
    }

    /// `Prim::Reduce`.
    pub(crate) fn reduce(
        self: &Arc<Self>,
        op: ReduceOp,
        axes: &Axes,
        source: &GpuSource,
        out: &GpuArg,
        dtype: DType,
    ) -> Result<()> {
        let mut program = source.program.clone();
        let value = program.outputs[0];
        let op = match (op, program.ctype(value)) {
            (ReduceOp::Max, CType::Bool) => ReduceOp::Any,
            (ReduceOp::Min, CType::Bool) => ReduceOp::All,
            (op, _) => op,
        };
        let to = match op {
            ReduceOp::Sum | ReduceOp::Prod => dtype.ctype().dtype(),
            ReduceOp::Any | ReduceOp::All => DType::Bool,
            ReduceOp::Max | ReduceOp::Min | ReduceOp::ArgMax | ReduceOp::ArgMin => program.ctype(value).dtype(),
        };
        program.outputs[0] = program.cast(value, to);
        let source = GpuSource { program: &program, ..*source };
        // partial results of windows are added where they lie
        let windows = source.shape.iter().product::<usize>() * 4 + 1024 > self.profile.binding as usize;
        let work = if windows { Work::contiguous(self, out)? } else { Work::of(self, out)? };
        let layout = squeezed(&work.layout, source.shape.len(), axes);
        let target = GpuArg { layout: &layout, ..work.arg() };
        self.reduce_windows(op, axes, &source, &target)?;
        work.finish(self, out)
    }

    /// As `fold` for one plain operation, halved where an operand exceeds a binding.
    fn reduce_windows(self: &Arc<Self>, op: ReduceOp, axes: &[usize], source: &GpuSource, out: &GpuArg) -> Result<()> {
        let layouts: Result<SmallVec<[Layout; 8]>> =
            source.leaves.iter().map(|l| broadcast(l.layout, source.shape)).collect();
        let layouts = layouts?;
        let large = source.leaves.iter().zip(&layouts).any(|(a, l)| !fits(self, a.dtype, l));
        let row = Fold::row(op);
        let (Some(row), true) = (row, large) else {
            return self.fold(Fold::Plain(op), source, axes, &[*out], 0.0);
        };
        if crate::kernel::uses_index(source.program) {
            return Err(Error::memory("wgpu: a reduction of positions needs an operand that fits one binding"));
        }
        let dim = (0..source.shape.len()).find(|&d| source.shape[d] > 1).unwrap_or(0);
        let n = source.shape[dim];
        let halves = [(0, n / 2), (n / 2, n)];
        let kept = (0..dim).filter(|d| !axes.contains(d)).count();
        let other = Work::temporary(self, out.dtype, &out.layout.shape)?;
        for (i, (a, b)) in halves.into_iter().enumerate() {
            let parts: SmallVec<[Layout; 8]> = layouts.iter().map(|l| l.slice(dim, a, b, 1)).collect();
            let leaves: SmallVec<[GpuArg; 8]> =
                source.leaves.iter().zip(&parts).map(|(l, p)| GpuArg { layout: p, ..*l }).collect();
            let mut shape: SmallVec<[usize; 5]> = SmallVec::from_slice(source.shape);
            shape[dim] = b - a;
            let half = GpuSource { leaves: &leaves, shape: &shape, ..*source };
            if !axes.contains(&dim) {
                let part = out.layout.slice(kept, a, b, 1);
                self.reduce_windows(op, axes, &half, &GpuArg { layout: &part, ..*out })?;
            } else {
                let to = if i == 0 { *out } else { other.arg() };
                self.reduce_windows(op, axes, &half, &to)?;
            }
        }
        if axes.contains(&dim) {
            let mut p = Program::new();
            let (x, y) = (p.load(out.dtype), p.load(out.dtype));
            let logic = matches!(op, ReduceOp::Any | ReduceOp::All);
            let (a, b) = if logic { (p.cast(x, DType::Bool), p.cast(y, DType::Bool)) } else { (x, y) };
            let r = p.op(row, &[a, b]);
            let r = p.cast(r, out.dtype);
            p.outputs.push(r);
            self.map(&p, &out.layout.shape, &[*out, other.arg()], &[*out])?;
        }
        Ok(())
    }

    /// `Prim::Extreme` and `Prim::VarMean`: two outputs.
    pub(crate) fn fold_two(
        self: &Arc<Self>,
        what: Fold,
        axes: &[usize],
        source: &GpuSource,
        outs: &[GpuArg],
        correction: f64,
    ) -> Result<()> {
        let work = [Work::of(self, &outs[0])?, Work::of(self, &outs[1])?];
        let layouts = [0, 1].map(|i| squeezed(&work[i].layout, source.shape.len(), axes));
        let args = [0, 1].map(|i| GpuArg { layout: &layouts[i], ..work[i].arg() });
        self.fold(what, source, axes, &args, correction as f32)?;
        for i in 0..2 {
            work[i].finish(self, &outs[i])?;
        }
        Ok(())
    }
}

/// The layout of a reduced result without the dims of size 1 that `keepdim` left.
pub(crate) fn squeezed(l: &Layout, ndim: usize, axes: &[usize]) -> Layout {
    if l.ndim() < ndim || axes.is_empty() {
        return l.clone();
    }
    let mut out = l.clone();
    for &a in axes.iter().rev() {
        out = out.squeeze(a);
    }
    out
}

fn bind_outs(k: &mut Kernel, outs: &[GpuArg]) -> Result<SmallVec<[Operand; 2]>> {
    outs.iter()
        .map(|o| {
            let dims: SmallVec<[usize; 5]> = (0..o.layout.ndim()).collect();
            k.operand(o, &[&dims], false)
        })
        .collect()
}

/// The template filled, over subgroups where there are any.
fn template(dev: &Device, io: &str, op: &str, moved: &str) -> String {
    match lanes::text(dev, moved) {
        Some(l) => splice(TEMPLATE, &[("io", io), ("op", op), ("lanes", &l)]),
        None => splice(TEMPLATE, &[("io", io), ("op", op)]),
    }
}

/// The state's text without the functions over partial states' memory.
fn without_memory(text: &str) -> String {
    text.lines()
        .filter(|l| !l.starts_with("fn save") && !l.starts_with("fn restore"))
        .map(|l| format!("{l}\n"))
        .collect()
}
