"""`torch.backends.mps`: not part of rtorch; a Mac's GPU is `wgpu`, over Metal."""

from rtorch.backends._switch import absent

is_available = absent
is_built = absent


def is_macos_or_newer(major, minor):
    """Whether this is a Mac with that release at least."""
    import platform

    found = platform.mac_ver()[0].split(".")[:2]
    return found != [""] and tuple(map(int, found)) >= (major, minor)


is_macos13_or_newer = absent
