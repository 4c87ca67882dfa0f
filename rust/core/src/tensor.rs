//! `Tensor`: dtype and layout over a storage, a version counter and autograd metadata. Cheap to clone: a handle.
//! Ops stand in `ops/`, views in `view.rs`, writes in `inplace.rs`, the graph in `autograd/`.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use rtorch_cpu::Memory;
use rtorch_cpu::alloc::Buffer;
use rtorch_ir::{DType, Error, Layout, Result, Shape, ensure, layout::checked_numel, storage_dtypes};

use crate::autograd::meta::{AutogradMeta, ViewOf};
use crate::backend;
use crate::batch::{self, Batch};
use crate::counted::{self, Counted};
use crate::defer::Operand;
use crate::device::Device;
use crate::host;
use crate::storage::{Buf, Storage, Value};

/// The meta device among numbered ones.
const META: u32 = u32::MAX;

/// How often a tensor's contents were written in place; shared by views and `detach()`.
#[derive(Clone, Default)]
pub enum Version {
    /// The storage's own counter: costs nothing to make.
    #[default]
    OfStorage,
    /// One of its own (`.data`): the graph does not see its writes.
    Own(Arc<AtomicU64>),
    /// One that went on when the tensor was given other memory (`t.data = x`).
    Kept(Arc<AtomicU64>),
}

impl Version {
    /// A fresh one.
    pub fn fresh() -> Version {
        Version::Own(Arc::default())
    }
    /// One that goes on from a number.
    pub fn kept(from: u64) -> Version {
        Version::Kept(Arc::new(from.into()))
    }
    /// Made by `.data`?
    pub fn is_own(&self) -> bool {
        matches!(self, Version::Own(_))
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

impl Parts {
    fn counter(&self) -> &AtomicU64 {
        match &self.version {
            Version::OfStorage => self.storage.version(),
            Version::Own(c) | Version::Kept(c) => c,
        }
    }
    /// How often the contents were written.
    pub fn version(&self) -> u64 {
        self.counter().load(Ordering::Relaxed)
    }
}

/// What operators ask first, of the parts, without a lock.
struct Facts {
    dtype: AtomicU8,
    ndim: AtomicU8,
    /// 0: the CPU, else the number of the GPU and one.
    device: AtomicU32,
    numel: AtomicUsize,
    /// Row-major.
    contiguous: AtomicBool,
}

impl Facts {
    fn of(p: &Parts) -> Facts {
        let f = Facts {
            dtype: AtomicU8::new(0),
            ndim: AtomicU8::new(0),
            device: AtomicU32::new(0),
            numel: AtomicUsize::new(0),
            contiguous: AtomicBool::new(false),
        };
        f.set(p);
        f
    }
    #[inline]
    fn set(&self, p: &Parts) {
        self.dtype.store(p.dtype as u8, Ordering::Relaxed);
        self.ndim.store(p.layout.ndim().min(u8::MAX as usize) as u8, Ordering::Relaxed);
        let device = match p.storage.device() {
            Device::Cpu => 0,
            Device::Wgpu(i) => i + 1,
            Device::Meta => META,
        };
        self.device.store(device, Ordering::Relaxed);
        self.numel.store(p.layout.numel(), Ordering::Relaxed);
        self.contiguous.store(p.layout.is_contiguous(), Ordering::Relaxed);
    }
}

struct Impl {
    parts: RwLock<Parts>,
    facts: Facts,
    /// Has autograd metadata worth a lock: requires grad, has a graph node, hooks or view history.
    tracked: AtomicBool,
    /// Says the metadata that the tensor requires grad or has a graph node? What every op asks.
    wants_grad: AtomicBool,
    /// Created in inference mode: no version, never part of a graph.
    inference: AtomicBool,
    meta: Mutex<Option<Box<AutogradMeta>>>,
    /// Set when a view is made.
    view: Option<Box<ViewOf>>,
    py: AtomicPtr<()>,
}

#[derive(Clone)]
pub struct Tensor(Counted<Impl>);

/// A tensor that others may drop.
#[derive(Clone)]
pub struct WeakTensor(counted::Weak<Impl>);

impl WeakTensor {
    pub fn upgrade(&self) -> Option<Tensor> {
        self.0.upgrade().map(Tensor)
    }
}

/// A tensor's elements in row-major order, and what keeps them.
pub struct HostBytes {
    memory: Memory,
    start: usize,
    len: usize,
}

impl HostBytes {
    pub fn bytes(&self) -> &[u8] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: a contiguous layout lies within its buffer, which `memory` keeps alive.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(self.start), self.len) }
    }
}

impl Tensor {
    #[inline]
    pub fn from_parts(parts: Parts) -> Tensor {
        Tensor::make(parts, None)
    }
    /// A view, which remembers where it comes from.
    pub fn from_view(parts: Parts, view: ViewOf) -> Tensor {
        Tensor::make(parts, Some(Box::new(view)))
    }
    fn make(parts: Parts, view: Option<Box<ViewOf>>) -> Tensor {
        let facts = Facts::of(&parts);
        Tensor::of(parts, facts, view, false)
    }
    #[inline]
    fn of(parts: Parts, facts: Facts, view: Option<Box<ViewOf>>, inference: bool) -> Tensor {
        Tensor(Counted::new(Impl {
            facts,
            parts: RwLock::new(parts),
            tracked: AtomicBool::new(false),
            wants_grad: AtomicBool::new(false),
            inference: AtomicBool::new(inference),
            meta: Mutex::new(None),
            view,
            py: AtomicPtr::new(std::ptr::null_mut()),
        }))
    }
    /// A tensor over a fresh storage whose bytes are `value`'s.
    pub fn from_value(value: Value, layout: Layout, dtype: DType, device: Device) -> Tensor {
        let bytes = layout.extent().map_or(0, |e| e.1) * dtype.size();
        Tensor::over(Storage::new(value, device, bytes), layout, dtype)
    }
    /// A fresh row-major tensor on the CPU, of `numel` elements: what small operators make.
    #[inline]
    pub fn rows(memory: Memory, shape: &[usize], numel: usize, dtype: DType) -> Tensor {
        let bytes = memory.len();
        let facts = Facts {
            dtype: AtomicU8::new(dtype as u8),
            ndim: AtomicU8::new(shape.len().min(u8::MAX as usize) as u8),
            device: AtomicU32::new(0),
            numel: AtomicUsize::new(numel),
            contiguous: AtomicBool::new(true),
        };
        let storage = Storage::of(Buf::Cpu(memory), Device::Cpu, bytes);
        let layout = Layout::contiguous(shape);
        let parts = Parts { dtype, layout, storage, version: Version::OfStorage, batch: None };
        Tensor::of(parts, facts, None, crate::autograd::mode::is_inference())
    }
    /// The same over bytes that exist.
    #[inline]
    pub fn from_buf(buf: Buf, layout: Layout, dtype: DType, device: Device) -> Tensor {
        let bytes = layout.extent().map_or(0, |e| e.1) * dtype.size();
        Tensor::over(Storage::of(buf, device, bytes), layout, dtype)
    }
    #[inline]
    fn over(storage: Storage, layout: Layout, dtype: DType) -> Tensor {
        let t = Tensor::from_parts(Parts { dtype, layout, storage, version: Version::OfStorage, batch: None });
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
        let buf = backend::alloc(device, checked_bytes(&layout.shape, dtype)?)?;
        Ok(Tensor::from_buf(buf, layout, dtype, device))
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
        Ok(Tensor::from_buf(buf, Layout::contiguous(shape), dtype, device))
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
        let storage = Storage::of(Buf::Cpu(Memory::from(buf)), Device::Cpu, len);
        storage.export_forever();
        Tensor::from_parts(Parts { dtype, layout, storage, version: Version::OfStorage, batch: None })
    }

    // ---- what it is

    pub fn parts(&self) -> Parts {
        self.with(Parts::clone)
    }
    /// Reads the parts without copying them.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&Parts) -> R) -> R {
        // an op may get the same tensor twice: a second read must not queue behind a writer
        let _lock = (!host::is_held()).then(|| self.0.parts.read_recursive());
        // SAFETY: locked, or under the lock of the host language, without which nobody writes (`set_parts`).
        f(unsafe { &*self.0.parts.data_ptr() })
    }
    /// Not from within `with` of the same tensor.
    pub fn set_parts(&self, parts: Parts) {
        let mut parts = Some(parts);
        let mut old = None;
        host::exclusively(|| {
            if let Some(parts) = parts.take() {
                let mut place = self.0.parts.write();
                self.0.facts.set(&parts);
                old = Some(std::mem::replace(&mut *place, parts));
            }
        });
        drop(old);
    }
    #[inline]
    pub fn dtype(&self) -> DType {
        DType::ALL[self.0.facts.dtype.load(Ordering::Relaxed) as usize]
    }
    pub fn layout(&self) -> Layout {
        self.0.parts.read().layout.clone()
    }
    pub fn shape(&self) -> Shape {
        rtorch_ir::layout::copied(&self.0.parts.read().layout.shape)
    }
    #[inline]
    pub fn ndim(&self) -> usize {
        match self.0.facts.ndim.load(Ordering::Relaxed) {
            u8::MAX => self.0.parts.read().layout.ndim(),
            n => n as usize,
        }
    }
    pub fn size(&self, dim: usize) -> usize {
        self.0.parts.read().layout.shape[dim]
    }
    #[inline]
    pub fn numel(&self) -> usize {
        self.0.facts.numel.load(Ordering::Relaxed)
    }
    #[inline]
    pub fn device(&self) -> Device {
        match self.0.facts.device.load(Ordering::Relaxed) {
            0 => Device::Cpu,
            META => Device::Meta,
            n => Device::Wgpu(n - 1),
        }
    }
    pub fn storage(&self) -> Storage {
        self.0.parts.read().storage.clone()
    }
    /// How often the contents were written.
    pub fn version(&self) -> u64 {
        self.with(Parts::version)
    }
    /// The contents were written.
    pub fn bump_version(&self) {
        self.with(|p| p.counter().fetch_add(1, Ordering::Relaxed));
    }
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        self.0.facts.contiguous.load(Ordering::Relaxed)
    }
    pub fn is_inference(&self) -> bool {
        self.0.inference.load(Ordering::Relaxed)
    }
    pub fn set_inference(&self, on: bool) {
        self.0.inference.store(on, Ordering::Relaxed);
    }
    /// The same tensor object?
    pub fn same(&self, other: &Tensor) -> bool {
        self.0.same(&other.0)
    }
    pub fn id(&self) -> usize {
        self.0.address()
    }
    pub fn use_count(&self) -> usize {
        self.0.owners()
    }
    /// The slot of the Python object of this tensor while it lives (borrowed; read and written with the GIL only).
    #[inline]
    pub fn py(&self) -> &AtomicPtr<()> {
        &self.0.py
    }
    pub fn downgrade(&self) -> WeakTensor {
        WeakTensor(self.0.downgrade())
    }
    /// `[2, 3]` as messages show it.
    pub fn shape_text(&self) -> String {
        format!("{:?}", self.shape().as_slice())
    }

    // ---- contents

    /// Captures the contents for an op.
    pub fn operand(&self) -> Operand {
        self.with(|p| Operand { value: p.storage.value(), layout: p.layout.clone(), dtype: p.dtype })
    }
    /// Computes what is pending.
    pub fn force(&self) -> Result<()> {
        self.storage().force().map(|_| ())
    }
    /// The elements in row-major order, in host memory: the tensor's own where it lies so.
    pub fn host_bytes(&self) -> Result<HostBytes> {
        let t = if self.is_contiguous() { self.clone() } else { crate::ops::shape::contiguous(&self.detach())? };
        let memory = backend::download(&t.storage().force()?)?;
        let (start, len) = t.with(|p| (p.layout.offset * p.dtype.size(), p.layout.numel() * p.dtype.size()));
        Ok(HostBytes { memory, start, len })
    }
    /// A copy of the elements in row-major order as host bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        batch::refuse(self, "an operator that reads its data")?;
        Ok(self.host_bytes()?.bytes().to_vec())
    }
    /// Address of element 0 in host memory (or a number that names it on a device). The bytes stay there from now on.
    /// Whoever asks may write them next, so what reads them runs first; what is asked of them later may wait again.
    pub fn data_ptr(&self) -> Result<usize> {
        batch::refuse(self, ".data_ptr()")?;
        self.force()?;
        self.storage().run_readers()?;
        Ok(self.ready_ptr().unwrap_or(0))
    }
    /// The address that Python is told: of a conjugate's it is that of the memory PyTorch would share.
    pub fn told_ptr(&self) -> Result<usize> {
        let origin = self.with(|p| if p.dtype.is_complex() { p.storage.conjugate_of() } else { None });
        let Some((storage, offset)) = origin else { return self.data_ptr() };
        let own = self.parts();
        let whole = Tensor::from_parts(Parts { storage, version: Version::OfStorage, ..own });
        Ok(whole.data_ptr()? + offset)
    }
    /// The same if the bytes exist already.
    pub fn ready_ptr(&self) -> Option<usize> {
        self.with(|p| {
            let base = p.storage.with_ready(|buf| match buf {
                Buf::Cpu(b) => b.as_ptr() as usize,
                #[cfg(feature = "gpu")]
                Buf::Gpu(_, b) => b.id(),
                Buf::Meta(_) => 0,
            })?;
            p.storage.set_addressed();
            Some(if p.layout.numel() == 0 || base == 0 { 0 } else { base + p.layout.offset * p.dtype.size() })
        })
    }

    // ---- autograd metadata (see autograd/)

    #[inline]
    pub fn is_tracked(&self) -> bool {
        self.0.tracked.load(Ordering::Relaxed)
    }
    /// Requires grad or has a graph node, the base of a view left aside.
    #[inline]
    pub fn wants_grad(&self) -> bool {
        self.0.wants_grad.load(Ordering::Relaxed)
    }
    #[inline]
    pub fn view_of(&self) -> Option<&ViewOf> {
        self.0.view.as_deref()
    }
    /// Runs `f` on the metadata, which is made where there is none yet.
    pub fn with_meta<R>(&self, f: impl FnOnce(&mut AutogradMeta) -> R) -> R {
        let mut m = self.0.meta.lock();
        self.0.tracked.store(true, Ordering::Relaxed);
        let m = m.get_or_insert_with(Default::default);
        let r = f(m);
        self.0.wants_grad.store(m.requires_grad || m.grad_fn.is_some(), Ordering::Relaxed);
        r
    }
    /// Runs `f` on the metadata if there is any and nobody else is at it: a garbage collector must not wait.
    pub fn try_meta<R>(&self, f: impl FnOnce(&mut AutogradMeta) -> R) -> Option<R> {
        let mut m = self.0.meta.try_lock()?;
        let m = m.as_deref_mut()?;
        let r = f(m);
        self.0.wants_grad.store(m.requires_grad || m.grad_fn.is_some(), Ordering::Relaxed);
        Some(r)
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

/// Bytes of a dense tensor, or an error where they are more than there can be.
pub fn checked_bytes(shape: &[usize], dtype: DType) -> Result<usize> {
    let bytes = checked_numel(shape)?.checked_mul(dtype.size()).filter(|&b| b <= isize::MAX as usize);
    bytes.ok_or_else(|| Error::runtime(format!("Storage size calculation overflowed with sizes={shape:?}")))
}

/// float64 and complex are not for the GPU; the message says what to do instead.
pub fn check_device_dtype(device: Device, dtype: DType) -> Result<()> {
    let absent = matches!(dtype, DType::F64 | DType::C64 | DType::C128) || dtype.is_storage();
    if !matches!(device, Device::Wgpu(_)) || !absent {
        return Ok(());
    }
    Err(Error::type_(format!(
        "Cannot convert a wgpu Tensor to {} dtype as the wgpu framework doesn't support {}. Please use {} instead.",
        dtype.name(),
        dtype.name(),
        match dtype {
            DType::F64 => "float32: call .float() first",
            DType::C64 | DType::C128 => "real tensors",
            DType::Bool
            | DType::U8
            | DType::I8
            | DType::I16
            | DType::I32
            | DType::I64
            | DType::F16
            | DType::BF16
            | DType::F32
            | storage_dtypes!() => "a dtype that has arithmetic",
        }
    )))
}
