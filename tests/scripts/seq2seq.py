"""Sequence to sequence with attention: a plain PyTorch script, run under rtorch by tests/test_scripts.py."""

import argparse
import random

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

SOS, EOS, PAD = 0, 1, 2
VOCAB = 12


class EncoderRNN(nn.Module):
    def __init__(self, vocab, hidden, dropout=0.1):
        super().__init__()
        self.embedding = nn.Embedding(vocab, hidden, padding_idx=PAD)
        self.gru = nn.GRU(hidden, hidden, batch_first=True, bidirectional=True)
        self.reduce = nn.Linear(2 * hidden, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, source, lengths):
        embedded = self.dropout(self.embedding(source))
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        output, hidden = self.gru(packed)
        output, _ = pad_packed_sequence(output, batch_first=True)
        hidden = torch.tanh(self.reduce(torch.cat((hidden[0], hidden[1]), dim=1))).unsqueeze(0)
        return self.reduce(output), hidden


class BahdanauAttention(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.Wa = nn.Linear(hidden, hidden)
        self.Ua = nn.Linear(hidden, hidden)
        self.Va = nn.Linear(hidden, 1)

    def forward(self, query, keys, mask):
        scores = self.Va(torch.tanh(self.Wa(query) + self.Ua(keys))).squeeze(2)
        weights = F.softmax(scores.masked_fill(mask, float("-inf")), dim=-1).unsqueeze(1)
        return torch.bmm(weights, keys), weights


class AttnDecoderRNN(nn.Module):
    def __init__(self, vocab, hidden, dropout=0.1):
        super().__init__()
        self.embedding = nn.Embedding(vocab, hidden)
        self.attention = BahdanauAttention(hidden)
        self.gru = nn.GRU(2 * hidden, hidden, batch_first=True)
        self.out = nn.Linear(hidden, vocab)
        self.dropout = nn.Dropout(dropout)

    def forward(self, encoder_outputs, hidden, mask, target=None, max_length=10, teacher_forcing=1.0):
        batch = encoder_outputs.size(0)
        token = torch.empty(batch, 1, dtype=torch.long, device=encoder_outputs.device).fill_(SOS)
        outputs, attentions = [], []
        steps = target.size(1) if target is not None else max_length
        for i in range(steps):
            embedded = self.dropout(self.embedding(token))
            context, weights = self.attention(hidden.permute(1, 0, 2), encoder_outputs, mask)
            output, hidden = self.gru(torch.cat((embedded, context), dim=2), hidden)
            logits = self.out(output)
            outputs.append(logits)
            attentions.append(weights)
            if target is not None and random.random() < teacher_forcing:
                token = target[:, i].unsqueeze(1)
            else:
                _, topi = logits.topk(1)
                token = topi.squeeze(-1).detach()
        return F.log_softmax(torch.cat(outputs, dim=1), dim=-1), torch.cat(attentions, dim=1)


def batch_of(n, generator):
    """Sequences and the same backwards."""
    sources, targets = [], []
    for _ in range(n):
        length = int(torch.randint(2, 6, (1,), generator=generator))
        s = torch.randint(3, VOCAB, (length,), generator=generator)
        sources.append(torch.cat([s, torch.tensor([EOS])]))
        targets.append(torch.cat([s.flip(0), torch.tensor([EOS])]))
    lengths = torch.tensor([len(s) for s in sources])
    pad = lambda seqs: pad_sequence(seqs, batch_first=True, padding_value=PAD)
    return pad(sources), pad(targets), lengths


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--hidden", type=int, default=32)
    args = parser.parse_args()
    random.seed(0)
    torch.manual_seed(0)
    generator = torch.Generator()
    generator.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = EncoderRNN(VOCAB, args.hidden).to(device)
    decoder = AttnDecoderRNN(VOCAB, args.hidden).to(device)
    encoder_optimizer = optim.Adam(encoder.parameters(), lr=0.01)
    decoder_optimizer = optim.Adam(decoder.parameters(), lr=0.01)
    criterion = nn.NLLLoss(ignore_index=PAD)
    for step in range(args.steps):
        source, target, lengths = batch_of(32, generator)
        source, target = source.to(device), target.to(device)
        encoder_optimizer.zero_grad()
        decoder_optimizer.zero_grad()
        encoded, hidden = encoder(source, lengths)
        outputs, _ = decoder(encoded, hidden, source == PAD, target, teacher_forcing=0.9)
        loss = criterion(outputs.view(-1, outputs.size(-1)), target.view(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(list(encoder.parameters()) + list(decoder.parameters()), 1.0)
        encoder_optimizer.step()
        decoder_optimizer.step()
        if step == 0:
            print(f"first {loss.item():.4f}")
    encoder.eval()
    decoder.eval()
    with torch.no_grad():
        source, target, lengths = batch_of(64, generator)
        encoded, hidden = encoder(source.to(device), lengths)
        outputs, attentions = decoder(encoded, hidden, source.to(device) == PAD, max_length=target.size(1))
        assert torch.allclose(attentions.sum(-1), torch.ones_like(attentions[..., 0]), atol=1e-5)
        right = (outputs.argmax(-1).cpu() == target) | (target == PAD)
    print(f"loss {loss.item():.4f}")
    print(f"final {right.all(1).float().mean().item():.4f}")


if __name__ == "__main__":
    main()
