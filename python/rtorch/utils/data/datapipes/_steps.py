"""What a step over a stream and its twin over indexed data share: arguments, state and length. How items are reached is
theirs (`iter`, `map`)."""

import random

import rtorch

from .datapipe import DataChunk


class Batched:
    """Batches of one pipe."""

    def __init__(self, datapipe, batch_size, drop_last=False, wrapper_class=DataChunk):
        if batch_size <= 0:
            raise AssertionError("Batch size is required to be larger than 0!")
        self.datapipe, self.batch_size, self.drop_last = datapipe, batch_size, drop_last
        self.wrapper_class = wrapper_class

    def __len__(self):
        n = len(self.datapipe)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


class Joined:
    """Pipes one after the other."""

    def __init__(self, *datapipes):
        if not datapipes:
            raise ValueError("Expected at least one DataPipe, but got nothing")
        self.datapipes = datapipes

    def __len__(self):
        return sum(len(pipe) for pipe in self.datapipes)


class Shuffled:
    """Items in random order, by a generator that each pass seeds: with the seed set for it, else with a drawn one."""

    def __init__(self, datapipe):
        self.datapipe = datapipe
        self._enabled, self._seed, self._rng = True, None, random.Random()

    def set_shuffle(self, shuffle=True):
        self._enabled = shuffle
        return self

    def set_seed(self, seed):
        self._seed = seed
        return self

    def _start_pass(self):
        seed, self._seed = self._seed, None
        if seed is None:
            seed = int(rtorch.empty((), dtype=rtorch.int64).random_().item())
        self._rng.seed(seed)

    def __len__(self):
        return len(self.datapipe)
