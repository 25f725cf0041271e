"""Augmentation of texts: each batch sees slightly different ones, so that a network cannot learn them by heart.

Two families. What *hides* tokens leaves them out, and the others move up; it serves weighted runs of tokens as well, of which
some are left out. What *changes* tokens keeps their number, and acts only where one token is read after another.

Axes in names: k member, b text of a batch, t token.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from titrant.space import Range
from titrant.tricks.base import DataKind, Trick, Value

PADDING, UNKNOWN = 0, 1
"""What stands behind a text's end, and the token for whatever the tokeniser does not know."""


class TextAugmentation(Trick):
    """A kind of augmentation of texts."""

    unit: ClassVar[str] = "texts"
    reads: ClassVar[tuple[DataKind, ...]] = ("text",)


class HidingTrick(TextAugmentation):
    """A kind that leaves tokens out."""

    shape: ClassVar[Callable[..., tuple[int, ...]]]
    """`shape(b, t, count)`: random numbers for each member, where there are `count` different tokens."""
    hidden: ClassVar[Callable[..., Tensor]]
    """`hidden(ids, noise, **doses)`: which tokens are left out, bool [k, b, t].

    Args:
        ids: [k, b, t].
        noise: [k, *shape(b, t, count)], uniform in [0, 1).
        doses: floats or [k, 1, 1].
    """


class ChangingTrick(TextAugmentation):
    """A kind that moves tokens or puts others in their place."""

    apply: ClassVar[Callable[..., Tensor]]
    """`apply(ids, ends, noise, **doses)`: other tokens [k, b, t].

    Args:
        ids: [k, b, t].
        ends: tokens of each text [k, b]; what lies behind stays.
        noise: [k, b, t], uniform in [0, 1).
        doses: floats or [k, 1, 1].
    """


class TokenDrop(HidingTrick):
    """Leaves each token out with probability `p`.

    Doses:
        p: 0 to 0.9, off at 0. Raising it leaves less to learn by heart, and less to learn from.

    Shape: unchanged; texts get shorter.

    Example:
        >>> TokenDrop(p=0.1)
        TokenDrop(kind='token_drop', p=0.1)

    Source: Iyyer et al. 2015, "Deep unordered composition rivals syntactic methods for text classification" (word dropout);
    "random deletion" of Wei and Zou 2019 (arXiv 1901.11196). Departure: a text that would lose all tokens keeps all.
    """

    kind: Literal["token_drop"] = "token_drop"
    p: Annotated[float, Range(0.0, 0.9, off=0.0, search=(0.0, 0.4), unit="share", raising="less to learn by heart")] = 0.1

    @staticmethod
    def shape(b: int, t: int, count: int) -> tuple[int, ...]:
        """A number for each token of each text."""
        return b, t

    @staticmethod
    def hidden(ids: Tensor, noise: Tensor, *, p: Value) -> Tensor:
        """Each by itself; see the class."""
        return noise < p


class EmbeddingDrop(HidingTrick):
    """Leaves each word of the vocabulary out with probability `p`, wherever it occurs in a batch.

    Doses:
        p: 0 to 0.9, off at 0. Raising it keeps a network from leaning on single words.

    Shape: unchanged; texts get shorter.

    Example:
        >>> EmbeddingDrop().p
        0.1

    Source: embedding dropout of Gal and Ghahramani 2016 (arXiv 1512.05287, section 4.2), as in Merity et al. 2018 (AWD-LSTM,
    arXiv 1708.02182). Departures: a left-out word's place is closed up instead of holding zeros, and the vectors of others are
    not scaled.
    """

    kind: Literal["embedding_drop"] = "embedding_drop"
    p: Annotated[float, Range(0.0, 0.9, off=0.0, search=(0.0, 0.4), unit="share", raising="leans less on single words")] = 0.1

    @staticmethod
    def shape(b: int, t: int, count: int) -> tuple[int, ...]:
        """A number for each word of the vocabulary."""
        return (count,)

    @staticmethod
    def hidden(ids: Tensor, noise: Tensor, *, p: Value) -> Tensor:
        """Each word's own number, wherever it stands; see the class."""
        return noise.gather(-1, ids.flatten(1).long()).view(ids.shape) < p


class TokenSwap(ChangingTrick):
    """Shuffles tokens locally: none moves by more than `reach` places.

    Tokens are sorted by i + u, u uniform in [0, reach + 1) where reach is above 0.

    Doses:
        reach: 0 to 20, off at 0. Raising it makes order mean less.

    Shape: unchanged.

    Example:
        >>> TokenSwap().reach
        2

    Source: the noise of Lample et al. 2018, "Unsupervised machine translation using monolingual corpora only" (arXiv
    1711.00043, section 2.3).
    """

    kind: Literal["token_swap"] = "token_swap"
    reach: Annotated[int, Range(0, 20, off=0, search=(0, 4), unit="tokens", raising="order means less")] = 2

    @staticmethod
    def apply(ids: Tensor, ends: Tensor, noise: Tensor, *, reach: Value) -> Tensor:
        """Sorts by blurred places; see the class."""
        place = torch.arange(ids.shape[-1], device=ids.device)
        blur = noise * (reach + 1) * (torch.as_tensor(reach) > 0)
        blurred = torch.where(place < ends.unsqueeze(-1), place + blur, place + 2.0 * ids.shape[-1] + 100)
        return ids.gather(-1, blurred.argsort(dim=-1, stable=True))


class TokenUnknown(ChangingTrick):
    """Puts the unknown token in place of each token with probability `p`.

    Doses:
        p: 0 to 0.9, off at 0. Raising it trains a network on words that it has never seen.

    Shape: unchanged.

    Example:
        >>> TokenUnknown(p=0.2).p
        0.2

    Source: "blank noising" of Xie et al. 2017, "Data noising as smoothing in neural network language models"
    (arXiv 1703.02573).
    """

    kind: Literal["token_unknown"] = "token_unknown"
    p: Annotated[float, Range(0.0, 0.9, off=0.0, search=(0.0, 0.3), unit="share", raising="knows fewer words")] = 0.1

    @staticmethod
    def apply(ids: Tensor, ends: Tensor, noise: Tensor, *, p: Value) -> Tensor:
        """Each by itself; see the class."""
        return ids.masked_fill((noise < p) & (ids != PADDING), UNKNOWN)
