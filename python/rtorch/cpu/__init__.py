"""`torch.cpu`: the CPU with the functions that accelerators have."""

from contextlib import contextmanager

__all__ = ["current_device", "device_count", "is_available", "is_initialized", "set_device", "stream", "synchronize"]


def is_available():
    """True."""
    return True


is_initialized = is_available


def device_count():
    """1."""
    return 1


def current_device():
    """The string "cpu"."""
    return "cpu"


def set_device(device):
    """Nothing: there is one CPU device."""


def synchronize(device=None):
    """Nothing: operators on the CPU have run when their results are looked at."""


class Stream:
    """A queue of work; on the CPU work runs in order."""

    def __init__(self, priority=-1):
        self.priority = priority

    def wait_stream(self, stream):
        """Nothing to wait for."""


def current_stream(device=None):
    """A stream."""
    return Stream()


@contextmanager
def stream(stream):
    """Nothing: work runs in order."""
    yield


def __getattr__(name):
    if name == "amp":
        import importlib

        return importlib.import_module("rtorch.cpu.amp")
    raise AttributeError(f"module 'rtorch.cpu' has no attribute {name!r}")
