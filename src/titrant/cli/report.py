"""`titrant report`."""

from pathlib import Path
from typing import Annotated

import typer

from titrant.cli.app import app
from titrant.texts import say


@app.command(
    short_help=say("Write the HTML report of a run anew."),
    help=say(
        "Write the HTML report of a run anew, from the records in its folder, and print where it is.\n\n"
        "\b\nExample:\n  titrant report titrant-runs/adult-1"
    ),
)
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help=say("A folder of `titrant fit` or `titrant ablate`."))],
) -> None:
    """Writes the report; see `titrant.report.html.write_report`."""
    from titrant.errors import OutputError
    from titrant.report.html import write_report

    try:
        typer.echo(write_report(run))
    except OSError as error:
        raise OutputError(
            say("{folder} cannot be written: {reason}. Make room there.", folder=run, reason=error.strerror or error)
        ) from None
