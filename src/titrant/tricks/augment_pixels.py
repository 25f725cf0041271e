"""Augmentation of pictures that is more than a move or a linear change of colours: new pixels, made one kind after another.

Where Pillow has the operation it is Pillow's, on numbers instead of bytes, except as a kind's source says.

Axes: k member, b picture of a batch, c channel, h height, w width.
"""

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from titrant.space import Range
from titrant.tricks.augment_places import PictureTrick, signed
from titrant.tricks.base import Value

_LEVEL = 1 / 255
_TINY = 1e-3  # a standard deviation of a blur, in pixels, at which no other pixel counts


def _wide(value: Tensor) -> Tensor:
    """Numbers of pictures [k, b] as they meet pixels [k, b, c, h, w]."""
    return value[..., None, None, None]


class Posterize(PictureTrick):
    """Leaves a picture fewer levels of each channel: its highest `bits` to 8 bits, all equally common.

    Doses:
        bits: 1 to 8, off at 8. Raising it leaves more levels.

    Shape: unchanged.

    Example:
        >>> Posterize(bits=4).bits
        4

    Source: Cubuk et al. 2019, AutoAugment, arXiv 1805.09501; the operation is Pillow's `ImageOps.posterize`.
    """

    kind: Literal["posterize"] = "posterize"
    searched: ClassVar[bool] = False
    bits: Annotated[int, Range(1, 8, off=8, search=(3, 7), unit="bits", raising="more levels")] = 4

    @staticmethod
    def pixels(x: Tensor, u: Tensor, noise: None, *, bits: Value) -> Tensor:
        """Rounds levels down; see the class."""
        lost = (u[..., 0] * (9 - torch.as_tensor(bits, device=u.device))).floor()
        step = _wide(2.0**lost)
        fewer = ((x * 255).round() / step).floor() * step / 255
        return torch.where(_wide(lost > 0), fewer, x)


class Solarize(PictureTrick):
    """Inverts all levels of a picture from a threshold on, which is uniform in 1 - `depth` to 1.

    Doses:
        depth: 0 to 1, off at 0. Raising it inverts darker levels too.

    Shape: unchanged.

    Example:
        >>> Solarize(depth=0.5).depth
        0.5

    Source: Cubuk et al. 2019, AutoAugment, arXiv 1805.09501; the operation is Pillow's `ImageOps.solarize`, at the threshold
    times 256.
    """

    kind: Literal["solarize"] = "solarize"
    searched: ClassVar[bool] = False
    depth: Annotated[float, Range(0.0, 1.0, off=0.0, search=(0.0, 0.6), raising="darker levels inverted")] = 0.3

    @staticmethod
    def pixels(x: Tensor, u: Tensor, noise: None, *, depth: Value) -> Tensor:
        """Inverts; see the class."""
        threshold = 256 * (1 - u[..., 0] * depth)
        return torch.where((x * 255).round() >= _wide(threshold), 1 - x, x)


class Equalize(PictureTrick):
    """Spreads the levels of each channel so that all are about equally common, with probability `p`.

    Doses:
        p: the share of pictures equalized, 0 to 1, off at 0.

    Shape: unchanged.

    Example:
        >>> Equalize(p=0.2).p
        0.2

    Source: Cubuk et al. 2019, AutoAugment, arXiv 1805.09501; the operation is OpenCV's `equalizeHist`, channel by channel.
    Pillow's divides in whole numbers, which does nothing to pictures of less than 256 pixels and little good to others.
    """

    kind: Literal["equalize"] = "equalize"
    searched: ClassVar[bool] = False
    p: Annotated[float, Range(0.0, 1.0, off=0.0, search=(0.0, 0.5), unit="share", raising="more pictures equalized")] = 0.2

    @staticmethod
    def pixels(x: Tensor, u: Tensor, noise: None, *, p: Value) -> Tensor:
        """Equalizes or not; see the class."""
        levels = (x * 255).round().long().clamp(0, 255).flatten(3)
        counts = torch.zeros(*levels.shape[:3], 256, dtype=torch.int64, device=x.device)
        counts.scatter_add_(3, levels, torch.ones_like(levels))
        darkest = counts.gather(3, levels.amin(3, keepdim=True))
        others = levels.shape[3] - darkest
        spread = ((counts.cumsum(3) - darkest) * (255 / others.clamp(min=1))).round() / 255
        new = spread.gather(3, levels).view_as(x)
        return torch.where(_wide(u[..., 0] < p) & (others > 0).unsqueeze(4), new, x)


class AutoContrast(PictureTrick):
    """Stretches each channel so that it runs from 0 to 1, with probability `p`.

    Doses:
        p: the share of pictures stretched, 0 to 1, off at 0.

    Shape: unchanged.

    Example:
        >>> AutoContrast(p=0.2).p
        0.2

    Source: Cubuk et al. 2019, AutoAugment, arXiv 1805.09501; the operation is Pillow's `ImageOps.autocontrast`. Departure:
    levels are not rounded down to bytes.
    """

    kind: Literal["autocontrast"] = "autocontrast"
    searched: ClassVar[bool] = False
    p: Annotated[float, Range(0.0, 1.0, off=0.0, search=(0.0, 0.5), unit="share", raising="more pictures stretched")] = 0.2

    @staticmethod
    def pixels(x: Tensor, u: Tensor, noise: None, *, p: Value) -> Tensor:
        """Stretches or not; see the class."""
        low, high = x.amin((3, 4), keepdim=True), x.amax((3, 4), keepdim=True)
        span = high - low
        return torch.where(_wide(u[..., 0] < p) & (span > _LEVEL / 2), (x - low) / span.clamp(min=_LEVEL / 2), x)


class Blur(PictureTrick):
    """Blurs a picture by a Gaussian whose standard deviation is uniform in 0 to `sigma` pixels.

    Doses:
        sigma: 0 to 8 pixels, off at 0. Raising it blurs more.

    Shape: unchanged.

    Example:
        >>> Blur(sigma=1).sigma
        1.0

    Source: Chen et al. 2020, SimCLR, arXiv 2002.05709. Departure: at an edge, the weights inside the picture are made to sum to
    one.
    """

    kind: Literal["blur"] = "blur"
    searched: ClassVar[bool] = False
    sigma: Annotated[float, Range(0.0, 8.0, off=0.0, search=(0.0, 1.5), unit="pixels", raising="more blur")] = 0.7

    @staticmethod
    def pixels(x: Tensor, u: Tensor, noise: None, *, sigma: Value) -> Tensor:
        """Blurs along each side by one product of matrices; see the class."""
        deviation = (u[..., 0] * sigma).clamp(min=_TINY)
        down, across = (_weights(deviation, side).unsqueeze(2) for side in x.shape[3:])
        return (down @ x @ across.mT).clamp(0, 1)


def _weights(deviation: Tensor, side: int) -> Tensor:
    """Gaussian weights [k, b, side, side] of the pixels of a line (last axis) for each of its pixels."""
    places = torch.arange(side, device=deviation.device)
    distance = (places.unsqueeze(1) - places) / deviation[..., None, None]
    return (-0.5 * distance.square()).softmax(-1)


class Sharpness(PictureTrick):
    """Moves a picture away from or towards its smoothed self by a factor uniform in 1 ± `strength`: sharper, or softer.

    Doses:
        strength: 0 to 3, off at 0. Raising it varies the sharpness more.

    Shape: unchanged.

    Example:
        >>> Sharpness(strength=0.5).strength
        0.5

    Source: Cubuk et al. 2019, AutoAugment, arXiv 1805.09501; the operation is Pillow's `ImageEnhance.Sharpness`. Departure: the
    smoothed picture is not rounded to bytes.
    """

    kind: Literal["sharpness"] = "sharpness"
    searched: ClassVar[bool] = False
    strength: Annotated[float, Range(0.0, 3.0, off=0.0, search=(0.0, 1.0), raising="more varied sharpness")] = 0.5

    @staticmethod
    def pixels(x: Tensor, u: Tensor, noise: None, *, strength: Value) -> Tensor:
        """Sharpens inside, leaving the outermost pixels; see the class."""
        if min(x.shape[3:]) < 3:
            return x
        inside = x[..., 1:-1, 1:-1]
        rows = x[..., :-2, :] + x[..., 1:-1, :] + x[..., 2:, :]
        nine = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
        out = x.clone()
        # The smoothed pixel is (the nine around it + four times itself) / 13.
        out[..., 1:-1, 1:-1] += _wide(signed(u[..., 0], strength)) * (9 * inside - nine) / 13
        return out.clamp_(0, 1)


class GaussianGrain(PictureTrick):
    """Adds independent normal noise to every channel of every pixel.

    Doses:
        std: standard deviation, 0 to 0.5 where 1 is white, off at 0. Raising it adds more noise.

    Shape: unchanged.

    Example:
        >>> GaussianGrain(std=0.05)
        GaussianGrain(kind='gaussian', std=0.05)

    Source: Bishop 1995, "Training with noise is equivalent to Tikhonov regularization".
    """

    kind: Literal["gaussian"] = "gaussian"
    searched: ClassVar[bool] = False
    draws: ClassVar[int] = 0
    noise: ClassVar[Literal["none", "normal", "uniform"]] = "normal"
    std: Annotated[float, Range(0.0, 0.5, off=0.0, search=(0.0, 0.1), unit="of white", raising="more noise")] = 0.03

    @staticmethod
    def pixels(x: Tensor, u: Tensor, noise: Tensor, *, std: Value) -> Tensor:
        """Adds the noise; see the class."""
        return (x + _wide(torch.as_tensor(std, device=x.device)) * noise).clamp_(0, 1)


class SaltPepper(PictureTrick):
    """Makes each pixel white or black, each with half of the probability `p`.

    Doses:
        p: the share of pixels, 0 to 1, off at 0. Raising it spoils more of them.

    Shape: unchanged.

    Example:
        >>> SaltPepper(p=0.02).p
        0.02

    Source: Gonzalez and Woods, "Digital image processing", impulse noise.
    """

    kind: Literal["salt_pepper"] = "salt_pepper"
    searched: ClassVar[bool] = False
    draws: ClassVar[int] = 0
    noise: ClassVar[Literal["none", "normal", "uniform"]] = "uniform"
    p: Annotated[float, Range(0.0, 1.0, off=0.0, search=(0.0, 0.1), unit="share", raising="more pixels spoilt")] = 0.02

    @staticmethod
    def pixels(x: Tensor, u: Tensor, noise: Tensor, *, p: Value) -> Tensor:
        """Spoils pixels, all channels alike; see the class."""
        place, most = noise[:, :, :1], _wide(torch.as_tensor(p, device=x.device))
        return torch.where(place < most, (place < most / 2).to(x.dtype), x)


class Cutout(PictureTrick):
    """Covers a square at a random place with the picture's mean colour.

    Doses:
        side: of the square, as a share of the picture's sides, 0 to 1, off at 0. Raising it hides more. Its middle lies
            anywhere, so that a part of it may lie outside.

    Shape: unchanged.

    Example:
        >>> Cutout(side=0.25).side
        0.25

    Source: DeVries and Taylor 2017, arXiv 1708.04552. Departure: the picture's own mean instead of that of all.
    """

    kind: Literal["cutout"] = "cutout"
    draws: ClassVar[int] = 2
    side: Annotated[float, Range(0.0, 1.0, off=0.0, search=(0.0, 0.5), unit="of the side", raising="more hidden")] = 0.25

    @staticmethod
    def pixels(x: Tensor, u: Tensor, noise: None, *, side: Value) -> Tensor:
        """Covers; see the class."""
        half = torch.as_tensor(side, device=x.device) / 2
        hidden = _box(x, u, (half, half))
        return torch.where(hidden, x.mean(3, keepdim=True).mean(4, keepdim=True), x)


class RandomErase(PictureTrick):
    """Fills a rectangle with noise, with probability `p`: 2 to 40 % of the area, proportions from 0.3 to 1 / 0.3.

    Doses:
        p: the share of pictures, 0 to 1, off at 0.

    Shape: unchanged.

    Example:
        >>> RandomErase(p=0.25).p
        0.25

    Source: Zhong et al. 2017, arXiv 1708.04896. Departures: a side that would be longer than the picture's is cut to that,
    instead of drawing again; proportions are log-uniform.
    """

    kind: Literal["random"] = "random"
    searched: ClassVar[bool] = False
    draws: ClassVar[int] = 5
    noise: ClassVar[Literal["none", "normal", "uniform"]] = "uniform"
    p: Annotated[float, Range(0.0, 1.0, off=0.0, search=(0.0, 0.5), unit="share", raising="more pictures")] = 0.25

    @staticmethod
    def pixels(x: Tensor, u: Tensor, noise: Tensor, *, p: Value) -> Tensor:
        """Fills; see the class."""
        side = (0.02 + 0.38 * u[..., 1]).sqrt()
        longer = 0.3 ** signed(u[..., 2], 0.5)
        sides = [(side * longer).clamp(max=1), (side / longer).clamp(max=1)]
        middles = torch.stack([part / 2 + u[..., 3 + axis] * (1 - part) for axis, part in enumerate(sides)], -1)
        hidden = _box(x, middles, (sides[0] / 2, sides[1] / 2))
        return torch.where(hidden & _wide(u[..., 0] < p), noise, x)


def _box(x: Tensor, middle: Tensor, half: tuple[Tensor, Tensor]) -> Tensor:
    """Which pixels [k, b, 1, h, w] have their centres in a box: its middle [k, b, 2] and half its sides, in shares."""
    inside = []
    for axis, side in enumerate(x.shape[3:]):
        places = (torch.arange(side, device=x.device) + 0.5) / side
        inside.append((places - middle[..., axis : axis + 1]).abs() < half[axis].unsqueeze(-1))
    return (inside[0].unsqueeze(3) & inside[1].unsqueeze(2)).unsqueeze(2)
