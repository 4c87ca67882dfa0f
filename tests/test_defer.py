"""Deferral: what waits for what, and that nobody can see it."""

import ctypes
import os

import numpy as np
import pytest

import rtorch as torch

LONG = 2_000
LARGE = 1 << 16  # elements: work on as many waits


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


def exposed_by(how):
    """A tensor of zeros that somebody besides rtorch can write, and how they write it."""
    if how == "from_numpy":
        array = np.zeros(LARGE, np.float32)
        return torch.from_numpy(array), lambda: array.fill(5)
    t = torch.zeros(LARGE)
    if how == "numpy":
        array = t.numpy()
    elif how == "dlpack":
        array = torch.from_dlpack(t).numpy()
    else:
        array = np.frombuffer((ctypes.c_char * t.nbytes).from_address(t.share_memory_().data_ptr()), np.float32)
    return t, lambda: array.fill(5)


@pytest.mark.parametrize("how", ["from_numpy", "numpy", "dlpack", "share_memory_"])
def test_what_reads_memory_that_others_write_does_not_wait(how):
    t, write = exposed_by(how)
    square = t.view(128, -1)
    copy, chain, view = t.clone(), (t * 2 + 1).relu(), t[::2] + 1
    product, into = square @ square.T, torch.ones(LARGE)
    into += t
    write()
    assert copy.sum() == 0 and chain.sum() == LARGE and view.sum() == LARGE // 2
    assert product.sum() == 0 and into.sum() == LARGE
    assert t.sum() == 5 * LARGE


@pytest.mark.parametrize("expose", ["numpy", "data_ptr", "share_memory_", "__dlpack__"])
def test_what_waits_is_run_before_others_may_write(expose):
    t = torch.zeros(LARGE)
    copy, chain = t.clone(), t * 2 + 1
    kept = getattr(t, expose)()
    np.frombuffer((ctypes.c_char * t.nbytes).from_address(t.data_ptr()), np.float32)[:] = 5
    assert copy.sum() == 0 and chain.sum() == LARGE and t.sum() == 5 * LARGE
    del kept
