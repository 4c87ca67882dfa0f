"""`torch.cuda` where there is no CUDA: questions are answered, everything else raises and names `wgpu`.

What PyTorch does without a driver: memory counts 0, seeding and emptying caches do nothing. The GPU of rtorch is
`rtorch.wgpu`; for any accelerator there is `rtorch.accelerator`.
"""

from collections import OrderedDict

from rtorch._C import OutOfMemoryError


def refuse(what):
    """Raises for something that needs CUDA."""
    raise RuntimeError(
        f"{what}: rtorch has no CUDA. Its GPU device is 'wgpu' (any Vulkan, Metal or DX12 GPU): use device='wgpu', "
        "tensor.to('wgpu') or module.to('wgpu'), and rtorch.wgpu.is_available() to ask for one."
    )


def _refusing(name, says):
    def call(*args, **kwargs):
        refuse(f"torch.cuda.{name}()")

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Raises: {says} needs CUDA."
    return call


def _answering(name, answer, says):
    def call(*args, **kwargs):
        return answer()

    call.__name__ = call.__qualname__ = name
    call.__doc__ = says
    return call


_NEEDS_CUDA = (
    "current_device current_stream default_stream device_memory_used get_device_capability get_device_name "
    "get_device_properties get_gencode_flags get_rng_state init ipc_collect list_gpu_processes mem_get_info "
    "memory_snapshot memory_summary power_draw reset_accumulated_memory_stats reset_max_memory_allocated "
    "reset_max_memory_cached reset_peak_memory_stats set_device set_per_process_memory_fraction set_rng_state "
    "set_stream synchronize temperature utilization can_device_access_peer clock_rate cudart make_graphed_callables"
).split()
_ANSWERS = {
    "is_available": (bool, "False: there is no CUDA."),
    "is_initialized": (bool, "False: there is no CUDA."),
    "is_bf16_supported": (bool, "False: there is no CUDA."),
    "is_tf32_supported": (bool, "False: there is no CUDA."),
    "is_current_stream_capturing": (bool, "False: there is no CUDA."),
    "device_count": (int, "0: there is no CUDA."),
    "memory_allocated": (int, "0: there is no CUDA."),
    "max_memory_allocated": (int, "0: there is no CUDA."),
    "memory_reserved": (int, "0: there is no CUDA."),
    "max_memory_reserved": (int, "0: there is no CUDA."),
    "memory_cached": (int, "0: there is no CUDA."),
    "max_memory_cached": (int, "0: there is no CUDA."),
    "memory_stats": (OrderedDict, "Empty: there is no CUDA."),
    "get_arch_list": (list, "Empty: there is no CUDA."),
    "get_rng_state_all": (list, "Empty: there is no CUDA."),
    "empty_cache": (lambda: None, "Nothing to do: there is no CUDA."),
    "manual_seed": (lambda: None, "Nothing to seed: there is no CUDA; `rtorch.manual_seed` seeds every device."),
    "manual_seed_all": (lambda: None, "Nothing to seed: there is no CUDA; `rtorch.manual_seed` seeds every device."),
    "seed": (lambda: None, "Nothing to seed: there is no CUDA."),
    "seed_all": (lambda: None, "Nothing to seed: there is no CUDA."),
    "set_rng_state_all": (lambda: None, "Nothing to set: there is no CUDA."),
}
for _name in _NEEDS_CUDA:
    globals()[_name] = _refusing(_name, _name)
for _name, (_answer, _says) in _ANSWERS.items():
    globals()[_name] = _answering(_name, _answer, _says)
del _name, _answer, _says


class CudaError(RuntimeError):
    """An error of the CUDA runtime, which rtorch does not have."""


class AcceleratorError(RuntimeError):
    """An error of the CUDA runtime, which rtorch does not have."""


class _Needed:
    """Base of classes that only exist with CUDA: `isinstance` may ask for them, making one raises."""

    def __init__(self, *args, **kwargs):
        refuse(f"torch.cuda.{type(self).__name__}")


class Stream(_Needed):
    """A CUDA stream; making one raises."""


class Event(_Needed):
    """A CUDA event; making one raises."""


class ExternalStream(Stream):
    """A CUDA stream; making one raises."""


class CUDAGraph(_Needed):
    """A CUDA graph; making one raises."""


class graph(_Needed):
    """Capture of a CUDA graph; making one raises."""


class StreamContext:
    """`with torch.cuda.stream(None)`: nothing; a stream raises."""

    def __init__(self, stream):
        if stream is not None:
            refuse("torch.cuda.stream()")

    def __enter__(self):
        return None

    def __exit__(self, *exception):
        return None


def stream(stream):
    """A context in which `stream` is current; only None is possible."""
    return StreamContext(stream)


class device:
    """`with torch.cuda.device(i)`: nothing for None or a negative index, raises for a real one."""

    def __init__(self, device):
        self.index = -1 if device is None else device if isinstance(device, int) else getattr(device, "index", 0) or 0

    def __enter__(self):
        if self.index >= 0:
            refuse(f"torch.cuda.device({self.index})")

    def __exit__(self, *exception):
        return False


class device_of(device):
    """`with torch.cuda.device_of(tensor)`: nothing, as no tensor is on a CUDA device."""

    def __init__(self, obj):
        super().__init__(None)


class _CudaTensor(type):
    def __call__(cls, *args, **kwargs):
        refuse(f"torch.cuda.{cls.__name__}")

    def __instancecheck__(cls, obj):
        return False


for _name in "Float Double Half BFloat16 Byte Char Short Int Long Bool".split():
    globals()[f"{_name}Tensor"] = _CudaTensor(f"{_name}Tensor", (), {"__module__": "rtorch.cuda"})
del _name


def __getattr__(name):
    if name in ("amp", "nvtx", "memory", "random"):
        import importlib

        return importlib.import_module(f"rtorch.cuda.{name}")
    raise AttributeError(f"module 'rtorch.cuda' has no attribute {name!r}")
