//! `Prim::Conv`, `ConvGradInput`, `ConvGradWeight` for one to three spatial dimensions, as matrix products whose
//! patch matrix is never written: read where the input's copies lie (`runs`), or packed panel by panel (`patches`).
//! Forward and input gradient are the same walk (`sweep`): the gradient reads with taps in reverse, and where the
//! stride exceeds 1 once for each phase of input positions. Depthwise convolution multiplies registers directly.

mod depthwise;
mod padded;
mod patches;
mod runs;
mod sweep;
mod weight;
pub mod window;

use rtorch_ir::prim::ConvParams;
use rtorch_ir::{DType, Result};

use crate::operand::{Operand, Output};
use crate::{Arg, Epilogue, Source};
use window::{Tap, Window};

/// Depth, rows, columns; leading ones where there are fewer dimensions.
pub type Spatial3 = [usize; 3];

/// Outputs per group up to which a convolution with one input channel per group is depthwise.
const DEPTHWISE_OUTPUTS: usize = 4;

/// Sizes of a convolution, always with three spatial dimensions.
#[derive(Clone, Debug)]
pub struct Geometry {
    pub images: usize,
    /// Channels in and out, per group.
    pub cin: usize,
    pub cout: usize,
    pub groups: usize,
    pub input: Spatial3,
    pub output: Spatial3,
    pub kernel: Spatial3,
    pub stride: Spatial3,
    pub padding: Spatial3,
    pub dilation: Spatial3,
}

fn spatial(sizes: &[usize], fill: usize) -> Spatial3 {
    let mut out = [fill; 3];
    out[3 - sizes.len()..].copy_from_slice(sizes);
    out
}

impl Geometry {
    /// From the shapes of x, w and the result.
    fn new(p: &ConvParams, x: &[usize], w: &[usize], y: &[usize]) -> Geometry {
        Geometry {
            images: x[0],
            cin: w[1],
            cout: w[0] / p.groups.max(1),
            groups: p.groups,
            input: spatial(&x[2..], 1),
            output: spatial(&y[2..], 1),
            kernel: spatial(&w[2..], 1),
            stride: spatial(&p.stride, 1),
            padding: spatial(&p.padding, 0),
            dilation: spatial(&p.dilation, 1),
        }
    }
    fn taps(&self) -> usize {
        self.kernel.iter().product()
    }
    fn is_depthwise(&self) -> bool {
        self.cin == 1 && self.groups > 1 && self.cout <= DEPTHWISE_OUTPUTS
    }
    /// Is there nothing to compute (no output, or no channels to sum over)?
    fn is_empty(&self) -> bool {
        self.images * self.cin * self.cout * self.groups * self.taps() == 0
            || self.output.contains(&0)
            || self.input.contains(&0)
    }
    fn each_tap(&self, mut f: impl FnMut(usize, Spatial3)) {
        let k = self.kernel;
        for number in 0..self.taps() {
            f(number, [number / (k[1] * k[2]), number / k[2] % k[1], number % k[2]]);
        }
    }
    /// What the forward pass reads.
    fn forward(&self) -> Window {
        let mut taps = Vec::new();
        self.each_tap(|number, at| {
            let offset = std::array::from_fn(|d| (at[d] * self.dilation[d]) as isize - self.padding[d] as isize);
            taps.push(Tap { offset, number });
        });
        Window { out: self.output, input: self.input, step: self.stride, taps }
    }
    /// What the input gradient reads of the output's gradient, for input positions `phase + i * stride`.
    fn backward(&self, phase: Spatial3) -> Window {
        let mut taps = Vec::new();
        self.each_tap(|number, at| {
            let reach: [isize; 3] =
                std::array::from_fn(|d| (phase[d] + self.padding[d]) as isize - (at[d] * self.dilation[d]) as isize);
            if (0..3).all(|d| reach[d].rem_euclid(self.stride[d] as isize) == 0) {
                let offset = std::array::from_fn(|d| reach[d].div_euclid(self.stride[d] as isize));
                taps.push(Tap { offset, number });
            }
        });
        let out = std::array::from_fn(|d| (self.input[d] - phase[d]).div_ceil(self.stride[d]));
        Window { out, input: self.output, step: [1; 3], taps }
    }
    /// All phases that have positions.
    fn phases(&self) -> Vec<Spatial3> {
        let n: Spatial3 = std::array::from_fn(|d| self.stride[d].min(self.input[d]));
        let all = n.iter().product();
        (0..all).map(|i: usize| [i / (n[1] * n[2]), i / n[2] % n[1], i % n[2]]).collect()
    }
}

/// (x [n, c, ...], w [o, c/groups, ...], bias [o] if given) -> [n, o, ...].
pub fn conv(params: &ConvParams, inputs: &[Source], epilogue: Option<&Epilogue>, outs: &[Arg]) -> Result<()> {
    match inputs[0].dtype() {
        DType::F64 => sweep::forward::<f64>(params, inputs, epilogue, outs[0]),
        _ => sweep::forward::<f32>(params, inputs, epilogue, outs[0]),
    }
}

/// (g [n, o, ...], w) -> the gradient of x.
pub fn conv_grad_input(params: &ConvParams, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    match inputs[0].dtype() {
        DType::F64 => sweep::backward::<f64>(params, inputs, outs[0]),
        _ => sweep::backward::<f32>(params, inputs, outs[0]),
    }
}

/// (g [n, o, ...], x) -> the gradient of w.
pub fn conv_grad_weight(params: &ConvParams, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    match inputs[0].dtype() {
        DType::F64 => weight::weight::<f64>(params, inputs, outs[0]),
        _ => weight::weight::<f32>(params, inputs, outs[0]),
    }
}

/// Zeros, for results that no sum reaches.
///
/// # Safety
/// `n` values at `p` belong to the caller.
unsafe fn zero<T: Copy>(p: *mut T, n: usize) {
    // SAFETY: as the caller's; all-zero bytes are the float 0.
    unsafe { p.write_bytes(0, n) }
}

/// A raw pointer that tasks share; they write disjoint elements.
#[derive(Clone, Copy)]
pub struct Shared<T>(*mut T);
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}
impl<T> Shared<T> {
    fn at(&self, i: usize) -> *mut T {
        self.0.wrapping_add(i)
    }
}
