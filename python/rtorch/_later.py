"""Names of PyTorch that belong to later work: they import, are classes where PyTorch has classes, and raise when used.

One table of modules; each gives whatever name it is asked for. The modules that really exist are found before these
are (`sys.meta_path` is asked in order).
"""

import importlib
import importlib.machinery
import sys
import types

_WHY = {
    "distributed": "training over several processes and machines is not part of rtorch yet",
    "onnx": "reading and writing ONNX is not part of rtorch yet",
    "fx": "graphs of programs are not part of rtorch yet",
    "jit": "TorchScript is not part of rtorch yet: call the function itself",
    "library": "operators of your own are written as functions or as autograd.Function",
    "autograd": "the profiler is not part of rtorch yet",
    "profiler": "the profiler is not part of rtorch yet",
    "utils.tensorboard": "writing TensorBoard's files is not part of rtorch yet",
    "utils": "it compiles C++ against PyTorch, which rtorch does not contain",
    "_dynamo": "graphs of programs are not part of rtorch yet",
    "_inductor": "graphs of programs are not part of rtorch yet",
    "export": "graphs of programs are not part of rtorch yet",
    "ao": "quantization is not part of rtorch yet",
    "quantization": "quantization is not part of rtorch yet",
    "nn": "training over several processes and machines is not part of rtorch yet",
}

# Modules all of whose names are later work.
MODULES = frozenset(
    "_inductor _inductor.config _dynamo.utils _dynamo.config ao ao.quantization "
    "distributed._composable distributed._shard distributed._tensor distributed.algorithms "
    "distributed.algorithms._checkpoint distributed.algorithms._checkpoint.checkpoint_wrapper "
    "distributed.algorithms.ddp_comm_hooks "
    "distributed.checkpoint distributed.checkpoint.state_dict distributed.device_mesh distributed.elastic "
    "distributed.elastic.multiprocessing distributed.elastic.multiprocessing.errors distributed.fsdp "
    "distributed.fsdp.fully_sharded_data_parallel distributed.fsdp.wrap distributed.nn distributed.nn.functional "
    "distributed.optim distributed.pipelining distributed.rpc distributed.tensor distributed.tensor.parallel export "
    "fx.experimental fx.graph fx.graph_module fx.node fx.proxy nn.parallel.distributed onnx.symbolic_helper "
    "quantization utils.cpp_extension utils.tensorboard"
    .split()
)


class Later(type):
    """The class of classes that are later work: `isinstance` is False for everything, calling one raises."""

    def __call__(cls, *args, **kwargs):
        raise RuntimeError(f"torch.{cls.path}: {reason(cls.path)}")

    def __instancecheck__(cls, obj):
        return False

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(f"type object '{cls.__name__}' has no attribute {name!r}")
        return named(f"{cls.path}.{name}")


def reason(path):
    """Why it is not there, by the beginning of its path."""
    return next(why for start, why in _WHY.items() if f"{path}.".startswith(f"{start}."))


def named(path):
    """The stand-in for a name: a class; what PyTorch has as a function raises when it is called, too."""
    return Later(path.rpartition(".")[2], (), {"path": path, "__module__": "rtorch." + path.rpartition(".")[0]})


def attribute_of(package):
    """A `__getattr__` for a module of which some names are real: public ones that are not there are later work."""

    def get(name):
        if name.startswith("__"):
            raise AttributeError(f"module 'rtorch.{package}' has no attribute {name!r}")
        if f"{package}.{name}" in MODULES:
            return importlib.import_module(f"rtorch.{package}.{name}")
        return sys.modules[f"rtorch.{package}"].__dict__.setdefault(name, named(f"{package}.{name}"))

    return get


class _Module(types.ModuleType):
    def __getattr__(self, name):
        return attribute_of(self.__name__.removeprefix("rtorch."))(name)


class _Finder:
    """Finder and loader of the table's modules."""

    def find_spec(self, fullname, path=None, target=None):
        """A spec for the modules of the table."""
        if fullname.startswith("rtorch.") and fullname[len("rtorch.") :] in MODULES:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec):
        """An empty module that answers every name."""
        return _Module(spec.name, f"Later work: {reason(spec.name.removeprefix('rtorch.'))}.")

    def exec_module(self, module):
        """Nothing to run."""


sys.meta_path.append(_Finder())
