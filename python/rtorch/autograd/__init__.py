"""`rtorch.autograd`: backward and grad, custom functions, modes and checks. The engine is the Rust core's."""

import warnings

import rtorch
from rtorch import _C

from . import anomaly_mode, function, grad_mode
from .anomaly_mode import detect_anomaly, set_detect_anomaly
from .function import Function, NestedIOFunction
from .grad_mode import enable_grad, enforce_grad_layout_policy, inference_mode, no_grad, set_grad_enabled
from .grad_mode import set_multithreading_enabled
from .gradcheck import GradcheckError, gradcheck, gradgradcheck

__all__ = [
    "Function",
    "GradcheckError",
    "Variable",
    "anomaly_mode",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "enforce_grad_layout_policy",
    "forward_ad",
    "function",
    "functional",
    "grad",
    "grad_mode",
    "gradcheck",
    "gradgradcheck",
    "inference_mode",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
]

_Tensor = _C.Tensor
Variable = _Tensor


def __getattr__(name):
    # What training does not need is imported when first asked for.
    import importlib

    if name in ("forward_ad", "functional", "graph", "profiler"):
        return importlib.import_module(f"rtorch.autograd.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def variable(*args, **kwargs):
    """Raises: the old way to make a tensor."""
    raise RuntimeError("torch.autograd.variable(...) is deprecated, use torch.tensor(...) instead")


def _tensors(value):
    return (value,) if isinstance(value, _Tensor) or not hasattr(value, "__iter__") else tuple(value)


def _seeds(outputs, grads, is_grads_batched=False):
    """One gradient per output: the caller's, checked, or None (which the engine takes as one)."""
    if grads is None:
        return (None,) * len(outputs)
    grads = _tensors(grads)
    if len(grads) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(grads)} gradients")
    for i, (out, grad) in enumerate(zip(outputs, grads)):
        if grad is None:
            continue
        if not isinstance(grad, _Tensor):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(grad).__name__}")
        if not is_grads_batched and grad.shape != out.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{i}] has a shape of {grad.shape} and output[{i}] has a shape of "
                f"{out.shape}."
            )
        if out.is_complex() != grad.is_complex():
            raise RuntimeError(
                "For complex Tensors, both grad_output and output are required to have the same dtype. Mismatch in "
                f"dtype: grad_output has a dtype of {grad.dtype} and output has a dtype of {out.dtype}."
            )
    return grads


def backward(tensors, grad_tensors=None, retain_graph=None, create_graph=False, grad_variables=None, inputs=None):
    """Accumulates the gradients of `tensors` into the leaves of their graph (or into `inputs` alone).

    >>> import rtorch
    >>> x = rtorch.ones(2, requires_grad=True)
    >>> rtorch.autograd.backward((x * 3).sum())
    >>> x.grad
    tensor([3., 3.])
    """
    if grad_variables is not None:
        grad_tensors = grad_variables
    if inputs is not None and not isinstance(inputs, _Tensor) and len(inputs) == 0:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    tensors = _tensors(tensors)
    wanted = () if inputs is None else _tensors(inputs)
    keep = create_graph if retain_graph is None else retain_graph
    _C._run_backward(tensors, _seeds(tensors, grad_tensors), keep, create_graph, wanted, True, True)


def grad(
    outputs,
    inputs,
    grad_outputs=None,
    retain_graph=None,
    create_graph=False,
    only_inputs=True,
    allow_unused=None,
    is_grads_batched=False,
    materialize_grads=False,
):
    """The gradients of `outputs` with respect to `inputs`, as a tuple; nothing is accumulated.

    >>> import rtorch
    >>> x = rtorch.ones(2, requires_grad=True)
    >>> rtorch.autograd.grad((x * 3).sum(), x)
    (tensor([3., 3.]),)
    """
    if not only_inputs:
        warnings.warn(
            "only_inputs argument is deprecated and is ignored now (defaults to True). To accumulate gradient for "
            "other parts of the graph, please use torch.autograd.backward.",
            FutureWarning,
            stacklevel=2,
        )
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    if allow_unused is None:
        allow_unused = materialize_grads
    outputs, inputs = _tensors(outputs), _tensors(inputs)
    keep = create_graph if retain_graph is None else retain_graph
    seeds = _seeds(outputs, grad_outputs, is_grads_batched)
    if is_grads_batched:
        rows = [
            _C._run_backward(outputs, row, True, create_graph, inputs, allow_unused, False)
            for row in zip(*(s.unbind(0) for s in seeds))
        ]
        found = tuple(None if column[0] is None else rtorch.stack(column) for column in zip(*rows))
    else:
        found = _C._run_backward(outputs, seeds, keep, create_graph, inputs, allow_unused, False)
    if materialize_grads:
        found = tuple(rtorch.zeros_like(i) if g is None else g for g, i in zip(found, inputs))
    return tuple(found)
