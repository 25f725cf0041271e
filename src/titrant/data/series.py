"""Series as values with their schema: everything that training needs to know of them.

    find_series → a table of what is known of each, and values [n, c, t] → divide → classes

Labels, parts, groups and times are columns, so what is done with them is the code that tables use.
"""

from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from titrant.data.roles import Roles, divide_rows, group_numbers
from titrant.data.schema import Outputs, Rows
from titrant.data.sequences import SERIES, Known, find_series
from titrant.data.split import Split
from titrant.data.summary import summary_of
from titrant.data.target import (
    judged_by,
    target_column,
    task_of_arrays,
    understand_target,
    with_target,
)
from titrant.record import DataSummary
from titrant.texts import say


class Stepped(Outputs):
    """What a model reads step by step, and what it predicts.

    Attributes:
        channels: of a series.
        steps: of the longest one.
        ragged: whether others end earlier.
        by, time: columns of a table of steps, as they were named.
        form: how the latter is written, see `titrant.data.times.Times`; None without one, or if that was not kept.
        horizon: steps that are forecast; None where each series has a label or a value.
    """

    channels: tuple[str, ...]
    steps: int
    ragged: bool = False
    by: str | None = None
    time: str | None = None
    form: str | None = None
    horizon: int | None = None

    def rows(self, data: object, notes: list[str]) -> Rows:
        """Reads what the model shall predict."""
        raise NotImplementedError

    def blank(self) -> tuple[Tensor, ...]:
        """One series in which everything is missing."""
        return (torch.full((1, len(self.channels), self.steps), torch.nan),)


S = TypeVar("S", bound=Stepped)


class SeriesSchema(Stepped):
    """The series that a model reads and the target that it predicts.

    Attributes:
        step: of a table, from one time to the next, in seconds or in their own unit; None where only their order counts, 0
            if it was not kept.

    Example:
        >>> schema = SeriesSchema(task="binary", target="label", classes=("a", "b"), channels=("x",), steps=24)
        >>> [tuple(tensor.shape) for tensor in schema.blank()]
        [(1, 1, 24)]
    """

    kind: Literal["series"] = "series"
    step: float | None = 0.0

    def rows(self, data: object, notes: list[str]) -> Rows:
        """Finds series and brings them to the steps and channels of the model; each row's name is its series' name.

        Raises:
            DataError: there are none, or channels are missing.
        """
        found = find_series(data, None, None, self.by, self.time, notes, Known(self.channels, self.form, self.step))
        return Rows((self._fitted(found.values, notes),), found.frame[SERIES].cast(pl.String))

    def _fitted(self, values: NDArray[np.float32], notes: list[str]) -> Tensor:
        """Values [n, channels, steps]; longer series are cut at the model's length."""
        if values.shape[2] > self.steps:
            longer = int((~np.isnan(values[:, :, self.steps :])).any((1, 2)).sum())
            if longer:
                notes.append(
                    say("{count} series are longer than the {steps} steps that the model knows; they are cut there.",
                        count=longer, steps=self.steps)
                )  # fmt: skip
        return _padded(values[:, :, : self.steps], self.steps)


@dataclass(frozen=True)
class Series(Generic[S]):
    """Values with their schema; attributes as of `titrant.data.dataset.Dataset`.

    Attributes:
        series: float32 [N, c, t], NaN for what is missing and behind a series' end.
        names: of the series.
        origins: of windows, int64 [N] the first step that is to be predicted; None where each series has a label or a value.
    """

    schema: S
    series: Tensor
    names: pl.Series
    target: Tensor
    split: Split
    groups: Tensor | None
    summary: DataSummary
    values: NDArray[np.float64] | None = None
    origins: Tensor | None = None
    has_numbers: ClassVar[bool] = True
    has_categories: ClassVar[bool] = False

    @property
    def absent(self) -> tuple[str, ...]:
        """What needs gaps, several channels, or at least some steps, where there are none."""
        steps = self.series.shape[2]
        inside = torch.arange(steps) < (~self.series.isnan().all(1) * torch.arange(1, steps + 1)).amax(-1, keepdim=True)
        gaps = bool((self.series.isnan() & inside.unsqueeze(1)).any())
        moving = ("time_warp", "window_slice", "window_warp", "permutation", "magnitude_warp", "frequency_mask")
        augmented = ("jitter", "amplify", "sign_flip", *moving) if self.schema.horizon is not None else ()
        return (
            *(f"augment.{name}" for name in augmented),
            *(["mix"] if augmented else []),
            *([] if gaps else ["data.gaps"]),
            *([] if self.series.shape[1] > 1 else ["augment.channel_drop", "data.channels"]),
            *([] if steps > 1 else ["data.differences", *(f"augment.{name}" for name in moving)]),
        )

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What a model reads of all rows, as they came."""
        return (self.series,)

    @property
    def judging(self) -> float:
        """Seconds that predicting the test rows takes, at most about: features of ten thousand kernels, several networks."""
        return len(self.split.test) * self.series[:1].numel() * 2e-5


def read_series(
    data: object,
    target: str | None = None,
    *,
    task: str | None = None,
    test: object = None,
    split_column: str | None = None,
    group: str | None = None,
    by: str | None = None,
    time: str | None = None,
    seed: int = 0,
    hold_out: bool = True,
    notes: list[str],
) -> Series[SeriesSchema]:
    """Reads series, divides them and understands their labels.

    Args:
        data: what `find_series` takes.
        target: the column of labels; found if None.
        task, split_column, group, seed, hold_out: as for `titrant.data.dataset.read`.
        test: series to test on, as `data`.
        by: of a long table, the column that says which series a row belongs to.
        time: of a long table, the column that orders the rows of a series.
        notes: receives warnings for the person.

    Raises:
        DataError: the series cannot be read or used as asked; the message says what, where and what to do.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(40, 1, 12)).astype(np.float32)
        >>> found = read_series({"x": x, "y": np.arange(40) % 2}, notes=[])
        >>> found.schema.steps, found.schema.classes, tuple(found.series.shape)
        (12, (0, 1), (40, 1, 12))
    """
    first = find_series(data, target, split_column, by, time, notes)
    sources = [first]
    if test is not None:
        sources.append(find_series(test, target, None, by, time, notes, Known(first.channels, first.form, first.step)))
    label = target_column(
        [name for name in first.frame.columns if name != SERIES],
        target,
        first.target,
        say("the series"),
        say("Give them as y beside x, in the last field of a .ts file, or name the column with --target."),
    )
    steps = max(source.values.shape[2] for source in sources)
    frames, values = [], []
    for source in sources:
        numbered = source.frame.with_row_index("titrant row")
        kept = with_target(numbered, label, notes, say("the series"))
        rows = kept["titrant row"].to_numpy()
        frames.append(kept.drop("titrant row"))
        values.append(_padded(source.values[rows] if len(rows) < len(source.values) else source.values, steps))
    roles = Roles(label, split_column or first.split, group, None)
    roles.check(frames[0], {})
    groups = group_numbers(frames, roles, notes)
    split = divide_rows(frames, roles, task, groups, seed, notes, hold_out)
    development = frames[0][split.development.numpy()]
    asked = task or (None if by is not None else task_of_arrays(development[label]))
    task_, classes = understand_target(development[label], asked, first.written, notes)
    every = values[0] if len(values) == 1 else torch.cat(values)
    schema = SeriesSchema(
        task=task_, target=label, classes=classes, channels=first.channels, steps=steps, by=by, time=time,
        form=first.form, step=first.step, ragged=bool(every[:, :, -1].isnan().all(1).any()),
    )  # fmt: skip
    targets, exact, split = judged_by(schema, frames, split, notes)
    return Series(
        schema=schema,
        series=every,
        names=pl.concat([frame[SERIES].cast(pl.String) for frame in frames]),
        target=targets,
        split=split,
        groups=None if groups is None else torch.from_numpy(groups),
        summary=summary_of(data, say("series in memory"), schema, split, targets, series=_shape(schema)),
        values=exact,
    )


def _padded(values: NDArray[np.float32], steps: int) -> Tensor:
    """Values [n, c, t] with missing ones behind their end, so that there are so many steps."""
    if values.shape[2] == steps:
        return torch.from_numpy(np.ascontiguousarray(values))
    found = torch.full((*values.shape[:2], steps), torch.nan)
    found[:, :, : values.shape[2]] = torch.from_numpy(np.ascontiguousarray(values))
    return found


def _shape(schema: SeriesSchema) -> str:
    steps, channels = schema.steps, len(schema.channels)
    if schema.ragged:
        return say("up to {steps} steps of {channels} channels", steps=steps, channels=channels)
    return say("{steps} steps of {channels} channels", steps=steps, channels=channels)
