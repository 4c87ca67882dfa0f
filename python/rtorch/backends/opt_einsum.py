"""`torch.backends.opt_einsum`: not used by rtorch, whose einsum contracts from left to right."""

from rtorch.backends._switch import absent

is_available = absent
enabled = False
strategy = None


def get_opt_einsum():
    """None: the package is not used."""
    return None
