"""Where each learned number stands: those of one member side by side in a row, those of k members in one tensor [k, P].

One tensor has one gradient tensor, and a trick that acts on every number (a step of an optimizer, clipping, averaging) makes
a few passes over it instead of a few small calls for each layer. Rows are never mixed: whatever happens to one member, NaN
included, stays in its row.

Axes in names: k member, p parameter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from titrant.tricks.base import Value


@dataclass(frozen=True)
class Entry:
    """One learned tensor: its name, its shape, and the columns `start` to `stop` of a row that hold it.

    Args:
        name: the name in the model, such as `layers.0.weight`.
        shape: its shape in one member.
        start, stop: its columns.
        matrix: True for the weights of a linear or convolutional layer, [out, in, ...].
    """

    name: str
    shape: tuple[int, ...]
    start: int
    stop: int
    matrix: bool


@dataclass(frozen=True)
class Layout:
    """The columns of a row; made by `Layout.of`.

    Matrices come first, so that decay, L1, L2 and the norms act on one slice, `[:, :matrices_end]`. Biases, the scales and
    shifts of norms, and adapters are exempt from those, as usual: they are few, they set where and how strongly a unit
    responds rather than how complex the function is, and pulling a norm's scale to zero switches units off.

    Args:
        entries: the learned tensors in the order of their columns.
        size: the number P of columns.
        matrices_end: the number of columns that belong to matrices.
    """

    entries: tuple[Entry, ...]
    size: int
    matrices_end: int

    @classmethod
    def of(cls, tensors: Mapping[str, tuple[tuple[int, ...], bool]]) -> "Layout":
        """Puts matrices first, and otherwise keeps the order of `tensors`.

        Args:
            tensors: by name, the shape in one member and whether it is a matrix.

        Raises:
            ValueError: something called a matrix has fewer than two axes.

        Example:
            >>> layout = Layout.of({"bias": ((3,), False), "weight": ((3, 2), True)})
            >>> [(entry.name, entry.start, entry.stop) for entry in layout.entries], layout.size, layout.matrices_end
            ([('weight', 0, 6), ('bias', 6, 9)], 9, 6)
        """
        entries: list[Entry] = []
        stop = matrices_end = 0
        for name, (shape, matrix) in sorted(tensors.items(), key=lambda item: not item[1][1]):
            if matrix and len(shape) < 2:
                raise ValueError(f"{name!r} has shape {shape}: a matrix has an axis of units and at least one of their inputs")
            start, stop = stop, stop + prod(shape)
            matrices_end = stop if matrix else matrices_end
            entries.append(Entry(name, tuple(shape), start, stop, matrix))
        return cls(tuple(entries), stop, matrices_end)

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Every learned tensor by name, as a view into `flat`, to compute with.

        Cut by one `split`, whose gradient is one concatenation, where a slice for each entry would allocate and add a row of
        zeros for each.

        Args:
            flat: [k, P], or one row [P].

        Returns:
            Tensors [k, *shape], or [*shape] for one row.

        Example:
            >>> layout = Layout.of({"weight": ((3, 2), True), "bias": ((3,), False)})
            >>> {name: tuple(view.shape) for name, view in layout.views(torch.zeros(4, 9)).items()}
            {'weight': (4, 3, 2), 'bias': (4, 3)}
        """
        pieces = torch.split(flat, [entry.stop - entry.start for entry in self.entries], dim=-1)
        return {
            entry.name: piece.view((*flat.shape[:-1], *entry.shape)) for entry, piece in zip(self.entries, pieces, strict=True)
        }

    def matrices(self, flat: Tensor) -> list[Tensor]:
        """The matrices [k, out, in, ...] as views into `flat`, to be changed in place.

        Args:
            flat: [k, P], or only its matrix columns [k, matrices_end].
        """
        return [
            flat[..., entry.start : entry.stop].view((*flat.shape[:-1], *entry.shape)) for entry in self.entries if entry.matrix
        ]

    def matrix_columns(self, flat: Tensor) -> Tensor:
        """The columns of all matrices [k, matrices_end], a view into `flat` [k, P]."""
        return flat[..., : self.matrices_end]


def add_scaled(target: Tensor, direction: Tensor, by: Value) -> None:
    """`target += by · direction` in place and in one pass over memory.

    Args:
        target: [k, p].
        direction: [k, p], left as it is.
        by: a number, or a tensor [k, 1] with one for each member.

    Example:
        >>> target = torch.zeros(2, 1)
        >>> add_scaled(target, torch.ones(2, 1), torch.tensor([[2.0], [3.0]]))
        >>> target.tolist()
        [[2.0], [3.0]]
    """
    if isinstance(by, Tensor):
        target.addcmul_(direction, by)
    else:
        target.add_(direction, alpha=by)


_CACHED = 1 << 16  # numbers of one such tensor


def pieces(x: Tensor) -> list[slice]:
    """Cuts the first axis of a tensor so that a piece and what is computed from it stay in a core's cache.

    On another device than the CPU there is one piece.

    Example:
        >>> pieces(torch.zeros(3, 2**15))
        [slice(0, 2, None), slice(2, 3, None)]
    """
    size = max(1, _CACHED // max(1, x[0].numel())) if len(x) and x.device.type == "cpu" else max(1, len(x))
    return [slice(begin, min(begin + size, len(x))) for begin in range(0, len(x), size)]
