"""Mistakes of the final model on held-out rows: pictures and texts that it takes for something else."""

from collections import Counter

from torch import Tensor

from titrant.data.images import Images
from titrant.data.learnable import Learnable
from titrant.data.text import Texts
from titrant.record import Mistake
from titrant.report.pictures import png

_PAIRS, _EACH = 6, 4  # kinds of mistakes that are shown, and rows of each
_LONGEST = 400  # characters of a text


def mistakes(dataset: Learnable, rows: Tensor, predicted: Tensor) -> list[Mistake]:
    """The surest mistakes of the commonest kinds; none of a table, of series or of values.

    Args:
        dataset: the data.
        rows: held-out rows [n].
        predicted: their class probabilities [n, c].
    """
    if not isinstance(dataset, Images | Texts) or predicted.dim() != 2:
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
                    truth=str(dataset.schema.classes[actual]),
                    predicted=str(dataset.schema.classes[claimed]),
                    probability=float(confidence[place]),
                    **_shown(dataset, row),
                )
            )
    return found


def _shown(dataset: Images | Texts, row: int) -> dict[str, str]:
    if isinstance(dataset, Images):
        return {"name": str(dataset.names[row]), "picture": png(dataset.pixels[row])}
    return {"name": str(row), "text": shortened(dataset.texts[row])}


def shortened(text: str | None) -> str:
    """A text as the report shows it.

    Example:
        >>> shortened("so  good"), len(shortened("word " * 1000)), shortened(None)
        ('so good', 401, '')
    """
    words = " ".join((text or "").split())
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"
