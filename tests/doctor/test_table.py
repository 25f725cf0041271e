"""The table of rules: complete, with sources, and remedies that a recipe accepts."""

import ast
import re

import pytest

from titrant.doctor.table import ALIASES, TABLE, Rule, described, lookup

SAGEMAKER = {
    "vanishing_gradient", "exploding_tensor", "dead_relu", "saturated_activation", "poor_weight_initialization",
    "weight_update_ratio", "all_zero", "unchanged_tensor", "loss_not_decreasing", "check_input_images", "class_imbalance",
    "confusion", "overfit", "overtraining", "tensor_variance", "stalled_training",
}  # fmt: skip


@pytest.mark.parametrize("rule", TABLE.values(), ids=list(TABLE))
def test_every_line_is_complete(rule: Rule) -> None:
    assert rule.symptom.endswith(".")
    assert rule.cause.endswith(".")
    assert rule.remedy.endswith(".")
    assert all(bound.source and bound.meaning for bound in rule.limits.values())
    assert rule.name in described(rule)


def test_the_rules_of_sagemaker_debugger_are_known_by_name() -> None:
    assert set(ALIASES) >= SAGEMAKER
    assert all(lookup(name) for name in SAGEMAKER)


def test_lines_to_paste_are_of_one_framework() -> None:
    torch, keras = (
        re.compile(r"\bnn\.|torch|loader|\.backward|zero_grad"),
        re.compile(r"Keras|keras|Dense|\.fit\(|\.compile\("),
    )
    for rule in TABLE.values():
        assert not keras.search(rule.code), rule.name
        assert not torch.search(rule.keras), rule.name
        assert "keras" not in rule.keras or rule.code, rule.name
    for code in (line for rule in TABLE.values() for line in (rule.code, rule.keras)):
        ast.parse(code)
