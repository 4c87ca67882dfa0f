"""`rtorch.optim`: optimizers, one file each, and learning rate schedules, under PyTorch's names."""

from . import lr_scheduler, optimizer
from ._adafactor import Adafactor
from ._muon import Muon
from .adadelta import Adadelta
from .adagrad import Adagrad
from .adam import Adam
from .adamax import Adamax
from .adamw import AdamW
from .asgd import ASGD
from .lbfgs import LBFGS
from .nadam import NAdam
from .optimizer import Optimizer
from .radam import RAdam
from .rmsprop import RMSprop
from .rprop import Rprop
from .sgd import SGD

__all__ = [
    "ASGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "LBFGS",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
    "lr_scheduler",
    "optimizer",
]


def __getattr__(name):
    if name == "swa_utils":
        import importlib

        return importlib.import_module("rtorch.optim.swa_utils")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
