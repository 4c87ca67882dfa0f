//! The numbers matrices are made of: f32, f64 and complex numbers of both.

use faer::traits::ComplexField;
use faer::{Mat, c32, c64};
use rtorch_ir::DType;

/// A number of a matrix, with its parts in double (which holds those of single precision exactly).
pub trait Element: ComplexField + Copy + Default + Send + Sync + PartialEq + 'static {
    const DTYPE: DType;
    fn of(re: f64, im: f64) -> Self;
    fn re(self) -> f64;
    fn im(self) -> f64;
    /// Writes a real number of this precision.
    ///
    /// # Safety
    /// `at` is valid for it.
    unsafe fn store_real(at: *mut u8, v: f64);
    /// Eigenvalues and right eigenvectors of a square matrix, None where the algorithm does not converge.
    fn eigen(a: &Mat<Self>) -> Option<(Vec<c64>, Mat<c64>)>;
    /// Eigenvalues alone.
    fn eigenvalues(a: &Mat<Self>) -> Option<Vec<c64>>;

    fn zero() -> Self {
        Self::of(0.0, 0.0)
    }
    fn one() -> Self {
        Self::of(1.0, 0.0)
    }
    fn conjugate(self) -> Self {
        Self::of(self.re(), -self.im())
    }
    fn is_zero(self) -> bool {
        self.re() == 0.0 && self.im() == 0.0
    }
    fn is_finite_number(self) -> bool {
        self.re().is_finite() && self.im().is_finite()
    }
    /// |re| + |im|, by which LAPACK chooses pivots.
    fn size(self) -> f64 {
        self.re().abs() + self.im().abs()
    }
    fn modulus(self) -> f64 {
        if self.im() == 0.0 { self.re().abs() } else { self.re().hypot(self.im()) }
    }
    fn plus(self, b: Self) -> Self {
        Self::of(self.re() + b.re(), self.im() + b.im())
    }
    fn minus(self, b: Self) -> Self {
        Self::of(self.re() - b.re(), self.im() - b.im())
    }
    fn times(self, b: Self) -> Self {
        Self::of(self.re() * b.re() - self.im() * b.im(), self.re() * b.im() + self.im() * b.re())
    }
    fn scale(self, by: f64) -> Self {
        Self::of(self.re() * by, self.im() * by)
    }
    fn over(self, b: Self) -> Self {
        if b.im() == 0.0 && self.im() == 0.0 {
            return Self::of(self.re() / b.re(), 0.0);
        }
        let q = c64::new(self.re(), self.im()) / c64::new(b.re(), b.im());
        Self::of(q.re, q.im)
    }
}

fn spectrum<R: Copy + Into<f64>>(n: usize, value: impl Fn(usize) -> faer::complex::Complex<R>) -> Vec<c64> {
    (0..n).map(value).map(|v| c64::new(v.re.into(), v.im.into())).collect()
}

macro_rules! real {
    ($t:ty, $dtype:expr) => {
        impl Element for $t {
            const DTYPE: DType = $dtype;
            fn of(re: f64, _: f64) -> $t {
                re as $t
            }
            fn re(self) -> f64 {
                self as f64
            }
            fn im(self) -> f64 {
                0.0
            }
            unsafe fn store_real(at: *mut u8, v: f64) {
                // SAFETY: the caller's promise.
                unsafe { *at.cast::<$t>() = v as $t }
            }
            fn eigen(a: &Mat<$t>) -> Option<(Vec<c64>, Mat<c64>)> {
                let n = a.nrows();
                let e = faer::linalg::solvers::Eigen::new_from_real(a.as_ref()).ok()?;
                let (s, u) = (e.S().column_vector(), e.U());
                let vectors = Mat::from_fn(n, n, |i, j| c64::new(u[(i, j)].re.into(), u[(i, j)].im.into()));
                Some((spectrum(n, |i| s[i]), vectors))
            }
            fn eigenvalues(a: &Mat<$t>) -> Option<Vec<c64>> {
                let values = a.eigenvalues().ok()?;
                Some(spectrum(values.len(), |i| values[i]))
            }
        }
    };
}

macro_rules! complex {
    ($t:ty, $real:ty, $dtype:expr) => {
        impl Element for $t {
            const DTYPE: DType = $dtype;
            fn of(re: f64, im: f64) -> $t {
                <$t>::new(re as $real, im as $real)
            }
            fn re(self) -> f64 {
                self.re as f64
            }
            fn im(self) -> f64 {
                self.im as f64
            }
            unsafe fn store_real(at: *mut u8, v: f64) {
                // SAFETY: the caller's promise.
                unsafe { *at.cast::<$real>() = v as $real }
            }
            fn eigen(a: &Mat<$t>) -> Option<(Vec<c64>, Mat<c64>)> {
                let n = a.nrows();
                let e = faer::linalg::solvers::Eigen::<$real>::new(a.as_ref()).ok()?;
                let (s, u) = (e.S().column_vector(), e.U());
                let vectors = Mat::from_fn(n, n, |i, j| c64::new(u[(i, j)].re.into(), u[(i, j)].im.into()));
                Some((spectrum(n, |i| s[i]), vectors))
            }
            fn eigenvalues(a: &Mat<$t>) -> Option<Vec<c64>> {
                let values = a.eigenvalues().ok()?;
                Some(spectrum(values.len(), |i| values[i]))
            }
        }
    };
}

real!(f32, DType::F32);
real!(f64, DType::F64);
complex!(c32, f32, DType::C64);
complex!(c64, f64, DType::C128);
