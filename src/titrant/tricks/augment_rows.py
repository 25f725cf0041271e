"""Augmentation of rows: each batch sees slightly different rows, so that a network cannot learn them by heart.

All kinds act on scaled numbers [k, b, f] and category codes [k, b, c] of a batch, and only while training.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from titrant.space import Range
from titrant.tricks.base import DataKind, Trick, Value


class RowTrick(Trick):
    """A kind of row augmentation."""

    unit: ClassVar[str] = "cells"
    reads: ClassVar[tuple[DataKind, ...]] = ("table",)
    draws: ClassVar[Literal["normal", "uniform"]] = "uniform"
    apply: ClassVar[Callable[..., tuple[Tensor, Tensor, Tensor]]]
    """`apply(numbers, codes, noise, **doses)`: new numbers, new codes, and which cells [k, b, f + c] were changed.

    Args:
        numbers: [k, b, f] scaled.
        codes: [k, b, c] integer; 0 means unknown.
        noise: [k, b, f + c], standard normal or uniform in [0, 1), as `draws` says.
    """


class GaussianNoise(RowTrick):
    """Adds independent normal noise to every scaled number; categories stay.

    x' = x + std · ε, ε ~ N(0, 1).

    Doses:
        std: standard deviation in units of the scaled column, 0 to 2, off at 0. Raising it smooths the learned function.

    Shape: unchanged.

    Example:
        >>> GaussianNoise(std=0.05)
        GaussianNoise(kind='gaussian', std=0.05)

    Source: Bishop 1995, "Training with noise is equivalent to Tikhonov regularization". Interactions: the scale of the noise
    means little when inputs are not scaled (`data.scale: off`).
    """

    kind: Literal["gaussian"] = "gaussian"
    draws: ClassVar[Literal["normal", "uniform"]] = "normal"
    std: Annotated[float, Range(0.0, 2.0, off=0.0, search=(0.0, 0.2), unit="scaled units", raising="smoother functions")] = 0.05

    @staticmethod
    def apply(numbers: Tensor, codes: Tensor, noise: Tensor, *, std: Value) -> tuple[Tensor, Tensor, Tensor]:
        """Adds the noise; see the class."""
        features = numbers.shape[-1]
        shift = std * noise[..., :features]
        changed = torch.zeros(noise.shape, dtype=torch.bool, device=noise.device)
        changed[..., :features] = shift != 0
        return numbers + shift, codes, changed


class FeatureMask(RowTrick):
    """Hides each cell with probability `p`: a number becomes 0, the column's centre, and a category becomes unknown.

    Doses:
        p: the share of cells hidden, 0 to 0.9, off at 0. Raising it forces the network to use redundant columns.

    Shape: unchanged.

    Example:
        >>> FeatureMask(p=0.1).p
        0.1

    Source: input dropout of Srivastava et al. 2014, as in the regularisation cocktails of Kadra et al. 2021 (arXiv 2106.11189).
    Departure: no rescaling of what is kept, because a scaled cell's centre is already neutral. It also trains the entry for
    unknown categories.
    """

    kind: Literal["mask"] = "mask"
    p: Annotated[float, Range(0.0, 0.9, off=0.0, search=(0.0, 0.3), unit="share", raising="more cells hidden")] = 0.1

    @staticmethod
    def apply(numbers: Tensor, codes: Tensor, noise: Tensor, *, p: Value) -> tuple[Tensor, Tensor, Tensor]:
        """Hides cells; see the class."""
        hidden = noise < p
        features = numbers.shape[-1]
        return numbers.masked_fill(hidden[..., :features], 0.0), codes.masked_fill(hidden[..., features:], 0), hidden


class SwapNoise(RowTrick):
    """Replaces each cell with probability `p` by the same column's cell of another row of the batch.

    Doses:
        p: the share of cells swapped, 0 to 0.9, off at 0. Raising it breaks the ties between columns more.

    Shape: unchanged.

    Example:
        >>> SwapNoise(p=0.15).p
        0.15

    Source: M. Jahrer's winning entry of Porto Seguro (Kaggle 2017). Departure: the other row is the next one of the batch,
    which is a random one because batches are drawn at random; the replaced value keeps the column's distribution.
    """

    kind: Literal["swap"] = "swap"
    p: Annotated[float, Range(0.0, 0.9, off=0.0, search=(0.0, 0.2), unit="share", raising="more cells swapped")] = 0.1

    @staticmethod
    def apply(numbers: Tensor, codes: Tensor, noise: Tensor, *, p: Value) -> tuple[Tensor, Tensor, Tensor]:
        """Swaps cells; see the class."""
        swapped = noise < p
        features = numbers.shape[-1]
        return (
            torch.where(swapped[..., :features], numbers.roll(1, dims=-2), numbers),
            torch.where(swapped[..., features:], codes.roll(1, dims=-2), codes),
            swapped,
        )
