"""`torch.random`: the state of the random numbers as functions."""

from contextlib import contextmanager

from rtorch import _C

__all__ = ["fork_rng", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state", "thread_safe_generator"]

get_rng_state, set_rng_state = _C.get_rng_state, _C.set_rng_state
default_generator = _C.default_generator
manual_seed, seed, initial_seed = _C.manual_seed, _C.seed, _C.initial_seed


@contextmanager
def fork_rng(devices=None, enabled=True, device_type="cuda"):
    """A `with` block after which the random numbers go on as if it had not been: the CPU's, and with
    `device_type="wgpu"` those of the GPUs in `devices`.

    >>> import rtorch
    >>> _ = rtorch.manual_seed(0)
    >>> with rtorch.random.fork_rng():
    ...     a = rtorch.rand(1)
    >>> bool(a == rtorch.rand(1))
    True
    """
    if not enabled:
        yield
        return
    before = get_rng_state()
    try:
        yield
    finally:
        set_rng_state(before)


def thread_safe_generator():
    """None, the generator of the program: workers of a `DataLoader` are processes, each with its own.

    >>> import rtorch
    >>> rtorch.rand(2, generator=rtorch.random.thread_safe_generator()).shape
    torch.Size([2])
    """
    return None
