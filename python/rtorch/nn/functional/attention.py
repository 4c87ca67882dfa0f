"""Attention: the core's scaled dot product, and the multi-head form around it."""

import math

import rtorch
from rtorch._C import _nn

from .activation import softmax
from .dropout import dropout
from .linear import linear
from .padding import pad

fused_attention = _nn.scaled_dot_product_attention
_attention = None  # what `nn.attention.sdpa_kernel` chose


def set_attention(function):
    """Attention is computed by `function` (None: the fused kernel); answers what did it before."""
    global _attention
    before, _attention = _attention, function
    return before


def scaled_dot_product_attention(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
):
    """softmax(query key^T * scale + mask) value: query (..., L, E), key (..., S, E), value (..., S, V) to (..., L, V).

    attn_mask: (..., L, S), bool (True: takes part) or added to the scores; is_causal: position i sees 0 ... i; scale:
    1 / sqrt(E) if None; enable_gqa: fewer heads of keys and values than of queries, each for a group of them. The
    scores are never held as a matrix (Dao et al. 2022); `nn.attention.sdpa_kernel` asks for other ways.

    >>> import rtorch
    >>> q = rtorch.ones(1, 2, 4)
    >>> rtorch.nn.functional.scaled_dot_product_attention(q, q, q).shape
    torch.Size([1, 2, 4])
    """
    run = fused_attention if _attention is None else _attention
    return run(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)


def composed_attention(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa):
    """The plain composition, scores and all."""
    if enable_gqa:
        key = key.repeat_interleave(query.size(-3) // key.size(-3), -3)
        value = value.repeat_interleave(query.size(-3) // value.size(-3), -3)
    scores = query @ key.transpose(-2, -1) * (query.size(-1) ** -0.5 if scale is None else scale)
    if is_causal:
        if attn_mask is not None:
            raise RuntimeError("Explicit attn_mask should not be set when is_causal=True")
        attn_mask = rtorch.ones(scores.shape[-2:], dtype=rtorch.bool, device=scores.device).tril()
    if attn_mask is not None:
        hidden = attn_mask.dtype == rtorch.bool
        scores = scores.masked_fill(attn_mask.logical_not(), -math.inf) if hidden else scores + attn_mask
    weights = scores.softmax(-1)
    if attn_mask is not None and attn_mask.dtype == rtorch.bool:
        # a position that sees nothing gets zeros
        weights = weights.masked_fill(attn_mask.any(-1, keepdim=True).logical_not(), 0.0)
    return dropout(weights, dropout_p) @ value


def no_attention(*arguments, **named):
    """What is left when every backend was ruled out."""
    raise RuntimeError("No available kernel. Aborting execution.")


def _shape_check(query, key, value, key_padding_mask, attn_mask, num_heads):
    """Whether the inputs are batched, after checking that they and the masks go together."""
    if query.dim() not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {query.dim()}-D query tensor"
        )
    batched = query.dim() == 3
    if key.dim() != query.dim() or value.dim() != query.dim():
        raise AssertionError(
            f"For {'batched (3-D)' if batched else 'unbatched (2-D)'} `query`, expected `key` and `value` to be "
            f"{query.dim()}-D but found {key.dim()}-D and {value.dim()}-D tensors respectively"
        )
    if key_padding_mask is not None and key_padding_mask.dim() != query.dim() - 1:
        raise AssertionError(
            f"expected `key_padding_mask` to be `None` or {query.dim() - 1}-D but found "
            f"{key_padding_mask.dim()}-D tensor instead"
        )
    if attn_mask is not None and attn_mask.dim() not in (2, 3):
        raise AssertionError(f"expected `attn_mask` to be `None`, 2-D or 3-D but found {attn_mask.dim()}-D tensor")
    if not batched and attn_mask is not None and attn_mask.dim() == 3:
        want = (num_heads, query.shape[0], key.shape[0])
        if tuple(attn_mask.shape) != want:
            raise AssertionError(f"Expected `attn_mask` shape to be {want} but got {tuple(attn_mask.shape)}")
    return batched


def _additive(mask, name, other, other_name, dtype, check_other=True):
    """A mask as numbers to add: True becomes -inf."""
    if mask is None:
        return None
    if mask.dtype != rtorch.bool and not mask.is_floating_point():
        raise AssertionError(f"only bool and floating types of {name} are supported")
    if check_other and other is not None and mask.dtype != other.dtype:
        import warnings

        warnings.warn(
            f"Support for mismatched {name} and {other_name} is deprecated. Use same type for both instead.",
            stacklevel=3,
        )
    if mask.is_floating_point():
        return mask
    return rtorch.zeros_like(mask, dtype=dtype).masked_fill(mask, float("-inf"))


def _in_projection(query, key, value, in_proj_weight, separate, bias):
    """Projected query, key and value, from one packed weight (3E, E) or three separate ones."""
    b_q, b_k, b_v = (None, None, None) if bias is None else bias.chunk(3)
    if in_proj_weight is None:
        w_q, w_k, w_v = separate
    elif query is key and key is value:
        # Self-attention: one product for the three.
        return linear(query, in_proj_weight, bias).chunk(3, -1)
    else:
        w_q, w_k, w_v = in_proj_weight.chunk(3)
    return linear(query, w_q, b_q), linear(key, w_k, b_k), linear(value, w_v, b_v)


def _mask_for(attn_mask, key_padding_mask, bsz, heads, target, source):
    """The two masks merged, as (bsz, heads, target or 1, source), or None."""
    if attn_mask is not None:
        if attn_mask.dim() == 2:
            if tuple(attn_mask.shape) != (target, source):
                raise RuntimeError(
                    f"The shape of the 2D attn_mask is {attn_mask.shape}, but should be {(target, source)}."
                )
        elif tuple(attn_mask.shape) != (bsz * heads, target, source):
            raise RuntimeError(
                f"The shape of the 3D attn_mask is {attn_mask.shape}, but should be {(bsz * heads, target, source)}."
            )
        attn_mask = attn_mask.view(bsz, heads, target, source) if attn_mask.dim() == 3 else attn_mask
    if key_padding_mask is not None:
        if tuple(key_padding_mask.shape) != (bsz, source):
            raise AssertionError(
                f"expecting key_padding_mask shape of {(bsz, source)}, but got {key_padding_mask.shape}"
            )
        padding = key_padding_mask.view(bsz, 1, 1, source)
        attn_mask = padding if attn_mask is None else attn_mask + padding
    return attn_mask


def multi_head_attention_forward(
    query,
    key,
    value,
    embed_dim_to_check,
    num_heads,
    in_proj_weight,
    in_proj_bias,
    bias_k,
    bias_v,
    add_zero_attn,
    dropout_p,
    out_proj_weight,
    out_proj_bias,
    training=True,
    key_padding_mask=None,
    need_weights=True,
    attn_mask=None,
    use_separate_proj_weight=False,
    q_proj_weight=None,
    k_proj_weight=None,
    v_proj_weight=None,
    static_k=None,
    static_v=None,
    average_attn_weights=True,
    is_causal=False,
):
    """Multi-head attention (Vaswani et al. 2017): query (L, N, E), key (S, N, Ek), value (S, N, Ev) -> (L, N, E).

    Returns the output and, with `need_weights`, the weights (N, L, S) (averaged over heads) or (N, H, L, S).
    """
    batched = _shape_check(query, key, value, key_padding_mask, attn_mask, num_heads)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
            "`generate_square_subsequent_mask` to create this mask."
        )
    if not batched:
        same = query is key and key is value
        query = query.unsqueeze(1)
        key, value = (query, query) if same else (key.unsqueeze(1), value.unsqueeze(1))
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
    target, bsz, e = query.shape
    if e != embed_dim_to_check:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim_to_check}, but got {e}")
    head_dim = e // num_heads
    if head_dim * num_heads != e:
        raise AssertionError(f"embed_dim {e} not divisible by num_heads {num_heads}")
    if use_separate_proj_weight:
        if key.shape[:2] != value.shape[:2]:
            raise AssertionError(
                f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}"
            )
    elif key.shape != value.shape:
        raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")

    if use_separate_proj_weight:
        for name, x, weight in (("key", key, k_proj_weight), ("value", value, v_proj_weight)):
            if x.size(-1) != weight.size(-1):
                raise AssertionError(f"expecting {name} of width {weight.size(-1)}, but got {name} shape {x.shape}")

    key_padding_mask = _additive(key_padding_mask, "key_padding_mask", attn_mask, "attn_mask", query.dtype)
    attn_mask = _additive(attn_mask, "attn_mask", None, "", query.dtype, check_other=False)
    separate = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    packed = None if use_separate_proj_weight else in_proj_weight
    q, k, v = _in_projection(query, key, value, packed, separate, in_proj_bias)
    extra = 0
    if bias_k is not None and bias_v is not None:
        k, v = rtorch.cat([k, bias_k.repeat(1, bsz, 1)]), rtorch.cat([v, bias_v.repeat(1, bsz, 1)])
        extra += 1

    def heads(x):  # (S, N, E) -> (N, H, S, head_dim)
        return x.reshape(x.size(0), bsz, num_heads, head_dim).permute(1, 2, 0, 3)

    q = heads(q)
    k = heads(k) if static_k is None else static_k.view(bsz, num_heads, -1, head_dim)
    v = heads(v) if static_v is None else static_v.view(bsz, num_heads, -1, head_dim)
    if add_zero_attn:
        zeros = rtorch.zeros((bsz, num_heads, 1, head_dim), dtype=k.dtype, device=k.device)
        k, v = rtorch.cat([k, zeros], 2), rtorch.cat([v, zeros], 2)
        extra += 1
    if extra:
        attn_mask = attn_mask if attn_mask is None else pad(attn_mask, (0, extra))
        key_padding_mask = key_padding_mask if key_padding_mask is None else pad(key_padding_mask, (0, extra))
    mask = _mask_for(attn_mask, key_padding_mask, bsz, num_heads, target, k.size(2))
    drop = dropout_p if training else 0.0

    if need_weights:
        scores = (q * math.sqrt(1.0 / head_dim)) @ k.transpose(-2, -1)
        weights = softmax(scores if mask is None else scores + mask, -1)
        if drop > 0.0:
            weights = dropout(weights, drop)
        out = weights @ v
    else:
        causal = is_causal and key_padding_mask is None
        out = scaled_dot_product_attention(q, k, v, None if causal else mask, drop, causal)
    out = linear(out.permute(2, 0, 1, 3).reshape(target, bsz, e), out_proj_weight, out_proj_bias)
    out = out if batched else out.squeeze(1)
    if not need_weights:
        return out, None
    if average_attn_weights:
        weights = weights.mean(1)
    return out, weights if batched else weights.squeeze(0)
