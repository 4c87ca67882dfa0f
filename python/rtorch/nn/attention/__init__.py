"""`rtorch.nn.attention`: how `scaled_dot_product_attention` may be computed.

rtorch has two ways: one fused kernel that never holds the matrix of scores, which answers for PyTorch's flash and
memory-efficient kernels, and the plain composition (MATH). By default the fused one runs. The layer is
`nn.MultiheadAttention`, the function in functional/attention.py.
"""

import contextlib
import enum

from rtorch.nn.functional import attention as _functional

__all__ = [
    "SDPBackend",
    "WARN_FOR_UNFUSED_KERNELS",
    "activate_flash_attention_impl",
    "current_flash_attention_impl",
    "list_flash_attention_impls",
    "register_flash_attention_impl",
    "restore_flash_attention_impl",
    "sdpa_kernel",
]

# Warns where attention runs as the plain composition though it was not asked for.
WARN_FOR_UNFUSED_KERNELS = False


class SDPBackend(enum.IntEnum):
    """Kernels of attention, as PyTorch numbers them."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


_FUSED = frozenset((SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION))


def _chosen(backends, in_order):
    """The function that computes attention with the first of these backends that rtorch has."""
    for backend in backends if in_order else sorted(backends, key=lambda b: b not in _FUSED):
        if backend in _FUSED:
            return _functional.fused_attention
        if backend is SDPBackend.MATH:
            return _functional.composed_attention
    return _functional.no_attention


@contextlib.contextmanager
def sdpa_kernel(backends, set_priority=False):
    """Inside, attention is computed by one of these backends (one `SDPBackend` or a list).

    set_priority: the list is in order of preference. Attention raises a RuntimeError where rtorch has none of them.

    >>> import rtorch
    >>> q = rtorch.ones(1, 2, 4)
    >>> with sdpa_kernel(SDPBackend.MATH):
    ...     y = rtorch.nn.functional.scaled_dot_product_attention(q, q, q)
    >>> y.shape
    torch.Size([1, 2, 4])
    """
    if isinstance(backends, SDPBackend):
        backends = [backends]
    elif not isinstance(backends, list):
        raise AssertionError("Backend must be an instance of SDPBackend or a list of SDPBackend instances")
    backends = list(dict.fromkeys(backends))
    for b in backends:
        if not isinstance(b, SDPBackend):
            raise AssertionError("Backend must be an instance of SDPBackend or a list of SDPBackend instances")
    before = _functional.set_attention(_chosen(backends, set_priority))
    try:
        yield {}
    finally:
        _functional.set_attention(before)


_registered = {}
_active = None


def register_flash_attention_impl(impl, *, register_fn):
    """Keeps `register_fn` for `activate_flash_attention_impl(impl)`: it answers a function with the arguments of
    `scaled_dot_product_attention`, which then computes it."""
    _registered[impl] = register_fn


def activate_flash_attention_impl(impl):
    """Attention is computed by a registered implementation from here on."""
    global _active
    if impl not in _registered:
        raise ValueError(f"Unknown flash attention impl '{impl}'. Available implementations: {list(_registered)}")
    _functional.set_attention(_registered[impl]())
    _active = impl


def restore_flash_attention_impl(_raise_warn=True):
    """Attention is computed by rtorch's own kernel again."""
    global _active
    if _active is None and _raise_warn:
        import warnings

        warnings.warn("Trying to restore default FA2 impl when no custom impl was activated", stacklevel=2)
    _functional.set_attention(None)
    _active = None


def list_flash_attention_impls():
    """Names of the registered implementations."""
    return sorted(_registered)


def current_flash_attention_impl():
    """The active implementation; None: rtorch's own."""
    return _active


def __getattr__(name):
    if name == "flex_attention":  # imported when first asked for
        import importlib

        return importlib.import_module("rtorch.nn.attention.flex_attention")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
