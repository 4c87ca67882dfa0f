"""Everything that agreed with PyTorch's recorded answers must go on agreeing (tests/recorded.py keeps the list)."""

import numpy as np
import pytest

import recorded

# PyTorch warns of what is deprecated, and so does rtorch.
pytestmark = pytest.mark.filterwarnings("ignore")


def entries(device):
    return [(kind, name) for kind, names in recorded.known().get(device, {}).items() for name in names]


@pytest.mark.modes
@pytest.mark.parametrize(("kind", "name"), entries("cpu"))
def test_agrees_on_the_cpu(kind, name):
    recorded.run_entry(kind, name, "cpu")


@pytest.mark.gpu
@pytest.mark.parametrize(("kind", "name"), entries("wgpu"))
def test_agrees_on_the_gpu(kind, name):
    recorded.run_entry(kind, name, "wgpu")


# ---- the checker can fail


def spoil(case, arrays, change):
    """The same recording with one array changed."""
    key = f"a{case['out']['t']}"
    return {**{k: arrays[k] for k in arrays.files if k != "index"}, key: change(arrays[key])}


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a + np.float32(1e-2),
        lambda a: a.astype(np.float64),
        lambda a: a[..., None],
        lambda a: np.where(np.arange(a.size).reshape(a.shape) == 0, np.float32("nan"), a),
    ],
    ids=["value", "dtype", "shape", "nan"],
)
def test_a_wrong_answer_is_seen(change):
    arrays, entries = recorded.load("op")
    case = entries["tanh"][0]
    recorded.run_op(case, arrays, "cpu")
    with pytest.raises(recorded.Differs):
        recorded.run_op(case, spoil(case, arrays, change), "cpu")


def test_a_wrong_gradient_is_seen(monkeypatch):
    arrays, entries = recorded.load("op")
    case = entries["tanh"][0]
    spoiled = {**case, "grads": [{"t": case["cotangent"][0]["t"]}]}
    with pytest.raises(recorded.Differs, match="gradient"):
        recorded.run_op(spoiled, arrays, "cpu")


def test_an_answer_to_a_refused_call_is_seen():
    arrays, entries = recorded.load("refused")
    good_arrays, good = recorded.load("op")
    case = {**good["tanh"][0], "error": "RuntimeError", "match": "planted"}
    with pytest.raises(recorded.Differs, match="no error"):
        recorded.run_refused(case, good_arrays, "cpu")
    case = {**entries["arange"][0], "error": "KeyError"}
    with pytest.raises(recorded.Differs, match="PyTorch: KeyError"):
        recorded.run_refused(case, arrays, "cpu")
