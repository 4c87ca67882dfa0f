"""Weights of convolutions in another memory format."""

__all__ = ["convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format"]


def _convert(module, memory_format, dims, kinds):
    from rtorch.nn import modules

    if isinstance(module, tuple(getattr(modules, kind) for kind in kinds)):
        if module.weight.dim() == dims:
            module.weight.data = module.weight.detach().clone().contiguous(memory_format=memory_format)
    for child in module.children():
        _convert(child, memory_format, dims, kinds)
    return module


def convert_conv2d_weight_memory_format(module, memory_format):
    """Lays out the weights of every Conv2d and ConvTranspose2d inside `module` as `memory_format`, in place; answers
    the module. Their outputs follow.

    >>> import rtorch
    >>> model = rtorch.nn.utils.convert_conv2d_weight_memory_format(rtorch.nn.Conv2d(2, 3, 3), rtorch.channels_last)
    >>> model.weight.is_contiguous(memory_format=rtorch.channels_last)
    True
    """
    return _convert(module, memory_format, 4, ("Conv2d", "ConvTranspose2d"))


def convert_conv3d_weight_memory_format(module, memory_format):
    """As `convert_conv2d_weight_memory_format`, for Conv3d and ConvTranspose3d."""
    return _convert(module, memory_format, 5, ("Conv3d", "ConvTranspose3d"))
