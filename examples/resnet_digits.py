"""A residual network (He et al. 2016) on handwritten digits, with augmentation: shifts, rotations, erased patches.

Prints a table of the layers and of the accuracy of each class, and draws the curves beside augmented examples. The test
set, a quarter drawn stratified, is looked at once.

usage: resnet_digits.py [--quick] [--device auto|cpu|wgpu] [--epochs 30] [--seed 5] [--picture resnet_digits.png]
"""

import argparse
import math
import os
import time

import numpy as np
from common import choose_device, digits, pyplot
from sklearn.model_selection import train_test_split

import rtorch as torch
import rtorch.nn as nn
import rtorch.nn.functional as F
from rtorch.utils import progress, summary
from rtorch.utils.data import DataLoader, TensorDataset

BATCH = 64


class Block(nn.Module):
    """Two 3 x 3 convolutions around a shortcut."""

    def __init__(self, inside, outside, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outside)
        self.shortcut = nn.Identity()
        if stride != 1 or inside != outside:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """A stem and three stages of `depth` blocks, then the mean over the picture."""

    def __init__(self, width, depth):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        stages, inside = [], width
        for stage in range(3):
            for block in range(depth):
                outside = width * 2**stage
                stages.append(Block(inside, outside, 2 if block == 0 and stage > 0 else 1))
                inside = outside
        self.stages = nn.Sequential(*stages)
        self.out = nn.Linear(inside, 10)

    def forward(self, x):
        return self.out(self.stages(self.stem(x)).mean((2, 3)))


def augmented(x):
    """Each picture turned by up to 12 degrees, moved by up to a pixel, in a third of cases with a patch erased."""
    n = x.size(0)
    angle = (torch.rand(n) * 2 - 1) * math.radians(12)
    shift = (torch.rand(n, 2) * 2 - 1) / 4
    turn = torch.stack(
        [
            torch.stack([angle.cos(), -angle.sin(), shift[:, 0]], 1),
            torch.stack([angle.sin(), angle.cos(), shift[:, 1]], 1),
        ],
        1,
    )
    grid = F.affine_grid(turn, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, align_corners=False)
    place = torch.arange(8)
    corner = torch.randint(0, 7, (n, 2))
    rows = (place >= corner[:, :1]) & (place < corner[:, :1] + 2)
    columns = (place >= corner[:, 1:]) & (place < corner[:, 1:] + 2)
    hit = (rows[:, :, None] & columns[:, None, :]) & (torch.rand(n, 1, 1) < 1 / 3)
    return x.masked_fill(hit[:, None], 0.0)


@torch.no_grad()
def accuracy(net, images, labels):
    """Share of pictures read rightly, and what each was read as."""
    net.eval()
    guess = net(images).argmax(1)
    net.train()
    return (guess == labels).float().mean().item(), guess


def main():
    parser = argparse.ArgumentParser(description="A ResNet on the digits with augmentation.")
    parser.add_argument("--quick", action="store_true", help="a few epochs of a small network")
    parser.add_argument("--device", choices=("auto", "cpu", "wgpu"), default="auto")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--picture", default="resnet_digits.png")
    options = parser.parse_args()
    epochs = options.epochs or (4 if options.quick else 30)
    device, name = choose_device(options.device)
    images, labels = digits()
    train, test = train_test_split(np.arange(len(labels)), test_size=0.25, stratify=labels, random_state=options.seed)
    x, y = torch.from_numpy(images[train]), torch.from_numpy(labels[train])
    test_x, test_y = torch.from_numpy(images[test]).to(device), torch.from_numpy(labels[test]).to(device)

    torch.manual_seed(options.seed)
    net = ResNet(16, 1 if options.quick else 2).to(device)
    print(summary(net, (1, 1, 8, 8), depth=2))
    print(f"device {name}, seed {options.seed}, {len(train)} digits for training, {len(test)} for the test")
    loader = DataLoader(TensorDataset(x, y), batch_size=BATCH, shuffle=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=epochs * len(loader))
    losses, start = [], time.perf_counter()
    bar = progress(None, "training", epochs * len(loader), disable=False)
    for _ in range(epochs):
        for pictures, classes in loader:
            logits = net(augmented(pictures).to(device))
            loss = F.cross_entropy(logits, classes.to(device), label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
            bar.update()
        bar.set_postfix(loss=f"{np.mean(losses[-len(loader):]):.3f}")
    bar.close()
    print(f"trained for {epochs} epochs in {time.perf_counter() - start:.1f} s")
    share, guess = accuracy(net, test_x, test_y)
    draw(options.picture, losses, x, name, share)
    print("digit   right   of")
    for digit in range(10):
        of = test_y == digit
        print(f"{digit:5d} {(guess[of] == digit).sum().item():7d} {of.sum().item():4d}")
    print(f"picture {os.path.abspath(options.picture)}")
    print(f"test accuracy {share:.4f}")


def draw(path, losses, x, name, share):
    """The loss curve, and a row of digits above what augmentation made of them."""
    plt = pyplot()
    figure = plt.figure(figsize=(10, 6), layout="constrained")
    figure.suptitle(f"ResNet on the digits, rtorch on {name}: test accuracy {share:.4f}")
    grid = figure.add_gridspec(3, 10, height_ratios=(4, 1, 1))
    axes = figure.add_subplot(grid[0, :])
    axes.plot(losses, linewidth=1)
    axes.set(xlabel="step", ylabel="loss")
    for row, pictures in enumerate((x[:10], augmented(x[:10])), 1):
        for column in range(10):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(pictures[column, 0].numpy(), cmap="gray_r", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
