"""Products and matrix functions by composition over matmul and the core's decompositions."""

from __future__ import annotations

import math

import rtorch
from rtorch import _C

from ._register import named, one_node, op
from .shape import _dim, tensor_list

qr_type = named("qr", "Q R")
svd_type = named("svd", "U S V")
triangular_solve_type = named("triangular_solve", "solution cloned_coefficient")


@op(out=True)
def inner(input, other):
    """Inner product over the last dimensions."""
    if input.dim() == 0 or other.dim() == 0:
        return input * other
    if input.size(-1) != other.size(-1):
        raise RuntimeError(
            "inner() the last dimension must match on both input tensors but got shapes "
            f"{list(input.shape)} and {list(other.shape)}"
        )
    return tensordot(input, other, ([-1], [-1]))


@op(method=False)
def tensordot(a, b, dims=2, out=None):
    """Products summed over pairs of dims."""
    if isinstance(dims, rtorch.Tensor):
        dims = int(dims) if dims.numel() == 1 else dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a.dim(), b.dim()):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        da, db = list(range(a.dim() - dims, a.dim())), list(range(dims))
    else:
        da, db = ([d] if isinstance(d, int) else list(d) for d in dims)
        da, db = [_dim(d, a.dim()) for d in da], [_dim(d, b.dim()) for d in db]
    if len(da) != len(db):
        raise RuntimeError("both dimension lists should have same length")
    for i, j in zip(da, db):
        if a.size(i) != b.size(j) and 1 not in (a.size(i), b.size(j)):
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {a.size(i)} in dim {i} and "
                f"second has size {b.size(j)} in dim {j}"
            )
        if a.size(i) != b.size(j):
            # a size of 1 stands for all; sums of small integers would be int64
            a = a.sum(i, keepdim=True, dtype=a.dtype) if b.size(j) == 1 else a
            b = b.sum(j, keepdim=True, dtype=b.dtype) if a.size(i) == 1 else b
    fa = [d for d in range(a.dim()) if d not in da]
    fb = [d for d in range(b.dim()) if d not in db]
    k = math.prod(a.size(d) for d in da)
    left = a.permute(fa + da).reshape(math.prod(a.size(d) for d in fa), k)
    right = b.permute(db + fb).reshape(k, math.prod(b.size(d) for d in fb))
    r = (left @ right).reshape([a.size(d) for d in fa] + [b.size(d) for d in fb])
    return r if out is None else rtorch._C._write_out(r, out)


@op(out=True)
def kron(input, other):
    """Kronecker product."""
    n = max(input.dim(), other.dim())
    a = input.reshape((1,) * (n - input.dim()) + tuple(input.shape))
    b = other.reshape((1,) * (n - other.dim()) + tuple(other.shape))
    wide_a = [x for s in a.shape for x in (s, 1)]
    wide_b = [x for s in b.shape for x in (1, s)]
    return (a.reshape(wide_a) * b.reshape(wide_b)).reshape([s * t for s, t in zip(a.shape, b.shape)])


@op(out=True)
def vdot(input, other):
    """Dot product, the first vector conjugated."""
    return rtorch.dot(input.conj(), other)


@op()
def trace(input):
    """Sum of the diagonal of a matrix."""
    if input.dim() != 2:
        raise RuntimeError("trace: expected a matrix, but got tensor with dim " + str(input.dim()))
    return input.diagonal().sum()


@op(out=True)
def cross(input, other, dim=None):
    """Vector product along a dim of size 3."""
    if dim is None:
        shape = input.shape
        found = [i for i, s in enumerate(shape) if s == 3]
        if not found:
            raise RuntimeError("no dimension of size 3 in input")
        dim = found[0]
    return linalg_cross(input, other, dim=dim)


def linalg_cross(input, other, *, dim=-1):
    """Vector product along a dim of size 3."""
    if input.dim() != other.dim():
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    d = _dim(dim, input.dim())
    if input.size(d) != 3 or other.size(d) != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {input.size(d)} and {other.size(d)}"
        )
    if input.dtype == rtorch.bool and other.dtype == rtorch.bool:
        raise NotImplementedError("\"cross\" not implemented for 'Bool'")
    return rtorch._C._nn._cross(input, other, d)


@op(method=False)
def chain_matmul(*matrices, out=None):
    """Product of matrices in the cheapest order."""
    r = multi_dot(list(matrices))
    return r if out is None else rtorch._C._write_out(r, out)


def multi_dot(tensors, *, out=None):
    """Product of matrices (the ends may be vectors) in the cheapest order, by dynamic programming."""
    tensor_list("linalg_multi_dot", tensors)
    n = len(tensors)
    if n < 2:
        raise RuntimeError("multi_dot(): expected at least 2 tensors but got " + str(n))
    ts = list(tensors)
    first, last = ts[0].dim() == 1, ts[-1].dim() == 1
    if first:
        ts[0] = ts[0].unsqueeze(0)
    if last:
        ts[-1] = ts[-1].unsqueeze(1)
    for i, t in enumerate(ts):
        if t.dim() != 2:
            raise RuntimeError(f"multi_dot(): tensor {i} must be 2D but got {t.dim()}D")
    sizes = [ts[0].size(0)] + [t.size(1) for t in ts]
    for i in range(n - 1):
        if ts[i].size(1) != ts[i + 1].size(0):
            raise RuntimeError(
                f"multi_dot(): tensors {i} and {i + 1} with shapes {list(ts[i].shape)} and "
                f"{list(ts[i + 1].shape)} cannot be multiplied"
            )
    if n == 2 and not first and not last and out is None:
        return ts[0] @ ts[1]
    cost = [[0] * n for _ in range(n)]
    cut = [[0] * n for _ in range(n)]
    for width in range(1, n):
        for i in range(n - width):
            j = i + width
            cost[i][j], cut[i][j] = min(
                (cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)
            )

    def product(i, j):
        return ts[i] if i == j else product(i, cut[i][j]) @ product(cut[i][j] + 1, j)

    r = product(0, n - 1)
    if first:
        r = r.squeeze(0)
    if last:
        r = r.squeeze(-1)
    return r if out is None else rtorch._C._write_out(r, out)


@op(name="matrix_power", out=True)
def matrix_power(input, n):
    """Integer power of square matrices by repeated squaring."""
    if input.dim() < 2 or input.size(-1) != input.size(-2):
        raise RuntimeError(
            "linalg.matrix_power: A must be batches of square matrices, but they are "
            f"{input.size(-2) if input.dim() > 1 else 0} by {input.size(-1) if input.dim() else 0} matrices"
        )
    if n == 0:
        one = rtorch.eye(input.size(-1), dtype=input.dtype, device=input.device)
        # a constant, but part of the graph
        same = rtorch.where(rtorch.zeros_like(input, dtype=rtorch.bool), input, one)
        return one_node("torch::autograd::CopyBackwards", input, same)
    given = input
    if n < 0:
        input, n = rtorch.linalg.inv(input), -n
    result = None
    while n:
        if n & 1:
            result = input if result is None else result @ input
        n >>= 1
        if n:
            input = input @ input
    return result.clone() if result is given else result


# from more rows on, one matrix product is cheaper than all differences
_FEW_ROWS = 25


def _euclidean(x1, x2):
    """Distances by |a|^2 + |b|^2 - 2 a b: as PyTorch's, less exact where rows are nearly equal. No gradient at 0."""
    squares = x1.square().sum(-1).unsqueeze(-1) + x2.square().sum(-1).unsqueeze(-2)
    squares = (squares - 2 * (x1 @ x2.transpose(-1, -2))).clamp(min=0)
    apart = squares > 0
    return rtorch.where(apart, rtorch.where(apart, squares, 1).sqrt(), 0)


def has_distances(x1, x2, p):
    """Is there a primitive for these distances? Where there is none they are a composition."""
    floats = x1.dtype == x2.dtype and x1.dtype in (rtorch.float32, rtorch.float64)
    return floats and x1.device.type != "wgpu" and x1.size(-1) > 0 and p in (0, 1, 2, math.inf)


@op(method=False)
def cdist(x1, x2, p=2.0, compute_mode="use_mm_for_euclid_dist_if_necessary"):
    """Distances between all pairs of rows."""
    if x1.size(-1) != x2.size(-1):
        raise RuntimeError(f"X1 and X2 must have the same number of columns. X1: {x1.size(-1)} X2: {x2.size(-1)}")
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    if compute_mode not in (
        "use_mm_for_euclid_dist_if_necessary",
        "use_mm_for_euclid_dist",
        "donot_use_mm_for_euclid_dist",
    ):
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    many = max(x1.size(-2), x2.size(-2)) > _FEW_ROWS
    by_product = compute_mode == "use_mm_for_euclid_dist" or compute_mode.endswith("if_necessary") and many
    if p == 2 and by_product and x1.size(-1):
        return _euclidean(x1, x2)
    if has_distances(x1, x2, p):
        return _C._nn._distance(x1, x2, p, False)
    # columns first: many pairs at a time are added up, not the few columns of one
    columns = lambda x: x.transpose(-1, -2).contiguous()
    d = columns(x1).unsqueeze(-1) - columns(x2).unsqueeze(-2)
    if x1.size(-1) == 0:
        return d.sum(-3)
    return rtorch.linalg.vector_norm(d, p, -3)


def _letters(equation):
    """Subscripts of each operand and of the output; `...` stays one token."""
    eq = equation.replace(" ", "")
    left, arrow, right = eq.partition("->")
    split = lambda s: [c for part in s.split("...") for c in (*part, "...")][:-1] if "..." in s else list(s)
    ins = [split(s) for s in left.split(",")]
    for s in ins:
        for c in s:
            if c != "..." and not c.isalpha():
                raise RuntimeError(f"einsum(): invalid subscript given, subscripts must be in [a-zA-Z] (got '{c}')")
    return ins, split(right) if arrow else None


@op(method=False)
def einsum(equation, *operands):
    """Einstein summation; operands are contracted pairwise, the cheapest product first."""
    if not isinstance(equation, str):  # the sublist form: operand, subscripts, ..., output
        args = [equation, *operands]
        tensors, subs = args[0:-1:2] if len(args) % 2 else args[0::2], args[1::2]
        to = lambda s: "".join("..." if x is Ellipsis else chr(65 + x if x < 26 else 71 + x) for x in s)
        text = ",".join(to(s) for s in subs[: len(tensors)])
        if len(args) % 2:
            text += "->" + to(args[-1])
        return einsum(text, *tensors)
    ts = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else list(operands)
    if not ts:
        raise RuntimeError("einsum(): must provide at least one operand")
    ins, out = _letters(equation)
    if len(ins) != len(ts):
        raise RuntimeError(
            f"einsum(): {'fewer' if len(ts) > len(ins) else 'more'} operands were provided than "
            "specified in the equation"
        )
    wide = max((t.dim() - len(s) + 1 for s, t in zip(ins, ts) if "..." in s), default=0)
    dots = [f".{i}" for i in range(max(wide, 0))]
    parts, sizes = [], {}
    for k, (s, t) in enumerate(zip(ins, ts)):
        n = t.dim() - len(s) + 1 if "..." in s else 0
        named = [x for c in s for x in (dots[len(dots) - n :] if c == "..." else [c])]
        if len(named) != t.dim():
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({len(s)}) does not match the "
                f"number of dimensions ({t.dim()}) "
                f"for operand {k} and no ellipsis was given"
            )
        names = []
        for c in named:  # a repeated letter is a diagonal
            if c in names:
                i, j = names.index(c), len(names)
                t = t.diagonal(0, i, j).movedim(-1, i)
            else:
                names.append(c)
        for c, size in zip(names, t.shape):
            old = sizes.get(c, 1)
            if size != old and size != 1 and old != 1:
                raise RuntimeError(
                    "einsum(): operands do not broadcast with remapped shapes [original->remapped]: "
                    f"subscript {c} has size {size} "
                    f"for operand {k} which does not broadcast with previously seen size {old}"
                )
            sizes[c] = max(size, old) if 0 not in (size, old) else 0
        parts.append((names, t))
    if out is None:
        flat = [c for s in ins for c in s if c != "..."]
        out_names = dots + sorted(c for c in set(flat) if flat.count(c) == 1)
    else:
        out_names = [x for c in out for x in (dots if c == "..." else [c])]
        for c in out_names:
            if out_names.count(c) > 1:
                raise RuntimeError(f"einsum(): output subscript {c} appears more than once in the output")
            if c not in sizes:
                raise RuntimeError(
                    f"einsum(): output subscript {c} does not appear in the equation for any input operand"
                )
    while len(parts) > 1:
        keep = lambda rest: set(out_names).union(*(set(p[0]) for p in rest))

        def work(pair, parts=parts):
            i, j = pair
            return math.prod(sizes[c] for c in set(parts[i][0]) | set(parts[j][0]))

        pairs = [(i, j) for i in range(len(parts)) for j in range(i + 1, len(parts))]
        i, j = min(pairs, key=work)
        rest = [p for k, p in enumerate(parts) if k not in (i, j)]
        parts = [*rest[:i], _contract(parts[i], parts[j], keep(rest), sizes), *rest[i:]]
    names, t = parts[0]
    for c in [c for c in names if c not in out_names]:
        t = t.sum(names.index(c))
        names = [x for x in names if x != c]
    for c in out_names:
        if c not in names:
            t, names = t.unsqueeze(-1), [*names, c]
    order = [names.index(c) for c in out_names]
    if order != sorted(order) or t is ts[0]:
        t = t.permute(order)
    return t.expand([sizes[c] for c in out_names]) if list(t.shape) != [sizes[c] for c in out_names] else t


def _contract(a, b, keep, sizes):
    """Two operands as one batched matrix product over batch, left, right and summed subscripts."""
    (na, ta), (nb, tb) = a, b
    for names, t, other in ((na, ta, nb), (nb, tb, na)):
        for c in [c for c in names if c not in keep and c not in other]:
            t = t.sum(names.index(c))
            names = [x for x in names if x != c]
        if other is nb:
            na, ta = names, t
        else:
            nb, tb = names, t
    both = [c for c in na if c in nb]
    summed = [c for c in both if c not in keep]
    batch = [c for c in both if c in keep]
    left, right = [c for c in na if c not in both], [c for c in nb if c not in both]

    def arrange(t, names, order, shape):
        t = t.permute([names.index(c) for c in order])
        return t.expand([sizes[c] if c in both else n for c, n in zip(order, t.shape)]).reshape(shape)

    size = lambda cs: math.prod(sizes[c] for c in cs)
    if not summed:
        grow = lambda t, names, order: t.permute([names.index(c) for c in order if c in names]).reshape(
            [t.size(names.index(c)) if c in names else 1 for c in order]
        )
        order = batch + left + right
        return order, grow(ta, na, order) * grow(tb, nb, order)
    lsizes = [ta.size(na.index(c)) for c in left]
    rsizes = [tb.size(nb.index(c)) for c in right]
    x = arrange(ta, na, batch + left + summed, [size(batch), math.prod(lsizes), size(summed)])
    y = arrange(tb, nb, batch + summed + right, [size(batch), size(summed), math.prod(rsizes)])
    dtype = rtorch.promote_types(x.dtype, y.dtype)
    r = rtorch.bmm(x.to(dtype), y.to(dtype))
    return batch + left + right, r.reshape([sizes[c] for c in batch] + lsizes + rsizes)


def _from_linalg(name, to=None, **options):
    """An older name of `rtorch` and Tensor for a function of `rtorch.linalg`."""

    def f(input, *args, **kwargs):
        return getattr(rtorch.linalg, to or name)(input, *args, **kwargs)

    f.__name__ = name
    f.__doc__ = f"See `rtorch.linalg.{to or name}`."
    return op(name, **options)(f)


for _name, _to in (
    ("inverse", "inv"),
    ("det", "det"),
    ("slogdet", "slogdet"),
    ("pinverse", "pinv"),
    ("matrix_exp", "matrix_exp"),
):
    _from_linalg(_name, _to, out=_name not in ("slogdet", "matrix_exp"))


@op()
def logdet(input):
    """Logarithm of the determinant; NaN where it is negative."""
    sign, log = rtorch.linalg.slogdet(input)
    if input.is_complex():
        return sign.log() + log
    return rtorch.where(sign < 0, float("nan"), log)


@op(out=True)
def cholesky(input, upper=False):
    """Cholesky factor; lower unless `upper`."""
    if not (input.is_floating_point() or input.is_complex()):
        raise NotImplementedError(f"\"cholesky_cpu\" not implemented for '{input.dtype}'")
    return rtorch.linalg.cholesky(input, upper=upper)


@op()
def qr(input, some=True):
    """Q and R with input = Q R."""
    q, r = rtorch.linalg.qr(input, "reduced" if some else "complete")
    return qr_type(q, r)


@op()
def svd(input, some=True, compute_uv=True):
    """U, S and V with input = U diag(S) V^T."""
    if not compute_uv:
        s = rtorch.linalg.svdvals(input)
        m, n = input.shape[-2:]
        return svd_type(input.new_zeros(*input.shape[:-2], m, m), s, input.new_zeros(*input.shape[:-2], n, n))
    u, s, vh = rtorch.linalg.svd(input, full_matrices=not some)
    return svd_type(u, s, vh.mT)


@op(out=True)
def cholesky_solve(input, L, upper=False):
    """X with A X = input, from A's Cholesky factor."""
    y = rtorch.linalg.solve_triangular(L.mT if upper else L, input, upper=False)
    return rtorch.linalg.solve_triangular(L if upper else L.mT, y, upper=True)


@op(out=True)
def cholesky_inverse(L, upper=False):
    """Inverse of A, from its Cholesky factor."""
    eye = rtorch.eye(L.size(-1), dtype=L.dtype, device=L.device).expand(L.shape)
    return cholesky_solve(eye, L, upper)


@op()
def triangular_solve(b, A, upper=True, transpose=False, unitriangular=False):
    """X with A X = b for triangular A, and a copy of A."""
    m = A.mT if transpose else A
    x = rtorch.linalg.solve_triangular(m, b, upper=upper != transpose, unitriangular=unitriangular)
    return triangular_solve_type(x, A.clone())
