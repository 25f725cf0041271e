"""What the search tells a person while it runs, as one small protocol."""

from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from titrant.record import DataSummary, Summary


class View(Protocol):
    """Watches one run from its start to its result; used as a context manager so that a terminal is always left in order.

    Every method may be called from one thread only and returns at once: `update` may be called for every training step.
    """

    def __enter__(self) -> Self:
        """Begins to watch."""
        ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leaves the terminal as it was, whatever happened."""
        ...

    def reading(self, done: int, every: int) -> None:
        """Pictures are being decoded; called often, before `start`.

        Args:
            done: pictures that are decoded.
            every: all pictures.
        """
        ...

    def start(self, title: str, budget: float, data_summary: DataSummary) -> None:
        """The data are read and the search begins.

        Args:
            title: what is being done, for example `fit adult.csv`.
            budget: seconds of wall clock for the whole command.
            data_summary: the data as the run understood it.
        """
        ...

    def update(
        self,
        phase: str,
        rung: int,
        members_alive: int,
        members_total: int,
        best_score: float | None,
        metric: str,
        seconds_left: float,
    ) -> None:
        """Where the run stands.

        Args:
            phase: what is going on, in a person's words: search, refit, evaluation, ...
            rung: the rung under way, from 0.
            members_alive: members of the present cohort that still train.
            members_total: members tried so far.
            best_score: validation score of the leading recipe.
            metric: the metric of that score.
            seconds_left: until the budget ends.
        """
        ...

    def studying(self, phase: str, arms: int, trainings: int, seconds_left: float) -> None:
        """Where a study stands; may be called as often as `update`.

        Args:
            phase: what is going on, in a person's words: measuring costs, tuning, comparing, ...
            arms: that are compared.
            trainings: done so far.
            seconds_left: until the budget ends.
        """
        ...

    def note(self, text: str) -> None:
        """Something that a person should know now, such as a column that was left out."""
        ...

    def finish(self, summary: Summary, folder: Path | None = None) -> None:
        """The run is over; shows its result.

        Args:
            summary: the headline of the run.
            folder: where the run was written, None if it was not.
        """
        ...
