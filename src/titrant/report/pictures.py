"""Pictures for the report: training pictures as they are and as a recipe augments them, and mistakes of the final model."""

import base64
import io
from collections import Counter

import torch
from PIL import Image
from torch import Tensor

from titrant.data.images import Images
from titrant.data.learnable import Learnable
from titrant.models.image import last
from titrant.recipe import Recipe
from titrant.record import Mistake, Sample
from titrant.train.images import ImageProblem
from titrant.train.member import Member
from titrant.tricks.acting import Ledger, Streams

_SAMPLES = 8
_VERSIONS = 4
_PAIRS, _EACH = 6, 4  # kinds of mistakes that are shown, and pictures of each


def samples(dataset: Learnable, recipe: Recipe, seed: int) -> list[Sample]:
    """A few training pictures, evenly spaced over the classes, each with versions that training sees; none of a table."""
    if not isinstance(dataset, Images):
        return []
    train = dataset.split.train
    order = train[dataset.target[train].argsort(stable=True)]
    rows = order[torch.linspace(0, len(order) - 1, min(_SAMPLES, len(order))).long()]
    pixels = dataset.pixels[rows]
    raw = last(pixels).contiguous()
    problem = ImageProblem(raw, dataset.target[rows], dataset.schema.task, 1, torch.arange(len(rows)), pixels.device)
    member = Member(0, recipe, seed, "report", problem.rows, problem.rows)
    seen = problem.seen_by([member], Streams([seed], pixels.device), Ledger(1, pixels.device))
    versions = []
    for version in range(_VERSIONS):
        (changed,) = seen.augmented((raw.unsqueeze(0),), problem.rows.unsqueeze(0) + version)
        versions.append(changed[0].mul(255).round().clamp(0, 255).to(torch.uint8))
    return [
        Sample(
            name=str(dataset.names[int(row)]),
            label=_label(dataset, int(row)),
            picture=png(pixels[place]),
            augmented=[png(version[place]) for version in versions],
        )
        for place, row in enumerate(rows)
    ]


def mistakes(dataset: Learnable, rows: Tensor, predicted: Tensor) -> list[Mistake]:
    """The surest mistakes of the commonest kinds; none of a table or of values.

    Args:
        dataset: the data.
        rows: held-out rows [n].
        predicted: their class probabilities [n, c].
    """
    if not isinstance(dataset, Images) or predicted.dim() != 2:
        return []
    confidence, hit = predicted.max(1)
    truth = dataset.target[rows]
    wrong = (hit != truth).nonzero().flatten()
    pairs = Counter(zip(truth[wrong].tolist(), hit[wrong].tolist(), strict=True))
    found = []
    for (actual, claimed), _ in sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))[:_PAIRS]:
        mine = wrong[(truth[wrong] == actual) & (hit[wrong] == claimed)]
        for place in mine[confidence[mine].argsort(descending=True)][:_EACH].tolist():
            row = int(rows[place])
            found.append(
                Mistake(
                    name=str(dataset.names[row]),
                    truth=str(dataset.schema.classes[actual]),
                    predicted=str(dataset.schema.classes[claimed]),
                    probability=float(confidence[place]),
                    picture=png(dataset.pixels[row]),
                )
            )
    return found


def _label(dataset: Images, row: int) -> str:
    if dataset.values is not None:
        return f"{dataset.values[row]:.4g}"
    return str(dataset.schema.classes[int(dataset.target[row])])


def png(pixels: Tensor) -> str:
    """Pixels uint8 [c, h, w] as the base64 text of a PNG file."""
    numbers = last(pixels).contiguous().numpy()
    stream = io.BytesIO()
    Image.fromarray(numbers[..., 0] if numbers.shape[-1] == 1 else numbers).save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")
