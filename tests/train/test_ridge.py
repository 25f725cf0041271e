"""Ridge regression against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import LabelBinarizer

from titrant.train.ridge import solved

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 200))
STRENGTHS = np.logspace(-3, 5, 13)


@pytest.mark.parametrize("features", [200, 20])
def test_values_are_predicted_as_by_scikit_learn(features: int) -> None:
    y = X[:, :5].sum(1) + 3 + X[:, -1]
    weight, bias = solved(torch.tensor(X[:, :features]), torch.tensor(y), 1)
    theirs = RidgeCV(STRENGTHS).fit(X[:, :features], y)
    np.testing.assert_allclose(weight.squeeze(0), theirs.coef_, rtol=1e-4, atol=1e-5)
    assert float(bias) == pytest.approx(theirs.intercept_, rel=1e-4)


@pytest.mark.parametrize("classes", [2, 4])
def test_classes_are_decided_as_by_scikit_learn(classes: int) -> None:
    y = RANDOM.integers(classes, size=60)
    weight, bias = solved(torch.tensor(X), torch.tensor(y), classes)
    targets = np.eye(classes)[y] * 2 - 1 if classes == 2 else LabelBinarizer(neg_label=-1).fit_transform(y)
    theirs = RidgeCV(STRENGTHS).fit(X, targets)
    outputs = X @ weight.double().numpy().T + bias.double().numpy()
    expected = X @ theirs.coef_.T + theirs.intercept_
    ratio = outputs / expected
    np.testing.assert_allclose(ratio, ratio.flat[0], rtol=1e-3)  # a factor makes logits of them
    assert ratio.flat[0] > 0


def test_the_factor_gives_the_least_log_loss_on_rows_left_out() -> None:
    noise = torch.randint(2, (60,), generator=torch.Generator().manual_seed(0))
    clear = (torch.tensor(X[:, 0]) > 0).long()
    spread = [float((torch.tensor(X).float() @ solved(torch.tensor(X), y, 2)[0].T).std()) for y in (noise, clear)]
    assert spread[0] < spread[1]  # nothing to learn: even probabilities
