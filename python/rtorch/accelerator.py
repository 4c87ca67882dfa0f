"""`rtorch.accelerator`: the GPU of this machine, whatever it is; here always `wgpu` (see `wgpu.py` for more)."""

from rtorch import _C, wgpu

__all__ = [
    "current_accelerator",
    "current_device_index",
    "device_count",
    "is_available",
    "set_device_index",
    "synchronize",
]


def is_available():
    """Is there an adapter?"""
    return wgpu.is_available()


def current_accelerator(check_available=False):
    """`device("wgpu")`, or None without an adapter."""
    return _C.device("wgpu") if wgpu.is_available() else None


def device_count():
    """How many adapters there are."""
    return wgpu.device_count()


def current_device_index():
    """The index that `device("wgpu")` means."""
    return 0


def set_device_index(device):
    """Only index 0 can be current."""
    if wgpu._index(device) != 0:
        raise RuntimeError("rtorch names adapters by index: use device='wgpu:1' instead of a current device")


def synchronize(device=None):
    """Waits until everything queued on the accelerator has run; nothing to do without one."""
    if wgpu.is_available():
        wgpu.synchronize(device)
