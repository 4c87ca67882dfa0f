//! What must not be half-done while the process forks: work inside the core, pending work that runs, and draws of the
//! default generator. The child has none of the other threads; a lock that one of them held (a storage's, a node's)
//! would never be free there.
//! Who forks holds the GIL, so that only threads that gave it up can be inside the core: they are counted (`Inside`).
//! The thread pool and the allocator look after themselves (`rtorch-cpu`), the GPU refuses to work in a child.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::defer;
use crate::host;
use crate::ops::random::generator;

/// How long a fork waits between two looks at busy threads, and they between two looks at a fork.
const PAUSE: Duration = Duration::from_micros(50);
/// A fork that takes longer waits itself, in somebody's fork hook, for what the thread at the gate holds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Threads inside the core without the GIL.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// Forks that wait for them: nobody new enters.
static WAITING: AtomicUsize = AtomicUsize::new(0);
/// A fork is under way.
static FORKING: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Is this thread among those inside?
    static HERE: Cell<bool> = const { Cell::new(false) };
}

/// This thread may hold locks of the core while the guard lives.
pub struct Inside {
    /// It was inside before: the outer guard counts.
    nested: bool,
}

/// Enters the core without the GIL, after a fork that waits. A thread that holds locks of the core already (it waits
/// for a further one) is `urgent`: a fork that only waits is not waited for, it may wait for this very thread.
pub fn enter(urgent: bool) -> Inside {
    if HERE.get() {
        return Inside { nested: true };
    }
    let mut since = None;
    loop {
        INSIDE.fetch_add(1, SeqCst);
        let stopped = FORKING.load(SeqCst) || (!urgent && WAITING.load(SeqCst) > 0);
        if !stopped || since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            HERE.set(true);
            return Inside { nested: false };
        }
        INSIDE.fetch_sub(1, SeqCst);
        std::thread::sleep(PAUSE);
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if !self.nested {
            HERE.set(false);
            INSIDE.fetch_sub(1, SeqCst);
        }
    }
}

/// Does this thread work inside the core without the GIL?
pub fn is_inside() -> bool {
    HERE.get()
}

/// Runs what leaves the core for a while (a hook in Python, which may fork, or wait for somebody who does).
pub fn outside<R>(f: impl FnOnce() -> R) -> R {
    if !HERE.get() {
        return f();
    }
    struct Back;
    impl Drop for Back {
        fn drop(&mut self) {
            std::mem::forget(enter(true));
        }
    }
    drop(Inside { nested: false });
    let _back = Back;
    f()
}

/// Waits until no other thread is inside the core, runs pending work or draws, and keeps it so until `parent` or
/// `child`. `pause` waits in a way that lets other threads go on (the binding gives up the GIL there).
pub fn before(pause: impl Fn(Duration)) {
    WAITING.fetch_add(1, SeqCst);
    loop {
        FORKING.store(true, SeqCst);
        if INSIDE.load(SeqCst) == 0
            && let Some(guard) = defer::try_lock()
        {
            if generator::try_hold() {
                std::mem::forget(guard);
                return;
            }
            drop(guard);
        }
        FORKING.store(false, SeqCst);
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
    FORKING.store(false, SeqCst);
    WAITING.fetch_sub(1, SeqCst);
}

/// After the fork, in the child.
///
/// # Safety
/// After `before`, which ran on the thread that forked.
pub unsafe fn child() {
    // SAFETY: the caller's promise.
    unsafe { generator::release() };
    defer::replace_lock();
    host::forked();
    INSIDE.store(0, SeqCst);
    WAITING.store(0, SeqCst);
    FORKING.store(false, SeqCst);
}
