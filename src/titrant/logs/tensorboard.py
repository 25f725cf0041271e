"""A run as files for TensorBoard: `tensorboard --logdir RUN/tensorboard`.

Each member has a folder of its own with its curves and, for the table of hyperparameters, its doses.
"""

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from titrant.logs import curve, doses, member_name, scores
from titrant.record import MemberRecord, Summary


def make(folder: Path) -> "TensorBoardLog":
    """The log of a run."""
    return TensorBoardLog(folder / "tensorboard")


class TensorBoardLog:
    """Writes event files below a folder; see `titrant.logs.Log`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, name: str, facts: Mapping[str, str]) -> None:
        """Notes what the run is about, under Text."""
        table = ["| | |", "|-|-|", *(f"| {key} | {value} |" for key, value in {"run": name, **facts}.items())]
        with SummaryWriter(str(self._folder / "run")) as writer:
            writer.add_text("run", "\n".join(table))

    def member(self, record: MemberRecord) -> None:
        """A member's curves and doses."""
        place = self._folder / member_name(record)
        for earlier in place.glob("events.out.tfevents.*") if place.is_dir() else ():
            earlier.unlink()  # of an attempt that failed
        with SummaryWriter(str(place)) as writer:
            for point in record.curve:
                for name, value in curve(point).items():
                    writer.add_scalar(name, value, point.step)
            if record.score_validation is not None:
                known = {"origin": record.origin, "state": record.state, **dict(doses(record.recipe))}
                writer.add_hparams(known, {"best/score_validation": record.score_validation}, run_name=".")

    def end(self, folder: Path, summary: Summary) -> None:
        """The scores of the run."""
        with SummaryWriter(str(self._folder / "run")) as writer:
            for name, value in scores(summary).items():
                writer.add_scalar(name, value, 0)

    def fail(self) -> None:
        """Nothing more to write: files have no end."""
