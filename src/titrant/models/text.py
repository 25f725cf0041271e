"""Networks for texts: a frozen encoder, learned vectors of tokens or of runs of tokens, and a body.

    tokens [n, t] → cut at a common length → networks that read one token after another: `text_cnn`, `gru`, ...
                                           → a mean of vectors: `linear`, `mlp`
                  → weighted runs of tokens → a weighted sum of vectors: `linear`, `mlp`

Axes: k member (absent in a plain network), b text, t token, s run, d number of a vector, o output.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from titrant.models import layers
from titrant.models.layers import Members
from titrant.models.network import Factory, Mixer, Net
from titrant.models.series import SeriesNet, SeriesShape
from titrant.models.table import hidden_layers
from titrant.recipe import Recipe
from titrant.tricks.augment_text import PADDING
from titrant.tricks.data import Data
from titrant.tricks.data_text import Ngrams
from titrant.tricks.model import Custom, Linear, Mlp, SequenceTrick
from titrant.tricks.runtimes import at_most, exporting

_NEARLY_ALL = 0.98  # share of texts that are read to their end
_ROWS = 4096  # texts whose runs are weighed at a time


# ------------------------------------------------------------------ encoder


class TextEncoder(nn.Module):
    """Tokens int32 [n, t] to shorter ones [n, t'] and their ends int64 [n]; or to places int32 [n, s] and weights [n, s].

    Args:
        data: the recipe's data slot.
        tensors: by name, what `fit` finds: `steps`, the common length, or the mean number of runs; `keys` and `rarity` of the
            known runs of words, and `begins`, which tokens begin a word.
    """

    steps: Tensor
    keys: Tensor
    rarity: Tensor
    begins: Tensor

    def __init__(self, data: Data, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.runs = data.features if isinstance(data.features, Ngrams) else None
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)
        self.length = int(tensors["steps"])

    @classmethod
    @torch.no_grad()
    def fit(cls, data: Data, tokens: Tensor, begins: Tensor) -> "TextEncoder":
        """An encoder for texts.

        Args:
            data: the recipe's data slot.
            tokens: int32 [n, t], the texts that will be encoded.
            begins: bool [v], which tokens begin a word.
        """
        if not isinstance(data.features, Ngrams):
            lengths = (tokens != PADDING).sum(1).sort().values
            common = int(lengths[min(len(lengths) - 1, int(_NEARLY_ALL * len(lengths)))])
            return cls(data, {"steps": torch.tensor(max(1, min(common, data.tokens.longest)))})
        found = [_runs(some, begins, data.features) for some in torch.split(tokens, _ROWS)]
        distinct = torch.cat([some[first & (some >= 0)] for some, first, _ in found])
        keys, texts = distinct.unique(return_counts=True)  # type: ignore[no-untyped-call]  # torch
        often = (texts >= data.features.least).nonzero().squeeze(1)
        if len(often) > data.features.count:
            often = often[texts[often].argsort(descending=True, stable=True)[: data.features.count]].sort().values
        rarity = 1 + ((1 + len(tokens)) / (1 + texts[often].double())).log()
        mean = torch.tensor(max(1, len(distinct) // max(1, len(tokens))))
        return cls(data, {"keys": keys[often], "rarity": rarity.float(), "steps": mean, "begins": begins.to(torch.uint8)})

    @property
    def count(self) -> int:
        """Known runs; 0 where tokens themselves are read."""
        return 0 if self.runs is None else len(self.keys)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes any texts."""
        if self.runs is None:
            read = tokens[:, : self.length]
            read = functional.pad(read, (0, self.length - read.shape[1]), value=PADDING)
            return read.contiguous(), (read != PADDING).sum(1).clamp(min=1)
        if exporting():
            return self._weighed(tokens)
        pieces = [self._weighed(some) for some in torch.split(tokens, _ROWS)]
        most = max(places.shape[1] for places, _ in pieces)
        both = [[functional.pad(part, (0, most - part.shape[1])) for part in piece] for piece in pieces]
        return torch.cat([places for places, _ in both]), torch.cat([weights for _, weights in both])

    def _weighed(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Places, 0 for none, and weights of the known runs [n, s], for s as many as one text has at most."""
        assert self.runs is not None
        if len(self.keys) == 0:
            return torch.zeros(len(tokens), 1, dtype=torch.int32, device=tokens.device), torch.zeros(
                len(tokens), 1, device=tokens.device
            )
        found, first, times = _runs(tokens, self.begins, self.runs)
        at = (at_most(self.keys, found) - 1).clamp(min=0)
        known = first & (self.keys[at] == found)
        weights = torch.where(known, (1 + times.clamp(min=1).to(self.rarity.dtype).log()) * self.rarity[at], 0.0)
        weights = weights / weights.square().sum(1, keepdim=True).sqrt().clamp(min=1e-12)
        places = torch.where(known, at + 1, 0).to(torch.int32)
        if exporting():
            return places, weights
        most = max(1, int(known.sum(1).max()))
        order = known.int().argsort(dim=1, descending=True, stable=True)[:, :most]
        return places.gather(1, order), weights.gather(1, order)


def _runs(tokens: Tensor, begins: Tensor, trick: Ngrams) -> tuple[Tensor, Tensor, Tensor]:
    bits = 31 if trick.longest < 3 else 20
    return runs(words(tokens, begins, bits) if trick.of == "words" else tokens.long(), trick.longest, bits)


def words(tokens: Tensor, begins: Tensor, bits: int) -> Tensor:
    """Words of texts [n, t] as numbers int64 [n, t] of so many bits, from 1; 0 behind the last one.

    A word of one token is its token. Those of several are told apart by a hash of theirs, sum of token · 31337^place.

    Example:
        >>> words(torch.tensor([[2, 3, 4, 0]]), torch.tensor([0, 0, 1, 0, 1]), 20).tolist()
        [[94013, 4, 0, 0]]
    """
    wide, there = tokens.long(), tokens != PADDING
    first = begins.bool()[wide] & there
    first = torch.cat([torch.ones_like(first[:, :1]), first[:, 1:]], 1)  # whatever it is
    word = first.cumsum(1) - 1  # the number of each token's word
    lengths = torch.zeros_like(wide).scatter_add(1, word, there.long())
    before = (lengths.cumsum(1) - lengths).gather(1, word)  # tokens of earlier words
    inside = torch.where(there, torch.arange(wide.shape[1], device=wide.device) - before, 0)
    most = (1 << bits) - 1
    powers = [pow(31_337, place, most) for place in range(wide.shape[1])]
    scaled = torch.where(there, wide * torch.tensor(powers, device=wide.device)[inside] % most, 0)
    return torch.zeros_like(wide).scatter_add(1, word, scaled) % most


def runs(wide: Tensor, longest: int, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """All runs of one to `longest` words of texts int64 [n, t], as numbers int64 [n, r] that grow along each row.

    Args:
        wide: 0 behind the last word.
        longest: words of a run.
        bits: that hold any word.

    Returns:
        The numbers, -1 where a text has ended; which are the first of equal ones; how often each occurs, where it is first.

    Example:
        >>> found, first, times = runs(torch.tensor([[7, 8, 7, 0]]), 1, 20)
        >>> found[first].tolist(), times[first].tolist()
        ([-1, 7, 8], [1, 2, 1])
    """
    parts = []
    number = torch.zeros_like(wide)
    for length in range(1, longest + 1):
        shifted = functional.pad(wide[:, length - 1 :], (0, min(length - 1, wide.shape[1])), value=PADDING)[:, : wide.shape[1]]
        number = number * (1 << bits) + shifted
        parts.append(torch.where(shifted == PADDING, -1, number))
    found = torch.cat(parts, 1).sort(1).values
    first = torch.cat([torch.ones_like(found[:, :1], dtype=torch.bool), found[:, 1:] != found[:, :-1]], 1)
    group = first.cumsum(1) - 1
    counts = torch.zeros_like(found).scatter_add(1, group, torch.ones_like(found))
    return found, first, counts.gather(1, group)


# ----------------------------------------------------------------- networks


@dataclass(frozen=True)
class TextShape:
    """What a network must know of texts.

    Args:
        count: different tokens, or known runs and one for none.
        steps: tokens of a text at most, or runs of one on average.
        outputs: classes, or 1 for regression.
    """

    count: int
    steps: int
    outputs: int

    def network(
        self,
        recipes: Sequence[Recipe],
        kin: Sequence[Recipe] | None = None,
        factory: Factory | None = None,
        device: torch.device | None = None,
    ) -> Net:
        """See `titrant.models.network.Shape`."""
        if isinstance(recipes[0].model, SequenceTrick | Custom):
            return TextNet(recipes, self, kin=kin, factory=factory, device=device)
        return BagNet(recipes, self, kin=kin, device=device)


def shape_of(encoder: TextEncoder, count: int, outputs: int) -> TextShape:
    """What a network must know of encoded texts.

    Args:
        encoder: of the texts.
        count: different tokens.
        outputs: classes, or 1.
    """
    return TextShape(count if encoder.runs is None else encoder.count + 1, encoder.length, outputs)


class Vectors(nn.Module):
    """Tokens [..., b, t] as learned vectors [..., b, t, d]; padding as zeros."""

    def __init__(self, count: int, size: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(count, size))

    def forward(self, tokens: Tensor) -> Tensor:
        """Looks the vectors up."""
        found = functional.embedding(_in_stack(tokens, self.table), self.table.reshape(-1, self.table.shape[-1]))
        return found * (tokens != PADDING).unsqueeze(-1)


class Bag(nn.Module):
    """Weighted sums of learned vectors, with a bias: the linear layer of a row of weights that are nearly all 0.

    Args:
        count: rows of the table; the first one stands for nothing.
        size: numbers of a vector.

    Shape: places int [..., b, s] and weights [..., b, s] to [..., b, size].
    """

    def __init__(self, count: int, size: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(count, size))
        self.bias = nn.Parameter(torch.empty(size))

    def forward(self, places: Tensor, weights: Tensor) -> Tensor:
        """Sums, all texts of all members in one call."""
        size = self.table.shape[-1]
        found = functional.embedding_bag(
            _in_stack(places, self.table).flatten(0, -2),
            self.table.reshape(-1, size),
            per_sample_weights=weights.flatten(0, -2),
            mode="sum",
        )
        return found.view(*places.shape[:-1], size) + (self.bias if self.bias.dim() == 1 else self.bias.unsqueeze(-2))


def _in_stack(places: Tensor, table: Tensor) -> Tensor:
    """Places in the members' tables [k, n, d] as places in one table below the other."""
    places = places.long()
    if table.dim() == 2:
        return places
    return places + table.shape[1] * torch.arange(len(table), device=places.device).view(-1, 1, 1)


class TextNet(Net):
    """A network that reads one token after another: vectors as the channels of a series.

    Arguments as of `titrant.models.series.SeriesNet`.

    Shape: tokens [k, b, t] and their ends [k, b] to outputs [k, b, o], all without k for a plain network.
    """

    views = 1

    def __init__(
        self,
        recipes: Sequence[Recipe],
        shape: TextShape,
        *,
        kin: Sequence[Recipe] | None = None,
        factory: Factory | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        size = recipes[0].data.tokens.size
        self.vectors = Vectors(shape.count, size)
        inner = SeriesShape(size, shape.steps, True, shape.outputs)
        self.body = SeriesNet(recipes, inner, kin=kin, factory=factory, device=device)
        self.products, self.widest = self.body.products, max(self.body.widest, size * shape.steps)

    def forward(self, tokens: Tensor, ends: Tensor, mix: Mixer | None = None) -> Tensor:
        """Looks vectors up, mixes them where `mix` is given (training), and computes the outputs."""
        series = self.vectors(tokens).transpose(-1, -2)
        return self.body(series, ends, mix)  # type: ignore[no-any-return]  # a module call is untyped


class BagNet(Net):
    """A network on the sum of its tokens' or runs' vectors: `linear`, or a perceptron whose first layer these are.

    Arguments as of `titrant.models.series.SeriesNet`.

    Shape: tokens [k, b, t] and their ends [k, b], or places and weights [k, b, s], to outputs [k, b, o]; all without k for a
    plain network. Tokens weigh alike: what is summed is their mean.
    """

    views = 1

    def __init__(
        self,
        recipes: Sequence[Recipe],
        shape: TextShape,
        *,
        kin: Sequence[Recipe] | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        members = Members(recipes, kin or recipes, device or torch.device("cpu"))
        model = recipes[0].model
        self.hidden: nn.Module = nn.Identity()
        match model:
            case Linear():
                self.drop: nn.Module = members.drop()
                self.head: nn.Module = Bag(shape.count, shape.outputs)
                width = shape.outputs
            case Mlp():
                self.drop = nn.Identity()
                self.first = Bag(shape.count, model.width)
                # The bag is the first linear layer.
                self.hidden = hidden_layers(members, model.width, model.width, model.depth)[1:]
                self.head = layers.Linear(model.width, shape.outputs)
                width = model.width
            case _:
                raise ValueError(f"model: {model.kind} is not for texts")
        self.linear = isinstance(model, Linear)
        self.products = width * shape.steps + sum(p.numel() for p in self.hidden.parameters())
        self.widest = width + shape.steps

    def forward(self, tokens: Tensor, second: Tensor, mix: Mixer | None = None) -> Tensor:
        """Sums vectors, mixes the sums where `mix` is given (training), and computes the outputs."""
        weights = second if second.is_floating_point() else _alike(tokens, second, self._precision())
        summed = self.head(tokens, self.drop(weights)) if self.linear else self.first(tokens, weights)
        if mix is not None:
            summed = mix(summed)
        return summed if self.linear else self.head(self.hidden(summed))  # type: ignore[no-any-return]  # a module call is untyped

    def _precision(self) -> torch.dtype:
        return next(self.parameters()).dtype


def _alike(tokens: Tensor, ends: Tensor, dtype: torch.dtype) -> Tensor:
    """Weights whose sum is 1 over the tokens of a text."""
    return (tokens != PADDING).to(dtype) / ends.unsqueeze(-1)
