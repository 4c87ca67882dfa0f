//! The table of fused optimizer steps: for each the states it keeps, the numbers it takes and its formula. SGD and
//! Adam, whose switches make many programs of one, are in `../optim.rs`, which also runs the steps.

use rtorch_ir::program::{Ex, ex};
use smallvec::SmallVec;

/// One step, by its algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Formula {
    Adadelta,
    Adagrad,
    RmsProp { momentum: bool, centered: bool },
    Adamax,
    NAdam,
    RAdam { adaptive: bool },
    Asgd { first: bool },
    Rprop,
}

/// Parameter, states: what a formula writes.
type Written = SmallVec<[Ex; 4]>;

impl Formula {
    pub const ALL: [Formula; 13] = [
        Formula::Adadelta,
        Formula::Adagrad,
        Formula::RmsProp { momentum: false, centered: false },
        Formula::RmsProp { momentum: true, centered: false },
        Formula::RmsProp { momentum: false, centered: true },
        Formula::RmsProp { momentum: true, centered: true },
        Formula::Adamax,
        Formula::NAdam,
        Formula::RAdam { adaptive: true },
        Formula::RAdam { adaptive: false },
        Formula::Asgd { first: true },
        Formula::Asgd { first: false },
        Formula::Rprop,
    ];

    /// As in `_fused_NAME_`.
    pub fn name(self) -> &'static str {
        match self {
            Formula::Adadelta => "adadelta",
            Formula::Adagrad => "adagrad",
            Formula::RmsProp { momentum: false, centered: false } => "rmsprop",
            Formula::RmsProp { momentum: true, centered: false } => "rmsprop_momentum",
            Formula::RmsProp { momentum: false, centered: true } => "rmsprop_centered",
            Formula::RmsProp { momentum: true, centered: true } => "rmsprop_centered_momentum",
            Formula::Adamax => "adamax",
            Formula::NAdam => "nadam",
            Formula::RAdam { adaptive: true } => "radam",
            Formula::RAdam { adaptive: false } => "radam_early",
            Formula::Asgd { first: true } => "asgd_first",
            Formula::Asgd { first: false } => "asgd",
            Formula::Rprop => "rprop",
        }
    }

    /// How many states a parameter has.
    pub fn states(self) -> usize {
        match self {
            Formula::Adagrad | Formula::Asgd { .. } => 1,
            Formula::RmsProp { momentum, centered } => 1 + momentum as usize + centered as usize,
            Formula::Adadelta | Formula::Adamax | Formula::NAdam | Formula::RAdam { .. } | Formula::Rprop => 2,
        }
    }

    /// How many numbers a step takes after the weight decay, which is the first of all.
    pub fn numbers(self) -> usize {
        match self {
            Formula::Adagrad => 2,
            Formula::Asgd { .. } => 3,
            Formula::Adadelta | Formula::Adamax | Formula::Rprop => 4,
            Formula::RmsProp { .. } => 5,
            Formula::RAdam { .. } => 6,
            Formula::NAdam => 7,
        }
    }

    /// `p` the parameter, `g` its gradient (decayed), `c` the numbers after the weight decay.
    pub(super) fn written(self, p: Ex, g: Ex, c: &[Ex]) -> Written {
        let dtype = p.dtype();
        let state = || Ex::leaf(dtype);
        match self {
            Formula::Adadelta => adadelta(p, g, c, state(), state()),
            Formula::Adagrad => {
                // c: lr / (1 + (t - 1) lr_decay), eps
                let sum = state() + g * g;
                SmallVec::from_slice(&[p - c[0] * g / (ex::sqrt(sum) + c[1]), sum])
            }
            Formula::RmsProp { momentum, centered } => rmsprop(p, g, c, momentum, centered),
            Formula::Adamax => {
                // c: lr / (1 - beta1^t), 1 - beta1, beta2, eps
                let (m, u) = (state(), state());
                let m = m + (g - m) * c[1];
                let u = ex::maximum(u * c[2], ex::abs(g) + c[3]);
                SmallVec::from_slice(&[p - c[0] * m / u, m, u])
            }
            Formula::NAdam => nadam(p, g, c, state(), state()),
            Formula::RAdam { adaptive } => radam(p, g, c, adaptive, state(), state()),
            Formula::Asgd { first } => {
                // c: rate, shrinking, weight of the newest in the average
                let average = state();
                let p = p * c[1] - g * c[0];
                SmallVec::from_slice(&[p, if first { p } else { average + (p - average) * c[2] }])
            }
            Formula::Rprop => rprop(p, g, c, state(), state()),
        }
    }
}

/// c: lr, rho, eps, 1 - rho
fn adadelta(p: Ex, g: Ex, c: &[Ex], square: Ex, acc: Ex) -> Written {
    let square = square * c[1] + g * g * c[3];
    let delta = ex::sqrt(acc + c[2]) / ex::sqrt(square + c[2]) * g;
    let acc = acc * c[1] + delta * delta * c[3];
    SmallVec::from_slice(&[p - delta * c[0], square, acc])
}

/// c: lr, alpha, eps, 1 - alpha, momentum
fn rmsprop(p: Ex, g: Ex, c: &[Ex], momentum: bool, centered: bool) -> Written {
    let dtype = p.dtype();
    let square = Ex::leaf(dtype) * c[1] + g * g * c[3];
    let mut written: Written = SmallVec::from_slice(&[p, square]);
    let spread = if centered {
        let mean = Ex::leaf(dtype);
        let mean = mean + (g - mean) * c[3];
        written.push(mean);
        square - mean * mean
    } else {
        square
    };
    let mut step = g / (ex::sqrt(spread) + c[2]);
    if momentum {
        step = Ex::leaf(dtype) * c[4] + step;
        written.push(step);
    }
    written[0] = p - step * c[0];
    written
}

/// c: factor of the gradient, factor of the moment, 1 - beta1, beta2, 1 - beta2^t, eps, shrinking of the parameter
fn nadam(p: Ex, g: Ex, c: &[Ex], m: Ex, v: Ex) -> Written {
    let p = p * c[6];
    let m = m + (g - m) * c[2];
    let v = v * c[3] + g * g * (c[3].lit(1.0) - c[3]);
    let denominator = ex::sqrt(v / c[4]) + c[5];
    SmallVec::from_slice(&[p - c[0] * g / denominator - c[1] * m / denominator, m, v])
}

/// c: factor of the moment, 1 - beta1, beta2, 1 - beta2, eps, shrinking of the parameter
fn radam(p: Ex, g: Ex, c: &[Ex], adaptive: bool, m: Ex, v: Ex) -> Written {
    let p = p * c[5];
    let m = m + (g - m) * c[1];
    let v = v * c[2] + g * g * c[3];
    let step = c[0] * m;
    SmallVec::from_slice(&[p - if adaptive { step / (ex::sqrt(v) + c[4]) } else { step }, m, v])
}

/// c: shrinking and growing of a step size, its least and its largest
fn rprop(p: Ex, g: Ex, c: &[Ex], previous: Ex, size: Ex) -> Written {
    let zero = g.lit(0.0);
    let agreement = g * previous;
    let (flipped, kept) = (ex::lt(agreement, zero), ex::gt(agreement, zero));
    let factor = ex::where_(kept, c[1], ex::where_(flipped, c[0], g.lit(1.0)));
    let size = ex::minimum(ex::maximum(size * factor, c[2]), c[3]);
    // where the sign has flipped the weight stays, and the next step starts anew
    let g = ex::where_(flipped, zero, g);
    SmallVec::from_slice(&[p - ex::sign(g) * size, g, size])
}
