"""What the doctor makes of recipes that were tried: which are sick, and what to try in their place."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from titrant.doctor.finding import Finding
from titrant.doctor.rules import diagnose
from titrant.doctor.runs import case_of_member
from titrant.errors import RecipeError
from titrant.recipe import Recipe
from titrant.record import DataSummary, MemberRecord
from titrant.search.doses import doses_at, mark_of, within
from titrant.search.region import check_suits

_STRENGTHS = 3  # of a remedy that multiplies one of these doses: once, twice and three times over
_GRADED = {"learning_rate.peak", "dropout"}
_KEEP = "keep *"
_NOT_HERE = ("stop.",)  # the search itself decides how long trainings are


@dataclass
class Clinic:
    """The doctor's part in a search: by their curves, since a stack of networks is not looked into.

    Args:
        metric: the name of the score.
        data: what is learned from.
        reads: the kind of data.
    """

    metric: str
    data: DataSummary
    reads: str
    _prescribed: set[Recipe] = field(default_factory=set)

    def findings(self, record: MemberRecord) -> list[Finding]:
        """What the rules find in a member's training."""
        return diagnose(case_of_member(record, self.metric, self.data))

    def is_sick(self, record: MemberRecord) -> bool:
        """Whether a member has a problem that more training will not mend."""
        return any(found.level == "problem" for found in self.findings(record))

    def successors(self, records: Sequence[MemberRecord], most: int) -> Iterator[Recipe]:
        """Recipes with the remedies that the doctor has for what was tried, each once.

        Args:
            records: of members, those first whose successors matter most.
            most: how many successors.
        """
        count = 0
        for record in records:
            recipe = Recipe.of(record.recipe)
            for found in self.findings(record):
                if count == most:
                    return
                if found.level == "note":
                    continue
                change = {path: value for path, value in found.change.items() if not path.startswith(_NOT_HERE)}
                mended = next(remedied(recipe, change, self.reads), None)
                if mended is not None and mended not in self._prescribed:
                    self._prescribed.add(mended)
                    count += 1
                    yield mended


def remedies(recipe: Recipe, found: Finding, reads: str) -> list[Recipe]:
    """A recipe with what may mend a finding, in each strength, the likeliest first.

    Args:
        recipe: the patient.
        found: its finding.
        reads: the kind of data.
    """
    ways = [*remedied(recipe, found.change, reads), *remedied(recipe, found.otherwise, reads)]
    return list(dict.fromkeys(ways))


def remedied(recipe: Recipe, change: dict[str, Any], reads: str) -> Iterator[Recipe]:
    """A recipe with a remedy, in each of its strengths; parts that do not suit the data are left out.

    Args:
        recipe: the patient.
        change: path of a slot or a dose to its new value, or to a factor such as `"* 0.1"`; of dropout to a factor of the share
            of units that it keeps, such as `"keep * 0.7"`, so that a dose that is high already is raised, too.
        reads: the kind of data.

    Example:
        >>> [round(one.learning_rate.peak, 7) for one in remedied(Recipe(), {"learning_rate.peak": "* 0.1"}, "table")]
        [0.0001, 1e-05, 1e-06]
        >>> [one.dropout.p for one in remedied(Recipe(), {"dropout": "keep * 0.7"}, "table")]
        [0.3, 0.51, 0.657]
        >>> [one.activation.kind for one in remedied(Recipe(), {"activation": {"kind": "relu"}}, "table")]
        []
    """
    seen = {recipe}
    for strength in range(1, 2 if _GRADED.isdisjoint(change) else _STRENGTHS + 1):
        mended = recipe
        for path, value in change.items():
            try:
                mended = _changed(mended, path, value, strength, reads)
            except RecipeError:
                continue
        if mended not in seen:
            seen.add(mended)
            yield mended


def _changed(recipe: Recipe, path: str, value: Any, strength: int, reads: str) -> Recipe:
    if isinstance(value, str) and value.startswith(_KEEP):
        if recipe.at(path).is_off:
            recipe = recipe.replace(path, {"kind": "bernoulli", "p": 0.0})
        kept = (1 - doses_at(recipe, [f"{path}.p"]).get(f"{path}.p", 0.0)) * float(value.removeprefix(_KEEP)) ** strength
        return recipe.replace(f"{path}.p", within(mark_of(recipe, f"{path}.p"), float(f"{1 - kept:.6g}")))
    if isinstance(value, str):
        wanted = doses_at(recipe, [path])[path] * float(value.removeprefix("*")) ** strength
        return recipe.replace(path, within(mark_of(recipe, path), float(f"{wanted:.6g}")))
    mended = recipe.replace(path, value)
    if isinstance(value, dict):
        check_suits(path, type(mended.at(path)), reads)
    return mended
