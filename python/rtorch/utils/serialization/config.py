"""Settings of `save` and `load`; `rtorch.serialization` has functions for most of them."""


class load:
    """What `load` does where its arguments leave it open."""

    mmap = False
    endianness = None
    mmap_flags = 2  # mmap.MAP_PRIVATE
    # Offsets are always taken from the archive's directory and checked.
    calculate_storage_offsets = False


class save:
    """How `save` writes."""

    compute_crc32 = True
    # A GPU's memory is read through the backend's own staging buffers.
    use_pinned_memory_for_d2h = False
    storage_alignment = 64
