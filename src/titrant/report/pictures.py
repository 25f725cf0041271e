"""Pictures for the report: training pictures as they are and as a recipe augments them."""

import base64
import io

import torch
from PIL import Image
from torch import Tensor

from titrant.data.images import Images
from titrant.data.learnable import Learnable
from titrant.models.image import last
from titrant.recipe import Recipe
from titrant.record import Sample
from titrant.report.shown import label_of, spread
from titrant.train.images import ImageProblem
from titrant.train.member import Member
from titrant.tricks.acting import Ledger, Streams

_SAMPLES = 8
_VERSIONS = 4


def samples(dataset: Learnable, recipe: Recipe, seed: int) -> list[Sample]:
    """A few training pictures, evenly spaced over the classes, each with versions that training sees; none of a table."""
    if not isinstance(dataset, Images):
        return []
    rows = spread(dataset, _SAMPLES)
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
            label=label_of(dataset, int(row)),
            picture=png(pixels[place]),
            augmented=[png(version[place]) for version in versions],
        )
        for place, row in enumerate(rows)
    ]


def png(pixels: Tensor) -> str:
    """Pixels uint8 [c, h, w] as the base64 text of a PNG file."""
    numbers = last(pixels).contiguous().numpy()
    stream = io.BytesIO()
    Image.fromarray(numbers[..., 0] if numbers.shape[-1] == 1 else numbers).save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")
