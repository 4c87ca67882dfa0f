"""What the modules of `rtorch.backends` are made of: an answer, and a context that sets switches and puts them back."""

import sys
from contextlib import contextmanager


def absent():
    """False: the library is not part of rtorch."""
    return False


def flags_of(module, names):
    """A `flags(...)` context manager that sets these attributes of a module for a block."""

    @contextmanager
    def flags(**values):
        """Sets switches for a `with` block."""
        here = sys.modules[module]
        unknown = values.keys() - set(names)
        if unknown:
            raise TypeError(f"flags() got an unexpected keyword argument {sorted(unknown)[0]!r}")
        before = {name: getattr(here, name) for name in names}
        try:
            vars(here).update(values)
            yield
        finally:
            vars(here).update(before)

    return flags
