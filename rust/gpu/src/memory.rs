//! Device memory: pages, sub-allocation, and `Buffer`, a piece of a page that returns to the pool when dropped.
//! Freed memory can be handed out again at once, since the queue executes in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtorch_ir::{Error, Result};

use crate::device::Device;

/// Alignment of every allocation: the strictest binding offset of any adapter.
pub const ALIGN: u64 = 256;
/// Small allocations share pages of this size (the first pages are smaller, so that tiny programs stay tiny).
const PAGE: u64 = 32 << 20;
const FIRST_PAGE: u64 = 4 << 20;
/// Allocations from this size on have a page of their own.
const LARGE: u64 = 8 << 20;
/// Large pages are reused for requests of at least this share of their size, in sixteenths.
const REUSE_SIXTEENTHS: u64 = 13;

/// One buffer of the driver.
pub struct Page {
    pub id: u64,
    pub buffer: wgpu::Buffer,
    pub size: u64,
}

/// Bytes of device memory; cloning shares them.
#[derive(Clone)]
pub struct Buffer(Arc<Inner>);

struct Inner {
    device: Arc<Device>,
    page: Arc<Page>,
    start: u64,
    /// What was asked for.
    len: usize,
    /// What is taken from the page.
    taken: u64,
}

impl Buffer {
    /// Bytes that may be used.
    pub fn len(&self) -> usize {
        self.0.len
    }
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }
    pub fn device(&self) -> &Arc<Device> {
        &self.0.device
    }
    /// Fails for memory of another device than this: of an adapter, or from before a loss.
    pub(crate) fn of(&self, device: &Device) -> Result<&Buffer> {
        if std::ptr::eq(&*self.0.device, device) {
            return Ok(self);
        }
        self.0.device.check()?;
        Err(Error::runtime(format!("wgpu:{}: a kernel was given memory of another adapter", device.index)))
    }
    pub(crate) fn page(&self) -> &Arc<Page> {
        &self.0.page
    }
    /// First byte within the page, a multiple of `ALIGN`.
    pub(crate) fn start(&self) -> u64 {
        self.0.start
    }
    /// Bytes up to the end of the allocation: the tail of the last words may be overwritten.
    pub(crate) fn taken(&self) -> u64 {
        self.0.taken
    }
    /// A number that names the memory while it lives.
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
    /// First byte within the memory that kernels bind (for tests of recorded launches).
    pub fn offset(&self) -> u64 {
        self.0.start
    }
    /// Is it the same memory?
    pub fn same(&self, other: &Buffer) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
    /// Does nobody else hold it?
    pub fn is_unique(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.device.pool.lock().free(&self.page, self.start, self.taken);
    }
}

/// A page's free ranges, by start; neighbours are joined.
struct Shared {
    page: Arc<Page>,
    free: BTreeMap<u64, u64>,
}

/// The pool of one device.
#[derive(Default)]
pub(crate) struct Pool {
    shared: Vec<Shared>,
    /// Free pages that held one large allocation.
    cached: Vec<Arc<Page>>,
    pub in_use: u64,
    pub peak: u64,
    reserved: u64,
}

static NEXT_PAGE: AtomicU64 = AtomicU64::new(1);

impl Pool {
    pub fn cached_bytes(&self) -> u64 {
        self.reserved - self.in_use
    }
    fn take(&mut self, size: u64) -> Option<(Arc<Page>, u64, u64)> {
        if size >= LARGE {
            let fits = |p: &Arc<Page>| p.size >= size && p.size * REUSE_SIXTEENTHS / 16 <= size;
            let i = (0..self.cached.len()).filter(|&i| fits(&self.cached[i])).min_by_key(|&i| self.cached[i].size)?;
            let page = self.cached.swap_remove(i);
            let size = page.size;
            return Some((page, 0, size));
        }
        // best fit over all pages keeps long-lived and short-lived pieces apart well enough
        let mut best: Option<(usize, u64, u64)> = None;
        for (i, s) in self.shared.iter().enumerate() {
            for (&at, &len) in &s.free {
                if len >= size && best.is_none_or(|b| len < b.2) {
                    best = Some((i, at, len));
                    if len == size {
                        break;
                    }
                }
            }
        }
        let (i, at, len) = best?;
        let s = &mut self.shared[i];
        s.free.remove(&at);
        if len > size {
            s.free.insert(at + size, len - size);
        }
        Some((s.page.clone(), at, size))
    }
    fn free(&mut self, page: &Arc<Page>, start: u64, size: u64) {
        self.in_use -= size;
        let Some(s) = self.shared.iter_mut().find(|s| s.page.id == page.id) else {
            self.cached.push(page.clone());
            return;
        };
        let (mut start, mut size) = (start, size);
        if let Some((&at, &len)) = s.free.range(..start).next_back()
            && at + len == start
        {
            s.free.remove(&at);
            (start, size) = (at, size + len);
        }
        if let Some(&len) = s.free.get(&(start + size)) {
            s.free.remove(&(start + size));
            size += len;
        }
        s.free.insert(start, size);
    }
    /// Drops all pages that hold nothing; answers their ids.
    pub fn release(&mut self) -> Vec<u64> {
        let mut dead: Vec<(u64, u64)> = self.cached.drain(..).map(|p| (p.id, p.size)).collect();
        let empty = |s: &Shared| s.free.get(&0) == Some(&s.page.size);
        dead.extend(self.shared.iter().filter(|s| empty(s)).map(|s| (s.page.id, s.page.size)));
        self.shared.retain(|s| !empty(s));
        self.reserved -= dead.iter().map(|d| d.1).sum::<u64>();
        dead.into_iter().map(|d| d.0).collect()
    }
}

impl Device {
    /// Memory of at least `bytes` bytes, 256-byte aligned, contents undefined.
    pub fn alloc(self: &Arc<Self>, bytes: usize) -> Result<Buffer> {
        self.check()?;
        let size = (bytes as u64).max(1).checked_next_multiple_of(ALIGN).filter(|&s| s <= self.profile.buffer);
        let Some(size) = size else {
            return Err(Error::memory(format!(
                "wgpu: cannot allocate {bytes} bytes: the adapter's largest buffer has {} bytes. Use smaller tensors \
                 (or split the batch)",
                self.profile.buffer
            )));
        };
        let taken = self.pool.lock().take(size);
        let (page, start, taken) = match taken {
            Some(t) => t,
            None => self.grow(size)?,
        };
        let mut pool = self.pool.lock();
        pool.in_use += taken;
        pool.peak = pool.peak.max(pool.in_use);
        drop(pool);
        Ok(Buffer(Arc::new(Inner { device: self.clone(), page, start, len: bytes, taken })))
    }

    /// A new page, after dropping what is cached where memory is short.
    fn grow(self: &Arc<Self>, size: u64) -> Result<(Arc<Page>, u64, u64)> {
        let shared = size < LARGE;
        let page_size = if !shared {
            size
        } else {
            let n = self.pool.lock().shared.len() as u32;
            (FIRST_PAGE << n.min(3)).min(PAGE).min(self.profile.binding).max(size)
        };
        let page = match self.create_page(page_size) {
            Ok(p) => p,
            Err(_) => {
                self.synchronize_quietly();
                self.empty_cache();
                self.create_page(page_size).map_err(|why| {
                    let pool = self.pool.lock();
                    Error::memory(format!(
                        "wgpu: out of memory: tried to allocate {size} bytes ({} in use, {} cached by the pool; the \
                         driver says: {why}). Use smaller batches, or free tensors and call \
                         rtorch.wgpu.empty_cache()",
                        pool.in_use,
                        pool.cached_bytes()
                    ))
                })?
            }
        };
        let mut pool = self.pool.lock();
        pool.reserved += page_size;
        if shared {
            let free = if page_size > size { BTreeMap::from([(size, page_size - size)]) } else { BTreeMap::new() };
            pool.shared.push(Shared { page: page.clone(), free });
        }
        Ok((page, 0, size))
    }

    fn create_page(&self, size: u64) -> Result<Arc<Page>, String> {
        let scope = self.wgpu.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let inner = self.wgpu.push_error_scope(wgpu::ErrorFilter::Validation);
        let buffer = self.wgpu.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let bad = crate::adapter::ready(inner.pop());
        let bad = crate::adapter::ready(scope.pop()).or(bad);
        match bad {
            Some(e) => Err(e.to_string()),
            None => Ok(Arc::new(Page { id: NEXT_PAGE.fetch_add(1, Ordering::Relaxed), buffer, size })),
        }
    }

    /// Bytes of live buffers.
    pub fn bytes_in_use(&self) -> u64 {
        self.pool.lock().in_use
    }
    /// The most bytes of live buffers since the last `reset_peak`.
    pub fn peak_bytes(&self) -> u64 {
        self.pool.lock().peak
    }
    pub fn reset_peak(&self) {
        let mut pool = self.pool.lock();
        pool.peak = pool.in_use;
    }
    /// Bytes that the pool holds for later.
    pub fn bytes_cached(&self) -> u64 {
        self.pool.lock().cached_bytes()
    }
    /// Gives pages that hold nothing back to the driver.
    pub fn empty_cache(&self) {
        let gone = self.pool.lock().release();
        self.stream.lock().forget_pages(&gone);
    }
}
