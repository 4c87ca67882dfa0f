"""Derivatives of every recorded operator in float64 and complex128 against central differences: first and second
derivatives, forward mode, and a backward pass mapped over cotangents. The operators and their arguments are those of
tests/data/ops_float32.npz; tests/data/gradients_known.json keeps what passes. test_gradcheck_all.py makes tests of it.

usage: gradients.py [--check NAME] [--only SUBSTRING] [--update]
--update adds what passes now and never removes.
"""

import argparse
import functools
import json
import warnings

import recorded
import rtorch
import rtorch.nn.functional as F
from rtorch.autograd import gradcheck, gradgradcheck

KNOWN = recorded.DATA / "gradients_known.json"
# Operators that a check cannot pass, with the reason ("" for every check).
_ROUNDS = "rounds to the dtype it is named after, which no difference quotient sees through"
_OVERLAP = "recorded with positions that repeat: which value stays is no differentiable choice"
EXCEPTIONS = {
    "": {
        "as_strided_scatter": "PyTorch's gradient of input is the window's part, which is not the derivative",
        "bfloat16": _ROUNDS,
        "cfloat": _ROUNDS,
        "float": _ROUNDS,
        "half": _ROUNDS,
        "nn.functional.max_unpool1d": _OVERLAP,
        "nn.functional.max_unpool2d": _OVERLAP,
        "nn.functional.max_unpool3d": _OVERLAP,
    },
    "second": {
        "linalg.norm.subgradients_at_zero": "the norm has no second derivative at 0",
        "nn.functional.ctc_loss": "its gradient has no derivative in PyTorch either",
    },
    "complex second": {"linalg.norm.subgradients_at_zero": "the norm has no second derivative at 0"},
}
# Results that are known up to a phase, as functions that are not.
WITHOUT_PHASE = {"linalg.eigh": lambda out: (out[0], out[1].abs())}
# Operators whose other arguments must have the variables' dtype.
ALIKE = frozenset({"linalg.solve_triangular"})
CASES, ELEMENTS = 2, 400
SECONDS = 60
SYMMETRIC = ("cholesky", "eigh", "eigvalsh", "pinv.hermitian", "ldl")
TOLERANCE = {"atol": 1e-4, "rtol": 1e-3}


def definite(a):
    return a @ a.mH + rtorch.eye(a.size(-1), dtype=a.dtype)


def sample(shape, dtype, number):
    """Variables for the operators of EXTRA: fixed numbers of about 1."""
    n = rtorch.Size(shape).numel()
    x = ((rtorch.arange(n, dtype=rtorch.float64) * 0.37 + number).sin() + 0.05).reshape(shape)
    if dtype is rtorch.complex128:
        x = rtorch.complex(x, x.flip(tuple(range(x.dim()))) * 0.5 + 0.25)
    return x.requires_grad_()


# Operators whose recorded calls are too large to be checked, are NaN, or answer what is known up to signs: (f, shapes).
EXTRA = {
    "__rpow__": (lambda x, base: x.__rpow__(base.abs() + 1), [(2, 3), (2, 3)]),
    "bmm": (rtorch.bmm, [(2, 3, 4), (2, 4, 2)]),
    "cholesky_inverse": (lambda a: rtorch.cholesky_inverse(rtorch.linalg.cholesky(definite(a))), [(3, 3)]),
    "cholesky_solve": (lambda b, a: b.cholesky_solve(rtorch.linalg.cholesky(definite(a))), [(3, 2), (3, 3)]),
    "grid_sampler_2d": (lambda x, g: rtorch.grid_sampler_2d(x, g, 0, 0, False), [(1, 2, 3, 3), (1, 2, 2, 2)]),
    "linalg.eig": (lambda a: [t.abs() for t in rtorch.linalg.eig(a)], [(3, 3)]),
    "linalg.svd": (lambda a: [t.abs() for t in rtorch.linalg.svd(a, False)], [(3, 4)]),
    "nn.functional.adaptive_avg_pool3d": (lambda x: F.adaptive_avg_pool3d(x, (2, 1, 2)), [(1, 1, 3, 2, 4)]),
    "nn.functional.ctc_loss": (
        lambda x: F.ctc_loss(x.log_softmax(-1), rtorch.tensor([[1, 2], [2, 3]]), (5, 4), (2, 1)),
        [(5, 2, 4)],
    ),
    "nn.functional.scaled_dot_product_attention": (F.scaled_dot_product_attention, [(1, 2, 3, 4)] * 3),
    "nn.functional.unfold": (lambda x: F.unfold(x, 2), [(1, 2, 3, 4)]),
    "slice_scatter": (lambda x, s: x.slice_scatter(s, 0, 1, 3), [(4, 3), (2, 3)]),
    "svd": (lambda a: [t.abs() for t in rtorch.svd(a)], [(3, 4)]),
    "to": (lambda x: x.to(x.dtype, copy=True), [(3, 2)]),
}


def widen(value, dtype, alike=False):
    """A recorded argument in double precision; variables become complex where that is asked for, by a fixed rule, and
    (alike) so do the others."""
    if isinstance(value, rtorch.Tensor):
        variable = value.requires_grad
        if value.dtype is rtorch.float32:
            wide = value.detach().double()
            if dtype is rtorch.complex128 and (variable or alike):
                wide = rtorch.complex(wide, wide.flip(tuple(range(wide.dim()))) * 0.5 + 0.25)
            return wide.requires_grad_(variable)
        return value.to(dtype).detach().requires_grad_(variable) if value.dtype is rtorch.complex64 else value
    if isinstance(value, (list, tuple)):
        return type(value)(widen(v, dtype, alike) for v in value)
    if isinstance(value, dict):
        return {k: widen(v, dtype, alike) for k, v in value.items()}
    return rtorch.float64 if value is rtorch.float32 else value


def substitute(value, fresh):
    """The value with its variables replaced, in order."""
    if isinstance(value, rtorch.Tensor):
        return next(fresh) if value.requires_grad else value
    if isinstance(value, (list, tuple)):
        return type(value)(substitute(v, fresh) for v in value)
    if isinstance(value, dict):
        return {k: substitute(v, fresh) for k, v in value.items()}
    return value


def function_of(case, arrays, dtype):
    """(a function of the variables alone, the variables) of a recorded call; None where it is too large or has none."""
    decode = recorded.Decoder(arrays, "cpu")
    name = recorded.entry_name("op", case)
    args = widen([decode(v) for v in case["args"]], dtype, name in ALIKE)
    kwargs = widen(decode.items(case["kwargs"]), dtype, name in ALIKE)
    variables = [t for t in recorded.tensors_of([args, kwargs]) if t.requires_grad]
    if not variables or sum(t.numel() for t in variables) > ELEMENTS or any(t.numel() == 0 for t in variables):
        return None

    folds = any(s in name for s in SYMMETRIC)

    def f(*xs):
        # an operator may write to its arguments
        fresh = iter([symmetric(x) if folds else x * 1 for x in xs])
        new_args, new_kwargs = substitute(args, fresh), substitute(kwargs, fresh)
        if case.get("random"):
            rtorch.manual_seed(0)
        if case["call"].startswith("getattr:"):
            return getattr(new_args[0], case["call"].removeprefix("getattr:"))
        out = recorded.lookup(case["call"])(*new_args, **new_kwargs)
        out = WITHOUT_PHASE.get(name, lambda out: out)(out)
        found = [t for t in recorded.tensors_of(out) if t.dtype in (rtorch.float64, rtorch.complex128)]
        if not found:
            raise Refused
        # what is infinite or no number has no derivative to compare
        return tuple(t if bool(t.isfinite().all()) else t[t.isfinite()] for t in found)

    return f, tuple(t.detach().requires_grad_() for t in variables)


def symmetric(x):
    """The operators that read one triangle only are functions of symmetric matrices."""
    return (x + x.mT.conj()) / 2 if x.dim() > 1 else x * 1


class Refused(Exception):
    """The operator does not take this dtype, or answers nothing that can be differentiated."""


def refuses(made):
    """Does the operator itself refuse the arguments?"""
    f, xs = made
    try:
        return not any(t.requires_grad and t.numel() for t in f(*xs))
    except (Refused, NotImplementedError, RuntimeError, TypeError, ValueError):
        return True


CHECKS = {
    "first": (rtorch.float64, lambda f, xs: gradcheck(f, xs, fast_mode=True, **TOLERANCE)),
    "second": (rtorch.float64, lambda f, xs: gradgradcheck(f, xs, fast_mode=True, **TOLERANCE)),
    "forward": (
        rtorch.float64,
        lambda f, xs: gradcheck(f, xs, check_backward_ad=False, check_forward_ad=True, **TOLERANCE),
    ),
    "batched": (
        rtorch.float64,
        lambda f, xs: gradcheck(f, xs, fast_mode=True, check_batched_grad=True, **TOLERANCE),
    ),
    "complex": (rtorch.complex128, lambda f, xs: gradcheck(f, xs, fast_mode=True, **TOLERANCE)),
    "complex second": (rtorch.complex128, lambda f, xs: gradgradcheck(f, xs, fast_mode=True, **TOLERANCE)),
    "complex forward": (
        rtorch.complex128,
        lambda f, xs: gradcheck(f, xs, check_backward_ad=False, check_forward_ad=True, **TOLERANCE),
    ),
}


def entries():
    _, found = recorded.load("op")
    return [name for name, cases in found.items() if any("grads" in c for c in cases)]


def run(check, name):
    """Checks the first cases of an operator that can be; answers how many there were, raises where one fails."""
    arrays, found = recorded.load("op")
    dtype, judge = CHECKS[check]
    done = 0
    cases = (function_of(case, arrays, dtype) for case in found[name] if "grads" in case)
    if name in EXTRA:
        f, shapes = EXTRA[name]
        outs = lambda *xs: tuple(recorded.tensors_of([f(*xs)]))
        cases = [(outs, tuple(sample(s, dtype, i) for i, s in enumerate(shapes)))]
    for made in cases:
        if done == CASES:
            break
        with warnings.catch_warnings(), recorded.seconds(SECONDS):
            warnings.simplefilter("ignore")
            if made is None or refuses(made):
                continue
            judge(*made)
        done += 1
    return done


def exceptions(check):
    """{operator: why this check does not pass}"""
    return EXCEPTIONS[""] | EXCEPTIONS.get(check, {})


@functools.cache
def known():
    return json.loads(KNOWN.read_text()) if KNOWN.exists() else {}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--update", action="store_true")
    options = parser.parse_args()
    for check in CHECKS:
        if options.check and options.check != check:
            continue
        passing, refusing, failing = [], [], []
        for name in entries():
            if options.only not in name or name in exceptions(check):
                continue
            try:
                (passing if run(check, name) else refusing).append(name)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                failing.append(name)
                print(f"{check} {name}: {type(error).__name__}: {' '.join(str(error).split())[:150]}")
        print(f"{check}: {len(passing)} operators pass, {len(failing)} fail, {len(refusing)} do not take the dtype")
        if options.update:
            record = json.loads(KNOWN.read_text()) if KNOWN.exists() else {}
            mine = record.setdefault(check, {"passing": [], "refusing": []})
            mine["passing"] = sorted({*passing, *mine["passing"]})
            mine["refusing"] = sorted({*refusing, *mine["refusing"]} - set(mine["passing"]))
            KNOWN.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
