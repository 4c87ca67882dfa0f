//! `Lock`: a mutex held for a few instructions at a time, or a small kernel. Its end is a plain store, and so is its
//! beginning where this thread is the only one in the core: small operators are mostly made of locked instructions.

use std::sync::atomic::{AtomicBool, Ordering};

use lock_api::{GuardNoSend, RawMutex};

use crate::host;

pub struct Raw(AtomicBool);

// SAFETY: `try_lock` answers true to one caller until `unlock`. Where it does not exchange atomically, no other thread
// runs in the core (`host::is_alone`), and the language's lock orders what others did before.
unsafe impl RawMutex for Raw {
    const INIT: Raw = Raw(AtomicBool::new(false));
    type GuardMarker = GuardNoSend;

    #[inline]
    fn lock(&self) {
        while !self.try_lock() {
            std::thread::yield_now();
        }
    }
    #[inline]
    fn try_lock(&self) -> bool {
        if host::is_alone() {
            return !self.0.load(Ordering::Acquire) && {
                self.0.store(true, Ordering::Relaxed);
                true
            };
        }
        self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }
    #[inline]
    unsafe fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }
}

pub type Lock<T> = lock_api::Mutex<Raw, T>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_at_a_time() {
        let sum = Lock::new(0u64);
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for _ in 0..10_000 {
                        *sum.lock() += 1;
                    }
                });
            }
        });
        assert_eq!(*sum.lock(), 40_000);
        let held = sum.lock();
        assert!(sum.try_lock().is_none());
        drop(held);
        assert!(sum.try_lock().is_some());
    }
}
