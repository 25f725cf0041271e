"""When training ends, and which of its states is kept."""

from typing import Annotated, ClassVar, Literal

from titrant.space import Range
from titrant.tricks.base import Options, Trick

_Epochs = Annotated[
    float,
    Range(0.01, 10_000.0, log=True, search=(10.0, 200.0), unit="passes over the training rows", raising="longer training"),
]


class StopTrick(Trick):
    """A rule for the end of training."""

    unit: ClassVar[str] = "evaluations"
    epochs: float


class Last(StopTrick):
    """Trains for `epochs` and keeps the last state: no early stopping.

    Doses:
        epochs: passes over the training rows, 0.01 to 10,000, log. Raising it fits closer and can overfit.

    Example:
        >>> Last(epochs=30).epochs
        30.0

    Source: the textbook loop; what early stopping is measured against.
    """

    kind: Literal["last"] = "last"
    epochs: _Epochs = 50.0


class Early(StopTrick):
    """Keeps the state that scored best on validation rows, and stops when nothing better came for `patience` of the training.

    Doses:
        epochs: passes over the training rows at most, 0.01 to 10,000, log.
        patience: share of the whole training that may pass without a better score, 0.01 to 1; 1 never stops early, and still
            keeps the best state. Raising it wastes time and survives plateaus.

    Example:
        >>> Early(epochs=100, patience=0.2).patience
        0.2

    Source: Prechelt 1998, "Early stopping, but when?". Departure: patience is relative to the planned length, because schedules
    that fall to zero improve late. Interactions: with a schedule that ends low, much patience is cheap and safe.
    """

    kind: Literal["early"] = "early"
    epochs: _Epochs = 50.0
    patience: Annotated[
        float, Range(0.01, 1.0, off=1.0, search=(0.3, 0.3), unit="share of training", raising="stops later")
    ] = 0.3


Stop = Annotated[Last | Early, Options()]
"""The stop slot."""
