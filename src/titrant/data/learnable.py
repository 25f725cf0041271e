"""Whatever data are: the one place that tells kinds of data apart when they are read."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from titrant.data.dataset import Dataset, read
from titrant.data.decode import Progress
from titrant.data.forecast import ForecastSchema, read_forecast
from titrant.data.images import Images, ImageSchema, read_images
from titrant.data.pictures import are_pictures
from titrant.data.schema import Schema
from titrant.data.sequences import are_series
from titrant.data.series import Series, SeriesSchema, read_series
from titrant.data.sources import check_file, is_text_file, open_frame
from titrant.data.split import folds
from titrant.data.text import Texts, TextSchema, lone_text, read_texts
from titrant.errors import DataError
from titrant.record import Source
from titrant.texts import say

Learnable = Dataset | Images | Series[SeriesSchema] | Series[ForecastSchema] | Texts
"""Data of any kind: raw tensors with their schema, divided."""

AnySchema = Schema | ImageSchema | SeriesSchema | ForecastSchema | TextSchema
"""How rows of any kind are read for a model."""


def read_data(
    data: object,
    target: str | None,
    *,
    task: str | None = None,
    kinds: dict[str, str] | None = None,
    test: object = None,
    split_column: str | None = None,
    group: str | None = None,
    by: str | None = None,
    time: str | None = None,
    horizon: int | None = None,
    text: str | None = None,
    seed: int = 0,
    hold_out: bool = True,
    size: int | None = None,
    notes: list[str],
    progress: Progress = lambda done, all_: None,
) -> Learnable:
    """Reads a table, pictures, series or texts; see `titrant.data.dataset.read`, `titrant.data.images.read_images`,
    `titrant.data.series.read_series`, `titrant.data.forecast.read_forecast` and `titrant.data.text.read_texts`.

    A table whose single usable column holds texts of several words is read as texts; `text` names such a column elsewhere.

    Raises:
        DataError: the data cannot be used as asked; also where an option does not fit their kind.

    Example:
        >>> table = {"x": [0.5 * i for i in range(60)], "y": ["low"] * 30 + ["high"] * 30}
        >>> type(read_data(table, "y", notes=[])).__name__
        'Dataset'
    """
    if horizon is not None:
        for option, value in (
            (say("Kinds of columns"), kinds), (say("A size in pixels"), size), (say("A task"), task), (say("Test data"), test),
            (say("A split column"), split_column), (say("A group column"), group), (say("A column of texts"), text),
        ):  # fmt: skip
            if value:
                raise DataError(say("{option} cannot be given with a horizon.", option=option))
        return read_forecast(data, target, horizon, by=by, time=time, hold_out=hold_out, notes=notes)
    if are_series(data, by):
        for option, value in (
            (say("Kinds of columns"), kinds), (say("A size in pixels"), size), (say("A column of texts"), text),
        ):  # fmt: skip
            if value:
                raise DataError(say("{option} cannot be given with series.", option=option))
        return read_series(
            data, target, task=task, test=test, split_column=split_column, group=group, by=by, time=time, seed=seed,
            hold_out=hold_out, notes=notes,
        )  # fmt: skip
    if by is not None:
        raise DataError(say("A column of series (--id) is for tables whose rows are steps of series; these data are none."))
    if text is None and are_pictures(data):
        if kinds:
            raise DataError(say("Kinds of columns are for tables; pictures have none."))
        return read_images(
            data, target, task=task, test=test, split_column=split_column, group=group, time=time, seed=seed,
            hold_out=hold_out, size=size, notes=notes, progress=progress,
        )  # fmt: skip
    if size is not None:
        raise DataError(say("A size in pixels is for pictures; the data are a table."))
    if text is not None and kinds:
        raise DataError(say("Kinds of columns cannot be given with a column of texts, which alone is read."))
    if target is None:
        if isinstance(data, str | Path):
            check_file(Path(data).expanduser())
        raise DataError(
            say(
                "Name the column to predict (--target). Only pictures in folders of classes, and series with labels, need none."
            )
        )
    opened = open_frame(data, notes)
    if text is None and not kinds:
        text = lone_text(opened, (target, split_column, group, time), is_text_file(data))
    if text is not None:
        return read_texts(
            data, text, target, opened=opened, task=task, test=test, split_column=split_column, group=group, time=time,
            seed=seed, hold_out=hold_out, notes=notes,
        )  # fmt: skip
    return read(
        data, target, opened=opened, task=task, kinds=kinds, test=test, split_column=split_column, group=group, time=time,
        seed=seed, hold_out=hold_out, notes=notes,
    )  # fmt: skip


def truth_of(dataset: Learnable) -> Tensor:
    """What predictions of all rows are judged by: classes int64 [N], or values float64 [N], of forecasts [N, h].

    Example:
        >>> truth_of(read_data({"x": [i % 7 for i in range(60)], "y": [0.1 * i for i in range(60)]}, "y", notes=[])).dtype
        torch.float64
    """
    return dataset.target if dataset.values is None else torch.from_numpy(dataset.values)


def source_of(data: object, target: str | None, test: object, **options: Any) -> Source:
    """What to keep of the arguments of `read_data`, so that `read_again` can read the same rows.

    Args:
        data, target, test: as for `read_data`.
        options: its other arguments, by name.

    Example:
        >>> source = source_of({"x": [1.0]}, "y", None, seed=3)
        >>> source.data, source.target, source.seed
        (None, 'y', 3)
    """
    places = {name: _place(value) for name, value in (("data", data), ("test", test))}
    if test is not None and places["test"] is None:
        places["data"] = None  # half of the data would not be the same data
    return Source(**places, target=target, **options)


_HASHED = 1 << 26  # bytes of rows that go into a digest


def digest_of(dataset: Learnable) -> str:
    """A short name for the rows of a data set as they were read, in their order.

    Of data of more than 64 MB, evenly spaced rows stand for all, beside every target.

    Example:
        >>> table = {"x": [0.5 * i for i in range(60)], "y": ["low"] * 30 + ["high"] * 30}
        >>> digest_of(read_data(table, "y", notes=[])) == digest_of(read_data(dict(reversed(table.items())), "y", notes=[]))
        True
    """
    inputs = dataset.inputs
    every = -(-sum(tensor.nbytes for tensor in inputs) // _HASHED) or 1
    found = sha256()
    for tensor in (*(rows[::every] for rows in inputs), truth_of(dataset)):
        found.update(str((tensor.dtype, *tensor.shape)).encode())
        found.update(np.ascontiguousarray(tensor.numpy()).data)
    return found.hexdigest()[:16]


def folds_of(dataset: Learnable, rows: Tensor, k: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Folds of some rows: with like shares of classes, groups and stretches of time held out as a whole.

    Args:
        dataset: the data.
        rows: int64 [n] positions of the rows to divide.
        k: number of folds; fewer where there are fewer groups, or not two rows for each.
        seed: of the random numbers.

    Returns:
        Pairs (train, held_out) as `titrant.data.split.folds` makes them; none where rows cannot be divided. Of windows, those
        stand in neither part whose steps to predict overlap with some of the held-out part.

    Example:
        >>> table = {"x": [0.5 * i for i in range(60)], "y": ["low"] * 30 + ["high"] * 30}
        >>> dataset = read_data(table, "y", notes=[])
        >>> [len(held_out) for _, held_out in folds_of(dataset, dataset.split.development, 3, seed=0)]
        [16, 16, 16]
    """
    groups = len(rows) if dataset.groups is None else len(np.unique(dataset.groups[rows].numpy()))
    count = min(k, groups, len(rows) // 2)
    strata = None if dataset.schema.task == "regression" else dataset.target
    pairs = folds(rows, strata, dataset.groups, count, seed) if count > 1 else []
    if isinstance(dataset, Series) and dataset.origins is not None and dataset.schema.horizon is not None:
        pairs = [(_apart(train, held, dataset.origins, dataset.schema.horizon), held) for train, held in pairs]
    return pairs if all(len(train) for train, _ in pairs) else []


def _apart(train: Tensor, held: Tensor, origins: Tensor, horizon: int) -> Tensor:
    """Windows to learn from that share no moment to predict with a held-out one, of whatever series."""
    known = torch.unique(origins[held])
    mine = origins[train].contiguous()
    after = torch.searchsorted(known, mine)
    to_next = (known[after.clamp(max=len(known) - 1)] - mine).abs()
    to_last = (known[(after - 1).clamp(min=0)] - mine).abs()
    return train[torch.minimum(to_next, to_last) >= horizon]


def _place(data: object) -> str | None:
    return str(Path(data).expanduser().absolute()) if isinstance(data, str | Path) else None


def read_again(
    source: Source, notes: list[str], data: object = None, progress: Progress = lambda done, all_: None
) -> Learnable:
    """Reads the data of a run once more, divided as they were.

    Args:
        source: what the run left.
        notes: receives warnings for the person.
        data: the data themselves, for a run on data in memory or a file that has moved.
        progress: is told how many pictures are decoded.

    Raises:
        DataError: the data are not to be had, cannot be read, or have changed.
    """
    given = source.data if data is None else data
    if given is None:
        raise DataError(say("The data of this run were in memory and are not in its folder. Give them (--data)."))
    options = source.model_dump(exclude={"data", "target", "kinds", "digest"})
    found = read_data(given, source.target, kinds=source.kinds or None, notes=notes, progress=progress, **options)
    if source.digest and digest_of(found) != source.digest:
        place = say("The data that were given") if _place(given) is None else _place(given)
        raise DataError(
            say(
                "{place}: these are not the rows of this run; they have changed, or another version of Titrant or of a library "
                "reads them otherwise. Give the rows of then (--data), or begin a new run.",
                place=place,
            )
        )
    return found
