"""Losses that compare numbers: regression, ranking, embedding and probabilistic ones.

Losses over classes (cross entropy, margins, CTC) are in classification.py.
"""

import math

import rtorch

from ._arguments import castable, floating, promoted, scalar_type, tensors
from ._reduction import full_precision, reduced, reduction_name, warn_if_sizes_differ
from .distance import pairwise_distance

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cosine_embedding_loss",
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "margin_ranking_loss",
    "mse_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]


def _weighted(loss, weight, reduction):
    """A loss weighted per element; its mean is over the weights."""
    if weight.size() != loss.size():
        raise ValueError("Weights and input must have the same size.")
    loss = loss * weight
    return loss.sum() / weight.expand_as(loss).sum() if reduction == "mean" else reduced(loss, reduction)


@full_precision
def mse_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """(input - target)^2."""
    reduction = reduction_name(reduction, size_average, reduce)
    warn_if_sizes_differ(input, target)
    if input.dtype != target.dtype or not input.is_floating_point():
        input, target = promoted(input, target)
        floating("mse_cpu", input)
    loss = (input - target).square()
    return reduced(loss, reduction) if weight is None else _weighted(loss, weight, reduction)


@full_precision
def l1_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """|input - target|."""
    reduction = reduction_name(reduction, size_average, reduce)
    warn_if_sizes_differ(input, target)
    loss = (input - target).abs()
    return reduced(loss, reduction) if weight is None else _weighted(loss, weight, reduction)


@full_precision
def smooth_l1_loss(input, target, size_average=None, reduce=None, reduction="mean", beta=1.0):
    """0.5 * d^2 / beta where |d| < beta, else |d| - 0.5 * beta (Girshick 2015)."""
    reduction = reduction_name(reduction, size_average, reduce)
    warn_if_sizes_differ(input, target)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    input, target = promoted(input, target)
    floating("smooth_l1_cpu", input)
    distance = input - target
    if beta == 0:
        return reduced(distance.abs(), reduction)
    loss = rtorch._C._nn._rounded_distance(distance, beta, True)
    del distance  # what still has a name is written to memory with the loss
    return reduced(loss, reduction)


@full_precision
def huber_loss(input, target, reduction="mean", delta=1.0, weight=None):
    """0.5 * d^2 where |d| <= delta, else delta * (|d| - 0.5 * delta) (Huber 1964)."""
    reduction = reduction_name(reduction)
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    warn_if_sizes_differ(input, target)
    castable(rtorch.promote_types(input.dtype, target.dtype), input.dtype)
    wanted = input.dtype
    input, target = promoted(input, target)
    floating("huber_cpu", input)
    distance = (input - target).to(wanted)
    loss = rtorch._C._nn._rounded_distance(distance, delta, False)
    del distance
    return reduced(loss if weight is None else loss * weight, reduction)


@tensors("input", "target")
@full_precision
def kl_div(input, target, size_average=None, reduce=None, reduction="mean", log_target=False):
    """target * (log target - input), pointwise; `input` are log-probabilities. "batchmean" divides by the batch."""
    batchmean = reduction == "batchmean"
    if not batchmean:
        reduction = reduction_name(reduction, size_average, reduce)
        if reduction == "mean":
            import warnings

            warnings.warn(
                "reduction: 'mean' divides the total loss by both the batch size and the support size.'batchmean' "
                "divides only by the batch size, and aligns with the KL div math definition.'mean' will be changed to "
                "behave the same as 'batchmean' in the next major release.",
                stacklevel=2,
            )
    for x in (input, target):
        if not x.is_floating_point():
            kind = "Complex" if x.is_complex() else "Integral"
            raise RuntimeError(f"kl_div: {kind} inputs not supported.")
    loss = target.exp() * (target - input) if log_target else rtorch.xlogy(target, target) - target * input
    if batchmean:
        total = loss.sum()
        return total / input.size(0) if input.dim() else total
    return reduced(loss, reduction)


@tensors("input", "target")
@full_precision
def poisson_nll_loss(
    input, target, log_input=True, full=False, size_average=None, eps=1e-8, reduce=None, reduction="mean"
):
    """exp(x) - t * x, or x - t * log(x + eps) without `log_input`; `full` adds Stirling's term for t > 1."""
    reduction = reduction_name(reduction, size_average, reduce, named=True)
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + 0.5 * (2 * math.pi * target).log()
        loss = loss + stirling.masked_fill(target <= 1, 0)
        del stirling
    return reduced(loss, reduction)


@full_precision
def gaussian_nll_loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
    """0.5 * (log v + (x - t)^2 / v), v = max(var, eps); `full` adds 0.5 * log(2 pi) (Nix & Weigend 1994)."""
    if isinstance(var, float):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = var * rtorch.ones_like(input)
    elif rtorch.any(var < 0):
        raise ValueError("var has negative entry/entries")
    if var.size() != input.size():
        if input.size()[:-1] == var.size():
            var = var.unsqueeze(-1)
        elif not (input.size()[:-1] == var.size()[:-1] and var.size(-1) == 1) and not _broadcasts(var, input):
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not valid")
    # The floor on the variance is outside the graph, as in the paper's use.
    var = var.clone()
    with rtorch.no_grad():
        var.clamp_(min=eps)
    loss = 0.5 * (var.log() + (input - target) ** 2 / var)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduced(loss, reduction)


def _broadcasts(small, big):
    sizes = zip(reversed(small.shape), reversed(big.shape))
    return small.dim() == big.dim() and all(a in (1, b) for a, b in sizes)


def _check_probabilities(input):
    # On the CPU only: elsewhere looking at the values would stop the queue.
    if input.device.type == "cpu" and not bool(((input >= 0) & (input <= 1)).all()):
        raise RuntimeError("all elements of input should be between 0 and 1")


@full_precision
def binary_cross_entropy(input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
    """-(t * log x + (1 - t) * log(1 - x)), the logarithms no lower than -100."""
    reduction = reduction_name(reduction, size_average, reduce)
    if target.size() != input.size():
        raise ValueError(
            f"Using a target size ({target.size()}) that is different to the input size ({input.size()}) is "
            "deprecated. Please ensure they have the same size."
        )
    if input.dtype != target.dtype:
        raise RuntimeError(f"Found dtype {scalar_type(target.dtype)} but expected {scalar_type(input.dtype)}")
    _check_probabilities(input)
    loss = -(target * input.log().clamp(min=-100) + (1 - target) * (1 - input).log().clamp(min=-100))
    return reduced(loss if weight is None else loss * weight, reduction)


@full_precision
def binary_cross_entropy_with_logits(
    input, target, weight=None, size_average=None, reduce=None, reduction="mean", pos_weight=None
):
    """Binary cross entropy of sigmoid(x), stable; `pos_weight` multiplies the loss of positive targets."""
    reduction = reduction_name(reduction, size_average, reduce)
    if target.size() != input.size():
        raise ValueError(f"Target size ({target.size()}) must be the same as input size ({input.size()})")
    floating("log_sigmoid_cpu", input)
    # PyTorch computes in place of 1 - target, which decides the dtype
    castable(rtorch.promote_types(input.dtype, target.dtype), target.dtype)
    # -log(sigmoid(x)) is softplus(-x).
    soft = rtorch.nn.functional.softplus(-input)
    if pos_weight is not None:
        soft = soft * ((pos_weight - 1) * target + 1)
    loss = ((1 - target) * input + soft).to(target.dtype)
    del soft
    return reduced(loss if weight is None else loss * weight, reduction)


@tensors("input", "target")
@full_precision
def soft_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    """log(1 + exp(-t * x)), targets of 1 and -1, which have no gradient."""
    reduction = reduction_name(reduction, size_average, reduce)
    if rtorch.is_grad_enabled() and target.requires_grad:
        raise RuntimeError(
            "The function 'soft_margin_loss' is not differentiable with respect to argument 'target'. This input "
            "cannot have requires_grad True."
        )
    if input.dtype == rtorch.bool:
        raise RuntimeError("Negation, the `-` operator, on a bool tensor is not supported.")
    if rtorch.broadcast_shapes(input.shape, target.shape) != input.shape:
        raise RuntimeError(
            f"output with shape {list(input.shape)} doesn't match the broadcast shape "
            f"{list(rtorch.broadcast_shapes(input.shape, target.shape))}"
        )
    loss = (-target.to(input.dtype) if target.dtype == rtorch.bool else -target) * input
    castable(loss.dtype if loss.dtype.is_floating_point or loss.is_complex() else rtorch.float32, input.dtype)
    return reduced(loss.to(input.dtype).exp().log1p(), reduction)


@full_precision
def hinge_embedding_loss(input, target, margin=1.0, size_average=None, reduce=None, reduction="mean"):
    """x where t = 1, max(0, margin - x) where t = -1."""
    reduction = reduction_name(reduction, size_average, reduce)
    zeros = rtorch.zeros_like(input)
    # in the input's dtype, of integers too: their mean then raises, as of any integers
    far = rtorch.where(target != 1, (margin - input).to(input.dtype).clamp(min=0), zeros)
    return reduced(far + rtorch.where(target != -1, input, zeros), reduction)


@full_precision
def margin_ranking_loss(input1, input2, target, margin=0, size_average=None, reduce=None, reduction="mean"):
    """max(0, -t * (x1 - x2) + margin)."""
    reduction = reduction_name(reduction, size_average, reduce)
    if not input1.dim() == input2.dim() == target.dim():
        raise RuntimeError(
            f"margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: "
            f"{input1.size()}, input2: {input2.size()}, target: {target.size()} "
        )
    return reduced((-target * (input1 - input2) + margin).clamp_min(0), reduction)


@tensors("input1", "input2", "target")
@full_precision
def cosine_embedding_loss(input1, input2, target, margin=0, size_average=None, reduce=None, reduction="mean"):
    """1 - cos(x1, x2) where t = 1, max(0, cos(x1, x2) - margin) where t = -1."""
    reduction = reduction_name(reduction, size_average, reduce)
    if target.dim() not in (0, 1):
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if input1.dim() - 1 != target.dim() or input2.dim() - 1 != target.dim():
        kind = "1D target tensor expects 2D" if target.dim() else "0D target tensor expects 1D"
        raise RuntimeError(f"{kind} input tensors, but found inputs with sizes {input1.size()} and {input2.size()}.")
    eps = 1e-12  # added to the squared norms, which is not the clamp of `cosine_similarity`
    dot = (input1 * input2).sum(-1)
    cos = dot / (((input1 * input1).sum(-1) + eps) * ((input2 * input2).sum(-1) + eps)).sqrt()
    zeros = rtorch.zeros_like(cos)
    loss = rtorch.where(target == 1, 1 - cos, zeros)
    return reduced(loss + rtorch.where(target == -1, (cos - margin).clamp(min=0), zeros), reduction)


_TRIPLET_DIMS = (
    "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
    "anchor {}D, positive {}D, and negative {}D inputs"
)


def _triplet(positive, negative, swapped, margin, reduction):
    if swapped is not None:
        negative = rtorch.minimum(negative, swapped)
    return reduced((margin + positive - negative).clamp(min=0), reduction)


@tensors("anchor", "positive", "negative")
@full_precision
def triplet_margin_loss(
    anchor,
    positive,
    negative,
    margin=1.0,
    p=2,
    eps=1e-6,
    swap=False,
    size_average=None,
    reduce=None,
    reduction="mean",
):
    """max(0, margin + d(a, p) - d(a, n)) with the p-norm distance (Balntas et al. 2016)."""
    reduction = reduction_name(reduction, size_average, reduce)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.dim() == positive.dim() == negative.dim():
        raise RuntimeError(_TRIPLET_DIMS.format(anchor.dim(), positive.dim(), negative.dim()))

    def distance(a, b):
        return pairwise_distance(a, b, p, eps)

    swapped = distance(positive, negative) if swap else None
    return _triplet(distance(anchor, positive), distance(anchor, negative), swapped, margin, reduction)


@full_precision
def triplet_margin_with_distance_loss(
    anchor, positive, negative, *, distance_function=None, margin=1.0, swap=False, reduction="mean"
):
    """`triplet_margin_loss` with a distance of the caller's own."""
    reduction = reduction_name(reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(_TRIPLET_DIMS.format(anchor.ndim, positive.ndim, negative.ndim))
    distance = pairwise_distance if distance_function is None else distance_function
    swapped = distance(positive, negative) if swap else None
    return _triplet(distance(anchor, positive), distance(anchor, negative), swapped, margin, reduction)
