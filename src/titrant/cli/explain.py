"""`titrant explain`: what a name means."""

from pathlib import Path
from typing import Annotated

import typer

from titrant.cli.app import app
from titrant.texts import say


@app.command(
    short_help=say("Explain a trick, a dose or a rule of the doctor."),
    help=say(
        "Explain a trick (what it does, its doses, when it helps, sources) or a rule of the doctor (what it looks for, its "
        "thresholds and their sources, the usual cause, the remedy).\n\n"
        "With a RUN, also what the trick did there. Without a NAME, list all of them. Names of SageMaker Debugger's rules are "
        "understood too.\n\n"
        "\b\nExamples:\n  titrant explain dropout\n  titrant explain dropout titrant-runs/adult-1\n"
        "  titrant explain vanishing_gradient"
    ),
)
def explain(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help=say("A slot, a kind, a dose, or a rule."))] = None,
    run: Annotated[Path | None, typer.Argument(metavar="[RUN]", help=say("A folder of `titrant fit`."))] = None,
) -> None:
    """Prints what is known about the name."""
    from titrant.report.cards import card, in_run, listing

    typer.echo(listing() if name is None else card(name))
    if name is not None and run is not None:
        typer.echo()
        typer.echo(in_run(name, run))
