"""The case of a run that titrant itself trained: what its curves tell about the best of its members.

A run folder holds losses and scores at evaluations, and no activations or gradients; the rules that need those stay silent.
"""

from collections.abc import Sequence
from pathlib import Path

from titrant.doctor.case import Case, Loader, Objective, Targets, Wiring, evaluations_of
from titrant.errors import OutputError
from titrant.record import DataSummary, MemberRecord, Summary, read_members
from titrant.texts import say


def case_of_run(folder: Path) -> Case:
    """The case of a run's best member.

    Args:
        folder: what `titrant fit` has written.

    Raises:
        OutputError: the folder holds no run, or none of its members was evaluated.
    """
    try:
        members = read_members(folder / "members.jsonl")
        summary, data = Summary.read(folder / "summary.json"), DataSummary.read(folder / "data.json")
    except (OSError, ValueError):
        raise OutputError(
            say("{folder} holds no finished run. Name a folder that 'titrant fit' has written, or a program.", folder=folder)
        ) from None
    case = case_of(members, summary, data)
    if case is None:
        raise OutputError(say("No member of the run in {folder} was evaluated.", folder=folder))
    return case


def case_of(members: Sequence[MemberRecord], summary: Summary, data: DataSummary) -> Case | None:
    """The case of the best of members; None if none was evaluated."""
    judged = [member for member in members if member.score_validation is not None and member.curve]
    if not judged:
        return None
    sign = 1 if summary.direction == "maximize" else -1
    return case_of_member(max(judged, key=lambda member: sign * (member.score_validation or 0.0)), summary.metric, data)


def case_of_member(member: MemberRecord, metric: str, data: DataSummary) -> Case:
    """The case of one member.

    Args:
        member: what a run has kept of it.
        metric: the name of the score.
        data: what it learned from.
    """
    trained = [point for point in member.curve if point.loss_train is not None]
    classes = dict(zip(data.classes, data.class_counts, strict=False))
    batch = member.recipe.get("batch", {}).get("size")
    return Case(
        framework="titrant",
        optimizer=str(member.recipe.get("optimizer", {}).get("kind", "")),
        loss_steps=[point.step for point in trained],
        losses=[point.loss_train for point in trained if point.loss_train is not None],
        rate_steps=[point.step for point in member.curve if point.learning_rate is not None],
        rates=[point.learning_rate for point in member.curve if point.learning_rate is not None],
        evaluations=evaluations_of(member.curve, metric),
        targets=Targets(shape=[], integer=True, rows=sum(classes.values()), whole=True, classes=classes) if classes else None,
        objective=Objective(loss="unknown" if data.task == "regression" else "cross_entropy", called=say("loss")),
        loader=Loader(rows=data.rows_train, batch=batch, shuffled=True),
        wiring=Wiring(steps=member.steps, optimizers=1),
        cut_short=member.state in {"interrupted", "stopped"},
    )
