"""Small programs that answered as PyTorch does must go on doing so (tests/expressions.py keeps the list)."""

import pytest

import expressions


@pytest.mark.modes
@pytest.mark.parametrize("name", expressions.known())
def test_answers_as_pytorch(name):
    case = expressions.programs()[name]
    why = expressions.problem(case)
    assert why is None, f"{case['code']}\nwant {case['want']}\ngot {why}"


@pytest.mark.parametrize(
    ("code", "want"),
    [
        ("torch.tensor([1.0, 2.0])", {"tensor": "float32", "shape": [2], "values": [1.0, 2.001]}),
        ("torch.tensor([1.0, 2.0])", {"tensor": "float64", "shape": [2], "values": [1.0, 2.0]}),
        ("torch.tensor([[1]])", {"tensor": "int64", "shape": [1], "values": [1]}),
        ("torch.tensor(float('nan'))", {"tensor": "float32", "shape": [], "values": 1.0}),
        ("repr(torch.tensor([1.0]))", "tensor([1.0])"),
        ("(1, 2)", [1, 2, 3]),
        ("1", True),
        ("1", 1.0),
        ("torch.zeros(2).reshape(3)", {"raises": ["IndexError"]}),
        ("torch.zeros(2)", {"raises": ["RuntimeError"]}),
        ("torch.zeros(2).reshape(3)", {"tensor": "float32", "shape": [3], "values": [0.0, 0.0, 0.0]}),
    ],
)
def test_a_wrong_answer_is_seen(code, want):
    assert expressions.problem({"code": code, "want": want}) is not None
