//! `Kernel`: a one-output pointwise program as an op records it, with its derivatives made on first use.
//! Kernels of single rows on one dtype are shared by the whole process.

use std::sync::{Arc, OnceLock};

use rtorch_ir::derive;
use rtorch_ir::table::ROWS;
use rtorch_ir::{Class, DType, Program, Result, Scalar, ScalarOp};
use smallvec::SmallVec;

use crate::ops::pointwise::{divides, not_implemented, pair_name};

pub struct Kernel {
    pub program: Arc<Program>,
    /// Of the result.
    dtype: DType,
    /// Bytes that an element of every leaf takes together.
    reads: usize,
    /// Ready for small CPU tensors, if the program can be.
    small: OnceLock<Option<rtorch_cpu::Small>>,
    /// One per leaf of the program: its cotangent as a kernel of its own.
    grads: OnceLock<Vec<Option<Arc<Grad>>>>,
    /// The operator that does not exist for the dtype of a leaf, and that dtype.
    refused: Option<(ScalarOp, DType)>,
    /// The operator's arguments that were numbers.
    numbers: SmallVec<[Scalar; 2]>,
}

/// Where a leaf of a derivative comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    Input(usize),
    Output,
    Cotangent,
}

impl From {
    /// A leaf's number in a derivative: the operands come first, then the result and its cotangent.
    fn leaf(k: usize, operands: usize) -> From {
        match k {
            k if k < operands => From::Input(k),
            k if k == operands => From::Output,
            _ => From::Cotangent,
        }
    }
}

/// The cotangent of one input, before it is summed to the input's shape.
pub struct Grad {
    pub kernel: Arc<Kernel>,
    pub leaves: SmallVec<[From; 4]>,
}

impl Kernel {
    pub fn new(program: Program) -> Arc<Kernel> {
        debug_assert_eq!(program.verify(), Ok(()));
        debug_assert_eq!(program.outputs.len(), 1);
        Kernel::with_numbers(program, SmallVec::new())
    }
    pub fn with_numbers(program: Program, numbers: SmallVec<[Scalar; 2]>) -> Arc<Kernel> {
        let refused = program.refused();
        let (dtype, reads) = (program.dtype(program.outputs[0]), program.leaves.iter().map(|d| d.size()).sum());
        Arc::new(Kernel {
            dtype,
            reads,
            program: Arc::new(program),
            small: OnceLock::new(),
            grads: OnceLock::new(),
            refused,
            numbers,
        })
    }
    /// PyTorch's error where an operator of the program has no kernel for the dtype of a leaf.
    #[inline]
    pub fn check(&self) -> Result<()> {
        match self.refused {
            None => Ok(()),
            Some((op, dtype)) => Err(not_implemented(op.name(), dtype)),
        }
    }
    pub fn numbers(&self) -> &[Scalar] {
        &self.numbers
    }
    /// A kernel of one leaf whose cotangent is given rather than derived: a program over its result (leaf 0) and the
    /// result's cotangent (leaf 1), so that the leaf itself need not live until backward.
    pub fn from_result(program: Program, derivative: Program) -> Arc<Kernel> {
        let k = Kernel::new(program);
        let leaves = SmallVec::from_slice(&[From::Output, From::Cotangent]);
        let _ = k.grads.set(vec![Some(Arc::new(Grad { kernel: Kernel::new(derivative), leaves }))]);
        k
    }
    /// The same where the cotangent of the one leaf may be a program over that leaf (0), the result (1) and the
    /// result's cotangent (2), of which it need not read all.
    pub fn given(program: Program, numbers: SmallVec<[Scalar; 2]>, mut derivative: Program) -> Arc<Kernel> {
        let k = Kernel::with_numbers(program, numbers);
        let leaves = derivative.prune().into_iter().map(|leaf| From::leaf(leaf, 1)).collect();
        let _ = k.grads.set(vec![Some(Arc::new(Grad { kernel: Kernel::new(derivative), leaves }))]);
        k
    }
    #[inline]
    pub fn dtype(&self) -> DType {
        self.dtype
    }
    /// Bytes read per element of the result, where no operand is broadcast.
    #[inline]
    pub fn reads(&self) -> usize {
        self.reads
    }
    /// The program made ready for small CPU tensors.
    #[inline]
    pub fn small(&self) -> Option<&rtorch_cpu::Small> {
        self.small.get_or_init(|| rtorch_cpu::Small::new(&self.program, self.dtype())).as_ref()
    }
    #[inline]
    pub fn leaves(&self) -> usize {
        self.program.leaves.len()
    }
    /// The kernel that gives the cotangent of leaf `i`, None where nothing flows back.
    pub fn grad(&self, i: usize) -> Option<&Arc<Grad>> {
        let all = self.grads.get_or_init(|| (0..self.leaves()).map(|i| self.derive(i)).collect());
        all[i].as_ref()
    }
    fn derive(&self, i: usize) -> Option<Arc<Grad>> {
        if !self.program.leaves[i].is_differentiable() || !self.dtype().is_differentiable() {
            return None;
        }
        let (mut d, which) = derive::vjp(&self.program, self.dtype(), &[i]);
        which[0]?;
        let leaves = d.prune().into_iter().map(|leaf| From::leaf(leaf, self.leaves())).collect();
        Some(Arc::new(Grad { kernel: Kernel::new(d), leaves }))
    }
}

/// The shared kernel of one row whose number operands all have `dtype`; the result is rounded to the op's dtype.
pub fn single(op: ScalarOp, dtype: DType) -> &'static Arc<Kernel> {
    static CACHE: OnceLock<Vec<OnceLock<Arc<Kernel>>>> = OnceLock::new();
    let cache = CACHE.get_or_init(|| (0..ROWS.len() * DType::ALL.len()).map(|_| OnceLock::new()).collect());
    cache[op as usize * DType::ALL.len() + dtype as usize].get_or_init(|| Kernel::new(single_program(op, dtype)))
}

/// A row of two tensors of one dtype that needs no conversion, as the graph names it.
pub struct Pair {
    pub name: &'static str,
    pub kernel: &'static Arc<Kernel>,
}

/// The shared `Pair` of a row; None where the operands' dtype, or the row, asks for more than the row.
#[inline]
pub fn pair(op: ScalarOp, dtype: DType) -> Option<&'static Pair> {
    const DTYPES: usize = DType::ALL.len();
    static CACHE: [OnceLock<Option<Pair>>; ROWS.len() * DTYPES] = [const { OnceLock::new() }; ROWS.len() * DTYPES];
    CACHE[op as usize * DTYPES + dtype as usize].get_or_init(|| new_pair(op, dtype)).as_ref()
}

#[cold]
fn new_pair(op: ScalarOp, dtype: DType) -> Option<Pair> {
    let class = op.row().class;
    let plain = matches!(class, Class::Num | Class::Compare) && dtype != DType::Bool
        || class == Class::Float && dtype.is_float();
    let plain = plain && !dtype.is_storage() && !dtype.is_complex() && !divides(op, dtype);
    plain.then(|| Pair { name: pair_name(op), kernel: single(op, dtype) })
}

fn single_program(op: ScalarOp, dtype: DType) -> Program {
    let mut p = Program::new();
    let row = op.row();
    let mut args: SmallVec<[u16; 3]> = SmallVec::new();
    for i in 0..row.arity {
        let bool_arg = row.class == Class::Select && i == 0;
        let r = p.load(if bool_arg { DType::Bool } else { dtype });
        // bools compute as int32 where the row has no meaning of its own for them
        let as_int = dtype == DType::Bool && !bool_arg && row.class != Class::Logic;
        args.push(if as_int { p.cast(r, DType::I32) } else { r });
    }
    let y = p.op(op, &args);
    let out = match row.class {
        Class::Num | Class::Float | Class::Round | Class::Int | Class::Select => p.cast(y, dtype),
        Class::Compare | Class::Test | Class::Logic | Class::Random => y,
    };
    p.outputs.push(out);
    p
}

/// The shared kernel that converts a dtype to another (or copies).
pub fn cast(from: DType, to: DType) -> &'static Arc<Kernel> {
    static CACHE: OnceLock<Vec<OnceLock<Arc<Kernel>>>> = OnceLock::new();
    let n = DType::ALL.len();
    let cache = CACHE.get_or_init(|| (0..n * n).map(|_| OnceLock::new()).collect());
    cache[from as usize * n + to as usize].get_or_init(|| Kernel::new(Program::copy(from, to)))
}
