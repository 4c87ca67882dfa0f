"""Timing statements: `Timer` measures, `Measurement` is the result, `Compare` a table of several.

>>> from rtorch.utils.benchmark import Timer
>>> m = Timer("x + x", globals={"x": 1}).timeit(100)
>>> m.median < 1
True
"""

from .common import Measurement, TaskSpec, select_unit, trim_sigfig, unit_to_english
from .compare import Compare
from .timer import Timer, timer

__all__ = ["Compare", "Measurement", "TaskSpec", "Timer", "select_unit", "timer", "trim_sigfig", "unit_to_english"]
