"""`rtorch.func`: derivatives as functions of functions, and modules called with other parameters.

Derivatives here are reverse mode over the ordinary engine: `jvp` differentiates a vector-Jacobian product, and
Jacobians map such products over a basis. Results are joined to the caller's graph where an argument requires a
gradient.
"""

import rtorch
from rtorch import _C
from rtorch.nn.utils.stateless import functional_call
from rtorch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from ._rearrange import rearrange
from ._vmap import vmap

__all__ = [
    "debug_unwrap",
    "functional_call",
    "functionalize",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "linearize",
    "rearrange",
    "replace_all_batch_norm_modules_",
    "stack_module_state",
    "vjp",
    "vmap",
]


def _is_tensor(value):
    return isinstance(value, rtorch.Tensor)


def _fresh(tree):
    """The tree with tensors that gradients can be taken for; still joined to the graph of those that have one."""

    def one(t):
        if not _is_tensor(t):
            return t
        # inside vmap a variable is each sample's own
        t = _C._vmap_lift(t)
        return t.view_as(t) if t.requires_grad else t.detach().requires_grad_()

    return tree_map(one, tree)


def _joined(trees):
    """Whether any tensor among the arguments requires a gradient."""
    return rtorch.is_grad_enabled() and any(_is_tensor(t) and t.requires_grad for t in tree_leaves(trees))


def _loose(tree, keep):
    """The tree cut off from the graph, unless it is to be kept."""
    return tree if keep else tree_map(lambda t: t.detach() if _is_tensor(t) else t, tree)


def _pull(outputs, seeds, inputs):
    """Gradients of the tensors in `inputs` (a list), zeros where there is none."""
    pairs = [(o, s) for o, s in zip(outputs, seeds) if o.requires_grad]
    if not pairs:
        return [rtorch.zeros_like(i) for i in inputs]
    found = rtorch.autograd.grad(
        [o for o, _ in pairs], inputs, [s for _, s in pairs], create_graph=True, allow_unused=True
    )
    return [rtorch.zeros_like(i) if g is None else g for g, i in zip(found, inputs)]


def _places(args, argnums):
    """The positions that `argnums` (an int or several) names among the arguments."""
    many = (argnums,) if isinstance(argnums, int) else argnums
    for n in many:
        if not isinstance(n, int):
            raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
        if not -len(args) <= n < len(args):
            raise RuntimeError(f"Got argnum={n}, but only {len(args)} positional inputs")
    return [n % len(args) for n in many]


def _with_argnums(args, argnums):
    """The arguments at `argnums` replaced by fresh ones: (all arguments, the fresh ones as a list or alone)."""
    many = not isinstance(argnums, int)
    places = _places(args, argnums)
    args = list(args)
    for n in places:
        args[n] = _fresh(args[n])
    return args, (tuple(args[n] for n in places) if many else args[places[0]])


def _split_aux(result, has_aux, name):
    if not has_aux:
        return result, None
    if not (isinstance(result, tuple) and len(result) == 2):
        raise RuntimeError(f"{name}: output of function f should be a tuple: (output, aux) if has_aux is True")
    return result


def grad_and_value(func, argnums=0, has_aux=False):
    """A function that returns (gradient, value) of the scalar function `func`; with aux (gradient, (value, aux))."""

    def wrapper(*args, **kwargs):
        keep = _joined((args, kwargs))
        with rtorch.enable_grad():
            args, chosen = _with_argnums(args, argnums)
            out, aux = _split_aux(func(*args, **kwargs), has_aux, "grad_and_value(f)(*args)")
            if not _is_tensor(out):
                raise RuntimeError(
                    "grad_and_value(f)(*args): Expected f(*args) to return a single tensor, got unsupported type "
                    f"{type(out)}"
                )
            if out.dim() != 0:
                raise RuntimeError(
                    "grad_and_value(f)(*args): Expected f(*args) to return a scalar tensor, got tensor with "
                    f"{out.dim()} dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
                )
            leaves, spec = tree_flatten(chosen)
            grads = tree_unflatten(_pull([out], [rtorch.ones_like(out)], leaves), spec)
        value = (out, aux) if has_aux else out
        return _loose(grads, keep), _loose(value, keep)

    return wrapper


def grad(func, argnums=0, has_aux=False):
    """A function that returns the gradient of the scalar function `func` at `argnums`.

    >>> import rtorch
    >>> rtorch.func.grad(lambda x: (x**3).sum())(rtorch.tensor([1.0, 2.0]))
    tensor([ 3., 12.])
    """
    both = grad_and_value(func, argnums, has_aux)

    def wrapper(*args, **kwargs):
        grads, value = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return wrapper


def _check_tangents(primals, tangents):
    """PyTorch's checks of what `jvp` is given: two tuples of the same structure, of tensors alone."""
    for name, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, tuple):
            raise RuntimeError(
                f"jvp(f, primals, tangents): Expected {name} to be a tuple. E.g. it should be valid to call "
                "f(*primals)."
            )
    leaves, spec = tree_flatten(primals)
    others, other_spec = tree_flatten(tangents)
    if spec != other_spec:
        raise RuntimeError(
            "jvp(f, primals, tangents): Expected primals and tangents to have the same python structure."
        )
    for name, given in (("primals", leaves), ("tangents", others)):
        if not given:
            raise RuntimeError(f"jvp(f, primals, tangents): Expected {name} to be non-empty")
        for x in given:
            if not _is_tensor(x):
                raise RuntimeError(f"jvp(f, primals, tangents): Expected {name} to only contain Tensors, got {type(x)}")


def vjp(func, *primals, has_aux=False):
    """(func(*primals), a function of cotangents that returns the tuple of gradients)."""
    for x in tree_leaves(primals):
        if not _is_tensor(x):
            raise ValueError(f"Thing passed to transform API must be Tensor, got {type(x)}")
    keep = _joined(primals)
    with rtorch.enable_grad():
        fresh = _fresh(primals)
        out, aux = _split_aux(func(*fresh), has_aux, "vjp(f, *primals)")
        outputs, _ = tree_flatten(out)
        leaves, spec = tree_flatten(fresh)

    def pull(cotangents):
        seeds = tree_leaves(cotangents)
        if len(seeds) != len(outputs):
            raise RuntimeError(
                "Expected pytree structure of cotangents to be the same as pytree structure of outputs to the function."
            )
        with rtorch.enable_grad():
            grads = tuple(tree_unflatten(_pull(outputs, seeds, leaves), spec))
        return _loose(grads, keep or _joined(cotangents))

    answer = _loose(out, keep)
    return (answer, pull, _loose(aux, keep)) if has_aux else (answer, pull)


def jvp(func, primals, tangents, *, strict=False, has_aux=False):
    """(func(*primals), J tangents): the product with the Jacobian from the right. strict: an output that does not
    depend on the inputs raises, where else its tangent is zero.

    >>> import rtorch
    >>> rtorch.func.jvp(lambda x: x * x, (rtorch.tensor(3.0),), (rtorch.tensor(1.0),))[1]
    tensor(6.)
    """
    _check_tangents(primals, tangents)
    keep = _joined((primals, tangents))
    with rtorch.enable_grad():
        fresh = _fresh(tuple(primals))
        out, aux = _split_aux(func(*fresh), has_aux, "jvp(f, primals, tangents)")
        outputs, spec = tree_flatten(out)
        leaves = tree_leaves(fresh)
        for o in outputs:
            if not _is_tensor(o):
                raise RuntimeError(f"jvp(f, primals, tangents): expected f to return only tensors, got {type(o)}")
        if strict and not all(o.requires_grad for o in outputs):
            raise RuntimeError(
                "jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. This is not "
                "allowed with strict=True."
            )
        # v^T J is linear in v: its derivative with respect to v, along the tangents, is J times them.
        seeds = [rtorch.zeros_like(o).requires_grad_() for o in outputs]
        products = _pull(_pull(outputs, seeds, leaves), tree_leaves(tangents), seeds)
    answer = _loose(out, keep), _loose(tree_unflatten(products, spec), keep)
    return (*answer, _loose(aux, keep)) if has_aux else answer


def linearize(func, *primals):
    """(func(*primals), the linear function of tangents that approximates func there)."""

    def push(*tangents):
        return jvp(func, primals, tangents)[1]

    return func(*primals), push


def jacrev(func, argnums=0, *, has_aux=False, chunk_size=None, _preallocate_and_copy=False):
    """A function that returns the Jacobian: for each output and argument a tensor (*output, *argument), from one
    backward pass mapped over the output's elements (`chunk_size` of them at a time).

    >>> import rtorch
    >>> rtorch.func.jacrev(lambda x: x * x)(rtorch.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """

    def wrapper(*args, **kwargs):
        keep = _joined((args, kwargs))
        with rtorch.enable_grad():
            args, chosen = _with_argnums(args, argnums)
            out, aux = _split_aux(func(*args, **kwargs), has_aux, "jacrev(f)(*args)")
            for o in tree_leaves(out):
                if not _is_tensor(o):
                    raise RuntimeError(
                        f"jacrev: Expected f(*args) to return only tensors, got unsupported type {type(o)}"
                    )
            leaves, spec = tree_flatten(chosen)
            result = tree_map(lambda o: tree_unflatten(_rows(o, leaves, chunk_size), spec), out)
        result = _loose(result, keep)
        return (result, _loose(aux, keep)) if has_aux else result

    return wrapper


def _basis(like):
    """One tensor of `like`'s shape per element, 1 there and 0 elsewhere: (numel, *shape)."""
    n = like.numel()
    return rtorch.eye(n, dtype=like.dtype, device=like.device).reshape(n, *like.shape)


def _rows(out, leaves, chunk_size):
    """The Jacobian of one output with respect to each leaf, one row per element of the output."""
    if out.numel() == 0:
        return [leaf.new_zeros((*out.shape, *leaf.shape)) for leaf in leaves]
    rows = vmap(lambda seed: tuple(_pull([out], [seed], leaves)), chunk_size=chunk_size)(_basis(out))
    return [r.reshape(*out.shape, *leaf.shape) for r, leaf in zip(rows, leaves)]


def jacfwd(func, argnums=0, has_aux=False, *, randomness="error"):
    """The Jacobian, as `jacrev` gives it, from products with tangents: for few inputs and many outputs.

    >>> import rtorch
    >>> rtorch.func.jacfwd(lambda x: x.sum() * x)(rtorch.tensor([1.0, 2.0]))
    tensor([[4., 1.],
            [2., 5.]])
    """

    def wrapper(*args, **kwargs):
        many = not isinstance(argnums, int)
        places = _places(args, argnums)
        leaves, spec = tree_flatten(tuple(args[n] for n in places))

        def of_leaves(*xs):
            new = list(args)
            for n, value in zip(places, tree_unflatten(list(xs), spec)):
                new[n] = value
            return func(*new, **kwargs)

        columns, aux = [], None
        for i, leaf in enumerate(leaves):

            def push(tangent, i=i):
                tangents = tuple(tangent if k == i else rtorch.zeros_like(x) for k, x in enumerate(leaves))
                return jvp(of_leaves, tuple(leaves), tangents, has_aux=has_aux)[1:]

            product, *rest = vmap(push, randomness=randomness)(_basis(leaf))
            aux = tree_map(lambda a: a[0] if _is_tensor(a) else a, rest[0]) if rest else None
            found, out_spec = tree_flatten(product)
            columns.append([c.movedim(0, -1).reshape(*c.shape[1:], *leaf.shape) for c in found])
        per_output = [tree_unflatten(list(c), spec) for c in zip(*columns)]
        result = tree_unflatten([p if many else p[0] for p in per_output], out_spec)
        return (result, aux) if has_aux else result

    return wrapper


def hessian(func, argnums=0):
    """A function that returns the Jacobian of the gradient of `func`."""
    return jacfwd(jacrev(func, argnums), argnums)


def stack_module_state(models):
    """(parameters, buffers) of several equal modules, each stacked along a new first dimension."""
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if not (all(m.training for m in models) or all(not m.training for m in models)):
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")

    def stacked(named):
        together = {}
        for model in models:
            for name, tensor in named(model):
                together.setdefault(name, []).append(tensor)
        result = {}
        for name, tensors in together.items():
            value = rtorch.stack([t.detach() for t in tensors])
            result[name] = value.requires_grad_(tensors[0].requires_grad)
        return result

    return stacked(lambda m: m.named_parameters()), stacked(lambda m: m.named_buffers())


def debug_unwrap(tensor, *, recurse=True):
    """What a tensor inside vmap is a sample of, for a look in the debugger: the batch, with its dimension first;
    outside, the tensor itself. recurse: through all vmaps, else through the innermost only."""
    levels = _C._vmap_levels(tensor)
    for level in reversed(levels if recurse else levels[-1:]):
        tensor = _C._vmap_unwrap(tensor, level, 0)
    return tensor


def functionalize(func, *, remove="mutations"):
    """`func` without side effects on intermediate values: here in-place operators are functional already for whoever
    holds a value, so the function is its own functional form."""
    if remove not in ("mutations", "mutations_and_views"):
        raise RuntimeError(
            f"functionalize(f, remove='mutations'): invalid argument for remove={remove}. Valid options are:\n"
            "     remove='mutations': all inplace and out= operators will be removed from the program\n"
            "     remove='mutations_and_views': In addition to the above, all aliasing operators will be replaced"
        )

    def wrapper(*args, **kwargs):
        return func(*args, **kwargs)

    return wrapper


def replace_all_batch_norm_modules_(root):
    """Takes the running statistics out of every batch norm in `root`, in place: they cannot be written inside vmap."""
    for module in root.modules():
        if isinstance(module, rtorch.nn.modules.batchnorm._BatchNorm):
            module.running_mean = module.running_var = module.num_batches_tracked = None
            module.track_running_stats = False
    return root
