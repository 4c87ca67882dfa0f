//! Memory for tensors and scratch: a caching allocator of 64-byte-aligned blocks, its statistics, and `Buffer`.
//! Small blocks come from free lists of the thread, big ones from one shared cache of mapped memory. What is cached
//! never lifts the process above the most that was in use at once (plus `SLACK`): then the oldest blocks go back. Big
//! blocks are cut where less is wanted, and joined again where neighbours are free.
//! Not here: blocks that end at a closed page (`guard`); who shares a buffer, when it may be written (`rtorch-core`).

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::ptr::NonNull;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rtorch_ir::{Error, Result};

use crate::guard;

/// Every block starts at a multiple of this: a cache line, and the widest vector.
pub const ALIGN: usize = 64;
/// Blocks up to this come from size classes; larger ones are mapped from the system one by one.
const SMALL_MAX: usize = 1 << 20;
/// Size classes: `STEPS` per doubling, from `ALIGN` on.
const STEPS: usize = 4;
const CLASSES: usize = class_of(SMALL_MAX) + 1;
/// Bytes of one class that a thread keeps for itself; what exceeds it goes to the shared lists.
const THREAD_BYTES: usize = 128 << 10;
/// Fewest blocks of a class that a thread keeps.
const THREAD_MIN: usize = 2;
/// Cached bytes of small blocks in the shared lists, beyond which they go back to the system.
const SHARED_BYTES: usize = 64 << 20;
/// Big blocks are multiples of this.
const PAGE: usize = 64 << 10;
/// From here on huge pages are asked for: first touch of a 64 MB result took 4 ms instead of 16 (Zen 5, 1 core).
const HUGE_FROM: usize = 4 << 20;
const HUGE_PAGE: usize = 2 << 20;
/// A thread's own sums join the process's when they are this far off: small tensors come and go without a locked
/// instruction, and the peak is right to this much per thread.
const PUBLISH: isize = 16 << 10;
/// Cached memory may lift the footprint this far above the peak of use, or by this part of it. With 4 MB a step of a
/// small network or transformer mapped and cleared 20 to 60 MB anew each time, a fifth of its time; with 16 MB none.
const SLACK: usize = 16 << 20;
const SLACK_PART: usize = 8;
/// A cached big block serves requests down to this fraction (in eighths) of its size as a whole.
const FIT_EIGHTHS: usize = 7;
/// Pages are mapped and returned in any pieces: a big block serves smaller requests, neighbours a larger one. Blocks
/// of one size each went back and forth between cache and system.
const PIECES: bool = cfg!(unix);
/// From here on a request is first compared with what the system says it has.
const CHECK_FROM: usize = 256 << 20;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// As `PEAK`, but never reset: what the cache may fill up to.
static HIGH: AtomicUsize = AtomicUsize::new(0);
/// Bytes in free lists, of threads and shared.
static CACHED: AtomicUsize = AtomicUsize::new(0);

/// Bytes of live buffers (as rounded up by the allocator; memory of others does not count).
pub fn bytes_in_use() -> usize {
    sum(&IN_USE, own(|l| l.in_use.get()))
}

/// A process-wide sum with what this thread adds to it. What one thread took and another gave back may make it negative
/// for a while.
fn sum(of: &AtomicUsize, own: isize) -> usize {
    (of.load(Ordering::Relaxed) as isize).wrapping_add(own).max(0) as usize
}

/// The footprint that caches may make of a peak of use.
fn with_slack(peak: usize) -> usize {
    peak.saturating_add(SLACK.max(peak / SLACK_PART))
}

/// What this thread has not published yet.
fn own(f: impl FnOnce(&Local) -> isize) -> isize {
    LOCAL.try_with(f).unwrap_or(0)
}

/// The most that `bytes_in_use` was since the start or `reset_peak`.
pub fn peak_bytes() -> usize {
    PEAK.load(Ordering::Relaxed).max(bytes_in_use())
}

pub fn reset_peak() {
    PEAK.store(bytes_in_use(), Ordering::Relaxed);
}

/// Free memory kept for the next request.
pub fn bytes_cached() -> usize {
    sum(&CACHED, own(|l| l.cached.get()))
}

/// Gives the shared caches and this thread's back to the system.
pub fn empty_cache() {
    let _ = LOCAL.try_with(|l| l.flush(0));
    let mut s = SHARED.lock();
    for class in 0..CLASSES {
        s.drain_small(class, 0);
    }
    s.evict(0);
}

const fn class_of(bytes: usize) -> usize {
    let units = bytes.div_ceil(ALIGN);
    if units <= STEPS {
        return if units == 0 { 0 } else { units - 1 };
    }
    // units in (2^k, 2^(k+1)], cut into STEPS parts
    let k = (units - 1).ilog2() as usize;
    let part = (1usize << k) / STEPS;
    let step = (units - (1 << k)).div_ceil(part);
    STEPS + (k - 2) * STEPS + step - 1
}

const fn class_bytes(class: usize) -> usize {
    if class < STEPS {
        return (class + 1) * ALIGN;
    }
    let k = (class - STEPS) / STEPS + 2;
    let step = (class - STEPS) % STEPS + 1;
    ((1usize << k) + step * ((1usize << k) / STEPS)) * ALIGN
}

// ---- the system

/// A block of the system, `cap` bytes; None when there is none.
fn system_alloc(cap: usize) -> Option<NonNull<u8>> {
    let layout = std::alloc::Layout::from_size_align(cap, ALIGN).ok()?;
    // SAFETY: the size is not zero.
    NonNull::new(unsafe { std::alloc::alloc(layout) })
}

fn system_free(p: NonNull<u8>, cap: usize) {
    // SAFETY: allocated by `system_alloc` with this size.
    unsafe { std::alloc::dealloc(p.as_ptr(), std::alloc::Layout::from_size_align_unchecked(cap, ALIGN)) }
}

/// Maps `cap` bytes of zeros, aligned to huge pages where these pay.
#[cfg(unix)]
fn map_pages(cap: usize) -> Option<NonNull<u8>> {
    let align = if cap >= HUGE_FROM { HUGE_PAGE } else { 1 };
    let total = cap.checked_add(align - 1)?;
    // SAFETY: an anonymous mapping at an address of the system's choice; the trimmed parts belong to it alone.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_NORESERVE;
        let p = libc::mmap(std::ptr::null_mut(), total, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        if p == libc::MAP_FAILED {
            return None;
        }
        let start = p as usize;
        let aligned = start.next_multiple_of(align);
        // the system's pages are at most PAGE bytes, and `cap` is a multiple of that
        let (head, tail) = (aligned - start, start + total - (aligned + cap));
        if head >= 4096 {
            libc::munmap(p, head & !4095);
        }
        let tail_start = (aligned + cap).next_multiple_of(4096);
        if tail >= 4096 && start + total > tail_start {
            libc::munmap(tail_start as *mut libc::c_void, start + total - tail_start);
        }
        #[cfg(target_os = "linux")]
        if cap >= HUGE_FROM {
            libc::madvise(aligned as *mut libc::c_void, cap, libc::MADV_HUGEPAGE);
        }
        NonNull::new(aligned as *mut u8)
    }
}

#[cfg(unix)]
fn unmap_pages(p: NonNull<u8>, cap: usize) {
    // SAFETY: mapped by `map_pages` with this size, and no longer used.
    unsafe {
        libc::munmap(p.as_ptr().cast(), cap);
    }
}

#[cfg(not(unix))]
fn map_pages(cap: usize) -> Option<NonNull<u8>> {
    let layout = std::alloc::Layout::from_size_align(cap, ALIGN).ok()?;
    // SAFETY: the size is not zero.
    NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })
}

#[cfg(not(unix))]
fn unmap_pages(p: NonNull<u8>, cap: usize) {
    system_free(p, cap)
}

/// An error where the system says that it has less than this to give. Memory is handed out before it is there: asking
/// for too much ends some process later.
pub(crate) fn check_available(bytes: usize) -> Result<()> {
    if bytes >= CHECK_FROM && available().is_some_and(|free| bytes > free) {
        empty_cache();
        if available().is_some_and(|free| bytes > free) {
            return Err(out_of_memory(bytes));
        }
    }
    Ok(())
}

/// Bytes that the system could still give, where it says so.
fn available() -> Option<usize> {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<usize>().ok();
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = |name: &str| -> Option<usize> {
        let rest = info.lines().find_map(|l| l.strip_prefix(name))?;
        Some(rest.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse::<usize>().ok()? << 10)
    };
    let host = line("MemAvailable")?.saturating_add(line("SwapFree").unwrap_or(0));
    // a container's own limit (cgroup v2, then v1)
    let group = match number("/sys/fs/cgroup/memory.max") {
        Some(max) => Some(max.saturating_sub(number("/sys/fs/cgroup/memory.current").unwrap_or(0))),
        None => number("/sys/fs/cgroup/memory/memory.limit_in_bytes")
            .map(|max| max.saturating_sub(number("/sys/fs/cgroup/memory/memory.usage_in_bytes").unwrap_or(0))),
    };
    Some(host.min(group.unwrap_or(usize::MAX)))
}

// ---- the shared cache

/// A lock that `fork` can hold and release: the child never inherits it taken by a thread that it does not have.
struct Spin {
    taken: AtomicBool,
    inner: UnsafeCell<Shared>,
}

// SAFETY: `inner` is only reached through `lock`.
unsafe impl Sync for Spin {}

struct Guard<'a>(&'a Spin);

impl Spin {
    fn acquire(&self) {
        while self.taken.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            std::thread::yield_now();
        }
    }
    fn lock(&self) -> Guard<'_> {
        static ATFORK: Once = Once::new();
        ATFORK.call_once(register_fork_handlers);
        self.acquire();
        Guard(self)
    }
}

#[cfg(unix)]
fn register_fork_handlers() {
    extern "C" fn before() {
        SHARED.acquire();
    }
    extern "C" fn after() {
        SHARED.taken.store(false, Ordering::Release);
    }
    // SAFETY: the handlers only take and release the spin lock.
    unsafe {
        libc::pthread_atfork(Some(before), Some(after), Some(after));
    }
}

#[cfg(not(unix))]
fn register_fork_handlers() {}

impl std::ops::Deref for Guard<'_> {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        // SAFETY: the lock is held.
        unsafe { &*self.0.inner.get() }
    }
}
impl std::ops::DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut Shared {
        // SAFETY: the lock is held.
        unsafe { &mut *self.0.inner.get() }
    }
}
impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::Release);
    }
}

static SHARED: Spin = Spin {
    taken: AtomicBool::new(false),
    inner: UnsafeCell::new(Shared { small: [const { Vec::new() }; CLASSES], small_bytes: 0, big: Vec::new() }),
};

struct Shared {
    small: [Vec<usize>; CLASSES],
    small_bytes: usize,
    /// Address and size of free big blocks, oldest first.
    big: Vec<(usize, usize)>,
}

impl Shared {
    fn put_small(&mut self, p: usize, class: usize) {
        self.small[class].push(p);
        self.small_bytes += class_bytes(class);
        if self.small_bytes > SHARED_BYTES {
            // the class that just grew is the one in excess
            let keep = self.small[class].len() / 2;
            self.drain_small(class, keep);
        }
    }
    fn drain_small(&mut self, class: usize, keep: usize) {
        while self.small[class].len() > keep {
            let Some(p) = self.small[class].pop() else { return };
            self.small_bytes -= class_bytes(class);
            CACHED.fetch_sub(class_bytes(class), Ordering::Relaxed);
            if let Some(p) = NonNull::new(p as *mut u8) {
                system_free(p, class_bytes(class));
            }
        }
    }
    /// The smallest cached block that fits, the newest of these (its pages are warm). Where that would be much waste,
    /// the rest of it stays.
    fn take_big(&mut self, cap: usize) -> Option<(NonNull<u8>, usize)> {
        let mut best: Option<usize> = None;
        for (i, &(_, have)) in self.big.iter().enumerate() {
            let fits = have >= cap && (PIECES || have / 8 * FIT_EIGHTHS <= cap);
            if fits && best.is_none_or(|b| have <= self.big[b].1) {
                best = Some(i);
            }
        }
        let best = best?;
        let (p, mut have) = self.big[best];
        if have / 8 * FIT_EIGHTHS <= cap {
            self.big.remove(best);
        } else {
            self.big[best] = (p + cap, have - cap);
            have = cap;
        }
        CACHED.fetch_sub(have, Ordering::Relaxed);
        Some((NonNull::new(p as *mut u8)?, have))
    }
    /// A big block becomes a cached one, joined with its neighbours.
    fn put_big(&mut self, mut p: usize, mut have: usize) {
        CACHED.fetch_add(have, Ordering::Relaxed);
        if PIECES {
            if let Some(i) = self.big.iter().position(|&(q, n)| q + n == p) {
                let (q, n) = self.big.remove(i);
                (p, have) = (q, have + n);
            }
            if let Some(i) = self.big.iter().position(|&(q, _)| q == p + have) {
                have += self.big.remove(i).1;
            }
        }
        self.big.push((p, have));
    }
    /// Returns the oldest big blocks, of the last one as much as need be, until at most `keep` bytes are cached.
    fn evict(&mut self, keep: usize) {
        while !self.big.is_empty() {
            let excess = sum(&CACHED, 0).saturating_sub(keep).next_multiple_of(PAGE);
            if excess == 0 {
                return;
            }
            let (mut p, mut have) = self.big[0];
            if PIECES && have > excess {
                self.big[0].1 -= excess;
                (p, have) = (p + have - excess, excess);
            } else {
                self.big.remove(0);
            }
            CACHED.fetch_sub(have, Ordering::Relaxed);
            if let Some(p) = NonNull::new(p as *mut u8) {
                unmap_pages(p, have);
            }
        }
    }
}

// ---- the threads' own lists

struct Local {
    lists: UnsafeCell<[Vec<usize>; CLASSES]>,
    /// Small blocks that this thread took and gave back, as far as `IN_USE` and `CACHED` do not know of them.
    in_use: Cell<isize>,
    cached: Cell<isize>,
}

thread_local! {
    static LOCAL: Local = const {
        Local {
            lists: UnsafeCell::new([const { Vec::new() }; CLASSES]),
            in_use: Cell::new(0),
            cached: Cell::new(0),
        }
    };
}

impl Local {
    /// `used` bytes more are live, `cached` bytes more wait in lists.
    #[inline]
    fn moved(&self, used: isize, cached: isize) {
        let (used, cached) = (self.in_use.get() + used, self.cached.get() + cached);
        self.in_use.set(used);
        self.cached.set(cached);
        if used.abs() >= PUBLISH || cached.abs() >= PUBLISH {
            self.publish();
        }
    }
    #[cold]
    fn publish(&self) {
        CACHED.fetch_add(self.cached.replace(0) as usize, Ordering::Relaxed);
        count(self.in_use.replace(0) as usize);
    }
    #[inline]
    fn take(&self, class: usize) -> Option<usize> {
        // SAFETY: only this thread reaches its lists, and no reference to them outlives a method.
        unsafe { (&mut (*self.lists.get()))[class].pop() }
    }
    #[inline]
    fn put(&self, p: usize, class: usize) {
        // SAFETY: as above.
        let list = unsafe { &mut (&mut (*self.lists.get()))[class] };
        if list.len() < (THREAD_BYTES / class_bytes(class)).max(THREAD_MIN) {
            list.push(p);
        } else {
            // half of them at once, so that the shared lock is rare
            let half = list.len() / 2;
            let mut s = SHARED.lock();
            for q in list.drain(half..) {
                s.put_small(q, class);
            }
            s.put_small(p, class);
        }
    }
    fn flush(&self, keep: usize) {
        for class in 0..CLASSES {
            // SAFETY: as above.
            let list = unsafe { &mut (&mut (*self.lists.get()))[class] };
            if list.len() > keep {
                let mut s = SHARED.lock();
                for q in list.drain(keep..) {
                    s.put_small(q, class);
                }
            }
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.flush(0);
        self.publish();
    }
}

/// A block of at least `bytes` bytes, at most `SMALL_MAX`, and its size.
#[inline]
pub(crate) fn take_small(bytes: usize) -> Result<(NonNull<u8>, usize)> {
    let class = class_of(bytes);
    let cap = class_bytes(class);
    let cached = LOCAL.try_with(|l| {
        let p = l.take(class)?;
        l.moved(cap as isize, -(cap as isize));
        NonNull::new(p as *mut u8)
    });
    if let Ok(Some(p)) = cached {
        return Ok((p, cap));
    }
    let p = small_slow(class).ok_or_else(|| out_of_memory(bytes))?;
    count(cap);
    Ok((p, cap))
}

/// Gives a small block of `cap` bytes back.
#[inline]
pub(crate) fn give_small(p: NonNull<u8>, cap: usize) {
    let (p, class) = (p.as_ptr() as usize, class_of(cap));
    let kept = LOCAL.try_with(|l| {
        l.moved(-(cap as isize), cap as isize);
        l.put(p, class);
    });
    if kept.is_err() {
        // the thread is ending and its lists are gone
        IN_USE.fetch_sub(cap, Ordering::Relaxed);
        CACHED.fetch_add(cap, Ordering::Relaxed);
        SHARED.lock().put_small(p, class);
    }
}

// ---- buffers

/// A piece of memory: own (goes back to the cache when dropped), or of others (kept alive by `owner`).
pub struct Buffer {
    ptr: NonNull<u8>,
    len: usize,
    /// Bytes of the block; 0 for memory of others and for empty buffers.
    cap: usize,
    owner: Option<Box<dyn Any + Send + Sync>>,
}

// SAFETY: a Buffer owns its block (or an owner that is Send and Sync); who may write it when is its holder's affair.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

fn count(cap: usize) {
    let now = IN_USE.fetch_add(cap, Ordering::Relaxed).wrapping_add(cap);
    if now > isize::MAX as usize {
        return; // negative (see `sum`)
    }
    if now > PEAK.load(Ordering::Relaxed) {
        PEAK.fetch_max(now, Ordering::Relaxed);
        HIGH.fetch_max(now, Ordering::Relaxed);
    }
}

fn out_of_memory(bytes: usize) -> Error {
    Error::memory(format!(
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate {bytes} bytes. Error code 12 (Cannot \
         allocate memory)"
    ))
}

impl Buffer {
    /// Memory with arbitrary contents.
    #[inline]
    pub fn uninit(bytes: usize) -> Result<Buffer> {
        if bytes == 0 {
            return Ok(Buffer::empty());
        }
        if guard::on() {
            return guarded(bytes);
        }
        if bytes > SMALL_MAX {
            return Ok(big(bytes)?.0);
        }
        let (ptr, cap) = take_small(bytes)?;
        Ok(Buffer { ptr, len: bytes, cap, owner: None })
    }

    /// No memory at all.
    pub fn empty() -> Buffer {
        Buffer { ptr: NonNull::<Aligned>::dangling().cast(), len: 0, cap: 0, owner: None }
    }

    /// Memory of zeros.
    pub fn zeroed(bytes: usize) -> Result<Buffer> {
        if bytes > 0 && guard::on() {
            return guarded(bytes);
        }
        let (b, clean) = if bytes > SMALL_MAX { big(bytes)? } else { (Buffer::uninit(bytes)?, false) };
        if !clean {
            // SAFETY: the block holds at least `bytes` bytes.
            unsafe { b.ptr.as_ptr().write_bytes(0, bytes) };
        }
        Ok(b)
    }

    /// Memory of others: `owner` keeps it alive and is dropped with the buffer.
    ///
    /// # Safety
    /// `ptr` is valid for `len` bytes as long as `owner` lives.
    pub unsafe fn from_raw(ptr: *mut u8, len: usize, owner: Box<dyn Any + Send + Sync>) -> Buffer {
        let ptr = NonNull::new(ptr).unwrap_or(NonNull::<Aligned>::dangling().cast());
        Buffer { ptr, len, cap: 0, owner: Some(owner) }
    }

    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Who keeps memory of others alive.
    pub fn owner(&self) -> Option<&(dyn Any + Send + Sync)> {
        self.owner.as_deref()
    }
    /// Is it memory of others (NumPy, a mapped file, shared memory)?
    pub fn is_foreign(&self) -> bool {
        self.owner.is_some()
    }
}

#[repr(align(64))]
struct Aligned;

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({:p}, {} bytes)", self.ptr, self.len)
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        if self.cap == 0 {
            return;
        }
        if guard::on() {
            IN_USE.fetch_sub(self.cap, Ordering::Relaxed);
            return guard::free(self.ptr, self.len, self.cap);
        }
        if self.cap <= SMALL_MAX {
            return give_small(self.ptr, self.cap);
        }
        IN_USE.fetch_sub(self.cap, Ordering::Relaxed);
        let mut s = SHARED.lock();
        s.put_big(self.ptr.as_ptr() as usize, self.cap);
        let room = with_slack(HIGH.load(Ordering::Relaxed)).saturating_sub(bytes_in_use());
        s.evict(room);
    }
}

#[cold]
fn small_slow(class: usize) -> Option<NonNull<u8>> {
    let cap = class_bytes(class);
    let shared = SHARED.lock().small[class].pop();
    if let Some(p) = shared.and_then(|p| NonNull::new(p as *mut u8)) {
        SHARED.lock().small_bytes -= cap;
        CACHED.fetch_sub(cap, Ordering::Relaxed);
        return Some(p);
    }
    system_alloc(cap).or_else(|| {
        empty_cache();
        system_alloc(cap)
    })
}

/// A buffer under `RTORCH_GUARD=1`.
#[cold]
fn guarded(bytes: usize) -> Result<Buffer> {
    if bytes > isize::MAX as usize - HUGE_PAGE - PAGE {
        return Err(out_of_memory(bytes));
    }
    check_available(bytes).map_err(|_| out_of_memory(bytes))?;
    let (ptr, cap) = guard::alloc(bytes).ok_or_else(|| out_of_memory(bytes))?;
    count(cap);
    Ok(Buffer { ptr, len: bytes, cap, owner: None })
}

/// A big block, and whether it is known to be zeros.
fn big(bytes: usize) -> Result<(Buffer, bool)> {
    if bytes > isize::MAX as usize - HUGE_PAGE - PAGE {
        return Err(out_of_memory(bytes));
    }
    let cap = bytes.next_multiple_of(PAGE);
    let made = |ptr, cap| Buffer { ptr, len: bytes, cap, owner: None };
    let found = SHARED.lock().take_big(cap);
    if let Some((p, have)) = found {
        count(have);
        return Ok((made(p, have), false));
    }
    // nothing fits: cached blocks make room, as far as the footprint would exceed the highest use so far
    let wanted = bytes_in_use() + cap;
    let ceiling = with_slack(HIGH.load(Ordering::Relaxed).max(wanted));
    SHARED.lock().evict(ceiling - wanted);
    check_available(cap).map_err(|_| out_of_memory(bytes))?;
    let p = map_pages(cap).or_else(|| {
        empty_cache();
        map_pages(cap)
    });
    let p = p.ok_or_else(|| out_of_memory(bytes))?;
    count(cap);
    Ok((made(p, cap), true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_monotone_and_tight() {
        let mut last = 0;
        for bytes in 1..=SMALL_MAX {
            let c = class_of(bytes);
            let have = class_bytes(c);
            assert!(c < CLASSES && have >= bytes && have.is_multiple_of(ALIGN), "{bytes}");
            assert!(have <= bytes + ALIGN + bytes / STEPS, "{bytes} {have}");
            assert_eq!(class_of(have), c);
            assert!(c >= last);
            last = c;
        }
    }

    #[test]
    fn blocks_come_back_and_huge_requests_fail_at_once() {
        let a = Buffer::uninit(100).unwrap();
        let p = a.as_ptr();
        assert_eq!(p as usize % ALIGN, 0);
        drop(a);
        assert_eq!(Buffer::uninit(97).unwrap().as_ptr(), p);
        let b = Buffer::zeroed(5 << 20).unwrap();
        // SAFETY: the block is that long.
        unsafe {
            assert_eq!(*b.as_ptr().add((5 << 20) - 1), 0);
            b.as_ptr().write_bytes(7, 5 << 20);
        }
        drop(b);
        let b = Buffer::zeroed(5 << 20).unwrap();
        // SAFETY: as above.
        unsafe { assert_eq!(*b.as_ptr().add(4 << 20), 0) };
        let e = Buffer::uninit(1 << 40).unwrap_err();
        assert!(e.message.contains("you tried to allocate 1099511627776 bytes"));
        assert!(Buffer::uninit(usize::MAX).is_err());
        assert!(Buffer::uninit(0).unwrap().is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn big_blocks_are_cut_joined_and_returned_in_pieces() {
        const MB: usize = 1 << 20;
        let start = map_pages(8 * MB).unwrap().as_ptr() as usize;
        let mut s = Shared { small: [const { Vec::new() }; CLASSES], small_bytes: 0, big: Vec::new() };
        s.put_big(start, 2 * MB);
        s.put_big(start + 6 * MB, 2 * MB);
        assert!(s.take_big(3 * MB).is_none());
        s.put_big(start + 2 * MB, 4 * MB);
        assert_eq!(s.big, [(start, 8 * MB)]);
        // much of it would be wasted: it is cut; a little is not worth a piece
        let (a, n) = s.take_big(3 * MB).unwrap();
        assert_eq!((a.as_ptr() as usize, n, s.big.as_slice()), (start, 3 * MB, &[(start + 3 * MB, 5 * MB)][..]));
        let (b, n) = s.take_big(5 * MB - PAGE).unwrap();
        assert_eq!((b.as_ptr() as usize, n, s.big.len()), (start + 3 * MB, 5 * MB, 0));
        // SAFETY: pages of the mapping, in use.
        unsafe {
            a.as_ptr().write_bytes(1, 3 * MB);
            b.as_ptr().write_bytes(2, 5 * MB);
        }
        s.put_big(start, 3 * MB);
        s.put_big(start + 3 * MB, 5 * MB);
        s.evict(0);
        assert!(s.big.is_empty());
    }

    #[test]
    fn buffers_cross_threads() {
        let v: Vec<Buffer> = (0..1000).map(|i| Buffer::uninit(i + 1).unwrap()).collect();
        std::thread::spawn(move || drop(v)).join().unwrap();
        let owner: Box<Vec<u8>> = Box::new(vec![1, 2, 3]);
        let p = owner.as_ptr().cast_mut();
        // SAFETY: the vector is the owner.
        let b = unsafe { Buffer::from_raw(p, 3, owner) };
        assert!(b.is_foreign() && b.len() == 3);
    }
}
