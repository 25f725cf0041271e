"""Mixing: the blend of rows, the shares of targets, and the loss that a member really takes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor
from torch.nn import functional

from titrant.recipe import Recipe
from titrant.record import Task
from titrant.train.member import Member
from titrant.train.objective import Objective
from titrant.train.tables import TableProblem
from titrant.tricks.acting import Ledger, Streams
from titrant.tricks.mix import CutMix, Mixup

CPU = torch.device("cpu")
ROWS, NUMBERS, CODES, CLASSES = 24, 3, 2, 3


@given(share=st.floats(0.5, 1.0, width=32))
def test_mixup_blends_each_row_with_its_neighbour(share: float) -> None:
    z = torch.randn(2, 5, 3)
    mixed = Mixup.apply(z, torch.tensor([[share], [1.0]])).double().numpy()
    wide = z.double().numpy()
    np.testing.assert_allclose(mixed[0], share * wide[0] + (1 - share) * np.roll(wide[0], 1, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(mixed[1], wide[1])


def test_mixup_of_a_plain_batch_equals_that_of_a_stack() -> None:
    z = torch.randn(5, 3)
    assert torch.equal(Mixup.apply(z, torch.tensor([0.7])), Mixup.apply(z[None], torch.tensor([[0.7]]))[0])


def cells() -> tuple[Tensor, Tensor]:
    """Numbers and codes of one member, all different in a column."""
    numbers = torch.randperm(ROWS * NUMBERS).float().view(1, ROWS, NUMBERS)
    return numbers, torch.randperm(ROWS * CODES).int().view(1, ROWS, CODES)


@given(share=st.floats(0.5, 1.0, width=32))
def test_cutmix_takes_whole_cells_and_counts_those_that_stay(share: float) -> None:
    numbers, codes = cells()
    noise = torch.rand(1, ROWS, NUMBERS + CODES)
    new_numbers, new_codes, kept = CutMix.apply(numbers, codes, noise, torch.tensor([[share]]))
    before = torch.cat([numbers, codes], -1)[0].numpy()
    after = torch.cat([new_numbers, new_codes], -1)[0].numpy()
    taken = noise[0].numpy() >= share
    np.testing.assert_array_equal(after, np.where(taken, np.roll(before, 1, axis=0), before))
    np.testing.assert_allclose(kept[0].numpy(), 1 - taken.mean(1), rtol=1e-6)


def test_cutmix_of_share_one_changes_nothing() -> None:
    numbers, codes = cells()
    new_numbers, new_codes, kept = CutMix.apply(numbers, codes, torch.rand(1, ROWS, NUMBERS + CODES), torch.ones(1, 1))
    assert torch.equal(new_numbers, numbers)
    assert torch.equal(new_codes, codes)
    assert torch.equal(kept, torch.ones(1, ROWS))


# ----------------------------------------------------------------------------------------------------------- the member's loss


def objective(task: Task, mixes: list[object], steps: int = 8) -> tuple[Objective, Ledger]:
    problem = TableProblem(
        numbers=torch.zeros(ROWS, NUMBERS),
        codes=torch.zeros(ROWS, CODES, dtype=torch.int32),
        target=torch.zeros(ROWS) if task == "regression" else torch.arange(ROWS) % CLASSES,
        cardinalities=(ROWS * CODES,) * CODES,
        task=task,
        classes=CLASSES,
        rows=torch.arange(ROWS),
        device=CPU,
    )
    rows = torch.arange(ROWS)
    members = [Member(k, Recipe.of({"mix": mix}), k, "test", rows, rows) for k, mix in enumerate(mixes)]
    ledger = Ledger(len(members), CPU)
    return Objective(problem, members, steps, Streams([0] * len(members), CPU), ledger), ledger


def expected_loss(task: Task, outputs: Tensor, target: Tensor, own: Tensor) -> float:
    """With soft targets, as the papers write it; for values the two weighted squares. In float64."""
    outputs, own = outputs.double(), own.double().unsqueeze(-1)
    if task == "regression":
        error, other = outputs - target.unsqueeze(-1), outputs - target.roll(1).unsqueeze(-1)
        return float((own * error.square() + (1 - own) * other.square()).mean())
    hot = functional.one_hot(target, CLASSES).double()
    return float(functional.cross_entropy(outputs, own * hot + (1 - own) * hot.roll(1, dims=0)))


@pytest.mark.parametrize("task", ["multiclass", "regression"])
@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_targets_are_mixed_in_the_same_shares_as_rows(task: Task, kind: str) -> None:
    mixing, ledger = objective(task, ["off", {"kind": kind, "alpha": 2.0}, "off"])
    numbers, codes = (part.expand(3, -1, -1) for part in cells())
    target = torch.randn(3, ROWS) if task == "regression" else torch.randint(0, CLASSES, (3, ROWS))
    outputs = torch.randn(3, ROWS, 1 if task == "regression" else CLASSES)
    seen: list[Tensor] = []

    def forward(inputs: tuple[Tensor, ...], mixer: object) -> Tensor:
        features = torch.cat(inputs, -1)
        seen.append(mixer(features) if callable(mixer) else features)
        return outputs

    losses = mixing.losses(forward, (numbers.clone(), codes.clone()), target, torch.zeros(1, 1), 1, 3)
    before = torch.cat([numbers, codes], -1)
    (after,) = seen
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    if kind == "mixup":
        share = (after[1] - before[1].roll(1, dims=0))[0, 0] / (before[1] - before[1].roll(1, dims=0))[0, 0]
        assert 0.5 <= share <= 1
        own = share.expand(ROWS)
        torch.testing.assert_close(after[1], share * before[1] + (1 - share) * before[1].roll(1, dims=0), rtol=1e-4, atol=1e-3)
    else:
        own = (after[1] == before[1]).double().mean(-1)
    for k, shares in enumerate((torch.ones(ROWS), own, torch.ones(ROWS))):
        assert losses[k].item() == pytest.approx(expected_loss(task, outputs[k], target[k], shares), rel=1e-4)
    acted, counted = ledger.read()["mix"]
    assert acted == [0, int((own < 1).sum()), 0]
    assert counted == [0, ROWS, 0]


def test_shares_follow_the_folded_beta_distribution() -> None:
    steps, alpha = 2000, 0.4
    mixing, _ = objective("regression", [{"kind": "mixup", "alpha": alpha}], steps)
    row = torch.zeros(1, 2, 1)
    row[0, 0] = 1.0
    shares: list[float] = []

    def forward(inputs: tuple[Tensor, ...], mixer: object) -> Tensor:
        assert callable(mixer)
        shares.append(mixer(row)[0, 0, 0].item())
        return torch.zeros(1, 2, 1)

    for step in range(steps):
        mixing.losses(
            forward, (torch.zeros(1, 2, 1), torch.zeros(1, 2, 0).int()), torch.zeros(1, 2), torch.zeros(1, 2), 1, step
        )
    beta = stats.beta(alpha, alpha)
    assert stats.kstest(shares, lambda x: beta.cdf(x) - beta.cdf(1 - np.asarray(x))).pvalue > 1e-3
