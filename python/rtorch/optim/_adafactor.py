"""Adafactor: second moments of matrices kept as one row and one column (Shazeer & Stern 2018)."""

import rtorch

from .optimizer import _PerParameter, new_step, number

__all__ = ["Adafactor"]


class Adafactor(_PerParameter):
    """Adaptive steps with sublinear memory; the update is clipped to `d` and scaled by the weights' own size.

    >>> import rtorch
    >>> optimizer = rtorch.optim.Adafactor(rtorch.nn.Linear(2, 1).parameters())
    """

    _counts_steps = True

    def __init__(
        self,
        params,
        lr=1e-2,
        beta2_decay=-0.8,
        eps=(None, 1e-3),
        d=1.0,
        weight_decay=0.0,
        *,
        foreach=None,
        maximize=False,
    ):
        if isinstance(lr, rtorch.Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        for bad, message in (
            (not 0.0 <= lr, f"Learning rate should be >= 0 but is: {lr}"),
            (not 0.0 >= beta2_decay, f"beta2_decay should be <= 0 but is: {beta2_decay}"),
            (eps[0] is not None and not 0.0 <= eps[0], f"epsilon1 should be >= 0 but is: {eps[0]}"),
            (not 0.0 <= eps[1], f"epsilon2 should be >= 0 but is: {eps[1]}"),
            (not 1.0 <= d, f"Clipping threshold d should be >= 1 but is: {d}"),
            (not 0.0 <= weight_decay, f"weight_decay should be >= 0 but is: {weight_decay}"),
        ):
            if bad:
                raise ValueError(message)
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _init_state(self, p, group):
        if p.grad.is_sparse:
            self._update_sparse(p, p.grad, None, group)  # refuses
        if p.grad.dim() < 2:
            return {"step": new_step(), "variance": rtorch.zeros_like(p.grad)}
        rows, cols = (*p.grad.shape[:-1], 1), (*p.grad.shape[:-2], 1, p.grad.shape[-1])
        return {"step": new_step(), "row_var": p.grad.new_zeros(rows), "col_var": p.grad.new_zeros(cols)}

    def _update_complex(self, p, grad, state, group):
        raise RuntimeError("Adafactor does not support complex parameters")

    def _second_moment(self, grad, state, weight, eps):
        """The (factored) running second moment, its newest part weighted by `weight`."""
        if grad.dim() < 2:
            return state["variance"].lerp_(grad * grad, weight).clone()
        row, col = state["row_var"], state["col_var"]
        row.lerp_((grad * grad).mean(-1, keepdim=True), weight)
        col.lerp_((grad * grad).mean(-2, keepdim=True), weight)
        return (row @ col).div_(row.mean(-2, keepdim=True).clamp_(min=eps))

    def _update(self, p, grad, state, group):
        lr, (eps1, eps2) = number(group["lr"]), group["eps"]
        eps1 = rtorch.finfo(p.dtype).eps if eps1 is None else eps1
        state["step"] += 1
        step = state["step"].item()
        size = p.numel() ** 0.5
        rate = max(eps2, rtorch.linalg.vector_norm(p).item() / size) * min(lr, 1 / step**0.5)
        if group["weight_decay"]:
            p.mul_(1 - lr * group["weight_decay"])
        moment = self._second_moment(grad, state, step ** group["beta2_decay"], eps1)
        update = moment.clamp_(min=eps1 * eps1).rsqrt_().mul_(grad)
        clip = max(1.0, rtorch.linalg.vector_norm(update).item() / (size * group["d"]))
        p.add_(update, alpha=-rate / clip)
