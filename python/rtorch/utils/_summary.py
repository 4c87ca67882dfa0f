"""A table of a model's layers: shapes, parameters, memory, as seen in one forward pass."""

import dataclasses

import rtorch

__all__ = ["LayerInfo", "ModelSummary", "summary"]


@dataclasses.dataclass
class LayerInfo:
    """One row: a module's path, class, depth, the shapes it took and gave, its own parameters, bytes of its output."""

    name: str
    kind: str
    depth: int
    input_shape: list
    output_shape: list
    parameters: int
    trainable: int
    output_bytes: int
    calls: int = 1


def _tensors(value):
    """The tensors in nested containers."""
    if isinstance(value, rtorch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [t for v in value for t in _tensors(v)]
    return []


def _shapes(value):
    return [list(t.shape) for t in _tensors(value)]


def _size(number):
    """Bytes as people read them."""
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.2f} {unit}"
        number /= 1024
    return f"{number:.2f} GiB"


class ModelSummary:
    """What `summary` found: `layers` (a list of `LayerInfo`), totals, and `str()` as a table."""

    def __init__(self, model, layers, input_bytes):
        self.layers = layers
        # shared parameters count once
        parameters = {id(p): p for p in model.parameters()}.values()
        buffers = {id(b): b for b in model.buffers()}.values()
        self.total_params = sum(p.numel() for p in parameters)
        self.trainable_params = sum(p.numel() for p in parameters if p.requires_grad)
        self.param_bytes = sum(t.numel() * t.element_size() for t in (*parameters, *buffers))
        self.input_bytes = input_bytes
        # a container gives out what its last layer made
        inner = {layer.name.rpartition(".")[0] for layer in layers if layer.name}
        leaves = [layer for layer in layers if layer.name not in inner or not layer.name and len(layers) == 1]
        self.output_bytes = sum(layer.output_bytes * layer.calls for layer in leaves)

    def rows(self):
        """The table's cells, the heads first."""
        yield "Layer (type)", "Input", "Output", "Params", "Trainable"
        for layer in self.layers:
            label = "  " * layer.depth + (layer.name.rpartition(".")[2] or "model") + f" ({layer.kind})"
            if layer.calls > 1:
                label += f" x{layer.calls}"
            shown = [", ".join(map(str, shapes)) or "-" for shapes in (layer.input_shape, layer.output_shape)]
            counts = [f"{n:,}" if n else "-" for n in (layer.parameters, layer.trainable)]
            yield label, *shown, *counts

    def __str__(self):
        rows = list(self.rows())
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        rule = "-" * (sum(widths) + 2 * 4)
        lines = []
        for row in rows:
            cells = [c.ljust(w) if i < 3 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))]
            lines.append("  ".join(cells).rstrip())
        frozen = self.total_params - self.trainable_params
        return "\n".join(
            [
                lines[0],
                rule,
                *lines[1:],
                rule,
                f"Parameters: {self.total_params:,} ({self.trainable_params:,} trainable, {frozen:,} frozen)",
                f"Memory: input {_size(self.input_bytes)}, parameters and buffers {_size(self.param_bytes)}, layers' "
                f"outputs {_size(self.output_bytes)}",
            ]
        )

    __repr__ = __str__


def _made(sizes, dtypes, device):
    """Inputs of the given sizes: one size, or a list of sizes."""
    several = bool(sizes) and not isinstance(sizes[0], int)
    sizes = list(sizes) if several else [sizes]
    dtypes = list(dtypes) if isinstance(dtypes, (list, tuple)) else [dtypes] * len(sizes)
    if len(dtypes) != len(sizes):
        raise ValueError(f"summary: {len(sizes)} input sizes and {len(dtypes)} dtypes")
    return [
        rtorch.rand(size, device=device).to(dtype) if dtype.is_floating_point else rtorch.zeros(size, dtype=dtype)
        for size, dtype in zip(sizes, dtypes)
    ]


def summary(model, input_size=None, *, input_data=None, dtypes=rtorch.float32, device=None, depth=None):
    """Runs the model once (in evaluation mode, without gradients, the random stream put back) and answers a
    `ModelSummary`, which prints as a table of layers, shapes, parameters and memory.

    input_size: the size of the input, batch included, or a list of sizes; input_data: tensors (a tuple, or a dict of
    keyword arguments) in its place. dtypes: of the inputs made; depth: how deep the table goes.

    >>> import rtorch
    >>> model = rtorch.nn.Sequential(rtorch.nn.Linear(4, 8), rtorch.nn.ReLU(), rtorch.nn.Linear(8, 2))
    >>> print(summary(model, (3, 4)))
    Layer (type)        Input   Output  Params  Trainable
    -----------------------------------------------------
    model (Sequential)  [3, 4]  [3, 2]       -          -
      0 (Linear)        [3, 4]  [3, 8]      40         40
      1 (ReLU)          [3, 8]  [3, 8]       -          -
      2 (Linear)        [3, 8]  [3, 2]      18         18
    -----------------------------------------------------
    Parameters: 58 (58 trainable, 0 frozen)
    Memory: input 48 B, parameters and buffers 232 B, layers' outputs 216 B
    """
    if (input_size is None) == (input_data is None):
        raise ValueError("summary: give either input_size or input_data")
    layers, hooks = {}, []
    for name, module in model.named_modules():
        level = name.count(".") + 1 if name else 0
        if depth is None or level <= depth:
            hooks.append(module.register_forward_hook(_recorder(layers, name, level), with_kwargs=True))
    if input_data is None:
        where = device or next((p.device for p in model.parameters()), "cpu")
        state = rtorch.get_rng_state()
        input_data = _made(input_size, dtypes, where)
        rtorch.set_rng_state(state)
    elif isinstance(input_data, rtorch.Tensor):
        input_data = [input_data]
    modes = [(m, m.training) for m in model.modules()]
    try:
        model.eval()
        with rtorch.no_grad():
            model(**input_data) if isinstance(input_data, dict) else model(*input_data)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes:
            module.training = training
    order = [name for name, _ in model.named_modules() if name in layers]
    size = sum(t.numel() * t.element_size() for t in _tensors(input_data))
    return ModelSummary(model, [layers[name] for name in order], size)


def _recorder(layers, name, level):
    """A forward hook that writes a module's row."""

    def record(module, args, kwargs, output):
        if name in layers:
            layers[name].calls += 1
            return
        own = list(module.parameters(recurse=False))
        layers[name] = LayerInfo(
            name=name,
            kind=type(module).__name__,
            depth=level,
            input_shape=_shapes((args, kwargs)),
            output_shape=_shapes(output),
            parameters=sum(p.numel() for p in own),
            trainable=sum(p.numel() for p in own if p.requires_grad),
            output_bytes=sum(t.numel() * t.element_size() for t in _tensors(output)),
        )

    return record
