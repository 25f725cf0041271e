"""`titrant explain`: what a name means."""

from typing import Annotated

import typer

from titrant.cli.app import app
from titrant.texts import say


@app.command(
    short_help=say("Explain a rule of the doctor."),
    help=say(
        "Explain a rule of the doctor: what it looks for, its thresholds and their sources, the usual cause, the remedy.\n\n"
        "Without a NAME, list the rules. Names of SageMaker Debugger's rules are understood too.\n\n"
        "\b\nExample:\n  titrant explain vanishing_gradient"
    ),
)
def explain(name: Annotated[str | None, typer.Argument(metavar="[NAME]", help=say("A rule."))] = None) -> None:
    """Prints what is known about the name."""
    typer.echo(_rules() if name is None else _rule(name))


def _rules() -> str:
    from titrant.doctor.table import TABLE

    return "\n".join(f"{entry.name:<32} {entry.family:<15} {entry.symptom}" for entry in TABLE.values())


def _rule(name: str) -> str:
    from titrant.doctor.table import described, lookup

    return "\n\n".join(described(rule) for rule in lookup(name))
