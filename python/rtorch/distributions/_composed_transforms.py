"""Transforms made of other transforms: one after another, over more dimensions, side by side. The base class and the
elementwise ones are in transforms.py."""

import rtorch

from . import constraints
from .transforms import Transform, summed_jacobian
from .utils import _sum_rightmost

__all__ = ["CatTransform", "ComposeTransform", "IndependentTransform", "StackTransform", "identity_transform"]


class ComposeTransform(Transform):
    """The parts one after another, the first first; no part is the identity.

    >>> import rtorch
    >>> from rtorch.distributions.transforms import AffineTransform, ExpTransform
    >>> ComposeTransform([AffineTransform(0.0, 2.0), ExpTransform()])(rtorch.tensor(0.0))
    tensor(1.)
    """

    def __init__(self, parts, cache_size=0):
        if cache_size:
            parts = [part.with_cache(cache_size) for part in parts]
        super().__init__(cache_size=cache_size)
        self.parts = parts

    def __eq__(self, other):
        return isinstance(other, ComposeTransform) and self.parts == other.parts

    __hash__ = object.__hash__

    def _end(self, first, last, parts):
        """The constraint where the chain begins, widened to the dimensions that the chain as a whole needs; `first` and
        `last` name the two sides of a part as seen from there."""
        if not parts:
            return constraints.real
        here = getattr(parts[0], first)
        event_dim = getattr(parts[-1], last).event_dim
        for part in reversed(parts):
            event_dim += getattr(part, first).event_dim - getattr(part, last).event_dim
            event_dim = max(event_dim, getattr(part, first).event_dim)
        if event_dim > here.event_dim:
            here = constraints.independent(here, event_dim - here.event_dim)
        return here

    @constraints.dependent_property(is_discrete=False)
    def domain(self):
        return self._end("domain", "codomain", self.parts)

    @constraints.dependent_property(is_discrete=False)
    def codomain(self):
        return self._end("codomain", "domain", self.parts[::-1])

    @property
    def bijective(self):
        return all(p.bijective for p in self.parts)

    @property
    def sign(self):
        sign = 1
        for p in self.parts:
            sign = sign * p.sign
        return sign

    @property
    def inv(self):
        import weakref

        inv = self._inv() if self._inv is not None else None
        if inv is None:
            inv = ComposeTransform([p.inv for p in reversed(self.parts)])
            self._inv = weakref.ref(inv)
            inv._inv = weakref.ref(self)
        return inv

    def with_cache(self, cache_size=1):
        return self if self._cache_size == cache_size else ComposeTransform(self.parts, cache_size=cache_size)

    def __call__(self, x):
        for part in self.parts:
            x = part(x)
        return x

    def log_abs_det_jacobian(self, x, y):
        if not self.parts:
            return rtorch.zeros_like(x)
        points = [x]
        for part in self.parts[:-1]:
            points.append(part(points[-1]))
        points.append(y)
        total, event_dim = 0, self.domain.event_dim
        for part, here, there in zip(self.parts, points, points[1:]):
            total = total + summed_jacobian(part, here, there, event_dim)
            event_dim += part.codomain.event_dim - part.domain.event_dim
        return total

    def forward_shape(self, shape):
        for part in self.parts:
            shape = part.forward_shape(shape)
        return shape

    def inverse_shape(self, shape):
        for part in reversed(self.parts):
            shape = part.inverse_shape(shape)
        return shape

    def __repr__(self):
        return type(self).__name__ + "(\n    " + ",\n    ".join(repr(p) for p in self.parts) + "\n)"


identity_transform = ComposeTransform([])


class IndependentTransform(Transform):
    """A transform whose `reinterpreted_batch_ndims` last batch dimensions become part of the event."""

    def __init__(self, base_transform, reinterpreted_batch_ndims, cache_size=0):
        super().__init__(cache_size=cache_size)
        self.base_transform = base_transform.with_cache(cache_size)
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims

    def _rebuilt(self, cache_size):
        return IndependentTransform(self.base_transform, self.reinterpreted_batch_ndims, cache_size=cache_size)

    @constraints.dependent_property(is_discrete=False)
    def domain(self):
        return constraints.independent(self.base_transform.domain, self.reinterpreted_batch_ndims)

    @constraints.dependent_property(is_discrete=False)
    def codomain(self):
        return constraints.independent(self.base_transform.codomain, self.reinterpreted_batch_ndims)

    @property
    def bijective(self):
        return self.base_transform.bijective

    @property
    def sign(self):
        return self.base_transform.sign

    def _call(self, x):
        if x.dim() < self.domain.event_dim:
            raise ValueError("Too few dimensions on input")
        return self.base_transform(x)

    def _inverse(self, y):
        if y.dim() < self.codomain.event_dim:
            raise ValueError("Too few dimensions on input")
        return self.base_transform.inv(y)

    def log_abs_det_jacobian(self, x, y):
        return _sum_rightmost(self.base_transform.log_abs_det_jacobian(x, y), self.reinterpreted_batch_ndims)

    def __repr__(self):
        return f"{type(self).__name__}({self.base_transform!r}, {self.reinterpreted_batch_ndims})"

    def forward_shape(self, shape):
        return self.base_transform.forward_shape(shape)

    def inverse_shape(self, shape):
        return self.base_transform.inverse_shape(shape)


class _SideBySide(Transform):
    """Transforms of the pieces of one dimension."""

    def __init__(self, tseq, dim, cache_size):
        tseq = list(tseq)
        if not all(isinstance(t, Transform) for t in tseq):
            raise AssertionError("All elements of tseq must be Transform instances")
        if cache_size:
            tseq = [t.with_cache(cache_size) for t in tseq]
        super().__init__(cache_size=cache_size)
        self.transforms = tseq
        self.dim = dim

    @property
    def bijective(self):
        return all(t.bijective for t in self.transforms)

    def _inside(self, t):
        if not -t.dim() <= self.dim < t.dim():
            raise AssertionError(f"dim {self.dim} out of range for tensor with {t.dim()} dimensions")


class CatTransform(_SideBySide):
    """`tseq[i]` for the next `lengths[i]` elements of dimension `dim`.

    >>> import rtorch
    >>> from rtorch.distributions.transforms import ExpTransform
    >>> t = CatTransform([ExpTransform(), identity_transform], dim=0, lengths=[1, 2])
    >>> t(rtorch.zeros(3))
    tensor([1., 0., 0.])
    """

    def __init__(self, tseq, dim=0, lengths=None, cache_size=0):
        super().__init__(tseq, dim, cache_size)
        self.lengths = [1] * len(self.transforms) if lengths is None else list(lengths)
        if len(self.lengths) != len(self.transforms):
            raise AssertionError(
                f"lengths must have the length of tseq: {len(self.lengths)} and {len(self.transforms)}"
            )

    @property
    def event_dim(self):
        return max(t.event_dim for t in self.transforms)

    @property
    def length(self):
        return sum(self.lengths)

    def _rebuilt(self, cache_size):
        return CatTransform(self.transforms, self.dim, self.lengths, cache_size)

    def _pieces(self, t):
        self._inside(t)
        if t.size(self.dim) != self.length:
            raise AssertionError(f"expected {self.length} elements in dimension {self.dim}, got {t.size(self.dim)}")
        return t.split(self.lengths, dim=self.dim)

    def _call(self, x):
        return rtorch.cat([t(v) for t, v in zip(self.transforms, self._pieces(x))], dim=self.dim)

    def _inverse(self, y):
        return rtorch.cat([t.inv(v) for t, v in zip(self.transforms, self._pieces(y))], dim=self.dim)

    def log_abs_det_jacobian(self, x, y):
        parts = [
            summed_jacobian(t, a, b, max(self.event_dim, t.event_dim))
            for t, a, b in zip(self.transforms, self._pieces(x), self._pieces(y))
        ]
        dim = (self.dim - x.dim() if self.dim >= 0 else self.dim) + self.event_dim
        return rtorch.cat(parts, dim=dim) if dim < 0 else sum(parts)

    @constraints.dependent_property
    def domain(self):
        return constraints.cat([t.domain for t in self.transforms], self.dim, self.lengths)

    @constraints.dependent_property
    def codomain(self):
        return constraints.cat([t.codomain for t in self.transforms], self.dim, self.lengths)


class StackTransform(_SideBySide):
    """`tseq[i]` for slice i of dimension `dim`."""

    def __init__(self, tseq, dim=0, cache_size=0):
        super().__init__(tseq, dim, cache_size)

    def _rebuilt(self, cache_size):
        return StackTransform(self.transforms, self.dim, cache_size)

    def _pieces(self, t):
        self._inside(t)
        if t.size(self.dim) != len(self.transforms):
            raise AssertionError(
                f"expected {len(self.transforms)} slices in dimension {self.dim}, got {t.size(self.dim)}"
            )
        return t.unbind(self.dim)

    def _call(self, x):
        return rtorch.stack([t(v) for t, v in zip(self.transforms, self._pieces(x))], dim=self.dim)

    def _inverse(self, y):
        return rtorch.stack([t.inv(v) for t, v in zip(self.transforms, self._pieces(y))], dim=self.dim)

    def log_abs_det_jacobian(self, x, y):
        triples = zip(self.transforms, self._pieces(x), self._pieces(y))
        return rtorch.stack([t.log_abs_det_jacobian(a, b) for t, a, b in triples], dim=self.dim)

    @constraints.dependent_property
    def domain(self):
        return constraints.stack([t.domain for t in self.transforms], self.dim)

    @constraints.dependent_property
    def codomain(self):
        return constraints.stack([t.codomain for t in self.transforms], self.dim)
