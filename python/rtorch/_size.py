"""`rtorch.Size`: a tuple of ints with PyTorch's additions. Made by the extension (rust/python/src/size.rs)."""

import math

_tuple = tuple


class Size(tuple):
    """The sizes of a tensor's dimensions.

    >>> import rtorch
    >>> rtorch.ones(2, 3).shape
    torch.Size([2, 3])
    """

    __slots__ = ()
    __module__ = "rtorch"

    def __new__(cls, sizes=()):
        self = super().__new__(cls, sizes)
        for i, n in enumerate(self):
            if not isinstance(n, int):
                if not hasattr(n, "__index__"):
                    raise TypeError(f"torch.Size() takes an iterable of 'int' (item {i} is '{type(n).__name__}')")
                return super().__new__(cls, (n.__index__() for n in self))
        return self

    def numel(self):
        """The product of the sizes."""
        return math.prod(self)

    def __repr__(self):
        return f"torch.Size([{', '.join(map(str, self))}])"

    __str__ = __repr__

    def __getitem__(self, index):
        item = _tuple.__getitem__(self, index)
        return Size(item) if isinstance(index, slice) else item

    def __add__(self, other):
        if not isinstance(other, tuple):
            return NotImplemented
        return Size(_tuple.__add__(self, other))

    def __radd__(self, other):
        if not isinstance(other, tuple):
            return NotImplemented
        return Size(_tuple.__add__(other, self))

    def __mul__(self, times):
        return Size(_tuple.__mul__(self, times))

    __rmul__ = __mul__

    def __reduce__(self):
        return (Size, (_tuple(self),))
