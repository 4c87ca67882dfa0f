"""The binding: identity of objects, garbage collection, the argument parser and its errors, sharing of memory."""

import copy
import gc
import os
import pickle
import threading
import weakref

import numpy as np
import pytest

import rtorch as torch


def test_a_gradient_is_one_object_and_keeps_its_attributes():
    x = torch.ones(2, requires_grad=True)
    (x * 3).sum().backward()
    assert x.grad is x.grad
    x.grad.tag = 1
    gc.collect()
    assert x.grad.tag == 1
    x.grad = None
    assert x.grad is None


def test_in_place_and_identity_answers_are_the_same_object():
    x = torch.zeros(2)
    assert x.add_(1) is x and x.contiguous() is x and x.to(torch.float32) is x and torch.relu_(x) is x
    assert len({x: 1, torch.zeros(2): 2}) == 2 and hash(x) == id(x)


def test_cycles_through_hooks_and_attributes_are_collected():
    class Owner:
        pass

    def through_hook():
        x, owner = torch.ones(2, requires_grad=True), Owner()
        owner.x = x
        x.register_hook(lambda g: owner and None)
        return weakref.ref(owner)

    def through_attribute():
        x = torch.ones(2)
        x.me = x
        return weakref.ref(x)

    def through_a_later_node():
        x, owner = torch.ones(2, requires_grad=True), Owner()
        y = x * 2
        owner.z = y * y + y
        y.register_hook(lambda g: owner and None)
        return weakref.ref(owner)

    def through_a_packed_value():
        x, owner = torch.ones(2, requires_grad=True), Owner()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: (t, owner), lambda p: p[0]):
            owner.y = (x * x).exp()
        return weakref.ref(owner)

    def through_a_context():
        class Double(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x, owner):
                ctx.owner = owner
                return x * 2

            @staticmethod
            def backward(ctx, g):
                return g * 2, None

        owner = Owner()
        owner.y = Double.apply(torch.ones(2, requires_grad=True), owner) + 1
        return weakref.ref(owner)

    refs = [
        through_hook(),
        through_attribute(),
        through_a_later_node(),
        through_a_packed_value(),
        through_a_context(),
    ]
    gc.collect()
    assert [r() for r in refs] == [None] * len(refs)


def test_a_live_graph_keeps_its_hooks_through_a_collection():
    x = torch.ones(2, requires_grad=True)
    seen = []
    (x * 1).register_hook(seen.append)
    y = x * 2
    y.register_hook(seen.append)
    gc.collect()
    y.sum().backward()
    assert len(seen) == 1


def test_a_graph_of_200000_nodes_runs_and_is_dropped():
    x = torch.ones(1, requires_grad=True)
    y = x
    for _ in range(200_000):
        y = y + 1
    y.backward()
    assert x.grad.item() == 1
    del y


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda t: torch.sum(t, dim="a"), TypeError, "invalid combination of arguments"),
        (lambda t: torch.unsqueeze(t, "a"), TypeError, "argument 'dim' (position 2) must be int, not str"),
        (lambda t: torch.unsqueeze(t), TypeError, 'missing 1 required positional arguments: "dim"'),
        (lambda t: torch.relu(t, t), TypeError, "takes 1 positional argument"),
        (lambda t: torch.exp(t, nonsense=1), TypeError, "unexpected keyword argument 'nonsense'"),
        (lambda t: torch.cat([t, 1]), TypeError, "found element of type int at pos 1"),
        (lambda t: t.view(7), RuntimeError, "shape '[7]' is invalid for input of size 6"),
        (lambda t: t.sum(5), IndexError, "Dimension out of range"),
        (lambda t: t.to("nowhere"), RuntimeError, "nowhere"),
        (lambda t: torch.tensor([[1], [2, 3]]), ValueError, "expected sequence of length 1 at dim 1 (got 2)"),
    ],
)
def test_bad_calls_say_what_pytorch_says(call, error, text):
    with pytest.raises(error) as raised:
        call(torch.zeros(2, 3))
    assert text in str(raised.value)


def test_numpys_names_of_arguments():
    t = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(t.sum(axis=0, keepdims=True), t.sum(0, True))
    assert torch.equal(torch.exp(input=t), torch.exp(x=t))


def test_out_is_resized_checked_and_kept_out_of_the_graph():
    out = torch.empty(0)
    assert torch.add(torch.ones(2), 1, out=out) is out and out.tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="can't be cast"):
        torch.add(torch.ones(2), 0.5, out=torch.empty(2, dtype=torch.int64))
    with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
        torch.add(torch.ones(2, requires_grad=True), 1, out=torch.empty(2))


def test_subclasses_answer_for_themselves():
    calls = []

    class Loud(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            calls.append(func.__name__)
            return super().__torch_function__(func, types, args, kwargs)

    x = torch.ones(2).as_subclass(Loud)
    assert type(x + 1) is Loud and type(torch.exp(x)) is Loud and calls == ["add", "exp"]

    class Duck:
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return func.__name__

    assert torch.add(torch.ones(1), Duck()) == "add" and torch.cat([torch.ones(1), Duck()]) == "cat"


def test_numpy_and_dlpack_share_memory():
    a = np.arange(3.0)
    t = torch.from_numpy(a)
    t[0] = 7
    a[1] = 8
    assert a[0] == 7 and t.tolist() == [7, 8, 2]
    b = torch.arange(3.0)
    view = b.numpy()
    b += 1
    assert view.tolist() == [1, 2, 3]
    assert np.from_dlpack(b)[2] == 3
    with pytest.raises(TypeError, match="numpy.object_"):
        torch.from_numpy(np.array([None]))
    with pytest.raises(ValueError, match="negative"):
        torch.from_numpy(a[::-1])


def test_copies_share_what_was_shared_and_pickles_do_not():
    a = torch.arange(10)
    x, y = pickle.loads(pickle.dumps([a, a[4:7]]))
    y.fill_(0)  # as with PyTorch: save and load keep sharing
    assert x.tolist() == a.tolist() and y.storage_offset() == 4
    x, y = copy.deepcopy([a, a[4:7]])
    y.fill_(0)
    assert x[5] == 0 and a[5] == 5
    assert pickle.loads(pickle.dumps(torch.float32)) is torch.float32


def test_several_threads_use_one_tensor():
    t, errors = torch.ones(200, 200), []

    def work():
        try:
            for _ in range(50):
                assert (t @ t)[0, 0].item() == 200
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_computes():
    t = torch.ones(300, 300)
    (t @ t).sum().item()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if (t @ t)[0, 0].item() == 300 else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_the_default_device_and_dtype_are_those_of_factories():
    with torch.device("cpu"):
        assert torch.zeros(1).device.type == "cpu"
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.tensor([1.5]).dtype == torch.float64 and torch.ones(1).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


# ---- conjugates, windows of storages, memory formats


def test_conjugates_say_what_pytorch_makes_a_view():
    z = torch.tensor([[1 + 2j, 3 - 1j]], requires_grad=True)
    c = z.conj()
    assert c.is_conj() and not z.is_conj() and not c.conj().is_conj() and not torch.conj_physical(z).is_conj()
    assert z.H.is_conj() and z.mH.is_conj() and c.t().is_conj() and not (c * 1).is_conj() and not c.real.is_conj()
    assert c.data_ptr() == z.data_ptr() != c.resolve_conj().data_ptr()
    assert z.mH.tolist() == [[1 - 2j], [3 + 1j]] and c.conj().tolist() == z.tolist()
    with pytest.raises(RuntimeError, match="view_as_real doesn't work on unresolved conjugated tensors"):
        torch.view_as_real(c)
    assert torch.view_as_real(c.resolve_conj()).tolist() == [[[1.0, -2.0], [3.0, 1.0]]]
    (c.resolve_conj() * 2j).real.sum().backward()
    assert z.grad.tolist() == [[2j, 2j]]
    r = torch.ones(2)
    assert r.conj() is r and not r.is_conj() and r.resolve_conj() is r and not r.is_neg() and r.resolve_neg() is r


def test_a_conjugates_address_is_its_own_after_a_write():
    z = torch.tensor([1j])
    c = z.conj()
    z.mul_(2)
    assert c.data_ptr() != z.data_ptr()
    c = z.conj()
    c.mul_(2)
    assert c.data_ptr() != z.data_ptr() and c.tolist() == [-4j]
    c = torch.tensor([1j]).conj()
    assert c.data_ptr() != 0 and c.tolist() == [-1j]


@pytest.mark.parametrize(
    "offset, size, stride",
    [(5, [2, 3], [3, 1]), (0, [2, 2], [2**62, 2**62]), (3, [2], [-1]), (-1, [1], [1]), (2**63 - 1, [1], [1]),
     (0, [2**62, 2], [4, 1]), (0, [2, 2], [1])],
)  # fmt: skip
def test_windows_outside_of_the_storage_are_refused(offset, size, stride):
    x = torch.arange(6.0)
    for call in (
        lambda: torch.ones(1).set_(x, offset, size, stride),
        lambda: torch.ones(1).set_(x.untyped_storage(), offset, size, stride),
        lambda: x.as_strided(size, stride, offset),
        lambda: x.as_strided_(size, stride, offset),
    ):
        with pytest.raises(RuntimeError):
            call()
    assert x.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert torch.ones(1).set_(x, 1, [2], [3]).tolist() == [1.0, 4.0] == x.clone().as_strided_([2], [3], 1).tolist()


def test_one_channel_lies_in_both_orders_but_has_one_order_of_strides():
    t = torch.zeros(2, 1, 4, 5)
    last = torch.channels_last
    assert t.is_contiguous(memory_format=last) and t.is_contiguous()
    u = t.to(memory_format=last)
    assert u is not t and u.stride() == (20, 1, 5, 1) and u.to(memory_format=last) is u
    assert t.contiguous(memory_format=last) is t


def test_operators_written_in_python_name_what_is_no_tensor():
    with pytest.raises(TypeError, match=r"take\(\): argument 'input' \(position 1\) must be Tensor, not list"):
        torch.take([1.0], torch.tensor([0]))
    with pytest.raises(TypeError, match=r"linalg_vecdot\(\): argument 'x' \(position 1\) must be Tensor, not list"):
        torch.linalg.vecdot([1.0], torch.ones(1))
    with pytest.raises(TypeError, match="expected Tensor as element 0 in argument 0, but got int"):
        torch.vstack([1, torch.ones(1)])
    with pytest.raises(IndexError, match="at least one index must be provided"):
        torch.ones(3).index_put_([], torch.tensor(1.0))
    with pytest.raises(ValueError, match="upscale factor is too large"):
        torch.nn.functional.pixel_shuffle(torch.ones(0, 2, 4), 2**40)
    assert torch.slice_copy(torch.arange(6), 0, 1, 5, 2).tolist() == [1, 3]
    assert torch.conj_physical_(torch.tensor([1j])).tolist() == [-1j]
    assert torch.as_strided_(torch.arange(6.0), (2,), (3,)).tolist() == [0.0, 3.0]


def test_dlpack_deleters_run_without_the_gil():
    """Consumers of other languages let go on threads of their own; ctypes gives the GIL up around the call."""
    import ctypes
    import threading

    class Managed(ctypes.Structure):
        _fields_ = [("tensor", ctypes.c_char * 48), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]

    pointer, rename = ctypes.pythonapi.PyCapsule_GetPointer, ctypes.pythonapi.PyCapsule_SetName
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    rename.argtypes = [ctypes.py_object, ctypes.c_char_p]
    before = torch.runtime_stats()["bytes_in_use"]
    x = torch.zeros(1 << 20)
    handles = []
    for _ in range(200):
        capsule = x.__dlpack__()
        address = pointer(capsule, b"dltensor")
        rename(capsule, b"used_dltensor")
        handles.append(address)

    def let_go(addresses):
        for a in addresses:
            ctypes.CFUNCTYPE(None, ctypes.c_void_p)(Managed.from_address(a).deleter)(a)

    threads = [threading.Thread(target=let_go, args=(handles[i::4],)) for i in range(4)]
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        y = x[1:3]  # counts the same storage's handles up and down meanwhile
        del y
    for t in threads:
        t.join()
    del x
    assert abs(torch.runtime_stats()["bytes_in_use"] - before) < 1 << 20


def test_the_stub_file_is_what_its_generator_writes(tmp_path):
    import pathlib
    import subprocess
    import sys

    root = pathlib.Path(__file__).parent.parent
    out = tmp_path / "_C.pyi"
    subprocess.run([sys.executable, root / "rust/python/stubs.py", out], check=True)
    assert out.read_text() == (root / "python/rtorch/_C.pyi").read_text(), "run rust/python/stubs.py"
