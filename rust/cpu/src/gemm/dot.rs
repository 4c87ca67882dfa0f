//! Products with one small side, where packing would cost more than the arithmetic: `dots` (both operands lie along k:
//! matrix times vector, a few rows times a transposed matrix) and `axpys` (a few rows times a matrix whose rows are
//! read once, front to back). Everything else is tiles (`kernel`).

use super::kernel::Body;
use super::lanes::{Lanes, Real};

/// C[i, j] = sum over k of A[i, k] B[j, k]; `c` has any strides.
#[derive(Clone, Copy)]
pub struct Dots<T> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: *const T,
    pub lda: isize,
    pub b: *const T,
    pub ldb: isize,
    pub c: *mut T,
    pub rs: isize,
    pub cs: isize,
}

/// `M` rows of A with `N` rows of B. Each pair has one accumulator that takes the registers along k in order: the sum
/// does not depend on how pairs are grouped.
#[inline(always)]
unsafe fn dot_tile<V: Lanes, const M: usize, const N: usize>(d: &Dots<V::T>, i: usize, j: usize) {
    // SAFETY: rows i..i+M of A and j..j+N of B exist, of k values each.
    unsafe {
        let a: [*const V::T; M] = std::array::from_fn(|r| d.a.wrapping_offset(d.lda * (i + r) as isize));
        let b: [*const V::T; N] = std::array::from_fn(|r| d.b.wrapping_offset(d.ldb * (j + r) as isize));
        let mut acc = [[V::zero(); N]; M];
        let mut p = 0;
        while p + V::N <= d.k {
            let mut bv = [V::zero(); N];
            for c in 0..N {
                bv[c] = V::load(b[c].add(p));
            }
            for r in 0..M {
                let av = V::load(a[r].add(p));
                for c in 0..N {
                    acc[r][c] = av.fma(bv[c], acc[r][c]);
                }
            }
            p += V::N;
        }
        if p < d.k {
            let rest = d.k - p;
            for r in 0..M {
                let av = V::load_n(a[r].add(p), rest);
                for c in 0..N {
                    acc[r][c] = av.fma(V::load_n(b[c].add(p), rest), acc[r][c]);
                }
            }
        }
        for r in 0..M {
            for c in 0..N {
                *d.c.wrapping_offset(d.rs * (i + r) as isize + d.cs * (j + c) as isize) = acc[r][c].sum();
            }
        }
    }
}

/// All pairs, B's rows in the outer loop: pass the longer operand as B.
///
/// # Safety
/// The struct's pointers must be good for its sizes, and the instruction set of `V` detected.
#[inline(always)]
unsafe fn dots<V: Lanes>(d: &Dots<V::T>) {
    // 4 x 4 accumulators and 5 operands fit 32 registers, 2 x 4 fit 16
    let wide = V::ROWS > 8;
    let mut j = 0;
    // SAFETY: as the caller's; the tiles stay within m and n.
    unsafe {
        while j + 4 <= d.n {
            let mut i = 0;
            while wide && i + 4 <= d.m {
                dot_tile::<V, 4, 4>(d, i, j);
                i += 4;
            }
            while i + 2 <= d.m {
                dot_tile::<V, 2, 4>(d, i, j);
                i += 2;
            }
            if i < d.m {
                dot_tile::<V, 1, 4>(d, i, j);
            }
            j += 4;
        }
        while j < d.n {
            let mut i = 0;
            while i + 4 <= d.m {
                dot_tile::<V, 4, 1>(d, i, j);
                i += 4;
            }
            while i < d.m {
                dot_tile::<V, 1, 1>(d, i, j);
                i += 1;
            }
            j += 1;
        }
    }
}

/// C[i, j] = sum over k of A[i, k] B[k, j]; rows of B and C are contiguous.
#[derive(Clone, Copy)]
pub struct Axpys<T> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: *const T,
    pub ars: isize,
    pub acs: isize,
    pub b: *const T,
    pub ldb: isize,
    pub c: *mut T,
    pub ldc: isize,
}

/// Rows of B taken at once, so that C is loaded and stored once for all of them.
const TOGETHER: usize = 4;

/// # Safety
/// As for `dots`.
#[inline(always)]
unsafe fn axpys<V: Lanes>(d: &Axpys<V::T>) {
    let mut p = 0;
    while p < d.k {
        let rows = (d.k - p).min(TOGETHER);
        for i in 0..d.m {
            let a = d.a.wrapping_offset(d.ars * i as isize + d.acs * p as isize);
            let c = d.c.wrapping_offset(d.ldc * i as isize);
            let b = d.b.wrapping_offset(d.ldb * p as isize);
            // SAFETY: as the caller's: `rows` values of A's row, rows of B, a row of C.
            unsafe {
                match rows {
                    4 => axpy_rows::<V, 4>(d, a, b, c, p > 0),
                    3 => axpy_rows::<V, 3>(d, a, b, c, p > 0),
                    2 => axpy_rows::<V, 2>(d, a, b, c, p > 0),
                    _ => axpy_rows::<V, 1>(d, a, b, c, p > 0),
                }
            }
        }
        p += rows;
    }
}

#[inline(always)]
unsafe fn axpy_rows<V: Lanes, const R: usize>(
    d: &Axpys<V::T>,
    a: *const V::T,
    b: *const V::T,
    c: *mut V::T,
    add: bool,
) {
    // SAFETY: as `axpys`.
    unsafe {
        // (not by `array::from_fn`: its closure would be compiled without the instruction set of `V`)
        let (mut av, mut rows) = ([V::zero(); R], [b; R]);
        for r in 0..R {
            av[r] = V::splat(*a.wrapping_offset(d.acs * r as isize));
            rows[r] = b.wrapping_offset(d.ldb * r as isize);
        }
        let mut j = 0;
        while j + V::N <= d.n {
            let mut acc = if add { V::load(c.add(j)) } else { V::zero() };
            for r in 0..R {
                acc = av[r].fma(V::load(rows[r].add(j)), acc);
            }
            acc.store(c.add(j));
            j += V::N;
        }
        if j < d.n {
            let rest = d.n - j;
            let mut acc = if add { V::load_n(c.add(j), rest) } else { V::zero() };
            for r in 0..R {
                acc = av[r].fma(V::load_n(rows[r].add(j), rest), acc);
            }
            acc.store_n(c.add(j), rest);
        }
    }
}

/// C of an empty sum.
///
/// # Safety
/// C has m x n elements.
pub unsafe fn fill_zero<T: Real>(c: *mut T, rs: isize, cs: isize, m: usize, n: usize) {
    for i in 0..m {
        for j in 0..n {
            // SAFETY: the caller vouches for C.
            unsafe { *c.wrapping_offset(rs * i as isize + cs * j as isize) = T::ZERO };
        }
    }
}

impl<T: Real> Body<T> for &Dots<T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        // SAFETY: as the caller's.
        unsafe { dots::<V>(self) }
    }
}

impl<T: Real> Body<T> for &Axpys<T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        // SAFETY: as the caller's.
        unsafe { axpys::<V>(self) }
    }
}
