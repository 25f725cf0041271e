"""What is to be learned, and how its rows reach a network: the one seam between kinds of data and the training loop.

A problem holds the raw data on the device, once. The loop (`titrant.train.cohort`) knows no kind of data; it asks a problem for

    encoded    the tensors that rows are taken from, behind an encoder that is fitted on some rows
    ready      rows that were taken, as networks want them
    shape      what a network must know of the data; it makes the network
    seen_by    what members see of their rows while training: augmentation, and the exchange of parts between rows
    read       outputs as predictions

`titrant.train.tables`, `images`, `series` and `text` are the kinds there are.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from titrant.models.network import Net, Shape
from titrant.record import Task
from titrant.train.member import Member
from titrant.tricks.acting import Ledger, Streams
from titrant.tricks.data import Data

Inputs = tuple[Tensor, ...]
"""What a network reads, row by row: numbers and codes of a table, pixels of images."""

Reach = tuple[float, float]
"""The lowest and the highest value that a model of values predicts, in scaled form."""

EVALUATIONS = 40
"""How often a full training is evaluated."""

HELD = 1 << 22
"""Numbers of its widest layer that a network holds while it predicts: larger pieces are slower, as they leave the caches."""

_ROOM = 0.5  # of the range of targets, by which predictions may leave it on either side
_JUDGING = 0.1  # share of a training's time
_TINY = 1e-12  # a probability below which logarithms are not told apart


@dataclass(frozen=True)
class Encoded:
    """All rows after a frozen encoder: `inputs` [n, ...] each; `rows` are those that the encoder was fitted on."""

    rows: Tensor
    encoder: nn.Module
    inputs: Inputs


class Seen(Protocol):
    """What k members see of their rows while training."""

    def augmented(self, inputs: Inputs, turns: Tensor, progress: float = 1.0) -> Inputs:
        """What networks read of rows, after each member's augmentation.

        Args:
            inputs: fresh rows [k, b, ...] as they are kept, which may be changed in place.
            turns: [k, b], each row's number plus the epoch, by which tricks that alternate know whose turn it is.
            progress: the share of the training that lies behind, by which tricks that change know how far they are.
        """
        ...

    def cut(self, inputs: Inputs, share: Tensor) -> tuple[Inputs, Tensor]:
        """Parts of rows exchanged with the next row, and the share of each row that stays its own [k, b].

        Args:
            inputs: [k, b, ...].
            share: [k, 1], how much shall stay.
        """
        ...


class Problem(ABC):
    """A task on raw rows.

    Attributes:
        target: int64 [n] classes, or float [n] values, or float [n, h] several values for each row, as in a forecast.
        task: binary, multiclass or regression.
        classes: how many; 1 for regression.
        rows: int64, the rows that may be learned from; whatever is fitted looks at no other.
        device: where everything is.
    """

    target: Tensor
    task: Task
    classes: int
    rows: Tensor
    device: torch.device

    def parts(self) -> dict[str, Any]:
        """What makes an equal problem, by argument."""
        return {part.name: getattr(self, part.name) for part in fields(self) if part.repr}  # type: ignore[arg-type]  # kinds are dataclasses

    def learning_from(self, rows: Tensor) -> "Problem":
        """The same task with other rows to learn from."""
        return type(self)(**{**self.parts(), "rows": rows})

    @property
    @abstractmethod
    def columns(self) -> int:
        """Numbers that a network holds of a row, at least."""

    @abstractmethod
    def encoder(self, data: Data, rows: Tensor) -> nn.Module:
        """An encoder that is fitted on `rows`; kept for others that ask for the same."""

    @abstractmethod
    def encoded(self, data: Data, rows: Tensor) -> Encoded:
        """All rows for the encoder that is fitted on `rows`; kept as well."""

    @abstractmethod
    def raw(self, rows: Tensor) -> Inputs:
        """The rows as they came, for an encoder."""

    @abstractmethod
    def shape(self, encoder: nn.Module) -> Shape:
        """What a network must know of the encoded data."""

    @abstractmethod
    def seen_by(self, members: Sequence[Member], streams: Streams, ledger: Ledger) -> Seen:
        """What members see of their rows while training."""

    def evaluations(self, trained: int, judged: int) -> int:
        """How often a full training is evaluated at most.

        Args:
            trained: rows that it sees, each time counted.
            judged: rows that an evaluation predicts.
        """
        return EVALUATIONS

    def band(self, rows: Tensor, predicted: Tensor) -> Tensor | None:
        """Of forecasts, how far 80 % of what comes lies around predictions that never saw it [2, h]; None of other tasks.

        Args:
            rows: [m].
            predicted: for these rows [m, h].
        """
        return None

    def receipts(self, member: Member) -> dict[str, tuple[float, float]]:
        """Units that the data slot's tricks acted on and saw, by path, for what follows from the data alone."""
        return {}

    def ready(self, inputs: Inputs) -> Inputs:
        """Rows taken from `Encoded.inputs` as networks want them."""
        return inputs

    @property
    def is_regression(self) -> bool:
        """True where the target is a number."""
        return self.task == "regression"

    @property
    def outputs(self) -> int:
        """What a network puts out for a row."""
        if not self.is_regression:
            return self.classes
        return self.target.shape[1] if self.is_wide else 1

    @property
    def is_wide(self) -> bool:
        """True where each row has several values to predict."""
        return self.target.dim() == 2

    def flat(self, x: Tensor) -> Tensor:
        """Predictions or targets as scores want them: several values [..., n, h] of a row count like rows [..., n·h]."""
        return x.flatten(-2) if self.is_wide else x

    @property
    def centre(self) -> float:
        """Mean of the target over the learnable rows; 0 for classes."""
        return self._scale[0]

    @property
    def width(self) -> float:
        """Standard deviation of the target over the learnable rows, 1 where it does not vary or for classes."""
        return self._scale[1]

    @cached_property
    def _scale(self) -> tuple[float, float]:
        """Mean and deviation of the target, which every piece of an evaluation asks for."""
        if not self.is_regression:
            return 0.0, 1.0
        learned = self.target[self.rows].double()
        return float(learned.mean()), float(learned.std(correction=0)) or 1.0

    @cached_property
    def reach(self) -> Reach | None:
        """Bounds of predictions: the range of the learnable targets, and half of it beyond on either side.

        None for classes, and for forecasts, which may follow a trend out of them. After RealMLP (Holzmüller et al. 2024, arXiv
        2407.04491), which cuts at the range itself. Departure: room for trends. On eleven tables, cutting at the range would
        have changed no held-out RMSE by more than 0.002 %.
        """
        if not self.is_regression or self.is_wide:
            return None
        low, high = (float(end) for end in torch.aminmax(self.target[self.rows].double()))
        room = _ROOM * (high - low)
        return (low - room - self.centre) / self.width, (high + room - self.centre) / self.width

    def scaled_target(self) -> Tensor:
        """What the networks learn: classes, or values with mean 0 and variance 1."""
        if not self.is_regression:
            return self.target
        return ((self.target.double() - self.centre) / self.width).float()

    def plain_loss(self, predicted: Tensor, target: Tensor) -> Tensor:
        """The loss of predictions without any trick [...]: log loss, or the mean squared error of scaled values.

        Args:
            predicted: probabilities [..., n, c], or values [..., n] in the target's own unit.
            target: [..., n].
        """
        if self.is_regression:
            return ((self.flat(predicted).double() - self.flat(target)) / self.width).square().mean(-1)
        chosen = predicted.gather(-1, target.unsqueeze(-1)).squeeze(-1)
        return -chosen.clamp(min=1e-7).log().mean(-1)

    def class_counts(self) -> Tensor:
        """Rows of each class among the learnable rows [c]."""
        return torch.bincount(self.target[self.rows], minlength=self.classes).float()

    @torch.no_grad()
    def predicted(self, network: Net, encoder: nn.Module, rows: Tensor) -> Tensor:
        """What a plain network behind its encoder predicts for rows: probabilities [n, c], or values in the target's unit."""
        network, encoder = deepcopy(network).to(self.device), deepcopy(encoder).to(self.device)
        pieces = torch.split(rows, max(16, HELD // (network.widest * network.views)))
        return torch.cat([self.read(network(*encoder(*self.raw(some))), network.views) for some in pieces])

    def read(self, outputs: Tensor, views: int) -> Tensor:
        """Outputs [..., v·b, o] as predictions: probabilities [..., b, c], or values [..., b] in the target's own unit."""
        if not self.is_regression:
            return probabilities(outputs, views)
        found, reach = values(outputs, views, self.is_wide), self.reach
        if reach is not None:  # a network that has diverged stays one: what is infinite is not cut here
            found = torch.where(found.isinf(), found, found.clamp(*reach))
        return found * self.width + self.centre


def thrifty_evaluations(trained: int, judged: int) -> int:
    """Evaluations that take about a tenth of the time of a training, where a step costs three times a prediction.

    Arguments as of `Problem.evaluations`.

    Example:
        >>> thrifty_evaluations(60_000, 5_000), thrifty_evaluations(10_000_000, 5_000)
        (2, 40)
    """
    return max(1, min(EVALUATIONS, round(_JUDGING * 3 * trained / max(1, 2 * judged))))


def probabilities(outputs: Tensor, views: int) -> Tensor:
    """Class probabilities [..., b, c] from logits [..., v·b, c], averaged over the views."""
    by_view = outputs.view(*outputs.shape[:-2], views, outputs.shape[-2] // views, outputs.shape[-1])
    return by_view.softmax(-1).mean(-3)


def tempered(probability: Tensor, temperature: float) -> Tensor:
    """Probabilities [..., c] whose logarithms are divided by a temperature, and which sum to 1 again; above 1 more even."""
    return (probability.clamp(min=_TINY).log() / temperature).softmax(-1)


def values(outputs: Tensor, views: int, wide: bool = False, reach: Reach | None = None) -> Tensor:
    """Values [..., b] from outputs [..., v·b, 1], averaged over the views; wide ones [..., b, h] from [..., v·b, h].

    Args:
        outputs: of a network.
        views: how many of its rows are one row of the data.
        wide: whether a row has several values.
        reach: bounds to which values are cut. A network may put out anything for a row that is unlike all that it has learned
            from, and one such row outweighs all others in a mean of squares.
    """
    mean = outputs.view(*outputs.shape[:-2], views, outputs.shape[-2] // views, outputs.shape[-1]).mean(-3)
    mean = mean if wide else mean.squeeze(-1)
    return mean if reach is None else mean.clamp(*reach)
