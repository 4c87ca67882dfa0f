"""nn.utils that change a module: parametrizations, spectral norm, pruning, fusion, calls with other tensors."""

import copy

import pytest

import rtorch
from rtorch import nn
from rtorch.nn.utils import parametrizations, parametrize, prune, stateless


def close(a, b, tolerance=1e-5):
    return a.shape == b.shape and bool((a - b).abs().max() <= tolerance)


class Exp(nn.Module):
    def forward(self, w):
        return w.exp()

    def right_inverse(self, w):
        return w.log()


def test_parametrize_round_trip():
    m = nn.Linear(2, 2, bias=False)
    with rtorch.no_grad():
        m.weight.fill_(2.0)
    parametrize.register_parametrization(m, "weight", Exp())
    assert parametrize.is_parametrized(m, "weight") and isinstance(m, nn.Linear)
    assert close(m.weight.detach(), rtorch.full((2, 2), 2.0))
    m.weight = rtorch.full((2, 2), 5.0)
    assert close(m.parametrizations.weight.original.detach(), rtorch.full((2, 2), 5.0).log())
    assert list(m.state_dict()) == ["parametrizations.weight.original"]
    clone = copy.deepcopy(m)
    assert close(clone.weight.detach(), m.weight.detach())
    m(rtorch.ones(1, 2)).sum().backward()
    assert m.parametrizations.weight.original.grad is not None
    parametrize.remove_parametrizations(m, "weight")
    assert type(m) is nn.Linear and close(m.weight.detach(), rtorch.full((2, 2), 5.0))


def test_parametrize_refusals_and_cache():
    calls = []

    class Count(nn.Module):
        def forward(self, w):
            calls.append(1)
            return w

    class Sum(nn.Module):
        def forward(self, w):
            return w.sum()

    m = nn.Linear(1, 1)
    parametrize.register_parametrization(m, "weight", Count())
    calls.clear()
    with parametrize.cached():
        assert m.weight is m.weight
    assert len(calls) == 1
    with pytest.raises(ValueError, match="does not have a parameter"):
        parametrize.register_parametrization(m, "nothing", Count())
    with pytest.raises(ValueError, match="may not change the shape"):
        parametrize.register_parametrization(nn.Linear(2, 2), "weight", Sum())


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (3, 3)])
@pytest.mark.parametrize("kind", ["matrix_exp", "cayley", "householder"])
def test_orthogonal(shape, kind):
    rtorch.manual_seed(0)
    m = nn.Linear(*shape, bias=False)
    parametrizations.orthogonal(m, orthogonal_map=kind)
    w = m.weight.detach()
    gram = w @ w.t() if w.size(0) <= w.size(1) else w.t() @ w
    assert close(gram, rtorch.eye(min(shape)), 1e-4)


def test_spectral_norms():
    rtorch.manual_seed(0)
    m = nn.Linear(2, 2, bias=False)
    with rtorch.no_grad():
        m.weight.copy_(rtorch.tensor([[4.0, 0.0], [0.0, 1.0]]))
    parametrizations.spectral_norm(m, n_power_iterations=60)
    assert close(m.weight.detach(), rtorch.tensor([[1.0, 0.0], [0.0, 0.25]]), 1e-4)
    hooked = nn.utils.spectral_norm(nn.Linear(3, 3))
    for _ in range(60):
        hooked(rtorch.zeros(1, 3))
    largest = rtorch.linalg.svdvals(hooked.weight.detach())[0]
    assert abs(float(largest) - 1.0) < 1e-3
    nn.utils.remove_spectral_norm(hooked)
    assert isinstance(hooked.weight, nn.Parameter) and "weight_u" not in hooked.state_dict()


def test_weight_norm_parametrization():
    m = nn.Linear(2, 2, bias=False)
    before = m.weight.detach().clone()
    parametrizations.weight_norm(m)
    assert close(m.weight.detach(), before) and m.parametrizations.weight.original0.shape == (2, 1)


def test_prune():
    m = nn.Linear(2, 2, bias=False)
    with rtorch.no_grad():
        m.weight.copy_(rtorch.tensor([[1.0, -2.0], [0.5, 3.0]]))
    prune.l1_unstructured(m, "weight", amount=1)
    assert m.weight.tolist() == [[1.0, -2.0], [0.0, 3.0]]
    prune.l1_unstructured(m, "weight", amount=1)
    assert m.weight.tolist() == [[0.0, -2.0], [0.0, 3.0]] and prune.is_pruned(m)
    assert m(rtorch.ones(1, 2)).tolist() == [[-2.0, 3.0]]
    prune.remove(m, "weight")
    assert not prune.is_pruned(m) and list(m.state_dict()) == ["weight"]
    rows = nn.Linear(2, 2, bias=False)
    with rtorch.no_grad():
        rows.weight.copy_(rtorch.tensor([[1.0, 1.0], [2.0, 2.0]]))
    prune.ln_structured(rows, "weight", amount=1, n=2, dim=0)
    assert rows.weight.tolist() == [[0.0, 0.0], [2.0, 2.0]]
    with pytest.raises(ValueError, match="should either be a float"):
        prune.random_unstructured(rows, "weight", amount=-1)


def test_prune_globally():
    a, b = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    with rtorch.no_grad():
        a.weight.copy_(rtorch.tensor([[1.0, 2.0]]))
        b.weight.copy_(rtorch.tensor([[3.0, 0.5]]))
    prune.global_unstructured([(a, "weight"), (b, "weight")], prune.L1Unstructured, amount=2)
    assert a.weight.tolist() == [[0.0, 2.0]] and b.weight.tolist() == [[3.0, 0.0]]


def test_fusion_gives_the_same_answer():
    rtorch.manual_seed(0)
    conv, bn = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)
    x = rtorch.randn(4, 2, 6, 6)
    bn(conv(x))
    pair = nn.Sequential(conv, bn).eval()
    assert close(nn.utils.fuse_conv_bn_eval(conv, bn)(x), pair(x), 1e-4)
    with pytest.raises(AssertionError, match="only for eval"):
        nn.utils.fuse_linear_bn_eval(nn.Linear(1, 1), nn.BatchNorm1d(1))


def test_calls_with_other_tensors():
    m = nn.Module()
    m.a = nn.Linear(1, 1, bias=False)
    m.b = nn.Linear(1, 1, bias=False)
    m.b.weight = m.a.weight
    m.forward = lambda x: m.b(m.a(x))
    kept = m.a.weight
    out = stateless.functional_call(m, {"a.weight": rtorch.tensor([[3.0]])}, rtorch.ones(1, 1))
    assert out.tolist() == [[9.0]] and m.a.weight is kept and m.b.weight is kept
    m.forward = lambda x: x + m.c
    assert stateless.functional_call(m, {"c": rtorch.ones(1)}, rtorch.ones(1, 1)).item() == 2 and not hasattr(m, "c")
    with pytest.raises(AttributeError, match="no attribute"):
        stateless.functional_call(m, {"nope.c": rtorch.ones(1)}, rtorch.ones(1, 1))
    own = dict(m.named_parameters(remove_duplicate=False))
    with pytest.raises(RuntimeError, match="Unexpected key.*'c'"):
        stateless.functional_call(m, {**own, "c": rtorch.ones(1)}, rtorch.ones(1, 1), strict=True)
    with pytest.raises(RuntimeError, match="Missing key.*'b.weight'"):
        stateless.functional_call(m, {"a.weight": kept}, rtorch.ones(1, 1), strict=True, tie_weights=False)
    norm = nn.BatchNorm1d(1)
    buffers = {"running_mean": rtorch.zeros(1)}
    stateless.functional_call(norm, buffers, (rtorch.tensor([[1.0], [3.0]]),))
    assert norm.running_mean.tolist() == [0.0] and buffers["running_mean"].tolist() == pytest.approx([0.2])


def test_pruning_again_looks_at_the_masked_weight():
    m = nn.Linear(3, 4, bias=False)
    with rtorch.no_grad():
        m.weight.copy_(rtorch.tensor([[3.0, 0, 0], [1, 2, 2], [2, 2, 0], [1, 1, 1]]))
    prune.custom_from_mask(m, "weight", rtorch.tensor([[0.0, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]]))
    prune.ln_structured(m, "weight", 0.5, n=2, dim=0)
    assert m.weight_mask.tolist() == [[0, 0, 0], [1, 1, 1], [1, 1, 1], [0, 0, 0]]
    rtorch.manual_seed(3)
    m = prune.random_structured(nn.Linear(3, 5), "weight", amount=2, dim=0)
    assert m.weight_mask[:, 0].tolist() == [1, 1, 1, 0, 0]  # PyTorch's choice


def test_packed_sequences_in_other_dtypes():
    packed = nn.utils.rnn.pack_sequence([rtorch.tensor([1.5, 2.0]), rtorch.tensor([3.0])])
    for name, dtype in (("short", rtorch.int16), ("char", rtorch.int8), ("byte", rtorch.uint8), ("int", rtorch.int32)):
        assert getattr(packed, name)().data.dtype == dtype
    assert packed.byte().data.tolist() == [1, 3, 2]
