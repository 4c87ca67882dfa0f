//! `Generator`: a shared random state. On the CPU PyTorch's Mersenne Twister; on a GPU a Philox key and the number of
//! draws made so far.

use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};
use rtorch_cpu::random::Mt19937;
use rtorch_ir::{Result, ensure};

use crate::device::Device;

/// Bytes of a Philox state: seed and offset.
const PHILOX_BYTES: usize = 16;
/// PyTorch's default seed.
const DEFAULT_SEED: u64 = 67280421310721;

enum State {
    Twister(Box<Mt19937>),
    Philox { seed: u64, offset: u64 },
}

/// `torch.Generator`. Clones share the state.
#[derive(Clone)]
pub struct Generator {
    device: Device,
    state: Arc<Mutex<State>>,
}

impl Generator {
    pub fn new(device: Device) -> Generator {
        let state = if device.is_cpu() {
            State::Twister(Box::new(Mt19937::new(DEFAULT_SEED)))
        } else {
            State::Philox { seed: DEFAULT_SEED, offset: 0 }
        };
        Generator { device, state: Arc::new(Mutex::new(state)) }
    }
    pub fn device(&self) -> Device {
        self.device
    }
    fn lock(&self) -> MutexGuard<'_, State> {
        crate::defer::lock_patiently(&self.state)
    }
    /// The same state?
    pub fn same(&self, other: &Generator) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }
    pub fn manual_seed(&self, seed: u64) {
        match &mut *self.lock() {
            State::Twister(t) => t.seed(seed),
            State::Philox { seed: s, offset } => (*s, *offset) = (seed, 0),
        }
    }
    /// Seeds from the operating system's randomness, and answers the seed.
    pub fn seed(&self) -> u64 {
        let seed = entropy();
        self.manual_seed(seed);
        seed
    }
    pub fn initial_seed(&self) -> u64 {
        match &*self.lock() {
            State::Twister(t) => t.initial_seed(),
            State::Philox { seed, .. } => *seed,
        }
    }
    pub fn get_state(&self) -> Vec<u8> {
        match &*self.lock() {
            State::Twister(t) => t.get_state(),
            State::Philox { seed, offset } => [seed.to_le_bytes(), offset.to_le_bytes()].concat(),
        }
    }
    pub fn set_state(&self, bytes: &[u8]) -> Result<()> {
        match &mut *self.lock() {
            State::Twister(t) => t.set_state(bytes),
            State::Philox { seed, offset } => {
                ensure!(bytes.len() == PHILOX_BYTES, runtime, "RNG state is wrong size");
                *seed = u64::from_le_bytes(std::array::from_fn(|i| bytes[i]));
                *offset = u64::from_le_bytes(std::array::from_fn(|i| bytes[8 + i]));
                Ok(())
            }
        }
    }
    /// Draws with the Mersenne Twister (of a GPU's generator: with one seeded by its next draw).
    pub fn with_twister<R>(&self, f: impl FnOnce(&mut Mt19937) -> R) -> R {
        match &mut *self.lock() {
            State::Twister(t) => f(t),
            State::Philox { seed, offset } => {
                *offset += 1;
                f(&mut Mt19937::new(*seed ^ offset.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
            }
        }
    }
    /// Reserves `n` counters: (seed, first counter) of a Philox draw.
    pub fn philox(&self, n: usize) -> (i64, i64) {
        match &mut *self.lock() {
            State::Twister(t) => (t.random64() as i64, 0),
            State::Philox { seed, offset } => {
                let first = *offset;
                *offset += n as u64;
                (*seed as i64, first as i64)
            }
        }
    }
}

/// A seed that nobody can foresee: the standard library's hash keys come from the operating system.
fn entropy() -> u64 {
    let mut h = std::collections::hash_map::RandomState::new().build_hasher();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    h.write_u128(now);
    h.finish()
}

static CPU: OnceLock<Generator> = OnceLock::new();
static GPUS: Mutex<Vec<Generator>> = Mutex::new(Vec::new());
/// The seed that generators of devices not used yet start from.
static SEED: Mutex<u64> = Mutex::new(DEFAULT_SEED);

/// A device's own generator.
pub fn default_generator(device: Device) -> Generator {
    if device.is_cpu() {
        return CPU.get_or_init(|| Generator::new(Device::Cpu)).clone();
    }
    let mut all = GPUS.lock();
    if let Some(g) = all.iter().find(|g| g.device == device) {
        return g.clone();
    }
    let g = Generator::new(device);
    g.manual_seed(*SEED.lock());
    all.push(g.clone());
    g
}

/// Takes the CPU generator's lock if it is free, and keeps it: before a fork, so that the child does not inherit it
/// from a thread that it does not have.
pub fn try_hold() -> bool {
    match default_generator(Device::Cpu).state.try_lock() {
        Some(guard) => {
            std::mem::forget(guard);
            true
        }
        None => false,
    }
}

/// Ends what `try_hold` began.
///
/// # Safety
/// After a `try_hold` that answered true, on the same thread (or as the child that the thread forked).
pub unsafe fn release() {
    // SAFETY: the caller's promise: the lock is held, and its guard was forgotten.
    unsafe { default_generator(Device::Cpu).state.force_unlock() };
}

/// Seeds every device.
pub fn manual_seed(seed: u64) {
    *SEED.lock() = seed;
    default_generator(Device::Cpu).manual_seed(seed);
    for g in GPUS.lock().iter() {
        g.manual_seed(seed);
    }
}

/// Seeds every device with a number from the operating system.
pub fn seed() -> u64 {
    let s = entropy();
    manual_seed(s);
    s
}

pub fn initial_seed() -> u64 {
    default_generator(Device::Cpu).initial_seed()
}
