"""Data tricks for series: each series by its own measure, differences, what was missing, and features of random kernels.

A frozen encoder (`titrant.models.series.SeriesEncoder`) applies them in the order of their slots, after scaling channels.
Nothing here learns by gradient, so training applies it once to all series.

Axes in names: n series, c channel, t step.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from titrant.space import Range
from titrant.tricks.base import DataKind, Off, Options, Trick
from titrant.tricks.runtimes import quantile

_SMALLEST = 1e-6  # spread of a series below which it counts as constant


class SeriesTrick(Trick):
    """A data trick that only series know."""

    reads: ClassVar[tuple[DataKind, ...]] = ("series",)
    unit: ClassVar[str] = "channels"


class InstanceTrick(SeriesTrick):
    """A kind of normalisation of each series by itself."""

    measure: ClassVar[Callable[..., tuple[Tensor, Tensor]]]
    """`measure(x_nct)`: level and spread of each channel of each series [n, c, 1], NaN ignored; the spread is never 0."""


class OwnStandard(InstanceTrick):
    """Subtracts each series' own mean and divides by its own standard deviation, channel by channel.

    What is left is the shape: level and size no longer tell series apart. A constant series becomes 0. In forecasting the
    prediction is brought back to the level and spread of its history, so that a model learned at one level works at another.

    Doses: none.

    Shape: [n, c, t].

    Example:
        >>> level, spread = OwnStandard.measure(torch.tensor([[[1.0, 3.0]]]))
        >>> level.item(), spread.item()
        (2.0, 1.0)

    Source: z-normalisation, as in the UCR archive (Dau et al. 2019); for forecasting Kim et al. 2022, "Reversible instance
    normalization". Departure: no learned scale and shift.
    """

    kind: Literal["standard"] = "standard"

    @staticmethod
    def measure(x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation; see the class."""
        level = x.nanmean(-1, keepdim=True)
        spread = (x - level).square().nanmean(-1, keepdim=True).sqrt()
        return _usable(level, spread)


class OwnRobust(InstanceTrick):
    """As `standard`, with the median and the spread between the quartiles, which outliers do not move.

    Doses: none.

    Shape: [n, c, t].

    Example:
        >>> level, _ = OwnRobust.measure(torch.tensor([[[1.0, 2.0, 90.0]]]))
        >>> level.item()
        2.0

    Source: the robust variant of reversible instance normalisation in arXiv 2510.04667; the spread is divided by 1.349, which
    makes it the standard deviation of normal values. Departure: where the quartiles meet, the standard deviation stands in.
    """

    kind: Literal["robust"] = "robust"

    @staticmethod
    def measure(x: Tensor) -> tuple[Tensor, Tensor]:
        """Median and quartiles; see the class."""
        level, low, high = (quantile(x, q) for q in (0.5, 0.25, 0.75))
        spread = (high - low) / 1.349
        plain = (x - level).square().nanmean(-1, keepdim=True).sqrt()
        return _usable(level, torch.where(spread > _SMALLEST, spread, plain))


class OwnLast(InstanceTrick):
    """As `standard`, with each series' last value in place of its mean: what is predicted is the change from there.

    Doses: none.

    Shape: [n, c, t].

    Example:
        >>> level, _ = OwnLast.measure(torch.tensor([[[1.0, 2.0, 9.0]]]))
        >>> level.item()
        9.0

    Source: NLinear of Zeng et al. 2023, "Are transformers effective for time series forecasting?" (arXiv 2205.13504).
    Departure: the spread is divided by as well.
    """

    kind: Literal["last"] = "last"

    @staticmethod
    def measure(x: Tensor) -> tuple[Tensor, Tensor]:
        """Last value that is there, and standard deviation; see the class."""
        mean, spread = OwnStandard.measure(x)
        steps = torch.arange(1, x.shape[-1] + 1, device=x.device)
        at = (~x.isnan() * steps).amax(-1, keepdim=True)
        level = x.gather(-1, (at - 1).clamp(min=0))
        return torch.where(at > 0, level, mean).nan_to_num(0.0), spread


Instance = Annotated[Off | OwnStandard | OwnRobust | OwnLast, Options()]
"""How each series is normalised by itself."""


class Beside(SeriesTrick):
    """Adds the change from each step to the next as further channels.

    Doses: none.

    Shape: [n, c, t] to [n, 2c, t]; the change at the first step is 0.

    Example:
        >>> Beside().kind
        'beside'

    Source: MultiRocket of Tan et al. 2022 (arXiv 2102.00457), which looks at series and their first differences.
    """

    kind: Literal["beside"] = "beside"


class Instead(SeriesTrick):
    """Replaces each series by the change from each step to the next: level and slow trends vanish.

    Doses: none.

    Shape: [n, c, t] to [n, c, t]; the change at the first step is 0.

    Example:
        >>> Instead().kind
        'instead'

    Source: Box and Jenkins 1970, differencing of order 1.
    """

    kind: Literal["instead"] = "instead"


Differences = Annotated[Off | Beside | Instead, Options()]
"""First differences of a series."""


class GapMask(SeriesTrick):
    """Adds a channel for each channel that has missing values: 1 where the value is missing, else 0.

    Missing values themselves are 0 after scaling, the centre. Without this trick a network cannot tell them from values there.

    Doses: none.

    Shape: [n, c, t] to [n, c + m, t], m the channels that lack values in rows to learn from.

    Example:
        >>> GapMask().kind
        'mask'

    Source: Che et al. 2018, "Recurrent neural networks for multivariate time series with missing values".
    """

    kind: Literal["mask"] = "mask"


Gaps = Annotated[Off | GapMask, Options()]
"""What a network is told of missing values."""


class FirstAlone(SeriesTrick):
    """Reads the first channel alone: of a forecast the target's own past, without the other columns.

    Doses: none.

    Shape: [n, c, t] to [n, 1, t].

    Example:
        >>> FirstAlone().kind
        'first'

    Source: channel independence, as in PatchTST of Nie et al. 2023 (arXiv 2211.14730) and DLinear of Zeng et al. 2023
    (arXiv 2205.13504). Interactions: does nothing to series of one channel.
    """

    kind: Literal["first"] = "first"


Channels = Annotated[Off | FirstAlone, Options()]
"""Which channels a network reads; off for all."""


class FeaturesTrick(SeriesTrick):
    """A kind of fixed features, of random convolutions, for networks that read rows (`linear`, `mlp`)."""

    unit: ClassVar[str] = "features"


class MiniRocket(FeaturesTrick):
    """Features of 84 fixed kernels at many dilations: the share of steps at which a convolution exceeds a bias.

    Biases are quantiles of the convolutions of training series. A linear network on these features is quick and hard to beat.

    Doses:
        count: features, 84 to 50000, log. Raising it sees more and costs memory and time in proportion; fewer are made where
            series are so many that they would not fit into half a gigabyte.
        differences: "also" looks at first differences too.
        pools: "four" also pools how far convolutions exceed a bias, when, and for how long; a quarter of the features each.

    Shape: [n, c, t] to [n, count].

    Example:
        >>> MiniRocket(count=1000).count
        1000

    Source: Dempster, Schmidt and Webb 2021, "MiniRocket" (arXiv 2012.08791), with random groups of channels for several
    channels; differences and ways of pooling as in MultiRocket (arXiv 2102.00457).
    """

    kind: Literal["minirocket"] = "minirocket"
    count: Annotated[
        int, Range(84, 50_000, log=True, search=(5000, 10_000), unit="features", shared=True, raising="sees more, slower")
    ] = 9996
    differences: Literal["also", "no"] = "no"
    pools: Literal["four", "shares"] = "shares"


class Hydra(FeaturesTrick):
    """Features of groups of random kernels that compete: how often, and how strongly, each wins.

    Doses:
        groups: of kernels, 1 to 512, log. Raising it sees more and costs time in proportion.
        kernels: in a group, 2 to 64, log. Raising it makes the competition harder: fewer wins each.

    Shape: [n, c, t] to [n, features]; their number grows with groups, kernels, and the logarithm of the length.

    Example:
        >>> Hydra().groups
        64

    Source: Dempster, Schmidt and Webb 2023, "Hydra: competing convolutional kernels" (arXiv 2203.13652).
    """

    kind: Literal["hydra"] = "hydra"
    groups: Annotated[
        int, Range(1, 512, log=True, search=(64, 64), unit="groups", shared=True, raising="sees more, slower")
    ] = 64
    kernels: Annotated[
        int, Range(2, 64, log=True, search=(8, 8), unit="kernels", shared=True, raising="fewer wins for each")
    ] = 8


class RocketHydra(FeaturesTrick):
    """The features of `minirocket`, of series and their first differences, and of `hydra`, side by side.

    Doses:
        count: MiniRocket features, 84 to 50000, log. Raising it sees more and costs memory and time in proportion; fewer are
            made where series are so many that all features would not fit into half a gigabyte.
        groups: of Hydra's kernels, 1 to 512, log; eight kernels each.
        pools: "four" also pools how far convolutions exceed a bias, when, and for how long; a quarter of `count` each.

    Shape: [n, c, t] to [n, features].

    Example:
        >>> RocketHydra().count
        9996

    Source: Dempster, Schmidt and Webb 2023 (arXiv 2203.13652), who put Hydra beside MultiRocket: that is `pools` four and a
    `count` of 50,000.
    """

    kind: Literal["rocket_hydra"] = "rocket_hydra"
    count: Annotated[
        int, Range(84, 50_000, log=True, search=(5000, 10_000), unit="features", shared=True, raising="sees more, slower")
    ] = 9996
    groups: Annotated[
        int, Range(1, 512, log=True, search=(64, 64), unit="groups", shared=True, raising="sees more, slower")
    ] = 64
    pools: Literal["four", "shares"] = "shares"


def _usable(level: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """0 and 1 where a channel of a series is empty, 1 for the spread where it does not vary."""
    fine = spread.isfinite() & (spread > _SMALLEST * level.abs().clamp(min=1.0))
    return level.nan_to_num(0.0), torch.where(fine, spread, 1.0)
