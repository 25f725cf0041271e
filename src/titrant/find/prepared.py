"""What all finders begin with: the data as a problem, the recipe, the clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from titrant.clock import Clock, Interrupt, seconds
from titrant.models.network import Factory
from titrant.recipe import Recipe
from titrant.report.terminal import QuietView
from titrant.studies import Asking, read_asked
from titrant.texts import say
from titrant.train.cohort import Cohort
from titrant.train.hardware import device_of, prepare
from titrant.train.kinds import problem_of
from titrant.train.member import Member
from titrant.train.memory import Needs, needs_of
from titrant.train.metrics import Metric, metric_for
from titrant.train.problem import Problem
from titrant.view import View


@dataclass(frozen=True)
class Prepared:
    """Ready to train.

    Args:
        problem: the data.
        recipe: in question.
        metric: what evaluations measure.
        rows, held_out: to learn from, and to be judged on.
        seed: of all random numbers.
        factory: the network of `model: custom`.
        limit: the whole budget in seconds.
        clock: rings at its end.
    """

    problem: Problem
    recipe: Recipe
    metric: Metric
    rows: Tensor
    held_out: Tensor
    seed: int
    factory: Factory | None
    limit: float
    clock: Clock

    def member(self, recipe: Recipe, number: int = 0) -> Member:
        """A member with a recipe; all begin with the same weights and see the same batches."""
        return Member(number, recipe, self.seed, "find", self.rows, self.held_out)

    def cohort(self, members: list[Member]) -> Cohort:
        """Members in training."""
        return Cohort(self.problem, members, self.metric, self.clock, self.factory)

    def needs(self, recipe: Recipe) -> Needs:
        """The memory that a training by a recipe takes."""
        return needs_of(self.problem, self.member(recipe), self.factory)

    def refuse_interrupt(self) -> None:
        """Ends if a person asked for it.

        Raises:
            KeyboardInterrupt: somebody did.
        """
        if self.clock.interrupt is not None and self.clock.interrupt.asked:
            raise KeyboardInterrupt(say("Interrupted before anything could be said."))


@contextmanager
def prepared(asking: Asking, budget: str | float, view: View | None, started: float | None) -> Iterator[Prepared]:
    """Reads what is asked for, and shows that work has begun.

    Args:
        asking: data or a run, and the recipe.
        budget: wall clock for everything.
        view: watches.
        started: when the budget began, on the scale of `time.monotonic`; now if None.

    Raises:
        TitrantError: as for `titrant.ablate`.
    """
    limit = seconds(budget)
    watcher = view or QuietView()
    notes: list[str] = []
    with Interrupt() as interrupt, watcher:
        clock = Clock.of(limit, started, interrupt)
        device = device_of(asking.device)
        asked = read_asked(asking, notes, watcher)
        dataset = asked.dataset
        prepare(asked.recipe.hardware, device)
        watcher.start(say("{source}", source=dataset.summary.source), limit, dataset.summary)
        for note in notes:
            watcher.note(note)
        split = dataset.split
        development = split.development.to(device)
        problem = problem_of(dataset, split.train.to(device), device, development)
        yield Prepared(
            problem, asked.recipe, metric_for(dataset.schema.task), split.train.to(device), split.validation.to(device),
            asking.seed, asking.model, limit, clock,
        )  # fmt: skip
