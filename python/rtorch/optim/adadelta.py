"""Adadelta (Zeiler 2012)."""

import rtorch

from .optimizer import _PerParameter, check_options, decayed, new_step, number

__all__ = ["Adadelta"]


class Adadelta(_PerParameter):
    """s = rho s + (1 - rho) g^2, d = sqrt(u + eps) / sqrt(s + eps) * g, u = rho u + (1 - rho) d^2, p = p - lr * d.

    >>> import rtorch
    >>> optimizer = rtorch.optim.Adadelta(rtorch.nn.Linear(2, 1).parameters())
    """

    _counts_steps = True

    def __init__(
        self,
        params,
        lr=1.0,
        rho=0.9,
        eps=1e-6,
        weight_decay=0,
        foreach=None,
        *,
        capturable=False,
        maximize=False,
        differentiable=False,
    ):
        check_options(lr=lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_options(eps=eps, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _init_state(self, p, group):
        return {"step": new_step(), "square_avg": rtorch.zeros_like(p), "acc_delta": rtorch.zeros_like(p)}

    def _fused(self, group, params, grads, states):
        rho = group["rho"]
        numbers = (group["weight_decay"], number(group["lr"]), rho, group["eps"], 1 - rho)
        names = ("square_avg", "acc_delta")
        return self._step_of_table("adadelta", names, numbers, group, params, grads, states)

    def _update(self, p, grad, state, group):
        rho, eps, square_avg, acc_delta = group["rho"], group["eps"], state["square_avg"], state["acc_delta"]
        state["step"] += 1
        grad = decayed(p, grad, group)
        square_avg.mul_(rho).addcmul_(grad, grad, value=1 - rho)
        delta = (acc_delta + eps).sqrt_().div_((square_avg + eps).sqrt_()).mul_(grad)
        acc_delta.mul_(rho).addcmul_(delta, delta, value=1 - rho)
        p.add_(delta, alpha=-number(group["lr"]))
