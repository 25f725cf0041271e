"""Where series come from, and what is known of each: arrays, the archives' `.ts` files, and tables whose rows are steps.

All become one table with a row for each series, in which labels and parts are ordinary columns, beside the values [n, c, t]
themselves. Series of unequal length are padded with missing values at their end. Beside the input, memory holds the values once
and, of a table, its sorted columns.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from titrant.data import cells
from titrant.data.sources import check_file, is_text_file, listed, near, open_frame
from titrant.data.times import NUMBERS, gaps_of, read_times
from titrant.errors import DataError
from titrant.texts import say

SERIES, LABEL, SPLIT = "series", "label", "split"

_ARRAYS = (".npz", ".npy")
_TS = ".ts"
_LARGEST = 1 << 33  # bytes of values
_REGULAR = 0.5  # share of equal steps from which times are taken for a grid with gaps
_PARTS = re.compile(r"(?i)^(.*)_(train|test)\.ts$")

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Sequences:
    """Series as they were found.

    Args:
        frame: a row for each: its name in `series`, and what is known of it.
        values: [n, c, t], NaN for what is missing and behind a series' end.
        channels: their names.
        target: the column of labels; None if there is none.
        split: the column that says train, validation or test; None if there is none.
        written: labels were read from text, where numbers and text look alike.
        form: how the times of steps are written, see `titrant.data.times.Times`; None without times.
        step: from one to the next, in seconds or in their own unit; None where only their order counts.
    """

    frame: pl.DataFrame
    values: Values
    channels: tuple[str, ...]
    target: str | None
    split: str | None
    written: bool
    form: str | None = None
    step: float | None = None


@dataclass(frozen=True)
class Known:
    """What series must agree with that come after others.

    Attributes:
        channels: that are read, in this order.
        form: how the times of steps are written; None if that is not known.
        step: from one to the next; None where only their order counts, 0 if it is not known.
    """

    channels: tuple[str, ...]
    form: str | None
    step: float | None


def are_series(data: object, by: str | None = None) -> bool:
    """Whether data are series rather than rows of a table or pictures, told from a quick look.

    Args:
        data: what a person calls data.
        by: the column that says which series a row of a table belongs to.

    Example:
        >>> are_series(np.zeros((10, 1, 24))), are_series(np.zeros((10, 28, 28), np.uint8)), are_series({"shop": [1]}, "shop")
        (True, False, True)
    """
    if by is not None:
        return True
    if isinstance(data, str | Path):
        return _file_holds_series(Path(data).expanduser())
    if isinstance(data, np.ndarray):
        return _is_stack(data.shape, data.dtype, labelled=False)
    if isinstance(data, Mapping):
        x = data.get("x")
        return isinstance(x, np.ndarray) and _is_stack(x.shape, x.dtype, labelled="y" in data)
    return False


def find_series(
    data: object,
    target: str | None,
    split: str | None,
    by: str | None,
    time: str | None,
    notes: list[str],
    known: Known | None = None,
) -> Sequences:
    """Finds series and what is known of them.

    Args:
        data: an array [n, c, t]; a mapping or an `.npz` file with `x` ([n, c, t] or [n, t]) and perhaps `y`, `split`, `classes`
            and further arrays of a value for each series; a `.npy` file; a `.ts` file, or a folder with `NAME_TRAIN.ts` and
            `NAME_TEST.ts`; with `by` a table whose rows are steps.
        target: the column of labels; found if None.
        split: the column of parts; one called split is taken if None.
        by: of a table, the column that says which series a row belongs to.
        time: of a table, the column that orders the rows of a series; they stand in order if None.
        notes: receives warnings for the person.
        known: of series that came before, with which these must agree. Then none is left out, so that predictions stand beside
            what they are of.

    Raises:
        DataError: there are none, they cannot be read, or lack channels; the message says what, where and what to do.
    """
    return _checked(_found(data, target, split, by, time, notes, known), notes, known)


def _found(
    data: object,
    target: str | None,
    split: str | None,
    by: str | None,
    time: str | None,
    notes: list[str],
    known: Known | None,
) -> Sequences:
    if by is not None:
        return _table(data, target, split, by, time, notes, known)
    if isinstance(data, str | Path):
        path = Path(data).expanduser()
        if path.is_dir():
            return _folder(path, notes)
        check_file(path)
        if path.suffix.lower() == _TS:
            return _ts(path, notes)
        if path.suffix.lower() in _ARRAYS:
            return _arrays(_loaded(path), str(path), notes)
    if isinstance(data, np.ndarray):
        return _arrays({"x": data}, say("the data"), notes)
    if isinstance(data, Mapping):
        return _arrays({str(name): np.asarray(part) for name, part in data.items()}, say("the data"), notes)
    raise DataError(
        say(
            "These data hold no series. Titrant reads arrays [series, channels, steps], .npz, .npy and .ts files, and tables "
            "of steps with the column that says which series a row belongs to (--id)."
        )
    )


# ------------------------------------------------------------------- arrays


def _is_stack(shape: tuple[int, ...], dtype: np.dtype[Any], labelled: bool) -> bool:
    """Three axes of numbers that are no pixels, or two where labels stand beside them."""
    numbers = dtype.kind in "fiu" and dtype not in (np.uint8, np.uint16)
    return numbers and (len(shape) == 3 or (len(shape) == 2 and labelled))


def _file_holds_series(path: Path) -> bool:
    ending = path.suffix.lower()
    try:
        if path.is_dir():
            return any(_PARTS.match(inside.name) for inside in path.iterdir())
        if ending == _TS:
            return True
        if ending not in _ARRAYS or not path.is_file():
            return False
        if ending == ".npy":
            with path.open("rb") as file:
                return _is_stack(*_header(file), labelled=False)
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if "x.npy" not in names:
                return False
            with archive.open("x.npy") as inside:
                return _is_stack(*_header(io.BytesIO(inside.read(4096))), labelled="y.npy" in names)
    except (OSError, ValueError, zipfile.BadZipFile):
        return False  # whoever reads the file will say what is wrong


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _loaded(path: Path) -> dict[str, NDArray[Any]]:
    try:
        if path.suffix.lower() == ".npy":
            return {"x": np.load(path, mmap_mode="r", allow_pickle=False)}
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(say("{path} cannot be read: {reason}.", path=path, reason=" ".join(str(error).split()))) from None


def _arrays(parts: Mapping[str, NDArray[Any]], place: str, notes: list[str]) -> Sequences:
    """`x`, and a column for each array of one value a series."""
    x = parts.get("x")
    if x is None or x.ndim not in {2, 3} or x.dtype.kind not in "fiub":
        raise DataError(
            say(
                "{place} holds no series: x must be an array of numbers, [series, channels, steps] or [series, steps]; found "
                "{found}.",
                place=place,
                found=say("none") if x is None else f"{x.dtype} {list(x.shape)}",
            )
        )
    if 0 in x.shape:
        raise DataError(say("{place}: x has the shape {shape}; there must be series with steps.", place=place, shape=x.shape))
    values = x[:, None] if x.ndim == 2 else x
    columns: dict[str, Any] = {SERIES: [str(row) for row in range(len(x))]}
    for name, part in parts.items():
        if name in {"x", "classes"}:
            continue
        column = {"y": LABEL}.get(name, name)
        if part.shape not in {(len(x),), (len(x), 1)}:
            if name in {"y", SPLIT}:
                raise DataError(
                    say("{place}: {name} has shape {shape}, but there are {count} series.",
                        place=place, name=name, shape=part.shape, count=len(x))
                )  # fmt: skip
            continue  # something about the whole set
        if part.dtype.kind not in "fiubUSM":
            raise DataError(say("{place}: {name} holds {kind}, not plain values.", place=place, name=name, kind=part.dtype))
        flat = part.reshape(-1)
        columns[column] = np.char.decode(flat, "utf-8") if part.dtype.kind == "S" else flat
    names = parts.get("classes")
    y = columns.get(LABEL)
    if y is not None and names is not None and np.issubdtype(y.dtype, np.integer) and y.min() >= 0 and y.max() < len(names):
        columns[LABEL] = [str(names[label]) for label in y]
    frame = pl.DataFrame(columns).with_columns(pl.selectors.float().fill_nan(None))  # no label, as in a table
    channels = tuple(f"x{number}" for number in range(values.shape[1])) if values.shape[1] > 1 else ("x",)
    label, parts_ = (name if name in columns else None for name in (LABEL, SPLIT))
    return Sequences(frame, _float(values, notes), channels, label, parts_, written=False)


def _float(values: NDArray[Any], notes: list[str]) -> Values:
    """Values as float32; infinite ones count as missing."""
    with np.errstate(over="ignore"):
        found = np.array(values, dtype=np.float32)
    endless = np.isinf(found)
    if endless.any():
        notes.append(say("{count} infinite values count as missing.", count=int(endless.sum())))
        found[endless] = np.nan
    return found


def _checked(found: Sequences, notes: list[str], known: Known | None) -> Sequences:
    """Without channels and series that hold nothing, unless they must agree with others; constant series are noted."""
    if known is not None:
        found = _agreeing(found, known)
    there: NDArray[np.bool_] = ~np.isnan(found.values)
    used: NDArray[np.bool_] = np.asarray(there.any((0, 2)))
    if not used.any():
        raise DataError(say("The series hold no values: everything is missing."))
    if not used.all():
        lost = listed([repr(name) for name, kept in zip(found.channels, used, strict=True) if not kept])
        if known is None:
            notes.append(say("Channels without any value are left out: {names}.", names=lost))
            channels = tuple(name for name, kept in zip(found.channels, used, strict=True) if kept)
            found = replace(found, values=found.values[:, used], channels=channels)
            there = there[:, used]
        else:
            notes.append(say("Channels hold no value: {names}.", names=lost))
    empty: NDArray[np.bool_] = np.asarray(~there.any((1, 2)))
    if empty.any():
        count = int(empty.sum())
        if known is None:
            notes.append(say("{count} series without any value are left out.", count=count))
            found = replace(found, frame=found.frame.filter(~empty), values=found.values[~empty])
            there = there[~empty]
        else:
            notes.append(say("{count} series hold no value: what is predicted of them rests on nothing.", count=count))
    steps = int(np.flatnonzero(there.any((0, 1)))[-1]) + 1
    values = found.values[:, :, :steps]
    with np.errstate(invalid="ignore"):
        least, most = (np.where(np.isnan(values), fill, values) for fill in (np.inf, -np.inf))
        constant = (least.min(2) >= most.max(2)).all(1) & there.any((1, 2))
    if constant.any():
        notes.append(
            say("{count} of {rows} series never change, such as {name!r}; they are kept.",
                count=int(constant.sum()), rows=len(values), name=found.frame[SERIES][int(constant.nonzero()[0][0])])
        )  # fmt: skip
    return replace(found, values=values)


def _agreeing(found: Sequences, known: Known) -> Sequences:
    """With the known channels in their order: by name, or by place where there are as many and names are missing."""
    if found.channels == known.channels:
        return found
    if set(known.channels) <= set(found.channels):
        places = [found.channels.index(name) for name in known.channels]
        return replace(found, values=found.values[:, places], channels=known.channels)
    if len(found.channels) == len(known.channels):
        return replace(found, channels=known.channels)
    raise DataError(
        say("The model reads the channels {known}; the data have {found}.",
            known=", ".join(known.channels), found=", ".join(found.channels))
    )  # fmt: skip


# ----------------------------------------------------------------- .ts files


def _folder(folder: Path, notes: list[str]) -> Sequences:
    """One set out of NAME_TRAIN.ts and NAME_TEST.ts."""
    named = sorted((found.group(2).lower(), path) for path in folder.iterdir() if (found := _PARTS.match(path.name)))
    parts = [part for part, _ in named]
    if parts not in (["test", "train"], ["train"]):
        raise DataError(
            say("The folder {folder} must hold NAME_TRAIN.ts and perhaps NAME_TEST.ts of one set; found {found}.",
                folder=folder, found=", ".join(path.name for _, path in named) or say("none"))
        )  # fmt: skip
    sets = [(part, _ts(path, [])) for part, path in named]
    if len({len(found.channels) for _, found in sets}) > 1:
        raise DataError(say("The files in {folder} have different numbers of channels.", folder=folder))
    steps = max(found.values.shape[2] for _, found in sets)
    values = np.concatenate([_longer(found.values, steps) for _, found in sets])
    frames = [
        found.frame.with_columns(pl.lit(part).alias(SPLIT), (pl.lit(f"{part} ") + pl.col(SERIES)).alias(SERIES))
        for part, found in sets
    ]
    first = sets[-1][1]
    return Sequences(pl.concat(frames, how="diagonal"), values, first.channels, first.target, SPLIT, written=True)


def _longer(values: Values, steps: int) -> Values:
    wide = ((0, 0), (0, 0), (0, steps - values.shape[2]))
    return np.pad(values, wide, constant_values=np.nan)


def _ts(path: Path, notes: list[str]) -> Sequences:
    """A file of the UCR, UEA and TSER archives."""
    check_file(path)
    text = path.read_bytes()
    if b"\0" in text:
        raise DataError(say("{path} is a binary file, not text of series.", path=path))
    lines = text.decode("utf-8", "replace").splitlines()
    labelled, stamped, begin = _ts_header(lines, path)
    rows: list[list[NDArray[np.float64]]] = []
    labels: list[str] = []
    for number, line in enumerate(lines[begin:], begin + 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        fields = _ts_fields(line, stamped)
        if labelled:
            if len(fields) < 2:
                raise _ts_error(path, number, say("expected channels and a label, separated by colons"))
            labels.append(fields.pop().strip())
        rows.append([_ts_values(field, stamped, path, number) for field in fields])
        if len(rows[-1]) != len(rows[0]):
            raise _ts_error(path, number, say("found {found} channels, expected {expected} as before",
                                              found=len(rows[-1]), expected=len(rows[0])))  # fmt: skip
    if not rows:
        raise DataError(say("{path} has no series behind @data.", path=path))
    steps = max(len(channel) for row in rows for channel in row)
    if 4 * len(rows) * len(rows[0]) * steps > _LARGEST:
        raise DataError(say("{path} would take more than 8 GB. Cut its series, or give fewer.", path=path))
    values = np.full((len(rows), len(rows[0]), steps), np.nan, np.float32)
    for row, parts in enumerate(rows):
        for place, channel in enumerate(parts):
            values[row, place, : len(channel)] = channel
    columns: dict[str, Any] = {SERIES: [str(row) for row in range(len(rows))]}
    columns |= {LABEL: labels} if labelled else {}
    frame = pl.DataFrame(columns)
    if labelled:
        frame = frame.with_columns(pl.when(pl.col(LABEL).is_in(["?", ""])).then(None).otherwise(pl.col(LABEL)).alias(LABEL))
    match = _PARTS.match(path.name)
    if match and match.group(2).lower() == "train":
        names = [other.name for other in path.parent.iterdir()]
        beside = next((name for name in names if name.lower() == f"{match.group(1)}_test.ts".lower()), None)
        if beside is not None:
            notes.append(say("There is {file} beside these data: name it with --test to be judged on it.", file=beside))
    channels = tuple(f"x{number}" for number in range(values.shape[1])) if values.shape[1] > 1 else ("x",)
    return Sequences(frame, _float(values, notes), channels, LABEL if labelled else None, None, written=True)


def _ts_header(lines: list[str], path: Path) -> tuple[bool, bool, int]:
    """Whether series have labels, whether steps have stamps, and the line after @data."""
    labelled = stamped = False
    for number, line in enumerate(lines):
        word, *values = line.strip().split() or [""]
        match word.lower():
            case "@data":
                return labelled, stamped, number + 1
            case "@classlabel" | "@targetlabel":
                labelled = bool(values) and values[0].lower() == "true"
            case "@timestamps":
                stamped = bool(values) and values[0].lower() == "true"
            case "":
                continue
            case _ if not word.startswith(("@", "#")):
                raise _ts_error(path, number + 1, say("expected a line that begins with @ before @data"))
    raise DataError(say("{path} has no line @data, after which its series would stand. Is it a .ts file?", path=path))


def _ts_fields(line: str, stamped: bool) -> list[str]:
    """Fields between colons; colons inside brackets belong to times of day."""
    return re.split(r":(?![^(]*\))", line) if stamped else line.split(":")


def _ts_values(field: str, stamped: bool, path: Path, number: int) -> NDArray[np.float64]:
    texts = re.findall(r"\([^()]*,\s*([^(),]*)\)", field) if stamped else field.split(",")
    try:
        return np.array([np.nan if text.strip() in {"?", "", "NaN", "nan"} else float(text) for text in texts])
    except ValueError:
        strange = next(text for text in texts if not _is_number(text))
        raise _ts_error(path, number, say("{text!r} is no number", text=strange.strip())) from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.strip() in {"?", ""}
    return True


def _ts_error(path: Path, line: int, problem: str) -> DataError:
    return DataError(say("{path} line {line}: {problem}.", path=path, line=line, problem=problem))


# ------------------------------------------------------------------- tables


def _table(
    data: object,
    target: str | None,
    split: str | None,
    by: str,
    time: str | None,
    notes: list[str],
    known: Known | None,
) -> Sequences:
    """A table whose rows are steps: sorted by series and time, with a step for each moment of a regular grid."""
    frame = open_frame(data, notes)
    for role, name in (("id column", by), ("time column", time), ("target", target), ("split column", split)):
        if name is not None and name not in frame.columns:
            raise DataError(
                say("The {role} {name!r} is not in the data.{hint}", role=role, name=name, hint=near(name, frame.columns))
            )
    named = [name for name in (by, time, target, split) if name is not None]
    if len(set(named)) < len(named):
        raise DataError(
            say("One column cannot have two roles: the id, the time, the target and the split must be different columns.")
        )
    lacking = frame[by].null_count()
    if lacking:
        notes.append(say("{count} rows without a value in {name!r} are left out.", count=lacking, name=by))
        frame = frame.filter(pl.col(by).is_not_null())
    times, form = np.arange(frame.height, dtype=np.float64), None
    if time is not None:
        read = read_times(frame[time], notes, None if known is None else known.form)
        times, form = read.values, read.form
    frame = frame.with_columns(pl.Series("titrant time", times), cells.text(frame[by]).alias("titrant name"))
    lacking = int(np.isnan(times).sum())
    if lacking:
        notes.append(say("{count} rows without a time in {name!r} are left out.", count=lacking, name=time))
        frame = frame.filter(~pl.col("titrant time").is_nan())
    if frame.height == 0:
        raise DataError(say("No row has both an id and a time."))
    whole = frame.group_by("titrant name", maintain_order=True)
    other = [name for name in frame.columns if name not in {by, time, "titrant time", "titrant name"}]
    varies = whole.agg(pl.col(other).drop_nulls().n_unique() > 1)
    if target is not None and varies[target].any():
        name = varies.filter(pl.col(target))["titrant name"][0]
        raise DataError(
            say("The target {target!r} changes inside the series {name!r}. It must be one value for each series.",
                target=target, name=name)
        )  # fmt: skip
    steps = [name for name in other if name not in {target, split} and varies[name].any()]
    channels = _followed(frame, steps, by, notes) if known is None else _asked(frame, known, notes)
    steps = [*steps, *(name for name in channels if name not in steps)]
    numbers = {name: cells.number(frame[name]) for name in channels}
    long = pl.DataFrame(
        {"titrant name": frame["titrant name"], "titrant time": frame["titrant time"], **{c: numbers[c] for c in channels}}
    )
    about = whole.agg(pl.col([name for name in other if name not in steps]).drop_nulls().first())
    about = about.rename({"titrant name": SERIES})
    values, step = _laid_out(long, about[SERIES], channels, form, notes, known)
    parts = split or next((name for name in about.columns if name.lower() == SPLIT and name != target), None)
    guess = next((name for name in about.columns if name.lower() in {LABEL, "class", "target", "y"}), None)
    return Sequences(about, _float(values, notes), channels, target or guess, parts, is_text_file(data), form, step)


def _followed(frame: pl.DataFrame, steps: list[str], by: str, notes: list[str]) -> tuple[str, ...]:
    """Of the columns that change inside series, those of numbers."""
    unread = [name for name in steps if _strange(frame[name]) > 0.05 * frame.height]
    if unread:
        notes.append(
            say(
                "Columns that change inside series and are no numbers are left out: {names}.",
                names=listed(list(map(repr, unread))),
            )
        )
    channels = tuple(name for name in steps if name not in unread)
    if not channels:
        raise DataError(
            say(
                "No column of numbers changes inside the series of {name!r}, so that there is nothing to follow in time.",
                name=by,
            )
        )
    return channels


def _asked(frame: pl.DataFrame, known: Known, notes: list[str]) -> tuple[str, ...]:
    """The known channels, whether they change in these series or not."""
    missing = [name for name in known.channels if name not in frame.columns]
    if missing:
        raise DataError(
            say("The data lack columns that the model reads: {names}.", names=listed([repr(name) for name in missing]))
        )
    counts = {name: count for name in known.channels if (count := _strange(frame[name]))}
    notes += [say("Column {name!r}: {count} cells are no numbers; they count as missing.", name=name, count=count)
              for name, count in counts.items()]  # fmt: skip
    return known.channels


def _strange(series: pl.Series) -> int:
    """How many cells are neither a number nor missing."""
    return cells.number(series).null_count() - cells.missing(series)


def _laid_out(
    long: pl.DataFrame,
    names: pl.Series,
    channels: tuple[str, ...],
    form: str | None,
    notes: list[str],
    known: Known | None,
) -> tuple[Values, float | None]:
    """Values [n, c, t] of sorted steps, and how far these are apart, if evenly.

    Duplicates of a moment are averaged, gaps in a regular grid are missing values.
    """
    key = ["titrant name", "titrant time"]
    if form is not None:
        if not long.select(pl.col("titrant time").diff().over("titrant name").fill_null(0).min()).item() >= 0:
            notes.append(say("The steps of some series were not in the order of time; they are sorted."))
        doubled = long.height - long.select(key).n_unique()
        if doubled:
            notes.append(say("{count} steps share series and time with another one; their values are averaged.", count=doubled))
            long = long.group_by(key).agg(pl.col(channels).mean())
    long = long.sort(key)
    order = {name: row for row, name in enumerate(names)}
    row = long["titrant name"].replace_strict(order, return_dtype=pl.Int64).to_numpy()
    at, step = long.select(pl.int_range(pl.len()).over("titrant name")).to_series().to_numpy(), None
    if form is not None:
        at, step = _on_grid(long["titrant time"].to_numpy(), form != NUMBERS, row, at, notes, known)
    steps = int(at.max()) + 1
    if 4 * len(names) * len(channels) * steps > _LARGEST:
        raise DataError(
            say("{count} series of up to {steps} steps would take more than 8 GB. Choose a coarser time, or fewer series.",
                count=len(names), steps=steps)
        )  # fmt: skip
    values = np.full((len(names), len(channels), steps), np.nan, np.float32)
    for place, channel in enumerate(channels):
        values[row, place, at] = long[channel].to_numpy()
    return values, step


def _on_grid(
    time: NDArray[np.float64],
    dates: bool,
    row: NDArray[np.int64],
    at: NDArray[np.int64],
    notes: list[str],
    known: Known | None,
) -> tuple[NDArray[np.int64], float | None]:
    """Steps from the start of each series, and how long they are: the known length, or the commonest one.

    Where times are irregular they are the plain order of rows, and have no length. With a known length each series is judged by
    itself, so that what is read of one does not depend on others.
    """
    inside = row[1:] == row[:-1]
    gaps = gaps_of(np.diff(time)[inside], dates)
    if known is not None and known.step is None:
        return at, None
    given = None if known is None or known.step == 0 else known.step
    if len(gaps) == 0:
        return at, given
    sizes, counts = np.unique(gaps, return_counts=True)
    step = float(sizes[counts.argmax()]) if given is None else given
    multiple = gaps / step
    beside = np.abs(multiple - multiple.round()) > 1e-3
    if given is None and (counts.max() < _REGULAR * len(gaps) or beside.any()):
        if len(sizes) > 1:
            notes.append(say("The times of the series are irregular; only their order is used."))
        return at, None
    starts = time[np.flatnonzero(np.r_[True, ~inside])]
    found: NDArray[np.int64] = np.round((time - starts[np.cumsum(np.r_[True, ~inside]) - 1]) / step).astype(np.int64)
    owner = row[1:][inside]
    if given is not None:
        strange = np.isin(row, np.union1d(owner[beside], row[found > 20 * (at.max() + 1)]))
        if strange.any():
            notes.append(
                say("{count} series have times that do not follow each other by the {step:g} that the model knows; only their "
                    "order is used.", count=len(np.unique(row[strange])), step=step)
            )  # fmt: skip
        found = np.where(strange, at, found)
        multiple = multiple[~np.isin(owner, row[strange])]
    missing = int((multiple.round() - 1).sum())
    if missing:
        if given is None and found.max() > 20 * (at.max() + 1):
            notes.append(say("The times of the series have gaps that are longer than the series; only their order is used."))
            return at, None
        notes.append(say("{count} steps are missing between others; they count as missing values.", count=missing))
    return found, step
