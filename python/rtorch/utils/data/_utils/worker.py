"""What a worker process of a DataLoader does: it fetches the batches it is asked for and sends them back."""

import importlib.util
import os
import sys

import rtorch

from . import fetch

__all__ = ["WorkerInfo", "get_worker_info"]

# Seconds between two looks whether the parent lives; its connection says so at once, unless a third process holds it.
_LOOK_FOR_PARENT = 5.0
_worker_info = None


class WorkerInfo:
    """What a worker knows of itself: `id`, `num_workers`, `seed` and its copy of the `dataset`."""

    __initialized = False

    def __init__(self, **kwargs):
        self.__keys = tuple(kwargs)
        for name, value in kwargs.items():
            setattr(self, name, value)
        self.__initialized = True

    def __setattr__(self, name, value):
        if self.__initialized:
            raise RuntimeError(f"Cannot assign attributes to {type(self).__name__} objects")
        super().__setattr__(name, value)

    def __repr__(self):
        items = ", ".join(f"{name}={getattr(self, name)}" for name in self.__keys)
        return f"{type(self).__name__}({items})"


def get_worker_info():
    """The `WorkerInfo` of this worker process; None in the main process."""
    return _worker_info


class _Ended:
    """Sent instead of a batch: this worker's part of an iterable dataset has ended."""


class _Resume:
    """Asks a persistent worker to begin the next epoch."""

    def __init__(self, shared_seed):
        self.shared_seed = shared_seed


def seed_everything(base_seed, worker_id):
    """Seeds Python's, rtorch's and NumPy's generators of a worker; the first two with base_seed + worker_id."""
    import random

    seed = base_seed + worker_id
    random.seed(seed)
    rtorch.manual_seed(seed)
    # PyTorch mixes worker and base seed by the algorithm of NumPy's SeedSequence
    words = [worker_id, base_seed & 0xFFFFFFFF, base_seed >> 32 & 0xFFFFFFFF, 0]
    if "numpy.random" in sys.modules:
        _seed_numpy(sys.modules["numpy.random"], words)
    else:
        sys.meta_path.insert(0, _SeededNumpy(words))
    return seed


def _seed_numpy(numpy_random, words):
    numpy_random.seed(numpy_random.SeedSequence(words).generate_state(4))


class _SeededNumpy:
    """Seeds NumPy's generator when a worker imports it: most do not, and importing it takes 80 ms of each."""

    def __init__(self, words):
        self.words = words

    def find_spec(self, name, path=None, target=None):
        if name != "numpy.random":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def execute_and_seed(module):
            execute(module)
            _seed_numpy(module, self.words)

        spec.loader.exec_module = execute_and_seed
        return spec


class _Inbox:
    """The parent's messages; None when it wants an end or is gone."""

    def __init__(self, channel):
        import multiprocessing.connection

        self.wait = multiprocessing.connection.wait
        self.channel = channel
        self.parent_pid = os.getppid()
        parent = multiprocessing.parent_process()
        self.sentinel = [] if parent is None else [parent.sentinel]

    def get(self):
        while True:
            ready = self.wait([self.channel, *self.sentinel], _LOOK_FOR_PARENT)
            if self.channel in ready:
                try:
                    return self.channel.recv()
                except (EOFError, ConnectionError):
                    return None
            if ready or os.getppid() != self.parent_pid:
                return None


class _Task:
    """What a worker needs to begin: sent to it once."""

    def __init__(self, iterable, dataset, auto_collation, collate_fn, drop_last, init_fn):
        self.iterable = iterable
        self.dataset = dataset
        self.auto_collation = auto_collation
        self.collate_fn = collate_fn
        self.drop_last = drop_last
        self.init_fn = init_fn

    def fetcher(self):
        return fetch.create_fetcher(self.iterable, self.dataset, self.auto_collation, self.collate_fn, self.drop_last)


class _Worker:
    def __init__(self, task, worker_id):
        self.task, self.worker_id = task, worker_id
        self.fetcher, self.failure, self.ended = None, None, False

    def _wrapped(self):
        return rtorch._utils.ExceptionWrapper(where=f"in DataLoader worker process {self.worker_id}")

    def begin(self, shared_seed):
        """Makes a fetcher: at the start, and for each epoch of a persistent worker."""
        self.ended = False
        try:
            _seed_pipes(self.task.dataset, shared_seed)
            self.fetcher = self.task.fetcher()
        except Exception:
            self.failure = self._wrapped()

    def first(self, base_seed, num_workers, shared_seed):
        global _worker_info
        rtorch.set_num_threads(1)
        seed = seed_everything(base_seed, self.worker_id)
        dataset = self.task.dataset
        _worker_info = WorkerInfo(id=self.worker_id, num_workers=num_workers, seed=seed, dataset=dataset)
        try:
            _shard_pipes(dataset, num_workers, self.worker_id)
            if self.task.init_fn is not None:
                self.task.init_fn(self.worker_id)
        except Exception:
            self.failure = self._wrapped()
            return
        self.begin(shared_seed)

    def answer(self, index):
        """A batch, `_Ended`, an exception; NotImplemented where no answer is awaited any more."""
        if self.ended:
            return NotImplemented
        if self.failure is not None:
            failure, self.failure = self.failure, None
            return failure
        try:
            if self.fetcher is None:
                self.fetcher = self.task.fetcher()
            return self.fetcher.fetch(index)
        except StopIteration:
            if not self.task.iterable:
                return self._wrapped()
            self.ended = True
            return _Ended()
        except Exception:
            return self._wrapped()

    def send(self, channel, key, data):
        try:
            packed = channel.pack((key, data))
        except Exception:  # what cannot be pickled is an error of its own
            packed = channel.pack((key, self._wrapped()))
        channel.send_packed(packed)


def _seed_pipes(dataset, shared_seed):
    if shared_seed is not None:
        from ..graph_settings import apply_random_seed

        generator = rtorch.Generator()
        generator.manual_seed(shared_seed)
        apply_random_seed(dataset, generator)


def _shard_pipes(dataset, num_workers, worker_id):
    from ..datapipes.datapipe import IterDataPipe

    if isinstance(dataset, IterDataPipe):
        from ..graph_settings import apply_sharding

        apply_sharding(dataset, num_workers, worker_id)


def worker_loop(task, channel, base_seed, worker_id, num_workers, shared_seed, inherited):
    """The life of a worker. `inherited`: ends of other workers' connections that a fork has brought along."""
    try:
        for other in inherited:
            other.close()
        worker = _Worker(task, worker_id)
        worker.first(base_seed, num_workers, shared_seed)
        inbox = _Inbox(channel)
        while (message := inbox.get()) is not None:
            if isinstance(message, _Resume):
                worker.begin(message.shared_seed)
                continue
            key, index = message
            data = worker.answer(index)
            if data is not NotImplemented:
                worker.send(channel, key, data)
            del data, message
    except (KeyboardInterrupt, BrokenPipeError, ConnectionResetError):
        pass  # the parent raises the first itself, and is gone in the other cases
    finally:
        channel.close()
