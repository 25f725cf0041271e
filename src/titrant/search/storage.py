"""Optuna's storage in a database, whose connections end with it.

Imported where it is used: SQLAlchemy takes some tenths of a second, and most commands need no database.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.exceptions import OptunaError
from sqlalchemy.exc import SQLAlchemyError

TROUBLES = (SQLAlchemyError, OptunaError, OSError, KeyError, ValueError)
"""What a database that is away, full or damaged raises."""


@contextmanager
def opened(address: str, new: bool = False, **options: Any) -> Iterator[optuna.storages.RDBStorage]:
    """A storage.

    Args:
        address: as SQLAlchemy writes it.
        new: whether nothing is in it, so that there is no other version to look for.
        options: of the engine of SQLAlchemy.
    """
    storage = optuna.storages.RDBStorage(address, engine_kwargs=options, skip_compatibility_check=new)
    try:
        yield storage
    finally:
        storage.engine.dispose()


def innermost(error: BaseException) -> BaseException:
    """The error that caused it all."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def reason(error: BaseException) -> str:
    """What the innermost part of an error says, in one line."""
    root = innermost(error)
    lines = [line.strip() for line in str(root).splitlines() if line.strip()]
    return (lines[0] if lines else type(root).__name__).rstrip(".")[:200]
