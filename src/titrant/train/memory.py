"""How much memory a training will take, found before it begins.

What a step takes, most of all the activations that it keeps for its gradient, is counted in two steps of few rows: at each
moment of a step some of it grows with the rows, the rest does not, and the greatest of all moments at the full batch is what
counts. Weights that may be too large even for that are counted by their shapes alone.
"""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from titrant.clock import Clock
from titrant.models.network import Factory
from titrant.recipe import Recipe
from titrant.train.build import layout_of, stored
from titrant.train.cohort import Cohort
from titrant.train.member import Member
from titrant.train.metrics import metric_for
from titrant.train.problem import Problem
from titrant.train.update import Update
from titrant.train.weights import Weights
from titrant.tricks.acting import Ledger, own_randomness

_FEW = 8  # rows of the smaller of the two steps that are counted
_END = 1 - 1e-9  # of a training: batches that change grow
_HOUR = 3600.0
_GENEROUS = 4000  # bytes for each pair of units of each layer: kernels, widths that grow with the stages, an optimizer's state


@dataclass(frozen=True)
class Needs:
    """What the training of one network takes, in bytes.

    Args:
        data: the rows on the device, as they came and encoded.
        carried: weights, their best state, and what optimizer and averages carry from step to step.
        moments: what one part of a step holds beside these at each of its moments: (whatever the rows, for each row).
        rows: that are computed at a time.

    Example:
        >>> needs = Needs(data=1000, carried=300, moments=((100, 0.0), (0, 8.0)), rows=64)
        >>> needs.step(), needs.step(10), needs.total
        (512, 100, 1812)
    """

    data: int
    carried: int
    moments: tuple[tuple[float, float], ...]
    rows: int

    def step(self, rows: int | None = None) -> int:
        """Bytes that a step holds at most, its gradient and the activations for it among them; of so many rows, or its own."""
        count = self.rows if rows is None else rows
        return round(max(fixed + count * each for fixed, each in self.moments))

    @property
    def row(self) -> int:
        """Bytes that each further row of a large batch takes."""
        return max(1, round(max(each for _, each in self.moments)))

    @property
    def total(self) -> int:
        """Bytes of everything."""
        return self.data + self.carried + self.step()


def may_outgrow(recipe: Recipe, free: int) -> bool:
    """Whether the weights of a network of ours could come near to so many bytes, by a generous bound; nothing is made for it.

    Example:
        >>> wide = Recipe().replace("model", {"kind": "mlp", "width": 1024, "depth": 8})
        >>> may_outgrow(Recipe(), 1 << 33), may_outgrow(wide, 1 << 33)
        (False, True)
    """
    width, depth = getattr(recipe.model, "width", 1), getattr(recipe.model, "depth", 1)
    return bool(_GENEROUS * width**2 * depth > free)


def carried_by(problem: Problem, member: Member) -> int:
    """Bytes that stay from step to step: weights, their best state, and the state of optimizer and averages.

    Known before anything of this size is made: the tensors that are counted have shapes and no numbers. The first call takes a
    second or two, in which torch loads what it needs for that.

    Args:
        problem: the data.
        member: a recipe for a network of ours, with its rows.
    """
    shape = problem.shape(problem.encoder(member.recipe.data, member.rows))
    with own_randomness(0), torch.device("meta"):
        network = shape.network([member.recipe])
    layout, device = layout_of(network), torch.device("meta")
    learned = {entry.name for entry in layout.entries}
    buffers = {name: kept.unsqueeze(0).to(device) for name, kept in stored(network).items() if name not in learned}
    weights = Weights(torch.empty(1, layout.size, device=device), buffers)
    update = Update([member], weights, layout, 1, Ledger(1, device))
    return 2 * weights.flat.nbytes + update.carried


def needs_of(problem: Problem, member: Member, factory: Factory | None = None) -> Needs:
    """What the training of one recipe takes on this data, by two steps of few rows that are thrown away.

    Args:
        problem: the data.
        member: the recipe, with its rows.
        factory: the network of `model: custom`.

    Departures: what libraries take for themselves (workspaces of convolutions, what an allocator keeps for later) is not in
    it. Of a network that is compiled the plain one is counted.
    """
    batch, there = member.recipe.batch, len(member.rows)
    largest = batch.kept(max(batch.rows(progress, there) for progress in (0.0, _END)))
    rows = -(-largest // batch.parts)
    few = sorted({max(min(2, rows), min(_FEW, rows // 2)), min(2 * _FEW, rows)})  # one row alone has no variance
    counted = [_counted(problem, member, factory, count) for count in few]
    carried, first = counted[0]
    if len(counted) == 1:
        moments = [(float(held), 0.0) for held in first]
    else:
        (a, b), one, other = few, first, counted[1][1]
        if len(one) != len(other):  # cut into another number of pieces: only the greatest moments can be compared
            one, other = [max(one)], [max(other)]
        each = [(more - less) / (b - a) for less, more in zip(one, other, strict=True)]
        moments = [(less - a * slope, slope) for less, slope in zip(one, each, strict=True)]
    return Needs(_resident(problem, member), carried, _greatest(moments), rows)


class Living(TorchDispatchMode):
    """Counts the bytes of all tensors that are made inside it and still live, on any device.

    Attributes:
        moments: after each operation.

    Example:
        >>> with Living() as living:
        ...     kept = torch.zeros(100) + torch.ones(100)
        >>> max(living.moments), living.bytes
        (1200, 400)
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch
        self.moments: list[int] = [0]
        self.bytes = 0
        self._sizes: dict[int, int] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here; to have torch see to that would load its compiler, for a second or two."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation, and looks at what it read and made."""
        self._meet((args, kwargs), new=False)  # tensors from before are not counted, whatever looks at them
        out = func(*args, **(kwargs or {}))
        self._meet(out, new=True)
        self.moments.append(self.bytes)
        return out

    def _meet(self, tensors: Any, *, new: bool) -> None:
        for tensor in tree_iter(tensors):
            if isinstance(tensor, Tensor) and tensor.layout == torch.strided:
                storage = tensor.untyped_storage()
                place = storage._cdata
                if place not in self._sizes:
                    self._sizes[place] = storage.nbytes() if new else 0
                    self.bytes += self._sizes[place]
                    weakref.finalize(storage, self._gone, place)

    def _gone(self, place: int) -> None:
        self.bytes -= self._sizes.pop(place, 0)


def _counted(problem: Problem, member: Member, factory: Factory | None, rows: int) -> tuple[int, list[int]]:
    """What is carried, and what the first step of so many rows holds at each moment; where batches come in parts, of some."""
    parts = min(3, member.recipe.batch.parts)  # from the third on, the sum and the gradient of the part before stand beside it
    batch = {"kind": "fixed", "size": parts * rows, "accumulate": parts}
    hardware = {**member.recipe.hardware.model_dump(), "compile": False, "processes": 1}
    recipe = member.recipe.replace("hardware", hardware).replace("batch", batch)
    recipe = recipe.replace("stop", {"kind": "last", "epochs": 1.0}).without("augment.resize")  # whole pictures hold most
    small = Member(member.number, recipe, member.seed, member.origin, member.rows, member.held_out)
    clock = Clock.of(_HOUR)
    cohort = Cohort(problem, [small], metric_for(problem.task), clock, factory)
    cohort.train(0, clock)  # makes ready
    living = Living()
    with living:
        cohort.train(1, clock)
    return cohort.carried - cohort.flat.nbytes, living.moments  # the gradient is the step's


def _resident(problem: Problem, member: Member) -> int:
    """Bytes of the rows on the device."""
    held = [getattr(problem, part.name) for part in fields(problem) if part.repr]  # type: ignore[arg-type]  # kinds are dataclasses
    held += problem.encoded(member.recipe.data, member.rows).inputs
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage() for tensor in held if isinstance(tensor, Tensor)}
    return sum(storage.nbytes() for storage in storages.values())


def _greatest(moments: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Those of many lines that are the greatest somewhere to the right of 0."""
    found: list[tuple[float, float]] = []
    for fixed, each in sorted(set(moments), key=lambda line: (line[1], line[0])):
        found = [line for line in found if line[0] > fixed]  # a steeper line that begins higher is always above
        found.append((fixed, each))
    return tuple(found)
