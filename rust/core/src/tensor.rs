//! `Tensor`: dtype and layout over a storage, a version counter and autograd metadata. Cheap to clone: a handle.
//! Ops stand in `ops/`, views in `view.rs`, writes in `inplace.rs`, the graph in `autograd/`.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use rtorch_cpu::alloc::Buffer;
use rtorch_ir::{DType, Error, Layout, Result, Shape, ensure, layout::checked_numel};

use crate::autograd::meta::{AutogradMeta, ViewOf};
use crate::backend;
use crate::batch::{self, Batch};
use crate::defer::Operand;
use crate::device::Device;
use crate::storage::{Storage, Value};

/// How often a tensor's contents were written in place; shared by views and `detach()`.
#[derive(Clone)]
pub enum Version {
    /// The storage's own counter: costs nothing to make.
    OfStorage(Storage),
    /// A fresh one (`.data`).
    Own(Arc<AtomicU64>),
}

impl Version {
    fn counter(&self) -> &AtomicU64 {
        match self {
            Version::OfStorage(s) => s.version(),
            Version::Own(c) => c,
        }
    }
    pub fn get(&self) -> u64 {
        self.counter().load(Ordering::Relaxed)
    }
    /// Made by `.data`: the graph does not see its writes.
    pub fn is_own(&self) -> bool {
        matches!(self, Version::Own(_))
    }
    pub fn bump(&self) {
        self.counter().fetch_add(1, Ordering::Relaxed);
    }
}

impl Default for Version {
    fn default() -> Version {
        Version::Own(Arc::default())
    }
}

/// What `set_()`, `resize_()` and `.data =` replace as a whole.
#[derive(Clone)]
pub struct Parts {
    pub dtype: DType,
    pub layout: Layout,
    pub storage: Storage,
    pub version: Version,
    /// The dimensions that a vmap hides: `layout` is one sample's.
    pub batch: Batch,
}

pub struct Impl {
    parts: RwLock<Parts>,
    /// Has autograd metadata worth a lock: requires grad, has a graph node, hooks or view history.
    tracked: AtomicBool,
    /// Created in inference mode: no version, never part of a graph.
    inference: AtomicBool,
    meta: Mutex<Option<Box<AutogradMeta>>>,
    /// Set when a view is made.
    view: Option<Box<ViewOf>>,
    /// The Python object of this tensor while it lives (borrowed; read and written with the GIL only).
    pub py: AtomicPtr<()>,
}

#[derive(Clone)]
pub struct Tensor(Arc<Impl>);

impl Tensor {
    pub fn from_parts(parts: Parts) -> Tensor {
        Tensor::make(parts, None)
    }
    /// A view, which remembers where it comes from.
    pub fn from_view(parts: Parts, view: ViewOf) -> Tensor {
        Tensor::make(parts, Some(Box::new(view)))
    }
    fn make(parts: Parts, view: Option<Box<ViewOf>>) -> Tensor {
        Tensor(Arc::new(Impl {
            parts: RwLock::new(parts),
            tracked: AtomicBool::new(false),
            inference: AtomicBool::new(false),
            meta: Mutex::new(None),
            view,
            py: AtomicPtr::new(std::ptr::null_mut()),
        }))
    }
    /// A tensor over a fresh storage whose bytes are `value`'s.
    pub fn from_value(value: Value, layout: Layout, dtype: DType, device: Device) -> Tensor {
        let bytes = layout.extent().map_or(0, |e| e.1) * dtype.size();
        let storage = Storage::new(value, device, bytes);
        let version = Version::OfStorage(storage.clone());
        let t = Tensor::from_parts(Parts { dtype, layout, storage, version, batch: None });
        if crate::autograd::mode::is_inference() {
            t.0.inference.store(true, Ordering::Relaxed);
        }
        t
    }
    /// Uninitialised memory, row-major.
    pub fn empty(shape: &[usize], dtype: DType, device: Device) -> Result<Tensor> {
        Tensor::empty_with(Layout::contiguous(shape), dtype, device)
    }
    /// Uninitialised memory for a dense layout.
    pub fn empty_with(layout: Layout, dtype: DType, device: Device) -> Result<Tensor> {
        let n = checked_numel(&layout.shape)?;
        let bytes = n.checked_mul(dtype.size()).filter(|&b| b <= isize::MAX as usize).ok_or_else(|| {
            Error::runtime(format!("Storage size calculation overflowed with sizes={:?}", layout.shape.as_slice()))
        })?;
        let buf = backend::alloc(device, bytes)?;
        Ok(Tensor::from_value(Value::ready(buf), layout, dtype, device))
    }
    /// A row-major tensor with these bytes (native endianness), copied to the device.
    pub fn from_bytes(bytes: &[u8], shape: &[usize], dtype: DType, device: Device) -> Result<Tensor> {
        ensure!(
            checked_numel(shape)?.checked_mul(dtype.size()) == Some(bytes.len()),
            runtime,
            "from_bytes: {} bytes for shape {shape:?} of {dtype}",
            bytes.len()
        );
        if device != Device::Cpu {
            check_device_dtype(device, dtype)?;
        }
        let buf = backend::upload(device, bytes)?;
        Ok(Tensor::from_value(Value::ready(buf), Layout::contiguous(shape), dtype, device))
    }
    /// Memory of somebody else, shared for good: writes on either side are seen on the other (`from_numpy`).
    ///
    /// # Safety
    /// `ptr .. ptr + len` stays valid, and writable, as long as `owner` lives.
    pub unsafe fn from_foreign(
        ptr: *mut u8,
        len: usize,
        owner: Box<dyn Any + Send + Sync>,
        layout: Layout,
        dtype: DType,
    ) -> Tensor {
        // SAFETY: the caller's promise is the one `from_raw` asks for.
        let buf = unsafe { Buffer::from_raw(ptr, len, owner) };
        let value = Value::ready(crate::storage::Buf::Cpu(Arc::new(buf)));
        let storage = Storage::new(value, Device::Cpu, len);
        storage.export_forever();
        let version = Version::OfStorage(storage.clone());
        Tensor::from_parts(Parts { dtype, layout, storage, version, batch: None })
    }

    // ---- what it is

    pub fn parts(&self) -> Parts {
        self.0.parts.read().clone()
    }
    /// Reads the parts without copying them.
    pub fn with<R>(&self, f: impl FnOnce(&Parts) -> R) -> R {
        // an op may get the same tensor twice: a second read must not queue behind a writer
        f(&self.0.parts.read_recursive())
    }
    pub fn set_parts(&self, parts: Parts) {
        let old = std::mem::replace(&mut *self.0.parts.write(), parts);
        drop(old);
    }
    pub fn dtype(&self) -> DType {
        self.0.parts.read().dtype
    }
    pub fn layout(&self) -> Layout {
        self.0.parts.read().layout.clone()
    }
    pub fn shape(&self) -> Shape {
        self.0.parts.read().layout.shape.clone()
    }
    pub fn ndim(&self) -> usize {
        self.0.parts.read().layout.ndim()
    }
    pub fn size(&self, dim: usize) -> usize {
        self.0.parts.read().layout.shape[dim]
    }
    pub fn numel(&self) -> usize {
        self.0.parts.read().layout.numel()
    }
    pub fn device(&self) -> Device {
        self.0.parts.read().storage.device()
    }
    pub fn storage(&self) -> Storage {
        self.0.parts.read().storage.clone()
    }
    pub fn version(&self) -> Version {
        self.0.parts.read().version.clone()
    }
    pub fn is_contiguous(&self) -> bool {
        self.0.parts.read().layout.is_contiguous()
    }
    pub fn is_inference(&self) -> bool {
        self.0.inference.load(Ordering::Relaxed)
    }
    pub fn set_inference(&self, on: bool) {
        self.0.inference.store(on, Ordering::Relaxed);
    }
    /// The same tensor object?
    pub fn same(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
    pub fn use_count(&self) -> usize {
        Arc::strong_count(&self.0)
    }
    pub fn inner(&self) -> &Arc<Impl> {
        &self.0
    }
    pub fn from_inner(inner: Arc<Impl>) -> Tensor {
        Tensor(inner)
    }
    /// `[2, 3]` as messages show it.
    pub fn shape_text(&self) -> String {
        format!("{:?}", self.shape().as_slice())
    }

    // ---- contents

    /// Captures the contents for an op.
    pub fn operand(&self) -> Operand {
        let p = self.0.parts.read();
        Operand { value: p.storage.value(), layout: p.layout.clone(), dtype: p.dtype }
    }
    /// Computes what is pending.
    pub fn force(&self) -> Result<()> {
        self.storage().force().map(|_| ())
    }
    /// The elements in row-major order as host bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        batch::refuse(self, "an operator that reads its data")?;
        let t = if self.is_contiguous() { self.clone() } else { crate::ops::shape::contiguous(&self.detach())? };
        let (layout, dtype) = t.with(|p| (p.layout.clone(), p.dtype));
        let host = backend::download(&t.storage().force()?)?;
        let (start, len) = (layout.offset * dtype.size(), layout.numel() * dtype.size());
        let mut out = vec![0u8; len];
        if len > 0 {
            // SAFETY: a contiguous layout lies within its storage.
            unsafe { std::ptr::copy_nonoverlapping(host.as_ptr().add(start), out.as_mut_ptr(), len) };
        }
        Ok(out)
    }
    /// Address of element 0 in host memory (or a number that names it on a device). The bytes stay there from now on.
    pub fn data_ptr(&self) -> Result<usize> {
        batch::refuse(self, ".data_ptr()")?;
        if let Some(p) = self.ready_ptr() {
            return Ok(p);
        }
        self.force()?;
        Ok(self.ready_ptr().unwrap_or(0))
    }
    /// The same if the bytes exist already.
    pub fn ready_ptr(&self) -> Option<usize> {
        self.with(|p| {
            let base = p.storage.with_ready(|buf| match buf {
                crate::storage::Buf::Cpu(b) => b.as_ptr() as usize,
                #[cfg(feature = "gpu")]
                crate::storage::Buf::Gpu(_, b) => b.id(),
            })?;
            p.storage.set_addressed();
            Some(if p.layout.numel() == 0 { 0 } else { base + p.layout.offset * p.dtype.size() })
        })
    }

    // ---- autograd metadata (see autograd/)

    pub fn is_tracked(&self) -> bool {
        self.0.tracked.load(Ordering::Relaxed)
    }
    pub fn view_of(&self) -> Option<&ViewOf> {
        self.0.view.as_deref()
    }
    /// Runs `f` on the metadata, which is made where there is none yet.
    pub fn with_meta<R>(&self, f: impl FnOnce(&mut AutogradMeta) -> R) -> R {
        let mut m = self.0.meta.lock();
        self.0.tracked.store(true, Ordering::Relaxed);
        f(m.get_or_insert_with(Default::default))
    }
    /// Runs `f` on the metadata if there is any and nobody else is at it: a garbage collector must not wait.
    pub fn try_meta<R>(&self, f: impl FnOnce(&mut AutogradMeta) -> R) -> Option<R> {
        self.0.meta.try_lock()?.as_deref_mut().map(f)
    }
    /// Runs `f` on the metadata if there is any.
    pub fn meta<R>(&self, f: impl FnOnce(&AutogradMeta) -> R) -> Option<R> {
        if !self.is_tracked() {
            return None;
        }
        self.0.meta.lock().as_deref().map(f)
    }
    /// The same storage and version, outside of the graph.
    pub fn detach(&self) -> Tensor {
        let t = Tensor::from_parts(self.parts());
        t.set_inference(self.is_inference());
        t
    }
}

/// float64 and complex are not for the GPU; the message says what to do instead.
pub fn check_device_dtype(device: Device, dtype: DType) -> Result<()> {
    if device.is_cpu() || !matches!(dtype, DType::F64 | DType::C64 | DType::C128) {
        return Ok(());
    }
    Err(Error::type_(format!(
        "Cannot convert a wgpu Tensor to {} dtype as the wgpu framework doesn't support {}. Please use {} instead.",
        dtype.name(),
        dtype.name(),
        if dtype == DType::F64 { "float32: call .float() first" } else { "real tensors" }
    )))
}
