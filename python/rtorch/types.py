"""The types that annotations name: `Device`, `Number`, sizes, tensors or sequences of them."""

import builtins
import os
from collections.abc import Sequence

from rtorch import Size, Tensor, device, dtype, layout

__all__ = ["Device", "FileLike", "Number", "Storage"]

_TensorOrTensors = Tensor | Sequence[Tensor]
_TensorOrTensorsOrGradEdge = _TensorOrTensors
_dtype, _device, _layout = dtype, device, layout
_bool, _bytes, _complex, _float = builtins.bool, builtins.bytes, builtins.complex, builtins.float
_int, _str = builtins.int, builtins.str
_size = _symsize = Size | list[_int] | tuple[_int, ...]

Number = _int | _float | _bool
Device = _device | str | _int | None
FileLike = str | os.PathLike
# There are no symbolic sizes here: what is like an int is one.
IntLikeType, FloatLikeType, BoolLikeType = _int, _float, _bool


class Storage:
    """What storages look like to annotations."""

    _cdata: _int
    device: _device
    dtype: _dtype

    def size(self) -> _int:
        """The number of elements."""
        raise NotImplementedError("Storage describes a type and has no elements")
