"""How a tensor is printed: to the letter as PyTorch prints it, so that its outputs and doctests read the same.

Not here: dtypes, devices and sizes, which name themselves (rust/python), and modules (nn/modules/module.py).
A tensor is cut down to what will be seen, moved to Python with one `tolist()`, and laid out as text from there.
"""

import contextlib
import dataclasses
import math

import rtorch as torch

# Above the first ratio, above the second value or (with fractions) below the third, floats are printed with exponents.
_SCI_RATIO, _SCI_LARGE, _SCI_SMALL = 1000.0, 1.0e8, 1.0e-4


@dataclasses.dataclass
class _PrinterOptions:
    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_PROFILES = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}

PRINT_OPTS = _PrinterOptions()


def set_printoptions(precision=None, threshold=None, edgeitems=None, linewidth=None, profile=None, sci_mode=None):
    """Sets how tensors are printed.

    precision: digits after the point (4). threshold: elements above which the middle is left out (1000).
    edgeitems: how many stay at each end of a dimension then (3). linewidth: characters a line (80).
    profile: "default", "short" or "full" sets those four at once.
    sci_mode: True or False forces exponents on or off; None, also when not given, decides by the values.

    >>> rtorch.set_printoptions(precision=2)
    >>> rtorch.tensor([1.12345])
    tensor([1.12])
    """
    if profile is not None and profile in _PROFILES:
        vars(PRINT_OPTS).update(_PROFILES[profile])
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    vars(PRINT_OPTS).update((name, value) for name, value in given.items() if value is not None)
    PRINT_OPTS.sci_mode = sci_mode


def get_printoptions():
    """The options in force, as keyword arguments of `set_printoptions`."""
    return dataclasses.asdict(PRINT_OPTS)


@contextlib.contextmanager
def printoptions(**kwargs):
    """`set_printoptions(**kwargs)` for the length of a with block."""
    before = get_printoptions()
    set_printoptions(**kwargs)
    try:
        yield
    finally:
        set_printoptions(**before)


class _Formatter:
    """One style for all numbers of a tensor: chosen and its width measured from the values that are shown."""

    def __init__(self, values, floating):
        self.floating = floating
        self.whole = True
        self.sci = False
        self.width = 1
        if floating:
            self._choose(values)
        elif values:
            self.width = max(1, max(len(str(v)) for v in values))

    def _choose(self, values):
        # Zeros, infinities and nans have no say, neither in the style nor in the width:
        # so PyTorch prints [inf, -inf] unpadded.
        telling = [v for v in values if v != 0 and math.isfinite(v)]
        if not telling:
            return
        largest, smallest = max(map(abs, telling)), min(map(abs, telling))
        self.whole = all(v == math.ceil(v) for v in telling)
        self.sci = largest / smallest > _SCI_RATIO or largest > _SCI_LARGE
        self.sci = self.sci or (not self.whole and smallest < _SCI_SMALL)
        if PRINT_OPTS.sci_mode is not None:
            self.sci = PRINT_OPTS.sci_mode
        self.width = max(1, max(len(self._plain(v)) for v in telling))

    def _plain(self, value):
        if not self.floating:
            return str(value)
        if self.sci:
            return f"{value:.{PRINT_OPTS.precision}e}"
        if self.whole:
            return f"{value:.0f}." if math.isfinite(value) else f"{value:.0f}"
        return f"{value:.{PRINT_OPTS.precision}f}"

    def __call__(self, value):
        return self._plain(value).rjust(self.width)


class _ComplexFormatter:
    """Real and imaginary parts have each a style of their own; the imaginary part is not padded."""

    def __init__(self, values):
        self.real = _Formatter([v.real for v in values], True)
        self.imag = _Formatter([v.imag for v in values], True)
        self.width = self.real.width + self.imag.width + 1

    def __call__(self, value):
        imag = self.imag(value.imag).lstrip() + "j"
        return self.real(value.real) + (imag if imag[0] in "+-" else "+" + imag)


def _flat(nested, depth):
    for _ in range(depth - 1):
        nested = [x for part in nested for x in part]
    return nested if depth else [nested]


def _edges(tensor, cut):
    """The corners that a summary shows: the first and last items of every dimension that is cut."""
    edge = PRINT_OPTS.edgeitems
    for dim, shortened in enumerate(cut):
        if shortened:
            first = tensor.narrow(dim, 0, edge)
            tensor = torch.cat((first, tensor.narrow(dim, tensor.shape[dim] - edge, edge)), dim)
    return tensor


def _vector(values, indent, shortened, formatter):
    per_line = max(1, math.floor((PRINT_OPTS.linewidth - indent) / (formatter.width + 2)))
    edge = PRINT_OPTS.edgeitems
    if shortened:
        texts = [*map(formatter, values[:edge]), " ...", *map(formatter, values[-edge:])]
    else:
        texts = [formatter(v) for v in values]
    lines = [", ".join(texts[i : i + per_line]) for i in range(0, len(texts), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _nested(values, indent, cut, formatter):
    """`values`, lists within lists to the depth of `cut`, as text that starts `indent` characters into its line."""
    if not cut:
        return formatter(values)
    if len(cut) == 1:
        return _vector(values, indent, cut[0], formatter)
    parts = [_nested(v, indent + 1, cut[1:], formatter) for v in values]
    if cut[0]:
        edge = PRINT_OPTS.edgeitems
        parts[edge : len(parts) - edge] = ["..."]
    return "[" + ("," + "\n" * (len(cut) - 1) + " " * (indent + 1)).join(parts) + "]"


def _contents(tensor, indent):
    """The numbers of a tensor that is not empty, with their brackets."""
    summarize = tensor.numel() > PRINT_OPTS.threshold
    cut = [summarize and size > 2 * PRINT_OPTS.edgeitems for size in tensor.shape]
    if cut and summarize and PRINT_OPTS.edgeitems == 0:
        return "[...]"
    dtype = tensor.dtype
    values = _edges(tensor, cut).tolist()
    flat = _flat(values, len(cut))
    formatter = _ComplexFormatter(flat) if dtype.is_complex else _Formatter(flat, dtype.is_floating_point)
    return _nested(values, indent, cut, formatter)


def _with_suffixes(text, suffixes, indent, own_line=False):
    """Appends ", suffix" for each, on a new line where the last one would grow beyond the line's width; the first one
    also where the suffixes have a line of their own."""
    length = len(text) - text.rfind("\n") + 1
    for i, suffix in enumerate(suffixes):
        if (own_line and i == 0) or length + len(suffix) + 2 > PRINT_OPTS.linewidth:
            text += ",\n" + " " * indent + suffix
            length = indent + len(suffix)
        else:
            text += ", " + suffix
            length += len(suffix) + 2
    return text + ")"


def _grad_suffix(tensor):
    try:
        grad_fn = tensor.grad_fn
    except RuntimeError:  # a view whose base was changed in a way that has no history
        return ["grad_fn=<Invalid>"]
    if grad_fn is not None:
        return [f"grad_fn=<{type(grad_fn).__name__}>"]
    return ["requires_grad=True"] if tensor.requires_grad else []


def _dtype_suffix(dtype):
    """The dtype, where the numbers do not tell it."""
    default = torch.get_default_dtype()
    complex_default = torch.complex128 if default == torch.float64 else torch.complex64
    return [] if dtype in (default, complex_default, torch.int64, torch.bool) else [f"dtype={dtype}"]


def _sparse_str(self, indices, values):
    """The text of `repr` of a sparse COO tensor: both its tensors without dtypes, the shape on a line of its own."""
    indent = len("tensor(")
    parts = []
    for name, t in (("indices", indices), ("values", values)):
        t = t.detach()
        text = f"[], size={tuple(t.shape)}" if t.numel() == 0 else _contents(t, indent + len(name) + len("=tensor("))
        parts.append(f"{name}=tensor({text})")
    suffixes = [] if self.device.type == "cpu" else [f"device='{self.device}'"]
    suffixes += [f"size={tuple(self.shape)}", f"nnz={indices.shape[1]}", *_dtype_suffix(self.dtype)]
    suffixes.append("layout=torch.sparse_coo")
    text = "tensor(" + (",\n" + " " * indent).join(parts)
    return _with_suffixes(text, suffixes + _grad_suffix(self), indent, own_line=True)


def _str(self, *, tensor_contents=None):
    """The text of `repr(tensor)`; `tensor_contents` stands in for the numbers, if given."""
    plain = type(self) is torch.Tensor or type(self).__name__ == "Parameter"
    prefix = "tensor(" if plain else type(self).__name__ + "("
    tensor = self.detach()
    device, dtype, default = tensor.device, tensor.dtype, torch.get_default_dtype()
    suffixes = [] if device.type == "cpu" else [f"device='{device}'"]
    if device.type == "meta" or tensor.numel() == 0:
        if device.type == "meta" or tensor.dim() != 1:
            suffixes.append(f"size={tuple(tensor.shape)}")
        if dtype != default:
            suffixes.append(f"dtype={dtype}")
        text = "..." if device.type == "meta" else "[]"
    else:
        if PRINT_OPTS.edgeitems == 0:
            suffixes.append(f"size={tuple(tensor.shape)}")
        suffixes += _dtype_suffix(dtype)
        text = tensor_contents if tensor_contents is not None else _contents(tensor, len(prefix))
    return _with_suffixes(prefix + text, suffixes + _grad_suffix(self), len(prefix))
