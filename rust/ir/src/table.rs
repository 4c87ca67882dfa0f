//! THE table of scalar ops: pointwise arithmetic on one element. One row is one operator; everything else about it
//! (enum, names, CPU loops, WGSL, derivative programs, Python methods, docs) is generated from its row.
//!
//! Columns: `Name name (args; y, g) Class, body, "wgsl helper", [derivatives], cost, gpu ulp, "doc"`.
//! * `body` calls functions by name; each crate brings its own set into scope when it expands the column:
//!   the oracle here (f64 and i64, exact libm), the SIMD lanes in `rtorch-cpu`.
//!   `lit(a, 0.5)` is a number of a's type.
//! * `wgsl helper` is a function of the same arguments; `shaders/prelude.wgsl` holds it per type. Left empty, the
//!   helper
//!   is printed from the body.
//! * `derivatives`: one `Option<Ex>` per argument, in terms of the arguments, the result `y` and its cotangent `g`.
//! * `cost`: roughly, additions' worth of time; backward recomputes a saved value where this is low.
//! * `gpu ulp`: the f32 error that a conforming GPU may show against the oracle.

/// Which dtypes a row takes and what it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Class {
    /// Integers and floats; the promoted dtype comes back. Bools compute as int32 and are cast back.
    Num,
    /// Floats; integers promote to the default float dtype.
    Float,
    /// Floats; integers and bools come back unchanged (floor, round ...).
    Round,
    /// Integers (bools take the logical op of the same meaning).
    Int,
    /// Integers and floats in, bool out.
    Compare,
    /// Floats in, bool out.
    Test,
    /// Bools in, bool out.
    Logic,
    /// A bool and two numbers; the promoted dtype of the two comes back.
    Select,
    /// Two int64 (seed, counter) in, float32 out.
    Random,
}

/// Calls `$callback! { [row] [row] ... }` with every row of the table.
#[macro_export]
macro_rules! for_each_scalar_op {
    ($callback:ident) => {
        $callback! {
// ---- arithmetic
[Add add (a, b; y, g) Num, add(a, b), "rt_add", [Some(g), Some(g)], 1, 0, "Sum of two numbers."]
[Sub sub (a, b; y, g) Num, sub(a, b), "rt_sub", [Some(g), Some(-g)], 1, 0, "Difference of two numbers."]
[Mul mul (a, b; y, g) Num, mul(a, b), "rt_mul", [Some(g * b), Some(g * a)], 1, 0, "Product of two numbers."]
[Div true_divide (a, b; y, g) Float, div(a, b), "rt_div", [Some(g / b), Some(-g * y / b)], 4, 3, "Quotient as a float."]
[FloorDiv floor_divide (a, b; y, g) Num, floor_div(a, b), "rt_floor_div", [Some(g.lit(0.0)), Some(g.lit(0.0))], 8, 3,
    "Quotient rounded to minus infinity."]
[TruncDiv trunc_divide (a, b; y, g) Num, trunc_div(a, b), "rt_trunc_div", [Some(g.lit(0.0)), Some(g.lit(0.0))], 8, 3,
    "Quotient rounded to zero."]
[Remainder remainder (a, b; y, g) Num, remainder(a, b), "rt_remainder", [Some(g), Some(-g * floor(a / b))], 8, 3,
    "Python's modulus: the sign of the divisor."]
[Fmod fmod (a, b; y, g) Num, fmod(a, b), "rt_fmod", [Some(g), Some(-g * trunc(a / b))], 8, 3,
    "C's modulus: the sign of the dividend."]
[Neg neg (a; y, g) Num, neg(a), "rt_neg", [Some(-g)], 1, 0, "Negation."]
[Abs abs (a; y, g) Num, abs(a), "rt_abs", [Some(g * sign(a))], 1, 0, "Absolute value."]
[Sign sign (a; y, g) Num, sign(a), "rt_sign", [Some(g.lit(0.0))], 1, 0, "-1, 0 or 1; NaN gives 0."]
[Square square (a; y, g) Num, mul(a, a), "rt_square", [Some(g * a * 2.0)], 1, 0, "Square."]
[Reciprocal reciprocal (a; y, g) Float, recip(a), "rt_recip", [Some(-g * y * y)], 4, 3, "One over the number."]
[Maximum maximum (a, b; y, g) Num, maximum(a, b), "rt_max",
    [Some(tie(g, ge(a, b), eq(a, b))), Some(tie(g, ge(b, a), eq(a, b)))], 1, 0, "The larger one; NaN wins."]
[Minimum minimum (a, b; y, g) Num, minimum(a, b), "rt_min",
    [Some(tie(g, le(a, b), eq(a, b))), Some(tie(g, le(b, a), eq(a, b)))], 1, 0, "The smaller one; NaN wins."]
[Fmax fmax (a, b; y, g) Num, fmax(a, b), "rt_fmax",
    [Some(where_(logical_or(ge(a, b), isnan(b)), g, g.lit(0.0))),
     Some(where_(logical_or(ge(a, b), isnan(b)), g.lit(0.0), g))], 1, 0, "The larger one; NaN loses."]
[Fmin fmin (a, b; y, g) Num, fmin(a, b), "rt_fmin",
    [Some(where_(logical_or(le(a, b), isnan(b)), g, g.lit(0.0))),
     Some(where_(logical_or(le(a, b), isnan(b)), g.lit(0.0), g))], 1, 0, "The smaller one; NaN loses."]
// ---- rounding
[Floor floor (a; y, g) Round, floor(a), "rt_floor", [Some(g.lit(0.0))], 1, 0, "Rounded to minus infinity."]
[Ceil ceil (a; y, g) Round, ceil(a), "rt_ceil", [Some(g.lit(0.0))], 1, 0, "Rounded to plus infinity."]
[Round round (a; y, g) Round, round(a), "rt_round", [Some(g.lit(0.0))], 1, 0, "Rounded to nearest, ties to even."]
[Trunc trunc (a; y, g) Round, trunc(a), "rt_trunc", [Some(g.lit(0.0))], 1, 0, "Rounded to zero."]
// ---- exponentials and powers
[Exp exp (a; y, g) Float, exp(a), "rt_exp", [Some(g * y)], 10, 64, "e to the power of the number."]
[Exp2 exp2 (a; y, g) Float, exp2(a), "rt_exp2", [Some(g * y * std::f64::consts::LN_2)], 10, 64,
    "2 to the power of the number."]
[Expm1 expm1 (a; y, g) Float, expm1(a), "rt_expm1", [Some(g * (y + 1.0))], 14, 64, "exp(x) - 1, accurate near 0."]
[Log log (a; y, g) Float, log(a), "rt_log", [Some(g / a)], 10, 64, "Natural logarithm."]
[Log2 log2 (a; y, g) Float, log2(a), "rt_log2", [Some(g / (a * std::f64::consts::LN_2))], 10, 64, "Logarithm to base \
2."]
[Log10 log10 (a; y, g) Float, log10(a), "rt_log10", [Some(g / (a * std::f64::consts::LN_10))], 10, 64,
    "Logarithm to base 10."]
[Log1p log1p (a; y, g) Float, log1p(a), "rt_log1p", [Some(g / (a + 1.0))], 12, 64, "log(1 + x), accurate near 0."]
[Sqrt sqrt (a; y, g) Float, sqrt(a), "rt_sqrt", [Some(g / (y * 2.0))], 4, 3, "Square root."]
[Rsqrt rsqrt (a; y, g) Float, rsqrt(a), "rt_rsqrt", [Some(g * y * y * y * -0.5)], 5, 3, "One over the square root."]
[Pow pow (a, b; y, g) Num, pow(a, b), "rt_pow",
    [Some(where_(eq(b, b.lit(0.0)), g.lit(0.0), g * (b * pow(a, b - 1.0)))),
     Some(where_(logical_and(eq(a, a.lit(0.0)), ge(b, b.lit(0.0))), g.lit(0.0), g * y * log(a)))], 30, 128,
    "a to the power of b; integer powers of integers wrap."]
// ---- trigonometry
[Sin sin (a; y, g) Float, sin(a), "rt_sin", [Some(g * cos(a))], 14, 1024, "Sine (radians)."]
[Cos cos (a; y, g) Float, cos(a), "rt_cos", [Some(-g * sin(a))], 14, 1024, "Cosine (radians)."]
[Tan tan (a; y, g) Float, tan(a), "rt_tan", [Some(g * (y * y + 1.0))], 20, 2048, "Tangent (radians)."]
[Asin asin (a; y, g) Float, asin(a), "rt_asin", [Some(g * rsqrt(-(a * a) + 1.0))], 16, 1024, "Arcsine."]
[Acos acos (a; y, g) Float, acos(a), "rt_acos", [Some(-g * rsqrt(-(a * a) + 1.0))], 16, 1024, "Arccosine."]
[Atan atan (a; y, g) Float, atan(a), "rt_atan", [Some(g / (a * a + 1.0))], 16, 4096, "Arctangent."]
[Atan2 atan2 (a, b; y, g) Float, atan2(a, b), "rt_atan2",
    [Some(g * b / (a * a + b * b)), Some(-g * a / (a * a + b * b))], 24, 4096, "Angle of the point (b, a)."]
[Sinh sinh (a; y, g) Float, sinh(a), "rt_sinh", [Some(g * cosh(a))], 20, 128, "Hyperbolic sine."]
[Cosh cosh (a; y, g) Float, cosh(a), "rt_cosh", [Some(g * sinh(a))], 20, 128, "Hyperbolic cosine."]
[Tanh tanh (a; y, g) Float, tanh(a), "rt_tanh", [Some(g * (-(y * y) + 1.0))], 14, 64, "Hyperbolic tangent."]
[Asinh asinh (a; y, g) Float, asinh(a), "rt_asinh", [Some(g * rsqrt(a * a + 1.0))], 24, 128, "Inverse of sinh."]
[Acosh acosh (a; y, g) Float, acosh(a), "rt_acosh", [Some(g * rsqrt((a - 1.0) * (a + 1.0)))], 24, 128, "Inverse of \
cosh."]
[Atanh atanh (a; y, g) Float, atanh(a), "rt_atanh", [Some(g / (-(a * a) + 1.0))], 24, 128, "Inverse of tanh."]
[Hypot hypot (a, b; y, g) Float, hypot(a, b), "rt_hypot", [Some(g * (a / y)), Some(g * (b / y))], 10, 8,
    "sqrt(a*a + b*b) without overflow."]
// ---- special functions
[Sigmoid sigmoid (a; y, g) Float, sigmoid(a), "rt_sigmoid", [Some(g * (-y + 1.0) * y)], 14, 64, "1 / (1 + exp(-x))."]
[Erf erf (a; y, g) Float, erf(a), "rt_erf",
    [Some(g * exp(-(a * a)) * std::f64::consts::FRAC_2_SQRT_PI)], 20, 64, "Error function."]
[Erfc erfc (a; y, g) Float, erfc(a), "rt_erfc",
    [Some(-g * exp(-(a * a)) * std::f64::consts::FRAC_2_SQRT_PI)], 24, 512, "1 - erf(x), accurate for large x."]
[Erfinv erfinv (a; y, g) Float, erfinv(a), "rt_erfinv",
    [Some(g * exp(y * y) * (0.5 / std::f64::consts::FRAC_2_SQRT_PI * 2.0))], 30, 512, "Inverse of erf."]
[Erfcx erfcx (a; y, g) Float,
    where_(lt(a, lit(a, 3.0)), mul(exp(mul(a, a)), erfc(a)), div(lit(a, 0.5641895835477563), add(a, div(lit(a, 0.5),
        add(a, div(lit(a, 1.0), add(a, div(lit(a, 1.5), add(a, div(lit(a, 2.0), add(a, div(lit(a, 2.5), add(a,
        div(lit(a, 3.0), add(a, div(lit(a, 3.5), add(a, div(lit(a, 4.0), add(a, div(lit(a, 4.5), add(a, div(lit(a,
        5.0), add(a, div(lit(a, 5.5), add(a, div(lit(a, 6.0), add(a, div(lit(a, 6.5), add(a, div(lit(a, 7.0), add(a,
        div(lit(a, 7.5), add(a, div(lit(a, 8.0), add(a, div(lit(a, 8.5), add(a, div(lit(a, 9.0), add(a, div(lit(a,
        9.5), add(a, div(lit(a, 10.0), add(a, div(lit(a, 10.5), add(a, div(lit(a, 11.0), add(a, div(lit(a, 11.5),
        add(a, div(lit(a, 12.0), add(a, div(lit(a, 12.5), add(a, div(lit(a, 13.0), add(a, div(lit(a, 13.5), add(a,
        div(lit(a, 14.0), a)))))))))))))))))))))))))))))))))))))))))))))))))))))))))), "",
    [Some(g * (a * y * 2.0 - std::f64::consts::FRAC_2_SQRT_PI))], 60, 4096,
    "exp(x*x) * erfc(x) without overflow: beyond 3 Laplace's continued fraction (Abramowitz and Stegun 7.1.14)."]
[Gelu gelu (a; y, g) Float,
    mul(mul(a, lit(a, 0.5)), add(erf(mul(a, lit(a, 0.7071067811865476))), lit(a, 1.0))), "",
    [Some(g * ((erf(a * std::f64::consts::FRAC_1_SQRT_2) + 1.0) * 0.5
        + a * exp(a * a * -0.5) * 0.3989422804014327))], 24,
    256, "x times the standard normal's distribution function, by erf."]
[Lgamma lgamma (a; y, g) Float, lgamma(a), "rt_lgamma", [Some(g * digamma(a))], 40, 4096, "Log of |gamma(x)|."]
[Digamma digamma (a; y, g) Float, digamma(a), "rt_digamma", [Some(g * trigamma(a))], 40, 4096,
    "Derivative of lgamma."]
[Trigamma trigamma (a; y, g) Float, trigamma(a), "rt_trigamma", [None], 40, 4096, "Derivative of digamma."]
// ---- sign and bits of floats
[Copysign copysign (a, b; y, g) Float, copysign(a, b), "rt_copysign",
    [Some(where_(eq(a, a.lit(0.0)), g.lit(0.0), g * sign(a) * copysign(a.lit(1.0), b))), Some(g.lit(0.0))], 1, 0,
    "The magnitude of a with the sign of b."]
[Nextafter nextafter (a, b; y, g) Float, nextafter(a, b), "rt_nextafter", [Some(g), Some(g.lit(0.0))], 4, 0,
    "The next float after a towards b."]
// ---- comparisons
[Eq eq (a, b; y, g) Compare, eq(a, b), "rt_eq", [None, None], 1, 0, "Equal."]
[Ne ne (a, b; y, g) Compare, ne(a, b), "rt_ne", [None, None], 1, 0, "Not equal."]
[Lt lt (a, b; y, g) Compare, lt(a, b), "rt_lt", [None, None], 1, 0, "Less."]
[Le le (a, b; y, g) Compare, le(a, b), "rt_le", [None, None], 1, 0, "Less or equal."]
[Gt gt (a, b; y, g) Compare, lt(b, a), "rt_gt", [None, None], 1, 0, "Greater."]
[Ge ge (a, b; y, g) Compare, le(b, a), "rt_ge", [None, None], 1, 0, "Greater or equal."]
[IsNan isnan (a; y, g) Test, isnan(a), "rt_isnan", [None], 1, 0, "Not a number?"]
[IsInf isinf (a; y, g) Test, isinf(a), "rt_isinf", [None], 1, 0, "Infinite?"]
[SignBit signbit (a; y, g) Test, signbit(a), "rt_signbit", [None], 1, 0, "Sign bit set (also of -0.0)?"]
// ---- logic and bits
[LogicalNot logical_not (a; y, g) Logic, logical_not(a), "rt_not", [None], 1, 0, "Not."]
[LogicalAnd logical_and (a, b; y, g) Logic, logical_and(a, b), "rt_and", [None, None], 1, 0, "And."]
[LogicalOr logical_or (a, b; y, g) Logic, logical_or(a, b), "rt_or", [None, None], 1, 0, "Or."]
[LogicalXor logical_xor (a, b; y, g) Logic, logical_xor(a, b), "rt_xor", [None, None], 1, 0, "Exclusive or."]
[BitNot bitwise_not (a; y, g) Int, bit_not(a), "rt_bit_not", [None], 1, 0, "Complement of the bits."]
[BitAnd bitwise_and (a, b; y, g) Int, bit_and(a, b), "rt_bit_and", [None, None], 1, 0, "And of the bits."]
[BitOr bitwise_or (a, b; y, g) Int, bit_or(a, b), "rt_bit_or", [None, None], 1, 0, "Or of the bits."]
[BitXor bitwise_xor (a, b; y, g) Int, bit_xor(a, b), "rt_bit_xor", [None, None], 1, 0, "Exclusive or of the bits."]
[Shl bitwise_left_shift (a, b; y, g) Int, shl(a, b), "rt_shl", [None, None], 1, 0,
    "Shifted left; 0 for shifts beyond the width."]
[Shr bitwise_right_shift (a, b; y, g) Int, shr(a, b), "rt_shr", [None, None], 1, 0,
    "Shifted right with the sign; shifts beyond the width leave the sign."]
[Gcd gcd (a, b; y, g) Int, gcd(a, b), "rt_gcd", [None, None], 40, 0, "Greatest common divisor."]
// ---- choice and random bits
[Where where_ (c, a, b; y, g) Select, where_(c, a, b), "rt_where",
    [None, Some(where_(c, g, g.lit(0.0))), Some(where_(c, g.lit(0.0), g))], 1, 0, "a where c holds, else b."]
[RandUniform philox_uniform (a, b; y, g) Random, philox_uniform(a, b), "rt_philox_uniform", [None, None], 20, 0,
    "Uniform in [0, 1): Philox4x32-10 of (seed, counter) (Salmon et al. 2011)."]
[RandNormal philox_normal (a, b; y, g) Random, philox_normal(a, b), "rt_philox_normal", [None, None], 40, 4096,
    "Standard normal by Box-Muller of two Philox draws."]
        }
    };
}

macro_rules! define_ops {
    ($([$name:ident $fn:ident ($($arg:ident),+; $y:ident, $g:ident) $class:ident, $body:expr, $wgsl:literal,
        [$($d:expr),+ $(,)?], $cost:literal, $ulp:literal, $doc:literal])*) => {
        /// One pointwise operator; a row of the table.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ScalarOp { $(#[doc = $doc] $name),* }

        /// The columns of a row that are plain data.
        pub struct Row {
            pub op: ScalarOp,
            /// PyTorch's name, but for the rows that only compositions use.
            pub name: &'static str,
            pub arity: usize,
            pub class: Class,
            pub wgsl: &'static str,
            /// The body as text, over the arguments' names.
            pub body: &'static str,
            pub args: &'static [&'static str],
            pub cost: u32,
            pub gpu_ulp: u32,
            pub doc: &'static str,
        }

        /// Every row, in the order of the enum.
        pub static ROWS: &[Row] = &[$(Row {
            op: ScalarOp::$name, name: stringify!($fn), arity: [$(stringify!($arg)),+].len(), class: Class::$class,
            wgsl: $wgsl, body: stringify!($body), args: &[$(stringify!($arg)),+], cost: $cost, gpu_ulp: $ulp, doc: $doc,
        }),*];
    };
}

for_each_scalar_op!(define_ops);

impl ScalarOp {
    pub fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }
    pub fn name(self) -> &'static str {
        self.row().name.trim_end_matches('_')
    }
    pub fn from_name(name: &str) -> Option<ScalarOp> {
        ROWS.iter().find(|r| r.op.name() == name).map(|r| r.op)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_the_order_of_the_enum_and_named_once() {
        for (i, r) in ROWS.iter().enumerate() {
            assert_eq!(r.op as usize, i);
            assert_eq!(ScalarOp::from_name(r.op.name()), Some(r.op));
        }
    }
}
