"""Normalisation against PyTorch's own modules, member by member and step by step."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.nn import functional

from titrant.tricks.base import Off, options, segments
from titrant.tricks.normalize import RMS, Batch, Ghost, Group, Instance, Layer, Normalize, NormalizeTrick

ROWS, WIDTH = 11, 12


class GhostNorm(nn.BatchNorm1d):
    """Batch norms of parts, the last of which takes what is left over."""

    def __init__(self, size: int, places: int = 1) -> None:
        super().__init__(WIDTH, momentum=0.3, eps=1e-3)
        self.size, self.places = size, places

    def forward(self, x: Tensor) -> Tensor:
        count = max(1, len(x) // (self.size * self.places)) if self.training else 1
        cuts = [turn * self.size * self.places for turn in range(count)] + [len(x)]
        parts = [x[begin:end] for begin, end in pairwise(cuts)]
        if not self.training:
            return super().forward(x)
        outs, after = [], []
        for part in parts:
            moments = self.running_mean.clone(), self.running_var.clone()
            outs.append(functional.batch_norm(part, *moments, self.weight, self.bias, True, self.momentum, self.eps))
            after.append(moments)
        self.running_mean, self.running_var = (torch.stack(kept).mean(0) for kept in zip(*after, strict=True))
        return torch.cat(outs)


class ShiftedRMS(nn.RMSNorm):
    """PyTorch's own, with the learned shift that follows every kind here."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__(width, eps=eps)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.bias


CASES: list[tuple[NormalizeTrick, Callable[[], nn.Module]]] = [
    (Batch(momentum=0.3, epsilon=1e-3), lambda: nn.BatchNorm1d(WIDTH, momentum=0.3, eps=1e-3)),
    (Batch(), lambda: nn.BatchNorm1d(WIDTH)),
    (Ghost(size=4, momentum=0.3, epsilon=1e-3), lambda: GhostNorm(4)),
    (Layer(epsilon=1e-2), lambda: nn.LayerNorm(WIDTH, eps=1e-2)),
    (Group(groups=3, epsilon=1e-2), lambda: nn.GroupNorm(3, WIDTH, eps=1e-2)),
    (Group(groups=1), lambda: nn.LayerNorm(WIDTH)),
    (RMS(epsilon=1e-2), lambda: ShiftedRMS(WIDTH, eps=1e-2)),
    (Instance(), lambda: nn.LayerNorm(WIDTH)),  # rows without places; those with some stand below
]
TRICKS = [trick for trick, _ in CASES]
names = [repr(trick) for trick in TRICKS]


def state(*shape: int) -> dict[str, Tensor]:
    """Learned numbers away from their start, and fresh running statistics."""
    return {
        "gain": (torch.rand(shape) + 0.5).requires_grad_(),
        "bias": torch.randn(shape).requires_grad_(),
        "mean": torch.zeros(shape),
        "variance": torch.ones(shape),
    }


def copied(state: dict[str, Tensor], member: int) -> dict[str, Tensor]:
    return {name: value[member].detach().clone().requires_grad_(value.requires_grad) for name, value in state.items()}


def dose_values(trick: NormalizeTrick) -> dict[str, Any]:
    return trick.model_dump(exclude={"kind"})


def test_the_slot_holds_every_kind() -> None:
    assert options(Normalize) == (Off, Batch, Ghost, Layer, Group, Instance, RMS)
    assert [kind.name() for kind in (Batch, Ghost, Layer, Group, Instance, RMS) if kind.tracks] == ["batch", "ghost"]
    adapter: TypeAdapter[Any] = TypeAdapter(Normalize)
    assert adapter.validate_python("layer") == Layer()
    with pytest.raises(ValidationError, match="groups"):
        adapter.validate_python({"kind": "group", "groups": 2.5})


@pytest.mark.parametrize(("trick", "reference"), CASES, ids=names)
def test_a_member_equals_the_module_of_torch(trick: NormalizeTrick, reference: Callable[[], nn.Module]) -> None:
    module, own = reference(), state(WIDTH)
    with torch.no_grad():
        module.weight.copy_(own["gain"])
        module.bias.copy_(own["bias"])
    for training in (True, True, True, False):
        module.train(training)
        x = (torch.randn(ROWS, WIDTH) * 3 + 2).requires_grad_()
        x_module = x.detach().clone().requires_grad_()
        weights = torch.randn(ROWS, WIDTH)
        y = trick.apply(x, **own, training=training, **dose_values(trick))
        expected = module(x_module)
        y.backward(weights)
        expected.backward(weights)
        torch.testing.assert_close(y, expected)
        torch.testing.assert_close(x.grad, x_module.grad)
    torch.testing.assert_close(own["gain"].grad, module.weight.grad)
    torch.testing.assert_close(own["bias"].grad, module.bias.grad)
    if isinstance(module, nn.BatchNorm1d):
        torch.testing.assert_close(own["mean"], module.running_mean)
        torch.testing.assert_close(own["variance"], module.running_var)


@pytest.mark.parametrize("trick", TRICKS, ids=names)
@pytest.mark.parametrize("rows", [1, 2, ROWS])
def test_a_stack_equals_its_members(trick: NormalizeTrick, rows: int) -> None:
    members = 3
    stack = state(members, WIDTH)
    singles = [copied(stack, member) for member in range(members)]
    (part,) = segments([trick] * members, axes=2)
    for training in (True, True, False):
        x = (torch.randn(members, rows, WIDTH) * torch.tensor([0.1, 1.0, 10.0]).view(3, 1, 1) + 1).requires_grad_()
        weights = torch.randn(x.shape)
        y = trick.apply(x, **stack, training=training, **part.values)
        assert y.shape == x.shape
        y.backward(weights)
        assert x.grad is not None
        for member, single in enumerate(singles):
            alone = x[member].detach().clone().requires_grad_()
            y_alone = trick.apply(alone, **single, training=training, **dose_values(trick))
            y_alone.backward(weights[member])
            torch.testing.assert_close(y[member], y_alone, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(x.grad[member], alone.grad, rtol=1e-4, atol=1e-4)
    for member, single in enumerate(singles):
        for name in ("mean", "variance"):
            torch.testing.assert_close(stack[name][member], single[name])
        for name in ("gain", "bias"):
            torch.testing.assert_close(stack[name].grad[member], single[name].grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("trick", TRICKS, ids=names)
def test_only_training_of_a_kind_that_tracks_moves_the_statistics(trick: NormalizeTrick) -> None:
    for training in (True, False):
        own = state(WIDTH)
        trick.apply(torch.randn(ROWS, WIDTH) + 1, **own, training=training, **dose_values(trick))
        assert bool((own["mean"] != 0).all()) == bool((own["variance"] != 1).all()) == (training and trick.tracks)


def test_a_batch_of_one_row_uses_the_running_statistics() -> None:
    own = state(WIDTH)
    own["mean"].normal_()
    own["variance"].uniform_(0.5, 2.0)
    before = {name: value.detach().clone() for name, value in own.items()}
    x = torch.randn(1, WIDTH)
    y = Batch.apply(x, **own, training=True, momentum=0.1, epsilon=1e-5)
    expected = (x - before["mean"]) / (before["variance"] + 1e-5).sqrt() * before["gain"] + before["bias"]
    torch.testing.assert_close(y, expected)
    assert all(torch.equal(own[name], before[name]) for name in before)


@pytest.mark.parametrize("trick", TRICKS, ids=names)
def test_a_member_that_diverged_leaves_the_others_alone(trick: NormalizeTrick) -> None:
    x = torch.randn(3, ROWS, WIDTH)
    sick = x.clone()
    sick[1] = float("nan")
    well_state = state(3, WIDTH)
    sick_state = {name: value.detach().clone() for name, value in well_state.items()}
    y = trick.apply(x, **well_state, training=True, **dose_values(trick))
    y_sick = trick.apply(sick, **sick_state, training=True, **dose_values(trick))
    for member in (0, 2):
        assert torch.equal(y[member], y_sick[member])
        assert torch.equal(well_state["mean"][member], sick_state["mean"][member])


@given(rows=st.integers(1, 70), size=st.integers(4, 80), places=st.integers(1, 3))
def test_ghost_batches_are_batches(rows: int, size: int, places: int) -> None:
    own, reference, x = state(WIDTH), GhostNorm(size, places), torch.randn(rows * places, WIDTH)
    if len(x) == 1:
        return
    reference.load_state_dict({"weight": own["gain"].detach(), "bias": own["bias"].detach()}, strict=False)
    y = Ghost.apply(x, **own, training=True, size=size, momentum=0.3, epsilon=1e-3, places=places)
    torch.testing.assert_close(y, reference(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(own["mean"], reference.running_mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(own["variance"], reference.running_var, rtol=1e-4, atol=1e-5)


@given(width=st.integers(1, 40), groups=st.integers(1, 64))
def test_groups_fit_the_width(width: int, groups: int) -> None:
    fitting = [n for n in range(1, groups + 1) if width % n == 0 and width // n >= 2] or [1]
    # In float32 two units that happen to be nearly equal are told apart by digits that the two sides round differently.
    x, own = torch.randn(3, width).double(), {name: value.detach().double() for name, value in state(width).items()}
    y = Group.apply(x, **own, training=True, groups=groups, epsilon=1e-5)
    expected = functional.group_norm(x, max(fitting), own["gain"], own["bias"], 1e-5)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("trick", TRICKS, ids=names)
def test_gradients_are_those_of_the_values(trick: NormalizeTrick) -> None:
    x, gain, bias = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 5, 4), (2, 4), (2, 4)))

    def behave(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
        mean, variance = (torch.full((2, 4), value, dtype=torch.float64) for value in (0.0, 1.0))
        return trick.apply(x, gain, bias, mean, variance, True, **dose_values(trick))

    assert torch.autograd.gradcheck(behave, (x, gain, bias))


def test_members_with_other_shared_doses_are_cut_apart() -> None:
    tricks = [Batch(), Batch(momentum=0.3), Batch(momentum=0.3), Layer(), Layer(epsilon=1e-3)]
    assert [len(part) for part in segments(tricks)] == [1, 2, 1, 1]


@pytest.mark.parametrize(
    ("trick", "reference"),
    [
        (Group(groups=4, epsilon=1e-3), nn.GroupNorm(4, WIDTH, eps=1e-3)),
        (Group(groups=1), nn.GroupNorm(1, WIDTH)),
        (Instance(epsilon=1e-2), nn.InstanceNorm2d(WIDTH, eps=1e-2, affine=True)),
    ],
    ids=repr,
)
def test_moments_of_pictures_are_taken_over_the_places_of_their_maps(trick: Group | Instance, reference: nn.Module) -> None:
    maps = torch.randn(3, WIDTH, 4, 5)
    rows = maps.permute(0, 2, 3, 1).reshape(-1, WIDTH)
    own = state(WIDTH)
    reference.load_state_dict({"weight": own["gain"].detach(), "bias": own["bias"].detach()})
    doses = dose_values(trick)
    found = trick.apply(rows, *own.values(), True, places=20, **doses)
    expected = reference(maps)
    torch.testing.assert_close(found.view(3, 4, 5, WIDTH).permute(0, 3, 1, 2), expected, atol=1e-5, rtol=1e-5)
    stacked = {name: torch.stack([tensor.detach(), tensor.detach() + 1]) for name, tensor in own.items()}
    both = trick.apply(torch.stack([rows, rows]), *stacked.values(), True, places=20, **doses)
    torch.testing.assert_close(both[0], found)
