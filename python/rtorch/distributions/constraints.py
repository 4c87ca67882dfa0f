"""Where the values of a distribution, or its parameters, may lie. Which transform leads there from all real numbers is
in constraint_registry.py.

A constraint's `check(value)` answers a bool tensor of the shape of `value` less the constraint's `event_dim` last
dimensions: is each event inside?
"""

import rtorch

__all__ = [
    "Constraint",
    "MixtureSameFamilyConstraint",
    "boolean",
    "cat",
    "corr_cholesky",
    "dependent",
    "dependent_property",
    "greater_than",
    "greater_than_eq",
    "half_open_interval",
    "independent",
    "integer_interval",
    "interval",
    "is_dependent",
    "less_than",
    "lower_cholesky",
    "lower_triangular",
    "multinomial",
    "nonnegative",
    "nonnegative_integer",
    "one_hot",
    "positive",
    "positive_definite",
    "positive_integer",
    "positive_semidefinite",
    "real",
    "real_vector",
    "simplex",
    "square",
    "stack",
    "symmetric",
    "unit_interval",
]

# How far a sum of probabilities, or the length of a row, may be off.
_SUM_TOLERANCE = 1e-6
_SYMMETRY_TOLERANCE = 1e-6


class Constraint:
    """A set of values.

    is_discrete: are its members isolated? event_dim: how many dimensions, from the right, one value takes.

    >>> from rtorch.distributions import constraints
    >>> import rtorch
    >>> constraints.positive.check(rtorch.tensor([-1.0, 2.0]))
    tensor([False,  True])
    """

    is_discrete = False
    event_dim = 0

    def check(self, value):
        """Is each event of `value` inside?"""
        raise NotImplementedError(f"{type(self).__name__} defines no check")

    def __repr__(self):
        return type(self).__name__[1:] + "()"


class _Dependent(Constraint):
    """Depends on other parameters; nothing can be checked without them."""

    def __init__(self, *, is_discrete=NotImplemented, event_dim=NotImplemented):
        self._is_discrete = is_discrete
        self._event_dim = event_dim
        super().__init__()

    def _known(self, what, value):
        if value is NotImplemented:
            raise NotImplementedError(f".{what} cannot be determined statically")
        return value

    @property
    def is_discrete(self):
        return self._known("is_discrete", self._is_discrete)

    @property
    def event_dim(self):
        return self._known("event_dim", self._event_dim)

    def __call__(self, *, is_discrete=NotImplemented, event_dim=NotImplemented):
        """The same with more known about it."""
        if is_discrete is NotImplemented:
            is_discrete = self._is_discrete
        if event_dim is NotImplemented:
            event_dim = self._event_dim
        return _Dependent(is_discrete=is_discrete, event_dim=event_dim)

    def check(self, x):
        raise ValueError("Cannot determine validity of dependent constraint")


def is_dependent(constraint):
    """Does the constraint depend on other parameters?"""
    return isinstance(constraint, _Dependent)


class _DependentProperty(property, _Dependent):
    """A property that answers a constraint; asked of the class, it is a dependent constraint itself."""

    def __init__(self, fn=None, *, is_discrete=NotImplemented, event_dim=NotImplemented):
        super().__init__(fn)
        self._is_discrete = is_discrete
        self._event_dim = event_dim

    def __call__(self, fn):
        """As a decorator with arguments."""
        return _DependentProperty(fn, is_discrete=self._is_discrete, event_dim=self._event_dim)


class _IndependentConstraint(Constraint):
    """All of the last `reinterpreted_batch_ndims` batch dimensions must be inside `base_constraint`."""

    def __init__(self, base_constraint, reinterpreted_batch_ndims):
        for given, kind in ((base_constraint, Constraint), (reinterpreted_batch_ndims, int)):
            if not isinstance(given, kind):
                raise AssertionError(f"Expected {kind.__name__}, got {type(given).__name__}")
        if reinterpreted_batch_ndims < 0:
            raise AssertionError(f"reinterpreted_batch_ndims must be >= 0, got {reinterpreted_batch_ndims}")
        self.base_constraint = base_constraint
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims
        super().__init__()

    @property
    def is_discrete(self):
        return self.base_constraint.is_discrete

    @property
    def event_dim(self):
        return self.base_constraint.event_dim + self.reinterpreted_batch_ndims

    def check(self, value):
        inside = self.base_constraint.check(value)
        n = self.reinterpreted_batch_ndims
        if inside.dim() < n:
            expected = self.base_constraint.event_dim + n
            raise ValueError(f"Expected value.dim() >= {expected} but got {value.dim()}")
        return inside.reshape(inside.shape[: inside.dim() - n] + (-1,)).all(-1)

    def __repr__(self):
        return f"IndependentConstraint({self.base_constraint!r}, {self.reinterpreted_batch_ndims})"


class MixtureSameFamilyConstraint(Constraint):
    """Inside the constraint of every component, which lie in the dimension before the event."""

    def __init__(self, base_constraint):
        if not isinstance(base_constraint, Constraint):
            raise AssertionError(f"Expected Constraint, got {type(base_constraint).__name__}")
        self.base_constraint = base_constraint
        super().__init__()

    @property
    def is_discrete(self):
        return self.base_constraint.is_discrete

    @property
    def event_dim(self):
        return self.base_constraint.event_dim

    def check(self, value):
        components = value.unsqueeze(-1 - self.event_dim)
        inside = self.base_constraint.check(components)
        if value.dim() < self.event_dim:
            raise ValueError(f"Expected value.dim() >= {self.event_dim} but got {value.dim()}")
        batch = value.dim() - self.event_dim
        return inside.reshape(inside.shape[:batch] + (-1,)).all(-1)

    def __repr__(self):
        return f"MixtureSameFamilyConstraint({self.base_constraint!r})"


class _Boolean(Constraint):
    """0 or 1."""

    is_discrete = True

    def check(self, value):
        return (value == 0) | (value == 1)


class _OneHot(Constraint):
    """Vectors of zeros with a single one."""

    is_discrete = True
    event_dim = 1

    def check(self, value):
        bits = (value == 0) | (value == 1)
        return bits.all(-1) & value.sum(-1).eq(1)


class _Bounded(Constraint):
    """A range given by one or two bounds; subclasses say which sides are closed and whether only integers count."""

    _names = ("lower_bound", "upper_bound")

    def __init__(self, *bounds, **named):
        for name, bound in zip(self._names, bounds):
            named[name] = bound
        if set(named) != set(self._names):
            raise TypeError(f"{type(self).__name__[1:]} expects {' and '.join(self._names)}, got {sorted(named)}")
        for name in self._names:
            setattr(self, name, named[name])
        super().__init__()

    def __repr__(self):
        bounds = ", ".join(f"{name}={getattr(self, name)}" for name in self._names)
        return f"{type(self).__name__[1:]}({bounds})"


class _IntegerInterval(_Bounded):
    """Integers of [lower_bound, upper_bound]."""

    is_discrete = True

    def check(self, value):
        return (value % 1 == 0) & (self.lower_bound <= value) & (value <= self.upper_bound)


class _IntegerLessThan(_Bounded):
    """Integers up to upper_bound."""

    is_discrete = True
    _names = ("upper_bound",)

    def check(self, value):
        return (value % 1 == 0) & (value <= self.upper_bound)


class _IntegerGreaterThan(_Bounded):
    """Integers from lower_bound on."""

    is_discrete = True
    _names = ("lower_bound",)

    def check(self, value):
        return (value % 1 == 0) & (value >= self.lower_bound)


class _Real(Constraint):
    """Numbers that are not NaN."""

    def check(self, value):
        return value == value


class _GreaterThan(_Bounded):
    """(lower_bound, inf]."""

    _names = ("lower_bound",)

    def check(self, value):
        return self.lower_bound < value


class _GreaterThanEq(_Bounded):
    """[lower_bound, inf]."""

    _names = ("lower_bound",)

    def check(self, value):
        return self.lower_bound <= value


class _LessThan(_Bounded):
    """[-inf, upper_bound)."""

    _names = ("upper_bound",)

    def check(self, value):
        return value < self.upper_bound


class _Interval(_Bounded):
    """[lower_bound, upper_bound]."""

    def check(self, value):
        return (self.lower_bound <= value) & (value <= self.upper_bound)


class _HalfOpenInterval(_Bounded):
    """[lower_bound, upper_bound)."""

    def check(self, value):
        return (self.lower_bound <= value) & (value < self.upper_bound)


class _Simplex(Constraint):
    """Vectors of numbers that are not negative and sum to 1."""

    event_dim = 1

    def check(self, value):
        return rtorch.all(value >= 0, dim=-1) & ((value.sum(-1) - 1).abs() < _SUM_TOLERANCE)


class _Multinomial(Constraint):
    """Vectors of counts that sum to at most upper_bound (fewer, so that a tensor of bounds can be checked too)."""

    is_discrete = True
    event_dim = 1

    def __init__(self, upper_bound):
        self.upper_bound = upper_bound

    def check(self, x):
        return (x >= 0).all(dim=-1) & (x.sum(dim=-1) <= self.upper_bound)


class _LowerTriangular(Constraint):
    """Square matrices with zeros above the diagonal."""

    event_dim = 2

    def check(self, value):
        return (value.tril() == value).flatten(-2).all(-1)


class _LowerCholesky(Constraint):
    """Lower triangular with a positive diagonal."""

    event_dim = 2

    def check(self, value):
        return lower_triangular.check(value) & (value.diagonal(dim1=-2, dim2=-1) > 0).all(-1)


class _CorrCholesky(Constraint):
    """Cholesky factors of correlation matrices: rows of length 1."""

    event_dim = 2

    def check(self, value):
        tolerance = rtorch.finfo(value.dtype).eps * value.size(-1) * 10
        lengths = rtorch.linalg.norm(value.detach(), dim=-1)
        return lower_cholesky.check(value) & (lengths - 1).abs().le(tolerance).all(dim=-1)


class _Square(Constraint):
    """Square matrices."""

    event_dim = 2

    def check(self, value):
        square_shape = value.shape[-2] == value.shape[-1]
        return rtorch.full(size=value.shape[:-2], fill_value=square_shape, dtype=rtorch.bool, device=value.device)


class _Symmetric(_Square):
    """Symmetric matrices."""

    def check(self, value):
        squares = super().check(value)
        if not squares.all():
            return squares
        return rtorch.isclose(value, value.mT, atol=_SYMMETRY_TOLERANCE).all(-2).all(-1)


class _PositiveSemidefinite(_Symmetric):
    """Symmetric, no eigenvalue below zero."""

    def check(self, value):
        symmetric_ones = super().check(value)
        if not symmetric_ones.all():
            return symmetric_ones
        return rtorch.linalg.eigvalsh(value).ge(0).all(-1)


class _PositiveDefinite(_Symmetric):
    """Symmetric, every eigenvalue above zero: those that have a Cholesky factor."""

    def check(self, value):
        symmetric_ones = super().check(value)
        if not symmetric_ones.all():
            return symmetric_ones
        return rtorch.linalg.cholesky_ex(value).info.eq(0)


class _Joined(Constraint):
    """Different constraints for different pieces of one dimension."""

    def __init__(self, cseq, dim):
        for c in cseq:
            if not isinstance(c, Constraint):
                raise AssertionError("All elements of cseq must be Constraint instances")
        self.cseq = list(cseq)
        self.dim = dim
        super().__init__()

    @property
    def is_discrete(self):
        return any(c.is_discrete for c in self.cseq)

    def _checked(self, value, size):
        if not -value.dim() <= self.dim < value.dim():
            raise AssertionError(f"dim {self.dim} out of range for tensor with {value.dim()} dimensions")
        if value.shape[self.dim] != size:
            raise AssertionError(f"expected {size} elements in dimension {self.dim}, got {value.shape[self.dim]}")


class _Cat(_Joined):
    """`cseq[i]` holds for the next `lengths[i]` elements of dimension `dim`."""

    def __init__(self, cseq, dim=0, lengths=None):
        super().__init__(cseq, dim)
        self.lengths = [1] * len(self.cseq) if lengths is None else list(lengths)
        if len(self.lengths) != len(self.cseq):
            raise AssertionError(f"lengths must have the length of cseq: {len(self.lengths)} and {len(self.cseq)}")

    @property
    def event_dim(self):
        return max(c.event_dim for c in self.cseq)

    def check(self, value):
        self._checked(value, sum(self.lengths))
        pieces = rtorch.split(value, self.lengths, dim=self.dim)
        return rtorch.cat([c.check(v) for c, v in zip(self.cseq, pieces)], self.dim)


class _Stack(_Joined):
    """`cseq[i]` holds for slice i of dimension `dim`."""

    def __init__(self, cseq, dim=0):
        super().__init__(cseq, dim)

    @property
    def event_dim(self):
        dim = max(c.event_dim for c in self.cseq)
        return dim + 1 if self.dim + dim < 0 else dim

    def check(self, value):
        self._checked(value, len(self.cseq))
        return rtorch.stack([c.check(v) for c, v in zip(self.cseq, value.unbind(self.dim))], self.dim)


dependent = _Dependent()
dependent_property = _DependentProperty
independent = _IndependentConstraint
boolean = _Boolean()
one_hot = _OneHot()
nonnegative_integer = _IntegerGreaterThan(0)
positive_integer = _IntegerGreaterThan(1)
integer_interval = _IntegerInterval
real = _Real()
real_vector = independent(real, 1)
positive = _GreaterThan(0.0)
nonnegative = _GreaterThanEq(0.0)
greater_than = _GreaterThan
greater_than_eq = _GreaterThanEq
less_than = _LessThan
multinomial = _Multinomial
unit_interval = _Interval(0.0, 1.0)
interval = _Interval
half_open_interval = _HalfOpenInterval
simplex = _Simplex()
lower_triangular = _LowerTriangular()
lower_cholesky = _LowerCholesky()
corr_cholesky = _CorrCholesky()
square = _Square()
symmetric = _Symmetric()
positive_semidefinite = _PositiveSemidefinite()
positive_definite = _PositiveDefinite()
cat = _Cat
stack = _Stack
