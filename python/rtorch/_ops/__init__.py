"""Operators composed in Python, one file per family; `_register.py` says how one is added. Hot ones are Rust."""

from . import factor, factories, functional, indexing, linalg, pointwise, random, reduce, search, shape, spectral
from . import windows
from ._register import FUNCTIONS, METHODS
