"""`torch.sparse`: products and sums of sparse COO tensors. The tensor itself is in `_coo.py`."""

import rtorch
from rtorch.sparse._coo import SparseTensor, from_dense, is_sparse, sparse_coo_tensor

__all__ = ["SparseTensor", "addmm", "from_dense", "is_sparse", "mm", "sparse_coo_tensor", "sum"]


def mm(mat1, mat2):
    """The product of two matrices of which the first is sparse; sparse if both are.

    >>> import rtorch
    >>> a = rtorch.eye(2).to_sparse()
    >>> rtorch.sparse.mm(a, rtorch.ones(2, 1))
    tensor([[1.],
            [1.]])
    """
    out = rtorch.matmul(mat1, mat2)
    return from_dense(out) if is_sparse(mat1) and is_sparse(mat2) else out


def addmm(mat, mat1, mat2, *, beta=1.0, alpha=1.0):
    """`beta * mat + alpha * (mat1 @ mat2)` with a sparse `mat1`."""
    return mat * beta + rtorch.matmul(mat1, mat2) * alpha


def sum(input, dim=None, dtype=None):
    """The sum of a sparse tensor: of all elements, or along dimensions, sparse again where some remain."""
    if dim is None:
        return input.sum(dtype=dtype)
    out = input.to_dense().sum(dim, dtype=dtype)
    return from_dense(out) if out.dim() else out
