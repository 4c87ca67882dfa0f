"""Parameter, Buffer and their uninitialized forms: tensors that a `Module` recognises when they are assigned to it.

What a module does with them is in `modules/module.py`; lazy layers are in `modules/lazy.py`.
"""

from collections import OrderedDict

import rtorch
from rtorch import _C

__all__ = ["Parameter", "Buffer", "UninitializedParameter", "UninitializedBuffer", "is_lazy"]

_Tensor = _C.Tensor


class _ParameterMeta(type(_Tensor)):
    """Makes `isinstance(t, Parameter)` true for a tensor subclass that was marked as a parameter."""

    def __instancecheck__(cls, instance):
        if type.__instancecheck__(cls, instance):
            return True
        return cls is Parameter and isinstance(instance, _Tensor) and getattr(instance, "_is_param", False)


class Parameter(_Tensor, metaclass=_ParameterMeta):
    """A tensor that is a module's parameter: assigned to a `Module` it appears in `parameters()`.

    data: the tensor that it wraps (shared, not copied; default: an empty one). requires_grad: default True.

    >>> import rtorch
    >>> rtorch.nn.Parameter(rtorch.ones(2)).requires_grad
    True
    """

    # What is computed from a parameter is a plain tensor.
    __torch_function__ = _C._disabled_torch_function_impl

    def __new__(cls, data=None, requires_grad=True):
        if data is None:
            data = rtorch.empty(0)
        if type(data) is _Tensor or type(data) is Parameter:
            return _Tensor._make_subclass(cls, data, requires_grad)
        if not isinstance(data, _Tensor):
            raise TypeError(f"Parameter data must be a tensor, but got {rtorch.typename(data)}")
        # A user's own subclass keeps its type and is only marked.
        marked = data.detach().requires_grad_(requires_grad)
        if type(marked) is not type(data):
            return _Tensor._make_subclass(cls, data, requires_grad)
        marked._is_param = True
        return marked

    def __deepcopy__(self, memo):
        done = memo.get(id(self))
        if done is None:
            done = type(self)(self.data.clone(), self.requires_grad)
            memo[id(self)] = done
        return done

    def __repr__(self):
        return "Parameter containing:\n" + super().__repr__()

    __str__ = __repr__

    def __reduce_ex__(self, protocol):
        from rtorch._rebuild import _rebuild_parameter, _rebuild_parameter_with_state

        state = dict(self.__dict__) or None
        args = (self.data, self.requires_grad, OrderedDict())
        return (_rebuild_parameter, args) if state is None else (_rebuild_parameter_with_state, (*args, state))


class _BufferMeta(type(_Tensor)):
    """`Buffer(...)` gives back a plain tensor with a mark; this makes `isinstance` see the mark."""

    def __instancecheck__(cls, instance):
        if type.__instancecheck__(cls, instance):
            return True
        return cls is Buffer and isinstance(instance, _Tensor) and getattr(instance, "_is_buffer", False)


class Buffer(_Tensor, metaclass=_BufferMeta):
    """A tensor that is a module's buffer: saved in `state_dict` (if `persistent`), moved by `to`, not trained.

    >>> import rtorch
    >>> m = rtorch.nn.Module()
    >>> m.count = rtorch.nn.Buffer(rtorch.zeros(1))
    >>> list(m.state_dict())
    ['count']
    """

    def __new__(cls, data=None, *, persistent=True):
        if data is None:
            data = rtorch.empty(0)
        tensor = data.detach().requires_grad_(data.requires_grad)
        tensor.persistent = persistent
        tensor._is_buffer = True
        return tensor


_NO_SHAPE = (
    "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in `load_state_dict` "
    "when trying to load an uninitialized parameter into an initialized one. Call `forward` to initialize the "
    "parameters before accessing their attributes."
)


_NO_USE = (
    "Attempted to use an uninitialized parameter in {}. This error happens when you are using a `LazyModule` or "
    "explicitly manipulating `torch.nn.parameter.UninitializedParameter` objects. When using LazyModules call "
    "`forward` with a dummy batch to initialize the parameters before calling torch functions"
)


def _unusable(name):
    """A method of plain tensors that asks for no operator, and so is refused here."""

    def method(self, *args, **kwargs):
        raise ValueError(_NO_USE.format(f"Tensor.{name}"))

    method.__name__ = method.__qualname__ = name
    return method


class UninitializedTensorMixin:
    """What an uninitialized parameter and buffer share: they know a dtype and a device, not yet a shape."""

    @property
    def shape(self):
        raise RuntimeError(_NO_SHAPE)

    # What asks for neither a shape nor elements: the rest of the operators raises.
    _ALLOWED = frozenset(
        "__hash__ size copy_ is_complex is_floating_point half float double bfloat16 char short int long cuda cpu to "
        "get_device is_meta __repr__ __get__ _with_grads _zero_grads".split()
    )

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") in cls._ALLOWED:
            return _C._disabled_torch_function_impl(func, types, args, kwargs or {})
        raise ValueError(_NO_USE.format(func))

    def materialize(self, shape, device=None, dtype=None):
        """Gives the tensor memory of `shape` and turns it into an ordinary parameter or buffer, in place."""
        self.data = rtorch.empty(shape, device=device or self.data.device, dtype=dtype or self.data.dtype)
        self.__class__ = self.cls_to_become

    numel, dim, numpy, tolist = _unusable("numel"), _unusable("dim"), _unusable("numpy"), _unusable("tolist")
    requires_grad_, __len__ = _unusable("requires_grad_"), _unusable("__len__")

    def share_memory_(self):
        raise RuntimeError("Can't share memory on an uninitialized parameter or buffer.")

    def __repr__(self):
        return f"<{type(self).__name__}>"

    __str__ = __repr__

    def __reduce_ex__(self, protocol):
        return (type(self), (self.requires_grad,))


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A parameter whose shape the first call of a lazy module decides (`nn.LazyLinear`)."""

    cls_to_become = Parameter

    def __new__(cls, requires_grad=True, device=None, dtype=None):
        return _Tensor._make_subclass(cls, rtorch.empty(0, device=device, dtype=dtype), requires_grad)

    def __deepcopy__(self, memo):
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.requires_grad, self.data.device, self.data.dtype)
        return memo[id(self)]


class UninitializedBuffer(UninitializedTensorMixin, _Tensor):
    """A buffer whose shape the first call of a lazy module decides (`nn.LazyBatchNorm1d`)."""

    cls_to_become = _Tensor

    def __new__(cls, requires_grad=False, device=None, dtype=None, persistent=True):
        tensor = _Tensor._make_subclass(cls, rtorch.empty(0, device=device, dtype=dtype), requires_grad)
        tensor.persistent = persistent
        tensor._is_buffer = True
        return tensor


def is_lazy(parameter):
    """Whether `parameter` still waits for its shape."""
    return isinstance(parameter, UninitializedTensorMixin)
