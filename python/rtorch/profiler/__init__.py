"""`torch.profiler` before there is one: labels mark nothing, starting a profile raises."""

from enum import Enum

from rtorch import _later


class ProfilerActivity(Enum):
    """What a profile looks at."""

    CPU = 0
    XPU = 1
    MTIA = 2
    CUDA = 3
    HPU = 4
    PrivateUse1 = 5


class record_function:
    """A label for a stretch of the program, as a `with` block or decorator; without a profiler it marks nothing."""

    def __init__(self, name, args=None):
        self.name = name

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return None

    def __call__(self, fn):
        return fn


__getattr__ = _later.attribute_of("profiler")
