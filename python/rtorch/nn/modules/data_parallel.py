"""DataParallel: one process, several GPUs of one kind."""

from .module import Module

__all__ = ["DataParallel"]


class DataParallel(Module):
    """Runs `module` as it is: rtorch has no devices to spread a batch over, and PyTorch does the same without CUDA.

    The wrapper matters for checkpoints: names of parameters begin with `module.`.

    >>> import rtorch
    >>> rtorch.nn.DataParallel(rtorch.nn.Linear(2, 1)).state_dict().keys()
    odict_keys(['module.weight', 'module.bias'])
    """

    def __init__(self, module, device_ids=None, output_device=None, dim=0):
        super().__init__()
        if device_ids:
            raise RuntimeError(f"DataParallel: device_ids {device_ids} name CUDA devices, which rtorch does not have")
        self.module = module
        self.device_ids = []
        self.output_device = output_device
        self.dim = dim

    def forward(self, *inputs, **kwargs):
        return self.module(*inputs, **kwargs)
