"""Names of `rtorch` that are neither operators nor submodules: constants, types by name, questions about objects."""

import math

from rtorch import _C
from rtorch._C import Tensor

__all__ = [
    "FloatTensor",
    "DoubleTensor",
    "HalfTensor",
    "BFloat16Tensor",
    "ByteTensor",
    "CharTensor",
    "ShortTensor",
    "IntTensor",
    "LongTensor",
    "BoolTensor",
    "default_generator",
    "get_autocast_cpu_dtype",
    "get_autocast_gpu_dtype",
    "is_autocast_cpu_enabled",
    "set_autocast_cpu_dtype",
    "set_autocast_cpu_enabled",
    "set_autocast_gpu_dtype",
    "e",
    "inf",
    "is_nonzero",
    "is_storage",
    "is_tensor",
    "nan",
    "newaxis",
    "pi",
    "typename",
]

e, inf, nan, pi = math.e, math.inf, math.nan, math.pi
newaxis = None


def is_tensor(obj):
    """Is it a tensor?"""
    return isinstance(obj, Tensor)


def is_nonzero(input):
    """Is the one element of the tensor not zero?"""
    if input.numel() != 1:
        many = "more than one value" if input.numel() else "no values"
        raise RuntimeError(f"Boolean value of Tensor with {many} is ambiguous")
    return bool(input)


def is_storage(obj):
    """Is it a storage?"""
    return isinstance(obj, _C.UntypedStorage)


def typename(obj):
    """The name of an object's type; `torch.FloatTensor` and so on for tensors."""
    if isinstance(obj, Tensor):
        return obj.type()
    module = getattr(obj, "__module__", None) or ""
    name = getattr(obj, "__qualname__", None) or type(obj).__qualname__
    return name if module in ("", "builtins", "__builtin__") else f"{module}.{name}"


def is_autocast_cpu_enabled():
    """Is mixed precision on for CPU tensors?"""
    return _C.is_autocast_enabled("cpu")


def set_autocast_cpu_enabled(enabled):
    """Switches mixed precision for CPU tensors; `rtorch.autocast` is the context that does it."""
    _C.set_autocast_enabled("cpu", enabled)


def get_autocast_cpu_dtype():
    """The dtype of mixed precision on CPUs."""
    return _C.get_autocast_dtype("cpu")


def set_autocast_cpu_dtype(dtype):
    """Sets the dtype of mixed precision on CPUs."""
    _C.set_autocast_dtype("cpu", dtype)


def get_autocast_gpu_dtype():
    """The dtype of mixed precision on GPUs."""
    return _C.get_autocast_dtype("wgpu")


def set_autocast_gpu_dtype(dtype):
    """Sets the dtype of mixed precision on GPUs."""
    _C.set_autocast_dtype("wgpu", dtype)


class _Typed(type):
    """Classes that only name a dtype: `isinstance(x, FloatTensor)` asks the dtype, calling one makes a tensor."""

    def __instancecheck__(cls, obj):
        return isinstance(obj, Tensor) and obj.dtype == cls.dtype and obj.device.type == "cpu"

    def __call__(cls, *args, **kwargs):
        return _C._legacy_tensor(cls.dtype, *args, **kwargs)


def _typed(name, dtype):
    return _Typed(name, (), {"dtype": dtype, "__module__": "rtorch"})


FloatTensor = _typed("FloatTensor", _C.float32)
DoubleTensor = _typed("DoubleTensor", _C.float64)
HalfTensor = _typed("HalfTensor", _C.float16)
BFloat16Tensor = _typed("BFloat16Tensor", _C.bfloat16)
ByteTensor = _typed("ByteTensor", _C.uint8)
CharTensor = _typed("CharTensor", _C.int8)
ShortTensor = _typed("ShortTensor", _C.int16)
IntTensor = _typed("IntTensor", _C.int32)
LongTensor = _typed("LongTensor", _C.int64)
BoolTensor = _typed("BoolTensor", _C.bool)
default_generator = getattr(_C, "default_generator", None)
