"""Times every recorded operator, forward and backward, float32 and float64, beside PyTorch if an interpreter is given.

usage: operators.py [--torch-python PATH] [--threads 2] [--cpu-time] [--all] [OPERATOR ...]

Operators and arguments come from the recorded calls, enlarged (`enlarged.py`). Prints what is slower than PyTorch, the
worst first (--all: everything), and how many are below half of its speed. Times are microseconds, the fastest of a few
calls; backward is the gradient alone. --cpu-time counts the processor's time instead of the clock's: what a machine
that is busy with other work can tell, on one thread.
"""

import argparse
import importlib
import json
import math
import queue
import subprocess
import sys
import threading
import time

import enlarged
from runner import force

CALLS = 5
CALL_SECONDS = 0.1
# the first call of a size touches memory that the process never had
LEAST = 2
# a library that needs longer for one operator is stopped there
OPERATOR_SECONDS = 30
WAYS = ("every", "first")
# below this part of the other library's speed an operator is measured twice
AGAIN = 0.67
# recorded calls of an operator that are tried
TRIED = 6


def fastest(function, clock):
    """Microseconds of the fastest of a few calls."""
    best, spent = math.inf, 0.0
    for number in range(1, CALLS + 1):
        start = clock()
        force(function())
        seconds = clock() - start
        best, spent = min(best, seconds), spent + seconds
        if spent > CALL_SECONDS and number >= LEAST:
            break
    return best * 1e6


def differentiable(result):
    results = result if isinstance(result, (tuple, list)) else [result]
    return [r for r in results if getattr(r, "requires_grad", False)]


def times(library, case, way, dtype, clock):
    """{"forward": microseconds, "backward": ...} of one enlarged call."""
    arguments = enlarged.Arguments(library, case, way, dtype)
    function = arguments.lookup(case["call"])

    def forward():
        return function(*arguments.args, **arguments.kwargs)

    def without_graph():
        with library.no_grad():
            return forward()

    result = forward()
    if not hasattr(result, "data_ptr") and not isinstance(result, (tuple, list)):
        raise ValueError("no tensor")
    if hasattr(result, "numel") and not result.numel():
        raise ValueError("no elements")
    measured = {"forward": fastest(without_graph, clock)}
    outs = differentiable(result)
    if arguments.leaves and outs:
        cotangents = [library.ones_like(out) for out in outs]

        def backward():
            return library.autograd.grad(outs, arguments.leaves, cotangents, retain_graph=True, allow_unused=True)

        measured["backward"] = fastest(backward, clock)
    return measured


def first_that_runs(library, cases, dtype, clock):
    """(call, way, times) of the first enlarged call that the library takes, or None."""
    tries = [(number, way) for number in range(len(cases)) for way in WAYS]
    tries.sort(key=lambda t: not enlarged.is_large(cases[t[0]], t[1]))
    for number, way in tries[: TRIED * len(WAYS)]:
        library.manual_seed(0)
        try:
            return number, way, times(library, cases[number], way, dtype, clock)
        except Exception:  # this call does not take such sizes
            continue
    return None


def work(options):
    """Prints a line of JSON for every operator, dtype and direction that this library can do."""
    library = importlib.import_module(options.library)
    library.set_num_threads(options.threads)
    clock = time.process_time if options.cpu_time else time.perf_counter
    for number, (name, cases) in enumerate(enlarged.calls().items()):
        wanted = name in options.only if options.exact else any(part in name for part in options.only)
        if number < options.first or options.only and not wanted:
            continue
        print(json.dumps([number, name]), flush=True)
        for dtype in ("float32", "float64"):
            found = first_that_runs(library, cases, dtype, clock)
            for what, fast in found[2].items() if found else ():
                print(json.dumps([name, *found[:2], dtype, what, fast]), flush=True)


def collect(python, library, options, only=()):
    """{(operator, call, way, dtype, direction): microseconds} under one library; `only`: of these operators."""
    command = [python, sys.argv[0], "--library", library, "--threads", str(options.threads)]
    command += [*only, "--exact"] if only else options.only
    command += ["--cpu-time"] * options.cpu_time
    first, found = 0, {}
    while first is not None:
        first = part(command, first, found)
    return found


def hand_on(stream, lines):
    """Puts every line of a stream into a queue, and None behind the last."""
    for line in stream:
        lines.put(line)
    lines.put(None)


def part(command, first, found):
    """The operators from `first` on, into `found`; the number to go on with behind one that takes too long, or None."""
    lines, at = queue.Queue(), (first, "")
    with subprocess.Popen([*command, "--first", str(first)], stdout=subprocess.PIPE, text=True) as worker:
        threading.Thread(target=hand_on, args=(worker.stdout, lines), daemon=True).start()
        while True:
            try:
                line = lines.get(timeout=OPERATOR_SECONDS)
            except queue.Empty:
                worker.kill()
                print(f"{command[3]}: {at[1]} takes over {OPERATOR_SECONDS} s, left out")
                return at[0] + 1
            if line is None:
                break
            *key, last = json.loads(line)
            if len(key) == 1:
                at = (key[0], last)
            else:
                found[tuple(key)] = last
    if worker.returncode:
        print(f"{command[3]} stopped with status {worker.returncode} at {at[1]}")
        return at[0] + 1
    return None


def report(options):
    here = collect(sys.executable, "rtorch", options)
    there = collect(options.torch_python, "torch", options) if options.torch_python else {}
    slow = sorted({key[0] for key in here if there.get(key, math.inf) < AGAIN * here[key]})
    if slow:  # the machine may have been busy with other work: the faster of two runs, on both sides
        for python, library, found in ((sys.executable, "rtorch", here), (options.torch_python, "torch", there)):
            for key, microseconds in collect(python, library, options, slow).items():
                found[key] = min(found.get(key, math.inf), microseconds)
    rows = {(key[0], *key[3:]): key for key in here if not there or key in there}
    lines = sorted((there.get(key, math.nan) / here[key], row, key) for row, key in rows.items())
    for ratio, (name, dtype, what), key in lines:
        if options.all or not there or ratio < 1:
            beside = f"   torch {there[key]:10.1f}   {ratio:6.2f}x" if there else ""
            print(f"{name:44} {dtype:8} {what:8} rtorch {here[key]:10.1f}{beside}")
    operators = {row[0] for row in rows}
    print(f"{len(lines)} rows of {len(operators)} operators, threads {options.threads}")
    if there:
        below = {row[0] for ratio, row, _ in lines if ratio < 0.5}
        mean = math.exp(sum(math.log(ratio) for ratio, *_ in lines) / max(len(lines), 1))
        print(f"geometric mean {mean:.2f}x; below half of PyTorch's speed: {', '.join(sorted(below)) or 'none'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("only", nargs="*", help="parts of the names of the operators to run")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="count the processor's time")
    parser.add_argument("--all", action="store_true", help="also what is not slower than PyTorch")
    parser.add_argument("--torch-python", default="", help="an interpreter that has PyTorch, to run beside")
    parser.add_argument("--exact", action="store_true", help="the names are those of operators, not parts of them")
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--library", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    (work if options.library else report)(options)


if __name__ == "__main__":
    main()
