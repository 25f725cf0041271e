"""`titrant runs`."""

from pathlib import Path
from typing import Annotated

import typer

from titrant.cli.app import app
from titrant.errors import OutputError
from titrant.texts import say


@app.command(
    short_help=say("List runs: score, time, state."),
    help=say(
        "List the runs in a folder, the newest first: data, score on held-out rows, time used, and state.\n\n"
        "running: a command is working there. finished, interrupted: as they ended. cut off: a process was killed before the "
        "end; the best model so far is there, and titrant fit --resume goes on.\n\n"
        "\b\nExample:\n  titrant runs"
    ),
)
def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help=say("That holds runs, or a run."))] = Path("titrant-runs"),
) -> None:
    """Prints a line for each run."""
    from titrant.report.runs import listed

    if not folder.is_dir():
        raise OutputError(say("There is no folder {folder}. `titrant fit` writes runs into titrant-runs.", folder=folder))
    lines = listed(folder)
    if not lines:
        raise OutputError(say("There are no runs in {folder}.", folder=folder))
    for line in lines:
        typer.echo(line)
