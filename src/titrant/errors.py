"""The errors that a person can cause and mend.

Each names the place, the value, the expectation and the remedy in one message. The command line prints the message without a
traceback and leaves with exit code 2; in Python they are ordinary exceptions, and `ValueError`s, as scikit-learn expects.
"""


class TitrantError(ValueError):
    """Something that the person asked for cannot be done as asked; the message says what, where, and what to do."""


class DataError(TitrantError):
    """The data cannot be read or used."""


class RecipeError(TitrantError):
    """A recipe or a search space does not fit its schema."""


class BudgetError(TitrantError):
    """The time budget cannot be understood, or is too small to train anything."""


class OutputError(TitrantError):
    """A result cannot be written where it was asked for, or a run folder cannot be read."""
