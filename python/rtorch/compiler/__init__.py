"""`torch.compiler` before there are graphs: nothing is being compiled, and its marks leave functions as they are."""

import rtorch

__all__ = [
    "allow_in_graph",
    "assume_constant_result",
    "compile",
    "cudagraph_mark_step_begin",
    "disable",
    "is_compiling",
    "is_dynamo_compiling",
    "is_exporting",
    "list_backends",
    "reset",
    "set_stance",
    "substitute_in_graph",
]


def is_compiling():
    """False: programs run as they are."""
    return False


is_dynamo_compiling = is_exporting = is_compiling


def compile(*args, **kwargs):
    """`rtorch.compile`."""
    return rtorch.compile(*args, **kwargs)


def _mark(fn=None, *args, **kwargs):
    """A decorator, with or without arguments, that leaves the function as it is."""
    return fn if callable(fn) else lambda fn: fn


disable = allow_in_graph = assume_constant_result = _mark


def substitute_in_graph(original_fn, **kwargs):
    """A decorator that leaves the function as it is."""
    return lambda fn: fn


def reset():
    """Nothing to forget."""


def cudagraph_mark_step_begin():
    """Nothing: there are no CUDA graphs."""


def list_backends(exclude_tags=()):
    """None exist."""
    return []


class set_stance:
    """A context and decorator that tells a compiler how eager to be: there is none, so it changes nothing."""

    def __init__(self, stance="default", *, skip_guard_eval_unsafe=False, force_backend=None):
        self.stance = stance

    def __call__(self, fn):
        return fn

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return None
