"""Functions of `torch` that are forms of others: methods that write in place, called as functions, and losses, samplers
and layers of `nn.functional` with their older signatures, in which an option is a number.
"""

from __future__ import annotations

import importlib

import rtorch

from ._register import op

_INPLACE = """addmv_ as_strided_ conj_physical_ detach_ fill_ gcd_ i0_ lcm_""".split()


def _called(name):
    def call(input, *args, **kwargs):
        return getattr(input, name)(*args, **kwargs)

    call.__doc__ = f"`Tensor.{name}` as a function."
    return op(name, method=False)(call)


for _name in _INPLACE:
    _called(_name)

_REDUCTION = ("none", "mean", "sum")
_SAMPLING = ("bilinear", "nearest", "bicubic")
_PADDING = ("zeros", "border", "reflection")

# name: the function of nn.functional, and its options that may be given as numbers, by position
_FORMS = {
    "alpha_dropout": ("alpha_dropout", {}),
    "binary_cross_entropy_with_logits": ("binary_cross_entropy_with_logits", {}),
    "channel_shuffle": ("channel_shuffle", {}),
    "cosine_embedding_loss": ("cosine_embedding_loss", {4: ("reduction", _REDUCTION)}),
    "cosine_similarity": ("cosine_similarity", {}),
    "ctc_loss": ("ctc_loss", {5: ("reduction", _REDUCTION)}),
    "feature_alpha_dropout": ("feature_alpha_dropout", {}),
    "grid_sampler": ("grid_sample", {2: ("mode", _SAMPLING), 3: ("padding_mode", _PADDING)}),
    "grid_sampler_2d": ("grid_sample", {2: ("mode", _SAMPLING), 3: ("padding_mode", _PADDING)}),
    "grid_sampler_3d": ("grid_sample", {2: ("mode", _SAMPLING), 3: ("padding_mode", _PADDING)}),
    "hinge_embedding_loss": ("hinge_embedding_loss", {3: ("reduction", _REDUCTION)}),
    "kl_div": ("kl_div", {2: ("reduction", _REDUCTION)}),
    "margin_ranking_loss": ("margin_ranking_loss", {4: ("reduction", _REDUCTION)}),
    "pairwise_distance": ("pairwise_distance", {}),
    "pdist": ("pdist", {}),
    "rrelu": ("rrelu", {}),
    "triplet_margin_loss": ("triplet_margin_loss", {7: ("reduction", _REDUCTION)}),
}


def _word(value, words):
    """A number as the word it stands for."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < len(words):
            raise RuntimeError(f"expected an option of 0 to {len(words) - 1}, but got {value}")
        return words[value]
    return value


def _form(name, target, numbers):
    def call(*args, **kwargs):
        f = getattr(rtorch.nn.functional, target)
        # what comes after an option that the newer form takes by name
        named = {kw: _word(args[i], words) for i, (kw, words) in numbers.items() if i < len(args)}
        kwargs = {k: _word(v, dict(numbers.values()).get(k, ())) if k in named or k == "reduction" else v
                  for k, v in kwargs.items()}
        first = min(numbers, default=len(args))
        rest = args[first + len(numbers) :]
        if target == "grid_sample" and rest:
            named["align_corners"] = rest[0]
        elif target == "kl_div" and rest:
            named["log_target"] = rest[0]
        elif target == "ctc_loss" and rest:
            named["zero_infinity"] = rest[0]
        return f(*args[:first], **named, **kwargs)

    call.__doc__ = f"`nn.functional.{target}`; options may be given as numbers."
    return op(name, method=False)(call)


for _name, (_target, _numbers) in _FORMS.items():
    _form(_name, _target, _numbers)


@op(method=False)
def affine_grid_generator(theta, size, align_corners):
    """`nn.functional.affine_grid`."""
    return rtorch.nn.functional.affine_grid(theta, size, align_corners)


@op(method=False)
def frobenius_norm(input, dim=(), keepdim=False):
    """Root of the sum of squares over one or two dims (all)."""
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    if len(dims) > 2:
        raise RuntimeError(f"Expected at most 2 dimensions, but got {len(dims)} dimensions instead.")
    return rtorch.linalg.vector_norm(input, 2, dims or None, keepdim)


@op(method=False)
def nuclear_norm(input, dim=(-2, -1), keepdim=False):
    """Sum of the singular values."""
    return rtorch.linalg.matrix_norm(input, "nuc", tuple(dim), keepdim)


@op(method=False)
def norm_except_dim(v, pow=2, dim=0):
    """The norm over every dim but one, kept as sizes of 1."""
    if dim == -1:
        return rtorch.linalg.vector_norm(v, pow)
    dims = [d for d in range(v.dim()) if d != dim % v.dim()]
    return rtorch.linalg.vector_norm(v, pow, dims, True)


@op(method=False)
def poisson_nll_loss(input, target, log_input, full, eps, reduction):
    """`nn.functional.poisson_nll_loss`; `reduction` is a number."""
    how = _word(reduction, _REDUCTION)
    f = rtorch.nn.functional.poisson_nll_loss
    return f(input, target, log_input=log_input, full=full, eps=eps, reduction=how)


@op(method=False)
def convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
    """A convolution, or its transpose, of as many dims as the weight has."""
    n = weight.dim() - 2
    if n not in (1, 2, 3):
        raise RuntimeError(f"convolution: expected a weight of 3 to 5 dimensions, but got {weight.dim()}")
    name = f"conv_transpose{n}d" if transposed else f"conv{n}d"
    f = getattr(rtorch.nn.functional, name)
    if transposed:
        return f(input, weight, bias, stride, padding, output_padding, groups, dilation)
    return f(input, weight, bias, stride, padding, dilation, groups)


@op(method=False)
def instance_norm(
    input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, cudnn_enabled=False
):
    """`nn.functional.instance_norm` with its arguments in the older order."""
    f = rtorch.nn.functional.instance_norm
    return f(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


def _dropped(name, target, inplace):
    def call(input, p, train):
        if not 0 <= p <= 1:
            raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {p}")
        module = importlib.import_module("rtorch.nn.functional.dropout")
        return getattr(module, target)(input, p, train, inplace)

    call.__doc__ = f"{name}(input, p, train): `{target.lstrip('_')}` of nn.functional{', in place' * inplace}."
    return op(name, method=False)(call)


for _name in ("dropout_", "alpha_dropout_", "feature_alpha_dropout_"):
    _dropped(_name, _name[:-1], True)
_dropped("feature_dropout", "_feature_dropout", False)
_dropped("feature_dropout_", "_feature_dropout", True)


@op(method=False)
def rrelu_(input, lower=1.0 / 8, upper=1.0 / 3, training=False):
    """`nn.functional.rrelu`, in place."""
    return rtorch.nn.functional.rrelu(input, lower, upper, training, True)


_BAGS = ("sum", "mean", "max")


@op(method=False)
def embedding_bag(
    weight,
    indices,
    offsets,
    scale_grad_by_freq=False,
    mode=0,
    sparse=False,
    per_sample_weights=None,
    include_last_offset=False,
    padding_idx=None,
):
    """`nn.functional.embedding_bag` with its arguments in the older order, mode 0 (sum), 1 (mean) or 2 (max). Answers
    the bags, the bag of each index, how many indices each bag has (without the padding), and where each maximum came
    from (mode 2; else the sizes of the bags)."""
    if mode not in (0, 1, 2):
        raise RuntimeError("`mode` must be sum, mean, or max.")
    how = {"scale_grad_by_freq": scale_grad_by_freq, "mode": _BAGS[mode], "sparse": sparse, "padding_idx": padding_idx}
    how |= {"per_sample_weights": per_sample_weights, "include_last_offset": include_last_offset}
    bags = rtorch.nn.functional.embedding_bag(indices, weight, offsets, **how)
    starts = offsets[:-1] if include_last_offset else offsets
    places = rtorch.arange(indices.numel(), device=indices.device, dtype=indices.dtype)
    bag = (rtorch.searchsorted(starts.contiguous(), places, right=True) - 1).to(indices.dtype)
    kept = rtorch.ones_like(indices) if padding_idx is None else (indices != padding_idx).to(indices.dtype)
    sizes = rtorch.zeros(starts.numel(), dtype=indices.dtype, device=indices.device).index_add(0, bag, kept)
    if mode != 2:
        return bags, bag, sizes, sizes
    # the first index of a bag whose row has the maximum
    with rtorch.no_grad():
        hit = (weight[indices] == bags[bag]) & (kept != 0).unsqueeze(-1)
        count = indices.numel()
        place = rtorch.where(hit, places.unsqueeze(-1), count)
        first = rtorch.full((starts.numel(), weight.size(1)), count, dtype=indices.dtype, device=indices.device)
        first = first.scatter_reduce(0, bag.unsqueeze(-1).expand_as(place).to(rtorch.int64), place, "amin")
        found = rtorch.cat([indices, indices.new_zeros(1)])[first]
    return bags, bag, sizes, found


@op(method=False)
def spmm(input, mat2):
    """`mm`: of a sparse or dense matrix n x m and a dense one m x p."""
    return rtorch.mm(input, mat2) if isinstance(input, rtorch.Tensor) else input @ mat2


@op()
def slice_inverse(input, src, dim=0, start=None, end=None, step=1):
    """What `input` is a slice of: its whole memory, in the geometry of `src`."""
    return input.as_strided(src.size(), src.stride(), src.storage_offset())


@op(method=False)
def vander(x, N=None, increasing=False):
    """Powers of the elements of x (n) as columns, highest first unless told otherwise: n x N (n x n)."""
    if x.dim() != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    if N is not None and N < 0:
        raise RuntimeError("N must be non-negative.")
    N = x.numel() if N is None else N
    x = x if x.dtype.is_floating_point or x.dtype.is_complex else x.to(rtorch.int64)
    powers = rtorch.linalg.vander(x, N=N) if N > 1 else rtorch.ones(x.numel(), N, dtype=x.dtype, device=x.device)
    return powers if increasing else powers.flip(1)
