"""What articles say about training tricks, as experiments on real data that come with the project or with scikit-learn.

Where a claim speaks of networks as they are at their best, arms are tuned alike; where it speaks of what a bad setting does,
they are not. See `titrant.evidence.lab` for how statements are judged.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import torch
from torch import Tensor, nn

from titrant.clock import Clock
from titrant.data.learnable import read_data
from titrant.evidence.lab import (
    LONG,
    Claim,
    Curve,
    Lab,
    Tried,
    as_table,
    deep,
    digits,
    gap,
    loss_at,
    loss_curves,
    more,
    rise,
    roughness,
    small,
)
from titrant.evidence.statistics import Estimate, paired
from titrant.evidence.training import Job, Trainings
from titrant.models.layers import Activate
from titrant.models.network import Factory
from titrant.recipe import Recipe
from titrant.search.pace import Pace
from titrant.texts import say
from titrant.train.metrics import metric_for


def _augmentation(lab: Lab) -> Tried:
    x, y = digits()
    pictures = (x.reshape(-1, 8, 8) * 15).astype(np.uint8)
    recipe = Recipe.of(
        {"model": {"kind": "cnn", "width": 8, "depth": 1}, "batch": {"kind": "fixed", "size": 64},
         "learning_rate": {"peak": 0.005, "schedule": "cosine"}, "stop": {"kind": "last", "epochs": 120}}
    )  # fmt: skip
    arms = {"plain": recipe, "shifted": recipe.replace("augment.shift", {"kind": "shift", "share": 0.125})}
    few = np.random.default_rng(0).permutation(len(y))
    split = np.array(["test"] * len(y), dtype=object)
    split[few[:400]], split[few[400:500]] = "train", "validation"
    moved = np.roll(pictures, 1, axis=2)
    moved[split != "test"] = pictures[split != "test"]
    contests = {
        name: lab.contest(read_data({"x": shown, "y": y, "split": split}, None, notes=[]), arms, 8)
        for name, shown in (("as they are", pictures), ("moved by a pixel", moved))
    }
    return Tried(
        [
            (
                say("Augmentation improves generalisation."),
                say("accuracy on new pictures"),
                contests["as they are"].over("shifted", "plain"),
            ),
            (
                say("Augmentation makes a network robust to shifted input."),
                say("accuracy on new pictures that are moved by one pixel"),
                contests["moved by a pixel"].over("shifted", "plain"),
            ),
        ],
        loss_curves(contests["as they are"], list(arms), training=False),
        say("epoch"),
        say("validation loss"),
    )


def _batch_norm(lab: Lab) -> Tried:
    arms = {"none": deep(), "batch norm": deep(normalize="batch")}
    contest = lab.contest("digits", arms, candidates=6)
    early = more(contest, "batch norm", "none", loss_at(0.2))
    return Tried(
        [(say("Batch norm speeds up training."), say("training loss after a fifth of the epochs, eight layers"), early)],
        loss_curves(contest, list(arms)),
        say("epoch"),
        say("training loss"),
    )


def _layer_norm(lab: Lab) -> Tried:
    arms = {
        f"{name}, batches of {size}": small(
            normalize=name,
            batch={"kind": "fixed", "size": size},
            learning_rate={"peak": 0.001},
            stop={"kind": "last", "epochs": 6},
        )
        for name in ("batch", "layer")
        for size in (2, 64)
    }
    contest = lab.contest("digits", arms, 8, candidates=3)
    lost = contest.gain(
        ("layer, batches of 2", 1.0),
        ("layer, batches of 64", -1.0),
        ("batch, batches of 2", -1.0),
        ("batch, batches of 64", 1.0),
    )
    recurrent = {"recurrent": small(model={"kind": "custom"}, stop={"kind": "last", "epochs": 3})}
    plain, normed = (
        lab.contest("digits", recurrent, 8, factory=_recurrent(norm)).outcomes["recurrent"] for norm in (False, True)
    )
    better = paired([normed[r].score - plain[r].score for r in plain])
    return Tried(
        [
            (
                say("Layer norm does not depend on the batch size, batch norm does."),
                say("accuracy that batch norm loses more than layer norm when batches shrink from 64 rows to 2"),
                lost,
            ),
            (
                say("Layer norm suits recurrent networks."),
                say("accuracy after three epochs, a recurrent network of 64 steps"),
                better,
            ),
        ],
        loss_curves(contest, list(arms)),
        say("epoch"),
        say("training loss"),
    )


def _recurrent(normed: bool) -> Factory:
    """A plain tanh network that reads a row number by number."""

    class Recurrent(nn.Module):
        def __init__(self, outputs: int) -> None:
            super().__init__()
            self.read = nn.Linear(1, 32)
            self.carry = nn.Linear(32, 32, bias=False)
            self.norm = nn.LayerNorm(32) if normed else nn.Identity()
            self.head = nn.Linear(32, outputs)

        def forward(self, x: Tensor) -> Tensor:
            state = x.new_zeros(len(x), 32)
            for step in range(x.shape[1]):
                state = torch.tanh(self.norm(self.read(x[:, step : step + 1]) + self.carry(state)))
            out: Tensor = self.head(state)
            return out

    return lambda inputs, outputs: Recurrent(outputs)


def _activations(lab: Lab) -> Tried:
    arms = {name: deep(activation=name, initialize="he_normal") for name in ("relu", "tanh", "sigmoid")}
    contest = lab.contest("digits", arms, candidates=6)
    lost = {
        name: [
            _constant_units(network, inputs)
            for network, inputs, _ in lab.networks(deep(activation=name, initialize="he_normal", **_WILD), 8, trained=True)
        ]
        for name in ("relu", "leaky_relu", "prelu", "elu")
    }
    return Tried(
        [
            (
                say("ReLU trains faster than sigmoid in deep networks."),
                say("training loss after a fifth of the epochs, eight layers"),
                more(contest, "relu", "sigmoid", loss_at(0.2)),
            ),
            (
                say("ReLU trains faster than tanh in deep networks."),
                say("training loss after a fifth of the epochs, eight layers"),
                more(contest, "relu", "tanh", loss_at(0.2)),
            ),
            *(
                (
                    say("ReLU can die, {name} does not.", name=name),
                    say(
                        "share of units that answer the same to every row after training at a high rate, ReLU over {name}",
                        name=name,
                    ),
                    paired([relu - other for relu, other in zip(lost["relu"], lost[kind], strict=True)]),
                )
                for name, kind in (("leaky ReLU", "leaky_relu"), ("PReLU", "prelu"), ("ELU", "elu"))
            ),
        ],
        loss_curves(contest, list(arms)),
        say("epoch"),
        say("training loss"),
    )


_WILD: dict[str, Any] = {"optimizer": "adam", "learning_rate": {"peak": 0.03}, "stop": {"kind": "last", "epochs": 8}}


def _constant_units(network: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """The share of hidden units whose output does not depend on the row."""
    found: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda _, __, output: found.append(output.detach().std(0) < 1e-6))
        for module in network.modules()
        if isinstance(module, Activate)
    ]
    with torch.no_grad():
        network(*(tensor[:512] for tensor in inputs), None)
    for hook in hooks:
        hook.remove()
    return float(torch.cat([part.flatten().float() for part in found]).mean())


def _dropout(lab: Lab) -> Tried:
    arms = {
        f"p = {p:g}": small(
            model={"kind": "mlp", "width": 256, "depth": 3}, dropout={"kind": "bernoulli", "p": p} if p else "off",
            stop={"kind": "last", "epochs": 30},
        )
        for p in (0.0, 0.4, 0.85)
    }  # fmt: skip
    contest = lab.contest("adult", arms, share=0.3)
    return Tried(
        [
            (
                say("Too little dropout overfits."),
                say("rise of the validation loss after its lowest point, p = 0 over p = 0.4"),
                more(contest, "p = 0.4", "p = 0", rise),
            ),
            (
                say("Too much dropout slows training."),
                say("validation loss after a tenth of the epochs, p = 0.85 over p = 0.4"),
                more(contest, "p = 0.4", "p = 0.85", loss_at(0.1, training=False)),
            ),
        ],
        loss_curves(contest, list(arms), training=False),
        say("epoch"),
        say("validation loss"),
    )


def _signal(lab: Lab) -> Tried:
    layers = 20
    kept: dict[str, list[list[float]]] = {}
    for name, kind, activation in (
        ("He", "he_normal", "relu"),
        ("Xavier", "xavier_normal", "tanh"),
        ("naive", None, "relu"),
    ):
        recipe = deep(layers, activation=activation, initialize=kind or "default")
        kept[name] = []
        for network, inputs, _ in lab.networks(recipe, 8):
            if kind is None:  # small numbers of equal size everywhere, as one would write without thinking
                with torch.no_grad():
                    for parameter in network.parameters():
                        parameter.normal_(0, 0.01 if parameter.dim() > 1 else 0.0)
            kept[name].append(_spreads(network, inputs))
    change = {name: [abs(math.log10(max(run[-1], 1e-30) / run[0])) for run in runs] for name, runs in kept.items()}
    return Tried(
        [
            (
                say("{name} initialisation keeps the signal where a naive one loses it.", name=name),
                say("powers of ten by which activations change over 20 layers, naive over {name}", name=name),
                paired([worse - better for worse, better in zip(change["naive"], change[name], strict=True)]),
            )
            for name in ("He", "Xavier")
        ],
        [
            Curve(
                label=name,
                x=[float(layer) for layer in range(1, layers + 1)],
                y=[float(np.mean([math.log10(max(run[layer], 1e-30)) for run in runs])) for layer in range(layers)],
            )
            for name, runs in kept.items()
        ],
        say("layer"),
        say("spread of activations, power of ten"),
    )


def _spreads(network: nn.Module, inputs: tuple[Tensor, ...]) -> list[float]:
    """The root mean square of what each hidden layer gives on, from the first to the last."""
    found: list[float] = []

    def note(module: nn.Module, _: Any, output: Tensor) -> None:
        found.append(float(output.detach().square().mean().sqrt()))

    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    hooks = [module.register_forward_hook(note) for module in linear]
    network.eval()
    with torch.no_grad():
        network(*(tensor[:256] for tensor in inputs), None)
    for hook in hooks:
        hook.remove()
    return found[:-1]


def _batches(lab: Lab) -> Tried:
    sizes = (8, 64, 512)
    noise: dict[int, list[float]] = {size: [] for size in sizes}
    for network, inputs, target in lab.networks(small(), 8):
        for size in sizes:
            noise[size].append(_gradient_noise(network, inputs, target, size))
    arms = {
        f"batches of {size}": small(batch={"kind": "fixed", "size": size}, stop={"kind": "last", "epochs": 15})
        for size in (16, 512)
    }
    contest = lab.contest("digits", arms, candidates=6)
    memory = [contest.costs[name].memory for name in arms]
    costly = Estimate(float(memory[1] - memory[0]) / 1e6, error=0.0, freedom=1, count=1)  # counted, the same each time
    return Tried(
        [
            (
                say("Larger batches give steadier gradients."),
                say("spread of the gradient relative to its length, batches of 8 over 512"),
                paired([small - large for small, large in zip(noise[8], noise[512], strict=True)]),
            ),
            (say("Larger batches cost memory."), say("megabytes of a member, batches of 512 over 16"), costly),
            (
                say("Larger batches can generalise worse at equal epochs."),
                say("accuracy, batches of 16 over 512, learning rates tuned"),
                contest.over("batches of 16", "batches of 512"),
            ),
        ],
        loss_curves(contest, list(arms)),
        say("epoch"),
        say("training loss"),
    )


def _gradient_noise(network: nn.Module, inputs: tuple[Tensor, ...], target: Tensor, size: int) -> float:
    """The spread of gradients of random batches around their mean, relative to the mean's length."""
    generator = torch.Generator().manual_seed(size)
    parameters = list(network.parameters())
    found = []
    for _ in range(12):
        rows = torch.randint(len(target), (size,), generator=generator)
        outputs = network(*(tensor[rows] for tensor in inputs), None)
        loss = nn.functional.cross_entropy(outputs, target[rows])
        gradient = torch.autograd.grad(loss, parameters, allow_unused=True)
        found.append(torch.cat([part.flatten() for part in gradient if part is not None]))
    stacked = torch.stack(found)
    mean = stacked.mean(0)
    return float((stacked - mean).norm(dim=1).mean() / mean.norm())


def _rates(lab: Lab) -> Tried:
    sgd = {"kind": "sgd", "momentum": 0.9}
    arms = {
        name: small(optimizer=sgd, learning_rate={"peak": peak}, stop={"kind": "last", "epochs": 20})
        for name, peak in (("too low", 1e-5), ("fitting", 0.02), ("too high", 0.5))
    }
    contest = lab.contest("adult", arms)
    courses = {
        name: small(optimizer=sgd, learning_rate={"peak": 0.02, "schedule": schedule}, stop={"kind": "last", "epochs": 20})
        for name, schedule in (("constant", "off"), ("cosine decay", "cosine"))
    }
    tuned = lab.contest("adult", courses, 16, metric="log_loss", candidates=8)
    return Tried(
        [
            (
                say("A learning rate that is too high oscillates."),
                say("mean jump of the training loss between evaluations, 25 times the fitting rate over the fitting one"),
                more(contest, "fitting", "too high", roughness),
            ),
            (
                say("A learning rate that is too low crawls."),
                say("training loss at the end, a two-thousandth of the fitting rate over the fitting one"),
                more(contest, "fitting", "too low", loss_at(1.0)),
            ),
            (
                say("Decay ends lower."),
                say("log loss on new rows, constant over cosine decay, each at its own best rate"),
                tuned.over("cosine decay", "constant"),
            ),
        ],
        loss_curves(contest, list(arms)),
        say("epoch"),
        say("training loss"),
    )


def _optimizers(lab: Lab) -> Tried:
    arms = {
        name: small(optimizer=kind, learning_rate={"peak": peak}, stop={"kind": "last", "epochs": 10})
        for name, kind, peak in (
            ("SGD", {"kind": "sgd", "momentum": 0.0}, 0.1),
            ("SGD with momentum", {"kind": "sgd", "momentum": 0.9}, 0.05),
            ("RMSprop", "rmsprop", 0.001),
            ("Adam", "adam", 0.002),
        )
    }  # fmt: skip
    contest = lab.contest("adult", arms, candidates=8)
    return Tried(
        [
            (
                say("{name} trains faster than {other}.", name=name, other=other),
                say("training loss after a fifth of the epochs, learning rates tuned"),
                more(contest, name, other, loss_at(0.2)),
            )
            for name, other in (("Adam", "SGD"), ("RMSprop", "SGD"), ("Adam", "SGD with momentum"))
        ],
        loss_curves(contest, list(arms)),
        say("epoch"),
        say("training loss"),
    )


def _search(lab: Lab) -> Tried:
    """Grids of 3 x 3 x 3 against as many points at random and by TPE, each search with rows and seeds of its own."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ranges = {"learning_rate.peak": (1e-4, 1e-1), "dropout.p": (0.02, 0.8), "optimizer.decay": (1e-4, 1.0)}
    base = small(dropout="bernoulli", optimizer="adamw", stop={"kind": "last", "epochs": 5})
    repeats, trials, rounds = 20, 27, 3

    def recipe(units: Sequence[float]) -> Recipe:
        found = base
        for (path, (low, high)), unit in zip(ranges.items(), units, strict=True):
            found = found.replace(path, float(f"{low * (high / low) ** unit:.6g}"))
        return found

    grid = [(a, b, c) for a in (1 / 6, 0.5, 5 / 6) for b in (1 / 6, 0.5, 5 / 6) for c in (1 / 6, 0.5, 5 / 6)]
    asked: dict[str, list[list[tuple[float, ...]]]] = {"grid": [list(grid) for _ in range(repeats)], "random": [], "TPE": []}
    for repeat in range(repeats):
        drawn = np.random.default_rng(repeat).random((trials, 3))
        asked["random"].append([tuple(map(float, row)) for row in drawn])
        asked["TPE"].append([])
    best: dict[str, list[list[tuple[float, float]]]] = {name: [[] for _ in range(repeats)] for name in asked}
    trainings = Trainings(
        lab.data("digits"), metric_for("multiclass", "log_loss"), lab.seed, torch.device("cpu"), Clock.of(LONG),
        Pace(lab.lanes, workers=lab.workers), share=0.3,
    )  # fmt: skip
    samplers = [
        optuna.create_study(sampler=optuna.samplers.TPESampler(seed=repeat, n_startup_trials=9, multivariate=True))
        for repeat in range(repeats)
    ]
    for round_ in range(rounds):
        each = trials // rounds
        told = []
        for repeat, study in enumerate(samplers):
            trial = [study.ask({path: optuna.distributions.FloatDistribution(0, 1) for path in ranges}) for _ in range(each)]
            told.append(trial)
            asked["TPE"][repeat] += [tuple(one.params[path] for path in ranges) for one in trial]
        entries = [
            (name, repeat, place)
            for name in asked
            for repeat in range(repeats)
            for place in range(round_ * each, (round_ + 1) * each)
        ]
        jobs = [Job(recipe(asked[name][repeat][place]), repeat, 1.0) for name, repeat, place in entries]
        for (name, repeat, place), outcome in zip(entries, trainings.run(jobs, lambda _: None), strict=True):
            assert outcome is not None
            tuned = outcome.tuned if math.isfinite(outcome.tuned) else 25.0
            best[name][repeat].append((tuned, outcome.score))
            if name == "TPE":
                samplers[repeat].tell(told[repeat][place - round_ * each], tuned)
    chosen = {name: [min(runs)[1] for runs in found] for name, found in best.items()}
    return Tried(
        [
            (
                say("{name} finds better settings than a grid at equal cost.", name=name),
                say("log loss on new rows of the setting that won, 27 trials, grid over {name}", name=name),
                paired([grid_ - other for grid_, other in zip(chosen["grid"], chosen[key], strict=True)]),
            )
            for name, key in ((say("random search"), "random"), (say("Bayesian search (TPE)"), "TPE"))
        ],
        [
            Curve(
                label=name,
                x=[float(count) for count in range(1, trials + 1)],
                y=[float(np.mean([min(runs[:count])[0] for runs in found])) for count in range(1, trials + 1)],
            )
            for name, found in best.items()
        ],
        say("trials"),
        say("best validation log loss so far"),
    )


def _penalties(lab: Lab) -> Tried:
    wide = {"kind": "mlp", "width": 256, "depth": 3}
    arms = {
        "none": small(model=wide, stop={"kind": "last", "epochs": 60}),
        **{
            name: small(model=wide, stop={"kind": "last", "epochs": 60}, regularize={slot: values})
            for name, slot, values in (
                ("L1", "l1", {"strength": 1e-3}), ("L2", "l2", {"strength": 1e-2}), ("max-norm", "max_norm", {"limit": 0.5}),
            )
        },
    }  # fmt: skip
    contest = lab.contest("breast cancer", arms, 16, metric="log_loss")
    return Tried(
        [
            (say("{name} works against overfitting.", name=name), say("gap between validation and training loss"),
             more(contest, name, "none", gap))
            for name in ("L1", "L2", "max-norm")
        ],
        loss_curves(contest, list(arms), training=False),
        say("epoch"),
        say("validation loss"),
    )  # fmt: skip


def _clipping(lab: Lab) -> Tried:
    sgd = {"kind": "sgd", "momentum": 0.9}
    arms = {
        name: deep(12, initialize="he_normal", optimizer=sgd, learning_rate={"peak": 0.2}, clip=clip,
                    stop={"kind": "last", "epochs": 10})
        for name, clip in (("none", "off"), ("clipped", {"kind": "norm", "max_norm": 0.1}))
    }  # fmt: skip
    contest = lab.contest("digits", arms, metric="log_loss")
    return Tried(
        [
            (
                say("Clipping gradients keeps training from exploding."),
                say("training loss at the end, twelve layers with a high learning rate"),
                more(contest, "clipped", "none", loss_at(1.0)),
            )
        ],
        loss_curves(contest, list(arms)),
        say("epoch"),
        say("training loss"),
    )


def _folds(lab: Lab) -> Tried:
    """Six recipes, of which one is chosen by one split or by five folds of the same 200 rows, and judged on new rows."""
    kinds = {
        f"{optimizer}, dropout {p:g}": small(
            model={"kind": "mlp", "width": 64, "depth": 2}, dropout={"kind": "bernoulli", "p": p} if p else "off",
            learning_rate={"peak": peak}, stop={"kind": "last", "epochs": 15},
        )
        for p in (0.0, 0.3, 0.6)
        for optimizer, peak in (("slow", 0.0003), ("quick", 0.003))
    }  # fmt: skip
    x, y = digits()
    one_split, five_folds, spread = [], [], []
    for draw in range(30):
        order = np.random.default_rng(draw).permutation(len(y))
        split = np.array(["test"] * len(y), dtype=object)
        split[order[:160]], split[order[160:200]] = "train", "validation"
        table = as_table(x, y) | {"split": split.tolist()}
        dataset = read_data(table, "y", split_column="split", notes=[])
        contest = lab.contest(dataset, kinds, 5, metric="log_loss")  # five parts, each of which is held out once
        tuned = {name: [outcome.tuned for outcome in contest.outcomes[name].values()] for name in kinds}
        worth = {name: contest.score(name).mean for name in kinds}
        one_split.append(worth[min(kinds, key=lambda name: tuned[name][0])])
        five_folds.append(worth[min(kinds, key=lambda name: float(np.mean(tuned[name])))])
        spread.append(min(worth.values()))
    return Tried(
        [
            (
                say("Cross-validation picks more reliably than one split."),
                say("log loss on new rows of the recipe that was chosen among six, one split over five folds"),
                paired([one - five for one, five in zip(one_split, five_folds, strict=True)]),
            )
        ],
        [
            Curve(label=name, x=[float(place + 1) for place in range(len(values))], y=values)
            for name, values in (("one split", one_split), ("five folds", five_folds), ("best of the six", spread))
        ],
        say("draw of 200 rows"),
        say("log loss on new rows"),
    )


CLAIMS = (
    Claim(
        "augmentation", say("Data augmentation improves generalisation and robustness to shifted input."), "augment",
        say("400 pictures of digits (scikit-learn)"), "Shorten & Khoshgoftaar 2019", _augmentation,
    ),
    Claim(
        "batch_norm", say("Batch normalisation speeds up training."), "normalize", say("digits (scikit-learn)"),
        "Ioffe & Szegedy 2015", _batch_norm,
    ),
    Claim(
        "layer_norm", say("Layer normalisation does not depend on the batch size and suits recurrent networks."), "normalize",
        say("digits (scikit-learn)"), "Ba et al. 2016", _layer_norm,
    ),
    Claim(
        "activation", say("ReLU trains faster than sigmoid and tanh in deep networks, and can die; others do not."),
        "activation",
        say("digits (scikit-learn)"), "Glorot et al. 2011; Maas et al. 2013; Clevert et al. 2016", _activations,
    ),
    Claim(
        "dropout", say("Too much dropout slows training, too little overfits."), "dropout", say("a third of the adult sample"),
        "Srivastava et al. 2014", _dropout,
    ),
    Claim(
        "initialization", say("Xavier and He initialisation keep the signal where a naive one loses it."), "initialize",
        say("digits (scikit-learn)"), "Glorot & Bengio 2010; He et al. 2015", _signal,
    ),
    Claim(
        "batch_size", say("Larger batches give steadier gradients, cost memory, and can generalise worse."), "batch",
        say("digits (scikit-learn)"), "Keskar et al. 2017", _batches,
    ),
    Claim(
        "learning_rate", say("Too high a learning rate oscillates, too low a one crawls, and decay ends lower."),
        "learning_rate", say("the adult sample"), "Bengio 2012", _rates,
    ),
    Claim(
        "optimizer", say("Adam and RMSprop train faster than SGD."), "optimizer", say("the adult sample"), "Kingma & Ba 2015",
        _optimizers,
    ),
    Claim(
        "search", say("Random and Bayesian search beat a grid at equal cost."),
        "learning_rate.peak, dropout.p, optimizer.decay", say("a third of the digits"), "Bergstra & Bengio 2012", _search,
    ),
    Claim(
        "penalties", say("L1, L2 and max-norm work against overfitting."), "regularize", say("breast cancer (scikit-learn)"),
        "Srebro et al. 2005; Srivastava et al. 2014", _penalties,
    ),
    Claim(
        "clipping", say("Gradient clipping keeps training from exploding."), "clip", say("digits (scikit-learn)"),
        "Pascanu et al. 2013", _clipping,
    ),
    Claim(
        "cross_validation", say("Cross-validation picks more reliably than one split."), "folds",
        say("200 of the digits, thirty times"), "Kohavi 1995", _folds,
    ),
)  # fmt: skip
"""All claims, in the order in which articles name their tricks."""
