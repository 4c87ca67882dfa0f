"""NAdam: Adam with Nesterov momentum (Dozat 2016)."""

import rtorch

from .adam import moments
from .optimizer import _PerParameter, check_options, new_step, number

__all__ = ["NAdam"]


class NAdam(_PerParameter):
    """Adam whose first moment looks one step ahead; the momentum rises by 0.96^(t * momentum_decay).

    >>> import rtorch
    >>> optimizer = rtorch.optim.NAdam(rtorch.nn.Linear(2, 1).parameters())
    """

    def __init__(
        self,
        params,
        lr=2e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        momentum_decay=4e-3,
        decoupled_weight_decay=False,
        *,
        foreach=None,
        maximize=False,
        capturable=False,
        differentiable=False,
    ):
        check_options(lr=lr, eps=eps, betas=betas, weight_decay=weight_decay, momentum_decay=momentum_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _init_state(self, p, group):
        return {
            "step": new_step(),
            "mu_product": new_step() + 1,
            "exp_avg": rtorch.zeros_like(p),
            "exp_avg_sq": rtorch.zeros_like(p),
        }

    def _update(self, p, grad, state, group):
        beta1, beta2 = group["betas"]
        lr = number(group["lr"])
        step, grad = moments(p, grad, state, group)
        mu, mu_next = (beta1 * (1.0 - 0.5 * 0.96 ** (t * group["momentum_decay"])) for t in (step, step + 1))
        state["mu_product"] *= mu
        product = state["mu_product"].item()
        denominator = (state["exp_avg_sq"] / (1 - beta2**step)).sqrt_().add_(group["eps"])
        p.addcdiv_(grad, denominator, value=-lr * (1.0 - mu) / (1.0 - product))
        p.addcdiv_(state["exp_avg"], denominator, value=-lr * mu_next / (1.0 - product * mu_next))
