"""`rtorch.nn`: modules, their functions, initialisers and helpers, under PyTorch's names."""

from . import functional, init, parameter, utils
from .modules import *
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

__all__ = [
    "Buffer",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "factory_kwargs",
    "functional",
    "init",
    "parameter",
    "utils",
]


def factory_kwargs(kwargs):
    """The arguments for tensor factories among a constructor's: `device`, `dtype`, `memory_format`, and those of the
    dict `factory_kwargs`, whose names may clash with the constructor's own.

    >>> factory_kwargs({"factory_kwargs": {"dtype": int}, "device": "cpu"})
    {'dtype': <class 'int'>, 'device': 'cpu'}
    """
    if kwargs is None:
        return {}
    simple = {"device", "dtype", "memory_format"}
    expected = simple | {"factory_kwargs"}
    if not kwargs.keys() <= expected:
        raise TypeError(f"unexpected kwargs {kwargs.keys() - expected}")
    result = dict(kwargs.get("factory_kwargs", {}))
    for name in ("device", "dtype", "memory_format"):
        if name in kwargs:
            if name in result:
                raise TypeError(f"{name} specified twice, in **kwargs and in factory_kwargs")
            result[name] = kwargs[name]
    return result


def __getattr__(name):
    if name in ("attention", "common_types", "grad", "parallel"):  # few programs need them
        import importlib

        return importlib.import_module(f"rtorch.nn.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
