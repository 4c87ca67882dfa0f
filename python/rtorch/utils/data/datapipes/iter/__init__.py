"""Steps over streams."""

import copy
import warnings

from ..._utils.collate import default_collate
from .._decorator import functional_datapipe
from .._steps import Batched, Joined, Shuffled
from ..datapipe import DataChunk, IterDataPipe

__all__ = [
    "Batcher",
    "Collator",
    "Concater",
    "Filter",
    "IterableWrapper",
    "Mapper",
    "ShardingFilter",
    "Shuffler",
    "UnBatcher",
    "Zipper",
]


class IterableWrapper(IterDataPipe):
    """An iterable as a pipe; copied for each pass where it can be."""

    def __init__(self, iterable, deepcopy=True):
        self.iterable, self.deepcopy = iterable, deepcopy

    def __iter__(self):
        source = self.iterable
        if self.deepcopy:
            try:
                source = copy.deepcopy(self.iterable)
            except TypeError:
                warnings.warn(
                    "The input iterable can not be deepcopied, please be aware of in-place modification would affect "
                    "source data.",
                    stacklevel=2,
                )
        yield from source

    def __len__(self):
        return len(self.iterable)


def _picked(item, column):
    return [item[c] for c in column] if isinstance(column, (list, tuple)) else item[column]


@functional_datapipe("map")
class Mapper(IterDataPipe):
    """`fn` of every item, or of its columns `input_col`; the result replaces the item, or its column `output_col`."""

    def __init__(self, datapipe, fn, input_col=None, output_col=None):
        if input_col is None and output_col is not None:
            raise ValueError("`output_col` must be None when `input_col` is None.")
        if isinstance(output_col, (list, tuple)):
            if len(output_col) > 1:
                raise ValueError("`output_col` must be a single-element list or tuple")
            output_col = output_col[0]
        self.datapipe, self.fn, self.input_col, self.output_col = datapipe, fn, input_col, output_col

    def _apply(self, item):
        if self.input_col is None:
            return self.fn(item)
        picked = _picked(item, self.input_col)
        several = isinstance(self.input_col, (list, tuple))
        result = self.fn(*picked) if several else self.fn(picked)
        made = list(item) if isinstance(item, tuple) else copy.copy(item)
        target = self.output_col
        if target == -1:
            made.append(result)
        else:
            if target is None:
                target = self.input_col[0] if several else self.input_col
                for column in sorted(self.input_col[1:], reverse=True) if several else ():
                    del made[column]
            made[target] = result
        return tuple(made) if isinstance(item, tuple) else made

    def __iter__(self):
        for item in self.datapipe:
            yield self._apply(item)

    def __len__(self):
        return len(self.datapipe)


@functional_datapipe("filter")
class Filter(IterDataPipe):
    """The items for which `filter_fn` (of the item, or of its columns) is true."""

    def __init__(self, datapipe, filter_fn, input_col=None):
        self.datapipe, self.filter_fn, self.input_col = datapipe, filter_fn, input_col

    def _keeps(self, item):
        if self.input_col is None:
            answer = self.filter_fn(item)
        elif isinstance(self.input_col, (list, tuple)):
            answer = self.filter_fn(*_picked(item, self.input_col))
        else:
            answer = self.filter_fn(item[self.input_col])
        if not isinstance(answer, bool):
            raise ValueError(
                f"Boolean output is required for `filter_fn` of FilterIterDataPipe, got {type(answer)}"
            )
        return answer

    def __iter__(self):
        return (item for item in self.datapipe if self._keeps(item))


@functional_datapipe("batch")
class Batcher(Batched, IterDataPipe):
    """Lists of `batch_size` items."""

    def __iter__(self):
        batch = []
        for item in self.datapipe:
            batch.append(item)
            if len(batch) == self.batch_size:
                yield self.wrapper_class(batch)
                batch = []
        if batch and not self.drop_last:
            yield self.wrapper_class(batch)


@functional_datapipe("unbatch")
class UnBatcher(IterDataPipe):
    """The items of batches, `unbatch_level` levels down (-1: all)."""

    def __init__(self, datapipe, unbatch_level=1):
        if unbatch_level < -1:
            raise ValueError("unbatch_level must be -1 or >= 0")
        self.datapipe, self.unbatch_level = datapipe, unbatch_level

    def _items(self, item, level):
        if level == 0 or not isinstance(item, list):
            if level > 0:
                raise IndexError(f"unbatch_level {self.unbatch_level} exceeds the depth of the DataPipe")
            yield item
            return
        for part in item:
            yield from self._items(part, level - 1)

    def __iter__(self):
        for item in self.datapipe:
            yield from self._items(item, self.unbatch_level)


@functional_datapipe("collate")
class Collator(Mapper):
    """Batches as tensors."""

    def __init__(self, datapipe, conversion=default_collate, collate_fn=None):
        super().__init__(datapipe, conversion if collate_fn is None else collate_fn)


@functional_datapipe("concat")
class Concater(Joined, IterDataPipe):
    """Pipes one after the other."""

    def __iter__(self):
        for pipe in self.datapipes:
            yield from pipe


@functional_datapipe("zip")
class Zipper(IterDataPipe):
    """Tuples of items of several pipes, until one of them ends."""

    def __init__(self, *datapipes):
        if not all(isinstance(pipe, IterDataPipe) for pipe in datapipes):
            raise TypeError("All inputs are required to be `IterDataPipe` for `ZipIterDataPipe`.")
        self.datapipes = datapipes

    def __iter__(self):
        return zip(*self.datapipes)

    def __len__(self):
        return min(len(pipe) for pipe in self.datapipes)


@functional_datapipe("shuffle")
class Shuffler(Shuffled, IterDataPipe):
    """Random order, drawn from a buffer of `buffer_size` items. A loader with `shuffle=False` switches it off."""

    def __init__(self, datapipe, *, buffer_size=10000, unbatch_level=0):
        if buffer_size <= 0:
            raise ValueError("buffer_size should be larger than 0")
        super().__init__(datapipe if unbatch_level == 0 else datapipe.unbatch(unbatch_level))
        self.buffer_size = buffer_size

    def __iter__(self):
        if not self._enabled:
            yield from self.datapipe
            return
        self._start_pass()
        buffer = []
        for item in self.datapipe:
            if len(buffer) == self.buffer_size:
                at = self._rng.randint(0, len(buffer) - 1)
                item, buffer[at] = buffer[at], item
                yield item
            else:
                buffer.append(item)
        while buffer:
            yield buffer.pop(self._rng.randint(0, len(buffer) - 1))


@functional_datapipe("sharding_filter")
class ShardingFilter(IterDataPipe):
    """Every n-th item, so that workers and processes share the stream; a loader's workers set n and their offset."""

    def __init__(self, source_datapipe, sharding_group_filter=None):
        self.source_datapipe, self.sharding_group_filter = source_datapipe, sharding_group_filter
        self.num_of_instances, self.instance_id = 1, 0

    def is_shardable(self):
        return True

    def apply_sharding(self, num_of_instances, instance_id, sharding_group=None):
        if instance_id >= num_of_instances:
            raise ValueError(
                f"instance_id({instance_id}) should be smaller than num_of_instances({num_of_instances})"
            )
        self.num_of_instances, self.instance_id = num_of_instances, instance_id

    def __iter__(self):
        for i, item in enumerate(self.source_datapipe):
            if i % self.num_of_instances == self.instance_id:
                yield item

    def __len__(self):
        n = len(self.source_datapipe)
        return n // self.num_of_instances + (self.instance_id < n % self.num_of_instances)
