"""Distances of pairs of rows: cdist, pdist and their gradients, beside NumPy."""

import itertools
import math

import numpy as np
import pytest

import rtorch
import rtorch.nn.functional as F

DIRECT = "donot_use_mm_for_euclid_dist"
NORMS = (0.0, 1.0, 2.0, math.inf)


def distances(a, b, p):
    d = np.abs(a[..., :, None, :] - b[..., None, :, :])
    if p == 0:
        return (d != 0).sum(-1).astype(a.dtype)
    return d.max(-1) if p == math.inf else (d**p).sum(-1) ** (1 / p)


def slopes(a, b, p, g):
    """Each difference's part in the gradient of `a`."""
    d, w, g = a[..., :, None, :] - b[..., None, :, :], distances(a, b, p)[..., None], g[..., None]
    if p == 0:
        return d * 0
    if p == 2:
        return np.where(w == 0, 0, g * d / np.where(w == 0, 1, w))
    return g * np.sign(d) if p == 1 else np.where(np.abs(d) == w, g * np.sign(d), 0)


@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("dtype", [rtorch.float32, rtorch.float64])
def test_tiles_of_every_size(dtype, p):
    rng, tolerance = np.random.default_rng(0), 1e-11 if dtype == rtorch.float64 else 2e-4
    for rows, others, columns in itertools.product((1, 65, 130), (1, 8, 9, 33, 70), (1, 3, 64, 130)):
        draw = (lambda n: rng.integers(-3, 4, n)) if columns < 4 else rng.standard_normal
        a, b = (draw((2, n, columns)).astype("float64") for n in (rows, others))
        x, y = (rtorch.tensor(v, dtype=dtype, requires_grad=True) for v in (a, b))
        a, b = x.detach().numpy(), y.detach().numpy()
        got = rtorch.cdist(x, y, p, DIRECT)
        np.testing.assert_allclose(got.detach().numpy(), distances(a, b, p), rtol=tolerance, atol=tolerance)
        g = rng.standard_normal(got.shape).astype(a.dtype)
        made = rtorch.autograd.grad(got, (x, y), rtorch.tensor(g))
        part = slopes(a, b, p, g)
        for have, want in zip(made, (part.sum(2), -part.sum(1))):
            np.testing.assert_allclose(have.numpy(), want, rtol=tolerance, atol=tolerance * 30)


@pytest.mark.parametrize("p", NORMS)
def test_layouts_batches_and_numbers_that_are_none(p):
    rng = np.random.default_rng(1)
    wide = rtorch.tensor(rng.standard_normal((3, 1, 12, 40)))
    other = rtorch.tensor(rng.standard_normal((5, 40, 7)))
    cases = [(wide, other.mT), (wide[..., ::2, 1:], other.mT[:, :, :-1]), (wide[0, 0], other[:, :40].mT), (wide, wide)]
    for x, y in cases:
        batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        a, b = (np.broadcast_to(v.numpy(), batch + v.shape[-2:]) for v in (x, y))
        np.testing.assert_allclose(rtorch.cdist(x, y, p, DIRECT).numpy(), distances(a, b, p), rtol=1e-12)
    assert rtorch.cdist(wide[:, :, :0], other.mT, p).shape == (3, 5, 0, 7)
    assert not rtorch.cdist(wide[..., :0], other.mT[..., :0], p).any()
    x = rtorch.tensor([[1.0, math.nan, 5.0], [1.0, 2.0, math.inf]])
    got = rtorch.cdist(x, rtorch.zeros(9, 3), p, DIRECT)
    if p == 0:
        assert (got == 3).all()
    else:
        assert got[0].isnan().all() and (got[1] == math.inf).all()


@pytest.mark.parametrize("p", NORMS)
def test_pairs_of_one_matrix(p):
    for n, m in ((0, 3), (1, 3), (2, 1), (9, 4), (70, 66)):
        a = np.random.default_rng(n).standard_normal((n, m))
        x = rtorch.tensor(a, requires_grad=True)
        upper = np.triu_indices(n, 1)
        got = F.pdist(x, p)
        np.testing.assert_allclose(got.detach().numpy(), distances(a, a, p)[upper], rtol=1e-12)
        g = np.random.default_rng(7).standard_normal(got.shape)
        full = np.zeros((n, n))
        full[upper] = g
        (made,) = rtorch.autograd.grad(got, x, rtorch.tensor(g))
        np.testing.assert_allclose(made.numpy(), slopes(a, a, p, full + full.T).sum(1), atol=1e-11)


@pytest.mark.parametrize("p", NORMS)
def test_derivatives(p):
    rtorch.manual_seed(0)
    x, y = (rtorch.randn(*s, dtype=rtorch.float64, requires_grad=True) for s in ((2, 5, 4), (6, 4)))
    f = lambda x, y: rtorch.cdist(x, y, p, DIRECT)
    assert rtorch.autograd.gradcheck(f, (x, y), check_forward_ad=True)
    assert rtorch.autograd.gradgradcheck(f, (x, y))
    assert rtorch.autograd.gradcheck(lambda x: F.pdist(x, p), (y,)) and F.pdist(y, p).grad_fn.name() == "PdistBackward0"
    assert f(x, y).grad_fn.name() == "CdistBackward0"
    batched = rtorch.func.vmap(f, (0, None))(rtorch.stack([x, x + 1]), y)
    assert rtorch.allclose(batched, rtorch.stack([f(x, y), f(x + 1, y)]))


@pytest.mark.gpu
@pytest.mark.parametrize("p", NORMS)
def test_the_composition_elsewhere_agrees(p):
    x, y = rtorch.randn(2, 9, 5), rtorch.randn(2, 8, 5)
    got = rtorch.cdist(x.to("wgpu"), y.to("wgpu"), p, DIRECT)
    assert rtorch.allclose(got.cpu(), rtorch.cdist(x, y, p, DIRECT), atol=1e-5)
