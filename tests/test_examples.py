"""The examples run as users run them, reach what they promise, and copy no memory on write."""

import json
import pathlib
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / "examples"
# Runs a script as __main__ and prints the runtime's counters at the end.
RUN = """
import json, os, runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
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


def last(lines, label):
    """The number at the end of the line that begins with a label."""
    return float(next(line for line in reversed(lines) if line.startswith(label)).split()[-1])


@pytest.mark.parametrize("name", ["char_lstm", "resnet_digits", "vae_digits", "reinforce"])
def test_quick_examples_learn_and_draw(name, tmp_path):
    pytest.importorskip("sklearn")
    picture = tmp_path / "picture.png"
    device = () if name == "reinforce" else ("--device", "cpu")
    lines, stats = run(f"{name}.py", "--quick", "--picture", picture, *device)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert stats["host_fallbacks"] == 0
    if name == "char_lstm":
        assert last(lines, "held-out loss") < 3.3  # 4.6 before the first step
    elif name == "resnet_digits":
        assert last(lines, "test accuracy") > 0.85
        assert any("stages (Sequential)" in line for line in lines)
    elif name == "vae_digits":
        first, after = (float(line.split()[2]) for line in lines if line.startswith("held-out bound"))
        assert after > first
    else:
        first, after = (float(line.split()[1]) for line in lines if line.startswith("reward"))
        assert after > 1.5 * first


def test_a_killed_run_resumes_to_the_same_weights(tmp_path):
    common = ("--quick", "--steps", 24, "--every", 5, "--picture", tmp_path / "picture.png")
    whole, _ = run("sort_transformer.py", *common, "--checkpoint", tmp_path / "whole.pt")
    script = [sys.executable, str(EXAMPLES / "sort_transformer.py"), *map(str, common)]
    died = [*script, "--checkpoint", str(tmp_path / "killed.pt"), "--die-at", "13"]
    assert subprocess.run(died, capture_output=True, timeout=600).returncode == 9
    resumed, _ = run("sort_transformer.py", *common, "--checkpoint", tmp_path / "killed.pt")
    assert "resumed at step 10" in resumed
    weights = [next(line for line in lines if line.startswith("weights ")) for lines in (whole, resumed)]
    assert weights[0] == weights[1]
    assert last(whole, "loss") < 2.4
