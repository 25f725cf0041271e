"""A person's table as raw tensors with their schema: everything that training needs to know of the data.

Whatever is inferred or fitted here (kinds, vocabularies, offsets, classes) comes from *development rows*, those outside test.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from titrant.data.columns import understand_columns
from titrant.data.roles import Roles, divide_rows, group_numbers
from titrant.data.schema import Schema
from titrant.data.sources import is_text_file, open_frame
from titrant.data.split import Split
from titrant.data.summary import summarize
from titrant.data.target import judged_by, understand_target, with_target
from titrant.record import DataSummary
from titrant.texts import say


@dataclass(frozen=True)
class Dataset:
    """Raw tensors with their schema.

    Rows: all rows of the data in their order, without those that lack the target, then those of the test file alike.

    Attributes:
        schema: what the columns and the target are.
        numbers: float32 [N, F], NaN for missing.
        codes: int32 [N, C]: 0 unseen, 1 missing, 2 and up the vocabulary.
        target: [N]; int64 positions in `schema.classes` (-1 in rows of no part, whose class no development row has) or float32
            values.
        split: the rows of each part.
        groups: int64 [N], what folds hold out as a whole: groups, or stretches of time; None without such a column.
        summary: for the report.
        values: a regression target in float64 [N]; None for classes.
        absent: slots of tricks that have nothing to act on, apart from those for numbers and categories.
    """

    schema: Schema
    numbers: Tensor
    codes: Tensor
    target: Tensor
    split: Split
    groups: Tensor | None
    summary: DataSummary
    values: NDArray[np.float64] | None = None
    absent: ClassVar[tuple[str, ...]] = ()

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What a model reads of all rows, as they came."""
        return self.numbers, self.codes

    @property
    def judging(self) -> float:
        """Seconds that predicting the test rows takes, at most about."""
        return len(self.split.test) * max(1, self.numbers.shape[1] + self.codes.shape[1]) / 1e6

    @property
    def has_numbers(self) -> bool:
        """Whether there are number columns."""
        return self.numbers.shape[1] > 0

    @property
    def has_categories(self) -> bool:
        """Whether there are category columns."""
        return self.codes.shape[1] > 0


def read(
    data: object,
    target: str,
    *,
    opened: pl.DataFrame | None = None,
    task: str | None = None,
    kinds: dict[str, str] | None = None,
    test: object = None,
    split_column: str | None = None,
    group: str | None = None,
    time: str | None = None,
    seed: int = 0,
    hold_out: bool = True,
    notes: list[str],
) -> Dataset:
    """Reads data, understands its columns, divides its rows and encodes them.

    Args:
        data: what `open_frame` takes.
        target: the column to predict.
        opened: the data, where they are open already.
        task: binary, multiclass, classification or regression; inferred if None.
        kinds: by column, number, category, boolean, date or ignore, in place of the inferred kind.
        test: rows to test on, as `data`; drawn from the data if None.
        split_column: a column that says train, validation (valid, val, dev) or test for each row, in any case.
        group: a column whose equal values never straddle parts, such as a patient or a shop.
        time: a column by which rows are ordered; the newest are tested on.
        seed: of the division.
        hold_out: False draws no test rows, for callers who test on rows of their own.
        notes: receives warnings for the person.

    Raises:
        DataError: the data cannot be read or used as asked; the message says what, where and what to do.

    Example:
        >>> table = {"x": [0.5 * i for i in range(60)], "y": ["low"] * 30 + ["high"] * 30}
        >>> dataset = read(table, "y", notes=[])
        >>> dataset.schema.task, dataset.schema.classes, tuple(dataset.numbers.shape)
        ('binary', ('high', 'low'), (60, 1))
    """
    frame = open_frame(data, notes) if opened is None else opened
    asked = dict(kinds or {})
    roles = Roles(target, split_column, group, time)
    roles.check(frame, asked)
    frame = with_target(frame, target, notes, say("the data"))
    frames = [frame] if test is None else [frame, with_target(open_frame(test, notes), target, notes, say("the test data"))]
    groups = group_numbers(frames, roles, notes)
    split = divide_rows(frames, roles, task, groups, seed, notes, hold_out)

    development = frame[split.development.numpy()]
    written = is_text_file(data)
    task_, classes = understand_target(development[target], task, written, notes)
    columns, left_out = understand_columns(development, roles, asked, written, notes)
    schema = Schema(task=task_, target=target, classes=classes, columns=tuple(columns), left_out=left_out)

    encoded = [schema.encode(one, notes, known=one is frame) for one in frames]
    targets, values, split = judged_by(schema, frames, split, notes)
    return Dataset(
        schema=schema,
        numbers=torch.cat([numbers for numbers, _ in encoded]),
        codes=torch.cat([codes for _, codes in encoded]),
        target=targets,
        split=split,
        groups=None if groups is None else torch.from_numpy(groups),
        summary=summarize(data, schema, development, split, targets),
        values=values,
    )
