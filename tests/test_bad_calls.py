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
# what the answer must be where PyTorch answers: an exception will do, too, and nothing else
RIGHT = {
    "eigh nan": lambda r: bool(r[0].isnan().all()),
    "grid_sample nan": lambda r: bool(r.isnan().all()),
    "pack_padded len>T": lambda r: r.data.shape[0] == int(r.batch_sizes.sum()),
    "embedding_dense_backward": lambda r: r.tolist() == [[0, 0]] * 3,
    "cummax empty": lambda r: r[0].shape == r[1].shape == (0,) and r[1].dtype is rtorch.int64,
    "nanmedian": lambda r: r.shape == () and bool(r.isnan()),
    "roll huge": lambda r: r.tolist() == [2, 0, 1],
}
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
    expected = want.split(" | ")[0].strip()
    if not want.startswith("OK"):
        assert raised is not None, f"{code} answered; PyTorch raises {want[:80]}"
        classes = [c.__name__ for c in type(raised).__mro__]
        assert CLASSES.get(expected, expected) in classes, f"{type(raised).__name__}: {raised}; PyTorch: {want[:80]}"


def test_every_row_is_a_test():
    text = (pathlib.Path(__file__).parent / "data" / "bad_calls.tsv").read_text()
    assert len(ROWS) == len(text.splitlines()) - 1 == 116
    assert {case for case, _, want in ROWS if want.startswith("OK")} == set(RIGHT)


@pytest.mark.parametrize("case,code", [(case, code) for case, code, want in ROWS if want.startswith("OK")])
def test_answers_are_right(case, code):
    try:
        answer = eval(code, scope())
    except Exception as e:
        assert "internal error" not in str(e)
        return
    assert RIGHT[case](answer), answer


@pytest.mark.parametrize(
    "call, error",
    [
        (lambda: rtorch.zeros(0).chunk(2**40), RuntimeError),
        (lambda: rtorch.zeros(0).tensor_split(2**40), RuntimeError),
        (lambda: rtorch.zeros(2, 0).hsplit(2**40), RuntimeError),
        (lambda: rtorch.zeros(1).expand(2**40).unbind(), RuntimeError),
        (lambda: rtorch.zeros(1).expand(2**40).split(1), RuntimeError),
        (lambda: rtorch.column_stack("sum"), TypeError),
        (lambda: rtorch.linalg.multi_dot(["a", "b"]), TypeError),
        (lambda: rtorch.linalg.eigvalsh(rtorch.eye(2), UPLO=rtorch.eye(2)), TypeError),
        (lambda: rtorch.unsafe_split(rtorch.zeros(2), _of="none"), TypeError),
    ],
)
def test_more_views_than_memory_and_lists_of_no_tensors(call, error):
    with pytest.raises(error):
        call()


def test_an_empty_chunk_and_the_largest_number_of_chunks():
    assert [t.shape for t in rtorch.zeros(0, 2).chunk(3)] == [(0, 2)] * 3
    assert [t.tolist() for t in rtorch.arange(3).chunk(2**62)] == [[0], [1], [2]]
    assert [t.tolist() for t in rtorch.topk(rtorch.tensor(3.0), 0, 0)] == [3.0, 0]
