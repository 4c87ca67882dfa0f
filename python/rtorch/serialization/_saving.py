"""Writing checkpoints: the pickler that gives tensors PyTorch's form and names, the records around it, atomic files.

The archive's bytes are `_archive.py`'s, the older format is in `_legacy.py`.
"""

import io
import os
import pickle
import secrets
import stat
import sys
import warnings
from collections import OrderedDict

import rtorch
from rtorch import _rebuild
from rtorch.serialization import _archive, _globals, _locations, _options
from rtorch.storage import OF_DTYPE, TypedStorage, UntypedStorage, bytes_of
from rtorch.utils.serialization import config


def _hooks():
    return OrderedDict()


def _sparse(tensor):
    data = (tensor._indices(), tensor._values(), tensor.size(), tensor.is_coalesced())
    return (_rebuild._rebuild_sparse_tensor, (tensor.layout, data))


def _plain(tensor):
    """The function and arguments behind a tensor without attributes."""
    geometry = (tensor.storage_offset(), tuple(tensor.size()), tensor.stride(), tensor.requires_grad)
    if tensor.device.type == "meta":
        return (_rebuild._rebuild_meta_tensor_no_storage, (tensor.dtype, *geometry[1:]))
    untyped = tensor.untyped_storage()
    if tensor.dtype in OF_DTYPE:
        storage = TypedStorage(wrap_storage=untyped, dtype=tensor.dtype)
        return (_rebuild._rebuild_tensor_v2, (storage, *geometry, _hooks()))
    return (_rebuild._rebuild_tensor_v3, (untyped, *geometry, _hooks(), tensor.dtype))


def _reduce_tensor(tensor):
    if tensor.is_sparse:
        return _sparse(tensor)
    cls, state = type(tensor), dict(tensor.__dict__)
    if isinstance(tensor, rtorch.nn.UninitializedParameter | rtorch.nn.UninitializedBuffer):
        return NotImplemented
    if issubclass(cls, rtorch.nn.Parameter):
        args = (tensor.data, tensor.requires_grad, _hooks())
        inner = (_rebuild._rebuild_parameter, args)
        if cls is rtorch.nn.Parameter:
            return (_rebuild._rebuild_parameter_with_state, (*args, state)) if state else inner
    else:
        inner = _plain(tensor.detach().requires_grad_(tensor.requires_grad) if cls is not rtorch.Tensor else tensor)
    if cls is rtorch.Tensor and not state:
        return inner
    return (rtorch._tensor._rebuild_from_type_v2, (inner[0], cls, inner[1], state))


def _own_reduce(cls):
    """Does a subclass of Tensor bring a `__reduce_ex__` of its own?"""
    return cls.__reduce_ex__ not in (rtorch.Tensor.__reduce_ex__, rtorch.nn.Parameter.__reduce_ex__)


_REDUCERS = {
    rtorch.dtype: lambda d: str(d).rpartition(".")[2],
    rtorch.memory_format: lambda f: str(f).rpartition(".")[2],
    rtorch.layout: lambda layout: (_globals._get_layout, (str(layout),)),
    rtorch.Size: lambda size: (rtorch.Size, (tuple(size),)),
    rtorch.device: lambda d: (rtorch.device, (d.type,) if d.index is None else (d.type, d.index)),
}

# Functions that are written under another name than theirs.
_WRITTEN = {
    _globals._get_layout: ("torch.serialization", "_get_layout"),
    rtorch.device: ("torch", "device"),
    rtorch.Size: ("torch", "Size"),
    rtorch.Tensor: ("torch", "Tensor"),
    UntypedStorage: ("torch.storage", "UntypedStorage"),
    TypedStorage: ("torch.storage", "TypedStorage"),
}


_STORAGES = (TypedStorage, UntypedStorage)
# What needs no look: most of a pickle.
_PLAIN = frozenset({str, int, float, bool, type(None), tuple, list, dict, OrderedDict, bytes})


class Storages:
    """The storages that a pickle mentions, numbered in order; `tell` describes one as a persistent id."""

    def __init__(self):
        self.keys, self.found, self.dtypes = {}, {}, {}

    def tell(self, obj):
        """("storage", class, key, location, number of elements)."""
        untyped = obj.untyped()
        dtype = obj.dtype if isinstance(obj, TypedStorage) else rtorch.uint8
        kind = OF_DTYPE[dtype] if isinstance(obj, TypedStorage) else UntypedStorage
        if untyped.nbytes() and self.dtypes.setdefault(untyped._cdata, dtype) != dtype:
            raise RuntimeError("Cannot save multiple tensors or storages that view the same data as different types")
        key = self.keys.setdefault(untyped._cdata, str(len(self.keys)))
        self.found[key] = (untyped, dtype)
        return ("storage", kind, key, _locations.location_tag(untyped), untyped.nbytes() // dtype.itemsize)


class Pickler(pickle._Pickler):
    """Python's own pickler, with PyTorch's names for what is rtorch's; storages go to `storages`.

    The C pickler cannot be told to write a name that is not importable, and `torch` need not be.
    """

    def __init__(self, file, protocol, storages):
        super().__init__(file, protocol)
        self.storages = storages

    def persistent_id(self, obj):
        """Storages are written beside the pickle."""
        return self.storages.tell(obj) if type(obj) in _STORAGES else None

    def reducer_override(self, obj):
        """What rtorch's objects are made of, under the names that PyTorch calls."""
        kind = type(obj)
        if kind in _PLAIN:
            return NotImplemented
        reducer = _REDUCERS.get(kind)
        if reducer is not None:
            return reducer(obj)
        if isinstance(obj, rtorch.Tensor) and not _own_reduce(type(obj)):
            return _reduce_tensor(obj)
        if isinstance(obj, type) or type(obj) is type(_hooks):
            return obj.__qualname__
        return NotImplemented

    def save_global(self, obj, name=None):
        """Writes `torch.x` for what is `rtorch.x`."""
        if isinstance(obj, (rtorch.dtype, rtorch.memory_format)):
            module, name = "torch", str(obj).rpartition(".")[2]
        elif isinstance(obj, type | type(_hooks)) and obj in _WRITTEN:
            module, name = _WRITTEN[obj]
        elif (getattr(obj, "__module__", None) or "").partition(".")[0] == "rtorch":
            module, name = _globals.torch_path(_globals.public_module(obj)), name or obj.__qualname__
        else:
            super().save_global(obj, name)
            return
        if self.proto >= 4:
            self.save(module)
            self.save(name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        self.memoize(obj)


def pickler(pickle_module, file, protocol, storages):
    """A pickler of `pickle_module`; one that is not Python's writes rtorch's names."""
    if pickle_module is None or pickle_module is pickle:
        return Pickler(file, protocol, storages)

    class Other(pickle_module.Pickler):
        def persistent_id(self, obj):
            return storages.tell(obj) if type(obj) in _STORAGES else None

    return Other(file, protocol=protocol)


def raw(storage):
    """The bytes of a storage as a memoryview, without a copy where they are on the CPU."""
    return memoryview(bytes_of(storage.cpu()).numpy())


def save_archive(obj, file, folder, pickle_module, protocol, disable_byteorder_record):
    """Writes the zip format."""
    storages, data = Storages(), io.BytesIO()
    pickler(pickle_module, data, protocol, storages).dump(obj)
    writer = _archive.Writer(file, folder, config.save.storage_alignment, config.save.compute_crc32)
    writer.record("data.pkl", data.getvalue())
    writer.record(".format_version", b"1")
    writer.record(".storage_alignment", str(config.save.storage_alignment).encode())
    if not disable_byteorder_record:
        writer.record("byteorder", sys.byteorder.encode())
    for key, (storage, _) in storages.found.items():
        writer.record(f"data/{key}", bytes(storage.nbytes()) if _options.skip_data.active else raw(storage))
    writer.record("version", b"3\n")
    writer.finish()


class atomic_file:
    """A file beside `path` that takes its place when the block ends well; otherwise `path` stays as it was.

    What is not a regular file (a pipe, a device) is opened and written as it is.
    """

    def __init__(self, path):
        self.path = os.path.realpath(path)

    def __enter__(self):
        folder, name = os.path.split(self.path)
        if not os.path.isdir(folder):
            raise RuntimeError(f"Parent directory {folder} does not exist.")
        self.mode, self.beside = None, None
        if os.path.lexists(self.path):
            self.mode = os.stat(self.path).st_mode
            if not stat.S_ISREG(self.mode):
                self.file = open(self.path, "wb")
                return self.file
            if not os.access(self.path, os.W_OK):
                raise PermissionError(13, "Permission denied", self.path)
        if isinstance(name, bytes):
            name = os.fsdecode(name)
            folder = os.fsdecode(folder)
        self.beside = os.path.join(folder, f".{name[:200]}.{secrets.token_hex(6)}.tmp")
        self.file = open(self.beside, "xb")
        return self.file

    def __exit__(self, kind, *_):
        try:
            if kind is None and self.beside is not None:
                if self.mode is not None:
                    os.chmod(self.beside, stat.S_IMODE(self.mode))
                self.file.flush()
                os.fsync(self.file.fileno())
            self.file.close()
            if kind is None and self.beside is not None:
                os.replace(self.beside, self.path)
                self.beside = None
                _sync_folder(os.path.dirname(self.path))
        finally:
            self.file.close()
            if self.beside is not None:
                os.unlink(self.beside)


def _sync_folder(folder):
    """Makes the new name durable, where folders can be opened."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError as e:
        warnings.warn(f"the folder of the checkpoint could not be synchronised: {e}")
    finally:
        os.close(handle)
