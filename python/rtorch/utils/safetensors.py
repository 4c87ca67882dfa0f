"""The safetensors format: `save_file`, `load_file`, lazy `safe_open`, and models split over several files.

Headers are read and files are written by the format's own crate (rust/core/src/safetensors.rs). PyTorch's pickled
format is in `rtorch.serialization`. Format: https://github.com/huggingface/safetensors
"""

import json
import mmap
import os
import stat

import rtorch
from rtorch import _C
from rtorch.serialization._archive import fill
from rtorch.serialization._reading import new_storage, writable
from rtorch.serialization._saving import atomic_file
from rtorch.storage import bytes_of

__all__ = [
    "SafetensorError",
    "load",
    "load_file",
    "load_model",
    "load_sharded",
    "safe_open",
    "save",
    "save_file",
    "save_model",
    "save_sharded",
]

MAX_HEADER = 100_000_000
# Mapped elements are read where they lie only at addresses that their types may have.
ALIGNMENT = 16


class SafetensorError(Exception):
    """The file is no good safetensors file, or a tensor cannot be in one."""


def _unique(pairs):
    """A JSON object whose names are all different; the format's crate would silently keep one of two."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise SafetensorError("Error while deserializing header: a name stands twice in it")
    return found


def _header(size, read):
    """(info, entries, where the data begins) of a file of `size` bytes of which `read(offset, n)` gives some."""
    if size < 8:
        raise SafetensorError("Error while deserializing header: header too small")
    length = int.from_bytes(read(0, 8), "little")
    if length > MAX_HEADER:
        raise SafetensorError("Error while deserializing header: header too large")
    if 8 + length > size:
        raise SafetensorError("Error while deserializing header: invalid header length")
    text = bytes(read(8, length))
    try:
        info, entries = _C._safetensors_header(text, size - 8 - length)
    except ValueError as e:
        raise SafetensorError(str(e)) from None
    json.loads(text, object_pairs_hook=_unique)
    return info, {name: rest for name, *rest in entries}, 8 + length


def _dtype(name, dtype, type_name):
    if dtype is None:
        raise SafetensorError(f"the tensor {name!r} is {type_name}, which rtorch has no dtype for")
    return dtype


def _contiguous(shape):
    steps, step = [], 1
    for n in reversed(shape):
        steps.append(step)
        step *= max(n, 1)
    return steps[::-1]


def _over(storage, dtype, shape):
    return storage._tensor(dtype, 0, shape, _contiguous(shape))


def load_file(filename, device="cpu"):
    """The tensors of a file by name, each with memory of its own, on `device`.

    Raises SafetensorError for a file whose header is not exactly true: gaps, overlaps, sizes that do not fit the
    shapes, names that stand twice, bytes that belong to no tensor.
    """
    with open(filename, "rb") as file:
        size = os.fstat(file.fileno()).st_size

        def read(offset, n):
            data = bytearray(n)
            file.seek(offset)
            fill(file, memoryview(data))
            return data

        _, entries, start = _header(size, read)
        found = {}
        for name, (dtype, type_name, shape, begin, end) in entries.items():
            storage = new_storage(end - begin)
            if end > begin:
                file.seek(start + begin)
                fill(file, writable(storage))
            found[name] = _over(storage, _dtype(name, dtype, type_name), shape).to(device)
    return found


def load(data):
    """The tensors of a file's bytes by name.

    >>> import rtorch
    >>> from rtorch.utils import safetensors
    >>> safetensors.load(safetensors.save({"x": rtorch.arange(3)}))
    {'x': tensor([0, 1, 2])}
    """
    view = memoryview(data)
    _, entries, start = _header(len(view), lambda offset, n: view[offset : offset + n])
    found = {}
    for name, (dtype, type_name, shape, begin, end) in entries.items():
        storage = new_storage(end - begin)
        if end > begin:
            writable(storage)[:] = view[start + begin : start + end]
        found[name] = _over(storage, _dtype(name, dtype, type_name), shape)
    return found


def _to_write(tensors, metadata):
    if not isinstance(tensors, dict):
        raise ValueError(f"Expected a dict of [str, torch.Tensor] but received {type(tensors)}")
    spans = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, rtorch.Tensor):
            raise ValueError(f"Key `{name}` is invalid, expected torch.Tensor but received {type(tensor)}")
        if not str(tensor.layout).endswith("strided"):
            raise ValueError(f"You are trying to save a sparse tensor: `{name}` which this library does not support.")
        if not tensor.is_contiguous():
            raise ValueError(
                f"You are trying to save a non contiguous tensor: `{name}` which is not allowed. It either means you "
                "are trying to save tensors which are reference of each other in which case it's recommended to save "
                "only the full tensors, and reslice at load time, or simply call `.contiguous()` on your tensor to "
                "pack it before saving."
            )
        if tensor.numel():
            spans.setdefault(tensor.untyped_storage()._cdata, []).append(name)
    shared = [sorted(names) for names in spans.values() if len(names) > 1]
    if shared:
        raise RuntimeError(
            f"Some tensors share memory, this will lead to duplicate memory on disk and potential differences when "
            f"loading them again: {shared}. A potential way to correctly save your model is to use `save_model`."
        )
    for key, value in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"metadata is a dict of str to str, got {key!r}: {type(value).__name__}")
    return [(str(name), tensor.detach()) for name, tensor in tensors.items()]


def save(tensors, metadata=None):
    """A file's bytes for a dict of tensors by name; metadata: a dict of str to str that is written beside them."""
    pairs = _to_write(tensors, metadata)
    with _errors():
        return _C._safetensors_save(pairs, metadata)


def save_file(tensors, filename, metadata=None):
    """Writes a dict of tensors by name. As with `rtorch.save`, the file that was there stays until the new one is
    complete."""
    pairs = _to_write(tensors, metadata)
    with atomic_file(os.fspath(filename)) as file, _errors():
        if os.path.isfile(file.name):
            mode = os.fstat(file.fileno()).st_mode
            _C._safetensors_save(pairs, metadata, file.name)
            # the crate replaces the file by one of its own, which only its owner may read
            os.chmod(file.name, stat.S_IMODE(mode))
            with open(file.name, "rb") as written:
                os.fsync(written.fileno())
        else:
            file.write(_C._safetensors_save(pairs, metadata))


class _errors:
    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        if kind is RuntimeError or kind is ValueError:
            raise SafetensorError(str(error)) from None


class safe_open:
    """A file whose tensors are read when they are asked for: `with safe_open(name, "pt") as f: f.get_tensor("x")`.

    On the CPU a tensor is the mapped file itself; writing to it changes memory only, never the file.

    filename: a path. framework: "pt" (PyTorch, which is rtorch) or "np" (NumPy arrays). device: where tensors go.
    """

    def __init__(self, filename, framework="pt", device="cpu"):
        if framework not in ("pt", "torch", "pytorch", "rtorch", "np", "numpy"):
            raise SafetensorError(f"framework {framework} is invalid")
        self.numpy, self.device = framework.startswith("n"), device
        with open(filename, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < 8:
                raise SafetensorError("Error while deserializing header: header too small")
            self.mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self.info, self.entries, self.start = _header(size, lambda offset, n: self.mapped[offset : offset + n])

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.mapped = None  # tensors over it keep it

    def metadata(self):
        """The strings that were written beside the tensors, or None."""
        return self.info

    def keys(self):
        """The names, sorted."""
        return sorted(self.entries)

    def offset_keys(self):
        """The names in the order of the file."""
        return list(self.entries)

    def _mapped_tensor(self, name):
        if self.mapped is None:
            raise SafetensorError("the file is closed")
        if name not in self.entries:
            raise SafetensorError(f"File does not contain tensor {name}")
        dtype, type_name, shape, begin, end = self.entries[name]
        dtype = _dtype(name, dtype, type_name)
        if end == begin:
            return rtorch.empty(shape, dtype=dtype)
        storage = rtorch.frombuffer(
            self.mapped, dtype=rtorch.uint8, count=end - begin, offset=self.start + begin
        ).untyped_storage()
        if (self.start + begin) % min(ALIGNMENT, dtype.itemsize):
            storage = bytes_of(storage).clone().untyped_storage()
        return _over(storage, dtype, shape)

    def get_tensor(self, name):
        """A tensor."""
        return self._given(self._mapped_tensor(name).to(self.device))

    def _given(self, tensor):
        return tensor.numpy() if self.numpy else tensor

    def get_slice(self, name):
        """A tensor of which only the part that is indexed is read: `f.get_slice("x")[:, 2]`."""
        return _Slice(self, name)


class _Slice:
    """A tensor of a file before it is read."""

    def __init__(self, file, name):
        self.file, self.tensor = file, file._mapped_tensor(name)
        self.type_name = file.entries[name][1]

    def get_shape(self):
        """Its sizes."""
        return list(self.tensor.shape)

    def get_dtype(self):
        """The format's name of its type."""
        return self.type_name

    def __getitem__(self, index):
        return self.file._given(self.tensor[index].clone().to(self.file.device))


def save_model(model, filename, metadata=None):
    """Writes a module's state; of tensors that share memory one is written, and the metadata names the others."""
    info, kept, names = dict(metadata or {}), {}, {}
    for name, tensor in sorted(model.state_dict().items()):
        whole = (tensor.untyped_storage()._cdata, tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
        if tensor.numel() and whole in names:
            info[name] = names[whole]
        else:
            names[whole] = name
            kept[name] = tensor.contiguous()
    info.setdefault("format", "pt")
    save_file(kept, filename, info)


def load_model(model, filename, strict=True, device="cpu"):
    """Loads what `save_model` wrote into a module; (names that are missing, names that it does not know)."""
    state = load_file(filename, device)
    missing, unexpected = model.load_state_dict(state, strict=False)
    own = model.state_dict()
    have = {(t.untyped_storage()._cdata, t.storage_offset()) for name, t in own.items() if name in state}
    missing = [n for n in missing if (own[n].untyped_storage()._cdata, own[n].storage_offset()) not in have]
    if strict and (missing or unexpected):
        raise RuntimeError(
            f"Error(s) in loading state_dict for {type(model).__name__}:"
            + f"\n    Missing key(s) in state_dict: {missing}" * bool(missing)
            + f"\n    Unexpected key(s) in state_dict: {list(unexpected)}" * bool(unexpected)
        )
    return missing, list(unexpected)


def save_sharded(tensors, folder, max_shard_size=5 << 30, name="model", metadata=None):
    """Writes tensors into files of at most `max_shard_size` bytes (one tensor at least) and an index of them.

    The files are `name-00001-of-00002.safetensors` and so on, the index is `name.safetensors.index.json`; where all
    fits into one file, that is `name.safetensors` without an index. Gives the path of the index, or of the one file.
    """
    shards, room = [{}], max_shard_size
    for key, tensor in tensors.items():
        n = tensor.numel() * tensor.element_size()
        if n > room and shards[-1]:
            shards.append({})
            room = max_shard_size
        shards[-1][key] = tensor
        room -= n
    if len(shards) == 1:
        only = os.path.join(folder, f"{name}.safetensors")
        save_file(shards[0], only, metadata)
        return only
    where = {}
    for number, shard in enumerate(shards, 1):
        file = f"{name}-{number:05}-of-{len(shards):05}.safetensors"
        save_file(shard, os.path.join(folder, file), metadata)
        where.update(dict.fromkeys(shard, file))
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    index = os.path.join(folder, f"{name}.safetensors.index.json")
    with atomic_file(index) as file:
        file.write(json.dumps({"metadata": {"total_size": total}, "weight_map": where}, indent=2).encode())
    return index


def load_sharded(index, device="cpu"):
    """The tensors of all files that an index (`model.safetensors.index.json`) names.

    The files lie beside the index; a name that leads elsewhere or a tensor that is not where the index says raises
    SafetensorError.
    """
    with open(index, "rb") as file:
        try:
            where = json.loads(file.read(MAX_HEADER), object_pairs_hook=_unique)["weight_map"]
            files = {key: _plain_name(name) for key, name in where.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            raise SafetensorError(f"{index} is no index of safetensors files: {e!r:.200}") from None
    found, folder = {}, os.path.dirname(os.path.abspath(index))
    for name in dict.fromkeys(files.values()):
        tensors = load_file(os.path.join(folder, name), device)
        found.update((key, t) for key, t in tensors.items() if files.get(key) == name)
    lost = files.keys() - found.keys()
    if lost:
        raise SafetensorError(f"tensors that are not where the index says: {sorted(lost)[:10]}")
    return {key: found[key] for key in files}


def _plain_name(name):
    if not isinstance(name, str) or os.path.basename(name) != name or name in ("", ".", "..") or "\\" in name:
        raise SafetensorError(f"a file of an index must lie beside it, not at {name!r:.100}")
    return name
