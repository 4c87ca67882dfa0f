"""The distributions' cases: what `tests/test_distributions.py` compares with the answers recorded from PyTorch, by one
function that runs them with any library of PyTorch's names. `python tests/distribution_cases.py torch FILE` records.
"""

import importlib
import json
import math
import sys
import warnings


def cases(torch):
    """Name to (constructor, a value to ask the density of)."""
    return {**scalar_cases(torch), **other_cases(torch)}


def scalar_cases(torch):
    """Those whose events are numbers."""
    D, t = torch.distributions, torch.tensor

    def v(*numbers):
        return t(numbers)

    return {
        "Normal": (lambda: D.Normal(v(0.0, 1.0, -2.0), v(1.0, 0.5, 3.0)), v(0.3, 0.7, 1.0)),
        "Uniform": (lambda: D.Uniform(v(0.0, -1.0), v(1.0, 2.0)), v(0.3, 0.7)),
        "Bernoulli": (lambda: D.Bernoulli(v(0.2, 0.5, 0.9)), v(0.0, 1.0, 1.0)),
        "BernoulliL": (lambda: D.Bernoulli(logits=v(-1.0, 0.0, 3.0)), v(0.0, 1.0, 1.0)),
        "ContinuousBernoulli": (lambda: D.ContinuousBernoulli(v(0.2, 0.5, 0.9, 0.4995)), v(0.3, 0.4, 0.8, 0.6)),
        "Geometric": (lambda: D.Geometric(v(0.2, 0.5, 0.9)), v(3.0, 1.0, 0.0)),
        "Binomial": (lambda: D.Binomial(20, v(0.2, 0.5, 0.95, 0.7)), v(3.0, 10.0, 19.0, 20.0)),
        "BinomialBig": (lambda: D.Binomial(1000, v(0.2, 0.5, 0.95, 0.7)), v(203.0, 510.0, 919.0, 720.0)),
        "NegativeBinomial": (lambda: D.NegativeBinomial(v(5.0, 3.0), v(0.2, 0.5)), v(3.0, 10.0)),
        "Poisson": (lambda: D.Poisson(v(0.5, 4.0, 40.0)), v(3.0, 10.0, 39.0)),
        "Exponential": (lambda: D.Exponential(v(0.5, 4.0)), v(3.0, 0.1)),
        "Gamma": (lambda: D.Gamma(v(0.5, 4.0, 50.0), v(2.0, 1.0, 3.0)), v(3.0, 0.1, 12.0)),
        "Chi2": (lambda: D.Chi2(v(0.5, 4.0)), v(3.0, 0.1)),
        "Dirichlet": (lambda: D.Dirichlet(v(0.5, 4.0, 2.0)), v(0.3, 0.1, 0.6)),
        "Dirichlet2": (lambda: D.Dirichlet(torch.ones(2, 3) * v(0.5, 3.0, 1.0)), torch.ones(2, 3) / 3),
        "Beta": (lambda: D.Beta(v(0.5, 4.0), v(2.0, 1.0)), v(0.3, 0.1)),
        "Cauchy": (lambda: D.Cauchy(v(0.5, 4.0), v(2.0, 1.0)), v(0.3, 0.1)),
        "Laplace": (lambda: D.Laplace(v(0.5, 4.0), v(2.0, 1.0)), v(0.3, 0.1)),
        "StudentT": (lambda: D.StudentT(v(0.5, 4.0, 1.5), v(2.0, 1.0, 0.0), v(1.0, 2.0, 3.0)), v(0.3, 0.1, -1.0)),
        "FisherSnedecor": (lambda: D.FisherSnedecor(v(1.5, 4.0), v(2.5, 6.0)), v(0.3, 0.1)),
        "VonMises": (lambda: D.VonMises(v(0.5, 1.0, 0.0), v(2.0, 0.1, 80.0)), v(0.3, 0.1, 0.2)),
        "Categorical": (lambda: D.Categorical(v(0.5, 1.0, 2.0)), t(1)),
        "Categorical2": (lambda: D.Categorical(logits=t([[0.5, 1.0, 2.0], [0.0, 0.0, 1.0]])), t([1, 2])),
        "OneHotCategorical": (lambda: D.OneHotCategorical(v(0.5, 1.0, 2.0)), v(0.0, 1.0, 0.0)),
        "OneHotCategoricalStraightThrough": (
            lambda: D.OneHotCategoricalStraightThrough(v(0.5, 1.0, 2.0)),
            v(0.0, 1.0, 0.0),
        ),
        "Multinomial": (lambda: D.Multinomial(6, v(0.5, 1.0, 2.0)), v(1.0, 2.0, 3.0)),
        "Independent": (lambda: D.Independent(D.Normal(torch.zeros(2, 3), 1.0), 1), torch.ones(2, 3)),
        "LogNormal": (lambda: D.LogNormal(v(0.0, 1.0), v(1.0, 0.5)), v(0.3, 0.7)),
        "LogisticNormal": (lambda: D.LogisticNormal(v(0.0, 1.0), v(1.0, 0.5)), v(0.3, 0.6, 0.1)),
        "HalfNormal": (lambda: D.HalfNormal(v(2.0, 1.0)), v(0.3, 0.7)),
        "HalfCauchy": (lambda: D.HalfCauchy(v(2.0, 1.0)), v(0.3, 0.7)),
        "Gumbel": (lambda: D.Gumbel(v(0.0, 1.0), v(1.0, 0.5)), v(0.3, 0.7)),
        "Weibull": (lambda: D.Weibull(v(2.0, 1.0), v(1.0, 0.5)), v(0.3, 0.7)),
        "Pareto": (lambda: D.Pareto(v(2.0, 1.0), v(1.0, 3.0)), v(2.3, 1.7)),
        "Kumaraswamy": (lambda: D.Kumaraswamy(v(2.0, 1.0), v(1.0, 3.0)), v(0.3, 0.7)),
        "InverseGamma": (lambda: D.InverseGamma(v(2.0, 1.0), v(1.0, 3.0)), v(0.3, 0.7)),
        "GeneralizedPareto": (lambda: D.GeneralizedPareto(v(0.0, 1.0), v(1.0, 2.0), v(0.3, 0.0)), v(1.3, 2.7)),
    }


def other_cases(torch):
    """Those of vectors and matrices, and those made of others."""
    D, t = torch.distributions, torch.tensor

    def v(*numbers):
        return t(numbers)

    def m(seed=0):
        torch.manual_seed(seed)
        a = torch.randn(3, 3)
        return a @ a.T + torch.eye(3)

    return {
        "MultivariateNormal": (lambda: D.MultivariateNormal(v(0.0, 1.0, 2.0), m()), v(0.3, 0.7, 1.0)),
        "MultivariateNormalP": (
            lambda: D.MultivariateNormal(torch.zeros(2, 3), precision_matrix=m()),
            torch.ones(2, 3),
        ),
        "MultivariateNormalL": (
            lambda: D.MultivariateNormal(torch.zeros(3), scale_tril=torch.linalg.cholesky(torch.stack([m(), m(1)]))),
            torch.ones(3),
        ),
        "LowRank": (
            lambda: D.LowRankMultivariateNormal(v(0.0, 1.0, 2.0), m()[:, :2], v(1.0, 2.0, 3.0)),
            v(0.3, 0.7, 1.0),
        ),
        "Wishart": (lambda: D.Wishart(v(5.0)[0], m()), m(4)),
        "WishartB": (lambda: D.Wishart(v(5.0, 6.0), m()), m(4)),
        "LKJ": (
            lambda: D.LKJCholesky(3, v(0.5, 2.0)),
            torch.linalg.cholesky(t([[1.0, 0.3, 0.2], [0.3, 1.0, 0.1], [0.2, 0.1, 1.0]])),
        ),
        "Mixture": (
            lambda: D.MixtureSameFamily(D.Categorical(v(0.2, 0.8)), D.Normal(v(0.0, 2.0), v(1.0, 0.5))),
            t(0.3),
        ),
        "MixtureMV": (
            lambda: D.MixtureSameFamily(
                D.Categorical(v(0.2, 0.8)),
                D.Independent(D.Normal(torch.tensor([[0.0, 2.0, 1.0], [1.0, 1.0, 1.0]]), 1.0), 1),
            ),
            v(0.3, 0.2, 0.1),
        ),
        "RelaxedBernoulli": (lambda: D.RelaxedBernoulli(t(0.7), v(0.2, 0.8)), v(0.3, 0.6)),
        "RelaxedOneHot": (lambda: D.RelaxedOneHotCategorical(t(0.7), v(0.2, 0.3, 0.5)), v(0.3, 0.6, 0.1)),
        "Transformed": (
            lambda: D.TransformedDistribution(
                D.Normal(v(0.0, 1.0), 1.0), [D.transforms.AffineTransform(1.0, -2.0), D.transforms.SigmoidTransform()]
            ),
            v(0.3, 0.6),
        ),
    }


def gradients(torch):
    """Name to (constructor from parameters, parameters): gradients of the sum of weighted draws."""
    D, t = torch.distributions, torch.tensor
    spd = t([[2.0, 0.3, 0.1], [0.3, 1.5, 0.2], [0.1, 0.2, 1.0]])
    return {
        "Normal": (D.Normal, [t([0.5, 4.0]), t([2.0, 9.0])]),
        "Gamma": (D.Gamma, [t([0.5, 4.0, 50.0, 1000.0]), t([1.0, 2.0, 3.0, 4.0])]),
        "Dirichlet": (D.Dirichlet, [t([0.5, 4.0, 1.0])]),
        "Beta": (D.Beta, [t([0.5, 4.0]), t([2.0, 9.0])]),
        "StudentT": (D.StudentT, [t([0.5, 4.0])]),
        "MultivariateNormal": (lambda c: D.MultivariateNormal(torch.zeros(3), c), [spd]),
        "RelaxedBernoulli": (lambda p: D.RelaxedBernoulli(t(0.5), p), [t([0.3, 0.4])]),
    }


def _numbers(result):
    if hasattr(result, "detach"):
        flat = result.detach().double().flatten().tolist()
        return [list(result.shape), [x if math.isfinite(x) else str(x) for x in flat]]
    return str(result)


def _asked(call):
    """What a call answers, or the exception's class."""
    try:
        return _numbers(call())
    except Exception as e:
        return f"raises {type(e).__name__}"


def of_one(torch, make, value):
    """Everything that a distribution answers about itself, its draws after a seed, and itself expanded."""
    d = make()
    answers = {
        "repr": repr(d),
        "shapes": str((list(d.batch_shape), list(d.event_shape), d.has_rsample, d.has_enumerate_support)),
        "support": type(d.support).__name__,
    }
    wide = (3,) + tuple(d.batch_shape)
    asked = {name: (lambda name=name: getattr(d, name)) for name in ("mean", "mode", "variance", "stddev")}
    asked |= {
        "log_prob": lambda: d.log_prob(value),
        "cdf": lambda: d.cdf(value),
        "icdf": lambda: d.icdf(torch.full(tuple(d.batch_shape), 0.3)),
        "entropy": lambda: d.entropy(),
        "enumerate": lambda: d.enumerate_support(),
        "enumerate short": lambda: d.enumerate_support(expand=False),
        "sample": lambda: d.sample((5,)),
        "sample one": lambda: d.sample(),
        "rsample": lambda: d.rsample((2, 2)),
        "expanded log_prob": lambda: d.expand(wide).log_prob(value),
        "expanded sample": lambda: d.expand(wide).sample(),
        "outside": lambda: d.log_prob(torch.full_like(value.float(), -99.5)),
        "shape": lambda: d.log_prob(torch.zeros(7, 7, 5)),
        "type": lambda: d.log_prob("x"),
    }
    for name, call in asked.items():
        torch.manual_seed(3)
        answers[name] = _asked(call)
    return answers


def of_pair(torch, p, q):
    """The divergence, or None where the batches do not fit."""
    try:
        torch.broadcast_shapes(p.batch_shape, q.batch_shape)
    except RuntimeError:
        return None
    return _asked(lambda: torch.distributions.kl_divergence(p, q))


def of_gradient(torch, make, parameters):
    """Sums of the gradients of draws after a seed."""
    parameters = [p.clone().requires_grad_() for p in parameters]
    torch.manual_seed(5)
    drawn = make(*parameters).rsample((6,))
    (drawn * torch.arange(drawn.numel()).reshape(drawn.shape)).sum().backward()
    return [p.grad.sum().item() for p in parameters]


def record(torch):
    known = cases(torch)
    made = {name: make() for name, (make, _) in known.items()}
    return {
        "one": {name: of_one(torch, *case) for name, case in known.items()},
        "pair": {p: {q: of_pair(torch, made[p], made[q]) for q in made} for p in made},
        "gradient": {name: of_gradient(torch, *case) for name, case in gradients(torch).items()},
    }


def rounded(x):
    """Eight digits, lists inside out."""
    if isinstance(x, float):
        return float(f"{x:.8g}")
    if isinstance(x, dict):
        return {k: rounded(v) for k, v in x.items()}
    return [rounded(v) for v in x] if isinstance(x, list) else x


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    library = importlib.import_module(sys.argv[1])
    importlib.import_module(sys.argv[1] + ".distributions")
    with open(sys.argv[2], "w") as f:
        json.dump(rounded(record(library)), f, separators=(",", ":"))
