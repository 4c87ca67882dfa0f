"""skip_init: a module without the cost of its initial values."""

__all__ = ["skip_init"]


def skip_init(module_cls, *args, **kwargs):
    """`module_cls(*args, **kwargs)` with uninitialised parameters.

    >>> import rtorch
    >>> rtorch.nn.utils.skip_init(rtorch.nn.Linear, 3, 2).weight.shape
    torch.Size([2, 3])
    """
    from rtorch.nn.modules.module import Module

    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    import inspect

    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    with _no_random_fills():
        return module_cls(*args, **kwargs)


class _no_random_fills:
    """Inside, the random initialisers leave their tensors as they are, and the random stream where it was."""

    def __enter__(self):
        from rtorch.nn import init

        self.kept = {name: getattr(init, name) for name in ("uniform_", "normal_")}
        for name in self.kept:
            setattr(init, name, lambda tensor, *args, **kwargs: tensor)

    def __exit__(self, *exc):
        from rtorch.nn import init

        for name, function in self.kept.items():
            setattr(init, name, function)
