"""Makes checkpoint files for tests without `rtorch.save`: pickles written opcode by opcode, archives by `zipfile`."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict


class Global:
    """Pickled as a GLOBAL opcode with this module and name, importable or not."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """Pickled as a REDUCE of a Global on arguments."""

    def __init__(self, function, *args):
        self.function, self.args = function, args


class Persistent:
    """Pickled as a persistent id."""

    def __init__(self, *pid):
        self.pid = pid


class Pickler(pickle._Pickler):
    """Writes what the classes above say."""

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Persistent) else None

    def reducer_override(self, obj):
        if isinstance(obj, Global):
            return "global"
        if isinstance(obj, Call):
            return (_never, (obj,))
        return NotImplemented

    def save_global(self, obj, name=None):
        if isinstance(obj, Global):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        else:
            super().save_global(obj, name)

    def save_reduce(self, func, args, *rest, **kwargs):
        if func is _never:
            call = args[0]
            self.save(call.function)
            self.save(call.args)
            self.write(b"R")
        else:
            super().save_reduce(func, args, *rest, **kwargs)


def _never():
    raise AssertionError("the pickle is not to be loaded by Python")


def dump(obj, protocol=2):
    """The bytes of a pickle."""
    buffer = io.BytesIO()
    Pickler(buffer, protocol).dump(obj)
    return buffer.getvalue()


def archive(data, records=(), folder="archive", version=b"3\n", packed=False):
    """The bytes of a zip file with this `data.pkl` and (name, bytes) records."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as zipped:
        for name, content in [("data.pkl", data), ("byteorder", b"little"), *records, ("version", version)]:
            if content is not None:
                zipped.writestr(f"{folder}/{name}", content)
    return buffer.getvalue()


def storage(numel=6, key="0", kind="FloatStorage", location="cpu"):
    """A storage as an archive's pickle mentions it."""
    return Persistent("storage", Global("torch", kind), key, location, numel)


def tensor(offset=0, size=(2, 3), stride=(3, 1), of=None, function="_rebuild_tensor_v2", requires_grad=False, more=()):
    """A tensor as an archive's pickle describes it."""
    args = (of or storage(), offset, size, stride, requires_grad, OrderedDict(), *more)
    return Call(Global("torch._utils", function), *args)


FLOATS = struct.pack("<6f", 0.5, 1.5, 2.5, 3.5, 4.5, 5.5)


def checkpoint(obj, data=FLOATS, **options):
    """An archive with one storage, `data/0`."""
    return archive(dump(obj), [("data/0", data)], **options)
