"""Sequences of different lengths: padding, packing and their inverses."""

import rtorch

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class PackedSequence(tuple):
    """A batch of sequences without padding: (data, batch_sizes, sorted_indices, unsorted_indices).

    data: all steps of the sorted batch one after the other; batch_sizes: how many sequences reach each step.
    """

    __slots__ = ()

    def __new__(cls, data, batch_sizes=None, sorted_indices=None, unsorted_indices=None):
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        if batch_sizes is not None:
            if batch_sizes.device.type != "cpu":
                raise ValueError(
                    "batch_sizes should always be on CPU. Instances of PackedSequence should never be created "
                    "manually. They should be instantiated by functions like pack_sequence and pack_padded_sequences "
                    "in nn.utils.rnn."
                )
            return tuple.__new__(cls, (data, batch_sizes, sorted_indices, unsorted_indices))
        if not (isinstance(data, (list, tuple)) and len(data) == 2):
            raise AssertionError("Expected data to be a list or tuple of length 2")
        return tuple.__new__(cls, (data[0], data[1], sorted_indices, unsorted_indices))

    data = property(lambda self: self[0])
    batch_sizes = property(lambda self: self[1])
    sorted_indices = property(lambda self: self[2])
    unsorted_indices = property(lambda self: self[3])
    _fields = ("data", "batch_sizes", "sorted_indices", "unsorted_indices")

    def __getnewargs__(self):
        return tuple(self)

    def _replace(self, **changes):
        return type(self)(**{**dict(zip(self._fields, self)), **changes})

    def to(self, *args, **kwargs):
        """The same sequence with `data` moved or cast."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        move = {k: v for k, v in kwargs.items() if k not in ("device", "dtype")}
        indices = (None if t is None else t.to(data.device, **move) for t in self[2:])
        return type(self)(data, self.batch_sizes, *indices)

    def cpu(self):
        return self.to(device="cpu")

    def double(self):
        return self.to(dtype=rtorch.double)

    def float(self):
        return self.to(dtype=rtorch.float)

    def half(self):
        return self.to(dtype=rtorch.half)

    def long(self):
        return self.to(dtype=rtorch.long)

    def int(self):
        return self.to(dtype=rtorch.int)

    def short(self):
        return self.to(dtype=rtorch.short)

    def char(self):
        return self.to(dtype=rtorch.int8)

    def byte(self):
        return self.to(dtype=rtorch.uint8)

    def pin_memory(self):
        return self

    def is_pinned(self):
        return False

    @property
    def is_cuda(self):
        return False

    def __repr__(self):
        return "PackedSequence(" + ", ".join(f"{k}={v!r}" for k, v in zip(self._fields, self)) + ")"


def invert_permutation(permutation):
    """The inverse of a permutation of indices (None: None)."""
    if permutation is None:
        return None
    inverse = rtorch.empty_like(permutation)
    inverse.scatter_(0, permutation, rtorch.arange(permutation.numel(), device=permutation.device))
    return inverse


def _lengths(values):
    """Lengths and batch sizes live on the CPU, whatever the default device."""
    return rtorch.tensor(values, dtype=rtorch.int64, device="cpu")


def _batch_sizes(lengths):
    """How many of the (decreasing) lengths reach each step."""
    return [sum(length > t for length in lengths) for t in range(lengths[0])]


def pack_padded_sequence(input, lengths, batch_first=False, enforce_sorted=True):
    """Packs a padded (T, B, *) batch (or (B, T, *)) of sequences with the given lengths.

    enforce_sorted: the lengths must decrease already; else the batch is sorted here and put back when unpacked.

    >>> import rtorch
    >>> from rtorch.nn.utils.rnn import pack_padded_sequence
    >>> pack_padded_sequence(rtorch.tensor([[1, 2, 0], [3, 0, 0]]), [2, 1], batch_first=True).data
    tensor([1, 3, 2])
    """
    lengths = lengths if isinstance(lengths, rtorch.Tensor) else _lengths(lengths)
    if lengths.device.type != "cpu":
        raise RuntimeError(
            "'lengths' argument should be a 1D CPU int64 tensor, but got "
            f"{lengths.dim()}D {lengths.device} {lengths.dtype} tensor"
        )
    sorted_indices = None
    if not enforce_sorted:
        lengths, sorted_indices = rtorch.sort(lengths, descending=True)
        sorted_indices = sorted_indices.to(input.device)
        input = input.index_select(0 if batch_first else 1, sorted_indices)
    sizes = [int(v) for v in lengths.tolist()]
    if input.numel() == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    padded = input.transpose(0, 1) if batch_first else input
    if len(sizes) != padded.size(1):
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(sizes)} (batch_size={padded.size(1)})"
        )
    if any(a < b for a, b in zip(sizes, sizes[1:])):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if you "
            "do not need ONNX exportability."
        )
    if sizes[-1] <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if sizes[0] > padded.size(0):
        raise RuntimeError(f"Expected sequence lengths of at most {padded.size(0)}, but got {sizes[0]}")
    steps = _batch_sizes(sizes)
    data = rtorch.cat([padded[t, :n] for t, n in enumerate(steps)])
    return PackedSequence(data, _lengths(steps), sorted_indices, None)


def pad_packed_sequence(sequence, batch_first=False, padding_value=0.0, total_length=None):
    """The inverse of `pack_padded_sequence`: the padded batch and the lengths."""
    data, batch_sizes, _, unsorted_indices = sequence
    steps = batch_sizes.tolist()
    length = len(steps)
    if total_length is not None:
        if total_length < length:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input, "
                f"but got total_length={total_length} and max sequence length being {length}"
            )
        length = total_length
    rows = []
    for part in data.split(steps):
        missing = steps[0] - part.size(0)
        if missing:
            filler = rtorch.full((missing, *data.shape[1:]), padding_value, dtype=data.dtype, device=data.device)
            part = rtorch.cat([part, filler])
        rows.append(part)
    if length > len(rows):
        filler = rtorch.full((steps[0], *data.shape[1:]), padding_value, dtype=data.dtype, device=data.device)
        rows += [filler] * (length - len(rows))
    padded = rtorch.stack(rows, 1 if batch_first else 0)
    lengths = _lengths([sum(n > b for n in steps) for b in range(steps[0])])
    if unsorted_indices is not None:
        padded = padded.index_select(0 if batch_first else 1, unsorted_indices)
        lengths = lengths[unsorted_indices.cpu()]
    return padded, lengths


def pad_sequence(sequences, batch_first=False, padding_value=0.0, padding_side="right"):
    """Stacks sequences of different lengths (L, *) into (T, B, *) or (B, T, *), filled up with `padding_value`.

    >>> import rtorch
    >>> rtorch.nn.utils.rnn.pad_sequence([rtorch.ones(2), rtorch.ones(1)], batch_first=True)
    tensor([[1., 1.],
            [1., 0.]])
    """
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"padding_side should be one of 'left' or 'right', but got '{padding_side}'.")
    if isinstance(sequences, rtorch.Tensor):
        sequences = sequences.unbind(0)
    elif not hasattr(sequences, "__iter__"):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    sequences = list(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    length = max(s.size(0) for s in sequences)
    trailing = sequences[0].shape[1:]
    rows = []
    for s in sequences:
        missing = length - s.size(0)
        if missing:
            filler = rtorch.full((missing, *trailing), padding_value, dtype=s.dtype, device=s.device)
            s = rtorch.cat([s, filler] if padding_side == "right" else [filler, s])
        rows.append(s)
    return rtorch.stack(rows, 0 if batch_first else 1)


def unpad_sequence(padded_sequences, lengths, batch_first=False):
    """The inverse of `pad_sequence`: a list of sequences."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    return [row[: int(length)] for row, length in zip(padded_sequences, lengths)]


def pack_sequence(sequences, enforce_sorted=True):
    """Packs a list of sequences."""
    lengths = _lengths([s.size(0) for s in sequences])
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences):
    """The inverse of `pack_sequence`: a list of sequences."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
