"""Random tensor programs (fuzz_language.py) against NumPy, and against themselves with and without deferral.

A program runs twice. First step by step: after each statement the result is read, held against the NumPy twin of that
one statement, and its bits are given to NumPy, so that errors do not add up. Then in one go, nothing being read before
the end: everything that was deferred, fused, donated or copied on write must leave the very same bits. (A GPU's
compiler may contract a multiply and an add: there most elements of programs without jumps must be near.) The modes
default, eager and always (RTORCH_EAGER, RTORCH_DEFER) all have their turn, and each differentiates the program too:
what it saved for backward is captured before later statements write, and the gradients must be the same bits.

usage: fuzz.py [--seeds 0:1000] [--device cpu|wgpu] [--until-failure] [--show SEED]
"""

import argparse
import os
import sys

import numpy as np

import rtorch
from fuzz_language import COMPARE, FLOATS, TWIN_SCOPE, Generator, Statement, wide

LEAVES = (2, 6)
STATEMENTS = (5, 40)
# GPU against the twin: WGSL promises less of exp, log and the like than the CPU kernels give (docs/design.md).
GPU_ULPS = {"float16": 2.0, "float32": 4096.0, "float64": 16.0}
GPU_NEAR, GPU_SHARE = 1e-2, 0.9
# Operators that turn a rounding error into another value.
JUMPS = {"sign", "floor", "ceil", "round", "trunc", "argmax", "nan_to_num", "to", *COMPARE}
MODES = ("default", "eager", "always")
# The fuzzer's own copies, whatever a test plants in `clone`.
CLONE = rtorch.Tensor.clone


class Mismatch(AssertionError):
    """A statement whose answer is not NumPy's, or a program whose two runs differ."""


def bits(tensor):
    """A tensor's values as a NumPy array of its own, NaNs made one NaN."""
    array = np.array(tensor.detach().cpu().numpy())
    if array.dtype.kind == "f":
        array[np.isnan(array)] = np.nan
    return array


def bound(statement, want, arrays, device):
    """How far each element may be from the twin's."""
    kind = want.dtype.name
    step = np.spacing(np.abs(np.where(np.isfinite(want), want, 0)).astype(want.dtype)).astype(np.float64)
    if isinstance(statement.error, str):
        # A sum of n terms in any order: n rounding errors of a partial sum.
        operands = [
            wide(np.where(np.isfinite(arrays[n]), arrays[n], 0)) for n in arrays if n in names_in(statement.code)
        ]
        # NumPy's: its power overflows to infinity, where Python's raises
        largest = np.float64(max([1.0, *(np.abs(x).max(initial=0) for x in operands)]))
        terms = max(x.size for x in operands)
        power = 2 if statement.error == "product" else 1
        scale = 1.0 if statement.error == "softmax" else largest**power + np.abs(np.where(np.isfinite(want), want, 0))
        return step + np.finfo(kind).eps * terms * scale
    ulps = statement.error
    if device != "cpu":
        ulps = max(GPU_ULPS[kind], ulps) if ulps else (1.0 if kind == "float16" else 4.0)
    return ulps * step


def names_in(code):
    return set("".join(c if c.isalnum() else " " for c in code).split())


def check(statement, got, want, arrays, device):
    if (got.dtype, got.shape) != (want.dtype, want.shape):
        raise Mismatch(f"{got.dtype}{got.shape}, NumPy {want.dtype}{want.shape}")
    if want.dtype.kind != "f":
        wrong = got != want
    else:
        with np.errstate(all="ignore"):
            near = np.abs(wide(got) - wide(want)) <= bound(statement, want, arrays, device)
        wrong = ~(near | (got == want) | (np.isnan(got) & np.isnan(want)))
        if isinstance(statement.error, str) or device != "cpu":
            # A large sum may or may not overflow, depending on its order.
            wrong &= np.isfinite(want) & np.isfinite(got)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise Mismatch(f"at {place}: {got[place]!r}, NumPy {want[place]!r}")


class Program:
    """A seed's program: its leaves, and its statements as they are generated."""

    def __init__(self, seed, device):
        self.seed = seed
        on_host = device == "cpu"
        self.generator = Generator(seed, FLOATS if on_host else ("float32", "float16"), shares=on_host)
        self.leaves = {}
        rng = self.generator.rng
        for _ in range(rng.integers(*LEAVES)):
            name = self.generator.new()
            self.leaves[name] = self.generator.leaf_values(*self.generator.leaf())
            self.generator.dense.add(name)
        self.length = int(rng.integers(*STATEMENTS))
        self.statements = []

    def tensors(self, device):
        return {name: rtorch.tensor(values.copy(), device=device) for name, values in self.leaves.items()}

    def source(self):
        lines = [f"{n} = # {a.dtype}{list(a.shape)}" for n, a in self.leaves.items()]
        return "\n".join(lines + [line(statement) for statement in self.statements])


def line(statement: Statement):
    return statement.code if statement.writes else f"{statement.name} = {statement.code}"


def run_by_steps(program, device):
    """Generates the program and holds every statement against NumPy; returns the variables' final values."""
    arrays = program.generator.arrays
    arrays.update({name: np.array(values) for name, values in program.leaves.items()})
    scope = {"torch": rtorch, "DEV": device, **program.tensors(device)}
    for _ in range(program.length):
        statement = program.generator.statement()
        program.statements.append(statement)
        before = {n: np.array(a) for n, a in arrays.items() if n in names_in(statement.code)}
        with np.errstate(all="ignore"):
            if statement.writes:
                exec(statement.twin, {**TWIN_SCOPE, **arrays})
            else:
                arrays[statement.name] = np.asarray(eval(statement.twin, {**TWIN_SCOPE, **arrays}))
        try:
            exec(line(statement), scope)
            got = bits(scope[statement.name])
            check(statement, got, arrays[statement.name], before, device)
        except Exception as error:
            raise Mismatch(f"seed {program.seed}: {type(error).__name__}: {error}\n{program.source()}") from error
        target = arrays[statement.name]
        if statement.writes or target.flags.writeable:
            target[...] = got
    return {name: bits(scope[name]) for name in arrays}


def run_in_one_go(program, device):
    """The statements again, on fresh tensors, with nothing read before the end."""
    scope = {"torch": rtorch, "DEV": device, **program.tensors(device)}
    for statement in program.statements:
        exec(line(statement), scope)
    return {name: bits(scope[name]) for name in program.generator.arrays}


def gradients(program, device):
    """The floating-point leaves' gradients of a number that depends on every variable."""
    tensors = program.tensors(device)
    leaves = {name: t.requires_grad_() for name, t in tensors.items() if t.is_floating_point()}
    # Clones, since a program may write into its leaves, which autograd refuses for leaves of its own.
    scope = {"torch": rtorch, "DEV": device, **tensors, **{name: CLONE(t) for name, t in leaves.items()}}
    for statement in program.statements:
        exec(line(statement), scope)
    variables = [scope[name] for name in program.generator.arrays]
    # A weight of each element's own, so that no two paths into a leaf cancel or look alike.
    parts = [(v.float() * v.detach().float().sin()).sum() for v in variables if v.requires_grad]
    if not parts:
        return {}
    try:
        grads = rtorch.autograd.grad(sum(parts), list(leaves.values()), allow_unused=True)
    except RuntimeError as error:
        # What was saved in memory that NumPy sees is not copied before a write: refused, in every mode.
        if not program.generator.lent or "modified by an inplace operation" not in str(error):
            raise
        return {"refused": np.ones(1)}
    return {name: bits(grad) for name, grad in zip(leaves, grads, strict=True) if grad is not None}


def mostly_near(got, want):
    """Whether most elements are near, of those that are finite in both: a compiler may turn inf - inf into 0."""
    both = np.isfinite(got) & np.isfinite(want)
    got, want = got[both], want[both]
    scale = max(1.0, float(np.abs(wide(want)).max(initial=0)))
    near = np.isclose(wide(got), wide(want), rtol=GPU_NEAR, atol=GPU_NEAR * scale)
    return near.mean() >= GPU_SHARE if near.size else True


def compare_runs(program, steps, whole, how, what="{} differs when nothing is read in between"):
    jumps = any(s.operator in JUMPS for s in program.statements)
    if steps.keys() != whole.keys():
        raise Mismatch(f"seed {program.seed}: on {how}, {sorted(whole)}, not {sorted(steps)}\n{program.source()}")
    for name, want in steps.items():
        got = whole[name]
        same = got.dtype == want.dtype and got.shape == want.shape
        if how.startswith("cpu"):
            same = same and got.tobytes() == want.tobytes()
        elif not jumps:
            with np.errstate(all="ignore"):
                same = same and mostly_near(got, want)
        if not same:
            raise Mismatch(f"seed {program.seed}: on {how}, {what.format(name)}\n{program.source()}")


def usual_mode():
    """The mode that the environment asks for."""
    if os.environ.get("RTORCH_EAGER") == "1":
        return "eager"
    return "always" if os.environ.get("RTORCH_DEFER") == "always" else "default"


def run(seed, device="cpu"):
    """Runs one program by steps, and in one go in every mode; returns (whether anything was fused, operators)."""
    program = Program(seed, device)
    steps = run_by_steps(program, device)
    before = rtorch.runtime_stats()["fused"]
    first = None
    # A GPU defers everything by itself: `always` would be `default` once more.
    for mode in MODES if device == "cpu" else MODES[:2]:
        rtorch._C._set_defer_mode(mode)
        try:
            whole = run_in_one_go(program, device)
            grads = gradients(program, device)
        finally:
            rtorch._C._set_defer_mode(usual_mode())
        compare_runs(program, steps, whole, f"{device}, mode {mode}")
        first = grads if first is None else first
        compare_runs(program, first, grads, f"{device}, mode {mode}", "the gradient of {} is not the default mode's")
    fused = rtorch.runtime_stats()["fused"] > before
    return fused, {s.operator for s in program.statements}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0:1000")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--until-failure", action="store_true", help="stop at the first difference")
    parser.add_argument("--show", type=int, default=None)
    options = parser.parse_args()
    if options.show is not None:
        program = Program(options.show, options.device)
        run_by_steps(program, options.device)
        print(program.source())
        return
    first, last = map(int, options.seeds.split(":"))
    fused, operators, failed = 0, set(), 0
    for seed in range(first, last):
        try:
            one_fused, names = run(seed, options.device)
        except Mismatch as mismatch:
            failed += 1
            print(mismatch, flush=True)
            if options.until_failure:
                break
            continue
        fused += one_fused
        operators |= names
    count = last - first
    print(f"{count} programs on {options.device}: {failed} differ, {fused} fused something, {len(operators)} operators")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
