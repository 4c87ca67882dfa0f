"""Names of `torch.nn.functional` that exist for TorchScript and for documentation: annotations, dispatch by a flag,
notes. Nothing here computes."""

from rtorch import Tensor

__all__ = [
    "BroadcastingList1",
    "BroadcastingList2",
    "BroadcastingList3",
    "GRID_SAMPLE_INTERPOLATION_MODES",
    "GRID_SAMPLE_PADDING_MODES",
    "Tensor",
    "assert_int_or_pair",
    "boolean_dispatch",
    "reproducibility_notes",
    "tf32_notes",
]

# The numbers under which `grid_sampler` knows the modes of `grid_sample`.
GRID_SAMPLE_INTERPOLATION_MODES = {"bilinear": 0, "nearest": 1, "bicubic": 2}
GRID_SAMPLE_PADDING_MODES = {"zeros": 0, "border": 1, "reflection": 2}

reproducibility_notes = {
    "forward_reproducibility_note": "Results are the same in every run: no kernel of rtorch adds in a varying order.",
    "backward_reproducibility_note": "Gradients are the same in every run, for the same reason.",
}
tf32_notes = {"tf32_note": "Products of float32 are computed in float32: rtorch has no TensorFloat32."}


class _BroadcastingList:
    """An annotation: `BroadcastingList2[int]` is an int, or a list of two."""

    def __getitem__(self, kind):
        return kind | list[kind] if isinstance(kind, type) else None


BroadcastingList1, BroadcastingList2, BroadcastingList3 = (_BroadcastingList() for _ in range(3))


def boolean_dispatch(arg_name, arg_index, default, if_true, if_false, module_name, func_name):
    """A function that calls `if_true` or `if_false`, as its argument `arg_name` (in place `arg_index`) says.

    >>> f = boolean_dispatch("up", 1, False, lambda x, up=True: x + 1, lambda x, up=False: x - 1, "m", "f")
    >>> f(1), f(1, True), f(1, up=True)
    (0, 2, 2)
    """

    def fn(*args, **kwargs):
        flag = kwargs[arg_name] if arg_name in kwargs else args[arg_index] if arg_index < len(args) else default
        return (if_true if flag else if_false)(*args, **kwargs)

    if if_true.__doc__ is None and if_false.__doc__ is not None:
        fn.__doc__ = if_false.__doc__
    elif if_true.__doc__ is not None:
        fn.__doc__ = if_true.__doc__
    fn.__name__ = func_name or fn.__name__
    fn.__module__ = module_name or fn.__module__
    return fn


def assert_int_or_pair(arg, arg_name, message):
    """Raises with `message` (its {} the name) unless `arg` is an int or has two elements."""
    if not (isinstance(arg, int) or len(arg) == 2):
        raise AssertionError(message.format(arg_name))
