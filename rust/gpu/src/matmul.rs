//! Batched matrix products, with prologues on both operands: floats through the tiled kernel (`gemm.rs`), integers
//! one thread per element (`matmul_any.wgsl`).

use std::sync::Arc;

use rtorch_ir::prim::{Axes, ReduceOp};
use rtorch_ir::program::{Ex, build};
use rtorch_ir::{CType, DType, Layout, Program, Result, Scalar};
use smallvec::SmallVec;

use crate::access::word;
use crate::device::Device;
use crate::emit::{convert, suffix, type_name};
use crate::gemm::Sizes;
use crate::kernel::{Id, Kernel, Names, Operand, Src, Tail, broadcast, grid, splice, uses_index};
use crate::work::Work;
use crate::{GpuArg, GpuEpilogue, GpuSource};

/// A product with a vector this long or longer is a reduction: a tile would be mostly empty.
const VECTOR: usize = 32;
const ANY: &str = include_str!("../../../shaders/matmul_any.wgsl");

/// alpha * a @ b + beta * c
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub bias: bool,
    pub alpha: f64,
    pub beta: f64,
}

/// A matrix's places are their numbers.
const PLACES: &str = "alias Deep = u32;\nalias Column = u32;\nfn deep_at(k: u32) -> Deep { return k; }\n\
    fn column_at(n: u32) -> Column { return n; }\n";

/// Dims of the batch, and the two of the matrix.
pub(crate) fn matrix_groups(ndim: usize) -> (SmallVec<[usize; 5]>, [usize; 1], [usize; 1]) {
    ((0..ndim - 2).collect(), [ndim - 2], [ndim - 1])
}

/// Is the second to last dim the one whose elements are next to each other?
fn rows_first(s: &GpuSource) -> bool {
    let n = s.shape.len();
    let Some(l) = s.leaves.first().map(|l| l.layout).filter(|l| l.ndim() == n) else { return false };
    l.strides[n - 2] == 1 && l.strides[n - 1] != 1
}

fn as_f32(s: &Src, names: &Names, name: &str, args: [&str; 3]) -> String {
    let v = convert(&format!("raw_{name}({}, {}, {})", args[0], args[1], args[2]), s.ctype(), CType::F32);
    let list = args.map(|a| format!("{a}: u32")).join(", ");
    format!("{}fn {name}({list}) -> f32 {{ return {v}; }}\n", s.function(names, &format!("raw_{name}")))
}

impl Device {
    pub(crate) fn matmul(
        self: &Arc<Self>,
        scale: Scale,
        inputs: &[GpuSource],
        tail: Option<&GpuEpilogue>,
        out: &GpuArg,
    ) -> Result<()> {
        let (a, b) = (&inputs[0], &inputs[1]);
        let nd = a.shape.len();
        let (m, k, n) = (a.shape[nd - 2], a.shape[nd - 1], b.shape[nd - 1]);
        let batch: usize = a.shape[..nd - 2].iter().product();
        if m * n * batch == 0 {
            return Ok(());
        }
        let sizes = Sizes { batch, m, n, k, a_rows_first: rows_first(a), b_rows_first: rows_first(b) };
        let parts = if scale.bias { 1 } else { sizes.parts(self.gemm_way()) };
        let vector = m.min(n) == 1 && k >= VECTOR && !scale.bias;
        let result = tail.map_or(out.dtype, |t| t.program.leaves[0]);
        if let Some(t) = tail
            && (parts > 1 || vector || k == 0 || !result.is_float())
        {
            return self.apart(t, out, |temporary| self.matmul(scale, inputs, None, temporary));
        }
        if k == 0 && !scale.bias {
            return self.fill(out, Scalar::Int(0));
        }
        let work = Work::of(self, out)?;
        if !result.is_float() {
            self.matmul_integer(scale, inputs, &work, [batch, m, n, k])?;
            return work.finish(self, out);
        }
        if vector && !uses_index(a.program) && !uses_index(b.program) {
            self.matrix_vector(scale.alpha, a, b, &work.arg())?;
            return work.finish(self, out);
        }
        let mut partial = None;
        if parts > 1 {
            let mut shape: SmallVec<[usize; 6]> = SmallVec::from_slice(&[parts]);
            shape.extend_from_slice(&work.layout.shape);
            partial = Some(Work::temporary(self, DType::F32, &shape)?);
        }
        let (bd, md, nd) = matrix_groups(nd);
        let groups: &[&[usize]] = &[&bd, &md, &nd];
        let mut kernel = Kernel::new(self, Id::MatMul);
        kernel.words(&sizes.words(parts, self.gemm_way()));
        let (alpha, beta) = (kernel.word((scale.alpha as f32).to_bits()), kernel.word((scale.beta as f32).to_bits()));
        kernel.key((tail.is_some() as u32) << 2 | (scale.bias as u32) << 1 | (parts > 1) as u32);
        let sa = kernel.source(a, groups)?;
        let sb = kernel.source(b, groups)?;
        let sc = if scale.bias { Some(kernel.source(&inputs[2], groups)?) } else { None };
        let tail = tail.map(|t| kernel.tail(t, &work.layout.shape, groups)).transpose()?;
        // partial results have one dim more, counted by `part`
        let target = match &partial {
            Some(p) => {
                let (bd, md, nd) = matrix_groups(p.layout.ndim());
                kernel.operand(&p.arg(), &[&bd[1..], &md, &nd, &[0]], false)?
            }
            None => kernel.operand(&work.arg(), groups, false)?,
        };
        self.gemm(kernel, &sizes, parts, |names| {
            let mut io = PLACES.to_string();
            io += &as_f32(&sa, names, "load_a", ["b", "m", "k"]);
            io += &as_f32(&sb, names, "load_b", ["b", "k", "n"]);
            io += &put_function(names, &target, sc.as_ref(), tail.as_ref(), alpha, beta);
            io
        })?;
        if let Some(p) = partial {
            self.sum_parts(&p, &work.arg())?;
        }
        work.finish(self, out)
    }

    /// A matrix times a vector is a reduction with the products as its prologue.
    fn matrix_vector(self: &Arc<Self>, alpha: f64, a: &GpuSource, b: &GpuSource, out: &GpuArg) -> Result<()> {
        let nd = a.shape.len();
        let shape: SmallVec<[usize; 5]> = if b.shape[nd - 1] == 1 {
            SmallVec::from_slice(a.shape)
        } else {
            let mut s = SmallVec::from_slice(b.shape);
            s.swap(nd - 2, nd - 1);
            s
        };
        let mut p = Program::new();
        let mut values: SmallVec<[Ex; 2]> = SmallVec::new();
        let mut layouts: SmallVec<[Layout; 8]> = SmallVec::new();
        for (i, s) in [a, b].into_iter().enumerate() {
            let leaves: SmallVec<[u16; 8]> = s.program.leaves.iter().map(|&d| p.load(d)).collect();
            let v = p.inline(s.program, &leaves)[0];
            values.push(Ex(p.cast(v, DType::F32)));
            for leaf in s.leaves {
                let l = broadcast(leaf.layout, s.shape)?;
                layouts.push(if i == 0 { l } else { swapped(&l) }.broadcast_to(&shape)?);
            }
        }
        let (mut p, product) = build(p, || {
            let v = values[0] * values[1];
            if alpha == 1.0 { v } else { v * alpha }
        });
        p.outputs.push(product.0);
        let args = a.leaves.iter().chain(b.leaves).zip(&layouts);
        let leaves: SmallVec<[GpuArg; 8]> = args.map(|(l, layout)| GpuArg { layout, ..*l }).collect();
        let source = GpuSource { program: &p, leaves: &leaves, shape: &shape };
        let layout = out.layout.squeeze(if b.shape[nd - 1] == 1 { nd - 1 } else { nd - 2 });
        let axes = Axes::from_slice(&[nd - 1]);
        self.reduce(ReduceOp::Sum, &axes, &source, &GpuArg { layout: &layout, ..*out }, DType::F32)
    }

    /// A primitive by itself, then its epilogue as a kernel of its own.
    pub(crate) fn apart(
        self: &Arc<Self>,
        tail: &GpuEpilogue,
        out: &GpuArg,
        run: impl FnOnce(&GpuArg) -> Result<()>,
    ) -> Result<()> {
        let layout = Layout::contiguous(&out.layout.shape);
        let dtype = tail.program.leaves[0];
        let buffer = self.alloc(layout.numel() * dtype.size())?;
        let result = GpuArg { buffer: &buffer, dtype, layout: &layout };
        run(&result)?;
        let leaves: SmallVec<[GpuArg; 8]> = std::iter::once(result).chain(tail.leaves.iter().copied()).collect();
        self.map(tail.program, &out.layout.shape, &leaves, &[*out])
    }

    fn matmul_integer(
        self: &Arc<Self>,
        scale: Scale,
        inputs: &[GpuSource],
        out: &Work,
        [batch, m, n, k]: [usize; 4],
    ) -> Result<()> {
        let (bd, md, nd) = matrix_groups(inputs[0].shape.len());
        let groups: &[&[usize]] = &[&bd, &md, &nd];
        let mut kernel = Kernel::new(self, Id::MatMulAny);
        kernel.words(&[m as u32, n as u32, k as u32, (batch * m * n) as u32]);
        kernel.words(&[scale.alpha as i64 as u32, scale.beta as i64 as u32]);
        kernel.key(scale.bias as u32);
        let sa = kernel.source(&inputs[0], groups)?;
        let sb = kernel.source(&inputs[1], groups)?;
        let sc = if scale.bias { Some(kernel.source(&inputs[2], groups)?) } else { None };
        let target = kernel.operand(&out.arg(), groups, false)?;
        let t = out.dtype.ctype();
        kernel.launch(grid((batch * m * n) as u64), |names| {
            let (ty, s) = (type_name(t), suffix(t));
            let int = |w: usize| convert(&format!("bitcast<i32>({})", word(w)), CType::I32, t);
            let mut io = format!(
                "alias Value = {ty};\nfn zero() -> Value {{ return {}; }}\n\
                 fn madd(s: Value, a: Value, b: Value) -> Value {{ return rt_add_{s}(s, rt_mul_{s}(a, b)); }}\n",
                convert("0", CType::I32, t)
            );
            for (src, name, args) in [(&sa, "load_a", "b, m, k"), (&sb, "load_b", "b, k, n")] {
                io += &src.function(names, &format!("raw_{name}"));
                let list = args.replace(", ", ": u32, ");
                let v = convert(&format!("raw_{name}({args})"), src.ctype(), t);
                io += &format!("fn {name}({list}: u32) -> Value {{ return {v}; }}\n");
            }
            io += &target.store_function(names, "store");
            let mut v = format!("rt_mul_{s}({}, v)", int(4));
            if let Some(c) = &sc {
                io += &c.function(names, "raw_c");
                let c = convert("raw_c(b, m, n)", c.ctype(), t);
                v = format!("rt_add_{s}({v}, rt_mul_{s}({}, {c}))", int(5));
            }
            io += &format!("fn put(b: u32, m: u32, n: u32, v: Value) {{ store(b, m, n, {v}); }}\n");
            splice(ANY, &[("io", &io)])
        })
    }

    /// A plain product of f32 matrices, for kernels made of several: `layouts` are [batch, m, k] and [batch, k, n].
    pub(crate) fn product(self: &Arc<Self>, a: &GpuArg, b: &GpuArg, out: &GpuArg, alpha: f64) -> Result<()> {
        let programs = [rtorch_ir::Program::copy(a.dtype, a.dtype), rtorch_ir::Program::copy(b.dtype, b.dtype)];
        let (la, lb) = ([*a], [*b]);
        let sources = [
            GpuSource { program: &programs[0], leaves: &la, shape: &a.layout.shape },
            GpuSource { program: &programs[1], leaves: &lb, shape: &b.layout.shape },
        ];
        self.matmul(Scale { bias: false, alpha, beta: 0.0 }, &sources, None, out)
    }
}

/// `put` with the scale, the addend and the epilogue.
fn put_function(
    names: &Names,
    target: &Operand,
    c: Option<&Src>,
    tail: Option<&Tail>,
    alpha: usize,
    beta: usize,
) -> String {
    let parts = target.access.groups.len() == 4;
    let mut text = target.store_function(names, "store");
    let mut v = format!("bitcast<f32>({}) * v", word(alpha));
    if let Some(c) = c {
        text += &as_f32(c, names, "addend", ["b", "m", "n"]);
        v = format!("{v} + bitcast<f32>({}) * addend(b, m, n)", word(beta));
    }
    if let Some(t) = tail {
        text += &t.function(names, "tail", target.dtype.ctype());
        v = format!("tail(b, m, n, {v})");
    }
    let to = if parts { "b, m, n, part" } else { "b, m, n" };
    text + &format!("fn put(b: u32, part: u32, m: u32, n: u32, v: f32) {{ store({to}, {v}); }}\n")
}

/// The layout with its last two dims exchanged.
pub(crate) fn swapped(l: &Layout) -> Layout {
    l.transpose(l.ndim() - 2, l.ndim() - 1)
}
