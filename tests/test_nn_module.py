"""nn.Module itself: attributes, traversal, state, hooks, conversion, copying, printing; and the containers."""

import collections
import copy
import gc
import pickle

import pytest

import rtorch
from rtorch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.scale = nn.Parameter(rtorch.ones(1))
        self.register_buffer("seen", rtorch.zeros(1), persistent=False)

    def forward(self, x):
        return self.norm(self.fc(x)) * self.scale


def test_members_are_found_by_name():
    net = Net()
    assert [n for n, _ in net.named_parameters()] == ["scale", "fc.weight", "fc.bias", "norm.weight", "norm.bias"]
    assert [n for n, _ in net.named_buffers()] == [
        "seen",
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
    ]
    assert "seen" not in net.state_dict() and "norm.running_mean" in net.state_dict()
    assert net.get_submodule("fc") is net.fc and net.get_parameter("fc.bias") is net.fc.bias
    assert net.get_buffer("norm.running_var") is net.norm.running_var


def test_assignment_decides_what_a_member_is():
    m = nn.Module()
    m.x = nn.Parameter(rtorch.ones(1))
    with pytest.raises(TypeError, match=r"cannot assign '.*' as parameter 'x'"):
        m.x = rtorch.ones(1)
    m.x = None
    assert dict(m.named_parameters()) == {} and m.x is None
    m.child = nn.ReLU()
    with pytest.raises(TypeError, match="as child module 'child'"):
        m.child = 3
    m.buffer = nn.Buffer(rtorch.ones(2))
    m.buffer = rtorch.zeros(2)
    assert list(m.state_dict()) == ["buffer"]
    m.buffer = nn.Parameter(rtorch.ones(2))
    assert [n for n, _ in m.named_buffers()] == [] and [n for n, _ in m.named_parameters()] == ["buffer"]
    del m.child
    assert list(m.children()) == []
    with pytest.raises(AttributeError, match="'Module' object has no attribute 'child'"):
        print(m.child)


def test_members_need_init_first():
    class Early(nn.Module):
        def __init__(self):
            self.w = nn.Parameter(rtorch.ones(1))

    with pytest.raises(AttributeError, match="before Module.__init__"):
        Early()


@pytest.mark.parametrize("name", ["a.b", ""])
def test_names_that_cannot_be(name):
    for register in (nn.Module().add_module, nn.Module().register_parameter, nn.Module().register_buffer):
        with pytest.raises(KeyError):
            register(name, None)


def test_state_round_trip_and_sharing():
    a, b = Net(), Net()
    a(rtorch.randn(4, 3))
    answer = b.load_state_dict(a.state_dict())
    assert str(answer) == "<All keys matched successfully>"
    for key, value in a.state_dict().items():
        assert rtorch.equal(value, b.state_dict()[key]), key
    shared = nn.Linear(2, 2)
    both = nn.Sequential(shared, shared)
    assert len(list(both.parameters())) == 2
    assert len(list(both.named_parameters(remove_duplicate=False))) == 4
    assert len(both.state_dict()) == 4


def test_loading_says_all_that_is_wrong():
    net = nn.Sequential(nn.Linear(2, 1))
    with pytest.raises(RuntimeError) as error:
        net.load_state_dict({"0.weight": rtorch.ones(3), "extra": rtorch.ones(1)})
    text = str(error.value)
    assert text.startswith("Error(s) in loading state_dict for Sequential:\n\t")
    assert 'Missing key(s) in state_dict: "0.bias". ' in text
    assert 'Unexpected key(s) in state_dict: "extra". ' in text
    assert "size mismatch for 0.weight: copying a param with shape torch.Size([3]) from checkpoint" in text
    answer = net.load_state_dict({"0.bias": rtorch.ones(1), "extra": rtorch.ones(1)}, strict=False)
    assert answer.missing_keys == ["0.weight"] and answer.unexpected_keys == ["extra"]


def test_loading_copies_or_assigns():
    m = nn.Linear(1, 1, bias=False)
    kept, value = m.weight, rtorch.full((1, 1), 2.0, dtype=rtorch.float64)
    m.load_state_dict({"weight": value})
    assert m.weight is kept and m.weight.dtype == rtorch.float32 and m.weight.item() == 2.0
    m.load_state_dict({"weight": value}, assign=True)
    assert m.weight is not kept and isinstance(m.weight, nn.Parameter) and m.weight.dtype == rtorch.float64


def test_forward_hooks_run_in_order_and_can_replace():
    m, log = nn.Identity(), []
    m.register_forward_pre_hook(lambda mod, args: (args[0] * 2,))
    first = m.register_forward_hook(lambda mod, args, out: log.append("a") or out + 1)
    m.register_forward_hook(lambda mod, args, out: log.append("b"), prepend=True)
    assert m(rtorch.tensor([1.0])).tolist() == [3.0] and log == ["b", "a"]
    first.remove()
    assert m(rtorch.tensor([1.0])).tolist() == [2.0]
    assert m.forward(rtorch.tensor([1.0])).tolist() == [1.0]


def test_hooks_with_keywords_and_always_called():
    class Fails(nn.Module):
        def forward(self, x, k=1):
            if k == 0:
                raise ValueError("stop")
            return x * k

    m, log = Fails(), []
    m.register_forward_hook(lambda mod, args, kwargs, out: log.append(kwargs), with_kwargs=True, always_call=True)
    m(rtorch.ones(1), k=3)
    with pytest.raises(ValueError, match="stop"):
        m(rtorch.ones(1), k=0)
    assert log == [{"k": 3}, {"k": 0}]


def test_backward_hooks_see_and_replace_gradients():
    m, seen = nn.Linear(1, 1, bias=False), []
    with rtorch.no_grad():
        m.weight.fill_(3.0)
    m.register_full_backward_pre_hook(lambda mod, grad_output: (grad_output[0] * 10,))

    def hook(mod, grad_input, grad_output):
        seen.append((grad_input[0].item(), grad_output[0].item()))
        return (grad_input[0] * 2,)

    m.register_full_backward_hook(hook)
    x = rtorch.ones(1, 1, requires_grad=True)
    m(x).sum().backward()
    assert seen == [(30.0, 10.0)] and x.grad.item() == 60.0 and m.weight.grad.item() == 10.0
    with pytest.raises(RuntimeError, match="regular backward hooks and full backward hooks"):
        m.register_backward_hook(hook)


def test_global_hooks():
    log = []
    with nn.modules.module.register_module_forward_hook(lambda mod, args, out: log.append(type(mod).__name__)):
        nn.Sequential(nn.ReLU())(rtorch.ones(1))
    nn.ReLU()(rtorch.ones(1))
    assert log == ["ReLU", "Sequential"]


def test_train_eval_apply_and_requires_grad():
    net = Net()
    assert net.eval() is net and not any(m.training for m in net.modules())
    assert net.train().norm.training
    with pytest.raises(ValueError, match="boolean"):
        net.train("yes")
    seen = []
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net
    assert seen == ["Linear", "BatchNorm1d", "Net"]
    assert not any(p.requires_grad for p in net.requires_grad_(False).parameters())


def test_conversion_keeps_parameter_objects():
    net = Net()
    weight = net.fc.weight
    net(rtorch.randn(4, 3)).sum().backward()
    assert net.double() is net and net.fc.weight is weight and weight.dtype == rtorch.float64
    assert weight.grad.dtype == rtorch.float64 and net.norm.num_batches_tracked.dtype == rtorch.int64
    assert net.to(rtorch.ones(1)).fc.weight.dtype == rtorch.float32
    with pytest.raises(TypeError, match="only accepts floating point"):
        net.to(rtorch.int64)
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_copies():
    net = Net()
    deep, shallow = copy.deepcopy(net), copy.copy(net)
    assert shallow.fc.weight is net.fc.weight and deep.fc.weight is not net.fc.weight
    assert rtorch.equal(deep.fc.weight, net.fc.weight) and deep.fc.weight.requires_grad
    back = pickle.loads(pickle.dumps(nn.Sequential(nn.Linear(2, 2), nn.ReLU())))
    assert isinstance(back[0].weight, nn.Parameter) and back[0].weight.requires_grad
    layer = nn.Linear(1, 1)
    twice = copy.deepcopy(nn.ModuleList([layer, layer]))
    assert twice[0] is twice[1]


def test_repr():
    assert repr(nn.Sequential()) == "Sequential()"
    assert repr(nn.Sequential(collections.OrderedDict(a=nn.ReLU(), b=nn.Sequential(nn.Tanh())))) == (
        "Sequential(\n  (a): ReLU()\n  (b): Sequential(\n    (0): Tanh()\n  )\n)"
    )
    assert repr(nn.ModuleList([nn.Linear(2, 2) for _ in range(2)])) == (
        "ModuleList(\n  (0-1): 2 x Linear(in_features=2, out_features=2, bias=True)\n)"
    )
    assert repr(nn.Parameter(rtorch.ones(1))) == "Parameter containing:\ntensor([1.], requires_grad=True)"


def test_sequential_is_a_list_of_modules():
    m = nn.Sequential(nn.ReLU(), nn.Tanh(), nn.ELU())
    assert type(m[1:]) is nn.Sequential and len(m[1:]) == 2 and m[-1] is m[2]
    del m[1]
    assert [n for n, _ in m.named_children()] == ["0", "1"]
    assert len(m + m) == 4 and len(m * 3) == 6 and len(m.insert(1, nn.GELU())) == 3
    with pytest.raises(IndexError):
        m[5]
    assert m.append(nn.ReLU()) is m and len(m.extend([nn.Tanh()])) == 5


def test_module_list_and_dict():
    m = nn.ModuleList([nn.ReLU(), nn.Tanh(), nn.Sigmoid()])
    m[-1] = nn.ELU()
    del m[:1]
    assert [type(x).__name__ for x in m] == ["Tanh", "ELU"] and len(m + m) == 4
    m.insert(0, nn.GELU())
    assert type(m.pop(0)) is nn.GELU
    with pytest.raises(NotImplementedError):
        m(1)
    d = nn.ModuleDict({"a": nn.ReLU()})
    d.update([["b", nn.Tanh()]])
    assert list(d) == ["a", "b"] and type(d.pop("a")) is nn.ReLU and "a" not in d
    with pytest.raises(TypeError, match="is not a Module subclass"):
        nn.ModuleList([3])


def test_parameter_containers():
    m = nn.ParameterList([rtorch.ones(1)])
    m.append(rtorch.zeros(2)).extend([nn.Parameter(rtorch.ones(3))])
    assert len(m) == 3 and all(isinstance(p, nn.Parameter) for p in m) and type(m[:2]) is nn.ParameterList
    d = nn.ParameterDict({"b": rtorch.ones(1), "a": rtorch.ones(1)})
    assert list(d) == ["a", "b"]  # a plain dict goes in sorted
    d["c"] = rtorch.zeros(1)
    assert list(d.state_dict()) == ["a", "b", "c"] and d.get("z", 7) == 7 and isinstance(d.pop("a"), nn.Parameter)
    assert list((d | nn.ParameterDict({"x": rtorch.ones(1)})).keys()) == ["b", "c", "x"]


def test_parameter():
    data = rtorch.ones(2)
    p = nn.Parameter(data)
    data.fill_(5.0)
    assert p.tolist() == [5.0, 5.0] and p.requires_grad and p.is_leaf
    assert nn.Parameter().shape == (0,) and not nn.Parameter(rtorch.ones(1), requires_grad=False).requires_grad
    assert type(p * 2) is rtorch.Tensor
    with pytest.raises(RuntimeError, match="floating point"):
        nn.Parameter(rtorch.arange(3))
    with_history = nn.Parameter(rtorch.ones(1), requires_grad=False)
    with_history.add_(rtorch.ones(1, requires_grad=True))
    with pytest.raises(ValueError, match="non-leaf"):
        nn.Module().register_parameter("w", with_history)


def test_lazy_modules_take_their_shape_from_the_input():
    m = nn.LazyLinear(2)
    assert m.has_uninitialized_params() and isinstance(m.weight, nn.UninitializedParameter)
    with pytest.raises(RuntimeError, match="uninitialized parameter"):
        print(m.weight.shape)
    assert m(rtorch.ones(3, 4)).shape == (3, 2)
    assert type(m) is nn.Linear and m.in_features == 4 and type(m.weight) is nn.Parameter
    conv = nn.LazyConv2d(4, 3, padding=1)
    assert conv(rtorch.ones(1, 2, 5, 5)).shape == (1, 4, 5, 5) and conv.in_channels == 2
    norm = nn.LazyBatchNorm1d()
    norm(rtorch.randn(4, 3))
    assert type(norm) is nn.BatchNorm1d and norm.running_mean.shape == (3,)


def test_training_under_a_collector_that_always_runs():
    kept = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        net = Net()
        for _ in range(3):
            net(rtorch.randn(4, 3)).sum().backward()
            net.zero_grad()
    finally:
        gc.set_threshold(*kept)


def test_a_buffer_assigned_anew_keeps_its_place():
    m = nn.Module()
    for name in "abc":
        m.register_buffer(name, rtorch.ones(1))
    m.a = nn.Buffer(rtorch.zeros(1))
    assert list(m.state_dict()) == ["a", "b", "c"] and m.a.item() == 0
    m.b = nn.Buffer(rtorch.zeros(1), persistent=False)
    assert list(m.state_dict()) == ["a", "c"] and list(dict(m.named_buffers())) == ["a", "b", "c"]
    m.b = nn.Buffer(rtorch.ones(1))
    assert list(m.state_dict()) == ["a", "b", "c"]
