"""A few seeds of the random programs on each device, and bugs that must be found."""

import pathlib
import subprocess
import sys

import pytest

import fuzz
import rtorch
from run_modes import share

CPU_SEEDS, GPU_SEEDS, FUSING_SEEDS = range(300), range(30), range(300, 400)
SLOW_CPU_SEEDS, SLOW_GPU_SEEDS = range(1000, 21000), range(1000, 1800)
# Drivers keep what they compiled, some 14 MB a program on Mesa: a process runs few of them.
GPU_PROGRAMS = 200
PLANTED_SEEDS = range(2000)


def run_all(seeds, device):
    operators = set()
    for seed in seeds:
        operators |= fuzz.run(seed, device)[1]
    return operators


@pytest.mark.modes
def test_programs_agree_with_numpy_and_with_themselves():
    assert len(run_all(CPU_SEEDS, "cpu")) >= 40


@pytest.mark.gpu
@pytest.mark.modes
def test_programs_agree_on_the_gpu():
    run_all(GPU_SEEDS, "wgpu")


@pytest.mark.slow
def test_many_programs():
    run_all(share(SLOW_CPU_SEEDS), "cpu")


@pytest.mark.slow
@pytest.mark.gpu
def test_many_programs_on_the_gpu():
    seeds = share(SLOW_GPU_SEEDS)
    for first in range(seeds.start, seeds.stop, GPU_PROGRAMS):
        numbers = f"{first}:{min(first + GPU_PROGRAMS, seeds.stop)}"
        command = [sys.executable, pathlib.Path(fuzz.__file__), "--device", "wgpu", "--seeds", numbers]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_half_of_the_programs_fuse_something():
    assert sum(fuzz.run(seed)[0] for seed in FUSING_SEEDS) >= len(FUSING_SEEDS) // 2


# ---- planted bugs: what a missed copy, a wrong stride and a wrong tile tail would do


def missed_copy(monkeypatch):
    monkeypatch.setattr(rtorch.Tensor, "clone", lambda self: self)


def wrong_stride(monkeypatch):
    right = rtorch.Tensor.transpose
    square = lambda t, i, j: t.shape[i] == t.shape[j]
    monkeypatch.setattr(rtorch.Tensor, "transpose", lambda t, i, j: t[...] if square(t, i, j) else right(t, i, j))


def wrong_tail(monkeypatch):
    right = rtorch.tanh

    def tanh(t):
        out = right(t)
        if out.dim() == 1 and out.numel() % 8:
            out[-1] = out[-1] * 1.0001
        return out

    monkeypatch.setattr(rtorch, "tanh", tanh)


@pytest.mark.parametrize("plant", [missed_copy, wrong_stride, wrong_tail])
def test_a_planted_bug_is_found(plant, monkeypatch):
    plant(monkeypatch)
    with pytest.raises(fuzz.Mismatch):
        run_all(PLANTED_SEEDS, "cpu")
