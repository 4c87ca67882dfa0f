//! Deferral: pending pointwise work as a DAG of shared nodes, and what runs it. A node is recorded here, linearised
//! into
//! one program when something needs its bytes, and written together with the nodes that others still want.
//! A matrix product or convolution may wait too, for a pointwise program to follow it as its epilogue.
//! Nobody outside can see it: values, errors and aliasing are those of running every op at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use parking_lot::{Mutex, MutexGuard, ReentrantMutex, ReentrantMutexGuard};
use rtorch_ir::{DType, Error, Layout, Prim, Program, Reg, Result, Shape};
use smallvec::SmallVec;

use crate::backend::{self, Input, Window};
use crate::device::Device;
use crate::dispatch::prologue_cost;
use crate::kernel::Kernel;
use crate::stats::{Event, Mode, PENDING, PENDING_BYTES, count, mode};
use crate::storage::{Buf, Cell, State, Value};

/// CPU tensors with fewer elements run at once: fusion saves memory traffic, which they do not have.
pub const DEFER_MIN_NUMEL: usize = 16 * 1024;
/// Instructions of one fused program.
pub const MAX_INSTS: usize = 32;
/// Distinct leaves of one fused program: the portable GPU profile binds 8 buffers.
pub const MAX_LEAVES: usize = 7;
/// A pending node may keep this many times its own weight alive.
pub const MAX_KEEPALIVE: usize = 2;
/// The same for a product or convolution that waits for an epilogue: operands are mostly weights, alive anyway.
pub const MAX_PRIM_KEEPALIVE: usize = 64;
/// All pending nodes together; beyond this a new node runs at once, unless `MAX_PENDING_LIKE` of its size are fewer.
pub const MAX_PENDING_BYTES: usize = 1 << 30;
/// Pending nodes of one size that are always allowed: a longest chain, whose inner values nobody will store, and more.
const MAX_PENDING_LIKE: usize = 2 * MAX_INSTS;
/// A value saved for backward is recomputed there when its program costs no more (the table's cost column).
pub const RECOMPUTE_COST: u32 = 48;

/// What an op reads: contents captured now, and how they are laid out.
#[derive(Clone)]
pub struct Operand {
    pub value: Value,
    pub layout: Layout,
    pub dtype: DType,
}

impl Operand {
    fn window(&self, shape: &[usize]) -> Result<Window> {
        Ok(Window { buf: self.value.force()?, dtype: self.dtype, layout: self.layout.broadcast_to(shape)? })
    }
    /// The pending node behind the operand, if a program over `shape` can take it in as it is.
    fn inlinable(&self, shape: &[usize]) -> Option<Arc<Node>> {
        let n = self.value.cell().pending()?;
        (n.shape.as_slice() == shape && n.layout == self.layout && n.dtype == self.dtype).then_some(n)
    }
}

/// What a node computes.
pub enum Work {
    Map(Arc<Kernel>),
    /// One that takes an epilogue; never part of a pointwise program.
    Prim(Box<Prim>),
}

/// A recorded op.
pub struct Node {
    pub work: Work,
    pub inputs: SmallVec<[Operand; 3]>,
    pub shape: Shape,
    /// Where the result will lie: dense, from offset 0.
    pub layout: Layout,
    pub dtype: DType,
    pub device: Device,
}

impl Node {
    fn new(work: Work, inputs: SmallVec<[Operand; 3]>, layout: Layout, dtype: DType, device: Device) -> Arc<Node> {
        let n = Node { work, inputs, shape: layout.shape.clone(), layout, dtype, device };
        PENDING.fetch_add(1, Ordering::Relaxed);
        PENDING_BYTES.fetch_add(n.weight(), Ordering::Relaxed);
        Arc::new(n)
    }
    fn bytes(&self) -> usize {
        self.layout.numel() * self.dtype.size()
    }
    /// What it counts for in limits: as many elements of the widest dtype about it. The mask of a comparison is small
    /// beside what it keeps alive, and mostly wanted by a choice that follows at once.
    fn weight(&self) -> usize {
        let widest = self.inputs.iter().map(|o| o.dtype.size()).fold(self.dtype.size(), usize::max);
        self.layout.numel() * widest
    }
    /// Does it read bytes that others may change before it runs?
    fn reads_exposed(&self) -> bool {
        self.inputs.iter().any(|o| o.value.cell().is_exposed())
    }
    fn kernel(&self) -> Option<&Arc<Kernel>> {
        match &self.work {
            Work::Map(k) => Some(k),
            Work::Prim(_) => None,
        }
    }
    fn cost(&self) -> u32 {
        self.kernel().map_or(u32::MAX, |k| k.program.cost())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        PENDING.fetch_sub(1, Ordering::Relaxed);
        PENDING_BYTES.fetch_sub(self.weight(), Ordering::Relaxed);
    }
}

static FIRST: ReentrantMutex<()> = ReentrantMutex::new(());
/// The lock of whoever runs pending work; a forked child gets a fresh one (`fork.rs`).
static RUN: AtomicPtr<ReentrantMutex<()>> = AtomicPtr::new((&raw const FIRST).cast_mut());
static BLOCKING: std::sync::OnceLock<fn(&mut dyn FnMut())> = std::sync::OnceLock::new();

/// Installs what wraps a wait for another thread (the binding releases the GIL there).
pub fn set_blocking_hook(f: fn(&mut dyn FnMut())) {
    let _ = BLOCKING.set(f);
}

fn run_lock() -> &'static ReentrantMutex<()> {
    // SAFETY: a static, or leaked by `replace_lock`.
    unsafe { &*RUN.load(Ordering::Relaxed) }
}

/// In a forked child: the threads that held or awaited the lock are gone.
pub fn replace_lock() {
    RUN.store(Box::leak(Box::new(ReentrantMutex::new(()))), Ordering::Relaxed);
}

/// Ends a lock whose guard was forgotten.
///
/// # Safety
/// This thread holds the lock once more than it has guards.
pub unsafe fn unlock() {
    // SAFETY: the caller's promise.
    unsafe { run_lock().force_unlock() };
}

/// The lock of `lock` if it is free.
pub fn try_lock() -> Option<ReentrantMutexGuard<'static, ()>> {
    run_lock().try_lock()
}

/// One thread at a time runs pending work: its own kernels use all cores.
pub fn lock() -> ReentrantMutexGuard<'static, ()> {
    if let Some(g) = try_lock() {
        return g;
    }
    match BLOCKING.get() {
        None => run_lock().lock(),
        Some(wait) => loop {
            // the guard cannot leave the closure's thread of control: wait for a free moment, then try again
            wait(&mut || drop(run_lock().lock()));
            if let Some(g) = try_lock() {
                return g;
            }
        },
    }
}

/// A mutex that another thread may hold for long (or while it forks): the wait gives up the GIL.
pub fn lock_patiently<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    if let Some(g) = mutex.try_lock() {
        return g;
    }
    match BLOCKING.get() {
        None => mutex.lock(),
        Some(wait) => loop {
            wait(&mut || drop(mutex.lock()));
            if let Some(g) = mutex.try_lock() {
                return g;
            }
        },
    }
}

/// Is pointwise work on this many elements recorded rather than run?
#[inline]
pub fn defers(device: Device, numel: usize) -> bool {
    numel > 0
        && !device.is_meta()
        && match mode() {
            Mode::Eager => false,
            Mode::Always => true,
            Mode::Default => numel >= DEFER_MIN_NUMEL || !device.is_cpu(),
        }
}

/// The value of a pointwise op over `layout.shape`: recorded, or run at once.
pub fn map(kernel: &Arc<Kernel>, inputs: SmallVec<[Operand; 3]>, layout: Layout, device: Device) -> Result<Value> {
    crate::tensor::checked_bytes(&layout.shape, kernel.dtype())?;
    if runs_now(kernel, &layout, device) {
        return Ok(Value::ready(run_now(kernel, &inputs, &layout, device)?));
    }
    let node = Node::new(Work::Map(kernel.clone()), inputs, layout, kernel.dtype(), device);
    let run_first = prepare(&node)? || node.reads_exposed() || is_too_much(node.weight());
    let value = pend(node);
    if run_first {
        value.force()?;
    }
    Ok(value)
}

/// Should a node of so many bytes run, given what is pending with it?
fn is_too_much(bytes: usize) -> bool {
    let limit = if bytes > MAX_PENDING_BYTES { 0 } else { MAX_PENDING_BYTES.max(MAX_PENDING_LIKE * bytes) };
    PENDING_BYTES.load(Ordering::Relaxed) > limit
}

/// A cell for a node, known to what it reads.
fn pend(node: Arc<Node>) -> Value {
    let cell = Arc::new(Cell::new(State::Pending(node.clone())));
    for operand in &node.inputs {
        let mut readers = operand.value.cell().readers.lock();
        readers.retain(|r| r.strong_count() > 0);
        readers.push(Arc::downgrade(&cell));
    }
    Value::from_cell(cell)
}

/// The value of a primitive that takes an epilogue, recorded; None where it should run at once.
pub fn prim(prim: &Prim, operands: &[Operand], layout: &Layout, dtype: DType, device: Device) -> Result<Option<Value>> {
    if !prim.takes_epilogue() || !defers(device, layout.numel()) {
        return Ok(None);
    }
    if let Device::Wgpu(i) = device
        && !backend::gpu::supports(i, prim, operands)
    {
        return Ok(None);
    }
    if crate::tensor::checked_bytes(&layout.shape, dtype)? > MAX_PENDING_BYTES {
        return Ok(None); // whether there is memory for it is known at once
    }
    let mut kept = 0;
    for (i, o) in operands.iter().enumerate() {
        // one that waits for another would make chains as long as a loop
        let stays =
            prologue_cost(prim, i, &o.layout, device) > 0 && o.inlinable(&o.layout.shape).is_some_and(|n| !waits(&n));
        if o.value.is_pending() && !stays {
            o.value.force()?;
        }
        kept += o.value.cell().ready().map_or(0, |b| b.len());
    }
    let node = Node::new(
        Work::Prim(Box::new(prim.clone())),
        operands.iter().cloned().collect(),
        layout.clone(),
        dtype,
        device,
    );
    // operands that die with this expression are better freed now
    if node.reads_exposed() || kept > MAX_PRIM_KEEPALIVE * node.bytes() {
        return Ok(None);
    }
    Ok(Some(pend(node)))
}

/// Is a pointwise op with this result not recorded?
pub fn runs_now(kernel: &Kernel, layout: &Layout, device: Device) -> bool {
    !defers(device, layout.numel()) || kernel.leaves() > MAX_LEAVES
}

/// Is a node, or one that it reads, a primitive that waits for its epilogue?
fn waits(node: &Arc<Node>) -> bool {
    let mut open: SmallVec<[Arc<Node>; 8]> = SmallVec::from_iter([node.clone()]);
    let mut seen: SmallVec<[*const Node; 32]> = SmallVec::new();
    while let Some(n) = open.pop() {
        if n.kernel().is_none() {
            return true;
        }
        if !seen.contains(&Arc::as_ptr(&n)) {
            seen.push(Arc::as_ptr(&n));
            open.extend(n.inputs.iter().filter_map(|o| o.value.cell().pending()));
        }
    }
    false
}

/// Runs a kernel on its operands into a fresh buffer.
fn run_now(kernel: &Kernel, inputs: &[Operand], layout: &Layout, device: Device) -> Result<Buf> {
    let ready = |o: &Operand| Ok(Window { buf: o.value.force()?, dtype: o.dtype, layout: o.layout.clone() });
    run_windows(kernel, inputs.iter().map(ready).collect::<Result<_>>()?, layout, device)
}

/// The same on windows, which are broadcast to the result's shape.
pub fn run_windows(kernel: &Kernel, mut ins: SmallVec<[Window; 4]>, layout: &Layout, device: Device) -> Result<Buf> {
    let buf = backend::alloc(device, layout.numel() * kernel.dtype().size())?;
    if layout.numel() > 0 {
        for w in &mut ins {
            if w.layout.shape != layout.shape {
                w.layout = w.layout.broadcast_to(&layout.shape)?;
            }
        }
        backend::map_windows(kernel, layout, &ins, &buf)?;
    }
    Ok(buf)
}

/// Makes the limits hold for a node about to be recorded; true when it should run at once.
fn prepare(node: &Node) -> Result<bool> {
    for operand in &node.inputs {
        if operand.value.is_pending() && operand.inlinable(&node.shape).is_none() {
            operand.value.force()?;
        }
    }
    let mut seen = Seen::default();
    seen.visit(node);
    if seen.insts > MAX_INSTS || seen.leaves.len() > MAX_LEAVES {
        for operand in &node.inputs {
            operand.value.force()?;
        }
        seen = Seen::default();
        seen.visit(node);
    }
    Ok(seen.leaf_bytes > MAX_KEEPALIVE * node.weight().max(4096))
}

/// What a DAG amounts to, each node and leaf once.
#[derive(Default)]
struct Seen {
    nodes: SmallVec<[usize; 32]>,
    leaves: SmallVec<[(usize, Layout); 8]>,
    buffers: SmallVec<[usize; 8]>,
    insts: usize,
    leaf_bytes: usize,
}

impl Seen {
    fn visit(&mut self, node: &Node) {
        self.insts += node.kernel().map_or(0, |k| k.program.len()).max(1);
        for o in &node.inputs {
            let id = Arc::as_ptr(o.value.cell()) as usize;
            match o.inlinable(&node.shape).filter(|n| n.kernel().is_some()) {
                Some(n) => {
                    if !self.nodes.contains(&id) && self.insts <= MAX_INSTS {
                        self.nodes.push(id);
                        self.visit(&n);
                    }
                }
                None => {
                    if !self.leaves.iter().any(|l| l.0 == id && l.1 == o.layout) {
                        self.leaves.push((id, o.layout.clone()));
                    }
                    if !self.buffers.contains(&id) {
                        self.buffers.push(id);
                        self.leaf_bytes += o.value.cell().ready().map_or(0, |b| b.len());
                    }
                }
            }
        }
    }
}

/// One program for a DAG, and what it touches.
struct Linear {
    program: Program,
    leaves: SmallVec<[Window; 8]>,
    leaf_cells: SmallVec<[Arc<Cell>; 8]>,
    /// Nodes taken in, inputs before users, the root last; with the value that computes each.
    nodes: SmallVec<[(Arc<Cell>, Arc<Node>, Reg); 8]>,
    /// A leaf that is a pending primitive, not run yet: the program may become its epilogue.
    prim: Option<(Arc<Cell>, Arc<Node>, u16)>,
}

impl Linear {
    fn new(cell: &Arc<Cell>, node: Arc<Node>) -> Result<Linear> {
        let mut l = Linear {
            program: Program::new(),
            leaves: SmallVec::new(),
            leaf_cells: SmallVec::new(),
            nodes: SmallVec::new(),
            prim: None,
        };
        l.add(cell, node)?;
        Ok(l)
    }
    fn add(&mut self, cell: &Arc<Cell>, node: Arc<Node>) -> Result<Reg> {
        if let Some(done) = self.nodes.iter().find(|n| Arc::ptr_eq(&n.0, cell)) {
            return Ok(done.2);
        }
        let mut args: SmallVec<[Reg; 3]> = SmallVec::new();
        for o in &node.inputs {
            args.push(match o.inlinable(&node.shape) {
                Some(inner) if inner.kernel().is_some() => self.add(o.value.cell(), inner)?,
                Some(inner) => self.waiting(o, inner, &node.shape)?,
                None => self.leaf(o, &node.shape)?,
            });
        }
        let Some(kernel) = node.kernel() else { return Err(Error::runtime("a primitive is no part of a program")) };
        let out = self.program.inline(&kernel.program, &args)[0];
        self.nodes.push((cell.clone(), node, out));
        Ok(out)
    }
    /// A pending primitive as a leaf: the first one is left to wait for its epilogue.
    fn waiting(&mut self, o: &Operand, node: Arc<Node>, shape: &[usize]) -> Result<Reg> {
        match &self.prim {
            Some((cell, _, leaf)) if Arc::ptr_eq(cell, o.value.cell()) => self.loaded(*leaf as usize),
            Some(_) => self.leaf(o, shape),
            None => {
                let leaf = self.leaves.len();
                self.prim = Some((o.value.cell().clone(), node, leaf as u16));
                // no bytes yet: filled in when the primitive has run by itself
                self.leaves.push(Window { buf: Buf::empty(), dtype: o.dtype, layout: o.layout.clone() });
                self.leaf_cells.push(o.value.cell().clone());
                Ok(self.program.load(o.dtype))
            }
        }
    }
    fn loaded(&self, leaf: usize) -> Result<Reg> {
        let at = self.program.values.iter().position(|v| v.0 == rtorch_ir::Inst::Load(leaf as u16));
        at.map(|i| i as Reg).ok_or_else(|| Error::runtime("a leaf without a value"))
    }
    /// Runs a waiting primitive by itself.
    fn settle(&mut self) -> Result<()> {
        if let Some((cell, _, leaf)) = self.prim.take() {
            self.leaves[leaf as usize].buf = run(&cell)?;
        }
        Ok(())
    }
    fn leaf(&mut self, o: &Operand, shape: &[usize]) -> Result<Reg> {
        let w = o.window(shape)?;
        let same = |x: &Window| x.buf.same(&w.buf) && x.layout == w.layout && x.dtype == w.dtype;
        if let Some(i) = self.leaves.iter().position(same) {
            return self.loaded(i);
        }
        self.leaves.push(w);
        self.leaf_cells.push(o.value.cell().clone());
        Ok(self.program.load(o.dtype))
    }
    /// Operand references to a cell from the nodes taken in.
    fn references(&self, cell: &Arc<Cell>) -> usize {
        self.nodes.iter().flat_map(|n| n.1.inputs.iter()).filter(|o| Arc::ptr_eq(o.value.cell(), cell)).count()
    }
    fn root(&self) -> &(Arc<Cell>, Arc<Node>, Reg) {
        &self.nodes[self.nodes.len() - 1]
    }
    /// Is a node besides the root written too? Yes if anybody else holds it, or if backward saved it and would pay
    /// too much to compute it again.
    fn writes(&self, i: usize) -> bool {
        let (cell, node, _) = &self.nodes[i];
        let internal = self.references(cell);
        let saves = Arc::strong_count(cell).saturating_sub(cell.holders() + 1);
        cell.holders() > internal || (saves > 0 && node.cost() > RECOMPUTE_COST)
    }
    fn has_saves(&self) -> bool {
        let n = self.nodes.len() - 1;
        self.nodes[..n].iter().any(|n| Arc::strong_count(&n.0) > n.0.holders() + 1)
    }
    /// A leaf that only this program holds and that has the result's layout: its buffer becomes the result's.
    fn donor(&self) -> Option<usize> {
        let (_, root, _) = self.root();
        if self.has_saves() {
            return None;
        }
        (0..self.leaves.len()).find(|&i| {
            let (w, cell) = (&self.leaves[i], &self.leaf_cells[i]);
            let listed = self.leaf_cells.iter().filter(|c| Arc::ptr_eq(c, cell)).count();
            w.layout == root.layout
                && w.dtype.size() == root.dtype.size()
                && w.buf.len() == root.bytes()
                && listed == 1
                && self.leaves.iter().filter(|x| x.buf.same(&w.buf)).count() == 1
                && cell.holders() == self.references(cell)
                && Arc::strong_count(cell) == cell.holders() + 1
                && sole_owner(&w.buf)
        })
    }
}

/// Two handles, the cell's and the window's, and memory that is our own.
fn sole_owner(buf: &Buf) -> bool {
    match buf {
        Buf::Cpu(b) => b.handles() == 2 && !b.is_foreign(),
        // an element may be read by another invocation of the same dispatch after it was written: not donated
        #[cfg(feature = "gpu")]
        Buf::Gpu(..) => false,
        Buf::Meta(_) => false,
    }
}

/// Computes a pending cell, and with it whatever of its DAG somebody wants.
pub fn run(cell: &Arc<Cell>) -> Result<Buf> {
    let _guard = lock();
    let node = match &*cell.state.lock() {
        State::Ready(b) => return Ok(b.clone()),
        State::Pending(n) => n.clone(),
    };
    if let Work::Prim(prim) = &node.work {
        let buf = run_prim(prim, &node, None)?;
        let old = std::mem::replace(&mut *cell.state.lock(), State::Ready(buf.clone()));
        drop(old);
        return Ok(buf);
    }
    let mut l = Linear::new(cell, node)?;
    if let Some(buf) = run_epilogue(&mut l)? {
        let old = std::mem::replace(&mut *cell.state.lock(), State::Ready(buf.clone()));
        drop((old, l));
        return Ok(buf);
    }
    let last = l.nodes.len() - 1;
    let device = l.root().1.device;
    let mut wanted: SmallVec<[usize; 4]> = (0..last).filter(|&i| l.writes(i)).collect();
    wanted.push(last);
    if !device.is_cpu() && l.leaves.len() + wanted.len() > MAX_LEAVES + 1 {
        // too many buffers for the portable profile: the others stay pending
        wanted.drain(..wanted.len() - 1);
    }
    let donor = l.donor();
    let mut outs: SmallVec<[Window; 4]> = SmallVec::new();
    for &i in &wanted {
        let n = &l.nodes[i].1;
        let buf = match donor {
            Some(d) if i == last => l.leaves[d].buf.clone(),
            _ => backend::alloc(device, n.bytes())?,
        };
        outs.push(Window { buf, dtype: n.dtype, layout: n.layout.clone() });
    }
    l.program.outputs = wanted.iter().map(|&i| l.nodes[i].2).collect();
    if l.nodes.len() > 1 {
        count(Event::Fused, 1);
    }
    let shape = l.root().1.shape.clone();
    backend::map(device, &l.program, &shape, &l.leaves, &outs)?;
    let mut result = None;
    let mut done: SmallVec<[State; 8]> = SmallVec::new();
    for (&i, out) in wanted.iter().zip(&outs) {
        let old = std::mem::replace(&mut *l.nodes[i].0.state.lock(), State::Ready(out.buf.clone()));
        done.push(old);
        result = Some(out.buf.clone());
    }
    // nodes and leaves go only now, when no lock on a cell is held
    drop(done);
    drop(l);
    Ok(result.unwrap_or(backend::alloc(device, 0)?))
}

/// Runs a primitive's node into a fresh buffer, through an epilogue if there is one: its program, the other leaves, and
/// the node whose result it is.
fn run_prim(prim: &Prim, node: &Node, epilogue: Option<(&Program, &[Window], &Node)>) -> Result<Buf> {
    let result = epilogue.map_or(node, |e| e.2);
    let buf = backend::alloc(node.device, result.bytes())?;
    let mut ins: SmallVec<[Input; 4]> = SmallVec::new();
    for (i, o) in node.inputs.iter().enumerate() {
        ins.push(input(o, prologue_cost(prim, i, &o.layout, node.device))?);
    }
    let out = [Window { buf: buf.clone(), dtype: result.dtype, layout: result.layout.clone() }];
    backend::run(node.device, prim, &ins, epilogue.map(|e| (e.0, e.1)), &out)?;
    Ok(buf)
}

/// Runs a program as the epilogue of the primitive among its leaves, if nobody else wants that primitive's result or
/// any
/// value of the program but the last; else runs the primitive by itself.
fn run_epilogue(l: &mut Linear) -> Result<Option<Buf>> {
    let Some((cell, node, leaf)) = l.prim.clone() else { return Ok(None) };
    let last = l.nodes.len() - 1;
    // our two handles besides the holders
    let alone = cell.holders() == l.references(&cell) && Arc::strong_count(&cell) == cell.holders() + 3;
    let Work::Prim(prim) = &node.work else { return Ok(None) };
    let root = &l.nodes[last].1;
    if !alone || (0..last).any(|i| l.writes(i)) || l.has_saves() || root.layout != node.layout {
        drop(cell);
        l.settle()?;
        return Ok(None);
    }
    // the primitive's result becomes leaf 0
    let mut program = l.program.clone();
    program.leaves.swap(0, leaf as usize);
    for v in &mut program.values {
        if let rtorch_ir::Inst::Load(n) = &mut v.0 {
            *n = if *n == 0 {
                leaf
            } else if *n == leaf {
                0
            } else {
                *n
            };
        }
    }
    program.outputs = SmallVec::from_iter([l.nodes[last].2]);
    let mut others: SmallVec<[Window; 8]> = l.leaves.clone();
    others.swap(0, leaf as usize);
    others.remove(0);
    count(Event::Fused, 1);
    run_prim(prim, &node, Some((&program, &others, root))).map(Some)
}

/// A primitive's input: its pending program as a prologue where the kernel takes one and it is cheap, else its bytes.
pub fn input(o: &Operand, prologue_cost: u32) -> Result<Input> {
    if prologue_cost > 0
        && let Some(i) = prologue(o, prologue_cost)?
    {
        return Ok(i);
    }
    let leaf = Window { buf: o.value.force()?, dtype: o.dtype, layout: o.layout.clone() };
    Ok(Input {
        program: crate::kernel::cast(o.dtype, o.dtype).program.clone(),
        leaves: SmallVec::from_iter([leaf]),
        shape: rtorch_ir::layout::copied(&o.layout.shape),
    })
}

fn prologue(o: &Operand, max_cost: u32) -> Result<Option<Input>> {
    let Some(_) = o.inlinable(&o.layout.shape) else { return Ok(None) };
    let _guard = lock();
    let Some(node) = o.inlinable(&o.layout.shape).filter(|n| n.kernel().is_some()) else { return Ok(None) };
    let cell = o.value.cell();
    let mut l = Linear::new(cell, node)?;
    if l.prim.is_some() {
        // better as that primitive's epilogue
        return Ok(None);
    }
    // written anyway, too dear, or already evaluated once by another primitive: better in memory
    let last = l.nodes.len() - 1;
    if l.program.cost() > max_cost
        || (0..last).any(|i| l.writes(i))
        || cell.swallowed.fetch_add(1, Ordering::Relaxed) > 0
    {
        return Ok(None);
    }
    l.program.outputs = SmallVec::from_iter([l.root().2]);
    count(Event::Fused, 1);
    let leaves = std::mem::take(&mut l.leaves);
    Ok(Some(Input {
        program: Arc::new(std::mem::take(&mut l.program)),
        leaves: leaves.into_iter().collect(),
        shape: rtorch_ir::layout::copied(&o.layout.shape),
    }))
}

/// Runs the pending values that read a cell: before its bytes change or become visible to others.
pub fn run_readers(cell: &Cell) -> Result<()> {
    loop {
        let Some(next) = cell.readers.lock().pop() else { return Ok(()) };
        if let Some(reader) = next.upgrade() {
            // what nobody holds any more need not run
            if reader.pending().is_some() && Arc::strong_count(&reader) > 1 {
                run(&reader)?;
            }
        }
    }
}
