"""`titrant recipe show`, `diff` and `schema`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from titrant.cli.app import app
from titrant.texts import say

recipes = typer.Typer(help=say("Look at recipes: show, diff, schema."), no_args_is_help=True, rich_markup_mode=None)
app.add_typer(recipes, name="recipe")


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
