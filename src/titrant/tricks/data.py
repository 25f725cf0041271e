"""Data: how raw columns become the numbers that a network sees.

Every kind is fitted on training rows alone and becomes the model's first layer, so that a saved model takes raw rows and
nothing leaks. After scaling, a missing number is 0 (the centre) and an indicator column says that it was missing.

A scaler has two halves: `fit` looks at training rows once and returns plain tensors; `apply` uses them on any rows.
"""

import math
from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from titrant.space import Range
from titrant.tricks.base import DataKind, Off, Options, Trick
from titrant.tricks.data_pictures import Whiten
from titrant.tricks.data_series import Channels, Differences, Gaps, Hydra, Instance, MiniRocket, RocketHydra
from titrant.tricks.data_text import Embedded, Ngrams, Tokens
from titrant.tricks.runtimes import at_most, erfinv

_ENOUGH = 100_000  # rows whose quantiles are those of all rows to about a third of a percent


class ScaleTrick(Trick):
    """A kind of input scaling."""

    unit: ClassVar[str] = "columns"
    fit: ClassVar[Callable[..., dict[str, Tensor]]]
    """`fit(x_nf, **doses)`: constants [f] or [f, q] from training rows (float64 inside, NaN ignored), as float32."""
    apply: ClassVar[Callable[..., Tensor]]
    """`apply(x_nf, **constants)`: the scaled rows, float32, NaN where the input is NaN."""


class Standardize(ScaleTrick):
    """Subtracts each column's mean and divides by its standard deviation.

    Shape: [n, f] to [n, f]. A constant column becomes 0.

    Example:
        >>> x = torch.tensor([[1.0], [3.0]])
        >>> Standardize.apply(x, **Standardize.fit(x)).tolist()
        [[-1.0], [1.0]]

    Source: LeCun et al. 1998, "Efficient BackProp", section 4.3. Interactions: one wild value squeezes all others; `robust` or
    `quantile` do not suffer from it.
    """

    kind: Literal["standardize"] = "standardize"

    @staticmethod
    def fit(x: Tensor) -> dict[str, Tensor]:
        """Mean and standard deviation of the values that are there."""
        wide = x.double()
        mean = wide.nanmean(0).nan_to_num(0.0)
        deviation = (wide - mean).square().nanmean(0).sqrt()
        return {"centre": mean.float(), "width": _safe(deviation).float()}

    @staticmethod
    def apply(x: Tensor, *, centre: Tensor, width: Tensor) -> Tensor:
        """Centres and divides."""
        return (x - centre) / width


class Robust(ScaleTrick):
    """Subtracts the median, divides by the interquartile range, and bends wild values smoothly towards ±`limit`.

    z = (x - median) / IQR;  y = z / sqrt(1 + (z / limit)²). Where the IQR is zero, half the range stands in for it.

    Doses:
        limit: where the bend saturates, in IQRs, 1 to 100. Raising it lets outliers reach further.

    Shape: [n, f] to [n, f].

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0], [1000.0]])
        >>> float(Robust.apply(x, **Robust.fit(x, limit=3.0)).max()) <= 3.0
        True

    Source: Holzmüller et al. 2024, "Better by default" (RealMLP), arXiv 2407.04491, section 3.
    """

    kind: Literal["robust"] = "robust"
    limit: Annotated[float, Range(1.0, 100.0, log=True, search=(3.0, 3.0), unit="IQR", raising="outliers reach further")] = 3.0

    @staticmethod
    def fit(x: Tensor, *, limit: float) -> dict[str, Tensor]:
        """Median and interquartile range of the values that are there."""
        quartiles = _quantiles(x, torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64))
        spread = quartiles[:, 3] - quartiles[:, 1]
        width = torch.where(spread > 0, spread, (quartiles[:, 4] - quartiles[:, 0]) / 2)
        return {
            "centre": quartiles[:, 2].float(),
            "width": _safe(width).float(),
            "limit": torch.full_like(width, limit).float(),
        }

    @staticmethod
    def apply(x: Tensor, *, centre: Tensor, width: Tensor, limit: Tensor) -> Tensor:
        """Centres, divides and bends."""
        z = (x - centre) / width
        return z / (1 + (z / limit).square()).sqrt()


class MinMax(ScaleTrick):
    """Maps each column's training range onto [-1, 1].

    Shape: [n, f] to [n, f]. New rows may fall outside; a constant column becomes 0.

    Example:
        >>> x = torch.tensor([[0.0], [10.0]])
        >>> MinMax.apply(x, **MinMax.fit(x)).tolist()
        [[-1.0], [1.0]]

    Source: the classical range scaling; scikit-learn `MinMaxScaler(feature_range=(-1, 1))`.
    """

    searched: ClassVar[bool] = False
    kind: Literal["min_max"] = "min_max"

    @staticmethod
    def fit(x: Tensor) -> dict[str, Tensor]:
        """Smallest and largest value that is there."""
        ends = _quantiles(x, torch.tensor([0.0, 1.0], dtype=torch.float64))
        return {"centre": ends.mean(1).float(), "width": _safe((ends[:, 1] - ends[:, 0]) / 2).float()}

    apply: ClassVar[Callable[..., Tensor]] = staticmethod(Standardize.apply)


class Quantile(ScaleTrick):
    """Maps each column through its own distribution function onto a standard normal.

    y = Φ⁻¹(F(x)), F interpolated between at most `points` training quantiles; ties get the middle of their step.

    Doses:
        points: how many quantiles are kept, 10 to 2000. Raising it follows the distribution more closely.

    Shape: [n, f] to [n, f]; |y| is at most 5.2.

    Example:
        >>> x = torch.arange(101.0)[:, None]
        >>> y = Quantile.apply(x, **Quantile.fit(x, points=101))
        >>> round(float(y[50, 0]), 6), round(float(y[84, 0]), 2)
        (0.0, 0.99)

    Source: scikit-learn `QuantileTransformer(output_distribution="normal")`, as in Gorishniy et al. 2021 (arXiv 2106.11959).
    Departures: without the noise that some pipelines add; above 100,000 training rows, quantiles of evenly spaced ones.
    """

    kind: Literal["quantile"] = "quantile"
    points: Annotated[int, Range(10, 2000, log=True, search=(500, 500), raising="follows the distribution more closely")] = 500

    @staticmethod
    def fit(x: Tensor, *, points: int) -> dict[str, Tensor]:
        """The column's quantiles, and the middle of the run of equal ones that each belongs to."""
        levels = torch.linspace(0, 1, max(2, min(points, len(x))), dtype=torch.float64)
        knots = _quantiles(x, levels).float()
        first, last = torch.searchsorted(knots, knots), torch.searchsorted(knots, knots, right=True) - 1
        return {"knots": knots, "middles": (first + last).float() / 2}

    @staticmethod
    def apply(x: Tensor, *, knots: Tensor, middles: Tensor) -> Tensor:
        """Looks the distribution function up and inverts the normal one."""
        columns = x.T.contiguous()
        below = (at_most(knots, columns) - 1).clamp(0, knots.shape[1] - 2)
        low, high = knots.gather(1, below), knots.gather(1, below + 1)
        between = below + ((columns - low) / torch.where(high > low, high - low, 1.0)).clamp(0, 1)
        place = torch.where(columns == low, middles.gather(1, below), between)
        place = torch.where(columns == high, middles.gather(1, below + 1), place)
        share = place / (knots.shape[1] - 1)
        normal = math.sqrt(2) * erfinv((2 * share - 1).clamp(-1 + 2e-7, 1 - 2e-7))
        return torch.where(columns.isnan(), columns, normal).T.contiguous()


Scale = Annotated[Off | Standardize | Robust | MinMax | Quantile, Options()]
"""Input scaling: off feeds raw numbers."""


class OneHot(Trick):
    """Gives each category a 0/1 input of its own; unseen and rare categories are all zeros, missing is a category.

    Doses:
        most: the commonest categories of a column that get an input, 2 to 1000; the others count as unseen.

    Shape: codes [..., c] to [..., sum of categories].

    Example:
        >>> OneHot(most=20).most
        20

    Source: the textbook indicator coding; `OneHotEncoder(handle_unknown="ignore", max_categories=...)` of scikit-learn.
    """

    unit: ClassVar[str] = "columns"
    kind: Literal["one_hot"] = "one_hot"
    most: Annotated[int, Range(2, 1000, log=True, search=(50, 50), shared=True, raising="rare categories keep their name")] = 50


class Embed(Trick):
    """Gives each category of a larger column a learned vector; columns with few categories stay one-hot.

    Doses:
        size: length of the vectors, 1 to 64. Raising it can tell more apart and overfits sooner.
        few: columns with at most this many categories stay one-hot, 0 to 100.

    Shape: codes [..., c] to [..., one-hot inputs + size · embedded columns].

    Example:
        >>> Embed(size=4)
        Embed(kind='embed', size=4, few=9)

    Source: Guo and Berkhahn 2016, "Entity embeddings of categorical variables"; size 8 above 9 categories as in RealMLP
    (arXiv 2407.04491).
    """

    unit: ClassVar[str] = "columns"
    kind: Literal["embed"] = "embed"
    size: Annotated[int, Range(1, 64, log=True, search=(8, 8), shared=True, raising="tells more apart, overfits sooner")] = 8
    few: Annotated[int, Range(0, 100, search=(9, 9), shared=True, raising="more columns stay one-hot")] = 9


Categories = Annotated[OneHot | Embed, Options()]
"""How categories become numbers."""


class PiecewiseLinear(Trick):
    """Replaces each number by how far it lies into each of `bins` quantile bins: a soft thermometer.

    e_t = clip((x - b_t) / (b_{t+1} - b_t), 0, 1) for t = 1 ... bins, edges at training quantiles.

    Doses:
        bins: bins for each column, 2 to 64. Raising it resolves finer, costs inputs, and overfits sooner.

    Shape: [..., f] to [..., f · bins].

    Example:
        >>> PiecewiseLinear(bins=16).bins
        16

    Source: Gorishniy et al. 2022, "On embeddings for numerical features in tabular deep learning", section 3.2 (PLE from
    quantiles). Departure: the first and last bin are clipped too.
    """

    reads: ClassVar[tuple[DataKind, ...]] = ("table",)
    unit: ClassVar[str] = "columns"
    kind: Literal["piecewise_linear"] = "piecewise_linear"
    bins: Annotated[int, Range(2, 64, log=True, search=(8, 24), shared=True, raising="finer, more inputs")] = 16


class Periodic(Trick):
    """Gives each number learned waves: cosines of learned frequencies, mixed by a small linear layer, beside the number.

    e = [x, W·cos(2π(c·x + φ)) + b], c ~ N(0, sigma²), φ ~ U(0, 1), for each column its own c, φ, W, b.

    Doses:
        frequencies: waves for each column, 1 to 64. Raising it can follow finer structure and costs time.
        size: outputs for each column beside the number itself, 1 to 32.
        sigma: spread of the first frequencies, 0.001 to 10, log. Raising it starts with faster waves: rougher functions.

    Shape: [..., f] to [..., f · (size + 1)].

    Example:
        >>> Periodic(sigma=0.1).frequencies
        16

    Source: PBLD of Holzmüller et al. 2024 (arXiv 2407.04491), after the periodic embeddings of Gorishniy et al. 2022
    (arXiv 2203.05556). Departure: none in the formula; phases are drawn in turns instead of radians.
    """

    reads: ClassVar[tuple[DataKind, ...]] = ("table",)
    unit: ClassVar[str] = "columns"
    kind: Literal["periodic"] = "periodic"
    frequencies: Annotated[int, Range(1, 64, log=True, search=(16, 16), shared=True, raising="finer, slower")] = 16
    size: Annotated[int, Range(1, 32, log=True, search=(3, 3), shared=True, raising="richer, slower")] = 3
    sigma: Annotated[float, Range(0.001, 10.0, log=True, search=(0.03, 8.0), raising="rougher functions at the start")] = 0.1


Numbers = Annotated[Off | PiecewiseLinear | Periodic, Options()]
"""How numbers are embedded: off feeds each as one input."""

Features = Annotated[Off | MiniRocket | Hydra | RocketHydra | Ngrams, Options()]
"""Fixed features for networks that read rows; networks that read steps take the series or the text itself."""


class Data(BaseModel):
    """The data slot: scaling of numbers, coding of categories, embedding of numbers; for pictures, series and texts also
    what follows these.

    Example:
        >>> Data(scale="robust").scale
        Robust(kind='robust', limit=3.0)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    scale: Scale = Standardize()
    categories: Categories = OneHot()
    numbers: Numbers = Off()
    whiten: Whiten = Off()
    channels: Channels = Off()
    instance: Instance = Off()
    differences: Differences = Off()
    gaps: Gaps = Off()
    features: Features = Off()
    tokens: Tokens = Embedded()


def _safe(width: Tensor) -> Tensor:
    """A divisor: 1 where a column does not vary or is missing."""
    return torch.where(width.isfinite() & (width > 0), width, 1.0)


def _quantiles(x: Tensor, levels: Tensor) -> Tensor:
    """Quantiles [f, q] of the values that are there, column by column; 0 for an empty column.

    Of more than `_ENOUGH` rows, evenly spaced ones. A sort for each column: `torch.quantile` refuses inputs of more than 16
    million elements.
    """
    rows = []
    for column in x[:: max(1, len(x) // _ENOUGH)].unbind(1):
        there = column[~column.isnan()].double().sort().values
        if len(there) == 0:
            rows.append(torch.zeros(len(levels), dtype=torch.float64, device=x.device))
            continue
        place = levels.to(x.device) * (len(there) - 1)
        low = place.floor().long()
        rows.append(torch.lerp(there[low], there[(low + 1).clamp(max=len(there) - 1)], place - low))
    return torch.stack(rows) if rows else torch.zeros(0, len(levels), dtype=torch.float64)
