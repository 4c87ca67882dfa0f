"""NAdam: Adam with Nesterov momentum (Dozat 2016)."""

import rtorch

from .adam import moments
from .optimizer import _PerParameter, check_options, new_step, number

__all__ = ["NAdam"]


def _factors(step, product, lr, beta1, decay):
    """The momentum of a step, and what gradient and moment are multiplied with; `product`: of all momenta before."""
    mu, after = (beta1 * (1.0 - 0.5 * 0.96 ** (t * decay)) for t in (step, step + 1))
    product *= mu
    return mu, lr * (1.0 - mu) / (1.0 - product), lr * after / (1.0 - product * after)


class NAdam(_PerParameter):
    """Adam whose first moment looks one step ahead; the momentum rises by 0.96^(t * momentum_decay).

    >>> import rtorch
    >>> optimizer = rtorch.optim.NAdam(rtorch.nn.Linear(2, 1).parameters())
    """

    _counts_steps = True

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

    def _fused(self, group, params, grads, states):
        beta1, beta2 = group["betas"]
        lr, decay, momenta, numbers = number(group["lr"]), group["weight_decay"], [], []
        l2, shrink = (0.0, 1 - lr * decay) if group["decoupled_weight_decay"] else (decay, 1.0)
        for s in states:
            step = s["step"].item() + 1
            mu, of_grad, of_moment = _factors(step, s["mu_product"].item(), lr, beta1, group["momentum_decay"])
            momenta.append(mu)
            numbers += (l2, of_grad, of_moment, 1 - beta1, beta2, 1 - beta2**step, group["eps"], shrink)
        done = self._step_of_table("nadam", ("exp_avg", "exp_avg_sq"), numbers, group, params, grads, states)
        if done:
            for s, mu in zip(states, momenta):
                s["mu_product"] *= mu
        return done

    def _update(self, p, grad, state, group):
        beta1, beta2 = group["betas"]
        lr = number(group["lr"])
        step, grad = moments(p, grad, state, group)
        mu, of_grad, of_moment = _factors(step, state["mu_product"].item(), lr, beta1, group["momentum_decay"])
        state["mu_product"] *= mu
        denominator = (state["exp_avg_sq"] / (1 - beta2**step)).sqrt_().add_(group["eps"])
        p.addcdiv_(grad, denominator, value=-of_grad)
        p.addcdiv_(state["exp_avg"], denominator, value=-of_moment)
