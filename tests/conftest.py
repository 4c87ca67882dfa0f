"""What all tests share: whether there is a GPU, state put back after each test, a closing line on what ran where."""

import os
import signal

import pytest

GPU_HINT = "no GPU adapter (Debian, Ubuntu: apt-get install mesa-vulkan-drivers libvulkan1; RTORCH_ALLOW_SOFTWARE=1)"
MODE_VARIABLES = ("RTORCH_EAGER", "RTORCH_DEFER", "RTORCH_CPU_CAPABILITY", "RTORCH_GPU_PROFILE", "RTORCH_FALLBACK")
_ran = {"gpu": 0}


def gpu_is_available():
    """Whether the `wgpu` device can be used here; a failure to look is a failure of the tests that need it."""
    import rtorch

    return rtorch.wgpu.is_available()


def pytest_configure(config):
    # A shell starts what it puts into the background with Ctrl-C ignored, and the programs of tests would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    needing = [item for item in items if item.get_closest_marker("gpu")]
    if needing and os.environ.get("RTORCH_REQUIRE_GPU") != "1" and not gpu_is_available():
        for item in needing:
            item.add_marker(pytest.mark.skip(reason=GPU_HINT))


def pytest_runtest_logreport(report):
    if report.when == "call" and report.passed and "gpu" in report.keywords:
        _ran["gpu"] += 1


def pytest_sessionfinish(session, exitstatus):
    collected = any(item.get_closest_marker("gpu") for item in getattr(session, "items", []))
    if os.environ.get("RTORCH_REQUIRE_GPU") == "1" and collected and not _ran["gpu"] and exitstatus == 0:
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter):
    mode = " ".join(f"{name}={os.environ[name]}" for name in MODE_VARIABLES if name in os.environ) or "default"
    terminalreporter.write_line(f"rtorch mode: {mode}; GPU tests passed: {_ran['gpu']}")


@pytest.fixture(params=["cpu", pytest.param("wgpu", marks=pytest.mark.gpu)])
def device(request):
    """Runs a test once on each device; the second run carries the marker `gpu`."""
    return request.param


@pytest.fixture(autouse=True)
def _defaults_restored(request):
    """A test may set print options, the default dtype or the default device: the next one starts from PyTorch's own."""
    yield
    import sys

    rtorch = sys.modules.get("rtorch")
    if rtorch is None or not hasattr(rtorch, "set_default_dtype"):
        return
    if rtorch.get_default_dtype() is not rtorch.float32:
        rtorch.set_default_dtype(rtorch.float32)
    options = sys.modules.get("rtorch._tensor_str")
    if options is not None:
        options.set_printoptions(profile="default")
