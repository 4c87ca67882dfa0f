"""Operators composed in Python, one file per family; `_register.py` says how one is added. Hot ones are Rust."""

from . import factor, factories, functional, indexing, linalg, lowrank, pointwise, random, recurrent, reduce, search
from . import segments, shape, spectral, windows
from ._register import FUNCTIONS, METHODS
