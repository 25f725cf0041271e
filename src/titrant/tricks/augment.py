"""Augmentation of rows: each batch sees slightly different rows, so that a network cannot learn them by heart.

All kinds act on scaled numbers [k, b, f] and category codes [k, b, c] of a batch, and only while training.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from titrant.space import Range
from titrant.tricks.augment_series import (
    Amplify,
    ChannelDrop,
    FrequencyMask,
    Jitter,
    MagnitudeWarp,
    Permutation,
    SignFlip,
    TimeWarp,
    WindowSlice,
    WindowWarp,
)
from titrant.tricks.base import DataKind, Off, Options, Trick, Value


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


class PlaceTrick(Trick):
    """A kind of picture augmentation that says where each pixel is taken from; several act as one exact gather."""

    unit: ClassVar[str] = "pictures"
    reads: ClassVar[tuple[DataKind, ...]] = ("image",)
    draws: ClassVar[int]
    apply: ClassVar[Callable[..., tuple[Tensor, Tensor, Tensor]]]
    """`apply(down, across, noise, **doses)`: new places, and which pictures [k, b] were changed.

    Args:
        down: int64 [k, b, h], for each row of a picture the row that it shows.
        across: int64 [k, b, w], likewise for columns.
        noise: [k, b, draws], uniform in [0, 1).
    """


class Flip(PlaceTrick):
    """Shows a picture as in a mirror, left and right exchanged, with probability `p`.

    Doses:
        p: the share of pictures mirrored, 0 to 1, off at 0. Half makes both directions equally common.

    Shape: unchanged.

    Example:
        >>> Flip().p
        0.5

    Source: Krizhevsky, Sutskever and Hinton 2012. Interactions: leave it off where a mirror image is something else, as with
    letters and digits; `views: mirror` wants it on.
    """

    kind: Literal["flip"] = "flip"
    draws: ClassVar[int] = 1
    p: Annotated[float, Range(0.0, 1.0, off=0.0, search=(0.5, 0.5), unit="share", raising="more pictures mirrored")] = 0.5

    @staticmethod
    def apply(down: Tensor, across: Tensor, noise: Tensor, *, p: Value) -> tuple[Tensor, Tensor, Tensor]:
        """Mirrors; see the class."""
        flipped = noise < p
        return down, torch.where(flipped, across.flip(-1), across), flipped.squeeze(-1)


class Shift(PlaceTrick):
    """Moves a picture by whole pixels, down and across; what lies beyond its edges is what lies inside, mirrored.

    Each of the two moves is uniform over the whole numbers up to `share` of the side, in either direction.

    Doses:
        share: of the side, 0 to 0.5, off at 0. Raising it moves pictures further.

    Shape: unchanged.

    Example:
        >>> Shift(share=0.1)
        Shift(kind='shift', share=0.1)

    Source: the padded random crop of He et al. 2016 (4 pixels of 32). Departure: padding repeats what is mirrored at the edge
    instead of zeros, as in K. Jordan 2024 (arXiv 2404.00498).
    """

    kind: Literal["shift"] = "shift"
    draws: ClassVar[int] = 2
    share: Annotated[
        float, Range(0.0, 0.5, off=0.0, search=(0.0, 0.15), unit="of the side", raising="pictures move further")
    ] = 0.08

    @staticmethod
    def apply(down: Tensor, across: Tensor, noise: Tensor, *, share: Value) -> tuple[Tensor, Tensor, Tensor]:
        """Moves; see the class."""
        moves = []
        for axis, places in enumerate((down, across)):
            most = share * places.shape[-1] + torch.zeros_like(noise[..., :1])
            most = most.round()
            moves.append((noise[..., axis : axis + 1] * (2 * most + 1)).floor().sub(most).long())
        return _moved(down, moves[0]), _moved(across, moves[1]), ((moves[0] != 0) | (moves[1] != 0)).squeeze(-1)


def _moved(places: Tensor, by: Tensor) -> Tensor:
    """Places [k, b, n] that lie `by` [k, b, 1] further, mirrored at both ends without repeating them."""
    last = places.shape[-1] - 1
    there = torch.arange(last + 1, device=places.device) + by
    there = last - (last - there.abs()).abs()
    return places.gather(-1, there.clamp(min=0))


class Mirror(Trick):
    """Averages the predictions for a picture and for its mirror image, left and right exchanged; training does not change.

    Doses: none.

    Shape: unchanged.

    Example:
        >>> Mirror().kind
        'mirror'

    Source: test-time augmentation as in Krizhevsky et al. 2012; flips alone as in K. Jordan 2024 (arXiv 2404.00498).
    Interactions: doubles the time of evaluation and prediction; wants training with flips.
    """

    unit: ClassVar[str] = "pictures"
    reads: ClassVar[tuple[DataKind, ...]] = ("image",)
    kind: Literal["mirror"] = "mirror"


class Augment(BaseModel):
    """The augment slot, acting in the order of its fields: of rows, of pictures, of series.

    Last, `views` says at what a finished model looks.

    Example:
        >>> Augment(mask={"p": 0.2}).mask
        FeatureMask(kind='mask', p=0.2)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    swap: Annotated[Off | SwapNoise, Options()] = Off()
    noise: Annotated[Off | GaussianNoise, Options()] = Off()
    mask: Annotated[Off | FeatureMask, Options()] = Off()
    flip: Annotated[Off | Flip, Options()] = Off()
    shift: Annotated[Off | Shift, Options()] = Off()
    time_warp: Annotated[Off | TimeWarp, Options()] = Off()
    window_slice: Annotated[Off | WindowSlice, Options()] = Off()
    window_warp: Annotated[Off | WindowWarp, Options()] = Off()
    permutation: Annotated[Off | Permutation, Options()] = Off()
    jitter: Annotated[Off | Jitter, Options()] = Off()
    amplify: Annotated[Off | Amplify, Options()] = Off()
    magnitude_warp: Annotated[Off | MagnitudeWarp, Options()] = Off()
    sign_flip: Annotated[Off | SignFlip, Options()] = Off()
    frequency_mask: Annotated[Off | FrequencyMask, Options()] = Off()
    channel_drop: Annotated[Off | ChannelDrop, Options()] = Off()
    views: Annotated[Off | Mirror, Options()] = Off()
