"""Times typical kernels and chains on the CPU or a GPU, beside PyTorch if an interpreter that has it is given.

usage: kernels.py [--device cpu|wgpu] [--threads 2] [--rounds 3] [--torch-python PATH] [CASE ...]
"""

import runner

MILLION = 1 << 20


def unary(name, *shape):
    """A pointwise method on a normal tensor."""

    def make(torch, device):
        a = torch.randn(*shape).to(device)
        return lambda: getattr(a, name)()

    return make


def on(function, *shapes):
    """`function(torch, *tensors)` on normal tensors of the given shapes."""

    def make(torch, device):
        tensors = [torch.randn(*shape).to(device) for shape in shapes]
        return lambda: function(torch, *tensors)

    return make


def layer(build, *shape, backward=False):
    """A module's forward, or forward and backward, on a normal input."""

    def make(torch, device):
        module, x = build(torch.nn).to(device), torch.randn(*shape).to(device)
        parameters = list(module.parameters())

        def forward():
            with torch.no_grad():
                return module(x)

        def both():
            for parameter in parameters:
                parameter.grad = None
            module(x).sum().backward()
            return [parameter.grad for parameter in parameters]

        return both if backward else forward

    return make


def indexed(torch, device):
    a, index = torch.randn(10000, 256).to(device), torch.randint(0, 10000, (4096,)).to(device)
    return lambda: a[index]


def cross_entropy(torch, device):
    a, target = torch.randn(1024, 1000).to(device), torch.randint(0, 1000, (1024,)).to(device)
    return lambda: torch.nn.functional.cross_entropy(a, target)


def swish_like(torch, a):
    return a * torch.sigmoid(a) + a.tanh() * 0.5 - a.abs().sqrt()


def row_of(count):
    """So many additions and multiplications after each other on 64 MB: 20 should take at most twice the time of 2."""

    def make(torch, device):
        a, b = torch.rand(16 * MILLION).to(device), torch.rand(16 * MILLION).to(device)

        def run():
            x = a
            for _ in range(count // 2):
                x = (x + b) * 0.5
            return x

        return run

    return make


def attention(torch, q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


CASES = {
    "tiny_add": on(lambda t, a, b: a + b, (4,), (4,)),
    "tiny_views": on(lambda t, a: a.t().reshape(-1)[2:8].unsqueeze(0), (4, 6)),
    "tiny_mlp": layer(lambda nn: nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)), 1, 8),
    "add": on(lambda t, a, b: a + b, (MILLION,), (MILLION,)),
    "add_transposed": on(lambda t, a, b: a + b.t(), (1024, 1024), (1024, 1024)),
    "exp": unary("exp", MILLION),
    "tanh": unary("tanh", MILLION),
    "erf": unary("erf", MILLION),
    "chain": on(swish_like, (MILLION,)),
    "row_of_2": row_of(2),
    "row_of_20": row_of(20),
    "sum_all": unary("sum", MILLION),
    "sum_dim0": on(lambda t, a: a.sum(0), (1024, 1024)),
    "sum_dim1": on(lambda t, a: a.sum(1), (1024, 1024)),
    "max_dim1": on(lambda t, a: a.max(1), (1024, 1024)),
    "softmax": on(lambda t, a: a.softmax(-1), (1024, 1024)),
    "layer_norm": on(lambda t, a: t.nn.functional.layer_norm(a, (1024,)), (1024, 1024)),
    "cross_entropy": cross_entropy,
    "cumsum": on(lambda t, a: a.cumsum(1), (1024, 1024)),
    "sort": unary("sort", MILLION),
    "topk": on(lambda t, a: a.topk(10), (256, 10000)),
    "index_rows": indexed,
    "cat": on(lambda t, a, b: t.cat([a, b], 1), (1024, 512), (1024, 512)),
    "transpose_copy": on(lambda t, a: a.t().contiguous(), (1024, 1024)),
    "randn": lambda torch, device: lambda: torch.randn(MILLION, device=device),
    "matmul_64": on(lambda t, a, b: a @ b, (64, 64), (64, 64)),
    "matmul_256": on(lambda t, a, b: a @ b, (256, 256), (256, 256)),
    "matmul_1024": on(lambda t, a, b: a @ b, (1024, 1024), (1024, 1024)),
    "matmul_skinny": on(lambda t, a, b: a @ b.t(), (8, 1024), (4096, 1024)),
    "matvec": on(lambda t, a, b: a @ b, (4096, 4096), (4096,)),
    "bmm": on(lambda t, a, b: a @ b, (64, 128, 64), (64, 64, 128)),
    "conv_3x3": layer(lambda nn: nn.Conv2d(64, 64, 3, padding=1), 8, 64, 56, 56),
    "conv_3x3_train": layer(lambda nn: nn.Conv2d(64, 64, 3, padding=1), 8, 64, 56, 56, backward=True),
    "conv_1x1": layer(lambda nn: nn.Conv2d(256, 64, 1), 8, 256, 28, 28),
    "conv_depthwise": layer(lambda nn: nn.Conv2d(128, 128, 3, padding=1, groups=128), 8, 128, 28, 28),
    "max_pool": on(lambda t, a: t.nn.functional.max_pool2d(a, 2), (8, 64, 56, 56)),
    "attention": on(attention, *[(4, 8, 256, 64)] * 3),
}

if __name__ == "__main__":
    runner.main(__doc__.splitlines()[0], CASES)
