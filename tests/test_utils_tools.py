"""`rtorch.utils`: tables of models, progress, timing; `rtorch.testing`'s FileCheck and assert_allclose."""

import io
import sys

import pytest

import rtorch
import rtorch.nn as nn
from rtorch.testing import FileCheck, assert_allclose
from rtorch.utils import benchmark, progress, summary


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.norm.weight.requires_grad_(False)

    def forward(self, x, times=1):
        return self.norm(self.shared(self.shared(x))) * times


def test_summary_counts_and_leaves_no_trace():
    model = Two().train()
    state = rtorch.get_rng_state()
    mean = model.norm.running_mean.clone()
    found = summary(model, (3, 4))
    assert rtorch.get_rng_state().equal(state) and model.norm.running_mean.equal(mean)
    assert model.training and model.norm.training and not model.shared._forward_hooks
    assert (found.total_params, found.trainable_params) == (28, 24)
    rows = {layer.name: layer for layer in found.layers}
    assert rows["shared"].calls == 2 and rows["shared"].output_shape == [[3, 4]]
    assert rows["norm"].parameters == 8 and rows["norm"].trainable == 4
    text = str(found)
    assert "shared (Linear) x2" in text and "Parameters: 28 (24 trainable, 4 frozen)" in text
    assert "input 48 B" in text


def test_summary_of_several_inputs_and_of_data():
    both = nn.Bilinear(3, 2, 5)
    assert summary(both, [(7, 3), (7, 2)]).layers[0].output_shape == [[7, 5]]
    words = summary(nn.Embedding(9, 2), (2, 3), dtypes=rtorch.int64)
    assert words.layers[0].output_shape == [[2, 3, 2]]
    assert summary(Two(), input_data={"x": rtorch.ones(2, 4), "times": 3}, depth=0).layers[0].depth == 0
    with pytest.raises(ValueError, match="either input_size or input_data"):
        summary(both)


def test_progress_counts_with_and_without_tqdm(monkeypatch):
    assert list(progress(range(3), "x", disable=True)) == [0, 1, 2]
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    out = io.StringIO()
    bar = progress(range(4), "steps", disable=False, file=out)
    assert list(bar) == [0, 1, 2, 3]
    bar = progress(None, "by hand", 10, disable=False, file=out)
    bar.set_postfix(loss=0.25)
    bar.update(4)
    bar.close()
    text = out.getvalue()
    assert "steps: 4/4 in" in text and "by hand: 4/10 in" in text and "loss=0.25" in text
    quiet = io.StringIO()
    assert list(progress(range(2), file=quiet)) == [0, 1] and quiet.getvalue() == ""


def test_timer_measures_with_the_threads_it_was_told():
    before = rtorch.get_num_threads()
    seen = []
    timer = benchmark.Timer("seen.append(rtorch.get_num_threads())", globals={"seen": seen}, num_threads=1)
    result = timer.timeit(3)
    assert set(seen) == {1} and rtorch.get_num_threads() == before
    assert result.number_per_run == 3 and result.median == result.mean > 0
    many = benchmark.Timer("x + 1", "x = 1", label="sum").blocked_autorange(min_run_time=0.01)
    assert sum(many.raw_times) >= 0.01 and many.iqr >= 0 and "runs per measurement" in repr(many)
    assert benchmark.Timer("1").adaptive_autorange(max_run_time=0.05).times
    with pytest.raises(ValueError, match="measures Python"):
        benchmark.Timer("1", language="c++")


def measurement(times, **spec):
    return benchmark.Measurement(1, times, benchmark.TaskSpec("f(x)", "pass", **spec))


def test_measurements_and_their_table():
    m = measurement([1e-3, 2e-3, 3e-3, 4e-3], label="f")
    assert m.median == 2.5e-3 and m.mean == 2.5e-3 and abs(m.iqr - 1.5e-3) < 1e-9
    assert not m.meets_confidence() and m.has_warnings and m.label == "f" and m.title == "f"
    assert benchmark.select_unit(3e-6) == ("us", 1e-6) and benchmark.trim_sigfig(1234.5, 2) == 1200
    table = benchmark.Compare(
        [
            measurement([2e-6] * 3, label="ops", sub_label="add", description="old"),
            measurement([1e-6] * 3, label="ops", sub_label="add", description="new"),
            measurement([4e-6] * 3, label="ops", sub_label="mul", description="old", num_threads=2),
        ]
    )
    text = str(table)
    lines = text.splitlines()
    assert "old" in lines[1] and "new" in lines[1]
    assert [line.strip() for line in lines if "threads" in line][0].startswith("1 threads:")
    assert "Times are in microseconds (us)." in text
    row = next(line for line in lines if line.strip().startswith("add"))
    assert [float(c) for c in row.split("|")[1:]] == [2.0, 1.0]
    assert len(benchmark.Measurement.merge([m, m])[0].raw_times) == 8
    with pytest.raises(ValueError, match="Expected an instance of `Measurement`"):
        benchmark.Compare([1])


TEXT = "alpha\nbeta gamma\ndelta beta\n"


@pytest.mark.parametrize(
    "checks",
    [
        lambda c: c.check("alpha").check("delta"),
        lambda c: c.check("alpha").check_next("beta"),
        lambda c: c.check("beta").check_same("gamma"),
        lambda c: c.check_count("beta", 2, exactly=True),
        lambda c: c.check("alpha").check_not("delta").check("gamma"),
        lambda c: c.check_dag("gamma").check_dag("alpha").check("delta"),
        lambda c: c.check_regex("d.lta"),
    ],
)
def test_texts_that_pass(checks):
    checks(FileCheck()).run(TEXT)


@pytest.mark.parametrize(
    ("checks", "message"),
    [
        (lambda c: c.check("delta").check("alpha"), 'Expected to find "alpha" but did not find it'),
        (lambda c: c.check("alpha").check_next("delta"), 'Expected to find "delta"'),
        (lambda c: c.check("alpha").check_same("beta"), 'Expected to find "beta"'),
        (lambda c: c.check_count("beta", 3), 'Expected to find "beta"'),
        (lambda c: c.check_count("beta", 1, exactly=True), 'Expected to not find "beta"'),
        (lambda c: c.check("alpha").check_not("beta").check("delta"), 'Expected to not find "beta" but found it'),
        (lambda c: c.check_regex("z+"), 'Expected to find "z+"'),
    ],
)
def test_texts_that_fail(checks, message):
    with pytest.raises(RuntimeError) as e:
        checks(FileCheck()).run(TEXT)
    assert message in str(e.value)


def test_highlighted_source():
    text = "x = f(y)\n    ~~~~ <--- HERE\n"
    FileCheck().check_source_highlighted("f(y)").run(text)
    with pytest.raises(RuntimeError):
        FileCheck().check_source_highlighted("x =").run(text)


def test_assert_allclose_is_the_older_form():
    with pytest.warns(FutureWarning, match="assert_allclose"):
        assert_allclose(rtorch.tensor([1.0, float("nan")]), rtorch.tensor([1.00005, float("nan")]))
    with pytest.warns(FutureWarning), pytest.raises(AssertionError):
        assert_allclose(rtorch.tensor([1.0]), rtorch.tensor([1.1]))
