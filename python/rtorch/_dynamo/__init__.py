"""`torch._dynamo` before there are graphs: what programs ask and set at import time."""

from types import SimpleNamespace

from rtorch import _later
from rtorch.compiler import allow_in_graph, disable, is_compiling, reset

__all__ = ["allow_in_graph", "config", "disable", "graph_break", "is_compiling", "mark_dynamic", "mark_static", "reset"]

# Settings of a compiler that does not run: kept, so that programs can set them.
config = SimpleNamespace(cache_size_limit=8, suppress_errors=False, verbose=False, recompile_limit=8)


def graph_break(msg=""):
    """Nothing: there is no graph to break."""


def mark_dynamic(t, index, **kwargs):
    """Nothing: sizes are always what they are."""


mark_static = mark_static_address = mark_dynamic
__getattr__ = _later.attribute_of("_dynamo")
