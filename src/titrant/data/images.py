"""Pictures as pixels with their schema: everything that training needs to know of them.

    find_pictures → rows with labels and parts → decode to one size (uint8, mapped from a file) → divide → classes

Labels, parts, groups and times are columns, so what is done with them is the code that tables use.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from titrant.data.decode import Item, Progress, Size, common_size, decoded
from titrant.data.pictures import PATH, Pictures, find_pictures
from titrant.data.roles import Roles, divide_rows, group_numbers
from titrant.data.schema import Outputs, Rows
from titrant.data.split import Split
from titrant.data.summary import summary_of
from titrant.data.target import (
    judged_by,
    target_column,
    task_of_arrays,
    understand_target,
    with_target,
)
from titrant.record import DataSummary
from titrant.texts import say


class ImageSchema(Outputs):
    """The pictures that a model reads and the target that it predicts.

    Example:
        >>> schema = ImageSchema(task="binary", target="label", classes=("cat", "dog"), channels=1, height=28, width=28)
        >>> [tuple(tensor.shape) for tensor in schema.blank()]
        [(1, 1, 28, 28)]
    """

    kind: Literal["images"] = "images"
    channels: int
    height: int
    width: int

    @property
    def size(self) -> Size:
        """What pictures are brought to."""
        return Size(self.channels, self.height, self.width)

    def rows(self, data: object, notes: list[str]) -> Rows:
        """Finds and decodes pictures; each row's name is its path or its number.

        Raises:
            DataError: there are none, or more than a twentieth of them are broken.
        """
        found = find_pictures(data, None, None, notes)
        names = found.frame[PATH].cast(pl.String)
        pixels, kept = decoded(found.items, names.to_list(), self.size, notes, lambda done, all_: None)
        return Rows((pixels,), names[kept.numpy()])

    def blank(self) -> tuple[Tensor, ...]:
        """One black picture."""
        return (torch.zeros(1, self.channels, self.height, self.width, dtype=torch.uint8),)


@dataclass(frozen=True)
class Images:
    """Pixels with their schema; attributes as of `titrant.data.dataset.Dataset`.

    Attributes:
        pixels: uint8 [N, c, h, w].
        names: of the pictures.
    """

    schema: ImageSchema
    pixels: Tensor
    names: pl.Series
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
        return (self.pixels,)

    @property
    def judging(self) -> float:
        """Seconds that predicting the test rows takes, at most about: several networks, and perhaps mirror images."""
        return len(self.split.test) * self.pixels[:1].numel() / 0.5e6


def read_images(
    data: object,
    target: str | None = None,
    *,
    task: str | None = None,
    test: object = None,
    split_column: str | None = None,
    group: str | None = None,
    time: str | None = None,
    seed: int = 0,
    hold_out: bool = True,
    size: int | None = None,
    notes: list[str],
    progress: Progress = lambda done, all_: None,
) -> Images:
    """Reads pictures, brings them to one size, divides them and understands their labels.

    Args:
        data: what `find_pictures` takes.
        target: the column of labels; found if None.
        task, split_column, group, time, seed, hold_out: as for `titrant.data.dataset.read`.
        test: pictures to test on, as `data`.
        size: pixels of the longer side; the median of the pictures, 64 at most, if None.
        notes: receives warnings for the person.
        progress: is told how many pictures are decoded.

    Raises:
        DataError: the pictures cannot be read or used as asked; the message says what, where and what to do.

    Example:
        >>> x = np.zeros((40, 8, 8), np.uint8)
        >>> images = read_images({"x": x, "y": np.arange(40) % 2}, notes=[])
        >>> images.schema.size, images.schema.classes, tuple(images.pixels.shape)
        (Size(channels=1, height=8, width=8), (0, 1), (40, 1, 8, 8))
    """
    first = find_pictures(data, target, split_column, notes)
    sources = [first] if test is None else [first, find_pictures(test, target, None, notes)]
    label = target_column(
        [name for name in first.frame.columns if name != PATH],
        target,
        first.target,
        say("the pictures"),
        say("Put each class into a folder of its own, or name the column with --target."),
    )
    parts = [_labelled(source, label, notes) for source in sources]
    common = common_size([item for _, items in parts for item in items] if test is not None else parts[0][1], size)
    frames, pixels = [], []
    for frame, items in parts:
        found, kept = decoded(items, frame[PATH].cast(pl.String).to_list(), common, notes, progress)
        frames.append(frame[kept.numpy()])
        pixels.append(found)
    roles = Roles(label, split_column or first.split, group, time)
    roles.check(frames[0], {})
    groups = group_numbers(frames, roles, notes)
    split = divide_rows(frames, roles, task, groups, seed, notes, hold_out)
    development = frames[0][split.development.numpy()]
    asked = task or ("classification" if first.named else None)
    if asked is None and isinstance(first.items, np.ndarray):
        asked = task_of_arrays(development[label])
    task_, classes = understand_target(development[label], asked, first.written, notes)
    schema = ImageSchema(
        task=task_, target=label, classes=classes, channels=common.channels, height=common.height, width=common.width
    )
    targets, values, split = judged_by(schema, frames, split, notes)
    return Images(
        schema=schema,
        pixels=pixels[0] if len(pixels) == 1 else torch.cat(pixels),
        names=pl.concat([frame[PATH].cast(pl.String) for frame in frames]),
        target=targets,
        split=split,
        groups=None if groups is None else torch.from_numpy(groups),
        summary=summary_of(data, say("pictures in memory"), schema, split, targets, picture=_shape(schema)),
        values=values,
    )


def _labelled(source: Pictures, label: str, notes: list[str]) -> tuple[pl.DataFrame, Sequence[Item]]:
    """The pictures that have a label."""
    numbered = source.frame.with_row_index("titrant row")
    frame = with_target(numbered, label, notes, say("the pictures"))
    items = source.items
    if frame.height < source.frame.height:
        rows = frame["titrant row"].to_numpy()
        items = items[rows] if isinstance(items, np.ndarray) else [items[row] for row in rows]
    return frame.drop("titrant row"), items


def _shape(schema: ImageSchema) -> str:
    colours = say("grey") if schema.channels == 1 else say("colours")
    return say("{width} × {height} pixels, {colours}", width=schema.width, height=schema.height, colours=colours)
