"""Reading the data of a run once more."""

from pathlib import Path

import pytest

from titrant import samples
from titrant.data.learnable import read_again, read_data, source_of
from titrant.errors import DataError
from titrant.record import Source

PENGUINS = samples.path("penguins")


def test_data_are_read_and_divided_again_as_they_were(tmp_path: Path) -> None:
    options = {"group": "island", "seed": 5}
    first = read_data(PENGUINS, "species", kinds={"year": "category"}, **options, notes=[])
    source_of(PENGUINS, "species", None, kinds={"year": "category"}, **options).write(tmp_path / "source.json")
    again = read_again(Source.read(tmp_path / "source.json"), [])
    assert again.summary == first.summary
    for part in ("train", "validation", "test"):
        assert getattr(again.split, part).tolist() == getattr(first.split, part).tolist()


def test_data_that_were_in_memory_must_be_given() -> None:
    table = {"x": [0.5 * row for row in range(60)], "y": ["low", "high"] * 30}
    source = source_of(table, "y", None)
    with pytest.raises(DataError, match="in memory"):
        read_again(source, [])
    assert len(read_again(source, [], data=table).split.train) > 0


def test_a_test_table_in_memory_must_be_given_too() -> None:
    assert source_of(PENGUINS, "species", {"x": [1]}).data is None
    assert source_of(PENGUINS, "species", PENGUINS).test == str(PENGUINS.absolute())
