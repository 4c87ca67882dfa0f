"""utils.data: datasets, samplers in PyTorch's order, collation, the loader."""

import collections

import numpy as np
import pytest

import rtorch
from rtorch.utils import data


def test_datasets():
    rows = data.TensorDataset(rtorch.arange(3), rtorch.ones(3))
    assert len(rows) == 3 and rows[1][0].item() == 1
    both = rows + data.TensorDataset(rtorch.arange(10, 12), rtorch.zeros(2))
    assert len(both) == 5 and both[3][0].item() == 10 and both[-1][0].item() == 11
    part = data.Subset(data.Subset("abcdef", [1, 3, 5]), [2, 0])
    assert [part[0], part[1]] == ["f", "b"] and part.__getitems__([0, 1]) == ["f", "b"]
    assert data.StackDataset(a=[1, 2], b="xy")[1] == {"a": 2, "b": "y"}
    with pytest.raises(AssertionError, match="Size mismatch"):
        data.TensorDataset(rtorch.ones(2), rtorch.ones(3))
    with pytest.raises(NotImplementedError):
        data.Dataset()[0]


def test_random_split():
    first, second = data.random_split(range(10), [0.75, 0.25], generator=rtorch.Generator().manual_seed(0))
    assert len(first) == 8 and len(second) == 2 and sorted([*first, *second]) == list(range(10))
    with pytest.raises(ValueError, match="does not equal the length"):
        data.random_split(range(10), [3, 3])


def test_samplers_follow_pytorchs_stream():
    sampler = data.RandomSampler(range(6), generator=rtorch.Generator().manual_seed(3))
    assert [list(sampler), list(sampler)] == [[4, 0, 3, 2, 1, 5], [4, 2, 3, 5, 0, 1]]
    rtorch.manual_seed(0)
    assert list(data.RandomSampler(range(4))) == [2, 3, 0, 1]
    weighted = data.WeightedRandomSampler([0.0, 1.0, 0.0, 3.0], 10, generator=rtorch.Generator().manual_seed(2))
    assert list(weighted) == [3, 1, 3, 3, 3, 3, 1, 3, 3, 3]
    drawn = list(data.RandomSampler(range(5), replacement=True, num_samples=70))
    assert len(drawn) == 70 and set(drawn) <= set(range(5))
    shares = [list(data.DistributedSampler(range(7), num_replicas=2, rank=r, shuffle=False)) for r in range(2)]
    assert shares == [[0, 2, 4, 6], [1, 3, 5, 0]]


def test_what_samplers_refuse():
    with pytest.raises(ValueError, match="num_samples should be a positive integer"):
        data.RandomSampler([])
    with pytest.raises(TypeError, match="replacement should be a boolean"):
        data.RandomSampler(range(3), replacement="yes")
    with pytest.raises(ValueError, match="batch_size should be a positive integer"):
        data.BatchSampler([1], 0, False)


def test_loader_batches():
    assert [b.tolist() for b in data.DataLoader(range(5), batch_size=2)] == [[0, 1], [2, 3], [4]]
    assert len(data.DataLoader(range(5), batch_size=2, drop_last=True)) == 2
    rows = data.TensorDataset(rtorch.arange(3.0), rtorch.arange(3))
    x, y = next(iter(data.DataLoader(rows, batch_size=2)))
    assert x.tolist() == [0.0, 1.0] and y.dtype == rtorch.int64
    assert list(data.DataLoader([1, "a"], batch_size=None)) == [1, "a"]
    summed = data.DataLoader([1, 2, 3], batch_size=2, collate_fn=sum)
    assert list(summed) == [3, 3]
    order = [int(b) for b in data.DataLoader(range(20), shuffle=True)]
    assert order != list(range(20)) and sorted(order) == list(range(20))


def test_loader_of_a_stream():
    class Stream(data.IterableDataset):
        def __iter__(self):
            return iter(range(5))

    assert [b.tolist() for b in data.DataLoader(Stream(), batch_size=2)] == [[0, 1], [2, 3], [4]]
    assert [b.tolist() for b in data.DataLoader(Stream(), batch_size=2, drop_last=True)] == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="unspecified sampler option"):
        data.DataLoader(Stream(), sampler=[0])


def test_loader_leaves_the_stream_where_pytorch_does():
    rtorch.manual_seed(0)
    for _ in data.DataLoader([1, 2, 3]):
        pass
    want = rtorch.tensor([0.08847743272781372, 0.13203048706054688])
    assert bool((rtorch.rand(2) - want).abs().max() < 1e-6)


def test_loader_refusals():
    with pytest.raises(ValueError, match="mutually exclusive with shuffle"):
        data.DataLoader([1], sampler=[0], shuffle=True)
    with pytest.raises(ValueError, match="should not be set after DataLoader is initialized"):
        data.DataLoader([1]).batch_size = 3
    with pytest.raises(ValueError, match="num_workers option should be non-negative"):
        data.DataLoader([1], num_workers=-1)
    with pytest.raises(ValueError, match="prefetch_factor option could only be specified in multiprocessing"):
        data.DataLoader([1], prefetch_factor=2)
    with pytest.raises(ValueError, match="persistent_workers option needs num_workers > 0"):
        data.DataLoader([1], persistent_workers=True)
    with pytest.raises(ValueError, match="multiprocessing_context can only be used with multi-process loading"):
        data.DataLoader([1], multiprocessing_context="spawn")
    with pytest.raises(ValueError, match="should specify a valid start method"):
        data.DataLoader([1], num_workers=1, multiprocessing_context="thread")
    with pytest.raises(TypeError, match="should be a valid context object"):
        data.DataLoader([1], num_workers=1, multiprocessing_context=3)
    with pytest.warns(UserWarning, match="pin_memory"):
        data.DataLoader([1], pin_memory=True)
    with pytest.warns(UserWarning, match="excessive worker creation"):
        data.DataLoader([1], num_workers=10_000)


def test_collate():
    made = data.default_collate([{"a": 1, "b": (1, 2.0)}, {"a": 2, "b": (3, 4.0)}])
    assert made["a"].tolist() == [1, 2] and made["b"][1].dtype == rtorch.float64
    point = collections.namedtuple("point", ["x"])
    assert type(data.default_collate([point(1), point(2)])) is point
    arrays = data.default_collate([np.ones(2), np.zeros(2)])
    assert arrays.shape == (2, 2) and arrays.dtype == rtorch.float64
    assert data.default_collate([np.uint8(1), np.uint8(2)]).dtype == rtorch.uint8
    assert data.default_collate(["a", "b"]) == ["a", "b"]
    assert data.default_convert(point(np.array([1.0]))).x.dtype == rtorch.float64
    with pytest.raises(RuntimeError, match="equal size"):
        data.default_collate([[1, 2], [3]])
    with pytest.raises(TypeError, match="default_collate: batch must contain"):
        data.default_collate([np.array(["a"]), np.array(["b"])])


def test_types_of_ones_own_are_collated_by_the_map():
    from rtorch.utils.data._utils.collate import collate, collate_tensor_fn, default_collate_fn_map

    class Box:
        def __init__(self, t):
            self.t = t

    def boxes(batch, *, collate_fn_map=None):
        return Box(collate_tensor_fn([b.t for b in batch], collate_fn_map=collate_fn_map))

    batch = [(Box(rtorch.ones(2)), 1), (Box(rtorch.zeros(2)), 2)]
    with pytest.raises(TypeError, match="Box"):
        data.default_collate(batch)
    default_collate_fn_map[Box] = boxes
    try:
        together, numbers = data.default_collate(batch)
    finally:
        del default_collate_fn_map[Box]
    assert together.t.tolist() == [[1, 1], [0, 0]] and numbers.tolist() == [1, 2]
    with pytest.raises(TypeError):
        collate([object()], collate_fn_map={rtorch.Tensor: collate_tensor_fn})


def test_a_stream_without_iter_cannot_be_made():
    class Nothing(data.IterableDataset):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Nothing()


def test_the_old_spelling_of_cumulative_sizes_warns():
    with pytest.warns(DeprecationWarning, match="renamed"):
        assert data.ConcatDataset([[1], [2, 3]]).cummulative_sizes == [1, 3]
