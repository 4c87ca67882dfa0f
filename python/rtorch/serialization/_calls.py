"""What a restricted unpickler does for the opcodes that call: every allowed function and class has its own check here.

The check sees the arguments before the function does: nothing allocates by a number in the file, hashes a key that
takes for ever, or makes an object that its class would not make. The opcodes are in `_unpickler.py`.
"""

from collections import Counter, OrderedDict
from pickle import UnpicklingError

import rtorch
from rtorch import _rebuild
from rtorch.serialization import _globals
from rtorch.storage import TypedStorage, UntypedStorage

# Nested tuples are hashed recursively and without a memo: a key is at most this deep and has at most so many parts.
KEY_DEPTH, KEY_PARTS = 50, 10_000
_PLAIN = (str, int, float, bool, bytes, complex, type(None))


def check_key(key):
    """Raises if hashing `key` could recurse deeply or take long; unhashable keys raise when they are hashed."""
    if type(key) in _PLAIN:
        return
    level, parts = [key], 0
    for _ in range(KEY_DEPTH):
        below = []
        for item in level:
            if isinstance(item, (tuple, frozenset)):
                parts += len(item)
                if parts > KEY_PARTS:
                    raise UnpicklingError("a dictionary key of a checkpoint has too many parts")
                below.extend(item)
        if not below:
            return
        level = below
    raise UnpicklingError("a dictionary key of a checkpoint is nested too deeply")


def _wrong(what, args):
    shown = ", ".join(type(a).__name__ for a in args)
    return UnpicklingError(f"{what} is not called with ({shown}) in a checkpoint")


def _pairs(cls, args):
    """OrderedDict and Counter: of nothing, of a dict, or of a list of pairs."""
    if not args:
        return cls()
    if len(args) != 1 or type(args[0]) not in (list, tuple, dict, OrderedDict, Counter):
        raise _wrong(cls.__name__, args)
    given = args[0]
    if type(given) in (list, tuple) and cls is Counter:
        raise _wrong(cls.__name__, args)
    if type(given) in (list, tuple):
        for pair in given:
            if type(pair) not in (list, tuple) or len(pair) != 2:
                raise ValueError("an OrderedDict in a checkpoint is made of pairs")
            check_key(pair[0])
    return cls(given)


def _set(args):
    if not args:
        return set()
    if len(args) != 1 or type(args[0]) not in (list, tuple):
        raise _wrong("set", args)
    for item in args[0]:
        check_key(item)
    return set(args[0])


def _bytearray(args):
    if not args:
        return bytearray()
    if len(args) == 1 and type(args[0]) in (bytes, bytearray):
        return bytearray(args[0])
    if len(args) == 2 and type(args[0]) is str and args[1] in ("latin1", "latin-1"):
        return bytearray(args[0], "latin-1")
    raise _wrong("bytearray", args)


def _complex(args):
    if len(args) > 2 or not all(type(a) in (int, float) for a in args):
        raise _wrong("complex", args)
    return complex(*args)


def _size(args):
    if len(args) != 1 or type(args[0]) not in (tuple, list) or not all(type(n) is int for n in args[0]):
        raise _wrong("torch.Size", args)
    return rtorch.Size(args[0])


def _device(args):
    if not 1 <= len(args) <= 2 or type(args[0]) is not str or not all(type(n) is int for n in args[1:]):
        raise _wrong("torch.device", args)
    return rtorch.device(*args)


def _layout(args):
    if len(args) != 1 or type(args[0]) is not str:
        raise _wrong("torch.serialization._get_layout", args)
    return _globals._get_layout(args[0])


def _parameter(args):
    if not 1 <= len(args) <= 2 or not isinstance(args[0], rtorch.Tensor):
        raise _wrong("torch.nn.Parameter", args)
    return _rebuild._rebuild_parameter(*args, *([True] if len(args) == 1 else []))


def _from_type(args, user):
    """A tensor with attributes, of class Tensor or Parameter or of one that the user allowed."""
    if len(args) != 4 or type(args[2]) is not tuple:
        raise _wrong("torch._tensor._rebuild_from_type_v2", args)
    func, cls, inner, state = args
    if cls not in (rtorch.Tensor, rtorch.nn.Parameter) and not any(cls is f for f in user):
        raise UnpicklingError(f"a tensor in a checkpoint is of class {cls!r}")
    if state is not None and type(state) not in (dict, tuple):
        raise _wrong("torch._tensor._rebuild_from_type_v2", args)
    made = reduce(func, inner, user)
    if not isinstance(made, rtorch.Tensor):
        raise UnpicklingError(f"a tensor in a checkpoint is rebuilt as {type(made)}")
    return rtorch._tensor._rebuild_from_type_v2(lambda: made, cls, (), state)


def _refuse(what):
    def call(args):
        raise UnpicklingError(f"{what} is not called in a checkpoint")

    return call


def _table():
    calls = {
        OrderedDict: lambda args: _pairs(OrderedDict, args),
        Counter: lambda args: _pairs(Counter, args),
        set: _set,
        bytearray: _bytearray,
        complex: _complex,
        rtorch.Size: _size,
        rtorch.device: _device,
        rtorch.nn.Parameter: _parameter,
        _globals._get_layout: _layout,
        _globals._codecs_encode: lambda args: _globals._codecs_encode(*args),
        # memory that nothing in the file fills
        rtorch.Tensor: _refuse("torch.Tensor"),
        UntypedStorage: _refuse("torch.UntypedStorage"),
        TypedStorage: _refuse("torch.TypedStorage"),
    }
    for name in _globals.REBUILD:
        function = getattr(_rebuild, name)
        calls[function] = lambda args, function=function: function(*args)
    return calls


_calls = None


def _checked_call(func):
    global _calls
    if _calls is None:
        _calls = _table()
    try:
        return _calls.get(func)
    except TypeError:  # not hashable, so it is none of them
        return None


def _arguments(args):
    if type(args) is not tuple:
        raise UnpicklingError(f"arguments in a checkpoint are a tuple, not {type(args)}")
    return args


def reduce(func, args, user):
    """REDUCE: `func(*args)` for what is on the list, checked; `user` holds what the user allowed."""
    args = _arguments(args)
    call = _checked_call(func)
    if call is not None:
        return call(args)
    if func is rtorch._tensor._rebuild_from_type_v2:
        return _from_type(args, user)
    if any(func is f for f in user):
        return func(*args)
    message = f"Trying to call reduce for unrecognized function {func}"
    if hasattr(func, "__self__"):
        message += f" which belongs to {func.__self__}"
    raise UnpicklingError(message)


def new_object(cls, args, user):
    """NEWOBJ: an object of a class on the list."""
    args = _arguments(args)
    if any(cls is f for f in user):
        return cls.__new__(cls, *args)
    call = _checked_call(cls) if isinstance(cls, type) else None
    if call is None:
        raise UnpicklingError(
            "Can only create new object for nn.Parameter or classes allowlisted via `add_safe_globals` but got "
            f"{cls}"
        )
    return call(args)


def build(obj, state, user):
    """BUILD: the state of an object."""
    kind = type(obj)
    if any(kind is f for f in user):
        if hasattr(obj, "__setstate__"):
            obj.__setstate__(state)
        else:
            _rebuild._set_obj_state(obj, state)
    elif kind is rtorch.Tensor or kind is rtorch.nn.Parameter:
        _build_tensor(obj, state)
    elif kind is OrderedDict:
        obj.__dict__.update(_attributes(state))
    else:
        raise UnpicklingError(
            "Can only build Tensor, Parameter, OrderedDict or types allowlisted via `add_safe_globals`, but got "
            f"{kind}"
        )


def _attributes(state):
    if type(state) not in (dict, OrderedDict):
        raise TypeError(f"'{type(state).__name__}' object is not a state of an OrderedDict")
    for name in state:
        if type(name) is not str:
            raise TypeError(f"attributes are named by str, not {type(name)}")
    return state


def _build_tensor(tensor, state):
    """The oldest form: (storage, offset, size, stride), behind it requires_grad and hooks."""
    if type(state) is not tuple or len(state) not in (4, 5, 6):
        raise TypeError(f"a tensor's state in a checkpoint is a tuple of 4 to 6, not {type(state).__name__}")
    made = _rebuild._rebuild_tensor(*state[:4])
    tensor.data = made
    if len(state) > 4 and state[4] is True:
        tensor.requires_grad_()
