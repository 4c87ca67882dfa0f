"""Parametrizations: a parameter as the output of modules applied to the tensor that is really trained.

The ready ones (orthogonal, weight_norm, spectral_norm) are in parametrizations.py.
"""

import rtorch
from rtorch.nn.modules.container import ModuleDict, ModuleList
from rtorch.nn.parameter import Parameter

__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "transfer_parametrizations_and_params",
    "type_before_parametrizations",
]

_cache_users = 0
_cache = {}


class cached:
    """Inside, every parametrized tensor is computed once and then kept."""

    def __enter__(self):
        global _cache_users
        _cache_users += 1

    def __exit__(self, *exc):
        global _cache_users
        _cache_users -= 1
        if not _cache_users:
            _cache.clear()


def _is_tensor_list(value):
    return isinstance(value, (list, tuple)) and all(isinstance(v, rtorch.Tensor) for v in value)


def _register(module, name, tensor):
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor and the tensor(s) behind it: `original`, or `original0`, `original1`, ..."""

    def __init__(self, modules, original, unsafe=False):
        if len(modules) == 0:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype = original.shape, original.dtype
        with rtorch.no_grad():
            new = self._inverse(original)
        if isinstance(new, rtorch.Tensor):
            self.is_tensor = True
            if original.dtype != new.dtype and not unsafe:
                raise ValueError(
                    "When `right_inverse` outputs one tensor, it may not change the dtype.\n"
                    f"original.dtype: {original.dtype}\nright_inverse(original).dtype: {new.dtype}"
                )
            # The trained tensor stays the same object, so that an optimizer that holds it goes on training it.
            if not unsafe or (new.shape == shape and new.dtype == dtype):
                with rtorch.no_grad():
                    original.data = new.data
                new = original
            _register(self, "original", new)
        else:
            if not _is_tensor_list(new):
                raise ValueError(
                    f"'right_inverse' must return a Tensor or a Sequence of tensors. Got {type(new).__name__}"
                )
            self.is_tensor = False
            self.ntensors = len(new)
            for i, part in enumerate(new):
                if isinstance(original, Parameter):
                    part = Parameter(part, original.requires_grad)
                _register(self, f"original{i}", part)
        if not unsafe:
            self._check(shape, dtype)

    def _check(self, shape, dtype):
        value = self()
        if not isinstance(value, rtorch.Tensor):
            raise ValueError(f"A parametrization must return a tensor. Got {type(value).__name__}.")
        for what, have, want in (("dtype", value.dtype, dtype), ("shape", value.shape, shape)):
            if have != want:
                raise ValueError(
                    f"Registering a parametrization may not change the {what} of the tensor, unless `unsafe` flag is "
                    f"enabled.\nunparametrized {what}: {want}\nparametrized {what}: {have}"
                )

    def _inverse(self, value):
        """The tensor(s) that the parametrizations turn into `value`; those without `right_inverse` pass it on."""
        for module in reversed(list(self)):
            inverse = getattr(module, "right_inverse", None)
            if inverse is not None:
                value = inverse(value)
        return value

    def right_inverse(self, value):
        """Sets the trained tensors so that the parametrized one becomes `value`."""
        with rtorch.no_grad():
            new = self._inverse(value)
            if self.is_tensor:
                self.original.copy_(new) if new.shape == self.original.shape else setattr(self.original, "data", new)
                return
            if len(new) != self.ntensors:
                raise ValueError(
                    "'right_inverse' must return a sequence of tensors of length "
                    f"{self.ntensors}. Got a sequence of length {len(new)}."
                )
            for i, part in enumerate(new):
                getattr(self, f"original{i}").copy_(part)

    def forward(self):
        if self.is_tensor:
            values = (self.original,)
        else:
            values = tuple(getattr(self, f"original{i}") for i in range(self.ntensors))
        modules = iter(self)
        value = next(modules)(*values)
        for module in modules:
            value = module(value)
        return value


def _property(name):
    """The attribute `name` of a parametrized module: computed when read, inverted when set."""

    def read(self):
        if not _cache_users:
            return self.parametrizations[name]()
        key = (id(self), name)
        if key not in _cache:
            _cache[key] = self.parametrizations[name]()
        return _cache[key]

    def write(self, value):
        self.parametrizations[name].right_inverse(value)

    return property(read, write)


def _own_class(module):
    """Gives the module a class of its own, which can hold properties."""
    cls = module.__class__

    def refuse(self):
        raise RuntimeError(
            "Serialization of parametrized modules is only supported through state_dict(). See: saving & loading a "
            "model for inference"
        )

    module.__class__ = type(f"Parametrized{cls.__name__}", (cls,), {"__getstate__": refuse})
    # Copies do not pass through __getstate__: they copy the dictionary.
    module.__class__.__deepcopy__ = _deepcopy


def _deepcopy(self, memo):
    import copy

    clone = memo.get(id(self))
    if clone is None:
        clone = memo[id(self)] = self.__new__(type(self))
        clone.__dict__ = copy.deepcopy(self.__dict__, memo)
    return clone


def is_parametrized(module, tensor_name=None):
    """Whether the module (or its tensor of that name) is parametrized."""
    lists = module.__dict__.get("_modules", {}).get("parametrizations")
    if not isinstance(lists, ModuleDict):
        return False
    return len(lists) > 0 if tensor_name is None else tensor_name in lists


def type_before_parametrizations(module):
    """The module's class as it was before any parametrization."""
    return module.__class__.__bases__[0] if is_parametrized(module) else type(module)


def register_parametrization(module, tensor_name, parametrization, *, unsafe=False):
    """Makes `module.tensor_name` the output of `parametrization(original)`; several apply one after the other.

    A `right_inverse` of the parametrization sets the original from a wanted value. unsafe: do not check shapes.

    >>> import rtorch
    >>> class Symmetric(rtorch.nn.Module):
    ...     def forward(self, x):
    ...         return x.triu() + x.triu(1).transpose(-1, -2)
    >>> m = rtorch.nn.Linear(3, 3)
    >>> _ = rtorch.nn.utils.parametrize.register_parametrization(m, "weight", Symmetric())
    >>> rtorch.equal(m.weight, m.weight.t())
    True
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        _append(module, tensor_name, parametrization, unsafe)
    elif tensor_name in module._parameters or tensor_name in module._buffers:
        original = getattr(module, tensor_name)
        lists = ParametrizationList([parametrization], original, unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            _own_class(module)
            module.parametrizations = ModuleDict()
        setattr(type(module), tensor_name, _property(tensor_name))
        module.parametrizations[tensor_name] = lists
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element "
            f"with name '{tensor_name}'"
        )
    return module


def _append(module, name, parametrization, unsafe):
    """One more parametrization on top; the value it should give is the present one."""
    lists = module.parametrizations[name]
    with rtorch.no_grad():
        present = getattr(module, name)
        shape, dtype = present.shape, present.dtype
        inverse = getattr(parametrization, "right_inverse", None)
        wanted = present if inverse is None else inverse(present)
        if not unsafe:
            after = parametrization(wanted)
            for what, have, want in (("dtype", after.dtype, dtype), ("shape", after.shape, shape)):
                if have != want:
                    raise ValueError(
                        f"Registering a parametrization may not change the {what} of the tensor, unless the `unsafe` "
                        f"flag is enabled.\nmodule.{name}.{what}: {want}\nparametrization(module.{name}).{what}: {have}"
                    )
        if inverse is not None:
            lists.right_inverse(wanted)
    lists.append(parametrization)
    lists.unsafe = lists.unsafe or unsafe


def remove_parametrizations(module, tensor_name, leave_parametrized=True):
    """Makes the tensor an ordinary one again: its present value, or (leave_parametrized=False) the original."""
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    lists = module.parametrizations[tensor_name]
    if lists.is_tensor:
        original = lists.original
        if leave_parametrized:
            with rtorch.no_grad():
                original.data = getattr(module, tensor_name).data
    elif leave_parametrized:
        value = getattr(module, tensor_name)
        original = Parameter(value.detach()) if value.requires_grad else value.detach()
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in terms of a "
            "sequence of tensors."
        )
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    _register(module, tensor_name, original)
    if not len(module.parametrizations):
        del module.parametrizations
        module.__class__ = module.__class__.__bases__[0]
    return module


def transfer_parametrizations_and_params(from_module, to_module, tensor_name=None):
    """Gives `to_module` the parametrizations of `from_module` and the tensors behind them."""
    names = from_module.parametrizations if tensor_name is None else [tensor_name]
    for name in list(names):
        if not hasattr(to_module, name):
            _register(to_module, name, Parameter(getattr(from_module, name).detach()))
        for parametrization in from_module.parametrizations[name]:
            register_parametrization(to_module, name, parametrization)
        source, target = from_module.parametrizations[name], to_module.parametrizations[name]
        originals = ["original"] if source.is_tensor else [f"original{i}" for i in range(source.ntensors)]
        for original in originals:
            setattr(target, original, getattr(source, original))
    return to_module
