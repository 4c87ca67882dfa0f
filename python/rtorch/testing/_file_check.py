"""FileCheck: what a text must contain, and in which order."""

import re

__all__ = ["FileCheck"]


class FileCheck:
    """Checks, added one after another and run on a text: each begins to look where the one before it ended.

    >>> FileCheck().check("one").check_not("two").check("three").run("one, three, two")
    """

    def __init__(self):
        self._checks = []

    def _add(self, kind, pattern, count=None, exactly=False):
        self._checks.append((kind, pattern, count, exactly))
        return self

    def check(self, test_string):
        """The text must occur next, anywhere further on."""
        return self._add("CHECK", test_string)

    def check_not(self, test_string):
        """The text must not occur between the checks around this one."""
        return self._add("CHECK-NOT", test_string)

    def check_same(self, test_string):
        """The text must occur on the line where the last check ended."""
        return self._add("CHECK-SAME", test_string)

    def check_next(self, test_string):
        """The text must occur on the line after the one where the last check ended."""
        return self._add("CHECK-NEXT", test_string)

    def check_count(self, test_string, count, exactly=False):
        """The text must occur this often; exactly: and not again after that."""
        if count == 0:
            raise RuntimeError("Count must be positive")
        return self._add(f"CHECK-COUNT-{'EXACTLY-' if exactly else ''}{count}", test_string, count, exactly)

    def check_dag(self, test_string):
        """Neighbouring checks of this kind may be met in any order."""
        return self._add("CHECK-DAG", test_string)

    def check_regex(self, pattern):
        """A match of the regular expression must occur next."""
        return self._add("CHECK-REGEX", pattern)

    def check_source_highlighted(self, test_string):
        """The text must occur with a line of ~ under it, as in PyTorch's messages about source code."""
        return self._add("CHECK-SOURCE-HIGHLIGHTED", test_string)

    def run(self, test_file):
        """Raises a RuntimeError for the first check that the text does not meet."""
        text, at, forbidden, i = str(test_file), 0, [], 0
        while i < len(self._checks):
            kind, pattern, count, exactly = self._checks[i]
            if kind == "CHECK-NOT":
                forbidden.append(pattern)
                i += 1
                continue
            if kind == "CHECK-DAG":
                group = [c[1] for c in self._checks[i:]]
                length = next((n for n, c in enumerate(self._checks[i:]) if c[0] != "CHECK-DAG"), len(group))
                spans = [_found(text, p, at, kind) for p in group[:length]]
                start, end = min(s[0] for s in spans), max(s[1] for s in spans)
                i += length
            else:
                start, end = _one(text, kind, pattern, count, exactly, at)
                i += 1
            _absent(text, forbidden, at, start)
            forbidden, at = [], end
        _absent(text, forbidden, at, len(text))


def _missing(text, pattern, kind):
    said = f'Expected to find "{pattern}" but did not find it\nSearched string:\n{text}From {kind}: {pattern}\n'
    return RuntimeError(said)


def _found(text, pattern, at, kind, end=None):
    start = text.find(pattern, at, len(text) if end is None else end)
    if start < 0:
        raise _missing(text, pattern, kind)
    return start, start + len(pattern)


def _one(text, kind, pattern, count, exactly, at):
    """Where a check is met."""
    if kind == "CHECK-REGEX":
        match = re.compile(pattern).search(text, at)
        if match is None:
            raise _missing(text, pattern, kind)
        return match.span()
    if count is not None:
        start, end = _found(text, pattern, at, kind)
        for _ in range(count - 1):
            end = _found(text, pattern, end, kind)[1]
        if exactly:
            _absent(text, [pattern], end, len(text))
        return start, end
    line_end = text.find("\n", at)
    line_end = len(text) if line_end < 0 else line_end
    if kind == "CHECK-SAME":
        return _found(text, pattern, at, kind, line_end)
    if kind == "CHECK-NEXT":
        after = text.find("\n", line_end + 1)
        return _found(text, pattern, line_end + 1, kind, len(text) if after < 0 else after)
    if kind == "CHECK-SOURCE-HIGHLIGHTED":
        return _highlighted(text, pattern, at, kind)
    return _found(text, pattern, at, kind)


def _highlighted(text, pattern, at, kind):
    start, end = _found(text, pattern, at, kind)
    line_start = text.rfind("\n", 0, start) + 1
    below = text.find("\n", end) + 1
    marks = text[below : (text.find("\n", below) + 1 or len(text) + 1) - 1] if below else ""
    column = start - line_start
    if set(marks[column : column + len(pattern)]) != {"~"}:
        raise RuntimeError(f'Expected to find "{pattern}" highlighted but it is not.\n{text}')
    return start, below + len(marks)


def _absent(text, patterns, start, end):
    for pattern in patterns:
        at = text.find(pattern, start, end)
        if at >= 0:
            line = text[text.rfind("\n", 0, at) + 1 :].split("\n", 1)[0]
            mark = " " * (at - text.rfind("\n", 0, at) - 1) + "~" * len(pattern)
            raise RuntimeError(
                f'Expected to not find "{pattern}" but found it\n{line}\n{mark} <--- HERE\nFrom CHECK-NOT: {pattern}\n'
            )
