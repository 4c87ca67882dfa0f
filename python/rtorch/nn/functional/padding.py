"""Padding of the last dimensions: constant, reflect, replicate, circular."""

from rtorch._C import _nn


def pad(input, pad, mode="constant", value=None):
    """Pads the last dimensions of `input` by (left, right, top, bottom, ...), last dimension first.

    mode: "constant" (with `value`), "reflect", "replicate" or "circular". Negative amounts cut away.
    """
    return _nn.pad(input, pad, mode, value)
