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
from rtorch.autograd import gradcheck, gradgradcheck

KNOWN = recorded.DATA / "gradients_known.json"
CASES, ELEMENTS = 2, 400
SECONDS = 60
SYMMETRIC = ("cholesky", "eigh", "eigvalsh", "pinv.hermitian", "ldl")
TOLERANCE = {"atol": 1e-4, "rtol": 1e-3}


def widen(value, dtype):
    """A recorded argument in double precision; variables become complex where that is asked for, by a fixed rule."""
    if isinstance(value, rtorch.Tensor):
        variable = value.requires_grad
        if value.dtype is rtorch.float32:
            wide = value.detach().double()
            if dtype is rtorch.complex128 and variable:
                wide = rtorch.complex(wide, wide.flip(tuple(range(wide.dim()))) * 0.5 + 0.25)
            return wide.requires_grad_(variable)
        return value.to(dtype).detach().requires_grad_(variable) if value.dtype is rtorch.complex64 else value
    if isinstance(value, (list, tuple)):
        return type(value)(widen(v, dtype) for v in value)
    if isinstance(value, dict):
        return {k: widen(v, dtype) for k, v in value.items()}
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
    args = widen([decode(v) for v in case["args"]], dtype)
    kwargs = widen(decode.items(case["kwargs"]), dtype)
    variables = [t for t in recorded.tensors_of([args, kwargs]) if t.requires_grad]
    if not variables or sum(t.numel() for t in variables) > ELEMENTS or any(t.numel() == 0 for t in variables):
        return None

    folds = any(s in recorded.entry_name("op", case) for s in SYMMETRIC)

    def f(*xs):
        # an operator may write to its arguments
        fresh = iter([symmetric(x) if folds else x * 1 for x in xs])
        new_args, new_kwargs = substitute(args, fresh), substitute(kwargs, fresh)
        if case.get("random"):
            rtorch.manual_seed(0)
        if case["call"].startswith("getattr:"):
            return getattr(new_args[0], case["call"].removeprefix("getattr:"))
        out = recorded.lookup(case["call"])(*new_args, **new_kwargs)
        found = [t for t in recorded.tensors_of(out) if t.dtype in (rtorch.float64, rtorch.complex128)]
        if not found:
            raise Refused
        return tuple(found)

    return f, tuple(t.detach().requires_grad_() for t in variables)


def symmetric(x):
    """The operators that read one triangle only are functions of symmetric matrices."""
    return (x + x.mT.conj()) / 2 if x.dim() > 1 else x * 1


class Refused(Exception):
    """The operator does not take this dtype, or answers nothing that can be differentiated."""


CHECKS = {
    "first": (rtorch.float64, lambda f, xs: gradcheck(f, xs, fast_mode=True, **TOLERANCE)),
    "second": (rtorch.float64, lambda f, xs: gradgradcheck(f, xs, fast_mode=True, **TOLERANCE)),
    "forward": (
        rtorch.float64,
        lambda f, xs: gradcheck(f, xs, check_backward_ad=False, check_forward_ad=True, **TOLERANCE),
    ),
    "batched": (
        rtorch.float64,
        lambda f, xs: gradcheck(f, xs, check_backward_ad=False, check_batched_grad=True, **TOLERANCE),
    ),
    "complex": (rtorch.complex128, lambda f, xs: gradcheck(f, xs, fast_mode=True, **TOLERANCE)),
    "complex second": (rtorch.complex128, lambda f, xs: gradgradcheck(f, xs, fast_mode=True, **TOLERANCE)),
}


def entries():
    _, found = recorded.load("op")
    return [name for name, cases in found.items() if any("grads" in c for c in cases)]


def run(check, name):
    """Checks the first cases of an operator; answers how many there were, raises where one fails."""
    arrays, found = recorded.load("op")
    dtype, judge = CHECKS[check]
    done = 0
    for case in found[name]:
        if "grads" not in case or done == CASES:
            continue
        made = function_of(case, arrays, dtype)
        if made is None:
            continue
        with warnings.catch_warnings(), recorded.seconds(SECONDS):
            warnings.simplefilter("ignore")
            judge(*made)
        done += 1
    return done


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
        passing, tried = [], 0
        for name in entries():
            if options.only not in name:
                continue
            try:
                done = run(check, name)
                tried += bool(done)
                passing += [name] if done else []
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                tried += 1
                print(f"{check} {name}: {type(error).__name__}: {' '.join(str(error).split())[:150]}")
        print(f"{check}: {len(passing)} of {tried} operators")
        if options.update:
            record = json.loads(KNOWN.read_text()) if KNOWN.exists() else {}
            record[check] = sorted({*passing, *record.get(check, [])})
            KNOWN.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
