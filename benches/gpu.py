"""What the GPU adapter of this machine does: limits, cost per dispatch, copies, .item(), products, training steps.

usage: gpu.py [--index 0] [--quick]
Every time includes the wait for the result. Shares of peak are of the fastest product seen here, not of a data sheet.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import time

import runner
import train

import rtorch as torch

GEMM_SIZES = (128, 256, 512, 1024, 2048, 4096)
GEMM_SECONDS = 20.0  # a size is left out once the one before took this long
CHAIN = 16


def clock(function, repeats):
    """Seconds a call of `function` repeated without waiting in between, waiting at the end."""
    runner.force(function())
    torch.accelerator.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        runner.force(function())
    torch.accelerator.synchronize()
    return (time.perf_counter() - start) / repeats


def adapter(index):
    properties = torch.wgpu.get_device_properties(index)
    for name in sorted(n for n in dir(properties) if not n.startswith("_")):
        value = getattr(properties, name)
        if isinstance(value, dict):
            print(f"  {name}")
            for key, entry in sorted(value.items()):
                print(f"    {key:50} {entry}")
        elif not callable(value):
            print(f"  {name:24} {value if isinstance(value, (str, int)) else ', '.join(map(str, value))}")


def dispatches(device):
    a, rows = torch.rand(1024, device=device), torch.rand(1024, 4, device=device)
    wait = torch.accelerator.synchronize
    for name, function, repeats in (
        ("one small kernel, queued", lambda: rows.sum(1), 200),
        ("one small kernel, waited for", lambda: (rows.sum(1), wait()), 50),
        (".item() of a ready tensor", lambda: a[0].item(), 50),
        (".item() of a sum", lambda: a.sum().item(), 50),
    ):
        print(f"  {name:37} {clock(function, repeats) * 1e6:10.1f} us")


def copies(device, megabytes):
    host = torch.rand(megabytes << 18)
    there = host.to(device)
    bytes_moved = host.numel() * 4
    for name, function, factor in (
        ("host to device", lambda: host.to(device), 1),
        ("device to host", lambda: there.cpu(), 1),
        ("device to device (read and write)", lambda: there.clone(), 2),
        ("a + 1 on the device (read and write)", lambda: there + 1, 2),
        ("sum on the device (read)", lambda: there.sum(), 1),
    ):
        print(f"  {name:37} {bytes_moved * factor / clock(function, 5) / 1e9:8.2f} GB/s")


def products(device, sizes):
    rates = {}
    for size in sizes:
        for dtype in (torch.float32, torch.float16):
            a, b = (torch.rand(size, size).to(device, dtype) for _ in range(2))
            seconds = clock(lambda a=a, b=b: a @ b, 3)
            rates[size, dtype] = 2 * size**3 / seconds / 1e9
        if seconds * 8 > GEMM_SECONDS:
            break
    best = max(rates.values())
    for (size, dtype), rate in rates.items():
        print(f"  {size:5} {str(dtype):14} {rate:10.1f} GFLOP/s   {100 * rate / best:5.1f} % of the fastest here")


def chain(device):
    """Sixteen pointwise operations in a row, gradient included: how many kernels, how long."""
    x = torch.rand(1 << 20, device=device).requires_grad_()

    def run():
        x.grad = None
        y = x
        for _ in range(CHAIN // 2):
            y = (y * 1.01 + 0.1).tanh()
        y.sum().backward()
        return x.grad

    runner.force(run())
    torch.accelerator.synchronize()
    torch.reset_runtime_stats()
    runner.force(run())
    torch.accelerator.synchronize()
    stats = torch.runtime_stats()
    moved = (stats["bytes_read"] + stats["bytes_written"]) / 1e6
    seconds = clock(run, 10)
    counts = f"{stats['gpu_dispatches']} dispatches, {moved:.0f} MB moved"
    print(f"  {'chain and gradient':20} {seconds * 1e6:12.1f} us         {counts}")


def steps(device):
    for name, make in train.CASES.items():
        torch.manual_seed(0)
        _, median = runner.measure(make(torch, device), torch.accelerator.synchronize)
        print(f"  {name:20} {median:12.1f} us a step")


def fused_or_not(index):
    """The same two measurements in a process of their own for each mode."""
    for title, extra in (("deferred", {}), ("RTORCH_EAGER=1", {"RTORCH_EAGER": "1"})):
        print(f"\n{title}", flush=True)
        command = [sys.executable, str(pathlib.Path(__file__)), "--index", str(index), "--only-steps"]
        subprocess.run(command, env={**os.environ, **extra}, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--index", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="smaller sizes")
    parser.add_argument("--only-steps", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not torch.wgpu.is_available():
        print("no GPU adapter (RTORCH_ALLOW_SOFTWARE=1 allows a software one)")
        return
    device = f"wgpu:{options.index}"
    if options.only_steps:
        chain(device)
        steps(device)
        return
    print(f"rtorch {torch.__version__} on {device}")
    adapter(options.index)
    print("\ncost of a call")
    dispatches(device)
    print("\nbandwidth")
    copies(device, 16 if options.quick else 256)
    print("\nmatrix products")
    products(device, GEMM_SIZES[:4] if options.quick else GEMM_SIZES)
    fused_or_not(options.index)


if __name__ == "__main__":
    main()
