"""Data pipes: datasets made of small steps, each a dataset over the one before. `iter` has the steps over streams,
`map` those over indexed data, `datapipe` their bases."""

from . import datapipe

__all__ = ["datapipe", "iter", "map"]


def __getattr__(name):
    # the steps are imported when first asked for, so that `import rtorch.utils.data` stays quick
    if name in ("iter", "map"):
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
