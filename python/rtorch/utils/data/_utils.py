"""PyTorch's private home of the collate functions, which programs import from."""

from . import _collate as collate
from .dataloader import get_worker_info

__all__ = ["collate", "get_worker_info"]
