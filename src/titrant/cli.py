"""The command line: thin words around `titrant.fit`, `Run` and `Recipe`.

Errors that a person can mend are printed as one message on stderr, without a traceback, and the exit code is 2.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from titrant.clock import process_started
from titrant.errors import OutputError, TitrantError
from titrant.texts import say

app = typer.Typer(
    name="titrant",
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


@app.command(help=say("Find the best model for DATA that the time allows: writes the model, its recipe and a report."))
def fit(
    data: Annotated[Path, typer.Argument(help=say("A table: CSV, TSV, Parquet, Arrow or Feather."))],
    target: Annotated[str, typer.Option(help=say("The column to predict."))],
    budget: Annotated[str, typer.Option(help=say("Wall clock for everything: 90s, 10m, 1h30m."))] = "10m",
    out: Annotated[Path | None, typer.Option(help=say("A new folder for the run. Default: titrant-runs/NAME-NUMBER."))] = None,
    metric: Annotated[
        str | None,
        typer.Option(help=say("accuracy, balanced_accuracy, f1, log_loss, roc_auc; rmse, mae, r2. Default: accuracy or rmse.")),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help=say("Of all random choices."))] = 0,
    task: Annotated[str | None, typer.Option(help=say("binary, multiclass or regression. Default: inferred."))] = None,
    recipe: Annotated[Path | None, typer.Option(help=say("Train this recipe; with --space, search around it."))] = None,
    space: Annotated[Path | None, typer.Option(help=say("What to search: a YAML file of paths and their values."))] = None,
    test: Annotated[Path | None, typer.Option(help=say("Rows to judge the final model on. Default: a fifth of DATA."))] = None,
    split_column: Annotated[str | None, typer.Option(help=say("A column that says train, validation or test."))] = None,
    group: Annotated[str | None, typer.Option(help=say("A column whose equal values never straddle train and test."))] = None,
    time: Annotated[str | None, typer.Option(help=say("A column that orders the rows; the newest are tested on."))] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help=say("COLUMN=number, category, boolean, date or ignore, against what is inferred. May be repeated.")),
    ] = None,
    members: Annotated[int | None, typer.Option(min=1, help=say("Try at most so many recipes."))] = None,
    device: Annotated[str, typer.Option(help=say("auto, cpu, cuda, cuda:1, mps."))] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help=say("Print nothing."))] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help=say("Print the summary as JSON on stdout, and nothing else."))
    ] = False,
) -> None:
    """Runs one job; see `titrant.fit`."""
    from titrant.job import fit as run
    from titrant.report.terminal import JsonView, LiveView, QuietView

    run(
        data,
        target,
        budget=budget,
        out=out or _new_folder(data),
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
        members=members,
        device=device,
        view=JsonView() if as_json else QuietView() if quiet else LiveView(),
        started=process_started(),
    )


@app.command(help=say("Predict the rows of DATA with the model of RUN: a CSV with `prediction`, then `probability_CLASS`."))
def predict(
    run: Annotated[Path, typer.Argument(help=say("A folder that `titrant fit` wrote."))],
    data: Annotated[Path, typer.Argument(help=say("A table with the columns that the model was trained on, in any order."))],
    out: Annotated[Path | None, typer.Option(help=say("The file to write. Default: standard output."))] = None,
) -> None:
    """Writes predictions row by row, in the order of the data."""
    from titrant.predictor import Predictor
    from titrant.record import write_bytes

    if out is not None and not out.parent.is_dir():
        raise OutputError(say("There is no folder {folder} to write {file} into.", folder=out.parent, file=out.name))
    notes: list[str] = []
    table = Predictor.load(run / "model").table(data, notes)
    for note in notes:
        typer.echo(say("Note: {note}", note=note), err=True)
    content = table.write_csv().encode("utf-8")
    if out is None:
        sys.stdout.buffer.write(content)
    else:
        write_bytes(out, content)


@recipes.command("show", help=say("Print a recipe as YAML: of a run or a file, or the plain baseline."))
def show(
    source: Annotated[Path | None, typer.Argument(help=say("A run folder or a recipe file. Default: the baseline."))] = None,
) -> None:
    """Prints every slot, the ones that are off too."""
    from titrant.recipe import Recipe

    typer.echo((Recipe() if source is None else _recipe(source)).yaml(), nl=False)


@recipes.command("diff", help=say("Print the paths at which two recipes differ."))
def diff(
    one: Annotated[Path, typer.Argument(help=say("A run folder or a recipe file."))],
    other: Annotated[Path | None, typer.Argument(help=say("Likewise. Default: the plain baseline."))] = None,
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


def _new_folder(data: Path) -> Path:
    """titrant-runs/NAME-1, -2, ...: the first that is free."""
    number = 1
    while (place := Path("titrant-runs") / f"{data.stem}-{number}").exists():
        number += 1
    return place


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
    try:
        app()
    except TitrantError as error:
        typer.echo(say("Error: {error}", error=error), err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo(say("Interrupted."), err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe left early, as `head` does; nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
