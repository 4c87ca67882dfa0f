"""flex_attention: the same as attention with the mask and bias written out."""

import math

import pytest

import rtorch
import rtorch.nn.functional as F
from rtorch.nn.attention import flex_attention as flex


def operands(heads=2):
    rtorch.manual_seed(0)
    return [rtorch.randn(3, h, 5, 4, requires_grad=True) for h in (2, heads, heads)]


def causal(b, h, q, kv):
    return q >= kv


def test_without_functions_it_is_attention():
    q, k, v = operands()
    assert flex.flex_attention(q, k, v).allclose(F.scaled_dot_product_attention(q, k, v), atol=1e-6)
    q, k, v = operands(1)
    both = F.scaled_dot_product_attention(q, k.expand_as(q), v.expand_as(q))
    assert flex.flex_attention(q, k, v, enable_gqa=True).allclose(both, atol=1e-6)


def test_masks_and_gradients():
    q, k, v = operands()
    mask = flex.create_block_mask(causal, None, None, 5, 5)
    got, lse = flex.flex_attention(q, k, v, block_mask=mask, return_lse=True)
    want = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert got.allclose(want, atol=1e-6) and lse.shape == (3, 2, 5) and mask.sparsity() == pytest.approx(40)
    for a, b in zip(rtorch.autograd.grad(got.sum(), [q, k, v]), rtorch.autograd.grad(want.sum(), [q, k, v])):
        assert a.allclose(b, atol=1e-5)
    window = flex.and_masks(causal, lambda b, h, q, kv: q - kv < 2)
    assert flex.create_mask(window, 1, 1, 4, 4).sum() == 7
    assert flex.create_mask(flex.or_masks(window, lambda b, h, q, kv: kv == 3), 1, 1, 4, 4).sum() == 10
    empty = flex.create_block_mask(lambda b, h, q, kv: q < 0, 3, 2, 5, 5)
    assert flex.flex_attention(q, k, v, block_mask=empty).eq(0).all()


def test_scores():
    q, k, v = operands()
    slopes = rtorch.tensor([0.5, 0.25])
    got = flex.flex_attention(q, k, v, lambda s, b, h, i, j: s - slopes[h] * (i - j).abs(), scale=0.3)
    far = (rtorch.arange(5).unsqueeze(1) - rtorch.arange(5)).abs()
    want = ((q @ k.transpose(-2, -1)) * 0.3 - slopes.view(2, 1, 1) * far).softmax(-1) @ v
    assert got.allclose(want, atol=1e-6)
    for bad in ((q[0], k, v), (q, k[..., :3], v)):
        with pytest.raises(ValueError):
            flex.flex_attention(*bad)
    with pytest.raises(ValueError, match="was made for lengths"):
        flex.flex_attention(q, k, v, block_mask=flex.create_block_mask(causal, 1, 1, 4, 4))
    assert math.isclose(flex.noop_mask(*rtorch.zeros(4, 1).long()).item(), 1)
