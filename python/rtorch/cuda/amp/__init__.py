"""`torch.cuda.amp`: the old names of `rtorch.amp`. Without CUDA both switch themselves off, with PyTorch's warning."""

import warnings

import rtorch

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]


class autocast(rtorch.amp.autocast):
    """`rtorch.amp.autocast("cuda", ...)`: nothing is cast, as nothing is on a CUDA device."""

    def __init__(self, enabled=True, dtype=None, cache_enabled=True):
        warnings.warn(
            "`torch.cuda.amp.autocast(args...)` is deprecated. Please use `torch.amp.autocast('cuda', args...)` "
            "instead.",
            FutureWarning,
        )
        super().__init__("cuda", enabled=enabled, dtype=dtype or rtorch.float16, cache_enabled=cache_enabled)


class GradScaler(rtorch.amp.GradScaler):
    """`rtorch.amp.GradScaler("cuda", ...)`: switched off, as there is no CUDA."""

    def __init__(
        self, init_scale=65536.0, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000, enabled=True
    ):  # fmt: skip
        warnings.warn(
            "`torch.cuda.amp.GradScaler(args...)` is deprecated. Please use `torch.amp.GradScaler('cuda', args...)` "
            "instead.",
            FutureWarning,
        )
        super().__init__(
            "cuda",
            init_scale=init_scale,
            growth_factor=growth_factor,
            backoff_factor=backoff_factor,
            growth_interval=growth_interval,
            enabled=enabled,
        )


def custom_fwd(fwd=None, *, cast_inputs=None):
    """`rtorch.amp.custom_fwd` for the device type cuda."""
    return rtorch.amp.custom_fwd(fwd, device_type="cuda", cast_inputs=cast_inputs)


def custom_bwd(bwd):
    """`rtorch.amp.custom_bwd` for the device type cuda."""
    return rtorch.amp.custom_bwd(bwd, device_type="cuda")
