//! `Prim::Special`: special functions that are no row of the table. Every element is computed in f64 and rounded once
//! to the result's dtype. Families: `bessel`, `airy`, `gamma` (zeta, polygamma, incomplete gamma), `normal`,
//! `polynomial`; tiles of most are computed by polynomials (`fit`).
//! Not here: functions that are short expressions over rows (`rtorch-core/src/ops/composite.rs`).

mod airy;
mod bessel;
pub(crate) mod fit;
pub(crate) mod gamma;
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

type One = fn(&[f64], &mut [f64]);
type Two = fn(&[f64], &[f64], &mut [f64]);

enum Body {
    One(One),
    Two(Two),
    Polygamma(u32),
}

/// A function of two numbers, element by element.
macro_rules! each {
    ($f:path) => {
        Body::Two(|x, z, y| {
            for ((y, &x), &z) in y.iter_mut().zip(x).zip(z) {
                *y = $f(x, z);
            }
        })
    };
}

fn body(f: SpecialFn) -> Body {
    use polynomial as p;
    match f {
        SpecialFn::I0 => Body::One(fit::run::<bessel::I0>),
        SpecialFn::I0e => Body::One(fit::run::<bessel::I0e>),
        SpecialFn::I1 => Body::One(fit::run::<bessel::I1>),
        SpecialFn::I1e => Body::One(fit::run::<bessel::I1e>),
        SpecialFn::K0 => Body::One(fit::run::<bessel::K0>),
        SpecialFn::K0e => Body::One(fit::run::<bessel::K0e>),
        SpecialFn::K1 => Body::One(fit::run::<bessel::K1>),
        SpecialFn::K1e => Body::One(fit::run::<bessel::K1e>),
        SpecialFn::J0 => Body::One(fit::run::<bessel::J0>),
        SpecialFn::J1 => Body::One(fit::run::<bessel::J1>),
        SpecialFn::Y0 => Body::One(fit::run::<bessel::Y0>),
        SpecialFn::Y1 => Body::One(fit::run::<bessel::Y1>),
        SpecialFn::SphericalJ0 => Body::One(fit::run::<bessel::SphericalJ0>),
        SpecialFn::AiryAi => Body::One(fit::run::<airy::AiryAi>),
        SpecialFn::Zeta => each!(gamma::zeta),
        SpecialFn::Gammainc => each!(gamma::lower),
        SpecialFn::Gammaincc => each!(gamma::upper),
        SpecialFn::Ndtri => Body::One(fit::run::<normal::Ndtri>),
        SpecialFn::LogNdtr => Body::One(fit::run::<normal::LogNdtr>),
        SpecialFn::ChebyshevT => Body::Two(p::run::<p::ChebyshevT>),
        SpecialFn::ChebyshevU => Body::Two(p::run::<p::ChebyshevU>),
        SpecialFn::ChebyshevV => Body::Two(p::run::<p::ChebyshevV>),
        SpecialFn::ChebyshevW => Body::Two(p::run::<p::ChebyshevW>),
        SpecialFn::ShiftedChebyshevT => Body::Two(p::run::<p::Shifted<p::ChebyshevT>>),
        SpecialFn::ShiftedChebyshevU => Body::Two(p::run::<p::Shifted<p::ChebyshevU>>),
        SpecialFn::ShiftedChebyshevV => Body::Two(p::run::<p::Shifted<p::ChebyshevV>>),
        SpecialFn::ShiftedChebyshevW => Body::Two(p::run::<p::Shifted<p::ChebyshevW>>),
        SpecialFn::HermiteH => Body::Two(p::run::<p::HermiteH>),
        SpecialFn::HermiteHe => Body::Two(p::run::<p::HermiteHe>),
        SpecialFn::LaguerreL => Body::Two(p::run::<p::LaguerreL>),
        SpecialFn::LegendreP => Body::Two(p::run::<p::LegendreP>),
        SpecialFn::Polygamma(0) => Body::One(fit::run::<gamma::Psi<0>>),
        SpecialFn::Polygamma(1) => Body::One(fit::run::<gamma::Psi<1>>),
        SpecialFn::Polygamma(2) => Body::One(fit::run::<gamma::Psi<2>>),
        SpecialFn::Polygamma(3) => Body::One(fit::run::<gamma::Psi<3>>),
        SpecialFn::Polygamma(4) => Body::One(fit::run::<gamma::Psi<4>>),
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
                f(x, z, &mut y[..n]);
            }
            (Body::One(f), _) => f(x, &mut y[..n]),
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

#[cfg(test)]
mod tests {
    use rtorch_ir::SpecialFn;

    use super::fit::{Function, run};
    use super::{Body, airy, bessel, body, gamma, normal, polynomial};

    /// Values by mpmath (30 digits).
    const KNOWN: &[(SpecialFn, f64, f64)] = &[
        (SpecialFn::I0e, -3.7, 0.2160494416729737),
        (SpecialFn::I0e, 130.25, 0.03498965030618435),
        (SpecialFn::I0, 7.3, 222.65879987301187),
        (SpecialFn::I1e, -3.7, -0.18383785802735622),
        (SpecialFn::I1, -19.5, -26065069.264457166),
        (SpecialFn::I1, 333.0, 9.104594672674155e+142),
        (SpecialFn::K0, 0.05, 3.11423402947199),
        (SpecialFn::K0, 12.5, 1.3084036967769775e-06),
        (SpecialFn::K1, 0.05, 19.909674325882506),
        (SpecialFn::K1, 12.5, 1.3597678438215176e-06),
        (SpecialFn::K0e, 700.5, 0.04734546940500624),
        (SpecialFn::K1e, 1.75, 1.1248950768625277),
        (SpecialFn::J0, -5.1, -0.14433474706050065),
        (SpecialFn::J0, 31.9, 0.1347298398711664),
        (SpecialFn::J0, 40.25, -0.02394699168451801),
        (SpecialFn::J0, 12345.0, -0.004480422295220666),
        (SpecialFn::J1, -5.1, 0.3370972020182318),
        (SpecialFn::J1, -50.5, 0.058062876421320686),
        (SpecialFn::Y0, 0.3, -0.8072735778045195),
        (SpecialFn::Y0, 45.5, 0.07884019170172604),
        (SpecialFn::Y1, 0.3, -2.2931051383885293),
        (SpecialFn::Y1, 45.5, -0.08731514187303833),
        (SpecialFn::SphericalJ0, -4.4, -0.21627319861125363),
        (SpecialFn::AiryAi, -13.2, 0.2880866780323927),
        (SpecialFn::AiryAi, -2.0, 0.22740742820168558),
        (SpecialFn::AiryAi, 0.5, 0.23169360648083348),
        (SpecialFn::AiryAi, 9.75, 2.438632135722847e-10),
        (SpecialFn::Ndtri, 0.001, -3.0902323061678136),
        (SpecialFn::Ndtri, 0.25, -0.6744897501960817),
        (SpecialFn::Ndtri, 0.97, 1.8807936081512506),
        (SpecialFn::LogNdtr, -12.5, -81.57596787074388),
        (SpecialFn::LogNdtr, -0.3, -0.9621028181688507),
        (SpecialFn::LogNdtr, 5.5, -1.8989562646189464e-08),
        (SpecialFn::Polygamma(0), -3.3, 3.620353460592126),
        (SpecialFn::Polygamma(0), 0.001, -1000.5755719318103),
        (SpecialFn::Polygamma(0), 2.5, 0.7031566406452432),
        (SpecialFn::Polygamma(0), 1000.5, 6.907755320648796),
        (SpecialFn::Polygamma(1), -3.3, 14.817739525515929),
        (SpecialFn::Polygamma(1), 0.001, 1000001.6425331958),
        (SpecialFn::Polygamma(1), 2.5, 0.49035775610023485),
        (SpecialFn::Polygamma(1), 1000.5, 0.0009999999166666958),
        (SpecialFn::Polygamma(2), -3.3, 68.76944547748523),
        (SpecialFn::Polygamma(2), 0.001, -2000000002.3976321),
        (SpecialFn::Polygamma(2), 2.5, -0.2362040516417274),
        (SpecialFn::Polygamma(2), 1000.5, -9.999997500001458e-07),
        (SpecialFn::Polygamma(3), -3.3, 768.9856582554286),
        (SpecialFn::Polygamma(3), 0.001, 6000000000006.469),
        (SpecialFn::Polygamma(3), 2.5, 0.22390584881725206),
        (SpecialFn::Polygamma(3), 1000.5, 1.999999000000875e-09),
        (SpecialFn::Polygamma(4), -3.3, 9738.733062132023),
        (SpecialFn::Polygamma(4), 0.001, -2.4000000000000024e+16),
        (SpecialFn::Polygamma(4), 2.5, -0.3137559995067314),
        (SpecialFn::Polygamma(4), 1000.5, -5.999995000006125e-12),
    ];

    #[test]
    fn tiles_have_the_published_values() {
        for &(f, x, want) in KNOWN {
            let Body::One(f_of) = body(f) else { panic!("{f:?} takes one argument") };
            let mut y = [0.0; 5];
            f_of(&[x; 5], &mut y);
            assert!(y.iter().all(|y| (y - want).abs() <= 4e-14 * want.abs()), "{f:?} of {x}: {y:?}, not {want}");
        }
    }

    fn points(count: usize, from: f64, to: f64) -> Vec<f64> {
        let golden = 0.618_033_988_749_894_8;
        (0..count).map(|i| from + (to - from) * (i as f64 * golden).fract()).collect()
    }

    /// A function's tiles against its exact body, relative to its values or, where it oscillates, to `size`.
    fn agree<F: Function>(from: f64, to: f64, size: fn(f64) -> f64) {
        let mut x = points(3000, from, to);
        x.extend([0.0, -0.0, 1.0, -1.0, 2.0, 1e-300, 1e300, -1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
        let mut y = vec![0.0; x.len()];
        run::<F>(&x, &mut y);
        for (&x, &y) in x.iter().zip(&y) {
            let want = F::exact(x);
            let near = (y - want).abs() <= 2e-13 * want.abs().max(size(x)) || y == want;
            assert!(near || y.is_nan() && want.is_nan(), "{} of {x}: {y}, not {want}", std::any::type_name::<F>());
        }
    }

    #[test]
    fn tiles_agree_with_exact_bodies() {
        let own = |_: f64| 0.0;
        let wave = |x: f64| 0.3 / (1.0 + x.abs()).sqrt();
        agree::<bessel::I0>(-40.0, 40.0, own);
        agree::<bessel::I0e>(-3000.0, 3000.0, own);
        agree::<bessel::I1>(-40.0, 40.0, own);
        agree::<bessel::I1e>(-3000.0, 3000.0, own);
        agree::<bessel::K0>(-1.0, 40.0, own);
        agree::<bessel::K0e>(0.0, 2000.0, own);
        agree::<bessel::K1>(-1.0, 40.0, own);
        agree::<bessel::K1e>(0.0, 2000.0, own);
        agree::<bessel::J0>(-60.0, 60.0, wave);
        agree::<bessel::J1>(-60.0, 60.0, wave);
        agree::<bessel::Y0>(-1.0, 60.0, wave);
        agree::<bessel::Y1>(-1.0, 60.0, wave);
        agree::<bessel::SphericalJ0>(-60.0, 60.0, |x| 1.0 / x.abs());
        agree::<airy::AiryAi>(-20.0, 10.0, |_| 0.3);
        agree::<normal::Ndtri>(-0.1, 1.1, own);
        agree::<normal::LogNdtr>(-30.0, 9.0, own);
        agree::<gamma::Lgamma>(-12.0, 30.0, |_| 1.0);
        agree::<gamma::Psi<0>>(-12.0, 30.0, |_| 1.0);
        agree::<gamma::Psi<1>>(-12.0, 30.0, own);
        agree::<gamma::Psi<2>>(-12.0, 30.0, |_| 1.0);
        agree::<gamma::Psi<3>>(-12.0, 30.0, own);
        agree::<gamma::Psi<4>>(-12.0, 30.0, |_| 10.0);
    }

    /// Whether elements run together or one by one means nothing to their bits.
    #[test]
    fn polynomials_of_a_tile_are_those_of_its_elements() {
        let x = points(700, -1.3, 1.3);
        let mut n = points(700, -3.0, 30.0);
        (n[5], n[17]) = (f64::NAN, f64::NEG_INFINITY);
        macro_rules! check {
            ($($name:ident)*) => {$(
                let (mut tile, mut alone) = (vec![0.0; x.len()], vec![0.0; x.len()]);
                polynomial::run::<polynomial::$name>(&x, &n, &mut tile);
                // a degree beyond the limit sends its tile one by one
                for (i, y) in alone.iter_mut().enumerate() {
                    let mut two = [0.0; 2];
                    polynomial::run::<polynomial::$name>(&[x[i], 0.5], &[n[i], 70.0], &mut two);
                    *y = two[0];
                }
                for (i, (a, b)) in tile.iter().zip(&alone).enumerate() {
                    assert!(a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(), "{i}: {a} {b}");
                }
            )*};
        }
        check!(ChebyshevT ChebyshevU ChebyshevV ChebyshevW HermiteH HermiteHe LaguerreL LegendreP);
    }
}
