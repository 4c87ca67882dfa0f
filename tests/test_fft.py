"""rtorch.fft, stft and istft against NumPy's transforms and against themselves."""

import os
import subprocess
import sys

import numpy as np
import pytest

import rtorch
from rtorch import fft

NORMS = ["backward", "ortho", "forward", None]
LAYOUTS = {
    "contiguous": lambda a: a,
    "transposed": lambda a: a.t().contiguous().t(),
    "sliced": lambda a: rtorch.cat([a, a], 1)[:, : a.size(1)],
    "stepped": lambda a: a.repeat_interleave(2, 1)[:, ::2],
    "broadcast": lambda a: a[:1].expand(a.shape),
}


def signal(*shape, dtype=rtorch.float64):
    rtorch.manual_seed(3)
    return rtorch.randn(*shape, dtype=dtype)


def close(got, want, tol=1e-10):
    assert got.shape == want.shape
    np.testing.assert_allclose(got.detach().numpy(), want, rtol=tol, atol=tol * max(1, np.abs(want).max(initial=0)))


@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"])
@pytest.mark.parametrize("norm", NORMS)
def test_one_dimension(name, norm):
    real, full = signal(4, 6), signal(4, 6, dtype=rtorch.complex128)
    x = real if name in ("rfft", "ihfft") else full
    for n in (None, 1, 4, 5, 9):
        for dim in (-1, 0):
            got = getattr(fft, name)(x, n, dim, norm)
            close(got, getattr(np.fft, name)(x.numpy(), n, dim, norm))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    x = LAYOUTS[layout](signal(5, 7))
    z = LAYOUTS[layout](signal(5, 7, dtype=rtorch.complex128))
    for dim in (0, 1):
        close(fft.rfft(x, dim=dim), np.fft.rfft(x.numpy(), axis=dim))
        close(fft.fft(z, dim=dim), np.fft.fft(z.numpy(), axis=dim))
        close(fft.irfft(z, dim=dim), np.fft.irfft(z.numpy(), axis=dim))


# lengths of small factors, which are transformed many lines at once, and others; up to the longest and beyond
SHORT = [*range(1, 33), 35, 49, 60, 64, 96, 105, 128, 135, 192, 210, 243, 250, 252, 256, 257, 300, 512]


@pytest.mark.modes
@pytest.mark.parametrize("lines", [1, 3, 4, 8, 37])
def test_lengths_and_numbers_of_lines(lines):
    for n in SHORT:
        z = signal(lines, n, dtype=rtorch.complex128)
        for x, dim in ((z, 1), (z.t(), 0), (z.t().contiguous(), 0)):
            want = np.fft.fft(z.numpy(), axis=1)
            close(fft.fft(x, dim=dim), want if dim else want.T)
            close(fft.ifft(x, dim=dim), np.fft.ifft(x.numpy(), axis=dim))
            close(fft.rfft(x.real, dim=dim), np.fft.rfft(x.real.numpy(), axis=dim))
            close(fft.irfft(x, n, dim=dim), np.fft.irfft(x.numpy(), n, axis=dim))
        single = fft.fft(z.to(rtorch.complex64))
        close(single, np.fft.fft(z.to(rtorch.complex64).numpy()), 2e-6 * max(1, np.log2(n)))


@pytest.mark.modes
@pytest.mark.parametrize("n", [2, 10, 21, 60, 128, 256])
def test_a_line_does_not_see_its_neighbours(n):
    z, x = signal(37, n, dtype=rtorch.complex64), signal(37, n, dtype=rtorch.float32)
    z[3, 0], x[5, n // 2] = float("inf"), float("nan")
    cases = [(fft.fft, z), (fft.ifft, z), (fft.rfft, x), (lambda a, dim: fft.irfft(a, n, dim=dim), z)]
    for function, a in cases:
        whole = rtorch.view_as_real(function(a, dim=1)) if function is not cases[3][0] else function(a, dim=1)
        assert whole.isfinite().flatten(1).all(1).sum() >= 36  # the line that has one, no other
        for first, last in ((0, 5), (3, 37), (30, 36)):
            part = function(a[first:last], dim=1)
            across = function(a[first:last].t().contiguous(), dim=0).t()
            for got in (part, across):
                got = rtorch.view_as_real(got) if got.is_complex() else got
                assert got.equal(whole[first:last]) or got.nan_to_num(7).equal(whole[first:last].nan_to_num(7))


def test_capabilities_give_the_same_bits():
    program = (
        "import hashlib, rtorch; h = hashlib.sha256(); rtorch.manual_seed(1)\n"
        "for dtype in (rtorch.float32, rtorch.float64):\n"
        "    for n in (3, 7, 10, 16, 60, 64, 105, 256):\n"
        "        x = rtorch.randn(19, n, dtype=dtype); z = rtorch.fft.rfft(x)\n"
        "        h.update(z.numpy().tobytes() + rtorch.fft.irfft(z, n).numpy().tobytes())\n"
        "        h.update(rtorch.fft.fft(z).numpy().tobytes())\n"
        "print(h.hexdigest())"
    )

    def digest(**mode):
        return subprocess.run([sys.executable, "-c", program], env={**os.environ, **mode}, capture_output=True).stdout

    plain = digest()
    assert len(plain) > 64
    assert plain == digest(RTORCH_CPU_CAPABILITY="baseline") == digest(OMP_NUM_THREADS="1")


@pytest.mark.parametrize("name", ["fftn", "ifftn", "rfftn", "irfftn", "fft2", "ifft2", "rfft2", "irfft2"])
@pytest.mark.parametrize("norm", NORMS)
def test_several_dimensions(name, norm):
    x = signal(3, 4, 5) if name.startswith("r") else signal(3, 4, 5, dtype=rtorch.complex128)
    for s, dim in ((None, (0, 2)), ((4, 3), (1, 0)), ((2, 6), (-2, -1))):
        close(getattr(fft, name)(x, s, dim, norm), getattr(np.fft, name)(x.numpy(), s, dim, norm))


def test_hermitian_transforms_are_inverse_to_each_other():
    x = signal(4, 6)
    for name in ("hfft2", "hfftn"):
        half = getattr(fft, "i" + name)(x)
        close(getattr(fft, name)(half, s=x.shape), x.numpy())


def test_single_precision_and_integers():
    x = signal(1000, dtype=rtorch.float32)
    got = fft.rfft(x)
    assert got.dtype == rtorch.complex64
    close(got, np.fft.rfft(x.numpy().astype(np.float64)), 2e-6)
    assert fft.fft(rtorch.arange(4)).dtype == rtorch.complex64
    with pytest.raises(RuntimeError, match="Unsupported dtype Half"):
        fft.fft(x.half())


def test_empty_batches_and_scalars():
    assert fft.fft(rtorch.zeros(0, 3)).shape == (0, 3)
    assert fft.rfft(rtorch.zeros(2, 0, 3)).shape == (2, 0, 2)
    assert fft.fftn(rtorch.tensor(2.0)).item() == 2
    with pytest.raises(IndexError, match="tensor has no dimensions"):
        fft.fft(rtorch.tensor(1.0))


def test_gradients():
    real, full = signal(3, 5), signal(3, 5, dtype=rtorch.complex128)
    cases = [
        (real, lambda x: fft.rfft(x, 8)),
        (real, lambda x: fft.rfftn(x, norm="ortho")),
        (real, lambda x: fft.ihfft(x, dim=0)),
        (full, lambda x: fft.fft(x, 4)),
        (full, fft.ifftn),
        (full, lambda x: fft.irfft(x, 7)),
        (full, lambda x: fft.irfftn(x, s=(2, 6))),
        (full, lambda x: fft.hfft(x, norm="forward")),
    ]
    for x, f in cases:
        leaf = x.clone().requires_grad_()
        assert rtorch.autograd.gradcheck(f, (leaf,))
        assert rtorch.autograd.gradgradcheck(f, (leaf,))


def test_frequencies_and_shifts():
    for n in (1, 4, 5):
        close(fft.fftfreq(n, 0.5, dtype=rtorch.float64), np.fft.fftfreq(n, 0.5))
        close(fft.rfftfreq(n, 2.0, dtype=rtorch.float64), np.fft.rfftfreq(n, 2.0))
    x = signal(4, 5)
    for dim in (None, 0, (0, 1)):
        close(fft.fftshift(x, dim), np.fft.fftshift(x.numpy(), dim))
        close(fft.ifftshift(x, dim), np.fft.ifftshift(x.numpy(), dim))


def test_out():
    x, out = signal(6), rtorch.empty(0, dtype=rtorch.complex128)
    assert fft.fft(x, out=out) is out
    close(out, np.fft.fft(x.numpy()))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: fft.fft(x, n=0), RuntimeError, "Invalid number of data points"),
        (lambda x: fft.fft(x, norm="bad"), RuntimeError, 'Invalid normalization mode: "bad"'),
        (lambda x: fft.rfft(x + 0j), RuntimeError, "rfft expects a real input tensor, but got ComplexDouble"),
        (lambda x: fft.fftn(x, dim=(0, 0)), RuntimeError, "FFT dims must be unique"),
        (lambda x: fft.fft(x, dim=3), IndexError, "Dimension out of range"),
        (lambda x: fft.fftn(x, s=(2, 2, 2)), RuntimeError, "Got shape with 3 values but input tensor only has 2"),
        (lambda x: fft.fftn(x, s=(2,), dim=(0, 1)), RuntimeError, "must have the same length"),
        (lambda x: fft.rfftn(x, dim=()), RuntimeError, "rfftn must transform at least one axis"),
        (lambda x: fft.irfft(x[:, :1] + 0j), RuntimeError, "Invalid number of data points"),
        (lambda x: rtorch.stft(x[0], 80, return_complex=True, center=False), RuntimeError, "expected 0 < n_fft"),
        (lambda x: rtorch.stft(x[0], 4), RuntimeError, "requires the return_complex parameter"),
    ],
)
def test_refusals(call, error, text):
    with pytest.raises(error, match=text.replace("(", r"\(").replace(")", r"\)")):
        call(signal(4, 6))


@pytest.mark.parametrize("onesided", [True, False])
@pytest.mark.parametrize(("length", "hop"), [(16, 4), (12, 3)])
def test_short_time_transforms_come_back(onesided, length, hop):
    x = signal(2, 100)
    window = rtorch.hann_window(length, dtype=rtorch.float64)
    arguments = {"n_fft": 16, "hop_length": hop, "win_length": length, "window": window, "onesided": onesided}
    spectrum = rtorch.stft(x, **arguments, return_complex=True)
    assert spectrum.shape == (2, 9 if onesided else 16, 1 + 100 // hop)
    back = rtorch.istft(spectrum, **arguments, length=100)
    close(back, x.numpy())
    # frame 5 is the transform of the windowed samples around 5 * hop
    start = 5 * hop - 8
    frame = x[0, start : start + 16].numpy() * np.pad(window.numpy(), (16 - length) // 2)
    want = np.fft.rfft(frame) if onesided else np.fft.fft(frame)
    close(spectrum[0, :, 5], want)


def test_istft_needs_windows_that_cover():
    spectrum = rtorch.stft(signal(40), 8, window=rtorch.ones(8).double(), return_complex=True)
    with pytest.raises(RuntimeError, match="window overlap add min"):
        rtorch.istft(spectrum, 8, window=rtorch.zeros(8).double())
