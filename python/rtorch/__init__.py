"""rtorch: PyTorch's programming model on a Rust core. `import rtorch as torch` runs PyTorch programs."""

import importlib

from rtorch import _C
from rtorch._C import *
from rtorch._C import __version__
from rtorch._C import Tensor, device, dtype, layout, memory_format, OutOfMemoryError, UntypedStorage
from rtorch._size import Size
from rtorch._numerics import finfo, iinfo
from rtorch import _later, _tensor, _tensor_forms
from rtorch._namespace import *
from rtorch._control import *
from rtorch._program import *
from rtorch.autograd.grad_mode import enable_grad, inference_mode, no_grad, set_grad_enabled
from rtorch import autograd
from rtorch import storage
from rtorch.storage import TypedStorage
from rtorch import _ops

# no name stands in both places (tests/test_house.py)
globals().update(_ops.FUNCTIONS)
for _name, _f in _ops.METHODS.items():
    setattr(Tensor, _name, _f)
del _name, _f

_LAZY = frozenset(
    "accelerator amp backends compiler cpu cuda distributed distributions _dynamo fft func fx hub jit library "
    "linalg masked mps mtia multiprocessing nn onnx optim overrides profiler random return_types serialization signal "
    "sparse special testing torch_version types utils version wgpu xpu __config__ _utils _tensor_str functional".split()
)


# Functions of nn.functional that PyTorch has here, too.
_FUNCTIONAL = frozenset({"channel_shuffle", "cosine_similarity", "pairwise_distance", "pdist"})


def __getattr__(name):
    # submodules are imported when first asked for, so that `import rtorch` stays quick
    if name in _LAZY or name in _later.MODULES:
        return importlib.import_module(f"rtorch.{name}")
    if name in _FUNCTIONAL:
        return getattr(importlib.import_module("rtorch.nn.functional"), name)
    if name == "vmap":
        return importlib.import_module("rtorch.func").vmap
    if name == "sparse_coo_tensor":
        from rtorch.sparse import sparse_coo_tensor

        return sparse_coo_tensor
    if name == "install_as_torch":
        from rtorch._install import install_as_torch

        return install_as_torch
    if name in ("load", "save"):
        from rtorch import serialization

        return getattr(serialization, name)
    if name in ("GradScaler", "autocast"):
        from rtorch import amp

        return getattr(amp, name)
    if name in ("get_printoptions", "set_printoptions"):
        from rtorch import _tensor_str

        return getattr(_tensor_str, name)
    raise AttributeError(f"module 'rtorch' has no attribute '{name}'")
