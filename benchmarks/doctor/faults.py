"""Faults, each a change of a healthy program, with the rules that would name it and the layer where it sits."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from programs import Parts, Program
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Fault:
    """One mutation operator.

    Args:
        name: as the table shows it.
        rules: any of these names it rightly.
        spoil: the program with the fault, or None where it does not apply.
        layers: the names of the layers that it spoils in a spoiled model, where it spoils some and not all.
    """

    name: str
    rules: tuple[str, ...]
    spoil: Callable[[Program], Program | None]
    layers: Callable[[nn.Module], set[str]] | None = None


def _data(change: Callable[[Parts], Parts]) -> Callable[[Program], Program]:
    return lambda program: replace(program, prepare=[*program.prepare, change])


def _model(change: Callable[[nn.Module], nn.Module]) -> Callable[[Program], Program]:
    return lambda program: replace(program, alter=[*program.alter, change])


def _weights(change: Callable[[Tensor], object], only: int | None = None) -> Callable[[Program], Program]:
    """Changes weight matrices at the start: all, or the one at a place."""

    def alter(model: nn.Module) -> nn.Module:
        matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
        for place, matrix in enumerate(matrices):
            if only in (None, place):
                with torch.no_grad():
                    change(matrix)
        return model

    return _model(alter)


def _for_classes(spoil: Callable[[Program], Program]) -> Callable[[Program], Program | None]:
    return lambda program: spoil(program) if program.loss is functional.cross_entropy else None


def _for_numbers(spoil: Callable[[Program], Program]) -> Callable[[Program], Program | None]:
    return lambda program: spoil(program) if program.loss is functional.mse_loss else None


def _set(**settings: object) -> Callable[[Program], Program]:
    return lambda program: replace(program, **settings)  # type: ignore[arg-type]


def _with_tail(module: nn.Module) -> Callable[[Program], Program]:
    return _model(lambda model: nn.Sequential(model, module))


def _replace_modules(old: tuple[type[nn.Module], ...], new: Callable[[], nn.Module]) -> Callable[[Program], Program | None]:
    def alter(model: nn.Module) -> nn.Module:
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, old):
                    setattr(parent, name, new())
        return model

    def spoil(program: Program) -> Program | None:
        if not any(isinstance(module, old) for module in program.model(program.data(0)).modules()):
            return None
        return _model(alter)(program)

    return spoil


def _shuffled(parts: Parts) -> Parts:
    return replace(parts, y=parts.y[torch.randperm(len(parts.y))])


def _sorted(parts: Parts) -> Parts:
    order = parts.y.reshape(-1).argsort()
    return replace(parts, x=parts.x[order], y=parts.y[order])


def _scaled(factor: float, shift: float = 0.0) -> Callable[[Parts], Parts]:
    return lambda parts: replace(parts, x=parts.x * factor + shift, x_held=parts.x_held * factor + shift)


def _rare(parts: Parts) -> Parts:
    keep = (parts.y.reshape(-1) == parts.y.reshape(-1)[0]) | (torch.arange(len(parts.y)) % 25 == 0)
    return replace(parts, x=parts.x[keep], y=parts.y[keep])


def _large(parts: Parts) -> Parts:
    return replace(parts, y=parts.y * 500 + 3000, y_held=parts.y_held * 500 + 3000)


def _missing_value(parts: Parts) -> Parts:
    x = parts.x.clone()
    x[::50] = float("nan")
    return replace(parts, x=x)


def _leaves(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in model.named_modules() if not any(module.children())]


def _around(place: int) -> Callable[[nn.Module], set[str]]:
    """The layer of the weight matrix at a place, with what follows it up to the next one: its output is seen there, too."""

    def found(model: nn.Module) -> set[str]:
        groups: list[list[str]] = []  # for each weight matrix
        for name, module in _leaves(model):
            matrices = sum(parameter.ndim > 1 for parameter in module.parameters(recurse=False))
            if matrices:
                groups += [[name]] * matrices
            elif groups:
                groups[-1] = [*groups[-1], name]
        return set(groups[place])

    return found


def _all_but_the_last(model: nn.Module) -> set[str]:
    return {name for name, module in _leaves(model)[:-1] if any(True for _ in module.parameters())}


def _dropouts(model: nn.Module) -> set[str]:
    return {name for name, module in _leaves(model) if isinstance(module, nn.Dropout)}


def _tail(model: nn.Module) -> set[str]:
    return {_leaves(model)[-1][0]}


def _dropout(rate: float) -> Callable[[Program], Program | None]:
    return _replace_modules((nn.Dropout,), lambda: nn.Dropout(rate))


def _detached(program: Program) -> Program:
    return replace(program, held_by=lambda model: list(model.parameters())[-2:])


def _broadcast(output: Tensor, target: Tensor) -> Tensor:
    return functional.mse_loss(output, target.squeeze(1))


def _squared(output: Tensor, target: Tensor) -> Tensor:
    return functional.mse_loss(output.softmax(1), functional.one_hot(target, output.shape[1]).float())


def _deeper(module: type[nn.Module]) -> Callable[[Program], Program | None]:
    """Eight more layers between the body and the last linear layer."""

    def alter(model: nn.Module) -> nn.Module:
        assert isinstance(model, nn.Sequential)
        width = model[-1].in_features
        more = [layer for _ in range(8) for layer in (nn.Linear(width, width), module())]
        return nn.Sequential(*list(model)[:-1], *more, model[-1])

    def spoil(program: Program) -> Program | None:
        model = program.model(program.data(0))
        return _model(alter)(program) if isinstance(model, nn.Sequential) and hasattr(model[-1], "in_features") else None

    return spoil


def _relu_killed(model: nn.Module) -> nn.Module:
    biases = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    with torch.no_grad():
        biases[0].fill_(-20.0)
    return model


class _Listed(nn.Module):
    """The layers of a sequential model, all but the last in a plain list, which no module looks into."""

    def __init__(self, model: nn.Sequential) -> None:
        super().__init__()
        self.hidden, self.head = list(model)[:-1], model[-1]

    def forward(self, x: Tensor) -> Tensor:
        """What the sequential model gives."""
        for layer in self.hidden:
            x = layer(x)
        return self.head(x)


def _listed(program: Program) -> Program | None:
    return _model(_Listed)(program) if isinstance(program.model(program.data(0)), nn.Sequential) else None


def _rows_for_steps(program: Program) -> Program | None:
    def alter(model: nn.Module) -> nn.Module:
        model.gru.batch_first = False
        return model

    return _model(alter)(program) if hasattr(program.model(program.data(0)), "gru") else None


def _over_rows(output: Tensor, target: Tensor) -> Tensor:
    return functional.nll_loss(output.log_softmax(0), target)


_LOW = ("learning_rate_too_low", "too_few_epochs")
_HIGH = ("learning_rate_too_high", "nonfinite_values", "exploding_gradient")
_STARVED = ("vanishing_gradient", "collapsed_activations", "small_initialisation", "activation_drift")

FAULTS = (
    Fault("learning rate x 100", _HIGH, lambda program: replace(program, rate=program.rate * 100)),
    Fault("learning rate x 1000, SGD", _HIGH, lambda program: replace(program, rate=program.rate * 1000, optimizer="SGD")),
    Fault("learning rate / 1000", _LOW, lambda program: replace(program, rate=program.rate / 1000)),
    Fault("plain SGD at 1e-5", _LOW, _set(rate=1e-5, optimizer="SGD")),
    Fault("one epoch", ("too_few_epochs",), _set(epochs=1)),
    Fault("one batch an epoch", ("batch_size", "too_few_epochs"), _set(batch=100_000)),
    Fault("inputs x 255", ("unscaled_inputs",), _data(_scaled(255.0))),
    Fault("inputs + 100", ("unscaled_inputs",), _data(_scaled(1.0, 100.0))),
    Fault("inputs / 1000", ("double_scaled_inputs",), _data(_scaled(0.001))),
    Fault("missing values", ("nonfinite_input", "nonfinite_values"), _data(_missing_value)),
    Fault("targets x 500 + 3000", ("unscaled_targets",), _for_numbers(_data(_large))),
    Fault("labels shuffled", ("unrelated_labels",), _data(_shuffled)),
    Fault("sorted, no shuffling", ("no_shuffling",), lambda program: replace(_data(_sorted)(program), shuffle=False)),
    Fault("one class only now and then", ("class_imbalance",), _for_classes(_data(_rare))),
    Fault("weights 0", ("constant_initialisation",), _weights(lambda matrix: matrix.zero_())),
    Fault("weights constant", ("constant_initialisation",), _weights(lambda matrix: matrix.fill_(0.1))),
    Fault("weights x 30", ("large_initialisation",), _weights(lambda matrix: matrix.mul_(30))),
    Fault("weights / 1000", ("small_initialisation", *_STARVED), _weights(lambda matrix: matrix.div_(1000))),
    Fault("first layer's biases -20", ("dead_relu", "collapsed_activations"), _model(_relu_killed), _around(0)),
    Fault("second layer's weights x 30", ("large_initialisation", "activation_drift", *_HIGH),
          _weights(lambda matrix: matrix.mul_(30), only=1), _around(1)),
    Fault("second layer's weights / 1000", ("small_initialisation", *_STARVED),
          _weights(lambda matrix: matrix.div_(1000), only=1), _around(1)),
    Fault("second layer's weights 0", ("constant_initialisation", "small_initialisation", *_STARVED),
          _weights(lambda matrix: matrix.zero_(), only=1), _around(1)),
    Fault("eight more sigmoid layers", _STARVED, _deeper(nn.Sigmoid)),
    Fault("activations removed", ("missing_activation",), _replace_modules((nn.ReLU, nn.Tanh), nn.Identity)),
    Fault("softmax before the loss", ("softmax_twice",), _for_classes(_with_tail(nn.Softmax(1)))),
    Fault("squared error on classes", ("regression_loss_on_classes",), _for_classes(_set(loss=_squared))),
    Fault("relu on the output", ("output_range", "collapsed_activations", "logits_as_probabilities"), _with_tail(nn.ReLU())),
    Fault("sigmoid on a number", ("output_range",), _for_numbers(_with_tail(nn.Sigmoid()))),
    Fault("softmax over the rows", ("softmax_over_rows",), _for_classes(_set(loss=_over_rows))),
    Fault("rows taken for steps", ("mixed_rows",), _rows_for_steps),
    Fault("layers in a list", ("unregistered_parameter",), _listed),
    Fault("target broadcast", ("broadcast_target",), _for_numbers(_set(loss=_broadcast))),
    Fault("no zero_grad", ("missing_zero_grad",), _set(zero_grad=False)),
    Fault("zero_grad before the step", ("discarded_gradients",), _set(zero_grad_late=True)),
    Fault("weight decay of 1", ("strong_weight_decay",), _set(decay=1.0)),
    Fault("no optimiser step", ("backward_without_step",), _set(step=False)),
    Fault("optimiser holds the last layer only", ("never_updated", "frozen_layers"), _detached, _all_but_the_last),
    Fault("optimiser of another model", ("foreign_parameters", "never_updated"),
          lambda program: replace(program, held_by=lambda model: list(program.model(program.data(0)).parameters()))),
    Fault("everything frozen but the head", ("frozen_layers",), _model(lambda model: _freeze(model)), _all_but_the_last),
    Fault("training in evaluation mode", ("evaluation_mode_in_training",), _set(training_mode=False)),
    Fault("evaluation in training mode", ("training_mode_in_evaluation",), _set(evaluation_mode=False)),
    Fault("dropout 0.95", ("strong_dropout",), _dropout(0.95), _dropouts),
    Fault("dropout on the output", ("dropout_at_the_output", "strong_dropout"), _with_tail(nn.Dropout(0.5)), _tail),
)  # fmt: skip


def _freeze(model: nn.Module) -> nn.Module:
    for parameter in list(model.parameters())[:-2]:
        parameter.requires_grad_(False)
    return model
