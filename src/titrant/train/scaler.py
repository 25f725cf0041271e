"""Losses scaled so that their gradients fit into half precision (fp16), which holds nothing between 0 and 6e-8."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_FIRST, _GROWTH, _BACKOFF, _EVERY = 65536.0, 2.0, 0.5, 2000
_MOST = 2.0**24


class Scaler:
    """A scale for each member: halved when its gradient overflows, doubled after 2,000 steps without.

    Source: Micikevicius et al. 2018, "Mixed precision training" (arXiv 1710.03740), with the constants of
    `torch.amp.GradScaler`. Departure: a step whose gradient overflows takes a gradient of zero instead of being left out, which
    would wait for the device; moments and decay go on.

    Args:
        members: how many.
        device: where they train.

    Shape: losses [k], gradients [k, P].
    """

    def __init__(self, members: int, device: torch.device) -> None:
        self.scale = torch.full((members,), _FIRST, device=device)
        self._since = torch.zeros(members, device=device)

    def scaled(self, losses: Tensor) -> Tensor:
        """What is differentiated in place of the losses."""
        return losses * self.scale

    def restored(self, grad: Tensor) -> Tensor:
        """The gradient of the losses themselves; zero for members where it overflowed, whose scale is lowered."""
        fits = grad.isfinite().all(dim=1)
        found = torch.where(fits.unsqueeze(1), grad / self.scale.unsqueeze(1), torch.zeros((), device=grad.device))
        self._since = torch.where(fits, self._since + 1, 0.0)
        grown = torch.where(self._since >= _EVERY, (self.scale * _GROWTH).clamp(max=_MOST), self.scale)
        self.scale = torch.where(fits, grown, self.scale * _BACKOFF)
        self._since = torch.where(self._since >= _EVERY, 0.0, self._since)
        return found

    def keep(self, members: Sequence[int]) -> None:
        """Goes on with the given members only."""
        chosen = torch.as_tensor(list(members), device=self.scale.device)
        self.scale, self._since = self.scale[chosen], self._since[chosen]

    def state(self) -> dict[str, Any]:
        """Everything needed to go on from here, for `load`."""
        return {"scale": self.scale.clone(), "since": self._since.clone()}

    def load(self, state: dict[str, Any]) -> None:
        """Goes on from a state that `state` has returned."""
        self.scale, self._since = state["scale"].clone(), state["since"].clone()
