"""The recorded operator calls (tests/data/ops_float32.npz) at sizes worth timing: what `operators.py` times.

An operator's first recorded call whose arguments become large enough stands for it, or else the first that runs. There
are two ways, tried in order: every size is multiplied (3x4 by 4x5 becomes 384x512 by 512x640), or only the first one of
the largest tensor and its equals. Values are repeated, so that domains and indices stay valid, with a little noise on
floats, so that matrices keep their rank. What answers no tensor, or fails at both sizes under a library, is left out
there.
Nothing here depends on the library that is measured.
"""

import functools
import json
import math
import pathlib

import numpy as np

RECORDED = pathlib.Path(__file__).parents[1] / "tests" / "data" / "ops_float32.npz"
ELEMENTS = 1 << 20
MATRIX = 512
# operators whose work grows faster than their operands' size get operands of this many elements
CUBIC_ELEMENTS = 1 << 16
CUBIC = ("linalg.", "cholesky", "svd", "matrix_exp", "lu", "qr", "pinverse", "logdet", "slogdet", "inverse", "cdist")


@functools.cache
def archive():
    return np.load(RECORDED)


def calls():
    """{operator: its recorded float32 calls}."""
    entries = {}
    for case in json.loads(bytes(archive()["index"]).decode()):
        if case["dtype"] == "float32" and not case["call"].startswith("getattr:"):
            entries.setdefault(case["op"] + ("." + case["variant"] if case["variant"] else ""), []).append(case)
    return entries


def tensors(value):
    """All recorded tensors in nested arguments."""
    if isinstance(value, dict):
        return [value] if "t" in value else [t for v in value.values() for t in tensors(v)]
    return [t for v in value for t in tensors(v)] if isinstance(value, list) else []


def repeats(case, way):
    """How often each dimension of each tensor is repeated, by the tensor's number; None: nothing to enlarge."""
    shapes = {t["t"]: archive()[f"a{t['t']}"].shape for t in tensors([case["args"], case["kwargs"]])}
    largest = max(shapes.values(), key=math.prod, default=())
    if not largest or not math.prod(largest):
        return None
    elements = CUBIC_ELEMENTS if case["op"].startswith(CUBIC) else ELEMENTS
    if way == "first":
        times = max(1, elements // math.prod(largest))
        return {n: [times] + [1] * (len(s) - 1) if s[:1] == largest[:1] else [1] * len(s) for n, s in shapes.items()}
    elements = min(elements, MATRIX * MATRIX) if len(largest) > 1 else elements
    times = max(1, round((elements / math.prod(largest)) ** (1 / len(largest))))
    return {n: [times if size > 1 else 1 for size in s] for n, s in shapes.items()}


def is_large(case, way):
    """Has the largest operand at least half of the elements that are wanted?"""
    times = repeats(case, way)
    if times is None:
        return False
    sizes = [math.prod(archive()[f"a{n}"].shape) * math.prod(t) for n, t in times.items()]
    wanted = CUBIC_ELEMENTS if case["op"].startswith(CUBIC) else min(ELEMENTS, MATRIX * MATRIX)
    return 2 * max(sizes) >= wanted


class Arguments:
    """Turns one recorded call into large arguments of a library; `leaves` are those that want a gradient."""

    def __init__(self, library, case, way, dtype):
        self.library, self.dtype, self.leaves = library, dtype, []
        self.times = repeats(case, way)
        if self.times is None:
            raise ValueError("nothing to enlarge")
        self.noise = np.random.default_rng(0)
        self.args = [self.decode(v) for v in case["args"]]
        self.kwargs = {k: self.decode(v) for k, v in case["kwargs"].items()}

    def tensor(self, value):
        array = np.tile(archive()[f"a{value['t']}"], self.times[value["t"]])
        if array.dtype == np.float32:
            array = (array * (1 + 1e-3 * self.noise.random(array.shape))).astype(self.dtype)
        # memory of the library's own, as results have it: what reads NumPy's cannot wait for what follows
        tensor = self.library.from_numpy(np.ascontiguousarray(array)).clone()
        if value.get("g"):
            self.leaves.append(tensor.requires_grad_(True))
        return tensor

    def decode(self, value):
        if isinstance(value, list):
            return [self.decode(v) for v in value]
        if not isinstance(value, dict):
            return value
        if "t" in value:
            return self.tensor(value)
        ((kind, body), *_) = value.items()
        makers = {
            "dtype": self.lookup,
            "attr": self.lookup,
            "device": lambda _: self.library.device("cpu"),
            "size": tuple,
            "tuple": lambda items: tuple(self.decode(v) for v in items),
            "list": lambda items: [self.decode(v) for v in items],
            "dict": lambda items: {k: self.decode(v) for k, v in items.items()},
            "slice": lambda parts: slice(*parts),
            "ellipsis": lambda _: Ellipsis,
            "complex": lambda parts: complex(*parts),
            "float": float,
        }
        return makers[kind](body)

    def lookup(self, path):
        return functools.reduce(getattr, path.split("."), self.library)
