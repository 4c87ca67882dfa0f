"""`Measurement`: the times of a statement and what they say. The clock is in timer.py, tables in compare.py."""

import dataclasses
import math
import statistics

__all__ = ["Measurement", "TaskSpec", "select_unit", "trim_sigfig", "unit_to_english"]

MAX_SIGNIFICANT_FIGURES = 4
# Relative spread from which a measurement is doubtful, and from which it is not to be trusted.
IQR_WARN_THRESHOLD = 0.1
IQR_GROSS_WARN_THRESHOLD = 0.25
MIN_CONFIDENCE_INTERVAL = 25e-9

_UNITS = {"ns": ("nanosecond", 1e-9), "us": ("microsecond", 1e-6), "ms": ("millisecond", 1e-3), "s": ("second", 1.0)}


def select_unit(t):
    """("us", 1e-6) and the like: the unit in which `t` seconds read best."""
    scale = min(max(int(math.log10(t) // 3) if t > 0 else 0, -3), 0)
    unit = {-3: "ns", -2: "us", -1: "ms", 0: "s"}[scale]
    return unit, _UNITS[unit][1]


def unit_to_english(u):
    """"us" to "microsecond"."""
    return _UNITS[u][0]


def trim_sigfig(x, n):
    """`x` with n significant figures."""
    if x == 0:
        return x
    digits = math.ceil(math.log10(abs(x)))
    scale = 10.0 ** (digits - n)
    return round(x / scale) * scale


@dataclasses.dataclass(init=True, repr=False, eq=True, frozen=True)
class TaskSpec:
    """What was measured: statement, setup, labels, threads."""

    stmt: str
    setup: str
    global_setup: str = ""
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    num_threads: int = 1

    @property
    def title(self):
        """Label and sublabel, or the statement."""
        if self.label is not None:
            return self.label + (f": {self.sub_label}" if self.sub_label else "")
        return self.stmt if "\n" not in self.stmt else f"stmt:{self._indented(self.stmt)}"

    def setup_str(self):
        """The setup as it is shown."""
        if self.setup in ("", "pass"):
            return ""
        return f"setup:{self._indented(self.setup)}" if "\n" in self.setup else f"setup: {self.setup}"

    def summarize(self):
        """Title, setup and description as text."""
        return "\n".join(part for part in (self.title, self.description or "", self.setup_str()) if part)

    @staticmethod
    def _indented(text):
        return "\n" + "\n".join("  " + line for line in text.split("\n"))


@dataclasses.dataclass(init=True, repr=False)
class Measurement:
    """`number_per_run` executions timed `len(raw_times)` times (seconds): `times` are per execution."""

    number_per_run: int
    raw_times: list
    task_spec: TaskSpec
    metadata: dict | None = None

    @property
    def times(self):
        """Seconds for one execution, of each run."""
        return [t / self.number_per_run for t in self.raw_times]

    @property
    def median(self):
        """The middle of the times."""
        self._raise_if_empty()
        return statistics.median(self.times)

    @property
    def mean(self):
        """The mean of the times."""
        self._raise_if_empty()
        return statistics.fmean(self.times)

    @property
    def iqr(self):
        """The distance of the quartiles."""
        self._raise_if_empty()
        return self._percentile(75) - self._percentile(25)

    def _percentile(self, p):
        ordered = sorted(self.times)
        at = (len(ordered) - 1) * p / 100
        low = int(at)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (at - low)

    @property
    def significant_figures(self):
        """How many digits of the median are worth showing: from the spread, as if the times were normal."""
        self._raise_if_empty()
        n = len(self.raw_times)
        spread = max(self.iqr / 1.349, 0.0)
        interval = max(1.645 * spread / math.sqrt(n), MIN_CONFIDENCE_INTERVAL)
        figures = math.floor(math.log10(max(self.median, MIN_CONFIDENCE_INTERVAL) / interval)) + 1
        return max(1, min(figures, MAX_SIGNIFICANT_FIGURES))

    @property
    def has_warnings(self):
        """Is the spread too large to be trusted?"""
        return self.meets_confidence() is False

    def meets_confidence(self, threshold=IQR_WARN_THRESHOLD):
        """Is the quartiles' distance below this share of the median?"""
        return len(self.raw_times) > 1 and self.iqr / self.median < threshold

    @property
    def title(self):
        return self.task_spec.title

    @property
    def env(self):
        return "Unspecified env" if self.task_spec.env is None else self.task_spec.env

    @property
    def as_row_name(self):
        return self.task_spec.sub_label or self.task_spec.stmt or "[Unknown]"

    def __getattr__(self, name):
        if name in TaskSpec.__dataclass_fields__:
            return getattr(self.task_spec, name)
        raise AttributeError(f"'Measurement' object has no attribute '{name}'")

    def __getstate__(self):
        return self.__dict__

    def __setstate__(self, state):
        self.__dict__.update(state)

    def _raise_if_empty(self):
        if not self.raw_times:
            raise ValueError("Measurement has no data")

    def __repr__(self):
        head = [f"{type(self).__module__}.{type(self).__name__} object at {hex(id(self))}"]
        head.append(self.task_spec.summarize())
        unit, scale = select_unit(self.median)
        shown = trim_sigfig(self.median / scale, self.significant_figures)
        n = len(self.raw_times)
        body = []
        if n > 1:
            body.append(f"  Median: {shown:.{self.significant_figures}g} {unit}")
            low, high = self._percentile(25) / scale, self._percentile(75) / scale
            body.append(f"  IQR:    {self.iqr / scale:.2f} {unit} ({low:.2f} to {high:.2f})")
        else:
            body.append(f"  {shown:.{self.significant_figures}g} {unit}")
        runs = f"{n} measurement{'s' if n > 1 else ''}, {self.number_per_run} runs per measurement"
        threads = f"{self.task_spec.num_threads} thread{'s' if self.task_spec.num_threads > 1 else ''}"
        body.append(f"  {runs}, {threads}")
        if n > 1 and not self.meets_confidence(IQR_GROSS_WARN_THRESHOLD):
            body.append(f"  WARNING: Interquartile range is {self.iqr / self.median * 100:.1f}% of the median")
            body.append("           measurement. This suggests significant environmental influence.")
        return "\n".join(["<" + head[0] + ">", *head[1:], *body])

    @staticmethod
    def merge(measurements):
        """Measurements of the same task joined into one each."""
        groups = {}
        for m in measurements:
            groups.setdefault((m.task_spec, m.number_per_run), []).append(m)
        return [
            Measurement(number, [t for m in group for t in m.raw_times], spec)
            for (spec, number), group in groups.items()
        ]
