//! `RTORCH_GUARD=1`: every block ends where a page begins that nobody may touch, and goes back to the system when it is
//! freed, so that a kernel that reads or writes one element past the end ends the process there. For tests: an
//! allocation costs a few system calls and whole pages. Blocks are then aligned to their elements alone.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

const UNKNOWN: u8 = 0;
const OFF: u8 = 1;
const ON: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);

/// Is it switched on? The same answer for the whole life of the process.
#[inline]
pub fn on() -> bool {
    match STATE.load(Ordering::Relaxed) {
        UNKNOWN => read(),
        state => state == ON,
    }
}

#[cold]
fn read() -> bool {
    let on = std::env::var_os("RTORCH_GUARD").is_some_and(|v| v == "1");
    STATE.store(if on { ON } else { OFF }, Ordering::Relaxed);
    on
}

/// A block of exactly `bytes` zeros, and the size of its mapping; None when the system has none.
#[cfg(unix)]
pub fn alloc(bytes: usize) -> Option<(NonNull<u8>, usize)> {
    let page = page();
    let total = bytes.checked_next_multiple_of(page)?.checked_add(page)?;
    // SAFETY: an anonymous mapping at an address of the system's choice, whose last page is closed.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_NORESERVE;
        let p = libc::mmap(std::ptr::null_mut(), total, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        if p == libc::MAP_FAILED {
            return None;
        }
        let end = p.cast::<u8>().add(total - page);
        if libc::mprotect(end.cast(), page, libc::PROT_NONE) != 0 {
            libc::munmap(p, total);
            return None;
        }
        NonNull::new(end.sub(bytes)).map(|p| (p, total))
    }
}

/// Gives back a block of `bytes` bytes whose mapping has `total`.
#[cfg(unix)]
pub fn free(p: NonNull<u8>, bytes: usize, total: usize) {
    // SAFETY: what `alloc` mapped, and nobody uses any more.
    unsafe {
        libc::munmap(p.as_ptr().add(bytes + page()).sub(total).cast(), total);
    }
}

#[cfg(unix)]
fn page() -> usize {
    // SAFETY: a question to the system.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.try_into().unwrap_or(4096)
}

/// No pages can be closed here: every allocation fails, rather than run without the guard that was asked for.
#[cfg(not(unix))]
pub fn alloc(_: usize) -> Option<(NonNull<u8>, usize)> {
    None
}

#[cfg(not(unix))]
pub fn free(_: NonNull<u8>, _: usize, _: usize) {}
