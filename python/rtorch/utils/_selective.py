"""Selective checkpointing: of the operators inside a checkpoint, which keep their results, and which run again. The two
contexts that `create_selective_checkpoint_contexts` makes stand around the two runs as modes that see every operator.

An operator whose results are kept does not run a second time. What it saved for backward is found again among its
arguments and results (both are there in the second run), and kept apart where it is neither.
"""

import enum

import rtorch
from rtorch.overrides import TorchFunctionMode
from rtorch.utils._pytree import tree_flatten, tree_unflatten

__all__ = ["CheckpointPolicy", "SAC_IGNORED_OPS", "SelectiveCheckpointContext", "create_selective_checkpoint_contexts"]


class CheckpointPolicy(enum.Enum):
    """What becomes of an operator's results: kept, computed again, or kept in the CPU's memory."""

    MUST_SAVE = 0
    PREFER_SAVE = 1
    MUST_RECOMPUTE = 2
    PREFER_RECOMPUTE = 3
    MUST_CPU_OFFLOAD = 4
    PREFER_CPU_OFFLOAD = 5


_KEPT = frozenset({CheckpointPolicy.MUST_SAVE, CheckpointPolicy.PREFER_SAVE})
_OFFLOADED = frozenset({CheckpointPolicy.MUST_CPU_OFFLOAD, CheckpointPolicy.PREFER_CPU_OFFLOAD})

# Questions about tensors and what makes no new values: no policy is asked about them.
SAC_IGNORED_OPS = {
    rtorch.Tensor.detach,
    rtorch.Tensor.dim,
    rtorch.Tensor.is_contiguous,
    rtorch.Tensor.numel,
    rtorch.Tensor.size,
    rtorch.Tensor.storage_offset,
    rtorch.Tensor.stride,
}
_IGNORED_NAMES = frozenset(f.__name__ for f in SAC_IGNORED_OPS)


class SelectiveCheckpointContext:
    """What a policy is told: whether this is the second run (policies are asked in the first only), and the results of
    the operator where they are known."""

    def __init__(self, *, is_recompute, op_output=None):
        self.is_recompute, self.op_output = is_recompute, op_output


def _name(op):
    return getattr(op, "__name__", str(op))


class _Kept:
    """The results of one call and where what it saved is found."""

    def __init__(self, out, saved, arguments, offload):
        leaves, self.tree = tree_flatten(out)
        self.offloaded = offload
        self.leaves = [self._store(v) for v in leaves]
        self.versions = [v._version if isinstance(v, rtorch.Tensor) else None for v in leaves]
        outs = [v for v in leaves if isinstance(v, rtorch.Tensor)]
        self.places = [self._place(t, arguments, outs) for t in saved]

    def _store(self, value):
        if not isinstance(value, rtorch.Tensor):
            return value
        kept = value.detach()
        return (kept.cpu() if self.offloaded else kept), value.device, value.requires_grad

    @staticmethod
    def _place(tensor, arguments, outs):
        for kind, tensors in (("argument", arguments), ("result", outs)):
            for i, t in enumerate(tensors):
                if t.device == tensor.device and t.dtype == tensor.dtype and t.is_set_to(tensor):
                    return kind, i
        return "kept", tensor.detach()

    def results(self, may_change):
        """The results again, in the graph where they were in it."""
        leaves = []
        for stored, version in zip(self.leaves, self.versions):
            if version is None:
                leaves.append(stored)
                continue
            kept, device, variable = stored
            if not may_change and not self.offloaded and kept._version != version:
                raise RuntimeError(
                    "Tensor cached during selective activation checkpoint has been mutated. Pass "
                    "allow_cache_entry_mutation=True where that is meant."
                )
            leaves.append(kept.to(device).detach().requires_grad_(variable))
        return tree_unflatten(leaves, self.tree)


def _tensors(tree):
    return [v for v in tree_flatten(tree)[0] if isinstance(v, rtorch.Tensor)]


class _First(TorchFunctionMode):
    """The first run: asks the policy, and keeps what it says."""

    frame = None

    def __init__(self, policy, decisions):
        self.policy, self.decisions = policy, decisions

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if _name(func) in _IGNORED_NAMES:
            return func(*args, **kwargs)
        saved = self.frame.listen()
        try:
            out = func(*args, **kwargs)
        finally:
            self.frame.listen(False)
        chosen = self.policy(SelectiveCheckpointContext(is_recompute=False, op_output=out), func, *args, **kwargs)
        if isinstance(chosen, bool):
            chosen = CheckpointPolicy.PREFER_SAVE if chosen else CheckpointPolicy.PREFER_RECOMPUTE
        if not isinstance(chosen, CheckpointPolicy):
            raise TypeError(f"the policy must answer a CheckpointPolicy, but answered {chosen!r} for {_name(func)}")
        keep = chosen in _KEPT or chosen in _OFFLOADED
        entry = _Kept(out, saved, _tensors((args, kwargs)), chosen in _OFFLOADED) if keep else None
        self.decisions.append((_name(func), entry))
        return out


class _Second(TorchFunctionMode):
    """The second run: what was kept stands in for the operator, and for what it saved."""

    frame = None

    def __init__(self, decisions, may_change):
        self.decisions, self.may_change = decisions, may_change

    def __enter__(self):
        self.left = iter(self.decisions)
        return super().__enter__()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if _name(func) in _IGNORED_NAMES:
            return func(*args, **kwargs)
        name, entry = next(self.left, (None, None))
        if name != _name(func):
            raise RuntimeError(
                f"{_name(func)} runs in the second run of a checkpoint, where {name or 'nothing'} ran in the first"
            )
        if entry is None:
            return func(*args, **kwargs)
        out = entry.results(self.may_change)
        known = {"argument": _tensors((args, kwargs)), "result": _tensors(out)}
        for kind, place in entry.places:
            self.frame.found(place if kind == "kept" else known[kind][place])
        return out


def create_selective_checkpoint_contexts(policy_fn_or_list, allow_cache_entry_mutation=False):
    """The two contexts for `checkpoint(..., use_reentrant=False, context_fn=functools.partial(this, policy))`.

    policy_fn_or_list: a function of (SelectiveCheckpointContext, operator, *args, **kwargs) that answers a
    `CheckpointPolicy`, or a list of operators whose results are kept. Operators are rtorch's functions and methods
    (`rtorch.mm`); a function in the list stands for the method of its name, too. allow_cache_entry_mutation: kept
    results may have been written to in place (RuntimeError otherwise).

    >>> import functools, rtorch
    >>> from rtorch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts
    >>> x = rtorch.ones(2, 2, requires_grad=True)
    >>> keep_products = functools.partial(create_selective_checkpoint_contexts, [rtorch.mm])
    >>> checkpoint(lambda x: x.mm(x).sin(), x, use_reentrant=False, context_fn=keep_products).sum().backward()
    """
    if isinstance(policy_fn_or_list, (list, tuple)):
        for op in policy_fn_or_list:
            if not callable(op):
                raise ValueError(f"Expected op in `op_list` to be an operator but got: {op} of type {type(op)}.")
        names = frozenset(_name(op) for op in policy_fn_or_list)

        def policy(ctx, op, *args, **kwargs):
            return CheckpointPolicy.MUST_SAVE if _name(op) in names else CheckpointPolicy.PREFER_RECOMPUTE

    elif callable(policy_fn_or_list):
        policy = policy_fn_or_list
    else:
        raise TypeError("policy_fn_or_list must be either a function or a list of ops.")
    decisions = []
    return _First(policy, decisions), _Second(decisions, allow_cache_entry_mutation)
