"""What must not hang or end the process: Ctrl-C in long kernels, fork, threads, panics, sizes beyond all memory."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import rtorch
import rtorch.nn.functional as F

ENV = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.mark.parametrize(
    "prepare, work",
    [
        ("a = rtorch.ones(8192, 8192)", "(a @ a).sum().item()"),
        ("a = rtorch.ones(8192, 8192); rtorch.set_num_threads(1)", "(a @ a).sum().item()"),
        ("a = rtorch.arange(1 << 26).mul(7919).remainder(1000003).float()", "rtorch.sort(a)[1][0].item()"),
        ("a = rtorch.arange(1 << 26).mul(7919).remainder(1000003).view(1 << 13, -1)", "rtorch.sort(a)[1][0, 0].item()"),
    ],
    ids=["matmul", "matmul of one thread", "sort", "sort of rows"],
)
def test_ctrl_c_within_a_second(prepare, work):
    program = f"import rtorch\n{prepare}\na.data_ptr()\nprint('go', flush=True)\nwhile True:\n    {work}\n"
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV
    )
    try:
        assert child.stdout.readline() == "go\n"
        time.sleep(0.3)
        begin = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=30)
        assert time.monotonic() - begin < 2.5  # a second; the rest is the end of the process on a busy machine
        assert errors.strip().endswith("KeyboardInterrupt")
    finally:
        child.kill()


def test_after_ctrl_c_the_process_goes_on():
    a = rtorch.ones(2048, 2048)
    a.data_ptr()
    before = signal.getsignal(signal.SIGALRM)

    def stop(*_):
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    try:
        with pytest.raises(TimeoutError):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            while True:
                (a @ a).sum().item()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert (rtorch.ones(64, 64) @ rtorch.ones(64, 64)).sum() == 64**3


def fork_and(f, seconds=20):
    """Runs `f` in a forked child; its exit status, None for one that hangs."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if f() else 2
        finally:
            os._exit(code)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def test_fork_while_other_threads_compute():
    rtorch.set_num_threads(2)
    a = rtorch.rand(500, 500)
    w = rtorch.rand(100, 100, requires_grad=True)
    w.register_hook(lambda grad: grad * 2)
    pending = a * 2 + 1
    wanted = [(a @ a).sum().item(), (a * 2 + 1).sum().item()]
    stop = threading.Event()

    def work():
        while not stop.is_set():
            (rtorch.rand(200, 200) @ a[:200, :200]).sum().item()
            (a * 3).sum().item()
            w.square().sum().backward()

    def child():
        found = [(a @ a).sum().item(), pending.sum().item()]
        return found == wanted and rtorch.randn(300, 300).sort()[0].shape == (300, 300)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        codes = [fork_and(child) for _ in range(8)]
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert codes == [0] * 8
    assert (a @ a).sum().item() == wanted[0]


def test_a_forked_child_trains():
    model = rtorch.nn.Sequential(rtorch.nn.Linear(64, 256), rtorch.nn.ReLU(), rtorch.nn.Linear(256, 8))
    x = rtorch.rand(256, 64)
    model(x).sum().backward()

    def child():
        optimizer = rtorch.optim.Adam(model.parameters())
        before = model(x).square().mean().item()
        for _ in range(20):
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
        return loss.item() < before

    assert fork_and(child) == 0


@pytest.mark.gpu
def test_a_forked_child_is_refused_the_gpu():
    on_gpu = rtorch.ones(4, device="wgpu")
    assert on_gpu.sum().item() == 4

    def child():
        for use in (lambda: on_gpu + 1, lambda: rtorch.ones(2).to("wgpu"), on_gpu.sum, on_gpu.cpu):
            try:
                use().cpu()
            except RuntimeError as e:
                if "fork" not in str(e):
                    return False
            else:
                return False
        return rtorch.ones(3).sum().item() == 3

    assert fork_and(child) == 0
    assert on_gpu.sum().item() == 4


def in_threads(work, count=4, seconds=60):
    """Runs `work(i)` in several threads at once; what they raised."""
    raised = []

    def go(i):
        try:
            work(i)
        except Exception as e:
            raised.append(e)

    threads = [threading.Thread(target=go, args=(i,), daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    return raised


@pytest.mark.parametrize("n", [16, 256])
def test_threads_share_one_tensor(n):
    shared = rtorch.zeros(n, n)
    weight = rtorch.rand(n, n, requires_grad=True)

    def work(i):
        for k in range(30):
            shared.add_(1)
            shared[i % n] *= 1.0
            shared.t()[:, k % n].copy_(rtorch.ones(n))
            assert (shared.clone() + shared).shape == (n, n)
            ((shared.detach() * 0 + 2) * weight).sum().backward()
            assert repr(shared) and shared.view(-1).sum().isfinite()

    assert in_threads(work) == []
    rtorch.autograd.grad((weight * 2).sum(), weight)
    assert weight.grad.shape == (n, n) and weight.grad.isfinite().all()


def test_threads_share_one_pending_tensor():
    ones = rtorch.ones(200, 200)
    pending = [(ones * k + 1).sqrt() for k in range(20)]
    sums = {}

    def work(i):
        for k, value in enumerate(pending):
            sums[i, k] = (value * (i + 1)).sum().item()

    assert in_threads(work) == []
    assert all(round(sums[i, k] / sums[0, k], 4) == i + 1 for i, k in sums) and len(sums) == 80


def test_a_panic_is_an_error_and_the_next_call_works():
    for n in (1, 100_000):
        with pytest.raises(RuntimeError, match="a planted panic"):
            rtorch._C._panic_in_kernel(rtorch.ones(n))
    assert (rtorch.ones(300, 300) @ rtorch.ones(300, 300)).sum() == 300**3
    with pytest.raises(RuntimeError, match="a planted panic"):
        rtorch._C._panic_in_kernel(rtorch.ones(10))
    assert in_threads(lambda i: rtorch.ones(100_000).sum().item()) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda: rtorch.empty(1 << 62, 8),
        lambda: rtorch.zeros(1 << 62, dtype=rtorch.float64),
        lambda: rtorch.ones(3037000500, 3037000500, 8),
        lambda: rtorch.rand(1 << 45),
        lambda: rtorch.arange(0, 1e18),
        lambda: rtorch.linspace(0, 1, 1 << 60),
        lambda: rtorch.eye(1 << 40),
        lambda: rtorch.randperm(1 << 50),
        lambda: rtorch.empty(2).expand(1 << 40, 2).contiguous(),
        lambda: rtorch.ones(1).expand(1 << 60).clone(),
        lambda: rtorch.ones(1).expand(1 << 50) + 1,
        lambda: rtorch.ones(4).repeat(1 << 62, 8),
        lambda: rtorch.ones(4).repeat_interleave(1 << 50),
        lambda: rtorch.ones(2, 2).resize_(1 << 61, 16),
        lambda: rtorch.empty_strided((1 << 40,), (1 << 40,)),
        lambda: rtorch.ones(1 << 20, 1).expand(1 << 20, 1 << 25) @ rtorch.ones(1, 1).expand(1 << 25, 1 << 25),
        lambda: rtorch.ones(1, 1, 1 << 20).expand(1 << 20, 1, 1 << 20) * rtorch.ones(1, 1 << 20, 1),
        lambda: rtorch.nn.functional.pad(rtorch.ones(1), (1 << 62, 1 << 62)),
        lambda: rtorch.nn.functional.one_hot(rtorch.tensor([1 << 50])),
        lambda: rtorch.bincount(rtorch.tensor([1 << 55])),
        lambda: rtorch.nn.functional.interpolate(rtorch.ones(1, 1, 2), size=1 << 55),
        lambda: rtorch.tril_indices(1 << 40, 1 << 40),
        lambda: rtorch.nn.Linear(1 << 31, 1 << 31),
        lambda: rtorch.ones(8).unfold(0, 1, 1).expand(8, 1 << 60).sort(),
    ],
)
def test_sizes_beyond_all_memory_are_refused_at_once(call):
    begin = time.monotonic()
    with pytest.raises((RuntimeError, ValueError, OverflowError, MemoryError)):
        result = call()
        result.sum().item()  # what is pending has no memory yet
    assert time.monotonic() - begin < 2
    assert rtorch.ones(3).sum() == 3


@pytest.mark.parametrize("name", [n for n in dir(rtorch.special) if "_polynomial_" in n])
def test_degrees_that_are_no_numbers_end(name):
    # 1 is a special argument of most families: the elements of its tile are computed one by one
    x = rtorch.tensor([0.25, 1.0, 0.75, -0.5, 3.0, float("nan")])
    polynomial = getattr(rtorch.special, name)
    assert polynomial(x, float("nan")).isnan().sum() >= 5
    assert polynomial(x, float("-inf")).nan_to_num(0).abs().sum() == 0
    polynomial(x, float("inf"))


def test_kernels_far_larger_than_what_they_meet():
    huge = 2**31 - 1
    assert F.lp_pool1d(rtorch.zeros(0, 1, 2), 2.0, huge, ceil_mode=True).shape == (0, 1, 1)
    assert F.max_pool1d(rtorch.arange(4.0).reshape(1, 1, 4), huge, 1, huge // 2).tolist() == [[[3.0] * 4]]
    mean = F.avg_pool2d(rtorch.ones(1, 1, 4, 4), (huge, 3), 1, (huge // 2, 1), count_include_pad=False)
    assert mean.shape == (1, 1, 4, 4) and (mean == 1).all()


def test_a_dilation_that_wraps_is_too_large():
    for dilation in (2**63 - 1, 2**62, 2**61 + 1):
        with pytest.raises(RuntimeError, match="too small"):
            F.unfold(rtorch.ones(1, 5, 4, 4), 5, dilation=dilation)
        with pytest.raises(RuntimeError, match="too small"):
            F.fold(rtorch.ones(1, 25, 4), 4, 5, dilation=dilation)
    with pytest.raises(RuntimeError):
        F.unfold(rtorch.ones(1, 1, 4, 4), 2, padding=2**63 - 1)
