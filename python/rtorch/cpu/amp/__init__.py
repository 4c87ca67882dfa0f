"""`torch.cpu.amp`: the old names of `rtorch.amp` for the CPU."""

import warnings

import rtorch

__all__ = ["GradScaler", "autocast"]


def _warn(name):
    warnings.warn(
        f"`torch.cpu.amp.{name}(args...)` is deprecated. Please use `torch.amp.{name}('cpu', args...)` instead.",
        FutureWarning,
        stacklevel=3,
    )


class autocast(rtorch.amp.autocast):
    """`rtorch.amp.autocast("cpu", ...)`."""

    def __init__(self, enabled=True, dtype=None, cache_enabled=True):
        _warn("autocast")
        super().__init__("cpu", enabled=enabled, dtype=dtype or rtorch.bfloat16, cache_enabled=cache_enabled)


class GradScaler(rtorch.amp.GradScaler):
    """`rtorch.amp.GradScaler("cpu", ...)`."""

    def __init__(self, *args, **kwargs):
        _warn("GradScaler")
        super().__init__("cpu", *args, **kwargs)
