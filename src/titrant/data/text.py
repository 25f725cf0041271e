"""Texts as tokens with their schema: everything that training needs to know of them.

    open_frame → a column of texts → divide → learn a vocabulary from development rows → tokens [N, t] → classes

Labels, parts, groups and times are columns, so what is done with them is the code that tables use.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from titrant.data import cells
from titrant.data.kinds import infer
from titrant.data.roles import Roles, divide_rows, group_numbers
from titrant.data.schema import Outputs, Rows
from titrant.data.sources import is_text_file, listed, near, open_frame
from titrant.data.split import Split
from titrant.data.summary import summary_of
from titrant.data.target import judged_by, understand_target, with_target
from titrant.data.tokens import LONGEST, Vocabulary, encoded, learned
from titrant.errors import DataError
from titrant.record import DataSummary
from titrant.texts import say
from titrant.tricks.augment_text import PADDING

_FEW = 6  # columns of a table that is looked through for a single one of texts


class TextSchema(Outputs):
    """The texts that a model reads and the target that it predicts.

    Attributes:
        column: that holds the texts.
        vocabulary: of the tokeniser.
        longest: tokens of the longest text that was known.

    Example:
        >>> schema = TextSchema(task="binary", target="y", classes=("a", "b"), column="t", vocabulary=learned(["so so"], 20))
        >>> schema.rows({"t": ["so so so", None]}, []).inputs[0].tolist()
        [[6, 6, 6], [0, 0, 0]]
    """

    kind: Literal["text"] = "text"
    column: str
    vocabulary: Vocabulary
    longest: int = LONGEST

    def rows(self, data: object, notes: list[str]) -> Rows:
        """Opens a file or a frame, and brings its texts to tokens.

        Raises:
            DataError: the column is missing, or holds no texts.
        """
        return Rows((self.encode(open_frame(data, notes), notes),))

    def encode(self, frame: pl.DataFrame, notes: list[str]) -> Tensor:
        """Tokens int32 [N, t] of a table that `open_frame` has opened."""
        texts = texts_of(frame, self.column)
        if lacking := texts.null_count():
            notes.append(say("Column {name!r}: {count} texts are missing and count as empty.", name=self.column, count=lacking))
        tokens, cut = encoded(self.vocabulary, texts)
        if cut:
            notes.append(
                say("Column {name!r}: {count} texts have more than {most} tokens and are cut there.",
                    name=self.column, count=cut, most=LONGEST)
            )  # fmt: skip
        return tokens

    def blank(self) -> tuple[Tensor, ...]:
        """One empty text."""
        return (torch.full((1, 1), PADDING, dtype=torch.int32),)


@dataclass(frozen=True)
class Texts:
    """Tokens with their schema; attributes as of `titrant.data.dataset.Dataset`.

    Attributes:
        tokens: int32 [N, t], 0 behind a text's end.
        texts: as they stood in the data.
    """

    schema: TextSchema
    tokens: Tensor
    texts: pl.Series
    target: Tensor
    split: Split
    groups: Tensor | None
    summary: DataSummary
    values: NDArray[np.float64] | None = None
    has_numbers: ClassVar[bool] = False
    has_categories: ClassVar[bool] = False
    absent: ClassVar[tuple[str, ...]] = ()

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What a model reads of all rows, as they came."""
        return (self.tokens,)

    @property
    def judging(self) -> float:
        """Seconds that predicting the test rows takes, at most about: several networks, recurrent ones among them."""
        return len(self.split.test) * min(self.tokens.shape[1], 128) * 2e-5


def read_texts(
    data: object,
    column: str,
    target: str,
    *,
    opened: pl.DataFrame | None = None,
    task: str | None = None,
    test: object = None,
    split_column: str | None = None,
    group: str | None = None,
    time: str | None = None,
    seed: int = 0,
    hold_out: bool = True,
    notes: list[str],
) -> Texts:
    """Reads a column of texts, divides them, learns a vocabulary and understands their labels.

    Args:
        data: what `titrant.data.sources.open_frame` takes.
        column: that holds the texts.
        target, task, split_column, group, time, seed, hold_out: as for `titrant.data.dataset.read`.
        opened: the data, where they are open already.
        test: rows to test on, as `data`.
        notes: receives warnings for the person.

    Raises:
        DataError: the data cannot be read or used as asked; the message says what, where and what to do.

    Example:
        >>> table = {"text": ["how good", "how bad"] * 30, "y": ["yes", "no"] * 30}
        >>> found = read_texts(table, "text", "y", notes=[])
        >>> found.schema.classes, tuple(found.tokens.shape)
        (('no', 'yes'), (60, 2))
    """
    frame = open_frame(data, notes) if opened is None else opened
    roles = Roles(target, split_column, group, time)
    roles.check(frame, {})
    check_column(frame, column, roles)
    frames = [with_target(frame, target, notes, say("the data"))]
    if test is not None:
        frames.append(with_target(open_frame(test, notes), target, notes, say("the test data")))
    groups = group_numbers(frames, roles, notes)
    split = divide_rows(frames, roles, task, groups, seed, notes, hold_out)
    development = frames[0][split.development.numpy()]
    task_, classes = understand_target(development[target], task, is_text_file(data), notes)
    others = [name for name in frame.columns if name not in (column, *roles.names)]
    if others:
        notes.append(
            say("Only the texts in {column!r} are read; left out are {names}.",
                column=column, names=listed(map(repr, others)))
        )  # fmt: skip
    vocabulary = learned(texts_of(development, column).drop_nulls().to_list())
    schema = TextSchema(task=task_, target=target, classes=classes, column=column, vocabulary=vocabulary)
    parts = [schema.encode(one, notes) for one in frames]
    steps = max(part.shape[1] for part in parts)
    schema = schema.model_copy(update={"longest": steps})
    padded = [torch.nn.functional.pad(part, (0, steps - part.shape[1]), value=PADDING) for part in parts]
    tokens = padded[0] if len(padded) == 1 else torch.cat(padded)
    targets, values, split = judged_by(schema, frames, split, notes)
    return Texts(
        schema=schema,
        tokens=tokens,
        texts=pl.concat([texts_of(one, column) for one in frames]),
        target=targets,
        split=split,
        groups=None if groups is None else torch.from_numpy(groups),
        summary=summary_of(
            data,
            say("a table in memory"),
            schema,
            split,
            targets,
            text_column=column,
            text=_size(schema, tokens[split.development]),
        ),
        values=values,
    )


def check_column(frame: pl.DataFrame, column: str, roles: Roles) -> None:
    """Refuses a column that holds no texts to learn from.

    Raises:
        DataError: it is not there, has another role, holds no texts, or none at all.
    """
    if column not in frame.columns:
        raise DataError(
            say("The text column {name!r} is not in the data.{hint} Its columns are {columns}.",
                name=column, hint=near(column, frame.columns), columns=listed(map(repr, frame.columns)))
        )  # fmt: skip
    if column in roles.names:
        raise DataError(say("Column {name!r} cannot hold the texts and have another role as well.", name=column))
    if texts_of(frame, column).str.strip_chars().replace("", None).null_count() == frame.height:
        raise DataError(say("The text column {name!r} is empty: there is nothing to learn from.", name=column))


def texts_of(frame: pl.DataFrame, column: str) -> pl.Series:
    """The texts of a column; other single values count as they are written.

    Raises:
        DataError: there is no such column, or it holds lists, records or bytes.
    """
    if column not in frame.columns:
        raise DataError(
            say("The data lack the column {name!r}, which holds the texts that the model reads.{hint}",
                name=column, hint=near(column, frame.columns))
        )  # fmt: skip
    if not cells.is_plain(frame[column]):
        raise DataError(say("The text column {name!r} holds lists, records or bytes; it must hold single values.", name=column))
    return cells.text(frame[column]).rename(column)


def lone_text(frame: pl.DataFrame, taken: tuple[str | None, ...], written: bool) -> str | None:
    """The column of texts of a table that holds nothing else that a model could learn from; None of other tables.

    Args:
        frame: the table.
        taken: columns with another role.
        written: the table comes from a text file, see `titrant.data.kinds.infer`.

    Example:
        >>> table = pl.DataFrame({"id": range(60), "said": [f"it was really good {i}" for i in range(60)], "y": [0, 1] * 30})
        >>> lone_text(table, ("y",), False)
        'said'
    """
    inputs = [series for series in frame if series.name not in taken]
    if len(inputs) > _FEW:
        return None
    found = [(series.name, infer(series, written)) for series in inputs if series.null_count() < len(series)]
    usable = [finding for _, finding in found if finding.kind is not None]
    prose = [name for name, finding in found if finding.prose]
    return prose[0] if len(prose) == 1 and not usable else None


def _size(schema: TextSchema, tokens: Tensor) -> str:
    lengths = (tokens != PADDING).sum(1).double()
    return say("{middle} tokens each (median; up to {most}), of {all} different ones",
               middle=int(lengths.median()), most=int(lengths.max()), all=f"{len(schema.vocabulary.pieces):,}")  # fmt: skip
