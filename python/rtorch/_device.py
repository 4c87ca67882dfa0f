"""A device as a decorator: the function runs with it as the default device. The class is the extension's."""

import functools


def decorate(device, func):
    """`func`, run under `with device:`."""

    @functools.wraps(func)
    def run(*args, **kwargs):
        with device:
            return func(*args, **kwargs)

    return run
