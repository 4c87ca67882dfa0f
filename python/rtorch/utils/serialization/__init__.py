"""`utils.serialization.config`: the settings of `save` and `load` as attributes."""

from rtorch.utils.serialization import config

__all__ = ["config"]
