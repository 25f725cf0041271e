"""From recipes to networks, first weights and places of the tricks: the one file that fixes the order in which tricks act.

A training step, as `titrant.train.cohort` runs it:

    data          rows of the batch, already scaled and coded             (titrant.models.encoder, once before training)
    batch         which rows of it are learned from
    augment       of rows: swap, noise, mask; of pictures: colours, places, pixels
    mix           cutmix on cells, mixup on features, shares of targets
    model         embed; then in each hidden layer: linear, normalize, activation, dropout; then the output
    regularize    stochastic depth leaves blocks of a residual network out
    regularize    label smoothing, focal loss, class weights make the loss; L1 and L2 join its gradient
    clip          the gradient
    optimizer     one step at the learning rate of the schedule
    regularize    decoupled decay before the step, max-norm and unit-norm after it
    average       the weights after the step
"""

from collections.abc import Hashable, Sequence

import torch
from torch import Generator, Tensor, nn

from titrant.models.image import Conv, Places, Standardize
from titrant.models.layers import Linear
from titrant.models.network import Factory, Net, Shape
from titrant.models.table import Embedding, EnsembleBody, Seen, Thermometer, Waves
from titrant.recipe import Recipe
from titrant.tricks.acting import derived_seed, own_randomness
from titrant.tricks.activation import gain_of
from titrant.tricks.data import Periodic
from titrant.tricks.initialize import Default, unit_variance_scale
from titrant.tricks.layout import Layout
from titrant.tricks.model import Custom

LSUV_ROWS = 512


def cohort_key(recipe: Recipe) -> Hashable:
    """Members with equal keys have tensors of equal shapes and may share a cohort.

    Everything else (scaling, augmentation, activation, normalisation, optimizer, schedule, doses) may differ inside one.
    """
    numbers = recipe.data.numbers
    shape_of_numbers = numbers.model_copy(update={"sigma": 0.0}) if isinstance(numbers, Periodic) else numbers
    views = recipe.augment.views
    return (recipe.model, recipe.data.categories, shape_of_numbers, recipe.batch, recipe.stop.epochs, recipe.hardware, views)


def layout_of(network: nn.Module) -> Layout:
    """Where each learned number stands in a member's row."""
    matrices = {
        id(module.weight)
        for module in network.modules()
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
    }  # fmt: skip
    return Layout.of({name: (tuple(p.shape), id(p) in matrices) for name, p in network.named_parameters()})


def start(
    recipe: Recipe,
    shape: Shape,
    seed: int,
    sample: tuple[Tensor, ...],
    *,
    kin: Sequence[Recipe] | None = None,
    factory: Factory | None = None,
) -> Net:
    """A plain network with its first weights.

    Args:
        recipe: of the member.
        shape: of the data.
        seed: of the member; each parameter has a random stream of its own, named after it.
        sample: training rows as the network reads them, from which bins and LSUV take their measure.
        kin: the recipes of all members that will share a stack.
        factory: the network of `model: custom`, called under the member's seed.
    """
    with own_randomness(derived_seed(seed, "initialize")):
        network = shape.network([recipe], kin, factory)
    with torch.no_grad():
        for name, module in network.named_modules():
            _fill(module, name, recipe, seed, sample[0])
        if recipe.initialize.data_driven and not isinstance(recipe.model, Custom):
            _unit_variance(network, tuple(tensor[:LSUV_ROWS].cpu() for tensor in sample))
    return network


def _fill(module: nn.Module, name: str, recipe: Recipe, seed: int, numbers: Tensor) -> None:
    """Draws the weights of one module of ours; modules of a person's own keep what their factory gave them."""

    def generator(part: str) -> Generator:
        return Generator().manual_seed(derived_seed(seed, "initialize", f"{name}.{part}"))

    match module:
        case Standardize():
            module.fit(numbers)
        case Places():
            module.table.normal_(0, 0.02, generator=generator("table"))
        case Conv():
            module.weight.copy_(
                recipe.initialize.draw(tuple(module.weight.shape), gain_of(recipe.activation), generator("weight"))
            )
            assert module.bias is not None
            module.bias.zero_()
        case Linear():
            gain = 1.0 if name.endswith("head") else gain_of(recipe.activation)
            module.weight.copy_(recipe.initialize.draw(tuple(module.weight.shape), gain, generator("weight")))
            if isinstance(recipe.initialize, Default):
                bound = module.in_features**-0.5
                module.bias.uniform_(-bound, bound, generator=generator("bias"))
            else:
                module.bias.zero_()
            if isinstance(module, Seen):
                module.adapter.uniform_(-1, 1, generator=generator("adapter")).sign_()
        case Embedding():
            module.table.normal_(0, module.table.shape[1] ** -0.5, generator=generator("table"))
        case Waves():
            sigma = recipe.data.numbers.sigma if isinstance(recipe.data.numbers, Periodic) else 1.0
            module.frequency.normal_(0, sigma, generator=generator("frequency"))
            module.phase.uniform_(0, 1, generator=generator("phase"))
            bound = module.mix.shape[2] ** -0.5
            module.mix.uniform_(-bound, bound, generator=generator("mix"))
            module.shift.uniform_(-bound, bound, generator=generator("shift"))
        case Thermometer():
            features, bins = module.edges.shape[0], module.edges.shape[1] - 1
            levels = torch.linspace(0, 1, bins + 1)
            sample = numbers[:: max(1, len(numbers) // 100_000), :features].cpu()
            module.edges.copy_(torch.quantile(sample, levels, dim=0).T)
        case EnsembleBody():
            bound = module.heads.shape[-1] ** -0.5
            module.heads.uniform_(-bound, bound, generator=generator("heads"))
            module.bias.uniform_(-bound, bound, generator=generator("bias"))


def _unit_variance(network: Net, sample: tuple[Tensor, ...]) -> None:
    """LSUV's second half: rescales layer after layer, in one forward pass, so that each output has unit variance."""

    def rescale(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> Tensor:
        assert isinstance(module, Linear | Conv)
        assert module.bias is not None
        bias = module.bias if isinstance(module, Linear) else module.bias.view(-1, 1, 1)
        factor = unit_variance_scale((output - bias).flatten(1))
        module.weight.mul_(factor)
        return (output - bias) * factor + bias

    hooks = [module.register_forward_hook(rescale) for module in network.modules() if isinstance(module, Linear | Conv)]
    network.eval()
    network(*sample)
    network.train()
    for hook in hooks:
        hook.remove()
