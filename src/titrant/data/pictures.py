"""Where pictures come from, and what is known of each: folders, tables with a path or with bytes, and arrays.

All become one table with a row for each picture, in which labels and parts are ordinary columns, beside the pictures
themselves; what follows (classes, division of rows) is the same as for any table.
"""

import io
import os
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from titrant.data.decode import Item
from titrant.data.roles import PART_NAMES
from titrant.data.sources import open_frame
from titrant.errors import DataError
from titrant.texts import say

PATH, LABEL, SPLIT = "path", "label", "split"

_ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm")
_ARRAYS = (".npz", ".npy")
_TABLES = (".csv", ".tsv", ".txt", ".gz", ".parquet", ".pq", ".arrow", ".feather", ".ipc")
_LOOKED_AT = 20  # cells of a column that decide whether it holds paths
_HEAD = 1 << 14  # bytes of a text table that are searched for the name of a picture
_LABELS = (LABEL, "class", "target", "y")


@dataclass(frozen=True)
class Pictures:
    """Pictures that are not decoded yet.

    Args:
        frame: a row for each: its name in `path`, and what is known of it.
        items: the pictures.
        target: the column of labels; None if there is none.
        split: the column that says train, validation or test; None if there is none.
        written: labels were read from text, where numbers and text look alike.
        named: labels are names, whatever they look like.
    """

    frame: pl.DataFrame
    items: Sequence[Item]
    target: str | None
    split: str | None
    written: bool
    named: bool = False


def are_pictures(data: object) -> bool:
    """Whether data are pictures rather than a table of numbers and words, told from a quick look.

    Example:
        >>> are_pictures(np.zeros((10, 28, 28), np.uint8)), are_pictures({"x": [1, 2]})
        (True, False)
    """
    if isinstance(data, str | Path):
        return _file_holds_pictures(Path(data).expanduser())
    if isinstance(data, np.ndarray):
        return _is_stack(data)
    if isinstance(data, Mapping):
        return any(isinstance(part, np.ndarray) and _is_stack(part) for part in data.values()) or _path_column(
            _head(data)
        ) is not None  # fmt: skip
    head = getattr(data, "head", None)
    return head is not None and not isinstance(data, pl.LazyFrame) and _path_column(_head(head(_LOOKED_AT))) is not None


def find_pictures(data: object, target: str | None, split: str | None, notes: list[str]) -> Pictures:
    """Finds pictures and what is known of them.

    Args:
        data: a folder, with a folder for each class, perhaps inside train, val and test; a table (file or frame) with a column
            of paths or of bytes; an `.npz` file or a mapping with `x` (uint8 [n, h, w], [n, h, w, c] or [n, c, h, w]), `y` and
            perhaps `split` and `classes`; a `.npy` file or an array.
        target: the column of labels; found by its name if None.
        split: the column of parts; one called split is taken if None.
        notes: receives warnings for the person.

    Raises:
        DataError: there are none, or the labels cannot be told.
    """
    if isinstance(data, str | Path):
        path = Path(data).expanduser()
        if path.is_dir():
            return _folder(path, notes)
        if path.suffix.lower() in _ENDINGS and path.is_file():
            return Pictures(pl.DataFrame({PATH: [path.name]}), [path], None, None, True)
        if path.suffix.lower() in _ARRAYS:
            return _arrays(_loaded(path), str(path))
        return _table(data, path.parent, target, split, notes)
    if isinstance(data, np.ndarray):
        return _arrays({"x": data}, say("the data"))
    if isinstance(data, Mapping) and any(isinstance(part, np.ndarray) and _is_stack(part) for part in data.values()):
        return _arrays({str(name): np.asarray(part) for name, part in data.items()}, say("the data"))
    return _table(data, Path(), target, split, notes)


# ------------------------------------------------------------------ folders


def _folder(root: Path, notes: list[str]) -> Pictures:
    """A picture's class is the first folder on its way, or the second where the first ones are called train, val, test."""
    found: list[tuple[str, ...]] = []
    strange = 0

    def refused(error: OSError) -> None:
        notes.append(say("The folder {folder} cannot be read: {reason}.", folder=error.filename, reason=error.strerror))

    for place, folders, files in os.walk(root, onerror=refused):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        way = Path(place).relative_to(root).parts
        for name in sorted(files):
            if Path(name).suffix.lower() in _ENDINGS:
                found.append((*way, name))
            else:
                strange += not name.startswith(".")
    if not found:
        raise DataError(
            say(
                "There are no pictures in the folder {folder}. Titrant reads {endings}.",
                folder=root,
                endings=", ".join(_ENDINGS),
            )
        )
    if strange:
        notes.append(say("Files that are no pictures are passed over: {count} in {folder}.", count=strange, folder=root))
    tops = {way[0] for way in found if len(way) > 1}
    parts = tops and all(top.lower() in PART_NAMES for top in tops) and any(top.lower() == "train" for top in tops)
    at = 1 if parts else 0  # where on the way the class stands
    labelled = [way for way in found if len(way) > at + 1]
    if not labelled:  # nothing to learn from, and enough to predict
        names = pl.DataFrame({PATH: [_written(way) for way in found]})
        return Pictures(names, [root.joinpath(*way) for way in found], None, None, True)
    if len(labelled) < len(found):
        loose = next(way for way in found if len(way) <= at + 1)
        notes.append(
            say("Pictures that lie in no class's folder: {count}, such as {example}.",
                count=len(found) - len(labelled), example=_written(loose))
        )  # fmt: skip
    columns: dict[str, list[str | None]] = {
        PATH: [_written(way) for way in found],
        LABEL: [_text(way[at]) if len(way) > at + 1 else None for way in found],
    }
    columns |= {SPLIT: [_text(way[0]) for way in found]} if parts else {}
    return Pictures(pl.DataFrame(columns), [root.joinpath(*way) for way in found], LABEL, SPLIT if parts else None, True, True)


def _written(way: tuple[str, ...]) -> str:
    return _text("/".join(way))


def _text(name: str) -> str:
    """A file's name without bytes that are no UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")


# ------------------------------------------------------------------- tables


def _table(data: object, beside: Path, target: str | None, split: str | None, notes: list[str]) -> Pictures:
    content = _head_bytes(data)
    frame = open_frame(data, notes) if content is None else content
    column = _path_column(frame)
    if column is None:
        raise DataError(say("No column of the table holds paths or bytes of pictures."))
    items: list[Item]
    if frame[column].dtype == pl.Struct:
        names, items = _structs(frame[column])
        frame = frame.with_columns(names.alias(column))
    elif frame[column].dtype == pl.Binary:
        items = frame[column].to_list()
        frame = frame.with_columns(pl.Series(column, [str(row) for row in range(frame.height)]))
    else:
        base = _base(frame[column], beside)
        items = [base / str(name) for name in frame[column]]
    frame = frame.rename({column: PATH} if column != PATH and PATH not in frame.columns else {})
    others = [name for name in frame.columns if name not in {PATH, column}]
    split = split or next((name for name in others if name.lower() == SPLIT and name != target), None)
    target = target or _label_column([name for name in others if name != split])
    return Pictures(frame if PATH in frame.columns else frame.with_columns(pl.col(column).alias(PATH)), items, target, split,
                    isinstance(data, str | Path) and not str(data).lower().endswith((".parquet", ".pq")))  # fmt: skip


def _head_bytes(data: object) -> pl.DataFrame | None:
    """A Parquet file or a frame with a column of bytes, whose cells must stay bytes; None for others."""
    if isinstance(data, str | Path) and str(data).lower().endswith((".parquet", ".pq")):
        try:
            frame = pl.read_parquet(Path(data).expanduser(), glob=False)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(say("{path} cannot be read: {reason}.", path=data, reason=str(error).splitlines()[0])) from None
        return frame if any(_holds_bytes(dtype) for dtype in frame.dtypes) else None
    return data if isinstance(data, pl.DataFrame) and any(_holds_bytes(dtype) for dtype in data.dtypes) else None


def _holds_bytes(dtype: pl.DataType) -> bool:
    return dtype == pl.Binary or (isinstance(dtype, pl.Struct) and any(field.dtype == pl.Binary for field in dtype.fields))


def _structs(series: pl.Series) -> tuple[pl.Series, list[Item]]:
    """Records of bytes and a path, as Hugging Face writes them."""
    fields = dict(series.struct.schema)
    content = next(field for field, dtype in fields.items() if dtype == pl.Binary)
    name = next((field for field, dtype in fields.items() if dtype == pl.String), None)
    numbered = pl.Series([str(row) for row in range(len(series))])
    names = numbered if name is None else series.struct.field(name).fill_null(numbered)
    return names, [cell or b"" for cell in series.struct.field(content)]


def _base(names: pl.Series, beside: Path) -> Path:
    """The folder from which paths lead to files: that of the table, or one that lies in it."""
    some = [str(name) for name in names.drop_nulls().head(_LOOKED_AT)]
    inside = sorted(place for place in beside.iterdir() if place.is_dir()) if beside.is_dir() else []
    for base in (beside, *inside):
        if any((base / name).is_file() for name in some):
            return base
    raise DataError(
        say("The pictures that column {name!r} names are not there, such as {example!r}: looked in {folder} and its folders.",
            name=names.name, example=some[0] if some else "", folder=beside.resolve())
    )  # fmt: skip


def _label_column(names: list[str]) -> str | None:
    lower = {name.lower(): name for name in names}
    return next((lower[name] for name in _LABELS if name in lower), names[0] if len(names) == 1 else None)


def _path_column(frame: pl.DataFrame | None) -> str | None:
    """The column whose cells name pictures, or hold their bytes."""
    if frame is None:
        return None
    for series in frame:
        if _holds_bytes(series.dtype):
            first = series.drop_nulls().head(1).to_list()
            cell = first[0] if first else b""
            content = next((v for v in cell.values() if isinstance(v, bytes)), b"") if isinstance(cell, dict) else cell
            if _begins_as_picture(content):
                return series.name
        if series.dtype == pl.String:
            cells = series.drop_nulls().head(_LOOKED_AT)
            if len(cells) and cells.str.to_lowercase().str.contains(_NAMED).all():
                return series.name
    return None


_NAMED = r"\.(?:" + "|".join(ending[1:] for ending in _ENDINGS) + r")$"
_MENTIONED = re.compile(
    (r"\.(?:" + "|".join(ending[1:] for ending in _ENDINGS) + r")[\"']?\s*(?:[,;\t|]|$)").encode(), re.I | re.M
)
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF", b"P1", b"P2", b"P3", b"P4", b"P5", b"P6")


def _begins_as_picture(content: bytes) -> bool:
    return content.startswith(_MAGIC)


def _head(data: Any) -> pl.DataFrame | None:
    """The first rows of a frame or a mapping of columns; None if it is no such thing."""
    try:
        if isinstance(data, pl.DataFrame):
            return data.head(_LOOKED_AT)
        if isinstance(data, Mapping):
            return pl.DataFrame({str(name): list(column)[:_LOOKED_AT] for name, column in data.items()}, strict=False)
        return pl.DataFrame({str(name): data[name].to_list()[:_LOOKED_AT] for name in data.columns}, strict=False)
    except Exception:  # whatever it is, it is no table of pictures; the reader of tables will say what is wrong with it
        return None


def _file_holds_pictures(path: Path) -> bool:
    ending = path.suffix.lower()
    try:
        if path.is_dir() or (ending in _ENDINGS and path.is_file()):
            return True
        if not path.is_file():
            return False
        if ending in _ARRAYS:
            return _stack_in_file(path)
        if ending in {".parquet", ".pq"}:
            if any(_holds_bytes(dtype) for dtype in pl.read_parquet_schema(path).values()):
                return _path_column(pl.read_parquet(path, n_rows=_LOOKED_AT, glob=False)) is not None
            return _path_column(pl.read_parquet(path, n_rows=_LOOKED_AT, glob=False)) is not None
        if ending in {".csv", ".tsv", ".txt"}:
            with path.open("rb") as file:
                return _MENTIONED.search(file.read(_HEAD)) is not None and _path_column(open_frame(path, [])) is not None
    except (OSError, ValueError, DataError, pl.exceptions.PolarsError):
        return False  # the reader of tables will say what is wrong
    return False


# ------------------------------------------------------------------- arrays


def _is_stack(numbers: NDArray[Any]) -> bool:
    return numbers.ndim in {3, 4} and numbers.dtype in (np.uint8, np.uint16)


def _stack_in_file(path: Path) -> bool:
    """Whether `x` of an .npz file, or a .npy file, is a stack of pictures; only the header is read."""

    def is_stack(file: Any) -> bool:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        return len(shape) in {3, 4} and dtype in (np.uint8, np.uint16)

    if path.suffix.lower() == ".npy":
        with path.open("rb") as file:
            return is_stack(file)
    try:
        with zipfile.ZipFile(path) as archive:
            inside = [name for name in archive.namelist() if name.endswith(".npy")]
            names = [name for name in inside if name in {"x.npy", "x_train.npy", "images.npy"}]
            return bool(names) and all(is_stack(io.BytesIO(archive.open(name).read(4096))) for name in names)
    except zipfile.BadZipFile:
        return False


def _loaded(path: Path) -> dict[str, NDArray[Any]]:
    try:
        if path.suffix.lower() == ".npy":
            return {"x": np.load(path, mmap_mode="r", allow_pickle=False)}
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(say("{path} cannot be read: {reason}.", path=path, reason=" ".join(str(error).split()))) from None


def _arrays(parts: Mapping[str, NDArray[Any]], place: str) -> Pictures:
    """`x`, and `y`, `split` and `classes` where they are there."""
    x = parts.get("x", parts.get("images"))
    if x is None or not _is_stack(x):
        raise DataError(
            say("{place} holds no pictures: x must be uint8 or uint16, [n, h, w], [n, h, w, c] or [n, c, h, w].", place=place)
        )
    if x.ndim == 4 and not ({1, 2, 3, 4} & {x.shape[1], x.shape[3]}):
        raise DataError(say("{place}: x has shape {shape}; the second or the last axis must hold 1 to 4 channels.",
                            place=place, shape=x.shape))  # fmt: skip
    columns: dict[str, Any] = {PATH: [str(row) for row in range(len(x))]}
    y = parts.get("y", parts.get("labels"))
    for name, values in ((LABEL, y), (SPLIT, parts.get("split"))):
        if values is None:
            continue
        if values.shape not in {(len(x),), (len(x), 1)}:
            raise DataError(
                say("{place}: {name} has shape {shape}, but there are {count} pictures.",
                    place=place, name=name, shape=values.shape, count=len(x))
            )  # fmt: skip
        columns[name] = values.reshape(-1)
    names = parts.get("classes")
    if y is not None and names is not None and np.issubdtype(y.dtype, np.integer) and y.min() >= 0 and y.max() < len(names):
        columns[LABEL] = [str(names[label]) for label in y.reshape(-1)]
    items = x if x.ndim == 3 or x.shape[3] <= 4 else x.transpose(0, 2, 3, 1)
    return Pictures(pl.DataFrame(columns), items, LABEL if y is not None else None, SPLIT if SPLIT in columns else None, False)  # type: ignore[arg-type]  # an array is a sequence of its parts
