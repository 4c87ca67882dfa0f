"""Padding layers: constant, zero, reflection, replication, circular; amounts are (left, right, top, bottom, ...)."""

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


class ConstantPad1d(_ConstantPadNd):
    """Pads the last dimension with a constant value."""

    _n = 1


class ConstantPad2d(_ConstantPadNd):
    """Pads the last 2 dimensions with a constant value."""

    _n = 2


class ConstantPad3d(_ConstantPadNd):
    """Pads the last 3 dimensions with a constant value."""

    _n = 3


class ZeroPad1d(_ZeroPadNd):
    """Pads the last dimension with zeros.

    >>> import rtorch
    >>> rtorch.nn.ZeroPad1d(1)(rtorch.ones(1, 2))
    tensor([[0., 1., 1., 0.]])
    """

    _n = 1


class ZeroPad2d(_ZeroPadNd):
    """Pads the last 2 dimensions with zeros."""

    _n = 2


class ZeroPad3d(_ZeroPadNd):
    """Pads the last 3 dimensions with zeros."""

    _n = 3


class ReflectionPad1d(_ReflectionPadNd):
    """Pads the last dimension with the mirrored inside, the edge itself not repeated.

    >>> import rtorch
    >>> rtorch.nn.ReflectionPad1d(1)(rtorch.arange(3.0).reshape(1, 3))
    tensor([[1., 0., 1., 2., 1.]])
    """

    _n = 1


class ReflectionPad2d(_ReflectionPadNd):
    """Pads the last 2 dimensions with the mirrored inside, the edge itself not repeated."""

    _n = 2


class ReflectionPad3d(_ReflectionPadNd):
    """Pads the last 3 dimensions with the mirrored inside, the edge itself not repeated."""

    _n = 3


class ReplicationPad1d(_ReplicationPadNd):
    """Pads the last dimension with the edge value."""

    _n = 1


class ReplicationPad2d(_ReplicationPadNd):
    """Pads the last 2 dimensions with the edge value."""

    _n = 2


class ReplicationPad3d(_ReplicationPadNd):
    """Pads the last 3 dimensions with the edge value."""

    _n = 3


class CircularPad1d(_CircularPadNd):
    """Pads the last dimension with the values of the opposite edge."""

    _n = 1


class CircularPad2d(_CircularPadNd):
    """Pads the last 2 dimensions with the values of the opposite edge."""

    _n = 2


class CircularPad3d(_CircularPadNd):
    """Pads the last 3 dimensions with the values of the opposite edge."""

    _n = 3
