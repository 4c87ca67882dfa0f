"""safetensors: round trips, lazy and sharded reading, and headers that are not true."""

import json
import struct

import pytest

import rtorch
from rtorch import nn
from rtorch.utils import safetensors as st

# The format has no complex128.
DTYPES = [n for n in dict.fromkeys(str(getattr(rtorch, n))[6:] for n in rtorch._C._dtype_names) if n != "complex128"]


def file(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def one(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"a": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}, **more}


def test_round_trip(tmp_path):
    tensors = {n: rtorch.tensor([[0, 1], [1, 0]]).to(getattr(rtorch, n)) for n in DTYPES}
    tensors |= {"zero": rtorch.tensor(2.5), "empty": rtorch.empty(0, 3)}
    path = tmp_path / "x.safetensors"
    st.save_file(tensors, path, {"über": "x"})
    for back in (st.load_file(path), st.load(path.read_bytes()), st.load(st.save(tensors)), rtorch.load(path)):
        assert back.keys() == tensors.keys()
        for name, t in back.items():
            assert t.dtype == tensors[name].dtype and t.tolist() == tensors[name].tolist()
    assert path.stat().st_mode & 0o044  # as readable as other new files


def test_safe_open(tmp_path):
    path = tmp_path / "x.safetensors"
    x = rtorch.arange(12.0).reshape(3, 4)
    st.save_file({"x": x, "b": rtorch.tensor([True]), "h": x.to(rtorch.bfloat16)}, path, {"k": "v"})
    before = path.read_bytes()
    with st.safe_open(path, "pt") as f:
        assert f.keys() == ["b", "h", "x"] and f.metadata() == {"k": "v"}
        y = f.get_tensor("x")
        part = f.get_slice("x")
        assert part.get_shape() == [3, 4] and part.get_dtype() == "F32" and part[:, 1].tolist() == [1, 5, 9]
        assert f.get_tensor("h").tolist() == x.tolist()
        with pytest.raises(st.SafetensorError, match="does not contain"):
            f.get_tensor("none")
    y.fill_(0)
    assert path.read_bytes() == before and y.sum() == 0
    with pytest.raises(st.SafetensorError, match="closed"):
        f.get_tensor("x")
    with st.safe_open(path, "np") as f:
        assert f.get_tensor("x").sum() == 66


def test_models(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    with pytest.raises(RuntimeError, match="share memory"):
        st.save_file(model.state_dict(), tmp_path / "m.safetensors")
    st.save_model(model, tmp_path / "m.safetensors")
    other = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    other[1].weight = other[0].weight
    assert st.load_model(other, tmp_path / "m.safetensors") == ([], [])
    assert other[0].weight.equal(model[0].weight) and other[1].bias.equal(model[1].bias)
    with pytest.raises(RuntimeError, match="Missing key"):
        st.load_model(nn.Sequential(*other, nn.Linear(1, 1)), tmp_path / "m.safetensors")


def test_shards(tmp_path):
    tensors = {f"t{i}": rtorch.full((10,), float(i)) for i in range(5)}
    index = st.save_sharded(tensors, tmp_path, max_shard_size=90)
    assert json.loads(open(index).read())["metadata"] == {"total_size": 200}
    assert sorted(p.name for p in tmp_path.iterdir())[0] == "model-00001-of-00003.safetensors"
    back = st.load_sharded(index)
    assert {k: t.tolist() for k, t in back.items()} == {k: t.tolist() for k, t in tensors.items()}
    assert st.save_sharded(tensors, tmp_path, name="one").endswith("one.safetensors")


@pytest.mark.parametrize(
    "index",
    [
        b"",
        b"[]",
        b'{"weight_map": []}',
        b'{"weight_map": {"t": "../x.safetensors"}}',
        b'{"weight_map": {"t": "/etc/passwd"}}',
        b'{"weight_map": {"t": 5}}',
        b'{"weight_map": {"t": "x.safetensors", "t": "x.safetensors"}}',
        b'{"weight_map": {"u": "x.safetensors"}}',
        b"[" * 100_000,
    ],
)
def test_indexes_that_are_not_true(tmp_path, index):
    st.save_file({"t": rtorch.ones(1)}, tmp_path / "x.safetensors")
    (tmp_path / "i.json").write_bytes(index)
    with pytest.raises(st.SafetensorError):
        st.load_sharded(tmp_path / "i.json")


EIGHT = bytes(8)
TWICE = b'{"dtype":"F32","shape":[],"data_offsets":[0,4]}'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\1\2",
        file({}, length=1 << 40),
        file({}, length=(1 << 64) - 1),
        file({}, length=200_000_000),
        file({}, length=50),
        file(one()),
        file(one(), EIGHT + b"x"),
        file(one(shape=(3,)), EIGHT),
        file(one(shape=(-2,)), EIGHT),
        file(one(shape=(2.0,)), EIGHT),
        file(one(shape=(1 << 62,)), EIGHT),
        file(one(shape=(1 << 62, 4), offsets=(0, 0)), b""),
        file(one(offsets=(4, 12)), EIGHT + EIGHT[:4]),
        file(one(offsets=(8, 0)), EIGHT),
        file(one(offsets=(-8, 0)), EIGHT),
        file(one(offsets=(1 << 63, (1 << 63) + 8)), EIGHT),
        file(one(dtype="F33"), EIGHT),
        file(one(dtype=5), EIGHT),
        file(one(b={"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}), EIGHT),
        file(one(__metadata__={"x": 1}), EIGHT),
        file([], EIGHT),
        file(b"\xff\xfe{}"),
        file(b'{"' + b"a" * 3),
        file(b"[" * 100_000 + b"]" * 100_000),
        file(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"data_offsets":[0,8]}}', EIGHT),
        file(b'{"a":' + TWICE + b',"a":' + TWICE + b"}", EIGHT[:4]),
    ],
)
def test_files_that_are_not_true(tmp_path, data):
    (tmp_path / "x.safetensors").write_bytes(data)
    for load in (
        lambda: st.load(data),
        lambda: st.load_file(tmp_path / "x.safetensors"),
        lambda: st.safe_open(tmp_path / "x.safetensors", "pt"),
    ):
        with pytest.raises(st.SafetensorError):
            load()


def test_what_cannot_be_written():
    for bad in ({"x": 1}, {"x": rtorch.ones(2, 3).t()}, [rtorch.ones(1)]):
        with pytest.raises(ValueError):
            st.save(bad)
    with pytest.raises(st.SafetensorError, match="complex128"):
        st.save({"x": rtorch.ones(1, dtype=rtorch.complex128)})
    with pytest.raises(TypeError, match="metadata"):
        st.save({}, {"x": 1})
