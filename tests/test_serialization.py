"""Checkpoints: what is saved comes back, the written bytes have PyTorch's structure, and files cannot do harm."""

import collections
import copy
import io
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict

import pytest

import rtorch
from checkpoint_files import FLOATS, Call, Global, archive, checkpoint, dump, storage, tensor
from rtorch import nn, optim, serialization

DTYPES = [getattr(rtorch, name) for name in dict.fromkeys(str(getattr(rtorch, n))[6:] for n in rtorch._C._dtype_names)]


def saved(obj, **options):
    buffer = io.BytesIO()
    rtorch.save(obj, buffer, **options)
    return buffer.getvalue()


def again(obj, load=None, **options):
    return rtorch.load(io.BytesIO(saved(obj, **options)), **(load or {}))


def load(data, **options):
    return rtorch.load(io.BytesIO(data), **options)


both_formats = pytest.mark.parametrize("new", [True, False])


@both_formats
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_comes_back(dtype, new):
    x = rtorch.tensor([0, 1, 1]).to(dtype)
    y = again(x, _use_new_zipfile_serialization=new)
    assert y.dtype == dtype and y.tolist() == x.tolist()


@both_formats
def test_views_keep_their_storage_and_geometry(new):
    x = rtorch.arange(24.0).reshape(2, 3, 4)
    views = [x, x[1], x.transpose(0, 2), x[:, 1::2, 1:], x[0, 0, :1].expand(5), rtorch.empty(0, 3), rtorch.tensor(2.5)]
    for old, new_one in zip(views, again(views, _use_new_zipfile_serialization=new)):
        assert new_one.tolist() == old.tolist()
        assert (new_one.stride(), new_one.storage_offset()) == (old.stride(), old.storage_offset())
    a, b, *_ = again(views, _use_new_zipfile_serialization=new)
    b.fill_(-7)
    assert a[1].eq(-7).all() and not a[0].eq(-7).any()


@both_formats
def test_containers_and_plain_values(new):
    value = {
        "plain": [1, 2**80, -5, 1.5, None, True, "é", b"by\xff", (1, (2,)), {3, 4}, 3 + 4j, bytearray(b"xx")],
        "counter": collections.Counter("aab"),
        "ordered": OrderedDict(a=1, b=[2]),
        "torch": [rtorch.float16, rtorch.Size([1, 2]), rtorch.device("cpu"), rtorch.strided],
    }
    back = again(value, _use_new_zipfile_serialization=new)
    assert back == value and type(back["ordered"]) is OrderedDict and type(back["torch"][1]) is rtorch.Size


def test_the_same_object_stays_one_and_cycles_work():
    x = rtorch.ones(2)
    loop = [x, x]
    loop.append(loop)
    back = again(loop)
    assert back[0] is back[1] and back[2] is back


def test_parameters_and_attributes():
    p = nn.Parameter(rtorch.ones(3), requires_grad=False)
    p.tag = "hi"
    t = rtorch.ones(2, requires_grad=True)
    u = rtorch.zeros(1)
    u.note = [1, 2]
    p2, t2, u2 = again([p, t, u])
    assert isinstance(p2, nn.Parameter) and not p2.requires_grad and p2.tag == "hi"
    assert type(t2) is rtorch.Tensor and t2.requires_grad and t2.is_leaf and u2.note == [1, 2]


def test_a_state_dict_keeps_its_metadata():
    state = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1)).state_dict()
    assert again(state)._metadata == state._metadata


def test_resuming_gives_the_same_weights():
    def run(stop):
        rtorch.manual_seed(0)
        model = nn.Linear(3, 1)
        opt = optim.AdamW(model.parameters(), lr=0.1)
        rate = optim.lr_scheduler.CosineAnnealingLR(opt, 10)
        x = rtorch.randn(8, 3)
        for step in range(6):
            if step == stop:
                state = again({"m": model.state_dict(), "o": opt.state_dict(), "r": rate.state_dict()})
                model = nn.Linear(3, 1)
                opt = optim.AdamW(model.parameters(), lr=9.0)
                rate = optim.lr_scheduler.CosineAnnealingLR(opt, 3)
                model.load_state_dict(state["m"])
                opt.load_state_dict(state["o"])
                rate.load_state_dict(state["r"])
            opt.zero_grad()
            model(x).pow(2).mean().backward()
            opt.step()
            rate.step()
        return model.weight.tolist()

    assert run(3) == run(None)


def test_saving_changes_nothing():
    x = rtorch.arange(4.0)
    before = x._version
    saved(x)
    assert x._version == before and x.tolist() == [0, 1, 2, 3]


def test_whole_modules_need_weights_only_false():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    data = saved(model)
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        load(data)
    back = load(data, weights_only=False)
    assert back[0].weight.equal(model[0].weight) and isinstance(back[1], nn.ReLU)
    names = {n.partition(".")[0] for n in _globals_in(data)}
    assert names <= {"torch", "collections", "builtins", "__builtin__"}


def _globals_in(data):
    return serialization.names_in(io.BytesIO(zipfile.ZipFile(io.BytesIO(data)).read("archive/data.pkl")))


def test_classes_of_pytorch_are_found_here():
    class_in_pytorch = Global("torch.nn.modules.linear", "Linear")
    made = load(archive(dump([class_in_pytorch, Global("torch.optim.adamw", "AdamW")])), weights_only=False)
    assert made == [nn.Linear, optim.AdamW]
    with pytest.raises(AttributeError, match="NoSuchThing"):
        load(archive(dump(Global("torch.nn.modules.linear", "NoSuchThing"))), weights_only=False)


def test_the_written_archive_is_what_pytorch_writes(tmp_path):
    path = tmp_path / "model.pt"
    rtorch.save({"w": rtorch.arange(3.0), "b": rtorch.ones(2)}, path)
    data = path.read_bytes()
    with zipfile.ZipFile(path) as zipped:
        assert zipped.testzip() is None
        names = [i.filename for i in zipped.infolist()]
        assert names == [
            "model/data.pkl",
            "model/.format_version",
            "model/.storage_alignment",
            "model/byteorder",
            "model/data/0",
            "model/data/1",
            "model/version",
        ]
        assert zipped.read("model/version") == b"3\n" and zipped.read("model/byteorder") == sys.byteorder.encode()
        assert zipped.read("model/data/0") == struct.pack("<3f", 0, 1, 2)
        for info in zipped.infolist():
            header = data[info.header_offset : info.header_offset + 30]
            name, extra = struct.unpack("<2H", header[26:30])
            assert info.compress_type == 0 and (info.header_offset + 30 + name + extra) % 64 == 0
        pickled = zipped.read("model/data.pkl")
    assert pickled[:2] == b"\x80\x02" and b"ctorch._utils\n_rebuild_tensor_v2\n" in pickled
    assert b"ctorch\nFloatStorage\n" in pickled and b"rtorch" not in pickled


def test_the_older_format_is_what_pytorch_writes():
    file = io.BytesIO(saved([rtorch.arange(3.0), 5], _use_new_zipfile_serialization=False))
    assert pickle.load(file) == 0x1950A86A20F9469CFC6C and pickle.load(file) == 1001
    assert pickle.load(file)["little_endian"] == (sys.byteorder == "little")
    assert b"ctorch\nFloatStorage\n" in file.getvalue()
    assert file.getvalue().endswith(struct.pack("<q3f", 3, 0, 1, 2))


# ---- where things go


@pytest.mark.parametrize(
    "where", [None, "cpu", b"cpu", rtorch.device("cpu"), {"cpu": "cpu"}, lambda s, loc: None, lambda s, loc: s]
)
def test_map_location(where):
    assert again(rtorch.ones(2), {"map_location": where}).tolist() == [1, 1]


def test_a_function_sees_storage_and_location():
    seen = []
    again(rtorch.ones(2), {"map_location": lambda s, location: seen.append((s.nbytes(), location))})
    assert seen == [(8, "cpu")]


def test_storages_of_devices_that_are_not_here():
    data = checkpoint(tensor(of=storage(location="cuda:1")))
    with pytest.raises(RuntimeError, match="wgpu"):
        load(data)
    for where in ("cpu", {"cuda:1": "cpu"}, lambda s, loc: s if loc == "cuda:1" else None):
        assert load(data, map_location=where).shape == (2, 3)
    with pytest.raises(RuntimeError, match="don't know how to restore data location"):
        load(checkpoint(tensor(of=storage(location="nowhere:1"))))


def test_register_package():
    from rtorch.serialization import _locations

    before = list(_locations._packages)
    try:
        serialization.register_package(1, lambda s: None, lambda s, loc: s if loc == "mars" else None)
        assert load(checkpoint(tensor(of=storage(location="mars")))).shape == (2, 3)
    finally:
        _locations._packages[:] = before


@pytest.mark.gpu
def test_gpu_storages():
    x = rtorch.arange(6.0, device="wgpu").reshape(2, 3)
    back = again([x, x.t()])
    assert back[0].device.type == "wgpu" and back[1].cpu().tolist() == x.t().cpu().tolist()
    assert again(x, {"map_location": "cpu"}).device.type == "cpu"
    assert again(rtorch.ones(2), {"map_location": "wgpu"}).device.type == "wgpu"


# ---- files


def test_mmap(tmp_path):
    path = tmp_path / "x.pt"
    x = rtorch.arange(1000.0)
    rtorch.save({"x": x, "half": x[:3].to(rtorch.bfloat16)}, path)
    back = rtorch.load(path, mmap=True)
    assert back["x"].equal(x) and back["half"].tolist() == [0, 1, 2]
    back["x"].fill_(0)  # private: memory changes, the file does not
    assert rtorch.load(path)["x"].equal(x)
    (back["x"] * 2).sum()
    with pytest.raises(ValueError, match="f must be a file path in order to use the mmap argument"):
        load(path.read_bytes(), mmap=True)
    rtorch.save(x, path, _use_new_zipfile_serialization=False)
    with pytest.raises(RuntimeError, match="mmap can only be used with files saved with"):
        rtorch.load(path, mmap=True)


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.pt"
    rtorch.save([1], path)

    class Refuses:
        def __reduce__(self):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        rtorch.save([rtorch.ones(1000), Refuses()], path)
    assert rtorch.load(path) == [1] and os.listdir(tmp_path) == ["x.pt"]
    os.chmod(path, 0o640)
    rtorch.save([2], path)
    assert rtorch.load(path) == [2] and path.stat().st_mode & 0o777 == 0o640
    with pytest.raises(RuntimeError, match="Parent directory .* does not exist"):
        rtorch.save([2], tmp_path / "no" / "x.pt")


def test_saving_through_a_link_keeps_the_link(tmp_path):
    (tmp_path / "real.pt").write_bytes(b"old")
    (tmp_path / "link.pt").symlink_to("real.pt")
    rtorch.save([3], tmp_path / "link.pt")
    assert (tmp_path / "link.pt").is_symlink() and rtorch.load(tmp_path / "real.pt") == [3]


def test_a_file_object_may_stand_anywhere():
    for new in (True, False):
        buffer = io.BytesIO(b"before")
        buffer.seek(6)
        rtorch.save(rtorch.ones(2), buffer, _use_new_zipfile_serialization=new)
        buffer.seek(6)
        assert rtorch.load(buffer).tolist() == [1, 1]


def test_files_that_are_none():
    with pytest.raises(AttributeError, match="You can only torch.load from a file that is seekable"):
        rtorch.load(5)
    with pytest.raises(AttributeError, match="expected 'f' to be string, path, or a file-like object"):
        rtorch.save([], 5)
    with pytest.raises(EOFError):
        load(b"")
    with pytest.raises(RuntimeError, match="Invalid magic number"):
        load(pickle.dumps({"a": 1}, 2))
    with pytest.raises(RuntimeError, match="Can not safely load weights when explicit pickle_module"):
        load(saved([]), pickle_module=pickle, weights_only=True)


def test_python_pickle_keeps_geometry():
    x = rtorch.arange(6.0).reshape(2, 3)
    a, b = pickle.loads(pickle.dumps((x, x.t())))
    a[0, 0] = 99
    assert b.stride() == (1, 3) and b[0, 0] == 0
    s = pickle.loads(pickle.dumps(x.untyped_storage()))
    assert s.tolist() == x.untyped_storage().tolist()
    assert copy.deepcopy(x.untyped_storage()) != x.untyped_storage()


# ---- allow-list


def test_safe_globals():
    import math

    data = saved([math.sqrt, 1])
    assert serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(data)) == ["math.sqrt"]
    with serialization.safe_globals([math.sqrt]):
        assert load(data)[0] is math.sqrt and serialization.get_safe_globals() == [math.sqrt]
    with pytest.raises(pickle.UnpicklingError, match="GLOBAL math.sqrt was not an allowed global by default"):
        load(data)
    serialization.add_safe_globals([(len, "math.sqrt")])
    assert load(data)[0] is len
    serialization.clear_safe_globals()
    assert serialization.get_safe_globals() == []


class Thing:
    def __init__(self, x):
        self.x = x


def test_a_user_class_that_is_allowed():
    data = saved(Thing(rtorch.ones(2)))
    with pytest.raises(pickle.UnpicklingError):
        load(data)
    with serialization.safe_globals([Thing]):
        assert load(data).x.tolist() == [1, 1]


def test_modules_that_are_allowed():
    with serialization.safe_globals([nn.Linear]):
        assert load(saved(nn.Linear(2, 1))).weight.shape == (1, 2)


def test_settings():
    assert serialization.get_crc32_options() is True
    try:
        serialization.set_crc32_options(False)
        assert zipfile.ZipFile(io.BytesIO(saved(rtorch.ones(3)))).testzip() is not None
        assert again(rtorch.ones(3)).tolist() == [1, 1, 1]
    finally:
        serialization.set_crc32_options(True)
    with serialization.skip_data():
        data = saved(rtorch.ones(3))
        assert again(rtorch.ones(3)).tolist() == [0, 0, 0]
    assert len(data) == len(saved(rtorch.ones(3))) and load(data).tolist() == [0, 0, 0]
    with pytest.raises(TypeError):
        serialization.set_default_load_endianness("big")
    with pytest.raises(ValueError):
        serialization.set_default_mmap_options(77)


def test_byte_order():
    swapped = struct.pack(">6f", *struct.unpack("<6f", FLOATS))
    big = archive(dump(tensor()), [("data/0", swapped)]).replace(b"little", b"big   ")
    with pytest.raises(ValueError, match="Unknown endianness type"):
        load(big)
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as zipped:
        records = {"data.pkl": dump(tensor()), "byteorder": b"big", "data/0": swapped, "version": b"3"}
        for name, content in records.items():
            zipped.writestr(f"a/{name}", content)
    assert load(buffer.getvalue()).flatten().tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]


def test_a_packed_archive():
    assert load(checkpoint(tensor(), packed=True)).tolist() == [[0.5, 1.5, 2.5], [3.5, 4.5, 5.5]]


def test_old_names_of_python_2_and_the_tar_format():
    import tarfile

    assert load(archive(dump(Call(Global("__builtin__", "set"), [1, 2])))) == {1, 2}
    storages = dump(1) + dump(("k", "cpu", Global("torch", "FloatStorage"))) + struct.pack("<q", 6) + FLOATS + dump([])
    tensors = dump(1) + dump((3, "k", Global("torch", "FloatTensor")))
    tensors += struct.pack("<i4x2q2qq", 2, 2, 3, 3, 1, 0)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in (("storages", storages), ("tensors", tensors), ("pickle", b"\x80\x02X\1\0\0\0003Q.")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    data = buffer.getvalue()
    assert load(data, weights_only=False).tolist() == [[0.5, 1.5, 2.5], [3.5, 4.5, 5.5]]
    with pytest.raises(RuntimeError, match="legacy .tar format"):
        load(data)


def test_the_other_names():
    class Versioned:
        __version__ = "1.10.2"
        __name__ = "versioned"

    check = serialization.check_module_version_greater_or_equal
    assert check(Versioned, (1, 9)) and not check(Versioned, (1, 11))
    Versioned.__version__ = "x"
    with pytest.raises(RuntimeError, match="malformed"):
        check(Versioned, (1, 9))
    storage = rtorch.ones(2, dtype=rtorch.float64).storage()
    assert serialization.storage_to_tensor_type(storage) is rtorch.DoubleTensor
    assert serialization.location_tag(storage.untyped()) == "cpu"
    assert serialization.default_restore_location(storage, "cpu") is storage
    assert serialization.StorageType("HalfStorage").dtype == rtorch.float16
    assert issubclass(serialization.SourceChangeWarning, Warning)
    with pytest.raises(RuntimeError, match="wgpu"):
        serialization.validate_cuda_device("cuda:0")
    assert serialization.get_default_load_endianness() is None and serialization.get_default_mmap_options() == 2
    serialization.set_default_load_endianness(serialization.LoadEndianness.BIG)
    try:
        data = archive(dump(tensor()), [("data/0", FLOATS)]).replace(b"archive/byteorder", b"archive/bytefolge")
        assert load(data)[0, 0] != 0.5
    finally:
        serialization.set_default_load_endianness(None)
    folder = serialization.mkdtemp()
    os.rmdir(folder)


def test_storages():
    s = rtorch.UntypedStorage([1, 2, 3])
    assert s.tolist() == [1, 2, 3] and s[1] == 2 and s[1:].tolist() == [2, 3] and len(rtorch.UntypedStorage(5)) == 5
    s[0] = 9
    assert s.clone().fill_(7).tolist() == [7, 7, 7] and s.tolist() == [9, 2, 3]
    with pytest.raises(RuntimeError, match="size does not match"):
        s.copy_(rtorch.UntypedStorage(5))
    f = rtorch.tensor([1.0, 2.0]).storage()
    assert f.dtype == rtorch.float32 and f.tolist() == [1, 2] and f.nbytes() == 8 and isinstance(f, rtorch.TypedStorage)
    f.untyped().byteswap(rtorch.float32)
    assert f[0] == struct.unpack(">f", struct.pack("<f", 1.0))[0]
    assert again(f).tolist() == f.tolist() and again(s).tolist() == s.tolist()
    with pytest.raises(RuntimeError):
        rtorch.UntypedStorage(-1)
    with pytest.raises(RuntimeError, match="out of bounds"):
        s._tensor(rtorch.float32, 0, (1,), (1,))
    for size, stride in (((1 << 62, 8), (1, 1)), ((2, 2), (1 << 62, 1)), ((2,), (1 << 63,))):
        with pytest.raises((RuntimeError, OverflowError)):
            s._tensor(rtorch.uint8, 0, size, stride)


def test_a_mapped_storage(tmp_path):
    path = tmp_path / "bytes"
    path.write_bytes(b"abc")
    private, shared = rtorch.UntypedStorage.from_file(str(path)), rtorch.UntypedStorage.from_file(str(path), True, 4)
    private[0] = 0
    shared[1] = 65
    assert path.read_bytes() == b"aAc\0" and private.tolist()[:1] == [0]
    with pytest.raises(RuntimeError, match="unable to mmap"):
        rtorch.UntypedStorage.from_file(str(path), False, 100)
