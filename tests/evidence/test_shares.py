"""Which part of training each trick changes."""

from titrant.evidence.shares import groups
from titrant.recipe import slots


def test_every_slot_belongs_to_one_part() -> None:
    found = groups(list(slots()))
    assert sorted(path for paths in found.values() for path in paths) == sorted(slots())
    assert "weights" in found["network"]
    assert "regularize.stochastic_depth" in found["dropout"]
