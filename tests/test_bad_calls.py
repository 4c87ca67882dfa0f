"""Calls that have crashed, hung or fooled well-known libraries: each raises PyTorch's exception class, or where PyTorch
answers, gives an answer or an exception. `data/bad_calls.tsv` holds the case, the call and what PyTorch does."""

import pathlib
import time
import warnings

import pytest

import rtorch

ROWS = [
    line.split("\t")
    for line in (pathlib.Path(__file__).parent / "data" / "bad_calls.tsv").read_text().splitlines()[1:]
    if line.count("\t") == 2
]
CLASSES = {"_LinAlgError": "LinAlgError"}
# operators that do not exist yet
MISSING = {"lu_unpack pivots", "lstm_cell weird"}
# a wrong answer would take the machine's memory or minutes; a refusal takes none
SECONDS = 5


def scope():
    import rtorch.nn as nn
    import rtorch.nn.functional as F

    return {"torch": rtorch, "F": F, "nn": nn}


@pytest.mark.parametrize("case,code,want", ROWS, ids=[r[0].replace(" ", "-") for r in ROWS])
def test_ends_as_in_pytorch(case, code, want):
    names = scope()
    begin = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exec(code.replace("\\n", "\n"), names)
            raised = None
        except Exception as e:
            raised = e
    assert time.monotonic() - begin < SECONDS
    if raised is not None:
        assert "internal error" not in str(raised), raised
    if case in MISSING and isinstance(raised, AttributeError):
        pytest.xfail(str(raised))
    expected = want.split(" | ")[0].strip()
    if not want.startswith("OK"):
        assert raised is not None, f"{code} answered; PyTorch raises {want[:80]}"
        classes = [c.__name__ for c in type(raised).__mro__]
        assert CLASSES.get(expected, expected) in classes, f"{type(raised).__name__}: {raised}; PyTorch: {want[:80]}"
