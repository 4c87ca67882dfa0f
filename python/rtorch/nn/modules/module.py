"""`Module`: the base of every layer and model. Attributes, traversal, conversion, calling, printing.

Saving and loading is in _state.py, what hooks do is in _hooks.py, the parameter classes are in ../parameter.py.
"""

from collections import OrderedDict

import rtorch
from rtorch import _C
from rtorch.nn.parameter import Buffer, Parameter

from . import _hooks
from ._hooks import *  # noqa: F403  (PyTorch has register_module_*_hook in this module)
from ._state import StateDictMixin, _IncompatibleKeys

__all__ = ["Module", "_IncompatibleKeys", *_hooks.__all__]

_Tensor = _C.Tensor
_global_hooks = _hooks.active
_DICTS = (
    "_parameters",
    "_buffers",
    "_backward_pre_hooks",
    "_backward_hooks",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
    "_modules",
)
_KEPT_PLAIN = ("_parameters", "_buffers", "_modules")


def _addindent(text, spaces):
    first, *rest = text.split("\n")
    if not rest:
        return text
    return "\n".join([first, *(" " * spaces + line for line in rest)])


def _missing_forward(self, *input):
    """What the module computes; every subclass overrides this."""
    raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')


def _parse_to(args, kwargs):
    """The (device, dtype, non_blocking, memory_format) that `Module.to` was asked for, in any of its forms."""
    device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
    non_blocking = kwargs.pop("non_blocking", False)
    kwargs.pop("copy", None)
    memory_format, other = kwargs.pop("memory_format", None), kwargs.pop("tensor", kwargs.pop("other", None))
    if kwargs:
        raise TypeError(f"to() received an invalid combination of arguments: unexpected {sorted(kwargs)}")
    flags = []
    kinds = [type(a) for a in args]
    if len(args) > 4 or kinds.count(rtorch.dtype) + (dtype is not None) > 1 or kinds.count(int) > 1:
        given = ", ".join(k.__name__ for k in kinds)
        raise TypeError(f"to() received an invalid combination of arguments - got ({given})")
    for arg in args:
        if isinstance(arg, _Tensor):
            other = arg
        elif isinstance(arg, rtorch.dtype):
            dtype = arg
        elif isinstance(arg, (str, rtorch.device)) or (isinstance(arg, int) and not isinstance(arg, bool)):
            device = arg
        elif isinstance(arg, bool):
            flags.append(arg)
        elif arg is not None:
            raise TypeError(
                f"to() received an invalid combination of arguments - got ({type(arg).__name__}), but expected one of "
                "(device, dtype, non_blocking, copy), (dtype, non_blocking, copy) or (tensor, non_blocking, copy)"
            )
    if other is not None:
        device, dtype = other.device, other.dtype
    if flags:
        non_blocking = flags[0]
    if device is not None:
        device = rtorch.device(device)
    return device, dtype, non_blocking, memory_format


class Module(StateDictMixin):
    """Base class of all neural network modules: assign parameters and modules in `__init__`, compute in `forward`.

    >>> import rtorch
    >>> from rtorch import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.fc = nn.Linear(3, 1)
    ...     def forward(self, x):
    ...         return self.fc(x).relu()
    >>> Net()(rtorch.ones(2, 3)).shape
    torch.Size([2, 1])
    """

    dump_patches = False
    call_super_init = False
    training: bool

    def __init__(self, *args, **kwargs):
        if not self.call_super_init and (args or kwargs):
            if kwargs:
                name = next(iter(kwargs))
                raise TypeError(f"{type(self).__name__}.__init__() got an unexpected keyword argument '{name}'")
            raise TypeError(
                f"{type(self).__name__}.__init__() takes 1 positional argument but {len(args) + 1} were given"
            )
        state = self.__dict__
        state["training"] = True
        for name in _DICTS:
            state[name] = {} if name in _KEPT_PLAIN else OrderedDict()
        state["_non_persistent_buffers_set"] = set()
        state["_is_full_backward_hook"] = None
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    forward = _missing_forward

    # ---- calling

    def __call__(self, *args, **kwargs):
        # By way of the dict: a class with __getattr__ pays a call for every attribute.
        state = self.__dict__
        try:
            hooked = (
                state["_forward_hooks"]
                or state["_forward_pre_hooks"]
                or state["_backward_hooks"]
                or state["_backward_pre_hooks"]
                or _global_hooks
            )
        except KeyError:
            hooked = True  # made without __init__: the general way says what is missing
        if hooked:
            return _hooks.call_hooked(self, args, kwargs)
        return self.forward(*args, **kwargs)

    _call_impl = __call__

    # ---- attributes

    def __getattr__(self, name):
        # Called only when ordinary lookup found nothing: first parameters, the ones that a forward reads.
        state = self.__dict__
        try:
            return state["_parameters"][name]
        except KeyError:
            for kind in ("_buffers", "_modules"):
                found = state.get(kind)
                if found is not None and name in found:
                    return found[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name, value):
        state = self.__dict__
        params = state.get("_parameters")
        if isinstance(value, _Tensor) and isinstance(value, Parameter):
            if params is None:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._forget(name, state, state["_buffers"], state["_modules"])
            self.register_parameter(name, value)
            return
        if params is not None and name in params:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{rtorch.typename(value)}' as parameter '{name}' "
                    "(torch.nn.Parameter or None expected)"
                )
            self.register_parameter(name, value)
            return
        modules = state.get("_modules")
        if isinstance(value, Module):
            if modules is None:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._forget(name, state, params, state["_buffers"])
            modules[name] = self._see_module(name, value)
        elif modules is not None and name in modules:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{rtorch.typename(value)}' as child module '{name}' "
                    "(torch.nn.Module or None expected)"
                )
            modules[name] = self._see_module(name, value)
        else:
            self._set_buffer_or_plain(name, value, state)

    def _set_buffer_or_plain(self, name, value, state):
        buffers = state.get("_buffers")
        known = buffers is not None and name in buffers
        new = not known and isinstance(value, _Tensor) and isinstance(value, Buffer)
        if not known and not new:
            object.__setattr__(self, name, value)
            return
        if value is not None and not isinstance(value, _Tensor):
            raise TypeError(
                f"cannot assign '{rtorch.typename(value)}' as buffer '{name}' "
                "(torch.nn.Buffer, torch.Tensor or None expected)"
            )
        if new:
            self._forget(name, state, state["_parameters"], state["_modules"])
            self.register_buffer(name, value, value.persistent)
            return
        if isinstance(value, Buffer):  # it keeps the place of the old one and brings its own persistence
            kept_out = self._non_persistent_buffers_set
            (kept_out.discard if value.persistent else kept_out.add)(name)
        for hook in _hooks.global_buffer_registration_hooks.values():
            replaced = hook(self, name, value)
            value = value if replaced is None else replaced
        buffers[name] = value

    def _forget(self, name, *places):
        for place in places:
            place.pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def _see_module(self, name, module):
        for hook in _hooks.global_module_registration_hooks.values():
            replaced = hook(self, name, module)
            module = module if replaced is None else replaced
        return module

    def __delattr__(self, name):
        for place in (self._parameters, self._buffers, self._modules):
            if name in place:
                del place[name]
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self):
        names = [*dir(type(self)), *self.__dict__, *self._parameters, *self._modules, *self._buffers]
        return sorted(n for n in names if not n[0].isdigit())

    def __setstate__(self, state):
        self.__dict__.update(state)
        for name in _DICTS:
            self.__dict__.setdefault(name, OrderedDict())
        self.__dict__.setdefault("_non_persistent_buffers_set", set())
        self.__dict__.setdefault("_is_full_backward_hook", None)

    # ---- registration

    def _check_name(self, kind, name, known):
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {rtorch.typename(name)}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain "."' + (f", got: {name}" if kind == "module" else ""))
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if hasattr(self, name) and name not in known:
            raise KeyError(f"attribute '{name}' already exists")

    def register_buffer(self, name, tensor, persistent=True):
        """Adds a buffer: a tensor (or None) that moves and, if `persistent`, is saved with the module."""
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_name("buffer", name, self._buffers)
        if tensor is not None and not isinstance(tensor, _Tensor):
            raise TypeError(
                f"cannot assign '{rtorch.typename(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        for hook in _hooks.global_buffer_registration_hooks.values():
            replaced = hook(self, name, tensor)
            tensor = tensor if replaced is None else replaced
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def register_parameter(self, name, param):
        """Adds a `Parameter` (or None) under `name`."""
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_name("parameter", name, self._parameters)
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign '{rtorch.typename(param)}' object to parameter '{name}' "
                    "(torch.nn.Parameter or None required)"
                )
            if param.grad_fn is not None:
                raise ValueError(
                    f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created "
                    f"explicitly. To express '{name}' as a function of another Tensor, compute the value in the "
                    "forward() method."
                )
            for hook in _hooks.global_parameter_registration_hooks.values():
                replaced = hook(self, name, param)
                param = param if replaced is None else replaced
        self._parameters[name] = param

    def add_module(self, name, module):
        """Adds a child module (or None) under `name`."""
        if not isinstance(module, Module) and module is not None:
            raise TypeError(f"{rtorch.typename(module)} is not a Module subclass")
        self._check_name("module", name, self._modules)
        self._modules[name] = self._see_module(name, module)

    def register_module(self, name, module):
        """Alias of `add_module`."""
        self.add_module(name, module)

    # ---- reaching into the tree

    def get_submodule(self, target):
        """The module under the dotted path `target` (empty: this one); AttributeError if there is none."""
        module = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def set_submodule(self, target, module, strict=False):
        """Puts `module` at the dotted path `target`; with `strict` only where one stands already."""
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Module):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{parent._get_name()} has no attribute `{name}`")
        if hasattr(parent, name) and not isinstance(getattr(parent, name), Module):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    def _get_leaf(self, target, test, kind):
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
        value = getattr(module, name)
        if not test(module, name, value):
            raise AttributeError(f"`{name}` is not {kind}")
        return value

    def get_parameter(self, target):
        """The parameter under the dotted path `target`."""
        return self._get_leaf(target, lambda m, n, v: isinstance(v, Parameter), "an nn.Parameter")

    def get_buffer(self, target):
        """The buffer under the dotted path `target`."""
        return self._get_leaf(target, lambda m, n, v: n in m._buffers, "a buffer")

    def _named_members(self, get_members, prefix="", recurse=True, remove_duplicate=True):
        seen = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for module_prefix, module in modules:
            for name, value in get_members(module):
                if value is None or value in seen:
                    continue
                if remove_duplicate:
                    seen.add(value)
                yield (module_prefix + "." if module_prefix else "") + name, value

    def parameters(self, recurse=True):
        """Iterates over the parameters of this module and (with `recurse`) of all below it, each once."""
        if type(self).named_parameters is not Module.named_parameters:
            yield from (param for _, param in self.named_parameters(recurse=recurse))
            return
        # The same in the same order, without making names.
        met, seen, waiting = set(), set(), [self]
        while waiting:
            module = waiting.pop()
            if module in met:
                continue
            met.add(module)
            for param in module._parameters.values():
                if param is not None and param not in seen:
                    seen.add(param)
                    yield param
            if recurse:
                waiting.extend(m for m in reversed(module._modules.values()) if m is not None)

    def named_parameters(self, prefix="", recurse=True, remove_duplicate=True):
        """Like `parameters`, with dotted names."""
        yield from self._named_members(lambda m: m._parameters.items(), prefix, recurse, remove_duplicate)

    def buffers(self, recurse=True):
        """Iterates over the buffers."""
        for _, buf in self.named_buffers(recurse=recurse):
            yield buf

    def named_buffers(self, prefix="", recurse=True, remove_duplicate=True):
        """Like `buffers`, with dotted names."""
        yield from self._named_members(lambda m: m._buffers.items(), prefix, recurse, remove_duplicate)

    def children(self):
        """Iterates over the immediate submodules, each once."""
        for _, module in self.named_children():
            yield module

    def named_children(self):
        """Like `children`, with names."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def modules(self):
        """Iterates over this module and all below it, each once."""
        for _, module in self.named_modules():
            yield module

    def named_modules(self, memo=None, prefix="", remove_duplicate=True):
        """Like `modules`, with dotted names; this module itself is named `prefix`."""
        memo = set() if memo is None else memo
        if self not in memo:
            if remove_duplicate:
                memo.add(self)
            yield prefix, self
            for name, module in self._modules.items():
                if module is not None:
                    inner = prefix + ("." if prefix else "") + name
                    yield from module.named_modules(memo, inner, remove_duplicate)

    # ---- modes and conversion

    def train(self, mode=True):
        """Sets training mode (dropout, batch statistics) here and below; returns self."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self):
        """The same as `train(False)`."""
        return self.train(False)

    def requires_grad_(self, requires_grad=True):
        """Sets `requires_grad` of all parameters; returns self."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none=True):
        """Drops (or zeroes) the gradients of all parameters."""
        _C._zero_grads(list(self.parameters()), set_to_none)

    def apply(self, fn):
        """Calls `fn(module)` on every submodule, children first, then on this one; returns self."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def _apply(self, fn, recurse=True):
        if recurse:
            for module in self.children():
                module._apply(fn)
        for key, param in self._parameters.items():
            if param is None:
                continue
            with rtorch.no_grad():
                applied = fn(param)
            grad = param.grad
            # The Parameter object stays (optimizers hold it); only into or out of `meta` a new one is needed.
            if param.is_meta != applied.is_meta:
                self._parameters[key] = new = Parameter(applied, param.requires_grad)
            else:
                param.data, new = applied, param
            if grad is not None:
                with rtorch.no_grad():
                    new.grad = fn(grad).requires_grad_(grad.requires_grad)
        for key, buf in self._buffers.items():
            if buf is not None:
                self._buffers[key] = fn(buf)
        return self

    def to(self, *args, **kwargs):
        """Moves and casts parameters and buffers in place; `to(device)`, `to(dtype)`, `to(tensor)`, or both.

        Only floating point (and complex) members are cast. Returns self.
        """
        device, dtype, non_blocking, memory_format = _parse_to(args, kwargs)
        if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
            raise TypeError(
                f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype}"
            )

        def convert(t):
            cast = dtype if dtype is not None and (t.is_floating_point() or t.is_complex()) else None
            keywords = {"non_blocking": non_blocking}
            if memory_format is not None and t.dim() in (4, 5):
                keywords["memory_format"] = memory_format
            return t.to(device if device is not None else t.device, cast if cast is not None else t.dtype, **keywords)

        return self._apply(convert)

    def to_empty(self, *, device, recurse=True):
        """Moves to `device` without copying: the values are uninitialised."""
        return self._apply(lambda t: rtorch.empty_like(t, device=device), recurse)

    def type(self, dst_type):
        """Casts all parameters and buffers to `dst_type`."""
        return self._apply(lambda t: t.type(dst_type))

    def _cast_floats(self, dtype):
        return self._apply(lambda t: t.to(dtype) if t.is_floating_point() else t)

    def float(self):
        """Casts floating point members to float32."""
        return self._cast_floats(rtorch.float32)

    def double(self):
        """Casts floating point members to float64."""
        return self._cast_floats(rtorch.float64)

    def half(self):
        """Casts floating point members to float16."""
        return self._cast_floats(rtorch.float16)

    def bfloat16(self):
        """Casts floating point members to bfloat16."""
        return self._cast_floats(rtorch.bfloat16)

    def cpu(self):
        """Moves to the CPU."""
        return self._apply(lambda t: t.cpu())

    def cuda(self, device=None):
        """Raises: there is no CUDA here; `to("wgpu")` moves a module to a GPU."""
        rtorch.cuda.refuse("Module.cuda()")

    def xpu(self, device=None):
        """Raises: there is no XPU here; `to("wgpu")` moves a module to a GPU."""
        raise AssertionError("Torch not compiled with XPU enabled: Module.xpu()")

    def compile(self, *args, **kwargs):
        """`rtorch.compile` of this module in place: until there are graphs it runs as it is, and warns once."""
        rtorch.compile(self, *args, **kwargs)

    def wgpu(self, device=None):
        """Moves to a GPU (`rtorch.device("wgpu")`)."""
        where = "wgpu" if device is None else rtorch.device("wgpu", device) if isinstance(device, int) else device
        return self._apply(lambda t: t.to(where))

    def share_memory(self):
        """Moves the storage of all members to shared memory."""
        return self._apply(lambda t: t.share_memory_())

    # ---- hooks

    def register_forward_pre_hook(self, hook, *, prepend=False, with_kwargs=False):
        """Runs `hook(module, args)` before forward; what it returns replaces the arguments."""
        flags = (self._forward_pre_hooks_with_kwargs,) if with_kwargs else ()
        return _hooks.add(self._forward_pre_hooks, hook, flags, prepend)

    def register_forward_hook(self, hook, *, prepend=False, with_kwargs=False, always_call=False):
        """Runs `hook(module, args, output)` after forward; what it returns replaces the output."""
        flags = [self._forward_hooks_with_kwargs] if with_kwargs else []
        if always_call:
            flags.append(self._forward_hooks_always_called)
        return _hooks.add(self._forward_hooks, hook, flags, prepend)

    def register_full_backward_pre_hook(self, hook, prepend=False):
        """Runs `hook(module, grad_output)` before the gradients of the module; may replace grad_output."""
        return _hooks.add(self._backward_pre_hooks, hook, (), prepend)

    def register_full_backward_hook(self, hook, prepend=False):
        """Runs `hook(module, grad_input, grad_output)` with the module's gradients; may replace grad_input."""
        return self._register_backward(hook, True, prepend)

    def register_backward_hook(self, hook):
        """The older form of `register_full_backward_hook`; the two cannot be mixed on one module."""
        return self._register_backward(hook, False, False)

    def _register_backward(self, hook, full, prepend):
        if self._is_full_backward_hook is (not full):
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a single Module. "
                "Please use only one of them."
            )
        self._is_full_backward_hook = full
        return _hooks.add(self._backward_hooks, hook, (), prepend)

    # ---- printing

    def _get_name(self):
        return type(self).__name__

    def extra_repr(self):
        """The arguments shown by `repr`; override in a subclass."""
        return ""

    def __repr__(self):
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({name}): {_addindent(repr(module), 2)}" for name, module in self._modules.items()]
        name = self._get_name()
        if not children and len(lines) <= 1:
            return f"{name}({''.join(lines)})"
        return f"{name}(\n  " + "\n  ".join(lines + children) + "\n)"
