//! Which vmaps are running on this thread, and what random operators do inside.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What random operators do inside a vmap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Randomness {
    Error,
    /// One draw for all samples.
    Same,
    /// Each sample its own.
    Different,
}

#[derive(Clone, Copy)]
struct Level {
    id: u64,
    size: usize,
    randomness: Randomness,
}

thread_local! {
    static LEVELS: RefCell<Vec<Level>> = const { RefCell::new(Vec::new()) };
}

/// Has this process ever run a vmap? Until then no tensor is asked.
static USED: AtomicBool = AtomicBool::new(false);
static NEXT: AtomicU64 = AtomicU64::new(1);

#[inline]
pub fn used() -> bool {
    USED.load(Ordering::Relaxed)
}

/// Starts a vmap over `size` samples; answers its number.
pub fn enter(size: usize, randomness: Randomness) -> u64 {
    USED.store(true, Ordering::Relaxed);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    LEVELS.with_borrow_mut(|l| l.push(Level { id, size, randomness }));
    id
}
pub fn exit(id: u64) {
    LEVELS.with_borrow_mut(|l| l.retain(|x| x.id < id));
}
/// Number and size of every vmap that is running, outer first.
pub fn active() -> Vec<(u64, usize)> {
    if !used() {
        return Vec::new();
    }
    LEVELS.with_borrow(|l| l.iter().map(|x| (x.id, x.size)).collect())
}
/// Of the innermost vmap; None outside.
pub fn randomness() -> Option<Randomness> {
    if !used() {
        return None;
    }
    LEVELS.with_borrow(|l| l.last().map(|x| x.randomness))
}
