"""Skip-gram with negative sampling on sparse gradients: a plain PyTorch script, run by tests/test_scripts.py."""

import argparse
from collections import Counter

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.utils.data import DataLoader, Dataset

TEXT = "the quick brown fox jumps over the lazy dog while the small cat sleeps near the old dog and the fox runs " * 8


class SkipGrams(Dataset):
    def __init__(self, ids, window=2):
        self.pairs = [
            (ids[i], ids[j])
            for i in range(len(ids))
            for j in range(max(0, i - window), min(len(ids), i + window + 1))
            if i != j
        ]

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, i):
        return self.pairs[i]


class Word2Vec(nn.Module):
    def __init__(self, words, dim, noise):
        super().__init__()
        self.center = nn.Embedding(words, dim, sparse=True)
        self.context = nn.Embedding(words, dim, sparse=True)
        nn.init.uniform_(self.center.weight, -0.5 / dim, 0.5 / dim)
        nn.init.zeros_(self.context.weight)
        self.register_buffer("noise", noise)

    def forward(self, center, context, negatives=4):
        u, v = self.center(center), self.context(context)
        drawn = torch.multinomial(self.noise, center.numel() * negatives, replacement=True).view(-1, negatives)
        far = torch.bmm(self.context(drawn).neg(), u.unsqueeze(2)).squeeze(2)
        return -(F.logsigmoid((u * v).sum(1)) + F.logsigmoid(far).sum(1)).mean()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--optimizer", default="SparseAdam", choices=["SparseAdam", "SGD", "Adagrad"])
    args = parser.parse_args()
    torch.manual_seed(0)
    words = TEXT.split()
    counts = Counter(words)
    vocabulary = sorted(counts)
    ids = [vocabulary.index(w) for w in words]
    noise = torch.tensor([float(counts[w]) for w in vocabulary]).pow(0.75)
    model = Word2Vec(len(vocabulary), 16, noise / noise.sum())
    optimizer = getattr(optim, args.optimizer)(model.parameters(), lr={"SparseAdam": 0.02}.get(args.optimizer, 0.2))
    loader = DataLoader(SkipGrams(ids), batch_size=64, shuffle=True)
    for epoch in range(args.epochs):
        total = 0.0
        for center, context in loader:
            optimizer.zero_grad()
            loss = model(center, context)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(center)
        print(f"epoch {epoch} {total / len(loader.dataset):.4f}")
    assert model.center.weight.grad.is_sparse
    with torch.no_grad():
        near = F.cosine_similarity(model.center.weight[vocabulary.index("fox")].unsqueeze(0), model.center.weight)
    print("near", " ".join(vocabulary[i] for i in near.topk(4).indices.tolist()))
    print(f"final {total / len(loader.dataset):.4f}")


if __name__ == "__main__":
    main()
