"""What travels when a tensor goes to another process: a handle on its memory, which is moved to shared memory first.

Three ways carry the handle. `file_descriptor` (the default) hands over a duplicate of the descriptor, by a thread of
the sender that the receiver asks. `file_system` sends the descriptor's name under /proc, which the receiver opens: no
thread, but the sender keeps the memory until that happened. A `Channel` (see `_channel`) sends descriptors beside its
message.
Queues, pipes and pools are Python's own; only what they pickle is decided here.
"""

import os
import threading
from multiprocessing import reduction
from multiprocessing.reduction import ForkingPickler

import rtorch

__all__ = [
    "get_all_sharing_strategies",
    "get_sharing_strategy",
    "init_reductions",
    "rebuild_storage_empty",
    "rebuild_storage_fd",
    "rebuild_storage_filename",
    "rebuild_tensor",
    "reduce_storage",
    "reduce_tensor",
    "set_sharing_strategy",
]

_STRATEGIES = {"file_descriptor", "file_system"} if os.path.isdir("/proc/self/fd") else {"file_descriptor"}
_strategy = "file_descriptor"
# The message that this thread packs or unpacks now, if it goes through a Channel.
_message = threading.local()
# Sent by name and not known to be opened yet: (storage, size of its file once the receiver has it).
_sent_by_name = []


def set_sharing_strategy(new_strategy):
    """How tensors travel from now on: one of `get_all_sharing_strategies()`."""
    global _strategy
    if new_strategy not in _STRATEGIES:
        raise AssertionError(f"unknown sharing strategy {new_strategy!r}, expected one of {sorted(_STRATEGIES)}")
    _strategy = new_strategy


def get_sharing_strategy():
    """The current way: "file_descriptor" or "file_system"."""
    return _strategy


def get_all_sharing_strategies():
    """The ways that this system has."""
    return set(_STRATEGIES)


# ---- storages


def reduce_storage(storage):
    """A storage as its handle; the memory is shared from now on."""
    if storage.nbytes() == 0:
        return (rebuild_storage_empty, (type(storage),))
    fd, size = storage._share_fd_cpu_()
    outgoing = getattr(_message, "outgoing", None)
    if outgoing is not None:
        return (_rebuild_storage_of_message, (outgoing.add(storage, fd), size))
    if _strategy == "file_system":
        return (rebuild_storage_filename, (type(storage), _name(storage, fd), size))
    return (rebuild_storage_fd, (type(storage), reduction.DupFd(fd), size))


def rebuild_storage_empty(cls):
    """A storage of no bytes."""
    return rtorch.empty(0).untyped_storage()


def rebuild_storage_fd(cls, df, size):
    """The memory behind a descriptor that the sender duplicates for us."""
    return cls._new_shared_fd_cpu(df.detach(), size)


def rebuild_storage_filename(cls, name, size):
    """The memory behind a name under /proc."""
    try:
        fd = os.open(name, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except FileNotFoundError:
        raise RuntimeError(
            f"unable to open shared memory {name}: the process that sent it has ended, or dropped the tensor"
        ) from None
    os.write(fd, b"\0")  # one byte more says to the sender that we have it
    return cls._new_shared_fd_cpu(fd, size)


def _name(storage, fd):
    """The descriptor's name; the storage is kept until somebody opened it, which makes the file a byte longer."""
    _sent_by_name[:] = [entry for entry in _sent_by_name if _file_size(entry[0]) < entry[1]]
    awaited = sum(1 for kept, _ in _sent_by_name if kept == storage)
    _sent_by_name.append((storage, os.fstat(fd).st_size + awaited + 1))
    return f"/proc/{os.getpid()}/fd/{fd}"


def _file_size(storage):
    return os.fstat(storage._share_fd_cpu_()[0]).st_size


def _rebuild_storage_of_message(index, size):
    return _message.incoming.storage(index, size)


# ---- tensors


def reduce_tensor(tensor):
    """A tensor as its storage's handle and the window it shows. A gradient that is shared already goes along."""
    if tensor.requires_grad and not tensor.is_leaf:
        raise RuntimeError(
            "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd does not support "
            "crossing process boundaries.  If you just want to transfer the data, call detach() on the tensor before "
            "serializing (e.g., putting it on the queue)."
        )
    if tensor.device.type != "cpu":
        return (_rebuild_on_device, (type(tensor), tensor.detach().cpu(), tensor.device, tensor.requires_grad))
    metadata = (tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.requires_grad)
    grad = tensor.grad
    shared_grad = grad if grad is not None and grad.is_shared() else None
    return (rebuild_tensor, (type(tensor), tensor.untyped_storage(), metadata, shared_grad))


def rebuild_tensor(cls, storage, metadata, grad=None):
    """A tensor of class `cls` over a storage: offset, size, stride, dtype, requires_grad."""
    offset, size, stride, dtype, requires_grad = metadata
    data = rtorch.empty(0, dtype=dtype).set_(storage, offset, size, stride)
    made = _of_class(cls, data, requires_grad)
    if grad is not None:
        made.grad = grad
    return made


def _rebuild_on_device(cls, data, device, requires_grad):
    return _of_class(cls, data.to(device), requires_grad)


def _of_class(cls, data, requires_grad):
    if cls is rtorch.Tensor:
        return data.requires_grad_(requires_grad)
    return rtorch.Tensor._make_subclass(cls, data, requires_grad)


def init_reductions():
    """Teaches Python's `multiprocessing` how tensors and storages travel."""
    ForkingPickler.register(rtorch.Tensor, reduce_tensor)
    ForkingPickler.register(rtorch.nn.Parameter, reduce_tensor)
    ForkingPickler.register(rtorch.UntypedStorage, reduce_storage)
