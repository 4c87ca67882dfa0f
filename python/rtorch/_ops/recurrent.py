"""Recurrent networks as functions of all their weights (`torch.lstm`, `torch.gru`, ...) and their single steps. The
arithmetic is `nn/functional/recurrent.py`'s, the modules are `nn/modules/rnn.py`.
"""

from __future__ import annotations

import rtorch

from ._register import op

_STATES = {"LSTM": 2}


def _grouped(params, has_biases, count, projected):
    """The flat list of weights as (w_ih, w_hh, b_ih, b_hh, w_hr) per layer and direction."""
    each = 2 + 2 * has_biases + projected
    if len(params) != each * count:
        raise RuntimeError(f"got an incorrect number of RNN parameters: expected {each * count}, but got {len(params)}")
    groups = []
    for i in range(0, len(params), each):
        own = list(params[i : i + each])
        w_hr = own.pop() if projected else None
        groups.append((own[0], own[1], *(own[2:] if has_biases else (None, None)), w_hr))
    return groups


def _network(name, mode):
    def run(*args, **kwargs):
        # with the sizes of a packed sequence second, there is no batch_first
        packed = len(args) > 2 and isinstance(args[2], (rtorch.Tensor, list, tuple)) and not isinstance(args[2], bool)
        packed = packed and isinstance(args[1], rtorch.Tensor) and args[1].dtype is rtorch.int64
        return (_packed if packed else _padded)(name, mode, *args, **kwargs)

    run.__doc__ = (
        f"`nn.{mode.partition('_')[0]}` as a function of its weights: {name}(input, hx, params, has_biases, "
        "num_layers, dropout, train, bidirectional, batch_first), input T x N x I (or N x T x I), or of a packed "
        f"sequence {name}(data, batch_sizes, hx, params, has_biases, num_layers, dropout, train, bidirectional). "
        "`params` lists the weights of each layer and direction. Answers the outputs and the last "
        f"{'hidden and cell states' if mode == 'LSTM' else 'state'}, layers * directions x N x H each."
    )
    return op(name, method=False)(run)


def _padded(
    name, mode, input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first
):
    if input.dim() not in (2, 3):
        raise RuntimeError(f"{name}: Expected input to be 2-D or 3-D but received {input.dim()}-D tensor")
    batched = input.dim() == 3
    if not batched:
        input = input.unsqueeze(0 if batch_first else 1)
    states = _states(name, mode, hx)
    if not batched:
        states = tuple(s.unsqueeze(1) for s in states)
    if batch_first:
        input = input.transpose(0, 1)
    out, last = _run(mode, input, states, params, has_biases, num_layers, dropout, train, bidirectional, None)
    if batch_first:
        out = out.transpose(0, 1)
    if not batched:
        out, last = out.squeeze(0 if batch_first else 1), tuple(s.squeeze(1) for s in last)
    return out, *last


def _packed(name, mode, data, batch_sizes, hx, params, has_biases, num_layers, dropout, train, bidirectional):
    if batch_sizes.dim() != 1 or batch_sizes.numel() == 0:
        raise RuntimeError(f"{name}: batch_sizes tensor should be 1D and not empty")
    sizes, states = batch_sizes.tolist(), _states(name, mode, hx)
    out, last = _run(mode, data, states, params, has_biases, num_layers, dropout, train, bidirectional, sizes)
    return out, *last


def _states(name, mode, hx):
    states = (hx,) if isinstance(hx, rtorch.Tensor) and mode != "LSTM" else tuple(hx)
    if len(states) != _STATES.get(mode, 1):
        raise RuntimeError(f"{name} expects two hidden states")
    return states


def _run(mode, input, states, params, has_biases, num_layers, dropout, train, bidirectional, sizes):
    directions = 1 + bool(bidirectional)
    # an LSTM whose outputs are smaller than its cells projects them
    projected = mode == "LSTM" and states[0].size(-1) != states[1].size(-1)
    groups = _grouped(params, bool(has_biases), num_layers * directions, projected)
    if any(s.size(0) != len(groups) for s in states):
        raise RuntimeError(
            f"Expected hidden states of {len(groups)} layers and directions, but got {[s.size(0) for s in states]}"
        )
    run = rtorch.nn.functional.recurrent.run_layers
    return run(mode, input, states, groups, directions, dropout if train else 0.0, sizes)


for _name, _mode in (("lstm", "LSTM"), ("gru", "GRU"), ("rnn_tanh", "RNN_TANH"), ("rnn_relu", "RNN_RELU")):
    _network(_name, _mode)


def _check_cell(input, hidden, w_ih, w_hh):
    if input.size(-1) != w_ih.size(1):
        raise RuntimeError(f"input has inconsistent input_size: got {input.size(-1)} expected {w_ih.size(1)}")
    for i, h in enumerate(hidden):
        if h.size(-1) != w_hh.size(1):
            raise RuntimeError(f"hidden{i} has inconsistent hidden_size: got {h.size(-1)}, expected {w_hh.size(1)}")
        if input.dim() > 1 and input.size(0) != h.size(0):
            raise RuntimeError(f"Input batch size {input.size(0)} doesn't match hidden{i} batch size {h.size(0)}")


def _cell(name, hidden):
    def step(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
        states = tuple(hx) if hidden == 2 else (hx,)
        if len(states) != hidden:
            raise RuntimeError(f"{name} expects two hidden states")
        _check_cell(input, states, w_ih, w_hh)
        f = getattr(rtorch.nn.functional.recurrent, name)
        return f(input, states if hidden == 2 else hx, w_ih, w_hh, b_ih, b_hh)

    step.__doc__ = (
        f"One step of `nn.{name.partition('_')[0].upper()}Cell`: input N x I, hx N x H"
        f"{' twice' if hidden == 2 else ''}, w_ih G x I, w_hh G x H, biases G; RuntimeError where they do not fit."
    )
    return op(name, method=False)(step)


for _name, _count in (("lstm_cell", 2), ("gru_cell", 1), ("rnn_tanh_cell", 1), ("rnn_relu_cell", 1)):
    _cell(_name, _count)
