"""A whole search: brackets of recipes within the time, then the finals.

    portfolio, baseline, quasi-random → bracket → what was learned → forest, mutations, quasi-random → bracket → ... → finals

The length of a full training and the number of members follow from what a step costs on the actual data and machine, measured
with steps that count. With a limit on members instead of the time (`members`), nothing depends on the clock and the same seed
gives the same result.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import torch
from optuna.trial import FrozenTrial, Trial, TrialState
from torch import Tensor

from titrant.clock import Clock
from titrant.data.learnable import Learnable, folds_of
from titrant.errors import BudgetError, TitrantError
from titrant.models.network import Factory
from titrant.models.own import OwnBody, checked, factory_name
from titrant.recipe import Recipe
from titrant.record import MemberRecord
from titrant.search.finalist import Finalist, blended
from titrant.search.finals import CAUTION, Contender, Finals, Part, rank_of, shortened
from titrant.search.halving import Bracket, Race, Tried, rank
from titrant.search.kinds import start_for
from titrant.search.mixture import MIXED, PARENTS, Mixture, Proposal, learn, learned
from titrant.search.pace import Pace, measured
from titrant.search.proposers import sampler
from titrant.search.region import Region
from titrant.search.remedies import Clinic
from titrant.search.trials import name_metric, state_of, trial_of
from titrant.texts import say
from titrant.train.cohort import Cohort, batch_sizes
from titrant.train.hardware import free_memory
from titrant.train.kinds import problem_of
from titrant.train.member import Member, Trained
from titrant.train.memory import Needs, carried_by, may_outgrow, needs_of
from titrant.train.metrics import Metric
from titrant.train.problem import Problem
from titrant.train.workers import Workers
from titrant.tricks.acting import derived_seed, own_randomness

if TYPE_CHECKING:
    from titrant.search.shared import SharedStudy

FOLDS = 8
"""Folds of the development rows in the finals, unless a person said otherwise."""

PLANNED_LANES = 2
"""Lanes for which plans are made; with more, brackets overlap."""

SMALLEST = 4
"""Members of a stack that is not cut for the sake of lanes: a member's step then costs a third of one alone."""

_FAILED = 2.0  # times the loss of the search's best network on the same rows, above which a refit is not used
_NEGLIGIBLE = 0.01  # a loss below which that does not matter: a hundredth of the target's variance,
_SAFETY = 0.2  # share of the search's time in which a plain network is trained first, where others may take long to begin
_NEGLIGIBLE_GUESS = 0.1  # or this share of the log loss of guessing: a network that chose its few rows well is surer than right
_WRITING = 0.03  # and to write the study
_LAST_LOOK = 2.0  # seconds that a shared study is asked for at most before the finals
_CURED = 4  # a bracket's part that the doctor's remedies may take
_DEAR = 3.0  # times its parent's cost that a recipe of other shapes may have where time is short, more where there is plenty
_PROBED = 5  # steps by which the baseline's pace is measured


@dataclass
class Outcome:
    """What a search hands back.

    Args:
        final: the networks of the model.
        recipe: theirs.
        kind: "refit" if they were trained on folds of all development rows, "checkpoint" if they are the search's best network.
        score_validation: the winner's score in the search; None if it was not scored there.
        score_refit: the final model's score on rows that its networks held out; None for a checkpoint.
        baseline: the plain baseline, trained on all development rows; None if there was no time.
        records: every member, in the order in which they left.
        interrupted: a person or the clock ended training before its plan.
        refused: the best recipe was trained again, did far worse than the search's network, and is not used.
        weights: the share of each network in the mean of their predictions; None for equal ones.
        temperatures: by which the logarithms of each one's probabilities are divided; None: 1.
        band: of forecasts, see `titrant.train.problem.Problem.band`.
    """

    final: list[Trained]
    recipe: Recipe
    kind: str
    score_validation: float | None
    score_refit: float | None
    baseline: Trained | None
    records: list[MemberRecord]
    interrupted: bool
    refused: bool = False
    weights: list[float] | None = None
    temperatures: list[float] | None = None
    band: Tensor | None = None


@dataclass
class Study:
    """A search in progress.

    Args:
        dataset: the data.
        region: the recipes that may be visited; None trains `given` and nothing else.
        metric: who is better.
        clock: rings when everything must be over, the finals included.
        seed: of all random choices.
        device: where to train.
        folder: where `study.db` goes.
        watch: is told (phase, rung, members alive, members tried, best score) often.
        given: a person's own recipe; it is tried first, or alone if there is no region.
        narrowed: the person said what to search, so nothing outside the region is tried.
        members: the most members to try; None leaves it to the clock.
        factory: the network of `model: custom`.
        workers: processes that train beside this one.
        ensemble: False keeps the final model to networks of one recipe.
        search: who proposes: one of `titrant.search.proposers.SEARCHES`.
        folds: parts of a cross-validation by which recipes are compared; None compares them by the validation rows alone.
        repeats: of that, with the rows cut anew each time.
        before: members that were tried in an earlier part of this search.
        shared: the study in which several commands search together.
    """

    dataset: Learnable
    region: Region | None
    metric: Metric
    clock: Clock
    seed: int
    device: torch.device
    folder: Path
    watch: Callable[[str, int, int, int, float | None], None]
    given: Recipe | None = None
    narrowed: bool = False
    members: int | None = None
    factory: Factory | None = None
    workers: Workers | None = None
    ensemble: bool = True
    search: str = "mixed"
    folds: int | None = None
    repeats: int = 1
    before: list[MemberRecord] = field(default_factory=list)
    shared: "SharedStudy | None" = None
    tried: list[Tried] = field(default_factory=list)
    records: list[MemberRecord] = field(default_factory=list)
    best: Trained | None = None
    notes: list[str] = field(default_factory=list)
    _number: int = 0
    _length: float = 1.0
    _first: int = 0
    _dearest: float = math.inf
    _last_pace: float = 0.0
    _trials: dict[int, Trial] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Prepares the data and the proposers."""
        self._start = start_for(self.dataset)
        self._plan = self._start.plan
        self._first = self._plan.first
        split = self.dataset.split
        self._development = split.development.to(self.device)
        learnable = split.train.to(self.device)
        self._parts: list[Part] = [(learnable, split.validation.to(self.device), None)]
        if self.folds is not None and (parts := self._cut("search")):
            self._parts, learnable = parts, self._development
        elif self.folds is not None:
            self.notes.append(
                say("The rows to learn from cannot be divided into folds: they belong to one group or moment, or the time that "
                    "they cover is too short for the horizon. Recipes are compared by the validation rows instead.")
            )  # fmt: skip
        self._train, self._validation, _ = self._parts[0]
        self._judging = self.metric.heeding(len(self._development))  # of the finals, which predict every development row
        self.metric = self._judging if len(self._parts) > 1 else self.metric.heeding(len(self._validation))
        self._problem = problem_of(self.dataset, learnable, self.device, self._development)
        first = self.given or (self.region.base if self.region is not None else Recipe())
        self._pace = Pace.usual(self.device, [first], self.workers)
        turn: list[str | int] = [len(self.before)] if self.before else []  # what was drawn before is not drawn again
        if self._rank:  # nor what another command draws
            turn += ["command", self._rank]
        seed = derived_seed(self.seed, "sampler", *turn) if self._rank else self.seed
        self._study = optuna.create_study(direction=self.metric.direction, sampler=sampler(self.search, seed % 2**31))
        doctors = self.search == "doctor"
        self._clinic = Clinic(self.metric.name, self.dataset.summary, self._start.reads) if doctors else None
        if self.region is not None:
            self._mixture = Mixture(self.region, self._study, self.seed, turn, self.search, self._bearable)
        self._remember()

    def _remember(self) -> None:
        """Takes up what was tried before; final trainings are not among it."""
        for record in self.before:
            if record.origin == "refit":
                self.records.append(record)
                continue
            self._take(self._recalled(record))
        self._exchange()

    def _recalled(self, record: MemberRecord) -> Tried:
        score = math.nan if record.score_validation is None else record.score_validation
        best = [point.loss_validation for point in record.curve if point.score_validation == record.score_validation]
        known = [record.loss_validation, *best]  # runs of earlier versions hold only the curve
        loss = next((loss for loss in known if loss is not None), math.inf)
        recipe = Recipe.of(record.recipe)
        member = Member(record.number, recipe, record.seed, record.origin, self._train, self._validation)
        return Tried(member, score, loss, record)

    def _take(self, tried: Tried) -> None:
        """Counts and learns from a member that has left training, now, in an earlier part of the search, or elsewhere."""
        if self.shared is not None and not self.shared.knows(tried.record):
            tried = replace(
                tried, record=self.shared.give(tried.record, trial_of(tried.record, self.region, self._clock_of(tried)))
            )
        self._number = max(self._number, tried.member.number + 1)
        self.tried.append(tried)
        self.records.append(tried.record)
        self._learn(tried)

    def _exchange(self, patience: float = 0.0) -> None:
        """Takes up what other commands have tried meanwhile, under numbers of this one."""
        if self.shared is None:
            return
        known = {record.shared for record in self.records}
        for record in self.shared.taken(patience):
            if record.shared not in known:
                try:
                    tried = self._recalled(record.model_copy(update={"number": self._number}))
                except TitrantError:
                    continue  # of another version, with tricks that this one does not know
                self._take(tried)

    @property
    def _rank(self) -> int:
        """Commands of a shared study that came before this one; the first of them tries the known recipes."""
        return 0 if self.shared is None else self.shared.rank

    def run(self) -> Outcome:
        """Searches, trains the finalists, and returns the best.

        Raises:
            BudgetError: the time ended before any member was evaluated.
        """
        search_clock = self.clock if self.members is not None else self.clock.before_end(self._plan.finals * self.clock.left)
        self._measure(search_clock)
        finished = self._brackets(search_clock)
        if self.best is None:  # the search's share was too short; any model comes before everything else
            first = self._first_proposals()[:1]
            if self._plain_first:
                first = [(self._at_length(self._start.baseline(len(self._train))), "baseline", None)]
            self._race(lambda _: first, self.clock, 1)
        outcome = self._finals(finished)
        self._write_study()
        return outcome

    # ---------------------------------------------------------------- brackets

    def _brackets(self, clock: Clock) -> bool:
        """Bracket after bracket while there is time for another, or several at once; False if a person interrupted."""
        first = not self.tried
        if first and self._plan.varied and self.members is None and self._plain_first:
            plain = self._at_length(self._start.baseline(len(self._train)))
            self._race(lambda _: [(plain, "baseline", None)], clock.before_end((1 - _SAFETY) * clock.left), 1)

        def propose(others: Sequence[Bracket]) -> list[Proposal]:
            nonlocal first
            begins, first = first, False
            if not begins and not self._another(clock, others):
                return []
            self._exchange()
            return self._first_proposals() if begins else self._later_proposals(others)

        self._race(propose, clock)
        return not self._interrupted

    def _race(self, propose: Callable[[Sequence[Bracket]], list[Proposal]], clock: Clock, most: int | None = None) -> None:
        """Trains brackets.

        Args:
            propose: what the next one holds, given those that have not ended; nothing if none is to begin now.
            clock: when to end at the latest.
            most: how many.
        """
        open_brackets: list[Bracket] = []
        taken: dict[int, int] = {}  # members that have left each of them
        closed, before = time.monotonic(), self._number

        def begin() -> Bracket | None:
            if len(taken) == most or not (proposals := propose(open_brackets)):
                return None
            open_brackets.append(bracket := self._bracket(proposals, clock))
            taken[bracket.number] = 0
            return bracket

        def told(bracket: Bracket) -> None:
            """Takes over the members that have left, so that a search that is killed has lost no others."""
            nonlocal closed, before
            for tried in bracket.tried[taken[bracket.number] :]:
                self._take(tried)
            taken[bracket.number] = len(bracket.tried)
            if bracket.over:
                open_brackets.remove(bracket)
                self._forget(bracket)
                now = time.monotonic()
                self._last_pace = (now - closed) / max(1, self._number - before)
                closed, before = now, self._number
            begun = sum(one.begun - len(one.tried) for one in open_brackets)
            self._tell("search", bracket.rung, sum(one.alive for one in open_brackets), bracket.best, begun)

        Race(self._pace, begin, told, self._overlapping).run()
        for bracket in open_brackets:  # one that was made ready and never began
            self._forget(bracket)

    def _forget(self, bracket: Bracket) -> None:
        """Tells Optuna's study of members that the clock did not reach."""
        for member in bracket.members:
            if member.number in self._trials:
                self._study.tell(self._trials.pop(member.number), state=TrialState.FAIL)

    @property
    def _plain_first(self) -> bool:
        """Whether the plain baseline may be tried."""
        return self.region is not None and not (self.narrowed or self.region.only or self.given)

    def _another(self, clock: Clock, open_brackets: Sequence[Bracket]) -> bool:
        """Whether a further bracket is to begin, beside those that have."""
        if self.region is None or clock.left <= 0:
            return False
        if self.members is not None:
            return self._number < self.members
        if open_brackets and len(self._leaders(open_brackets)) < PARENTS:
            return False  # nothing is known yet by which to choose
        return self._number < self._most and clock.left > self._last_pace * self._plan.fewest

    @property
    def _overlapping(self) -> bool:
        """Whether a bracket may begin before another has ended: where more lanes than plans are made for would wait for it.

        What is proposed then hangs on who was first, so not where nothing may depend on the machine.
        """
        return self.members is None and self.region is not None and self._pace.lanes > PLANNED_LANES

    def _bracket(self, proposals: list[Proposal], clock: Clock) -> Bracket:
        members = [member for recipe, origin, trial in proposals for member in self._members(recipe, origin, trial)]
        rungs = self._plan.rungs if self.region is not None else (1.0,)
        paced = self.members is None and self.region is not None
        smallest = SMALLEST if self._overlapping else 1
        sick = None if self._clinic is None else self._clinic.is_sick
        return Bracket(self._problem, members, self.metric, clock, self.factory, rungs, paced, self._pace, smallest, sick)

    def _leaders(self, open_brackets: Sequence[Bracket] = ()) -> list[Recipe]:
        """Recipes that have been judged, the best first, those in training among them."""
        found = [(tried.rank(self.metric), tried.member) for tried in self.tried]
        found += [
            (rank(self.metric, score, loss), member) for bracket in open_brackets for member, score, loss in bracket.standing()
        ]
        found.sort(key=lambda one: one[0])
        return [member.recipe for _, member in found if member.origin not in {"baseline", "given"}]

    def _first_proposals(self) -> list[Proposal]:
        """Known good recipes and the baseline first, then mutations of those and an even cover of the region."""
        rows = len(self._train)
        proposals: list[Proposal] = []
        if self.given is not None:
            proposals.append((self.given, "given", None))
        if self.region is None:
            return proposals
        if self.search not in MIXED:
            plain = (
                [] if self.narrowed or self.region.only else [(self._at_length(self._start.baseline(rows)), "baseline", None)]
            )
            proposals += plain
            more = self._mixture.one_kind(max(1, self._wanted(self._first)) - len(proposals))
            return [*proposals, *self._all_at_length(more)]
        known = [(recipe, "portfolio", None) for recipe in self._start.portfolio(rows)]
        if self.narrowed and not self.region.only:  # nothing outside what the person allows is tried
            inside = [(self.region.nearest(recipe), origin, trial) for recipe, origin, trial in known]
            proposals += [one for place, one in enumerate(inside) if one[0] not in [recipe for recipe, _, _ in inside[:place]]]
        elif not self.region.only:
            plain = [] if self.tried else [(self._start.baseline(rows), "baseline", None)]
            proposals += [*known[:2], *plain, *known[2:]]
        wanted = self._wanted(self._first)
        shapes = [recipe for recipe, origin, _ in proposals if origin != "baseline"]
        if self._rank:
            proposals = []
        proposals += self._mixture.first(wanted - len(proposals), shapes)
        chosen = proposals[: max(wanted, 1)]
        return self._all_at_length([(self.region.suited(recipe), origin, trial) for recipe, origin, trial in chosen])

    def _later_proposals(self, open_brackets: Sequence[Bracket] = ()) -> list[Proposal]:
        """What the mixture proposes after what has been judged, behind the doctor's remedies where these are wanted."""
        wanted = self._wanted(self._plan.later)
        cured = self._cured(wanted // _CURED) if self._clinic is not None else []
        return [*cured, *self._all_at_length(self._mixture.later(wanted - len(cured), self._leaders(open_brackets)))]

    def _cured(self, most: int) -> list[Proposal]:
        """What the doctor prescribes to the best, and to those that would be among them if they were well."""
        assert self._clinic is not None
        assert self.region is not None
        best = sorted(self.tried, key=lambda tried: tried.rank(self.metric))
        found = self._clinic.successors([tried.record for tried in best[: 2 * PARENTS]], most)
        inside = [self.region.nearest(recipe) if self.narrowed else self.region.suited(recipe) for recipe in found]
        return [(recipe, "remedy", None) for recipe in inside]

    def _all_at_length(self, proposals: Sequence[Proposal]) -> list[Proposal]:
        return [(self._at_length(recipe), origin, trial) for recipe, origin, trial in proposals]

    def _bearable(self, recipe: Recipe, shape: Recipe) -> bool:
        """Whether a recipe's network takes no more than a few times as long as that of one beside which it would train."""
        return self._cost(recipe) <= self._dearest * self._cost(shape)

    def _cost(self, recipe: Recipe) -> float:
        """Products for a row of data, in proportion: learned numbers, and views that use them again."""
        shape = self._problem.shape(self._problem.encoder(recipe.data, self._train))
        with torch.device("meta"):
            return float(shape.network([recipe], factory=self.factory).products)

    def own_network(self) -> OwnBody | None:
        """The person's own network, if there is one, after a look whether it suits the data.

        Raises:
            TitrantError: it does not.
        """
        recipe = self.given or (None if self.region is None else self.region.base)
        if self.factory is None or recipe is None:
            return None
        encoded = self._problem.encoded(recipe.data, self._train)
        rows = self._train[:4]
        inputs = self._problem.ready(tuple(tensor[rows].cpu() for tensor in encoded.inputs))
        make = partial(self._problem.shape(encoded.encoder).network, [recipe], factory=self.factory)
        with own_randomness(self.seed):
            return checked(make, inputs, factory_name(self.factory), self._problem.outputs)

    def needs(self) -> Needs | None:
        """The memory that one training takes of a person's own recipe or network; None where the search chooses freely.

        Raises:
            TitrantError: the device has no room for the weights.
        """
        recipe = self.given or (None if self.region is None or self.factory is None else self.region.base)
        if recipe is None:
            return None
        member = Member(-1, recipe, self.seed, "measure", self._train, self._validation)
        free = free_memory(self.device)
        if free is not None and self.factory is None and may_outgrow(recipe, free):
            self._refuse(recipe, carried_by(self._problem, member), free)
        try:
            needs = needs_of(self._problem, member, self.factory)
        except Exception:
            if self.factory is None:
                raise
            return None  # a person's own code may be such that it cannot be counted, or wrong: training will say so
        if free is not None:
            self._refuse(recipe, needs.carried, free)
        return needs

    def _refuse(self, recipe: Recipe, carried: int, free: int) -> None:
        """Ends before training where memory does not even hold what stays from step to step."""
        if carried > free:
            raise TitrantError(
                say("The weights of this {kind}, with their best state and what the optimizer keeps, take {taken:.3g} GiB; "
                    "{free:.3g} GiB are free on {device}. Use a smaller network (model.width, model.depth), or an optimizer "
                    "that keeps less, such as sgd.",
                    kind=recipe.model.kind, taken=carried / 2**30, free=free / 2**30, device=self.device)
            )  # fmt: skip

    @property
    def compared(self) -> str:
        """By which rows recipes are compared, in words; empty where that is the validation part."""
        count, rows = len(self._parts) // self.repeats, len(self._development)
        if self._parts[0][-1] is None:
            return ""
        if self.repeats > 1:
            return say(
                "Recipes were compared by cross-validation: {count} folds of the {rows:,} train and validation rows, cut anew "
                "{repeats} times.", count=count, rows=rows, repeats=self.repeats,
            )  # fmt: skip
        return say(
            "Recipes were compared by cross-validation: {count} folds of the {rows:,} train and validation rows.",
            count=count, rows=rows,
        )  # fmt: skip

    @property
    def lanes(self) -> int:
        """Trainings at the same time."""
        return self._pace.lanes

    @property
    def _most(self) -> int:
        """Members of the whole search: more choices than the rows that judge can tell apart would only find luck."""
        judging = sum(len(held_out) for _, held_out, _ in self._parts) // self.repeats
        return 16 + 2 * math.isqrt(judging) * 4

    @property
    def _for_lanes(self) -> int:
        """Members of the first bracket: a small stack for each lane, but most are left for what is learned from it."""
        return max(self._plan.first, min(SMALLEST * self._pace.lanes, self._most // 3))

    def _wanted(self, at_most: int) -> int:
        return at_most if self.members is None else max(1, min(at_most, self.members - self._number))

    def _members(self, recipe: Recipe, origin: str, trial: Trial | None) -> list[Member]:
        """A recipe that is to be tried: one member, or one for each fold."""
        number = self._number
        self._number += 1
        if trial is not None:
            self._trials[number] = trial
        return [
            Member(number, recipe, derived_seed(self.seed, "member", number, *([place] if place else [])), origin, *part)
            for place, part in enumerate(self._parts)
        ]

    # ------------------------------------------------------------------ sizing

    def _measure(self, clock: Clock) -> None:
        """Decides how many members begin and how long a full training may be, from the first recipe's steps on the real data.

        As many members as the search has time for, each trained to its full length; where that would be too few, or too long
        for the finals, shorter trainings. With a limit on members nothing is measured.
        """
        if self.members is not None or self.region is None:
            return
        known = self._start.portfolio(len(self._train))[self._plan.paced_by]
        recipe = self.given or (self.region.nearest(known) if self.narrowed else known)
        member = Member(-1, recipe, self.seed, "measure", self._train, self._validation)
        make = partial(Cohort, self._problem, metric=self.metric, clock=clock, factory=self.factory)
        self._pace = measured(make, member, self._problem.columns, self._pace, clock)
        full = max(self._pace.seconds or 0.0, 1e-6) * len(batch_sizes(recipe, len(self._train))) / self._pace.lanes
        for_search = self._plan.searched * max(clock.left, 0.1) / (full * len(self._parts) * self._plan.cost)
        for_finals = CAUTION * max(self.clock.left - clock.left, 0.1) / (full * self._fewest_folds * self._growth)
        fewest = min(self._plan.fewest, max(2, int(for_search / self._plan.least)))
        self._length = min(1.0, for_search / fewest, for_finals)
        self._first = max(fewest, min(self._for_lanes, int(for_search / self._length)))
        self._dearest = max(_DEAR, _DEAR * for_search / self._plan.first)

    @property
    def _growth(self) -> float:
        """Rows of the finals for each row of the search."""
        return len(self._development) * (1 - 1 / (self.folds or FOLDS)) / len(self._train)

    @property
    def _fewest_folds(self) -> int:
        """Networks of the finals at least."""
        return min(self._plan.folds, self.folds or FOLDS)

    def _at_length(self, recipe: Recipe) -> Recipe:
        """The recipe with its training shortened to what the time allows."""
        return shortened(recipe, min(1.0, self._length))

    # ---------------------------------------------------------------- learning

    def _learn(self, tried: Tried) -> None:
        """Tells Optuna's study about a member."""
        learn(self._study, self._trials.pop(tried.member.number, None), self._trial(tried))

    def _trial(self, tried: Tried) -> FrozenTrial:
        """A member as proposers learn from it."""
        member, record = tried.member, tried.record
        attributes: dict[str, str | int] = {
            "member": member.number,
            "origin": member.origin,
            "state": record.state,
            "rung": record.rung,
        }
        return learned(self.region, member.recipe, tried.score, record.rung, state_of(record), attributes)

    def _write_study(self) -> None:
        """Keeps the study as an ordinary Optuna study in SQLite: as much of it as a few percent of the time can write."""
        from titrant.search.storage import TROUBLES, opened, reason

        until = time.monotonic() + max(1.0, _WRITING * (self.clock.end - self.clock.start))
        written = self.folder / ".study.db"  # an earlier one stays readable until this one is whole
        try:
            written.unlink(missing_ok=True)
            with opened("sqlite://", new=True) as storage:  # in memory: a disk waits for each of hundreds of small writes
                stored = optuna.create_study(storage=storage, study_name="titrant", direction=self.metric.direction)
                name_metric(stored, self.metric.name)
                for tried in self.tried:
                    if time.monotonic() > until and self.members is None:
                        break
                    stored.add_trial(trial_of(tried.record, self.region, self._clock_of(tried)))
                with storage.engine.connect() as connection:
                    connection.exec_driver_sql("VACUUM INTO ?", (str(written),))
            written.replace(self.folder / "study.db")
        except TROUBLES as error:  # a full disk is no reason to lose the model, which comes after this
            written.unlink(missing_ok=True)
            self.notes.append(say("study.db could not be written: {reason}.", reason=reason(error)))

    def _clock_of(self, tried: Tried) -> Clock | None:
        """By which this command has trained a member; None for one of another command, or of an earlier part of the run."""
        earlier = {record.number for record in self.before}
        elsewhere = self.shared is not None and not self.shared.mine(tried.record)
        return None if elsewhere or tried.record.number in earlier else self.clock

    # ------------------------------------------------------------------ finals

    def _finals(self, finished: bool) -> Outcome:
        if self.best is None:
            raise BudgetError(
                say("The budget ended before any network was trained and scored. Give more time, or fewer rows or columns.")
            )
        self._exchange(min(_LAST_LOOK, _WRITING * max(0.0, self.clock.left)))
        leaders = sorted(self.tried, key=lambda tried: tried.rank(self.metric))
        share = 0.0 if self.members is not None else self._plan.baseline * (self.clock.end - self.clock.start)
        plain = self._baseline(share) if finished else None  # first, so that the finalists know what is left for them
        found = self._train_finalists(leaders) if finished else []
        interrupted = self._interrupted
        refused = bool(found) and self.members is None and self._failed(found[0].finalist, self.best, leaders[0])
        if found and not interrupted and not refused:
            problem, searched = self.development_problem(), found[0].leader.score
            recipe = found[0].finalist.networks[0].member.recipe
            contenders = [one.finalist for one in found[: None if self.ensemble else 1]]
            won = blended(problem, self._judging, contenders)
            return Outcome(
                won.networks, recipe, "refit", searched, won.score, plain, self.records, interrupted,
                weights=won.weights, temperatures=won.temperatures, band=problem.band(won.rows, won.predicted),
            )  # fmt: skip
        recipe, score = self.best.member.recipe, self.best.history.best
        return Outcome(
            [self.best], recipe, "checkpoint", score, None, plain, self.records, interrupted, refused, band=self.band(self.best)
        )

    def band(self, best: Trained) -> Tensor | None:
        """Of forecasts, the band around the predictions of the search's best network."""
        if not self._problem.is_wide:
            return None
        predicted = self._problem.predicted(best.network, best.encoder, self._validation)
        return self._problem.band(self._validation, predicted)

    def _failed(self, refit: Finalist, searched: Trained, leader: Tried) -> bool:
        """Whether a refit is far worse than the search's best on rows that neither learned from: it was cut too short.

        Args:
            refit: the final networks.
            searched: the best network that there is.
            leader: the best that was tried, whose network is not there if an earlier part of a run or another command had it.
        """
        common = torch.isin(refit.rows, self._validation)
        rows = refit.rows[common]
        if len(rows) == 0:
            return False
        target = self._problem.target[rows]
        before = torch.as_tensor(leader.loss)
        if searched.member.number == leader.member.number:
            before = self._problem.plain_loss(self._problem.predicted(searched.network, searched.encoder, rows), target)
        now = self._problem.plain_loss(refit.predicted[common], target)
        negligible = _NEGLIGIBLE if self._problem.is_regression else _NEGLIGIBLE_GUESS * math.log(self._problem.classes)
        return not bool(now <= _FAILED * before.clamp(min=negligible))

    @property
    def _interrupted(self) -> bool:
        return self.clock.interrupt is not None and self.clock.interrupt.asked

    def _train_finalists(self, leaders: list[Tried]) -> list[Contender]:
        parts = self._cut("folds")
        fewest = min(self._fewest_folds, max(2, len(parts)))  # groups may be fewer than folds
        return Finals(
            problem=self.development_problem(),
            parts=parts,
            metric=self.metric,
            judging=self._judging,
            clock=self.clock,
            plan=self._plan,
            pace=self._pace,
            factory=self.factory,
            seed=self.seed,
            length=self._length,
            number=self._number,
            fewest=fewest,
            timed=self.members is None,
            whole=self.folds is not None,
            best=self.best,
            tell=lambda folds: self._tell("refit", 0, folds, self.best),
            records=self.records,
        ).run(leaders)

    def _cut(self, name: str) -> list[Part]:
        """Folds of all development rows, cut anew for each repeat.

        Args:
            name: other folds for another name.
        """
        found: list[Part] = []
        for turn in range(self.repeats):
            seed = derived_seed(self.seed, name, *([turn] if turn else [])) % 2**31
            cut = folds_of(self.dataset, self._development.cpu(), self.folds or FOLDS, seed)
            found += [
                (rows.to(self.device), held_out.to(self.device), {"fold": place, "folds": len(cut), "cut": seed})
                for place, (rows, held_out) in enumerate(cut)
            ]
        return found

    def _baseline(self, share: float) -> Trained | None:
        """The plain baseline, trained on all development rows without looking at any held-out one, within `share` seconds."""
        recipe = self._start.baseline(len(self._development))
        problem = self._problem_on(self._development)
        member = Member(-2, recipe, derived_seed(self.seed, "baseline"), "baseline", self._development, self._validation[:1])
        self._tell("baseline", 0, 1, self.best)
        make = partial(Cohort, problem, metric=self.metric, clock=self.clock, factory=self.factory)
        task = partial(_within, make, member, self.clock, share if self.members is None else None)
        (cohort,) = self._pace.side_by_side([task], 1)
        return cohort.trained(0) if cohort.step > 0 else None

    # ------------------------------------------------------------------------

    def development_problem(self) -> Problem:
        """The data with everything outside test to learn from."""
        return self._problem_on(self._development)

    def final_problem(self, outcome: Outcome) -> Problem:
        """The problem that the final networks were trained on."""
        return self.development_problem() if outcome.kind == "refit" else self._problem

    def _problem_on(self, rows: Tensor) -> Problem:
        return self._problem.learning_from(rows)

    def _tell(self, phase: str, rung: int, alive: int, best: Trained | None, begun: int = 0) -> None:
        candidates = [trained for trained in (self.best, best) if trained is not None]
        self.best = min(candidates, key=lambda trained: rank_of(trained, self.metric), default=None)
        self.watch(phase, rung, alive, len(self.tried) + begun, self.best.history.best if self.best else None)


def _within(make: Callable[[list[Member]], Cohort], member: Member, clock: Clock, share: float | None) -> Cohort:
    """A network that is trained to its end, or so much shorter that this takes `share` seconds."""
    cohort = make([member])
    if share is not None:
        cohort.train(1, clock)
        pace = cohort.paced(cohort.step + _PROBED, clock)
        affordable = share / max(1e-9, pace * cohort.work(0, cohort.steps))
        if affordable < 1:
            cohort = make([replace(member, recipe=shortened(member.recipe, affordable))])
    cohort.advance(cohort.steps, clock)
    return cohort
