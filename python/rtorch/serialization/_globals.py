"""Which names a checkpoint may use: the fixed list of `weights_only=True`, what users add to it, and how names of
`torch` and of `rtorch` correspond. What the names do is in `_calls.py` and `rtorch/_rebuild.py`.
"""

import collections
import importlib
import sys

import rtorch
from rtorch import _C, _rebuild, storage

# Modules from which nothing is called, whatever users allow: PyTorch's list.
BLOCKED = frozenset(["sys", "os", "posix", "nt"])

# Python 2's names, which pickles up to protocol 2 use.
_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}

_added = set()


class StorageType:
    """A storage class as a checkpoint names it: a name and a dtype, nothing to call."""

    def __init__(self, name):
        if name not in storage.OLD_CLASSES:
            raise KeyError(name)
        self.name, self.dtype = name, storage.OLD_CLASSES[name].dtype
        self._dtype = self.dtype

    def __str__(self):
        return f"StorageType(dtype={self.dtype})"


def _get_layout(name):
    """The layout with this name: what pickled layouts call."""
    made = getattr(rtorch, str(name).removeprefix("torch."), None)
    if not isinstance(made, rtorch.layout):
        raise RuntimeError(f"rtorch has no layout {name!r}")
    return made


REBUILD = (
    "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter _rebuild_parameter_with_state "
    "_rebuild_sparse_tensor _rebuild_meta_tensor_no_storage"
).split()


def _fixed():
    found = {
        "collections.OrderedDict": collections.OrderedDict,
        "collections.Counter": collections.Counter,
        "_codecs.encode": _codecs_encode,
        "builtins.bytearray": bytearray,
        "builtins.set": set,
        "builtins.complex": complex,
        "torch.Size": rtorch.Size,
        "torch.Tensor": rtorch.Tensor,
        "torch.device": rtorch.device,
        "torch.nn.parameter.Parameter": rtorch.nn.Parameter,
        "torch.serialization._get_layout": _get_layout,
        "torch._tensor._rebuild_from_type_v2": rtorch._tensor._rebuild_from_type_v2,
        "torch.storage.UntypedStorage": storage.UntypedStorage,
        "torch.storage.TypedStorage": storage.TypedStorage,
    }
    found.update((f"torch.{name}", getattr(_C, name)) for name in _C._dtype_names)
    found.update((f"torch.{name}", StorageType(name)) for name in storage.OLD_CLASSES)
    found.update((f"torch._utils.{name}", getattr(_rebuild, name)) for name in REBUILD)
    return found


def _codecs_encode(text, encoding):
    """Bytes, which old pickles write as latin-1 text."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise ValueError("only latin1 text is decoded to bytes in a checkpoint")
    return text.encode("latin-1")


_fixed_table = None


def fixed():
    """The allow-list: name in the checkpoint -> object."""
    global _fixed_table
    if _fixed_table is None:
        _fixed_table = _fixed()
    return _fixed_table


def user_allowed():
    """What users added: name in the checkpoint -> object."""
    found = {}
    for entry in _added:
        if isinstance(entry, tuple):
            if len(entry) != 2:
                raise ValueError(
                    "Expected tuple of length 2 (global, str of callable full path), but got tuple of length: "
                    f"{len(entry)}"
                )
            if type(entry[1]) is not str:
                raise TypeError(
                    f"Expected second item in tuple to be str of callable full path, but got: {type(entry[1])}"
                )
            found[torch_path(entry[1])] = entry[0]
        else:
            found[torch_path(f"{entry.__module__}.{entry.__qualname__}")] = entry
    return found


def add(entries):
    """Allows more globals."""
    global _added
    _added = _added | set(entries)


def remove(entries):
    """Takes globals off the user's list."""
    global _added
    _added = _added - set(entries)


def added():
    """What the user allowed."""
    return list(_added)


def torch_path(path):
    """`rtorch.nn.Linear` as PyTorch calls it."""
    if path.startswith("rtorch._rebuild"):
        return "torch._utils" + path[len("rtorch._rebuild") :]
    return "torch" + path[len("rtorch") :] if path == "rtorch" or path.startswith("rtorch.") else path


def full_path(module, name):
    """The one name under which a pickled global is looked up."""
    return torch_path(f"{_PYTHON_2.get(module, module)}.{name}")


def public_module(obj):
    """The module of rtorch that is to be written for a class or function: PyTorch has no private modules of ours."""
    home = obj.__module__
    if not any(part.startswith("_") for part in home.split(".")[1:]) or obj.__name__.startswith("_"):
        return home
    for name, module in sorted(sys.modules.items()):
        parts = name.split(".")
        if parts[0] == "rtorch" and not any(p.startswith("_") for p in parts[1:]):
            if getattr(module, obj.__name__, None) is obj:
                return name
    return home


def find_rtorch(module, name):
    """What `module.name` of PyTorch is here: the same path, or the same name in a public package above it."""
    parts = module.split(".")
    tried = ["rtorch" + module[len(parts[0]) :]]
    tried += [".".join(["rtorch", *parts[1:n]]) for n in range(len(parts) - 1, 0, -1)] + ["rtorch.nn", "rtorch.optim"]
    for path in tried:
        found = _attribute(path, name)
        if found is not None:
            return found
    raise AttributeError(f"Can't get attribute {name!r} of {module!r}: rtorch has none")


def _attribute(path, name):
    try:
        found = importlib.import_module(path)
    except ImportError:
        return None
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
