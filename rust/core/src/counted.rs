//! `Counted`: a shared handle like `std::sync::Arc`, for what small operators make and drop by the million. Its sole
//! owner drops it without a locked instruction (`Arc` needs two, a fifteenth of a small addition each), a thread that
//! is alone in the core needs none at all, and a weak handle costs only those who ask for one.

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::host;

struct Block<T> {
    count: AtomicUsize,
    /// Where weak handles look, once there is one.
    watch: OnceLock<Arc<Watch<T>>>,
    value: T,
}

/// The block while it lives.
struct Watch<T>(Mutex<Option<NonNull<Block<T>>>>);

// SAFETY: the pointer is read and cleared under the lock; what it leads to is shared as `Counted` shares it.
unsafe impl<T: Send + Sync> Send for Watch<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Watch<T> {}

/// One of the owners of a value.
pub struct Counted<T>(NonNull<Block<T>>);

// SAFETY: as for `Arc`: the value is reached by shared references from any thread, and dropped by the last owner.
unsafe impl<T: Send + Sync> Send for Counted<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Counted<T> {}

impl<T> Counted<T> {
    #[inline]
    pub fn new(value: T) -> Counted<T> {
        let block = Box::new(Block { count: AtomicUsize::new(1), watch: OnceLock::new(), value });
        Counted(NonNull::from(Box::leak(block)))
    }
    #[inline]
    fn block(&self) -> &Block<T> {
        // SAFETY: alive while an owner is.
        unsafe { self.0.as_ref() }
    }
    /// Do two handles own the same value?
    #[inline]
    pub fn same(&self, other: &Counted<T>) -> bool {
        self.0 == other.0
    }
    /// How many owners there are.
    #[inline]
    pub fn owners(&self) -> usize {
        self.block().count.load(Ordering::Acquire)
    }
    /// An address that names the value while it lives.
    #[inline]
    pub fn address(&self) -> usize {
        self.0.as_ptr() as usize
    }
    /// A handle that does not keep the value alive.
    pub fn downgrade(&self) -> Weak<T> {
        Weak(self.block().watch.get_or_init(|| Arc::new(Watch(Mutex::new(Some(self.0))))).clone())
    }
    /// The last owner is gone.
    ///
    /// # Safety
    /// Nobody else has the block, or may get it from a watch.
    #[inline]
    unsafe fn free(&mut self) {
        // SAFETY: the block is a box, and ours.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
    /// Gives up one of several handles, or one of a value that weak handles may still reach.
    #[inline(never)]
    fn release(&mut self) {
        let count = &self.block().count;
        let before = if host::is_alone() {
            let n = count.load(Ordering::Acquire);
            count.store(n - 1, Ordering::Relaxed);
            n
        } else {
            count.fetch_sub(1, Ordering::Release)
        };
        if before != 1 {
            return;
        }
        fence(Ordering::Acquire);
        if let Some(watch) = self.block().watch.get() {
            // with a count of 0 nobody gets another owner from it; whoever is looking at the count is waited for
            watch.0.lock().take();
        }
        // SAFETY: the count is 0 and the watch is cleared.
        unsafe { self.free() };
    }
}

impl<T> Deref for Counted<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.block().value
    }
}

impl<T> Clone for Counted<T> {
    #[inline]
    fn clone(&self) -> Counted<T> {
        let count = &self.block().count;
        if host::is_alone() {
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        } else {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Counted(self.0)
    }
}

impl<T> Drop for Counted<T> {
    #[inline]
    fn drop(&mut self) {
        // the sole owner, whom no weak handle watches: nobody can make another
        if self.owners() == 1 && self.block().watch.get().is_none() {
            // SAFETY: just that.
            unsafe { self.free() };
        } else {
            self.release();
        }
    }
}

/// A handle on a value that its owners may drop.
pub struct Weak<T>(Arc<Watch<T>>);

impl<T> Weak<T> {
    /// An owner, if there still is one.
    pub fn upgrade(&self) -> Option<Counted<T>> {
        let place = self.0.0.lock();
        let block = (*place)?;
        // SAFETY: whoever frees the block clears the place first, under the lock.
        let count = unsafe { &block.as_ref().count };
        let more = |n: usize| if n == 0 { None } else { Some(n + 1) };
        count.fetch_update(Ordering::Acquire, Ordering::Relaxed, more).ok()?;
        Some(Counted(block))
    }
}

impl<T> Clone for Weak<T> {
    fn clone(&self) -> Weak<T> {
        Weak(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    struct Drops(Arc<AtomicUsize>);
    impl Drop for Drops {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn the_last_owner_drops_the_value_once() {
        let n = Arc::new(AtomicUsize::new(0));
        let a = Counted::new(Drops(n.clone()));
        let b = a.clone();
        assert!(a.same(&b) && a.owners() == 2 && a.address() == b.address());
        drop(a);
        assert_eq!((b.owners(), n.load(Ordering::SeqCst)), (1, 0));
        drop(b);
        assert_eq!(n.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_weak_handle_reaches_the_value_while_it_lives() {
        let n = Arc::new(AtomicUsize::new(0));
        let a = Counted::new(Drops(n.clone()));
        let w = a.downgrade();
        let again = w.upgrade().unwrap();
        assert!(again.same(&a));
        drop(a);
        assert!(w.clone().upgrade().is_some());
        drop(again);
        assert!(w.upgrade().is_none());
        assert_eq!(n.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn threads_may_race_for_the_last_handle() {
        let n = Arc::new(AtomicUsize::new(0));
        const ROUNDS: usize = 2000;
        for _ in 0..ROUNDS {
            let a = Counted::new(Drops(n.clone()));
            let (b, w) = (a.clone(), a.downgrade());
            std::thread::scope(|s| {
                s.spawn(move || drop(a));
                s.spawn(move || drop(b));
                s.spawn(move || drop(w.upgrade()));
            });
        }
        assert_eq!(n.load(Ordering::SeqCst), ROUNDS);
    }
}
