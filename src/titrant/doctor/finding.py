"""A finding: what the doctor saw, how it knows, and what to do about it."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from titrant.record import Record
from titrant.texts import say

Level = Literal["problem", "warning", "note"]
LEVELS: tuple[Level, ...] = ("problem", "warning", "note")


class Finding(Record):
    """One symptom with its evidence and its remedy.

    A problem spoils the run; a warning may, or costs something; a note is worth knowing.
    """

    rule: str
    level: Level
    where: str = Field(description="layer, parameter, input, loss, ... as the program names it")
    evidence: str = Field(description="what was measured, in one sentence")
    threshold: str = Field(description="the bound that was crossed, in words")
    source: str = Field(description="where the bound comes from")
    cause: str
    remedy: str
    code: str = Field(default="", description="lines to paste, where the remedy is a change of code")
    change: dict[str, Any] = Field(
        default={}, description="the remedy as a change of recipe: path to value, or to what it is multiplied by"
    )
    otherwise: dict[str, Any] = Field(
        default={}, description="another such change, where the first may not be what the recipe lacks"
    )


class Findings(list[Finding]):
    """Findings, the gravest first; printed, they read as text."""

    def __str__(self) -> str:
        return text(self)


def text(findings: Sequence[Finding]) -> str:
    """The findings for a terminal or a log, the gravest first."""
    if not findings:
        return say("No findings: nothing that was observed in this run looks sick.")
    return "\n\n".join(_paragraph(number, finding) for number, finding in enumerate(findings, 1))


def _paragraph(number: int, finding: Finding) -> str:
    rows = [
        (say("where"), finding.where),
        (say("evidence"), finding.evidence),
        (say("threshold"), f"{finding.threshold} ({finding.source})"),
        (say("cause"), finding.cause),
        (say("remedy"), finding.remedy),
    ]
    lines = [f"{number}. {finding.level.upper()}  {finding.rule}", *(f"   {name:<10} {value}" for name, value in rows if value)]
    lines += [f"   {'':<10} | {line}" for line in finding.code.splitlines()]
    return "\n".join(lines)
