"""Data of texts: how tokens become numbers, and fixed features for networks that read rows."""

from typing import Annotated, ClassVar, Literal

from titrant.space import Range
from titrant.tricks.base import DataKind, Options, Trick


class Embedded(Trick):
    """Gives each token of a text a learned vector, in networks that read one token after another.

    Doses:
        size: numbers of a vector, 1 to 1024, log. Raising it tells more apart, costs time and overfits sooner.
        longest: tokens of a text that are read, 4 to 4096, log; what follows is cut off. Fewer are read where nearly all texts
            (98 of 100) are shorter.

    Shape: tokens [..., b, t] to [..., b, size, t].

    Example:
        >>> Embedded(size=32)
        Embedded(kind='embedded', size=32, longest=128)

    Source: Bengio et al. 2003, "A neural probabilistic language model". Departure: vectors are learned from the data at hand
    alone; no trained ones are loaded.

    Interactions: `augment.embedding_drop` and `augment.token_drop` keep large vectors from learning texts by heart. Networks
    that read rows (`linear`, `mlp`) use vectors of their own width instead.
    """

    unit: ClassVar[str] = "tokens"
    reads: ClassVar[tuple[DataKind, ...]] = ("text",)
    kind: Literal["embedded"] = "embedded"
    size: Annotated[
        int, Range(1, 1024, log=True, search=(32, 128), unit="numbers", shared=True, raising="tells more apart, slower")
    ] = 64
    longest: Annotated[
        int, Range(4, 4096, log=True, search=(128, 128), unit="tokens", shared=True, raising="reads further, slower")
    ] = 128


Tokens = Annotated[Embedded, Options()]
"""How tokens of a text become numbers."""


class Ngrams(Trick):
    """Weighted counts of runs of up to `longest` words: which words and short phrases a text holds, whatever their order.

    A run that occurs c times in a text, and in m of n texts, weighs (1 + ln c) · (1 + ln((1 + n) / (1 + m))); the weights of a
    text are divided by the root of their squares' sum. A linear network on these is quick and hard to beat on short texts.

    Doses:
        longest: words of a run, 1 to 3. Raising it tells phrases apart and has more numbers to learn.
        of: "words" puts the pieces of words together again; "pieces" takes the tokeniser's own, for languages without spaces.
        least: texts that a run must occur in, 1 to 100, log. Raising it forgets what is rare.
        count: runs that are kept, the commonest, 10 to 500000, log.

    Shape: tokens [n, t] to places and weights [n, s] of the s different runs that a text has at most.

    Example:
        >>> Ngrams(longest=1).least
        2

    Source: Salton and Buckley 1988, "Term-weighting approaches in automatic text retrieval"; with these logarithms as in
    scikit-learn's `TfidfVectorizer(sublinear_tf=True)`. Departure: words are told apart by a hash of 20 to 31 bits.
    """

    unit: ClassVar[str] = "features"
    reads: ClassVar[tuple[DataKind, ...]] = ("text",)
    kind: Literal["ngrams"] = "ngrams"
    longest: Annotated[int, Range(1, 3, search=(1, 2), unit="words", shared=True, raising="tells phrases apart")] = 2
    of: Literal["words", "pieces"] = "words"
    least: Annotated[int, Range(1, 100, log=True, search=(2, 2), unit="texts", shared=True, raising="forgets what is rare")] = 2
    count: Annotated[
        int, Range(10, 500_000, log=True, search=(50_000, 50_000), unit="features", shared=True, raising="knows rarer runs")
    ] = 50_000
