"""What a person can cause and mend is one family of exceptions."""

import pickle

import pytest

from titrant import errors
from titrant.errors import TitrantError

FAMILY = [value for value in vars(errors).values() if isinstance(value, type)]


@pytest.mark.parametrize("kind", FAMILY)
def test_every_error_is_caught_as_a_titrant_error_and_as_a_value_error(kind: type[Exception]) -> None:
    assert issubclass(kind, TitrantError)
    with pytest.raises(ValueError, match="the column 'age'"):
        raise kind("the column 'age'")


@pytest.mark.parametrize("kind", FAMILY)
def test_an_error_crosses_from_one_process_to_another_unchanged(kind: type[Exception]) -> None:
    back = pickle.loads(pickle.dumps(kind("the column 'age'")))
    assert type(back) is kind
    assert str(back) == "the column 'age'"


def test_every_kind_of_mistake_can_be_told_from_the_others() -> None:
    leaves = [kind for kind in FAMILY if kind is not TitrantError]
    assert len(leaves) >= 4
    assert not [(a, b) for a in leaves for b in leaves if a is not b and issubclass(a, b)]
