"""The doctor in Keras 3, with torch or TensorFlow behind it: a callback for `fit`.

Keras computes inside functions that no hook reaches (with TensorFlow they are compiled). So on sampled steps the callback takes
some training rows through the model itself, forwards and backwards, on copies of all variables: nothing of the run changes, not
even dropout's random numbers. What goes into `fit` is read where it goes in, by a wrapper around `fit`.
"""

import contextlib
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import Tensor

from titrant.doctor import backend  # noqa: F401  isort: skip  before Keras
import keras  # isort: skip

from titrant.doctor.case import Case, Evaluation, Family
from titrant.doctor.finding import Findings
from titrant.doctor.probes import EnoughSeen, Probes
from titrant.doctor.recorder import Recorder
from titrant.doctor.rules import diagnose
from titrant.doctor.rules.reading import NUMBER_LOSSES

_PROBE_ROWS = 64
_MOST_ROWS = 20_000
_LOSSES = {
    "categorical_crossentropy": "categorical", "sparse_categorical_crossentropy": "sparse_categorical",
    "categorical_focal_crossentropy": "categorical", "binary_crossentropy": "bce", "binary_focal_crossentropy": "bce",
    "mean_squared_error": "mse", "mse": "mse", "mean_absolute_error": "mae", "mae": "mae", "huber": "huber",
    "mean_squared_logarithmic_error": "msle", "msle": "msle", "mean_absolute_percentage_error": "mape", "mape": "mape",
    "log_cosh": "log_cosh", "logcosh": "log_cosh", "hinge": "hinge", "squared_hinge": "hinge", "kl_divergence": "kl",
    "poisson": "poisson",
}  # fmt: skip
_FAMILIES: dict[str, Family] = {
    "BatchNorm": "normalisation", "LayerNorm": "normalisation", "GroupNorm": "normalisation", "RMSNorm": "normalisation",
    "UnitNorm": "normalisation", "Dense": "linear", "EinsumDense": "linear", "Conv": "convolution",
    "SeparableConv": "convolution", "DepthwiseConv": "convolution", "Embedding": "embedding", "LSTM": "recurrent",
    "GRU": "recurrent", "SimpleRNN": "recurrent", "MultiHeadAttention": "attention", "Attention": "attention",
    "Dropout": "dropout", "SpatialDropout": "dropout", "AlphaDropout": "dropout", "ReLU": "relu", "Softmax": "softmax",
    "LeakyReLU": "activation", "PReLU": "activation", "ELU": "activation",
}  # fmt: skip
_LINEAR_LAYERS = (
    "Flatten", "Reshape", "Permute", "Dropout", "SpatialDropout", "BatchNorm", "LayerNorm", "AveragePooling",
    "GlobalAveragePooling", "ZeroPadding", "Cropping", "Rescaling", "Normalization", "GaussianNoise", "RepeatVector",
)  # fmt: skip


class DoctorCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Watches `fit`; afterwards `findings` says what looked sick, and `print(callback.findings)` reads as text.

    Args:
        every: the widest gap between looks, in steps, from 1.

    Example:
        model.fit(X, y, epochs=5, callbacks=[doctor := DoctorCallback()])
        print(doctor.findings)
    """

    def __init__(self, every: int = 250) -> None:
        super().__init__()
        self.recorder = Recorder(every)
        self.recorder.case.framework = "keras"
        self.steps: int | None = None
        self._rows: tuple[Any, Any] | None = None
        self._gradients: dict[str, Tensor | None] = {}
        self._variables: list[tuple[Any, str, Any]] = []
        self._seen_in_epoch = 0
        self._sum_in_epoch = 0.0
        self.epochs_done = 0
        _wrap_fit()

    @property
    def case(self) -> Case:
        """What has been recorded so far."""
        return self.recorder.close()

    @property
    def findings(self) -> Findings:
        """What the rules say about it, the gravest first."""
        return diagnose(self.case)

    # What Keras calls

    def on_train_begin(self, logs: Any = None) -> None:
        """Takes up the model."""
        case, model = self.recorder.case, self.model
        self._build(model)
        case.optimizer = type(model.optimizer).__name__
        case.wiring.optimizers = 1
        self._variables = list(_variables(model))
        for variable, layer, owner in self._variables:
            self._take_up(variable, layer, owner)
        _objective(case, model)

    def _build(self, model: Any) -> None:
        """Makes the weights of a model that would make them with its first batch, so that their start can be seen."""
        if not model.built and isinstance(model, keras.Sequential) and self._rows is not None:
            with contextlib.suppress(Exception):  # then its first batch makes them
                model.build((None, *_first(self._rows[0]).shape[1:]))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts the mean over an epoch, which Keras gives in place of a batch's loss."""
        self._seen_in_epoch, self._sum_in_epoch = 0, 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Looks at layers and gradients, if it is time."""
        if self.steps is not None and self.recorder.step >= self.steps:
            raise EnoughSeen
        if self.recorder.due:
            self._look()
            for variable, _, _ in self._variables:
                self.recorder.before_step(variable.path, _tensor(variable))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Notes the loss, and what the step did."""
        mean = (logs or {}).get("loss")
        if mean is not None:
            self._seen_in_epoch += 1
            total = float(mean) * self._seen_in_epoch
            self.recorder.loss(torch.tensor(total - self._sum_in_epoch))
            self._sum_in_epoch = total
        recorder = self.recorder
        if recorder.due:
            with contextlib.suppress(TypeError, ValueError, AttributeError):  # an optimiser without a plain learning rate
                recorder.rate(float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)))
            for variable, _, _ in self._variables:
                gradient = self._gradients.get(variable.path)
                recorder.after_step(variable.path, _tensor(variable), gradient, held=True if variable.trainable else None)
            recorder.settle()
        recorder.next_step()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Notes the metrics of the epoch."""
        logs = {name: float(value) for name, value in (logs or {}).items() if np.ndim(value) == 0}
        metrics = {name: value for name, value in logs.items() if name not in ("loss", "val_loss")}
        self.recorder.case.evaluations.append(
            Evaluation(step=self.recorder.step, loss=logs.get("val_loss"), training_loss=logs.get("loss"), metrics=metrics)
        )
        self.recorder.case.objective.metrics = [name for name in metrics if not name.startswith("val_")]
        self.epochs_done += 1

    def batch(self, model: Any, x: Any, y: Any, train: Callable[[], Any]) -> Any:
        """One call of `train_on_batch`, in place of the batches of a `fit`."""
        with contextlib.suppress(Exception):  # data of a kind that is not known are left alone
            if self.recorder.due:
                self._take(_arrays(x), _arrays(y))
                if y is not None:
                    self.recorder.batch_labels(_torch(_first(_arrays(y))))
        if not self._variables:
            self.set_model(model)
            self.on_train_begin()
        self.on_train_batch_begin(self.recorder.step)
        result = train()
        loss = result.get("loss") if isinstance(result, dict) else np.ravel(result)[0]
        self._seen_in_epoch, self._sum_in_epoch = 0, 0.0
        self.on_train_batch_end(self.recorder.step, {"loss": loss})
        return result

    # The data, as they go into fit

    def data(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Reads what `fit` was called with; returns it with generators replaced by ones that are listened to."""
        case, x, y = self.recorder.case, arguments.get("x"), arguments.get("y")
        case.epochs_planned = (case.epochs_planned or 0) + int(arguments.get("epochs") or 1)
        case.objective.weighted |= arguments.get("class_weight") is not None or arguments.get("sample_weight") is not None
        callbacks = _as_list(arguments.get("callbacks"))
        self.recorder.callbacks(callbacks)
        for callback in callbacks:
            if isinstance(callback, keras.callbacks.EarlyStopping):
                case.patience = callback.patience
        if self._rows is None and x is not None:
            if isinstance(x, Iterator):
                arguments["x"] = self._listen(x)
            else:
                with contextlib.suppress(Exception):  # data of a kind that is not known are left alone
                    self._read(x, y, arguments)
        return arguments

    def _read(self, x: Any, y: Any, arguments: dict[str, Any]) -> None:
        loader = self.recorder.case.loader
        if not _is_arrays(x):
            x, y = _first_batch(x)
            self._take(x, y)
            return
        x, y = _arrays(x), _arrays(y)
        rows = len(_first(x))
        split = float(arguments.get("validation_split") or 0)
        held = arguments.get("validation_data")
        held_x, held_y = (None, None)
        if held is not None and _is_arrays(held[0]):
            held_x, held_y = _arrays(held[0]), _arrays(held[1])
        elif split:
            cut = math.floor(rows * (1 - split))
            held_x, held_y = _part(x, slice(cut, None)), _part(y, slice(cut, None))
            x, y, rows = _part(x, slice(0, cut)), _part(y, slice(0, cut)), cut
        loader.rows, loader.batch = rows, int(arguments.get("batch_size") or 32)
        loader.shuffled = bool(arguments.get("shuffle", True))
        self._take(x, y)
        if held_x is not None:
            self.recorder.fingerprints(_torch(_first(held_x))[:_MOST_ROWS], training=False)
            loader.class_shift = _class_shift(_first(y), _first(held_y))
        if loader.shuffled is False and y is not None:
            for start in range(0, min(rows, 60 * loader.batch), loader.batch):
                self.recorder.batch_labels(_torch(_first(y)[start : start + loader.batch]))

    def _take(self, x: Any, y: Any) -> None:
        first, answers = _first(x), None if y is None else _first(y)
        chosen = np.sort(np.random.default_rng(0).permutation(len(first))[:_PROBE_ROWS])
        self._rows = (_part(x, chosen), None if y is None else _part(y, chosen))
        inputs = _torch(first)
        if len(inputs) > _MOST_ROWS:
            some = np.sort(np.random.default_rng(1).permutation(len(first))[:_MOST_ROWS])
            inputs, answers = _torch(first[some]), None if answers is None else answers[some]
        self.recorder.inputs(inputs, None if answers is None else _torch(answers))

    def _listen(self, batches: Iterator[Any]) -> Iterator[Any]:
        for number, batch in enumerate(batches):
            if number < 60 and isinstance(batch, (tuple, list)) and len(batch) >= 2:
                with contextlib.suppress(Exception):
                    x, y = _arrays(batch[0]), _arrays(batch[1])
                    self._take(x, y)
                    self.recorder.batch_labels(_torch(_first(y)))
            yield batch

    # A look at the model

    def _take_up(self, variable: Any, layer: str, owner: Any) -> None:
        shape = tuple(variable.shape)
        self.recorder.parameter(
            variable.path,
            layer,
            0,
            _tensor(variable),
            fan_in=math.prod(shape[:-1]),
            trainable=bool(variable.trainable),
            embedding=_family(owner) == "embedding",
        )

    def _look(self) -> None:
        if self._rows is None or not self.model.built:
            return
        capture = _Capture(self.recorder, self.model)
        try:
            self._gradients = _gradients(self.model, *self._rows, capture)
        except Exception:  # a model that cannot be taken through on its own is watched by its loss and weights only
            self._rows = None
        capture.sum_up()


class _Capture:
    """Notes what each layer puts out in one pass, before and after its activation."""

    def __init__(self, recorder: Recorder, model: Any) -> None:
        self._recorder, self._model = recorder, model
        self._leaves = {id(layer): name for layer, name in _leaves(model)}
        self._order = 0
        self._done: set[int] = set()
        self._source: dict[int, str | None] = {}
        self._alive: list[Any] = []  # keeps tensors, so that no two of them have one id
        self._pairs: list[tuple[str, str]] = []
        self._weighted = 0
        self.output: Any = None
        self.target: Any = None

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Patches layers for the time of one pass."""
        original = keras.layers.Layer.__call__
        activations = [(layer, layer.activation) for layer, _ in _leaves(self._model) if _weighted_with_activation(layer)]

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            output = original(layer, *args, **kwargs)
            if id(layer) in self._leaves and id(layer) not in self._done:
                self._done.add(id(layer))
                self._called(layer, args, output)
            return output

        try:
            for layer, function in activations:
                object.__setattr__(layer, "activation", self._around(layer, function))
            keras.layers.Layer.__call__ = call
            yield
        finally:
            keras.layers.Layer.__call__ = original
            for layer, function in activations:
                object.__setattr__(layer, "activation", function)

    def _around(self, layer: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        def activation(values: Any) -> Any:
            name = self._leaves[id(layer)]
            self._record(name, type(layer).__name__, _family(layer) or "other", values)
            output = function(values)
            if _activation_name(function) != "linear":
                kind = _activation_name(function)
                self._record(f"{name} ({kind})", kind, _activation_family(kind), output)
            return output

        activation.__name__ = _activation_name(function)
        return activation

    def _called(self, layer: Any, args: Any, output: Any) -> None:
        name, kind, family = self._leaves[id(layer)], type(layer).__name__, _family(layer)
        tensor = output[0] if isinstance(output, (tuple, list)) else output
        given = args[0] if args else None
        self._alive += [tensor, given]
        source = self._source.get(id(given))
        if family in ("linear", "convolution"):
            self._weighted += 1
            if source is not None:
                self._pairs.append((source, name))
            self._source[id(tensor)] = name if _activation_name(getattr(layer, "activation", None)) == "linear" else None
        elif kind.startswith(_LINEAR_LAYERS) or (kind == "Activation" and _activation_name(layer.activation) == "linear"):
            self._source[id(tensor)] = source
        if not _weighted_with_activation(layer):
            family = _activation_family(_activation_name(layer.activation)) if kind == "Activation" else family or "other"
            self._record(name, kind, family, tensor, getattr(layer, "rate", None) if family == "dropout" else None)

    def _record(self, name: str, kind: str, family: Family, values: Any, rate: float | None = None) -> None:
        tensor = _torch(values)
        if (
            tensor.ndim >= 3
            and (family == "convolution" or tensor.ndim >= 4)
            and keras.config.image_data_format() != "channels_first"
        ):
            tensor = tensor.movedim(-1, 1)
        self._recorder.layer(name, kind, family, self._order, tensor, rate)
        self._order += 1

    def sum_up(self) -> None:
        """Notes what is known of the objective after one pass."""
        objective = self._recorder.case.objective
        if self._weighted:
            objective.linear_pairs, objective.weighted_layers = self._pairs, self._weighted
        if self.output is not None and not objective.output_shape:
            objective.output_shape = list(self.output.shape)
            objective.target_shape = [] if self.target is None else list(self.target.shape)
            if objective.loss in NUMBER_LOSSES and _stretched(objective.output_shape, objective.target_shape):
                self._recorder.case.wiring.broadcast = f"{objective.output_shape} - {objective.target_shape}"


def _stretched(output: list[int], target: list[int]) -> bool:
    """Whether Keras stretches one to fit the other, after it has dropped a last axis of one where their ranks differ by one."""
    longer, shorter = sorted((output, target), key=len, reverse=True)
    if len(longer) == len(shorter) + 1 and longer[-1] == 1:
        longer = longer[:-1]
    return bool(output and target) and longer != shorter


def _gradients(model: Any, x: Any, y: Any, capture: _Capture) -> dict[str, Tensor | None]:
    """Takes rows through copies of the model's variables; the gradient of each trainable one by its path."""
    trainable, other = model.trainable_variables, model.non_trainable_variables
    inputs, targets = keras.tree.map_structure(_to_backend, x), None if y is None else keras.tree.map_structure(_to_backend, y)

    def loss_of(values: list[Any]) -> Any:
        mapping = [*zip(trainable, values, strict=True), *((variable, variable.value) for variable in other)]
        with keras.StatelessScope(state_mapping=mapping), capture.watching():
            output = model(inputs, training=True)
            capture.output = keras.tree.flatten(output)[0]
            capture.target = None if targets is None else keras.tree.flatten(targets)[0]
            return model.compute_loss(x=inputs, y=targets, y_pred=output, training=True)

    gradients: list[Any]
    if keras.backend.backend() == "tensorflow":
        tensorflow = sys.modules["tensorflow"]  # Keras has loaded it
        values = [tensorflow.convert_to_tensor(variable.value) for variable in trainable]
        with tensorflow.GradientTape() as tape:
            tape.watch(values)
            loss = loss_of(values)
        gradients = tape.gradient(loss, values)
    else:
        values = [variable.value.detach().clone().requires_grad_(variable.value.is_floating_point()) for variable in trainable]
        with torch.enable_grad(), torch.random.fork_rng():  # Keras' dropout draws from torch's global stream
            gradients = list(torch.autograd.grad(loss_of(values), values, allow_unused=True))
    found = (None if gradient is None else _torch(gradient) for gradient in gradients)
    return {variable.path: gradient for variable, gradient in zip(trainable, found, strict=True)}


# What a model is made of


def _leaves(model: Any) -> Iterator[tuple[Any, str]]:
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if _family(layer) is not None or not list(layer._flatten_layers(include_self=False)):
            yield layer, layer.name


def _variables(model: Any) -> Iterator[tuple[Any, str, Any]]:
    """Weights proper, with the name of their layer and the layer."""
    for layer in model._flatten_layers(include_self=True, recursive=True):
        for variable in layer._trainable_variables:
            yield variable, layer.name, layer


def _family(layer: Any) -> Family | None:
    kind = type(layer).__name__
    return next((family for start, family in _FAMILIES.items() if kind.startswith(start)), None)


def _weighted_with_activation(layer: Any) -> bool:
    return _family(layer) in ("linear", "convolution") and callable(getattr(layer, "activation", None))


def _activation_name(function: Any) -> str:
    if function is None:
        return "linear"
    return str(getattr(function, "__name__", type(function).__name__)).lower()


def _activation_family(name: str) -> Family:
    known: dict[str, Family] = {"relu": "relu", "relu6": "relu", "sigmoid": "sigmoid", "tanh": "tanh", "softmax": "softmax"}
    return known.get(name, "activation")


def _objective(case: Case, model: Any) -> None:
    objective = case.objective
    loss = model.loss
    if len(getattr(model, "outputs", None) or []) > 1:
        objective.several = True  # what Keras calls the loss is their sum
        return
    objective.several = bool(model.losses)  # penalties of weights among it
    loss = keras.tree.flatten(loss)[0] if isinstance(loss, (list, tuple, dict)) and loss else loss
    name = loss if isinstance(loss, str) else getattr(loss, "name", None) or getattr(loss, "__name__", "")
    name = _snake(str(name))
    kind = _LOSSES.get(name, "unknown")
    if isinstance(loss, keras.losses.Loss) and loss.get_config().get("from_logits"):
        kind = {"bce": "bce_logits"}.get(kind, "cross_entropy")
    objective.loss, objective.called = kind, name
    objective.activation = _last_activation(model)


def _snake(name: str) -> str:
    spaced = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
    return spaced if spaced.replace("_", "") != name.lower().replace("_", "") or not name.isupper() else name.lower()


def _last_activation(model: Any) -> str:
    for layer in reversed(model.layers):
        kind = type(layer).__name__
        if hasattr(layer, "layers"):
            return _last_activation(layer)
        if kind in ("Flatten", "Reshape", "Dropout"):
            continue
        if kind in ("Softmax", "ReLU", "LeakyReLU", "ELU"):
            return {"LeakyReLU": "leaky_relu"}.get(kind, kind.lower())
        return _activation_name(layer.activation) if hasattr(layer, "activation") else "unknown"
    return "unknown"


# Arrays and tensors


def _to_backend(array: Any) -> Any:
    if array.dtype.kind == "f":
        array = array.astype(keras.config.floatx())
    return keras.ops.convert_to_tensor(array)


def _tensor(variable: Any) -> Tensor:
    value = variable.value
    return value.detach() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))


def _torch(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    array = np.array(value)
    return torch.from_numpy(array) if array.dtype.kind in "fiub" else torch.zeros(0)


def _is_arrays(data: Any) -> bool:
    if isinstance(data, (list, tuple, dict)):
        return bool(data)
    return hasattr(data, "shape") and hasattr(data, "__getitem__")


def _arrays(data: Any) -> Any:
    """Arrays, tensors, data frames and lists of numbers as NumPy arrays, in the same structure."""
    if data is None:
        return None
    if isinstance(data, dict):
        return {name: _arrays(part) for name, part in data.items()}
    if isinstance(data, (list, tuple)) and data and hasattr(data[0], "shape"):
        return [_arrays(part) for part in data]
    return data.detach().cpu().numpy() if isinstance(data, Tensor) else np.asarray(data)


def _first(data: Any) -> Any:
    if isinstance(data, dict):
        return next(iter(data.values()))
    return data[0] if isinstance(data, list) else data


def _part(data: Any, rows: Any) -> Any:
    return None if data is None else keras.tree.map_structure(lambda array: array[rows], data)


def _first_batch(data: Any) -> tuple[Any, Any]:
    """The first batch of a data set that can be read more than once."""
    if isinstance(data, keras.utils.PyDataset):
        batch = data[0]
    elif isinstance(data, torch.utils.data.DataLoader):
        with torch.random.fork_rng():
            count = min(_PROBE_ROWS, len(data.dataset))  # type: ignore[arg-type]
            batch = (data.collate_fn or torch.utils.data.default_collate)([data.dataset[at] for at in range(count)])
    elif hasattr(data, "take"):
        batch = next(iter(data.take(1)))
    else:
        raise TypeError(type(data))
    return _arrays(batch[0]), _arrays(batch[1])


def _class_shift(training: Any, held: Any) -> float | None:
    """Half the sum of the differences between class shares (total variation); None where the targets are no classes."""
    if training is None or held is None or len(held) < 10:
        return None
    training, held = np.asarray(training), np.asarray(held)
    if training.ndim > 1 and training.shape[1] > 1:
        training, held = training.argmax(1), held.argmax(1)
    classes = np.unique(np.concatenate([training.reshape(-1), held.reshape(-1)]))
    if len(classes) > 20 or training.dtype.kind not in "iufb" or (classes != np.round(classes)).any():
        return None
    shares = [np.asarray([(labels == name).mean() for name in classes]) for labels in (training, held)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


# Around fit


class _Forced:
    """Observation of a whole process: the first model that trains is the patient."""

    def __init__(self, probes: Probes, epochs: int | None, steps: int | None) -> None:
        self.probes, self.epochs = probes, epochs
        self.doctor = DoctorCallback()
        self.doctor.recorder, self.doctor.steps = probes.recorder, steps
        self.patient: Any = None

    def attends(self, model: Any) -> bool:
        """True if this model is the patient, or becomes it."""
        if self.patient is None:
            self.patient = model
            self.probes.recorder.case.framework = "keras"
        return self.patient is model

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While Keras works, the hooks in torch rest."""
        before, self.probes.asleep = self.probes.asleep, True
        try:
            yield
        finally:
            self.probes.asleep = before


_forced: _Forced | None = None
_wrapped = False


def install(probes: Probes, epochs: int | None, steps: int | None) -> None:
    """Watches the training of this process's first model, with the recorder of `probes`."""
    global _forced
    _forced = _Forced(probes, epochs, steps)
    _wrap_fit()


def _wrap_fit() -> None:
    global _wrapped
    if _wrapped:
        return
    _wrapped = True
    fit, on_batch = keras.Model.fit, keras.Model.train_on_batch
    parameters = signature(fit)

    def watched_fit(model: Any, *args: Any, **kwargs: Any) -> Any:
        bound = parameters.bind(model, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        arguments.pop(next(iter(parameters.parameters)))
        callbacks = list(_as_list(arguments.get("callbacks")))
        doctor = next((callback for callback in callbacks if isinstance(callback, DoctorCallback)), None)
        if doctor is not None or _forced is None:
            return fit(model, **(arguments if doctor is None else doctor.data(arguments)))
        with _forced.alone():
            if not _forced.attends(model):
                return fit(model, *args, **kwargs)
            doctor, epochs = _forced.doctor, _forced.epochs
            if epochs is not None:
                if doctor.epochs_done >= epochs:
                    raise EnoughSeen
                doctor.recorder.case.cut_short |= arguments["epochs"] > epochs
                arguments["epochs"] = min(arguments["epochs"], epochs)
            arguments["callbacks"] = [*callbacks, doctor]
            return fit(model, **doctor.data(arguments))

    def watched_batch(model: Any, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        if _forced is None:
            return on_batch(model, x, y, *args, **kwargs)
        with _forced.alone():
            if not _forced.attends(model):
                return on_batch(model, x, y, *args, **kwargs)
            return _forced.doctor.batch(model, x, y, lambda: on_batch(model, x, y, *args, **kwargs))

    watched_fit.__doc__, watched_batch.__doc__ = fit.__doc__, on_batch.__doc__
    keras.Model.fit, keras.Model.train_on_batch = watched_fit, watched_batch


def _as_list(callbacks: Any) -> Iterable[Any]:
    if callbacks is None:
        return []
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return list(callbacks.callbacks)
    return callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
