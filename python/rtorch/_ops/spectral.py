"""Short-time Fourier transforms: frames, windows and `rtorch.fft`.

Source: J. B. Allen, L. R. Rabiner, "A unified approach to short-time Fourier analysis and synthesis" (1977); the
inverse is the least-squares one of D. W. Griffin, J. S. Lim, "Signal estimation from modified short-time Fourier
transform" (1984).
"""

from __future__ import annotations

import math
import warnings

import rtorch
from rtorch._ops._register import one_node, op

# A sum of squared windows below this cannot be divided by.
_LEAST_OVERLAP = 1e-11


def _call(name, x, type_prefix, **arguments):
    """The call as PyTorch writes it in messages."""

    def text(v):
        if isinstance(v, rtorch.Tensor):
            return f"{rtorch.typename(v)}{{[{', '.join(map(str, v.shape))}]}}"
        return str(int(v)) if isinstance(v, bool) else str(v)

    shape = ", ".join(map(str, x.shape))
    return f"{name}({type_prefix}[{shape}], {', '.join(f'{k}={text(v)}' for k, v in arguments.items())})"


def _warn_window(what):
    warnings.warn(
        f"A window was not provided. A rectangular window will be applied{what}To suppress this warning and use a "
        "rectangular window, explicitly set `window=torch.ones(n_fft, device=<device>)`.",
        stacklevel=4,
    )


def _whole_window(window, n_fft, win_length, like):
    """The window in the middle of a frame; ones where there is none."""
    if window is None:
        real = rtorch.zeros((), dtype=like.dtype).real.dtype if like.is_complex() else like.dtype
        window = rtorch.ones(win_length, dtype=real, device=like.device)
    if win_length == n_fft:
        return window
    left = (n_fft - win_length) // 2
    return rtorch.nn.functional.pad(window, (left, n_fft - win_length - left))


@op()
def stft(
    input,
    n_fft,
    hop_length=None,
    win_length=None,
    window=None,
    center=True,
    pad_mode="reflect",
    normalized=False,
    onesided=None,
    return_complex=None,
    align_to_window=None,
):
    """Fourier transforms of windowed frames of a signal, `hop_length` (n_fft // 4) samples apart.

    Shapes: (*, time) with at most one dimension before time -> (*, bins, frames), complex; bins is n_fft // 2 + 1 where
    `onesided` (the default for real signals), else n_fft. `center` pads both ends by n_fft // 2 samples (`pad_mode`),
    so that frame t is centred on sample t * hop_length. `normalized` divides by sqrt(n_fft).
    Raises RuntimeError for other shapes, and where window or lengths do not fit.
    """
    if not isinstance(input, rtorch.Tensor):
        raise TypeError(f"stft(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    if center:
        if align_to_window is not None:
            raise RuntimeError("stft align_to_window should only be set when center = false.")
        half = int(n_fft // 2)
        extended = input.reshape((1,) * (3 - input.dim()) + tuple(input.shape)) if input.dim() < 3 else input
        if input.dim() < 3:
            input = rtorch.nn.functional.pad(extended, (half, half), pad_mode).reshape(
                *input.shape[:-1], input.size(-1) + 2 * half
            )
    hop = n_fft // 4 if hop_length is None else hop_length
    length = n_fft if win_length is None else win_length

    def fail(text):
        call = _call(
            "stft",
            input,
            rtorch.typename(input),
            n_fft=n_fft,
            hop_length=hop,
            win_length=length,
            window=window,
            normalized=normalized,
            onesided=onesided,
            return_complex=return_complex,
            align_to_window=align_to_window,
        )
        raise RuntimeError(f"{call} : expected {text}")

    complex_in = input.is_complex() or (window is not None and window.is_complex())
    if return_complex is None:
        if not complex_in:
            raise RuntimeError(
                "stft requires the return_complex parameter be given for real inputs, and will further require that "
                "return_complex=True in a future PyTorch release."
            )
        return_complex = True
    if not (input.is_floating_point() or input.is_complex()):
        fail("a tensor of floating point or complex values")
    if not 1 <= input.dim() <= 2:
        fail("a 1D or 2D tensor")
    if not 0 < n_fft <= input.size(-1):
        fail(f"0 < n_fft < {input.size(-1)}, but got n_fft={n_fft}")
    if hop <= 0:
        fail(f"hop_length > 0, but got hop_length={hop}")
    if not 0 < length <= n_fft:
        fail(f"0 < win_length <= n_fft, but got win_length={length}")
    if window is not None and (window.dim() != 1 or window.size(0) != length):
        fail(f"a 1D window tensor of size equal to win_length={length}, but got window with size {list(window.shape)}")
    if window is None:
        _warn_window(
            ",which is known to cause spectral leakage. Other windows such as torch.hann_window or "
            "torch.hamming_window are recommended to reduce spectral leakage."
        )
    onesided = not complex_in if onesided is None else onesided
    if onesided and complex_in:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    frames = input.unfold(-1, n_fft, hop)
    if window is not None or length < n_fft:
        frames = frames * _whole_window(window, n_fft, length, input)
    norm = "ortho" if normalized else None
    bins = (rtorch.fft.rfft if onesided else rtorch.fft.fft)(frames, dim=-1, norm=norm)
    node = "TransposeBackward1" if input.dim() > 1 else "SqueezeBackward4"
    spectrum = one_node(node, bins, bins.transpose(-1, -2))
    return spectrum if return_complex else rtorch.view_as_real(spectrum)


def _frames(spectrum, n_fft, norm, onesided, return_complex):
    """The frames (* x frames x n_fft) that spectra (* x frames x bins) stand for."""
    if return_complex:
        return rtorch.fft.ifft(spectrum, n_fft, norm=norm)
    if onesided:
        return rtorch.fft.irfft(spectrum, n_fft, norm=norm)
    return rtorch.fft.ifft(spectrum, n_fft, norm=norm).real


def _overlap_add(frames, hop, total):
    """The sum (* x total) of frames (* x frames x size) that start `hop` samples after each other."""
    count, size = frames.shape[-2:]
    places = (rtorch.arange(count) * hop).unsqueeze(1) + rtorch.arange(size)
    zeros = rtorch.zeros(*frames.shape[:-2], total, dtype=frames.dtype, device=frames.device)
    return zeros.index_add(-1, places.reshape(-1).to(frames.device), frames.reshape(*frames.shape[:-2], -1))


@op()
def istft(
    input,
    n_fft,
    hop_length=None,
    win_length=None,
    window=None,
    center=True,
    normalized=False,
    onesided=None,
    length=None,
    return_complex=False,
):
    """The signal whose `stft` is nearest to `input`: frames are transformed back, windowed, added where they overlap,
    and divided by the sum of the squared windows.

    Shapes: (*, bins, frames) complex -> (*, time). `length` cuts or pads the result. Raises RuntimeError where windows
    leave samples without weight, and where sizes do not fit.
    """
    hop = n_fft // 4 if hop_length is None else hop_length
    size = n_fft if win_length is None else win_length

    def call():
        kind = "CPUComplexDoubleType" if input.dtype == rtorch.complex128 else "CPUComplexFloatType"
        return _call(
            "istft",
            input,
            kind,
            n_fft=n_fft,
            hop_length=hop,
            win_length=size,
            window=window,
            center=center,
            normalized=normalized,
            onesided=onesided,
            length=length,
            return_complex=return_complex,
        )

    def fail(text):
        raise RuntimeError(f"{call()} : expected {text}")

    if not input.is_complex():
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with return_complex=True."
        )
    if input.numel() == 0:
        fail("a non-empty tensor")
    if input.dim() not in (2, 3):
        if input.dim() < 2:
            raise IndexError(f"Dimension out of range (expected to be in range of [{-input.dim() - 1}, {input.dim()}], "
                             f"but got {-3})")  # fmt: skip
        fail(f"a tensor with 3 or 4 dimensions, but got {input.dim() + 1}")
    if not 0 < hop <= size:
        fail("0 < hop_length <= win_length")
    if not 0 < size <= n_fft:
        fail("0 < win_length <= n_fft")
    bins = input.size(-2)
    onesided = bins != n_fft if onesided is None else onesided
    if bins != (n_fft // 2 + 1 if onesided else n_fft):
        wanted = "n_fft / 2 + 1 when onesided=True" if onesided else "n_fft when onesided=False"
        fail(f"the frequency dimension (3rd to the last) of the input tensor to match {wanted}, but got {bins}")
    if window is not None and (window.dim() != 1 or window.size(0) != size):
        fail(f"window must be a 1D tensor of size equal to win_length={size}")
    if return_complex and onesided:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    if window is None:
        _warn_window(".Please provide the same window used by stft to make the inversion lossless.")
    frames = _frames(input.transpose(-1, -2), n_fft, "ortho" if normalized else None, onesided, return_complex)
    weights = _whole_window(window, n_fft, size, frames)
    count = frames.size(-2)
    total = n_fft + hop * (count - 1)
    signal = _overlap_add(frames * weights, hop, total)
    envelope = _overlap_add((weights * weights).expand(count, n_fft), hop, total)
    start = n_fft // 2 if center else 0
    end = total
    if length is not None:
        end = min(total, start + length)
    elif center:
        end = total - n_fft // 2
    signal, envelope = signal[..., start:end], envelope[start:end]
    least = envelope.abs().min().item() if envelope.numel() else math.inf
    if not least > _LEAST_OVERLAP:
        raise RuntimeError(f"{call()} window overlap add min: 1")
    signal = signal / envelope
    if length is not None and length > end - start:
        warnings.warn(
            "The length of signal is shorter than the length parameter. Result is being padded with zeros in the tail. "
            "Please check your center and hop_length settings.",
            stacklevel=3,
        )
        signal = rtorch.nn.functional.pad(signal, (0, length - (end - start)))
    return signal
