"""Features of series by fixed convolutions: MiniRocket and Hydra, as frozen modules whose constants are buffers.

Both take series [n, c, t] without missing values and return features [n, f]. They work through some series at a time, so that
what they hold beside input and output stays below about 300 MB, however many series there are, if one series needs less.

Both compare sums, and where series do not change, exact sums are equal: rounding would decide then, otherwise in each batch, on
each machine and in each exported form. So series are rounded first, to about 15 binary places of their usual size, and sums
of them, with weights of few places, are exact in whatever order they are added up.

Axes: n series, c channel, t step, k kernel, q bias, v view (the series, and its first differences), d dilation.
"""

import math
from collections import Counter
from collections.abc import Mapping
from itertools import combinations, product
from typing import Self

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from titrant.tricks import data_series
from titrant.tricks.base import Trick
from titrant.tricks.runtimes import exporting

_LENGTH = 9  # of every kernel
_SPACE = 1 << 29  # bytes of all features
_WORK = 1_500_000_000  # comparisons: about a second for a thousand million of them
_HELD = 1 << 25  # bytes of comparisons or responses that are held at a time
_BYTES = 255  # steps that a byte can count
_GOLDEN = (1 + math.sqrt(5)) / 2
_CHANNELS = 9  # that a kernel looks at, at most
_EXACT = 23  # binary places of sums; float32 has one more, for what is twice the usual size
_USUAL = 0.999  # of all values are of the usual size
_WEIGHTS = 256  # weights of Hydra are whole multiples of its inverse
_NOT_ROUNDED = torch.zeros(())
_SHARES_ALONE = torch.ones((), dtype=torch.int64)
_POOLING = {"shares": (1, 1.0), "four": (4, 2.0)}  # ways, and the work of a feature beside a share
_POOLED = 9  # bytes that four poolings hold of each comparison


def affordable(rows: int, steps: int, wanted: int, work: float = 1.0) -> int:
    """How many features so many series may have: no more than fit into half a gigabyte or take some seconds; 84 at least.

    Args:
        rows: series.
        steps: of each.
        wanted: features.
        work: of a feature, beside a share of steps.

    Example:
        >>> affordable(100, 150, 9996), affordable(100_000, 150, 9996)
        (9996, 100)
    """
    return max(84, min(wanted, _SPACE // (4 * max(1, rows)), int(_WORK / work) // max(1, rows * steps)))


class MiniRocket(nn.Module):
    """Shares of steps at which 84 kernels exceed their biases, at many dilations; and how far, when, and how long, if wanted.

    Each kernel has nine weights, six of them -1 and three 2. Biases are quantiles of its response to one training series.
    Every second kernel looks at padded series, the others at what their dilation leaves without padding.

    Source: Dempster, Schmidt and Webb 2021 (arXiv 2012.08791) and its reference code, also for several channels: each kernel
    adds up a random group of them. First differences, and three more ways of pooling, as in Tan et al. 2022 (MultiRocket, arXiv
    2102.00457): beside the share of steps above the bias, how far above it these are on average, their mean position, and the
    longest stretch of them. Departures: positions and stretches are shares of the length, and a stretch counts its own steps.

    Args:
        dilations: int64 [d].
        counts: int64 [d], biases at each dilation.
        biases: [v, k, sum of counts].
        groups: 0 or 1 [v, d, k, c], the channels that a kernel looks at.
        unit: series are rounded to multiples of it; 0 for models of before, which did not round.
        pools: int64 [], 1 for shares alone, 4 for all ways of pooling.
    """

    dilations: Tensor
    counts: Tensor
    biases: Tensor
    groups: Tensor
    unit: Tensor
    pools: Tensor
    kernels: Tensor

    def __init__(
        self,
        dilations: Tensor,
        counts: Tensor,
        biases: Tensor,
        groups: Tensor,
        unit: Tensor = _NOT_ROUNDED,
        pools: Tensor = _SHARES_ALONE,
    ) -> None:
        super().__init__()
        parts = {
            "dilations": dilations, "counts": counts, "biases": biases, "groups": groups, "unit": unit, "pools": pools
        }  # fmt: skip
        for name, tensor in parts.items():
            self.register_buffer(name, tensor)
        self.register_buffer("kernels", _kernels(groups.device), persistent=False)
        self._plan = list(zip(dilations.tolist(), counts.tolist(), strict=True))
        self._pools = int(pools)

    @classmethod
    def fit(cls, x: Tensor, count: int, seed: int, *, differences: bool = False, pools: int = 1) -> Self:
        """Kernels for series like `x` [n, c, t].

        Args:
            x: training series.
            count: features, about.
            seed: of biases and groups of channels.
            differences: whether first differences are looked at too, by half of the features.
            pools: 1 for shares alone, 4 for all ways of pooling, a quarter of the features each.
        """
        generator = Generator().manual_seed(seed)
        rows, channels, steps = x.shape
        views = 2 if differences else 1
        dilations, counts = _dilations(steps, max(1, count // (84 * views * pools)))
        groups = torch.zeros(views, len(dilations), 84, channels)
        for at in product(range(views), range(len(dilations)), range(84)):
            most = math.log2(min(channels, _CHANNELS) + 1)
            several = min(channels, int(2 ** (most * float(torch.rand((), generator=generator)))))
            groups[at][torch.randperm(channels, generator=generator)[:several]] = 1
        unit = _unit(x, 2 * 6 * 2 * min(channels, _CHANNELS))
        biases = torch.zeros(views, 84, sum(counts))
        made = cls(torch.tensor(dilations), torch.tensor(counts), biases, groups, unit, torch.tensor(pools))
        made = made.to(x.device)
        each = sum(counts)
        levels = (torch.arange(1, 84 * each + 1, dtype=torch.float64) * _GOLDEN) % 1
        for view, shown in enumerate(_views(_rounded(x, made.unit), views)):
            before = 0
            for place, many in enumerate(counts):
                chosen = torch.randint(rows, (84,), generator=generator).to(x.device)
                # One by one: all kernels on all of these series would be 84 times as many numbers.
                pairs = (
                    made._responses(shown[row : row + 1], view, place, kernel) for kernel, row in enumerate(chosen.tolist())
                )
                response = torch.cat(list(pairs)).squeeze(-1)  # [k, t]
                start = 84 * before
                wanted = levels[start : start + 84 * many].view(84, many).to(x.device)
                ordered = response.double().sort(-1).values
                spot = wanted * (steps - 1)
                low = spot.floor().long()
                high = (low + 1).clamp(max=steps - 1)
                made.biases[view, :, before : before + many] = torch.lerp(
                    ordered.gather(1, low), ordered.gather(1, high), spot - low
                ).float()
                before += many
        return made

    def forward(self, x: Tensor) -> Tensor:
        """The features, view after view, dilation after dilation, kernel after kernel."""
        if exporting():
            return self._some(x)
        views, kernels, each = self.biases.shape
        steps = min(x.shape[-1], _BYTES) if self._pools == 1 else _POOLED * x.shape[-1]
        compared = kernels * int(self.counts.max()) * steps
        most = max(1, _HELD // max(compared, _convolving(x, kernels)))
        return (
            torch.cat([self._some(part) for part in torch.split(x, most)])
            if len(x)
            else x.new_zeros(0, views * kernels * each * self._pools)
        )

    def _some(self, x: Tensor) -> Tensor:
        found = []
        for view, shown in enumerate(_views(_rounded(x, self.unit), len(self.biases))):
            at = 0
            for place, (dilation, many) in enumerate(self._plan):
                response = self._responses(shown, view, place)
                biases = self.biases[view, :, at : at + many]
                pad = dilation * (_LENGTH // 2)
                inner = slice(pad, -pad) if response.shape[1] > 2 * pad else slice(None)
                padded = place % 2  # every second kernel from this one
                pooled = _shares if self._pools == 1 else _pooled
                halves = [
                    pooled(response[first::2] if first == padded else response[first::2, inner], biases[first::2])
                    for first in range(2)
                ]
                found.append(torch.stack(halves, -3).flatten(0, -2))
                at += many
        return torch.cat(found).T

    def _responses(self, x: Tensor, view: int, place: int, kernel: int | None = None) -> Tensor:
        """Convolutions [k, t, n] of series [n, c, t] at one dilation, by all kernels or by one."""
        weight = self.kernels.unsqueeze(1) * self.groups[view, place].unsqueeze(-1)
        weight = weight if kernel is None else weight[kernel : kernel + 1]
        return _convolved(x, weight, self._plan[place][0])


class Hydra(nn.Module):
    """How often and how strongly each of some kernels wins over the others of its group, at many dilations.

    At every step, of each group, the kernel with the greatest response gains that response, and the one with the least gains 1.
    Half of the groups look at first differences. Sums pass through a square root, without those below 0.

    Source: Dempster, Schmidt and Webb 2023 (arXiv 2203.13652) and its reference code. For several channels each group adds up a
    random half of them.

    Args:
        weights: [d, v, g, k, c, 9], 0 for channels that a group does not look at.
        unit: series are rounded to multiples of it; 0 for models of before, which did not round.
    """

    weights: Tensor
    unit: Tensor

    def __init__(self, weights: Tensor, unit: Tensor = _NOT_ROUNDED) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.register_buffer("unit", unit)

    @classmethod
    def fit(cls, x: Tensor, kernels: int, groups: int, seed: int) -> Self:
        """Kernels for series like `x` [n, c, t].

        Args:
            x: training series; only their shape and usual size matter.
            kernels: in a group.
            groups: how many, half of them for differences; one for the series alone.
            seed: of weights and groups of channels.
        """
        generator = Generator().manual_seed(seed)
        channels, steps = x.shape[1:]
        dilations = int(math.log2(max(1.0, (steps - 1) / (_LENGTH - 1)))) + 1
        views = min(2, groups)
        each = groups // views
        weights = torch.randn(dilations, views, each, kernels, 1, _LENGTH, generator=generator)
        weights = weights - weights.mean(-1, keepdim=True)
        weights = weights / weights.abs().sum(-1, keepdim=True)
        # Rounded sums from the first to each, rather than weights: so that all of them add up to 0 exactly.
        weights = functional.pad((_WEIGHTS * weights.cumsum(-1)).round(), (1, 0)).diff(dim=-1) / _WEIGHTS
        chosen = torch.ones(dilations, views, each, 1, channels, 1)
        if channels > 1:
            order = torch.rand(dilations, views, each, 1, channels, 1, generator=generator).argsort(-2)
            chosen = (order < max(1, min(_CHANNELS - 1, channels // 2))).float()
        weights = weights * chosen
        most = weights.flatten(-2).abs().sum(-1).max().item()
        return cls(weights.to(x.device), _unit(x, 2 * most * _WEIGHTS).to(x.device))

    def forward(self, x: Tensor) -> Tensor:
        """The features, dilation after dilation, view after view, sums before counts."""
        dilations, views, groups, kernels = self.weights.shape[:4]
        if exporting():
            return self._some(x).clamp(min=0).sqrt()
        most = max(1, _HELD // _convolving(x, groups * kernels))
        if not len(x):
            return x.new_zeros(0, 2 * dilations * views * groups * kernels)
        return torch.cat([self._some(part) for part in torch.split(x, most)]).clamp(min=0).sqrt()

    def _some(self, x: Tensor) -> Tensor:
        groups, kernels = self.weights.shape[2:4]
        shown = _views(_rounded(x, self.unit), self.weights.shape[1])
        found = []
        for place, at in enumerate(self.weights):
            for weight, series in zip(at, shown, strict=True):
                response = _convolved(series, weight.flatten(0, 1), 1 << place).view(groups, kernels, -1, x.shape[0])
                blank = response.new_zeros(groups, kernels, x.shape[0])
                greatest, winner = response.max(1)
                _, loser = response.min(1)  # `argmin` takes five times as long
                found.append(blank.scatter_add(1, winner, greatest).flatten(0, 1))
                found.append(blank.scatter_add(1, loser, torch.ones_like(greatest)).flatten(0, 1))
        return torch.cat(found).T


class Both(nn.Module):
    """MiniRocket's features, and Hydra's beside them."""

    def __init__(self, rocket: MiniRocket, hydra: Hydra) -> None:
        super().__init__()
        self.rocket = rocket
        self.hydra = hydra

    def forward(self, x: Tensor) -> Tensor:
        """Side by side."""
        return torch.cat([self.rocket(x), self.hydra(x)], 1)


def fitted(trick: Trick, x: Tensor, rows: int, seed: int) -> nn.Module:
    """The kernels of a trick for series like `x` [n, c, t], with no more features than so many series can have.

    Args:
        trick: a kind of `data.features`.
        x: training series.
        rows: how many there are in all.
        seed: of everything random.
    """
    match trick:
        case data_series.MiniRocket():
            pools, work = _POOLING[trick.pools]
            count = affordable(rows, x.shape[-1], trick.count, work)
            return MiniRocket.fit(x, count, seed, differences=trick.differences == "also", pools=pools)
        case data_series.Hydra():
            return Hydra.fit(x, trick.kernels, trick.groups, seed)
        case data_series.RocketHydra():
            hydra = Hydra.fit(x, 8, trick.groups, seed)
            taken = 2 * hydra.weights[..., 0, 0].numel()
            pools, work = _POOLING[trick.pools]
            left = affordable(rows, x.shape[-1], trick.count + taken, work) - taken
            return Both(MiniRocket.fit(x, max(168 * pools, left), seed, differences=True, pools=pools), hydra)
        case _:
            raise ValueError(f"data.features: {trick.kind} has no kernels")


def restored(trick: Trick, tensors: Mapping[str, Tensor]) -> nn.Module | None:
    """The kernels whose constants are known by name; None for a trick without kernels."""
    match trick:
        case data_series.MiniRocket():
            return MiniRocket(**tensors)
        case data_series.Hydra():
            return Hydra(**tensors)
        case data_series.RocketHydra():
            parts = [
                {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
                for prefix in ("rocket.", "hydra.")
            ]
            return Both(MiniRocket(**parts[0]), Hydra(**parts[1]))
        case _:
            return None


def _unit(x: Tensor, terms: float) -> Tensor:
    """The power of two [] to whose multiples series are rounded, so that sums of so many terms of the usual size are exact."""
    sizes = x.abs().flatten()
    usual = sizes.kthvalue(math.ceil(_USUAL * len(sizes))).values
    usual = torch.where(usual > 0, usual, sizes.max())
    usual = torch.where(usual > 0, usual, 1.0)
    return torch.exp2((usual.double() * terms).log2().ceil() - _EXACT).to(x.dtype)


def _rounded(x: Tensor, unit: Tensor) -> Tensor:
    return torch.where(unit > 0, (x / unit).round() * unit, x)


def _convolved(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """Responses [k, t, n] of series [n, c, t] to kernels [k, c, 9], padded with zeros.

    One matrix product with shifted copies of the series, which stand last: for so few weights `conv1d` took twelve times as
    long, and what follows compares whole rows of series.
    """
    pad = dilation * (_LENGTH // 2)
    if exporting():
        return functional.conv1d(x, weight, padding=pad, dilation=dilation).permute(1, 2, 0)
    rows, _, steps = x.shape
    wide = functional.pad(x, (pad, pad)).permute(1, 2, 0)
    shifted = torch.stack([wide[:, place * dilation : place * dilation + steps] for place in range(_LENGTH)], 1)
    return (weight.flatten(1) @ shifted.reshape(-1, steps * rows)).view(len(weight), steps, rows)


def _convolving(x: Tensor, kernels: int) -> int:
    """Bytes that a convolution of one of these series holds: shifted copies twice, and responses."""
    return 4 * x.shape[-1] * (2 * _LENGTH * x.shape[1] + kernels)


def _views(x: Tensor, views: int) -> list[Tensor]:
    """Series, and their first differences, which begin with 0 so that they are equally long."""
    return [x, torch.cat([torch.zeros_like(x[..., :1]), x.diff(dim=-1)], -1)][:views]


def _kernels(device: torch.device) -> Tensor:
    """The 84 kernels [k, 9]: -1, and 2 at each choice of three places."""
    weights = torch.full((84, _LENGTH), -1.0)
    for kernel, places in enumerate(combinations(range(_LENGTH), 3)):
        weights[kernel, list(places)] = 2.0
    return weights.to(device)


def _shares(response: Tensor, biases: Tensor) -> Tensor:
    """Shares of steps [k, q, n] at which responses [k, t, n] exceed biases [k, q]; bytes count up to 255 steps at a time."""
    limit = biases[:, :, None, None]
    if exporting():
        return (response.unsqueeze(1) > limit).to(response.dtype).mean(2)
    counts = [
        (some.unsqueeze(1) > limit).view(torch.uint8).sum(2, dtype=torch.uint8).float()
        for some in torch.split(response, _BYTES, dim=1)
    ]
    return torch.stack(counts).sum(0) / response.shape[1]


def _pooled(response: Tensor, biases: Tensor) -> Tensor:
    """Four ways of pooling [4, k, q, n] responses [k, t, n] against biases [k, q].

    The share of steps above the bias, how far above it these are on average (0 without any), their mean position, and their
    longest stretch; the latter two as shares of the length, a position of one step before the first without any.
    """
    kernels, steps, rows = response.shape
    limit = biases[:, :, None, None]
    above = response.unsqueeze(1) > limit
    places = torch.stack([torch.ones(steps), torch.arange(steps).float()]).to(response)
    sums = (places @ above.to(response.dtype).flatten(0, 1)).view(kernels, -1, 2, rows)
    count, place = sums[:, :, 0], sums[:, :, 1]
    over = (response.unsqueeze(1) - limit).clamp(min=0).sum(2)
    some = count.clamp(min=1)
    mean = torch.where(count > 0, place / some, -1.0)
    return torch.stack([count / steps, over / some, mean / steps, _longest(above) / steps])


def _longest(above: Tensor) -> Tensor:
    """The longest stretch of true steps [k, q, n], of [k, q, t, n]."""
    steps = above.shape[2]
    if exporting():  # no loop over steps: stretches that end at each step, of 1, 2, 4, ... steps at most
        ending, most = above.float(), 1
        while most < steps:
            before = functional.pad(ending, (0, 0, most, 0))[:, :, :steps]
            ending = ending + (ending == most) * before
            most *= 2
        return ending.amax(2)
    known = above.view(torch.uint8).to(torch.uint8 if steps <= _BYTES else torch.int32)
    ending = torch.zeros_like(known[:, :, 0])
    longest = ending.clone()
    for step in range(steps):
        ending.add_(1).mul_(known[:, :, step])
        torch.maximum(longest, ending, out=longest)
    return longest.float()


def _dilations(steps: int, wanted: int) -> tuple[list[int], list[int]]:
    """Dilations for series of so many steps, and the biases of each kernel at each, `wanted` in all."""
    places = min(wanted, 32)
    most = math.log2(max(1.0, (steps - 1) / (_LENGTH - 1)))
    counts = Counter(int(2 ** (most * place / max(1, places - 1)) + 1e-9) for place in range(places))
    shares = [int(count * (wanted / places)) for count in counts.values()]
    for turn in range(wanted - sum(shares)):
        shares[turn % len(shares)] += 1
    return list(counts), shares
