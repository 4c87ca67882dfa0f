"""Running an optimizer on other tensors than its own."""

import contextlib

__all__ = ["swap_in_optimizer_params_and_state"]


@contextlib.contextmanager
def swap_in_optimizer_params_and_state(optimizer, swapin_parameters, swapin_optim_state):
    """Inside, `optimizer` works on these parameters (name to tensor, in the order of its own) and on this state, which
    is laid out as `state_dict()` lays it out. Changes in place reach the caller's tensors; afterwards the optimizer has
    its own again.

    >>> import rtorch
    >>> p, q = rtorch.nn.Parameter(rtorch.ones(1)), rtorch.zeros(1).requires_grad_()
    >>> optimizer = rtorch.optim.SGD([p], lr=1.0)
    >>> with swap_in_optimizer_params_and_state(optimizer, {"p": q}, optimizer.state_dict()):
    ...     q.grad = rtorch.ones(1)
    ...     optimizer.step()
    >>> p.item(), q.item()
    (1.0, -1.0)
    """
    own_groups, own_state = optimizer.param_groups, optimizer.state
    params = list(swapin_parameters.values())
    count = sum(len(group["params"]) for group in own_groups)
    if len(params) != count:
        raise ValueError(f"expected {count} parameters, got {len(params)}")
    if len(swapin_optim_state["param_groups"]) != len(own_groups):
        raise ValueError(
            f"expected {len(own_groups)} parameter groups, got {len(swapin_optim_state['param_groups'])}"
        )
    groups = [{**group, "params": [params[i] for i in group["params"]]} for group in swapin_optim_state["param_groups"]]
    state = type(own_state)(dict)
    state.update((params[i], dict(s)) for i, s in swapin_optim_state["state"].items())
    optimizer.param_groups, optimizer.state = groups, state
    try:
        yield
    finally:
        optimizer.param_groups, optimizer.state = own_groups, own_state
