"""Methods of Tensor that PyTorch keeps for older programs, for other devices or for its own modules: older spellings,
what it removed (they raise), and questions about devices that rtorch does not have.
"""

import warnings
import weakref

import rtorch
from rtorch._tensor import Tensor, _method


@_method
def __long__(self):
    return int(self)


@_method
def __nonzero__(self):
    return bool(self)


@_method
def __setstate__(self, state):
    """What an old pickle holds: (storage, offset, size, stride), or (tensor, ..., requires_grad, hooks)."""
    if not self.is_leaf:
        raise RuntimeError("__setstate__ can be only called on leaf Tensors")
    if len(state) == 4:
        self.set_(*state)
        return
    if len(state) == 5:
        self.data = state[0]
        state = (state[3], state[4], state[2])
    self.requires_grad = bool(state[0])


def _removed(name, instead):
    def method(self, *args, **kwargs):
        raise RuntimeError(f"This function was deprecated since version 1.9 and is now removed. {instead}")

    method.__name__ = name
    method.__doc__ = "Raises: PyTorch removed it."
    return _method(method)


_removed("solve", "`torch.solve` is deprecated in favor of `torch.linalg.solve`.")
_removed("lstsq", "`torch.lstsq` is deprecated in favor of `torch.linalg.lstsq`.")
_removed("eig", "`torch.linalg.eig` returns complex tensors of dtype `cfloat` or `cdouble`.")
_removed("symeig", "`torch.symeig` is deprecated in favor of `torch.linalg.eigh`, which reads the lower triangle.")


@_method
def reinforce(self, reward):
    """Raises: PyTorch removed it."""
    raise RuntimeError("reinforce() was removed. Use torch.distributions instead.")


@_method
def resize(self, *sizes):
    """A copy with other sizes of as many elements; deprecated, `reshape` is it."""
    warnings.warn("non-inplace resize is deprecated", stacklevel=2)
    sizes = tuple(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    count = rtorch.Size(sizes).numel()
    if count != self.numel():
        raise RuntimeError(
            f"requested resize to {'x'.join(map(str, sizes))} ({count} elements in total), but the given tensor has a "
            f"size of {'x'.join(map(str, self.shape))} ({self.numel()} elements). autograd's resize can only change "
            "the shape of a given tensor, while preserving the number of elements. "
        )
    return self.contiguous().view(sizes)


@_method
def resize_as(self, tensor):
    """`resize` to the sizes of another tensor."""
    return self.resize(tensor.size())


@_method
def map2_(self, x, y, callable):
    """Replaces every element by `callable(element, element of x, element of y)`; slow, on the CPU."""
    if self.requires_grad or x.requires_grad or y.requires_grad:
        raise TypeError("Can't call map2_() on Variable that requires grad. Use var.detach().map2_() instead.")
    columns = [t.expand_as(self).flatten().tolist() for t in (self, x, y)]
    values = rtorch.tensor([callable(*v) for v in zip(*columns)], dtype=self.dtype)
    return self.copy_(values.reshape(self.shape))


@_method
def conj_physical_(self):
    """The complex conjugate, in place; real numbers stay as they are."""
    return self.copy_(self.conj().resolve_conj()) if self.is_complex() else self


@_method
def float_power_(self, exponent):
    """Power in double precision, in place: the tensor must be of float64 or complex128."""
    complex_result = self.is_complex() or isinstance(exponent, complex)
    complex_result = complex_result or (isinstance(exponent, Tensor) and exponent.is_complex())
    needed = rtorch.complex128 if complex_result else rtorch.float64
    if self.dtype is not needed:
        raise RuntimeError(
            f"the base given to float_power_ has dtype {self.dtype} but the operation's result requires dtype {needed}"
        )
    if isinstance(exponent, Tensor):
        exponent = exponent.to(needed)
    return self.pow_(exponent)


@_method
def const_data_ptr(self):
    """`data_ptr()`, for those who only read."""
    return self.data_ptr()


@_method
def dim_order(self, *, ambiguity_check=False):
    """The dims from the slowest to the fastest in memory. ambiguity_check: raises RuntimeError where sizes of 1 or
    equal strides leave another order possible, or where none, or more than one, of a list of memory formats fits."""
    formats = ambiguity_check if isinstance(ambiguity_check, list) else []
    if not isinstance(ambiguity_check, (bool, list)) or any(not isinstance(f, rtorch.memory_format) for f in formats):
        raise TypeError("The ambiguity_check argument must be a bool or a list of memory formats.")
    fitting = [f for f in formats if _fits(self, f)]
    strides, sizes = self.stride(), self.shape
    unique = len(set(strides)) == self.dim() and 0 not in strides and 1 not in sizes
    if (formats and not unique and len(fitting) != 1) or (ambiguity_check is True and not unique):
        raise RuntimeError(
            "The tensor does not have unique dim order, or cannot map to exact one of the given memory formats."
        )
    if fitting and not unique:
        return _order_of(fitting[0], self.dim())
    # sorted by insertion from the last dim, as PyTorch does: what is undecided stays
    order = list(range(self.dim()))[::-1]
    for i in range(1, len(order)):
        at = i
        for before in range(i - 1, -1, -1):
            decision = _compare(sizes, strides, order[before], order[at])
            if decision > 0:
                order[before], order[at] = order[at], order[before]
                at = before
            elif decision < 0:
                break
    return tuple(order[::-1])


def _compare(sizes, strides, a, b):
    """1 where dim a is slower than dim b in memory, -1 where it is faster, 0 where that is undecided."""
    if strides[a] == 0 or strides[b] == 0:
        return 0
    if strides[a] != strides[b]:
        return 1 if strides[a] > strides[b] else -1
    return int(sizes[a] > sizes[b])


def _fits(tensor, memory_format):
    dims = {rtorch.channels_last: 4, rtorch.channels_last_3d: 5}.get(memory_format)
    return (dims is None or tensor.dim() == dims) and tensor.is_contiguous(memory_format=memory_format)


def _order_of(memory_format, ndim):
    if memory_format in (rtorch.channels_last, rtorch.channels_last_3d):
        return (0, *range(2, ndim), 1)
    return tuple(range(ndim))


@_method
def module_load(self, other, assign=False):
    """What `Module.load_state_dict` puts in the place of this parameter or buffer: this one with the other's values, or
    (`assign`) the other, out of the graph."""
    if assign:
        return other.detach()
    with rtorch.no_grad():
        return self.copy_(other).detach()


@_method
def is_distributed(self):
    """False: no tensor is spread over processes."""
    return False


@_method
def xpu(self, device=None, non_blocking=False, memory_format=None):
    """Raises: there is no XPU here; the GPU device is wgpu."""
    raise RuntimeError("Tensor.xpu(): rtorch has no xpu device. Its GPU device is 'wgpu': see rtorch.wgpu")


def _property(f):
    setattr(Tensor, f.__name__, property(f))
    return f


@_property
def is_mps(self):
    """False: there is no MPS device."""
    return False


@_property
def is_xpu(self):
    """False: there is no XPU device."""
    return False


@_property
def volatile(self):
    """False, and a warning: `no_grad` took its place."""
    warnings.warn("volatile was removed (Variable.volatile is always False)", stacklevel=2)
    return False


@_property
def __cuda_array_interface__(self):
    raise AttributeError(
        f"Can't get __cuda_array_interface__ on non-CUDA tensor type: {self.type()} If CUDA data is required use "
        "tensor.cuda() to copy tensor to device memory."
    )


@_property
def __weakref__(self):
    """The first weak reference to the tensor, None where there is none."""
    found = weakref.getweakrefs(self)
    return found[0] if found else None


def is_inference(input):
    """`Tensor.is_inference` as a function."""
    return input.is_inference()


def is_signed(input):
    """`Tensor.is_signed` as a function: can elements be negative?"""
    return input.is_signed()


def is_distributed_of(input):
    """False: no tensor is spread over processes."""
    return input.is_distributed()


Tensor.__div__, Tensor.__idiv__ = Tensor.__truediv__, Tensor.__itruediv__
