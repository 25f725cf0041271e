"""Augmentation of pictures that changes their colours: every kind says how the channels of a pixel become new ones.

A change of colour is an affine map [c, c + 1] of the channels of each pixel. Maps compose into one, which is applied, and its
result cut to [0, 1], once (`titrant.train.augmentation`). Pillow cuts after every step instead; where nothing is cut, both
agree.

Axes: k member, b picture of a batch, c channel.
"""

import math
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from titrant.space import Range
from titrant.tricks.augment_places import PictureTrick, signed
from titrant.tricks.base import Value

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601), as Pillow's."""


def _luma(mean: Tensor) -> Tensor:
    """Weights [c] of the channels in grey."""
    return mean.new_tensor(LUMA if mean.shape[-1] == 3 else (1.0,))


def _blend(factor: Tensor, other: Tensor) -> Tensor:
    """The maps factor · x + (1 - factor) · other(x).

    Args:
        factor: [k, b].
        other: affine maps [..., c, c + 1].
    """
    factor = factor[..., None, None]
    same = torch.eye(*other.shape[-2:], dtype=other.dtype, device=other.device)
    return factor * same + (1 - factor) * other


def _to_grey(mean: Tensor) -> Tensor:
    """The map [c, c + 1] that gives every channel the grey of its pixel."""
    weights = _luma(mean)
    return functional.pad(weights.expand(len(weights), -1), (0, 1))


class Brightness(PictureTrick):
    """Multiplies a picture by a factor uniform in 1 ± `strength`.

    Doses:
        strength: 0 to 1, off at 0. Raising it varies the light more.

    Shape: unchanged.

    Example:
        >>> Brightness(strength=0.2).strength
        0.2

    Source: Krizhevsky, Sutskever and Hinton 2012; the operation is Pillow's `ImageEnhance.Brightness`.
    """

    kind: Literal["brightness"] = "brightness"
    searched: ClassVar[bool] = False
    strength: Annotated[float, Range(0.0, 1.0, off=0.0, search=(0.0, 0.4), raising="more varied light")] = 0.2

    @staticmethod
    def colours(u: Tensor, mean: Tensor, *, strength: Value) -> Tensor:
        """Multiplies; see the class."""
        channels = mean.shape[-1]
        return _blend(1 + signed(u[..., 0], strength), mean.new_zeros(channels, channels + 1))


class Contrast(PictureTrick):
    """Stretches a picture about the mean of its grey by a factor uniform in 1 ± `strength`.

    Doses:
        strength: 0 to 1, off at 0. Raising it varies the contrast more.

    Shape: unchanged.

    Example:
        >>> Contrast(strength=0.2).strength
        0.2

    Source: Howard 2013, arXiv 1312.5402; the operation is Pillow's `ImageEnhance.Contrast`. Departure: the mean is not rounded.
    """

    kind: Literal["contrast"] = "contrast"
    searched: ClassVar[bool] = False
    strength: Annotated[float, Range(0.0, 1.0, off=0.0, search=(0.0, 0.4), raising="more varied contrast")] = 0.2

    @staticmethod
    def colours(u: Tensor, mean: Tensor, *, strength: Value) -> Tensor:
        """Stretches; see the class."""
        channels = mean.shape[-1]
        grey = (mean * _luma(mean)).sum(-1)[..., None, None].expand(*mean.shape, 1)
        return _blend(1 + signed(u[..., 0], strength), functional.pad(grey, (channels, 0)))


class Saturation(PictureTrick):
    """Moves colours away from or towards their grey by a factor uniform in 1 ± `strength`; grey pictures stay.

    Doses:
        strength: 0 to 1, off at 0. Raising it varies the colourfulness more.

    Shape: unchanged.

    Example:
        >>> Saturation(strength=0.2).strength
        0.2

    Source: Howard 2013, arXiv 1312.5402; the operation is Pillow's `ImageEnhance.Color`.
    """

    kind: Literal["saturation"] = "saturation"
    searched: ClassVar[bool] = False
    strength: Annotated[float, Range(0.0, 1.0, off=0.0, search=(0.0, 0.4), raising="more varied colourfulness")] = 0.2

    @staticmethod
    def colours(u: Tensor, mean: Tensor, *, strength: Value) -> Tensor:
        """Blends with grey; see the class."""
        return _blend(1 + signed(u[..., 0], strength), _to_grey(mean))


class Hue(PictureTrick):
    """Turns colours about the grey axis by an angle uniform in ± `degrees`; grey pictures stay.

    Doses:
        degrees: 0 to 180, off at 0. Raising it changes colours more.

    Shape: unchanged.

    Example:
        >>> Hue(degrees=10).degrees
        10.0

    Source: Haeberli 1993, "Matrix operations for image processing". Departure from the hue of HSV: a turn about (1, 1, 1),
    which is linear in the channels and so joins the one map.
    """

    kind: Literal["hue"] = "hue"
    searched: ClassVar[bool] = False
    degrees: Annotated[float, Range(0.0, 180.0, off=0.0, search=(0.0, 40.0), unit="degrees", raising="other colours")] = 10.0

    @staticmethod
    def colours(u: Tensor, mean: Tensor, *, degrees: Value) -> Tensor:
        """Turns; see the class."""
        channels = mean.shape[-1]
        same = torch.eye(channels, dtype=u.dtype, device=u.device)
        if channels != 3:
            return functional.pad(same, (0, 1)).expand(*mean.shape, -1)
        angle = (signed(u[..., 0], degrees) * (math.pi / 180))[..., None, None]
        cross = u.new_tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
        return functional.pad(angle.cos() * same + angle.sin() * cross + (1 - angle.cos()) / 3, (0, 1))


class Grey(PictureTrick):
    """Takes the colour from a picture with probability `p`; grey pictures stay.

    Doses:
        p: the share of pictures that become grey, 0 to 1, off at 0.

    Shape: unchanged.

    Example:
        >>> Grey(p=0.1).p
        0.1

    Source: Chen et al. 2020, SimCLR, arXiv 2002.05709.
    """

    kind: Literal["grey"] = "grey"
    searched: ClassVar[bool] = False
    p: Annotated[float, Range(0.0, 1.0, off=0.0, search=(0.0, 0.3), unit="share", raising="more grey pictures")] = 0.1

    @staticmethod
    def colours(u: Tensor, mean: Tensor, *, p: Value) -> Tensor:
        """Makes grey or not; see the class."""
        return _blend(1 - (u[..., 0] < p).to(u.dtype), _to_grey(mean))


def recoloured(x: Tensor, maps: Tensor) -> Tensor:
    """Pictures [n, c, h, w] whose channels `maps` [n, c, c + 1] change, cut to [0, 1]."""
    channels = x.shape[1]
    return torch.baddbmm(maps[..., channels:], maps[..., :channels], x.contiguous().flatten(2)).clamp_(0, 1).view(x.shape)
