"""`rtorch.multiprocessing`: Python's `multiprocessing`, whose queues, pipes, pools and process arguments carry tensors.

A tensor that goes to another process moves into shared memory, and only a handle on that memory travels: both sides
see each other's writes. `reductions` says what travels, `spawn` starts a function in several processes.
"""

import multiprocessing as _standard
from multiprocessing import *

from . import reductions
from .reductions import get_all_sharing_strategies, get_sharing_strategy, set_sharing_strategy
from .spawn import (
    ProcessContext,
    ProcessExitedException,
    ProcessRaisedException,
    SpawnContext,
    spawn,
    start_processes,
)

__all__ = [
    *_standard.__all__,
    "ProcessContext",
    "ProcessExitedException",
    "ProcessRaisedException",
    "SpawnContext",
    "get_all_sharing_strategies",
    "get_sharing_strategy",
    "set_sharing_strategy",
    "spawn",
    "start_processes",
]

reductions.init_reductions()
