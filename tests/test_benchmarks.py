"""The benchmark scripts: their arguments, who sees which rows, how scores are computed, and the peer on a tiny frame."""

import argparse
import random
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from titrant.train.hardware import threads

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def tiny(rows: int = 240) -> pl.DataFrame:
    """Numbers with gaps, text with gaps, a date as text, and a target that the first number and the text decide."""
    random = np.random.default_rng(0)
    number, text = random.normal(size=rows), random.choice(["a", "b"], rows)
    return pl.DataFrame(
        {
            "number": [None if place % 20 == 0 else value for place, value in enumerate(number)],
            "text": [None if place % 30 == 0 else value for place, value in enumerate(text)],
            "day": [f"{1 + place % 28:02}/03/2024" for place in range(rows)],
            "value": 100 + 10 * number + 5 * (text == "a"),
            "label": np.where(number > 0, "high", "low"),
        }
    )


@pytest.mark.parametrize(
    "name",
    [
        "tables",
        "table_peer",
        "clock",
        "engine",
        "sides",
        "images",
        "image_peer",
        "series",
        "series_peer",
        "text",
        "text_peer",
        "forecasts",
        "augment",
        "augment_side",
        "scale",
        "search",
        "search_peer",
    ],
)
def test_help_says_how_to_call_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        import_module(name).parser().parse_args(["--help"])
    assert ended.value.code == 0
    assert f"python benchmarks/{name}.py" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["bench", "overhead"])
def test_help_of_the_doctors_benchmarks(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS / "doctor"))
    with pytest.raises(SystemExit) as ended:
        import_module(name).parser().parse_args(["--help"])
    assert ended.value.code == 0
    assert f"python benchmarks/doctor/{name}.py" in capsys.readouterr().out


def test_tables_arguments() -> None:
    given = import_module("tables").parser().parse_args(["--sets", "adult, letter", "--budget", "5", "--seeds", "3,4"])
    assert (given.sets, given.budget, given.seeds) == (["adult", "letter"], 5, [3, 4])
    assert len(import_module("tables").parser().parse_args([]).sets) == 12
    assert len(import_module("tables").parser().parse_args(["--sets", "all"]).sets) > 12


def test_clock_arguments() -> None:
    given = import_module("clock").parser().parse_args(["--budgets", "20", "--tables", "all"])
    assert given.budgets == [20]
    assert given.tables == list(import_module("common").TABLES)


@pytest.mark.parametrize(("option", "value", "named"), [("--sets", "adlut", "adlut"), ("--seeds", "1,x", "1,x")])
def test_wrong_arguments_are_named(option: str, value: str, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        import_module("tables").parser().parse_args([option, value])
    assert ended.value.code == 2
    assert named in capsys.readouterr().err


def test_missing_tables_are_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"adult\.parquet.*--data"):
        import_module("common").path_of(tmp_path, "adult")


def test_every_table_that_is_here_has_its_target(shared_data: Path) -> None:
    for name, table in import_module("common").TABLES.items():
        schema = pl.read_parquet_schema(shared_data / "tables" / f"{name}.parquet")
        assert table.target in schema, name
        assert table.classes or schema[table.target].is_numeric(), name


def test_official_split_is_kept_and_is_no_feature() -> None:
    table = argparse.Namespace(target="label", classes=True)
    frame = tiny().with_columns(pl.Series("split", ["train", "test", "train"] * 80))
    train, test = import_module("tables").parted(frame, table, seed=0)
    assert (len(train), len(test)) == (160, 80)
    assert "split" not in train.columns + test.columns


@pytest.mark.parametrize("classes", [True, False])
def test_rows_are_divided_once_and_do_not_overlap(classes: bool) -> None:
    table = argparse.Namespace(target="label" if classes else "value", classes=classes)
    frame = tiny().with_row_index()
    train, test = import_module("tables").parted(frame, table, seed=0)
    assert sorted([*train["index"], *test["index"]]) == list(range(240))
    assert len(test) == 60
    again, _ = import_module("tables").parted(frame, table, seed=0)
    other, _ = import_module("tables").parted(frame, table, seed=1)
    assert again.equals(train)
    assert not other.equals(train)


def test_scores_of_classes_agree_with_a_hand_count() -> None:
    truth = pl.Series(["a", "b", "b", "c"])
    shares = np.array([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1], [0.5, 0.5]])
    found = pl.DataFrame({"prediction": ["a", "b", "a", "a"], "probability_b": shares[:, 1], "probability_a": shares[:, 0]})
    accuracy, loss = import_module("sets").score(truth, found, classes=True)
    assert accuracy == 0.5
    # A class that a side never saw has the probability 0, clipped as log losses usually are.
    expected = log_loss([0, 1, 1, 2], np.column_stack([shares, np.full(4, 1e-15)]), labels=[0, 1, 2])
    assert loss == pytest.approx(expected, rel=1e-6)


def test_scores_of_values_agree_with_a_hand_count() -> None:
    found = pl.DataFrame({"prediction": [1.0, 2.0, 5.0]})
    rmse, r2 = import_module("sets").score(pl.Series([1, 2, 3]), found, classes=False)
    assert rmse == pytest.approx((4 / 3) ** 0.5)
    assert r2 == pytest.approx(1 - 4 / 2)


@pytest.mark.parametrize("classes", [True, False])
def test_peer_pipeline_learns_a_tiny_frame(classes: bool) -> None:
    peer = import_module("mlp_peer")
    frame = tiny()
    target = frame["label" if classes else "value"].to_numpy()
    columns = peer.Columns.of(frame.select("number", "text", "day"))
    assert columns.dates == ["day"]
    parameters: dict[str, Any] = {"learning_rate_init": 0.01}
    model = peer.trained(peer.pipeline(columns, classes, parameters, seed=0), columns.cells(frame), target, limit=60)
    # Rows with an unknown text and a missing number are predicted, too.
    new = pl.DataFrame({"number": [2.0, -2.0, None], "text": ["a", "zzz", None], "day": ["01/03/2024", "02/03/2024", None]})
    guess = model.predict(columns.cells(new))
    assert len(guess) == 3
    assert list(guess[:2]) == ["high", "low"] if classes else guess[0] > guess[1] + 20


def test_peer_stops_when_told() -> None:
    peer = import_module("mlp_peer")
    frame = tiny()
    columns = peer.Columns.of(frame.select("number", "text"))
    model = peer.pipeline(columns, False, {"tol": 0, "n_iter_no_change": 10**6}, seed=0)
    stopped = peer.trained(model, columns.cells(frame), frame["value"].to_numpy(), limit=1.0)
    assert stopped is not None
    assert peer.trained(model, columns.cells(frame), frame["value"].to_numpy(), limit=0) is None


def test_peer_space_stays_in_its_bounds() -> None:
    peer = import_module("mlp_peer")
    random = np.random.default_rng(0)
    for _ in range(200):
        drawn = peer.space(random)
        assert 1 <= len(drawn["hidden_layer_sizes"]) <= 3
        assert all(32 <= width <= 256 for width in drawn["hidden_layer_sizes"])
        assert drawn["activation"] in {"relu", "tanh"}
        assert 1e-6 <= drawn["alpha"] <= 10**-0.5
        assert 10**-3.5 <= drawn["learning_rate_init"] <= 1e-2


def test_peer_scores_candidates() -> None:
    peer = import_module("mlp_peer")
    frame = tiny()
    columns = peer.Columns.of(frame.select("number", "text", "day"))
    with threadpool_limits():
        peer._start(peer.Job(columns, columns.cells(frame), frame["label"].to_numpy(), True, 0))
        goodness, seconds = peer._try({"learning_rate_init": 0.01}, 60.0)
        assert peer._try({}, 0.0)[0] is None
    assert 0.8 < goodness <= 1
    assert seconds > 0


@pytest.mark.parametrize("classes", [True, False])
def test_table_peers_learn_and_never_see_a_held_out_target(
    classes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, peer = import_module("tables"), import_module("table_peer")
    monkeypatch.setitem(tables.TABLES, "toy", argparse.Namespace(target="label" if classes else "value", classes=classes))
    tiny().drop("value" if classes else "label").write_parquet(tmp_path / "toy.parquet")
    divided = tables.divide(tmp_path / "toy.parquet", tmp_path, 0)
    train, blind = pl.read_parquet(divided.train), pl.read_parquet(divided.blind)
    assert blind.columns == ["number", "text", "day"]
    assert (divided.rows, len(divided.truth), divided.classes) == (180, 60, classes)
    labels, places = np.unique(train["target"], return_inverse=True) if classes else (np.array([]), train["target"].to_numpy())
    task = peer.Task(train.drop("target"), blind, places, labels, peer.time.monotonic() + 10, 0)
    seen, unseen, texts = task.frames()
    assert texts == ["text_0"]
    assert list(seen.columns) == list(unseen.columns) == [f"number_{place}" for place in range(6)] + texts
    assert (seen.shape, unseen.shape) == ((180, 7), (60, 7))
    peer.write(peer.mlp(task)(), labels, tmp_path / "out.csv")
    schema = {"prediction": pl.String} if classes else {}
    main, _ = import_module("sets").score(divided.truth, pl.read_csv(tmp_path / "out.csv", schema_overrides=schema), classes)
    assert main > 0.8 if classes else main < 8


def test_the_best_of_the_trials_is_trained_on_all_rows() -> None:
    peer = import_module("table_peer")
    frame = tiny().select("number")
    task = peer.Task(frame, frame, tiny()["value"].to_numpy(), np.array([]), peer.time.monotonic() + 0.5, 0)
    fitted = []

    class Constant:
        def __init__(self, value: float) -> None:
            self.value = value

        def predict(self, rows: Any) -> Any:
            return np.full(len(rows), self.value)

    def fit(settings: dict[str, Any], trees: int, rows: Any, check: Any) -> tuple[Any, int]:
        fitted.append((settings["value"], trees, len(rows), check is not None))
        return Constant(settings["value"]), 7

    model = peer._tuned(task, task.frames()[0], lambda trial: {"value": trial.suggest_float("value", 0, 200)}, fit)
    *trials, last = fitted
    assert all(trial[1:] == (peer.TREES, 192, True) for trial in trials)
    assert last[1:] == (7, 240, False)
    assert abs(model.value - 102.5) <= min(abs(trial[0] - 102.5) for trial in trials) + 1  # near the mean, which is best


# ---------------------------------------------------------------------- engine


@pytest.mark.parametrize("side", ["titrant", "plain", "vmap", "peak"])
def test_a_side_says_how_many_steps_it_takes(side: str) -> None:
    members = [1, 3] if side in {"titrant", "vmap"} else [1]
    found = import_module("sides").SIDES[side](8, members, 0.05)
    assert list(found) == members
    assert all(np.isfinite(rate) and rate > 0 for rate in found.values())


def test_the_operations_of_a_step_are_those_of_its_matrix_products() -> None:
    sides = import_module("sides")
    forward = 2 * sides.BATCH * (32 * 16 + 16 * 16 + 16 * 16 + 16 * 10)
    assert sides.flops(16) == 3 * forward - 2 * sides.BATCH * 32 * 16


def test_the_engine_page_compares_best_with_plain() -> None:
    engine = import_module("engine")
    rates = engine.defaultdict(list)
    rates["titrant", 16, 1], rates["titrant", 16, 8], rates["titrant", 16, 64] = [90.0], [700.0, 800.0, 900.0], [500.0]
    rates["plain", 16, 1], rates["lightning", 16, 1], rates["peak", 16, 1] = [100.0], [40.0], [200.0]
    page = engine.page(rates, [16], 3, ["skorch: not installed here"])
    assert "| 16 | 8 | 800 (700–900) | 100 | 8.00 | 12 | 0.90 |" in page
    assert "| 16 | 40 | 20.00 |" in page
    assert "Not measured: skorch" in page


def test_populations_that_would_not_fit_are_left_out() -> None:
    engine = import_module("engine")
    assert engine.fitting(16, [1, 512]) == [1, 512]
    assert engine.fitting(512, [1, 128, 512]) == [1, 128]


# ---------------------------------------------------------------------- images


def pixels(rows: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Grey pictures of two classes, bright above or below."""
    random = np.random.default_rng(0)
    x, y = random.integers(0, 60, (rows, 12, 12), dtype=np.uint8), np.arange(rows) % 2
    for place in range(rows):
        x[place, 6 * y[place] : 6 * y[place] + 6] += 180
    return x, y.astype(np.int64)


def test_images_arguments() -> None:
    given = import_module("images").parser().parse_args(["--sets", "mnist,sign_digits", "--sides", "Titrant", "timm"])
    assert (given.sets, given.sides, given.budget) == (["mnist", "sign_digits"], ["Titrant", "timm"], 300)
    with pytest.raises(SystemExit):
        import_module("images").parser().parse_args(["--sets", "imagenet"])


def test_missing_pictures_are_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"mnist\.npz.*--data"):
        import_module("sets").path_of(tmp_path, "mnist.npz")


def test_peers_never_see_a_test_label(tmp_path: Path) -> None:
    x, y = pixels(20)
    np.savez(tmp_path / "set.npz", x=x, y=y, split=np.array(["train", "test"] * 10))
    divided = import_module("images").divide(tmp_path / "set.npz", tmp_path, 0)
    train, blind, truth = divided.train, divided.blind, divided.truth
    with np.load(train) as seen, np.load(blind) as unseen:
        assert (seen["x"] == x[::2]).all()
        assert (seen["y"] == y[::2]).all()
        assert list(unseen) == ["x"]
        assert (unseen["x"] == x[1::2]).all()
    assert truth.to_list() == [str(label) for label in y[1::2]]


def test_photos_are_divided_by_the_table_beside_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / "signs"
    folder.mkdir()
    rows = {"file": ["a/1.png", "b/2.png", "a/3.png"], "label": ["a", "b", "a"], "split": ["train", "train", "test"]}
    pl.DataFrame(rows).write_csv(tmp_path / "signs_split.csv")
    divided = import_module("images").divide(folder, tmp_path, 0)
    train, blind, truth = divided.train, divided.blind, divided.truth
    assert pl.read_csv(train).to_dict(as_series=False) == {
        "path": [f"{folder}/a/1.png", f"{folder}/b/2.png"], "label": ["a", "b"]
    }  # fmt: skip
    assert pl.read_csv(blind).to_dict(as_series=False) == {"path": [f"{folder}/a/3.png"]}
    assert truth.to_list() == ["a"]


def test_photos_are_read_upright(tmp_path: Path) -> None:
    picture = Image.fromarray(np.repeat(np.array([[255, 0]], np.uint8), 2, 0)).resize((64, 64), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise: what lies left comes to the top
    picture.save(tmp_path / "a.png", exif=exif)
    pl.DataFrame({"path": ["a.png"], "label": ["x"]}).write_csv(tmp_path / "photos.csv")
    x, y = import_module("image_peer").pictures(tmp_path / "photos.csv")
    assert x.shape == (1, 64, 64, 3)
    assert y is not None
    assert y.tolist() == ["x"]
    assert x[0, 5].min() > 200
    assert x[0, -5].max() < 50


@pytest.mark.parametrize("side", ["fastai", "timm"])
def test_an_image_peer_learns_and_ends_in_time(side: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = import_module("image_peer")
    x, y = pixels(32)
    labels = np.array(["above", "below"])
    monkeypatch.setattr(peer, "BATCH", 16)
    steps = iter(range(100))
    monkeypatch.setattr(peer.Task, "left", property(lambda task: 3 - next(steps)))  # three steps, whatever they take
    task = peer.Task(x[..., None], y, x[..., None], labels, end=peer.time.monotonic() + 5, seed=0)
    peer.write(peer.PEERS[side](task)(), labels, tmp_path / "out.csv")
    written = pl.read_csv(tmp_path / "out.csv")
    assert written.columns == ["prediction", "probability_above", "probability_below"]
    assert (written["probability_above"] + written["probability_below"]).to_list() == pytest.approx([1.0] * 32, abs=1e-5)


def runs() -> list[Any]:
    """What three sides reached on one set."""
    run = import_module("sets").Run
    about = {"name": "mnist", "rows": 60_000, "test": 10_000, "classes": True}
    return [
        run(**about, side="timm", seed=0, budget=900, made="another", main=0.97, other=0.1, seconds=900.0),
        run(**about, side="timm", seed=1, budget=300, made="a machine", main=0.93, other=0.25, seconds=301.0),
        run(**about, side="timm", seed=0, budget=300, made="a machine", main=0.91, other=0.3, seconds=300.0),
        run(**about, side="keras", seed=0, budget=300, made="a machine", failure="keras is not installed here"),
        run(**about, side="Titrant", seed=0, budget=300, made="a machine", main=0.93, other=0.2, seconds=298.0),
    ]


def test_runs_that_are_kept_are_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets, images = import_module("sets"), import_module("images")
    np.savez(tmp_path / "mnist.npz", x=pixels(8)[0], y=pixels(8)[1], split=np.array(["train", "test"] * 4))
    sets.keep(tmp_path / "page.jsonl", runs())
    made = []

    def measure(contest: object, divided: Any, side: str, python: Path, budget: int, seed: int) -> tuple[float, float, float]:
        made.append((side, seed, budget))
        if side == "timm":
            raise subprocess.TimeoutExpired("timm", 3000)
        return 0.5, 0.7, 1.0

    monkeypatch.setattr(sets.Contest, "measure", measure)
    arguments = ["images.py", "--data", tmp_path, "--sets", "mnist", "--seeds", "0,1", "--out", tmp_path / "page.md"]
    arguments += ["--sides", "Titrant", "timm"]
    monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
    images.CONTEST.main()
    assert made == [("Titrant", 1, 300)]
    assert "| mnist | 60,000 | 10,000 | 0.7150 (0.5000–0.9300) |" in (tmp_path / "page.md").read_text()
    assert len(sets.kept(tmp_path / "page.jsonl")) == 6
    monkeypatch.setattr(sys, "argv", [*map(str, arguments), "--again"])
    images.CONTEST.main()
    assert len(made) == 5
    found = sets.kept(tmp_path / "page.jsonl")
    assert found["mnist", "timm", 1, 300].failure == "cut after 3000 s"
    assert found["mnist", "Titrant", 0, 300].main == 0.5
    assert [path.name for path in tmp_path.glob("*.new")] == []


def test_the_images_page_names_the_best_side_and_failures() -> None:
    images = import_module("images")
    page = images.CONTEST.page(runs())
    assert "| set | train | test | Titrant | keras | timm | best |" in page
    assert "| mnist | 60,000 | 10,000 | 0.9300 | none | 0.9200 (0.9100–0.9300) | Titrant |" in page
    assert "| mnist, 900 s | 60,000 | 10,000 | none | none | 0.9700 | timm |" in page
    assert "best side, or one of the best, on 1 of 2 sets" in page
    assert "Mean rank on the 1 that all sides have run: Titrant 1.00, keras 3.00, timm 2.00." in page
    assert "- 4 runs: a machine" in page
    assert "- 1 runs: another" in page
    assert "mnist: keras failed: keras is not installed here" in page


@pytest.mark.parametrize("task", ["crop", "chain", "colour"])
@pytest.mark.parametrize("library", ["titrant", "pillow"])
def test_augmentation_makes_the_batch_that_a_network_reads(library: str, task: str) -> None:
    with threads(1):  # which the side sets for its whole process
        batch = import_module("augment_side").SIDES[library](task, 16, 1)()
    assert batch.flatten(0, -4).shape == (32, 3, 16, 16)
    assert 0 <= batch.min() < batch.max() <= 1


def test_augmentation_page_names_the_best_peer() -> None:
    bench = import_module("augment")
    given = bench.parser().parse_args(["--sides", "32", "--threads", "1", "--libraries", "titrant,pillow,kornia"])
    rates = {("titrant", "crop", 32, 1): [300.0], ("pillow", "crop", 32, 1): [100.0], ("kornia", "crop", 32, 1): [150.0]}
    text = bench.page(rates | {("titrant", "step", 32, 1): [30.0]}, given, ["albumentations, crop: it said nothing"])
    assert "| mirror and crop | 32 | 300 | 2.00 | 100 | 150 |" in text.replace("none", "-")
    assert "mirror and crop 10.0%" in text
    assert "Not measured: albumentations" in text


# ---------------------------------------------------------------------- series


def test_series_peers_learn_and_never_see_a_test_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    y = np.arange(40) % 2
    x = random.normal(size=(40, 1, 20)).astype(np.float32) + 3 * y[:, None, None] * np.sin(np.arange(20))
    np.savez(tmp_path / "set.npz", x=x, y=y, split=np.array(["train", "test"] * 10 + ["test", "train"] * 10))
    divided = import_module("series").divide(tmp_path / "set.npz", tmp_path, 0)
    with np.load(divided.blind) as unseen:
        assert list(unseen) == ["x"]
    peer = import_module("series_peer")
    seen, labels, blind = peer.series(divided.train, divided.blind)
    monkeypatch.setattr(peer, "BATCH", 10)
    for side in ("sklearn", "tsai"):
        task = peer.Task(seen, labels, blind, np.unique(labels), end=peer.time.monotonic() + 10, seed=0)
        monkeypatch.setattr(peer.Task, "left", property(lambda task: 0.01))  # one epoch, whatever it takes
        peer.write(peer.PEERS[side](task)(), np.unique(labels), tmp_path / "out.csv")
        written = pl.read_csv(tmp_path / "out.csv")
        assert written.columns == ["prediction", "probability_0", "probability_1"]
        assert written.height == len(divided.truth) == 20


def test_text_peers_learn_and_never_see_a_test_label(tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": ["how good and fine", "how bad and poor"] * 30, "label": ["yes", "no"] * 30})
    frame.write_parquet(tmp_path / "set.parquet")
    divided = import_module("text").divide(tmp_path / "set.parquet", tmp_path, 0)
    assert pl.read_parquet(divided.blind).columns == ["text"]
    assert (divided.rows, len(divided.truth)) == (48, 12)
    peer = import_module("text_peer")
    seen, labels, blind = peer.texts(divided.train, divided.blind)
    names, places = np.unique(labels, return_inverse=True)
    probability = peer.tfidf(peer.Task(seen, places, blind, names, peer.time.monotonic() + 10, 0))()
    assert (names[probability.argmax(1)] == divided.truth.to_numpy()).all()
    assert peer.plain("So good,\nreally!") == "so good , really !"


def test_equal_sides_share_their_rank_and_the_least_error_is_best() -> None:
    sets = import_module("sets")
    found = {name: sets.Scores([value]) for name, value in {"a": 0.5, "b": 0.7, "c": 0.7}.items()}
    assert sets.ranks(found, True) == {"a": 3.0, "b": 1.5, "c": 1.5}
    assert sets.best(found, True) == ["b", "c"]
    assert sets.best(found, False) == ["a"]


def test_the_simple_forecasts_are_what_they_say() -> None:
    bench = import_module("forecasts")
    hours = np.arange(24 * 7 * 12)
    found = bench.others(10 + np.sin(2 * np.pi * hours / 24) + 0.01 * hours)
    assert found["a day ago"] == pytest.approx((0.24, 0.24))
    assert found["a week ago"] == pytest.approx((1.68, 1.68))
    assert found["linear"][0] < 0.01
    text = bench.page({"toy": ([(0.2, 0.1, 0.8, 60.0)], found)}, 60)
    assert "| toy | 0.2 | 0.24 | 1.68 |" in text


def test_a_simulated_search_is_as_busy_as_its_rungs_allow() -> None:
    scale = import_module("scale")
    problem, train, _ = scale.adults()
    known = [scale.Known(scale.RECIPE.replace("model.width", 32 + 8 * (place % 3)), 6.0, float(-place)) for place in range(9)]

    def run(workers: int, **options: Any) -> Any:
        given = {"way": 0.0, "proposing": (0.0, 0.0), "lasting": 1e6, "most": 2} | options
        return scale.simulate(known, workers, problem, train, random.Random(0), **given)

    alone, many = run(1), run(1000, most=1)
    assert alone.busy == pytest.approx(1.0)
    assert 0 < many.busy < 1
    # two brackets of 24 and 16: all to a sixth, a third on to a half, a third of those to the end
    spent = 6.0 * (24 / 6 + 8 / 3 + 3 / 2 + 16 / 6 + 5 / 3 + 2 / 2)
    assert 6.0 <= many.reached < alone.reached < spent
    waiting = run(1, proposing=(1.0, 2.0))
    assert waiting.busy == pytest.approx(spent / (spent + 24 + 32))
    # where brackets overlap, nobody waits for the last stack of a rung
    assert run(8, lasting=60.0, most=None).busy > 0.9
    assert run(2, lasting=60.0, most=None).busy < 0.9


def toy_problem(name: str = "toy", epochs: int = 52) -> Any:
    """Three layers and a learning rate of 0.01 are best; curves rise by the square root of the epochs and do not cross."""
    surrogates = import_module("surrogates")
    space = {name: surrogates.LCBENCH[name] for name in ("learning_rate", "num_layers", "batch_size")}

    def scores(points: np.ndarray, after: np.ndarray) -> np.ndarray:
        full = 90 - 10 * np.abs(np.log10(points[:, 0]) + 2) - 5 * np.abs(points[:, 1] - 3)
        return full * np.sqrt(after / epochs)

    return surrogates.Problem(name, space, epochs, scores)


def test_a_ledger_counts_every_epoch_once() -> None:
    surrogates = import_module("surrogates")
    ledger = surrogates.Ledger(toy_problem(), 2)
    good = {"learning_rate": 0.01, "num_layers": 3, "batch_size": 64}
    bad = {**good, "num_layers": 1}
    assert ledger.train(bad, 13) == pytest.approx(40)
    assert ledger.train(good) == pytest.approx(90)
    assert ledger.train(bad) == pytest.approx(80)
    assert ledger.spent == pytest.approx(2)
    with pytest.raises(surrogates.SpentError):
        ledger.train({**good, "num_layers": 2}, 1)
    # Before anything is trained to its end, the longest training counts, by what it would have come to.
    assert list(ledger.at([0.25, 1.25, 2])) == pytest.approx([80, 90, 90])
    assert ledger.best == pytest.approx(90)


def test_dimensions_keep_their_ends_types_and_scales() -> None:
    for one in [*import_module("surrogates").LCBENCH.values(), *import_module("surrogates").HPOBENCH.values()]:
        found = one.at(np.random.default_rng(0).random(4000))
        assert one.low <= found.min() <= found.max() <= one.high
        assert not one.integer or set(found) <= set(range(int(one.low), int(one.high) + 1))
        middle = (one.low * one.high) ** 0.5 if one.log else (one.low + one.high) / 2
        assert 0.4 < (found < middle).mean() + (found == middle).mean() / 2 < 0.6


@pytest.mark.parametrize(
    "side", ["Titrant", "Titrant, known recipes", "Titrant, one at a time", "random", "tpe", "tpe+hyperband"]
)
def test_sides_of_the_search_spend_what_they_may_and_find_something(side: str) -> None:
    search, peer, surrogates = import_module("search"), import_module("search_peer"), import_module("surrogates")
    problem = toy_problem()
    run = {**search.OURS, **peer.SIDES}[side]
    one, other = (surrogates.Ledger(problem, 20) for _ in range(2))
    lines = [peer.run(run, ledger, 3) for ledger in (one, other)]
    assert one.steps == other.steps
    assert 18 < one.spent <= 20 + 1e-6
    assert one.best > np.median(problem.drawn(1000))
    runs = search.Runs({"toy": problem})
    runs.take(side, [lines[0], "cut o"])
    (regrets,) = runs.regrets([side], [("toy", 3)])
    assert regrets.shape == (1, 3)
    assert ((regrets >= 0) & (regrets < 1)).all()


def test_the_page_of_the_search_compares_on_common_runs() -> None:
    search = import_module("search")
    known = {name: toy_problem(name) for name in ("a", "b")}
    runs = search.Runs(known)
    line = '{{"problem": "{}", "seed": {}, "steps": [[1, {}]], "best": {}, "seconds": 0}}'
    runs.take("Titrant", [line.format(name, seed, 80, 80) for name in known for seed in range(2)])
    runs.take("tpe", [line.format(name, seed, 70, 70) for name in known for seed in range(2)])
    runs.take("smac", [line.format("a", 0, 90, 90)])
    best, middle = runs._ends("a")
    assert best == pytest.approx(max(90, known["a"].drawn().max()))
    assert runs.regrets(["tpe"], [("a", 0)])[0, 0] == pytest.approx([(best - 70) / (best - middle)] * 3)
    text = search.page(runs, ["Titrant", "tpe", "smac"])
    rows = [line for line in text.splitlines() if line.startswith("| tpe | 4")]
    assert rows[0].endswith("| 2.0 / 2.0 / 2.0 |")
    ratio = (best - 80) / (best - 70)
    assert f"| tpe | 4 on 2 | {ratio:.2f} " in text
    assert "| smac | 1 on 1 |" in text


def test_the_surrogate_of_lcbench_is_read_as_its_authors_do(shared_data: Path) -> None:
    surrogates = import_module("surrogates")
    known = surrogates.problems(shared_data / "hpo" / "lcbench")
    assert len(known) == 34
    problem = known["lcbench/3945"]
    middle = {name: float(one.at(np.array([0.5]))[0]) for name, one in problem.space.items()}
    curve = [problem.score(middle, epochs) for epochs in (1, 10, 52)]
    assert curve == sorted(curve)
    assert 20 < curve[0] < curve[-1] < 100
    assert len(set(problem.drawn(50))) > 40
