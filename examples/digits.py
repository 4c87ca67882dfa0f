"""Trains a small convolutional network on handwritten digits and draws what it learned.

The data are the 1,797 scans of 8 x 8 pixels that scikit-learn ships (UCI, E. Alpaydin and C. Kaynak, 1998).
A quarter of them, drawn stratified with a printed seed, is the test set: it is looked at once, after training.
A tenth of the rest is for the validation curve.

usage: digits.py [--device auto|cpu|wgpu] [--epochs 20] [--seed 7] [--picture digits.png]
"""

import argparse
import os
import sys
import time

import numpy as np
from common import choose_device, digits, pyplot
from sklearn.model_selection import train_test_split
from tqdm import tqdm

import rtorch as torch
import rtorch.nn as nn
import rtorch.nn.functional as F
from rtorch.utils.data import DataLoader, TensorDataset

BATCH = 64
PEAK_LR = 4e-3


class Net(nn.Module):
    """Two convolutions, a pool, one more convolution, one linear layer: 34,000 parameters."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1)
        self.norm3 = nn.BatchNorm2d(64)
        self.dropout = nn.Dropout(0.3)
        self.out = nn.Linear(64 * 4 * 4, 10)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)
        x = F.relu(self.norm3(self.conv3(x)))
        return self.out(self.dropout(x.flatten(1)))


def load(seed):
    """Images as float32 of shape (n, 1, 8, 8) in [0, 1] and labels as int64: for training, validation, test."""
    images, labels = digits()
    rest, test = train_test_split(np.arange(len(labels)), test_size=0.25, stratify=labels, random_state=seed)
    train, val = train_test_split(rest, test_size=0.1, stratify=labels[rest], random_state=seed)
    return [(torch.from_numpy(images[i]), torch.from_numpy(labels[i])) for i in (train, val, test)]


@torch.no_grad()
def evaluate(net, images, labels):
    """Mean loss and the predicted classes, in evaluation mode."""
    net.eval()
    logits = net(images)
    return F.cross_entropy(logits, labels).item(), logits.argmax(1)


def train(net, device, sets, epochs):
    """Trains in place and returns the curves: a list of (loss, accuracy, validation loss, validation accuracy)."""
    (images, labels), (val_images, val_labels) = sets
    loader = DataLoader(TensorDataset(images, labels), batch_size=BATCH, shuffle=True)
    val_images, val_labels = val_images.to(device), val_labels.to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=PEAK_LR, weight_decay=1e-2)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LR, total_steps=epochs * len(loader))
    curves = []
    bar = tqdm(total=epochs * len(loader), desc="training", unit="step", file=sys.stdout, mininterval=0.2)
    for _ in range(epochs):
        net.train()
        losses, right = [], []
        for x, y in loader:
            x, y = x.to(device), y.to(device)
            # A shift by up to one pixel: the scans are centred, handwriting is not.
            dy, dx = torch.randint(-1, 2, (2,)).tolist()
            x = torch.roll(F.pad(x, (1, 1, 1, 1)), (dy, dx), (2, 3))[:, :, 1:-1, 1:-1]
            logits = net(x)
            loss = F.cross_entropy(logits, y, label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.detach())
            right.append((logits.detach().argmax(1) == y).float().mean())
            bar.update()
        loss, accuracy = torch.stack(losses).mean().item(), torch.stack(right).mean().item()
        val_loss, guess = evaluate(net, val_images, val_labels)
        curves.append((loss, accuracy, val_loss, (guess == val_labels).float().mean().item()))
        bar.set_postfix(loss=f"{loss:.3f}", accuracy=f"{accuracy:.3f}")
    bar.close()
    return curves


def draw(path, curves, images, labels, guess, title):
    """Curves, confusion matrix and the misread digits, in one picture."""
    curves, images, labels, guess = np.array(curves), images.numpy(), labels.numpy(), guess.numpy()
    plt = pyplot()
    figure = plt.figure(figsize=(15, 8.5), layout="constrained")
    figure.suptitle(title)
    grid = figure.add_gridspec(2, 3, height_ratios=(3, 1.1))
    for place, column, name in ((0, 0, "loss"), (1, 1, "accuracy")):
        axes = figure.add_subplot(grid[0, place])
        axes.plot(curves[:, column], label="training")
        axes.plot(curves[:, column + 2], label="validation")
        axes.set(xlabel="epoch", ylabel=name)
        axes.grid(alpha=0.3)
        axes.legend()
    table = np.zeros((10, 10), int)
    np.add.at(table, (labels, guess), 1)
    axes = figure.add_subplot(grid[0, 2])
    axes.imshow(np.sqrt(table), cmap="Blues")
    for i, j in np.argwhere(table):
        axes.text(j, i, table[i, j], ha="center", va="center", color="white" if i == j else "black")
    axes.set(xlabel="read as", ylabel="is", xticks=range(10), yticks=range(10), title="confusion matrix (test set)")
    wrong = np.flatnonzero(labels != guess)
    strip = grid[1, :].subgridspec(1, max(10, min(len(wrong), 16)))
    for place, i in enumerate(wrong[:16]):
        axes = figure.add_subplot(strip[place])
        axes.imshow(images[i, 0], cmap="gray_r")
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"{labels[i]} read as {guess[i]}", fontsize=8)
    figure.savefig(path, dpi=80)


def main():
    parser = argparse.ArgumentParser(description="Handwritten digits with a small convolutional network.")
    parser.add_argument("--device", choices=("auto", "cpu", "wgpu"), default="auto")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--picture", default="digits.png")
    options = parser.parse_args()
    device, name = choose_device(options.device)
    training, validation, (images, labels) = load(options.seed)
    print(f"device {name}, seed {options.seed}")
    print(f"{len(training[1])} digits for training, {len(validation[1])} for validation, {len(labels)} for the test")

    torch.manual_seed(options.seed)
    net = Net().to(device)
    start = time.perf_counter()
    curves = train(net, device, (training, validation), options.epochs)
    seconds = time.perf_counter() - start
    _, guess = evaluate(net, images.to(device), labels.to(device))
    guess = guess.cpu()
    accuracy = (guess == labels).float().mean().item()
    print(f"trained for {options.epochs} epochs in {seconds:.1f} s; {int((guess != labels).sum())} test digits misread")
    draw(options.picture, curves, images, labels, guess, f"rtorch on {name}: test accuracy {accuracy:.4f}")
    print(f"picture {os.path.abspath(options.picture)}")
    print(f"test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
