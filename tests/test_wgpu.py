"""The `wgpu` device: values that drivers may treat freely, operands larger than a binding, and what goes wrong."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import rtorch as torch
import rtorch.nn.functional as F

pytestmark = pytest.mark.gpu


def run_python(code, **environment):
    """Runs a program in a process of its own; what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ---- values


@pytest.mark.modes
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_what_is_not_finite_survives_a_fused_chain(dtype):
    x = torch.tensor([float("inf"), -float("inf"), float("nan"), 0.0, -0.0, 1.0]).to(getattr(torch, dtype))
    chains = {
        "x - x": lambda x: x - x,
        "(x + 1) - x": lambda x: (x + 1) - x,
        "(x + 1) - (x + 1)": lambda x: (x + 1) - (x + 1),
        "x + -x": lambda x: x + -x,
        "x * 0": lambda x: x * 0,
        "x / x": lambda x: x / x,
        "(x - 1) * 2 - (x - 1) * 2": lambda x: (x - 1) * 2 - (x - 1) * 2,
        "x == x": lambda x: (x == x).to(x.dtype),
        "x >= x": lambda x: (x >= x).to(x.dtype),
        "x.relu()": lambda x: x.relu(),
        "x.clamp(-1, 1)": lambda x: x.clamp(-1, 1),
        "maximum": lambda x: torch.maximum(x, x * 0.5),
    }
    for name, chain in chains.items():
        got, want = chain(x.to("wgpu")).cpu().float(), chain(x).float()
        assert torch.equal(got.isnan(), want.isnan()), (name, got, want)
        assert torch.equal(got.nan_to_num(), want.nan_to_num()), (name, got, want)
        assert torch.equal(got.signbit()[~want.isnan()], want.signbit()[~want.isnan()]), (name, got, want)


@pytest.mark.modes
def test_int64_arithmetic_of_large_numbers():
    a = torch.tensor([2**62, -(2**63), 2**63 - 1, -1, 7, -7, 0, 2**40 + 3])
    b = torch.tensor([3, -1, 2, 2**33, -2, 3, 5, -(2**20)])
    x, y = a.to("wgpu"), b.to("wgpu")
    for op in (torch.add, torch.sub, torch.mul, torch.remainder, torch.bitwise_xor, torch.maximum, torch.gt):
        assert torch.equal(op(x, y).cpu(), op(a, b)), op
    for mode in ("floor", "trunc"):
        assert torch.equal(
            torch.div(x[1:], y[1:], rounding_mode=mode).cpu(), torch.div(a[1:], b[1:], rounding_mode=mode)
        )
    assert torch.equal((x << 3).cpu(), a << 3) and torch.equal((x >> 3).cpu(), a >> 3)
    assert torch.equal(x.float().cpu(), a.float()) and torch.equal(x.sum().cpu(), a.sum())
    assert torch.equal(x.sort()[0].cpu(), a.sort()[0]) and torch.equal(x.max(0)[1].cpu(), a.max(0)[1])


@pytest.mark.modes
@pytest.mark.parametrize("n", [7, 33, 300, 5000])
def test_rows_of_every_length_fold_alike(n):
    x = torch.randn(5, n)
    y = x.to("wgpu")
    for f in (
        lambda x: x.sum(1),
        lambda x: x.amax(1),
        lambda x: x.argmin(1),
        lambda x: x.var(1),
        lambda x: (x > 0).any(1),
        lambda x: x.softmax(1),
        lambda x: x.log_softmax(1),
        lambda x: F.layer_norm(x, (n,)),
        lambda x: F.rms_norm(x, (n,)),
        lambda x: (x * 100).to(torch.int64).sum(1),
        lambda x: x.max(1)[1],
    ):
        torch.testing.assert_close(f(y).cpu(), f(x), rtol=2e-5, atol=2e-5)


@pytest.mark.modes
def test_an_optimizer_of_many_states_updates_each_from_the_old_ones():
    # nine buffers: more than the portable profile binds at once
    losses = []
    for device in ("cpu", "wgpu"):
        torch.manual_seed(0)
        x, layer = torch.randn(16, 5).to(device), torch.nn.Linear(5, 3).to(device)
        optimizer = torch.optim.RMSprop(layer.parameters(), lr=0.01, momentum=0.9, centered=True)
        for _ in range(5):
            optimizer.zero_grad()
            loss = (layer(x) ** 2).sum()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.modes
def test_dims_of_one_in_any_place():
    for shape in ((3, 1, 100), (1, 5), (5, 1), (1, 1, 7), (2, 1, 3, 1, 4), (1, 1)):
        x = torch.randn(shape)
        assert torch.equal((x.to("wgpu") + 1).cpu(), x + 1), shape


# ---- fusion


def dispatches(function):
    torch.accelerator.synchronize()
    torch.reset_runtime_stats()
    out = function()
    out.data_ptr()  # what is pending runs
    torch.accelerator.synchronize()
    return out, torch.runtime_stats()["gpu_dispatches"]


@pytest.mark.skipif(os.environ.get("RTORCH_EAGER") == "1", reason="nothing is fused")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_product_takes_what_follows_it(dtype):
    dtype = getattr(torch, dtype)
    a, b, bias = torch.randn(70, 40).to(dtype), torch.randn(40, 90).to(dtype), torch.randn(90).to(dtype)
    there = [t.to("wgpu") for t in (a, b, bias)]
    chain = lambda a, b, bias: torch.relu(a @ b * 0.5 + bias)
    got, count = dispatches(lambda: chain(*there))
    assert count == 1 or dtype == torch.float16 and count == 2  # packed at the end where there is no float16
    torch.testing.assert_close(got.cpu(), chain(a, b, bias), rtol=2e-2 if dtype == torch.float16 else 1e-4, atol=1e-3)


@pytest.mark.skipif(os.environ.get("RTORCH_EAGER") == "1", reason="nothing is fused")
def test_a_convolution_takes_what_follows_it():
    x, w, b, r = torch.randn(3, 4, 9, 11), torch.randn(6, 4, 3, 3), torch.randn(6), torch.randn(3, 6, 9, 11)
    there = [t.to("wgpu") for t in (x, w, b, r)]
    chain = lambda x, w, b, r: torch.relu(F.conv2d(x, w, b, padding=1) + r)
    got, count = dispatches(lambda: chain(*there))
    assert count == 1
    torch.testing.assert_close(got.cpu(), chain(x, w, b, r), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_matrix_times_a_vector(transposed):
    a, v = torch.randn(3, 100, 257), torch.randn(3, 257, 1)
    if transposed:
        a = a.transpose(1, 2).contiguous().transpose(1, 2)
    got = a.to("wgpu") @ v.to("wgpu")
    torch.testing.assert_close(got.cpu(), a @ v, rtol=1e-4, atol=1e-4)
    got = v.to("wgpu").mT @ a.to("wgpu").mT + 1
    torch.testing.assert_close(got.cpu(), v.mT @ a.mT + 1, rtol=1e-4, atol=1e-4)


# ---- attention


@pytest.mark.modes
@pytest.mark.parametrize(
    ("shape", "keys", "wide", "kind"),
    [
        ((2, 3, 40, 16), 40, 16, "causal"),
        ((2, 3, 40, 16), 70, 24, "mask"),
        ((1, 2, 130, 10), 33, 7, "bias"),
        ((1, 1, 17, 36), 129, 33, None),
        ((2, 2, 3, 8), 20, 8, "mask"),
    ],
)
def test_attention_and_its_gradients(shape, keys, wide, kind):
    b, h, t, d = shape
    torch.manual_seed(0)
    q, k, v = torch.randn(shape), torch.randn(b, h, keys, d), torch.randn(b, h, keys, wide)
    options = {"is_causal": kind == "causal"}
    if kind == "mask":
        options["attn_mask"] = torch.rand(t, keys) > 0.3
        options["attn_mask"][1] = False  # a query that sees nothing
    if kind == "bias":
        options["attn_mask"] = torch.randn(b, 1, t, keys)
    answers = []
    for device in ("cpu", "wgpu"):
        leaves = [x.detach().to(device).requires_grad_() for x in (q, k, v)]
        there = {n: o.to(device) if isinstance(o, torch.Tensor) else o for n, o in options.items()}
        y = F.scaled_dot_product_attention(*leaves, **there)
        (y * torch.arange(wide, device=device)).sum().backward()
        answers.append([y.detach().cpu(), *(leaf.grad.cpu() for leaf in leaves)])
    for got, want in zip(*answers, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_attention_keeps_no_matrix_of_scores():
    q = torch.randn(1, 4, 1024, 16).to("wgpu")
    F.scaled_dot_product_attention(q, q, q)
    torch.accelerator.synchronize()
    torch.reset_runtime_stats()
    before = torch.wgpu.memory_allocated()
    y = F.scaled_dot_product_attention(q, q, q, is_causal=True)
    torch.accelerator.synchronize()
    scores = 4 * 1024 * 1024 * 4
    assert torch.wgpu.max_memory_allocated() - before < scores / 8
    assert y.shape == q.shape


# ---- operands larger than a binding

WINDOWS = """
import rtorch as torch, rtorch.nn.functional as F
torch.manual_seed(0)
big, ints = torch.randn(12, 8, 40, 50), torch.randint(0, 12, (3000, 12))
table, weight = torch.randn(5000, 12), torch.randn(6, 8, 3, 3)
norm, q = torch.randn(50), torch.randn(8, 4, 90, 16)
def grads(f):
    def run(*xs):
        xs = [x.detach().requires_grad_() for x in xs]
        y = f(*xs)
        (y * y).sum().backward()
        return [y.detach()] + [x.grad for x in xs]
    return run
cases = {
    "add": (lambda x: x + 1, big),
    "sum": (lambda x: x.sum((0, 2)), big),
    "softmax": (grads(lambda x: x.softmax(1)), big),
    "cumsum": (lambda x: x.cumsum(1), big),
    "sort": (lambda x: x.sort(3)[1], big),
    "topk": (lambda x: x.topk(3, 2)[0], big),
    "max": (lambda x: x.max(1)[0], big),
    "var": (lambda x: x.var(3), big),
    "matmul": (grads(lambda x: torch.relu(x @ x.mT)), big),
    "long product": (lambda x: x @ x.mT[:, :700], table),
    "gather": (lambda x, i: x.gather(1, i), table, ints),
    "scatter": (lambda x, i: torch.zeros(3000, 12, device=x.device).scatter_add(1, i, x[:3000]), table, ints),
    "take rows": (lambda x, i: x[:100].index_select(0, i.flatten()), table, ints),
    "embedding": (lambda x, i: F.embedding(i, x[:100]), table, ints),
    "conv": (grads(lambda x, w: torch.relu(F.conv2d(x, w, padding=1))), big, weight),
    "max_pool": (grads(lambda x: F.max_pool2d(x, 2)), big),
    "avg_pool": (grads(lambda x: F.avg_pool2d(x, 2)), big),
    "adaptive": (grads(lambda x: F.adaptive_avg_pool2d(x, 5)), big),
    "layer_norm": (grads(lambda x, w: F.layer_norm(x, (50,), w, w)), big, norm),
    "attention": (grads(lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=True)), q),
    "half": (lambda x: (x.half() * 2).softmax(3), big),
    "cat": (lambda x: torch.cat([x, x], 1), big),
}
for name, (f, *xs) in cases.items():
    want, got = f(*xs), f(*(x.to("wgpu") for x in xs))
    if isinstance(want, torch.Tensor):
        want, got = [want], [got]
    for w, g in zip(want, got):
        torch.testing.assert_close(g.cpu(), w, rtol=2e-3, atol=2e-3, msg=lambda m: f"{name}: {m}")
stats = torch.runtime_stats()
assert stats["host_fallbacks"] == 0
try:
    table.to("wgpu")[ints.to("wgpu")].cpu()
except RuntimeError as e:
    print(e)
assert torch.equal((torch.ones(3, device="wgpu") + 1).cpu(), torch.full((3,), 2.0))
print("the process goes on")
"""


def test_operands_larger_than_a_binding_run_in_windows():
    out = run_python(WINDOWS, RTORCH_GPU_BINDING=str(1 << 17), RTORCH_FALLBACK="error")
    # what no window fits says what to do
    assert "more than one binding of this adapter" in out and "Split the tensor" in out
    assert out.endswith("the process goes on\n")


# ---- what goes wrong


def test_too_large_an_allocation():
    with pytest.raises(torch.OutOfMemoryError, match="smaller tensors"):
        torch.empty(1 << 44, dtype=torch.uint8, device="wgpu")
    assert torch.ones(2, device="wgpu").sum().item() == 2


LOSS = """
import rtorch as torch
from rtorch import _C
x = torch.arange(4.0).to("wgpu")
pending = x * 2
_C._wgpu_lose(0)
uses = lambda: x.cpu(), lambda: pending.cpu(), lambda: (x + 1).sum().item(), lambda: (x @ x).item(), lambda: print(x)
for use in uses:
    try:
        use()
    except RuntimeError as e:
        assert "was lost" in str(e) and "load or compute them again" in str(e), e
    else:
        raise AssertionError("a lost tensor was read")
assert torch.ones(3).sum().item() == 3
y = torch.arange(4.0).to("wgpu") + 1
assert y.tolist() == [1, 2, 3, 4], y
try:
    y + x
    (y + x).cpu()
except RuntimeError as e:
    assert "was lost" in str(e)
else:
    raise AssertionError("memory of a lost device was read")
assert (y @ y).item() == 30
print("went on")
"""


def test_after_a_loss_old_tensors_raise_and_new_ones_work():
    assert run_python(LOSS) == "went on\n"


FORK = """
import os, sys
import rtorch as torch
x = torch.ones(4, device="wgpu")
x.cpu()
child = os.fork()
if child == 0:
    ok = (torch.ones(300, 300) @ torch.ones(300, 300)).sum().item() == 300**3
    for use in (lambda: x.cpu(), lambda: torch.ones(2, device="wgpu").cpu(), lambda: (x + 1).sum().item()):
        try:
            use()
            ok = False
        except RuntimeError as e:
            ok = ok and "forked" in str(e) and "spawn" in str(e)
    os._exit(0 if ok else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print((x + 1).sum().item())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_in_a_forked_child_the_gpu_raises_and_the_cpu_works():
    assert run_python(FORK) == "8.0\n"


@pytest.mark.skipif(os.name != "posix", reason="signals to oneself")
def test_ctrl_c_ends_a_wait_within_a_second():
    a = torch.rand(1024, 1024).to("wgpu")
    (a @ a).cpu()
    sent = []

    def interrupt():
        time.sleep(0.2)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=interrupt)
    sender.start()
    with pytest.raises(KeyboardInterrupt):
        # some seconds of a software adapter's time, in many submissions
        b = a
        for _ in range(10):
            b = b @ a
        b.sum().item()
    assert time.perf_counter() - sent[0] < 1.0
    sender.join()
    torch.accelerator.synchronize()
    assert torch.ones(2, device="wgpu").sum().item() == 2


def test_a_bad_index_raises_at_the_next_synchronisation():
    x, index = torch.arange(5.0).to("wgpu"), torch.tensor([1, 9]).to("wgpu")
    picked = x[index]
    with pytest.raises(IndexError, match="index 9 is out of bounds"):
        picked.cpu()
    assert x[torch.tensor([1, -1]).to("wgpu")].tolist() == [1.0, 4.0]


def test_float64_says_what_to_do():
    with pytest.raises(TypeError, match=r"\.float\(\)"):
        torch.ones(2, dtype=torch.float64).to("wgpu")


def test_listing_adapters_is_quiet():
    code = "import rtorch; print(rtorch.wgpu.is_available())"
    environment = {k: v for k, v in os.environ.items() if k not in ("XDG_RUNTIME_DIR", "NODEVICE_SELECT")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_scatter_of_int64_is_exact():
    rng = np.random.default_rng(0)
    index = torch.from_numpy(rng.integers(0, 7, 4000))
    values = torch.from_numpy(rng.integers(-(2**61), 2**61, 4000))
    for reduce in ("sum", "amax", "amin"):
        zeros = torch.zeros(7, dtype=torch.int64)
        want = zeros.scatter_reduce(0, index, values, reduce)
        got = zeros.to("wgpu").scatter_reduce(0, index.to("wgpu"), values.to("wgpu"), reduce)
        assert torch.equal(got.cpu(), want), reduce
    # of elements that write one place, the last wins
    want = torch.zeros(7, dtype=torch.int64).scatter(0, index, values)
    got = torch.zeros(7, dtype=torch.int64, device="wgpu").scatter(0, index.to("wgpu"), values.to("wgpu"))
    assert torch.equal(got.cpu(), want)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_a_checkpoint_draws_the_same_numbers_again(use_reentrant):
    from rtorch.utils import checkpoint

    x = torch.ones(64, device="wgpu", requires_grad=True)
    y = checkpoint.checkpoint(lambda x: torch.nn.functional.dropout(x, 0.5), x, use_reentrant=use_reentrant)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach()) and 0 < int((y == 0).sum()) < 64
    devices, states = checkpoint.get_device_states(x)
    first = torch.rand(3, device="wgpu").tolist()
    checkpoint.set_device_states(devices, states)
    assert devices == [0] and torch.rand(3, device="wgpu").tolist() == first
