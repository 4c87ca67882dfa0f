"""Derivatives of every operator against central differences (tests/gradients.py keeps the table)."""

import pytest

import gradients
import rtorch

EVERY = 16


def table():
    """All pairs; those outside of a small sample are slow."""
    pairs = [(check, name) for check, found in gradients.known().items() for name in found["passing"]]
    marks = lambda i: [] if i % EVERY == 0 else [pytest.mark.slow]
    return [pytest.param(c, name, marks=marks(i), id=f"{c}-{name}") for i, (c, name) in enumerate(pairs)]


@pytest.mark.parametrize(("check", "name"), table())
def test_derivatives(check, name):
    assert gradients.run(check, name) > 0


@pytest.mark.parametrize("check", gradients.CHECKS)
def test_the_table_is_complete(check):
    """Every operator with a gradient passes, does not take the dtype, or has a reason not to."""
    found = gradients.known()[check]
    passing, refusing, excused = set(found["passing"]), set(found["refusing"]), set(gradients.exceptions(check))
    assert set(gradients.entries()) <= passing | refusing | excused
    assert not passing & excused and len(excused) < 12
    # in double precision nothing is refused, but for what is not differentiable at all
    assert len(passing) > (440 if "complex" not in check else 290)


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
