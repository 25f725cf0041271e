"""`titrant claims`."""

from pathlib import Path
from typing import Annotated

import typer

from titrant.cli.app import app
from titrant.errors import TitrantError
from titrant.texts import say


@app.command(
    short_help=say("Try what articles claim about training tricks."),
    help=say(
        "Try what articles claim about training tricks, on real data that come with the project: about three minutes "
        "for all of them on two cores.\n\n"
        "\b\nExamples:\n  titrant claims\n  titrant claims dropout batch_norm --out my-claims"
    ),
)
def claims(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help=say("Some of them. [default: all]"))] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help=say("Write claims.md with figures into this new or empty folder."))
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="NUMBER", help=say("Starts all random choices."))] = 0,
) -> None:
    """Tries claims one after another, and shows each as it is done."""
    import torch

    from titrant.evidence.claims import CLAIMS
    from titrant.evidence.lab import measured
    from titrant.folders import free_place, writing
    from titrant.recipe import near
    from titrant.report.claims import claims_lines, write_claims
    from titrant.report.terminal import print_lines
    from titrant.results import machine

    known = {claim.name: claim for claim in CLAIMS}
    for name in names or ():
        if name not in known:
            raise TitrantError(
                say(
                    "There is no claim {name!r}.{hint} Claims: {known}.",
                    name=name,
                    hint=near(name, known),
                    known=", ".join(known),
                )
            )
    place = None if out is None else free_place(out)
    findings = []
    for finding in measured([known[name] for name in names or known], seed):
        findings.append(finding)
        print_lines(claims_lines([finding]))
    if place is not None:
        found = machine(torch.device("cpu"))
        with writing(place):
            place.mkdir(parents=True, exist_ok=True)
            page = write_claims(
                findings, place, say("{cores} cores, {processor}", cores=found["cores"], processor=found["processor"])
            )
        typer.echo(say("Page     {path}", path=page))
