"""Rows on which an exported model is compared with the original: real ones, and ones in which much is missing or unseen."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from titrant.data.learnable import Learnable
from titrant.data.schema import MISSING, UNSEEN, Schema
from titrant.data.text import TextSchema
from titrant.exports.described import missing_of
from titrant.predictor import Predictor

_MOST = 500
_SPOILED = 50


@dataclass(frozen=True)
class Rows:
    """Rows, and what the original predicts.

    Args:
        inputs: tensors as the model's schema reads rows.
        predicted: [n, classes], values [n], or forecasts [n, h].
        unit: in which predictions are compared: 1 for probabilities, the target's standard deviation for values.
        dataset: all data of the run, with targets; None where they are not to be had.
        run: its folder.
    """

    inputs: tuple[Tensor, ...]
    predicted: Tensor
    unit: float
    dataset: Learnable | None = None
    run: Path | None = None

    @property
    def count(self) -> int:
        """Rows."""
        return len(self.predicted)

    def difference(self, found: object) -> float:
        """The largest difference to what another side predicts; infinite where shapes differ or something is no number."""
        other = torch.as_tensor(np.asarray(found), dtype=torch.float64)
        if other.shape != self.predicted.shape or not bool(other.isfinite().all()):
            return float("inf")
        return float((other - self.predicted.double()).abs().max() / self.unit)

    def cells(self, schema: Schema) -> dict[str, NDArray[Any]]:
        """Cells of a table whose reading gives these rows, by column or part of a date: what another program would feed.

        Returns:
            float64 [n] of numbers and parts of dates, strings [n] of categories.
        """
        numbers, codes = (tensor.double().numpy() for tensor in self.inputs)
        scales = {name: column for column in schema.columns for name in column.number_names if column.kind == "number"}
        found: dict[str, NDArray[Any]] = {}
        for place, name in enumerate(schema.number_names):
            column = scales.get(name)
            found[name] = numbers[:, place] if column is None else numbers[:, place] * column.scale + column.offset
        categories = [column for column in schema.columns if column.kind == "category"]
        for place, column in enumerate(categories):
            words = np.array([_unseen(column.vocabulary), missing_of(column.vocabulary), *column.vocabulary], dtype=object)
            found[column.name] = words[codes[:, place].astype(int)]
        return found


def _unseen(vocabulary: tuple[str, ...]) -> str:
    """A word that is no category."""
    word = "?"
    while word in vocabulary:
        word += "?"
    return word


def rows_of(predictor: Predictor, inputs: tuple[Tensor, ...] | None) -> Rows:
    """Rows for a comparison: some of these, evenly spaced; some with gaps; an empty one.

    Args:
        predictor: the original.
        inputs: rows as its schema reads them; None for none.
    """
    blank = fitting(predictor, predictor.schema.blank())
    parts = [blank, blank]
    if inputs is not None and len(inputs[0]):
        shown = torch.linspace(0, len(inputs[0]) - 1, min(len(inputs[0]), _MOST)).long()
        real = fitting(predictor, tuple(tensor[shown] for tensor in inputs))
        parts += [real, _spoiled(predictor, tuple(tensor[:_SPOILED] for tensor in real))]
    together = tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))
    unit = 1.0 if predictor.classifies else predictor.width
    return Rows(together, predictor.raw(*together), unit)


def fitting(predictor: Predictor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Rows whose shapes are those of an exported model: texts as long as the longest that was known."""
    if not isinstance(predictor.schema, TextSchema):
        return inputs
    (tokens,) = inputs
    tokens = tokens[:, : predictor.schema.longest]
    return (torch.nn.functional.pad(tokens, (0, predictor.schema.longest - tokens.shape[1])),)


def _spoiled(predictor: Predictor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Rows of which a third lacks cells, and of tables a third has categories that the model does not know."""
    holes = torch.Generator().manual_seed(0)
    found = []
    for tensor in inputs:
        spoiled = tensor.clone()
        lost = torch.rand(tensor.shape, generator=holes) < 1 / 3
        if tensor.is_floating_point():
            spoiled[lost] = torch.nan
        elif isinstance(predictor.schema, Schema):
            spoiled[lost] = MISSING
            spoiled[torch.rand(tensor.shape, generator=holes) < 1 / 3] = UNSEEN
        found.append(spoiled)
    return tuple(found)
