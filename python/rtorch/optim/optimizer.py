"""`Optimizer`, the base of all of them, and `_PerParameter`, the base of those that update parameter by parameter.

The rules of the single algorithms are in their own files; schedules of the learning rate in lr_scheduler.py.
"""

import functools
from collections import OrderedDict, defaultdict

import rtorch
from rtorch import _C
from rtorch.utils.hooks import RemovableHandle

__all__ = ["Optimizer", "register_optimizer_step_post_hook", "register_optimizer_step_pre_hook"]

_Tensor = _C.Tensor
_global_pre_hooks = OrderedDict()
_global_post_hooks = OrderedDict()


class _Required:
    """The default of an option that has none."""

    def __repr__(self):
        return "<required parameter>"


required = _Required()


def _add_hook(hooks, hook, prepend=False):
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def register_optimizer_step_pre_hook(hook):
    """Runs `hook(optimizer, args, kwargs)` before the step of every optimizer."""
    return _add_hook(_global_pre_hooks, hook)


def register_optimizer_step_post_hook(hook):
    """Runs `hook(optimizer, args, kwargs)` after the step of every optimizer."""
    return _add_hook(_global_post_hooks, hook)


def _hooked(step):
    """`step` with the step hooks around it; without hooks it costs one test."""

    @functools.wraps(step)
    def wrapper(self, *args, **kwargs):
        self._opt_called = True  # schedulers warn where they step first
        pre, post = self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks
        if not (pre or post or _global_pre_hooks or _global_post_hooks):
            return step(self, *args, **kwargs)
        args = (self, *args)  # hooks see the optimizer among the arguments, too
        for hook in (*_global_pre_hooks.values(), *pre.values()):
            result = hook(self, args, kwargs)
            if result is not None:
                if not (isinstance(result, tuple) and len(result) == 2):
                    raise RuntimeError(
                        f"{step} must return None or a tuple of (new_args, new_kwargs), but got {result}."
                    )
                args, kwargs = result
        out = step(*args, **kwargs)
        for hook in (*post.values(), *_global_post_hooks.values()):
            hook(self, args, kwargs)
        return out

    wrapper.hooked = True
    return wrapper


class Optimizer:
    """Base of all optimizers: parameter groups with their options, state per parameter, hooks.

    params: an iterable of tensors, of (name, tensor) pairs, or of dicts with "params" and options of the group.
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        step = cls.__dict__.get("step")
        if step is not None and not getattr(step, "hooked", False):
            cls.step = _hooked(step)

    def __init__(self, params, defaults):
        self.defaults = defaults
        self._make_hooks()
        if isinstance(params, _Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                + rtorch.typename(params)
            )
        self.state = defaultdict(dict)
        self.param_groups = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def _make_hooks(self):
        for name in (
            "_optimizer_step_pre_hooks",
            "_optimizer_step_post_hooks",
            "_optimizer_state_dict_pre_hooks",
            "_optimizer_state_dict_post_hooks",
            "_optimizer_load_state_dict_pre_hooks",
            "_optimizer_load_state_dict_post_hooks",
        ):
            self.__dict__.setdefault(name, OrderedDict())

    def __getstate__(self):
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._make_hooks()
        self.defaults.setdefault("differentiable", False)

    def __repr__(self):
        text = type(self).__name__ + " ("
        for i, group in enumerate(self.param_groups):
            text += f"\nParameter Group {i}\n"
            for key in sorted(group):
                if key != "params":
                    text += f"    {key}: {group[key]}\n"
        return text + ")"

    # ---- hooks

    def register_step_pre_hook(self, hook):
        """Runs `hook(optimizer, args, kwargs)` before `step`, args[0] being the optimizer again; it may return new
        (args, kwargs)."""
        return _add_hook(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook):
        """Runs `hook(optimizer, args, kwargs)` after `step`."""
        return _add_hook(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook, prepend=False):
        """Runs `hook(optimizer)` before `state_dict`."""
        return _add_hook(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook, prepend=False):
        """Runs `hook(optimizer, state_dict)` after `state_dict`; what it returns replaces the result."""
        return _add_hook(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook, prepend=False):
        """Runs `hook(optimizer, state_dict)` before `load_state_dict`; what it returns is loaded instead."""
        return _add_hook(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook, prepend=False):
        """Runs `hook(optimizer)` after `load_state_dict`."""
        return _add_hook(self._optimizer_load_state_dict_post_hooks, hook, prepend)

    # ---- groups

    def _check_param(self, param):
        if not isinstance(param, _Tensor):
            raise TypeError("optimizer can only optimize Tensors, but one of the params is " + rtorch.typename(param))
        if not self.defaults.get("differentiable") and not (param.is_leaf or param.retains_grad):
            raise ValueError("can't optimize a non-leaf Tensor")

    def _listed(self, group):
        """The group's parameters as a list, their names (if given) put into the group."""
        params = group["params"]
        if isinstance(params, _Tensor):
            params = [params]
        elif isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
                "will change between runs. Please use a list instead."
            )
        params = list(params)
        named = [isinstance(p, tuple) for p in params]
        if any(named):
            if not all(named):
                raise ValueError("all optimizer params should be with/without names. Some param names are missing")
            group["param_names"] = [name for name, _ in params]
            params = [p for _, p in params]
        return params

    def add_param_group(self, param_group):
        """Adds a group: a dict with "params" and any options that differ from the defaults."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"] = self._listed(param_group)
        for param in params:
            self._check_param(param)
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            param_group.setdefault(name, default)
        if len({id(p) for p in params}) != len(params):
            import warnings

            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error; "
                "see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )
        known = {id(p) for group in self.param_groups for p in group["params"]}
        if self.param_groups and ("param_names" in param_group) != ("param_names" in self.param_groups[0]):
            with_names = "with" if "param_names" in self.param_groups[0] else "without"
            raise ValueError(
                f"all optimizer param groups should be with/without names. cannot add param group to an optimizer "
                f"{with_names} names"
            )
        if any(id(p) in known for p in params):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)

    # ---- saving and loading

    # Whether a parameter's state has the tensor "step": what is loaded must bring it.
    _counts_steps = False

    def state_dict(self):
        """{"state": state by parameter number, "param_groups": groups with numbers for parameters}."""
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        numbers = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                numbers.setdefault(id(p), len(numbers))
            packed = {k: v for k, v in group.items() if k != "params"}
            packed["params"] = [numbers[id(p)] for p in group["params"]]
            groups.append(packed)
        state = {numbers[id(k)] if isinstance(k, _Tensor) else k: v for k, v in self.state.items()}
        result = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            replaced = hook(self, result)
            if replaced is not None:
                result = replaced
        return result

    def _fitted(self, value, param, group, key=None):
        """A loaded state value in the parameter's dtype and on its device; step counters keep their own."""
        if isinstance(value, _Tensor):
            if key == "step":
                if group.get("capturable") or group.get("fused"):
                    return value.to(dtype=rtorch.float32, device=param.device)
                return value
            if param.is_floating_point():
                return value.to(dtype=param.dtype, device=param.device)
            return value.to(device=param.device)
        if isinstance(value, dict):
            return {k: self._fitted(v, param, group, k) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self._fitted(v, param, group) for v in value)
        return value

    def load_state_dict(self, state_dict):
        """Takes over groups' options and state from what `state_dict` gave; parameters match by position."""
        import copy

        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            replaced = hook(self, state_dict)
            if replaced is not None:
                state_dict = replaced
        groups, saved_groups = self.param_groups, copy.deepcopy(state_dict["param_groups"])
        if len(groups) != len(saved_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(g["params"]) != len(s["params"]) for g, s in zip(groups, saved_groups)):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
            )
        owners = {}
        for group, saved in zip(groups, saved_groups):
            owners.update((number, (p, group)) for number, p in zip(saved["params"], group["params"]))
        state = defaultdict(dict)
        for key, value in state_dict["state"].items():
            if value and self._counts_steps and not isinstance(value["step"], _Tensor):
                value = {**value, "step": rtorch.tensor(float(value["step"]))}  # a number in old checkpoints
            if key in owners:
                param, group = owners[key]
                state[param] = self._fitted(value, param, group)
            else:
                state[key] = value
        for group, saved in zip(groups, saved_groups):
            saved["params"] = group["params"]
            if "param_names" in group and "param_names" not in saved:
                saved["param_names"] = group["param_names"]
        self.__setstate__({"state": state, "param_groups": saved_groups})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    # ---- working

    def zero_grad(self, set_to_none=True):
        """Drops the gradients of all parameters, or zeroes them in place."""
        for group in self.param_groups:
            _C._zero_grads(group["params"], bool(set_to_none))

    def step(self, closure=None):
        """One update; `closure` evaluates the model again and returns the loss."""
        raise NotImplementedError(f"{type(self).__name__} defines no step")


def check_options(**options):
    """Raises PyTorch's ValueError for the first of lr, eps, betas, ... that is out of range."""
    lr = options.get("lr")
    if isinstance(lr, _Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    for name, value in options.items():
        if name == "betas":
            for i, beta in enumerate((value[0], value[1])):
                if not 0.0 <= beta < 1.0:
                    raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
        elif not 0.0 <= value:
            label = {"lr": "learning rate", "eps": "epsilon value"}.get(name, f"{name} value")
            raise ValueError(f"Invalid {label}: {value}")


def check_implementation(defaults):
    """PyTorch's refusals among `foreach`, `fused` and `differentiable`."""
    if defaults.get("fused"):
        if defaults["differentiable"]:
            raise RuntimeError("`fused` does not support `differentiable`")
        if defaults["foreach"]:
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def number(value):
    """An option that may be a one-element tensor, as a float."""
    return value.item() if isinstance(value, _Tensor) else value


def new_step():
    """A step counter: PyTorch keeps a 0-d float tensor on the CPU."""
    wide = rtorch.get_default_dtype() == rtorch.float64
    return rtorch.tensor(0.0, dtype=rtorch.float64 if wide else rtorch.float32, device="cpu")


def _real(value):
    return rtorch.view_as_real(value) if isinstance(value, _Tensor) and value.is_complex() else value


class _PerParameter(Optimizer):
    """A step that goes through the parameters with a gradient and calls `_update` for each.

    The subclass gives `_init_state(p, group)` (a dict) and `_update(p, grad, state, group)`, which works in place and
    is the meaning of the step; and, if it takes sparse gradients, `_update_sparse`. Complex parameters are updated as
    pairs of real numbers. Where the core has the whole step as one pass over the list, the subclass also gives
    `_fused`; `foreach=False` asks for `_update`.
    """

    _sparse_message = "{} does not support sparse gradients"
    # (self, group, params, grads, states) -> whether it was done; False if it cannot take these tensors.
    _fused = None

    def step(self, closure=None):
        """One update; returns what `closure` returned."""
        loss = None
        if closure is not None:
            with rtorch.enable_grad():
                loss = closure()
        enabled = _C.is_grad_enabled()
        _C._set_grad_enabled(bool(self.defaults.get("differentiable")) and enabled)
        try:
            for group in self.param_groups:
                self._step_group(group)
        finally:
            _C._set_grad_enabled(enabled)
        return loss

    def _step_group(self, group):
        params, grads = _C._with_grads(group["params"])
        if not params:
            return
        states = self._states(params, group)
        fuse = self._fused
        if fuse is not None and not group["differentiable"] and group["foreach"] is not False:
            try:
                if fuse(group, params, grads, states):
                    return
            except RuntimeError:
                # Sparse gradients are looked for only here: a look at each costs a part of the step.
                if not any(grad.is_sparse for grad in grads):
                    raise
        maximize = group.get("maximize", False)
        for p, grad, state in zip(params, grads, states):
            update = self._update_complex if p.is_complex() else self._update
            if grad.is_sparse:
                update = self._update_sparse
            update(p, -grad if maximize else grad, state, group)

    def _step_of_table(self, formula, names, numbers, group, params, grads, states):
        """A fused step of the core's table: the states of these names, `numbers` the weight decay and what the formula
        takes, once for all parameters or for each."""
        listed = [s[name] for name in names for s in states]
        steps = [s["step"] for s in states]
        return _C._fused_step_(formula, params, grads, listed, steps, numbers, group["maximize"])

    def _states(self, params, group):
        """The state of each parameter, made where there is none."""
        states = [self.state[p] for p in params]
        for p, state in zip(params, states):
            if not state:
                state.update(self._init_state(p, group))
        return states

    def _update_complex(self, p, grad, state, group):
        state = {} if state is None else state
        views = {k: _real(v) for k, v in state.items()}
        self._update(_real(p), _real(grad), views, group)
        for key, value in views.items():
            if not isinstance(value, _Tensor):
                state[key] = value
            elif key not in state:  # made by this update
                state[key] = rtorch.view_as_complex(value)

    def _init_state(self, p, group):
        return {}

    def _update(self, p, grad, state, group):
        raise NotImplementedError(f"{type(self).__name__} defines no update")

    def _update_sparse(self, p, grad, state, group):
        raise RuntimeError(self._sparse_message.format(type(self).__name__))


def decayed(p, grad, group):
    """The gradient with weight decay as an L2 penalty."""
    decay = group["weight_decay"]
    return grad.add(p, alpha=decay) if decay else grad
