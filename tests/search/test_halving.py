"""Successive halving: the best survive, everybody leaves once with a record that is true, and a clock never costs the best."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from titrant.clock import Clock
from titrant.recipe import Recipe
from titrant.record import MemberRecord
from titrant.search.halving import KEPT, RUNGS, Bracket, Race, cost, rank, stacks
from titrant.search.pace import Pace
from titrant.train.build import cohort_key
from titrant.train.member import Member, Trained
from titrant.train.metrics import METRICS, metric_for
from titrant.train.problem import probabilities, values
from titrant.train.tables import TableProblem

ACCURACY, LOG_LOSS, RMSE = METRICS["accuracy"], METRICS["log_loss"], METRICS["rmse"]
SENSIBLE, ABSURD = [0.003, 0.01, 0.03], [1e-6, 2e-6, 3e-6, 4e-6, 5e-6, 6e-6]

MakeProblem = Callable[..., TableProblem]
MakeMembers = Callable[..., list[Member]]


def quiet(rung: int, alive: int) -> None:
    pass


def at_rates(recipe: Recipe, rates: list[float]) -> list[Recipe]:
    return [recipe.replace("learning_rate.peak", rate) for rate in rates]


def predicted(trained: Trained, problem: TableProblem, rows: torch.Tensor) -> torch.Tensor:
    """What the network says of rows, by the network alone."""
    with torch.no_grad():
        outputs = trained.network(*trained.encoder(problem.numbers[rows], problem.codes[rows]))
    if problem.is_regression:
        return values(outputs, trained.network.views).squeeze() * problem.width + problem.centre
    return probabilities(outputs, trained.network.views).squeeze(0)


def full_steps(member: Member) -> int:
    return math.ceil(member.recipe.stop.epochs * len(member.rows) / member.recipe.batch.model_dump()["size"])


# ------------------------------------------------------------------- ranking


def test_on_few_rows_a_slightly_better_accuracy_does_not_outweigh_a_far_higher_loss() -> None:
    sure_and_wrong, sober = (0.767, 1.58), (0.753, 0.54)
    for rows, first in ((150, sober), (1_000_000, sure_and_wrong)):
        metric = ACCURACY.heeding(rows)
        assert min(sure_and_wrong, sober, key=lambda one: rank(metric, *one)) == first
    assert rank(ACCURACY.heeding(150), math.nan, 0.1) > rank(ACCURACY.heeding(150), 0.1, 5.0)


def test_rank_puts_better_scores_first_then_lower_losses_and_nan_last() -> None:
    nan = math.nan
    highest_first = [rank(ACCURACY, *entry) for entry in [(0.9, 0.1), (0.9, 0.2), (0.8, 0.05), (nan, 0.0)]]
    lowest_first = [rank(RMSE, *entry) for entry in [(0.1, 9.0), (0.2, 1.0), (0.2, 2.0), (nan, nan)]]
    for ranks in (highest_first, lowest_first):
        assert ranks == sorted(set(ranks))


def test_the_cost_of_a_member_is_what_the_rungs_say() -> None:
    """27 members: all go to the first rung, 9 on to the second, 3 to the end."""
    expected = (27 * RUNGS[0] + 9 * (RUNGS[1] - RUNGS[0]) + 3 * (RUNGS[2] - RUNGS[1])) / 27
    assert (KEPT, RUNGS[-1]) == (1 / 3, 1.0)
    assert pytest.approx(expected) == cost(RUNGS)


def test_the_sick_leave_at_the_next_rung_whatever_their_score(
    make_problem: MakeProblem, make_members: MakeMembers, small: Recipe, endless: Clock
) -> None:
    members = make_members(at_rates(small, ABSURD + SENSIBLE))
    best = {member.number for member in members if member.recipe.learning_rate.peak in SENSIBLE}
    asked: list[int] = []

    def sick(record: MemberRecord) -> bool:
        asked.append(record.number)
        return record.rung == 0 and record.number != max(best)

    bracket = Bracket(make_problem(), members, ACCURACY, endless, sick=sick)
    assert bracket.run(quiet)
    assert set(asked[:3]) == best
    assert [tried.member.number for tried in bracket.tried if tried.record.rung > 0] == [max(best)]
    assert len(bracket.tried) == len(members)


# --------------------------------------------------------------------- folds


def in_folds(members: list[Member], parts: list[tuple[torch.Tensor, torch.Tensor]]) -> list[Member]:
    """Each member once for each part, under one number, with seeds of its own."""
    return [
        replace(member, seed=100 * member.number + place, rows=rows, held_out=held_out)
        for member in members
        for place, (rows, held_out) in enumerate(parts)
    ]


@pytest.fixture
def parts() -> list[tuple[torch.Tensor, torch.Tensor]]:
    rows = torch.arange(240)
    return [(rows[rows % 3 != fold], rows[rows % 3 == fold]) for fold in range(3)]


def test_folds_of_a_recipe_are_one_recipe(
    make_problem: MakeProblem, make_members: MakeMembers, small: Recipe, endless: Clock, parts: list[Any]
) -> None:
    problem, recipes = make_problem(), at_rates(small, ABSURD[:3] + SENSIBLE)
    members = in_folds(make_members(recipes), parts)
    told: list[tuple[int, int]] = []
    bracket = Bracket(problem, members, ACCURACY, endless)
    assert bracket.run(lambda rung, alive: told.append((rung, alive)))
    assert list(dict.fromkeys(told)) == [(0, 6), (1, 2), (2, 1)]
    assert sorted(tried.member.number for tried in bracket.tried) == list(range(6))
    assert bracket.tried[-1].member.recipe.learning_rate.peak in SENSIBLE
    for tried in bracket.tried:
        record = tried.record
        assert len(record.folds) == 3
        assert record.score_validation == pytest.approx(sum(score or 0.0 for score in record.folds) / 3)
        assert record.score_validation == tried.score
        assert record.loss_validation == tried.loss
        assert record.seed == 100 * record.number  # the first fold's
    assert bracket.best is not None
    assert torch.equal(bracket.best.member.held_out, parts[0][1])


def test_a_recipe_is_judged_by_the_mean_of_what_its_folds_are_alone(
    make_problem: MakeProblem, make_members: MakeMembers, small: Recipe, endless: Clock, parts: list[Any]
) -> None:
    problem = make_problem()
    members = in_folds(make_members([small]), parts)
    together = Bracket(problem, members, LOG_LOSS, endless, rungs=(1.0,))
    together.run(quiet)
    apart = [Bracket(problem, [member], LOG_LOSS, endless, rungs=(1.0,)) for member in members]
    for bracket in apart:
        bracket.run(quiet)
    alone = [bracket.tried[0].record for bracket in apart]
    (found,) = together.tried
    assert found.record.folds == pytest.approx([record.score_validation for record in alone], rel=1e-5)
    assert found.score == pytest.approx(sum(bracket.tried[0].score for bracket in apart) / 3, rel=1e-5)
    losses = [[point.loss_validation for point in record.curve] for record in alone]
    means = [sum(losses_at) / 3 for losses_at in zip(*losses, strict=True)]
    assert [point.loss_validation for point in found.record.curve] == pytest.approx(means, rel=1e-5)
    assert found.record.receipts == alone[0].receipts or found.record.receipts[0].seen > alone[0].receipts[0].seen


def test_a_recipe_without_all_of_its_folds_is_not_judged(
    make_problem: MakeProblem, make_members: MakeMembers, small: Recipe, endless: Clock, parts: list[Any]
) -> None:
    """A clock that rings between two stacks must not favour the recipe whose hard fold was never reached."""
    members = in_folds(make_members([small]), parts)
    one_each = Pace(lanes=1, working_set=1)
    bracket = Bracket(make_problem(), members, ACCURACY, endless, rungs=(1.0,), pace=one_each)
    assert bracket.width == 3
    turn = bracket.next()
    assert turn is not None
    cohort = turn.made()
    cohort.advance(cohort.steps, endless)
    bracket.done(turn.place, cohort, in_time=False)
    assert bracket.standing() == []
    assert bracket.next() is None
    (tried,) = bracket.tried
    assert (math.isnan(tried.score), tried.record.score_validation) == (True, None)
    assert bracket.best is not None  # there is a usable model all the same


def test_folds_stay_in_one_stack_where_stacks_are_large_enough(
    make_problem: MakeProblem, make_members: MakeMembers, small: Recipe, parts: list[Any]
) -> None:
    members = in_folds(make_members([small] * 5), parts)
    size = small.batch.size * 16  # numbers that a member holds
    for lanes, working_set in ((1, 6 * size), (2, 6 * size), (2, 100 * size)):
        for stack in stacks(members, make_problem(), Pace(lanes=lanes, working_set=working_set)):
            assert set(Counter(member.number for member in stack).values()) == {3}
    assert len(stacks(members[:3], make_problem(), Pace(lanes=2, working_set=100 * size))) == 2  # rather than an idle lane


# ------------------------------------------------------------------- bracket


@pytest.mark.parametrize("metric", [ACCURACY, LOG_LOSS], ids=lambda metric: metric.name)
def test_the_best_survive(
    metric: Any, make_problem: MakeProblem, make_members: MakeMembers, small: Recipe, endless: Clock
) -> None:
    problem, members = make_problem(), make_members(at_rates(small, ABSURD + SENSIBLE))
    bracket = Bracket(problem, members, metric, endless)
    told: list[tuple[int, int]] = []
    assert bracket.run(lambda rung, alive: told.append((rung, alive)))
    assert list(dict.fromkeys(told)) == [(0, 9), (1, 3), (2, 1)]
    left = {tried.member.number: tried for tried in bracket.tried}
    assert sorted(left) == list(range(9))
    assert len(bracket.tried) == 9
    reached = {number: tried.record.rung for number, tried in left.items()}
    assert all(reached[number] == 0 for number in range(6))
    assert sorted(reached[number] for number in (6, 7, 8)) == [1, 1, 2]
    assert Counter(tried.record.state for tried in bracket.tried) == {"stopped": 8, "finished": 1}
    assert bracket.best is not None
    assert bracket.best.member.number in (6, 7, 8)
    assert bracket.cohorts == []


def test_records_say_what_was_done(make_problem: MakeProblem, make_members: MakeMembers, small: Recipe, endless: Clock) -> None:
    problem, members = make_problem(), make_members(at_rates(small, ABSURD + SENSIBLE))
    bracket = Bracket(problem, members, ACCURACY, endless)
    bracket.run(quiet)
    for tried in bracket.tried:
        record, member = tried.record, tried.member
        assert (record.number, record.origin, record.seed) == (member.number, member.origin, member.seed)
        assert Recipe.of(record.recipe) == member.recipe
        assert record.steps == math.ceil(full_steps(member) * RUNGS[record.rung])
        assert record.epochs == pytest.approx(record.steps * 30 / 180)
        assert bracket.best is not None
        assert record.parameters == sum(parameter.numel() for parameter in bracket.best.network.parameters())
        assert record.seconds > 0
        assert record.score_validation == tried.score == record.curve[-1].score_validation
        assert tried.loss == record.curve[-1].loss_validation
        assert [point.step for point in record.curve] == sorted({point.step for point in record.curve})
        assert record.curve[-1].step == record.steps
        assert {"model", "optimizer", "initialize"} <= {receipt.trick for receipt in record.receipts}


def test_the_best_network_is_worth_its_score(
    make_problem: MakeProblem, make_members: MakeMembers, small: Recipe, endless: Clock
) -> None:
    for task in ("binary", "regression"):
        problem, metric = make_problem(task), metric_for(task, None)
        bracket = Bracket(problem, make_members(at_rates(small, [0.003, 0.03])), metric, endless, rungs=(1.0,))
        bracket.run(quiet)
        best = bracket.best
        assert best is not None
        score = float(metric.score(predicted(best, problem, best.member.held_out), problem.target[best.member.held_out]))
        assert score == pytest.approx(best.history.best, rel=1e-4)
        assert metric.as_loss(score) == pytest.approx(min(metric.as_loss(tried.score) for tried in bracket.tried), rel=1e-4)


def test_the_best_stays_what_it_was_when_its_member_grows_worse(
    make_problem: MakeProblem, make_members: MakeMembers, small: Recipe, endless: Clock
) -> None:
    """Who keeps the last weights may be best at a rung and worse at the end; the copy of the best knows its own score."""
    problem = make_problem()
    worse = small.replace("learning_rate.peak", 0.01).replace("stop.epochs", 90).replace("model.width", 128)
    noisy = torch.randint(0, 2, (240,), generator=torch.Generator().manual_seed(5))
    problem = TableProblem(problem.numbers, problem.codes, noisy, (5,), "binary", 2, problem.rows, problem.device)
    bracket = Bracket(problem, make_members([worse]), LOG_LOSS, endless)
    bracket.run(quiet)
    best, (tried,) = bracket.best, bracket.tried
    assert best is not None
    assert len(best.history.curve) < len(tried.record.curve)
    score = float(LOG_LOSS.score(predicted(best, problem, best.member.held_out), problem.target[best.member.held_out]))
    assert score < tried.score
    assert best.history.best == pytest.approx(score, rel=1e-4)


def test_rungs_can_be_left_out(make_problem: MakeProblem, make_members: MakeMembers, small: Recipe, endless: Clock) -> None:
    bracket = Bracket(make_problem(), make_members(at_rates(small, ABSURD + SENSIBLE)), ACCURACY, endless, rungs=(1.0,))
    told: list[tuple[int, int]] = []
    assert bracket.run(lambda rung, alive: told.append((rung, alive)))
    assert set(told) == {(0, 9)}
    assert {tried.record.state for tried in bracket.tried} == {"finished"}
    assert {tried.record.steps for tried in bracket.tried} == {60}


def test_members_of_unequal_shapes_and_lengths_meet_at_equal_shares(
    make_problem: MakeProblem, make_members: MakeMembers, small: Recipe, endless: Clock
) -> None:
    recipes = [
        *at_rates(small, [1e-6, 0.05, 2e-6]),
        *at_rates(small.replace("model.width", 24), [3e-6, 4e-6]),
        small.replace("learning_rate.peak", 0.05).replace("batch.size", 60),
    ]
    bracket = Bracket(make_problem(), make_members(recipes), LOG_LOSS, endless)
    assert bracket.run(quiet)
    left = {tried.member.number: tried.record for tried in bracket.tried}
    assert len(left) == len(bracket.tried) == 6
    for number, record in left.items():
        member = bracket.tried[[tried.member.number for tried in bracket.tried].index(number)].member
        assert record.steps == math.ceil(full_steps(member) * RUNGS[record.rung])
    assert {number for number, record in left.items() if record.rung > 0} == {1, 5}


def test_a_diverged_member_leaves_as_diverged_and_harms_nobody(
    make_problem: MakeProblem, make_members: MakeMembers, small: Recipe, endless: Clock
) -> None:
    problem, sane = make_problem("regression"), small.replace("learning_rate.peak", 0.01)

    def trained_beside(rate: float) -> Bracket:
        neighbour = small.replace("optimizer", "sgd").replace("learning_rate.peak", rate)
        bracket = Bracket(problem, make_members([sane, neighbour]), RMSE, endless, rungs=(1.0,))
        assert bracket.run(quiet)
        bracket.tried.sort(key=lambda tried: tried.member.number)
        return bracket

    tame, wild = trained_beside(1e-6), trained_beside(10.0)
    assert [tried.record.state for tried in tame.tried] == ["finished", "finished"]
    assert [tried.record.state for tried in wild.tried] == ["finished", "diverged"]
    assert wild.tried[0].score == tame.tried[0].score
    assert wild.tried[0].rank(RMSE) < wild.tried[1].rank(RMSE)
    assert wild.best is not None
    assert wild.best.member.number == 0
    lost = wild.tried[1].record
    assert lost.score_validation is None or math.isfinite(lost.score_validation)
    assert type(lost).model_validate_json(lost.model_dump_json()).state == "diverged"


def test_where_all_diverge_there_is_no_best_and_the_bracket_ends(
    make_problem: MakeProblem, make_members: MakeMembers, small: Recipe, endless: Clock
) -> None:
    problem = make_problem("regression")
    problem.target[0] = math.inf
    bracket = Bracket(problem, make_members(at_rates(small, [0.1, 0.2, 0.3])), RMSE, endless)
    assert bracket.run(quiet)
    assert [tried.record.state for tried in bracket.tried] == ["diverged"] * 3
    assert bracket.best is None
    assert all(math.isnan(tried.score) and tried.record.score_validation is None for tried in bracket.tried)


# --------------------------------------------------------------- the clock


@pytest.mark.parametrize("looks", [2, 5, 13, 40, 90])
def test_when_the_clock_rings_there_is_a_usable_best(
    looks: int, make_problem: MakeProblem, make_members: MakeMembers, small: Recipe, ticking: Callable[[int], Clock]
) -> None:
    problem = make_problem()
    members = make_members(at_rates(small, [0.01, 0.02, 0.001]) + at_rates(small.replace("model.width", 24), [0.01, 0.02]))
    bracket = Bracket(problem, members, LOG_LOSS, ticking(looks))
    assert not bracket.run(quiet)
    numbers = [tried.member.number for tried in bracket.tried]
    assert len(set(numbers)) == len(numbers)
    for tried in bracket.tried:
        assert tried.record.state in {"interrupted", "stopped"}
        assert tried.record.steps < full_steps(tried.member)
    best = bracket.best
    if looks > 2:
        assert best is not None
        score = float(LOG_LOSS.score(predicted(best, problem, best.member.held_out), problem.target[best.member.held_out]))
        assert score == pytest.approx(min(tried.score for tried in bracket.tried if tried.score == tried.score), rel=1e-4)


def test_a_clock_that_has_rung_leaves_nothing(
    make_problem: MakeProblem, make_members: MakeMembers, small: Recipe, ticking: Callable[[int], Clock]
) -> None:
    bracket = Bracket(make_problem(), make_members([small, small]), ACCURACY, ticking(0))
    assert not bracket.run(quiet)
    assert bracket.best is None
    assert all(tried.record.state == "interrupted" and tried.record.steps == 0 for tried in bracket.tried)


class Jumping(Clock):
    """An hour; each look at the time that has passed costs as many seconds as `end` says."""

    now = 0.0

    @property
    def left(self) -> float:
        return 3600.0 - self.now

    @property
    def elapsed(self) -> float:
        object.__setattr__(self, "now", self.now + self.end)
        return self.now


@pytest.mark.parametrize("pace", [1.0, 150.0, 280.0, 500.0, 3000.0])
def test_a_paced_bracket_says_of_nobody_what_is_not_true(
    pace: float, make_problem: MakeProblem, make_members: MakeMembers, small: Recipe
) -> None:
    members = make_members([small.replace("model.width", width) for width in range(8, 17)])
    bracket = Bracket(make_problem(), members, LOG_LOSS, Jumping(0.0, pace), paced=True)
    bracket.run(quiet)
    assert bracket.best is not None
    numbers = [tried.member.number for tried in bracket.tried]
    assert len(set(numbers)) == len(numbers)
    for tried in bracket.tried:
        assert (tried.record.state == "finished") == (tried.record.steps == full_steps(tried.member))
        reached = [
            rung for rung, share in enumerate(RUNGS) if tried.record.steps >= math.ceil(full_steps(tried.member) * share)
        ]
        assert tried.record.rung == max(reached, default=0)


# ---------------------------------------------------------------------- race


def widths(small: Recipe, low: int) -> list[Recipe]:
    """Recipes of unequal shapes, so that each has a cohort of its own."""
    return [small.replace("model.width", width) for width in range(low, low + 4)]


@pytest.mark.parametrize("overlapping", [False, True])
def test_brackets_of_a_race_share_the_lanes_and_all_come_through(
    overlapping: bool, make_problem: MakeProblem, make_members: MakeMembers, small: Recipe, endless: Clock
) -> None:
    problem = make_problem()
    pace = Pace(3)
    made: list[Bracket] = []
    most_open, told = 0, Counter[int]()

    def begin() -> Bracket | None:
        if len(made) == 3:
            return None
        members = [replace(member, number=10 * len(made) + member.number) for member in make_members(widths(small, 8))]
        made.append(Bracket(problem, members, LOG_LOSS, endless, pace=pace))
        return made[-1]

    def hear(bracket: Bracket) -> None:
        nonlocal most_open
        most_open = max(most_open, len(race.brackets))
        told[bracket.number] += 1

    race = Race(pace, begin, hear, overlapping)
    race.run()
    assert [bracket.number for bracket in made] == [0, 10, 20]
    assert (most_open > 1) is overlapping
    assert race.brackets == {}
    for bracket in made:
        assert bracket.over
        assert bracket.in_time
        assert told[bracket.number] >= 4
        assert sorted(tried.member.number for tried in bracket.tried) == [bracket.number + place for place in range(4)]
        assert [tried.record.state for tried in bracket.tried].count("finished") == 1


def test_a_race_changes_nothing_for_a_bracket(
    make_problem: MakeProblem, make_members: MakeMembers, small: Recipe, endless: Clock
) -> None:
    """Beside others or alone, the same members leave with the same scores."""

    def found(overlapping: bool) -> list[tuple[int, float, str]]:
        waiting = [
            Bracket(make_problem(), make_members(widths(small, low)), LOG_LOSS, endless, pace=Pace(3)) for low in (8, 20)
        ]
        brackets = list(waiting)
        Race(Pace(3), lambda: waiting.pop(0) if waiting else None, lambda _: None, overlapping).run()
        return [(tried.member.number, tried.score, tried.record.state) for one in brackets for tried in one.tried]

    assert found(True) == found(False)


def test_what_begins_first_is_trained_first(make_problem: MakeProblem, make_members: MakeMembers, small: Recipe) -> None:
    """A younger bracket takes a lane only where no older one has use for it."""
    clock, problem = Clock.of(36000), make_problem()
    brackets = [Bracket(problem, make_members(widths(small, low)), LOG_LOSS, clock, pace=Pace(3)) for low in (8, 20)]
    waiting = list(brackets)
    race = Race(Pace(3), lambda: waiting.pop(0) if waiting else None, lambda _: None, overlapping=True)
    tasks = race.tasks()
    begun: list[Any] = []

    def begin(count: int) -> list[int]:
        for _ in range(count):
            task = next(tasks)
            assert task is not None
            begun.append(task)
        return [task.args[0][0] for task in begun[-count:]]  # type: ignore[attr-defined]

    def end(place: int) -> None:
        (number, stack), cohort, in_time = begun[place]()
        race.done(number, stack, cohort, in_time)

    assert begin(5) == [0, 0, 0, 0, 1]
    for place in range(4):
        end(place)
    assert brackets[0].rung == 0
    assert begin(1) == [0]  # the best of the older one goes on before three of the younger one have begun
    assert brackets[0].rung == 1
    assert begin(3) == [1, 1, 1]
    assert next(tasks) is None


# -------------------------------------------------------------------- stacks


def test_stacks_hold_members_of_one_shape_and_lose_nobody(
    make_problem: MakeProblem, make_members: MakeMembers, small: Recipe
) -> None:
    recipes = [
        small.replace(path, value)
        for path, value in [
            ("model.width", 16), ("model.width", 24), ("activation", "tanh"), ("dropout", "bernoulli"), ("batch.size", 60),
            ("optimizer", "adamw"), ("stop.epochs", 5), ("data.scale", "quantile"), ("data.categories", "embed"),
            ("normalize", "batch"), ("stop", {"kind": "early", "epochs": 10, "patience": 0.5}),
        ]
    ]  # fmt: skip
    members = make_members(recipes * 3)
    problem = make_problem()
    cut = stacks(members, problem, Pace(2))
    assert sorted(member.number for stack in cut for member in stack) == list(range(len(members)))
    keys = [{cohort_key(member.recipe) for member in stack} for stack in cut]
    assert all(len(key) == 1 for key in keys)
    assert len(cut) == len({cohort_key(recipe) for recipe in recipes})
    firsts = [min(member.number for member in stack) for stack in cut]
    assert firsts == sorted(firsts)


def test_kinds_stand_together_inside_a_stack(make_problem: MakeProblem, make_members: MakeMembers, small: Recipe) -> None:
    recipes = [small, small.replace("activation", "tanh"), small.replace("optimizer", "adamw").replace("activation", "tanh")]
    (stack,) = stacks(make_members(recipes * 4), make_problem(), Pace(1))
    kinds = [(member.recipe.activation.kind, member.recipe.optimizer.kind) for member in stack]
    runs = 1 + sum(one != other for one, other in pairwise(kinds))
    assert runs == len(set(kinds)) == 3


def test_large_members_stand_in_small_stacks(make_problem: MakeProblem, make_members: MakeMembers, small: Recipe) -> None:
    problem, pace = make_problem(), Pace(1)
    sizes = []
    for width in (16, 256, 4096):
        members = make_members([small.replace("model.width", width)] * 70)
        sizes.append(pace.stack_size(members[0], problem.numbers.shape[1]))
        assert len(stacks(members, problem, pace)) == math.ceil(70 / sizes[-1])
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(("count", "lanes"), [(8, 2), (3, 2), (8, 16), (5, 1)])
def test_one_group_is_cut_for_all_lanes(
    count: int, lanes: int, make_problem: MakeProblem, make_members: MakeMembers, small: Recipe
) -> None:
    cut = stacks(make_members([small] * count), make_problem(), Pace(lanes))
    sizes = [len(stack) for stack in cut]
    assert sum(sizes) == count
    assert len(sizes) == min(count, lanes)
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("counts", "lanes", "expected"), [((6, 2), 4, 4), ((6, 2), 64, 8), ((9, 1, 1), 5, 5), ((4, 4), 2, 2)])
def test_groups_are_cut_further_where_lanes_would_idle(
    counts: tuple[int, ...], lanes: int, expected: int, make_problem: MakeProblem, make_members: MakeMembers, small: Recipe
) -> None:
    recipes = [small.replace("model.width", 8 * (place + 1)) for place, count in enumerate(counts) for _ in range(count)]
    members = make_members(recipes)
    cut = stacks(members, make_problem(), Pace(lanes))
    assert len(cut) == expected
    assert all(len({member.recipe.model.width for member in stack}) == 1 for stack in cut)  # type: ignore[union-attr]
    assert sorted(member.number for stack in cut for member in stack) == [member.number for member in members]
    assert max(map(len, cut)) <= math.ceil(max(counts) / max(1, lanes - len(counts) + 1))


def test_lanes_do_not_cut_stacks_below_the_smallest(
    make_problem: MakeProblem, make_members: MakeMembers, small: Recipe
) -> None:
    recipes = [small] * 9 + [small.replace("model.width", 24)] * 3
    cut = stacks(make_members(recipes), make_problem(), Pace(64), smallest=4)
    assert [len(stack) for stack in cut] == [3, 3, 3, 3]
    assert [len(stack) for stack in stacks(make_members([small] * 9), make_problem(), Pace(64), smallest=4)] == [3, 3, 3]


@pytest.mark.parametrize("rungs", [RUNGS, (1.0,)])
def test_lanes_change_nothing_but_the_time(
    rungs: tuple[float, ...], make_problem: MakeProblem, make_members: MakeMembers, small: Recipe, endless: Clock
) -> None:
    found = []
    for lanes in (1, 3):
        members = make_members([small.replace("model.width", width) for width in range(8, 17)])
        bracket = Bracket(make_problem(), members, LOG_LOSS, endless, rungs=rungs, pace=Pace(lanes))
        assert bracket.run(quiet)
        assert bracket.best is not None
        left = [(tried.member.number, tried.score, tried.loss, tried.record.state) for tried in bracket.tried]
        found.append((left, bracket.best.member.number))
    assert found[0] == found[1]
