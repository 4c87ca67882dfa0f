"""Reductions over consecutive pieces of a dim."""

from __future__ import annotations

import math

import rtorch

from ._register import op

# reduce: its name in scatter_reduce, what an empty segment is
_REDUCTIONS = {
    "sum": ("sum", 0.0),
    "mean": ("sum", 0.0),
    "prod": ("prod", 1.0),
    "max": ("amax", -math.inf),
    "amax": ("amax", -math.inf),
    "min": ("amin", math.inf),
    "amin": ("amin", math.inf),
}


def _check(data, reduce, lengths, offsets, axis):
    if reduce not in _REDUCTIONS:
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    if not data.is_floating_point():
        raise NotImplementedError(f'"_segment_reduce_cpu" not implemented for \'{data.dtype}\'')
    if (lengths is None) == (offsets is None):
        raise RuntimeError("segment_reduce(): Either lengths or offsets must be defined, and not both.")
    given = offsets if lengths is None else lengths
    name = "offsets" if lengths is None else "lengths"
    if given.is_floating_point() or given.is_complex() or given.dtype is rtorch.bool:
        raise NotImplementedError(f"segment_reduce(): {name} of dtype {given.dtype} (expected int32 or int64)")
    if given.dim() == 0 or axis != given.dim() - 1:
        raise RuntimeError(
            f"segment_reduce(): Expected axis to be the last dimension of {name} but got {axis}."
        )
    if data.dim() < given.dim() or data.shape[:axis] != given.shape[:-1]:
        raise RuntimeError(
            f"segment_reduce(): Expected data and {name} to have the same sizes before axis {axis}, but got "
            f"{list(data.shape)} and {list(given.shape)}"
        )


@op(method=False)
def segment_reduce(data, reduce, *, lengths=None, indices=None, offsets=None, dim=0, unsafe=False, initial=None):
    """Sum, mean, max, min or prod of each segment of a dim (called `axis`, too). Shapes: data a x N x b, lengths a x S
    (or offsets a x (S + 1), where segments begin and end), result a x S x b.

    initial: what every segment begins with. unsafe: lengths are not checked (they may cover less than the dim).
    RuntimeError where they do not fit, NotImplementedError for other dtypes than floating point.
    """
    if indices is not None:
        raise RuntimeError("segment_reduce(): indices based reduction is not supported yet.")
    axis = dim + data.dim() if dim < 0 else dim
    _check(data, reduce, lengths, offsets, axis)
    if lengths is not None:
        lengths = lengths.to(rtorch.int64)
        if not unsafe and lengths.numel():
            if bool((lengths < 0).any()):
                raise RuntimeError("lengths contains negative value!")
            if bool((lengths.sum(-1) != data.size(axis)).any()):
                raise RuntimeError(
                    "segment_reduce(): Expected all rows of lengths along axis to sum to data.size(lengths.dim()-1) "
                    "when !unsafe."
                )
        begin = lengths.new_zeros(*lengths.shape[:-1], 1)
        offsets = rtorch.cat([begin, lengths.cumsum(-1)], -1)
    offsets = offsets.to(rtorch.int64)
    counts, segments = offsets.diff(dim=-1), offsets.size(-1) - 1
    # the segment of every element; what is in none of them goes to one more
    at = rtorch.arange(data.size(axis), device=data.device).expand(*data.shape[:axis], -1).contiguous()
    which = rtorch.searchsorted(offsets.contiguous(), at, right=True) - 1
    which = rtorch.where(which < 0, segments, which)
    tail = (1,) * (data.dim() - axis - 1)
    how, empty = _REDUCTIONS[reduce]
    start = empty if initial is None else initial
    base = data.new_full((*data.shape[:axis], segments + 1, *data.shape[axis + 1 :]), start)
    result = base.scatter_reduce(axis, which.reshape(*which.shape, *tail).expand_as(data), data, how)
    result = result.narrow(axis, 0, segments)
    if reduce != "mean":
        return result
    counts = counts.reshape(*counts.shape, *tail).to(data.dtype)
    mean = result / counts.clamp(min=1)
    return rtorch.where(counts == 0, math.nan if initial is None else initial, mean)
