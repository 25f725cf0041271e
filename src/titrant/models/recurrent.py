"""Recurrent layers: gates over steps, for one network or a stack of them, in one or both directions.

What comes from the input is computed for all steps at once; the loop over steps does what must wait for the step before. Both
directions run side by side in one loop, the second on series that are turned round.

Axes: k member (absent in a plain network), b series, c channel, t step, d direction, h unit, g gate number (gates · h).
"""

import torch
from torch import Tensor, nn

from titrant.models.layers import Drop, Linear, Members, Normalize
from titrant.recipe import Recipe
from titrant.tricks.base import Off, Segment, Trick
from titrant.tricks.dropout import LEVELS, DropoutTrick, Variational, Zoneout, level_of
from titrant.tricks.model import Gru, Lstm, RecurrentTrick
from titrant.tricks.normalize import RMS, Layer

Around = tuple[Tensor | None, Tensor | None]
"""What dropout does to states: factors [..., d, b, h] that are the same at all steps, and for each step what stays."""


class StepDrop(Drop):
    """Dropout on the inputs of a recurrent layer [..., b, t, c]; `variational` hides the same channels at all steps."""

    def _act(self, part: Segment[Trick], x: Tensor) -> Tensor:
        kind = part.kind
        if not issubclass(kind, DropoutTrick) or kind is Zoneout:
            return x
        noise = bytes_like(self, x, part, (x.shape[-3], 1 if kind is Variational else x.shape[-2], x.shape[-1]))
        doses = {name: dose.unsqueeze(-1) if isinstance(dose, Tensor) else dose for name, dose in part.values.items()}
        if kind is Variational:
            factor, kept = kind.apply(torch.ones(noise.shape, dtype=x.dtype, device=x.device), noise, **doses)
            dropped = x * factor
        else:
            dropped, kept = kind.apply(x, noise, **doses)
        book(self, part, kept)
        return dropped


class StateDrop(Drop):
    """Dropout on states [..., d, b, h]: a factor for all steps (`variational`), and units that stay (`zoneout`)."""

    def around(self, like: Tensor, steps: int) -> Around:
        """What to do at each step of one pass.

        Args:
            like: a state.
            steps: of the series.
        """
        if not self.acts:
            return None, None
        factors: list[Tensor] = []
        stays: list[Tensor] = []
        for part in self.parts:
            mine = like[part.start : part.stop] if like.dim() == 4 else like
            factor, stay = torch.ones_like(mine), None
            doses = {name: dose.unsqueeze(-1) if isinstance(dose, Tensor) else dose for name, dose in part.values.items()}
            if part.kind is Variational and self.training:
                noise = bytes_like(self, mine, part, tuple(mine.shape[-3:]))
                factor, kept = Variational.apply(factor, noise, **doses)
                book(self, part, kept)
            if part.kind is Zoneout:
                dose = doses["p"]
                if self.training:
                    noise = bytes_like(self, mine, part, (steps, *mine.shape[-3:]))
                    changed = Zoneout.changed(noise, p=dose.unsqueeze(-1) if isinstance(dose, Tensor) else dose)
                    book(self, part, changed)
                    stay = (1 - changed).to(mine.dtype).movedim(-4, 0)
                else:
                    share = level_of(dose) / LEVELS
                    stay = (share * torch.ones_like(mine)).expand(steps, *mine.shape)
            factors.append(factor)
            stays.append(torch.zeros(steps, *mine.shape, dtype=mine.dtype, device=mine.device) if stay is None else stay)
        kinds = {part.kind for part in self.parts}
        factor = torch.cat(factors) if like.dim() == 4 else factors[0]
        staying = torch.cat(stays, 1) if like.dim() == 4 else stays[0]
        return factor if Variational in kinds and self.training else None, staying if Zoneout in kinds else None


def bytes_like(layer: Drop, x: Tensor, part: Segment[Trick], shape: tuple[int, ...]) -> Tensor:
    """Random bytes for a segment's members: of their own streams, or of torch's in a plain network."""
    lead = (len(part),) if layer.streams is not None and x.dim() == 4 else ()
    if layer.streams is None:
        return torch.randint(0, 256, (*x.shape[: x.dim() - 3], *shape), dtype=torch.uint8, device=x.device)
    return layer.streams.bytes("dropout", shape, part.start, part.stop).view(*lead, *shape)


def book(layer: Drop, part: Segment[Trick], kept: Tensor) -> None:
    """Counts what was dropped."""
    if layer.ledger is not None and layer.ledger.probing:
        units = float(kept.numel() // len(part))
        layer.ledger.add("dropout", part.start, part.stop, units - kept.view(len(part), -1).sum(1), units)


class Gates(Linear):
    """What a recurrent layer's gates take from its input, or from its state.

    Args:
        inputs: channels, or units of the state.
        width: units.
        gates: how many.
        start: how recurrent weights begin; "drawn" as `initialize` says.
        forget: the gate whose bias begins at 1, from 0; None for none.
    """

    def __init__(self, inputs: int, width: int, gates: int, start: str = "drawn", forget: int | None = None) -> None:
        super().__init__(inputs, gates * width)
        self.gates = gates
        self.start = start
        self.forget = forget


class Cell(nn.Module):
    """One recurrent layer: series [..., b, t, c] to states of both directions [..., b, t, d·h].

    Args:
        members: whose layers they are.
        model: the recurrent trick.
        channels: c.
        first: whether it reads the series itself, of which dropout hides nothing: there may be a single channel.
    """

    def __init__(self, members: Members, model: RecurrentTrick, channels: int, *, first: bool) -> None:
        super().__init__()
        self.model = model
        self.directions = 2 if model.direction == "both" else 1
        gated = model.gates * model.width
        forget = 1 if isinstance(model, Lstm) else None
        self.enter = nn.ModuleList([Gates(channels, model.width, model.gates, forget=forget) for _ in range(self.directions)])
        self.back = nn.ModuleList([Gates(model.width, model.width, model.gates, model.start) for _ in range(self.directions)])
        self.normalize = members.normalize(gated)
        inner, kin = ([_inside(recipe) for recipe in recipes] for recipes in (members.recipes, members.kin))
        self.normalize_back = Normalize(inner, gated, kin, members.device)
        self.drop = StepDrop([Off() if first else recipe.dropout for recipe in members.recipes], members.device)
        self.keep = StateDrop([recipe.dropout for recipe in members.recipes], members.device)
        self.activate = members.activate(model.width)

    def forward(self, x: Tensor, turn: Tensor | None) -> Tensor:
        """All steps; `turn` [..., b, t] says where each step of a turned series stands, None: from the end to the beginning."""
        lead, (rows, steps, _) = x.shape[:-3], x.shape[-3:]
        width, directions = self.model.width, self.directions
        flat = self.drop(x).flatten(-3, -2)
        ways = [enter(flat).view(*lead, rows, steps, -1) for enter in self.enter]
        if directions == 2:
            ways[1] = _turned(ways[1], turn)
        gates = torch.stack(ways, -4)  # [..., d, b, t, g]
        flat = self.normalize(gates.flatten(-4, -2))
        gates = flat.view(gates.shape).movedim(-2, 0).contiguous()  # [t, ..., d, b, g]
        weight = torch.stack([layer.weight for layer in self.back], -3).mT  # type: ignore[misc]  # [..., d, h, g]
        bias = torch.stack([layer.bias for layer in self.back], -2).unsqueeze(-2)  # type: ignore[misc]
        state = x.new_zeros(*lead, directions, rows, width)
        inner = state
        factor, stays = self.keep.around(state, steps)
        found = []
        for step in range(steps):
            seen = state if factor is None else state * factor
            known = seen @ weight + bias
            if self.normalize_back.needed:
                known = self.normalize_back(known.flatten(-3, -2)).view(known.shape)
            after, inner = self._step(gates[step], known, state, inner)
            state = after if stays is None else torch.lerp(after, state, stays[step])
            found.append(state)
        states = torch.stack(found, -2)  # [..., d, b, t, h]
        out = [states.select(-4, 0)]
        if directions == 2:
            out.append(_turned(states.select(-4, 1), turn))
        return torch.cat(out, -1)

    def _step(self, entered: Tensor, known: Tensor, state: Tensor, inner: Tensor) -> tuple[Tensor, Tensor]:
        """The next state and the next inner cell."""
        width = self.model.width
        match self.model:
            case Gru():
                reset, keep = (entered[..., : 2 * width] + known[..., : 2 * width]).sigmoid().chunk(2, -1)
                fresh = (entered[..., 2 * width :] + reset * known[..., 2 * width :]).tanh()
                return torch.lerp(fresh, state, keep), inner
            case Lstm():
                total = entered + known
                let, forget, show = total[..., : 3 * width].sigmoid().chunk(3, -1)
                inner = forget * inner + let * total[..., 3 * width :].tanh()
                return show * inner.tanh(), inner
            case _:
                total = entered + known
                return self.activate(total.flatten(-3, -2)).view(total.shape), inner


class Attended(nn.Module):
    """The mean of states [..., b, t, f], weighted by how well each answers one learned question: [..., b, f]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ask = Linear(width, 1)

    def forward(self, states: Tensor, inside: Tensor | None) -> Tensor:
        """Over the steps that are inside [..., b, t]."""
        answers = self.ask(states.flatten(-3, -2)).view(states.shape[:-1])
        if inside is not None:
            answers = answers.masked_fill(~inside, -torch.inf)
        return torch.matmul(answers.softmax(-1).unsqueeze(-2), states).squeeze(-2)


class Recurrent(nn.Module):
    """Recurrent layers and what is handed on of their states: series [..., b, c, t] to features [..., b, f].

    Args:
        members: whose layers they are.
        model: the recurrent trick.
        channels: c.
        ragged: whether series end before their last step.

    Attributes:
        width: f.
        products: multiplications for a step of a series, about.
    """

    def __init__(self, members: Members, model: RecurrentTrick, channels: int, ragged: bool) -> None:
        super().__init__()
        self.model = model
        self.ragged = ragged
        self.width = model.width * (2 if model.direction == "both" else 1)
        self.cells = nn.ModuleList(
            [Cell(members, model, self.width if layer else channels, first=layer == 0) for layer in range(model.depth)]
        )
        self.attend = Attended(self.width) if model.pool == "attention" else None
        self.products = sum(p.numel() for p in self.cells.parameters())

    def forward(self, x: Tensor, ends: Tensor) -> Tensor:
        """Layer after layer, then the pool."""
        states = x.transpose(-1, -2)
        steps = torch.arange(states.shape[-2], device=x.device)
        inside = steps < ends.unsqueeze(-1) if self.ragged else None
        turn = torch.where(inside, ends.unsqueeze(-1) - 1 - steps, steps) if inside is not None else None
        for cell in self.cells:
            states = cell(states, turn)
        if self.attend is not None:
            return self.attend(states, inside)  # type: ignore[no-any-return]  # a module call is untyped
        if self.model.pool == "mean":
            return states.mean(-2) if inside is None else (states * inside.unsqueeze(-1)).sum(-2) / ends.unsqueeze(-1)
        at = (ends - 1).view(*ends.shape, 1, 1).expand(*ends.shape, 1, self.model.width)
        newest = states[..., : self.model.width].gather(-2, at).squeeze(-2)
        return torch.cat([newest, states[..., 0, self.model.width :]], -1)


def _turned(x: Tensor, turn: Tensor | None) -> Tensor:
    """Steps [..., t, f] in the other order."""
    return x.flip(-2) if turn is None else x.gather(-2, turn.unsqueeze(-1).expand(x.shape))


def _inside(recipe: Recipe) -> Trick:
    """Normalisation of what comes from the state: kinds that look at one row alone."""
    return recipe.normalize if isinstance(recipe.normalize, Layer | RMS) else Off()
