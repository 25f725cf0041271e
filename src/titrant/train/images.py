"""Pictures as a problem: pixels live once as uint8, and become numbers batch by batch."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from titrant.models.image import ImageShape, Pixels, first, last
from titrant.record import Task
from titrant.train.augmentation import Augmentation
from titrant.train.member import Member
from titrant.train.problem import Encoded, Inputs, Problem, thrifty_evaluations
from titrant.tricks.acting import Ledger, Streams
from titrant.tricks.augment_resize import Progressive
from titrant.tricks.base import active_segments
from titrant.tricks.data import Data
from titrant.tricks.data_pictures import Patches
from titrant.tricks.mix import CutMix


@dataclass(frozen=True)
class ImageProblem(Problem):
    """A task on pictures.

    Args:
        pixels: uint8 [n, h, w, c], contiguous.
        target: int64 [n] classes, or float32 [n] values.
        task: binary, multiclass or regression.
        classes: how many; 1 for regression.
        rows: int64, the rows that may be learned from.
        device: where everything is.
    """

    pixels: Tensor
    target: Tensor
    task: Task
    classes: int
    rows: Tensor
    device: torch.device
    _encoder: Pixels = field(default_factory=Pixels, repr=False, compare=False)

    def evaluations(self, trained: int, judged: int) -> int:
        """So often that they take about a tenth of the time."""
        return thrifty_evaluations(trained, judged)

    @property
    def columns(self) -> int:
        """Numbers of a first feature map of sixteen channels."""
        return 16 * self.pixels.shape[1] * self.pixels.shape[2]

    def encoder(self, data: Data, rows: Tensor) -> nn.Module:
        """Pixels as numbers in [0, 1]: the same for all rows."""
        return self._encoder

    def encoded(self, data: Data, rows: Tensor) -> Encoded:
        """The raw pixels: they become numbers when they are taken."""
        return Encoded(rows, self._encoder, (self.pixels,))

    def ready(self, inputs: Inputs) -> Inputs:
        """Pixels [..., b, h, w, c] as numbers [..., b, c, h, w] in [0, 1]."""
        (pixels,) = inputs
        return self._encoder(first(pixels))  # type: ignore[no-any-return]  # a module call is untyped

    def raw(self, rows: Tensor) -> Inputs:
        """Pixels [n, c, h, w] as they came."""
        return (first(self.pixels[rows]),)

    def shape(self, encoder: nn.Module) -> ImageShape:
        """Channels, sides and outputs."""
        height, width, channels = self.pixels.shape[1:]
        return ImageShape(channels, height, width, outputs=self.outputs)

    def receipts(self, member: Member) -> dict[str, tuple[float, float]]:
        """There are no columns for the data slot to act on, but pixels, which filters read."""
        none = dict.fromkeys(("data.scale", "data.numbers", "data.categories"), (0.0, 0.0))
        whiten = member.recipe.data.whiten
        filters = 2.0 * self.pixels.shape[3] * whiten.side**2 if isinstance(whiten, Patches) else 0.0
        return {**none, "data.whiten": (filters, filters)}

    def seen_by(self, members: Sequence[Member], streams: Streams, ledger: Ledger) -> "SeenPixels":
        """Pictures as they are."""
        return SeenPixels(members, streams, ledger)


class SeenPixels:
    """What k members see of pictures; see `titrant.train.problem.Seen`.

    Args:
        members: whose tricks act; their pictures have one size at a time.
        streams: their random streams.
        ledger: where receipts are booked.
    """

    def __init__(self, members: Sequence[Member], streams: Streams, ledger: Ledger) -> None:
        self.streams = streams
        self.ledger = ledger
        self._resize = members[0].recipe.augment.resize
        self._augmentation = Augmentation([member.recipe.augment for member in members], streams, ledger)
        mixes = active_segments([member.recipe.mix for member in members], axes=0, device=streams.device)
        self._cuts = [part for part in mixes if part.kind is CutMix]

    def augmented(self, inputs: Inputs, turns: Tensor, progress: float = 1.0) -> Inputs:
        """Pixels [k, b, h, w, c] as numbers [k, b, c, h, w] in [0, 1], after each member's augmentation."""
        (pixels,) = inputs
        pixels = self._augmentation(pixels, turns)
        if isinstance(self._resize, Progressive) and not self._resize.is_off:
            whole = (pixels.shape[3], pixels.shape[4])
            sides = self._resize.sides(whole, progress)
            if self.ledger.probing:
                rows = float(pixels.shape[1])
                self.ledger.add("augment.resize", 0, len(pixels), rows if sides != whole else 0.0, rows)
            if sides != whole:
                pixels = first(last(Progressive.shrunk(pixels, sides)).contiguous())
        return (pixels,)

    def cut(self, inputs: Inputs, share: Tensor) -> tuple[Inputs, Tensor]:
        """Boxes exchanged with the next picture, and the share of each picture that stays its own [k, b]."""
        (pixels,) = inputs
        own = share.expand(-1, pixels.shape[1])
        for part in self._cuts:
            mine = slice(part.start, part.stop)
            noise = self.streams.uniform("mix.cells", (pixels.shape[1], 2), part.start, part.stop)
            mixed, kept = CutMix.apply_boxes(pixels[mine], noise, share[mine])
            pixels = torch.cat([pixels[: part.start], mixed, pixels[part.stop :]])
            own = torch.cat([own[: part.start], kept, own[part.stop :]])
        return (pixels,), own
