"""What the modules of devices that rtorch does not have (`xpu`, `mps`, `mtia`) have in common."""


def refusing(package, names):
    """Functions that raise and name the device that there is."""

    def one(name):
        def call(*args, **kwargs):
            raise RuntimeError(
                f"torch.{package}.{name}(): rtorch has no {package} device. Its GPU device is 'wgpu': see rtorch.wgpu"
            )

        call.__name__ = call.__qualname__ = name
        call.__doc__ = f"Raises: there is no {package} device."
        return call

    return {name: one(name) for name in names.split()}


def no(*args, **kwargs):
    """False: there is no such device."""
    return False


def zero(*args, **kwargs):
    """0: there is no such device."""
    return 0


def nothing(*args, **kwargs):
    """Nothing to do: there is no such device."""
