//! `Lanes`: a SIMD register of f32 or f64, one implementation per instruction set, for bodies that are written once and
//! inlined into functions with the matching `target_feature`. The kernels are in `kernel` and `dot`; vector math on
//! whole tiles of a program is `simd`'s business, not this file's.

// one Safety section for all functions of the trait
#![allow(clippy::missing_safety_doc)]

/// A compute type of the matrix kernels.
pub trait Real:
    Copy
    + Send
    + Sync
    + PartialOrd
    + std::fmt::Debug
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::AddAssign
    + 'static
{
    const ZERO: Self;
    fn from_f64(v: f64) -> Self;
    fn to_f64(self) -> f64;
}

impl Real for f32 {
    const ZERO: f32 = 0.0;
    fn from_f64(v: f64) -> f32 {
        v as f32
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}
impl Real for f64 {
    const ZERO: f64 = 0.0;
    fn from_f64(v: f64) -> f64 {
        v
    }
    fn to_f64(self) -> f64 {
        self
    }
}

/// A register of `N` values.
///
/// # Safety
/// Every function must be inlined into code that runs only where the instruction set was detected; pointers must be
/// good for the lanes that are read or written (`n` of them for the partial forms).
pub trait Lanes: Copy {
    type T: Real;
    const N: usize;
    /// Most rows a matrix tile of two registers per row keeps in the register file.
    const ROWS: usize;
    unsafe fn zero() -> Self;
    unsafe fn splat(v: Self::T) -> Self;
    unsafe fn load(p: *const Self::T) -> Self;
    unsafe fn store(self, p: *mut Self::T);
    /// The first `n` lanes, zeros behind them.
    unsafe fn load_n(p: *const Self::T, n: usize) -> Self;
    unsafe fn store_n(self, p: *mut Self::T, n: usize);
    /// Lane `i` of `lo..hi` from `p + i * step`, zeros elsewhere. What lies between two elements is readable memory.
    #[inline(always)]
    unsafe fn load_span(p: *const Self::T, step: isize, lo: usize, hi: usize) -> Self {
        // SAFETY: as the caller's.
        unsafe { scalar_span(p, step, lo, hi) }
    }
    /// Lanes of either; where one has a value the other has zero.
    unsafe fn or(self, o: Self) -> Self;
    unsafe fn add(self, o: Self) -> Self;
    unsafe fn mul(self, o: Self) -> Self;
    /// `self * b + c`, fused where the instruction set fuses.
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    /// The sum of the lanes, always in the same order: halves are added until one is left.
    #[inline(always)]
    unsafe fn sum(self) -> Self::T {
        let mut buf = [Self::T::ZERO; 16];
        // SAFETY: `buf` holds 16 values and no register has more lanes.
        unsafe { self.store(buf.as_mut_ptr()) };
        let mut n = Self::N;
        while n > 1 {
            n /= 2;
            for i in 0..n {
                buf[i] += buf[i + n];
            }
        }
        buf[0]
    }
    /// Rows `src + i * stride` for `i < N` (the last ones repeat row `rows - 1`), transposed: register `j` of the
    /// answer, the `j`-th elements of all rows, goes to `dst + j * step`, in this order (`step` may be less than `N`).
    unsafe fn transpose(src: *const Self::T, stride: isize, rows: usize, dst: *mut Self::T, step: usize);
}

/// Plain code for `transpose`: any type, any size.
#[inline(always)]
unsafe fn transpose_plain<T: Copy, const N: usize>(
    src: *const T,
    stride: isize,
    rows: usize,
    dst: *mut T,
    step: usize,
) {
    // column by column: `step` may be less than N, what a column writes too much the next one overwrites
    for j in 0..N {
        for i in 0..N {
            // SAFETY: the caller vouches for N elements per row and for `dst`.
            unsafe { *dst.add(j * step + i) = *src.wrapping_offset(stride * i.min(rows - 1) as isize).add(j) };
        }
    }
}

/// Plain code for `load_span`.
#[inline(always)]
unsafe fn scalar_span<V: Lanes>(p: *const V::T, step: isize, lo: usize, hi: usize) -> V {
    let mut buf = [V::T::ZERO; 16];
    // SAFETY: the caller vouches for these elements; no register has more than 16 lanes.
    unsafe {
        for i in lo..hi {
            buf[i] = *p.wrapping_offset(step * i as isize);
        }
        V::load(buf.as_ptr())
    }
}

/// The portable register: an array that LLVM maps to SSE2 or NEON registers.
#[derive(Clone, Copy)]
pub struct Plain<T, const N: usize>([T; N]);

macro_rules! plain {
    ($t:ty, $n:literal) => {
        impl Lanes for Plain<$t, $n> {
            type T = $t;
            const N: usize = $n;
            const ROWS: usize = 4;
            #[inline(always)]
            unsafe fn zero() -> Self {
                Plain([0.0; $n])
            }
            #[inline(always)]
            unsafe fn splat(v: $t) -> Self {
                Plain([v; $n])
            }
            #[inline(always)]
            unsafe fn load(p: *const $t) -> Self {
                // SAFETY: the caller vouches for N elements.
                Plain(unsafe { p.cast::<[$t; $n]>().read_unaligned() })
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $t) {
                // SAFETY: the caller vouches for N elements.
                unsafe { p.cast::<[$t; $n]>().write_unaligned(self.0) }
            }
            #[inline(always)]
            unsafe fn load_n(p: *const $t, n: usize) -> Self {
                let mut v = [0.0; $n];
                for i in 0..n {
                    // SAFETY: the caller vouches for n elements.
                    v[i] = unsafe { *p.add(i) };
                }
                Plain(v)
            }
            #[inline(always)]
            unsafe fn store_n(self, p: *mut $t, n: usize) {
                for i in 0..n {
                    // SAFETY: the caller vouches for n elements.
                    unsafe { *p.add(i) = self.0[i] };
                }
            }
            #[inline(always)]
            unsafe fn or(mut self, o: Self) -> Self {
                for i in 0..$n {
                    self.0[i] = <$t>::from_bits(self.0[i].to_bits() | o.0[i].to_bits());
                }
                self
            }
            #[inline(always)]
            unsafe fn add(mut self, o: Self) -> Self {
                for i in 0..$n {
                    self.0[i] += o.0[i];
                }
                self
            }
            #[inline(always)]
            unsafe fn mul(mut self, o: Self) -> Self {
                for i in 0..$n {
                    self.0[i] *= o.0[i];
                }
                self
            }
            #[inline(always)]
            unsafe fn fma(mut self, b: Self, c: Self) -> Self {
                for i in 0..$n {
                    self.0[i] = self.0[i] * b.0[i] + c.0[i];
                }
                self
            }
            #[inline(always)]
            unsafe fn transpose(src: *const $t, stride: isize, rows: usize, dst: *mut $t, step: usize) {
                // SAFETY: as the caller's.
                unsafe { transpose_plain::<$t, $n>(src, stride, rows, dst, step) }
            }
        }
    };
}
plain!(f32, 8);
plain!(f64, 4);

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2F32, Avx2F64, Avx512F32, Avx512F64};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Lanes, scalar_span, transpose_plain};
    use std::arch::x86_64::*;

    macro_rules! lanes {
        ($name:ident $t:ty, $n:literal, $rows:literal, $reg:ty, $zero:ident, $set1:ident, $load:ident, $store:ident,
         $add:ident, $mul:ident, $fma:ident, $or:ident, $($extra:item)*) => {
            #[derive(Clone, Copy)]
            pub struct $name($reg);
            impl Lanes for $name {
                type T = $t;
                const N: usize = $n;
                const ROWS: usize = $rows;
                #[inline(always)]
                unsafe fn zero() -> Self {
                    // SAFETY: the caller detected the instruction set (here and below).
                    $name(unsafe { $zero() })
                }
                #[inline(always)]
                unsafe fn splat(v: $t) -> Self {
                    // SAFETY: as above.
                    $name(unsafe { $set1(v) })
                }
                #[inline(always)]
                unsafe fn load(p: *const $t) -> Self {
                    // SAFETY: as above; the caller vouches for the pointer.
                    $name(unsafe { $load(p) })
                }
                #[inline(always)]
                unsafe fn store(self, p: *mut $t) {
                    // SAFETY: as above; the caller vouches for the pointer.
                    unsafe { $store(p, self.0) }
                }
                #[inline(always)]
                unsafe fn add(self, o: Self) -> Self {
                    // SAFETY: as above.
                    $name(unsafe { $add(self.0, o.0) })
                }
                #[inline(always)]
                unsafe fn mul(self, o: Self) -> Self {
                    // SAFETY: as above.
                    $name(unsafe { $mul(self.0, o.0) })
                }
                #[inline(always)]
                unsafe fn fma(self, b: Self, c: Self) -> Self {
                    // SAFETY: as above.
                    $name(unsafe { $fma(self.0, b.0, c.0) })
                }
                #[inline(always)]
                unsafe fn or(self, o: Self) -> Self {
                    // SAFETY: as above.
                    $name(unsafe { $or(self.0, o.0) })
                }
                $($extra)*
            }
        };
    }

    lanes!(Avx512F32 f32, 16, 14, __m512, _mm512_setzero_ps, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps,
        _mm512_add_ps, _mm512_mul_ps, _mm512_fmadd_ps, _mm512_or_ps,
        #[inline(always)]
        unsafe fn load_n(p: *const f32, n: usize) -> Self {
            // SAFETY: masked lanes are not read.
            Avx512F32(unsafe { _mm512_maskz_loadu_ps(mask16(n), p) })
        }
        #[inline(always)]
        unsafe fn store_n(self, p: *mut f32, n: usize) {
            // SAFETY: masked lanes are not written.
            unsafe { _mm512_mask_storeu_ps(p, mask16(n), self.0) }
        }
        #[inline(always)]
        unsafe fn load_span(p: *const f32, step: isize, lo: usize, hi: usize) -> Self {
            // SAFETY: masked lanes are not read; between two elements memory is readable, as the caller vouches.
            unsafe {
                if step == 1 {
                    return Avx512F32(_mm512_maskz_loadu_ps(mask16(hi) & !mask16(lo), p));
                }
                if step == 2 && lo < hi {
                    let mask = ((1u64 << (2 * hi - 1)) - 1) & !((1u64 << (2 * lo)) - 1);
                    let a = _mm512_maskz_loadu_ps(mask as u16, p);
                    let b = _mm512_maskz_loadu_ps((mask >> 16) as u16, p.wrapping_add(16));
                    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
                    return Avx512F32(_mm512_permutex2var_ps(a, even, b));
                }
                scalar_span(p, step, lo, hi)
            }
        }
        #[inline(always)]
        unsafe fn transpose(src: *const f32, stride: isize, rows: usize, dst: *mut f32, step: usize) {
            // SAFETY: the caller vouches for the rows and for `dst`.
            unsafe { transpose16(src, stride, rows, dst, step) }
        }
    );
    lanes!(Avx512F64 f64, 8, 14, __m512d, _mm512_setzero_pd, _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd,
        _mm512_add_pd, _mm512_mul_pd, _mm512_fmadd_pd, _mm512_or_pd,
        #[inline(always)]
        unsafe fn load_n(p: *const f64, n: usize) -> Self {
            // SAFETY: masked lanes are not read.
            Avx512F64(unsafe { _mm512_maskz_loadu_pd(mask16(n) as u8, p) })
        }
        #[inline(always)]
        unsafe fn store_n(self, p: *mut f64, n: usize) {
            // SAFETY: masked lanes are not written.
            unsafe { _mm512_mask_storeu_pd(p, mask16(n) as u8, self.0) }
        }
        #[inline(always)]
        unsafe fn transpose(src: *const f64, stride: isize, rows: usize, dst: *mut f64, step: usize) {
            // SAFETY: as the caller's.
            unsafe { transpose_plain::<f64, 8>(src, stride, rows, dst, step) }
        }
    );
    lanes!(Avx2F32 f32, 8, 6, __m256, _mm256_setzero_ps, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps,
        _mm256_add_ps, _mm256_mul_ps, _mm256_fmadd_ps, _mm256_or_ps,
        #[inline(always)]
        unsafe fn load_n(p: *const f32, n: usize) -> Self {
            // SAFETY: masked lanes are not read; the table holds 8 integers from any start used here.
            Avx2F32(unsafe { _mm256_maskload_ps(p, _mm256_loadu_si256(MASK32.as_ptr().add(8 - n).cast())) })
        }
        #[inline(always)]
        unsafe fn store_n(self, p: *mut f32, n: usize) {
            // SAFETY: as above.
            unsafe { _mm256_maskstore_ps(p, _mm256_loadu_si256(MASK32.as_ptr().add(8 - n).cast()), self.0) }
        }
        #[inline(always)]
        unsafe fn load_span(p: *const f32, step: isize, lo: usize, hi: usize) -> Self {
            // SAFETY: masked lanes are not read.
            unsafe {
                if step == 1 {
                    let below = |n: usize| _mm256_loadu_si256(MASK32.as_ptr().add(8 - n).cast());
                    return Avx2F32(_mm256_maskload_ps(p, _mm256_andnot_si256(below(lo), below(hi))));
                }
                scalar_span(p, step, lo, hi)
            }
        }
        #[inline(always)]
        unsafe fn transpose(src: *const f32, stride: isize, rows: usize, dst: *mut f32, step: usize) {
            // SAFETY: as the caller's.
            unsafe { transpose_plain::<f32, 8>(src, stride, rows, dst, step) }
        }
    );
    lanes!(Avx2F64 f64, 4, 6, __m256d, _mm256_setzero_pd, _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd,
        _mm256_add_pd, _mm256_mul_pd, _mm256_fmadd_pd, _mm256_or_pd,
        #[inline(always)]
        unsafe fn load_n(p: *const f64, n: usize) -> Self {
            // SAFETY: masked lanes are not read; the table holds 4 integers from any start used here.
            Avx2F64(unsafe { _mm256_maskload_pd(p, _mm256_loadu_si256(MASK64.as_ptr().add(4 - n).cast())) })
        }
        #[inline(always)]
        unsafe fn store_n(self, p: *mut f64, n: usize) {
            // SAFETY: as above.
            unsafe { _mm256_maskstore_pd(p, _mm256_loadu_si256(MASK64.as_ptr().add(4 - n).cast()), self.0) }
        }
        #[inline(always)]
        unsafe fn transpose(src: *const f64, stride: isize, rows: usize, dst: *mut f64, step: usize) {
            // SAFETY: as the caller's.
            unsafe { transpose_plain::<f64, 4>(src, stride, rows, dst, step) }
        }
    );

    static MASK32: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    static MASK64: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];

    #[inline(always)]
    fn mask16(n: usize) -> u16 {
        ((1u32 << n) - 1) as u16
    }

    /// 16x16: pairs of rows are interleaved (32 bits, then 64), then blocks of 128 bits change places.
    #[inline(always)]
    unsafe fn transpose16(src: *const f32, stride: isize, rows: usize, dst: *mut f32, step: usize) {
        // SAFETY: the caller vouches for AVX-512, the rows and `dst`.
        unsafe {
            let mut r = [_mm512_setzero_ps(); 16];
            for i in 0..16 {
                r[i] = _mm512_loadu_ps(src.wrapping_offset(stride * i.min(rows - 1) as isize));
            }
            let mut t = r;
            for i in 0..8 {
                t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            for i in 0..4 {
                let d = |v: __m512| _mm512_castps_pd(v);
                let s = |v: __m512d| _mm512_castpd_ps(v);
                r[4 * i] = s(_mm512_unpacklo_pd(d(t[4 * i]), d(t[4 * i + 2])));
                r[4 * i + 1] = s(_mm512_unpackhi_pd(d(t[4 * i]), d(t[4 * i + 2])));
                r[4 * i + 2] = s(_mm512_unpacklo_pd(d(t[4 * i + 1]), d(t[4 * i + 3])));
                r[4 * i + 3] = s(_mm512_unpackhi_pd(d(t[4 * i + 1]), d(t[4 * i + 3])));
            }
            for i in 0..4 {
                t[i] = _mm512_shuffle_f32x4::<0x88>(r[i], r[4 + i]);
                t[4 + i] = _mm512_shuffle_f32x4::<0xdd>(r[i], r[4 + i]);
                t[8 + i] = _mm512_shuffle_f32x4::<0x88>(r[8 + i], r[12 + i]);
                t[12 + i] = _mm512_shuffle_f32x4::<0xdd>(r[8 + i], r[12 + i]);
            }
            for i in 0..4 {
                _mm512_storeu_ps(dst.add(i * step), _mm512_shuffle_f32x4::<0x88>(t[i], t[8 + i]));
                r[8 + i] = _mm512_shuffle_f32x4::<0xdd>(t[i], t[8 + i]);
                r[4 + i] = _mm512_shuffle_f32x4::<0x88>(t[4 + i], t[12 + i]);
                r[12 + i] = _mm512_shuffle_f32x4::<0xdd>(t[4 + i], t[12 + i]);
            }
            for j in 4..16 {
                _mm512_storeu_ps(dst.add(j * step), r[j]);
            }
        }
    }
}
