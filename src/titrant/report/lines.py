"""Series for the report: training series as a network reads them, and as a recipe augments them."""

import math

import torch
from torch import Tensor

from titrant.data.forecast import ForecastSchema
from titrant.data.learnable import Learnable, truth_of
from titrant.data.series import Series, SeriesSchema
from titrant.models.series import around
from titrant.recipe import Recipe
from titrant.record import Fan, Line
from titrant.report.shown import label_of, spread
from titrant.train.member import Member
from titrant.train.series import SeriesProblem
from titrant.tricks.acting import Ledger, Streams

_SAMPLES = 6
_VERSIONS = 3
_CHANNELS = 3
_FANS = 6
_STEPS = 200


def lines(dataset: Learnable, recipe: Recipe, seed: int) -> list[Line]:
    """A few training series, evenly spaced over the targets, each with versions that training sees; none of other data."""
    if not isinstance(dataset, Series) or dataset.schema.horizon is not None:
        return []
    rows = spread(dataset, _SAMPLES)
    plain = recipe.without("data.features")  # what a network that reads steps would see
    series, every = dataset.series[rows], torch.arange(len(rows))
    classes = max(1, len(dataset.schema.classes))
    problem = SeriesProblem(series, dataset.target[rows], dataset.schema.task, classes, every, series.device)
    kept = tuple(part.unsqueeze(0) for part in problem.encoded(plain.data, every).inputs)
    steps, ends = (part[0] for part in problem.ready(kept))
    seen = problem.seen_by(
        [Member(0, plain, seed, "report", every, every)], Streams([seed], series.device), Ledger(1, series.device)
    )
    augmented = any(path.startswith("augment.") and trick.kind != "off" for path, trick in recipe.tricks())
    acts = augmented and recipe.data.features.kind == "off"
    versions = [
        seen.augmented(tuple(part.clone() for part in kept), every.unsqueeze(0))[0][0] for _ in range(_VERSIONS if acts else 0)
    ]
    return [
        Line(
            name=str(dataset.names[int(row)]),
            label=label_of(dataset, int(row)),
            values=_shown(steps[place], int(ends[place])),
            augmented=[_shown(version[place], int(ends[place])) for version in versions],
        )
        for place, row in enumerate(rows)
    ]


def forecasts(
    dataset: Series[SeriesSchema] | Series[ForecastSchema], rows: Tensor, predicted: Tensor, band: Tensor | None
) -> dict[str, object]:
    """Forecasts of a few held-out windows, and how much of the truth the band holds; nothing of other tasks.

    Args:
        dataset: the windows.
        rows: held-out ones [m].
        predicted: for these [m, h].
        band: around predictions, [2, h] in units of a window's unrest.
    """
    if dataset.values is None or dataset.values.ndim == 1:
        return {}
    truth = truth_of(dataset)[rows]
    low, high = around(dataset.series[rows], predicted, band) if band is not None else (None, None)
    inside = None if low is None or high is None else ((truth.numpy() >= low) & (truth.numpy() <= high)).mean()
    chosen = torch.linspace(0, len(rows) - 1, min(_FANS, len(rows))).long().tolist()
    shown = 3 * predicted.shape[1]
    fans = [
        Fan(
            name=str(dataset.names[int(rows[place])]),
            history=[None if value != value else value for value in dataset.series[rows[place], 0, -shown:].tolist()],
            truth=truth[place].tolist(),
            predicted=predicted[place].tolist(),
            low=[] if low is None else low[place].tolist(),
            high=[] if high is None else high[place].tolist(),
        )
        for place in chosen
    ]
    return {"fans": fans, "coverage": None if inside is None else float(inside)}


def _shown(steps: Tensor, end: int) -> list[list[float | None]]:
    """The first channels [c, t] up to the series' end, every so many steps where there are more than can be seen."""
    every = math.ceil(end / _STEPS)
    kept = steps[:_CHANNELS, :end:every].double()
    return [[round(value, 4) for value in channel] for channel in kept.tolist()]
