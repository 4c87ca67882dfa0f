//! Conversions between any two dtypes over contiguous memory, PyTorch's rules (`rtorch_ir::oracle::cast` defines them):
//! every load, store and cast of the tile interpreter. Not here: strided copies (`crate::interp`).

use rtorch_ir::DType;

use super::detect::{Capability, capability};
use super::kernels::Kernel;

/// A dtype as it lies in memory, and what it becomes: each source picks the widest type it needs.
trait Store {
    type Mem: Copy;
    fn to<D: Store>(m: Self::Mem) -> D::Mem;
    fn from_i32(v: i32) -> Self::Mem;
    fn from_i64(v: i64) -> Self::Mem;
    fn from_f32(v: f32) -> Self::Mem;
    fn from_f64(v: f64) -> Self::Mem;
    /// Complex to real drops the imaginary part.
    #[inline(always)]
    fn from_c64(v: [f32; 2]) -> Self::Mem {
        Self::from_f32(v[0])
    }
    #[inline(always)]
    fn from_c128(v: [f64; 2]) -> Self::Mem {
        Self::from_f64(v[0])
    }
}

/// Truncation as x86's cvttss2si: out of range and NaN give the smallest integer.
#[inline(always)]
fn f32_to_i32(x: f32) -> i32 {
    // SAFETY: in range.
    if (-2147483648.0..2147483648.0).contains(&x) { unsafe { x.to_int_unchecked() } } else { i32::MIN }
}
#[inline(always)]
fn f64_to_i32(x: f64) -> i32 {
    // SAFETY: in range after truncation.
    if x > -2147483649.0 && x < 2147483648.0 { unsafe { x.to_int_unchecked() } } else { i32::MIN }
}
#[inline(always)]
fn f64_to_i64(x: f64) -> i64 {
    let fits = (-9223372036854775808.0..9223372036854775808.0).contains(&x);
    // SAFETY: in range.
    if fits { unsafe { x.to_int_unchecked() } } else { i64::MIN }
}

/// IEEE half to single, branch-free.
#[inline(always)]
pub fn f16_to_f32(h: u16) -> f32 {
    let shifted = ((h & 0x7fff) as u32) << 13;
    let exp = shifted & 0x0f80_0000;
    let normal = shifted + (112 << 23);
    let special = normal + (112 << 23);
    // a denormal half is a normal single: let a subtraction normalise it
    let tiny = (f32::from_bits(normal + (1 << 23)) - f32::from_bits(113 << 23)).to_bits();
    let bits = if exp == 0x0f80_0000 { special } else { normal };
    let bits = if exp == 0 { tiny } else { bits };
    f32::from_bits(bits | (((h & 0x8000) as u32) << 16))
}

/// Single to half, to nearest even, branch-free.
#[inline(always)]
pub fn f32_to_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let a = bits & 0x7fff_ffff;
    let odd = (a >> 13) & 1;
    let normal = a.wrapping_add(0xc800_0fff).wrapping_add(odd) >> 13;
    let tiny = (f32::from_bits(a) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
    let special = if a > 0x7f80_0000 { 0x7e00 } else { 0x7c00 };
    let h = if a < 0x3880_0000 { tiny } else { normal };
    let h = if a >= 0x4780_0000 { special } else { h };
    (h | ((bits >> 16) & 0x8000)) as u16
}

#[inline(always)]
pub fn bf16_to_f32(h: u16) -> f32 {
    f32::from_bits((h as u32) << 16)
}

/// Single to bfloat16, to nearest even.
#[inline(always)]
pub fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    (if x.is_nan() { (bits >> 16) | 0x40 } else { rounded }) as u16
}

macro_rules! store {
    ($name:ident, $mem:ty, $m:ident => $d:ident :: $from:ident($wide:expr);
        $i32:expr, $i64:expr, $f32:expr, $f64:expr) => {
        struct $name;
        impl Store for $name {
            type Mem = $mem;
            #[inline(always)]
            fn to<$d: Store>($m: $mem) -> $d::Mem {
                $d::$from($wide)
            }
            #[inline(always)]
            fn from_i32(v: i32) -> $mem {
                let f: fn(i32) -> $mem = $i32;
                f(v)
            }
            #[inline(always)]
            fn from_i64(v: i64) -> $mem {
                let f: fn(i64) -> $mem = $i64;
                f(v)
            }
            #[inline(always)]
            fn from_f32(v: f32) -> $mem {
                let f: fn(f32) -> $mem = $f32;
                f(v)
            }
            #[inline(always)]
            fn from_f64(v: f64) -> $mem {
                let f: fn(f64) -> $mem = $f64;
                f(v)
            }
        }
    };
}
store!(U8, u8, m => D::from_i32(m as i32); |v| v as u8, |v| v as u8, |v| f32_to_i32(v) as u8, |v| f64_to_i32(v) as u8);
store!(I8, i8, m => D::from_i32(m as i32); |v| v as i8, |v| v as i8, |v| f32_to_i32(v) as i8, |v| f64_to_i32(v) as i8);
store!(I16, i16, m => D::from_i32(m as i32);
    |v| v as i16, |v| v as i16, |v| f32_to_i32(v) as i16, |v| f64_to_i32(v) as i16);
store!(I32, i32, m => D::from_i32(m); |v| v, |v| v as i32, f32_to_i32, f64_to_i32);
store!(I64, i64, m => D::from_i64(m); |v| v as i64, |v| v, |v| f64_to_i64(v as f64), f64_to_i64);
// an int64 reaches narrower floats by way of float64, as the oracle says
store!(F32, f32, m => D::from_f32(m); |v| v as f32, |v| v as f64 as f32, |v| v, |v| v as f32);
store!(F64, f64, m => D::from_f64(m); |v| v as f64, |v| v as f64, |v| v as f64, |v| v);
store!(F16, u16, m => D::from_f32(f16_to_f32(m));
    |v| f32_to_f16(v as f32), |v| f32_to_f16(v as f64 as f32), f32_to_f16, |v| f32_to_f16(v as f32));
store!(BF16, u16, m => D::from_f32(bf16_to_f32(m));
    |v| f32_to_bf16(v as f32), |v| f32_to_bf16(v as f64 as f32), f32_to_bf16, |v| f32_to_bf16(v as f32));

struct Bool;
impl Store for Bool {
    type Mem = u8;
    #[inline(always)]
    fn to<D: Store>(m: u8) -> D::Mem {
        D::from_i32((m != 0) as i32)
    }
    #[inline(always)]
    fn from_i32(v: i32) -> u8 {
        (v != 0) as u8
    }
    #[inline(always)]
    fn from_i64(v: i64) -> u8 {
        (v != 0) as u8
    }
    #[inline(always)]
    fn from_f32(v: f32) -> u8 {
        (v != 0.0) as u8
    }
    #[inline(always)]
    fn from_f64(v: f64) -> u8 {
        (v != 0.0) as u8
    }
    #[inline(always)]
    fn from_c64(v: [f32; 2]) -> u8 {
        (v[0] != 0.0 || v[1] != 0.0) as u8
    }
    #[inline(always)]
    fn from_c128(v: [f64; 2]) -> u8 {
        (v[0] != 0.0 || v[1] != 0.0) as u8
    }
}

macro_rules! complex {
    ($name:ident, $t:ty, $from:ident) => {
        struct $name;
        impl Store for $name {
            type Mem = [$t; 2];
            #[inline(always)]
            fn to<D: Store>(m: [$t; 2]) -> D::Mem {
                D::$from(m)
            }
            #[inline(always)]
            fn from_i32(v: i32) -> [$t; 2] {
                [v as f64 as $t, 0.0]
            }
            #[inline(always)]
            fn from_i64(v: i64) -> [$t; 2] {
                [v as f64 as $t, 0.0]
            }
            #[inline(always)]
            fn from_f32(v: f32) -> [$t; 2] {
                [v as $t, 0.0]
            }
            #[inline(always)]
            fn from_f64(v: f64) -> [$t; 2] {
                [v as $t, 0.0]
            }
            #[inline(always)]
            fn from_c64(v: [f32; 2]) -> [$t; 2] {
                v.map(|x| x as $t)
            }
            #[inline(always)]
            fn from_c128(v: [f64; 2]) -> [$t; 2] {
                v.map(|x| x as $t)
            }
        }
    };
}
complex!(C64, f32, from_c64);
complex!(C128, f64, from_c128);

/// Copies within a dtype keep every bit.
unsafe fn copy<S: Store>(dst: *mut u8, src: *const u8, _: *const u8, _: *const u8, n: usize) {
    // SAFETY: the interpreter passes `n` elements each, apart from each other.
    unsafe { std::ptr::copy_nonoverlapping(src, dst, n * size_of::<S::Mem>()) }
}

macro_rules! row {
    ($s:ident, [$($d:ident)*]) => {
        [$(if DType::$s as u8 == DType::$d as u8 {
            copy::<super::$s> as Kernel
        } else {
            convert::<super::$s, super::$d>
        }),*]
    };
}

macro_rules! isa_module {
    ($module:ident, [$($attr:meta),*], [$($s:ident)*], $all:tt) => {
        mod $module {
            use std::slice::{from_raw_parts, from_raw_parts_mut};

            use rtorch_ir::DType;

            use super::{Kernel, Store, copy};

            $(#[$attr])*
            unsafe fn convert<S: Store, D: Store>(dst: *mut u8, src: *const u8, _: *const u8, _: *const u8, n: usize) {
                #[inline(always)]
                fn each<S: Store, D: Store>(dst: &mut [D::Mem], src: &[S::Mem]) {
                    for i in 0..dst.len() {
                        // SAFETY: both slices have the same length.
                        unsafe { *dst.get_unchecked_mut(i) = S::to::<D>(*src.get_unchecked(i)) };
                    }
                }
                // SAFETY: the interpreter passes `n` elements each, apart from each other.
                unsafe { each::<S, D>(from_raw_parts_mut(dst.cast(), n), from_raw_parts(src.cast(), n)) }
            }

            pub static TABLE: [[Kernel; 12]; 12] = [$(row!($s, $all)),*];
        }
    };
}

#[cfg(target_arch = "x86_64")]
isa_module!(avx512, [target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,f16c")],
    [Bool U8 I8 I16 I32 I64 F16 BF16 F32 F64 C64 C128], [Bool U8 I8 I16 I32 I64 F16 BF16 F32 F64 C64 C128]);
#[cfg(target_arch = "x86_64")]
isa_module!(avx2, [target_feature(enable = "avx2,fma,f16c")],
    [Bool U8 I8 I16 I32 I64 F16 BF16 F32 F64 C64 C128], [Bool U8 I8 I16 I32 I64 F16 BF16 F32 F64 C64 C128]);
isa_module!(baseline, [],
    [Bool U8 I8 I16 I32 I64 F16 BF16 F32 F64 C64 C128], [Bool U8 I8 I16 I32 I64 F16 BF16 F32 F64 C64 C128]);

/// The kernel `(dst, src, _, _, n)` that converts contiguous elements; a plain copy where the dtypes are the same.
pub fn converter(from: DType, to: DType) -> Kernel {
    if from.is_storage() || to.is_storage() {
        return super::storage::storage_converter(from, to);
    }
    let table = match capability() {
        #[cfg(target_arch = "x86_64")]
        Capability::Avx512 => &avx512::TABLE,
        #[cfg(target_arch = "x86_64")]
        Capability::Avx2 => &avx2::TABLE,
        #[cfg(not(target_arch = "x86_64"))]
        Capability::Avx512 | Capability::Avx2 => &baseline::TABLE,
        Capability::Baseline => &baseline::TABLE,
    };
    table[from as usize][to as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_as_the_half_crate() {
        for h in 0..=u16::MAX {
            let want = half::f16::from_bits(h).to_f32();
            let have = f16_to_f32(h);
            assert!(
                have == want && have.is_sign_negative() == want.is_sign_negative() || want.is_nan() && have.is_nan()
            );
            assert!(want.is_nan() || f32_to_f16(want) == h);
        }
        let mut bits = 1u32;
        while bits < u32::MAX - 70_000 {
            bits += 65_521;
            let x = f32::from_bits(bits);
            if !x.is_nan() {
                assert_eq!(f32_to_f16(x), half::f16::from_f32(x).to_bits(), "{x:e}");
                assert_eq!(f32_to_bf16(x), half::bf16::from_f32(x).to_bits(), "{x:e}");
            }
        }
    }
}
