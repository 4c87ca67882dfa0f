"""`torch.library` before there are graphs: descriptions for a tracer are left aside, defining operators raises."""

from rtorch import _later


def register_fake(op, func=None, /, *, lib=None, _stacklevel=1, allow_override=False):
    """A decorator that leaves the function as it is: it describes an operator to a tracer."""
    return func if func is not None else lambda fn: fn


impl_abstract = register_fake
__getattr__ = _later.attribute_of("library")
