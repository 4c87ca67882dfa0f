"""`rtorch.finfo` and `rtorch.iinfo`: the limits of dtypes, by arithmetic."""

from rtorch import _C

# name: (bits, explicit mantissa bits, exponent bits)
_FLOATS = {
    "float16": (16, 10, 5),
    "bfloat16": (16, 7, 8),
    "float32": (32, 23, 8),
    "float64": (64, 52, 11),
}
# name: (eps, max, tiny), as PyTorch says; the last has neither sign nor zero
_FLOATS8 = {
    "float8_e4m3fn": (0.125, 448.0, 2.0**-6),
    "float8_e5m2": (0.25, 57344.0, 2.0**-14),
    "float8_e4m3fnuz": (0.125, 240.0, 2.0**-7),
    "float8_e5m2fnuz": (0.125, 57344.0, 2.0**-15),
    "float8_e8m0fnu": (1.0, 2.0**127, 2.0**-127),
}


class finfo:
    """The limits of a floating dtype: bits, eps, max, min, tiny, smallest_normal, resolution."""

    def __init__(self, dtype=None):
        dtype = _C.get_default_dtype() if dtype is None else dtype
        if not isinstance(dtype, _C.dtype) or not (dtype.is_floating_point or dtype.is_complex):
            raise TypeError(f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle '{dtype}'")
        self.dtype = str(dtype.to_real()).split(".")[1]
        if self.dtype in _FLOATS8:
            self.bits, self.resolution = 8, 1.0
            self.eps, self.max, self.tiny = _FLOATS8[self.dtype]
            self.min = -self.max if dtype.is_signed else self.tiny
            self.smallest_normal = self.tiny
            return
        self.bits, mantissa, exponent = _FLOATS[self.dtype]
        top = 2 ** (exponent - 1) - 1
        self.eps = 2.0**-mantissa
        self.max = (2.0 - self.eps) * 2.0**top
        self.min = -self.max
        self.tiny = self.smallest_normal = 2.0 ** (1 - top)
        self.resolution = 10.0 ** -int(mantissa * 0.30103)

    def __repr__(self):
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
            f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})"
        )

    def __eq__(self, other):
        return isinstance(other, finfo) and other.dtype == self.dtype

    def __hash__(self):
        return hash(self.dtype)


class iinfo:
    """The limits of an integer dtype: bits, min, max."""

    def __init__(self, dtype):
        if not isinstance(dtype, _C.dtype) or dtype.is_floating_point or dtype.is_complex:
            raise TypeError(f"torch.iinfo() requires an integer input type. Use torch.finfo to handle '{dtype}'")
        self.dtype = str(dtype).split(".")[1]
        if self.dtype == "bool":
            raise RuntimeError('"bool" not supported by iinfo')
        self.bits = dtype.itemsize * 8
        signed = dtype.is_signed
        self.min = -(2 ** (self.bits - 1)) if signed else 0
        self.max = 2 ** (self.bits - signed) - 1

    def __repr__(self):
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"

    def __eq__(self, other):
        return isinstance(other, iinfo) and other.dtype == self.dtype

    def __hash__(self):
        return hash(self.dtype)
