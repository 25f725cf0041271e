"""The table of rules: what each looks for, its thresholds with their sources, the usual cause, and the remedy.

It is in order of cause: wrong data spoil gradients, and never the other way round, so of several findings the one that stands
first here is the one to mend first. Names of SageMaker Debugger's built-in rules are accepted for those that do the same.
Wherever a threshold can be relative (to the same run's start, to another layer, to a prediction that ignores the inputs), it
is: absolute numbers do not travel between losses and scales.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from titrant.doctor.finding import Finding, Level
from titrant.errors import TitrantError
from titrant.texts import say

AUTOTRAINER = "AutoTrainer (Zhang et al., ICSE 2021)"
DEEPDIAGNOSIS = "DeepDiagnosis (Wardat et al., ICSE 2022)"
UMLAUT = "UMLAUT (Schoop et al., CHI 2021)"
SAGEMAKER = "SageMaker Debugger's built-in rules"
NEURALINT = "NeuraLint (Nikanjam et al., TOSEM 2021)"
KARPATHY = "Karpathy, A Recipe for Training Neural Networks (2019)"
NOISE = "after McCandlish et al. 2018 (arXiv 1812.06162), who advise batches near the noise scale"
OURS = "chosen here, not published"
DEFINITION = "by definition"


@dataclass(frozen=True)
class Limit:
    """One threshold: its value, what is compared with it, and who says so."""

    value: float
    meaning: str
    source: str = OURS


@dataclass(frozen=True)
class Rule:
    """One line of the table.

    Args:
        name: also the name of the rule's function.
        family: data, objective, wiring, initialisation, learning_rate, units, gradients or fit.
        symptom: what is seen, in one sentence.
        cause: why it usually happens.
        remedy: what to do.
        limits: thresholds by name; none where the symptom is a plain fact.
        code: the remedy as lines to paste: PyTorch's where `keras` has others.
        keras: the same for a Keras program.
        change: the remedy as a change of recipe, path to value; `"* 0.1"` multiplies a dose, `"keep * 0.7"` the share of units
            that dropout keeps.
        otherwise: another such change, where the first may not be what the recipe lacks.
        aliases: names in other tools.
    """

    name: str
    family: str
    symptom: str
    cause: str
    remedy: str
    limits: dict[str, Limit] = field(default_factory=dict)
    code: str = ""
    keras: str = ""
    change: dict[str, Any] = field(default_factory=dict)
    otherwise: dict[str, Any] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()


_LOOSER = {"dropout": {"kind": "off"}, "regularize.l1": {"kind": "off"}, "regularize.l2": {"kind": "off"}}

_HE = "nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')"
_KERAS_HE = 'Dense(64, activation="relu", kernel_initializer="he_normal")'
_CLIP = "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # between backward and step"
_KERAS_CLIP = "model.compile(optimizer=keras.optimizers.Adam(1e-3, clipnorm=1.0), loss=...)"

_FASTER = {"learning_rate.peak": "* 10"}

_ENTRIES = (
    Rule(
        "crash",
        "wiring",
        say("The program ended by an error."),
        say("See the message and the place."),
        say("Mend the line that is named; the other findings were made up to that moment."),
    ),
    # Data
    Rule(
        "nonfinite_input",
        "data",
        say("Inputs or targets hold values that are not finite."),
        say("Missing values, or a division by zero while scaling (a constant column has the standard deviation 0)."),
        say("Impute or drop missing values before training, and never divide by a standard deviation of 0."),
        {"share": Limit(0, say("share of values that are not finite"), DEFINITION)},
        code="X = np.nan_to_num((X - X.mean(0)) / (X.std(0) + 1e-8))",
        aliases=("tensor_nan",),
    ),
    Rule(
        "label_out_of_range",
        "data",
        say("Labels lie outside what the loss can take."),
        say("Classes are counted from 1, a class was forgotten in the last layer, or labels are not coded as 0/1."),
        say("Code classes as 0, 1, ..., and give the last layer one unit for each class (one for two classes with a sigmoid)."),
        {"share": Limit(0, say("labels outside the range"), DEFINITION)},
        code="classes, y = np.unique(y, return_inverse=True)  # 0 .. len(classes) - 1",
    ),
    Rule(
        "unscaled_inputs",
        "data",
        say("Inputs are far from the range that initialisation and learning rates are made for."),
        say("Raw measurements or pixels (0 to 255) go into the network."),
        say("Scale inputs to mean 0 and standard deviation 1 with statistics of the training part (pixels: divide by 255)."),
        {
            "mean_abs": Limit(10, say("mean absolute input"), AUTOTRAINER),
            "spread": Limit(100, say("largest over smallest standard deviation among the features")),
        },
        code="mean, std = X_train.mean(0), X_train.std(0) + 1e-8\nX_train = (X_train - mean) / std  # X_test with the same two",
        change={"data.scale": {"kind": "standardize"}},
        aliases=("check_input_images",),
    ),
    Rule(
        "double_scaled_inputs",
        "data",
        say("Inputs are so small that they hardly differ from 0."),
        say("They were scaled twice, as when pixels that a loader has divided by 255 are divided again."),
        say("Scale once. Print the minimum and maximum of a batch as it enters the model."),
        {"high": Limit(0.02, say("largest absolute input"))},
        aliases=("all_zero",),
    ),
    Rule(
        "unscaled_targets",
        "data",
        say("Targets are far from the range in which a network's outputs start."),
        say("Outputs start near 0; the first thing to learn is the size of the targets, by huge gradients."),
        say("Scale the targets to mean 0 and standard deviation 1, and scale predictions back."),
        {"size": Limit(10, say("mean or standard deviation of the targets"))},
        code="y_train = (y_train - y_mean) / y_std  # prediction: model.predict(X) * y_std + y_mean",
    ),
    Rule(
        "constant_features",
        "data",
        say("Some features never change."),
        say("Columns that are empty, or the same for every row that was selected; after scaling, nothing but rounding noise."),
        say("Drop them; they carry nothing, and scaling them divides by 0."),
        {"share": Limit(0, say("features with the standard deviation 0"), DEFINITION)},
    ),
    Rule(
        "class_imbalance",
        "data",
        say("One class is much rarer than another."),
        say("The rare class hardly counts in the mean loss, and accuracy looks good without it."),
        say("Weight the loss by class, sample evenly, and judge by balanced accuracy or ROC AUC instead of accuracy."),
        {"ratio": Limit(10, say("rows of the commonest class over rows of the rarest"), SAGEMAKER)},
        code="nn.CrossEntropyLoss(weight=counts.sum() / (len(counts) * counts))",
        keras="model.fit(X, y, class_weight={0: n / (2 * n0), 1: n / (2 * n1)})",
        change={"regularize.class_weights": {"kind": "class_weights", "power": 1.0}},
        aliases=("class_imbalance",),
    ),
    Rule(
        "no_shuffling",
        "data",
        say("Batches hold far fewer classes, or a far narrower range of targets, than the data."),
        say("Rows are sorted by target and are not shuffled, so each batch pulls the network towards its own answer."),
        say("Shuffle the training rows before each epoch."),
        {
            "commonest": Limit(0.95, say("share of a batch that one class has, in more than half of the batches")),
            "variety": Limit(0.5, say("classes in a batch, relative to batches drawn at random")),
            "spread": Limit(0.3, say("standard deviation of the targets in a batch, relative to all")),
        },
        code="DataLoader(dataset, batch_size=32, shuffle=True)",
        keras="model.fit(X, y, shuffle=True)  # a tf.data.Dataset: .shuffle(len(X)) before .batch",
    ),
    Rule(
        "sorted_split",
        "data",
        say("The validation rows have other classes than the training rows."),
        say("The rows are sorted, and the validation part was cut off the end (as validation_split does)."),
        say("Shuffle before splitting, or split with equal shares of every class."),
        {"share": Limit(0.3, say("validation rows that would have to change class to have the shares of the training rows"))},
        code="X, X_val, y, y_val = train_test_split(X, y, test_size=0.2, stratify=y, shuffle=True)",
    ),
    Rule(
        "train_validation_overlap",
        "data",
        say("Validation rows stand among the training rows."),
        say("The split was made after copying or augmenting rows, or the same array was passed twice."),
        say("Split first, then copy, augment or sample; validation on training rows cannot show overfitting."),
        {"share": Limit(0.05, say("validation rows that are also training rows, beyond the share of rows repeated anyway"))},
    ),
    Rule(
        "unrelated_labels",
        "data",
        say("Labels have nothing to do with the inputs, as far as the nearest neighbours tell."),
        say("Inputs and labels were shuffled or sorted apart from each other, or the labels are random."),
        say("Shuffle both with the same permutation, and look at some rows with their labels."),
        {"gain": Limit(0.05, say("share of neighbours with equal labels, above chance"))},
        code="order = np.random.permutation(len(X))\nX, y = X[order], y[order]",
    ),
    # Objective
    Rule(
        "broadcast_target",
        "objective",
        say("Output and target have different shapes and were stretched to fit."),
        say("A column of shape [n, 1] meets a vector of shape [n]: the loss compares every output with every target."),
        say("Give both the same shape."),
        code="loss = criterion(output.squeeze(-1), target)",
        keras="model.fit(X, y.reshape(-1, 1))",
    ),
    Rule(
        "single_softmax",
        "objective",
        say("A softmax over one unit is always 1."),
        say("The output for two classes was given one unit and a softmax."),
        say("Use a sigmoid with binary cross-entropy for one unit, or two units with a softmax."),
        code="criterion = nn.BCEWithLogitsLoss()  # on the output of nn.Linear(width, 1), without nn.Softmax",
        keras='Dense(1, activation="sigmoid")  # with loss="binary_crossentropy"',
    ),
    Rule(
        "softmax_over_rows",
        "objective",
        say("Probabilities sum to 1 over the rows of a batch, not over the classes."),
        say("softmax was told to act on axis 0."),
        say("Let it act on the last axis: dim=-1. Better still, leave it out and use a loss that takes logits."),
        code="nn.CrossEntropyLoss()(logits, y)  # or torch.softmax(logits, dim=-1)",
        keras="keras.ops.softmax(logits, axis=-1)",
    ),
    Rule(
        "softmax_twice",
        "objective",
        say("A softmax is applied to probabilities."),
        say("The loss contains a softmax of its own and expects logits."),
        say("Remove the softmax (or log-softmax) from the model's end, or use a loss that takes probabilities."),
        code="criterion = nn.CrossEntropyLoss()  # on the output of the last nn.Linear, without nn.Softmax",
        keras="Dense(n_classes)  # no activation, with keras.losses.SparseCategoricalCrossentropy(from_logits=True)",
    ),
    Rule(
        "sigmoid_twice",
        "objective",
        say("A sigmoid is applied to probabilities."),
        say("The loss contains a sigmoid of its own and expects logits."),
        say("Remove the sigmoid from the model's end, or use nn.BCELoss (Keras: from_logits=False)."),
        code="criterion = nn.BCEWithLogitsLoss()  # on the output of the last nn.Linear",
        keras="Dense(1)  # no activation, with keras.losses.BinaryCrossentropy(from_logits=True)",
    ),
    Rule(
        "logits_as_probabilities",
        "objective",
        say("The loss expects probabilities, and the last layer gives unbounded numbers."),
        say("The last activation is missing, or the loss was not told that it gets logits."),
        say("End with softmax (several classes) or sigmoid (two), or use the loss that takes logits."),
        code="criterion = nn.CrossEntropyLoss()  # takes logits; nn.NLLLoss takes torch.log_softmax(logits, dim=-1)",
        keras='Dense(n_classes, activation="softmax")  # or keras.losses.SparseCategoricalCrossentropy(from_logits=True)',
    ),
    Rule(
        "activation_of_the_wrong_loss",
        "objective",
        say("The last activation belongs to another loss."),
        say("A sigmoid per class does not sum to 1, as categorical cross-entropy expects; a softmax makes classes exclusive."),
        say("Pair softmax with categorical cross-entropy, sigmoid with binary cross-entropy, linear with squared error."),
    ),
    Rule(
        "output_range",
        "objective",
        say("The last activation cannot reach the targets."),
        say("A sigmoid gives 0 to 1, tanh -1 to 1, relu nothing below 0, softmax shares of 1; the targets lie elsewhere."),
        say("End with a linear layer for regression, or scale the targets into the activation's range."),
        {"share": Limit(0.01, say("how far targets reach beyond the range, as a share of their own range"))},
        code="nn.Linear(width, 1)  # nothing behind it",
        keras="Dense(1)  # no activation",
    ),
    Rule(
        "regression_loss_on_classes",
        "objective",
        say("Classes are trained with a loss for numbers."),
        say("Squared error on probabilities gives almost no gradient where the network is surely wrong."),
        say("Use cross-entropy: categorical for several classes, binary for two."),
        code="criterion = nn.CrossEntropyLoss()  # on logits and whole numbers; two classes: nn.BCEWithLogitsLoss()",
        keras='model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])',
    ),
    Rule(
        "classification_loss_on_numbers",
        "objective",
        say("Numbers are trained with a loss for classes."),
        say("Cross-entropy is only defined for classes or probabilities."),
        say("Use mean squared or mean absolute error, with a linear output."),
        code="criterion = nn.MSELoss()  # on the output of nn.Linear(width, 1)",
        keras='model.compile(loss="mse", optimizer="adam", metrics=["mae"])',
        aliases=("confusion",),
    ),
    Rule(
        "accuracy_on_numbers",
        "objective",
        say("Accuracy is measured on a target that is a number."),
        say("Accuracy counts exact hits, of which there are none; it stays near 0 however well the model does."),
        say("Judge regression by mean absolute error or R squared."),
        code="error = (output - target).abs().mean()",
        keras='model.compile(loss="mse", optimizer="adam", metrics=["mae"])',
    ),
    Rule(
        "accuracy_contradicts_loss",
        "objective",
        say("The loss falls and the accuracy falls with it."),
        say("The loss measures another thing than the task: a wrong loss, a wrong metric, or labels coded otherwise for one."),
        say("Check that loss, metric and label coding belong together."),
        {"change": Limit(0.05, say("fall of the training accuracy while the loss falls by a tenth"))},
    ),
    Rule(
        "missing_activation",
        "objective",
        say("Weighted layers follow each other with nothing nonlinear in between."),
        say("Two linear layers in a row compute what one could: depth without an activation adds nothing."),
        say("Put an activation behind every hidden layer."),
        {"share": Limit(0.5, say("hidden layers without an activation, as a share"), UMLAUT)},
        code="nn.Sequential(nn.Linear(n, 64), nn.ReLU(), ...)",
        keras='Dense(64, activation="relu")',
        change={"activation": {"kind": "relu"}},
    ),
    # Mode and wiring
    Rule(
        "missing_zero_grad",
        "wiring",
        say("Gradients are added to those of earlier steps."),
        say("optimizer.zero_grad() is not called between steps: each step repeats all earlier ones."),
        say("Call optimizer.zero_grad() once in each step, before backward."),
        {"share": Limit(0.5, say("share of steps that began from old gradients"))},
        code="optimizer.zero_grad()\nloss.backward()\noptimizer.step()",
    ),
    Rule(
        "detached_loss",
        "wiring",
        say("No gradient reaches any weight."),
        say("The output was detached, turned into NumPy or made a new tensor, or computed under no_grad."),
        say("Keep the path from weights to loss in torch: no detach(), item(), numpy(), torch.tensor(...) or argmax in it."),
    ),
    Rule(
        "foreign_parameters",
        "wiring",
        say("The optimiser holds other parameters than the model that is trained."),
        say("It was made for another model, or before layers were replaced or moved."),
        say("Make the optimiser last, from the parameters of the very model that computes the loss."),
        code="optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)  # after the model is complete",
    ),
    Rule(
        "step_without_backward",
        "wiring",
        say("The optimiser steps without new gradients."),
        say("loss.backward() is missing, or gradients are cleared between backward and step."),
        say("Order each step so: zero_grad, forward, loss, backward, step."),
        {"share": Limit(0.5, say("share of steps without a gradient"))},
        code="optimizer.zero_grad()\nloss.backward()\noptimizer.step()",
    ),
    Rule(
        "backward_without_step",
        "wiring",
        say("Gradients are computed and no optimiser uses them."),
        say("optimizer.step() is missing, or out of reach behind a condition."),
        say("Call optimizer.step() after loss.backward()."),
        {"backwards": Limit(5, say("backward passes without any step"))},
        code="loss.backward()\noptimizer.step()",
    ),
    Rule(
        "unregistered_parameter",
        "wiring",
        say("The loss depends on layers that the model does not know of, and that are never trained."),
        say("Layers stand in a Python list or dictionary, or are made anew in every forward pass."),
        say("Keep layers as attributes, or in nn.ModuleList or nn.ModuleDict, so that model.parameters() finds them."),
        {"count": Limit(0, say("parameters of no module and in no optimiser"), DEFINITION)},
        code="self.layers = nn.ModuleList([nn.Linear(64, 64) for _ in range(3)])",
    ),
    Rule(
        "mixed_rows",
        "wiring",
        say("A layer takes the rows of a batch for the steps of one sequence."),
        say("Recurrent and attention layers read [steps, rows, features] unless they are told otherwise."),
        say("Make the layer with batch_first=True, or transpose its input."),
        code="nn.LSTM(features, units, batch_first=True)",
    ),
    Rule(
        "discarded_gradients",
        "wiring",
        say("Most gradients are cleared before a step of the optimiser has used them."),
        say("optimizer.step() stands outside the loop over batches, and zero_grad() inside: only the last batch counts."),
        say("Call optimizer.step() after each backward pass, in the same loop as zero_grad()."),
        {
            "passes": Limit(20, say("backward passes for each step, with cleared gradients in between")),
            "share": Limit(0.5, say("steps without the gradients of the pass before them, as a share")),
        },
        code="for x, y in loader:\n    optimizer.zero_grad()\n    loss_fn(model(x), y).backward()\n    optimizer.step()",
    ),
    Rule(
        "unused_parameter",
        "wiring",
        say("Weights that should learn never get a gradient."),
        say("The layer is not called in the forward pass, its output is not used, or it is detached from the loss."),
        say("Use the layer, or remove it; look for detach() behind it."),
    ),
    Rule(
        "never_updated",
        "wiring",
        say("Weights get a gradient and never change."),
        say("They are not in the optimiser, its learning rate is 0, or they were frozen."),
        say("Give them to the optimiser; unfreeze what should learn."),
        code="optimizer.add_param_group({'params': layer.parameters()})\nlayer.requires_grad_(True)",
        keras="layer.trainable = True  # then model.compile again",
        aliases=("unchanged_tensor",),
    ),
    Rule(
        "frozen_layers",
        "wiring",
        say("Weights are excluded from training."),
        say("requires_grad is False (Keras: trainable = False)."),
        say("Intended with a pretrained body; otherwise unfreeze them."),
        {"share": Limit(0.9, say("share of the weights that are frozen, in a run that learns poorly"))},
        code="model.requires_grad_(True)",
        keras="layer.trainable = True  # then model.compile again",
    ),
    Rule(
        "evaluation_mode_in_training",
        "wiring",
        say("Dropout or batch normalisation is switched off while training."),
        say("model.eval() was called and model.train() not again, as after the first validation."),
        say("Call model.train() at the start of every epoch."),
        {"share": Limit(0.2, say("share of training passes in evaluation mode"))},
        code="model.train()\nfor x, y in loader: ...",
        keras="model(x, training=True)",
    ),
    Rule(
        "training_mode_in_evaluation",
        "wiring",
        say("Dropout or batch normalisation acts while the model is evaluated."),
        say("model.eval() is missing before validation: scores are too low and depend on the batch."),
        say("Call model.eval() before evaluating, and model.train() after it."),
        {"share": Limit(0.2, say("share of evaluations in training mode"))},
        code="model.eval()\nwith torch.no_grad(): ...",
        keras="model(x, training=False)",
    ),
    Rule(
        "batch_of_one",
        "wiring",
        say("Batch normalisation gets batches of one row."),
        say("Mean and variance of one row say nothing; the output no longer depends on the input."),
        say("Use larger batches, drop the last incomplete one, or normalise by layer or group."),
        code="DataLoader(dataset, batch_size=32, shuffle=True, drop_last=True)",
        keras="model.fit(X, y, batch_size=32)",
        change={"normalize": {"kind": "layer"}},
    ),
    Rule(
        "dropout_before_normalisation",
        "wiring",
        say("Dropout stands directly before batch normalisation."),
        say("Dropout changes the variance in training and not in evaluation; the stored statistics fit only the former."),
        say("Put dropout behind the last normalisation layer."),
    ),
    Rule(
        "strong_dropout",
        "wiring",
        say("Dropout removes most of the units."),
        say("So little of the signal is left that the network cannot fit even its training rows."),
        say("Start without dropout, and raise it only while validation gains."),
        {"rate": Limit(0.5, say("share of units dropped"), UMLAUT), "extreme": Limit(0.8, say("share of units dropped"))},
        change={"dropout": {"kind": "bernoulli", "p": 0.2}},
    ),
    Rule(
        "dropout_at_the_output",
        "wiring",
        say("Dropout stands behind the last weighted layer."),
        say("It sets predictions themselves to 0."),
        say("Move it in front of the last layer."),
    ),
    # Initialisation
    Rule(
        "constant_initialisation",
        "initialisation",
        say("All weights of a layer start with one value."),
        say("Units that start equal get equal gradients and stay equal: the layer is as good as one unit."),
        say("Initialise at random: He for relu, Glorot for tanh and sigmoid. Zeros are right for biases only."),
        {"std": Limit(0, say("standard deviation of the weights at the start"), DEFINITION)},
        code=_HE,
        keras=_KERAS_HE,
        change={"initialize": {"kind": "he_normal"}},
        aliases=("all_zero", "poor_weight_initialization"),
    ),
    Rule(
        "large_initialisation",
        "initialisation",
        say("Weights start so large that signals grow from layer to layer."),
        say("The standard deviation was not divided by the square root of the inputs of a unit."),
        say("Use He or Glorot initialisation, which keep the variance."),
        {"gain": Limit(4, say("standard deviation times the square root of the fan-in; He has 1.41"))},
        code=_HE,
        keras=_KERAS_HE,
        change={"initialize": {"kind": "he_normal"}},
        aliases=("poor_weight_initialization",),
    ),
    Rule(
        "small_initialisation",
        "initialisation",
        say("Weights start so small that signals die out from layer to layer."),
        say("A fixed small standard deviation does not fit the width of the layers."),
        say("Use He or Glorot initialisation, which keep the variance."),
        {"gain": Limit(0.05, say("standard deviation times the square root of the fan-in; He has 1.41"))},
        code=_HE,
        keras=_KERAS_HE,
        change={"initialize": {"kind": "he_normal"}},
        aliases=("poor_weight_initialization",),
    ),
    Rule(
        "activation_drift",
        "initialisation",
        say("The scale of activations changes from layer to layer at the start."),
        say("Initialisation and activation do not fit each other, or inputs are unscaled."),
        say("Use the initialisation that is made for the activation, or normalise between layers."),
        {"ratio": Limit(10, say("variance of one layer over the next, at the first step"), SAGEMAKER)},
        change={"normalize": {"kind": "layer"}},
        aliases=("poor_weight_initialization", "tensor_variance"),
    ),
    Rule(
        "initial_loss",
        "initialisation",
        say("The first loss is far above that of a guess."),
        say("Outputs start too large: large weights, unscaled inputs, or a wrong loss."),
        say("Scale inputs, and start the last layer small, so that the first prediction is near uniform."),
        {"ratio": Limit(3, say("first loss over the loss of a guess by class shares"), KARPATHY)},
    ),
    # Learning rate
    Rule(
        "learning_rate_too_high",
        "learning_rate",
        say("The loss climbs, jumps or swings instead of falling."),
        say("Steps are longer than the loss surface is smooth."),
        say("Lower the learning rate tenfold, warm it up, or clip gradients."),
        {
            "update": Limit(0.1, say("change of the weights in one step, relative to their size (usual: 0.001)")),
            "rise": Limit(1.5, say("last loss over first loss")),
            "swing": Limit(0.3, say("swings of the loss relative to its level")),
            "adaptive": Limit(0.01, say("learning rate of Adam and its kin, where the run learns poorly"), UMLAUT),
            "extreme": Limit(0.1, say("learning rate of Adam and its kin, ten times the bound before")),
            "plain": Limit(0.5, say("learning rate of plain gradient descent, where the run learns poorly")),
        },
        code=f"optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)\n{_CLIP}",
        keras=_KERAS_CLIP,
        change={"learning_rate.peak": "* 0.1"},
        aliases=("loss_not_decreasing",),
    ),
    Rule(
        "learning_rate_too_low",
        "learning_rate",
        say("The loss creeps: weights hardly move."),
        say("Steps are so short that the run ends long before it arrives."),
        say("Raise the learning rate tenfold, or use Adam with 1e-3."),
        {
            "moved": Limit(0.02, say("change of the weights over the whole run, relative to their size")),
            "update": Limit(1e-4, say("change of the weights in one step, relative to their size (usual: 0.001)"), KARPATHY),
        },
        code="optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)",
        keras="model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=...)",
        change={"learning_rate.peak": "* 10"},
        aliases=("loss_not_decreasing",),
    ),
    Rule(
        "idle_schedule",
        "learning_rate",
        say("A learning-rate schedule exists and never moves."),
        say("scheduler.step() is not called, or its steps are counted in epochs where batches were meant."),
        say("Call scheduler.step() after optimizer.step(), as often as its settings count."),
        {"steps": Limit(0, say("calls of scheduler.step()"), DEFINITION)},
        code="optimizer.step()\nscheduler.step()",
    ),
    Rule(
        "schedule_ends_early",
        "learning_rate",
        say("The learning rate is as good as 0 long before the run ends."),
        say("The schedule counts batches where epochs were meant, or is shorter than the run."),
        say("Give the schedule the number of steps that the run takes."),
        {
            "rate": Limit(0.001, say("learning rate relative to its peak")),
            "part": Limit(0.6, say("share of the run after which it stayed below")),
        },
    ),
    Rule(
        "strong_weight_decay",
        "fit",
        say("The weights have shrunk to a fraction of their size."),
        say("Weight decay is stronger than what the gradient can hold up."),
        say("Lower weight decay to 0.01 or less (with Adam and its penalty in the gradient, 1e-4), or leave it out."),
        {"left": Limit(0.3, say("size of the weights at the end, relative to the start, under weight decay"))},
        code="optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)",
        keras="model.compile(optimizer=keras.optimizers.AdamW(1e-3, weight_decay=0.01), loss=...)",
        change={"regularize.decay": {"kind": "off"}, "regularize.l2": {"kind": "off"}, "optimizer.decay": 0.0},
    ),
    # Units
    Rule(
        "dead_relu",
        "units",
        say("Many relu units are 0 for every row."),
        say("A large step pushed their biases below every input; their gradient is 0 and they never come back."),
        say("Lower the learning rate, use He initialisation, or an activation with a slope below 0 (LeakyReLU, ELU, GELU)."),
        {
            "share": Limit(0.5, say("share of the layer's units"), SAGEMAKER),
            "most": Limit(0.7, say("share of units"), AUTOTRAINER),
        },
        code="nn.LeakyReLU(0.01)  # in place of nn.ReLU()",
        keras='Dense(64), LeakyReLU()  # in place of activation="relu"',
        change={"activation": {"kind": "leaky_relu"}},
        aliases=("dead_relu",),
    ),
    Rule(
        "saturated_units",
        "units",
        say("Sigmoid or tanh units stay at the flat ends of their curve."),
        say("Their inputs are too large: unscaled data, large weights or a high learning rate. The slope there is almost 0."),
        say("Scale inputs, use Glorot initialisation, or normalise before the activation."),
        {"share": Limit(0.5, say("share of values whose input is beyond 5 in size"), DEEPDIAGNOSIS)},
        change={"activation": {"kind": "relu"}},
        aliases=("saturated_activation",),
    ),
    Rule(
        "collapsed_activations",
        "units",
        say("A layer puts out the same for every row."),
        say("Nothing of the input passes this layer: units died or saturated, or its weights are 0."),
        say("Mend this layer first; what stands behind it can learn nothing but a constant."),
        {"share": Limit(0.99, say("share of units that have one value for all rows"))},
        aliases=("tensor_variance",),
    ),
    # Gradients
    Rule(
        "nonfinite_values",
        "gradients",
        say("Loss, weights, gradients or activations are not finite."),
        say("A step was too long, a logarithm or square root met 0, or the inputs hold values that are not finite."),
        say("Lower the learning rate and clip gradients; use losses on logits in place of log(softmax)."),
        {"count": Limit(0, say("values that are not finite"), DEFINITION)},
        code=_CLIP,
        keras=_KERAS_CLIP,
        change={"clip": {"kind": "norm"}},
        aliases=("nan_loss", "exploding_tensor"),
    ),
    Rule(
        "exploding_gradient",
        "gradients",
        say("Gradients grow out of proportion."),
        say("Large inputs, targets or weights, a high learning rate, or a deep or recurrent network without normalisation."),
        say("Clip gradients by norm, scale inputs and targets, lower the learning rate."),
        {
            "growth": Limit(70, say("gradient late in the run over gradient at the start"), AUTOTRAINER),
            "relative": Limit(100, say("gradient relative to the weights")),
        },
        code=_CLIP,
        keras=_KERAS_CLIP,
        change={"clip": {"kind": "norm"}},
        aliases=("exploding_tensor",),
    ),
    Rule(
        "vanishing_gradient",
        "gradients",
        say("The first layers get almost no gradient."),
        say("Deep stacks of sigmoid or tanh, or weights too small, shrink the gradient at every layer."),
        say("Use relu with He initialisation, normalisation layers or skip connections; fewer layers may do too."),
        {
            "ratio": Limit(1e-3, say("gradient of the first weighted layer over the last"), AUTOTRAINER),
            "absolute": Limit(1e-7, say("root mean square of a weight's gradient, in every layer"), DEEPDIAGNOSIS),
        },
        code="nn.Sequential(nn.Linear(n, 64), nn.BatchNorm1d(64), nn.ReLU(), ...)\n" + _HE,
        keras='Dense(64, activation="relu", kernel_initializer="he_normal"), BatchNormalization()',
        change={"activation": {"kind": "relu"}, "normalize": {"kind": "batch"}},
        otherwise={"activation": {"kind": "relu"}, "initialize": {"kind": "he_normal"}},
        aliases=("vanishing_gradient",),
    ),
    Rule(
        "constant_clipping",
        "gradients",
        say("The gradient is cut at nearly every step, and far."),
        say("The limit lies far below the usual norm: every step has one length, and the learning rate is in effect divided."),
        say("Raise the limit to the usual norm of the gradient or above, so that only leaps are cut; or leave clipping out."),
        {
            "share": Limit(0.9, say("share of steps at which the gradient is cut")),
            "usual": Limit(10, say("usual norm of the gradient over the limit")),
        },
        code="norm = torch.nn.utils.clip_grad_norm_(model.parameters(), limit)  # print it, then set limit above what is usual",
        keras="model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=...)  # without clipnorm, or a larger one",
        change={"clip": {"kind": "off"}},
    ),
    Rule(
        "weight_update_ratio",
        "gradients",
        say("Layers learn at very different speeds."),
        say("One layer's gradient is far smaller or larger in proportion to its weights than the others'."),
        say("Use an adaptive optimiser (Adam), normalisation layers, or a learning rate for each group."),
        {"spread": Limit(1000, say("fastest over slowest layer, change in one step relative to the weights"))},
        aliases=("weight_update_ratio",),
    ),
    # Fit
    Rule(
        "not_learning",
        "fit",
        say("The training loss is no better than a prediction that ignores the inputs."),
        say("Something keeps the network from learning; findings above name it if it was seen."),
        say("Try to memorise one batch first: a network that cannot has a fault in its wiring, loss, rate or initialisation."),
        {"explained": Limit(0.02, say("share of the loss of a constant prediction that training removed"), KARPATHY)},
        code="for _ in range(200): ...  # train on one batch only: the loss must approach 0",
        keras="model.fit(X[:32], y[:32], epochs=200)  # the loss must approach 0",
        change=_LOOSER,
        otherwise=_FASTER,
        aliases=("loss_not_decreasing", "stalled_training"),
    ),
    Rule(
        "cannot_memorise",
        "fit",
        say("The network cannot even memorise one batch."),
        say("A fault in wiring, loss, learning rate or initialisation, or far too little capacity."),
        say("Mend the other findings first; then try more units, a higher learning rate, no regularisation."),
        {"left": Limit(0.5, say("share of the loss that is left after training on one batch alone"), KARPATHY)},
    ),
    Rule(
        "too_few_epochs",
        "fit",
        say("The loss was still falling when the run ended."),
        say("Training stopped before it arrived."),
        say("Train longer, and stop when the validation loss no longer falls."),
        {
            "fall": Limit(0.1, say("fall of the training loss over the last quarter of the run, relative")),
            "epochs": Limit(2, say("epochs, in a run of fewer than 500 steps that has not arrived")),
        },
        change={"stop.epochs": "* 3"},
    ),
    Rule(
        "wrong_direction",
        "fit",
        say("Early stopping, or what keeps the best weights, takes worse scores for better ones."),
        say("Its mode is that of a loss and its score is an accuracy, or the other way round; Lightning's default is 'min'."),
        say("Set the mode to 'max' for an accuracy and the like, to 'min' for a loss or an error."),
        code='EarlyStopping(monitor="val_acc", mode="max")',
        keras='EarlyStopping(monitor="val_accuracy", mode="max")',
    ),
    Rule(
        "stopped_early",
        "fit",
        say("Early stopping ended the run while it was still getting better."),
        say("Its patience is shorter than the ups and downs of the validation loss."),
        say("Raise the patience to 10 epochs or more, and restore the best weights."),
        {"patience": Limit(3, say("patience in epochs"))},
        code='EarlyStopping(monitor="val_loss", patience=10)  # Lightning; ModelCheckpoint(monitor="val_loss") keeps the best',
        keras="EarlyStopping(patience=10, restore_best_weights=True)",
    ),
    Rule(
        "overfitting",
        "fit",
        say("The validation loss rises while the training loss falls."),
        say("The network memorises its training rows."),
        say("Stop at the best validation loss; then augment, raise dropout or weight decay, or make the network smaller."),
        {"rise": Limit(1.2, say("last validation loss over the best one"), UMLAUT)},
        code="optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)\n"
        "nn.Dropout(0.3)  # behind hidden layers",
        keras="EarlyStopping(patience=10, restore_best_weights=True)\nDropout(0.3)  # behind hidden layers",
        change={"dropout": "keep * 0.7"},
        aliases=("overfit", "overtraining"),
    ),
    Rule(
        "underfitting",
        "fit",
        say("The training loss stays high and no longer falls."),
        say("The network is too small, too strongly regularised, or its optimiser is stuck."),
        say("Loosen regularisation, widen or deepen the network, use Adam with a schedule."),
        {"explained": Limit(0.1, say("share of the loss of a constant prediction that training removed"))},
        change=_LOOSER,
        otherwise=_FASTER,
    ),
    Rule(
        "batch_size",
        "fit",
        say("The batch size wastes steps or drowns them in noise."),
        say("The whole data set in one batch gives one step per epoch; a few rows give mostly noise."),
        say("Use 32 to 256 rows, as long as an epoch has dozens of steps."),
        {
            "steps": Limit(3, say("steps per epoch")),
            "rows": Limit(2, say("rows in a batch")),
            "wasted": Limit(0.05, say("gradient noise scale over the rows of a batch"), NOISE),
            "noisy": Limit(100, say("gradient noise scale over the rows of a batch"), NOISE),
        },
        change={"batch.size": 64},
    ),
)

TABLE = {entry.name: entry for entry in _ENTRIES}
ALIASES = {alias: [entry.name for entry in _ENTRIES if alias in entry.aliases] for entry in _ENTRIES for alias in entry.aliases}
_PLACE = {name: place for place, name in enumerate(TABLE)}


def limit(rule: str, name: str) -> float:
    """The value of one threshold."""
    return TABLE[rule].limits[name].value


def finding(
    rule: str,
    level: Level,
    where: str,
    evidence: str,
    threshold: str = "",
    *,
    cause: str | None = None,
    remedy: str | None = None,
) -> Finding:
    """A finding with the table's words.

    Args:
        rule: its name in the table.
        level: problem, warning or note.
        where: the place.
        evidence: what was measured.
        threshold: the name of the limit that was crossed; left out, the rule's first, if it has any.
        cause: in place of the table's, where the case tells more.
        remedy: likewise.
    """
    entry = TABLE[rule]
    crossed = entry.limits[threshold] if threshold else next(iter(entry.limits.values()), None)
    return Finding(
        rule=rule,
        level=level,
        where=where,
        evidence=evidence,
        threshold=f"{crossed.meaning}: {crossed.value:g}" if crossed else say("none: this is a fact, not a measurement"),
        source=crossed.source if crossed else DEFINITION,
        cause=entry.cause if cause is None else cause,
        remedy=entry.remedy if remedy is None else remedy,
        code=entry.code,
        change=entry.change,
        otherwise=entry.otherwise,
    )


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """The gravest first, and among equals the cause before its consequences."""
    levels = {"problem": 0, "warning": 1, "note": 2}
    return sorted(findings, key=lambda found: (levels[found.level], _PLACE[found.rule]))


def lookup(name: str) -> list[Rule]:
    """The rules of that name or alias, in any spelling of upper case, lower case, spaces and dashes.

    Raises:
        TitrantError: no rule is called so.

    Example:
        >>> [rule.name for rule in lookup("VanishingGradient")]
        ['vanishing_gradient']
    """
    plain = {_plain(known): known for known in (*ALIASES, *TABLE)}
    known = plain.get(_plain(name))
    if known is None:
        near = get_close_matches(_plain(name), plain, 3, 0.5)
        raise TitrantError(
            say(
                "There is no rule {name!r}. {hint}",
                name=name,
                hint=say("Did you mean {names}?", names=", ".join(plain[match] for match in near))
                if near
                else say("'titrant explain' alone lists them all."),
            )
        )
    return [TABLE[known]] if known in TABLE else [TABLE[rule] for rule in ALIASES[known]]


def described(rule: Rule) -> str:
    """A line of the table as a page of text."""
    lines = [f"{rule.name} ({rule.family})", "", rule.symptom]
    for name, bound in rule.limits.items():
        lines.append(
            say(
                "  Threshold {name}: {value:g}, {meaning} ({source})",
                name=name,
                value=bound.value,
                meaning=bound.meaning,
                source=bound.source,
            )
        )
    lines += [say("  Cause: {cause}", cause=rule.cause), say("  Remedy: {remedy}", remedy=rule.remedy)]
    for code, tool in ((rule.code, "PyTorch"), (rule.keras, "Keras")):
        lines += [f"    {tool}:"] if rule.keras else []
        lines += [f"      {line}" for line in code.splitlines()]
    if rule.change:
        lines.append(say("  In a recipe: {change}", change=_written(rule.change)))
    if rule.otherwise:
        lines.append(say("  Or: {change}", change=_written(rule.otherwise)))
    if rule.aliases:
        lines.append(say("  Elsewhere: {names}", names=", ".join(rule.aliases)))
    return "\n".join(lines)


def _written(change: dict[str, Any]) -> str:
    return ", ".join(f"{path}: {_dose(value)}" for path, value in change.items())


def _dose(value: Any) -> str:
    """A dose of a remedy, which may be told by what it was, in words."""
    match str(value).split():
        case ["*", factor]:
            return say("{factor} times what it was", factor=factor)
        case ["keep", "*", factor]:
            return say("raised so that {factor} times as many units stay", factor=factor)
        case _:
            return str(value["kind"]) if isinstance(value, dict) and len(value) == 1 else str(value)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
