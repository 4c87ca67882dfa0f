"""`Distribution`, the base of all: shapes, validation, expansion to other batches."""

import warnings

import rtorch
from rtorch import Size

from . import constraints
from .utils import lazy_property

__all__ = ["Distribution"]


class Distribution:
    """Random events of `event_shape`, one distribution for each element of `batch_shape`.

    A subclass gives `arg_constraints` (parameter name to constraint), `support`, and of `rsample` or `sample`,
    `log_prob`, `mean`, `variance`, `cdf`, `icdf`, `entropy`, `enumerate_support` those that it has. `expand` works
    for every subclass whose tensors begin with the batch dimensions; `_tensors` names those that are not parameters,
    `_parts` distributions that it is made of.

    >>> import rtorch
    >>> from rtorch.distributions import Normal
    >>> d = Normal(rtorch.zeros(3), 1.0)
    >>> d.batch_shape, d.event_shape, d.sample((2,)).shape
    (torch.Size([3]), torch.Size([]), torch.Size([2, 3]))
    """

    has_rsample = False
    has_enumerate_support = False
    _validate_args = __debug__
    _tensors = ()
    _parts = ()

    @staticmethod
    def set_default_validate_args(value):
        """Are arguments validated where a constructor is not told? (Python's -O switches it off.)"""
        if value not in [True, False]:
            raise ValueError
        Distribution._validate_args = value

    def __init__(self, batch_shape=(), event_shape=(), validate_args=None):
        self._batch_shape = Size(batch_shape)
        self._event_shape = Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._validate_parameters()
        super().__init__()

    def _validate_parameters(self):
        try:
            arg_constraints = self.arg_constraints
        except NotImplementedError:
            warnings.warn(
                f"{type(self)} does not define `arg_constraints`. Please set `arg_constraints = {{}}` or initialize "
                "the distribution with `validate_args=False` to turn off validation.",
                stacklevel=4,
            )
            return
        for param, constraint in arg_constraints.items():
            if constraints.is_dependent(constraint):
                continue
            if param not in self.__dict__ and isinstance(getattr(type(self), param), lazy_property):
                continue  # not given; made of what was
            value = getattr(self, param)
            if not constraint.check(value).all():
                raise ValueError(
                    f"Expected parameter {param} ({type(value).__name__} of shape {tuple(value.shape)}) of "
                    f"distribution {self!r} to satisfy the constraint {constraint!r}, but found invalid values:"
                    f"\n{value}"
                )

    # ---- expansion

    def expand(self, batch_shape, _instance=None):
        """The same distributions as a batch of `batch_shape`, which the batch must broadcast to; no memory is copied.

        `_instance` is PyTorch's way for subclasses: an object to fill in place of a new one.
        """
        # The class whose constructor gave the attributes: what a user's subclass adds is its own to expand.
        new = self._get_checked_instance(self._expander(), _instance)
        batch_shape = Size(batch_shape)
        old = len(self._batch_shape)
        for name in dict.fromkeys((*self._constrained(), *self._tensors)):
            value = self.__dict__.get(name)
            if isinstance(value, rtorch.Tensor):
                new.__dict__[name] = value.expand(batch_shape + value.shape[old:])
        for name in self._parts:
            if name in self.__dict__:
                part = self.__dict__[name]
                inner = len(part.batch_shape) - old
                tail = part.batch_shape[len(part.batch_shape) - inner :] if inner else ()
                new.__dict__[name] = part.expand(batch_shape + Size(tail))
        for name, value in self.__dict__.items():
            if not (isinstance(value, (rtorch.Tensor, Distribution)) or name in new.__dict__):
                new.__dict__[name] = value
        Distribution.__init__(new, batch_shape, self._event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @classmethod
    def _expander(cls):
        """The nearest class of the method resolution order that is this package's."""
        return next(c for c in cls.__mro__ if c.__module__.startswith("rtorch.distributions"))

    def _constrained(self):
        return type(self).arg_constraints if isinstance(type(self).arg_constraints, dict) else self.arg_constraints

    def _get_checked_instance(self, cls, _instance=None):
        if _instance is None and type(self).__init__ != cls.__init__:
            raise NotImplementedError(
                f"Subclass {type(self).__name__} of {cls.__name__} that defines a custom __init__ method must also "
                "define a custom .expand() method."
            )
        return self.__new__(type(self)) if _instance is None else _instance

    # ---- shapes

    @property
    def batch_shape(self):
        """Shape of the batch of distributions."""
        return self._batch_shape

    @property
    def event_shape(self):
        """Shape of one sample of one distribution."""
        return self._event_shape

    def _extended_shape(self, sample_shape=()):
        """sample_shape + batch_shape + event_shape."""
        return Size(sample_shape) + self._batch_shape + self._event_shape

    # ---- what subclasses give

    @property
    def arg_constraints(self):
        """Constraint of each parameter."""
        raise NotImplementedError

    @property
    def support(self):
        """The constraint that samples satisfy."""
        raise NotImplementedError

    @property
    def mean(self):
        """E[x]."""
        raise NotImplementedError

    @property
    def mode(self):
        """The most probable value."""
        raise NotImplementedError(f"{type(self)} does not implement mode")

    @property
    def variance(self):
        """E[(x - mean)^2]."""
        raise NotImplementedError

    @property
    def stddev(self):
        """The square root of the variance."""
        return self.variance.sqrt()

    def sample(self, sample_shape=()):
        """Draws of shape sample_shape + batch_shape + event_shape, without gradients."""
        with rtorch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape=()):
        """Draws through which gradients flow to the parameters (reparameterisation)."""
        raise NotImplementedError

    def sample_n(self, n):
        """n draws; `sample((n,))` is the newer form."""
        warnings.warn("sample_n(n) will be deprecated. Use .sample((n,)) instead.", FutureWarning, stacklevel=2)
        return self.sample(Size((n,)))

    def log_prob(self, value):
        """The logarithm of the density, or of the probability, at `value`."""
        raise NotImplementedError

    def cdf(self, value):
        """P(x <= value)."""
        raise NotImplementedError

    def icdf(self, value):
        """The quantile function: x with cdf(x) = value."""
        raise NotImplementedError

    def enumerate_support(self, expand=True):
        """All values of a discrete distribution along a new first dimension, in every batch element or (expand=False)
        with batch dimensions of size 1."""
        raise NotImplementedError

    def entropy(self):
        """-E[log p(x)], in nats."""
        raise NotImplementedError

    def perplexity(self):
        """exp(entropy)."""
        return rtorch.exp(self.entropy())

    def _enumerated(self, values, expand):
        """Values of a scalar event [n] as `enumerate_support` wants them."""
        values = values.view((-1,) + (1,) * len(self._batch_shape))
        return values.expand((-1,) + self._batch_shape) if expand else values

    # ---- validation of samples

    def _validate_sample(self, value):
        if not isinstance(value, rtorch.Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        event_start = value.dim() - len(self._event_shape)
        if value.shape[max(event_start, 0) :] != self._event_shape:
            raise ValueError(
                "The right-most size of value must match event_shape: "
                f"{_sizes(value.size())} vs {_sizes(self._event_shape)}."
            )
        actual, expected = value.size(), self._batch_shape + self._event_shape
        for i, j in zip(reversed(actual), reversed(expected)):
            if i != 1 and j != 1 and i != j:
                raise ValueError(
                    f"Value is not broadcastable with batch_shape+event_shape: {_sizes(actual)} vs {_sizes(expected)}."
                )
        try:
            support = self.support
        except NotImplementedError:
            warnings.warn(
                f"{type(self)} does not define `support` to enable sample validation. Please initialize the "
                "distribution with `validate_args=False` to turn off validation.",
                stacklevel=3,
            )
            return
        if support is None:
            raise AssertionError("support is None")
        if not support.check(value).all():
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {tuple(value.shape)}) to be within the "
                f"support ({support!r}) of the distribution {self!r}, but found invalid values:\n{value}"
            )

    def _checked(self, value):
        """`value`, validated where that is on."""
        if self._validate_args:
            self._validate_sample(value)
        return value

    def __repr__(self):
        shown = []
        for name in self.arg_constraints:
            if name in self.__dict__:
                value = self.__dict__[name]
                shown.append(f"{name}: {value if value.numel() == 1 else _sizes(value.size())}")
        return f"{type(self).__name__}({', '.join(shown)})"


def _sizes(shape):
    return f"torch.Size({list(shape)})"
