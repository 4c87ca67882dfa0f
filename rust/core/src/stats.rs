//! Counters behind `runtime_stats()`, and the switches that the environment sets once per process.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// One counter each; `reset` zeroes those that count events.
#[derive(Default)]
pub struct Counters {
    pub kernels: AtomicU64,
    pub bytes_read: AtomicU64,
    pub bytes_written: AtomicU64,
    pub cow_copies: AtomicU64,
    pub host_fallbacks: AtomicU64,
    /// Programs run that did the work of more than one recorded op.
    pub fused: AtomicU64,
    /// Pending nodes alive now (not an event).
    pub pending: AtomicUsize,
    /// Bytes that pending nodes will write (not an event).
    pub pending_bytes: AtomicUsize,
}

pub static COUNTERS: Counters = Counters {
    kernels: AtomicU64::new(0),
    bytes_read: AtomicU64::new(0),
    bytes_written: AtomicU64::new(0),
    cow_copies: AtomicU64::new(0),
    host_fallbacks: AtomicU64::new(0),
    fused: AtomicU64::new(0),
    pending: AtomicUsize::new(0),
    pending_bytes: AtomicUsize::new(0),
};

pub fn count(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

pub fn reset() {
    let c = &COUNTERS;
    for x in [&c.kernels, &c.bytes_read, &c.bytes_written, &c.cow_copies, &c.host_fallbacks, &c.fused] {
        x.store(0, Ordering::Relaxed);
    }
}

/// When pointwise work is deferred.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Mode {
    /// From a size on where memory traffic dominates (always on a GPU).
    Default = 0,
    /// Never: `RTORCH_EAGER=1`.
    Eager = 1,
    /// At every size: `RTORCH_DEFER=always`.
    Always = 2,
}

static MODE: AtomicU8 = AtomicU8::new(u8::MAX);

pub fn mode() -> Mode {
    match MODE.load(Ordering::Relaxed) {
        0 => Mode::Default,
        1 => Mode::Eager,
        2 => Mode::Always,
        _ => {
            let on = |name: &str| std::env::var(name).is_ok_and(|v| !v.is_empty() && v != "0");
            let m = if on("RTORCH_EAGER") {
                Mode::Eager
            } else if std::env::var("RTORCH_DEFER").is_ok_and(|v| v == "always") {
                Mode::Always
            } else {
                Mode::Default
            };
            set_mode(m);
            m
        }
    }
}

/// Overrides the environment, for the fuzzer that compares the modes in one process.
pub fn set_mode(m: Mode) {
    MODE.store(m as u8, Ordering::Relaxed);
}

/// `RTORCH_FALLBACK=error`: a primitive without a GPU kernel raises instead of running on the host.
pub fn fallback_is_error() -> bool {
    static ON: OnceLock<bool> = OnceLock::new();
    *ON.get_or_init(|| std::env::var("RTORCH_FALLBACK").is_ok_and(|v| v == "error"))
}
