"""What befalls a run from outside: kills at any moment, a full or read-only disk, a wall clock that jumps, foreign files."""

import io
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.light import LIGHT

import titrant
from titrant import samples
from titrant.data.learnable import read_data
from titrant.errors import TitrantError
from titrant.job import Run
from titrant.record import Summary, read_members
from titrant.report.html import write_report
from titrant.report.runs import listed

PENGUINS = samples.path("penguins")
KILLS = int(os.environ.get("TITRANT_TEST_KILLS", "5"))
"""Kills at random moments."""


def fit(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "titrant", "fit", *map(str, arguments), "--quiet"]


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own; skips where this process may not mount one."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.slow
def test_killed_at_any_moment_a_run_goes_on_and_nothing_is_half_written(tmp_path: Path) -> None:
    draw, folder, known = random.Random(7), tmp_path / "run", 0
    begin, go_on = (
        fit(PENGUINS, "--target", "species", "--budget", "12s", "--out", folder),
        fit("--resume", folder, "--budget", "12s"),
    )
    for _ in range(KILLS):
        begun = (folder / "summary.json").exists()
        process = subprocess.Popen(go_on if begun else begin, start_new_session=True)
        time.sleep(draw.uniform(0.2, 9.0))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if not (folder / "summary.json").exists():
            shutil.rmtree(folder, ignore_errors=True)  # killed before its first network was scored: nothing to go on with
            continue
        Run.load(folder).predict(PENGUINS)
        records = read_members(folder / "members.jsonl")
        assert len(records) >= known, "a recipe that was written down is lost"
        known = len(records)
        (folder / "report.html").unlink(missing_ok=True)
        assert listed(folder)[1].endswith("cut off")
    if not (folder / "summary.json").exists():
        subprocess.run(begin, check=True)
    done = subprocess.run([*go_on[:-2], "30s", "--quiet"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (Summary.read(folder / "summary.json").score_test or 0) > 0.9
    assert listed(folder)[1].endswith(("finished", "interrupted"))
    assert [path.name for path in folder.rglob(".*")] == []


def test_a_read_only_place_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "ro") as disk, pytest.raises(TitrantError, match=r"cannot be written: Read-only"):
        titrant.fit(PENGUINS, "species", budget="20s", out=disk / "run")


def test_a_full_disk_does_not_end_the_search_and_is_said(tmp_path: Path) -> None:
    notes: list[str] = []

    class Watching(titrant.report.terminal.QuietView):
        def note(self, text: str) -> None:
            notes.append(text)
            (disk / "ballast").unlink(missing_ok=True)  # somebody makes room

    with mounted(tmp_path / "disk", "size=8m") as disk:
        place = disk / "run"
        filled = (disk / "ballast").open("wb")
        free = shutil.disk_usage(disk).free
        filled.write(b"0" * (free - 8192))
        filled.close()
        run = titrant.fit(PENGUINS, "species", budget="60s", members=3, out=place, view=Watching())
        assert any("No space left" in warning for warning in run.summary.warnings)
        assert any("No space left" in note for note in notes)
        assert Run.load(place).summary == run.summary
        assert run.report().stat().st_size > 0
        assert [path.name for path in place.rglob(".*")] == []


def test_a_wall_clock_that_jumps_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true, draw = time.time, random.Random(0)
    monkeypatch.setattr(time, "time", lambda: true() + draw.choice([-86400.0, 0.0, 86400.0]))
    begun = time.monotonic()
    run = titrant.fit(PENGUINS, "species", budget="15s", out=tmp_path / "run")
    assert time.monotonic() - begun < 20
    assert 0 < run.summary.seconds_total < 20
    assert run.summary.n_members > 3
    assert not run.summary.interrupted


class Payload:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.mark,)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "run"
    titrant.fit(PENGUINS, "species", budget="60s", members=3, out=folder, **LIGHT)
    return folder


def uses(folder: Path) -> list[Callable[[], object]]:
    """All that reads a run folder."""
    return [
        lambda: Run.load(folder).predict(PENGUINS),
        lambda: write_report(folder),
        lambda: titrant.resume(folder, budget="0.1s"),
        lambda: titrant.ablate(folder, budget="0.1s", tricks=["dropout"], pairs=1, replicates=2),
        lambda: titrant.Recipe.load(folder / "recipe.yaml"),
        lambda: listed(folder),
    ]


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


FILES = [
    "asked.json", "data.json", "evaluation.json", "members.jsonl", "model/model.json", "model/weights-*.safetensors",
    "recipe.yaml", "source.json", "study.db", "summary.json",
]  # fmt: skip


def test_no_file_of_a_run_is_left_out(whole: Path) -> None:
    assert {name for name in files_of(whole) if not any(fnmatch(name, known) for known in FILES)} == {"report.html"}


@pytest.mark.parametrize("name", FILES)
def test_a_tampered_file_is_refused_or_passed_over_and_never_executed(name: str, whole: Path, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    name = next(found for found in files_of(whole) if fnmatch(found, name))
    content = (whole / name).read_bytes()
    yaml = f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{mark}']]\n"
    bad = [
        b"", content[: len(content) // 2], pickle.dumps(Payload(mark)), yaml.encode(), b"[]", b"{}", b"null", b"\xff\x00" * 9,
        json.dumps({"format": 99, "x": [1]}).encode(), b"[" * 100_000,
    ]  # fmt: skip
    for number, part in enumerate(bad):
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder)
        (folder / name).write_bytes(part)
        for use in uses(folder):
            with suppress(TitrantError):
                use()
    assert not mark.exists()


def test_names_inside_archives_and_models_lead_out_of_no_folder(whole: Path, tmp_path: Path) -> None:
    outside, place = tmp_path / "outside.npy", tmp_path / "in" / "data"
    place.mkdir(parents=True)
    stream = io.BytesIO()
    np.save(stream, np.zeros((9, 4, 4), np.uint8))
    for name in ("../../outside.npy", str(outside), "..\\..\\outside.npy"):
        with zipfile.ZipFile(place / "data.npz", "w") as archive:
            archive.writestr(name, stream.getvalue())
            archive.writestr("x.npy", stream.getvalue())
        with suppress(TitrantError):
            read_data(place / "data.npz", None, notes=[])
        assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["data.npz"]
    shutil.copytree(whole, tmp_path / "run")
    weights = next((tmp_path / "run" / "model").glob("weights-*"))
    shutil.move(weights, tmp_path / "secret.safetensors")
    described = json.loads((tmp_path / "run" / "model" / "model.json").read_text())
    for name in ("../../secret.safetensors", str(tmp_path / "secret.safetensors")):
        (tmp_path / "run" / "model" / "model.json").write_text(json.dumps({**described, "weights": name}))
        with pytest.raises(TitrantError, match=r"secret\.safetensors is missing"):
            Run.load(tmp_path / "run")
