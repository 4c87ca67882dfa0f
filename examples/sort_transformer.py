"""A transformer that learns to sort, and survives being killed: a run that is stopped in the middle and started again
ends with the very same weights as one that never stopped.

A checkpoint holds the model, the optimizer, the schedule, the random generators and the step; it is written beside the
old one and renamed over it. Reads digits, then a separator, then writes them sorted, one at a time. Prints a table of
examples, a checksum of the weights, and draws the curve.

usage: sort_transformer.py [--quick] [--steps 1500] [--checkpoint FILE] [--every 100] [--die-at STEP]
                           [--seed 4] [--picture sort_transformer.png]
"""

import argparse
import hashlib
import os
import time

from common import pyplot

import rtorch as torch
import rtorch.nn as nn
import rtorch.nn.functional as F
from rtorch.utils import progress

LENGTH, DIGITS, BATCH = 8, 10, 64
SEPARATOR = DIGITS
TOTAL = 2 * LENGTH  # digits, separator, all sorted digits but the last


class Sorter(nn.Module):
    """A causal transformer over digits and a separator."""

    def __init__(self, width, layers):
        super().__init__()
        self.token = nn.Embedding(DIGITS + 1, width)
        self.place = nn.Parameter(torch.randn(TOTAL, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.out = nn.Linear(width, DIGITS)

    def forward(self, x):
        n = x.size(1)
        mask = nn.Transformer.generate_square_subsequent_mask(n)
        return self.out(self.layers(self.token(x) + self.place[:n], mask=mask, is_causal=True))


def batch(count):
    """Sequences as the model reads them, and what it is to write after the separator."""
    digits = torch.randint(0, DIGITS, (count, LENGTH))
    sorted_ = digits.sort(1).values
    separator = torch.full((count, 1), SEPARATOR)
    return torch.cat([digits, separator, sorted_[:, :-1]], 1), sorted_


@torch.no_grad()
def solve(net, digits):
    """Sorts by writing one digit after another."""
    net.eval()
    x = torch.cat([digits, torch.full((len(digits), 1), SEPARATOR)], 1)
    for _ in range(LENGTH):
        x = torch.cat([x, net(x)[:, -1].argmax(-1, keepdim=True)], 1)
    net.train()
    return x[:, LENGTH + 1 :]


def checksum(net):
    """A digest of the weights' bits."""
    digest = hashlib.sha256()
    for value in net.state_dict().values():
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()[:16]


def save(path, parts, step, losses):
    """Writes a checkpoint; a crash leaves the old one or the new one, never half of one."""
    state = {name: part.state_dict() for name, part in parts.items()}
    torch.save({**state, "random": torch.get_rng_state(), "step": step, "losses": losses}, path)


def load(path, parts):
    """Puts a checkpoint's states back; the step to go on with, and the losses so far."""
    state = torch.load(path)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    torch.set_rng_state(state["random"])
    return state["step"], state["losses"]


def main():
    parser = argparse.ArgumentParser(description="A transformer learns to sort, with resume from a checkpoint.")
    parser.add_argument("--quick", action="store_true", help="a few steps of a small network")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--checkpoint", default="sort_transformer.pt")
    parser.add_argument("--every", type=int, help="steps between two checkpoints")
    parser.add_argument("--die-at", type=int, help="ends the process at this step, as a kill would")
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--picture", default="sort_transformer.png")
    options = parser.parse_args()
    steps = options.steps or (60 if options.quick else 1500)
    every = options.every or max(1, steps // 12)

    torch.manual_seed(options.seed)
    net = Sorter(32, 1) if options.quick else Sorter(64, 2)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, betas=(0.9, 0.98), weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    parts = {"model": net, "optimizer": optimizer, "scheduler": scheduler}
    first, losses = 0, []
    if os.path.exists(options.checkpoint):
        first, losses = load(options.checkpoint, parts)
        print(f"resumed at step {first}")
    start = time.perf_counter()
    bar = progress(range(first, steps), "training", disable=False)
    for step in bar:
        if step == options.die_at:
            os._exit(9)  # nothing is tidied up
        x, want = batch(BATCH)
        loss = F.cross_entropy(net(x)[:, LENGTH:].flatten(0, 1), want.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
        if (step + 1) % every == 0:
            save(options.checkpoint, parts, step + 1, losses)
            bar.set_postfix(loss=f"{losses[-1]:.3f}")
    print(f"trained from step {first} to {steps} in {time.perf_counter() - start:.1f} s")
    report(net, losses, options)


def report(net, losses, options):
    """Examples, accuracy, checksum and the picture."""
    torch.manual_seed(999)
    digits = torch.randint(0, DIGITS, (500, LENGTH))
    written, want = solve(net, digits), digits.sort(1).values
    print("digits                     written")
    for given, found, right in list(zip(digits.tolist(), written.tolist(), want.tolist()))[:5]:
        print(f"{given}   {found}   {'right' if found == right else 'wrong'}")
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.plot(losses, linewidth=1)
    axes.set(xlabel="step", ylabel="nats a digit", title="a transformer learns to sort", yscale="log")
    figure.savefig(options.picture, dpi=80)
    print(f"picture {os.path.abspath(options.picture)}")
    print(f"weights {checksum(net)}")
    print(f"loss {losses[-1]:.4f}")
    right = written == want
    print(f"digits right {right.float().mean().item():.4f}")
    print(f"sequences right {right.all(1).float().mean().item():.4f}")


if __name__ == "__main__":
    main()
