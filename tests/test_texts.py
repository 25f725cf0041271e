"""`say`: named placeholders, values taken as they are, translation by catalogue."""

import gettext
from string import ascii_lowercase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from titrant import texts
from titrant.texts import say


class Esperanto(gettext.NullTranslations):
    """A catalogue of one sentence, with its placeholders in another order."""

    def gettext(self, message: str) -> str:
        return {"{count} rows in {file}": "en {file}: {count} vicoj"}.get(message, message)


def test_placeholders_are_filled_by_name() -> None:
    assert say("{count} rows in {file!r}", count=3, file="a.csv") == "3 rows in 'a.csv'"


def test_a_sentence_without_values_keeps_its_braces() -> None:
    assert say("Write {} for an empty set.") == "Write {} for an empty set."


@given(value=st.text())
def test_braces_in_a_value_are_no_placeholders(value: str) -> None:
    assert say("[{value}]", value=value) == f"[{value}]"


@given(
    values=st.dictionaries(st.text(ascii_lowercase, min_size=3, max_size=7).filter(lambda name: name != "sentence"), st.text())
)
def test_every_name_may_be_a_placeholder(values: dict[str, str]) -> None:
    assert say("|".join(f"{{{name}}}" for name in values), **values) == "|".join(values.values())


def test_a_forgotten_value_is_the_programmers_error() -> None:
    with pytest.raises(KeyError, match="file"):
        say("{count} rows in {file}", count=3)


def test_a_catalogue_translates_before_the_values_are_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "_catalogue", Esperanto())
    assert say("{count} rows in {file}", count=3, file="a.csv") == "en a.csv: 3 vicoj"
    assert say("Not in the catalogue.") == "Not in the catalogue."
