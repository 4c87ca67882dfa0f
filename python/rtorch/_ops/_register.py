"""How a composition written in Python becomes an operator: `@op(...)` puts it into the tables that `rtorch/__init__`
(functions) and `rtorch/_tensor.py` (methods) read. What must be fast or fuse is Rust (`rust/core/src/ops`) instead.
"""

from __future__ import annotations

import inspect
from functools import wraps

import rtorch._C as _C

FUNCTIONS: dict = {}
METHODS: dict = {}

_PLAIN = (_C.Tensor,)
# NumPy's names stand for the first operand as in PyTorch
_NAMES_OF_INPUT = ("self", "x", "a", "x1")


def _overloaded(args, kwargs):
    """Arguments whose class overrides operators by `__torch_function__` (as PyTorch looks for them: one level deep)."""
    found = []
    for a in (*args, *kwargs.values()):
        for x in a if type(a) in (list, tuple) else (a,):
            t = type(x)
            if t is _C.Tensor or not hasattr(t, "__torch_function__"):
                continue
            if getattr(t, "__torch_function__", None) is getattr(_C, "_disabled_torch_function_impl", None):
                continue
            if not _is_default(t) and t not in [type(f) for f in found]:
                found.append(x)
    return found


def _is_default(t):
    f = getattr(t.__torch_function__, "__func__", t.__torch_function__)
    base = getattr(_C.Tensor, "__torch_function__", None)
    return f is getattr(base, "__func__", base)


def _by_own_names(first, args, kwargs):
    """The positional arguments; those given by NumPy's names get ours."""
    if not args and first not in kwargs:
        for n in _NAMES_OF_INPUT if first == "input" else ("input", "self"):
            if n in kwargs:
                args = (kwargs.pop(n),)
                break
    if "axis" in kwargs and "dim" not in kwargs:
        kwargs["dim"] = kwargs.pop("axis")
    if "keepdims" in kwargs and "keepdim" not in kwargs:
        kwargs["keepdim"] = kwargs.pop("keepdims")
    return args


def op(name=None, *, function=True, method=True, out=False, inplace=False, aliases=()):
    """Registers a function under `name` (and `aliases`) as `rtorch.name` and `Tensor.name`.

    out: adds the keyword `out=`; inplace: adds the method `name_`, which writes the result to its tensor.
    """

    def decorate(f):
        public = name or f.__name__
        node, nobody_asks = _C._node_name(public), _C._nobody_asks
        first = next(iter(inspect.signature(f).parameters), None)

        @wraps(f)
        def call(*args, **kwargs):
            target = None
            if kwargs:
                target = kwargs.pop("out", None) if out else None
                args = _by_own_names(first, args, kwargs)
            if not nobody_asks(args, kwargs):
                over = _overloaded(args, kwargs)
                types = tuple(type(x) for x in over)
                if _C._in_function_mode():
                    r = _C._ask_function_mode(call, types, args, kwargs)
                    if r is not NotImplemented:
                        return r if target is None else _C._write_out(r, target)
                for x in over:
                    r = x.__torch_function__(call, types, args, kwargs)
                    if r is not NotImplemented:
                        return r
                if over:
                    raise TypeError(
                        f"no implementation found for 'rtorch.{public}' on types that implement __torch_function__"
                    )
            try:
                result = f(*args, **kwargs)
            except AttributeError as e:
                raise _misfit(public, f, args, kwargs, e) from None
            if node is not None and target is None:
                _one_node(node, (args, kwargs), result)
            return result if target is None else _C._write_out(result, target)

        call.__name__ = public
        call.__qualname__ = public
        for n in (public, *aliases):
            if function:
                FUNCTIONS[n] = call
            if method:
                METHODS[n] = call
        if inplace:

            def call_(self, *args, **kwargs):
                if not isinstance(self, _C.Tensor):
                    raise TypeError(f"descriptor '{public}_' doesn't apply to a '{type(self).__name__}' object")
                return self.copy_(call(self, *args, **kwargs))

            call_.__name__ = public + "_"
            call_.__doc__ = f"In-place version of :meth:`{public}`."
            for n in (public, *aliases):
                METHODS[n + "_"] = call_
        return call

    return decorate


def _misfit(name, f, args, kwargs, error):
    """PyTorch's TypeError where something else than a tensor was asked for a tensor's attribute, else the error."""
    names = list(inspect.signature(f).parameters)
    given = [(f"{name}(): argument '{n}' (position {i})", x) for i, (n, x) in enumerate(zip(names, args), 1)]
    given += [(f"{name}(): argument '{n}'", x) for n, x in kwargs.items()]
    for where, x in given:
        if x is error.obj and not isinstance(x, _C.Tensor):
            return TypeError(f"{where} must be Tensor, not {type(x).__name__}")
        if isinstance(x, (list, tuple)):
            for i, element in enumerate(x):
                if element is error.obj and not isinstance(element, _C.Tensor):
                    return TypeError(f"{where}: expected Tensor as element {i}, but got {type(element).__name__}")
    return error


def as_nodes(prefix, namespace):
    """Wraps the functions of a module that have a node name of their own in the graph (`rtorch._C._node_name`)."""
    for public, f in list(namespace.items()):
        node = _C._node_name(f"{prefix}.{public}") if callable(f) else None
        if node is not None:
            namespace[public] = _as_node(node, f)


def with_types(prefix, namespace):
    """Wraps the functions of a module so that they refuse what is no tensor by a TypeError, as operators do."""
    operators = set(FUNCTIONS.values())
    for public, f in list(namespace.items()):
        ours = inspect.isfunction(f) and f.__module__.startswith((namespace["__name__"], "rtorch._ops."))
        if ours and f not in operators and not public.startswith("_"):
            namespace[public] = _typed(f"{prefix}_{public}", f)


def _typed(name, f):
    @wraps(f)
    def call(*args, **kwargs):
        try:
            return f(*args, **kwargs)
        except AttributeError as e:
            raise _misfit(name, f, args, kwargs, e) from None

    return call


def _as_node(node, f):
    @wraps(f)
    def call(*args, **kwargs):
        result = f(*args, **kwargs)
        _one_node(node, (args, kwargs), result)
        return result

    return call


def _one_node(names, inputs, result):
    _C._one_node(names[not isinstance(result, _C.Tensor)], inputs, result)


def one_node(node, inputs, result):
    """`result`, just computed from `inputs`, as the output of one node of that name."""
    _C._one_node(node, inputs, result)
    return result


def give(result, out):
    """The result (a tensor, or a named tuple of them), written to `out` where that is given."""
    if out is None:
        return result
    if isinstance(result, tuple):
        return type(result)(*map(_C._write_out, result, out))
    return _C._write_out(result, out)


def named(kind, fields):
    """A named tuple like PyTorch's `torch.return_types.KIND`."""
    from collections import namedtuple

    def text(self):
        lines = ",\n".join(f"{name}={value!r}" for name, value in zip(self._fields, self))
        return f"torch.return_types.{kind}(\n{lines})"

    t = namedtuple(kind, fields)
    t.__module__ = "rtorch.return_types"
    t.__repr__ = text
    return t
