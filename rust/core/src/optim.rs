//! Fused optimizer steps: for each parameter one program over parameter, gradient and states, written in place in one
//! pass, without temporaries. Their slow meaning are the formulas in `python/rtorch/optim`. Learning rates and the like
//! are constants of the program, which is data: nothing is compiled anew when they change.
//!
//! A step answers false, and changes nothing, where it cannot take these tensors.

mod formulas;
mod region;

use std::cell::RefCell;

use rtorch_ir::program::{Ex, build, ex};
use rtorch_ir::{DType, Program, Result, Scalar, ScalarOp};
use smallvec::SmallVec;

pub use formulas::Formula;
use region::{Job, Plan};

use crate::backend::{self, Window};
use crate::dispatch;
use crate::inplace;
use crate::ops::pointwise::{Arg, binary_into};
use crate::ops::{self, convert, factory};
use crate::tensor::Tensor;

/// Which formula, with the switches that change the program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Rule {
    Sgd { momentum: Momentum, nesterov: bool },
    Adam { amsgrad: bool, decoupled: bool },
    Table(Formula),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Momentum {
    None,
    /// The buffer becomes the gradient.
    First,
    Running,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    rule: Rule,
    decay: bool,
    maximize: bool,
    dtype: DType,
}

thread_local! {
    /// A handful: one per formula and dtype that this thread uses.
    static PROGRAMS: RefCell<Vec<(Key, Box<Program>)>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` with the rule's program, whose constants it may change.
fn with_program<R>(key: &Key, numbers: usize, f: impl FnOnce(&mut Program) -> R) -> R {
    let take = |p: &RefCell<Vec<(Key, Box<Program>)>>| {
        let mut p = p.borrow_mut();
        p.iter().position(|e| e.0 == *key).map(|i| p.swap_remove(i).1)
    };
    let mut program = PROGRAMS.with(take).unwrap_or_else(|| Box::new(program(key, numbers)));
    let r = f(&mut program);
    PROGRAMS.with(|p| p.borrow_mut().push((*key, program)));
    r
}

/// Tensors of one parameter: itself, its gradient, its states (all written but the gradient).
struct Group<'a> {
    param: &'a Tensor,
    grad: &'a Tensor,
    states: SmallVec<[&'a Tensor; 4]>,
}

impl Group<'_> {
    /// Same shape, dtype and device, floats, each over memory of its own?
    fn fits(&self) -> bool {
        let (shape, dtype, device) = (self.param.shape(), self.param.dtype(), self.param.device());
        let alike = |t: &Tensor| t.dtype() == dtype && t.device() == device;
        let mut written = std::iter::once(&self.param).chain(&self.states);
        dtype.is_float()
            && alike(self.grad)
            && self.grad.with(|p| p.layout.shape == shape)
            && written.all(|t| {
                alike(t) && t.with(|p| p.layout.shape == shape && !p.layout.overlaps_itself()) && !t.is_inference()
            })
    }
    /// What a step writes: parameter, states.
    fn outputs(&self) -> impl Iterator<Item = &Tensor> {
        std::iter::once(self.param).chain(self.states.iter().copied())
    }
    /// The step's program with its leaves (parameter, gradient, states) and outputs (parameter, states), their memory
    /// made ours to write; None where there is nothing to do.
    fn job(&self, (key, numbers): &Plan) -> Result<Option<Job>> {
        if self.param.numel() == 0 {
            return Ok(None);
        }
        let grad = if self.grad.storage().same(&self.param.storage()) {
            ops::shape::clone(&self.grad.detach())?
        } else {
            self.grad.clone()
        };
        let mut leaves: SmallVec<[Window; 6]> = SmallVec::new();
        let mut outs: SmallVec<[Window; 5]> = SmallVec::new();
        for t in self.outputs() {
            outs.push(inplace::exclusive(t)?);
        }
        leaves.push(outs[0].clone());
        leaves.push(dispatch::window(&grad)?);
        leaves.extend(outs[1..].iter().cloned());
        Ok(Some(Job { device: self.param.device(), key: *key, numbers: numbers.clone(), leaves, outs }))
    }
    /// After a step.
    fn written(&self) {
        if self.param.numel() != 0 {
            self.outputs().for_each(Tensor::bump_version);
        }
    }
}

/// May the parameters be written? Asked of all before anything is.
fn check(groups: &[Group]) -> Result<()> {
    groups.iter().filter(|g| g.param.numel() != 0).try_for_each(|g| inplace::check_grad(g.param))
}

/// Builds a rule's program; its first constants are the `n` numbers of the step.
fn program(key: &Key, n: usize) -> Program {
    let dtype = key.dtype;
    let (mut p, outs) = build(Program::new(), || {
        let c: SmallVec<[Ex; 8]> = (0..n).map(|_| Ex::constant(Scalar::Float(0.0), dtype.ctype().dtype())).collect();
        let (param, grad) = (Ex::leaf(dtype), Ex::leaf(dtype));
        let g = if key.maximize { -grad } else { grad };
        let outs: SmallVec<[Ex; 4]> = match key.rule {
            Rule::Sgd { momentum, nesterov } => sgd(param, g, &c, key.decay, momentum, nesterov),
            Rule::Adam { amsgrad, decoupled } => adam(param, g, &c, key, amsgrad, decoupled),
            Rule::Table(formula) => formula.written(param, decayed(param, g, c[0], key.decay), &c[1..]),
        };
        outs.into_iter().map(|o| o.cast(dtype)).collect::<SmallVec<[Ex; 4]>>()
    });
    p.outputs = outs.iter().map(|o| o.0).collect();
    p
}

fn decayed(param: Ex, g: Ex, weight_decay: Ex, on: bool) -> Ex {
    if on { g + param * weight_decay } else { g }
}

/// c: lr, weight decay, momentum, 1 - dampening
fn sgd(param: Ex, g: Ex, c: &[Ex], decay: bool, momentum: Momentum, nesterov: bool) -> SmallVec<[Ex; 4]> {
    let g = decayed(param, g, c[1], decay);
    if momentum == Momentum::None {
        return SmallVec::from_slice(&[param - g * c[0]]);
    }
    let old = Ex::leaf(param.dtype());
    let buffer = if momentum == Momentum::First { g } else { old * c[2] + g * c[3] };
    let step = if nesterov { g + buffer * c[2] } else { buffer };
    SmallVec::from_slice(&[param - step * c[0], buffer])
}

/// c: step size, weight decay (decoupled: 1 - lr * weight decay), 1 - beta1, beta2, 1 - beta2, sqrt of the second bias
/// correction, eps
fn adam(param: Ex, g: Ex, c: &[Ex], key: &Key, amsgrad: bool, decoupled: bool) -> SmallVec<[Ex; 4]> {
    let dtype = key.dtype;
    let (m, v) = (Ex::leaf(dtype), Ex::leaf(dtype));
    let param = if key.decay && decoupled { param * c[1] } else { param };
    let g = decayed(param, g, c[1], key.decay && !decoupled);
    let m = m + (g - m) * c[2];
    let v = v * c[3] + g * g * c[4];
    if !amsgrad {
        let denominator = ex::sqrt(v) / c[5] + c[6];
        return SmallVec::from_slice(&[param - c[0] * m / denominator, m, v]);
    }
    let top = ex::maximum(Ex::leaf(dtype), v);
    let denominator = ex::sqrt(top) / c[5] + c[6];
    SmallVec::from_slice(&[param - c[0] * m / denominator, m, v, top])
}

/// Groups of parallel lists (an empty list of states is none), or None where they do not fit.
fn groups<'a>(params: &'a [Tensor], grads: &'a [Tensor], states: &[&'a [Tensor]]) -> Option<Vec<Group<'a>>> {
    let n = params.len();
    if grads.len() != n || states.iter().any(|s| !s.is_empty() && s.len() != n) {
        return None;
    }
    let mut out = Vec::with_capacity(n);
    for i in 0..n {
        let states = states.iter().filter(|s| !s.is_empty()).map(|s| &s[i]).collect();
        let g = Group { param: &params[i], grad: &grads[i], states };
        if !g.fits() {
            return None;
        }
        out.push(g);
    }
    Some(out)
}

/// Adds 1 to a step counter, and answers it.
fn advance(step: &Tensor) -> Result<f64> {
    if step.dtype() == DType::F32 && step.numel() == 1 && !step.is_tracked() && step.device().is_cpu() {
        let w = inplace::exclusive(step)?;
        // SAFETY: element 0 of a one-element float32 window, whose memory `exclusive` made ours to write.
        let at = unsafe { &mut *backend::cpu_arg(&w)?.base().cast::<f32>() };
        *at += 1.0;
        let now = *at as f64;
        step.bump_version();
        return Ok(now);
    }
    binary_into(ScalarOp::Add, Arg::T(step), Arg::S(Scalar::Float(1.0)), Some(step))?;
    Ok(convert::item(step)?.to_f64())
}

#[derive(Clone, Copy, Debug)]
pub struct Sgd {
    pub lr: f64,
    pub momentum: f64,
    pub dampening: f64,
    pub weight_decay: f64,
    pub nesterov: bool,
    pub maximize: bool,
}

/// Stochastic gradient descent. `buffers`: empty without momentum; a missing one is made of the gradient.
pub fn sgd_(params: &[Tensor], grads: &[Tensor], buffers: &mut [Option<Tensor>], o: &Sgd) -> Result<bool> {
    let Some(plain) = groups(params, grads, &[]) else { return Ok(false) };
    let numbers = [o.lr, o.weight_decay, o.momentum, 1.0 - o.dampening];
    let key = |momentum, dtype| Key {
        rule: Rule::Sgd { momentum, nesterov: o.nesterov },
        decay: o.weight_decay != 0.0,
        maximize: o.maximize,
        dtype,
    };
    if o.momentum == 0.0 {
        check(&plain)?;
        let plans: Vec<Plan> =
            plain.iter().map(|g| (key(Momentum::None, g.param.dtype()), numbers.into_iter().collect())).collect();
        region::run(&plain, &plans)?;
        return Ok(true);
    }
    if buffers.len() != params.len() {
        return Ok(false);
    }
    let first: SmallVec<[bool; 16]> = buffers.iter().map(Option::is_none).collect();
    for (g, b) in plain.iter().zip(buffers.iter_mut()) {
        if b.is_none() {
            *b = Some(Tensor::empty_with(factory::like_layout(g.param), g.param.dtype(), g.param.device())?);
        }
    }
    let full: Vec<Group> =
        plain.into_iter().zip(buffers.iter()).map(|(g, b)| Group { states: b.iter().collect(), ..g }).collect();
    if !full.iter().all(Group::fits) {
        return Ok(false);
    }
    check(&full)?;
    let plan = |(g, first): (&Group, bool)| -> Plan {
        let momentum = if first { Momentum::First } else { Momentum::Running };
        (key(momentum, g.param.dtype()), numbers.into_iter().collect())
    };
    let plans: Vec<Plan> = full.iter().zip(first).map(plan).collect();
    region::run(&full, &plans)?;
    Ok(true)
}

#[derive(Clone, Copy, Debug)]
pub struct Adam {
    pub lr: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub weight_decay: f64,
    pub eps: f64,
    pub amsgrad: bool,
    pub maximize: bool,
    /// AdamW: the decay is of the parameter, not of the gradient.
    pub decoupled: bool,
}

/// Adam (Kingma & Ba 2015) and AdamW (Loshchilov & Hutter 2019).
pub fn adam_(
    params: &[Tensor],
    grads: &[Tensor],
    averages: &[Tensor],
    squares: &[Tensor],
    maxima: &[Tensor],
    steps: &[Tensor],
    o: &Adam,
) -> Result<bool> {
    if steps.len() != params.len() || o.amsgrad != (maxima.len() == params.len() && !params.is_empty()) {
        return Ok(false);
    }
    let Some(all) = groups(params, grads, &[averages, squares, maxima]) else { return Ok(false) };
    check(&all)?;
    let mut plans: Vec<Plan> = Vec::with_capacity(all.len());
    for (g, step) in all.iter().zip(steps) {
        let t = advance(step)?;
        let correction1 = 1.0 - o.beta1.powf(t);
        let correction2 = (1.0 - o.beta2.powf(t)).sqrt();
        let decay = if o.decoupled { 1.0 - o.lr * o.weight_decay } else { o.weight_decay };
        let numbers = [o.lr / correction1, decay, 1.0 - o.beta1, o.beta2, 1.0 - o.beta2, correction2, o.eps];
        let key = Key {
            rule: Rule::Adam { amsgrad: o.amsgrad, decoupled: o.decoupled },
            decay: o.weight_decay != 0.0,
            maximize: o.maximize,
            dtype: g.param.dtype(),
        };
        plans.push((key, numbers.into_iter().collect()));
    }
    region::run(&all, &plans)?;
    Ok(true)
}

/// A step of the table of formulas. `states`: the first state of every parameter, then the second of every one ...;
/// `numbers`: weight decay and what the formula takes, once for all parameters or for each. The counters in `steps`
/// advance where the step is done.
pub fn step_(
    formula: Formula,
    params: &[Tensor],
    grads: &[Tensor],
    states: &[Tensor],
    steps: &[Tensor],
    numbers: &[f64],
    maximize: bool,
) -> Result<bool> {
    let (n, width) = (params.len(), 1 + formula.numbers());
    let shared = numbers.len() == width;
    if n == 0 || states.len() != n * formula.states() || steps.len() != n || !(shared || numbers.len() == n * width) {
        return Ok(false);
    }
    let lists: SmallVec<[&[Tensor]; 4]> = states.chunks(n).collect();
    let Some(all) = groups(params, grads, &lists) else { return Ok(false) };
    check(&all)?;
    let mut plans: Vec<Plan> = Vec::with_capacity(n);
    for (i, (g, step)) in all.iter().zip(steps).enumerate() {
        advance(step)?;
        let numbers = if shared { numbers } else { &numbers[i * width..(i + 1) * width] };
        let key = Key { rule: Rule::Table(formula), decay: numbers[0] != 0.0, maximize, dtype: g.param.dtype() };
        plans.push((key, numbers.iter().copied().collect()));
    }
    region::run(&all, &plans)?;
    Ok(true)
}

/// `.grad` of each parameter dropped, or (not `set_to_none`) detached and zeroed in place.
pub fn zero_grads(params: &[Tensor], set_to_none: bool) -> Result<()> {
    for p in params {
        let Some(g) = p.grad() else { continue };
        if set_to_none {
            p.set_grad(None);
            continue;
        }
        let g = if g.grad_fn().is_some() { g.detach() } else { g };
        let _off = crate::autograd::mode::Guard::new(false);
        let zero = crate::kernel::Kernel::new(Program::fill(Scalar::Int(0), g.dtype()));
        inplace::map("ZeroBackward0", &g, &zero, &[])?;
        p.set_grad(Some(g));
    }
    Ok(())
}

/// The norm of each tensor.
pub fn foreach_norm(tensors: &[Tensor], ord: f64) -> Result<Vec<Tensor>> {
    tensors.iter().map(|t| ops::reduce::norm(t, ord, &[], false, None)).collect()
}

/// Every tensor times a number or a 0-d tensor, in place.
pub fn foreach_mul_(tensors: &[Tensor], factor: Arg) -> Result<()> {
    for t in tensors {
        let moved;
        let factor = match factor {
            Arg::T(f) if f.device() != t.device() => {
                moved = convert::to_device(f, t.device())?;
                Arg::T(&moved)
            }
            other => other,
        };
        binary_into(ScalarOp::Mul, Arg::T(t), factor, Some(t))?;
    }
    Ok(())
}
