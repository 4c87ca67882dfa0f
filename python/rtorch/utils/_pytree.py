"""Trees of tuples, lists and dicts: taking their leaves out and putting others back."""

from collections import OrderedDict

__all__ = ["tree_flatten", "tree_leaves", "tree_map", "tree_unflatten"]


def tree_flatten(tree):
    """(leaves, spec): the leaves in order, and what `tree_unflatten` needs to build the same shape again."""
    leaves = []
    return leaves, _flatten(tree, leaves)


def _flatten(tree, leaves):
    if isinstance(tree, (dict, OrderedDict)):
        return (type(tree), list(tree), [_flatten(v, leaves) for v in tree.values()])
    if isinstance(tree, (list, tuple)):
        return (type(tree), None, [_flatten(v, leaves) for v in tree])
    leaves.append(tree)
    return None


def tree_unflatten(leaves, spec):
    """The tree of shape `spec` with these leaves."""
    return _unflatten(iter(leaves), spec)


def _unflatten(leaves, spec):
    if spec is None:
        return next(leaves)
    kind, keys, children = spec
    values = [_unflatten(leaves, child) for child in children]
    if keys is not None:
        return kind(zip(keys, values))
    return kind(*values) if hasattr(kind, "_fields") else kind(values)


def tree_leaves(tree):
    """The leaves in order."""
    return tree_flatten(tree)[0]


def tree_map(fn, tree):
    """The same tree with `fn` of each leaf."""
    leaves, spec = tree_flatten(tree)
    return tree_unflatten([fn(leaf) for leaf in leaves], spec)
