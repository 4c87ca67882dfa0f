"""An LSTM that writes Python: trained letter by letter on the standard library's own source text.

The hidden state is carried from window to window (truncated backpropagation through time). Prints the held-out loss and
a sample, and draws the loss curve.

usage: char_lstm.py [--quick] [--device auto|cpu|wgpu] [--steps 1500] [--seed 3] [--picture char_lstm.png]
"""

import argparse
import os
import time

from common import choose_device, library_text, pyplot

import rtorch as torch
import rtorch.nn as nn
import rtorch.nn.functional as F
from rtorch.utils import progress

WINDOW, BATCH = 64, 32


class CharLSTM(nn.Module):
    """Embedding, two LSTM layers, a linear layer back to letters."""

    def __init__(self, letters, width):
        super().__init__()
        self.embedding = nn.Embedding(letters, 64)
        self.lstm = nn.LSTM(64, width, num_layers=2, batch_first=True, dropout=0.1)
        self.out = nn.Linear(width, letters)

    def forward(self, x, state=None):
        y, state = self.lstm(self.embedding(x), state)
        return self.out(y), state


def rows(data, count):
    """The text as `count` parallel streams (count, length)."""
    length = len(data) // count
    return data[: count * length].reshape(count, length)


@torch.no_grad()
def held_out(net, data, device):
    """Mean loss in nats a letter over a text."""
    net.eval()
    streams, state, total, count = rows(data, 8).to(device), None, 0.0, 0
    for at in range(0, streams.size(1) - WINDOW - 1, WINDOW):
        x, y = streams[:, at : at + WINDOW], streams[:, at + 1 : at + WINDOW + 1]
        logits, state = net(x, state)
        total += F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum").item()
        count += y.numel()
    net.train()
    return total / count


@torch.no_grad()
def write(net, prompt, letters, alphabet, device):
    """Continues a prompt by letters drawn at temperature 0.7."""
    net.eval()
    x = torch.tensor([[alphabet.index(c) for c in prompt]], device=device)
    state, text = None, prompt
    for _ in range(letters):
        logits, state = net(x, state)
        drawn = torch.multinomial(F.softmax(logits[0, -1].cpu() / 0.7, -1), 1)
        text += alphabet[drawn.item()]
        x = drawn.reshape(1, 1).to(device)
    return text


def main():
    parser = argparse.ArgumentParser(description="A character LSTM on the standard library's text.")
    parser.add_argument("--quick", action="store_true", help="a few steps of a small network")
    parser.add_argument("--device", choices=("auto", "cpu", "wgpu"), default="auto")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--picture", default="char_lstm.png")
    options = parser.parse_args()
    steps = options.steps or (40 if options.quick else 1500)
    device, name = choose_device(options.device)

    text = library_text(60_000 if options.quick else 1_000_000)
    alphabet = sorted(set(text) | set("def "))
    data = torch.tensor([alphabet.index(c) for c in text])
    cut = int(0.9 * len(data))
    torch.manual_seed(options.seed)
    net = CharLSTM(len(alphabet), 64 if options.quick else 256).to(device)
    count = sum(p.numel() for p in net.parameters())
    print(f"device {name}, seed {options.seed}, {len(text):,} letters, {count:,} parameters")

    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2 if options.quick else 3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    streams, state, losses = rows(data[:cut], BATCH).to(device), None, []
    start = time.perf_counter()
    bar = progress(range(steps), "training", disable=False)
    for step in bar:
        at = step * WINDOW % (streams.size(1) - WINDOW - 1)
        if at < WINDOW:
            state = None  # a new pass over the text
        logits, state = net(streams[:, at : at + WINDOW], state)
        state = tuple(s.detach() for s in state)
        loss = F.cross_entropy(logits.flatten(0, 1), streams[:, at + 1 : at + WINDOW + 1].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
        if step % 10 == 0:
            bar.set_postfix(loss=f"{losses[-1]:.3f}")
    print(f"trained for {steps} steps in {time.perf_counter() - start:.1f} s")
    loss = held_out(net, data[cut:], device)
    print(write(net, "def ", 80 if options.quick else 400, alphabet, device))

    plt = pyplot()
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.plot(losses, linewidth=1)
    axes.axhline(loss, linestyle="--", color="gray", label=f"held out: {loss:.3f}")
    axes.set(xlabel="step", ylabel="nats a letter", title=f"character LSTM, rtorch on {name}")
    axes.legend()
    figure.savefig(options.picture, dpi=80)
    print(f"picture {os.path.abspath(options.picture)}")
    print(f"held-out loss {loss:.4f}")


if __name__ == "__main__":
    main()
