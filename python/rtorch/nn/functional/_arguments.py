"""What the functions check of their tensors before they compute, with PyTorch's exception classes: that they are
tensors, and of a dtype that the function has a meaning for; and sizes given once or for each dimension."""

import functools
import inspect

import rtorch


def tensors(*names):
    """Refuses what is no tensor among the arguments `names`, the function's first, by a TypeError."""

    def decorate(f):
        given = list(inspect.signature(f).parameters)[: len(names)]
        assert given == list(names), (f.__name__, names)

        @functools.wraps(f)
        def called(*args, **kwargs):
            for i, name in enumerate(names):
                x = args[i] if i < len(args) else kwargs.get(name, called)
                if not isinstance(x, rtorch.Tensor) and x is not called and not hasattr(x, "__torch_function__"):
                    raise TypeError(
                        f"{f.__name__}(): argument '{name}' (position {i + 1}) must be Tensor, not {type(x).__name__}"
                    )
            return f(*args, **kwargs)

        return called

    return decorate


def scalar_type(dtype):
    """The name of a dtype in PyTorch's messages: float32 is Float, int64 is Long."""
    return rtorch.empty(0, dtype=dtype, device="meta").type().rpartition(".")[2].removesuffix("Tensor")


def floating(kernel, *given):
    """Refuses tensors that are not of floating point, as PyTorch's `kernel` does."""
    for x in given:
        if not x.is_floating_point():
            raise NotImplementedError(f"\"{kernel}\" not implemented for '{scalar_type(x.dtype)}'")


def castable(common, wanted):
    """Refuses a result of dtype `common` that must be written as `wanted` and cannot be."""
    if not rtorch.can_cast(common, wanted):
        raise RuntimeError(
            f"result type {scalar_type(common)} can't be cast to the desired output type {scalar_type(wanted)}"
        )


def promoted(*given):
    """The tensors in their common dtype."""
    dtype = functools.reduce(rtorch.promote_types, (x.dtype for x in given))
    return [x.to(dtype) for x in given]


def per_dimension(value, n):
    """One value for all of `n` dimensions, or one for each, as a list."""
    return list(value) if hasattr(value, "__iter__") else [value] * n
