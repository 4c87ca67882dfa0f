"""SGD with momentum (Sutskever et al. 2013). The fused pass is the core's; `_update` is its meaning."""

from rtorch import _C

from .optimizer import _PerParameter, check_implementation, check_options, decayed, number

__all__ = ["SGD"]


class SGD(_PerParameter):
    """Stochastic gradient descent: v = momentum * v + (1 - dampening) * g, p = p - lr * v.

    >>> import rtorch
    >>> w = rtorch.tensor([1.0], requires_grad=True)
    >>> optimizer = rtorch.optim.SGD([w], lr=0.5)
    >>> (w * 2).sum().backward()
    >>> optimizer.step()
    >>> w.detach()
    tensor([0.])
    """

    def __init__(
        self,
        params,
        lr=1e-3,
        momentum=0,
        dampening=0,
        weight_decay=0,
        nesterov=False,
        *,
        maximize=False,
        foreach=None,
        differentiable=False,
        fused=None,
    ):
        check_options(lr=lr, momentum=momentum, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(params, defaults)
        check_implementation(defaults)

    def __setstate__(self, state):
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in (("nesterov", False), ("maximize", False), ("foreach", None), ("fused", False)):
                group.setdefault(name, value)
            group.setdefault("differentiable", False)

    def _states(self, params, group):
        # Without momentum there is no state, not even an empty one.
        return [self.state[p] for p in params] if group["momentum"] else [None] * len(params)

    def _fused(self, group, params, grads, states):
        momentum = group["momentum"]
        buffers = [s.get("momentum_buffer") for s in states] if momentum else []
        done = _C._fused_sgd_(
            params,
            grads,
            buffers,
            number(group["lr"]),
            momentum,
            group["dampening"],
            number(group["weight_decay"]),
            group["nesterov"],
            group["maximize"],
        )
        if done and momentum:
            for state, buffer in zip(states, buffers):
                state["momentum_buffer"] = buffer
        return done

    def _update_sparse(self, p, grad, state, group):
        if group["fused"]:
            raise RuntimeError("`_fused_sgd` does not support sparse gradients")
        if group["weight_decay"] != 0:
            raise RuntimeError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")
        self._update(p, grad, state, group)

    def _update(self, p, grad, state, group):
        grad = decayed(p, grad, group)
        momentum = group["momentum"]
        if momentum:
            buffer = state.get("momentum_buffer")
            if buffer is None:
                buffer = state["momentum_buffer"] = grad.detach().clone()
            else:
                buffer.mul_(momentum).add_(grad, alpha=1 - group["dampening"])
            grad = grad.add(buffer, alpha=momentum) if group["nesterov"] else buffer
        p.add_(grad, alpha=-number(group["lr"]))
