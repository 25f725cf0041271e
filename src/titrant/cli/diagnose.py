"""`titrant diagnose`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from titrant.cli.app import app
from titrant.errors import OutputError
from titrant.texts import say


@app.command(
    context_settings={"allow_interspersed_args": True},
    short_help=say("Find out why a training run goes wrong."),
    help=say(
        "Find out why a training run goes wrong, and what cures it.\n\n"
        "PROGRAM is any Python program that trains with PyTorch, Lightning or Keras. It runs unedited, under observation, in "
        "the current folder; its own output goes to standard error, the findings to standard output. A program that crashes "
        "still gets its findings. What stands after `--` is handed to the program. Of a RUN that titrant trained, "
        "the curves of its best member are judged.\n\n"
        "\b\nExamples:\n  titrant diagnose train.py --epochs 3\n  titrant diagnose train.py --json -- --lr 0.1"
    ),
)
def diagnose(
    program: Annotated[Path, typer.Argument(metavar="PROGRAM|RUN", help=say("A Python file, or a folder of `titrant fit`."))],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGUMENTS]", help=say("For the program itself."))
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help=say("End the training after so many epochs."))] = None,
    steps: Annotated[int | None, typer.Option(min=1, help=say("End the training after so many steps."))] = None,
    every: Annotated[int, typer.Option(min=1, help=say("Widest gap between looks, in steps."))] = 250,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help=say("Write the findings with pictures as HTML."))] = None,
    as_json: Annotated[bool, typer.Option("--json", help=say("Print the findings as JSON."))] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help=say("Drop the program's own output."))] = False,
) -> None:
    """Runs the program and prints what was found."""
    from titrant.doctor.rules import diagnose as judge

    if html is not None and not html.parent.is_dir():
        raise OutputError(
            say("There is no folder {folder} to write {file} into. Make it first.", folder=html.parent, file=html.name)
        )
    if program.is_dir():
        from titrant.doctor.runs import case_of_run

        case = case_of_run(program)
    else:
        from titrant.doctor.script import observe

        case = observe(program, arguments or [], epochs=epochs, steps=steps, every=every, show=not quiet)
    findings = judge(case)
    if html is not None:
        from titrant.report.diagnosis import write_diagnosis

        try:
            write_diagnosis(case, findings, program.name, html)
        except OSError as error:
            raise OutputError(say("{file} cannot be written: {reason}.", file=html, reason=error.strerror)) from None
    if as_json:
        typer.echo(
            json.dumps({"findings": [found.model_dump(mode="json") for found in findings]}, indent=2, ensure_ascii=False)
        )
    else:
        typer.echo(str(findings))
