"""Adamax: Adam with the infinity norm (Kingma & Ba 2014)."""

import rtorch

from .optimizer import _PerParameter, check_options, decayed, new_step, number

__all__ = ["Adamax"]


class Adamax(_PerParameter):
    """m = b1 m + (1 - b1) g, u = max(b2 u, |g| + eps), p = p - lr / (1 - b1^t) * m / u.

    >>> import rtorch
    >>> optimizer = rtorch.optim.Adamax(rtorch.nn.Linear(2, 1).parameters())
    """

    _counts_steps = True

    def __init__(
        self,
        params,
        lr=2e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        foreach=None,
        *,
        maximize=False,
        differentiable=False,
        capturable=False,
    ):
        check_options(lr=lr, eps=eps, betas=betas, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _init_state(self, p, group):
        return {"step": new_step(), "exp_avg": rtorch.zeros_like(p), "exp_inf": rtorch.zeros_like(p)}

    def _fused(self, group, params, grads, states):
        beta1, beta2 = group["betas"]
        lr, numbers = number(group["lr"]), []
        for s in states:
            rate = lr / (1 - beta1 ** (s["step"].item() + 1))
            numbers += (group["weight_decay"], rate, 1 - beta1, beta2, group["eps"])
        return self._step_of_table("adamax", ("exp_avg", "exp_inf"), numbers, group, params, grads, states)

    def _update(self, p, grad, state, group):
        beta1, beta2 = group["betas"]
        exp_avg, exp_inf = state["exp_avg"], state["exp_inf"]
        state["step"] += 1
        grad = decayed(p, grad, group)
        exp_avg.lerp_(grad, 1 - beta1)
        exp_inf.copy_(rtorch.maximum(exp_inf * beta2, grad.abs() + group["eps"]))
        rate = number(group["lr"]) / (1 - beta1 ** state["step"].item())
        p.addcdiv_(exp_avg, exp_inf, value=-rate)
