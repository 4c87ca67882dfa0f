"""A few of the calls with random arguments, and that a call which ends wrongly is seen."""

import pathlib
import signal
import subprocess
import sys

import pytest

import fuzz_arguments
from run_modes import share

CALLS, SLOW_CALLS = (0, 1500), range(1_000_000, 1_060_000)


@pytest.mark.modes
def test_no_call_ends_the_process_hangs_or_panics():
    assert fuzz_arguments.drive(*CALLS) == []


@pytest.mark.slow
def test_many_calls():
    calls = share(SLOW_CALLS)
    assert fuzz_arguments.drive(calls.start, calls.stop) == []


def test_operators_are_all_called():
    table = fuzz_arguments.operators()
    assert len(table) > 850
    called = {fuzz_arguments.call(n, table)[0] for n in range(4000)}
    assert len(called) > 0.95 * len(table)


@pytest.mark.parametrize(
    "planted, seen",
    [
        ("os.abort()", None),
        ("rtorch._C._panic_in_kernel(rtorch.ones(70_000))", "internal error"),
        ("{}['key']", "KeyError"),
        ("time.sleep(9)", "did not end"),
        ("any(False for _ in iter(int, 1))", "did not end"),
    ],
)
def test_what_ends_wrongly_is_seen(planted, seen):
    code = f"""
import os, signal, time, rtorch, fuzz_arguments
fuzz_arguments.watch()
fuzz_arguments.SECONDS, fuzz_arguments.CLOCK = 1, 2
print(fuzz_arguments.one(0, {{"bad": lambda *args, **kwargs: {planted}}}))
"""
    here = pathlib.Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=here, timeout=60)
    if seen is None:
        assert done.returncode == -signal.SIGABRT
    else:
        assert seen in done.stdout, done.stdout + done.stderr
