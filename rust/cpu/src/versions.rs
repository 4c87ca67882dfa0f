//! `versions!`: compiles one generic body once per instruction set and calls the version in use. For row kernels that
//! LLVM vectorises; pointwise kernels are made from the scalar-op table (`simd::kernels`).

/// `versions!(pub fn name[T: Bound](x: &[T]) -> f32 = body::<T>);` declares `name`, which calls the `#[inline(always)]`
/// function `body` compiled for the capability in use. In `body`'s arguments, `I` is that capability's `Isa`.
macro_rules! versions {
    ($(#[$meta:meta])* $vis:vis fn $name:ident [$($g:ident : $bound:path),*]
        ($($arg:ident : $t:ty),* $(,)?) $(-> $ret:ty)? = $body:path) => {
        $(#[$meta])*
        $vis fn $name<$($g: $bound),*>($($arg: $t),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,f16c")]
            fn avx512<$($g: $bound),*>($($arg: $t),*) $(-> $ret)? {
                #[allow(dead_code)]
                type I = $crate::simd::lane::Avx512;
                $body($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2<$($g: $bound),*>($($arg: $t),*) $(-> $ret)? {
                #[allow(dead_code)]
                type I = $crate::simd::lane::Avx2;
                $body($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            match $crate::simd::detect::capability() {
                // SAFETY: the capability in use is one that this CPU has.
                $crate::simd::detect::Capability::Avx512 => return unsafe { avx512::<$($g),*>($($arg),*) },
                // SAFETY: as above.
                $crate::simd::detect::Capability::Avx2 => return unsafe { avx2::<$($g),*>($($arg),*) },
                $crate::simd::detect::Capability::Baseline => {}
            }
            #[allow(dead_code)]
            type I = $crate::simd::lane::Baseline;
            $body($($arg),*)
        }
    };
}
pub(crate) use versions;
