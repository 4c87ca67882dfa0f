"""Pruning: parts of a tensor held at zero by a mask (`name_orig`, `name_mask`), computed before every forward."""

import rtorch

__all__ = [
    "BasePruningMethod",
    "CustomFromMask",
    "Identity",
    "L1Unstructured",
    "LnStructured",
    "PruningContainer",
    "RandomStructured",
    "RandomUnstructured",
    "custom_from_mask",
    "global_unstructured",
    "identity",
    "is_pruned",
    "l1_unstructured",
    "ln_structured",
    "random_structured",
    "random_unstructured",
    "remove",
]


def _check_amount(amount):
    if isinstance(amount, bool) or not isinstance(amount, (int, float)):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    if (isinstance(amount, int) and amount < 0) or (isinstance(amount, float) and not 0.0 <= amount <= 1.0):
        raise ValueError(f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer")


def _count(amount, size):
    """How many of `size` units `amount` (a number or a fraction) means."""
    if isinstance(amount, int):
        if amount > size:
            raise ValueError(f"amount={amount} should be smaller than the number of parameters to prune={size}")
        return amount
    return round(amount * size)


class BasePruningMethod:
    """Base of the methods, which compute masks; as a pre-forward hook it applies the module's mask.

    Subclasses define PRUNING_TYPE ("unstructured", "structured" or "global") and `compute_mask(t, default_mask)`.
    """

    PRUNING_TYPE = "unstructured"
    _tensor_name: str

    def __call__(self, module, inputs):
        setattr(module, self._tensor_name, self.apply_mask(module))

    def compute_mask(self, t, default_mask):
        """1 where `t` stays, 0 where it goes; what `default_mask` has taken away stays away."""
        raise NotImplementedError(f"{type(self).__name__} defines no compute_mask")

    def apply_mask(self, module):
        """The masked tensor."""
        original = getattr(module, self._tensor_name + "_orig")
        return getattr(module, self._tensor_name + "_mask").to(original.dtype) * original

    @classmethod
    def apply(cls, module, name, *args, importance_scores=None, **kwargs):
        """Prunes `module.name` by this method, on top of earlier ones; returns the method that is now the hook."""
        method = cls(*args, **kwargs)
        method._tensor_name = name
        earlier = _hook_of(module, name)
        present = getattr(module, name)  # masked already where an earlier method was at work: what is zero goes first
        scores = present if importance_scores is None else importance_scores
        if scores.shape != present.shape:
            raise AssertionError("importance_scores should have the same shape as parameter")
        if earlier is None:
            default = rtorch.ones_like(present)
            module.register_parameter(name + "_orig", module._parameters.pop(name))
        else:
            key, old = earlier
            del module._forward_pre_hooks[key]
            default = getattr(module, name + "_mask").detach().clone()
            container = old if isinstance(old, PruningContainer) else PruningContainer(old)
            container.add_pruning_method(method)
            method = container
        with rtorch.no_grad():
            mask = method.compute_mask(scores.detach(), default_mask=default)
        module.register_buffer(name + "_mask", mask)
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method

    def prune(self, t, default_mask=None, importance_scores=None):
        """The pruned tensor, without any module."""
        scores = t if importance_scores is None else importance_scores
        default = rtorch.ones_like(t) if default_mask is None else default_mask
        return t * self.compute_mask(scores, default_mask=default)

    def remove(self, module):
        """Makes the masked tensor the parameter."""
        name = self._tensor_name
        if _hook_of(module, name) is None:
            raise AssertionError(f"Module {module} has to be pruned before pruning can be removed")
        weight = self.apply_mask(module)
        if hasattr(module, name):
            delattr(module, name)
        original = module._parameters.pop(name + "_orig")
        original.data = weight.data
        del module._buffers[name + "_mask"]
        setattr(module, name, original)


def _hook_of(module, name):
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            return key, hook
    return None


class PruningContainer(BasePruningMethod):
    """Several methods one after the other; each sees only what the earlier ones have left."""

    def __init__(self, *args):
        self._pruning_methods = ()
        for method in args:
            self._tensor_name = method._tensor_name
            self.add_pruning_method(method)

    def add_pruning_method(self, method):
        """One more method, for the same tensor."""
        if not isinstance(method, BasePruningMethod) and method is not None:
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if method is not None and self._tensor_name != method._tensor_name:
            raise ValueError(
                "Can only add pruning methods acting on the parameter named "
                f"'{self._tensor_name}' to PruningContainer {self}. Found '{method._tensor_name}'"
            )
        self._pruning_methods += (method,)

    def __len__(self):
        return len(self._pruning_methods)

    def __iter__(self):
        return iter(self._pruning_methods)

    def __getitem__(self, index):
        return self._pruning_methods[index]

    def compute_mask(self, t, default_mask):
        method, mask = self._pruning_methods[-1], default_mask
        if method.PRUNING_TYPE == "structured":
            # Only the channels that are still there take part.
            others = [d for d in range(t.dim()) if d != method.dim % t.dim()]
            kept = mask.sum(others) != 0
            rows = kept.nonzero().squeeze(-1)
            part = method.compute_mask(t.index_select(method.dim, rows), mask.index_select(method.dim, rows))
            return mask.index_copy(method.dim, rows, part.to(mask.dtype))
        kept = (mask == 1).reshape(-1).nonzero().squeeze(-1)
        if method.PRUNING_TYPE == "global":
            kept = rtorch.arange(t.numel(), device=t.device)
        part = method.compute_mask(t.reshape(-1)[kept], mask.reshape(-1)[kept])
        return mask.reshape(-1).index_copy(0, kept, part.to(mask.dtype)).reshape(mask.shape)


class Identity(BasePruningMethod):
    """Prunes nothing, but puts the mask in place."""

    def compute_mask(self, t, default_mask):
        return default_mask


class _ByAmount(BasePruningMethod):
    def __init__(self, amount):
        _check_amount(amount)
        self.amount = amount


class RandomUnstructured(_ByAmount):
    """Prunes elements at random."""

    def compute_mask(self, t, default_mask):
        mask = default_mask.clone()
        count = _count(self.amount, t.numel())
        if count:
            drawn = rtorch.rand_like(t).reshape(-1).topk(count).indices
            mask.view(-1)[drawn] = 0
        return mask


class L1Unstructured(_ByAmount):
    """Prunes the elements of smallest magnitude."""

    def compute_mask(self, t, default_mask):
        mask = default_mask.clone()
        count = _count(self.amount, t.numel())
        if count:
            smallest = t.abs().reshape(-1).topk(count, largest=False).indices
            mask.view(-1)[smallest] = 0
        return mask


class _Structured(_ByAmount):
    """Prunes whole channels along `dim`: those that `_chosen` names."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount, dim=-1):
        super().__init__(amount)
        self.dim = dim

    def compute_mask(self, t, default_mask):
        if t.dim() <= 1:
            raise ValueError(
                "Structured pruning can only be applied to multidimensional tensors. "
                f"Found tensor of shape {t.shape} with {t.dim()} dims."
            )
        if not -t.dim() <= self.dim < t.dim():
            raise IndexError(f"Invalid index {self.dim} for tensor of size {t.shape}")
        count = _count(self.amount, t.size(self.dim))
        if not count:
            return default_mask
        keep = rtorch.ones(t.size(self.dim), dtype=t.dtype, device=t.device)
        keep[self._chosen(t, count)] = 0
        shape = [1] * t.dim()
        shape[self.dim] = -1
        return default_mask * keep.reshape(shape)


class RandomStructured(_Structured):
    """Prunes channels at random."""

    def _chosen(self, t, count):
        return rtorch.rand(t.size(self.dim)).topk(count, largest=False).indices.to(t.device)


class LnStructured(_Structured):
    """Prunes the channels of smallest Ln norm."""

    def __init__(self, amount, n, dim=-1):
        super().__init__(amount, dim)
        self.n = n

    def _chosen(self, t, count):
        others = [d for d in range(t.dim()) if d != self.dim % t.dim()]
        return rtorch.linalg.vector_norm(t, _order(self.n), others).topk(count, largest=False).indices


def _order(n):
    return 2 if n == "fro" else float(n)


class CustomFromMask(BasePruningMethod):
    """Prunes by a mask of the caller's."""

    PRUNING_TYPE = "global"

    def __init__(self, mask):
        self.mask = mask

    def compute_mask(self, t, default_mask):
        if default_mask.shape != self.mask.shape:
            return default_mask * self.mask.reshape(default_mask.shape).to(default_mask.dtype)
        return default_mask * self.mask.to(dtype=default_mask.dtype)


def identity(module, name):
    """Puts a mask of ones in place; returns the module, as all of these functions do."""
    Identity.apply(module, name)
    return module


def random_unstructured(module, name, amount):
    """Prunes `amount` (a number or a fraction) of the elements at random."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module, name, amount, importance_scores=None):
    """Prunes the elements of smallest magnitude.

    >>> import rtorch
    >>> m = rtorch.nn.utils.prune.l1_unstructured(rtorch.nn.Linear(4, 1), "weight", amount=2)
    >>> int((m.weight == 0).sum())
    2
    """
    L1Unstructured.apply(module, name, amount=amount, importance_scores=importance_scores)
    return module


def random_structured(module, name, amount, dim):
    """Prunes channels along `dim` at random."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(module, name, amount, n, dim, importance_scores=None):
    """Prunes the channels along `dim` of smallest Ln norm."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module, name, mask):
    """Prunes by a given mask."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(parameters, pruning_method, importance_scores=None, **kwargs):
    """Prunes (module, name) pairs together, as if they were one vector."""
    parameters = list(parameters)
    given = importance_scores or {}
    scores, masks = [], []
    for module, name in parameters:
        tensor = getattr(module, name)
        scores.append(given.get((module, name), tensor).detach().reshape(-1))
        masks.append(getattr(module, name + "_mask", rtorch.ones_like(tensor)).reshape(-1))
    method = pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            f'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. Found method {pruning_method} of '
            f"type {method.PRUNING_TYPE}"
        )
    container = PruningContainer()
    container._tensor_name = method._tensor_name = "temp"
    container.add_pruning_method(method)
    final, at = container.compute_mask(rtorch.cat(scores), rtorch.cat(masks)), 0
    for module, name in parameters:
        size = getattr(module, name).numel()
        custom_from_mask(module, name, mask=final[at : at + size].reshape(getattr(module, name).shape))
        at += size


def remove(module, name):
    """Makes the pruned tensor an ordinary parameter."""
    found = _hook_of(module, name)
    if found is None:
        raise ValueError(f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed")
    key, method = found
    method.remove(module)
    del module._forward_pre_hooks[key]
    return module


def is_pruned(module):
    """Whether the module or one below it has a pruned tensor."""
    return any(isinstance(h, BasePruningMethod) for m in module.modules() for h in m._forward_pre_hooks.values())
