//! The register tile: C[m x n] (+)= A[m x k] B[k x n] from packed operands, for every tile size and instruction set.
//! One body, inlined into a function per (instruction set, rows, registers per row) and found through `kernels`.
//! Who packs and blocks: `pack` and the driver in `mod`.

use rtorch_ir::DType;

use super::lanes::{Lanes, Plain, Real};
use crate::simd::detect::{Capability, capability};

/// What a tile works on. `a`: columns of `m` values, `lda` apart; `b`: rows of `n` values (readable up to the tile's
/// full width), `ldb` apart; `c`: rows `ldc` apart.
#[derive(Clone, Copy)]
pub struct Tile<T> {
    pub k: usize,
    pub a: *const T,
    pub lda: usize,
    pub b: *const T,
    pub ldb: usize,
    pub c: *mut T,
    pub ldc: usize,
    /// Columns of C that exist.
    pub n: usize,
    /// Add to C, or overwrite it.
    pub add: bool,
}

/// The body of a tile of `M` rows and `W` registers per row.
///
/// # Safety
/// The pointers of `t` must be good for what the struct says, and the instruction set of `V` detected.
#[inline(always)]
unsafe fn tile<V: Lanes, const M: usize, const W: usize>(t: &Tile<V::T>) {
    // SAFETY: as the caller's.
    unsafe {
        let (mut a, mut b) = (t.a, t.b);
        let mut acc = [[V::zero(); W]; M];
        for _ in 0..t.k {
            step::<V, M, W>(&mut acc, a, b);
            a = a.add(t.lda);
            b = b.add(t.ldb);
        }
        put::<V, M, W>(t, &acc);
    }
}

/// One step along k: a column of A times a row of B.
///
/// # Safety
/// As `tile`'s.
#[inline(always)]
unsafe fn step<V: Lanes, const M: usize, const W: usize>(acc: &mut [[V; W]; M], a: *const V::T, b: *const V::T) {
    // SAFETY: as the caller's.
    unsafe {
        let mut bv = [V::zero(); W];
        for w in 0..W {
            bv[w] = V::load(b.add(w * V::N));
        }
        for i in 0..M {
            let av = V::splat(*a.add(i));
            for w in 0..W {
                acc[i][w] = av.fma(bv[w], acc[i][w]);
            }
        }
    }
}

/// Brings the sums to C.
///
/// # Safety
/// As `tile`'s.
#[inline(always)]
unsafe fn put<V: Lanes, const M: usize, const W: usize>(t: &Tile<V::T>, acc: &[[V; W]; M]) {
    // SAFETY: as the caller's; stores touch `n` columns of `M` rows.
    unsafe {
        let full = t.n == W * V::N;
        for i in 0..M {
            for w in 0..W {
                let p = t.c.add(i * t.ldc + w * V::N);
                let v = acc[i][w];
                if full {
                    let v = if t.add { V::load(p).add(v) } else { v };
                    v.store(p);
                } else if w * V::N < t.n {
                    let n = (t.n - w * V::N).min(V::N);
                    let v = if t.add { V::load_n(p, n).add(v) } else { v };
                    v.store_n(p, n);
                }
            }
        }
    }
}

/// As `tile`, with row `p` of B at `b + rows[p]`.
///
/// # Safety
/// As `tile`'s.
#[inline(always)]
unsafe fn scattered<V: Lanes, const M: usize, const W: usize>(t: &Tile<V::T>, rows: *const usize) {
    // SAFETY: as the caller's.
    unsafe {
        let mut a = t.a;
        let mut acc = [[V::zero(); W]; M];
        for p in 0..t.k {
            step::<V, M, W>(&mut acc, a, t.b.add(*rows.add(p)));
            a = a.add(t.lda);
        }
        put::<V, M, W>(t, &acc);
    }
}

type Kernel<T> = unsafe fn(&Tile<T>);
type Scattered<T> = unsafe fn(&Tile<T>, *const usize);

/// The kernels of one instruction set and type.
pub struct Kernels<T: 'static> {
    /// Most rows of a tile.
    pub rows: usize,
    /// Columns of a tile of two registers, the width of a packed panel of B.
    pub width: usize,
    /// Values per register.
    pub lanes: usize,
    /// `tiles[w - 1][m - 1]`: m rows of w registers.
    pub tiles: [&'static [Kernel<T>]; 2],
    /// The same with rows of B anywhere.
    pub scattered: [&'static [Scattered<T>]; 2],
}

impl<T> Kernels<T> {
    /// # Safety
    /// As `tile`'s; `m` is at most `rows`.
    #[inline]
    pub unsafe fn run(&self, m: usize, t: &Tile<T>) {
        // SAFETY: as the caller's; these kernels were chosen for this machine.
        unsafe { self.tiles[(t.n > self.lanes) as usize][m - 1](t) }
    }
    /// Row `p` of B lies at `rows[p]`.
    ///
    /// # Safety
    /// As `run`'s.
    #[inline]
    pub unsafe fn run_scattered(&self, m: usize, t: &Tile<T>, rows: *const usize) {
        // SAFETY: as `run`'s.
        unsafe { self.scattered[(t.n > self.lanes) as usize][m - 1](t, rows) }
    }
}

/// Code over registers, compiled for every instruction set. `run` must be `#[inline(always)]`.
pub trait Body<T: Real> {
    type Out;
    /// # Safety
    /// The instruction set of `V` was detected; what the body's own fields point to is as it says.
    unsafe fn run<V: Lanes<T = T>>(self) -> Self::Out;
}

/// A compute type with its kernels for this machine.
pub trait Gemm: Real {
    const DTYPE: DType;
    fn kernels() -> &'static Kernels<Self>;
    /// Runs a body compiled for this machine's instruction set.
    ///
    /// # Safety
    /// The body's fields are as it says.
    unsafe fn run<B: Body<Self>>(body: B) -> B::Out;
}

macro_rules! kernels {
    ($mod:ident, $lanes:ty, $t:ty, [$($m:literal)*] $(, #[$feature:meta])?) => {
        pub mod $mod {
            use super::*;
            $(#[$feature])?
            unsafe fn one<const M: usize>(t: &Tile<$t>) {
                // SAFETY: as the caller's.
                unsafe { tile::<$lanes, M, 1>(t) }
            }
            $(#[$feature])?
            unsafe fn two<const M: usize>(t: &Tile<$t>) {
                // SAFETY: as the caller's.
                unsafe { tile::<$lanes, M, 2>(t) }
            }
            $(#[$feature])?
            unsafe fn far<const M: usize, const W: usize>(t: &Tile<$t>, rows: *const usize) {
                // SAFETY: as the caller's.
                unsafe { scattered::<$lanes, M, W>(t, rows) }
            }
            /// Enters code compiled for the instruction set.
            ///
            /// # Safety
            /// The instruction set was detected; the body is as it says.
            $(#[$feature])?
            pub unsafe fn enter<B: Body<$t>>(body: B) -> B::Out {
                // SAFETY: as the caller's.
                unsafe { body.run::<$lanes>() }
            }
            pub static KERNELS: Kernels<$t> = Kernels {
                rows: <$lanes>::ROWS,
                width: 2 * <$lanes>::N,
                lanes: <$lanes>::N,
                tiles: [&[$(one::<$m>),*], &[$(two::<$m>),*]],
                scattered: [&[$(far::<$m, 1>),*], &[$(far::<$m, 2>),*]],
            };
        }
    };
}

kernels!(plain32, Plain<f32, 8>, f32, [1 2 3 4]);
kernels!(plain64, Plain<f64, 4>, f64, [1 2 3 4]);

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;
    use crate::gemm::lanes::{Avx2F32, Avx2F64, Avx512F32, Avx512F64};
    kernels!(avx512_32, Avx512F32, f32, [1 2 3 4 5 6 7 8 9 10 11 12 13 14],
        #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl")]);
    kernels!(avx512_64, Avx512F64, f64, [1 2 3 4 5 6 7 8 9 10 11 12 13 14],
        #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl")]);
    kernels!(avx2_32, Avx2F32, f32, [1 2 3 4 5 6], #[target_feature(enable = "avx2,fma,f16c")]);
    kernels!(avx2_64, Avx2F64, f64, [1 2 3 4 5 6], #[target_feature(enable = "avx2,fma,f16c")]);
}

macro_rules! gemm {
    ($t:ty, $dtype:ident, $avx512:ident, $avx2:ident, $plain:ident) => {
        impl Gemm for $t {
            const DTYPE: DType = DType::$dtype;
            fn kernels() -> &'static Kernels<$t> {
                match capability() {
                    #[cfg(target_arch = "x86_64")]
                    Capability::Avx512 => &x86::$avx512::KERNELS,
                    #[cfg(target_arch = "x86_64")]
                    Capability::Avx2 => &x86::$avx2::KERNELS,
                    Capability::Baseline => &$plain::KERNELS,
                    #[cfg(not(target_arch = "x86_64"))]
                    Capability::Avx512 | Capability::Avx2 => &$plain::KERNELS,
                }
            }
            unsafe fn run<B: Body<$t>>(body: B) -> B::Out {
                // SAFETY: as the caller's; the capability was detected.
                unsafe {
                    match capability() {
                        #[cfg(target_arch = "x86_64")]
                        Capability::Avx512 => x86::$avx512::enter(body),
                        #[cfg(target_arch = "x86_64")]
                        Capability::Avx2 => x86::$avx2::enter(body),
                        Capability::Baseline => $plain::enter(body),
                        #[cfg(not(target_arch = "x86_64"))]
                        Capability::Avx512 | Capability::Avx2 => $plain::enter(body),
                    }
                }
            }
        }
    };
}
gemm!(f32, F32, avx512_32, avx2_32, plain32);
gemm!(f64, F64, avx512_64, avx2_64, plain64);
