"""RNN, LSTM and GRU, and their single-step cells. The arithmetic is in ../functional/recurrent.py."""

import math
import warnings

import rtorch
from rtorch.nn import init
from rtorch.nn.functional import recurrent
from rtorch.nn.parameter import Parameter
from rtorch.nn.utils.rnn import PackedSequence

from .module import Module

__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNBase", "RNNCell", "RNNCellBase"]

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


class RNNBase(Module):
    """What RNN, LSTM and GRU share: weights of layers and directions, checks, running them one above the other."""

    __constants__ = [
        "mode",
        "input_size",
        "hidden_size",
        "num_layers",
        "bias",
        "batch_first",
        "dropout",
        "bidirectional",
        "proj_size",
    ]

    def __init__(
        self,
        mode,
        input_size,
        hidden_size,
        num_layers=1,
        bias=True,
        batch_first=False,
        dropout=0.0,
        bidirectional=False,
        proj_size=0,
        device=None,
        dtype=None,
    ):
        super().__init__()
        if mode not in _GATES:
            raise ValueError("Unrecognized RNN mode: " + str(mode))
        if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
            )
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}",
                stacklevel=2,
            )
        if not isinstance(hidden_size, int):
            raise TypeError(f"hidden_size should be of type int, got: {type(hidden_size).__name__}")
        if not isinstance(batch_first, bool):
            raise TypeError(f"batch_first should be of type bool, got: {type(batch_first).__name__}")
        for name, value in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            if value <= 0:
                raise ValueError(f"{name} must be greater than zero")
        if proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable projections")
        if proj_size >= hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self._make_weights({"device": device, "dtype": dtype})
        self.reset_parameters()

    @property
    def _directions(self):
        return 2 if self.bidirectional else 1

    def _make_weights(self, where):
        rows = _GATES[self.mode] * self.hidden_size
        real_hidden = self.proj_size or self.hidden_size
        self._flat_weights_names, self._all_weights = [], []
        for layer in range(self.num_layers):
            width = self.input_size if layer == 0 else real_hidden * self._directions
            for suffix in ("", "_reverse")[: self._directions]:
                shapes = [("weight_ih", (rows, width)), ("weight_hh", (rows, real_hidden))]
                if self.bias:
                    shapes += [("bias_ih", (rows,)), ("bias_hh", (rows,))]
                if self.proj_size:
                    shapes.append(("weight_hr", (self.proj_size, self.hidden_size)))
                names = []
                for name, shape in shapes:
                    names.append(f"{name}_l{layer}{suffix}")
                    setattr(self, names[-1], Parameter(rtorch.empty(shape, **where)))
                self._flat_weights_names += names
                self._all_weights.append(names)

    @property
    def _flat_weights(self):
        return [getattr(self, name) for name in self._flat_weights_names]

    @property
    def all_weights(self):
        """The weights of every layer and direction, as a list of lists."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def flatten_parameters(self):
        """Has nothing to do here: the weights need no special memory layout."""

    def reset_parameters(self):
        """Draws new values: U(-k, k), k = 1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def _weights_of(self, index):
        """(w_ih, w_hh, b_ih, b_hh, w_hr) of layer and direction `index`."""
        own = [getattr(self, name) for name in self._all_weights[index]]
        projection = own.pop() if self.proj_size else None
        return (own[0], own[1], *(own[2:] if self.bias else (None, None)), projection)

    # ---- checks, with PyTorch's texts

    def check_input(self, input, batch_sizes):
        if not input.is_floating_point():
            raise ValueError(f"RNN input dtype {input.dtype} does not match weight dtype {self.weight_ih_l0.dtype}")
        if input.dtype != self.weight_ih_l0.dtype:
            raise ValueError(f"RNN input dtype ({input.dtype}) does not match weight dtype ({self.weight_ih_l0.dtype})")
        want = 2 if batch_sizes is not None else 3
        if input.dim() != want:
            raise RuntimeError(f"input must have {want} dimensions, got {input.dim()}")
        if self.input_size != input.size(-1):
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.size(-1)}"
            )

    def _batch(self, input, batch_sizes):
        if batch_sizes is not None:
            return batch_sizes[0]
        return input.size(0) if self.batch_first else input.size(1)

    def get_expected_hidden_size(self, input, batch_sizes):
        """The size of h: (layers * directions, batch, real hidden size)."""
        size = self.proj_size or self.hidden_size
        return (self.num_layers * self._directions, self._batch(input, batch_sizes), size)

    def check_hidden_size(self, hx, expected_hidden_size, msg="Expected hidden size {}, got {}"):
        if tuple(hx.size()) != tuple(expected_hidden_size):
            raise RuntimeError(msg.format(tuple(expected_hidden_size), list(hx.size())))

    def check_forward_args(self, input, hidden, batch_sizes):
        self.check_input(input, batch_sizes)
        self.check_hidden_size(hidden, self.get_expected_hidden_size(input, batch_sizes))

    def permute_hidden(self, hx, permutation):
        """`hx` with its batch in the order of `permutation`."""
        return hx if permutation is None else hx.index_select(1, permutation)

    # ---- running

    def _run(self, input, states, batch_sizes):
        """All layers over time-first (or packed) `input`; `states` is (h,) or (h, c), each (L * D, B, H)."""
        weights = [self._weights_of(i) for i in range(self.num_layers * self._directions)]
        dropout = self.dropout if self.training else 0.0
        return recurrent.run_layers(self.mode, input, states, weights, self._directions, dropout, batch_sizes)

    def _initial(self, input, batch_sizes):
        """Zero states."""
        shape = self.get_expected_hidden_size(input, batch_sizes)
        return (rtorch.zeros(shape, dtype=input.dtype, device=input.device),)

    def _as_states(self, hx):
        """The caller's hx as a tuple of states."""
        return (hx,)

    def _from_states(self, states):
        return states[0]

    def _unbatched_hint(self, states, wanted):
        if any(s.dim() != wanted for s in states):
            kind = "batched 3-D" if wanted == 3 else "unbatched 2-D"
            if len(states) == 1:
                raise RuntimeError(f"For {kind} input, hx should also be {wanted}-D but got {states[0].dim()}-D tensor")
            dims = ", ".join(str(s.dim()) for s in states)
            raise RuntimeError(f"For {kind} input, hx and cx should also be {wanted}-D but got ({dims})-D tensors")

    def forward(self, input, hx=None):
        states = None if hx is None else self._as_states(hx)
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, states)
        if input.dim() not in (2, 3):
            raise ValueError(f"{self._get_name()}: Expected input to be 2D or 3D, got {input.dim()}D instead")
        batched = input.dim() == 3
        batch_dim = 0 if self.batch_first else 1
        if not batched:
            input = input.unsqueeze(batch_dim)
        if states is not None:
            self._unbatched_hint(states, 3 if batched else 2)
            if not batched:
                states = tuple(s.unsqueeze(1) for s in states)
        else:
            states = self._initial(input, None)
        self.check_forward_args(input, self._from_states(states), None)
        output, states = self._run(input.transpose(0, 1) if self.batch_first else input, states, None)
        if self.batch_first:
            output = output.transpose(0, 1)
        if not batched:
            output, states = output.squeeze(batch_dim), tuple(s.squeeze(1) for s in states)
        return output, self._from_states(states)

    def _forward_packed(self, packed, states):
        input, batch_sizes, sorted_indices, unsorted_indices = packed
        sizes = batch_sizes.tolist()
        if states is None:
            states = self._initial(input, sizes)
        else:
            states = tuple(self.permute_hidden(s, sorted_indices) for s in states)
        self.check_forward_args(input, self._from_states(states), sizes)
        output, states = self._run(input, states, sizes)
        states = tuple(self.permute_hidden(s, unsorted_indices) for s in states)
        return PackedSequence(output, batch_sizes, sorted_indices, unsorted_indices), self._from_states(states)

    def extra_repr(self):
        parts = [f"{self.input_size}, {self.hidden_size}"]
        for name, default in (
            ("proj_size", 0),
            ("num_layers", 1),
            ("bias", True),
            ("batch_first", False),
            ("dropout", 0),
            ("bidirectional", False),
        ):
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)}")
        return ", ".join(parts)


class RNN(RNNBase):
    """h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh), or relu (Elman 1990).

    input (T, N, input_size), h_0 (layers * directions, N, hidden_size) -> output (T, N, directions * hidden_size), h_n.

    >>> import rtorch
    >>> rtorch.nn.RNN(10, 20, 2)(rtorch.zeros(5, 3, 10))[0].shape
    torch.Size([5, 3, 20])
    """

    def __init__(self, *args, **kwargs):
        if kwargs.get("proj_size", 0) > 0:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if len(args) > 3:
            nonlinearity = args[3]
            args = args[:3] + args[4:]
        else:
            nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__("RNN_TANH" if nonlinearity == "tanh" else "RNN_RELU", *args, **kwargs)
        self.nonlinearity = nonlinearity


class GRU(RNNBase):
    """Gated recurrent units (Cho et al. 2014).

    r = s(W_ir x + W_hr h), z = s(W_iz x + W_hz h), n = tanh(W_in x + b_in + r (W_hn h + b_hn)), h' = (1 - z) n + z h.

    >>> import rtorch
    >>> rtorch.nn.GRU(10, 20, batch_first=True)(rtorch.zeros(3, 5, 10))[1].shape
    torch.Size([1, 3, 20])
    """

    def __init__(self, *args, **kwargs):
        if kwargs.get("proj_size", 0) > 0:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter & Schmidhuber 1997), with projections (Sak et al. 2014).

    i, f, o = s(W x + U h), g = tanh(W_g x + U_g h), c' = f c + i g, h' = o tanh(c'). States are (h_n, c_n).

    >>> import rtorch
    >>> out, (h, c) = rtorch.nn.LSTM(10, 20, 2)(rtorch.zeros(5, 3, 10))
    >>> out.shape, c.shape
    (torch.Size([5, 3, 20]), torch.Size([2, 3, 20]))
    """

    def __init__(self, *args, **kwargs):
        super().__init__("LSTM", *args, **kwargs)

    def get_expected_cell_size(self, input, batch_sizes):
        """The size of c: (layers * directions, batch, hidden_size)."""
        return (self.num_layers * self._directions, self._batch(input, batch_sizes), self.hidden_size)

    def check_forward_args(self, input, hidden, batch_sizes):
        self.check_input(input, batch_sizes)
        wanted = (self.get_expected_hidden_size(input, batch_sizes), self.get_expected_cell_size(input, batch_sizes))
        for i in (0, 1):
            self.check_hidden_size(hidden[i], wanted[i], f"Expected hidden[{i}] size {{}}, got {{}}")

    def _initial(self, input, batch_sizes):
        shape = self.get_expected_cell_size(input, batch_sizes)
        return (*super()._initial(input, batch_sizes), rtorch.zeros(shape, dtype=input.dtype, device=input.device))

    def _as_states(self, hx):
        hx[0].dim()  # what is no tensor is refused before what is missing
        states = hx[0], hx[1]
        if isinstance(hx, rtorch.Tensor) and hx.dim() > 2:
            raise TypeError("lstm(): argument 'hx' must be tuple of Tensors, not Tensor")
        if len(hx) > 2:
            raise RuntimeError("lstm expects two hidden states")
        return states

    def _from_states(self, states):
        return states


class RNNCellBase(Module):
    """One step of a recurrent layer: the weights, checks and printing the cells share."""

    __constants__ = ["input_size", "hidden_size", "bias"]

    def __init__(self, input_size, hidden_size, bias, num_chunks, device=None, dtype=None):
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows, where = num_chunks * hidden_size, {"device": device, "dtype": dtype}
        self.weight_ih = Parameter(rtorch.empty((rows, input_size), **where))
        self.weight_hh = Parameter(rtorch.empty((rows, hidden_size), **where))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(rtorch.empty(rows, **where)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self):
        """Draws new values: U(-k, k), k = 1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def extra_repr(self):
        parts = [f"{self.input_size}, {self.hidden_size}"]
        if self.bias is not True:
            parts.append(f"bias={self.bias}")
        nonlinearity = self.__dict__.get("nonlinearity", "tanh")
        if nonlinearity != "tanh":
            parts.append(f"nonlinearity={nonlinearity}")
        return ", ".join(parts)

    def _step(self, cell, input, states):
        """`cell` on (N, I) or (I) input with its states checked, or zero ones made."""
        name = type(self).__name__
        if input.dim() not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        batched = input.dim() == 2
        x = input if batched else input.unsqueeze(0)
        if states is None:
            zeros = rtorch.zeros((x.size(0), self.hidden_size), dtype=x.dtype, device=x.device)
            states = (zeros,) * self._n_states
        else:
            for i, s in enumerate(states):
                if s.dim() not in (1, 2):
                    which = "hidden" if self._n_states == 1 else f"hx[{i}]"
                    raise ValueError(f"{name}: Expected {which} to be 1D or 2D, got {s.dim()}D instead")
            states = tuple(s if batched else s.unsqueeze(0) for s in states)
        if x.size(1) != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {x.size(1)} expected {self.input_size}")
        for s in states:
            if s.size(0) != x.size(0) or s.size(1) != self.hidden_size:
                raise RuntimeError(
                    f"Input batch size {x.size(0)} and hidden size {self.hidden_size} do not match "
                    f"hidden of shape {list(s.shape)}"
                )
        hx = states if self._n_states > 1 else states[0]
        out = cell(x, hx, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        if batched:
            return out
        return out.squeeze(0) if self._n_states == 1 else tuple(s.squeeze(0) for s in out)

    _n_states = 1


class RNNCell(RNNCellBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu: (N, input_size), (N, hidden_size) -> (N, hidden_size).

    >>> import rtorch
    >>> rtorch.nn.RNNCell(10, 20)(rtorch.zeros(3, 10)).shape
    torch.Size([3, 20])
    """

    __constants__ = ["input_size", "hidden_size", "bias", "nonlinearity"]

    def __init__(self, input_size, hidden_size, bias=True, nonlinearity="tanh", device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input, hx=None):
        cells = {"tanh": recurrent.rnn_tanh_cell, "relu": recurrent.rnn_relu_cell}
        if self.nonlinearity not in cells:
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return self._step(cells[self.nonlinearity], input, None if hx is None else (hx,))


class LSTMCell(RNNCellBase):
    """One step of an LSTM: (N, input_size), (h, c) -> (h', c')."""

    _n_states = 2

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input, hx=None):
        for i, state in enumerate(() if hx is None else hx):
            if state.dim() not in (1, 2):
                raise ValueError(f"LSTMCell: Expected hx[{i}] to be 1D or 2D, got {state.dim()}D instead")
        if isinstance(hx, rtorch.Tensor):
            raise TypeError("lstm_cell(): argument 'hx' (position 2) must be tuple of Tensors, not Tensor")
        if hx is not None and len(hx) != 2:
            raise RuntimeError("lstm_cell expects two hidden states")
        return self._step(recurrent.lstm_cell, input, hx)


class GRUCell(RNNCellBase):
    """One step of a GRU: (N, input_size), (N, hidden_size) -> (N, hidden_size)."""

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input, hx=None):
        return self._step(recurrent.gru_cell, input, None if hx is None else (hx,))
