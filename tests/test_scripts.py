"""Plain PyTorch scripts run unchanged through `python -m rtorch`, with the numbers that PyTorch prints for them."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

SCRIPTS = pathlib.Path(__file__).parent / "scripts"
PACKAGE = pathlib.Path(__import__("rtorch").__file__).parent.parent


def run(*arguments, cwd=None, **more):
    env = {**os.environ, "PYTHONPATH": f"{PACKAGE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=env, **more)


# What PyTorch 2.13 prints for the same arguments, and how far a different rounding may lead.
RECORDED = [
    ("gpt --iters 60", {"first": 3.3433, "final": 0.3077}, 0.02),
    ("classifier --epochs 3 --samples 600", {"epoch 0: loss": 1.3700, "final": 77.5}, 0.1),
    ("vae --epochs 3 --samples 1000", {"final": 48.0221}, 0.02),
    ("dqn --episodes 40", {"first 20:": 0.186, "final": 0.819}, 0.1),
    ("seq2seq --steps 120", {"first": 2.5556, "final": 0.8906}, 0.1),
    ("word2vec", {"epoch 0": 3.3135, "epoch 3": 2.4953}, 0.002),
    ("word2vec --optimizer SGD", {"epoch 0": 3.4656, "final": 3.4641}, 0.001),
    ("word2vec --optimizer Adagrad", {"epoch 0": 2.6362, "final": 1.9109}, 0.002),
]


@pytest.mark.parametrize(("command", "wanted", "tolerance"), RECORDED, ids=lambda v: v if isinstance(v, str) else "")
def test_scripts_print_what_pytorch_prints(command, wanted, tolerance, tmp_path):
    name, *arguments = command.split()
    done = run("-m", "rtorch", str(SCRIPTS / f"{name}.py"), *arguments, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    for label, value in wanted.items():
        found = re.search(rf"^{label} (-?[\d.]+)", done.stdout, re.M)
        assert found, done.stdout
        assert float(found[1].rstrip(".")) == pytest.approx(value, rel=tolerance)


def test_compile_warns_once_and_the_model_runs(tmp_path):
    done = run("-m", "rtorch", str(SCRIPTS / "gpt.py"), "--iters", "2", "--compile", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr.count("rtorch has no graph compiler yet") == 1


def test_forms_of_the_command(tmp_path):
    (tmp_path / "prog.py").write_text("import sys, torch, helper\nprint(sys.argv[1:], torch.__version__, helper.x)\n")
    (tmp_path / "helper.py").write_text("import torch.nn as nn\nx = nn.Linear(2, 3).weight.shape\n")
    version = "2.13.0+rtorch torch.Size([3, 2])"
    assert run("-m", "rtorch", "prog.py", "a", cwd=tmp_path).stdout == f"['a'] {version}\n"
    assert run("-m", "rtorch", str(tmp_path / "prog.py")).stdout == f"[] {version}\n"
    assert run("-m", "rtorch", "-m", "prog", "b", cwd=tmp_path).stdout == f"['b'] {version}\n"
    assert run("-m", "rtorch", "-c", "import torch; print(torch.ones(2))").stdout == "tensor([1., 1.])\n"
    assert run("-m", "rtorch", "none.py").returncode == 2 and run("-m", "rtorch").returncode == 2
    assert "rtorch" in run("-m", "rtorch", "--version").stdout
    (tmp_path / "bad.py").write_text("raise SystemExit(7)")
    assert run("-m", "rtorch", str(tmp_path / "bad.py")).returncode == 7


def test_every_import_of_torch_is_rtorch():
    code = """
import rtorch
rtorch.install_as_torch()
rtorch.install_as_torch()
import torch, torch.nn as nn, torch.nn.functional as F, torch.utils.data
from torch.optim.lr_scheduler import StepLR
from torch.nn.modules.batchnorm import _BatchNorm
import importlib.metadata, importlib.util
assert torch is rtorch and nn is rtorch.nn and F is rtorch.nn.functional and torch.torch is torch
assert nn.__spec__.name == "rtorch.nn" and importlib.metadata.version("torch") == "2.13.0+rtorch"
assert torch.__version__ >= "2.4" and torch.__version__ >= (2, 0) and torch.__version__.split(".")[0] == "2"
assert importlib.util.find_spec("torch.nn") and importlib.util.find_spec("torch.nosuch") is None
try:
    import torch.nosuch
except ModuleNotFoundError as e:
    assert "torch.nosuch" in str(e)
"""
    done = run("-c", code)
    assert done.returncode == 0, done.stderr


def test_refused_when_pytorch_is_there(tmp_path):
    (tmp_path / "torch.py").write_text("")
    done = run("-c", "import torch, rtorch; rtorch.install_as_torch()", cwd=tmp_path)
    assert "PyTorch has been imported already" in done.stderr and done.returncode


def test_spawned_processes_find_rtorch(tmp_path):
    (tmp_path / "main.py").write_text(
        "import multiprocessing as mp\nimport torch\n\n\ndef work(q):\n    q.put(torch.ones(3).sum().item())\n\n\n"
        "if __name__ == '__main__':\n    c = mp.get_context('spawn')\n    q = c.Queue()\n"
        "    p = c.Process(target=work, args=(q,))\n"
        "    p.start()\n    print(q.get(timeout=60))\n    p.join()\n"
    )
    done = run("-m", "rtorch", str(tmp_path / "main.py"))
    assert done.stdout == "3.0\n", done.stderr


def test_what_the_script_pickles_is_found_again(tmp_path):
    (tmp_path / "main.py").write_text(
        "import torch\n\n\nclass Net(torch.nn.Linear):\n    pass\n\n\ntorch.save(Net(1, 1), 'net.pt')\n"
        "print(type(torch.load('net.pt', weights_only=False)) is Net)\n"
    )
    assert run("-m", "rtorch", "main.py", cwd=tmp_path).stdout == "True\n"
