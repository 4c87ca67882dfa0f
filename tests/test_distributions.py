"""`rtorch.distributions`: answers recorded from PyTorch for every distribution, and properties that need no record:
draws have the moments, quantiles invert, divergences are expectations, volumes are determinants."""

import json
import math
import pathlib
import pickle
import warnings

import pytest

import distribution_cases as recorded
import rtorch
import rtorch.distributions as D
from rtorch.distributions import constraints, transforms

KNOWN = json.loads((pathlib.Path(__file__).parent / "data" / "distributions.json").read_text())
CASES = recorded.cases(rtorch)
# Where PyTorch's answer is wrong: its formula takes the logarithm of a negative number.
WRONG = {("Kumaraswamy", "mode")}
if not hasattr(rtorch._C, "_special"):  # a build without the incomplete gamma function
    WRONG |= {(name, "cdf") for name in ("Gamma", "Chi2", "InverseGamma")}
SAMPLED = [
    n
    for n in CASES
    if n not in ("BinomialBig", "VonMises", "Cauchy", "HalfCauchy", "StudentT", "Pareto", "InverseGamma")
]
T = rtorch.tensor


def agree(got, want, relative=2e-4):
    """A number, or text for what is not finite; numbers of float32 computations."""
    if isinstance(got, str) or isinstance(want, str):
        return got == want
    return abs(got - want) <= relative * max(0.1, abs(want))


def agrees(got, want):
    if isinstance(want, list) and isinstance(got, list):
        return got[0] == want[0] and all(agree(g, w) for g, w in zip(got[1], want[1], strict=True))
    return got == want


@pytest.mark.parametrize("name", CASES)
def test_a_distribution_answers_as_recorded(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answers = recorded.of_one(rtorch, *CASES[name])
    wrong = [
        f"{key}: {answers[key]} for {want}"
        for key, want in KNOWN["one"][name].items()
        if (name, key) not in WRONG and not agrees(answers[key], want)
    ]
    assert not wrong


@pytest.mark.parametrize("name", CASES)
def test_divergences_are_as_recorded(name):
    made = {other: make() for other, (make, _) in CASES.items()}
    got = {q: recorded.of_pair(rtorch, made[name], made[q]) for q in made}
    wrong = [f"{q}: {got[q]} for {want}" for q, want in KNOWN["pair"][name].items() if not agrees(got[q], want)]
    assert not wrong


@pytest.mark.parametrize("name", recorded.gradients(rtorch))
def test_gradients_of_draws(name):
    # PyTorch approximates the implicit gradients of gamma and beta draws, to some 1e-3
    got = recorded.of_gradient(rtorch, *recorded.gradients(rtorch)[name])
    assert all(agree(g, w, 1e-2) for g, w in zip(got, KNOWN["gradient"][name], strict=True))


@pytest.mark.parametrize("name", SAMPLED)
def test_draws_have_the_moments(name):
    d = CASES[name][0]()
    if type(d).mean is D.Distribution.mean or rtorch.isnan(_or_nan(d)).any():
        pytest.skip("it has no mean in closed form")
    rtorch.manual_seed(0)
    drawn = d.sample((4000,)).double()
    error = 6 * (d.variance.double() / len(drawn)).sqrt() + 1e-6
    assert ((drawn.mean(0) - d.mean).abs() <= error).all()


def _or_nan(d):
    try:
        return d.mean.float() + d.variance
    except NotImplementedError:
        return T(math.nan)


@pytest.mark.parametrize("name", CASES)
def test_quantiles_invert_the_cumulative_distribution(name):
    d = CASES[name][0]()
    p = rtorch.full(tuple(d.batch_shape), 0.37)
    try:
        x = d.icdf(p)
        back = d.cdf(x)
    except NotImplementedError:
        return
    assert rtorch.allclose(back, p, atol=2e-5)


@pytest.mark.parametrize("name", ["Normal", "Beta", "Uniform", "Gumbel", "Kumaraswamy", "LogNormal", "Weibull"])
def test_densities_are_the_slopes_of_cumulative_distributions(name):
    make, value = CASES[name]
    d = make()
    h = 1e-3
    try:
        slope = (d.cdf(value + h) - d.cdf(value - h)) / (2 * h)
    except NotImplementedError:
        return
    assert rtorch.allclose(slope, d.log_prob(value).exp(), rtol=5e-3, atol=2e-3)


PAIRS = [
    (D.Normal(0.5, 1.2), D.Laplace(0.1, 0.8)),
    (D.Normal(0.5, 1.2), D.Gumbel(0.1, 0.8)),
    (D.Uniform(0.2, 0.9), D.Beta(2.0, 1.5)),
    (D.Beta(2.0, 3.0), D.Gamma(2.0, 1.5)),
    (D.Gamma(2.0, 3.0), D.Gumbel(0.3, 1.5)),
    (D.Pareto(1.0, 3.0), D.Exponential(0.7)),
    (D.Gumbel(0.2, 1.0), D.Normal(0.3, 2.0)),
    (D.ContinuousBernoulli(0.3), D.Normal(0.3, 1.0)),
    (D.Geometric(0.3), D.Geometric(0.4)),
    (D.Dirichlet(T([2.0, 3.0])), D.Dirichlet(T([1.0, 1.5]))),
    (D.Cauchy(0.0, 1.0), D.Cauchy(0.5, 2.0)),
    (
        D.LowRankMultivariateNormal(T([0.0, 1.0]), T([[1.0], [0.5]]), T([1.0, 2.0])),
        D.MultivariateNormal(T([0.5, 0.0]), T([[2.0, 0.3], [0.3, 1.0]])),
    ),
]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: "-".join(type(d).__name__ for d in pair))
def test_divergences_are_expectations(pair):
    p, q = pair
    rtorch.manual_seed(1)
    x = p.sample((20000,))
    gain = p.log_prob(x) - q.log_prob(x)
    error = 5 * gain.std() / math.sqrt(len(gain))
    assert (gain.mean() - D.kl_divergence(p, q)).abs() <= error + 1e-4


def test_divergence_of_more_specific_classes_wins():
    class Mine(D.Normal):
        pass

    @D.register_kl(Mine, D.Normal)
    def _mine(p, q):
        return "mine"

    assert D.kl_divergence(Mine(0.0, 1.0), D.Normal(0.0, 1.0)) == "mine"
    assert D.kl_divergence(D.Normal(0.0, 1.0), Mine(0.0, 1.0)) == 0.0
    with pytest.raises(NotImplementedError, match="No KL\\(p \\|\\| q\\) is implemented for p type Normal and q type"):
        D.kl_divergence(D.Normal(0.0, 1.0), D.Poisson(1.0).expand([2]) and D.VonMises(T(0.0), T(1.0)))


# ---- transforms

JACOBIANS = {
    "exp": (transforms.ExpTransform(), T([0.3, -1.0])),
    "power": (transforms.PowerTransform(T(2.5)), T([0.3, 1.7])),
    "sigmoid": (transforms.SigmoidTransform(), T([0.3, -1.0])),
    "softplus": (transforms.SoftplusTransform(), T([0.3, -1.0])),
    "tanh": (transforms.TanhTransform(), T([0.3, -1.0])),
    "affine": (transforms.AffineTransform(1.0, T([2.0, -3.0])), T([0.3, -1.0])),
    "affine of vectors": (transforms.AffineTransform(1.0, T([2.0, -3.0]), event_dim=1), T([0.3, -1.0])),
    "compose": (
        transforms.ComposeTransform([transforms.AffineTransform(0.0, 2.0), transforms.StickBreakingTransform()]),
        T([0.3, -1.0]),
    ),
    "stick breaking": (transforms.StickBreakingTransform(), T([0.3, -1.0, 0.5])),
    "correlation": (transforms.CorrCholeskyTransform(), T([0.3, -1.0, 0.5])),
    "independent": (transforms.IndependentTransform(transforms.ExpTransform(), 1), T([0.3, -1.0])),
    "reshape": (transforms.ReshapeTransform((4,), (2, 2)), T([0.3, -1.0, 2.0, 1.0])),
    "cdf": (transforms.CumulativeDistributionTransform(D.Normal(0.0, 1.0)), T([0.3, -1.0])),
    "cat": (
        transforms.CatTransform([transforms.ExpTransform(), transforms.TanhTransform()], lengths=[1, 2]),
        T([0.3, -1.0, 0.2]),
    ),
    "stack": (
        transforms.StackTransform([transforms.ExpTransform(), transforms.TanhTransform()]),
        T([[0.3, 0.1], [-1.0, 0.2]]),
    ),
}


def volume(name, transform, x):
    """log |det dy/dx| by autograd, of outputs that are free: a simplex but its last, a matrix below its diagonal."""
    matrix = rtorch.autograd.functional.jacobian(transform, x)
    if name in ("stick breaking", "compose"):
        matrix = matrix[:-1]
    if name == "correlation":
        below = rtorch.tril_indices(3, 3, -1)
        matrix = matrix[below[0], below[1]]
    return rtorch.linalg.slogdet(matrix.reshape(x.numel(), x.numel())).logabsdet


@pytest.mark.parametrize("name", JACOBIANS)
def test_transforms_invert_and_know_their_volume(name):
    transform, x = JACOBIANS[name]
    y = transform(x)
    assert rtorch.allclose(transform.inv(y), x, atol=1e-4)
    assert transform.inv.inv is transform
    assert transform.forward_shape(x.shape) == y.shape and transform.inverse_shape(y.shape) == x.shape
    got = transform.log_abs_det_jacobian(x, y).sum()
    assert rtorch.allclose(got, volume(name, transform, x), atol=1e-4)
    assert rtorch.allclose(transform.inv.log_abs_det_jacobian(y, x).sum(), -got)
    assert constraints.is_dependent(type(transform).codomain) or transform.codomain.check(y).all()


def test_transforms_that_are_not_bijections():
    x = T([[0.3, -1.0], [2.0, 0.1]])
    assert transforms.SoftmaxTransform()(x).sum(-1).allclose(rtorch.ones(2))
    assert transforms.AbsTransform()(x).equal(x.abs())
    factor = transforms.LowerCholeskyTransform()(x)
    assert constraints.lower_cholesky.check(factor) and transforms.LowerCholeskyTransform().inv(factor).allclose(
        x.tril()
    )
    assert constraints.positive_definite.check(transforms.PositiveDefiniteTransform()(x))


def test_a_cached_transform_gives_back_the_very_tensor():
    transform, x = transforms.TanhTransform(cache_size=1), T([5.0])
    y = transform(x)
    assert transform.inv(y) is x and transform(x) is y
    with pytest.raises(ValueError, match="cache_size must be 0 or 1"):
        transforms.ExpTransform(cache_size=2)


SPACES = [
    constraints.real,
    constraints.positive,
    constraints.nonnegative,
    constraints.greater_than(2.0),
    constraints.greater_than_eq(2.0),
    constraints.less_than(2.0),
    constraints.unit_interval,
    constraints.interval(-1.0, 3.0),
    constraints.half_open_interval(-1.0, 3.0),
    constraints.simplex,
    constraints.corr_cholesky,
    constraints.real_vector,
    constraints.independent(constraints.positive, 1),
    constraints.stack([constraints.positive, constraints.real, constraints.unit_interval], dim=-1),
    constraints.cat([constraints.positive, constraints.real], dim=-1, lengths=[1, 2]),
]


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_every_space_is_reached_from_all_numbers(space):
    rtorch.manual_seed(2)
    x = rtorch.randn(5, 3)
    for registry in (D.biject_to, D.transform_to):
        assert space.check(registry(space)(x)).all()
    assert D.biject_to(space).inv(D.biject_to(space)(x)).allclose(x, atol=1e-4)


def test_matrix_spaces_and_those_that_cannot_be_reached():
    x = rtorch.randn(4, 3, 3)
    for space in (constraints.lower_cholesky, constraints.positive_definite, constraints.positive_semidefinite):
        assert space.check(D.transform_to(space)(x)).all()
    with pytest.raises(NotImplementedError, match="Cannot transform _Boolean constraints"):
        D.biject_to(constraints.boolean)


CHECKED = [
    (constraints.boolean, [0.0, 1.0], [0.5, 2.0]),
    (constraints.integer_interval(1, 3), [1.0, 3.0], [0.0, 1.5]),
    (constraints.nonnegative_integer, [0.0, 4.0], [-1.0, 0.5]),
    (constraints.positive_integer, [1.0, 4.0], [0.0, 1.5]),
    (constraints.real, [0.0, math.inf], [math.nan, math.nan]),
    (constraints.one_hot, [0.0, 1.0], [1.0, 1.0]),
    (constraints.simplex, [0.25, 0.75], [0.5, 0.6]),
    (constraints.multinomial(3), [1.0, 2.0], [2.0, 2.0]),
    (constraints.lower_triangular, [[1.0, 0.0], [2.0, -1.0]], [[1.0, 1.0], [2.0, 1.0]]),
    (constraints.lower_cholesky, [[1.0, 0.0], [2.0, 1.0]], [[1.0, 0.0], [2.0, -1.0]]),
    (constraints.corr_cholesky, [[1.0, 0.0], [0.6, 0.8]], [[1.0, 0.0], [0.6, 0.9]]),
    (constraints.square, [[1.0, 0.0], [2.0, 1.0]], [[1.0, 0.0]]),
    (constraints.symmetric, [[1.0, 2.0], [2.0, 1.0]], [[1.0, 2.0], [2.5, 1.0]]),
    (constraints.positive_semidefinite, [[1.0, 0.0], [0.0, 1e-9]], [[1.0, 2.0], [2.0, 1.0]]),
    (constraints.positive_definite, [[2.0, 1.0], [1.0, 2.0]], [[1.0, 2.0], [2.0, 1.0]]),
    (constraints.MixtureSameFamilyConstraint(constraints.positive), [1.0, 2.0], [-1.0, -2.0]),
]


@pytest.mark.parametrize(("space", "inside", "outside"), CHECKED, ids=lambda x: repr(x)[:40])
def test_spaces_know_what_is_inside(space, inside, outside):
    assert space.check(T(inside)).all()
    assert not space.check(T(outside)).any()


# ---- validation and shapes


def test_parameters_are_checked_and_the_message_says_which():
    with pytest.raises(ValueError) as e:
        D.Normal(T([0.0, 1.0]), T([1.0, -1.0]))
    assert str(e.value) == (
        "Expected parameter scale (Tensor of shape (2,)) of distribution Normal(loc: torch.Size([2]), scale: "
        "torch.Size([2])) to satisfy the constraint GreaterThan(lower_bound=0.0), but found invalid values:\n"
        "tensor([ 1., -1.])"
    )
    assert D.Normal(0.0, -1.0, validate_args=False).scale == -1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: D.Bernoulli(), "Either `probs` or `logits` must be specified, but not both."),
        (lambda: D.Categorical(T(1.0)), "`probs` parameter must be at least one-dimensional."),
        (lambda: D.Normal(0.0, "a"), "Input arguments must all be instances of Number"),
        (lambda: D.MultivariateNormal(T([0.0])), "Exactly one of covariance_matrix or precision_matrix or scale_tril"),
        (lambda: D.LKJCholesky(1), "Expected dim to be an integer greater than or equal to 2. Found dim=1."),
        (lambda: D.Independent(D.Normal(0.0, 1.0), 1), "Expected reinterpreted_batch_ndims <= len"),
        (lambda: D.Normal(rtorch.zeros(3), 1.0).log_prob(rtorch.zeros(2)), "Value is not broadcastable with"),
        (lambda: D.Dirichlet(rtorch.ones(3)).log_prob(rtorch.ones(2) / 2), "The right-most size of value must match"),
        (lambda: D.Wishart(T(1.0), rtorch.eye(3)), "Value of df=1.0 expected to be greater than ndim - 1 = 2."),
        (lambda: D.MixtureSameFamily(D.Normal(0.0, 1.0), D.Normal(0.0, 1.0)), "Mixture distribution needs to be an"),
        (lambda: D.TransformedDistribution(D.Normal(0.0, 1.0), "x"), "transforms must be a Transform or list"),
        (lambda: D.biject_to.register(3, repr), "Expected constraint to be either a Constraint subclass"),
    ],
)
def test_refusals(call, message):
    with pytest.raises((ValueError, TypeError), match=message.replace("(", "\\(").replace("[", "\\[")):
        call()


def test_validation_can_be_switched_off_for_all():
    try:
        D.Distribution.set_default_validate_args(False)
        D.Normal(0.0, -1.0)
    finally:
        D.Distribution.set_default_validate_args(True)
    with pytest.raises(ValueError):
        D.Normal(0.0, -1.0)


def test_a_subclass_with_its_own_constructor_must_expand_itself():
    class Mine(D.Normal):
        def __init__(self, loc):
            super().__init__(loc, 1.0)

    with pytest.raises(NotImplementedError, match="Subclass Mine of Normal that defines a custom __init__"):
        Mine(0.0).expand([2])


def test_exponential_family_entropy_is_the_closed_form():
    for d in (D.Gamma(T(2.0), T(3.0)), D.Bernoulli(T(0.3)), D.Exponential(T(2.0)), D.Dirichlet(T([1.0, 2.0, 3.0]))):
        if type(d) is D.Dirichlet:
            continue  # its carrier measure depends on the parameter
        assert D.ExponentialFamily.entropy(d).allclose(d.entropy(), atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_distributions_travel(name):
    make, value = CASES[name]
    d = make()
    again = pickle.loads(pickle.dumps(d))
    assert again.log_prob(value).equal(d.log_prob(value))


def test_draws_of_counts():
    rtorch.manual_seed(4)
    counts = rtorch.binomial(rtorch.full((4000,), 30.0), rtorch.full((4000,), 0.4))
    assert abs(counts.mean().item() - 12) < 0.3 and abs(counts.var().item() - 7.2) < 0.8
    rates = rtorch.poisson(rtorch.full((4000,), 15.0))
    assert abs(rates.mean().item() - 15) < 0.4 and abs(rates.var().item() - 15) < 1.5
    with pytest.raises(RuntimeError, match="invalid Poisson rate"):
        rtorch.poisson(T([-1.0]))


@pytest.mark.parametrize("shape", [0.01, 0.3, 1.0, 7.5, 400.0, 3e5])
def test_gamma_draws_move_as_their_quantile_does(shape):
    # the gradient against the difference of quantiles: x(a) with P(a, x) fixed, P by adaptive sums in float64
    a = T(shape, dtype=rtorch.float64)
    for rank in (0.02, 0.5, 0.97):
        x = quantile(shape, rank)
        h = 1e-5 * shape
        slope = (quantile(shape + h, rank) - quantile(shape - h, rank)) / (2 * h)
        got = rtorch._standard_gamma_grad(a, T(x, dtype=rtorch.float64)).item()
        assert abs(got - slope) <= 2e-4 * abs(slope) + 1e-12


def lower(a, x):
    """The regularized incomplete gamma function P(a, x), by its power series."""
    term = total = 1.0
    n = 0
    while term > 1e-17 * total:
        n += 1
        term *= x / (a + n)
        total += term
    return math.exp(a * math.log(x) - x - math.lgamma(a + 1) + math.log(total))


def quantile(a, rank):
    low, high = -800.0, math.log(a + 60 * math.sqrt(a) + 60)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if lower(a, math.exp(middle)) < rank else (low, middle)
    return math.exp((low + high) / 2)


def test_draws_of_angles_point_to_their_mean():
    d = D.VonMises(T([0.5, -2.0]), T([2.0, 0.5]))
    rtorch.manual_seed(0)
    x = d.sample((8000,))
    c, s = x.cos().mean(0), x.sin().mean(0)
    assert (rtorch.atan2(s, c) - d.mean).abs().max() < 0.08
    assert ((1 - (c * c + s * s).sqrt()) - d.variance).abs().max() < 0.03


def test_numbers_are_values_where_nothing_is_validated():
    for d, x, want in (
        (D.Bernoulli(0.3, validate_args=False), 1, math.log(0.3)),
        (D.Geometric(T([0.2]), validate_args=False), 3, 3 * math.log(0.8) + math.log(0.2)),
        (D.HalfCauchy(T([2.0]), validate_args=False), 1, math.log(2 / (2 * math.pi)) - math.log1p(0.25)),
    ):
        assert d.log_prob(x).sum().item() == pytest.approx(want, rel=1e-5)
    assert D.ContinuousBernoulli(T([0.2]), validate_args=False).log_prob(0.5).shape == (1,)
    assert D.Multinomial(4, T([0.5, 0.5]), validate_args=False).log_prob(2).shape == ()


def test_probabilities_at_the_end_of_a_support():
    zero = T(0.0)
    assert D.LogNormal(0.0, 1.0).cdf(zero) == 0
    assert D.Weibull(T([1.0, 2.0]), 2.0).cdf(zero).tolist() == [0.0, 0.0]
    assert D.InverseGamma(2.0, 1.0).cdf(zero) == 0
    assert D.Gumbel(0.0, 1.0).cdf(0).item() == pytest.approx(math.exp(-1))
    with pytest.raises(ValueError):
        D.LogNormal(0.0, 1.0).cdf(T(-1.0))
