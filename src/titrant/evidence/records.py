"""What a study of evidence leaves behind: plain values without torch, written as JSON and read by the report."""

from typing import Any

from pydantic import Field

from titrant.doctor.finding import Finding
from titrant.doctor.finding import Level as Gravity
from titrant.evidence.statistics import Verdict
from titrant.record import Direction, Point, Receipt, Record, Task


class Difference(Record):
    """A gain in score, positive where better, whichever way the metric runs."""

    mean: float
    low: float | None = Field(description="of the 95 % interval; None where too few replicates tell nothing")
    high: float | None
    p: float = Field(description="chance of so large a difference if there were none")
    count: int = Field(description="paired replicates")


class Cost(Record):
    """What a step of one arm costs, for one member of a stack."""

    seconds: float
    memory: int = Field(description="bytes: learned numbers, the optimizer's state, and what a step keeps for its gradient")


class ArmRecord(Record):
    """One arm of a study."""

    name: str
    recipe: dict[str, object] = Field(description="with what was tuned again")
    tuned: dict[str, float] = Field(description="doses that were tuned again, by path")
    score: float | None = Field(description="mean over the replicates, on judging rows")
    low: float | None
    high: float | None
    count: int
    cost: Cost
    diverged: int = Field(description="trainings that left no usable network")
    receipts: list[Receipt]
    curve: list[Point] = Field(default=[], description="means over the replicates, at the evaluations that all of them had")


class Effect(Record):
    """What one trick was worth."""

    trick: str = Field(description="the slot's path")
    kind: str = Field(description="as the recipe has it")
    instead: str = Field(description="what stands in its place where it is left out")
    without: Difference = Field(description="the recipe over the recipe without the trick, in equal time")
    without_epochs: Difference = Field(description="the same at equal epochs")
    added: Difference | None = Field(description="the plain baseline with the trick over the baseline, in equal time")
    added_epochs: Difference | None
    adjusted: float = Field(description="p of `without`, adjusted for all tricks (Holm)")
    verdict: Verdict
    verdict_added: Verdict | None
    time: float = Field(description="seconds of a step with the trick for one without")
    memory: float = Field(description="the same of memory")
    acted: float | None = Field(description="share of its units that the trick acted on; None where there were none")


class Share(Record):
    """What a group of tricks contributes of the recipe's gain over itself without any of its tricks: its Shapley value."""

    group: str
    tricks: list[str]
    value: Difference


class Pair(Record):
    """How far two tricks are worth more together than each by itself adds up to."""

    first: str
    second: str
    value: Difference


class Studied(Record):
    """What every study says of itself."""

    title: str = ""
    metric: str
    direction: Direction
    nuisances: list[str] = Field(description="paths of the doses that were tuned again in every arm")
    candidates: int = Field(description="settings of these doses that were tried for each arm")
    replicates: int = Field(description="of each arm, planned")
    length: float = Field(description="share of the recipe's epochs that arms were trained for")
    rows_trained: int
    rows_judged: int
    judged: str = Field(description="which rows judge, in words")
    shared: bool = Field(description="all replicates share the judging rows")
    trainings: int
    seconds_total: float
    budget_seconds: float
    interrupted: bool
    warnings: list[str]
    versions: dict[str, str] = Field(default={})
    machine: dict[str, str | int | float] = Field(default={})
    seed: int


class Ablation(Studied):
    """What each trick of a recipe was worth."""

    task: Task
    recipe: dict[str, object]
    looks: list[int] = Field(description="replicates after which the study looked at its results")
    smallest: float = Field(description="the smallest difference that matters")
    effects: list[Effect]
    arms: list[ArmRecord]
    shares: list[Share] = Field(default=[])
    pairs: list[Pair] = Field(default=[])


class Level(Record):
    """One level of a dose."""

    value: float | str
    off: bool
    here: bool = Field(description="the level of the recipe")
    score: float | None
    gain: Difference = Field(description="over the reference level")
    tuned: dict[str, float]


class Response(Studied):
    """The curve of one dose."""

    dose: str
    unit: str
    log: bool
    reference: float | str
    levels: list[Level]
    best: float | str = Field(description="the level whose mean is best")
    certain: bool = Field(description="it beats the reference: p at most 5 % after Holm's adjustment for all levels")


class Remedy(Record):
    """A remedy that was tried."""

    rule: str = Field(description="of the finding that it mends")
    level: Gravity
    where: str
    evidence: str
    change: dict[str, Any] = Field(description="path to value, in the strength that scored best")
    gain: Difference = Field(
        description="in the metric on tuning rows; p is that of the metric or the loss, by rank, whichever tells more, doubled"
    )
    allowed: float = Field(description="the largest p at which it is kept")
    kept: bool


class Cure(Studied):
    """What ailed a recipe, what mended it, and the proof."""

    task: Task
    recipe: dict[str, object] = Field(description="as it was")
    cured: dict[str, object] = Field(description="with all remedies that were kept")
    before: list[Finding] = Field(description="of the recipe as it was")
    after: list[Finding] = Field(description="of the cured recipe")
    remedies: list[Remedy]
    score_before: float | None = Field(description="mean over fresh replicates, on judging rows")
    score_after: float | None
    gain: Difference | None = Field(description="of the cured recipe, on judging rows; None where nothing was kept")
