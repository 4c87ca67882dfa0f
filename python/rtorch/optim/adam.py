"""Adam (Kingma & Ba 2014) and its options. The fused pass is the core's; `_update` is its meaning."""

import rtorch
from rtorch import _C

from .optimizer import _PerParameter, check_implementation, check_options, decayed, new_step, number

__all__ = ["Adam"]


def moments(p, grad, state, group):
    """Counts the step, applies the weight decay, and takes the gradient into both moments.

    What Adam, NAdam and RAdam begin with. Returns the step's number and the gradient as decayed.
    """
    beta1, beta2 = number(group["betas"][0]), number(group["betas"][1])
    state["step"] += 1
    if not group["decoupled_weight_decay"]:
        grad = decayed(p, grad, group)
    elif group["weight_decay"]:
        p.mul_(1 - number(group["lr"]) * group["weight_decay"])
    state["exp_avg"].lerp_(grad, 1 - beta1)
    state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    return state["step"].item(), grad


class Adam(_PerParameter):
    """m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, p = p - lr * m' / (sqrt(v') + eps), m' and v' bias-corrected.

    amsgrad uses the largest v so far (Reddi et al. 2018); decoupled_weight_decay makes it AdamW.

    >>> import rtorch
    >>> model = rtorch.nn.Linear(2, 1)
    >>> optimizer = rtorch.optim.Adam(model.parameters(), lr=1e-3)
    >>> model(rtorch.ones(1, 2)).sum().backward()
    >>> optimizer.step()
    """

    _sparse_message = "{} does not support sparse gradients, please consider SparseAdam instead"

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        amsgrad=False,
        *,
        foreach=None,
        maximize=False,
        capturable=False,
        differentiable=False,
        fused=None,
        decoupled_weight_decay=False,
    ):
        if isinstance(lr, rtorch.Tensor) and foreach and not capturable:
            raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
        check_options(lr=lr, eps=eps, betas=betas, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)
        check_implementation(defaults)

    def __setstate__(self, state):
        super().__setstate__(state)
        for group in self.param_groups:
            for name in ("amsgrad", "maximize", "capturable", "differentiable", "decoupled_weight_decay"):
                group.setdefault(name, False)
            group.setdefault("foreach", None)
            group.setdefault("fused", None)
        for value in self.state.values():
            if value and not isinstance(value["step"], rtorch.Tensor):
                value["step"] = rtorch.tensor(float(value["step"]))

    def _init_state(self, p, group):
        state = {"step": new_step(), "exp_avg": rtorch.zeros_like(p), "exp_avg_sq": rtorch.zeros_like(p)}
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = rtorch.zeros_like(p)
        return state

    def _fused(self, group, params, grads, states):
        beta1, beta2 = group["betas"]
        return _C._fused_adam_(
            params,
            grads,
            [s["exp_avg"] for s in states],
            [s["exp_avg_sq"] for s in states],
            [s["max_exp_avg_sq"] for s in states] if group["amsgrad"] else [],
            [s["step"] for s in states],
            number(group["lr"]),
            number(beta1),
            number(beta2),
            group["weight_decay"],
            group["eps"],
            group["amsgrad"],
            group["maximize"],
            group["decoupled_weight_decay"],
        )

    def _update(self, p, grad, state, group):
        beta1, beta2 = number(group["betas"][0]), number(group["betas"][1])
        lr = number(group["lr"])
        step, _ = moments(p, grad, state, group)
        square = state["exp_avg_sq"]
        if group["amsgrad"]:
            square = state["max_exp_avg_sq"]
            square.copy_(rtorch.maximum(square, state["exp_avg_sq"]))
        denominator = (square.sqrt() / (1 - beta2**step) ** 0.5).add_(group["eps"])
        p.addcdiv_(state["exp_avg"], denominator, value=-lr / (1 - beta1**step))
