"""Tensor printing (python/rtorch/_tensor_str.py): 400 recorded tensors, and what a recording cannot show."""

import json
import math
import pathlib

import pytest

import rtorch as torch

RECORDED = pathlib.Path(__file__).parent / "data" / "printing.jsonl"


def decode(value):
    if isinstance(value, list):
        return [decode(v) for v in value]
    if isinstance(value, dict):
        return complex(decode(value["re"]), decode(value["im"]))
    return float(value) if isinstance(value, str) else value


def make(case):
    dtype = getattr(torch, case["dtype"])
    if "arange" in case:
        count = math.prod(case["shape"])
        values = torch.arange(count, dtype=torch.float64) * case["arange"]
        tensor = values.reshape(case["shape"]).to(dtype)
    else:
        wide = torch.complex128 if dtype.is_complex else torch.float64 if dtype.is_floating_point else torch.int64
        tensor = torch.tensor(decode(case["values"]), dtype=wide).reshape(case["shape"]).to(dtype)
    return tensor.requires_grad_() if case.get("grad") else tensor


@pytest.mark.modes
def test_recorded_tensors_print_to_the_letter():
    wrong = []
    for number, case in enumerate(map(json.loads, RECORDED.read_text().splitlines())):
        tensor = make(case)
        options = {name: math.inf if value == "inf" else value for name, value in case["options"].items()}
        with torch._tensor_str.printoptions(profile="default"):
            torch.set_printoptions(**options)
            got = repr(tensor)
            torch.set_printoptions(profile="default")
        if got != case["want"]:
            wrong.append(f"case {number}: {case['dtype']} {case['shape']} {options}\n{case['want']}\n{got}")
    assert not wrong, f"{len(wrong)} print otherwise, the first:\n" + wrong[0]


def test_options_are_restored_after_a_with_block():
    before = torch._tensor_str.get_printoptions()
    with torch._tensor_str.printoptions(precision=1):
        assert repr(torch.tensor([1.25])) == "tensor([1.2])"
    assert torch._tensor_str.get_printoptions() == before


def test_suffixes_wrap_at_the_line_width():
    torch.set_printoptions(linewidth=30)
    assert repr(torch.tensor([1, 2, 3, 4], dtype=torch.int16)) == "tensor([1, 2, 3, 4],\n       dtype=torch.int16)"


def test_a_subclass_prints_its_name():
    class Temperature(torch.Tensor):
        pass

    text = repr(torch.tensor([[1.0, 2.0], [3.0, 4.5]]).as_subclass(Temperature))
    assert text == "Temperature([[1.0000, 2.0000],\n             [3.0000, 4.5000]])"


def test_contents_can_be_given():
    assert torch.tensor([1.0]).__repr__(tensor_contents="here") == "tensor(here)"


def test_default_dtype_is_not_named():
    torch.set_default_dtype(torch.float64)
    assert repr(torch.tensor([0.5])) == "tensor([0.5000])"
    assert repr(torch.tensor([0.5], dtype=torch.float32)) == "tensor([0.5000], dtype=torch.float32)"


@pytest.mark.gpu
def test_the_device_is_named():
    assert repr(torch.ones(2, device="wgpu")) == "tensor([1., 1.], device='wgpu:0')"


@pytest.mark.parametrize("bad", [{"precision": "x"}])
def test_a_bad_option_fails_when_it_is_used(bad):
    torch.set_printoptions(**bad)
    with pytest.raises(ValueError):
        repr(torch.tensor([1.5]))


def test_results_with_names_are_printed_as_pytorchs():
    x = torch.eye(2)
    assert repr(x.kthvalue(1)) == (
        "torch.return_types.kthvalue(\nvalues=tensor([0., 0.]),\nindices=tensor([1, 0]))"
    )
    assert repr(torch.linalg.svd(x)).startswith("torch.return_types.linalg_svd(\nU=tensor([[")
    assert repr(x.max(0)).startswith("torch.return_types.max(\nvalues=tensor([1., 1.]),\n")
