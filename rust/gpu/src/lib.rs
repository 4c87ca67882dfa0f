//! `rtorch-gpu`: the GPU backend over wgpu. `Device::map` runs pointwise programs, `Device::run` primitives, on buffers
//! of device memory. No tensors, no autograd, no deferral here (`rtorch-core`); meaning and shapes come from
//! `rtorch-ir`.

mod access;
mod adapter;
mod attention;
mod conv;
mod device;
mod emit;
mod flash;
mod gather;
mod gemm;
mod kernel;
mod lanes;
mod map;
mod matmul;
mod memory;
mod norm;
mod pipeline;
mod pool;
mod prelude;
mod queue;
mod record;
mod reduce;
mod rows;
mod run;
mod scan;
mod scatter;
mod sort;
mod stores;
mod submit;
mod windows;
mod work;

pub use adapter::{AdapterInfo, Profile, adapters};
pub use device::{Counters, Device, device, noop_device, opened, set_interrupt_hook};
pub use memory::Buffer;
pub use prelude::Types;
pub use record::{Recorded, static_shaders};
pub use run::{Support, support};

use rtorch_ir::{DType, Layout, Program};

/// A strided window of a buffer: element 0 lies at `layout.offset` elements.
#[derive(Clone, Copy)]
pub struct GpuArg<'a> {
    pub buffer: &'a Buffer,
    pub dtype: DType,
    pub layout: &'a Layout,
}

/// An input of a primitive: its prologue, a one-output program over leaves whose layouts are broadcast to `shape`.
/// A plain operand is the identity program over one leaf.
#[derive(Clone, Copy)]
pub struct GpuSource<'a> {
    pub program: &'a Program,
    pub leaves: &'a [GpuArg<'a>],
    pub shape: &'a [usize],
}

/// What a primitive's first result goes through before it is stored: a one-output program whose leaf 0 it is; the
/// other leaves, broadcast to the result's shape, are given.
#[derive(Clone, Copy)]
pub struct GpuEpilogue<'a> {
    pub program: &'a Program,
    pub leaves: &'a [GpuArg<'a>],
}

impl<'a> GpuSource<'a> {
    /// The operand itself where there is no prologue.
    pub fn direct(&self) -> Option<GpuArg<'a>> {
        if self.program.is_identity() { self.leaves.first().copied() } else { None }
    }
    pub fn dtype(&self) -> DType {
        self.program.dtype(self.program.outputs[0])
    }
}
