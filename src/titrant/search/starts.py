"""Where a search starts and how it spends its time, for each kind of data."""

from collections.abc import Callable
from dataclasses import dataclass

from titrant.recipe import Recipe
from titrant.search.halving import RUNGS, cost


@dataclass(frozen=True)
class Plan:
    """How a search divides its time. The defaults suit networks that train in seconds.

    Args:
        first, later: members of the first bracket and of later ones, where time allows.
        fewest: members of a bracket at least; trainings are shortened until so many fit.
        least: share of a full training, below which fewer members begin, two at least.
        searched: share of the search's time that the first bracket may plan with: most other recipes cost more.
        finals: share of the time that is kept for the finals.
        baseline: share of the time for the baseline's own final training.
        folds: networks that are trained in the finals at least; fewer are not worth it.
        first_final: share of the finals' time for the first finalist, so that a second one can be compared with it.
        worthwhile: times as long a training that would fit, for which a finalist begins anew.
        rivals: whether the plain baseline and others meet the best recipe in the finals.
        rungs: shares of a search's training at which members are compared.
        lengthens: whether finalists train as long as their recipes say, if there is time, however short the search's trainings
            were.
        paced_by: the place in the portfolio of the recipe whose steps are measured: a costly one where costs differ much.
        varied: whether the best recipe of each network and each kind of features comes to the finals before second ones: such
            networks err in different places, and the mean of their predictions gains most.
    """

    first: int = 24
    later: int = 16
    fewest: int = 6
    least: float = 1e-3
    searched: float = 0.5
    finals: float = 0.48
    baseline: float = 0.06
    folds: int = 3
    first_final: float = 0.7
    worthwhile: float = 1.15
    rivals: bool = True
    rungs: tuple[float, ...] = RUNGS
    lengthens: bool = False
    paced_by: int = 0
    varied: bool = False

    @property
    def cost(self) -> float:
        """Full trainings that a member of a bracket costs on average."""
        return cost(self.rungs)


@dataclass(frozen=True)
class Start:
    """What is known before a search, for one kind of data; functions of the number of training rows.

    Args:
        reads: the kind of data, as `Trick.reads` names it.
        baseline: the plain baseline.
        portfolio: strong recipes, in the order in which they deserve to be tried.
        batch: a suited batch size.
        plan: how the search divides its time.
    """

    reads: str
    baseline: Callable[[int], Recipe]
    portfolio: Callable[[int], list[Recipe]]
    batch: Callable[[int], int]
    plan: Plan
