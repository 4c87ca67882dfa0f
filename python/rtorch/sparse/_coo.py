"""Sparse COO tensors: indices, values and a size, composed of dense operators.

`SparseTensor` is a subclass of Tensor that has no elements of its own (its storage is one zero, expanded); an operator
that it does not know raises, and `to_dense` is the way out. Compressed layouts (CSR and its like) are only names.
The functions of `torch.sparse` are in `__init__.py`.
"""

import rtorch
from rtorch import _C
from rtorch._tensor_str import _sparse_str

Tensor = _C.Tensor
_UNKNOWN = "rtorch has no sparse form of it: use to_dense() first"


def sparse_coo_tensor(
    indices, values=None, size=None, *, dtype=None, device=None, requires_grad=False, check_invariants=None,
    is_coalesced=None,
):  # fmt: skip
    """A sparse tensor: element `indices[:, k]` is `values[k]`; equal indices add up.

    indices: (sparse dimensions, n) integers. values: (n, *dense dimensions); without them `indices` is the size of a
    tensor without elements. size: default the smallest that holds all indices. Raises RuntimeError for indices outside.

    >>> import rtorch
    >>> rtorch.sparse_coo_tensor([[0, 1], [1, 0]], [3.0, 4.0], (2, 2)).to_dense()
    tensor([[0., 3.],
            [4., 0.]])
    """
    if values is None:
        size = tuple(indices) if size is None else tuple(size)
        indices, values = rtorch.zeros(len(size), 0, dtype=rtorch.int64), rtorch.zeros(0, dtype=dtype)
    values = rtorch.as_tensor(values, dtype=dtype, device=device)
    indices = rtorch.as_tensor(indices, device=values.device)
    if indices.dim() != 2:
        raise RuntimeError(f"indices must be sparse_dim x nnz, but got: {list(indices.shape)}")
    if indices.is_floating_point() or indices.is_complex() or indices.dtype == rtorch.bool:
        raise RuntimeError("indices must be an int64 tensor")
    if values.dim() == 0:
        values = values.expand(indices.shape[1])
    if values.shape[0] != indices.shape[1]:
        raise RuntimeError(
            f"number of dimensions must be sparse_dim ({indices.shape[0]}) + dense_dim, and indices and values must "
            f"have same nnz, but got nnz from indices: {indices.shape[1]}, nnz from values: {values.shape[0]}"
        )
    indices = indices.to(rtorch.int64)
    size = _checked_size(indices, values, size)
    made = _make(indices, values.detach(), size, bool(is_coalesced))
    return made.requires_grad_() if requires_grad else made


def _checked_size(indices, values, size):
    n = indices.shape[1]
    low, high = (indices.amin(1).tolist(), indices.amax(1).tolist()) if n else ([], [])
    if size is None:
        if not n:
            return (0,) * indices.shape[0] + tuple(values.shape[1:])
        size = [h + 1 for h in high] + list(values.shape[1:])
    size = tuple(size)
    dims = indices.shape[0]
    if len(size) != dims + values.dim() - 1:
        raise RuntimeError(
            f"number of dimensions must be sparse_dim ({dims}) + dense_dim ({values.dim() - 1}), but got {len(size)}"
        )
    if tuple(values.shape[1:]) != size[dims:]:
        raise RuntimeError(f"values has incorrect size, expected {[n, *size[dims:]]}, got {list(values.shape)}")
    for dim, (lo, hi) in enumerate(zip(low, high)):
        if lo < 0:
            raise RuntimeError(f"found negative index {lo} for dim {dim}")
        if hi >= size[dim]:
            found = f"for dim {dim}, size is {size[dim]} but found index {hi}"
            raise RuntimeError(f"size is inconsistent with indices: {found}")
    return size


def _make(indices, values, size, coalesced):
    nothing = rtorch.zeros((), dtype=values.dtype, device=values.device).expand(size)
    made = Tensor._make_subclass(SparseTensor, nothing, False)
    made._i, made._v, made._together = indices, values, coalesced or indices.shape[1] < 2
    return made


def from_dense(tensor, sparse_dim=None):
    """`Tensor.to_sparse()`: the elements that are not zero; with `sparse_dim`, rows of which one element is not."""
    dims = tensor.dim() if sparse_dim is None else sparse_dim
    if not 0 < dims <= max(1, tensor.dim()):
        raise RuntimeError(f"sparse_dim {dims} is not between 1 and the {tensor.dim()} dimensions of the tensor")
    tensor = tensor.detach()
    kept = tensor != 0
    for _ in range(tensor.dim() - dims):
        kept = kept.any(-1)
    indices = kept.nonzero().t()
    return _make(indices, tensor[tuple(indices)], tuple(tensor.shape), True)


class SparseTensor(Tensor):
    """A sparse COO tensor; `isinstance` of Tensor, layout `rtorch.sparse_coo`."""

    is_sparse = True
    layout = property(lambda self: rtorch.sparse_coo)

    def __repr__(self, *, tensor_contents=None):
        return _sparse_str(self, self._i, self._v)

    __str__ = __repr__

    def _indices(self):
        return self._i

    def _values(self):
        return self._v

    def _nnz(self):
        return self._i.shape[1]

    def sparse_dim(self):
        """How many dimensions the indices have."""
        return self._i.shape[0]

    def dense_dim(self):
        """How many dimensions each value has."""
        return self._v.dim() - 1

    def is_coalesced(self):
        """Are the indices sorted and all different?"""
        return self._together

    def _coalesced_(self, coalesced):
        self._together = coalesced
        return self

    def indices(self):
        """The indices of a coalesced tensor."""
        self._must_be_together("indices")
        return self._i

    def values(self):
        """The values of a coalesced tensor."""
        self._must_be_together("values")
        return self._v

    def _must_be_together(self, what):
        if not self._together:
            raise RuntimeError(f"Cannot get {what} on an uncoalesced tensor, please call .coalesce() first")

    def coalesce(self):
        """The same tensor with sorted indices, equal ones added up."""
        if self._together:
            return self
        sizes = self.shape[: self.sparse_dim()]
        flat = rtorch.zeros(self._nnz(), dtype=rtorch.int64, device=self._i.device)
        for dim, n in enumerate(sizes):
            flat = flat * n + self._i[dim]
        unique, inverse = rtorch.unique(flat, return_inverse=True)
        values = rtorch.zeros(len(unique), *self._v.shape[1:], dtype=self._v.dtype, device=self._v.device)
        values.index_add_(0, inverse, self._v)
        rows = []
        for n in reversed(sizes):
            rows.append(unique % n)
            unique = unique.div(n, rounding_mode="floor")
        return _make(rtorch.stack(rows[::-1]), values, tuple(self.shape), True)

    def to_dense(self, dtype=None, *, masked_grad=None):
        """The dense tensor."""
        whole = self.coalesce()
        dense = rtorch.zeros(self.shape, dtype=self.dtype, device=self._v.device)
        dense[tuple(whole._i)] = whole._v
        return dense if dtype is None else dense.to(dtype)

    def _with(self, values, together=None):
        return _make(self._i, values, tuple(self.shape), self._together if together is None else together)

    def clone(self, *, memory_format=None):
        """A copy."""
        return _make(self._i.clone(), self._v.clone(), tuple(self.shape), self._together)

    def detach(self):
        """The same tensor outside of the graph."""
        return self._with(self._v)

    def to(self, *args, **kwargs):
        """In another dtype or on another device."""
        values = self._v.to(*args, **kwargs)
        return _make(self._i.to(values.device), values, tuple(self.shape), self._together)

    def cpu(self):
        """On the CPU."""
        return self.to("cpu")

    def float(self):
        """In float32."""
        return self.to(rtorch.float32)

    def double(self):
        """In float64."""
        return self.to(rtorch.float64)

    def t(self):
        """The transposed matrix."""
        return self.transpose(0, 1)

    def transpose(self, dim0, dim1):
        """Two sparse dimensions exchanged."""
        rank = self.sparse_dim()
        a, b = dim0 % self.dim(), dim1 % self.dim()
        if max(a, b) >= rank:
            raise RuntimeError("transpose of a sparse tensor: both dimensions must be sparse ones")
        order, size = list(range(rank)), list(self.shape)
        order[a], order[b], size[a], size[b] = b, a, size[b], size[a]
        return _make(self._i[order], self._v, tuple(size), False)

    def zero_(self):
        """Removes all elements."""
        self._i, self._v, self._together = self._i[:, :0], self._v[:0], True
        return self

    def sum(self, dim=None, *, dtype=None):
        """The sum of all elements; with `dim`, of the dense form along dimensions."""
        return self._v.sum(dtype=dtype) if dim is None else self.to_dense().sum(dim, dtype=dtype)

    def norm(self, p=2, dim=None, keepdim=False, dtype=None):
        """The norm of all elements; over some dims, that of the dense tensor."""
        if dim is not None or keepdim:
            return self.to_dense().norm(p, dim, keepdim, dtype=dtype)
        return self.coalesce()._v.norm(p, dtype=dtype)

    def __neg__(self):
        return self._with(-self._v)

    neg = __neg__

    def abs(self):
        """Absolute values."""
        whole = self.coalesce()
        return whole._with(whole._v.abs())

    def pow(self, exponent):
        """Powers of the elements, by a positive number."""
        if not exponent > 0:
            raise RuntimeError("pow of a sparse tensor: the exponent must be positive, or zeros would not stay zero")
        whole = self.coalesce()
        return whole._with(whole._v.pow(exponent))

    __pow__ = pow

    def sqrt(self):
        """Square roots of the elements."""
        whole = self.coalesce()
        return whole._with(whole._v.sqrt())

    def mul(self, other):
        """Times a number, or element by element times a tensor of the same shape (sparse again)."""
        if isinstance(other, Tensor) and other.dim():
            whole = self.coalesce()
            dense = other.to_dense() if is_sparse(other) else other.expand(self.shape)
            return whole._with(whole._v * dense[tuple(whole._i)])
        return self._with(self._v * other)

    def div(self, other):
        """Divided by a number."""
        if isinstance(other, Tensor) and other.dim():
            raise RuntimeError(f"div of a sparse tensor by a tensor: {_UNKNOWN}")
        return self._with(self._v / other)

    def mul_(self, other):
        """`mul` in place."""
        return self._become(self.mul(other))

    def div_(self, other):
        """`div` in place."""
        return self._become(self.div(other))

    def _become(self, other):
        self._i, self._v, self._together = other._i, other._v, other._together
        return self

    def add(self, other, *, alpha=1):
        """The sum with a tensor: sparse with sparse stays sparse, with dense it is dense."""
        if not isinstance(other, Tensor):
            raise RuntimeError("add: a number added to a sparse tensor would leave no zero: use to_dense() first")
        if not is_sparse(other):
            return _dense_plus_sparse(other, self, 1, alpha)
        if other.shape != self.shape:
            raise RuntimeError(f"add: expected sizes {tuple(self.shape)} and {tuple(other.shape)} to be the same")
        return _make(
            rtorch.cat([self._i, other._i], 1), rtorch.cat([self._v, other._v * alpha]), tuple(self.shape), False
        )

    def add_(self, other, *, alpha=1):
        """`add` of a sparse tensor in place."""
        return self._become(self.add(other, alpha=alpha))

    def sub(self, other, *, alpha=1):
        """The difference from a tensor."""
        return self.add(other, alpha=-alpha)

    def matmul(self, other):
        """The product of a sparse matrix with a dense matrix or vector: (m, n) @ (n, p) or (n,)."""
        if self.sparse_dim() != 2 or self.dense_dim():
            raise RuntimeError("matmul of a sparse tensor: it must be a matrix")
        dense = other.to_dense() if is_sparse(other) else other
        if dense.dim() not in (1, 2) or dense.shape[0] != self.shape[1]:
            raise RuntimeError(
                f"mat1 and mat2 shapes cannot be multiplied ({self.shape[0]}x{self.shape[1]} and "
                f"{'x'.join(map(str, dense.shape))})"
            )
        values = self._v if dense.dim() == 1 else self._v.unsqueeze(1)
        picked = values * dense[self._i[1]]
        out = rtorch.zeros(self.shape[0], *dense.shape[1:], dtype=picked.dtype, device=picked.device)
        return out.index_add(0, self._i[0], picked)

    mm = mv = __matmul__ = matmul
    __add__, __sub__, __mul__, __rmul__, __truediv__ = add, sub, mul, mul, div
    __radd__ = add

    def __reduce_ex__(self, protocol):
        data = (self._i, self._v, rtorch.Size(self.shape), self._together)
        return (rtorch._rebuild._rebuild_sparse_tensor, (rtorch.sparse_coo, data))

    def __deepcopy__(self, memo):
        if id(self) not in memo:
            memo[id(self)] = self.clone()
        return memo[id(self)]

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        name, kwargs = getattr(func, "__name__", str(func)), kwargs or {}
        if name in _COMPOSED:
            return func.__wrapped__(*args, **kwargs)
        own = _FUNCTIONS.get(name) or SparseTensor.__dict__.get(name)
        if own is not None and args and (name in _FUNCTIONS or isinstance(args[0], SparseTensor)):
            return own(*args, **kwargs)
        if name in _ABOUT:
            before = _C._set_torch_function_disabled(True)
            try:
                return func(*args, **kwargs)
            finally:
                _C._set_torch_function_disabled(before)
        raise RuntimeError(f"{name} of a sparse COO tensor: {_UNKNOWN}")


def _without_elements(name):
    def method(self, *args, **kwargs):
        raise RuntimeError(f"{name} of a sparse COO tensor: {_UNKNOWN}")

    method.__name__ = name
    method.__doc__ = "Raises: the elements are in `values()`."
    return method


for _name in "__getitem__ __setitem__ __iter__ tolist item numpy data_ptr untyped_storage storage as_strided".split():
    setattr(SparseTensor, _name, _without_elements(_name))
del _name

# Questions about shape and type that the tensor without elements answers.
_ABOUT = frozenset(
    "size dim shape numel device dtype is_floating_point is_complex ndimension nelement requires_grad requires_grad_ "
    "is_leaf grad grad_fn __len__ type get_device element_size is_same_size".split()
)


def is_sparse(tensor):
    """Is it a sparse COO tensor?"""
    return isinstance(tensor, SparseTensor)


def _dense_plus_sparse(dense, sparse, beta, alpha):
    out = dense * beta if beta != 1 else dense.clone()
    return add_in_place(out.expand(sparse.shape).contiguous() if out.shape != sparse.shape else out, sparse, alpha)


def add_in_place(dense, sparse, alpha=1):
    """`dense.add_(sparse, alpha)`."""
    rows = tuple(sparse._i)
    dense.index_put_(rows, (sparse._v * alpha).to(dense.dtype), accumulate=True)
    return dense


def _add(input, other, *, alpha=1):
    if is_sparse(input):
        return input.add(other, alpha=alpha)
    return _dense_plus_sparse(input, other, 1, alpha)


def _sub(input, other, *, alpha=1):
    return _add(input, other, alpha=-alpha)


def _matmul(input, other):
    if is_sparse(input):
        return input.matmul(other)
    # (sparse^T @ dense^T)^T
    return other.t().matmul(input if input.dim() == 1 else input.t()).t()


def _mul(input, other):
    return input.mul(other) if is_sparse(input) else other.mul(input)


def _addmm(input, mat1, mat2, *, beta=1, alpha=1):
    return input * beta + _matmul(mat1, mat2) * alpha


# Compositions over products with sparse matrices.
_COMPOSED = frozenset({"lobpcg", "pca_lowrank", "spmm", "svd_lowrank"})

_FUNCTIONS = {
    "add": _add,
    "__add__": _add,
    "__radd__": _add,
    "sub": _sub,
    "__sub__": _sub,
    "add_": lambda input, other, *, alpha=1: (
        input.add_(other, alpha=alpha) if is_sparse(input) else add_in_place(input, other, alpha)
    ),
    "__iadd__": lambda input, other: input.add_(other),
    "matmul": _matmul,
    "__matmul__": _matmul,
    "mm": _matmul,
    "mv": _matmul,
    "mul": _mul,
    "__mul__": _mul,
    "__rmul__": _mul,
    "addmm": _addmm,
}
