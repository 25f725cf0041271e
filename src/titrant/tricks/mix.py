"""Mixing: a row is blended with another one, and so is its target, which makes the network behave linearly in between.

The partner of a row is the next row of its batch: a random one, because batches are drawn at random. A kind says how much of
the first row's target stays; the loss is share · loss(own target) + (1 - share) · loss(partner's target).
"""

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from titrant.space import Range
from titrant.tricks.base import DataKind, Off, Options, Trick


class MixTrick(Trick):
    """A kind of mixing.

    Class attributes:
        where: "features" mixes what the network's body sees (after embeddings), "cells" mixes raw cells.
    """

    unit: ClassVar[str] = "rows"
    nuisances: ClassVar[tuple[str, ...]] = ("regularize.label_smoothing.epsilon", "dropout.p")
    where: ClassVar[Literal["features", "cells"]]
    alpha: float

    def shares(self, steps: int) -> Tensor:
        """λ of each of so many steps, drawn from torch's own stream: [steps]."""
        drawn = torch.distributions.Beta(self.alpha, self.alpha).sample((steps,))
        return torch.maximum(drawn, 1 - drawn)


class Mixup(MixTrick):
    """Blends rows: z' = λ·z + (1 - λ)·z_partner, λ ~ Beta(alpha, alpha), one λ for a member's batch, at least 1/2.

    Doses:
        alpha: 0 to 4, off at 0. Raising it blends more evenly; near 0 nearly nothing is blended.

    Shape: features [k, b, d] and shares [k, 1].

    Example:
        >>> Mixup(alpha=0.2)
        Mixup(kind='mixup', alpha=0.2)

    Source: Zhang et al. 2018, arXiv 1710.09412; of words as in Guo, Mao and Zhang 2019 (arXiv 1905.08941). Departures: it acts
    after the embeddings, so that categories and words blend too; λ and 1 - λ are the same blend with the partners exchanged, so
    λ is folded onto [1/2, 1].
    """

    kind: Literal["mixup"] = "mixup"
    where: ClassVar[Literal["features", "cells"]] = "features"
    alpha: Annotated[float, Range(0.0, 4.0, off=0.0, search=(0.05, 1.0), raising="more even blends")] = 0.2

    @staticmethod
    def apply(z: Tensor, share: Tensor) -> Tensor:
        """Blends features [k, b, d] (or [b, d]) with their neighbours; `share` [k, 1] (or [1]) is λ."""
        lam = share.unsqueeze(-1)
        return lam * z + (1 - lam) * z.roll(1, dims=-2)


class CutMix(MixTrick):
    """Takes each cell from the partner with probability 1 - λ, λ ~ Beta(alpha, alpha), at least 1/2.

    Of pictures it takes a box, of series a window of time.

    The box has the share 1 - λ of the picture's pixels and its proportions, and its middle lies anywhere, so that a part of it
    may lie outside; what counts is what is really exchanged.

    Doses:
        alpha: 0 to 4, off at 0. Raising it exchanges more cells.

    Shape: numbers [k, b, f], codes [k, b, c] and shares [k, b]: the share of its own cells that a row has kept.

    Example:
        >>> CutMix(alpha=0.3).alpha
        0.3

    Source: Yun et al. 2019, arXiv 1905.04899, for images; for rows as in Somepalli et al. 2021 (SAINT, arXiv 2106.01342).
    """

    reads: ClassVar[tuple[DataKind, ...]] = ("table", "image", "series")
    kind: Literal["cutmix"] = "cutmix"
    where: ClassVar[Literal["features", "cells"]] = "cells"
    alpha: Annotated[float, Range(0.0, 4.0, off=0.0, search=(0.05, 1.0), raising="more cells exchanged")] = 0.2

    @staticmethod
    def apply(numbers: Tensor, codes: Tensor, noise: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Exchanges cells where uniform `noise` [k, b, f + c] reaches λ = `share` [k, 1]; returns the shares kept [k, b]."""
        taken = noise >= share.unsqueeze(-1)
        features = numbers.shape[-1]
        return (
            torch.where(taken[..., :features], numbers.roll(1, dims=-2), numbers),
            torch.where(taken[..., features:], codes.roll(1, dims=-2), codes),
            1 - taken.float().mean(-1),
        )

    @staticmethod
    def apply_boxes(pixels: Tensor, noise: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Exchanges a box of each picture, whose middle uniform `noise` [k, b, 2] says; returns the shares kept [k, b].

        Args:
            pixels: [k, b, c, h, w].
            noise: in [0, 1).
            share: [k, 1], λ.
        """
        half = (1 - share).sqrt() / 2
        inside = []
        for axis, side in enumerate(pixels.shape[-2:]):
            places = (torch.arange(side, device=pixels.device) + 0.5) / side
            inside.append((places - noise[..., axis : axis + 1]).abs() < half.unsqueeze(-1))
        taken = inside[0].unsqueeze(-1) & inside[1].unsqueeze(-2)
        mixed = torch.where(taken.unsqueeze(-3), pixels.roll(1, dims=-4), pixels)
        return mixed, 1 - taken.flatten(-2).float().mean(-1)

    @staticmethod
    def apply_windows(x: Tensor, noise: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Exchanges a window of each series, whose middle uniform `noise` [k, b, 1] says; returns the shares kept [k, b].

        Args:
            x: [k, b, c, t].
            noise: in [0, 1).
            share: [k, 1], λ.
        """
        places = (torch.arange(x.shape[-1], device=x.device) + 0.5) / x.shape[-1]
        taken = (places - noise).abs() < (1 - share).unsqueeze(-1) / 2
        mixed = torch.where(taken.unsqueeze(2), x.roll(1, dims=1), x)
        return mixed, 1 - taken.float().mean(-1)


Mix = Annotated[Off | Mixup | CutMix, Options()]
"""The mix slot."""
