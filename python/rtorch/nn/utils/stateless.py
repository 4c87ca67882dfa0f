"""Calling a module with other parameters and buffers than its own, which stay as they are."""

__all__ = ["functional_call"]


def _tied_names(module):
    """For every name the names of the same tensor, itself included."""
    by_tensor = {}
    for named in (module.named_parameters, module.named_buffers):
        for name, tensor in named(remove_duplicate=False):
            by_tensor.setdefault(id(tensor), []).append(name)
    return {name: names for names in by_tensor.values() for name in names}


def _with_tied(module, replacements):
    """The replacements, those of a tied tensor under all its names."""
    tied = _tied_names(module)
    result = {}
    for name, value in replacements.items():
        for alias in tied.get(name, (name,)):
            if alias in replacements and replacements[alias] is not value:
                raise ValueError(
                    f"functional_call got multiple values for keys {sorted(tied[name])}, which are tied. "
                    "Consider using tie_weights=False"
                )
            result[alias] = value
    return result


class _Swapped:
    """Holds other tensors in the module's dictionaries for the time of the call."""

    def __init__(self, module, tensors):
        self.module, self.tensors, self.kept = module, tensors, []

    def __enter__(self):
        for path, value in self.tensors.items():
            owner_path, _, name = path.rpartition(".")
            owner = self.module.get_submodule(owner_path)
            for place in (owner._parameters, owner._buffers):
                if name in place:
                    self.kept.append((place, name, place[name]))
                    place[name] = value
                    break
            else:  # as in PyTorch, a name that the module has not is an attribute for the time of the call
                attributes = owner.__dict__
                self.kept.append((attributes, name, attributes.get(name, self)))
                attributes[name] = value

    def __exit__(self, *exc):
        for place, name, value in reversed(self.kept):
            if value is self:
                del place[name]
            else:
                place[name] = value
        self.kept.clear()


def functional_call(module, parameters_and_buffers, args=None, kwargs=None, *, tie_weights=True, strict=False):
    """`module(*args, **kwargs)` with the named tensors in place of the module's own.

    parameters_and_buffers: a dict, or several that are joined. tie_weights: a replaced tensor is replaced under all
    its names. strict: every parameter and buffer must be given, and nothing else; without it, other names are
    attributes for the time of the call.

    >>> import rtorch
    >>> m = rtorch.nn.Linear(1, 1)
    >>> new = {"weight": rtorch.tensor([[2.0]]), "bias": rtorch.tensor([1.0])}
    >>> rtorch.nn.utils.stateless.functional_call(m, new, rtorch.tensor([3.0]))
    tensor([7.])
    """
    if isinstance(parameters_and_buffers, (list, tuple)):
        names = [name for part in parameters_and_buffers for name in part]
        repeated = sorted({n for n in names if names.count(n) > 1})
        if repeated:
            raise ValueError(f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous")
        parameters_and_buffers = {k: v for part in parameters_and_buffers for k, v in part.items()}
    tensors = _with_tied(module, parameters_and_buffers) if tie_weights else dict(parameters_and_buffers)
    if strict:
        own = {n for named in (module.named_parameters, module.named_buffers) for n, _ in named(remove_duplicate=False)}
        found = [("Unexpected", tensors.keys() - own), ("Missing", own - tensors.keys())]
        lines = [f"\t{kind} key(s): {', '.join(map(repr, sorted(keys)))}." for kind, keys in found if keys]
        if lines:
            raise RuntimeError("\n".join([f"Error(s) in reparametrizing for {module._get_name()}:", *lines]))
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with _Swapped(module, tensors):
        return module(*args, **(kwargs or {}))
