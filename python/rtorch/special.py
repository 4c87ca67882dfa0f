"""Special functions under PyTorch's names.

Functions that are rows of the operator table or short programs run in the dtype of their argument; the others (Bessel,
Airy, zeta, incomplete gamma, orthogonal polynomials) are computed in double precision and rounded once.
"""

from __future__ import annotations

import rtorch
from rtorch import (
    Tensor,
    digamma,
    erf,
    erfc,
    erfcx,
    erfinv,
    exp2,
    expm1,
    log1p,
    logit,
    logsumexp,
    round,
    sinc,
    xlogy,
)
from rtorch import digamma as psi
from rtorch import lgamma as gammaln
from rtorch import sigmoid as expit
from rtorch._C import _special
from rtorch._C._special import i0 as modified_bessel_i0
from rtorch._C._special import i1 as modified_bessel_i1
from rtorch._ops.pointwise import mvlgamma as multigammaln


def softmax(input, dim, *, dtype=None):
    """`rtorch.softmax`."""
    return rtorch.softmax(input, dim, dtype=dtype)


def log_softmax(input, dim, *, dtype=None):
    """`rtorch.log_softmax`."""
    return rtorch.log_softmax(input, dim, dtype=dtype)


# the functions computed by the core's own primitive, under their names
globals().update({_name: _f for _name, _f in vars(_special).items() if not _name.startswith("_")})

_OWN = """digamma erf erfc erfcx erfinv exp2 expm1 log1p logit logsumexp round sinc xlogy psi gammaln expit
modified_bessel_i0 modified_bessel_i1 multigammaln softmax log_softmax""".split()
__all__ = sorted({*_OWN, *(name for name in vars(_special) if not name.startswith("_"))})
