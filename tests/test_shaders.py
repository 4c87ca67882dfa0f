"""Shaders under another implementation of WebGPU: wgpu-py runs those of ``shaders/`` as they stand there, and the
portable printing of a sample of kernels (``tests/data/wgsl``, written by ``cargo test``), against NumPy."""

import os
import pathlib
import re

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SAMPLES = sorted((ROOT / "tests" / "data" / "wgsl").glob("*.wgsl"))
UNIFORM_BYTES = 1024


def required():
    return os.environ.get("RTORCH_REQUIRE_GPU") == "1"


@pytest.fixture(scope="module")
def device():
    """A device of any adapter, software ones included."""
    try:
        import wgpu
    except ImportError:
        if required():
            raise
        pytest.skip("wgpu-py is not installed (pip install wgpu)")
    adapters = wgpu.gpu.enumerate_adapters_sync()
    vulkan = [a for a in adapters if a.info["backend_type"] in ("Vulkan", "Metal", "D3D12")]
    if not vulkan:
        assert not required(), "RTORCH_REQUIRE_GPU=1, but there is no adapter: install mesa-vulkan-drivers"
        pytest.skip("no GPU adapter (install mesa-vulkan-drivers)")
    return vulkan[0].request_device_sync(required_features={"subgroup"} & set(vulkan[0].features))


def launch(device, code, params, buffers, groups):
    """Runs a shader on byte buffers (changed in place); parameters are 32-bit words of a uniform at group 1."""
    import wgpu

    usage = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST
    memory = [device.create_buffer_with_data(data=b, usage=usage) for b in buffers]
    block = np.zeros(UNIFORM_BYTES // 4, np.uint32)
    block[: len(params)] = params
    uniform = device.create_buffer_with_data(data=block, usage=wgpu.BufferUsage.UNIFORM)
    visible = {"visibility": wgpu.ShaderStage.COMPUTE}
    storage = {"buffer": {"type": "storage"}, **visible}
    layouts = [
        device.create_bind_group_layout(entries=[{"binding": i, **storage} for i in range(len(memory))]),
        device.create_bind_group_layout(entries=[{"binding": 0, "buffer": {"type": "uniform"}, **visible}]),
    ]
    entries = [{"binding": i, "resource": {"buffer": b, "offset": 0, "size": b.size}} for i, b in enumerate(memory)]
    one = [{"binding": 0, "resource": {"buffer": uniform, "offset": 0, "size": UNIFORM_BYTES}}]
    pipeline = device.create_compute_pipeline(
        layout=device.create_pipeline_layout(bind_group_layouts=layouts),
        compute={"module": device.create_shader_module(code=code), "entry_point": "main"},
    )
    encoder = device.create_command_encoder()
    work = encoder.begin_compute_pass()
    work.set_pipeline(pipeline)
    work.set_bind_group(0, device.create_bind_group(layout=layouts[0], entries=entries))
    work.set_bind_group(1, device.create_bind_group(layout=layouts[1], entries=one))
    work.dispatch_workgroups(*groups)
    work.end()
    device.queue.submit([encoder.finish()])
    return [np.frombuffer(device.queue.read_buffer(b), np.uint8) for b in memory]


# ---- the static shaders


def prelude():
    names = ["prelude", "math", "special", "int64"]
    return "".join((ROOT / "shaders" / f"{n}.wgsl").read_text() for n in names)


def run_static(device, name, params, arrays, groups):
    """Runs ``shaders/{name}.wgsl`` with its own holes; arrays are float32 (or uint32)."""
    code = (ROOT / "shaders" / f"{name}.wgsl").read_text()
    if "rt_" in code:
        code = prelude() + code
    return [b.view(np.float32) for b in launch(device, code, params, [a.tobytes() for a in arrays], groups)]


def noise(*shape):
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def test_reduce(device):
    x = noise(9, 300)
    _, y = run_static(device, "reduce", [9, 300, 1, 300], [x, np.zeros(9, np.float32)], (3, 1, 1))
    np.testing.assert_allclose(y, x.sum(1), rtol=1e-4, atol=1e-4)


def test_rows(device):
    x = noise(5, 130) * 10
    _, y = run_static(device, "rows", [5, 130, 0, 0], [x, np.zeros_like(x)], (2, 1, 1))
    e = np.exp(x - x.max(1, keepdims=True))
    np.testing.assert_allclose(y.reshape(x.shape), e / e.sum(1, keepdims=True), rtol=1e-5, atol=1e-7)


def test_gemm(device):
    a, b = noise(70, 45), noise(45, 66)
    params = [70, 66, 45, 1, 45, 2, 2, 4]
    *_, c = run_static(device, "gemm", params, [a, b, np.zeros((70, 66), np.float32)], (4, 1, 1))
    np.testing.assert_allclose(c.reshape(70, 66), a @ b, rtol=1e-4, atol=1e-4)


def test_matmul_any(device):
    rng = np.random.default_rng(1)
    a, b = rng.integers(-99, 99, (12, 9), dtype=np.int32), rng.integers(-99, 99, (9, 14), dtype=np.int32)
    params = [12, 14, 9, 12 * 14]
    *_, c = run_static(device, "matmul_any", params, [a, b, np.zeros((12, 14), np.int32)], (1, 1, 1))
    np.testing.assert_array_equal(c.view(np.int32).reshape(12, 14), a @ b)


def test_scan(device):
    x = noise(3, 700)
    _, y = run_static(device, "scan", [3, 700], [x, np.zeros_like(x)], (3, 1, 1))
    np.testing.assert_allclose(y.reshape(x.shape), x.cumsum(1), rtol=1e-4, atol=1e-4)


def test_sort(device):
    keys = np.random.default_rng(2).integers(0, 50, 1024, dtype=np.uint32)
    pairs = np.stack([keys, np.arange(1024, dtype=np.uint32)], 1)
    (out,) = run_static(device, "sort", [1024, 1024, 2, 1024, 1], [pairs], (1, 1, 1))
    order = np.argsort(keys, kind="stable")
    np.testing.assert_array_equal(out.view(np.uint32).reshape(-1, 2), pairs[order])


def test_attention(device):
    # two matrices of 70 queries and 45 keys, rows of four
    rng = np.random.default_rng(3)
    q, k, v = (rng.standard_normal((2, n, 4)).astype(np.float32) for n in (70, 45, 45))
    params = [2, 70, 45, 2, np.float32(0.5).view(np.uint32)]
    *_, y = run_static(device, "attention", params, [q, k, v, np.zeros_like(q)], (4, 1, 1))
    scores = q @ k.transpose(0, 2, 1) * 0.5
    e = np.exp(scores - scores.max(2, keepdims=True))
    np.testing.assert_allclose(y.reshape(q.shape), e / e.sum(2, keepdims=True) @ v, rtol=1e-4, atol=1e-5)


def test_gemm_direct(device):
    if "subgroup" not in device.features:
        pytest.skip("the adapter has no subgroups")
    a, b = noise(20, 45), noise(45, 70)
    params = [20, 70, 45, 1, 45, 2, 3, 6]
    *_, c = run_static(device, "gemm_direct", params, [a, b, np.zeros((20, 70), np.float32)], (6, 1, 1))
    np.testing.assert_allclose(c.reshape(20, 70), a @ b, rtol=1e-4, atol=1e-4)


# ---- printed kernels

HALF_ULP = {"float16": 2.0**-10, "bfloat16": 2.0**-7}


def conv2d(w, x):
    n, _, h, wide = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, w).reshape(n, -1, h, wide)


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def erf(x):
    import math

    return np.vectorize(math.erf)(x)


EXPECTED = {
    "map_chain": lambda x: x / (1 + np.exp(-x)) + np.tanh(x) * 0.5 - np.sqrt(np.abs(x)),
    "map_broadcast": lambda a, b: a * b,
    "map_compare": lambda a, b: a < b,
    "map_uint8": lambda x: (x.astype(np.int32) + 200).astype(np.uint8),
    "map_half": np.exp,
    "map_bfloat16": lambda x: x * 3,
    "map_int64": lambda a, b: a // b,
    "map_erf": erf,
    "map_sin": lambda x: np.sin((x * np.float32(1000)).astype(np.float32).astype(np.float64)),
    "map_arange": lambda: np.arange(1003) * 0.5,
    "map_where": lambda c, x: np.where(c, x, -x),
    "reduce_rows": lambda x: x.sum(1),
    "reduce_columns": lambda x: x.sum(0),
    "reduce_argmax": lambda x: x.argmax(1),
    "softmax": softmax,
    "matmul": lambda a, b: a @ b,
    "cumsum": lambda x: x.cumsum(1),
    "conv2d": conv2d,
}


def to_bytes(values, dtype):
    if dtype == "bfloat16":
        return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return values.astype(np.dtype("bool" if dtype == "bool" else dtype)).tobytes()


def from_bytes(data, dtype):
    if dtype == "bfloat16":
        return (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, np.dtype(dtype))


def draw(rng, dtype, shape):
    """Operand values that the dtype holds exactly."""
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype == "uint8":
        return rng.integers(0, 256, shape).astype(np.uint8)
    if dtype == "int64":
        v = rng.integers(-(2**40), 2**40, shape)
        return np.where(rng.integers(0, 2, shape) == 1, v, v >> 36) | 1
    v = rng.standard_normal(shape).astype(np.float16 if dtype == "float16" else np.float32)
    return (v.view(np.uint32) & 0xFFFF0000).view(np.float32) if dtype == "bfloat16" else v


def test_every_sample_has_an_expectation():
    assert sorted(EXPECTED) == [p.stem for p in SAMPLES]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.stem)
def test_printed_kernel(device, path):
    text = path.read_text()
    params = [int(v) for line in re.findall(r"^// params: (.*)$", text, re.M) for v in line.split()]
    groups = [int(v) for v in re.search(r"^// groups: (.*)$", text, re.M)[1].split()]
    rng = np.random.default_rng(3)
    buffers, inputs, out = [], [], None
    for line in re.findall(r"^// binding: (.*)$", text, re.M):
        role, dtype, shape, offset, size = line.split(" ")
        shape = tuple(int(n) for n in shape.split("x")) if shape else ()
        memory = bytearray(int(size))
        if role == "in":
            inputs.append(draw(rng, dtype, shape))
            data = to_bytes(inputs[-1], dtype)
            memory[int(offset) : int(offset) + len(data)] = data
        else:
            out = (len(buffers), dtype, shape, int(offset))
        buffers.append(bytes(memory))
    slot, dtype, shape, offset = out
    data = launch(device, text, params, buffers, groups)[slot].tobytes()
    width = 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
    got = from_bytes(data[offset : offset + width * int(np.prod(shape))], dtype).reshape(shape)
    with np.errstate(over="ignore"):
        wide = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in inputs]
        want = EXPECTED[path.stem](*wide)
    if np.dtype(want.dtype).kind != "f":
        np.testing.assert_array_equal(got, want)
        return
    tolerance = HALF_ULP.get(dtype, 2e-5)
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=tolerance, atol=tolerance)
