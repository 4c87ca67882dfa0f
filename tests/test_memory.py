"""What work costs in memory: traffic of fused chains by `runtime_stats`, and growth of a long training loop."""

import os

import pytest

import rtorch as torch
from rtorch import nn

MEGABYTE = 1 << 20


def traffic(work):
    """Bytes that kernels read and wrote during `work()`."""
    torch.reset_runtime_stats()
    work()
    stats = torch.runtime_stats()
    return stats["bytes_read"] + stats["bytes_written"]


def test_the_gradient_of_a_chain_moves_at_most_five_tensors():
    a = torch.rand(MEGABYTE).requires_grad_()
    a.data_ptr()

    def forward_and_backward():
        ((a * 2 + 1).sqrt() * a).tanh().sum().backward()
        a.grad.data_ptr()

    size = a.numel() * a.element_size()
    moved = traffic(forward_and_backward)
    # the gradient alone is one reading and one writing
    least = 2 * size
    eager = os.environ.get("RTORCH_EAGER") == "1"
    assert least <= moved and (eager or moved <= 5 * size), f"{moved / size:.2f} tensors"


def test_a_row_of_operations_moves_what_one_does():
    a, b = torch.rand(MEGABYTE), torch.rand(MEGABYTE)
    a.data_ptr(), b.data_ptr()

    def row():
        x = a
        for _ in range(10):
            x = (x + b) * 0.5
        x.data_ptr()

    size = a.numel() * a.element_size()
    if os.environ.get("RTORCH_EAGER") == "1":
        assert traffic(row) > 20 * size
    else:
        assert traffic(row) == 3 * size


def resident():
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="the process's size is read from Linux's /proc")
def test_cross_entropy_writes_its_gradient_and_nothing_else_of_that_size():
    x = torch.randn(512, 2048).requires_grad_()
    y = torch.randint(0, 2048, (512,))
    x.data_ptr()

    def forward_and_backward():
        nn.functional.cross_entropy(x, y).backward()
        x.grad.data_ptr()

    size = x.numel() * x.element_size()
    # the logits are read in both directions
    assert 3 * size <= traffic(forward_and_backward) < 3.2 * size


def test_training_does_not_grow(request):
    # one thread: on a busy machine the others wake late, ten thousand times
    threads = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(threads))
    torch.set_num_threads(1)
    nn = torch.nn
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.LayerNorm(16), nn.Linear(16, 4))
    optimizer = torch.optim.Adam(model.parameters())
    x, y = torch.randn(16, 8), torch.arange(16) % 4
    at = {}
    for step in range(1, 10_001):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        if step in (1_000, 10_000):
            at[step] = resident(), torch.runtime_stats()["bytes_in_use"]
    (before, held), (after, held_after) = at[1_000], at[10_000]
    assert after - before < 2 * MEGABYTE
    assert held_after == held
