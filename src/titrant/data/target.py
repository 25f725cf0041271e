"""Understands the target: which rows have one, whether it is a class or a quantity, and what its classes are."""

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray
from torch import Tensor, cat

from titrant.data import cells
from titrant.data.schema import LARGEST_TARGET, Label, Outputs
from titrant.data.sources import listed, near
from titrant.data.split import Split
from titrant.errors import DataError
from titrant.record import Task
from titrant.texts import say

FEW_CLASSES = 20  # distinct whole numbers up to which a target may be a class


def target_column(columns: list[str], asked: str | None, found: str | None, what: str, remedy: str) -> str:
    """The column of labels of data that are no table: the one that was asked for, or the one that was found.

    Args:
        columns: what is known of each row.
        asked: what the person named.
        found: the likeliest column.
        what: the data in a word, such as "the pictures".
        remedy: what to do if there is none.

    Raises:
        DataError: there is none, or none of that name.
    """
    if asked is not None and asked not in columns:
        raise DataError(
            say("The target {name!r} is not known of {what}.{hint}", name=asked, what=what, hint=near(asked, columns))
        )
    target = asked or found
    if target is None:
        raise DataError(say("There are no labels for {what}. {remedy}", what=what, remedy=remedy))
    return target


def task_of_arrays(labels: pl.Series) -> str | None:
    """Classification where labels of arrays are whole numbers by type, each of them twice on average; None to look closer.

    A column of a table may hold whole numbers that are quantities. Beside arrays of pictures or series, whole numbers are how
    labels are kept, and quantities are kept as floats.
    """
    whole = labels.dtype.is_integer() and 2 * labels.n_unique() <= len(labels)
    return "classification" if whole else None


def with_target(frame: pl.DataFrame, target: str, notes: list[str], place: str) -> pl.DataFrame:
    """The rows whose target is there and finite; how many are not is noted."""
    if target not in frame.columns:
        raise DataError(
            say("The target {name!r} is not in {place}.{hint}", name=target, place=place, hint=near(target, frame.columns))
        )
    series = frame[target]
    if series.dtype.is_temporal() and series.dtype != pl.Duration:
        raise DataError(
            say(
                "The target {name!r} holds dates. Turn it into what you want to predict, such as a number of days.", name=target
            )
        )
    missing = series.is_null()
    endless = cells.number(series).is_infinite().fill_null(False) if series.dtype.is_float() else missing & False
    for rows, reason in ((missing, say("is missing")), (endless, say("is infinite"))):
        if rows.any():
            notes.append(
                say(
                    "{count} of {rows} rows in {place} are left out, as their target {reason}.",
                    count=int(rows.sum()),
                    rows=frame.height,
                    place=place,
                    reason=reason,
                )
            )
    kept = frame.filter(~(missing | endless))
    if kept.height == 0:
        raise DataError(say("No row in {place} has a value in the target {name!r}.", place=place, name=target))
    return kept


def stratification_key(series: pl.Series, task: str | None) -> tuple[NDArray[np.float64], bool]:
    """The target as numbers, its values or a numbering of its labels, and whether it holds labels.

    This only serves to draw parts of like make-up, as the task is understood later, from the rows that are not drawn for test.
    """
    numbers = cells.number(series)
    named = series.dtype == pl.Boolean or numbers.null_count() > 0 or bool(numbers.is_infinite().any())
    key = cells.text(series).rank("dense").cast(pl.Float64) if named else numbers
    return key.to_numpy(), task != "regression" and (task is not None or named or key.n_unique() <= FEW_CLASSES)


def understand_target(series: pl.Series, asked: str | None, written: bool, notes: list[str]) -> tuple[Task, tuple[Label, ...]]:
    """The task and the classes in the order of a model's outputs (none in regression).

    Args:
        series: the target of development rows, without missing cells.
        asked: binary, multiclass, classification, regression, or None to infer it.
        written: the rows come from a text file, where numbers and text look alike.
        notes: receives warnings for the person.

    Raises:
        DataError: there is nothing to learn, or the target does not fit the task.
    """
    tasks = (*get_args(Task), "classification")
    if asked is not None and asked not in tasks:
        raise DataError(
            say(
                "There is no task {task!r}.{hint} Tasks are {tasks}.",
                task=asked,
                hint=near(asked, tasks),
                tasks=", ".join(tasks),
            )
        )
    distinct = series.n_unique()
    if distinct < 2:
        raise DataError(
            say(
                "The target {name!r} has only one class or value, {value!r}, in the rows to learn from. There is "
                "nothing to learn.",
                name=series.name,
                value=series[0],
            )
        )
    if asked == "regression" or (asked is None and _is_quantity(series, distinct, written, notes)):
        _check_quantity(series)
        return "regression", ()
    if distinct > len(series) / 2 and distinct > 2:
        raise DataError(
            say(
                "The target {name!r} has {distinct} different values in {rows} rows, such as {example!r}: too many for "
                "classes. For numbers, mend cells that are none and choose the task regression; else choose another target.",
                name=series.name,
                distinct=distinct,
                rows=len(series),
                example=series[0],
            )
        )
    if asked == "binary" and distinct > 2:
        raise DataError(
            say(
                "The target {name!r} has {distinct} classes, so the task is not binary. Choose multiclass.",
                name=series.name,
                distinct=distinct,
            )
        )
    return "binary" if distinct == 2 else "multiclass", _labels(series, written)


def _is_quantity(series: pl.Series, distinct: int, written: bool, notes: list[str]) -> bool:
    """Numbers with fractions are a quantity; few whole numbers that start at 0 or 1, as codes do, are classes."""
    numbers = cells.number(series)
    if series.dtype == pl.Boolean or numbers.null_count():
        return False
    if (numbers != numbers.floor()).any():
        return True
    if series.dtype == pl.String and not written and distinct <= len(series) / 2:
        return False
    few = distinct <= FEW_CLASSES and len(series) >= 5 * distinct and numbers.min() in (-1.0, 0.0, 1.0)
    quantity = distinct > 2 and not few
    notes.append(
        say(
            "The target {name!r} holds {distinct} different whole numbers; they are taken as a quantity (regression). "
            "If they are classes, choose the task classification.",
            name=series.name,
            distinct=distinct,
        )
        if quantity
        else say(
            "The target {name!r} holds {distinct} different whole numbers; they are taken as classes. If they are a "
            "quantity, choose the task regression.",
            name=series.name,
            distinct=distinct,
        )
    )
    return quantity


def _check_quantity(series: pl.Series) -> None:
    numbers = cells.number(series)
    strange = series.filter(numbers.is_null() | ~(numbers.abs() <= LARGEST_TARGET))
    if len(strange):
        raise DataError(
            say(
                "The target {name!r} holds {count} cells that are no numbers within ±1e30, such as {example!r}. Mend or remove "
                "them, or choose the task classification.",
                name=series.name,
                count=len(strange),
                example=strange[0],
            )
        )


def _labels(series: pl.Series, written: bool) -> tuple[Label, ...]:
    """Classes in ascending order. Whole numbers in a text file come back as whole numbers if that is how they are written."""
    if series.dtype == pl.String and written and series.str.contains(r"^(?:0|-?[1-9]\d{0,17})$").all():
        series = series.cast(pl.Int64)
    if series.dtype == pl.Duration:
        series = cells.number(series)
    return tuple(series.unique().sort().to_list())


def judged_by(
    schema: Outputs, frames: Sequence[pl.DataFrame], split: Split, notes: list[str]
) -> tuple[Tensor, NDArray[np.float64] | None, Split]:
    """What predictions of rows are judged by, and the division without test rows that cannot be judged.

    Args:
        schema: what the target is.
        frames: with the column of the target; the rows of one follow those of the other.
        split: the division.
        notes: receives warnings for the person.

    Returns:
        Targets [N], see `titrant.data.dataset.Dataset`; values [N] of a regression in double precision; the division.

    Raises:
        DataError: the training rows show nothing to learn, or no test row can be judged.
    """
    targets = cat([schema.encode_target(frame) for frame in frames])
    values = np.concatenate([schema.target_values(frame) for frame in frames]) if schema.task == "regression" else None
    split = _with_usable_test_rows(schema, split, targets, notes)
    _check_train(schema, split, targets, values, notes)
    return targets, values, split


def _with_usable_test_rows(schema: Outputs, split: Split, targets: Tensor, notes: list[str]) -> Split:
    """Without test rows that cannot be scored: of a class that no development row has, or no number in a regression."""
    test = targets[split.test]
    usable = test >= 0 if schema.task != "regression" else ~test.isnan()
    if usable.all():
        return split
    notes.append(
        say(
            "{count} test rows are left out: their target is none that the other rows know, or cannot be read.",
            count=int((~usable).sum()),
        )
    )
    if not usable.any():
        raise DataError(say("No test row has a target that the rows to learn from know. Is it written in the same way?"))
    return replace(split, test=split.test[usable])


def _check_train(schema: Outputs, split: Split, targets: Tensor, values: NDArray[np.float64] | None, notes: list[str]) -> None:
    """Train must show what there is to learn."""
    train = targets[split.train]
    exact = train.numpy() if values is None else values[split.train.numpy()]
    if (exact == exact[0]).all():
        raise DataError(
            say(
                "The target {name!r} has only one class or value in the rows to train on. Divide the rows so that "
                "train has more.",
                name=schema.target,
            )
        )
    if schema.task == "regression":
        return
    counts = targets[cat([split.train, split.validation])].bincount(minlength=len(schema.classes))
    for reason, chosen in (
        (say("have a single row outside test, kept in train if it could be chosen"), counts == 1),
        (say("have no row in train"), train.bincount(minlength=len(schema.classes)) == 0),
    ):
        names = [repr(schema.classes[place]) for place in chosen.nonzero().flatten().tolist()]
        if names:
            notes.append(say("Classes that {reason}: {names}.", reason=reason, names=listed(names)))
