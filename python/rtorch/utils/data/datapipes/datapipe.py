"""Bases of data pipes, and `DataChunk`, what batching steps yield. The steps are in `iter` and `map`."""

from ..dataset import Dataset, IterableDataset

__all__ = ["DFIterDataPipe", "DataChunk", "IterDataPipe", "MapDataPipe"]


def _import_steps():
    """The steps register themselves as methods when they are imported."""
    import importlib

    for name in ("iter", "map"):
        importlib.import_module(f"{__package__}.{name}")


class _Functional:
    """Steps as methods: `pipe.map(f)` is `Mapper(pipe, f)` once Mapper is registered under "map"."""

    functions = {}

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for base in cls.__dict__.get("__orig_bases__", ()):
            origin = getattr(base, "__origin__", None)
            if isinstance(origin, type) and issubclass(origin, _Functional):
                cls.item_type = base.__args__[0]

    # what the pipe yields, from `class Numbers(IterDataPipe[int])`; object: anything
    item_type = object

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        _import_steps()
        functions = object.__getattribute__(self, "functions")
        if name not in functions:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        make = functions[name]

        def step(*args, **kwargs):
            return make(self, *args, **kwargs)

        step.__name__, step.__doc__ = name, make.__doc__
        return step

    @classmethod
    def register_function(cls, function_name, function):
        """Makes `pipe.function_name(...)` call `function(pipe, ...)`."""
        cls.functions[function_name] = function

    @classmethod
    def register_datapipe_as_function(cls, function_name, cls_to_register, enable_df_api_tracing=False):
        """Makes `pipe.function_name(...)` make a `cls_to_register`."""
        if function_name in cls.functions:
            raise Exception(f"Unable to add DataPipe function name {function_name} as it is already taken")
        cls.functions[function_name] = cls_to_register

    def __repr__(self):
        return type(self).__name__

    __str__ = __repr__

    def __dir__(self):
        _import_steps()
        return [*super().__dir__(), *self.functions]

    def __getstate__(self):
        return self.__dict__

    def __setstate__(self, state):
        self.__dict__.update(state)


class IterDataPipe(_Functional, IterableDataset):
    """A pipe that is iterated over.

    >>> from rtorch.utils.data.datapipes.iter import IterableWrapper
    >>> list(IterableWrapper(range(4)).map(lambda x: x * 10).batch(2))
    [[0, 10], [20, 30]]
    """

    functions = {}

    def __iter__(self):
        raise NotImplementedError(f"{type(self).__name__} defines no __iter__")

    def reset(self):
        """Called before an epoch; steps with state begin anew."""


class DFIterDataPipe(IterDataPipe):
    """A pipe of data frames."""

    def _is_dfpipe(self):
        return True

    def __iter__(self):
        raise NotImplementedError(f"{type(self).__name__} defines no __iter__")


class MapDataPipe(_Functional, Dataset):
    """A pipe that is indexed: subclasses define `__getitem__` and `__len__`.

    >>> from rtorch.utils.data.datapipes.map import SequenceWrapper
    >>> SequenceWrapper(range(4)).map(lambda x: x * 10)[3]
    30
    """

    functions = {}


class DataChunk(list):
    """A batch as a list that remembers its items; `raw_iterator` goes over them as they were given."""

    def __init__(self, items):
        items = list(items)
        super().__init__(items)
        self.items = items

    def as_str(self, indent=""):
        return indent + "[" + ", ".join(str(i) for i in iter(self)) + "]"

    def raw_iterator(self):
        yield from self.items
