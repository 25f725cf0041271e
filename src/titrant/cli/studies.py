"""`titrant ablate` and `titrant dose`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from titrant.cli.app import app
from titrant.clock import process_started
from titrant.texts import say

Subject = Annotated[
    Path, typer.Argument(metavar="RUN|DATA", help=say("A folder of `titrant fit`, or data as `titrant fit` takes them."))
]
Target = Annotated[str | None, typer.Option(metavar="COLUMN", help=say("For DATA: the column to predict."))]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help=say("A new or empty folder for the findings. [default: the RUN itself; for DATA none]")
    ),
]
RecipeFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help=say("The recipe in question. [default: the RUN's, or a strong one]"))
]
Metric = Annotated[
    str | None, typer.Option(metavar="NAME", help=say("Of the effects. [default: the RUN's, or accuracy or rmse]"))
]
Replicates = Annotated[int, typer.Option(min=2, metavar="NUMBER", help=say("Trainings of each arm at most."))]
Data = Annotated[Path | None, typer.Option(metavar="DATA", help=say("The RUN's data, if they are not where they were."))]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="MODULE:FUNCTION", help=say("The function that makes a network of your own.")),
]
Seed = Annotated[int, typer.Option(min=0, metavar="NUMBER", help=say("Starts all random choices."))]
Test = Annotated[Path | None, typer.Option(metavar="DATA", help=say("For DATA: rows to judge on. [default: a fifth of DATA]"))]
Group = Annotated[str | None, typer.Option(metavar="COLUMN", help=say("For DATA: rows with equal values stay together."))]
Horizon = Annotated[int | None, typer.Option(min=1, metavar="STEPS", help=say("For DATA: forecast so many steps."))]
TextColumn = Annotated[str | None, typer.Option("--text", metavar="COLUMN", help=say("For DATA: learn from its texts."))]
By = Annotated[str | None, typer.Option("--id", metavar="COLUMN", help=say("For DATA: which series a row belongs to."))]
Time = Annotated[str | None, typer.Option(metavar="COLUMN", help=say("For DATA: orders the rows; the newest judge."))]
Budget = Annotated[str, typer.Option(metavar="TIME", help=say("Wall clock for everything: 30s, 2m."))]
Device = Annotated[str, typer.Option(metavar="NAME", help=say("Where to train: auto, cpu, cuda, cuda:1, mps."))]
Json = Annotated[bool, typer.Option("--json", help=say("Print the findings as JSON on stdout, and nothing else."))]


@app.command(
    short_help=say("Measure what each trick is worth on your data."),
    help=say(
        "Measure what each trick of a recipe is worth on your data, and how sure that is.\n\n"
        "Each trick is left out of the recipe, and added to a plain baseline. All arms are tuned alike, trained again and "
        "again for the same time, and judged on held-out rows. Effects come with 95 % intervals.\n\n"
        "\b\nExamples:\n  titrant ablate titrant-runs/adult-1 --budget 10m\n"
        "  titrant ablate titrant-runs/adult-1 --tricks dropout,augment,normalize\n"
        "  titrant ablate adult.parquet --target income --tricks dropout"
    ),
)
def ablate(
    subject: Subject,
    target: Target = None,
    tricks: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help=say("Slots such as dropout, or groups such as augment. [default: all that the recipe has]")
        ),
    ] = None,
    budget: Annotated[str, typer.Option(metavar="TIME", help=say("Wall clock for everything: 90s, 10m, 1h30m."))] = "20m",
    out: Out = None,
    recipe: RecipeFile = None,
    metric: Metric = None,
    replicates: Replicates = 32,
    smallest: Annotated[
        float | None,
        typer.Option(
            min=0.0, metavar="NUMBER", help=say("The smallest difference that matters. [default: 2 % of the baseline's error]")
        ),
    ] = None,
    pairs: Annotated[
        int, typer.Option(min=0, metavar="NUMBER", help=say("Measure how so many pairs of tricks act on one another."))
    ] = 0,
    shares: Annotated[
        bool, typer.Option("--shares", help=say("Divide the whole gain among groups of tricks (Shapley values)."))
    ] = False,
    data: Data = None,
    model: Model = None,
    test: Test = None,
    group: Group = None,
    by: By = None,
    time: Time = None,
    horizon: Horizon = None,
    text: TextColumn = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Runs one study; see `titrant.ablate`."""
    from titrant.report.evidence import ablation_lines
    from titrant.studies import ablate as run

    found = run(
        subject, target, tricks=_names(tricks), budget=budget, out=out, recipe=recipe, metric=metric, replicates=replicates,
        smallest=smallest, pairs=pairs, shares=shares,
        data=data, seed=seed, model=factory_of(model), device=device, view=view_of(as_json), started=process_started(),
        **reading_of(test=test, group=group, by=by, time=time, horizon=horizon, text=text),
    )  # fmt: skip
    show(found, ablation_lines(found), as_json, _place(subject, out))


@app.command(
    short_help=say("Measure the response to one dose."),
    help=say(
        "Measure the response to one dose: the score at each of its levels, everything else tuned alike at each.\n\n"
        "PATH names a dose, such as dropout.p or learning_rate.peak, or a slot such as activation, whose kinds are then "
        "compared. Of a network of your own, model.doses.NAME is an argument of its function that is a dose.\n\n"
        "\b\nExamples:\n  titrant dose titrant-runs/adult-1 dropout.p\n"
        "  titrant dose adult.parquet activation --target income --budget 5m\n"
        "  titrant dose adult.parquet model.doses.width --target income --model models:make_model"
    ),
)
def dose(
    subject: Subject,
    path: Annotated[str, typer.Argument(metavar="PATH", help=say("The dose."))],
    target: Target = None,
    levels: Annotated[int, typer.Option(min=2, metavar="NUMBER", help=say("Steps over the dose's range."))] = 7,
    budget: Annotated[str, typer.Option(metavar="TIME", help=say("Wall clock for everything: 90s, 10m, 1h30m."))] = "10m",
    out: Out = None,
    recipe: RecipeFile = None,
    metric: Metric = None,
    replicates: Replicates = 32,
    data: Data = None,
    model: Model = None,
    test: Test = None,
    group: Group = None,
    by: By = None,
    time: Time = None,
    horizon: Horizon = None,
    text: TextColumn = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Runs one study; see `titrant.dose`."""
    from titrant.report.evidence import response_lines
    from titrant.studies import dose as run

    found = run(
        subject, path, target, levels=levels, budget=budget, out=out, recipe=recipe, metric=metric, replicates=replicates,
        data=data, seed=seed, model=factory_of(model), device=device, view=view_of(as_json), started=process_started(),
        **reading_of(test=test, group=group, by=by, time=time, horizon=horizon, text=text),
    )  # fmt: skip
    show(found, response_lines(found), as_json, _place(subject, out))


def _names(tricks: str | None) -> list[str] | None:
    return None if tricks is None else [name.strip() for name in tricks.split(",") if name.strip()]


def factory_of(name: str | None) -> Any:
    """The function that makes a person's own network, if one is named."""
    if name is None:
        return None
    from titrant.doctor.checkup import factory

    return factory(name)


def reading_of(**options: Any) -> dict[str, Any]:
    """The options that say how data are read, as far as they were given."""
    return {name: value for name, value in options.items() if value is not None}


def _place(subject: Path, out: Path | None) -> Path | None:
    """Where the report is, if one was written."""
    folder = out or subject
    return folder / "report.html" if out is not None or (subject / "recipe.yaml").is_file() else None


def view_of(quiet: bool) -> Any:
    """What shows a study while it runs."""
    from titrant.report.terminal import LiveView, QuietView

    return QuietView() if quiet else LiveView()


def show(found: Any, lines: list[tuple[str, str]], as_json: bool, report: Path | None = None) -> None:
    """Prints what a study found: as JSON, or as lines and where the report is."""
    from titrant.report.terminal import print_lines

    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    print_lines([*lines, *([(say("Report   {path}", path=report), "")] if report is not None else [])])
