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


def test_a_product_reads_a_pending_transposed_operand_in_its_own_order():
    x = torch.randn(4, 1 << 17)
    waiting, ready = x.t() * 1.5, x.t() * 1.5
    ready.data_ptr()
    assert torch.equal(x @ waiting, x @ ready)
