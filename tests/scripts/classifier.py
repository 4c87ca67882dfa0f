"""An image classifier with augmentation: a plain PyTorch script, run under rtorch by tests/test_scripts.py."""

import argparse
import os
import random

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, Dataset, random_split


class Compose:
    def __init__(self, transforms):
        self.transforms = transforms

    def __call__(self, img):
        for t in self.transforms:
            img = t(img)
        return img


class RandomCrop:
    def __init__(self, size, padding):
        self.size, self.padding = size, padding

    def __call__(self, img):
        img = F.pad(img, (self.padding,) * 4, mode="reflect")
        i = torch.randint(0, img.shape[1] - self.size + 1, size=(1,)).item()
        j = torch.randint(0, img.shape[2] - self.size + 1, size=(1,)).item()
        return img[:, i : i + self.size, j : j + self.size]


class RandomHorizontalFlip:
    def __call__(self, img):
        return img.flip(-1) if torch.rand(1) < 0.5 else img


class Normalize:
    def __init__(self, mean, std):
        self.mean, self.std = torch.tensor(mean).view(-1, 1, 1), torch.tensor(std).view(-1, 1, 1)

    def __call__(self, img):
        return img.clone().sub_(self.mean).div_(self.std)


class Shapes(Dataset):
    """Noisy pictures of a disc, a square, a cross or a ring."""

    def __init__(self, n, size=16, transform=None):
        rng = np.random.default_rng(0)
        y, x = np.mgrid[:size, :size]
        self.images = np.zeros((n, 3, size, size), dtype=np.uint8)
        self.labels = rng.integers(0, 4, n)
        for i, label in enumerate(self.labels):
            cy, cx = rng.uniform(6, size - 6, 2)
            r = rng.uniform(3, 5)
            d = np.hypot(y - cy, x - cx)
            mask = [
                d < r,
                (abs(y - cy) < r) & (abs(x - cx) < r),
                ((abs(y - cy) < 1.2) | (abs(x - cx) < 1.2)) & (d < r + 1),
                (d < r) & (d > r - 1.8),
            ][label]
            color = rng.integers(100, 255, 3)
            self.images[i] = np.clip(mask[None] * color[:, None, None] + rng.normal(30, 20, (3, size, size)), 0, 255)
        self.transform = transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        img = torch.from_numpy(self.images[i]).float().div(255)
        return (self.transform(img) if self.transform else img), int(self.labels[i])


class BasicBlock(nn.Module):
    def __init__(self, cin, cout, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.short = nn.Identity()
        if stride != 1 or cin != cout:
            self.short = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        out += self.short(x)
        return F.relu(out)


class Net(nn.Module):
    def __init__(self, num_classes=4, width=8):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.layers = nn.Sequential(BasicBlock(width, width), BasicBlock(width, 2 * width, 2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(2 * width, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = self.pool(self.layers(self.stem(x)))
        return self.fc(torch.flatten(x, 1))


class AverageMeter:
    def __init__(self):
        self.sum = self.count = 0

    def update(self, val, n=1):
        self.sum += val * n
        self.count += n

    @property
    def avg(self):
        return self.sum / self.count


def accuracy(output, target, topk=(1,)):
    with torch.no_grad():
        _, pred = output.topk(max(topk), 1, True, True)
        correct = pred.t().eq(target.view(1, -1).expand_as(pred.t()))
        return [correct[:k].reshape(-1).float().sum(0, keepdim=True).mul_(100.0 / target.size(0)) for k in topk]


def train(model, loader, criterion, optimizer, scheduler, device):
    model.train()
    losses = AverageMeter()
    for images, target in loader:
        images, target = images.to(device, non_blocking=True), target.to(device, non_blocking=True)
        loss = criterion(model(images), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.update(loss.item(), images.size(0))
    return losses.avg


@torch.no_grad()
def evaluate(model, loader, device):
    model.eval()
    top1 = AverageMeter()
    for images, target in loader:
        output = model(images.to(device))
        top1.update(accuracy(output, target.to(device), topk=(1, 2))[0].item(), images.size(0))
    return top1.avg


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--checkpoint", default="classifier.pt")
    args = parser.parse_args()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    torch.cuda.manual_seed_all(0)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    augment = Compose([RandomCrop(16, 2), RandomHorizontalFlip(), Normalize((0.2, 0.2, 0.2), (0.25, 0.25, 0.25))])
    data = Shapes(args.samples, transform=augment)
    train_set, val_set = random_split(data, [0.8, 0.2], generator=torch.Generator().manual_seed(1))
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True, drop_last=True)
    val_loader = DataLoader(val_set, batch_size=64, pin_memory=torch.cuda.is_available())
    model = Net().to(device)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.05).to(device)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
    scheduler = OneCycleLR(optimizer, max_lr=0.1, total_steps=args.epochs * len(train_loader))
    best = 0.0
    for epoch in range(args.epochs):
        loss = train(model, train_loader, criterion, optimizer, scheduler, device)
        acc = evaluate(model, val_loader, device)
        print(f"epoch {epoch}: loss {loss:.4f}, accuracy {acc:.2f}, lr {scheduler.get_last_lr()[0]:.5f}")
        if acc >= best:
            best = acc
            state = {"epoch": epoch, "state_dict": model.state_dict(), "best": best}
            torch.save({**state, "optimizer": optimizer.state_dict()}, args.checkpoint)
    state = torch.load(args.checkpoint, map_location=device)
    model = Net().to(device)
    model.load_state_dict(state["state_dict"])
    assert state["best"] == best
    os.remove(args.checkpoint)
    print(f"final {best:.2f}")


if __name__ == "__main__":
    main()
