"""`rtorch.wgpu`: the GPU adapters behind `device("wgpu")`: what there are, how much memory is in use.

Adapters come in the order of their index, hardware first; software adapters only with RTORCH_ALLOW_SOFTWARE=1, and
RTORCH_ADAPTER chooses one. Nothing here touches a driver before it is called.
"""

from types import SimpleNamespace

from rtorch import _C

__all__ = [
    "current_device",
    "device_count",
    "empty_cache",
    "fallbacks",
    "get_device_name",
    "get_device_properties",
    "is_available",
    "max_memory_allocated",
    "memory_allocated",
    "memory_reserved",
    "reset_peak_memory_stats",
    "synchronize",
]


def is_available():
    """Is there an adapter?"""
    return bool(_C._wgpu_adapters())


def device_count():
    """How many adapters there are."""
    return len(_C._wgpu_adapters())


def current_device():
    """The index that `device("wgpu")` means."""
    return 0


def _index(device):
    if device is None:
        return 0
    return device if isinstance(device, int) else (_C.device(device).index or 0)


def _adapter(device):
    adapters, index = _C._wgpu_adapters(), _index(device)
    if not 0 <= index < len(adapters):
        raise RuntimeError(f"wgpu:{index}: there are only {len(adapters)} GPU adapters (rtorch.wgpu.device_count())")
    return adapters[index]


def get_device_name(device=None):
    """The adapter's name."""
    return _adapter(device)["name"]


def get_device_properties(device=None):
    """name, type, backend, driver, limits and features of an adapter; opens the device."""
    limits = dict(_C._wgpu_limits(_index(device)))
    features = [name for name in ("immediates", "shader_int64", "shader_f16", "subgroups") if limits.pop(name, False)]
    return SimpleNamespace(**_adapter(device), limits=limits, features=features)


def memory_allocated(device=None):
    """Bytes of live tensors on the adapters."""
    return _C._wgpu_memory()[0]


def max_memory_allocated(device=None):
    """The most bytes that were live at once."""
    return _C._wgpu_memory()[1]


def memory_reserved(device=None):
    """Live bytes and those kept for later."""
    used, _, cached = _C._wgpu_memory()
    return used + cached


def reset_peak_memory_stats(device=None):
    """Starts `max_memory_allocated` (and the runtime's counters) anew."""
    _C.reset_runtime_stats()


def empty_cache():
    """Gives memory that holds nothing back to the driver."""
    _C._wgpu_empty_cache()


def fallbacks():
    """How many operators ran on the host because the GPU has no kernel for them."""
    return _C.runtime_stats()["host_fallbacks"]


def synchronize(device=None):
    """Waits until everything queued on the adapter has run."""
    _C._synchronize(f"wgpu:{_index(device)}")
