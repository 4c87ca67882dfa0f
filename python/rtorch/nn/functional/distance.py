"""Similarities and distances between vectors."""

import rtorch
from rtorch import _C
from rtorch._ops.linalg import has_distances

from ._arguments import tensors


@tensors("x1", "x2")
def cosine_similarity(x1, x2, dim=1, eps=1e-8):
    """x1.x2 / (max(|x1|, eps) * max(|x2|, eps)) along `dim`, with broadcasting."""
    dtype = rtorch.promote_types(x1.dtype, x2.dtype)
    if not isinstance(dim, int):
        raise TypeError(f"cosine_similarity(): argument 'dim' (position 3) must be int, not {type(dim).__name__}")
    if not dtype.is_floating_point:
        raise RuntimeError(f"expected common dtype to be floating point, yet common dtype is {dtype}")
    x1, x2 = rtorch.broadcast_tensors(x1.to(dtype), x2.to(dtype))
    n1, n2 = (rtorch.linalg.vector_norm(x, 2, dim, keepdim=True).clamp(min=eps) for x in (x1, x2))
    return (x1 / n1 * (x2 / n2)).sum(dim)


@tensors("x1", "x2")
def pairwise_distance(x1, x2, p=2.0, eps=1e-6, keepdim=False):
    """|x1 - x2 + eps| in the p-norm along the last dimension."""
    return rtorch.linalg.vector_norm(x1 - x2 + eps, p, -1, keepdim=keepdim)


@tensors("input")
def pdist(input, p=2.0):
    """The p-norm distances between all pairs of rows of an (N, M) input, N * (N - 1) / 2 of them in order."""
    if input.dim() != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.dim()}D")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    n = input.size(0)
    if n < 2:
        return input[:0].sum(1)
    if has_distances(input, input, p):
        i, j = rtorch.triu_indices(n, n, 1)
        return _C._nn._distance(input, input, p, True).reshape(-1)[i * n + j]
    i, j = rtorch.ones(n, n, device=input.device).triu(1).nonzero().unbind(1)
    difference = input[i] - input[j]
    if p == 0:  # a count, whose gradient is zero and not missing
        return (difference != 0).to(input.dtype).sum(-1) + (difference * 0).sum(-1)
    return rtorch.linalg.vector_norm(difference, p, -1)


def normalize(input, p=2.0, dim=1, eps=1e-12, out=None):
    """x / max(|x|_p, eps) along `dim`."""
    denominator = input.norm(p, dim, keepdim=True).clamp_min(eps).expand_as(input)
    return input / denominator if out is None else rtorch.div(input, denominator, out=out)
