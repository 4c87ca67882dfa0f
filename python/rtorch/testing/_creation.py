"""make_tensor: a random tensor of any dtype, for tests."""

import rtorch

__all__ = ["make_tensor"]


def make_tensor(
    *shape,
    dtype,
    device,
    low=None,
    high=None,
    requires_grad=False,
    noncontiguous=False,
    exclude_zero=False,
    memory_format=None,
):
    """A tensor of `shape` with values from [low, high); by default [-9, 9] for numbers (from 0 for unsigned).

    >>> import rtorch
    >>> rtorch.testing.make_tensor((2, 3), dtype=rtorch.float32, device="cpu").shape
    torch.Size([2, 3])
    """
    if len(shape) == 1 and hasattr(shape[0], "__iter__"):
        shape = tuple(shape[0])
    if noncontiguous and memory_format is not None:
        raise ValueError("The parameters `noncontiguous` and `memory_format` are mutually exclusive.")
    wanted = (*shape[:-1], 2 * shape[-1]) if noncontiguous and shape and shape[-1] > 1 else shape
    if dtype == rtorch.bool:
        if not 0 <= (0 if low is None else low) < (2 if high is None else high) <= 2:
            raise ValueError(
                f"The value interval specified by `low` and `high` is [{low}, {high}), but torch.bool only supports "
                "[0, 2)"
            )
        result = rtorch.randint(0, 2, wanted, device=device).to(dtype)
    elif dtype.is_floating_point or dtype.is_complex:
        low, high = (-9.0 if low is None else low), (9.0 if high is None else high)
        if low >= high:
            raise ValueError(f"`low` must be less than `high`, but got {low} >= {high}")
        if dtype.is_complex:
            parts = [rtorch.empty(wanted, device=device).uniform_(low, high) for _ in range(2)]
            result = rtorch.complex(*parts).to(dtype)
        else:
            result = rtorch.empty(wanted, device=device, dtype=rtorch.float64).uniform_(low, high).to(dtype)
    else:
        unsigned = dtype == rtorch.uint8
        low, high = ((0 if unsigned else -9) if low is None else low), (10 if high is None else high)
        if low >= high:
            raise ValueError(f"`low` must be less than `high`, but got {low} >= {high}")
        result = rtorch.randint(int(low), int(high), wanted, device=device).to(dtype)
    if wanted != shape:
        result = result[..., ::2]
    if exclude_zero:
        result = rtorch.where(result == 0, rtorch.ones_like(result), result)
    if memory_format is not None:
        result = result.clone(memory_format=memory_format)
    if requires_grad and not (dtype.is_floating_point or dtype.is_complex):
        raise ValueError(f"`requires_grad` must be False for integral or boolean dtypes, but got dtype={dtype}")
    return result.requires_grad_(requires_grad) if requires_grad else result
