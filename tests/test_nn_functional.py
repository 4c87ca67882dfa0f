"""Functions whose composition has a corner: values by hand, second implementations, refusals."""

import math

import pytest

import rtorch
from rtorch.nn import functional as F
from rtorch.nn.functional import classification, vision


def close(a, b, tolerance=1e-5):
    b = b if isinstance(b, rtorch.Tensor) else rtorch.tensor(b)
    return a.shape == b.shape and bool((a - b).abs().max() <= tolerance * max(1.0, float(b.abs().max())))


def test_activations_by_hand():
    x = rtorch.tensor([-2.0, -0.25, 0.0, 0.25, 4.0])
    assert F.relu6(x * 2).tolist() == [0.0, 0.0, 0.0, 0.5, 6.0]
    assert F.hardtanh(x).tolist() == [-1.0, -0.25, 0.0, 0.25, 1.0]
    assert F.hardshrink(x).tolist() == [-2.0, 0.0, 0.0, 0.0, 4.0]
    assert F.softshrink(x).tolist() == [-1.5, 0.0, 0.0, 0.0, 3.5]
    assert F.threshold(x, 0.1, 20.0).tolist() == [20.0, 20.0, 20.0, 0.25, 4.0]
    assert close(F.celu(x, 2.0), [2 * math.expm1(-1.0), 2 * math.expm1(-0.125), 0.0, 0.25, 4.0])
    assert close(F.softsign(x), [-2 / 3, -0.2, 0.0, 0.2, 0.8])
    assert close(F.logsigmoid(rtorch.tensor([-100.0, 0.0, 100.0])), [-100.0, -math.log(2.0), 0.0])
    assert close(F.glu(rtorch.tensor([1.0, 2.0, 0.0, 0.0])), [0.5, 1.0])


def test_exponential_units_have_finite_gradients_far_out():
    for f in (F.celu, F.selu, F.elu):
        x = rtorch.tensor([-1e4, 1e4], requires_grad=True)
        f(x).sum().backward()
        assert bool(x.grad.isfinite().all()), f.__name__


def test_activations_in_place():
    for f in (F.relu, F.elu, F.selu, F.celu, F.silu, F.mish, F.hardtanh, F.hardswish, F.leaky_relu):
        x = rtorch.tensor([-1.0, 2.0])
        want = f(x.clone())
        assert f(x, inplace=True) is x and close(x, want), f.__name__


def test_losses_by_hand():
    a, b = rtorch.tensor([0.2, 3.0]), rtorch.zeros(2)
    assert close(F.smooth_l1_loss(a, b, reduction="none"), [0.02, 2.5])
    assert close(F.huber_loss(a, b, delta=2.0, reduction="none"), [0.02, 4.0])
    assert close(F.mse_loss(a, b, weight=rtorch.tensor([1.0, 3.0])), (0.04 + 27.0) / 4)
    p, t = rtorch.tensor([0.2, 0.9]), rtorch.tensor([0.0, 1.0])
    want = -(math.log(0.8) + math.log(0.9)) / 2
    assert close(F.binary_cross_entropy(p, t), want)
    assert close(F.binary_cross_entropy_with_logits((p / (1 - p)).log(), t), want)
    assert F.binary_cross_entropy(rtorch.zeros(1), rtorch.ones(1)).item() == 100.0
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        F.binary_cross_entropy(rtorch.tensor([2.0]), rtorch.ones(1))
    with pytest.raises(ValueError, match="is not a valid value for reduction"):
        F.mse_loss(a, b, reduction="median")


def test_ctc_counts_every_alignment():
    """Two steps, three classes: the paths of target [1] are 1-, -1 and 11."""
    log_probs = rtorch.log_softmax(rtorch.randn(2, 1, 3), -1)
    p = log_probs.exp()
    total = p[0, 0, 1] * p[1, 0, 0] + p[0, 0, 0] * p[1, 0, 1] + p[0, 0, 1] * p[1, 0, 1]
    loss = F.ctc_loss(log_probs, rtorch.tensor([[1]]), [2], [1], reduction="none")
    assert close(loss, (-total.log()).reshape(1))


@pytest.mark.parametrize("zero_infinity", [False, True])
@pytest.mark.parametrize("flat", [False, True])
def test_ctc_equals_a_step_at_a_time(flat, zero_infinity):
    steps, lengths = [7, 5, 1, 0, 0, 7], [3, 2, 2, 0, 1, 0]
    x = rtorch.randn(7, 6, 5, dtype=rtorch.float64, requires_grad=True)
    for blank in (0, 4, 2):
        labels = [c for c in range(5) if c != blank]
        rows = [[labels[(n * k + k) % 4] for k in range(3)] for n in range(6)]
        rows[0] = [labels[1]] * 3  # equal neighbours need a blank between them
        targets = rtorch.tensor(sum((row[:n] for row, n in zip(rows, lengths)), []) if flat else rows)
        found = []
        for each in (classification._ctc_native, classification._ctc_composed):
            loss = each(x.log_softmax(2), targets, steps, lengths, blank, zero_infinity)
            possible = loss.isfinite()
            (gradient,) = rtorch.autograd.grad(loss[possible].sum(), x)
            found.append((loss.detach(), gradient))
        assert close(found[0][0].nan_to_num(posinf=-1.0), found[1][0].nan_to_num(posinf=-1.0), 1e-12)
        assert close(found[0][1][:, possible], found[1][1][:, possible], 1e-12)
        assert possible.tolist() == [True, True, zero_infinity, True, zero_infinity, True]


def test_ctc_refusals():
    x = rtorch.randn(4, 2, 3).log_softmax(2).requires_grad_()
    with pytest.raises(RuntimeError, match="out of bounds"):
        F.ctc_loss(x, rtorch.tensor([[1, 3], [1, 2]]), (4, 4), (2, 2))
    with pytest.raises(RuntimeError, match="too short"):
        F.ctc_loss(x, rtorch.tensor([1, 2, 1]), (4, 4), (2, 2))
    (g,) = rtorch.autograd.grad(F.ctc_loss(x, rtorch.tensor([[1, 2], [1, 2]]), (4, 4), (2, 2)), x, create_graph=True)
    with pytest.raises(RuntimeError, match="not implemented"):
        g.sum().backward()


def test_ctc_gradient_is_that_of_the_logits():
    logits = rtorch.randn(3, 1, 3, dtype=rtorch.float64, requires_grad=True)

    def loss(x):
        return F.ctc_loss(rtorch.log_softmax(x, -1), rtorch.tensor([[1, 2]]), [3], [2], reduction="sum")

    loss(logits).backward()
    eps = 1e-6
    for c in range(3):
        step = rtorch.zeros_like(logits)
        step[1, 0, c] = eps
        with rtorch.no_grad():
            slope = (loss(logits + step) - loss(logits - step)) / (2 * eps)
        assert abs(float(slope) - float(logits.grad[1, 0, c])) < 1e-6


def test_margin_losses():
    x = rtorch.tensor([[0.1, 0.2, 0.4, 0.8]])
    assert close(F.multilabel_margin_loss(x, rtorch.tensor([[3, 0, -1, 1]])), 0.85)
    assert close(F.multi_margin_loss(x, rtorch.tensor([3])), (0.3 + 0.4 + 0.6) / 4)
    with pytest.raises(RuntimeError, match="expected scalar type Long"):
        F.multilabel_margin_loss(rtorch.ones(1, 3), rtorch.ones(1, 3))


@pytest.mark.parametrize("corners", [False, True])
def test_linear_resize_keeps_a_ramp(corners):
    ramp = rtorch.arange(5.0).reshape(1, 1, 5)
    out = F.interpolate(ramp, size=9, mode="linear", align_corners=corners)[0, 0]
    steps = out[1:] - out[:-1]
    inner = steps if corners else steps[1:-1]
    assert close(inner, rtorch.full_like(inner, 0.5 if corners else 5 / 9))


def test_resize_modes_and_refusals():
    x = rtorch.arange(16.0).reshape(1, 1, 4, 4)
    assert F.interpolate(x, scale_factor=0.5).flatten().tolist() == [0.0, 2.0, 8.0, 10.0]
    assert F.interpolate(x, size=(2, 2), mode="area").flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    for mode in ("bilinear", "bicubic"):
        out = F.interpolate(x, size=(2, 2), mode=mode, antialias=True)
        assert close(out.mean(), x.mean(), 1e-4)
    with pytest.raises(ValueError, match="align_corners option"):
        F.interpolate(x, size=2, align_corners=True)
    with pytest.raises(ValueError, match="either size or scale_factor"):
        F.interpolate(x)


def test_grid_sample_by_the_identity():
    x = rtorch.randn(2, 3, 4, 5)
    theta = rtorch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]).expand(2, 2, 3)
    for corners in (False, True):
        grid = F.affine_grid(theta, (2, 3, 4, 5), align_corners=corners)
        for mode in ("bilinear", "nearest", "bicubic"):
            assert close(F.grid_sample(x, grid, mode=mode, align_corners=corners), x, 1e-4)


@pytest.mark.parametrize("dtype", [rtorch.float32, rtorch.float64, rtorch.float16, rtorch.bfloat16])
@pytest.mark.parametrize("size", [(9,), (3,), (5, 8), (7, 4), (2, 11, 4)])
def test_resize_equals_its_taps(size, dtype):
    x = rtorch.randn(2, 3, *[5, 7, 4][: len(size)], dtype=dtype)
    mode = ["linear", "bilinear", "trilinear"][len(size) - 1]
    for corners, cubic in ((False, False), (True, False), (False, True), (True, True)):
        if cubic and len(size) != 2:
            continue
        out = F.interpolate(x, size, mode="bicubic" if cubic else mode, align_corners=corners)
        want = x.to(rtorch.float64 if dtype is rtorch.float64 else rtorch.float32)
        for d, n in enumerate(size, 2):
            want = vision._resize_taps(want, d, n, None, corners, cubic)
        # rounded once, and a few roundings of the sums
        tolerance = rtorch.finfo(dtype).eps / 2 + 8 * rtorch.finfo(want.dtype).eps
        assert out.dtype is dtype and close(out.to(want.dtype), want, tolerance)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_resize_of_strided_and_broadcast_images(mode):
    x = rtorch.randn(2, 6, 5, 4, requires_grad=True)
    for view in (x.transpose(2, 3), x[:, ::2], x[:1].expand(3, 6, 5, 4), x[:0]):
        out = F.interpolate(view, (7, 3), mode=mode)
        assert rtorch.equal(out, F.interpolate(view.contiguous(), (7, 3), mode=mode))
        (found,) = rtorch.autograd.grad(out.sum(), x)
        # weights sum to one: every output element hands on its whole gradient
        assert close(found.sum(), float(out.numel()), 1e-4)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_grid_sample_of_views_and_small_dtypes(mode):
    x, grid = rtorch.randn(2, 3, 5, 4), rtorch.rand(2, 4, 3, 2) * 2.4 - 1.2
    want = F.grid_sample(x, grid, mode=mode, align_corners=False)
    turned = F.grid_sample(x.mT.contiguous().mT, grid.mT.contiguous().mT, mode=mode, align_corners=False)
    assert rtorch.equal(turned, want)
    for dtype in (rtorch.float16, rtorch.bfloat16):
        a, b = x.to(dtype), grid.to(dtype)
        out = F.grid_sample(a, b, mode=mode, align_corners=False)
        assert rtorch.equal(out, F.grid_sample(a.float(), b.float(), mode=mode, align_corners=False).to(dtype))
    with pytest.raises(RuntimeError, match="non-empty spatial dimensions"):
        F.grid_sample(x[:, :, :0], grid, align_corners=False)


def test_grid_sample_beyond_numbers():
    x = rtorch.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    nan, inf = math.nan, math.inf
    grid = rtorch.tensor([[nan, 0.0], [inf, 0.0], [-inf, 0.2], [1e20, 0.3]]).reshape(1, 1, 4, 2)
    border = F.grid_sample(x, grid, padding_mode="border", align_corners=False).flatten()
    assert close(border, [4.0, 6.0, 4.9, 7.35]), border
    assert F.grid_sample(x, grid, mode="nearest", align_corners=False).flatten().tolist() == [0.0] * 4
    deep = rtorch.cat([grid, rtorch.zeros(1, 1, 4, 1)], -1).unsqueeze(1)
    assert F.grid_sample(x.unsqueeze(2), deep, align_corners=False).flatten().tolist() == [0.0] * 4


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_grid_sample_has_second_derivatives(mode):
    x = rtorch.randn(1, 2, 4, 3, dtype=rtorch.float64, requires_grad=True)
    grid = (rtorch.rand(1, 3, 2, 2, dtype=rtorch.float64) * 1.2 - 0.6).requires_grad_()
    assert rtorch.autograd.gradgradcheck(lambda a, b: F.grid_sample(a, b, mode=mode, align_corners=False), (x, grid))


def test_fold_undoes_unfold():
    x = rtorch.randn(2, 3, 6, 7)
    columns = F.unfold(x, 3, dilation=1, padding=1, stride=2)
    counts = F.fold(F.unfold(rtorch.ones_like(x), 3, padding=1, stride=2), (6, 7), 3, padding=1, stride=2)
    assert columns.shape == (2, 27, 12)
    assert close(F.fold(columns, (6, 7), 3, padding=1, stride=2), x * counts)


def test_unpooling_puts_maxima_back():
    x = rtorch.tensor([[[1.0, 3.0, 2.0, 4.0]]])
    values, where = F.max_pool1d(x, 2, return_indices=True)
    assert F.max_unpool1d(values, where, 2).tolist() == [[[0.0, 3.0, 0.0, 4.0]]]
    assert F.max_unpool1d(values, where, 2, output_size=[5]).shape == (1, 1, 5)
    with pytest.raises(ValueError, match="invalid output_size"):
        F.max_unpool1d(values, where, 2, output_size=[9])


@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("padding", [None, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_embedding_bag_adds_its_rows(mode, padding, weighted):
    if weighted and mode == "mean":
        pytest.skip("weights belong to sums")
    table = rtorch.randn(7, 5, dtype=rtorch.float64, requires_grad=True)
    index = rtorch.tensor([3, 2, 2, 6, 0, 3, 3], dtype=rtorch.int32)
    factors = rtorch.randn(7, dtype=rtorch.float64, requires_grad=True) if weighted else None
    cuts = [0, 2, 2, 6]  # the second bag is empty

    def bags(table, *factors):
        given = {"per_sample_weights": factors[0]} if factors else {}
        return F.embedding_bag(index, table, rtorch.tensor(cuts), mode=mode, padding_idx=padding, **given)

    for number, (start, end) in enumerate(zip(cuts, [*cuts[1:], 7])):
        kept = [i for i in range(start, end) if int(index[i]) != padding]
        want = sum((table[int(index[i])] * (factors[i] if weighted else 1) for i in kept), rtorch.zeros(5))
        want = want / max(len(kept), 1) if mode == "mean" else want
        assert close(bags(table, *[factors] * weighted)[number], want, 1e-12)
    inputs = (table, *[factors] * weighted)
    assert rtorch.autograd.gradcheck(bags, inputs)
    if weighted:  # without, it is linear
        assert rtorch.autograd.gradgradcheck(bags, inputs)


def test_embedding_bag_refusals():
    table, index = rtorch.randn(7, 5), rtorch.tensor([3, 2, 1])
    with pytest.raises(RuntimeError, match="from 1 to 7"):
        F.embedding_bag(rtorch.tensor([1, 7]), table, rtorch.tensor([0]))
    with pytest.raises(RuntimeError, match="offsets.0. has to be 0"):
        F.embedding_bag(index, table, rtorch.tensor([1, 2]))
    with pytest.raises(RuntimeError, match="have to lie between"):
        F.embedding_bag(index, table, rtorch.tensor([0, 4]))
    with pytest.raises(RuntimeError, match="ascending"):
        F.embedding_bag(index, table, rtorch.tensor([0, 2, 1]))


def test_embedding_bag_equals_embedding():
    rtorch.manual_seed(0)
    table, index = rtorch.randn(6, 3), rtorch.tensor([[0, 1], [3, 3]])
    rows = F.embedding(index, table)
    assert close(F.embedding_bag(index, table), rows.mean(1))
    assert close(F.embedding_bag(index, table, mode="sum"), rows.sum(1))
    assert close(F.embedding_bag(index, table, mode="max"), rows.max(1)[0])
    offsets = rtorch.tensor([0, 0, 3])
    bags = F.embedding_bag(index.flatten(), table, offsets, mode="sum")
    assert bags[0].tolist() == [0.0, 0.0, 0.0] and close(bags[2], table[3])
    with pytest.raises(ValueError, match="offsets has to be a 1D Tensor"):
        F.embedding_bag(index.flatten(), table)


def test_embedding_renormalises():
    table = rtorch.full((2, 4), 3.0)
    F.embedding(rtorch.tensor([1]), table, max_norm=1.0)
    assert table[0].tolist() == [3.0] * 4 and close(table[1].norm(), 1.0, 1e-4)


def test_distances():
    a, b = rtorch.tensor([[3.0, 4.0]]), rtorch.tensor([[0.0, 0.0]])
    assert close(F.pairwise_distance(a, b), [5.0], 1e-4)
    assert close(F.pdist(rtorch.tensor([[0.0], [1.0], [3.0]])), [1.0, 3.0, 2.0])
    assert close(F.cosine_similarity(a, a * 2), [1.0]) and F.cosine_similarity(a, b).tolist() == [0.0]
    assert close(F.normalize(a), [[0.6, 0.8]])


def test_dropout_variants_by_seed():
    rtorch.manual_seed(3)
    y = F.dropout2d(rtorch.ones(1, 6, 2, 2), 0.5)
    assert y[0, :, 0, 0].tolist() == [2.0, 2.0, 0.0, 2.0, 0.0, 0.0]
    rtorch.manual_seed(1)
    want = [-0.14884261786937714, -0.27964359521865845, 2.0, -0.2874020040035248]
    assert close(F.rrelu(rtorch.tensor([-1.0, -1.0, 2.0, -1.0]), 0.1, 0.9, training=True), want)
    with pytest.raises(ValueError, match="between 0 and 1"):
        F.dropout(rtorch.ones(1), 1.5)
    assert F.alpha_dropout(rtorch.ones(2), 0.4, training=False).tolist() == [1.0, 1.0]


def test_shuffles():
    x = rtorch.arange(8.0).reshape(1, 4, 1, 2)
    y = F.pixel_shuffle(x, 2)
    assert y.tolist() == [[[[0.0, 2.0, 1.0, 3.0], [4.0, 6.0, 5.0, 7.0]]]]
    assert rtorch.equal(F.pixel_unshuffle(y, 2), x)
    assert F.channel_shuffle(x, 2)[0, :, 0, 0].tolist() == [0.0, 4.0, 2.0, 6.0]


INTEGERS = [rtorch.int64, rtorch.int32, rtorch.int16, rtorch.int8, rtorch.uint8]


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_convolutions_of_integers(dtype):
    x, w = rtorch.arange(4).to(dtype).reshape(1, 1, 4), rtorch.tensor([[[1, 2]]]).to(dtype)
    y = F.conv1d(x, w)
    assert y.dtype == dtype and y.flatten().tolist() == [2, 5, 8]
    assert F.conv1d(x, w, rtorch.ones(1).to(dtype)).flatten().tolist() == [3, 6, 9]
    wrapped = F.conv1d(rtorch.full((1, 1, 1), 100).to(dtype), rtorch.full((1, 1, 1), 3).to(dtype)).item()
    assert wrapped == rtorch.tensor(300).to(dtype).item()
    if dtype == rtorch.int64:
        assert F.conv_transpose1d(x, w).flatten().tolist() == [0, 1, 4, 7, 6]
    else:
        with pytest.raises(RuntimeError, match="not implemented"):
            F.conv_transpose1d(x, w)
    with pytest.raises(RuntimeError, match="not implemented for 'Bool'"):
        F.conv1d(x.bool(), w.bool())


def test_weights_of_the_huber_loss_do_not_enter_its_mean():
    x, y, w = rtorch.tensor([0.0, 2.0]), rtorch.tensor([0.5, 0.0]), rtorch.tensor([2.0, 1.0])
    each = F.huber_loss(x, y, reduction="none", weight=w)
    assert each.tolist() == [0.25, 1.5] and F.huber_loss(x, y, weight=w).item() == 0.875


@pytest.mark.parametrize("shape", [(5, 7), (3, 600), (2, 4, 3, 5), (6,)])
@pytest.mark.parametrize("dtype", [rtorch.float32, rtorch.float64, rtorch.bfloat16])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_is_the_loss_of_the_log_softmax(shape, dtype, reduction):
    rtorch.manual_seed(0)
    classes = shape[1] if len(shape) > 1 else shape[0]
    target = rtorch.randint(0, classes, shape[:1] + shape[2:] if len(shape) > 1 else ())
    weight = rtorch.rand(classes).to(dtype)
    if target.numel() > 2:
        target.view(-1)[1] = -100
    tolerance = {rtorch.float32: 1e-5, rtorch.float64: 1e-12, rtorch.bfloat16: 0.05}[dtype]
    for w in (None, weight):
        for turn in (lambda t: t, lambda t: t.flip(0) if t.dim() else t, lambda t: t * 2 - 1):
            x = rtorch.randn(shape, dtype=dtype)
            a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
            got = F.cross_entropy(turn(a), target, weight=w, reduction=reduction)
            want = F.nll_loss(F.log_softmax(turn(b), 0 if len(shape) == 1 else 1), target, w, reduction=reduction)
            assert got.dtype == dtype and rtorch.allclose(got, want, rtol=tolerance, atol=tolerance)
            g = rtorch.randn_like(got)
            got.backward(g)
            want.backward(g)
            assert rtorch.allclose(a.grad, b.grad, rtol=tolerance, atol=tolerance)


def test_logits_may_be_written_after_the_cross_entropy():
    x = rtorch.randn(4, 3).requires_grad_()
    logits = x * 1
    loss = F.cross_entropy(logits, rtorch.tensor([0, 2, 1, 1]))
    logits.zero_()
    loss.backward()
    want = rtorch.softmax(x.detach(), 1)
    want[range(4), [0, 2, 1, 1]] -= 1
    assert rtorch.allclose(x.grad, want / 4, atol=1e-6)


def test_convolutions_of_complex_numbers():
    rtorch.manual_seed(0)
    x, w = rtorch.randn(2, 4, 5, 6, dtype=rtorch.complex128), rtorch.randn(6, 2, 3, 2, dtype=rtorch.complex128)
    b = rtorch.randn(6, dtype=rtorch.complex128)
    windows = F.pad(x, (0, 0, 1, 1)).unfold(2, 3, 2).unfold(3, 2, 1).reshape(2, 2, 2, 3, 5, 3, 2)
    want = rtorch.einsum("ngchwij,gocij->ngohw", windows, w.reshape(2, 3, 2, 3, 2)).reshape(2, 6, 3, 5)
    options = {"stride": (2, 1), "padding": (1, 0), "groups": 2}
    got = F.conv2d(x, w, b, **options)
    assert rtorch.allclose(got, want + b[:, None, None])
    assert rtorch.allclose(F.conv2d(x[0], w, b, **options), got[0])
    # the transposed map: <y, conv(x)> without conjugates
    back = F.conv_transpose2d(got, w, output_padding=(0, 0), **options)
    assert rtorch.allclose((back * x).sum(), (got * want).sum())
    parts = [t.requires_grad_() for t in (x[:1, :, :3, :3].clone(), w[:, :, :2].clone(), b)]
    assert rtorch.autograd.gradcheck(lambda x, w, b: F.conv2d(x, w, b, groups=2, padding="same"), parts)
    assert rtorch.autograd.gradcheck(
        lambda x, w, b: F.conv_transpose1d(x, w, b, stride=2),
        [rtorch.randn(*s, dtype=rtorch.complex128, requires_grad=True) for s in ((1, 2, 3), (2, 3, 2), (3,))],
    )
    with pytest.raises(RuntimeError, match="should be the same"):
        F.conv2d(x, w.real, **options)


def test_one_window_over_complex_numbers_is_their_mean():
    x = rtorch.tensor([[[1 + 2j, 3 - 1j, 2]]])
    assert close(F.adaptive_avg_pool1d(x, 1).real, rtorch.tensor([[[2.0]]]))
    assert close(F.adaptive_avg_pool1d(x, 1).imag, rtorch.tensor([[[1 / 3]]]))
    with pytest.raises(NotImplementedError):
        F.adaptive_avg_pool1d(x, 2)
    with pytest.raises(RuntimeError, match="could not infer output dtype"):
        F.adaptive_avg_pool2d(rtorch.ones(1, 2, 2, dtype=rtorch.int64), 1)


def test_images_without_pixels_are_not_resized():
    with pytest.raises(RuntimeError, match="greater than 0"):
        F.interpolate(rtorch.ones(1, 1, 0), 3)


def test_statistics_of_16_bit_norms_have_the_dtype_of_the_parameters():
    h, half, single = rtorch.randn(2, 4, dtype=rtorch.float16), rtorch.float16, rtorch.float32
    w = rtorch.ones(4)
    for parameter, dtype in ((None, half), (w.half(), half), (w, single)):
        given = (parameter, parameter)
        for parts in (
            rtorch.native_layer_norm(h, [4], *given, 1e-5),
            rtorch.native_group_norm(h, *given, 2, 4, 1, 2, 1e-5),
            rtorch.native_batch_norm(h, *given, None, None, True, 0.1, 1e-5),
        ):
            assert [t.dtype for t in parts] == [half, dtype, dtype]
