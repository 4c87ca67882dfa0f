//! One launch: operands bound, parameters collected, the pipeline found or compiled, the dispatch recorded.
//! Not here: what a kernel computes (its own file), the stream (`queue.rs`).

use std::sync::atomic::Ordering;

use rtorch_ir::{CType, DType, Error, Layout, Program, Result};
use smallvec::SmallVec;

use crate::access::{Access, Build};
use crate::device::Device;
use crate::emit;
use crate::memory::ALIGN;
use crate::pipeline::{Element, Pipeline};
use crate::queue::Window;
use crate::record::Recorded;
use crate::{GpuArg, GpuEpilogue, GpuSource};

/// Invocations per workgroup of the one-dimensional kernels.
pub(crate) const GROUP: u32 = 256;
/// Workgroups per row of a folded one-dimensional grid.
const FOLD: u32 = 32768;

/// Which kernel a key belongs to.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Id {
    Map,
    Reduce,
    Softmax,
    SoftmaxGrad,
    MatMul,
    MatMulAny,
    Conv,
    Element,
    Pool,
    Scatter,
    LayerNorm,
    LayerNormGrad,
    Attention,
    Scan,
    Sort,
    Nonzero,
}

struct Slot {
    window: Window,
    element: Element,
}

/// An operand as a kernel sees it: a binding and the place of its elements.
pub(crate) struct Operand {
    pub slot: usize,
    pub access: Access,
    pub dtype: DType,
}

/// A program over operands, printed as a function of the groups' counters.
pub(crate) struct Src<'a> {
    program: &'a Program,
    consts: usize,
    leaves: SmallVec<[Operand; 4]>,
    index: Option<Access>,
    groups: usize,
}

/// An epilogue, printed as a function of the groups' counters and the value.
pub(crate) struct Tail<'a>(Src<'a>);

/// Names of the bindings by slot.
pub(crate) struct Names(SmallVec<[(u8, Element); 12]>);

impl Names {
    pub fn of(&self, slot: usize) -> String {
        let (number, element) = self.0[slot];
        format!("{}{number}", element.letter())
    }
}

pub(crate) struct Kernel<'d> {
    pub dev: &'d Device,
    pub build: Build,
    slots: SmallVec<[Slot; 10]>,
}

/// Does the kernel of a layout's bytes fit one binding?
pub(crate) fn fits(dev: &Device, dtype: DType, layout: &Layout) -> bool {
    layout.extent().is_none_or(|(lo, hi)| ((hi - lo) * dtype.size()) as u64 + 2 * ALIGN <= dev.profile.binding)
}

impl<'d> Kernel<'d> {
    pub fn new(dev: &'d Device, id: Id) -> Kernel<'d> {
        let mut build = Build::default();
        build.key.push(id as u32);
        Kernel { dev, build, slots: SmallVec::new() }
    }
    /// A part of the key.
    pub fn key(&mut self, v: u32) {
        self.build.key.push(v);
    }
    /// A parameter word; answers its number.
    pub fn word(&mut self, v: u32) -> usize {
        self.build.params.push(v);
        self.build.params.len() - 1
    }
    pub fn words(&mut self, v: &[u32]) {
        self.build.params.extend_from_slice(v);
    }

    /// Binds the memory of an operand. Its dims are counted by the groups.
    pub fn operand(&mut self, a: &GpuArg, groups: &[&[usize]], atomic: bool) -> Result<Operand> {
        emit::check_dtype(a.dtype)?;
        let size = a.dtype.size() as u64;
        let (lo, hi) = a.layout.extent().unwrap_or((0, 0));
        let page = a.buffer.of(self.dev)?.page();
        let first = a.buffer.start() + lo as u64 * size;
        let last = a.buffer.start() + hi as u64 * size;
        let reach = a.buffer.start() + a.buffer.taken();
        if last > reach {
            return Err(Error::runtime(format!("wgpu: a view ends at byte {last} of {reach}")));
        }
        let limit = self.dev.profile.binding;
        let (start, len) = if page.size <= limit {
            (0, page.size)
        } else {
            // a window: whole steps of the alignment, as far as the page goes
            let start = first & !(ALIGN - 1);
            (start, (last.next_multiple_of(ALIGN)).min(page.size) - start)
        };
        if len > limit {
            return Err(Error::memory(format!(
                "wgpu: an operand of shape {:?} spans {} MiB, more than one binding of this adapter ({} MiB). Split \
                 the tensor, or run this operator on the CPU",
                a.layout.shape.as_slice(),
                ((hi - lo) as u64 * size) >> 20,
                limit >> 20
            )));
        }
        let offset = (a.buffer.start() as i64 - start as i64) / size as i64 + a.layout.offset as i64;
        let mut access = Access::new(a.layout, offset as u32, groups);
        access.fill(&mut self.build);
        self.key(a.dtype as u32 | (atomic as u32) << 8);
        let window = Window { page: page.clone(), start, size: len };
        let element = match (atomic, a.dtype) {
            (true, _) => Element::Atomic,
            (false, DType::F16) if self.dev.profile.types.half => Element::Half,
            _ => Element::Word,
        };
        self.slots.push(Slot { window, element });
        Ok(Operand { slot: self.slots.len() - 1, access, dtype: a.dtype })
    }

    /// Binds all of an operand's memory, with the place of elements given by another layout over the same memory
    /// (places that depend on data stay inside the operand).
    pub fn operand_at(&mut self, a: &GpuArg, layout: &Layout, groups: &[&[usize]]) -> Result<Operand> {
        self.operand_at_with(a, layout, groups, false)
    }
    pub fn operand_at_with(
        &mut self,
        a: &GpuArg,
        layout: &Layout,
        groups: &[&[usize]],
        atomic: bool,
    ) -> Result<Operand> {
        let mut o = self.operand(a, &[], atomic)?;
        let offset = o.access.offset.wrapping_add(layout.offset as u32).wrapping_sub(a.layout.offset as u32);
        o.access = Access::new(layout, offset, groups);
        o.access.fill(&mut self.build);
        Ok(o)
    }

    /// Binds the flag that bad indices set.
    pub fn flag(&mut self) -> usize {
        let page = self.dev.flag_page();
        let window = Window { start: 0, size: page.size, page };
        self.slots.push(Slot { window, element: Element::Atomic });
        self.slots.len() - 1
    }

    /// Binds the leaves of a program; its shape is what the groups' dims count.
    pub fn source<'a>(&mut self, s: &GpuSource<'a>, groups: &[&[usize]]) -> Result<Src<'a>> {
        self.program(s.program, s.leaves, s.shape, groups)
    }

    /// Binds the leaves of an epilogue of a result of this shape.
    pub fn tail<'a>(&mut self, e: &GpuEpilogue<'a>, shape: &[usize], groups: &[&[usize]]) -> Result<Tail<'a>> {
        Ok(Tail(self.program(e.program, e.leaves, shape, groups)?))
    }

    fn program<'a>(
        &mut self,
        program: &'a Program,
        args: &[GpuArg],
        shape: &[usize],
        groups: &[&[usize]],
    ) -> Result<Src<'a>> {
        let consts = emit::fill(program, &mut self.build);
        let mut leaves = SmallVec::new();
        for leaf in args {
            let layout = broadcast(leaf.layout, shape)?;
            leaves.push(self.operand(&GpuArg { layout: &layout, ..*leaf }, groups, false)?);
        }
        let index = uses_index(program).then(|| {
            let mut a = Access::new(&Layout::contiguous(shape), 0, groups);
            a.fill(&mut self.build);
            a
        });
        Ok(Src { program, consts, leaves, index, groups: groups.len() })
    }

    /// Which slots share a binding: none, unless there are too many of them.
    fn bindings(&mut self) -> Result<(Names, SmallVec<[Window; 10]>, SmallVec<[Element; 10]>)> {
        let limit = self.dev.profile.storage_buffers as usize;
        let share = self.slots.len() > limit;
        let mut names = Names(SmallVec::new());
        let mut windows: SmallVec<[Window; 10]> = SmallVec::new();
        let mut elements: SmallVec<[Element; 10]> = SmallVec::new();
        for s in &self.slots {
            let w = &s.window;
            let same = |(o, e): (&Window, &Element)| {
                share && *e == s.element && o.page.id == w.page.id && o.start == w.start && o.size == w.size
            };
            let at = windows.iter().zip(&elements).position(same).unwrap_or_else(|| {
                windows.push(w.clone());
                elements.push(s.element);
                windows.len() - 1
            });
            names.0.push((at as u8, s.element));
        }
        if windows.len() > limit {
            return Err(Error::runtime(format!(
                "wgpu: a kernel needs {} buffers, the adapter binds {limit} at once",
                windows.len()
            )));
        }
        if share {
            self.build.key.push(u32::MAX);
            let pattern: SmallVec<[u32; 12]> = names.0.iter().map(|n| n.0 as u32).collect();
            self.build.key.extend(pattern);
        }
        Ok((names, windows, elements))
    }

    fn pipeline(
        &self,
        elements: &[Element],
        windows: &[Window],
        groups: [u32; 3],
        body: impl FnOnce() -> String,
    ) -> Result<std::sync::Arc<Pipeline>> {
        let n = self.build.params.len();
        let mut recording = self.dev.recording.lock();
        let Some(list) = &mut *recording else {
            drop(recording);
            return self.dev.pipeline(&self.build.key, elements, n, body);
        };
        let body = body();
        let immediates = self.dev.immediates(n);
        list.push(Recorded {
            text: crate::pipeline::assemble(&body, elements, n, immediates, self.dev.profile.types),
            params: self.build.params.to_vec(),
            immediates,
            groups,
            bindings: windows.iter().map(|w| w.size).collect(),
        });
        self.dev.pipeline(&self.build.key, elements, n, || body)
    }

    /// Records the dispatch. `body` prints the kernel where it is new.
    pub fn launch(mut self, groups: [u32; 3], body: impl FnOnce(&Names) -> String) -> Result<()> {
        let (names, windows, elements) = self.bindings()?;
        self.dev.check()?;
        if groups.contains(&0) {
            return Ok(());
        }
        if groups.iter().any(|&g| g > 65535) {
            return Err(Error::runtime(format!("wgpu: a kernel needs {groups:?} workgroups, 65535 are allowed")));
        }
        let n = self.build.params.len();
        if n * 4 > crate::queue::SLOT_BYTES as usize {
            return Err(Error::runtime("wgpu: a fused kernel has too many operands of too many dimensions"));
        }
        let pipeline = self.pipeline(&elements, &windows, groups, || body(&names))?;
        let mut bytes: SmallVec<[u8; 256]> = SmallVec::new();
        for p in &self.build.params {
            bytes.extend_from_slice(&p.to_le_bytes());
        }
        let dev = self.dev;
        dev.throttle()?;
        let mut stream = dev.stream.lock();
        dev.dispatches.fetch_add(1, Ordering::Relaxed);
        if stream.dispatch(&dev.wgpu, &dev.layouts, &pipeline, &windows, &bytes, groups) {
            stream.submit();
        }
        Ok(())
    }
}

pub(crate) fn uses_index(p: &Program) -> bool {
    p.values.iter().any(|v| v.0 == rtorch_ir::Inst::Index)
}

pub(crate) fn broadcast(l: &Layout, shape: &[usize]) -> Result<Layout> {
    if l.shape.as_slice() == shape { Ok(l.clone()) } else { l.broadcast_to(shape) }
}

impl Src<'_> {
    /// The compute type of its value.
    pub fn ctype(&self) -> CType {
        self.program.ctype(self.program.outputs[0])
    }
    /// Statements and the output names, given the counters' expressions.
    pub fn inline(&self, names: &Names, tag: &str, counters: &[&str]) -> (String, SmallVec<[String; 2]>) {
        let mut s = String::new();
        for (i, leaf) in self.leaves.iter().enumerate() {
            s += &leaf.access.print(&format!("{tag}a{i}"), counters);
        }
        let mut index = String::new();
        if let Some(a) = &self.index {
            s += &a.print(&format!("{tag}index"), counters);
            index = format!("rt_i64_of_u32({tag}index)");
        }
        // an epilogue has no memory for its leaf 0
        let missing = self.program.leaves.len() - self.leaves.len();
        let load = |n: usize| match n.checked_sub(missing) {
            None => "result".to_string(),
            Some(n) => emit::load(&names.of(self.leaves[n].slot), self.leaves[n].dtype, &format!("{tag}a{n}")),
        };
        let (text, outs) = emit::program(self.program, &format!("{tag}v"), self.consts, load, &index);
        (s + &text, outs)
    }
    /// A function `name(g0: u32, ...)` that answers the value.
    pub fn function(&self, names: &Names, name: &str) -> String {
        let counters: Vec<String> = (0..self.groups).map(|i| format!("g{i}")).collect();
        let refs: Vec<&str> = counters.iter().map(|c| c.as_str()).collect();
        let (text, outs) = self.inline(names, "s", &refs);
        let args: Vec<String> = counters.iter().map(|c| format!("{c}: u32")).collect();
        let ty = emit::type_name(self.ctype());
        format!("fn {name}({}) -> {ty} {{\n{text}return {};\n}}\n", args.join(", "), outs[0])
    }
}

impl Tail<'_> {
    /// A function `name(g0: u32, ..., v: f32)` that answers what is stored for the value `v` of the result, as `to`.
    pub fn function(&self, names: &Names, name: &str, to: CType) -> String {
        let counters: Vec<String> = (0..self.0.groups).map(|i| format!("g{i}")).collect();
        let refs: Vec<&str> = counters.iter().map(|c| c.as_str()).collect();
        let (text, outs) = self.0.inline(names, "e", &refs);
        let args: Vec<String> = counters.iter().map(|c| format!("{c}: u32, ")).collect();
        let result = emit::cast("v", DType::F32, self.0.program.leaves[0]);
        let value = emit::convert(&outs[0], self.0.ctype(), to);
        let ty = emit::type_name(to);
        format!("fn {name}({}v: f32) -> {ty} {{\nlet result = {result};\n{text}return {value};\n}}\n", args.concat())
    }
}

impl Operand {
    /// A function `name(g0: u32, ..., v)` that stores a value of a type of whole words.
    pub fn store_function(&self, names: &Names, name: &str) -> String {
        let counters: Vec<String> = (0..self.access.groups.len()).map(|i| format!("g{i}")).collect();
        let refs: Vec<&str> = counters.iter().map(|c| c.as_str()).collect();
        let args: Vec<String> = counters.iter().map(|c| format!("{c}: u32, ")).collect();
        let ty = emit::type_name(self.dtype.ctype());
        let at = self.access.print("at", &refs);
        let put = emit::store(&names.of(self.slot), self.dtype, "at", "v");
        format!("fn {name}({}v: {ty}) {{\n{at}{put}}}\n", args.join(""))
    }
}

/// The workgroups of a one-dimensional grid of `threads`, folded into x and y; `linear_thread` counts them.
pub(crate) fn grid(threads: u64) -> [u32; 3] {
    fold(threads.div_ceil(GROUP as u64))
}
pub(crate) fn fold(groups: u64) -> [u32; 3] {
    if groups <= 65535 { [groups as u32, 1, 1] } else { [FOLD, groups.div_ceil(FOLD as u64) as u32, 1] }
}

/// The opening of a one-dimensional kernel: `t` counts the threads of a folded grid.
pub(crate) fn open_main() -> String {
    format!(
        "@compute @workgroup_size({GROUP})\nfn main(@builtin(global_invocation_id) gid: vec3<u32>) {{\nlet t = gid.x + \
         gid.y * {}u;\n",
        FOLD * GROUP
    )
}
/// A template with its marked holes (`//@begin name` ... `//@end`) filled; holes not named keep their text.
pub(crate) fn splice(template: &str, holes: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(template.len() + 1024);
    let mut skipping = false;
    for line in template.lines() {
        let t = line.trim();
        if let Some(name) = t.strip_prefix("//@begin ") {
            if let Some((_, text)) = holes.iter().find(|h| h.0 == name.trim()) {
                out += text;
                skipping = true;
            }
        } else if t == "//@end" {
            skipping = false;
        } else if !skipping {
            let code = line.split("//").next().unwrap_or("").trim_end();
            if !code.is_empty() {
                out += code;
                out.push('\n');
            }
        }
    }
    out
}
