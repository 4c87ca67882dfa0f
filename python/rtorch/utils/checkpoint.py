"""Activation checkpointing: memory for time. What a function saves for backward is dropped, and computed again when
backward asks for it (T. Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016)."""

import contextlib
import warnings

import rtorch
from rtorch.autograd.graph import saved_tensors_hooks
from rtorch.utils._pytree import tree_leaves

from ._selective import (
    SAC_IGNORED_OPS,
    CheckpointPolicy,
    SelectiveCheckpointContext,
    create_selective_checkpoint_contexts,
)

__all__ = [
    "CheckpointError",
    "CheckpointFunction",
    "CheckpointPolicy",
    "DefaultDeviceType",
    "GraphExecGroup",
    "SAC_IGNORED_OPS",
    "SelectiveCheckpointContext",
    "checkpoint",
    "checkpoint_sequential",
    "create_selective_checkpoint_contexts",
    "detach_variable",
    "get_device_states",
    "noop_context_fn",
    "set_checkpoint_debug_enabled",
    "set_checkpoint_early_stop",
    "set_device_states",
]


class CheckpointError(RuntimeError):
    """The second run of a checkpointed function saved other tensors than the first."""


class _Enough(Exception):
    """Everything that backward needs was computed again."""


_early_stop = True
_debug = None


class set_checkpoint_early_stop:
    """Inside, whether recomputation stops as soon as it has what it needs."""

    def __init__(self, enable):
        self.enable = enable

    def __enter__(self):
        global _early_stop
        self.previous, _early_stop = _early_stop, self.enable

    def __exit__(self, *exc):
        global _early_stop
        _early_stop = self.previous


class set_checkpoint_debug_enabled:
    """Inside, `debug` of every checkpoint is this (None: each its own)."""

    def __init__(self, enabled):
        self.enabled = enabled

    def __enter__(self):
        global _debug
        self.previous, _debug = _debug, self.enabled

    def __exit__(self, *exc):
        global _debug
        _debug = self.previous


def noop_context_fn():
    """Contexts that do nothing, of the first and the second run."""
    return contextlib.nullcontext(), contextlib.nullcontext()


def detach_variable(inputs):
    """The inputs outside of the graph, as variables where they were."""
    if not isinstance(inputs, tuple):
        raise RuntimeError("Only tuple of tensors is supported. Got Unsupported input type: ", type(inputs).__name__)

    def one(value):
        if not isinstance(value, rtorch.Tensor):
            return value
        return value.detach().requires_grad_(value.requires_grad)

    return tuple(one(v) for v in inputs)


class DefaultDeviceType:
    """The device type whose random state a checkpoint without tensor arguments would keep beside the CPU's."""

    _name = "wgpu"

    @staticmethod
    def set_device_type(device="wgpu"):
        DefaultDeviceType._name = device

    @staticmethod
    def get_device_type():
        return DefaultDeviceType._name


def get_device_states(*args):
    """(device numbers, random states) of the devices, other than the CPU, of the tensors among the arguments."""
    devices = {t.device.index or 0 for t in tree_leaves(args) if isinstance(t, rtorch.Tensor) and t.is_wgpu}
    devices = sorted(devices)
    return devices, [_generator(d).get_state() for d in devices]


def set_device_states(devices, states, *, device_type=None):
    """Sets what `get_device_states` answered; `device_type` is "wgpu" unless `DefaultDeviceType` says otherwise."""
    kind = DefaultDeviceType.get_device_type() if device_type is None else device_type
    if len(devices) != len(states):
        raise ValueError(f"set_device_states: {len(devices)} devices and {len(states)} states")
    for device, state in zip(devices, states):
        _generator(device, kind).set_state(state)


def _generator(index, kind="wgpu"):
    return rtorch._C._generator_of(rtorch.device(kind, index))


class _Random:
    """The random state of now, the CPU's and that of the arguments' devices, to be used again later."""

    def __init__(self, preserve, args):
        self.state = rtorch.get_rng_state() if preserve else None
        self.devices = get_device_states(*args) if preserve else ([], [])

    @contextlib.contextmanager
    def again(self):
        if self.state is None:
            yield
            return
        devices, states = self.devices
        now, others = rtorch.get_rng_state(), [_generator(d).get_state() for d in devices]
        rtorch.set_rng_state(self.state)
        set_device_states(devices, states, device_type="wgpu")
        try:
            yield
        finally:
            rtorch.set_rng_state(now)
            set_device_states(devices, others, device_type="wgpu")


class CheckpointFunction(rtorch.autograd.Function):
    """The reentrant form: backward runs the function again under a graph of its own, and that graph's backward."""

    @staticmethod
    def forward(ctx, run_function, preserve_rng_state, *args):
        ctx.run_function, ctx.random = run_function, _Random(preserve_rng_state, args)
        ctx.args = tuple(None if isinstance(a, rtorch.Tensor) else a for a in args)
        ctx.places = [i for i, a in enumerate(args) if isinstance(a, rtorch.Tensor)]
        ctx.save_for_backward(*(args[i] for i in ctx.places))
        return run_function(*args)

    @staticmethod
    def backward(ctx, *grads):
        args = list(ctx.args)
        for i, tensor in zip(ctx.places, ctx.saved_tensors):
            args[i] = tensor
        with ctx.random.again(), rtorch.enable_grad():
            inputs = detach_variable(tuple(args))
            outputs = ctx.run_function(*inputs)
        outputs = (outputs,) if isinstance(outputs, rtorch.Tensor) else outputs
        pairs = [(o, g) for o, g in zip(outputs, grads) if isinstance(o, rtorch.Tensor) and o.requires_grad]
        if not pairs:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
        rtorch.autograd.backward([o for o, _ in pairs], [g for _, g in pairs])
        found = tuple(x.grad if isinstance(x, rtorch.Tensor) else None for x in inputs)
        return (None, None, *found)


class GraphExecGroup:
    """Inside, calls of backward that go through parts of one graph: a checkpointed function runs again at most once for
    all of them. (rtorch keeps what a second run computed as long as the graph, so that this holds outside, too.)"""

    _current = None

    def __enter__(self):
        if GraphExecGroup._current is not None:
            raise RuntimeError("GraphExecGroup contexts cannot be nested.")
        GraphExecGroup._current = self
        return self

    def __exit__(self, *exc):
        GraphExecGroup._current = None


class _Frame:
    """One call of a checkpointed function: what it saved, by number, and how to compute that again."""

    def __init__(self, again, check, early_stop):
        self.again, self.check, self.early_stop = again, check, early_stop
        self.first = []
        self.values = None
        self.heard = None

    def pack(self, tensor):
        self.first.append((tuple(tensor.shape), tensor.dtype, tensor.device))
        if self.heard is not None:
            self.heard.append(tensor)
        return len(self.first) - 1

    def listen(self, on=True):
        """From now on the tensors themselves are kept in the list that this answers, too."""
        self.heard = [] if on else None
        return self.heard

    def unpack(self, number):
        if self.values is None:
            self.values = self.recompute()
        # freed with the frame, which the graph's nodes hold until backward releases them
        return self.values[number]

    def found(self, tensor):
        """The second run saves a tensor."""
        self.values_now[len(self.values_now)] = tensor.detach()
        if self.early_stop and len(self.values_now) == len(self.first):
            raise _Enough
        return tensor

    def recompute(self):
        self.values_now = {}
        with contextlib.suppress(_Enough), saved_tensors_hooks(self.found, lambda t: t), rtorch.enable_grad():
            self.again()
        values, self.values_now = self.values_now, None
        self.compare(values)
        return values

    def compare(self, found):
        if len(found) != len(self.first):
            raise CheckpointError(
                "rtorch.utils.checkpoint: A different number of tensors was saved during the original forward and "
                f"recomputation.\nNumber of tensors saved during forward: {len(self.first)}\nNumber of tensors saved "
                f"during recomputation: {len(found)}."
            )
        if not self.check:
            return
        for number, before in enumerate(self.first):
            now = (tuple(found[number].shape), found[number].dtype, found[number].device)
            if now != before:
                raise CheckpointError(
                    "rtorch.utils.checkpoint: Recomputed values for the following tensors have different metadata than "
                    f"during the forward pass.\ntensor at position {number}:\nsaved metadata: {before}\nrecomputed "
                    f"metadata: {now}"
                )


def _without_reentrance(function, args, kwargs, preserve_rng_state, context_fn, check, early_stop):
    random = _Random(preserve_rng_state, (*args, *kwargs.values()))
    first, second = context_fn()

    def again():
        with random.again(), second:
            function(*args, **kwargs)

    frame = _Frame(again, check, early_stop)
    for context in (first, second):
        if hasattr(type(context), "frame"):
            context.frame = frame
    with first, saved_tensors_hooks(frame.pack, frame.unpack):
        return function(*args, **kwargs)


def checkpoint(
    function,
    *args,
    use_reentrant=None,
    context_fn=noop_context_fn,
    determinism_check="default",
    debug=False,
    early_stop=True,
    **kwargs,
):
    """`function(*args, **kwargs)`, whose intermediate values are not kept for backward but computed again there.

    use_reentrant: backward inside backward (True), or hooks on what is saved (False), which allows keywords, `grad`,
    higher derivatives and graphs inside. context_fn gives contexts for the first and the second run; determinism_check
    "default" compares shapes, dtypes and devices of both, "none" does not; early_stop ends the second run when it has
    what backward needs. preserve_rng_state (keyword, True): both draw the same random numbers.

    >>> import rtorch
    >>> from rtorch.utils.checkpoint import checkpoint
    >>> x = rtorch.tensor([1.0, 2.0], requires_grad=True)
    >>> checkpoint(lambda x: (x * x).exp().sum(), x, use_reentrant=False).backward()
    >>> x.grad
    tensor([  5.4366, 218.3926])
    """
    if use_reentrant is None:
        warnings.warn(
            "rtorch.utils.checkpoint: the use_reentrant parameter should be passed explicitly. use_reentrant=False is "
            "recommended, but if you need to preserve the current default behavior, you can pass use_reentrant=True.",
            stacklevel=2,
        )
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if not use_reentrant:
        if determinism_check not in ("default", "none"):
            raise ValueError(f"determinism_check should be one of ['default', 'none'], but got {determinism_check}")
        check = determinism_check == "default"
        return _without_reentrance(function, args, kwargs, preserve, context_fn, check, early_stop and _early_stop)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    if context_fn is not noop_context_fn or debug or _debug:
        raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
    if rtorch.is_grad_enabled() and not any(isinstance(a, rtorch.Tensor) and a.requires_grad for a in args):
        warnings.warn("None of the inputs have requires_grad=True. Gradients will be None", stacklevel=2)
    return CheckpointFunction.apply(function, preserve, *args)


def checkpoint_sequential(functions, segments, input, use_reentrant=None, **kwargs):
    """Modules or functions in a row, in `segments` parts of which all but the last are checkpointed."""
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    functions = list(functions.children()) if isinstance(functions, rtorch.nn.Sequential) else list(functions)

    def part(start, end):
        def run(value):
            for f in functions[start:end]:
                value = f(value)
            return value

        return run

    size, start = len(functions) // segments, 0
    if size == 0 and segments > 1:
        raise ValueError(f"checkpoint_sequential: {len(functions)} functions do not make {segments} segments")
    for _ in range(segments - 1):
        input = checkpoint(part(start, start + size), input, use_reentrant=use_reentrant, preserve_rng_state=preserve)
        start += size
    return part(start, len(functions))(input)
