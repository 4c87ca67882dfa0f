"""Random tensor programs, one statement at a time: each as rtorch source and as its NumPy twin (fuzz.py runs them).

A statement binds a new variable or writes into an old one, possibly through a view. Choices depend on shapes and dtypes
alone, never on values, so that a seed is one program on every device and in every mode. NumPy's twin computes floats in
more precision and rounds once; how far rtorch may be from it is part of the statement.
"""

import dataclasses
import math

import numpy as np

FLOATS = ("float32", "float64", "float16")
INTS = ("int64", "int32", "int16", "uint8")
EXACT = 0.0
# Units in the last place that a function may be off, by dtype. float32: what docs/design.md promises for the CPU.
ULPS = {"float16": 1.0, "float32": 2.0, "float64": 16.0}
SIZES = (1, 1, 2, 3, 4, 5, 7, 8, 17, 33)
MAX_ELEMENTS = 4096
# One program in fifty has tensors that the CPU splits among threads, and that fill many tiles and part of one.
LARGE_CHANCE, LARGE_ELEMENTS = 0.02, 1 << 17
LARGE_SHAPES = ((40_003,), (65_537,), (211, 307), (17, 33, 65), (1, 50_001), (30_011, 2))


@dataclasses.dataclass
class Statement:
    """`code` for rtorch and `twin` for NumPy bind `name`, or write through it when `writes`."""

    name: str
    code: str
    twin: str
    error: object = EXACT  # EXACT, a number of ulps, or "sum": a bound that the twin's helper computes
    writes: bool = False
    operator: str = ""


def wide(x):
    """More precision than the dtype has, for a reference that is rounded once."""
    return x.astype({"float16": np.float32, "float32": np.float64}.get(x.dtype.name, x.dtype))


def rounded(function, *arrays, dtype=None):
    """`function` in more precision, rounded once to the arrays' dtype."""
    dtype = dtype or arrays[0].dtype
    return np.asarray(function(*map(wide, arrays))).astype(dtype)


def diagonal(a):
    """A writable view of a matrix's diagonal."""
    return np.lib.stride_tricks.as_strided(a, (min(a.shape),), (a.strides[0] + a.strides[1],))


def erf(x):
    return np.vectorize(math.erf, otypes=[x.dtype])(x) if x.size else x


def sigmoid(x):
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def promote(*operands):
    """PyTorch's result dtype: a tensor with dimensions decides before one without, within a category of dtypes."""
    rank = {
        "bool": 0,
        "uint8": 1,
        "int8": 1,
        "int16": 2,
        "int32": 3,
        "int64": 4,
        "float16": 5,
        "float32": 6,
        "float64": 7,
    }
    category = lambda d: 0 if d == "bool" else 1 if rank[d] < 5 else 2

    def best(dtypes):
        return max(dtypes, key=rank.get) if dtypes else None

    with_dims = best([a.dtype.name for a in operands if a.ndim])
    without = best([a.dtype.name for a in operands if not a.ndim])
    if with_dims is None or without is None:
        return with_dims or without
    return without if category(without) > category(with_dims) else with_dims


# ---- name: (NumPy function of wide arrays, exact?) for floats
FLOAT_UNARY = {
    "neg": (np.negative, True),
    "abs": (np.abs, True),
    "square": (np.square, True),
    "sign": (lambda x: np.where(np.isnan(x), 0, np.sign(x)), True),
    "floor": (np.floor, True),
    "ceil": (np.ceil, True),
    "round": (np.round, True),
    "trunc": (np.trunc, True),
    "relu": (lambda x: np.where(x < 0, 0, x), True),
    "sqrt": (np.sqrt, False),
    "reciprocal": (lambda x: 1 / x, True),
    "exp": (np.exp, False),
    "expm1": (np.expm1, False),
    "log": (np.log, False),
    "log1p": (np.log1p, False),
    "sin": (np.sin, False),
    "cos": (np.cos, False),
    "tanh": (np.tanh, False),
    "sigmoid": (sigmoid, False),
    "erf": (erf, False),
    "rsqrt": (lambda x: 1 / np.sqrt(x), False),
}
INT_UNARY = {"neg": np.negative, "abs": np.abs, "square": np.square, "bitwise_not": np.bitwise_not}
BINARY = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "maximum": np.maximum, "minimum": np.minimum}
COMPARE = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
BITS = {"bitwise_and": np.bitwise_and, "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor}
TWIN_SCOPE = {
    "np": np,
    "rounded": rounded,
    "diagonal": diagonal,
    "softmax": softmax,
    "wide": wide,
    "FLOAT": FLOAT_UNARY,
    "INT": INT_UNARY,
    "BINARY": BINARY,
    "COMPARE": COMPARE,
    "BITS": BITS,
}


class Generator:
    """Grows one program. `arrays` are NumPy's values of the variables so far; fuzz.py keeps them up to date."""

    def __init__(self, seed, floats=FLOATS, shares=True):
        self.rng = np.random.default_rng(seed)
        self.floats = floats  # a GPU has no float64
        self.shares = shares  # memory with NumPy, which a GPU's is not
        self.lent = {}  # names of NumPy's arrays, and the variable whose memory each shows
        self.large = self.chance(LARGE_CHANCE)
        self.limit = LARGE_ELEMENTS if self.large else MAX_ELEMENTS
        self.arrays = {}
        self.frozen = set()  # overlapping or expanded: may be read, not written
        self.dense = set()  # contiguous in both libraries: reshape is a view in both
        self.count = 0

    # ---- choosing

    def chance(self, p):
        return self.rng.random() < p

    def pick(self, items):
        items = list(items)
        return items[self.rng.integers(len(items))]

    def new(self):
        self.count += 1
        return f"v{self.count}"

    def variable(self, kinds=None, where=lambda a: True):
        """The name of a variable of one of these dtypes, the later ones more likely; None if there is none."""
        names = [n for n, a in self.arrays.items() if (kinds is None or a.dtype.name in kinds) and where(a)]
        return self.pick(names[-6:] if self.chance(0.7) else names) if names else None

    def partner(self, name, kinds):
        """Another variable that broadcasts with this one."""
        a = self.arrays[name]

        def fits(b):
            try:
                return math.prod(np.broadcast_shapes(a.shape, b.shape)) <= self.limit
            except ValueError:
                return False

        return self.variable(kinds, fits)

    # ---- leaves

    def leaf(self):
        dtype = self.pick(("float32",) * 5 + self.floats + INTS + ("bool",))
        shape = tuple(int(self.pick(SIZES)) for _ in range(self.pick((0, 1, 1, 2, 2, 2, 3, 4))))
        while math.prod(shape) > self.limit:
            shape = shape[1:]
        if self.chance(0.1):
            shape = (int(self.pick((600, 1030))),)
        if self.large and self.chance(0.7):
            shape = self.pick(LARGE_SHAPES)
        return dtype, shape

    def leaf_values(self, dtype, shape):
        if dtype == "bool":
            return self.rng.random(shape) < 0.5
        if dtype in INTS:
            low, high = (0, 255) if dtype == "uint8" else (-100, 100)
            return self.rng.integers(low, high, shape).astype(dtype)
        values = self.rng.normal(size=shape) * self.pick((0.1, 1.0, 10.0))
        special = self.rng.random(shape) < 0.02
        return np.where(special, self.pick((0.0, -0.0, np.inf, -np.inf, np.nan)), values).astype(dtype)

    # ---- statements: each returns a Statement, or None where no variable fits

    def unary(self):
        a = self.variable(FLOATS + INTS)
        if a is None:
            return None
        dtype = self.arrays[a].dtype.name
        if dtype in INTS:
            op = self.pick(INT_UNARY)
            return Statement(self.new(), f"torch.{op}({a})", f"INT['{op}']({a})", operator=op)
        op = self.pick(FLOAT_UNARY)
        error = EXACT if FLOAT_UNARY[op][1] else ULPS[dtype]
        return Statement(self.new(), f"torch.{op}({a})", f"rounded(FLOAT['{op}'][0], {a})", error, operator=op)

    def binary(self):
        a = self.variable(FLOATS + INTS)
        b = a and self.partner(a, FLOATS + INTS)
        if not b:
            return None
        dtype = promote(self.arrays[a], self.arrays[b])
        op = self.pick(BINARY)
        if dtype == "float16" and self.arrays[a].dtype != self.arrays[b].dtype:
            return None  # whether a 0-d operand is rounded to 16 bits first is nobody's promise
        cast = f"{a}.astype('{dtype}'), {b}.astype('{dtype}')"
        if dtype in FLOATS and self.chance(0.15):
            return Statement(self.new(), f"{a} / {b}", f"rounded(np.divide, {cast})", 1.0, operator="div")
        twin = f"rounded(BINARY['{op}'], {cast})" if dtype in FLOATS else f"BINARY['{op}']({cast})"
        return Statement(self.new(), f"torch.{op}({a}, {b})", twin, operator=op)

    def scalar(self):
        a = self.variable(FLOATS + INTS)
        if a is None:
            return None
        dtype = self.arrays[a].dtype.name
        if dtype in INTS:
            op, number = self.pick(("+", "-", "*", "//", "%")), int(self.pick((1, 2, 3, 7)))
            name = {"//": "floor_divide", "%": "remainder"}.get(op, "scalar")
            return Statement(self.new(), f"{a} {op} {number}", f"({a} {op} np.{dtype}({number}))", operator=name)
        op, number = self.pick("+-*"), float(self.pick((0.5, 2.0, -1.25, 3.0)))
        twin = f"rounded(lambda x: x {op} {number}, {a})"
        return Statement(self.new(), f"{a} {op} {number}", twin, operator="scalar")

    def compare(self):
        a = self.variable(FLOATS + INTS)
        b = a and self.partner(a, (self.arrays[a].dtype.name,))
        if not b:
            return None
        op = self.pick(COMPARE)
        return Statement(self.new(), f"torch.{op}({a}, {b})", f"COMPARE['{op}']({a}, {b})", operator=op)

    def bits(self):
        a = self.variable((*INTS, "bool"))
        b = a and self.partner(a, (self.arrays[a].dtype.name,))
        if not b:
            return None
        op = self.pick(BITS)
        return Statement(self.new(), f"torch.{op}({a}, {b})", f"BITS['{op}']({a}, {b})", operator=op)

    def where(self):
        c = self.variable(("bool",))
        a = c and self.partner(c, FLOATS + INTS)
        b = a and self.variable((self.arrays[a].dtype.name,), lambda x: x.shape == self.arrays[a].shape)
        if not b:
            return None
        return Statement(self.new(), f"torch.where({c}, {a}, {b})", f"np.where({c}, {a}, {b})", operator="where")

    def clamp(self):
        a = self.variable(("float32", "float64"))
        if a is None:
            return None
        return Statement(self.new(), f"{a}.clamp(-1.5, 2.0)", f"np.clip({a}, -1.5, 2.0)", operator="clamp")

    def cast(self):
        a = self.variable()
        if a is None:
            return None
        source = self.arrays[a].dtype.name
        if source in FLOATS and self.chance(0.4):
            to = self.pick(INTS)
            code = f"torch.nan_to_num({a}.float()).clamp(0, 100).to(torch.{to})"
            twin = f"np.clip(np.nan_to_num({a}.astype('float32')), 0, 100).astype('{to}')"
            return Statement(self.new(), code, twin, operator="nan_to_num")
        to = self.pick(self.floats if source in FLOATS else self.floats + INTS + ("bool",))
        error = 1.0 if (source, to) == ("float64", "float16") else EXACT  # by way of float32, or not
        return Statement(self.new(), f"{a}.to(torch.{to}, copy=True)", f"{a}.astype('{to}')", error, operator="to")

    def reduce(self):
        a = self.variable(FLOATS + INTS + ("bool",), lambda x: x.ndim > 0)
        if a is None:
            return None
        array = self.arrays[a]
        axis, keep = int(self.rng.integers(array.ndim)), bool(self.chance(0.5))
        arguments = f"{axis}, keepdim={keep}"
        if array.dtype.name == "bool":
            op = self.pick(("any", "all"))
            return Statement(self.new(), f"{a}.{op}({arguments})", f"{a}.{op}({axis}, keepdims={keep})", operator=op)
        op = self.pick(("sum", "amax", "amin", "argmax", "max", "sum", "mean", "cumsum"))
        twin = f"{a}.{{}}({axis}, keepdims={keep})"
        if op == "cumsum":
            exact = array.dtype.name in INTS
            twin = (
                f"np.cumsum({a}, {axis}, dtype='int64')" if exact else f"rounded(lambda x: np.cumsum(x, {axis}), {a})"
            )
            return Statement(self.new(), f"{a}.cumsum({axis})", twin, EXACT if exact else "sum", operator=op)
        if op in ("sum", "mean") and array.dtype.name in FLOATS:
            twin = f"rounded(lambda x: x.{op}({axis}, keepdims={keep}), {a})"
            return Statement(self.new(), f"{a}.{op}({arguments})", twin, "sum", operator=op)
        if op in ("sum", "mean"):
            twin = f"{a}.sum({axis}, keepdims={keep}, dtype='int64')"
            return Statement(self.new(), f"{a}.sum({arguments})", twin, operator="sum")
        if op == "max":
            return Statement(self.new(), f"{a}.max({arguments}).values", twin.format("max"), operator=op)
        return Statement(
            self.new(),
            f"{a}.{op}({arguments})",
            twin.format(op.replace("amax", "max").replace("amin", "min")),
            operator=op,
        )

    def softmax(self):
        a = self.variable(("float32", "float64"), lambda x: x.ndim > 0)
        if a is None:
            return None
        axis = int(self.rng.integers(self.arrays[a].ndim))
        twin = f"rounded(lambda x: softmax(x, {axis}), {a})"
        return Statement(self.new(), f"torch.softmax({a}, {axis})", twin, "softmax", operator="softmax")

    def matmul(self):
        a = self.variable(("float32", "float64"), lambda x: x.ndim == 2)
        if a is None:
            return None
        array = self.arrays[a]
        fits = lambda x: x.ndim == 2 and x.shape[0] == array.shape[1] and x.shape[1] * array.shape[0] <= self.limit
        b = self.variable((array.dtype.name,), fits)
        b = b or (self.pick((a + ".t()",)) if array.shape[0] ** 2 <= self.limit else None)
        if b is None:
            return None
        twin = b.replace(".t()", ".T")
        return Statement(self.new(), f"{a} @ {b}", f"rounded(np.matmul, {a}, {twin})", "product", operator="matmul")

    def arrange(self):
        """Operators that move elements into new memory."""
        a = self.variable(where=lambda x: x.ndim > 0)
        if a is None:
            return None
        array = self.arrays[a]
        axis = int(self.rng.integers(array.ndim))
        size = array.shape[axis]
        index = [int(i) for i in self.rng.integers(0, size, self.pick((1, 3, 5)))]
        small = array.size <= self.limit // 3
        forms = {
            "flip": (f"{a}.flip({axis})", f"np.flip({a}, {axis}).copy()"),
            "roll": (f"{a}.roll({index[0]}, {axis})", f"np.roll({a}, {index[0]}, {axis})"),
            "clone": (f"{a}.clone()", f"{a}.copy()"),
            "contiguous_reshape": (f"{a}.clone().reshape(-1)", f"{a}.copy().reshape(-1)"),
            "index_select": (
                f"{a}.index_select({axis}, torch.tensor({index}, device=DEV))",
                f"{a}.take({index}, {axis})",
            ),
        }
        if small:
            forms["cat"] = (f"torch.cat([{a}, {a}], {axis})", f"np.concatenate([{a}, {a}], {axis})")
            forms["stack"] = (f"torch.stack([{a}, {a}], {axis})", f"np.stack([{a}, {a}], {axis})")
            forms["repeat_interleave"] = (f"{a}.repeat_interleave(2, {axis})", f"np.repeat({a}, 2, {axis})")
        if array.ndim >= 2 and array.dtype.name != "bool":
            forms["tril"] = (f"{a}.tril()", f"np.tril({a})")
            forms["triu"] = (f"{a}.triu(1)", f"np.triu({a}, 1)")
        if array.dtype.name in INTS:
            forms["sort"] = (f"{a}.sort({axis}).values", f"np.sort({a}, {axis})")
        op = self.pick(forms)
        return Statement(self.new(), *forms[op], operator=op)

    def slices(self, shape):
        """An index of slices, integers and new axes, the same text in both libraries, and whether anything is left."""
        parts = []
        for size in shape:
            kind = self.rng.integers(5)
            low = int(self.rng.integers(0, size))
            high = int(self.rng.integers(low + 1, size + 1))
            parts.append([":", f"{low}:{high}", f"{low}::2", f"{low}", f":{high}"][kind])
        if self.chance(0.2):
            parts.insert(int(self.rng.integers(len(parts) + 1)), "None")
        return ", ".join(parts)

    def view(self):
        a = self.variable(where=lambda x: x.ndim > 0)
        if a is None:
            return None
        array = self.arrays[a]
        first, second = (int(self.rng.integers(array.ndim)) for _ in range(2))
        order = [int(i) for i in self.rng.permutation(array.ndim)]
        index = self.slices(array.shape)
        forms = {
            "slice": (f"{a}[{index}]", f"{a}[{index}, ...]"),  # without the dots one element would be a copy
            "transpose": (f"{a}.transpose({first}, {second})", f"np.swapaxes({a}, {first}, {second})"),
            "permute": (f"{a}.permute({order})", f"np.transpose({a}, {order})"),
            "unsqueeze": (f"{a}.unsqueeze({first})", f"np.expand_dims({a}, {first})"),
            "squeeze": (f"{a}.squeeze()", f"np.squeeze({a})"),
        }
        if array.ndim == 2 and min(array.shape) > 0:
            forms["diagonal"] = (f"{a}.diagonal()", f"diagonal({a})")
        if a in self.dense:
            forms["view"] = (f"{a}.view(-1)", f"{a}.reshape(-1)")
        if array.size <= self.limit // 3:
            forms["expand"] = (f"{a}.expand((3, *{a}.shape))", f"np.broadcast_to({a}, (3, *{a}.shape))")
        if array.shape[first] >= 3:
            window = f"np.lib.stride_tricks.sliding_window_view({a}, 2, {first})"
            forms["unfold"] = (f"{a}.unfold({first}, 2, 1)", window)
        op = self.pick(forms)
        name = self.new()
        if op in ("expand", "unfold") or a in self.frozen:
            self.frozen.add(name)
        if op == "view":
            self.dense.add(name)
        return Statement(name, *forms[op], operator=op)

    def write(self):
        """A write through a variable or a slice of it."""
        a = self.variable(where=lambda x: x.dtype.name != "bool")
        if a is None or a in self.frozen:
            return None
        array = self.arrays[a]
        target = f"{a}[{self.slices(array.shape)}]" if array.ndim and self.chance(0.5) else f"{a}[...]"
        shape = eval(target, {a: array}).shape
        dtype = array.dtype.name
        # The operand may well be another view of the target: what it showed before the write is what counts.
        b = self.variable((dtype,), lambda x: x.shape == shape)
        number = int(self.pick((1, 2, 3)))
        forms = {
            "fill_": (f"{target}.fill_({number})", f"{number}"),
            "zero_": (f"{target}.zero_()", "0"),
            "add_scalar_": (f"{target}.add_({number})", f"{target} + np.{dtype}({number})"),
            "mul_scalar_": (f"{target}.mul_({number})", f"{target} * np.{dtype}({number})"),
            "neg_": (f"{target}.neg_()", f"-{target}"),
        }
        if b:
            combined = "rounded(BINARY['{0}'], {1}, {2})" if dtype in FLOATS else "BINARY['{0}']({1}, {2})"
            for op in ("add", "sub", "mul"):
                forms[f"{op}_"] = (f"{target}.{op}_({b})", combined.format(op, target, b))
            forms["copy_"] = (f"{target}.copy_({b})", b)
            forms["setitem"] = (f"{target} = {b}", b)
        mask = self.variable(("bool",), lambda x: x.shape == array.shape)
        if mask:
            forms["masked_fill_"] = (f"{a}.masked_fill_({mask}, {number})", f"np.where({mask}, {number}, {a})")
        op = self.pick(forms)
        code, value = forms[op]
        if op == "masked_fill_":
            target = f"{a}[...]"
        twin = f"{target} = np.asarray({value}).astype('{dtype}')"
        return Statement(a, code, twin, writes=True, operator=op)

    def lend(self):
        """NumPy gets the memory of a variable, or writes to what it got before."""
        if not self.shares:
            return None
        if not self.lent or self.chance(0.4):
            a = self.variable(where=lambda x: x.dtype.name != "bool")
            if a is None or a in self.frozen:
                return None
            name = f"n{len(self.lent) + 1}"
            self.lent[name] = a
            return Statement(a, f"{name} = {a}.detach().numpy()", "pass", writes=True, operator="numpy")
        name = self.pick(self.lent)
        a = self.lent[name]
        index = self.slices(self.arrays[a].shape) if self.chance(0.5) else "..."
        number = int(self.pick((1, 2, 3)))
        at = f"[{index or '...'}] = {number}"
        return Statement(a, name + at, a + at, writes=True, operator="numpy")

    KINDS = (
        (unary, 5), (binary, 6), (scalar, 4), (compare, 1), (bits, 1), (where, 2), (clamp, 1), (cast, 2),
        (reduce, 3), (softmax, 1), (matmul, 1), (arrange, 2), (view, 5), (write, 5), (lend, 2),
    )  # fmt: skip

    def statement(self):
        """The next statement; it always finds one, since leaves come first."""
        kinds = [kind for kind, weight in self.KINDS for _ in range(weight)]
        while True:
            made = self.pick(kinds)(self)
            if made is not None:
                return made
