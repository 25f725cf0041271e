"""The tokeniser: what it learns, that it learns the same again, and what damaged ones say."""

import subprocess
import sys

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from titrant.data.tokens import LONGEST, Vocabulary, encoded, learned
from titrant.errors import OutputError
from titrant.tricks.augment_text import PADDING, UNKNOWN

TEXTS = ["The lower the better", "a low newer slower world", "Newest and lowest; better, widest!"] * 4
VOCABULARY = learned(TEXTS)


def pieces(text: str, vocabulary: Vocabulary = VOCABULARY) -> list[str]:
    tokens, _ = encoded(vocabulary, pl.Series([text]))
    return [vocabulary.pieces[token] for token in tokens[0].tolist() if token != PADDING]


def test_common_words_are_one_token_and_rare_ones_pieces_of_what_is_known() -> None:
    assert pieces("the LOWER  the better") == ["▁the", "▁lower", "▁the", "▁better"]
    assert "".join(pieces("slowest")) == "▁slowest"
    assert len(pieces("slowest")) > 1
    assert VOCABULARY.pieces[:2] == ("<pad>", "<unk>")
    assert [VOCABULARY.begins[VOCABULARY.pieces.index(piece)] for piece in ("▁the", "<pad>")] == [True, False]


def test_a_vocabulary_is_learned_and_written_alike_each_time() -> None:
    assert Vocabulary.model_validate_json(VOCABULARY.model_dump_json()) == VOCABULARY
    code = f"from titrant.data.tokens import learned; print(learned({TEXTS!r}).model_dump_json())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # where hashes differ
    assert Vocabulary.model_validate_json(done.stdout) == VOCABULARY


def test_what_was_never_seen_is_unknown_and_what_is_missing_is_empty() -> None:
    tokens, cut = encoded(VOCABULARY, pl.Series(["Ω", None, "", "the"]))
    assert tokens.tolist() == [
        [VOCABULARY.pieces.index("▁"), UNKNOWN],
        [PADDING, PADDING],
        [PADDING, PADDING],
        [VOCABULARY.pieces.index("▁the"), PADDING],
    ]
    assert cut == 0


def test_very_long_texts_are_cut() -> None:
    tokens, cut = encoded(VOCABULARY, pl.Series(["the " * (LONGEST + 5), "the"]))
    assert tokens.shape == (2, LONGEST)
    assert cut == 1


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80))
def test_any_text_has_tokens(text: str) -> None:
    tokens, _ = encoded(VOCABULARY, pl.Series([text]))
    assert ((tokens >= 0) & (tokens < len(VOCABULARY.pieces))).all()


def test_a_damaged_vocabulary_is_refused() -> None:
    with pytest.raises(OutputError, match="vocabulary is damaged"):
        encoded(VOCABULARY.model_copy(update={"pieces": VOCABULARY.pieces[:5]}), pl.Series(["the"]))
