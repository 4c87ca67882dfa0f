"""DataLoader throughput beside PyTorch: pictures of 3x224x224 float32, batches of 32, 2 workers, 2 ms of work a sample.

usage: data.py [--libraries rtorch torch] [--torch-python PYTHON] [--rounds 3] [--samples 640] [--work 2]
One process a library and round, one after the other; the median round counts. The first epoch starts the workers and
is timed apart; the second one runs with the same workers (persistent). Every batch is read once by the parent.
"""

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import time

METHODS = ("fork", "spawn")


class Pictures:
    """A map dataset whose samples cost `work` seconds of a core, and are made, not read."""

    def __init__(self, library, samples, work):
        self.library, self.samples, self.work = library, samples, work

    def __len__(self):
        return self.samples

    def __getitem__(self, i):
        torch = importlib.import_module(self.library)
        end = time.perf_counter() + self.work
        picture = torch.full((3, 224, 224), float(i))
        while time.perf_counter() < end:
            pass
        return picture, i % 10


def measure(library, method, samples, work):
    """(samples a second from the first batch asked for to the last of epoch 1, the same of epoch 2)."""
    torch = importlib.import_module(library)
    data = importlib.import_module(f"{library}.utils.data")
    torch.set_num_threads(1)
    loader = data.DataLoader(
        Pictures(library, samples, work),
        batch_size=32,
        num_workers=2,
        multiprocessing_context=method,
        persistent_workers=True,
    )
    rates = []
    for _ in range(2):
        start, seen = time.perf_counter(), 0
        for pictures, labels in loader:
            seen += len(labels)
            assert float(pictures[0, 0, 0, 0] - pictures[0, 2, 223, 223]) == 0
        assert seen == samples
        rates.append(samples / (time.perf_counter() - start))
    return rates


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--libraries", nargs="+", default=["rtorch", "torch"])
    parser.add_argument("--torch-python", default=sys.executable, help="an interpreter that has PyTorch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=640)
    parser.add_argument("--work", type=float, default=2.0, help="milliseconds a sample")
    parser.add_argument("--one", nargs=2, metavar=("LIBRARY", "METHOD"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one, options.samples, options.work / 1000)))
        return
    for method in METHODS:
        rates = {library: [] for library in options.libraries}
        for _ in range(options.rounds):
            for library in options.libraries:
                python = options.torch_python if library == "torch" else sys.executable
                more = ["--samples", str(options.samples), "--work", str(options.work), "--one", library, method]
                done = subprocess.run([python, __file__, *more], capture_output=True, text=True, check=True)
                rates[library].append(json.loads(done.stdout))
        medians = {n: [statistics.median(r[epoch] for r in found) for epoch in (0, 1)] for n, found in rates.items()}
        for library, (first, second) in medians.items():
            print(f"{method:6} {library:7} {first:8.0f} samples/s with start, {second:8.0f} after")
        if len(medians) == 2:
            (a, b), (c, d) = medians.values()
            print(f"{method:6} ratio   {a / c:8.2f}                     {b / d:8.2f}")


if __name__ == "__main__":
    main()
