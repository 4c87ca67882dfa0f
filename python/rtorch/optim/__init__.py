"""`rtorch.optim`: optimizers, one file each, and learning rate schedules, under PyTorch's names."""

from . import lr_scheduler, optimizer
from ._adafactor import Adafactor
from ._muon import Muon
from ._swap import swap_in_optimizer_params_and_state
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
from .sparse_adam import SparseAdam

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
    "SparseAdam",
    "lr_scheduler",
    "optimizer",
    "swap_in_optimizer_params_and_state",
]


def __getattr__(name):
    if name == "swa_utils":
        import importlib

        return importlib.import_module("rtorch.optim.swa_utils")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
