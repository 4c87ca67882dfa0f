"""ASGD: averaged stochastic gradient descent (Polyak & Juditsky 1992)."""

import rtorch

from .optimizer import _PerParameter, check_options, decayed, new_step, number

__all__ = ["ASGD"]


def _advance(state, step, lr, group):
    """The next rate, and the next weight of the newest parameter in the average."""
    state["eta"].fill_(lr / (1 + group["lambd"] * lr * step) ** group["alpha"])
    state["mu"].fill_(1 / max(1, step - group["t0"]))


class ASGD(_PerParameter):
    """SGD with a decaying rate; `state[p]["ax"]` is the average of the weights from step `t0` on.

    >>> import rtorch
    >>> optimizer = rtorch.optim.ASGD(rtorch.nn.Linear(2, 1).parameters())
    """

    _counts_steps = True

    def __init__(
        self,
        params,
        lr=1e-2,
        lambd=1e-4,
        alpha=0.75,
        t0=1e6,
        weight_decay=0,
        foreach=None,
        maximize=False,
        differentiable=False,
        capturable=False,
    ):
        check_options(lr=lr, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _init_state(self, p, group):
        return {
            "step": new_step(),
            "eta": new_step() + number(group["lr"]),
            "mu": new_step() + 1,
            "ax": rtorch.zeros_like(p),
        }

    def _fused(self, group, params, grads, states):
        lr, first, numbers = number(group["lr"]), [], []
        for s in states:
            eta, mu = s["eta"].item(), s["mu"].item()
            first.append(mu == 1)
            numbers += (group["weight_decay"], eta, 1 - group["lambd"] * eta, mu)
        if any(first) != all(first):
            return False
        formula = "asgd_first" if all(first) else "asgd"
        done = self._step_of_table(formula, ("ax",), numbers, group, params, grads, states)
        if done:
            for s in states:
                _advance(s, s["step"].item(), lr, group)
        return done

    def _update(self, p, grad, state, group):
        lr, lambd, ax = number(group["lr"]), group["lambd"], state["ax"]
        state["step"] += 1
        step, eta, mu = state["step"].item(), state["eta"].item(), state["mu"].item()
        grad = decayed(p, grad, group)
        p.mul_(1 - lambd * eta)
        p.add_(grad, alpha=-eta)
        if mu == 1:
            ax.copy_(p)
        else:
            ax.add_((p - ax) * mu)
        _advance(state, step, lr, group)
