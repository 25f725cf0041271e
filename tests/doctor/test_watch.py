"""The doctor in real loops: faults that it must see from outside, programs to be left alone, and that it changes nothing."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import titrant
from titrant.doctor.finding import Findings
from titrant.doctor.graph import over_rows
from titrant.doctor.probes import LOSSES
from titrant.doctor.rules.reading import constant_loss

ROWS, FEATURES = 256, 8


def rows(classes: int = 2) -> tuple[Tensor, Tensor]:
    x = torch.randn(ROWS, FEATURES)
    return x, (x[:, 0] + x[:, 1] > 0).long() if classes == 2 else (x[:, 0] * 1.5 + 2).clamp(0, classes - 1).long()


def net(*tail: nn.Module, outputs: int = 2) -> nn.Sequential:
    return nn.Sequential(nn.Linear(FEATURES, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, outputs), *tail)


def observed(
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy,
    data: tuple[Tensor, Tensor] | None = None,
    *,
    rate: float = 0.01,
    epochs: int = 12,
    zero_grad: bool = True,
    step: bool = True,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    owner: nn.Module | None = None,
    mode: bool = True,
    shuffle: bool = True,
) -> Findings:
    """Trains a model under `watch`."""
    x, y = data or rows()
    stepper = optimizer((owner or model).parameters(), lr=rate)
    loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=shuffle)
    model.train(mode)
    with titrant.watch(model, stepper) as doctor:
        for _ in range(epochs):
            for inputs, targets in loader:
                if zero_grad:
                    stepper.zero_grad()
                loss(model(inputs), targets).backward()
                if step:
                    stepper.step()
    return doctor.findings


def names(findings: Findings) -> list[str]:
    return [found.rule for found in findings if found.level != "note"]


def zeroed(model: nn.Module) -> nn.Module:
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model


def test_a_healthy_run_has_no_findings() -> None:
    assert observed(net()) == []


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(
    ("rule", "run"),
    [
        ("softmax_twice", lambda: observed(net(nn.Softmax(1)))),
        (
            "sigmoid_twice",
            lambda: observed(
                net(nn.Sigmoid(), outputs=1), lambda o, t: functional.binary_cross_entropy_with_logits(o[:, 0], t.float())
            ),
        ),
        ("broadcast_target", lambda: observed(net(outputs=1), lambda o, t: nn.MSELoss()(o, t.float()))),
        ("missing_zero_grad", lambda: observed(net(), zero_grad=False)),
        ("backward_without_step", lambda: observed(net(), step=False)),
        ("foreign_parameters", lambda: observed(net(), owner=net())),
        ("never_updated", lambda: observed(model := net(), owner=model[4])),
        ("constant_initialisation", lambda: observed(zeroed(net()))),
        ("learning_rate_too_low", lambda: observed(net(), rate=1e-7)),
        ("learning_rate_too_high", lambda: observed(net(), rate=10.0)),
        ("missing_activation", lambda: observed(nn.Sequential(nn.Linear(FEATURES, 16), nn.Dropout(0.1), nn.Linear(16, 2)))),
        ("evaluation_mode_in_training", lambda: observed(nn.Sequential(nn.BatchNorm1d(FEATURES), net()), mode=False)),
        ("nonfinite_input", lambda: observed(net(), data=(torch.full((ROWS, FEATURES), torch.nan), rows()[1]))),
        ("unscaled_inputs", lambda: observed(net(), data=(rows()[0] * 100, rows()[1]))),
        ("logits_as_probabilities", lambda: observed(net(), functional.nll_loss)),
        ("output_range", lambda: observed(net(nn.Sigmoid(), outputs=1), lambda o, t: nn.MSELoss()(o[:, 0], 5.0 * t + 3))),
    ],
)
def test_faults_are_seen_from_outside(rule: str, run: Callable[[], Findings]) -> None:
    assert rule in names(run())


def test_a_squared_error_that_is_written_out_is_understood() -> None:
    assert "broadcast_target" in names(observed(net(outputs=1), lambda output, target: ((output - target) ** 2).mean()))


def test_sorted_rows_without_shuffling() -> None:
    x, y = rows()
    order = y.argsort()
    assert "no_shuffling" in names(observed(net(), data=(x[order], y[order]), shuffle=False))


def test_the_layer_that_is_dead_is_named() -> None:
    model = net()
    nn.init.constant_(model[2].bias, -100.0)
    found = next(found for found in observed(model) if found.rule == "dead_relu")
    assert found.where == "3"


class Functional(nn.Module):
    """Activations that are functions, and a layer that nobody calls."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.forgotten = nn.Linear(FEATURES, 16), nn.Linear(16, 2), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(functional.relu(self.one(x) - 100))


def test_functional_activations_and_unused_layers_are_seen() -> None:
    findings = observed(Functional())
    assert {"dead_relu", "unused_parameter"} <= set(names(findings))
    assert next(found.where for found in findings if found.rule == "dead_relu") == "relu after one"


def losses_of(model: nn.Module, watched: bool, **settings: Any) -> list[float]:
    torch.manual_seed(1)
    stepper = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = rows()
    found = []

    def loop() -> None:
        for _ in range(30):
            stepper.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            stepper.step()
            found.append(loss.item())

    if not watched:
        loop()
        return found
    with titrant.watch(model, stepper, **settings):
        loop()
    return found


def test_nothing_changes_under_observation() -> None:
    model = nn.Sequential(nn.Linear(FEATURES, 16), nn.BatchNorm1d(16), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(16, 2))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    plain = losses_of(model, watched=False)
    model.load_state_dict(state)
    assert losses_of(model, watched=True, every=1) == plain


def test_every_hook_is_taken_away_again() -> None:
    model = net()
    before = (Tensor.backward, DataLoader.__iter__, *(getattr(functional, name) for name in LOSSES))
    with pytest.raises(RuntimeError, match="cannot be multiplied"), titrant.watch(model):
        model(torch.randn(4, FEATURES + 1))
    after = (Tensor.backward, DataLoader.__iter__, *(getattr(functional, name) for name in LOSSES))
    assert before == after
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not torch.nn.modules.module._global_forward_pre_hooks


def test_evaluation_without_eval_is_seen() -> None:
    model = nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))
    stepper = torch.optim.Adam(model.parameters(), lr=0.01)
    x, y = rows()
    with titrant.watch(model, stepper) as doctor:
        for _ in range(10):
            stepper.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            stepper.step()
            with torch.no_grad():
                functional.cross_entropy(model(x), y)
    assert "training_mode_in_evaluation" in names(doctor.findings)
    assert len(doctor.case.evaluations) == 10


def test_a_case_does_not_grow_with_the_run() -> None:
    model = nn.Linear(2, 1)
    stepper = torch.optim.SGD(model.parameters(), lr=1e-4)
    x = torch.randn(4, 2)
    with titrant.watch(model, stepper, every=30) as doctor:
        for _ in range(5000):
            stepper.zero_grad()
            model(x).square().mean().backward()
            stepper.step()
    case = doctor.case
    assert case.wiring.steps == 5000
    assert len(case.losses) <= 4000
    assert max(len(layer.samples) for layer in case.layers) <= 121
    assert case.losses[0] > case.losses[-1]


class Output:
    """What a Hugging Face model returns."""

    def __init__(self, loss: Tensor, logits: Tensor) -> None:
        self.loss, self.logits = loss, logits


class Classifier(nn.Module):
    """A model in the style of Hugging Face: keywords in, loss inside."""

    def __init__(self, vocabulary: int = 50) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(vocabulary, 16), nn.Linear(16, 2)
        self.body = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)

    def forward(self, input_ids: Tensor, labels: Tensor) -> Output:
        logits = self.head(self.body(self.embed(input_ids)).mean(1))
        return Output(functional.cross_entropy(logits, labels), logits)


def batches() -> Iterator[dict[str, Tensor]]:
    for _ in range(120):
        ids = torch.randint(50, (32, 6))
        yield {"input_ids": ids, "labels": (ids[:, 0] < 25).long()}


def test_a_trainer_loop_with_keywords_accumulation_clipping_and_a_schedule_is_healthy() -> None:
    model = Classifier()
    stepper = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(stepper, lambda step: min(1.0, (step + 1) / 5))
    with titrant.watch(model, stepper) as doctor:
        for number, batch in enumerate(batches()):
            (model(**batch).loss / 2).backward()
            if number % 2:
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                stepper.step()
                schedule.step()
                stepper.zero_grad()
    assert [found for found in doctor.findings if found.level == "problem"] == []
    case = doctor.case
    assert case.wiring.steps == 60
    assert case.losses[0] == pytest.approx(math.log(2), abs=0.1)  # not the part of it that the loop uses
    assert case.objective.loss == "cross_entropy"
    assert len(case.clipping) == len(case.parameters[0].samples) > 8  # at every step that is looked at
    assert all(0.01 < size < 100 for size in case.clipping)
    assert {"embedding", "attention", "normalisation", "linear"} <= {layer.family for layer in case.layers}


def test_findings_print_as_text() -> None:
    findings = observed(net(nn.Softmax(1)))
    assert str(findings).startswith("1. PROBLEM  softmax_twice\n   where")
    assert "nn.CrossEntropyLoss" in str(findings)


def test_summed_losses_are_told_for_each_target_at_every_step() -> None:
    model = nn.Linear(4, 3)
    stepper = torch.optim.SGD(model.parameters(), 1e-4)
    x, y = torch.randn(64, 4), torch.randint(3, (64,))
    y[:32] = -100
    with titrant.watch(model, stepper) as doctor:
        for _ in range(300):  # far more than are sampled
            stepper.zero_grad()
            functional.cross_entropy(model(x), y, reduction="sum").backward()
            stepper.step()
    assert max(doctor.case.losses) < 2 * min(doctor.case.losses) < 5
    with torch.no_grad():
        expected = float(functional.cross_entropy(model(x), y))
    assert doctor.case.losses[-1] == pytest.approx(expected, rel=0.05)
    assert not [found for found in doctor.findings if found.rule in ("learning_rate_too_high", "label_out_of_range")]


def test_layers_in_a_list_are_missed_and_found() -> None:
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = [nn.Linear(8, 8) for _ in range(2)]
            self.out = nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.hidden:
                x = layer(x).relu()
            return self.out(x)  # type: ignore[no-any-return]

    model = Listed()
    stepper = torch.optim.Adam(model.parameters())
    for held, expected in ((stepper, ["unregistered_parameter"]), (torch.optim.Adam([*model.parameters(), *(
        parameter for layer in model.hidden for parameter in layer.parameters())]), [])):  # fmt: skip
        with titrant.watch(model, held) as doctor:
            for _ in range(30):
                x = torch.randn(16, 8)
                held.zero_grad()
                functional.cross_entropy(model(x), (x[:, 0] > 0).long()).backward()
                held.step()
        assert [found.rule for found in doctor.findings if found.rule == "unregistered_parameter"] == expected


def test_two_optimisers_after_one_backward_pass_are_both_busy() -> None:
    encoder, decoder = nn.Linear(8, 8), nn.Linear(8, 2)
    model = nn.Sequential(encoder, nn.ReLU(), decoder)
    steppers = [torch.optim.Adam(part.parameters()) for part in (encoder, decoder)]
    with titrant.watch(model) as doctor:
        for _ in range(100):
            x = torch.randn(16, 8)
            model.zero_grad()
            functional.cross_entropy(model(x), (x[:, 0] > 0).long()).backward()
            for stepper in steppers:
                stepper.step()
        for _ in range(3):
            steppers[0].step()
    assert doctor.case.wiring.idle_steps <= 3
    assert not [found for found in doctor.findings if found.rule == "step_without_backward"]


@pytest.mark.parametrize(("first", "expected"), [(False, ["mixed_rows"]), (True, [])])
def test_rows_that_are_taken_for_steps_are_seen(first: bool, expected: list[str]) -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = nn.GRU(3, 8, batch_first=first), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.rnn(x)[0][:, -1])  # type: ignore[no-any-return]

    x = torch.randn(96, 5, 3)
    data = DataLoader(TensorDataset(x, (x[:, 0, 0] > 0).long()), 32, shuffle=True)
    model = Tagger()
    stepper = torch.optim.Adam(model.parameters())
    with titrant.watch(model, stepper) as doctor:
        for _ in range(4):
            for inputs, target in data:
                stepper.zero_grad()
                functional.cross_entropy(model(inputs), target).backward()
                stepper.step()
    assert [found.rule for found in doctor.findings if found.rule == "mixed_rows"] == expected


def test_a_loop_that_steps_by_hand_trains() -> None:
    model = nn.Linear(4, 2)
    with titrant.watch(model) as doctor:
        for _ in range(30):
            x = torch.randn(16, 4)
            model.zero_grad()
            functional.cross_entropy(model(x), (x[:, 0] > 0).long()).backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= 0.1 * parameter.grad
    assert doctor.case.wiring.steps_by_hand > 0
    assert not [found for found in doctor.findings if found.rule == "backward_without_step"]


def test_weights_that_decay_away_are_seen_and_weighted_losses_have_no_known_reference() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    stepper = torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=20.0)
    with titrant.watch(model, stepper) as doctor:
        for _ in range(200):
            x = torch.randn(32, 8)
            stepper.zero_grad()
            functional.cross_entropy(model(x), (x[:, 0] > 1).long(), weight=torch.tensor([1.0, 5.0])).backward()
            stepper.step()
    assert doctor.case.weight_decay == 20.0
    assert "strong_weight_decay" in [found.rule for found in doctor.findings]
    assert doctor.case.objective.weighted
    assert constant_loss(doctor.case) is None


@pytest.mark.parametrize(("axis", "expected"), [(0, ["softmax_over_rows"]), (-2, ["softmax_over_rows"]), (1, []), (-1, [])])
def test_a_softmax_over_the_rows_is_seen(axis: int, expected: list[str]) -> None:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        return functional.nll_loss(torch.log(output + 1e-8), target)

    found = observed(net(nn.Softmax(axis)), loss)
    assert [one.rule for one in found if one.rule == "softmax_over_rows"] == expected


def test_gradients_that_are_cleared_before_a_step_are_seen() -> None:
    model, loader = net(), DataLoader(TensorDataset(*rows()), batch_size=8, shuffle=True)
    for inside, expected in ((False, ["discarded_gradients"]), (True, [])):
        stepper = torch.optim.Adam(model.parameters(), 0.01)
        with titrant.watch(model, stepper) as doctor:
            for _ in range(6):
                for inputs, targets in loader:
                    stepper.zero_grad()
                    functional.cross_entropy(model(inputs), targets).backward()
                    if inside:
                        stepper.step()
                if not inside:
                    stepper.step()
        assert [found.rule for found in doctor.findings if found.rule == "discarded_gradients"] == expected


@pytest.mark.parametrize("to_none", [True, False])
@pytest.mark.parametrize("late", [True, False])
def test_gradients_that_are_cleared_between_pass_and_step_are_seen(late: bool, to_none: bool) -> None:
    model, loader = net(), DataLoader(TensorDataset(*rows()), batch_size=8, shuffle=True)
    stepper = torch.optim.Adam(model.parameters(), 0.01)
    with titrant.watch(model, stepper) as doctor:
        for inputs, targets in loader:
            if not late:
                stepper.zero_grad(set_to_none=to_none)
            functional.cross_entropy(model(inputs), targets).backward()
            if late:
                stepper.zero_grad(set_to_none=to_none)
            stepper.step()
    named = [
        found.rule
        for found in doctor.findings
        if found.rule in ("discarded_gradients", "detached_loss", "step_without_backward")
    ]
    assert named == (["discarded_gradients"] if late else [])
    assert (doctor.case.wiring.wasted > 3) == late


@pytest.mark.parametrize("clear", [True, False])
def test_sparse_gradients_are_looked_at_like_others(clear: bool) -> None:
    words = nn.Embedding(50, 8, sparse=True)
    model = nn.Sequential(words, nn.Flatten(), nn.Linear(24, 2))
    stepper = torch.optim.SparseAdam(list(words.parameters()))
    inputs, targets = torch.randint(0, 50, (64, 3)), torch.randint(0, 2, (64,))
    with titrant.watch(model, stepper) as doctor:
        for _ in range(20):
            if clear:
                stepper.zero_grad()
            functional.cross_entropy(model(inputs), targets).backward()
            stepper.step()
    assert doctor.case.wiring.wasted == 0
    assert ("missing_zero_grad" in [found.rule for found in doctor.findings]) == (not clear)


def test_gradients_that_pile_up_or_serve_an_attack_are_not_discarded() -> None:
    model = net()
    stepper = torch.optim.Adam(model.parameters(), 0.01)
    x, y = rows()
    with titrant.watch(model, stepper) as doctor:
        for turn in range(120):
            inputs = x[:32].clone().requires_grad_(True)
            functional.cross_entropy(model(inputs), y[:32]).backward()
            assert inputs.grad is not None
            if turn < 60:  # adversarial training throws the gradients of the attack away
                stepper.zero_grad()
                functional.cross_entropy(model(x[:32] + 0.01 * inputs.grad.sign()), y[:32]).backward()
            if turn < 60 or turn % 4 == 3:
                stepper.step()
                stepper.zero_grad()
    assert not [found for found in doctor.findings if found.rule in ("discarded_gradients", "missing_zero_grad")]


def test_rows_of_large_pictures_are_kept_in_bounded_number() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 256 * 256, 2))
    stepper = torch.optim.SGD(model.parameters(), 1e-6)
    with titrant.watch(model, stepper) as doctor:
        for _ in range(4):
            x = torch.rand(64, 3, 256, 256)
            stepper.zero_grad()
            functional.cross_entropy(model(x), torch.randint(2, (64,))).backward()
            stepper.step()
    assert 8 <= doctor.case.inputs[0].rows <= 85  # of 196,608 numbers each


def test_an_optimiser_that_asks_for_many_passes_a_step_discards_nothing() -> None:
    model = net()
    stepper = torch.optim.LBFGS(model.parameters(), lr=0.1)
    x, y = rows()
    passes = 0

    def closure() -> Tensor:
        nonlocal passes
        passes += 1
        stepper.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    with titrant.watch(model, stepper) as doctor:
        for _ in range(8):
            stepper.step(closure)  # type: ignore[arg-type]  # torch wants a number, and takes a tensor
    assert passes >= 100
    assert doctor.case.wiring.discarded == 0
    assert "discarded_gradients" not in [found.rule for found in doctor.findings]


def test_an_optimiser_without_a_number_for_weight_decay_is_left_alone() -> None:
    model = net()
    stepper = torch.optim.SGD(model.parameters(), 0.1)
    for group in stepper.param_groups:
        group["weight_decay"] = 0.0
    stepper.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "weight_decay": 0.5})
    stepper.param_groups[0]["weight_decay"] = None
    with titrant.watch(model) as doctor:
        stepper.register_step_pre_hook(lambda *_: stepper.param_groups[0].update(weight_decay=0.0))
        stepper.register_step_post_hook(lambda *_: stepper.param_groups[0].update(weight_decay=None))
        for _ in range(3):
            model.zero_grad()
            functional.cross_entropy(model(rows()[0]), rows()[1]).backward()
            stepper.step()
    assert doctor.case.weight_decay == 0.5


def test_a_softmax_of_a_matrix_that_is_turned_is_not_over_the_rows() -> None:
    output = torch.randn(4, 6, requires_grad=True) * 2
    assert not over_rows(torch.softmax(output, 0).T)
    assert over_rows(torch.softmax(output, 0).clamp(min=1e-6).log())
    assert not over_rows(output)
    assert not over_rows(output.detach())


@pytest.mark.parametrize("added", [False, True])
def test_a_loss_that_is_only_looked_at_is_no_part_of_the_objective(added: bool) -> None:
    model = nn.Linear(8, 2)
    stepper = torch.optim.Adam(model.parameters(), 0.01)
    with titrant.watch(model, stepper) as doctor:
        for _ in range(100):  # more than are sampled
            x = torch.randn(16, 8)
            stepper.zero_grad()
            logits = model(x)
            loss = functional.cross_entropy(logits, (x[:, 0] > 0).long())
            distance = functional.mse_loss(logits, torch.full_like(logits, 100.0))
            (loss + 0.001 * distance if added else loss).backward()
            stepper.step()
    assert doctor.case.objective.several is added
    assert (max(doctor.case.losses) < 2) is not added


def test_soft_targets_are_one_target_a_row() -> None:
    model = nn.Linear(8, 5)
    stepper = torch.optim.SGD(model.parameters(), 1e-4)
    x, y = torch.randn(64, 8), torch.randn(64, 5).softmax(1)
    with titrant.watch(model, stepper) as doctor:
        for _ in range(20):
            stepper.zero_grad()
            functional.cross_entropy(model(x), y, reduction="sum").backward()
            stepper.step()
    with torch.no_grad():
        assert doctor.case.losses[-1] == pytest.approx(float(functional.cross_entropy(model(x), y)), rel=0.05)
