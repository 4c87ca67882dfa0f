"""`install_as_torch`: every `import torch...` of this process, and of those that it spawns, finds rtorch.

The command is `python -m rtorch script.py` (`__main__.py`).
"""

import importlib
import importlib.machinery
import importlib.util
import os
import sys

import rtorch

SHIM = os.path.join(os.path.dirname(__file__), "_as_torch")


class _Finder:
    """Finds `torch.x` as `rtorch.x`: the same module object under both names."""

    def __init__(self):
        self.specs = {}

    def find_spec(self, fullname, path=None, target=None):
        """The spec of an alias, or None for what rtorch does not have."""
        if not fullname.startswith("torch."):
            return None
        try:
            found = importlib.util.find_spec("r" + fullname)
        except ModuleNotFoundError:
            return None
        if found is None:
            return None
        is_package = found.submodule_search_locations is not None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=is_package)

    def create_module(self, spec):
        """rtorch's own module."""
        module = importlib.import_module("r" + spec.name)
        self.specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module):
        """Nothing to run; the module stays what it was."""
        alias = module.__spec__.name
        module.__spec__ = self.specs.pop(alias, module.__spec__)

    def find_distributions(self, context=None):
        """What `importlib.metadata.version("torch")` finds."""
        from importlib import metadata

        class Named(metadata.Distribution):
            def read_text(self, filename):
                if filename != "METADATA":
                    return None
                return f"Metadata-Version: 2.1\nName: torch\nVersion: {rtorch.version.__version__}\n"

            def locate_file(self, path):
                return os.path.join(os.path.dirname(__file__), path)

        if context is None or context.name in (None, "torch"):
            yield Named()


def install_as_torch():
    """Makes `import torch`, `import torch.nn as nn` and so on mean rtorch from now on, in this process and in those
    that it spawns. `torch.__version__` is then the release whose behaviour rtorch follows, with `+rtorch`.

    Raises RuntimeError if PyTorch has been imported already. A second call does nothing.

    >>> import rtorch
    >>> rtorch.install_as_torch()
    >>> import torch.nn
    >>> torch.nn is rtorch.nn
    True
    """
    have = sys.modules.get("torch")
    if have is rtorch:
        return
    if have is not None and os.path.dirname(getattr(have, "__file__", "") or "") != SHIM:
        raise RuntimeError(
            "rtorch.install_as_torch(): PyTorch has been imported already; call it before the first `import torch`"
        )
    sys.modules["torch"] = rtorch
    sys.meta_path.insert(0, _Finder())
    if SHIM not in sys.path:
        sys.path.insert(0, SHIM)
    rtorch.torch = rtorch
    rtorch.__version__ = rtorch.torch_version.TorchVersion(rtorch.version.__version__)
