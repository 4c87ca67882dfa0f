"""Deferral: what waits for what, and that nobody can see it."""

import pytest

import rtorch as torch

LONG = 2_000


@pytest.mark.parametrize("between", [lambda x: x, torch.relu], ids=["products", "products and relu"])
def test_a_loop_of_products_makes_no_chain(between):
    eye, x = torch.eye(128), torch.rand(128, 128)
    want = x.clone()
    for _ in range(LONG):
        x = between(x @ eye)
    assert torch.runtime_stats()["pending"] < 100
    assert torch.equal(x, want)
