//! Grad mode, inference mode and anomaly mode of the calling thread.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    static GRAD: Cell<bool> = const { Cell::new(true) };
    static INFERENCE: Cell<bool> = const { Cell::new(false) };
    static ENGINE: Cell<bool> = const { Cell::new(false) };
    static GRAD_LAYOUT: Cell<bool> = const { Cell::new(true) };
    static ANOMALY: Cell<(bool, bool)> = const { Cell::new((false, true)) };
}

/// Was any thread ever in inference mode? A thread's own variables are dearer to read, and every result asks.
static INFERS: AtomicBool = AtomicBool::new(false);

pub fn is_enabled() -> bool {
    GRAD.get()
}
/// Answers the mode before.
pub fn set_enabled(on: bool) -> bool {
    GRAD.replace(on)
}
#[inline]
pub fn is_inference() -> bool {
    INFERS.load(Ordering::Relaxed) && INFERENCE.get()
}
pub fn set_inference(on: bool) -> bool {
    INFERS.fetch_or(on, Ordering::Relaxed);
    INFERENCE.replace(on)
}
/// Do gradients of leaves lie in memory as the leaves do?
pub fn keeps_grad_layout() -> bool {
    GRAD_LAYOUT.get()
}
/// Answers the setting before.
pub fn set_keeps_grad_layout(on: bool) -> bool {
    GRAD_LAYOUT.replace(on)
}
/// (on, check for NaN)
pub fn anomaly() -> (bool, bool) {
    ANOMALY.get()
}
pub fn set_anomaly(on: bool, check_nan: bool) {
    ANOMALY.set((on, check_nan));
}

/// Do rules of the backward pass run now, unrecorded? Their views need not know where they come from.
pub fn is_engine() -> bool {
    ENGINE.get() && !GRAD.get()
}

/// Says until dropped whether rules of the backward pass run, or what users hung into it.
pub struct Engine(bool);

impl Engine {
    pub fn new(on: bool) -> Engine {
        Engine(ENGINE.replace(on))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        ENGINE.set(self.0);
    }
}

/// Sets grad mode until dropped.
pub struct Guard(bool);

impl Guard {
    pub fn new(on: bool) -> Guard {
        Guard(set_enabled(on))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        set_enabled(self.0);
    }
}
