"""What is to be learned: the raw data on the device, once, and its encodings, shared by all members that ask for the same."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeVar

import torch
from torch import Tensor

from titrant.models.encoder import Encoder
from titrant.models.table import TableNet, TableShape
from titrant.record import Task
from titrant.tricks.base import Trick
from titrant.tricks.data import Data

T = TypeVar("T")

_TINY = 1e-12  # a probability below which logarithms are not told apart


@dataclass(frozen=True)
class Encoded:
    """All rows after a frozen encoder: numbers [n, f + m], codes [n, c]; `rows` are those it was fitted on."""

    rows: Tensor
    encoder: Encoder
    numbers: Tensor
    codes: Tensor


@dataclass(frozen=True)
class Problem:
    """A task on raw rows.

    Args:
        numbers: float32 [n, f], NaN for missing.
        codes: int32 [n, c]; 0 unseen, 1 missing, 2 and up the vocabulary.
        target: int64 [n] classes, or float32 [n] values.
        cardinalities: codes of each code column.
        task: binary, multiclass or regression.
        classes: how many; 1 for regression.
        rows: int64, the rows that may be learned from; target scaling, class counts and indicators look at no other.
        device: where everything is.
    """

    numbers: Tensor
    codes: Tensor
    target: Tensor
    cardinalities: tuple[int, ...]
    task: Task
    classes: int
    rows: Tensor
    device: torch.device
    _encoders: dict[tuple[Trick, Trick, int], tuple[Tensor, Encoder]] = field(default_factory=dict, repr=False, compare=False)
    _encoded: dict[tuple[Trick, Trick, int], Encoded] = field(default_factory=dict, repr=False, compare=False)
    _locks: dict[tuple[Trick, int], Lock] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_regression(self) -> bool:
        """True where the target is a number."""
        return self.task == "regression"

    @property
    def centre(self) -> float:
        """Mean of the target over the learnable rows; 0 for classes."""
        return float(self.target[self.rows].double().mean()) if self.is_regression else 0.0

    @property
    def width(self) -> float:
        """Standard deviation of the target over the learnable rows, 1 where it does not vary or for classes."""
        if not self.is_regression:
            return 1.0
        spread = float(self.target[self.rows].double().std(correction=0))
        return spread if spread > 0 else 1.0

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
            return ((predicted.double() - target) / self.width).square().mean(-1)
        chosen = predicted.gather(-1, target.unsqueeze(-1)).squeeze(-1)
        return -chosen.clamp(min=1e-7).log().mean(-1)

    def class_counts(self) -> Tensor:
        """Rows of each class among the learnable rows [c]."""
        return torch.bincount(self.target[self.rows], minlength=self.classes).float()

    def encoder(self, data: Data, rows: Tensor) -> Encoder:
        """An encoder that is fitted on `rows`; kept for others that ask for the same.

        The cache is keyed by the tensor's identity, and keeps the tensor: members share their row tensors. Threads may ask at
        the same time; what one of them is making, others wait for.
        """
        key = (data.scale, data.categories, id(rows))
        with self._lock(data, rows), torch.no_grad():
            if key not in self._encoders:
                self._encoders[key] = (rows, self._fitted(data, rows))
            return self._encoders[key][1]

    def encoded(self, data: Data, rows: Tensor) -> Encoded:
        """All rows, encoded by the encoder that is fitted on `rows`; kept as well."""
        key = (data.scale, data.categories, id(rows))
        encoder = self.encoder(data, rows)
        with self._lock(data, rows), torch.no_grad():
            if key not in self._encoded:
                alike = self._alike(self._encoded, key)  # scaling is the dear part, and shared by all codings of categories
                numbers = encoder.numbers(self.numbers) if alike is None else alike.numbers
                self._encoded[key] = Encoded(rows, encoder, numbers, encoder.codes(self.codes))
            return self._encoded[key]

    def _lock(self, data: Data, rows: Tensor) -> Lock:
        return self._locks.setdefault((data.scale, id(rows)), Lock())

    def _alike(self, found: Mapping[tuple[Trick, Trick, int], T], key: tuple[Trick, Trick, int]) -> T | None:
        """What was made before with the same scaling on the same rows."""
        return next((made for (scale, _, place), made in list(found.items()) if (scale, place) == (key[0], key[2])), None)

    def _fitted(self, data: Data, rows: Tensor) -> Encoder:
        alike = self._alike(self._encoders, (data.scale, data.categories, id(rows)))
        if alike is not None:
            return alike[1].with_categories(data, self.codes[rows], self.cardinalities).to(self.device)
        may_miss = self.numbers[self.rows].isnan().any(0)
        return Encoder.fit(data, self.numbers[rows], self.codes[rows], self.cardinalities, may_miss).to(self.device)

    @torch.no_grad()
    def predicted(self, network: TableNet, encoder: Encoder, rows: Tensor) -> Tensor:
        """What a plain network behind its encoder predicts for rows: probabilities [n, c], or values in the target's unit."""
        network, encoder = deepcopy(network).to(self.device), deepcopy(encoder).to(self.device)
        return self.read(network(*encoder(self.numbers[rows], self.codes[rows])), network.views)

    def read(self, outputs: Tensor, views: int) -> Tensor:
        """Outputs [..., v·b, o] as predictions: probabilities [..., b, c], or values [..., b] in the target's own unit."""
        if self.is_regression:
            return values(outputs, views) * self.width + self.centre
        return probabilities(outputs, views)

    def shape(self, encoder: Encoder) -> TableShape:
        """What a network must know of the encoded data."""
        return TableShape(
            numbers=encoder.features,
            indicators=encoder.width - encoder.features,
            cardinalities=tuple(encoder.cardinalities),
            outputs=1 if self.is_regression else self.classes,
        )


def probabilities(outputs: Tensor, views: int) -> Tensor:
    """Class probabilities [..., b, c] from logits [..., v·b, c], averaged over the views."""
    by_view = outputs.view(*outputs.shape[:-2], views, outputs.shape[-2] // views, outputs.shape[-1])
    return by_view.softmax(-1).mean(-3)


def tempered(probability: Tensor, temperature: float) -> Tensor:
    """Probabilities [..., c] whose logarithms are divided by a temperature, and which sum to 1 again; above 1 more even."""
    return (probability.clamp(min=_TINY).log() / temperature).softmax(-1)


def values(outputs: Tensor, views: int) -> Tensor:
    """Values [..., b] from outputs [..., v·b, 1], averaged over the views."""
    return outputs.view(*outputs.shape[:-2], views, outputs.shape[-2] // views).mean(-2)
