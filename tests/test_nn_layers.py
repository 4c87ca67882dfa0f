"""Layers beyond the recorded cases: start values, shapes, unbatched inputs, packed sequences, bad arguments."""

import math

import pytest

import rtorch
from rtorch import nn
from rtorch.nn import functional as F


def close(a, b, tolerance=1e-5):
    return bool((a - b).abs().max() <= tolerance * max(1.0, float(b.abs().max())))


def test_start_values_are_pytorchs():
    rtorch.manual_seed(11)
    table = nn.Embedding(3, 2, padding_idx=1).weight
    want = [[0.7376294732093811, 1.9459291696548462], [0.0, 0.0], [-0.5132622122764587, -0.26961955428123474]]
    assert close(table.detach(), rtorch.tensor(want))
    rtorch.manual_seed(11)
    bilinear = nn.Bilinear(1, 2, 1)
    assert close(bilinear.weight.detach(), rtorch.tensor([[[-0.7019165754318237, -0.0268937349319458]]]))
    assert close(bilinear.bias.detach(), rtorch.tensor([0.9713230133056641]))


def test_initialisers():
    w = rtorch.empty(2, 3)
    rtorch.manual_seed(5)
    want = [[-0.4867807626724243, -0.08381211757659912, 0.23894619941711426]]
    assert close(nn.init.trunc_normal_(w, 0.0, 1.0, -0.5, 0.5)[:1], rtorch.tensor(want))
    tail = nn.init.trunc_normal_(rtorch.empty(200), 0.0, 1.0, 2.0, 3.0)
    assert float(tail.min()) >= 2.0 and float(tail.max()) <= 3.0
    assert nn.init.eye_(w).tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    assert nn.init.calculate_gain("leaky_relu", 0.2) == math.sqrt(2 / 1.04)
    q = nn.init.orthogonal_(rtorch.empty(3, 5), gain=2.0)
    assert close(q @ q.t(), 4 * rtorch.eye(3))
    kernel = nn.init.dirac_(rtorch.empty(2, 2, 3))
    x = rtorch.randn(1, 2, 5)
    assert close(F.conv1d(x, kernel, padding=1), x)
    assert int((nn.init.sparse_(rtorch.empty(4, 2), 0.5) == 0).sum()) == 4
    with pytest.raises(ValueError, match="fewer than 2 dimensions"):
        nn.init.xavier_uniform_(rtorch.empty(3))


@pytest.mark.parametrize("mode", ["RNN", "GRU", "LSTM"])
def test_packed_sequences_equal_single_runs(mode):
    rtorch.manual_seed(0)
    layer = getattr(nn, mode)(3, 4, num_layers=2, bidirectional=True)
    sequences = [rtorch.randn(n, 3) for n in (2, 5, 3)]
    packed = nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False)
    out, last = layer(packed)
    rows = nn.utils.rnn.unpack_sequence(out)
    for i, s in enumerate(sequences):
        own, own_last = layer(s)
        assert close(rows[i], own)
        pairs = zip(last, own_last) if mode == "LSTM" else [(last, own_last)]
        assert all(close(a[:, i], b) for a, b in pairs)


def test_recurrent_layer_equals_its_cell():
    layer, cell = nn.LSTM(3, 4), nn.LSTMCell(3, 4)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(cell, name).data.copy_(getattr(layer, name + "_l0").data)
    x, state = rtorch.randn(5, 2, 3), None
    out, (h, c) = layer(x)
    for t in range(5):
        state = cell(x[t], state)
        assert close(out[t], state[0])
    assert close(h[0], state[0]) and close(c[0], state[1])


@pytest.mark.parametrize("dtype", [rtorch.float32, rtorch.float64])
@pytest.mark.parametrize("hidden, batch", [(1, 1), (7, 9), (16, 3), (17, 8), (40, 33), (260, 16), (33, 130)])
def test_fused_lstm_equals_its_cells(hidden, batch, dtype):
    """Blocks of units that are not full, few and many sequences, both directions, without biases, strided states."""
    rtorch.manual_seed(0)
    steps, features = 5, 6
    layer = nn.LSTM(features, hidden, bias=hidden != 17, bidirectional=True).to(dtype)
    x = rtorch.randn(batch, steps, features, dtype=dtype).transpose(0, 1)
    states = [rtorch.randn(2, hidden, batch, dtype=dtype).transpose(1, 2) for _ in range(2)]
    with rtorch.no_grad():
        out, last = layer(x, states)
    trained, trained_last = layer(x, states)
    assert bool((out == trained).all()) and all(bool((a == b).all()) for a, b in zip(last, trained_last))
    tolerance = 2e-6 if dtype == rtorch.float32 else 1e-14
    for d, (end, order) in enumerate([("_l0", range(steps)), ("_l0_reverse", reversed(range(steps)))]):
        cell = nn.LSTMCell(features, hidden, bias=hidden != 17).to(dtype)
        for name in dict(cell.named_parameters()):
            getattr(cell, name).data.copy_(getattr(layer, name + end).data)
        state = [s[d] for s in states]
        for t in order:
            state = cell(x[t], state)
            assert close(out[t, :, d * hidden :][:, :hidden], state[0], tolerance)
        assert close(last[0][d], state[0], tolerance) and close(last[1][d], state[1], tolerance)


@pytest.mark.parametrize("hidden, batch", [(40, 16), (260, 16), (300, 4), (300, 15)])
def test_lstm_does_not_depend_on_the_number_of_threads(hidden, batch):
    layer, x = nn.LSTM(6, hidden), rtorch.randn(5, batch, 6)
    threads, outs = rtorch.get_num_threads(), []
    try:
        for n in (1, 2, 4):
            rtorch.set_num_threads(n)
            outs.append(layer(x)[0])
    finally:
        rtorch.set_num_threads(threads)
    assert all(bool((outs[0] == out).all()) for out in outs)


def test_projection_and_batch_first():
    layer = nn.LSTM(4, 6, 2, batch_first=True, bidirectional=True, proj_size=2)
    out, (h, c) = layer(rtorch.zeros(3, 5, 4))
    assert out.shape == (3, 5, 4) and h.shape == (4, 3, 2) and c.shape == (4, 3, 6)
    assert nn.GRU(4, 6)(rtorch.zeros(5, 4))[0].shape == (5, 6)
    with pytest.raises(RuntimeError, match=r"Expected hidden\[0\] size \(4, 3, 2\), got \[1, 3, 6\]"):
        layer(rtorch.zeros(3, 5, 4), (rtorch.zeros(1, 3, 6), rtorch.zeros(1, 3, 6)))


def test_pad_and_unpad():
    sequences = [rtorch.tensor([1.0, 2.0]), rtorch.tensor([3.0])]
    padded = nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_value=-1.0)
    assert padded.tolist() == [[1.0, 2.0], [3.0, -1.0]]
    left = nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_side="left")
    assert left.tolist() == [[1.0, 2.0], [0.0, 3.0]]
    back = nn.utils.rnn.unpad_sequence(padded, rtorch.tensor([2, 1]), batch_first=True)
    assert [b.tolist() for b in back] == [[1.0, 2.0], [3.0]]
    with pytest.raises(RuntimeError, match="sorted in decreasing order"):
        nn.utils.rnn.pack_padded_sequence(rtorch.ones(2, 2, 1), [1, 2], batch_first=True)


def test_attention_paths_agree():
    rtorch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = rtorch.randn(2, 5, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    padding = rtorch.zeros(2, 5)
    padding[1, 3:] = -math.inf
    slow, weights = attention(x, x, x, attn_mask=mask, key_padding_mask=padding)
    fast, none = attention(x, x, x, attn_mask=mask, key_padding_mask=padding, need_weights=False)
    assert none is None and weights.shape == (2, 5, 5) and close(slow, fast)
    assert close(attention(x[0], x[0], x[0])[0], attention(x, x, x)[0][0])
    with pytest.raises(RuntimeError, match="The shape of the 2D attn_mask"):
        attention(x, x, x, attn_mask=rtorch.zeros(2, 2))


def test_transformer_is_causal_where_it_says_so():
    rtorch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2).eval()
    x = rtorch.randn(1, 4, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(4)
    full = encoder(x, mask=mask, is_causal=True)
    assert close(encoder(x[:, :2], mask=mask[:2, :2])[:, 1], full[:, 1])
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    assert model(rtorch.zeros(3, 5, 8), rtorch.zeros(3, 2, 8)).shape == (3, 2, 8)


def test_batch_norm_statistics():
    m = nn.BatchNorm1d(1, momentum=None, affine=False)
    m(rtorch.tensor([[0.0], [2.0]]))
    m(rtorch.tensor([[4.0], [8.0]]))
    assert m.running_mean.tolist() == [3.5] and m.running_var.tolist() == [5.0] and int(m.num_batches_tracked) == 2
    with pytest.raises(ValueError, match="expected 2D or 3D input"):
        m(rtorch.ones(1))
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        m(rtorch.ones(1, 1))


def test_adaptive_softmax_sums_to_one():
    rtorch.manual_seed(0)
    m = nn.AdaptiveLogSoftmaxWithLoss(16, 20, [5, 10])
    x, target = rtorch.randn(4, 16), rtorch.tensor([0, 7, 19, 12])
    out, loss = m(x, target)
    full = m.log_prob(x)
    assert close(full.exp().sum(1), rtorch.ones(4)) and close(out, full.gather(1, target.unsqueeze(1)).squeeze(1))
    assert close(loss, -out.mean()) and m.predict(x).tolist() == full.argmax(1).tolist()


def test_convolution_arguments():
    assert repr(nn.Conv2d(1, 2, 3, padding="same", bias=False)) == (
        "Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=same, bias=False)"
    )
    assert nn.Conv1d(2, 4, 3, padding=1, padding_mode="circular")(rtorch.zeros(1, 2, 6)).shape == (1, 4, 6)
    up = nn.ConvTranspose2d(1, 1, 3, stride=2)
    assert up(rtorch.zeros(1, 1, 4, 4), output_size=(10, 10)).shape == (1, 1, 10, 10)
    with pytest.raises(ValueError, match="requested an output size"):
        up(rtorch.zeros(1, 1, 4, 4), output_size=(12, 12))
    with pytest.raises(ValueError, match="divisible by groups"):
        nn.Conv1d(3, 4, 1, groups=2)


def test_weight_norm_round_trip():
    m = nn.Linear(2, 2, bias=False)
    before = m.weight.detach().clone()
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(m)
    assert sorted(n for n, _ in m.named_parameters()) == ["weight_g", "weight_v"]
    assert close(m(rtorch.eye(2)).detach(), before.t())
    nn.utils.remove_weight_norm(m)
    assert close(m.weight.detach(), before) and isinstance(m.weight, nn.Parameter)


def test_clipping_and_vectors():
    p, q = nn.Parameter(rtorch.zeros(2)), nn.Parameter(rtorch.zeros(1))
    p.grad, q.grad = rtorch.tensor([3.0, 0.0]), rtorch.tensor([4.0])
    assert float(nn.utils.clip_grad_norm_([p, q], 1.0)) == 5.0
    assert close(p.grad, rtorch.tensor([0.6, 0.0])) and close(q.grad, rtorch.tensor([0.8]))
    nn.utils.clip_grad_value_([p], 0.5)
    assert p.grad.tolist() == [0.5, 0.0]
    q.grad = rtorch.tensor([float("inf")])
    with pytest.raises(RuntimeError, match="non-finite"):
        nn.utils.clip_grad_norm_([q], 1.0, error_if_nonfinite=True)
    m = nn.Linear(2, 1)
    nn.utils.vector_to_parameters(rtorch.tensor([1.0, 2.0, 3.0]), m.parameters())
    assert nn.utils.parameters_to_vector(m.parameters()).tolist() == [1.0, 2.0, 3.0]


def test_encoder_leaves_padding_out_where_pytorch_does():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2).eval()
    x, padding = rtorch.randn(2, 4, 8), rtorch.tensor([[False, False, True, True], [False] * 4])
    with rtorch.no_grad():
        y = encoder(x, src_key_padding_mask=padding)
        assert y[0, 2:].eq(0).all() and y[1].ne(0).all()
        encoder_on = encoder(x, src_key_padding_mask=padding.flip(1))
        assert encoder_on.ne(0).all()  # the padding is in front: nothing is left out
        rtorch.backends.mha.set_fastpath_enabled(False)
        try:
            whole = encoder(x, src_key_padding_mask=padding)
        finally:
            rtorch.backends.mha.set_fastpath_enabled(True)
    assert whole.ne(0).all() and rtorch.allclose(whole[0, :2], y[0, :2], atol=1e-6)
    assert encoder(x, src_key_padding_mask=padding).ne(0).all()  # gradients are wanted
    with pytest.warns(UserWarning, match="batch_first was not True"):
        assert not nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 1).use_nested_tensor


def test_fractional_pooling_takes_samples_first_axis_first_in_three_dimensions():
    rtorch.manual_seed(0)
    x = rtorch.randn(1, 1, 7, 8, 8)
    _, at = nn.functional.fractional_max_pool3d(x, 2, output_size=3, return_indices=True)
    wanted = "65 67 14 89 28 30 49 59 62 193 204 134 225 164 166 249 244 254 393 324 334 344 419 414 432 371 446"
    assert at.flatten().tolist() == [int(n) for n in wanted.split()]  # PyTorch's


def test_soft_margin_targets_have_no_gradient():
    with pytest.raises(RuntimeError, match="'soft_margin_loss' is not differentiable"):
        nn.SoftMarginLoss()(rtorch.ones(2), rtorch.ones(2, requires_grad=True))
