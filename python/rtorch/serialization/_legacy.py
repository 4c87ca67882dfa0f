"""The formats before the zip: pickles one after another with the storages behind them, and the tar file before that.

Neither is written by PyTorch since 1.6 unless asked for; `save` writes the first one when asked, too. The tar format
is read with `weights_only=False` only, as PyTorch does.
"""

import io
import pickle
import struct
import sys

from rtorch import _rebuild
from rtorch.serialization import _archive, _locations, _options, _reading, _saving
from rtorch.serialization._unpickler import UNSAFE
from rtorch.storage import OLD_CLASSES, UntypedStorage, bytes_of, swap_bytes

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
ByteStorage = OLD_CLASSES["ByteStorage"]
_TYPE_SIZES = {"short": 2, "int": 4, "long": 4}


class Bounded:
    """A file for unpicklers that never reads more than there is, and so never allocates more."""

    def __init__(self, file):
        self.file, self.at = file, file.tell()
        self.size = file.seek(0, io.SEEK_END)
        file.seek(self.at)

    def left(self):
        """Bytes until the end."""
        return max(0, self.size - self.file.tell())

    def read(self, n=-1):
        """At most `n` bytes."""
        left = self.left() if n < 0 or n > 4096 else n
        return self.file.read(left if n < 0 else min(n, left))

    def readline(self, limit=-1):
        """A line."""
        return self.file.readline(limit)

    def readinto(self, memory):
        """Fills memory."""
        data = self.read(len(memory))
        memory[: len(data)] = data
        return len(data)


def part(root, dtype, offset, numel):
    """A typed storage that begins within another: tensors over it are tensors over the whole with a larger offset."""
    start, nbytes = _reading.byte_count(offset, dtype), _reading.byte_count(numel, dtype)
    if start + nbytes > root.nbytes():
        raise RuntimeError(f"a view of {nbytes} bytes at {start} reaches outside of a storage of {root.nbytes()} bytes")
    made = _reading.typed(root, dtype)
    made._start = offset
    return made


class Storages:
    """Storages of the older format: mentioned in the pickle, their bytes behind it.

    Memory is taken for a storage only while the file has as many bytes left as all storages mentioned so far need.
    """

    def __init__(self, file, map_location):
        self.file, self.restore = file, _locations.restorer(map_location)
        self.roots, self.views, self.wanted = {}, {}, 0

    def __call__(self, pid):
        """The storage, or the class of a container, of a persistent id."""
        if type(pid) is not tuple or not pid:
            raise AssertionError(f"saved_id must be a tuple, got {type(pid).__name__}")
        kind = _reading.text(pid[0])
        if kind == "module" and len(pid) == 4:
            return pid[1]
        if kind != "storage":
            raise RuntimeError(f"Unknown saved id type: {kind}")
        if len(pid) != 6:
            raise pickle.UnpicklingError(f"a storage is described by 6 values, not {len(pid)}")
        dtype, key, location = _reading.dtype_of(pid[1]), pid[2], _reading.text(pid[3])
        self._check_key(key)
        nbytes = _reading.byte_count(pid[4], dtype)
        if key not in self.roots:
            self._take(key, nbytes, dtype, location)
        root = self.roots[key][1]
        if pid[5] is None:
            return _reading.typed(root, dtype)
        return self._view(root, dtype, pid[5])

    @staticmethod
    def _check_key(key):
        if type(key) not in (str, bytes, int):
            raise TypeError(f"a storage in a checkpoint has the key {key!r:.40}")

    def _take(self, key, nbytes, dtype, location):
        self.wanted += nbytes + 8
        if not _options.skip_data.active and self.wanted > self.file.left():
            raise RuntimeError(f"a storage of {nbytes} bytes is larger than what is left of the file")
        filled = _reading.new_storage(nbytes)
        self.roots[key] = [filled, self.restore(filled, location), dtype]

    def _view(self, root, dtype, metadata):
        if type(metadata) is not tuple or len(metadata) != 3:
            raise TypeError("a view of a storage is described by three values")
        key, offset, size = metadata
        self._check_key(key)
        if key not in self.views:
            self.views[key] = part(root, dtype, offset, size)
        return self.views[key]

    def read(self, keys):
        """Fills the storages from the file, in the order of `keys`."""
        if type(keys) is not list:
            raise TypeError(f"the storages of a checkpoint are listed in a list, not a {type(keys).__name__}")
        for key in keys:
            self._check_key(key)
        if len(keys) != len(self.roots) or len(set(keys)) != len(keys):
            raise AssertionError("the list of storages of the checkpoint does not fit what its tensors mention")
        for key in keys:
            if key not in self.roots:
                raise AssertionError(f"storage key {key!r} not found in deserialized_objects")
            filled, moved, dtype = self.roots[key]
            self._fill(filled, dtype)
            if moved is not filled and moved._cdata != filled._cdata:
                moved.untyped().copy_(filled.to(moved.device))

    def _fill(self, storage, dtype):
        (numel,) = struct.unpack("<q", self.file.read(8).ljust(8, b"\xff"))
        if numel * dtype.itemsize != storage.nbytes():
            raise RuntimeError(
                f"storage has wrong byte size: expected {storage.nbytes()} got {numel * dtype.itemsize}"
            )
        if numel:
            memory = _reading.writable(storage)
            _archive.fill(self.file.file, memory)
            if sys.byteorder == "big":
                swap_bytes(bytes_of(storage).numpy(), dtype.itemsize // (2 if dtype.is_complex else 1))


def load(f, map_location, unpickler, **load_args):
    """The object in a file of the older format."""
    file = Bounded(f)
    start = f.tell()
    if start == 0 and _is_tar(f):
        if not load_args.pop("trusted", False):
            raise RuntimeError(f"Cannot use ``weights_only=True`` with files saved in the legacy .tar format. {UNSAFE}")
        return _load_tar(f, map_location, unpickler, **load_args)
    load_args.pop("trusted", None)
    f.seek(start)
    storages = Storages(file, map_location)

    def next_pickle():
        return unpickler(file, persistent_load=None, **load_args).load()

    if next_pickle() != MAGIC:
        raise RuntimeError("Invalid magic number; corrupt file?")
    version = next_pickle()
    if version != PROTOCOL:
        raise RuntimeError(f"Invalid protocol version: {version}")
    next_pickle()  # what the writing machine was like
    result = unpickler(file, persistent_load=storages, **load_args).load()
    keys = next_pickle()
    if not _options.skip_data.active:
        storages.read(keys)
    return result


def save(obj, f, pickle_module, protocol):
    """Writes the older format."""
    module = pickle if pickle_module is None else pickle_module
    storages = _saving.Storages()
    described = storages.tell

    def tell(storage):
        found = described(storage)
        kind = ByteStorage if found[1] is UntypedStorage else found[1]  # the format is older than untyped storages
        return ("storage", kind, *found[2:], None)

    storages.tell = tell
    about = {"protocol_version": PROTOCOL, "little_endian": sys.byteorder == "little", "type_sizes": _TYPE_SIZES}
    for value in (MAGIC, PROTOCOL, about):
        module.dump(value, f, protocol=protocol)
    _saving.pickler(pickle_module, f, protocol, storages).dump(obj)
    keys = sorted(storages.found)
    module.dump(keys, f, protocol=protocol)
    for key in keys:
        storage, dtype = storages.found[key]
        f.write(struct.pack("<q", storage.nbytes() // dtype.itemsize))
        f.write(_saving.raw(storage))


def _is_tar(f):
    block = f.read(512)
    f.seek(0)
    return len(block) == 512 and block[257:262] == b"ustar"


def _load_tar(f, map_location, unpickler, **load_args):
    """The format before 0.2: members `storages`, `tensors` and `pickle`."""
    import tarfile

    restore, found = _locations.restorer(map_location), {}
    with tarfile.open(fileobj=f, mode="r:") as tar:

        def member(name):
            return Bounded(io.BytesIO(tar.extractfile(name).read()))

        def values(file, n=None):
            return unpickler(file, persistent_load=None, **load_args).load()

        file = member("storages")
        for _ in range(values(file)):
            key, location, storage_type = values(file)
            dtype = _reading.dtype_of(storage_type)
            (numel,) = struct.unpack("<q", file.read(8))
            nbytes = _reading.byte_count(numel, dtype)
            if nbytes > file.left():
                raise EOFError("the file ends within a storage")
            storage = _reading.new_storage(nbytes)
            if nbytes:
                _archive.fill(file, _reading.writable(storage))
            found[key] = _reading.typed(restore(storage, location), dtype)
        for target, root, offset, numel in values(file):
            found[target] = part(found[root].untyped(), found[root].dtype, offset, numel)
        file = member("tensors")
        for _ in range(values(file)):
            key, storage_key, _ = values(file)
            (ndim,) = struct.unpack("<i4x", file.read(8))
            size = struct.unpack(f"<{ndim}q", file.read(8 * ndim))
            stride = struct.unpack(f"<{ndim}q", file.read(8 * ndim))
            (offset,) = struct.unpack("<q", file.read(8))
            found[key] = _rebuild._rebuild_tensor(found[storage_key], offset, size, stride)

        def persistent_load(pid):
            return pid[0] if isinstance(pid, tuple) else found[int(pid)]

        return unpickler(member("pickle"), persistent_load=persistent_load, **load_args).load()
