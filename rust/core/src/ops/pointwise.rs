//! Pointwise operators: a row of the table, or a short expression over rows that is one operator to the user (rounded
//! once, fused, differentiated from the rows). `run` applies PyTorch's dtype rules and reuses kernels it has built.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rtorch_ir::program::{Ex, build, ex};
use rtorch_ir::table::ROWS;
use rtorch_ir::{Category, Class, DType, Error, Program, Result, Scalar, ScalarOp, ensure, promote};
use smallvec::SmallVec;

use super::complex;
use crate::batch;
use crate::dispatch;
use crate::inplace;
use crate::kernel::{self, Kernel};
use crate::tensor::Tensor;

/// An argument: a tensor or a Python number.
#[derive(Clone, Copy)]
pub enum Arg<'a> {
    T(&'a Tensor),
    S(Scalar),
}

impl<'a> From<&'a Tensor> for Arg<'a> {
    fn from(t: &'a Tensor) -> Arg<'a> {
        Arg::T(t)
    }
}
impl From<Scalar> for Arg<'_> {
    fn from(s: Scalar) -> Self {
        Arg::S(s)
    }
}
impl From<f64> for Arg<'_> {
    fn from(s: f64) -> Self {
        Arg::S(Scalar::Float(s))
    }
}

static DEFAULT: AtomicU8 = AtomicU8::new(DType::F32 as u8);

/// What floats become without a dtype (`set_default_dtype`).
pub fn default_dtype() -> DType {
    let d = DEFAULT.load(Ordering::Relaxed);
    DType::ALL[d as usize]
}
pub fn set_default_dtype(d: DType) -> Result<()> {
    ensure!(d.is_float(), type_, "only floating-point types are supported as the default type");
    DEFAULT.store(d as u8, Ordering::Relaxed);
    Ok(())
}

/// PyTorch's result type: tensors with dimensions outrank 0-d tensors, these outrank numbers, within a category.
pub fn result_type(args: &[Arg]) -> Result<DType> {
    let (mut dim, mut zero, mut number) = (None, None, None);
    let merge = |slot: &mut Option<DType>, d: DType| -> Result<()> {
        *slot = Some(match *slot {
            Some(s) => promote(s, d)?,
            None => d,
        });
        Ok(())
    };
    for a in args {
        match a {
            Arg::T(t) => t.with(|p| merge(if p.layout.ndim() > 0 { &mut dim } else { &mut zero }, p.dtype))?,
            Arg::S(s) => merge(&mut number, scalar_dtype(*s))?,
        }
    }
    Ok(combine(dim, combine(zero, number)?)?.unwrap_or_else(default_dtype))
}

pub fn scalar_dtype(s: Scalar) -> DType {
    match s.category() {
        Category::Bool => DType::Bool,
        Category::Int => DType::I64,
        Category::Float => default_dtype(),
        Category::Complex => default_dtype().complex(),
    }
}

fn combine(higher: Option<DType>, lower: Option<DType>) -> Result<Option<DType>> {
    let (Some(h), Some(l)) = (higher, lower) else { return Ok(higher.or(lower)) };
    Ok(Some(match (h.category(), l.category()) {
        (Category::Complex, _) => h,
        (Category::Float, Category::Complex) => h.complex(),
        (Category::Float, _) => h,
        (Category::Bool, _) | (_, Category::Float | Category::Complex) => promote(h, l)?,
        (Category::Int, Category::Bool | Category::Int) => h,
    }))
}

/// Which dtype an operator computes in and answers, from the promoted dtype of its arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// The promoted dtype.
    Same,
    /// The same, integers promoted to the default float dtype.
    Float,
    /// The same, complex numbers refused.
    RealFloat,
    /// Computed in the promoted dtype, answers bool.
    Bool,
    /// The same, complex numbers refused.
    RealBool,
    /// The promoted dtype, refused unless floating (with PyTorch's `not implemented` error).
    FloatOnly,
}

/// One pointwise operator: its name, rule and expression. Arguments arrive converted to the compute dtype.
pub struct Spec<'a> {
    pub name: &'static str,
    pub grad: &'static str,
    pub rule: Rule,
    pub body: &'a dyn Fn(&[Ex]) -> Ex,
    /// Leading tensor arguments that are conditions: loaded as bool, outside of promotion.
    pub conditions: usize,
}

/// The cotangent of an operator's one tensor, where it takes fewer steps than what the rows say: an expression over the
/// arguments, the result and its cotangent.
pub type Given<'a> = &'a dyn Fn(&[Ex], Ex, Ex) -> Ex;

/// Runs an operator; with `dest`, writes to that tensor.
pub fn run(spec: &Spec, args: &[Arg], dest: Option<&Tensor>) -> Result<Tensor> {
    run_given(spec, args, dest, None)
}

fn run_given(spec: &Spec, args: &[Arg], dest: Option<&Tensor>, given: Option<Given>) -> Result<Tensor> {
    let common = result_type(&args[spec.conditions..])?;
    // a condition of complex numbers is their cast to bool
    if common.is_complex() && !spec.name.starts_with("logical_") {
        return into(complex::run(spec, args, common)?, dest);
    }
    let (compute, out) = dtypes(spec, common)?;
    let final_dtype = match dest {
        Some(d) => cast_target(out, d.dtype())?,
        None => out,
    };
    let tensors: SmallVec<[&Tensor; 3]> =
        args.iter().filter_map(|a| if let Arg::T(t) = a { Some(*t) } else { None }).collect();
    let moved = unify_devices(&tensors)?;
    let tensors: SmallVec<[&Tensor; 3]> = tensors.iter().zip(&moved).map(|(t, m)| m.as_ref().unwrap_or(t)).collect();
    let kernel = cached(spec, args, [compute, out, final_dtype], given);
    match dest {
        None => dispatch::map(spec.grad, &kernel, &tensors),
        Some(d) => {
            inplace::map(spec.grad, d, &kernel, &tensors)?;
            Ok(d.clone())
        }
    }
}

fn dtypes(spec: &Spec, common: DType) -> Result<(DType, DType)> {
    let float = || if common.is_float() { common } else { default_dtype() };
    Ok(match spec.rule {
        Rule::Same => (common, common),
        Rule::Float => (float(), float()),
        Rule::RealFloat => (float(), float()),
        Rule::Bool | Rule::RealBool => (common, DType::Bool),
        Rule::FloatOnly => {
            if !common.is_float() {
                return Err(not_implemented(spec.name, common));
            }
            (common, common)
        }
    })
}

pub fn not_implemented(name: &str, dtype: DType) -> Error {
    Error::not_implemented(format!("\"{name}_cpu\" not implemented for '{}'", dtype.cpp_name()))
}

/// The dtype of a tensor that a result is written to, or PyTorch's refusal.
pub fn cast_target(result: DType, target: DType) -> Result<DType> {
    ensure!(
        result.can_cast_to(target),
        runtime,
        "result type {} can't be cast to the desired output type {}",
        result.cpp_name(),
        target.cpp_name()
    );
    Ok(target)
}

/// 0-d CPU tensors join tensors of another device.
fn unify_devices(tensors: &[&Tensor]) -> Result<SmallVec<[Option<Tensor>; 3]>> {
    let mut moved: SmallVec<[Option<Tensor>; 3]> = SmallVec::from_elem(None, tensors.len());
    if tensors.len() < 2 {
        return Ok(moved);
    }
    if let Some(other) = tensors.iter().map(|t| t.device()).find(|d| !d.is_cpu()) {
        for (m, t) in moved.iter_mut().zip(tensors) {
            if t.device().is_cpu() && t.ndim() == 0 {
                let t =
                    if t.dtype() == DType::F64 { crate::ops::convert::to_dtype(t, DType::F32)? } else { (*t).clone() };
                *m = Some(crate::ops::convert::to_device(&t, other)?);
            }
        }
    }
    Ok(moved)
}

// ---- kernels, built once per expression, dtypes and constants

const CACHE_SLOTS: usize = 256;
type Key = SmallVec<[u64; 6]>;

thread_local! {
    static CACHE: RefCell<Vec<Option<(Key, Arc<Kernel>)>>> = RefCell::new(vec![None; CACHE_SLOTS]);
}

fn cached(spec: &Spec, args: &[Arg], [compute, out, dest]: [DType; 3], given: Option<Given>) -> Arc<Kernel> {
    let mut key: Key = SmallVec::new();
    key.push(spec.name.as_ptr() as u64 ^ (spec.name.len() as u64) << 56);
    key.push(compute as u64 | (out as u64) << 8 | (dest as u64) << 16);
    for a in args {
        match a {
            Arg::T(t) => key.push(t.dtype() as u64),
            Arg::S(s) => {
                let bits = match *s {
                    Scalar::Bool(b) => b as u64,
                    Scalar::Int(i) => i as u64,
                    Scalar::UInt(u) => u,
                    Scalar::Float(f) => f.to_bits(),
                    Scalar::Complex(re, _) => re.to_bits(),
                };
                key.push(0x100 + s.category() as u64 + 0x10 * matches!(s, Scalar::UInt(_)) as u64);
                key.push(bits);
            }
        }
    }
    let hash = key.iter().fold(0u64, |h, &k| (h ^ k).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29));
    let slot = (hash >> 32) as usize % CACHE_SLOTS;
    if let Some(k) = CACHE.with(|c| c.borrow()[slot].as_ref().filter(|e| e.0 == key).map(|e| e.1.clone())) {
        return k;
    }
    let numbers = args.iter().filter_map(|a| if let Arg::S(s) = a { Some(*s) } else { None }).collect();
    let whole = program(spec, args, compute, out, dest);
    let kernel = match given {
        Some(f) => Kernel::given(whole, numbers, derivative(f, spec, args, compute, dest)),
        None => Kernel::with_numbers(whole, numbers),
    };
    CACHE.with(|c| c.borrow_mut()[slot] = Some((key, kernel.clone())));
    kernel
}

pub fn program(spec: &Spec, args: &[Arg], compute: DType, out: DType, dest: DType) -> Program {
    let (mut p, y) =
        build(Program::new(), || (spec.body)(&arguments(spec, args, compute, inner(compute))).cast(out).cast(dest));
    p.outputs.push(y.0);
    p
}

/// The type that a program computes in: bools compute as int32, and the result is cast back.
fn inner(compute: DType) -> DType {
    if compute == DType::Bool { DType::I32 } else { compute }
}

fn arguments(spec: &Spec, args: &[Arg], compute: DType, inner: DType) -> SmallVec<[Ex; 4]> {
    let argument = |(i, a): (usize, &Arg)| match a {
        Arg::T(t) if i < spec.conditions => Ex::leaf(t.dtype()).cast(DType::Bool),
        Arg::T(t) => Ex::leaf(t.dtype()).cast(compute).cast(inner),
        Arg::S(s) if i < spec.conditions => Ex::constant(*s, DType::Bool),
        Arg::S(s) => Ex::constant(*s, inner.ctype().dtype()),
    };
    args.iter().enumerate().map(argument).collect()
}

/// A given derivative as `Kernel::given` takes it.
fn derivative(given: Given, spec: &Spec, args: &[Arg], compute: DType, dest: DType) -> Program {
    let inner = inner(compute);
    let (mut p, d) = build(Program::new(), || {
        let xs = arguments(spec, args, compute, inner);
        let (y, g) = (Ex::leaf(dest).cast(inner), Ex::leaf(dest).cast(inner));
        given(&xs, y, g)
    });
    let leaf = p.leaves[0];
    let d = p.cast(d.0, leaf);
    p.outputs.push(d);
    p
}

// ---- rows as operators

/// Name of the node of a row, `TanhBackward0`.
pub fn grad_name(op: ScalarOp) -> &'static str {
    static NAMES: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    let names = NAMES.get_or_init(|| ROWS.iter().map(|r| camel(torch_name(r.op))).collect());
    match op {
        ScalarOp::FloorDiv | ScalarOp::TruncDiv => "DivBackward2",
        _ => &names[op as usize],
    }
}

/// What PyTorch's graph calls a row.
fn torch_name(op: ScalarOp) -> &'static str {
    match op {
        ScalarOp::Div => "div",
        ScalarOp::Log1p => "log1_p",
        ScalarOp::Square => "pow",
        ScalarOp::Erfcx => "special_erfcx",
        _ => op.name(),
    }
}

/// The node's name where the second operand is a tensor.
pub fn pair_name(op: ScalarOp) -> &'static str {
    match op {
        ScalarOp::Pow => "PowBackward1",
        ScalarOp::Fmod => "FmodBackward1",
        ScalarOp::Remainder => "RemainderBackward1",
        _ => grad_name(op),
    }
}

fn camel(name: &str) -> String {
    let mut out = String::new();
    for part in name.split('_') {
        let mut c = part.chars();
        if let Some(first) = c.next() {
            out.extend(first.to_uppercase());
            out.push_str(c.as_str());
        }
    }
    out + "Backward0"
}

fn rule(class: Class) -> Rule {
    match class {
        Class::Num | Class::Int | Class::Select | Class::Round => Rule::Same,
        Class::Float => Rule::Float,
        Class::Compare | Class::Test | Class::Logic | Class::Random => Rule::Bool,
    }
}

pub fn unary(op: ScalarOp, x: &Tensor) -> Result<Tensor> {
    unary_into(op, x, None)
}

/// A row of one argument; with `dest`, written there (`exp_`).
pub fn unary_into(op: ScalarOp, x: &Tensor, dest: Option<&Tensor>) -> Result<Tensor> {
    let (class, dtype) = (op.row().class, x.dtype());
    if op == ScalarOp::Neg && dtype == DType::Bool {
        return Err(Error::runtime(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use \
             the `~` \
             or `logical_not()` operator instead.",
        ));
    }
    if dtype == DType::Bool && op == ScalarOp::Abs {
        return Err(not_implemented(op.name(), dtype));
    }
    if dtype == DType::Bool && op == ScalarOp::Square && dest.is_none() {
        return unary_into(op, &crate::ops::convert::to_dtype(x, DType::I64)?, None);
    }
    if class == Class::Int && !dtype.is_integral() {
        return Err(not_implemented(op.name(), dtype));
    }
    if dtype.is_complex() && op == ScalarOp::Abs {
        return into(complex::abs(x)?, dest);
    }
    if dtype.is_integral() && class == Class::Round {
        // PyTorch refuses bool here, and answers integers unchanged
        if dtype == DType::Bool {
            return Err(not_implemented(op.name(), dtype));
        }
        return match dest {
            None => crate::ops::shape::clone(x),
            Some(d) => Ok(d.clone()),
        };
    }
    let fast =
        class == Class::Float && dtype.is_float() || class == Class::Num && !dtype.is_complex() && dtype != DType::Bool;
    if fast && dest.is_none() && !dtype.is_storage() {
        return dispatch::map(grad_name(op), kernel::single(op, dtype), &[x]);
    }
    let body = |a: &[Ex]| match class {
        Class::Int if dtype == DType::Bool => ex::logical_not(a[0].cast(DType::Bool)),
        Class::Logic => Ex::apply(op, &[a[0].cast(DType::Bool)]),
        // tests of integers compute in the default float
        Class::Test if !a[0].dtype().is_differentiable() => Ex::apply(op, &[a[0].cast(DType::F32)]),
        Class::Num
        | Class::Float
        | Class::Round
        | Class::Int
        | Class::Compare
        | Class::Test
        | Class::Select
        | Class::Random => Ex::apply(op, &[a[0]]),
    };
    let spec = Spec { name: op.name(), grad: grad_name(op), rule: rule(class), body: &body, conditions: 0 };
    run(&spec, &[Arg::T(x)], dest)
}

pub fn binary(op: ScalarOp, a: Arg, b: Arg) -> Result<Tensor> {
    binary_into(op, a, b, None)
}

/// A row of two arguments; with `dest`, written there (`add_`).
pub fn binary_into(op: ScalarOp, a: Arg, b: Arg, dest: Option<&Tensor>) -> Result<Tensor> {
    if let (Arg::T(x), Arg::T(y), None) = (a, b, dest) {
        let dtype = x.dtype();
        if dtype == y.dtype()
            && x.device() == y.device()
            && let Some(p) = kernel::pair(op, dtype)
        {
            return dispatch::map(p.name, p.kernel, &[x, y]);
        }
    }
    let class = op.row().class;
    let common = result_type(&[a, b])?;
    if op == ScalarOp::Sub {
        check_sub(a, b)?;
    }
    if common.is_complex() && class != Class::Logic && op != ScalarOp::Pow && half_with_complex(&[a, b]) {
        // PyTorch's result would be complex32, which has no arithmetic
        return Err(Error::not_implemented(format!("\"{}_cpu\" not implemented for 'ComplexHalf'", op.name())));
    }
    check_binary(op, common, b)?;
    let body = |x: &[Ex]| match class {
        Class::Int if common == DType::Bool => {
            let (p, q) = (x[0].cast(DType::Bool), x[1].cast(DType::Bool));
            match op {
                ScalarOp::BitAnd => ex::logical_and(p, q),
                ScalarOp::BitOr => ex::logical_or(p, q),
                _ => ex::logical_xor(p, q),
            }
        }
        Class::Logic => Ex::apply(op, &[x[0].cast(DType::Bool), x[1].cast(DType::Bool)]),
        Class::Num
        | Class::Float
        | Class::Round
        | Class::Int
        | Class::Compare
        | Class::Test
        | Class::Select
        | Class::Random => Ex::apply(op, &[x[0], x[1]]),
    };
    let grad = match (a, b) {
        (Arg::S(_), Arg::T(_)) if op == ScalarOp::Pow => "PowBackward2",
        (_, Arg::T(_)) => pair_name(op),
        (_, Arg::S(_)) => grad_name(op),
    };
    let spec = Spec { name: op.name(), grad, rule: rule(class), body: &body, conditions: 0 };
    run(&spec, &[a, b], dest)
}

/// A result that was computed apart, written where it belongs.
pub(super) fn into(y: Tensor, dest: Option<&Tensor>) -> Result<Tensor> {
    let Some(d) = dest else { return Ok(y) };
    cast_target(y.dtype(), d.dtype())?;
    inplace::adopt(d, &y)?;
    Ok(d.clone())
}

/// Does an integer division or power ask for checks of its own?
pub fn divides(op: ScalarOp, dtype: DType) -> bool {
    let division = matches!(op, ScalarOp::FloorDiv | ScalarOp::TruncDiv | ScalarOp::Remainder | ScalarOp::Fmod);
    (division || op == ScalarOp::Pow) && dtype.is_integral()
}

/// Does a complex number of a lower rank meet float16 tensors?
fn half_with_complex(args: &[Arg]) -> bool {
    let rank = |a: &Arg| match a {
        Arg::T(t) if t.ndim() > 0 => 2,
        Arg::T(_) => 1,
        Arg::S(_) => 0,
    };
    let complex = |a: &Arg| match a {
        Arg::T(t) => t.dtype().is_complex(),
        Arg::S(s) => matches!(s, Scalar::Complex(..)),
    };
    args.iter().any(|h| {
        matches!(h, Arg::T(t) if t.dtype() == DType::F16) && args.iter().any(|c| complex(c) && rank(c) < rank(h))
    })
}

fn check_sub(a: Arg, b: Arg) -> Result<()> {
    let is_bool = |x: Arg| match x {
        Arg::T(t) => t.dtype() == DType::Bool,
        Arg::S(s) => matches!(s, Scalar::Bool(_)),
    };
    let both = is_bool(a) && is_bool(b);
    ensure!(
        !both,
        runtime,
        "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` \
         operator \
         instead."
    );
    ensure!(
        !is_bool(a) && !is_bool(b),
        runtime,
        "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, use \
         the `~` \
         or `logical_not()` operator instead."
    );
    Ok(())
}

fn check_binary(op: ScalarOp, common: DType, b: Arg) -> Result<()> {
    if op.row().class == Class::Int && !common.is_integral() {
        return Err(not_implemented(&format!("{}_cpu", op.name()).replace("_cpu", ""), common));
    }
    let zero_check = divides(op, common);
    if zero_check && common == DType::Bool {
        return Err(not_implemented(op.name(), common));
    }
    if zero_check && op == ScalarOp::Pow {
        if let Arg::S(Scalar::Int(i)) = b
            && i < 0
        {
            return Err(Error::runtime("Integers to negative integer powers are not allowed."));
        }
        return Ok(());
    }
    if zero_check {
        let zero = match b {
            Arg::S(s) => s.to_i64() == 0,
            // what can fail on data is not deferred on the CPU
            Arg::T(t) if t.device().is_cpu() && t.dtype().is_integral() && t.numel() > 0 && !batch::is_batched(t) => {
                let hit = unary(ScalarOp::LogicalNot, &t.detach())?;
                crate::ops::convert::item(&crate::ops::reduce::any(&hit, &[], false)?)?.is_true()
            }
            Arg::T(_) => false,
        };
        ensure!(!zero, runtime, "ZeroDivisionError");
    }
    Ok(())
}

/// An operator that is one expression over its arguments, all promoted to one dtype.
pub fn compose(
    name: &'static str,
    grad: &'static str,
    rule: Rule,
    args: &[Arg],
    dest: Option<&Tensor>,
    body: impl Fn(&[Ex]) -> Ex,
) -> Result<Tensor> {
    run(&Spec { name, grad, rule, body: &body, conditions: 0 }, args, dest)
}

/// The same with its derivative given; one of the arguments is a tensor.
pub fn compose_given(
    name: &'static str,
    grad: &'static str,
    rule: Rule,
    args: &[Arg],
    dest: Option<&Tensor>,
    body: impl Fn(&[Ex]) -> Ex,
    given: impl Fn(&[Ex], Ex, Ex) -> Ex,
) -> Result<Tensor> {
    run_given(&Spec { name, grad, rule, body: &body, conditions: 0 }, args, dest, Some(&given))
}

/// `where(condition, a, b)`.
pub fn where_(c: &Tensor, a: Arg, b: Arg) -> Result<Tensor> {
    ensure!(
        matches!(c.dtype(), DType::Bool | DType::U8),
        runtime,
        "where expected condition to be a boolean tensor, but got a tensor with dtype {}",
        c.dtype().cpp_name()
    );
    let body = |x: &[Ex]| ex::where_(x[0], x[1], x[2]);
    let spec = Spec { name: "where", grad: "WhereBackward0", rule: Rule::Same, body: &body, conditions: 1 };
    run(&spec, &[Arg::T(c), a, b], None)
}

/// `masked_fill(x, mask, value)`: the value takes x's dtype.
pub fn masked_fill(x: &Tensor, mask: &Tensor, value: Arg, dest: Option<&Tensor>) -> Result<Tensor> {
    filled("MaskedFillBackward0", x, mask, value, dest)
}

/// `masked_fill` as an operator whose node has this name.
pub(super) fn filled(
    grad: &'static str,
    x: &Tensor,
    mask: &Tensor,
    value: Arg,
    dest: Option<&Tensor>,
) -> Result<Tensor> {
    ensure!(
        mask.dtype() == DType::Bool,
        runtime,
        "masked_fill_ only supports boolean masks, but got mask with dtype {}",
        mask.dtype().cpp_name()
    );
    let dtype = x.dtype();
    let imaginary = match value {
        Arg::S(s) => s.imag() != 0.0,
        Arg::T(v) => v.dtype().is_complex(),
    };
    ensure!(
        !imaginary || dtype.is_complex() || dtype == DType::Bool,
        runtime,
        "value cannot be converted to type {} without overflow",
        dtype.name()
    );
    let made;
    let value = match value {
        Arg::S(s) if dtype == DType::Bool => Arg::S(Scalar::Bool(s.is_true())),
        Arg::S(s) if dtype.is_integral() => Arg::S(Scalar::Int(s.to_i64())),
        Arg::S(s) => Arg::S(s),
        Arg::T(v) if v.dtype() != dtype => {
            made = crate::ops::convert::to_dtype(v, dtype)?;
            Arg::T(&made)
        }
        Arg::T(v) => Arg::T(v),
    };
    let body = move |a: &[Ex]| ex::where_(a[0], a[2].cast(a[1].dtype()), a[1]);
    let spec = Spec { name: "masked_fill", grad, rule: Rule::Same, body: &body, conditions: 1 };
    let out = run(&spec, &[Arg::T(mask), Arg::T(x), value], dest)?;
    if out.dtype() == dtype { Ok(out) } else { crate::ops::convert::to_dtype(&out, dtype) }
}
