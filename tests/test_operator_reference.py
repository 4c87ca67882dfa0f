"""docs/operators.md says what is so (tests/operators.py writes it)."""

import pytest

import operators
import recorded

EVERY = 16


def listed():
    """{operator: its line}"""
    text = operators.PAGE.read_text()
    part = text.split("## Operators by name")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")][1:]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines}


def test_every_operator_is_listed():
    _, entries = recorded.load("op")
    assert set(listed()) == set(entries)
    text = operators.PAGE.read_text()
    assert text == operators.page(list(listed().values()))


@pytest.mark.parametrize("every", [EVERY, pytest.param(1, marks=pytest.mark.slow)])
def test_lines_are_true(every):
    lines = listed()
    wrong = [line for name, line in operators.rows(every=every) if line != lines[name]]
    assert not wrong


def test_kinds():
    kinds = {name: line.split(" | ")[1] for name, line in listed().items()}
    assert kinds["exp"] == "scalar op" and kinds["transpose"] == "view" and kinds["cumsum"] == "primitive"
    assert kinds["nn.functional.smooth_l1_loss"] == "composition"
    assert operators.kind(["map exp"]) == "scalar op" and operators.kind(["map add+exp"]) == "program"
