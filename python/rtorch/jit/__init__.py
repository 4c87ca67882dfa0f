"""`torch.jit` before there are graphs: what marks functions for TorchScript leaves them as they are.

`script` gives its argument back, with one warning; `trace`, `load` and `save` raise when they are called.
"""

import contextlib
import functools
import warnings
from typing import Final

from rtorch import _later

__all__ = [
    "Attribute",
    "Final",
    "annotate",
    "export",
    "fork",
    "ignore",
    "interface",
    "is_scripting",
    "is_tracing",
    "isinstance",
    "optimized_execution",
    "script",
    "script_if_tracing",
    "script_method",
    "unused",
    "wait",
]

_warned = False
_isinstance = isinstance


def script(obj, optimize=None, _frames_up=0, _rcb=None, example_inputs=None):
    """`obj` itself: there is no TorchScript. Warns once."""
    global _warned
    if not _warned:
        _warned = True
        warnings.warn("torch.jit.script: rtorch has no TorchScript yet; programs run as Python", stacklevel=2)
    return obj


def script_method(fn):
    """`fn` itself."""
    return fn


def script_if_tracing(fn):
    """`fn` itself: nothing is ever traced."""
    return fn


def is_scripting():
    """False: nothing is compiled by TorchScript."""
    return False


def is_tracing():
    """False: nothing is traced."""
    return False


def _mark(*args, **kwargs):
    """A decorator, with or without arguments, that leaves the function as it is."""
    if len(args) == 1 and callable(args[0]) and not kwargs:
        return args[0]
    return lambda fn: fn


ignore = unused = _mark


def export(fn):
    """`fn` itself."""
    return fn


def interface(obj):
    """`obj` itself."""
    return obj


def annotate(the_type, the_value):
    """`the_value`: the type is for a compiler."""
    return the_value


def isinstance(obj, target_type):
    """Python's isinstance; of a container type such as `List[int]` the container is looked at."""
    return _isinstance(obj, getattr(target_type, "__origin__", target_type))


class Attribute(tuple):
    """A value with a type, for a compiler."""

    def __new__(cls, value, type):
        return super().__new__(cls, (value, type))

    value = property(lambda self: self[0])
    type = property(lambda self: self[1])


class Future:
    """The result of `fork`, which has run already."""

    def __init__(self, value):
        self._value = value

    def wait(self):
        """The result."""
        return self._value

    value = wait

    def done(self):
        """True."""
        return True


def fork(func, *args, **kwargs):
    """Runs `func` at once; `wait` gives its result."""
    return Future(func(*args, **kwargs))


def wait(future):
    """The result of a `fork`."""
    return future.wait()


@contextlib.contextmanager
def optimized_execution(should_optimize):
    """Nothing: it is a switch of the compiler."""
    yield


@contextlib.contextmanager
def fuser(name):
    """Nothing: fusion in rtorch is not TorchScript's."""
    yield


def _overload(fn):
    return fn


_overload_method = _script_if_tracing = _overload


@functools.cache
def _path_of(name):
    return _later.named(f"jit.{name}")


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(f"module 'rtorch.jit' has no attribute {name!r}")
    return _path_of(name)
