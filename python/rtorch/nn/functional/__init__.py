"""`rtorch.nn.functional`: layers as functions, one file per family.

What is on a hot path is the core's own function (`rtorch._nn._nn`); the rest are compositions of tensor operators.
"""

from rtorch._C import _nn as _nn
from rtorch._ops._register import as_nodes

from ._scripting import *
from .activation import *
from .attention import multi_head_attention_forward, scaled_dot_product_attention
from .classification import (
    cross_entropy,
    ctc_loss,
    linear_cross_entropy,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    nll_loss,
)
from .distance import cosine_similarity, normalize, pairwise_distance, pdist
from .dropout import alpha_dropout, dropout, dropout1d, dropout2d, dropout3d, feature_alpha_dropout
from .linear import (
    bilinear,
    channel_shuffle,
    conv1d,
    conv2d,
    conv3d,
    conv_tbc,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    fold,
    linear,
    native_channel_shuffle,
    pixel_shuffle,
    pixel_unshuffle,
    unfold,
)
from .loss import *
from .normalization import batch_norm, group_norm, instance_norm, layer_norm, local_response_norm, rms_norm
from .padding import pad
from .pooling import *
from .products import ScalingType, SwizzleType, grouped_mm, scaled_grouped_mm, scaled_mm
from .sparse import embedding, embedding_bag, one_hot
from .vision import affine_grid, grid_sample, interpolate, upsample, upsample_bilinear, upsample_nearest

__all__ = [
    "ScalingType",
    "SwizzleType",
    "affine_grid",
    "alpha_dropout",
    "batch_norm",
    "bilinear",
    "channel_shuffle",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_tbc",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cosine_similarity",
    "cross_entropy",
    "ctc_loss",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "embedding",
    "embedding_bag",
    "feature_alpha_dropout",
    "fold",
    "grid_sample",
    "group_norm",
    "grouped_mm",
    "instance_norm",
    "interpolate",
    "layer_norm",
    "linear",
    "linear_cross_entropy",
    "local_response_norm",
    "multi_head_attention_forward",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "native_channel_shuffle",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "pairwise_distance",
    "pdist",
    "pixel_shuffle",
    "pixel_unshuffle",
    "rms_norm",
    "scaled_dot_product_attention",
    "scaled_grouped_mm",
    "scaled_mm",
    "unfold",
    "upsample",
    "upsample_bilinear",
    "upsample_nearest",
]

as_nodes("nn.functional", globals())
del as_nodes

_OVERRIDES = frozenset(
    "handle_torch_function has_torch_function has_torch_function_unary has_torch_function_variadic".split()
)


def __getattr__(name):
    if name in _OVERRIDES:
        from rtorch import overrides

        return getattr(overrides, name)
    raise AttributeError(f"module 'rtorch.nn.functional' has no attribute '{name}'")
