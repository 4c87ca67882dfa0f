"""What the benchmarks share: forcing a result, timing a function, and running the same cases under PyTorch.

A case is a function `(torch, device) -> function to time`. A library that defers work must have done it all before the
clock stops: `force` asks every result for its memory, and a GPU is waited for. PyTorch is a measuring stick in an
environment of its own: `--torch-python PATH` names its interpreter, and both run in turn on the same machine.
"""

import argparse
import importlib
import json
import math
import subprocess
import sys
import time

BATCH_SECONDS = 0.07
BATCHES = 7


def force(result):
    """Makes a result exist in memory."""
    if isinstance(result, (tuple, list)):
        for part in result:
            force(part)
    elif hasattr(result, "data_ptr"):
        result.data_ptr()


def synchronizer(torch, device):
    return torch.accelerator.synchronize if device != "cpu" else lambda: None


def measure(function, synchronize=lambda: None):
    """Microseconds a call: the fastest and the median of seven batches."""
    for _ in range(3):
        force(function())
    synchronize()
    start = time.perf_counter()
    force(function())
    synchronize()
    repeats = max(1, int(BATCH_SECONDS / max(time.perf_counter() - start, 1e-7)))
    times = []
    for _ in range(BATCHES):
        start = time.perf_counter()
        for _ in range(repeats):
            force(function())
        synchronize()
        times.append((time.perf_counter() - start) / repeats * 1e6)
    times.sort()
    return times[0], times[len(times) // 2]


def magnitude(result):
    """Mean absolute value over all results: two libraries that did the same work agree on it."""
    if isinstance(result, (tuple, list)):
        return sum(map(magnitude, result))
    return float(result.detach().to("cpu").double().abs().mean())


def work(cases, options):
    """Runs the cases under one library and prints one JSON line for each."""
    torch = importlib.import_module(options.library)
    if options.threads:
        torch.set_num_threads(options.threads)
    synchronize = synchronizer(torch, options.device)
    for name, make in cases.items():
        if options.only and not any(part in name for part in options.only):
            continue
        try:
            torch.manual_seed(0)
            function = make(torch, options.device)
            check = magnitude(function())
            fastest, median = measure(function, synchronize)
            line = {"case": name, "fastest": fastest, "median": median, "check": check}
        except Exception as error:
            line = {"case": name, "error": f"{type(error).__name__}: {error}"[:120]}
        print(json.dumps(line), flush=True)


def collect(python, library, options, timings, problems):
    command = [python, sys.argv[0], "--library", library, "--device", options.device, "--threads", str(options.threads)]
    done = subprocess.run([*command, *options.only], stdout=subprocess.PIPE, text=True)
    for line in map(json.loads, done.stdout.splitlines()):
        key = library, line["case"]
        if "error" in line:
            problems[key] = line["error"]
        else:
            timings.setdefault(key, []).append((line["fastest"], line["check"]))
    if done.returncode:
        problems[library, ""] = f"stopped with status {done.returncode}"


def report(cases, options):
    """Rounds of rtorch and, if there is one, of PyTorch; then a line for each case."""
    timings, problems = {}, {}
    for _ in range(options.rounds):
        if options.torch_python:
            collect(options.torch_python, "torch", options, timings, problems)
        collect(sys.executable, "rtorch", options, timings, problems)
    threads = options.threads or "all"
    print(f"device {options.device}, threads {threads}, rounds {options.rounds}; microseconds a call")
    ratios = []
    for name in cases:
        mine = sorted(timings.get(("rtorch", name), []))
        if not mine:
            if ("rtorch", name) in problems:
                print(f"{name:24} {problems['rtorch', name]}")
            continue
        time_here, check = mine[len(mine) // 2]
        line = f"{name:24} rtorch {time_here:12.1f}"
        other = sorted(timings.get(("torch", name), []))
        if other:
            time_there, wanted = other[len(other) // 2]
            ratios.append(time_there / time_here)
            line += f"   torch {time_there:12.1f}   {ratios[-1]:6.2f}x"
            if abs(check - wanted) > 1e-3 * max(abs(wanted), 1e-6):
                line += f"   results differ: {check:.6g}, torch {wanted:.6g}"
        print(line)
    if ratios:
        print(f"geometric mean of {len(ratios)} cases: {math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f}x torch")
    for (library, name), why in problems.items():
        if not name:
            print(f"{library} {why}")


def main(description, cases):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("only", nargs="*", help="parts of the names of the cases to run")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--torch-python", default="", help="an interpreter that has PyTorch, to run beside")
    parser.add_argument("--library", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    (work if options.library else report)(cases, options)
