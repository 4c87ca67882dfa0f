//! Writing by index: scatter, index_add, index_put, the gradients of max pooling and of views. Each starts from a copy
//! of its first operand (or zeros) in whole words; duplicates of a plain write are settled by the last, those of a
//! sum are added by atomics. Reading by index: `gather.rs`.

use std::sync::Arc;

use rtorch_ir::prim::ScatterOp;
use rtorch_ir::{CType, DType, Layout, Result, Scalar};
use smallvec::SmallVec;

use crate::device::Device;
use crate::emit::{self, convert};
use crate::gather::{Index, Places, Plain, along, replacing};
use crate::kernel::{Id, Kernel, grid, open_main};
use crate::work::Work;
use crate::{GpuArg, GpuSource};

/// What a pass of the kernel does at each place.
#[derive(Clone, Copy, PartialEq)]
enum Pass {
    /// Folds the value into the element.
    Fold(ScatterOp),
    /// Notes the largest element number that writes a place.
    Claim,
    /// Writes where this element's number was the largest.
    Win,
}

impl Device {
    /// Writes the elements of `src` (over the iteration shape) to places of `target`, contiguous memory of words.
    fn write_at(
        self: &Arc<Self>,
        op: ScatterOp,
        target: &Work,
        places: &Places,
        src: &GpuArg,
        src_layout: &Layout,
    ) -> Result<()> {
        if src_layout.numel() == 0 {
            return Ok(());
        }
        let src = GpuArg { layout: src_layout, ..*src };
        if op != ScatterOp::Set {
            return self.write_pass(Pass::Fold(op), target, None, places, &src);
        }
        let claims = Work::temporary(self, DType::I32, &target.layout.shape)?;
        self.fill(&claims.arg(), Scalar::Int(0))?;
        self.write_pass(Pass::Claim, target, Some(&claims), places, &src)?;
        self.write_pass(Pass::Win, target, Some(&claims), places, &src)
    }

    fn write_pass(
        self: &Arc<Self>,
        pass: Pass,
        target: &Work,
        claims: Option<&Work>,
        places: &Places,
        src: &GpuArg,
    ) -> Result<()> {
        let n = src.layout.numel();
        let dims: SmallVec<[usize; 6]> = (0..places.base.ndim()).collect();
        let t = target.dtype.ctype();
        // 64-bit words cannot be compared and swapped: one thread does these in order
        let serial = matches!(pass, Pass::Fold(ScatterOp::Mul | ScatterOp::Max | ScatterOp::Min)) && t == CType::I64;
        let mut k = Kernel::new(self, Id::Scatter);
        k.word(n as u32);
        let code = match pass {
            Pass::Fold(op) => op as u32,
            Pass::Claim => 8,
            Pass::Win => 9,
        };
        k.key(code << 8 | (t as u32) << 4 | places.indices.len() as u32);
        let atomic = matches!(pass, Pass::Fold(_)) && !serial;
        let whole = k.operand_at_with(&target.arg(), &places.base, &[&dims], atomic)?;
        // claims have the target's shape from offset 0 on
        let claimed = match claims {
            Some(c) => Some(k.operand_at_with(&c.arg(), &places.base, &[&dims], pass == Pass::Claim)?),
            None => None,
        };
        let value = k.operand(src, &[&dims], false)?;
        let bound = places.bind(&mut k)?;
        let launch = if serial { [1, 1, 1] } else { grid(n as u64) };
        k.launch(launch, |names| {
            let mut s = bound.function(names);
            s += &open_main();
            s += if serial {
                "if (t > 0u) { return; }\nfor (var i = 0u; i < P.w[0].x; i = i + 1u) {\n"
            } else {
                "if (t >= P.w[0].x) { return; }\nlet i = t;\n"
            };
            s += &whole.access.print("base", &["i"]);
            s += "var place = base;\n";
            s += &bound.print(names, "place");
            s += &value.access.print("source", &["i"]);
            let raw = emit::load(&names.of(value.slot), value.dtype, "source");
            let v = convert(&raw, value.dtype.ctype(), t);
            s += &format!("let v = {v};\n");
            let b = names.of(whole.slot);
            let claim = claimed.as_ref().map(|c| {
                let offset = format!(
                    "(place - {} + {})",
                    crate::access::word(whole.access.word),
                    crate::access::word(c.access.word)
                );
                (names.of(c.slot), offset)
            });
            s += &match (pass, claim) {
                (Pass::Claim, Some((c, at))) => format!("atomicMax(&{c}[{at}], i + 1u);\n"),
                (Pass::Win, Some((c, at))) => {
                    format!("if ({c}[{at}] == i + 1u) {{ {} }}\n", emit::store(&b, target.dtype, "place", "v"))
                }
                (Pass::Fold(op), _) => fold(op, t, serial, &b),
                (Pass::Claim | Pass::Win, None) => String::new(),
            };
            if serial {
                s += "}\n";
            }
            s + "}\n"
        })
    }

    /// A copy of x in memory of words, to scatter into.
    fn target(self: &Arc<Self>, x: &GpuSource, out: &GpuArg) -> Result<Work> {
        let work = Work::contiguous(self, out)?;
        let same = x.direct().is_some_and(|a| a.buffer.same(&work.buffer) && *a.layout == work.layout);
        if !same {
            let mut p = x.program.clone();
            p.outputs[0] = p.cast(p.outputs[0], work.dtype);
            self.map(&p, x.shape, x.leaves, &[work.arg()])?;
        }
        Ok(work)
    }

    pub(crate) fn scatter(
        self: &Arc<Self>,
        axis: usize,
        op: ScatterOp,
        inputs: &[GpuSource],
        out: &GpuArg,
    ) -> Result<()> {
        let target = self.target(&inputs[0], out)?;
        let (index, src) = (Plain::of(self, &inputs[1])?, Plain::of(self, &inputs[2])?);
        let (index, src) = (index.arg(), src.arg());
        let shape = &index.layout.shape;
        let places = along(&target.layout, axis, shape, index, index.layout.clone());
        let from = Layout { shape: shape.clone(), ..src.layout.clone() };
        self.write_at(op, &target, &places, &src, &from)?;
        target.finish(self, out)
    }

    pub(crate) fn index_add(
        self: &Arc<Self>,
        axis: usize,
        op: ScatterOp,
        inputs: &[GpuSource],
        out: &GpuArg,
    ) -> Result<()> {
        let target = self.target(&inputs[0], out)?;
        let (index, src) = (Plain::of(self, &inputs[1])?, Plain::of(self, &inputs[2])?);
        let (index, src) = (index.arg(), src.arg());
        let shape = &src.layout.shape;
        // as a scatter whose index is the same for all lines
        let mut layout = Layout { offset: index.layout.offset, ..Layout::contiguous(shape) };
        for d in 0..shape.len() {
            layout.strides[d] = if d == axis { index.layout.strides.first().copied().unwrap_or(0) } else { 0 };
        }
        let places = along(&target.layout, axis, shape, index, layout);
        self.write_at(op, &target, &places, &src, src.layout)?;
        target.finish(self, out)
    }

    /// (x, values, indices...) -> copy of x with values put or added there.
    pub(crate) fn index_put(self: &Arc<Self>, accumulate: bool, inputs: &[GpuSource], out: &GpuArg) -> Result<()> {
        let target = self.target(&inputs[0], out)?;
        let plain: Result<SmallVec<[Plain; 4]>> = inputs[1..].iter().map(|s| Plain::of(self, s)).collect();
        let plain = plain?;
        let values = plain[0].arg();
        let indices: SmallVec<[GpuArg; 4]> = plain[1..].iter().map(|p| p.arg()).collect();
        let places = replacing(&target.layout, 0, &indices);
        let from = crate::kernel::broadcast(values.layout, &places.base.shape)?;
        let op = if accumulate { ScatterOp::Add } else { ScatterOp::Set };
        self.write_at(op, &target, &places, &values, &from)?;
        target.finish(self, out)
    }

    /// (g [n, c, ...], positions in flattened planes) -> zeros of shape `input` with g added there.
    pub(crate) fn plane_add(self: &Arc<Self>, inputs: &[GpuSource], input: &[usize], out: &GpuArg) -> Result<()> {
        let target = Work::contiguous(self, out)?;
        self.fill(&target.arg(), Scalar::Int(0))?;
        let (g, at) = (Plain::of(self, &inputs[0])?, Plain::of(self, &inputs[1])?);
        let (g, at) = (g.arg(), at.arg());
        let lead = input.len().min(2);
        let plane: usize = input[lead..].iter().product();
        let mut base = Layout { shape: g.layout.shape.clone(), ..target.layout.clone() };
        for d in lead..input.len() {
            base.strides[d] = 0;
        }
        let index = Index { arg: at, layout: at.layout.clone(), jump: 1, size: plane };
        let places = Places { base, indices: SmallVec::from_iter([index]) };
        self.write_at(ScatterOp::Add, &target, &places, &g, g.layout)?;
        target.finish(self, out)
    }

    /// g -> zeros of shape `base` with g added at the elements `view` of it.
    pub(crate) fn scatter_view(self: &Arc<Self>, g: &GpuSource, view: &Layout, out: &GpuArg) -> Result<()> {
        let direct = |dev: &Arc<Device>, to: &GpuArg| {
            let mut p = g.program.clone();
            p.outputs[0] = p.cast(p.outputs[0], to.dtype);
            dev.map(&p, g.shape, g.leaves, &[*to])
        };
        if out.layout.is_contiguous() && !view.overlaps_itself() {
            self.fill(out, Scalar::Int(0))?;
            let at = Layout { offset: out.layout.offset + view.offset, ..view.clone() };
            return direct(self, &GpuArg { layout: &at, ..*out });
        }
        let target = Work::contiguous(self, out)?;
        self.fill(&target.arg(), Scalar::Int(0))?;
        let at = Layout { offset: target.layout.offset + view.offset, ..view.clone() };
        if view.overlaps_itself() {
            let (buffer, layout) = self.materialise(g, target.dtype)?;
            let from = GpuArg { buffer: &buffer, dtype: target.dtype, layout: &layout };
            self.add_elements(&from, &GpuArg { layout: &at, ..target.arg() })?;
        } else {
            direct(self, &GpuArg { layout: &at, ..target.arg() })?;
        }
        target.finish(self, out)
    }

    pub(crate) fn cat(self: &Arc<Self>, axis: usize, inputs: &[GpuSource], out: &GpuArg) -> Result<()> {
        let mut start = 0;
        for s in inputs {
            // PyTorch lets empty one-dimensional operands of any kind join
            if s.shape.contains(&0) {
                start += if s.shape.len() == out.layout.ndim() { s.shape[axis] } else { 0 };
                continue;
            }
            let n = s.shape[axis];
            let part = out.layout.slice(axis, start, start + n, 1);
            let mut p = s.program.clone();
            p.outputs[0] = p.cast(p.outputs[0], out.dtype);
            self.map(&p, s.shape, s.leaves, &[GpuArg { layout: &part, ..*out }])?;
            start += n;
        }
        Ok(())
    }
}

/// Statements that fold `v` into element `place` of binding `b`.
fn fold(op: ScatterOp, t: CType, serial: bool, b: &str) -> String {
    let suffix = emit::suffix(t);
    let helper = match op {
        ScatterOp::Set => return emit::store(b, t.dtype(), "place", "v"),
        ScatterOp::Add => return emit::store_add(b, t.dtype(), "place", "v"),
        ScatterOp::Mul => "rt_mul",
        ScatterOp::Max => "rt_max",
        ScatterOp::Min => "rt_min",
    };
    if serial {
        let old = emit::load(b, t.dtype(), "place");
        return emit::store(b, t.dtype(), "place", &format!("{helper}_{suffix}({old}, v)"));
    }
    emit::update(b, "place", &format!("{helper}_{suffix}(was, v)")).replace(
        "bitcast<f32>(old)",
        match t {
            CType::I32 | CType::Bool | CType::I64 => "bitcast<i32>(old)",
            CType::F32 | CType::F64 | CType::C64 | CType::C128 => "bitcast<f32>(old)",
        },
    )
}
