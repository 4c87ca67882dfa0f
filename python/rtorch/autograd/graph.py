"""Looking at and hooking into the graph: gradient edges, hooks on several tensors, hooks on saved tensors."""

import contextlib

import rtorch
from rtorch import _C

__all__ = [
    "GradientEdge",
    "Node",
    "allow_mutation_on_saved_tensors",
    "disable_saved_tensors_hooks",
    "get_gradient_edge",
    "increment_version",
    "register_multi_grad_hook",
    "save_on_cpu",
    "saved_tensors_hooks",
]


Node = _C.Node


class GradientEdge(tuple):
    """(node, output_nr): where a gradient enters the graph."""

    __slots__ = ()

    def __new__(cls, node, output_nr):
        return tuple.__new__(cls, (node, output_nr))

    node = property(lambda self: self[0])
    output_nr = property(lambda self: self[1])


def _accumulator(tensor):
    """The node that adds to a leaf's grad: the one behind any view of it."""
    with rtorch.enable_grad():
        return tensor.view_as(tensor).grad_fn.next_functions[0][0]


def get_gradient_edge(tensor):
    """The edge of `tensor` in its graph."""
    if not tensor.requires_grad:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    node = tensor.grad_fn
    return GradientEdge(_accumulator(tensor) if node is None else node, tensor.output_nr)


class _Handles:
    def __init__(self, handles):
        self.handles = tuple(handles)

    def remove(self):
        for handle in self.handles:
            handle.remove()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.remove()


def register_multi_grad_hook(tensors, fn, *, mode="all"):
    """Runs `fn` on the gradients of several tensors: once when all have come ("all"), or on the first ("any").

    >>> import rtorch
    >>> a = rtorch.ones(1, requires_grad=True)
    >>> handle = rtorch.autograd.graph.register_multi_grad_hook((a,), lambda grads: print(grads[0].item()))
    >>> (a * 3).backward()
    3.0
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    tensors = tuple(tensors)
    seen = {}

    def hook_of(i):
        def hook(grad):
            if mode == "any":
                if not seen:
                    fn(grad)
                seen[i] = None
            else:
                seen[i] = grad
            if len(seen) == len(tensors):
                if mode == "all":
                    fn([seen[k] for k in range(len(tensors))])
                seen.clear()

        return hook

    return _Handles(t.register_hook(hook_of(i)) for i, t in enumerate(tensors))


class saved_tensors_hooks:
    """Inside, tensors saved for backward pass through `pack_hook` when saved and `unpack_hook` when used."""

    def __init__(self, pack_hook, unpack_hook):
        self.pack_hook = pack_hook
        self.unpack_hook = unpack_hook

    def __enter__(self):
        _C._push_saved_tensors_hooks(self.pack_hook, self.unpack_hook)

    def __exit__(self, *exc):
        _C._pop_saved_tensors_hooks()


class save_on_cpu(saved_tensors_hooks):
    """Keeps tensors saved for backward in main memory and brings them back when they are used."""

    def __init__(self, pin_memory=False, device_type=None):
        super().__init__(lambda t: (t.device, t.cpu()), lambda packed: packed[1].to(packed[0]))


class disable_saved_tensors_hooks:
    """Inside, `saved_tensors_hooks` raises with `error_message`."""

    def __init__(self, error_message):
        self.error_message = error_message

    def __enter__(self):
        self.previous = _C._set_saved_tensors_hooks_error(self.error_message)

    def __exit__(self, *exc):
        _C._set_saved_tensors_hooks_error(self.previous)


def increment_version(tensor):
    """Counts a write to the memory of the tensor (or of each of several) that rtorch did not see."""
    for t in (tensor,) if isinstance(tensor, rtorch.Tensor) else tensor:
        _C._increment_version(t)


class _Nothing:
    def clear(self):
        """Forgets copies; there are none."""


@contextlib.contextmanager
def allow_mutation_on_saved_tensors():
    """Inside, tensors saved for backward may be written in place. rtorch keeps the contents that were saved at all
    times, so that the gradient is that of the saved values with and without this."""
    yield _Nothing()
