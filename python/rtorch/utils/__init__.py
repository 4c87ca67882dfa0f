"""Helpers around training that are not tensors or layers: data loading and hook handles."""

from . import data, hooks

__all__ = ["data", "hooks"]
