"""Decorators of data pipes: registration as a method, determinism, and checks of what pipes take and yield."""

import functools
import types

from .datapipe import IterDataPipe, MapDataPipe, _Functional

__all__ = [
    "argument_validation",
    "functional_datapipe",
    "guaranteed_datapipes_determinism",
    "non_deterministic",
    "runtime_validation",
    "runtime_validation_disabled",
]

_determinism = False
_validation = True


class functional_datapipe:
    """Registers the decorated pipe: `@functional_datapipe("double")` makes `pipe.double(...)`."""

    def __init__(self, name, enable_df_api_tracing=False):
        self.name, self.enable_df_api_tracing = name, enable_df_api_tracing

    def __call__(self, cls):
        if not isinstance(cls, type) or not issubclass(cls, (IterDataPipe, MapDataPipe)):
            raise TypeError("`functional_datapipe` can only decorate IterDataPipe")
        base = IterDataPipe if issubclass(cls, IterDataPipe) else MapDataPipe
        base.register_datapipe_as_function(self.name, cls, self.enable_df_api_tracing)
        return cls


class _Switch:
    """Sets a switch of this module at once, and back when the `with` block ends."""

    _switch = ""

    def __init__(self, mode=True):
        self.prev = globals()[self._switch]
        globals()[self._switch] = self._value(mode)

    def _value(self, mode):
        return mode

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        globals()[self._switch] = self.prev


class guaranteed_datapipes_determinism(_Switch):
    """While on, pipes that are marked `non_deterministic` refuse to be made."""

    _switch = "_determinism"


class runtime_validation_disabled(_Switch):
    """While it lasts, `runtime_validation` checks nothing."""

    _switch = "_validation"

    def _value(self, mode):
        return not mode


class non_deterministic:
    """Marks a pipe whose order may differ between runs: `@non_deterministic`, or `@non_deterministic(f)` where
    `f(*args)` of the constructor's arguments says whether this one does."""

    def __init__(self, arg):
        self.cls, self.deterministic_fn = None, None
        if isinstance(arg, type):
            if not issubclass(arg, IterDataPipe):
                raise TypeError("Only `IterDataPipe` can be decorated with `non_deterministic`")
            self.cls = arg
        elif callable(arg):
            self.deterministic_fn = arg
        else:
            raise TypeError(f"{arg} can not be decorated by non_deterministic")

    def __call__(self, *args, **kwargs):
        if self.cls is not None:
            self._refuse(self.cls)
            return self.cls(*args, **kwargs)
        cls = args[0]
        if not isinstance(cls, type) or not issubclass(cls, IterDataPipe):
            raise TypeError(f"Only `IterDataPipe` can be decorated, but {cls.__name__} is found")

        @functools.wraps(cls)
        def make(*args, **kwargs):
            answer = self.deterministic_fn(*args, **kwargs)
            if not isinstance(answer, bool):
                raise TypeError(
                    "deterministic_fn of `non_deterministic` decorator is required to return a boolean value, but "
                    f"{type(answer)} is found"
                )
            if answer:
                self._refuse(cls)
            return cls(*args, **kwargs)

        return make

    @staticmethod
    def _refuse(cls):
        if _determinism:
            raise TypeError(
                f"{cls.__name__} is non-deterministic, but you set 'guaranteed_datapipes_determinism'. You can turn "
                "off determinism for this DataPipe if that is acceptable for your application"
            )


def _is_of(value, hint):
    """Is the value of the type that a hint names? Containers are looked into."""
    import typing

    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is typing.Any or isinstance(hint, typing.TypeVar):
        return True
    if hint is None or hint is type(None):
        return value is None
    if origin is typing.Union or origin is types.UnionType:
        return any(_is_of(value, part) for part in args)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(args) == 2 and args[1] is Ellipsis:
            return all(_is_of(v, args[0]) for v in value)
        return len(value) == len(args) and all(map(_is_of, value, args))
    if origin in (list, set, frozenset):
        return isinstance(value, origin) and all(_is_of(v, args[0]) for v in value)
    if origin is dict:
        return isinstance(value, dict) and all(_is_of(k, args[0]) and _is_of(v, args[1]) for k, v in value.items())
    return isinstance(value, origin or hint)


def argument_validation(f):
    """Checks arguments that are annotated as pipes, `dp: IterDataPipe[int]`: TypeError where they are none, or are
    declared to yield something else."""
    import inspect
    import typing

    signature = inspect.signature(f)
    hints = typing.get_type_hints(f)

    @functools.wraps(f)
    def checked(*args, **kwargs):
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            hint = hints.get(name)
            base = typing.get_origin(hint) or hint
            if not (isinstance(base, type) and issubclass(base, _Functional)):
                continue
            if not isinstance(value, base):
                raise TypeError(f"Expected argument '{name}' as a {base.__name__}, but found {type(value)}")
            wanted = (typing.get_args(hint) or (object,))[0]
            have = value.item_type
            narrower = isinstance(have, type) and isinstance(wanted, type) and issubclass(have, wanted)
            if wanted not in (object, typing.Any) and have != wanted and not narrower:
                raise TypeError(
                    f"Expected type of argument '{name}' as a subtype of hint {wanted}, but found {have}"
                )
        return f(*args, **kwargs)

    return checked


def runtime_validation(f):
    """Checks what a pipe's `__iter__` yields against its declared type: RuntimeError where it is something else."""
    if f.__name__ != "__iter__":
        raise TypeError(f"Can not decorate function {f.__name__} with 'runtime_validation'")

    @functools.wraps(f)
    def checked(self):
        for item in f(self):
            if _validation and not _is_of(item, self.item_type):
                raise RuntimeError(
                    f"Expected an instance as subtype of {self.item_type}, but found {item}({type(item)})"
                )
            yield item

    return checked
