"""`torch.fx` before there are graphs: classes to ask `isinstance` for; tracing raises when it is called."""

from rtorch import _later


def wrap(fn_or_name):
    """`fn_or_name` itself: it is a mark for a tracer."""
    return fn_or_name


__getattr__ = _later.attribute_of("fx")
