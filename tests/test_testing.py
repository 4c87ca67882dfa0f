"""rtorch.testing: what assert_close lets pass, what it says, and make_tensor."""

import pytest

import rtorch
from rtorch.testing import assert_close, make_tensor


def test_assert_close_passes():
    assert_close(rtorch.tensor([1.0]), rtorch.tensor([1.0 + 1e-7]))
    assert_close({"a": [1, 2.0]}, {"a": [1, 2.0]})
    assert_close(rtorch.tensor([float("nan")]), rtorch.tensor([float("nan")]), equal_nan=True)
    assert_close(1.0, 1.0 + 1e-9)


@pytest.mark.parametrize(
    ("actual", "expected", "text"),
    [
        (lambda: rtorch.tensor([1.0, 2.0]), lambda: rtorch.tensor([1.0, 3.0]), "Mismatched elements: 1 / 2 (50.0%)"),
        (lambda: rtorch.tensor([1]), lambda: rtorch.tensor([2]), "Tensor-likes are not equal!"),
        (lambda: rtorch.ones(2), lambda: rtorch.ones(3), "The values for attribute 'shape' do not match"),
        (lambda: rtorch.ones(1), lambda: rtorch.ones(1).double(), "The values for attribute 'dtype' do not match"),
        (lambda: [1, 2], lambda: [1], "The length of the sequences mismatch: 2 != 1"),
        (lambda: {"k": [1.0]}, lambda: {"k": [2.0]}, "The failure occurred for item ['k'][0]"),
        (lambda: rtorch.tensor(1.0), lambda: rtorch.tensor(2.0), "Scalars are not close!"),
    ],
)
def test_assert_close_says_what_differs(actual, expected, text):
    with pytest.raises(AssertionError) as error:
        assert_close(actual(), expected())
    assert text in str(error.value)


def test_tolerances_come_in_pairs():
    with pytest.raises(ValueError, match="must both be specified"):
        assert_close(rtorch.ones(1), rtorch.ones(1), rtol=0.1)
    assert_close(rtorch.ones(1), rtorch.ones(1) * 1.05, rtol=0.1, atol=0.0)


def test_make_tensor():
    t = make_tensor((3, 4), dtype=rtorch.float32, device="cpu", low=1, high=2, requires_grad=True)
    assert t.shape == (3, 4) and float(t.min()) >= 1.0 and float(t.max()) <= 2.0 and t.requires_grad
    assert not make_tensor(3, 4, dtype=rtorch.int64, device="cpu", noncontiguous=True).is_contiguous()
    assert not bool((make_tensor(100, dtype=rtorch.int8, device="cpu", exclude_zero=True) == 0).any())
