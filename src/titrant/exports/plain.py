"""The program of an exported script: trains the networks of one model, one after another, and judges their mean.

It is ordinary code of this project, and calls the very functions that a fit calls, with one network at a time: equal seeds give
equal networks. `titrant.exports.source` makes one file of it and of all that it uses for a given recipe; where `recipe` says
that a trick is absent, its branch is left out there.

    rows.pt → encoder → inputs → first weights → steps → evaluation's weights → predictions, averaged → score
"""

import argparse
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from titrant.models.encoder import Encoder
from titrant.models.image import ImageShape, Pixels, first
from titrant.models.layers import attach
from titrant.models.network import Net, Shape
from titrant.models.series import SeriesEncoder
from titrant.models.series import shape_of as series_shape
from titrant.models.table import TableShape
from titrant.models.text import TextEncoder
from titrant.models.text import shape_of as text_shape
from titrant.recipe import Recipe
from titrant.texts import say
from titrant.train.build import layout_of, start
from titrant.train.cohort import batch_sizes, evaluation_steps
from titrant.train.images import SeenPixels
from titrant.train.problem import EVALUATIONS, Inputs, probabilities, tempered, thrifty_evaluations, values
from titrant.train.series import SeenSeries
from titrant.train.tables import SeenRows
from titrant.train.text import SeenTexts
from titrant.tricks.acting import Ledger, Streams, derived_seed, own_randomness
from titrant.tricks.average import AverageTrick
from titrant.tricks.clip import ClipTrick
from titrant.tricks.learning_rate import Plateau, lowered, table
from titrant.tricks.mix import CutMix, MixTrick, Mixup
from titrant.tricks.regularize import (
    ClassWeights,
    Decay,
    Focal,
    LabelSmoothing,
    NormTrick,
    PenaltyTrick,
    cross_entropy,
)
from titrant.tricks.stop import Early

SAMPLE = 1 << 24  # numbers of training rows, about, from which first weights take their measure
TOGETHER = 1024  # rows that are predicted at a time


@dataclass(frozen=True)
class Member:
    """One network to be trained.

    Args:
        recipe: how.
        seed: of all its random streams.
        share: its weight in the mean of predictions.
        temperature: by which the logarithms of its probabilities are divided.
        steps: after which training ends, if the recipe does not end it before: the clock may have cut it short.
    """

    recipe: Recipe
    seed: int
    share: float
    temperature: float
    steps: int


@dataclass(frozen=True)
class Model:
    """What is trained.

    Args:
        members: the networks.
        classes: how many; 0 for values.
        score: of predictions and targets.
        metric: the score's name.
        higher: whether more is better.
        reached: the score of the exported model on the same held-out rows.
        centre, width: mean and standard deviation of a target of values.
        wide: whether each row has several values to predict.
        reach: to which values are cut, in units of `width` from `centre`.
    """

    members: tuple[Member, ...]
    classes: int
    score: Callable[[Tensor, Tensor], Tensor]
    metric: str
    higher: bool
    reached: float
    centre: float
    width: float
    wide: bool
    reach: tuple[float, float] | None

    def read(self, outputs: Tensor, views: int) -> Tensor:
        """Outputs as predictions: probabilities [n, c], or values."""
        if self.classes:
            return probabilities(outputs, views)
        return values(outputs, views, self.wide, self.reach).double() * self.width + self.centre

    def scored(self, predicted: Tensor, target: Tensor) -> float:
        """The score of predictions."""
        if self.wide:
            predicted, target = predicted.flatten(), target.flatten()
        return float(self.score(predicted, target))


class Rows(ABC):
    """Rows of one kind of data, as `rows.pt` has them.

    Args:
        kept: the content of `rows.pt`.
        model: whose rows these are.
        device: where they shall be.

    Attributes:
        raw: the rows as they came.
        target: int64 [n] classes, or float64 [n] values, or [n, h] several values.
        learnable: rows that may be learned from.
        visible: rows that encoders may look at.
        about: sizes that rows do not show, by name.
    """

    def __init__(self, kept: dict[str, Any], model: Model, device: torch.device) -> None:
        self.raw: Inputs = tuple(tensor.to(device) for tensor in kept["inputs"])
        self.target: Tensor = kept["target"].to(device)
        self.learnable: Tensor = kept["learnable"].to(device)
        self.visible: Tensor = kept["visible"].to(device)
        self.about: dict[str, Any] = kept["about"]
        self.model = model
        self.device = device
        self.outputs = self.target.shape[1] if model.wide else max(1, model.classes)

    @abstractmethod
    def fitted(self, recipe: Recipe, rows: Tensor) -> nn.Module:
        """An encoder, fitted on training rows."""

    @abstractmethod
    def restored(self, recipe: Recipe, tensors: dict[str, Tensor]) -> nn.Module:
        """An encoder that was fitted before."""

    @abstractmethod
    def shape(self, encoder: nn.Module) -> Shape:
        """What a network must know of encoded rows."""

    @abstractmethod
    def encoded(self, encoder: nn.Module) -> Inputs:
        """All rows, as they are kept while training."""

    @abstractmethod
    def seen(self, member: Any, encoder: nn.Module, streams: Streams, ledger: Ledger) -> Any:
        """What the member sees of its rows while training."""

    def ready(self, inputs: Inputs) -> Inputs:
        """Rows that were taken, as networks read them."""
        return inputs

    def evaluations(self, trained: int, judged: int) -> int:
        """How often a training is evaluated."""
        return EVALUATIONS

    @property
    def columns(self) -> int:
        """Numbers of a row, about."""
        return self.raw[0][0].numel()

    def encode(self, encoder: nn.Module, rows: Tensor) -> Inputs:
        """Some rows, as networks read them."""
        return encoder(*(tensor[rows] for tensor in self.raw))  # type: ignore[no-any-return]  # a module call is untyped


class TableRows(Rows):
    """Numbers [n, f] with not-a-number for missing, and codes [n, c]: 0 unseen, 1 missing, 2 and up the known categories."""

    def fitted(self, recipe: Recipe, rows: Tensor) -> nn.Module:
        """Scaling, and the categories that occur."""
        numbers, codes = self.raw
        may_miss = numbers[self.learnable].isnan().any(0)
        return Encoder.fit(recipe.data, numbers[rows], codes[rows], self.about["cardinalities"], may_miss)

    def restored(self, recipe: Recipe, tensors: dict[str, Tensor]) -> nn.Module:
        """From its tensors."""
        return Encoder(recipe.data, self.raw[0].shape[1], self.about["cardinalities"], tensors)

    def shape(self, encoder: nn.Module) -> Shape:
        """Columns and categories."""
        assert isinstance(encoder, Encoder)
        indicators = encoder.width - encoder.features
        return TableShape(encoder.features, indicators, tuple(encoder.cardinalities), self.outputs)

    def encoded(self, encoder: nn.Module) -> Inputs:
        """Scaled numbers and known codes."""
        return encoder(*self.raw)  # type: ignore[no-any-return]  # a module call is untyped

    def seen(self, member: Any, encoder: nn.Module, streams: Streams, ledger: Ledger) -> SeenRows:
        """Rows with noise, swaps and gaps."""
        return SeenRows([member], streams, ledger)


class PictureRows(Rows):
    """Pixels uint8 [n, h, w, c]."""

    def fitted(self, recipe: Recipe, rows: Tensor) -> nn.Module:
        """There is nothing to fit; the network itself standardises."""
        return Pixels()

    def restored(self, recipe: Recipe, tensors: dict[str, Tensor]) -> nn.Module:
        """The same for all pictures."""
        return Pixels()

    def shape(self, encoder: nn.Module) -> Shape:
        """Channels and sides."""
        height, width, channels = self.raw[0].shape[1:]
        return ImageShape(channels, height, width, self.outputs)

    def encoded(self, encoder: nn.Module) -> Inputs:
        """The pixels themselves: they become numbers batch by batch."""
        return self.raw

    def ready(self, inputs: Inputs) -> Inputs:
        """Numbers [n, c, h, w] in [0, 1]."""
        return Pixels()(first(inputs[0]))  # type: ignore[no-any-return]  # a module call is untyped

    def encode(self, encoder: nn.Module, rows: Tensor) -> Inputs:
        """Numbers [n, c, h, w] in [0, 1]."""
        return self.ready((self.raw[0][rows],))

    def seen(self, member: Any, encoder: nn.Module, streams: Streams, ledger: Ledger) -> SeenPixels:
        """Augmented pictures."""
        return SeenPixels([member], streams, ledger)

    def evaluations(self, trained: int, judged: int) -> int:
        """So often that they take about a tenth of the time."""
        return thrifty_evaluations(trained, judged)

    @property
    def columns(self) -> int:
        """Numbers of a first feature map of sixteen channels."""
        return 16 * self.raw[0].shape[1] * self.raw[0].shape[2]


class SeriesRows(Rows):
    """Series float32 [n, c, t], not-a-number for what is missing and behind a series' end."""

    def fitted(self, recipe: Recipe, rows: Tensor) -> nn.Module:
        """Scaling and features, of all series that may be looked at: no target has a part in them."""
        anchor = (self.model.centre, self.model.width) if self.model.wide else None
        return SeriesEncoder.fit(recipe.data, self.raw[0][self.visible], anchor)

    def restored(self, recipe: Recipe, tensors: dict[str, Tensor]) -> nn.Module:
        """From its tensors."""
        return SeriesEncoder(recipe.data, tensors)

    def shape(self, encoder: nn.Module) -> Shape:
        """Channels and steps, or features."""
        assert isinstance(encoder, SeriesEncoder)
        return series_shape(encoder, self.raw[0].shape[-1], self.about["ragged"], self.outputs)

    def encoded(self, encoder: nn.Module) -> Inputs:
        """Steps [n, t, c] and ends, or features."""
        assert isinstance(encoder, SeriesEncoder)
        x, *others = encoder(self.raw[0])
        return (x if encoder.kernels is not None else x.transpose(1, 2).contiguous(), *others)

    def ready(self, inputs: Inputs) -> Inputs:
        """Series [n, c, t]; features as they are."""
        x, second, *anchors = inputs
        return (x.transpose(-1, -2), second, *anchors) if second.dtype == torch.int64 else inputs

    def seen(self, member: Any, encoder: nn.Module, streams: Streams, ledger: Ledger) -> SeenSeries:
        """Augmented series."""
        return SeenSeries([member], streams, ledger)

    @property
    def columns(self) -> int:
        """Numbers of a first convolution of sixteen channels."""
        return 16 * self.raw[0].shape[2]


class TextRows(Rows):
    """Tokens int32 [n, t], 0 behind a text's end."""

    def fitted(self, recipe: Recipe, rows: Tensor) -> nn.Module:
        """The common length, or the known runs of words, of all texts that may be looked at: no target has a part in them."""
        return TextEncoder.fit(recipe.data, self.raw[0][self.visible], self.begins)

    def restored(self, recipe: Recipe, tensors: dict[str, Tensor]) -> nn.Module:
        """From its tensors."""
        return TextEncoder(recipe.data, tensors)

    @property
    def begins(self) -> Tensor:
        """Which tokens begin a word."""
        found = torch.zeros(self.about["tokens"], dtype=torch.bool, device=self.device)
        found[self.about["begins"]] = True
        return found

    def shape(self, encoder: nn.Module) -> Shape:
        """Tokens or runs, and how many of them a text has."""
        assert isinstance(encoder, TextEncoder)
        return text_shape(encoder, self.about["tokens"], self.outputs)

    def encoded(self, encoder: nn.Module) -> Inputs:
        """Tokens and ends, or runs and weights."""
        return tuple(part.contiguous() for part in encoder(self.raw[0]))

    def seen(self, member: Any, encoder: nn.Module, streams: Streams, ledger: Ledger) -> SeenTexts:
        """Texts that lose, change and exchange tokens."""
        shape: Any = self.shape(encoder)
        return SeenTexts([member], shape.count, streams, ledger)

    def evaluations(self, trained: int, judged: int) -> int:
        """So often that they take about a tenth of the time."""
        return thrifty_evaluations(trained, judged)


# ------------------------------------------------------------------ training


class Update:
    """From a gradient to new weights. All learned numbers stand side by side in one row [1, P], which the parameters look into.

    Args:
        recipe: of the network.
        network: whose weights change.
        steps: of the whole training.
    """

    def __init__(self, recipe: Recipe, network: Net, steps: int) -> None:
        self.recipe = recipe
        self.network = network
        self.steps = steps
        self.layout = layout_of(network)
        named = dict(network.named_parameters())
        self.parameters = [named[entry.name] for entry in self.layout.entries]
        self.flat = torch.cat([parameter.detach().flatten() for parameter in self.parameters]).unsqueeze(0)
        for parameter, view in zip(self.parameters, self.layout.views(self.flat[0]).values(), strict=True):
            parameter.data = view
        self.rates = table(recipe.learning_rate, steps).tolist()
        self.state = recipe.optimizer.start(self.flat)
        self.lowered = 1.0
        if isinstance(recipe.average, AverageTrick):
            self.average = self.flat.clone()
            self.running = {name: buffer.clone() for name, buffer in network.named_buffers()}

    def gradient(self) -> Tensor:
        """The gradient [1, P] that backward passes have left behind, which is taken away."""
        found = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        self.network.zero_grad()
        return torch.cat([grad.flatten() for grad in found]).unsqueeze(0)

    @torch.no_grad()
    def __call__(self, grad: Tensor, step: int) -> None:
        """Takes step number `step`, from 0; `grad` [1, P] is changed."""
        flat, layout = self.flat, self.layout
        rate = self.rates[step] * self.lowered
        number = step + 1
        if isinstance(self.recipe.regularize.l1, PenaltyTrick):
            self.recipe.regularize.l1.add(grad, flat, layout, **self.recipe.regularize.l1.values())
        if isinstance(self.recipe.regularize.l2, PenaltyTrick):
            self.recipe.regularize.l2.add(grad, flat, layout, **self.recipe.regularize.l2.values())
        if isinstance(self.recipe.clip, ClipTrick):
            self.recipe.clip.apply(grad, flat, layout, **self.recipe.clip.values())
        if isinstance(self.recipe.regularize.decay, Decay):
            self.recipe.regularize.decay.decay(flat, rate, layout, **self.recipe.regularize.decay.values())
        self.recipe.optimizer.update(flat, grad, self.state, rate, number, layout, **self.recipe.optimizer.values())
        if isinstance(self.recipe.regularize.max_norm, NormTrick):
            self.recipe.regularize.max_norm.constrain(flat, layout, **self.recipe.regularize.max_norm.values())
        if isinstance(self.recipe.regularize.unit_norm, NormTrick):
            self.recipe.regularize.unit_norm.constrain(flat, layout, **self.recipe.regularize.unit_norm.values())
        if isinstance(self.recipe.average, AverageTrick):
            progress = number / self.steps
            self.recipe.average.update(self.average, flat, number, progress, **self.recipe.average.values())
            for name, buffer in self.network.named_buffers():
                if buffer.is_floating_point():
                    mine, now = self.running[name].view(1, -1), buffer.view(1, -1)
                    self.recipe.average.update(mine, now, number, progress, **self.recipe.average.values())

    @torch.no_grad()
    def evaluation(self) -> dict[str, Tensor]:
        """The weights and running statistics that the network is judged by, as copies."""
        flat = self.flat
        running = dict(self.network.named_buffers())
        if self.recipe.optimizer.evaluates_elsewhere:
            flat = self.recipe.optimizer.evaluation(flat, self.state, **self.recipe.optimizer.values())
        if isinstance(self.recipe.average, AverageTrick):
            flat, running = self.average, self.running
        state = {**self.layout.views(flat[0]), **running}
        return {name: tensor.clone() for name, tensor in state.items() if name in self.network.state_dict()}


class Objective:
    """The training loss of a network.

    Args:
        member: whose loss.
        rows: the data.
        encoder: of the rows.
        target: classes, or scaled values.
        steps: of the whole training.
    """

    def __init__(self, member: Member, rows: Rows, encoder: nn.Module, target: Tensor, steps: int) -> None:
        recipe = member.recipe
        self.recipe = recipe
        self.rows = rows
        self.target = target
        self.steps = steps
        self.streams = Streams([member.seed], rows.device)
        ledger = Ledger(1, rows.device)
        self.seen = rows.seen(member, encoder, self.streams, ledger)
        if isinstance(recipe.mix, MixTrick):
            with own_randomness(derived_seed(member.seed, "mix")):
                self.shares = recipe.mix.shares(steps).to(rows.device)
        self.weights: Tensor | None = None
        if isinstance(recipe.regularize.class_weights, ClassWeights):
            counts = torch.bincount(rows.target[rows.learnable], minlength=rows.model.classes).float()
            self.weights = recipe.regularize.class_weights.weights(counts, **recipe.regularize.class_weights.values())

    def loss(self, network: Net, inputs: Inputs, target: Tensor, turns: Tensor, step: int) -> Tensor:
        """The mean loss of a batch.

        Args:
            network: in training.
            inputs: rows [b, ...] as they are kept.
            target: [b].
            turns: [b], each row's number plus the epoch.
            step: the number of this step, from 0.
        """
        inputs = self.seen.augmented(tuple(tensor.unsqueeze(0) for tensor in inputs), turns.unsqueeze(0), step / self.steps)
        mixer: Callable[[Tensor], Tensor] | None = None
        if isinstance(self.recipe.mix, CutMix):
            inputs, own = self.seen.cut(inputs, self.shares[step].view(1, 1))
        if isinstance(self.recipe.mix, Mixup):
            share = self.shares[step].view(1)
            own = share.expand(1, len(target))

            def mixer(z: Tensor) -> Tensor:
                return Mixup.apply(z, share)

        with autocast(self.recipe, self.rows.device):
            outputs = network(*(tensor.squeeze(0) for tensor in inputs), mixer).float()
        losses = self.of_rows(outputs, target, network.views)
        if isinstance(self.recipe.mix, MixTrick):
            losses = own[0] * losses + (1 - own[0]) * self.of_rows(outputs, target.roll(1, 0), network.views)
        return losses.mean()

    def of_rows(self, outputs: Tensor, target: Tensor, views: int) -> Tensor:
        """The loss of each row [b] of outputs [v·b, o]: the mean over the views."""
        repeated = torch.cat([target] * views)
        if self.rows.model.wide:
            losses = (outputs - repeated).square().mean(-1)
        elif not self.rows.model.classes:
            losses = (outputs.squeeze(-1) - repeated).square()
        else:
            epsilon, gamma = 0.0, None
            if isinstance(self.recipe.regularize.label_smoothing, LabelSmoothing):
                epsilon = self.recipe.regularize.label_smoothing.epsilon
            if isinstance(self.recipe.regularize.focal, Focal):
                gamma = self.recipe.regularize.focal.gamma
            log_p = outputs.mT.log_softmax(-2).mT  # along a short last axis of ten classes it took over ten times as long
            losses = cross_entropy(log_p, repeated, epsilon=epsilon, gamma=gamma, weights=self.weights)
        return losses.view(views, len(target)).mean(0)

    @torch.no_grad()
    def hardest(self, network: Net, inputs: Inputs, chosen: Tensor, kept: int) -> Tensor:
        """Of the chosen rows those with the highest loss."""
        network.eval()
        outputs = network(*self.rows.ready(tuple(tensor[chosen] for tensor in inputs))).float()
        losses = self.of_rows(outputs, self.target[chosen], network.views)
        network.train()
        return chosen[losses.topk(kept).indices.sort().values]


def autocast(recipe: Recipe, device: torch.device) -> Any:
    """Where numbers of half the size are computed with, if the recipe says so."""
    if recipe.hardware.precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


class Watch:
    """Looks at a network while it trains: keeps its best state, ends training that brings nothing better, lowers its steps.

    Args:
        recipe: of the network.
        steps: of the whole training.
        higher: whether a higher score is better.

    Attributes:
        kept: the state to go on with after training; None for the last one.
        lowered: by what learning rates are multiplied.
    """

    def __init__(self, recipe: Recipe, steps: int, higher: bool) -> None:
        self.recipe = recipe
        self.steps = steps
        self.higher = higher
        self.losses: list[float] = []
        self.best_step = 0
        self.kept: dict[str, Tensor] | None = None
        self.lowered = 1.0

    def __call__(self, state: dict[str, Tensor], score: float, step: int) -> bool:
        """Hears the score of a state after so many steps; returns whether to end."""
        loss = -score if self.higher else score
        if isinstance(self.recipe.stop, Early) and not loss >= min(self.losses, default=float("inf")):
            self.kept, self.best_step = state, step
        self.losses.append(loss)
        if isinstance(self.recipe.learning_rate.schedule, Plateau):
            schedule = self.recipe.learning_rate.schedule
            self.lowered = lowered(self.losses, schedule.patience, schedule.factor)
        if isinstance(self.recipe.stop, Early):
            return self.recipe.stop.patience < 1 and step - self.best_step > self.recipe.stop.patience * self.steps
        return False


def trained(member: Member, rows: Rows, mine: Tensor, held_out: Tensor, epoch: int) -> tuple[nn.Module, Net]:
    """A network that is trained by its recipe, and its encoder.

    Args:
        member: the network.
        rows: the data.
        mine: rows that it learns from.
        held_out: rows that judge it while it trains.
        epoch: rows that make an epoch.
    """
    recipe, device = member.recipe, rows.device
    encoder = rows.fitted(recipe, mine).to(device)
    with torch.no_grad():
        inputs = rows.encoded(encoder)
    target = rows.target if rows.model.classes else ((rows.target - rows.model.centre) / rows.model.width).float()
    sizes = batch_sizes(recipe, epoch)
    begun = [0, *accumulate(sizes)]  # rows that were seen before each step
    sample = mine[: max(512, min(1 << 14, SAMPLE // max(1, rows.columns)))]
    taken = rows.ready(tuple(tensor[sample] for tensor in inputs))
    network = start(recipe, rows.shape(encoder), member.seed, taken, target=target[sample]).to(device)
    objective = Objective(member, rows, encoder, target, len(sizes))
    ledger = Ledger(1, device)
    attach(network, objective.streams, ledger)
    update = Update(recipe, network, len(sizes))
    if isinstance(recipe.stop, Early) or isinstance(recipe.learning_rate.schedule, Plateau):
        watch = Watch(recipe, len(sizes), rows.model.higher)
        evaluated_at = evaluation_steps(len(sizes), rows.evaluations(sum(sizes), len(held_out)))
    order = mine[:0]
    network.train()
    for step, size in enumerate(sizes[: member.steps]):
        while len(order) < size:  # each epoch visits each row once
            (generator,) = objective.streams.of("order")
            order = torch.cat([order, mine[torch.randperm(len(mine), generator=generator, device=device)[:epoch]]])
        chosen, order = order[:size], order[size:]
        if recipe.batch.kept(size) < size:
            chosen = objective.hardest(network, inputs, chosen, recipe.batch.kept(size))
        parts = chosen.chunk(recipe.batch.parts)
        for some in parts:
            turns = some + begun[step] // epoch
            loss = objective.loss(network, tuple(tensor[some] for tensor in inputs), target[some], turns, step)
            (loss / len(parts)).backward()  # type: ignore[no-untyped-call]  # torch
        update(update.gradient(), step)
        if isinstance(recipe.stop, Early) or isinstance(recipe.learning_rate.schedule, Plateau):
            if step + 1 not in evaluated_at:
                continue
            state = update.evaluation()
            score = rows.model.scored(predicted(network, state, encoder, rows, held_out), rows.target[held_out])
            network.train()
            if watch(state, score, step + 1):
                break
            update.lowered = watch.lowered
    final = update.evaluation()
    if isinstance(recipe.stop, Early) and watch.kept is not None:
        final = watch.kept
    network.load_state_dict(final)
    return encoder, network.eval()


# ------------------------------------------------------------------- judging


@torch.no_grad()
def predicted(network: Net, state: dict[str, Tensor], encoder: nn.Module, rows: Rows, some: Tensor) -> Tensor:
    """What a network with given weights predicts for some rows: probabilities [n, c], or values."""
    network.eval()
    found = [functional_call(network, state, rows.encode(encoder, piece)) for piece in torch.split(some, TOGETHER)]
    return torch.cat([rows.model.read(outputs.float(), network.views) for outputs in found])


def averaged(model: Model, networks: Sequence[tuple[nn.Module, Net]], rows: Rows, some: Tensor) -> Tensor:
    """The mean of what all networks predict for some rows."""
    told = []
    for member, (encoder, network) in zip(model.members, networks, strict=True):
        own = predicted(network, network.state_dict(), encoder, rows, some)
        told.append(member.share * (own if member.temperature == 1 else tempered(own, member.temperature)))
    return torch.stack(told).sum(0)


def restored(model: Model, rows: Rows, weights: Sequence[dict[str, dict[str, Tensor]]]) -> list[tuple[nn.Module, Net]]:
    """Networks with weights that were saved by `saved`."""
    networks = []
    for member, tensors in zip(model.members, weights, strict=True):
        encoder = rows.restored(member.recipe, tensors["encoder"])
        network: Net = rows.shape(encoder).network([member.recipe])
        network.load_state_dict(tensors["network"])
        networks.append((encoder.to(rows.device), network.to(rows.device).eval()))
    return networks


def saved(networks: Sequence[tuple[nn.Module, Net]]) -> list[dict[str, dict[str, Tensor]]]:
    """The weights of networks, for `restored`."""
    return [{"encoder": encoder.state_dict(), "network": network.state_dict()} for encoder, network in networks]


def main(model: Model, kind: type[Rows]) -> None:
    """Trains all networks, or takes weights that are there; prints the score; saves the weights."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=say("Trains the model and judges it on held-out rows."))
    parser.add_argument("--weights", type=Path, help=say("Do not train; take these weights, such as weights.pt."))
    parser.add_argument("--out", type=Path, default=Path("trained.pt"), help=say("Where trained weights go."))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    asked = parser.parse_args()
    kept = torch.load(here / "rows.pt", weights_only=True)
    rows = kind(kept, model, torch.device(asked.device))
    if asked.weights is not None:
        networks = restored(model, rows, torch.load(asked.weights, weights_only=True))
    else:
        networks = []
        folds = [tuple(part.to(rows.device) for part in fold) for fold in kept["folds"]]
        for member, (mine, held_out) in zip(model.members, folds, strict=True):
            alike = [len(other[0]) for one, other in zip(model.members, folds, strict=True) if one.recipe == member.recipe]
            networks.append(trained(member, rows, mine, held_out, min(alike)))
            print(  # noqa: T201  # the script talks to whoever runs it
                say("network {place} of {all} is trained", place=len(networks), all=len(model.members)), flush=True
            )
        torch.save(saved(networks), asked.out)
    test = kept["test"].to(rows.device)
    if len(test):
        score = model.scored(averaged(model, networks, rows, test), rows.target[test])
        print(  # noqa: T201
            say("{metric} on {rows} held-out rows: {score:.4f} (the exported model: {reached:.4f})",
                metric=model.metric, rows=len(test), score=score, reached=model.reached)
        )  # fmt: skip
