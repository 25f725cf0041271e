"""What a run leaves in its folder: the best so far while the search goes on, and everything at its end, in the same form."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from titrant.clock import Clock
from titrant.data.learnable import Learnable
from titrant.errors import OutputError
from titrant.folders import writing
from titrant.judged import Ends, evaluated
from titrant.models.blocks import recomputed
from titrant.models.image import Conv, ImageNet
from titrant.models.network import Factory
from titrant.predictor import Predictor
from titrant.recipe import Recipe
from titrant.record import (
    ALWAYS_ON,
    Asked,
    Evaluation,
    MemberRecord,
    Receipt,
    Source,
    Summary,
    finite,
    read_members,
    versions,
    write_members,
)
from titrant.report.html import write_report
from titrant.report.lines import lines
from titrant.report.passages import passages
from titrant.report.pictures import samples
from titrant.search.study import Outcome, Study
from titrant.texts import say
from titrant.train.member import Trained

PACKAGES = ("titrant", "torch", "numpy", "polars", "optuna", "scikit-learn")
_EVERY = 5.0  # seconds between two saves of the best so far, at least
_SHARE = 0.02  # and the most of the time that saving may take


@dataclass(frozen=True)
class Before:
    """What a run has left."""

    summary: Summary
    source: Source
    asked: Asked
    records: list[MemberRecord]


def before_in(folder: Path) -> Before:
    """What the folder of a run holds.

    Raises:
        OutputError: it holds no run, or none that has got anywhere yet.
    """
    try:
        summary, source = Summary.read(folder / "summary.json"), Source.read(folder / "source.json")
        records = read_members(folder / "members.jsonl")
        kept = folder / "asked.json"  # older runs have none
        return Before(summary, source, Asked.read(kept) if kept.exists() else Asked(seed=summary.seed), records)
    except (OSError, ValueError) as error:
        problem = " ".join(str(error).split())[:200]
        if isinstance(error, FileNotFoundError):
            problem = say("{file} is missing", file=Path(error.filename).name)
        raise OutputError(
            say("{folder} holds no run to go on with: {problem}. A run can be resumed once its first network was scored.",
                folder=folder, problem=problem)
        ) from None  # fmt: skip


@dataclass
class Results:
    """Writes what the search has found: the best so far while it goes on, everything at its end, in the same form."""

    folder: Path
    dataset: Learnable
    source: Source
    asked: Asked
    study: Study
    notes: list[str]
    limit: float
    clock: Clock
    before: Before | None = None
    _recorded: int = 0
    _kept: Trained | None = None
    _next: float = 0.0

    def keep(self) -> None:
        """Saves the best network so far, if there is a new one and the last save is some time ago.

        Of a run that is resumed only what was tried: its model is judged better or worse at the end.
        """
        best, begun = self.study.best, monotonic()
        if self.before is not None:
            if len(self.study.records) > self._recorded and begun >= self._next:
                with writing(self.folder):
                    write_members(self.folder / "members.jsonl", self.study.records)
                self._recorded, self._next = len(self.study.records), monotonic() + _EVERY
            return
        if best is None or best is self._kept or begun < self._next:
            return
        records = list(self.study.records)
        band = self.study.band(best)
        so_far = Outcome(
            [best], best.member.recipe, "checkpoint", best.history.best, None, None, records, interrupted=True, band=band
        )
        self._write(so_far, self._predictor(so_far), Evaluation(metrics={}))
        self._kept, self._next = best, monotonic() + max(_EVERY, (monotonic() - begun) / _SHARE)

    def finish(self, outcome: Outcome, factory: Factory | None, *, report: bool) -> tuple[Predictor, Summary]:
        """Judges the final model on test rows and writes everything, the report last; `Run.report` can write it later."""
        if self.before is not None and not self._better(outcome, self.before.summary):
            return self._as_before(outcome, self.before.summary, factory)
        predictor = self._predictor(outcome)
        plain = outcome.baseline
        baseline = None if plain is None else Predictor.of(self.dataset.schema, [plain], self.study.development_problem())
        evaluation, intervals = self._judged(predictor, outcome.recipe, baseline)
        summary = self._write(outcome, predictor, evaluation, *intervals)
        if not report:
            return predictor, summary
        with writing(self.folder):
            write_report(self.folder)
            summary = summary.model_copy(update={"seconds_total": self._seconds_before + self.clock.elapsed})
            summary.write(self.folder / "summary.json")
        return predictor, summary

    def _judged(self, predictor: Predictor, recipe: Recipe, baseline: Predictor | None) -> tuple[Evaluation, tuple[Ends, Ends]]:
        """What a model did on test rows, and what its recipe does to examples; see `evaluated`."""
        evaluation, intervals = evaluated(self.dataset, self.study.metric, predictor, baseline)
        about = (self.dataset, recipe, self.study.seed)
        shown = {"samples": samples(*about), "lines": lines(*about), "passages": passages(*about)}
        return evaluation.model_copy(update=shown), intervals

    def _better(self, outcome: Outcome, before: Summary) -> bool:
        """Whether a resumed run has found a better model: by rows that its networks held out, if it has such a score."""
        new, old = outcome.score_refit, before.score_refit
        if (new is None) != (old is None):
            return new is not None
        if new is None or old is None:
            new, old = outcome.score_validation, before.score_validation
        if new is None or old is None:
            return new is not None
        return self.study.metric.as_loss(new) < self.study.metric.as_loss(old)

    def _as_before(self, outcome: Outcome, before: Summary, factory: Factory | None) -> tuple[Predictor, Summary]:
        """The model of before stays; what was tried since is added."""
        kept = say("Going on with the search found nothing better; the model is that of before.")
        predictor = Predictor.load(self.folder / "model", factory)
        judged: dict[str, Any] = {}
        if before.score_test is None and len(self.dataset.split.test):  # it was killed before its model was judged
            evaluation, (interval, _) = self._judged(predictor, predictor.recipes[0], None)
            judged = {"score_test": evaluation.metrics.get(self.study.metric.name), "score_test_interval": interval}
            with writing(self.folder):
                evaluation.write(self.folder / "evaluation.json")
        summary = before.model_copy(
            update={
                **judged,
                "n_members": tried(outcome.records),
                "seconds_total": before.seconds_total + self.clock.elapsed,
                "budget_seconds": before.budget_seconds + self.limit,
                "warnings": [one for one in dict.fromkeys([*before.warnings, *self.notes]) if one != kept] + [kept],
            }
        )
        with writing(self.folder):
            write_members(self.folder / "members.jsonl", outcome.records)
            summary.write(self.folder / "summary.json")
            write_report(self.folder)
        return predictor, summary

    @property
    def _seconds_before(self) -> float:
        return 0.0 if self.before is None else self.before.summary.seconds_total

    def _predictor(self, outcome: Outcome) -> Predictor:
        problem = self.study.final_problem(outcome)
        return Predictor.of(self.dataset.schema, outcome.final, problem, outcome.weights, outcome.temperatures, outcome.band)

    def _write(
        self, outcome: Outcome, predictor: Predictor, evaluation: Evaluation, interval: Ends = None, gain: Ends = None
    ) -> Summary:
        """Writes everything but the report; the summary comes last and says that the rest is there."""
        metric = self.study.metric
        receipts = outcome.final[0].receipts
        summary = Summary(
            task=self.dataset.schema.task,
            metric=metric.name,
            direction=metric.direction,
            score_validation=finite(outcome.score_validation),
            score_refit=finite(outcome.score_refit),
            score_test=evaluation.metrics.get(metric.name),
            baseline_score_test=evaluation.metrics_baseline.get(metric.name),
            score_test_interval=interval,
            gain_interval=gain,
            final="refit" if outcome.kind == "refit" else "checkpoint",
            n_members=tried(outcome.records),
            n_networks=len(outcome.final),
            n_recipes=len({one.member.recipe.yaml() for one in outcome.final}),
            seconds_total=self._seconds_before + self.clock.elapsed,
            budget_seconds=self.limit + (0.0 if self.before is None else self.before.summary.budget_seconds),
            interrupted=outcome.interrupted,
            receipts=receipts,
            warnings=[*self.notes, *_warnings(outcome, receipts)],
            versions=versions(*PACKAGES),
            machine=machine(self.study.device),
            seed=self.study.seed,
        )
        with writing(self.folder):
            outcome.recipe.save(self.folder / "recipe.yaml")
            predictor.save(self.folder / "model")
            write_members(self.folder / "members.jsonl", outcome.records)
            data = self.dataset.summary
            data.model_copy(update={"split": f"{data.split} {self.study.compared}".rstrip()}).write(self.folder / "data.json")
            self.source.write(self.folder / "source.json")
            self.asked.write(self.folder / "asked.json")
            evaluation.write(self.folder / "evaluation.json")
            summary.write(self.folder / "summary.json")
        return summary


def tried(records: list[MemberRecord]) -> int:
    """Recipes that were tried; refits of the best are not."""
    return sum(1 for record in records if record.origin != "refit")


def _warnings(outcome: Outcome, receipts: list[Receipt]) -> list[str]:
    found = [
        say("{trick} ({kind}) was on and never acted.", trick=receipt.trick, kind=receipt.kind)
        for receipt in receipts
        if receipt.never_acted and receipt.trick not in ALWAYS_ON
    ]
    halved = sum(record.parts > 1 for record in outcome.records)
    if halved:
        found.append(
            say("Memory did not hold whole batches of {count} recipes; they were computed in parts, and batch norm saw parts, "
                "too. A smaller batch.size avoids this.", count=halved)
        )  # fmt: skip
    if outcome.recipe.hardware.checkpoint and not recomputed(outcome.final[0].network):
        kind = outcome.recipe.model.kind
        found.append(say("hardware.checkpoint = true has no effect: this {kind} has no more than one block.", kind=kind))
    layout, network = outcome.recipe.hardware.layout, outcome.final[0].network
    heeded = isinstance(network, ImageNet) and any(isinstance(layer, Conv) for layer in network.modules())
    if layout != "auto" and not heeded:
        kind = outcome.recipe.model.kind
        found.append(
            say(
                "hardware.layout = {layout} has no effect: this {kind} has no convolutions of pictures.",
                layout=layout,
                kind=kind,
            )
        )
    if outcome.refused:
        found.append(
            say("The best recipe, trained again, did far worse than before; the model is the best network of the search.")
        )
    elif outcome.kind == "checkpoint" and not outcome.interrupted:
        found.append(say("There was no time to train the best recipe again; the model is the best network of the search."))
    return found


def machine(device: torch.device) -> dict[str, str | int | float]:
    """What ran here."""
    found: dict[str, str | int | float] = {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "device": str(device),
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found
