"""Runs pytest once in each mode that changes how rtorch executes, and prints one line for each.

usage: run_modes.py [--everything] [PYTEST ARGUMENT ...]
Without arguments: the tests marked `modes`, in every mode but the default one.
--everything: all tests, the slow ones too, in all modes; of the random programs and calls each mode
runs its share.
"""

import os
import pathlib
import subprocess
import sys
import time

# Every mode must give the CPU's answers bit for bit, the portable profile the GPU's within its bounds.
MODES = [
    {},
    {"RTORCH_EAGER": "1"},
    {"RTORCH_DEFER": "always"},
    {"RTORCH_CPU_CAPABILITY": "baseline"},
    {"RTORCH_CPU_CAPABILITY": "avx2"},
    {"RTORCH_CPU_CAPABILITY": "avx512"},
    {"RTORCH_GUARD": "1"},
    {"RTORCH_GPU_PROFILE": "portable"},
]
# The /proc/cpuinfo flags without which a capability cannot be forced on this machine.
NEEDED_FLAGS = {"avx2": {"avx2", "fma"}, "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}}
NOTHING_COLLECTED = 5  # pytest's exit status
SHARE = "RTORCH_TEST_SHARE"


def share(numbers):
    """The part of a range of seeds that this run of the tests is to try: all, or one of the modes' shares."""
    mode, modes = map(int, os.environ.get(SHARE, "0/1").split("/"))
    first, last = (len(numbers) * k // modes for k in (mode, mode + 1))
    return numbers[first:last]


def cpu_flags():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith(("flags", "Features"))), set())


def main():
    arguments = sys.argv[1:]
    everything = "--everything" in arguments
    arguments = [a for a in arguments if a != "--everything"]
    tests = str(pathlib.Path(__file__).parent)
    flags, summary, failed = cpu_flags(), [], False
    for number, mode in enumerate(MODES):
        if not mode and not everything:
            continue
        name = " ".join(f"{k}={v}" for k, v in mode.items()) or "default"
        missing = NEEDED_FLAGS.get(mode.get("RTORCH_CPU_CAPABILITY"), set()) - flags
        if missing:
            summary.append(f"{name:36} not run: this CPU has no {', '.join(sorted(missing))}")
            continue
        print(f"==== {name}", flush=True)
        # A mode of the GPU has nothing to say about tests of the CPU, nor the other way round.
        parts = [] if everything else ["modes", "not slow"]
        parts = parts + ["gpu"] * ("RTORCH_GPU_PROFILE" in mode)
        parts = parts + ["not gpu"] * bool({"RTORCH_CPU_CAPABILITY", "RTORCH_GUARD"} & set(mode))
        chosen = ["-m", " and ".join(parts)] if parts else []
        start = time.perf_counter()
        command = [sys.executable, "-m", "pytest", "-q", *chosen, *arguments, tests]
        part = {SHARE: f"{number}/{len(MODES)}"} if everything else {}
        status = subprocess.run(command, env={**os.environ, **mode, **part}).returncode
        seconds = time.perf_counter() - start
        failed = failed or status not in (0, NOTHING_COLLECTED)
        verdict = {0: "passed", NOTHING_COLLECTED: "nothing to run"}.get(status, "FAILED")
        summary.append(f"{name:36} {verdict} in {seconds:.0f} s")
    print("\n".join(["", "modes:", *summary]))
    sys.exit(failed)


if __name__ == "__main__":
    main()
