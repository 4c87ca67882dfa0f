"""Forward mode: dual tensors, which carry a tangent through every operator (`rust/core/src/autograd/forward.rs`)."""

from collections import namedtuple
from contextlib import ContextDecorator

from rtorch import _C

__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"]

UnpackedDualTensor = namedtuple("UnpackedDualTensor", ["primal", "tangent"])
UnpackedDualTensor.__doc__ = "What `unpack_dual` answers: the contents, and the tangent or None."

_levels = []


def enter_dual_level():
    """Opens a level in which `make_dual` works; answers its number."""
    _levels.append(_C._enter_dual_level())
    return len(_levels) - 1


def exit_dual_level(*, level=None):
    """Closes the level: its tangents are forgotten."""
    if not _levels or (level is not None and level != len(_levels) - 1):
        raise RuntimeError(
            "Trying to exit a forward AD level that was not the last one that was created. This is not supported."
        )
    _C._exit_dual_level(_levels.pop())


def make_dual(tensor, tangent, *, level=None):
    """A view of `tensor` that carries `tangent` (of its shape and dtype).

    >>> import rtorch
    >>> from rtorch.autograd import forward_ad
    >>> with forward_ad.dual_level():
    ...     x = forward_ad.make_dual(rtorch.tensor(3.0), rtorch.tensor(1.0))
    ...     forward_ad.unpack_dual(x * x).tangent
    tensor(6.)
    """
    if not _levels or (level is not None and level < 0):
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first."
        )
    if not (tensor.is_floating_point() or tensor.is_complex()):
        raise ValueError(f"Expected primal to be floating point or complex, but got: {tensor.dtype}")
    if not (tangent.is_floating_point() or tangent.is_complex()):
        raise ValueError(f"Expected tangent to be floating point or complex, but got: {tangent.dtype}")
    if tensor.shape != tangent.shape:
        raise RuntimeError(
            f"Expected primal and tangent to have the same size, got {tuple(tensor.shape)} and {tuple(tangent.shape)}"
        )
    if tensor.dtype != tangent.dtype:
        raise RuntimeError(
            f"Expected primal and tangent to have the same dtype, got {tensor.dtype} and {tangent.dtype}"
        )
    return _C._make_dual(tensor, tangent)


def unpack_dual(tensor, *, level=None):
    """(primal, tangent) of a dual tensor; the tangent is None for a tensor that carries none."""
    if not _levels or (level is not None and level < 0):
        return UnpackedDualTensor(tensor, None)
    return UnpackedDualTensor(*_C._unpack_dual(tensor))


class dual_level(ContextDecorator):
    """A level as a context manager or decorator. Levels do not nest."""

    def __enter__(self):
        return enter_dual_level()

    def __exit__(self, *exc):
        exit_dual_level()
