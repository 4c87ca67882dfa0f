"""All parameters as one vector, and back."""

import rtorch

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def _check_device(param, device):
    """The common device; TypeError where parameters are on several."""
    if device is None:
        return param.device
    if param.device != device:
        raise TypeError(
            "Found two parameters on different devices, this is currently not supported. "
            f"expected {device}, got {param.device}"
        )
    return device


def parameters_to_vector(parameters):
    """The parameters flattened and joined.

    >>> import rtorch
    >>> rtorch.nn.utils.parameters_to_vector(rtorch.nn.Linear(2, 1).parameters()).shape
    torch.Size([3])
    """
    device, parts = None, []
    for param in parameters:
        device = _check_device(param, device)
        parts.append(param.reshape(-1))
    return rtorch.cat(parts)


def vector_to_parameters(vec, parameters):
    """Sets each parameter's data to its slice of `vec`."""
    if not isinstance(vec, rtorch.Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {rtorch.typename(vec)}")
    device, at = None, 0
    for param in parameters:
        device = _check_device(param, device)
        size = param.numel()
        param.data = vec[at : at + size].view_as(param).data
        at += size
