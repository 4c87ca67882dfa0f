"""`Timer`: `timeit.Timer` with pending work finished, a number of threads, and runs long enough to be trusted.

While it runs nothing is deferred: a result that nobody reads would never be computed, and cost nothing.
"""

import os
import timeit
from timeit import default_timer

import rtorch
from rtorch import _C

from .common import Measurement, TaskSpec

__all__ = ["Timer", "timer"]

# The mode that the process started in.
_MODE = "eager" if os.environ.get("RTORCH_EAGER") == "1" else os.environ.get("RTORCH_DEFER", "default")
# A block is as long as makes the clock's own share of it this small.
_OVERHEAD_SHARE = 1e-4


def timer():
    """The clock in seconds, read when all pending work is done."""
    if rtorch.wgpu.max_memory_allocated():  # a GPU is in use
        for index in range(rtorch.wgpu.device_count()):
            rtorch.wgpu.synchronize(index)
    return default_timer()


class Timer:
    """Measures the execution time of a statement.

    stmt, setup: Python source; globals: their names; num_threads: rtorch's threads while it runs (1: what one core
    does). label, sub_label, description, env: for `Compare`'s table.

    >>> import rtorch
    >>> t = Timer("x @ x", globals={"x": rtorch.ones(8, 8)}, label="products")
    >>> t.timeit(10).number_per_run
    10
    """

    def __init__(
        self,
        stmt="pass",
        setup="pass",
        global_setup="",
        timer=timer,
        globals=None,
        label=None,
        sub_label=None,
        description=None,
        env=None,
        num_threads=1,
        language="python",
    ):
        if str(getattr(language, "value", language)).lower() not in ("py", "python"):
            raise ValueError(f"Timer measures Python, not {language!r}")
        if global_setup:
            raise ValueError("global_setup is for C++, which Timer does not measure")
        if not isinstance(stmt, str):
            raise ValueError("Currently only a `str` stmt is supported.")
        self._globals = dict(globals or {})
        self._globals.setdefault("rtorch", rtorch)
        self._globals.setdefault("torch", rtorch)
        stmt, setup = self._dedented(stmt), self._dedented(setup)
        self._timer = timeit.Timer(stmt=stmt, setup=setup, timer=timer, globals=self._globals)
        self._clock = timer
        self._task_spec = TaskSpec(
            stmt=stmt,
            setup=setup,
            label=label,
            sub_label=sub_label,
            description=description,
            env=env,
            num_threads=num_threads,
        )

    @staticmethod
    def _dedented(source):
        import textwrap

        return textwrap.dedent(source).strip("\n ")

    def _timeit(self, number):
        return max(self._timer.timeit(number), 1e-9)

    def _with_threads(self, run):
        before = rtorch.get_num_threads()
        try:
            rtorch.set_num_threads(self._task_spec.num_threads)
            _C._set_defer_mode("eager")
            return run()
        finally:
            _C._set_defer_mode(_MODE)
            rtorch.set_num_threads(before)

    def _result(self, number, times):
        return Measurement(number_per_run=number, raw_times=times, task_spec=self._task_spec)

    def timeit(self, number=1000000):
        """One run of `number` executions, after a hundredth of them (at least two) as warm-up."""

        def run():
            self._timeit(min(max(number // 100, 2), number))
            return self._result(number, [self._timeit(number)])

        return self._with_threads(run)

    def _estimate_block_size(self, min_run_time):
        overhead = sorted(timeit.Timer("pass", timer=self._clock).timeit(0) for _ in range(5))[2]
        number = 1
        while True:
            taken = self._timeit(number)
            if overhead / taken <= _OVERHEAD_SHARE and taken >= min_run_time / 1000:
                return number
            if taken > min_run_time:
                return number
            number *= 10

    def blocked_autorange(self, callback=None, min_run_time=0.2):
        """Blocks of executions, each long enough for the clock, until `min_run_time` seconds are measured."""

        def run():
            number = self._estimate_block_size(min_run_time)
            times, total = [], 0.0
            while total < min_run_time or not times:
                taken = self._timeit(number)
                if callback is not None:
                    callback(number, taken)
                times.append(taken)
                total += taken
            return self._result(number, times)

        return self._with_threads(run)

    def adaptive_autorange(self, threshold=0.1, *, min_run_time=0.01, max_run_time=10.0, callback=None):
        """As `blocked_autorange`, until the quartiles are within `threshold` of the median or the time is over."""

        def run():
            number = self._estimate_block_size(min_run_time)
            times, total, fresh = [], 0.0, 0.0
            while total < max_run_time:
                taken = self._timeit(number)
                if callback is not None:
                    callback(number, taken)
                times.append(taken)
                total += taken
                fresh += taken
                if fresh >= min_run_time and len(times) > 3:
                    if self._result(number, times).meets_confidence(threshold):
                        break
                    fresh = 0.0
            return self._result(number, times)

        return self._with_threads(run)
