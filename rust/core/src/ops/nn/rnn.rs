//! One layer of a recurrent network in one direction. An LSTM on the CPU is fused (`lstm.rs`); everything else is a
//! composition of one matrix product and a few pointwise programs per step. Layers, directions and packed sequences are
//! put together in Python.

use rtorch_ir::program::ex;
use rtorch_ir::{Error, Result, ensure};

use super::lstm;
use super::{activation, sizes_text};
use crate::ops::linalg::linear;
use crate::ops::pointwise::{Arg, Rule, compose};
use crate::ops::{self, shape};
use crate::tensor::Tensor;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Tanh,
    Relu,
    Lstm,
    Gru,
}

impl Mode {
    pub fn from_name(name: &str) -> Result<Mode> {
        Ok(match name {
            "RNN_TANH" => Mode::Tanh,
            "RNN_RELU" => Mode::Relu,
            "LSTM" => Mode::Lstm,
            "GRU" => Mode::Gru,
            _ => return Err(Error::value(format!("Unrecognized RNN mode: {name}"))),
        })
    }
    fn gates(self) -> usize {
        match self {
            Mode::Tanh | Mode::Relu => 1,
            Mode::Gru => 3,
            Mode::Lstm => 4,
        }
    }
}

/// Weights of a layer; the projection of an LSTM's output and the biases may be missing.
#[derive(Clone)]
pub struct Weights {
    pub ih: Tensor,
    pub hh: Tensor,
    pub bias_ih: Option<Tensor>,
    pub bias_hh: Option<Tensor>,
    pub hr: Option<Tensor>,
}

/// Output of every step, last hidden state, last cell state.
pub type Run = (Tensor, Tensor, Option<Tensor>);

/// Runs a layer over x [time, batch, features] from h [batch, hidden] (and c).
pub fn layer(mode: Mode, x: &Tensor, h: &Tensor, c: Option<&Tensor>, w: &Weights, reverse: bool) -> Result<Run> {
    ensure!(x.ndim() == 3, runtime, "RNN: expected an input of 3 dimensions, got {}", sizes_text(&x.shape()));
    ensure!(h.ndim() == 2, runtime, "RNN: expected a hidden state of 2 dimensions, got {}", sizes_text(&h.shape()));
    let hidden = w.hh.size(0) / mode.gates();
    ensure!(
        w.ih.ndim() == 2 && x.size(2) == w.ih.size(1),
        runtime,
        "input.size(-1) must be equal to input_size. Expected {}, got {}",
        w.ih.shape().last().copied().unwrap_or(0),
        x.size(2)
    );
    ensure!(
        h.size(0) == x.size(1) && h.size(1) == w.hh.size(1),
        runtime,
        "Expected hidden size [{}, {}], got {}",
        x.size(1),
        w.hh.size(1),
        sizes_text(&h.shape())
    );
    ensure!(x.size(0) > 0, runtime, "Expected sequence length to be larger than 0 in RNN");
    match (mode, c) {
        (Mode::Lstm, Some(c)) => {
            ensure!(
                c.ndim() == 2 && c.size(0) == x.size(1) && c.size(1) == hidden,
                runtime,
                "Expected cell size [{}, {hidden}], got {}",
                x.size(1),
                sizes_text(&c.shape())
            );
            if lstm::fits(x, h, c, w) {
                let (y, h, c) = lstm::layer(x, h, c, w, reverse)?;
                return Ok((y, h, Some(c)));
            }
        }
        (Mode::Lstm, None) => return Err(Error::runtime("lstm expects two hidden states")),
        (Mode::Tanh | Mode::Relu | Mode::Gru, _) => {}
    }
    composed(mode, x, h, c, w, reverse)
}

/// The plain meaning of a layer.
pub fn composed(mode: Mode, x: &Tensor, h: &Tensor, c: Option<&Tensor>, w: &Weights, reverse: bool) -> Result<Run> {
    let steps = shape::unbind(&linear(x, &w.ih, w.bias_ih.as_ref())?, 0)?;
    let (mut h, mut c) = (h.clone(), c.cloned());
    let mut out = vec![h.clone(); steps.len()];
    for i in 0..steps.len() {
        let t = if reverse { steps.len() - 1 - i } else { i };
        let own = linear(&h, &w.hh, w.bias_hh.as_ref())?;
        (h, c) = match (mode, &c) {
            (Mode::Lstm, Some(c)) => {
                let (h, c) = lstm_step(&steps[t], &own, c, w.hr.as_ref())?;
                (h, Some(c))
            }
            (Mode::Lstm, None) => return Err(Error::runtime("lstm expects two hidden states")),
            (Mode::Gru, _) => (gru_step(&steps[t], &own, &h)?, None),
            (Mode::Tanh, _) => {
                let args = [Arg::T(&steps[t]), Arg::T(&own)];
                (compose("rnn_tanh", "TanhBackward0", Rule::FloatOnly, &args, None, |a| ex::tanh(a[0] + a[1]))?, None)
            }
            (Mode::Relu, _) => (activation::relu(&ops::add(&steps[t], &own)?, None)?, None),
        };
        out[t] = h.clone();
    }
    Ok((shape::stack(&out, 0)?, h, c))
}

/// One step of an LSTM from the projections of its input and its state.
fn lstm_step(x: &Tensor, own: &Tensor, c: &Tensor, hr: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
    let g = shape::chunk(&ops::add(x, own)?, 4, -1)?;
    let args = [Arg::T(&g[0]), Arg::T(&g[1]), Arg::T(&g[2]), Arg::T(c)];
    let c = compose("lstm_cell", "AddBackward0", Rule::FloatOnly, &args, None, |a| {
        ex::sigmoid(a[1]) * a[3] + ex::sigmoid(a[0]) * ex::tanh(a[2])
    })?;
    let args = [Arg::T(&g[3]), Arg::T(&c)];
    let h =
        compose("lstm_hidden", "MulBackward0", Rule::FloatOnly, &args, None, |a| ex::sigmoid(a[0]) * ex::tanh(a[1]))?;
    match hr {
        Some(w) => Ok((linear(&h, w, None)?, c)),
        None => Ok((h, c)),
    }
}

fn gru_step(x: &Tensor, own: &Tensor, h: &Tensor) -> Result<Tensor> {
    let (i, o) = (shape::chunk(x, 3, -1)?, shape::chunk(own, 3, -1)?);
    let args = [Arg::T(&i[0]), Arg::T(&o[0]), Arg::T(&i[2]), Arg::T(&o[2])];
    let new = compose("gru_new", "TanhBackward0", Rule::FloatOnly, &args, None, |a| {
        ex::tanh(a[2] + ex::sigmoid(a[0] + a[1]) * a[3])
    })?;
    let args = [Arg::T(&i[1]), Arg::T(&o[1]), Arg::T(&new), Arg::T(h)];
    compose("gru_hidden", "AddBackward0", Rule::FloatOnly, &args, None, |a| {
        a[2] + ex::sigmoid(a[0] + a[1]) * (a[3] - a[2])
    })
}
