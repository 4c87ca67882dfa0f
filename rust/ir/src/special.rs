//! Special functions whose series are too long for a row of the table: a primitive each, computed in f64 one element at
//! a time and rounded once. Their kernels are in `rtorch-cpu/src/special`, derivatives in `rtorch-core/src/vjp`.

macro_rules! functions {
    ($($name:ident $text:literal $arity:literal $doc:literal)*) => {
        /// What `Prim::Special` computes.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum SpecialFn {
            $(#[doc = $doc] $name,)*
            /// Derivative number `n` of digamma.
            Polygamma(u32),
        }

        impl SpecialFn {
            /// Every function without a parameter.
            pub const ALL: &[SpecialFn] = &[$(SpecialFn::$name),*];

            /// PyTorch's name.
            pub fn name(self) -> &'static str {
                match self {
                    $(SpecialFn::$name => $text,)*
                    SpecialFn::Polygamma(_) => "polygamma",
                }
            }
            /// How many arguments it takes.
            pub fn arity(self) -> usize {
                match self {
                    $(SpecialFn::$name => $arity,)*
                    SpecialFn::Polygamma(_) => 1,
                }
            }
            pub fn doc(self) -> &'static str {
                match self {
                    $(SpecialFn::$name => $doc,)*
                    SpecialFn::Polygamma(_) => "Derivative number n of digamma.",
                }
            }
        }
    };
}

functions! {
    I0 "i0" 1 "Modified Bessel function of the first kind, order 0."
    I0e "i0e" 1 "i0(x) exp(-|x|)."
    I1 "i1" 1 "Modified Bessel function of the first kind, order 1."
    I1e "i1e" 1 "i1(x) exp(-|x|)."
    K0 "modified_bessel_k0" 1 "Modified Bessel function of the second kind, order 0."
    K0e "scaled_modified_bessel_k0" 1 "k0(x) exp(x)."
    K1 "modified_bessel_k1" 1 "Modified Bessel function of the second kind, order 1."
    K1e "scaled_modified_bessel_k1" 1 "k1(x) exp(x)."
    J0 "bessel_j0" 1 "Bessel function of the first kind, order 0."
    J1 "bessel_j1" 1 "Bessel function of the first kind, order 1."
    Y0 "bessel_y0" 1 "Bessel function of the second kind, order 0."
    Y1 "bessel_y1" 1 "Bessel function of the second kind, order 1."
    SphericalJ0 "spherical_bessel_j0" 1 "sin(x) / x."
    AiryAi "airy_ai" 1 "Airy function Ai."
    Zeta "zeta" 2 "Hurwitz zeta function: the sum of (k + q)^-x over k >= 0."
    Gammainc "gammainc" 2 "Regularized lower incomplete gamma function."
    Gammaincc "gammaincc" 2 "Regularized upper incomplete gamma function."
    Ndtri "ndtri" 1 "Inverse of the standard normal's distribution function."
    LogNdtr "log_ndtr" 1 "Logarithm of the standard normal's distribution function."
    ChebyshevT "chebyshev_polynomial_t" 2 "Chebyshev polynomial of the first kind."
    ChebyshevU "chebyshev_polynomial_u" 2 "Chebyshev polynomial of the second kind."
    ChebyshevV "chebyshev_polynomial_v" 2 "Chebyshev polynomial of the third kind."
    ChebyshevW "chebyshev_polynomial_w" 2 "Chebyshev polynomial of the fourth kind."
    ShiftedChebyshevT "shifted_chebyshev_polynomial_t" 2 "Chebyshev polynomial of the first kind of 2 x - 1."
    ShiftedChebyshevU "shifted_chebyshev_polynomial_u" 2 "Chebyshev polynomial of the second kind of 2 x - 1."
    ShiftedChebyshevV "shifted_chebyshev_polynomial_v" 2 "Chebyshev polynomial of the third kind of 2 x - 1."
    ShiftedChebyshevW "shifted_chebyshev_polynomial_w" 2 "Chebyshev polynomial of the fourth kind of 2 x - 1."
    HermiteH "hermite_polynomial_h" 2 "Physicist's Hermite polynomial."
    HermiteHe "hermite_polynomial_he" 2 "Probabilist's Hermite polynomial."
    LaguerreL "laguerre_polynomial_l" 2 "Laguerre polynomial."
    LegendreP "legendre_polynomial_p" 2 "Legendre polynomial."
}
