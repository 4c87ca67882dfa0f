"""Losses over classes: cross entropy and its relatives, margins, CTC. Losses between numbers are in loss.py."""

import math
import warnings

import rtorch
from rtorch import _C
from rtorch._C import _nn

from ._arguments import floating, scalar_type, tensors
from ._reduction import full_precision, reduced, reduction_name
from .activation import logsigmoid
from .linear import linear


def nll_loss(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean"):
    """-input[target] of log-probabilities (N, C, ...) and classes (N, ...), weighted per class."""
    if size_average is not None or reduce is not None or reduction is None:
        reduction = reduction_name(reduction, size_average, reduce)
    return _nn.nll_loss(input, target, weight, reduction, ignore_index)


def cross_entropy(
    input,
    target,
    weight=None,
    size_average=None,
    ignore_index=-100,
    reduce=None,
    reduction="mean",
    label_smoothing=0.0,
):
    """-log softmax(input)[target]: logits (N, C, ...) and classes (N, ...) or class probabilities (N, C, ...)."""
    if size_average is not None or reduce is not None or reduction is None:
        reduction = reduction_name(reduction, size_average, reduce)
    return _nn.cross_entropy_loss(input, target, weight, reduction, ignore_index, label_smoothing)


def linear_cross_entropy(
    input,
    linear_weight,
    target,
    *,
    linear_bias=None,
    weight=None,
    reduction="mean",
    ignore_index=None,
    label_smoothing=0.0,
    options=None,
):
    """`cross_entropy(linear(input, linear_weight, linear_bias), target)`.

    linear_weight (C, *out, in): with further dimensions the logits are (N, C, *out). `options`
    (`nn.LinearCrossEntropyOptions`): the batch goes through in pieces, whose gradients are made with the loss, so that
    the logits of all are never held; for class indices of a flat batch, reduced to its mean or sum.
    """
    if linear_weight.dim() < 2:
        raise RuntimeError(f"expected linear_weight with dimensionality at least 2, got {linear_weight.dim()}")
    classes, *out, width = linear_weight.shape
    batched = input.dim() > 1
    if options is not None:
        whole = not out and input.dim() == 2 and not target.is_floating_point() and reduction in ("mean", "sum")
        if whole:
            from .chunked import chunked_cross_entropy

            ignore = -100 if ignore_index is None else ignore_index
            return chunked_cross_entropy(
                input, linear_weight, linear_bias, target, weight, reduction, ignore, label_smoothing, options
            )
        warnings.warn("linear_cross_entropy: these arguments are computed without pieces", stacklevel=2)
    logits = linear(input, linear_weight.reshape(-1, width), None if linear_bias is None else linear_bias.reshape(-1))
    logits = logits.reshape(*input.shape[:-1], classes, *out)
    if not batched and not out:
        logits = logits.reshape(classes)
    ignore = -100 if ignore_index is None else ignore_index
    return cross_entropy(
        logits, target, weight, ignore_index=ignore, reduction=reduction, label_smoothing=label_smoothing
    )


def multilabel_soft_margin_loss(input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
    """The mean over classes of the binary cross entropy of sigmoid(x)."""
    reduction = reduction_name(reduction, size_average, reduce, named=True)
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        loss = loss * weight
    # the classes are counted along the input's last dimension, also where the target has more
    last = input.dim() - 1
    return reduced(loss.sum(last) / input.size(last), reduction)


def _rows(kernel, input, target, want):
    """Input as (N, C) and the target with it, after PyTorch's shape checks."""
    if input.dim() > 2 or (input.dim() and input.size(-1) == 0):
        raise RuntimeError(
            f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(input.shape)}"
        )
    if list(target.shape) not in want(input):
        raise RuntimeError(f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}")
    if target.dtype != rtorch.int64:
        raise RuntimeError(f"expected scalar type Long but found {scalar_type(target.dtype)}")
    floating(kernel, input)
    return input.reshape(-1, input.size(-1)) if input.dim() else input.reshape(1, 1)


@tensors("input", "target")
@full_precision
def multilabel_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    """sum over targets j and other classes i of max(0, 1 - (x_j - x_i)) / C; a target row ends at the first -1."""
    reduction = reduction_name(reduction, size_average, reduce)
    if target.is_complex():
        floating("min_all", target)
    x = _rows("multilabel_margin_loss_forward_out_frame", input, target, lambda i: [list(i.shape)])
    c = x.size(1)
    t = target.reshape(-1, c)
    if t.numel() and (int(t.min()) < -1 or int(t.max()) >= c):
        raise RuntimeError("multilabel_margin_loss: argument #2 'target' is out of range")
    valid = (t >= 0).long().cumprod(1).bool()
    # every target meets every class: not those behind the longest row
    longest = int(valid.sum(1).max()) if t.numel() else 0
    t, valid = t[:, :longest], valid[:, :longest]
    index = t.clamp(min=0)
    other = rtorch.zeros_like(x).scatter_add(1, index, valid.to(x.dtype)) == 0
    gaps = (1 - x.gather(1, index)).unsqueeze(2) + x.unsqueeze(1)  # (N, target, class)
    counted = valid.unsqueeze(2) & other.unsqueeze(1)
    loss = rtorch.where(counted, gaps.clamp(min=0), 0).sum((1, 2)) / c
    return reduced(loss if input.dim() == 2 else loss.squeeze(0), reduction)


@tensors("input", "target")
@full_precision
def multi_margin_loss(input, target, p=1, margin=1.0, weight=None, size_average=None, reduce=None, reduction="mean"):
    """sum over classes i != y of max(0, margin - x_y + x_i)^p / C, times weight[y]."""
    reduction = reduction_name(reduction, size_average, reduce)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.dim() != 1:
        raise ValueError("weight must be one-dimensional")
    x = _rows("multi_margin_loss_cpu_kernel", input, target, lambda i: [[i.size(0)]] if i.dim() == 2 else [[], [1]])
    if weight is not None and weight.numel() != x.size(1):
        raise RuntimeError(f"inconsistent weight size, expected {x.size(1)} but got {list(weight.shape)}")
    y = target.reshape(-1, 1)
    if y.numel() and (int(y.min()) < 0 or int(y.max()) >= x.size(1)):
        raise RuntimeError("multi_margin_loss: target out of range")
    if weight is None and x.is_floating_point() and not rtorch._C._vmap_used():
        loss = rtorch._C._nn._multi_margin(x, y, p == 2, margin)
    else:
        gaps = (margin - x.gather(1, y) + x).clamp(min=0)
        gaps = gaps if p == 1 else gaps * gaps
        if weight is not None:
            gaps = gaps * weight[y]
        loss = gaps.scatter(1, y, 0.0).sum(1) / x.size(1)
    return reduced(loss if input.dim() == 2 or target.dim() else loss.squeeze(0), reduction)


# ---- connectionist temporal classification (Graves et al. 2006)

# Stands for log 0 inside the recursion: finite, so that its gradient is 0 and not NaN; far below any real score.
_LOG_ZERO = -1.0e30


def _ctc_targets(targets, lengths, blank, batch):
    """Targets as (N, S), padded with the blank, and the labels between blanks as (N, 2S + 1)."""
    width = max([*lengths, 0])
    rows = rtorch.full((batch, width), blank, dtype=rtorch.int64, device="cpu")
    at = 0
    for n, length in enumerate(lengths):
        row = targets[n, :length] if targets.dim() == 2 else targets[at : at + length]
        rows[n, :length] = row.to("cpu", rtorch.int64)
        at += length
    extended = rtorch.full((batch, 2 * width + 1), blank, dtype=rtorch.int64, device="cpu")
    extended[:, 1::2] = rows
    return extended.to(targets.device)


def _lengths(value, name, batch):
    """A tensor of lengths, or a list or tuple of them, as a list."""
    out = value.reshape(-1).tolist() if isinstance(value, rtorch.Tensor) else list(value)
    if len(out) != batch:
        raise RuntimeError(f"{name} must be of size batch_size")
    if any(not isinstance(v, int) or isinstance(v, bool) for v in out):
        raise RuntimeError(f"{name} must be integral")
    return out


def _check_ctc(log_probs, targets, input_lengths, target_lengths, zero_infinity):
    """PyTorch's checks of what kinds of arguments these are."""
    kinds = [isinstance(v, rtorch.Tensor) for v in (input_lengths, target_lengths)]
    lists = all(isinstance(v, (list, tuple)) for v in (input_lengths, target_lengths))
    if not (all(kinds) or lists) or not isinstance(zero_infinity, bool):
        given = ", ".join(type(v).__name__ for v in (log_probs, targets, input_lengths, target_lengths, zero_infinity))
        raise TypeError(
            f"ctc_loss() received an invalid combination of arguments - got ({given}): the lengths must both be "
            "tensors or both be tuples of ints, zero_infinity a bool"
        )
    if log_probs.dim() == 0:
        raise IndexError("Dimension out of range (expected to be in range of [-1, 0], but got 1)")
    if log_probs.dim() not in (2, 3):
        raise RuntimeError(f"Expected 3-dimensional tensor, but got {log_probs.dim()}-dimensional log_probs")
    if targets.dim() not in (1, 2):
        raise RuntimeError(f"Expected 1 to 2 dimensions, but got {targets.dim()}-dimensional targets")
    floating("ctc_loss_cpu", log_probs)


def _ctc_forward(log_probs, labels, input_lengths, target_lengths, blank):
    """-log p(target) of every sample, by the forward recursion over the extended labels."""
    steps, batch, _ = log_probs.shape
    width = labels.size(1)
    device = log_probs.device
    emit = log_probs.gather(2, labels.unsqueeze(0).expand(steps, -1, -1)).clamp(min=_LOG_ZERO)  # (T, N, 2S + 1)
    ends = 2 * rtorch.tensor(target_lengths, device=device).unsqueeze(1)
    skip = rtorch.zeros((batch, width), dtype=rtorch.bool, device=device)
    skip[:, 2:] = (labels[:, 2:] != blank) & (labels[:, 2:] != labels[:, :-2])
    places = rtorch.arange(width, device=device)
    zero = rtorch.full((batch, width), _LOG_ZERO, dtype=log_probs.dtype, device=device)
    alpha = rtorch.where((places < 2) & (places <= ends), emit[0], zero)
    until = rtorch.tensor(input_lengths, device=device).unsqueeze(1)
    for t in range(1, steps):
        one = rtorch.cat([zero[:, :1], alpha[:, :-1]], 1)
        two = rtorch.where(skip, rtorch.cat([zero[:, :2], alpha[:, :-2]], 1)[:, :width], zero)
        step = rtorch.logsumexp(rtorch.stack([alpha, one, two]), 0) + emit[t]
        alpha = rtorch.where(until > t, step.clamp(min=_LOG_ZERO), alpha)
    last = alpha.gather(1, ends)
    before = rtorch.where(ends > 0, alpha.gather(1, (ends - 1).clamp(min=0)), zero[:, :1])
    loss = -rtorch.logsumexp(rtorch.cat([last, before], 1), 1)
    return rtorch.where(until.squeeze(1) > 0, loss, rtorch.where(ends.squeeze(1) > 0, -zero[:, 0], 0 * zero[:, 0]))


def _ctc_composed(log_probs, targets, input_lengths, target_lengths, blank, zero_infinity):
    """Every sample's loss, a step of the recursion at a time."""
    labels = _ctc_targets(targets, target_lengths, blank, log_probs.size(1))
    loss = _ctc_forward(log_probs, labels, input_lengths, target_lengths, blank)
    # Adds exp(log_probs) to the gradient and nothing to the value: that makes it the gradient of the logits.
    within = rtorch.arange(log_probs.size(0), device=log_probs.device).unsqueeze(1) < rtorch.tensor(
        input_lengths, device=log_probs.device
    )
    mass = (log_probs.exp().sum(2) * within.to(log_probs.dtype)).sum(0)
    impossible = loss > -0.5 * _LOG_ZERO
    return rtorch.where(
        impossible, rtorch.full_like(loss, 0.0 if zero_infinity else math.inf), loss + (mass - mass.detach())
    )


def _ctc_native(log_probs, targets, input_lengths, target_lengths, blank, zero_infinity):
    """The same by the primitive: all labels in a row, and where each sample's begin."""
    starts, at = [], 0
    for n, length in enumerate(target_lengths):
        starts.append(n * targets.size(1) if targets.dim() == 2 else at)
        at += length
    table = rtorch.tensor([starts, target_lengths, input_lengths], dtype=rtorch.int64).t()
    labels = targets.reshape(-1).to("cpu", rtorch.int64)
    steps, width = max([*input_lengths, 1]), 2 * max([*target_lengths, 0]) + 1
    loss = _nn._ctc_loss(log_probs, labels, table, blank, steps, width, zero_infinity)
    return rtorch.where(loss == math.inf, 0.0, loss) if zero_infinity else loss


@tensors("log_probs", "targets")
@full_precision
def ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False):
    """CTC: log_probs (T, N, C), targets (N, S) or concatenated, lengths (N). Also (T, C) without N.

    "mean" divides each loss by its target's length, then averages. As in PyTorch the gradient is that with respect
    to the logits of the `log_softmax` that made `log_probs`.
    """
    reduction = reduction_name(reduction)
    _check_ctc(log_probs, targets, input_lengths, target_lengths, zero_infinity)
    unbatched = log_probs.dim() == 2
    if unbatched:
        log_probs = log_probs.unsqueeze(1)
        targets = targets.unsqueeze(0) if targets.dim() == 1 else targets
    steps, batch, classes = log_probs.shape
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    input_lengths = _lengths(input_lengths, "input_lengths", batch)
    target_lengths = _lengths(target_lengths, "target_lengths", batch)
    for length in input_lengths:
        if not 0 <= length <= steps:
            raise RuntimeError(f"Expected input_lengths to have value at most {steps}, but got value {length}")
    if any(length < 0 for length in target_lengths):
        raise RuntimeError("Expected target_lengths to be non-negative")
    rows, width = (targets.size(0), targets.size(1)) if targets.dim() == 2 else (batch, None)
    if rows != batch:
        raise RuntimeError(f"Expected targets to have size {batch} at dimension 0, but got size {rows}")
    if width is not None and max([*target_lengths, 0]) > width:
        raise RuntimeError(f"Expected targets to have size at least {max(target_lengths)} at dimension 1, got {width}")
    native = log_probs.is_cpu and log_probs.dtype in (rtorch.float32, rtorch.float64)
    each = _ctc_native if native else _ctc_composed
    loss = each(log_probs, targets, input_lengths, target_lengths, blank, zero_infinity)
    if not native:
        _C._one_node("WhereBackward0" if zero_infinity else "CtcLossBackward0", log_probs, loss)
    if reduction == "mean":
        lengths = rtorch.tensor(target_lengths, dtype=loss.dtype, device=loss.device).clamp(min=1)
        return (loss / lengths).mean()
    if reduction == "sum":
        return loss.sum()
    return loss.squeeze(0) if unbatched else loss
