"""Augmentation of pictures that makes them smaller for a while: early steps see few pixels and cost little.

Axes: k member, b picture of a batch, c channel, h height, w width.
"""

import math
from typing import Annotated, ClassVar, Literal

from torch import Tensor
from torch.nn import functional

from titrant.space import Range
from titrant.tricks.base import DataKind, Off, Options, Trick

_MULTIPLE = 4  # of which the sides are, so that halved maps come out even

_Share = Annotated[float, Range(0.0, 1.0, search=(0.2, 0.6), unit="share", shared=True, raising="small for longer, less time")]


class Progressive(Trick):
    """Trains on smaller pictures first: their sides grow from a share `low` of the full ones to the full ones.

    share = low up to `hold` of the training, 1 from `until` on, a straight line between; sides are multiples of four pixels,
    rounded up. Evaluation and prediction see full pictures.

    Doses:
        low: share of the sides in the first steps, 0.25 to 1, off at 1. Raising it shows more detail early, and saves less
            time. Shared.
        hold: share of the training in which pictures are smallest, 0 to 1. Raising it saves time. Shared.
        until: share of the training after which pictures are whole, 0 to 1; from `hold` on at once where that is later.
            Raising it saves time, and leaves less of it to learn what is new in full pictures. Shared.

    Shape: pictures [..., c, h, w] to [..., c, h', w'].

    Example:
        >>> trick = Progressive(low=0.5, hold=0.4, until=0.8)
        >>> [trick.sides((32, 28), progress) for progress in (0.0, 0.5, 0.7, 0.9)]
        [(16, 16), (20, 20), (28, 28), (32, 28)]

    Source: J. Howard's entries for DAWNBench (2018) and Tan and Le 2021, "EfficientNetV2" (arXiv 2104.00298), section 4, with
    hold and until of Composer's `ProgressiveResizing`. Departure: other doses, such as those of augmentation, stay as they are.

    Measured: with half the sides a step of a CNN or ResNet on pictures of 28 or 32 pixels took 0.29 to 0.36 of its time on a
    CPU, and a training with the doses as they are 0.53 to 0.65. In trainings of a few epochs accuracy fell with equal epochs on
    Fashion-MNIST, and gained nothing certain in equal time.

    Interactions: acts after all other kinds of augmentation, before `mix`. For all networks of Titrant's own; the table of
    places of `model: vit` is interpolated for smaller maps. A network of a person's own may want one size, and is left at it.
    With `hardware.compile`, the network is compiled for each size again.
    """

    unit: ClassVar[str] = "pictures"
    reads: ClassVar[tuple[DataKind, ...]] = ("image",)
    kind: Literal["progressive"] = "progressive"
    low: Annotated[
        float, Range(0.25, 1.0, off=1.0, search=(0.5, 0.75), unit="share", shared=True, raising="more detail early, dearer")
    ] = 0.5
    hold: _Share = 0.4
    until: Annotated[
        float, Range(0.0, 1.0, search=(0.6, 0.9), unit="share", shared=True, raising="whole pictures later, less time")
    ] = 0.8

    def share(self, progress: float) -> float:
        """The share of the full sides at a share `progress` of the training, from 0 to 1."""
        hold = min(self.hold, self.until)
        grown = 1.0 if progress >= self.until else max(0.0, progress - hold) / (self.until - hold or 1.0)
        return self.low + (1 - self.low) * grown

    def sides(self, whole: tuple[int, int], progress: float) -> tuple[int, int]:
        """Height and width of pictures whose full sides are `whole`, at a share `progress` of the training."""
        share = self.share(progress)
        height, width = (min(side, _MULTIPLE * math.ceil(round(share * side / _MULTIPLE, 6))) for side in whole)
        return height, width

    @staticmethod
    def shrunk(pixels: Tensor, sides: tuple[int, int]) -> Tensor:
        """Pictures [..., c, h, w] at other sides, by linear interpolation of what was smoothed before."""
        flat = pixels.flatten(0, -4)
        return functional.interpolate(flat, sides, mode="bilinear", antialias=True).view(*pixels.shape[:-2], *sides)


Resize = Annotated[Off | Progressive, Options()]
"""The size of pictures in training: off shows full ones all the time."""
