"""From recipes to networks, first weights and places of the tricks: the one file that fixes the order in which tricks act.

A training step, as `titrant.train.cohort` runs it:

    data          rows of the batch, already scaled and coded             (titrant.models.encoder, once before training)
    batch         which rows of it are learned from
    augment       of rows: swap, noise, mask; of pictures: colours, places, pixels, size; of series and texts
    mix           cutmix on cells, mixup on features, shares of targets
    weights       of convolutions, before they are used
    model         embed; then in each hidden layer: linear, normalize, activation, dropout; then the output
    regularize    stochastic depth leaves blocks of a residual network out
    regularize    label smoothing, focal loss, class weights make the loss; L1 and L2 join its gradient
    clip          the gradient
    optimizer     one step at the learning rate of the schedule
    regularize    decoupled decay before the step, max-norm and unit-norm after it
    average       the weights after the step
"""

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Generator, Tensor, nn

from titrant.models.image import Conv, Places, Standardize, Whiten
from titrant.models.layers import Linear, Reweigh
from titrant.models.network import Factory, Net, Shape
from titrant.models.recurrent import Gates
from titrant.models.series import Anchored
from titrant.models.table import Embedding, EnsembleBody, LinearBody, Seen, Thermometer, Waves
from titrant.models.text import Bag, Vectors
from titrant.recipe import Recipe
from titrant.surgery import matrices, unit_variance
from titrant.train.ridge import MOST, ROWS, solved
from titrant.tricks.acting import derived_seed, own_randomness
from titrant.tricks.activation import gain_of
from titrant.tricks.data import Periodic
from titrant.tricks.data_pictures import Patches
from titrant.tricks.initialize import Default, Ridge
from titrant.tricks.layout import Layout
from titrant.tricks.model import Custom

LSUV_ROWS = 512
_NEAR_ZERO = 0.1  # of vectors that are summed: larger ones are noise that training has to undo


def cohort_key(recipe: Recipe) -> Hashable:
    """Members with equal keys have tensors of equal shapes and may share a cohort.

    Everything else (scaling, augmentation, activation, normalisation, optimizer, schedule, doses) may differ inside one.
    """
    numbers = recipe.data.numbers
    shape_of_numbers = numbers.model_copy(update={"sigma": 0.0}) if isinstance(numbers, Periodic) else numbers
    views, sides = recipe.augment.views, recipe.augment.resize
    whiten = recipe.data.whiten
    filters = whiten.side if isinstance(whiten, Patches) else 0
    reached = (
        ()
        if not isinstance(recipe.model, Custom)
        else tuple(getattr(recipe, slot) for slot in recipe.model.surgery if slot != "initialize")
    )
    series = (recipe.data.channels, recipe.data.differences, recipe.data.gaps, recipe.data.features)
    return (
        recipe.model, recipe.data.categories, shape_of_numbers, series, recipe.data.tokens, recipe.batch, recipe.stop.epochs,
        recipe.hardware, views, sides, filters, reached,
    )  # fmt: skip


def layout_of(network: nn.Module) -> Layout:
    """Where each learned number stands in a member's row."""
    found = {id(weight) for module in network.modules() for weight in matrices(module)}
    found |= {id(module.table) for module in network.modules() if isinstance(module, Bag)}
    return Layout.of({name: (tuple(p.shape), id(p) in found) for name, p in network.named_parameters() if p.requires_grad})


def stored(network: nn.Module) -> dict[str, Tensor]:
    """What makes up a network's state, by name; tied weights once, by the name that `layout_of` knows."""
    tied = dict(network.named_parameters(remove_duplicate=False)).keys() - dict(network.named_parameters()).keys()
    return {name: tensor for name, tensor in network.state_dict().items() if name not in tied}


def start(
    recipe: Recipe,
    shape: Shape,
    seed: int,
    sample: tuple[Tensor, ...],
    *,
    kin: Sequence[Recipe] | None = None,
    factory: Factory | None = None,
    target: Tensor | None = None,
) -> Net:
    """A plain network with its first weights.

    Args:
        recipe: of the member.
        shape: of the data.
        seed: of the member; each parameter has a random stream of its own, named after it.
        sample: training rows as the network reads them, from which bins and LSUV take their measure.
        kin: the recipes of all members that will share a stack.
        factory: the network of `model: custom`, called under the member's seed.
        target: of the sample [n], classes or scaled values, for `initialize: ridge`.
    """
    with own_randomness(derived_seed(seed, "initialize")):
        network = shape.network([recipe], kin, factory)
    with torch.no_grad():
        for name, module in network.named_modules():
            _fill(module, name, recipe, seed, sample[0])
        if recipe.initialize.data_driven and not isinstance(recipe.model, Custom):
            network.eval()
            with unit_variance(network):
                network(*(tensor[:LSUV_ROWS].cpu() for tensor in sample))
            network.train()
        if isinstance(recipe.initialize, Ridge) and target is not None:
            _solve(network, recipe.initialize, sample, target, seed)
    return network


def _fill(module: nn.Module, name: str, recipe: Recipe, seed: int, numbers: Tensor) -> None:
    """Draws the weights of one module of ours; modules of a person's own keep what their factory gave them."""

    def generator(part: str) -> Generator:
        return Generator().manual_seed(derived_seed(seed, "initialize", f"{name}.{part}"))

    match module:
        case Whiten() if isinstance(recipe.data.whiten, Patches):
            module.whiten(numbers, recipe.data.whiten)
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
        case Reweigh():
            if "gain" in module._parameters:
                module.gain.fill_(gain_of(recipe.activation))
        case Gates():
            _fill_gates(module, recipe, generator)
        case Linear():
            gain = 1.0 if name.endswith("head") else gain_of(recipe.activation)
            module.weight.copy_(recipe.initialize.draw(tuple(module.weight.shape), gain, generator("weight")))
            if isinstance(recipe.initialize, Default | Ridge):
                bound = module.in_features**-0.5
                module.bias.uniform_(-bound, bound, generator=generator("bias"))
            else:
                module.bias.zero_()
            if isinstance(module, Seen):
                module.adapter.uniform_(-1, 1, generator=generator("adapter")).sign_()
        case Vectors():
            module.table.normal_(0, module.table.shape[1] ** -0.5, generator=generator("table"))
        case Bag():
            module.bias.zero_()
            if name.endswith("head"):
                module.table.zero_()
            else:
                module.table.normal_(0, _NEAR_ZERO, generator=generator("table"))
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


def _fill_gates(module: Gates, recipe: Recipe, generator: Callable[[str], Generator]) -> None:
    """Recurrent weights, gate by gate; biases at random, but for an open forget gate.

    With biases of 0 a series of zeros would keep the state at exactly 0, where the gradient of a layer norm inside the cell
    grows a hundredfold from step to step.
    """
    drawing = generator("weight")
    for weight in module.weight.view(module.gates, -1, module.in_features):
        match module.start:
            case "orthogonal":
                torch.nn.init.orthogonal_(weight, generator=drawing)
            case "identity":
                torch.nn.init.eye_(weight)
            case _:
                weight.copy_(recipe.initialize.draw(tuple(weight.shape), 1.0, drawing))
    bound = (module.out_features / module.gates) ** -0.5
    module.bias.uniform_(-bound, bound, generator=generator("bias"))
    if module.forget is not None:
        module.bias.view(module.gates, -1)[module.forget] = 1.0


def _solve(network: Net, trick: Ridge, sample: tuple[Tensor, ...], target: Tensor, seed: int) -> None:
    """Puts the closed-form solution into a linear network; others stay as they are."""
    body = next((module for module in network.modules() if isinstance(module, LinearBody)), None)
    if body is None:
        return
    drawing = Generator().manual_seed(derived_seed(seed, "initialize", "ridge"))
    most = MOST if body.head.in_features <= ROWS else ROWS
    chosen = torch.randperm(len(target), generator=drawing)[:most].to(target.device)
    seen: list[Tensor] = []
    hook = body.head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network.eval()
    network(*(tensor[chosen].cpu() for tensor in sample))
    network.train()
    hook.remove()
    classes = body.head.out_features if not target.is_floating_point() else 1
    wanted = target[chosen].cpu()
    if isinstance(network, Anchored):  # its outputs count from each series' own level
        anchors = sample[-1][chosen].cpu()
        wanted = (wanted - anchors[:, :1]) / anchors[:, 1:]
    weight, bias = solved(seen[0], wanted, classes)
    body.head.weight.copy_(trick.scale * weight)
    body.head.bias.copy_(trick.scale * bias)
