"""Names of `rtorch` about the program, not about tensors: checks, switches of determinism and precision, `compile`.

Types and constants are in `_namespace.py`.
"""

import warnings
from functools import partial

from rtorch import _C

__all__ = [
    "Event",
    "Stream",
    "_assert",
    "_check",
    "_check_index",
    "_check_is_size",
    "_check_not_implemented",
    "_check_tensor_all",
    "_check_type",
    "_check_value",
    "_check_with",
    "_shape_as_tensor",
    "are_deterministic_algorithms_enabled",
    "compile",
    "get_deterministic_debug_mode",
    "get_device_module",
    "get_float32_matmul_precision",
    "is_deterministic_algorithms_warn_only_enabled",
    "is_vulkan_available",
    "is_warn_always_enabled",
    "set_deterministic_debug_mode",
    "set_float32_matmul_precision",
    "set_warn_always",
    "use_deterministic_algorithms",
]


def _assert(condition, message=""):
    """Python's assert as a function."""
    assert condition, message


def _check_with(error_type, cond, message=None):
    """Raises `error_type` unless `cond`; `message` is a function that makes the text."""
    if not isinstance(cond, (bool, _C.Tensor)):
        raise TypeError(f"cond must be a bool, but got {type(cond)}")
    if cond:
        return
    text = "Expected cond to be True, but got False. (Could this error message be improved?)"
    if message is not None:
        if not callable(message):
            raise TypeError("message must be a callable")
        text = str(message())
    raise error_type(text)


def _check(cond, message=None):
    """Raises RuntimeError unless `cond`."""
    _check_with(RuntimeError, cond, message)


def _check_index(cond, message=None):
    """Raises IndexError unless `cond`."""
    _check_with(IndexError, cond, message)


def _check_value(cond, message=None):
    """Raises ValueError unless `cond`."""
    _check_with(ValueError, cond, message)


def _check_type(cond, message=None):
    """Raises TypeError unless `cond`."""
    _check_with(TypeError, cond, message)


def _check_not_implemented(cond, message=None):
    """Raises NotImplementedError unless `cond`."""
    _check_with(NotImplementedError, cond, message)


def _check_is_size(i, message=None, *, max=None):
    """Raises RuntimeError unless `i` may be a size."""
    _check(i >= 0 and (max is None or i <= max), message)


def _check_tensor_all(cond, message=None):
    """Raises RuntimeError unless all elements are True."""
    if not isinstance(cond, _C.Tensor):
        raise TypeError(f"cond must be a tensor, but got {type(cond)}")
    _check(bool(cond.all()), message)


def _shape_as_tensor(self):
    """The sizes as an int64 tensor."""
    return _C.tensor(list(self.shape), dtype=_C.int64)


_deterministic = [False, False]


def use_deterministic_algorithms(mode, *, warn_only=False):
    """Kept for those who ask; rtorch's CPU kernels give the same bits every time whatever is set."""
    if not isinstance(mode, bool):
        raise TypeError(
            "_set_deterministic_algorithms(): argument 'mode' (position 1) must be bool, not " + type(mode).__name__
        )
    _deterministic[:] = [mode, bool(warn_only) and mode]


def are_deterministic_algorithms_enabled():
    """What `use_deterministic_algorithms` set."""
    return _deterministic[0]


def is_deterministic_algorithms_warn_only_enabled():
    """Whether it was set with `warn_only`."""
    return _deterministic[1]


def get_deterministic_debug_mode():
    """0, 1 (warn only) or 2 (on)."""
    return _deterministic[0] + (_deterministic[0] and not _deterministic[1])


def set_deterministic_debug_mode(debug_mode):
    """The same switch as a number or a word: "default", "warn", "error"."""
    words = {"default": 0, "warn": 1, "error": 2}
    mode = words.get(debug_mode, debug_mode)
    if mode not in (0, 1, 2) or isinstance(mode, bool):
        raise RuntimeError(
            "invalid value of debug_mode, expected `default`, `warn`, `error` or 0, 1, 2, but got " + str(debug_mode)
        )
    use_deterministic_algorithms(mode > 0, warn_only=mode == 1)


_precision = ["highest"]


def get_float32_matmul_precision():
    """What `set_float32_matmul_precision` set."""
    return _precision[0]


def set_float32_matmul_precision(precision):
    """How products of float32 matrices may be rounded: "highest", "high" or "medium" allow what is never less exact
    than they ask for; rtorch computes them in float32 whatever is set."""
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(f"invalid value of precision: {precision}")
    _precision[0] = precision


_warn_always = [False]


def set_warn_always(b):
    """Kept for those who ask: every warning of rtorch that PyTorch gives once is given once."""
    _warn_always[0] = bool(b)


def is_warn_always_enabled():
    """What `set_warn_always` set."""
    return _warn_always[0]


def is_vulkan_available():
    """False: PyTorch's Vulkan backend is not here; `rtorch.wgpu.is_available()` asks for a GPU."""
    return False


_compile_warned = []


def compile(
    model=None, *, fullgraph=False, dynamic=None, backend="inductor", mode=None, options=None, disable=False
):  # fmt: skip
    """`model` itself: there is no compiler for programs yet; pointwise operators fuse by themselves. Warns once."""
    if model is None:
        return partial(compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode, options=options)
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified at the same time.")
    if not callable(model):
        raise RuntimeError(f"torch.compile: expected a module or a function, got {type(model)}")
    if not disable and not _compile_warned:
        _compile_warned.append(True)
        warnings.warn("torch.compile: rtorch has no graph compiler yet; the model runs as it is", stacklevel=2)
    return model


def get_device_module(device=None):
    """`rtorch.cpu` or `rtorch.wgpu`, for a device or its type; for None the accelerator's, the CPU's without one."""
    import rtorch

    if device is None:
        return rtorch.wgpu if rtorch.wgpu.is_available() else rtorch.cpu
    kind = device.type if isinstance(device, _C.device) else str(device).partition(":")[0]
    module = {"cpu": "cpu", "wgpu": "wgpu", "cuda": "cuda", "xpu": "xpu", "mps": "mps", "mtia": "mtia"}.get(kind)
    if module is None:
        raise RuntimeError(f"Device '{device}' does not have a corresponding module registered as 'torch.{kind}'.")
    return getattr(rtorch, module)


class Stream:
    """A queue of an accelerator; rtorch's work is ordered by itself, so making one raises."""

    def __init__(self, device=None, *, priority=0):
        raise RuntimeError("torch.Stream: rtorch orders the work of a device itself; there are no streams to choose")


class Event:
    """A moment in an accelerator's queue; making one raises. `rtorch.wgpu.synchronize()` waits for the queue."""

    def __init__(self, device=None, *, enable_timing=False, blocking=False, interprocess=False):
        raise RuntimeError("torch.Event: rtorch orders a device's work itself; use rtorch.accelerator.synchronize()")
