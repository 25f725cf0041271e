"""An ablation: what each trick of a recipe is worth, within a time.

    arms       the recipe and the plain baseline, with and without each trick; slower ones get references as slow
    contest    what they cost, the tuning of each, and their replicates, from look to look; what is decided leaves early
    effects    paired differences, their intervals and verdicts

The chance of any false "helps" or "hurts" among all tricks is at most 5 %: Holm's procedure over the tricks at every look, and
looks that share the level among them (see `titrant.evidence.statistics`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from titrant.errors import BudgetError
from titrant.evidence.arms import BASELINE, RECIPE, Comparison, at_own_rate, comparisons, nuisances
from titrant.evidence.contest import REPLICATES, Contest, Plan, difference, mean_curve, of_length
from titrant.evidence.importance import likely_pairs
from titrant.evidence.records import Ablation, ArmRecord, Cost, Effect, Pair, Share
from titrant.evidence.shares import shares
from titrant.evidence.statistics import LEVEL, Estimate, Verdict, holm, levels, verdict
from titrant.evidence.training import Trainings
from titrant.recipe import Recipe
from titrant.record import Receipt, finite
from titrant.search.doses import doses_at
from titrant.search.region import fitted
from titrant.texts import say

SMALLEST = 0.02
"""The smallest difference that matters, as a share of what the plain baseline leaves undone (its error, or 1 - R²)."""

_STEP = 0.1  # of the lengths of references that train as long in seconds as a slower or faster arm
_EQUAL = 0.15  # arms whose steps differ by less than this share are taken to be equally fast: so far measurements stray
_SHARES = 1 / 3  # of the time, kept for shares where they are asked for
_FARTHEST = 4.0  # times as long that a reference trains at most


def looks_of(replicates: int) -> list[int]:
    """Replicates after which a study looks at its results.

    Example:
        >>> looks_of(32), looks_of(9), looks_of(5)
        ([8, 16, 32], [5, 9], [5])
    """
    parts = 4 if replicates >= 12 else 2 if replicates >= 8 else 1
    return sorted({math.ceil(replicates / parts), math.ceil(replicates / min(parts, 2)), replicates})


@dataclass
class Study:
    """An ablation in progress.

    Args:
        trainings: trains and judges.
        recipe: whose tricks are in question.
        baseline: the plain baseline for these data.
        tricks: paths of slots or groups; None for all that the recipe has.
        reads: the kind of data.
        watch: is told (phase, arms, trainings done).
        replicates: of each arm at most.
        smallest: the smallest difference that matters, in the metric's unit; by default a share of the baseline's error.
        pairs: of tricks that the recipe has, whose interaction is measured: how many.
        importance: how much each slot mattered in a search; decides which pairs.
        shares: whether the whole gain is divided among groups of tricks, for which a third of the time is kept.
    """

    trainings: Trainings
    recipe: Recipe
    baseline: Recipe
    tricks: Sequence[str] | None
    reads: str
    watch: Callable[[str, int, int], None]
    replicates: int = REPLICATES
    smallest: float | None = None
    pairs: int = 0
    importance: Mapping[str, float] = field(default_factory=dict)
    shares: bool = False
    _equal: dict[tuple[str, str], str] = field(default_factory=dict)
    _verdicts: dict[str, Verdict] = field(default_factory=dict)
    _given_up: list[str] = field(default_factory=list)

    def run(self) -> Ablation:
        """Trains, judges and concludes; what is there when a person interrupts or the clock rings is concluded from.

        Raises:
            BudgetError: there is no time for a study, or it ended before every arm was judged twice.
        """
        self.found, arms = comparisons(self.recipe, self.baseline, self.tricks, self.reads)
        self._pair_up(arms)
        self.contest = Contest(self.trainings, arms, self.watch, 1 - _SHARES if self.shares else 1.0)
        self.contest.measure()
        self._match_times()
        paths = nuisances(list(arms.values()), [one.trick for one in self.found])
        plan = self.contest.tune(paths, self._plan())
        looks = self._look(plan)
        if not self._complete():
            raise BudgetError(
                say("The time ended before every arm was trained and judged twice. Give more time, or name fewer tricks.")
            )
        return self._concluded(plan, paths, looks)

    def _plan(self) -> Plan:
        """The plan for the time that is left; if that is short, without the arms that add tricks to the baseline."""
        try:
            return self.contest.plan(self.replicates)
        except BudgetError:
            self.found = [replace(one, added=None) for one in self.found]
            wanted = set(self._active())
            self.contest.arms = {name: arm for name, arm in self.contest.arms.items() if name in wanted}
            plan = self.contest.plan(self.replicates)
            self._given_up.append(say("To keep the time, tricks were left out of the recipe, but not added to the baseline."))
            return plan

    def _pair_up(self, arms: dict[str, Recipe]) -> None:
        """Adds arms without both tricks of a pair."""
        absent = {one.trick: arms[one.absent] for one in self.found if one.present == RECIPE}
        self._pairs = likely_pairs(self.importance, list(absent), self.pairs)
        for one, other in self._pairs:
            neither = fitted(absent[one].replace(other, absent[other].at(other).model_dump()))
            arms[_neither(one, other)] = at_own_rate(neither, absent[one])

    def _match_times(self) -> None:
        """Gives each arm that is slower or faster than its reference a reference that trains as long in seconds."""
        contest = self.contest
        pairs = [(one.present, one.absent) for one in self.found]
        pairs += [(one.added, BASELINE) for one in self.found if one.added is not None]
        for arm, plain in pairs:
            times = contest.costs[arm].step / contest.costs[plain].step
            self._equal[arm, plain] = plain
            if abs(times - 1) >= _EQUAL:
                times = min(_FARTHEST, max(1 / _FARTHEST, round(times / _STEP) * _STEP))
                name = say("{arm}, {times:.1f} times as long", arm=plain, times=times)
                cost = contest.costs[plain]
                contest.arms[name] = of_length(contest.arms[plain], times)
                contest.costs[name] = replace(cost, steps=math.ceil(cost.steps * times))
                self._equal[arm, plain] = name

    # ------------------------------------------------------------------- looks

    def _look(self, plan: Plan) -> list[int]:
        """Trains replicates from look to look; what is decided leaves. Returns the looks that were made."""
        looks = looks_of(plan.replicates)
        parts = levels([look / plan.replicates for look in looks])
        made = [0]
        for look, level in zip(looks, parts, strict=True):
            self.contest.compare(self._active(), range(made[-1], look))
            if not self._complete():
                break
            made.append(look)
            over = look == looks[-1] or self.trainings.clock.left <= 0
            self._judge(level, over)
            if over or len(self._verdicts) == len(self.found):
                break
        return made[1:]

    def _complete(self) -> bool:
        """Whether every effect of leaving a trick out has two replicates, at equal time and at equal epochs."""
        needed = [(one.present, other) for one in self.found for other in (one.absent, self._equal[one.present, one.absent])]
        return all(self._met(*arms) for arms in (*needed, (RECIPE, BASELINE)))

    def _met(self, *arms: str) -> bool:
        """Whether arms have two replicates in common, fewer than which tell nothing."""
        return len(set.intersection(*(set(self.contest.outcomes[name]) for name in arms))) >= 2

    def _active(self) -> list[str]:
        """Arms that open questions need."""
        wanted = {RECIPE, BASELINE}
        for pair in self._pairs:
            wanted |= {_neither(*pair), *(f"without {trick}" for trick in pair)}
        for one in self.found:
            if one.trick not in self._verdicts:
                wanted |= {one.present, one.absent, self._equal[one.present, one.absent]}
                if one.added is not None:
                    wanted |= {one.added, self._equal[one.added, BASELINE]}
        return [name for name in self.contest.arms if name in wanted]

    def _judge(self, level: float, last: bool) -> None:
        estimates = [self._worth(one) for one in self.found]
        adjusted = holm([estimate.p for estimate in estimates])
        for one, estimate, chance in zip(self.found, estimates, adjusted, strict=True):
            reached = verdict(estimate, chance, level, self._smallest())
            if one.trick not in self._verdicts and (last or reached in {"helps", "hurts"}):
                self._verdicts[one.trick] = reached

    def _smallest(self) -> float:
        if self.smallest is not None:
            return self.smallest
        score = self.contest.score(BASELINE).mean
        return SMALLEST * (1 - score if self.trainings.metric.direction == "maximize" else score)

    # ----------------------------------------------------------------- effects

    def _worth(self, one: Comparison) -> Estimate:
        """The recipe with the trick over the recipe without it, in equal time."""
        return self.contest.over(one.present, self._equal[one.present, one.absent])

    def _added(self, one: Comparison) -> Estimate | None:
        """The plain baseline with the trick over the baseline, in equal time; None without two replicates."""
        if one.added is None or not self._met(one.added, BASELINE, self._equal[one.added, BASELINE]):
            return None
        return self.contest.over(one.added, self._equal[one.added, BASELINE])

    def _concluded(self, plan: Plan, paths: list[str], looks: list[int]) -> Ablation:
        adjusted = holm([self._worth(one).p for one in self.found])
        added = [self._added(one) for one in self.found]
        alone = iter(holm([estimate.p for estimate in added if estimate is not None]))
        effects = [
            self._effect(one, chance, estimate, 1.0 if estimate is None else next(alone))
            for one, chance, estimate in zip(self.found, adjusted, added, strict=True)
        ]
        never = [
            say("{trick} ({kind}) was on and never acted.", trick=one.trick, kind=one.kind)
            for one in effects
            if one.verdict == "never acted"
        ]
        divided = self._shares(plan) if self.shares else []
        described = self.contest.described(plan, paths)
        described["warnings"] += [*self._given_up, *never]
        return Ablation(
            **described,
            task=self.trainings.dataset.schema.task,
            recipe=self.recipe.plain(),
            looks=looks,
            smallest=self._smallest(),
            effects=effects,
            arms=[self._arm(name, paths) for name in self.contest.arms],
            pairs=[pair for pair in (self._interaction(*pair) for pair in self._pairs) if pair is not None],
            shares=divided,
        )

    def _interaction(self, one: str, other: str) -> Pair | None:
        """What two tricks are worth together beyond what each is worth in the absence of the other; None if cut off."""
        parts = ((RECIPE, 1.0), (f"without {one}", -1.0), (f"without {other}", -1.0), (_neither(one, other), 1.0))
        if not self._met(*(name for name, _ in parts)):
            return None
        return Pair(first=one, second=other, value=difference(self.contest.gain(*parts)))

    def _shares(self, plan: Plan) -> list[Share]:
        recipe, contest = self.contest.arms[RECIPE], self.contest
        absent = {one.trick: contest.arms[one.absent] for one in self.found if one.present == RECIPE}
        seconds = contest.costs[RECIPE].training * plan.length * plan.share
        return shares(
            self.trainings, recipe, absent, seconds, lambda done: self.watch(say("sharing out"), len(contest.arms), done)
        )

    def _effect(self, one: Comparison, adjusted: float, added: Estimate | None, alone: float) -> Effect:
        contest = self.contest
        acted = self._acted(one)
        present, absent = contest.costs[one.present], contest.costs[one.absent]
        return Effect(
            trick=one.trick,
            kind=one.kind,
            instead=one.instead,
            without=difference(self._worth(one)),
            without_epochs=difference(contest.over(one.present, one.absent)),
            added=None if added is None else difference(added),
            added_epochs=None if added is None or one.added is None else difference(contest.over(one.added, BASELINE)),
            adjusted=adjusted,
            verdict="never acted" if acted == 0 else self._verdicts.get(one.trick, "no evidence"),
            verdict_added=None if added is None else verdict(added, alone, LEVEL, self._smallest()),
            time=present.step / absent.step,
            memory=present.memory / absent.memory,
            acted=acted,
        )

    def _acted(self, one: Comparison) -> float | None:
        """Share of its units that a trick acted on in the arm that has it."""
        receipts = [
            receipt
            for outcome in self.contest.outcomes[one.present].values()
            for receipt in outcome.receipts
            if receipt.trick == one.trick
        ]
        seen = sum(receipt.seen for receipt in receipts)
        return sum(receipt.acted for receipt in receipts) / seen if seen else None

    def _arm(self, name: str, paths: Sequence[str]) -> ArmRecord:
        contest = self.contest
        outcomes, recipe, costs = contest.outcomes[name], contest.tuned[name], contest.costs[name]
        score = contest.score(name) if outcomes else None
        low, high = (math.inf, math.inf) if score is None else score.interval()
        return ArmRecord(
            name=name,
            recipe=recipe.plain(),
            tuned=doses_at(recipe, paths),
            score=None if score is None else finite(score.mean),
            low=finite(low),
            high=finite(high),
            count=len(outcomes),
            cost=Cost(seconds=costs.step, memory=costs.memory),
            diverged=sum(outcome.diverged for outcome in outcomes.values()),
            receipts=next((outcome.receipts for outcome in outcomes.values()), list[Receipt]()),
            curve=mean_curve([outcome.curve for outcome in outcomes.values()]),
        )


def _neither(one: str, other: str) -> str:
    return f"without {one} and {other}"
