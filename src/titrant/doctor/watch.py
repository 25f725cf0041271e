"""`titrant.watch`: the doctor in a person's own loop."""

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from torch import nn
from torch.optim import Optimizer

from titrant.doctor.case import Case
from titrant.doctor.finding import Finding, text
from titrant.doctor.probes import Probes
from titrant.doctor.recorder import Recorder
from titrant.doctor.rules import diagnose


class Doctor:
    """Watches one training run; what `watch` gives.

    `findings` may be read at any time, within the loop too.
    """

    def __init__(self, probes: Probes) -> None:
        self._probes = probes

    def __enter__(self) -> Self:
        self._probes.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._probes.stop()

    @property
    def case(self) -> Case:
        """What has been recorded so far."""
        return self._probes.recorder.close()

    @property
    def findings(self) -> list[Finding]:
        """What the rules say about it, the gravest first."""
        return diagnose(self.case)

    def __str__(self) -> str:
        return text(self.findings)


def watch(model: nn.Module, optimizer: Optimizer | Iterable[Optimizer] = (), *, every: int = 250) -> Doctor:
    """Observes a training loop while the context is open; print the result or read its `findings`.

    Nothing of the loop changes: its numbers are the same with and without.

    Args:
        model: the module that is called in the loop.
        optimizer: one or several; those that are not named are noticed when they step.
        every: the widest gap between looks, in steps, from 1. The first steps are looked at more closely.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3), torch.nn.Softmax(dim=1))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with watch(model, optimizer) as doctor:
        ...     for _ in range(20):
        ...         optimizer.zero_grad()
        ...         loss = torch.nn.functional.cross_entropy(model(torch.randn(16, 4)), torch.randint(3, (16,)))
        ...         loss.backward()
        ...         optimizer.step()
        >>> doctor.findings[0].rule
        'softmax_twice'
    """
    optimizers = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)
    return Doctor(Probes(Recorder(every), model, optimizers))
