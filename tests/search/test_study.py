"""The whole search: the same for the same seed, blind to test rows, kept in an Optuna study, and true to what it hands back."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import polars as pl
import pytest
import torch

from titrant import samples
from titrant.clock import Clock, Interrupt
from titrant.data.dataset import Dataset, read
from titrant.errors import BudgetError
from titrant.recipe import Recipe
from titrant.record import MemberRecord
from titrant.search.finalist import Finalist
from titrant.search.finals import Final
from titrant.search.halving import Race, Turn
from titrant.search.pace import Pace
from titrant.search.portfolio import baseline, portfolio, start
from titrant.search.region import Region
from titrant.search.study import Outcome, Study
from titrant.train.member import Trained
from titrant.train.metrics import METRICS, metric_for
from titrant.train.problem import probabilities, values
from titrant.train.tables import TableProblem

SEARCHED: dict[str, Any] = {
    "learning_rate.peak": {"low": 1e-4, "high": 1e-1},
    "activation": ["relu", "tanh"],
    "dropout": ["off", "bernoulli"],
    "optimizer": ["adam", "adamw"],
}


@dataclass
class Told:
    """Everything that a study has told its watcher, and what to do when it is told."""

    lines: list[tuple[str, int, int, int, float | None]] = field(default_factory=list)
    then: Callable[[str, int], None] = lambda phase, rung: None

    def __call__(self, phase: str, rung: int, alive: int, tried: int, best: float | None) -> None:
        self.lines.append((phase, rung, alive, tried, best))
        self.then(phase, rung)


@pytest.fixture(scope="module")
def penguins() -> Dataset:
    return read(samples.path("penguins"), "species", notes=[])


@pytest.fixture(scope="module")
def people() -> Dataset:
    return read(pl.read_parquet(samples.path("adult")).head(400), "income", notes=[])


@pytest.fixture(scope="module")
def curve() -> Dataset:
    x = np.linspace(-3, 3, 200)
    return read({"x": x, "z": np.cos(7 * x), "y": 1e6 + 100 * np.sin(x)}, "y", notes=[])


@pytest.fixture(scope="module")
def noise() -> Dataset:
    """Nothing can be learned here, so that longer training only makes worse."""
    generator = np.random.default_rng(0)
    return read({"a": generator.normal(size=160), "b": generator.normal(size=160), "y": ["no", "yes"] * 80}, "y", notes=[])


def study_of(dataset: Dataset, folder: Path, base: Recipe, **options: Any) -> Study:
    """A small search around `base`."""
    folder.mkdir(exist_ok=True)
    options = {
        "region": Region(base, SEARCHED, only=True),
        "metric": metric_for(dataset.schema.task),
        "clock": Clock.of(3600),
        "seed": 0,
        "watch": Told(),
        "members": 3,
    } | options
    return Study(dataset=dataset, device=torch.device("cpu"), folder=folder, **options)


def alone(trained: Trained, problem: TableProblem, rows: torch.Tensor) -> torch.Tensor:
    """What a network by itself says of rows."""
    with torch.no_grad():
        outputs = trained.network(*trained.encoder(problem.numbers[rows], problem.codes[rows]))
    if problem.is_regression:
        return values(outputs, trained.network.views).flatten() * problem.width + problem.centre
    return probabilities(outputs, trained.network.views).squeeze(0)


def test_recipes_are_compared_by_cross_validation(penguins: Dataset, tmp_path: Path) -> None:
    base = Recipe.of({"stop": {"kind": "last", "epochs": 3}})
    study = study_of(penguins, tmp_path / "one", base, folds=4, repeats=2)
    outcome = study.run()
    searched = [record for record in outcome.records if record.origin != "refit"]
    assert [record.number for record in searched] == list(dict.fromkeys(record.number for record in searched))
    assert all(len(record.folds) == 8 for record in searched if record.score_validation is not None)
    assert len(outcome.final) == 8
    development = penguins.split.development
    for names in ("search", "folds"):
        cut = study._cut(names)  # what is held out is not told otherwise
        held_out = torch.cat([part[1] for part in cut]).sort().values
        assert torch.equal(held_out, development.repeat_interleave(2))
        assert not any(torch.isin(rows, held).any() for rows, held, _ in cut)
    firsts = [set(study._cut(name)[0][1].tolist()) for name in ("search", "folds")]
    assert firsts[0] != firsts[1]
    assert "4 folds of the 275 train and validation rows, cut anew 2 times" in study.compared
    assert_same(outcome, study_of(penguins, tmp_path / "two", base, folds=4, repeats=2).run())


def test_the_doctor_prescribes_to_the_best_of_a_search(people: Dataset, tmp_path: Path) -> None:
    """A perceptron that trains far too long on 256 rows overfits; its successors get dropout, at its own length."""
    base = Recipe.of({"model": {"kind": "mlp", "width": 128}, "stop": {"kind": "last", "epochs": 60}})
    outcome = study_of(people, tmp_path / "one", base, members=36, search="doctor").run()
    cured = [record for record in outcome.records if record.origin == "remedy"]
    assert cured
    assert {record.recipe["stop"]["epochs"] for record in cured} == {60}
    assert any(record.recipe["dropout"]["kind"] == "bernoulli" for record in cured)
    assert not [
        record for record in study_of(people, tmp_path / "two", base, members=36).run().records if record.origin == "remedy"
    ]


def test_a_single_group_leaves_the_validation_part(tmp_path: Path) -> None:
    """Of two groups one is held out for the test: the other cannot be cut."""
    table = {"x": np.arange(80) / 80, "g": ["a"] * 60 + ["b"] * 20, "part": (["train"] * 3 + ["validation"]) * 20}
    dataset = read(table | {"y": (np.arange(80) % 2).tolist()}, "y", group="g", split_column="part", hold_out=False, notes=[])
    groups = replace(dataset, groups=torch.zeros(80, dtype=torch.int64))
    base = Recipe.of({"stop": {"kind": "last", "epochs": 2}})
    study = study_of(groups, tmp_path / "run", base, folds=3)
    assert study.compared == ""
    assert "belong to one group" in study.notes[0]
    outcome = study.run()
    assert outcome.kind == "checkpoint"


def timeless(record: MemberRecord) -> dict[str, Any]:
    """A record without what a clock has written."""
    plain = record.model_dump(exclude={"seconds"})
    for point in plain["curve"]:
        point.pop("seconds")
    return plain


def assert_same(one: Outcome, other: Outcome) -> None:
    assert one.recipe == other.recipe
    assert (one.kind, one.score_validation, one.score_refit) == (other.kind, other.score_validation, other.score_refit)
    assert [timeless(record) for record in one.records] == [timeless(record) for record in other.records]
    assert one.baseline is not None
    assert other.baseline is not None
    for mine, theirs in zip([*one.final, one.baseline], [*other.final, other.baseline], strict=True):
        assert mine.member.seed == theirs.member.seed
        state = theirs.network.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in mine.network.state_dict().items())


# ------------------------------------------------------------- the same again


def test_the_same_seed_gives_the_same_result(penguins: Dataset, tmp_path: Path, small: Recipe) -> None:
    one, again = (study_of(penguins, tmp_path / name, small).run() for name in ("one", "again"))
    assert_same(one, again)
    other = study_of(penguins, tmp_path / "other", small, seed=1).run()
    assert {record.seed for record in one.records}.isdisjoint(record.seed for record in other.records)


@pytest.mark.parametrize("name", ["people", "curve"])
def test_test_rows_never_influence_anything(name: str, tmp_path: Path, small: Recipe, request: pytest.FixtureRequest) -> None:
    dataset: Dataset = request.getfixturevalue(name)
    rows = dataset.split.test
    numbers, codes, target = dataset.numbers.clone(), dataset.codes.clone(), dataset.target.clone()
    numbers[rows] = 1e9
    codes[rows] = 0
    target[rows] = target[rows].flip(0) if dataset.values is None else -1e9
    known = None if dataset.values is None else dataset.values.copy()
    if known is not None:
        known[rows.numpy()] = -1e9
    spoilt = replace(dataset, numbers=numbers, codes=codes, target=target, values=known)
    assert_same(study_of(dataset, tmp_path / "as it is", small).run(), study_of(spoilt, tmp_path / "spoilt", small).run())


# -------------------------------------------------------------- what comes back


@pytest.fixture(scope="module")
def searched(penguins: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Outcome, Told]:
    """A search long enough for a bracket of proposals that learned from the first."""
    base = Recipe.of(
        {
            "model": {"kind": "mlp", "width": 8, "depth": 1},
            "batch": {"kind": "fixed", "size": 64},
            "stop": {"kind": "last", "epochs": 8},
        }
    )
    told = Told()
    study = study_of(penguins, tmp_path_factory.mktemp("searched"), base, members=30, watch=told)
    return study, study.run(), told


def test_every_member_is_tried_once(searched: tuple[Study, Outcome, Told]) -> None:
    study, outcome, _ = searched
    tried = [record for record in outcome.records if record.origin != "refit"]
    assert [record.number for record in tried] == [one.member.number for one in study.tried]
    assert sorted(record.number for record in tried) == list(range(30))
    assert {record.origin for record in tried} == {"quasi-random", "forest", "mutation"}
    assert {record.state for record in tried} <= {"stopped", "finished", "diverged"}
    assert all(study.region is not None and study.region.point(Recipe.of(record.recipe)) is not None for record in tried)
    assert len({record.number for record in outcome.records}) == len(outcome.records)


def test_the_winner_is_the_best_of_the_search_trained_again(searched: tuple[Study, Outcome, Told]) -> None:
    study, outcome, _ = searched
    leader = min(study.tried, key=lambda tried: tried.rank(study.metric))
    assert (outcome.kind, outcome.interrupted) == ("refit", False)
    assert outcome.recipe == leader.member.recipe
    assert outcome.score_validation == leader.score
    assert all(network.member.recipe == outcome.recipe for network in outcome.final)
    assert len(outcome.final) >= 3


def test_no_network_of_the_final_model_judges_what_it_saw(searched: tuple[Study, Outcome, Told]) -> None:
    study, outcome, _ = searched
    split = study.dataset.split
    development = {*split.train.tolist(), *split.validation.tolist()}
    problem = study.final_problem(outcome)
    judged: list[int] = []
    right = 0
    for network in outcome.final:
        seen, held_out = network.member.rows.tolist(), network.member.held_out
        assert set(seen).isdisjoint(held_out.tolist())
        assert {*seen, *held_out.tolist()} == development
        judged += held_out.tolist()
        right += int((alone(network, problem, held_out).argmax(1) == problem.target[held_out]).sum())
    assert len(set(judged)) == len(judged)
    assert outcome.score_refit == pytest.approx(right / len(judged), abs=0.02)


def test_the_baseline_is_there_and_plain(searched: tuple[Study, Outcome, Told]) -> None:
    study, outcome, _ = searched
    plain = outcome.baseline
    assert plain is not None
    split = study.dataset.split
    development = torch.cat([split.train, split.validation]).sort().values
    assert plain.member.recipe == baseline(len(development))
    assert plain.member.rows.tolist() == development.tolist()
    problem = study.development_problem()
    predicted = alone(plain, problem, development).argmax(1)
    assert (predicted == problem.target[development]).float().mean() > 0.9


def test_the_watcher_hears_every_phase(searched: tuple[Study, Outcome, Told]) -> None:
    _, _, told = searched
    phases = list(dict.fromkeys(phase for phase, *_ in told.lines))
    assert set(phases) == {"search", "refit", "baseline"}
    assert phases[0] == "search"
    counts = [tried for *_, tried, _ in told.lines]
    assert counts == sorted(counts)
    assert counts[-1] == 30


def test_the_study_is_an_ordinary_optuna_study(searched: tuple[Study, Outcome, Told]) -> None:
    study, outcome, _ = searched
    stored = optuna.load_study(study_name="titrant", storage=f"sqlite:///{study.folder / 'study.db'}")
    assert stored.direction == optuna.study.StudyDirection.MAXIMIZE
    records = {record.number: record for record in outcome.records if record.origin != "refit"}
    assert sorted(trial.user_attrs["member"] for trial in stored.trials) == sorted(records)
    for trial in stored.trials:
        record = records[trial.user_attrs["member"]]
        assert trial.state.is_finished()
        assert (trial.state.name == "COMPLETE") == (record.state == "finished")
        assert {name: trial.user_attrs[name] for name in ("origin", "state", "rung")} == {
            "origin": record.origin, "state": record.state, "rung": record.rung
        }  # fmt: skip
        if record.state == "finished":
            assert trial.value == record.score_validation
        assert trial.params["activation"] == record.recipe["activation"]["kind"]
        kind = record.recipe["optimizer"]["kind"]
        assert trial.params[f"learning_rate.{kind}.peak"] == record.recipe["learning_rate"]["peak"]
    best = max(record.score_validation or 0 for record in records.values() if record.state == "finished")
    assert stored.best_value == best


def test_members_of_shortened_trainings_still_teach_the_proposers(
    noise: Dataset, tmp_path: Path, small: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where time is short all train for fewer epochs than were proposed; what was chosen for them is known all the same."""
    monkeypatch.setattr("titrant.search.study.measured", lambda *_: Pace(1, seconds=1000.0))
    study = study_of(noise, tmp_path, small, members=None, clock=Clock.of(36000))
    outcome = study.run()
    tried = {record.number: record for record in outcome.records if record.origin != "refit"}
    assert {Recipe.of(record.recipe).stop.epochs < small.stop.epochs for record in tried.values()} == {True}
    stored = optuna.load_study(study_name="titrant", storage=f"sqlite:///{tmp_path / 'study.db'}")
    for trial in stored.trials:
        recipe = tried[trial.user_attrs["member"]].recipe
        assert trial.params["activation"] == recipe["activation"]["kind"]


# ---------------------------------------------------------------------- finals


def judged_as(scores: list[float | None]) -> type[Final]:
    """Finals whose scores are given, None for one that the clock cuts."""

    class Judged(Final):
        def run(self) -> tuple[Finalist | None, list[MemberRecord]]:
            finalist, records = super().run()
            assert finalist is not None
            score = scores.pop(0) if scores else 0.0
            return None if score is None else replace(finalist, score=score), records

    return Judged


@pytest.mark.parametrize(("scores", "winner"), [([0.5, 0.9, 0.7], 1), ([None, 0.5, 0.7], 2)])
def test_held_out_rows_choose_between_finalists(
    scores: list[float | None], winner: int, noise: Dataset, tmp_path: Path, small: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("titrant.search.finals.Final", judged_as(list(scores)))
    base = small.replace("stop.epochs", 1)
    study = study_of(noise, tmp_path, base, members=None, clock=Clock.of(36000), ensemble=False)
    outcome = study.run()
    leader = sorted(study.tried, key=lambda tried: tried.rank(study.metric))[winner]
    assert (outcome.kind, outcome.score_refit) == ("refit", scores[winner])
    assert outcome.recipe == leader.member.recipe
    assert outcome.score_validation == leader.score
    refit = [record for record in outcome.records if record.origin == "refit"]
    assert len(refit) > len(outcome.final)


class Ruined(Final):
    """Finals whose networks have learned nothing, though their score says otherwise."""

    def run(self) -> tuple[Finalist | None, list[MemberRecord]]:
        finalist, records = super().run()
        assert finalist is not None
        return replace(finalist, predicted=1 - finalist.predicted), records


def test_a_refit_that_does_far_worse_on_the_same_rows_is_refused(
    people: Dataset, tmp_path: Path, small: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("titrant.search.finals.Final", Ruined)
    study = study_of(people, tmp_path, small.replace("stop.epochs", 4), members=None, clock=Clock.of(36000))
    outcome = study.run()
    assert (outcome.kind, outcome.refused) == ("checkpoint", True)
    assert outcome.final == [study.best]


def test_a_refit_that_does_far_worse_than_an_earlier_part_of_the_run_is_refused(
    people: Dataset, tmp_path: Path, small: Recipe
) -> None:
    """Its network is gone, but what it lost on the validation rows is written down."""
    given = small.replace("stop.epochs", 1)
    first = study_of(people, tmp_path, given, members=None, clock=Clock.of(36000)).run()
    assert first.kind == "refit"
    record = next(one for one in first.records if one.origin != "refit" and one.score_validation is not None)
    point = record.curve[-1].model_copy(update={"score_validation": 1.0, "loss_validation": 0.001})
    better = record.model_copy(
        update={"score_validation": 1.0, "loss_validation": 0.001, "curve": [*record.curve, point], "number": 999}
    )
    study = study_of(people, tmp_path, given, members=None, clock=Clock.of(36000), before=[better])
    outcome = study.run()
    assert (outcome.kind, outcome.refused) == ("checkpoint", True)
    assert outcome.final == [study.best]


def test_with_many_lanes_the_first_bracket_grows_and_later_ones_overlap(people: Dataset, tmp_path: Path, small: Recipe) -> None:
    study = study_of(people, tmp_path, small, members=None, clock=Clock.of(36000))
    first = study._plan.first
    assert [study._for_lanes for study._pace in (Pace(1), Pace(2), Pace(6))] == [first, first, first]
    study._pace = Pace(1000)
    assert study._most // 3 > first
    assert study._for_lanes == study._most // 3
    assert [study._overlapping for study._pace in (Pace(1), Pace(2), Pace(4))] == [False, False, True]
    counted = study_of(people, tmp_path, small, members=64)
    counted._pace = Pace(64)
    assert not counted._overlapping


def test_a_search_with_many_lanes_loses_nobody(
    people: Dataset, tmp_path: Path, small: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four lanes, and time for a hundred small trainings: several brackets at once, each member tried and told once."""
    monkeypatch.setattr(Study, "_most", property(lambda study: 40))
    monkeypatch.setattr(Study, "_measure", lambda study, clock: setattr(study, "_first", 12))
    most_open = 0

    class Watched(Race):
        def _turn(self) -> tuple[int, Turn] | None:
            nonlocal most_open
            most_open = max(most_open, len(self.brackets))
            return super()._turn()

    monkeypatch.setattr("titrant.search.study.Race", Watched)
    study = study_of(people, tmp_path, small.replace("stop.epochs", 2), members=None, clock=Clock.of(36000))
    study._pace = Pace(4)
    assert study._brackets(study.clock)
    assert most_open > 1
    numbers = [tried.member.number for tried in study.tried]
    assert sorted(numbers) == list(range(len(numbers)))
    assert len(numbers) >= 40
    assert not study._trials
    trials = study._study.trials
    assert sorted(trial.user_attrs["member"] for trial in trials) == sorted(numbers)
    assert all(trial.state.is_finished() for trial in trials)


def test_what_a_network_predicts_is_its_own(searched: tuple[Study, Outcome, Told]) -> None:
    study, outcome, _ = searched
    problem, rows = study.development_problem(), torch.arange(20)
    one = outcome.final[0]
    assert torch.equal(problem.predicted(one.network, one.encoder, rows), alone(one, problem, rows))


# ------------------------------------------------------------- one proposer


def test_a_grid_is_searched_to_its_end_and_no_further(noise: Dataset, tmp_path: Path, small: Recipe) -> None:
    small = small.replace("stop.epochs", 1)
    region = Region(small, {"activation": ["relu", "tanh", "elu"], "learning_rate.peak": [0.01, 0.02]}, only=True)
    study = study_of(noise, tmp_path, small, region=region, members=50, search="grid")
    outcome = study.run()
    tried = [record for record in outcome.records if record.origin != "refit"]
    assert {record.origin for record in tried} == {"grid"}
    seen = {(record.recipe["activation"]["kind"], record.recipe["learning_rate"]["peak"]) for record in tried}
    assert len(tried) == len(seen) == 6


@pytest.mark.parametrize("search", ["random", "sobol", "tpe", "gp", "cmaes"])
def test_a_search_of_one_kind_has_one_origin_beside_the_baseline(
    search: str, noise: Dataset, tmp_path: Path, small: Recipe
) -> None:
    region = Region(small.replace("stop.epochs", 1), {"model": ["mlp"], "model.width": [8], "batch.size": [32]})
    study = study_of(noise, tmp_path, small, region=region, members=12, search=search)
    outcome = study.run()
    tried = [record for record in outcome.records if record.origin != "refit"]
    assert {record.origin for record in tried} == {search, "baseline"}
    assert len(tried) == 12


# ------------------------------------------------------------- other questions


def test_a_recipe_alone_is_trained_as_it_stands(curve: Dataset, tmp_path: Path, small: Recipe) -> None:
    recipe = small.replace("learning_rate.peak", 0.02)
    outcome = study_of(curve, tmp_path, recipe, region=None, given=recipe).run()
    assert outcome.recipe == recipe
    assert [(record.origin, record.state) for record in outcome.records[:1]] == [("given", "finished")]
    assert {record.origin for record in outcome.records[1:]} == {"refit"}
    assert all(Recipe.of(record.recipe) == recipe for record in outcome.records)
    assert outcome.score_refit is not None
    assert outcome.score_refit < 100 / math.sqrt(2)


def test_values_far_from_zero_are_met_in_their_own_unit(curve: Dataset, tmp_path: Path, small: Recipe) -> None:
    study = study_of(curve, tmp_path, small.replace("learning_rate.peak", 0.02), region=None,
                     given=small.replace("learning_rate.peak", 0.02))  # fmt: skip
    outcome = study.run()
    problem = study.final_problem(outcome)
    rows = curve.split.train
    for network in outcome.final:
        assert float((alone(network, problem, rows).double() - problem.target[rows]).abs().mean()) < 100


@pytest.mark.parametrize("members", [1, 12])
def test_the_default_search_begins_with_known_good_recipes(members: int, tmp_path: Path) -> None:
    table = {"x": [i / 40 for i in range(40)], "y": ["low"] * 20 + ["high"] * 20}
    dataset = read(table, "y", notes=[])
    rows = len(dataset.split.train)
    region = Region(start(rows), categories=False)
    known = [region.suited(recipe) for recipe in portfolio(rows)]
    outcome = study_of(dataset, tmp_path, start(rows), region=region, members=members).run()
    tried = {record.number: record for record in outcome.records if record.origin != "refit"}
    assert len(tried) == members
    assert Recipe.of(tried[0].recipe) == known[0]
    by_origin = {
        origin: [Recipe.of(record.recipe) for record in tried.values() if record.origin == origin]
        for origin in {record.origin for record in tried.values()}
    }
    if members == 1:
        assert by_origin == {"portfolio": known[:1]}
        assert outcome.recipe == known[0]
    else:
        assert by_origin.keys() >= {"portfolio", "baseline", "quasi-random"}
        assert set(by_origin["portfolio"]) == set(known)
        assert by_origin["baseline"] == [baseline(rows)]


# --------------------------------------------------------------- ends of time


def test_no_time_is_a_clear_error_and_leaves_no_study(
    penguins: Dataset, tmp_path: Path, small: Recipe, ticking: Callable[[int], Clock]
) -> None:
    for options in ({"members": 3}, {"members": None}, {"members": None, "region": None, "given": small}):
        with pytest.raises(BudgetError, match="Give more time"):
            study_of(penguins, tmp_path, small, **({"clock": Clock.of(1e-9)} | options)).run()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("phase", ["search", "refit"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_interrupted_search_hands_back_its_best_network_with_its_own_recipe(
    phase: str, seed: int, noise: Dataset, tmp_path: Path, small: Recipe
) -> None:
    interrupt = Interrupt()

    def ask(now: str, rung: int) -> None:
        interrupt.asked |= now == phase and (rung == 1 or phase == "refit")

    study = study_of(
        noise, tmp_path, small.replace("model.width", 64).replace("stop.epochs", 40), members=9, seed=seed,
        clock=Clock.of(3600, interrupt=interrupt), watch=Told(then=ask), metric=METRICS["log_loss"],
    )  # fmt: skip
    outcome = study.run()
    (network,) = outcome.final
    assert (outcome.kind, outcome.score_refit) == ("checkpoint", None)
    assert outcome.interrupted
    assert network.member.recipe == outcome.recipe
    rows, problem = noise.split.validation, study.final_problem(outcome)
    score = float(METRICS["log_loss"].score(alone(network, problem, rows), problem.target[rows]))
    assert outcome.score_validation == pytest.approx(score, rel=1e-4)
    assert score <= min(record.score_validation for record in outcome.records if record.score_validation is not None) + 1e-4
    assert len({record.number for record in outcome.records}) == len(outcome.records)
    assert optuna.load_study(study_name="titrant", storage=f"sqlite:///{tmp_path / 'study.db'}").trials


def test_the_best_that_is_told_never_grows_worse(noise: Dataset, tmp_path: Path, small: Recipe) -> None:
    told = Told()
    base = small.replace("model.width", 64).replace("stop.epochs", 40)
    study_of(noise, tmp_path, base, members=9, watch=told, metric=METRICS["log_loss"]).run()
    heard = [best for *_, best in told.lines if best is not None]
    assert heard == sorted(heard, reverse=True)


def test_a_search_against_the_clock_uses_it_and_keeps_its_promises(people: Dataset, tmp_path: Path, small: Recipe) -> None:
    study = study_of(people, tmp_path, small.replace("stop.epochs", 3), members=None, clock=Clock.of(4.0))
    outcome = study.run()
    assert outcome.final[0].member.recipe == outcome.recipe
    assert outcome.weights is None or sum(outcome.weights) == pytest.approx(1)
    tried = [record for record in outcome.records if record.origin != "refit"]
    assert len(tried) >= 6
    assert len({record.number for record in outcome.records}) == len(outcome.records)
    assert outcome.baseline is not None
