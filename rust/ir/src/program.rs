//! `Program`: a small SSA program over scalar ops, the meaning of all pointwise work. Built here with `Ex`
//! (expressions over the program being built); run by `rtorch-cpu`, printed as WGSL by `rtorch-gpu`,
//! differentiated in `derive.rs`, and defined by the slow interpreter in `oracle.rs`.

use std::cell::RefCell;

use smallvec::SmallVec;

use crate::dtype::{CType, DType, Scalar, float_to_i64};
use crate::table::{Class, ScalarOp};

/// A value of a program: the index of the instruction that makes it.
pub type Reg = u16;

/// What makes a value. Its dtype stands beside it in `Program::values`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Inst {
    /// The element of leaf `n` (stored as the value's dtype, computed with as its compute type).
    Load(u16),
    /// Constant slot `n`: data, never part of a kernel's key.
    Const(u16),
    /// Logical (row-major) number of the element in the iteration shape, int64.
    Index,
    /// A row of the table; unused arguments repeat the first. The value's dtype is a compute type's.
    Op(ScalarOp, [Reg; 3]),
    /// Conversion to the value's dtype: rounds to 16-bit floats, wraps small integers, truncates floats to integers.
    Cast(Reg),
}

/// A constant: the bits of one value of its compute type (complex: real, imaginary).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Const {
    pub scalar: Scalar,
}

/// See the module text. Values only refer to earlier values.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Program {
    pub values: Vec<(Inst, DType)>,
    pub consts: Vec<Const>,
    /// Dtype of each leaf, as stored in memory.
    pub leaves: Vec<DType>,
    /// The values that are written, each stored as its dtype.
    pub outputs: SmallVec<[Reg; 2]>,
}

impl Const {
    /// The constant as a value of an integer compute type.
    pub fn as_i64(&self) -> i64 {
        self.scalar.to_i64()
    }
    pub fn as_f64(&self) -> f64 {
        self.scalar.to_f64()
    }
}

impl Program {
    pub fn new() -> Program {
        Program::default()
    }
    /// A program that copies its one leaf, with a conversion where the dtypes differ.
    pub fn copy(from: DType, to: DType) -> Program {
        let mut p = Program::new();
        let x = p.load(from);
        let y = p.cast(x, to);
        p.outputs.push(y);
        p
    }
    /// A program without leaves that answers a constant.
    pub fn fill(value: Scalar, dtype: DType) -> Program {
        let mut p = Program::new();
        let c = p.constant(value, dtype);
        p.outputs.push(c);
        p
    }
    pub fn push(&mut self, inst: Inst, dtype: DType) -> Reg {
        self.values.push((inst, dtype));
        (self.values.len() - 1) as Reg
    }
    pub fn dtype(&self, r: Reg) -> DType {
        self.values[r as usize].1
    }
    pub fn ctype(&self, r: Reg) -> CType {
        self.dtype(r).ctype()
    }
    /// A new leaf, loaded once.
    pub fn load(&mut self, dtype: DType) -> Reg {
        self.leaves.push(dtype);
        self.push(Inst::Load((self.leaves.len() - 1) as u16), dtype)
    }
    pub fn constant(&mut self, value: Scalar, dtype: DType) -> Reg {
        self.consts.push(Const { scalar: wrap_scalar(value, dtype) });
        self.push(Inst::Const((self.consts.len() - 1) as u16), dtype)
    }
    pub fn index(&mut self) -> Reg {
        self.push(Inst::Index, DType::I64)
    }
    /// Converts, or answers the value itself where it already has the dtype.
    pub fn cast(&mut self, r: Reg, to: DType) -> Reg {
        if self.dtype(r) == to { r } else { self.push(Inst::Cast(r), to) }
    }
    /// A value computed by a row; arguments must already have the row's compute types.
    pub fn op(&mut self, op: ScalarOp, args: &[Reg]) -> Reg {
        debug_assert_eq!(args.len(), op.row().arity);
        let a = [args[0], args.get(1).copied().unwrap_or(args[0]), args.get(2).copied().unwrap_or(args[0])];
        let dtype = match op.row().class {
            Class::Num | Class::Float | Class::Round | Class::Int => self.ctype(a[0]).dtype(),
            Class::Compare | Class::Test | Class::Logic => DType::Bool,
            Class::Select => self.ctype(a[1]).dtype(),
            Class::Random => DType::F32,
        };
        self.push(Inst::Op(op, a), dtype)
    }
    /// Values in use by an instruction.
    pub fn args(inst: &Inst) -> SmallVec<[Reg; 3]> {
        match inst {
            Inst::Load(_) | Inst::Const(_) | Inst::Index => SmallVec::new(),
            Inst::Op(op, a) => SmallVec::from_slice(&a[..op.row().arity]),
            Inst::Cast(a) => SmallVec::from_slice(&[*a]),
        }
    }
    /// Number of instructions that compute something.
    pub fn len(&self) -> usize {
        self.values.iter().filter(|v| matches!(v.0, Inst::Op(..) | Inst::Cast(_))).count()
    }
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
    /// Sum of the cost column.
    pub fn cost(&self) -> u32 {
        self.values
            .iter()
            .map(|v| match v.0 {
                Inst::Op(op, _) => op.row().cost,
                Inst::Cast(_) => 1,
                Inst::Load(_) | Inst::Const(_) | Inst::Index => 0,
            })
            .sum()
    }
    /// Does the program say the same as `self` but for constants' values? (the key of a compiled kernel)
    pub fn same_code(&self, other: &Program) -> bool {
        self.values == other.values && self.leaves == other.leaves && self.outputs == other.outputs
    }
    /// Hashes what `same_code` compares.
    pub fn hash_code(&self, h: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        self.values.hash(h);
        self.leaves.hash(h);
        self.outputs.hash(h);
    }
    /// The first operator that does not exist for the storage dtype of an argument (`DType::is_storage`).
    pub fn refused(&self) -> Option<(ScalarOp, DType)> {
        self.values.iter().find_map(|(inst, _)| {
            let Inst::Op(op, args) = *inst else { return None };
            let dtype = args.iter().map(|&a| self.dtype(a)).find(|d| d.is_storage())?;
            let bits = matches!(op, ScalarOp::Mul | ScalarOp::BitAnd | ScalarOp::BitOr | ScalarOp::BitXor);
            let signs = matches!(op, ScalarOp::Abs | ScalarOp::IsNan);
            let exists = matches!(op, ScalarOp::Eq | ScalarOp::Ne | ScalarOp::Where)
                || if dtype.is_float8() { signs } else { bits };
            (!exists).then_some((op, dtype))
        })
    }
    /// Is it a bare copy of leaf 0?
    pub fn is_identity(&self) -> bool {
        self.outputs.len() == 1 && self.values[self.outputs[0] as usize].0 == Inst::Load(0)
    }
    /// Copies the instructions of `other` into this program, its leaves replaced by `leaves` (values of this one,
    /// already of the leaves' dtypes); answers the values of its outputs.
    pub fn inline(&mut self, other: &Program, leaves: &[Reg]) -> SmallVec<[Reg; 2]> {
        let mut map: SmallVec<[Reg; 32]> = SmallVec::new();
        for (inst, dtype) in &other.values {
            let r = match *inst {
                Inst::Load(n) => leaves[n as usize],
                Inst::Const(n) => {
                    self.consts.push(other.consts[n as usize]);
                    self.push(Inst::Const((self.consts.len() - 1) as u16), *dtype)
                }
                Inst::Index => self.push(Inst::Index, *dtype),
                Inst::Op(op, a) => self.push(Inst::Op(op, a.map(|r| map[r as usize])), *dtype),
                Inst::Cast(a) => {
                    let from = map[a as usize];
                    self.cast(from, *dtype)
                }
            };
            map.push(r);
        }
        other.outputs.iter().map(|&r| map[r as usize]).collect()
    }
    /// Removes what no output needs and numbers the leaves anew; answers, for each leaf left, its old number.
    pub fn prune(&mut self) -> SmallVec<[usize; 8]> {
        let mut live = vec![false; self.values.len()];
        for &o in &self.outputs {
            live[o as usize] = true;
        }
        for i in (0..self.values.len()).rev() {
            if live[i] {
                for a in Program::args(&self.values[i].0) {
                    live[a as usize] = true;
                }
            }
        }
        let mut map = vec![0 as Reg; self.values.len()];
        let mut kept: SmallVec<[usize; 8]> = SmallVec::new();
        let mut out = Program { outputs: self.outputs.clone(), ..Program::default() };
        for i in 0..self.values.len() {
            if !live[i] {
                continue;
            }
            let (inst, dtype) = self.values[i];
            let inst = match inst {
                Inst::Load(n) => {
                    let at = kept.iter().position(|&k| k == n as usize).unwrap_or_else(|| {
                        kept.push(n as usize);
                        out.leaves.push(self.leaves[n as usize]);
                        kept.len() - 1
                    });
                    Inst::Load(at as u16)
                }
                Inst::Const(n) => {
                    out.consts.push(self.consts[n as usize]);
                    Inst::Const((out.consts.len() - 1) as u16)
                }
                Inst::Index => Inst::Index,
                Inst::Op(op, a) => Inst::Op(op, a.map(|r| map[r as usize])),
                Inst::Cast(a) => Inst::Cast(map[a as usize]),
            };
            map[i] = out.push(inst, dtype);
        }
        for o in &mut out.outputs {
            *o = map[*o as usize];
        }
        *self = out;
        kept
    }
    /// Checks that the program is legal: arguments come earlier and have the compute types their row asks for.
    pub fn verify(&self) -> Result<(), String> {
        for (i, (inst, dtype)) in self.values.iter().enumerate() {
            if Program::args(inst).iter().any(|&a| a as usize >= i) {
                return Err(format!("value {i} uses a later value"));
            }
            match *inst {
                Inst::Load(n) if self.leaves.get(n as usize) != Some(dtype) => {
                    return Err(format!("leaf of value {i}"));
                }
                Inst::Const(n) if n as usize >= self.consts.len() => return Err(format!("constant of value {i}")),
                Inst::Op(op, a) => {
                    let args = &a[..op.row().arity];
                    let same = args.windows(2).all(|w| self.ctype(w[0]) == self.ctype(w[1]));
                    let t = self.ctype(a[0]);
                    let float = matches!(t, CType::F32 | CType::F64);
                    let int = matches!(t, CType::I32 | CType::I64);
                    let good = match op.row().class {
                        Class::Num | Class::Compare => same && (float || int),
                        Class::Float | Class::Round | Class::Test => same && float,
                        Class::Int => same && int,
                        Class::Logic => same && t == CType::Bool,
                        Class::Select => t == CType::Bool && self.ctype(a[1]) == self.ctype(a[2]),
                        Class::Random => same && t == CType::I64,
                    };
                    if !good {
                        return Err(format!(
                            "{op:?} of value {i} gets {:?}",
                            args.iter().map(|&r| self.dtype(r)).collect::<Vec<_>>()
                        ));
                    }
                }
                Inst::Load(_) | Inst::Const(_) | Inst::Index | Inst::Cast(_) => {}
            }
        }
        Ok(())
    }
}

/// A constant as it will be read: integers wrapped to their dtype, 16-bit floats left at the inner precision.
fn wrap_scalar(v: Scalar, dtype: DType) -> Scalar {
    match dtype {
        DType::Bool => Scalar::Bool(v.is_true()),
        DType::U8 => Scalar::Int(v.to_i64() as u8 as i64),
        DType::I8 => Scalar::Int(v.to_i64() as i8 as i64),
        DType::I16 => Scalar::Int(v.to_i64() as i16 as i64),
        DType::I32 => Scalar::Int(v.to_i64() as i32 as i64),
        DType::I64 => Scalar::Int(match v {
            Scalar::Float(f) => float_to_i64(f),
            Scalar::Bool(_) | Scalar::Int(_) | Scalar::UInt(_) | Scalar::Complex(..) => v.to_i64(),
        }),
        DType::U16 => Scalar::Int(v.to_i64() as u16 as i64),
        DType::U32 => Scalar::Int(v.to_i64() as u32 as i64),
        DType::U64 => Scalar::unsigned(match v {
            Scalar::Float(f) if f >= 0.0 => f as u64,
            Scalar::Float(_) | Scalar::Bool(_) | Scalar::Int(_) | Scalar::UInt(_) | Scalar::Complex(..) => {
                v.to_i64() as u64
            }
        }),
        DType::F16
        | DType::BF16
        | DType::F32
        | DType::F64
        | DType::E4M3
        | DType::E5M2
        | DType::E4M3Z
        | DType::E5M2Z
        | DType::E8M0 => Scalar::Float(v.to_f64()),
        DType::C64 | DType::C128 => Scalar::Complex(v.to_f64(), v.imag()),
    }
}

// ---- expressions

thread_local! {
    static BUILDER: RefCell<Program> = RefCell::new(Program::new());
}

/// A value of the program that `build` is building on this thread.
#[derive(Clone, Copy, Debug)]
pub struct Ex(pub Reg);

/// Runs `f` with a fresh program, which the `Ex` it makes write to.
pub fn build<R>(start: Program, f: impl FnOnce() -> R) -> (Program, R) {
    let saved = BUILDER.with(|b| b.replace(start));
    let r = f();
    (BUILDER.with(|b| b.replace(saved)), r)
}

fn with<R>(f: impl FnOnce(&mut Program) -> R) -> R {
    BUILDER.with(|b| f(&mut b.borrow_mut()))
}

impl Ex {
    /// A new leaf.
    pub fn leaf(dtype: DType) -> Ex {
        Ex(with(|p| p.load(dtype)))
    }
    pub fn index() -> Ex {
        Ex(with(|p| p.index()))
    }
    pub fn constant(v: Scalar, dtype: DType) -> Ex {
        Ex(with(|p| p.constant(v, dtype)))
    }
    pub fn dtype(self) -> DType {
        with(|p| p.dtype(self.0))
    }
    /// A constant of the same compute type as this value.
    pub fn lit(self, v: f64) -> Ex {
        Ex(with(|p| {
            let t = p.ctype(self.0).dtype();
            p.constant(Scalar::Float(v), t)
        }))
    }
    /// Is it the constant 0?
    pub fn is_zero(self) -> bool {
        with(|p| match p.values[self.0 as usize].0 {
            Inst::Const(n) => !p.consts[n as usize].scalar.is_true(),
            Inst::Load(_) | Inst::Index | Inst::Cast(_) | Inst::Op(..) => false,
        })
    }
    pub fn cast(self, to: DType) -> Ex {
        Ex(with(|p| p.cast(self.0, to)))
    }
    pub fn apply(op: ScalarOp, args: &[Ex]) -> Ex {
        let regs: SmallVec<[Reg; 3]> = args.iter().map(|a| a.0).collect();
        Ex(with(|p| p.op(op, &regs)))
    }
}

macro_rules! ex_ops {
    ($($tr:ident $f:ident $op:ident),*) => {$(
        impl std::ops::$tr for Ex {
            type Output = Ex;
            fn $f(self, o: Ex) -> Ex {
                Ex::apply(ScalarOp::$op, &[self, o])
            }
        }
        impl std::ops::$tr<f64> for Ex {
            type Output = Ex;
            fn $f(self, o: f64) -> Ex {
                Ex::apply(ScalarOp::$op, &[self, self.lit(o)])
            }
        }
    )*};
}
ex_ops!(Add add Add, Sub sub Sub, Mul mul Mul, Div div Div);

impl std::ops::Neg for Ex {
    type Output = Ex;
    fn neg(self) -> Ex {
        Ex::apply(ScalarOp::Neg, &[self])
    }
}

/// Every row as a function over `Ex`, under its name in the table.
pub mod ex {
    use super::{Ex, ScalarOp};

    macro_rules! functions {
        ($([$name:ident $fn:ident ($($arg:ident),+; $y:ident, $g:ident) $class:ident, $body:expr, $wgsl:literal,
            [$($d:expr),+ $(,)?], $cost:literal, $ulp:literal, $doc:literal])*) => {$(
            #[doc = $doc]
            pub fn $fn($($arg: Ex),+) -> Ex {
                Ex::apply(ScalarOp::$name, &[$($arg),+])
            }
        )*};
    }
    crate::for_each_scalar_op!(functions);

    /// The cotangent of a maximum: all of it to the winner, half to each where they tie.
    pub fn tie(g: Ex, wins: Ex, equal: Ex) -> Ex {
        where_(wins, where_(equal, g * 0.5, g), g.lit(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inlining_and_pruning_keep_the_meaning() {
        let (mut inner, out) = build(Program::new(), || {
            let x = Ex::leaf(DType::F32);
            let unused = Ex::leaf(DType::F32);
            let _ = unused + 1.0;
            ex::exp(x) * 2.0
        });
        inner.outputs.push(out.0);
        inner.verify().unwrap();
        let kept = inner.prune();
        assert_eq!(kept.as_slice(), &[0]);
        assert_eq!(inner.leaves.len(), 1);
        let mut outer = Program::new();
        let x = outer.load(DType::F32);
        let y = outer.inline(&inner, &[x]);
        let z = outer.inline(&inner, &y);
        outer.outputs.push(z[0]);
        outer.verify().unwrap();
        assert_eq!(outer.len(), 4);
        assert_eq!(outer.consts.len(), 2);
    }
}
