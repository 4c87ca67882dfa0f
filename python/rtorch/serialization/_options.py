"""Settings of `save` and `load`: byte order of old files, checksums, mapping flags, `skip_data`."""

import mmap
from enum import Enum

from rtorch.utils.serialization import config


class LoadEndianness(Enum):
    """The byte order of files that do not say theirs."""

    NATIVE = 1
    LITTLE = 2
    BIG = 3


def get_default_load_endianness():
    """The byte order assumed for files that do not say theirs; None means little."""
    return config.load.endianness


def set_default_load_endianness(endianness):
    """Sets the byte order assumed for files that do not say theirs."""
    if not isinstance(endianness, LoadEndianness) and endianness is not None:
        raise TypeError("Invalid argument type in function set_default_load_endianness")
    config.load.endianness = endianness


def get_crc32_options():
    """Whether `save` computes the checksums of records."""
    return config.save.compute_crc32


def set_crc32_options(compute_crc32):
    """Whether `save` computes the checksums of records. Without them other zip programs call the file corrupt."""
    config.save.compute_crc32 = bool(compute_crc32)


def get_default_mmap_options():
    """`mmap.MAP_PRIVATE` or `mmap.MAP_SHARED`: what `load(mmap=True)` maps with."""
    return config.load.mmap_flags


class set_default_mmap_options:
    """Sets what `load(mmap=True)` maps with, at once or for a `with` block."""

    def __init__(self, flags):
        if flags not in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
            raise ValueError(
                "Invalid argument in function set_default_mmap_options, expected mmap.MAP_PRIVATE or mmap.MAP_SHARED, "
                f"but got {flags}"
            )
        self.before, config.load.mmap_flags = config.load.mmap_flags, flags

    def __enter__(self):
        pass

    def __exit__(self, *exception):
        config.load.mmap_flags = self.before


class skip_data:
    """Within it `save` leaves the room of the storages' bytes but does not write them, and `load` does not read them.

    What is loaded then holds zeros.
    """

    active = False

    def __init__(self, materialize_fake_tensors=False):
        if materialize_fake_tensors:
            raise RuntimeError("skip_data: there are no fake tensors in rtorch to materialize")

    def __enter__(self):
        self.before, skip_data.active = skip_data.active, True

    def __exit__(self, *exception):
        skip_data.active = self.before
