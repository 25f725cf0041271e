import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from titrant.data.dataset import Dataset, read
from titrant.errors import DataError, TitrantError

ROWS = 100


def table(**columns: Any) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    return {
        "x": generator.normal(size=ROWS),
        "town": generator.choice(["Graz", "Linz", "Wien"], ROWS).tolist(),
        "y": ["no", "yes"] * (ROWS // 2),
        **columns,
    }


def kinds(dataset: Dataset) -> dict[str, str]:
    return {column.name: column.kind for column in dataset.schema.columns}


def understood(target: Any, rows: int = ROWS, **options: Any) -> tuple[str, tuple[Any, ...]]:
    schema = read({"x": np.random.default_rng(0).normal(size=rows), "y": target}, "y", notes=[], **options).schema
    return schema.task, schema.classes


def test_a_plain_table() -> None:
    notes: list[str] = []
    data = table()
    dataset = read(data, "y", notes=notes)
    assert notes == []
    assert dataset.schema.task == "binary"
    assert dataset.schema.classes == ("no", "yes")
    assert kinds(dataset) == {"x": "number", "town": "category"}
    np.testing.assert_array_equal(dataset.numbers[:, 0], data["x"].astype(np.float32))
    assert dataset.target.tolist() == [0, 1] * 50
    vocabulary = dataset.schema.columns[1].vocabulary
    assert [vocabulary[code - 2] for code in dataset.codes[:, 0].tolist()] == data["town"]
    assert [len(part) for part in (dataset.split.train, dataset.split.validation, dataset.split.test)] == [64, 16, 20]
    assert (dataset.groups, dataset.values) == (None, None)


# --- target --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "task", "classes"),
    [
        (["b", "a"] * 50, "binary", ("a", "b")),
        (["b", "a", "c", "a"] * 25, "multiclass", ("a", "b", "c")),
        ([True, False] * 50, "binary", (False, True)),
        ([7, 3] * 50, "binary", (3, 7)),
        ([0, 1, 2, 4] * 25, "multiclass", (0, 1, 2, 4)),
        ([0.0, 1.0] * 50, "binary", (0.0, 1.0)),
        (["0", "1"] * 50, "binary", ("0", "1")),
        (pl.Series(["b", "a"] * 50, dtype=pl.Categorical), "binary", ("a", "b")),
        (pd.Series(["b", "a"] * 50, dtype="category"), "binary", ("a", "b")),
        ([3, 4, 5, 6] * 25, "regression", ()),
        (list(range(50)) * 2, "regression", ()),
        ([0.5, 1.0] * 50, "regression", ()),
        ([str(0.5 * row) for row in range(100)], "regression", ()),
    ],
)
def test_the_task_is_inferred(target: Any, task: str, classes: tuple[Any, ...]) -> None:
    assert understood(target) == (task, classes)


def test_the_task_can_be_told() -> None:
    assert understood([0, 1] * 50, task="regression") == ("regression", ())
    assert understood([3, 4, 5, 6] * 25, task="classification") == ("multiclass", (3, 4, 5, 6))
    assert understood([0.5, 1.5] * 50, task="binary") == ("binary", (0.5, 1.5))


def test_whole_numbers_say_what_they_were_taken_for() -> None:
    for target, words in (([0, 1] * 50, "taken as classes"), (list(range(50)) * 2, "taken as a quantity")):
        notes: list[str] = []
        read(table(y=target), "y", notes=notes)
        assert words in notes[0]


def test_labels_of_a_text_file_come_back_as_written(tmp_path: Path) -> None:
    for labels, classes in (("31", (1, 3)), (["01", "1"], ("01", "1")), (["True", "no"], ("True", "no"))):
        frame = pl.DataFrame(table(y=[labels[row % 2] for row in range(ROWS)]))
        frame.write_csv(tmp_path / "t.csv")
        assert read(tmp_path / "t.csv", "y", notes=[]).schema.classes == classes


def test_regression_values_are_kept_in_float64() -> None:
    values = 1e9 + np.random.default_rng(0).normal(size=ROWS)
    dataset = read(table(y=values), "y", notes=[])
    assert dataset.values is not None
    np.testing.assert_array_equal(dataset.values, values)
    assert dataset.target.dtype == torch.float32


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({}, {"target": "Y2"}, "Did you mean 'y'"),
        ({"y": ["a"] * ROWS}, {}, "only one class"),
        ({"y": [1.5] * ROWS}, {}, "only one class or value"),
        ({"y": [None] * ROWS}, {}, "No row"),
        ({"y": [f"name {row}" for row in range(ROWS)]}, {}, "too many for classes"),
        ({"y": [dt.date(2024, 1, 1)] * ROWS}, {}, "dates"),
        ({"y": [[1]] * ROWS}, {}, "lists"),
        ({"y": ["a", "b", "c", "d"] * 25}, {"task": "binary"}, "4 classes"),
        ({"y": ["1", "x"] * 50}, {"task": "regression"}, "no numbers"),
        ({"y": [1e31, 0.5] * 50}, {}, "1e30"),
        ({}, {"task": "regresion"}, "Did you mean 'regression'"),
        ({}, {"kinds": {"x": "numbr"}}, "Did you mean 'number'"),
        ({}, {"kinds": {"twn": "number"}}, "Did you mean 'town'"),
        ({}, {"kinds": {"y": "category"}}, "is the target"),
        ({}, {"kinds": {"town": "number"}}, "cannot be read as number"),
        ({}, {"kinds": {"town": "date"}}, "cannot be read as date"),
        ({}, {"kinds": {"x": "ignore", "town": "ignore"}}, "No column is left"),
        ({}, {"group": "twon"}, "Did you mean 'town'"),
        ({"g": [None] + [1, 2, 3] * 33}, {"group": "g"}, "missing in 1 rows"),
        ({"s": ["train", "tset"] * 50}, {"split_column": "s"}, "'tset' in 50 rows"),
        ({"s": ["test"] * 60 + [None] * 40}, {"split_column": "s"}, "no value in 40 rows"),
        ({"s": ["test", "valid"] * 50}, {"split_column": "s"}, "train"),
        ({"t": ["soon"] + ["2024-01-01"] * 99}, {"time": "t"}, "'soon'"),
        ({"t": [None] + [1.0] * 99}, {"time": "t"}, "1 rows"),
        ({}, {"time": "x", "group": "town"}, "not by both"),
        ({}, {"group": "y"}, "two roles"),
        ({"s": ["train", "test"] * 50}, {"split_column": "s", "test": table()}, "Give only one"),
        ({}, {"test": table(y=["maybe"] * ROWS)}, "No test row"),
        ({}, {"test": {"x": [1.0], "y": ["no"]}}, "'town'"),
    ],
)
def test_what_cannot_be_used_is_refused(columns: dict[str, Any], options: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(table(**columns), **{"target": "y", "notes": [], **options})


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(DataError, match="too few"):
        read({"x": [0.5, 1, 2, 3, 4, 5, 6], "y": [0, 1, 0, 1, 0, 1, 0]}, "y", notes=[])


def test_rows_without_a_finite_target_are_dropped_and_counted() -> None:
    notes: list[str] = []
    data = table(y=[None, float("inf"), float("nan"), *np.linspace(0.1, 1, ROWS - 3)])
    dataset = read(data, "y", notes=notes)
    assert len(dataset.target) == ROWS - 3
    np.testing.assert_array_equal(dataset.numbers[:, 0], data["x"][3:].astype(np.float32))
    assert "2 of 100 rows in the data are left out, as their target is missing." in notes
    assert "1 of 100 rows in the data are left out, as their target is infinite." in notes


def test_the_only_row_of_a_class_is_kept_in_train() -> None:
    notes: list[str] = []
    dataset = read(table(y=["a", "b", "rare", *["a"] * 50, *["b"] * 47]), "y", notes=notes)
    assert 2 in dataset.split.train
    assert any("single row" in note and "'rare'" in note for note in notes)


# --- columns -------------------------------------------------------------------------------------------------------------


def test_useless_columns_are_left_out_with_reasons() -> None:
    notes: list[str] = []
    data = table(
        row=list(range(ROWS)),
        name=[f"customer {row:04d} of us" for row in range(ROWS)],
        constant=[5] * ROWS,
        empty=[None] * ROWS,
        twin=table()["x"],
        nested=[[1]] * ROWS,
        hidden=[0.5, 1.5] * 50,
    )
    dataset = read(data, "y", kinds={"hidden": "ignore"}, notes=notes)
    assert kinds(dataset) == {"x": "number", "town": "category"}
    assert list(dataset.schema.left_out) == ["row", "name", "constant", "empty", "twin", "nested", "hidden"]
    assert dataset.schema.left_out["hidden"] == "as asked"
    for name, reason in dataset.schema.left_out.items():
        assert any(f"'{name}'" in note and reason in note for note in notes) == (name != "hidden")
    assert dataset.schema.left_out["twin"] == "the same as column 'x'"


def test_kinds_can_be_told() -> None:
    data = table(
        row=list(range(ROWS)), code=[1, 2, 3, 4] * 25, bit=[0, 1] * 50, day=[20240100 + row % 28 + 1 for row in range(ROWS)]
    )
    wanted = {"row": "number", "code": "category", "bit": "boolean", "day": "date"}
    dataset = read(data, "y", kinds=wanted, notes=[])
    assert kinds(dataset) | wanted == kinds(dataset)
    assert set(dataset.schema.columns[3].vocabulary) == {"1", "2", "3", "4"}
    assert "day.day" in dataset.schema.number_names
    assert dataset.numbers[:, dataset.schema.number_names.index("day.day")].tolist()[:3] == [1, 2, 3]


def test_only_parts_of_a_date_that_vary_are_used() -> None:
    days = [dt.datetime(2024, 3, 1 + row % 9, 12, row % 60) for row in range(ROWS)]
    assert read(table(t=days), "y", notes=[]).schema.number_names == ["x", "t.day", "t.weekday", "t.day_of_year", "t.minute"]


def test_unreadable_and_infinite_cells_become_missing_with_notes() -> None:
    notes: list[str] = []
    numbers = [str(value) for value in np.random.default_rng(1).normal(size=ROWS)]
    dataset = read(table(a=["wide", "inf", *numbers[2:]]), "y", notes=notes)
    assert dataset.numbers[:2, 1].isnan().all()
    assert any("'a': 1 cells cannot be read as number" in note and "'wide'" in note for note in notes)
    assert any("'a': 1 infinite cells" in note for note in notes)


@given(st.sampled_from([1.0, 1e6, 1e12, -3e15]), st.sampled_from([1e-3, 1.0, 1e4]), st.integers(0, 9))
def test_an_offset_saves_what_float32_would_lose(center: float, spread: float, seed: int) -> None:
    values = center + spread * np.random.default_rng(seed).normal(size=ROWS)
    assume(len(np.unique(values)) > 10)  # else float64 itself cannot tell them apart
    dataset = read({"x": values, "y": [0, 1] * 50}, "y", kinds={"x": "number"}, notes=[])
    (column,) = dataset.schema.columns
    expected = (values - column.offset) / column.scale
    np.testing.assert_allclose(dataset.numbers[:, 0], expected, atol=1e-3 * np.std(expected))
    if center == spread == 1.0:
        assert (column.offset, column.scale) == (0.0, 1.0)


def test_extreme_numbers_reach_float32_in_a_usable_range() -> None:
    normal = np.random.default_rng(0).normal(size=ROWS)
    data = {"huge": 1e300 * normal, "tiny": 1e-300 * normal, "edge": np.where(normal > 0, 1.7e308, -1.7e308), "y": [0, 1] * 50}
    numbers = read(data, "y", notes=[]).numbers
    assert numbers.isfinite().all()
    assert ((numbers.std(0) > 0.01) & (numbers.abs().amax(0) < 1e3)).all()


def test_the_long_tail_of_categories_shares_a_code() -> None:
    words = [f"w{row % 40}" for row in range(360)] + [f"rare{row}" for row in range(40)]
    data = {"c": words, "x": np.random.default_rng(0).normal(size=400), "y": [0, 1] * 200}
    dataset = read(data, "y", notes=[])
    column = next(column for column in dataset.schema.columns if column.name == "c")
    assert set(column.vocabulary) == {f"w{row}" for row in range(40)}
    assert (dataset.codes[360:] == 0).all()
    assert "40 commonest" in column.note


def test_vocabulary_is_sorted_by_frequency_then_name() -> None:
    words = ["b"] * 30 + ["c"] * 50 + ["a"] * 30
    split = ["train"] * 110 + ["test"] * 10
    data = {"c": words + ["z"] * 10, "s": split, "y": [0, 1] * 60}
    assert read(data, "y", split_column="s", notes=[]).schema.columns[0].vocabulary == ("c", "a", "b")


# --- rows ----------------------------------------------------------------------------------------------------------------


def test_nothing_is_learned_from_test_rows() -> None:
    split = ["train"] * 60 + ["VALID"] * 20 + ["Test"] * 20
    strange = table(s=split, d=["2024-01-01", "2024-02-03"] * 50, n=[str(row / 7) for row in range(ROWS)])
    plain = {name: list(values) for name, values in strange.items()}
    for row in range(80, ROWS):
        strange = {name: list(values) for name, values in strange.items()}
        strange["x"][row], strange["town"][row] = 1e200, f"Ort {row}"
        strange["d"][row], strange["n"][row] = "never", "no number"
    left, right = (read(data, "y", split_column="s", notes=[]) for data in (plain, strange))
    assert left.schema == right.schema
    assert left.summary == right.summary
    assert torch.equal(left.numbers[:80].nan_to_num(-9), right.numbers[:80].nan_to_num(-9))
    assert torch.equal(left.codes[:80], right.codes[:80])
    assert left.split.test.tolist() == list(range(80, ROWS))


def test_a_random_split_does_not_let_test_features_in_either() -> None:
    data = pl.DataFrame(table())
    first = read(data, "y", notes=[])
    mask = pl.Series([row in set(first.split.test.tolist()) for row in range(ROWS)])
    changed = data.with_columns(
        x=pl.when(mask).then(1e9).otherwise("x"), town=pl.when(mask).then(pl.lit("?")).otherwise("town")
    )
    second = read(changed, "y", notes=[])
    assert first.schema == second.schema
    assert torch.equal(first.split.test, second.split.test)


def test_a_test_file_follows_the_data_whatever_its_types(tmp_path: Path) -> None:
    notes: list[str] = []
    later = pl.DataFrame(table(new=[1] * ROWS)).head(30).with_columns(town=pl.lit("Bregenz")).reverse()
    later.write_csv(tmp_path / "later.csv")
    dataset = read(table(), "y", test=tmp_path / "later.csv", notes=notes)
    assert dataset.split.test.tolist() == list(range(ROWS, ROWS + 30))
    assert len(dataset.split.train) + len(dataset.split.validation) == ROWS
    np.testing.assert_allclose(dataset.numbers[ROWS:, 0], later["x"].to_numpy().astype(np.float32), rtol=1e-6)
    assert (dataset.codes[ROWS:] == 0).all()
    assert dataset.target[ROWS:].tolist() == [1, 0] * 15
    assert any("'Bregenz'" in note for note in notes)
    assert any("'new'" in note for note in notes)
    assert dataset.summary.rows_test == 30


def test_test_rows_of_an_unknown_class_are_left_out() -> None:
    notes: list[str] = []
    dataset = read(table(), "y", test=table(y=["no", "maybe"] * 50), notes=notes)
    assert dataset.split.test.tolist() == list(range(ROWS, 2 * ROWS, 2))
    assert any("50 test rows are left out" in note for note in notes)


def test_a_column_that_looks_like_a_division_is_said() -> None:
    notes: list[str] = []
    read(table(part=["Train", "Train", "Test", "Test"] * 25), "y", notes=notes)
    assert notes == ["Column 'part' looks like a division into parts; name it as the split column if it is."]


def test_groups_and_time() -> None:
    patients = [f"p{row // 5}" for row in range(ROWS)]
    grouped = read(table(p=patients), "y", group="p", notes=[])
    assert grouped.groups is not None
    seen = [set(grouped.groups[part].tolist()) for part in (grouped.split.train, grouped.split.validation, grouped.split.test)]
    assert sum(map(len, seen)) == 20
    assert "p" in grouped.schema.left_out

    days = [(dt.date(2024, 1, 1) + dt.timedelta(days=row)).strftime("%d/%m/%Y") for row in reversed(range(ROWS))]
    ordered = read(table(t=days), "y", time="t", notes=[])
    assert ordered.groups is not None
    stretch = ordered.groups.flip(0)  # the oldest row stands last
    assert stretch.tolist() == sorted(stretch.tolist())
    assert stretch.unique(return_counts=True)[1].tolist() == [5, 4, 4, 4, 4, 4] * 4
    assert ordered.split.test.tolist() == list(range(20))
    assert ordered.split.validation.tolist() == list(range(20, 36))
    assert "t.weekday" in ordered.schema.number_names
    assert "t" in read(table(t=list(range(0, 5 * ROWS, 5))), "y", time="t", notes=[]).schema.left_out


def test_groups_shared_with_a_test_file_are_said() -> None:
    notes: list[str] = []
    data = table(p=[row // 5 for row in range(ROWS)])
    dataset = read(data, "y", group="p", test=pl.DataFrame(data).head(10), notes=notes)
    assert dataset.groups is not None
    assert dataset.groups[ROWS:].tolist() == dataset.groups[:10].tolist()
    assert any("10 rows of the test data belong to groups" in note for note in notes)
    without = read(data, "y", group="p", test=table(), notes=[])
    assert without.groups is not None
    assert set(without.groups[ROWS:].tolist()) == {-1}


# --- summary -------------------------------------------------------------------------------------------------------------


def test_the_summary_counts_development_rows() -> None:
    data = table(flag=[True, False, None, True] * 25, day=[dt.date(2024, 1, 1 + row % 30) for row in range(ROWS)], c=[1] * ROWS)
    dataset = read(data, "y", notes=[])
    summary = dataset.summary
    assert (summary.rows_train, summary.rows_validation, summary.rows_test) == (64, 16, 20)
    assert summary.class_counts == [40, 40]
    assert [column.name for column in summary.columns] == ["x", "town", "flag", "day", "c"]
    x, town, flag, day, constant = summary.columns
    assert (sum(x.histogram), len(x.labels)) == (80, 21)
    development = torch.cat([dataset.split.train, dataset.split.validation]).numpy()
    counts, edges = np.histogram(data["x"][development], bins=20)
    assert x.histogram == counts.tolist()
    np.testing.assert_allclose([float(label) for label in x.labels], edges, rtol=1e-4, atol=1e-5)
    assert sum(town.histogram) == 80
    assert town.labels == list(dataset.schema.columns[1].vocabulary)
    assert sum(flag.histogram) + flag.missing == 80
    assert day.labels[0] == "2024-01-01T00:00:00"
    assert (constant.kind, constant.note, constant.distinct) == ("left out", "all cells are the same", 1)


# --- anything ------------------------------------------------------------------------------------------------------------

CELLS = [
    st.floats(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 3),
    st.booleans(),
    st.text(max_size=6),
    st.sampled_from(["a", "b", "?", "1", "2,5", "2024-01-31", "yes", "no"]),
    st.datetimes(),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9), max_value=10**9),
    st.binary(max_size=3),
    st.lists(st.integers(0, 2), max_size=2),
]


@st.composite
def frames(draw: st.DrawFn) -> dict[str, list[Any]]:
    """Mostly frames that might be data, with a target that might be one, and cells of any type, missing or mixed."""
    rows = draw(st.sampled_from([30, 30, 30, 12, 10, 7, 0]))
    likely = [st.sampled_from(["a", "b"]), st.integers(0, 3), st.booleans(), st.floats(-1e9, 1e9)]
    target = draw(st.sampled_from([*likely * 4, *CELLS]))
    kinds = {"y": target} if draw(st.integers(0, 9)) else {}
    for name in draw(st.lists(st.sampled_from(["x", "a.b", "[c]", "größe", "id", "{d}", ""]), max_size=5, unique=True)):
        kinds[name] = draw(st.sampled_from(CELLS))
        if draw(st.integers(0, 9)) == 0:
            kinds[name] |= draw(st.sampled_from(CELLS))
    columns = {}
    for name, cell in kinds.items():
        few = draw(st.lists(st.none() | cell if draw(st.booleans()) else cell, min_size=1, max_size=12))
        columns[name] = [few[row] for row in draw(st.lists(st.integers(0, len(few) - 1), min_size=rows, max_size=rows))]
    return columns


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    frames(),
    st.sampled_from([None, "binary", "multiclass", "classification", "regression"]),
    st.dictionaries(
        st.sampled_from(["x", "id"]), st.sampled_from(["number", "category", "boolean", "date", "ignore"]), max_size=1
    ),
    st.sampled_from([{}, {}, {"group": "a.b"}, {"time": "[c]"}, {"split_column": "größe"}]),
)
def test_any_frame_is_a_dataset_or_a_clear_error(
    data: dict[str, list[Any]], task: str | None, kinds: dict[str, str], options: dict[str, str]
) -> None:
    try:
        dataset = read(data, "y", task=task, kinds=kinds, notes=[], **options)
    except TitrantError:
        return
    rows, schema = len(dataset.target), dataset.schema
    assert dataset.numbers.shape == (rows, len(schema.number_names))
    assert dataset.codes.shape == (rows, len(schema.code_names))
    assert schema.columns
    assert not dataset.numbers.isinf().any()
    for column, cardinality in enumerate(schema.cardinalities):
        assert dataset.codes[:, column].min() >= 0
        assert dataset.codes[:, column].max() < cardinality
    parts = (dataset.split.train, dataset.split.validation, dataset.split.test)
    assert all(len(part) for part in parts)
    for part in parts:
        assert dataset.target[part].isfinite().all()
        assert schema.task == "regression" or (dataset.target[part] >= 0).all()
    dataset.summary.model_dump_json()
    assert type(schema).model_validate_json(schema.model_dump_json()) == schema


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(st.sampled_from(["", "1", "2.5", "a", "b c", "NA", "2024-01-01", '"q,q"', "é", "yes"]), min_size=3, max_size=3)
    )
)
def test_any_text_table_is_a_dataset_or_a_clear_error(tmp_path: Path, rows: list[list[str]]) -> None:
    (tmp_path / "t.csv").write_text("x,z,y\n" + "".join(",".join(row) + "\n" for row in rows * 9), encoding="utf-8")
    try:
        dataset = read(tmp_path / "t.csv", "y", notes=[])
    except TitrantError:
        return
    assert len(dataset.numbers)


# --- real tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "target", "task", "expected"),
    [
        ("titanic", "Survived", "binary", {"Pclass": "category", "Age": "number", "Name": "", "Ticket": "", "Cabin": ""}),
        ("bank_marketing", "deposit", "binary", {"housing": "boolean", "month": "category", "day": "number"}),
        ("soybean", "Class", "multiclass", {"date": "category", "leaves": "category"}),
        ("credit_g", "class", "binary", {"num_dependents": "number", "foreign_worker": "boolean", "own_telephone": "category"}),
        ("air_quality_co", "CO(GT)", "regression", {"Date": "date", "T": "number", "hour": "category"}),
        ("seoul_bike", "bike_count", "regression", {"date": "date", "functioning_day": "boolean"}),
        ("hypothyroid", "Class", "multiclass", {"TBG": "", "pregnant": "boolean", "TSH": "number"}),
        ("wine_quality", "quality", "regression", {"colour": "category"}),
        ("abalone", "rings", "regression", {"sex": "category"}),
        ("naval", "y", "regression", {"x5": "number", "x6": "", "x8": ""}),
    ],
)
def test_real_tables_are_understood(shared_data: Path, name: str, target: str, task: str, expected: dict[str, str]) -> None:
    notes: list[str] = []
    dataset = read(shared_data / "tables" / f"{name}.parquet", target, notes=notes)
    found = kinds(dataset)
    assert dataset.schema.task == task
    assert {column: found.get(column, "") for column in expected} == expected
    assert len(dataset.schema.columns) + len(dataset.schema.left_out) == len(dataset.summary.columns)


def test_the_official_split_of_adult(shared_data: Path) -> None:
    dataset = read(shared_data / "tables" / "adult.parquet", "income", split_column="split", notes=[])
    assert len(dataset.split.train) + len(dataset.split.validation) == 32561
    assert len(dataset.split.test) == 16281
    assert dataset.schema.classes == ("<=50K", ">50K")
    assert dataset.schema.left_out == {"split": "it says how rows are divided"}
