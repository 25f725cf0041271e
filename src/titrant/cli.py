"""The command line: thin words around `titrant.fit`, `Run` and `Recipe`.

Errors that a person can mend are printed as one message on stderr, without a traceback, and the exit code is 2. Words come at
once: what is heavy to import is imported by the command that needs it.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from titrant.clock import process_started
from titrant.errors import OutputError, TitrantError
from titrant.texts import say


class _Commands(TyperGroup):
    """Ends with one message instead of a traceback where a person can mend what went wrong."""

    def invoke(self, ctx: Any) -> Any:
        """Runs a command."""
        try:
            return super().invoke(ctx)
        except TitrantError as error:
            typer.echo(say("Error: {error}", error=error), err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt as interrupt:
            typer.echo(str(interrupt) or say("Interrupted."), err=True)
            raise typer.Exit(130) from None
        except BrokenPipeError:
            # The reader of a pipe left early, as `head` does; nothing is wrong.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit from None


app = typer.Typer(
    name="titrant",
    cls=_Commands,
    help=say("Find the right dose of every training trick for your data, and prove what each was worth."),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
recipes = typer.Typer(help=say("Look at recipes: show, diff, schema."), no_args_is_help=True, rich_markup_mode=None)
app.add_typer(recipes, name="recipe")


def _version(asked: bool) -> None:
    if asked:
        from titrant import __version__

        typer.echo(f"titrant {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help=say("Print the version and leave."))
    ] = False,
) -> None:
    """Options that stand before any command."""


@app.command(
    short_help=say("Find the best model that the time allows."),
    help=say(
        "Find the best model for DATA that the time allows.\n\n"
        "Writes a folder with the model, its recipe and a report. Ctrl-C ends early and keeps the best so far.\n\n"
        "\b\nExamples:\n  titrant fit adult.parquet --target income --budget 10m\n"
        "  titrant fit sales.csv --target revenue --metric mae --time day --kind shop=category"
    ),
)
def fit(
    data: Annotated[Path, typer.Argument(metavar="DATA", help=say("A table: CSV, TSV, Parquet, Arrow or Feather."))],
    target: Annotated[str, typer.Option(metavar="COLUMN", help=say("The column to predict."))],
    budget: Annotated[
        str, typer.Option(metavar="TIME", help=say("Wall clock for everything, from start to exit: 90s, 10m, 1h30m."))
    ] = "10m",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help=say("Where to write the run, a new or empty folder. [default: titrant-runs/NAME-NUMBER]")
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
    time: Annotated[
        str | None, typer.Option(metavar="COLUMN", help=say("Orders the rows; the model is tested on the newest."))
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
            help=say("Who proposes recipes: mixed, grid (of a search space), random, sobol, or Optuna's tpe, gp, cmaes."),
        ),
    ] = "mixed",
    members: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="NUMBER",
            help=say("Try at most so many recipes. The result then depends on the seed and not on the speed of this machine."),
        ),
    ] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help=say("Where to train: auto, cpu, cuda, cuda:1, mps."))] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help=say("Print nothing but errors."))] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help=say("Print the summary as JSON on stdout, and nothing else."))
    ] = False,
) -> None:
    """Runs one job; see `titrant.fit`."""
    from titrant.job import fit as run
    from titrant.report.terminal import JsonView, LiveView, QuietView

    with _folder(out, data) as folder:
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
            time=time,
            hold_out=hold_out,
            ensemble=ensemble,
            search=search,
            members=members,
            device=device,
            view=JsonView() if as_json else QuietView() if quiet else LiveView(),
            started=process_started(),
        )


@app.command(
    short_help=say("Predict new rows with the model of a run."),
    help=say(
        "Predict the rows of DATA with the model of RUN.\n\n"
        "Writes a CSV file, row by row in the order of DATA: `prediction`, the label or value, then for classes "
        "`probability_CLASS` each.\n\n"
        "\b\nExample:\n  titrant predict titrant-runs/adult-1 new.csv --out predictions.csv"
    ),
)
def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help=say("A folder that `titrant fit` wrote."))],
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help=say("A table with the columns that the model was trained on, in any order."))
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


@recipes.command("show", help=say("Print a recipe as YAML: of a run or a file, or the plain baseline."))
def show(
    source: Annotated[Path | None, typer.Argument(metavar="SOURCE", help=say("A run folder or a recipe file."))] = None,
) -> None:
    """Prints every slot, the ones that are off too."""
    from titrant.recipe import Recipe

    typer.echo((Recipe() if source is None else _recipe(source)).yaml(), nl=False)


@recipes.command("diff", help=say("Print the paths at which two recipes differ."))
def diff(
    one: Annotated[Path, typer.Argument(metavar="ONE", help=say("A run folder or a recipe file."))],
    other: Annotated[Path | None, typer.Argument(metavar="OTHER", help=say("Likewise; left out, the plain baseline."))] = None,
) -> None:
    """Prints `path: value of ONE -> value of OTHER`."""
    from titrant.recipe import Recipe

    differences = _recipe(one).diff(Recipe() if other is None else _recipe(other))
    for path, (mine, theirs) in differences.items():
        typer.echo(f"{path}: {_shown(mine)} -> {_shown(theirs)}")
    if not differences:
        typer.echo(say("The recipes are the same."))


@recipes.command("schema", help=say("Print the JSON schema of recipes, for editors and other tools."))
def schema() -> None:
    """Prints every slot, kind, dose and range."""
    from titrant.recipe import Recipe

    typer.echo(json.dumps(Recipe.model_json_schema(), indent=2, ensure_ascii=False))


def _recipe(source: Path) -> Any:
    from titrant.recipe import Recipe

    return Recipe.load(source / "recipe.yaml" if source.is_dir() else source)


def _shown(value: Any) -> str:
    return "-" if value is None else str(value)


@contextmanager
def _folder(out: Path | None, data: Path) -> Iterator[Path]:
    """The folder that was asked for, or a new one, which goes away again if nothing is written into it."""
    if out is not None:
        yield out
        return
    folder = _new_folder(Path("titrant-runs"), data.stem)
    try:
        yield folder
    finally:
        for unused in (folder, folder.parent):
            with suppress(OSError):  # it is in use: the run is in it
                unused.rmdir()


def _new_folder(runs: Path, name: str) -> Path:
    """Makes NAME-1, -2, ...: the first that is free, made at once so that two commands never share one."""
    number = 0
    while True:
        number += 1
        folder = runs / f"{name}-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise OutputError(
                say(
                    "The folder {folder} cannot be made: {reason}. Choose another with --out.",
                    folder=folder,
                    reason=error.strerror,
                )
            ) from None
        return folder


def _kinds(entries: list[str]) -> dict[str, str]:
    kinds = {}
    for entry in entries:
        name, equals, kind = entry.rpartition("=")
        if not equals or not name:
            raise TitrantError(say("--kind {entry!r} is not COLUMN=KIND, such as zip=category.", entry=entry))
        kinds[name] = kind
    return kinds


def main() -> None:
    """Runs the command line; the entry point of `titrant`."""
    app(prog_name="titrant")
