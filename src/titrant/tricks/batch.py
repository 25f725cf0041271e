"""The batch: how many rows make one step, and which of them are learned from."""

from typing import Annotated, ClassVar, Literal

from titrant.space import Range
from titrant.tricks.base import Options, Trick

_Size = Annotated[
    int,
    Range(
        1, 65536, log=True, search=(64, 512), unit="rows", shared=True, raising="steadier gradients, fewer steps, more memory"
    ),
]


class BatchTrick(Trick):
    """A rule for the size of a batch."""

    unit: ClassVar[str] = "steps"
    size: int

    def rows(self, progress: float, available: int) -> int:
        """Rows of a step at `progress`, the share of training done in [0, 1); never more than `available`."""
        raise NotImplementedError

    def kept(self, rows: int) -> int:
        """How many of a step's rows are learned from: those with the highest loss."""
        return rows

    @property
    def parts(self) -> int:
        """Into how many micro-batches a step is cut."""
        return 1


class Fixed(BatchTrick):
    """Every step sees `size` rows, computed in `accumulate` parts whose gradients are added.

    Doses:
        size: rows of a step, 1 to 65,536, log. Raising it steadies the gradient, costs memory, and can generalise worse.
        accumulate: parts, 1 to 1024: the same step with less memory. Batch norm sees one part at a time.

    Example:
        >>> Fixed(size=256).rows(0.5, available=100)
        100

    Source: Goyal et al. 2017 (arXiv 1706.02677) on large batches; Keskar et al. 2017 (arXiv 1609.04836) on their cost.
    Departure: where `accumulate` does not divide the batch, up to `accumulate` - 1 rows wait for the next step.
    """

    kind: Literal["fixed"] = "fixed"
    size: _Size = 128
    accumulate: Annotated[int, Range(1, 1024, log=True, search=(1, 1), shared=True, raising="less memory, slower")] = 1

    def rows(self, progress: float, available: int) -> int:
        """The fixed size, cut to what there is and to a multiple of the parts."""
        size = min(self.size, available)
        return max(size - size % self.accumulate, 1)

    @property
    def parts(self) -> int:
        """`accumulate`."""
        return self.accumulate


class Growing(BatchTrick):
    """The batch grows by `factor` at each of `stages` equal stretches of training, in place of a falling learning rate.

    Doses:
        size: rows of the first steps, 1 to 65,536, log.
        factor: growth at each stage, 1 to 10, off at 1.
        stages: stretches of equal numbers of rows, 2 to 20.

    Example:
        >>> [Growing(size=32, factor=2.0, stages=3).rows(p, available=1000) for p in (0.0, 0.5, 0.9)]
        [32, 64, 128]

    Source: Smith et al. 2018, "Don't decay the learning rate, increase the batch size" (arXiv 1711.00489).
    """

    searched: ClassVar[bool] = False
    kind: Literal["growing"] = "growing"
    size: _Size = 64
    factor: Annotated[float, Range(1.0, 10.0, off=1.0, search=(1.5, 4.0), shared=True, raising="larger batches later")] = 2.0
    stages: Annotated[int, Range(2, 20, search=(3, 5), shared=True, raising="more and earlier growth")] = 4

    def rows(self, progress: float, available: int) -> int:
        """The size of the stage that `progress` lies in."""
        stage = min(int(progress * self.stages), self.stages - 1)
        return max(min(round(self.size * self.factor**stage), available), 1)


class Hardest(BatchTrick):
    """Every step looks at `size` rows and learns from those that the network gets most wrong.

    The rows' losses are computed first, without augmentation, mixing and dropout; the step takes the share `keep` with the
    highest ones.

    Doses:
        size: rows looked at in a step, 1 to 65,536, log.
        keep: share that is learned from, 0.05 to 1, off at 1. Raising it makes steps dearer, and nearer to those of a plain
            batch.

    Example:
        >>> Hardest(size=256, keep=0.5).kept(256)
        128

    Source: selective backprop of Jiang et al. 2019, "Accelerating deep learning by focusing on the biggest losers" (arXiv
    1910.00762), in the form of Composer and of the 96 % record on CIFAR-10 (K. Jordan 2024). Departure: the network itself
    judges, in evaluation mode, without a smaller proxy.

    Interactions: rows with a wrong label are hard as well and are learned by heart; a forward pass of all rows costs a third of
    a step, so that less than half of the time is saved at `keep: 0.5`.
    """

    unit: ClassVar[str] = "rows"
    searched: ClassVar[bool] = False
    kind: Literal["hardest"] = "hardest"
    size: _Size = 256
    keep: Annotated[
        float, Range(0.05, 1.0, off=1.0, search=(0.3, 0.8), unit="share", shared=True, raising="dearer steps, plainer batches")
    ] = 0.5

    def rows(self, progress: float, available: int) -> int:
        """The fixed size, cut to what there is."""
        return min(self.size, available)

    def kept(self, rows: int) -> int:
        """The share, one row at least."""
        return max(1, round(self.keep * rows))


Batch = Annotated[Fixed | Growing | Hardest, Options()]
"""The batch slot."""
