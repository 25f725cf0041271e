"""Trains arms in populations, and judges them on rows that neither training nor tuning has seen.

    jobs (recipe, replicate) → members → stacks → lanes → cohorts → outcomes

A replicate is a draw of everything that varies between two runs of the same recipe: which development rows are trained on and
which stop the training, and the seed of weights, order and every trick. All arms meet the same replicates.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from titrant.clock import Clock
from titrant.data.learnable import Learnable, folds_of
from titrant.errors import DataError
from titrant.evidence.statistics import Estimate, paired
from titrant.models.network import Factory
from titrant.recipe import Recipe
from titrant.record import Point, Receipt
from titrant.search.halving import stacks
from titrant.search.pace import Pace, measured
from titrant.texts import say
from titrant.train.cohort import Cohort, kept_for_gradient
from titrant.train.hardware import threads
from titrant.train.kinds import problem_of
from titrant.train.member import Member
from titrant.train.metrics import Metric
from titrant.train.problem import Problem
from titrant.tricks.acting import derived_seed

_PARTS = 5  # a fifth of the development rows stops training and tunes
_SAMPLES = 64  # bootstrap samples of the judging rows
_KEPT = 1 << 29  # bytes of encoded rows that are kept for different draws of training rows
_STEPS = 5  # by which the cost of a step is measured
_PER_LANE = 4  # stacks for each lane, at least, so that no lane waits long for another
_FEWEST = 4  # members of a stack that is cut for that
_TOGETHER = 8  # members of the stack in which it is measured


@dataclass(frozen=True)
class Replicate:
    """One draw of rows and seeds.

    Args:
        number: which, from 0.
        seed: of its members.
        rows: trained on.
        tuning: stop the training, and choose among candidates.
        judging: judge.
    """

    number: int
    seed: int
    rows: Tensor
    tuning: Tensor
    judging: Tensor

    def member(self, number: int, recipe: Recipe) -> Member:
        """A member that trains a recipe on this draw."""
        return Member(number, recipe, self.seed, "evidence", self.rows, self.tuning)


@dataclass(frozen=True)
class Job:
    """A recipe to be trained in one replicate; `seconds` says how long that takes in one lane, about."""

    recipe: Recipe
    replicate: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Args:
        tuned: score on the tuning rows, NaN without a usable network.
        tuned_loss: the plain loss there, infinite without one.
        score: on the judging rows; that of a constant prediction without a usable network.
        resampled: the same on bootstrap samples of the judging rows [B]; empty where replicates have judging rows of their own.
        diverged: no network was usable.
        receipts: what its tricks did.
        curve: its evaluations while it trained.
    """

    tuned: float
    tuned_loss: float
    score: float
    resampled: Tensor
    diverged: bool
    receipts: list[Receipt]
    curve: list[Point]


@dataclass(frozen=True)
class Costs:
    """What training an arm takes.

    Args:
        step: seconds of a step for one member of a stack, in one lane.
        judging: seconds of all evaluations.
        steps: of a whole training.
        memory: bytes that a member needs while it trains.
    """

    step: float
    judging: float
    steps: int
    memory: int

    @property
    def training(self) -> float:
        """Seconds of a whole training in one lane."""
        return self.step * self.steps + self.judging

    def least(self, other: "Costs") -> "Costs":
        """The smaller of two measurements: what else the machine does only adds."""
        return Costs(min(self.step, other.step), min(self.judging, other.judging), self.steps, self.memory)


@dataclass
class Trainings:
    """Trains and judges the arms of one study.

    Args:
        dataset: the data.
        metric: how scores are measured.
        seed: of all random choices.
        device: where to train.
        clock: rings when training must be over.
        pace: how cohorts are laid out.
        factory: the network of `model: custom`.
        share: of the training rows, how many are used.

    Attributes:
        shared: all replicates are judged by the test rows of the data; False where there are none, and each replicate judges by
            a fifth of the development rows.
        done: jobs that were trained so far.
    """

    dataset: Learnable
    metric: Metric
    seed: int
    device: torch.device
    clock: Clock
    pace: Pace
    factory: Factory | None = None
    share: float = 1.0
    done: int = 0
    _replicates: dict[int, Replicate] = field(default_factory=dict)
    _cuts: dict[int, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Prepares the rows."""
        split = self.dataset.split
        self.development = split.development
        self.shared = len(split.test) > 0
        self._test = split.test.to(self.device)
        self.problem = problem_of(self.dataset, self.development.to(self.device), self.device)
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "judging") % 2**63)
        count = len(split.test)
        self._draws = torch.randint(count, (_SAMPLES, count), generator=generator).to(self.device) if self.shared else None
        size = sum(tensor.nbytes for tensor in self.dataset.inputs)
        self._draws_of_rows = max(_PARTS, _KEPT // max(1, size))

    def replicate(self, number: int) -> Replicate:
        """The replicate of that number; the same one in every arm and in every study with this seed.

        Where data are large, replicates take turns in a few draws of training rows, whose encodings are kept.
        """
        if number not in self._replicates:
            place = number % self._draws_of_rows
            like = self._replicates.get(place)
            if like is None:
                parts = self._cut(self.development, place // _PARTS)
                train, held = parts[place % len(parts)]
                judging = self._test
                if not self.shared:
                    judging = held.to(self.device)
                    train, held = self._cut(train, 1000 + place)[0]
                kept = torch.randperm(len(train), generator=torch.Generator().manual_seed(self.seed % 2**63 + place))
                train = train[kept[: max(_PARTS, round(self.share * len(train)))].sort().values]
                like = Replicate(place, 0, train.to(self.device), held.to(self.device), judging)
            seed = derived_seed(self.seed, "replicate", number)
            self._replicates[number] = Replicate(number, seed, like.rows, like.tuning, like.judging)
        return self._replicates[number]

    @property
    def judged(self) -> str:
        """Which rows judge, in words."""
        if self.shared:
            return say("rows that were held out of everything else, the same for every replicate")
        return say("a fifth of the rows, drawn anew for each replicate; the choice of the recipe may have seen them")

    @property
    def overlap(self) -> float:
        """Judging rows for each training row."""
        drawn = self.replicate(0)
        return len(drawn.judging) / len(drawn.rows)

    def use(self, share: float) -> None:
        """Trains on a share of the training rows from now on."""
        self.share = share
        self._replicates.clear()

    def contrast(self, replicates: Sequence[Sequence[tuple[Outcome, float]]]) -> Estimate:
        """A weighted sum of scores, positive where better, with all that makes it uncertain.

        Args:
            replicates: for each, outcomes that share its rows and seeds, and their weights.
        """
        sign = 1 if self.metric.direction == "maximize" else -1
        values = [sum(sign * weight * outcome.score for outcome, weight in parts) for parts in replicates]
        resampled = None
        if self.shared and replicates:
            drawn = [torch.stack([sign * weight * outcome.resampled for outcome, weight in parts]) for parts in replicates]
            resampled = torch.stack(drawn).sum(1).mean(0).tolist()
        return paired(values, resampled, 0.0 if self.shared else self.overlap)

    def _cut(self, rows: Tensor, number: int) -> list[tuple[Tensor, Tensor]]:
        """Folds of some rows, the same for the same number.

        Raises:
            DataError: all rows belong to one group.
        """
        if number not in self._cuts:
            self._cuts[number] = folds_of(self.dataset, rows, _PARTS, derived_seed(self.seed, "cut", number) % 2**31)
            if not self._cuts[number]:
                raise DataError(
                    say("The rows to learn from cannot be divided into folds: they belong to one group or moment, or the time "
                        "that they cover is too short for the horizon.")
                )  # fmt: skip
        return self._cuts[number]

    def run(self, jobs: Sequence[Job], watch: Callable[[int], None], clock: Clock | None = None) -> list[Outcome | None]:
        """Trains jobs and judges them; None for those that the clock did not let end.

        Args:
            jobs: what to train.
            watch: is told how many jobs of the study are done.
            clock: when to end at the latest; the study's own if None.
        """
        members = [self.replicate(job.replicate).member(place, job.recipe) for place, job in enumerate(jobs)]
        found: list[Outcome | None] = [None] * len(jobs)
        heavy = {place: job.seconds for place, job in enumerate(jobs)}
        cut = _balanced(stacks(members, self.problem, self.pace), heavy, self.pace.lanes)
        for ended in self.pace.side_by_side(self._turns(cut, clock or self.clock), len(cut)):
            for place, outcome in ended:
                found[place] = outcome
            self.done += len(ended)
            watch(self.done)
        return found

    def _turns(self, cut: list[list[Member]], clock: Clock) -> Iterable[Callable[[], list[tuple[int, Outcome]]]]:
        judging = {id(drawn.rows): drawn.judging for drawn in self._replicates.values()}
        for stack in cut:
            if clock.left <= 0:
                return
            rows = [judging[id(member.rows)] for member in stack]
            yield partial(_judged, self.problem, stack, self.metric, clock, self.factory, rows, self._draws)

    def settle(self, recipe: Recipe) -> None:
        """Measures how many members of a recipe a stack should hold on this machine."""
        member = self.replicate(0).member(-1, recipe)
        make = partial(Cohort, self.problem, metric=self.metric, clock=self.clock, factory=self.factory)
        self.pace = measured(make, member, self.problem.columns, self.pace, self.clock)

    def cost(self, recipe: Recipe) -> Costs:
        """What training a recipe takes, by a few steps of a stack in one lane that are thrown away."""
        first = self.replicate(0).member(0, recipe)
        together = min(_TOGETHER, self.pace.stack_size(first, self.problem.columns))
        stack = [replace(first, number=place, seed=place) for place in range(together)]
        with threads(1 if self.pace.lanes > 1 else torch.get_num_threads()):
            cohort = Cohort(self.problem, stack, self.metric, self.clock, self.factory)
            memory = kept_for_gradient(lambda: cohort.train(1, self.clock)) + cohort.carried
            step = min(cohort.paced(cohort.step + 1, self.clock) for _ in range(_STEPS))
            step *= cohort.work(0, cohort.steps) / cohort.steps
            judging = cohort.judging()
        return Costs(step / together, judging / together, cohort.steps, memory // together)


def _balanced(cut: list[list[Member]], seconds: Mapping[int, float], lanes: int) -> list[list[Member]]:
    """Stacks so many and so ordered that all lanes end at about the same time: the heaviest first, cut while they are few.

    Args:
        cut: the stacks.
        seconds: that a member takes, by its number.
        lanes: at the same time.
    """

    def weight(stack: list[Member]) -> float:
        return sum(seconds[member.number] for member in stack)

    if lanes == 1:
        return cut
    cut = sorted(cut, key=weight, reverse=True)
    while len(cut) < _PER_LANE * lanes and len(cut[0]) >= 2 * _FEWEST:
        half = (len(cut[0]) + 1) // 2
        cut = sorted([cut[0][:half], cut[0][half:], *cut[1:]], key=weight, reverse=True)
    return cut


def _judged(
    problem: Problem,
    stack: list[Member],
    metric: Metric,
    clock: Clock,
    factory: Factory | None,
    judging: list[Tensor],
    draws: Tensor | None,
) -> list[tuple[int, Outcome]]:
    """Trains a stack to its end, perhaps in another process, and judges it; nothing if the clock rang first."""
    cohort = Cohort(problem, stack, metric, clock, factory)
    if not cohort.advance(cohort.steps, clock):
        return []
    fewest = min(len(rows) for rows in judging)
    rows = torch.stack([some[:fewest] for some in judging])
    target = problem.target[rows]
    predicted = cohort.kept_predictions(rows)
    lost = ~predicted.flatten(1).isfinite().all(1)
    predicted[lost] = _constant(problem, rows.shape[1])
    scores = metric.score(problem.flat(predicted), problem.flat(target)).tolist()
    resampled = torch.empty(len(stack), 0)
    if draws is not None:
        drawn_scores = [metric.score(problem.flat(predicted[:, rows]), problem.flat(target[:, rows])) for rows in draws]
        resampled = torch.stack(drawn_scores, dim=1).cpu()
    return [
        (
            member.number,
            Outcome(
                tuned=cohort.score(k),
                tuned_loss=cohort.histories[k].best_loss,
                score=scores[k],
                resampled=resampled[k].clone(),
                diverged=bool(lost[k]),
                receipts=cohort.receipts(k),
                curve=cohort.histories[k].curve,
            ),
        )
        for k, member in enumerate(stack)
    ]


def _constant(problem: Problem, count: int) -> Tensor:
    """What is predicted without a network: the shares of the classes [m, c], or the mean [m]."""
    if problem.is_regression:
        return torch.full((count, *problem.target.shape[1:]), problem.centre, device=problem.device)
    counts = problem.class_counts()
    return (counts / counts.sum()).expand(count, -1)
