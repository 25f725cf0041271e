"""A fitted model for other programs: written, run there, and compared with the original before it counts.

    run → rows to compare on → the model in another form → what the other side predicts, within a ten-thousandth → a folder

What each form takes in is told by `inputs.json` beside it; scaling, encodings and averaging of networks are inside.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from titrant.data.learnable import read_again
from titrant.errors import DataError, OutputError
from titrant.exports import onnx, program, script, tensorflow
from titrant.exports.described import Described, described
from titrant.exports.rows import Rows, rows_of
from titrant.folders import free_place, new_folder, writing
from titrant.predictor import Predictor
from titrant.record import Source
from titrant.texts import say

CLOSE = 1e-4
"""How far predictions may differ: probabilities by so much, values by so much of the target's standard deviation."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        folder: where it stands.
        files: in it, the model first.
        rows: on which both sides were compared.
        difference: between them at most, as `CLOSE` measures it.
        notes: what the person should know.
    """

    folder: Path
    files: tuple[str, ...]
    rows: int
    difference: float
    notes: tuple[str, ...]


Writer = Callable[[Predictor, Described, Rows, Path], object]
"""Writes the model of a predictor into a folder, and returns what the other side predicts for the rows."""

FORMS: dict[str, tuple[str, Writer]] = {
    "onnx": ("model.onnx", onnx.write),
    "torch": ("model.pt2", program.write),
    "tensorflow": ("saved_model", tensorflow.write),
    "litert": ("model.tflite", tensorflow.write_lite),
    "script": ("train.py", script.write),
}
"""By name, the file or folder that is written and what writes it."""


def export(run: str | Path, to: str, out: str | Path, data: object = None) -> Exported:
    """Writes the model of a run for another program, and compares what that predicts with the original.

    Args:
        run: a folder that `titrant.fit` wrote.
        to: "onnx" for onnxruntime and its kin, "torch" for programs that load a `torch.export.ExportedProgram`,
            "tensorflow" for those that load a SavedModel, "litert" for LiteRT (TensorFlow Lite) on phones and boards, "script"
            for a Python file that trains the model again.
        out: a new or empty folder.
        data: rows to compare on, for a run whose data were in memory or have moved.

    Raises:
        OutputError: there is no such run or form, a package is missing, or predictions differ; nothing is written then.
        DataError: `data` cannot be read.

    Example:
        >>> import tempfile, titrant
        >>> table = {"x": [i / 60 for i in range(60)], "y": ["low"] * 30 + ["high"] * 30}
        >>> place = Path(tempfile.mkdtemp())
        >>> run = titrant.fit(table, target="y", budget="20s", members=2, out=place / "run")
        >>> titrant.export(place / "run", "torch", place / "exported", data=table).files
        ('model.pt2', 'inputs.json')
    """
    if to not in FORMS:
        raise OutputError(say("There is no form {to!r}. Choose of {forms}.", to=to, forms=", ".join(FORMS)))
    folder = Path(run)
    predictor = Predictor.load(folder / "model")
    notes: list[str] = []
    told = described(predictor)
    rows = _rows(folder, predictor, data, notes, whole=to == "script")
    file, write = FORMS[to]
    with new_folder(free_place(Path(out))) as target, writing(target):
        found = write(predictor, told, rows, target / file)
        difference = rows.difference(found)
        if not difference <= CLOSE:
            raise OutputError(
                say("The exported model predicts otherwise than the original, by {difference:.2g}: nothing is kept.",
                    difference=difference)
            )  # fmt: skip
        if to in told.about:
            told.write(target, to)
        files = (file, *sorted(one.name for one in target.iterdir() if one.name != file))
    return Exported(target, files, rows.count, difference, tuple(notes))


def _rows(folder: Path, predictor: Predictor, data: object, notes: list[str], *, whole: bool) -> Rows:
    """Rows of the run's data; of those that a person gives; or empty ones, where there are no others."""
    if data is not None and not whole:
        return rows_of(predictor, predictor.encode(data, notes))
    try:
        dataset = read_again(Source.read(folder / "source.json"), [], data)
    except (DataError, OSError, ValueError) as error:
        if data is not None:
            raise
        notes.append(
            say("The check saw empty rows alone, for want of the run's data. {reason} Give them (--data) for a better one.",
                reason=error if isinstance(error, DataError) else "")
        )  # fmt: skip
        return rows_of(predictor, None)
    return replace(rows_of(predictor, dataset.inputs), dataset=dataset, run=folder)
