"""What goes into training and what comes out: a member, its history, and the network that it became."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from titrant.models.network import Net
from titrant.recipe import Recipe
from titrant.record import Point, Receipt
from titrant.tricks.stop import Last


@dataclass(frozen=True)
class Member:
    """One recipe to be trained.

    Args:
        number: unique in a run.
        recipe: how.
        seed: of all its random streams.
        origin: who proposed it.
        rows: int64, its training rows. Members that share rows share the tensor.
        held_out: int64, the rows that judge it while it trains.
        fold: which fold of the development rows `held_out` is, as the fields of `titrant.predictor.Origin`; None for none.
    """

    number: int
    recipe: Recipe
    seed: int
    origin: str
    rows: Tensor
    held_out: Tensor
    fold: Mapping[str, int] | None = None


@dataclass
class History:
    """What has happened to one member so far."""

    curve: list[Point] = field(default_factory=list)
    best: float = float("nan")
    best_loss: float = float("inf")
    best_step: int = 0
    seconds: float = 0.0
    diverged: bool = False
    finished: bool = False
    rung: int = 0

    def copy(self) -> "History":
        """A copy that goes its own way."""
        return replace(self, curve=list(self.curve))

    @property
    def alive(self) -> bool:
        """True while more steps can change the result."""
        return not (self.diverged or self.finished)


@dataclass(frozen=True)
class Trained:
    """A member's network as it left training.

    Args:
        member: which.
        network: plain, on the CPU, in evaluation mode.
        encoder: the frozen first layer that it was trained behind.
        history: its curve and end.
        receipts: what its tricks did.
        steps: steps taken.
        epochs: passes over its training rows.
    """

    member: Member
    network: Net
    encoder: nn.Module
    history: History
    receipts: list[Receipt]
    steps: int
    epochs: float

    @property
    def taken(self) -> int:
        """Steps of which the network is the result: without early stopping those up to the last evaluation."""
        last = isinstance(self.member.recipe.stop, Last) and self.history.best_step > 0
        return self.history.best_step if last else self.steps
