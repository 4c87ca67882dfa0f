"""The examples run as users run them, reach what they promise, and copy no memory on write."""

import json
import pathlib
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / "examples"
# Runs a script as __main__ and prints the runtime's counters at the end.
RUN = """
import json, runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
import rtorch
print(json.dumps(rtorch.runtime_stats()))
"""


def run(name, *arguments):
    """(the example's output, runtime_stats at its end)"""
    command = [sys.executable, "-c", RUN, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    *lines, stats = done.stdout.rstrip().splitlines()
    return lines, json.loads(stats)


@pytest.mark.parametrize("device", ["cpu", pytest.param("wgpu", marks=pytest.mark.gpu)])
def test_digits_are_read(device, tmp_path):
    pytest.importorskip("sklearn")
    picture = tmp_path / "digits.png"
    lines, stats = run("digits.py", "--device", device, "--picture", picture)
    assert any(line.startswith(f"device {device} (") and line.endswith("seed 7") for line in lines)
    label, _, accuracy = lines[-1].rpartition(" ")
    assert label == "test accuracy"
    assert float(accuracy) >= 0.97
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert stats["cow_copies"] == 0
    assert stats["host_fallbacks"] == 0


@pytest.mark.parametrize("device", ["cpu", pytest.param("wgpu", marks=pytest.mark.gpu)])
def test_gpt_learns(device):
    pytest.importorskip("tqdm")
    lines, stats = run("gpt.py", "--device", device, "--steps", 30, "--letters", 20)
    loss = next(float(line.split()[2]) for line in lines if line.startswith("held-out loss"))
    assert loss < 3.6  # 4.5 before the first step, 3.3 when only the letters' frequencies are known
    assert stats["cow_copies"] == 0
    assert stats["host_fallbacks"] == 0


def test_the_program_in_the_readme(capsys):
    text = (EXAMPLES.parent / "README.md").read_text()
    exec(text.split("```python\n")[1].split("```")[0], {"__name__": "readme"})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["0", "100", "200", "300", "400"]
    assert float(lines[4].split()[1]) < 0.02


def test_numpy_bridge():
    lines, _ = run("numpy_bridge.py")
    text = "\n".join(lines)
    assert "gradient agrees with NumPy: True" in text
    assert "DLPack shares memory: True" in text
