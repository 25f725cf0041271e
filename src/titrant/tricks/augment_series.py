"""Augmentation of series: each batch sees slightly different ones, so that a network cannot learn them by heart.

Two families. What changes *values* acts on scaled series [k, b, c, t]. What changes *time* says for each step of the result
which place of the series it shows; several act one after another on these places, and one interpolation follows. Places are
shares of a series' own length, from 0 to 1, so that short series among long ones are treated alike.

Sources common to all: Um et al. 2017, "Data augmentation of wearable sensor data"; Iwana and Uchida 2021, "An empirical survey
of data augmentation for time series classification" (arXiv 2007.15951).

Axes in names: k member, b series of a batch, c channel, t step.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from titrant.space import Range
from titrant.tricks.base import DataKind, Trick, Value

_KNOTS = 5  # of a smooth random curve
_PARTS = 8  # pieces of a permutation, at most


class SeriesAugmentation(Trick):
    """A kind of augmentation of series."""

    unit: ClassVar[str] = "series"
    reads: ClassVar[tuple[DataKind, ...]] = ("series",)
    draws: ClassVar[Literal["normal", "uniform"]] = "uniform"


class ValueTrick(SeriesAugmentation):
    """A kind that changes values."""

    shape: ClassVar[Callable[..., tuple[int, ...]]]
    """`shape(c, t)`: random numbers for each series."""
    apply: ClassVar[Callable[..., tuple[Tensor, Tensor]]]
    """`apply(x, noise, **doses)`: new values, and which series [k, b] were changed.

    Args:
        x: [k, b, c, t].
        noise: [k, b, *shape(c, t)], standard normal or uniform in [0, 1), as `draws` says.
        doses: floats or [k, 1, 1, 1].
    """


class TimeTrick(SeriesAugmentation):
    """A kind that changes which place of a series each step shows."""

    count: ClassVar[int]
    apply: ClassVar[Callable[..., tuple[Tensor, Tensor]]]
    """`apply(places, noise, **doses)`: new places, and which series [k, b] were changed.

    Args:
        places: [k, b, t] in [0, 1], shares of the length of each series.
        noise: [k, b, count], standard normal or uniform in [0, 1), as `draws` says.
        doses: floats or [k, 1, 1].
    """


class Jitter(ValueTrick):
    """Adds independent normal noise to every step.

    x' = x + std · ε, ε ~ N(0, 1).

    Doses:
        std: standard deviation in units of the scaled channel, 0 to 2, off at 0. Raising it hides more of what is fine.

    Shape: unchanged.

    Example:
        >>> Jitter(std=0.05)
        Jitter(kind='jitter', std=0.05)

    Source: Um et al. 2017. Interactions: padding behind a series' end is noised too and never looked at.
    """

    kind: Literal["jitter"] = "jitter"
    draws: ClassVar[Literal["normal", "uniform"]] = "normal"
    std: Annotated[float, Range(0.0, 2.0, off=0.0, search=(0.0, 0.2), unit="scaled units", raising="hides what is fine")] = 0.03

    @staticmethod
    def shape(c: int, t: int) -> tuple[int, ...]:
        """A number for each step."""
        return c, t

    @staticmethod
    def apply(x: Tensor, noise: Tensor, *, std: Value) -> tuple[Tensor, Tensor]:
        """Adds the noise; see the class."""
        shift = std * noise
        return x + shift, (shift != 0).flatten(2).any(-1)


class Amplify(ValueTrick):
    """Multiplies each channel of a series by a random factor near 1.

    x' = x · (1 + std · ε), one ε ~ N(0, 1) for each channel.

    Doses:
        std: of the factor, 0 to 2, off at 0. Raising it makes size mean less.

    Shape: unchanged.

    Example:
        >>> Amplify().std
        0.1

    Source: "scaling" of Um et al. 2017. Interactions: useless after `data.instance`, which takes size away for a start.
    """

    kind: Literal["amplify"] = "amplify"
    draws: ClassVar[Literal["normal", "uniform"]] = "normal"
    std: Annotated[float, Range(0.0, 2.0, off=0.0, search=(0.0, 0.3), unit="factor", raising="size means less")] = 0.1

    @staticmethod
    def shape(c: int, t: int) -> tuple[int, ...]:
        """A number for each channel."""
        return c, 1

    @staticmethod
    def apply(x: Tensor, noise: Tensor, *, std: Value) -> tuple[Tensor, Tensor]:
        """Multiplies; see the class."""
        factor = 1 + std * noise
        return x * factor, (factor != 1).flatten(2).any(-1)


class MagnitudeWarp(ValueTrick):
    """Multiplies a series by a smooth random curve near 1, which runs through a few random knots.

    Doses:
        std: of the curve at its knots, 0 to 2, off at 0. Raising it bends series more.

    Shape: unchanged.

    Example:
        >>> MagnitudeWarp().std
        0.2

    Source: Um et al. 2017. Departure: straight lines between the knots instead of a cubic spline.
    """

    kind: Literal["magnitude_warp"] = "magnitude_warp"
    draws: ClassVar[Literal["normal", "uniform"]] = "normal"
    std: Annotated[float, Range(0.0, 2.0, off=0.0, search=(0.0, 0.4), unit="factor", raising="bends more")] = 0.2

    @staticmethod
    def shape(c: int, t: int) -> tuple[int, ...]:
        """The knots, the same for all channels."""
        return 1, _KNOTS

    @staticmethod
    def apply(x: Tensor, noise: Tensor, *, std: Value) -> tuple[Tensor, Tensor]:
        """Multiplies by the curve; see the class."""
        curve = 1 + std * _curve(noise, x.shape[-1])
        return x * curve, (curve != 1).flatten(2).any(-1)


class SignFlip(ValueTrick):
    """Turns a series upside down with probability `p`.

    x' = -x, all channels together.

    Doses:
        p: the share of series turned, 0 to 1, off at 0. Half makes both signs equally common.

    Shape: unchanged.

    Example:
        >>> SignFlip().p
        0.5

    Source: "rotation" of Um et al. 2017, for a sensor that may be worn the other way round. Interactions: leave it off where up
    and down mean something, as in most series.
    """

    kind: Literal["sign_flip"] = "sign_flip"
    p: Annotated[float, Range(0.0, 1.0, off=0.0, search=(0.0, 0.5), unit="share", raising="more series turned")] = 0.5

    @staticmethod
    def shape(c: int, t: int) -> tuple[int, ...]:
        """One number."""
        return 1, 1

    @staticmethod
    def apply(x: Tensor, noise: Tensor, *, p: Value) -> tuple[Tensor, Tensor]:
        """Turns; see the class."""
        turned = noise < p
        return torch.where(turned, -x, x), turned.flatten(2).any(-1)


class FrequencyMask(ValueTrick):
    """Takes a random band of frequencies out of a series.

    The band begins at a random frequency above the mean and is `share` of all of them wide.

    Doses:
        share: of the frequencies, 0 to 0.9, off at 0. Raising it takes more of the series away.

    Shape: unchanged.

    Example:
        >>> FrequencyMask().share
        0.1

    Source: Park et al. 2019, "SpecAugment" (arXiv 1904.08779), on the spectrum of the whole series (Chen et al. 2023,
    arXiv 2302.09292). Departure: the mean stays.
    """

    kind: Literal["frequency_mask"] = "frequency_mask"
    share: Annotated[
        float, Range(0.0, 0.9, off=0.0, search=(0.0, 0.3), unit="of the frequencies", raising="takes more away")
    ] = 0.1

    @staticmethod
    def shape(c: int, t: int) -> tuple[int, ...]:
        """Where the band begins."""
        return 1, 1

    @staticmethod
    def apply(x: Tensor, noise: Tensor, *, share: Value) -> tuple[Tensor, Tensor]:
        """Masks the band; see the class."""
        steps = x.shape[-1]
        many = steps // 2  # frequencies above the mean
        wide = share * many
        begin = 1 + noise * (many - wide)
        place = torch.arange(many + 1, device=x.device)
        masked = (place >= begin) & (place < begin + wide) & (place > 0)
        spectrum = torch.fft.rfft(x).masked_fill(masked, 0)
        changed = masked.flatten(2).any(-1)
        return torch.where(changed[..., None, None], torch.fft.irfft(spectrum, n=steps), x), changed


class ChannelDrop(ValueTrick):
    """Sets each channel of a series to 0, its centre, with probability `p`; one channel stays in any case.

    Doses:
        p: the share of channels hidden, 0 to 0.9, off at 0. Raising it forces the network to use redundant channels.

    Shape: unchanged.

    Example:
        >>> ChannelDrop().p
        0.1

    Source: Tompson et al. 2015, spatial dropout, on the inputs. Interactions: does nothing to series of one channel.
    """

    kind: Literal["channel_drop"] = "channel_drop"
    p: Annotated[float, Range(0.0, 0.9, off=0.0, search=(0.0, 0.3), unit="share", raising="more channels hidden")] = 0.1

    @staticmethod
    def shape(c: int, t: int) -> tuple[int, ...]:
        """A number for each channel."""
        return c, 1

    @staticmethod
    def apply(x: Tensor, noise: Tensor, *, p: Value) -> tuple[Tensor, Tensor]:
        """Hides channels; see the class."""
        hidden = (noise < p) & (noise != noise.amax(2, keepdim=True))
        return x.masked_fill(hidden, 0.0), hidden.flatten(2).any(-1)


class TimeWarp(TimeTrick):
    """Runs through a series at a speed that changes smoothly: some stretches are faster, others slower.

    The speed is exp(std · curve), the curve straight between a few random knots; the ends of the series stay where they are.

    Doses:
        std: of the logarithm of the speed, 0 to 2, off at 0. Raising it distorts time more.

    Shape: unchanged.

    Example:
        >>> TimeWarp().std
        0.2

    Source: Um et al. 2017. Departure: the logarithm of the speed is drawn, so that time never runs backwards.
    """

    kind: Literal["time_warp"] = "time_warp"
    draws: ClassVar[Literal["normal", "uniform"]] = "normal"
    count: ClassVar[int] = _KNOTS
    std: Annotated[float, Range(0.0, 2.0, off=0.0, search=(0.0, 0.4), unit="log speed", raising="distorts time more")] = 0.2

    @staticmethod
    def apply(places: Tensor, noise: Tensor, *, std: Value) -> tuple[Tensor, Tensor]:
        """Bends time; see the class."""
        curve = std * noise
        grid = torch.linspace(0, 1, 64, device=places.device)
        speed = _at(curve, grid.expand(*curve.shape[:-1], -1)).exp()
        way = (speed[..., 1:] + speed[..., :-1]).cumsum(-1)
        way = torch.cat([torch.zeros_like(way[..., :1]), way], -1)
        moved = curve.ne(0).any(-1)
        return torch.where(moved.unsqueeze(-1), _at(way / way[..., -1:], places), places), moved


class WindowSlice(TimeTrick):
    """Shows a random window of a series, stretched to its whole length.

    Doses:
        share: of the series that is cut away, 0 to 0.9, off at 0. Raising it shows less of it.

    Shape: unchanged.

    Example:
        >>> WindowSlice().share
        0.1

    Source: Le Guennec et al. 2016, "Data augmentation for time series classification using convolutional neural networks".
    """

    kind: Literal["window_slice"] = "window_slice"
    count: ClassVar[int] = 1
    share: Annotated[float, Range(0.0, 0.9, off=0.0, search=(0.0, 0.3), unit="of the series", raising="shows less")] = 0.1

    @staticmethod
    def apply(places: Tensor, noise: Tensor, *, share: Value) -> tuple[Tensor, Tensor]:
        """Cuts and stretches; see the class."""
        away = share + torch.zeros_like(noise)
        return places * (1 - away) + noise * away, (away > 0).squeeze(-1)


class WindowWarp(TimeTrick):
    """Runs through a random window, a tenth of the series, at half or at double speed; the rest fills the length.

    Doses:
        p: the share of series that are warped, 0 to 1, off at 0. Raising it warps more of them.

    Shape: unchanged.

    Example:
        >>> WindowWarp().p
        0.5

    Source: Le Guennec et al. 2016, with the window and the speeds of Iwana and Uchida 2021.
    """

    kind: Literal["window_warp"] = "window_warp"
    count: ClassVar[int] = 3
    p: Annotated[float, Range(0.0, 1.0, off=0.0, search=(0.0, 0.7), unit="share", raising="more series warped")] = 0.5

    @staticmethod
    def apply(places: Tensor, noise: Tensor, *, p: Value) -> tuple[Tensor, Tensor]:
        """Warps the window; see the class."""
        wide = 0.1
        begin = noise[..., :1] * (1 - wide)
        speed = torch.where(noise[..., 1:2] < 0.5, 0.5, 2.0)
        whole = 1 - wide + wide / speed  # how long the warped series is, in lengths of the series
        at = places * whole
        inside, behind = begin + (at - begin) * speed, at - wide / speed + wide
        found = torch.where(at < begin, at, torch.where(at < begin + wide / speed, inside, behind))
        warped = noise[..., 2:] < p
        return torch.where(warped, found, places), warped.squeeze(-1)


class Permutation(TimeTrick):
    """Cuts a series into pieces of equal length and puts them into random order, with probability `p`.

    Doses:
        p: the share of series that are permuted, 0 to 1, off at 0. Raising it makes order mean less.

    Shape: unchanged.

    Example:
        >>> Permutation().p
        0.2

    Source: Um et al. 2017. Departure: always eight pieces. Interactions: leave it off where order is what matters.
    """

    kind: Literal["permutation"] = "permutation"
    count: ClassVar[int] = _PARTS + 1
    p: Annotated[float, Range(0.0, 1.0, off=0.0, search=(0.0, 0.5), unit="share", raising="order means less")] = 0.2

    @staticmethod
    def apply(places: Tensor, noise: Tensor, *, p: Value) -> tuple[Tensor, Tensor]:
        """Permutes; see the class."""
        order = noise[..., :_PARTS].argsort(-1)
        piece = (places * _PARTS).long().clamp(max=_PARTS - 1)
        moved = (order.gather(-1, piece) - piece) / _PARTS + places
        permuted = noise[..., _PARTS:] < p
        return torch.where(permuted, moved, places), permuted.squeeze(-1)


def shown(x: Tensor, ends: Tensor, places: Tensor) -> Tensor:
    """Series with each step at its place, between two steps in proportion.

    Args:
        x: [k, b, c, t].
        ends: int64 [k, b], how many steps each series has; what lies behind stays as it is.
        places: [k, b, t], shares of the length.
    """
    steps = x.shape[-1]
    at = places * (ends - 1).unsqueeze(-1)
    low = at.floor().clamp(min=0).long()
    high = torch.minimum(low + 1, (ends - 1).unsqueeze(-1))
    share = (at - low).unsqueeze(2)
    taken = [x.gather(-1, step.unsqueeze(2).expand(-1, -1, x.shape[2], -1)) for step in (low, high)]
    inside = torch.arange(steps, device=x.device) < ends.unsqueeze(-1)
    return torch.where(inside.unsqueeze(2), torch.lerp(taken[0], taken[1], share), x)


def _curve(knots: Tensor, steps: int) -> Tensor:
    """Straight lines through evenly spaced knots [..., n], at so many steps [..., steps]."""
    return _at(knots, torch.linspace(0, 1, steps, device=knots.device).expand(*knots.shape[:-1], -1))


def _at(knots: Tensor, places: Tensor) -> Tensor:
    """The line through evenly spaced knots [..., n], at places [..., m] in [0, 1]."""
    last = knots.shape[-1] - 1
    at = places * last
    low = at.floor().clamp(0, last - 1).long()
    return torch.lerp(knots.gather(-1, low), knots.gather(-1, low + 1), at - low)
