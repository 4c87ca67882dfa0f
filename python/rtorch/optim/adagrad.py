"""Adagrad (Duchi et al. 2011)."""

import rtorch

from .optimizer import _PerParameter, check_implementation, check_options, decayed, new_step, number

__all__ = ["Adagrad"]


class Adagrad(_PerParameter):
    """s = s + g^2, p = p - lr / (1 + (t - 1) lr_decay) * g / (sqrt(s) + eps).

    >>> import rtorch
    >>> optimizer = rtorch.optim.Adagrad(rtorch.nn.Linear(2, 1).parameters())
    """

    _counts_steps = True

    def __init__(
        self,
        params,
        lr=1e-2,
        lr_decay=0,
        weight_decay=0,
        initial_accumulator_value=0,
        eps=1e-10,
        foreach=None,
        *,
        maximize=False,
        differentiable=False,
        fused=None,
    ):
        check_options(
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
        )
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        check_implementation(defaults)
        # Unlike the others it has its state from the start.
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p].update(self._init_state(p, group))

    def _init_state(self, p, group):
        start = group["initial_accumulator_value"]
        value = complex(start, start) if p.is_complex() else start
        return {"step": new_step(), "sum": rtorch.full_like(p, value)}

    def share_memory(self):
        """Moves the state to shared memory."""
        for state in self.state.values():
            state["sum"].share_memory_()

    def _fused(self, group, params, grads, states):
        if group["fused"] and any(p.is_complex() or g.is_sparse for p, g in zip(params, grads)):
            raise RuntimeError("`fused` does not support sparse grad or complex param")
        lr, lr_decay, numbers = number(group["lr"]), group["lr_decay"], []
        for s in states:
            numbers += (group["weight_decay"], lr / (1 + s["step"].item() * lr_decay), group["eps"])
        return self._step_of_table("adagrad", ("sum",), numbers, group, params, grads, states)

    @staticmethod
    def _next_rate(state, group):
        state["step"] += 1
        return number(group["lr"]) / (1 + (state["step"].item() - 1) * group["lr_decay"])

    def _update_sparse(self, p, grad, state, group):
        if group["fused"]:
            raise RuntimeError("`fused` does not support sparse grad or complex param")
        if group["weight_decay"] != 0:
            raise RuntimeError("weight_decay option is not compatible with sparse gradients")
        rate, grad = self._next_rate(state, group), grad.coalesce()
        rows = tuple(grad.indices())
        total = state["sum"][rows] + grad.values() ** 2
        state["sum"][rows] = total
        p[rows] -= rate * grad.values() / (total.sqrt() + group["eps"])

    def _update(self, p, grad, state, group):
        rate = self._next_rate(state, group)
        grad = decayed(p, grad, group)
        state["sum"].addcmul_(grad, grad, value=1)
        p.addcdiv_(grad, state["sum"].sqrt().add_(group["eps"]), value=-rate)
