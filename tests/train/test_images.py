"""Pictures as a problem: what is gathered, what members see, and that a network learns from it."""

import numpy as np
import pytest
import torch
from torch import Tensor

from titrant.clock import Clock
from titrant.models.image import last
from titrant.recipe import Recipe
from titrant.train.cohort import Cohort
from titrant.train.images import ImageProblem, SeenPixels
from titrant.train.member import Member
from titrant.train.metrics import metric_for
from titrant.train.problem import Inputs
from titrant.tricks.acting import Ledger, Streams
from titrant.tricks.augment_resize import Progressive
from titrant.tricks.data import Data

CPU = torch.device("cpu")


def problem_of(channels: int = 1, rows: int = 120) -> ImageProblem:
    """Noise with a bright bar that lies or stands."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 120, (rows, 10, 10, channels))
    target = np.arange(rows) % 2
    for row in range(rows):
        at = random.integers(2, 8)
        bar = pixels[row, at] if target[row] else pixels[row, :, at]
        bar += 130
    return ImageProblem(torch.tensor(pixels, dtype=torch.uint8), torch.tensor(target), "binary", 2, torch.arange(80), CPU)


def seen(problem: ImageProblem, augment: list[dict[str, object]], rows: Tensor) -> tuple[Tensor, Tensor, Ledger]:
    members = [Member(k, Recipe.of({"augment": a}), k, "test", problem.rows, problem.rows) for k, a in enumerate(augment)]
    ledger = Ledger(len(members), CPU)
    gathered = problem.encoded(Data(), problem.rows).inputs[0][rows].expand(len(members), -1, -1, -1, -1)
    before = problem.ready((gathered,))
    (after,) = problem.seen_by(members, Streams(range(len(members)), CPU), ledger).augmented(
        (gathered,), rows.expand(len(members), -1)
    )
    return before[0][0], after, ledger


def test_nothing_is_done_to_pictures_without_augmentation() -> None:
    problem = problem_of(3)
    rows = torch.tensor([3, 0, 7])
    before, after, _ = seen(problem, [{}], rows)
    assert torch.equal(after[0], before)
    torch.testing.assert_close(before, problem.pixels[rows].permute(0, 3, 1, 2).double().div(255).float())


def test_flips_are_exact_and_as_common_as_their_dose() -> None:
    problem = problem_of(3)
    rows = torch.arange(120)
    before, after, ledger = seen(problem, [{"flip": {"p": 1.0}}, {"flip": {"p": 0.3}}, {}], rows)
    assert torch.equal(after[0], before.flip(-1))
    assert torch.equal(after[2], before)
    same = (after[1] == before).flatten(1).all(1)
    assert torch.equal(after[1][~same], before.flip(-1)[~same])
    assert 0.15 < (~same).float().mean() < 0.45
    assert ledger.read()["augment.flip"] == ([120, float((~same).sum()), 0], [120, 120, 0])


def test_shifts_are_whole_pixels_within_their_share_and_mirror_the_edge() -> None:
    problem = problem_of()
    rows = torch.arange(120)
    before, after, _ = seen(problem, [{"shift": {"share": 0.2}}], rows)
    padded = torch.nn.functional.pad(before, (2, 2, 2, 2), mode="reflect")
    moves = set()
    for row in rows:
        found = [
            (down, across)
            for down in range(5)
            for across in range(5)
            if torch.equal(after[0, row], padded[row, :, down : down + 10, across : across + 10])
        ]
        assert len(found) == 1
        moves.add(found[0])
    assert {down for down, _ in moves} == {across for _, across in moves} == set(range(5))


def test_pictures_are_smaller_at_first_and_whole_at_the_end() -> None:
    problem = problem_of(3)
    resize = {"kind": "progressive", "low": 0.5, "hold": 0.5, "until": 0.5}
    members = [Member(k, Recipe.of({"augment": {"resize": resize}}), k, "test", problem.rows, problem.rows) for k in range(2)]
    ledger = Ledger(2, CPU)
    what = problem.seen_by(members, Streams([0, 1], CPU), ledger)
    pixels = problem.encoded(Data(), problem.rows).inputs[0][:6].expand(2, -1, -1, -1, -1)
    turns = torch.zeros(2, 6, dtype=torch.int64)
    (whole,), (small,) = what.augmented((pixels,), turns), what.augmented((pixels,), turns, 0.2)
    assert whole.shape == (2, 6, 3, 10, 10)
    assert torch.equal(whole, problem.ready((pixels,))[0])
    assert torch.equal(small, Progressive.shrunk(whole, (8, 8)))
    assert last(small).is_contiguous()
    assert ledger.read()["augment.resize"] == ([6, 6], [12, 12])


@pytest.mark.parametrize("normalize", ["batch", "group"])
@pytest.mark.parametrize("kind", ["cnn", "resnet", "convnext", "vit"])
def test_every_network_trains_on_pictures_that_grow(kind: str, normalize: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(1)
    recipe = Recipe.of(
        {
            "model": {"kind": kind, "width": 8},
            "normalize": normalize,
            "augment": {"resize": {"low": 0.4, "hold": 0.3, "until": 0.7}},
            "mix": "cutmix",
            "data": {"whiten": "patches"},
            "batch": {"kind": "fixed", "size": 20},
            "stop": {"kind": "last", "epochs": 3},
        }
    )
    members = [Member(k, recipe, k, "test", problem.rows, torch.arange(80, 120)) for k in range(2)]
    cohort = Cohort(problem, members, metric_for("binary"), Clock.of(600))
    sides = []
    original = SeenPixels.cut
    monkeypatch.setattr(SeenPixels, "cut", lambda self, x, share: sides.append(x[0].shape[-1]) or original(self, x, share))
    assert cohort.advance(cohort.steps, Clock.of(600))
    assert sides == sorted(sides)
    assert set(sides) == {4, 8, 10}
    assert cohort.predictions(torch.arange(80, 120).expand(2, -1)).isfinite().all()
    (receipt,) = [receipt for receipt in cohort.receipts(0) if receipt.trick == "augment.resize"]
    assert (receipt.acted, receipt.seen) == (20, 20)
    assert cohort.work(0, 1) == pytest.approx(20 * 0.16)
    assert cohort.work(cohort.steps - 1, cohort.steps) == 20


def test_cutmix_exchanges_boxes_and_says_how_much_stays() -> None:
    problem = problem_of(3)
    members = [
        Member(k, Recipe.of({"mix": mix}), k, "test", problem.rows, problem.rows) for k, mix in enumerate(("off", "cutmix"))
    ]
    (pixels,) = problem.ready((problem.encoded(Data(), problem.rows).inputs[0][:60].expand(2, -1, -1, -1, -1),))
    what = problem.seen_by(members, Streams([0, 1], CPU), Ledger(2, CPU))
    (mixed,), own = what.cut((pixels,), torch.tensor([[1.0], [0.6]]))
    assert torch.equal(mixed[0], pixels[0])
    assert own[0].eq(1).all()
    theirs = (mixed[1] != pixels[1]).any(1)
    assert torch.equal(torch.where(theirs.unsqueeze(1), pixels[1].roll(1, dims=0), pixels[1]), mixed[1])
    torch.testing.assert_close(own[1], 1 - theirs.float().mean((1, 2)), atol=0.021, rtol=0)  # equal neighbours hide an exchange
    assert 0.5 <= own[1].min() <= own[1].max() < 1
    for box in theirs:
        down, across = box.any(1).nonzero().flatten(), box.any(0).nonzero().flatten()
        assert box[down[0] : down[-1] + 1, across[0] : across[-1] + 1].float().mean() > 0.9


@pytest.mark.parametrize("model", [{"kind": "cnn", "width": 8}, {"kind": "resnet", "width": 8}])
def test_networks_learn_and_predict_what_they_predicted_in_training(model: dict[str, object]) -> None:
    problem = problem_of(3)
    recipe = Recipe.of(
        {
            "model": model,
            "augment": {"flip": "flip", "shift": "shift", "views": "mirror"},
            "normalize": "batch",
            "batch": {"kind": "fixed", "size": 16},
            "optimizer": "muon",
            "learning_rate": {"peak": 0.03},
            "stop": {"kind": "last", "epochs": 12},
        }
    )
    held_out = torch.arange(80, 120)
    cohort = Cohort(problem, [Member(0, recipe, 0, "test", problem.rows, held_out)], metric_for("binary"), Clock.of(600))
    cohort.advance(cohort.steps, Clock.of(600))
    assert cohort.histories[0].best >= 0.95
    trained = cohort.trained(0)
    torch.testing.assert_close(problem.predicted(trained.network, trained.encoder, held_out), cohort.held_out_predictions(0))
    assert not [receipt for receipt in cohort.receipts(0) if receipt.never_acted and not receipt.trick.startswith("data")]


def test_evaluations_take_a_small_share_of_the_time() -> None:
    problem = problem_of()
    assert problem.evaluations(trained=50_000, judged=12_000) == 1
    assert problem.evaluations(trained=800_000, judged=7_500) == 16
    assert problem.evaluations(trained=10**9, judged=10) == 40


def test_turns_are_the_rows_numbers_plus_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of()
    recipe = Recipe.of(
        {"model": {"kind": "cnn", "width": 4}, "batch": {"kind": "fixed", "size": 16}, "stop": {"kind": "last", "epochs": 3}}
    )
    cohort = Cohort(problem, [Member(0, recipe, 0, "test", problem.rows, problem.rows)], metric_for("binary"), Clock.of(600))
    found: list[Tensor] = []

    def augmented(self: SeenPixels, inputs: Inputs, turns: Tensor, progress: float) -> Inputs:
        found.append(turns)
        return problem.ready(inputs)

    monkeypatch.setattr(SeenPixels, "augmented", augmented)
    cohort.train(15, Clock.of(600))
    for epoch in range(3):
        seen_rows = torch.cat(found[5 * epoch : 5 * epoch + 5], 1) - epoch
        assert torch.equal(seen_rows.sort(1).values, problem.rows.unsqueeze(0))
