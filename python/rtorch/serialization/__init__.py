"""`save` and `load`: PyTorch's checkpoint formats, read with restrictions by default and written atomically.

The archive is in `_archive.py`, what a file may call in `_globals.py` and `_calls.py`, tensors in `rtorch/_rebuild.py`.
"""

import io
import os
import pickle
import warnings
from tempfile import mkdtemp

import rtorch
from rtorch.serialization import _archive, _globals, _legacy, _locations, _reading, _saving
from rtorch.serialization._globals import StorageType, _get_layout
from rtorch.serialization._locations import default_restore_location, location_tag, register_package
from rtorch.serialization._options import (
    LoadEndianness,
    get_crc32_options,
    get_default_load_endianness,
    get_default_mmap_options,
    set_crc32_options,
    set_default_load_endianness,
    set_default_mmap_options,
    skip_data,
)
from rtorch.serialization._unpickler import UNSAFE, Unpickler, explained, names_in
from rtorch.utils.serialization import config

__all__ = [
    "LoadEndianness",
    "SourceChangeWarning",
    "StorageType",
    "add_safe_globals",
    "check_module_version_greater_or_equal",
    "clear_safe_globals",
    "default_restore_location",
    "get_crc32_options",
    "get_default_load_endianness",
    "get_default_mmap_options",
    "get_safe_globals",
    "get_unsafe_globals_in_checkpoint",
    "load",
    "location_tag",
    "mkdtemp",
    "register_package",
    "safe_globals",
    "save",
    "set_crc32_options",
    "set_default_load_endianness",
    "set_default_mmap_options",
    "skip_data",
    "storage_to_tensor_type",
    "validate_cuda_device",
]

DEFAULT_PROTOCOL = 2


class SourceChangeWarning(Warning):
    """PyTorch's warning about changed sources of pickled classes; rtorch does not compare sources."""


def _is_path(f):
    return isinstance(f, (str, os.PathLike))


def save(
    obj, f, pickle_module=None, pickle_protocol=DEFAULT_PROTOCOL, _use_new_zipfile_serialization=True,
    _disable_byteorder_record=False,
):  # fmt: skip
    """Writes `obj` to the path or binary file `f`, in PyTorch's format: PyTorch's `load` reads it, too.

    obj: tensors, storages, containers of them, state dicts, and whatever pickle can write. Tensors that share memory
    share it again when they are loaded. A path is written beside itself, synchronised, and renamed when it is
    complete: a crash or a full disk never costs the file that was there. pickle_module: a module with a `Pickler`,
    default Python's pickle, with PyTorch's names for rtorch's classes.

    >>> import io, rtorch
    >>> file = io.BytesIO()
    >>> rtorch.save({"weight": rtorch.ones(2)}, file)
    >>> _ = file.seek(0)
    >>> rtorch.load(file)
    {'weight': tensor([1., 1.])}
    """
    if not _is_path(f) and not hasattr(f, "write"):
        raise AttributeError(
            f"expected 'f' to be string, path, or a file-like object with a 'write' attribute, got {type(f).__name__}"
        )

    def write(file, folder):
        if _use_new_zipfile_serialization:
            _saving.save_archive(obj, file, folder, pickle_module, pickle_protocol, _disable_byteorder_record)
        elif skip_data.active:
            raise RuntimeError("skip_data is only supported with the zip format")
        else:
            _legacy.save(obj, file, pickle_module, pickle_protocol)

    if not _is_path(f):
        write(f, "archive")
        if hasattr(f, "flush"):
            f.flush()
        return
    with _saving.atomic_file(os.fspath(f)) as file:
        name = os.path.basename(os.fsdecode(os.fspath(f)))
        write(file, os.path.splitext(name)[0] or "archive")


def _restricted(file, persistent_load, encoding="utf-8"):
    return Unpickler(file, encoding, persistent_load)


def _choose(weights_only, pickle_module):
    """Whether to read with restrictions, from the argument and PyTorch's two environment variables."""
    yes = ("1", "y", "yes", "true")
    force = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0").lower() in yes
    force_not = os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0").lower() in yes
    if force and force_not:
        raise RuntimeError(
            "Only one of `TORCH_FORCE_WEIGHTS_ONLY_LOAD` or `TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD` should be set, but both "
            "were set."
        )
    if force:
        return True
    if weights_only is None and force_not:
        warnings.warn(
            "Environment variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD detected, since the`weights_only` argument was not "
            "explicitly passed to `torch.load`, forcing weights_only=False."
        )
        return False
    return pickle_module is None if weights_only is None else bool(weights_only)


def load(f, map_location=None, pickle_module=None, *, weights_only=None, mmap=None, **pickle_load_args):
    """The object in a checkpoint that `save`, or PyTorch, wrote; `f` is a path or a seekable binary file.

    map_location: where storages go: None (where the file says), a device or its name, a dict from the file's names to
    others, or a function (storage, name) -> storage or None. weights_only: True, the default, loads tensors, plain
    values, containers and what `serialization.add_safe_globals` allowed, and runs nothing else; False runs whatever
    the file says (use it for files that you trust) and finds PyTorch's classes in rtorch. mmap: storages are mapped
    from the file rather than read. Raises pickle.UnpicklingError for what the restrictions refuse, RuntimeError,
    EOFError and others for broken files; nothing outside the file's records is read.

    >>> import io, rtorch
    >>> file = io.BytesIO()
    >>> rtorch.save([rtorch.arange(3), "x"], file)
    >>> _ = file.seek(0)
    >>> rtorch.load(file, map_location="cpu")
    [tensor([0, 1, 2]), 'x']
    """
    weights_only = _choose(weights_only, pickle_module)
    if weights_only and pickle_module is not None:
        raise RuntimeError("Can not safely load weights when explicit pickle_module is specified")
    if weights_only and pickle_load_args:
        warnings.warn("pickle_load_args only works if `weights_only=False`.")
    mmap = config.load.mmap if mmap is None else mmap
    if _is_path(f):
        path = os.fspath(f)
        if os.fsdecode(path).endswith(".safetensors"):
            return _load_safetensors(path, map_location)
        with open(path, "rb") as file:
            return _load_file(file, f, map_location, pickle_module, weights_only, mmap, pickle_load_args)
    _check_seekable(f)
    return _load_file(f, f, map_location, pickle_module, weights_only, mmap, pickle_load_args)


def _load_safetensors(path, map_location):
    from rtorch.utils import safetensors

    if isinstance(map_location, dict) or callable(map_location):
        kind = "dict" if isinstance(map_location, dict) else "callable"
        raise RuntimeError(
            f"Loading safetensors file with {kind} map_location is not supported. Use a device string or torch.device "
            "instead."
        )
    return safetensors.load_file(path, device="cpu" if map_location is None else str(map_location))


def _load_file(file, f, map_location, pickle_module, weights_only, mmap, load_args):
    encoding = load_args.get("encoding", "utf-8")
    if weights_only:
        unpickler, load_args = _restricted, {"encoding": encoding}
    else:
        load_args = {**load_args, "encoding": encoding}

        def unpickler(data, persistent_load, **args):
            return _reading.trusting(pickle_module or pickle, data, persistent_load, **args)

    if _is_zip(file):
        archive = _archive.Archive(_archive.Source(file))
        if "constants.pkl" in archive:
            raise RuntimeError(
                f"Cannot use ``weights_only=True`` with TorchScript archives passed to ``torch.load``. {UNSAFE}"
                if weights_only
                else "TorchScript archives are not supported by rtorch: save the model's state_dict with PyTorch"
            )
        if mmap and not _is_path(f):
            raise ValueError("f must be a file path in order to use the mmap argument")
        whole = _reading.map_file(f) if mmap else None
        read, args = _reading.load_archive, (archive, map_location, whole, unpickler)
    elif mmap:
        name = f"{f}, " if isinstance(f, str) else ""
        raise RuntimeError(
            f"mmap can only be used with files saved with `torch.save({name}_use_new_zipfile_serialization=True), "
            "please torch.save your checkpoint with this option in order to use mmap."
        )
    else:
        read, args = _legacy.load, (file, map_location, unpickler)
        load_args = load_args if weights_only else {**load_args, "trusted": True}
    if not weights_only:
        return read(*args, **load_args)
    try:
        return read(*args, **load_args)
    except pickle.UnpicklingError as e:
        raise explained(e) from None


def _is_zip(file):
    start = file.tell()
    head = file.read(4)
    file.seek(start)
    return head == b"PK\3\4"


def _check_seekable(f):
    for name in ("seek", "tell", "read"):
        if not hasattr(f, name):
            raise AttributeError(
                f"'{type(f).__name__}' object has no attribute '{name}'. You can only torch.load from a file that is "
                "seekable. Please pre-load the data into a buffer like io.BytesIO and try to load from it instead."
            )
    try:
        f.seek(f.tell())
    except io.UnsupportedOperation as e:
        raise type(e)(
            f"{e}. You can only torch.load from a file that is seekable. Please pre-load the data into a buffer like "
            "io.BytesIO and try to load from it instead."
        ) from None


def add_safe_globals(safe_globals):
    """Allows functions and classes to `weights_only=True`: a list of them, or of pairs of one and its name in files."""
    _globals.add(safe_globals)


def get_safe_globals():
    """What `add_safe_globals` allowed."""
    return _globals.added()


def clear_safe_globals():
    """Forgets what `add_safe_globals` allowed."""
    _globals.remove(_globals.added())


class safe_globals:
    """Allows functions and classes to `weights_only=True` within a `with` block."""

    def __init__(self, safe_globals):
        self.safe_globals = safe_globals

    def __enter__(self):
        _globals.add(self.safe_globals)

    def __exit__(self, *exception):
        _globals.remove(self.safe_globals)


def get_unsafe_globals_in_checkpoint(f):
    """The names in the file `f` that `weights_only=True` would refuse; nothing is loaded."""

    def names(file):
        if not _is_zip(file):
            raise ValueError("get_unsafe_globals_in_checkpoint only supports files of the zip format")
        archive = _archive.Archive(_archive.Source(file))
        if "constants.pkl" in archive:
            raise RuntimeError(
                "Expected input to be a checkpoint returned by torch.save but got a torchscript checkpoint"
            )
        found = names_in(io.BytesIO(archive.read("data.pkl")))
        return list(found - _globals.fixed().keys() - _globals.user_allowed().keys())

    if not _is_path(f):
        return names(f)
    with open(f, "rb") as file:
        return names(file)


def check_module_version_greater_or_equal(module, req_version_tuple, error_if_malformed=True):
    """Is `module.__version__` at least this tuple of numbers?"""
    try:
        parts = module.__version__.split(".")
        version = tuple(type(want)(have) for want, have in zip(req_version_tuple, parts))
    except Exception as e:
        message = (
            f"'{module.__name__}' module version string is malformed '{module.__version__}' and cannot be compared "
            f"with tuple {req_version_tuple}"
        )
        if error_if_malformed:
            raise RuntimeError(message) from e
        warnings.warn(message + ", but continuing assuming that requirement is met")
        return True
    return version >= tuple(req_version_tuple)


def storage_to_tensor_type(storage):
    """The old tensor class (`FloatTensor`) of a typed storage."""
    return getattr(rtorch, rtorch.storage.OF_DTYPE[storage.dtype].__name__.replace("Storage", "Tensor"))


def validate_cuda_device(location):
    """Raises: there is no CUDA here."""
    return _locations._cuda(None, f"cuda{str(location).removeprefix('cuda')}")
