"""Reading the zip format: the storages behind a pickle, their checks, and the unrestricted unpickler.

The restricted one is in `_unpickler.py`, the older format in `_legacy.py`, the archive in `_archive.py`.
"""

import io
import mmap as mapping
import os
import pickle
import sys

import rtorch
from rtorch.serialization import _globals, _locations, _options
from rtorch.storage import TypedStorage, UntypedStorage, bytes_of


def typed(storage, dtype):
    """A typed storage."""
    return TypedStorage(wrap_storage=storage, dtype=dtype)


def new_storage(nbytes):
    """Memory of `nbytes` bytes on the CPU."""
    return rtorch.empty(nbytes, dtype=rtorch.uint8).untyped_storage()


def writable(storage):
    """The bytes of a storage on the CPU as a memoryview."""
    return memoryview(bytes_of(storage).numpy())


def dtype_of(storage_type):
    """The dtype of a storage class as a checkpoint names it."""
    if storage_type is UntypedStorage:
        return rtorch.uint8
    if isinstance(storage_type, _globals.StorageType):
        return storage_type.dtype
    raise AttributeError(f"{storage_type!r} in a checkpoint is not a storage class")


def text(value):
    """A str that Python 2 may have written as bytes."""
    if type(value) is bytes:
        value = value.decode("ascii")
    if type(value) is not str:
        raise TypeError(f"a storage in a checkpoint is described by str, not {type(value)}")
    return value


def byte_count(numel, dtype):
    """The size of a storage; raises for what is no number of elements."""
    if type(numel) is not int:
        raise TypeError(f"a storage in a checkpoint has {numel!r} elements")
    if not 0 <= numel * dtype.itemsize < 1 << 62:
        raise RuntimeError(f"a storage in a checkpoint has {numel} elements")
    return numel * dtype.itemsize


class Storages:
    """The storages of an archive, read when the pickle first mentions them."""

    def __init__(self, archive, map_location, whole):
        self.archive, self.restore = archive, _locations.restorer(map_location)
        self.whole, self.loaded, self.swap = whole, {}, self._other_byte_order()

    def _other_byte_order(self):
        if "byteorder" in self.archive:
            order = self.archive.read("byteorder")
            if order not in (b"little", b"big"):
                raise ValueError("Unknown endianness type: " + order.decode("ascii", "replace"))
            return order != sys.byteorder.encode()
        default = _options.get_default_load_endianness() or _options.LoadEndianness.LITTLE
        return default.name.lower() not in ("native", sys.byteorder)

    def __call__(self, pid):
        """The storage of a persistent id."""
        if type(pid) is not tuple or len(pid) != 5 or text(pid[0]) != "storage":
            raise pickle.UnpicklingError("Unknown typename for persistent_load, expected a 'storage' of 5 values")
        dtype, key, location = dtype_of(pid[1]), text(pid[2]), text(pid[3])
        nbytes = byte_count(pid[4], dtype)
        if key not in self.loaded:
            self.loaded[key] = self.restore(self._load(f"data/{key}", nbytes, dtype), location)
        storage = self.loaded[key]
        if storage.nbytes() != nbytes and not isinstance(storage, TypedStorage):
            raise RuntimeError(f"a storage of {storage.nbytes()} bytes is mentioned again with {nbytes} bytes")
        return typed(storage.untyped(), dtype)

    def _load(self, name, nbytes, dtype):
        size = self.archive.size(name)
        if size != nbytes:
            raise RuntimeError(f"record size ({size} bytes) does not match expected size ({nbytes} bytes) of {name}")
        if _options.skip_data.active:
            return rtorch.zeros(nbytes, dtype=rtorch.uint8).untyped_storage()
        if self.whole is not None:
            record, start = self.archive.place(name)
            if record.method == 0 and start % 16 == 0 and nbytes and not self.swap:
                part = rtorch.frombuffer(self.whole, dtype=rtorch.uint8, count=nbytes, offset=start)
                return part.untyped_storage()
        storage = new_storage(nbytes)
        if nbytes:
            self.archive.read_into(name, writable(storage))
        if self.swap:
            storage.byteswap(dtype)
        return storage


def map_file(path):
    """The whole file, mapped as `set_default_mmap_options` says."""
    shared = _options.get_default_mmap_options() == mapping.MAP_SHARED
    with open(path, "r+b" if shared else "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise EOFError("the checkpoint is empty")
        return mapping.mmap(file.fileno(), 0, access=mapping.ACCESS_WRITE if shared else mapping.ACCESS_COPY)


def check_version(archive):
    """The archive's own version number."""
    name = ".data/version" if ".data/version" in archive else "version"
    if name not in archive:
        raise RuntimeError('Expected hasRecord("version") to be true, but got false.')
    number = archive.read(name).decode("ascii", "replace").strip()
    if not number.isascii() or not number.isdigit() or len(number) > 9:
        raise RuntimeError(f"Couldn't parse the version {number:.40} as Long Long.")
    if not 1 <= int(number) <= 10:
        raise RuntimeError(f"Attempted to read a PyTorch file with version {number}, but 1 to 10 are supported.")
    if ".storage_alignment" in archive:
        int(archive.read(".storage_alignment"))


def trusting(pickle_module, file, persistent_load, **load_args):
    """An unpickler of `pickle_module` that finds `torch.*` in rtorch and runs whatever the pickle says."""

    class Unpickler(pickle_module.Unpickler):
        def find_class(self, module, name):
            if module in ("torch", "torch.storage") and name in rtorch.storage.OLD_CLASSES:
                return _globals.StorageType(name)
            fixed = _globals.fixed().get(_globals.full_path(module, name)) if module.startswith("torch") else None
            if fixed is not None:
                return fixed
            if module == "torch" or module.startswith("torch."):
                return _globals.find_rtorch(module, name)
            return super().find_class(module, name)

    made = Unpickler(file, **load_args)
    if persistent_load is not None:
        made.persistent_load = persistent_load
    return made


def load_archive(archive, map_location, whole, unpickler, **load_args):
    """The object in an archive; `unpickler` makes the unpickler of a file."""
    check_version(archive)
    storages = Storages(archive, map_location, whole)
    data = io.BytesIO(archive.read("data.pkl"))
    return unpickler(data, persistent_load=storages, **load_args).load()
