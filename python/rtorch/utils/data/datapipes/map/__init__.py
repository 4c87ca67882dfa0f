"""Steps over indexed data."""

import copy

from .._decorator import functional_datapipe
from .._steps import Batched, Joined, Shuffled
from ..datapipe import DataChunk, IterDataPipe, MapDataPipe

__all__ = ["Batcher", "Concater", "Mapper", "SequenceWrapper", "Shuffler", "Zipper"]


class SequenceWrapper(MapDataPipe):
    """A sequence or mapping as a pipe; copied where it can be."""

    def __init__(self, sequence, deepcopy=True):
        self.sequence = copy.deepcopy(sequence) if deepcopy else sequence

    def __getitem__(self, index):
        return self.sequence[index]

    def __len__(self):
        return len(self.sequence)


@functional_datapipe("map")
class Mapper(MapDataPipe):
    """`fn` of every item."""

    def __init__(self, datapipe, fn=lambda x: x):
        self.datapipe, self.fn = datapipe, fn

    def __getitem__(self, index):
        return self.fn(self.datapipe[index])

    def __len__(self):
        return len(self.datapipe)


@functional_datapipe("batch")
class Batcher(Batched, MapDataPipe):
    """Lists of `batch_size` neighbours."""

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(f"Index {index} is out of bound.")
        start = index * self.batch_size
        end = min(start + self.batch_size, len(self.datapipe))
        return self.wrapper_class([self.datapipe[i] for i in range(start, end)])


@functional_datapipe("concat")
class Concater(Joined, MapDataPipe):
    """Pipes one after the other."""

    def __getitem__(self, index):
        offset = 0
        for pipe in self.datapipes:
            if index - offset < len(pipe):
                return pipe[index - offset]
            offset += len(pipe)
        raise IndexError(f"Index {index} is out of range.")


@functional_datapipe("zip")
class Zipper(MapDataPipe):
    """Tuples of items of several pipes."""

    def __init__(self, *datapipes):
        if not datapipes:
            raise ValueError("Expected at least one DataPipe, but got nothing")
        self.datapipes = datapipes

    def __getitem__(self, index):
        return tuple(pipe[index] for pipe in self.datapipes)

    def __len__(self):
        return min(len(pipe) for pipe in self.datapipes)


class Shuffler(Shuffled, IterDataPipe):
    """The items in random order, as a stream."""

    def __init__(self, datapipe, *, indices=None):
        super().__init__(datapipe)
        self.indices = list(range(len(datapipe))) if indices is None else indices

    def __iter__(self):
        order = self.indices
        if self._enabled:
            self._start_pass()
            order = self._rng.sample(self.indices, len(self.indices))
        for index in order:
            yield self.datapipe[index]


# a stream, but a step of indexed pipes
MapDataPipe.register_datapipe_as_function("shuffle", Shuffler)
