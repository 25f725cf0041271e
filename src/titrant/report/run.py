"""Reads a run folder for the eye: whatever is there, and for each part that is not, the reason."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from titrant.errors import OutputError
from titrant.evidence.records import Ablation, Cure, Response
from titrant.record import Asked, DataSummary, Evaluation, MemberRecord, Source, Summary, read_members
from titrant.texts import say

Part = TypeVar("Part")


@dataclass(frozen=True)
class Run:
    """The parts of a run folder; a part that is missing or unreadable is None (members: empty) and has an entry in `gaps`."""

    folder: Path
    summary: Summary | None = None
    members: list[MemberRecord] = field(default_factory=list)
    data: DataSummary | None = None
    evaluation: Evaluation | None = None
    recipe_yaml: str | None = None
    recipe: dict[str, Any] | None = None
    ablation: Ablation | None = None
    responses: list[Response] = field(default_factory=list)
    cure: Cure | None = None
    source: Source | None = None
    asked: Asked | None = None
    gaps: dict[str, str] = field(default_factory=dict)
    """File name to the sentence that says why its content is not here."""

    @property
    def baseline(self) -> MemberRecord | None:
        """The plain baseline, if it was tried."""
        return next((member for member in self.members if member.origin == "baseline"), None)

    @property
    def plain(self) -> dict[str, Any] | None:
        """The plain baseline's recipe: as the search tried it, else as it was trained to be judged."""
        if self.baseline is not None:
            return self.baseline.recipe
        return self.evaluation.recipe_baseline if self.evaluation else None


def read_run(folder: Path) -> Run:
    """Reads what a run has left in `folder`; an interrupted run may lack any of its files.

    Raises:
        OutputError: `folder` is no folder, or holds none of the files of a run.
    """
    if not folder.is_dir():
        raise OutputError(
            say("The run folder {folder} does not exist. Name a folder that 'titrant fit' has written.", folder=folder)
        )
    gaps: dict[str, str] = {}

    def part(name: str, read: Callable[[Path], Part]) -> Part | None:
        path = folder / name
        if not path.exists():
            gaps[name] = say("The run left no {file}: it ended before this part was written.", file=name)
            return None
        try:
            return read(path)
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            first_line = str(error).partition("\n")[0]
            gaps[name] = say("{file} cannot be read ({error}).", file=name, error=first_line)
            return None

    summary = part("summary.json", Summary.read)
    members = part("members.jsonl", read_members)
    data = part("data.json", DataSummary.read)
    evaluation = part("evaluation.json", Evaluation.read)
    recipe = part("recipe.yaml", _read_recipe)
    ablation = part("ablation.json", Ablation.read) if (folder / "ablation.json").exists() else None
    cure = part("cure.json", Cure.read) if (folder / "cure.json").exists() else None
    source = part("source.json", Source.read) if (folder / "source.json").exists() else None  # older runs have none
    asked = part("asked.json", Asked.read) if (folder / "asked.json").exists() else None
    found = [part(path.name, Response.read) for path in sorted(folder.glob("dose-*.json"))]
    responses = [response for response in found if response is not None]
    if not responses and all(found is None for found in (summary, members, data, evaluation, recipe, ablation, cure)):
        reasons = " ".join(gaps.values())
        raise OutputError(
            say(
                "The folder {folder} holds no run. {reasons} Name a folder that 'titrant fit' has written.",
                folder=folder,
                reasons=reasons,
            )
        )
    text, values = recipe or (None, None)
    return Run(folder, summary, members or [], data, evaluation, text, values, ablation, responses, cure, source, asked, gaps)


def _read_recipe(path: Path) -> tuple[str, dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    values = yaml.safe_load(text)
    if not isinstance(values, dict):
        raise ValueError(say("a mapping of slots was expected"))
    return text, _with_off(values)


def _with_off(values: dict[str, Any]) -> dict[str, Any]:
    """YAML 1.1 reads a bare `off` as false; a recipe means the kind of that name."""
    return {
        key: _with_off(value) if isinstance(value, dict) else "off" if key == "kind" and value is False else value
        for key, value in values.items()
    }
