"""Records come back as they were written, and a file is whole or not there at all."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from titrant.record import (
    ColumnSummary,
    DataSummary,
    Evaluation,
    MemberRecord,
    Point,
    Receipt,
    Record,
    Summary,
    read_members,
    versions,
    write_bytes,
    write_members,
    write_text,
)

numbers = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]))
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
known = {
    float: numbers,
    float | None: st.none() | numbers,
    str: texts,
    dict[str, Any]: st.dictionaries(texts, plain, max_size=3),
    dict[str, Any] | None: st.none() | st.dictionaries(texts, plain, max_size=3),
    dict[str, str | int | float]: st.dictionaries(texts, texts | st.integers() | numbers, max_size=3),
    tuple[float, float] | None: st.none() | st.tuples(numbers, numbers),
}


def records(kind: type[Record]) -> st.SearchStrategy[Record]:
    """Records of a kind with every field drawn by its type, nested records included."""

    def values(annotation: Any) -> st.SearchStrategy[Any]:
        if annotation in known:
            return known[annotation]
        if getattr(annotation, "__origin__", None) is list:
            return st.lists(values(annotation.__args__[0]), max_size=2)
        if getattr(annotation, "__origin__", None) is dict:
            return st.dictionaries(texts, values(annotation.__args__[1]), max_size=2)
        if getattr(annotation, "__origin__", None) is tuple:
            return st.tuples(*map(values, annotation.__args__))
        if isinstance(annotation, type) and issubclass(annotation, Record):
            return records(annotation)
        return st.from_type(annotation)

    return st.builds(kind, **{name: values(field.annotation) for name, field in kind.model_fields.items()})


def names(folder: Path) -> list[str]:
    """What lies in a folder, hidden files included."""
    return [file.name for file in folder.iterdir()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all the inputs of a property."""
    return tmp_path_factory.mktemp("records")


@pytest.mark.parametrize("kind", [Point, Receipt, ColumnSummary, MemberRecord, DataSummary, Evaluation, Summary])
@given(data=st.data())
def test_a_record_is_read_back_unchanged(kind: type[Record], folder: Path, data: st.DataObject) -> None:
    written = data.draw(records(kind))
    written.write(folder / "record.json")
    assert kind.read(folder / "record.json") == written


@given(members=st.lists(records(MemberRecord), max_size=3))
def test_members_are_read_back_unchanged_one_a_line(folder: Path, members: list[MemberRecord]) -> None:
    write_members(folder / "members.jsonl", members)
    assert read_members(folder / "members.jsonl") == members
    assert (folder / "members.jsonl").read_bytes().count(b"\n") == len(members)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_lacks_are_written_as_null(tmp_path: Path, number: float) -> None:
    point = Point(
        step=1,
        epoch=0.5,
        seconds=1.0,
        loss_train=number,
        loss_validation=number,
        score_validation=None,
        learning_rate=0.1,
    )
    member = MemberRecord(
        number=0,
        origin="baseline",
        recipe={"clip": number},
        parameters=3,
        seed=0,
        state="diverged",
        rung=0,
        steps=1,
        epochs=0.5,
        seconds=1.0,
        score_validation=number,
        curve=[point],
        receipts=[],
    )
    member.write(tmp_path / "member.json")
    write_members(tmp_path / "members.jsonl", [member])
    # The strictest reading: Python's own parser would let the words NaN and Infinity pass.
    strict = json.loads((tmp_path / "member.json").read_text(), parse_constant=pytest.fail)
    assert strict["curve"][0]["loss_train"] is None
    assert strict["recipe"] == {"clip": None}
    assert strict["score_validation"] is None
    assert read_members(tmp_path / "members.jsonl") == [MemberRecord.read(tmp_path / "member.json")]


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="aktiv"):
        Receipt(trick="dropout", kind="bernoulli", acted=1, seen=2, unit="units", aktiv=1)


@pytest.mark.parametrize(("acted", "never"), [(0, True), (0.5, False), (12, False)])
def test_a_trick_that_changed_nothing_never_acted(acted: float, never: bool) -> None:
    assert Receipt(trick="clip", kind="norm", acted=acted, seen=12, unit="steps").never_acted is never


@given(before=st.binary(), after=st.binary())
def test_a_file_is_replaced_whole_and_leaves_no_neighbour(folder: Path, before: bytes, after: bytes) -> None:
    own = folder / "own"
    own.mkdir(exist_ok=True)
    write_bytes(own / "file", before)
    write_bytes(own / "file", after)
    assert (own / "file").read_bytes() == after
    assert names(own) == ["file"]


def test_a_text_is_written_as_utf_8_with_its_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "text", "größer\r\nals\n")
    assert (tmp_path / "text").read_bytes() == "größer\r\nals\n".encode()


@pytest.mark.skipif(os.name != "posix", reason="modes of files are a POSIX notion")
def test_a_written_file_may_be_read_by_everybody(tmp_path: Path) -> None:
    write_text(tmp_path / "text", "a")
    assert (tmp_path / "text").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("step", ["fdopen", "chmod", "replace"])
@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()])
def test_a_failing_write_leaves_the_old_file_and_no_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    write_text(tmp_path / "text", "old")

    def fail(handle: object, *_: object, **__: object) -> None:
        if isinstance(handle, int):
            os.close(handle)
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        write_text(tmp_path / "text", "new")
    assert (tmp_path / "text").read_text() == "old"
    assert names(tmp_path) == ["text"]


def test_a_member_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    def interrupted() -> Iterator[MemberRecord]:
        yield from ()
        raise RuntimeError("lost")

    write_members(tmp_path / "members.jsonl", [])
    with pytest.raises(RuntimeError, match="lost"):
        write_members(tmp_path / "members.jsonl", interrupted())
    assert names(tmp_path) == ["members.jsonl"]


def test_versions_name_python_and_what_is_installed() -> None:
    found = versions("pydantic", "no-such-package-at-all")
    assert set(found) == {"python", "pydantic"}
    assert found["pydantic"].split(".")[0].isdigit()
