"""Calls of modules, losses, optimizers, schedulers, data loaders, distributions and random fills that PyTorch 2.13
refuses, with the exception class that it raises; and calls near them that it answers."""

import pytest

import rtorch
from rtorch import distributions as D
from rtorch import nn, optim
from rtorch.nn import functional as F
from rtorch.utils import data

r, ints = rtorch.randn, rtorch.ones(2, dtype=rtorch.int64)
LSTM, CELL, IMAGE = nn.LSTM(3, 4), nn.LSTMCell(3, 4), r(1, 2, 8, 8)
TRAINED = nn.Linear(2, 2).weight
LAZY = nn.parameter.UninitializedParameter


class Stream(data.IterableDataset):
    def __iter__(self):
        return iter([1, 2, 3])


def loaded(optimizer, state):
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


REFUSED = {
    RuntimeError: [
        lambda: nn.Bilinear(-1, 4, 5),
        lambda: F.bilinear(r(2, 3), r(2, 4), ints),
        lambda: nn.FractionalMaxPool2d(2, 3)(IMAGE[..., :0]),
        lambda: nn.FractionalMaxPool3d(2, 2)(r(1, 2, 5, 5, 0)),
        lambda: F.group_norm(r(2, 4, 3), r(7)),
        lambda: F.unfold(IMAGE, (1,)),
        lambda: F.fold(r(1, 8, 9), {}, 2),
        lambda: F.fold(ints.reshape(1, 2), 4, 2),
        lambda: F.cross_entropy(r(2), ints),
        lambda: F.cross_entropy(r(2, 3), r(2, 3).bool()),
        lambda: F.glu(rtorch.ones(2, 3, dtype=rtorch.int64)),
        lambda: F.max_pool1d(rtorch.tensor(2), 2),
        lambda: F.adaptive_avg_pool2d(IMAGE, {}),
        lambda: F.scaled_dot_product_attention(r(2, 3, 4), r(2, 3, 4), r(2, 3, 4), r(3, 3), is_causal=True),
        lambda: nn.Conv1d(2, 4, 0)(r(1, 2, 8)),
        lambda: nn.Conv2d(2, 4, 0)(IMAGE),
        lambda: nn.Conv3d(2, 4, 0)(r(1, 2, 5, 5, 5)),
        lambda: nn.ConvTranspose2d(2, 4, 0)(IMAGE),
        lambda: nn.ConvTranspose2d(2, 0, 3)(IMAGE),
        lambda: nn.Bilinear(3, 4, 5)(r(2, 3), r(2, 4).double()),
        lambda: nn.ReplicationPad1d(10**10)(r(1, 2, 4)),
        lambda: nn.ReplicationPad1d(2**62)(r(1, 2, 4)),
        lambda: nn.AdaptiveAvgPool1d((1, 2, 3))(r(1, 2, 8)),
        lambda: nn.FractionalMaxPool2d((1, 2, 3), 3)(IMAGE),
        lambda: nn.LayerNorm(4)(r(2, 4).long()),
        lambda: nn.Embedding(0, 3)(ints),
        lambda: nn.EmbeddingBag(5, 3)(rtorch.tensor([[7]])),
        lambda: CELL(r(2, 3), (r(2, 4),)),
        lambda: CELL(r(2, 3), (r(3, 4), r(3, 4))),
        lambda: nn.CosineSimilarity()(r(2, 3), r(2, 3).to(rtorch.complex64)),
        lambda: F.nll_loss(r(2, 3), ints.int()),
        lambda: F.cross_entropy(r(2, 3), ints.unsqueeze(1)),
        lambda: F.kl_div(r(2, 3).long(), r(2, 3)),
        lambda: F.kl_div(r(2, 3), r(2, 3).to(rtorch.complex64)),
        lambda: F.binary_cross_entropy(rtorch.rand(2), rtorch.rand(2).double()),
        lambda: F.binary_cross_entropy_with_logits(r(2), ints),
        lambda: F.huber_loss(ints, r(2)),
        lambda: F.soft_margin_loss(r(3), rtorch.ones(2, 3)),
        lambda: F.hinge_embedding_loss(ints, rtorch.ones(2)),
        lambda: F.triplet_margin_with_distance_loss(r(2, 3), r(3), r(2, 3)),
        lambda: F.ctc_loss(r(5, 2, 4), rtorch.ones(2, 3).long(), rtorch.ones(2).bool(), ints),
        lambda: F.ctc_loss(r(5, 2, 4), rtorch.ones(0, 3).long(), 5 * ints, ints),
        lambda: F.ctc_loss(r(5, 2, 4), rtorch.ones(2, 3).long(), 5 * ints, 4 * ints),
        lambda: rtorch.randint(5, (3,), dtype=rtorch.complex64),
        lambda: rtorch.zeros(2, dtype=rtorch.bool).exponential_(),
        lambda: rtorch.zeros(2, dtype=rtorch.uint8).cauchy_(),
        lambda: rtorch.multinomial(rtorch.zeros(0), 2, True),
        lambda: list(data.WeightedRandomSampler([], 2)),
        lambda: F.grid_sample(r(1, 1, 3, 3), r(1, 2, 2, 2).double()),
        lambda: F.batch_norm(r(2, 3), rtorch.zeros(3).double(), rtorch.ones(3)),
        lambda: F.batch_norm(r(2, 3), rtorch.zeros(1, 3), rtorch.ones(3)),
        lambda: F.embedding_bag(r(2, 3), r(5, 2)),
        lambda: rtorch.func.grad(lambda x: x.sum(), argnums=3)(r(2)),
        lambda: rtorch.func.jacfwd(lambda x: x, argnums=1)(r(2)),
        lambda: rtorch.func.jacfwd(lambda x: 1)(r(2)),
        lambda: rtorch.func.jvp(lambda x: x, r(2), r(2)),
        lambda: rtorch.func.jvp(lambda x: x, (r(2),), ()),
        lambda: rtorch.func.jvp(lambda x: x, (1,), (1,)),
    ],
    TypeError: [
        lambda: F.layer_norm(r(2, 3), 3),
        lambda: F.rms_norm(r(2, 3), 3),
        lambda: nn.FractionalMaxPool2d('a', 3)(IMAGE),
        lambda: nn.FractionalMaxPool3d(2, True)(r(1, 2, 5, 5, 5)),
        lambda: nn.MaxUnpool2d(2)(IMAGE.numpy(), IMAGE.long()),
        lambda: nn.PoissonNLLLoss(reduction=None)(r(2), r(2)),
        lambda: nn.MultiLabelSoftMarginLoss(reduction=None)(r(2, 3), r(2, 3)),
        lambda: F.unfold(IMAGE, 'a'),
        lambda: F.unfold(IMAGE, rtorch.tensor(2)),
        lambda: F.interpolate(r(1, 2, 4), r(7)),
        lambda: F.lp_pool1d(r(1, 2, 6), 2, (1,)),
        lambda: nn.LPPool2d(2, None)(IMAGE),
        lambda: F.gaussian_nll_loss(r(2), r(2), 1),
        lambda: F.adaptive_avg_pool2d(IMAGE, rtorch.tensor(2)),
        lambda: F.adaptive_avg_pool2d(IMAGE, 'a'),
        lambda: r(3).sort(0, stable=True),
        lambda: LSTM(r(5, 2, 3), r(2, 1, 2, 4)),
        lambda: CELL(r(2, 3), r(2, 4)),
        lambda: nn.LSTM(3, 4, batch_first=1),
        lambda: nn.AdaptiveMaxPool2d(None)(IMAGE),
        lambda: nn.AdaptiveAvgPool1d(None)(r(1, 2, 8)),
        lambda: nn.AlphaDropout(0.0)(1.5),
        lambda: nn.Sigmoid()(1.5),
        lambda: F.tanh([1.0]),
        lambda: nn.ChannelShuffle(1.5)(IMAGE),
        lambda: nn.PairwiseDistance()(1.5, r(2, 3)),
        lambda: nn.CosineSimilarity(None)(r(2, 3), r(2, 3)),
        lambda: F.poisson_nll_loss(r(2), 1.5),
        lambda: F.kl_div(1.5, r(2)),
        lambda: F.soft_margin_loss(r(2), None),
        lambda: F.cosine_embedding_loss(r(2, 3), r(2, 3), 1.0),
        lambda: F.triplet_margin_loss(r(2, 3), r(2, 3), None),
        lambda: F.multi_margin_loss(None, ints),
        lambda: F.multilabel_margin_loss(r(2, 3), [1]),
        lambda: F.ctc_loss(r(5, 2, 4), rtorch.ones(2, 3).long(), [5, 5], ints),
        lambda: F.max_unpool2d(r(1, 1, 2, 2), None, 2),
        lambda: rtorch.empty((True, 4)),
        lambda: F.grid_sample(None, r(1, 2, 2, 2)),
        lambda: F.pdist([1.0]),
        lambda: F.group_norm(r(2, 4, 3), 1.5),
        lambda: F.interpolate(r(1, 2, 4), 1.5),
        lambda: F.interpolate(r(1, 2, 4), "a"),
        lambda: rtorch.testing.assert_close(rtorch.ones(2), [1.0, 1.0]),
    ],
    ValueError: [
        lambda: nn.Bilinear(0, 4, 5),
        lambda: nn.LSTMCell(3, 4)(r(2, 3), r(2)),
        lambda: F.embedding_bag(r(7), r(5, 2)),
        lambda: F.cross_entropy(r(2, 3), r(7)),
        lambda: F.nll_loss(rtorch.tensor(2), ints),
        lambda: F.adaptive_avg_pool2d(IMAGE, r(7)),
        lambda: rtorch.utils.checkpoint.checkpoint_sequential(nn.Sequential(nn.ReLU()), 2, r(2), use_reentrant=False),
        lambda: nn.BatchNorm1d(3, eps=0)(r(4, 3)),
        lambda: nn.RNN(0, 4),
        lambda: nn.PixelShuffle(10**10)(r(1, 4, 2, 2)),
        lambda: nn.LPPool2d(2, (1, 2, 3))(IMAGE),
        lambda: nn.CrossMapLRN2d(2)(r(4, 3, 3)),
        lambda: nn.RMSNorm((1, 2, 3))(r(2, 4)),
        lambda: F.cross_entropy(r(2, 3), ints.unsqueeze(0)),
        lambda: F.nll_loss(r(2, 3), ints, reduction=None),
        lambda: F.max_unpool2d(r(1, 1, 2, 2), rtorch.zeros(1, 1, 2, 2).long(), -1),
        lambda: LAZY() + 1,
        lambda: LAZY().numel(),
        lambda: rtorch.sin(LAZY()),
        lambda: F.linear(r(2, 3), LAZY()),
        lambda: nn.LazyLinear(3).weight * 2,
        lambda: nn.init.zeros_(nn.LazyLinear(3).weight),
        lambda: optim.SparseAdam([nn.Parameter(r(2).to(rtorch.complex64))]),
        lambda: loaded(optim.RMSprop([TRAINED]), {0: {"step": "a"}}),
        lambda: D.ContinuousBernoulli(2.0, validate_args=True),
        lambda: F.embedding_bag(ints, r(7)),
        lambda: rtorch.func.vjp(lambda x: x, 1),
        lambda: rtorch.testing.make_tensor(2, dtype=rtorch.bool, device="cpu", low=5, high=9),
        lambda: F.mse_loss(r(2, 3), r(2, 3), weight=r(9)),
        lambda: F.l1_loss(r(2, 3), r(2, 3), weight=r(3)),
    ],
    NotImplementedError: [
        lambda: nn.EmbeddingBag(5, 3)(rtorch.ones(2, 3, dtype=rtorch.bool)),
        lambda: nn.MultiLabelMarginLoss()(r(2, 3), r(2, 3).cfloat()),
        lambda: nn.ConvTranspose2d(2, 4, 3)(IMAGE.bool()),
        lambda: nn.Unfold(2)(IMAGE.long()),
        lambda: nn.Fold(4, 2)(r(1, 8, 9).int()),
        lambda: nn.ReflectionPad1d(2)(r(1, 2, 4).bool()),
        lambda: nn.Upsample(None, 2)(IMAGE.long()),
        lambda: F.interpolate(IMAGE.bool(), scale_factor=2),
        lambda: F.max_unpool2d(rtorch.ones(1, 1, 2, 2).int(), rtorch.zeros(1, 1, 2, 2).long(), 2),
        lambda: F.glu(r(4).to(rtorch.complex64)),
        lambda: F.rrelu(ints, training=True),
        lambda: F.mse_loss(r(2), r(2).to(rtorch.complex64)),
        lambda: F.smooth_l1_loss(r(2), r(2).to(rtorch.complex64)),
        lambda: F.multi_margin_loss(r(2, 3).long(), ints),
        lambda: F.ctc_loss(r(5, 2, 4).long(), rtorch.ones(2, 3).long(), 5 * ints, ints),
        lambda: nn.RMSNorm(4)(r(2, 4).long()),
        lambda: nn.MaxPool1d(2)(r(1, 2, 8).long()),
        lambda: F.grid_sample(r(1, 1, 3, 3).long(), r(1, 2, 2, 2)),
        lambda: rtorch.randperm(3, dtype=rtorch.bool),
        lambda: rtorch.bernoulli(rtorch.zeros(2, dtype=rtorch.uint8)),
        lambda: rtorch.zeros(2, dtype=rtorch.bool).geometric_(0.5),
        lambda: rtorch.tril_indices(2, 2, dtype=rtorch.float32),
        lambda: rtorch.tril_indices(2, 2, layout=rtorch.sparse_coo),
        lambda: rtorch.linspace(0, 1, 3, dtype=rtorch.bool),
        lambda: rtorch.logspace(0, 1, 3, dtype=rtorch.uint16),
        lambda: rtorch.arange(3, dtype=rtorch.float8_e5m2),
    ],
    IndexError: [
        lambda: nn.Unfold(2)(r(())),
        lambda: F.unfold(r(2, 3), 2),
        lambda: nn.AvgPool2d(2)(r(7)),
        lambda: nn.MaxUnpool1d((1, 2, 3))(r(1, 2, 4), ints),
        lambda: F.bilinear(r(2, 3), r(2, 4), r(5, 3)),
        lambda: F.grid_sample(r(()), r(1, 2, 2, 2)),
        lambda: LSTM(r(5, 2, 3), r(1, 2, 4)),
        lambda: nn.RNNCell(3, 4)(r(2, 3), r(2)),
        lambda: F.max_unpool2d(r(()), ints, 2),
        lambda: optim.Adam([TRAINED], betas=(0.9,)),
    ],
    KeyError: [lambda: loaded(optim.Adagrad([TRAINED]), {0: {"sum": rtorch.ones(2, 2)}})],
    AttributeError: [
        lambda: nn.GLU()(1.5),
        lambda: nn.AdaptiveAvgPool2d(3)(1.5),
        lambda: nn.MaxUnpool1d(2)(r(1, 2, 4), 1.5),
        lambda: LSTM(r(5, 2, 3), [1.0]),
        lambda: nn.LSTMCell(3, 4)(r(2, 3), [1.0]),
        lambda: F.normalize([1.0]),
        lambda: (lambda s: (s.scale(r(2)), s.update("a")))(rtorch.amp.GradScaler("cpu")),
    ],
    AssertionError: [
        lambda: nn.MultiheadAttention(4, 2, kdim=3)(r(3, 2, 4), r(3, 2, 4), r(3, 2, 4)),
        lambda: list(data.DataLoader([1], timeout=1)),
        lambda: list(data.DataLoader([1], num_workers=1, prefetch_factor=0)),
        lambda: len(data.ChainDataset([[1]])),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind, call", [(kind, call) for kind, calls in REFUSED.items() for call in calls])
@pytest.mark.filterwarnings("ignore")
def test_refused_by_the_class_that_pytorch_raises(kind, call):
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) in (kind, rtorch.OutOfMemoryError), type(caught.value)


def test_answered_as_pytorch_answers():
    assert rtorch.empty((4, True)).shape == (4, 1) and rtorch.zeros(2, 4).reshape(8, True).shape == (8, 1)
    assert F.avg_pool1d(rtorch.tensor([[[-3, 0, 5, 6]]]), 2).tolist() == [[[-1, 5]]]
    assert F.huber_loss(r(2).half(), r(2)).dtype == rtorch.float16
    assert F.binary_cross_entropy_with_logits(r(2).double(), rtorch.rand(2)).dtype == rtorch.float32
    assert F.mse_loss(rtorch.tensor([True]), rtorch.tensor([3.0])).item() == 4.0
    assert F.hinge_embedding_loss(ints, rtorch.ones(2), reduction="sum").dtype == rtorch.int64
    assert F.multilabel_soft_margin_loss(rtorch.zeros(3), rtorch.ones(2, 3)).item() == pytest.approx(0.462098, abs=1e-5)
    assert F.fractional_max_pool2d(r(0, 2, 8, 8), 2, 3).shape == (0, 2, 3, 3)
    nowhere = F.grid_sample(r(1, 1, 3, 3), r(1, 2, 2, 2) * float("nan"), align_corners=False)
    assert nowhere.isnan().all() and F.interpolate(r(1, 2, 4), rtorch.tensor(2)).shape == (1, 2, 2)
    one = rtorch.tensor([1 + 1j])
    assert rtorch.allclose(F.silu(one), one / (1 + (-one).exp()))
    assert F.ctc_loss(r(5, 1, 4).log_softmax(2), rtorch.ones(1, 2).long(), [5], [2]).dim() == 0
    assert len(list(data.DataLoader(Stream(), batch_size=2))) == 2
    lazy = nn.LazyLinear(3)
    assert lazy.weight.dtype == rtorch.float32 and lazy(r(2, 5)).shape == (2, 3) and lazy.weight.numel() == 15
    adam = optim.Adamax([TRAINED])
    loaded(adam, {0: {"step": 3, "exp_avg": rtorch.ones(2, 2), "exp_inf": rtorch.ones(2, 2)}})
    assert adam.state[TRAINED]["step"].item() == 3.0
    with pytest.warns(UserWarning, match="no graph compiler"):
        rtorch._program._compile_warned.clear()
        lazy.compile()


def test_answered_where_arguments_are_unusual():
    """PyTorch's answers: what is empty, mixed, or out of an option's range without being refused."""
    assert F.pixel_unshuffle(r(0, 1, 4, 4), 2).shape == (0, 1, 4, 4)
    assert F.max_unpool2d(r(1, 1, 2, 2), rtorch.tensor([[[[0, 2], [8, 10]]]]), 0).shape == (1, 1, 0, 0)
    assert nn.BatchNorm1d(3)(r(4, 0)).shape == (4, 0)
    x, w = rtorch.tensor([[1.0, 3.0, 2.0]], dtype=rtorch.float64), rtorch.tensor([1.0, 2.0, 3.0])
    want = rtorch.tensor([[0.4629100498862757, 2.7774602993176543, 2.7774602993176543]], dtype=rtorch.float64)
    rtorch.testing.assert_close(F.rms_norm(x, [3], w), want)
    assert F.rms_norm(x.float(), [3], w.double()).dtype is rtorch.float32
    want = rtorch.tensor([[1.0990398 + 1.0652313j, 1.9377014 - 0.6797089j, 0.2265696 + 0.6459005j]])
    rtorch.testing.assert_close(F.rms_norm(rtorch.tensor([[1 + 2j, 3, 1j]]), [3]), want, atol=1e-5, rtol=1e-5)
    logits, target = r(2, 3), rtorch.tensor([1, 2])
    plain = F.cross_entropy(logits, target)
    assert F.cross_entropy(logits, target, label_smoothing=-0.1) == plain
    assert F.cross_entropy(logits, target, label_smoothing=float("nan")) == plain
    assert F.channel_shuffle(r(1, 4, 2), rtorch.tensor(2)).shape == (1, 4, 2)
    assert F.interpolate(r(1, 2, 4), rtorch.tensor([3])).shape == (1, 2, 3)
    assert F.lp_pool1d(r(1, 2, 6), 2, rtorch.tensor(2)).shape == (1, 2, 3)
    q, k, v, mask = r(1, 2, 3, 4), r(1, 2, 3, 4), r(1, 2, 3, 4), r(3, 3)
    seen = rtorch.ones(3, 3, dtype=rtorch.bool).tril()
    got = F.scaled_dot_product_attention(q, k, v, mask, is_causal=True)
    want = F.scaled_dot_product_attention(q, k, v, mask.masked_fill(~seen, -float("inf")))
    assert rtorch.equal(got, want)
    got = F.scaled_dot_product_attention(q, k, v, mask > -9, is_causal=True)
    rtorch.testing.assert_close(got, F.scaled_dot_product_attention(q, k, v, is_causal=True))
    assert rtorch.linalg.cond(rtorch.zeros(2, 2), "fro") == float("inf")
    assert rtorch.linalg.cond(rtorch.zeros(0, 0)) == 0


@pytest.mark.parametrize(
    "size, want",
    [
        (1, [0.0992565, 0.4204285, 0.5743663, 0.6171923, 0.6125625]),
        (2, [0.0996266, 0.4562062, 0.6955497, 0.8195294, 0.8681092]),
        (3, [0.0939567, 0.3977545, 0.5517808, 0.6005854, 0.6010408]),
        (4, [0.0953867, 0.4185613, 0.6071940, 0.6849241, 0.7023222]),
    ],
)
def test_cross_map_normalisation_sums_the_channels_that_pytorch_sums(size, want):
    x = rtorch.arange(24.0).reshape(1, 6, 2, 2) / 10
    got = nn.CrossMapLRN2d(size, alpha=1.0)(x)[0, :5, 0, 1]
    rtorch.testing.assert_close(got, rtorch.tensor(want), atol=2e-6, rtol=2e-6)
