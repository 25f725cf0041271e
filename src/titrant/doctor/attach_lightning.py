"""The doctor in Lightning: a callback for `Trainer`. Lightning trains with torch, so the hooks are those of `watch`."""

from typing import Any

import lightning.pytorch as pl

from titrant.doctor.case import Case
from titrant.doctor.finding import Findings
from titrant.doctor.probes import Probes
from titrant.doctor.recorder import Recorder
from titrant.doctor.rules import diagnose


class DoctorCallback(pl.Callback):
    """Watches `Trainer.fit`; afterwards `findings` says what looked sick, and `print(callback.findings)` reads as text.

    Args:
        every: the widest gap between looks, in steps, from 1.

    Example:
        trainer = Trainer(max_epochs=5, callbacks=[doctor := DoctorCallback()])
        trainer.fit(module, loader)
        print(doctor.findings)
    """

    def __init__(self, every: int = 250) -> None:
        self.recorder = Recorder(every)
        self.recorder.case.framework = "lightning"
        self._probes: Probes | None = None

    @property
    def case(self) -> Case:
        """What has been recorded so far."""
        return self.recorder.close()

    @property
    def findings(self) -> Findings:
        """What the rules say about it, the gravest first."""
        return diagnose(self.case)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begins to watch. Any module may be the outermost one that a training step calls, so none is named."""
        self.recorder.callbacks(trainer.callbacks)
        self._probes = Probes(self.recorder, optimizers=trainer.optimizers)
        self._probes.start()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Takes the hooks away."""
        self._stop()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Takes the hooks away after an error too."""
        self._stop()

    def _stop(self) -> None:
        if self._probes is not None:
            self._probes.stop()
            self._probes = None
