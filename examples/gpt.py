"""Trains a small GPT, letter by letter, on the source text of Python's standard library and lets it write some.

A transformer decoder as in "Language Models are Unsupervised Multitask Learners" (Radford et al., 2019): learned
positions, layer norm before each block, GELU, tied input and output embeddings. AdamW, gradient clipping, warm-up
and a cosine schedule.

usage: gpt.py [--device auto|cpu|wgpu] [--steps 800] [--seed 1] [--prompt "def "]
"""

import argparse
import math
import sys
import time

import numpy as np
from common import choose_device, library_text
from tqdm import tqdm

import rtorch as torch
import rtorch.nn as nn
import rtorch.nn.functional as F

CONTEXT, WIDTH, HEADS, LAYERS = 64, 128, 4, 4
BATCH = 16
PEAK_LR, FLOOR_LR, WARMUP = 2e-3, 1e-4, 40


class Attention(nn.Module):
    """Causal self-attention over (batch, time, width)."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        batch, length, _ = x.shape
        q, k, v = (t.view(batch, length, HEADS, -1).transpose(1, 2) for t in self.qkv(x).split(WIDTH, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(batch, length, WIDTH))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(WIDTH), Attention()
        self.norm2 = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, letters):
        super().__init__()
        self.letter = nn.Embedding(letters, WIDTH)
        self.place = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, letters, bias=False)
        self.apply(self.start)
        self.head.weight = self.letter.weight

    @staticmethod
    def start(module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, 0.0, 0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, index):
        x = self.letter(index) + self.place(torch.arange(index.shape[1], device=index.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def learning_rate(step, steps):
    """Linear warm-up, then half a cosine down to the floor."""
    if step < WARMUP:
        return PEAK_LR * (step + 1) / WARMUP
    along = (step - WARMUP) / max(1, steps - WARMUP)
    return FLOOR_LR + 0.5 * (PEAK_LR - FLOOR_LR) * (1 + math.cos(math.pi * along))


def draw_batch(data, generator):
    """BATCH windows of the text and the same windows one letter on."""
    starts = generator.integers(0, len(data) - CONTEXT - 1, BATCH)
    windows = np.stack([data[i : i + CONTEXT + 1] for i in starts])
    return torch.from_numpy(windows[:, :-1].copy()), torch.from_numpy(windows[:, 1:].copy())


@torch.no_grad()
def mean_loss(net, data, device, generator, batches=10):
    net.eval()
    total = 0.0
    for _ in range(batches):
        x, y = draw_batch(data, generator)
        logits = net(x.to(device))
        total += F.cross_entropy(logits.flatten(0, 1), y.to(device).flatten()).item()
    net.train()
    return total / batches


@torch.no_grad()
def write(net, index, length, device):
    """Continues `index` (a list of letter numbers) by `length` letters drawn at temperature 0.8."""
    net.eval()
    for _ in range(length):
        logits = net(torch.tensor([index[-CONTEXT:]], device=device))[0, -1].cpu()
        index.append(torch.multinomial(F.softmax(logits / 0.8, -1), 1).item())
    return index


def main():
    parser = argparse.ArgumentParser(description="A small GPT on the standard library's source text.")
    parser.add_argument("--device", choices=("auto", "cpu", "wgpu"), default="auto")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--prompt", default="def ")
    parser.add_argument("--letters", type=int, default=300, help="length of the sample")
    options = parser.parse_args()

    text = library_text()
    alphabet = sorted(set(text) | set(options.prompt))
    number = {c: i for i, c in enumerate(alphabet)}
    data = np.array([number[c] for c in text], np.int64)
    cut = int(0.9 * len(data))
    device, name = choose_device(options.device)
    torch.manual_seed(options.seed)
    generator = np.random.default_rng(options.seed)
    net = GPT(len(alphabet)).to(device)
    count = sum(p.numel() for p in net.parameters())
    print(f"device {name}, seed {options.seed}, {len(text):,} letters, {count:,} parameters")

    decay = [p for p in net.parameters() if p.dim() > 1]
    plain = [p for p in net.parameters() if p.dim() <= 1]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_LR, betas=(0.9, 0.99))
    start = time.perf_counter()
    bar = tqdm(range(options.steps), desc="training", unit="step", file=sys.stdout, mininterval=0.5)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, options.steps)
        x, y = draw_batch(data[:cut], generator)
        logits = net(x.to(device))
        loss = F.cross_entropy(logits.flatten(0, 1), y.to(device).flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        if step % 20 == 0 or step == options.steps - 1:
            bar.set_postfix(loss=f"{loss.item():.3f}")
    print(f"trained for {options.steps} steps in {time.perf_counter() - start:.1f} s")
    print(f"held-out loss {mean_loss(net, data[cut:], device, generator):.3f} nats a letter")
    sample = write(net, [number[c] for c in options.prompt], options.letters, device)
    print("".join(alphabet[i] for i in sample))


if __name__ == "__main__":
    main()
