"""Files that are broken or hostile: each raises, and nothing of them runs, reads elsewhere or allocates."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict

import pytest

import rtorch
from checkpoint_files import FLOATS, Call, Global, Persistent, archive, checkpoint, dump, storage, tensor

RAN = []


def payload(*args):
    """What must never run."""
    RAN.append(args)


HERE = Global(__name__, "payload")
REFUSED = (pickle.UnpicklingError, RuntimeError, ValueError, TypeError, EOFError, AttributeError, AssertionError)
REFUSED += (IndexError, KeyError)


def load(data, **options):
    return rtorch.load(io.BytesIO(data), **options)


def refused(data):
    with pytest.raises(REFUSED):
        load(data)
    assert not RAN


@pytest.mark.parametrize(
    "obj",
    [
        tensor(size=(7,), stride=(1,)),
        tensor(offset=100),
        tensor(offset=1 << 62),
        tensor(offset=-1),
        tensor(size=(-2, -3)),
        tensor(size=(1 << 62,), stride=(1,)),
        tensor(size=(5, 3), stride=(1 << 62, 1)),
        tensor(size=(2, 2), stride=(-1, 1)),
        tensor(size=(2.0, 3)),
        tensor(size=(True, 3)),
        tensor(size=None),
        tensor(size=(2,)),
        tensor(size=(1,) * 3000, stride=(1,) * 3000),
        tensor(size=(0, 1 << 62, 1 << 62), stride=(1, 1, 1)),
        tensor(of=5),
        tensor(of=rtorch.int64),
        tensor(requires_grad="yes"),
        tensor(of=storage(kind="LongStorage"), requires_grad=True),
        tensor(of=storage(numel=5)),
        tensor(of=storage(numel=7)),
        tensor(of=storage(numel=(1 << 62) + 6, kind="DoubleStorage")),
        tensor(of=storage(numel=6.0)),
        tensor(of=storage(numel=-6)),
        tensor(of=storage(key="../data.pkl")),
        tensor(of=storage(key=b"\xff")),
        tensor(of=storage(key=3)),
        tensor(of=storage(kind="OrderedDict")),
        tensor(of=Persistent("storage", OrderedDict, "0", "cpu", 6)),
        tensor(of=Persistent("storage", Global("torch", "FloatStorage"), "0", "cpu")),
        Persistent("module", HERE, "", ""),
        Persistent(),
        [storage(numel=6), storage(numel=3, kind="DoubleStorage"), storage(numel=2)],
    ],
    ids=lambda obj: None,
)
def test_descriptions_that_are_not_true(obj):
    refused(checkpoint(obj))


def test_conjugates_that_pytorch_left_undone():
    # PyTorch saves the storage as it is, and that its values are to be conjugated or negated.
    numbers = storage(numel=3, kind="ComplexFloatStorage")
    files = checkpoint(
        [
            tensor(0, (3,), (1,), of=numbers, more=({"conj": True},)),
            tensor(1, (2,), (1,), of=numbers, more=({"conj": True, "neg": True},)),
            tensor(0, (5, 1), (0, 1), of=numbers, more=({"conj": True},)),
            tensor(0, (3,), (1,), of=numbers, more=({"conj": False},)),
        ]
    )
    read = rtorch.load(io.BytesIO(files))
    assert read[0].tolist() == [0.5 - 1.5j, 2.5 - 3.5j, 4.5 - 5.5j] and read[1].tolist() == [-2.5 + 3.5j, -4.5 + 5.5j]
    assert read[2].tolist() == [[0.5 - 1.5j]] * 5 and read[2].stride() == (0, 1)
    assert read[3].tolist() == [0.5 + 1.5j, 2.5 + 3.5j, 4.5 + 5.5j]
    # what shows more elements than its storage has is not copied
    large = tensor(0, (1 << 20, 2), (0, 1), of=storage(), more=({"neg": True},))
    assert rtorch.load(io.BytesIO(checkpoint(large))).untyped_storage().nbytes() < 100
    for stride, metadata in (((1, 0, 1), {"neg": True}), ((1, 1, 1), {"neg": True}), ((1, 1, 1), 5)):
        with pytest.raises((RuntimeError, TypeError, pickle.UnpicklingError)):
            rtorch.load(io.BytesIO(checkpoint(tensor(0, (2, 2, 5), stride, more=(metadata,)))))


def test_expanded_tensors_are_legal():
    assert load(checkpoint(tensor(size=(1 << 20, 1 << 20), stride=(0, 0))))[3, 4] == 0.5


def call(module, name, *args):
    return Call(Global(module, name), *args)


@pytest.mark.parametrize(
    "obj",
    [
        Call(HERE),
        call("builtins", "eval", "1"),
        call("__builtin__", "print", "x"),
        call("os", "system", "true"),
        call("posix", "getcwd"),
        call("torch", "_utils.os.getcwd"),
        call("torch.storage", "_load_from_bytes", pickle.dumps(1)),
        call("torch", "FloatTensor", 6),
        call("torch", "Tensor", 6),
        call("torch.storage", "UntypedStorage", 1 << 42),
        call("builtins", "bytearray", 1 << 31),
        call("builtins", "set", "abc"),
        call("builtins", "complex", "1"),
        call("_codecs", "encode", "x", "rot13"),
        call("torch", "Size", [[1]]),
        call("torch", "device", ["cpu"]),
        call("collections", "Counter", ["a"]),
        call("collections", "OrderedDict", [[1, 2, 3]]),
        call("collections", "OrderedDict", [[[], 1]]),
        call("torch.serialization", "_get_layout", "torch.load"),
        call("torch._tensor", "_rebuild_from_type_v2", HERE, Global("torch", "Tensor"), (), {}),
        call("torch._tensor", "_rebuild_from_type_v2", Global("torch", "Size"), Global("torch", "Tensor"), ((),), {}),
        call("torch._utils", "_rebuild_parameter", "x", True, OrderedDict()),
        call("torch._utils", "_rebuild_tensor_v3", storage(), 0, (2, 3), (3, 1), False, OrderedDict(), HERE),
        call("torch._utils", "_rebuild_tensor_v3", storage(), 0, (2, 3), (3, 1), False, OrderedDict(), rtorch.float64),
    ],
    ids=lambda obj: f"{obj.function.module}.{obj.function.name}",
)
def test_calls_that_are_not_on_the_list(obj):
    refused(checkpoint(obj))


def test_attributes_cannot_change_what_a_tensor_is():
    inner = (storage(), 0, (2, 3), (3, 1), False, OrderedDict())
    rebuild, cls = Global("torch._utils", "_rebuild_tensor_v2"), Global("torch", "Tensor")
    refused(checkpoint(call("torch._tensor", "_rebuild_from_type_v2", rebuild, cls, inner, ({}, {"__class__": 1}))))


PREFIX = b"\x80\x02"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        b"(",
        b".",
        b"e.",
        b"u.",
        b"R.",
        b"]]a",
        b"j\xff\xff\xff\xff.",
        b"X\xf0\xff\xff\xff12345",
        b"\x8d" + struct.pack("<Q", 1 << 62),
        b"\x95" + struct.pack("<Q", 1 << 62),
        b"\x8b\xff\xff\xff\xff.",
        b"c" + b"x" * 100_000,
        b"cos\n",
        b"\x82\x01.",
        b"\xff.",
        b"}(K\x01K\x02K\x03u.",
        b"}]K\x01s.",
        b"K\x01K\x02a.",
        b"}K\x01b.",
        b"ccollections\nOrderedDict\n)RK\x01b.",
        b"ccollections\nOrderedDict\n)R}K\x01K\x02sb.",
        b"(i__main__\npayload\n.",
        b"X\x01\x00\x00\x00xQ.",
        b"K\x01Q.",
        b"N\x85R.",
        b"\x87.",
    ],
)
def test_opcodes(data):
    refused(archive(PREFIX + data))
    refused(PREFIX + data)
    refused(dump(0x1950A86A20F9469CFC6C) + dump(1001) + PREFIX + data)


def test_keys_that_take_for_ever_to_hash():
    laughs = ()
    for _ in range(40):
        laughs = (laughs, laughs)
    refused(archive(dump({1: 2})[:-1].replace(b"K\x01K\x02s", b"") + _shared_pairs(40) + b"K\x02s."))
    deep = b")" * 1 + b"\x85" * 100_000
    refused(archive(PREFIX + b"}" + deep + b"K\x01s."))
    assert load(archive(PREFIX + b"}" + b")" + b"\x85" * 20 + b"K\x01s."))


def _shared_pairs(n):
    """Opcodes for a tuple of two tuples that are one, n times over."""
    return b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(1, n + 1))


def test_deep_nesting_does_not_end_the_process():
    nested = load(archive(PREFIX + b"]" * 100_000 + b"a" * 99_999 + b"."))
    assert type(nested) is list
    del nested


def changed(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def test_archives_that_are_not_true():
    good = checkpoint(tensor())
    assert load(good).shape == (2, 3)
    for cut in (1, 30, len(good) // 3, len(good) // 2, len(good) - 30, len(good) - 1):
        refused(good[:cut])
    refused(good[64:])
    refused(b"x" * 16 + good)
    entry = good.index(b"archive/data/0", good.index(b"PK\1\2")) - 46
    local = good.index(b"archive/data/0") - 30
    for at, new in [
        (entry + 42, struct.pack("<L", local + 1)),
        (entry + 42, struct.pack("<L", 1 << 31)),
        (entry + 20, struct.pack("<2L", 1 << 30, 1 << 30)),
        (entry + 24, struct.pack("<L", 25)),
        (entry + 28, struct.pack("<H", 200)),
        (entry + 30, struct.pack("<H", 200)),
        (entry + 10, struct.pack("<H", 99)),
        (entry + 8, struct.pack("<H", 1)),
        (entry + 46, b"archive/data\0"),
        (entry + 46, b"another/data/0"),
        (entry + 46, b"archive/../a/0"),
        (entry + 46, b"archive_data_0"),
        (local + 28, struct.pack("<H", 32768)),
        (local, b"PK\7\7"),
        (local + 30, b"archive/data/1"),
        (good.index(b"PK\5\6") + 16, struct.pack("<L", 1)),
        (good.index(b"PK\5\6") + 12, struct.pack("<L", 0xFFFFFFF0)),
        (good.index(b"PK\5\6") + 8, struct.pack("<2H", 0xFFFF, 0xFFFF)),
    ]:
        refused(changed(good, at, new))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_with_wrong_records():
    refused(archive(None, [("data.pkl", dump(1)), ("data.pkl", dump(2))]))
    refused(archive(dump(1), version=None))
    for version in (b"abc", b"-1", b"99", b"9" * 400, b"\xb2"):
        refused(archive(dump(1), version=version))
    refused(archive(None))
    refused(archive(dump(1), [(".storage_alignment", b"abc")]))
    with pytest.raises(RuntimeError, match="TorchScript"):
        load(archive(dump(1), [("constants.pkl", b"x")]))


def test_packed_records_give_no_more_than_they_say_and_no_more_than_a_limit(monkeypatch):
    bomb = archive(dump(1)[:-1] + b"." + b"\0" * (70 << 20), packed=True)
    refused(bomb)
    zeros = archive(dump(storage(numel=100 << 20, kind="ByteStorage")), [("data/0", bytes(100 << 20))], packed=True)
    refused(zeros)
    few = archive(dump(storage(numel=24, kind="ByteStorage")), [("data/0", bytes(24))], packed=True)
    assert load(few).tolist() == [0] * 24
    lie = few.replace(struct.pack("<L", 24), struct.pack("<L", 25))
    refused(lie.replace(b"K\x18", b"K\x19"))


def test_older_files_that_are_not_true():
    def older(obj, keys=("0",), blocks=None):
        blocks = struct.pack("<q", 6) + FLOATS if blocks is None else blocks
        return b"".join(map(dump, (0x1950A86A20F9469CFC6C, 1001, {}, obj, list(keys)))) + blocks

    def of(numel=6, view=None, key="0", kind="FloatStorage"):
        return Persistent("storage", Global("torch", kind), key, "cpu", numel, view)

    assert load(older(tensor(of=of()))).shape == (2, 3)
    assert load(older(tensor(1, (2,), (2,), of=of(view=("v", 2, 4))))).tolist() == [3.5, 5.5]
    for obj in (
        tensor(of=of(1 << 40)),
        tensor(of=of(-6)),
        tensor(of=of(7)),
        tensor(of=of(view=("v", 2, 5))),
        tensor(of=of(view=("v", -1, 2))),
        tensor(of=of(view=3)),
        tensor(of=of(key=[1])),
        tensor(of=of(), size=(1000, 3)),
        Persistent("module", HERE, "", ""),
        Persistent("storage", Global("torch", "FloatStorage"), "0", "cpu", 6),
    ):
        refused(older(obj))
    good = tensor(of=of())
    refused(older(good, keys=["9"]))
    refused(older(good, keys=["0", "0"]))
    refused(older(good, keys=5 * [[]]))
    refused(older(good, blocks=struct.pack("<q", -6) + FLOATS))
    refused(older(good, blocks=struct.pack("<q", 1 << 60) + FLOATS))
    refused(older(good, blocks=b""))
    refused(older(good, blocks=struct.pack("<q", 6) + FLOATS[:-1]))


def test_the_zip_reader_agrees_with_pythons():
    data = checkpoint([tensor(), 1])
    from rtorch.serialization._archive import Archive, Source

    mine, python = Archive(Source(io.BytesIO(data))), zipfile.ZipFile(io.BytesIO(data))
    assert {f"archive/{n}": mine.read(n) for n in mine.records} == {n: python.read(n) for n in python.namelist()}
