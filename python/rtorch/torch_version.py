"""`torch.torch_version.TorchVersion`: a version as text that compares as numbers."""

import re

__all__ = ["TorchVersion"]


def _key(version):
    """Numbers, whether it is a release, and the local part behind a `+`: what orders versions."""
    text = ".".join(map(str, version)) if isinstance(version, tuple | list) else str(version)
    public, _, local = text.partition("+")
    found = re.match(r"v?(\d+(?:\.\d+)*)(.*)$", public)
    if not found:
        raise ValueError(f"Invalid version: {text!r}")
    numbers = [int(n) for n in found[1].split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return numbers, not re.match(r"\.?(a|b|rc|dev)", found[2]), local


class TorchVersion(str):
    """A version that compares with text and tuples by its numbers.

    >>> TorchVersion("2.13.0+cpu") > "2.9", TorchVersion("2.13.0+cpu") >= (2, 13)
    (True, True)
    """

    def __lt__(self, other):
        return _key(self) < _key(other)

    def __le__(self, other):
        return _key(self) <= _key(other)

    def __gt__(self, other):
        return _key(self) > _key(other)

    def __ge__(self, other):
        return _key(self) >= _key(other)

    def __eq__(self, other):
        try:
            return _key(self) == _key(other)
        except ValueError:
            return False

    __hash__ = str.__hash__
