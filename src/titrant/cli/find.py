"""`titrant find lr` and `titrant find batch`."""

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

finders = typer.Typer(help=say("Find a dose without a search: lr, batch."), no_args_is_help=True, rich_markup_mode=None)
app.add_typer(finders, name="find")

_BAR = 40


@finders.command(
    "lr",
    help=say(
        "Find the learning rate with which a recipe learns fastest: short trainings at 25 rates, side by side.\n\n"
        "\b\nExamples:\n  titrant find lr adult.parquet --target income\n  titrant find lr titrant-runs/adult-1 --budget 30s"
    ),
)
def lr(
    subject: Subject,
    target: Target = None,
    budget: Budget = "60s",
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
    """Prints the losses and what they say; see `titrant.find_rate`."""
    from titrant.cli.studies import reading_of, view_of
    from titrant.find import find_rate

    found = find_rate(
        subject, target, budget=budget, recipe=recipe, data=data, seed=seed, device=device, view=view_of(as_json),
        started=process_started(), **reading_of(test=test, group=group, by=by, time=time, horizon=horizon, text=text),
    )  # fmt: skip
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    there = [one.loss_validation for one in found.rates if one.loss_validation is not None]
    low, high = min(there), min(max(there), 3 * min(there) + 1e-12) if min(there) > 0 else max(there)
    typer.echo(say("Validation loss after {steps} steps ({epochs:.2g} epochs) of {optimizer}:",
                   steps=found.steps, epochs=found.epochs, optimizer=found.optimizer))  # fmt: skip
    for one in found.rates:
        mark = "*" if one.rate == found.best else "+" if found.low <= one.rate <= found.high else " "
        if one.loss_validation is None:
            typer.echo(f"{mark} {one.rate:<9.3g} " + say("diverged"))
            continue
        share = min(1.0, (one.loss_validation - low) / (high - low)) if high > low else 0.0
        typer.echo(f"{mark} {one.rate:<9.3g} {one.loss_validation:<10.4g} {'█' * max(1, round(share * _BAR))}")
    typer.echo(say("Best: learning_rate.peak = {best:g}; {low:g} to {high:g} do as well within two percent.",
                   best=found.best, low=found.low, high=found.high))  # fmt: skip
    if found.diverges is not None:
        typer.echo(say("From {rate:g} on training diverges.", rate=found.diverges))


@finders.command(
    "batch",
    help=say(
        "Find the batch size with which a recipe learns soonest here: by the noise of its gradient, the time of a step on this "
        "machine, and memory.\n\n"
        "\b\nExamples:\n  titrant find batch adult.parquet --target income\n"
        "  titrant find batch titrant-runs/adult-1 --budget 30s"
    ),
)
def batch(
    subject: Subject,
    target: Target = None,
    budget: Budget = "60s",
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
    """Prints the noise, the times and what they say; see `titrant.find_batch`."""
    from titrant.cli.studies import reading_of, view_of
    from titrant.find import find_batch

    found = find_batch(
        subject, target, budget=budget, recipe=recipe, data=data, seed=seed, device=device, view=view_of(as_json),
        started=process_started(), **reading_of(test=test, group=group, by=by, time=time, horizon=horizon, text=text),
    )  # fmt: skip
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    for noise in found.noise:
        scale = say("too noisy to tell") if noise.scale is None else say("{rows:,.0f} rows", rows=noise.scale)
        typer.echo(say("Gradient noise scale after {epoch:.2g} epochs: {scale}", epoch=noise.epoch, scale=scale))
    typer.echo(say("  batch   ms/step    rows/s   memory   time to a given loss"))
    for one in found.sizes:
        mark = "*" if one.size == found.best else "+" if found.low <= one.size <= found.high else " "
        relative = "" if one.relative is None else f"{one.relative:8.2f} {'█' * max(1, round(_BAR * min(1, one.relative / 8)))}"
        memory = f"{one.memory / 2**20:,.0f} MiB"
        typer.echo(f"{mark} {one.size:<7} {1e3 * one.seconds:<8.2f} {one.size / one.seconds:>9,.0f} {memory:>9}   {relative}")
    typer.echo(say("Best: batch.size = {best}; {low} to {high} take at most a tenth more time to a given training loss.",
                   best=found.best, low=found.low, high=found.high))  # fmt: skip
    if found.largest is not None and found.free is not None:
        typer.echo(say("Memory holds at most about {rows:,} rows a step ({bytes:,} bytes each, {free:.1f} GiB are free).",
                       rows=found.largest, bytes=found.row_bytes, free=found.free / 2**30))  # fmt: skip
