"""The program that commands join, and how it ends when something goes wrong."""

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from titrant.errors import TitrantError
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


def given_options(context: typer.Context, besides: set[str]) -> list[str]:
    """The options that were written on the command line, but for those of these names.

    Args:
        context: of the command.
        besides: names of parameters.
    """
    return [
        parameter.opts[0]
        for parameter in context.command.params
        if str(parameter.name) not in besides
        and (source := context.get_parameter_source(str(parameter.name))) is not None
        and source.name == "COMMANDLINE"
    ]


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


def main() -> None:
    """Runs the command line; the entry point of `titrant`.

    Of several processes that `torchrun` starts, the first one runs it, and the others train beside that one.
    """
    if "WORLD_SIZE" in os.environ:  # asked first, because torch takes seconds to load
        from titrant.train.team import launched, serve

        if (started := launched()) is not None and started[0] > 0:
            serve("", *started)
            return
    app(prog_name="titrant")
