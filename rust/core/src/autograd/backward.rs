//! The backward pass: nodes in reverse order of recording, cotangents summed where paths meet. Iterative throughout, so
//! that a graph of any depth runs.

use std::collections::{BinaryHeap, HashMap};
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use rtorch_ir::{Error, Result, ensure};
use smallvec::SmallVec;

use super::graph::{GradNode, GradOp};
use super::hook::Hooks;
use super::meta::Edge;
use super::mode;
use crate::ops;
use crate::tensor::Tensor;

/// Hashes addresses: they are distinct already.
#[derive(Default)]
pub struct IdHasher(u64);

impl std::hash::Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.0 = self.0.wrapping_mul(31).wrapping_add(b as u64);
        }
    }
    fn write_usize(&mut self, i: usize) {
        self.0 = (i as u64 >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

type IdMap<V> = HashMap<usize, V, BuildHasherDefault<IdHasher>>;

fn id(n: &Arc<GradNode>) -> usize {
    Arc::as_ptr(n) as usize
}

type Grads = SmallVec<[Option<Tensor>; 2]>;

#[derive(Clone, Copy)]
pub struct Options {
    pub keep_graph: bool,
    pub create_graph: bool,
    /// Adds to `.grad` of leaves (`backward`), or only answers `targets` (`grad`).
    pub accumulate: bool,
    /// The targets are the end of the pass: what hangs on them belongs to an outer one.
    pub boundary: bool,
}

/// A node that the pass meets.
struct Met {
    node: Arc<GradNode>,
    /// Edges that lead to it and have not been followed yet.
    waiting: usize,
    queued: bool,
    /// Cotangents of its outputs, as far as they arrived.
    grads: Grads,
}

struct Pass<'a> {
    opts: &'a Options,
    met: Vec<Met>,
    /// Numbers in `met` by address.
    number: IdMap<usize>,
    /// Ready nodes, the latest recorded first: its sequence number and its number in `met`.
    heap: BinaryHeap<(u64, usize)>,
    /// With targets: the nodes on a path to one.
    needed: Option<IdMap<bool>>,
    targets: &'a [Edge],
    captured: Vec<Option<Tensor>>,
    sparse_leaves: bool,
}

/// Runs backward from `roots` with their cotangents. With `targets`, answers the gradient of each (None where no path
/// leads to it) and, where `accumulate` is set too, adds to `.grad` of those leaves only.
pub fn run(roots: &[(Edge, Tensor)], targets: Option<&[Edge]>, opts: &Options) -> Result<Vec<Option<Tensor>>> {
    let _mode = mode::Guard::new(opts.create_graph);
    let _engine = mode::Engine::new(true);
    let empty: &[Edge] = &[];
    let mut pass = Pass {
        opts,
        met: Vec::with_capacity(16),
        number: IdMap::with_capacity_and_hasher(16, Default::default()),
        heap: BinaryHeap::new(),
        needed: targets.map(|t| needed(roots, t, opts.boundary)),
        targets: targets.unwrap_or(empty),
        captured: vec![None; targets.map_or(0, <[Edge]>::len)],
        sparse_leaves: targets.is_some() && !opts.accumulate,
    };
    pass.count(roots);
    for (e, g) in roots {
        let i = pass.meet(&e.node).0;
        pass.receive(i, e.output, g.clone())?;
    }
    for (e, _) in roots {
        let i = pass.meet(&e.node).0;
        pass.queue_if_ready(i);
    }
    while let Some((_, i)) = pass.heap.pop() {
        pass.visit(i)?;
    }
    Ok(pass.captured)
}

/// Which nodes lie on a path to a target.
fn needed(roots: &[(Edge, Tensor)], targets: &[Edge], boundary: bool) -> IdMap<bool> {
    let mut state: IdMap<bool> = IdMap::default();
    for t in targets {
        state.insert(id(&t.node), true);
    }
    let mut done: IdMap<()> = IdMap::default();
    let mut stack: Vec<(Arc<GradNode>, usize)> = roots.iter().map(|r| (r.0.node.clone(), 0)).collect();
    while let Some((n, i)) = stack.pop() {
        if i == 0 && (done.insert(id(&n), ()).is_some() || boundary && state.get(&id(&n)) == Some(&true)) {
            continue;
        }
        if let Some(e) = n.next.get(i) {
            let child = e.as_ref().map(|e| e.node.clone());
            stack.push((n, i + 1));
            if let Some(c) = child
                && !done.contains_key(&id(&c))
            {
                stack.push((c, 0));
            }
            continue;
        }
        let on_path = n.next.iter().flatten().any(|e| state.get(&id(&e.node)).copied().unwrap_or(false));
        let entry = state.entry(id(&n)).or_insert(false);
        *entry |= on_path;
    }
    state
}

impl Pass<'_> {
    /// A node's number, and whether it is new.
    fn meet(&mut self, n: &Arc<GradNode>) -> (usize, bool) {
        let next = self.met.len();
        let i = *self.number.entry(id(n)).or_insert(next);
        if i == next {
            self.met.push(Met { node: n.clone(), waiting: 0, queued: false, grads: Grads::new() });
        }
        (i, i == next)
    }
    /// How many edges lead to each node.
    fn count(&mut self, roots: &[(Edge, Tensor)]) {
        let mut stack: Vec<usize> = Vec::with_capacity(16);
        for (e, _) in roots {
            if let (i, true) = self.meet(&e.node) {
                stack.push(i);
            }
        }
        while let Some(i) = stack.pop() {
            let n = self.met[i].node.clone();
            if self.ends_at(&n) {
                continue;
            }
            for e in n.next.iter().flatten() {
                if self.skips(&e.node) {
                    continue;
                }
                let (k, new) = self.meet(&e.node);
                self.met[k].waiting += 1;
                if new {
                    stack.push(k);
                }
            }
        }
    }
    /// Is the node a target that the pass goes no further than?
    fn ends_at(&self, n: &Arc<GradNode>) -> bool {
        self.opts.boundary && self.targets.iter().any(|t| id(&t.node) == id(n))
    }
    fn skips(&self, n: &Arc<GradNode>) -> bool {
        self.needed.as_ref().is_some_and(|m| !m.get(&id(n)).copied().unwrap_or(false))
    }
    fn queue_if_ready(&mut self, i: usize) {
        let m = &mut self.met[i];
        if m.waiting == 0 && !m.queued {
            m.queued = true;
            self.heap.push((m.node.seq, i));
        }
    }
    /// Adds a cotangent to output number `output` of a node.
    fn receive(&mut self, i: usize, output: usize, g: Tensor) -> Result<()> {
        let slots = &mut self.met[i].grads;
        while slots.len() <= output {
            slots.push(None);
        }
        let sum = match slots[output].take() {
            None => g,
            Some(old) => ops::add(&old, &g)?,
        };
        self.met[i].grads[output] = Some(sum);
        Ok(())
    }
    fn visit(&mut self, i: usize) -> Result<()> {
        let n = self.met[i].node.clone();
        let mut grads = std::mem::take(&mut self.met[i].grads);
        while grads.len() < n.outputs.len() {
            grads.push(None);
        }
        if !self.ends_at(&n) {
            run_tensor_hooks(&n, &mut grads)?;
        }
        for (i, t) in self.targets.iter().enumerate() {
            if id(&t.node) == id(&n) {
                self.captured[i] = grads.get(t.output).cloned().flatten();
            }
        }
        let leaf = matches!(n.op, GradOp::Accumulate(_));
        if leaf && self.sparse_leaves || self.ends_at(&n) {
            return Ok(());
        }
        let end = self.needed.is_some() && !leaf && !n.next.iter().flatten().any(|e| !self.skips(&e.node));
        if end {
            return Ok(());
        }
        let mut out = self.apply(&n, grads)?.into_iter();
        for (i, e) in n.next.iter().enumerate() {
            let g = out.next().flatten();
            let Some(e) = e else { continue };
            if self.skips(&e.node) {
                continue;
            }
            let k = self.meet(&e.node).0;
            if let Some(g) = g {
                let g = fit(g, &n, i)?;
                self.receive(k, e.output, g)?;
            }
            let m = &mut self.met[k];
            m.waiting = m.waiting.saturating_sub(1);
            self.queue_if_ready(k);
        }
        Ok(())
    }
    fn apply(&self, n: &Arc<GradNode>, mut grads: Grads) -> Result<Vec<Option<Tensor>>> {
        let anomaly = mode::anomaly() == (true, true);
        if let (GradOp::Accumulate(leaf), None, false) = (&n.op, n.hooks(), anomaly) {
            if let Some(g) = grads.pop().flatten() {
                accumulate(leaf, g, self.opts.create_graph).map_err(|e| explain(n, e))?;
            }
            return Ok(Vec::new());
        }
        let (pre, post) = match n.hooks() {
            None => Default::default(),
            Some(x) => {
                let x = x.lock();
                (x.pre_hooks.clone(), x.post_hooks.clone())
            }
        };
        let mut grads: Vec<Option<Tensor>> = grads.into_vec();
        for (_, h) in &pre.0 {
            let _user = mode::Engine::new(false);
            if let Some(r) = h.call(&grads, &[])? {
                grads = r;
            }
        }
        // a node that nothing reached stays silent, but a leaf's post hooks still see the visit
        let mut out = if grads.iter().all(Option::is_none) && !matches!(n.op, GradOp::Custom(_)) {
            vec![None; n.next.len()]
        } else {
            crate::vjp::apply(n, &grads, self.opts).map_err(|e| explain(n, e))?
        };
        if anomaly {
            check_nan(n, &out)?;
        }
        for (_, h) in &post.0 {
            let _user = mode::Engine::new(false);
            if let Some(r) = h.call(&out, &grads)? {
                out = r;
            }
        }
        if !self.opts.keep_graph {
            n.release();
        }
        Ok(out)
    }
}

/// Anomaly mode: the forward line of the node that failed.
fn explain(n: &Arc<GradNode>, e: Error) -> Error {
    if let Some(t) = &n.trace {
        crate::warn::warn(&format!(
            "Error detected in {}. Traceback of forward call that caused the error:\n{t}",
            n.name
        ));
    }
    e
}

fn check_nan(n: &Arc<GradNode>, out: &[Option<Tensor>]) -> Result<()> {
    for (i, g) in out.iter().enumerate() {
        let Some(g) = g else { continue };
        let nan = ops::reduce::any(&ops::unary(rtorch_ir::ScalarOp::IsNan, g)?, &[], false)?;
        if ops::convert::item(&nan)?.is_true() {
            return Err(explain(
                n,
                Error::runtime(format!("Function '{}' returned nan values in its {i}th output.", n.name)),
            ));
        }
    }
    Ok(())
}

fn run_tensor_hooks(n: &Arc<GradNode>, grads: &mut Grads) -> Result<()> {
    if let GradOp::Accumulate(leaf) = &n.op {
        let hooks = leaf.meta(|m| if m.hooks.is_empty() { None } else { Some(m.hooks.clone()) }).flatten();
        if let Some(hooks) = hooks
            && let Some(g) = grads.get_mut(0)
            && let Some(old) = g.take()
        {
            *g = Some(hooks.run(old)?);
        }
    }
    let Some(extra) = n.hooks() else { return Ok(()) };
    let (hooks, retain) = {
        let x = extra.lock();
        if x.tensor_hooks.is_empty() && x.retain.is_empty() {
            return Ok(());
        }
        (x.tensor_hooks.clone(), x.retain.clone())
    };
    for (output, hooks) in &hooks {
        if let Some(g) = grads.get_mut(*output)
            && let Some(old) = g.take()
        {
            *g = Some(hooks.run(old)?);
        }
    }
    for (output, t) in &retain {
        if let (Some(t), Some(Some(g))) = (t.upgrade(), grads.get(*output)) {
            let sum = match t.grad() {
                None => g.clone(),
                Some(old) => ops::add(&old, g)?,
            };
            t.set_grad(Some(sum));
        }
    }
    Ok(())
}

/// A cotangent in the shape and dtype of the input it belongs to.
pub fn fit(mut g: Tensor, n: &Arc<GradNode>, i: usize) -> Result<Tensor> {
    let Some(m) = n.inputs.get(i) else { return Ok(g) };
    if crate::batch::is_batched(&g)
        && let Some(levels) = n.outputs.iter().find_map(|o| o.levels.as_deref())
    {
        g = crate::batch::sum_foreign(&g, levels, m.levels.as_deref())?;
    }
    if !g.with(|p| p.layout.shape == m.shape) {
        ensure!(
            rtorch_ir::shape::broadcast(&g.shape(), &m.shape).is_ok_and(|s| s == g.shape()),
            runtime,
            "Function {} returned an invalid gradient at index {i} - got {:?} but expected shape compatible with {:?}",
            n.name,
            g.shape().as_slice(),
            m.shape.as_slice()
        );
        g = ops::reduce::sum_to(&g, &m.shape)?;
    }
    if g.dtype() != m.dtype && g.dtype().is_differentiable() {
        g = ops::convert::to_dtype(&g, m.dtype)?;
    }
    if g.device() != m.device {
        g = ops::convert::copy_to(&g, m.device)?;
    }
    Ok(g)
}

/// `.grad` of a leaf plus a new gradient.
pub fn accumulate(leaf: &Tensor, g: Tensor, create_graph: bool) -> Result<()> {
    let g = in_grad_dtype(leaf, g)?;
    let post = |h: &Hooks| if h.is_empty() { None } else { Some(h.clone()) };
    let (post, old) = leaf.meta(|m| (post(&m.post_accumulate), m.grad.clone())).unwrap_or_default();
    match old {
        None => {
            let g = if create_graph { g } else { own(g, leaf)? };
            leaf.set_grad(Some(g));
        }
        Some(old) if create_graph || old.requires_grad() => leaf.set_grad(Some(ops::add(&old, &g)?)),
        Some(old) => {
            ops::add_(&old, &g)?;
        }
    }
    let _user = mode::Engine::new(false);
    for (_, h) in post.iter().flat_map(|p| &p.0) {
        h.call(&[Some(leaf.clone())], &[])?;
    }
    Ok(())
}

/// A leaf's gradient in the dtype that the leaf asks for.
pub fn in_grad_dtype(leaf: &Tensor, g: Tensor) -> Result<Tensor> {
    match leaf.meta(|m| m.grad_dtype).flatten().flatten() {
        Some(d) if d != g.dtype() => ops::convert::to_dtype(&g, d),
        _ => Ok(g),
    }
}

/// Does a gradient lie as PyTorch's contract says: as the leaf does where that is dense, else row by row?
fn obeys(g: &rtorch_ir::Layout, leaf: &rtorch_ir::Layout) -> bool {
    if !leaf.is_dense() {
        return g.is_contiguous();
    }
    (0..leaf.ndim()).all(|d| leaf.shape[d] == 1 || g.strides[d] == leaf.strides[d])
}

/// A gradient as a tensor of its own: itself where nobody else knows it, the same value where its memory has the leaf's
/// layout, else a copy.
fn own(g: Tensor, leaf: &Tensor) -> Result<Tensor> {
    let fits = g.with(|p| {
        let whole = p.layout.offset == 0 && p.storage.len() == p.layout.numel() * p.dtype.size() && p.layout.is_dense();
        let ordered = !mode::keeps_grad_layout() || leaf.with(|l| obeys(&p.layout, &l.layout));
        (whole && !p.storage.is_exported() && ordered).then(|| p.storage.use_count() == 1)
    });
    match fits {
        Some(true) if g.use_count() == 1 && !g.is_tracked() && g.view_of().is_none() => Ok(g),
        Some(_) => {
            let p = g.parts();
            Ok(Tensor::from_value(p.storage.value(), p.layout, p.dtype, p.storage.device()))
        }
        None => ops::shape::clone_like(&g.detach(), &leaf.layout()),
    }
}
