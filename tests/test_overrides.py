"""`rtorch.overrides`: `__torch_function__` asked from Python, and lists of what can be overridden."""

import inspect

import pytest

import rtorch
import rtorch.nn.functional as F
from rtorch import overrides as o


class Logged:
    """Answers every function with its name."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return o.resolve_name(func) or func.__name__, [t.__name__ for t in types]


class Silent:
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return NotImplemented


def test_who_is_asked():
    assert o.has_torch_function([1, Logged()]) and not o.has_torch_function([1, rtorch.ones(1)])
    assert o.has_torch_function_unary(Logged()) and o.has_torch_function_variadic(1, Logged())
    answer = o.handle_torch_function(F.mse_loss, (Silent(), Logged()), 1)
    assert answer == ("torch.nn.functional.mse_loss", ["Silent", "Logged"])
    with pytest.raises(TypeError, match="no implementation found for"):
        o.handle_torch_function(F.mse_loss, (Silent(),), 1)
    assert F.handle_torch_function is o.handle_torch_function
    assert o.is_tensor_like(rtorch.ones(1)) and o.is_tensor_like(Logged()) and not o.is_tensor_like(3)


def test_functions_of_ones_own():
    @o.wrap_torch_function(lambda a, b=None: (a, b))
    def add(a, b=None):
        return a + 1

    assert add(1) == 2 and add(1, Logged())[0] == "add"
    assert o.redispatch_function(rtorch.add, (), (rtorch.ones(1), 1)).tolist() == [2.0]

    def plain(x):
        return "asked" if o.has_torch_function_unary(x) else (o.has_torch_function_unary(x), "ran")

    assert plain(Logged()) == "asked"
    assert o.redispatch_function(plain, (Logged,), (Logged(),)) == (True, "ran")
    with o.enable_reentrant_dispatch():
        assert rtorch.add(Logged(), 1)[0] == "torch.add"


def test_lists_of_functions():
    listed = o.get_overridable_functions()
    assert rtorch.add in listed[rtorch] and rtorch.Tensor.add in listed[rtorch.Tensor] and F.mse_loss in listed[F]
    assert rtorch.zeros in o.get_ignored_functions() and rtorch.zeros not in listed[rtorch]
    stand_ins = o.get_testing_overrides()
    assert stand_ins[rtorch.add](1, 2) == -1
    assert list(inspect.signature(stand_ins[F.mse_loss]).parameters)[:2] == ["input", "target"]
    assert o.resolve_name(rtorch.Tensor.grad.__get__) == "torch.Tensor.grad.__get__"
    assert o.is_tensor_method_or_property(rtorch.Tensor.add) and not o.is_tensor_method_or_property(rtorch.add)
    assert o.resolve_name(print) is None
