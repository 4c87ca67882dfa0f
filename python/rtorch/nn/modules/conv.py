"""Convolutions and transposed convolutions in one to three dimensions, and their lazy forms."""

import math

import rtorch
from rtorch.nn import functional as F
from rtorch.nn import init
from rtorch.nn.parameter import Parameter, UninitializedParameter

from .lazy import LazyModuleMixin
from .module import Module
from .utils import _NTUPLES, _reverse_repeat_tuple
from .utils import _pair as _pair  # modules of other projects take them from here
from .utils import _single as _single
from .utils import _triple as _triple

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyConvTranspose3d",
]

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _ConvNd(Module):
    """What all convolutions share: arguments, weights and their initial values, printing."""

    __constants__ = [
        "stride",
        "padding",
        "dilation",
        "groups",
        "padding_mode",
        "output_padding",
        "in_channels",
        "out_channels",
        "kernel_size",
    ]

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride,
        padding,
        dilation,
        transposed,
        output_padding,
        groups,
        bias,
        padding_mode,
        device=None,
        dtype=None,
    ):
        super().__init__()
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups != 0:
            raise ValueError("out_channels must be divisible by groups")
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string {padding!r}, should be one of {{'same', 'valid'}}")
            if padding == "same" and any(s != 1 for s in stride):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in _PADDING_MODES:
            raise ValueError(
                f"padding_mode must be one of {set(_PADDING_MODES)}, but got padding_mode='{padding_mode}'"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.transposed = transposed
        self.output_padding = output_padding
        self.groups = groups
        self.padding_mode = padding_mode
        self._reversed_padding_repeated_twice = self._edges()
        shape = (in_channels, out_channels // groups) if transposed else (out_channels, in_channels // groups)
        self.weight = Parameter(rtorch.empty((*shape, *kernel_size), device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(rtorch.empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _edges(self):
        """The padding as `F.pad` takes it, for the modes that pad before the convolution."""
        if not isinstance(self.padding, str):
            return _reverse_repeat_tuple(self.padding, 2)
        edges = []
        for d, k in zip(reversed(self.dilation), reversed(self.kernel_size)):
            total = d * (k - 1) if self.padding == "same" else 0
            edges += [total // 2, total - total // 2]
        return edges

    def reset_parameters(self):
        """Draws new values: U(-b, b), b = 1 / sqrt(fan_in)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            if fan_in != 0:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    def extra_repr(self):
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        n = len(self.kernel_size)
        if self.padding != (0,) * n:
            parts.append(f"padding={self.padding}")
        if self.dilation != (1,) * n:
            parts.append(f"dilation={self.dilation}")
        if self.output_padding != (0,) * n:
            parts.append(f"output_padding={self.output_padding}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)

    def __setstate__(self, state):
        super().__setstate__(state)
        self.__dict__.setdefault("padding_mode", "zeros")


class _Conv(_ConvNd):
    """A forward convolution; the subclass names its dimensions and its function."""

    _n: int
    _function = None

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=True,
        padding_mode="zeros",
        device=None,
        dtype=None,
    ):
        n = _NTUPLES[self._n]
        super().__init__(
            in_channels,
            out_channels,
            n(kernel_size),
            n(stride),
            padding if isinstance(padding, str) else n(padding),
            n(dilation),
            False,
            n(0),
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _conv_forward(self, input, weight, bias):
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode), 0
        return type(self)._function(input, weight, bias, self.stride, padding, self.dilation, self.groups)

    def forward(self, input):
        return self._conv_forward(input, self.weight, self.bias)


class Conv1d(_Conv):
    """Convolution of (N, C, L) or (C, L) with a (out, C / groups, k) kernel: L -> (L + 2p - d(k - 1) - 1) / s + 1.

    >>> import rtorch
    >>> rtorch.nn.Conv1d(16, 33, 3, stride=2)(rtorch.zeros(20, 16, 50)).shape
    torch.Size([20, 33, 24])
    """

    _n, _function = 1, staticmethod(F.conv1d)


class Conv2d(_Conv):
    """Convolution of (N, C, H, W) or (C, H, W) with a (out, C / groups, kh, kw) kernel.

    >>> import rtorch
    >>> rtorch.nn.Conv2d(16, 33, 3, padding="same")(rtorch.zeros(2, 16, 5, 6)).shape
    torch.Size([2, 33, 5, 6])
    """

    _n, _function = 2, staticmethod(F.conv2d)


class Conv3d(_Conv):
    """Convolution of (N, C, D, H, W) or (C, D, H, W) with a (out, C / groups, kd, kh, kw) kernel.

    >>> import rtorch
    >>> rtorch.nn.Conv3d(2, 3, 3)(rtorch.zeros(1, 2, 5, 5, 5)).shape
    torch.Size([1, 3, 3, 3, 3])
    """

    _n, _function = 3, staticmethod(F.conv3d)


class _ConvTransposeNd(_ConvNd):
    """A transposed convolution (the gradient of a convolution with respect to its input)."""

    _n: int
    _function = None

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        groups=1,
        bias=True,
        dilation=1,
        padding_mode="zeros",
        device=None,
        dtype=None,
    ):
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        n = _NTUPLES[self._n]
        super().__init__(
            in_channels,
            out_channels,
            n(kernel_size),
            n(stride),
            n(padding),
            n(dilation),
            True,
            n(output_padding),
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _output_padding(self, input, output_size):
        """What must be added to the smallest output so that it has `output_size`."""
        if output_size is None:
            return self.output_padding
        n, unbatched = self._n, input.dim() == self._n + 1
        given = list(output_size)
        skipped = 1 if unbatched else 2
        if len(given) == n + skipped:
            given = given[skipped:]
        if len(given) != n:
            raise ValueError(
                f"ConvTranspose{n}D: for {input.dim()}D input, output_size must have {n} or {n + skipped} elements "
                f"(got {len(given)})"
            )
        smallest = [
            (input.size(d + skipped) - 1) * self.stride[d]
            - 2 * self.padding[d]
            + self.dilation[d] * (self.kernel_size[d] - 1)
            + 1
            for d in range(n)
        ]
        largest = [s + self.stride[d] - 1 for d, s in enumerate(smallest)]
        for size, low, high in zip(given, smallest, largest):
            if not low <= size <= high:
                raise ValueError(
                    f"requested an output size of {output_size}, but valid sizes range from {smallest} to {largest} "
                    f"(for an input of {input.size()[2:]})"
                )
        return [g - s for g, s in zip(given, smallest)]

    def forward(self, input, output_size=None):
        return type(self)._function(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self._output_padding(input, output_size),
            self.groups,
            self.dilation,
        )


class ConvTranspose1d(_ConvTransposeNd):
    """Transposed convolution of (N, C, L): L -> (L - 1) s - 2p + d(k - 1) + output_padding + 1.

    >>> import rtorch
    >>> rtorch.nn.ConvTranspose1d(2, 3, 3, stride=2)(rtorch.zeros(1, 2, 4)).shape
    torch.Size([1, 3, 9])
    """

    _n, _function = 1, staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_ConvTransposeNd):
    """Transposed convolution of (N, C, H, W).

    >>> import rtorch
    >>> rtorch.nn.ConvTranspose2d(2, 3, 3, stride=2)(rtorch.zeros(1, 2, 4, 4)).shape
    torch.Size([1, 3, 9, 9])
    """

    _n, _function = 2, staticmethod(F.conv_transpose2d)


class ConvTranspose3d(_ConvTransposeNd):
    """Transposed convolution of (N, C, D, H, W).

    >>> import rtorch
    >>> rtorch.nn.ConvTranspose3d(2, 3, 2)(rtorch.zeros(1, 2, 4, 4, 4)).shape
    torch.Size([1, 3, 5, 5, 5])
    """

    _n, _function = 3, staticmethod(F.conv_transpose3d)


class _LazyConvMixin(LazyModuleMixin):
    """A convolution that takes `in_channels` from its first input: the constructor lacks that argument."""

    def __init__(self, out_channels, kernel_size, *args, device=None, dtype=None, **kwargs):
        names = ("stride", "padding", *self._after_padding)
        kwargs.update(zip(names, args))
        bias = kwargs.pop("bias", True)
        super().__init__(0, 0, kernel_size, bias=False, **kwargs)
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.out_channels = out_channels
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def reset_parameters(self):
        if not self.has_uninitialized_params() and self.in_channels != 0:
            super().reset_parameters()

    def initialize_parameters(self, input, *args, **kwargs):
        if self.has_uninitialized_params():
            n = self._n
            if input.dim() not in (n + 1, n + 2):
                raise RuntimeError(
                    f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {type(self).__name__}, but got "
                    f"input of size: {input.shape}"
                )
            self.in_channels = input.shape[1] if input.dim() == n + 2 else input.shape[0]
            if self.in_channels % self.groups != 0:
                raise ValueError("in_channels must be divisible by groups")
            pair = (self.in_channels, self.out_channels)
            first, second = pair if self.transposed else pair[::-1]
            with rtorch.no_grad():
                self.weight.materialize((first, second // self.groups, *self.kernel_size))
                if self.bias is not None:
                    self.bias.materialize((self.out_channels,))
                self.reset_parameters()


_FORWARD_ARGUMENTS = ("dilation", "groups", "bias", "padding_mode")
_TRANSPOSED_ARGUMENTS = ("output_padding", "groups", "bias", "dilation", "padding_mode")


class LazyConv1d(_LazyConvMixin, Conv1d):
    """A `Conv1d` that takes `in_channels` from its first input."""

    cls_to_become, _after_padding = Conv1d, _FORWARD_ARGUMENTS


class LazyConv2d(_LazyConvMixin, Conv2d):
    """A `Conv2d` that takes `in_channels` from its first input."""

    cls_to_become, _after_padding = Conv2d, _FORWARD_ARGUMENTS


class LazyConv3d(_LazyConvMixin, Conv3d):
    """A `Conv3d` that takes `in_channels` from its first input."""

    cls_to_become, _after_padding = Conv3d, _FORWARD_ARGUMENTS


class LazyConvTranspose1d(_LazyConvMixin, ConvTranspose1d):
    """A `ConvTranspose1d` that takes `in_channels` from its first input."""

    cls_to_become, _after_padding = ConvTranspose1d, _TRANSPOSED_ARGUMENTS


class LazyConvTranspose2d(_LazyConvMixin, ConvTranspose2d):
    """A `ConvTranspose2d` that takes `in_channels` from its first input."""

    cls_to_become, _after_padding = ConvTranspose2d, _TRANSPOSED_ARGUMENTS


class LazyConvTranspose3d(_LazyConvMixin, ConvTranspose3d):
    """A `ConvTranspose3d` that takes `in_channels` from its first input."""

    cls_to_become, _after_padding = ConvTranspose3d, _TRANSPOSED_ARGUMENTS
