"""`torch.backends`: which libraries there are behind the operators, and switches that programs set.

None of PyTorch's backends is in rtorch: `is_available()` answers False and no switch changes a result. A switch keeps
what is written to it, so that programs that save and restore it work.
"""

import importlib

_PARTS = (
    "cpu",
    "cuda",
    "cudnn",
    "mha",
    "mkl",
    "mkldnn",
    "mps",
    "nnpack",
    "openmp",
    "opt_einsum",
    "quantized",
    "xnnpack",
)


def __getattr__(name):
    if name in _PARTS:
        return importlib.import_module(f"rtorch.backends.{name}")
    raise AttributeError(f"module 'rtorch.backends' has no attribute {name!r}")
