//! Pointwise programs: one printed kernel per program, operand classes and way of storing. Tensors larger than one
//! binding are run in windows. Not here: programs as text (`emit.rs`), launching (`kernel.rs`).

use std::sync::Arc;

use rtorch_ir::{DType, Error, Layout, Program, Result, Scalar};
use smallvec::SmallVec;

use crate::access::Access;
use crate::device::Device;
use crate::emit;
use crate::kernel::{Id, Kernel, Names, Operand, broadcast, fits, grid, uses_index};
use crate::memory::Buffer;
use crate::stores::{self, Out, frame, step};
use crate::{GpuArg, GpuSource};

impl Device {
    /// Runs a pointwise program over `shape`: `outs[i]` gets output `i`. Layouts are broadcast to the shape; an output
    /// may be the memory of a leaf of the same layout.
    pub fn map(self: &Arc<Self>, program: &Program, shape: &[usize], leaves: &[GpuArg], outs: &[GpuArg]) -> Result<()> {
        self.check()?;
        self.run_map(program, shape, leaves, outs, false)
    }

    /// Writes one value to every element.
    pub fn fill(self: &Arc<Self>, out: &GpuArg, value: Scalar) -> Result<()> {
        self.map(&Program::fill(value, out.dtype), &out.layout.shape, &[], &[*out])
    }

    /// Copies elements, converting and in any layouts of one shape.
    pub fn copy_elements(self: &Arc<Self>, from: &GpuArg, to: &GpuArg) -> Result<()> {
        self.map(&Program::copy(from.dtype, to.dtype), &to.layout.shape, &[*from], &[*to])
    }

    /// Adds elements to those of a layout that may overlap itself (f32, i32, i64).
    pub(crate) fn add_elements(self: &Arc<Self>, from: &GpuArg, to: &GpuArg) -> Result<()> {
        self.run_map(&Program::copy(from.dtype, to.dtype), &to.layout.shape, &[*from], &[*to], true)
    }

    /// The value of a source in memory of its own, contiguous, as `dtype`.
    pub(crate) fn materialise(self: &Arc<Self>, s: &GpuSource, dtype: DType) -> Result<(Buffer, Layout)> {
        let layout = Layout::contiguous(s.shape);
        let buffer = self.alloc(layout.numel() * dtype.size())?;
        let mut p = s.program.clone();
        let r = p.cast(p.outputs[0], dtype);
        p.outputs[0] = r;
        self.map(&p, s.shape, s.leaves, &[GpuArg { buffer: &buffer, dtype, layout: &layout }])?;
        Ok((buffer, layout))
    }

    fn run_map(
        self: &Arc<Self>,
        program: &Program,
        shape: &[usize],
        leaves: &[GpuArg],
        outs: &[GpuArg],
        add: bool,
    ) -> Result<()> {
        for a in leaves.iter().chain(outs) {
            emit::check_dtype(a.dtype)?;
        }
        if let Some(v) = program.values.iter().find(|v| emit::check_dtype(v.1).is_err()) {
            return emit::check_dtype(v.1);
        }
        if shape.contains(&0) || outs.is_empty() {
            return Ok(());
        }
        let limit = self.profile.storage_buffers as usize;
        if leaves.len() + outs.len() > limit && outs.len() > 1 {
            return self.one_by_one(program, shape, leaves, outs, add);
        }
        let mut layouts: SmallVec<[Layout; 10]> = SmallVec::new();
        for a in leaves.iter().chain(outs) {
            layouts.push(broadcast(a.layout, shape)?);
        }
        if uses_index(program) {
            layouts.push(Layout::contiguous(shape));
        }
        reorder(&mut layouts, leaves.len());
        self.map_window(program, leaves, outs, &mut layouts, add)
    }

    /// One kernel per output. An output that is a leaf's memory is written when all have been computed.
    fn one_by_one(
        self: &Arc<Self>,
        program: &Program,
        shape: &[usize],
        leaves: &[GpuArg],
        outs: &[GpuArg],
        add: bool,
    ) -> Result<()> {
        let mut kept_back: SmallVec<[(usize, Buffer, Layout); 4]> = SmallVec::new();
        for (i, out) in outs.iter().enumerate() {
            let mut p = program.clone();
            p.outputs = SmallVec::from_slice(&[program.outputs[i]]);
            let kept = p.prune();
            let l: SmallVec<[GpuArg; 8]> = kept.iter().map(|&k| leaves[k]).collect();
            if !leaves.iter().any(|leaf| leaf.buffer.same(out.buffer)) {
                self.run_map(&p, shape, &l, &[*out], add)?;
                continue;
            }
            let layout = Layout::contiguous(shape);
            let buffer = self.alloc(layout.numel() * out.dtype.size())?;
            self.run_map(&p, shape, &l, &[GpuArg { buffer: &buffer, dtype: out.dtype, layout: &layout }], false)?;
            kept_back.push((i, buffer, layout));
        }
        for (i, buffer, layout) in &kept_back {
            let program = Program::copy(outs[*i].dtype, outs[*i].dtype);
            let from = GpuArg { buffer, dtype: outs[*i].dtype, layout };
            self.run_map(&program, shape, &[from], &outs[*i..i + 1], add)?;
        }
        Ok(())
    }

    /// Runs a box of the iteration, halved along its outermost dim until every operand fits a binding.
    fn map_window(
        self: &Arc<Self>,
        program: &Program,
        leaves: &[GpuArg],
        outs: &[GpuArg],
        layouts: &mut SmallVec<[Layout; 10]>,
        add: bool,
    ) -> Result<()> {
        let args = || leaves.iter().chain(outs);
        let good = args().zip(layouts.iter()).all(|(a, l)| fits(self, a.dtype, l));
        if good && layouts[0].numel() < u32::MAX as usize {
            return self.map_box(program, leaves, outs, layouts, add);
        }
        let Some(dim) = layouts[0].shape.iter().position(|&s| s > 1) else {
            return Err(Error::memory("wgpu: an operand has no window that fits a binding of this adapter"));
        };
        let n = layouts[0].shape[dim];
        for (a, b) in [(0, n / 2), (n / 2, n)] {
            let mut part = layouts.iter().map(|l| l.slice(dim, a, b, 1)).collect();
            self.map_window(program, leaves, outs, &mut part, add)?;
        }
        Ok(())
    }

    fn map_box(
        self: &Arc<Self>,
        program: &Program,
        leaves: &[GpuArg],
        outs: &[GpuArg],
        layouts: &[Layout],
        add: bool,
    ) -> Result<()> {
        let dims: SmallVec<[usize; 6]> = (0..layouts[0].ndim()).collect();
        let groups: &[&[usize]] = &[&dims];
        let n = layouts[0].numel();
        let mut k = Kernel::new(self, Id::Map);
        k.word(n as u32);
        let consts = emit::fill(program, &mut k.build);
        let mut ins: SmallVec<[Operand; 8]> = SmallVec::new();
        for (a, l) in leaves.iter().zip(layouts) {
            ins.push(k.operand(&GpuArg { layout: l, ..*a }, groups, false)?);
        }
        let targets: SmallVec<[GpuArg; 2]> =
            outs.iter().zip(&layouts[leaves.len()..]).map(|(a, l)| GpuArg { layout: l, ..*a }).collect();
        let results = stores::bind(&mut k, &targets, add)?;
        let index = layouts.get(leaves.len() + outs.len()).map(|l| {
            let mut a = Access::new(l, l.offset as u32, groups);
            a.fill(&mut k.build);
            a
        });
        let threads = (n as u64).div_ceil(step(&results) as u64);
        k.launch(grid(threads), |names| print(program, consts, &ins, &results, index.as_ref(), names))
    }
}

/// Dims in the order of the first output's memory, outermost first, so that its elements are written in a row.
fn reorder(layouts: &mut [Layout], first_out: usize) {
    let out = &layouts[first_out];
    let mut order: SmallVec<[usize; 6]> = (0..out.ndim()).filter(|&d| out.shape[d] != 1).collect();
    order.sort_by_key(|&d| std::cmp::Reverse(out.strides[d].abs()));
    for l in layouts {
        *l = l.permute(&order);
    }
}

fn print(
    program: &Program,
    consts: usize,
    ins: &[Operand],
    outs: &[Out],
    index: Option<&Access>,
    names: &Names,
) -> String {
    let mut element = String::new();
    for (i, leaf) in ins.iter().enumerate() {
        element += &leaf.access.print(&format!("a{i}"), &["i"]);
    }
    if let Some(a) = index {
        element += &a.print("index", &["i"]);
    }
    let load = |n: usize| emit::load(&names.of(ins[n].slot), ins[n].dtype, &format!("a{n}"));
    let (text, values) = emit::program(program, "v", consts, load, "rt_i64_of_u32(index)");
    frame(outs, &(element + &text), &values, names)
}
