"""Networks for pictures against plain PyTorch modules, alone and stacked."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from titrant.models.image import (
    Conv,
    ImageNet,
    ImageShape,
    OnMaps,
    Pixels,
    Pool,
    Standardize,
    Whiten,
    convolved,
    first,
    last,
    stages,
)
from titrant.models.layers import Normalize, Skip
from titrant.models.own import OwnBody
from titrant.recipe import Recipe
from titrant.tricks.data_pictures import Patches
from titrant.tricks.normalize import Batch, Layer

SHAPE = ImageShape(3, 10, 12, 4)
DEVICE = torch.device("cpu")


def maps(*shape: int) -> Tensor:
    return first(torch.randn(*shape[:-3], *shape[-2:], shape[-3]))


def net(model: dict[str, object], shape: ImageShape = SHAPE, **slots: object) -> ImageNet:
    return ImageNet([Recipe.of({"model": model, **slots})], shape)


def test_pixels_become_numbers_from_zero_to_one_with_channels_last_in_memory() -> None:
    pixels = torch.randint(0, 256, (5, 3, 4, 6), dtype=torch.uint8)
    (found,) = Pixels()(pixels)
    torch.testing.assert_close(found, pixels.double().div(255).float())
    assert last(found).is_contiguous()


def test_standardised_pixels_have_mean_zero_and_variance_one() -> None:
    sample = torch.rand(50, 3, 6, 5) * 3 + 1
    sample[:, 2] = 0.5
    layer = Standardize(3)
    layer.fit(sample)
    rows = last(layer(sample)).flatten(0, -2)
    torch.testing.assert_close(rows.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_stack_of_convolutions_equals_separate_ones(channels: int) -> None:
    layer = Conv(channels, 5, 3, padding=1)
    weights = {"weight": torch.randn(4, 5, channels, 3, 3), "bias": torch.randn(4, 5)}
    x = maps(4, 6, channels, 7, 8)
    stacked = functional_call(layer, weights, (x,))
    for k in range(4):
        alone = functional_call(layer, {name: tensor[k] for name, tensor in weights.items()}, (x[k],))
        expected = functional.conv2d(x[k].contiguous(), weights["weight"][k], weights["bias"][k], padding=1)
        torch.testing.assert_close(alone, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(stacked[k], expected, atol=1e-5, rtol=1e-5)
        assert last(alone).is_contiguous()


def test_convolutions_use_standardised_weights_and_settle_on_them() -> None:
    slots = [{"weights": "off"}, {"weights": "standardized"}, {"weights": "scaled"}]
    recipes = [Recipe.of({"model": {"kind": "cnn", "width": 4}, **slot}) for slot in slots]
    stack = ImageNet(recipes, SHAPE, kin=recipes)
    tensors = {name: torch.randn(3, *tensor.shape) for name, tensor in stack.state_dict().items()}
    tensors |= {name: tensor.abs() for name, tensor in tensors.items() if name.endswith("deviation")}
    x = torch.rand(3, 5, 3, 10, 12)
    found = functional_call(stack, tensors, (x,))
    for k, recipe in enumerate(recipes):
        network = ImageNet([recipe], SHAPE, kin=recipes)
        network.load_state_dict({name: tensor[k] for name, tensor in tensors.items()})
        plain = ImageNet([recipes[0]], SHAPE)
        state = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith("gain")}
        for name, weight in state.items():
            if weight.dim() == 4 and k:
                rows = weight.double().flatten(1)
                rows = rows - rows.mean(1, keepdim=True)
                rows = rows / (rows.square().sum(1, keepdim=True) + 1e-4).sqrt()
                gain = network.state_dict()[name.replace("weight", "reweigh.gain")].double() if k == 2 else torch.ones(1)
                state[name] = (gain.view(-1, 1) * rows).view(weight.shape).float()
        plain.load_state_dict(state)
        expected = plain(x[k])
        torch.testing.assert_close(found[k], expected, atol=1e-4, rtol=1e-4)
        for layer in network.modules():
            if isinstance(layer, Conv):
                layer.settle()
        torch.testing.assert_close(network(x[k]), expected, atol=1e-4, rtol=1e-4)


def test_a_recipe_may_have_convolutions_read_channels_first(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bool] = []

    def seen(x: Tensor, *others: Any) -> Tensor:
        read.append(x.is_contiguous())
        return convolved(x, *others)

    monkeypatch.setattr("titrant.models.image.convolved", seen)
    x, found = maps(5, 3, 10, 12), []
    for layout in ("auto", "channels_last", "contiguous"):
        read.clear()
        recipe = Recipe.of({"model": {"kind": "cnn", "width": 4, "depth": 2}, "hardware": {"layout": layout}})
        network = ImageNet([recipe], SHAPE)
        with torch.no_grad():
            for number, parameter in enumerate(network.parameters()):
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
        found.append(network(x))
        assert read == [layout == "contiguous"] * 4
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])


@pytest.mark.parametrize("side", [2, 3])
def test_filters_whiten_the_patches_of_the_pictures(side: int) -> None:
    blurred = functional.avg_pool2d(torch.rand(60, 3, 14, 14), 3, stride=1)
    pixels = first(last(0.2 + 0.5 * blurred + 0.2 * blurred[:, :1]).contiguous())
    layer = Whiten(3, side)
    layer.whiten(pixels, Patches(side=side, epsilon=1e-5))
    standard = pixels.double() - pixels.double().mean((0, 2, 3), keepdim=True)
    standard = standard / standard.square().mean((0, 2, 3), keepdim=True).sqrt()
    windows = functional.unfold(standard, side).mT.flatten(0, 1).numpy()
    values, vectors = np.linalg.eigh(np.cov(windows.T, bias=True))
    expected = windows @ (vectors / np.sqrt(values + 1e-5))
    before, behind = side // 2 - (side % 2 == 0), side // 2
    found = last(layer(pixels))[:, before : 12 - behind, before : 12 - behind].flatten(0, 2).numpy()
    count = expected.shape[1]
    signs = np.sign((found[:, :count] * expected).sum(0))
    np.testing.assert_allclose(found[:, :count], signs * expected, atol=0.02)
    np.testing.assert_allclose(found[:, count:], -signs * expected, atol=0.02)
    np.testing.assert_allclose(np.cov(found[:, :count].T, bias=True), np.diag(values / (values + 1e-5)), atol=0.01)


@pytest.mark.parametrize("sides", [(1, 1), (3, 1), (600, 300)])
def test_filters_of_pictures_of_any_size_are_finite(sides: tuple[int, int]) -> None:
    layer = Whiten(1, 2)
    layer.whiten(torch.rand(9, 1, *sides), Patches())
    assert layer.filters.isfinite().all()
    assert layer(torch.rand(2, 1, *sides)).shape == (2, 8, *sides)


def test_a_network_behind_filters_reads_both_signs_through_the_activation() -> None:
    network = net({"kind": "cnn", "width": 4}, data={"whiten": {"side": 3}}, activation="gelu")
    assert isinstance(network.enter, Whiten)
    x = torch.rand(5, 3, 10, 12)
    network.enter.whiten(x, Patches(side=3))
    assert network.enter.filters.shape == (54, 3, 3, 3)
    expected = functional.gelu(network.enter(x))
    torch.testing.assert_close(network(x), network.head(network.body(expected)), atol=1e-5, rtol=1e-4)
    assert not [name for name, _ in network.named_parameters() if name.startswith("enter")]
    plain = net({"kind": "cnn", "width": 4})
    assert network.products > plain.products


def test_batch_norm_of_maps_is_that_of_pytorch() -> None:
    mine, theirs = OnMaps(Normalize([Batch()], 5, [Batch()], DEVICE)), nn.BatchNorm2d(5)
    for _ in range(3):
        x = 2 * maps(4, 5, 3, 6) + 1
        torch.testing.assert_close(mine(x), theirs(x.contiguous()), atol=1e-5, rtol=1e-4)
    mine.eval()
    theirs.eval()
    torch.testing.assert_close(mine(x), theirs(x.contiguous()), atol=1e-5, rtol=1e-4)


def test_layer_norm_of_maps_acts_at_each_place() -> None:
    x = maps(2, 8, 3, 3)
    found = OnMaps(Normalize([Layer()], 8, [Layer()], DEVICE))(x)
    torch.testing.assert_close(found, first(functional.layer_norm(last(x), (8,))))


@pytest.mark.parametrize("side", [6, 7])
def test_pooling_keeps_the_last_places_of_odd_sides(side: int) -> None:
    x = maps(3, 2, side, side)
    expected = functional.max_pool2d(x.contiguous(), 2, ceil_mode=True)
    torch.testing.assert_close(Pool()(x), expected)
    torch.testing.assert_close(Pool()(x.unsqueeze(0))[0], expected)


@pytest.mark.parametrize(("side", "expected"), [(8, 1), (16, 1), (28, 2), (32, 2), (64, 3), (100, 4)])
def test_stages_bring_maps_to_eight_pixels(side: int, expected: int) -> None:
    assert stages(ImageShape(3, side, side // 2, 2)) == expected


@pytest.mark.parametrize(
    "model",
    [
        {"kind": "cnn", "width": 4, "depth": 2},
        {"kind": "resnet", "width": 4},
        {"kind": "convnext", "width": 4},
        {"kind": "vit", "width": 7, "heads": 2},
    ],
)
@pytest.mark.parametrize("sides", [(8, 8), (1, 1), (33, 5)])
def test_outputs_of_any_size_of_picture(model: dict[str, object], sides: tuple[int, int]) -> None:
    network = net(model, ImageShape(1, *sides, outputs=3))
    assert network(torch.rand(5, 1, *sides)).shape == (5, 3)
    assert network.products > 0
    assert network.widest >= 4


def test_a_convolution_network_is_what_its_description_says() -> None:
    network = net({"kind": "cnn", "width": 4, "depth": 1}, ImageShape(1, 16, 16, 3), normalize="batch")
    convolutions = [module for module in network.modules() if isinstance(module, Conv)]
    assert [(layer.in_channels, layer.out_channels) for layer in convolutions] == [(1, 4), (4, 8)]
    assert network.products == 9 * 4 * 256 + 9 * 4 * 8 * 64
    x = torch.rand(6, 1, 16, 16)
    plain = x
    for place, layer in enumerate(convolutions):
        plain = plain if place == 0 else functional.max_pool2d(plain, 2)
        plain = functional.relu(functional.batch_norm(layer(plain), None, None, training=True))
    expected = network.head(plain.amax((2, 3)))
    torch.testing.assert_close(network(x), expected, atol=1e-5, rtol=1e-4)


def test_mirror_images_are_looked_at_in_evaluation_only() -> None:
    network = net({"kind": "cnn", "width": 4}, augment={"views": "mirror"})
    x = torch.rand(5, 3, 10, 12)
    assert network.views == 1
    assert network(x).shape == (5, 4)
    network.eval()
    assert network.views == 2
    found = network(x)
    torch.testing.assert_close(found[:5], network(x.flip(-1))[5:])
    assert not torch.equal(found[:5], found[5:])


def test_blends_are_those_of_whole_pictures() -> None:
    network = net({"kind": "cnn", "width": 4}).eval()
    x = torch.rand(4, 3, 10, 12)
    blended = network(x, lambda z: 0.7 * z + 0.3 * z.roll(1, dims=-2))
    torch.testing.assert_close(blended, network(0.7 * x + 0.3 * x.roll(1, dims=0)), atol=1e-5, rtol=1e-4)


def test_a_model_for_tables_is_refused() -> None:
    with pytest.raises(ValueError, match="mlp is for tables"):
        net({"kind": "mlp"})


def test_blocks_are_left_out_the_more_often_the_further_back_they_stand() -> None:
    found = net({"kind": "resnet", "width": 4, "depth": 2}, ImageShape(1, 32, 32, 2))
    assert [module.share for module in found.modules() if isinstance(module, Skip)] == [0.25, 0.5, 0.75, 1.0]


def test_group_norm_acts_over_whole_maps() -> None:
    network = net({"kind": "cnn", "width": 4}, ImageShape(1, 8, 8, 2), normalize={"kind": "group", "groups": 2})
    layer = network.body[0]
    assert isinstance(layer, nn.Sequential)
    reference = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU())
    conv = layer[0].state_dict()
    reference.load_state_dict(
        {"0.weight": conv["weight"], "0.bias": conv["bias"], "1.weight": torch.ones(4), "1.bias": torch.zeros(4)}
    )
    x = maps(3, 1, 8, 8)
    torch.testing.assert_close(layer(x), reference(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["cnn", "resnet", "convnext", "vit"])
def test_smaller_pictures_are_read_as_by_a_network_made_for_them(kind: str) -> None:
    model = {"kind": kind, "width": 8, "depth": 1}
    large, small = (
        net(model, ImageShape(3, side, side, 2), normalize={"kind": "group", "groups": 2}).eval() for side in (16, 12)
    )
    state = {name: torch.randn_like(tensor).abs() for name, tensor in large.state_dict().items()}
    large.load_state_dict(state)
    if kind == "vit":  # places of a map of 16 pixels' patches, where those of 12 pixels' lie
        table = state["body.1.table"].permute(2, 0, 1).unsqueeze(0)
        smaller = functional.interpolate(table, (6, 6), mode="bilinear", antialias=True)
        state["body.1.table"] = smaller.squeeze(0).permute(1, 2, 0)
    small.load_state_dict(state)
    x = torch.rand(5, 3, 12, 12)
    torch.testing.assert_close(large(x), small(x), atol=1e-4, rtol=1e-4)


def test_a_network_of_ones_own_takes_standardised_pixels() -> None:
    custom = Recipe.of({"model": {"kind": "custom", "factory": "here"}})

    def factory(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(inputs, 2, 3), nn.Flatten(), nn.Linear(2 * 8 * 10, outputs))

    network = ImageNet([custom], SHAPE, factory=factory)
    x = torch.rand(5, 3, 10, 12)
    assert isinstance(network.body, OwnBody)
    torch.testing.assert_close(network(x), network.body.inner(x))
    stack = ImageNet([custom] * 2, SHAPE, factory=factory)
    tensors = {name: torch.stack([tensor, 2 * tensor]) for name, tensor in stack.state_dict().items()}
    found = functional_call(stack, tensors, (torch.stack([x, x]),))
    plain = functional_call(stack, {name: tensor[0] for name, tensor in tensors.items()}, (x,))
    torch.testing.assert_close(found[0], plain, atol=1e-5, rtol=1e-4)
