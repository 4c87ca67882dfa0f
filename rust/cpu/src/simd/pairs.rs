//! Two of the cheapest rows in one loop: what is between them stays in a register, where a tile of its own would be
//! stored and loaded again (a row of additions and multiplications is bound by just that).
//! Not here: which steps are joined (`interp_plan`).

use rtorch_ir::{CType, ScalarOp};

use super::detect::{Capability, capability};
use super::kernels::Kernel;

/// Rows that are joined, in the order of the tables.
const OPS: [ScalarOp; 3] = [ScalarOp::Add, ScalarOp::Sub, ScalarOp::Mul];
/// Compute types that have such kernels.
const TYPES: [CType; 2] = [CType::F32, CType::F64];
/// By type, first row, second row, and whether the first result is the second row's right operand.
type Table = [[[[Kernel; 2]; 3]; 3]; 2];

macro_rules! isa_module {
    ($module:ident, $isa:ident, [$($attr:meta),*]) => {
        mod $module {
            use std::slice::{from_raw_parts, from_raw_parts_mut};

            use super::Table;
            use crate::simd::lane::{F32, F64, Lane, Num};

            type I = crate::simd::lane::$isa;

            #[inline(always)]
            fn row<T: Num, const OP: usize>(a: T, b: T) -> T {
                match OP {
                    0 => a.add(b),
                    1 => a.sub(b),
                    _ => a.mul(b),
                }
            }

            /// dst = (a FIRST b) SECOND c, or c SECOND (a FIRST b).
            $(#[$attr])*
            unsafe fn pair<T: Num, const FIRST: usize, const SECOND: usize, const RIGHT: bool>(
                dst: *mut u8,
                a: *const u8,
                b: *const u8,
                c: *const u8,
                n: usize,
            ) {
                // parameters are what carries `noalias`
                #[inline(always)]
                fn each<T: Num, const FIRST: usize, const SECOND: usize, const RIGHT: bool>(
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
                    [sides!($t, $first, 0), sides!($t, $first, 1), sides!($t, $first, 2)]
                };
            }
            macro_rules! firsts {
                ($t:ty) => {
                    [seconds!($t, 0), seconds!($t, 1), seconds!($t, 2)]
                };
            }
            pub static TABLE: Table = [firsts!(F32<I>), firsts!(F64<I>)];
        }
    };
}

#[cfg(target_arch = "x86_64")]
isa_module!(avx512, Avx512, [target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,f16c")]);
#[cfg(target_arch = "x86_64")]
isa_module!(avx2, Avx2, [target_feature(enable = "avx2,fma,f16c")]);
isa_module!(baseline, Baseline, []);

/// The kernel of `(a first b) second c`, or with `right` of `c second (a first b)`, where there is one.
pub fn pair(first: ScalarOp, second: ScalarOp, t: CType, right: bool) -> Option<Kernel> {
    let table = match capability() {
        #[cfg(target_arch = "x86_64")]
        Capability::Avx512 => &avx512::TABLE,
        #[cfg(target_arch = "x86_64")]
        Capability::Avx2 => &avx2::TABLE,
        #[cfg(not(target_arch = "x86_64"))]
        Capability::Avx512 | Capability::Avx2 => &baseline::TABLE,
        Capability::Baseline => &baseline::TABLE,
    };
    let at = |op| OPS.iter().position(|&o| o == op);
    let t = TYPES.iter().position(|&x| x == t)?;
    Some(table[t][at(first)?][at(second)?][usize::from(right)])
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
        assert!(pair(ScalarOp::Add, ScalarOp::Div, CType::F32, false).is_none());
        assert!(pair(ScalarOp::Add, ScalarOp::Mul, CType::I32, false).is_none());
    }
}
