"""Data pipes: the steps, their decorators, and loaders over them."""

import os
import pickle

import pytest

import rtorch
from rtorch.utils import data
from rtorch.utils.data import graph, graph_settings
from rtorch.utils.data.datapipes.iter import IterableWrapper, ShardingFilter, Shuffler
from rtorch.utils.data.datapipes.map import SequenceWrapper


def negative(x):
    return -x


def test_steps_over_streams():
    numbers = IterableWrapper(range(10))
    assert list(numbers.map(negative).filter(lambda x: x % 2 == 0)) == [0, -2, -4, -6, -8]
    batches = numbers.batch(4)
    assert len(batches) == 3 and list(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(numbers.batch(4, drop_last=True)) == 2
    assert list(numbers.batch(2).batch(2).unbatch(2)) == list(range(10))
    assert list(numbers.batch(2).batch(3).unbatch(-1)) == list(range(10))
    assert [b.tolist() for b in numbers.batch(5).collate()] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert list(numbers.concat(IterableWrapper("ab")))[-3:] == [9, "a", "b"]
    assert list(numbers.zip(IterableWrapper("ab"))) == [(0, "a"), (1, "b")]
    pairs = IterableWrapper([(1, 2), (3, 4)])
    assert list(pairs.map(negative, input_col=1)) == [(1, -2), (3, -4)]
    assert list(pairs.map(lambda a, b: a + b, input_col=[0, 1], output_col=-1)) == [(1, 2, 3), (3, 4, 7)]
    assert list(pairs.filter(lambda b: b > 2, input_col=1)) == [(3, 4)]
    with pytest.raises(ValueError, match="Boolean output is required"):
        list(numbers.filter(lambda x: x))
    with pytest.raises(AttributeError, match="has no attribute 'fly'"):
        numbers.fly()
    assert list(pickle.loads(pickle.dumps(numbers.map(negative)))) == list(numbers.map(negative))


def test_steps_over_indexed_data():
    letters = SequenceWrapper("abcde")
    assert letters.map(str.upper)[1] == "B" and list(letters.batch(2)[2]) == ["e"] and len(letters.batch(2)) == 3
    assert letters.concat(SequenceWrapper([1, 2]))[6] == 2 and letters.zip(SequenceWrapper(range(9)))[3] == ("d", 3)
    assert len(letters.zip(SequenceWrapper([1]))) == 1
    assert sorted(letters.shuffle()) == list("abcde")
    with pytest.raises(IndexError):
        letters.batch(2)[3]


def test_shuffling_follows_pytorchs_stream():
    rtorch.manual_seed(0)
    # recorded from PyTorch 2.13
    assert list(IterableWrapper(range(8)).shuffle(buffer_size=4)) == [1, 2, 0, 6, 5, 7, 3, 4]
    rtorch.manual_seed(0)
    loader = data.DataLoader(IterableWrapper(range(8)).shuffle(), batch_size=4, shuffle=True)
    assert [b.tolist() for b in loader] == [[0, 5, 6, 3], [7, 1, 2, 4]]
    still = data.DataLoader(IterableWrapper(range(4)).shuffle(), batch_size=4, shuffle=False)
    assert [b.tolist() for b in still] == [[0, 1, 2, 3]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_workers_share_a_stream():
    pipe = IterableWrapper(range(12)).shuffle().sharding_filter()
    seen = [x for b in data.DataLoader(pipe, batch_size=2, num_workers=2, shuffle=True) for x in b.tolist()]
    assert sorted(seen) == list(range(12)) and seen != sorted(seen)


def test_graphs():
    shuffled = IterableWrapper(range(3)).shuffle()
    pipe = shuffled.sharding_filter().map(negative)
    found = graph.traverse_dps(pipe)
    assert [type(p).__name__ for p in graph_settings.get_all_graph_pipes(found)] == [
        "Mapper", "ShardingFilter", "Shuffler", "IterableWrapper",
    ]  # fmt: skip
    graph_settings.apply_sharding(pipe, 3, 1)
    graph_settings.apply_shuffle_settings(pipe, shuffle=False)
    assert list(pipe) == [-1] and len(pipe) == 1
    with pytest.raises(RuntimeError, match="Sharding twice"):
        graph_settings.apply_sharding(ShardingFilter(pipe), 2, 0)
    with pytest.warns(UserWarning, match="does not contain a `Shuffler`"):
        assert isinstance(graph_settings.apply_shuffle_settings(IterableWrapper([1]), shuffle=True), Shuffler)


def test_pipes_of_ones_own():
    name = "test_doubled"

    @data.functional_datapipe(name)
    class Doubled(data.IterDataPipe):
        def __init__(self, source):
            self.source = source

        def __iter__(self):
            return (2 * x for x in self.source)

    try:
        assert list(getattr(IterableWrapper([1, 2]), name)()) == [2, 4]
        with pytest.raises(Exception, match="already taken"):
            data.functional_datapipe(name)(Doubled)
        with pytest.raises(TypeError):
            data.functional_datapipe("test_list")(list)
    finally:
        del data.IterDataPipe.functions[name]
    frames = type("Frames", (data.DFIterDataPipe,), {"__iter__": lambda self: iter("xy")})()
    assert list(frames) == ["x", "y"] and frames._is_dfpipe()
    chunk = data.DataChunk([1, 2])
    assert chunk.as_str("  ") == "  [1, 2]" and list(chunk.raw_iterator()) == [1, 2] and chunk == [1, 2]


def test_determinism():
    @data.non_deterministic
    class Random(data.IterDataPipe):
        def __iter__(self):
            return iter(())

    @data.non_deterministic(lambda n: n > 1)
    class Sometimes(data.IterDataPipe):
        def __init__(self, n):
            self.n = n

    assert list(Random()) == []
    with data.guaranteed_datapipes_determinism():
        with pytest.raises(TypeError, match="Random is non-deterministic"):
            Random()
        with pytest.raises(TypeError, match="Sometimes is non-deterministic"):
            Sometimes(2)
        assert Sometimes(1).n == 1
    assert Sometimes(2).n == 2
    with pytest.raises(TypeError):
        data.non_deterministic(3)


def test_validation():
    class Numbers(data.IterDataPipe[int]):
        def __init__(self, items):
            self.items = items

        @data.runtime_validation
        def __iter__(self):
            yield from self.items

    class Pairs(data.IterDataPipe[tuple[int, str | None]]):
        @data.runtime_validation
        def __iter__(self):
            yield from [(1, None), (2, "a"), (3, 4)]

    assert list(Numbers([1, 2])) == [1, 2]
    with pytest.raises(RuntimeError, match="Expected an instance as subtype"):
        list(Numbers([1, "2"]))
    with data.runtime_validation_disabled():
        assert list(Numbers([1, "2"])) == [1, "2"]
    pairs = iter(Pairs())
    assert [next(pairs), next(pairs)] == [(1, None), (2, "a")]
    with pytest.raises(RuntimeError):
        next(pairs)

    @data.argument_validation
    def take(source: data.IterDataPipe[int], n: int):
        return list(source)[:n]

    assert take(Numbers([1, 2]), 1) == [1]
    with pytest.raises(TypeError, match="Expected argument 'source' as a IterDataPipe"):
        take([1, 2], 1)
    with pytest.raises(TypeError, match="as a subtype of hint"):
        take(Pairs(), 1)
    with pytest.raises(TypeError, match="Can not decorate function"):
        data.runtime_validation(negative)
