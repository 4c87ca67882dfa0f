//! The lock of the language that rtorch is bound to (Python's GIL), where there is one. What changes only under that
//! lock is read under it without a lock of its own.

use std::sync::OnceLock;

use crate::fork;

/// Runs something with the language's lock.
pub type With = fn(&mut dyn FnMut());

static WITH: OnceLock<With> = OnceLock::new();

/// Says how a thread that works inside the core gets the language's lock for a moment.
///
/// # Safety
/// From now on every thread that calls the core holds that lock, or is counted as `fork::Inside`.
pub unsafe fn bind(with: With) {
    let _ = WITH.set(with);
}

/// Does this thread hold the language's lock? Not where there is no such language.
#[inline]
pub fn is_held() -> bool {
    WITH.get().is_some() && !fork::is_inside()
}

/// Runs `f` while no thread of which `is_held` is true does anything else.
pub fn exclusively(mut f: impl FnMut()) {
    match WITH.get() {
        Some(with) if fork::is_inside() => with(&mut f),
        _ => f(),
    }
}
