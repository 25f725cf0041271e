"""Where results are written: places that must be free, folders that vanish if nothing came of them, and what a disk refuses."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from titrant.errors import OutputError
from titrant.record import held
from titrant.texts import say


def free_place(place: Path) -> Path:
    """The folder for a run, refused if anything is in it."""
    with writing(place):
        in_use = place.exists() and (not place.is_dir() or any(place.iterdir()))
    if in_use:
        raise OutputError(say("The output folder {folder} is in use. Name a new one, or empty it.", folder=place))
    return place


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Says where the system refuses to write."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            say("{folder} cannot be written: {reason}. Name another place, or make room there.",
                folder=folder, reason=error.strerror or error)
        ) from None  # fmt: skip


@contextmanager
def new_folder(place: Path | None) -> Iterator[Path]:
    """The run's folder, a temporary one without a place.

    If the run fails before it has saved a usable model, everything that was made for it is removed again.
    """
    if place is None:
        place = Path(tempfile.mkdtemp(prefix="titrant-"))
        made = [place]
    else:
        made = [folder for folder in (place, *place.parents) if not folder.exists()]
    try:
        with writing(place):
            place.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=place).close()
        with held(place):
            yield place
    except BaseException:
        if not (place / "summary.json").exists():
            for part in place.iterdir() if place.is_dir() else ():
                shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink()
            for folder in made:
                with suppress(OSError):  # somebody else has put something there meanwhile
                    folder.rmdir()
        raise
