//! One loop per row of the table, compute type and instruction set, over contiguous tiles. Expands the table's body
//! column over the lanes of `lane`. Not here: conversions (`convert`), tiles and strides (`crate::interp`).

use rtorch_ir::{CType, ScalarOp};

use super::detect::{Capability, capability};

/// `(dst, a, b, c, n)`: computes `n` elements; unused arguments may be anything. `dst` overlaps no argument: LLVM
/// vectorises only what it knows to be apart.
pub type Kernel = unsafe fn(*mut u8, *const u8, *const u8, *const u8, usize);

/// Compute types that have kernels, in the order of `CType`: bool, i32, i64, f32, f64.
const TYPES: usize = 5;

/// One kernel. `@gen` is the loop; the arms before it say which types a class of rows takes and gives.
macro_rules! kernel {
    (@gen [$($attr:meta),*] $name:ident [$($generics:tt)*] [$($turbo:tt)*] $out:ty, ($pa:ident $pb:ident $pc:ident),
        $(($arg:ident: $t:ty = $p:ident))+, $body:expr) => {
        $(#[$attr])*
        #[allow(non_snake_case)]
        unsafe fn $name $($generics)* (dst: *mut u8, $pa: *const u8, $pb: *const u8, $pc: *const u8, n: usize) {
            // parameters are what carries `noalias`
            #[inline(always)]
            fn each $($generics)* (dst: &mut [$out], $($p: &[<$t as Lane>::Mem]),+) {
                for i in 0..dst.len() {
                    // SAFETY: all slices have the same length.
                    unsafe {
                        $(let $arg = <$t as Lane>::get(*$p.get_unchecked(i));)+
                        *dst.get_unchecked_mut(i) = ($body).put();
                    }
                }
            }
            // SAFETY: the interpreter passes `n` elements of these types each, and a destination apart from them.
            unsafe {
                each $($turbo)* (from_raw_parts_mut(dst.cast(), n), $(from_raw_parts($p.cast(), n)),+);
            }
        }
    };
    // angles too large for the fast reduction are rare: a second pass patches their elements
    (@patched [$($attr:meta),*] $name:ident $fast:ident $exact:ident) => {
        $(#[$attr])*
        #[allow(non_snake_case)]
        unsafe fn $name<T: Real>(dst: *mut u8, pa: *const u8, _: *const u8, _: *const u8, n: usize) {
            #[inline(always)]
            fn each<T: Real>(dst: &mut [T::Mem], a: &[T::Mem]) -> bool {
                let mut any = false;
                for i in 0..dst.len() {
                    // SAFETY: both slices have the same length.
                    unsafe {
                        let x = T::get(*a.get_unchecked(i));
                        any |= x.big_angle();
                        *dst.get_unchecked_mut(i) = x.$fast().put();
                    }
                }
                any
            }
            // SAFETY: as in `@gen`.
            let (d, a) = unsafe { (from_raw_parts_mut(dst.cast(), n), from_raw_parts(pa.cast(), n)) };
            if each::<T>(d, a) {
                for (y, &x) in d.iter_mut().zip(a) {
                    let x = T::get(x);
                    if x.big_angle() {
                        *y = x.$exact().put();
                    }
                }
            }
        }
    };
    // as `@patched`, for divisions: quotients too large for one step
    (@divided [$($attr:meta),*] $name:ident $fast:ident $exact:ident) => {
        $(#[$attr])*
        #[allow(non_snake_case)]
        unsafe fn $name<T: Num>(dst: *mut u8, pa: *const u8, pb: *const u8, _: *const u8, n: usize) {
            #[inline(always)]
            fn each<T: Num>(dst: &mut [T::Mem], a: &[T::Mem], b: &[T::Mem]) -> bool {
                let mut any = false;
                for i in 0..dst.len() {
                    // SAFETY: all slices have the same length.
                    unsafe {
                        let (x, y) = (T::get(*a.get_unchecked(i)), T::get(*b.get_unchecked(i)));
                        any |= x.is_far(y);
                        *dst.get_unchecked_mut(i) = x.$fast(y).put();
                    }
                }
                any
            }
            // SAFETY: as in `@gen`.
            let (d, a, b) = unsafe {
                (from_raw_parts_mut(dst.cast(), n), from_raw_parts(pa.cast(), n), from_raw_parts(pb.cast(), n))
            };
            if each::<T>(d, a, b) {
                for ((r, &x), &y) in d.iter_mut().zip(a).zip(b) {
                    let (x, y) = (T::get(x), T::get(y));
                    if x.is_far(y) {
                        *r = x.$exact(y).put();
                    }
                }
            }
        }
    };
    // functions that go by tiles, compiled per instruction set where they are
    (@tiles $name:ident $single:ty, $double:ty) => {
        #[allow(non_snake_case)]
        unsafe fn $name<T: Real>(dst: *mut u8, pa: *const u8, _: *const u8, _: *const u8, n: usize) {
            // SAFETY: as in `@gen`.
            let (d, a) = unsafe { (from_raw_parts_mut(dst.cast(), n), from_raw_parts(pa.cast(), n)) };
            use crate::special::fit::run;
            T::tile(run::<$single>, run::<$double>, a, d);
        }
    };
    ([$($attr:meta),*] Float Lgamma $args:tt $body:expr) => {
        kernel!(@tiles Lgamma crate::special::gamma::Lgamma, crate::special::gamma::Lgamma);
    };
    // f64 has the oracle's digits
    ([$($attr:meta),*] Float Digamma $args:tt $body:expr) => {
        kernel!(@tiles Digamma crate::special::gamma::Psi<0>, crate::special::gamma::Digamma);
    };
    ([$($attr:meta),*] Float Trigamma $args:tt $body:expr) => {
        kernel!(@tiles Trigamma crate::special::gamma::Trigamma, crate::special::gamma::TrigammaOne);
    };
    // the row's body is the oracle's: branches and fractions for every element
    ([$($attr:meta),*] Float Erfcx ($a:ident) $body:expr) => {
        kernel!(@args [$($attr),*] Erfcx [<T: Real>] [::<T>] T => T::Mem, ($a) erfcx($a));
    };
    ([$($attr:meta),*] Num FloorDiv $args:tt $body:expr) => {
        kernel!(@divided [$($attr),*] FloorDiv floor_div floor_div_exact);
    };
    ([$($attr:meta),*] Num TruncDiv $args:tt $body:expr) => {
        kernel!(@divided [$($attr),*] TruncDiv trunc_div trunc_div_exact);
    };
    ([$($attr:meta),*] Num Remainder $args:tt $body:expr) => {
        kernel!(@divided [$($attr),*] Remainder remainder remainder_exact);
    };
    ([$($attr:meta),*] Num Fmod $args:tt $body:expr) => {
        kernel!(@divided [$($attr),*] Fmod fmod fmod_exact);
    };
    ([$($attr:meta),*] Float Sin $args:tt $body:expr) => { kernel!(@patched [$($attr),*] Sin sin sin_big); };
    ([$($attr:meta),*] Float Cos $args:tt $body:expr) => { kernel!(@patched [$($attr),*] Cos cos cos_big); };
    ([$($attr:meta),*] Float Tan $args:tt $body:expr) => { kernel!(@patched [$($attr),*] Tan tan tan_big); };
    ([$($attr:meta),*] Num $name:ident $args:tt $body:expr) => {
        kernel!(@args [$($attr),*] $name [<T: Num>] [::<T>] T => T::Mem, $args $body);
    };
    ([$($attr:meta),*] Float $name:ident $args:tt $body:expr) => {
        kernel!(@args [$($attr),*] $name [<T: Real>] [::<T>] T => T::Mem, $args $body);
    };
    ([$($attr:meta),*] Round $name:ident $args:tt $body:expr) => {
        kernel!(@args [$($attr),*] $name [<T: Real>] [::<T>] T => T::Mem, $args $body);
    };
    ([$($attr:meta),*] Int $name:ident $args:tt $body:expr) => {
        kernel!(@args [$($attr),*] $name [<T: IntLane>] [::<T>] T => T::Mem, $args $body);
    };
    ([$($attr:meta),*] Compare $name:ident $args:tt $body:expr) => {
        kernel!(@args [$($attr),*] $name [<T: Num>] [::<T>] T => u8, $args $body);
    };
    ([$($attr:meta),*] Test $name:ident $args:tt $body:expr) => {
        kernel!(@args [$($attr),*] $name [<T: Real>] [::<T>] T => u8, $args $body);
    };
    ([$($attr:meta),*] Logic $name:ident $args:tt $body:expr) => {
        kernel!(@args [$($attr),*] $name [] [] B => u8, $args $body);
    };
    ([$($attr:meta),*] Random $name:ident $args:tt $body:expr) => {
        kernel!(@args [$($attr),*] $name [] [] I64<I> => f32, $args $body);
    };
    ([$($attr:meta),*] Select $name:ident ($c:ident, $a:ident, $b:ident) $body:expr) => {
        kernel!(@gen [$($attr),*] $name [<T: Lane>] [::<T>] T::Mem, (pa pb pc),
            ($c: B = pa) ($a: T = pb) ($b: T = pc), $body);
    };
    (@args $attrs:tt $name:ident $generics:tt $turbo:tt $t:ty => $out:ty, ($a:ident) $body:expr) => {
        kernel!(@gen $attrs $name $generics $turbo $out, (pa _pb _pc), ($a: $t = pa), $body);
    };
    (@args $attrs:tt $name:ident $generics:tt $turbo:tt $t:ty => $out:ty, ($a:ident, $b:ident) $body:expr) => {
        kernel!(@gen $attrs $name $generics $turbo $out, (pa pb _pc), ($a: $t = pa) ($b: $t = pb), $body);
    };
}

/// The kernels of a row by compute type.
macro_rules! entries {
    (Num $n:ident) => {
        [None, Some($n::<I32<I>> as Kernel), Some($n::<I64<I>>), Some($n::<F32<I>>), Some($n::<F64<I>>)]
    };
    (Compare $n:ident) => { entries!(Num $n) };
    (Float $n:ident) => { [None, None, None, Some($n::<F32<I>> as Kernel), Some($n::<F64<I>>)] };
    (Round $n:ident) => { entries!(Float $n) };
    (Test $n:ident) => { entries!(Float $n) };
    (Int $n:ident) => { [None, Some($n::<I32<I>> as Kernel), Some($n::<I64<I>>), None, None] };
    (Logic $n:ident) => { [Some($n as Kernel), None, None, None, None] };
    (Random $n:ident) => { [None, None, Some($n as Kernel), None, None] };
    (Select $n:ident) => {
        [Some($n::<B> as Kernel), Some($n::<I32<I>>), Some($n::<I64<I>>), Some($n::<F32<I>>), Some($n::<F64<I>>)]
    };
}

macro_rules! isa_module {
    ($module:ident, $isa:ident, $attrs:tt, $([$name:ident $fn:ident ($($arg:ident),+; $y:ident, $g:ident) $class:ident,
        $body:expr, $wgsl:literal, [$($d:expr),+ $(,)?], $cost:literal, $ulp:literal, $doc:literal])*) => {
        mod $module {
            use std::slice::{from_raw_parts, from_raw_parts_mut};

            use super::{Kernel, TYPES};
            use crate::simd::lane::functions::*;
            use crate::simd::lane::{B, F32, F64, I32, I64, IntLane, Lane, Num, Real};

            type I = crate::simd::lane::$isa;

            $(kernel!($attrs $class $name ($($arg),+) $body);)*

            pub static TABLE: &[[Option<Kernel>; TYPES]] = &[$(entries!($class $name)),*];
        }
    };
}

macro_rules! modules {
    ($($rows:tt)*) => {
        #[cfg(target_arch = "x86_64")]
        isa_module!(avx512, Avx512,
            [target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,f16c")], $($rows)*);
        #[cfg(target_arch = "x86_64")]
        isa_module!(avx2, Avx2, [target_feature(enable = "avx2,fma,f16c")], $($rows)*);
        isa_module!(baseline, Baseline, [], $($rows)*);
    };
}

rtorch_ir::for_each_scalar_op!(modules);

/// The kernel of a row for arguments of a compute type (of the choices, for `where`); None where the row does not take
/// it, or has no kernel for it (complex).
pub fn kernel(op: ScalarOp, t: CType) -> Option<Kernel> {
    let table = match capability() {
        #[cfg(target_arch = "x86_64")]
        Capability::Avx512 => avx512::TABLE,
        #[cfg(target_arch = "x86_64")]
        Capability::Avx2 => avx2::TABLE,
        #[cfg(not(target_arch = "x86_64"))]
        Capability::Avx512 | Capability::Avx2 => baseline::TABLE,
        Capability::Baseline => baseline::TABLE,
    };
    let column = match t {
        CType::Bool => 0,
        CType::I32 => 1,
        CType::I64 => 2,
        CType::F32 => 3,
        CType::F64 => 4,
        CType::C64 | CType::C128 => return None,
    };
    table[op as usize][column]
}
