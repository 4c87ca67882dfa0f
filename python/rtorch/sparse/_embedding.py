"""Lookups whose gradient is a sparse tensor: of a large table only the rows that were looked up get one."""

import rtorch
from rtorch.sparse._coo import _make


class SparseRows(rtorch.autograd.Function):
    """`F.embedding(..., sparse=True)` of a leaf: its `.grad` becomes, or has added to it, a sparse COO tensor.

    The engine adds up dense gradients only, so that the leaf's is set here and hooks on the leaf do not see it.
    """

    @staticmethod
    def forward(ctx, weight, input, row, scale):
        """Rows of `weight` (V, D) by index: (*) -> (*, D)."""
        ctx.weight, ctx.index, ctx.row, ctx.scale = weight, input.reshape(-1), row, scale
        return rtorch._C._nn.embedding(weight.detach(), input, row, False, False)

    @staticmethod
    def backward(ctx, grad):
        """A row of the gradient for every index; the row `padding_idx` gets none."""
        weight, index = ctx.weight, ctx.index
        values = grad.reshape(-1, weight.shape[1])
        if ctx.scale:
            counts = rtorch.bincount(index, minlength=weight.shape[0])
            values = values / counts[index].unsqueeze(1).to(values.dtype)
        if ctx.row >= 0:
            kept = index != ctx.row
            index, values = index[kept], values[kept]
        made = _make(index.to(rtorch.int64).unsqueeze(0), values.detach(), tuple(weight.shape), False)
        weight.grad = made if weight.grad is None else weight.grad + made
        return None, None, None, None


def lookup(weight, input, row, scale):
    """Rows of `weight`, with a sparse gradient where it is a leaf that requires one."""
    if rtorch.is_grad_enabled() and weight.requires_grad and weight.is_leaf:
        return SparseRows.apply(weight, input, row, scale)
    return rtorch._C._nn.embedding(weight, input, row, scale, False)
