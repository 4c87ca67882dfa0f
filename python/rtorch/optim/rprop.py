"""Rprop: resilient backpropagation (Riedmiller & Braun 1993)."""

import rtorch

from .optimizer import _PerParameter, check_options, new_step, number

__all__ = ["Rprop"]


class Rprop(_PerParameter):
    """A step size of its own for every weight: grown while the gradient keeps its sign, shrunk when it flips.

    >>> import rtorch
    >>> optimizer = rtorch.optim.Rprop(rtorch.nn.Linear(2, 1).parameters())
    """

    _counts_steps = True

    def __init__(
        self,
        params,
        lr=1e-2,
        etas=(0.5, 1.2),
        step_sizes=(1e-6, 50),
        *,
        capturable=False,
        foreach=None,
        maximize=False,
        differentiable=False,
    ):
        check_options(lr=lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _init_state(self, p, group):
        lr = number(group["lr"])
        sizes = rtorch.full_like(p, complex(lr, lr) if p.is_complex() else lr)
        return {"step": new_step(), "prev": rtorch.zeros_like(p), "step_size": sizes}

    def _fused(self, group, params, grads, states):
        numbers = (0.0, *group["etas"], *group["step_sizes"])
        return self._step_of_table("rprop", ("prev", "step_size"), numbers, group, params, grads, states)

    def _update(self, p, grad, state, group):
        smaller, larger = group["etas"]
        low, high = group["step_sizes"]
        prev, size = state["prev"], state["step_size"]
        state["step"] += 1
        agreement = (grad * prev).sign()
        one = rtorch.ones_like(agreement)
        factor = rtorch.where(agreement > 0, one * larger, rtorch.where(agreement < 0, one * smaller, one))
        size.mul_(factor).clamp_(low, high)
        # Where the sign has flipped the weight stays, and the next step starts anew.
        grad = rtorch.where(agreement < 0, rtorch.zeros_like(grad), grad)
        p.addcmul_(grad.sign(), size, value=-1)
        prev.copy_(grad)
