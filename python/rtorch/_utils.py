"""Helpers under the name that programs know from PyTorch (`torch._utils`): exceptions that cross processes."""

import sys
import traceback

__all__ = ["ExceptionWrapper", "KeyErrorMessage"]


class KeyErrorMessage(str):
    """A KeyError's message, which is shown as it is: KeyError shows the `repr` of what it is given."""

    def __repr__(self):
        return self


class ExceptionWrapper:
    """The exception that is being handled, with its traceback as text, so that another process can raise it."""

    def __init__(self, exc_info=None, where="in background"):
        kind, value, trace = sys.exc_info() if exc_info is None else exc_info
        self.exc_type = kind
        self.exc_msg = "".join(traceback.format_exception(kind, value, trace))
        self.where = where

    def reraise(self):
        """Raises it here: the same class, the message telling where it comes from."""
        message = f"Caught {self.exc_type.__name__} {self.where}.\nOriginal {self.exc_msg}"
        if self.exc_type is KeyError:
            message = KeyErrorMessage(message)
        elif getattr(self.exc_type, "message", None):
            raise self.exc_type(message=message)
        try:
            exception = self.exc_type(message)
        except Exception:
            # a class that wants other arguments
            raise RuntimeError(message) from None
        raise exception


def _flatten_dense_tensors(tensors):
    """All tensors, of one dtype, one after the other in one of a single dimension."""
    import rtorch

    return rtorch.cat([t.reshape(-1) for t in tensors])


def _unflatten_dense_tensors(flat, tensors):
    """Views of `flat` with the shapes of `tensors`, in their order."""
    parts = flat.split([t.numel() for t in tensors])
    return tuple(part.view(t.shape) for part, t in zip(parts, tensors))
