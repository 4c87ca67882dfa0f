"""The functions that pickled tensors name, under PyTorch's module and names: a tensor from a storage and its geometry.

Everything is checked here, with Python's integers, which do not overflow: a file that says anything else than the
truth about its storages raises. Who may call these functions from a file is in `serialization/_globals.py`.
"""

import rtorch
from rtorch.storage import TypedStorage, UntypedStorage

MAX_RANK = 64
_LIMIT = 1 << 62


def _is_index(value):
    return type(value) is int and 0 <= value < _LIMIT


def _overflow(size, stride):
    return RuntimeError(f"Storage size calculation overflowed with sizes={list(size)} and strides={list(stride)}")


def check_geometry(nbytes, dtype, offset, size, stride):
    """Raises unless a tensor of these sizes and strides lies inside `nbytes` bytes."""
    if not isinstance(size, (tuple, list)) or not isinstance(stride, (tuple, list)):
        raise TypeError(f"a tensor's size and stride must be tuples of ints, not {type(size)} and {type(stride)}")
    if len(size) != len(stride) or len(size) > MAX_RANK:
        raise RuntimeError(f"a tensor of {len(size)} sizes and {len(stride)} strides (at most {MAX_RANK} are possible)")
    for value in (offset, *size, *stride):
        if type(value) is not int:
            raise TypeError(f"a tensor's sizes, strides and offset must be ints, not {type(value)}")
        if not _is_index(value):
            raise _overflow(size, stride)
    numel = 1
    for n in size:
        numel *= n
    last = offset + sum((n - 1) * s for n, s in zip(size, stride)) if numel else offset - 1
    if numel >= _LIMIT or any(n * s * dtype.itemsize >= _LIMIT for n, s in zip(size, stride)):
        raise _overflow(size, stride)
    if (last + 1) * dtype.itemsize > nbytes:
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, and itemsize "
            f"{dtype.itemsize} requiring a storage size of {(last + 1) * dtype.itemsize} are out of bounds for storage "
            f"of size {nbytes}"
        )


def _untyped(storage):
    if isinstance(storage, TypedStorage):
        return storage._untyped_storage
    if isinstance(storage, UntypedStorage):
        return storage
    raise TypeError(f"a tensor is rebuilt from a storage, not from {type(storage)}")


def _window(storage, dtype, offset, size, stride):
    untyped = _untyped(storage)
    if type(offset) is int and offset >= 0:
        offset += getattr(storage, "_start", 0)  # part of a storage, in files of the oldest kind
    check_geometry(untyped.nbytes(), dtype, offset, size, stride)
    return untyped._tensor(dtype, offset, size, stride)


def _rebuild_tensor(storage, storage_offset, size, stride):
    """A tensor over a typed storage."""
    return _window(storage, getattr(storage, "dtype", rtorch.uint8), storage_offset, size, stride)


def _rebuild_tensor_v2(storage, storage_offset, size, stride, requires_grad, backward_hooks=None, metadata=None):
    """A tensor over a typed storage that may require grad. Pickled hooks are ignored, as PyTorch drops them."""
    tensor = _with_metadata(_rebuild_tensor(storage, storage_offset, size, stride), metadata)
    return _require_grad(tensor, requires_grad)


def _with_metadata(tensor, metadata):
    """The values that are meant where PyTorch saved a lazy conjugate or negative: those of the storage, changed."""
    if metadata is None:
        return tensor
    if not isinstance(metadata, dict):
        raise TypeError(f"a tensor's metadata must be a dict, not {type(metadata)}")
    size, strides = tensor.shape, tensor.stride()
    for name, change in (("conj", rtorch.conj_physical), ("neg", rtorch.neg)):
        if metadata.get(name) is True:
            # An expanded tensor stays one: a copy of all that it shows could be larger than its file.
            seen = tensor[tuple(slice(0, 1) if s == 0 else slice(None) for s in strides)]
            if seen.numel() * seen.element_size() > tensor.untyped_storage().nbytes():
                raise RuntimeError(f"a tensor of sizes {list(size)}, strides {list(strides)} with metadata {name}")
            tensor = change(seen).expand(size)
    return tensor


def _rebuild_tensor_v3(
    storage, storage_offset, size, stride, requires_grad, backward_hooks, dtype, metadata=None
):
    """A tensor over an untyped storage."""
    if not isinstance(dtype, rtorch.dtype):
        raise TypeError(f"a tensor's dtype must be a torch.dtype, not {type(dtype)}")
    tensor = _with_metadata(_window(storage, dtype, storage_offset, size, stride), metadata)
    return _require_grad(tensor, requires_grad)


def _require_grad(tensor, requires_grad):
    if not isinstance(requires_grad, bool):
        raise TypeError(f"requires_grad must be a bool, not {type(requires_grad)}")
    return tensor.requires_grad_() if requires_grad else tensor


def _must_be_tensor(data):
    if not isinstance(data, rtorch.Tensor):
        raise TypeError(f"a parameter is rebuilt from a tensor, not from {type(data)}")
    return data


def _rebuild_parameter(data, requires_grad, backward_hooks=None):
    """A Parameter over a tensor."""
    return rtorch.nn.Parameter(_must_be_tensor(data), bool(requires_grad))


def _rebuild_parameter_with_state(data, requires_grad, backward_hooks, state):
    """A Parameter over a tensor, with attributes."""
    return _set_obj_state(_rebuild_parameter(data, requires_grad), state)


def _rebuild_sparse_tensor(layout, data):
    """A sparse tensor from its indices and values; indices outside of its size raise."""
    if str(layout) != "torch.sparse_coo":
        raise RuntimeError(f"rebuilding sparse tensor for layout {layout} is not supported")
    indices, values, size = (_must_be_tensor(data[0]), _must_be_tensor(data[1]), tuple(data[2]))
    if any(not _is_index(n) for n in size):
        raise RuntimeError(f"a sparse tensor of sizes {list(size)}")
    made = rtorch.sparse_coo_tensor(indices, values, size, check_invariants=True)
    return made._coalesced_(True) if len(data) > 3 and data[3] is True else made


def _rebuild_meta_tensor_no_storage(dtype, size, stride, requires_grad):
    """A tensor without memory."""
    check_geometry(_LIMIT, dtype, 0, size, stride)
    return rtorch.empty_strided(size, stride, dtype=dtype, device="meta", requires_grad=bool(requires_grad))


def _set_obj_state(obj, state):
    """Sets attributes as pickle does: a dict, or a pair of a dict and slots."""
    plain, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    for attributes in (plain, slots):
        if attributes and not isinstance(attributes, dict):
            raise RuntimeError(f"Invalid serialized state: {type(attributes)}")
    if plain:
        obj.__dict__.update(plain)
    for name, value in (slots or {}).items():
        if str(name).startswith("__"):
            raise RuntimeError(f"Invalid serialized state: it sets {name}")
        setattr(obj, name, value)
    return obj
