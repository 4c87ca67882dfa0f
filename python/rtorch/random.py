"""`torch.random`: the state of the random numbers as functions."""

from contextlib import contextmanager

from rtorch import _C

__all__ = ["fork_rng", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state", "thread_safe_generator"]

get_rng_state, set_rng_state = _C.get_rng_state, _C.set_rng_state
default_generator = _C.default_generator
manual_seed, seed, initial_seed = _C.manual_seed, _C.seed, _C.initial_seed


def _generators(devices, device_type):
    """The generators of these devices, given by index, name or device; of all devices of the type for None."""
    import rtorch

    kind = rtorch.device(device_type).type
    if kind == "wgpu":
        devices = range(rtorch.wgpu.device_count()) if devices is None else devices
        return [_C._generator_of(rtorch.device(kind, d) if isinstance(d, int) else rtorch.device(d)) for d in devices]
    devices = list(devices or ())
    if devices and kind != "cpu":
        raise RuntimeError(f"fork_rng: there are no {kind} devices, but devices={devices}; GPUs are device_type='wgpu'")
    return []


@contextmanager
def fork_rng(devices=None, enabled=True, device_type="cuda"):
    """A `with` block after which the random numbers go on as if it had not been: the CPU's, and with
    `device_type="wgpu"` those of the GPUs in `devices` (None: all).

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
    kept = [(g, g.get_state()) for g in (default_generator, *_generators(devices, device_type))]
    try:
        yield
    finally:
        for generator, state in kept:
            generator.set_state(state)


def thread_safe_generator():
    """None, the generator of the program: workers of a `DataLoader` are processes, each with its own.

    >>> import rtorch
    >>> rtorch.rand(2, generator=rtorch.random.thread_safe_generator()).shape
    torch.Size([2])
    """
    return None
