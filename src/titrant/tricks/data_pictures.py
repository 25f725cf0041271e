"""Data tricks for pictures: a first layer that is fixed before training, because it follows from the pictures themselves.

Axes in names: p patch, d number of a patch.
"""

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from titrant.space import Range
from titrant.tricks.base import DataKind, Off, Options, Trick


class Patches(Trick):
    """Puts a fixed convolution first whose filters give uncorrelated outputs of variance 1, and the activation behind it.

    filters = ±(λ + epsilon)^(-1/2) · v, with eigenvalues λ and eigenvectors v of the covariance of patches of `side` × `side`
    standardised pixels of the training rows: 2 · channels · side² of them, each with both signs, so that an activation such as
    ReLU loses nothing.

    Doses:
        side: of a patch, 2 to 5. Raising it takes correlations over longer distances away, and costs time. Shared.
        epsilon: added to eigenvalues, in variances of a pixel, 0.00001 to 1. Raising it amplifies faint detail less.

    Shape: pictures [b, c, h, w] to maps [b, 2 · c · side², h, w]; edges are padded with the mean pixel.

    Example:
        >>> Patches.filters(torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), epsilon=0.0).round(decimals=3)
        tensor([[ 0.0000,  1.4140],
                [ 0.7070,  0.0000],
                [-0.0000, -1.4140],
                [-0.7070, -0.0000]])

    Source: the first layer of T. Balsam's hlb-CIFAR10 (2023), and of K. Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a
    single GPU" (arXiv 2404.00498), with side 2. Departures: no bias, which is learned there for some epochs; the sides of a map
    stay; patches stand evenly over the training pictures, about 130,000 of them at most.

    Measured: on 6,000 pictures of CIFAR-10, 4 epochs, three seeds, a CNN of 16 channels reached 62.7 % with epsilon 0.0005,
    63.8 % with 0.02, and 58.2 % without; a step took 1.0 to 1.2 times as long.

    Interactions: acts in `model: cnn`, `resnet`, `convnext` and `vit`; the first learned convolution has more channels to read,
    and takes longer in proportion. Augmented pictures are filtered as the plain ones are.
    """

    unit: ClassVar[str] = "filters"
    reads: ClassVar[tuple[DataKind, ...]] = ("image",)
    kind: Literal["patches"] = "patches"
    side: Annotated[int, Range(2, 5, search=(2, 3), unit="pixels", shared=True, raising="longer correlations, slower")] = 2
    epsilon: Annotated[
        float, Range(1e-5, 1.0, log=True, search=(5e-4, 1e-1), unit="variances", raising="faint detail counts less")
    ] = 5e-4

    @staticmethod
    def filters(patches: Tensor, *, epsilon: float) -> Tensor:
        """The filters [2·d, d] for patches [p, d]; see the class. Of each pair of signs the largest weight of the first is > 0.

        Args:
            patches: centred or not.
            epsilon: the dose.
        """
        centred = patches.double() - patches.double().mean(0)
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
        largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
        rows = (vectors * largest.sign() * (values.clamp(min=0) + epsilon).rsqrt()).T
        return torch.cat([rows, -rows]).float()


Whiten = Annotated[Off | Patches, Options()]
"""The first layer of networks for pictures: off lets them read standardised pixels."""
