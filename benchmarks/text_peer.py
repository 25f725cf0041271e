"""The other sides of `text.py`: each learns from the same texts within the same wall clock and writes its predictions.

    python benchmarks/text_peer.py tfidf train.parquet blind.parquet --budget 120 --seed 0 --out predictions.csv

- tfidf: scikit-learn's logistic regression on TF-IDF weights of words and their pairs (`sublinear_tf`), its C chosen of 1, 10
  and 100 by five-fold cross-validation.
- fasttext: fastText's own linear classifier on averaged vectors, at its defaults but for the search that its documentation
  recommends (`autotune`), which gets a fifth of the training texts as validation and all of the time but a tenth, and whose
  settings are then trained on all texts.

"tfidf" knows no time limit and runs to its end, a few seconds.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from series_peer import Predict, parser_of, trained, write

BEGUN = time.monotonic()


@dataclass
class Task:
    """Texts to learn from and to predict.

    Args:
        texts, y: to learn from, and int64 [n] positions in `labels`.
        blind: to predict.
        labels: of the classes.
        end: when training must be over, on the scale of `time.monotonic`.
        seed: of all random choices.
    """

    texts: list[str]
    y: Any
    blind: list[str]
    labels: Any
    end: float
    seed: int


def tfidf(task: Task) -> Predict:
    """See above."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    weigher = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    strengths = {"C": [1.0, 10.0, 100.0]}
    model = GridSearchCV(LogisticRegression(max_iter=1000), strengths, cv=5, n_jobs=-1)
    model.fit(weigher.fit_transform(task.texts), task.y)
    return lambda: model.predict_proba(weigher.transform(task.blind))


def fasttext(task: Task) -> Predict:
    """See above."""
    import fasttext as package

    order = np.random.default_rng(task.seed).permutation(len(task.texts))
    held = set(order[: len(order) // 5].tolist())
    with tempfile.TemporaryDirectory() as place:

        def lines(name: str, rows: Any) -> str:
            path = Path(place) / name
            path.write_text("".join(f"__label__{task.y[row]} {plain(task.texts[row])}\n" for row in rows))
            return str(path)

        seconds = int(0.9 * (task.end - time.monotonic()))
        tuned = package.train_supervised(
            lines("train.txt", [row for row in order if row not in held]),
            autotuneValidationFile=lines("held.txt", sorted(held)),
            autotuneDuration=max(1, seconds),
            verbose=0,
        )
        args = tuned.f.getArgs()
        chosen = {name: getattr(args, name) for name in ("lr", "dim", "epoch", "wordNgrams", "minn", "maxn", "bucket")}
        model = package.train_supervised(lines("all.txt", order), loss="softmax", seed=task.seed, verbose=0, **chosen)

    def predict() -> Any:
        found = np.zeros((len(task.blind), len(task.labels)))
        for row, text in enumerate(task.blind):  # the wrapper's own method breaks on today's numpy
            for probability, label in model.f.predict(plain(text) + "\n", len(task.labels), 0.0, "strict"):
                found[row, int(label.removeprefix("__label__"))] = probability
        return found / found.sum(1, keepdims=True).clip(1e-12)

    return predict


def plain(text: str) -> str:
    """A text as fastText's examples prepare it: lower case, signs apart from words, in one line."""
    import re

    return " ".join(re.sub(r"([^\w\s])", r" \1 ", text.lower()).split())


PEERS: dict[str, Callable[[Task], Predict]] = {peer.__name__: peer for peer in (tfidf, fasttext)}


def texts(train: Path, blind: Path) -> tuple[list[str], Any, list[str]]:
    """Texts to learn from, their labels, and texts to predict."""
    import polars as pl

    seen = pl.read_parquet(train)
    return seen["text"].to_list(), seen["label"].cast(pl.String).to_numpy(), pl.read_parquet(blind)["text"].to_list()


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    return parser_of(__doc__ or "", PEERS, "texts")


def main() -> None:
    """Trains and predicts."""
    given = parser().parse_args()
    seen, y, blind = texts(given.train, given.blind)
    labels, places = np.unique(y, return_inverse=True)
    task = Task(seen, places, blind, labels, BEGUN + given.budget, given.seed)
    write(trained(PEERS[given.peer], task, BEGUN)(), labels, given.out)


if __name__ == "__main__":
    main()
