"""LinearCrossEntropyLoss: the last linear layer of a classifier together with its loss."""

import dataclasses
import math

from rtorch.nn import functional as F

from .linear import Linear
from .loss import _WeightedLoss

__all__ = ["LinearCrossEntropyLoss", "LinearCrossEntropyOptions"]


@dataclasses.dataclass
class LinearCrossEntropyOptions:
    """How `linear_cross_entropy` goes through the batch in pieces, so that the logits of all are never held at once.

    batch_chunk_size: rows of a piece; None: as `chunking_method` says, "aspect_ratio:R" (a piece's logits have at most
    R times the input's elements) or "auto" (R = 2). acc_dtype: in which gradients of the weight are summed; None: by
    acc_policy, float32 ("accurate", "balanced", "auto") or the weight's own ("compact"). allow_retain_graph: asks that
    `backward(retain_graph=True)` works, as it always does here.
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: object = None

    def __post_init__(self):
        if self.acc_policy not in ("accurate", "balanced", "compact", "auto"):
            raise ValueError(f"acc_policy must be accurate, balanced, compact or auto, got {self.acc_policy!r}")
        if self.batch_chunk_size is not None and self.batch_chunk_size <= 0:
            raise ValueError(f"batch_chunk_size must be positive, got {self.batch_chunk_size}")

    def rows(self, batch, classes, width):
        """Rows of a piece of `batch` inputs of `width`."""
        if self.batch_chunk_size is not None:
            return min(self.batch_chunk_size, batch)
        kind, _, ratio = (self.chunking_method or "auto").partition(":")
        if kind not in ("auto", "aspect_ratio"):
            raise ValueError(f"chunking_method must be auto or aspect_ratio:R, got {self.chunking_method!r}")
        return max(1, min(batch, int(float(ratio or 2) * batch * width) // classes))


class LinearCrossEntropyLoss(_WeightedLoss):
    """Cross entropy of a linear layer's logits: input (N, in_features), target (N, *out_features).

    >>> import rtorch
    >>> rtorch.nn.LinearCrossEntropyLoss(8, 5)(rtorch.zeros(2, 8), rtorch.tensor([0, 3])).item()
    1.6094379425048828
    """

    __constants__ = ["num_classes", "out_features", "reduction", "ignore_index", "label_smoothing"]

    def __init__(
        self,
        in_features,
        num_classes,
        *,
        out_features=(),
        bias=False,
        device=None,
        dtype=None,
        reduction="mean",
        weight=None,
        ignore_index=None,
        label_smoothing=0.0,
        options=None,
    ):
        if weight is not None and tuple(weight.shape) != (num_classes,):
            raise RuntimeError(f"expected weight shape to be {(num_classes,)}, got {tuple(weight.shape)}")
        if not 0 <= label_smoothing <= 1:
            raise RuntimeError(f"expected label_smoothing to be in range [0, 1], got {label_smoothing}")
        super().__init__(weight, reduction=reduction)
        self.num_classes = num_classes
        self.out_features = out_features
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.options = options
        rows = math.prod(out_features, start=num_classes)
        self.linear = Linear(in_features, rows, bias=bias, device=device, dtype=dtype)

    def forward(self, input, target):
        linear, shape = self.linear, (self.num_classes, *self.out_features)
        return F.linear_cross_entropy(
            input,
            linear.weight.reshape(*shape, linear.in_features),
            target,
            linear_bias=None if linear.bias is None else linear.bias.reshape(shape),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )

    def extra_repr(self):
        shown = {"in_features": self.linear.in_features, "num_classes": self.num_classes}
        shown.update(out_features=self.out_features, bias=self.linear.bias is not None, reduction=self.reduction)
        shown.update(ignore_index=self.ignore_index, label_smoothing=self.label_smoothing, options=self.options)
        return ", ".join(f"{k}={v}" for k, v in shown.items())
