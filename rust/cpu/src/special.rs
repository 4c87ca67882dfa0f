//! `Prim::Special`: special functions that are no row of the table. Every element is computed in f64 and rounded once
//! to the result's dtype. Families: `bessel`, `airy`, `gamma` (zeta, polygamma, incomplete gamma), `normal`,
//! `polynomial`. Not here: functions that are short expressions over rows (`rtorch-core/src/ops/composite.rs`).

mod airy;
mod bessel;
mod gamma;
mod normal;
mod polynomial;

use std::ops::Range;

use parking_lot::Mutex;
use rtorch_ir::{DType, Error, Result, SpecialFn};

use crate::reader::Reader;
use crate::simd::convert::converter;
use crate::threads::parallel_for;
use crate::{Arg, Source};

/// Elements computed before they are converted and stored.
const CHUNK: usize = 512;
/// Elements that are worth a thread.
const GRAIN: usize = 1 << 11;

type One = fn(f64) -> f64;
type Two = fn(f64, f64) -> f64;

enum Body {
    One(One),
    Two(Two),
    Polygamma(u32),
}

fn body(f: SpecialFn) -> Body {
    match f {
        SpecialFn::I0 => Body::One(bessel::i0),
        SpecialFn::I0e => Body::One(bessel::i0e),
        SpecialFn::I1 => Body::One(bessel::i1),
        SpecialFn::I1e => Body::One(bessel::i1e),
        SpecialFn::K0 => Body::One(bessel::k0),
        SpecialFn::K0e => Body::One(bessel::k0e),
        SpecialFn::K1 => Body::One(bessel::k1),
        SpecialFn::K1e => Body::One(bessel::k1e),
        SpecialFn::J0 => Body::One(bessel::j0),
        SpecialFn::J1 => Body::One(bessel::j1),
        SpecialFn::Y0 => Body::One(bessel::y0),
        SpecialFn::Y1 => Body::One(bessel::y1),
        SpecialFn::SphericalJ0 => Body::One(bessel::spherical_j0),
        SpecialFn::AiryAi => Body::One(airy::ai),
        SpecialFn::Zeta => Body::Two(gamma::zeta),
        SpecialFn::Gammainc => Body::Two(gamma::lower),
        SpecialFn::Gammaincc => Body::Two(gamma::upper),
        SpecialFn::Ndtri => Body::One(normal::ndtri),
        SpecialFn::LogNdtr => Body::One(normal::log_ndtr),
        SpecialFn::ChebyshevT => Body::Two(polynomial::chebyshev_t),
        SpecialFn::ChebyshevU => Body::Two(polynomial::chebyshev_u),
        SpecialFn::ChebyshevV => Body::Two(polynomial::chebyshev_v),
        SpecialFn::ChebyshevW => Body::Two(polynomial::chebyshev_w),
        SpecialFn::ShiftedChebyshevT => Body::Two(|x, n| polynomial::chebyshev_t(2.0 * x - 1.0, n)),
        SpecialFn::ShiftedChebyshevU => Body::Two(|x, n| polynomial::chebyshev_u(2.0 * x - 1.0, n)),
        SpecialFn::ShiftedChebyshevV => Body::Two(|x, n| polynomial::chebyshev_v(2.0 * x - 1.0, n)),
        SpecialFn::ShiftedChebyshevW => Body::Two(|x, n| polynomial::chebyshev_w(2.0 * x - 1.0, n)),
        SpecialFn::HermiteH => Body::Two(polynomial::hermite_h),
        SpecialFn::HermiteHe => Body::Two(polynomial::hermite_he),
        SpecialFn::LaguerreL => Body::Two(polynomial::laguerre_l),
        SpecialFn::LegendreP => Body::Two(polynomial::legendre_p),
        SpecialFn::Polygamma(n) => Body::Polygamma(n),
    }
}

/// `Prim::Special`: arguments of one shape -> the function's values, row-major.
pub fn special(f: SpecialFn, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let out = outs[0];
    let n = out.layout.numel();
    if n == 0 {
        return Ok(());
    }
    let readers: Vec<Reader> = inputs.iter().map(|s| Reader::new(s, DType::F64)).collect::<Result<_>>()?;
    let body = body(f);
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    parallel_for(n, GRAIN, &|range| {
        if let Err(e) = chunks(&body, &readers, out, range) {
            *failed.lock() = Some(e);
        }
    });
    failed.into_inner().map_or(Ok(()), Err)
}

fn chunks(body: &Body, readers: &[Reader], out: Arg, range: Range<usize>) -> Result<()> {
    let convert = converter(DType::F64, out.dtype);
    let mut first = readers[0].cursor();
    let mut second = readers.get(1).map(Reader::cursor);
    let mut y = [0.0f64; CHUNK];
    let mut start = range.start;
    while start < range.end {
        let n = CHUNK.min(range.end - start);
        let x = first.read::<f64>(start, n)?;
        match (body, &mut second) {
            (Body::Two(f), Some(c)) => {
                let z = c.read::<f64>(start, n)?;
                for i in 0..n {
                    y[i] = f(x[i], z[i]);
                }
            }
            (Body::One(f), _) => {
                for i in 0..n {
                    y[i] = f(x[i]);
                }
            }
            (Body::Polygamma(k), _) => {
                for i in 0..n {
                    y[i] = gamma::polygamma(*k, x[i]);
                }
            }
            (Body::Two(_), None) => return Err(Error::runtime("a special function of two arguments was given one")),
        }
        let to = out.base().wrapping_add(start * out.dtype.size());
        // SAFETY: the result is row-major with at least `start + n` elements, and ranges do not overlap.
        unsafe { convert(to, y.as_ptr().cast(), std::ptr::null(), std::ptr::null(), n) };
        start += n;
    }
    Ok(())
}
