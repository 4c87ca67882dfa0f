"""Plants bugs in a copy of the sources, builds it, and has the fuzzer find each within 2,000 programs.

What it shows is that the fuzzer can fail. It builds the extension once for each bug, in build/planted, which takes
minutes: it is run by hand after changes of the fuzzer.

usage: planted_bugs.py [--only NAME ...]
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parent.parent
COPY = ROOT / "build" / "planted"
PROGRAMS = 2000
SUFFIX = {"darwin": ("lib_C.dylib", "_C.abi3.so"), "win32": ("_C.dll", "_C.pyd")}
# name: (file, what stands there, what is planted)
BUGS = {
    "a missed copy-on-write": (
        "rust/core/src/inplace.rs",
        "let captured = Arc::strong_count(value.cell()) > 2;",
        "let captured = false;",
    ),
    "readers of old contents are not run": (
        "rust/core/src/inplace.rs",
        "defer::run_readers(value.cell())?;\n    // the storage's handle and ours",
        "// the storage's handle and ours",
    ),
    "reads of memory that NumPy may write wait": (
        "rust/core/src/defer.rs",
        "self.inputs.iter().any(|o| o.value.cell().is_exposed())",
        "self.inputs.iter().any(|_| false)",
    ),
    "an operand that is the target is not copied": (
        "rust/core/src/inplace.rs",
        "*w = snapshot(device, w)?;",
        "let _ = snapshot;",
    ),
    "a wrong stride of a sliced dimension": (
        "rust/ir/src/layout.rs",
        "l.strides[dim] = l.strides[dim].wrapping_mul(step as isize);",
        "l.strides[dim] = l.strides[dim].wrapping_mul(if n > 7 { 1 } else { step as isize });",
    ),
    "dimensions merged that no one stride describes": (
        "rust/cpu/src/interp_walk.rs",
        "Some(last) if last.stride == d.stride.wrapping_mul(d.size as isize) => {",
        "Some(last) if last.stride >= d.stride.wrapping_mul(d.size as isize) && last.size == 3 => {",
    ),
    "the last tile is one element short": (
        "rust/cpu/src/interp.rs",
        "let (start, end) = (r.start * self.tile, (r.end * self.tile).min(n));",
        "let (start, end) = (r.start * self.tile, (r.end * self.tile).min(n - usize::from(tiles > 1)));",
    ),
}


def copy_sources():
    COPY.mkdir(parents=True, exist_ok=True)
    for name in ("Cargo.toml", "Cargo.lock", "pyproject.toml", "README.md", "rustfmt.toml", "clippy.toml"):
        shutil.copy2(ROOT / name, COPY)
    for folder in ("rust", "shaders", "python", "tests"):
        # copy2 keeps the times of files, so that cargo builds only what a bug changes
        shutil.copytree(ROOT / folder, COPY / folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("data", "*.so"))


def build():
    command = ["cargo", "build", "--release", "--locked", "--quiet", "-p", "rtorch-python"]
    environment = {**os.environ, "PYO3_PYTHON": sys.executable, "CARGO_TARGET_DIR": str(COPY / "target")}
    subprocess.run(command, cwd=COPY, env=environment, check=True)
    built, installed = SUFFIX.get(sys.platform, ("lib_C.so", "_C.abi3.so"))
    target = COPY / "python" / "rtorch" / installed
    target.unlink(missing_ok=True)
    shutil.copy2(COPY / "target" / "release" / built, target)


def first_found(programs):
    """How many programs it took until one differed, or None."""
    command = [sys.executable, str(COPY / "tests" / "fuzz.py"), "--seeds", f"0:{programs}", "--until-failure"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(COPY / "python")}, capture_output=True, text=True
    )
    if done.returncode == 0:
        return None
    found = re.search(r"seed (\d+)", done.stdout)
    return int(found[1]) + 1 if found else 1  # a crash counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=BUGS, nargs="+", default=list(BUGS))
    only = parser.parse_args().only
    copy_sources()
    build()
    if (at := first_found(200)) is not None:
        sys.exit(f"without a planted bug program {at} differs")
    missed = []
    for name, (file, right, wrong) in BUGS.items():
        if name not in only:
            continue
        path = COPY / file
        source = path.read_text(encoding="utf-8")
        if source.count(right) != 1:
            sys.exit(f"{name}: {file} does not hold the planted line's place once: {right}")
        path.write_text(source.replace(right, wrong), encoding="utf-8")
        try:
            build()
            start = time.perf_counter()
            at = first_found(PROGRAMS)
        finally:
            path.write_text(source, encoding="utf-8")
        found = f"found by program {at}" if at else f"not found in {PROGRAMS} programs"
        print(f"{name:48} {found}, {time.perf_counter() - start:.0f} s", flush=True)
        missed += [] if at else [name]
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
