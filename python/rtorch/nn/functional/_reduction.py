"""What the losses share: the `reduction` argument in its new and old forms, applying it, float32 under autocast."""

import functools
import warnings

from rtorch import _C


def reduction_name(reduction, size_average=None, reduce=None, named=False):
    """The name that the deprecated `size_average` and `reduce` stand for, or `reduction` itself, checked; `named`:
    what is no name is of the wrong type."""
    if size_average is not None or reduce is not None:
        average = True if size_average is None else size_average
        keep = True if reduce is None else reduce
        reduction = "none" if not keep else "mean" if average else "sum"
        warnings.warn(
            f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.",
            stacklevel=4,
        )
    if reduction not in ("none", "mean", "sum"):
        if named and not isinstance(reduction, str):
            raise TypeError(f"reduction must be a str, not {type(reduction).__name__}")
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def reduced(loss, reduction):
    """`loss` as it is, its mean or its sum."""
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    return loss


def warn_if_sizes_differ(input, target):
    if target.size() != input.size():
        warnings.warn(
            f"Using a target size ({target.size()}) that is different to the input size ({input.size()}). This will "
            "likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            stacklevel=4,
        )


def full_precision(loss):
    """Gives a loss its tensors in float32 where mixed precision is on."""

    @functools.wraps(loss)
    def called(*args, **kwargs):
        if _C._autocast_active():
            args = [_C._autocast_full(a) for a in args]
            kwargs = {name: _C._autocast_full(a) for name, a in kwargs.items()}
        return loss(*args, **kwargs)

    return called
