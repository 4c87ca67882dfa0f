"""gradcheck and gradgradcheck: analytical gradients against finite differences.

Complex tensors are checked as pairs of real numbers, so that one comparison serves both.
"""

from collections import namedtuple

import rtorch

_How = namedtuple("_How", "eps atol rtol nondet_tol fast backward undefined forward batched batched_forward dtypes")

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """The gradients differ; the message shows both."""


def _as_tuple(value):
    if isinstance(value, rtorch.Tensor):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _is_diff(t):
    return isinstance(t, rtorch.Tensor) and t.requires_grad and (t.is_floating_point() or t.is_complex())


def _check_inputs(inputs, raise_exception):
    found = False
    for i, t in enumerate(inputs):
        if not _is_diff(t):
            continue
        found = True
        if t.dtype not in (rtorch.float64, rtorch.complex128):
            import warnings

            warnings.warn(
                f"Input #{i} requires gradient and is not a double precision floating point or complex. "
                "This check will likely fail if all the inputs are not of double precision floating point or complex. ",
                stacklevel=3,
            )
        if t.numel() and 0 in t.stride() and any(s > 1 and st == 0 for s, st in zip(t.shape, t.stride())):
            raise RuntimeError(
                f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs that are "
                "non-overlapping to be able to compute the numerical gradients correctly."
            )
    if not found:
        if raise_exception:
            raise ValueError(
                "gradcheck expects at least one input tensor to require gradient, but none of the them have "
                "requires_grad=True."
            )
        return False
    return True


def _real(t):
    return rtorch.view_as_real(t.resolve_conj()) if t.is_complex() else t


def _outputs(func, inputs):
    """The differentiable outputs as real tensors."""
    found = _as_tuple(func(*inputs))
    return [_real(o) for o in found if isinstance(o, rtorch.Tensor) and (o.is_floating_point() or o.is_complex())]


def _numerical(func, inputs, index, eps):
    """For every output, the matrix d out / d inputs[index] (input elements x output elements)."""
    x = inputs[index]
    rows = []
    with rtorch.no_grad():
        flat = _real(x.detach())
        for at in _all_indices(flat.shape):
            kept = flat[at].item()
            sides = []
            for value in (kept + eps, kept - eps):
                flat[at] = value
                sides.append([o.detach().clone().reshape(-1) for o in _outputs(func, inputs)])
            flat[at] = kept
            rows.append([(a - b) / (2 * eps) for a, b in zip(*sides)])
    return [rtorch.stack(column) for column in zip(*rows)] if rows else []


def _all_indices(shape):
    import itertools

    return itertools.product(*(range(s) for s in shape))


def _analytical(func, inputs, diff, dtypes=False):
    """For every output and differentiable input, the matrix d out / d in from vector-Jacobian products."""
    result = []
    for out in _outputs(func, inputs):
        columns = [[] for _ in diff]
        for at in _all_indices(out.shape):
            seed = rtorch.zeros_like(out)
            seed[at] = 1.0
            if out.requires_grad:
                grads = rtorch.autograd.grad(out, [inputs[i] for i in diff], seed, retain_graph=True, allow_unused=True)
            else:
                grads = [None] * len(diff)
            for column, i, g in zip(columns, diff, grads):
                g = rtorch.zeros_like(inputs[i]) if g is None else g
                if dtypes and g.dtype != inputs[i].dtype:
                    raise GradcheckError(f"Gradient has dtype mismatch: {g.dtype} for input {i} of {inputs[i].dtype}")
                column.append(_real(g).reshape(-1))
        result.append([rtorch.stack(c, 1) if c else None for c in columns])
    return result


def _check_slow(func, inputs, diff, how):
    """Whole Jacobians, element by element."""
    analytical = _analytical(func, inputs, diff, how.dtypes)
    again = _analytical(func, inputs, diff)
    for j, i in enumerate(diff):
        numerical = _numerical(func, inputs, i, how.eps)
        for o, want in enumerate(numerical):
            have = analytical[o][j]
            if have is None:
                continue
            _compare(have, want, how, f"output {o} with respect to input {i}")
            if _gap(have, again[o][j]) > how.nondet_tol:
                raise GradcheckError(
                    "Backward is not reentrant, i.e., running backward with same input and grad_output multiple times "
                    "gives different values, although analytical gradient matches numerical gradient."
                    f"The tolerance for nondeterminism was {how.nondet_tol}."
                )


def _compare(have, want, how, where):
    have, want = have.to(rtorch.float64), want.to(rtorch.float64)
    if not rtorch.allclose(have, want, how.rtol, how.atol):
        raise GradcheckError(f"Jacobian mismatch for {where},\nnumerical:{want}\nanalytical:{have}\n")


def _direction(t):
    """A fixed direction of length 1 in the space of a real tensor."""
    n = t.numel()
    raw = ((rtorch.arange(n, dtype=rtorch.float64, device=t.device) + 1) * 0.6180339887498949) % 1.0 + 0.1
    return (raw / raw.norm()).reshape(t.shape).to(t.dtype) if n else rtorch.zeros_like(t)


def _along(func, inputs, index, direction, eps):
    """Central differences of every output along a direction of one input."""
    flat = _real(inputs[index].detach())
    kept = flat.clone()
    sides = []
    with rtorch.no_grad():
        for sign in (1, -1):
            flat.copy_(kept + direction * (sign * eps))
            sides.append([o.detach().clone() for o in _outputs(func, inputs)])
        flat.copy_(kept)
    return [(a - b) / (2 * eps) for a, b in zip(*sides)]


def _check_fast(func, inputs, diff, how):
    """u^T J v for one u per output and one v per input, against central differences along v."""
    for i in diff:
        v = _direction(_real(inputs[i].detach()))
        numerical = _along(func, inputs, i, v, how.eps)
        for o, (out, moved) in enumerate(zip(_outputs(func, inputs), numerical)):
            if not out.requires_grad or out.numel() == 0:
                continue
            u = _direction(out.detach())
            (g,) = rtorch.autograd.grad(out, [inputs[i]], u, retain_graph=True, allow_unused=True)
            if how.dtypes and g is not None and g.dtype != inputs[i].dtype:
                raise GradcheckError(f"Gradient has dtype mismatch: {g.dtype} for input {i} of {inputs[i].dtype}")
            have = rtorch.zeros((), dtype=rtorch.float64) if g is None else (_real(g.detach()) * v).sum()
            _compare(have, (moved * u).sum(), how, f"output {o} with respect to input {i}")


def _check_forward(func, inputs, diff, how):
    """Tangents of the outputs against central differences."""
    from . import forward_ad

    # an output that has no gradient in reverse mode has none here
    differentiable = [o.requires_grad for o in _outputs(func, inputs)]
    for i in diff:
        v = _direction(_real(inputs[i].detach()))
        numerical = _along(func, inputs, i, v, how.eps)
        tangent = rtorch.view_as_complex(v) if inputs[i].is_complex() else v
        with forward_ad.dual_level():
            dual = list(inputs)
            dual[i] = forward_ad.make_dual(inputs[i].detach(), tangent)
            pushed = [forward_ad.unpack_dual(o).tangent for o in _outputs(func, dual)]
        for o, (have, want) in enumerate(zip(pushed, numerical)):
            if not differentiable[o]:
                continue
            have = rtorch.zeros_like(want) if have is None else have.detach()
            _compare(have, want, how, f"output {o} with respect to input {i} (forward mode)")


def _check_batched(func, inputs, diff, how):
    """A backward pass mapped over cotangents against one pass for each."""
    wanted = [inputs[i] for i in diff]
    for o, out in enumerate(_outputs(func, inputs)):
        if not out.requires_grad:
            continue
        seeds = rtorch.stack([_direction(out.detach()), -2 * _direction(out.detach()).flip(tuple(range(out.dim())))])

        def pull(seed, out=out):
            found = rtorch.autograd.grad(out, wanted, seed, retain_graph=True, allow_unused=True)
            return tuple(rtorch.zeros_like(w) if g is None else g for g, w in zip(found, wanted))

        together = rtorch.func.vmap(pull)(seeds)
        for k, seed in enumerate(seeds):
            for i, have, want in zip(diff, together, pull(seed)):
                _compare(_real(have[k].detach()), _real(want.detach()), how, f"output {o}, input {i} (batched)")


def _check_batched_forward(func, inputs, diff, how):
    """A forward pass mapped over tangents against one pass for each."""
    from . import forward_ad

    for i in diff:
        v = _direction(_real(inputs[i].detach()))
        seeds = rtorch.stack([v, -2 * v.flip(tuple(range(v.dim())))])
        seeds = rtorch.view_as_complex(seeds) if inputs[i].is_complex() else seeds

        def push(tangent, i=i):
            with forward_ad.dual_level():
                dual = list(inputs)
                dual[i] = forward_ad.make_dual(inputs[i].detach(), tangent)
                pushed = [forward_ad.unpack_dual(o) for o in _outputs(func, dual)]
                return tuple(rtorch.zeros_like(o.primal) if o.tangent is None else o.tangent for o in pushed)

        together = rtorch.func.vmap(push)(seeds)
        for k, seed in enumerate(seeds):
            for o, (have, want) in enumerate(zip(together, push(seed))):
                _compare(have[k].detach(), want.detach(), how, f"output {o}, input {i} (batched forward mode)")


def _check(func, inputs, how):
    diff = [i for i, t in enumerate(inputs) if _is_diff(t)]
    if how.backward:
        (_check_fast if how.fast else _check_slow)(func, inputs, diff, how)
    if how.undefined:
        _check_undefined(func, inputs, diff)
    if how.forward:
        _check_forward(func, inputs, diff, how)
    if how.batched:
        _check_batched(func, inputs, diff, how)
    if how.batched_forward:
        _check_batched_forward(func, inputs, diff, how)
    return True


def _gap(a, b):
    return float((a.to(rtorch.float64) - b.to(rtorch.float64)).abs().max()) if a.numel() else 0.0


def _check_undefined(func, inputs, diff):
    """Backward must take an undefined gradient for any one of several outputs."""
    outputs = [o for o in _outputs(func, inputs) if o.requires_grad]
    if len(outputs) < 2:
        return
    for o in outputs:
        try:
            rtorch.autograd.grad(o.sum(), [inputs[i] for i in diff], retain_graph=True, allow_unused=True)
        except RuntimeError as error:
            raise GradcheckError(f"Expected backward function to handle undefined output grads. {error}") from error


def gradcheck(
    func,
    inputs,
    *,
    eps=1e-6,
    atol=1e-5,
    rtol=1e-3,
    raise_exception=True,
    nondet_tol=0.0,
    check_undefined_grad=True,
    check_grad_dtypes=False,
    check_batched_grad=False,
    check_batched_forward_grad=False,
    check_forward_ad=False,
    check_backward_ad=True,
    fast_mode=False,
    masked=None,
):
    """Whether the gradients of `func` at `inputs` (float64, requires_grad) match central differences.

    Raises GradcheckError, or returns False with raise_exception=False. fast_mode compares one direction of each
    Jacobian rather than every element; check_forward_ad compares tangents too, check_batched_grad a vmap over
    cotangents, check_batched_forward_grad one over tangents; check_grad_dtypes wants gradients of the inputs' dtypes.
    masked says which zeros of a sparse input count; inputs are dense here, for which it says nothing.

    >>> import rtorch
    >>> x = rtorch.tensor([0.3, 0.7], dtype=rtorch.float64, requires_grad=True)
    >>> rtorch.autograd.gradcheck(lambda x: x.sin() * x, (x,))
    True
    """
    if not (check_forward_ad or check_backward_ad):
        raise AssertionError("Expected at least one of check_forward_ad or check_backward_ad to be True")
    for wanted, needed, name, on in (
        (check_batched_grad, check_backward_ad, "check_batched_grad", "check_backward_ad"),
        (check_batched_forward_grad, check_forward_ad, "check_batched_forward_grad", "check_forward_ad"),
    ):
        if wanted and not needed:
            raise AssertionError(f"Setting {name}=True requires {on} to be True")
    inputs = _as_tuple(inputs)
    if any(isinstance(t, rtorch.Tensor) and t.is_sparse for t in inputs):
        raise NotImplementedError("gradcheck: sparse inputs; gradients of sparse tensors reach embeddings alone")
    if not _check_inputs(inputs, raise_exception):
        return False
    how = _How(
        eps,
        atol,
        rtol,
        nondet_tol,
        fast_mode,
        check_backward_ad,
        check_undefined_grad and check_backward_ad,
        check_forward_ad,
        check_batched_grad,
        check_batched_forward_grad,
        check_grad_dtypes,
    )
    try:
        return _check(func, inputs, how)
    except GradcheckError:
        if raise_exception:
            raise
        return False


def gradgradcheck(
    func,
    inputs,
    grad_outputs=None,
    *,
    eps=1e-6,
    atol=1e-5,
    rtol=1e-3,
    gen_non_contig_grad_outputs=False,
    raise_exception=True,
    nondet_tol=0.0,
    check_undefined_grad=True,
    check_grad_dtypes=False,
    check_batched_grad=False,
    check_fwd_over_rev=False,
    check_rev_over_rev=True,
    fast_mode=False,
    masked=False,
):
    """`gradcheck` of the gradient of `func`, with respect to the inputs and to the given gradients of its outputs.

    >>> import rtorch
    >>> x = rtorch.tensor([0.3, 0.7], dtype=rtorch.float64, requires_grad=True)
    >>> rtorch.autograd.gradgradcheck(lambda x: x.sin() * x, (x,))
    True
    """
    inputs = _as_tuple(inputs)
    if grad_outputs is None:
        made = [o for o in _as_tuple(func(*inputs)) if isinstance(o, rtorch.Tensor) and o.requires_grad]
        # every other element of twice as many, where the gradients of outputs are not to be contiguous
        wide = 2 if gen_non_contig_grad_outputs else 1
        drawn = [rtorch.randn((*o.shape, wide), dtype=o.dtype, device=o.device)[..., 0] for o in made]
        grad_outputs = tuple(g.detach().requires_grad_() for g in drawn)
    grad_outputs = _as_tuple(grad_outputs)
    n = len(inputs)

    def gradients(*args):
        own, seeds = args[:n], args[n:]
        with rtorch.enable_grad():  # finite differences are taken without recording
            outputs = [o for o in _as_tuple(func(*own)) if isinstance(o, rtorch.Tensor) and o.requires_grad]
            wanted = [t for t in own if _is_diff(t)]
            grads = rtorch.autograd.grad(outputs, wanted, seeds, create_graph=True, allow_unused=True)
        return tuple(g for g in grads if g is not None)

    return gradcheck(
        gradients,
        (*inputs, *grad_outputs),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad,
        check_grad_dtypes=check_grad_dtypes,
        check_batched_grad=check_batched_grad,
        masked=masked,
        check_forward_ad=check_fwd_over_rev,
        check_backward_ad=check_rev_over_rev,
        fast_mode=fast_mode,
    )
