"""Policies: for each picture one or more operations by chance, out of a fixed list, instead of a dose for each of them.

Every operation is a kind of `augment_places`, `augment_colours` or `augment_pixels` at a strength, so what a policy moves joins
the one map of places, and what it recolours the one map of colours.

A batch is dealt out: with n operations and b pictures, each operation gets ⌈b / n⌉ seats and each picture a random seat. So
each picture meets each operation equally often, and an operation acts on its own few pictures alone: how many seats there are
is known beforehand, without asking the device.

Axes: k member, b picture of a batch, s seat of an operation, c channel, h height, w width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from titrant.space import Range
from titrant.tricks.augment_colours import Brightness, Contrast, Saturation
from titrant.tricks.augment_pixels import AutoContrast, Equalize, Posterize, Sharpness, Solarize
from titrant.tricks.augment_places import PictureTrick, Rotate, Shear, Translate, composed, resampled
from titrant.tricks.base import Value

_BELOW_ONE = 1 - 2**-24


@dataclass(frozen=True)
class Operation:
    """What a policy may do to a picture.

    Args:
        kind: the trick.
        dose: the dose that is set.
        most: its value at full strength.
        none: its value at no strength.
        axis: which of the trick's draws counts; the others stand in the middle.
        sided: whether its strength has a direction, which is drawn.
    """

    kind: type[PictureTrick]
    dose: str
    most: float
    none: float = 0.0
    axis: int = 0
    sided: bool = True

    def drawn(self, u: Tensor) -> Tensor:
        """Uniform numbers [...] as the draws of the trick."""
        draws = u.new_full((*u.shape, self.kind.draws), 0.5)
        draws[..., self.axis] = u
        return draws

    def extreme(self, u: Tensor) -> Tensor:
        """Draws for full strength, in a random direction where there are two."""
        return self.drawn((u >= 0.5).to(u.dtype) if self.sided else torch.full_like(u, _BELOW_ONE))

    def doses(self, strength: Value) -> dict[str, Any]:
        """The dose at a strength."""
        return {self.dose: self.none + (self.most - self.none) * strength}


def _operations(*, slope: float, share: float, degrees: float, colour: float, bits: int) -> list[Operation | None]:
    """The fourteen operations of RandAugment and TrivialAugment; None leaves a picture as it is."""
    return [
        None,
        Operation(Shear, "slope", slope, axis=0),
        Operation(Shear, "slope", slope, axis=1),
        Operation(Translate, "share", share, axis=0),
        Operation(Translate, "share", share, axis=1),
        Operation(Rotate, "degrees", degrees),
        Operation(Brightness, "strength", colour),
        Operation(Saturation, "strength", colour),
        Operation(Contrast, "strength", colour),
        Operation(Sharpness, "strength", colour),
        Operation(Posterize, "bits", bits, none=8, sided=False),
        Operation(Solarize, "depth", 1.0, sided=False),
        Operation(AutoContrast, "p", 1.0, none=1.0, sided=False),
        Operation(Equalize, "p", 1.0, none=1.0, sided=False),
    ]


class Deal:
    """One operation for each picture of a batch.

    Args:
        operations: n, of which some may be None.
        u: [k, b, n + 1] uniform: the first says how strong, the others who gets what.
        strength: of all operations, 0 to 1.
        extreme: whether operations act at exactly this strength instead of up to it.
        idle: pictures [k, b] to which nothing is done.
    """

    def __init__(
        self,
        operations: Sequence[Operation | None],
        u: Tensor,
        strength: Value,
        *,
        extreme: bool = False,
        idle: Tensor | None = None,
    ) -> None:
        members, self.pictures = u.shape[:2]
        seats = len(operations) * -(-self.pictures // len(operations))
        who = u[..., 1:].flatten(1)[:, :seats].argsort(1)
        if idle is not None:
            nobody = torch.cat([idle, idle.new_ones(members, 1)], 1).gather(1, who.clamp(max=self.pictures))
            who = who.masked_fill(nobody, self.pictures)
        self.operations = operations
        self.who = who.clamp(max=self.pictures).view(members, len(operations), -1)  # [k, n, s]; b stands for nobody
        self.member = torch.arange(members, device=u.device).unsqueeze(1)
        self.u, self.strength, self.extreme = u[..., 0], strength, extreme

    def _acting(self, behaviour: str) -> list[tuple[Any, Tensor, Tensor, dict[str, Any]]]:
        """For each operation that has a behaviour: it, its pictures [k, s], their draws, and its dose."""
        found = []
        for operation, pictures in zip(self.operations, self.who.unbind(1), strict=True):
            act = None if operation is None else getattr(operation.kind, behaviour)
            if operation is not None and act is not None:
                u = self.u[self.member, pictures.clamp(max=self.pictures - 1)]
                draws = operation.extreme(u) if self.extreme else operation.drawn(u)
                found.append((act, pictures, draws, operation.doses(self.strength)))
        return found

    def places(self, size: tuple[int, int]) -> Tensor:
        """See `PictureTrick.places`."""
        maps = self._nothing(2)
        for act, pictures, draws, doses in self._acting("places"):
            maps[self.member, pictures] = act(draws, size, **doses)
        return maps[:, :-1]

    def colours(self, mean: Tensor) -> Tensor:
        """See `PictureTrick.colours`."""
        maps = self._nothing(mean.shape[-1])
        for act, pictures, draws, doses in self._acting("colours"):
            maps[self.member, pictures] = act(draws, mean[self.member, pictures.clamp(max=self.pictures - 1)], **doses)
        return maps[:, :-1]

    def pixels(self, x: Tensor) -> Tensor:
        """See `PictureTrick.pixels`."""
        x = x.clone()
        for act, pictures, draws, doses in self._acting("pixels"):
            places = (self.member, pictures.clamp(max=self.pictures - 1))
            old = x[places]
            there = (pictures < self.pictures)[..., None, None, None]
            # Added rather than put, as several seats of nobody stand at the place of one picture.
            x.index_put_(places, (act(old, draws, None, **doses) - old) * there, accumulate=True)
        return x.clamp_(0, 1)

    def _nothing(self, n: int) -> Tensor:
        """Identities for the pictures, and one more for nobody."""
        same = torch.eye(n, n + 1, device=self.u.device)
        return same.repeat(len(self.u), self.pictures + 1, 1, 1)


_WIDE = _operations(slope=0.99, share=0.45, degrees=135, colour=0.99, bits=2)
_RAND = _operations(slope=0.3, share=0.45, degrees=30, colour=0.9, bits=4)
_MILD = [one for one in _RAND if one and one.kind not in {Brightness, Saturation, Contrast, Sharpness}]
_LAYERS = 3  # of RandAugment and of AugMix, at most
_CHAINS = 3


class TrivialAugment(PictureTrick):
    """Does one of fourteen operations to each picture, its strength uniform from nothing to a wide range's end.

    Operations: none, shear and translate along either side, rotate, brightness, saturation, contrast, sharpness, posterize,
    solarize, autocontrast, equalize.

    Doses:
        strength: the part of the wide ranges that is used, 0.05 to 1. Raising it changes pictures more.

    Shape: unchanged.

    Example:
        >>> TrivialAugment().strength
        1.0

    Source: Müller and Hutter 2021, arXiv 2103.10158, the "wide" ranges. Departures: translation up to 45 % of the side instead
    of 32 pixels; strengths are continuous; what lies beyond an edge is mirrored.
    """

    kind: Literal["trivial"] = "trivial"
    draws: ClassVar[int] = 1 + len(_WIDE)
    strength: Annotated[float, Range(0.05, 1.0, search=(0.1, 1.0), unit="of the ranges", raising="stronger changes")] = 1.0

    @staticmethod
    def places(u: Tensor, size: tuple[int, int], *, strength: Value) -> Tensor:
        """Moves some; see the class."""
        return Deal(_WIDE, u, strength).places(size)

    @staticmethod
    def colours(u: Tensor, mean: Tensor, *, strength: Value) -> Tensor:
        """Recolours some; see the class."""
        return Deal(_WIDE, u, strength).colours(mean)

    @staticmethod
    def pixels(x: Tensor, u: Tensor, noise: None, *, strength: Value) -> Tensor:
        """Makes new pixels for some; see the class."""
        return Deal(_WIDE, u, strength).pixels(x)


class RandAugment(PictureTrick):
    """Does `layers` of fourteen operations to each picture, all at the same strength.

    Doses:
        magnitude: of all operations, 0.05 to 1; 0.3 is 9 of 30. Raising it changes pictures more.
        layers: operations for each picture, 1 to 3.

    Shape: unchanged.

    Example:
        >>> RandAugment(magnitude=0.3, layers=2).layers
        2

    Source: Cubuk et al. 2019, arXiv 1909.13719. Departures: of all layers, what recolours comes first, then what moves, then
    the rest; a direction is drawn where there are two; what lies beyond an edge is mirrored.
    """

    kind: Literal["rand"] = "rand"
    searched: ClassVar[bool] = False
    draws: ClassVar[int] = _LAYERS * (1 + len(_RAND))
    magnitude: Annotated[float, Range(0.05, 1.0, search=(0.1, 0.7), unit="of the ranges", raising="stronger changes")] = 0.3
    layers: Annotated[int, Range(1, _LAYERS, unit="operations", raising="more changes to each picture", shared=True)] = 2

    @staticmethod
    def _deals(u: Tensor, magnitude: Value, layers: int) -> list[Deal]:
        return [Deal(_RAND, own, magnitude, extreme=True) for own in u.chunk(_LAYERS, -1)[:layers]]

    @staticmethod
    def places(u: Tensor, size: tuple[int, int], *, magnitude: Value, layers: int) -> Tensor:
        """Moves some; see the class."""
        first, *others = [deal.places(size) for deal in RandAugment._deals(u, magnitude, layers)]
        for maps in others:
            first = composed(first, maps)
        return first

    @staticmethod
    def colours(u: Tensor, mean: Tensor, *, magnitude: Value, layers: int) -> Tensor:
        """Recolours some; see the class."""
        first, *others = [deal.colours(mean) for deal in RandAugment._deals(u, magnitude, layers)]
        for maps in others:
            first = composed(maps, first)
        return first

    @staticmethod
    def pixels(x: Tensor, u: Tensor, noise: None, *, magnitude: Value, layers: int) -> Tensor:
        """Makes new pixels for some; see the class."""
        for deal in RandAugment._deals(u, magnitude, layers):
            x = deal.pixels(x)
        return x


class AugMix(PictureTrick):
    """Blends a picture with a blend of three versions of itself, each changed by one to three operations.

    x' = (1 - m) · x + m · Σ wᵢ · xᵢ with m uniform and w uniform among weights that sum to one (Dirichlet(1, 1, 1)).
    Operations: shear and translate along either side, rotate, posterize, solarize, autocontrast, equalize.

    Doses:
        severity: of the operations at most, 0.05 to 1; 0.3 is 3 of 10. Raising it changes pictures more.

    Shape: unchanged.

    Example:
        >>> AugMix().severity
        0.3

    Source: Hendrycks et al. 2020, arXiv 1912.02781. Departures: no consistency loss; each version is resampled once, for all
    its moves together and before its other operations; strengths start at nothing. It costs three resamples.
    """

    kind: Literal["augmix"] = "augmix"
    searched: ClassVar[bool] = False
    draws: ClassVar[int] = 1 + _CHAINS * (2 + _LAYERS * (1 + len(_MILD)))
    severity: Annotated[float, Range(0.05, 1.0, search=(0.1, 0.7), unit="of the ranges", raising="stronger changes")] = 0.3

    @staticmethod
    def pixels(x: Tensor, u: Tensor, noise: None, *, severity: Value) -> Tensor:
        """Blends; see the class."""
        size = (x.shape[3], x.shape[4])
        share, chains = u[..., :1], u[..., 1:].chunk(_CHAINS, -1)
        shares = -torch.stack([1 - chain[..., 0] for chain in chains], -1).log()
        shares = share * shares / shares.sum(-1, keepdim=True).clamp(min=1e-12)
        blend = x * _wide(1 - shares.sum(-1))
        for chain, weight in zip(chains, shares.unbind(-1), strict=True):
            layers = [
                Deal(_MILD, own, severity, idle=_LAYERS * chain[..., 1] < layer)
                for layer, own in enumerate(chain[..., 2:].chunk(_LAYERS, -1))
            ]
            maps = layers[0].places(size)
            for deal in layers[1:]:
                maps = composed(maps, deal.places(size))
            version = resampled(x.flatten(0, 1), maps.flatten(0, 1)).view(x.shape)
            for deal in layers:
                version = deal.pixels(version)
            blend = blend + _wide(weight) * version
        return blend.clamp_(0, 1)


def _wide(value: Tensor) -> Tensor:
    """Numbers of pictures [k, b] as they meet pixels [k, b, c, h, w]."""
    return value[..., None, None, None]
