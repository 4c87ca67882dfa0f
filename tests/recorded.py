"""Recorded PyTorch 2.13 behaviour (tests/data/*.npz): decoding, calling, comparing.

An entry is an operator, a module, an optimizer, a refused call or a stream of random numbers; it has one or more cases
and passes when all of them agree. A case is JSON; `{"t": n}` stands for the array a<n> of its file. test_conformance.py
turns entries into tests. Run as a script it prints totals and keeps the list of entries that pass:

usage: recorded.py [--device cpu|wgpu] [--only SUBSTRING] [--update]
--update adds what passes now to tests/data/conformance_known.json and never removes: an entry that stops passing
fails test_conformance.py.
"""

import argparse
import collections
import contextlib
import functools
import json
import math
import pathlib
import signal

import numpy as np

import rtorch

DATA = pathlib.Path(__file__).parent / "data"
KNOWN = DATA / "conformance_known.json"
FILES = {
    "op": "ops_float32.npz",
    "module": "modules.npz",
    "optim": "optimizers.npz",
    "refused": "bad_inputs.npz",
    "stream": "cpu_random.npz",
}
# |got - want| <= rtol * |want| + atol * max(1, largest |want|), by the dtype of the recorded answer.
TOLERANCE = {"float16": (5e-3, 5e-3), "bfloat16": (3e-2, 3e-2), "float64": (1e-6, 1e-7), "complex128": (1e-6, 1e-7)}
FLOAT32_TOLERANCE = (2e-4, 2e-5)
OPTIMIZER_TOLERANCE = (5e-3, 5e-3)
CASE_SECONDS = 20
# LBFGS amplifies rounding: from its third step on PyTorch differs between two CPUs.
LBFGS_STEPS, LBFGS_RTOL, LOSS_RTOL = 2, 0.15, 2e-3


class Differs(AssertionError):
    """An answer that is not PyTorch's; the message says where."""


@functools.cache
def load(kind):
    """(arrays by name, {entry name: its cases}) of one file."""
    archive = np.load(DATA / FILES[kind])
    entries = collections.defaultdict(list)
    for case in json.loads(bytes(archive["index"]).decode()):
        entries[entry_name(kind, case)].append(case)
    return archive, dict(entries)


def entry_name(kind, case):
    if kind in ("module", "optim"):
        return case[kind]
    if kind == "stream":
        return f"seed {case['seed']}: " + "; ".join(code for code, _ in case["steps"])
    return case["op"] + ("." + case["variant"] if case["variant"] else "")


def lookup(path):
    """`rtorch.<path>`; AttributeError if it does not exist."""
    return functools.reduce(getattr, path.split("."), rtorch)


class Decoder:
    """Turns recorded JSON into arguments on one device; tensors that want a gradient are kept in `leaves`, in order."""

    def __init__(self, arrays, device):
        self.arrays, self.device, self.leaves = arrays, device, []

    def tensor(self, value):
        tensor = rtorch.tensor(self.arrays[f"a{value['t']}"].copy())
        if value.get("bf16"):
            tensor = tensor.to(rtorch.bfloat16)
        if self.device != "cpu":
            tensor = tensor.to(self.device)
        if value.get("g"):
            self.leaves.append(tensor.requires_grad_(True))
        return tensor

    def __call__(self, value):
        if isinstance(value, list):
            return [self(v) for v in value]
        if not isinstance(value, dict):
            return value
        if "t" in value:
            return self.tensor(value)
        ((kind, body), *_) = value.items()
        makers = {
            "dtype": lookup,
            "attr": lookup,
            "device": lambda _: rtorch.device(self.device),
            "size": tuple,
            "tuple": lambda items: tuple(self(v) for v in items),
            "list": lambda items: [self(v) for v in items],
            "dict": lambda items: {k: self(v) for k, v in items.items()},
            "slice": lambda parts: slice(*parts),
            "ellipsis": lambda _: Ellipsis,
            "complex": lambda parts: complex(*parts),
            "float": float,
        }
        return makers[kind](body)

    def items(self, mapping):
        return {k: self(v) for k, v in mapping.items()}


def to_numpy(tensor):
    tensor = tensor.detach().cpu()
    if tensor.dtype is rtorch.bfloat16:
        tensor = tensor.float()
    try:
        return tensor.numpy()
    except RuntimeError:  # a conjugate view has no memory of its own to share
        return tensor.numpy(force=True)


def check_tensor(want, got, arrays, where, shape_only=False, tolerance=None):
    array = arrays[f"a{want['t']}"]
    if not isinstance(got, rtorch.Tensor):
        raise Differs(f"{where}: a {type(got).__name__}, not a tensor")
    dtype = "bfloat16" if want.get("bf16") else array.dtype.name
    if (tuple(got.shape), str(got.dtype)) != (array.shape, f"torch.{dtype}"):
        raise Differs(f"{where}: {tuple(got.shape)} of {got.dtype}, not {array.shape} of torch.{dtype}")
    if shape_only:
        return
    values = to_numpy(got)
    if array.dtype.kind not in "fc":
        if not np.array_equal(array, values):
            raise Differs(f"{where}: values differ")
        return
    rtol, atol = TOLERANCE.get(dtype) or tolerance or FLOAT32_TOLERANCE
    largest = float(np.max(np.abs(np.where(np.isfinite(array), array, 0)), initial=0.0))
    if not np.allclose(values, array, rtol=rtol, atol=atol * max(1.0, largest), equal_nan=True):
        with np.errstate(all="ignore"):
            raise Differs(f"{where}: values differ by {np.nanmax(np.abs(values - array)):.2e}")


def check(want, got, arrays, where, shape_only=False, tolerance=None):
    """Raises Differs unless `got` is the recorded answer `want`."""
    if isinstance(want, dict) and "t" in want:
        return check_tensor(want, got, arrays, where, shape_only, tolerance)
    if isinstance(want, dict) and ("tuple" in want or "list" in want):
        wanted = want.get("tuple", want.get("list"))
        if not isinstance(got, (tuple, list)) or len(got) != len(wanted):
            raise Differs(f"{where}: {type(got).__name__}, not {len(wanted)} outputs")
        for i, (w, g) in enumerate(zip(wanted, got)):
            check(w, g, arrays, f"{where}[{i}]", shape_only, tolerance)
        return None
    if isinstance(want, dict) and "size" in want:
        same = tuple(got) == tuple(want["size"])
    else:
        plain = Decoder(arrays, "cpu")(want)
        if isinstance(plain, float):
            same = math.isclose(plain, got, rel_tol=1e-4, abs_tol=1e-5) or (plain != plain and got != got)
        else:
            same = isinstance(want, dict) or plain == got
    if not same:
        raise Differs(f"{where}: {got!r}, not {want!r}")
    return None


def tensors_of(value):
    """All tensors in nested lists, tuples and dictionaries, in order."""
    if isinstance(value, rtorch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in tensors_of(v)] if isinstance(value, (list, tuple)) else []


def call(case, decode):
    args = [decode(v) for v in case["args"]]
    kwargs = decode.items(case["kwargs"])
    if case["call"].startswith("getattr:"):
        return getattr(args[0], case["call"].removeprefix("getattr:"))
    return lookup(case["call"])(*args, **kwargs)


def run_op(case, arrays, device):
    decode = Decoder(arrays, device)
    if case.get("random"):
        rtorch.manual_seed(0)
    out = call(case, decode)
    check(case["out"], out, arrays, "output", bool(case.get("random")), TOLERANCE.get(case["dtype"]))
    if "grads" not in case:
        return
    outs = [t for t in tensors_of(out) if t.requires_grad]
    if len(outs) != len(case["cotangent"]):
        raise Differs(f"{len(outs)} differentiable outputs, not {len(case['cotangent'])}")
    cotangents = [Decoder(arrays, device)(v) for v in case["cotangent"]]
    gradients = rtorch.autograd.grad(outs, decode.leaves, cotangents, allow_unused=True)
    check_gradients(enumerate(zip(case["grads"], gradients)), arrays, "gradient of input")


def check_gradients(pairs, arrays, where):
    for name, (want, got) in pairs:
        if want is not None:
            if got is None:
                raise Differs(f"no {where} {name}")
            check(want, got, arrays, f"{where} {name}")


def run_module(case, arrays, device):
    decode = Decoder(arrays, device)
    module = lookup(case["module"])(*[decode(v) for v in case["init_args"]], **decode.items(case["init_kwargs"]))
    module.to(device).train(case["train"])
    module.load_state_dict(decode.items(case["state"]))
    decode.leaves.clear()
    out = module(*[decode(v) for v in case["args"]], **decode.items(case["kwargs"]))
    check(case["out"], out, arrays, "output")
    if "param_grads" in case:
        losses = [(t * t).sum() for t in tensors_of(out) if t.requires_grad]
        if losses:
            sum(losses[1:], losses[0]).backward()
        parameters = dict(module.named_parameters())
        found = {k: (want, getattr(parameters.get(k), "grad", None)) for k, want in case["param_grads"].items()}
        check_gradients(found.items(), arrays, "gradient of")
        inputs = zip(case["input_grads"], (t.grad for t in decode.leaves))
        check_gradients(enumerate(inputs), arrays, "gradient of input")
    state = module.state_dict()
    for name, want in case["state_after"].items():
        if name not in state:
            raise Differs(f"no state {name}")
        check(want, state[name], arrays, f"state {name}")


def run_optim(case, arrays, device):
    decode = Decoder(arrays, device)
    parameters = [rtorch.nn.Parameter(decode(v)) for v in case["params"]]
    x = decode(case["x"])
    optimizer = getattr(rtorch.optim, case["optim"])(parameters, **decode.items(case["kwargs"]))
    lbfgs = case["optim"] == "LBFGS"

    def closure():
        optimizer.zero_grad()
        z = x @ parameters[0]
        second = parameters[1]
        loss = (rtorch.tanh(z @ second if second.dim() == 2 else z + second) ** 2).sum()
        loss.backward()
        return loss

    for step, want in enumerate(case["losses"][: LBFGS_STEPS if lbfgs else None]):
        if lbfgs:
            loss = float(optimizer.step(closure))
        else:
            loss = float(closure())
            optimizer.step()
        if not math.isclose(loss, want, rel_tol=LBFGS_RTOL if lbfgs else LOSS_RTOL, abs_tol=1e-5):
            raise Differs(f"loss {loss:.6g} at step {step + 1}, not {want:.6g}")
    if not lbfgs:
        for i, (want, parameter) in enumerate(zip(case["after"], parameters)):
            check(want, parameter.detach(), arrays, f"parameter {i}", tolerance=OPTIMIZER_TOLERANCE)


@functools.cache
def answers_a_good_call(name, device):
    """A refusal counts only from an operator that also answers: one that always raises would refuse everything."""
    arrays, entries = load("op")
    first = next((cases[0] for cases in entries.values() if cases[0]["op"] == name), None)
    if first is not None:
        try:
            run_op(first, arrays, device)
        except Exception:
            return False
    return True


def run_refused(case, arrays, device):
    if not answers_a_good_call(case["op"], device):
        raise Differs(f"a good call of {case['op']} fails")
    try:
        for tensor in tensors_of(call(case, Decoder(arrays, device))):
            to_numpy(tensor)
    except Exception as error:
        names = [c.__name__ for c in type(error).__mro__]
        unsupported = "NotImplementedError" in names and case["error"] != "NotImplementedError"
        if unsupported or case["error"] not in names:
            wanted = f"PyTorch: {case['error']} ({case['match'][:80]})"
            raise Differs(f"{type(error).__name__} ({error}); {wanted}") from error
        return
    raise Differs(f"no error; PyTorch raises {case['error']}: {case['match'][:80]}")


def run_stream(case, arrays, device):
    """PyTorch's CPU generator, whatever the device: the same draws after the same seed."""
    rtorch.manual_seed(case["seed"])
    for code, key in case["steps"]:
        got, want = to_numpy(eval(code, {"torch": rtorch})), arrays[key]
        if got.shape != want.shape or not np.allclose(got, want, rtol=1e-5, atol=1e-6):
            raise Differs(f"{code} draws other numbers")


RUNNERS = {"op": run_op, "module": run_module, "optim": run_optim, "refused": run_refused, "stream": run_stream}


def run_entry(kind, name, device):
    """Runs all cases of one entry; raises at the first that does not agree."""
    arrays, entries = load(kind)
    for number, case in enumerate(entries[name]):
        try:
            RUNNERS[kind](case, arrays, device)
        except Differs as difference:
            raise Differs(f"{kind} {name}, case {number}: {difference}") from None


def known():
    """{device: {kind: names that pass}} as last recorded."""
    return json.loads(KNOWN.read_text()) if KNOWN.exists() else {}


@contextlib.contextmanager
def seconds(limit):
    def stop(*_):
        raise TimeoutError(f"no answer in {limit} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(limit)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="")
    parser.add_argument("--update", action="store_true")
    options = parser.parse_args()
    passing = {}
    for kind in FILES:
        if kind == "stream" and options.device != "cpu":
            continue
        _, entries = load(kind)
        chosen = sorted(name for name in entries if options.only in name)
        passing[kind] = []
        for name in chosen:
            try:
                with seconds(CASE_SECONDS * len(entries[name])):
                    run_entry(kind, name, options.device)
                passing[kind].append(name)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a panic that reaches Python derives from BaseException
                print(f"{kind} {name}: {type(error).__name__}: {str(error)[:160]}")
        print(f"{kind} on {options.device}: {len(passing[kind])} of {len(chosen)} entries agree")
    if options.update:
        record = known()
        mine = record.setdefault(options.device, {})
        for kind, names in passing.items():
            mine[kind] = sorted({*names, *mine.get(kind, [])})
        KNOWN.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
