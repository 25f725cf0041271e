"""The tricks in a training loop of one's own: each from this module, in a line or two, with PyTorch, Lightning or Transformers.

    from titrant import loop

    optimizer = loop.Optimizer(network, steps, optimizer="muon", clip="norm", average="ema")     # step() does all of it
    augment = loop.Augment(flip="flip", policy="trivial")                                # x = augment(x)
    mix = loop.Mix("cutmix")                                                                     # x, mixed = mix(x)
    loss = loop.loss(network(x), y, label_smoothing=0.1)                                         # or mixed(loop.loss, out, y)

Slots and doses are those of a recipe, and act by the same code as in `titrant.fit`. Changes of the network itself are in
`titrant.surgery`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import compress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from titrant.errors import RecipeError
from titrant.recipe import Recipe
from titrant.surgery import Given
from titrant.texts import say
from titrant.train.build import layout_of
from titrant.train.images import SeenPixels
from titrant.train.member import Member
from titrant.train.problem import Seen
from titrant.train.series import SeenSeries
from titrant.train.tables import SeenRows
from titrant.train.update import Update
from titrant.train.weights import Weights
from titrant.tricks.acting import Ledger, Streams
from titrant.tricks.mix import CutMix, MixTrick, Mixup
from titrant.tricks.regularize import cross_entropy

_ON_WEIGHTS = ("l1", "l2", "decay", "max_norm", "unit_norm")  # of `regularize`, what acts on weights


class Optimizer(torch.optim.Optimizer):
    """An optimizer with everything that a recipe does between the gradient and the next forward pass.

    A step adds the gradients of L1 and L2, clips, decays, steps at the learning rate of the schedule, constrains norms, and
    takes the weights into their average, in this order.

    Args:
        network: whose parameters are trained; those that need no gradient are left alone. Move it to its device first.
        steps: of the whole training: what the schedule is stretched over. Later steps go on at its end.
        optimizer, learning_rate, clip, regularize, average: slots of a recipe, as people write them; the baseline's if None.

    Attributes:
        param_groups: one group; its `lr` shows the rate of the last step. The schedule sets it, other schedulers do not.

    Raises:
        RecipeError: a slot is wrong, or names something that does not act on weights.
        ValueError: nothing is to be trained.

    Example:
        >>> network = nn.Linear(3, 1)
        >>> rate = {"peak": 1e-3, "schedule": "cosine"}
        >>> optimizer = Optimizer(network, 100, optimizer="lion", learning_rate=rate, clip="norm")
        >>> network(torch.ones(4, 3)).square().mean().backward()
        >>> optimizer.step()
        >>> round(optimizer.param_groups[0]["lr"], 6)
        0.001

    Source: the tricks' own; the order is that of `titrant.train.build`. Departure from PyTorch's optimizers: parameters without
    a gradient count as having a gradient of zero for clipping and momentum, and are not changed.

    Memory: the optimizer's state, and while it steps one more copy of the weights and of their gradient.
    """

    def __init__(
        self,
        network: nn.Module,
        steps: int,
        *,
        optimizer: Given = None,
        learning_rate: float | Mapping[str, Any] | None = None,
        clip: Given = None,
        regularize: Mapping[str, Any] | None = None,
        average: Given = None,
    ) -> None:
        wrong = [name for name in regularize or {} if name not in _ON_WEIGHTS]
        if wrong:
            raise RecipeError(
                say("regularize.{name} does not act on weights; here stand {known}. For losses see titrant.loop.loss.",
                    name=wrong[0], known=", ".join(_ON_WEIGHTS))
            )  # fmt: skip
        peak = {"peak": learning_rate} if isinstance(learning_rate, float | int) else learning_rate
        slots = {"optimizer": optimizer, "learning_rate": peak, "clip": clip, "regularize": regularize, "average": average}
        recipe = _recipe(slots)
        if peak is None:
            recipe = recipe.replace("learning_rate.peak", recipe.optimizer.typical_rate)
        self.layout = layout_of(network)
        named = dict(network.named_parameters())
        self._parameters = [named[entry.name] for entry in self.layout.entries]
        if not self._parameters:
            raise ValueError(say("The network has no parameter that needs a gradient; nothing can be trained."))
        super().__init__(self._parameters, {"lr": recipe.learning_rate.peak})
        self._buffers = dict(network.named_buffers())
        self._ledger = Ledger(1, self._parameters[0].device)
        self._update = Update([_member(recipe)], self._gathered(), self.layout, max(1, steps), self._ledger)
        self._steps = max(1, steps)
        self._taken = 0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes a step.

        Args:
            closure: evaluates the model again and returns the loss.

        Returns:
            What the closure returned, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        weights = self._gathered()
        grad = torch.cat([
            (torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1).float() for p in self._parameters
        ]).unsqueeze(0)  # fmt: skip
        now = min(self._taken, self._steps - 1)
        self._update(weights, grad, now)
        self.param_groups[0]["lr"] = self._update.rates(now)[0]
        self._scatter(weights.flat, [p.grad is not None for p in self._parameters])
        self._taken += 1
        return loss

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the network has the weights and running statistics to be judged by: averages, where there are any.

        Example:
            >>> network = nn.Linear(1, 1)
            >>> optimizer = Optimizer(network, 10, average="ema")
            >>> with optimizer.averaged():
            ...     _ = network(torch.ones(1, 1))
        """
        mine = self._gathered()
        found = self._update.evaluation(mine)
        kept = {name: buffer.clone() for name, buffer in self._buffers.items()}
        with torch.no_grad():
            self._scatter(found.flat)
            for name, buffer in self._buffers.items():
                buffer.copy_(found.buffers[name][0])
        try:
            yield
        finally:
            with torch.no_grad():
                self._scatter(mine.flat)
                for name, buffer in self._buffers.items():
                    buffer.copy_(kept[name])

    def receipts(self) -> dict[str, tuple[float, float]]:
        """What each trick did: by slot, in how many of how many steps it acted."""
        return {path: (acted[0], seen[0]) for path, (acted, seen) in self._ledger.read().items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, as tensors and plain values."""
        update = self._update.state()
        average = update.pop("average")
        if average is not None:
            update["average"] = {"flat": average.flat, "buffers": average.buffers}
        groups = [{key: value for key, value in group.items() if key != "params"} for group in self.param_groups]
        return {"taken": self._taken, "update": update, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` returned, for a network of the same shape and the same slots."""
        update = dict(state_dict["update"])
        average = update.get("average")
        update["average"] = None if average is None else Weights(average["flat"], average["buffers"])
        self._update.load(update)
        self._taken = int(state_dict["taken"])
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update(saved)

    def _gathered(self) -> Weights:
        flat = torch.cat([parameter.detach().reshape(-1).float() for parameter in self._parameters]).unsqueeze(0)
        return Weights(flat, {name: buffer.detach().unsqueeze(0) for name, buffer in self._buffers.items()})

    def _scatter(self, flat: Tensor, chosen: Sequence[bool] | None = None) -> None:
        """Writes the row [1, P] back into the parameters, or into the chosen ones."""
        pairs = list(zip(self._parameters, self.layout.views(flat.squeeze(0)).values(), strict=True))
        pairs = pairs if chosen is None else list(compress(pairs, chosen))
        torch._foreach_copy_([parameter.detach() for parameter, _ in pairs], [view for _, view in pairs])


class Augment:
    """Augmentation of batches of pictures, series or rows.

    Args:
        seed: of its random numbers.
        slots: those of `augment` in a recipe, such as `flip="flip"` or `jitter={"kind": "jitter", "sigma": 0.1}`.

    Raises:
        RecipeError: a slot is wrong.

    Example:
        >>> pictures = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
        >>> augment = Augment(flip="flip", brightness="brightness")
        >>> augment(pictures).shape, augment(pictures).dtype
        (torch.Size([2, 3, 8, 8]), torch.float32)
    """

    def __init__(self, *, seed: int = 0, **slots: Given) -> None:
        self._acting = _Acting(_recipe({"augment": slots}), seed)

    @torch.no_grad()
    def __call__(self, x: Tensor, turns: Tensor | None = None, progress: float = 1.0) -> Tensor:
        """Augmented rows.

        Args:
            x: pictures uint8 [b, c, h, w]; or series float [b, c, t]; or rows of numbers, float [b, f].
            turns: int64 [b], each row's number plus the epoch, for `flip: alternate`; counted up from call to call if None.
            progress: the share of the training that lies behind, for `resize`.

        Returns:
            Pictures as float32 in [0, 1], others as they came.

        Raises:
            ValueError: x is none of these.
        """
        return self._acting.augmented(x, turns, progress)


class Mixed:
    """What `Mix` did to a batch, for its loss.

    Args:
        share: of each row's own target [b].
    """

    def __init__(self, share: Tensor) -> None:
        self.share = share

    def __call__(self, criterion: Callable[..., Tensor], output: Tensor, target: Tensor, **settings: Any) -> Tensor:
        """The mean of share · criterion(own target) + (1 - share) · criterion(partner's target).

        Args:
            criterion: takes `reduction="none"`, for a loss of each row: `titrant.loop.loss`, `nn.functional.cross_entropy`.
            output, target: of the batch.
            settings: for the criterion.
        """
        own = criterion(output, target, reduction="none", **settings)
        other = criterion(output, target.roll(1, 0), reduction="none", **settings)
        share = self.share.view(-1, *[1] * (own.dim() - 1))
        return (share * own + (1 - share) * other).mean()


class Mix:
    """Mixes each row of a batch with the next one: mixup or cutmix.

    Args:
        kind: as in the slot `mix` of a recipe.
        seed: of its random numbers.

    Raises:
        RecipeError: the kind or its dose is wrong.

    Example:
        >>> mix = Mix({"kind": "mixup", "alpha": 0.4})
        >>> x, mixed = mix(torch.randn(4, 3))
        >>> x.shape, mixed.share.shape
        (torch.Size([4, 3]), torch.Size([4]))
    """

    def __init__(self, kind: Given = "mixup", *, seed: int = 0) -> None:
        self.recipe = _recipe({"mix": kind})
        self._acting = _Acting(self.recipe, seed)
        self._shares = np.random.default_rng(seed)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> tuple[Tensor, Mixed]:
        """The mixed batch, and what its loss must know.

        Args:
            x: float [b, ...] for mixup; for cutmix pictures of any type [b, c, h, w], series [b, c, t] or rows [b, f].
        """
        trick = self.recipe.mix
        if not isinstance(trick, MixTrick) or trick.is_off:
            return x, Mixed(torch.ones(len(x), device=x.device))
        drawn = self._shares.beta(trick.alpha, trick.alpha)
        share = max(drawn, 1 - drawn)
        if isinstance(trick, Mixup):
            return share * x + (1 - share) * x.roll(1, 0), Mixed(torch.full((len(x),), share, device=x.device))
        assert isinstance(trick, CutMix)
        mixed, own = self._acting.cut(x, share)
        return mixed, Mixed(own)


def loss(
    output: Tensor,
    target: Tensor,
    *,
    label_smoothing: float = 0.0,
    focal: float | None = None,
    weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy with label smoothing, focal factor and class weights.

    Args:
        output: logits [b, c].
        target: classes, int64 [b].
        label_smoothing: ε of `regularize.label_smoothing`, 0 to below 1.
        focal: γ of `regularize.focal`; None leaves the factor out.
        weights: of the classes [c]; see `titrant.tricks.regularize.ClassWeights.weights`.
        reduction: "mean", "sum", or "none" for a loss of each row.

    Raises:
        ValueError: another reduction.

    Example:
        >>> round(loss(torch.zeros(2, 4), torch.tensor([0, 1]), label_smoothing=0.1).item(), 4)
        1.3863

    Source: see `titrant.tricks.regularize.cross_entropy`. Departure from `nn.functional.cross_entropy`: the mean with class
    weights divides by the number of rows.
    """
    if reduction not in {"mean", "sum", "none"}:
        raise ValueError(say("reduction={found!r} is unknown; choose of mean, sum, none.", found=reduction))
    rows = cross_entropy(output.log_softmax(-1), target, epsilon=label_smoothing, gamma=focal, weights=weights)
    return rows.mean() if reduction == "mean" else rows.sum() if reduction == "sum" else rows


class _Acting:
    """One member's tricks on rows, whatever kind of data these are."""

    def __init__(self, recipe: Recipe, seed: int) -> None:
        self._member = _member(recipe, seed)
        self._seen: dict[tuple[int, torch.device], Seen] = {}
        self._calls = 0

    def augmented(self, x: Tensor, turns: Tensor | None, progress: float) -> Tensor:
        """See `Augment`."""
        seen = self._for(x)
        if turns is None:
            turns = torch.arange(len(x), device=x.device) + self._calls
            self._calls += 1
        if x.dim() == 4 and x.dtype != torch.uint8:
            raise ValueError(
                say(
                    "Pictures of type {found} cannot be augmented; give them as uint8, and scale them afterwards.",
                    found=x.dtype,
                )
            )
        return seen.augmented(_packed(x), turns.unsqueeze(0), progress)[0].squeeze(0)

    def cut(self, x: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """Parts exchanged with the next row, and how much of each row stays its own [b]."""
        mixed, own = self._for(x).cut(_packed(x), torch.full((1, 1), share, device=x.device))
        out = mixed[0].squeeze(0)
        if x.dim() == 4:
            out = out.movedim(-1, 1)
        if x.dim() == 3:
            out = out.mT
        return out, own.squeeze(0)

    def _for(self, x: Tensor) -> Seen:
        kinds: dict[int, Callable[..., Seen]] = {2: SeenRows, 3: SeenSeries, 4: SeenPixels}
        if x.dim() not in kinds:
            raise ValueError(
                say("A batch of shape {shape} is neither rows [b, f], series [b, c, t] nor pictures [b, c, h, w].",
                    shape=tuple(x.shape))
            )  # fmt: skip
        place = (x.dim(), x.device)
        if place not in self._seen:
            streams = Streams([self._member.seed], x.device)
            self._seen[place] = kinds[x.dim()]([self._member], streams, Ledger(1, x.device))
        return self._seen[place]


def _packed(x: Tensor) -> tuple[Tensor, ...]:
    """A batch as training keeps it: [1, b, ...], channels last of pictures, steps before channels of series."""
    if x.dim() == 4:
        return (x.movedim(1, -1).unsqueeze(0),)
    if x.dim() == 3:
        ends = torch.full((1, len(x)), x.shape[-1], dtype=torch.int64, device=x.device)
        return x.mT.unsqueeze(0).clone(), ends
    return x.unsqueeze(0).clone(), torch.zeros(1, len(x), 0, dtype=torch.int64, device=x.device)


def _recipe(slots: Mapping[str, Any]) -> Recipe:
    """A recipe with the slots that are given."""
    return Recipe.of({slot: value for slot, value in slots.items() if value is not None})


def _member(recipe: Recipe, seed: int = 0) -> Member:
    """A member without rows."""
    empty = torch.zeros(0, dtype=torch.int64)
    return Member(0, recipe, seed, "loop", empty, empty)
