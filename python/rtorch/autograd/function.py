"""`autograd.Function`: operations whose gradient is the user's own Python.

This file runs forward, keeps the context and checks what backward returns. Joining the graph is one call into the
core (`_C._record_function`), which makes the node and calls back with the saved tensors and the gradients.
"""

from collections import namedtuple

import rtorch
from rtorch import _C

from . import forward_ad

__all__ = ["Function", "FunctionCtx", "InplaceFunction", "NestedIOFunction", "once_differentiable"]

_Tensor = _C.Tensor
VmapInfo = namedtuple("VmapInfo", ["batch_size", "randomness"])


def _innermost(tensors):
    """The innermost vmap that any of the tensors is a batch of; 0 for none."""
    return max((level for t in tensors if t is not None for level in _C._vmap_levels(t)), default=0)


class FunctionCtx:
    """What forward leaves for backward."""

    _to_save = ()
    _saved = None
    _dirty = ()
    _non_differentiable = ()
    _materialize_grads = True
    needs_input_grad = ()

    def save_for_backward(self, *tensors):
        """Keeps tensors (inputs, outputs or others, or None) for `saved_tensors` in backward."""
        for t in tensors:
            if t is not None and not isinstance(t, _Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument is of type {type(t).__name__}"
                )
        self._to_save = tensors

    def save_for_forward(self, *tensors):
        """Keeps tensors for `jvp`."""
        self.saved_for_forward = tensors

    @property
    def saved_tensors(self):
        """What `save_for_backward` kept, as a tuple."""
        return tuple(self._to_save) if self._saved is None else self._saved

    saved_variables = saved_tensors

    def mark_dirty(self, *args):
        """Says which inputs forward changed in place; they must be among the outputs."""
        self._dirty = args

    def mark_non_differentiable(self, *args):
        """Says which outputs have no gradient."""
        self._non_differentiable = args

    def set_materialize_grads(self, value):
        """Whether backward sees zeros (True, the default) or None for outputs without a gradient."""
        self._materialize_grads = value

    def mark_shared_storage(self, *pairs):
        """Deprecated in PyTorch; views are recognised by themselves."""


def _is_any(tensor, tensors):
    return any(tensor is t for t in tensors)


class _Outputs:
    """Which outputs of forward are differentiable tensors, and what the others look like (not their memory)."""

    def __init__(self, outputs, ctx):
        self.slots, self.meta = [], []
        for i, out in enumerate(outputs):
            if not isinstance(out, _Tensor):
                self.meta.append(None)
                continue
            self.meta.append((tuple(out.shape), out.dtype, out.device))
            floating = out.is_floating_point() or out.is_complex()
            if floating and not _is_any(out, ctx._non_differentiable):
                self.slots.append(i)

    def spread(self, grads, materialize):
        """The gradients of all outputs: those without one get zeros, or None."""
        full = [None] * len(self.meta)
        for i, g in zip(self.slots, grads):
            full[i] = g
        if materialize:
            for i, meta in enumerate(self.meta):
                if full[i] is None and meta is not None:
                    full[i] = rtorch.zeros(meta[0], dtype=meta[1], device=meta[2])
        return full


def _checked_gradients(name, result, inputs):
    """What backward returned as one gradient per input of forward; `inputs` holds shapes, None for non-tensors."""
    grads = list(result) if isinstance(result, (tuple, list)) else [result]
    while len(grads) > len(inputs) and grads[-1] is None:
        grads.pop()
    if len(grads) != len(inputs):
        raise RuntimeError(
            f"function {name} returned an incorrect number of gradients (expected {len(inputs)}, got {len(grads)})"
        )
    for i, (grad, shape) in enumerate(zip(grads, inputs)):
        if grad is None:
            continue
        if not isinstance(grad, _Tensor):
            raise TypeError(f"expected Variable or None (got {type(grad).__name__})")
        if shape is None:
            raise RuntimeError(
                f"function {name} returned a gradient different from None at position {i + 1}, "
                "but the corresponding forward input was not a Variable"
            )
        if tuple(grad.shape) != shape:
            try:
                grads[i] = grad.sum_to_size(shape)
            except RuntimeError:
                raise RuntimeError(
                    f"Function {name} returned an invalid gradient at index {i} - got {list(grad.shape)} but "
                    f"expected shape compatible with {list(shape)}"
                ) from None
    return tuple(grads)


class Function(FunctionCtx):
    """Base of operations with a gradient of their own: static `forward` and `backward`, called by `apply`.

    >>> import rtorch
    >>> class Double(rtorch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         return x * 2
    ...     @staticmethod
    ...     def backward(ctx, grad):
    ...         return grad * 2
    >>> x = rtorch.ones(1, requires_grad=True)
    >>> Double.apply(x).backward()
    >>> x.grad
    tensor([2.])
    """

    generate_vmap_rule = False

    def __call__(self, *args, **kwargs):
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. Please use new-style autograd "
            "function with static forward method."
        )

    @staticmethod
    def forward(*args, **kwargs):
        """`forward(ctx, *args)`, or `forward(*args)` beside a `setup_context`."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Fills `ctx` where `forward` does not take it."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx, *grad_outputs):
        """One gradient (or None) per argument of forward; `vjp` is another name for it."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    vjp = backward

    @staticmethod
    def jvp(ctx, *grad_inputs):
        """The forward-mode derivative."""
        raise NotImplementedError(
            "You must implement the jvp function for custom autograd.Function to use it with forward mode AD."
        )

    @staticmethod
    def vmap(info, in_dims, *args):
        """(outputs, their batch dimensions) for arguments whose batch dimensions (or None) are `in_dims`."""
        raise NotImplementedError(
            "To use autograd.Function with vmap, you must either override the vmap static method or set "
            "generate_vmap_rule=True."
        )

    @classmethod
    def apply(cls, *args, **kwargs):
        """Runs `forward` and records `backward`."""
        if kwargs:
            args = cls._positional(args, kwargs)
        tensors = [a if isinstance(a, _Tensor) else None for a in args]
        if _C._vmap_used() and (level := _innermost(tensors)):
            return cls._apply_batched(level, args)
        if forward_ad._levels:
            pairs = [(None, None) if t is None else forward_ad.unpack_dual(t) for t in tensors]
            if any(tangent is not None for _, tangent in pairs):
                return cls._apply_dual(args, pairs)
        return cls._apply_plain(args, tensors)[0]

    @classmethod
    def _apply_plain(cls, args, tensors):
        """(what forward returned, joined to the graph; the context)."""
        needs = tuple(t is not None and t.requires_grad for t in tensors)
        ctx = cls()
        ctx.needs_input_grad = needs
        enabled = _C.is_grad_enabled()
        _C._set_grad_enabled(False)
        try:
            if cls.setup_context is not Function.setup_context:
                output = cls.forward(*args)
                cls.setup_context(ctx, args, output)
            else:
                output = cls.forward(ctx, *args)
        finally:
            _C._set_grad_enabled(enabled)
        if enabled and any(needs):
            output = cls._record(ctx, tensors, output)
        return output, ctx

    @classmethod
    def _apply_dual(cls, args, pairs):
        """Forward mode: outputs carry what `jvp` answers."""
        args = [a if t is None else t for a, (t, _) in zip(args, pairs)]
        output, ctx = cls._apply_plain(args, [t for t, _ in pairs])
        many = isinstance(output, tuple)
        # there `saved_tensors` are those of `save_for_forward`
        before = ctx._saved
        ctx._saved = getattr(ctx, "saved_for_forward", ctx.saved_tensors)
        try:
            pushed = cls.jvp(ctx, *(tangent for _, tangent in pairs))
        finally:
            ctx._saved = before
        pushed = pushed if many else (pushed,)
        duals = [
            o if t is None or not isinstance(o, _Tensor) else forward_ad.make_dual(o, t)
            for o, t in zip(output if many else (output,), pushed)
        ]
        return tuple(duals) if many else duals[0]

    @classmethod
    def _apply_batched(cls, level, args):
        """Inside vmap: the user's `vmap`, or forward itself, whose operators are batched one by one."""
        if cls.setup_context is Function.setup_context:
            raise RuntimeError(
                "In order to use an autograd.Function with functorch transforms (vmap, grad, jvp, jacrev, ...), it "
                "must override the setup_context staticmethod. For more details, see the documentation of Function."
            )
        custom = cls.vmap is not Function.vmap
        if cls.generate_vmap_rule:
            if custom:
                raise RuntimeError(
                    f"You tried to vmap over {cls.__name__}, but it has both generate_vmap_rule=True and an overriden "
                    "vmap staticmethod. Please set generate_vmap_rule=False or delete the overriden vmap staticmethod."
                )
            return cls._apply_plain(args, [a if isinstance(a, _Tensor) else None for a in args])[0]
        if not custom:
            raise RuntimeError(
                f"You tried to vmap over {cls.__name__}, but it does not have vmap support. Please override and "
                "implement the vmap staticmethod or set generate_vmap_rule=True."
            )
        dims, plain, size = [], [], 0
        for a in args:
            mapped = isinstance(a, _Tensor) and level in _C._vmap_levels(a)
            dims.append(0 if mapped else None)
            plain.append(_C._vmap_unwrap(a, level, 0) if mapped else a)
            size = plain[-1].shape[0] if mapped else size
        output, out_dims = cls.vmap(VmapInfo(size, "error"), tuple(dims), *plain)
        many = isinstance(output, tuple)
        out_dims = out_dims if isinstance(out_dims, tuple) else (out_dims,) * (len(output) if many else 1)
        wrapped = [
            o if d is None else _C._vmap_wrap(o.movedim(d, 0), level)
            for o, d in zip(output if many else (output,), out_dims)
        ]
        return tuple(wrapped) if many else wrapped[0]

    @classmethod
    def _positional(cls, args, kwargs):
        """All arguments in the order of forward's signature."""
        import inspect

        own_context = cls.setup_context is not Function.setup_context
        bound = inspect.signature(cls.forward).bind(*(() if own_context else (None,)), *args, **kwargs)
        bound.apply_defaults()
        return bound.args if own_context else bound.args[1:]

    @classmethod
    def _record(cls, ctx, tensors, output):
        many = isinstance(output, tuple)
        outputs = list(output) if many else [output]
        for t in ctx._dirty:
            if not _is_any(t, outputs):
                raise RuntimeError(
                    "Some elements marked as dirty during the forward method were not returned as output. The inputs "
                    "that are modified inplace must all be outputs of the Function."
                )
        made = _Outputs(outputs, ctx)
        if not made.slots:
            return output
        name = cls.__name__ + "Backward"
        gradient = cls.backward if cls.backward is not Function.backward else cls.vjp
        shapes = [None if t is None else tuple(t.shape) for t in tensors]
        materialize = ctx._materialize_grads

        def backward(saved, grads):
            ctx._saved = tuple(saved)
            try:
                result = gradient(ctx, *made.spread(grads, materialize))
            finally:
                ctx._saved = ()
            return _checked_gradients(name, result, shapes)

        saved, dirty, ctx._to_save, ctx._dirty, ctx._non_differentiable = ctx._to_save, ctx._dirty, (), (), ()
        recorded = _C._record_function(
            name, backward, tensors, [outputs[i] for i in made.slots], list(dirty), list(saved), False
        )
        for i, out in zip(made.slots, recorded):
            outputs[i] = out
        return tuple(outputs) if many else outputs[0]


class _OnceOnly(Function):
    """Puts gradients into the graph that can be used but not differentiated."""

    @staticmethod
    def forward(ctx, *grads):
        return tuple(g.detach() for g in grads)

    @staticmethod
    def backward(ctx, *grads):
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")


def once_differentiable(fn):
    """Decorator of a `backward` that cannot itself be differentiated: a second derivative then raises."""
    import functools

    @functools.wraps(fn)
    def wrapper(ctx, *args):
        with rtorch.no_grad():
            outputs = fn(ctx, *args)
        if not rtorch.is_grad_enabled() or not any(isinstance(a, _Tensor) and a.requires_grad for a in args):
            return outputs
        many = isinstance(outputs, tuple)
        listed = list(outputs) if many else [outputs]
        slots = [i for i, o in enumerate(listed) if isinstance(o, _Tensor)]
        fenced = _OnceOnly.apply(*(listed[i].detach().requires_grad_() for i in slots))
        for i, out in zip(slots, fenced):
            listed[i] = out
        return tuple(listed) if many else listed[0]

    return wrapper


class InplaceFunction(Function):
    """A Function that remembers whether it is to work in place."""

    def __init__(self, inplace=False):
        super().__init__()
        self.inplace = inplace


class NestedIOFunction(Function):
    """Kept for the name: nested inputs belong to the old, non-static functions."""
