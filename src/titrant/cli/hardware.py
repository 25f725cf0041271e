"""`titrant hardware`."""

from pathlib import Path
from typing import Annotated

import typer

from titrant.cli.app import app
from titrant.cli.studies import (
    Budget,
    By,
    Data,
    Device,
    Group,
    Horizon,
    Json,
    RecipeFile,
    Seed,
    Subject,
    Target,
    Test,
    TextColumn,
    Time,
)
from titrant.clock import process_started
from titrant.texts import say


@app.command(
    short_help=say("Measure what hardware settings are worth for a recipe here."),
    help=say(
        "Measure what threads, precision, memory layout, compiling and stacking are worth for a recipe on this machine, "
        "whether the loss stays the same, and how much memory it takes.\n\n"
        "\b\nExamples:\n  titrant hardware adult.parquet --target income\n"
        "  titrant hardware titrant-runs/adult-1 --out faster.yaml"
    ),
)
def hardware(
    subject: Subject,
    target: Target = None,
    budget: Budget = "2m",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help=say("Write the recipe with the best settings."))] = None,
    recipe: RecipeFile = None,
    data: Data = None,
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
    """Prints a table of ratios; see `titrant.find_hardware`."""
    from titrant.cli.studies import reading_of, view_of
    from titrant.find import find_hardware
    from titrant.recipe import Recipe

    found = find_hardware(
        subject, target, budget=budget, recipe=recipe, data=data, seed=seed, device=device, view=view_of(as_json),
        started=process_started(), **reading_of(test=test, group=group, by=by, time=time, horizon=horizon, text=text),
    )  # fmt: skip
    if out is not None:
        Recipe.of(found.recipe).save(out)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    typer.echo(say("On {device}, against float32 and one network:", device=found.device))
    typer.echo(say("setting                    steps/s   ratio  (lowest to highest)   loss        memory"))
    for one in found.settings:
        if one.steps is None or one.ratio is None:
            typer.echo(f"{one.name:<26} {one.note}")
            continue
        loss = "" if one.agrees is None else say("the same") if one.agrees else say("differs")
        spread = f"({one.low:.2f} to {one.high:.2f})"
        memory = "" if one.memory is None else f"{one.memory / 2**20:,.1f} MiB"
        typer.echo(f"{one.name:<26} {one.steps:>7,.0f} {one.ratio:>7.2f}  {spread:<20} {loss:<8} {memory:>10}".rstrip())
    if found.best:
        settings = ", ".join(f"{name}: {value}" for name, value in found.best.items())
        typer.echo(say("Best: hardware: {{{settings}}}", settings=settings))
    else:
        typer.echo(say("Best: leave the hardware slot as it is; nothing was worth five percent with the same loss."))
    taken = found.memory
    typer.echo(say("Memory: a training takes about {total:,.1f} MiB: data {data:,.1f}, weights and optimizer {carried:,.1f}, "
                   "a step of {rows:,} rows {step:,.1f}.",
                   total=taken.total / 2**20, data=taken.data / 2**20, carried=taken.carried / 2**20, rows=taken.rows,
                   step=taken.step / 2**20))  # fmt: skip
    if found.free is not None and taken.carried + taken.step > found.free:
        typer.echo(say("Only {free:,.1f} MiB are free. To take less: batch.accumulate, hardware.checkpoint: true, a smaller "
                       "batch.size or model.width.", free=found.free / 2**20))  # fmt: skip
    if out is not None:
        typer.echo(say("Recipe   {file}", file=out))
