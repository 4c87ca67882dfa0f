"""Hooks of modules: the global registries, the call path of a hooked module, and the gates for backward hooks.

`Module.__call__` (module.py) goes straight to `forward` while nothing is registered; everything else passes here.
"""

import functools
from collections import OrderedDict

import rtorch
from rtorch.utils.hooks import RemovableHandle

__all__ = [
    "register_module_buffer_registration_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
    "register_module_forward_pre_hook",
    "register_module_forward_hook",
    "register_module_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_full_backward_hook",
]

# Which of the registries below hold anything: the one question that every call of every module asks.
active = set()


class _OnCall(OrderedDict):
    """A registry of hooks that `Module.__call__` must run; it keeps `active` up to date."""

    def __setitem__(self, key, hook):
        super().__setitem__(key, hook)
        active.add(id(self))

    def pop(self, key, *default):
        hook = super().pop(key, *default)
        if not self:
            active.discard(id(self))
        return hook


# Hooks that run for every module.
global_forward_pre_hooks = _OnCall()
global_forward_hooks = _OnCall()
global_forward_hooks_with_kwargs = OrderedDict()
global_forward_hooks_always_called = OrderedDict()
global_backward_pre_hooks = _OnCall()
global_backward_hooks = _OnCall()
global_buffer_registration_hooks = OrderedDict()
global_module_registration_hooks = OrderedDict()
global_parameter_registration_hooks = OrderedDict()


def add(hooks, hook, flags=(), prepend=False):
    """Puts `hook` into `hooks` (and its id into each of `flags`), in front if asked; returns the handle."""
    handle = RemovableHandle(hooks, extra_dict=flags or None)
    hooks[handle.id] = hook
    for flag in flags:
        flag[handle.id] = True
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def register_module_buffer_registration_hook(hook):
    """Runs `hook(module, name, buffer) -> buffer or None` on every `register_buffer`."""
    return add(global_buffer_registration_hooks, hook)


def register_module_module_registration_hook(hook):
    """Runs `hook(module, name, submodule) -> module or None` on every added submodule."""
    return add(global_module_registration_hooks, hook)


def register_module_parameter_registration_hook(hook):
    """Runs `hook(module, name, parameter) -> parameter or None` on every `register_parameter`."""
    return add(global_parameter_registration_hooks, hook)


def register_module_forward_pre_hook(hook):
    """Runs `hook(module, args)` before the forward of every module."""
    return add(global_forward_pre_hooks, hook)


def register_module_forward_hook(hook, *, with_kwargs=False, always_call=False):
    """Runs `hook(module, args, output)` after the forward of every module."""
    flags = []
    if with_kwargs:
        flags.append(global_forward_hooks_with_kwargs)
    if always_call:
        flags.append(global_forward_hooks_always_called)
    return add(global_forward_hooks, hook, flags)


def register_module_full_backward_pre_hook(hook):
    """Runs `hook(module, grad_output)` before the backward of every module."""
    return add(global_backward_pre_hooks, hook)


def register_module_full_backward_hook(hook):
    """Runs `hook(module, grad_input, grad_output)` after the backward of every module."""
    return add(global_backward_hooks, hook)


def register_module_backward_hook(hook):
    """The older name of `register_module_full_backward_hook`; here both mean the same."""
    return add(global_backward_hooks, hook)


class WrappedHook:
    """A hook that also gets its module, as `register_state_dict_pre_hook` of a bound method needs it."""

    def __init__(self, hook, module=None):
        self.hook = hook
        functools.update_wrapper(self, hook)
        self.with_module = module is not None
        if self.with_module:
            import weakref

            self.module = weakref.ref(module)

    def __call__(self, *args, **kwargs):
        if not self.with_module:
            return self.hook(*args, **kwargs)
        module = self.module()
        if module is None:
            raise RuntimeError("You are trying to call the hook of a dead Module!")
        return self.hook(module, *args, **kwargs)

    def __getstate__(self):
        state = {"hook": self.hook, "with_module": self.with_module}
        if self.with_module:
            state["module"] = self.module()
        return state

    def __setstate__(self, state):
        self.__init__(state["hook"], state.get("module"))


@functools.cache
def _gate():
    """The identity in the graph that shows the gradients passing through it to a callback.

    Made on first use: modules without backward hooks never need autograd.Function.
    """

    class ModuleHookGate(rtorch.autograd.Function):
        @staticmethod
        def forward(ctx, callback, *tensors):
            ctx.set_materialize_grads(False)
            ctx.callback = callback
            # An identity in forward; view_as makes each result a tensor of its own.
            return tuple(t.view_as(t) for t in tensors)

        @staticmethod
        def backward(ctx, *grads):
            return (None, *ctx.callback(grads))

    return ModuleHookGate


def _as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


class BackwardHooks:
    """One call of a module with backward hooks: a gate around its inputs, one around its outputs.

    The outer gate sees grad_output (and runs the pre-hooks), the inner one sees grad_input (and runs the hooks).
    """

    def __init__(self, module, hooks, pre_hooks):
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.grad_output = None
        self.input_slots = None  # positions of the tensors among the arguments, if a gate stands there
        self.input_count = 0

    def _pass(self, args, callback):
        slots = [i for i, a in enumerate(args) if isinstance(a, rtorch.Tensor)]
        tensors = [args[i] for i in slots]
        if not (rtorch.is_grad_enabled() and any(t.requires_grad for t in tensors)):
            return args, None
        passed = list(args)
        for i, t in zip(slots, _gate().apply(callback, *tensors)):
            passed[i] = t
        return tuple(passed), slots

    def on_input(self, args):
        args, self.input_slots = self._pass(args, self._input_grads)
        self.input_count = len(args)
        return args

    def on_output(self, output):
        many = isinstance(output, tuple)
        outputs = _as_tuple(output)
        self.output_count = len(outputs)
        self.output_slots = [i for i, a in enumerate(outputs) if isinstance(a, rtorch.Tensor)]
        outputs, _ = self._pass(outputs, self._output_grads)
        return outputs if many else outputs[0]

    def _spread(self, grads, slots, count):
        full = [None] * count
        for i, g in zip(slots, grads):
            full[i] = g
        return tuple(full)

    def _output_grads(self, grads):
        grads = self._spread(grads, self.output_slots, self.output_count)
        for hook in self.pre_hooks:
            replaced = hook(self.module, grads)
            if replaced is not None:
                replaced = _as_tuple(replaced)
                if len(replaced) != len(grads):
                    raise RuntimeError(
                        "Backward pre hook returned an invalid number of grad_output, "
                        f"got {len(replaced)}, but expected {len(grads)}"
                    )
                grads = replaced
        self.grad_output = grads
        if self.input_slots is None:
            # No input takes part in the graph: the hooks are told so at once, and cannot change anything.
            no_grads = (None,) * self.input_count
            for hook in self.hooks:
                replaced = hook(self.module, no_grads, grads)
                if replaced is not None and any(g is not None for g in _as_tuple(replaced)):
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should always return None "
                        "or None for all gradients."
                    )
        return tuple(grads[i] for i in self.output_slots)

    def _input_grads(self, grads):
        grads = self._spread(grads, self.input_slots, self.input_count)
        for hook in self.hooks:
            replaced = hook(self.module, grads, self.grad_output)
            if replaced is not None:
                replaced = _as_tuple(replaced)
                if len(replaced) != len(grads):
                    raise RuntimeError(
                        "Backward hook returned an invalid number of grad_input, "
                        f"got {len(replaced)}, but expected {len(grads)}"
                    )
                grads = replaced
        return tuple(grads[i] for i in self.input_slots)


def _pre_forward(module, args, kwargs):
    for hook_id, hook in (*global_forward_pre_hooks.items(), *module._forward_pre_hooks.items()):
        if hook_id in module._forward_pre_hooks_with_kwargs:
            result = hook(module, args, kwargs)
            if result is not None:
                if not (isinstance(result, tuple) and len(result) == 2):
                    raise RuntimeError(
                        f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {result}."
                    )
                args, kwargs = result
        else:
            result = hook(module, args)
            if result is not None:
                args = _as_tuple(result)
    return args, kwargs


def _post_forward(module, args, kwargs, output, called):
    local = module._forward_hooks_with_kwargs
    for hook_id, hook in (*global_forward_hooks.items(), *module._forward_hooks.items()):
        called.add(hook_id)
        if hook_id in local or hook_id in global_forward_hooks_with_kwargs:
            replaced = hook(module, args, kwargs, output)
        else:
            replaced = hook(module, args, output)
        if replaced is not None:
            output = replaced
    return output


def call_hooked(module, args, kwargs):
    """`module(*args, **kwargs)` with every registered hook."""
    called, output = set(), None
    try:
        backward = None
        hooks = [*global_backward_hooks.values(), *module._backward_hooks.values()]
        pre_hooks = [*global_backward_pre_hooks.values(), *module._backward_pre_hooks.values()]
        args, kwargs = _pre_forward(module, args, kwargs)
        if hooks or pre_hooks:
            backward = BackwardHooks(module, hooks, pre_hooks)
            args = backward.on_input(args)
        output = module.forward(*args, **kwargs)
        output = _post_forward(module, args, kwargs, output, called)
        return output if backward is None else backward.on_output(output)
    except Exception:
        _run_always_called(module, args, kwargs, output, called)
        raise


def _run_always_called(module, args, kwargs, output, called):
    """After an exception: the hooks registered with always_call that have not run, their own errors as warnings."""
    always = {**global_forward_hooks_always_called, **module._forward_hooks_always_called}
    if not always:
        return
    for hook_id, hook in (*global_forward_hooks.items(), *module._forward_hooks.items()):
        if hook_id not in always or hook_id in called:
            continue
        try:
            if hook_id in module._forward_hooks_with_kwargs or hook_id in global_forward_hooks_with_kwargs:
                hook(module, args, kwargs, output)
            else:
                hook(module, args, output)
        except Exception as error:
            import warnings

            warnings.warn(
                f"forward hook with ``always_call=True`` raised an exception that was silenced as another error was "
                f"raised in forward: {error}",
                stacklevel=2,
            )
