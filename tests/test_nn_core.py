"""What the core's nn operators promise beyond recorded answers: second derivatives, names of graph nodes, errors."""

import pytest

import rtorch as torch
from rtorch.nn import functional as F


def leaf(*size):
    return torch.randn(*size, dtype=torch.float64, requires_grad=True)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_second_derivatives_through_views_of_views():
    def f(x):
        return torch.stack([s[..., :2] * s[..., 1:] for s in x.unbind(0)])

    assert torch.autograd.gradgradcheck(f, (leaf(2, 1, 3),))


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_recurrent_layers_have_second_derivatives(kind):
    layer = getattr(torch.nn, kind)(3, 2).double()
    assert torch.autograd.gradcheck(lambda x: layer(x)[0], (leaf(3, 2, 3),))
    assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], (leaf(2, 1, 3),))


@pytest.mark.parametrize(
    "f, sizes",
    [
        (lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1), [(1, 2, 4, 4), (2, 2, 3, 3), (2,)]),
        (lambda x, w, b: F.layer_norm(x, (3,), w, b), [(2, 3), (3,), (3,)]),
        (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), [(3, 2), (2,), (2,)]),
        (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), [(1, 1, 3, 2)] * 3),
        (lambda x: F.pad(x, (1, 2), mode="replicate"), [(1, 2, 3)]),
        (lambda x: F.max_pool2d(x, 2), [(1, 1, 4, 4)]),
        (lambda x: F.cross_entropy(x, torch.tensor([0, 2]), label_smoothing=0.1), [(2, 3)]),
        (lambda x: F.gelu(x), [(4,)]),
        (lambda x: F.elu(x), [(4,)]),
    ],
)
def test_second_derivatives(f, sizes):
    assert torch.autograd.gradgradcheck(f, tuple(leaf(*s) for s in sizes))


@pytest.mark.parametrize(
    "name, node",
    [
        ("relu", "ReluBackward0"),
        ("gelu", "GeluBackward0"),
        ("hardswish", "HardswishBackward0"),
        ("selu", "EluBackward0"),
    ],
)
def test_graph_nodes_are_called_as_in_pytorch(name, node):
    assert getattr(F, name)(leaf(3)).grad_fn.name() == node


def test_relu_in_place_keeps_no_copy():
    x = leaf(8)
    y = x * 2
    torch.reset_runtime_stats()
    F.relu_(y)
    y.sum().backward()
    assert torch.runtime_stats()["cow_copies"] == 0
    assert torch.equal(x.grad, (x > 0) * 2.0)


@pytest.mark.parametrize(
    "error, call",
    [
        (IndexError, lambda: F.cross_entropy(torch.randn(2, 3), torch.tensor([0, 3]))),
        (IndexError, lambda: F.embedding(torch.tensor([5]), torch.randn(3, 2))),
        (RuntimeError, lambda: F.conv2d(torch.randn(1, 3, 4, 4), torch.randn(2, 4, 3, 3))),
        (RuntimeError, lambda: F.max_pool2d(torch.randn(1, 1, 2, 2), 3)),
        (RuntimeError, lambda: F.relu(torch.tensor([True]))),
        (NotImplementedError, lambda: F.leaky_relu(torch.tensor([1]))),
        (RuntimeError, lambda: torch.multinomial(torch.tensor([-1.0, 1.0]), 1)),
        (RuntimeError, lambda: torch.randint(5, 3, (2,))),
        (RuntimeError, lambda: torch.empty(2).uniform_(3, 1)),
    ],
)
def test_bad_calls_raise_what_pytorch_raises(error, call):
    with pytest.raises(error):
        call()


def test_generators_are_streams_of_their_own():
    g = torch.Generator().manual_seed(7)
    first = torch.rand(3, generator=g)
    state = g.get_state()
    second = torch.rand(3, generator=g)
    g.set_state(state)
    assert torch.equal(torch.rand(3, generator=g), second)
    assert torch.equal(torch.rand(3, generator=torch.Generator().manual_seed(7)), first)
