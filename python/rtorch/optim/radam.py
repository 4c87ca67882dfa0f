"""RAdam: Adam with the variance of its early steps rectified (Liu et al. 2019)."""

import rtorch

from .adam import moments
from .optimizer import _PerParameter, check_options, new_step, number

__all__ = ["RAdam"]


class RAdam(_PerParameter):
    """Adam that starts as SGD with momentum and turns adaptive where the second moment is worth trusting.

    >>> import rtorch
    >>> optimizer = rtorch.optim.RAdam(rtorch.nn.Linear(2, 1).parameters())
    """

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

    def _update(self, p, grad, state, group):
        beta1, beta2 = group["betas"]
        step, _ = moments(p, grad, state, group)
        correction2 = 1 - beta2**step
        update = state["exp_avg"] / (1 - beta1**step)
        # The length of the simple moving average that approximates the second moment, at most and now.
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * step * beta2**step / correction2
        if length > 5.0:
            rectification = ((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)) ** 0.5
            update = update * (correction2**0.5 / (state["exp_avg_sq"].sqrt() + group["eps"])) * rectification
        p.add_(update, alpha=-number(group["lr"]))
