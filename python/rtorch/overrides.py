"""`__torch_function__` from Python: asking whether arguments override operators, letting them answer, and which
functions can be overridden at all. Operators of the core ask by themselves (`overrides.rs`)."""

import contextlib
import functools
import inspect
import threading
import types

import rtorch
from rtorch import _C
from rtorch._ops._register import _overloaded

__all__ = [
    "TorchFunctionMode",
    "enable_reentrant_dispatch",
    "get_ignored_functions",
    "get_overridable_functions",
    "get_testing_overrides",
    "handle_torch_function",
    "has_torch_function",
    "has_torch_function_unary",
    "has_torch_function_variadic",
    "is_tensor_like",
    "is_tensor_method_or_property",
    "redispatch_function",
    "resolve_name",
    "wrap_torch_function",
]

_thread = threading.local()


def has_torch_function(relevant_args):
    """Does one of the arguments override operators?"""
    if getattr(_thread, "skip", False):  # `redispatch_function` asked for the plain function, once
        _thread.skip = False
        return False
    return any(map(_C._has_torch_function, relevant_args))


def has_torch_function_unary(arg):
    """`has_torch_function` of one argument."""
    return has_torch_function((arg,))


def has_torch_function_variadic(*args):
    """`has_torch_function` of the arguments."""
    return has_torch_function(args)


def handle_torch_function(public_api, relevant_args, *args, **kwargs):
    """What the overriding arguments answer for `public_api(*args, **kwargs)`; each type is asked once.

    >>> class Mine:
    ...     @classmethod
    ...     def __torch_function__(cls, func, types, args=(), kwargs=None):
    ...         return func.__name__
    >>> def f(x):
    ...     if has_torch_function_unary(x):
    ...         return handle_torch_function(f, (x,), x)
    ...     return x + 1
    >>> f(1), f(Mine())
    (2, 'f')
    """
    found = _overloaded(tuple(relevant_args), {})
    kinds = tuple(type(x) for x in found)
    for x in found:
        result = x.__torch_function__(public_api, kinds, args, kwargs)
        if result is not NotImplemented:
            return result
    raise TypeError(
        f"no implementation found for '{public_api.__module__}.{public_api.__name__}' on types that implement "
        f"__torch_function__: {list(kinds)}"
    )


def redispatch_function(func, types, args=(), kwargs=None):
    """`func` itself, its arguments not asked; inside it, a Python function's operators ask again."""
    kwargs = kwargs or {}
    if isinstance(func, types_of_operators):
        return _C._disabled_torch_function_impl(func, types, tuple(args), kwargs)
    _thread.skip = True
    try:
        return func(*args, **kwargs)
    finally:
        _thread.skip = False


types_of_operators = (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType)


def wrap_torch_function(dispatcher):
    """Decorates a function so that the tensor-likes which `dispatcher(*args, **kwargs)` lists may answer it."""

    def decorate(func):
        @functools.wraps(func)
        def wrapped(*args, **kwargs):
            relevant = dispatcher(*args, **kwargs)
            if has_torch_function(relevant):
                return handle_torch_function(wrapped, relevant, *args, **kwargs)
            return func(*args, **kwargs)

        return wrapped

    return decorate


@contextlib.contextmanager
def enable_reentrant_dispatch():
    """Inside, operators ask overriding arguments again where that was switched off."""
    before = _C._set_torch_function_disabled(False)
    try:
        yield
    finally:
        _C._set_torch_function_disabled(before)


def is_tensor_like(inp):
    """A tensor, or of a type with `__torch_function__`?"""
    return type(inp) is rtorch.Tensor or hasattr(inp, "__torch_function__")


# Functions of tensors' neighbourhood that take no tensors, and so ask nobody.
_IGNORED = (
    "arange autocast_decrement_nesting autocast_increment_nesting clear_autocast_cache compile empty eye finfo "
    "from_numpy frombuffer full get_autocast_dtype get_default_dtype get_num_threads get_rng_state iinfo initial_seed "
    "is_autocast_enabled is_grad_enabled is_storage is_tensor linspace logspace manual_seed normal ones promote_types "
    "rand randint randn randperm result_type seed set_default_dtype set_num_threads set_printoptions set_rng_state "
    "tril_indices triu_indices typename zeros as_tensor asarray tensor set_grad_enabled enable_grad no_grad"
).split()
_IGNORED_METHODS = (
    "__class__ __delattr__ __dir__ __doc__ __getattribute__ __init__ __init_subclass__ __new__ __setattr__ "
    "__subclasshook__ __torch_function__ _make_subclass as_subclass"
).split()


def get_ignored_functions():
    """Public functions that nobody can override: they take no tensors."""
    found = {getattr(rtorch, n) for n in _IGNORED if hasattr(rtorch, n)}
    return found | {getattr(rtorch.Tensor, n) for n in _IGNORED_METHODS if hasattr(rtorch.Tensor, n)}


def _namespaces():
    import rtorch.nn.functional as F

    yield rtorch, [n for n in dir(rtorch) if n not in _IGNORED]
    yield F, [n for n in F.__dict__ if not n[0].isupper()]
    for module in filter(None, (getattr(rtorch, n, None) for n in ("linalg", "special", "fft"))):
        yield module, [n for n in dir(module) if n in getattr(module, "__all__", dir(module))]


def get_overridable_functions():
    """Namespace to the functions (methods, property getters) in it that `__torch_function__` is asked about."""
    found = {}
    for module, names in _namespaces():
        values = [(n, getattr(module, n)) for n in names if not n.startswith("_")]
        functions = (types.FunctionType, types.BuiltinFunctionType)
        found[module] = list({id(f): f for _, f in values if isinstance(f, functions)}.values())
    methods = []
    for name in dir(rtorch.Tensor):
        value = inspect.getattr_static(rtorch.Tensor, name)
        if name in _IGNORED_METHODS:
            continue
        if callable(value):
            methods.append(getattr(rtorch.Tensor, name))
        elif hasattr(value, "__get__") and hasattr(value, "__set__"):
            found[value] = [value.__get__]
    found[rtorch.Tensor] = methods
    return found


def get_testing_overrides():
    """Overridable function to a function of the same signature that answers -1."""
    found = {}
    for functions in get_overridable_functions().values():
        for f in functions:

            def stand_in(*args, **kwargs):
                return -1

            with contextlib.suppress(ValueError, TypeError):
                stand_in.__signature__ = inspect.signature(f)
            found[f] = stand_in
    return found


@functools.lru_cache(None)
def _names():
    """Function to its name."""
    import rtorch.nn.functional as F

    found = {}
    for name in dir(rtorch.Tensor):
        value = inspect.getattr_static(rtorch.Tensor, name)
        if callable(value):
            found.setdefault(getattr(rtorch.Tensor, name), f"torch.Tensor.{name}")
        elif hasattr(value, "__get__"):
            found.setdefault(value.__get__, f"torch.Tensor.{name}.__get__")
    for module, prefix in ((rtorch, "torch"), (F, "torch.nn.functional"), (rtorch.linalg, "torch.linalg")):
        for name in dir(module):
            value = getattr(module, name, None)
            if isinstance(value, (types.FunctionType, types.BuiltinFunctionType)):
                found.setdefault(value, f"{prefix}.{name}")
    return found


def resolve_name(f):
    """The name under which PyTorch knows a function that `__torch_function__` was asked about; None if it has none.

    >>> import rtorch
    >>> resolve_name(rtorch.add), resolve_name(rtorch.Tensor.add)
    ('torch.add', 'torch.Tensor.add')
    """
    if isinstance(f, str):
        return f
    return _names().get(f)


def is_tensor_method_or_property(func):
    """A method of Tensor, or the `__get__` of a property of it?"""
    return (resolve_name(func) or "").startswith("torch.Tensor.") or getattr(func, "__name__", "") == "__get__"


class TorchFunctionMode:
    """Asked about every operator while it is entered: a subclass defines `__torch_function__(self, func, types, args,
    kwargs)`, which answers in the operator's place, and may call `func` itself (the mode stands aside meanwhile).

    >>> import rtorch
    >>> class Names(rtorch.overrides.TorchFunctionMode):
    ...     def __torch_function__(self, func, types, args=(), kwargs=None):
    ...         print(func.__name__)
    ...         return func(*args, **(kwargs or {}))
    >>> with Names():
    ...     x = rtorch.ones(2).exp()
    ones
    exp
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        raise NotImplementedError

    def __enter__(self):
        _C._push_function_mode(self)
        return self

    def __exit__(self, *exception):
        _C._pop_function_mode()
