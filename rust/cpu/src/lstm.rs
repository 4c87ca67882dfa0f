//! The steps of an LSTM layer, forward in time: the products and the gates, one block of hidden units after the other,
//! so that what the gates read is in L1. The weights are packed once for all steps, and sequences of a batch are shared
//! among threads that never wait for each other.
//! Not here: everything backward, and layers for which this is not the fastest way (`rtorch-core`'s `lstm`).

use std::ops::Range;

use rtorch_ir::{Error, Result, ScalarOp};

use crate::gemm::lanes::Lanes;
use crate::gemm::pack::{Panel, SLACK};
use crate::gemm::tasks::{Stop, for_each};
use crate::gemm::{Body, Gemm, KC, Rows, Scratch, Tile, View};
use crate::simd::kernels::{Kernel, kernel};
use crate::{Arg, threads};

/// The weights' gates (input, forget, cell, output) in the order they are computed in: one function, then the other.
const GATES: [usize; 4] = [0, 1, 3, 2];
/// Of these, how many go through the sigmoid.
const SIGMOIDS: usize = 3;
/// Sequences of a batch that are worth a thread: fewer do not fill the products' registers.
const LEAST_ROWS: usize = 8;
/// Sequences that go through the steps together: their gates of a block of units take 28 KB of f32.
const MOST_ROWS: usize = 56;
/// Bytes of a cache line.
const LINE: usize = 64;

/// One layer in one direction. All of one dtype, f32 or f64; what has gates has them one after the other.
pub struct Layer<'a> {
    pub inputs: Inputs<'a>,
    /// [4 hidden, hidden]
    pub weight: Arg<'a>,
    /// Hidden and cell state before the first step, [batch, hidden].
    pub first: [Arg<'a>; 2],
    /// Hidden and cell state of every step, [time, batch, hidden]; rows are contiguous. All steps of the cell state
    /// may be the same memory.
    pub states: [Arg<'a>; 2],
    /// The gates' values of every step, [time, batch, 4 hidden], row-major, where backward wants them.
    pub gates: Option<Arg<'a>>,
    /// The last step comes first.
    pub reverse: bool,
}

pub enum Inputs<'a> {
    /// The projections with the biases, [time, batch, 4 hidden], row-major.
    Projected(Arg<'a>),
    /// [time, batch, features], the weight [4 hidden, features] and the biases' sum [4 hidden], contiguous.
    Plain(Arg<'a>, Arg<'a>, Option<Arg<'a>>),
}

/// Into how many parts the sequences of a batch are cut.
pub fn parts(batch: usize) -> usize {
    (batch / LEAST_ROWS).clamp(1, threads::num_threads()).max(batch.div_ceil(MOST_ROWS))
}

/// Are plain inputs the faster ones? A step then reads both weights, for the few sequences of a thread again and again.
pub fn joins(batch: usize) -> bool {
    batch / parts(batch) >= LEAST_ROWS
}

pub fn run(layer: &Layer) -> Result<()> {
    match layer.weight.dtype.size() {
        8 => Job::<f64>::new(layer)?.run(),
        _ => Job::<f32>::new(layer)?.run(),
    }
}

fn function<T: Gemm>(op: ScalarOp) -> Result<Kernel> {
    kernel(op, T::DTYPE.ctype()).ok_or_else(|| Error::runtime("lstm: a function without a kernel"))
}

/// Rows of a step's operand or result: steps and rows are so far apart, columns one (0: all the same).
#[derive(Clone, Copy)]
struct Steps<T> {
    p: *mut T,
    step: isize,
    row: isize,
}

impl<T> Steps<T> {
    fn of(a: &Arg) -> Steps<T> {
        Steps { p: a.base().cast(), step: a.layout.strides[0], row: a.layout.strides[1] }
    }
    fn at(&self, t: usize, row: usize) -> *mut T {
        self.p.wrapping_offset(self.step * t as isize + self.row * row as isize)
    }
    fn view(&self, t: usize) -> View<T> {
        View::new(self.at(t, 0), self.row, 1)
    }
}

struct Job<'a, T> {
    of: &'a Layer<'a>,
    steps: usize,
    batch: usize,
    hidden: usize,
    /// Features of plain inputs, and the products' sums with the hidden units.
    features: usize,
    k: usize,
    /// Hidden units of a block, and the number of blocks.
    units: usize,
    blocks: usize,
    /// Per block the four gates' panels.
    weights: Scratch<T>,
    /// Projected inputs, or the biases.
    added: Option<Steps<T>>,
    states: [Steps<T>; 2],
    gates: Option<Steps<T>>,
    sigmoid: Kernel,
    tanh: Kernel,
}

// SAFETY: operands are only read, tasks write their own sequences of the results.
unsafe impl<T> Sync for Job<'_, T> {}

/// A task's own memory: the inputs and the hidden state as panels, and of a block of units the gates before and after
/// their functions, the cell state and its tanh.
struct Space<T> {
    state: *mut T,
    before: *mut T,
    after: *mut T,
    cell: *mut T,
    tanh: *mut T,
}

impl<'a, T: Gemm> Job<'a, T> {
    fn new(of: &'a Layer<'a>) -> Result<Job<'a, T>> {
        let [steps, batch, hidden] = std::array::from_fn(|d| of.states[0].layout.shape[d]);
        let kn = T::kernels();
        let units = if hidden > kn.lanes { kn.width } else { kn.lanes };
        let blocks = hidden.div_ceil(units);
        let (features, added) = match &of.inputs {
            Inputs::Projected(x) => (0, Some(Steps::of(x))),
            Inputs::Plain(x, _, bias) => {
                let bias = bias.as_ref().map(|b| Steps { p: b.base().cast(), step: 0, row: 0 });
                (x.layout.shape[2], bias)
            }
        };
        let k = features + hidden;
        Ok(Job {
            of,
            steps,
            batch,
            hidden,
            features,
            k,
            units,
            blocks,
            weights: Scratch::new(blocks * GATES.len() * k * units)?,
            added,
            states: [Steps::of(&of.states[0]), Steps::of(&of.states[1])],
            gates: of.gates.as_ref().map(Steps::of),
            sigmoid: function::<T>(ScalarOp::Sigmoid)?,
            tanh: function::<T>(ScalarOp::Tanh)?,
        })
    }

    fn run(&self) -> Result<()> {
        for_each(self.blocks, &|b, _| {
            self.pack(b);
            Ok(())
        })?;
        let parts = parts(self.batch);
        for_each(parts, &|i, stop| self.rows(i * self.batch / parts..(i + 1) * self.batch / parts, stop))
    }

    /// Where the panel of a block's gate lies.
    fn panel(&self, block: usize, slot: usize) -> *mut T {
        self.weights.as_ptr().wrapping_add((block * GATES.len() + slot) * self.k * self.units)
    }

    fn pack(&self, block: usize) {
        let from = block * self.units;
        for (slot, gate) in GATES.iter().enumerate() {
            let dst = self.panel(block, slot);
            let part = |w: &Arg, k: usize, dst: *mut T| {
                let w = view::<T>(w);
                let src = w.at(gate * self.hidden + from, 0);
                let width = (self.hidden - from).min(self.units);
                let panel = Panel { src, across: w.rs, along: w.cs, width, k, dst, step: self.units };
                // SAFETY: the weight has these rows; whole registers are written, so nothing behind the panel is.
                unsafe { T::run(&panel) };
            };
            if let Inputs::Plain(_, w, _) = &self.of.inputs {
                part(w, self.features, dst);
            }
            part(&self.of.weight, self.hidden, dst.wrapping_add(self.features * self.units));
        }
    }

    /// The inputs of step `t` and the hidden state `h` as panels.
    fn gather(&self, t: usize, first: usize, panels: Rows, h: View<T>, to: *mut T) {
        for p in 0..panels.panels {
            let (r0, r1) = (panels.start(p), panels.start(p + 1));
            let dst = to.wrapping_add(r0 * self.k);
            let part = |v: View<T>, k: usize, dst: *mut T| {
                let src = v.at(first + r0, 0);
                let panel = Panel { src, across: v.rs, along: v.cs, width: r1 - r0, k, dst, step: r1 - r0 };
                // SAFETY: rows of the operand; there is room for all panels in order, and for the last one's slack.
                unsafe { T::run(&panel) };
            };
            if let Inputs::Plain(x, ..) = &self.of.inputs {
                let s = &x.layout.strides;
                let p = x.base().cast::<T>().cast_const().wrapping_offset(s[0] * t as isize);
                part(View::new(p, s[1], s[2]), self.features, dst);
            }
            part(h, self.hidden, dst.wrapping_add(self.features * (r1 - r0)));
        }
    }

    /// All steps of some sequences.
    fn rows(&self, rows: Range<usize>, stop: &Stop) -> Result<()> {
        let n = rows.len();
        let (block, state) = (n * self.units, (n * self.k + SLACK).next_multiple_of(SLACK));
        let scratch = Scratch::<T>::new(state + (2 * GATES.len() + 2) * block)?;
        let after_state = |blocks: usize| scratch.as_ptr().wrapping_add(state + blocks * block);
        let space = Space {
            state: scratch.as_ptr(),
            before: after_state(0),
            after: after_state(GATES.len()),
            cell: after_state(2 * GATES.len()),
            tanh: after_state(2 * GATES.len() + 1),
        };
        let panels = Rows::new(n, T::kernels().rows);
        let (mut h, mut c) = (view::<T>(&self.of.first[0]), view::<T>(&self.of.first[1]));
        for i in 0..self.steps {
            if stop.now() {
                return Ok(());
            }
            let t = if self.of.reverse { self.steps - 1 - i } else { i };
            self.gather(t, rows.start, panels, h, space.state);
            for b in 0..self.blocks {
                // back and forth: the blocks that the step before ended with are still in L2
                let b = if i % 2 == 0 { b } else { self.blocks - 1 - b };
                let gates = Gates { job: self, t, from: b * self.units, first: rows.start, n, c, s: &space };
                self.block(b, panels, &gates);
            }
            (h, c) = (self.states[0].view(t), self.states[1].view(t));
        }
        Ok(())
    }

    /// One step of a block of units.
    fn block(&self, block: usize, panels: Rows, gates: &Gates<T>) {
        let (kn, units, n, s) = (T::kernels(), self.units, gates.n, gates.s);
        for slot in 0..GATES.len() {
            let weights = self.panel(block, slot);
            gates.prefetch(slot);
            for k0 in (0..self.k).step_by(KC) {
                let k = (self.k - k0).min(KC);
                for p in 0..panels.panels {
                    let (r0, r1) = (panels.start(p), panels.start(p + 1));
                    let lda = r1 - r0;
                    let a = s.state.wrapping_add(r0 * self.k + k0 * lda);
                    let b = weights.wrapping_add(k0 * units);
                    let p = s.before.wrapping_add((slot * n + r0) * units);
                    let tile = Tile { k, a, lda, b, ldb: units, c: p, ldc: units, n: units, add: k0 > 0 };
                    // SAFETY: packed panels of both sides, and the scratch's rows.
                    unsafe { kn.run(lda, &tile) };
                }
            }
        }
        let of = SIGMOIDS * n * units;
        let (sigmoid, tanh) = (self.sigmoid, self.tanh);
        let call = |f: Kernel, to: *mut T, from: *mut T, n: usize| {
            // SAFETY: n values each, of different parts of the scratch.
            unsafe { f(to.cast(), from.cast(), from.cast(), from.cast(), n) }
        };
        // SAFETY: the operands have these sequences and units; nobody else touches them.
        unsafe {
            T::run(Join(gates));
            call(sigmoid, s.after, s.before, of);
            call(tanh, s.after.wrapping_add(of), s.before.wrapping_add(of), n * units);
            T::run(Cell(gates));
            call(tanh, s.tanh, s.cell, n * units);
            T::run(Hidden(gates));
        }
    }
}

fn view<T>(a: &Arg) -> View<T> {
    View::new(a.base().cast::<T>().cast_const(), a.layout.strides[0], a.layout.strides[1])
}

/// One step of a block of units: what the passes over the scratch know.
struct Gates<'a, T> {
    job: &'a Job<'a, T>,
    t: usize,
    /// The first unit, the first sequence, and how many sequences.
    from: usize,
    first: usize,
    n: usize,
    c: View<T>,
    s: &'a Space<T>,
}

impl<T: Gemm> Gates<'_, T> {
    /// Units that exist.
    #[inline(always)]
    fn have(&self) -> usize {
        (self.job.hidden - self.from).min(self.job.units)
    }
    /// The block's part of a sequence's gate (0: of its state).
    #[inline(always)]
    fn at(&self, a: &Steps<T>, row: usize, gate: usize) -> *mut T {
        a.at(self.t, self.first + row).wrapping_add(gate * self.job.hidden + self.from)
    }
    /// Asks for the memory that the passes will touch: rows lie far apart, and to wait for them one by one took a fifth
    /// of all time (Zen 5).
    fn prefetch(&self, slot: usize) {
        let job = self.job;
        for r in 0..self.n {
            for a in job.added.iter().filter(|a| a.row != 0).chain(&job.gates) {
                self.lines(self.at(a, r, GATES[slot]));
            }
            if let Some(a) = job.states.get(slot) {
                self.lines(self.at(a, r, 0));
            }
        }
    }
    /// The cache lines of a row's units.
    fn lines(&self, p: *const T) {
        for at in (0..self.have()).step_by(LINE / size_of::<T>()) {
            let p = p.wrapping_add(at).cast::<i8>();
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a prefetch touches nothing.
            unsafe {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                _mm_prefetch::<_MM_HINT_T0>(p);
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _ = p;
        }
    }
}

/// Adds the inputs' projections, or the biases.
struct Join<'a, T>(&'a Gates<'a, T>);

impl<T: Gemm> Body<T> for Join<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let (g, units) = (self.0, self.0.job.units);
        let Some(added) = &g.job.added else { return };
        for slot in 0..GATES.len() {
            for r in 0..g.n {
                let x = g.at(added, r, GATES[slot]);
                let p = g.s.before.wrapping_add((slot * g.n + r) * units);
                let mut u = 0;
                while u < units {
                    // SAFETY: the operand has `m` units, the scratch whole registers.
                    unsafe {
                        let m = g.have().saturating_sub(u).min(V::N);
                        let x = V::load_n(x.wrapping_add(u), m);
                        V::load(p.add(u)).add(x).store(p.add(u));
                    }
                    u += V::N;
                }
            }
        }
    }
}

/// The cell state, into the scratch and into memory; the gates' values into memory, where they are wanted.
struct Cell<'a, T>(&'a Gates<'a, T>);

impl<T: Gemm> Body<T> for Cell<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let (g, units) = (self.0, self.0.job.units);
        let (have, after) = (g.have(), g.s.after);
        for r in 0..g.n {
            let to = g.at(&g.job.states[1], r, 0);
            let old = g.c.at(g.first + r, g.from);
            let mut u = 0;
            while u < units {
                let m = have.saturating_sub(u).min(V::N);
                let gate = |slot: usize| after.wrapping_add((slot * g.n + r) * units + u);
                // SAFETY: as `Join`'s; a cell state's row is contiguous but for the first one's.
                unsafe {
                    let old = match g.c.cs {
                        1 => V::load_n(old.wrapping_add(u), m),
                        step => V::load_span(old.wrapping_offset(u as isize * step), step, 0, m),
                    };
                    let new = V::load(gate(0)).mul(V::load(gate(3)));
                    let c = V::load(gate(1)).mul(old).add(new);
                    c.store(g.s.cell.add(r * units + u));
                    c.store_n(to.wrapping_add(u), m);
                    if let Some(all) = &g.job.gates {
                        for slot in 0..GATES.len() {
                            V::load(gate(slot)).store_n(g.at(all, r, GATES[slot]).wrapping_add(u), m);
                        }
                    }
                }
                u += V::N;
            }
        }
    }
}

/// The hidden state, into memory.
struct Hidden<'a, T>(&'a Gates<'a, T>);

impl<T: Gemm> Body<T> for Hidden<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let (g, units) = (self.0, self.0.job.units);
        let output = g.s.after.wrapping_add((SIGMOIDS - 1) * g.n * units);
        for r in 0..g.n {
            let to = g.at(&g.job.states[0], r, 0);
            let mut u = 0;
            while u < units {
                // SAFETY: as `Cell`'s.
                unsafe {
                    let h = V::load(output.add(r * units + u)).mul(V::load(g.s.tanh.add(r * units + u)));
                    h.store_n(to.wrapping_add(u), g.have().saturating_sub(u).min(V::N));
                }
                u += V::N;
            }
        }
    }
}
