"""The model's first layer: raw columns to scaled numbers and known codes, fitted on training rows alone.

It learns nothing by gradient, so training applies it once to all rows; in a saved model it comes first and takes raw rows.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from titrant.data.schema import UNSEEN
from titrant.tricks.data import Data, OneHot, ScaleTrick

_SCALE = "scale_"


class Encoder(nn.Module):
    """Raw numbers [n, f] with NaN and codes [n, c] to numbers [n, f + m] without NaN and known codes [n, c].

    The m added columns are indicators: 1 where the number was missing, for columns with missing values in training rows.

    Args:
        data: the recipe's data slot.
        features: f.
        cardinalities: codes of each code column, the two reserved ones included.
        tensors: `constants` of the scaler by name with the prefix `scale_`, `gaps` (positions of the m columns) and `known`
            (for each code of each column the code that the network sees). `fit` finds them.
    """

    gaps: Tensor
    offsets: Tensor
    known: Tensor

    def __init__(self, data: Data, features: int, cardinalities: Sequence[int], tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.scale = data.scale
        self.features = features
        self.cardinalities = _kept(data, cardinalities)
        self.constants = [name.removeprefix(_SCALE) for name in tensors if name.startswith(_SCALE)]
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)
        offsets = torch.tensor([0, *cardinalities[:-1]], dtype=torch.int32).cumsum(0, dtype=torch.int32)
        self.register_buffer("offsets", offsets, persistent=False)

    @classmethod
    def fit(
        cls, data: Data, numbers: Tensor, codes: Tensor, cardinalities: Sequence[int], may_miss: Tensor | None = None
    ) -> "Encoder":
        """An encoder for training rows.

        Args:
            data: the recipe's data slot.
            numbers: float32 [n, f], the training rows.
            codes: int32 [n, c], the training rows; 0 unseen, 1 missing, 2 and up the vocabulary, commonest first.
            cardinalities: codes of each code column, the two reserved ones included.
            may_miss: bool [f], columns that get an indicator; None finds them in the training rows.
        """
        constants = data.scale.fit(numbers, **data.scale.values()) if isinstance(data.scale, ScaleTrick) else {}
        gaps = numbers.isnan().any(0) if may_miss is None else may_miss
        tensors = {f"{_SCALE}{name}": value for name, value in constants.items()}
        tensors |= {"gaps": gaps.nonzero().flatten(), "known": _lookup(codes, cardinalities, _kept(data, cardinalities))}
        return cls(data, numbers.shape[1], cardinalities, tensors)

    def with_categories(self, data: Data, codes: Tensor, cardinalities: Sequence[int]) -> "Encoder":
        """An encoder that scales numbers as this one does and codes categories as `data` says; arguments as for `fit`."""
        tensors = dict(self.named_buffers())
        del tensors["offsets"]
        tensors["known"] = _lookup(codes, cardinalities, _kept(data, cardinalities))
        return Encoder(data, self.features, cardinalities, tensors)

    @property
    def width(self) -> int:
        """Number columns after encoding: f + m."""
        return self.features + len(self.gaps)

    def forward(self, numbers: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes any rows."""
        return self.numbers(numbers), self.codes(codes)

    def numbers(self, numbers: Tensor) -> Tensor:
        """Scaled numbers, 0 where missing, and indicators of what was missing."""
        constants = {name: getattr(self, f"{_SCALE}{name}") for name in self.constants}
        scaled = self.scale.apply(numbers, **constants) if isinstance(self.scale, ScaleTrick) else numbers
        missing = numbers[:, self.gaps].isnan().to(scaled.dtype)
        return torch.cat([scaled.nan_to_num(0.0, 0.0, 0.0), missing], dim=1)

    def codes(self, codes: Tensor) -> Tensor:
        """Codes that the network knows."""
        return self.known[(codes + self.offsets).long()] if codes.shape[1] else codes


def _kept(data: Data, cardinalities: Sequence[int]) -> list[int]:
    """Codes of each column that the network sees: with one-hot inputs only the commonest."""
    most = data.categories.most + 2 if isinstance(data.categories, OneHot) else max(cardinalities, default=0)
    return [min(size, most) for size in cardinalities]


def _lookup(codes: Tensor, cardinalities: Sequence[int], kept: Sequence[int]) -> Tensor:
    """For each code of each column the code that the network sees: itself, or unseen if training rows lack it."""
    tables = []
    for column, (size, seen) in enumerate(zip(cardinalities, kept, strict=True)):
        there = torch.bincount(codes[:, column].long(), minlength=size)[:size] > 0
        table = torch.arange(size, dtype=torch.int32, device=codes.device)
        tables.append(torch.where(there & (table < seen), table, UNSEEN).int())
    return torch.cat(tables) if tables else torch.zeros(0, dtype=torch.int32, device=codes.device)
