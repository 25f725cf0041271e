"""Other packages' talk about their inside, kept from a person's terminal while a model is written."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Keeps warnings to itself, and what loggers of these names say below an error.

    Example:
        >>> with quiet("some.package"):
        ...     logging.getLogger("some.package").warning("not shown")
    """
    found = [logging.getLogger(name) for name in loggers]
    levels = [logger.level for logger in found]
    for logger in found:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(found, levels, strict=True):
            logger.setLevel(level)
