"""Recipes: they survive every form they are written in, take the short forms, and refuse the rest with place and remedy."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from titrant.errors import RecipeError
from titrant.recipe import Recipe, kinds, read_yaml, slots
from titrant.space import Dose, Range, doses, flatten
from titrant.tricks.activation import ReLU, Tanh
from titrant.tricks.base import Off, Trick
from titrant.tricks.dropout import Alpha, Bernoulli
from titrant.tricks.hardware import Hardware
from titrant.tricks.learning_rate import LearningRate
from titrant.tricks.regularize import Decay

fresh_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


NAMES = st.text(st.characters(exclude_categories=["C", "Z"]))  # of a factory, in any script

# ------------------------------------------------------- any recipe there is


def any_value(dose: Dose) -> st.SearchStrategy[Any]:
    """From the whole range, its ends and its off value among them."""
    if isinstance(dose.mark, tuple):
        return st.sampled_from(dose.mark)
    number = int if dose.integer else float
    low, high = number(dose.mark.low), number(dose.mark.high)
    inside = st.integers(int(low), int(high)) if dose.integer else st.floats(low, high)
    return inside | st.sampled_from([low, high] if dose.mark.off is None else [low, high, number(dose.mark.off)])


def any_values(group: type[BaseModel]) -> dict[str, st.SearchStrategy[Any]]:
    return {dose.name: any_value(dose) for dose in doses(group)}


def any_trick(kind: type[Trick]) -> st.SearchStrategy[dict[str, Any]]:
    own = st.dictionaries(st.sampled_from(["width", "heads"]), st.integers(1, 9) | st.booleans() | st.just("wide"), max_size=2)
    reached = st.lists(st.sampled_from(["activation", "dropout"]), unique=True)
    others = {"factory": NAMES, "doses": own, "surgery": reached} if "factory" in kind.model_fields else {}
    return st.fixed_dictionaries({"kind": st.just(kind.name()), **any_values(kind), **others})


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *way, last = path.split(".")
        place = tree
        for key in way:
            place = place.setdefault(key, {})
        place[last] = value
    return tree


plain_recipes = st.fixed_dictionaries(
    {path: st.one_of([any_trick(kind) for kind in found]) for path, found in slots().items()}
    | {f"learning_rate.{name}": values for name, values in any_values(LearningRate).items()}
    | {f"hardware.{name}": values for name, values in any_values(Hardware).items()}
    | {"hardware.device": st.sampled_from(["auto", "cpu", "cuda:1"])}
).map(nested)
recipes = plain_recipes.map(Recipe.of)


def refusal(make: Callable[[], object]) -> str:
    with pytest.raises(RecipeError) as caught:
        make()
    return str(caught.value)


# -------------------------------------------------------------- round trips


@fresh_folder
@given(plain_recipes)
def test_a_recipe_survives_every_form_it_is_written_in(tmp_path: Path, tree: dict[str, Any]) -> None:
    recipe = Recipe.of(tree)
    assert recipe.plain() == tree
    assert Recipe.of(json.loads(json.dumps(recipe.plain()))) == recipe
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert Recipe.of(yaml.safe_load(recipe.yaml())) == recipe
    recipe.save(tmp_path / "recipe.yaml")
    assert Recipe.load(tmp_path / "recipe.yaml") == recipe
    assert hash(Recipe.of(tree)) == hash(recipe)


def test_yaml_names_every_slot_in_the_order_they_act_and_writes_off_bare() -> None:
    text = Recipe().yaml()
    assert list(yaml.safe_load(text)) == list(Recipe.model_fields)
    assert "dropout: {kind: off}\n" in text
    assert "'" not in text


def test_an_empty_file_is_the_plain_baseline(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("# nothing yet\n")
    assert Recipe.load(tmp_path / "recipe.yaml") == Recipe() == Recipe.of({})


def test_the_plain_baseline_leaves_out_what_can_be_left_out() -> None:
    needed = {"data.scale", "activation"}
    assert {path for path, trick in Recipe().tricks() if trick.is_off} == {
        path for path, found in slots().items() if Off in found and path not in needed
    }


# -------------------------------------------------------------- short forms


@pytest.mark.parametrize(
    ("text", "trick"),
    [
        ("dropout: off", Off()),
        ("dropout: false", Off()),
        ("dropout: no", Off()),
        ("dropout: none", Off()),
        ("dropout: null", Off()),
        ("dropout: ~", Off()),
        ("dropout:", Off()),
        ("dropout: {kind: off}", Off()),
        ("dropout: {kind: 'off'}", Off()),
        ("dropout: bernoulli", Bernoulli()),
        ("dropout: {kind: bernoulli}", Bernoulli()),
        ("dropout: {kind: alpha, p: 0.25}", Alpha(p=0.25)),
        ("dropout: {kind: alpha, p: 25.0e-2}", Alpha(p=0.25)),
        ("dropout: {kind: alpha, p: 25e-2}", Alpha(p=0.25)),
        ("dropout: {kind: bernoulli, p: 0}", Bernoulli(p=0.0)),
    ],
)
def test_short_forms_in_a_file(tmp_path: Path, text: str, trick: Trick) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    assert Recipe.load(tmp_path / "recipe.yaml") == Recipe(dropout=trick)


def test_a_slot_with_one_kind_takes_its_doses_alone() -> None:
    assert Recipe.of({"regularize": {"decay": {"rate": 0.1}}}).regularize.decay == Decay(rate=0.1)
    assert Recipe.of({"regularize": {"decay": {}}}).regularize.decay == Decay()
    assert Recipe.of({"regularize": {"decay": "decay"}}).regularize.decay == Decay()


def test_tricks_are_taken_as_values() -> None:
    assert Recipe.of({"dropout": Bernoulli(p=0.3)}) == Recipe(dropout=Bernoulli(p=0.3))
    assert Recipe().replace("dropout", Bernoulli(p=0.3)).dropout == Bernoulli(p=0.3)


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"dropot": "off"}, ["dropot is unknown", "Did you mean dropout?", "Known here: data, augment"]),
        ({"zzz": 1}, ["zzz is unknown. Known here"]),
        ({"regularize": {"decy": {}}}, ["regularize.decy is unknown", "Did you mean decay?", "l1, l2, decay"]),
        ({"model": {"kind": "mlp", "dept": 3}}, ["model.dept is unknown", "Did you mean depth?", "Known here: width, depth"]),
        ({"hardware": {"thread": 1}}, ["hardware.thread is unknown", "Did you mean threads?"]),
        ({"dropout": {"kind": "bernoulli", "p": 0.95}}, ["dropout.p", "0.95 is outside 0 to 0.9"]),
        ({"regularize": {"decay": {"rate": 5}}}, ["regularize.decay.rate", "5.0 is outside 1e-06 to 1, or 0 (off)"]),
        ({"learning_rate": {"peak": -0.1}}, ["learning_rate.peak", "-0.1 is outside 1e-06 to 10"]),
        ({"normalize": {"kind": "batch", "epsilon": 1}}, ["normalize.epsilon", "1.0 is outside 1e-08 to 0.1"]),
        ({"stop": {"kind": "last", "epochs": float("inf")}}, ["stop.epochs", "inf is outside 0.01 to 10000"]),
        ({"dropout": {"kind": "bernoulli", "p": float("nan")}}, ["dropout.p", "nan is outside 0 to 0.9"]),
        ({"hardware": {"threads": -1}}, ["hardware.threads", "-1 is outside 0 to 1024"]),
        ({"dropout": "bernouli"}, ["dropout", "bernouli is not a kind", "off, bernoulli, alpha", "did you mean bernoulli?"]),
        ({"data": {"scale": {"kind": "quantil"}}}, ["data.scale", "did you mean quantile?"]),
        ({"optimizer": "off"}, ["optimizer", "off is not a kind", "sgd, nesterov"]),
        ({"batch": {"size": 64}}, ["batch", "says no kind", "fixed, growing"]),
        ({"dropout": 0.2}, ["dropout", "0.2 is neither a kind nor a mapping", "off, bernoulli, alpha"]),
        ({"dropout": ["bernoulli"]}, ["dropout", "neither a kind nor a mapping"]),
        ({"dropout": {"kind": "bernoulli", "p": "much"}}, ["dropout.p", "'much'", "number"]),
        ({"dropout": {"kind": "bernoulli", "p": [0.1]}}, ["dropout.p", "[0.1]", "number"]),
        ({"batch": {"kind": "fixed", "size": 32.5}}, ["batch.size", "32.5", "integer"]),
        ({"hardware": {"precision": "fp64"}}, ["hardware.precision", "'fp64'", "'auto', 'fp32', 'bf16' or 'fp16'"]),
        ({"regularize": 3}, ["regularize", "3", "dictionary"]),
        ({"augment": None}, ["augment", "None", "dictionary"]),
        ({"learning_rate": 0.01}, ["learning_rate", "0.01", "dictionary"]),
        ({"dropout": {1: 2, "kind": "bernoulli"}}, ["dropout", "1"]),
        ({"dropout": {"kind": "bernoulli", "p": 0.3}, "dropout.p": 0.2}, ["dropout.p", "twice", "0.2"]),
        ({"data.feature": "hydra"}, ["data.feature is unknown", "Did you mean features?"]),
        ({"model": "mlp", "model.width.least": 3}, ["model.width", "3"]),
        ({"learning_rate.peak": 99}, ["learning_rate.peak", "99"]),
    ],
)
def test_what_no_recipe_has_is_refused_with_path_and_remedy(values: dict[str, Any], words: list[str]) -> None:
    message = refusal(lambda: Recipe.of(values))
    for word in words:
        assert word in message
    assert "pydantic" not in message
    assert "\n" not in message


def test_dotted_paths_stand_for_nested_values() -> None:
    dotted = {"dropout.p": 0.3, "dropout": "bernoulli", "regularize.decay": Decay(rate=0.01), "regularize.decay.rate": 0.02}
    with pytest.raises(RecipeError, match=r"regularize\.decay\.rate twice"):
        Recipe.of(dotted)
    del dotted["regularize.decay.rate"]
    nested = {"dropout": {"kind": "bernoulli", "p": 0.3}, "regularize": {"decay": {"kind": "decay", "rate": 0.01}}}
    assert Recipe.of(dotted) == Recipe.of(nested)
    assert Recipe.of(flatten(Recipe.of(nested).plain())) == Recipe.of(nested)


@pytest.mark.parametrize("path", ["learning_rate.peak", "dropout.p", "model.depth", "regularize.decay.rate"])
def test_true_and_false_are_no_numbers(path: str) -> None:
    recipe = Recipe().replace("dropout", "bernoulli").replace("regularize.decay", "decay")
    for value in (True, False):
        assert path in refusal(lambda value=value: recipe.replace(path, value))


def test_every_complaint_is_listed() -> None:
    message = refusal(lambda: Recipe.of({"dropot": 1, "clip": "nrm", "learning_rate": {"peak": 99}}))
    assert all(word in message for word in ("dropot", "did you mean norm?", "learning_rate.peak"))


plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["off", "bernoulli", "mlp"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kind", "p", "rate", "scale", "peak"]) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*Recipe.model_fields, "x"]), plain_values, min_size=1, max_size=4))
def test_any_plain_values_are_a_recipe_or_a_clear_error(values: dict[str, Any]) -> None:
    try:
        recipe = Recipe.of(values)
    except RecipeError:
        return
    assert Recipe.of(recipe.plain()) == recipe


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("- dropout\n- clip\n", ["list", "mapping of slots"]),
        ("dropout", ["str", "mapping of slots"]),
        ("3", ["int", "mapping of slots"]),
        ("1: 2", ["slot"]),
        ("dropout: [", ["cannot be read as YAML", "line 1"]),
        ("dropout: {kind: bernoulli\nclip: off", ["cannot be read as YAML", "line 2"]),
        ("\tdropout: off", ["cannot be read as YAML"]),
        (b"dropout: \xff", ["cannot be read as YAML", "utf-8"]),
        (b"\x00\x01", ["cannot be read as YAML"]),
        ("? [a]\n: b", ["cannot be read as YAML"]),
        ("dropout: 2024-99-99", ["cannot be read as YAML", "month"]),
        ("dropout: 0x_", ["cannot be read as YAML"]),
        ("dropout: !!float z", ["cannot be read as YAML"]),
        ("dropout: !!bool z", ["cannot be read as YAML"]),
        ("dropout: !!timestamp z", ["cannot be read as YAML"]),
        pytest.param("[" * 3000, ["cannot be read as YAML"], id="deep"),
    ],
)
def test_files_that_hold_no_recipe_are_refused_with_their_place(tmp_path: Path, content: str | bytes, words: list[str]) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    message = refusal(lambda: Recipe.load(path))
    for word in [str(path), *words]:
        assert word in message


def test_a_slot_that_is_written_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("dropout: bernoulli\nclip: off\ndropout: alpha\n")
    assert "dropout" in refusal(lambda: Recipe.load(path))


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    message = refusal(lambda: Recipe.load(tmp_path / "nowhere.yaml"))
    assert f"no file {tmp_path / 'nowhere.yaml'}" in message
    assert str(tmp_path) in refusal(lambda: Recipe.load(tmp_path))
    refusal(lambda: Recipe.load("no\0where.yaml"))


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:pathlib.Path.touch [{target!r}]",
        "dropout: !!python/object/apply:os.system ['touch {target}']",
        "dropout: !!python/object/new:subprocess.Popen [[touch, {target!r}]]",
        "dropout: !!python/name:os.system",
        "dropout: !!python/module:antigravity",
    ],
)
def test_tags_that_would_run_code_are_refused(tmp_path: Path, text: str) -> None:
    path, target = tmp_path / "recipe.yaml", tmp_path / "touched"
    path.write_text(text.format(target=str(target)))
    assert "cannot be read as YAML" in refusal(lambda: Recipe.load(path))
    assert not target.exists()


@fresh_folder
@given(st.text(st.sampled_from("dropout: {}[]&*!|>-?'\"#%@\n\t0xe.1~"), max_size=25).map(str.encode) | st.binary(max_size=25))
@example(b"dropout: &a {p: *a}")
@example(b"dropout: &a [*a]")
def test_any_file_is_a_recipe_or_a_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with suppress(RecipeError):
        recipe = Recipe.load(path)
        assert Recipe.of(recipe.plain()) == recipe


def test_a_rate_may_be_written_without_a_point(tmp_path: Path) -> None:
    """YAML 1.1 would read 1e-3 as text, YAML 1.2 and everybody else as a number."""
    path = tmp_path / "space.yaml"
    path.write_text("learning_rate.peak: {low: 1e-4, high: 1E-2}\ndropout.p: [1e-1, 2.5e-1, -1e+0]\n")
    assert read_yaml(path) == {"learning_rate.peak": {"low": 1e-4, "high": 1e-2}, "dropout.p": [0.1, 0.25, -1.0]}


# ----------------------------------------------------- changing and comparing


def test_recipes_are_frozen() -> None:
    recipe = Recipe()
    with pytest.raises(ValidationError, match="frozen"):
        recipe.dropout = Bernoulli()
    with pytest.raises(ValidationError, match="frozen"):
        recipe.regularize.decay = Decay()
    changed = recipe.replace("dropout", "bernoulli").replace("regularize.decay", "decay")
    assert recipe == Recipe() != changed


def test_replace_changes_a_dose_a_slot_or_a_group() -> None:
    recipe = Recipe().replace("dropout", {"kind": "alpha", "p": 0.1}).replace("dropout.p", 0.4)
    assert recipe.dropout == Alpha(p=0.4)
    assert recipe.replace("dropout.kind", "bernoulli").dropout == Bernoulli(p=0.4)
    assert recipe.replace("hardware.threads", 3).hardware == Hardware(threads=3)
    assert recipe.replace("regularize", {"decay": {"rate": 0.1}}).regularize.decay == Decay(rate=0.1)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("dropot", "off", ["'dropot'", "Did you mean dropout?", "titrant recipe show"]),
        ("model.widht", 3, ["'model.widht'", "Did you mean model.width?"]),
        ("dropout.p", 0.1, ["'dropout.p'"]),
        ("dropout.kind.p", 0.1, ["'dropout.kind.p'"]),
        ("", 0.1, ["''"]),
        ("model..width", 3, ["'model..width'"]),
        ("model.width", 0, ["model.width", "0 is outside 1 to 4096"]),
        ("model", "mpl", ["model", "did you mean mlp?"]),
    ],
)
def test_replace_refuses_unknown_paths_and_values(path: str, value: object, words: list[str]) -> None:
    message = refusal(lambda: Recipe().replace(path, value))
    for word in words:
        assert word in message


@given(recipes, st.sampled_from(sorted(slots())))
def test_without_switches_one_slot_off_and_touches_nothing_else(recipe: Recipe, path: str) -> None:
    less = recipe.without(path)
    assert less.at(path) == (Off() if Off in slots()[path] else Recipe().at(path))
    assert less.at(path).is_off or Off not in slots()[path]
    assert all(changed.startswith(f"{path}.") for changed in recipe.diff(less))
    assert less.without(path) == less


def test_without_needs_a_slot() -> None:
    assert "'dropot' is no slot. Did you mean dropout?" in refusal(lambda: Recipe().without("dropot"))
    assert "'regularize' is no slot" in refusal(lambda: Recipe().without("regularize"))
    assert "'model.width' is no slot" in refusal(lambda: Recipe().without("model.width"))


def test_diff_names_doses_with_both_values() -> None:
    one = Recipe().replace("model.width", 64)
    other = Recipe().replace("dropout", {"kind": "alpha", "p": 0.1})
    assert one.diff(other) == {
        "model.width": (64, 128),
        "dropout.kind": ("off", "alpha"),
        "dropout.p": (None, 0.1),
    }


@given(recipes, recipes)
def test_diff_is_all_that_it_takes_to_make_one_recipe_the_other(one: Recipe, other: Recipe) -> None:
    changes = one.diff(other)
    assert other.diff(one) == {path: (theirs, mine) for path, (mine, theirs) in changes.items()}
    assert (changes == {}) == (one == other)
    made = flatten(one.plain()) | {path: theirs for path, (_, theirs) in changes.items()}
    assert Recipe.of(nested({path: value for path, value in made.items() if value is not None})) == other


@given(recipes)
def test_tricks_are_what_at_finds_in_every_slot(recipe: Recipe) -> None:
    found = dict(recipe.tricks())
    assert list(found) == list(slots())
    for path, trick in found.items():
        assert type(trick) in slots()[path]
        assert recipe.at(path) is trick
        assert flatten(trick.model_dump(mode="json")) == {
            key.removeprefix(f"{path}."): value for key, value in flatten(recipe.plain()).items() if key.startswith(f"{path}.")
        }


def test_kinds_are_the_slots_without_off() -> None:
    assert kinds().keys() == slots().keys()
    assert kinds()["dropout"][:2] == [Bernoulli, Alpha]
    assert slots()["dropout"] == (Off, *kinds()["dropout"])
    assert all(Off not in found for found in kinds().values())
    assert {ReLU, Tanh} <= set(kinds()["activation"])


# --------------------------------------------------------------- JSON schema


def references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for value in schema.values():
            yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


def test_the_json_schema_is_whole() -> None:
    schema = Recipe.model_json_schema()
    assert json.loads(json.dumps(schema, allow_nan=False)) == schema
    assert list(schema["properties"]) == list(Recipe.model_fields)
    assert schema["additionalProperties"] is False
    assert {reference.removeprefix("#/$defs/") for reference in references(schema)} == schema["$defs"].keys()


def by_kind(definitions: dict[str, Any], kind: type[Trick]) -> dict[str, Any]:
    (found,) = [d for name, d in definitions.items() if name.rpartition("__")[2] == kind.__name__ and
                d["properties"].get("kind", {}).get("const") == kind.name()]  # fmt: skip
    properties: dict[str, Any] = found["properties"]
    assert found["additionalProperties"] is False
    return properties


def test_the_json_schema_states_every_kind_and_every_range() -> None:
    definitions = Recipe.model_json_schema()["$defs"]
    for kind in {kind for found in slots().values() for kind in found}:
        stated = by_kind(definitions, kind)
        assert list(stated) == list(kind.model_fields)
        for dose in doses(kind):
            if isinstance(dose.mark, Range):
                ends = (dose.mark.low, dose.mark.high, dose.mark.low if dose.mark.off is None else dose.mark.off)
                assert (stated[dose.name]["minimum"], stated[dose.name]["maximum"]) == (min(ends), max(ends))
                assert stated[dose.name]["type"] == ("integer" if dose.integer else "number")
                assert stated[dose.name]["default"] == dose.default


def test_the_json_schema_tells_the_kinds_of_a_slot_apart() -> None:
    schema = Recipe.model_json_schema()
    dropout = schema["properties"]["dropout"]
    assert dropout["discriminator"]["propertyName"] == "kind"
    assert dropout["discriminator"]["mapping"].keys() == {"off", "bernoulli", "alpha", "variational", "zoneout"}
    assert {one["$ref"] for one in dropout["oneOf"]} == set(dropout["discriminator"]["mapping"].values())
