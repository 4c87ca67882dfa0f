//! Two of the cheapest rows in one loop: what is between them stays in a register, where a tile of its own would be
//! stored and loaded again (a row of additions and multiplications is bound by just that). Sums, differences, products
//! and quotients of each other, and a choice by a comparison.
//! Not here: which steps are joined (`interp_plan`).

use rtorch_ir::{CType, ScalarOp};

use super::detect::{Capability, capability};
use super::kernels::Kernel;

/// Rows that are joined, in the order of the tables.
const OPS: [ScalarOp; 4] = [ScalarOp::Add, ScalarOp::Sub, ScalarOp::Mul, ScalarOp::Div];
/// Compute types that have such kernels.
const TYPES: [CType; 2] = [CType::F32, CType::F64];
/// By type, first row, second row, and whether the first result is the second row's right operand.
type Table = [[[[Kernel; 2]; 4]; 4]; 2];

/// `(dst, a, b, x, y, n)`: as `Kernel`, with four arguments.
pub type Kernel4 = unsafe fn(*mut u8, *const u8, *const u8, *const u8, *const u8, usize);
/// Comparisons that are joined with a choice, in the order of the tables.
const COMPARISONS: [ScalarOp; 6] = [ScalarOp::Eq, ScalarOp::Ne, ScalarOp::Lt, ScalarOp::Le, ScalarOp::Gt, ScalarOp::Ge];
/// Types that are compared and chosen.
const CHOSEN: [CType; 4] = [CType::I32, CType::I64, CType::F32, CType::F64];
type Choices = [[Kernel4; 6]; 4];
/// By type, form and strictness (`clamp`).
type Clamps = [[[Kernel; 2]; 3]; 4];

macro_rules! isa_module {
    ($module:ident, $isa:ident, [$($attr:meta),*]) => {
        mod $module {
            use std::slice::{from_raw_parts, from_raw_parts_mut};

            use super::{Choices, Clamps, Table};
            use crate::simd::lane::{F32, F64, I32, I64, Lane, Num, Real};

            type I = crate::simd::lane::$isa;

            #[inline(always)]
            fn row<T: Real, const OP: usize>(a: T, b: T) -> T {
                match OP {
                    0 => a.add(b),
                    1 => a.sub(b),
                    2 => a.mul(b),
                    _ => a.div(b),
                }
            }

            /// dst = (a FIRST b) SECOND c, or c SECOND (a FIRST b).
            $(#[$attr])*
            unsafe fn pair<T: Real, const FIRST: usize, const SECOND: usize, const RIGHT: bool>(
                dst: *mut u8,
                a: *const u8,
                b: *const u8,
                c: *const u8,
                n: usize,
            ) {
                // parameters are what carries `noalias`
                #[inline(always)]
                fn each<T: Real, const FIRST: usize, const SECOND: usize, const RIGHT: bool>(
                    dst: &mut [T::Mem],
                    a: &[T::Mem],
                    b: &[T::Mem],
                    c: &[T::Mem],
                ) {
                    for i in 0..dst.len() {
                        // SAFETY: all slices have the same length.
                        unsafe {
                            let get = |s: &[T::Mem]| <T as Lane>::get(*s.get_unchecked(i));
                            let (first, other) = (row::<T, FIRST>(get(a), get(b)), get(c));
                            let y = match RIGHT {
                                false => row::<T, SECOND>(first, other),
                                true => row::<T, SECOND>(other, first),
                            };
                            *dst.get_unchecked_mut(i) = y.put();
                        }
                    }
                }
                // SAFETY: the interpreter passes `n` elements of this type each, and a destination apart from them.
                unsafe {
                    each::<T, FIRST, SECOND, RIGHT>(
                        from_raw_parts_mut(dst.cast(), n),
                        from_raw_parts(a.cast(), n),
                        from_raw_parts(b.cast(), n),
                        from_raw_parts(c.cast(), n),
                    );
                }
            }

            macro_rules! sides {
                ($t:ty, $first:literal, $second:literal) => {
                    [pair::<$t, $first, $second, false>, pair::<$t, $first, $second, true>]
                };
            }
            macro_rules! seconds {
                ($t:ty, $first:literal) => {
                    [sides!($t, $first, 0), sides!($t, $first, 1), sides!($t, $first, 2), sides!($t, $first, 3)]
                };
            }
            macro_rules! firsts {
                ($t:ty) => {
                    [seconds!($t, 0), seconds!($t, 1), seconds!($t, 2), seconds!($t, 3)]
                };
            }
            pub static TABLE: Table = [firsts!(F32<I>), firsts!(F64<I>)];

            #[inline(always)]
            fn holds<T: Num, const OP: usize>(a: T, b: T) -> bool {
                match OP {
                    0 => a.eq(b).0,
                    1 => a.ne(b).0,
                    2 => a.lt(b).0,
                    3 => a.le(b).0,
                    4 => b.lt(a).0,
                    _ => b.le(a).0,
                }
            }

            /// dst = x where a OP b, else y.
            $(#[$attr])*
            unsafe fn choice<T: Num, const OP: usize>(
                dst: *mut u8,
                a: *const u8,
                b: *const u8,
                x: *const u8,
                y: *const u8,
                n: usize,
            ) {
                #[inline(always)]
                fn each<T: Num, const OP: usize>(
                    dst: &mut [T::Mem],
                    a: &[T::Mem],
                    b: &[T::Mem],
                    x: &[T::Mem],
                    y: &[T::Mem],
                ) {
                    for i in 0..dst.len() {
                        // SAFETY: all slices have the same length.
                        unsafe {
                            let get = |s: &[T::Mem]| <T as Lane>::get(*s.get_unchecked(i));
                            let (x, y) = (*x.get_unchecked(i), *y.get_unchecked(i));
                            *dst.get_unchecked_mut(i) = if holds::<T, OP>(get(a), get(b)) { x } else { y };
                        }
                    }
                }
                // SAFETY: as in `pair`.
                unsafe {
                    each::<T, OP>(
                        from_raw_parts_mut(dst.cast(), n),
                        from_raw_parts(a.cast(), n),
                        from_raw_parts(b.cast(), n),
                        from_raw_parts(x.cast(), n),
                        from_raw_parts(y.cast(), n),
                    );
                }
            }

            /// dst = x cut to two bounds. FORM 0: the upper one c first; 1: the lower one b first; 2: x cut to the
            /// lower one, and what that is to the upper one. STRICT: what equals a bound stays (the sign of a zero).
            $(#[$attr])*
            unsafe fn clamp<T: Num, const FORM: usize, const STRICT: bool>(
                dst: *mut u8,
                x: *const u8,
                b: *const u8,
                c: *const u8,
                n: usize,
            ) {
                #[inline(always)]
                fn each<T: Num, const FORM: usize, const STRICT: bool>(
                    dst: &mut [T::Mem],
                    x: &[T::Mem],
                    b: &[T::Mem],
                    c: &[T::Mem],
                ) {
                    let below = |a: T, b: T| if STRICT { a.lt(b).0 } else { a.le(b).0 };
                    for i in 0..dst.len() {
                        // SAFETY: all slices have the same length.
                        unsafe {
                            let get = |s: &[T::Mem]| <T as Lane>::get(*s.get_unchecked(i));
                            let (x, low, high) = (get(x), get(b), get(c));
                            let y = match FORM {
                                0 => {
                                    let y = if below(x, low) { low } else { x };
                                    if below(high, x) { high } else { y }
                                }
                                1 => {
                                    let y = if below(high, x) { high } else { x };
                                    if below(x, low) { low } else { y }
                                }
                                _ => {
                                    let y = if below(x, low) { low } else { x };
                                    if below(high, y) { high } else { y }
                                }
                            };
                            *dst.get_unchecked_mut(i) = y.put();
                        }
                    }
                }
                // SAFETY: as in `pair`.
                unsafe {
                    each::<T, FORM, STRICT>(
                        from_raw_parts_mut(dst.cast(), n),
                        from_raw_parts(x.cast(), n),
                        from_raw_parts(b.cast(), n),
                        from_raw_parts(c.cast(), n),
                    );
                }
            }

            macro_rules! forms {
                ($t:ty) => {
                    [
                        [clamp::<$t, 0, false>, clamp::<$t, 0, true>],
                        [clamp::<$t, 1, false>, clamp::<$t, 1, true>],
                        [clamp::<$t, 2, false>, clamp::<$t, 2, true>],
                    ]
                };
            }
            pub static CLAMPS: Clamps = [forms!(I32<I>), forms!(I64<I>), forms!(F32<I>), forms!(F64<I>)];

            macro_rules! comparisons {
                ($t:ty) => {
                    [
                        choice::<$t, 0>,
                        choice::<$t, 1>,
                        choice::<$t, 2>,
                        choice::<$t, 3>,
                        choice::<$t, 4>,
                        choice::<$t, 5>,
                    ]
                };
            }
            pub static CHOICES: Choices =
                [comparisons!(I32<I>), comparisons!(I64<I>), comparisons!(F32<I>), comparisons!(F64<I>)];
        }
    };
}

#[cfg(target_arch = "x86_64")]
isa_module!(avx512, Avx512, [target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,f16c")]);
#[cfg(target_arch = "x86_64")]
isa_module!(avx2, Avx2, [target_feature(enable = "avx2,fma,f16c")]);
isa_module!(baseline, Baseline, []);

fn tables() -> (&'static Table, &'static Choices, &'static Clamps) {
    match capability() {
        #[cfg(target_arch = "x86_64")]
        Capability::Avx512 => (&avx512::TABLE, &avx512::CHOICES, &avx512::CLAMPS),
        #[cfg(target_arch = "x86_64")]
        Capability::Avx2 => (&avx2::TABLE, &avx2::CHOICES, &avx2::CLAMPS),
        #[cfg(not(target_arch = "x86_64"))]
        Capability::Avx512 | Capability::Avx2 => (&baseline::TABLE, &baseline::CHOICES, &baseline::CLAMPS),
        Capability::Baseline => (&baseline::TABLE, &baseline::CHOICES, &baseline::CLAMPS),
    }
}

/// The kernel of `(a first b) second c`, or with `right` of `c second (a first b)`, where there is one.
pub fn pair(first: ScalarOp, second: ScalarOp, t: CType, right: bool) -> Option<Kernel> {
    let at = |op| OPS.iter().position(|&o| o == op);
    let t = TYPES.iter().position(|&x| x == t)?;
    Some(tables().0[t][at(first)?][at(second)?][usize::from(right)])
}

/// The kernel of `where(a comparison b, x, y)` for numbers of one type, where there is one. `isnan(a)` is a comparison
/// of a with itself.
pub fn choice(comparison: ScalarOp, t: CType) -> Option<Kernel4> {
    let comparison = if comparison == ScalarOp::IsNan { ScalarOp::Ne } else { comparison };
    let at = COMPARISONS.iter().position(|&o| o == comparison)?;
    Some(tables().1[CHOSEN.iter().position(|&x| x == t)?][at])
}

/// How a number is cut to two bounds: see `clamp`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    UpperFirst,
    LowerFirst,
    LowerThenUpper,
}

/// The kernel `(x, lower, upper)` of two choices that cut a number to bounds, where there is one.
pub fn clamp(form: Form, strict: bool, t: CType) -> Option<Kernel> {
    Some(tables().2[CHOSEN.iter().position(|&x| x == t)?][form as usize][usize::from(strict)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::kernels::kernel;

    /// Every pair gives the bits of its two rows, one after the other.
    #[test]
    fn agree_with_single_rows() {
        const N: usize = 37;
        let numbers = |k: u32| -> Vec<f32> {
            let mut x: Vec<f32> =
                (0..N as u32).map(|i| ((i * 7919 + k * 104_729) % 1009) as f32 / 37.0 - 13.0).collect();
            x[..4].copy_from_slice(&[f32::INFINITY, -0.0, 1e-42, f32::MAX]);
            x
        };
        let (a, b, c) = (numbers(1), numbers(2), numbers(3));
        let p = |x: &[f32]| x.as_ptr().cast::<u8>();
        for (first, second) in OPS.iter().flat_map(|&x| OPS.map(|y| (x, y))) {
            for right in [false, true] {
                let (mut mid, mut want, mut got) = (vec![0f32; N], vec![0f32; N], vec![0f32; N]);
                let rows = [first, second].map(|op| kernel(op, CType::F32).unwrap());
                // SAFETY: N elements each, apart from each other.
                unsafe {
                    rows[0](mid.as_mut_ptr().cast(), p(&a), p(&b), p(&a), N);
                    let (x, y) = if right { (p(&c), p(&mid)) } else { (p(&mid), p(&c)) };
                    rows[1](want.as_mut_ptr().cast(), x, y, x, N);
                    let joined = pair(first, second, CType::F32, right).unwrap();
                    joined(got.as_mut_ptr().cast(), p(&a), p(&b), p(&c), N);
                }
                let bits =
                    |x: &[f32]| -> Vec<u32> { x.iter().map(|v| if v.is_nan() { 1 } else { v.to_bits() }).collect() };
                assert_eq!(bits(&got), bits(&want), "{first:?} {second:?} {right}");
            }
        }
        assert!(pair(ScalarOp::Add, ScalarOp::Maximum, CType::F32, false).is_none());
        assert!(pair(ScalarOp::Add, ScalarOp::Mul, CType::I32, false).is_none());
    }
    /// So does every choice by a comparison.
    #[test]
    fn choices_agree_with_single_rows() {
        const N: usize = 37;
        let numbers = |k: u32| -> Vec<f64> {
            let mut x: Vec<f64> = (0..N as u32).map(|i| f64::from((i * 7919 + k * 104_729) % 5)).collect();
            x[..4].copy_from_slice(&[f64::NAN, -0.0, f64::INFINITY, f64::from(k)]);
            x
        };
        let (a, b, x, y) = (numbers(1), numbers(2), numbers(3), numbers(4));
        let p = |x: &[f64]| x.as_ptr().cast::<u8>();
        for op in COMPARISONS.into_iter().chain([ScalarOp::IsNan]) {
            let (mut mid, mut want, mut got) = (vec![0u8; N], vec![0f64; N], vec![0f64; N]);
            let b = if op == ScalarOp::IsNan { &a } else { &b };
            let rows = [op, ScalarOp::Where].map(|op| kernel(op, CType::F64).unwrap());
            // SAFETY: N elements each, apart from each other.
            unsafe {
                rows[0](mid.as_mut_ptr(), p(&a), p(b), p(&a), N);
                rows[1](want.as_mut_ptr().cast(), mid.as_ptr(), p(&x), p(&y), N);
                choice(op, CType::F64).unwrap()(got.as_mut_ptr().cast(), p(&a), p(b), p(&x), p(&y), N);
            }
            let bits = |x: &[f64]| -> Vec<u64> { x.iter().map(|v| v.to_bits()).collect() };
            assert_eq!(bits(&got), bits(&want), "{op:?}");
        }
        for (form, strict) in
            [Form::UpperFirst, Form::LowerFirst, Form::LowerThenUpper].map(|f| [(f, true), (f, false)]).concat()
        {
            let (mut mid, mut want, mut got) = (vec![0f64; N], vec![0f64; N], vec![0f64; N]);
            let ops = if strict { [ScalarOp::Lt, ScalarOp::Gt] } else { [ScalarOp::Le, ScalarOp::Ge] };
            let [low, high] = ops.map(|op| choice(op, CType::F64).unwrap());
            // SAFETY: as above.
            unsafe {
                let to = |v: &mut Vec<f64>| v.as_mut_ptr().cast::<u8>();
                if form == Form::LowerFirst {
                    high(to(&mut mid), p(&a), p(&y), p(&y), p(&a), N);
                    low(to(&mut want), p(&a), p(&x), p(&x), p(&mid), N);
                } else {
                    low(to(&mut mid), p(&a), p(&x), p(&x), p(&a), N);
                    let cut = if form == Form::UpperFirst { p(&a) } else { p(&mid) };
                    high(to(&mut want), cut, p(&y), p(&y), p(&mid), N);
                }
                clamp(form, strict, CType::F64).unwrap()(to(&mut got), p(&a), p(&x), p(&y), N);
            }
            let bits = |x: &[f64]| -> Vec<u64> { x.iter().map(|v| v.to_bits()).collect() };
            assert_eq!(bits(&got), bits(&want), "{form:?} {strict}");
        }
        assert!(choice(ScalarOp::Add, CType::F32).is_none());
        assert!(choice(ScalarOp::Lt, CType::Bool).is_none());
    }
}
