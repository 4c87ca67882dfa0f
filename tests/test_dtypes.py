"""Operators in dtypes that their recorded cases do not have: masks, integers and complex numbers, as PyTorch 2.13
answers or refuses them."""

import pytest

import rtorch

HALVES = [rtorch.float16, rtorch.bfloat16]


@pytest.mark.parametrize("size", [1, 4, 801])
def test_masks_are_filled_where_asked_and_kept_elsewhere(size):
    x = rtorch.arange(size) % 2 == 1
    mask = rtorch.arange(size) % 4 < 2
    for value, want in ((True, x | mask), (False, x & ~mask), (10, x | mask), (0.5, x | mask)):
        assert rtorch.equal(x.masked_fill(mask, value), want)
        assert rtorch.equal(x.clone().masked_fill_(mask, value), want)
    assert rtorch.equal(x.masked_fill(mask, rtorch.tensor(True)), x | mask)


def test_complex_numbers_keep_their_imaginary_parts():
    x = rtorch.tensor([1 + 2j, 3])
    rtorch.testing.assert_close(x.logsumexp(0), rtorch.tensor(2.9505 + 0.1297j), atol=1e-4, rtol=1e-4)
    want = rtorch.tensor([1 + 2j, 2.9505 + 0.1297j])
    rtorch.testing.assert_close(x.logcumsumexp(0), want, atol=1e-4, rtol=1e-4)
    got = rtorch.float_power(x[:1], rtorch.tensor([2 + 1j]))
    assert got.dtype is rtorch.complex128
    rtorch.testing.assert_close(got, rtorch.tensor([-1.6401 + 0.2021j]).to(got.dtype), atol=1e-4, rtol=1e-4)
    rtorch.testing.assert_close(rtorch.float_power(x, 2), (x * x).to(rtorch.complex128))
    want = rtorch.tensor([[1, -0.6181 - 0.4673j], [-0.6181 + 0.4673j, 1]])
    got = rtorch.corrcoef(rtorch.tensor([[1, 2j, 3], [3, 5, 9j]]))
    rtorch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    z = rtorch.randn(3, dtype=rtorch.complex128).requires_grad_()
    assert rtorch.autograd.gradcheck(lambda z: z.logsumexp(0), (z,))
    assert rtorch.autograd.gradcheck(lambda z: z.logcumsumexp(0), (z,))


def test_products_of_integers_are_scaled_by_whole_numbers():
    i = rtorch.tensor([3, 4])
    assert rtorch.addcmul(i, i, i, value=3.9).tolist() == [30, 52]
    assert rtorch.addcmul(i, i, i.float(), value=3.5).dtype is rtorch.float32
    assert rtorch.addmv(i, rtorch.eye(2).long(), i, beta=1.9, alpha=0.6).tolist() == [3, 4]
    small = rtorch.ones(3, 2, 2, dtype=rtorch.int32)
    assert rtorch.addbmm(small[0], small, small).dtype is rtorch.int32
    with pytest.raises(RuntimeError, match="integral"):
        rtorch.addr(rtorch.ones(2, 2).long(), i, i, beta=0.5)
    with pytest.raises(RuntimeError, match="1-D"):
        rtorch.addr(rtorch.ones(2, 2), rtorch.tensor(1.0), rtorch.ones(2))
    reduced = small[0].index_reduce(0, rtorch.tensor([0, 1]), small[1], "mean")
    assert reduced.dtype is rtorch.int32 and reduced.tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("dtype", [rtorch.int8, rtorch.int32, rtorch.int64])
def test_covariances_of_integers(dtype):
    x = rtorch.tensor([[1, 2, 3], [3, 5, 9]], dtype=dtype)
    rtorch.testing.assert_close(rtorch.cov(x), rtorch.tensor([[1, 3], [3, 9.3333]]), atol=1e-4, rtol=1e-4)
    rtorch.testing.assert_close(rtorch.corrcoef(x), rtorch.tensor([[1, 0.9820], [0.9820, 1]]), atol=1e-4, rtol=1e-4)
    with pytest.raises(RuntimeError, match="bool"):
        rtorch.cov(x > 1)
    with pytest.raises(RuntimeError, match="sum to zero"):
        rtorch.cov(x, fweights=rtorch.zeros(3, dtype=rtorch.int64))


def test_masked_reductions_of_integers():
    x, mask = rtorch.tensor([[1, 3], [2, 5]], dtype=rtorch.int32), rtorch.tensor([[True, False], [True, True]])
    assert rtorch.masked.median(x, 0, mask=mask).tolist() == [1, 5]
    assert rtorch.masked.cumsum(x, 0, mask=mask).dtype is rtorch.int32
    assert rtorch.masked.cumprod(x, 0, mask=mask).dtype is rtorch.int32
    with pytest.raises(ValueError, match="fully masked"):
        rtorch.masked.median(x, 0, mask=mask & False)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_extremes_refuse_what_has_no_order(name):
    for x in (rtorch.ones(3, dtype=rtorch.bool), rtorch.ones(3, dtype=rtorch.complex64)):
        with pytest.raises(RuntimeError, match="does not support"):
            getattr(rtorch, name)(x)


@pytest.mark.parametrize("dtype", HALVES)
def test_factorisations_have_no_kernels_of_16_bits(dtype):
    a, linalg = rtorch.eye(3, dtype=dtype), rtorch.linalg
    for f in (linalg.cholesky, linalg.eigh, linalg.eigvals, linalg.qr, linalg.lu_factor, linalg.svdvals):
        with pytest.raises(NotImplementedError):
            f(a)
    with pytest.raises(RuntimeError, match="Low precision") as caught:
        linalg.inv(a)
    assert type(caught.value) is RuntimeError


@pytest.mark.parametrize(
    "size, options, want",
    [
        ((3, 3), {"mode": "bilinear", "align_corners": True}, [[0, 20, 39], [78, 98, 117], [156, 176, 195]]),
        ((3, 3), {"mode": "bicubic"}, [[9, 27, 44], [80, 98, 115], [151, 169, 186]]),
        ((3, 3), {"mode": "bilinear", "antialias": True}, [[20, 36, 51], [82, 98, 113], [144, 160, 175]]),
        ((2, 6), {"mode": "bilinear"}, [[26, 33, 41, 50, 59, 65], [130, 137, 145, 154, 163, 169]]),
    ],
)
def test_pixels_are_resized_as_bytes(size, options, want):
    x = (rtorch.arange(16).reshape(1, 1, 4, 4) * 13 % 251).to(rtorch.uint8)
    got = rtorch.nn.functional.interpolate(x, size, **options)
    assert got.dtype is rtorch.uint8
    assert (got[0, 0].int() - rtorch.tensor(want)).abs().max() <= 1


def test_bounds_of_masks_are_masks():
    a, b = rtorch.tensor([True, True, False, False]), rtorch.tensor([True, False, True, False])
    assert a.clamp(min=b).tolist() == a.clamp_min(b).tolist() == [True, True, True, False]
    assert a.clamp(max=b).tolist() == a.clamp_max(b).tolist() == [True, False, False, False]
    for refused in (lambda: a.clamp(b, b), lambda: a.clamp_min(True)):
        with pytest.raises(NotImplementedError):
            refused()


def test_the_factor_of_added_rows_takes_their_dtype():
    at = rtorch.tensor([0])
    whole = rtorch.tensor([2, 3], dtype=rtorch.int32)
    got = whole.index_add(0, at, rtorch.tensor([5], dtype=rtorch.int32), alpha=1.5)
    assert got.dtype is rtorch.int32 and got.tolist() == [7, 3]
    mask = rtorch.tensor([False, False])
    assert mask.index_add(0, at, rtorch.tensor([True]), alpha=-1).tolist() == [True, False]


def test_means_of_small_integers_keep_their_dtype():
    x, at = rtorch.ones(3, dtype=rtorch.int8), rtorch.tensor([0, 0, 2])
    got = x.scatter_reduce(0, at, rtorch.tensor([4, 5, 6], dtype=rtorch.int8), "mean")
    assert got.dtype is rtorch.int8 and got.tolist() == [3, 1, 3]


def test_sums_of_complex_exponentials():
    a, b = rtorch.tensor([1 + 2j, -3 + 0.5j]), rtorch.tensor([-3 + 0.5j, 0.25j])
    assert rtorch.allclose(rtorch.logaddexp(a, b), (a.exp() + b.exp()).log(), atol=1e-6)
    low = rtorch.tensor([complex(-float("inf"), 0)])
    assert rtorch.logaddexp(low, low).real.item() == -float("inf")
    assert rtorch.logaddexp(rtorch.tensor([1000 + 1j]), b[:1]).tolist() == [1000 + 1j]
    x = a.to(rtorch.complex128).requires_grad_()
    assert rtorch.autograd.gradcheck(rtorch.logaddexp, (x, b.to(rtorch.complex128)))


def test_copies_in_another_shape():
    x = rtorch.arange(6).reshape(2, 3).t()
    assert rtorch.view_copy(x, (6,)).tolist() == [0, 3, 1, 4, 2, 5]
    with pytest.raises(RuntimeError):
        rtorch.view_copy(x, (4,))
