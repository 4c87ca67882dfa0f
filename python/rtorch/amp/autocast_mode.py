"""`autocast`, the context in which operators get their tensors in another dtype, and what custom autograd functions
need to follow it. Which operator gets what is in the binding (`autocast.rs`)."""

import functools
import warnings

import rtorch
from rtorch import _C

__all__ = ["autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]

_DEVICES = ("cpu", "wgpu")
_DTYPES = (_C.bfloat16, _C.float16)


def is_autocast_available(device_type):
    """Can `autocast` be used for this type of device?"""
    if not isinstance(device_type, str):
        raise TypeError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    rtorch.device(device_type)
    return device_type in _DEVICES


class autocast:
    """A context, or a decorator, in which operators run in mixed precision on one type of device.

    device_type: "cpu" or "wgpu". dtype: bfloat16 or float16; None: what `rtorch.get_autocast_dtype` says (bfloat16 on
    CPUs, float16 on GPUs). cache_enabled: a parameter is cast once for all its uses until the outermost context ends.
    With enabled=False operators inside run as if there were no context around.

    >>> import rtorch
    >>> @rtorch.autocast("cpu", dtype=rtorch.bfloat16)
    ... def f(x, w):
    ...     return x @ w
    >>> f(rtorch.ones(1, 2), rtorch.ones(2, 1)).dtype
    torch.bfloat16
    """

    def __init__(self, device_type, dtype=None, enabled=True, cache_enabled=None):
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        self.device = device_type
        if device_type not in _DEVICES:
            if device_type != "cuda":
                raise RuntimeError(f"User specified an unsupported autocast device_type '{device_type}'")
            if enabled:
                warnings.warn(
                    "User provided device_type of 'cuda', but CUDA is not available. Disabling", stacklevel=2
                )
            enabled = False
            self._kind = None
        else:
            self._kind = device_type
        fast = dtype
        if fast is None:
            fast = _C.get_autocast_dtype(device_type) if self._kind else _C.float16
        self.fast_dtype = fast
        if enabled and fast not in _DTYPES:
            warnings.warn(
                f"In {device_type.upper()} autocast, but the target dtype is not supported. Disabling autocast.\n"
                f"{device_type.upper()} Autocast only supports dtypes of torch.bfloat16, torch.float16 currently.",
                stacklevel=2,
            )
            enabled = False
        self._enabled = bool(enabled)
        self._cache_enabled = _C.is_autocast_cache_enabled() if cache_enabled is None else cache_enabled
        self._before = []

    def __enter__(self):
        kind = self._kind
        _C.autocast_increment_nesting()
        if kind is None:
            self._before.append(None)
            return self
        self._before.append(
            (_C.is_autocast_enabled(kind), _C.get_autocast_dtype(kind), _C.is_autocast_cache_enabled())
        )
        _C.set_autocast_enabled(kind, self._enabled)
        _C.set_autocast_dtype(kind, self.fast_dtype)
        _C.set_autocast_cache_enabled(self._cache_enabled)
        return self

    def __exit__(self, exc_type, exc_value, traceback):
        if _C.autocast_decrement_nesting() == 0:
            _C.clear_autocast_cache()
        before = self._before.pop()
        if before is not None:
            enabled, dtype, cache = before
            _C.set_autocast_enabled(self._kind, enabled)
            _C.set_autocast_dtype(self._kind, dtype)
            _C.set_autocast_cache_enabled(cache)
        return False

    def __call__(self, func):
        @functools.wraps(func)
        def decorated(*args, **kwargs):
            with self:
                return func(*args, **kwargs)

        return decorated


def _cast(value, device_type, dtype):
    """Floating tensors of a device, wherever they stand in nested containers, in a dtype; float64 stays."""
    if isinstance(value, rtorch.Tensor):
        fits = value.is_floating_point() and value.device.type == device_type and value.dtype != rtorch.float64
        return value.to(dtype) if fits else value
    if isinstance(value, dict):
        return {_cast(k, device_type, dtype): _cast(v, device_type, dtype) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_cast(v, device_type, dtype) for v in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def custom_fwd(fwd=None, *, device_type, cast_inputs=None):
    """Decorates the `forward` of an autograd Function that is used under autocast.

    cast_inputs: inside autocast, floating tensors come in this dtype and autocast is off in the body; without it the
    body runs in the state it was called in, which `custom_bwd` restores for the backward.
    """
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def decorated(ctx, *args, **kwargs):
        enabled = device_type in _DEVICES and _C.is_autocast_enabled(device_type)
        ctx._dtype = _C.get_autocast_dtype(device_type) if device_type in _DEVICES else None
        if cast_inputs is None or not enabled:
            ctx._fwd_used_autocast = enabled
            return fwd(ctx, *args, **kwargs)
        ctx._fwd_used_autocast = False
        with autocast(device_type=device_type, enabled=False):
            return fwd(ctx, *_cast(args, device_type, cast_inputs), **_cast(kwargs, device_type, cast_inputs))

    return decorated


def custom_bwd(bwd=None, *, device_type):
    """Decorates the `backward` of an autograd Function: it runs in the state that `forward` ran in."""
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def decorated(ctx, *args, **kwargs):
        if device_type not in _DEVICES:
            return bwd(ctx, *args, **kwargs)
        with autocast(device_type=device_type, enabled=ctx._fwd_used_autocast, dtype=ctx._dtype):
            return bwd(ctx, *args, **kwargs)

    return decorated
