"""A cure: what the doctor finds in a recipe's training is mended one remedy at a time, and kept only if that is shown to help.

    observe    one training of the recipe as it stands, under the doctor's eye; next is the gravest finding that it can mend
    try        the recipe with and without the remedy, again and again with the same rows and seeds, on tuning rows
    keep       what helps, then observe again; what does not may have laid another sickness bare, whose remedy goes on top
    prove      the recipe as it was against the cured one, with fresh seeds, on rows that chose nothing

A remedy helps if the metric or the loss is better in so many replicates that chance is no explanation (Wilcoxon's signed-rank
test, one-sided, p doubled for the two measures; its level of 5 % is divided by the ways in which a remedy is tried): by
ranks, because one run of a sick recipe may be wild; by the loss as well, because it tells first steps towards health where a
metric is luck. Of ways that help, the one with the best metric is kept. Whether all that was kept is worth anything, the
proof says.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from scipy.stats import wilcoxon

from titrant.doctor.attach_recipe import observed
from titrant.doctor.finding import Finding
from titrant.doctor.rules import diagnose
from titrant.errors import BudgetError
from titrant.evidence.contest import Contest, Plan, difference
from titrant.evidence.records import Cure, Difference, Remedy
from titrant.evidence.statistics import LEVEL, paired
from titrant.evidence.training import Outcome, Trainings
from titrant.recipe import Recipe
from titrant.record import finite
from titrant.search.remedies import remedies
from titrant.space import flatten
from titrant.texts import say
from titrant.train.cohort import Cohort

REPLICATES = 10
"""Of each arm, and twice as many for the proof."""

_LOST = 25.0  # the loss without a usable network
_DEEPEST = 3  # remedies on top of one another before one of them must help
_FRESH = 500_000  # the number of the first replicate that proves


@dataclass
class Treatment:
    """A cure in progress.

    Args:
        trainings: trains and judges.
        recipe: the patient.
        reads: the kind of data.
        watch: is told (phase, arms, trainings done).
        replicates: of each arm.
    """

    trainings: Trainings
    recipe: Recipe
    reads: str
    watch: Callable[[str, int, int], None]
    replicates: int = REPLICATES
    _remedies: list[Remedy] = field(default_factory=list)
    _tried: set[tuple[str, Recipe]] = field(default_factory=set)
    _late: bool = False

    def run(self) -> Cure:
        """Observes, tries, keeps and proves; a late clock or a person ends the trying, and what was kept is proved.

        Raises:
            BudgetError: there is no time to try one remedy.
        """
        self._contest = Contest(self.trainings, {}, self.watch)
        self.trainings.settle(self.recipe)
        current = self._arm(say("as it was"), self.recipe)
        before = after = self._observe(self.recipe)
        clock = self.trainings.clock
        if clock.left <= 0 and not (clock.interrupt and clock.interrupt.asked):
            raise BudgetError(say("There is no time to observe one training of the recipe. Give more time."))
        while not self._late and (found := self._next(after, self._contest.arms[current])) is not None:
            kept = self._treat(current, *found)
            if kept is not None:
                current, after = kept, self._observe(self._contest.arms[kept])
        return self._concluded(current, before, after)

    def _treat(self, current: str, found: Finding, ways: list[Recipe]) -> str | None:
        """Tries a remedy, and on top of it that for what it lays bare; the name of the arm that is kept, if one is."""
        rules = [found.rule]
        for depth in range(_DEEPEST):
            best, kept = self._try(current, rules, found, ways)
            if kept or best is None or depth == _DEEPEST - 1:
                return best if kept else None
            beneath = self._next(self._observe(self._contest.arms[best]), self._contest.arms[best])
            if beneath is None:
                return None
            found, ways = beneath
            rules.append(found.rule)
        return None

    # ---------------------------------------------------------------- observing

    def _observe(self, recipe: Recipe) -> list[Finding]:
        self.watch(say("observing"), len(self._contest.arms), self.trainings.done)
        trainings = self.trainings
        member = trainings.replicate(0).member(0, recipe)
        cohort = Cohort(trainings.problem, [member], trainings.metric, trainings.clock, trainings.factory)
        return diagnose(observed(cohort, trainings.clock))

    def _next(self, findings: list[Finding], recipe: Recipe) -> tuple[Finding, list[Recipe]] | None:
        """The first finding whose remedy was not tried on this recipe yet, and the recipe with it in each of its ways."""
        for found in findings:
            if found.level == "note" or (found.rule, recipe) in self._tried:
                continue
            self._tried.add((found.rule, recipe))
            ways = remedies(recipe, found, self.reads)
            if ways:
                return found, ways
        return None

    # ------------------------------------------------------------------- trying

    def _arm(self, name: str, recipe: Recipe) -> str:
        contest = self._contest
        contest.arms[name] = contest.tuned[name] = recipe
        contest.costs[name] = self.trainings.cost(recipe)
        return name

    def _try(self, current: str, rules: list[str], found: Finding, ways: list[Recipe]) -> tuple[str | None, bool]:
        """Tries the ways of a remedy against the recipe as it stands; the best arm, and whether it is kept."""
        contest = self._contest
        names = [self._arm(say("{rule}, remedy {number}", rule=found.rule, number=len(contest.arms)), way) for way in ways]
        arms = names if contest.outcomes[current] else [current, *names]
        each = sum(contest.costs[name].training for name in arms)
        count = self._affordable(each, current, names)
        fewest = _fewest(len(names))
        if count < fewest:
            self._late = True
            if not self._remedies:
                raise BudgetError(
                    say("There is no time to try a remedy for {rule}: {seconds:.0f} seconds would be needed. Give more time.",
                        rule=found.rule, seconds=fewest * each / self.trainings.pace.lanes)
                )  # fmt: skip
            return None, False
        contest.compare(arms, range(count))
        gains = {name: self._gain(name, current) for name in names}
        allowed = LEVEL / len(names)
        helped = [name for name in names if gains[name].p <= allowed]
        best = max(helped or names, key=lambda name: gains[name].mean if gains[name].count else -math.inf)
        kept = bool(helped)
        self._remedies.append(
            Remedy(
                rule=" + ".join(rules),
                level=found.level,
                where=found.where,
                evidence=found.evidence,
                change=changes(contest.arms[current], contest.arms[best]),
                gain=gains[best],
                allowed=allowed,
                kept=kept,
            )
        )
        return best, kept

    def _affordable(self, each: float, current: str, names: list[str]) -> int:
        """Replicates that leave time for the proof and for another look."""
        costs = self._contest.costs
        slowest = max(costs[name].training for name in names)
        proof = 2 * self.replicates * (costs[next(iter(costs))].training + max(slowest, costs[current].training))
        lanes = self.trainings.pace.lanes
        left = self.trainings.clock.left - proof / lanes - slowest
        return min(self.replicates, math.floor(left * lanes / max(each, 1e-9)))

    def _gain(self, name: str, current: str) -> Difference:
        """How much better an arm's metric is on tuning rows, paired over replicates; p speaks for metric or loss."""
        outcomes, metric = self._contest.outcomes, self.trainings.metric
        sign = 1 if metric.direction == "maximize" else -1
        pairs = [(outcomes[name][r], outcomes[current][r]) for r in self._contest.common(name, current)]
        gains = [sign * (_score(one) - _score(other)) for one, other in pairs]
        lower = [_loss(other) - _loss(one) for one, other in pairs]
        p = min(1.0, 2 * min(_chance(gains), _chance(lower)))
        return difference(paired(gains)).model_copy(update={"p": p})

    # ------------------------------------------------------------------ proving

    def _concluded(self, current: str, before: list[Finding], after: list[Finding]) -> Cure:
        contest, trainings = self._contest, self.trainings
        first = next(iter(contest.arms))
        proof = Contest(trainings, {name: contest.arms[name] for name in {first: 0, current: 0}}, self.watch)
        proof.tuned, proof.costs = dict(proof.arms), {name: contest.costs[name] for name in proof.arms}
        begun = time.monotonic()
        proof.compare(list(proof.arms), range(_FRESH, _FRESH + 2))
        round_ = max(1e-9, (time.monotonic() - begun) / 2)
        more = min(2 * self.replicates - 2, math.floor(0.9 * trainings.clock.left / round_))
        if more > 0:
            proof.compare(list(proof.arms), range(_FRESH + 2, _FRESH + 2 + more))
        known = len(proof.common(first, current))
        said = contest.described(Plan(length=1.0, share=1.0, candidates=0, replicates=known), [])
        if self._late:
            said["warnings"].append(say("The time ended before every remedy was tried."))
        return Cure(
            **said,
            task=trainings.dataset.schema.task,
            recipe=self.recipe.plain(),
            cured=contest.arms[current].plain(),
            before=before,
            after=after,
            remedies=self._remedies,
            score_before=finite(proof.score(first).mean) if known else None,
            score_after=finite(proof.score(current).mean) if known else None,
            gain=difference(proof.over(current, first)) if current != first and known >= 2 else None,
        )


def changes(recipe: Recipe, other: Recipe) -> dict[str, Any]:
    """Doses in which two recipes differ, by path, as the other one has them.

    Of a trick of another kind, the kind alone.

    Example:
        >>> changes(Recipe(), Recipe().replace("activation", "tanh").replace("learning_rate.peak", 0.1))
        {'activation': 'tanh', 'learning_rate.peak': 0.1}
    """
    one = flatten(recipe.plain())
    found = {path: value for path, value in flatten(other.plain()).items() if one.get(path) != value}
    switched = tuple(path.removesuffix("kind") for path in found if path.endswith(".kind"))
    return {
        path.removesuffix(".kind"): value
        for path, value in found.items()
        if path.endswith(".kind") or not path.startswith(switched or ("\0",))
    }


def _score(outcome: Outcome) -> float:
    """The metric on tuning rows; without a usable network that of a constant prediction, which judging rows tell as well."""
    return outcome.tuned if math.isfinite(outcome.tuned) else outcome.score


def _loss(outcome: Outcome) -> float:
    """The plain loss on tuning rows; without a usable network, that of knowing nothing many times over."""
    return min(outcome.tuned_loss, _LOST) if math.isfinite(outcome.tuned_loss) else _LOST


def _fewest(ways: int) -> int:
    """Replicates by which one of so many ways can be shown to help, if it helps in each: by metric or loss, see `_gain`.

    Example:
        >>> _fewest(1), _fewest(3)
        (6, 7)
    """
    return math.ceil(math.log2(2 * ways / LEVEL))


def _chance(gains: list[float]) -> float:
    """The chance that so many of the gains are above zero, and so far, if a remedy does nothing.

    Example:
        >>> _chance([0.1, 0.2, 0.05, 3.0, 0.3, 0.12, 0.11, 0.4])
        0.00390625
    """
    return float(wilcoxon(gains, alternative="greater").pvalue) if any(gains) else 1.0
