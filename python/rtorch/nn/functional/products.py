"""Matrix products of groups and of scaled operands. The dense layers are in linear.py."""

import enum

import rtorch

__all__ = ["ScalingType", "SwizzleType", "grouped_mm", "scaled_grouped_mm", "scaled_mm"]


class ScalingType(enum.IntEnum):
    """What one scale of `scaled_mm` stands for."""

    TensorWise = 0
    RowWise = 1
    BlockWise1x16 = 2
    BlockWise1x32 = 3
    BlockWise1x128 = 4
    BlockWise128x128 = 5


class SwizzleType(enum.IntEnum):
    """The layout of scales in memory."""

    NO_SWIZZLE = 0
    SWIZZLE_32_4_4 = 1


# Rows and columns (along the summed dimension) that share a scale.
_BLOCKS = {
    ScalingType.BlockWise1x16: (1, 16),
    ScalingType.BlockWise1x32: (1, 32),
    ScalingType.BlockWise1x128: (1, 128),
    ScalingType.BlockWise128x128: (128, 128),
}


def grouped_mm(mat_a, mat_b, *, offs=None, bias=None, out_dtype=None):
    """A product for each group: rows of mat_a (2-D) belong to group i up to `offs[i]`, mat_b (3-D) has its matrix.

    Both 3-D: a batched product, `offs` None. mat_a 3-D and mat_b 2-D: columns of mat_b are grouped. Both 2-D: the
    summed dimension is grouped, and the result is (groups, rows, columns). Rows beyond the last offset are zero.

    >>> import rtorch
    >>> a, b = rtorch.ones(4, 2), rtorch.ones(2, 2, 3)
    >>> grouped_mm(a, b, offs=rtorch.tensor([1, 4], dtype=rtorch.int32)).shape
    torch.Size([4, 3])
    """
    dims = mat_a.dim(), mat_b.dim()
    if any(d not in (2, 3) for d in dims):
        raise RuntimeError(f"grouped_mm: mat_a and mat_b must be 2-D or 3-D, got {dims[0]}-D and {dims[1]}-D")
    if (offs is None) != (dims == (3, 3)):
        raise RuntimeError("grouped_mm: offs must be given exactly where one of the matrices is 2-D")
    if mat_a.size(-1) != mat_b.size(-2):
        raise RuntimeError(
            f"grouped_mm: contraction dimension of mat_a and mat_b must match, got {tuple(mat_a.shape)} and "
            f"{tuple(mat_b.shape)}"
        )
    out = mat_a @ mat_b if offs is None else _grouped(mat_a, mat_b, offs.tolist())
    if bias is not None:
        out = out + bias
    return out if out_dtype is None else out.to(out_dtype)


def _grouped(a, b, ends):
    spans = list(zip([0, *ends[:-1]], ends))
    if a.dim() == 2 and b.dim() == 3:
        parts = [a[i:j] @ b[g] for g, (i, j) in enumerate(spans)]
        return rtorch.cat([*parts, a.new_zeros(a.size(0) - ends[-1], b.size(-1))])
    if a.dim() == 3:
        parts = [a[g] @ b[:, i:j] for g, (i, j) in enumerate(spans)]
        return rtorch.cat([*parts, a.new_zeros(a.size(1), b.size(-1) - ends[-1])], -1)
    return rtorch.stack([a[:, i:j] @ b[i:j] for i, j in spans])


def _one(value, what):
    """The single entry of an argument that may be a list of one."""
    if isinstance(value, (list, tuple)):
        if len(value) != 1:
            raise ValueError(f"scaled_mm: one {what} for each matrix, got {len(value)}")
        return value[0]
    return value


def _unscaled(mat, scale, recipe, swizzle):
    """A matrix (rows, summed dimension) times its scales, in float32."""
    scale, recipe, swizzle = _one(scale, "scale"), _one(recipe, "recipe"), _one(swizzle, "swizzle")
    if swizzle not in (None, SwizzleType.NO_SWIZZLE):
        raise ValueError(f"scaled_mm: scales must not be swizzled, got {swizzle!r}")
    scale, wide = scale.float(), mat.float()
    if recipe == ScalingType.TensorWise:
        return wide * scale
    if recipe == ScalingType.RowWise:
        return wide * scale.reshape(*mat.shape[:-1], 1)
    rows, columns = _BLOCKS[ScalingType(recipe)]
    grid = (-(-mat.size(-2) // rows), -(-mat.size(-1) // columns))
    full = scale.reshape(*mat.shape[:-2], *grid).repeat_interleave(rows, -2).repeat_interleave(columns, -1)
    return wide * full[..., : mat.size(-2), : mat.size(-1)]


def scaled_mm(
    mat_a,
    mat_b,
    scale_a,
    scale_recipe_a,
    scale_b,
    scale_recipe_b,
    swizzle_a=None,
    swizzle_b=None,
    bias=None,
    output_dtype=rtorch.bfloat16,
    contraction_dim=(),
    use_fast_accum=False,
):
    """(mat_a * scale_a) @ (mat_b * scale_b) + bias, computed in float32: (M, K) and (K, N) to (M, N).

    A recipe says what one scale stands for (`ScalingType`); those of mat_b run along its columns. Sums are always in
    float32, whether `use_fast_accum` permits less or not.
    """
    if tuple(contraction_dim) not in ((), (-1, -2), (1, 0)):
        raise ValueError(f"scaled_mm: contraction_dim {tuple(contraction_dim)} is not supported")
    a = _unscaled(mat_a, scale_a, scale_recipe_a, swizzle_a)
    b = _unscaled(mat_b.mT, scale_b, scale_recipe_b, swizzle_b).mT
    out = a @ b
    return (out if bias is None else out + bias).to(output_dtype or mat_a.dtype)


def scaled_grouped_mm(
    mat_a,
    mat_b,
    scale_a,
    scale_recipe_a,
    scale_b,
    scale_recipe_b,
    swizzle_a=None,
    swizzle_b=None,
    bias=None,
    offs=None,
    output_dtype=rtorch.bfloat16,
    contraction_dim=(),
    use_fast_accum=False,
):
    """`grouped_mm` of scaled matrices, as `scaled_mm` scales them."""
    if tuple(contraction_dim) not in ((), (-1, -2)):
        raise ValueError(f"scaled_grouped_mm: contraction_dim {tuple(contraction_dim)} is not supported")
    a = _unscaled(mat_a, scale_a, scale_recipe_a, swizzle_a)
    b = _unscaled(mat_b.mT, scale_b, scale_recipe_b, swizzle_b).mT
    return grouped_mm(a, b, offs=offs, bias=bias, out_dtype=output_dtype or mat_a.dtype)
