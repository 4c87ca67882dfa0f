"""`torch.autograd.profiler` before there is one: labels mark nothing, starting a profile raises."""

from rtorch import _later
from rtorch.profiler import record_function

__all__ = ["record_function"]


class profile:
    """A profile as a `with` block: does nothing if not `enabled`, raises when it is entered otherwise."""

    def __init__(self, enabled=True, **kwargs):
        self.enabled = enabled

    def __enter__(self):
        if self.enabled:
            raise RuntimeError(f"torch.autograd.profiler.profile: {_later.reason('profiler')}")
        return self

    def __exit__(self, *exception):
        return None


emit_nvtx = emit_itt = profile
