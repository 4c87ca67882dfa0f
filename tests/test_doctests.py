"""The examples in the docstrings of the Python package are run."""

import doctest
import importlib
import pkgutil
import sys

import pytest

import rtorch

PACKAGES = tuple(f"rtorch.{p}" for p in "nn distributions optim utils autograd func testing serialization".split())


def modules():
    for package in PACKAGES:
        yield package
        path = importlib.import_module(package).__path__
        yield from (found.name for found in pkgutil.walk_packages(path, package + "."))


@pytest.mark.parametrize("name", list(modules()))
def test_examples(name):
    importlib.import_module(name)
    # Not the attribute of the parent: a function may bear the module's name.
    result = doctest.testmod(sys.modules[name], globs={**vars(sys.modules[name]), "rtorch": rtorch})
    assert result.failed == 0
