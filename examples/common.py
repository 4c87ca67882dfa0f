"""What the examples share: the choice of a device, the digits, the standard library's text, pictures."""

import pathlib
import sys
import sysconfig

import numpy as np

import rtorch as torch


def choose_device(wanted):
    """The device to run on; `auto` takes a GPU only where it is hardware. Also a name to print."""
    if wanted != "cpu":
        if torch.wgpu.is_available():
            name = torch.wgpu.get_device_name(0)
            if wanted == "wgpu" or "llvmpipe" not in name.lower():
                return torch.device("wgpu"), f"wgpu ({name})"
        elif wanted == "wgpu":
            sys.exit(
                "no GPU adapter was found. On Linux install a Vulkan driver (Debian, Ubuntu: apt-get install "
                "mesa-vulkan-drivers libvulkan1); RTORCH_ALLOW_SOFTWARE=1 allows Mesa's software adapter."
            )
    return torch.device("cpu"), f"cpu ({torch.get_num_threads()} threads)"


def digits():
    """scikit-learn's 1,797 scans of handwritten digits (UCI, E. Alpaydin and C. Kaynak, 1998): images as float32 of
    shape (n, 1, 8, 8) in [0, 1], labels as int64."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = (data.images / 16.0).astype(np.float32)[:, None]
    return images, data.target.astype(np.int64)


def library_text(letters=None):
    """The standard library's modules in alphabetical order (the first so many letters), ASCII only: a few megabytes
    that every Python has."""
    folder = pathlib.Path(sysconfig.get_paths()["stdlib"])
    text = "\n".join(path.read_text("utf-8", "ignore") for path in sorted(folder.glob("*.py")))
    return "".join(c for c in text[:letters] if c == "\n" or " " <= c <= "~")


def pyplot():
    """matplotlib.pyplot, drawing to files."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt
