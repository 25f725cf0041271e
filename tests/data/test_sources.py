import codecs
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from titrant.data.sources import is_text_file, near, open_frame
from titrant.errors import DataError, TitrantError

TABLE = {"name": ["Zoë", "O'Brien, Jr.", None], "age": ["31", "4.5", "-7"]}
CSV = 'name,age\nZoë,31\n"O\'Brien, Jr.",4.5\nNA,-7\n'


def written(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def cells(path: Path, notes: list[str] | None = None) -> dict[str, list[object]]:
    return open_frame(path, [] if notes is None else notes).to_dict(as_series=False)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_finds_the_delimiter(tmp_path: Path, delimiter: str) -> None:
    text = CSV.replace('"O\'Brien, Jr."', "@").replace(",", delimiter).replace("@", '"O\'Brien, Jr."')
    notes: list[str] = []
    assert cells(written(tmp_path, text), notes) == TABLE
    assert notes == []


def test_decimal_commas_do_not_hide_the_semicolon(tmp_path: Path) -> None:
    assert cells(written(tmp_path, "a;b\n1,5;2,5\n3,5;4,5\n")) == {"a": ["1,5", "3,5"], "b": ["2,5", "4,5"]}


def test_a_tsv_file_is_cut_at_tabs_only(tmp_path: Path) -> None:
    assert cells(written(tmp_path, "a,b\tc\n1,2\t3\n", "table.tsv")) == {"a,b": ["1,2"], "c": ["3"]}


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [(b"", "utf-8"), (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")],
)
def test_reads_unicode_encodings_silently(tmp_path: Path, mark: bytes, encoding: str) -> None:
    notes: list[str] = []
    assert cells(written(tmp_path, mark + CSV.encode(encoding)), notes) == TABLE
    assert notes == []


@pytest.mark.parametrize(("letters", "name"), [("Zoë €".encode("cp1252"), "Windows-1252"), (b"Zo\xeb \x81", "Latin-1")])
def test_reads_western_encodings_with_a_note(tmp_path: Path, letters: bytes, name: str) -> None:
    notes: list[str] = []
    frame = open_frame(written(tmp_path, b"name\n" + letters + b"\nAnn\n"), notes)
    assert frame["name"][0].startswith("Zoë")
    assert len(notes) == 1
    assert name in notes[0]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_blank_lines_and_quoted_line_ends(tmp_path: Path, end: str) -> None:
    text = f'{end}{end}a,b{end}{end}1,"x{end}y ""z"""{end}{end}2,w'
    assert cells(written(tmp_path, text)) == {"a": ["1", "2"], "b": [f'x{end}y "z"', "w"]}


@pytest.mark.parametrize("header", ["a,b", "a,b,"])
def test_a_trailing_delimiter_makes_no_column(tmp_path: Path, header: str) -> None:
    assert cells(written(tmp_path, f"{header}\n1,2,\n3,4,\n")) == {"a": ["1", "3"], "b": ["2", "4"]}


def test_columns_without_name_are_numbered(tmp_path: Path) -> None:
    assert cells(written(tmp_path, ",b,\n1,2,x\n")) == {"unnamed 1": ["1"], "b": ["2"], "unnamed 3": ["x"]}


def test_missing_tokens_become_null_and_none_stays(tmp_path: Path) -> None:
    tokens = ["", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "?", " ? "]
    text = "a,b\n" + "".join(f"{token},1\n" for token in [*tokens, "None", "none"])
    assert cells(written(tmp_path, text))["a"] == [None] * len(tokens) + ["None", "none"]


def test_odd_names_and_spaces_after_delimiters(tmp_path: Path) -> None:
    text = "größe [cm], a.b, {x}\n 1, <=50K, y z \n"
    assert cells(written(tmp_path, text)) == {"größe [cm]": ["1"], "a.b": ["<=50K"], "{x}": ["y z"]}


def test_reads_gzip(tmp_path: Path) -> None:
    assert cells(written(tmp_path, gzip.compress(CSV.encode()), "table.csv.gz")) == TABLE


def test_parquet_and_arrow_keep_types(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1, None], "b": ["x", "?"], "c": [1.5, float("nan")]})
    expected = {"a": [1, None], "b": ["x", None], "c": [1.5, None]}
    frame.write_parquet(tmp_path / "t.parquet")
    frame.write_ipc(tmp_path / "t.feather")
    frame.head(1).write_ipc(tmp_path / "t[1].feather")
    assert cells(tmp_path / "t.parquet") == expected
    assert cells(tmp_path / "t.feather") == expected
    assert len(open_frame(tmp_path / "t[1].feather", [])) == 1
    assert open_frame(str(tmp_path / "t.parquet"), []).schema["a"] == pl.Int64


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        ("", "t.csv", ["is empty"]),
        ("\n \n", "t.csv", ["is empty"]),
        ("a,b\n", "t.csv", ["header but no rows"]),
        ("a,b\n\n", "t.csv", ["header but no rows"]),
        ("a,b\n1,2\n\n1,2,3\n", "t.csv", ["line 4", "found 3 fields, expected 2"]),
        ('a,b\n1,"x\ny"\n1\n', "t.csv", ["line 4", "found 1 fields, expected 2"]),
        ("a,b,a\n1,2,3\n", "t.csv", ["'a'", "same name"]),
        ('a,b\n1,2\n3,"4\n5,6\n7,8\n', "t.csv", ["line 3", "never closed"]),
        (b"a,b\n1,\x002\n", "t.csv", ["NUL", "line 2"]),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(1, 32)) * 9, "t.csv", ["binary"]),
        (codecs.BOM_UTF16_LE + b"a\x00,", "t.csv", ["utf-16"]),
        (b"not gzip", "t.csv.gz", ["cannot be read"]),
        (gzip.compress(b"a,b\n" * 999, mtime=0)[:-9], "t.csv.gz", ["cannot be read"]),
        (b"not parquet", "t.parquet", ["cannot be read"]),
        (b"not arrow", "t.arrow", ["cannot be read"]),
        (b"PK", "t.xlsx", ["ending", ".parquet"]),
    ],
)
def test_unreadable_files_are_refused_with_their_place(
    tmp_path: Path, content: str | bytes, name: str, words: list[str]
) -> None:
    path = written(tmp_path, content, name)
    with pytest.raises(DataError) as caught:
        open_frame(path, [])
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    written(tmp_path, CSV, "train.csv")
    with pytest.raises(DataError, match=r"Did you mean 'train\.csv'"):
        open_frame(tmp_path / "trian.csv", [])
    with pytest.raises(DataError, match="no file"):
        open_frame("nowhere/at\0all.csv", [])
    with pytest.raises(DataError, match="is a folder"):
        open_frame(tmp_path, [])


@pytest.mark.parametrize(
    "source",
    [
        pl.DataFrame({"a": [1, 2], "b": ["x", None]}),
        pl.LazyFrame({"a": [1, 2], "b": ["x", None]}),
        pl.DataFrame({"a": [1, 2], "b": ["x", None]}, schema_overrides={"b": pl.Categorical}),
        pa.table({"a": [1, 2], "b": pa.array(["x", None]).dictionary_encode()}),
        {"a": np.array([1, 2]), "b": ["x", float("nan")]},
        {"a": (1, 2), "b": np.array(["x", None], dtype=object)},
        pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=[7, 7]),
        pd.DataFrame({"a": pd.array([1, 2], dtype="Int64"), "b": pd.Categorical(["x", None])}),
        pd.DataFrame({"a": [1, 2], "b": pd.Series(["x", pd.NA], dtype="string")}),
        np.array([(1, "x"), (2, "?")], dtype=[("a", int), ("b", "U3")]),
    ],
)
def test_frames_of_all_libraries(source: object) -> None:
    notes: list[str] = []
    assert open_frame(source, notes).to_dict(as_series=False) == {"a": [1, 2], "b": ["x", None]}
    assert notes == []


def test_arrays_get_names_and_numbers_of_any_width_become_float64() -> None:
    frame = open_frame(np.array([[1, np.nan], [2.5, 3]], dtype=np.float32), [])
    assert frame.schema == {"x0": pl.Float64, "x1": pl.Float64}
    assert frame.to_dict(as_series=False) == {"x0": [1, 2.5], "x1": [None, 3]}
    mixed = np.array([[1, "a", 0.5], [None, "b", 2]], dtype=object)
    assert open_frame(mixed, []).to_dict(as_series=False) == {"x0": [1, None], "x1": ["a", "b"], "x2": [0.5, 2]}


def test_pandas_extension_types() -> None:
    notes: list[str] = []
    frame = open_frame(
        pd.DataFrame(
            {
                "flag": pd.array([True, None], dtype="boolean"),
                "sparse": pd.arrays.SparseArray([0.0, 1.5]),
                "zone": pd.date_range("2024-03-01", periods=2, tz="Europe/Vienna"),
                "month": pd.period_range("2024-01", periods=2, freq="M"),
                5: [1, 2],
            }
        ),
        notes,
    )
    assert frame["flag"].to_list() == [True, None]
    assert frame["sparse"].to_list() == [0.0, 1.5]
    assert frame["month"].to_list() == ["2024-01", "2024-02"]
    assert frame["5"].to_list() == [1, 2]
    assert frame.schema["zone"].is_temporal()


def test_mixed_cells_become_text_with_a_note() -> None:
    notes: list[str] = []
    assert open_frame({"a": [1, "x", None, 2.5]}, notes)["a"].to_list() == ["1", "x", None, "2.5"]
    assert "'a'" in notes[0]
    assert "float, int, str" in notes[0]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({}, "no columns"),
        ({"a": []}, "no rows"),
        ({"a": [1, 2], "b": [1]}, "unequal lengths"),
        ({"a": 3}, "not a sequence"),
        ({1: [1], "1": [2]}, "same name"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "same name"),
        (pa.table([[1], [2]], names=["a", "a"]), "same name"),
        (np.zeros(3), "shape"),
        (np.zeros((2, 2), dtype=complex), "Complex"),
        ([1, 2], "type list"),
        (None, "NoneType"),
    ],
)
def test_unusable_frames_are_refused(source: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        open_frame(source, [])


def test_near_and_is_text_file() -> None:
    assert near("Incom", ["age", "income"]) == " Did you mean 'income'?"
    assert near("zzz", ["age", "income"]) == ""
    assert is_text_file("a/b.CSV.gz")
    assert not is_text_file("a.parquet")
    assert not is_text_file({"a": [1]})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=60), st.text(alphabet='ab,;\t|"\n\r 1é\0', max_size=60).map(str.encode)))
@example(b'"')
@example(b'a,"b')
@example(b"a\x1a")
def test_any_bytes_are_a_table_or_a_clear_error(tmp_path: Path, content: bytes) -> None:
    try:
        frame = open_frame(written(tmp_path, content), [])
    except TitrantError:
        return
    assert frame.height
    assert all(dtype == pl.String for dtype in frame.dtypes)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(*[st.text(st.characters(exclude_categories=["C", "Z"]), max_size=8)] * 3), min_size=1, max_size=6))
def test_what_polars_writes_is_read_back(tmp_path: Path, rows: list[tuple[str, ...]]) -> None:
    names = ["a", "b b", "ç"]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    frame.write_csv(tmp_path / "table.csv", quote_style="always")
    expected = open_frame(frame, [])
    assert open_frame(tmp_path / "table.csv", []).equals(expected)
