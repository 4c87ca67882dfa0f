"""`reduction=` of the losses as the numbers that PyTorch's own loss modules pass on."""

import warnings

from rtorch.nn.functional._reduction import reduction_name

_NUMBERS = {"none": 0, "mean": 1, "elementwise_mean": 1, "sum": 2}


def get_enum(reduction):
    """0, 1, 2 for "none", "mean", "sum"."""
    if reduction not in _NUMBERS:
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return _NUMBERS[reduction]


def legacy_get_string(size_average, reduce, emit_warning=True):
    """The reduction that the old arguments mean."""
    with warnings.catch_warnings():
        if not emit_warning:
            warnings.simplefilter("ignore")
        size_average, reduce = size_average in (None, True), reduce in (None, True)
        return reduction_name("mean", size_average, reduce)


def legacy_get_enum(size_average, reduce, emit_warning=True):
    """`get_enum` of `legacy_get_string`."""
    return get_enum(legacy_get_string(size_average, reduce, emit_warning))
