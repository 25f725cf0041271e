"""The other sides of `series.py`: each trains on the same series for the same wall clock and writes its predictions.

    python benchmarks/series_peer.py minirocket train.npz blind.npz --budget 120 --seed 0 --out predictions.csv

- minirocket, multirocket_hydra: the classifiers, or regressors, of that name in aeon, at their defaults on all cores. They
  know no time limit and run to their end, whatever it takes; the page prints their seconds. Their output is a ridge classifier,
  whose probabilities are 0 and 1, which costs them log loss.
- inception_time: five networks of Ismail Fawaz et al. 2020 (arXiv 1909.04939), their kernels odd as in tsai, Adam at 0.001,
  batches of 64, the rate halved when the training loss stands still, the weights of the least training loss kept; as many of
  the five as the time allows, each with a fifth of it at least.
- tsai: what `TSClassifier(X, y).fit_one_cycle(n, 1e-3)` trains by default: one InceptionTime, Adam with decay as fastai sets
  it, one cycle of rate and momentum, label smoothing, over as many epochs as the time allows, 100 at most.
- sklearn: HistGradientBoosting at its defaults on the values, laid out as one row a series.

aeon's deep networks and tsai need TensorFlow or torchvision, which the development machine cannot install beside what else
there is, so these two are written out here in PyTorch. Missing values are 0 after each channel was standardised.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

BEGUN = time.monotonic()
BATCH = 64

Floats = "np.ndarray[Any, Any]"
Predict = Callable[[], Any]
"""Class probabilities [m, c], or values [m], of the series to predict."""


@dataclass
class Task:
    """Series to learn from and to predict.

    Args:
        x: float32 [n, c, t], standardised, 0 for what is missing.
        y: int64 [n] positions in `labels`, or float [n] values.
        blind: [m, c, t].
        labels: as they stood in the data; empty for values.
        end: when training must be over, on the scale of `time.monotonic`.
        seed: of all random choices.
    """

    x: Any
    y: Any
    blind: Any
    labels: Any
    end: float
    seed: int

    @property
    def classes(self) -> int:
        """How many; 0 for values."""
        return len(self.labels)

    @property
    def left(self) -> float:
        """Seconds until training must be over."""
        return self.end - time.monotonic()


def series(train: Path, blind: Path) -> tuple[Any, Any, Any]:
    """Series to learn from, their labels, and series to predict, standardised alike."""
    with np.load(train, allow_pickle=False) as arrays:
        x, y = arrays["x"].astype(np.float32), arrays["y"]
    with np.load(blind, allow_pickle=False) as arrays:
        other = arrays["x"].astype(np.float32)
    mean, spread = np.nanmean(x, (0, 2), keepdims=True), np.nanstd(x, (0, 2), keepdims=True)
    scaled = [np.nan_to_num((part - mean) / np.where(spread > 0, spread, 1)) for part in (x, other)]
    return scaled[0], y, scaled[1]


# ------------------------------------------------------------------------ aeon


def minirocket(task: Task) -> Predict:
    """aeon's."""
    from aeon.classification.convolution_based import MiniRocketClassifier
    from aeon.regression.convolution_based import MiniRocketRegressor

    return _aeon(task, MiniRocketClassifier if task.classes else MiniRocketRegressor)


def multirocket_hydra(task: Task) -> Predict:
    """aeon's."""
    from aeon.classification.convolution_based import MultiRocketHydraClassifier
    from aeon.regression.convolution_based import MultiRocketHydraRegressor

    return _aeon(task, MultiRocketHydraClassifier if task.classes else MultiRocketHydraRegressor)


def _aeon(task: Task, kind: Any) -> Predict:
    model = kind(random_state=task.seed, n_jobs=-1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(task.x, task.y)
    return lambda: model.predict_proba(task.blind) if task.classes else model.predict(task.blind)


def sklearn(task: Task) -> Predict:
    """Boosted trees on flattened series."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if task.classes else HistGradientBoostingRegressor
    model = kind(random_state=task.seed).fit(task.x.reshape(len(task.x), -1), task.y)
    flat = task.blind.reshape(len(task.blind), -1)
    return lambda: model.predict_proba(flat) if task.classes else model.predict(flat)


# --------------------------------------------------------------------- PyTorch


def inception(channels: int, outputs: int) -> Any:
    """The network of the paper: six blocks of three convolutions and a pooling, 32 filters each, shortcuts over three."""
    from torch import cat, nn

    class Block(nn.Module):
        def __init__(self, inputs: int) -> None:
            super().__init__()
            self.narrow = nn.Conv1d(inputs, 32, 1, bias=False) if inputs > 1 else nn.Identity()
            width = 32 if inputs > 1 else 1
            self.convolutions = nn.ModuleList([nn.Conv1d(width, 32, size, padding="same", bias=False) for size in (39, 19, 9)])
            self.pooled = nn.Sequential(nn.MaxPool1d(3, 1, 1), nn.Conv1d(inputs, 32, 1, bias=False))
            self.settle = nn.Sequential(nn.BatchNorm1d(128), nn.ReLU())

        def forward(self, x: Any) -> Any:
            narrow = self.narrow(x)
            return self.settle(cat([*(layer(narrow) for layer in self.convolutions), self.pooled(x)], 1))

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([Block(channels if place == 0 else 128) for place in range(6)])
            self.shortcuts = nn.ModuleList(
                [nn.Sequential(nn.Conv1d(size, 128, 1, bias=False), nn.BatchNorm1d(128)) for size in (channels, 128)]
            )
            self.head = nn.Linear(128, outputs)

        def forward(self, x: Any) -> Any:
            kept = x
            for place, block in enumerate(self.blocks):
                x = block(x)
                if place % 3 == 2:
                    x = (x + self.shortcuts[place // 3](kept)).relu()
                    kept = x
            return self.head(x.mean(-1))

    return Network()


def inception_time(task: Task) -> Predict:
    """Up to five networks of the paper."""
    import torch

    networks: list[Any] = []
    while len(networks) < 5 and (not networks or task.left > 0.15 * (task.end - BEGUN)):
        torch.manual_seed(task.seed + 1000 * len(networks))
        until = time.monotonic() + task.left / (5 - len(networks))
        networks.append(_trained(task, until))
    return _mean(task, networks)


def _trained(task: Task, until: float) -> Any:
    import torch

    network = inception(task.x.shape[1], task.classes or 1)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=50, min_lr=1e-4)
    lowest, best = float("inf"), None
    for _ in range(1500):
        total = 0.0
        for rows in torch.randperm(len(task.x)).split(BATCH):
            loss = _step(task, network, optimizer, rows)
            total += loss * len(rows)
            if time.monotonic() > until:
                break
        if total < lowest and time.monotonic() <= until:
            lowest, best = total, {name: tensor.clone() for name, tensor in network.state_dict().items()}
        schedule.step(total)
        if time.monotonic() > until:
            break
    if best is not None:
        network.load_state_dict(best)
    return network


def tsai(task: Task) -> Predict:
    """One network over one cycle."""
    import torch

    torch.manual_seed(task.seed)
    network = inception(task.x.shape[1], task.classes or 1)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, betas=(0.9, 0.99), eps=1e-5, weight_decay=0.01)
    steps = max(1, -(-len(task.x) // BATCH))
    begun = time.monotonic()
    for rows in list(torch.randperm(len(task.x)).split(BATCH))[:3]:  # thrown away: they tell how long a step takes
        _step(task, inception(task.x.shape[1], task.classes or 1), None, rows)
    a_step = (time.monotonic() - begun) / min(3, steps)
    epochs = int(max(1, min(100, 0.9 * task.left / (a_step * steps))))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1e-3, total_steps=epochs * steps, pct_start=0.25, div_factor=25, base_momentum=0.85, max_momentum=0.95
    )
    for _ in range(epochs):
        for rows in torch.randperm(len(task.x)).split(BATCH):
            _step(task, network, optimizer, rows, smoothing=0.1)
            schedule.step()
        if task.left < 0:
            break
    return _mean(task, [network])


def _step(task: Task, network: Any, optimizer: Any, rows: Any, smoothing: float = 0.0) -> float:
    from torch import as_tensor
    from torch.nn import functional

    network.train()
    if len(rows) == 1:
        return 0.0  # batch norm needs two
    out = network(as_tensor(task.x[rows.numpy()]))
    if task.classes:
        loss = functional.cross_entropy(out, as_tensor(task.y[rows.numpy()]), label_smoothing=smoothing)
    else:
        loss = functional.mse_loss(out.squeeze(1), as_tensor(task.y[rows.numpy()]).float())
    network.zero_grad()
    loss.backward()
    if optimizer is not None:
        optimizer.step()
    return loss.item()


def _mean(task: Task, networks: list[Any]) -> Predict:
    import torch

    @torch.no_grad()
    def predict() -> Any:
        found = []
        for network in networks:
            network.eval()
            out = torch.cat([network(part) for part in torch.as_tensor(task.blind).split(256)])
            found.append(out.softmax(1) if task.classes else out.squeeze(1))
        return torch.stack(found).mean(0).numpy()

    return predict


PEERS: dict[str, Callable[[Task], Predict]] = {
    peer.__name__: peer for peer in (minirocket, multirocket_hydra, inception_time, tsai, sklearn)
}


def write(predicted: Any, labels: Any, file: Path) -> None:
    """A CSV file like that of `titrant predict`."""
    import polars as pl

    if not len(labels):
        pl.DataFrame({"prediction": np.asarray(predicted, np.float64)}).write_csv(file)
        return
    columns = {f"probability_{label}": predicted[:, place].astype(np.float64) for place, label in enumerate(labels)}
    pl.DataFrame({"prediction": labels[predicted.argmax(1)], **columns}).write_csv(file)


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    return parser_of(__doc__ or "", PEERS, "series")


def parser_of(doc: str, peers: Iterable[str], what: str) -> argparse.ArgumentParser:
    """The arguments of a script of other sides.

    Args:
        doc: what `--help` says.
        peers: the sides.
        what: they learn from: "series", "texts".
    """
    found = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("peer", choices=list(peers), help="which side")
    found.add_argument("train", type=Path, help=f"{what} with labels")
    found.add_argument("blind", type=Path, help=f"{what} to predict")
    found.add_argument("--budget", type=float, default=120, help="seconds (default: 120)")
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--out", type=Path, required=True, help="where the predictions go")
    return found


def trained(peer: Callable[[Any], Predict], task: object, begun: float) -> Predict:
    """A side's model, and on standard output the seconds until it was there."""
    try:
        predict = peer(task)
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is not installed here")
    print(json.dumps({"seconds": time.monotonic() - begun}))
    return predict


def main() -> None:
    """Trains and predicts."""
    given = parser().parse_args()
    x, y, blind = series(given.train, given.blind)
    values = y.dtype.kind == "f"
    labels, places = (np.array([]), y) if values else np.unique(y, return_inverse=True)
    np.random.seed(given.seed)
    centre, width = (float(y.mean()), float(y.std()) or 1.0) if values else (0.0, 1.0)
    target = (places - centre) / width if values else places.astype(np.int64)
    task = Task(x, target, blind, labels, BEGUN + given.budget, given.seed)
    predicted = trained(PEERS[given.peer], task, BEGUN)()
    write(predicted * width + centre if values else predicted, labels, given.out)


if __name__ == "__main__":
    main()
