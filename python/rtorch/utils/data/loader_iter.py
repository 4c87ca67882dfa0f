"""What iterates over a DataLoader: in this process, or by worker processes that fetch ahead. `dataloader` is what users
make; a worker's side is `_utils/worker`."""

import contextlib
import itertools
import os
import time
import warnings
import weakref

import rtorch
from rtorch._utils import ExceptionWrapper

from ._utils import fetch, worker

__all__ = ["_BaseDataLoaderIter", "_MultiProcessingDataLoaderIter", "_SingleProcessDataLoaderIter"]

# Seconds that workers get to finish their batch when the iterator goes; then they are terminated.
_GRACE = 5.0
# Seconds that a terminated worker gets before it is killed.
_KILL_AFTER = 1.0


class _BaseDataLoaderIter:
    """One pass over a loader: `__next__` answers a batch."""

    def __init__(self, loader):
        self._dataset = loader.dataset
        self._iterable = loader._iterable
        self._auto_collation = loader._auto_collation
        self._drop_last = loader.drop_last
        self._index_sampler = loader._index_sampler
        self._num_workers = loader.num_workers
        self._timeout = loader.timeout
        self._collate_fn = loader.collate_fn
        self._loader_generator = loader.generator
        self._shared_seed = loader._draw_shared_seed()
        self._sampler_iter = iter(self._index_sampler)
        # PyTorch draws the workers' seed here, workers or not: the stream after it must be the same
        self._base_seed = loader._draw_seed()
        self._num_yielded = 0
        self._expected_length = loader._reported_length

    def __iter__(self):
        return self

    def _reset(self, loader, first_iter=False):
        self._sampler_iter = iter(self._index_sampler)
        self._num_yielded = 0
        self._expected_length = loader._reported_length
        if not first_iter:
            self._shared_seed = loader._draw_shared_seed()

    def _next_index(self):
        return next(self._sampler_iter)

    def _next_data(self):
        raise NotImplementedError

    def __next__(self):
        data = self._next_data()
        self._num_yielded += 1
        if self._iterable:
            self._check_length()
        return data

    next = __next__

    def _check_length(self):
        expected = self._expected_length
        if expected is None or self._num_yielded <= expected:
            return
        text = (
            f"Length of IterableDataset {self._dataset} was reported to be {expected}(when accessing len(dataloader)), "
            f"but {self._num_yielded} samples have been fetched. "
        )
        if self._num_workers > 0:
            text += (
                "For multiprocessing data-loading, this could be caused by not properly configuring the "
                "IterableDataset replica at each worker. Please see "
                "https://pytorch.org/docs/stable/data.html#torch.utils.data.IterableDataset for examples."
            )
        warnings.warn(text, stacklevel=3)

    def __len__(self):
        return len(self._index_sampler)

    def __getstate__(self):
        raise NotImplementedError(f"{type(self).__name__} cannot be pickled")


class _SingleProcessDataLoaderIter(_BaseDataLoaderIter):
    """Fetches each batch when it is asked for."""

    def __init__(self, loader):
        super().__init__(loader)
        worker._seed_pipes(self._dataset, self._shared_seed)
        self._dataset_fetcher = fetch.create_fetcher(
            self._iterable, self._dataset, self._auto_collation, self._collate_fn, self._drop_last
        )

    def _next_data(self):
        return self._dataset_fetcher.fetch(self._next_index())


class _Crew:
    """The worker processes of an iterator and their connections; ends them when the iterator goes, however that is."""

    def __init__(self):
        self.owner = os.getpid()
        self.processes, self.channels = [], []

    def start(self, context, task, base_seed, worker_id, count, shared_seed):
        from rtorch.multiprocessing._channel import channel_pair

        ours, theirs = channel_pair()
        inherited = [*self.channels, ours] if context.get_start_method() == "fork" else []
        args = (task, theirs, base_seed, worker_id, count, shared_seed, inherited)
        process = context.Process(target=worker.worker_loop, args=args, daemon=True)
        try:
            process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.processes.append(process)
        self.channels.append(ours)

    def end(self):
        """Asks all to end, and makes those end that do not."""
        if os.getpid() != self.owner:
            return  # a forked copy: the workers are not its children
        processes, self.processes, channels, self.channels = self.processes, [], self.channels, []
        for channel in channels:
            # the end of a connection says the same, but only if no other process holds a copy of it
            with contextlib.suppress(OSError):
                if channel.writable():
                    channel.send(None)
            channel.close()
        deadline = time.monotonic() + _GRACE
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.terminate()
        for process in processes:
            process.join(_KILL_AFTER)
            if process.is_alive():
                process.kill()
                process.join()


def _dead(process):
    """The error of a worker that has ended by itself."""
    import signal

    process.join(_KILL_AFTER)
    code = process.exitcode
    if code is not None and code < 0:
        try:
            name = signal.strsignal(-code) or str(-code)
        except ValueError:
            name = str(-code)
        hint = ""
        if -code == signal.SIGBUS:
            hint = (
                "It is possible that dataloader's workers are out of shared memory. Please try to raise your shared "
                "memory limit."
            )
        return RuntimeError(f"DataLoader worker (pid {process.pid}) is killed by signal: {name}. {hint}")
    return RuntimeError(
        f"DataLoader worker (pid {process.pid}) exited unexpectedly with exit code {code}. Details are lost due to "
        "multiprocessing. Rerunning with num_workers=0 may give better error trace."
    )


class _MultiProcessingDataLoaderIter(_BaseDataLoaderIter):
    """Workers fetch ahead: each is asked for `prefetch_factor` batches, in turn; answers are handed out in order
    (`in_order`) or as they come."""

    def __init__(self, loader):
        super().__init__(loader)
        self._prefetch_factor = loader.prefetch_factor
        self._in_order = loader.in_order
        self._persistent_workers = loader.persistent_workers
        context = loader.multiprocessing_context
        if context is None:
            context = rtorch.multiprocessing.get_context()
        self._crew = _Crew()
        self._finalizer = weakref.finalize(self, self._crew.end)
        task = worker._Task(
            self._iterable,
            self._dataset,
            self._auto_collation,
            self._collate_fn,
            self._drop_last,
            loader.worker_init_fn,
        )
        try:
            for i in range(self._num_workers):
                self._crew.start(context, task, self._base_seed, i, self._num_workers, self._shared_seed)
        except BaseException:
            self._finalizer()
            raise
        self._epoch = 0
        self._begin()

    @property
    def _workers(self):
        return self._crew.processes

    def _begin(self):
        # number of a batch that was asked for -> its worker; number -> what came
        self._tasks = {}
        self._arrived = {}
        self._send_idx = 0
        self._rcvd_idx = 0
        self._load = [0] * self._num_workers
        self._active = [True] * self._num_workers
        self._turn = itertools.cycle(range(self._num_workers))
        for _ in range(self._prefetch_factor * self._num_workers):
            self._try_put_index()

    def _reset(self, loader, first_iter=False):
        """The next epoch of persistent workers; what they still send of the last one is not awaited."""
        super()._reset(loader, first_iter)
        self._epoch += 1
        for i in range(self._num_workers):
            self._send(i, worker._Resume(self._shared_seed))
        self._begin()

    # ---- to the workers

    def _next_worker(self):
        """Whose turn it is; None where all have ended."""
        if not any(self._active):
            return None
        if self._in_order:
            return next(i for i in self._turn if self._active[i])
        return min((i for i in range(self._num_workers) if self._active[i]), key=self._load.__getitem__)

    def _try_put_index(self):
        target = self._next_worker() if self._tasks_left() else None
        if target is None:
            return
        try:
            index = self._next_index()
        except StopIteration:
            return
        self._tasks[self._send_idx] = target
        self._load[target] += 1
        self._send(target, ((self._epoch, self._send_idx), index))
        self._send_idx += 1

    def _tasks_left(self):
        return len(self._tasks) < self._prefetch_factor * self._num_workers

    def _send(self, i, message):
        """Sends; what arrives meanwhile is taken in, so that neither side waits for the other for ever."""
        channel = self._crew.channels[i]
        packed = channel.pack(message)
        while not channel.writable():
            for j in self._ready(0.1):
                self._take(j)
        try:
            channel.send_packed(packed)
        except (BrokenPipeError, ConnectionResetError):
            self._fail(i)

    # ---- from the workers

    def _ready(self, timeout):
        """The workers that have sent something, or died."""
        from multiprocessing.connection import wait

        crew = self._crew
        sources = {crew.channels[i]: i for i in range(len(crew.channels)) if self._active[i] or self._load[i]}
        for i in list(sources.values()):
            sources[crew.processes[i].sentinel] = i
        ready = wait(list(sources), timeout)
        found = {sources[r]: False for r in ready}
        for r in ready:
            if r in crew.channels:
                found[sources[r]] = True
        for i, sent in found.items():
            if not sent and not wait([crew.channels[i]], 0):
                self._fail(i)
        return list(found)

    def _fail(self, i):
        error = _dead(self._crew.processes[i])
        self._finalizer()
        raise error

    def _take(self, i):
        """Takes in one message."""
        try:
            (epoch, number), data = self._crew.channels[i].recv()
        except (EOFError, ConnectionError):
            self._fail(i)
        if epoch != self._epoch:
            return
        self._load[i] -= 1
        if isinstance(data, worker._Ended):
            self._worker_ended(i)
        else:
            self._arrived[number] = data

    def _worker_ended(self, i):
        """Its part of the stream has ended: what it was asked for beyond that will not come."""
        self._active[i] = False
        self._load[i] = 0
        for k in [k for k, target in self._tasks.items() if target == i and k not in self._arrived]:
            del self._tasks[k]
        self._try_put_index()

    def _wait(self):
        """Waits until at least one worker has sent something."""
        deadline = time.monotonic() + self._timeout if self._timeout > 0 else None
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready = self._ready(left)
        if not ready:
            self._finalizer()
            raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds")
        for i in ready:
            self._take(i)

    def _next_arrived(self):
        """The number of the batch to hand out, if it is there."""
        if not self._in_order:
            return next(iter(self._arrived), None)
        number = next(iter(self._tasks), None)
        return number if number in self._arrived else None

    def _next_data(self):
        if not self._finalizer.alive:
            raise StopIteration
        while True:
            number = self._next_arrived()
            if number is not None:
                break
            if not self._tasks:
                if not self._persistent_workers:
                    self._finalizer()
                raise StopIteration
            self._wait()
        data = self._arrived.pop(number)
        del self._tasks[number]
        self._rcvd_idx = number + 1
        self._try_put_index()
        if isinstance(data, ExceptionWrapper):
            data.reraise()
        return data

    def _shutdown_workers(self):
        self._finalizer()
