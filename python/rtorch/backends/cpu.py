"""`torch.backends.cpu`: which instructions of the CPU the kernels use."""

from rtorch import _C


def get_cpu_capability():
    """The CPU's instruction set as the kernels use it, in PyTorch's words: "AVX512", "AVX2" or "DEFAULT"."""
    return {"avx512": "AVX512", "avx2": "AVX2", "baseline": "DEFAULT"}[_C._cpu_capability()]
