"""`titrant predict`."""

from pathlib import Path
from typing import Annotated

import typer

from titrant.cli.app import app
from titrant.errors import OutputError
from titrant.texts import say


@app.command(
    short_help=say("Predict new rows with the model of a run."),
    help=say(
        "Predict the rows of DATA with the model of RUN.\n\n"
        "Writes a CSV file, row by row in the order of DATA: `prediction`, the label or value, then for classes "
        "`probability_CLASS` each.\n\n"
        "Of pictures, the first column is `path`, inside the folder; of series it is `series`.\n\n"
        "\b\nExamples:\n  titrant predict titrant-runs/adult-1 new.csv --out predictions.csv\n"
        "  titrant predict titrant-runs/photos-1 new_photos/ --out predictions.csv"
    ),
)
def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help=say("A folder that `titrant fit` wrote."))],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help=say("A table with the columns that the model was trained on, in any order; or pictures.")
        ),
    ],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help=say("The file to write. [default: standard output]"))] = None,
) -> None:
    """Writes predictions; all of them or, after an error, none."""
    from titrant.predictor import Predictor
    from titrant.record import write_bytes

    if out is not None and not out.parent.is_dir():
        raise OutputError(
            say("There is no folder {folder} to write {file} into. Make it first.", folder=out.parent, file=out.name)
        )
    notes: list[str] = []
    content = Predictor.load(run / "model").table(data, notes).write_csv().encode("utf-8")
    for note in notes:
        typer.echo(say("Note: {note}", note=note), err=True)
    if out is None:
        typer.echo(content, nl=False)
        return
    try:
        write_bytes(out, content)
    except OSError as error:
        raise OutputError(say("{file} cannot be written: {reason}.", file=out, reason=error.strerror)) from None
