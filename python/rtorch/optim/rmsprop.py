"""RMSprop (Hinton 2012, lecture 6 of "Neural networks for machine learning"; centred: Graves 2013)."""

import rtorch

from .optimizer import _PerParameter, check_options, decayed, new_step, number

__all__ = ["RMSprop"]


class RMSprop(_PerParameter):
    """s = alpha s + (1 - alpha) g^2, p = p - lr * g / (sqrt(s) + eps); with momentum on the quotient.

    centered: the variance of the gradient in place of its second moment.

    >>> import rtorch
    >>> optimizer = rtorch.optim.RMSprop(rtorch.nn.Linear(2, 1).parameters())
    """

    _counts_steps = True

    def __init__(
        self,
        params,
        lr=1e-2,
        alpha=0.99,
        eps=1e-8,
        weight_decay=0,
        momentum=0,
        centered=False,
        capturable=False,
        foreach=None,
        maximize=False,
        differentiable=False,
    ):
        check_options(lr=lr, eps=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _init_state(self, p, group):
        state = {"step": new_step(), "square_avg": rtorch.zeros_like(p)}
        if group["momentum"] > 0:
            state["momentum_buffer"] = rtorch.zeros_like(p)
        if group["centered"]:
            state["grad_avg"] = rtorch.zeros_like(p)
        return state

    def _fused(self, group, params, grads, states):
        alpha, momentum = group["alpha"], group["momentum"]
        formula, names = "rmsprop", ["square_avg"]
        if group["centered"]:
            formula, names = formula + "_centered", [*names, "grad_avg"]
        if momentum > 0:
            formula, names = formula + "_momentum", [*names, "momentum_buffer"]
        numbers = (group["weight_decay"], number(group["lr"]), alpha, group["eps"], 1 - alpha, momentum)
        return self._step_of_table(formula, names, numbers, group, params, grads, states)

    def _update(self, p, grad, state, group):
        lr, alpha, square_avg = number(group["lr"]), group["alpha"], state["square_avg"]
        state["step"] += 1
        grad = decayed(p, grad, group)
        square_avg.mul_(alpha).addcmul_(grad, grad, value=1 - alpha)
        if group["centered"]:
            mean = state["grad_avg"].lerp_(grad, 1 - alpha)
            average = square_avg.addcmul(mean, mean, value=-1).sqrt_()
        else:
            average = square_avg.sqrt()
        average = average.add_(group["eps"])
        if group["momentum"] > 0:
            buffer = state["momentum_buffer"].mul_(group["momentum"]).addcdiv_(grad, average)
            p.add_(buffer, alpha=-lr)
        else:
            p.addcdiv_(grad, average, value=-lr)
