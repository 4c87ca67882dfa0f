"""Reductions of values that are computed while they are read, medians of what is not NaN, and shifts of whole dims."""

import itertools
import math

import numpy as np
import pytest

import rtorch

SIZES = [0, 1, 16, 17, 63, 255, 257, 1023, 4097, 8191, 8192, 8193, 20000, 100_003]


@pytest.mark.modes
@pytest.mark.parametrize("dtype", [rtorch.float32, rtorch.float64, rtorch.bfloat16, rtorch.int64])
def test_squares_are_summed_as_written_ones_are(dtype):
    rtorch.manual_seed(0)
    for n in SIZES:
        x = (rtorch.randn(n, dtype=rtorch.float64) * 5).to(dtype)
        rows = x[: n // 4 * 4].reshape(4, -1)
        row = rows[1:2].expand(4, -1)
        for a, dims in ((x, None), (rows, 1), (rows, 0), (rows.t(), 0), (row, 1), (x[::3], None), (x.flip(0), None)):
            written = a.square().clone()
            written.data_ptr()
            more = {} if dims is None else {"dim": dims}
            for got, wanted in (
                (a.square().sum(**more), written.sum(**more)),
                (a.square().sum(**more, dtype=rtorch.float64), written.sum(**more, dtype=rtorch.float64)),
            ):
                assert got.dtype == wanted.dtype and rtorch.equal(got, wanted), (n, a.shape, dims)
    special = rtorch.tensor([1e200, math.inf, -math.inf, math.nan, -0.0, 5e-324] * 5000, dtype=rtorch.float64)
    assert special[:1].expand(20000).square().sum() == math.inf and special.square().sum().isnan()


@pytest.mark.modes
@pytest.mark.parametrize("dtype", [rtorch.float32, rtorch.float64, rtorch.int32, rtorch.int64])
def test_a_prologue_is_summed_as_its_bytes_are(dtype):
    """However a value is cut in tiles, the order of its sum is that of the same value in memory."""
    rtorch.manual_seed(0)
    scale = rtorch.tensor(3, dtype=dtype)  # one element that every tile reads
    for n in SIZES:
        x = (rtorch.randn(n, dtype=rtorch.float64) * 5).to(dtype)
        rows = x[: n // 4 * 4].reshape(4, -1)
        for a, dims in ((x, None), (rows, 1), (rows, 0), (rows.t(), 0), (x[::3], None)):
            value = a * scale + 1
            written = value.clone()
            written.data_ptr()
            for name in ("sum", "prod", "mean", "amax") if dtype.is_floating_point else ("sum", "prod"):
                if name == "amax" and not a.numel():
                    continue
                more = [] if dims is None else [dims]
                got = getattr(a * scale + 1, name)(*more)
                assert got.equal(getattr(written, name)(*more)) or got.isnan().any()
    if dtype.is_floating_point:
        x = rtorch.randn(20000, dtype=dtype)
        x[::7] = math.nan
        kept = x.nan_to_num(0.0)
        assert x.nansum().equal(kept.sum())
        assert x[::3].reshape(-1, 1).nansum(0).equal(kept[::3].reshape(-1, 1).sum(0))


@pytest.mark.parametrize("dtype", [rtorch.float32, rtorch.float64, rtorch.float16])
def test_nanmedian(dtype):
    rtorch.manual_seed(0)
    plain = rtorch.randn(6, 5, 7).to(dtype)
    few, rows, none = plain.clone(), plain.clone(), rtorch.full((2, 3), math.nan, dtype=dtype)
    few[1, 2, 3] = few[4, 0, 0] = math.nan  # lines of different lengths
    rows[:, :2] = math.nan  # the same number in every line of dim 1
    for x in (plain, few, rows, rows.transpose(0, 2), few[:, ::2]):
        for dim in (0, 1, -1):
            values, index = x.nanmedian(dim)
            lines = np.moveaxis(x.double().numpy(), dim, -1)
            for at in np.ndindex(values.shape):
                line = np.sort(lines[at][~np.isnan(lines[at])])
                want = line[(len(line) - 1) // 2] if len(line) else math.nan
                assert values[at].item() == want or math.isnan(want) and values[at].isnan()
            assert x.gather(dim, index.unsqueeze(dim)).squeeze(dim).nan_to_num(9).equal(values.nan_to_num(9))
        assert x.nanmedian().item() == x.flatten().nanmedian(0).values.item()
    assert none.nanmedian().isnan() and none.nanmedian(1).indices.tolist() == [0, 0]
    leaf = few.clone().requires_grad_()
    leaf.nanmedian(2).values.sum().backward()
    assert leaf.grad.sum().item() == 30 and leaf.grad.isnan().sum() == 0
    mapped = rtorch.func.vmap(lambda a: a.nanmedian(0).values)(few)
    assert mapped.equal(few.nanmedian(1).values)


@pytest.mark.parametrize("shifts, dims", [(3, 0), ((1, -2), (0, 2)), ((2, 2), (1, 1)), (5, None), ((0, 7), (0, 1))])
def test_roll(shifts, dims):
    x = rtorch.arange(60.0).reshape(3, 4, 5)
    for a in (x, x.transpose(0, 2), x[:, 1:3]):
        want = np.roll(a.numpy(), shifts, dims)
        leaf, weights = a.clone().requires_grad_(), rtorch.arange(a.numel() * 1.0).reshape(a.shape)
        got = leaf.roll(shifts, dims)
        assert (got.detach().numpy() == want).all()
        (got * weights).sum().backward()
        back = [-s for s in shifts] if isinstance(shifts, tuple) else -shifts
        assert (leaf.grad.numpy() == np.roll(weights.numpy(), back, dims)).all()
    assert x[:, :0].roll(1, 1).shape == (3, 0, 5)


def test_mantissas_and_exponents():
    for dtype, small in ((rtorch.float32, 1e-41), (rtorch.float64, 3e-310)):
        x = rtorch.tensor([0.0, -0.0, 1, -3, small, -small, math.inf, -math.inf, math.nan, 0.75, 1e30], dtype=dtype)
        for a in (x, x[::2], x.reshape(-1, 1).expand(-1, 3), x[:0], x.repeat(9000)):
            mantissa, exponent = rtorch.frexp(a)
            want, power = np.frexp(a.numpy())
            np.testing.assert_array_equal(mantissa.numpy(), want)
            finite = np.isfinite(a.numpy())
            assert exponent.dtype == rtorch.int32 and (exponent.numpy()[finite] == power[finite]).all()


def test_ones_on_a_diagonal_and_ranges():
    for n, m in ((0, 0), (0, 3), (1, 1), (3, 5), (5, 3), (300, 300)):
        for dtype in (rtorch.float32, rtorch.bool, rtorch.int8, rtorch.complex64, rtorch.bfloat16):
            assert rtorch.eye(n, m, dtype=dtype).to(rtorch.int64).tolist() == np.eye(n, m).astype(int).tolist()
    for start, end, step in ((0, 70_000, 1), (5, -9000, -7), (2**40, 2**40 + 3000, 3)):
        assert rtorch.arange(start, end, step).tolist() == list(range(start, end, step))
    assert (rtorch.arange(9000).reshape(90, 100).t() == rtorch.tensor(np.arange(9000).reshape(90, 100).T)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool", "float16"])
@pytest.mark.parametrize("shape", [(5, 3, 4), (200, 31, 5), (40, 33, 5), (500, 2, 2, 3), (2, 90, 3, 7), (9, 8, 65)])
def test_short_rows_and_few_columns(shape, dtype):
    rng = np.random.default_rng(0)
    a = (rng.standard_normal(shape) * 3).astype(dtype) if dtype != "bool" else rng.random(shape) > 0.4
    backwards = np.ascontiguousarray(a.T)
    order = range(len(shape) - 1, -1, -1)
    tolerance = {"float16": 2e-2, "float32": 1e-4}.get(dtype, 1e-10)
    cases = ((rtorch.tensor(a), a), (rtorch.tensor(backwards).permute(*order), a), (rtorch.tensor(a)[::2], a[::2]))
    for (x, b), k in itertools.product(cases, range(1, len(shape))):
        for axes in itertools.combinations(range(len(shape)), k):
            close = lambda got, want: np.allclose(got.numpy(), want, rtol=tolerance, atol=10 * tolerance)
            assert close(x.sum(axes), b.astype("float64").sum(axes))
            assert (x.any(axes).numpy() == (b != 0).any(axes)).all()
            if dtype != "bool":
                assert (x.amax(axes).numpy() == b.max(axes)).all()
            if dtype.startswith("float"):
                assert close(x.mean(axes), b.astype("float64").mean(axes))
            if dtype in ("float32", "float64"):
                assert close(x.var(axes, correction=0), b.astype("float64").var(axes))
        for axis in range(len(shape)):
            values, positions = x.max(axis)
            assert (values.numpy() == b.max(axis)).all() and (positions.numpy() == b.argmax(axis)).all()
