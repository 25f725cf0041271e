"""`titrant export`."""

from pathlib import Path
from typing import Annotated

import typer

from titrant.cli.app import app
from titrant.texts import say


@app.command(
    short_help=say("Write the model of a run for other programs."),
    help=say(
        "Write the model of RUN for other programs, and check that it predicts the same there.\n\n"
        "onnx: a model for onnxruntime and its kin; of a table it takes the columns themselves, numbers and strings.\n"
        "torch: a program for torch.export.load, which needs PyTorch alone.\n"
        "tensorflow: a SavedModel, served by its signature; of a table it takes the columns themselves.\n"
        "litert: a .tflite file for LiteRT (TensorFlow Lite), in single precision; of a table it takes numbers and codes.\n"
        "script: a readable Python file that trains the model again with PyTorch alone, with its rows and its weights.\n\n"
        "Beside a model stands inputs.json, which says what goes in and comes out; for texts tokenizer.json too.\n\n"
        "\b\nExamples:\n  titrant export titrant-runs/adult-1 --to onnx --out adult-onnx"
    ),
)
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help=say("A folder that `titrant fit` wrote."))],
    to: Annotated[str, typer.Option(metavar="FORM", help=say("onnx, torch, tensorflow, litert or script."))],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help=say("A new or empty folder."))],
    data: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help=say("Rows to compare on. [default: the RUN's own, if they are where they were]")),
    ] = None,
) -> None:
    """Writes one model; see `titrant.export`."""
    from titrant.exports import export as write

    found = write(run, to, out, data)
    for note in found.notes:
        typer.echo(say("Note: {note}", note=note), err=True)
    typer.echo(
        say("Checked on {rows:,} rows: predictions differ by {difference:.1g} at most.",
            rows=found.rows, difference=found.difference)
    )  # fmt: skip
    for name in found.files:
        typer.echo(str(found.folder / name))
