//! `rtorch-cpu`: the CPU backend. Kernels over raw strided windows of memory: `map` for pointwise programs, `run` for
//! primitives. No tensors, no autograd, no deferral here (`rtorch-core`); meaning and shapes come from `rtorch-ir`.

pub mod alloc;
mod assemble;
mod attention;
mod conv;
mod ctc;
mod distance;
mod element;
mod embedding_bag;
mod fft;
mod fft_short;
mod gather;
pub mod gemm;
mod grid_sample;
mod guard;
mod interp;
mod interp_plan;
mod interp_walk;
mod linalg;
mod lines;
pub mod lstm;
mod matmul;
pub mod memory;
pub mod nonzero;
mod norm;
mod operand;
mod pool;
pub mod random;
mod reader;
mod reduce;
mod reduce_drive;
mod reduce_fold;
mod resize;
mod run;
mod scan;
mod scatter;
pub mod search;
pub mod shared;
pub mod simd;
pub mod small;
pub mod softmax;
mod sort;
mod special;
#[cfg(test)]
mod testing;
pub mod threads;
mod versions;
mod walk;

pub use alloc::Buffer;
pub use assemble::interleave;
pub use interp::map;
pub use memory::Memory;
pub use run::run;
pub use small::Small;

use rtorch_ir::{DType, Layout, Program};

/// A strided window of memory: element 0 lies at `ptr + layout.offset * dtype.size()`.
/// Whoever makes one keeps the memory alive and, for outputs, unshared while a kernel runs.
#[derive(Clone, Copy)]
pub struct Arg<'a> {
    pub ptr: *mut u8,
    pub dtype: DType,
    pub layout: &'a Layout,
}

// SAFETY: an Arg is a plain description; the kernels that use it from several threads write disjoint elements.
unsafe impl Send for Arg<'_> {}
// SAFETY: as above.
unsafe impl Sync for Arg<'_> {}

impl Arg<'_> {
    /// Address of element 0.
    pub fn base(&self) -> *mut u8 {
        self.ptr.wrapping_add(self.layout.offset * self.dtype.size())
    }
}

/// An input of a primitive: its prologue, a one-output program over leaves whose layouts are broadcast to `shape`.
/// A plain operand is the identity program over one leaf.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub program: &'a Program,
    pub leaves: &'a [Arg<'a>],
    pub shape: &'a [usize],
}

impl<'a> Source<'a> {
    /// The operand itself where there is no prologue.
    pub fn direct(&self) -> Option<Arg<'a>> {
        if self.program.is_identity() { self.leaves.first().copied() } else { None }
    }
    pub fn dtype(&self) -> DType {
        self.program.dtype(self.program.outputs[0])
    }
}

/// A program that runs on a primitive's first result before it is stored: leaf 0 is the result (in its dtype), the
/// others are `leaves`, broadcast to the result's shape. Its one output is stored in place of the result.
#[derive(Clone, Copy)]
pub struct Epilogue<'a> {
    pub program: &'a Program,
    pub leaves: &'a [Arg<'a>],
}
