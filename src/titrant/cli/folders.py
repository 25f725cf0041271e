"""The folder that a command writes its run into."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from titrant.errors import OutputError
from titrant.texts import say


@contextmanager
def run_folder(out: Path | None, data: Path) -> Iterator[Path]:
    """The folder that was asked for, or a new one, which goes away again if nothing is written into it."""
    if out is not None:
        yield out
        return
    folder = _new_folder(Path("titrant-runs"), data.stem)
    try:
        yield folder
    finally:
        for unused in (folder, folder.parent):
            with suppress(OSError):  # it is in use: the run is in it
                unused.rmdir()


def _new_folder(runs: Path, name: str) -> Path:
    """Makes NAME-1, -2, ...: the first that is free, made at once so that two commands never share one."""
    number = 0
    while True:
        number += 1
        folder = runs / f"{name}-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise OutputError(
                say(
                    "The folder {folder} cannot be made: {reason}. Choose another with --out.",
                    folder=folder,
                    reason=error.strerror,
                )
            ) from None
        return folder
