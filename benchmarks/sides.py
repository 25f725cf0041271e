"""One side of `engine.py`: trains a multilayer perceptron with one library and prints how many steps it takes a second.

    python benchmarks/sides.py titrant --width 64 --members 16,32 --seconds 1.5

The network is the same for all: three hidden layers, each linear, batch norm, ReLU, dropout of 0.2; 32 inputs, 10 classes;
batches of 256 out of 8,192 rows; AdamW, the gradient's norm clipped at 1. It prints a JSON line for each number of members with
the member-steps a second. Importing, making the network and the first steps are not in them.

- titrant: a population; two and more members are divided among one lane for each core.
- plain: the loop that people write: one network, data in memory, `AdamW(fused=True)`.
- vmap: `torch.func` by hand: `vmap` of `grad` over stacked weights, AdamW on the stacked tensors.
- lightning, skorch, keras (torch back end): one network, their own loops and loaders.
- peak: billions of floating-point operations a second of large matrix products, the most that a step could reach.

Each side imports what it needs itself, so that none runs under another's settings.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

from common import numbers

ROWS, INPUTS, CLASSES, BATCH, DEPTH, DROPOUT, CLIP, RATE = 8192, 32, 10, 256, 3, 0.2, 1.0, 1e-3
WARM = 10  # calls before the clock starts
BLOCK = 4  # steps that a population takes between two looks at the clock; in a fit it takes tens to hundreds


def flops(width: int) -> float:
    """Floating-point operations of one member's step: three products a layer, two in the first, whose inputs need no slope."""
    sizes = [INPUTS, *[width] * DEPTH, CLASSES]
    return 6.0 * BATCH * sum(one * other for one, other in pairwise(sizes)) - 2.0 * BATCH * INPUTS * width


def data() -> tuple[Any, Any]:
    """Rows and classes, the same for all."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return torch.randn(ROWS, INPUTS, generator=generator), torch.randint(0, CLASSES, (ROWS,), generator=generator)


def network(width: int) -> Any:
    """The network of all sides but Titrant and Keras, which build the same from their own layers."""
    from torch import nn

    layers: list[Any] = []
    for layer in range(DEPTH):
        layers += [nn.Linear(INPUTS if layer == 0 else width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(DROPOUT)]
    return nn.Sequential(*layers, nn.Linear(width, CLASSES))


def rate(step: Callable[[], object], seconds: float, begin: float | None = None) -> float | None:
    """Steps a second after a warm-up; None if that has taken longer than until `begin`."""
    for _ in range(WARM):
        step()
    if begin is not None:
        if time.monotonic() > begin:
            return None
        time.sleep(begin - time.monotonic())
    begun, steps = time.monotonic(), 0
    while time.monotonic() < begun + seconds:
        step()
        steps += 1
    return steps / (time.monotonic() - begun)


# ----------------------------------------------------------------------- sides


def peak(width: int, members: list[int], seconds: float) -> dict[int, float]:
    """Billions of operations a second of products of 1024 by 1024, by all threads."""
    import torch

    one, other = torch.randn(2, 1024, 1024)
    out = torch.empty(1024, 1024)
    found = rate(lambda: torch.mm(one, other, out=out), seconds)
    assert found is not None
    return {1: found * 2 * 1024**3 / 1e9}


def plain(width: int, members: list[int], seconds: float) -> dict[int, float]:
    """The loop that people write."""
    import torch
    from torch import nn

    x, y = data()
    net = network(width)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, fused=True)
    order: list[Any] = []

    def step() -> None:
        if not order:
            order.extend(torch.randperm(ROWS).split(BATCH))
        rows = order.pop()
        loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        optimizer.step()

    found = rate(step, seconds)
    assert found is not None
    return {1: found}


def vmap(width: int, members: list[int], seconds: float) -> dict[int, float]:
    """What a person would write with `torch.func`."""
    import torch
    from torch.func import functional_call, grad, stack_module_state
    from torch.func import vmap as over

    x, y = data()
    found = {}
    for count in members:
        nets = [network(width) for _ in range(count)]
        weights, buffers = stack_module_state(nets)  # type: ignore[arg-type]
        weights = {name: tensor.detach().requires_grad_() for name, tensor in weights.items()}
        base = nets[0]

        def loss(own: Any, running: Any, rows: Any, classes: Any, base: Any = base) -> Any:
            return torch.nn.functional.cross_entropy(functional_call(base, (own, running), (rows,)), classes)

        slopes = over(grad(loss), randomness="different")
        optimizer = torch.optim.AdamW(weights.values(), lr=RATE, fused=True)

        def step(slopes: Any = slopes, weights: Any = weights, buffers: Any = buffers, optimizer: Any = optimizer) -> None:
            rows = torch.randint(0, ROWS, (len(next(iter(weights.values()))), BATCH))
            found = slopes(weights, buffers, x[rows], y[rows])
            norm = sum(slope.flatten(1).square().sum(1) for slope in found.values()).sqrt()
            shorter = (CLIP / (norm + 1e-6)).clamp(max=1.0)
            for name, weight in weights.items():
                weight.grad = found[name] * shorter.view(-1, *[1] * (weight.dim() - 1))
            optimizer.step()

        steps = rate(step, seconds)
        assert steps is not None
        found[count] = steps * count
    return found


def titrant(width: int, members: list[int], seconds: float) -> dict[int, float]:
    """A population in lanes."""
    from titrant.clock import Clock  # isort: skip  # before torch, as in a fit: titrant says how idle threads wait
    import torch

    from titrant.recipe import Recipe
    from titrant.train.hardware import prepare
    from titrant.train.lanes import side_by_side
    from titrant.train.member import Member
    from titrant.train.tables import TableProblem
    from titrant.train.workers import Workers

    recipe = Recipe.of(
        {
            "model": {"kind": "mlp", "width": width, "depth": DEPTH},
            "normalize": "batch",
            "dropout": {"kind": "bernoulli", "p": DROPOUT},
            "clip": {"kind": "norm", "max_norm": CLIP},
            "optimizer": "adamw",
            "batch": {"kind": "fixed", "size": BATCH},
            "stop": {"kind": "last", "epochs": 10_000},
        }
    )
    cpu = torch.device("cpu")
    prepare(recipe.hardware, cpu)
    x, y = data()
    rows = torch.arange(ROWS)
    problem = TableProblem(
        x, torch.zeros(ROWS, 0, dtype=torch.int32), y, (), task="multiclass", classes=CLASSES, rows=rows, device=cpu
    )
    threads = torch.get_num_threads()
    found = {}
    with Workers(threads - 1) as workers:
        for worker in [workers.idle.get(timeout=120) for _ in range(threads - 1)]:
            workers.idle.put(worker)
        for count in members:
            lanes = min(threads, count)
            ends = [round(count * lane / lanes) for lane in range(lanes + 1)]
            stacks = [[Member(k, recipe, k, "bench", rows, rows[:16]) for k in range(*cut)] for cut in pairwise(ends)]
            margin = 1.0
            while count not in found:
                begin = time.monotonic() + margin
                tasks = [partial(_population, problem, stack, Clock.of(3600.0), seconds, begin) for stack in stacks]
                rates = list(side_by_side(tasks, lanes, lanes, workers))
                if None not in rates:
                    found[count] = sum(rate for rate in rates if rate is not None)
                margin *= 2
    return found


def _population(problem: Any, stack: list[Any], clock: Any, seconds: float, begin: float) -> float | None:
    """Member-steps a second of one lane, measured while the others are at work as well."""
    from titrant.train.cohort import Cohort
    from titrant.train.metrics import METRICS

    cohort = Cohort(problem, stack, METRICS["accuracy"], clock)
    blocks = rate(lambda: cohort.train(cohort.step + BLOCK, clock), seconds, begin)
    return None if blocks is None else blocks * BLOCK * len(stack)


def lightning(width: int, members: list[int], seconds: float) -> dict[int, float]:
    """Lightning's trainer, without logging and checkpoints."""
    import warnings

    import lightning as pl
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    class Module(pl.LightningModule):  # type: ignore[misc]  # untyped
        def __init__(self) -> None:
            super().__init__()
            self.net = network(width)

        def training_step(self, batch: Any, place: int) -> Any:
            return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=RATE, fused=True)

    class Timer(pl.Callback):  # type: ignore[misc]  # untyped
        begun = steps = 0.0

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            self.steps += 1
            if self.steps == WARM:
                self.begun = time.monotonic()
            if self.steps > WARM and time.monotonic() > self.begun + seconds:
                self.rate = (self.steps - WARM) / (time.monotonic() - self.begun)
                trainer.should_stop = True
                trainer.limit_train_batches = 0

    warnings.simplefilter("ignore")
    timer = Timer()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=-1, min_epochs=0, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[timer], gradient_clip_val=CLIP,
    )  # fmt: skip
    trainer.fit(Module(), DataLoader(TensorDataset(*data()), BATCH, shuffle=True, drop_last=True))
    return {1: timer.rate}


def skorch(width: int, members: list[int], seconds: float) -> dict[int, float]:
    """skorch's classifier, without a validation split."""
    import torch
    from skorch import NeuralNetClassifier
    from skorch.callbacks import Callback, GradientNormClipping

    class Timer(Callback):  # type: ignore[misc]  # untyped
        begun = steps = rate = 0.0

        def on_batch_end(self, net: Any, **_: Any) -> None:
            self.steps += 1
            if self.steps == WARM:
                self.begun = time.monotonic()
            if self.steps > WARM and time.monotonic() > self.begun + seconds:
                self.rate = (self.steps - WARM) / (time.monotonic() - self.begun)
                raise KeyboardInterrupt  # which skorch takes as the end of training

    timer = Timer()
    net = NeuralNetClassifier(
        network(width), criterion=torch.nn.CrossEntropyLoss, optimizer=torch.optim.AdamW, optimizer__fused=True, lr=RATE,
        max_epochs=100_000, batch_size=BATCH, iterator_train__shuffle=True, train_split=None, verbose=0,
        callbacks=[timer, GradientNormClipping(CLIP)],
    )  # fmt: skip
    net.fit(*data())
    return {1: timer.rate}


def keras(width: int, members: list[int], seconds: float) -> dict[int, float]:
    """Keras on torch."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras as k

    layers: list[Any] = [k.Input((INPUTS,))]
    for _ in range(DEPTH):
        layers += [k.layers.Dense(width), k.layers.BatchNormalization(), k.layers.ReLU(), k.layers.Dropout(DROPOUT)]
    model = k.Sequential([*layers, k.layers.Dense(CLASSES)])
    model.compile(
        k.optimizers.AdamW(RATE, global_clipnorm=CLIP), k.losses.SparseCategoricalCrossentropy(from_logits=True)
    )  # fmt: skip

    class Timer(k.callbacks.Callback):  # type: ignore[misc]  # untyped
        begun = steps = rate = 0.0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.steps += 1
            if self.steps == WARM:
                self.begun = time.monotonic()
            if self.steps > WARM and not self.rate and time.monotonic() > self.begun + seconds:
                self.rate = (self.steps - WARM) / (time.monotonic() - self.begun)
                self.model.stop_training = True

    timer = Timer()
    x, y = data()
    model.fit(x.numpy(), y.numpy(), batch_size=BATCH, epochs=100_000, verbose=0, callbacks=[timer])
    return {1: timer.rate}


SIDES = {side.__name__: side for side in (titrant, plain, vmap, lightning, skorch, keras, peak)}


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("side", choices=SIDES)
    found.add_argument("--width", type=int, default=64, help="units of a hidden layer (default: 64)")
    found.add_argument("--members", type=numbers, default=[1], help="networks at a time, for titrant and vmap (default: 1)")
    found.add_argument("--seconds", type=float, default=1.5, help="for each number of members (default: 1.5)")
    return found


def main() -> None:
    """Measures."""
    given = parser().parse_args()
    try:
        found = SIDES[given.side](given.width, given.members, given.seconds)
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is not installed here")
    for members, value in found.items():
        print(json.dumps({"members": members, "rate": value}), flush=True)


if __name__ == "__main__":
    from sides import main as imported  # under its own name, which worker processes can import

    imported()
