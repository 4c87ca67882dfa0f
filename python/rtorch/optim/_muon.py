"""Muon: momentum made orthogonal by Newton-Schulz iterations, for matrices (Jordan et al. 2024)."""

import math

import rtorch

from .optimizer import _PerParameter, number

__all__ = ["Muon"]

_MAX_STEPS = 100


def _orthogonalised(matrix, coefficients, steps, eps):
    """The nearest (semi) orthogonal matrix, roughly, in bfloat16 as the method is defined."""
    if steps >= _MAX_STEPS:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if len(coefficients) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values")
    a, b, c = coefficients
    x = matrix.bfloat16()
    tall = matrix.size(0) > matrix.size(1)
    x = x.t() if tall else x
    x = x / rtorch.linalg.vector_norm(x).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.t()
        x = rtorch.addmm(x, rtorch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.t() if tall else x


class Muon(_PerParameter):
    """Momentum, orthogonalised, for the two-dimensional weights of hidden layers.

    adjust_lr_fn: "original" scales the rate by sqrt(max(1, rows / cols)), "match_rms_adamw" by
    0.2 sqrt(max(rows, cols)) (Liu et al. 2025).

    >>> import rtorch
    >>> optimizer = rtorch.optim.Muon([rtorch.nn.Linear(4, 4).weight])
    """

    def __init__(
        self,
        params,
        lr=1e-3,
        weight_decay=0.1,
        momentum=0.95,
        nesterov=True,
        ns_coefficients=(3.4445, -4.7750, 2.0315),
        eps=1e-7,
        ns_steps=5,
        adjust_lr_fn=None,
    ):
        if isinstance(lr, rtorch.Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        for bad, message in (
            (not 0.0 <= lr, f"Learning rate should be >= 0 but is: {lr}"),
            (not 0.0 <= momentum, f"momentum should be >= 0 but is: {momentum}"),
            (not 0.0 <= weight_decay, f"weight decay should be >= 0 but is: {weight_decay}"),
            (
                adjust_lr_fn not in (None, "original", "match_rms_adamw"),
                f"Adjust learning rate function {adjust_lr_fn} is not supported",
            ),
        ):
            if bad:
                raise ValueError(message)
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                if p.dim() != 2:
                    raise ValueError(
                        f"Muon only supports 2D parameters whereas we found a parameter with size: {p.size()}"
                    )

    def _init_state(self, p, group):
        if p.grad.is_sparse:
            self._update_sparse(p, p.grad, None, group)  # refuses
        return {"momentum_buffer": rtorch.zeros_like(p.grad)}

    def _update_complex(self, p, grad, state, group):
        raise RuntimeError("Muon does not support complex parameters")

    def _update(self, p, grad, state, group):
        lr, momentum, buffer = number(group["lr"]), group["momentum"], state["momentum_buffer"]
        buffer.lerp_(grad, 1 - momentum)
        update = grad.lerp(buffer, momentum) if group["nesterov"] else buffer
        update = _orthogonalised(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
        rows, cols = p.shape
        if group["adjust_lr_fn"] == "match_rms_adamw":
            rate = lr * 0.2 * math.sqrt(max(rows, cols))
        else:
            rate = lr * math.sqrt(max(1, rows / cols))
        p.mul_(1 - lr * group["weight_decay"])
        p.add_(update.to(p.dtype), alpha=-rate)
