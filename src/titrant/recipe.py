"""A recipe: one typed slot for each kind of trick, in the order they act; everything needed to train again.

A recipe is a tree of frozen values. Its YAML form mirrors it one to one:

    dropout: {kind: bernoulli, p: 0.2}
    regularize:
      decay: {kind: decay, rate: 0.01}

`Recipe()` is the plain baseline: standardised inputs, a two-layer ReLU network, Adam at its default rate, no regularisation.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from titrant.errors import RecipeError
from titrant.record import write_text
from titrant.space import flatten
from titrant.texts import say
from titrant.tricks.activation import Activation, ReLU
from titrant.tricks.augment import Augment
from titrant.tricks.average import Average
from titrant.tricks.base import Off, Trick, options
from titrant.tricks.batch import Batch, Fixed
from titrant.tricks.clip import Clip
from titrant.tricks.data import Data
from titrant.tricks.dropout import Dropout
from titrant.tricks.hardware import Hardware
from titrant.tricks.initialize import Default, Initialize
from titrant.tricks.learning_rate import LearningRate
from titrant.tricks.mix import Mix
from titrant.tricks.model import Mlp, Model
from titrant.tricks.normalize import Normalize
from titrant.tricks.optimizer import Adam, Optimizer
from titrant.tricks.regularize import Regularize
from titrant.tricks.stop import Last, Stop
from titrant.tricks.weights import Weights

_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # the same text in a quarter of the time, where libyaml is


class Recipe(BaseModel):
    """Everything that decides how a network is made and trained, apart from the data and the seed.

    Raises:
        RecipeError: from `load`, `of`, `replace`: an unknown key, a dose out of range, a wrong kind; with its path.

    Example:
        >>> recipe = Recipe().replace("dropout", "bernoulli").replace("dropout.p", 0.3)
        >>> recipe.dropout
        Bernoulli(kind='bernoulli', p=0.3)
        >>> recipe.without("dropout") == Recipe()
        True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    data: Data = Data()
    augment: Augment = Augment()
    mix: Mix = Off()
    model: Model = Mlp()
    weights: Weights = Off()
    normalize: Normalize = Off()
    activation: Activation = ReLU()
    dropout: Dropout = Off()
    initialize: Initialize = Default()
    batch: Batch = Fixed()
    optimizer: Optimizer = Adam()
    learning_rate: LearningRate = LearningRate()
    clip: Clip = Off()
    regularize: Regularize = Regularize()
    average: Average = Off()
    stop: Stop = Last()
    hardware: Hardware = Hardware()

    @classmethod
    def of(cls, values: Mapping[str, Any], source: Path | None = None) -> "Recipe":
        """Makes a recipe from nested plain values; slots that are not named keep the baseline's.

        Args:
            values: by slot, or by dotted path, as in a space: `{"dropout": "bernoulli", "dropout.p": 0.3}`.
            source: the file that they come from, for the message.

        Raises:
            RecipeError: a path is unknown or given twice, or a value lies outside its range; the message names both.

        Example:
            >>> Recipe.of({"dropout.p": 0.3, "dropout": "bernoulli"}).dropout
            Bernoulli(kind='bernoulli', p=0.3)
        """
        try:
            return cls.model_validate(_nested(values))
        except ValidationError as error:
            raise RecipeError(_explain(error, source)) from None

    @classmethod
    def load(cls, path: str | Path) -> "Recipe":
        """Reads a recipe from a YAML file."""
        return cls.of(read_yaml(Path(path)), Path(path))

    def save(self, path: str | Path) -> None:
        """Writes the recipe as YAML, whole or not at all."""
        write_text(Path(path), self.yaml())

    def plain(self) -> dict[str, Any]:
        """The recipe as nested plain values; `Recipe.of` reads them back to an equal recipe."""
        return self.model_dump(mode="json")

    def yaml(self) -> str:
        """The recipe as YAML text."""
        lines = []
        for slot, value in self.plain().items():
            text: str = yaml.dump(
                {slot: value}, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120
            )
            lines.append(text.replace("kind: 'off'", "kind: off"))
        return "".join(lines)

    def replace(self, path: str, value: Any) -> "Recipe":
        """The recipe with the value at a dotted path changed: a dose (`dropout.p`) or a whole slot (`dropout`)."""
        values = self.plain()
        *way, last = path.split(".")
        place: Any = values
        for key in way:
            place = place.get(key) if isinstance(place, dict) else None
        if not isinstance(place, dict) or last not in place:
            known = [*flatten(values), *slots()]
            raise RecipeError(
                say(
                    "A recipe has no {path!r}.{hint} `titrant recipe show` lists every path.",
                    path=path,
                    hint=near(path, known),
                )
            )
        place[last] = value
        return Recipe.of(values)

    def without(self, path: str) -> "Recipe":
        """The recipe with one slot switched off, or set back to the baseline's where nothing can stand for off."""
        kinds = slots().get(path)
        if kinds is None:
            raise RecipeError(say("{path!r} is no slot.{hint}", path=path, hint=near(path, slots())))
        if any(kind is Off for kind in kinds):
            return self.replace(path, "off")
        return self.replace(path, Recipe().at(path).model_dump())

    def at(self, path: str) -> Trick:
        """The trick that the slot at a path holds.

        Example:
            >>> Recipe().at("regularize.decay")
            Off(kind='off')
        """
        value: Any = self
        for key in path.split("."):
            value = getattr(value, key)
        assert isinstance(value, Trick)
        return value

    def tricks(self) -> Iterator[tuple[str, Trick]]:
        """Every slot's path and the trick that it holds, in the order they act."""
        for path in slots():
            yield path, self.at(path)

    def diff(self, other: "Recipe") -> dict[str, tuple[Any, Any]]:
        """Paths at which two recipes differ, as (this value, the other's); None where there is no such dose."""
        mine, theirs = flatten(self.plain()), flatten(other.plain())
        paths = list(dict.fromkeys([*mine, *theirs]))
        return {path: (mine.get(path), theirs.get(path)) for path in paths if mine.get(path) != theirs.get(path)}


def slots() -> dict[str, tuple[type[Trick], ...]]:
    """The paths of all slots that hold a trick, each with the kinds it may hold.

    Example:
        >>> [kind.name() for kind in slots()["clip"]]
        ['off', 'norm', 'value', 'adaptive']
    """
    return dict(_all_slots())


@cache
def _all_slots() -> tuple[tuple[str, tuple[type[Trick], ...]], ...]:
    return tuple(_slots(Recipe, ""))


def augmentations(kind: type[Trick]) -> list[str]:
    """The names of the augment slots that hold tricks of a family, in the order they act.

    Example:
        >>> from titrant.tricks.augment_rows import RowTrick
        >>> augmentations(RowTrick)
        ['swap', 'noise', 'mask']
    """
    return [
        path.removeprefix("augment.")
        for path, found in slots().items()
        if path.startswith("augment.") and any(issubclass(one, kind) for one in found)
    ]


def kinds() -> dict[str, list[type[Trick]]]:
    """Every slot's kinds apart from `off`."""
    return {path: [kind for kind in found if kind is not Off] for path, found in slots().items()}


def _slots(group: type[BaseModel], prefix: str) -> Iterator[tuple[str, tuple[type[Trick], ...]]]:
    for name, field in group.model_fields.items():
        union = _union(field)
        if union is not None:
            yield f"{prefix}{name}", union
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _slots(field.annotation, f"{prefix}{name}.")


def _union(field: FieldInfo) -> tuple[type[Trick], ...] | None:
    if isinstance(field.annotation, type) and issubclass(field.annotation, Trick):
        return (field.annotation,)
    members = [part for part in get_args(field.annotation) if isinstance(part, type) and issubclass(part, Trick)]
    return options(field.annotation) if members else None


class _Loader(yaml.SafeLoader):
    """The safe loader, which refuses a key that is written twice and reads 1e-3 as a number, as YAML 1.2 does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping, after a look at its keys."""
        keys = [key.value for key, _ in node.value]
        twice = [key for key in keys if isinstance(key, str) and keys.count(key) > 1]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]} is written twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML mapping with the safe loader.

    Raises:
        RecipeError: no such file, no YAML, or no mapping at its top.
    """
    try:
        values = _Loader(path.read_text(encoding="utf-8")).get_single_data()
    except FileNotFoundError:
        raise RecipeError(say("There is no file {path}. Check the path.", path=path)) from None
    except RecursionError:
        raise RecipeError(say("{path} cannot be read as YAML: it is nested too deeply.", path=path)) from None
    except (OSError, ValueError, LookupError, AttributeError, yaml.YAMLError) as error:
        raise RecipeError(
            say("{path} cannot be read as YAML: {error}", path=path, error=" ".join(str(error).split()))
        ) from None
    values = {} if values is None else values
    strange = [key for key in values if not isinstance(key, str)] if isinstance(values, dict) else []
    if strange:
        raise RecipeError(say("{path} has the key {key!r}, where the name of a slot is expected.", path=path, key=strange[0]))
    if not isinstance(values, dict):
        raise RecipeError(
            say("{path} holds {kind} where a mapping of slots is expected, such as `dropout: {{kind: bernoulli, p: 0.2}}`.",
                path=path, kind=type(values).__name__)
        )  # fmt: skip
    return values


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by slot, of those by dotted paths; the shorter paths first, because the others stand inside them."""
    found: dict[str, Any] = {}
    for path in sorted(values, key=lambda path: str(path).count(".")):
        *way, last = str(path).split(".")
        place = found
        for key in way:
            inside = place.get(key, {})
            if isinstance(inside, BaseModel):
                inside = inside.model_dump()
            elif not isinstance(inside, Mapping):
                inside = {"kind": inside}  # the short form of a slot
            place[key] = dict(inside)
            place = place[key]
        if last in place:
            raise RecipeError(say("The recipe gives {path} twice, with {value!r} among others. Give it once.",
                                  path=path, value=values[path]))  # fmt: skip
        place[last] = values[path]
    return found


def _explain(error: ValidationError, source: Path | None) -> str:
    """Pydantic's complaints, each with the path as people write it, the value, and what is expected."""
    complaints = "; ".join(_complaint(detail) for detail in error.errors())
    if source is None:
        return say("The recipe cannot be used: {complaints}", complaints=complaints)
    return say("The recipe in {file} cannot be used: {complaints}", file=source, complaints=complaints)


def _complaint(detail: ErrorDetails) -> str:
    keys = [str(key) for key in detail["loc"]]
    group: type[BaseModel] = Recipe
    path: list[str] = []
    known: list[str] = list(Recipe.model_fields)
    for key in keys:
        if key in group.model_fields:
            path.append(key)
            field = group.model_fields[key]
            union = _union(field)
            if union is not None:
                by_name = {kind.name(): kind for kind in union}
                tag = keys[keys.index(key) + 1] if keys.index(key) + 1 < len(keys) else ""
                group = by_name.get(tag, group)
            elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                group = field.annotation
            known = [name for name in group.model_fields if name != "kind"]
        elif detail["type"] == "extra_forbidden" and key == keys[-1]:
            path.append(key)
    where = ".".join(path)
    if detail["type"] == "extra_forbidden":
        return say(
            "{path} is unknown.{hint} Known here: {known}", path=where, hint=near(path[-1], known), known=", ".join(known)
        )
    if detail["type"] in {"dose_range", "trick_form", "trick_kind"}:
        return f"{where}: {detail['msg']}"
    return say("{path} = {value!r}: {problem}", path=where, value=detail["input"], problem=detail["msg"])


def near(word: str, known: Iterable[str]) -> str:
    """A hint at the known word that is nearest to a misspelt one, with a space before it; nothing if none is near.

    Example:
        >>> near("dropot", slots())
        ' Did you mean dropout?'
    """
    found = get_close_matches(word, list(known), n=1)
    return " " + say("Did you mean {near}?", near=found[0]) if found else ""
