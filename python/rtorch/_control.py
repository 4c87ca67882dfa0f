"""Functions of `rtorch` that steer a program: control flow that is decided by tensors, numbers of threads, the default
tensor type, and what this build has. Switches of determinism and precision are in `_program.py`.
"""

import mmap
import os

from rtorch import _C
from rtorch._tensor_forms import is_distributed_of, is_inference, is_signed

__all__ = [
    "cond",
    "from_file",
    "get_num_interop_threads",
    "has_lapack",
    "has_mkl",
    "has_openmp",
    "has_spectral",
    "init_num_threads",
    "is_distributed",
    "is_inference",
    "is_signed",
    "legacy_contiguous_format",
    "set_anomaly_enabled",
    "set_default_tensor_type",
    "set_flush_denormal",
    "set_num_interop_threads",
    "while_loop",
]

# What there is in place of LAPACK and of MKL's transforms works; MKL and OpenMP themselves are not linked.
has_lapack, has_spectral, has_mkl, has_openmp = True, True, False, False
legacy_contiguous_format = _C.contiguous_format
is_distributed = is_distributed_of


def _flag(name, value):
    """The truth of a bool or of a tensor of one element."""
    if isinstance(value, _C.Tensor) and value.numel() == 1:
        return bool(value)
    if isinstance(value, (bool, int, float)):
        return bool(value)
    raise RuntimeError(f"{name} to be bool or single-element tensor, but got {value}.")


def cond(pred, true_fn, false_fn, operands=()):
    """`true_fn(*operands)` where `pred` (a bool, or a tensor of one element) holds, else `false_fn(*operands)`.

    >>> import rtorch
    >>> rtorch.cond(rtorch.tensor(3) > 2, lambda x: x + 1, lambda x: x - 1, (rtorch.ones(2),))
    tensor([2., 2.])
    """
    chosen = _flag("Expected pred", pred)
    if not callable(true_fn) or not callable(false_fn):
        raise RuntimeError("Expect both branches to be callable.")
    if not isinstance(operands, (tuple, list)):
        raise RuntimeError(f"Expect operands to be a tuple of possibly nested dict/list/tuple, but got {operands}.")
    return (true_fn if chosen else false_fn)(*operands)


def while_loop(cond_fn, body_fn, carried_inputs):
    """Runs `body_fn` on what it answered last while `cond_fn` of that holds; answers the last values as a tuple. The
    values keep their number, shapes and dtypes (RuntimeError).

    >>> import rtorch
    >>> rtorch.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * 2), (rtorch.tensor(0), rtorch.ones(1)))
    (tensor(3), tensor([8.]))
    """
    if not callable(cond_fn) or not callable(body_fn):
        raise RuntimeError("Expect cond_fn and body_fn to be callable.")
    if not isinstance(carried_inputs, (tuple, list)):
        raise RuntimeError(f"Expect carried_inputs to be a tuple of tensors, but got {type(carried_inputs)}.")
    values = tuple(carried_inputs)
    while _flag("Expected cond_fn", cond_fn(*values)):
        new = body_fn(*values)
        new = (new,) if isinstance(new, _C.Tensor) else tuple(new)
        if _kinds(new) != _kinds(values):
            raise RuntimeError(f"body_fn must answer what it takes: {_kinds(values)}, but answered {_kinds(new)}")
        values = new
    return values


def _kinds(values):
    return [(tuple(v.shape), v.dtype) if isinstance(v, _C.Tensor) else type(v) for v in values]


# ---- threads

_interop = []


def get_num_interop_threads():
    """How many threads a program's independent parts would run on: set, or the number of cores. rtorch orders the work
    of a program itself and starts none for this."""
    return _interop[0] if _interop else os.cpu_count() or 1


def set_num_interop_threads(n):
    """Sets that number, once."""
    if isinstance(n, bool) or not isinstance(n, int):
        raise RuntimeError(f"set_num_interop_threads expects an int, but got {type(n).__name__}")
    if n <= 0:
        raise RuntimeError("set_num_interop_threads expects a positive integer")
    if _interop:
        raise RuntimeError(
            "Error: cannot set number of interop threads after parallel work has started or set_num_interop_threads "
            "called"
        )
    _interop.append(n)


def init_num_threads():
    """Makes the number of threads that was set count in this thread: the kernels' threads are one pool for all."""
    _C.set_num_threads(_C.get_num_threads())


def set_flush_denormal(mode):
    """False, which says that nothing was changed: kernels keep subnormal numbers, in every thread."""
    if not isinstance(mode, bool):
        raise RuntimeError(f"flush_denormal expects a bool, but got {type(mode).__name__}")
    return False


def set_anomaly_enabled(mode, check_nan=True):
    """Turns anomaly mode on or off (`autograd.set_detect_anomaly` is the context manager)."""
    _C._set_anomaly_enabled(mode, check_nan)


# ---- tensors


def set_default_tensor_type(t, /):
    """Sets the default dtype (and device) by an older type: a class like `DoubleTensor`, or its name."""
    import rtorch

    if isinstance(t, str):
        package, _, name = t.rpartition(".")
        if package not in ("torch", "rtorch", "torch.wgpu", "rtorch.wgpu") or not hasattr(rtorch, name):
            raise TypeError(f"invalid type object: there is no {t!r}")
        t = getattr(rtorch, name)
        if package.endswith(".wgpu"):
            rtorch.set_default_device("wgpu")
    dtype = getattr(t, "dtype", None)
    if not isinstance(t, type) or not isinstance(dtype, _C.dtype):
        raise TypeError("invalid type object: only floating-point types are supported as the default type")
    if not dtype.is_floating_point:
        raise TypeError("only floating-point types are supported as the default type")
    rtorch.set_default_dtype(dtype)


def from_file(
    filename, shared=None, size=0, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False
):
    """A 1-d tensor of `size` elements over a file's memory. shared: writes go to the file, which is made and grown as
    needed; else they stay here, and the file must be large enough (RuntimeError)."""
    import rtorch

    if layout not in (None, rtorch.strided) or pin_memory or rtorch.device(device or "cpu").type != "cpu":
        raise RuntimeError("from_file: the tensor is strided, on the CPU, and in no page-locked memory")
    dtype = dtype or rtorch.get_default_dtype()
    wanted = size * dtype.itemsize
    with open(filename, "a+b" if shared else "rb") as f:
        have = os.fstat(f.fileno()).st_size
        if have < wanted:
            if not shared:
                raise RuntimeError(f"file <{filename}> size <{have}> is smaller than the required size <{wanted}>")
            f.truncate(wanted)
        if not wanted:
            return rtorch.empty(0, dtype=dtype, requires_grad=requires_grad)
        memory = mmap.mmap(f.fileno(), wanted, access=mmap.ACCESS_WRITE if shared else mmap.ACCESS_COPY)
    return rtorch.frombuffer(memory, dtype=dtype, count=size).requires_grad_(requires_grad)
