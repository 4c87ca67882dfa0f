"""DataLoader with worker processes: order, seeds, errors, deaths, and that nothing stays behind."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import rtorch
from rtorch.utils import data

METHODS = ["fork", "spawn", "forkserver"]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


class Rows(data.Dataset):
    """Row i is full of i; some rows misbehave."""

    def __init__(self, n, **odd):
        self.n, self.odd = n, odd

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if i == self.odd.get("fails_at"):
            raise self.odd.get("error", ValueError)(f"row {i} is bad")
        if i == self.odd.get("dies_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if i == self.odd.get("exits_at"):
            os._exit(3)
        if i == self.odd.get("sleeps_at"):
            time.sleep(60)
        return rtorch.full((2, 3), i, dtype=rtorch.float32), i


class Draws(data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        worker = data.get_worker_info()
        drawn = [worker.id, random.random(), np.random.rand(), rtorch.rand(()).item(), np.random.randint(10**6)]
        return rtorch.tensor(drawn, dtype=rtorch.float64)


class Stream(data.IterableDataset):
    """Worker w yields lengths[w] numbers from 100 w on."""

    def __init__(self, *lengths):
        self.lengths = lengths

    def __iter__(self):
        worker = data.get_worker_info()
        return iter(range(worker.id * 100, worker.id * 100 + self.lengths[worker.id]))


def add_thousand(worker_id):
    data.get_worker_info().dataset.n += 1000


def refuse(worker_id):
    raise RuntimeError(f"worker {worker_id} does not want to")


def lists(loader):
    return [batch.tolist() for batch in loader]


def is_gone(pid):
    """Has the process ended (a zombie has)?"""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_gone(pids, seconds=10):
    deadline = time.monotonic() + seconds
    while not all(map(is_gone, pids)):
        assert time.monotonic() < deadline, "a worker is left"
        time.sleep(0.02)


@pytest.mark.parametrize("method", METHODS)
def test_batches_come_in_order_through_shared_memory(method):
    loader = data.DataLoader(Rows(7), batch_size=2, num_workers=2, multiprocessing_context=method)
    batches = list(loader)
    assert [y.tolist() for _, y in batches] == [[0, 1], [2, 3], [4, 5], [6]]
    assert all(x.is_shared() and y.is_shared() for x, y in batches)
    assert [x[:, 1, 2].tolist() for x, _ in batches] == [[0, 1], [2, 3], [4, 5], [6]]
    batches[0][0].add_(1)
    assert batches[0][0].sum() == 18  # 6 * 1 + 6 * 2


def test_workers_have_pytorchs_seeds():
    rtorch.manual_seed(3)
    loader = data.DataLoader(Draws(), batch_size=1, num_workers=2, persistent_workers=True)
    first = [batch[0].tolist() for batch in loader]
    rtorch.manual_seed(3)
    assert [batch[0].tolist() for batch in data.DataLoader(Draws(), num_workers=2)] == first
    # recorded from PyTorch 2.13
    assert first[0] == [0, 0.21793848432592644, 0.8794862824005928, 0.2876076102256775, 229801]
    seeds = data.DataLoader(SeedOf(), num_workers=2, batch_size=None, generator=rtorch.Generator().manual_seed(5))
    base = rtorch.empty((), dtype=rtorch.int64).random_(generator=rtorch.Generator().manual_seed(5)).item()
    assert [int(s) for s in seeds] == [base, base + 1]


class SeedOf(Draws):
    def __len__(self):
        return 2

    def __getitem__(self, i):
        return data.get_worker_info().seed


def test_numpy_is_seeded_as_pytorch_does():
    from rtorch.utils.data._utils.worker import seed_everything

    states = np.random.get_state(), random.getstate(), rtorch.get_rng_state()
    try:
        assert seed_everything(7217459218914353209, 1) == 7217459218914353210
        # recorded from PyTorch 2.13
        assert np.random.randint(10**6) == 301963 and random.random() == 0.695098144444186
    finally:
        np.random.set_state(states[0])
        random.setstate(states[1])
        rtorch.set_rng_state(states[2])


LATE = """
import sys
import rtorch
from rtorch.utils.data import DataLoader

class Draws:
    def __len__(self):
        return 4
    def __getitem__(self, i):
        import numpy
        return float(numpy.random.rand())

if __name__ == "__main__":
    rtorch.manual_seed(0)
    print([b.item() for b in DataLoader(Draws(), num_workers=2, multiprocessing_context="fork")])
    assert "numpy" not in sys.modules
"""


def test_numpy_imported_by_a_worker_is_seeded_then(tmp_path):
    script = tmp_path / "late.py"
    script.write_text(LATE)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    # PyTorch's draws
    assert eval(done.stdout) == [0.8371640508861415, 0.6702704958690073, 0.38757835109739946, 0.07589687641367027]


class Wide(data.Dataset):
    """Samples big enough to be written to the shared memory's file, transposed ones among them."""

    def __init__(self, dtype):
        self.dtype = dtype

    def __len__(self):
        return 3

    def __getitem__(self, i):
        rows = (rtorch.arange(90_000) % 100 + i).reshape(300, 300).to(self.dtype)
        return rows.t() if i == 1 else rows


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64", "bool", "float8_e5m2", "int64"])
def test_big_samples_of_every_kind_travel(dtype):
    samples = Wide(getattr(rtorch, dtype))
    (batch,) = data.DataLoader(samples, batch_size=3, num_workers=1)
    assert batch.is_shared() and batch.is_contiguous() and batch.dtype == samples.dtype
    for row, sample in zip(batch, samples):
        assert row.shape == sample.shape and row.tolist() == sample.tolist()


@pytest.mark.filterwarnings("ignore:.*excessive worker creation")
def test_streams_end_worker_by_worker():
    def loader(*lengths, **kwargs):
        return data.DataLoader(Stream(*lengths), batch_size=2, num_workers=3, **kwargs)

    # recorded from PyTorch 2.13
    assert lists(loader(7, 3, 5)) == [
        [0, 1], [100, 101], [200, 201], [2, 3], [102], [202, 203], [4, 5], [204], [6],
    ]  # fmt: skip
    assert lists(loader(1, 9, 4)) == [
        [0], [100, 101], [200, 201], [102, 103], [202, 203], [104, 105], [106, 107], [108],
    ]  # fmt: skip
    kept = loader(0, 0, 3, drop_last=True, persistent_workers=True)
    assert lists(kept) == [[200, 201]] and lists(kept) == [[200, 201]]
    with pytest.warns(UserWarning, match="Length of IterableDataset"):
        counted = data.DataLoader(Counted(2, 2), batch_size=None, num_workers=2)
        assert len(counted) == 3 and len(list(counted)) == 4


class Counted(Stream):
    def __len__(self):
        return 3


def test_the_first_that_is_ready():
    loader = data.DataLoader(Slow(), batch_size=None, num_workers=2, in_order=False)
    found = [int(i) for i in loader]
    assert sorted(found) == list(range(6)) and found[0] != 0
    assert [int(i) for i in data.DataLoader(Slow(), batch_size=None, num_workers=2)] == list(range(6))


class Slow(Rows):
    def __init__(self):
        super().__init__(6)

    def __getitem__(self, i):
        time.sleep(0.5 if i == 0 else 0)
        return i


def test_persistent_workers_stay():
    loader = data.DataLoader(Rows(4), num_workers=2, persistent_workers=True, prefetch_factor=3)
    assert len(list(loader)) == 4
    pids = [w.pid for w in loader._iterator._workers]
    for _, y in loader:
        assert y.item() == 0
        break  # half an epoch: the rest is not seen by the next one
    assert [y.item() for _, y in loader] == [0, 1, 2, 3]
    assert [w.pid for w in loader._iterator._workers] == pids
    del loader
    wait_gone(pids)


def test_init_functions_and_what_a_worker_knows():
    assert data.get_worker_info() is None
    loader = data.DataLoader(Rows(2), num_workers=1, worker_init_fn=add_thousand, collate_fn=info_of)
    assert list(loader) == [(0, 1, 1002)] * 2
    with pytest.raises(RuntimeError, match="Caught RuntimeError in DataLoader worker process 0(.|\n)*does not want to"):
        list(data.DataLoader(Rows(2), num_workers=1, worker_init_fn=refuse))


def info_of(batch):
    worker = data.get_worker_info()
    with pytest.raises(RuntimeError, match="Cannot assign attributes to WorkerInfo objects"):
        worker.id = 3
    return worker.id, worker.num_workers, worker.dataset.n


@pytest.mark.parametrize("error", [ValueError, KeyError, StopIteration])
def test_an_exception_arrives_with_its_traceback(error):
    loader = data.DataLoader(Rows(4, fails_at=2, error=error), num_workers=2)
    batches = iter(loader)
    assert [next(batches)[1].item() for _ in range(2)] == [0, 1]
    text = rf"Caught {error.__name__} in DataLoader worker process 0.\nOriginal Traceback"
    with pytest.raises(error, match=text) as raised:
        next(batches)
    assert "row 2 is bad" in str(raised.value) and "__getitem__" in str(raised.value)
    assert next(batches)[1].item() == 3  # the loader goes on


def test_what_cannot_be_pickled_is_an_error():
    loader = data.DataLoader(Rows(1), num_workers=1, collate_fn=lambda batch: lambda: batch)
    with pytest.raises(Exception, match="in DataLoader worker process 0"):
        list(loader)


@pytest.mark.parametrize("odd, text", [("dies_at", "is killed by signal: Killed"), ("exits_at", "exit code 3")])
def test_a_dead_worker_raises(odd, text):
    begin = time.monotonic()
    batches = iter(data.DataLoader(Rows(8, **{odd: 4}), num_workers=2))
    pids = [w.pid for w in batches._workers]
    with pytest.raises(RuntimeError, match=rf"DataLoader worker \(pid \d+\) .*{text}"):
        list(batches)
    wait_gone(pids)
    assert time.monotonic() - begin < 8


def test_a_late_worker_raises_and_an_iterator_dropped_half_way_cleans_up():
    batches = iter(data.DataLoader(Rows(4, sleeps_at=1), num_workers=2, timeout=0.5, prefetch_factor=1))
    pids = [w.pid for w in batches._workers]
    os.kill(pids[1], signal.SIGTERM)  # it would sleep for a minute
    with pytest.raises(RuntimeError, match="timed out after 0.5 seconds|is killed by signal: Terminated"):
        list(batches)
    wait_gone(pids)
    batches = iter(data.DataLoader(Rows(100), num_workers=2))
    pids = [w.pid for w in batches._workers]
    next(batches)
    del batches
    wait_gone(pids)


def test_big_things_and_many_tensors_travel():
    [batch] = data.DataLoader(Big(), batch_size=None, num_workers=1)
    assert batch["text"] == "x" * 10**6 and len(batch["many"]) == 600
    assert [t.item() for t in batch["many"]] == list(range(600)) and batch["empty"].shape == (0, 3)
    assert batch["view"].tolist() == [[0, 2], [1, 3]] and batch["same"][0].data_ptr() == batch["same"][1].data_ptr()
    # batches that are kept keep no file open
    before = len(os.listdir("/proc/self/fd"))
    kept = list(data.DataLoader(Rows(50), num_workers=1))
    assert len(kept) == 50 and len(os.listdir("/proc/self/fd")) - before < 20


class Big(Rows):
    def __init__(self):
        super().__init__(1)

    def __getitem__(self, i):
        one = rtorch.zeros(3)
        return {
            "text": "x" * 10**6,
            "many": [rtorch.tensor(k) for k in range(600)],
            "empty": rtorch.empty(0, 3),
            "view": rtorch.arange(4).reshape(2, 2).t(),
            "same": (one, one.view(3)),
        }


PROGRAM = """
import os, sys, time
import rtorch
from rtorch.utils import data

class Rows(data.Dataset):
    def __len__(self):
        return 10**6
    def __getitem__(self, i):
        time.sleep(0.01)
        return i

if __name__ == "__main__":
    batches = iter(data.DataLoader(Rows(), num_workers=2, multiprocessing_context=sys.argv[1]))
    next(batches)
    print(*[w.pid for w in batches._workers], flush=True)
    for _ in batches:
        pass
"""


@pytest.mark.parametrize("method, sent", [("fork", "INT"), ("fork", "KILL"), ("spawn", "INT"), ("spawn", "KILL")])
def test_no_worker_outlives_its_parent(tmp_path, method, sent):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.Popen(
        [sys.executable, str(program), method], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    try:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.send_signal(getattr(signal, f"SIG{sent}"))
        _, errors = parent.communicate(timeout=20)
        assert parent.returncode != 0 and (sent == "KILL" or "KeyboardInterrupt" in errors)
        wait_gone(pids)
    finally:
        parent.kill()
