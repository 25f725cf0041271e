"""Normalisation: brings the signal between layers to mean 0 and variance 1, then each unit learns its own scale and shift."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from titrant.space import Range
from titrant.tricks.base import DataKind, Off, Options, Trick
from titrant.tricks.layout import pieces

Epsilon = Annotated[
    float,
    Range(1e-8, 1e-1, log=True, search=(1e-5, 1e-5), raising="small variances are amplified less", shared=True),
]
"""Added to the variance before the division. The default search leaves it alone."""


Momentum = Annotated[
    float,
    Range(0.01, 1.0, log=True, search=(0.1, 0.1), unit="share", raising="statistics follow the last batches", shared=True),
]
"""The share of the new batch in running statistics. The default search leaves it alone."""


class NormalizeTrick(Trick):
    """A kind of normalisation: acts on pre-activations; two learned numbers for each unit follow it."""

    tracks: ClassVar[bool] = False
    """True if the kind keeps running statistics while training and uses them in evaluation."""

    spreads: ClassVar[bool] = False
    """True if moments of pictures are taken over all places of a map; `apply` then takes `places`, the rows of a picture."""

    apply: ClassVar[Callable[..., Tensor]]
    """`apply(x, gain, bias, mean, variance, training, **doses)`: the normalised, scaled and shifted `x`.

    Args:
        x: pre-activations [b, f], or [k, b, f] for a stack.
        gain, bias: learned, [f] or [k, f]; they start at 1 and 0.
        mean, variance: running statistics, contiguous float32 [f] or [k, f], starting at 0 and 1; a kind that `tracks` updates
            them in place when training, the others never look at them.
        training: True in a training step.
        doses: the kind's own, all of them shared by the members of a stack.
    """


class Batch(NormalizeTrick):
    """Standardises each unit over the rows of the batch, and over the whole training history in evaluation.

    y = gain · (x - mean) / (variance + epsilon)^(1/2) + bias, moments over the rows; the running moments move towards those of
    the batch by the share `momentum` in each training step.

    Doses:
        momentum: the share of the new batch in the running statistics, 0.01 to 1. Raising it follows the network faster and
            makes evaluation noisier. Shared.
        epsilon: added to the variance, 1e-8 to 0.1. Raising it amplifies nearly constant units less. Shared.

    Shape: x [b, f] or [k, b, f]; the output has the same shape.

    Example:
        >>> import torch
        >>> x, zero, one = torch.tensor([[1.0], [3.0]]), torch.zeros(1), torch.ones(1)
        >>> Batch.apply(x, one, zero, zero.clone(), one.clone(), True, momentum=0.1, epsilon=1e-5)
        tensor([[-1.0000],
                [ 1.0000]])

    Source: Ioffe and Szegedy 2015, "Batch normalization". As in PyTorch the running variance is the unbiased one. Departure: a
    training batch of a single row has no variance; it is normalised with the running statistics and leaves them as they are.

    Interactions: wants batches of 16 rows and more; acts as a regulariser, so lower `dropout`; the bias of the layer before it
    has no effect, and decay of that layer's weights acts only through the effective learning rate; averaged weights
    (`average`) need their own statistics.
    """

    tracks: ClassVar[bool] = True
    kind: Literal["batch"] = "batch"
    momentum: Momentum = 0.1
    epsilon: Epsilon = 1e-5

    @staticmethod
    def apply(
        x: Tensor,
        gain: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        training: bool,
        *,
        momentum: float,
        epsilon: float,
    ) -> Tensor:
        """Standardises over rows; see the class."""
        rows = x.shape[-2]
        if x.dim() == 2:
            return functional.batch_norm(x, mean, variance, gain, bias, training and rows > 1, momentum, epsilon)
        return _StackedBatch.apply(  # type: ignore[no-any-return, no-untyped-call]  # torch
            x, gain, bias, mean.view(-1), variance.view(-1), training and rows > 1, momentum, epsilon
        )


class _StackedBatch(torch.autograd.Function):
    """Batch norm of k members [k, b, f], some members at a time.

    The members of a piece stand side by side as more units of one batch [b, k·f], on which the native kernel is ten times
    faster than with the members in front. Pieces that stay in the cache make going there and back cheap, and every tensor
    outside is contiguous: products over rows that lie a power of two of bytes apart were up to 1.5 times slower.

    Shape: gain and bias [k, f], running mean and variance [k·f].
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gain: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        training: bool,
        momentum: float,
        epsilon: float,
    ) -> Tensor:
        """Piece by piece; see the class."""
        rows, units = x.shape[1:]
        gain, bias, out = gain.reshape(-1), bias.reshape(-1), x.new_empty(x.shape)
        places: list[tuple[slice, slice]] = []
        kept: list[Tensor] = []
        for part in pieces(x):
            flat = x[part].transpose(0, 1).reshape(rows, -1)
            own = slice(part.start * units, part.stop * units)
            y, *moments = torch.native_batch_norm(
                flat, gain[own], bias[own], mean[own], variance[own], training, momentum, epsilon
            )
            out[part] = y.view(rows, -1, units).transpose(0, 1)
            places.append((part, own))
            kept += [flat, *moments]
        # Running statistics change in place with each segment of a stack; in training their gradient does not ask for them.
        ctx.save_for_backward(gain, *kept)
        ctx.rest = (places, mean, variance, training, epsilon)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """Gradients of x, gain and bias."""
        places, mean, variance, training, epsilon = ctx.rest
        gain, *kept = ctx.saved_tensors
        members, rows, units = grad.shape
        of_x, of_gain, of_bias = grad.new_empty(grad.shape), torch.empty_like(gain), torch.empty_like(gain)
        for (part, own), flat, *moments in zip(places, kept[::3], kept[1::3], kept[2::3], strict=True):
            slopes, of_gain[own], of_bias[own] = torch.ops.aten.native_batch_norm_backward(
                grad[part].transpose(0, 1).reshape(rows, -1), flat, gain[own], mean[own], variance[own], *moments,
                training, epsilon, [True] * 3,
            )  # fmt: skip
            of_x[part] = slopes.view(rows, -1, units).transpose(0, 1)
        return of_x, of_gain.view(members, units), of_bias.view(members, units), None, None, None, None, None


class Ghost(NormalizeTrick):
    """Batch norm over small parts of the batch: large batches keep the noise by which small ones regularise.

    Each `size` rows that follow one another are standardised by their own moments, and what is left over joins the last of
    them; in evaluation running statistics stand in, as of `batch`, which follow the mean of the parts' moments.

    Doses:
        size: rows of a part, 4 to 1024, log. Raising it makes less noise; as large as the batch it is `batch`. Shared.
        momentum, epsilon: as of `batch`.

    Shape: x [b, f] or [k, b, f], of pictures of p places [b·p, f] or [k, b·p, f]; the output has the same shape.

    Example:
        >>> import torch
        >>> x, zero, one = torch.arange(8.0).square().view(8, 1), torch.zeros(1), torch.ones(1)
        >>> y = Ghost.apply(x, one, zero, zero.clone(), one.clone(), True, size=4, momentum=0.1, epsilon=1e-5)
        >>> torch.allclose(y.view(2, 4).mean(1), zero, atol=1e-6)
        True

    Source: Hoffer, Hubara and Soudry 2017, "Train longer, generalize better" (arXiv 1705.08741). Departure: running statistics
    move once a step, by the mean of the parts, instead of once for each part.

    Interactions: acts only where `batch.size` is larger than `size`; wants `batch.size` raised with it. It takes two to four
    times as long as `batch`, for which there is a kernel.
    """

    searched: ClassVar[bool] = False
    tracks: ClassVar[bool] = True
    spreads: ClassVar[bool] = True
    kind: Literal["ghost"] = "ghost"
    size: Annotated[
        int,
        Range(4, 1024, log=True, search=(16, 128), unit="rows", raising="moments are less noisy", shared=True),
    ] = 32
    momentum: Momentum = 0.1
    epsilon: Epsilon = 1e-5

    @staticmethod
    def apply(
        x: Tensor,
        gain: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        training: bool,
        *,
        size: int,
        momentum: float,
        epsilon: float,
        places: int = 1,
    ) -> Tensor:
        """Standardises over the rows of each part; see the class."""
        rows, part = x.shape[-2], size * places
        count = rows // part
        if not training or count < 2:
            return Batch.apply(x, gain, bias, mean, variance, training, momentum=momentum, epsilon=epsilon)
        alike = rows if rows % part == 0 else (count - 1) * part  # rows of the parts that are equally large
        parts = [x[..., :alike, :].reshape(*x.shape[:-2], -1, part, x.shape[-1])]
        if alike < rows:
            parts.append(x[..., alike:, :].unsqueeze(-3))
        found, means, variances = [], [], []
        for some in parts:
            about, centre = torch.var_mean(some.to(mean.dtype), -2, correction=0, keepdim=True)
            found.append(((some - centre) * (about + epsilon).rsqrt()).flatten(-3, -2))
            means.append(centre.detach().squeeze(-2))
            variances.append(about.detach().squeeze(-2) * (some.shape[-2] / (some.shape[-2] - 1)))
        with torch.no_grad():
            mean.lerp_(torch.cat(means, -2).mean(-2), momentum)
            variance.lerp_(torch.cat(variances, -2).mean(-2), momentum)
        return _affine(torch.cat(found, -2), gain, bias)


class Layer(NormalizeTrick):
    """Standardises each row over its units, the same way in training and evaluation.

    y = gain · (x - mean) / (variance + epsilon)^(1/2) + bias, moments over the units of the row.

    Doses:
        epsilon: added to the variance, 1e-8 to 0.1. Raising it amplifies nearly constant rows less. Shared.

    Shape: x [b, f] or [k, b, f]; the output has the same shape.

    Example:
        >>> import torch
        >>> x, zero, one = torch.tensor([[1.0, 3.0]]), torch.zeros(2), torch.ones(2)
        >>> Layer.apply(x, one, zero, zero, one, True, epsilon=1e-5)
        tensor([[-1.0000,  1.0000]])

    Source: Ba et al. 2016, "Layer normalization".

    Interactions: independent of the batch, so it suits small batches and averaged weights; the size of a row is lost, which can
    matter where it carries information.
    """

    kind: Literal["layer"] = "layer"
    epsilon: Epsilon = 1e-5

    @staticmethod
    def apply(
        x: Tensor, gain: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, training: bool, *, epsilon: float
    ) -> Tensor:
        """Standardises over units; see the class."""
        if gain.dim() == 1:
            return functional.layer_norm(x, gain.shape, gain, bias, epsilon)
        return _affine(functional.layer_norm(x, gain.shape[-1:], eps=epsilon), gain, bias)


class Group(NormalizeTrick):
    """Standardises each row within groups of neighbouring units: between layer norm (one group) and instance norm.

    y = gain · (x - mean) / (variance + epsilon)^(1/2) + bias, moments over the group's units in the row; of pictures over the
    group's channels at all places of the map.

    Doses:
        groups: how many groups the units are cut into, 1 to 64. Raising it makes the groups smaller. Shared. Where the width is
            not a multiple, the largest divisor of the width that is no greater acts, and no group gets fewer than two units,
            which would leave nothing of the signal.
        epsilon: added to the variance, 1e-8 to 0.1. Raising it amplifies nearly constant groups less. Shared.

    Shape: x [b, f] or [k, b, f]; the output has the same shape.

    Example:
        >>> import torch
        >>> x, zero, one = torch.tensor([[1.0, 3.0, 10.0, 30.0]]), torch.zeros(4), torch.ones(4)
        >>> Group.apply(x, one, zero, zero, one, True, groups=2, epsilon=1e-5)
        tensor([[-1.0000,  1.0000, -1.0000,  1.0000]])

    Source: Wu and He 2018, "Group normalization".

    Interactions: as `layer`; made for the channels of convolutions, rarely better than `layer` on tables.
    """

    searched: ClassVar[bool] = False
    spreads: ClassVar[bool] = True
    kind: Literal["group"] = "group"
    groups: Annotated[
        int,
        Range(1, 64, log=True, search=(2, 16), unit="groups", raising="groups hold fewer units", shared=True),
    ] = 8
    epsilon: Epsilon = 1e-5

    @staticmethod
    def apply(
        x: Tensor,
        gain: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        training: bool,
        *,
        groups: int,
        epsilon: float,
        places: int = 1,
    ) -> Tensor:
        """Standardises within groups; see the class."""
        if places > 1:
            return _affine(_over_places(x, divisor(x.shape[-1], groups), places, epsilon), gain, bias)
        count = divisor(x.shape[-1], groups)
        size = x.shape[-1] // count
        # Layer norm over the units of a group: faster than `functional.group_norm`, and it takes any leading axes.
        y = functional.layer_norm(x.view(*x.shape[:-1], count, size), (size,), eps=epsilon)
        return _affine(y.flatten(-2), gain, bias)


class Instance(NormalizeTrick):
    """Standardises each map of each picture over its places, so that contrast and brightness of a map are lost.

    y = gain · (x - mean) / (variance + epsilon)^(1/2) + bias, moments over the places of one map.

    Doses:
        epsilon: added to the variance, 1e-8 to 0.1. Raising it amplifies nearly constant maps less. Shared.

    Shape: x [b·p, f] or [k, b·p, f] for pictures of p places; the output has the same shape.

    Example:
        >>> import torch
        >>> x, zero, one = torch.tensor([[1.0], [3.0]]), torch.zeros(1), torch.ones(1)
        >>> Instance.apply(x, one, zero, zero, one, True, epsilon=1e-5, places=2)
        tensor([[-1.0000],
                [ 1.0000]])

    Source: Ulyanov et al. 2016, "Instance normalization" (arXiv 1607.08022). Departure: maps of a single place, which have no
    variance, are standardised over the channels instead, as by `layer`.

    Interactions: made for pictures that differ in style or light; mean maps after it say nothing but the learned shift.
    """

    searched: ClassVar[bool] = False
    reads: ClassVar[tuple[DataKind, ...]] = ("image", "series")
    spreads: ClassVar[bool] = True
    kind: Literal["instance"] = "instance"
    epsilon: Epsilon = 1e-5

    @staticmethod
    def apply(
        x: Tensor,
        gain: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        training: bool,
        *,
        epsilon: float,
        places: int = 1,
    ) -> Tensor:
        """Standardises over places; see the class."""
        if places == 1:
            return Layer.apply(x, gain, bias, mean, variance, training, epsilon=epsilon)
        return _affine(_over_places(x, x.shape[-1], places, epsilon), gain, bias)


class RMS(NormalizeTrick):
    """Divides each row by its root mean square, without taking its mean away.

    y = gain · x / (mean(x²) + epsilon)^(1/2) + bias, mean over the units of the row.

    Doses:
        epsilon: added to the mean square, 1e-8 to 0.1. Raising it amplifies small rows less. Shared.

    Shape: x [b, f] or [k, b, f]; the output has the same shape.

    Example:
        >>> import torch
        >>> x, zero, one = torch.tensor([[1.0, 7.0]]), torch.zeros(2), torch.ones(2)
        >>> RMS.apply(x, one, zero, zero, one, True, epsilon=1e-5)
        tensor([[0.2000, 1.4000]])

    Source: Zhang and Sennrich 2019, "Root mean square layer normalization". Departure: a learned shift follows, as in
    the other kinds of this slot, so that one can be exchanged for another and nothing else changes.

    Interactions: as `layer`.
    """

    kind: Literal["rms"] = "rms"
    epsilon: Epsilon = 1e-5

    @staticmethod
    def apply(
        x: Tensor, gain: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, training: bool, *, epsilon: float
    ) -> Tensor:
        """Divides by the root mean square; see the class."""
        return _affine(functional.rms_norm(x, gain.shape[-1:], eps=epsilon), gain, bias)


Normalize = Annotated[Off | Batch | Ghost | Layer | Group | Instance | RMS, Options()]
"""The normalisation slot: after each hidden linear layer, before the activation."""


def _affine(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """x [..., b, f] · gain [..., f] + bias [..., f]."""
    return torch.addcmul(bias.unsqueeze(-2), x, gain.unsqueeze(-2))


def _over_places(x: Tensor, groups: int, places: int, epsilon: float) -> Tensor:
    """Rows [..., b·p, f] with moments 0 and 1 over the channels of each group at the p places of a picture."""
    maps = x.reshape(-1, places, 1, x.shape[-1]).permute(0, 3, 1, 2)  # channels last in memory, for which there is a kernel
    return functional.group_norm(maps, groups, eps=epsilon).permute(0, 2, 3, 1).reshape(x.shape)


def divisor(width: int, groups: int) -> int:
    """The largest divisor of `width` that is no greater than `groups` and leaves two units to each group where it can."""
    return next(n for n in range(min(groups, max(width // 2, 1)), 0, -1) if width % n == 0)
