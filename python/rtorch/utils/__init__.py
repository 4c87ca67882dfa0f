"""Helpers around training that are not tensors or layers: data loading and hook handles."""

import importlib

from . import data, hooks

__all__ = ["data", "hooks"]

# Modules that few programs need, imported when first asked for.
_MODULES = frozenset({"_pytree", "cpp_extension", "safetensors", "serialization", "tensorboard"})


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"rtorch.utils.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
