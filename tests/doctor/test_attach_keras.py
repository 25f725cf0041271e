"""The callback in Keras' `fit`, with each back end that is installed, in processes of their own: a process has one back end."""

import importlib.util
import json
import os
import subprocess
import sys
from typing import Any

import pytest

if importlib.util.find_spec("keras") is None:
    pytest.skip("keras is not installed", allow_module_level=True)

PROGRAM = """
import json
import numpy as np
from titrant.doctor.attach_keras import DoctorCallback
import keras
from keras import layers

keras.utils.set_random_seed(0)
random = np.random.default_rng(0)
x = random.normal(size=(400, 6)); y = (x[:, 0] > 0).astype(int)

def trained(model, loss, x, y, watched=True, epochs=8, **settings):
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    doctor = DoctorCallback()
    log = model.fit(x, y, epochs=epochs, verbose=0, callbacks=[doctor] if watched else [], **settings)
    return doctor, log.history["loss"]

def net(*last):
    return keras.Sequential([layers.Dense(16, activation="relu"), layers.Dropout(0.1), *last])

def shown(doctor):
    return {found.rule: found.level for found in doctor.findings}

out = {}
keras.utils.set_random_seed(1)
doctor, losses = trained(net(layers.Dense(1, activation="sigmoid")), "binary_crossentropy", x, y, epochs=16,
                         validation_split=0.2)
keras.utils.set_random_seed(1)
_, plain = trained(net(layers.Dense(1, activation="sigmoid")), "binary_crossentropy", x, y, False, epochs=16,
                   validation_split=0.2)
out["healthy"] = shown(doctor)
out["same"] = losses == plain
out["layers"] = [layer.family for layer in sorted(doctor.case.layers, key=lambda layer: layer.order)]
out["gradients"] = all(sample.gradient is not None for sample in doctor.case.parameters[0].samples)
out["evaluations"] = len(doctor.case.evaluations)
out["softmax"] = shown(trained(net(layers.Dense(1, activation="softmax")), "binary_crossentropy", x, y)[0])
out["logits"] = shown(trained(net(layers.Dense(2)), "sparse_categorical_crossentropy", x, y)[0])
out["linear"] = shown(trained(keras.Sequential([layers.Dense(8), layers.Dense(1)]), "mse", x * 100, x[:, 1] ** 2)[0])
order = y.argsort()
out["sorted"] = shown(trained(net(layers.Dense(1, activation="sigmoid")), "binary_crossentropy", x[order], y[order],
                              validation_split=0.3, shuffle=False)[0])
inputs = keras.Input((6, 5, 1))
image = layers.Conv2D(4, 3, activation="relu")(inputs)
model = keras.Model(inputs, layers.Dense(2, activation="softmax")(layers.Flatten()(image)))
def batches():
    while True:
        images = random.normal(size=(16, 6, 5, 1))
        yield images, (images.mean((1, 2, 3)) > 0).astype(int)
out["generator"] = shown(trained(model, "sparse_categorical_crossentropy", batches(), None, steps_per_epoch=10)[0])
steps = random.normal(size=(200, 5, 3))
read = keras.Sequential([layers.LSTM(4, return_sequences=True), layers.Dense(1)])
out["stretched"] = shown(trained(read, "mse", steps, steps[:, 0, 0], epochs=2)[0])
read = keras.Sequential([layers.LSTM(4), layers.Dense(1)])
out["fitting"] = shown(trained(read, "mse", steps, steps[:, 0, 0], epochs=2)[0])
rare = (x[:, 0] > 1.6).astype(int)
weighted = trained(net(layers.Dense(1, activation="sigmoid")), "binary_crossentropy", x, rare, epochs=20,
                   class_weight={0: 1.0, 1: 15.0})[0]
out["weighted"] = shown(weighted)
trunk = layers.Dense(8, activation="relu")(keras_input := keras.Input((6,)))
model = keras.Model(keras_input, [layers.Dense(1, name="a")(trunk), layers.Dense(1, activation="sigmoid", name="b")(trunk)])
model.compile("adam", ["mae", "binary_crossentropy"])
doctor = DoctorCallback()
model.fit(x, [x[:, 1] * 3, y], epochs=10, verbose=0, callbacks=[doctor])
out["several"] = shown(doctor)
shares = np.stack([y, 1 - y], 1) * 0.8 + 0.1
out["divergence"] = shown(trained(net(layers.Dense(2, activation="softmax")), "kl_divergence", x, shares, epochs=20)[0])
print(json.dumps(out))
"""


@pytest.fixture(scope="module", params=["torch", "tensorflow"])
def told(request: pytest.FixtureRequest) -> dict[str, object]:
    """What the program tells."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    environment = os.environ | {"KERAS_BACKEND": request.param, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_healthy_run_is_left_alone_and_unchanged(told: dict[str, object]) -> None:
    assert told["healthy"] == {}
    assert told["same"]
    assert told["layers"] == ["linear", "relu", "dropout", "linear", "sigmoid"]
    assert told["gradients"]
    assert told["evaluations"] == 16


@pytest.mark.parametrize(
    ("run", "rules"),
    [
        ("softmax", {"single_softmax"}),
        ("logits", {"logits_as_probabilities"}),
        ("linear", {"unscaled_inputs", "missing_activation", "accuracy_on_numbers"}),
        ("sorted", {"sorted_split", "no_shuffling"}),
    ],
)
def test_faults_are_found(told: dict[str, object], run: str, rules: set[str]) -> None:
    assert rules <= set(told[run])  # type: ignore[call-overload]


def test_generators_and_functional_models_are_seen(told: dict[str, object]) -> None:
    assert "problem" not in told["generator"].values()  # type: ignore[attr-defined]


def test_outputs_that_are_stretched_over_steps_are_seen(told: dict[str, Any]) -> None:
    assert told["stretched"]["broadcast_target"] == "problem"
    assert "broadcast_target" not in told["fitting"]


@pytest.mark.parametrize("run", ["weighted", "several", "divergence"])
def test_losses_that_keras_takes_so_are_no_alarm(told: dict[str, Any], run: str) -> None:
    assert [rule for rule, level in told[run].items() if level == "problem"] == []
