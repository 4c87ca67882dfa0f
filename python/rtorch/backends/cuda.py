"""`torch.backends.cuda`: not part of rtorch. Attention has one kernel: the switches between kernels change nothing."""

from contextlib import contextmanager
from types import SimpleNamespace

from rtorch.backends._switch import absent

is_built = absent
matmul = SimpleNamespace(
    allow_tf32=False,
    allow_fp16_reduced_precision_reduction=True,
    allow_bf16_reduced_precision_reduction=True,
    allow_fp16_accumulation=False,
    fp32_precision="none",
)
cufft_plan_cache = SimpleNamespace(size=0, max_size=0)
_kernels = {"flash": True, "mem_efficient": True, "math": True, "cudnn": True}


def _switch(kernel):
    def enabled():
        return _kernels[kernel]

    def enable(enabled):
        _kernels[kernel] = bool(enabled)

    enabled.__doc__ = f"What was set with `enable_{kernel}_sdp`."
    enable.__doc__ = "Kept; attention has one kernel in rtorch."
    return enabled, enable


flash_sdp_enabled, enable_flash_sdp = _switch("flash")
mem_efficient_sdp_enabled, enable_mem_efficient_sdp = _switch("mem_efficient")
math_sdp_enabled, enable_math_sdp = _switch("math")
cudnn_sdp_enabled, enable_cudnn_sdp = _switch("cudnn")


@contextmanager
def sdp_kernel(enable_flash=True, enable_math=True, enable_mem_efficient=True, enable_cudnn=True):
    """Sets the switches of the attention kernels for a `with` block."""
    before = dict(_kernels)
    _kernels.update(flash=enable_flash, math=enable_math, mem_efficient=enable_mem_efficient, cudnn=enable_cudnn)
    try:
        yield
    finally:
        _kernels.update(before)


def is_flash_attention_available():
    """False: the kernel is rtorch's own."""
    return False


def preferred_linalg_library(backend=None):
    """The name that PyTorch gives its default; there is one library."""
    return "default"
