"""Times whole training steps (forward, loss, backward, optimizer), beside PyTorch where --torch-python names one.

usage: train.py [--device cpu|wgpu] [--threads 2] [--rounds 3] [--torch-python PATH] [CASE ...]
"""

import runner


def step(torch, module, x, y, loss_function, optimizer):
    """One training step, answering the loss and the new parameters."""
    parameters = list(module.parameters())

    def run():
        optimizer.zero_grad()
        loss = loss_function(module(x), y)
        loss.backward()
        optimizer.step()
        return [loss.detach(), *parameters]

    return run


def digits(torch, device):
    """The shapes of examples/digits.py."""
    nn = torch.nn
    block = lambda i, o: (nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU())
    layers = [*block(1, 32), *block(32, 64), nn.MaxPool2d(2), *block(64, 64), nn.Flatten(), nn.Linear(1024, 10)]
    module = nn.Sequential(*layers).to(device)
    x, y = torch.randn(64, 1, 8, 8).to(device), torch.randint(0, 10, (64,)).to(device)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    return step(torch, module, x, y, nn.functional.cross_entropy, optimizer)


def mlp(torch, device):
    nn = torch.nn
    module = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10)).to(
        device
    )
    x, y = torch.randn(128, 784).to(device), torch.randint(0, 10, (128,)).to(device)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    return step(torch, module, x, y, nn.functional.cross_entropy, optimizer)


def gpt(torch, device):
    """The sizes of examples/gpt.py: 4 layers of width 128, 16 windows of 64 letters."""
    nn, F = torch.nn, torch.nn.functional
    letters, length, width, heads = 96, 64, 128, 4

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def forward(self, x):
            batch = x.shape[0]
            parts = self.qkv(self.norm1(x)).split(width, 2)
            q, k, v = (t.view(batch, length, heads, -1).transpose(1, 2) for t in parts)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
            return x + self.mlp(self.norm2(x))

    layers = [
        nn.Embedding(letters, width),
        *(Block() for _ in range(4)),
        nn.LayerNorm(width),
        nn.Linear(width, letters),
    ]
    module = nn.Sequential(*layers).to(device)
    x, y = (torch.randint(0, letters, (16, length)).to(device) for _ in range(2))
    loss = lambda logits, target: F.cross_entropy(logits.flatten(0, 1), target.flatten())
    return step(torch, module, x, y, loss, torch.optim.AdamW(module.parameters(), lr=3e-4))


def adam_10m(torch, device):
    """The optimizer alone, over ten million parameters."""
    parameters = [torch.randn(1000, 1000).to(device).requires_grad_() for _ in range(10)]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    optimizer = torch.optim.Adam(parameters)

    def run():
        optimizer.step()
        return parameters

    return run


CASES = {"digits": digits, "mlp": mlp, "gpt": gpt, "adam_10m": adam_10m}

if __name__ == "__main__":
    runner.main(__doc__.splitlines()[0], CASES)
