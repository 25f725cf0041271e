"""Each rule on a healthy case and on one that is spoiled in the way it looks for."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from titrant.doctor.case import (
    Agreement,
    BatchLabels,
    Case,
    Crash,
    Evaluation,
    Inputs,
    Layer,
    LayerSample,
    Loader,
    Monitor,
    Neighbours,
    Objective,
    Parameter,
    ParameterSample,
    Targets,
    Wiring,
)
from titrant.doctor.rules import RULES, diagnose
from titrant.doctor.rules.reading import constant_loss
from titrant.doctor.table import TABLE, described

STEPS = 200
SAMPLED = range(0, STEPS, 20)


def layer(name: str, kind: str, family: str, order: int, **settings: object) -> Layer:
    samples = [
        LayerSample(step=step, mean=0.1, std=1.0, largest=3.0, zeros=0.0, saturated=0.0, silent=0.0, constant=0.0, finite=True)
        for step in SAMPLED
    ]
    return Layer.model_validate(
        {"name": name, "kind": kind, "family": family, "order": order, "units": 16, "samples": samples} | settings
    )


def weight(name: str, place: str, order: int, shape: list[int]) -> Parameter:
    samples = [ParameterSample(step=step, gradient=0.01, weight=0.3, update=0.0005) for step in SAMPLED]
    return Parameter(
        name=name, layer=place, order=order, shape=shape, fan_in=shape[1], held=True, start_std=0.3, moved=0.2, samples=samples
    )


def healthy() -> Case:
    """A classifier of two classes that learned well: two hidden layers with relu, Adam, losses from 0.7 to 0.1."""
    losses = [0.1 + 0.6 * 0.97**step for step in range(STEPS)]
    return Case(
        optimizer="Adam",
        loss_steps=list(range(STEPS)),
        losses=losses,
        rate_steps=list(SAMPLED),
        rates=[1e-3] * len(SAMPLED),
        evaluations=[
            Evaluation(step=step, loss=losses[step] + 0.02, training_loss=losses[step], metrics={"accuracy": 0.5 + step / 500})
            for step in SAMPLED
        ],
        layers=[
            layer("fc1", "Linear", "linear", 0),
            layer("act1", "ReLU", "relu", 1),
            layer("fc2", "Linear", "linear", 2),
            layer("act2", "Tanh", "tanh", 3),
            layer("fc3", "Linear", "linear", 4),
        ],
        parameters=[
            weight("fc1.weight", "fc1", 0, [16, 8]),
            weight("fc2.weight", "fc2", 2, [16, 16]),
            weight("fc3.weight", "fc3", 4, [2, 16]),
        ],
        inputs=[
            Inputs(
                shape=[8], rows=512, mean=0.0, mean_abs=0.8, low=-3.0, high=3.0, feature_std=[1.0] * 8, feature_mean=[0.0] * 8
            )
        ],
        targets=Targets(
            shape=[],
            integer=True,
            rows=512,
            mean=0.5,
            std=0.5,
            low=0,
            high=1,
            mean_deviation=0.5,
            whole=True,
            classes={"0": 256, "1": 256},
        ),
        batches=[BatchLabels(step=step, rows=32, classes=2, commonest=0.55) for step in SAMPLED],
        neighbours=Neighbours(rows=512, agreement=0.8, chance=0.5),
        loader=Loader(rows=640, batch=32, shuffled=True, overlap=0.0, repeats=0.0, class_shift=0.05),
        objective=Objective(
            loss="cross_entropy",
            called="cross_entropy",
            activation="linear",
            output_shape=[32, 2],
            target_shape=[32],
            weighted_layers=3,
        ),
        wiring=Wiring(
            steps=STEPS,
            steps_looked_at=10,
            backwards=STEPS,
            cleared=40,
            training_forwards=STEPS,
            evaluations=10,
            optimizers=1,
            schedulers=["StepLR"],
            scheduler_steps=10,
        ),
        epochs_planned=10,
        memorised=(0.7, 0.01),
    )


def numbers() -> Case:
    """The same for regression: targets with mean 0 and standard deviation 1, squared error."""
    case = healthy()
    case.objective.loss = case.objective.called = "mse"
    case.objective.output_shape = case.objective.target_shape = [32, 1]
    case.targets = Targets(shape=[1], rows=512, mean=0.0, std=1.0, low=-3.0, high=3.0, mean_deviation=0.8)
    case.neighbours = None
    case.batches = []
    return case


def stuck(case: Case) -> Case:
    """Learned nothing: the loss stays where a constant prediction is."""
    level = 1.0 if case.objective.loss == "mse" else 0.693
    case.losses = [level + 0.001 * (-1) ** step for step in range(STEPS)]
    for entry in case.evaluations:
        entry.loss = entry.training_loss = level
    return case


def spoil(case: Case, **changes: object) -> Case:
    """Sets attributes by path: `targets__high=3`."""
    for path, value in changes.items():
        *parents, name = path.split("__")
        owner = case
        for parent in parents:
            owner = getattr(owner, parent) if not parent.isdigit() else owner[int(parent)]  # type: ignore[index]
        assert hasattr(owner, name), path
        setattr(owner, name, value)
    return case


def samples(case: Case, kind: str, which: int, **values: object) -> Case:
    for sample in getattr(case, kind)[which].samples:
        for name, value in values.items():
            assert hasattr(sample, name)
            setattr(sample, name, value)
    return case


def frozen() -> Case:
    case = stuck(healthy())
    for parameter in case.parameters:
        parameter.trainable = False
    return case


def gradients(case: Case, *sizes: float | None) -> Case:
    for place, size in enumerate(sizes):
        samples(case, "parameters", place, gradient=size)
    return case


def growing(case: Case) -> Case:
    for place, sample in enumerate(case.parameters[0].samples):
        sample.gradient = 0.01 * 5.0**place
    return case


def slow(case: Case) -> Case:
    for place in range(3):
        samples(case, "parameters", place, update=1e-7)
        case.parameters[place].moved = 1e-4
    return case


def constant_start(case: Case) -> Case:
    case.parameters[0].start_std = 0.0
    return case


def drifting(case: Case) -> Case:
    case.layers = [layer(f"fc{place}", "Linear", "linear", place) for place in range(5)]
    for place in range(5):
        samples(case, "layers", place, std=10.0**-place)
    return case


def overfitted(case: Case) -> Case:
    for place, entry in enumerate(case.evaluations):
        entry.loss = 0.4 if place == 3 else 0.5 + 0.1 * place
    return case


def contradictory(case: Case) -> Case:
    for place, entry in enumerate(case.evaluations):
        entry.metrics = {"accuracy": 0.9 - 0.05 * place}
    return case


def pure_batches(case: Case) -> Case:
    for batch in case.batches:
        batch.commonest, batch.classes = 1.0, 1
    return case


def broken(case: Case) -> Case:
    case.losses[100:] = [math.nan] * 100
    return case


def with_dropout(case: Case, order: int, rate: float) -> Case:
    case.layers.append(layer("drop", "Dropout", "dropout", order, rate=rate))
    return case


def before_norm(case: Case) -> Case:
    case.layers = [
        layer("drop", "Dropout", "dropout", 0, rate=0.3),
        layer("bn", "BatchNorm1d", "normalisation", 1),
        layer("fc", "Linear", "linear", 2),
    ]
    return case


def shrinking(case: Case) -> Case:
    case.weight_decay = 1.0
    for parameter in case.parameters:
        for place, sample in enumerate(parameter.samples):
            sample.weight *= 0.7**place
    return case


SICK: dict[str, Callable[[], Case]] = {
    "crash": lambda: spoil(healthy(), crash=Crash(error="RuntimeError", message="shapes cannot be multiplied", place="a.py:3")),
    "nonfinite_input": lambda: spoil(healthy(), inputs__0__not_finite=0.1),
    "label_out_of_range": lambda: spoil(healthy(), targets__high=2.0),
    "unscaled_inputs": lambda: spoil(healthy(), inputs__0__mean_abs=120.0, inputs__0__high=255.0),
    "double_scaled_inputs": lambda: spoil(healthy(), inputs__0__low=0.0, inputs__0__high=0.004),
    "unscaled_targets": lambda: spoil(stuck(numbers()), targets__mean=200.0),
    "constant_features": lambda: spoil(healthy(), inputs__0__feature_std=[0.0] + [1.0] * 7),
    "class_imbalance": lambda: spoil(healthy(), targets__classes={"0": 500, "1": 12}),
    "no_shuffling": lambda: pure_batches(healthy()),
    "sorted_split": lambda: spoil(healthy(), loader__class_shift=0.5),
    "train_validation_overlap": lambda: spoil(healthy(), loader__overlap=0.5),
    "unrelated_labels": lambda: spoil(stuck(healthy()), neighbours__agreement=0.5),
    "broadcast_target": lambda: spoil(numbers(), wiring__broadcast="[32, 1] / [32]"),
    "single_softmax": lambda: spoil(healthy(), objective__activation="softmax", objective__output_shape=[32, 1]),
    "softmax_over_rows": lambda: spoil(healthy(), objective__over_rows=True),
    "softmax_twice": lambda: spoil(healthy(), objective__activation="softmax"),
    "sigmoid_twice": lambda: spoil(healthy(), objective__loss="bce_logits", objective__activation="sigmoid"),
    "logits_as_probabilities": lambda: spoil(healthy(), objective__loss="categorical"),
    "activation_of_the_wrong_loss": lambda: spoil(healthy(), objective__loss="categorical", objective__activation="sigmoid"),
    "output_range": lambda: spoil(numbers(), objective__activation="sigmoid"),
    "regression_loss_on_classes": lambda: spoil(healthy(), objective__loss="mse", objective__activation="softmax"),
    "classification_loss_on_numbers": lambda: spoil(numbers(), objective__loss="bce"),
    "accuracy_on_numbers": lambda: spoil(numbers(), objective__metrics=["accuracy"]),
    "accuracy_contradicts_loss": lambda: contradictory(healthy()),
    "missing_activation": lambda: spoil(healthy(), objective__linear_pairs=[("fc1", "fc2"), ("fc2", "fc3")]),
    "missing_zero_grad": lambda: spoil(healthy(), wiring__uncleared=40, wiring__cleared=0),
    "detached_loss": lambda: gradients(healthy(), None, None, None),
    "step_without_backward": lambda: spoil(healthy(), wiring__idle_steps=8),
    "backward_without_step": lambda: spoil(healthy(), wiring__steps=0),
    "foreign_parameters": lambda: spoil(
        healthy(), parameters__0__held=False, parameters__1__held=False, parameters__2__held=False, wiring__foreign=3
    ),
    "discarded_gradients": lambda: spoil(healthy(), wiring__discarded=20, wiring__backwards=6400),
    "unregistered_parameter": lambda: spoil(healthy(), wiring__unregistered=["[64, 64]", "[64]"]),
    "mixed_rows": lambda: spoil(healthy(), wiring__mixed_rows="lstm"),
    "unused_parameter": lambda: gradients(healthy(), None, 0.01, 0.01),
    "never_updated": lambda: samples(healthy(), "parameters", 1, update=0.0),
    "frozen_layers": frozen,
    "evaluation_mode_in_training": lambda: spoil(healthy(), wiring__frozen_forwards=150),
    "training_mode_in_evaluation": lambda: spoil(healthy(), wiring__live_evaluations=10),
    "batch_of_one": lambda: spoil(before_norm(healthy()), wiring__single_row_batches=10),
    "dropout_before_normalisation": lambda: before_norm(healthy()),
    "strong_dropout": lambda: with_dropout(healthy(), 1, 0.9),
    "dropout_at_the_output": lambda: with_dropout(healthy(), 9, 0.2),
    "constant_initialisation": lambda: constant_start(healthy()),
    "large_initialisation": lambda: spoil(healthy(), parameters__0__start_std=3.0),
    "small_initialisation": lambda: spoil(stuck(healthy()), parameters__0__start_std=1e-4),
    "activation_drift": lambda: drifting(healthy()),
    "initial_loss": lambda: spoil(healthy(), losses=[30.0 * 0.99**step for step in range(STEPS)]),
    "learning_rate_too_high": lambda: spoil(healthy(), losses=[0.7 * 1.02**step for step in range(STEPS)]),
    "learning_rate_too_low": lambda: slow(stuck(healthy())),
    "idle_schedule": lambda: spoil(healthy(), wiring__scheduler_steps=0),
    "schedule_ends_early": lambda: spoil(healthy(), rates=[1e-3] * 2 + [1e-9] * 8),
    "dead_relu": lambda: samples(healthy(), "layers", 1, silent=0.9),
    "saturated_units": lambda: samples(healthy(), "layers", 3, saturated=0.8),
    "collapsed_activations": lambda: samples(healthy(), "layers", 2, constant=1.0),
    "nonfinite_values": lambda: broken(healthy()),
    "exploding_gradient": lambda: growing(stuck(healthy())),
    "vanishing_gradient": lambda: gradients(stuck(healthy()), 1e-8, 1e-4, 1e-2),
    "constant_clipping": lambda: spoil(stuck(healthy()), clipping=[50.0] * 20, optimizer="SGD"),
    "weight_update_ratio": lambda: samples(stuck(healthy()), "parameters", 0, update=1e-8),
    "strong_weight_decay": lambda: shrinking(stuck(healthy())),
    "not_learning": lambda: stuck(healthy()),
    "cannot_memorise": lambda: spoil(healthy(), memorised=(0.7, 0.69)),
    "too_few_epochs": lambda: spoil(healthy(), losses=[0.7 - 0.002 * step for step in range(STEPS)]),
    "wrong_direction": lambda: spoil(healthy(), monitors=[Monitor(by="EarlyStopping", name="val_acc", mode="min")]),
    "stopped_early": lambda: spoil(healthy(), patience=0, epochs_planned=100),
    "overfitting": lambda: overfitted(healthy()),
    "underfitting": lambda: spoil(stuck(healthy()), losses=[0.65] * STEPS),
    "batch_size": lambda: spoil(stuck(healthy()), loader__batch=640),
}  # fmt: skip


def test_every_rule_stands_in_the_table_and_is_tried_here() -> None:
    assert list(RULES) == list(TABLE)
    assert set(SICK) == set(TABLE)


@pytest.mark.parametrize("rule", RULES)
def test_a_sick_case_is_found(rule: str) -> None:
    found = RULES[rule](SICK[rule]())
    assert found is not None
    assert found.rule == rule
    assert found.where
    assert found.evidence
    assert found.cause
    assert found.remedy
    assert found.source


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("case", [healthy, numbers], ids=["classes", "numbers"])
def test_a_healthy_case_is_left_alone(rule: str, case: Callable[[], Case]) -> None:
    assert RULES[rule](case()) is None


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_trips_over_an_empty_case(rule: str) -> None:
    assert RULES[rule](Case()) is None


def test_problems_come_first_and_causes_before_their_consequences() -> None:
    case = stuck(spoil(healthy(), inputs__0__mean_abs=120.0))
    case = samples(case, "layers", 1, silent=0.95)
    found = diagnose(case)
    assert [finding.level for finding in found] == sorted(
        (finding.level for finding in found), key=["problem", "warning", "note"].index
    )
    names = [finding.rule for finding in found if finding.level == "problem"]
    assert names[:2] == ["unscaled_inputs", "dead_relu"]
    assert names[-1] == "not_learning"


def test_clipping_is_no_fault_where_it_cuts_leaps_or_the_optimiser_divides_by_the_size() -> None:
    def judged(sizes: list[float], case: Case) -> str | None:
        case.clipping = sizes
        found = RULES["constant_clipping"](case)
        return None if found is None else found.level

    sgd = spoil(stuck(healthy()), optimizer="SGD")
    assert judged([50.0] * 20, sgd) == "problem"
    assert judged([50.0] * 2 + [0.5] * 18, sgd) is None
    assert judged([3.0] * 20, sgd) is None
    assert judged([50.0] * 7, sgd) is None
    assert judged([50.0] * 20, stuck(healthy())) == "note"
    assert judged([50.0] * 20, spoil(healthy(), optimizer="SGD")) == "note"


def test_a_suspicion_is_a_problem_only_where_the_run_learns_poorly() -> None:
    assert [found.level for found in diagnose(spoil(healthy(), inputs__0__mean_abs=120.0))] == ["warning"]


def test_overfitting_is_seen_where_a_run_folder_holds_one_loss_an_evaluation() -> None:
    case = healthy()
    trained, judged = [0.33, 0.30, 0.26, 0.22, 0.19, 0.17, 0.16], [0.32, 0.30, 0.33, 0.36, 0.39, 0.41, 0.42]
    case.loss_steps, case.losses = list(range(7)), trained
    case.evaluations = [Evaluation(step=step, loss=loss) for step, loss in enumerate(judged)]
    found = RULES["overfitting"](case)
    assert found is not None
    assert found.level == "warning"
    case.losses = trained[::-1]
    assert RULES["overfitting"](case) is None


@pytest.mark.parametrize(
    ("share", "threshold", "words"),
    [(0.99, "0.05", "about 1 rows"), (0.001, "100", "3200 rows or more"), (0.2, None, ""), (0.9, None, ""), (-0.5, None, "")],
)
def test_batches_far_from_the_noise_of_their_gradients(share: float, threshold: str | None, words: str) -> None:
    case = stuck(healthy())
    case.agreements = [Agreement(step=step, share=share + 0.0001 * (-1) ** step) for step in range(20)]
    case.loader.rows, case.loader.batch = 3200, 32
    case.wiring.backwards = case.wiring.steps
    found = RULES["batch_size"](case)
    if threshold is None:
        assert found is None
        return
    assert found is not None
    assert found.level == "warning"
    assert threshold in found.threshold
    assert "McCandlish" in found.source
    assert words in found.remedy
    lively = healthy()
    lively.agreements, lively.loader = case.agreements, case.loader
    told = RULES["batch_size"](lively)
    assert told is not None
    assert told.level == "note"


def test_nothing_is_said_of_noise_where_it_cannot_be_told() -> None:
    def judged(**changes: object) -> object:
        case = stuck(healthy())
        case.agreements = [Agreement(step=step, share=0.99) for step in range(20)]
        case.loader.rows, case.loader.batch = 3200, 32
        return RULES["batch_size"](spoil(case, **changes))

    assert judged() is not None
    assert judged(wiring__uncleared=3) is None  # gradients that pile up agree whatever the batches
    assert judged(wiring__optimizers=2) is None
    assert judged(agreements=[Agreement(step=step, share=0.99) for step in range(7)]) is None
    assert judged(agreements=[Agreement(step=step, share=float("nan")) for step in range(20)]) is None


def test_a_case_survives_being_written_with_values_that_json_lacks(tmp_path: object) -> None:
    case = broken(healthy())
    again = Case.model_validate_json(case.model_dump_json())
    assert math.isnan(again.losses[-1])
    assert [found.rule for found in diagnose(again)] == [found.rule for found in diagnose(case)]


def test_a_class_that_the_loss_passes_over_is_not_counted() -> None:
    rare = spoil(healthy(), targets__classes={"0": 400, "1": 380, "-100": 4})
    assert "class_imbalance" not in [found.rule for found in diagnose(rare)]
    padded = {"0": 200, "1": 200, "2": 4000}
    assert constant_loss(spoil(healthy(), targets__classes=padded, objective__ignored=2)) == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("name", "mode", "wrong"),
    [
        ("val_acc", "max", False), ("valAccuracy", "min", True), ("val_loss", "min", False), ("val_loss", "max", True),
        ("accuracy_loss", "min", False), ("reward", "min", False), ("val/f1", "min", True),
    ],
)  # fmt: skip
def test_which_way_a_score_is_better_is_told_by_its_name(name: str, mode: Any, wrong: bool) -> None:
    found = diagnose(spoil(healthy(), monitors=[Monitor(by="EarlyStopping", name=name, mode=mode)]))
    assert ("wrong_direction" in [item.rule for item in found]) is wrong


@pytest.mark.parametrize(("framework", "line"), [("torch", "nn.LeakyReLU(0.01)"), ("keras", "Dense(64), LeakyReLU()")])
def test_a_program_gets_the_lines_of_its_framework(framework: str, line: str) -> None:
    found = diagnose(SICK["dead_relu"]().model_copy(update={"framework": framework}))
    (dead,) = [one for one in found if one.rule == "dead_relu"]
    assert dead.code.startswith(line)
    shown = described(TABLE["dead_relu"])
    assert "    PyTorch:\n      nn.LeakyReLU(0.01)" in shown
    assert "    Keras:\n      Dense(64), LeakyReLU()" in shown
