"""Recurrent cells and the run of one layer in one direction over time: the meaning of RNN, LSTM and GRU.

Layers, directions, dropout and packed sequences are put together in ../modules/rnn.py. Where the core has a kernel
for a whole layer (`_nn.rnn_layer`), unpacked sequences use it.
"""

import rtorch
from rtorch._C import _nn

from .linear import linear

_fused_layer = getattr(_nn, "rnn_layer", None)


def _tanh_step(projected, state, w_hh, b_hh, w_hr):
    return ((projected + linear(state[0], w_hh, b_hh)).tanh(),)


def _relu_step(projected, state, w_hh, b_hh, w_hr):
    return ((projected + linear(state[0], w_hh, b_hh)).relu(),)


def _lstm_step(projected, state, w_hh, b_hh, w_hr):
    hidden, cell = state
    i, f, g, o = (projected + linear(hidden, w_hh, b_hh)).chunk(4, -1)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    hidden = o.sigmoid() * cell.tanh()
    return (hidden if w_hr is None else linear(hidden, w_hr)), cell


def _gru_step(projected, state, w_hh, b_hh, w_hr):
    i_r, i_z, i_n = projected.chunk(3, -1)
    h_r, h_z, h_n = linear(state[0], w_hh, b_hh).chunk(3, -1)
    reset, update = (i_r + h_r).sigmoid(), (i_z + h_z).sigmoid()
    new = (i_n + reset * h_n).tanh()
    return (new + update * (state[0] - new),)


STEPS = {"RNN_TANH": _tanh_step, "RNN_RELU": _relu_step, "LSTM": _lstm_step, "GRU": _gru_step}


def rnn_tanh_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """tanh(W_ih x + b_ih + W_hh h + b_hh)."""
    return _tanh_step(linear(input, w_ih, b_ih), (hx,), w_hh, b_hh, None)[0]


def rnn_relu_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """relu(W_ih x + b_ih + W_hh h + b_hh)."""
    return _relu_step(linear(input, w_ih, b_ih), (hx,), w_hh, b_hh, None)[0]


def lstm_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """One step of an LSTM (Hochreiter & Schmidhuber 1997): (h, c)."""
    return _lstm_step(linear(input, w_ih, b_ih), hx, w_hh, b_hh, None)


def gru_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """One step of a GRU (Cho et al. 2014)."""
    return _gru_step(linear(input, w_ih, b_ih), (hx,), w_hh, b_hh, None)[0]


def run_layer(mode, input, state, weights, reverse):
    """One layer over (T, B, I) from `state` (h,) or (h, c), each (B, H): the outputs (T, B, H) and the last state.

    weights: (w_ih, w_hh, b_ih, b_hh, w_hr), the last three may be None.
    """
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    if _fused_layer is not None:
        cell = state[1] if mode == "LSTM" else None
        out, h, c = _fused_layer(mode, input, state[0], cell, w_ih, w_hh, b_ih, b_hh, w_hr, reverse)
        return out, ((h, c) if mode == "LSTM" else (h,))
    step = STEPS[mode]
    projected = linear(input, w_ih, b_ih).unbind(0)
    outputs = []
    for x in reversed(projected) if reverse else projected:
        state = step(x, state, w_hh, b_hh, w_hr)
        outputs.append(state[0])
    return rtorch.stack(outputs[::-1] if reverse else outputs), state


def run_packed_layer(mode, data, batch_sizes, state, weights, reverse):
    """`run_layer` over a packed sequence: `data` (sum of batch_sizes, I), longest sequences first."""
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    step, start = STEPS[mode], state
    projected = linear(data, w_ih, b_ih).split(batch_sizes)
    outputs = []
    if reverse:
        # From the last step back: sequences join when their own end is reached.
        size = batch_sizes[-1]
        state = tuple(s[:size] for s in start)
        for x in reversed(projected):
            if x.size(0) > size:
                state = tuple(rtorch.cat([s, s0[size : x.size(0)]]) for s, s0 in zip(state, start))
                size = x.size(0)
            state = step(x, state, w_hh, b_hh, w_hr)
            outputs.append(state[0])
        return rtorch.cat(outputs[::-1]), state
    ended = []  # states of sequences that are over, shortest first
    for x in projected:
        size = x.size(0)
        if size < state[0].size(0):
            ended.append(tuple(s[size:] for s in state))
            state = tuple(s[:size] for s in state)
        state = step(x, state, w_hh, b_hh, w_hr)
        outputs.append(state[0])
    parts = zip(*[state, *reversed(ended)])
    return rtorch.cat(outputs), tuple(rtorch.cat(p) for p in parts)


def run_layers(mode, input, states, weights, directions, dropout, batch_sizes=None):
    """Layers over time-first (or, with sizes, packed) `input`, each over what all directions of the one below answer.

    states: (h,) or (h, c), each (layers * directions, B, H); weights: those of `run_layer` per layer and direction;
    dropout: the probability between layers. Answers the outputs and the last states.
    """
    finals, layers = [], len(weights) // directions
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            index = layer * directions + direction
            args = (tuple(s[index] for s in states), weights[index], direction == 1)
            if batch_sizes is None:
                out, final = run_layer(mode, input, *args)
            else:
                out, final = run_packed_layer(mode, input, batch_sizes, *args)
            outputs.append(out)
            finals.append(final)
        input = outputs[0] if len(outputs) == 1 else rtorch.cat(outputs, -1)
        if dropout and layer < layers - 1:
            input = rtorch.dropout(input, dropout, True)
    return input, tuple(rtorch.stack(s) for s in zip(*finals))
