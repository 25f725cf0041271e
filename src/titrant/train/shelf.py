"""What is encoded of raw rows, kept for all problems on them in this process.

Encoders of series and texts look at values and never at targets, so they are fitted on all rows that are read at all, whichever
of them a member trains on: features of ten thousand kernels are computed once instead of once a fold. Rows that are not read,
such as those that are set aside for a test, are neither looked at nor encoded.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import Lock

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from titrant.train.problem import Encoded

_MOST = 1 << 29  # bytes that are kept beside the newest


@dataclass
class Shelf:
    """What is encoded of one set of rows; the visible ones are kept with it."""

    lock: Lock = field(default_factory=Lock)
    found: dict[tuple[Hashable, int], tuple[Tensor | None, Encoded]] = field(default_factory=dict)

    def take(self, key: Hashable, visible: Tensor | None, make: Callable[[], Encoded]) -> Encoded:
        """What was encoded under a key, or is now; threads may ask at the same time.

        Args:
            key: what decides how rows are encoded.
            visible: the rows that are read at all, told apart by their identity.
            make: encodes them.
        """
        whole = key, id(visible)
        with self.lock, torch.no_grad():
            if whole not in self.found:
                made = make()
                self._make_room(made.inputs[0].nbytes)
                self.found[whole] = visible, made
            return self.found[whole][1]

    def _make_room(self, wanted: int) -> None:
        """Lets go of what was encoded first, where there is too much of it."""
        kept = 0
        for key, (_, encoded) in reversed(list(self.found.items())):
            kept += encoded.inputs[0].nbytes
            if kept + wanted > _MOST:
                del self.found[key]


_SHELVES = WeakTensorKeyDictionary()


def shelf(raw: Tensor) -> Shelf:
    """The shelf of these raw rows."""
    found: Shelf = _SHELVES.setdefault(raw, Shelf())  # type: ignore[no-untyped-call]  # torch
    return found


def placed(encoded: Tensor, visible: Tensor | None, count: int) -> Tensor:
    """Encoded rows at their places among all `count` rows; memory of the others is never touched."""
    if visible is None:
        return encoded.contiguous()
    found = torch.empty(count, *encoded.shape[1:], dtype=encoded.dtype, device=encoded.device)
    found[visible] = encoded
    return found
