//! Programs of several results that go into parts of memory that exists, in one pass: the components of a vector, the
//! halves of a gradient. For the CPU; other devices, and batched tensors, take the results one by one.

use rtorch_ir::{Program, Result, Shape};
use smallvec::SmallVec;

use crate::backend::{self, Window};
use crate::batch;
use crate::device::Device;
use crate::dispatch;
use crate::tensor::Tensor;

/// May `write` be called for these operands?
pub fn applies(inputs: &[&Tensor]) -> bool {
    inputs.iter().all(|t| t.device().is_cpu()) && !batch::any(inputs)
}

/// Runs a program outside of the graph; operands are broadcast to the results' shape, and have the leaves' dtypes.
pub fn write(program: &Program, inputs: &[&Tensor], outs: &[&Tensor]) -> Result<()> {
    let shape = outs.first().map_or_else(Shape::new, |t| t.shape());
    let leaf = |t: &&Tensor| -> Result<Window> {
        let mut w = dispatch::window(t)?;
        if w.layout.shape != shape {
            w.layout = w.layout.broadcast_to(&shape)?;
        }
        Ok(w)
    };
    let leaves: SmallVec<[Window; 6]> = inputs.iter().map(leaf).collect::<Result<_>>()?;
    let outs: SmallVec<[Window; 4]> = outs.iter().map(|t| dispatch::window(t)).collect::<Result<_>>()?;
    backend::map(Device::Cpu, program, &shape, &leaves, &outs)
}
