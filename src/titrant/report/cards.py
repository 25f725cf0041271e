"""Cards: what a trick is, from its own declaration, and what it did in a run, from the run's records."""

import inspect
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from titrant.doctor.table import TABLE, described, lookup
from titrant.errors import TitrantError
from titrant.recipe import slots
from titrant.record import Receipt
from titrant.report.evidence import interval, response_headline, signed, verdict_words
from titrant.report.run import Run, read_run
from titrant.report.words import dose, metric_name
from titrant.space import Range, doses
from titrant.texts import say
from titrant.tricks.base import Off, Trick
from titrant.tricks.learning_rate import LearningRate

_LEFT_OUT = ("Example:", "Shape:")  # for readers of the code


def card(name: str) -> str:
    """The card of a slot, a kind, a dose, or a rule of the doctor.

    Args:
        name: `dropout`, `bernoulli`, `dropout.bernoulli`, `dropout.p`, `vanishing_gradient`, ...

    Raises:
        TitrantError: there is nothing of this name; the message names what is near.

    Example:
        >>> print(card("clip.norm").splitlines()[0])
        clip.norm: Shortens a member's whole gradient to a given length where it is longer, and keeps its direction.
    """
    found = list(_kinds(name))
    if found:
        return "\n\n\n".join(_card(path, kind) for path, kind in found)
    if name.partition(".")[0] == "learning_rate":
        return _card("learning_rate", LearningRate)
    try:
        return "\n\n".join(described(rule) for rule in lookup(name))
    except TitrantError:
        near = get_close_matches(name, _names(), n=1)
        if not near:
            raise
        raise TitrantError(
            say("There is no trick, dose or rule {name!r}. Did you mean {near}? `titrant explain` lists them all.",
                name=name, near=near[0])
        ) from None  # fmt: skip


def listing() -> str:
    """All names that have a card, each with its first sentence."""
    tricks = [
        (f"{path}.{kind.name()}", _sentence(kind)) for path, kinds in slots().items() for kind in kinds if kind is not Off
    ]
    rules = [(entry.name, entry.symptom) for entry in TABLE.values()]
    lines = [say("Tricks"), *_columns(tricks), "", say("Rules of the doctor"), *_columns(rules)]
    return "\n".join(lines)


def in_run(name: str, folder: Path) -> str:
    """What a trick did in a run: how the recipe has it, its receipt, and what studies found.

    Raises:
        OutputError: there is no run in the folder.
        TitrantError: there is no trick of this name.
    """
    paths = sorted({path for path, _ in _kinds(name)}) or ["learning_rate"] * (name.partition(".")[0] == "learning_rate")
    if not paths:
        raise TitrantError(say("{name} is no trick: nothing can be said of it in a run.", name=name))
    run = read_run(folder)
    return "\n".join(line for path in paths for line in _told(path, run))


def _told(path: str, run: Run) -> Iterator[str]:
    value: Any = run.recipe or {}
    for key in path.split("."):
        value = value.get(key, {}) if isinstance(value, dict) else {}
    setting = ", ".join(f"{key} {dose(one)}" for key, one in value.items() if not isinstance(one, dict)) or say(
        "as in the baseline"
    )
    yield say("In {folder}", folder=run.folder)
    yield say("  recipe    {path}: {setting}", path=path, setting=setting)
    receipts = run.summary.receipts if run.summary else []
    yield from (_receipt(receipt) for receipt in receipts if receipt.trick == path)
    study = run.ablation
    effect = next((one for one in study.effects if one.trick == path), None) if study is not None else None
    if study is not None and effect is not None:
        yield say(
            "  worth     {gain} ({interval}) in {metric} over {instead}, at equal time: {verdict}; a step takes {time:.2f} "
            "times as long",
            gain=signed(effect.without.mean), interval=interval(effect.without), metric=metric_name(study.metric),
            instead=effect.instead, verdict=verdict_words(effect.verdict), time=effect.time,
        )  # fmt: skip
    elif path in slots():
        yield say("  worth     not measured: titrant ablate {folder} --tricks {path}", folder=run.folder, path=path)
    yield from (
        say("  response  {found}", found=response_headline(response))
        for response in run.responses
        if f"{response.dose}.".startswith(f"{path}.")
    )


def _receipt(receipt: Receipt) -> str:
    return say(
        "  receipt   acted on {acted:,.0f} of {seen:,.0f} {unit}", acted=receipt.acted, seen=receipt.seen, unit=receipt.unit
    )


def _kinds(name: str) -> Iterator[tuple[str, type[Trick]]]:
    """Slots and kinds that a name stands for."""
    for path, kinds in slots().items():
        named = [kind for kind in kinds if kind is not Off]
        if name == path or path.startswith(f"{name}."):
            yield from ((path, kind) for kind in named)
            continue
        for kind in named:
            ways = {kind.name(), f"{path}.{kind.name()}", *(f"{path}.{one.name}" for one in doses(kind))}
            ways |= {f"{path}.{kind.name()}.{one.name}" for one in doses(kind)}
            if name in ways:
                yield path, kind


def _card(path: str, kind: Any) -> str:
    """A trick's docstring without what is for readers of the code, and the ranges of its doses."""
    text = inspect.getdoc(kind) or ""
    parts = [part for part in text.split("\n\n") if not part.startswith(_LEFT_OUT) and not part.lstrip().startswith(">>>")]
    title = path if kind is LearningRate else f"{path}.{kind.name()}"
    ranges = []
    for one in doses(kind):
        if isinstance(one.mark, Range):
            search = one.mark.search or (one.mark.low, one.mark.high)
            searched = say("searched {low:g} to {high:g}", low=search[0], high=search[1])
            ranges.append(f"{one.name:<12} {one.mark}; {searched}; {say('by itself {value}', value=dose(one.default))}")
        else:
            ranges.append(
                f"{one.name:<12} {', '.join(map(dose, one.mark))}; {say('by itself {value}', value=dose(one.default))}"
            )
    if ranges:
        parts.append("\n".join([say("Ranges:"), *(f"    {line}" for line in ranges)]))
    return f"{title}: " + "\n\n".join(parts)


def _sentence(kind: type[Trick]) -> str:
    return (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " ")


def _names() -> list[str]:
    found = [*slots(), *TABLE]
    for path, kinds in slots().items():
        found += [f"{path}.{kind.name()}" for kind in kinds if kind is not Off]
        found += [f"{path}.{one.name}" for kind in kinds for one in doses(kind)]
        found += [kind.name() for kind in kinds if kind is not Off]
    return found


def _columns(rows: list[tuple[str, str]]) -> list[str]:
    width = max(len(name) for name, _ in rows)
    return [f"  {name:<{width}}  {words}" for name, words in rows]
