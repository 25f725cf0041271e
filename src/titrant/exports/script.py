"""A model as a script that trains it again: readable, self-contained, with PyTorch alone.

    train.py      the program (`titrant.exports.plain`) with all that the model's recipes use, as one file
    rows.pt       the rows, as the model's schema reads them, and how they are divided
    weights.pt    the model's own weights

`python train.py` trains the networks on the rows that they were trained on, from the same seeds, and prints the score on the
held-out rows; `python train.py --weights weights.pt` judges the model's own weights. It is these that the check compares, in a
process in which nothing of this project is loaded.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from titrant.data.images import Images
from titrant.data.learnable import Learnable, folds_of, truth_of
from titrant.data.series import Series
from titrant.data.text import Texts
from titrant.errors import OutputError
from titrant.exports import plain
from titrant.exports.alive import Given, mark
from titrant.exports.described import Described
from titrant.exports.rows import Rows
from titrant.exports.source import Book, groups
from titrant.models.image import last
from titrant.predictor import Network, Origin, Predictor
from titrant.recipe import Recipe, slots
from titrant.record import Summary, write_text
from titrant.texts import say
from titrant.train.metrics import METRICS
from titrant.tricks.base import Off
from titrant.tricks.model import Custom

_CHECK = """
import sys
import torch
folder, given, found = sys.argv[1:]
sys.path.insert(0, folder)
import train
kept = torch.load(f"{folder}/rows.pt", weights_only=True)
kept["inputs"] = torch.load(given, weights_only=True)
rows = train.KIND(kept, train.MODEL, torch.device("cpu"))
networks = train.restored(train.MODEL, rows, torch.load(f"{folder}/weights.pt", weights_only=True))
predicted = train.averaged(train.MODEL, networks, rows, torch.arange(len(rows.raw[0])))
torch.save(predicted, found)
sys.exit(any(name.partition(".")[0] == "OWN" for name in sys.modules))
"""


def write(predictor: Predictor, told: Described, rows: Rows, file: Path) -> object:
    """Writes the script, the rows and the weights; has another process predict, and returns what it says."""
    dataset, folder = rows.dataset, file.parent
    if any(isinstance(recipe.model, Custom) for recipe in predictor.recipes):
        raise OutputError(
            say("The model has a network of your own, whose code is yours: a script cannot hold it. Choose another form.")
        )
    if dataset is None or rows.run is None:
        raise OutputError(
            say("A script trains on the rows of the run, and these are not to be had. Give them with their target (--data).")
        )
    if predictor.origins is None:
        raise OutputError(
            say("This run was written by an earlier version, which did not keep the seeds of its networks. Fit again, or "
                "choose another form.")
        )  # fmt: skip
    summary = Summary.read(rows.run / "summary.json")
    torch.save(kept(predictor, dataset, predictor.origins, summary), folder / "rows.pt")
    networks = [(network.encoder, network.body) for network in predictor.networks if isinstance(network, Network)]
    torch.save(plain.saved(networks), folder / "weights.pt")
    write_text(file, script_of(predictor, dataset, summary))
    return _seen_elsewhere(folder, _as_kept(dataset, rows.inputs))


def script_of(predictor: Predictor, dataset: Learnable, summary: Summary) -> str:
    """The text of `train.py`.

    Args:
        predictor: the model.
        dataset: its rows.
        summary: of its run.
    """
    recipes = [_plainer(recipe) for recipe in predictor.recipes]
    book = Book(Given(recipes, predictor.networks))
    kind = _kind(dataset)
    score = METRICS[summary.metric].score
    named: list[Any] = [plain.main, plain.Model, plain.Member, kind, score]
    named += [type(group) for recipe in recipes for group in groups(recipe)]
    named += [type(trick) for recipe in recipes for _, trick in recipe.tricks() if not isinstance(trick, Off)]
    book.reach([(one.__module__, one.__name__) for one in named])
    distinct = list(dict.fromkeys(recipe.yaml() for recipe in recipes))
    names = ["RECIPE"] if len(distinct) == 1 else [f"RECIPE_{place}" for place in range(1, len(distinct) + 1)]
    lines = [
        f"{name} = {book.written(next(one for one in recipes if one.yaml() == text))}"
        for name, text in zip(names, distinct, strict=True)
    ]
    reached = 'float("nan")' if summary.score_test is None else repr(summary.score_test)
    members = []
    for recipe, origin, share, heat in zip(
        recipes, predictor.origins or (), predictor.shares, predictor.temperatures, strict=True
    ):
        name = names[distinct.index(recipe.yaml())]
        about = f"seed={origin.seed}, share={share!r}, temperature={heat!r}, steps={origin.steps}"
        members.append(f"        {mark(plain.Member)}({name}, {about}),")
    lines += [
        f"MODEL = {mark(plain.Model)}(",
        "    members=(", *members, "    ),",
        f"    classes={len(dataset.schema.classes)},",
        f"    score={mark(score)},",
        f"    metric={summary.metric!r},",
        f"    higher={summary.direction == 'maximize'},",
        f"    reached={reached},",
        f"    centre={predictor.centre!r},",
        f"    width={predictor.width!r},",
        f"    wide={truth_of(dataset).dim() == 2},",
        f"    reach={predictor.reach!r},",
        ")",
        f"KIND = {mark(kind)}",
        "", "",
        'if __name__ == "__main__":',
        f"    {mark(plain.main)}(MODEL, KIND)",
    ]  # fmt: skip
    head = say(
        "Trains a model for {target!r}, and judges it on held-out rows. It needs PyTorch alone.\n\n"
        "    python train.py                          trains; the weights go to trained.pt\n"
        "    python train.py --weights weights.pt     judges the weights that this model was exported with\n\n"
        "The rows stand in rows.pt. The recipe, with every dose, is at the end of this file; above it, in the order in which\n"
        "they build on one another, stand the tricks, the network and the training loop that it uses. In comments, axes are\n"
        "k network (here one at a time), b row of a batch, f feature, p learned number.\n",
        target=dataset.schema.target,
    )
    return book.finished(head, "\n".join(lines))


def _plainer(recipe: Recipe) -> Recipe:
    """The recipe without tricks that do nothing."""
    for path, kinds in slots().items():
        if Off in kinds and recipe.at(path).is_off:
            recipe = recipe.without(path)
    return recipe


def _kind(dataset: Learnable) -> type[plain.Rows]:
    kinds: list[tuple[type, type[plain.Rows]]] = [
        (Images, plain.PictureRows), (Series, plain.SeriesRows), (Texts, plain.TextRows),
    ]  # fmt: skip
    return next((kind for of, kind in kinds if isinstance(dataset, of)), plain.TableRows)


def _as_kept(dataset: Learnable, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Rows as the script reads them: pictures with their channels last."""
    return [last(inputs[0]).contiguous()] if isinstance(dataset, Images) else [tensor.contiguous() for tensor in inputs]


def kept(predictor: Predictor, dataset: Learnable, origins: Sequence[Origin], summary: Summary) -> dict[str, Any]:
    """The content of `rows.pt`."""
    split = dataset.split
    development = split.development
    about: dict[str, Any] = {}
    match dataset:
        case Series():
            about["ragged"] = dataset.schema.ragged
        case Texts():
            about |= {"tokens": len(dataset.schema.vocabulary.pieces), "begins": _places(dataset.schema.vocabulary.begins)}
        case Images():
            pass
        case _:
            about["cardinalities"] = list(dataset.schema.cardinalities)
    parts = []
    for origin in origins:
        if origin.fold is None:
            parts.append((split.train, split.validation))
        else:
            cut = folds_of(dataset, development, origin.folds, origin.cut)
            if len(cut) != origin.folds:
                raise OutputError(
                    say("The run divided its rows into {count} folds, this version of Titrant into {found}: a script would "
                        "train on other rows. Run titrant fit once more.", count=origin.folds, found=len(cut))
                )  # fmt: skip
            parts.append(cut[origin.fold])
    across = summary.final == "refit" or any(origin.fold is not None for origin in origins)  # not the training part alone
    return {
        "inputs": _as_kept(dataset, dataset.inputs),
        "target": truth_of(dataset),
        "learnable": development if across else split.train,
        "visible": development,
        "test": split.test,
        "folds": parts,
        "about": about,
    }


def _places(begins: Sequence[bool]) -> list[int]:
    return [place for place, one in enumerate(begins) if one]


def _seen_elsewhere(folder: Path, inputs: Sequence[Tensor]) -> Tensor:
    """What the script predicts in a process of its own."""
    with tempfile.TemporaryDirectory() as aside:
        given, found = Path(aside) / "given.pt", Path(aside) / "found.pt"
        torch.save(list(inputs), given)
        program = _CHECK.replace("OWN", __name__.partition(".")[0])
        command = [sys.executable, "-I", "-B", "-c", program, str(folder), str(given), str(found)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["?"])[-1]
            raise OutputError(say("The script does not run: {reason}", reason=reason[:300]))
        predicted: Tensor = torch.load(found, weights_only=True)
        return predicted
