//! The one thread pool of the CPU backend: `parallel_for`, the number of threads, and the interrupt hook.
//! Work is split statically into contiguous ranges, nested calls run serially, the pool is rebuilt after `fork`.
//! Not here: how large a grain pays (each kernel knows its own).

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, Once, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rtorch_ir::{Error, Result};

/// How long a worker without work, or a caller whose workers are late, spins before it parks. Kernels of a running
/// model follow each other within a few microseconds; waking a parked thread costs 5 to 50 (2-core VM, Zen 5).
const SPIN: Duration = Duration::from_micros(30);
/// Pauses between two looks at the clock while spinning.
const SPIN_BATCH: u32 = 64;
/// `check_interrupt` asks the hook at most this often.
const INTERRUPT_EVERY: Duration = Duration::from_millis(50);
/// Elements of work between two looks at the clock by a `Poll`: a look costs as much as reducing 500 floats (Zen 5).
const POLL_WORK: usize = 1 << 16;
/// Most threads that can be asked for.
const MAX_THREADS: usize = 1024;

type Body<'a> = dyn Fn(Range<usize>) + Sync + 'a;

/// What the workers run now: a borrowed closure (its lifetime erased; the caller waits for all of them) and its split.
#[derive(Clone)]
struct Job {
    f: *const Body<'static>,
    n: usize,
    chunk: usize,
    caller: Thread,
}

struct Worker {
    thread: Thread,
    parked: AtomicBool,
}

struct Pool {
    /// Held by the caller that uses the workers; others run serially meanwhile.
    busy: AtomicBool,
    epoch: AtomicU64,
    stop: AtomicBool,
    /// Written by the caller before it raises `epoch`, read by workers after they saw it.
    job: UnsafeCell<Option<Job>>,
    remaining: AtomicUsize,
    /// Some worker's panic, to be raised again on the caller.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    caller_parked: AtomicBool,
    workers: OnceLock<Vec<Worker>>,
}

// SAFETY: `job` is written only by the holder of `busy` while no worker reads it (it waited for all of them), and its
// closure is only used between its caller's publishing and the end of its wait.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

/// 0: not decided yet.
static WANTED: AtomicUsize = AtomicUsize::new(0);
/// A leaked `Arc<Pool>`, or null before the first use and after `fork`.
static POOL: AtomicPtr<Pool> = AtomicPtr::new(std::ptr::null_mut());
/// Threads of the pool that `POOL` holds.
static BUILT: AtomicUsize = AtomicUsize::new(0);
/// 1 while a thread builds a pool.
static BUILDING: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// Set on workers, and on a caller while its own share runs: calls from there run serially.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    static WORKER: Cell<bool> = const { Cell::new(false) };
    static LAST_CHECK: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Threads that kernels use: `OMP_NUM_THREADS` or the number of CPUs this process may run on, until set.
pub fn num_threads() -> usize {
    let n = WANTED.load(Ordering::Relaxed);
    if n != 0 {
        return n;
    }
    let n = std::env::var("OMP_NUM_THREADS")
        .ok()
        .and_then(|s| s.trim().parse::<usize>().ok())
        .filter(|&n| n > 0)
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()))
        .min(MAX_THREADS);
    WANTED.store(n, Ordering::Relaxed);
    n
}

pub fn set_num_threads(n: usize) {
    WANTED.store(n.clamp(1, MAX_THREADS), Ordering::Relaxed);
}

/// Is this thread inside `parallel_for` already?
pub fn in_parallel() -> bool {
    INSIDE.with(Cell::get)
}

/// Calls `f` on contiguous ranges that cover `0..n`, on several threads where `n` exceeds `grain`. The caller takes
/// part. Whether and where the range is split is no part of a result's meaning: `f` must answer the same for any
/// split. A panic in any part is raised again here once all parts have ended.
pub fn parallel_for(n: usize, grain: usize, f: &(dyn Fn(Range<usize>) + Sync)) {
    if n == 0 {
        return;
    }
    let parts = num_threads().min(n.div_ceil(grain.max(1)));
    if parts <= 1 || in_parallel() {
        return f(0..n);
    }
    match pool() {
        Some(pool) if pool.busy.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok() => {
            pool.run(n, parts, f);
        }
        Some(_) | None => f(0..n),
    }
}

/// The pool of the wanted size; None while another thread builds it.
fn pool() -> Option<&'static Pool> {
    let wanted = num_threads();
    let p = POOL.load(Ordering::Acquire);
    if !p.is_null() && BUILT.load(Ordering::Relaxed) == wanted {
        // SAFETY: pools are leaked, never freed.
        return Some(unsafe { &*p });
    }
    if BUILDING.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
        return None;
    }
    let old = POOL.load(Ordering::Acquire);
    let fresh = if !old.is_null() && BUILT.load(Ordering::Relaxed) == wanted { old } else { replace(old, wanted) };
    BUILDING.store(0, Ordering::Release);
    // SAFETY: as above.
    Some(unsafe { &*fresh })
}

/// Stops the old pool's workers once they are idle, and publishes a new pool.
fn replace(old: *mut Pool, threads: usize) -> *mut Pool {
    static ATFORK: Once = Once::new();
    ATFORK.call_once(register_fork_handler);
    if !old.is_null() {
        // SAFETY: pools are leaked, never freed.
        let old = unsafe { &*old };
        // taken for good: a caller that still has the old pool at hand runs serially
        while old.busy.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            std::thread::yield_now();
        }
        old.stop.store(true, Ordering::SeqCst);
        for w in old.workers.get().into_iter().flatten() {
            w.thread.unpark();
        }
    }
    let pool: &'static Pool = Box::leak(Box::new(Pool {
        busy: AtomicBool::new(false),
        epoch: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        job: UnsafeCell::new(None),
        remaining: AtomicUsize::new(0),
        panic: Mutex::new(None),
        caller_parked: AtomicBool::new(false),
        workers: OnceLock::new(),
    }));
    let mut workers = Vec::new();
    for i in 1..threads {
        let started = std::thread::Builder::new().name(format!("rtorch-{i}")).spawn(move || pool.work(i));
        // fewer threads where the system grants no more: every split is right with any number of workers
        let Ok(handle) = started else { break };
        workers.push(Worker { thread: handle.thread().clone(), parked: AtomicBool::new(false) });
    }
    let _ = pool.workers.set(workers);
    let p = std::ptr::from_ref(pool).cast_mut();
    BUILT.store(threads, Ordering::Relaxed);
    POOL.store(p, Ordering::Release);
    p
}

#[cfg(unix)]
fn register_fork_handler() {
    // the child has none of the workers: it forgets the pool, and builds one when it first needs it
    extern "C" fn child() {
        POOL.store(std::ptr::null_mut(), Ordering::SeqCst);
        BUILDING.store(0, Ordering::SeqCst);
        INSIDE.with(|c| c.set(false));
    }
    // SAFETY: the handler only stores to atomics and to a const-initialised thread local.
    unsafe {
        libc::pthread_atfork(None, None, Some(child));
    }
}

#[cfg(not(unix))]
fn register_fork_handler() {}

/// A lock whose holder cannot panic half-way through a change.
fn lock<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Spins until `done`, for a short time; answers whether it came true.
fn spin(done: &dyn Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        for _ in 0..SPIN_BATCH {
            if done() {
                return true;
            }
            std::hint::spin_loop();
        }
        if start.elapsed() > SPIN {
            return done();
        }
    }
}

impl Pool {
    fn run(&self, n: usize, parts: usize, f: &Body<'_>) {
        let workers = self.workers.wait();
        let chunk = n.div_ceil(parts.min(workers.len() + 1));
        // SAFETY: only the lifetime changes; this function does not return before the workers are done with it.
        let erased = unsafe { std::mem::transmute::<*const Body<'_>, *const Body<'static>>(std::ptr::from_ref(f)) };
        let job = Job { f: erased, n, chunk, caller: std::thread::current() };
        // SAFETY: this caller holds `busy`, and the last job's caller waited for all workers.
        unsafe { *self.job.get() = Some(job) };
        // every worker answers, also those without a share: none may miss an epoch
        self.remaining.store(workers.len(), Ordering::Relaxed);
        self.epoch.fetch_add(1, Ordering::SeqCst);
        for w in workers {
            if w.parked.swap(false, Ordering::SeqCst) {
                w.thread.unpark();
            }
        }
        INSIDE.with(|c| c.set(true));
        let mine = catch_unwind(AssertUnwindSafe(|| f(0..chunk.min(n))));
        INSIDE.with(|c| c.set(false));
        let done = || self.remaining.load(Ordering::Acquire) == 0;
        if !spin(&done) {
            loop {
                self.caller_parked.store(true, Ordering::SeqCst);
                if self.remaining.load(Ordering::SeqCst) == 0 {
                    break;
                }
                std::thread::park();
            }
        }
        self.caller_parked.store(false, Ordering::SeqCst);
        let theirs = lock(&self.panic).take();
        self.busy.store(false, Ordering::Release);
        if let Err(p) = mine {
            resume_unwind(p);
        }
        if let Some(p) = theirs {
            resume_unwind(p);
        }
    }

    /// A worker's life. `i` counts from 1: part 0 is the caller's.
    fn work(&self, i: usize) {
        INSIDE.with(|c| c.set(true));
        WORKER.with(|c| c.set(true));
        let me = &self.workers.wait()[i - 1];
        let mut seen = 0;
        loop {
            let ready = || self.epoch.load(Ordering::Acquire) != seen || self.stop.load(Ordering::Relaxed);
            if !spin(&ready) {
                loop {
                    me.parked.store(true, Ordering::SeqCst);
                    if self.epoch.load(Ordering::SeqCst) != seen || self.stop.load(Ordering::SeqCst) {
                        me.parked.store(false, Ordering::SeqCst);
                        break;
                    }
                    std::thread::park();
                }
            }
            let now = self.epoch.load(Ordering::Acquire);
            if now == seen {
                return; // stop, and no job that waits for this worker
            }
            seen = now;
            // SAFETY: published before the epoch was raised; not written again before this worker answered.
            let job = unsafe { (*self.job.get()).clone() };
            let Some(job) = job else { continue };
            let start = (i * job.chunk).min(job.n);
            let end = (start + job.chunk).min(job.n);
            if start < end {
                // SAFETY: the caller keeps the closure alive until `remaining` is 0.
                let f = unsafe { &*job.f };
                if let Err(p) = catch_unwind(AssertUnwindSafe(|| f(start..end))) {
                    *lock(&self.panic) = Some(p);
                }
            }
            if self.remaining.fetch_sub(1, Ordering::SeqCst) == 1 && self.caller_parked.swap(false, Ordering::SeqCst) {
                job.caller.unpark();
            }
        }
    }
}

// ---- interrupts

/// `fn() -> bool`, or null.
static HOOK: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// Sets the function that says whether the user wants to stop (Ctrl-C); long kernels ask it.
pub fn set_interrupt_hook(hook: fn() -> bool) {
    HOOK.store(hook as *mut (), Ordering::Release);
}

/// `Error::interrupted()` once the hook says so. Cheap enough for every block of a kernel: it asks every 50 ms, and
/// only on the thread that called the operator (workers always go on; their caller stops).
pub fn check_interrupt() -> Result<()> {
    let hook = HOOK.load(Ordering::Acquire);
    if hook.is_null() || WORKER.with(Cell::get) {
        return Ok(());
    }
    let now = Instant::now();
    match LAST_CHECK.with(Cell::get) {
        Some(t) if now.duration_since(t) < INTERRUPT_EVERY => return Ok(()),
        Some(_) | None => LAST_CHECK.with(|c| c.set(Some(now))),
    }
    // SAFETY: only `set_interrupt_hook` stores here, and stores a `fn() -> bool`.
    let hook = unsafe { std::mem::transmute::<*mut (), fn() -> bool>(hook) };
    if hook() { Err(Error::interrupted()) } else { Ok(()) }
}

/// `check_interrupt` for loops whose rounds are shorter than a look at the clock.
pub struct Poll {
    done: usize,
}

impl Default for Poll {
    fn default() -> Poll {
        Poll::new()
    }
}

impl Poll {
    /// Asks at the first round already: a kernel of one round is asked for, too.
    pub fn new() -> Poll {
        Poll { done: POLL_WORK }
    }
    /// Counts a round over `work` elements.
    #[inline]
    pub fn round(&mut self, work: usize) -> Result<()> {
        self.done += work;
        if self.done < POLL_WORK {
            return Ok(());
        }
        self.done = 0;
        check_interrupt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_the_range_once_and_nested_calls_run_serially() {
        set_num_threads(4);
        let hits: Vec<AtomicUsize> = (0..10_000).map(|_| AtomicUsize::new(0)).collect();
        for _ in 0..200 {
            parallel_for(hits.len(), 10, &|r| {
                parallel_for(r.len(), 1, &|inner| {
                    for i in inner {
                        hits[r.start + i].fetch_add(1, Ordering::Relaxed);
                    }
                });
            });
        }
        assert!(hits.iter().all(|h| h.load(Ordering::Relaxed) == 200));
    }

    #[test]
    fn panics_come_back_and_the_pool_goes_on() {
        for _ in 0..20 {
            let r = catch_unwind(|| parallel_for(100, 1, &|r| assert!(!r.contains(&99), "planted")));
            assert!(r.is_err());
            let sum = AtomicUsize::new(0);
            parallel_for(100, 1, &|r| {
                sum.fetch_add(r.sum::<usize>(), Ordering::Relaxed);
            });
            assert_eq!(sum.load(Ordering::Relaxed), 4950);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_forked_child_has_threads_again() {
        parallel_for(8, 1, &|_| {});
        // SAFETY: the child only runs the pool and leaves by _exit.
        unsafe {
            let pid = libc::fork();
            if pid == 0 {
                let sum = AtomicUsize::new(0);
                parallel_for(100, 1, &|r| {
                    sum.fetch_add(r.sum::<usize>(), Ordering::Relaxed);
                });
                libc::_exit(if sum.load(Ordering::Relaxed) == 4950 { 0 } else { 1 });
            }
            let mut status = 0;
            libc::waitpid(pid, &mut status, 0);
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0);
        }
    }
}
