"""`torch.version`: of which PyTorch the names and answers are, and what rtorch was not built with."""

from rtorch._C import __version__ as rtorch_version

# The release whose behaviour is recorded in the tests; `install_as_torch` answers with it.
COMPATIBLE = "2.13.0"
__version__ = f"{COMPATIBLE}+rtorch"
cuda = None
hip = None
xpu = None
rocm = None
debug = False
git_version = f"rtorch {rtorch_version}"
