"""The rules of the house that a program can check: lengths, leftovers, SAFETY comments, one version, no local paths.

Clippy and ruff check the rest (`make lint`). Each check is a function from a text to its complaints, and one test shows
that it can complain.
"""

import ast
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAX_LINES, MAX_COLUMNS, MAX_FUNCTION = 800, 120, 80
NOT_TEXT = {".npz", ".npy", ".png", ".bin", ".jsonl", ".lock"}
SAFETY_ABOVE = 12  # lines above an `unsafe` in which its SAFETY comment may begin
# Blocks and impls; what an `unsafe fn` asks of its callers is clippy's to check.
UNSAFE = re.compile(r"\bunsafe\s*(\{|impl\b)")
LEFTOVER = re.compile(r"\b(todo|unimplemented)!\s*[({\[]|#\s*TODO\b|//\s*TODO\b|\bFIXME\b|\bXXX\b")
# Written in pieces, so that this file does not name what it looks for.
FOLDERS = "|".join(["wor" + "k", "far" + "m", "roo" + "t", "op" + "t", "hom" + "e"])
HOSTS = "|".join([r"py" + r"pi\.org", r"python" + r"hosted\.org", r"(static|index)\.crates" + r"\.io"])
MACHINE_PATH = re.compile(rf"(?<![\w.<-])/({FOLDERS})/\w")
REGISTRY = re.compile(rf"\b({HOSTS})\b")


def tracked():
    """Paths of the repository's files; those of the source archive where there is no git."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        paths = [ROOT / name for name in listed.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        skip = {".venv", "target", "build", "dist"}
        paths = [p for p in ROOT.rglob("*") if p.is_file() and not skip & set(p.relative_to(ROOT).parts)]
    return sorted(p for p in paths if p.is_file())


def texts(*suffixes):
    """(path inside the repository, text) of the tracked files with these suffixes; all text files if none are given."""
    for path in tracked():
        if path.suffix in suffixes or (not suffixes and path.suffix not in NOT_TEXT):
            yield str(path.relative_to(ROOT)), path.read_text("utf-8")


def sources():
    return texts(".rs", ".py", ".wgsl")


def length_complaints(text):
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        yield f"{len(lines)} lines"
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_COLUMNS:
            yield f"line {number} has {len(line)} characters"


def function_complaints(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) else node.body  # a docstring may be as long as it needs
            length = (node.end_lineno - body[0].lineno + 1) if body else 0
            if length > MAX_FUNCTION:
                yield f"{node.name} has {length} lines"


def leftover_complaints(text):
    for number, line in enumerate(text.splitlines(), 1):
        if LEFTOVER.search(line):
            yield f"line {number}: {line.strip()}"


def rust_code(line):
    """A line of Rust without its comment and strings: near enough to find a keyword."""
    line = re.sub(r'"(\\.|[^"\\])*"', '""', line)
    return line.split("//", 1)[0]


def unsafe_complaints(text):
    lines = text.splitlines()
    for number, line in enumerate(lines):
        found = UNSAFE.search(rust_code(line))
        if not found:
            continue
        above = lines[max(0, number - SAFETY_ABOVE) : number + 1]
        inside = lines[number + 1 : number + 3]  # `unsafe {` may say it first thing in the block
        if not any("SAFETY" in other or "# Safety" in other for other in above + inside):
            yield f"line {number + 1}: {line.strip()}"


def machine_complaints(text):
    for number, line in enumerate(text.splitlines(), 1):
        if MACHINE_PATH.search(line) or REGISTRY.search(line):
            yield f"line {number}: {line.strip()[:100]}"


def opening_complaints(text):
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#!")), "//!")
    if not first.startswith(("//!", "//", '"""', 'r"""', "#[", "#![")):
        yield f"opens with {first[:60]!r}, not with what it is"


def complaints(check, files):
    return [f"{name}: {complaint}" for name, text in files for complaint in check(text)]


def test_no_file_is_longer_than_800_lines_of_120_characters():
    assert not complaints(length_complaints, sources())


def test_no_python_function_is_longer_than_80_lines():
    assert not complaints(function_complaints, texts(".py"))


def test_nothing_is_left_unfinished():
    here = pathlib.Path(__file__).name
    assert not complaints(leftover_complaints, ((n, t) for n, t in sources() if not n.endswith(here)))


def test_every_unsafe_says_why_it_is_sound():
    assert not complaints(unsafe_complaints, texts(".rs"))


def test_nothing_of_one_machine():
    assert not complaints(machine_complaints, texts())


def test_every_module_opens_with_what_it_is():
    files = ((name, text) for name, text in sources() if text.strip() and not name.startswith("tests/"))
    assert not complaints(opening_complaints, files)


def test_one_version_number():
    cargo = (ROOT / "Cargo.toml").read_text()
    assert len(re.findall(r'^version = "\d', cargo, re.M)) == 1
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()
    for manifest in ROOT.glob("rust/*/Cargo.toml"):
        assert "version.workspace = true" in manifest.read_text(), manifest


def test_recorded_cases_stay_small():
    size = sum(path.stat().st_size for path in (ROOT / "tests" / "data").rglob("*") if path.is_file())
    assert size <= 12_000_000


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (length_complaints, "x\n" * 801),
        (length_complaints, "x" * 121),
        (function_complaints, "def f():\n" + "    x = 1\n" * 81),
        (leftover_complaints, "fn f() { to" + "do!() }"),
        (leftover_complaints, "    unimple" + 'mented!("later")'),
        (leftover_complaints, "# TO" + "DO: later"),
        (unsafe_complaints, "fn f(p: *const u8) -> u8 {\n    unsafe { *p }\n}"),
        (unsafe_complaints, "unsafe impl Send for X {}"),
        (machine_complaints, "see /ro" + "ot/notes"),
        (machine_complaints, "from https://py" + "pi.org/simple"),
        (opening_complaints, "use std::fmt;\n//! late"),
    ],
)
def test_the_checks_can_fail(check, text):
    assert list(check(text))


def test_the_checks_let_good_text_pass():
    rust = "//! A module.\nfn f(p: *const u8) -> u8 {\n    // SAFETY: p is valid.\n    unsafe { *p }\n}\n"
    for check in (length_complaints, leftover_complaints, unsafe_complaints, machine_complaints, opening_complaints):
        assert not list(check(rust))


def test_no_operator_is_composed_in_python_and_registered_in_rust():
    import rtorch
    from rtorch import _C, _ops

    twice = [n for n in _ops.FUNCTIONS if hasattr(_C, n)]
    lost = [n for n, f in _ops.METHODS.items() if getattr(rtorch.Tensor, n) is not f]
    registered = [n for n in _ops.METHODS if n in vars(_C)]
    assert (twice, lost, registered) == ([], [], [])
