"""Texts for the report: training texts as they are, and as a recipe augments them."""

import torch

from titrant.data.learnable import Learnable
from titrant.data.text import Texts
from titrant.data.tokens import written
from titrant.recipe import Recipe
from titrant.record import Passage
from titrant.report.mistakes import shortened
from titrant.report.shown import label_of, spread
from titrant.train.member import Member
from titrant.train.text import TextProblem
from titrant.tricks.acting import Ledger, Streams

_SAMPLES = 6
_VERSIONS = 2


def passages(dataset: Learnable, recipe: Recipe, seed: int) -> list[Passage]:
    """A few training texts, evenly spaced over the targets, each with versions that training sees; none of other data."""
    if not isinstance(dataset, Texts):
        return []
    rows = spread(dataset, _SAMPLES)
    every = torch.arange(len(rows))
    begins = torch.tensor(dataset.schema.vocabulary.begins)
    plain = recipe.without("data.features")  # tokens, which the report can show; runs of words it cannot
    tokens = dataset.tokens[rows]
    problem = TextProblem(tokens, begins, dataset.target[rows], dataset.schema.task, 1, every, tokens.device)
    member = Member(0, plain, seed, "report", every, every)
    seen = problem.seen_by([member], Streams([seed], tokens.device), Ledger(1, tokens.device))
    acts = any(path.startswith("augment.token_") or path == "augment.embedding_drop" for path, trick in recipe.tricks()
               if not trick.is_off)  # fmt: skip
    kept = tuple(part.unsqueeze(0) for part in problem.encoded(plain.data, every).inputs)
    versions = [
        seen.augmented(tuple(part.clone() for part in kept), every.unsqueeze(0))[0][0] for _ in range(_VERSIONS if acts else 0)
    ]
    return [
        Passage(
            label=label_of(dataset, row),
            text=shortened(dataset.texts[row]),
            augmented=[shortened(written(dataset.schema.vocabulary, version[place])) for version in versions],
        )
        for place, row in enumerate(rows.tolist())
    ]  # fmt: skip
