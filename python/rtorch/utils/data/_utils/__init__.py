"""The parts of the loader: `collate` (samples to batches), `fetch` (a batch of a dataset), `worker` (what a worker
process does) and `pin_memory`. The parent's side is `loader_iter` and `dataloader`."""

from . import collate, fetch, pin_memory, worker
from .worker import get_worker_info

__all__ = ["collate", "fetch", "get_worker_info", "pin_memory", "worker"]
