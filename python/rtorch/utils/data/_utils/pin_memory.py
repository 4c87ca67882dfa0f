"""Page-locked memory speeds up copies to some GPUs. wgpu stages its uploads itself, so there is nothing to pin: objects
with a `pin_memory` method of their own are asked, tensors stay where they are."""

import warnings

__all__ = ["warn_of_pinning"]


def warn_of_pinning():
    """Says that `pin_memory=True` of a loader changes nothing."""
    warnings.warn(
        "'pin_memory' argument is set as true but no accelerator is found, then device pinned memory won't be used.",
        stacklevel=4,
    )
