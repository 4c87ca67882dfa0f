"""From samples to batches: `default_collate` stacks, `default_convert` only makes tensors."""

import ctypes
import math
import os

import rtorch

from . import worker

__all__ = ["collate", "default_collate", "default_collate_err_msg_format", "default_collate_fn_map", "default_convert"]

default_collate_err_msg_format = (
    "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"
)
# numpy kinds that have no tensor: strings, bytes, objects.
_NO_TENSOR = "SUO"


def _is_numpy(value):
    """Whether it is an array or scalar of NumPy (which is not imported for the question)."""
    return type(value).__module__ == "numpy" or type(value).__module__.startswith("numpy.")


def _is_array(value):
    return _is_numpy(value) and hasattr(value, "ndim") and type(value).__name__ in ("ndarray", "memmap")


def _is_namedtuple(value):
    return isinstance(value, tuple) and hasattr(value, "_fields")


def _is_mapping(value):
    return hasattr(value, "keys") and hasattr(value, "__getitem__")


def _is_sequence(value):
    return hasattr(value, "__len__") and hasattr(value, "__getitem__") and not isinstance(value, (str, bytes))


def _rebuilt_mapping(like, pairs):
    """A mapping of the same type with other values; a plain dict where the type cannot be made."""
    try:
        if hasattr(like, "__setitem__"):
            import copy

            clone = copy.copy(like)
            clone.update(pairs)
            return clone
        return type(like)(pairs)
    except TypeError:
        return dict(pairs)


def _rebuilt_sequence(like, values):
    try:
        if hasattr(like, "__setitem__"):
            import copy

            clone = copy.copy(like)
            for i, value in enumerate(values):
                clone[i] = value
            return clone
        return type(like)(values)
    except TypeError:
        return values


def default_convert(data):
    """NumPy arrays in a structure of mappings and sequences become tensors; everything else stays."""
    if isinstance(data, rtorch.Tensor):
        return data
    if _is_numpy(data):
        if _is_array(data) and data.dtype.kind in _NO_TENSOR:
            return data
        return rtorch.as_tensor(data)
    if _is_mapping(data):
        return _rebuilt_mapping(data, {key: default_convert(data[key]) for key in data})
    if _is_namedtuple(data):
        return type(data)(*(default_convert(d) for d in data))
    if isinstance(data, tuple):
        return [default_convert(d) for d in data]
    if _is_sequence(data):
        return _rebuilt_sequence(data, [default_convert(d) for d in data])
    return data


def _collate_numpy(batch, first, collate_fn_map):
    if _is_array(first):
        if first.dtype.kind in _NO_TENSOR:
            raise TypeError(default_collate_err_msg_format.format(first.dtype))
        return collate([rtorch.as_tensor(b) for b in batch], collate_fn_map=collate_fn_map)
    return rtorch.as_tensor(batch)


# Samples of at least so many bytes are written to the file that is the shared memory: the kernel need not clear its
# pages first, nor map them into the worker one by one. 19 MB took 9.9 ms so, and 16 ms through a mapping (2 cores of an
# AMD EPYC server, 2026-11-21).
_WRITTEN = 64 << 10


def _written(batch, shape, dtype):
    """The samples one after the other in a file in memory."""
    size = len(batch) * batch[0].nbytes
    fd = os.memfd_create("rtorch", os.MFD_CLOEXEC)
    try:
        at = 0
        for sample in batch:
            sample = sample.detach().contiguous()
            left = memoryview((ctypes.c_ubyte * sample.nbytes).from_address(sample.data_ptr()))
            while left:
                done = os.pwrite(fd, left, at)
                at, left = at + done, left[done:]
        storage = rtorch.UntypedStorage._new_shared_fd_cpu(fd, size)
    except BaseException:
        os.close(fd)
        raise
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    return rtorch.empty(0, dtype=dtype).set_(storage, 0, shape, strides)


def _stack(batch, first):
    """`stack`; in a worker process the result is made in the shared memory that it will travel in."""
    if worker.get_worker_info() is None or first.device.type != "cpu" or first.is_sparse:
        return rtorch.stack(batch, 0)
    if any(type(t) is not rtorch.Tensor or t.shape != first.shape or t.dtype != first.dtype for t in batch):
        return rtorch.stack(batch, 0)
    if any(t.requires_grad for t in batch):
        return rtorch.stack(batch, 0)
    shape = [len(batch), *first.shape]
    if first.nbytes >= _WRITTEN and hasattr(os, "memfd_create"):
        return _written(batch, shape, first.dtype)
    stacked = rtorch._C._empty_shared(shape, first.dtype)
    for row, sample in zip(stacked, batch):
        row.copy_(sample)
    return stacked


def collate_tensor_fn(batch, *, collate_fn_map=None):
    """Tensors stacked along a new first dimension."""
    return _stack(batch, batch[0])


def collate_float_fn(batch, *, collate_fn_map=None):
    """Python floats as one float64 tensor."""
    return rtorch.tensor(batch, dtype=rtorch.float64)


def collate_int_fn(batch, *, collate_fn_map=None):
    """Python integers as one tensor."""
    return rtorch.tensor(batch)


def collate_str_fn(batch, *, collate_fn_map=None):
    """Strings and bytes stay a list."""
    return batch


# What `default_collate` does with a type: programs add their own types here. NumPy's are known without an entry.
default_collate_fn_map = {
    rtorch.Tensor: collate_tensor_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}


def collate(batch, *, collate_fn_map=None):
    """Collates by structure; `collate_fn_map` maps types to functions(batch, collate_fn_map=...) for their values."""
    first = batch[0]
    if collate_fn_map is not None:
        function = collate_fn_map.get(type(first))
        for kind in collate_fn_map if function is None and not _is_numpy(first) else ():
            if isinstance(first, kind):
                function = collate_fn_map[kind]
                break
        if function is not None:
            return function(batch, collate_fn_map=collate_fn_map)
    if _is_numpy(first):
        return _collate_numpy(batch, first, collate_fn_map)

    def inner(values):
        return collate(values, collate_fn_map=collate_fn_map)

    if _is_mapping(first):
        return _rebuilt_mapping(first, {key: inner([d[key] for d in batch]) for key in first})
    if _is_namedtuple(first):
        return type(first)(*(inner(list(samples)) for samples in zip(*batch)))
    if _is_sequence(first):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = [inner(list(samples)) for samples in zip(*batch)]
        return columns if isinstance(first, tuple) else _rebuilt_sequence(first, columns)
    raise TypeError(default_collate_err_msg_format.format(type(first)))


def default_collate(batch):
    """Stacks a list of samples: tensors and arrays along a new first dimension, structures element by element.

    Types of one's own are collated by functions in `_utils.collate.default_collate_fn_map`.

    >>> from rtorch.utils.data import default_collate
    >>> default_collate([(1, 2.0), (3, 4.0)])
    [tensor([1, 3]), tensor([2., 4.], dtype=torch.float64)]
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)
