"""Runs a program under observation, unedited: `titrant diagnose train.py` starts this module in a process of its own.

    parent: observe() ─ starts ─→ child: main() ─ runpy ─→ the program, with probes in torch, Keras and Lightning
    parent: reads case.json ←─ written every few seconds, and when the program ends, in whatever way ─┘

The process of its own means that a program that crashes, leaves with `os._exit` or is killed still gets its findings, and that
nothing of it stays behind.
"""

import atexit
import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from titrant.doctor.case import Case, Crash
from titrant.errors import DataError
from titrant.texts import say

_SETTINGS = "TITRANT_OBSERVE"
_PATIENCE = 10.0  # seconds that an interrupted program has to end
_SECONDS = 5.0  # between writings of the case
_TRAINERS = ("lightning.pytorch.trainer.trainer", "pytorch_lightning.trainer.trainer")


def observe(
    script: Path,
    arguments: Sequence[str] = (),
    *,
    epochs: int | None = None,
    steps: int | None = None,
    every: int = 250,
    show: bool = True,
) -> Case:
    """Runs a Python program and returns what was seen of its training.

    Args:
        script: the program's file.
        arguments: its own, as it would get them on the command line.
        epochs: ends its training after so many passes over the data, from 1; None lets it run.
        steps: likewise, in steps of the optimiser.
        every: the widest gap between looks, in steps.
        show: lets its output through, to stderr, so that stdout stays free for the findings; False drops it.

    Raises:
        DataError: there is no such file, or the program trained nothing that could be seen.
    """
    if not script.is_file():
        raise DataError(
            say("There is no file {file}. Name a Python program or a folder that 'titrant fit' has written.", file=script)
        )
    with tempfile.TemporaryDirectory(prefix="titrant-") as folder:
        file = Path(folder) / "case.json"
        settings = {"file": str(file), "epochs": epochs, "steps": steps, "every": every}
        command = [sys.executable, "-m", "titrant.doctor.script", str(script), *arguments]
        environment = {"MPLBACKEND": "Agg"} | os.environ | {_SETTINGS: json.dumps(settings)}  # no window stops the program
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")])
        )
        output = sys.stderr.fileno() if show and _has_handle(sys.stderr) else subprocess.DEVNULL
        # In a session of its own, so that Ctrl-C reaches it once, from here: it then ends, and its findings are given.
        child = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
        try:
            code = child.wait()
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_PATIENCE)
            code = child.returncode or 0
        finally:
            child.kill()
        if not file.is_file():
            raise DataError(
                say("{script} ended with code {code} before anything could be seen of it.", script=script, code=code)
            )
        case = Case.read(file)
    if code < 0 and case.crash is None:
        case.crash = Crash(
            error=say("signal {number}", number=-code), message=say("The process was killed."), place=str(script)
        )
    if case.crash is None and not (case.wiring.backwards or case.wiring.steps or case.losses):
        raise DataError(
            say(
                "{script} ran to its end and trained nothing with torch or Keras. Name the program with the training loop.",
                script=script,
            )
        )
    return case


def _has_handle(stream: Any) -> bool:
    try:
        stream.fileno()
    except (OSError, ValueError, AttributeError):
        return False
    return True


# What follows runs in the child.


def main() -> None:
    """The child: sets up observation, runs the program, writes the case."""
    settings = json.loads(os.environ.pop(_SETTINGS))
    script, sys.argv = Path(sys.argv[1]), sys.argv[1:]
    sys.path[0] = str(script.resolve().parent)
    from titrant.doctor import backend  # noqa: F401  before the program imports Keras
    from titrant.doctor.probes import EnoughSeen, Probes
    from titrant.doctor.recorder import Recorder

    recorder = Recorder(settings["every"])
    probes = Probes(recorder, epochs=settings["epochs"], steps=settings["steps"])
    writer = _Writer(recorder, Path(settings["file"]))
    recorder.after_settling = writer.now_and_then
    _when_imported(
        "keras", lambda: import_module("titrant.doctor.attach_keras").install(probes, settings["epochs"], settings["steps"])
    )
    for package in _TRAINERS:
        _when_imported(package, partial(_listen_to_trainers, package, recorder))
    probes.start()
    atexit.register(writer.write)
    try:
        runpy.run_path(str(script), run_name="__main__")
    except EnoughSeen:
        recorder.case.cut_short = True
    except SystemExit as end:
        if isinstance(end.code, str) or end.code not in (None, 0):
            recorder.case.crash = Crash(error="SystemExit", message=str(end.code), place=str(script))
        raise
    except KeyboardInterrupt:
        recorder.case.cut_short = True
    except BaseException as error:
        recorder.case.crash = _crash(error, script, probes.failed_in or probes.current)
        traceback.print_exc()
        sys.exit(1)
    finally:
        probes.stop()
        writer.write()


def _listen_to_trainers(package: str, recorder: Any) -> None:
    """Notes the callbacks of Lightning's trainers; what these train is seen through torch."""
    trainer = sys.modules[package].Trainer
    original = trainer.fit

    @wraps(original)
    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        recorder.callbacks(self.callbacks)
        return original(self, *args, **kwargs)

    trainer.fit = fit


class _Writer:
    """Writes the case at the end, and now and then before, for a program that is killed."""

    def __init__(self, recorder: Any, file: Path) -> None:
        self._recorder, self._file, self._written = recorder, file, time.monotonic()
        self._process = os.getpid()

    def now_and_then(self) -> None:
        if time.monotonic() - self._written > _SECONDS:
            self.write()

    def write(self) -> None:
        if os.getpid() == self._process:  # and not in a worker that the program has forked
            self._recorder.close().write(self._file)
            self._written = time.monotonic()


def _crash(error: BaseException, script: Path, layer: str | None) -> Crash:
    frames = traceback.extract_tb(error.__traceback__)
    # Of the program's own lines the innermost; in syntax errors the line itself.
    own = [frame for frame in frames if "site-packages" not in frame.filename and "titrant" not in Path(frame.filename).parts]
    own = [frame for frame in own if not frame.filename.startswith("<")]
    inner = next((frame for frame in reversed(own) if Path(frame.filename).parent == script.resolve().parent), None)
    inner = inner or (own[-1] if own else None)
    place = f"{script.name}:{error.lineno}" if isinstance(error, SyntaxError) else str(script)
    if inner is not None and not isinstance(error, SyntaxError):
        place = f"{Path(inner.filename).name}:{inner.lineno}: {inner.line}"
    message = str(error).strip()
    return Crash(error=type(error).__name__, message=message[:2000], place=place, layer=layer)


class _Finder(importlib.abc.MetaPathFinder):
    """Calls a function once a package has been imported."""

    def __init__(self, package: str, then: Callable[[], None]) -> None:
        self._package, self._then = package, then

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        if name != self._package:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            load, then = spec.loader.exec_module, self._then

            def loaded(module: ModuleType) -> None:
                load(module)
                then()

            spec.loader.exec_module = loaded  # type: ignore[method-assign]
        return spec


def _when_imported(package: str, then: Callable[[], None]) -> None:
    sys.meta_path.insert(0, _Finder(package, then))


if __name__ == "__main__":
    main()
