//! What primitives are told besides their operands.

use smallvec::SmallVec;

/// Dimensions, sorted.
pub type Axes = SmallVec<[usize; 5]>;
/// Per spatial dimension (up to 3).
pub type Spatial = SmallVec<[usize; 3]>;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReduceOp {
    Sum,
    Prod,
    Max,
    Min,
    /// Of bools.
    Any,
    All,
    /// int64 position of the first largest (a NaN counts as largest); one axis, or all flattened.
    ArgMax,
    ArgMin,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ScanOp {
    Sum,
    Prod,
    /// Running maximum and its position: two outputs.
    Max,
    Min,
    LogSumExp,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ScatterOp {
    Set,
    Add,
    Mul,
    Max,
    Min,
}

/// Stride, padding, dilation (per spatial dimension) and groups of a convolution.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ConvParams {
    pub stride: Spatial,
    pub padding: Spatial,
    pub dilation: Spatial,
    pub groups: usize,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PoolParams {
    pub kernel: Spatial,
    pub stride: Spatial,
    pub padding: Spatial,
    pub dilation: Spatial,
    /// Output sizes (ceil mode is decided by the caller).
    pub out: Spatial,
    /// Average: does padding count in the divisor?
    pub count_include_pad: bool,
    /// Average: a fixed divisor instead of the window's size.
    pub divisor: Option<i64>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct AttentionParams {
    pub causal: bool,
    pub scale: f64,
    /// Is the last input an additive or bool mask, broadcast to (batch, heads, queries, keys)?
    pub mask: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SampleMode {
    /// Of 2 x 2 pixels, or 2 x 2 x 2.
    Bilinear,
    Nearest,
    /// Keys' kernel over 4 x 4 pixels.
    Bicubic,
}

/// What lies outside an image that is sampled there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SamplePadding {
    Zeros,
    Border,
    Reflection,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SampleParams {
    pub mode: SampleMode,
    pub padding: SamplePadding,
    /// Are -1 and 1 the centres of the corner pixels, rather than their outer edges?
    pub align_corners: bool,
}

/// What makes a distance of the differences between two rows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Metric {
    /// How many are not zero.
    Count,
    /// The sum of their absolute values.
    Sum,
    /// The root of the sum of their squares.
    Euclid,
    /// The largest absolute value.
    Largest,
}

/// Linear or cubic resizing of 1 to 3 spatial dimensions.
#[derive(Clone, PartialEq, Debug)]
pub struct ResizeParams {
    pub out: Spatial,
    /// Input steps per output step; None: the dimension stays as it is.
    pub steps: SmallVec<[Option<f64>; 3]>,
    pub align_corners: bool,
    pub cubic: bool,
}

/// Connectionist temporal classification: the blank's class, steps and states of the recursion that are kept.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CtcParams {
    pub blank: usize,
    /// The longest input.
    pub steps: usize,
    /// Of the longest target: its labels with blanks around them.
    pub width: usize,
    /// Do impossible targets have no gradient?
    pub zero_infinity: bool,
}

/// Decompositions and solvers on the last two dimensions, batched.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LinalgOp {
    /// (A, B) -> X with A X = B; with `factors` also what `SolveFactored` takes.
    Solve {
        factors: bool,
    },
    /// (A, factors, permutation, B) -> X with A X = B, or A^H X = B, by the factors that `Solve` left.
    SolveFactored {
        adjoint: bool,
    },
    Inverse,
    /// A -> sign, log|det|.
    SlogDet,
    /// A -> L and U in one matrix, LAPACK's row interchanges (int32, from 1).
    Lu,
    /// A -> L, and int32 0; of a matrix that is not positive-definite an error where `check`, else its triangle and the
    /// order of the first minor that is not.
    Cholesky {
        upper: bool,
        check: bool,
    },
    /// A -> Q, R.
    Qr {
        full: bool,
    },
    /// A -> R and the reflections' vectors in one matrix, their factors.
    Geqrf,
    /// A -> U, S, V^H.
    Svd {
        full: bool,
    },
    /// A -> S.
    SvdVals,
    /// A -> eigenvalues, eigenvectors of a symmetric matrix.
    Eigh {
        upper: bool,
    },
    /// A -> eigenvalues of a symmetric matrix.
    EighVals {
        upper: bool,
    },
    /// A -> eigenvalues, eigenvectors, complex.
    Eig,
    /// A -> eigenvalues, complex.
    EigVals,
    /// Symmetric A -> L and D in one matrix, pivots (int32).
    Ldl {
        hermitian: bool,
    },
    /// (LD, pivots, B) -> X.
    LdlSolve {
        hermitian: bool,
    },
    /// (A, B) -> X with A triangular.
    TriangularSolve {
        upper: bool,
        unit: bool,
    },
}

/// Unnormalized discrete Fourier transforms.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FftKind {
    /// Complex to complex, exponent -i.
    Forward,
    /// Complex to complex, exponent +i.
    Inverse,
    /// Real to the half of its spectrum (n / 2 + 1 bins of the last axis), exponent -i.
    Real,
    /// Half a spectrum to the `n` real numbers it stands for, exponent +i.
    ToReal { n: usize },
}
