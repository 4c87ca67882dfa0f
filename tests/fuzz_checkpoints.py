"""A fuzzer over the checkpoint readers: mutated files must load or raise an Exception, quickly and in little memory.

`python tests/fuzz_checkpoints.py --count 1000000` runs that many files; a failing one is told by its number, and
`--only NUMBER` runs it again. A process of its own reads the files, so that a crash is seen and named.
"""

import argparse
import io
import multiprocessing
import os
import random
import resource
import signal
import struct
import sys
import time
import warnings
from collections import Counter, OrderedDict

SECONDS, MEMORY = 5.0, 64 << 20  # a file's processor time and memory
ASLEEP = 600.0  # seconds of the clock without progress, however little of them the worker was given
TOUCHED = 10_000  # tensors of at most so many elements are read to the last one
NUMBERS = [0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]
NUMBERS += [1 << 40, (1 << 61) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
OPCODES = b".(0123dNFIJKLMPQRSTUVXabcdeghijlopqrstu}])\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8f\x90\x92"
OPCODES += b"\x93\x94\x95"


def seeds():
    """Good files of every format to start from, as (kind, bytes)."""
    import rtorch
    from rtorch import nn, optim
    from rtorch.utils import safetensors

    x = rtorch.arange(12.0).reshape(3, 4)
    noted = rtorch.ones(2)
    noted.note = [1, {"a": (2, 3)}]
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    opt = optim.AdamW(model.parameters())
    model(rtorch.ones(4, 2)).sum().backward()
    opt.step()
    values = [1, 2**70, -1.5, None, True, "é", b"xy", (1, (2,)), {3}, 3 + 4j, bytearray(b"z"), Counter("aab")]
    objects = [
        [x, x.t(), x[1:, ::2], rtorch.tensor(3), rtorch.empty(0, 2)],
        {"w": nn.Parameter(x[0]), "n": noted, "h": x.to(rtorch.bfloat16), "c": x.to(rtorch.complex64)},
        model.state_dict(),
        opt.state_dict(),
        [*values, OrderedDict(a=1), rtorch.float16, rtorch.Size([1, 2]), rtorch.device("cpu"), x.untyped_storage()],
    ]
    for obj in objects:
        for new in (True, False):
            buffer = io.BytesIO()
            rtorch.save(obj, buffer, _use_new_zipfile_serialization=new)
            yield "pt", buffer.getvalue()
    from checkpoint_files import checkpoint, tensor

    yield "pt", checkpoint([tensor(), 5])
    yield "pt", checkpoint([tensor(), 5], packed=True)
    yield "st", safetensors.save({"a": x, "b": rtorch.tensor([True])}, {"k": "v"})


def edit(rng, data):
    """One small change in a bytearray."""
    kind, at = rng.randrange(8), rng.randrange(max(1, len(data)))
    if kind == 0:
        data[at : at + 1] = bytes([rng.randrange(256)])
    elif kind == 1:
        data[at : at + 1] = bytes([(data[at] if at < len(data) else 0) ^ (1 << rng.randrange(8))])
    elif kind == 2:
        width = rng.choice([2, 4, 8])
        data[at : at + width] = (rng.choice(NUMBERS) & ((1 << 8 * width) - 1)).to_bytes(width, "little")
    elif kind == 3:
        del data[at : at + rng.randrange(1, 40)]
    elif kind == 4:
        other = rng.randrange(max(1, len(data)))
        data[at:at] = data[other : other + rng.randrange(1, 60)]
    elif kind == 5:
        data[at : at + 1] = bytes([rng.choice(OPCODES)])
    elif kind == 6:
        data[at:at] = bytes(rng.choice(OPCODES) for _ in range(rng.randrange(1, 6)))
    else:
        del data[at:]


def repacked(rng, data):
    """An archive of which a record is changed while the archive stays true to it."""
    import zipfile

    buffer = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
            names = old.namelist()
            chosen = rng.choice(names) if rng.random() < 0.3 else names[0]
            for name in names:
                content = bytearray(old.read(name))
                if name == chosen:
                    for _ in range(rng.randrange(1, 4)):
                        edit(rng, content)
                new.writestr(name, bytes(content))
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return data
    return buffer.getvalue()


def mutated(number, files):
    """File `number`: always the same."""
    rng = random.Random(number)
    kind, data = rng.choice(files)
    if kind == "pt" and data[:2] == b"PK" and rng.random() < 0.6:
        return kind, repacked(rng, data)
    changed = bytearray(data)
    if kind == "st" and rng.random() < 0.5:  # a header of the changed length
        header = changed[8 : 8 + int.from_bytes(changed[:8], "little")]
        rest = changed[8 + len(header) :]
        edit(rng, header)
        return kind, struct.pack("<Q", len(header)) + bytes(header) + bytes(rest)
    for _ in range(rng.choice([1, 1, 2, 4, 8])):
        edit(rng, changed)
    return kind, bytes(changed)


def touch(value, depth=0):
    """Reads what was loaded to the last element."""
    import rtorch

    if isinstance(value, rtorch.Tensor):
        if value.numel() <= TOUCHED:
            value.detach().tolist()
    elif depth < 5 and isinstance(value, (list, tuple, set)):
        for item in list(value)[:100]:
            touch(item, depth + 1)
    elif depth < 5 and isinstance(value, dict):
        for item in list(value.values())[:100]:
            touch(item, depth + 1)


def read(kind, data):
    """Loads one file; what it raised, or None."""
    import rtorch
    from rtorch.utils import safetensors

    try:
        touch(safetensors.load(data) if kind == "st" else rtorch.load(io.BytesIO(data)))
    except Exception as e:
        return type(e).__name__
    return None


def peak():
    """The largest memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def work(first, count, now, report):
    """Reads `count` files; `now` holds the number and the start of the one at hand."""
    warnings.simplefilter("ignore")
    files = list(seeds())
    for kind, data in files:
        assert read(kind, data) is None
    seen, most = Counter(), peak()
    for number in range(first, first + count):
        now[0], now[1] = number, time.time()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # ends the process by SIGPROF, in the middle of compiled code too
        kind, data = mutated(number, files)
        try:
            seen[read(kind, data)] += 1
        except BaseException as e:
            report.put(("stopped", number, f"raised {type(e).__name__}, which is no Exception: {e}"))
            return
        if peak() > most + MEMORY:
            report.put(("stopped", number, f"took {(peak() - most) >> 20} MB"))
            return
    signal.setitimer(signal.ITIMER_PROF, 0)
    report.put(("done", count, dict(seen)))


def run(first, count):
    """(failure or None, what was raised how often)."""
    context = multiprocessing.get_context("spawn")
    now, report = context.Array("d", 2), context.Queue()
    process = context.Process(target=work, args=(first, count, now, report), daemon=True)
    now[1] = time.time() + 60
    process.start()
    try:
        while process.is_alive() and report.empty():
            time.sleep(0.2)
            if time.time() - now[1] > ASLEEP:
                return f"file {int(now[0])} made no progress for {ASLEEP:.0f} s", {}
        try:
            kind, number, what = report.get(timeout=10)
        except Exception:
            if process.exitcode == -signal.SIGPROF:
                return f"file {int(now[0])} takes more than {SECONDS} s of processor time", {}
            return f"file {int(now[0])} ended the process with status {process.exitcode}", {}
    finally:
        process.kill()
        process.join()
    return (None, what) if kind == "done" else (f"file {number} {what}", {})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", type=int)
    options = parser.parse_args()
    if options.only is not None:
        kind, data = mutated(options.only, list(seeds()))
        with open(f"fuzz-{options.only}.{kind}", "wb") as file:
            file.write(data)
        print(read(kind, data))
        return 0
    total, start = Counter(), time.time()
    for first in range(options.first, options.first + options.count, 20_000):
        failure, seen = run(first, min(20_000, options.first + options.count - first))
        if failure:
            print(failure)
            return 1
        total.update(seen)
        print(f"{sum(total.values())} files in {time.time() - start:.0f} s, {total[None]} loaded", flush=True)
    print(", ".join(f"{name}: {n}" for name, n in total.most_common()))
    return 0


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    sys.exit(main())
