//! Storages in memory that several processes map (`share_memory_`). Such memory is exported for good: writes go to it
//! at once, and what backward saved there has its version checked, as with memory that NumPy sees.
//! The mapping itself is `rtorch_cpu::shared`; how it travels to another process is `rtorch.multiprocessing`.

use std::sync::Arc;

use rtorch_cpu::Memory;
use rtorch_cpu::shared::{Mapping, buffer, mapping_of};
use rtorch_ir::{DType, Layout, Result, ensure};

use crate::Tensor;
use crate::defer;
use crate::device::Device;
use crate::storage::{Buf, Storage};
use crate::tensor::{Parts, Version};

/// The mapping that a storage lies in, if it is shared.
pub fn mapping(storage: &Storage) -> Option<Arc<Mapping>> {
    storage
        .with_ready(|buf| match buf {
            Buf::Cpu(b) => b.buffer().and_then(mapping_of).cloned(),
            #[cfg(feature = "gpu")]
            Buf::Gpu(..) => None,
            Buf::Meta(_) => None,
        })
        .flatten()
}

fn over(mapping: Mapping) -> Buf {
    Buf::Cpu(Memory::from(buffer(Arc::new(mapping))))
}

/// Moves a storage's bytes into shared memory; every tensor over it goes along.
pub fn share(storage: &Storage) -> Result<()> {
    if mapping(storage).is_some() { Ok(()) } else { move_to(storage) }
}

/// The same where the memory must be handed on and its descriptor was given back.
pub fn share_again(storage: &Storage) -> Result<Arc<Mapping>> {
    move_to(storage)?;
    mapping(storage).ok_or_else(|| rtorch_ir::Error::runtime("share_memory_: another thread replaced the memory"))
}

fn move_to(storage: &Storage) -> Result<()> {
    ensure!(
        storage.device() == Device::Cpu,
        runtime,
        "share_memory_: memory of {} cannot be shared between processes; copy the tensor to the CPU first",
        storage.device()
    );
    let old = storage.value();
    let from = old.force()?;
    defer::run_readers(old.cell())?;
    let to = over(Mapping::create(storage.len())?);
    if let (Some(a), Some(b)) = (from.host(), to.host()) {
        let n = from.len().min(to.len());
        // SAFETY: both buffers hold that many bytes, and the fresh mapping overlaps nothing.
        unsafe { std::ptr::copy_nonoverlapping(a, b, n) };
    }
    storage.set_buf(to);
    storage.export_forever();
    Ok(())
}

/// A row-major tensor over a mapping.
pub fn tensor(mapping: Mapping, bytes: usize, shape: &[usize], dtype: DType) -> Tensor {
    let storage = Storage::of(over(mapping), Device::Cpu, bytes);
    storage.export_forever();
    let layout = Layout::contiguous(shape);
    Tensor::from_parts(Parts { dtype, layout, storage, version: Version::OfStorage, batch: None })
}
