"""Small recorded programs and what PyTorch 2.13 answers to each (tests/data/expressions_*.jsonl).

A line is {"group", "id", "code", "want"}: `torch` in the code is rtorch, and the value of its last expression is
compared with `want`, which is JSON: {"tensor": dtype, "shape", "values"}, {"raises": [class names]}, and so on.
test_expressions.py turns them into tests. Run as a script it prints totals and keeps the list of those that agree:

usage: expressions.py [--group SUBSTRING] [--update]
"""

import argparse
import ast
import collections
import copy
import functools
import io
import json
import math
import pathlib
import pickle
import sys
import warnings

import numpy as np

import rtorch
from recorded import seconds

DATA = pathlib.Path(__file__).parent / "data"
KNOWN = DATA / "expressions_known.json"
TOLERANCE = 1e-4
HALF_TOLERANCE = 2e-2
PROGRAM_SECONDS = 30


@functools.cache
def programs():
    """{"group/id": case}, in the files' order."""
    paths = sorted(DATA.glob("expressions_*.jsonl"))
    lines = [line for path in paths for line in path.read_text().splitlines() if line]
    return {f"{case['group']}/{case['id']}": case for case in map(json.loads, lines)}


def evaluate(code):
    """The value of the last expression of `code`, or None if it ends in a statement."""
    names = {"torch": rtorch, "nn": rtorch.nn, "F": rtorch.nn.functional, "np": np, "DEV": "cpu", "__name__": "case"}
    modules = {m.__name__: m for m in (collections, copy, io, math, pickle)}
    scope = {**modules, **names}
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    before = sys.modules.get("torch")
    sys.modules["torch"] = rtorch  # `import torch` inside a program finds the library under test
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(tree, "case", "exec"), scope)
            return eval(compile(ast.Expression(last.value), "case", "eval"), scope) if last else None
    finally:
        if before is None:
            del sys.modules["torch"]
        else:
            sys.modules["torch"] = before


def number_agrees(want, got, tolerance):
    if isinstance(want, dict):
        if "complex" in want:
            parts = (got.real, got.imag) if isinstance(got, complex) else ()
            return len(parts) == 2 and all(number_agrees(w, g, tolerance) for w, g in zip(want["complex"], parts))
        return isinstance(got, float) and str(got) == want["float"]
    if isinstance(want, bool) or isinstance(got, bool):
        return want is got
    if isinstance(want, int):
        return isinstance(got, int) and want == got
    return isinstance(got, float) and math.isfinite(got) and abs(want - got) <= tolerance * max(1.0, abs(want))


def values_agree(want, got, tolerance):
    """Nested lists of numbers."""
    if isinstance(want, list):
        same = isinstance(got, list) and len(want) == len(got)
        return same and all(values_agree(w, g, tolerance) for w, g in zip(want, got))
    return number_agrees(want, got, tolerance)


def dictionary_agrees(want, got):
    if "tensor" in want:
        if not isinstance(got, rtorch.Tensor):
            return False
        tolerance = HALF_TOLERANCE if want["tensor"] in ("float16", "bfloat16") else TOLERANCE
        same = str(got.dtype) == f"torch.{want['tensor']}" and list(got.shape) == want["shape"]
        return same and values_agree(want["values"], got.detach().cpu().tolist(), tolerance)
    if "array" in want:
        same = isinstance(got, np.ndarray) and (got.dtype.name, list(got.shape)) == (want["array"], want["shape"])
        return same and values_agree(want["values"], got.tolist(), TOLERANCE)
    if "size" in want:
        return isinstance(got, rtorch.Size) and list(got) == want["size"]
    if "dict" in want:
        items = list(got.items()) if isinstance(got, dict) else ()
        return len(items) == len(want["dict"]) and all(agrees(w, list(g)) for w, g in zip(want["dict"], items))
    if "set" in want:
        return isinstance(got, (set, frozenset)) and sorted(map(str, got)) == want["set"]
    if "object" in want:
        return type(got).__name__ == want["object"]
    return number_agrees(want, got.item() if isinstance(got, np.generic) else got, TOLERANCE)


def agrees(want, got):
    """Whether the value `got` is what the JSON `want` describes: numbers to 1e-4, everything else exactly."""
    if isinstance(want, dict):
        return dictionary_agrees(want, got)
    if isinstance(want, str) and isinstance(got, (rtorch.dtype, rtorch.device)):
        return want == str(got)
    if isinstance(want, list):
        same = isinstance(got, (list, tuple)) and not isinstance(got, rtorch.Size) and len(want) == len(got)
        return same and all(agrees(w, g) for w, g in zip(want, got))
    if want is None or isinstance(want, str):
        return type(want) is type(got) and want == got
    return number_agrees(want, got.item() if isinstance(got, np.generic) else got, TOLERANCE)


def problem(case):
    """None if rtorch answers the program as PyTorch does, else what it did instead."""
    wanted = case["want"].get("raises") if isinstance(case["want"], dict) else None
    try:
        with seconds(PROGRAM_SECONDS):
            got = evaluate(case["code"])
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        names = [c.__name__ for c in type(error).__mro__]
        # "not implemented" is no refusal, unless PyTorch says so too.
        honest = names[0] != "NotImplementedError" or (wanted or [None])[0] == "NotImplementedError"
        return None if wanted and wanted[0] in names and honest else f"{names[0]}: {error}"
    if wanted:
        return f"no error but {got!r}"
    return None if agrees(case["want"], got) else f"{got!r}"


def known():
    """Names of the programs that agree, as last recorded."""
    return json.loads(KNOWN.read_text()) if KNOWN.exists() else []


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--group", default="")
    parser.add_argument("--update", action="store_true")
    options = parser.parse_args()
    totals, passing = collections.defaultdict(lambda: [0, 0]), set(known())
    for name, case in programs().items():
        if options.group not in case["group"]:
            continue
        why = problem(case)
        total = totals[case["group"]]
        total[0] += why is None
        total[1] += 1
        if why is None:
            passing.add(name)
        else:
            print(f"{name}\n    code {case['code']!r}\n    want {str(case['want'])[:300]}\n    got  {why[:300]}")
    for group, (ok, count) in totals.items():
        print(f"{group}: {ok} of {count}")
    if options.update:
        KNOWN.write_text(json.dumps(sorted(passing), indent=0) + "\n")


if __name__ == "__main__":
    main()
