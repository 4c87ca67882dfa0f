"""rtorch.multiprocessing and memory shared between processes."""

import contextlib
import gc
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest

import rtorch
from rtorch import multiprocessing as mp
from rtorch import nn

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
METHODS = ["fork", "spawn", "forkserver"]
WAIT = 30


def run(method, target, *args):
    process = mp.get_context(method).Process(target=target, args=args)
    process.start()
    process.join(WAIT)
    assert process.exitcode == 0


@contextlib.contextmanager
def strategy(name):
    before = mp.get_sharing_strategy()
    mp.set_sharing_strategy(name)
    try:
        yield
    finally:
        mp.set_sharing_strategy(before)


# ---- memory


def test_sharing_moves_the_storage_once():
    t = rtorch.arange(6.0)
    view, saved = t[2:], t * 1
    assert not t.is_shared()
    assert t.share_memory_() is t and t.is_shared() and view.is_shared() and t.untyped_storage().is_shared()
    address = t.data_ptr()
    assert view.tolist() == [2, 3, 4, 5] and saved.tolist() == t.tolist()
    t.add_(1).mul_(2)
    t[0] = -1
    view.zero_()
    rtorch.add(saved, 1, out=t[:])
    t.share_memory_()
    assert t.data_ptr() == address and view.tolist() == [3, 4, 5, 6]
    assert not t.clone().is_shared() and rtorch.empty(0).share_memory_().shape == (0,)
    with pytest.raises(RuntimeError, match="not resizable"):
        t.resize_(1000)


def test_big_shared_tensors_are_written_in_place():
    # large enough to be deferred elsewhere
    t = rtorch.zeros(1 << 18).share_memory_()
    address = t.data_ptr()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            t.add_(1)
            t *= 3
            t.copy_(t + 1)
            t[1::2] = 7
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert t[0] == 4 and t[1] == 7 and t.data_ptr() == address
    assert t.sum() == (4 + 7) * (1 << 17)


def test_what_backward_saved_in_shared_memory_is_checked():
    w = rtorch.ones(3).share_memory_()
    x = rtorch.ones(3, requires_grad=True)
    loss = (w * x).sum()
    w.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_memory_of_numpy_is_copied():
    a = np.zeros(4, dtype=np.float32)
    t = rtorch.from_numpy(a).share_memory_()
    t.add_(1)
    assert t.tolist() == [1] * 4 and a.sum() == 0
    assert t.numpy()[0] == 1
    t.numpy()[0] = 5
    assert t[0] == 5


def test_memory_that_does_not_fit_is_refused():
    with pytest.raises(RuntimeError):
        rtorch.UntypedStorage._new_shared(1 << 60)
    with pytest.raises((RuntimeError, OverflowError)):
        rtorch._C._empty_shared([1 << 40, 1 << 40], rtorch.float32)
    read, write = os.pipe()
    os.close(write)
    with pytest.raises(RuntimeError):
        rtorch.UntypedStorage._new_shared_fd_cpu(read, 100)  # no memory, and it takes the descriptor over


def test_nothing_stays_behind_after_a_crash():
    program = "import rtorch, os; t = rtorch.ones(1 << 20).share_memory_(); os.kill(os.getpid(), 9)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    before = set(os.listdir("/dev/shm"))
    assert subprocess.run([sys.executable, "-c", program], env=env, timeout=WAIT).returncode == -signal.SIGKILL
    assert not {name for name in set(os.listdir("/dev/shm")) - before if "rtorch" in name}


# ---- tensors on their way


def double(tensors):
    for t in tensors:
        t.mul_(2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", ["file_descriptor", "file_system"])
def test_arguments_are_shared(method, how):
    with strategy(how):
        base = rtorch.arange(8.0)
        tensors = [base[1::2], rtorch.ones(2, 2, dtype=rtorch.int16), rtorch.ones(3, dtype=rtorch.bfloat16)]
        for t in tensors:
            t.share_memory_()
        run(method, double, tensors)
    assert base.tolist() == [0, 2, 2, 6, 4, 10, 6, 14] and tensors[1].sum() == 8 and tensors[2].sum() == 6


def answer(jobs, results):
    while (job := jobs.get(timeout=WAIT)) is not None:
        job["x"].add_(1)
        results.put((job["x"].shape, rtorch.full((300, 300), float(job["x"].sum()))))
    jobs.get(timeout=WAIT)  # stay until what was sent has been read


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("how", ["file_descriptor", "file_system"])
def test_queues(method, how):
    context = mp.get_context(method)
    jobs, results = context.Queue(), context.Queue()
    process = context.Process(target=answer, args=(jobs, results))
    with strategy(how):
        process.start()
        x = rtorch.zeros(2, 3)
        for i in range(3):
            jobs.put({"x": x})
            shape, total = results.get(timeout=WAIT)
            assert shape == (2, 3) and total.is_shared() and total[7, 7] == 6 * (i + 1)
        jobs.put(None)
        jobs.put(None)
        process.join(WAIT)
    assert process.exitcode == 0 and x.is_shared() and x.sum() == 18


def test_simple_queues_and_pipes():
    queue = mp.SimpleQueue()
    queue.put([rtorch.arange(3), nn.Parameter(rtorch.ones(2))])
    got, parameter = queue.get()
    assert got.tolist() == [0, 1, 2] and isinstance(parameter, nn.Parameter) and parameter.requires_grad
    a, b = mp.Pipe()
    with strategy("file_system"):
        sent = rtorch.zeros(3)
        a.send(sent)
        received = b.recv()
        sent[1] = 5
        assert received.tolist() == [0, 5, 0]
        a.send(rtorch.ones(5))  # nobody but the strategy keeps it
        gc.collect()
        assert b.recv().sum() == 5


def total(t):
    return t.sum(), t * 2


def fail(i):
    raise KeyError(f"no {i}")


def test_pools():
    with mp.get_context("fork").Pool(2) as pool:
        results = pool.map_async(total, [rtorch.full((4,), float(i)) for i in range(5)]).get(WAIT)
        assert [r[0].item() for r in results] == [0, 4, 8, 12, 16] and results[3][1].tolist() == [6] * 4
        with pytest.raises(KeyError, match="no 1"):
            pool.apply_async(fail, (1,)).get(WAIT)


def test_what_does_not_travel():
    x = rtorch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="Cowardly refusing to serialize non-leaf tensor"):
        mp.SimpleQueue().put(x * 2)
    with pytest.raises(AssertionError):
        mp.set_sharing_strategy("carrier pigeon")
    assert mp.get_all_sharing_strategies() >= {mp.get_sharing_strategy()}
    # an ordinary pickle holds the bytes
    assert pickle.loads(pickle.dumps(rtorch.ones(2).share_memory_())).is_shared() is False


# ---- training


def hogwild(rank, model, steps, x, y):
    rtorch.set_num_threads(1)
    optimizer = rtorch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_model_trained_by_several_processes(method):
    rtorch.manual_seed(0)
    x = rtorch.randn(64, 3)
    y = x @ rtorch.tensor([[1.0], [-2.0], [0.5]]) + 3
    model = nn.Sequential(nn.Linear(3, 1)).share_memory()
    assert all(p.is_shared() for p in model.parameters())
    before = nn.functional.mse_loss(model(x), y).item()
    mp.start_processes(hogwild, (model, 60, x, y), nprocs=2, start_method=method)
    assert nn.functional.mse_loss(model(x), y).item() < 0.01 * before


def add_gradient(model):
    model(rtorch.ones(1, 2)).sum().backward()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_shared_gradients(method):
    model = nn.Linear(2, 1)
    for p in model.parameters():
        p.grad = rtorch.zeros_like(p)
    model.share_memory()
    assert model.weight.grad.is_shared()
    for _ in range(2):
        run(method, add_gradient, model)
    assert model.weight.grad.tolist() == [[2, 2]] and model.bias.grad.tolist() == [2]
    optimizer = rtorch.optim.SGD(model.parameters(), lr=1.0)
    optimizer.zero_grad(set_to_none=False)
    assert model.weight.grad.is_shared() and model.weight.grad.sum() == 0


def adam(model, state):
    optimizer = rtorch.optim.Adam(model.parameters())
    optimizer.load_state_dict(state)
    model(rtorch.ones(1, 2)).sum().backward()
    optimizer.step()


def test_optimizer_steps_write_to_shared_memory():
    model = nn.Linear(2, 1).share_memory()
    before = model.weight.detach().clone()
    run("fork", adam, model, rtorch.optim.Adam(model.parameters()).state_dict())
    assert (model.weight - before).abs().min() > 5e-4


# ---- spawn


def raise_at(i, which):
    if i == which:
        raise ValueError(f"process {i} fails")
    rtorch.ones(2).sum()
    if which >= 0:
        signal.pause()


def end_at(i, how):
    if i == 1:
        sys.exit(4) if how == "exit" else os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def test_spawn_hands_errors_on():
    assert mp.spawn(raise_at, args=(-1,), nprocs=2) is None
    with pytest.raises(mp.ProcessRaisedException, match="-- Process 1 terminated(.|\n)*process 1 fails") as raised:
        mp.spawn(raise_at, args=(1,), nprocs=2)
    assert raised.value.error_index == 1 and raised.value.error_pid > 0
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_processes_that_end_by_themselves():
    with pytest.raises(mp.ProcessExitedException, match="process 1 terminated with exit code 4") as raised:
        mp.start_processes(end_at, ("exit",), nprocs=2, start_method="fork")
    assert raised.value.exit_code == 4
    context = mp.start_processes(end_at, ("kill",), nprocs=2, start_method="fork", join=False)
    assert len(context.pids()) == 2
    with pytest.raises(mp.ProcessExitedException, match="terminated with signal SIGKILL") as raised:
        while not context.join(timeout=WAIT):
            pass
    assert raised.value.signal_name == "SIGKILL" and not any(p.is_alive() for p in context.processes)
    with pytest.warns(FutureWarning, match="only supports start_method=spawn"):
        mp.spawn(raise_at, args=(-1,), start_method="fork")
