"""L-BFGS: a quasi-Newton method with limited memory (Liu & Nocedal 1989), after minFunc (Schmidt 2005)."""

import rtorch

from .optimizer import Optimizer, check_options, number

__all__ = ["LBFGS"]


def _cubic_interpolate(x1, f1, g1, x2, f2, g2, bounds=None):
    """The minimum of the cubic through two points with their slopes, kept within `bounds`."""
    low, high = bounds if bounds is not None else (min(x1, x2), max(x1, x2))
    d1 = g1 + g2 - 3 * (f1 - f2) / (x1 - x2)
    square = d1**2 - g1 * g2
    if not square >= 0:
        return (low + high) / 2.0
    d2 = square.sqrt()
    if x1 <= x2:
        best = x2 - (x2 - x1) * ((g2 + d2 - d1) / (g2 - g1 + 2 * d2))
    else:
        best = x1 - (x1 - x2) * ((g1 + d2 - d1) / (g1 - g2 + 2 * d2))
    return min(max(best, low), high)


class _Point:
    """One point of the line search: step, loss, gradient and slope along the direction."""

    __slots__ = ("f", "g", "slope", "t")

    def __init__(self, t, f, g, slope):
        self.t, self.f, self.g, self.slope = t, f, g, slope


def _strong_wolfe(evaluate, t, d, f, g, gtd, max_ls, c1=1e-4, c2=0.9, tolerance_change=1e-9):
    """A step that meets the strong Wolfe conditions (Nocedal & Wright 2006, algorithms 3.5 and 3.6).

    evaluate(t) gives (loss, gradient) at step t. Returns loss, gradient, step and the number of evaluations.
    Slopes and steps are tensors without dimensions, in the parameters' dtype: a step found with more digits is
    another one, and the iterates part.
    """
    d_norm = d.abs().max()
    g = g.clone()

    def at(step):
        loss, grad = evaluate(step)
        return _Point(step, loss, grad.clone(), grad.dot(d))

    new, calls = at(t), 1
    start = prev = _Point(0, f, g, gtd)
    bracket, done, iteration = None, False, 0
    while iteration < max_ls:
        if new.f > f + c1 * new.t * gtd or (iteration > 1 and new.f >= prev.f):
            bracket = [prev, new]
            break
        if abs(new.slope) <= -c2 * gtd:
            bracket, done = [new], True
            break
        if new.slope >= 0:
            bracket = [prev, new]
            break
        lowest, highest = new.t + 0.01 * (new.t - prev.t), new.t * 10
        step = _cubic_interpolate(prev.t, prev.f, prev.slope, new.t, new.f, new.slope, bounds=(lowest, highest))
        prev, new = new, at(step)
        calls += 1
        iteration += 1
    if bracket is None:  # max_ls reached while still going down
        bracket = [start, new]
    low, calls = _zoom(at, bracket, done, f, gtd, d_norm, c1, c2, tolerance_change, max_ls, iteration, calls)
    return low.f, low.g, low.t, calls


def _zoom(at, bracket, done, f, gtd, d_norm, c1, c2, tolerance_change, max_ls, iteration, calls):
    """Shrinks the bracket until a point meets the conditions; returns its lowest point."""
    insufficient = False
    low, high = (0, 1) if bracket[0].f <= bracket[-1].f else (1, 0)
    while not done and iteration < max_ls:
        left, right = bracket
        span = abs(right.t - left.t)
        if span * d_norm < tolerance_change:
            break
        step = _cubic_interpolate(left.t, left.f, left.slope, right.t, right.f, right.slope)
        smallest, largest = min(left.t, right.t), max(left.t, right.t)
        eps = 0.1 * (largest - smallest)
        # A step too near an end brings little: the second time, or at the end itself, it is moved inside.
        if min(largest - step, step - smallest) < eps:
            if insufficient or step >= largest or step <= smallest:
                step = largest - eps if abs(step - largest) < abs(step - smallest) else smallest + eps
                insufficient = False
            else:
                insufficient = True
        else:
            insufficient = False
        new = at(step)
        calls += 1
        iteration += 1
        if new.f > f + c1 * step * gtd or new.f >= bracket[low].f:
            bracket[high] = new
            low, high = (0, 1) if bracket[0].f <= bracket[1].f else (1, 0)
        else:
            if abs(new.slope) <= -c2 * gtd:
                done = True
            elif new.slope * (bracket[high].t - bracket[low].t) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = new
    return bracket[low] if len(bracket) > 1 else bracket[0], calls


class LBFGS(Optimizer):
    """Minimises with curvature estimated from the last `history_size` steps. `step` needs a closure.

    line_search_fn: None (steps of lr) or "strong_wolfe". One parameter group only.

    >>> import rtorch
    >>> w = rtorch.tensor([3.0], requires_grad=True)
    >>> optimizer = rtorch.optim.LBFGS([w], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = ((w - 1) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> _ = optimizer.step(closure)
    >>> w.detach()
    tensor([1.])
    """

    def __init__(
        self,
        params,
        lr=1,
        max_iter=20,
        max_eval=None,
        tolerance_grad=1e-7,
        tolerance_change=1e-9,
        history_size=100,
        line_search_fn=None,
    ):
        check_options(lr=lr)
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params = self.param_groups[0]["params"]

    def __setstate__(self, state):
        super().__setstate__(state)
        self._params = self.param_groups[0]["params"]

    # ---- all parameters as one vector of real numbers

    def _gather_flat_grad(self):
        parts = []
        for p in self._params:
            grad = rtorch.zeros_like(p) if p.grad is None else p.grad
            parts.append((rtorch.view_as_real(grad) if grad.is_complex() else grad).reshape(-1))
        return rtorch.cat(parts)

    def _add_grad(self, step, direction):
        at = 0
        for p in self._params:
            real = rtorch.view_as_real(p) if p.is_complex() else p
            size = real.numel()
            real.add_(direction[at : at + size].view_as(real), alpha=step)
            at += size

    def _set_param(self, values):
        for p, value in zip(self._params, values):
            p.copy_(value)

    # ---- one step

    def _direction(self, state, grad, history_size):
        """The new direction, from the gradient and the remembered curvature (the two-loop recursion)."""
        if state["n_iter"] == 1:
            state["old_dirs"], state["old_stps"], state["ro"], state["H_diag"] = [], [], [], 1
            return grad.neg()
        y = grad.sub(state["prev_flat_grad"])
        s = state["d"].mul(state["t"])
        ys = y.dot(s)
        dirs, steps, ro = state["old_dirs"], state["old_stps"], state["ro"]
        if ys > 1e-10:
            if len(dirs) == history_size:
                for remembered in (dirs, steps, ro):
                    remembered.pop(0)
            dirs.append(y)
            steps.append(s)
            ro.append(1.0 / ys)
            state["H_diag"] = ys / y.dot(y)
        q = grad.neg()
        alphas = state.setdefault("al", [None] * history_size)
        for i in reversed(range(len(dirs))):
            alphas[i] = steps[i].dot(q) * ro[i]
            q.add_(dirs[i], alpha=-alphas[i])
        r = q.mul(state["H_diag"])
        for i in range(len(dirs)):
            beta = dirs[i].dot(r) * ro[i]
            r.add_(steps[i], alpha=alphas[i] - beta)
        return r

    def _search(self, group, closure, t, d, loss, grad, gtd, evaluations):
        """Moves along `d`, with what is left of max_eval; returns loss, gradient, step and evaluations."""
        if group["line_search_fn"] is None:
            self._add_grad(t, d)
            return None, None, t, 0
        if group["line_search_fn"] != "strong_wolfe":
            raise RuntimeError("only 'strong_wolfe' is supported")
        start = [p.detach().clone() for p in self._params]

        def evaluate(step):
            self._add_grad(step, d)
            value = float(closure())
            flat = self._gather_flat_grad()
            self._set_param(start)
            return value, flat

        loss, grad, t, calls = _strong_wolfe(evaluate, t, d, loss, grad, gtd, group["max_eval"] - evaluations)
        self._add_grad(t, d)
        return loss, grad, t, calls

    def step(self, closure):
        """Up to `max_iter` iterations; `closure` evaluates the loss and its gradient. Returns the first loss."""
        with rtorch.no_grad():
            return self._step(rtorch.enable_grad()(closure))

    def _step(self, closure):
        group = self.param_groups[0]
        lr, max_iter, tolerance_change = number(group["lr"]), group["max_iter"], group["tolerance_change"]
        # The state is kept under the first parameter, as one state serves them all.
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first_loss = closure()
        loss, evaluations = float(first_loss), 1
        state["func_evals"] += 1
        grad = self._gather_flat_grad()
        if float(grad.abs().max()) <= group["tolerance_grad"]:
            return first_loss
        iterations = 0
        while iterations < max_iter:
            iterations += 1
            state["n_iter"] += 1
            d = self._direction(state, grad, group["history_size"])
            state["d"] = d
            state["prev_flat_grad"] = grad.clone()
            state["prev_loss"] = prev_loss = loss
            t = min(1.0, 1.0 / grad.abs().sum()) * lr if state["n_iter"] == 1 else lr
            gtd = grad.dot(d)
            state["t"] = t
            if gtd > -tolerance_change:
                break
            new_loss, new_grad, t, calls = self._search(group, closure, t, d, loss, grad, gtd, evaluations)
            state["t"] = t
            if new_loss is not None:
                loss, grad = new_loss, new_grad
            elif iterations != max_iter:
                # Without a line search the last iteration is not evaluated: nothing would use it.
                with rtorch.enable_grad():
                    loss = float(closure())
                grad, calls = self._gather_flat_grad(), 1
            evaluations += calls
            state["func_evals"] += calls
            if self._converged(group, grad, d, t, loss, prev_loss, evaluations):
                break
        return first_loss

    @staticmethod
    def _converged(group, grad, d, t, loss, prev_loss, evaluations):
        return (
            evaluations >= group["max_eval"]
            or float(grad.abs().max()) <= group["tolerance_grad"]
            or float(d.mul(t).abs().max()) <= group["tolerance_change"]
            or abs(loss - prev_loss) < group["tolerance_change"]
        )
