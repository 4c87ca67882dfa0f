"""RAdam: Adam with the variance of its early steps rectified (Liu et al. 2019)."""

import rtorch

from .adam import moments
from .optimizer import _PerParameter, check_options, new_step, number

__all__ = ["RAdam"]


def _rectification(step, beta2):
    """What an adaptive update is multiplied with, before its division by the root of the second moment; None while the
    variance of that is not tractable."""
    correction = 1 - beta2**step
    # the length of the simple moving average that approximates the second moment, at most and now
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * step * beta2**step / correction
    if length <= 5.0:
        return None
    ratio = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return (correction * ratio) ** 0.5


class RAdam(_PerParameter):
    """Adam that starts as SGD with momentum and turns adaptive where the second moment is worth trusting.

    >>> import rtorch
    >>> optimizer = rtorch.optim.RAdam(rtorch.nn.Linear(2, 1).parameters())
    """

    _counts_steps = True

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        decoupled_weight_decay=False,
        *,
        foreach=None,
        maximize=False,
        capturable=False,
        differentiable=False,
    ):
        check_options(lr=lr, eps=eps, betas=betas, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _init_state(self, p, group):
        return {"step": new_step(), "exp_avg": rtorch.zeros_like(p), "exp_avg_sq": rtorch.zeros_like(p)}

    def _fused(self, group, params, grads, states):
        beta1, beta2 = group["betas"]
        lr, decay, adaptive, numbers = number(group["lr"]), group["weight_decay"], [], []
        l2, shrink = (0.0, 1 - lr * decay) if group["decoupled_weight_decay"] else (decay, 1.0)
        for s in states:
            step = s["step"].item() + 1
            rectified = _rectification(step, beta2)
            adaptive.append(rectified is not None)
            factor = lr / (1 - beta1**step) * (1.0 if rectified is None else rectified)
            numbers += (l2, factor, 1 - beta1, beta2, 1 - beta2, group["eps"], shrink)
        if any(adaptive) != all(adaptive):
            return False
        formula = "radam" if all(adaptive) else "radam_early"
        return self._step_of_table(formula, ("exp_avg", "exp_avg_sq"), numbers, group, params, grads, states)

    def _update(self, p, grad, state, group):
        beta1, beta2 = group["betas"]
        step, _ = moments(p, grad, state, group)
        update = state["exp_avg"] / (1 - beta1**step)
        rectified = _rectification(step, beta2)
        if rectified is not None:
            update = update * rectified / (state["exp_avg_sq"].sqrt() + group["eps"])
        p.add_(update, alpha=-number(group["lr"]))
