"""In-place names do what their plain forms do, and names that no other file calls answer what PyTorch 2.13 answered
(`data/every_name.json`: expressions and its results, rounded to 7 digits)."""

import copy
import json
import warnings

import numpy as np
import pytest

import rtorch
import rtorch as torch
from rtorch import nn
from rtorch.nn import functional as F
from rtorch.nn.utils import prune
from test_names import DATA, excluded, names

x, m = rtorch.tensor([0.3, 0.6, -0.4]), rtorch.arange(6.0).reshape(2, 3)
y, whole, other = rtorch.tensor([0.5, -2.0, 1.5]), rtorch.tensor([6, 12, -5]), rtorch.tensor([4, 3, 2])
truth, at = rtorch.tensor([True, False, True]), rtorch.tensor([2, 0])
square, lines = m[:, :2] + 1, rtorch.tensor([[0, 1, 0]])

# What in-place forms are called with: (self, *arguments), by the arguments that they want.
BINARY = "add arctan2 atan2 copysign div divide eq floor_divide fmod ge greater greater_equal gt heaviside hypot le"
BINARY += " less less_equal lt mul multiply ne nextafter not_equal remainder sub subtract true_divide xlogy"
WHOLE = "bitwise_and bitwise_or bitwise_xor gcd lcm bitwise_left_shift bitwise_right_shift"
TAKES = {
    **dict.fromkeys(BINARY.split(), [(x, y), (x, 0.5)]),
    **dict.fromkeys(["heaviside", "hypot", "nextafter", "arctan2", "atan2", "copysign"], [(x, y)]),
    **dict.fromkeys(WHOLE.split(), [(whole, other)]),
    **dict.fromkeys("logical_and logical_or logical_xor".split(), [(truth, truth.flip(0)), (x, y)]),
    **dict.fromkeys("igamma igammac".split(), [(x.abs(), y.abs())]),
    **dict.fromkeys("addcdiv addcmul".split(), [(x, y, y + 3), (x, y, y + 3, {"value": 0.5})]),
    **dict.fromkeys("arccosh acosh".split(), [(x + 2,)]),
    **dict.fromkeys("log log10 log2 sqrt rsqrt digamma lgamma".split(), [(x.abs(),)]),
    **dict.fromkeys("swapaxes swapdims transpose".split(), [(m, 0, 1)]),
    **dict.fromkeys("cumprod cumsum".split(), [(m, 1)]),
    **dict.fromkeys("tril triu".split(), [(m,), (m, 1)]),
    **dict.fromkeys("index_add index_copy".split(), [(m, 0, rtorch.tensor([1, 0]), m * 3)]),
    **dict.fromkeys("scatter scatter_add".split(), [(m, 0, lines, m + 5)]),
    **dict.fromkeys("float_power pow".split(), [(x.abs(), 2.0), (x.double().abs(), y.double())]),
    **dict.fromkeys("clamp clip".split(), [(x, -0.2, 0.4), (x, y)]),
    "addbmm": [(square, m.reshape(1, 2, 3), m.reshape(1, 3, 2))],
    "addmm": [(square, m, m.t()), (square, m, m.t(), {"beta": 2, "alpha": 0.5})],
    "addmv": [(x[:2], m, y)],
    "addr": [(m, x[:2], y)],
    "as_strided": [(m, (2, 2), (1, 2), 1)],
    "bitwise_not": [(whole,), (truth,)],
    "baddbmm": [(square.unsqueeze(0), m.reshape(1, 2, 3), m.reshape(1, 3, 2))],
    "clamp_max": [(x, 0.1)],
    "clamp_min": [(x, 0.1)],
    "dropout": [(x, 0.5, False)],
    "embedding_renorm": [(m, at[:1] - 1, 1.0, 2.0)],
    "float_power": [(x.double().abs(), y.double())],
    "index_fill": [(m, 1, at, 7.0)],
    "index_put": [(m, (rtorch.tensor([0, 1]), at), rtorch.tensor([8.0, 9.0]))],
    "index_reduce": [(m, 0, rtorch.tensor([1, 1]), m + 2, "prod")],
    "ldexp": [(x, rtorch.tensor([1, 2, -1]))],
    "lerp": [(x, y, 0.25), (x, y, y)],
    "logit": [(x.abs(),), (x, 1e-3)],
    "masked_fill": [(x, truth, 5.0)],
    "masked_scatter": [(x, truth, y)],
    "mvlgamma": [(m + 3, 2)],
    "nan_to_num": [(rtorch.tensor([float("nan"), float("inf"), 1.0]), 2.0, 3.0)],
    "polygamma": [(1, x + 1)],
    "put": [(m, at, rtorch.tensor([8.0, 9.0]))],
    "renorm": [(m, 2, 0, 1.5)],
    "round": [(x * 10,), (x, {"decimals": 1})],
    "scatter_reduce": [(m, 0, lines, m + 5, "amax")],
    "squeeze": [(m.reshape(2, 1, 3), 1)],
    "t": [(m,)],
    "threshold": [(x, 0.2, 7.0)],
    "unsqueeze": [(m, 1)],
}
# Names that end in an underscore and have a plain form of another meaning; other files test them.
SOME = {"torch": 50, "torch.Tensor": 100}
APART = {"bernoulli_", "resize_", "resize_as_", "normal_", "set_", "random_", "apply_", "map_", "fill_", "rrelu_"}
APART |= {"alpha_dropout_", "feature_alpha_dropout_", "feature_dropout_", "detach_", "conj_physical_"}


def in_place(module):
    """(name, its plain form, what to call them with) for the in-place names of a module."""
    owner = rtorch.Tensor if module == "torch.Tensor" else rtorch
    for name in names()[module]:
        plain = getattr(owner, name[:-1], None) or getattr(rtorch, name[:-1], None)
        if name.endswith("_") and not name.endswith("__") and callable(plain) and name not in APART:
            for given in TAKES.get(name[:-1], [(x.abs() if name in ("sqrt_", "log_") else x,)]):
                yield name, plain, given


@pytest.mark.parametrize("module", ["torch", "torch.Tensor"])
def test_in_place_forms_write_what_the_plain_ones_answer(module):
    cases = list(in_place(module))
    assert len({name for name, *_ in cases}) > SOME[module]
    for name, plain, given in cases:
        args, options = (given[:-1], given[-1]) if isinstance(given[-1], dict) else (given, {})
        self = 1 if name == "polygamma_" else 0
        want = plain(*args, **options) if name != "polygamma_" else rtorch.polygamma(*args)
        target = args[self].clone()
        rest = [a for i, a in enumerate(args) if i != self]
        changed = getattr(target, name) if module == "torch.Tensor" else None
        if changed is None:
            front = (rest[0], target, *rest[1:]) if self else (target, *rest)
            got = getattr(rtorch, name)(*front, **options)
        else:
            got = changed(*rest, **options)
        assert got is target, name
        want = want.to(target.dtype)
        assert want.shape == target.shape and rtorch.allclose(want, target, equal_nan=True), name
        assert not isinstance(want, rtorch.Tensor) or target.data_ptr() != args[self].data_ptr(), name


# ---- results that PyTorch gave


class Twice(nn.Module):
    def forward(self, w):
        return 2 * w


def lazy(module, *shape):
    module(rtorch.ones(shape))
    return module


def tagged(method):
    method._tensor_name = "weight"
    return method


def plain(value):
    """A result as numbers, strings and lists."""
    if isinstance(value, rtorch.Tensor):
        return value.detach().tolist()
    return [plain(v) for v in value] if isinstance(value, (tuple, list)) else value


def same(got, want):
    if isinstance(want, list):
        return isinstance(got, list) and len(got) == len(want) and all(map(same, got, want))
    if isinstance(want, float) or isinstance(want, complex):
        return got == pytest.approx(want, rel=3e-6, abs=1e-6)
    return type(got) is type(want) and got == want


RECORDED = json.loads((DATA / "every_name.json").read_text())


@pytest.mark.parametrize("expression", RECORDED)
def test_answers_of_pytorch(expression):
    rtorch.manual_seed(0)
    scope = {**globals(), "copy": copy, "np": np}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert same(plain(eval(expression, scope)), eval(RECORDED[expression]))


def test_another_answer_is_seen():
    assert not same([1.0, 2], [1.0, 3]) and not same([1.0], [1.001]) and not same(True, 1) and not same([1], [1, 1])
    assert torch is rtorch and F.relu and prune.identity and excluded()


def test_names_whose_answer_is_no_number():
    state = rtorch.utils.checkpoint.DefaultDeviceType
    before = state.get_device_type()
    state.set_device_type("cpu")
    assert state.get_device_type() == "cpu"
    state.set_device_type(before)
    with rtorch.utils.checkpoint.set_checkpoint_debug_enabled(True):
        pass
    with pytest.warns(UserWarning, match="Anomaly"), rtorch.autograd.detect_anomaly(check_nan=False):
        assert rtorch.is_anomaly_enabled() and not rtorch.is_anomaly_check_nan_enabled()
    assert not rtorch.is_anomaly_enabled()

    class Scaled(rtorch.distributions.Distribution):
        @rtorch.distributions.constraints.dependent_property(is_discrete=False, event_dim=1)
        def support(self):
            return rtorch.distributions.constraints.positive

    assert Scaled.support.event_dim == 1 and not Scaled.support.is_discrete
    assert Scaled(validate_args=False).support is rtorch.distributions.constraints.positive
    assert rtorch.accelerator.current_device_index() == 0 and rtorch.accelerator.set_device_index(0) is None
    rtorch.manual_seed(0)
    drawn = rtorch.empty(20_000).log_normal_(0.5, 0.25).log()
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.01) and drawn.std().item() == pytest.approx(0.25, abs=0.01)

    class Old(rtorch.autograd.function.NestedIOFunction):
        def forward_extended(self, given):
            return given

    with pytest.raises(RuntimeError):
        Old()(x)
