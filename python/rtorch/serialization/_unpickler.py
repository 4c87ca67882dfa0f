"""The restricted unpickler behind `weights_only=True`: plain values, containers, storages, and the allow-list.

It reads the opcodes that `save` writes (pickle protocol 2) and no others. Nothing here calls what a file names:
`_calls.py` does, after its checks. The unrestricted one is Python's, in `_reading.py`.
"""

import re
import struct
import warnings
from collections import Counter, OrderedDict
from pickle import UnpicklingError, decode_long

from rtorch.serialization import _calls, _globals

# Names are short; a line without an end is not read to the end of the file.
MAX_NAME = 4096


class Unpickler:
    """Reads one pickle from `file` (with `read` and `readline`); `persistent_load` gives storages."""

    def __init__(self, file, encoding="utf-8", persistent_load=None):
        self.file, self.encoding = file, encoding
        self.stack, self.marks, self.memo = [], [], {}
        self.persistent = persistent_load
        self.user = _globals.user_allowed()
        self.allowed = list(self.user.values())

    def load(self):
        """The object."""
        read, table = self.file.read, _OPCODES
        while True:
            key = read(1)
            if not key:
                raise EOFError("the pickle of the checkpoint ends early")
            if key == b".":
                return self.stack.pop()
            handler = table.get(key)
            if handler is None:
                raise UnpicklingError(f"Unsupported operand {key[0]}")
            handler(self)

    def bytes(self, n):
        """The next `n` bytes; there must be as many."""
        data = self.file.read(n)
        if len(data) != n:
            raise EOFError("the pickle of the checkpoint ends early")
        return data

    def line(self):
        """A name."""
        data = self.file.readline(MAX_NAME)
        if not data.endswith(b"\n"):
            raise UnpicklingError("pickle data was truncated")
        return data[:-1].decode("utf-8")

    def pop_mark(self):
        """What was pushed since the last MARK."""
        items = self.stack
        self.stack = self.marks.pop()
        return items

    # ---- globals and calls

    def global_(self):
        module, name = self.line(), self.line()
        path = _globals.full_path(module, name)
        if _globals.full_path(module, "").rstrip(".") in _globals.BLOCKED:
            raise UnpicklingError(f"Trying to load unsupported GLOBAL {path} whose module {module} is blocked.")
        found = _globals.fixed().get(path)
        if found is None:
            found = self.user.get(path)
        if found is None:
            path = path.removeprefix("builtins.")
            raise UnpicklingError(
                f"Unsupported global: GLOBAL {path} was not an allowed global by default. Please use "
                f"`torch.serialization.add_safe_globals([{path}])` or the `torch.serialization.safe_globals([{path}])` "
                "context manager to allowlist this global if you trust this class/function."
            )
        self.stack.append(found)

    def reduce(self):
        args = self.stack.pop()
        self.stack[-1] = _calls.reduce(self.stack[-1], args, self.allowed)

    def newobj(self):
        args = self.stack.pop()
        self.stack[-1] = _calls.new_object(self.stack[-1], args, self.allowed)

    def build(self):
        state = self.stack.pop()
        _calls.build(self.stack[-1], state, self.allowed)

    def persid(self):
        pid = self.stack.pop()
        if type(pid) is not tuple and type(pid) is not int:
            raise UnpicklingError(f"persistent_load id must be tuple or int, but got {type(pid)}")
        if type(pid) is tuple and (not pid or _text(pid[0]) != "storage"):
            raise UnpicklingError(
                f"Only persistent_load of storage is allowed, but got {type(pid[0]) if pid else 'nothing'}"
            )
        if self.persistent is None or type(pid) is int:
            raise UnpicklingError("unsupported persistent id encountered")
        self.stack.append(self.persistent(pid))

    # ---- containers

    def append(self):
        item = self.stack.pop()
        self._list("append").append(item)

    def appends(self):
        items = self.pop_mark()
        self._list("extend").extend(items)

    def _list(self, verb):
        if type(self.stack[-1]) is not list:
            raise UnpicklingError(f"Can only {verb} {'to ' * (verb == 'append')}lists, but got {type(self.stack[-1])}")
        return self.stack[-1]

    def setitem(self):
        value, key = self.stack.pop(), self.stack.pop()
        _calls.check_key(key)
        self._dict("SETITEM")[key] = value

    def setitems(self):
        items = self.pop_mark()
        target = self._dict("SETITEMS")
        if len(items) % 2:
            raise IndexError("a dictionary of the checkpoint has a key without a value")
        for i in range(0, len(items), 2):
            _calls.check_key(items[i])
            target[items[i]] = items[i + 1]

    def _dict(self, opcode):
        if type(self.stack[-1]) not in (dict, OrderedDict, Counter):
            raise UnpicklingError(
                f"Can only {opcode} for dict, collections.OrderedDict, collections.Counter, but got "
                f"{type(self.stack[-1])}"
            )
        return self.stack[-1]

    def mark(self):
        self.marks.append(self.stack)
        self.stack = []

    def tuple(self):
        items = self.pop_mark()
        self.stack.append(tuple(items))

    def tuple_of(self, n):
        if len(self.stack) < n:
            raise IndexError("a tuple of the checkpoint is made of more than there is")
        self.stack[-n:] = [tuple(self.stack[-n:])]

    # ---- values

    def unicode(self):
        self.stack.append(str(self.bytes(self.number("<I")), "utf-8", "surrogatepass"))

    def string(self):
        data = self.bytes(self.number("<B"))
        self.stack.append(data if self.encoding == "bytes" else data.decode(self.encoding, "strict"))

    def long1(self):
        self.stack.append(decode_long(self.bytes(self.number("<B"))))

    def number(self, form):
        return struct.unpack(form, self.bytes(struct.calcsize(form)))[0]

    def byte(self):
        data = self.file.read(1)
        if not data:
            raise EOFError("the pickle of the checkpoint ends early")
        return data[0]

    def get(self):
        self.stack.append(self.memo[self.byte()])

    def put(self):
        self.memo[self.byte()] = self.stack[-1]

    def long_get(self):
        self.stack.append(self.memo[self.number("<I")])

    def long_put(self):
        self.memo[self.number("<I")] = self.stack[-1]

    def proto(self):
        protocol = self.number("<B")
        if protocol != 2:
            warnings.warn(
                f"Detected pickle protocol {protocol} in the checkpoint, which was not the default pickle protocol "
                "used by `torch.load` (2). The weights_only Unpickler might not support all instructions implemented "
                "by this protocol."
            )


def _text(value):
    return value.decode("ascii", "replace") if type(value) is bytes else value


def _push(make):
    return lambda self: self.stack.append(make())


def _number(form):
    return lambda self: self.stack.append(self.number(form))


_OPCODES = {
    b"c": Unpickler.global_,
    b"R": Unpickler.reduce,
    b"\x81": Unpickler.newobj,
    b"b": Unpickler.build,
    b"Q": Unpickler.persid,
    b"a": Unpickler.append,
    b"e": Unpickler.appends,
    b"s": Unpickler.setitem,
    b"u": Unpickler.setitems,
    b"(": Unpickler.mark,
    b"t": Unpickler.tuple,
    b"\x85": lambda self: self.tuple_of(1),
    b"\x86": lambda self: self.tuple_of(2),
    b"\x87": lambda self: self.tuple_of(3),
    b"N": _push(lambda: None),
    b"\x88": _push(lambda: True),
    b"\x89": _push(lambda: False),
    b")": _push(tuple),
    b"]": _push(list),
    b"}": _push(dict),
    b"\x8f": _push(set),
    b"J": _number("<i"),
    b"K": lambda self: self.stack.append(self.byte()),
    b"M": _number("<H"),
    b"G": _number(">d"),
    b"X": Unpickler.unicode,
    b"U": Unpickler.string,
    b"\x8a": Unpickler.long1,
    b"h": Unpickler.get,
    b"j": Unpickler.long_get,
    b"q": Unpickler.put,
    b"r": Unpickler.long_put,
    b"\x80": Unpickler.proto,
}

# Opcodes by how many bytes follow them, for the scan of names.
_FOLLOWING = {b"J": 4, b"K": 1, b"M": 2, b"G": 8, b"h": 1, b"j": 4, b"q": 1, b"r": 4, b"\x80": 1}


def names_in(file):
    """Every global that a pickle names, without loading anything."""
    scan, names = Unpickler(file), set()
    while True:
        key = file.read(1)
        if not key:
            raise EOFError("the pickle of the checkpoint ends early")
        if key == b".":
            return names
        if key == b"c":
            names.add(_globals.full_path(scan.line(), scan.line()))
        elif key in (b"X", b"U", b"\x8a"):
            scan.bytes(scan.number("<I" if key == b"X" else "<B"))
        elif key in _OPCODES:
            scan.bytes(_FOLLOWING.get(key, 0))
        else:
            raise UnpicklingError(f"Unsupported operand {key[0]}")


UNSAFE = (
    "In PyTorch 2.6, we changed the default value of the `weights_only` argument in `torch.load` from `False` to "
    "`True`. Re-running `torch.load` with `weights_only` set to `False` will likely succeed, but it can result in "
    "arbitrary code execution. Do it only if you got the file from a trusted source."
)
_DOCS = (
    "\n\nCheck the documentation of torch.load to learn more about types accepted by default with weights_only "
    "https://pytorch.org/docs/stable/generated/torch.load.html."
)


def explained(error):
    """The error of a refused checkpoint, with what its reader can do about it, in PyTorch's words."""
    message = str(error)
    if re.search(r"GLOBAL (\S+) was not an allowed global by default.", message):
        text = (
            "Weights only load failed. This file can still be loaded, to do so you have two options, \033[1mdo those "
            f"steps only if you trust the source of the checkpoint\033[0m. \n\t(1) {UNSAFE}\n\t(2) Alternatively, to "
            "load with `weights_only=True` please check the recommended steps in the following error message.\n\t"
            "WeightsUnpickler error: " + message
        )
    else:
        text = f"Weights only load failed. {UNSAFE}\n"
        if " is blocked" not in message:
            text += (
                "Please file an issue with the following so that we can make `weights_only=True` compatible with "
                "your use case: WeightsUnpickler error: "
            )
        text += "\n\n" + message
    return UnpicklingError(text + _DOCS)
