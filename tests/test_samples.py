"""The sample tables are whole, small, licensed, and what their description says."""

from pathlib import Path

import polars as pl
import pytest

from titrant import samples
from titrant.errors import DataError


def test_adult_has_two_classes_categories_and_missing_values() -> None:
    table = pl.read_parquet(samples.path("adult"))
    assert table.shape == (6000, 15)
    assert table["income"].value_counts(sort=True)["income"].to_list() == ["<=50K", ">50K"]
    # 23.93 % of the 48,842 people of the whole table earn more.
    assert (table["income"] == ">50K").mean() == pytest.approx(0.2393, abs=5e-4)
    assert {column.name for column in table if column.null_count()} == {"workclass", "occupation", "native-country"}
    assert sum(column.dtype == pl.String for column in table) == 9


def test_penguins_has_the_published_numbers_of_each_species() -> None:
    table = pl.read_csv(samples.path("penguins"))
    assert table.shape == (344, 8)
    assert dict(table["species"].value_counts().iter_rows()) == {"Adelie": 152, "Chinstrap": 68, "Gentoo": 124}
    assert table["sex"].null_count() == 11


def test_every_sample_is_described_with_a_licence_and_small() -> None:
    folder = samples.path("adult").parent
    tables = {file.name for file in folder.iterdir() if file.suffix in {".csv", ".parquet"}}
    sources = (folder / "SOURCES.md").read_text(encoding="utf-8")
    assert tables == {line.removeprefix("## ") for line in sources.splitlines() if line.startswith("## ")}
    assert sources.count("**Licence:**") == len(tables)
    assert all((folder / name).stat().st_size < 400_000 for name in tables)


def test_path_is_a_plain_path() -> None:
    assert isinstance(samples.path("adult"), Path)


def test_an_unknown_name_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(DataError, match=r"'iris'.*adult, penguins"):
        samples.path("iris")
