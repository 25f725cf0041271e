"""Decides which columns a model sees, and learns from development rows how their cells are encoded."""

from dataclasses import replace
from typing import cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from titrant.data import cells
from titrant.data.kinds import Finding, Kind, date_format, infer, number_format
from titrant.data.roles import Roles
from titrant.data.schema import PARTS, Column
from titrant.data.sources import listed
from titrant.errors import DataError
from titrant.texts import say

LONGEST_VOCABULARY = 1000
SHORT_VOCABULARY = 30  # up to which every category is kept, beyond it only those that occur twice
_DIVISIONS = ({"train", "test"}, {"train", "valid", "test"}, {"train", "validation", "test"}, {"train", "val", "test"})


def understand_columns(
    frame: pl.DataFrame, roles: Roles, asked: dict[str, str], written: bool, notes: list[str]
) -> tuple[list[Column], dict[str, str]]:
    """The columns that a model can use, fitted to these rows, and for the others why it cannot.

    Args:
        frame: development rows.
        roles: columns that are no ordinary input.
        asked: kinds by column, in place of the inferred ones.
        written: the rows come from a text file, see `infer`.
        notes: receives warnings for the person.

    Raises:
        DataError: no column is left, or one cannot be read as the kind that was asked for.
    """
    columns: list[Column] = []
    findings: dict[str, Finding] = {}
    twins = _Twins()
    for series in frame.drop(roles.target):
        finding = _judge(series, roles, asked.get(series.name), written)
        if finding.kind is not None:
            column, values = _fit(series, finding)
            if why := _useless(column, values) or twins.of(column, values):
                finding = Finding(None, why=why)
            else:
                columns.append(column)
        findings[series.name] = finding
    _note_findings(findings, columns, roles, asked, notes)
    left_out = {name: finding.why for name, finding in findings.items() if finding.kind is None}
    if not columns:
        reasons = [f"{name!r} ({why})" for name, why in left_out.items()]
        raise DataError(
            say(
                "No column is left to learn from: {reasons}. Give a column its kind (number, category, boolean, date) to keep "
                "it.",
                reasons=listed(reasons) or say("there is only the target"),
            )
        )
    return columns, left_out


def _judge(series: pl.Series, roles: Roles, asked: str | None, written: bool) -> Finding:
    """What the column is: by its role, as asked for, or inferred."""
    if series.name == roles.split:
        return Finding(None, why=say("it says how rows are divided"))
    if series.name == roles.group:
        return Finding(None, why=say("it names the group"))
    if asked == "ignore":
        return Finding(None, why=say("as asked"))
    if series.null_count() == len(series):
        return Finding(None, why=say("all cells are missing"))
    if series.null_count() == 0 and cells.is_plain(series) and series.n_unique() == 1:
        return Finding(None, why=say("all cells are the same"))
    if asked is not None:
        return _forced(series, asked)
    finding = infer(series, written)
    if series.name == roles.time and finding.kind != "date":
        return Finding(None, why=say("it orders the rows, and grows beyond what train has seen"), debatable=True)
    return finding


def _forced(series: pl.Series, kind: str) -> Finding:
    """The kind that the person asked for, with the format that reads the most cells."""
    finding = Finding(cast(Kind, kind))
    if not cells.is_plain(series):
        raise DataError(
            say("Column {name!r} holds lists, records or bytes, which have no kind {kind}.", name=series.name, kind=kind)
        )
    texts = series.drop_nulls().unique(maintain_order=True)
    if kind == "number" and series.dtype == pl.String:
        finding = replace(finding, comma=number_format(texts))
    if kind == "date" and not series.dtype.is_temporal():
        finding = replace(finding, form=date_format(texts.cast(pl.String))[0])
    if (read := _column(series.name, finding).values(series)).null_count() == len(read):
        raise DataError(
            say(
                "Column {name!r} cannot be read as {kind}: its first value is {value!r}.",
                name=series.name,
                kind=kind,
                value=texts[0],
            )
        )
    return finding


def _column(name: str, finding: Finding) -> Column:
    assert finding.kind is not None
    return Column(name=name, kind=finding.kind, comma=finding.comma, form=finding.form, note=finding.note)


def _fit(series: pl.Series, finding: Finding) -> tuple[Column, pl.Series]:
    """The column fitted to these cells, and the cells as it reads them."""
    column = _column(series.name, finding)
    values = column.values(series)
    match column.kind:
        case "number":
            offset, scale = _offset_and_scale(values.filter(values.is_finite()).to_numpy())
            return column.model_copy(update={"offset": offset, "scale": scale}), values
        case "date":
            varying = tuple(part for part, of in PARTS.items() if of(values).drop_nulls().n_unique() > 1)
            return column.model_copy(update={"parts": varying}), values
        case "category":
            words, note = _vocabulary(values)
            return column.model_copy(update={"vocabulary": words, "note": " ".join(filter(None, (column.note, note)))}), values
        case "boolean":
            return column, values


def _vocabulary(values: pl.Series) -> tuple[tuple[str, ...], str]:
    """Categories, commonest first. Of a long list those that occur once are dropped, as nothing can be learned of them, and all
    beyond `LONGEST_VOCABULARY`; what is dropped shares the code of unseen categories, which so learns what rare ones have in
    common.
    """
    table = values.drop_nulls().alias("cell").value_counts(name="count").sort("count", "cell", descending=[True, False])
    kept = table if table.height <= SHORT_VOCABULARY else table.filter(pl.col("count") > 1).head(LONGEST_VOCABULARY)
    note = (
        say("the {kept} commonest of {all} categories; rarer ones are treated alike", kept=kept.height, all=table.height)
        if kept.height < table.height
        else ""
    )
    return tuple(kept["cell"]), note


def _offset_and_scale(values: NDArray[np.float64]) -> tuple[float, float]:
    """What to subtract and divide by in float64, so that float32 keeps the column's differences; (0, 1) for most columns.

    The spread is the interquartile range, or where that is zero the largest deviation from the median. float32 rounds a number
    x by up to 6e-8 x; an offset is taken where that is more than 1e-3 of the spread.
    """
    if len(values) == 0:
        return 0.0, 1.0
    low, median, high = (float(quantile) for quantile in np.quantile(values, [0.25, 0.5, 0.75], method="nearest"))
    spread = high / 2 - low / 2  # halves, as the difference of huge numbers overflows
    if spread == 0:
        spread = max(float(values.max()) / 2 - median / 2, median / 2 - float(values.min()) / 2)
    if spread == 0:
        return median, 1.0
    offset = median if abs(median) * 6e-8 > 1e-3 * spread else 0.0
    scale = 1.0 if 1e-12 < spread < 1e12 else 10.0 ** np.clip(np.floor(np.log10(spread)), -307, 308)
    return offset, float(scale)


def _useless(column: Column, values: pl.Series) -> str:
    """Why nothing can be learned of the column, or nothing."""
    if column.kind == "date" and not column.parts:
        return say("all dates are the same")
    if column.kind == "number" and not values.is_finite().any():
        return say("no cell is a finite number")
    return ""


class _Twins:
    """Finds columns that read the same as an earlier one, by a checksum first, as to compare all pairs is slow."""

    def __init__(self) -> None:
        self._seen: dict[tuple[object, ...], list[tuple[str, pl.Series]]] = {}

    def of(self, column: Column, values: pl.Series) -> str:
        """Whose twin the column is, or nothing; then it is remembered."""
        alike = self._seen.setdefault((column.kind, values.null_count(), values.hash().sum()), [])
        for name, seen in alike:
            if seen.equals(values):
                return say("the same as column {twin!r}", twin=name)
        alike.append((column.name, values))
        return ""


def _note_findings(
    findings: dict[str, Finding], columns: list[Column], roles: Roles, asked: dict[str, str], notes: list[str]
) -> None:
    """What the person should know of the columns; what was asked for is no news."""
    notes += [finding.note for finding in findings.values() if finding.note]
    out = {
        name: finding
        for name, finding in findings.items()
        if finding.kind is None and name not in (roles.split, roles.group) and asked.get(name) != "ignore"
    }
    for why in dict.fromkeys(finding.why for finding in out.values()):
        names = [name for name, finding in out.items() if finding.why == why]
        hint = say(" Give a column its kind (number, category, ...) to keep it.") if out[names[0]].debatable else ""
        if out[names[0]].prose:
            hint = say(" To learn from such texts alone, name their column (--text).")
        notes.append(say("Left out, {reason}: {names}.{hint}", reason=why, names=listed(map(repr, names)), hint=hint))
    if digits := [name for name, finding in findings.items() if finding.digits]:
        notes.append(
            say(
                "Whole numbers kept as text are read as categories: {names}. Give a column the kind number if it counts.",
                names=listed(map(repr, digits)),
            )
        )
    for column in columns:
        if roles.split is None and {word.strip().lower() for word in column.vocabulary} in _DIVISIONS:
            notes.append(
                say("Column {name!r} looks like a division into parts; name it as the split column if it is.", name=column.name)
            )
