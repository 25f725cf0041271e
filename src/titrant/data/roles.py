"""Columns that are no ordinary input (target, split, group, time), and the division of rows that follows from them."""

from dataclasses import dataclass
from typing import get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from titrant.data import cells
from titrant.data.kinds import Kind
from titrant.data.sources import near
from titrant.data.split import STRETCHES, TEST, TRAIN, VALIDATION, Split, divide
from titrant.data.target import stratification_key
from titrant.data.times import read_times
from titrant.errors import DataError
from titrant.texts import say

PART_NAMES = {
    "train": TRAIN,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "val": VALIDATION,
    "dev": VALIDATION,
    "test": TEST,
}


@dataclass(frozen=True)
class Roles:
    """Columns that are no ordinary input."""

    target: str
    split: str | None
    group: str | None
    time: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that have a role."""
        return tuple(name for name in (self.target, self.split, self.group, self.time) if name is not None)

    def check(self, frame: pl.DataFrame, kinds: dict[str, str]) -> None:
        """Refuses roles and kinds that the columns of the frame cannot have.

        Args:
            frame: the data.
            kinds: what the person asked columns to be read as.

        Raises:
            DataError: a column is not there, has two roles or holds no single values; there is no such kind.
        """
        named = {"target": self.target, "split column": self.split, "group column": self.group, "time column": self.time}
        given = {role: name for role, name in named.items() if name is not None}
        for role, name in given.items():
            _check_present(frame, name, role)
            if not cells.is_plain(frame[name]):
                raise DataError(
                    say("The {role} {name!r} holds lists, records or bytes; it must hold single values.", role=role, name=name)
                )
        if len(set(given.values())) < len(given):
            raise DataError(
                say(
                    "One column cannot have two roles: {roles}.",
                    roles=", ".join(f"{role} {name!r}" for role, name in given.items()),
                )
            )
        if self.group is not None and self.time is not None:
            raise DataError(say("Rows can be divided by groups or by time, not by both. Name only one of the two columns."))
        for name, kind in kinds.items():
            _check_present(frame, name, "column")
            if kind not in (*get_args(Kind), "ignore"):
                raise DataError(
                    say(
                        "Column {name!r}: there is no kind {kind!r}.{hint} Kinds are {kinds}.",
                        name=name,
                        kind=kind,
                        hint=near(kind, (*get_args(Kind), "ignore")),
                        kinds=", ".join((*get_args(Kind), "ignore")),
                    )
                )
            if name == self.target:
                raise DataError(say("{name!r} is the target: say how to read it with the task, not with a kind.", name=name))


def _check_present(frame: pl.DataFrame, name: str, role: str) -> None:
    if not isinstance(name, str) or name not in frame.columns:
        shown = ", ".join(map(repr, frame.columns[:20])) + (", ..." if frame.width > 20 else "")
        raise DataError(
            say(
                "The {role} {name!r} is not in the data.{hint} Its columns are {columns}.",
                role=role,
                name=name,
                hint=near(str(name), frame.columns),
                columns=shown,
            )
        )


def group_numbers(frames: list[pl.DataFrame], roles: Roles, notes: list[str]) -> NDArray[np.int64] | None:
    """What is held out as a whole: groups, or stretches of time; -1 in test rows of the person's that have none of either.

    Rows that follow one another are alike: held out one by one, each would be told by its neighbours. Source: Roberts et al.
    2017, "Cross-validation strategies for data with temporal, spatial, hierarchical, or phylogenetic structure".
    """
    if roles.time is not None:
        later = sum(frame.height for frame in frames[1:])
        return np.concatenate([_stretches(_time(frames[0][roles.time], [])), np.full(later, -1)])
    group = roles.group
    if group is None:
        return None
    if lacking := frames[0][group].null_count():
        raise DataError(
            say(
                "The group column {name!r} is missing in {count} rows. Fill it, or leave these rows out.",
                name=group,
                count=lacking,
            )
        )
    names = [
        cells.text(frame[group]) if group in frame.columns else pl.Series([None] * frame.height, dtype=pl.String)
        for frame in frames
    ]
    if len(frames) > 1 and (shared := int(names[1].is_in(names[0].implode()).sum())):
        notes.append(
            say(
                "{count} rows of the test data belong to groups that are in the data too; the test score flatters.",
                count=shared,
            )
        )
    together = pl.concat([one.alias("group") for one in names])
    return together.rank("dense").cast(pl.Int64).fill_null(0).to_numpy() - 1


def divide_rows(
    frames: list[pl.DataFrame],
    roles: Roles,
    task: str | None,
    groups: NDArray[np.int64] | None,
    seed: int,
    notes: list[str],
    hold_out: bool = True,
) -> Split:
    """Divides the rows of the data and, after them, those of the test data.

    Args:
        frames: the data, and the test data if there is any.
        roles: which columns say how rows belong together.
        task: as the person asked, if at all.
        groups: the number of each row's group, over all frames.
        seed: of the random numbers.
        notes: receives warnings for the person.
        hold_out: False draws no test rows from the data.

    Raises:
        DataError: rows cannot be divided so.
    """
    frame = frames[0]
    given = np.zeros(frame.height, np.int64) if roles.split is None else _given_parts(frame[roles.split])
    time = None if roles.time is None else _time(frame[roles.time], notes)
    key, labels = stratification_key(frame[roles.target], task)
    if len(frames) > 1:
        if (given == TEST).any():
            raise DataError(say("Both the column {name!r} and the test data name test rows. Give only one.", name=roles.split))
        later = frames[1].height
        given = np.concatenate([given, np.full(later, TEST)])
        key = np.concatenate([key, np.zeros(later)])
        time = None if time is None else np.concatenate([time, np.zeros(later)])
    split = divide(
        key, labels=labels, given=given, groups=None if time is not None else groups, time=time, seed=seed, hold_out=hold_out
    )
    if roles.group is not None and groups is not None and len(np.unique(groups[given == TRAIN])) == (given == TRAIN).sum():
        notes.append(say("Each row has a group of its own in {name!r}; grouping changes nothing.", name=roles.group))
    return split


def _given_parts(series: pl.Series) -> NDArray[np.int64]:
    words = cells.text(series).str.strip_chars().str.to_lowercase()
    parts = words.replace_strict(PART_NAMES, default=None, return_dtype=pl.Int64)
    if parts.null_count():
        strange = series.filter(parts.is_null()).unique(maintain_order=True).head(3).to_list()
        raise DataError(
            say(
                "The split column {name!r} holds {values} in {count} rows; expected {parts}.",
                name=series.name,
                values=", ".join("no value" if value is None else repr(value) for value in strange),
                count=parts.null_count(),
                parts=", ".join(PART_NAMES),
            )
        )
    return parts.to_numpy(writable=True)


def _stretches(time: NDArray[np.float64]) -> NDArray[np.int64]:
    """The number of each row's stretch of time [N]: stretches of like many rows, rows of equal time in the same one."""
    place = np.searchsorted(np.sort(time), time)
    return (place * STRETCHES // max(1, len(time))).astype(np.int64)


def _time(series: pl.Series, notes: list[str]) -> NDArray[np.float64]:
    """The order of rows in time; each row must have one."""
    found = read_times(series, notes).values
    lacking = int(np.isnan(found).sum())
    if lacking:
        raise DataError(
            say(
                "The time column {name!r} has no value in {count} rows. Give each row its time, or leave such rows out.",
                name=series.name,
                count=lacking,
            )
        )
    return found
