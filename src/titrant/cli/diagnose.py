"""`titrant diagnose`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from titrant.cli.app import app, given_options
from titrant.cli.studies import show, view_of
from titrant.clock import process_started
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
        "With --cure, a RUN, a recipe (a YAML file) or a model of your own (MODULE:FUNCTION) is trained under observation; "
        "remedies are tried one at a time, and kept only if they are shown to help.\n\n"
        "\b\nExamples:\n  titrant diagnose train.py --epochs 3\n  titrant diagnose train.py --json -- --lr 0.1\n"
        "  titrant diagnose titrant-runs/adult-1 --cure\n"
        "  titrant diagnose recipe.yaml --cure --data train.csv --target y --budget 5m"
    ),
)
def diagnose(
    context: typer.Context,
    program: Annotated[
        Path,
        typer.Argument(
            metavar="PROGRAM|RUN",
            help=say("A Python file, or a folder of `titrant fit`; with --cure also a recipe or MODULE:FUNCTION."),
        ),
    ],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGUMENTS]", help=say("For the program itself."))
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help=say("End the training after so many epochs."))] = None,
    steps: Annotated[int | None, typer.Option(min=1, help=say("End the training after so many steps."))] = None,
    every: Annotated[int, typer.Option(min=1, help=say("Widest gap between looks, in steps."))] = 250,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help=say("Write the findings with pictures as HTML."))] = None,
    as_json: Annotated[bool, typer.Option("--json", help=say("Print the findings as JSON."))] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help=say("Drop the program's own output."))] = False,
    cure: Annotated[bool, typer.Option("--cure", help=say("Try remedies, and keep those that are shown to help."))] = False,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help=say("With --cure, for a recipe or a model: data as `titrant fit` takes them.")),
    ] = None,
    target: Annotated[str | None, typer.Option(metavar="COLUMN", help=say("With --cure: the column to predict."))] = None,
    budget: Annotated[str, typer.Option(metavar="TIME", help=say("With --cure, wall clock for everything: 90s, 10m."))] = "5m",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help=say("With --cure, a new or empty folder for the findings. [default: the RUN itself; else none]"),
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="NUMBER", help=say("With --cure, starts all random choices."))] = 0,
) -> None:
    """Runs the program and prints what was found."""
    from titrant.doctor.rules import diagnose as judge

    if cure:
        for name, given in (("--epochs", epochs), ("--steps", steps), ("--html", html), ("[-- ARGUMENTS]", arguments)):
            if given:
                raise OutputError(say("{option} does not go with --cure. Leave it out.", option=name))
        _cure(program, data, target, budget, out, seed, as_json, quiet)
        return
    if given := given_options(context, {"program", "arguments", "epochs", "steps", "every", "html", "as_json", "quiet"}):
        raise OutputError(say("{options} go with --cure. Add it, or leave them out.", options=", ".join(given)))
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


def _cure(
    patient: Path, data: Path | None, target: str | None, budget: str, out: Path | None, seed: int, as_json: bool, quiet: bool
) -> None:
    """Treats a run, a recipe or a model; see `titrant.cure`."""
    from titrant.doctor.checkup import factory
    from titrant.report.evidence import cure_lines
    from titrant.studies import cure

    _, colon, function = str(patient).partition(":")
    subject: dict[str, Any]
    if patient.is_dir():
        subject = {"subject": patient, "target": target, "data": data}
    elif patient.suffix.lower() in {".yaml", ".yml"} or (colon and function.isidentifier()):
        if data is None:
            raise OutputError(
                say("{patient} needs data to be trained on. Add --data DATA and --target COLUMN.", patient=patient)
            )
        kind = {"recipe": patient} if not colon else {"model": factory(str(patient))}
        subject = {"subject": data, "target": target, **kind}
    else:
        raise OutputError(
            say("{patient} is neither a folder of `titrant fit`, nor a recipe (.yaml), nor MODULE:FUNCTION. A program is cured "
                "by hand: its findings bring the lines to paste.", patient=patient)
        )  # fmt: skip
    view = view_of(as_json or quiet)
    found = cure(**subject, budget=budget, out=out, seed=seed, view=view, started=process_started())
    folder = out or (patient if patient.is_dir() else None)
    files = [] if folder is None else [folder / name for name in ("cured.yaml", "report.html")]
    written = [(say("Written  {path}", path=path), "") for path in files if path.exists()]
    show(found, [*cure_lines(found), *written], as_json)
