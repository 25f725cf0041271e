"""The other sides of `images.py`: each trains on the same pictures for the same wall clock and writes its predictions.

    python benchmarks/image_peer.py fastai train.npz blind.npz --budget 300 --seed 0 --out predictions.csv

- keras: the small convolutional network of the tutorial "Simple MNIST convnet" at keras.io: two convolutions, dropout, Adam,
  batches of 128; trained for as long as there is time, the weights of the best validation epoch kept.
- tuner: KerasTuner's Hyperband over such networks (filters, convolutions a stage, batch norm, units, dropout, optimizer, rate)
  for two thirds of the time, then the best of them, trained like `keras` for the rest.
- fastai: what `vision_learner(dls, xresnet18, pretrained=False)` and `fit_one_cycle` do: that network, Adam as fastai sets it,
  its one cycle of rate and momentum, flips, rotation, zoom and lighting as in `aug_transforms`, label smoothing.
- timm: its ResNet-18 and the ingredients of timm's recipes for training from nothing:
  AdamW, warm-up and cosine, random resized crops, flips, random erasing, mixup and cutmix, label smoothing, EMA.

fastai and timm need torchvision, which the development machine cannot install, so their recipes are written out here in
PyTorch, and `fastai` lacks the package's perspective warp. Their schedules run over the time rather than over epochs, so that
each is complete, whatever the machine. Photos are read at 64 by 64 pixels; decoding them is in the time.

Every side holds a tenth of the training pictures out if it needs to choose anything, and none sees a test label.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

PHOTO = 64  # pixels of a side to which photos are brought
BATCH = 128
SEARCHING = 0.66  # share of the time in which the tuner searches

BEGUN = time.monotonic()

Predict = Callable[[], "np.ndarray[Any, Any]"]
"""Class probabilities [m, c] of the pictures to predict, by a trained model."""


@dataclass
class Task:
    """Pictures to learn from and to predict.

    Args:
        x: uint8 [n, h, w, c].
        y: int64 [n], positions in `labels`.
        blind: uint8 [m, h, w, c].
        labels: as they stood in the data.
        end: when training must be over, on the scale of `time.monotonic`.
        seed: of all random choices.
    """

    x: "np.ndarray[Any, Any]"
    y: "np.ndarray[Any, Any]"
    blind: "np.ndarray[Any, Any]"
    labels: "np.ndarray[Any, Any]"
    end: float
    seed: int

    @property
    def left(self) -> float:
        """Seconds until training must be over."""
        return self.end - time.monotonic()


def pictures(file: Path) -> tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any] | None"]:
    """Pixels [n, h, w, c] and labels of an .npz file, or of the photos that a CSV table names in its columns path and label."""
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as arrays:
            x, y = arrays["x"], arrays.get("y")
        return x if x.ndim == 4 else x[..., None], y
    import polars as pl

    table = pl.read_csv(file, schema_overrides={"label": pl.String})
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        x = np.stack(list(pool.map(lambda path: photo(file.parent / path), table["path"])))
    return x, table["label"].to_numpy() if "label" in table.columns else None


def photo(path: Path) -> "np.ndarray[Any, Any]":
    """A photo, upright, at a fixed size: uint8 [64, 64, 3]."""
    from PIL import Image, ImageOps

    with Image.open(path) as file:
        return np.asarray(ImageOps.exif_transpose(file).convert("RGB").resize((PHOTO, PHOTO), Image.Resampling.BILINEAR))


def apart(task: Task) -> tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]:
    """Rows to train on and a tenth to choose by."""
    order = np.random.default_rng(task.seed).permutation(len(task.y))
    held_out = max(1, len(order) // 10)
    return order[held_out:], order[:held_out]


# ----------------------------------------------------------------------- Keras


def keras(task: Task) -> Predict:
    """The tutorial's network."""
    k = _keras(task)
    layers = k.layers
    model = k.Sequential(
        [
            k.Input(task.x.shape[1:]), layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(2),
            layers.Flatten(), layers.Dropout(0.5), layers.Dense(len(task.labels), activation="softmax"),
        ]
    )  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    _train(k, model, task, task.end)
    return lambda: np.asarray(model.predict(task.blind, batch_size=512, verbose=0))


def tuner(task: Task) -> Predict:
    """Hyperband, then the best network."""
    k = _keras(task)
    import keras_tuner

    def build(choose: Any) -> Any:
        layers = [k.Input(task.x.shape[1:]), k.layers.Rescaling(1 / 255)]
        norm, deep = choose.Boolean("batch_norm"), choose.Int("convolutions", 1, 2)
        width = choose.Choice("filters", [16, 32, 48])
        for stage in range(2 if min(task.x.shape[1:3]) < 48 else 3):
            for _ in range(deep):
                layers.append(k.layers.Conv2D(width << stage, 3, padding="same", use_bias=not norm))
                layers += [k.layers.BatchNormalization()] if norm else []
                layers.append(k.layers.ReLU())
            layers.append(k.layers.MaxPooling2D(2))
        layers += [k.layers.Flatten(), k.layers.Dropout(choose.Float("dropout", 0.0, 0.6, step=0.1))]
        units = choose.Choice("units", [0, 64, 128])
        layers += [k.layers.Dense(units, activation="relu")] if units else []
        model = k.Sequential([*layers, k.layers.Dense(len(task.labels), activation="softmax")])
        rate = choose.Float("rate", 1e-4, 1e-2, sampling="log")
        optimizer = {"adam": k.optimizers.Adam, "sgd": lambda r: k.optimizers.SGD(10 * r, 0.9, nesterov=True)}
        model.compile(
            optimizer[choose.Choice("optimizer", ["adam", "sgd"])](rate),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        return model

    class OverError(keras_tuner.errors.FatalError):
        """The search's share of the time has passed."""

    class Ends(k.callbacks.Callback):  # type: ignore[misc]  # untyped
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if time.monotonic() > until:
                raise OverError

    until = time.monotonic() + SEARCHING * task.left
    rows, held_out = apart(task)
    with tempfile.TemporaryDirectory() as folder:
        search = keras_tuner.Hyperband(
            build, "val_accuracy", max_epochs=9, factor=3, hyperband_iterations=100, seed=task.seed, directory=folder,
            project_name="search",
        )  # fmt: skip
        with suppress(OverError):
            search.search(
                task.x[rows], task.y[rows], validation_data=(task.x[held_out], task.y[held_out]), batch_size=BATCH, verbose=0,
                callbacks=[Ends()],
            )  # fmt: skip
        done = search.oracle.get_best_trials(1)
        model = build(done[0].hyperparameters if done else keras_tuner.HyperParameters())
    _train(k, model, task, task.end)
    return lambda: np.asarray(model.predict(task.blind, batch_size=512, verbose=0))


def _keras(task: Task) -> Any:
    """Keras on TensorFlow where that is installed, which is several times faster than on PyTorch on a CPU."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow" if find_spec("tensorflow") else "torch")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras as k

    k.utils.set_random_seed(task.seed)
    return k


def _train(k: Any, model: Any, task: Task, end: float) -> None:
    """Trains until the time is over, and goes back to the weights of the best validation epoch."""

    class Ends(k.callbacks.Callback):  # type: ignore[misc]  # untyped
        best, weights = -1.0, None

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if time.monotonic() > end:
                self.model.stop_training = True

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if logs["val_accuracy"] > self.best:
                self.best, self.weights = logs["val_accuracy"], self.model.get_weights()

    rows, held_out = apart(task)
    ends = Ends()
    model.fit(
        task.x[rows], task.y[rows], validation_data=(task.x[held_out], task.y[held_out]), batch_size=BATCH, epochs=100_000,
        verbose=0, callbacks=[ends],
    )  # fmt: skip
    if ends.weights is not None:
        model.set_weights(ends.weights)


# --------------------------------------------------------------------- PyTorch


def fastai(task: Task) -> Predict:
    """xresnet18 and one cycle."""
    import torch
    from torch import nn

    stem = [_layer(torch, task.x.shape[-1], 32, stride=2), _layer(torch, 32, 32), _layer(torch, 32, 64)]
    net = _resnet(torch, [*stem, nn.MaxPool2d(3, 2, 1)], len(task.labels), averaged_shortcuts=True)

    def cosine(begin: float, end: float, share: float) -> float:
        return end + (begin - end) * (1 + math.cos(math.pi * share)) / 2

    def settings(at: float) -> dict[str, Any]:  # lr_max 1e-3, div 25, div_final 1e5, pct_start 0.25
        if at < 0.25:
            rate, momentum = cosine(1e-3 / 25, 1e-3, at / 0.25), cosine(0.95, 0.85, at / 0.25)
        else:
            rate, momentum = cosine(1e-3, 1e-8, (at - 0.25) / 0.75), cosine(0.85, 0.95, (at - 0.25) / 0.75)
        return {"lr": rate, "betas": (momentum, 0.99)}

    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, betas=(0.95, 0.99), eps=1e-5, weight_decay=0.01)
    mirrored = task.x.shape[-1] == 3  # of digits and signs a mirror image is another one; of photos it is not

    def augmented(x: Any, y: Any) -> tuple[Any, Any]:
        count = len(x)
        often = torch.rand(2, count) < 0.75
        turn = torch.where(often[0], (torch.rand(count) * 2 - 1) * math.radians(10), 0.0)
        zoom = torch.where(often[1], 1 / (1 + 0.1 * torch.rand(count)), 1.0)
        flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0) if mirrored else torch.ones(count)
        cos, sin, zero = zoom * turn.cos(), zoom * turn.sin(), torch.zeros(count)
        matrix = torch.stack([torch.stack([cos * flip, -sin, zero], 1), torch.stack([sin * flip, cos, zero], 1)], 1)
        places = nn.functional.affine_grid(matrix, list(x.shape), align_corners=False)
        x = nn.functional.grid_sample(x, places, padding_mode="reflection", align_corners=False)
        light, contrast = (torch.rand(2, count, 1, 1, 1) - 0.5) * 0.4
        return (x + light) * (1 + contrast), y

    _fit(torch, net, optimizer, settings, augmented, task)
    return lambda: _predicted(torch, net, task)


def timm(task: Task) -> Predict:
    """ResNet-18 and the ingredients of timm's recipes."""
    import torch
    from torch import nn

    stem = [_layer(torch, task.x.shape[-1], 64, 7, stride=2), nn.MaxPool2d(3, 2, 1)]
    net = _resnet(torch, stem, len(task.labels), averaged_shortcuts=False)

    def nearer(mean: Any, now: Any, count: Any) -> Any:
        return mean.lerp(now, 1 - min(0.998, (1 + int(count)) / (10 + int(count)))) if now.is_floating_point() else now

    mean = torch.optim.swa_utils.AveragedModel(net, avg_fn=nearer, use_buffers=True)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.05)

    def settings(at: float) -> dict[str, Any]:
        return {"lr": 2e-3 * (at / 0.05 if at < 0.05 else (1 + math.cos(math.pi * (at - 0.05) / 0.95)) / 2)}

    mirrored = task.x.shape[-1] == 3

    def augmented(x: Any, y: Any) -> tuple[Any, Any]:
        count, side = len(x), x.shape[-1]
        scale = (0.5 + 0.5 * torch.rand(count)).sqrt()
        shift = (torch.rand(count, 2) * 2 - 1) * (1 - scale).unsqueeze(1)
        flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0) if mirrored else torch.ones(count)
        zero = torch.zeros(count)
        matrix = torch.stack([torch.stack([scale * flip, zero, shift[:, 0]], 1), torch.stack([zero, scale, shift[:, 1]], 1)], 1)
        x = nn.functional.grid_sample(
            x, nn.functional.affine_grid(matrix, list(x.shape), align_corners=False), align_corners=False
        )
        edge = side // 4
        for row in (torch.rand(count) < 0.25).nonzero().flatten().tolist():  # random erasing
            top, left = torch.randint(0, side - edge, (2,)).tolist()
            x[row, :, top : top + edge, left : left + edge] = torch.randn(x.shape[1], edge, edge)
        soft = nn.functional.one_hot(y, len(task.labels)) * 0.9 + 0.1 / len(task.labels)
        other = torch.randperm(count)
        if torch.rand(()) < 0.5:
            own = float(np.random.beta(0.2, 0.2))
            return own * x + (1 - own) * x[other], own * soft + (1 - own) * soft[other]
        own = float(np.random.beta(1.0, 1.0))
        cut = int(side * math.sqrt(1 - own))
        top, left = torch.randint(0, side - cut + 1, (2,)).tolist()
        x[:, :, top : top + cut, left : left + cut] = x[other, :, top : top + cut, left : left + cut]
        own = 1 - cut**2 / side**2
        return x, own * soft + (1 - own) * soft[other]

    _fit(torch, net, optimizer, settings, augmented, task, after=lambda: mean.update_parameters(net))
    return lambda: _predicted(torch, mean, task)


def _layer(torch: Any, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, act: bool = True) -> Any:
    """Convolution, batch norm, ReLU."""
    layers = [
        torch.nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), torch.nn.BatchNorm2d(outputs)
    ]  # fmt: skip
    return torch.nn.Sequential(*layers, *([torch.nn.ReLU(inplace=True)] if act else []))


def _resnet(torch: Any, stem: list[Any], classes: int, *, averaged_shortcuts: bool) -> Any:
    """The four stages of a ResNet-18; shortcuts that halve the sides do so by a stride, or by averaging as in xresnet."""
    nn = torch.nn

    class Block(nn.Module):  # type: ignore[misc,name-defined]  # torch is imported late
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.body = nn.Sequential(
                _layer(torch, inputs, outputs, 3, stride), _layer(torch, outputs, outputs, 3, act=False)
            )  # fmt: skip
            nn.init.zeros_(self.body[1][1].weight)
            shortcut: list[Any] = []
            if stride > 1 and averaged_shortcuts:
                shortcut += [nn.AvgPool2d(2, stride, ceil_mode=True)]
            if stride > 1 or inputs != outputs:
                shortcut += [_layer(torch, inputs, outputs, 1, 1 if averaged_shortcuts else stride, act=False)]
            self.shortcut = nn.Sequential(*shortcut)

        def forward(self, x: Any) -> Any:
            return (self.body(x) + self.shortcut(x)).relu()

    layers, width = list(stem), 64
    for stage in range(4):
        for place in range(2):
            layers.append(Block(width, 64 << stage, 2 if stage and not place else 1))
            width = 64 << stage
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))
    return net.to(memory_format=torch.channels_last)


def _fit(
    torch: Any,
    net: Any,
    optimizer: Any,
    settings: Callable[[float], dict[str, Any]],
    augmented: Callable[[Any, Any], tuple[Any, Any]],
    task: Task,
    after: Callable[[], object] = lambda: None,
) -> None:
    """Trains until the time is over; `settings` says what the optimizer does at a share of the time."""
    x, y = torch.from_numpy(task.x), torch.from_numpy(task.y)
    begun, order = time.monotonic(), torch.empty(0, dtype=torch.int64)
    net.train()
    while task.left > 0:
        if len(order) < min(BATCH, len(x)):
            order = torch.cat([order, torch.randperm(len(x))])
        rows, order = order[:BATCH], order[BATCH:]
        for group in optimizer.param_groups:
            group.update(settings(min(1.0, (time.monotonic() - begun) / (task.end - begun))))
        seen, target = augmented(_scaled(x[rows]), y[rows])
        loss = torch.nn.functional.cross_entropy(
            net(seen.contiguous(memory_format=torch.channels_last)), target, label_smoothing=0.1 if target.dim() == 1 else 0.0
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        after()


def _scaled(pixels: Any) -> Any:
    """Pixels [n, h, w, c] as numbers [n, c, h, w] from -1 to 1."""
    return pixels.movedim(-1, 1).float().div_(127.5).sub_(1)


def _predicted(torch: Any, net: Any, task: Task) -> "np.ndarray[Any, Any]":
    net.eval()
    with torch.no_grad():
        parts = torch.from_numpy(task.blind).split(512)
        found = torch.cat([net(_scaled(part).contiguous(memory_format=torch.channels_last)).softmax(1) for part in parts])
    return np.asarray(found.numpy())


# ------------------------------------------------------------------------------

PEERS = {peer.__name__: peer for peer in (keras, tuner, fastai, timm)}


def write(probability: "np.ndarray[Any, Any]", labels: "np.ndarray[Any, Any]", out: Path) -> None:
    """Predictions as `titrant predict` writes them, but for the paths."""
    import polars as pl

    columns = {"prediction": labels[probability.argmax(1)]}
    columns |= {f"probability_{label}": probability[:, place].astype(np.float64) for place, label in enumerate(labels)}
    pl.DataFrame(columns).write_csv(out)


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("peer", choices=PEERS)
    found.add_argument("train", type=Path, help="x and y in an .npz file, or a CSV table of path and label")
    found.add_argument("blind", type=Path, help="the same without labels")
    found.add_argument("--budget", type=float, required=True, help="seconds from the start of this command to a trained model")
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--out", type=Path, required=True)
    return found


def main() -> None:
    """Trains and predicts."""
    given = parser().parse_args()
    x, y = pictures(given.train)
    assert y is not None, "the training pictures have no labels"
    labels, places = np.unique(y, return_inverse=True)
    np.random.seed(given.seed)
    task = Task(x, places.astype(np.int64), pictures(given.blind)[0], labels, BEGUN + given.budget, given.seed)
    if find_spec("torch"):
        import torch

        torch.manual_seed(given.seed)
    try:
        predict = PEERS[given.peer](task)
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is not installed here")
    print(json.dumps({"seconds": time.monotonic() - BEGUN}))
    write(predict(), labels, given.out)


if __name__ == "__main__":
    main()
