"""`titrant checkup`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from titrant.cli.app import app
from titrant.texts import say


@app.command(
    short_help=say("Examine a model of your own before training it."),
    help=say(
        "Examine a model of your own before training it: a short run under observation, one batch that it must memorise, "
        "and the learning rates that move its loss.\n\n"
        "The model is a torch module, made by a function that takes nothing or the numbers of inputs and outputs. It gets the "
        "columns that are numbers, as they are.\n\n"
        "\b\nExample:\n  titrant checkup --model models:make_model --data train.csv --target y"
    ),
)
def checkup(
    model: Annotated[str, typer.Option(metavar="MODULE:FUNCTION", help=say("The function that makes the model."))],
    data: Annotated[Path, typer.Option(metavar="FILE", help=say("A table."))],
    target: Annotated[str, typer.Option(metavar="COLUMN", help=say("The column to predict."))],
    as_json: Annotated[bool, typer.Option("--json", help=say("Print the findings as JSON."))] = False,
) -> None:
    """Prints what was found, and a learning rate."""
    from titrant.doctor.checkup import examine, factory, rows
    from titrant.doctor.rules import diagnose

    make = factory(model)
    result = examine(make, *rows(data, target))
    findings = diagnose(result.case)
    if as_json:
        told = {"findings": [found.model_dump(mode="json") for found in findings], "learning_rate": result.rate}
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    typer.echo(str(findings))
    typer.echo("")
    if result.rate is None:
        typer.echo(say("The loss falls at no learning rate from 1e-6 to 1."))
    else:
        typer.echo(say("With Adam, the loss falls fastest at the learning rate {rate:.0e}.", rate=result.rate))
