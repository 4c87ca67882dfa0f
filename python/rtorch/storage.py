"""Storages as objects of their own: what `UntypedStorage` has in Python, `TypedStorage`, `FloatStorage` and its like.

The memory itself is the extension's (rust/python/src/storage.rs). How storages are written to files is in
`serialization/`.
"""

import io
import os

import rtorch
from rtorch import _C

__all__ = ["TypedStorage", "UntypedStorage"]

UntypedStorage = _C.UntypedStorage


def bytes_of(storage):
    """The bytes of an untyped storage as a 1-d uint8 tensor over the same memory."""
    return storage._tensor(rtorch.uint8, 0, (storage.nbytes(),), (1,))


class _OnUntyped:
    """Methods that are set on `UntypedStorage`."""

    def tolist(self):
        """The bytes as a list of int."""
        return bytes_of(self).tolist()

    def __getitem__(self, index):
        part = bytes_of(self)[index]
        return int(part) if part.dim() == 0 else part.clone().untyped_storage()

    def __setitem__(self, index, value):
        bytes_of(self)[index] = bytes_of(value) if isinstance(value, UntypedStorage) else value

    def __iter__(self):
        return iter(self.tolist())

    def __repr__(self):
        shown = "".join(f" {b}\n" for b in bytes_of(self)[:1000].tolist())
        return f"{shown}[torch.storage.UntypedStorage(device={self.device}) of size {len(self)}]"

    def untyped(self):
        """Itself."""
        return self

    def clone(self):
        """A copy with memory of its own."""
        return bytes_of(self).clone().untyped_storage()

    def cpu(self):
        """Itself on the CPU, a copy from elsewhere."""
        return self.to("cpu")

    def to(self, device, non_blocking=False):
        """Itself where it is there already, otherwise a copy on `device`."""
        device = rtorch.device(device)
        return self if device == self.device else bytes_of(self).to(device).untyped_storage()

    def wgpu(self, device=None):
        """A copy on a GPU: `device` is its index, default the current one."""
        return self.to("wgpu" if device is None else f"wgpu:{device}" if isinstance(device, int) else device)

    def cuda(self, device=None, non_blocking=False):
        """Raises: there is no CUDA here; the GPU device is wgpu."""
        return bytes_of(self).cuda(device)

    def copy_(self, source, non_blocking=None):
        """Takes the bytes of another storage of the same size."""
        source = source.untyped()
        if source.nbytes() != self.nbytes():
            sizes = f"self was {self.nbytes()} bytes but src was {source.nbytes()} bytes"
            raise RuntimeError(f"size does not match, {sizes}")
        bytes_of(self).copy_(bytes_of(source))
        return self

    def fill_(self, value):
        """Sets every byte."""
        bytes_of(self).fill_(value)
        return self

    def byteswap(self, dtype):
        """Turns the byte order of the elements of `dtype` around, in place."""
        parts = 2 if dtype.is_complex else 1
        swap_bytes(bytes_of(self).numpy(), dtype.itemsize // parts)

    def __deepcopy__(self, memo):
        key = ("rtorch storage object", self._cdata)
        if key not in memo:
            memo[key] = (self.clone(), self)
        return memo[key][0]

    def __copy__(self):
        return self.clone()

    def __reduce__(self):
        buffer = io.BytesIO()
        rtorch.save(self, buffer, _use_new_zipfile_serialization=False)
        return (_load_from_bytes, (buffer.getvalue(),))

    def __sizeof__(self):
        return object.__sizeof__(self) + self.nbytes()

    @property
    def is_cuda(self):
        """False: there is no CUDA here."""
        return False

    @property
    def is_sparse(self):
        """False."""
        return False

    @staticmethod
    def from_file(filename, shared=False, nbytes=0):
        """A storage over a mapped file; writes reach the file only if `shared`. `nbytes` 0 means all of it.

        Like PyTorch, a file that is too short grows to `nbytes` if `shared`.
        """
        import mmap

        with open(filename, "r+b" if shared else "rb") as file:
            size = os.fstat(file.fileno()).st_size
            wanted = nbytes or size
            if wanted > size:
                if not shared:
                    raise RuntimeError(f"unable to mmap {wanted} bytes from file <{filename}>: it has {size}")
                file.truncate(wanted)
            if wanted == 0:
                return rtorch.empty(0, dtype=rtorch.uint8).untyped_storage()
            access = mmap.ACCESS_WRITE if shared else mmap.ACCESS_COPY
            mapped = mmap.mmap(file.fileno(), wanted, access=access)
        return rtorch.frombuffer(mapped, dtype=rtorch.uint8).untyped_storage()


for _name, _f in vars(_OnUntyped).items():
    if _name not in ("__dict__", "__weakref__", "__module__", "__doc__", "__firstlineno__", "__static_attributes__"):
        setattr(UntypedStorage, _name, _f)
del _name, _f


def swap_bytes(array, width):
    """Turns around the bytes of every `width` bytes of a uint8 array, in place."""
    if width > 1:
        array.view(f"u{width}").byteswap(inplace=True)


def _load_from_bytes(b):
    """What pickled storages name: the object in these bytes, read without the restrictions of `weights_only`."""
    return rtorch.load(io.BytesIO(b), weights_only=False)


class TypedStorage:
    """A storage with a dtype: `TypedStorage(wrap_storage=untyped, dtype=dtype)`, or `TypedStorage(4, dtype=dtype)`.

    PyTorch calls it deprecated; files name it, and `Tensor.storage()` gives it.
    """

    def __init__(self, *args, wrap_storage=None, dtype=None, device=None, _internal=False):
        self.dtype = dtype or rtorch.get_default_dtype()
        if wrap_storage is None:
            source = args[0] if args else 0
            if isinstance(source, int):
                wrap_storage = rtorch.zeros(source, dtype=self.dtype, device=device).untyped_storage()
            else:
                wrap_storage = rtorch.tensor(source, dtype=self.dtype, device=device).untyped_storage()
        if not isinstance(wrap_storage, UntypedStorage):
            raise TypeError(f"Argument 'wrap_storage' must be UntypedStorage, but got {type(wrap_storage)}")
        self._untyped_storage = wrap_storage

    def untyped(self):
        """The storage without its dtype."""
        return self._untyped_storage

    def _tensor(self):
        return self._untyped_storage._tensor(self.dtype, 0, (self.size(),), (1,))

    @property
    def device(self):
        """Where the memory is."""
        return self._untyped_storage.device

    @property
    def is_cuda(self):
        """False: there is no CUDA here."""
        return False

    @property
    def _cdata(self):
        return self._untyped_storage._cdata

    def nbytes(self):
        """Size in bytes."""
        return self._untyped_storage.nbytes()

    def element_size(self):
        """Bytes per element."""
        return self.dtype.itemsize

    def size(self):
        """Number of elements."""
        return self.nbytes() // self.dtype.itemsize

    def __len__(self):
        return self.size()

    def data_ptr(self):
        """The address of the first byte."""
        return self._untyped_storage.data_ptr()

    def tolist(self):
        """The elements."""
        return self._tensor().tolist()

    def __iter__(self):
        return iter(self.tolist())

    def __getitem__(self, index):
        if isinstance(index, slice):
            raise RuntimeError("slices are only supported in UntypedStorage.__getitem__")
        return self._tensor()[index].item()

    def __setitem__(self, index, value):
        self._tensor()[index] = value

    def __eq__(self, other):
        return isinstance(other, TypedStorage) and self._untyped_storage == other._untyped_storage

    def __hash__(self):
        return hash(self._untyped_storage)

    def __repr__(self):
        shown = "".join(f" {v}\n" for v in self._tensor()[:1000].tolist())
        return f"{shown}[torch.storage.TypedStorage(dtype={self.dtype}, device={self.device}) of size {len(self)}]"

    def _around(self, untyped):
        return TypedStorage(wrap_storage=untyped, dtype=self.dtype)

    def clone(self):
        """A copy with memory of its own."""
        return self._around(self._untyped_storage.clone())

    def cpu(self):
        """Itself on the CPU."""
        return self._around(self._untyped_storage.cpu())

    def to(self, device, non_blocking=False):
        """Itself on `device`."""
        return self._around(self._untyped_storage.to(device))

    def cuda(self, device=None, non_blocking=False):
        """Raises: there is no CUDA here; the GPU device is wgpu."""
        return self._untyped_storage.cuda(device)

    def fill_(self, value):
        """Sets every element."""
        self._tensor().fill_(value)
        return self

    def copy_(self, source, non_blocking=None):
        """Takes the elements of another storage."""
        self._tensor().copy_(source._tensor())
        return self

    def __copy__(self):
        return self.clone()

    def __deepcopy__(self, memo):
        return self._around(self._untyped_storage.__deepcopy__(memo))

    def __reduce__(self):
        buffer = io.BytesIO()
        rtorch.save(self, buffer, _use_new_zipfile_serialization=False)
        return (_load_from_bytes, (buffer.getvalue(),))


class _OldStorage(type):
    """Classes that only name a dtype: `FloatStorage(3)` makes a typed storage, `isinstance` asks the dtype."""

    def __instancecheck__(cls, obj):
        return isinstance(obj, TypedStorage) and obj.dtype == cls.dtype

    def __call__(cls, *args):
        return TypedStorage(*args, dtype=cls.dtype)


# PyTorch's storage classes; the names are in every checkpoint.
_OLD_NAMES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
    "complex128": "ComplexDoubleStorage",
    "complex64": "ComplexFloatStorage",
}
OLD_CLASSES = {
    name: _OldStorage(name, (), {"dtype": getattr(_C, dtype), "__module__": "rtorch"})
    for dtype, name in _OLD_NAMES.items()
}
OF_DTYPE = {cls.dtype: cls for cls in OLD_CLASSES.values()}


def storage_of_tensor(tensor):
    """`Tensor.storage()`: the tensor's memory with its dtype."""
    return TypedStorage(wrap_storage=tensor.untyped_storage(), dtype=tensor.dtype)


rtorch.Tensor.storage = rtorch.Tensor._typed_storage = storage_of_tensor
