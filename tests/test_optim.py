"""Optimizers and schedules: the fused pass against its meaning, groups, state, hooks, refusals."""

import copy
import math

import pytest

import rtorch
from rtorch import nn, optim
from rtorch.optim import lr_scheduler

FUSED = [
    (optim.SGD, {}),
    (optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    (optim.SGD, {"momentum": 0.9, "nesterov": True}),
    (optim.SGD, {"momentum": 0.9, "dampening": 0.5, "maximize": True}),
    (optim.Adam, {}),
    (optim.Adam, {"amsgrad": True, "weight_decay": 0.1}),
    (optim.Adam, {"maximize": True, "betas": (0.5, 0.6), "eps": 0.1}),
    (optim.AdamW, {"weight_decay": 0.2}),
    (optim.Adadelta, {"weight_decay": 0.1}),
    (optim.Adagrad, {"lr_decay": 0.5, "weight_decay": 0.1}),
    (optim.RMSprop, {"maximize": True}),
    (optim.RMSprop, {"momentum": 0.9, "centered": True, "weight_decay": 0.1}),
]
OTHERS = ["Adamax", "NAdam", "RAdam", "Adagrad", "Adadelta", "RMSprop", "Rprop", "ASGD", "Adafactor"]


def train(make, steps=5, dtype=rtorch.float32):
    """The parameters and the optimizer after some steps on a fixed problem."""
    a = rtorch.linspace(-1.0, 2.0, 12).reshape(3, 4).to(dtype).requires_grad_()
    b = rtorch.linspace(0.5, 1.5, 4).to(dtype).requires_grad_()
    optimizer = make([a, b])
    for _ in range(steps):
        optimizer.zero_grad()
        ((a * 2 + b) ** 2).sum().backward()
        optimizer.step()
    return [a.detach(), b.detach()], optimizer


def close(a, b, tolerance=1e-5):
    return bool((a - b).abs().max() <= tolerance * max(1.0, float(b.abs().max())))


@pytest.mark.parametrize(("kind", "options"), FUSED)
@pytest.mark.parametrize("dtype", [rtorch.float32, rtorch.float64])
def test_fused_pass_equals_its_meaning(kind, options, dtype):
    fast, fast_optimizer = train(lambda p: kind(p, lr=0.01, **options), dtype=dtype)
    slow, slow_optimizer = train(lambda p: kind(p, lr=0.01, foreach=False, **options), dtype=dtype)
    assert all(close(x, y) for x, y in zip(fast, slow))
    fast_state, slow_state = (o.state_dict()["state"] for o in (fast_optimizer, slow_optimizer))
    assert fast_state.keys() == slow_state.keys()
    for key, own in fast_state.items():
        assert own.keys() == slow_state[key].keys()
        assert all(close(own[name], slow_state[key][name]) for name in own)


@pytest.mark.parametrize("name", [*OTHERS, "SGD", "Adam", "AdamW"])
def test_losses_fall(name):
    kind = getattr(optim, name)
    options = {"lr": 0.05} if name not in ("Adadelta", "Rprop") else {}
    w = rtorch.tensor([3.0, -2.0], requires_grad=True)
    optimizer = kind([w], **options)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", [*OTHERS, "SGD", "Adam", "AdamW"])
def test_state_continues_in_another_optimizer(name):
    kind = getattr(optim, name)

    def run(split):
        w = rtorch.tensor([[1.0, -2.0], [0.5, 4.0]], requires_grad=True)
        optimizer = kind([w])
        for i in range(4):
            if i == 2 and split:
                saved = copy.deepcopy(optimizer.state_dict())
                optimizer = kind([w], lr=9.0)
                optimizer.load_state_dict(saved)
            optimizer.zero_grad()
            (w**2).sum().backward()
            optimizer.step()
        return w.detach()

    assert rtorch.equal(run(False), run(True))


def test_lbfgs_and_muon():
    w = rtorch.tensor([5.0, -3.0], requires_grad=True)
    optimizer = optim.LBFGS([w], line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = ((w - rtorch.tensor([1.0, 2.0])) ** 2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 41.0
    assert close(w.detach(), rtorch.tensor([1.0, 2.0]), 1e-3)
    with pytest.raises(ValueError, match="2D parameters"):
        optim.Muon([rtorch.ones(3, requires_grad=True)])


def test_groups_and_defaults():
    a, b = rtorch.ones(1, requires_grad=True), rtorch.ones(1, requires_grad=True)
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 1.0}], lr=0.1)
    (a + 2 * b).sum().backward()
    optimizer.step()
    assert close(a.detach(), rtorch.tensor([0.9])) and b.item() == -1.0
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": [a]})
    named = optim.SGD(rtorch.nn.Linear(1, 1).named_parameters(), lr=0.1)
    assert named.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]


def test_what_the_base_refuses():
    w = rtorch.ones(1, requires_grad=True)
    with pytest.raises(ValueError, match="empty parameter list"):
        optim.SGD([])
    with pytest.raises(TypeError, match="iterable of Tensors or dicts"):
        optim.SGD(w)
    with pytest.raises(TypeError, match="can only optimize Tensors"):
        optim.SGD([3.0])
    with pytest.raises(ValueError, match="non-leaf"):
        optim.SGD([w * 2])
    with pytest.raises(TypeError, match="ordered collections"):
        optim.SGD([{"params": {w}}])
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        optim.Adam([w], lr=-1)
    with pytest.raises(ValueError, match="Invalid beta parameter at index 1: 1.5"):
        optim.AdamW([w], betas=(0.9, 1.5))
    two = optim.SGD([w, rtorch.ones(1, requires_grad=True)])
    with pytest.raises(ValueError, match="doesn't match the size of optimizer's group"):
        two.load_state_dict(optim.SGD([w]).state_dict())


def test_hooks_and_closure():
    w, log = rtorch.tensor([3.0], requires_grad=True), []
    optimizer = optim.SGD([w], lr=0.1)
    pre = optimizer.register_step_pre_hook(lambda o, args, kwargs: log.append("pre" if args[0] is o else args))
    optimizer.register_step_post_hook(lambda o, args, kwargs: log.append("post"))

    def closure():
        optimizer.zero_grad()
        loss = (w**2).sum()
        loss.backward()
        return loss

    with rtorch.no_grad():
        assert optimizer.step(closure).item() == 9.0
    pre.remove()
    optimizer.step()
    assert log == ["pre", "post", "post"] and not (w.grad_fn or w.requires_grad is False)


def test_repr_and_zero_grad():
    w = rtorch.ones(1, requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)
    assert repr(optimizer).startswith("SGD (\nParameter Group 0\n    dampening: 0\n")
    w.sum().backward()
    optimizer.zero_grad(set_to_none=False)
    assert w.grad.tolist() == [0.0]
    optimizer.zero_grad()
    assert w.grad is None


def rates(make, steps, **options):
    w = rtorch.ones(1, requires_grad=True)
    optimizer = optim.SGD([w], lr=1.0, momentum=0.9)
    schedule = make(optimizer, **options)
    found = [schedule.get_last_lr()[0]]
    for _ in range(steps):
        optimizer.step()
        schedule.step()
        found.append(schedule.get_last_lr()[0])
    return found


@pytest.mark.parametrize(
    ("make", "options", "rate"),
    [
        (lr_scheduler.StepLR, {"step_size": 2, "gamma": 0.5}, lambda e: 0.5 ** (e // 2)),
        (lr_scheduler.MultiStepLR, {"milestones": [2, 5], "gamma": 0.1}, lambda e: 0.1 ** ((e >= 2) + (e >= 5))),
        (lr_scheduler.ExponentialLR, {"gamma": 0.9}, lambda e: 0.9**e),
        (lr_scheduler.ConstantLR, {"factor": 0.5, "total_iters": 3}, lambda e: 0.5 if e < 3 else 1.0),
        (lr_scheduler.LinearLR, {"start_factor": 0.5, "total_iters": 4}, lambda e: 0.5 + 0.5 * min(e, 4) / 4),
        (lr_scheduler.PolynomialLR, {"total_iters": 4, "power": 2.0}, lambda e: (1 - min(e, 4) / 4) ** 2),
        (lr_scheduler.CosineAnnealingLR, {"T_max": 4}, lambda e: (1 + math.cos(math.pi * e / 4)) / 2),
        (lr_scheduler.CosineAnnealingWarmRestarts, {"T_0": 3}, lambda e: (1 + math.cos(math.pi * (e % 3) / 3)) / 2),
        (lr_scheduler.LambdaLR, {"lr_lambda": lambda e: 1 / (e + 1)}, lambda e: 1 / (e + 1)),
        (lr_scheduler.MultiplicativeLR, {"lr_lambda": lambda e: 0.8}, lambda e: 0.8**e),
    ],
)
def test_schedules_follow_their_formula(make, options, rate):
    found = rates(make, 8, **options)
    assert found == pytest.approx([rate(e) for e in range(9)], abs=1e-9)


def test_cyclic_schedules_move_the_momentum():
    w = rtorch.ones(1, requires_grad=True)
    optimizer = optim.SGD([w], lr=1.0, momentum=0.9)
    schedule = lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=8)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1 / 25)
    assert optimizer.param_groups[0]["momentum"] == pytest.approx(0.95)
    top = 0.0
    for _ in range(7):
        optimizer.step()
        schedule.step()
        top = max(top, schedule.get_last_lr()[0])
    assert top > 0.9 and schedule.get_last_lr()[0] == pytest.approx(1 / 25 / 1e4)
    triangle = rates(lr_scheduler.CyclicLR, 4, base_lr=0.1, max_lr=1.0, step_size_up=2)
    assert triangle == pytest.approx([0.1, 0.55, 1.0, 0.55, 0.1])
    with pytest.raises(ValueError, match="must support momentum"):
        lr_scheduler.OneCycleLR(optim.Adagrad([w]), 0.1, total_steps=3)


def test_combined_schedules():
    w = rtorch.ones(1, requires_grad=True)
    optimizer = optim.SGD([w], lr=1.0)
    parts = [lr_scheduler.ConstantLR(optimizer, 0.1, 3), lr_scheduler.ExponentialLR(optimizer, 0.9)]
    schedule = lr_scheduler.SequentialLR(optimizer, parts, milestones=[3])
    found = [schedule.get_last_lr()[0]]
    for _ in range(5):
        optimizer.step()
        schedule.step()
        found.append(schedule.get_last_lr()[0])
    assert found == pytest.approx([0.1, 0.1, 0.1, 1.0, 0.9, 0.81])
    other = optim.SGD([w], lr=1.0)
    with pytest.raises(ValueError, match="same optimizer"):
        lr_scheduler.ChainedScheduler([parts[0], lr_scheduler.ExponentialLR(other, 0.9)])


def test_plateau():
    optimizer = optim.SGD([rtorch.ones(1, requires_grad=True)], lr=1.0)
    schedule = lr_scheduler.ReduceLROnPlateau(optimizer, patience=2, factor=0.5)
    found = []
    for metric in (1.0, 0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.5, 0.6):
        schedule.step(metric)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_a_tensor_rate_stays_the_same_tensor():
    lr = rtorch.tensor(1.0)
    w = rtorch.ones(1, requires_grad=True)
    optimizer = optim.SGD([w], lr=lr)
    schedule = lr_scheduler.ExponentialLR(optimizer, 0.5)
    w.sum().backward()
    optimizer.step()
    schedule.step()
    assert optimizer.param_groups[0]["lr"] is lr and lr.item() == 0.5 and w.item() == 0.0


def test_weight_averages():
    from rtorch.optim import swa_utils

    model = rtorch.nn.Linear(1, 1, bias=False)
    equal = swa_utils.AveragedModel(model)
    moving = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9))
    for value in (1.0, 2.0, 3.0):
        with rtorch.no_grad():
            model.weight.fill_(value)
        equal.update_parameters(model)
        moving.update_parameters(model)
    assert equal.module.weight.item() == pytest.approx(2.0) and moving.module.weight.item() == pytest.approx(1.29)


TABLE = [
    (rtorch.optim.Adadelta, {"rho": 0.8}),
    (rtorch.optim.Adagrad, {"lr_decay": 0.1}),
    (rtorch.optim.RMSprop, {"momentum": 0.5, "centered": True}),
    (rtorch.optim.RMSprop, {"momentum": 0.5}),
    (rtorch.optim.RMSprop, {"centered": True}),
    (rtorch.optim.Adamax, {}),
    (rtorch.optim.NAdam, {"momentum_decay": 0.01}),
    (rtorch.optim.NAdam, {"decoupled_weight_decay": True}),
    (rtorch.optim.RAdam, {}),
    (rtorch.optim.RAdam, {"decoupled_weight_decay": True}),
    (rtorch.optim.ASGD, {"t0": 2.0, "lambd": 0.01}),
    (rtorch.optim.Rprop, {}),
]


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize(("kind", "options"), TABLE, ids=lambda x: getattr(x, "__name__", None) or "-".join(x))
def test_one_pass_is_the_step_written_out(kind, options, maximize, monkeypatch):
    calls = []
    table = rtorch._C._fused_step_
    monkeypatch.setattr(rtorch._C, "_fused_step_", lambda *a: calls.append(table(*a)) or calls[-1])
    decay = {} if kind is rtorch.optim.Rprop else {"weight_decay": 0.1}
    results = []
    for foreach in (None, False):  # False: the step written out in Python
        rtorch.manual_seed(0)
        params = [nn.Parameter(rtorch.randn(3, 4)), nn.Parameter(rtorch.randn(5))]
        optimizer = kind(params, lr=0.05, maximize=maximize, foreach=foreach, **options, **decay)
        for _ in range(8):
            for p in params:
                p.grad = rtorch.randn(p.shape)
            optimizer.step()
        states = [v for p in params for v in optimizer.state[p].values()]
        results.append([p.detach() for p in params] + states)
    assert calls == [True] * 8
    for got, want in zip(*results, strict=True):
        assert rtorch.allclose(rtorch.as_tensor(got), rtorch.as_tensor(want), atol=1e-5, rtol=1e-4)


def test_a_table_of_formulas_refuses_what_it_does_not_know():
    with pytest.raises(TypeError, match="there is no formula"):
        rtorch._C._fused_step_("sgdm", [], [], [], [], [], False)
    p = rtorch.ones(2)
    assert rtorch._C._fused_step_("adamax", [p], [p], [p], [p], [0.0], False) is False


class Rows:
    """A sparse gradient of some rows: what SparseAdam reads of one."""

    is_sparse = True

    def __init__(self, rows, values):
        self.rows, self.given = rtorch.tensor([rows]), values

    def coalesce(self):
        return self

    def __neg__(self):
        return Rows(self.rows[0].tolist(), -self.given)

    def indices(self):
        return self.rows

    def values(self):
        return self.given


def test_sparse_adam_moves_only_the_rows_it_got():
    p = nn.Parameter(rtorch.ones(3, 2))
    optimizer = rtorch.optim.SparseAdam([p], lr=0.1)
    group = optimizer.param_groups[0]
    with rtorch.no_grad():
        for step in range(2):
            (state,) = optimizer._states([p], group)
            optimizer._update(p, Rows([0, 2], rtorch.tensor([[1.0, 2.0], [-1.0, 0.5]])), state, group)
            assert state["step"] == step + 1
    dense = nn.Parameter(rtorch.ones(2, 2))
    adam = rtorch.optim.Adam([dense], lr=0.1)
    for _ in range(2):
        dense.grad = rtorch.tensor([[1.0, 2.0], [-1.0, 0.5]])
        adam.step()
    assert rtorch.allclose(p[[0, 2]], dense, atol=1e-6) and p[1].tolist() == [1.0, 1.0]
    p.grad = rtorch.ones(3, 2)
    with pytest.raises(RuntimeError, match="SparseAdam does not support dense gradients"):
        optimizer.step()
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        rtorch.optim.SparseAdam([p], lr=-1)


def test_an_optimizer_works_on_other_tensors_for_a_while():
    p = nn.Parameter(rtorch.ones(2))
    optimizer = rtorch.optim.SGD([p], lr=1.0, momentum=0.9)
    p.grad = rtorch.ones(2)
    optimizer.step()
    other = rtorch.zeros(2).requires_grad_()
    state = optimizer.state_dict()
    with rtorch.optim.swap_in_optimizer_params_and_state(optimizer, {"p": other}, state):
        other.grad = rtorch.ones(2)
        optimizer.step()
    assert other.tolist() == pytest.approx([-1.9, -1.9]) and p.tolist() == [0.0, 0.0]
    assert optimizer.param_groups[0]["params"][0] is p
    with pytest.raises(ValueError, match="expected 1 parameters, got 0"):
        with rtorch.optim.swap_in_optimizer_params_and_state(optimizer, {}, state):
            pass


@pytest.mark.parametrize("kind", [optim.Adam, optim.SGD, optim.Rprop])
def test_many_small_parameters_step_together_as_they_would_alone(kind):
    results = []
    threads = rtorch.get_num_threads()
    try:
        for count in (1, 2):
            rtorch.set_num_threads(count)
            rtorch.manual_seed(0)
            sizes = [(64, 64), (7,), (0, 3), (300, 500), (40, 40)] * 6
            params = [nn.Parameter(rtorch.randn(size)) for size in sizes]
            optimizer = kind(params, lr=0.1, **({"momentum": 0.9} if kind is optim.SGD else {}))
            for _ in range(3):
                for p in params:
                    p.grad = rtorch.randn(p.shape)
                optimizer.step()
            results.append([p.detach() for p in params])
    finally:
        rtorch.set_num_threads(threads)
    assert all(a.equal(b) for a, b in zip(*results))


def test_parameters_over_one_memory_step_in_their_order():
    whole = rtorch.ones(6)
    params = [nn.Parameter(whole[:4]), nn.Parameter(whole[2:])]
    for p in params:
        p.grad = rtorch.ones(4)
    optimizer = optim.SGD(params, lr=0.5, weight_decay=1.0)
    optimizer.step()
    # the middle is written twice, the second time from the first's result
    assert whole.tolist() == [0.0, 0.0, -0.5, -0.5, 0.0, 0.0]
    params[0].grad = params[1].detach()[:4]
    optimizer.step()
    assert params[0].shape == (4,)


# PyTorch's weights after three steps on rows (i, 1, i) of arange(8).view(4, 2) / 4.
SPARSE_STEPS = [
    ("SGD", {"momentum": 0.9}, [0.0, -0.021, -0.241, -0.3615, 0.6, 0.75, 1.5, 1.75]),
    ("SGD", {"maximize": True}, [0.0, 0.35, 1.152, 1.728, 1.4, 1.75, 1.5, 1.75]),
    ("Adagrad", {"lr_decay": 0.1}, [0.0, 0.15, 0.2964, 0.5434, 0.9167, 1.1667, 1.5, 1.75]),
]


@pytest.mark.parametrize(("name", "options", "wanted"), SPARSE_STEPS)
def test_steps_on_sparse_gradients(name, options, wanted):
    table = rtorch.nn.Embedding.from_pretrained(rtorch.arange(8.0).view(4, 2) / 4, freeze=False, sparse=True)
    optimizer = getattr(optim, name)(table.parameters(), lr=0.1, **options)
    for i in range(3):
        optimizer.zero_grad()
        (table(rtorch.tensor([i, 1, i])) ** 2).sum().backward()
        optimizer.step()
    assert table.weight.view(-1).tolist() == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Adam", {}, "please consider SparseAdam"),
        ("RMSprop", {}, "RMSprop does not support sparse"),
        ("Adafactor", {}, "Adafactor does not support sparse"),
        ("Muon", {}, "Muon does not support sparse"),
        ("SGD", {"weight_decay": 0.1}, "sparse, dense"),
        ("SGD", {"fused": True}, "_fused_sgd"),
        ("Adagrad", {"weight_decay": 0.1}, "weight_decay option"),
        ("Adagrad", {"fused": True}, "`fused` does not support"),
    ],
)
def test_sparse_gradients_that_are_refused(name, options, message):
    table = rtorch.nn.Embedding(3, 2, sparse=True)
    optimizer = getattr(optim, name)(table.parameters(), lr=0.1, **options)
    table(rtorch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match=message):
        optimizer.step()


def test_lbfgs_goes_pytorchs_way_within_max_eval():
    p = rtorch.tensor([-1.5, 2.0], requires_grad=True, dtype=rtorch.double)
    optimizer = optim.LBFGS([p], max_iter=4, max_eval=5, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2
        loss.backward()
        return loss

    for _ in range(4):
        optimizer.step(closure)
    state = optimizer.state_dict()["state"][0]
    assert p.tolist() == pytest.approx([-0.6185532109, 0.3714004173], rel=1e-8) and state["func_evals"] == 20
    assert len(state["al"]) == 100 and all(isinstance(r, rtorch.Tensor) for r in (*state["ro"], state["H_diag"]))


def test_states_of_schedules_have_pytorchs_entries():
    def made():
        return optim.SGD([rtorch.ones(1, requires_grad=True)], lr=0.1, momentum=0.9)

    step = optim.lr_scheduler.StepLR(made(), 2)
    keys = "step_size gamma base_lrs last_epoch _step_count _is_initial _get_lr_called_within_step _last_lr"
    assert list(step.state_dict()) == keys.split() and step.state_dict()["_get_lr_called_within_step"] is False
    optimizer = optim.SGD([{"params": [rtorch.ones(1, requires_grad=True)], "lr": rtorch.tensor(0.1)}], momentum=0.9)
    assert optim.lr_scheduler.CyclicLR(optimizer, 0.01, 0.2).base_lrs == [0.01]
    group = {"params": [rtorch.ones(1, requires_grad=True)], "initial_lr": 0.5, "lr": 0.1}
    assert optim.lr_scheduler.CosineAnnealingLR(optim.SGD([group]), 5, last_epoch=2).get_last_lr() == [0.1]


def test_schedulers_within_schedulers():
    def rates(make):
        optimizer = optim.SGD([rtorch.ones(1, requires_grad=True)], lr=1.0)
        scheduler, seen = make(optimizer, optim.lr_scheduler), []
        for _ in range(8):
            seen.append(round(optimizer.param_groups[0]["lr"], 4))
            optimizer.step()
            scheduler.step()
        return seen

    def inner(o, s):
        return s.SequentialLR(o, [s.ConstantLR(o, 0.1, 2), s.ExponentialLR(o, 0.9)], [3])

    def chained(o, s):
        return s.ChainedScheduler([s.ConstantLR(o, 0.1, 2), s.ExponentialLR(o, 0.9)])

    # PyTorch's rates
    two = rates(lambda o, s: s.SequentialLR(o, [inner(o, s), s.StepLR(o, 1, 0.5)], [6]))
    assert two == [0.1, 0.1, 1.0, 0.9, 0.81, 0.729, 1.0, 0.5]
    both = rates(lambda o, s: s.SequentialLR(o, [chained(o, s), s.StepLR(o, 1, 0.5)], [4]))
    assert both == [0.09, 0.081, 0.729, 0.6561, 1.0, 0.5, 0.25, 0.125]


def test_annealing_of_no_length_fails_at_the_first_step():
    optimizer = optim.SGD([rtorch.ones(1)], lr=0.1)
    schedule = lr_scheduler.CosineAnnealingLR(optimizer, 0)
    assert schedule.get_last_lr() == [0.1]
    optimizer.step()
    with pytest.raises(ZeroDivisionError):
        schedule.step()
