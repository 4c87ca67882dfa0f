"""A variational auto-encoder: a plain PyTorch script, run under rtorch by tests/test_scripts.py."""

import argparse

import torch
import torch.utils.data
from torch import nn, optim
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

parser = argparse.ArgumentParser(description="VAE example")
parser.add_argument("--batch-size", type=int, default=64, metavar="N")
parser.add_argument("--epochs", type=int, default=20, metavar="N")
parser.add_argument("--samples", type=int, default=5000)
parser.add_argument("--seed", type=int, default=1, metavar="S")
args = parser.parse_args()

torch.manual_seed(args.seed)
device = torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
kwargs = {"num_workers": 1, "pin_memory": True} if device.type == "cuda" else {}

SIZE = 12
grid = torch.stack(torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")).float()
centres = torch.rand(args.samples, 2, 1, 1) * (SIZE - 6) + 3
radii = torch.rand(args.samples, 1, 1) * 2 + 1.5
images = ((grid - centres).pow(2).sum(1).sqrt() < radii).float().unsqueeze(1)
dataset = torch.utils.data.TensorDataset(images, torch.zeros(args.samples, dtype=torch.long))
loader = torch.utils.data.DataLoader(dataset, batch_size=args.batch_size, shuffle=True, **kwargs)


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(SIZE * SIZE, 64)
        self.fc21 = nn.Linear(64, 4)
        self.fc22 = nn.Linear(64, 4)
        self.fc3 = nn.Linear(4, 64)
        self.fc4 = nn.Linear(64, SIZE * SIZE)

    def encode(self, x):
        h1 = F.relu(self.fc1(x))
        return self.fc21(h1), self.fc22(h1)

    def reparameterize(self, mu, logvar):
        std = torch.exp(0.5 * logvar)
        eps = torch.randn_like(std)
        return mu + eps * std

    def decode(self, z):
        h3 = F.relu(self.fc3(z))
        return torch.sigmoid(self.fc4(h3))

    def forward(self, x):
        mu, logvar = self.encode(x.view(-1, SIZE * SIZE))
        z = self.reparameterize(mu, logvar)
        return self.decode(z), mu, logvar


model = VAE().to(device)
optimizer = optim.Adam(model.parameters(), lr=3e-3)


def loss_function(recon_x, x, mu, logvar):
    BCE = F.binary_cross_entropy(recon_x, x.view(-1, SIZE * SIZE), reduction="sum")
    KLD = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return BCE + KLD


def train(epoch):
    model.train()
    train_loss = 0
    for data, _ in loader:
        data = data.to(device)
        optimizer.zero_grad()
        recon_batch, mu, logvar = model(data)
        loss = loss_function(recon_batch, data, mu, logvar)
        loss.backward()
        train_loss += loss.item()
        optimizer.step()
    print(f"====> Epoch: {epoch} Average loss: {train_loss / len(loader.dataset):.4f}")
    return train_loss / len(loader.dataset)


if __name__ == "__main__":
    for epoch in range(1, args.epochs + 1):
        last = train(epoch)
    model.eval()
    with torch.no_grad():
        mu, logvar = model.encode(images[:100].view(-1, SIZE * SIZE))
        kl = kl_divergence(Normal(mu, logvar.mul(0.5).exp()), Normal(torch.zeros_like(mu), torch.ones_like(mu))).sum(1)
        same = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=1)
        assert torch.allclose(kl, same, atol=1e-3), (kl - same).abs().max()
        sample = model.decode(torch.randn(8, 4).to(device)).cpu().view(8, 1, SIZE, SIZE)
        assert sample.min() >= 0 and sample.max() <= 1
    print(f"final {last:.4f}")
