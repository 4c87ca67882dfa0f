"""Trees of tuples, lists, dicts and registered classes: taking their leaves out and putting others back.

PyTorch's `torch.utils._pytree`, which many programs use although its name is private.
"""

from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "LeafSpec",
    "PyTree",
    "TreeSpec",
    "register_pytree_node",
    "tree_all",
    "tree_any",
    "tree_flatten",
    "tree_iter",
    "tree_leaves",
    "tree_map",
    "tree_map_",
    "tree_map_only",
    "tree_structure",
    "tree_unflatten",
]

PyTree = Any


@dataclass(frozen=True)
class TreeSpec:
    """The shape of a tree: the class of its root, what that needs beside its children, and their shapes."""

    type: Any
    context: Any
    children_specs: list = field(default_factory=list)

    @property
    def num_children(self):
        """How many children the root has."""
        return len(self.children_specs)

    @property
    def num_leaves(self):
        """How many leaves the tree has."""
        return sum(child.num_leaves for child in self.children_specs)

    @property
    def num_nodes(self):
        """How many nodes and leaves the tree has."""
        return 1 + sum(child.num_nodes for child in self.children_specs)

    def is_leaf(self):
        """Is the tree a leaf?"""
        return False

    def unflatten(self, leaves):
        """The tree with these leaves."""
        return tree_unflatten(leaves, self)


@dataclass(frozen=True)
class LeafSpec(TreeSpec):
    """The shape of a leaf."""

    type: Any = None
    context: Any = None
    num_leaves = num_nodes = 1

    def is_leaf(self):
        """True."""
        return True


def _values(d):
    return list(d.values()), list(d)


def _zipped(kind):
    return lambda values, keys: kind(zip(keys, values))


# class -> (node -> (children, context), (children, context) -> node)
_NODES = {
    tuple: (lambda t: (list(t), None), lambda values, _: tuple(values)),
    list: (lambda t: (t, None), lambda values, _: list(values)),
    dict: (_values, _zipped(dict)),
    OrderedDict: (_values, _zipped(OrderedDict)),
    defaultdict: (
        lambda d: (list(d.values()), (d.default_factory, list(d))),
        lambda values, context: defaultdict(context[0], zip(context[1], values)),
    ),
    deque: (lambda d: (list(d), d.maxlen), lambda values, length: deque(values, maxlen=length)),
}
_NAMED = (lambda t: (list(t), type(t)), lambda values, kind: kind(*values))


def register_pytree_node(cls, flatten_fn, unflatten_fn, **kwargs):
    """Makes a class a node: `flatten_fn(node)` gives (children, context), `unflatten_fn(children, context)` a node.

    Of the keywords `serialized_type_name` and its like describe nodes in files, which rtorch does not write.
    """
    if cls in _NODES:
        raise ValueError(f"{cls} is already registered as pytree node.")
    _NODES[cls] = (flatten_fn, unflatten_fn)


_register_pytree_node = register_pytree_node


def _node(tree):
    found = _NODES.get(type(tree))
    if found is None and isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return _NAMED
    return found


def tree_flatten(tree, is_leaf=None):
    """(leaves, spec): the leaves in order, and what `tree_unflatten` needs to build the same shape again.

    >>> from rtorch.utils import _pytree
    >>> leaves, spec = _pytree.tree_flatten([1, {"a": (2, 3)}])
    >>> leaves, _pytree.tree_unflatten([10, 20, 30], spec)
    ([1, 2, 3], [10, {'a': (20, 30)}])
    """
    leaves = []
    return leaves, _flatten(tree, leaves, is_leaf)


def _flatten(tree, leaves, is_leaf):
    node = None if is_leaf is not None and is_leaf(tree) else _node(tree)
    if node is None:
        leaves.append(tree)
        return LeafSpec()
    children, context = node[0](tree)
    return TreeSpec(type(tree), context, [_flatten(child, leaves, is_leaf) for child in children])


def tree_unflatten(leaves, treespec):
    """The tree of shape `treespec` with these leaves."""
    leaves = list(leaves)
    if len(leaves) != treespec.num_leaves:
        raise ValueError(
            f"tree_unflatten(leaves, treespec): `leaves` has length {len(leaves)} but the spec refers to a pytree that "
            f"holds {treespec.num_leaves} items."
        )
    return _unflatten(iter(leaves), treespec)


def _unflatten(leaves, spec):
    if spec.is_leaf():
        return next(leaves)
    build = _NODES.get(spec.type, _NAMED)[1]
    return build([_unflatten(leaves, child) for child in spec.children_specs], spec.context)


def tree_structure(tree, is_leaf=None):
    """The shape of a tree."""
    return tree_flatten(tree, is_leaf)[1]


def tree_leaves(tree, is_leaf=None):
    """The leaves in order."""
    return tree_flatten(tree, is_leaf)[0]


def tree_iter(tree, is_leaf=None):
    """The leaves in order, as an iterator."""
    return iter(tree_leaves(tree, is_leaf))


def tree_map(func, tree, *rests, is_leaf=None):
    """The same tree with `func` of each leaf, and of the subtrees of `rests` in its place."""
    leaves, spec = tree_flatten(tree, is_leaf)
    others = [_up_to(rest, spec) for rest in rests]
    return tree_unflatten([func(*args) for args in zip(leaves, *others)], spec)


def _up_to(tree, spec):
    """The subtrees of `tree` where `spec` has leaves."""
    if spec.is_leaf():
        return [tree]
    node = _node(tree)
    children = node[0](tree)[0] if node else None
    if type(tree) is not spec.type or len(children) != spec.num_children:
        raise ValueError(f"Node type mismatch; expected {spec.type} with {spec.num_children}, but got {type(tree)}.")
    return [leaf for child, part in zip(children, spec.children_specs) for leaf in _up_to(child, part)]


def tree_map_(func, tree, *rests, is_leaf=None):
    """Calls `func` for each leaf; the tree itself."""
    tree_map(func, tree, *rests, is_leaf=is_leaf)
    return tree


def tree_map_only(types, func, tree=None, is_leaf=None):
    """`tree_map` for leaves of some types (or those for which a function says so); the others stay."""
    chosen = types if callable(types) and not isinstance(types, type) else lambda leaf: isinstance(leaf, types)
    return tree_map(lambda leaf: func(leaf) if chosen(leaf) else leaf, tree, is_leaf=is_leaf)


def tree_all(pred, tree, is_leaf=None):
    """Does `pred` hold for all leaves?"""
    return all(map(pred, tree_iter(tree, is_leaf)))


def tree_any(pred, tree, is_leaf=None):
    """Does `pred` hold for a leaf?"""
    return any(map(pred, tree_iter(tree, is_leaf)))
