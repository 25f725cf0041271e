"""Augmentation of pictures that moves them: every kind says, for each picture, where its pixels are taken from.

A place is an affine map [2, 3] from a pixel of the result to a point of the source, both in pixels from the picture's centre,
across before down. Maps compose into one, so a picture is read once however many kinds move it (`titrant.train.augmentation`):
`Gather` where all of them move by whole pixels, `resampled` where not. Beyond a picture's edges lies what is inside,
mirrored.

Axes: k member, b picture of a batch, n all pictures, c channel, h height, w width.
"""

import math
from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from titrant.space import Range
from titrant.tricks.base import DataKind, Trick, Value


class PictureTrick(Trick):
    """A kind of picture augmentation; it has one or more of `colours`, `places` and `pixels`, which act in this order.

    Class attributes:
        draws: uniform numbers that it needs for each picture; 1/2 stands for the middle of what it may do.
        exact: whether its places lie on whole pixels.
        turns: whether one more draw follows that is not by chance: 0 or 1/2, from one epoch to the next the other.
        noise: what `pixels` needs besides: a number for each pixel and channel, standard normal or uniform in [0, 1).
    """

    unit: ClassVar[str] = "pictures"
    reads: ClassVar[tuple[DataKind, ...]] = ("image",)
    draws: ClassVar[int] = 1
    exact: ClassVar[bool] = False
    turns: ClassVar[bool] = False
    noise: ClassVar[Literal["none", "normal", "uniform"]] = "none"

    places: ClassVar[Callable[..., Tensor] | None] = None
    """`places(u, size, **doses)`: maps [k, b, 2, 3], the identity for a picture that stays.

    Args:
        u: [k, b, draws] in [0, 1), as for the others; draws + 1 with `turns`.
        size: height and width.
    """
    colours: ClassVar[Callable[..., Tensor] | None] = None
    """`colours(u, mean, **doses)`: affine maps of the channels [k, b, c, c + 1], the identity for a picture that stays.

    Args:
        mean: [k, b, c], of the picture as it is when the trick acts.
    """
    pixels: ClassVar[Callable[..., Tensor] | None] = None
    """`pixels(x, u, noise, **doses)`: new pixels [k, b, c, h, w] in [0, 1].

    Args:
        x: [k, b, c, h, w] in [0, 1].
        noise: [k, b, c, h, w] if the kind asks for it, else None.
    """


def signed(u: Tensor, most: Value) -> Tensor:
    """Uniform in ±most, 0 for u = 1/2."""
    return (2 * u - 1) * most


def _maps(across: tuple[Value, Value, Value], down: tuple[Value, Value, Value], like: Tensor) -> Tensor:
    """The maps [..., 2, 3] of these two rows, for all pictures of `like` [...]."""
    cells = [value if isinstance(value, Tensor) else like.new_full((), value) for value in (*across, *down)]
    return torch.stack([cell.expand_as(like) for cell in cells], -1).view(*like.shape, 2, 3)


class Flip(PictureTrick):
    """Shows a picture as in a mirror, left and right exchanged, with probability `p`.

    Doses:
        p: the share of pictures mirrored, 0 to 1, off at 0. Half makes both directions equally common.
        alternating: True mirrors half of the pictures in one epoch and the other half in the next, whatever p is, so that two
            epochs show every picture both ways.

    Shape: unchanged.

    Example:
        >>> Flip().p
        0.5

    Source: Krizhevsky, Sutskever and Hinton 2012; alternating: K. Jordan 2024 (arXiv 2404.00498). Departure: which half begins
    goes by the number of the row. Interactions: leave it off where a mirror image is something else, as with
    letters and digits; `views: mirror` wants it on.
    """

    kind: Literal["flip"] = "flip"
    exact: ClassVar[bool] = True
    turns: ClassVar[bool] = True
    p: Annotated[float, Range(0.0, 1.0, off=0.0, search=(0.5, 0.5), unit="share", raising="more pictures mirrored")] = 0.5
    alternating: bool = False

    @staticmethod
    def places(u: Tensor, size: tuple[int, int], *, p: Value, alternating: bool = False) -> Tensor:
        """Mirrors; see the class."""
        flipped = u[..., 1] > 0 if alternating else u[..., 0] < p
        return _maps((1.0 - 2.0 * flipped.to(u.dtype), 0.0, 0.0), (0.0, 1.0, 0.0), u[..., 0])


class Shift(PictureTrick):
    """Moves a picture by whole pixels, down and across, as padding and cropping at random does.

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
    exact: ClassVar[bool] = True
    draws: ClassVar[int] = 2
    share: Annotated[
        float, Range(0.0, 0.5, off=0.0, search=(0.0, 0.15), unit="of the side", raising="pictures move further")
    ] = 0.08

    @staticmethod
    def places(u: Tensor, size: tuple[int, int], *, share: Value) -> Tensor:
        """Moves; see the class."""
        down, across = (_whole(u[..., axis], share, side) for axis, side in enumerate(size))
        return _maps((1.0, 0.0, across), (0.0, 1.0, down), u[..., 0])


def _whole(u: Tensor, share: Value, side: int) -> Tensor:
    """Whole numbers up to the rounded share of a side in either direction, all equally common."""
    most = (torch.as_tensor(share, device=u.device) * side).round()
    return (u * (2 * most + 1)).floor() - most


class Translate(PictureTrick):
    """Moves a picture down and across by amounts uniform in ± `share` of the side, parts of pixels included.

    Doses:
        share: of the side, 0 to 0.5, off at 0. Raising it moves pictures further.

    Shape: unchanged.

    Example:
        >>> Translate(share=0.1).share
        0.1

    Source: Cubuk et al. 2019, AutoAugment, arXiv 1805.09501. Interactions: `shift` moves by whole pixels, exactly and faster.
    """

    kind: Literal["translate"] = "translate"
    searched: ClassVar[bool] = False
    draws: ClassVar[int] = 2
    share: Annotated[
        float, Range(0.0, 0.5, off=0.0, search=(0.0, 0.15), unit="of the side", raising="pictures move further")
    ] = 0.08

    @staticmethod
    def places(u: Tensor, size: tuple[int, int], *, share: Value) -> Tensor:
        """Moves; see the class."""
        down, across = (signed(u[..., axis], share) * side for axis, side in enumerate(size))
        return _maps((1.0, 0.0, across), (0.0, 1.0, down), u[..., 0])


class Crop(PictureTrick):
    """Shows a part of a picture at full size: its area uniform in `area` to 1, its proportions up to 3 : 4 or 4 : 3.

    Doses:
        area: the least part of the picture's area that is shown, 0.05 to 1, off at 1. Lowering it shows smaller parts.

    Shape: unchanged.

    Example:
        >>> Crop(area=0.5).area
        0.5

    Source: Szegedy et al. 2015, arXiv 1409.4842, "random resized crop". Departure: where a side would be longer than the
    picture's it is cut to that, instead of drawing again.
    """

    kind: Literal["crop"] = "crop"
    searched: ClassVar[bool] = False
    draws: ClassVar[int] = 4
    area: Annotated[
        float, Range(0.05, 1.0, off=1.0, search=(0.3, 1.0), unit="of the area", raising="larger parts are shown")
    ] = 0.5

    @staticmethod
    def places(u: Tensor, size: tuple[int, int], *, area: Value) -> Tensor:
        """Magnifies a part; see the class."""
        shown = 1 - u[..., 0] * (1 - torch.as_tensor(area, device=u.device))
        longer = signed(u[..., 1], math.log(4 / 3) / 2).exp()
        down, across = (shown.sqrt() / longer).clamp(max=1), (shown.sqrt() * longer).clamp(max=1)
        to_down, to_across = (
            signed(u[..., 2 + axis], 0.5) * (1 - part) * side
            for axis, (part, side) in enumerate(zip((down, across), size, strict=True))
        )
        return _maps((across, 0.0, to_across), (0.0, down, to_down), u[..., 0])


class Rotate(PictureTrick):
    """Turns a picture about its centre by an angle uniform in ± `degrees`.

    Doses:
        degrees: 0 to 180, off at 0. Raising it turns pictures further.

    Shape: unchanged.

    Example:
        >>> Rotate(degrees=10).degrees
        10.0

    Source: Simard, Steinkraus and Platt 2003, "Best practices for convolutional neural networks". Interactions: a digit 6 that
    is turned by 180° is a 9.
    """

    kind: Literal["rotate"] = "rotate"
    searched: ClassVar[bool] = False
    degrees: Annotated[float, Range(0.0, 180.0, off=0.0, search=(0.0, 20.0), unit="degrees", raising="larger turns")] = 10.0

    @staticmethod
    def places(u: Tensor, size: tuple[int, int], *, degrees: Value) -> Tensor:
        """Turns; see the class."""
        angle = signed(u[..., 0], degrees) * (math.pi / 180)
        return _maps((angle.cos(), -angle.sin(), 0.0), (angle.sin(), angle.cos(), 0.0), angle)


class Shear(PictureTrick):
    """Slants a picture sideways and upwards, each by an amount uniform in ± `slope`.

    Doses:
        slope: pixels aside for each pixel from the centre, 0 to 1, off at 0. Raising it slants more.

    Shape: unchanged.

    Example:
        >>> Shear(slope=0.1).slope
        0.1

    Source: Cubuk et al. 2019, AutoAugment, arXiv 1805.09501. Departure: both directions at once.
    """

    kind: Literal["shear"] = "shear"
    searched: ClassVar[bool] = False
    draws: ClassVar[int] = 2
    slope: Annotated[float, Range(0.0, 1.0, off=0.0, search=(0.0, 0.3), unit="pixels a pixel", raising="more slant")] = 0.1

    @staticmethod
    def places(u: Tensor, size: tuple[int, int], *, slope: Value) -> Tensor:
        """Slants; see the class."""
        return _maps((1.0, signed(u[..., 0], slope), 0.0), (signed(u[..., 1], slope), 1.0, 0.0), u[..., 0])


class Scale(PictureTrick):
    """Magnifies or shrinks a picture about its centre by a factor log-uniform in 1 / (1 + `spread`) to 1 + `spread`.

    Doses:
        spread: 0 to 1, off at 0. Raising it varies sizes more.

    Shape: unchanged.

    Example:
        >>> Scale(spread=0.1).spread
        0.1

    Source: Simonyan and Zisserman 2015, arXiv 1409.1556, "scale jittering". Departure: pixels are read without a filter, as
    at most halving the size misses none.
    """

    kind: Literal["scale"] = "scale"
    searched: ClassVar[bool] = False
    spread: Annotated[float, Range(0.0, 1.0, off=0.0, search=(0.0, 0.3), unit="share", raising="more varied sizes")] = 0.1

    @staticmethod
    def places(u: Tensor, size: tuple[int, int], *, spread: Value) -> Tensor:
        """Magnifies; see the class."""
        part = (torch.as_tensor(spread, device=u.device) + 1) ** signed(u[..., 0], -1)
        return _maps((part, 0.0, 0.0), (0.0, part, 0.0), part)


def composed(outer: Tensor, inner: Tensor) -> Tensor:
    """The affine maps x → outer(inner(x)), all [..., n, n + 1].

    Example:
        >>> twice, next = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 1.0]])
        >>> composed(twice, next).tolist()
        [[2.0, 2.0]]
    """
    n = outer.shape[-2]
    joint = outer[..., :n] @ inner
    return torch.cat([joint[..., :n], joint[..., n:] + outer[..., n:]], -1)


class Gather:
    """Moves of pictures by whole pixels, exactly.

    Args:
        maps: [..., 2, 3] which mirror and shift only, one for each picture.
        height, width: of the pictures.

    Example:
        >>> move_right = Gather(torch.tensor([[[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]]]), 1, 3)
        >>> move_right(torch.tensor([[[[1, 2, 3]]]])).tolist()
        [[[[2, 1, 2]]]]
    """

    def __init__(self, maps: Tensor, height: int, width: int) -> None:
        self._height, self._width = height, width
        self._down = _folded(maps[..., 1, 1:2], maps[..., 1, 2:], height)
        # A mirrored picture that is moved is a moved one of which the mirror image was taken: reading the mirror image `aside`.
        self._mirrored = maps[..., 0, 0] < 0
        self._aside = (maps[..., 0, 0].sign() * maps[..., 0, 2]).round().long()
        self._across: Tensor | None = None
        if maps.device.type != "cpu" or maps.numel() == 0 or int(self._aside.abs().max()) >= width:
            self._across = _folded(maps[..., 0, :1], maps[..., 0, 2:], width)

    def __call__(self, x: Tensor, which: tuple[slice, ...] = ()) -> Tensor:
        """Moved pictures.

        Args:
            x: [n, c, h, w] of any type, fastest where channels stand last in memory.
            which: of the maps are meant; all if empty.

        Returns:
            [n, c, h, w], channels last in memory.
        """
        down = self._down[which].reshape(-1, self._height)
        across = None if self._across is None else self._across[which].reshape(-1, self._width)
        pixels = x.movedim(1, 3)
        first = torch.arange(len(pixels), device=x.device).unsqueeze(1) * self._height + down
        moved = self._rows(pixels, first, which) if across is None else self._pixels(pixels, first, across)
        return moved.view(pixels.shape).movedim(3, 1)

    def _pixels(self, pixels: Tensor, row: Tensor, across: Tensor) -> Tensor:
        """Each pixel for itself: without waiting for a GPU, and for moves that are wider than the picture."""
        places = (row * self._width).unsqueeze(2) + across.unsqueeze(1)
        channels = pixels.shape[3]
        return pixels.reshape(-1, *[channels] * (channels > 1)).index_select(0, places.flatten())  # rows of one are slow

    def _rows(self, pixels: Tensor, row: Tensor, which: tuple[slice, ...]) -> Tensor:
        """Whole rows, which on a CPU takes a third of the time.

        Beyond its edges a row goes on as its mirror image, and then as itself again: each moved row, and each moved mirror
        image, is a piece of that.
        """
        mirrored, aside = self._mirrored[which].flatten(), self._aside[which].flatten()
        width, channels, reach = self._width, pixels.shape[3], int(aside.abs().max())
        turned = pixels.flip(2)
        sides = turned[:, :, width - 1 - reach : width - 1], pixels[:, :, 1 : reach + 1]
        rows = torch.cat([sides[0], pixels, turned[:, :, 1:], sides[1]], 2)
        begin = row * rows.shape[2] + (mirrored * (width - 1) + reach + aside).unsqueeze(1)
        pieces = rows.as_strided((rows.numel() // channels - width + 1, width * channels), (channels, 1))
        return pieces.index_select(0, begin.flatten())


def _folded(sign: Tensor, move: Tensor, side: int) -> Tensor:
    """For each place along a side the place [..., side] that it shows, mirrored at both ends without repeating them."""
    middle, last = (side - 1) / 2, side - 1
    there = torch.arange(side, device=sign.device) - middle
    place = (sign * there + move + middle).round().int().abs().remainder(max(1, 2 * last))
    return torch.minimum(place, 2 * last - place)


def resampled(x: Tensor, maps: Tensor) -> Tensor:
    """Pictures [n, c, h, w] read where `maps` [n, 2, 3] say, linearly between pixels.

    It is fastest on pictures whose channels stand last in memory; those of the result stand first.
    """
    height, width = x.shape[-2:]
    across, down = (torch.arange(side, device=x.device, dtype=x.dtype) - (side - 1) / 2 for side in (width, height))
    # For `grid_sample`, -1 and 1 are the centres of the outermost pixels.
    unit = maps / torch.tensor([[max(1, width - 1) / 2], [max(1, height - 1) / 2]], device=x.device, dtype=x.dtype)
    by_row = unit[:, :, 1:2] * down + unit[:, :, 2:]
    grid = by_row.unsqueeze(3) + (unit[:, :, :1] * across).unsqueeze(2)
    return functional.grid_sample(x, grid.movedim(1, 3), padding_mode="reflection", align_corners=True)
