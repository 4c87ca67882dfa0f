//! A fused LSTM layer (Hochreiter & Schmidhuber 1997) on the CPU: forward in time all steps in one call of the backend,
//! where that pays; else, and backward, per step one matrix product and one program for all gates. Its slow meaning,
//! and its derivative's derivative, is `rnn::composed`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;

use rtorch_cpu::gemm::tasks::for_each;
use rtorch_cpu::lstm::{Inputs, Layer};
use rtorch_cpu::threads;
use rtorch_ir::program::{Ex, build, ex};
use rtorch_ir::{DType, Layout, Prim, Program, Result, Shape};
use smallvec::SmallVec;

use super::rnn::{self, Mode, Weights};
use super::rule::{Backward, Save, record};
use crate::autograd::mode;
use crate::backend::{self, Input, Window, cpu_arg};
use crate::device::Device;
use crate::dispatch;
use crate::kernel;
use crate::ops::linalg::{addmm, linear, mm};
use crate::ops::{self, factory, shape};
use crate::tensor::Tensor;

/// Gates, in the order of the weights: input, forget, cell, output.
const GATES: usize = 4;

/// Steps from which on a copy of the recurrent weight, packed or transposed, pays.
const PACK_STEPS: usize = 4;

/// Sequences times hidden units squared from which on a product of one step is worth all threads (2 cores, Zen 5).
const SHARED: usize = 1 << 18;

/// Sequences of a batch that are worth a thread: fewer do not fill the products' registers.
const LEAST_ROWS: usize = 8;

/// Can this layer be fused?
pub fn fits(x: &Tensor, h: &Tensor, c: &Tensor, w: &Weights) -> bool {
    let dtype = x.dtype();
    let all = [Some(h), Some(c), Some(&w.ih), Some(&w.hh), w.bias_ih.as_ref(), w.bias_hh.as_ref()];
    matches!(dtype, DType::F32 | DType::F64)
        && x.numel() > 0
        && w.hr.is_none()
        && w.bias_ih.is_some() == w.bias_hh.is_some()
        && x.device().is_cpu()
        && all.iter().flatten().all(|t| t.dtype() == dtype && t.device().is_cpu())
}

/// Bytes of a cache line.
const LINE: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Pass {
    /// Hidden and cell state only.
    Infer,
    /// The gates' values too, for backward.
    Train,
    Back,
}

thread_local! {
    static PROGRAMS: RefCell<HashMap<(Pass, DType), std::rc::Rc<Program>>> = RefCell::new(HashMap::new());
}

fn program(pass: Pass, dtype: DType) -> std::rc::Rc<Program> {
    if let Some(p) = PROGRAMS.with(|p| p.borrow().get(&(pass, dtype)).cloned()) {
        return p;
    }
    let (mut p, outs) = build(Program::new(), || match pass {
        Pass::Infer | Pass::Train => forward_body(dtype, pass == Pass::Train),
        Pass::Back => backward_body(dtype),
    });
    p.outputs = outs.iter().map(|o| o.0).collect();
    let p = std::rc::Rc::new(p);
    PROGRAMS.with(|all| all.borrow_mut().insert((pass, dtype), p.clone()));
    p
}

/// Leaves: the four gates before their functions, the old cell. Outputs: new cell, hidden (and the gates).
fn forward_body(dtype: DType, train: bool) -> SmallVec<[Ex; 6]> {
    let leaf = || Ex::leaf(dtype);
    let (i, f, g, o, c) = (leaf(), leaf(), leaf(), leaf(), leaf());
    let (i, f, g, o) = (ex::sigmoid(i), ex::sigmoid(f), ex::tanh(g), ex::sigmoid(o));
    let c = f * c + i * g;
    let mut out: SmallVec<[Ex; 6]> = SmallVec::from_slice(&[c, o * ex::tanh(c)]);
    if train {
        out.extend([i, f, g, o]);
    }
    out
}

/// Leaves: the gates' values, new and old cell, cotangents of the output, the next step's hidden and cell state.
/// Outputs: cotangents of the old cell and of the gates before their functions.
fn backward_body(dtype: DType) -> SmallVec<[Ex; 6]> {
    let leaf = || Ex::leaf(dtype);
    let (i, f, g, o) = (leaf(), leaf(), leaf(), leaf());
    let (c, before) = (leaf(), leaf());
    let (dy, dh, dc) = (leaf(), leaf(), leaf());
    let dh = dy + dh;
    let t = ex::tanh(c);
    let dc = dc + dh * o * (-(t * t) + 1.0);
    let unit = |s: Ex| s * (-s + 1.0);
    SmallVec::from_slice(&[
        dc * f,
        dc * g * unit(i),
        dc * before * unit(f),
        dc * i * (-(g * g) + 1.0),
        dh * t * unit(o),
    ])
}

/// A whole row-major tensor's memory, to take steps and gates from.
struct Steps {
    window: Window,
}

impl Steps {
    fn of(t: &Tensor) -> Result<Steps> {
        Ok(Steps { window: dispatch::window(t)? })
    }
    fn with(&self, layout: Layout) -> Window {
        Window { buf: self.window.buf.clone(), dtype: self.window.dtype, layout }
    }
    /// Step `t`.
    fn at(&self, t: usize) -> Window {
        self.with(self.window.layout.select(0, t))
    }
    /// Gate `k` of step `t`.
    fn gate(&self, t: usize, k: usize) -> Window {
        let l = self.window.layout.select(0, t);
        let n = l.shape[1] / GATES;
        self.with(l.slice(1, k * n, (k + 1) * n, 1))
    }
}

fn plain(w: &Window) -> Input {
    Input {
        program: kernel::cast(w.dtype, w.dtype).program.clone(),
        leaves: SmallVec::from_iter([w.clone()]),
        shape: w.layout.shape.clone(),
    }
}

fn fresh(s: &[usize], like: &Tensor) -> Result<Tensor> {
    Tensor::empty(s, like.dtype(), Device::Cpu)
}

/// What the forward pass leaves for backward: the gates' values [time, batch, 4 hidden] and the cells.
struct Kept {
    gates: Option<Tensor>,
    cells: Tensor,
    out: Tensor,
}

impl Kept {
    /// Memory for x [time, batch, features]; of the cells for the last `cells` steps alone.
    fn new(x: &Tensor, cells: usize, hidden: usize, train: bool) -> Result<Kept> {
        let (steps, batch) = (x.size(0), x.size(1));
        let all = [steps, batch, hidden];
        Ok(Kept {
            gates: if train { Some(fresh(&[steps, batch, GATES * hidden], x)?) } else { None },
            cells: shape::expand_to(&fresh(&[cells, batch, hidden], x)?, &all)?,
            out: fresh(&all, x)?,
        })
    }
}

/// The order of the steps.
fn order(n: usize, reverse: bool) -> impl DoubleEndedIterator<Item = usize> {
    (0..n).map(move |i| if reverse { n - 1 - i } else { i })
}

fn forward(x: &Tensor, h: &Tensor, c: &Tensor, w: &Weights, reverse: bool, train: bool) -> Result<Kept> {
    let (steps, batch, hidden) = (x.size(0), x.size(1), w.hh.size(1));
    let bias = match (&w.bias_ih, &w.bias_hh) {
        (Some(a), Some(b)) => Some(ops::add(a, b)?),
        (Some(a), None) | (None, Some(a)) => Some(a.clone()),
        (None, None) => None,
    };
    if packs(steps, batch, hidden) {
        return packed(x, [h, c], w, bias.as_ref(), reverse, train);
    }
    let kept = Kept::new(x, steps, hidden, train)?;
    let projected = shape::contiguous(&linear(x, &w.ih, bias.as_ref())?)?;
    let before = fresh(&[1, batch, GATES * hidden], x)?;
    let (xs, pre) = (Steps::of(&projected)?, Steps::of(&before)?);
    let (cells, out) = (Steps::of(&kept.cells)?, Steps::of(&kept.out)?);
    let gates = kept.gates.as_ref().map(Steps::of).transpose()?;
    let turned = shape::t(&w.hh)?;
    // turned once, so that every step reads its rows as they lie
    let turned = if steps >= PACK_STEPS { apart(&turned)? } else { turned };
    let wt = plain(&dispatch::window(&turned)?);
    let (mut h, mut c) = (dispatch::window(h)?, dispatch::window(c)?);
    let product = Prim::MatMul { bias: true, alpha: 1.0, beta: 1.0 };
    let step = &*program(if train { Pass::Train } else { Pass::Infer }, x.dtype());
    let over: Shape = SmallVec::from_slice(&[batch, hidden]);
    for t in order(steps, reverse) {
        let inputs = [plain(&h), clone(&wt), plain(&xs.at(t))];
        backend::run(Device::Cpu, &product, &inputs, None, &[pre.at(0)])?;
        let leaves = [pre.gate(0, 0), pre.gate(0, 1), pre.gate(0, 2), pre.gate(0, 3), c];
        let mut outs: SmallVec<[Window; 6]> = SmallVec::from_iter([cells.at(t), out.at(t)]);
        if let Some(g) = &gates {
            outs.extend((0..GATES).map(|k| g.gate(t, k)));
        }
        backend::map(Device::Cpu, step, &over, &leaves, &outs)?;
        (h, c) = (out.at(t), cells.at(t));
    }
    Ok(kept)
}

/// All steps in one call of the backend.
fn packed(
    x: &Tensor,
    first: [&Tensor; 2],
    w: &Weights,
    bias: Option<&Tensor>,
    reverse: bool,
    train: bool,
) -> Result<Kept> {
    // where nobody asks for them later, each step's cells take the place of the last one's
    let kept = Kept::new(x, if train { x.size(0) } else { 1 }, w.hh.size(1), train)?;
    let window = dispatch::window;
    let plain = rtorch_cpu::lstm::joins(x.size(1));
    let projected = if plain { None } else { Some(shape::contiguous(&linear(x, &w.ih, bias)?)?) };
    let (x, ih) = (window(projected.as_ref().unwrap_or(x))?, window(&w.ih)?);
    let bias = bias.map(shape::contiguous).transpose()?;
    let bias = bias.as_ref().map(window).transpose()?;
    let (hh, h, c) = (window(&w.hh)?, window(first[0])?, window(first[1])?);
    let (cells, out) = (window(&kept.cells)?, window(&kept.out)?);
    let gates = kept.gates.as_ref().map(window).transpose()?;
    let inputs = if plain {
        Inputs::Plain(cpu_arg(&x)?, cpu_arg(&ih)?, bias.as_ref().map(cpu_arg).transpose()?)
    } else {
        Inputs::Projected(cpu_arg(&x)?)
    };
    backend::lstm(&Layer {
        inputs,
        weight: cpu_arg(&hh)?,
        first: [cpu_arg(&h)?, cpu_arg(&c)?],
        states: [cpu_arg(&out)?, cpu_arg(&cells)?],
        gates: gates.as_ref().map(cpu_arg).transpose()?,
        reverse,
    })?;
    Ok(kept)
}

/// Do the steps run in one call, over a packed weight? Few steps do not pay for packing; a step of few sequences and
/// many hidden units is a product that all threads share.
fn packs(steps: usize, batch: usize, hidden: usize) -> bool {
    // by the sizes alone: another way adds in another order, and results do not depend on the number of threads
    let shared = batch < 2 * LEAST_ROWS && batch * hidden * hidden >= SHARED;
    steps >= PACK_STEPS && !shared
}

/// Runs sequences of the batch in at most `parts` parts at once, each through all steps by itself: threads that met
/// at every step would wait for each other twice a step.
fn by_rows(batch: usize, parts: usize, run: &(dyn Fn(Range<usize>) -> Result<()> + Sync)) -> Result<()> {
    let parts = (batch / LEAST_ROWS).clamp(1, parts.max(1));
    if parts == 1 {
        return run(0..batch);
    }
    for_each(parts, &|i, _| run(i * batch / parts..(i + 1) * batch / parts))
}

/// A row-major copy whose rows are a cache line longer than they need be: rows of 4 KB (256 hidden units) would fall on
/// the same few sets of L1 (16 x 256 x 1024 in 37 instead of 69 us, Zen 5).
fn apart(t: &Tensor) -> Result<Tensor> {
    let (rows, columns) = (t.size(0), t.size(1));
    let wide = fresh(&[rows, columns + LINE / t.dtype().size()], t)?;
    let copy = shape::slice(&wide, 1, Some(0), Some(columns as i64), 1)?;
    crate::inplace::copy_(&copy, t)?;
    Ok(copy)
}

fn clone(i: &Input) -> Input {
    Input { program: i.program.clone(), leaves: i.leaves.clone(), shape: i.shape.clone() }
}

/// The fused layer: (outputs, last hidden state, last cell state).
pub fn layer(x: &Tensor, h: &Tensor, c: &Tensor, w: &Weights, reverse: bool) -> Result<(Tensor, Tensor, Tensor)> {
    let mut inputs: SmallVec<[&Tensor; 7]> = SmallVec::from_slice(&[x, h, c, &w.ih, &w.hh]);
    inputs.extend(w.bias_ih.as_ref());
    inputs.extend(w.bias_hh.as_ref());
    let train = crate::autograd::record::wanted(&inputs);
    let (kept, last_h, last_c) = {
        let _off = mode::Guard::new(false);
        let kept = forward(x, h, c, w, reverse, train)?;
        let last = order(x.size(0), reverse).next_back().unwrap_or(0) as i64;
        let pick = |t: &Tensor| shape::clone(&shape::select(t, 0, last)?);
        let (a, b) = (pick(&kept.out)?, pick(&kept.cells)?);
        (kept, a, b)
    };
    if let Some(gates) = &kept.gates {
        let out = kept.out.clone();
        let mut save: SmallVec<[Save; 10]> = inputs.iter().map(|t| Save::Input(t)).collect();
        save.push(Save::Output(&out, 0));
        save.push(Save::Input(gates));
        save.push(Save::Input(&kept.cells));
        let n = inputs.len();
        record("StackBackward0", &inputs, &[&out, &last_h, &last_c], &save, move |b| backward(b, n, reverse))?;
        drop(save);
        return Ok((out, last_h, last_c));
    }
    Ok((kept.out, last_h, last_c))
}

fn backward(b: &Backward, n: usize, reverse: bool) -> Result<Vec<Option<Tensor>>> {
    let saved: Vec<Tensor> = (0..n).map(|i| b.saved(i)).collect::<Result<_>>()?;
    if mode::is_enabled() {
        return crate::vjp::by_composition(
            &saved,
            |t| {
                let w = Weights {
                    ih: t[3].clone(),
                    hh: t[4].clone(),
                    bias_ih: t.get(5).cloned(),
                    bias_hh: t.get(6).cloned(),
                    hr: None,
                };
                let (y, h, c) = rnn::composed(Mode::Lstm, &t[0], &t[1], Some(&t[2]), &w, reverse)?;
                Ok([Some(y), Some(h), c].into_iter().flatten().collect())
            },
            b.grads,
        );
    }
    let (out, gates, cells) = (b.saved(n)?, b.saved(n + 1)?, b.saved(n + 2)?);
    let (x, h0, c0, w_ih, w_hh) = (&saved[0], &saved[1], &saved[2], &saved[3], &saved[4]);
    let time = Time { reverse, h0: h0.detach(), c0: c0.detach(), out: out.detach(), gates, cells };
    let (dgates, dh0, dc0) = time.back(b, w_hh)?;
    let (rows, width) = (x.size(0) * x.size(1), dgates.size(2));
    let flat = shape::reshape_to(&dgates, SmallVec::from_slice(&[rows, width]))?;
    let turned = shape::t(&flat)?;
    let dx = if b.wants(0) { Some(shape::reshape_to(&mm(&flat, w_ih)?, x.shape())?) } else { None };
    let xs = shape::reshape_to(&x.detach(), SmallVec::from_slice(&[rows, x.size(2)]))?;
    let dw_ih = if b.wants(3) { Some(mm(&turned, &xs)?) } else { None };
    let dw_hh = if b.wants(4) { Some(time.weight_gradient(&dgates)?) } else { None };
    let mut grads = vec![dx, Some(dh0), Some(dc0), dw_ih, dw_hh];
    if n > 5 {
        let db = ops::reduce::sum(&flat, &[0], false, None)?;
        grads.resize(n, Some(db));
    }
    Ok(grads)
}

/// The saved run of a layer.
struct Time {
    reverse: bool,
    h0: Tensor,
    c0: Tensor,
    out: Tensor,
    gates: Tensor,
    cells: Tensor,
}

impl Time {
    /// Backward through time: cotangents of all gates, of the first hidden and cell state.
    fn back(&self, b: &Backward, w_hh: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
        let s = self.out.shape();
        let (steps, over) = (s[0], Shape::from_slice(&s[1..]));
        let dy = shape::contiguous(&b.grad(0)?)?;
        // written at every step
        let own = |i: usize| match b.grads.get(i) {
            Some(Some(g)) => shape::clone_contiguous(g),
            _ => factory::zeros(&over, dy.dtype(), Device::Cpu),
        };
        let (dh, dc) = (own(1)?, own(2)?);
        dh.force()?;
        dc.force()?;
        let dgates = fresh(&self.gates.shape(), &dy)?;
        let (ys, gates, cells) = (Steps::of(&dy)?, Steps::of(&self.gates)?, Steps::of(&self.cells)?);
        let marks = Steps::of(&dgates)?;
        let (hw, cw) = (dispatch::window(&dh)?, dispatch::window(&dc)?);
        let weight = plain(&dispatch::window(w_hh)?);
        let step = &*program(Pass::Back, dy.dtype());
        let product = Prim::MatMul { bias: false, alpha: 1.0, beta: 0.0 };
        let first = dispatch::window(&self.c0)?;
        let times: Vec<usize> = order(steps, self.reverse).collect();
        let run = |rows: Range<usize>| -> Result<()> {
            let cut = |w: Window| Window { layout: w.layout.slice(0, rows.start, rows.end, 1), ..w };
            let (hw, cw) = (cut(hw.clone()), cut(cw.clone()));
            let over: Shape = SmallVec::from_slice(&[rows.len(), over[1]]);
            for (i, &t) in times.iter().enumerate().rev() {
                let before = if i == 0 { first.clone() } else { cells.at(times[i - 1]) };
                let mut leaves: SmallVec<[Window; 9]> = (0..GATES).map(|k| cut(gates.gate(t, k))).collect();
                leaves.extend([cut(cells.at(t)), cut(before), cut(ys.at(t)), hw.clone(), cw.clone()]);
                let mut outs: SmallVec<[Window; 5]> = SmallVec::from_iter([cw.clone()]);
                outs.extend((0..GATES).map(|k| cut(marks.gate(t, k))));
                backend::map(Device::Cpu, step, &over, &leaves, &outs)?;
                let inputs = [plain(&cut(marks.at(t))), clone(&weight)];
                backend::run(Device::Cpu, &product, &inputs, None, std::slice::from_ref(&hw))?;
            }
            Ok(())
        };
        by_rows(over[0], threads::num_threads(), &run)?;
        Ok((dgates, dh, dc))
    }

    /// Sum over steps of (cotangent of the gates)^T (hidden state before the step).
    fn weight_gradient(&self, dgates: &Tensor) -> Result<Tensor> {
        let s = dgates.shape();
        let (n, batch) = (s[0] as i64, s[1]);
        let flat = |t: &Tensor| {
            let rows = t.size(0) * batch;
            shape::reshape_to(t, SmallVec::from_slice(&[rows, t.size(2)]))
        };
        let edge = if self.reverse { n - 1 } else { 0 };
        let first = mm(&shape::t(&shape::select(dgates, 0, edge)?)?, &self.h0)?;
        if n == 1 {
            return Ok(first);
        }
        let (later, earlier) = if self.reverse { ((0, n - 1), (1, n)) } else { ((1, n), (0, n - 1)) };
        let part = |t: &Tensor, (a, b): (i64, i64)| flat(&shape::slice(t, 0, Some(a), Some(b), 1)?);
        addmm("", &first, &shape::t(&part(dgates, later)?)?, &part(&self.out, earlier)?, 1.0, 1.0)
    }
}
