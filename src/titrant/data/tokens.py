"""A byte-pair tokeniser, learned from texts: the one file that imports the `tokenizers` package.

    text → compatible and lower-case letters (NFKC) → words and signs → pieces of words, by learned merges → numbers

A vocabulary is plain data: its pieces and merges travel with a model as JSON, and a tokeniser is made of them anew.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
import torch
from pydantic import ConfigDict, Field
from torch import Tensor

from titrant.errors import DataError, OutputError
from titrant.record import Record
from titrant.texts import say
from titrant.tricks.augment_text import PADDING, UNKNOWN

SIZE = 8192
"""Tokens of a vocabulary at most."""

LONGEST = 1024
"""Tokens of a text that are kept at most."""

_SPECIAL = {"<pad>": PADDING, "<unk>": UNKNOWN}
_BEGIN = "▁"  # marks a piece that begins a word
_ALPHABET = 1000  # different characters that are known at most
_PIECE = 4096  # texts that are read at a time: what the package returns takes a hundred times their memory


class Vocabulary(Record):
    """What a tokeniser has learned.

    Example:
        >>> made = learned(["so far so good", "so good"], size=40)
        >>> tokens, cut = encoded(made, pl.Series(["so good", "good", ""]))
        >>> [[made.pieces[token] for token in row if token] for row in tokens.tolist()], cut
        ([['▁so', '▁good'], ['▁good'], []], 0)
    """

    model_config = ConfigDict(frozen=True)

    pieces: tuple[str, ...] = Field(min_length=2, description="by token; first padding and the unknown token")
    merges: tuple[tuple[str, str], ...] = Field(description="pieces that become one, in the order in which they do")

    @property
    def begins(self) -> list[bool]:
        """Which tokens begin a word."""
        return [piece.startswith(_BEGIN) for piece in self.pieces]


def learned(texts: Sequence[str], size: int = SIZE) -> Vocabulary:
    """The vocabulary of a byte-pair tokeniser on these texts: single characters, and the commonest pieces of words.

    Args:
        texts: what it learns from.
        size: tokens at most.

    Raises:
        DataError: the package is missing.

    Source: Sennrich, Haddow and Birch 2016 (arXiv 1508.07909).
    """
    package = _package()
    made = _pipeline(package.models.BPE(unk_token="<unk>"))
    trainer = package.trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=list(_SPECIAL),
        limit_alphabet=_ALPHABET,
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer, length=len(texts))
    found = made.get_vocab()
    merges = json.loads(made.to_str())["model"]["merges"]
    return Vocabulary(
        pieces=tuple(sorted(found, key=lambda piece: found[piece])),
        merges=tuple(tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in merges),
    )


def encoded(vocabulary: Vocabulary, texts: pl.Series) -> tuple[Tensor, int]:
    """Tokens of texts int32 [n, t], `PADDING` behind each text's end, and how many texts were cut at `LONGEST`.

    Args:
        vocabulary: of the tokeniser.
        texts: [n]; a missing one has no tokens.
    """
    tokenizer = _made(vocabulary)
    rows: list[Any] = []
    cut = 0
    for start in range(0, len(texts), _PIECE):
        some = texts[start : start + _PIECE].fill_null("").to_list()
        for found in tokenizer.encode_batch_fast(some, add_special_tokens=False):
            ids = np.asarray(found.ids, np.int32)
            cut += len(ids) > LONGEST
            rows.append(ids[:LONGEST])
    tokens = np.zeros((len(rows), max(map(len, rows), default=0) or 1), np.int32)
    for row, ids in zip(tokens, rows, strict=True):
        row[: len(ids)] = ids
    return torch.from_numpy(tokens), cut


def written(vocabulary: Vocabulary, tokens: Tensor) -> str:
    """Tokens [t] as text again, without padding; what is unknown as a question mark in a box.

    Example:
        >>> made = learned(["so far so good", "so good"], size=40)
        >>> written(made, encoded(made, pl.Series(["so good"]))[0][0])
        'so good'
    """
    pieces = ["▯" if token == UNKNOWN else vocabulary.pieces[token] for token in tokens.tolist() if token != PADDING]
    return "".join(pieces).replace(_BEGIN, " ").strip()


def tokenizer_json(vocabulary: Vocabulary) -> str:
    """The tokeniser in the format of the `tokenizers` package, which many programs read."""
    return str(_made(vocabulary).to_str(pretty=True))


@lru_cache(maxsize=4)
def _made(vocabulary: Vocabulary) -> Any:
    package = _package()
    numbers = {piece: number for number, piece in enumerate(vocabulary.pieces)}
    try:
        model = package.models.BPE(vocab=numbers, merges=list(vocabulary.merges), unk_token="<unk>", fuse_unk=True)
    except Exception as error:  # the package raises nothing narrower
        raise OutputError(say("The model's vocabulary is damaged: {problem}", problem=error)) from None
    return _pipeline(model)


def _pipeline(model: Any) -> Any:
    package = _package()
    made = package.Tokenizer(model)
    made.normalizer = package.normalizers.Sequence([package.normalizers.NFKC(), package.normalizers.Lowercase()])
    # A mark before words rather than behind them: marked pieces would be numbered in an order that differs between processes.
    apart, marked = package.pre_tokenizers.Whitespace(), package.pre_tokenizers.Metaspace(_BEGIN, "always", split=False)
    made.pre_tokenizer = package.pre_tokenizers.Sequence([apart, marked])
    return made


def _package() -> Any:
    try:
        import tokenizers
        import tokenizers.trainers
    except ImportError:
        raise DataError(say("Texts need the package tokenizers. Install it: pip install 'titrant[text]'")) from None
    return tokenizers
