"""What Tensor has in Python: printing, copying, pickling, backward, and the forms that need no speed.

The class itself is the extension's (rust/python/src/tensor.rs); operators by name are in rust/python/src/ops, those
composed in Python in `_ops/`.
"""

import rtorch
from rtorch import _C

Tensor = _C.Tensor


def _method(f):
    """Sets a function of this file on Tensor; its name here must not hide a builtin, hence `type_of_tensor`."""
    name = f.__name__.removesuffix("_of_tensor")
    f.__name__, f.__qualname__ = name, f"Tensor.{name}"
    setattr(Tensor, name, f)
    return f


@_method
def __repr__(self, *, tensor_contents=None):
    from rtorch._tensor_str import _str

    return _str(self, tensor_contents=tensor_contents)


@_method
def __format__(self, spec):
    if self.dim() == 0 and type(self) is Tensor:
        return format(self.item(), spec)
    return object.__format__(self, spec)


@_method
def __iter__(self):
    if self.dim() == 0:
        raise TypeError("iteration over a 0-d tensor")
    return iter(self.unbind(0))


@_method
def __reversed__(self):
    return self if self.dim() == 0 else self.flip(0)


@_method
def __contains__(self, element):
    if isinstance(element, (Tensor, int, float, complex, bool)):
        return bool((element == self).any().item())
    raise RuntimeError(
        f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}."
    )


@_method
def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None):
    """Adds the gradients of this tensor to the `.grad` of the leaves it was computed from."""
    if gradient is None and inputs is None:
        keep = create_graph if retain_graph is None else retain_graph
        _C._run_backward((self,), (None,), keep, create_graph, (), True, True)
        return
    rtorch.autograd.backward(self, gradient, retain_graph, create_graph, inputs=inputs)


@_method
def __deepcopy__(self, memo):
    if not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment.  "
            "If you were attempting to deepcopy a module, this may be because of a torch.nn.utils.weight_norm usage, "
            "see https://github.com/pytorch/pytorch/pull/103001"
        )
    if id(self) in memo:
        return memo[id(self)]
    with rtorch.no_grad():
        made = _as_class(type(self), _copy_memory(self, memo), self.requires_grad)
    memo[id(self)] = made
    if self.grad is not None:
        made.grad = self.grad.__deepcopy__(memo)
    from copy import deepcopy

    for name, value in self.__dict__.items():
        setattr(made, name, deepcopy(value, memo))
    return made


def _copy_memory(tensor, memo):
    """A copy that shares memory with the copies of tensors that shared it before."""
    storage = tensor.untyped_storage()
    key = ("rtorch storage", storage._cdata)
    if key not in memo:
        whole = tensor.detach()
        count = storage.nbytes() // tensor.element_size()
        memo[key] = (whole.as_strided((count,), (1,), 0).clone(), storage)
    flat = memo[key][0]
    if flat.dtype != tensor.dtype:
        flat = flat.view(tensor.dtype)
    return flat.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset()).detach()


def _as_class(cls, data, requires_grad):
    if cls is Tensor:
        return data.requires_grad_(requires_grad)
    return Tensor._make_subclass(cls, data, requires_grad)


def _rebuild_storage(data, dtype):
    """The memory behind pickled tensors, as a 1-d tensor."""
    return rtorch.frombuffer(bytearray(data), dtype=dtype).clone() if data else rtorch.empty(0, dtype=dtype)


def _rebuild_tensor(flat, dtype, offset, size, stride, requires_grad, cls, state):
    """A tensor from its pickled form: a window of the memory."""
    flat = flat if flat.dtype == dtype else flat.view(dtype)
    made = _as_class(cls, flat.as_strided(size, stride, offset).detach(), requires_grad)
    made.__dict__.update(state)
    return made


def _rebuild_from_type_v2(func, new_type, args, state):
    """A tensor of a class of its own and with attributes; the name is in checkpoints."""
    made = func(*args)
    if type(made) is not new_type:
        made = made.as_subclass(new_type)
    own = getattr(new_type, "__setstate__", None)
    if own is not None and own is not getattr(Tensor, "__setstate__", None):
        own(made, state)
        return made
    from rtorch._rebuild import _set_obj_state

    return _set_obj_state(made, state)


class _Memory:
    """The memory of a tensor on its way into a pickle. As with PyTorch, tensors that share it do not share it again:
    `save` is the format that keeps sharing."""

    def __init__(self, tensor):
        self.flat = tensor

    def __reduce__(self):
        return (_rebuild_storage, (self.flat._to_bytes(), self.flat.dtype))


def _memory(tensor):
    count = tensor.untyped_storage().nbytes() // tensor.element_size()
    return _Memory(tensor.detach().as_strided((count,), (1,), 0))


@_method
def __reduce_ex__(self, protocol):
    if not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) can be pickled; use .detach() on this one first"
        )
    raw = self.detach().cpu()
    args = (_memory(raw), self.dtype, raw.storage_offset(), tuple(raw.shape), raw.stride())
    return (_rebuild_tensor, (*args, self.requires_grad, type(self), dict(self.__dict__)))


@_method
def conj_physical_(self):
    """Replaces every element by its conjugate."""
    return self.copy_(self.conj_physical()) if self.is_complex() else self


@_method
def __copy__(self):
    made = _as_class(type(self), self.detach(), self.requires_grad)
    made.__dict__.update(self.__dict__)
    return made


@_method
def apply_(self, callable):
    """Replaces every element by `callable(element)`; slow, on the CPU."""
    values = rtorch.tensor([callable(v) for v in self.flatten().tolist()], dtype=self.dtype)
    return self.copy_(values.reshape(self.shape))


@_method
def map_(self, tensor, callable):
    """Replaces every element by `callable(element, element of tensor)`; slow, on the CPU."""
    pairs = zip(self.flatten().tolist(), tensor.expand_as(self).flatten().tolist())
    values = rtorch.tensor([callable(a, b) for a, b in pairs], dtype=self.dtype)
    return self.copy_(values.reshape(self.shape))


@_method
def new(self, *args, **kwargs):
    """The old constructor with this tensor's dtype and device."""
    if not args:
        return rtorch.empty(0, dtype=self.dtype, device=self.device)
    if len(args) == 1 and not isinstance(args[0], int) and not isinstance(args[0], rtorch.Size):
        return rtorch.tensor(args[0], dtype=self.dtype, device=self.device)
    return rtorch.empty(*args, dtype=self.dtype, device=self.device)


_TYPE_NAMES = {
    "float16": "Half",
    "bfloat16": "BFloat16",
    "float32": "Float",
    "float64": "Double",
    "uint8": "Byte",
    "int8": "Char",
    "int16": "Short",
    "int32": "Int",
    "int64": "Long",
    "bool": "Bool",
    "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
    "uint16": "UInt16",
    "uint32": "UInt32",
    "uint64": "UInt64",
    "float8_e4m3fn": "Float8_e4m3fn",
    "float8_e5m2": "Float8_e5m2",
    "float8_e4m3fnuz": "Float8_e4m3fnuz",
    "float8_e5m2fnuz": "Float8_e5m2fnuz",
    "float8_e8m0fnu": "Float8_e8m0fnu",
}


def _type_name(tensor):
    where = "" if tensor.device.type == "cpu" else f"{tensor.device.type}."
    return f"torch.{where}{_TYPE_NAMES[str(tensor.dtype).split('.')[1]]}Tensor"


@_method
def type_of_tensor(self, dtype=None, non_blocking=False):
    """The name of this tensor's old-style type; with `dtype`, a tensor of that type."""
    if dtype is None:
        return _type_name(self)
    if isinstance(dtype, str):
        for name, old in _TYPE_NAMES.items():
            if dtype in (f"torch.{old}Tensor", f"torch.wgpu.{old}Tensor"):
                return self.to("wgpu" if ".wgpu." in dtype else "cpu", getattr(rtorch, name))
        raise ValueError(f"invalid type: '{dtype}'")
    return self.to(dtype)


@_method
def is_shared(self):
    """Does the memory lie where other processes can map it (`share_memory_`)?"""
    return self.untyped_storage().is_shared()


@_method
def share_memory_(self):
    """Moves the storage to memory that other processes can map; every tensor over it goes along. Writes of any of them
    are seen by all."""
    self.untyped_storage().share_memory_()
    return self


@_method
def cuda(self, device=None, non_blocking=False, memory_format=None):
    """Raises: there is no CUDA here; the GPU device is wgpu."""
    rtorch.cuda.refuse("Tensor.cuda()")


@_method
def record_stream(self, stream):
    """Raises: rtorch orders the work of a device itself, there are no streams."""
    raise RuntimeError("Tensor.record_stream: rtorch orders a device's work itself; there are no streams to choose")


@_method
def pin_memory(self, device=None):
    """Raises: page-locked memory is CUDA's; copies to wgpu go through the backend's own buffers."""
    rtorch.cuda.refuse("Tensor.pin_memory()")


@_method
def is_pinned(self, device=None):
    """False: there is no page-locked memory."""
    return False


@_method
def to_sparse(self, sparse_dim=None, *, layout=None):
    """A sparse COO tensor of the elements that are not zero; with `sparse_dim`, of rows of the first dimensions."""
    if layout not in (None, rtorch.sparse_coo):
        raise RuntimeError(f"to_sparse: of the sparse layouts rtorch has only sparse_coo, not {layout}")
    return rtorch.sparse.from_dense(self, sparse_dim)


@_method
def to_dense(self, dtype=None, *, masked_grad=None):
    """Itself: it is dense."""
    return self if dtype is None else self.to(dtype)


def _only_sparse(name):
    def method(self, *args):
        raise RuntimeError(f"{name} expected sparse coordinate tensor layout but got Strided")

    method.__name__ = name
    method.__doc__ = "Raises: only a sparse tensor has it."
    return _method(method)


for _name in "coalesce indices values is_coalesced _indices _values _nnz sparse_dim dense_dim".split():
    _only_sparse(_name)
del _name


@_method
def dequantize(self):
    """Itself: there are no quantized tensors."""
    return self


Tensor.name = None  # names were for the first graphs


@_method
def __array_wrap__(self, array, context=None, return_scalar=False):
    if array.dtype == bool:
        array = array.astype("uint8")
    return rtorch.from_numpy(array)


@classmethod
def __torch_function__(cls, func, types, args=(), kwargs=None):
    """What subclasses inherit: the operator on plain tensors, its results as the subclass."""
    if not all(issubclass(cls, t) for t in types):
        return NotImplemented
    before = _C._set_torch_function_disabled(True)
    try:
        result = func(*args, **(kwargs or {}))
    finally:
        _C._set_torch_function_disabled(before)
    return _converted(result, cls)


def _converted(result, cls):
    if cls is Tensor:
        return result
    if isinstance(result, Tensor) and not isinstance(result, cls):
        return result.as_subclass(cls)
    if isinstance(result, (tuple, list)):
        items = [_converted(r, cls) for r in result]
        return result.__class__(items)
    return result


Tensor.__torch_function__ = __torch_function__
Tensor.__array_priority__ = 1000
Tensor.__str__ = Tensor.__repr__
Tensor.__rdiv__ = Tensor.__rtruediv__


def _part(name):
    """`.real` or `.imag`: a view, which may be assigned."""
    get = getattr(_C, name)

    def write(self, value):
        get(self).copy_(rtorch.as_tensor(value))

    return property(lambda self: get(self), write)


Tensor.real = _part("real")
Tensor.imag = _part("imag")
