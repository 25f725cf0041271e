"""One search that several commands work on, on one machine or many, through an Optuna study in a database.

    this command                             the database                       other commands
    members that left  -- give, a thread -->  finished trials  -- taken -->  their proposals, their finals

Training never waits for the database (`titrant.background`): while it cannot be reached, the search goes on with what it has.
What could not be written at the end stays in the run folder, and `titrant fit --resume RUN --study ADDRESS` hands it in.

A trial has the doses of a member as its parameters, so that optuna-dashboard shows the search as any other. The whole record is
an attribute; it is JSON, checked when it is read, and trials that hold no such record are passed over.
"""

import json
import os
import socket
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from hashlib import sha256
from importlib.util import find_spec
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import ValidationError
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from titrant.background import Background
from titrant.errors import TitrantError
from titrant.record import Direction, MemberRecord
from titrant.search.storage import TROUBLES, innermost, opened, reason
from titrant.search.trials import name_metric
from titrant.texts import say

_EVERY = 1.0  # seconds between two looks into the database
_PATIENCE = 5  # seconds that a connection may take
_ATTEMPTS = 5  # at joining: two commands that make the tables at the same time disturb one another
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
_COMMAND = "command "
_LIKE = "search of"


class SharedStudy:
    """A command's part in a search that it shares.

    Args:
        address: of a database as SQLAlchemy writes it, `postgresql://user@host/name`; `#study` names one of several studies.
        name: of the study, where the address names none.
        direction: minimize or maximize.
        about: what all commands must have in common: `rows` (data, their division, seed), `metric`, `search` (the recipe
            or the space that a person gave).

    Attributes:
        rank: commands that joined before this one.

    Raises:
        TitrantError: there is no such database, the package that speaks with it is missing, or it holds another search there.

    Example:
        >>> one, other = (SharedStudy("sqlite://", "an example", "minimize", {"rows": "7"}) for _ in range(2))
        >>> one.rank, one.taken(), one.close(1.0)
        (0, [], [])
    """

    def __init__(self, address: str, name: str, direction: Direction, about: Mapping[str, str]) -> None:
        self._url, fragment = parsed(address)
        self.name = fragment or name
        self.command = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._known: set[str] = set()
        self._given: deque[tuple[str, FrozenTrial]] = deque()
        self._taken: deque[MemberRecord] = deque()
        self._shown = self._url.render_as_string(hide_password=True)
        self._close = ExitStack()
        try:
            self._study = self._joined(direction)
            self._check(about)
            self.rank = self._place()
            self._read()
        except BaseException:
            self._close.close()
            raise
        self._thread = Background("shared study", self._work, lambda: bool(self._given), TROUBLES, reason, _EVERY)

    @property
    def lost(self) -> str | None:
        """Why the database cannot be reached at the moment, or None."""
        return self._thread.lost

    def give(self, record: MemberRecord, trial: FrozenTrial) -> MemberRecord:
        """Has a member written for the others.

        Returns:
            The record with its name in the study, under which a resumed run knows it again.
        """
        name = record.shared or f"{self.command}:{record.number}"
        named = record.model_copy(update={"shared": name})
        trial.set_user_attr("command", self.command)
        trial.set_user_attr("name", name)
        trial.set_user_attr("record", named.model_dump_json())
        self._known.add(name)
        self._given.append((name, trial))
        self._thread.wake()
        return named

    def knows(self, record: MemberRecord) -> bool:
        """Whether the study has a member, or will have it."""
        return record.shared in self._known

    def mine(self, record: MemberRecord) -> bool:
        """Whether this command has trained a member."""
        return record.shared is None or record.shared.startswith(f"{self.command}:")

    def taken(self, patience: float = 0.0) -> list[MemberRecord]:
        """Members of other commands that have come since the last call, in the order of their arrival.

        Args:
            patience: seconds that a look into the database may take now; without any, what the last look has brought.
        """
        if patience:
            self._thread.turn(patience)
        found = []
        while self._taken:
            found.append(self._taken.popleft())
        return found

    def close(self, seconds: float) -> list[str]:
        """Ends the thread once everything is written, or the time is over.

        Returns:
            What a person should know: whether the others lack anything.
        """
        self._thread.close(seconds)
        self._close.close()
        if not self._given:
            return []
        return [
            say("The shared study at {address} could not be written at the end ({reason}); {count} recipes of this run are "
                "missing there. They are in the run folder, and `titrant fit --resume RUN --study {address}` hands them in.",
                address=self._shown, reason=self.lost or say("there was no time"), count=len(self._given))
        ]  # fmt: skip

    # ----------------------------------------------------------------- joining

    def _joined(self, direction: Direction) -> optuna.Study:
        options: dict[str, Any] = {"pool_pre_ping": True}
        url = self._url
        if url.get_backend_name() == "postgresql":
            if url.drivername == "postgresql" and find_spec("psycopg"):  # versions of SQLAlchemy take one driver or the other
                url = url.set(drivername="postgresql+psycopg")
            patient = {"connect_timeout": _PATIENCE, "tcp_user_timeout": 2000 * _PATIENCE}
            options["connect_args"] = patient | {"keepalives_idle": _PATIENCE, "keepalives_interval": 2, "keepalives_count": 3}
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        for attempt in range(_ATTEMPTS):
            try:
                storage = self._close.enter_context(opened(url.render_as_string(hide_password=False), **options))
                study = optuna.create_study(storage=storage, study_name=self.name, direction=direction, load_if_exists=True)
            except ImportError:
                raise TitrantError(
                    say("A study at {address} needs one more package: pip install 'titrant[postgresql]' for PostgreSQL; for "
                        "another database, the one that SQLAlchemy names for it.", address=self._shown)
                ) from None  # fmt: skip
            except TROUBLES as error:
                unreachable = "OperationalError" in type(innermost(error)).__name__  # asking again at once is in vain
                if attempt < _ATTEMPTS - 1 and not unreachable:
                    time.sleep(0.2 * (attempt + 1))
                    continue
                raise TitrantError(
                    say("The shared study at {address} cannot be reached: {reason}. Look whether the database runs, and "
                        "whether user, password (PGPASSWORD or ~/.pgpass) and name are right.",
                        address=self._shown, reason=reason(error))
                ) from None  # fmt: skip
            if study.direction.name.lower() == direction:
                return study
            break
        raise TitrantError(self._other("metric"))

    def _check(self, about: Mapping[str, str]) -> None:
        """Sees that all commands search for the same; the first one says what."""
        kept = self._study.user_attrs.get(_LIKE)
        if kept is None:
            self._study.set_user_attr(_LIKE, dict(about))
            if "metric" in about:
                name_metric(self._study, about["metric"])
            kept = self._study.user_attrs[_LIKE]
        for part, value in about.items():
            if not isinstance(kept, dict) or kept.get(part) != value:
                raise TitrantError(self._other(part))

    def _other(self, part: str) -> str:
        parts = {
            "rows": say("the data, their division or the seed"),
            "metric": say("the metric"),
            "search": say("the recipe or the search space"),
        }
        return say(
            "The study {name!r} at {address} is of another search: {part} differs. Give all commands the same data, options "
            "and seed, or name another study: {address}#NAME.", name=self.name, address=self._shown, part=parts[part]
        )  # fmt: skip

    def _place(self) -> int:
        """Commands that joined before this one, by the time that each of them has written."""
        joined = time.time()
        self._study.set_user_attr(_COMMAND + self.command, {"joined": joined})
        others = {key: value for key, value in self._study.user_attrs.items() if key.startswith(_COMMAND)}
        moments = [(value.get("joined", 0.0), key) for key, value in others.items() if isinstance(value, dict)]
        return sum(moment < (joined, _COMMAND + self.command) for moment in moments)

    # -------------------------------------------------------------- the thread

    def _work(self) -> None:
        self._read()  # first, because what seemed to fail may be there
        self._write()

    def _write(self) -> None:
        while self._given:
            trial = self._given[0][1]
            try:
                self._study.add_trial(trial)
            except ValueError:  # a dose with another range than before, as another version may have
                self._study.add_trial(create_trial(state=trial.state, value=trial.value, user_attrs=trial.user_attrs))
            self._given.popleft()

    def _read(self) -> None:
        there = set()
        for trial in self._study.get_trials(deepcopy=False, states=_ENDED):
            name = trial.user_attrs.get("name")
            there.add(name)
            if isinstance(name, str) and name not in self._known:
                self._known.add(name)
                with suppress(ValidationError):
                    self._taken.append(MemberRecord.model_validate_json(str(trial.user_attrs.get("record"))))
        while self._given and self._given[0][0] in there:
            self._given.popleft()


_PASSWORDS = ("password", "passwd")  # in the part behind a question mark, which some drivers read, too


def parsed(address: str) -> tuple[URL, str]:
    """The address of a database, and the name of the study in it, empty if there is none.

    Raises:
        TitrantError: it is no address.

    Example:
        >>> parsed("postgresql://me@host/searches#adult")
        (postgresql://me@host/searches, 'adult')
    """
    place, _, name = address.partition("#")
    try:
        return make_url(place), name
    except (ArgumentError, ValueError):  # the latter where the port is no number
        raise TitrantError(
            say("--study {address!r} is not the address of a database. Write postgresql://USER@HOST/DATABASE, or "
                "sqlite:///FILE for commands of one machine.", address=place)
        ) from None  # fmt: skip


def without_password(address: str) -> str:
    """The address as a run may keep it; the password is then left to PGPASSWORD or ~/.pgpass.

    Example:
        >>> without_password("postgresql://me:secret@host/searches#adult")
        'postgresql://me@host/searches#adult'
    """
    url, name = parsed(address)
    url = url.difference_update_query(_PASSWORDS)._replace(password=None)
    return url.render_as_string() + (f"#{name}" if name else "")


def digest(parts: Sequence[bytes]) -> str:
    """A short name for some content."""
    found = sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()[:16]


def as_json(thing: object) -> bytes:
    """Content whose names are sorted, so that equal things are equal."""
    return json.dumps(thing, sort_keys=True, default=str).encode()
