"""Factories: ranges and windows, what they answer and what they refuse."""

import math

import pytest

import rtorch
from rtorch.signal import windows

WINDOWS = ["bartlett", "blackman", "cosine", "exponential", "gaussian", "general_hamming", "hamming", "hann", "kaiser"]


def test_ranges_take_the_dtype_of_out():
    for start, end, step in [(0, 64, 1.5), (0, 6.5, 2), (0.5, 3.7, 1), (5, 0, -2.5)]:
        want = list(range(int(start), int(end), int(step)))
        out = rtorch.empty(0, dtype=rtorch.int64)
        assert rtorch.arange(start, end, step, out=out) is out and out.tolist() == want
        assert rtorch.arange(start, end, step, dtype=rtorch.int64).tolist() == want
    # of smaller integers only what is stored is a whole number
    assert rtorch.arange(0, 3, 0.5, dtype=rtorch.int32).tolist() == [0] * 6
    assert rtorch.arange(0, 6, 1.5, out=rtorch.empty(0, dtype=rtorch.float16)).tolist() == [0, 1.5, 3, 4.5]
    assert rtorch.zeros(2, out=rtorch.empty(2, dtype=rtorch.int8)).tolist() == [0, 0]
    assert rtorch.full((2,), 7, out=rtorch.empty(2)).tolist() == [7.0, 7.0]


def test_ranges_refuse():
    whole = rtorch.empty(0, dtype=rtorch.int64)
    with pytest.raises(RuntimeError, match="step must be nonzero"):
        rtorch.arange(0, 3, 0)
    with pytest.raises(ValueError, match="step must be nonzero"):
        rtorch.arange(0, 64, 0.5, out=whole)
    with pytest.raises(ValueError, match="step must be nonzero"):
        rtorch.arange(0, 64, 0.5, dtype=rtorch.int64)
    with pytest.raises(RuntimeError, match="inconsistent with step sign"):
        rtorch.arange(0, 6, -0.5, out=whole)
    with pytest.raises(RuntimeError, match="without overflow"):
        rtorch.arange(0, 1e30, dtype=rtorch.int64)
    with pytest.raises(RuntimeError, match="unsupported range"):
        rtorch.arange(0, math.nan, dtype=rtorch.int64)
    with pytest.raises(RuntimeError, match=r"dtype Int does not match dtype of out parameter \(Float\)"):
        rtorch.arange(0, 6, 2, dtype=rtorch.int32, out=rtorch.empty(3))
    for dtype in (rtorch.bool, rtorch.complex64):
        with pytest.raises(NotImplementedError, match="arange_cpu"):
            rtorch.arange(0, 6, 2, out=rtorch.empty(3, dtype=dtype))


@pytest.mark.parametrize("name", WINDOWS)
def test_windows(name):
    f = getattr(windows, name)
    for m in (0, 1, 2, 7):
        w = f(m, dtype=rtorch.float64)
        assert w.shape == (m,) and w.dtype is rtorch.float64
        assert rtorch.allclose(w, w.flip(0))  # symmetric
        # a period of the window that is one longer
        assert m < 2 or rtorch.allclose(f(m, sym=False, dtype=rtorch.float64), f(m + 1, dtype=rtorch.float64)[:m])
    assert f(3, device="meta").device.type == "meta"
    assert f(3, requires_grad=True).requires_grad
    with pytest.raises(ValueError, match=f"{name} is implemented for strided tensors only, got"):
        f(3, layout=rtorch.sparse_coo)
    with pytest.raises(ValueError, match=f"{name} expects float32 or float64 dtypes"):
        f(3, dtype=rtorch.bfloat16)
    with pytest.raises(ValueError, match=f"{name} requires non-negative window length, got M=-1"):
        f(-1)
    with pytest.raises(TypeError):
        f(3, colour="blue")
    with pytest.raises(TypeError):
        f(3.5)


def test_window_values():
    assert rtorch.allclose(windows.hann(5), rtorch.tensor([0, 0.5, 1, 0.5, 0]))
    assert rtorch.allclose(windows.general_cosine(3, a=[0.5, 0.5]), rtorch.tensor([0.0, 1.0, 0.0]))
    with pytest.raises(TypeError):
        windows.general_cosine(3, a=3)
    with pytest.raises(ValueError):
        windows.general_cosine(3, a=[])


@pytest.mark.parametrize("name", ["hann", "hamming", "blackman", "bartlett", "kaiser"])
def test_older_windows(name):
    f, new = getattr(rtorch, name + "_window"), getattr(windows, name)
    assert rtorch.allclose(f(6), new(6, sym=False))
    assert rtorch.allclose(f(6, periodic=False), new(6))
    for dtype in (rtorch.float16, rtorch.bfloat16, rtorch.float64):
        assert f(5, dtype=dtype).dtype is dtype
    with pytest.raises(RuntimeError, match="expects floating point dtypes"):
        f(3, dtype=rtorch.int64)
    with pytest.raises(RuntimeError, match="not implemented for sparse types"):
        f(3, layout=rtorch.sparse_coo)
    with pytest.raises(RuntimeError, match="non-negative window_length"):
        f(-1)
    with pytest.raises(TypeError):
        f(3, colour="blue")
