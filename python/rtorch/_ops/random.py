"""Draws with gradients: the core makes the draws and says how they move with their parameters (`_C._random`), here they
become differentiable functions. Draws without gradients are the core's alone."""

from __future__ import annotations

from rtorch import _C

from ._register import op


def _functions():
    """The autograd functions, made when first used: `rtorch.autograd` is imported after this package."""
    from rtorch.autograd import Function

    class StandardGamma(Function):
        @staticmethod
        def forward(ctx, concentration, generator):
            drawn = _C._random.standard_gamma(concentration, generator)
            ctx.save_for_backward(concentration, drawn)
            return drawn

        @staticmethod
        def backward(ctx, grad):
            concentration, drawn = ctx.saved_tensors
            return grad * _C._standard_gamma_grad(concentration, drawn), None

    class SampleDirichlet(Function):
        @staticmethod
        def forward(ctx, concentration, generator):
            drawn = _C._random.sample_dirichlet(concentration, generator)
            ctx.save_for_backward(concentration, drawn)
            return drawn

        @staticmethod
        def backward(ctx, grad):
            concentration, drawn = ctx.saved_tensors
            total = concentration.sum(-1, True)
            moved = _C._dirichlet_grad(drawn, concentration, total)
            # what one element gains, all lose in proportion
            return moved * (grad - (drawn * grad).sum(-1, True)), None

    return StandardGamma, SampleDirichlet


_made: list = []


def _function(which):
    if not _made:
        _made.extend(_functions())
    return _made[which]


@op(method=False)
def _standard_gamma(input, generator=None):
    """Gamma variates of shapes `input` and scale 1 (Marsaglia & Tsang 2000), their gradient implicit (Figurnov et al.
    2018)."""
    return _function(0).apply(input, generator)


@op(method=False)
def _sample_dirichlet(input, generator=None):
    """Dirichlet variates of concentrations `input` in the last dimension."""
    return _function(1).apply(input, generator)
