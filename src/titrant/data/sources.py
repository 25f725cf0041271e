"""Opens what a person calls data, a file or a frame of any common library, as one polars frame.

Cells are not interpreted here: text stays text, so that nothing is guessed while reading. Only what means "missing" is
settled, once and for all sources alike: null, NaN, and the tokens in `MISSING`.
"""

import codecs
import csv
import difflib
import gzip
import io
import itertools
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv

from titrant.errors import DataError
from titrant.texts import say

MISSING = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "?")
"""Cells that mean "no value". `None` is not among them: real tables use it as a category."""

_TEXT = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
_PARQUET = (".parquet", ".pq")
_ARROW = (".arrow", ".feather", ".ipc")
_DELIMITERS = (",", ";", "\t", "|")
_SAMPLE = 1 << 16  # bytes looked at to find the delimiter
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1a\x1b"))


def open_frame(source: object, notes: list[str]) -> pl.DataFrame:
    """Opens `source` as a polars frame in which missing cells are null and text is unread.

    Args:
        source: a path to CSV, TSV or text (delimiter `,` `;` tab or `|` and encoding are found; may end in `.gz`), Parquet, or
            Arrow/Feather; or a polars DataFrame or LazyFrame, pandas DataFrame, pyarrow Table, NumPy array `[rows, columns]`
            (columns are named `x0`, `x1`, ...), or a dictionary of columns.
        notes: receives warnings for the person.

    Raises:
        DataError: the file is missing, empty, ragged, binary or of an unknown kind; columns share a name; there are no rows.

    Example:
        >>> open_frame({"age": [31, None], "city": ["Graz", "?"]}, []).to_dict(as_series=False)
        {'age': [31, None], 'city': ['Graz', None]}
    """
    frame = _open_path(source, notes) if isinstance(source, str | Path) else _open_object(source, notes)
    place = str(source) if isinstance(source, str | Path) else say("the data")
    if frame.width == 0:
        raise DataError(say("{place} has no columns.", place=place))
    if frame.height == 0:
        raise DataError(say("{place} has a header but no rows. Titrant needs rows to learn from.", place=place))
    return _settle_missing(frame)


def is_text_file(source: object) -> bool:
    """True if `source` is a path to a text table, whose cells carry no types of their own."""
    return isinstance(source, str | Path) and str(source).lower().endswith(_TEXT)


def near(name: str, names: Iterable[str]) -> str:
    """A sentence that offers the likeliest of `names` for a misspelt `name`, or nothing.

    Example:
        >>> near("incme", ["age", "income"])
        " Did you mean 'income'?"
    """
    lower = {other.lower(): other for other in names}
    found = difflib.get_close_matches(name.lower(), lower, n=1)
    return say(" Did you mean {name!r}?", name=lower[found[0]]) if found else ""


def listed(items: Iterable[str]) -> str:
    """The first twenty of the items, and how many more there are.

    Example:
        >>> listed(str(number) for number in range(22))
        '0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19 and 2 more'
    """
    every = list(items)
    more = say(" and {count} more", count=len(every) - 20) if len(every) > 20 else ""
    return ", ".join(every[:20]) + more


def _settle_missing(frame: pl.DataFrame) -> pl.DataFrame:
    """Categories become text, decimals and floats become float64, and everything that means "missing" becomes null."""
    frame = frame.rechunk().with_columns(
        *(_decoded(series) for series in frame.select(pl.col(pl.Binary))),
        pl.col(pl.Categorical, pl.Enum).cast(pl.String),
        pl.col(pl.Float16, pl.Float32, pl.Decimal).cast(pl.Float64),
    )
    text = pl.col(pl.String)
    return frame.with_columns(
        pl.col(pl.Float64).fill_nan(None),
        pl.when(text.is_in(MISSING)).then(None).otherwise(text).name.keep(),
    )


def _decoded(series: pl.Series) -> pl.Series:
    """Bytes as text where they are UTF-8 throughout."""
    try:
        return series.cast(pl.String)
    except pl.exceptions.ComputeError:
        return series


# --- files ---------------------------------------------------------------------------------------------------------------


def _open_path(source: str | Path, notes: list[str]) -> pl.DataFrame:
    path = Path(source).expanduser()
    ending = path.name.lower()
    try:
        check_file(path)
        if ending.endswith(_TEXT):
            return _read_text(path, notes)
        if ending.endswith(_PARQUET):
            return _checked(pl.read_parquet(path, glob=False))
        if ending.endswith(_ARROW):
            with path.open("rb") as file:  # a name with brackets is no pattern
                return _checked(pl.read_ipc(file))
    except (OSError, zlib.error, EOFError, pl.exceptions.PolarsError, pa.ArrowException) as error:
        raise DataError(
            say("{path} cannot be read: {reason}. Is it whole, and what its ending says?", path=path, reason=_first_line(error))
        ) from error
    raise DataError(
        say(
            "{path} has an ending that Titrant does not read. It reads {endings}; convert the file to one of these.",
            path=path,
            endings=", ".join((*_TEXT, *_PARQUET, *_ARROW)),
        )
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def check_file(path: Path) -> None:
    """Refuses what is no file with something in it."""
    try:
        missing = not path.exists()
    except ValueError:  # a NUL character in the name
        missing = True
    if missing:
        neighbours = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(say("There is no file {path}.{hint}", path=repr(str(path)), hint=near(path.name, neighbours)))
    if path.is_dir():
        raise DataError(say("{path} is a folder. Name the table file in it.", path=path))
    if path.stat().st_size == 0:
        raise DataError(say("{path} is empty.", path=path))


def _read_text(path: Path, notes: list[str]) -> pl.DataFrame:
    raw = path.read_bytes()
    if path.name.lower().endswith(".gz"):
        raw = gzip.decompress(raw)
    text = _decode(raw, path, notes)
    if not text.strip():
        raise DataError(say("{path} is empty.", path=path))
    sample = _complete_lines(text[:_SAMPLE], whole=len(text) <= _SAMPLE)
    delimiter = "\t" if ".tsv" in path.suffixes else _find_delimiter(sample)
    names, start = _header(text, delimiter, path)
    if not text[start:].strip():
        raise DataError(say("{path} has a header but no rows. Titrant needs rows to learn from.", path=path))
    names = _named(names, _second_row(sample, delimiter))
    _check_names(names, str(path))
    if text.count('"') % 2:
        _check_quotes(text, delimiter, path)
    try:
        table = pa.csv.read_csv(
            pa.py_buffer(text[start:].encode()),
            read_options=pa.csv.ReadOptions(column_names=names),
            parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.large_string())),
        )
    except pa.ArrowInvalid as error:
        raise _ragged(text, delimiter, names, path, error) from error
    frame = pl.DataFrame(table).with_columns(pl.all().str.strip_chars())
    # A delimiter at the end of every line makes a last column without name and content.
    return frame.drop(names[-1]) if names[-1].startswith(_UNNAMED) and (frame[names[-1]] == "").all() else frame


def _decode(raw: bytes, path: Path, notes: list[str]) -> str:
    """The file's text: by its byte order mark, else UTF-8, else Windows-1252 or Latin-1 with a note."""
    encoding = next((name for mark, name in _BOMS if raw.startswith(mark)), None)
    if encoding is None and (place := raw.find(b"\0")) >= 0:
        raise DataError(
            say(
                "{path} holds a NUL byte in line {line}: it is a binary file, or text in an encoding without its mark. "
                "Save it as UTF-8 text.",
                path=path,
                line=raw.count(b"\n", 0, place) + 1,
            )
        )
    if encoding is None and len(raw.translate(None, _CONTROL)) < 0.98 * len(raw):
        raise DataError(say("{path} is a binary file, not text. Save the table as CSV or Parquet.", path=path))
    try:
        text = raw.decode(encoding or "utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        if encoding is not None:
            raise DataError(
                say("{path} is marked as {encoding} but is not: {reason}.", path=path, encoding=encoding, reason=error.reason)
            ) from error
        text, encoding = _decode_western(raw)
        notes.append(
            say(
                "{path} is not UTF-8; it was read as {encoding}. Save it as UTF-8 if letters look wrong.",
                path=path.name,
                encoding=encoding,
            )
        )
    if "\0" in text:
        raise DataError(say("{path} holds NUL characters. Save it as UTF-8 text.", path=path))
    return text


def _decode_western(raw: bytes) -> tuple[str, str]:
    try:
        return raw.decode("cp1252"), "Windows-1252"
    except UnicodeDecodeError:
        return raw.decode("latin-1"), "Latin-1"


def _complete_lines(sample: str, whole: bool) -> str:
    return sample if whole else sample[: max(sample.rfind("\n"), sample.rfind("\r")) + 1] or sample


def _rows(text: str, delimiter: str) -> Iterable[list[str]]:
    """Rows that are not blank, as Python's reader sees them."""
    return (row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row)


def _find_delimiter(sample: str) -> str:
    """The delimiter that cuts the most rows into as many fields as the header has; more fields break ties."""

    def fit(delimiter: str) -> tuple[float, int]:
        try:
            rows = list(itertools.islice(_rows(sample, delimiter), 100))
        except csv.Error:
            return 0.0, 0
        width = len(rows[0]) if rows else 0
        # The last row may be cut short by the end of the sample; a trailing delimiter adds a field to each row.
        agree = [len(row) == width or (len(row) == width + 1 and not row[-1]) for row in rows[1:]]
        return (sum(agree) / max(1, len(agree)), width) if width > 1 else (0.0, 0)

    return max(_DELIMITERS, key=fit)


def _header(text: str, delimiter: str, path: Path) -> tuple[list[str], int]:
    """The names in the first row that is not blank, and where that row ends."""
    stream = io.StringIO(text, newline="")
    try:
        for row in csv.reader(stream, delimiter=delimiter):
            if any(field.strip() for field in row):
                return [name.strip() for name in row], stream.tell()
    except csv.Error as error:
        raise DataError(say("{path}: the header cannot be read: {reason}.", path=path, reason=error)) from error
    raise DataError(say("{path} has no header: its first rows are blank. Give each column a name.", path=path))


def _second_row(sample: str, delimiter: str) -> list[str]:
    return next(itertools.islice(_rows(sample, delimiter), 1, None), [])


_UNNAMED = "unnamed "


def _named(names: list[str], first: list[str]) -> list[str]:
    """Names for all columns: those without one are numbered; a trailing delimiter below a clean header makes one more."""
    if len(first) == len(names) + 1 and not first[-1]:
        names = [*names, ""]
    return [name or f"{_UNNAMED}{position}" for position, name in enumerate(names, 1)]


def _check_names(names: Sequence[str], place: str) -> None:
    double = [name for name, count in Counter(names).items() if count > 1]
    if double:
        raise DataError(
            say(
                "{place} has several columns of the same name: {names}. Rename or remove all but one.",
                place=place,
                names=", ".join(map(repr, double)),
            )
        )


def _check_quotes(text: str, delimiter: str, path: Path) -> None:
    """An odd number of quotes may be an inch mark, or a quoted field that is never closed and swallows all further rows."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for _ in reader:
            line = reader.line_num + 1
    except csv.Error as error:
        if "end of data" in str(error):
            raise DataError(
                say("{path} line {line}: a quote is opened and never closed. Close or remove it.", path=path, line=line)
            ) from error


def _ragged(text: str, delimiter: str, names: list[str], path: Path, error: Exception) -> DataError:
    """The error for a table that cannot be cut into columns, with the first line that does not fit."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    line = 1
    try:
        for row in reader:
            if row and len(row) != len(names):
                return DataError(
                    say(
                        "{path} line {line}: found {found} fields, expected {expected} as in the header "
                        "(delimiter {delimiter!r}). Mend the line, or quote fields that hold the delimiter.",
                        path=path,
                        line=line,
                        found=len(row),
                        expected=len(names),
                        delimiter=delimiter,
                    )
                )
            line = reader.line_num + 1
    except csv.Error:
        pass
    return DataError(say("{path} is not a readable table: {reason}.", path=path, reason=_first_line(error)))


# --- frames --------------------------------------------------------------------------------------------------------------


def _open_object(source: object, notes: list[str]) -> pl.DataFrame:
    pandas = sys.modules.get("pandas")  # whoever brings a pandas frame has imported pandas
    match source:
        case pl.DataFrame():
            return source
        case pl.LazyFrame():
            try:
                return source.collect()
            except pl.exceptions.PolarsError as error:
                raise DataError(say("The lazy frame cannot be collected: {reason}.", reason=_first_line(error))) from error
        case pa.Table():
            _check_names(source.column_names, say("the table"))
            return _checked(pl.DataFrame(source))
        case np.ndarray():
            return _from_columns(_array_columns(source), notes)
        case dict():
            return _from_columns(source, notes)
        case _ if pandas is not None and isinstance(source, pandas.DataFrame):
            _check_names([str(name) for name in source.columns], say("the frame"))
            return _from_columns({str(name): source.iloc[:, place] for place, name in enumerate(source.columns)}, notes)
    raise DataError(
        say(
            "Data of the type {kind} cannot be read. Give a path, a polars, pandas or pyarrow table, a two-dimensional NumPy "
            "array, or a dictionary of columns.",
            kind=type(source).__name__,
        )
    )


def _checked(frame: pl.DataFrame | pl.Series) -> pl.DataFrame:
    assert isinstance(frame, pl.DataFrame)
    return frame


def _array_columns(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    if array.dtype.names is not None and array.ndim == 1:
        return {name: array[name] for name in array.dtype.names}
    if array.ndim != 2:
        raise DataError(say("The array has the shape {shape}; expected two axes, [rows, columns].", shape=array.shape))
    return {f"x{place}": array[:, place] for place in range(array.shape[1])}


def _from_columns(columns: dict[Any, Any], notes: list[str]) -> pl.DataFrame:
    series = [_series(str(name), values, notes) for name, values in columns.items()]
    _check_names([one.name for one in series], say("the data"))
    lengths = {one.name: len(one) for one in series}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name!r}: {length}" for name, length in itertools.islice(lengths.items(), 10))
        raise DataError(say("The columns have unequal lengths: {lengths}.", lengths=shown))
    return pl.DataFrame(series)


# What polars and Arrow raise for values that fit no column type.
_UNFIT = (pl.exceptions.PolarsError, pa.ArrowException, TypeError, ValueError, OverflowError, NotImplementedError)


def _series(name: str, values: Any, notes: list[str]) -> pl.Series:
    """One column. Where types are mixed, so that no column type holds them all, cells become text, with a note."""
    if isinstance(values, str | bytes) or not hasattr(values, "__len__") or getattr(values, "ndim", 1) != 1:
        raise DataError(say("Column {name!r} is not a sequence of cells.", name=name))
    if getattr(getattr(values, "dtype", None), "kind", "") == "c":
        raise DataError(say("Complex data not supported: column {name!r}. Split it into real and imaginary parts.", name=name))
    if isinstance(values, np.ndarray) and values.dtype.kind in "mM":
        values = values.astype(f"{values.dtype.kind}8[us]")  # polars knows no coarser units
    try:
        series = pl.Series(name, values)
        if not isinstance(series.dtype, pl.Object | pl.BaseExtension):
            return series
    except _UNFIT:
        pass
    cells = [None if _is_missing(cell) else cell for cell in values]
    try:
        if all(cell is None or (isinstance(cell, Real) and not isinstance(cell, bool)) for cell in cells):
            return pl.Series(name, [None if cell is None else float(cell) for cell in cells], dtype=pl.Float64)
        series = pl.Series(name, cells)
        if not isinstance(series.dtype, pl.Object):
            return series
    except _UNFIT:
        pass
    kinds = ", ".join(sorted({type(cell).__name__ for cell in cells if cell is not None}))
    notes.append(say("Column {name!r} holds values of the types {kinds}; they are read as text.", name=name, kinds=kinds))
    return pl.Series(name, [None if cell is None else str(cell) for cell in cells], dtype=pl.String)


def _is_missing(cell: object) -> bool:
    """None, NaN, NaT and pandas' NA, none of which equals itself in the ordinary way."""
    if cell is None:
        return True
    try:
        return bool(cell != cell)
    except (TypeError, ValueError):  # NA has no truth value, nor has an array
        return not isinstance(cell, np.ndarray | list)
