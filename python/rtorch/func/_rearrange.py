"""`rearrange`: dims named in a pattern "b (h w) c -> b c h w", split, joined and put in order."""

import rtorch

__all__ = ["rearrange"]


def _tokens(side):
    """The side's words and brackets."""
    if "..." in side.replace("....", "") and side.count("...") > 1 or "." in side.replace("...", "", 1):
        raise ValueError("Expression may contain dots only inside ellipsis (...); only one ellipsis for tensor ")
    for bracket in "()":
        side = side.replace(bracket, f" {bracket} ")
    return side.replace("...", " ... ").split()


def _parse(side, names):
    """The dims of a side: lists of names, "..." for the dims in between and 1s left out; names are collected."""
    dims, group = [], None
    for token in _tokens(side):
        if token == "(":
            if group is not None:
                raise ValueError("Axis composition is one-level (brackets inside brackets not allowed)")
            group = []
        elif token == ")":
            if group is None:
                raise ValueError("Brackets are not balanced")
            dims.append(group)
            group = None
        elif token == "...":
            names.append("...")
            dims.append("...") if group is None else group.append("...")
        elif token.isdecimal():
            if int(token) != 1:
                raise ValueError("rearrange only supports unnamed axes of size 1")
            if group is None:
                dims.append([])
        else:
            _check_name(token, names)
            names.append(token)
            dims.append([token]) if group is None else group.append(token)
    if group is not None:
        raise ValueError(f"Imbalanced parentheses in expression: '{side}'")
    return dims


def _check_name(token, names):
    for c in token:
        if not (c.isalnum() or c == "_"):
            raise ValueError(f"Unknown character '{c}'")
    if not token.isidentifier() or token[0] == "_" or token[-1] == "_":
        raise ValueError(f"Invalid axis identifier: {token}")
    if token in names:
        raise ValueError(f"Indexing expression contains duplicate dimension '{token}'")


def _check_sides(pattern, left, left_names, right_names, lengths):
    if "..." in right_names and "..." not in left_names:
        raise ValueError(f"Ellipsis found in right side, but not left side of a pattern {pattern}")
    if any("..." in group for group in left if group != "..."):
        raise ValueError(f"Ellipsis is parenthesis in the left side is not allowed: {pattern}")
    if one_sided := (set(left_names) ^ set(right_names)) - {"..."}:
        raise ValueError(f"Identifiers only on one side of rearrange expression (should be on both): {one_sided}")
    for length in lengths.values():
        if not isinstance(length, int):
            raise TypeError(f"rearrange axis lengths must be integers, got: {type(length)}")
    if unknown := set(lengths) - set(left_names):
        raise ValueError(f"Identifiers not found in rearrange expression: {unknown}")


def _sizes(group, size, lengths):
    """The sizes of the names that make up one dim; one of them may be unknown."""
    sizes = [lengths.get(name, -1) for name in group]
    unknown = sizes.count(-1)
    known = 1
    for s in sizes:
        known *= 1 if s == -1 else s
    if unknown > 1:
        raise ValueError(f"cannot infer the sizes of two dimensions at once: {' '.join(group)} of size {size}")
    if unknown:
        if known == 0 or size % known:
            raise ValueError(f"inferred dimension does not evenly fit into larger dimension: {size} vs {sizes}")
        sizes[sizes.index(-1)] = size // known
    elif known != size:
        raise ValueError(f"Dimension sizes do not match ({size} != {known}) when matching {' '.join(group) or '1'}")
    return sizes


def rearrange(tensor, pattern, **axes_lengths):
    """Dims of a tensor (or of tensors of one shape, stacked first) by name: `pattern` has the dims as they are, "->",
    and the dims of the result. Brackets join dims, "..." are those not named, 1 and () are dims of size 1;
    `axes_lengths` gives sizes that do not follow from the shape. ValueError where the pattern does not fit.

    >>> import rtorch
    >>> from rtorch.func import rearrange
    >>> rearrange(rtorch.zeros(2, 12, 5), "b (h w) c -> b c h w", h=3).shape
    torch.Size([2, 5, 3, 4])
    """
    if not isinstance(tensor, rtorch.Tensor):
        tensor = rtorch.stack(tensor)
    sides = pattern.split("->")
    if len(sides) != 2:
        raise ValueError("Pattern must contain a single '->' separator")
    left_names, right_names = [], []
    left, right = _parse(sides[0], left_names), _parse(sides[1], right_names)
    _check_sides(pattern, left, left_names, right_names, axes_lengths)
    between = tensor.dim() - (len(left) - ("..." in left))
    if between < 0 or (between > 0 and "..." not in left):
        raise ValueError(
            f"Number of dimensions in pattern ({len(left)}) must be equal to the number of dimensions in the tensor "
            f"({tensor.dim()})"
        )
    # every name one dim, those of "..." as they come
    shape, place, d = [], {}, 0
    for group in left:
        if group == "...":
            place["..."] = list(range(len(shape), len(shape) + between))
            shape += tensor.shape[d : d + between]
            d += between
            continue
        for name, size in zip(group, _sizes(group, tensor.size(d), axes_lengths)):
            place[name] = [len(shape)]
            shape.append(size)
        d += 1
    order, result = [], []
    for group in right:
        if group == "...":
            order += place["..."]
            result += [shape[i] for i in place["..."]]
            continue
        dims = [i for name in group for i in place[name]]
        order += dims
        size = 1
        for i in dims:
            size *= shape[i]
        result.append(size)
    return tensor.reshape(shape).permute(order).reshape(result)
