//! The tile interpreter: runs a pointwise `Program` over strided operands, one L1-sized tile at a time.

use rtorch_ir::{Error, Program, Result};

use crate::Arg;

/// Runs `program` over `shape`; leaf layouts are broadcast to it (stride 0), outputs have it. An output may be exactly
/// the memory of a leaf with the same layout.
pub fn map(program: &Program, shape: &[usize], leaves: &[Arg], outs: &[Arg]) -> Result<()> {
    let _ = (program, shape, leaves, outs);
    Err(Error::not_implemented("the tile interpreter has not landed yet"))
}
