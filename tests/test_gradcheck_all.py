"""Derivatives of every operator against central differences (tests/gradients.py keeps the table)."""

import pytest

import gradients
import rtorch

EVERY = 16


def table():
    """All pairs; those outside of a small sample are slow."""
    pairs = [(check, name) for check, names in gradients.known().items() for name in names]
    for i, (check, name) in enumerate(pairs):
        marks = [] if i % EVERY == 0 else [pytest.mark.slow]
        yield pytest.param(check, name, marks=marks, id=f"{check}-{name}")


@pytest.mark.parametrize(("check", "name"), table())
def test_derivatives(check, name):
    assert gradients.run(check, name) > 0


@pytest.mark.parametrize("check", gradients.CHECKS)
def test_a_wrong_derivative_is_found(check):
    class Wrong(rtorch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            # wrong by a twentieth, and a constant to whoever differentiates it
            return grad * x.detach() * 2.1

        @staticmethod
        def jvp(ctx, tangent):
            return tangent * 0.5

    dtype, judge = gradients.CHECKS[check]
    if check == "batched":
        pytest.skip("compares backward with itself")
    x = rtorch.tensor([0.3, 0.7], dtype=dtype, requires_grad=True)
    f = Wrong.apply if "second" not in check else lambda x: Wrong.apply(x * x)
    with pytest.raises(rtorch.autograd.GradcheckError):
        judge(f, (x,))
