"""Attention with scores and masks that are functions: `flex_attention`, `create_block_mask`.

Composed of products and a softmax: the scores are materialised (PyTorch's compiled kernel skips masked blocks).
Source: Dong et al. 2024, "Flex Attention: A Programming Model for Generating Optimized Attention Kernels".
"""

import math

import rtorch

__all__ = ["BlockMask", "and_masks", "create_block_mask", "create_mask", "flex_attention", "noop_mask", "or_masks"]


def noop_mask(batch, head, token_q, token_kv):
    """A mask that hides nothing."""
    return rtorch.ones((), dtype=rtorch.bool, device=batch.device)


def and_masks(*mask_mods):
    """The mask that shows what all of these show."""

    def both(b, h, q, kv):
        shown = noop_mask(b, h, q, kv)
        for mask in mask_mods:
            shown = shown & mask(b, h, q, kv)
        return shown

    return both


def or_masks(*mask_mods):
    """The mask that shows what one of these shows."""

    def one(b, h, q, kv):
        shown = ~noop_mask(b, h, q, kv)
        for mask in mask_mods:
            shown = shown | mask(b, h, q, kv)
        return shown

    return one


def _places(batch, heads, queries, keys, device):
    """Indices of batch, head, query and key, which broadcast to (B, H, Q, K)."""
    shapes = ((-1, 1, 1, 1), (-1, 1, 1), (-1, 1), (-1,))
    return [rtorch.arange(n, device=device).reshape(s) for n, s in zip((batch, heads, queries, keys), shapes)]


def create_mask(mod_fn, B, H, Q_LEN, KV_LEN, device="cpu"):
    """What a mask function shows, as a bool tensor (B, H, Q, K)."""
    shown = mod_fn(*_places(B or 1, H or 1, Q_LEN, KV_LEN, device))
    return shown.expand(B or 1, H or 1, Q_LEN, KV_LEN)


class BlockMask:
    """A mask function for sequences of given lengths; B or H of 1 stand for all batches or heads."""

    def __init__(self, mask_mod, B, H, Q_LEN, KV_LEN, device="cpu", BLOCK_SIZE=128):
        self.mask_mod, self.seq_lengths, self.BLOCK_SIZE = mask_mod, (Q_LEN, KV_LEN), BLOCK_SIZE
        self.shape = (B or 1, H or 1, Q_LEN, KV_LEN)
        self.mask = create_mask(mask_mod, B, H, Q_LEN, KV_LEN, device)

    def to(self, device):
        """The same mask on another device."""
        return BlockMask(self.mask_mod, *self.shape, device=device, BLOCK_SIZE=self.BLOCK_SIZE)

    def sparsity(self):
        """How much is hidden, in percent."""
        return 100 * (1 - self.mask.float().mean().item())

    def __repr__(self):
        return f"BlockMask(shape={self.shape}, sparsity={self.sparsity():.2f}%)"


def create_block_mask(mask_mod, B, H, Q_LEN, KV_LEN, device="cpu", BLOCK_SIZE=128, _compile=False):
    """A mask for `flex_attention` from a function of indices (batch, head, query, key) -> bool.

    >>> from rtorch.nn.attention.flex_attention import create_block_mask
    >>> create_block_mask(lambda b, h, q, kv: q >= kv, None, None, 4, 4).mask.sum().item()
    10
    """
    return BlockMask(mask_mod, B, H, Q_LEN, KV_LEN, device, BLOCK_SIZE)


def flex_attention(
    query, key, value, score_mod=None, block_mask=None, scale=None, enable_gqa=False, return_lse=False,
    kernel_options=None,
):  # fmt: skip
    """softmax(score_mod(Q K^T scale)) V where the mask shows it.

    query: (B, H, Q, E), key: (B, H, K, E), value: (B, H, K, V); the result is (B, H, Q, V). score_mod: a function
    (score, batch, head, query, key) -> score, called once with index tensors that broadcast.
    scale: default 1 / sqrt(E). enable_gqa: the heads of query are a multiple of those of key. return_lse: also the
    logarithm of each row's sum of exponentials. A row of which nothing is shown gives zeros. `kernel_options` choose
    among PyTorch's kernels and change no result.
    """
    if query.dim() != 4 or key.dim() != 4 or value.dim() != 4:
        dims = (query.dim(), key.dim(), value.dim())
        raise ValueError(f"expected query, key and value of 4 dimensions, got {dims}")
    batch, heads, queries, width = query.shape
    if enable_gqa:
        groups = heads // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    if key.shape[1] != heads or key.shape[3] != width:
        raise ValueError(f"query {tuple(query.shape)} and key {tuple(key.shape)} do not fit each other")
    score = query @ key.transpose(-2, -1) * (1 / math.sqrt(width) if scale is None else scale)
    if score_mod is not None:
        score = score_mod(score, *_places(batch, heads, queries, key.shape[2], query.device))
    if block_mask is not None:
        if block_mask.seq_lengths != (queries, key.shape[2]):
            raise ValueError(
                f"block_mask was made for lengths {block_mask.seq_lengths}, not for {(queries, key.shape[2])}"
            )
        score = score.masked_fill(~block_mask.mask, -math.inf)
    total = score.logsumexp(-1)
    weights = (score - total.masked_fill(total.isinf(), 0).unsqueeze(-1)).exp()
    out = weights @ value
    return (out, total) if return_lse else out
