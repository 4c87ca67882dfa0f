"""Random arguments for every registered operator: shapes, dtypes, strides, dims, sizes near 2^31 and 2^63, wrong types.

A call may answer or raise any exception; it must not end the process, hang, run out of bounds or panic (a panic arrives
as a RuntimeError that says "internal error"). A worker process makes the calls and notes the number of each before it
begins; the driver sees a worker that died or got stuck, reports the call, and goes on behind it. What the values are is
for `fuzz.py` and the recorded cases.

usage: fuzz_arguments.py [--calls 0:10000] [--only NAME] [--show NUMBER]
"""

import argparse
import inspect
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile

import rtorch

# of the processor; the clock may take longer on a busy machine
SECONDS, CLOCK = 20, 10
# address space of a worker: a huge allocation must be an exception here, not the end of the machine
MEMORY = 6 << 30
DTYPES = (
    "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 complex128 "
    "uint16 uint32 uint64 float8_e4m3fn float8_e5m2 float8_e8m0fnu"
).split()
# not what bad arguments raise: they say that nobody looked at the arguments (PyTorch's own Python does not look either
# in `nn.functional` and `masked`)
CARELESS = (AttributeError, KeyError, NameError, ZeroDivisionError, RecursionError, AssertionError)
PYTHON = ("nn.functional.", "masked.")
INTS = [0, 1, 2, 3, -1, -2, -3, 5, 7, 2**31 - 1, 2**31, -(2**31), 2**63 - 1, -(2**63), 2**40]
FLOATS = [0.0, 0.5, 1.0, -1.0, 2.5, 1e30, float("inf"), float("nan"), -0.0]
WORDS = ["mean", "sum", "none", "constant", "reflect", "floor", "trunc", "ij", "linear", "amax", "prod", "x", ""]
# not operators on values: they change the process, print, wait or ask the system
SKIPPED = {
    "from_file", "frombuffer", "load", "manual_seed", "save", "seed", "set_default_device", "set_default_dtype",
    "set_num_interop_threads", "set_num_threads", "set_printoptions", "set_rng_state",
}  # fmt: skip


def operators():
    """Every function and method by name: what is called, and how its arguments are described."""
    found = {}
    for name in rtorch._C._operators:
        if not name.startswith("_") and name not in SKIPPED:
            found[name] = getattr(rtorch._C, name)
    for name in dir(rtorch._C._special):
        if not name.startswith("_"):
            found["special." + name] = getattr(rtorch._C._special, name)
    for name, f in vars(rtorch.Tensor).items():
        if not name.startswith("_") and name not in found and inspect.ismethoddescriptor(f):
            found["Tensor." + name] = f
    for name, f in {**rtorch._ops.FUNCTIONS, **rtorch._ops.METHODS}.items():
        if name not in SKIPPED:
            found.setdefault(name, f)
    for module in ("linalg", "nn.functional", "signal.windows", "masked"):
        home = rtorch
        for part in module.split("."):
            home = getattr(home, part)
        for name in dir(home):
            f = getattr(home, name)
            if inspect.isfunction(f) and not name.startswith("_"):
                found[f"{module}.{name}"] = f
    return dict(sorted(found.items()))


def shape(r):
    return tuple(r.choice([0, 1, 1, 2, 3, 4, 5]) for _ in range(r.choice([0, 1, 1, 2, 2, 2, 3, 4])))


def tensor(r, like=None):
    """A tensor of any dtype and layout; often of the shape or dtype of another one, so that calls get somewhere."""
    size = tuple(like.shape) if like is not None and r.random() < 0.7 else shape(r)
    dtype = getattr(rtorch, r.choice(DTYPES))
    if like is not None and r.random() < 0.7:
        dtype = like.dtype
    if r.random() < 0.4:
        dtype = rtorch.float32
    x = rtorch.randint(-3, 9, size).to(dtype)
    how = r.random()
    if how < 0.15 and x.dim() > 1:
        x = x.transpose(0, -1)
    elif how < 0.25:
        x = rtorch.cat([x.reshape(-1), x.reshape(-1)])[::2][: x.numel()].reshape(size)
    elif how < 0.35:
        x = x.unsqueeze(0).expand(r.choice([0, 1, 3]), *size)
    elif how < 0.45 and x.dim() and x.size(0) > 1:
        x = x[1:]
    if r.random() < 0.2 and (x.is_floating_point() or x.is_complex()):
        x = x.clone().requires_grad_()
    return x


def ints(r):
    return [r.choice(INTS if r.random() < 0.2 else INTS[:9]) for _ in range(r.choice([0, 1, 2, 2, 3, 4]))]


def value(r, kind, like):
    """An argument of a kind, now and then of another one."""
    if r.random() < 0.03:
        kind = r.choice(["Tensor", "int", "float", "str", "None", "int[]", "object"])
    makers = {
        "Tensor": lambda: tensor(r, like),
        "Tensor[]": lambda: [tensor(r, like) for _ in range(r.choice([0, 1, 2, 3]))],
        "Scalar": lambda: r.choice([r.choice(INTS), r.choice(FLOATS), True, 1j, r.choice(FLOATS)]),
        "int": lambda: r.choice(INTS if r.random() < 0.3 else INTS[:8]),
        "int[]": lambda: ints(r),
        "float": lambda: r.choice(FLOATS),
        "bool": lambda: r.random() < 0.5,
        "str": lambda: r.choice(WORDS),
        "dtype": lambda: getattr(rtorch, r.choice(DTYPES)),
        "device": lambda: "cpu",
        "object": lambda: r.choice([None, "a", {}, object(), (1, (2,))]),
    }
    return makers.get(kind, lambda: None)()


def kind_of(text):
    """A signature's type, without its options."""
    text = text.rstrip("?")
    if text.startswith("Tensor"):
        return "Tensor[]" if "[" in text else "Tensor"
    if text.startswith(("int[", "bool[")):
        return "int[]"
    return text if text in ("Scalar", "int", "float", "bool", "str", "dtype", "device") else "None"


NAMED = {
    "dim": "int", "dims": "int[]", "k": "int", "n": "int", "size": "int[]", "sizes": "int[]", "shifts": "int[]",
    "keepdim": "bool", "dtype": "dtype", "reduction": "str", "mode": "str", "p": "Scalar", "tensors": "Tensor[]",
    "indices_or_sections": "int[]", "repeats": "int", "diagonal": "int", "offset": "int", "M": "int", "bins": "int",
    "kernel_size": "int", "stride": "int", "padding": "int", "dilation": "int", "groups": "int", "q": "float",
    "output_size": "int[]", "normalized_shape": "int[]", "num_classes": "int", "eps": "float", "value": "Scalar",
    "shape": "int[]", "window_length": "int", "correction": "int", "maxnorm": "float", "step": "int", "side": "str",
}  # fmt: skip


def described(r, f):
    """(kinds by position, kinds by keyword) of one overload."""
    doc = (f.__doc__ or "").split("\n")
    lines = [d for d in doc if "(" in d and d.endswith(")")] if not inspect.isfunction(f) else []
    if lines:
        pieces = r.choice(lines).split("(", 1)[1][:-1].split(", ")
        keyword, by_place, by_name = False, [], {}
        for piece in pieces:
            if piece == "*":
                keyword = True
            elif " " in piece:
                kind, name = piece.split("=")[0].split(" ", 1)
                if keyword or ("=" in piece and r.random() < 0.5):
                    by_name[name] = kind_of(kind)
                elif not by_name:
                    by_place.append(kind_of(kind))
        return by_place, by_name
    by_place, by_name = [], {}
    try:
        params = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return ["Tensor"], {}
    for p in params:
        guess = "bool" if isinstance(p.default, bool) else "Tensor" if p.default is p.empty else "None"
        kind = NAMED.get(p.name, guess)
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            continue
        if p.default is not p.empty and r.random() < 0.6:
            continue
        if p.kind is p.KEYWORD_ONLY or by_name or p.default is not p.empty:
            by_name[p.name] = kind
        else:
            by_place.append(kind)
    return by_place, by_name


def call(number, table):
    """Call number `number`: (name, function, arguments, keywords)."""
    r = random.Random(number)
    rtorch.manual_seed(number)
    name = r.choice(list(table))
    by_place, by_name = described(r, table[name])
    first = tensor(r)
    args = []
    for kind in by_place:
        args.append(first if kind == "Tensor" and not args and r.random() < 0.97 else value(r, kind, first))
    kwargs = {k: value(r, kind, first) for k, kind in by_name.items() if r.random() < 0.6}
    return name, table[name], args, kwargs


def watch():
    """Makes the end of a call's time an exception."""
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, stuck)


def stuck(signum, frame):
    raise TimeoutError("a call took too long")


def shown(x):
    if isinstance(x, rtorch.Tensor):
        return f"<{x.dtype} {tuple(x.shape)} strides {x.stride()}>"
    return f"[{', '.join(map(shown, x))}]" if isinstance(x, list) else repr(x)


def one(number, table):
    """Makes a call; answers what is wrong with how it ended, or None."""
    name, f, args, kwargs = call(number, table)
    text = f"{name}({', '.join([*map(shown, args), *(f'{k}={shown(v)}' for k, v in kwargs.items())])})"
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(SECONDS * CLOCK)
    try:
        answer = f(*args, **kwargs)
        for t in answer if isinstance(answer, (tuple, list)) else [answer]:
            if isinstance(t, rtorch.Tensor) and t.numel() < 10_000:
                repr(t)
    except TimeoutError:
        return f"{number}: {text} did not end"
    except (SystemError, KeyboardInterrupt) as e:
        return f"{number}: {text}: {type(e).__name__}: {e}"
    except CARELESS as e:
        return None if name.startswith(PYTHON) else f"{number}: {text}: {type(e).__name__}: {e}"
    except Exception as e:
        return f"{number}: {text}: {e}" if "internal error" in str(e) else None
    except BaseException as e:
        return f"{number}: {text}: {type(e).__name__}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    return None


def work(start, stop, only, notes):
    """Calls start..stop in this process; the number of the one under way stands in the file `notes`."""
    import warnings

    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    watch()
    table = {k: f for k, f in operators().items() if only in k}
    with open(notes, "r+b", buffering=0) as at:
        for number in range(start, stop):
            at.seek(0)
            at.write(b"%020d" % number)
            wrong = one(number, table)
            if wrong:
                print(wrong, flush=True)


def drive(start, stop, only=""):
    """Runs workers until all calls are made; answers the lines of those that ended wrongly."""
    wrong = []
    with tempfile.NamedTemporaryFile() as notes:
        while start < stop:
            command = [sys.executable, __file__, "--work", "--calls", f"{start}:{stop}", "--only", only]
            notes.seek(0)
            notes.write(b"%020d" % start)
            notes.flush()
            run = subprocess.Popen([*command, "--notes", notes.name], stdout=subprocess.PIPE, text=True)
            lines, at = [], start
            for line in run.stdout:
                lines.append(line.rstrip())
            run.wait()
            wrong += lines
            if run.returncode == 0:
                break
            with open(notes.name, "rb") as f:
                at = int(f.read(20))
            wrong.append(f"{at}: the process ended with {run.returncode}")
            if run.returncode > 0:
                break  # the worker itself failed: no call did that
            start = at + 1
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--calls", default="0:10000")
    parser.add_argument("--only", default="", help="operators whose name contains this")
    parser.add_argument("--show", type=int, help="print one call and make it")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--notes", default=os.devnull, help=argparse.SUPPRESS)
    a = parser.parse_args()
    start, stop = map(int, a.calls.split(":"))
    if a.show is not None:
        name, f, args, kwargs = call(a.show, {k: v for k, v in operators().items() if a.only in k})
        print(name, list(map(shown, args)), {k: shown(v) for k, v in kwargs.items()}, flush=True)
        print(f(*args, **kwargs))
    elif a.work:
        work(start, stop, a.only, a.notes)
    else:
        wrong = drive(start, stop, a.only)
        print("\n".join(wrong))
        print(f"{stop - start} calls of {len(operators())} operators, {len(wrong)} ended wrongly")
        sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
