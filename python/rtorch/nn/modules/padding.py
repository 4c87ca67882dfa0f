"""Padding layers: constant, zero, reflection, replication, circular; amounts are (left, right, top, bottom, ...).

>>> import rtorch
>>> rtorch.nn.ZeroPad1d(1)(rtorch.ones(1, 2))
tensor([[0., 1., 1., 0.]])
>>> rtorch.nn.ReflectionPad1d(1)(rtorch.arange(3.0).reshape(1, 3))
tensor([[1., 0., 1., 2., 1.]])
"""

from rtorch.nn import functional as F

from .module import Module
from .utils import _ntuple

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class _PadNd(Module):
    """Pads `_n` dimensions by one amount or one per edge; `_mode` is that of `F.pad`."""

    __constants__ = ["padding"]
    _n: int
    _mode: str

    def __init__(self, padding):
        super().__init__()
        self.padding = _ntuple(2 * self._n, "padding")(padding)

    def forward(self, input):
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self):
        return f"{self.padding}"


class _ConstantPadNd(_PadNd):
    __constants__ = ["padding", "value"]
    _mode = "constant"

    def __init__(self, padding, value):
        super().__init__(padding)
        self.value = value

    def forward(self, input):
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self):
        return f"padding={self.padding}, value={self.value}"


class _ZeroPadNd(_ConstantPadNd):
    def __init__(self, padding):
        super().__init__(padding, 0.0)

    def extra_repr(self):
        return f"{self.padding}"


class _ReflectionPadNd(_PadNd):
    _mode = "reflect"


class _ReplicationPadNd(_PadNd):
    _mode = "replicate"


class _CircularPadNd(_PadNd):
    _mode = "circular"

    def _check_input_dim(self, input):
        if input.dim() not in (self._n + 1, self._n + 2):
            raise ValueError(f"expected {self._n + 1}D or {self._n + 2}D input (got {input.dim()}D input)")

    def forward(self, input):
        self._check_input_dim(input)
        return F.pad(input, self.padding, "circular")


def _of_each_dimension(name, base, pads):
    """The classes NAME1d, NAME2d and NAME3d; `pads` says what they do to the padded dimensions."""
    made = []
    for n, dimensions in enumerate(("dimension", "2 dimensions", "3 dimensions"), 1):
        doc = f"Pads the last {dimensions} with {pads}.\n\n    Input and output: (N, C, ...) or (C, ...)."
        made.append(type(f"{name}{n}d", (base,), {"_n": n, "__doc__": doc, "__module__": __name__}))
    return made


ConstantPad1d, ConstantPad2d, ConstantPad3d = _of_each_dimension("ConstantPad", _ConstantPadNd, "a constant value")
ZeroPad1d, ZeroPad2d, ZeroPad3d = _of_each_dimension("ZeroPad", _ZeroPadNd, "zeros")
ReflectionPad1d, ReflectionPad2d, ReflectionPad3d = _of_each_dimension(
    "ReflectionPad", _ReflectionPadNd, "the mirrored inside, the edge itself not repeated"
)
ReplicationPad1d, ReplicationPad2d, ReplicationPad3d = _of_each_dimension(
    "ReplicationPad", _ReplicationPadNd, "the edge value"
)
CircularPad1d, CircularPad2d, CircularPad3d = _of_each_dimension(
    "CircularPad", _CircularPadNd, "the values of the opposite edge"
)
