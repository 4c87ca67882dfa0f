//! Which instruction set the kernels use: the best that the CPU has, or what `RTORCH_CPU_CAPABILITY` asks for.
//! Not here: the kernels themselves, compiled once per capability around one generic body.

use std::sync::atomic::{AtomicU8, Ordering};

use rtorch_ir::{Error, Result};

/// Instruction sets that kernels are compiled for, worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Capability {
    /// What the target always has (SSE2, NEON).
    Baseline = 1,
    /// AVX2, FMA and F16C.
    Avx2 = 2,
    /// AVX-512 F, BW, CD, DQ, VL on top of the former.
    Avx512 = 3,
}

impl Capability {
    pub const ALL: [Capability; 3] = [Capability::Baseline, Capability::Avx2, Capability::Avx512];

    pub fn name(self) -> &'static str {
        match self {
            Capability::Baseline => "baseline",
            Capability::Avx2 => "avx2",
            Capability::Avx512 => "avx512",
        }
    }
    /// Does this CPU have it?
    pub fn available(self) -> bool {
        self <= best()
    }
}

static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// The best capability of this CPU.
#[cfg(target_arch = "x86_64")]
pub fn best() -> Capability {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512cd")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (avx2, avx512) {
        (true, true) => Capability::Avx512,
        (true, false) => Capability::Avx2,
        (false, _) => Capability::Baseline,
    }
}

/// The best capability of this CPU.
#[cfg(not(target_arch = "x86_64"))]
pub fn best() -> Capability {
    Capability::Baseline
}

/// The capability in use. An environment variable that asks for the impossible is reported by `init`; here it counts
/// as not set.
#[inline]
pub fn capability() -> Capability {
    match CHOSEN.load(Ordering::Relaxed) {
        1 => Capability::Baseline,
        2 => Capability::Avx2,
        3 => Capability::Avx512,
        _ => {
            let c = requested().unwrap_or_else(|_| best());
            CHOSEN.store(c as u8, Ordering::Relaxed);
            c
        }
    }
}

fn requested() -> Result<Capability> {
    let Ok(name) = std::env::var("RTORCH_CPU_CAPABILITY") else { return Ok(best()) };
    let found = Capability::ALL.into_iter().find(|c| c.name() == name);
    match found {
        Some(c) if c.available() => Ok(c),
        Some(c) => Err(Error::runtime(format!(
            "RTORCH_CPU_CAPABILITY={name}: this CPU has no {}; its best is {}",
            c.name(),
            best().name()
        ))),
        None => {
            Err(Error::runtime(format!("RTORCH_CPU_CAPABILITY={name} is unknown; it can be baseline, avx2 or avx512")))
        }
    }
}

/// Decides the capability, or says what is wrong with `RTORCH_CPU_CAPABILITY`. Called once when the library loads.
pub fn init() -> Result<()> {
    let c = requested()?;
    CHOSEN.store(c as u8, Ordering::Relaxed);
    Ok(())
}

/// Uses another available capability from now on (tests).
pub fn set_capability(c: Capability) -> bool {
    let ok = c.available();
    if ok {
        CHOSEN.store(c as u8, Ordering::Relaxed);
    }
    ok
}
