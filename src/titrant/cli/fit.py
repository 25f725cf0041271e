"""`titrant fit`."""

from pathlib import Path
from typing import Annotated

import typer

from titrant.cli.app import app, given_options
from titrant.cli.folders import run_folder
from titrant.clock import process_started
from titrant.errors import TitrantError
from titrant.texts import say


@app.command(
    short_help=say("Find the best model that the time allows."),
    help=say(
        "Find the best model for DATA that the time allows.\n\n"
        "Writes a folder with the model, its recipe and a report. Ctrl-C ends early and keeps the best so far.\n\n"
        "\b\nExamples:\n  titrant fit adult.parquet --target income --budget 10m\n"
        "  titrant fit sales.csv --target revenue --metric mae --time day --kind shop=category\n"
        "  titrant fit photos/ --budget 30m\n"
        "  titrant fit steps.parquet --id sensor --time tick --target kind\n"
        "  titrant fit sales.parquet --id shop --time date --target units --horizon 14\n"
        "  titrant fit reviews.csv --text review --target stars\n"
        "  titrant fit --resume titrant-runs/adult-1 --budget 30m"
    ),
)
def fit(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA",
            help=say(
                "A table (CSV, TSV, Parquet, Arrow, Feather), a folder of pictures, a table of their paths, .npz, or .ts."
            ),
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help=say("The column to predict. Pictures in folders of classes, and labelled series, need none.")
        ),
    ] = None,
    budget: Annotated[
        str, typer.Option(metavar="TIME", help=say("Wall clock for everything, from start to exit: 90s, 10m, 1h30m."))
    ] = "10m",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help=say("Where to write the run, a new or empty folder. [default: titrant-runs/NAME-NUMBER]")
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help=say("Go on with a run, after a crash or for longer; DATA only if its data have moved.")
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=say(
                "What to optimise. For classes: accuracy, balanced_accuracy, f1, log_loss, roc_auc. For values: rmse, mae, r2. "
                "[default: accuracy or rmse]"
            ),
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="NUMBER", help=say("Starts all random choices."))] = 0,
    task: Annotated[
        str | None, typer.Option(metavar="TASK", help=say("binary, multiclass or regression. [default: inferred from COLUMN]"))
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(metavar="FILE", help=say("Train this recipe alone; with --space, search around it."))
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=say("What to search: YAML such as `dropout.p: {low: 0, high: 0.5}` or `activation: [relu, gelu]`."),
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help=say("A second table to judge the final model on. [default: a fifth of DATA]")),
    ] = None,
    split_column: Annotated[
        str | None, typer.Option(metavar="COLUMN", help=say("Says train, validation or test for each row."))
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help=say("Rows with equal values stay together, all in train or all in test, as of one patient.")
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option("--id", metavar="COLUMN", help=say("Of a table of steps: which series a row belongs to, such as a shop.")),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help=say("Orders the rows; the model is tested on the newest. With --id: orders the steps of each series."),
        ),
    ] = None,
    horizon: Annotated[
        int | None,
        typer.Option(min=1, metavar="STEPS", help=say("Forecast so many steps of --target that follow; rows are steps.")),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help=say("Learn from the texts in COLUMN alone. [default: the only usable column, if it holds texts]"),
        ),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=KIND",
            help=say(
                "Read COLUMN as number, category, boolean or date, or ignore it, whatever it looks like. May be repeated."
            ),
        ),
    ] = None,
    hold_out: Annotated[
        bool,
        typer.Option("--hold-out/--no-hold-out", help=say("Set a fifth of DATA aside to judge the model, or learn from all.")),
    ] = True,
    ensemble: Annotated[
        bool,
        typer.Option(
            "--ensemble/--no-ensemble",
            help=say("Average networks of several recipes where that is better, or of one."),
        ),
    ] = True,
    search: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help=say(
                "Who proposes recipes: mixed, doctor (mixed, with remedies for the sick), grid (of a search space), random, "
                "sobol, or Optuna's tpe, gp, cmaes."
            ),
        ),
    ] = "mixed",
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            metavar="NUMBER",
            help=say("Compare recipes by cross-validation over so many folds, not by one validation part. Takes longer."),
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, metavar="NUMBER", help=say("Repeat the cross-validation with the rows cut anew."))
    ] = 1,
    size: Annotated[
        int | None,
        typer.Option(
            min=8, max=1024, metavar="PIXELS", help=say("Longer side of pictures in training. [default: theirs, at most 64]")
        ),
    ] = None,
    members: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="NUMBER",
            help=say("Try at most so many recipes. The result then depends on the seed and not on the speed of this machine."),
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="NUMBER", help=say("Processes of this machine that train at the same time. [default: one a core]")
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help=say("Train on a Ray cluster: ray://head:10001, auto (the one that this machine is in), or local (start one)."),
        ),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help=say("Search together with other commands, through a database: postgresql://USER@HOST/DATABASE[#NAME]."),
        ),
    ] = None,
    log: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=say("Write the run into mlflow or tensorboard, too. May be repeated.")),
    ] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help=say("Where to train: auto, cpu, cuda, cuda:1, mps."))] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help=say("Print nothing but errors."))] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help=say("Print the summary as JSON on stdout, and nothing else."))
    ] = False,
) -> None:
    """Runs one job; see `titrant.fit`."""
    from titrant.job import fit as run
    from titrant.job import resume as go_on
    from titrant.report.terminal import JsonView, LiveView, QuietView

    view = JsonView() if as_json else QuietView() if quiet else LiveView()
    if resume is not None:
        if given := given_options(context, {"resume", "data", "budget", "cluster", "study", "quiet", "as_json"}):
            raise TitrantError(
                say("A resumed run goes on as it began, so {options} cannot be given with --resume.", options=", ".join(given))
            )
        go_on(
            resume, budget=budget.removeprefix("+"), data=data, cluster=cluster, study=study, view=view,
            started=process_started(),
        )  # fmt: skip
        return
    if data is None:
        raise TitrantError(say("Name the data: titrant fit DATA, or a run to go on with: titrant fit --resume RUN."))
    with run_folder(out, data) as folder:
        run(
            data,
            target,
            budget=budget,
            out=folder,
            metric=metric,
            seed=seed,
            task=task,
            kinds=_kinds(kind or []),
            recipe=recipe,
            space=space,
            test=test,
            split_column=split_column,
            group=group,
            by=by,
            time=time,
            horizon=horizon,
            text=text,
            hold_out=hold_out,
            ensemble=ensemble,
            search=search,
            folds=folds,
            repeats=repeats,
            size=size,
            members=members,
            workers=workers,
            cluster=cluster,
            study=study,
            log=log or [],
            device=device,
            view=view,
            started=process_started(),
        )


def _kinds(entries: list[str]) -> dict[str, str]:
    kinds = {}
    for entry in entries:
        name, equals, kind = entry.rpartition("=")
        if not equals or not name:
            raise TitrantError(say("--kind {entry!r} is not COLUMN=KIND, such as zip=category.", entry=entry))
        kinds[name] = kind
    return kinds
