//! `Buf` (bytes on a device), `Value` (immutable contents, perhaps not computed yet) and `Storage` (a mutable cell that
//! holds a value and is shared by all views). What runs a pending value stands in `defer.rs`, what writes in
//! `inplace.rs`.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rtorch_cpu::Memory;
use rtorch_cpu::alloc::Buffer;
use rtorch_ir::Result;
use smallvec::SmallVec;
use std::sync::Weak;

use crate::counted::{self, Counted};
use crate::defer::Node;
use crate::device::Device;
use crate::lock::Lock;

/// Bytes on a device, shared.
#[derive(Clone)]
pub enum Buf {
    Cpu(Memory),
    #[cfg(feature = "gpu")]
    Gpu(u32, rtorch_gpu::Buffer),
    /// As many bytes as this that do not exist (the meta device).
    Meta(usize),
}

impl Buf {
    /// No bytes at all.
    pub fn empty() -> Buf {
        static NONE: std::sync::OnceLock<Memory> = std::sync::OnceLock::new();
        let make = || {
            let nowhere = std::ptr::NonNull::<u64>::dangling().as_ptr().cast();
            // SAFETY: no byte is ever read through a buffer of length 0.
            Memory::from(unsafe { Buffer::from_raw(nowhere, 0, Box::new(())) })
        };
        Buf::Cpu(NONE.get_or_init(make).clone())
    }
    pub fn device(&self) -> Device {
        match self {
            Buf::Cpu(_) => Device::Cpu,
            #[cfg(feature = "gpu")]
            Buf::Gpu(i, _) => Device::Wgpu(*i),
            Buf::Meta(_) => Device::Meta,
        }
    }
    pub fn len(&self) -> usize {
        match self {
            Buf::Cpu(b) => b.len(),
            #[cfg(feature = "gpu")]
            Buf::Gpu(_, b) => b.len(),
            Buf::Meta(n) => *n,
        }
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The address of host memory.
    #[inline]
    pub fn host(&self) -> Option<*mut u8> {
        match self {
            Buf::Cpu(b) => Some(b.as_ptr()),
            #[cfg(feature = "gpu")]
            Buf::Gpu(..) => None,
            Buf::Meta(_) => None,
        }
    }
    /// Do two handles mean the same memory?
    pub fn same(&self, other: &Buf) -> bool {
        match (self, other) {
            (Buf::Cpu(a), Buf::Cpu(b)) => a.same(b),
            #[cfg(feature = "gpu")]
            (Buf::Gpu(_, a), Buf::Gpu(_, b)) => a.same(b),
            #[cfg(feature = "gpu")]
            (Buf::Cpu(_), Buf::Gpu(..)) | (Buf::Gpu(..), Buf::Cpu(_)) => false,
            (Buf::Meta(_), _) | (_, Buf::Meta(_)) => false,
        }
    }
    /// Is this the only handle?
    pub fn is_unique(&self) -> bool {
        match self {
            Buf::Cpu(b) => b.handles() == 1,
            #[cfg(feature = "gpu")]
            Buf::Gpu(_, b) => b.is_unique(),
            Buf::Meta(_) => true,
        }
    }
}

pub enum State {
    Ready(Buf),
    Pending(Arc<Node>),
}

pub struct Cell {
    pub state: Lock<State>,
    /// Storages and pending nodes that want the bytes; what is merely saved for backward does not count.
    holders: AtomicUsize,
    /// How often a primitive evaluated this pending value as its prologue.
    pub swallowed: AtomicUsize,
    /// Pending values that read this one; a write to the storage runs them first.
    pub readers: Lock<SmallVec<[Weak<Cell>; 2]>>,
    /// Others may write the bytes at any time (NumPy, another process): what reads them runs at once.
    exposed: AtomicBool,
}

/// A counted handle on a cell: one of its holders.
pub struct Value(Arc<Cell>);

/// An uncounted handle: a save for backward.
#[derive(Clone)]
pub struct Saved(pub Arc<Cell>);

impl Cell {
    pub fn new(state: State) -> Cell {
        Cell {
            state: Lock::new(state),
            holders: AtomicUsize::new(0),
            swallowed: AtomicUsize::new(0),
            readers: Lock::new(SmallVec::new()),
            exposed: AtomicBool::new(false),
        }
    }
    pub fn is_exposed(&self) -> bool {
        self.exposed.load(Ordering::Relaxed)
    }
    pub fn holders(&self) -> usize {
        self.holders.load(Ordering::Relaxed)
    }
    pub fn pending(&self) -> Option<Arc<Node>> {
        match &*self.state.lock() {
            State::Ready(_) => None,
            State::Pending(n) => Some(n.clone()),
        }
    }
    pub fn ready(&self) -> Option<Buf> {
        match &*self.state.lock() {
            State::Ready(b) => Some(b.clone()),
            State::Pending(_) => None,
        }
    }
}

impl Value {
    pub fn ready(buf: Buf) -> Value {
        Value::from_cell(Arc::new(Cell::new(State::Ready(buf))))
    }
    pub fn from_cell(cell: Arc<Cell>) -> Value {
        cell.holders.fetch_add(1, Ordering::Relaxed);
        Value(cell)
    }
    pub fn cell(&self) -> &Arc<Cell> {
        &self.0
    }
    pub fn is_pending(&self) -> bool {
        matches!(&*self.0.state.lock(), State::Pending(_))
    }
    /// The bytes, computed now if they were pending.
    pub fn force(&self) -> Result<Buf> {
        if let Some(b) = self.0.ready() {
            return Ok(b);
        }
        crate::defer::run(&self.0)
    }
    pub fn save(&self) -> Saved {
        Saved(self.0.clone())
    }
}

impl Clone for Value {
    fn clone(&self) -> Value {
        Value::from_cell(self.0.clone())
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.0.holders.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The contents of a storage.
enum Contents {
    /// Bytes that nobody captured: no cell is needed to tell who else wants them. Most small tensors die so.
    Own(Buf),
    Shared(Value),
}

struct StorageImpl {
    contents: Lock<Contents>,
    device: Device,
    bytes: AtomicUsize,
    /// `data_ptr()` was read: the bytes stay where they are.
    addressed: AtomicBool,
    /// Real shared memory: `from_numpy` for ever, otherwise while an export is alive.
    exports: AtomicUsize,
    version: AtomicU64,
    /// Of the copy that stands for a conjugate view.
    conjugate_of: OnceLock<Box<Origin>>,
}

/// What a conjugate was made from, as long as that lives.
struct Origin {
    storage: counted::Weak<StorageImpl>,
    /// Where its first element lies, in bytes, and its version then.
    offset: usize,
    /// How often both sides had been written then.
    versions: [u64; 2],
}

/// A mutable, untyped cell of bytes, shared by all views of it.
#[derive(Clone)]
pub struct Storage(Counted<StorageImpl>);

impl Storage {
    pub fn new(value: Value, device: Device, bytes: usize) -> Storage {
        Storage::make(Contents::Shared(value), device, bytes)
    }
    /// Over bytes that exist.
    pub fn of(buf: Buf, device: Device, bytes: usize) -> Storage {
        Storage::make(Contents::Own(buf), device, bytes)
    }
    fn make(contents: Contents, device: Device, bytes: usize) -> Storage {
        Storage(Counted::new(StorageImpl {
            contents: Lock::new(contents),
            device,
            bytes: AtomicUsize::new(bytes),
            addressed: AtomicBool::new(false),
            exports: AtomicUsize::new(0),
            version: AtomicU64::new(0),
            conjugate_of: OnceLock::new(),
        }))
    }
    /// These bytes are the conjugates of those of `of` from an offset in bytes on: PyTorch would share the memory and
    /// set a bit, here they are a copy that says so.
    pub fn mark_conjugate(&self, of: &Storage, offset: usize) {
        let versions = [of, self].map(|s| s.version().load(Ordering::Relaxed));
        let _ = self.0.conjugate_of.set(Box::new(Origin { storage: of.0.downgrade(), offset, versions }));
    }
    pub fn is_conjugate(&self) -> bool {
        self.0.conjugate_of.get().is_some()
    }
    /// The memory that PyTorch would share, and where in it the first element lies: while it lives and neither side was
    /// written.
    pub fn conjugate_of(&self) -> Option<(Storage, usize)> {
        let origin = self.0.conjugate_of.get()?;
        let of = Storage(origin.storage.upgrade()?);
        let versions = [&of, self].map(|s| s.version().load(Ordering::Relaxed));
        (versions == origin.versions).then_some((of, origin.offset))
    }
    pub fn device(&self) -> Device {
        self.0.device
    }
    /// Counts writes (see `tensor::Version`).
    pub fn version(&self) -> &AtomicU64 {
        &self.0.version
    }
    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    pub fn same(&self, other: &Storage) -> bool {
        self.0.same(&other.0)
    }
    /// How many tensors (and other handles) share the storage.
    pub fn use_count(&self) -> usize {
        self.0.owners()
    }
    /// An address that names the storage while it lives.
    pub fn id(&self) -> usize {
        self.0.address()
    }
    /// Captures the contents.
    pub fn value(&self) -> Value {
        let mut c = self.0.contents.lock();
        let v = match &*c {
            Contents::Shared(v) => v.clone(),
            Contents::Own(buf) => {
                let v = Value::ready(buf.clone());
                *c = Contents::Shared(v.clone());
                v
            }
        };
        if self.is_exported() {
            v.cell().exposed.store(true, Ordering::Relaxed);
        }
        v
    }
    /// Looks at the bytes if they exist, without a handle on them.
    #[inline]
    pub fn with_ready<R>(&self, f: impl FnOnce(&Buf) -> R) -> Option<R> {
        match &*self.0.contents.lock() {
            Contents::Own(b) => Some(f(b)),
            Contents::Shared(v) => match &*v.cell().state.lock() {
                State::Ready(b) => Some(f(b)),
                State::Pending(_) => None,
            },
        }
    }
    /// Looks at host memory if it exists and nobody is at it now; it stays as it is meanwhile. Not for long kernels:
    /// whoever wants the bytes waits, perhaps with the GIL.
    #[inline]
    pub fn try_host<R>(&self, f: impl FnOnce(*mut u8) -> R) -> Option<R> {
        match &*self.0.contents.try_lock()? {
            Contents::Own(b) => Some(f(b.host()?)),
            Contents::Shared(v) => match &*v.cell().state.try_lock()? {
                State::Ready(b) => Some(f(b.host()?)),
                State::Pending(_) => None,
            },
        }
    }
    /// The bytes if they exist.
    pub fn ready(&self) -> Option<Buf> {
        self.with_ready(Buf::clone)
    }
    /// Runs what is pending and reads these bytes, if anything does.
    pub fn run_readers(&self) -> Result<()> {
        if self.has_readers() { crate::defer::run_readers(self.value().cell()) } else { Ok(()) }
    }
    pub fn has_readers(&self) -> bool {
        match &*self.0.contents.lock() {
            Contents::Own(_) => false,
            Contents::Shared(v) => !v.cell().readers.lock().is_empty(),
        }
    }
    /// The bytes if nobody captured them.
    pub fn own(&self) -> Option<Buf> {
        match &*self.0.contents.lock() {
            Contents::Own(b) => Some(b.clone()),
            Contents::Shared(_) => None,
        }
    }
    /// Replaces the contents; the old value is dropped outside of the lock.
    pub fn set_value(&self, value: Value, bytes: usize) {
        self.0.bytes.store(bytes, Ordering::Relaxed);
        let old = std::mem::replace(&mut *self.0.contents.lock(), Contents::Shared(value));
        drop(old);
    }
    /// Replaces the contents by bytes.
    pub fn set_buf(&self, buf: Buf) {
        self.0.bytes.store(buf.len(), Ordering::Relaxed);
        let old = std::mem::replace(&mut *self.0.contents.lock(), Contents::Own(buf));
        drop(old);
    }
    pub fn force(&self) -> Result<Buf> {
        match self.ready() {
            Some(b) => Ok(b),
            None => self.value().force(),
        }
    }
    pub fn set_addressed(&self) {
        self.0.addressed.store(true, Ordering::Relaxed);
    }
    pub fn is_addressed(&self) -> bool {
        self.0.addressed.load(Ordering::Relaxed)
    }
    pub fn is_exported(&self) -> bool {
        self.0.exports.load(Ordering::Relaxed) > 0
    }
    /// Counts one exporter until the guard drops.
    pub fn export(&self) -> Export {
        self.0.exports.fetch_add(1, Ordering::Relaxed);
        Export(self.clone())
    }
    /// Memory that belongs to somebody else for good (`from_numpy`).
    pub fn export_forever(&self) {
        self.0.exports.fetch_add(1, Ordering::Relaxed);
    }
}

/// Keeps a storage's memory shared (writes go to that very memory, at once) while it lives.
pub struct Export(Storage);

impl Export {
    pub fn storage(&self) -> &Storage {
        &self.0
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        self.0.0.exports.fetch_sub(1, Ordering::Relaxed);
    }
}
