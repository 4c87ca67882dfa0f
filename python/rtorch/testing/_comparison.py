"""assert_close: tensors, numbers, sequences and mappings compared with a tolerance of their dtype."""

import rtorch

__all__ = ["assert_close"]

# (rtol, atol) by dtype name, PyTorch's own.
_TOLERANCES = {
    "float16": (1e-3, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
    "complex32": (1e-3, 1e-5),
    "complex64": (1.3e-6, 1e-5),
    "complex128": (1e-7, 1e-7),
}


class _Pair:
    """The options of one comparison and the path to what is compared now."""

    def __init__(self, options, path=()):
        self.options, self.path = options, path

    def inner(self, key):
        return _Pair(self.options, (*self.path, key))

    def fail(self, message, error=AssertionError):
        if self.path:
            where = "".join(f"[{key!r}]" for key in self.path)
            message = f"{message}\n\nThe failure occurred for item {where}"
        msg = self.options["msg"]
        if error is AssertionError and msg is not None:
            message = msg(message) if callable(msg) else msg
        raise error(message)


def _name(dtype):
    return str(dtype).split(".")[-1]


def _tolerances(pair, *dtypes):
    rtol, atol = pair.options["rtol"], pair.options["atol"]
    if (rtol is None) != (atol is None):
        given, missing = ("rtol", "atol") if atol is None else ("atol", "rtol")
        raise ValueError(
            f"rtol and atol must both be specified or both be unspecified, but got no {missing} and {given}="
            f"{rtol if atol is None else atol}"
        )
    if rtol is not None:
        return rtol, atol
    found = [_TOLERANCES.get(_name(d), (0.0, 0.0)) for d in dtypes]
    return max(r for r, _ in found), max(a for _, a in found)


def _check_attributes(pair, actual, expected):
    if actual.shape != expected.shape:
        pair.fail(f"The values for attribute 'shape' do not match: {actual.shape} != {expected.shape}.")
    checked = [("device", pair.options["check_device"]), ("dtype", pair.options["check_dtype"])]
    for name, wanted in checked:
        a, b = getattr(actual, name), getattr(expected, name)
        if wanted and a != b:
            pair.fail(f"The values for attribute '{name}' do not match: {a} != {b}.")
    if pair.options["check_stride"] and actual.stride() != expected.stride():
        pair.fail(f"The values for attribute 'stride()' do not match: {actual.stride()} != {expected.stride()}.")


def _comparable(actual, expected):
    """Both on the CPU in a common dtype, integers as int64 and small floats as they are."""
    actual, expected = actual.detach().cpu(), expected.detach().cpu()
    dtype = rtorch.promote_types(actual.dtype, expected.dtype)
    return actual.to(dtype), expected.to(dtype)


def _mismatch_message(actual, expected, matches, rtol, atol):
    bad = ~matches
    count, total = int(bad.sum()), bad.numel()
    wide = rtorch.complex128 if actual.is_complex() else rtorch.float64
    a, e = actual.to(wide), expected.to(wide)
    absolute = (a - e).abs()
    relative = absolute / e.abs()
    shape = tuple(actual.shape)
    closeness = "equal" if rtol == 0 and atol == 0 else "close"

    def worst(values):
        values = rtorch.where(bad, values, rtorch.zeros_like(values)).reshape(-1)
        at = int(values.argmax())
        index = []
        for size in reversed(shape):
            index.append(at % size)
            at //= size
        flat = values.max().item()
        return flat, tuple(reversed(index))

    if actual.dim() == 0:
        first = f"Scalars are not {closeness}!\n\nExpected {expected.item()} but got {actual.item()}."
        return (
            f"{first}\nAbsolute difference: {absolute.item()} (up to {atol} allowed)\n"
            f"Relative difference: {relative.item()} (up to {rtol} allowed)"
        )
    (a_worst, a_at), (r_worst, r_at) = worst(absolute), worst(relative)
    text = f"Tensor-likes are not {closeness}!\n\nMismatched elements: {count} / {total} ({count / total:.1%})\n"
    if closeness == "equal":
        return (
            f"{text}Greatest absolute difference: {a_worst} at index {a_at}\n"
            f"Greatest relative difference: {r_worst} at index {r_at}"
        )
    return (
        f"{text}Greatest absolute difference: {a_worst} at index {a_at} (up to {atol} allowed)\n"
        f"Greatest relative difference: {r_worst} at index {r_at} (up to {rtol} allowed)"
    )


def _compare_tensors(pair, actual, expected):
    _check_attributes(pair, actual, expected)
    rtol, atol = _tolerances(pair, actual.dtype, expected.dtype)
    actual, expected = _comparable(actual, expected)
    if actual.dtype == rtorch.bool or not (actual.is_floating_point() or actual.is_complex()):
        if rtol or atol:
            wide = [t.to(rtorch.float64) for t in (actual, expected)]
            matches = rtorch.isclose(*wide, rtol=rtol, atol=atol)
        else:
            matches = actual == expected
    else:
        matches = rtorch.isclose(actual, expected, rtol=rtol, atol=atol, equal_nan=pair.options["equal_nan"])
    if not bool(matches.all()):
        pair.fail(_mismatch_message(actual, expected, matches, rtol, atol))


def _is_number(value):
    return isinstance(value, (bool, int, float, complex)) or type(value).__module__ == "numpy" and value.ndim == 0


def _compare(pair, actual, expected):
    if isinstance(actual, rtorch.Tensor) and isinstance(expected, rtorch.Tensor):
        related = isinstance(expected, type(actual)) or isinstance(actual, type(expected))
        if not pair.options["allow_subclasses"] and not related:
            pair.fail("Subclasses are not allowed", TypeError)
        return _compare_tensors(pair, actual, expected)
    if isinstance(actual, dict) and isinstance(expected, dict):
        if actual.keys() != expected.keys():
            missing, extra = sorted(expected.keys() - actual.keys()), sorted(actual.keys() - expected.keys())
            pair.fail(
                f"The keys of the mappings do not match:\nMissing keys in the actual mapping: {missing}\n"
                f"Additional keys in the actual mapping: {extra}"
            )
        for key in actual:
            _compare(pair.inner(key), actual[key], expected[key])
        return None
    if isinstance(actual, (list, tuple)) and isinstance(expected, (list, tuple)):
        if len(actual) != len(expected):
            pair.fail(f"The length of the sequences mismatch: {len(actual)} != {len(expected)}")
        for i, (a, e) in enumerate(zip(actual, expected)):
            _compare(pair.inner(i), a, e)
        return None
    return _compare_others(pair, actual, expected)


def _compare_others(pair, actual, expected):
    """Numbers, arrays and whatever `as_tensor` takes; numbers compare in their widest type."""
    if actual is None or expected is None:
        if actual is not expected:
            pair.fail(f"None mismatch: {actual} is not {expected}")
        return
    if _is_number(actual) and _is_number(expected):
        if pair.options["check_dtype"] and type(actual) is not type(expected):
            pair.fail(f"The (d)types do not match: {type(actual)} != {type(expected)}.")
        a, e = rtorch.tensor(actual), rtorch.tensor(expected)
        wide = [t if t.dtype == rtorch.bool else t.to(rtorch.float64) if not t.is_complex() else t for t in (a, e)]
        return _compare_tensors(_Pair({**pair.options, "check_dtype": False}, pair.path), *wide)
    unable = TypeError(f"No comparison pair was able to handle inputs of type {type(actual)} and {type(expected)}.")
    if not (isinstance(actual, type(expected)) or isinstance(expected, type(actual))):
        raise unable
    try:
        a, e = rtorch.as_tensor(actual), rtorch.as_tensor(expected)
    except (TypeError, ValueError, RuntimeError):
        raise unable from None
    _compare_tensors(pair, a, e)


def assert_close(
    actual,
    expected,
    *,
    allow_subclasses=True,
    rtol=None,
    atol=None,
    equal_nan=False,
    check_device=True,
    check_dtype=True,
    check_layout=True,
    check_stride=False,
    msg=None,
):
    """Raises AssertionError unless |actual - expected| <= atol + rtol * |expected| everywhere.

    Without rtol and atol the tolerances follow the dtype. Sequences and mappings are compared item by item.

    >>> import rtorch
    >>> rtorch.testing.assert_close(rtorch.tensor([1.0]), rtorch.tensor([1.0 + 1e-7]))
    """
    options = {
        "allow_subclasses": allow_subclasses,
        "rtol": rtol,
        "atol": atol,
        "equal_nan": equal_nan,
        "check_device": check_device,
        "check_dtype": check_dtype,
        "check_layout": check_layout,
        "check_stride": check_stride,
        "msg": msg,
    }
    _compare(_Pair(options), actual, expected)
