"""Reading texts: what is read as texts, what is learned of them, and what is refused."""

from typing import Any

import polars as pl
import pytest

from titrant.data.dataset import Dataset
from titrant.data.learnable import read_data
from titrant.data.text import Texts
from titrant.errors import DataError

GOOD, BAD = ("quite a fine day it was", "what a lovely place this is"), ("an awful mess it was", "how sad and poor this is")


def table(rows: int = 60) -> dict[str, list[Any]]:
    said = [f"{(GOOD if row % 2 else BAD)[row // 2 % 2]} {row}" for row in range(rows)]
    return {"said": said, "y": ["yes" if row % 2 else "no" for row in range(rows)]}


def texts(data: object, **options: Any) -> Texts:
    found = read_data(data, "y", notes=options.pop("notes", []), **options)
    assert isinstance(found, Texts)
    return found


def test_a_table_with_one_column_of_prose_is_read_as_texts() -> None:
    notes: list[str] = []
    found = texts(table() | {"id": list(range(60))}, notes=notes)
    assert found.schema.column == "said"
    assert found.schema.classes == ("no", "yes")
    assert found.tokens.shape[0] == 60
    assert found.texts[0] == "an awful mess it was 0"
    assert notes == ["Only the texts in 'said' are read; left out are 'id'."]


def test_a_column_beside_others_is_read_as_texts_where_it_is_named() -> None:
    mixed = table() | {"size": [float(row % 7) for row in range(60)]}
    assert isinstance(read_data(mixed, "y", notes=[]), Dataset)
    assert texts(mixed, text="said").schema.column == "said"
    short = {"word": ["good", "bad", "fine"] * 20, "y": ["a", "b", "a"] * 20}
    assert isinstance(read_data(short, "y", notes=[]), Dataset)
    assert texts(short, text="word").schema.vocabulary.pieces[-1].startswith("▁")


def test_what_is_learned_comes_from_development_rows() -> None:
    data = table() | {"part": ["train", "validation", "validation", "test", "validation", "train"] * 10}
    data["said"] = [text.replace("day", "splendid") if row % 6 == 3 else text for row, text in enumerate(data["said"])]
    found = texts(data, split_column="part")
    assert "▁awful" in found.schema.vocabulary.pieces
    assert "▁splendid" not in found.schema.vocabulary.pieces
    assert found.schema.classes == ("no", "yes")


def test_missing_texts_count_as_empty_and_are_told() -> None:
    data, notes = table(), list[str]()
    data["said"][3] = None
    found = texts(data, notes=notes)
    assert int(found.tokens[3].sum()) == 0
    assert notes == ["Column 'said': 1 texts are missing and count as empty."]


def test_a_schema_reads_new_texts_and_names_what_is_missing() -> None:
    schema = texts(table()).schema
    (tokens,) = schema.rows(pl.DataFrame({"said": ["a fine day", None], "other": [1, 2]}), []).inputs
    assert (tokens > 0).sum(1).tolist() == [3, 0]
    with pytest.raises(DataError, match=r"lack the column 'said', which holds the texts.* Did you mean 'siad'"):
        schema.rows({"siad": ["x"]}, [])
    again = type(schema).model_validate_json(schema.model_dump_json())
    assert again == schema


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"text": "sad"}, r"text column 'sad' is not in the data\. Did you mean 'said'"),
        ({"text": "y"}, "'y' cannot hold the texts and have another role"),
        ({"text": "void"}, "'void' is empty"),
        ({"text": "lists"}, "holds lists, records or bytes"),
        ({"text": "said", "kinds": {"said": "category"}}, "Kinds of columns cannot be given with a column of texts"),
        ({"text": "said", "by": "id"}, "A column of texts cannot be given with series"),
        ({"text": "said", "size": 32}, "is for pictures"),
        ({"text": "said", "horizon": 3}, "A column of texts cannot be given with a horizon"),
    ],
)
def test_what_cannot_be_read_is_refused(options: dict[str, Any], said: str) -> None:
    data = table() | {"void": [" "] * 60, "lists": [[1]] * 60, "id": [1] * 60}
    with pytest.raises(DataError, match=said):
        read_data(data, "y", notes=[], **options)


def test_values_are_a_regression() -> None:
    data = table()
    found = texts(data | {"y": [len(text) + 0.5 for text in data["said"]]})
    assert found.schema.task == "regression"
    assert found.values is not None
