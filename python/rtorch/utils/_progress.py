"""Progress bars: tqdm where it is installed, else a plain line now and then."""

import sys
import time

__all__ = ["progress"]

# Seconds between two lines of the plain form.
_EVERY = 1.0


def progress(iterable=None, description="", total=None, *, disable=None, file=None):
    """Iterates with a bar; `bar.set_postfix(loss=0.1)` shows numbers beside it, `bar.update(n)` moves one made without
    an iterable. disable=None: silent where the output is no terminal.

    >>> sum(progress(range(3), disable=True))
    3
    """
    file = sys.stderr if file is None else file
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)
    if disable is None:
        disable = not getattr(file, "isatty", lambda: False)()
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return _Plain(iterable, description, total, disable, file)
    return tqdm(iterable, desc=description or None, total=total, disable=disable, file=file)


class _Plain:
    """What rtorch uses of tqdm's bar, as lines of text."""

    def __init__(self, iterable, description, total, disable, file):
        self.iterable, self.description, self.total = iterable, description, total
        self.disable, self.file = disable, file
        self.n, self.shown, self.postfix, self.start = 0, 0.0, {}, time.monotonic()

    def __iter__(self):
        for item in self.iterable:
            yield item
            self.update()
        self.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def update(self, n=1):
        """Counts n more."""
        self.n += n
        now = time.monotonic()
        if now - self.shown >= _EVERY:
            self.shown = now
            self._show("\r")

    def set_description(self, description):
        """The text in front."""
        self.description = description

    def set_postfix(self, **values):
        """Numbers shown at the end."""
        self.postfix = values

    def close(self):
        """The last line."""
        self._show("\n")
        self.disable = True

    def write(self, text):
        """A line of its own."""
        print(text, file=self.file)

    def _show(self, end):
        if self.disable:
            return
        seconds = time.monotonic() - self.start
        done = f"{self.n}" if self.total is None else f"{self.n}/{self.total}"
        rate = f", {self.n / seconds:.1f}/s" if seconds > 0 else ""
        values = "".join(f", {k}={v:.4g}" if isinstance(v, float) else f", {k}={v}" for k, v in self.postfix.items())
        front = f"{self.description}: " if self.description else ""
        print(f"{front}{done} in {seconds:.1f} s{rate}{values}", end=end, file=self.file, flush=True)
