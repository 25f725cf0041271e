"""Small real tables that ship with the package, for the demo, for examples and for tests.

`SOURCES.md` beside them names where each comes from, its licence, and what was changed.
"""

from importlib.resources import files
from pathlib import Path

from titrant.errors import DataError
from titrant.texts import say

_FILES = {"adult": "adult.parquet", "penguins": "penguins.csv"}


def path(name: str) -> Path:
    """Where a sample table lies, to be given to `titrant.fit` or to the command line.

    Args:
        name: `"adult"` (6,000 people, 14 columns with categories and missing values, target `income`, two classes) or
            `"penguins"` (344 birds, 7 columns, target `species`, three classes).

    Raises:
        DataError: there is no sample of this name.

    Example:
        >>> path("penguins").name
        'penguins.csv'
    """
    try:
        file = _FILES[name]
    except KeyError:
        raise DataError(
            say("There is no sample table {name!r}. Choose one of: {names}.", name=name, names=", ".join(_FILES))
        ) from None
    return Path(str(files(__name__) / file))
