"""`Compare`: measurements as tables, one per label: sublabels down, descriptions across."""

from .common import Measurement, select_unit, trim_sigfig, unit_to_english

__all__ = ["Compare"]


class Compare:
    """A table of measurements, joined where they measured the same task.

    >>> from rtorch.utils.benchmark import Measurement, TaskSpec
    >>> spec = TaskSpec("f()", "pass", label="calls", sub_label="f", description="new")
    >>> print(str(Compare([Measurement(1, [2e-6, 2e-6], spec)])).splitlines()[-1])
    Times are in microseconds (us).
    """

    def __init__(self, results):
        self._results = []
        self.extend_results(results)
        self._trim = False
        self._highlight = False

    def __str__(self):
        return "\n".join(self._render())

    def extend_results(self, results):
        """Adds measurements."""
        results = list(results)
        for r in results:
            if not isinstance(r, Measurement):
                raise ValueError(f"Expected an instance of `Measurement`, got {type(r)} instead.")
        self._results.extend(results)

    def trim_significant_figures(self):
        """Shows no more digits than the spread allows."""
        self._trim = True

    def highlight_warnings(self):
        """Marks measurements with a large spread by their quartiles' distance."""
        self._highlight = True

    def print(self):
        """Prints the tables."""
        print(str(self))

    def _render(self):
        merged = Measurement.merge(self._results)
        labels = list(dict.fromkeys(m.label for m in merged))
        for label in labels:
            yield from self._table(label, [m for m in merged if m.label == label])

    def _table(self, label, results):
        unit, scale = select_unit(min(m.median for m in results))
        columns = list(dict.fromkeys((m.env if m.task_spec.env else "", m.description or "") for m in results))
        heads = [" ".join(part for part in column if part) for column in columns]
        threads = sorted({m.num_threads for m in results})
        rows = list(dict.fromkeys(m.as_row_name for m in results))
        cells = {
            (m.num_threads, m.as_row_name, (m.env if m.task_spec.env else "", m.description or "")): m for m in results
        }
        text = {key: self._cell(m, scale) for key, m in cells.items()}
        front = max(len(r) for r in rows) + 4
        widths = [
            max([len(head), *(len(t) for k, t in text.items() if k[2] == column)])
            for head, column in zip(heads, columns)
        ]

        def line(start, parts):
            return (start.ljust(front) + "".join(f"|  {p.rjust(w)}  " for p, w in zip(parts, widths))).rstrip()

        whole = len(line("", [" " * w + "." for w in widths]))
        title = f" {label or ''} ".center(max(whole - 2, len(label or "") + 2), "-" if len(columns) > 1 else " ")
        yield f"[{title}]"
        yield line("", heads)
        for count in threads:
            yield f"{count} threads: ".ljust(whole, "-")
            for row in rows:
                yield line(f"  {row}", [text.get((count, row, column), "") for column in columns])
        yield ""
        yield f"Times are in {unit_to_english(unit)}s ({unit})."

    def _cell(self, m, scale):
        value = m.median / scale
        figures = m.significant_figures if self._trim else 4
        shown = f"{trim_sigfig(value, figures):.10g}" if self._trim else f"{value:.4g}"
        if self._highlight and len(m.raw_times) > 1 and m.has_warnings:
            shown += f" (! {m.iqr / m.median * 100:.0f}%)"
        return shown
