"""Writes docs/operators.md: what each operator is made of, which dtypes it takes, whether it has a gradient and whether
the GPU has kernels for it. All of it is found by running the recorded calls of tests/data/ops_float32.npz under a trace
of the core's choke point; the rows are the table's. test_operator_reference.py holds the file true.

usage: operators.py [--only SUBSTRING]     (prints instead of writing)
"""

import argparse
import contextlib
import warnings

import recorded
import rtorch
from rtorch import _C

PAGE = recorded.DATA.parent.parent / "docs" / "operators.md"
GROUPS = {
    "bool": ["bool"],
    "integers": ["uint8", "int8", "int16", "int32", "int64"],
    "floats": ["float16", "bfloat16", "float32", "float64"],
    "complex": ["complex64", "complex128"],
}
CASES, TRACED, SECONDS = 2, 4, 20
HEAD = """# Operators

Written by `python tests/operators.py`; `tests/test_operator_reference.py` holds it true.

The four kinds are those of `design.md`: a *scalar op* is one row of the table, a *view* changes the layout only, a
*primitive* is one kernel with a name, a *composition* is code over the others (a *program* where it is one fused
kernel, a *copy* where it is one of memory); the simplest recorded call decides.
Dtypes are those that a recorded call takes when its float32 arguments are cast (*integers*: uint8 to int64, *floats*:
16, 32 and 64 bits and bfloat16); integers often come back as floats. *Gradient*: the result is differentiable.
*GPU*: the kernels behind the call with float32 are the GPU's own; "host" runs them on the CPU and says so once.
"""


def cast(value, dtype, variables=""):
    """A recorded argument with its float32 tensors in another dtype; variables where they were recorded as such, or
    ("all") everywhere."""
    if isinstance(value, rtorch.Tensor):
        if value.dtype is not rtorch.float32:
            return value
        variable = variables == "all" or (variables == "recorded" and value.requires_grad)
        return value.detach().to(dtype).requires_grad_(variable)
    if isinstance(value, (list, tuple)):
        return type(value)(cast(v, dtype, variables) for v in value)
    if isinstance(value, dict):
        return {k: cast(v, dtype, variables) for k, v in value.items()}
    return dtype if value is rtorch.float32 else value


def run(case, arrays, dtype, variables=""):
    decode = recorded.Decoder(arrays, "cpu")
    args, kwargs = [decode(v) for v in case["args"]], decode.items(case["kwargs"])
    args, kwargs = cast(args, dtype, variables), cast(kwargs, dtype, variables)
    rtorch.manual_seed(0)
    with warnings.catch_warnings(), recorded.seconds(SECONDS):
        warnings.simplefilter("ignore")
        if case["call"].startswith("getattr:"):
            return getattr(args[0], case["call"].removeprefix("getattr:"))
        return recorded.lookup(case["call"])(*args, **kwargs)


def traced(case, arrays):
    """The notes of a call in float32, without those of making its arguments."""
    decode = recorded.Decoder(arrays, "cpu")
    args, kwargs = [decode(v) for v in case["args"]], decode.items(case["kwargs"])
    args, kwargs = cast(args, rtorch.float32), cast(kwargs, rtorch.float32)
    attribute = case["call"].removeprefix("getattr:") if case["call"].startswith("getattr:") else None
    f = None if attribute else recorded.lookup(case["call"])
    rtorch.manual_seed(0)
    with warnings.catch_warnings(), rtorch.no_grad():
        warnings.simplefilter("ignore")
        _C._trace_begin()
        try:
            getattr(args[0], attribute) if attribute else f(*args, **kwargs)
        finally:
            notes = _C._trace_end()
    return notes


def kind(notes):
    """The operator's kind, from what one call is made of."""
    if len(notes) != 1:
        return "composition"
    what, *rest = notes[0].split()
    if what == "map":
        return "copy" if not rest else "program" if "+" in rest[0] else "scalar op"
    return {"view": "view", "prim": "primitive"}[what]


def dtypes_of(cases, arrays):
    taken = set()
    for name in (n for names in GROUPS.values() for n in names):
        for case in cases:
            with contextlib.suppress(Exception):
                run(case, arrays, getattr(rtorch, name))
                taken.add(name)
                break
    parts = []
    for group, names in GROUPS.items():
        here = [n for n in names if n in taken]
        parts += [group] if here == names else here
    return ", ".join(parts)


def differentiable(cases, arrays):
    for case, variables in ((c, v) for c in cases for v in ("recorded", "all")):
        with contextlib.suppress(Exception):
            outs = recorded.tensors_of(run(case, arrays, rtorch.float32, variables))
            if any(t.requires_grad for t in outs):
                return "yes"
    return "no"


def row(name, cases, arrays):
    """The line of an operator."""
    # the simplest call that does anything says what the operator is
    notes = min(filter(None, (traced(c, arrays) for c in cases[:TRACED])), key=len, default=[])
    cases = cases[:CASES]
    prims = sorted({n.split()[1] for n in notes if n.startswith("prim")})
    host = sorted({n.split()[1] for n in notes if n.startswith("prim") and n.endswith("host")})
    made = ", ".join(prims)
    gpu = f"host ({', '.join(host)})" if host else "yes"
    line = (name, kind(notes), made, dtypes_of(cases, arrays), differentiable(cases, arrays), gpu)
    return "| " + " | ".join(line) + " |"


def rows(only="", every=1):
    arrays, entries = recorded.load("op")
    for i, name in enumerate(sorted(entries)):
        if only in name and i % every == 0:
            yield name, row(name, entries[name], arrays)


def table():
    lines = ["", "## Rows of the table", "", "| row | class | meaning |", "|---|---|---|"]
    lines += [f"| {name} | {kind} | {doc} |" for name, kind, doc in sorted(_C._rows())]
    return lines


def others():
    """Operators of the registry that no recorded call names."""
    _, entries = recorded.load("op")
    called = {c["call"].rpartition(".")[2] for cases in entries.values() for c in cases}
    rest = sorted(n for n in _C._operators if not n.startswith("_") and n not in called)
    return ["", "## Without a recorded call", "", ", ".join(f"`{n}`" for n in rest) + "."]


def page(lines):
    head = ["", "## Operators by name", "", "| operator | kind | primitives | dtypes | gradient | GPU |"]
    head.append("|---|---|---|---|---|---|")
    return HEAD + "\n".join([*head, *lines, *table(), *others()]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    lines = [line for _, line in rows(options.only)]
    if options.only:
        print("\n".join(lines))
    else:
        PAGE.write_text(page(lines))


if __name__ == "__main__":
    main()
