"""`torch.nn.parallel`: DataParallel, which runs its module as it is; training over processes is later work."""

from rtorch import _later
from rtorch.nn.modules.data_parallel import DataParallel


def data_parallel(module, inputs, device_ids=None, output_device=None, dim=0, module_kwargs=None):
    """`module(*inputs)`: without CUDA there is nothing to spread a batch over; naming devices raises."""
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    return DataParallel(module, device_ids and list(device_ids), output_device, dim)(*inputs, **(module_kwargs or {}))


__getattr__ = _later.attribute_of("nn.parallel")
