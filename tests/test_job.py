"""One job from data to run folder: odd data, interrupts, crashes, and what is left behind."""

import gc
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, mean_absolute_error, r2_score, roc_auc_score
from torch import nn

import titrant
from titrant import Recipe, Run, job, samples
from titrant.errors import BudgetError, OutputError, TitrantError
from titrant.judged import intervals
from titrant.record import Evaluation, read_members
from titrant.report.terminal import QuietView
from titrant.search.study import Study
from titrant.train.metrics import METRICS

QUICK = {
    "model": {"kind": "mlp", "width": 16, "depth": 1},
    "learning_rate": {"peak": 0.02},
    "stop": {"kind": "last", "epochs": 20},
}
TABLE = {"x": [row / 60 for row in range(60)], "y": ["low"] * 30 + ["high"] * 30}
PENGUINS = samples.path("penguins")


def quick(data: object = TABLE, target: str = "y", **settings: Any) -> Run:
    return titrant.fit(data, target, **{"budget": "5m", "recipe": QUICK, **settings})


# ------------------------------------------------------------------- what a run holds


def test_a_run_is_the_same_after_loading(tmp_path: Path) -> None:
    run = quick(PENGUINS, "species", out=tmp_path / "run")
    loaded = titrant.load(tmp_path / "run")
    assert loaded.summary == run.summary
    assert loaded.recipe == run.recipe == Recipe.of(QUICK)
    np.testing.assert_array_equal(loaded.predict_proba(PENGUINS), run.predict_proba(PENGUINS))
    np.testing.assert_array_equal(loaded.predict(PENGUINS), run.predict(PENGUINS))


def test_reported_scores_are_those_of_scikit_learn_on_the_test_rows(tmp_path: Path) -> None:
    table = pl.read_csv(PENGUINS, null_values=["NA"]).drop_nulls("species")
    test = table.sample(60, seed=0)
    run = quick(table, "species", test=test, out=tmp_path / "run")
    found = Evaluation.read(tmp_path / "run" / "evaluation.json")
    truth, probability = test["species"].to_list(), run.predict_proba(test)
    predicted = run.predict(test)
    assert found.metrics["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert found.metrics["log_loss"] == pytest.approx(log_loss(truth, probability), rel=1e-3, abs=1e-6)
    assert found.metrics["roc_auc"] == pytest.approx(roc_auc_score(truth, probability, multi_class="ovr"), abs=1e-3)
    assert found.confusion == confusion_matrix(truth, predicted).tolist()
    assert sum(rows for _, _, rows in found.reliability) == len(test)
    assert run.summary.score_test == found.metrics["accuracy"]
    assert run.summary.score_test_interval is not None
    assert run.summary.score_test_interval[0] <= run.summary.score_test <= run.summary.score_test_interval[1]
    assert run.summary.baseline_score_test is not None
    assert run.summary.gain_interval is not None
    gained = run.summary.score_test - run.summary.baseline_score_test
    assert run.summary.gain_interval[0] <= gained <= run.summary.gain_interval[1]


def test_values_are_scored_in_their_own_unit(tmp_path: Path) -> None:
    table = pl.read_csv(PENGUINS, null_values=["NA"]).drop_nulls("body_mass_g")
    test = table.sample(60, seed=0)
    run = quick(table, "body_mass_g", test=test, out=tmp_path / "run")
    found = Evaluation.read(tmp_path / "run" / "evaluation.json")
    assert found.metrics["mae"] == pytest.approx(mean_absolute_error(test["body_mass_g"], run.predict(test)), rel=1e-5)
    assert found.metrics["r2"] == pytest.approx(r2_score(test["body_mass_g"], run.predict(test)), abs=1e-5)
    assert found.truth == test["body_mass_g"].cast(float).to_list()


def test_a_run_without_a_folder_vanishes_with_its_last_reference(tmp_path: Path) -> None:
    run = quick()
    assert run.report().read_text(encoding="utf-8").startswith("<!")
    saved, folder = run.save(tmp_path / "kept"), run.folder
    with pytest.raises(OutputError, match="in use"):
        run.save(saved)
    del run
    gc.collect()
    assert not folder.exists()
    assert titrant.load(saved).predict({"x": [0.0, 1.0]}).tolist() == ["low", "high"]


def test_no_test_rows_no_test_score() -> None:
    summary = quick(hold_out=False).summary
    assert (summary.score_test, summary.baseline_score_test, summary.score_test_interval) == (None, None, None)
    assert summary.gain_interval is None
    assert summary.score_validation is not None


class Wide(nn.Module):
    """A network of the user's own."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, 24), nn.Tanh(), nn.Linear(24, outputs))

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        return self.layers(numbers)


def test_a_network_of_one_s_own_is_trained_and_needed_again_to_load(tmp_path: Path) -> None:
    run = quick(model=Wide, out=tmp_path / "run")
    assert run.recipe.model.kind == "custom"
    assert run.predict({"x": [0.0, 1.0]}).tolist() == ["low", "high"]
    with pytest.raises(OutputError, match="factory"):
        titrant.load(tmp_path / "run")
    np.testing.assert_array_equal(titrant.load(tmp_path / "run", Wide).predict_proba(TABLE), run.predict_proba(TABLE))


def test_a_search_around_a_network_of_one_s_own_tries_no_other(tmp_path: Path) -> None:
    run = titrant.fit(TABLE, "y", budget="5m", members=5, model=Wide, out=tmp_path / "run")
    assert run.recipe.model.kind == "custom"
    tried = read_members(tmp_path / "run" / "members.jsonl")
    assert {record.recipe["model"]["kind"] for record in tried} == {"custom"}
    assert len({json.dumps(record.recipe) for record in tried if record.origin != "refit"}) == 5


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others() -> None:
    first, second, other = (quick(seed=seed).predict_proba(TABLE) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 1e-5


def test_a_run_folder_without_its_summary_is_refused_and_named(tmp_path: Path) -> None:
    quick(out=tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    with pytest.raises(OutputError, match=r"summary\.json"):
        titrant.load(tmp_path / "run")


# ------------------------------------------------------------------ nothing is left after a failure


@pytest.mark.parametrize("data", [{"x": [1, 2], "y": ["a", "b"]}, TABLE | {"y": ["low"] * 60}])
def test_a_refused_job_leaves_no_folder(tmp_path: Path, data: object) -> None:
    with pytest.raises(TitrantError):
        quick(data, out=tmp_path / "deep" / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_job_empties_a_folder_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(study: Study) -> None:
        (study.folder / "half").mkdir()
        (study.folder / "half" / "written").touch()
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Study, "run", fail)
    with pytest.raises(RuntimeError, match="memory"):
        quick(out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_of_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("titrant.results.write_members", full)
    with pytest.raises(OutputError, match="No space left"):
        quick(out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_budget_that_starting_uses_up_says_how_much_is_needed(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match=r"budget of 2s ended .* took 3\.\d s of it\. Give at least 20s"):
        titrant.fit(TABLE, "y", budget="2s", out=tmp_path / "run", started=time.monotonic() - 3)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ interrupts and crashes


LONG: dict[str, Any] = {
    "budget": "10m",
    "recipe": {"model": {"kind": "mlp", "width": 16, "depth": 1}, "stop": {"kind": "last", "epochs": 1000}},
    "space": {"dropout": "bernoulli", "dropout.p": {"low": 0.05, "high": 0.5}},
}


class At(QuietView):
    """Raises signals once: when the data are read, or when a condition holds."""

    def __init__(self, *signals: signal.Signals, when: Callable[[float | None], bool] | None = None) -> None:
        self.signals, self.when = signals, when

    def _raise(self) -> None:
        signals, self.signals = self.signals, ()
        for number in signals:
            signal.raise_signal(number)

    def start(self, title: str, budget: float, data_summary: Any) -> None:
        if self.when is None:
            self._raise()

    def update(self, phase: str, rung: int, alive: int, total: int, best: float | None, metric: str, left: float) -> None:
        if self.when is not None and self.when(best):
            self._raise()


def test_an_interrupt_before_any_model_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match="before any network"):
        titrant.fit(PENGUINS, "species", out=tmp_path / "run", view=At(signal.SIGINT), **LONG)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_the_best_so_far(tmp_path: Path, number: signal.Signals) -> None:
    view = At(number, when=lambda best: best is not None)
    run = titrant.fit(PENGUINS, "species", out=tmp_path / "run", view=view, **LONG)
    assert run.summary.interrupted
    assert run.summary.final == "checkpoint"
    assert run.summary.score_test is not None
    assert (tmp_path / "run" / "report.html").is_file()
    assert (titrant.load(tmp_path / "run").predict(PENGUINS) == run.predict(PENGUINS)).all()


def test_a_second_interrupt_insists_and_what_was_saved_stays(tmp_path: Path) -> None:
    view = At(signal.SIGINT, signal.SIGINT, when=lambda _: (tmp_path / "run" / "summary.json").exists())
    with pytest.raises(KeyboardInterrupt):
        titrant.fit(PENGUINS, "species", out=tmp_path / "run", view=view, **LONG)
    run = titrant.load(tmp_path / "run")
    assert run.summary.interrupted
    assert len(run.predict(PENGUINS)) == 344


def started(folder: Path) -> "subprocess.Popen[str]":
    """A command that searches for long, once it has saved its first model."""
    files = [f"--{name}={folder}-{name}.yaml" for name in ("recipe", "space")]
    for name in ("recipe", "space"):
        Path(f"{folder}-{name}.yaml").write_text(json.dumps(LONG[name]))  # JSON is YAML
    command = [sys.executable, "-m", "titrant", "fit", str(PENGUINS), "--target=species", "--budget=10m", "--json", *files]
    process = subprocess.Popen([*command, f"--out={folder}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (folder / "summary.json").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return process


def test_a_signal_ends_the_command_with_a_usable_model(tmp_path: Path) -> None:
    process = started(tmp_path / "run")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["interrupted"] is True
    assert (tmp_path / "run" / "report.html").is_file()
    assert len(read_members(tmp_path / "run" / "members.jsonl")) > 0
    assert (titrant.load(tmp_path / "run").predict(PENGUINS) != "").all()


def test_a_killed_command_leaves_a_usable_run(tmp_path: Path) -> None:
    process = started(tmp_path / "run")
    process.kill()
    process.communicate()
    run = titrant.load(tmp_path / "run")
    assert run.summary.interrupted
    assert run.summary.final == "checkpoint"
    assert set(run.predict(PENGUINS)) <= {"Adelie", "Chinstrap", "Gentoo"}
    assert run.report().is_file()  # written now, from what was saved


# ------------------------------------------------------------------ frames of odd shapes


def _cells(rows: int) -> st.SearchStrategy[list[Any]]:
    """One column: of one kind, of few values, of one value, empty, or of everything at once."""
    numbers = st.floats(width=64) | st.integers(-(10**20), 10**20) | st.sampled_from([0, 1, 2, -1, 1e308, 5e-324])
    words = st.text(max_size=4) | st.sampled_from(["", "NA", "nan", "1,5", "1e5", "true", "2024-02-30", "\x00", "名"])
    days = st.dates(date(1, 1, 1), date(9999, 12, 31)) | st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1))
    kinds = [numbers, words, st.booleans(), days, st.floats(-1, 1, width=32), st.none()]
    cells = st.one_of(*kinds, st.sampled_from(["a", "b"]), st.integers(0, 2), st.one_of(*kinds))
    gaps = st.sampled_from([st.nothing(), st.none()])
    column = st.tuples(st.sampled_from([*kinds, st.sampled_from(["a", "b"]), st.integers(0, 2), cells]), gaps)
    return column.flatmap(lambda pair: st.lists(pair[0] | pair[1], min_size=rows, max_size=rows))


@st.composite
def frames(draw: st.DrawFn) -> dict[str, list[Any]]:
    rows = draw(st.sampled_from([0, 1, 2, 7, 8, 9, 20, 40, 40, 40]))
    names = st.sampled_from(["x", "y", "z", "", " ", "prediction", "a.b", "größe", "x_1"])
    return {name: draw(_cells(rows)) for name in draw(st.lists(names, min_size=1, max_size=4, unique=True))}


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(frames(), st.data())
def test_every_outcome_is_a_result_or_an_error_that_says_why(frame: dict[str, list[Any]], data: st.DataObject) -> None:
    target = data.draw(st.sampled_from([*frame, "y"]), label="target")
    task = data.draw(st.sampled_from([None, None, "classification", "regression"]), label="task")
    tiny = QUICK | {"stop": {"kind": "last", "epochs": 2}}
    try:
        run = quick(frame, target, task=task, recipe=tiny)
    except TitrantError:
        return
    rows = len(frame[target])
    predicted = run.predict(frame)
    assert len(predicted) == rows
    if run.predictor.classifies:
        probability = run.predict_proba(frame)
        np.testing.assert_allclose(probability.sum(1), 1, atol=1e-4)
        assert probability.shape == (rows, len(run.predictor.schema.classes))
    else:
        assert np.isfinite(predicted).all()


def test_the_gain_is_known_better_than_either_score() -> None:
    """Two models that err on nearly the same rows: scipy's bootstrap of the paired difference is the reference."""
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 400)
    wrong = generator.random(400) < 0.3
    ours = np.where(wrong, 1 - truth, truth)
    theirs = np.where(wrong | (generator.random(400) < 0.03), 1 - truth, truth)

    def sure(labels: Any) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.as_tensor(labels), 2).float()

    score, gain = intervals(METRICS["accuracy"], sure(ours), sure(theirs), torch.as_tensor(truth))
    assert score is not None
    assert gain is not None
    assert gain[0] > 0
    assert gain[1] - gain[0] < (score[1] - score[0]) / 2
    hits = ((ours == truth).astype(float), (theirs == truth).astype(float))
    expected = stats.bootstrap(
        hits, lambda one, other, axis: one.mean(axis) - other.mean(axis), paired=True, method="percentile", rng=1
    ).confidence_interval
    assert gain == pytest.approx((expected.low, expected.high), abs=0.006)
    assert intervals(METRICS["accuracy"], sure(ours), None, torch.as_tensor(truth)) == (score, None)


def test_rows_that_are_all_right_leave_a_doubt() -> None:
    """Resamples of a perfect score are all perfect, which is no certainty: scipy's exact interval is the reference."""
    truth = torch.arange(30) % 2
    sure = torch.nn.functional.one_hot(truth, 2).float()
    for predicted, hits in ((sure, 30), (1 - sure, 0)):
        expected = stats.binomtest(hits, 30).proportion_ci(method="exact")
        score, _ = intervals(METRICS["accuracy"], predicted, None, truth)
        assert score == pytest.approx((expected.low, expected.high))
    assert intervals(METRICS["roc_auc"], sure, None, truth) == (None, None)


# ---------------------------------------------------------------------- workers


def test_workers_are_as_many_as_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    begun: list[tuple[int, int]] = []
    plain = job.Workers

    def counted(count: int, interrupt: Any) -> Any:
        begun.append((count, torch.get_num_threads()))
        return plain(count, interrupt)

    monkeypatch.setattr(job, "Workers", counted)
    before = torch.get_num_threads()
    run = titrant.fit(TABLE, "y", budget="2m", members=3, workers=3, out=tmp_path / "run")
    titrant.fit(TABLE, "y", budget="2m", members=1)
    assert begun == [(2, 3), (0, before)]
    assert torch.get_num_threads() == before
    assert json.loads((tmp_path / "run" / "asked.json").read_text())["workers"] == 3
    assert run.predict({"x": [0.0, 1.0]}).tolist() == ["low", "high"]
    with pytest.raises(TitrantError, match="at least one process"):
        titrant.fit(TABLE, "y", workers=0)
