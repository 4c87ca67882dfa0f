"""Deferral: what waits for what, and that nobody can see it."""

import os

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


@pytest.mark.skipif(os.environ.get("RTORCH_EAGER") == "1", reason="nothing is fused")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.float16])
def test_a_choice_and_its_comparison_are_one_program(dtype):
    x, y = (torch.rand(1 << 16) * 100 - 50).to(dtype), (torch.rand(1 << 16) * 100 - 50).to(dtype)
    x.data_ptr(), y.data_ptr()
    for work in (
        lambda: torch.where(x > 0, x, y),
        lambda: torch.where(x > y, x * 2, y),
        lambda: (x * 2).masked_fill(x < 0, 1),
        lambda: torch.where((x - y) > 0, x, y),
    ):
        want = work().clone()
        torch.reset_runtime_stats()
        got = work()
        got.data_ptr()
        stats = torch.runtime_stats()
        size = x.numel() * x.element_size()
        assert (stats["kernels"], stats["bytes_written"] / size) == (1, 1)
        assert torch.equal(got, want)
