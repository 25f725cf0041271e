"""Recurrent layers: gates over steps, for one network or a stack of them, in one or both directions.

What comes from the input is computed for all steps at once; the loop over steps does what must wait for the step before. Both
directions run side by side in one loop, the second on series that are turned round. PyTorch's own kernels take the loop's place
where they compute the same and are faster: network by network, with nothing inside the cell.

Axes: k member (absent in a plain network), b series, c channel, t step, d direction, h unit, g gate number (gates · h).
"""

import torch
from torch import Tensor, nn

from titrant.models.blocks import Blocks
from titrant.models.layers import Drop, Linear, Members, Normalize
from titrant.recipe import Recipe
from titrant.tricks.base import Off, Segment, Trick, by_segment
from titrant.tricks.dropout import LEVELS, Variational, Zoneout, level_of
from titrant.tricks.model import Gru, Lstm, RecurrentTrick
from titrant.tricks.normalize import RMS, Layer
from titrant.tricks.runtimes import exporting, in_turn

_MANY = 8192  # states of a direction at a step, from which on PyTorch's GRU is faster than a loop


class StepDrop(Drop):
    """Dropout on the inputs of a recurrent layer [..., b, t, c]; `variational` hides the same channels at all steps."""

    def _act(self, part: Segment[Trick], x: Tensor) -> Tensor:
        kind = part.kind
        if kind is Zoneout:
            return x
        if kind is not Variational:
            return super()._act(part, x)
        noise = self._bytes(part, x, (x.shape[-3], 1, x.shape[-1]))
        factor, kept = Variational.apply(torch.ones(noise.shape, dtype=x.dtype, device=x.device), noise, **part.values)
        self._book(part, kept)
        return x * factor


class StateDrop(Drop):
    """Dropout on states [..., d, b, h]: a factor for all steps (`variational`), and units that stay (`zoneout`)."""

    def factors(self, like: Tensor) -> Tensor | None:
        """By what states are multiplied at all steps of one pass; None where nobody drops them so."""
        if not self.training or not self._some(Variational):
            return None
        return by_segment(self.parts, torch.ones_like(like), self._factor)

    def stays(self, like: Tensor, steps: int) -> Tensor | None:
        """How much of a state stays as it was before each step of one pass [t, ..., d, b, h]; None where all of it changes."""
        if not self._some(Zoneout):
            return None
        blank = torch.zeros(*like.shape[:-3], steps, *like.shape[-3:], dtype=like.dtype, device=like.device)
        return by_segment(self.parts, blank, self._staying).movedim(-4, 0)

    @property
    def alters(self) -> bool:
        """Whether anything happens to states now."""
        return self._some(Zoneout) or (self.training and self._some(Variational))

    def _some(self, kind: type[Trick]) -> bool:
        return any(part.kind is kind for part in self.parts)

    def _factor(self, part: Segment[Trick], ones: Tensor) -> Tensor:
        if part.kind is not Variational:
            return ones
        factor, kept = Variational.apply(ones, self._bytes(part, ones, ones.shape[-3:]), **part.values)
        self._book(part, kept)
        return factor

    def _staying(self, part: Segment[Trick], blank: Tensor) -> Tensor:
        if part.kind is not Zoneout:
            return blank
        p = part.values["p"]
        p = p.unsqueeze(-1) if isinstance(p, Tensor) else p  # the steps are one more axis
        if not self.training:
            return blank + level_of(p) / LEVELS
        changed = Zoneout.changed(self._bytes(part, blank.select(-4, 0), blank.shape[-4:]), p=p)
        self._book(part, changed)
        return (1 - changed).to(blank.dtype)


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
        self.drop = StepDrop([Off() if first else recipe.dropout for recipe in members.recipes], members.device, axes=3)
        self.keep = StateDrop([recipe.dropout for recipe in members.recipes], members.device, axes=3)
        self.activate = members.activate(model.width)

    def forward(self, x: Tensor, turn: Tensor | None) -> Tensor:
        """All steps; `turn` [..., b, t] says where each step of a turned series stands, None: from the end to the beginning."""
        if self._suits_kernel(x):
            return self._by_kernel(self.drop(x), turn)
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
        factor, stays = self.keep.factors(state), self.keep.stays(state, steps)

        def step(before: tuple[Tensor, ...], entered: Tensor, staying: Tensor | None = None) -> tuple[Tensor, ...]:
            state = before[0]
            seen = state if factor is None else state * factor
            known = seen @ weight + bias
            if self.normalize_back.needed:
                known = self.normalize_back(known.flatten(-3, -2)).view(known.shape)
            after, *inner = self._step(entered, known, before)
            return after if staying is None else torch.lerp(after, state, staying), *inner

        start = (state, torch.zeros_like(state)) if isinstance(self.model, Lstm) else (state,)
        states = in_turn(step, start, gates) if stays is None else in_turn(step, start, gates, stays)
        states = states.movedim(0, -2)  # [..., d, b, t, h]
        out = [states.select(-4, 0)]
        if directions == 2:
            out.append(_turned(states.select(-4, 1), turn))
        return torch.cat(out, -1)

    def _suits_kernel(self, x: Tensor) -> bool:
        """Whether PyTorch's kernel computes the same, and is faster.

        Milliseconds for a network's step over series of 128 steps, one thread, the kernel's / the loop's:

            units, series   LSTM alone   of 16        GRU alone    of 16
            32, 32          12 / 47      14 / 21      87 / 68      54 / 23
            64, 128         103 / 211    152 / 277    144 / 163    221 / 268
            128, 32         74 / 158     82 / 159     109 / 112    118 / 132
            128, 128        275 / 440    457 / 1517   321 / 349    432 / 817
        """
        if exporting() or torch.compiler.is_compiling():  # there is no graph of this kernel
            return False
        if x.device.type != "cpu" or x.dtype != self.back[0].weight.dtype:
            return False
        if self.normalize.needed or self.normalize_back.needed or self.keep.alters:
            return False
        if any(layer._forward_hooks for layer in self.enter):  # somebody wants to see the gates
            return False
        return isinstance(self.model, Lstm) or (isinstance(self.model, Gru) and x.shape[-3] * self.model.width >= _MANY)

    def _by_kernel(self, x: Tensor, turn: Tensor | None) -> Tensor:
        """All steps, direction by direction and network by network."""
        found = []
        for direction, (enter, back) in enumerate(zip(self.enter, self.back, strict=True)):
            series = _turned(x, turn) if direction else x
            tensors = (series, enter.weight, back.weight, enter.bias, back.bias)
            if x.dim() == 3:
                states = self._states(*tensors)  # type: ignore[arg-type]  # a module's attribute is untyped
            else:
                states = torch.stack([self._states(*parts) for parts in zip(*tensors, strict=True)])  # type: ignore[arg-type]
            found.append(_turned(states, turn) if direction else states)
        return torch.cat(found, -1)

    def _states(self, x: Tensor, enter: Tensor, back: Tensor, enter_bias: Tensor, back_bias: Tensor) -> Tensor:
        """States [b, t, h] of one network in one direction."""
        start = x.new_zeros(1, x.shape[0], self.model.width)
        weights = [enter, back, enter_bias, back_bias]
        if isinstance(self.model, Gru):
            return torch.gru(x, start, weights, True, 1, 0.0, self.training, False, True)[0]
        ordered = []  # the kernel has the output gate last
        for weight in weights:
            let, forget, show, fresh = weight.chunk(4)
            ordered.append(torch.cat([let, forget, fresh, show]))
        return torch.lstm(x, (start, start), ordered, True, 1, 0.0, self.training, False, True)[0]

    def _step(self, entered: Tensor, known: Tensor, before: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The next state, and of an LSTM the next inner cell."""
        width = self.model.width
        match self.model:
            case Gru():
                reset, keep = (entered[..., : 2 * width] + known[..., : 2 * width]).sigmoid().chunk(2, -1)
                fresh = (entered[..., 2 * width :] + reset * known[..., 2 * width :]).tanh()
                return (torch.lerp(fresh, before[0], keep),)
            case Lstm():
                total = entered + known
                let, forget, show = total[..., : 3 * width].sigmoid().chunk(3, -1)
                inner = forget * before[1] + let * total[..., 3 * width :].tanh()
                return show * inner.tanh(), inner
            case _:
                total = entered + known
                return (self.activate(total.flatten(-3, -2)).view(total.shape),)


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
        self.cells = Blocks(
            *(Cell(members, model, self.width if layer else channels, first=layer == 0) for layer in range(model.depth))
        )
        self.attend = Attended(self.width) if model.pool == "attention" else None
        self.products = sum(p.numel() for p in self.cells.parameters())

    def forward(self, x: Tensor, ends: Tensor) -> Tensor:
        """Layer after layer, then the pool."""
        states: Tensor = x.transpose(-1, -2)
        steps = torch.arange(states.shape[-2], device=x.device)
        inside = steps < ends.unsqueeze(-1) if self.ragged else None
        turn = torch.where(inside, ends.unsqueeze(-1) - 1 - steps, steps) if inside is not None else None
        states = self.cells(states, turn)
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
