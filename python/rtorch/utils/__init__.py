"""Helpers around training that are not tensors or layers: data loading, hook handles, tables of models, timing."""

import importlib

from . import hooks

__all__ = ["data", "hooks", "progress", "summary"]

# Functions and modules that few programs need, imported when first asked for.
_FUNCTIONS = {"progress": "_progress", "summary": "_summary"}
_MODULES = frozenset(
    "_pytree benchmark checkpoint cpp_extension data dlpack safetensors serialization tensorboard".split()
)


def __getattr__(name):
    if name in _FUNCTIONS:
        found = getattr(importlib.import_module(f"rtorch.utils.{_FUNCTIONS[name]}"), name)
        globals()[name] = found
        return found
    if name in _MODULES:
        try:
            return importlib.import_module(f"rtorch.utils.{name}")
        except ModuleNotFoundError as e:
            if e.name != f"rtorch.utils.{name}":
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
