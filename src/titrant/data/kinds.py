"""Decides what a column is: a number, a category, a truth value, a date, or nothing that a model should see."""

import re
from dataclasses import dataclass
from typing import Literal

import polars as pl

from titrant.data import cells
from titrant.texts import say

Kind = Literal["number", "category", "boolean", "date"]

READABLE = 0.95  # share of cells that must read as numbers or dates; the rest become missing
NEARLY_ALL = 0.95  # share of distinct cells from which text names rows instead of describing them
MANY = 30  # distinct texts up to which a column is a category unless nearly all differ
DENSE = 0.5  # share of a range that row numbers fill, also when only a part of the rows is seen
WHOLE = r"^[+-]?\d+$"

_LIKE_DATE = r"^\d{1,4}[-/. ](?:\d{1,2}|[A-Za-z]{3,9})[-/. ]\d{1,4}|^[A-Za-z]{3,9} \d{1,2}, \d{4}|^\d{8}$|^\d{1,2}:\d{2}"
_ID_NAME = re.compile(r"(?i:(?:^|[^a-z])(?:id|uuid|guid|index|idx|key|rowid|rownum|row)$)|[a-z](?:Id|ID|Key)$")


@dataclass(frozen=True)
class Finding:
    """What a column is.

    Attributes:
        kind: None for a column to leave out.
        why: the reason to leave it out.
        note: what the person should know of how it is read.
        comma: what a comma in a number written as text means.
        form: strftime format of a date written as text.
        digits: the names of a category are whole numbers.
        debatable: it is left out on suspicion, and a person may know better.
        prose: its cells are texts of several words.
    """

    kind: Kind | None
    why: str = ""
    note: str = ""
    comma: cells.Comma = ""
    form: str = ""
    digits: bool = False
    debatable: bool = False
    prose: bool = False


def infer(series: pl.Series, written: bool) -> Finding:
    """What the column is, judged by these cells alone.

    Args:
        series: the column's cells on development rows; not all missing.
        written: the cells come from a text file, where numbers and text look alike. In a source with types, whole numbers that
            are kept as text are taken for what the type says, names of categories.
    """
    dtype = series.dtype
    if dtype == pl.Boolean:
        return Finding("boolean")
    if dtype in (pl.Date, pl.Datetime, pl.Time):
        return Finding("date")
    if dtype.is_integer():
        return _identifier(series, series.name) or Finding("number")
    if dtype.is_float() or dtype == pl.Duration:
        return Finding("number")
    if dtype == pl.String:
        return _infer_text(series, written)
    return Finding(None, why=say("its cells are of the type {kind}, which a table model cannot use", kind=str(dtype)))


def number_format(texts: pl.Series) -> cells.Comma:
    """What commas mean in these numbers: groups of three digits throughout are thousands, other commas are decimal signs."""
    with_comma = texts.filter(texts.str.contains(",", literal=True))
    if len(with_comma) == 0:
        return ""
    if with_comma.str.contains(r"^[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?$").all():
        return "thousands"
    return "decimal" if with_comma.str.contains(r"^[+-]?\d*,\d+(?:[eE][+-]?\d+)?$").all() else ""


def date_format(texts: pl.Series, weights: pl.Series | None = None) -> tuple[str, float, str]:
    """The format that reads most of these texts, the share that it reads, and a rival that reads equally many or nothing.

    Args:
        texts: distinct cells.
        weights: how often each occurs; once if None.
    """
    sample = texts.head(200)
    if not sample.str.contains(_LIKE_DATE).any():
        return "", 0.0, ""
    counts = pl.ones(len(texts), pl.Int64, eager=True) if weights is None else weights
    total = int(counts.sum())
    likely = [form for form in cells.FORMATS if cells.moment(sample, form).is_not_null().sum() > 0.5 * len(sample)]
    shares = {form: int(counts.filter(cells.moment(texts, form).is_not_null()).sum()) / total for form in likely}
    if not shares:
        return "", 0.0, ""
    best = max(shares, key=lambda form: shares[form])
    rival = next((form for form in shares if form != best and shares[form] == shares[best] and _swapped(form) == best), "")
    return best, shares[best], rival


def _swapped(form: str) -> str:
    return form.translate(str.maketrans("dm", "md"))


def _infer_text(series: pl.Series, written: bool) -> Finding:
    values = series.drop_nulls()
    table = values.alias("cell").value_counts(sort=True, name="count")
    texts, counts = table["cell"], table["count"]
    rows = len(values)

    words = set(texts.str.to_lowercase()) if len(texts) <= 8 else set()
    if len(words) == 2 and words & set(cells.TRUE) and words & set(cells.FALSE):
        return Finding("boolean")

    comma = number_format(texts)
    numbers = cells.number(texts, comma)
    share = counts.filter(numbers.is_not_null()).sum() / rows
    coded = texts.str.contains(r"^[+-]?0\d+$").any()  # 007 is a code, not a number
    if share >= READABLE and not coded:
        whole = texts.filter(numbers.is_not_null()).str.contains(WHOLE).all()
        if whole and (found := _identifier(numbers.filter(numbers.is_not_null()).cast(pl.Float64), series.name, rows)):
            return found
        if whole and not written and len(texts) <= 0.5 * rows:
            return Finding("category", digits=True)
        return Finding("number", comma=comma, note=_note_comma(series.name, comma, texts))

    form, share, rival = date_format(texts, counts)
    if share >= READABLE:
        return Finding("date", form=form, note=rival_note(series.name, form, rival, texts))
    return _infer_words(texts, counts, rows)


def _infer_words(texts: pl.Series, counts: pl.Series, rows: int) -> Finding:
    distinct = len(texts)
    ratio = distinct / rows
    length = float((texts.str.len_chars() * counts).sum()) / rows
    words = float(((texts.str.count_matches(r"\s+") + 1) * counts).sum()) / rows
    prose = words >= 3 and length >= 15
    if (ratio > 0.5 and distinct > MANY) or (ratio > NEARLY_ALL and distinct >= 10) or (ratio > 0.2 and words >= 8):
        if prose:
            why = say("free text: {distinct} different values in {rows} rows", distinct=distinct, rows=rows)
        elif ratio > NEARLY_ALL:
            why = say("like an identifier: {distinct} different values in {rows} rows", distinct=distinct, rows=rows)
        else:
            why = say("too many values: {distinct} different ones in {rows} rows", distinct=distinct, rows=rows)
        return Finding(None, why=why, debatable=True, prose=prose)
    return Finding("category")


def _identifier(numbers: pl.Series, name: str, rows: int | None = None) -> Finding | None:
    """Whole numbers that differ in every row and are named like an identifier, or fill their range like row numbers."""
    values = numbers.drop_nulls()
    rows = len(values) if rows is None else rows
    distinct = values.n_unique()
    if rows < 10 or distinct < 0.99 * rows:
        return None
    if _ID_NAME.search(name):
        why = say("an identifier by its name, with a different whole number in nearly every row")
        return Finding(None, why=why, debatable=True)
    span = float(values.max()) - float(values.min()) + 1  # type: ignore[arg-type]
    if rows >= 20 and distinct == rows and distinct >= DENSE * span:
        return Finding(None, why=say("like row numbers: consecutive whole numbers, each once"), debatable=True)
    return None


def _note_comma(name: str, comma: cells.Comma, texts: pl.Series) -> str:
    if not comma:
        return ""
    example = texts.filter(texts.str.contains(",", literal=True))[0]
    if comma == "decimal":
        return say("Column {name!r}: the comma in {example!r} is read as a decimal sign.", name=name, example=example)
    return say("Column {name!r}: the comma in {example!r} is read as separating thousands.", name=name, example=example)


def rival_note(name: str, form: str, rival: str, texts: pl.Series) -> str:
    """What a person should know where day and month could change places, as found by `date_format`; otherwise nothing."""
    if not rival:
        return ""
    order = say("month before day") if form.index("%m") < form.index("%d") else say("day before month")
    return say(
        "Column {name!r}: dates such as {example!r} are read with the {order}.", name=name, example=texts[0], order=order
    )
