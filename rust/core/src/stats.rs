//! Counters behind `runtime_stats()`, and the switches that the environment sets once per process.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// What is counted since the start or the last `reset`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    Kernels,
    BytesRead,
    BytesWritten,
    CowCopies,
    HostFallbacks,
    /// Programs run that did the work of more than one recorded op.
    Fused,
}

impl Event {
    pub const ALL: [Event; 6] =
        [Event::Kernels, Event::BytesRead, Event::BytesWritten, Event::CowCopies, Event::HostFallbacks, Event::Fused];
    /// As `runtime_stats()` names it.
    pub fn name(self) -> &'static str {
        match self {
            Event::Kernels => "kernels",
            Event::BytesRead => "bytes_read",
            Event::BytesWritten => "bytes_written",
            Event::CowCopies => "cow_copies",
            Event::HostFallbacks => "host_fallbacks",
            Event::Fused => "fused",
        }
    }
}

const EVENTS: usize = Event::ALL.len();
/// One thread's counts. The thread alone writes them, so that counting needs no locked instruction: three of these cost
/// a tenth of a small addition (Zen 5). Never freed: a thread that ends leaves its counts to the next one.
struct Counts([AtomicU64; EVENTS]);

impl Counts {
    const fn new() -> Counts {
        Counts([const { AtomicU64::new(0) }; EVENTS])
    }
}

#[derive(Default)]
struct Threads {
    all: Vec<&'static Counts>,
    free: Vec<&'static Counts>,
    /// Sums at the last `reset`.
    before: [u64; EVENTS],
}

static THREADS: Mutex<Threads> = Mutex::new(Threads { all: Vec::new(), free: Vec::new(), before: [0; EVENTS] });
/// Where threads count that are ending.
static LATE: Counts = Counts::new();

/// Gives the counts back when the thread ends.
struct Claim(Cell<Option<&'static Counts>>);

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(c) = self.0.take() {
            THREADS.lock().free.push(c);
        }
    }
}

thread_local! {
    static MINE: Claim = const { Claim(Cell::new(None)) };
}

#[cold]
fn claim(mine: &Claim) -> &'static Counts {
    let mut t = THREADS.lock();
    let c = t.free.pop().unwrap_or_else(|| {
        let c: &'static Counts = Box::leak(Box::new(Counts::new()));
        t.all.push(c);
        c
    });
    mine.0.set(Some(c));
    c
}

#[inline]
fn with(f: impl Fn(&Counts)) {
    if MINE.try_with(|m| f(m.0.get().unwrap_or_else(|| claim(m)))).is_err() {
        f(&LATE);
    }
}

impl Counts {
    #[inline]
    fn add(&self, e: Event, n: u64) {
        let c = &self.0[e as usize];
        c.store(c.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }
}

#[inline]
pub fn count(e: Event, n: u64) {
    with(|c| c.add(e, n));
}

/// One kernel that reads and writes so many bytes.
#[inline]
pub fn count_kernel(read: u64, written: u64) {
    with(|c| {
        c.add(Event::Kernels, 1);
        c.add(Event::BytesRead, read);
        c.add(Event::BytesWritten, written);
    });
}

fn sums(t: &Threads) -> [u64; EVENTS] {
    std::array::from_fn(|i| {
        let of = |c: &Counts| c.0[i].load(Ordering::Relaxed);
        t.all.iter().fold(of(&LATE), |sum, c| sum.wrapping_add(of(c)))
    })
}

/// How often (or how much) since the last `reset`, on all threads.
pub fn counted(e: Event) -> u64 {
    let t = THREADS.lock();
    sums(&t)[e as usize].wrapping_sub(t.before[e as usize])
}

pub fn reset() {
    let mut t = THREADS.lock();
    t.before = sums(&t);
}

/// Pending nodes alive now, and the bytes that they count for (`defer::Node::weight`).
pub static PENDING: AtomicUsize = AtomicUsize::new(0);
pub static PENDING_BYTES: AtomicUsize = AtomicUsize::new(0);

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

#[inline]
pub fn mode() -> Mode {
    match MODE.load(Ordering::Relaxed) {
        0 => Mode::Default,
        1 => Mode::Eager,
        2 => Mode::Always,
        _ => mode_of_environment(),
    }
}

#[cold]
fn mode_of_environment() -> Mode {
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

/// Overrides the environment, for the fuzzer that compares the modes in one process.
pub fn set_mode(m: Mode) {
    MODE.store(m as u8, Ordering::Relaxed);
}

/// `RTORCH_FALLBACK=error`: a primitive without a GPU kernel raises instead of running on the host.
pub fn fallback_is_error() -> bool {
    static ON: OnceLock<bool> = OnceLock::new();
    *ON.get_or_init(|| std::env::var("RTORCH_FALLBACK").is_ok_and(|v| v == "error"))
}
