"""How long importing takes, beside NumPy: the median of fresh processes that have run once before.

usage: imports.py [--processes 10]
"""

import argparse
import statistics
import subprocess
import sys

TIMED = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
MODULES = {
    "rtorch": "rtorch, rtorch.nn, rtorch.optim, rtorch.utils.data",
    "numpy": "numpy",
}


def seconds(modules):
    command = [sys.executable, "-c", TIMED.format(modules)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=10)
    options = parser.parse_args()
    times = {name: [] for name in MODULES}
    for _ in range(options.processes + 1):
        for name, modules in MODULES.items():
            times[name].append(seconds(modules))
    for name, modules in MODULES.items():
        print(f"import {modules:55} {statistics.median(times[name][1:]) * 1e3:8.1f} ms")


if __name__ == "__main__":
    main()
