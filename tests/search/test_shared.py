"""Shared studies: in a file, and in a real PostgreSQL that goes away and comes back."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from tests.light import LIGHT

import titrant
from titrant import samples
from titrant.errors import TitrantError
from titrant.record import Asked, MemberRecord, Summary, read_members
from titrant.search.shared import SharedStudy, parsed, without_password
from titrant.search.storage import opened

PENGUINS = samples.path("penguins")
ABOUT = {"rows": "these"}


def member(number: int, **changes: Any) -> MemberRecord:
    found = MemberRecord(
        number=number, origin="tpe", recipe=titrant.Recipe().plain(), parameters=3, seed=1, state="finished", rung=2, steps=4,
        epochs=1.0, seconds=0.1, score_validation=0.5, curve=[], receipts=[],
    )  # fmt: skip
    return found.model_copy(update=changes)


def given(study: SharedStudy, record: MemberRecord) -> MemberRecord:
    return study.give(record, create_trial(state=TrialState.COMPLETE, value=0.5))


def soon(study: SharedStudy, seconds: float = 20.0) -> list[MemberRecord]:
    """Members of others, once there are any."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := study.taken():
            return found
        time.sleep(0.05)
    return []


@pytest.fixture
def place(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


def test_members_reach_the_others_once_and_come_back_to_nobody(place: str) -> None:
    one, other = SharedStudy(place, "s", "maximize", ABOUT), SharedStudy(place, "s", "maximize", ABOUT)
    assert (one.rank, other.rank) == (0, 1)
    sent = given(one, member(7))
    assert soon(other) == [sent]
    assert one.knows(sent)
    assert not one.knows(member(7))
    time.sleep(1.5)
    assert (one.taken(), other.taken()) == ([], [])
    assert SharedStudy(place, "s", "maximize", ABOUT).taken() == [sent]  # one that comes later
    assert (one.close(5), other.close(5)) == ([], [])


def test_trials_are_what_a_dashboard_shows_and_foreign_ones_are_passed_over(place: str) -> None:
    study = SharedStudy(place, "s", "maximize", ABOUT)
    trial = create_trial(
        state=TrialState.COMPLETE, value=0.5, params={"dropout.p": 0.2},
        distributions={"dropout.p": optuna.distributions.FloatDistribution(0, 1)},
    )  # fmt: skip
    study.give(member(1), trial)
    assert study.close(10) == []
    stored = optuna.load_study(study_name="s", storage=place)
    assert [trial.params for trial in stored.trials] == [{"dropout.p": 0.2}]
    stored.add_trial(create_trial(state=TrialState.COMPLETE, value=1.0))
    attributes = {"name": "a:1", "record": json.dumps({"number": "__import__('os')"})}
    stored.add_trial(create_trial(state=TrialState.COMPLETE, value=1.0, user_attrs=attributes))
    assert [record.number for record in SharedStudy(place, "s", "maximize", ABOUT).taken()] == [1]


def test_a_dose_with_another_range_is_written_without_its_doses(place: str) -> None:
    study = SharedStudy(place, "s", "maximize", ABOUT)
    for number, choices in enumerate((["relu", "gelu"], ["relu", "tanh"])):
        found = optuna.distributions.CategoricalDistribution(choices)
        trial = create_trial(
            state=TrialState.COMPLETE, value=0.5, params={"activation": "relu"}, distributions={"activation": found}
        )  # fmt: skip
        study.give(member(number), trial)
    assert study.close(10) == []
    assert [trial.params for trial in kept(place, "s")] == [{"activation": "relu"}, {}]
    assert [record.number for record in SharedStudy(place, "s", "maximize", ABOUT).taken()] == [0, 1]


def test_another_search_is_refused(place: str) -> None:
    SharedStudy(place, "s", "maximize", ABOUT)
    with pytest.raises(TitrantError, match=r"is of another search: the data, their division or the seed differs.*#NAME"):
        SharedStudy(place, "s", "maximize", {"rows": "others"})
    with pytest.raises(TitrantError, match="is of another search: the metric differs"):
        SharedStudy(place, "s", "minimize", ABOUT)
    assert SharedStudy(place + "#another", "s", "minimize", ABOUT).name == "another"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nonsense", "is not the address of a database"),
        ("postgresql://me@host:port/searches", "is not the address of a database"),
        ("postgresql://nobody@127.0.0.1:9/nothing", "cannot be reached: .*refused"),
        ("sqlite:////nowhere/at/all.db", "cannot be reached: unable to open database file"),
    ],
)
def test_what_cannot_be_reached_is_said(address: str, message: str) -> None:
    with pytest.raises(TitrantError, match=message):
        SharedStudy(address, "s", "maximize", ABOUT)


def test_passwords_are_neither_kept_nor_shown() -> None:
    address = "postgresql://me:secret@127.0.0.1:9/searches#mine"
    assert without_password(address) == "postgresql://me@127.0.0.1:9/searches#mine"
    assert parsed(address)[1] == "mine"
    assert without_password("postgresql://host/s?user=me&password=secret") == "postgresql://host/s?user=me"
    with pytest.raises(TitrantError) as caught:
        SharedStudy(address, "s", "maximize", ABOUT)
    assert "secret" not in str(caught.value)


def test_commands_search_together_and_a_resumed_one_hands_in_what_was_missing(place: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"budget": "60s", "study": place, **LIGHT}
    first = titrant.fit(PENGUINS, "species", members=4, out=tmp_path / "first", **settings)
    second = titrant.fit(PENGUINS, "species", members=8, out=tmp_path / "second", **settings)
    assert first.summary.n_members == 4
    records = [record for record in read_members(tmp_path / "second" / "members.jsonl") if record.origin != "refit"]
    assert second.summary.n_members == len(records) == 8
    assert len({record.number for record in records}) == 8
    assert len({record.shared for record in records}) == 8
    assert len({str(record.shared).partition(":")[0] for record in records}) == 2
    own = [record for record in records[4:] if record.origin != "baseline"]
    before = [json.dumps(record.recipe, sort_keys=True) for record in records[:4]]
    assert all(json.dumps(record.recipe, sort_keys=True) not in before for record in own)
    assert Asked.read(tmp_path / "second" / "asked.json").study == place
    Path(str(parsed(place)[0].database)).unlink()  # the database is lost, with all that was in it
    again = titrant.resume(tmp_path / "second", budget="12s", study=place)
    assert again.summary.n_members > 8
    assert len(kept(place, optuna.get_all_study_names(place)[0])) >= again.summary.n_members
    with pytest.raises(TitrantError, match="of another search: the data, their division or the seed differs"):
        titrant.fit(PENGUINS, "species", members=4, seed=1, **settings)


def test_a_grid_and_a_single_recipe_are_for_one_command(place: str) -> None:
    with pytest.raises(TitrantError, match="walked through by one command"):
        titrant.fit(PENGUINS, "species", recipe=titrant.Recipe(), study=place)
    with pytest.raises(TitrantError, match="walked through by one command"):
        titrant.fit(PENGUINS, "species", search="grid", space={"dropout.p": [0.1, 0.2]}, study=place)


# ---------------------------------------------------------------- PostgreSQL


def kept(address: str, name: str) -> list[FrozenTrial]:
    """Trials of a study, none if there is no such study."""
    with opened(address.replace("postgresql://", "postgresql+psycopg://")) as storage, suppress(KeyError):
        return optuna.load_study(study_name=name, storage=storage).trials
    return []


class Server:
    """A PostgreSQL of its own."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._user = {"user": "postgres"} if os.getuid() == 0 else {}  # it refuses to run as root
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        if self._user:
            shutil.chown(self.folder, "postgres")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._call("initdb", "-D", self.data, "-U", "titrant", "--auth=trust", "--no-sync")
        self.start()
        self.address = f"postgresql://titrant@127.0.0.1:{self.port}/postgres"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        self._call("pg_ctl", "-D", self.data, "-o", options, "-l", self.folder / "log", "-w", "start")

    def stop(self) -> None:
        self._call("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")

    def _call(self, program: str, *arguments: object) -> None:
        command = [str(self._programs / program), *map(str, arguments)]
        subprocess.run(command, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, **self._user)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "")]
    if not found[-1].name:
        pytest.skip("PostgreSQL is not installed (Debian's package postgresql)")
    made = Server(found[-1].parent)
    yield made
    made.stop()
    shutil.rmtree(made.folder)


def command(*arguments: object) -> "subprocess.Popen[str]":
    line = [sys.executable, "-m", "titrant", "fit", str(PENGUINS), "--target", "species", *map(str, arguments), "--json"]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_commands_at_once_share_a_search_in_postgresql(server: Server, tmp_path: Path) -> None:
    address = server.address + "#together"
    both = [command("--budget", "60s", "--study", address, "--out", tmp_path / name) for name in ("one", "other")]
    for process in both:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    seen = []
    for name in ("one", "other"):
        records = [record for record in read_members(tmp_path / name / "members.jsonl") if record.origin != "refit"]
        seen.append({str(record.shared).partition(":")[0] for record in records})
        assert len({record.shared for record in records}) == len(records)
        assert Summary.read(tmp_path / name / "summary.json").score_test
    assert max(map(len, seen)) == 2, "the one that comes to its finals later has members of both"
    assert len(set.union(*seen)) == 2
    names = [trial.user_attrs["name"] for trial in kept(server.address, "together")]
    assert len(names) == len(set(names)) >= len(set.union(*seen))


@pytest.mark.slow
def test_a_database_that_is_gone_for_a_while_is_waited_for(server: Server) -> None:
    one, other = (SharedStudy(server.address, "gone for a while", "maximize", ABOUT) for _ in range(2))
    given(one, member(0))
    assert len(soon(other)) == 1
    server.stop()
    given(one, member(1))
    until = time.monotonic() + 60
    while time.monotonic() < until and not (one.lost and other.lost):
        time.sleep(0.1)
    time.sleep(5)  # in which both try again in vain
    assert one.lost
    server.start()
    assert [record.number for record in soon(other, 90)] == [1]
    assert one.lost is None
    assert (one.close(5), other.close(5)) == ([], [])


def test_a_database_that_is_gone_for_good_does_not_end_the_run(server: Server, tmp_path: Path) -> None:
    process = command("--budget", "30s", "--study", server.address + "#lost", "--out", tmp_path / "run")
    until = time.monotonic() + 30
    while time.monotonic() < until and not kept(server.address, "lost"):
        time.sleep(0.2)
    server.stop()
    try:
        out, errors = process.communicate(timeout=90)
    finally:
        server.start()
    assert process.returncode == 0, errors
    summary = json.loads(out)
    assert summary["n_members"] >= 1
    assert any("shared study" in warning and "are missing there" in warning for warning in summary["warnings"])
    again = titrant.resume(tmp_path / "run", budget="10s", study=server.address + "#lost")
    assert len(kept(server.address, "lost")) >= again.summary.n_members
