"""`rtorch.amp`: which operators get which dtype, nesting, the cache of cast parameters, custom functions, scaling."""

import pickle
import threading

import pytest

import rtorch
import rtorch.nn as nn
import rtorch.nn.functional as F
from rtorch import amp

BF, HALF, F32, F64 = rtorch.bfloat16, rtorch.float16, rtorch.float32, rtorch.float64


def ones(*size, dtype=F32):
    return rtorch.ones(size, dtype=dtype)


CASES = [
    ("matmul", lambda x: x @ x, BF),
    ("mm", lambda x: rtorch.mm(x, x), BF),
    ("linear", lambda x: F.linear(x, x), BF),
    ("conv2d", lambda x: F.conv2d(x[None, None], x[None, None, :2, :2]), BF),
    ("attention", lambda x: F.scaled_dot_product_attention(x, x, x), BF),
    ("add keeps", lambda x: x + x, F32),
    ("exp keeps on the CPU", lambda x: x.bfloat16().exp(), BF),
    ("softmax keeps on the CPU", lambda x: x.bfloat16().softmax(0), BF),
    ("mse_loss", lambda x: F.mse_loss(x.bfloat16(), x), F32),
    ("l1_loss", lambda x: F.l1_loss(x.bfloat16(), x.bfloat16()), F32),
    ("cross_entropy", lambda x: F.cross_entropy(x.bfloat16(), rtorch.zeros(4, dtype=rtorch.long)), F32),
    ("prod", lambda x: x.bfloat16().prod(), F32),
    ("cat", lambda x: rtorch.cat([x, x.bfloat16()]), F32),
    ("stack", lambda x: rtorch.stack([x.bfloat16(), x.bfloat16()]), BF),
    ("float64 stays", lambda x: x.double() @ x.double(), F64),
    ("integers stay", lambda x: x.long() @ x.long(), rtorch.int64),
]


@pytest.mark.parametrize(("call", "dtype"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_dtypes_on_the_cpu(call, dtype):
    with rtorch.autocast("cpu"):
        assert call(ones(4, 4)).dtype == dtype


def test_nesting_and_what_is_left_behind():
    x = ones(2, 2)
    assert not rtorch.is_autocast_enabled("cpu") and (x @ x).dtype == F32
    with rtorch.autocast("cpu", dtype=HALF):
        assert rtorch.is_autocast_enabled("cpu") and rtorch.get_autocast_dtype("cpu") == HALF
        assert (x @ x).dtype == HALF
        with rtorch.autocast("cpu", enabled=False):
            assert (x @ x).dtype == F32
            with rtorch.autocast("cpu"):
                assert (x @ x).dtype == HALF
        out = rtorch.empty(2, 2)
        assert rtorch.matmul(x, x, out=out) is out  # the caller's tensor decides
    assert not rtorch.is_autocast_enabled("cpu") and rtorch.get_autocast_dtype("cpu") == BF
    with pytest.raises(ZeroDivisionError), rtorch.autocast("cpu"):
        raise ZeroDivisionError
    assert (x @ x).dtype == F32


def test_a_decorator_and_other_threads():
    @rtorch.autocast("cpu")
    def f(x):
        seen = []
        thread = threading.Thread(target=lambda: seen.append((x @ x).dtype))
        thread.start()
        thread.join()
        return (x @ x).dtype, seen[0]

    assert f(ones(2, 2)) == (BF, F32)


def test_training_under_autocast_gives_float32_gradients():
    rtorch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    x, y = rtorch.randn(5, 8), rtorch.randint(0, 4, (5,))
    F.cross_entropy(model(x), y).backward()
    exact = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    with rtorch.autocast("cpu"):
        out = model(x)
        loss = F.cross_entropy(out, y)
    assert out.dtype == BF and loss.dtype == F32
    loss.backward()
    for p, want in zip(model.parameters(), exact):
        assert p.grad.dtype == F32
        assert rtorch.allclose(p.grad, want, atol=3e-2)


def test_a_parameter_is_cast_once_in_a_context():
    w = nn.Parameter(ones(2, 2))
    with rtorch.autocast("cpu"):
        first, second = ones(1, 2) @ w, ones(1, 2) @ w
    first.sum().backward()
    with pytest.raises(RuntimeError):  # the shared cast's graph is gone, as PyTorch's is
        w.grad = None
        second.sum().backward()
        rtorch.autograd.backward(second.sum())
    with rtorch.autocast("cpu", cache_enabled=False):
        total = (ones(1, 2) @ w).sum() + (ones(1, 2) @ w).sum()
    w.grad = None
    total.backward()
    assert w.grad.equal(2 * ones(2, 2))


def test_a_cast_made_without_gradients_does_not_cut_a_later_graph():
    w = nn.Parameter(ones(2, 2))
    with rtorch.autocast("cpu"):
        with rtorch.no_grad():
            ones(1, 2) @ w
        (ones(1, 2) @ w).sum().backward()
    assert w.grad.equal(ones(2, 2))


def test_what_cannot_be():
    with pytest.raises(RuntimeError, match="unsupported autocast device_type"):
        rtorch.autocast("tpu")
    with pytest.raises(ValueError, match="Expected `device_type` of type `str`"):
        rtorch.autocast(3)
    with pytest.warns(UserWarning, match="CUDA is not available"):
        context = rtorch.autocast("cuda")
    with context:
        assert (ones(2, 2) @ ones(2, 2)).dtype == F32
    with pytest.warns(UserWarning, match="target dtype is not supported"), rtorch.autocast("cpu", dtype=F64):
        assert (ones(2, 2) @ ones(2, 2)).dtype == F32
    assert amp.is_autocast_available("cpu")


def test_old_names_of_the_settings():
    assert not rtorch.is_autocast_cpu_enabled() and rtorch.get_autocast_cpu_dtype() == BF
    assert rtorch.get_autocast_gpu_dtype() == HALF and rtorch.is_autocast_cache_enabled()
    try:
        rtorch.set_autocast_cpu_enabled(True)
        rtorch.set_autocast_cpu_dtype(HALF)
        assert (ones(2, 2) @ ones(2, 2)).dtype == HALF
    finally:
        rtorch.set_autocast_cpu_enabled(False)
        rtorch.set_autocast_cpu_dtype(BF)
        rtorch.clear_autocast_cache()


def test_custom_functions_follow():
    seen = []

    class Product(rtorch.autograd.Function):
        @staticmethod
        @amp.custom_fwd(device_type="cpu")
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            return a @ b

        @staticmethod
        @amp.custom_bwd(device_type="cpu")
        def backward(ctx, grad):
            a, b = ctx.saved_tensors
            seen.append(rtorch.is_autocast_enabled("cpu"))
            return (grad @ b.t()).to(a.dtype), (a.t() @ grad).to(b.dtype)

    class Wide(rtorch.autograd.Function):
        @staticmethod
        @amp.custom_fwd(device_type="cpu", cast_inputs=F32)
        def forward(ctx, a):
            seen.append((a.dtype, rtorch.is_autocast_enabled("cpu")))
            return a * 2

        @staticmethod
        @amp.custom_bwd(device_type="cpu")
        def backward(ctx, grad):
            seen.append(rtorch.is_autocast_enabled("cpu"))
            return grad * 2

    a = ones(2, 2).requires_grad_()
    with rtorch.autocast("cpu"):
        y = Product.apply(a, ones(2, 2))
        z = Wide.apply(a.bfloat16())
    assert y.dtype == BF and z.dtype == F32
    y.sum().backward()
    z.sum().backward()
    assert seen == [(F32, False), True, False]


# ---- the scaler


def trained(scaler, gradient):
    p = nn.Parameter(ones(2))
    optimizer = rtorch.optim.SGD([p], lr=0.1)
    scaler.scale((p * rtorch.tensor(gradient)).sum()).backward()
    return p, optimizer


def test_a_step_is_that_without_scaling():
    scaler = amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    p, optimizer = trained(scaler, [1.0, 2.0])
    assert p.grad.tolist() == [1024.0, 2048.0]
    scaler.unscale_(optimizer)
    assert p.grad.tolist() == [1.0, 2.0]
    with pytest.raises(RuntimeError, match="already been called on this optimizer"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"step\(\) has already been called"):
        scaler.step(optimizer)
    scaler.update()
    assert rtorch.allclose(p.detach(), rtorch.tensor([0.9, 0.8]))
    assert scaler.get_scale() == 1024.0 and scaler._get_growth_tracker() == 1
    _, optimizer = trained(scaler, [1.0, 2.0])
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 2048.0 and scaler._get_growth_tracker() == 0


def test_a_step_with_an_overflow_is_skipped():
    scaler = amp.GradScaler("cpu", init_scale=4.0)
    p, optimizer = trained(scaler, [float("inf"), 1.0])
    assert scaler.step(optimizer) is None
    scaler.update()
    assert p.tolist() == [1.0, 1.0] and scaler.get_scale() == 2.0
    scaler.update(16.0)
    assert scaler.get_scale() == 16.0


def test_scaling_of_containers_state_and_what_it_refuses():
    scaler = amp.GradScaler("cpu", init_scale=2.0)
    one, (two, three) = scaler.scale([ones(1), (ones(1), ones(2))])
    assert one.tolist() == two.tolist() == [2.0] and three.tolist() == [2.0, 2.0]
    state = scaler.state_dict()
    assert state == {
        "scale": 2.0,
        "growth_factor": 2.0,
        "backoff_factor": 0.5,
        "growth_interval": 2000,
        "_growth_tracker": 0,
    }
    other = amp.GradScaler("cpu")
    other.load_state_dict({**state, "scale": 32.0, "_growth_tracker": 7})
    other = pickle.loads(pickle.dumps(other))
    assert other.get_scale() == 32.0 and other._get_growth_tracker() == 7
    with pytest.raises(RuntimeError, match="source state dict is empty"):
        other.load_state_dict({})
    with pytest.raises(AssertionError, match="Attempted step but _scale is None"):
        amp.GradScaler("cpu").step(rtorch.optim.SGD([nn.Parameter(ones(1))]))
    with pytest.raises(AssertionError, match="growth factor must be > 1.0"):
        amp.GradScaler("cpu", growth_factor=1.0)
    with pytest.raises(RuntimeError, match="Closure use is not currently supported"):
        scaler.step(rtorch.optim.SGD([nn.Parameter(ones(1))]), closure=lambda: 1)
    p = nn.Parameter(ones(1, dtype=HALF))
    optimizer = rtorch.optim.SGD([p])
    scaler.scale(p.sum()).backward()
    with pytest.raises(ValueError, match="Attempting to unscale FP16 gradients"):
        scaler.unscale_(optimizer)


def test_without_cuda_its_scaler_is_off():
    with pytest.warns(UserWarning, match="CUDA is not available"):
        scaler = rtorch.GradScaler()
    x = ones(1)
    assert not scaler.is_enabled() and scaler.scale(x) is x and scaler.get_scale() == 1.0 and scaler.state_dict() == {}


def test_the_rates_can_be_changed():
    scaler = amp.GradScaler("cpu")
    scaler.set_growth_factor(3.0)
    scaler.set_backoff_factor(0.25)
    scaler.set_growth_interval(5)
    assert (scaler.get_growth_factor(), scaler.get_backoff_factor(), scaler.get_growth_interval()) == (3.0, 0.25, 5)


def test_scaler_scales_lists_at_once_and_other_iterables_when_they_are_read():
    scaler = rtorch.amp.GradScaler("cpu", init_scale=4.0)
    assert [t.item() for t in scaler.scale([rtorch.ones(()), rtorch.tensor(2.0)])] == [4, 8]
    taken = []

    def losses():
        for i in (1.0, 3.0):
            taken.append(i)
            yield rtorch.tensor(i)

    scaled = scaler.scale(losses())
    assert not taken and next(scaled).item() == 4 and taken == [1.0]
