"""What only a GPU can show: `make test-gpu`. Elsewhere all of it is skipped."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.doctor.test_attach_recipe import QUICK, data

import titrant
from titrant import samples
from titrant.clock import Clock
from titrant.data.learnable import Learnable
from titrant.recipe import Recipe, slots
from titrant.record import Summary
from titrant.train.cohort import Cohort
from titrant.train.kinds import problem_of
from titrant.train.member import Member
from titrant.train.metrics import metric_for
from titrant.train.team import Leader
from titrant.train.workers import Shared

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

GPU, CPU = torch.device("cuda"), torch.device("cpu")
MODELS = [
    (reads, kind.name())
    for reads in ("table", "image", "series", "text")
    for kind in slots()["model"]
    if reads in kind.reads and kind.name() != "custom"
]


def cohort(dataset: Learnable, recipe: Recipe, device: torch.device = GPU, seeds: tuple[int, ...] = (3,)) -> Cohort:
    split = dataset.split
    rows = torch.cat([split.train, split.validation]).sort().values.to(device)
    problem = problem_of(dataset, rows, device)
    train, validation = split.train.to(device), split.validation.to(device)
    members = [Member(place, recipe, seed, "test", train, validation) for place, seed in enumerate(seeds)]
    return Cohort(problem, members, metric_for(dataset.schema.task), Clock.of(3600.0))


def trained(found: Cohort, steps: int | None = None) -> Cohort:
    assert found.advance(found.steps if steps is None else steps, Clock.of(3600.0))
    return found


@pytest.mark.parametrize(("reads", "kind"), MODELS, ids=[f"{reads}-{kind}" for reads, kind in MODELS])
def test_every_network_learns_there_what_it_learns_on_the_cpu(reads: str, kind: str) -> None:
    """The order of rows and the first weights differ by device, so losses are near, not equal."""
    recipe = QUICK.replace("model", kind)
    there, here = trained(cohort(data(reads), recipe)), trained(cohort(data(reads), recipe, CPU))
    assert there.weights.flat.device.type == "cuda"
    assert there.trained(0).network is not None
    losses = [one.histories[0].best_loss for one in (there, here)]
    assert losses[0] == pytest.approx(losses[1], abs=0.3)


def test_a_stack_equals_separate_runs() -> None:
    recipe = QUICK.replace("dropout", "bernoulli").replace("normalize", "batch")
    together = trained(cohort(data("table"), recipe, seeds=(3, 4, 5)), 5)
    for place, seed in enumerate((3, 4, 5)):
        alone = trained(cohort(data("table"), recipe, seeds=(seed,)), 5)
        torch.testing.assert_close(together.weights.flat[place], alone.weights.flat[0], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_precisions_have_the_same_losses(precision: str) -> None:
    one, other = (trained(cohort(data("table"), QUICK.replace("hardware.precision", kind))) for kind in (precision, "auto"))
    assert one.histories[0].best_loss == pytest.approx(other.histories[0].best_loss, rel=0.05)


def test_a_cohort_comes_back_from_a_cpu_as_it_was() -> None:
    """As between the GPU of a cluster and the command: to the CPU, where its best is kept, and back."""
    recipe = QUICK.replace("dropout", "bernoulli")
    whole = trained(cohort(data("table"), recipe))
    half = trained(cohort(data("table"), recipe), whole.steps // 2)
    there, here = Shared(GPU), Shared(CPU)

    def moved(one: Shared, other: Shared, thing: Any) -> Any:
        definitions, message = one.pack(thing)
        for definition in definitions:
            other.define(definition)
        return other.unpack(message)

    rested = moved(there, here, half)
    assert rested.weights.flat.device.type == rested.problem.device.type == "cpu"
    assert rested.trained(0).network is not None
    back = moved(here, there, rested)
    assert back.weights.flat.device.type == back.members[0].rows.device.type == "cuda"
    trained(back)
    torch.testing.assert_close(back.weights.flat, whole.weights.flat, rtol=1e-3, atol=1e-5)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two GPUs here")
def test_two_gpus_take_one_step_together() -> None:
    recipe = QUICK.replace("dropout", "off")
    with Leader(2, torch.device("cuda", 0)):
        many = trained(cohort(data("table"), recipe))
    torch.testing.assert_close(many.weights.flat, trained(cohort(data("table"), recipe)).weights.flat, rtol=1e-3, atol=1e-5)


def test_a_fit_uses_it(tmp_path: Path) -> None:
    run = titrant.fit(samples.path("penguins"), "species", budget="60s", members=6, out=tmp_path / "run")
    assert Summary.read(run.folder / "summary.json").machine["device"] == "cuda"
    assert (run.summary.score_test or 0) > 0.9


def test_what_its_memory_does_not_hold_is_computed_in_parts() -> None:
    recipe = QUICK.replace("batch.size", 160).replace("model.width", 512)
    found = cohort(data("table"), recipe)
    free, _ = torch.cuda.mem_get_info()
    trained(found, 1)
    kept = torch.empty(max(0, free - (64 << 20)), dtype=torch.uint8, device=GPU)
    large = replace(found.members[0], recipe=recipe.replace("model.width", 4096))
    trained(Cohort(found.problem, [large], found.metric, Clock.of(3600.0)), 2)
    del kept
