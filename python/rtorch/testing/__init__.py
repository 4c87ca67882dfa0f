"""`rtorch.testing`: assert_close, make_tensor for random test inputs, FileCheck for texts."""

import warnings

from ._comparison import assert_close
from ._creation import make_tensor
from ._file_check import FileCheck

__all__ = ["FileCheck", "assert_allclose", "assert_close", "make_tensor"]


def assert_allclose(actual, expected, rtol=None, atol=None, equal_nan=True, msg=""):
    """`assert_close` with NaNs equal and dtypes not compared; PyTorch's older form, which warns."""
    warnings.warn(
        "`torch.testing.assert_allclose()` is deprecated since 1.12 and will be removed in a future release. Please "
        "use `torch.testing.assert_close()` instead.",
        FutureWarning,
        stacklevel=2,
    )
    import rtorch

    actual, expected = (x if isinstance(x, rtorch.Tensor) else rtorch.tensor(x) for x in (actual, expected))
    if rtol is None and atol is None:
        # of the two dtypes' tolerances the wider
        wide = {rtorch.float16: (1e-3, 1e-3), rtorch.float32: (1e-4, 1e-5), rtorch.float64: (1e-5, 1e-8)}
        pairs = [wide.get(x.dtype, (0.0, 0.0)) for x in (actual, expected)]
        rtol, atol = (max(p) for p in zip(*pairs))
    assert_close(
        actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan, check_device=True, check_dtype=False,
        check_stride=False, msg=msg or None,
    )  # fmt: skip
