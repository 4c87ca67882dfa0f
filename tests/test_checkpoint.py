"""utils.checkpoint: the same gradients, what is kept, what is computed again."""

import pytest

import rtorch
from rtorch import nn
from rtorch.utils import checkpoint as module
from rtorch.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_same_gradients(use_reentrant):
    rtorch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Dropout(0.5), nn.Linear(8, 1))
    x = rtorch.randn(5, 4, requires_grad=True)
    found = []
    for again in (False, True):
        rtorch.manual_seed(1)
        y = checkpoint(net, x, use_reentrant=use_reentrant) if again else net(x)
        y.sum().backward()
        found.append([x.grad.clone(), *(p.grad.clone() for p in net.parameters())])
        x.grad = None
        net.zero_grad()
    for a, b in zip(*found):
        assert a.tolist() == b.tolist()


@pytest.mark.parametrize(("early_stop", "runs"), [(True, 1), (False, 2)])
def test_what_runs_again(early_stop, runs):
    log = []

    def f(x):
        y = x.sin().exp()
        log.append("end")
        return y

    x = rtorch.ones(3, requires_grad=True)
    y = checkpoint(f, x, use_reentrant=False, early_stop=early_stop)
    y.sum().backward()
    assert len(log) == runs and x.grad is not None


def test_contexts_and_keywords():
    log = []

    class Logged:
        def __init__(self, name):
            self.name = name

        def __enter__(self):
            log.append(self.name)

        def __exit__(self, *exc):
            pass

    x = rtorch.ones(3, requires_grad=True)
    y = checkpoint(
        lambda x, scale: (x * scale).exp(),
        x,
        scale=2.0,
        use_reentrant=False,
        context_fn=lambda: (Logged("first"), Logged("second")),
    )
    (g,) = rtorch.autograd.grad(y.sum(), x, create_graph=True)
    (h,) = rtorch.autograd.grad(g.sum(), x)
    assert log[:2] == ["first", "second"] and rtorch.allclose(h, 4 * (2 * x).exp())


def test_a_second_run_that_differs_is_found():
    sizes = iter([3, 2])

    def f(x):
        return (x[: next(sizes)] * x[0]).exp()

    x = rtorch.ones(3, requires_grad=True)
    y = checkpoint(f, x, use_reentrant=False)
    with pytest.raises(CheckpointError, match="different metadata"):
        y.sum().backward()


def test_nested_and_sequential():
    net = nn.Sequential(*(nn.Linear(3, 3) for _ in range(5)))
    x = rtorch.randn(2, 3, requires_grad=True)
    net(x).sum().backward()
    want = x.grad.clone()
    for use_reentrant in (True, False):
        x.grad = None
        checkpoint_sequential(net, 2, x, use_reentrant=use_reentrant).sum().backward()
        assert rtorch.allclose(x.grad, want)
    x.grad = None
    inner = lambda v: checkpoint(net[2:], v, use_reentrant=False)
    checkpoint(lambda v: inner(net[:2](v)), x, use_reentrant=False).sum().backward()
    assert rtorch.allclose(x.grad, want)


def test_refusals():
    x = rtorch.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match="determinism_check"):
        checkpoint(lambda x: x, x, use_reentrant=False, determinism_check="other")
    with pytest.raises(ValueError, match="keyword"):
        checkpoint(lambda x: x, x, use_reentrant=True, other=1)
    with pytest.warns(UserWarning, match="use_reentrant"):
        checkpoint(lambda x: x * 2, x)
    with module.set_checkpoint_early_stop(False):
        checkpoint(lambda x: x.exp(), x, use_reentrant=False).sum().backward()
