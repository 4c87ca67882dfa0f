"""The names that PyTorch programs use most (tests/data/api_usage.jsonl), each in a small program, run as they would be.

A line is {"id", "projects", "code", "want"}: how many of 33 well-known projects use the name, a program in which
`torch` is rtorch by `install_as_torch`, and what PyTorch 2.13 answers, in the form of expressions.py. "later": the name
resolves, and calling it raises an exception that says that rtorch does not have it yet. Run as a script (by
test_api_usage.py, in a process of its own) it prints {id: problem or null} as JSON.
"""

import importlib
import json
import pathlib
import sys

DATA = pathlib.Path(__file__).parent / "data" / "api_usage.jsonl"


def cases():
    """{id: case}"""
    return {case["id"]: case for case in map(json.loads, DATA.read_text().splitlines())}


def resolve(path):
    """What `path`, which begins with `torch`, names: attributes, and modules that have to be imported."""
    parts = path.split(".")
    found = importlib.import_module(parts[0])
    for n, part in enumerate(parts[1:], 2):
        try:
            found = getattr(found, part)
        except AttributeError:
            found = importlib.import_module(".".join(parts[:n]))
    return found


def later_problem(path):
    """None if the name is there and says, when called, that it is later work."""
    try:
        resolve(path)()
    except (RuntimeError, ValueError) as e:
        return None if "rtorch" in str(e) else f"does not say so: {e}"
    except Exception as e:
        return f"{type(e).__name__}: {e}"
    return "works"


def main():
    import expressions
    import rtorch

    rtorch.install_as_torch()
    found = {}
    for name, case in cases().items():
        found[name] = later_problem(case["code"]) if case["want"] == "later" else expressions.problem(case)
    print(json.dumps(found))


if __name__ == "__main__":
    sys.exit(main())
