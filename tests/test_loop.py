"""The tricks in a loop of one's own: against PyTorch's own optimizers, schedules and losses, and against the engine."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from titrant import loop
from titrant.errors import RecipeError
from titrant.recipe import slots

X = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def plain() -> nn.Sequential:
    """Without batch norm, behind which a bias has a gradient of rounding errors alone, of which Adam makes whole steps."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))


def trained(
    model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 20, after: Callable[[], Any] | None = None
) -> Tensor:
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(model(X), Y).backward()
        optimizer.step()
        if after is not None:
            after()
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_adam_with_clipping_and_a_cosine_equals_pytorch() -> None:
    ours, theirs = plain(), plain()
    mine = loop.Optimizer(
        ours, 20, optimizer={"kind": "adam"}, learning_rate={"peak": 0.01, "warmup": 0.0, "schedule": "cosine"},
        clip={"kind": "norm", "max_norm": 0.1},
    )  # fmt: skip
    adam = torch.optim.Adam(theirs.parameters(), 0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 20)
    expected = []
    for _ in range(20):
        adam.zero_grad()
        functional.cross_entropy(theirs(X), Y).backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 0.1)
        adam.step()
        expected.append(adam.param_groups[0]["lr"])
        schedule.step()
    rates: list[float] = []
    found = trained(ours, mine, after=lambda: rates.append(mine.param_groups[0]["lr"]))
    assert rates == pytest.approx(expected, rel=1e-4, abs=1e-9)
    assert torch.allclose(found, torch.cat([p.detach().flatten() for p in theirs.parameters()]), atol=1e-5)
    assert mine.receipts()["clip"][1] == 20
    assert mine.receipts()["clip"][0] > 0


def test_sgd_with_momentum_equals_pytorch() -> None:
    ours, theirs = plain(), plain()
    found = trained(ours, loop.Optimizer(ours, 20, optimizer={"kind": "sgd", "momentum": 0.9}, learning_rate=0.05))
    assert torch.allclose(found, trained(theirs, torch.optim.SGD(theirs.parameters(), 0.05, momentum=0.9)), atol=1e-5)


@pytest.mark.parametrize("kind", [kind.name() for kind in slots()["optimizer"]])
def test_every_optimizer_learns(kind: str) -> None:
    model = network()
    average = {"kind": "ema", "decay": 0.9}
    optimizer = loop.Optimizer(model, 150, optimizer=kind, average=average, regularize={"max_norm": "max_norm", "l2": "l2"})
    before = functional.cross_entropy(model(X), Y).item()
    trained(model, optimizer, 150)
    with optimizer.averaged():
        model.eval()
        assert functional.cross_entropy(model(X), Y).item() < 0.9 * before
    assert optimizer.receipts()["average"][1] == 150


def test_averaged_weights_are_there_inside_and_gone_outside() -> None:
    model = network()
    optimizer = loop.Optimizer(model, 10, average={"kind": "ema", "decay": 0.5})
    last = trained(model, optimizer, 10)
    statistics = model[1].running_mean.clone()  # type: ignore[union-attr]
    with optimizer.averaged():
        inside = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
        assert not torch.equal(model[1].running_mean, statistics)  # type: ignore[arg-type]
    assert not torch.allclose(inside, last)
    assert torch.equal(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]), last)
    assert torch.equal(model[1].running_mean, statistics)  # type: ignore[arg-type]


def test_going_on_from_a_saved_state_equals_going_on(tmp_path: Any) -> None:
    def made(model: nn.Module) -> loop.Optimizer:
        return loop.Optimizer(model, 20, optimizer="adamw", average="ema", learning_rate={"peak": 0.01, "schedule": "cosine"})

    whole = network()
    optimizer = made(whole)
    trained(whole, optimizer, 10)
    torch.save({"model": whole.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "half.pt")
    expected = trained(whole, optimizer, 10)
    other = network(seed=1)
    again = made(other)
    saved = torch.load(tmp_path / "half.pt", weights_only=True)
    other.load_state_dict(saved["model"])
    again.load_state_dict(saved["optimizer"])
    assert torch.equal(trained(other, again, 10), expected)


def test_frozen_and_unused_parameters_stay() -> None:
    model = network()
    model[0].requires_grad_(False)
    model.register_parameter("unused", nn.Parameter(torch.ones(3)))
    first = model[0].weight.clone()
    trained(model, loop.Optimizer(model, 20, optimizer="adamw", regularize={"decay": {"kind": "decay", "rate": 0.1}}))
    assert torch.equal(model[0].weight, first)
    assert torch.equal(model.unused, torch.ones(3))
    with pytest.raises(ValueError, match="nothing can be trained"):
        loop.Optimizer(network().requires_grad_(False), 1)


def test_wrong_slots_are_named() -> None:
    with pytest.raises(RecipeError, match=r"optimizer.*did you mean adam"):
        loop.Optimizer(network(), 1, optimizer="adamv")
    with pytest.raises(RecipeError, match=r"regularize\.focal does not act on weights"):
        loop.Optimizer(network(), 1, regularize={"focal": "focal"})
    with pytest.raises(RecipeError, match=r"augment\.flop"):
        loop.Augment(flop="flip")


def test_a_closure_is_called_with_gradients() -> None:
    model = network()
    optimizer = loop.Optimizer(model, 5)

    def closure() -> Tensor:
        optimizer.zero_grad()
        found = functional.cross_entropy(model(X), Y)
        found.backward()
        return found

    assert optimizer.step(closure).requires_grad


def test_steps_beyond_the_schedule_go_on_at_its_end() -> None:
    model = network()
    optimizer = loop.Optimizer(
        model, 5, learning_rate={"peak": 0.1, "warmup": 0.0, "schedule": {"kind": "cosine", "final": 0.5}}
    )
    assert trained(model, optimizer, 8).isfinite().all()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05, rel=0.2)


# ------------------------------------------------------------------ batches


def test_pictures_are_flipped_and_scaled() -> None:
    pictures = torch.arange(2 * 1 * 2 * 4, dtype=torch.uint8).view(2, 1, 2, 4)
    out = loop.Augment(flip={"kind": "flip", "p": 1.0})(pictures)
    assert torch.allclose(out * 255, pictures.flip(-1).float(), atol=1e-4)
    assert torch.allclose(loop.Augment()(pictures) * 255, pictures.float(), atol=1e-4)
    with pytest.raises(ValueError, match="give them as uint8"):
        loop.Augment(flip="flip")(pictures.float())


def test_series_and_rows_are_noised_and_left_as_they_were() -> None:
    for x, augment in (
        (torch.zeros(4, 2, 9), loop.Augment(jitter="jitter")),
        (torch.zeros(4, 6), loop.Augment(noise="gaussian")),
    ):
        out = augment(x)
        assert out.shape == x.shape
        assert not torch.equal(out, x)
        assert not x.any()
    with pytest.raises(ValueError, match="neither rows"):
        loop.Augment(noise="gaussian")(torch.zeros(3))


def test_pictures_are_small_until_training_has_gone_far_enough() -> None:
    pictures = torch.randint(0, 256, (3, 3, 16, 12), dtype=torch.uint8)
    augment = loop.Augment(resize={"kind": "progressive", "low": 0.5, "until": 0.8})
    assert augment(pictures, progress=0.1).shape == (3, 3, 8, 8)
    assert augment(pictures).shape == (3, 3, 16, 12)


def test_equal_seeds_augment_alike() -> None:
    pictures = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    first, second, other = (loop.Augment(policy="trivial", seed=seed)(pictures) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("shape", [(6, 3, 8, 8), (6, 2, 20), (6, 10)])
@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_what_is_left_of_a_row_is_its_share(kind: str, shape: tuple[int, ...]) -> None:
    own = torch.arange(6, dtype=torch.float32).view(-1, *[1] * (len(shape) - 1)).expand(shape)
    mixed, shares = loop.Mix({"kind": kind, "alpha": 1.0}, seed=2)(own)
    partner = own.roll(1, 0)
    assert mixed.shape == shape
    if kind == "mixup":
        kept = shares.share.view(-1, *[1] * (len(shape) - 1))
        assert torch.allclose(mixed, kept * own + (1 - kept) * partner)
    else:
        assert bool(((mixed == own) | (mixed == partner)).all())
        assert torch.allclose((mixed == own).flatten(1).float().mean(1), shares.share, atol=1e-6)


def test_the_loss_of_mixed_rows_is_shared_by_both_targets() -> None:
    output, mixed = torch.randn(4, 2), loop.Mixed(torch.tensor([1.0, 0.75, 0.5, 1.0]))
    target = torch.tensor([0, 1, 1, 0])
    losses = functional.cross_entropy(output, target, reduction="none")
    others = functional.cross_entropy(output, torch.tensor([0, 0, 1, 1]), reduction="none")
    expected = (mixed.share * losses + (1 - mixed.share) * others).mean()
    assert torch.allclose(mixed(functional.cross_entropy, output, target), expected)
    assert torch.allclose(mixed(loop.loss, output, target), expected)
    same, nothing = loop.Mix("off")(output)
    assert same is output
    assert bool((nothing.share == 1).all())


def test_the_loss_equals_pytorch() -> None:
    output, target = torch.randn(9, 4), torch.randint(4, (9,))
    expected = functional.cross_entropy(output, target, label_smoothing=0.2)
    assert torch.allclose(loop.loss(output, target, label_smoothing=0.2), expected)
    assert torch.allclose(loop.loss(output, target, focal=0.0), functional.cross_entropy(output, target))
    assert loop.loss(output, target, reduction="none").shape == (9,)
    with pytest.raises(ValueError, match="'average' is unknown"):
        loop.loss(output, target, reduction="average")
