//! Tasks claimed one by one by the threads of the pool, so that a slow thread holds nobody up, and stopped by Ctrl-C.
//! `threads::parallel_for` splits evenly instead; which one pays depends on how much a task costs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rtorch_ir::{Error, Result};

use crate::threads;

/// Says to running tasks that nobody wants their result any more.
pub struct Stop(Option<AtomicBool>);

impl Stop {
    pub fn never() -> Stop {
        Stop(None)
    }
    pub fn on_interrupt() -> Stop {
        Stop(Some(AtomicBool::new(false)))
    }
    /// The error of work that was stopped.
    pub fn result(&self) -> Result<()> {
        if self.raised() { Err(Error::interrupted()) } else { Ok(()) }
    }
    /// Asks for an interrupt too; cheap enough for every block.
    pub fn now(&self) -> bool {
        if self.0.is_some() && threads::check_interrupt().is_err() {
            self.raise();
        }
        self.raised()
    }
    pub fn raise(&self) {
        if let Some(flag) = &self.0 {
            flag.store(true, Ordering::Relaxed);
        }
    }
    fn raised(&self) -> bool {
        self.0.as_ref().is_some_and(|f| f.load(Ordering::Relaxed))
    }
}

/// Runs `f(task, stop)` for every task of `0..n`, in no order, on all threads; the first error ends the rest.
pub fn for_each(n: usize, f: &(dyn Fn(usize, &Stop) -> Result<()> + Sync)) -> Result<()> {
    let stop = Stop::on_interrupt();
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let threads = threads::num_threads().min(n);
    threads::parallel_for(threads, 1, &|_| {
        while !stop.now() {
            let t = next.fetch_add(1, Ordering::Relaxed);
            if t >= n {
                break;
            }
            if let Err(e) = f(t, &stop) {
                stop.raise();
                failed.lock().get_or_insert(e);
            }
        }
    });
    match failed.into_inner() {
        Some(e) => Err(e),
        None => stop.result(),
    }
}
