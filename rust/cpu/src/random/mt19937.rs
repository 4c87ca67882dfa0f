//! The Mersenne Twister as PyTorch's CPU generator keeps it: seed, state, the two cached normals, and its state as the
//! bytes of `Generator.get_state()`. What is made of its numbers is in `fill.rs`.

use rtorch_ir::{Result, ensure};

use crate::versions::versions;

/// Words of state.
const N: usize = 624;
const M: usize = 397;
/// Length of PyTorch's state in bytes.
const STATE_BYTES: usize = 5056;
/// The same without the single-precision cached normal: generators saved by old versions.
const LEGACY_BYTES: usize = 5048;
/// PyTorch's default seed.
pub const DEFAULT_SEED: u64 = 67280421310721;

/// `torch.Generator("cpu")`.
#[derive(Clone, Debug)]
pub struct Mt19937 {
    state: [u32; N],
    /// Words of `state` already used; N where the next draw makes a new block.
    used: usize,
    /// Nothing was drawn since the seed: the saved state says so.
    fresh: bool,
    seed: u64,
    /// The sine half of a Box-Muller pair, for the next scalar draw.
    next_f64: Option<f64>,
    next_f32: Option<f32>,
}

impl Default for Mt19937 {
    fn default() -> Self {
        Mt19937::new(DEFAULT_SEED)
    }
}

impl Mt19937 {
    pub fn new(seed: u64) -> Mt19937 {
        let mut state = [0u32; N];
        // only the low 32 bits enter the twister, as in PyTorch
        state[0] = seed as u32;
        for j in 1..N {
            let x = state[j - 1];
            state[j] = 1812433253u32.wrapping_mul(x ^ (x >> 30)).wrapping_add(j as u32);
        }
        Mt19937 { state, used: N, fresh: true, seed, next_f64: None, next_f32: None }
    }
    /// `manual_seed`: as new.
    pub fn seed(&mut self, seed: u64) {
        *self = Mt19937::new(seed);
    }
    /// `initial_seed()`
    pub fn initial_seed(&self) -> u64 {
        self.seed
    }
    pub(super) fn take_normal(&mut self) -> Option<f64> {
        self.next_f64.take()
    }
    pub(super) fn keep_normal(&mut self, v: f64) {
        self.next_f64 = Some(v);
    }

    /// 32 random bits.
    pub fn random(&mut self) -> u32 {
        if self.used == N {
            self.refill();
        }
        let v = temper(self.state[self.used]);
        self.used += 1;
        v
    }
    /// 64 random bits: two draws, the first the upper half.
    pub fn random64(&mut self) -> u64 {
        let hi = self.random() as u64;
        hi << 32 | self.random() as u64
    }
    /// Fills with 32-bit draws.
    pub fn fill_u32(&mut self, out: &mut [u32]) {
        fill_versions(self, out);
    }

    #[inline(always)]
    fn fill_body(&mut self, out: &mut [u32]) {
        let mut at = 0;
        while at < out.len() {
            if self.used == N {
                self.refill();
            }
            let n = (N - self.used).min(out.len() - at);
            for (o, &s) in out[at..at + n].iter_mut().zip(&self.state[self.used..self.used + n]) {
                *o = temper(s);
            }
            self.used += n;
            at += n;
        }
    }

    /// The next block. Three loops, in each of which every read lies outside what the loop writes within one vector.
    #[inline(always)]
    fn refill(&mut self) {
        let s = &mut self.state;
        for i in 0..N - M {
            s[i] = s[i + M] ^ twist(s[i], s[i + 1]);
        }
        for i in N - M..N - 1 {
            s[i] = s[i + M - N] ^ twist(s[i], s[i + 1]);
        }
        s[N - 1] = s[M - 1] ^ twist(s[N - 1], s[0]);
        self.used = 0;
        self.fresh = false;
    }

    /// The bytes of PyTorch's `get_state()`.
    pub fn get_state(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(STATE_BYTES);
        // PyTorch counts what is left of a block, 1 meaning that the next draw makes a new one; a fresh seed has next 0
        let (left, next) = ((N - self.used + 1) as i32, if self.fresh { 0 } else { self.used as u64 });
        out.extend_from_slice(&self.seed.to_le_bytes());
        out.extend_from_slice(&left.to_le_bytes());
        out.extend_from_slice(&1i32.to_le_bytes());
        out.extend_from_slice(&next.to_le_bytes());
        for &s in &self.state {
            out.extend_from_slice(&(s as u64).to_le_bytes());
        }
        // normal_x, normal_y (the cached normal), normal_rho, normal_is_valid and its padding
        out.extend_from_slice(&0f64.to_le_bytes());
        out.extend_from_slice(&self.next_f64.unwrap_or(0.0).to_le_bytes());
        out.extend_from_slice(&0f64.to_le_bytes());
        out.extend_from_slice(&(self.next_f64.is_some() as i64).to_le_bytes());
        out.extend_from_slice(&self.next_f32.unwrap_or(0.0).to_le_bytes());
        out.extend_from_slice(&(self.next_f32.is_some() as u32).to_le_bytes());
        out
    }

    /// From the bytes of PyTorch's `get_state()`.
    pub fn set_state(&mut self, bytes: &[u8]) -> Result<()> {
        ensure!(
            bytes.len() == STATE_BYTES || bytes.len() == LEGACY_BYTES,
            runtime,
            "Expected either a CPUGeneratorImplStateLegacy of size {LEGACY_BYTES} or a CPUGeneratorImplState of size \
             {STATE_BYTES} but found the input RNG state size to be {}",
            bytes.len()
        );
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let half = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let (left, seeded, next) = (half(8) as i32, half(12), word(16));
        ensure!(seeded == 1 && (1..=N as i32).contains(&left) && next <= N as u64, runtime, "Invalid mt19937 state");
        let mut state = [0u32; N];
        for (i, s) in state.iter_mut().enumerate() {
            *s = word(24 + 8 * i) as u32;
        }
        let tail = 24 + 8 * N;
        let valid = half(tail + 24) != 0;
        let legacy = bytes.len() == LEGACY_BYTES;
        let normal = if legacy {
            // old versions kept the uniforms of the pair
            f64::from_bits(word(tail + 16)) * (2.0 * std::f64::consts::PI * f64::from_bits(word(tail))).sin()
        } else {
            f64::from_bits(word(tail + 8))
        };
        let next_f32 = (!legacy && half(tail + 36) & 0xff != 0).then(|| f32::from_bits(half(tail + 32)));
        let used = if left == 1 { N } else { N + 1 - left as usize };
        *self = Mt19937 { state, used, fresh: next == 0, seed: word(0), next_f64: valid.then_some(normal), next_f32 };
        Ok(())
    }
}

versions!(fn fill_versions[](rng: &mut Mt19937, out: &mut [u32]) = Mt19937::fill_body);

#[inline(always)]
fn twist(a: u32, b: u32) -> u32 {
    let mixed = (a & 0x8000_0000) | (b & 0x7fff_ffff);
    (mixed >> 1) ^ (0x9908_b0df & (b & 1).wrapping_neg())
}

#[inline(always)]
fn temper(mut y: u32) -> u32 {
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c_5680;
    y ^= (y << 15) & 0xefc6_0000;
    y ^ (y >> 18)
}
