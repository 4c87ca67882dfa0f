"""`torch.cpu.amp`: the old names of `rtorch.amp` for the CPU."""

import rtorch

__all__ = ["GradScaler", "autocast"]


class autocast(rtorch.amp.autocast):
    """`rtorch.amp.autocast("cpu", ...)`."""

    def __init__(self, enabled=True, dtype=None, cache_enabled=True):
        super().__init__("cpu", enabled=enabled, dtype=dtype or rtorch.bfloat16, cache_enabled=cache_enabled)


class GradScaler(rtorch.amp.GradScaler):
    """`rtorch.amp.GradScaler("cpu", ...)`."""

    def __init__(self, *args, **kwargs):
        super().__init__("cpu", *args, **kwargs)
