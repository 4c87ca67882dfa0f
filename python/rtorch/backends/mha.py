"""Whether inference of transformer layers may take PyTorch's shortcuts: seen in the zeros that padding gives."""

__all__ = ["get_fastpath_enabled", "set_fastpath_enabled"]

_enabled = True


def get_fastpath_enabled():
    """Whether `TransformerEncoder` leaves padding out where PyTorch does; True until it is set."""
    return _enabled


def set_fastpath_enabled(value):
    """Sets what `get_fastpath_enabled` answers."""
    global _enabled
    _enabled = bool(value)
