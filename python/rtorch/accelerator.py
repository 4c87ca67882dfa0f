"""`rtorch.accelerator`: the GPU of this machine, whatever it is; here always `wgpu` (see `wgpu.py` for more)."""

from collections import OrderedDict

from rtorch import _C, wgpu

__all__ = [
    "current_accelerator",
    "current_device_idx",
    "current_device_index",
    "device_count",
    "device_index",
    "empty_cache",
    "empty_host_cache",
    "get_device_capability",
    "is_available",
    "max_memory_allocated",
    "memory_allocated",
    "memory_reserved",
    "memory_stats",
    "reset_peak_memory_stats",
    "set_device_idx",
    "set_device_index",
    "synchronize",
]


def is_available():
    """Is there an adapter?"""
    return wgpu.is_available()


def current_accelerator(check_available=False):
    """`device("wgpu")`, or None without an adapter: whether there is one is looked up in either case."""
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


# the older names
current_device_idx, set_device_idx = current_device_index, set_device_index


class device_index:
    """A `with` block in which an adapter is the current one: index 0, or None (no change); RuntimeError for others."""

    def __init__(self, device, /):
        self.index = device

    def __enter__(self):
        if self.index is not None:
            set_device_index(self.index)

    def __exit__(self, *exc):
        pass


def _checked(device):
    """The index of a device of the accelerator's type."""
    if isinstance(device, (str, _C.device)) and _C.device(device).type != "wgpu":
        raise ValueError(f"{_C.device(device).type} doesn't match the current accelerator wgpu.")
    return wgpu._index(device)


def synchronize(device=None):
    """Waits until everything queued on the accelerator has run; nothing to do without one."""
    if wgpu.is_available():
        wgpu.synchronize(_checked(device))


def empty_cache():
    """Gives memory that holds nothing back to the driver."""
    wgpu.empty_cache()


def empty_host_cache():
    """Gives page-locked memory back: there is none to give."""


def get_device_capability(device=None, /):
    """{"supported_dtypes": the dtypes of tensors that an adapter holds}."""
    _checked(device)
    wide = {_C.float64, _C.complex64, _C.complex128}
    dtypes = {d for d in vars(_C).values() if isinstance(d, _C.dtype)} - wide
    return {"supported_dtypes": dtypes}


def memory_allocated(device_index=None, /):
    """Bytes of live tensors on the adapters."""
    _checked(device_index)
    return wgpu.memory_allocated()


def max_memory_allocated(device_index=None, /):
    """The most bytes that were live at once since the program began, or since `reset_peak_memory_stats`."""
    _checked(device_index)
    return wgpu.max_memory_allocated()


def memory_reserved(device_index=None, /):
    """Live bytes and those kept for later."""
    _checked(device_index)
    return wgpu.memory_reserved()


def memory_stats(device_index=None, /):
    """What is known of the adapters' memory, under PyTorch's keys: `allocated_bytes.all.current`, `.peak`, and
    `reserved_bytes.all.current`. Empty without an adapter."""
    _checked(device_index)
    stats = OrderedDict()
    if wgpu.is_available():
        stats["allocated_bytes.all.current"] = wgpu.memory_allocated()
        stats["allocated_bytes.all.peak"] = wgpu.max_memory_allocated()
        stats["reserved_bytes.all.current"] = wgpu.memory_reserved()
    return stats


def reset_peak_memory_stats(device_index=None, /):
    """Starts `max_memory_allocated` anew."""
    _checked(device_index)
    wgpu.reset_peak_memory_stats()
