"""The cross entropy of a linear layer over pieces of the batch: gradients are made together with the loss, piece by
piece, so that one piece's logits are all that is ever held (Hsu et al. 2024, "Liger kernel"). The whole-batch form is
`linear_cross_entropy` in classification.py."""

import rtorch
from rtorch._C import _nn
from rtorch.autograd import Function

__all__ = ["chunked_cross_entropy"]


class _Chunked(Function):
    @staticmethod
    def forward(ctx, input, linear_weight, bias, target, weight, how):
        reduction, ignore_index, smoothing, options = how
        leaves = [t.detach() for t in (input, linear_weight, bias) if t is not None]
        wide = options.acc_dtype or (linear_weight.dtype if options.acc_policy == "compact" else rtorch.float32)
        sums = [rtorch.zeros_like(t, dtype=wide) for t in leaves[1:]]
        of_input, total = [], 0.0
        rows = options.rows(input.size(0), linear_weight.size(0), linear_weight.size(1))
        for start in range(0, input.size(0), rows):
            piece = [leaves[0][start : start + rows], *leaves[1:]]
            with rtorch.enable_grad():
                piece = [t.detach().requires_grad_() for t in piece]
                logits = _nn.linear(*piece)
                labels = target[start : start + rows]
                loss = _nn.cross_entropy_loss(logits, labels, weight, "sum", ignore_index, smoothing)
            grads = rtorch.autograd.grad(loss, piece)
            of_input.append(grads[0])
            for s, g in zip(sums, grads[1:]):
                s.add_(g)
            total = total + loss.detach()
        scale = 1.0
        if reduction == "mean":
            kept = target != ignore_index
            count = kept.sum() if weight is None else weight[target.clamp(min=0)].masked_select(kept).sum()
            scale = 1.0 / count
        grads = [rtorch.cat(of_input), *(s.to(linear_weight.dtype) for s in sums)]
        ctx.save_for_backward(*(g * scale for g in grads))
        return total * scale

    @staticmethod
    def backward(ctx, grad):
        scaled = [g * grad for g in ctx.saved_tensors]
        of_bias = scaled[2] if len(scaled) == 3 else None
        return scaled[0], scaled[1], of_bias, None, None, None


def chunked_cross_entropy(
    input, linear_weight, bias, target, weight, reduction, ignore_index, label_smoothing, options
):
    """input (N, in), linear_weight (C, in), target (N,) of classes: the loss, its gradients ready."""
    how = (reduction, ignore_index, label_smoothing, options)
    return _Chunked.apply(input, linear_weight, bias, target, weight, how)
