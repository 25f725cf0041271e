"""What is asked of every kind of trick in every slot without knowing it: a new trick joins by existing.

Members are trained once in large mixed stacks, one for each key that allows stacking; the tests ask about each kind's rows.
"""

import inspect
import json
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from titrant.clock import Clock
from titrant.errors import RecipeError
from titrant.recipe import Recipe, kinds, slots
from titrant.record import Task
from titrant.space import Dose, Range, doses
from titrant.surgery import SLOTS
from titrant.train.build import cohort_key
from titrant.train.cohort import Cohort, Member
from titrant.train.images import ImageProblem
from titrant.train.metrics import metric_for
from titrant.train.problem import Problem
from titrant.train.series import SeriesProblem
from titrant.train.tables import TableProblem
from titrant.train.text import TextProblem
from titrant.tricks.base import DataKind, Off, Trick
from titrant.tricks.data_series import FeaturesTrick
from titrant.tricks.data_text import Ngrams
from titrant.tricks.initialize import Ridge

TASKS: list[Task] = ["multiclass", "regression"]
BASE = Recipe.of(
    {
        "model": {"kind": "mlp", "width": 16},
        "batch": {"kind": "fixed", "size": 16},
        "stop": {"kind": "last", "epochs": 3},
        "learning_rate": {"peak": 0.01},
        # Before a batch norm the gradient of a bias is rounding noise, which a tiny epsilon would blow up to whole steps.
        "optimizer": {"kind": "adam", "epsilon": 1e-2},
    }
)
# Kinds that act on pictures alone are asked the same on a problem of pictures.
PICTURES = BASE.replace("model", {"kind": "resnet", "width": 4})
# Likewise kinds for series; some act only where a network reads rows.
SERIES = BASE.replace("model", {"kind": "gru", "width": 4})
LINEAR = BASE.replace("model", "linear")
TEXTS = BASE.replace("model", {"kind": "text_cnn", "width": 4}).replace("data.tokens", {"size": 4})
# Everything that reaches into a step differs between a member and its companion, so that stacks are as mixed as they can be.
COMPANION = {
    "normalize": "layer",
    "activation": "prelu",
    "dropout": "bernoulli",
    "optimizer": "nesterov",
    "clip": "adaptive",
    "average": "ema",
    "mix": "cutmix",
}
HALF, STEPS = 5, 10


@dataclass(frozen=True)
class Place:
    """A number or choice of a recipe: the slot or group that holds it, its kind if that is a slot, and its declaration."""

    path: str
    kind: type[Trick] | None
    dose: Dose

    def __str__(self) -> str:
        return f"{self.path}:{self.kind.name()}.{self.dose.name}" if self.kind else f"{self.path}.{self.dose.name}"

    def recipe(self, value: Any) -> Recipe:
        if self.kind is None:
            return BASE.replace(f"{self.path}.{self.dose.name}", value)
        return with_kind(self.path, self.kind, {**small(self.kind, "low"), self.dose.name: value})

    @property
    def sizes_network(self) -> bool:
        """Whether its high end makes a step expensive."""
        return self.path == "model" and isinstance(self.dose.mark, Range) and self.dose.mark.shared

    def ends(self) -> list[Any]:
        mark = self.dose.mark
        if not isinstance(mark, Range):
            return list(mark)
        found = [mark.low, mark.high] if mark.off is None else [mark.low, mark.high, mark.off]
        return [int(value) for value in found] if self.dose.integer else found


def small(kind: type[Trick], size: str = "small") -> dict[str, Any]:
    """Doses that decide how much there is to compute: at most 4, or at their low ends."""
    found = {}
    for dose in doses(kind):
        if isinstance(dose.mark, Range) and dose.mark.shared:
            least = dose.mark.low if size == "low" else max(dose.mark.low, min(dose.default, 4))
            found[dose.name] = int(least) if dose.integer else least
    return found


def base_of(kind: type[Trick]) -> Recipe:
    if issubclass(kind, FeaturesTrick | Ridge | Ngrams):
        return LINEAR
    bases = {"table": BASE, "image": PICTURES, "series": SERIES, "text": TEXTS}
    return next(recipe for data, recipe in bases.items() if data in kind.reads)


def data_of(recipe: Recipe) -> DataKind:
    """The kind of data on which a recipe is asked."""
    asked = recipe.data.features if recipe.data.features.kind != "off" else recipe.model
    return next(data for data in ("table", "image", "series", "text") if data in asked.reads)


def with_kind(path: str, kind: type[Trick], values: Mapping[str, Any] | None = None) -> Recipe:
    return base_of(kind).replace(path, {"kind": kind.name(), **small(kind), **(values or {})})


def groups(model: type[BaseModel] = Recipe, prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Parts of a recipe that are no slots but hold some."""
    for name, field in model.model_fields.items():
        path, inner = f"{prefix}{name}", field.annotation
        if path not in slots() and isinstance(inner, type) and issubclass(inner, BaseModel):
            yield path, inner
            yield from groups(inner, f"{path}.")


KINDS = [(path, kind) for path, found in kinds().items() for kind in found]
PLACES = [Place(path, kind, dose) for path, kind in KINDS for dose in doses(kind)]
PLACES += [Place(path, None, dose) for path, group in groups() for dose in doses(group)]
each_kind = pytest.mark.parametrize(("path", "kind"), [pytest.param(p, k, id=f"{p}:{k.name()}") for p, k in KINDS])
each_place = pytest.mark.parametrize("place", PLACES, ids=str)


# ----------------------------------------------------------------------------------------------------------------- as a value


@each_kind
def test_survives_plain_data(path: str, kind: type[Trick], tmp_path: Path) -> None:
    recipe = with_kind(path, kind)
    assert type(recipe.at(path)) is kind
    recipe.save(tmp_path / "recipe.yaml")
    assert Recipe.load(tmp_path / "recipe.yaml") == recipe
    assert Recipe.of(json.loads(json.dumps(recipe.plain()))) == recipe


@each_kind
def test_docstring_says_example_source_and_doses(path: str, kind: type[Trick]) -> None:
    text = inspect.getdoc(kind) or ""
    assert "Example:\n" in text
    assert ">>> " in text
    assert "Source:" in text
    declared = [dose.name for dose in doses(kind)]
    if declared:
        assert "Doses:\n" in text
        described = text[text.index("Doses:\n") :]
        assert [name for name in declared if name not in described] == []


@each_place
def test_ends_survive_plain_data(place: Place, tmp_path: Path) -> None:
    for value in place.ends():
        recipe = place.recipe(value)
        recipe.save(tmp_path / "recipe.yaml")
        assert Recipe.load(tmp_path / "recipe.yaml") == recipe
        assert Recipe.of(json.loads(json.dumps(recipe.plain()))) == recipe


def outside(place: Place) -> list[Any]:
    mark = place.dose.mark
    if not isinstance(mark, Range):
        return ["no such choice"]
    beyond = [mark.low - 1 if place.dose.integer or mark.low <= 0 else mark.low / 2, mark.high + 1, math.nan, math.inf]
    return [value for value in beyond if value != mark.off]


@each_place
def test_outside_is_refused_with_its_path(place: Place) -> None:
    for value in [*outside(place), "a word", None, [1]]:
        with pytest.raises(RecipeError) as caught:
            place.recipe(value)
        assert f"{place.path}.{place.dose.name}" in str(caught.value), value


# ------------------------------------------------------------------------------------------------------------------- training


def factory(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, outputs))


def problem_of(task: Task) -> TableProblem:
    """Numbers with gaps, a small and a large category; 64 rows to learn from and 32 held out."""
    random = np.random.default_rng(0)
    numbers = random.normal(size=(96, 3)).astype(np.float32)
    codes = np.stack([random.integers(1, 5, 96), random.integers(1, 14, 96)], 1)
    signal = numbers.sum(1) + codes[:, 0]
    numbers[::9, 2] = np.nan
    classes = signal.argsort().argsort() // 32
    return TableProblem(
        numbers=torch.tensor(numbers),
        codes=torch.tensor(codes, dtype=torch.int32),
        target=torch.tensor(signal if task == "regression" else classes),
        cardinalities=(5, 14),
        task=task,
        classes=1 if task == "regression" else 3,
        rows=torch.arange(64),
        device=torch.device("cpu"),
    )


def pictures_of(task: Task) -> ImageProblem:
    """Pictures whose upper half grows brighter with the target; rows as in the table."""
    table = problem_of(task)
    random = np.random.default_rng(1)
    pixels = random.integers(0, 160, (96, 8, 8, 3))
    pixels[:, :4] += (95 * table.target / table.target.max()).long().numpy().reshape(-1, 1, 1, 1)
    raw = torch.tensor(pixels, dtype=torch.uint8)
    return ImageProblem(raw, table.target, task, table.classes, table.rows, table.device)


def series_of(task: Task) -> SeriesProblem:
    """Series of two channels, some short and some with gaps, that climb with the target; rows as in the table."""
    table = problem_of(task)
    random = np.random.default_rng(2)
    slope = (table.target / table.target.max()).float().numpy()[:, None, None]
    values = (random.normal(size=(96, 2, 20)) + 3 * slope * np.linspace(0, 1, 20)).astype(np.float32)
    values[::7, :, 15:] = np.nan
    values[::5, 1, 3] = np.nan
    return SeriesProblem(torch.tensor(values), table.target, task, table.classes, table.rows, table.device)


def texts_of(task: Task) -> TextProblem:
    """Texts of three to twelve tokens, even ones the more often the greater the target; one is empty; rows as in the table."""
    table = problem_of(task)
    random = np.random.default_rng(3)
    share = (table.target / table.target.max()).float().numpy()
    tokens = np.zeros((96, 12), np.int32)
    for row in range(96):
        length = random.integers(3, 13)
        even = random.random(length) < share[row]
        tokens[row, :length] = np.where(even, 2 * random.integers(1, 7, length), 2 * random.integers(1, 7, length) + 1)
    tokens[50] = 0
    begins = torch.arange(14) % 5 > 0
    return TextProblem(torch.tensor(tokens), begins, table.target, task, table.classes, table.rows, table.device)


PROBLEMS: dict[tuple[DataKind, Task], Problem] = {
    (data, task): make(task)
    for data, make in (("table", problem_of), ("image", pictures_of), ("series", series_of), ("text", texts_of))
    for task in TASKS
}
HELD_OUT = torch.arange(64, 96)


def members_of(task: Task, recipes: Sequence[Recipe], held_out: Tensor = HELD_OUT) -> list[Member]:
    rows = PROBLEMS["table", task].rows
    return [Member(k, recipe, seed=k, origin="test", rows=rows, held_out=held_out) for k, recipe in enumerate(recipes)]


def cohort_of(task: Task, members: Sequence[Member]) -> Cohort:
    problem = PROBLEMS[data_of(members[0].recipe), task]
    return Cohort(problem, members, metric_for(task), Clock.of(3600), factory)


def train(task: Task, recipe: Recipe, steps: int, held_out: Tensor = HELD_OUT) -> Cohort:
    cohort = cohort_of(task, members_of(task, [recipe], held_out))
    cohort.advance(steps, Clock.of(3600))
    return cohort


@pytest.mark.parametrize("task", TASKS)
@each_place
def test_ends_train_with_finite_loss(place: Place, task: Task) -> None:
    for value in place.ends():
        recipe, held_out = place.recipe(value), HELD_OUT
        if place.sizes_network:  # a few rows show as much as many
            recipe, held_out = recipe.replace("batch.size", 4), HELD_OUT[:4]
        cohort = train(task, recipe, 2, held_out)
        cohort.evaluate()
        (history,) = cohort.histories
        assert cohort.step == min(2, cohort.steps)
        for point in history.curve:
            assert math.isfinite(point.loss_train), (value, point)
            assert math.isfinite(point.loss_validation), (value, point)


def bits(x: Tensor) -> Tensor:
    return x.detach().view(torch.int32)


OFF_DOSES = [
    place
    for place in PLACES
    if place.kind and Off in slots()[place.path] and isinstance(place.dose.mark, Range) and place.dose.mark.off is not None
]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("place", OFF_DOSES, ids=str)
def test_off_dose_equals_absence_bit_for_bit(place: Place, task: Task) -> None:
    assert isinstance(place.dose.mark, Range)
    assert place.kind is not None
    switched_off = with_kind(place.path, place.kind, {place.dose.name: place.dose.mark.off})
    absent, acting = base_of(place.kind).without(place.path), with_kind(place.path, place.kind)
    assert switched_off.at(place.path).is_off
    for neighbours in ([], [acting]):
        one = cohort_of(task, members_of(task, [switched_off, *neighbours]))
        other = cohort_of(task, members_of(task, [absent, *neighbours]))
        for cohort in (one, other):
            cohort.advance(HALF, Clock.of(3600))
        assert torch.equal(bits(one.flat[0]), bits(other.flat[0]))


@pytest.mark.parametrize(
    ("path", "switched_off", "absent"),
    [
        ("batch", {"kind": "growing", "size": 16, "factor": 1}, {"kind": "fixed", "size": 16}),
        ("batch", {"kind": "hardest", "size": 16, "keep": 1}, {"kind": "fixed", "size": 16}),
        ("optimizer", {"kind": "adamw", "decay": 0}, {"kind": "adam"}),
        ("stop", {"kind": "early", "epochs": 3, "patience": 1}, {"kind": "last", "epochs": 3}),
        ("learning_rate.warmup", 0, 0.0),
    ],
)
def test_off_dose_in_a_slot_that_must_hold_something(path: str, switched_off: Any, absent: Any) -> None:
    one, other = (train("multiclass", BASE.replace(path, value), STEPS) for value in (switched_off, absent))
    assert torch.equal(bits(one.flat), bits(other.flat))


# --------------------------------------------------------------------------------------------------------------------- stacks


@dataclass
class Run:
    """One member of a stack after some steps: trained straight on, resumed, and with neighbours that left half way."""

    member: Member
    stack: list[Member]
    half: Tensor
    half_again: Tensor
    straight: Tensor
    network: dict[str, Tensor]
    curve: list[dict[str, Any]]
    resumed: Tensor
    resumed_curve: list[dict[str, Any]]
    evaluations: tuple[Tensor, Tensor]
    stayed: Tensor | None = None
    stayed_resumed: Tensor | None = None


def population() -> Iterator[tuple[tuple[str, type[Trick]], Recipe]]:
    """Of each kind a member that differs from the base in nothing else, and one that differs in much; kinds interleaved."""
    for path, kind in KINDS:
        recipe = with_kind(path, kind)
        yield (path, kind), recipe
        for slot, word in COMPANION.items():
            recipe = recipe if slot == path else recipe.replace(slot, word)
        yield (path, kind), recipe


def curve_of(cohort: Cohort, k: int) -> list[dict[str, Any]]:
    return [point.model_dump(exclude={"seconds"}) for point in cohort.histories[k].curve]


def rows_of(cohort: Cohort) -> list[Tensor]:
    return list(cohort.flat.detach().clone())


def runs_of(task: Task, members: list[Member]) -> list[Run]:
    forever = Clock.of(3600)
    straight, resumed, left, left_resumed = (cohort_of(task, members) for _ in range(4))
    straight.advance(HALF, forever)
    half, saved = rows_of(straight), straight.state()
    straight.advance(STEPS, forever)
    resumed.load(saved)
    resumed.advance(STEPS, forever)
    left.advance(HALF, forever)
    half_again = rows_of(left)
    staying = [k for k in range(len(members)) if k % 3 != 1]
    left.keep(staying)
    saved = left.state()
    left.advance(STEPS, forever)
    left_resumed.keep(staying)
    left_resumed.load(saved)
    left_resumed.advance(STEPS, forever)
    rows = HELD_OUT.expand(len(members), -1)
    one, two = straight.predictions(rows), straight.predictions(rows)
    runs = [
        Run(
            member=member,
            stack=members,
            half=half[k],
            half_again=half_again[k],
            straight=straight.flat[k],
            network=straight.trained(k).network.state_dict(),
            curve=curve_of(straight, k),
            resumed=resumed.flat[k],
            resumed_curve=curve_of(resumed, k),
            evaluations=(one[k], two[k]),
        )
        for k, member in enumerate(members)
    ]
    for row, k in enumerate(staying):
        runs[k].stayed, runs[k].stayed_resumed = left.flat[row], left_resumed.flat[row]
    return runs


Runs: TypeAlias = dict[tuple[str, type[Trick]], list[Run]]


@pytest.fixture(scope="module", params=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def runs(task: Task) -> Runs:
    asked = list(population())
    stacks: dict[Hashable, list[Member]] = {}
    for member in members_of(task, [recipe for _, recipe in asked]):
        stacks.setdefault(cohort_key(member.recipe), []).append(member)
    assert all(len(members) > 1 for members in stacks.values())
    found: Runs = {}
    for run in [run for members in stacks.values() for run in runs_of(task, members)]:
        found.setdefault(asked[run.member.number][0], []).append(run)
    return found


def assert_close(one: Tensor, other: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@each_kind
def test_a_stack_equals_separate_runs(path: str, kind: type[Trick], task: Task, runs: Runs) -> None:
    for run in runs[path, kind]:
        try:
            assert_trains_alone_to(task, run.member, run.network, run.curve)
        except AssertionError:
            # Rounding may decide on which side of a bend, of a ReLU or a maximum, a unit stands. A fault shows with any seed.
            others = [member for member in run.stack if member.number != run.member.number]
            again = [replace(member, seed=member.seed + 10_000) for member in (*others[:7], run.member)]
            k = len(again) - 1
            stack = trained(task, again)
            assert_trains_alone_to(task, again[k], stack.trained(k).network.state_dict(), curve_of(stack, k))


def trained(task: Task, members: list[Member]) -> Cohort:
    cohort = cohort_of(task, members)
    cohort.advance(HALF, Clock.of(3600))
    cohort.advance(STEPS, Clock.of(3600))
    return cohort


def assert_trains_alone_to(task: Task, member: Member, stacked: dict[str, Tensor], curve: list[dict[str, Any]]) -> None:
    alone = trained(task, [member])
    network = alone.trained(0).network.state_dict()
    assert network.keys() == stacked.keys()
    for name, tensor in network.items():
        assert_close(tensor, stacked[name], 3e-5)  # two-dimensional products sum in another order
    for point, other in zip(curve_of(alone, 0), curve, strict=True):
        assert point == pytest.approx(other, rel=1e-4, abs=1e-5)


@each_kind
def test_same_seed_same_numbers(path: str, kind: type[Trick], runs: Runs) -> None:
    for run in runs[path, kind]:
        assert torch.equal(bits(run.half), bits(run.half_again))


@each_kind
def test_resuming_equals_going_on(path: str, kind: type[Trick], runs: Runs) -> None:
    for run in runs[path, kind]:
        assert not torch.equal(run.half, run.straight)
        assert torch.equal(bits(run.straight), bits(run.resumed))
        assert run.curve == run.resumed_curve


@each_kind
def test_leaving_neighbours_change_nothing(path: str, kind: type[Trick], runs: Runs) -> None:
    staying = [run for run in runs[path, kind] if run.stayed is not None]
    assert staying
    for run in staying:
        assert run.stayed is not None
        assert run.stayed_resumed is not None
        assert_close(run.stayed, run.straight)
        assert torch.equal(bits(run.stayed), bits(run.stayed_resumed))


@each_kind
def test_evaluation_is_deterministic(path: str, kind: type[Trick], runs: Runs) -> None:
    for run in runs[path, kind]:
        one, two = run.evaluations
        assert torch.equal(bits(one), bits(two))


# ------------------------------------------------------------------------------------------------------------------- receipts


def variants(path: str, kind: type[Trick]) -> list[Recipe]:
    """The kind at its default, and with each free dose at each end."""
    found = [with_kind(path, kind)]
    for place in PLACES:
        if (place.path, place.kind) == (path, kind) and not getattr(place.dose.mark, "shared", False):
            found += [with_kind(path, kind, {place.dose.name: value}) for value in place.ends()]
    return found


@each_kind
def test_leaves_a_receipt_of_what_it_did(path: str, kind: type[Trick]) -> None:
    stacks: dict[Hashable, list[Recipe]] = {}
    for recipe in variants(path, kind):
        stacks.setdefault(cohort_key(recipe), []).append(recipe)
    acted = False
    for recipes in stacks.values():
        cohort = cohort_of("multiclass", members_of("multiclass", recipes))
        cohort.advance(200, Clock.of(3600))
        for k, recipe in enumerate(recipes):
            found = {receipt.trick: receipt for receipt in cohort.receipts(k)}
            resting = SLOTS if kind.name() == "custom" else ()  # a foreign network is left as it is
            assert found.keys() == {p for p, trick in recipe.tricks() if trick.kind != "off" and p not in resting}
            receipt = found[path]
            assert (receipt.kind, receipt.unit) == (kind.name(), kind.unit)
            assert 0 <= receipt.acted <= receipt.seen
            acted = acted or (receipt.acted > 0 and not receipt.never_acted)
    assert acted


@pytest.mark.parametrize("name", ["label_smoothing", "focal", "class_weights"])
def test_a_trick_that_cannot_act_says_so(name: str) -> None:
    cohort = train("regression", BASE.replace(f"regularize.{name}", name), 2)
    (receipt,) = [receipt for receipt in cohort.receipts(0) if receipt.trick == f"regularize.{name}"]
    assert receipt.never_acted


def test_stochastic_depth_says_where_there_are_no_blocks() -> None:
    cohort = train("multiclass", BASE.replace("regularize.stochastic_depth", {"p": 0.5}), 2)
    (receipt,) = [receipt for receipt in cohort.receipts(0) if receipt.trick == "regularize.stochastic_depth"]
    assert receipt.never_acted


@pytest.mark.parametrize("name", [kind.name() for kind in kinds()["optimizer"]])
def test_an_optimizer_without_decay_still_acts(name: str) -> None:
    kind = next(kind for kind in kinds()["optimizer"] if kind.name() == name)
    without = {dose.name: dose.mark.off for dose in doses(kind) if isinstance(dose.mark, Range) and dose.mark.off is not None}
    cohort = train("multiclass", with_kind("optimizer", kind, without), 3)
    (receipt,) = [receipt for receipt in cohort.receipts(0) if receipt.trick == "optimizer"]
    assert receipt.acted == receipt.seen == 3
