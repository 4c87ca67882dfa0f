"""Lookups by index: embedding, bags of embeddings, one-hot."""

import rtorch
from rtorch._C import _nn

one_hot = _nn.one_hot


def _row(padding_idx, rows):
    """`padding_idx` as a non-negative row, -1 for none."""
    if padding_idx is None:
        return -1
    if not -rows <= padding_idx < rows:
        raise AssertionError("Padding_idx must be within num_embeddings")
    return padding_idx % rows


def embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    """Rows of `weight` (V, D) by index: (*) -> (*, D). The row `padding_idx` gets no gradient."""
    row = -1 if padding_idx is None else _row(padding_idx, weight.size(0))
    if max_norm is not None:
        _nn.embedding_renorm_(weight.detach(), input, max_norm, norm_type)
    return _lookup(input, weight, row, scale_grad_by_freq, sparse)


def _lookup(input, weight, row, scale_grad_by_freq, sparse):
    if sparse:
        from rtorch.sparse import _embedding

        return _embedding.lookup(weight, input, row, scale_grad_by_freq)
    return _nn.embedding(weight, input, row, scale_grad_by_freq, False)


def _bag_arguments(input, weight, offsets, per_sample_weights, mode, include_last_offset):
    """The flat indices, their offsets and weights; a 2-d input is bags of equal length."""
    if weight.dim() != 2:
        raise ValueError(f"weight has to be a 2D Tensor, but got Tensor of dimension {weight.dim()}")
    if input.dim() not in (1, 2):
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.dim()}")
    if weight.dtype == rtorch.long and input.is_floating_point():
        raise ValueError("Argument order of nn.functional.embedding_bag was changed: (input, weight, ...)")
    if per_sample_weights is not None and input.size() != per_sample_weights.size():
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({tuple(per_sample_weights.shape)}) is not None, then it must have "
            f"the same shape as the input ({tuple(input.shape)})"
        )
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' "
            f"(got mode='{mode}'). Please open a feature request on GitHub."
        )
    if input.dim() == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
                f"sequences. However, found offsets of type {type(offsets)}"
            )
        offsets = rtorch.arange(0, input.numel(), input.size(1), dtype=input.dtype, device=input.device)
        if per_sample_weights is not None:
            per_sample_weights = per_sample_weights.reshape(-1)
        return input.reshape(-1), offsets, per_sample_weights
    if not isinstance(offsets, rtorch.Tensor):
        raise ValueError(f"offsets has to be a 1D Tensor but got {offsets if offsets is None else type(offsets)}")
    if offsets.dim() != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    if include_last_offset:
        offsets = offsets[:-1]
    return input, offsets, per_sample_weights


def embedding_bag(
    input,
    weight,
    offsets=None,
    max_norm=None,
    norm_type=2,
    scale_grad_by_freq=False,
    mode="mean",
    sparse=False,
    per_sample_weights=None,
    include_last_offset=False,
    padding_idx=None,
):
    """Sum, mean or maximum of the embeddings of each bag: (B, L), or (N,) with `offsets` (B,) -> (B, D)."""
    flat, offsets, weights = _bag_arguments(input, weight, offsets, per_sample_weights, mode, include_last_offset)
    if input.dtype not in (rtorch.int64, rtorch.int32):
        raise RuntimeError(f"embedding_bag: expected indices of scalar type Long or Int, but got {input.dtype}")
    if not weight.is_floating_point():
        raise RuntimeError(f"embedding_bag: expected a weight of floating point, but got {weight.dtype}")
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"mode has to be one of sum, mean or max but got {mode}")
    if mode == "max" and scale_grad_by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if mode == "max" and sparse:
        raise ValueError("max mode does not support sparse weights")
    native = weight.is_cpu and weight.dtype in (rtorch.float32, rtorch.float64) and flat.is_cpu and offsets.is_cpu
    if weights is not None and weights.dtype != weight.dtype:
        native = False
    if native and offsets.numel() and mode != "max" and max_norm is None and not (sparse or scale_grad_by_freq):
        row = _row(padding_idx, weight.size(0))
        index, starts = flat.to(rtorch.int64), offsets.to(rtorch.int64)
        return _nn._embedding_bag(weight, index, starts, weights, mode == "mean", row)
    if flat.numel() and not flat.is_meta and not 0 <= int(flat.min()) <= int(flat.max()) < weight.size(0):
        raise RuntimeError(
            f"embedding_bag: the input takes values from {int(flat.min())} to {int(flat.max())}, of which some are not "
            f"in the valid range [0, {weight.size(0)})"
        )
    if offsets.numel() and int(offsets[0]) != 0:
        raise RuntimeError(
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. "
            f"However, got {int(offsets[0])}"
        )
    row = _row(padding_idx, weight.size(0))
    if max_norm is not None:
        _nn.embedding_renorm_(weight.detach(), flat, max_norm, norm_type)
    rows = _lookup(flat, weight, row, scale_grad_by_freq, sparse)
    bags = offsets.numel()
    # The bag of every index: how many offsets are at or before it, less one.
    positions = rtorch.arange(flat.numel(), device=flat.device)
    bag = rtorch.searchsorted(offsets.to(rtorch.int64), positions, right=True) - 1
    if row >= 0:
        kept = (flat != row).nonzero().squeeze(-1)
        rows, bag = rows[kept], bag[kept]
        weights = None if weights is None else weights[kept]
    if weights is not None:
        rows = rows * weights.unsqueeze(-1)
    counts = rtorch.zeros(bags, dtype=rtorch.int64, device=weight.device)
    counts = counts.index_add(0, bag, rtorch.ones_like(bag))
    if mode == "max":
        return _bag_maximum(rows, counts)
    out = rtorch.zeros((bags, weight.size(1)), dtype=weight.dtype, device=weight.device).index_add(0, bag, rows)
    return out / counts.clamp(min=1).unsqueeze(-1).to(out.dtype) if mode == "mean" else out


def _bag_maximum(rows, counts):
    """The maximum over each run of `counts` rows, 0 for an empty one; the gradient goes to one row."""
    longest = int(counts.max()) if counts.numel() else 0
    if longest == 0:
        return rows.new_zeros((counts.numel(), rows.size(1)))
    place = rtorch.arange(longest, device=rows.device)
    at = (counts.cumsum(0) - counts).unsqueeze(1) + place
    inside = (place < counts.unsqueeze(1)).unsqueeze(-1)
    padded = rows[at.clamp(max=rows.size(0) - 1)].masked_fill(~inside, float("-inf"))
    return padded.max(1)[0].masked_fill(counts.unsqueeze(1) == 0, 0.0)
