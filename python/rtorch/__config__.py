"""`torch.__config__`: what rtorch was built from, as text."""

import platform

__all__ = ["parallel_info", "show"]


def show():
    """Versions and the CPU's instructions that the kernels use."""
    import rtorch

    return (
        f"rtorch built with:\n  - rtorch {rtorch.__version__}, the names of PyTorch {rtorch.version.COMPATIBLE}\n"
        f"  - Python {platform.python_version()}\n"
        f"  - CPU capability usage: {rtorch.backends.cpu.get_cpu_capability()}\n"
    )


def parallel_info():
    """How many threads the kernels use."""
    import rtorch

    return f"rtorch parallel info:\n\trtorch.get_num_threads() : {rtorch.get_num_threads()}\n"
