"""SparseAdam: Adam for embeddings, of whose rows a step touches few (Kingma & Ba 2014)."""

import rtorch

from .optimizer import _PerParameter, check_options, number

__all__ = ["SparseAdam"]


class SparseAdam(_PerParameter):
    """Adam whose moments move only for rows that the sparse (COO) gradient has; the others stay as they are.

    Parameters are dense, their gradients must be sparse.

    >>> import rtorch
    >>> optimizer = rtorch.optim.SparseAdam(rtorch.nn.Embedding(10, 3, sparse=True).parameters(), lr=0.1)
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, maximize=False):
        if isinstance(lr, rtorch.Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        for bad, message in (
            (not 0.0 < lr, f"Invalid learning rate: {lr}"),
            (not 0.0 < eps, f"Invalid epsilon value: {eps}"),
        ):
            if bad:
                raise ValueError(message)
        check_options(betas=betas)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})
        placed = [([g, i], p) for g, group in enumerate(self.param_groups) for i, p in enumerate(group["params"])]
        sparse, complex_ones = [at for at, p in placed if p.is_sparse], [at for at, p in placed if p.is_complex()]
        if sparse:
            raise ValueError(f"Sparse params at indices {sparse}: SparseAdam requires dense parameter tensors")
        if complex_ones:
            where = f"Complex params at indices {complex_ones}"
            raise ValueError(f"{where}: SparseAdam does not support complex parameters")

    def _step_group(self, group):
        for p in group["params"]:
            grad = p.grad
            if grad is None:
                continue
            if not grad.is_sparse:
                raise RuntimeError("SparseAdam does not support dense gradients, please consider Adam instead")
            (state,) = self._states([p], group)
            self._update(p, -grad if group["maximize"] else grad, state, group)

    def _init_state(self, p, group):
        return {"step": 0, "exp_avg": rtorch.zeros_like(p), "exp_avg_sq": rtorch.zeros_like(p)}

    def _update(self, p, grad, state, group):
        grad = grad.coalesce()
        values = grad.values()
        state["step"] += 1
        if values.numel() == 0:
            return
        at = tuple(grad.indices())
        beta1, beta2 = group["betas"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        new_m = m[at] + (values - m[at]) * (1 - beta1)
        new_v = v[at] + (values * values - v[at]) * (1 - beta2)
        m[at], v[at] = new_m, new_v
        step = state["step"]
        rate = number(group["lr"]) * (1 - beta2**step) ** 0.5 / (1 - beta1**step)
        p[at] = p[at] - rate * new_m / (new_v.sqrt() + group["eps"])


