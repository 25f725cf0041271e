"""The command line as a person meets it: what it prints, what it writes, and what it refuses."""

import inspect
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from typer.testing import CliRunner, Result

from titrant import Recipe, cli, samples
from titrant.record import Summary

PENGUINS = str(samples.path("penguins"))
QUICK = """
model: {kind: mlp, width: 32, depth: 1}
learning_rate: {peak: 0.02}
stop: {kind: last, epochs: 20}
"""
RUN_FILES = {
    "recipe.yaml",
    "summary.json",
    "members.jsonl",
    "data.json",
    "source.json",
    "asked.json",
    "evaluation.json",
    "model",
    "study.db",
    "report.html",
}


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command runs in an empty folder, and its budget begins with it and not with the test process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.fit, "process_started", time.monotonic)


def titrant(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(cli.app, list(map(str, arguments)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def files() -> set[str]:
    return {str(path) for path in Path().rglob("*")}


def refused(*arguments: str | Path) -> str:
    """The message of a command that must end with exit code 2, one message on stderr, and no trace in the folder."""
    before = files()
    result = titrant(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    *_, message = result.stderr.splitlines()
    assert message.startswith("Error: ")
    assert result.stderr.count("Error: ") == 1
    assert files() == before
    return message


def quick(*arguments: str | Path) -> tuple[str | Path, ...]:
    """`fit` with a recipe that takes a moment."""
    Path("quick.yaml").write_text(QUICK)
    return ("fit", *arguments, "--recipe", "quick.yaml", "--budget", "5m")


def written(text: str | bytes, name: str = "table.csv") -> str:
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def table(rows: int = 60, **columns: Callable[[int], object]) -> str:
    """A file of rows that a straight line divides, with further columns."""
    made = {"x": lambda row: row / rows, "y": lambda row: "low" if row < rows / 2 else "high"} | columns
    return written(pl.DataFrame({name: [cell(row) for row in range(rows)] for name, cell in made.items()}).write_csv())


# ------------------------------------------------------------------------- fit


def test_fit_writes_a_whole_run_and_says_where() -> None:
    result = titrant(*quick(PENGUINS, "--target", "species", "--out", "deep/er/run"))
    assert result.exit_code == 0
    assert {path.name for path in Path("deep/er/run").iterdir()} == RUN_FILES
    assert "report.html" in result.stdout
    assert "species" in result.stderr  # progress does not mix with the result
    summary = Summary.read(Path("deep/er/run/summary.json"))
    assert summary.task == "multiclass"
    assert not summary.interrupted
    assert summary.score_test is not None
    assert summary.score_test > 0.9
    assert summary.budget_seconds == 300
    assert Recipe.load("deep/er/run/recipe.yaml") == Recipe.of(yaml.safe_load(QUICK))


def test_without_out_runs_are_numbered() -> None:
    for _ in range(2):
        assert titrant(*quick(PENGUINS, "--target", "species", "--quiet")).output == ""
    assert {path.name for path in Path("titrant-runs").iterdir()} == {"penguins-1", "penguins-2"}


def test_json_is_one_document_and_nothing_else() -> None:
    result = titrant(*quick(PENGUINS, "--target", "species", "--json", "--out", "run"))
    document = json.loads(result.stdout)
    assert result.stderr == ""
    assert document.pop("folder") == "run"
    assert document == json.loads(Path("run/summary.json").read_text())


def test_every_option_of_fit_reaches_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr("titrant.job.fit", lambda *arguments, **named: given.update(named))
    assert titrant("fit", table(), "--target", "y", "--no-hold-out", "--no-ensemble").exit_code == 0
    assert (given["hold_out"], given["ensemble"]) == (False, False)
    others = {"context", "data", "target", "quiet", "as_json", "kind", "resume"}
    offered = set(inspect.signature(cli.fit.fit).parameters) - others
    assert set(given) == offered | {"kinds", "view", "started"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--search", "randm"), ["no search 'randm'", "Did you mean random?", "gp"]),
        (("--search", "grid"), ["--space", "never end"]),
        (("--repeats", "2"), ["repeats = 2", "(folds)"]),
    ],
)
def test_searches_that_cannot_be_are_refused(arguments: tuple[str, ...], words: list[str]) -> None:
    said = refused("fit", table(), "--target", "y", *arguments)
    assert all(word in said for word in words)


def test_an_empty_folder_may_be_given() -> None:
    Path("run").mkdir()
    assert titrant(*quick(PENGUINS, "--target", "species", "--out", "run", "-q")).exit_code == 0
    assert {path.name for path in Path("run").iterdir()} == RUN_FILES


def test_metric_task_seed_and_kinds_are_passed_on() -> None:
    arguments = ("--metric", "mae", "--task", "regression", "--seed", "7", "--kind", "year=category", "--kind", "sex=ignore")
    document = json.loads(titrant(*quick(PENGUINS, "--target", "body_mass_g", "--json", *arguments)).stdout)
    assert (document["metric"], document["task"], document["seed"]) == ("mae", "regression", 7)
    kinds = {
        column["name"]: column["kind"] for column in json.loads(Path(document["folder"], "data.json").read_text())["columns"]
    }
    assert (kinds["year"], kinds["sex"]) == ("category", "left out")


def test_a_space_searches_around_the_recipe() -> None:
    written("dropout: [bernoulli]\ndropout.p: {low: 0.1, high: 0.3}\n", "space.yaml")
    result = titrant(*quick(PENGUINS, "--target", "species", "--space", "space.yaml", "--members", "3", "--out", "run", "-q"))
    assert result.exit_code == 0
    members = [json.loads(line) for line in Path("run/members.jsonl").read_text().splitlines()]
    tried = [member["recipe"]["dropout"] for member in members if member["origin"] not in {"given", "refit", "baseline"}]
    assert tried
    assert all(dropout["kind"] == "bernoulli" and 0.1 <= dropout["p"] <= 0.3 for dropout in tried)
    assert titrant("recipe", "diff", "run", "quick.yaml").exit_code == 0


def test_a_test_file_judges_the_model() -> None:
    pl.DataFrame({"x": [0.01, 0.99, 0.5], "y": ["low", "high", "neither"]}).write_csv("test.csv")
    result = titrant(*quick(table(), "--target", "y", "--test", "test.csv", "--out", "run"))
    data = json.loads(Path("run/data.json").read_text())
    assert (data["rows_train"] + data["rows_validation"], data["rows_test"]) == (60, 2)
    assert "1 test rows are left out" in result.stderr


def test_a_split_column_divides_the_rows() -> None:
    name = table(part=lambda row: ["train", "train", "train", "validation", "test"][row % 5])
    titrant(*quick(name, "--target", "y", "--split-column", "part", "--out", "run"))
    data = json.loads(Path("run/data.json").read_text())
    assert (data["rows_train"], data["rows_validation"], data["rows_test"]) == (36, 12, 12)
    assert {column["name"]: column["kind"] for column in data["columns"]}["part"] == "left out"


def test_groups_and_time_divide_the_rows() -> None:
    name = table(shop=lambda row: f"s{row % 10}", day=lambda row: f"2024-{1 + row // 28:02}-{1 + row % 28:02}")
    for option, column, words in (("--group", "shop", "groups"), ("--time", "day", "newest")):
        # The newest rows are all of one class, which is no reason to refuse them as test rows.
        assert titrant(*quick(name, "--target", "x", option, column, "--out", f"by-{column}", "-q")).exit_code == 0
        assert words in json.loads(Path(f"by-{column}", "data.json").read_text())["split"]


@pytest.mark.parametrize("name", ["titanic", "auto_mpg", "hypothyroid"])
def test_real_tables_with_gaps_categories_and_text(shared_data: Path, name: str) -> None:
    target = {"titanic": "Survived", "auto_mpg": "class", "hypothyroid": "Class"}[name]
    source = shared_data / "tables" / f"{name}.parquet"
    result = titrant(*quick(source, "--target", target, "--out", "run"))
    assert result.exit_code == 0, result.output
    evaluation = json.loads(Path("run/evaluation.json").read_text())["metrics"]
    assert evaluation["r2"] > 0.7 if name == "auto_mpg" else evaluation["accuracy"] > 0.75
    assert titrant("predict", "run", source, "--out", "predictions.csv").exit_code == 0
    assert pl.read_csv("predictions.csv").height == pl.read_parquet(source).height


# ------------------------------------------------------------ bad input to fit


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        pytest.param("", [], ["table.csv", "empty"], id="empty file"),
        pytest.param("x,y\n", [], ["table.csv", "row"], id="header only"),
        pytest.param("x,y\n" + "1,a\n" * 40, [], ["'y'", "one class", "'a'"], id="one class"),
        pytest.param("x,y\n1,a\n2,b\n3,a\n", [], ["3 rows", "At least 8"], id="fewer rows than can be divided"),
        pytest.param("x,z\n" + "1,a\n2,b\n" * 20, [], ["'y'"], id="no target"),
        pytest.param("x,y\n" + "1,\n2,\n" * 20, [], ["'y'", "No row"], id="target without a value"),
        pytest.param("x,y\n" + "".join(f"{n},name {n}\n" for n in range(40)), [], ["'y'", "too many"], id="target of names"),
        pytest.param("y\n" + "a\nb\n" * 20, [], ["column"], id="nothing to learn from"),
        pytest.param("x,y\n" + "1,a\n1,b\n" * 20, [], ["column"], id="constant column alone"),
        pytest.param("x,y\n" + ",a\n,b\n" * 20, [], ["column"], id="missing column alone"),
        pytest.param("x,y\n" + "1,a\n2,b,3\n" * 20, [], ["table.csv", "line 3"], id="ragged rows"),
        pytest.param("x,y\n" + "1,a\n2,b\n" * 20, ["--metric", "rmse"], ["rmse", "accuracy"], id="metric of another task"),
        pytest.param("x,y\n" + "1,a\n2,b\n" * 20, ["--metric", "acuracy"], ["acuracy", "accuracy"], id="unknown metric"),
        pytest.param("x,y\n" + "1,a\n2,b\n" * 20, ["--task", "regresion"], ["regresion", "regression"], id="unknown task"),
        pytest.param("x,y\n" + "1,a\n2,b\n" * 20, ["--task", "regression"], ["'y'", "no numbers"], id="values that are none"),
        pytest.param("x,y\n" + "1,a\n2,b\n" * 20, ["--kind", "x"], ["COLUMN=KIND"], id="kind without a column"),
        pytest.param("x,y\n" + "1,a\n2,b\n" * 20, ["--kind", "z=number"], ["'z'"], id="kind of an unknown column"),
        pytest.param("x,y\n" + "1,a\n2,b\n" * 20, ["--kind", "x=numbre"], ["numbre", "number"], id="unknown kind"),
        pytest.param("x,y\n" + "1,a\n2,b\n" * 20, ["--group", "shop"], ["'shop'"], id="unknown group column"),
        pytest.param("x,y\n" + "1,a\n2,b\n" * 20, ["--time", "day"], ["'day'"], id="unknown time column"),
        pytest.param("x,y\n" + "1,a\n2,b\n" * 20, ["--split-column", "part"], ["'part'"], id="unknown split column"),
        pytest.param("x,y\n" + "1,a\n2,b\n" * 20, ["--split-column", "x"], ["'x'", "train"], id="split column of numbers"),
        pytest.param("x,y\n" + "1,a\n2,b\n" * 20, ["--test", "none.csv"], ["none.csv"], id="no test file"),
        pytest.param("x,y\n" + "1,a\n2,b\n" * 20, ["--device", "cuda:99"], ["cuda:99"], id="absent device"),
        pytest.param("x,y\n" + "1,a\n2,b\n" * 20, ["--device", "gpu"], ["gpu", "cpu"], id="unknown device"),
        pytest.param("x,y\n" + "1,a\n2,b\n" * 20, ["--budget", "soon"], ["soon", "10m"], id="unreadable budget"),
        pytest.param("x,y\n" + "1,a\n2,b\n" * 20, ["--budget", "0"], ["'0'", "10m"], id="no budget"),
        pytest.param("x,y\n" + "1,a\n2,b\n" * 20, ["--budget", "1ms"], ["1ms", "Give at least 10s"], id="too small a budget"),
        pytest.param("x,y\n" + "1,a\n2,b\n" * 20, ["--out", "table.csv"], ["table.csv", "in use"], id="a file as folder"),
        pytest.param(
            "x,y\n" + "1,a\n2,b\n" * 20, ["--out", "table.csv/run"], ["table.csv/run", "cannot"], id="a folder in a file"
        ),
        pytest.param("x,y\n" + "1,a\n2,b\n" * 20, ["--out", "/proc/run"], ["/proc/run", "cannot"], id="an unwritable place"),
        pytest.param("x,y\n" + "1,a\n2,b\n" * 20, ["--out", "n" * 300], ["cannot"], id="a name that is too long"),
    ],
)
def test_fit_refuses_what_it_cannot_use(content: str, arguments: list[str], words: list[str]) -> None:
    message = refused("fit", written(content), "--target", "y", *arguments)
    for word in words:
        assert word in message


def test_fit_refuses_a_missing_file_and_a_folder() -> None:
    assert "'none.csv'" in refused("fit", "none.csv", "--target", "y")
    assert "folder" in refused("fit", ".", "--target", "y")
    assert "none.yaml" in refused("fit", table(), "--target", "y", "--recipe", "none.yaml")


def test_an_interrupt_before_any_model_says_so_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("titrant.report.terminal.QuietView.start", lambda *_: signal.raise_signal(signal.SIGINT))
    result = titrant("fit", PENGUINS, "--target", "species", "--quiet")
    assert (result.exit_code, result.stdout) == (130, "")
    assert "Interrupted before any network" in result.stderr
    assert files() == set()


def test_a_misspelt_target_gets_a_suggestion() -> None:
    assert "species" in refused("fit", PENGUINS, "--target", "specis")


def test_a_folder_in_use_stays_as_it_is() -> None:
    Path("run").mkdir()
    written("mine", "run/notes.txt")
    assert "in use" in refused("fit", PENGUINS, "--target", "species", "--out", "run")
    assert Path("run/notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("droput: off", ["droput", "Did you mean dropout?"]),
        ("dropout: {kind: bernoulli, q: 0.1}", ["dropout.q", "Known here: p"]),
        ("dropout: {kind: bernoulli, p: 1.5}", ["dropout.p", "1.5", "0.9"]),
        ("dropout: {kind: bernouli}", ["dropout", "bernouli", "bernoulli"]),
        ("learning_rate: {peak: fast}", ["learning_rate.peak", "fast"]),
        ("a: [", ["recipe.yaml", "YAML"]),
        ("- dropout", ["recipe.yaml", "list"]),
        ("!!python/object/apply:os.system [touch hacked]", ["recipe.yaml", "YAML"]),
    ],
)
def test_a_wrong_recipe_is_explained(recipe: str, words: list[str]) -> None:
    message = refused("fit", table(), "--target", "y", "--recipe", written(recipe, "recipe.yaml"))
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ("droput: [off]", ["droput"]),
        ("dropout: [bernouli]", ["bernouli", "bernoulli"]),
        ("dropout: []", ["dropout"]),
        ("dropout.p: {low: 0.5, high: 0.1}", ["dropout.p", "0.5"]),
        ("dropout.p: {low: 0, high: 3}", ["dropout.p", "3", "0.9"]),
        ("dropout.p: {lo: 0}", ["dropout.p", "low"]),
        ("model.width: wide", ["model.width", "wide"]),
        ("3: 4", ["space.yaml"]),
    ],
)
def test_a_wrong_space_is_explained(space: str, words: list[str]) -> None:
    message = refused("fit", table(), "--target", "y", "--space", written(space, "space.yaml"))
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit"], "DATA"),
        (["fit", str(PENGUINS)], "--target"),
        (["fit", "table.csv", "--target", "y", "--members", "0"], "--members"),
        (["fit", "table.csv", "--target", "y", "--seed", "-1"], "--seed"),
        (["fit", "table.csv", "--target", "y", "--budgt", "1m"], "--budget"),
        (["ft"], "fit"),
    ],
)
def test_wrong_usage_is_explained(arguments: list[str], words: str) -> None:
    result = titrant(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


# ---------------------------------- data that is odd but good enough to learn


ODD: dict[str, dict[str, Callable[[int], object]]] = {
    "a class with one row": {"y": lambda row: "once" if row == 7 else "low" if row < 30 else "high"},
    "missing, constant and duplicate columns": {
        "gone": lambda row: None,
        "same": lambda row: "s",
        "twin": lambda row: row / 60,
    },
    "infinities": {"x": lambda row: "inf" if row % 9 == 0 else str(row / 60)},
    "mixed types": {"x": lambda row: "broken" if row % 20 == 0 else str(row / 60)},
    "a target with gaps": {"y": lambda row: None if row % 5 == 0 else "low" if row < 30 else "high"},
}


@pytest.mark.parametrize("columns", ODD.values(), ids=ODD.keys())
def test_odd_data_are_learned_from_with_a_word_about_it(columns: dict[str, Callable[[int], object]]) -> None:
    result = titrant(*quick(table(**columns), "--target", "y", "--out", "run"))
    assert result.exit_code == 0, result.output
    assert "Note: " in result.stderr
    assert json.loads(Path("run/summary.json").read_text())["warnings"]


def test_a_file_in_another_encoding_is_read() -> None:
    rows = "".join(f"{row / 2};{'süß' if row < 30 else 'herb'}\n" for row in range(60))
    written(("größe;geschmack\n" + rows).encode("cp1252"))
    assert titrant(*quick("table.csv", "--target", "geschmack", "--out", "run", "-q")).exit_code == 0
    assert titrant("predict", "run", written("größe\n1\n29\n", "new.csv")).stdout.splitlines()[1].startswith("süß,")


# --------------------------------------------------------------------- predict


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of penguins' species, made by the command."""
    folder = tmp_path_factory.mktemp("fitted")
    recipe = folder / "quick.yaml"
    recipe.write_text(QUICK)
    arguments = ["fit", PENGUINS, "--target", "species", "--recipe", str(recipe), "--budget", "60m", "--quiet"]
    assert CliRunner().invoke(cli.app, [*arguments, "--out", str(folder / "run")]).exit_code == 0
    return folder / "run"


@pytest.fixture
def penguins() -> pl.DataFrame:
    return pl.read_csv(PENGUINS, null_values=["NA", ""])


def test_predictions_hold_the_label_then_a_probability_for_each_class(run: Path, penguins: pl.DataFrame) -> None:
    assert titrant("predict", run, PENGUINS, "--out", "predictions.csv").output == ""
    predicted = pl.read_csv("predictions.csv")
    classes = ["Adelie", "Chinstrap", "Gentoo"]
    assert predicted.columns == ["prediction", *(f"probability_{label}" for label in classes)]
    probability = predicted[:, 1:].to_numpy()
    np.testing.assert_allclose(probability.sum(1), 1, atol=1e-5)
    assert [classes[place] for place in probability.argmax(1)] == predicted["prediction"].to_list()
    assert (predicted["prediction"] == penguins["species"]).mean() > 0.9


def test_predictions_go_to_standard_output_without_out(run: Path) -> None:
    titrant("predict", run, PENGUINS, "--out", "predictions.csv")
    assert titrant("predict", run, PENGUINS).stdout == Path("predictions.csv").read_text()


def test_order_extra_columns_and_unseen_categories_do_not_matter_and_are_noted(run: Path, penguins: pl.DataFrame) -> None:
    penguins.write_csv("same.csv")
    shuffled = penguins.select(reversed(penguins.columns)).with_columns(age=pl.lit(3))
    shuffled.drop("species").write_csv("shuffled.csv")
    expected, result = titrant("predict", run, "same.csv"), titrant("predict", run, "shuffled.csv")
    assert result.stdout == expected.stdout
    assert (expected.stderr, result.stderr) == ("", "Note: Columns that the model does not know are ignored: 'age'.\n")
    penguins.with_columns(island=pl.lit("Atlantis")).write_csv("unseen.csv")
    assert "'Atlantis'" in titrant("predict", run, "unseen.csv").stderr


def test_predict_refuses_what_it_cannot_use(run: Path, penguins: pl.DataFrame) -> None:
    penguins.drop("island").rename({"sex": "gender"}).write_csv("lacking.csv")
    message = refused("predict", run, "lacking.csv", "--out", "predictions.csv")
    assert "'island'" in message
    assert "'sex'" in message
    assert "'none.csv'" in refused("predict", run, "none.csv")
    assert "none" in refused("predict", "none", PENGUINS)
    assert "titrant fit" in refused("predict", ".", PENGUINS)
    assert "nowhere" in refused("predict", run, PENGUINS, "--out", "nowhere/predictions.csv")
    Path("folder").mkdir()
    assert "folder" in refused("predict", run, PENGUINS, "--out", "folder")


@pytest.mark.parametrize("labels", [["0", "1"], ["-3", "7"], ["True", "False"], ["no", "1"], ["a,b", 'say "c"']], ids=str)
def test_labels_of_every_kind_stay_as_they_stood(labels: list[str]) -> None:
    frame = pl.DataFrame({"x": np.arange(60) / 7, "y": [labels[row < 30] for row in range(60)]})
    frame.write_csv("table.csv")
    titrant(*quick("table.csv", "--target", "y", "--out", "run", "-q", "--task", "classification"))
    predicted = pl.read_csv(titrant("predict", "run", "table.csv").stdout.encode(), infer_schema=False)
    assert (predicted["prediction"] == frame["y"]).mean() > 0.9


def test_values_are_predicted_in_their_own_unit(penguins: pl.DataFrame) -> None:
    titrant(*quick(PENGUINS, "--target", "body_mass_g", "--out", "run", "-q"))
    predicted = pl.read_csv(titrant("predict", "run", PENGUINS).stdout.encode())
    assert predicted.columns == ["prediction"]
    assert (predicted["prediction"] - penguins["body_mass_g"]).abs().mean() < 400  # grams; the spread is 800


# --------------------------------------------------------------------- recipes


def test_recipe_show_prints_a_recipe_that_can_be_read_back(run: Path) -> None:
    assert Recipe.of(yaml.safe_load(titrant("recipe", "show").stdout)) == Recipe()
    shown = titrant("recipe", "show", run).stdout
    assert Recipe.load(written(shown, "shown.yaml")) == Recipe.load(run / "recipe.yaml")
    assert titrant("recipe", "show", "shown.yaml").stdout == shown


def test_recipe_diff_names_paths_and_both_values(run: Path) -> None:
    lines = titrant("recipe", "diff", run).stdout.splitlines()
    assert "model.width: 32 -> 128" in lines or any(line.startswith("model.width: 32 -> ") for line in lines)
    assert titrant("recipe", "diff", run, run).stdout == "The recipes are the same.\n"
    written("dropout: {kind: bernoulli, p: 0.25}", "other.yaml")
    assert titrant("recipe", "diff", "other.yaml").stdout == "dropout.kind: bernoulli -> off\ndropout.p: 0.25 -> -\n"


def test_recipe_schema_is_a_json_schema() -> None:
    schema = json.loads(titrant("recipe", "schema").stdout)
    assert schema["type"] == "object"
    assert set(schema["properties"]) == set(Recipe.model_fields)


def test_recipe_commands_refuse_what_is_no_recipe() -> None:
    assert "none.yaml" in refused("recipe", "show", "none.yaml")
    assert "recipe.yaml" in refused("recipe", "diff", ".")


# ----------------------------------------------------------------------- words


@pytest.mark.parametrize("arguments", [[], ["fit"], ["predict"], ["recipe"], ["recipe", "show"], ["recipe", "diff"]])
def test_help_is_there(arguments: list[str]) -> None:
    result = titrant(*arguments, "--help")
    assert result.exit_code == 0
    assert "Usage: " in result.stdout
    assert "..." not in result.stdout.partition("Commands:")[2]  # no description is cut


def test_version_is_the_package_s() -> None:
    from titrant import __version__

    assert titrant("--version").stdout == f"titrant {__version__}\n"
