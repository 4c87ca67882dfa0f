"""A variational auto-encoder (Kingma & Welling 2014) on handwritten digits: encodes each as a normal distribution of
two numbers or more, and draws digits that nobody wrote.

Uses `rtorch.distributions`: the posterior is a `Normal`, its draws carry gradients, and the divergence from the prior
is `kl_divergence`. Draws a grid of samples, reconstructions beside originals, and the map of the codes.

usage: vae_digits.py [--quick] [--device auto|cpu|wgpu] [--epochs 120] [--seed 2] [--picture vae_digits.png]
"""

import argparse
import os
import time

import numpy as np
from common import choose_device, digits, pyplot

import rtorch as torch
import rtorch.nn as nn
from rtorch.distributions import ContinuousBernoulli, Independent, Normal, kl_divergence
from rtorch.utils import progress
from rtorch.utils.data import DataLoader, TensorDataset

CODE = 8


class VAE(nn.Module):
    """Encoder and decoder of two hidden layers each."""

    def __init__(self, width):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, 2 * CODE),
        )
        self.decoder = nn.Sequential(
            nn.Linear(CODE, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 64)
        )

    def posterior(self, x):
        mean, log_scale = self.encoder(x).chunk(2, -1)
        return Independent(Normal(mean, log_scale.clamp(-6, 3).exp()), 1)

    def picture(self, code):
        """The distribution of a picture's pixels."""
        return Independent(ContinuousBernoulli(logits=self.decoder(code)), 1)

    def bound(self, x, prior):
        """The evidence lower bound of each picture, its two parts: likelihood and divergence."""
        posterior = self.posterior(x)
        likelihood = self.picture(posterior.rsample()).log_prob(x.flatten(1))
        return likelihood, kl_divergence(posterior, prior)


def main():
    parser = argparse.ArgumentParser(description="A variational auto-encoder on the digits.")
    parser.add_argument("--quick", action="store_true", help="a few epochs of a small network")
    parser.add_argument("--device", choices=("auto", "cpu", "wgpu"), default="auto")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--picture", default="vae_digits.png")
    options = parser.parse_args()
    epochs = options.epochs or (6 if options.quick else 120)
    device, name = choose_device(options.device)
    images, labels = digits()
    order = np.random.default_rng(options.seed).permutation(len(labels))
    train, test = order[:1500], order[1500:]
    x, test_x = torch.from_numpy(images[train]), torch.from_numpy(images[test]).to(device)

    torch.manual_seed(options.seed)
    net = VAE(64 if options.quick else 256).to(device)
    prior = Independent(Normal(torch.zeros(CODE, device=device), torch.ones(CODE, device=device)), 1)
    print(f"device {name}, seed {options.seed}, {len(train)} digits for training, {len(test)} held out")
    loader = DataLoader(TensorDataset(x), batch_size=64, shuffle=True, drop_last=True)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    curve, start = [], time.perf_counter()
    bar = progress(None, "training", epochs * len(loader), disable=False)
    for epoch in range(epochs):
        weight = min(1.0, (epoch + 1) / (0.3 * epochs))  # the divergence comes in slowly
        for (pictures,) in loader:
            likelihood, divergence = net.bound(pictures.to(device), prior)
            loss = (weight * divergence - likelihood).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            bar.update()
        with torch.no_grad():
            likelihood, divergence = net.bound(test_x, prior)
        curve.append((likelihood - divergence).mean().item())
        bar.set_postfix(bound=f"{curve[-1]:.2f}")
    bar.close()
    print(f"trained for {epochs} epochs in {time.perf_counter() - start:.1f} s")
    draw(options.picture, net, prior, test_x, labels[test], curve, name)
    print(f"picture {os.path.abspath(options.picture)}")
    print(f"held-out bound {curve[0]:.3f} after the first epoch")
    print(f"held-out bound {curve[-1]:.3f} nats a digit")


@torch.no_grad()
def draw(path, net, prior, x, labels, curve, name):
    """Samples, reconstructions, codes and the curve."""
    plt = pyplot()
    figure, axes = plt.subplots(2, 2, figsize=(10, 10), layout="constrained")
    figure.suptitle(f"variational auto-encoder, rtorch on {name}: bound {curve[-1]:.2f} nats a digit")
    samples = net.picture(prior.sample((100,))).mean.cpu().numpy()
    axes[0, 0].imshow(samples.reshape(10, 10, 8, 8).transpose(0, 2, 1, 3).reshape(80, 80), cmap="gray_r")
    axes[0, 0].set(title="drawn from the prior", xticks=[], yticks=[])
    again = net.picture(net.posterior(x[:50]).mean).mean
    pairs = torch.stack([x[:50].flatten(1), again], 1).cpu().numpy().reshape(5, 10, 2, 8, 8)
    axes[0, 1].imshow(pairs.transpose(0, 2, 3, 1, 4).reshape(80, 80), cmap="gray_r")
    axes[0, 1].set(title="held-out digits above their reconstructions", xticks=[], yticks=[])
    codes = net.posterior(x).mean.cpu().numpy()
    top = np.argsort(-codes.var(0))[:2]
    shown = axes[1, 0].scatter(codes[:, top[0]], codes[:, top[1]], c=labels, cmap="tab10", s=12)
    axes[1, 0].set(title="the two codes that vary most")
    figure.colorbar(shown, ax=axes[1, 0])
    axes[1, 1].plot(curve)
    axes[1, 1].set(title="held-out bound", xlabel="epoch", ylabel="nats a digit")
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
