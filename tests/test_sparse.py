"""Sparse COO tensors: what they hold, their sums and products, gradients of embeddings, and what is refused."""

import copy
import io
import pickle

import pytest

import rtorch as torch
from rtorch import nn


def example():
    return torch.sparse_coo_tensor([[0, 1, 1], [1, 0, 0]], [3.0, 4.0, 5.0], (2, 3))


def test_what_it_holds():
    s = example()
    assert s.layout is torch.sparse_coo and s.is_sparse and s.shape == (2, 3) and s.dtype == torch.float32
    assert not s.is_coalesced() and s._nnz() == 3 and (s.sparse_dim(), s.dense_dim()) == (2, 0)
    with pytest.raises(RuntimeError, match="please call .coalesce"):
        s.indices()
    c = s.coalesce()
    assert c.indices().tolist() == [[0, 1], [1, 0]] and c.values().tolist() == [3, 9] and c.coalesce() is c
    assert s.to_dense().tolist() == [[0, 3, 0], [9, 0, 0]]
    assert "layout=torch.sparse_coo" in repr(s)
    assert not torch.ones(2).is_sparse and torch.ones(2).layout is torch.strided


def test_to_sparse_and_back():
    x = torch.tensor([[[0.0, 1.0], [0.0, 0.0]], [[2.0, 0.0], [0.0, 3.0]]])
    assert x.to_sparse().to_dense().equal(x) and x.to_sparse()._nnz() == 3
    rows = x.to_sparse(2)
    assert rows.dense_dim() == 1 and rows._nnz() == 3 and rows.to_dense().equal(x)
    assert torch.zeros(2, 2).to_sparse()._nnz() == 0 and torch.ones(2).to_dense().tolist() == [1, 1]
    assert torch.sparse_coo_tensor(torch.empty(2, 0).long(), torch.empty(0), (2, 3)).to_dense().sum() == 0


def test_arithmetic():
    s, d = example(), torch.arange(6.0).reshape(3, 2)
    dense = s.to_dense()
    for got in (s @ d, torch.mm(s, d), torch.sparse.mm(s, d), torch.sparse.addmm(torch.zeros(2, 2), s, d)):
        assert got.equal(dense @ d)
    assert (s @ d[:, 0]).equal(dense @ d[:, 0]) and (torch.ones(2, 2) @ s).equal(torch.ones(2, 2) @ dense)
    one = torch.ones(2, 3)
    for got in (s + one, one + s, torch.add(one, s)):
        assert got.equal(dense + 1)
    assert (one - s).equal(1 - dense) and (s + s).to_dense().equal(2 * dense) and (s - s).to_dense().sum() == 0
    assert (s * 2).to_dense().equal(dense * 2) and (2 * s / 4).to_dense().equal(dense / 2) and (-s).sum() == -12
    assert (s * (one * 3)).to_dense().equal(dense * 3) and s.t().to_dense().equal(dense.t())
    assert s.abs().sqrt().pow(2).to_dense().allclose(dense) and s.norm() == dense.norm()
    assert s.norm(1, 0, True).equal(dense.norm(1, 0, True)) and s.norm(dtype=torch.float64).dtype is torch.float64
    assert torch.sparse.sum(s) == 12 and torch.sparse.sum(s, 0).to_dense().tolist() == [9, 3, 0]
    one.add_(s, alpha=2)
    assert one.equal(1 + 2 * dense)
    assert s.clone().mul_(2).to_dense().equal(2 * dense) and s.clone().zero_()._nnz() == 0
    assert s.to(torch.float64).dtype == torch.float64 and s.double().float().to_dense().equal(dense)


def test_copies_and_files():
    s = example()
    buffer = io.BytesIO()
    torch.save([s, s.coalesce()], buffer)
    buffer.seek(0)
    loaded = torch.load(buffer)
    for t in (*loaded, copy.deepcopy(s), pickle.loads(pickle.dumps(s))):
        assert t.is_sparse and t.to_dense().equal(s.to_dense())
    assert [t.is_coalesced() for t in loaded] == [False, True]


@pytest.mark.parametrize(
    ("indices", "values", "size"),
    [
        ([[0, 2]], [1.0, 2.0], (2,)),
        ([[0, -1]], [1.0, 2.0], (2,)),
        ([[0, 1]], [1.0], (2,)),
        ([[0, 1]], [1.0, 2.0], (2, 2)),
        ([0, 1], [1.0, 2.0], (2,)),
        ([[0.0, 1.0]], [1.0, 2.0], (2,)),
        ([[0, 1]], [[1.0], [2.0]], (2, 2)),
    ],
)
def test_what_cannot_be(indices, values, size):
    with pytest.raises(RuntimeError):
        torch.sparse_coo_tensor(indices, values, size)


def test_operators_without_a_sparse_form_say_so():
    s = example()
    for call in (torch.sin, lambda t: t.relu(), lambda t: t[0], lambda t: t.tolist(), lambda t: t + 1, torch.exp):
        with pytest.raises(RuntimeError):
            call(s)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        s @ torch.ones(2, 2)
    with pytest.raises(RuntimeError, match="expected sparse coordinate tensor layout but got Strided"):
        torch.ones(2).coalesce()


@pytest.mark.parametrize("scale", [False, True])
def test_embedding_gradients(scale):
    torch.manual_seed(0)
    options = {"padding_idx": 1, "scale_grad_by_freq": scale}
    dense, sparse = nn.Embedding(5, 3, **options), nn.Embedding(5, 3, sparse=True, **options)
    sparse.load_state_dict(dense.state_dict())
    x, w = torch.tensor([[0, 3, 3], [1, 4, 0]]), torch.randn(2, 3, 3)
    for _ in range(2):  # the second time gradients add up
        for m in (dense, sparse):
            (m(x) * w).sum().backward()
    assert sparse.weight.grad.is_sparse and set(sparse.weight.grad.coalesce().indices()[0].tolist()) == {0, 3, 4}
    assert sparse.weight.grad.to_dense().allclose(dense.weight.grad)
    with torch.no_grad():
        assert sparse(x).equal(dense(x))


def test_bags_have_sparse_gradients():
    torch.manual_seed(0)
    dense, sparse = nn.EmbeddingBag(5, 3, mode="sum"), nn.EmbeddingBag(5, 3, mode="sum", sparse=True)
    sparse.load_state_dict(dense.state_dict())
    for m in (dense, sparse):
        m(torch.tensor([0, 2, 2, 4]), torch.tensor([0, 2])).sum().backward()
    assert sparse.weight.grad.is_sparse and sparse.weight.grad.to_dense().allclose(dense.weight.grad)


def test_its_text_is_pytorchs():
    assert repr(torch.eye(2).to_sparse()) == (
        "tensor(indices=tensor([[0, 1],\n                       [0, 1]]),\n       values=tensor([1., 1.]),\n"
        "       size=(2, 2), nnz=2, layout=torch.sparse_coo)"
    )
    assert repr(torch.zeros(3).to_sparse()) == (
        "tensor(indices=tensor([], size=(1, 0)),\n       values=tensor([], size=(0,)),\n"
        "       size=(3,), nnz=0, layout=torch.sparse_coo)"
    )
    assert repr(torch.ones(17).double().to_sparse()) == (
        "tensor(indices=tensor([[ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13,\n"
        "                        14, 15, 16]]),\n"
        "       values=tensor([1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1.,\n"
        "                      1., 1., 1.]),\n"
        "       size=(17,), nnz=17, dtype=torch.float64, layout=torch.sparse_coo)"
    )
