//! Attention without a matrix of scores, forward and backward: three kernels of one template (`attention.wgsl`), each
//! thread of which owns a row and goes along the rows of the other side. Not here: short or very wide operands, whose
//! scores are matrices (`attention.rs`).

use std::fmt::Write;
use std::sync::Arc;

use rtorch_ir::prim::{AttentionParams, Axes, ReduceOp};
use rtorch_ir::program::{Ex, build};
use rtorch_ir::{CType, DType, Layout, Program, Result};

use crate::access::word;
use crate::device::Device;
use crate::emit::{convert, load, store};
use crate::kernel::{Id, Kernel, Names, Operand, fold, splice};
use crate::work::Work;
use crate::{GpuArg, GpuSource};

const TEMPLATE: &str = include_str!("../../../shaders/attention.wgsl");
/// Threads of a workgroup, one per own row.
const OWN: usize = 64;
/// Vectors of four in workgroup memory: 16 KiB, which every adapter has.
const QUADS: usize = 1024;
/// The widest rows that threads keep to themselves.
const WIDEST: usize = 256;
/// Fewer queries than this leave most threads of a group without a row.
const FEW: usize = 16;

/// Do these sizes (queries, widths of keys and values) suit the kernels?
pub(crate) fn suits(queries: usize, d: usize, e: usize) -> bool {
    queries >= FEW && d.max(e) <= WIDEST
}

/// Which of the three kernels.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Pass {
    Forward,
    Queries,
    KeysValues,
}

/// Operands of an attention, all of four dims, and their sizes.
pub(crate) struct Given<'a> {
    pub q: GpuArg<'a>,
    pub k: GpuArg<'a>,
    pub v: GpuArg<'a>,
    pub mask: Option<GpuArg<'a>>,
}

impl Given<'_> {
    fn queries(&self) -> usize {
        self.q.layout.shape[2]
    }
    fn keys(&self) -> usize {
        self.k.layout.shape[2]
    }
    /// Widths of queries and keys, and of values.
    fn widths(&self) -> [usize; 2] {
        [self.q.layout.shape[3], self.v.layout.shape[3]]
    }
}

/// What the gradients' kernels read besides.
struct Past<'a> {
    g: GpuArg<'a>,
    /// Per query the logarithm of its sum, and the dot product of gradient and result.
    lse: GpuArg<'a>,
    dots: GpuArg<'a>,
}

/// The operands of a kernel once bound.
struct Bound {
    q: Operand,
    k: Operand,
    v: Operand,
    g: Option<Operand>,
    lse: Option<Operand>,
    dots: Option<Operand>,
    mask: Option<Operand>,
    outs: Vec<Operand>,
}

/// The element of a matrix operand as a function of (matrix, row, column).
fn element(o: &Operand, names: &Names, name: &str) -> String {
    let v = convert(&load(&names.of(o.slot), o.dtype, "at"), o.dtype.ctype(), CType::F32);
    let at = o.access.print("at", &["m", "row", "c"]);
    format!("fn {name}(m: u32, row: u32, c: u32) -> f32 {{\n{at}return {v};\n}}\n")
}

/// A number per row as a function of (matrix, row).
fn per_row(o: &Operand, names: &Names, name: &str) -> String {
    let v = load(&names.of(o.slot), o.dtype, "at");
    let at = o.access.print("at", &["m", "row"]);
    format!("fn {name}(m: u32, row: u32) -> f32 {{\n{at}return {v};\n}}\n")
}

/// Four columns from `4 * c` on, zeros beyond `width`.
fn quad_function(name: &str, of: &str, width: usize) -> String {
    let part = |i: usize| {
        if width.is_multiple_of(4) {
            return format!("{of}(m, row, 4u * c + {i}u)");
        }
        format!("select(0.0, {of}(m, row, min(4u * c + {i}u, {}u)), 4u * c + {i}u < {width}u)", width - 1)
    };
    let parts: Vec<String> = (0..4).map(part).collect();
    format!("fn {name}(m: u32, row: u32, c: u32) -> vec4<f32> {{ return vec4<f32>({}); }}\n", parts.join(", "))
}

/// The score of a query and a key from their scaled product: masks, and minus infinity where there is no such pair.
fn score_function(mask: Option<&Operand>, names: &Names, causal: bool, own_keys: bool) -> String {
    let (queries, keys) = if own_keys { (word(2), word(1)) } else { (word(1), word(2)) };
    let mut hidden = format!("query >= {queries} || key >= {keys}");
    if causal {
        hidden += " || key > query";
    }
    let mut s =
        format!("fn score(m: u32, query: u32, key: u32, x: f32) -> f32 {{\nif ({hidden}) {{ return -rt_inf(); }}\n");
    match mask {
        None => s += "return x;\n",
        Some(o) => {
            s += &o.access.print("at", &["m", "query", "key"]);
            let v = load(&names.of(o.slot), o.dtype, "at");
            s += &match o.dtype {
                DType::Bool => format!("return select(-rt_inf(), x, {v});\n"),
                _ => format!("return x + {};\n", convert(&v, o.dtype.ctype(), CType::F32)),
            };
        }
    }
    s + "}\n"
}

/// `dot(a0, xs[...]) + ...` over `n` vectors.
fn dots(own: &str, memory: &str, at: &str, n: usize) -> String {
    let terms: Vec<String> = (0..n).map(|c| format!("dot({own}{c}, {memory}[({at}) * {n}u + {c}u])")).collect();
    terms.join(" + ")
}

/// `open`, `step` and `close` of the template.
#[derive(Default)]
struct Texts {
    open: String,
    step: String,
    close: String,
}

impl Texts {
    /// An own row in registers, times a factor.
    fn own(&mut self, name: &str, n: usize, factor: &str) {
        for c in 0..n {
            let _ = writeln!(self.open, "let {name}{c} = quad_{name}(m, row, {c}u){factor};");
        }
    }
    /// A sum in registers that starts at zero.
    fn sum(&mut self, name: &str, n: usize) {
        for c in 0..n {
            let _ = writeln!(self.open, "var {name}{c} = vec4<f32>();");
        }
    }
    /// Adds four rows of workgroup memory, weighted, to a sum.
    fn add(&mut self, name: &str, weight: &str, memory: &str, n: usize) {
        for c in 0..n {
            let at = |u: usize| format!("{weight}{u} * {memory}[(r + {u}u) * {n}u + {c}u]");
            let _ = writeln!(self.step, "{name}{c} = {name}{c} + (({} + {}) + ({} + {}));", at(0), at(1), at(2), at(3));
        }
    }
    /// Stores a sum times a factor.
    fn put(&mut self, name: &str, function: &str, n: usize, factor: &str) {
        for c in 0..n {
            let _ = writeln!(self.close, "{function}(m, row, {c}u, {name}{c}{factor});");
        }
    }

    /// A query's running maximum, sum and weighted values; `x` and `y` are vectors of four in rows of keys and values.
    fn forward(x: usize, y: usize) -> Texts {
        let mut t = Texts::default();
        t.own("q", x, " * scale");
        t.sum("o", y);
        t.open += "var top = -3.4028234e38;\nvar sum = 0.0;\n";
        for u in 0..4 {
            let dots = dots("q", "xs", &format!("r + {u}u"), x);
            let _ = writeln!(t.step, "let s{u} = score(m, row, j0 + r + {u}u, {dots});");
        }
        t.step += "let next = max(max(max(s0, s1), max(s2, s3)), top);\nif (next > top) {\n\
                   let change = rt_exp_f32(top - next);\ntop = next;\nsum = sum * change;\n";
        for c in 0..y {
            let _ = writeln!(t.step, "o{c} = o{c} * change;");
        }
        t.step += "}\n";
        for u in 0..4 {
            let _ = writeln!(t.step, "let p{u} = rt_exp_f32(s{u} - top);");
        }
        t.step += "sum = sum + ((p0 + p1) + (p2 + p3));\n";
        t.add("o", "p", "ys", y);
        // a query that sees no key gives zeros
        t.close += "let over = select(1.0 / sum, 0.0, sum == 0.0);\n";
        t.put("o", "put_y", y, " * over");
        t.close += "note(m, row, select(top + rt_log_f32(sum), -rt_inf(), sum == 0.0));\n";
        t
    }

    /// A query's gradient.
    fn queries(x: usize, y: usize) -> Texts {
        let mut t = Texts::default();
        t.own("q", x, " * scale");
        t.own("g", y, "");
        t.sum("d", x);
        t.open += "let dots = dots_at(m, row);\nlet shift = shift_at(m, row);\n";
        for u in 0..4 {
            let at = format!("r + {u}u");
            let _ = writeln!(t.step, "let s{u} = score(m, row, j0 + {at}, {});", dots("q", "xs", &at, x));
            let _ = writeln!(t.step, "let e{u} = rt_exp_f32(s{u} - shift) * ({} - dots);", dots("g", "ys", &at, y));
        }
        t.add("d", "e", "xs", x);
        t.put("d", "put_x", x, " * scale");
        t
    }

    /// The gradients of a key and its value.
    fn keys_values(x: usize, y: usize) -> Texts {
        let mut t = Texts::default();
        t.own("k", x, " * scale");
        t.own("v", y, "");
        t.sum("d", x);
        t.sum("w", y);
        for u in 0..4 {
            let at = format!("r + {u}u");
            let _ = writeln!(t.step, "let n{u} = min(j0 + {at}, {} - 1u);", word(2));
            let _ = writeln!(t.step, "let s{u} = score(m, j0 + {at}, row, {});", dots("k", "xs", &at, x));
            let _ = writeln!(t.step, "let p{u} = rt_exp_f32(s{u} - shift_at(m, n{u}));");
            let _ = writeln!(t.step, "let e{u} = p{u} * ({} - dots_at(m, n{u}));", dots("v", "ys", &at, y));
        }
        t.add("d", "e", "xs", x);
        t.add("w", "p", "ys", y);
        t.put("d", "put_x", x, " * scale");
        t.put("w", "put_y", y, "");
        t
    }
}

/// A function that stores four columns of a row, those there are.
fn put_function(o: &Operand, names: &Names, name: &str, width: usize) -> String {
    let mut s = format!("fn {name}(m: u32, row: u32, q: u32, v: vec4<f32>) {{\n");
    for (i, part) in ["x", "y", "z", "w"].iter().enumerate() {
        let _ = writeln!(s, "{{\nlet c = 4u * q + {i}u;");
        if !width.is_multiple_of(4) {
            let _ = writeln!(s, "if (c >= {width}u) {{ return; }}");
        }
        s += &o.access.print("at", &["m", "row", "c"]);
        s += &store(&names.of(o.slot), o.dtype, "at", &format!("v.{part}"));
        s += "}\n";
    }
    s + "}\n"
}

/// The functions over a kernel's operands.
fn io_text(pass: Pass, p: &AttentionParams, b: &Bound, [d, e]: [usize; 2], rows: usize, names: &Names) -> String {
    let own_keys = pass == Pass::KeysValues;
    let mut s = format!(
        "const XQ = {}u;\nconst YQ = {}u;\nconst ROWS = {rows}u;\nconst CAUSAL = {};\nconst OWN_KEYS = {own_keys};\n",
        d.div_ceil(4),
        e.div_ceil(4),
        p.causal
    );
    let matrices = [("q", Some(&b.q), d), ("k", Some(&b.k), d), ("v", Some(&b.v), e), ("g", b.g.as_ref(), e)];
    for (name, o, width) in matrices {
        let Some(o) = o else { continue };
        s += &element(o, names, &format!("{name}_at"));
        s += &quad_function(&format!("quad_{name}"), &format!("{name}_at"), width);
    }
    let (x, y) = if own_keys { ("quad_q", "quad_g") } else { ("quad_k", "quad_v") };
    for (name, of) in [("quad_x", x), ("quad_y", y)] {
        let _ = writeln!(s, "fn {name}(m: u32, row: u32, c: u32) -> vec4<f32> {{ return {of}(m, row, c); }}");
    }
    s += &score_function(b.mask.as_ref(), names, p.causal, own_keys);
    if let (Some(lse), Some(dots)) = (&b.lse, &b.dots) {
        s += &per_row(lse, names, "lse_at");
        s += &per_row(dots, names, "dots_at");
        // a query that sees nothing: its scores are all -inf, and exp gives 0 for any finite shift
        s += "fn shift_at(m: u32, row: u32) -> f32 {\nlet l = lse_at(m, row);\n\
              return select(l, 0.0, rt_isinf_f32(l));\n}\n";
    }
    match pass {
        Pass::Forward => {
            s += &put_function(&b.outs[0], names, "put_y", e);
            s += &b.outs[1].store_function(names, "note");
        }
        Pass::Queries => s += &put_function(&b.outs[0], names, "put_x", d),
        Pass::KeysValues => {
            s += &put_function(&b.outs[0], names, "put_x", d);
            s += &put_function(&b.outs[1], names, "put_y", e);
        }
    }
    s
}

impl Device {
    fn flash_pass(
        self: &Arc<Self>,
        pass: Pass,
        p: &AttentionParams,
        given: &Given,
        past: Option<&Past>,
        outs: &[GpuArg],
    ) -> Result<()> {
        let [d, e] = given.widths();
        let matrices: usize = given.q.layout.shape[..2].iter().product();
        let (own, other) = match pass {
            Pass::Forward | Pass::Queries => (given.queries(), given.keys()),
            Pass::KeysValues => (given.keys(), given.queries()),
        };
        let rows = (QUADS / (d.div_ceil(4) + e.div_ceil(4))).min(32) & !3;
        let tiles = own.div_ceil(OWN);
        let mut k = Kernel::new(self, Id::Attention);
        k.words(&[matrices as u32, own as u32, other as u32, tiles as u32, (p.scale as f32).to_bits(), 0, 0, 0]);
        k.key((pass as u32) << 1 | p.causal as u32);
        k.key((d as u32) << 16 | e as u32);
        let cube: &[&[usize]] = &[&[0, 1], &[2], &[3]];
        let mut operand = |a: Option<&GpuArg>, groups: &[&[usize]]| -> Result<Option<Operand>> {
            k.key(a.is_some() as u32);
            a.map(|a| k.operand(a, groups, false)).transpose()
        };
        let matrix = |o: Option<Operand>| o.ok_or_else(|| rtorch_ir::Error::runtime("attention without an operand"));
        let bound = Bound {
            q: matrix(operand(Some(&given.q), cube)?)?,
            k: matrix(operand(Some(&given.k), cube)?)?,
            v: matrix(operand(Some(&given.v), cube)?)?,
            g: operand(past.map(|p| &p.g), cube)?,
            lse: operand(past.map(|p| &p.lse), &cube[..2])?,
            dots: operand(past.map(|p| &p.dots), &cube[..2])?,
            mask: operand(given.mask.as_ref(), cube)?,
            outs: outs
                .iter()
                .map(|o| matrix(operand(Some(o), &cube[..o.layout.ndim() - 1])?))
                .collect::<Result<Vec<_>>>()?,
        };
        k.launch(fold((matrices * tiles) as u64), |names| {
            let io = io_text(pass, p, &bound, [d, e], rows, names);
            let (x, y) = (d.div_ceil(4), e.div_ceil(4));
            let t = match pass {
                Pass::Forward => Texts::forward(x, y),
                Pass::Queries => Texts::queries(x, y),
                Pass::KeysValues => Texts::keys_values(x, y),
            };
            splice(TEMPLATE, &[("io", &io), ("open", &t.open), ("step", &t.step), ("close", &t.close)])
        })
    }

    /// The result and per query the logarithm of its sum of exponentials.
    pub(crate) fn flash(self: &Arc<Self>, p: &AttentionParams, given: &Given, outs: &[GpuArg]) -> Result<()> {
        let (y, lse) = (Work::of(self, &outs[0])?, Work::of(self, &outs[1])?);
        self.flash_pass(Pass::Forward, p, given, None, &[y.arg(), lse.arg()])?;
        y.finish(self, &outs[0])?;
        lse.finish(self, &outs[1])
    }

    /// Gradients of q, k, v; `g` is the result's, `y` the result, `lse` what `flash` noted.
    pub(crate) fn flash_grad(
        self: &Arc<Self>,
        p: &AttentionParams,
        given: &Given,
        [g, y, lse]: [GpuArg; 3],
        outs: &[GpuArg],
    ) -> Result<()> {
        // both numbers of a query in one buffer: with a mask the last kernel has no binding to spare
        let shape = &lse.layout.shape;
        let both = Work::temporary(self, DType::F32, &[2, shape[0], shape[1], shape[2]])?;
        let n = shape.iter().product::<usize>();
        let halves = [0, n].map(|offset| Layout { offset, ..Layout::contiguous(shape) });
        let [lse_copy, dots] = [0, 1].map(|i| GpuArg { layout: &halves[i], ..both.arg() });
        self.copy_elements(&lse, &lse_copy)?;
        let (mut program, product) =
            build(Program::new(), || Ex::leaf(g.dtype).cast(DType::F32) * Ex::leaf(y.dtype).cast(DType::F32));
        program.outputs.push(product.0);
        let leaves = [g, y];
        let source = GpuSource { program: &program, leaves: &leaves, shape: &g.layout.shape };
        self.reduce(ReduceOp::Sum, &Axes::from_slice(&[3]), &source, &dots, DType::F32)?;
        let works = [Work::of(self, &outs[0])?, Work::of(self, &outs[1])?, Work::of(self, &outs[2])?];
        let past = Past { g, lse: lse_copy, dots };
        self.flash_pass(Pass::Queries, p, given, Some(&past), &[works[0].arg()])?;
        self.flash_pass(Pass::KeysValues, p, given, Some(&past), &[works[1].arg(), works[2].arg()])?;
        for (w, o) in works.iter().zip(outs) {
            w.finish(self, o)?;
        }
        Ok(())
    }
}
