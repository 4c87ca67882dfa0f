//! What must not be half-done while the process forks: pending work that runs, and draws of the default generator. The
//! child has none of the other threads; a lock that one of them held would never be free there.
//! The thread pool and the allocator look after themselves (`rtorch-cpu`), the GPU refuses to work in a child.

use std::time::Duration;

use crate::defer;
use crate::ops::random::generator;

/// How long a fork waits between two looks at a busy generator.
const PAUSE: Duration = Duration::from_micros(50);

/// Waits until no other thread runs pending work or draws, and keeps it so until `parent` or `child`. `pause` waits in
/// a way that lets other threads go on (the binding gives up the GIL there).
pub fn before(pause: impl Fn(Duration)) {
    loop {
        let guard = defer::lock();
        if generator::try_hold() {
            std::mem::forget(guard);
            return;
        }
        drop(guard);
        pause(PAUSE);
    }
}

/// After the fork, in the parent.
///
/// # Safety
/// After `before`, on the same thread.
pub unsafe fn parent() {
    // SAFETY: the caller's promise.
    unsafe {
        generator::release();
        defer::unlock();
    }
}

/// After the fork, in the child.
///
/// # Safety
/// After `before`, which ran on the thread that forked.
pub unsafe fn child() {
    // SAFETY: the caller's promise.
    unsafe { generator::release() };
    defer::replace_lock();
}
