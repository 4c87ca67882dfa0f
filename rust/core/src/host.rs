//! The lock of the language that rtorch is bound to (Python's GIL), where there is one. What changes only under that
//! lock is read under it without a lock of its own.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::fork;

/// Runs something with the language's lock.
pub type With = fn(&mut dyn FnMut());

static WITH: OnceLock<With> = OnceLock::new();
/// Threads that gave the lock up to work in the core; changed with the lock held only. One too many without a language.
static AWAY: AtomicUsize = AtomicUsize::new(1);

thread_local! {
    /// How many of those are this thread, which may be so again from a hook.
    static SELF: Cell<usize> = const { Cell::new(0) };
}

/// Says how a thread that works inside the core gets the language's lock for a moment.
///
/// # Safety
/// From now on every thread that calls the core holds that lock, or is counted as `fork::Inside` and stands between the
/// making and the dropping of an `Away`.
pub unsafe fn bind(with: With) {
    if WITH.set(with).is_ok() {
        AWAY.fetch_sub(1, Ordering::SeqCst);
    }
}

/// This thread gives up the language's lock, from before it does so until it has it again.
pub struct Away(());

impl Away {
    #[expect(clippy::new_without_default, reason = "a guard")]
    pub fn new() -> Away {
        AWAY.fetch_add(1, Ordering::SeqCst);
        SELF.set(SELF.get() + 1);
        Away(())
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        AWAY.fetch_sub(1, Ordering::SeqCst);
        SELF.set(SELF.get() - 1);
    }
}

/// In the child of a fork: the other threads are gone.
pub(crate) fn forked() {
    if WITH.get().is_some() {
        AWAY.store(SELF.get(), Ordering::SeqCst);
    }
}

/// Is this the only thread that runs in the core, and will be while it keeps the language's lock?
#[inline]
pub fn is_alone() -> bool {
    AWAY.load(Ordering::Relaxed) == 0
}

/// Does this thread hold the language's lock? Not where there is no such language.
#[inline]
pub fn is_held() -> bool {
    is_alone() || WITH.get().is_some() && !fork::is_inside()
}

/// Runs `f` while no thread of which `is_held` is true does anything else.
pub fn exclusively(mut f: impl FnMut()) {
    match WITH.get() {
        Some(with) if fork::is_inside() => with(&mut f),
        _ => f(),
    }
}
