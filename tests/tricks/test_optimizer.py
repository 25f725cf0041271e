"""Every optimizer against an independent one: `torch.optim`, or the paper's pseudo-code in float64 numpy."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from torch import Tensor

from titrant.space import at, doses
from titrant.tricks import optimizer
from titrant.tricks.base import options, segments
from titrant.tricks.layout import Layout
from titrant.tricks.optimizer import Optimizer, OptimizerTrick

KINDS = options(Optimizer)
LAYOUT = Layout.of(
    {
        "hidden.bias": ((4,), False),
        "hidden.weight": ((4, 3), True),
        "filter.weight": ((2, 1, 2, 1), True),
        "out.weight": ((2, 4), True),
    }
)
STEPS = 10


def loss(row: Tensor) -> Tensor:
    """A small network with one matrix taller than wide, one wider than tall, and a filter: [P] → []."""
    numbers = LAYOUT.views(row)
    x = torch.linspace(-1, 1, 15, dtype=row.dtype).reshape(5, 3)
    hidden = torch.tanh(x @ numbers["hidden.weight"].mT + numbers["hidden.bias"])
    out = hidden @ numbers["out.weight"].mT + numbers["filter.weight"].sum((1, 2, 3))
    return (out - x[:, :2].cos()).square().mean() + 0.1 * numbers["filter.weight"].square().sum()


def slope(row: Tensor) -> Tensor:
    """The gradient of `loss`, [P]."""
    (gradient,) = torch.autograd.grad(loss(point := row.detach().requires_grad_()), point)
    return gradient


def start(k: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Different first weights for each of k members, [k, P]."""
    return torch.randn(k, LAYOUT.size, generator=torch.Generator().manual_seed(1), dtype=dtype)


def trained(trick: OptimizerTrick, flat: Tensor, rate: float, steps: int = STEPS) -> Tensor:
    """The weights that evaluation sees after some steps of one member or several, all with the same doses."""
    (part,) = segments([trick])
    return _trained(type(trick), part.values, flat, rate, steps)


def _trained(kind: type[OptimizerTrick], values: dict[str, Any], flat: Tensor, rate: Any, steps: int = STEPS) -> Tensor:
    flat = flat.clone()
    with torch.no_grad():
        state = kind.start(flat)
        for step in range(1, steps + 1):
            with torch.enable_grad():
                grad = torch.stack([slope(row) for row in flat])
            before = grad.clone()
            kind.update(flat, grad, state, rate, step, LAYOUT, **values)
            assert torch.equal(grad.nan_to_num(), before.nan_to_num()), "the gradient is left as it is"
        return kind.evaluation(flat, state, **values)


def by_torch(make: Any, flat: Tensor, **settings: Any) -> Tensor:
    """The weights [1, P] after the same steps of an optimizer of torch, whose weight decay acts on matrices only."""
    end = LAYOUT.matrices_end
    matrices, others = (part.clone().requires_grad_() for part in (flat[0, :end], flat[0, end:]))
    decay = settings.pop("weight_decay", 0.0)
    reference = make([{"params": [matrices], "weight_decay": decay}, {"params": [others], "weight_decay": 0.0}], **settings)
    for _ in range(STEPS):
        reference.zero_grad()
        loss(torch.cat([matrices, others])).backward()
        reference.step()
    return torch.cat([matrices, others]).detach().unsqueeze(0)


@pytest.mark.parametrize(
    ("trick", "make", "settings"),
    [
        (optimizer.Sgd(momentum=0.0), torch.optim.SGD, {}),
        (optimizer.Sgd(momentum=0.7), torch.optim.SGD, {"momentum": 0.7}),
        (optimizer.Nesterov(momentum=0.7), torch.optim.SGD, {"momentum": 0.7, "nesterov": True}),
        (optimizer.RMSprop(alpha=0.9, epsilon=1e-3), torch.optim.RMSprop, {"alpha": 0.9, "eps": 1e-3}),
        (optimizer.RMSprop(momentum=0.5), torch.optim.RMSprop, {"momentum": 0.5, "eps": 1e-8}),
        (optimizer.Adam(beta1=0.8, beta2=0.95), torch.optim.Adam, {"betas": (0.8, 0.95)}),
        (optimizer.Adam(epsilon=0.01), torch.optim.Adam, {"eps": 0.01}),
        (optimizer.AdamW(decay=0.5, epsilon=1e-3), torch.optim.AdamW, {"weight_decay": 0.5, "eps": 1e-3}),
        (optimizer.NAdam(beta1=0.8, beta2=0.95, epsilon=1e-3), torch.optim.NAdam, {"betas": (0.8, 0.95), "eps": 1e-3}),
    ],
    ids=lambda value: repr(value) if isinstance(value, BaseModel) else "",
)
def test_ten_steps_equal_those_of_torch(trick: OptimizerTrick, make: Any, settings: dict[str, Any]) -> None:
    first = start(1)
    torch.testing.assert_close(trained(trick, first, 0.02), by_torch(make, first, lr=0.02, **settings), rtol=1e-8, atol=1e-9)


Rows = NDArray[np.float64]


def gradient(row: Rows) -> Rows:
    """The gradient of `loss` for a numpy row."""
    return slope(torch.from_numpy(row.copy())).numpy()


def test_lion_is_the_program_of_the_paper() -> None:
    rate, beta1, beta2 = 0.01, 0.8, 0.95
    first = start(1)
    w = first[0].numpy().copy()
    m = np.zeros_like(w)
    for _ in range(STEPS):
        g = gradient(w)
        w = w - rate * np.sign(beta1 * m + (1 - beta1) * g)
        m = beta2 * m + (1 - beta2) * g
    ours = trained(optimizer.Lion(beta1=beta1, beta2=beta2), first, rate)
    np.testing.assert_allclose(ours[0].numpy(), w, rtol=1e-12)


def test_schedule_free_is_the_program_of_the_paper() -> None:
    beta1, beta2, epsilon, decay, peak = 0.85, 0.95, 1e-6, 0.3, 0.02
    rates = [peak * min(1.0, t / 4) for t in range(STEPS)]  # warm-up that begins at zero
    first = start(1)
    x = first[0].numpy().copy()
    z, v, total = x.copy(), np.zeros_like(x), 0.0
    decayed = np.arange(LAYOUT.size) < LAYOUT.matrices_end
    for t, rate in enumerate(rates, 1):
        y = (1 - beta1) * z + beta1 * x
        g = gradient(y)
        v = beta2 * v + (1 - beta2) * g**2
        z = z - rate * g / (np.sqrt(v / (1 - beta2**t)) + epsilon) - rate * decay * y * decayed
        total += rate**2
        c = rate**2 / total if total else 0.0
        x = (1 - c) * x + c * z

    flat, doses_given = first.clone(), {"beta1": beta1, "beta2": beta2, "epsilon": epsilon, "decay": decay}
    state = optimizer.ScheduleFree.start(flat)
    for t, rate in enumerate(rates, 1):
        optimizer.ScheduleFree.update(flat, slope(flat[0])[None], state, rate, t, LAYOUT, **doses_given)
    np.testing.assert_allclose(flat[0].numpy(), (1 - beta1) * z + beta1 * x, rtol=1e-9)
    np.testing.assert_allclose(optimizer.ScheduleFree.evaluation(flat, state, **doses_given)[0].numpy(), x, rtol=1e-9)


def newton_schulz(g: Rows) -> Rows:
    """`zeropower_via_newtonschulz5` of Jordan et al. in float64."""
    x = g.T if g.shape[0] > g.shape[1] else g
    x = x / (np.linalg.norm(x) + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if g.shape[0] > g.shape[1] else x


@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_is_the_program_of_its_authors(nesterov: bool) -> None:
    rate, beta, other = 0.02, 0.9, 0.5
    first = start(1)
    w = first[0].numpy().copy()
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t in range(1, STEPS + 1):
        g = gradient(w)
        for entry in LAYOUT.entries:
            part = slice(entry.start, entry.stop)
            if entry.matrix:
                m[part] = beta * m[part] + (1 - beta) * g[part]
                u = (1 - beta) * g[part] + beta * m[part] if nesterov else m[part]
                u = u.reshape(entry.shape[0], -1)
                w[part] -= rate * (newton_schulz(u) * max(1, u.shape[0] / u.shape[1]) ** 0.5).ravel()
            else:
                m[part] = 0.9 * m[part] + 0.1 * g[part]
                v[part] = 0.95 * v[part] + 0.05 * g[part] ** 2
                w[part] -= rate * other * (m[part] / (1 - 0.9**t)) / (np.sqrt(v[part] / (1 - 0.95**t)) + 1e-8)
    ours = trained(optimizer.Muon(momentum=beta, nesterov=nesterov, other_rate=other), first, rate)
    np.testing.assert_allclose(ours[0].numpy(), w, rtol=1e-8)


def test_muon_steps_have_singular_values_near_one() -> None:
    layout = Layout.of({"wide": ((4, 9), True), "tall": ((9, 4), True)})
    flat = torch.zeros(3, layout.size)
    grad, state = torch.randn(3, layout.size), optimizer.Muon.start(flat)
    optimizer.Muon.update(flat, grad, state, 1.0, 1, layout, momentum=0.0, nesterov=True, other_rate=1.0)
    for matrix, scale in zip(layout.matrices(flat), (1.0, 1.5), strict=True):
        values = torch.linalg.svdvals(matrix) / scale
        assert values.min() > 0.5
        assert values.max() < 1.5


def two_ends(kind: type[OptimizerTrick]) -> list[OptimizerTrick]:
    """Two members with unlike doses of one kind; choices and shared doses are alike."""
    return [
        kind(**{dose.name: at(dose.mark, u, integer=dose.integer) for dose in doses(kind) if not isinstance(dose.mark, tuple)})
        for u in (0.2, 0.8)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_stacked_members_equal_separate_runs(kind: type[OptimizerTrick]) -> None:
    tricks, first, rates = two_ends(kind), start(2, torch.float32), (0.003, 0.001)
    (part,) = segments(tricks, axes=1)
    together = _trained(kind, part.values, first, torch.tensor(rates).unsqueeze(1))
    for i, (trick, rate) in enumerate(zip(tricks, rates, strict=True)):
        torch.testing.assert_close(together[i : i + 1], trained(trick, first[i : i + 1], rate), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_that_is_not_finite_leaves_the_others_alone(kind: type[OptimizerTrick]) -> None:
    (part,) = segments(two_ends(kind)[:1] * 3, axes=1)
    healthy = start(3, torch.float32)
    ill = healthy.clone()
    ill[1] = torch.nan
    expected, found = (_trained(kind, part.values, flat, torch.full((3, 1), 0.01)) for flat in (healthy, ill))
    assert torch.equal(found[::2], expected[::2])
    assert found[1].isnan().all()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.elementwise])
def test_members_may_be_cut_into_chunks(kind: type[OptimizerTrick]) -> None:
    (part,) = segments(two_ends(kind)[:1] * 3, axes=1)
    flat, grad, rate = start(3, torch.float32), torch.randn(3, LAYOUT.size), torch.full((3, 1), 0.01)
    whole, state, chunked_state = flat.clone(), kind.start(flat), kind.start(flat)
    kind.update(whole, grad, state, rate, 1, LAYOUT, **part.values)
    for rows in (slice(0, 2), slice(2, 3)):
        chunk = {name: value[rows] for name, value in chunked_state.items()}
        values = {name: value[rows] for name, value in part.values.items()}
        kind.update(flat[rows], grad[rows], chunk, rate[rows], 1, LAYOUT, **values)
    assert torch.equal(flat, whole)
    assert all(torch.equal(chunked_state[name], state[name]) for name in state)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_goes_down_at_its_typical_rate(kind: type[OptimizerTrick]) -> None:
    first = start(1, torch.float32)
    assert loss(trained(kind(), first, kind.typical_rate, steps=400)[0]) < 0.8 * loss(first[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_learning_rate_of_zero_moves_nothing(kind: type[OptimizerTrick]) -> None:
    first = start(1, torch.float32)
    torch.testing.assert_close(trained(kind(), first, 0.0, steps=3), first)


@pytest.mark.parametrize("kind", [optimizer.AdamW, optimizer.ScheduleFree])
def test_decay_off_is_no_decay_even_beside_a_member_that_decays(kind: type[OptimizerTrick]) -> None:
    first = start(1, torch.float32).expand(2, -1)
    (part,) = segments([kind(decay=0.0), kind(decay=0.3)], axes=1)
    (without,) = segments([kind(decay=0.0)] * 2, axes=1)
    beside = _trained(kind, part.values, first, 0.01)
    assert torch.equal(beside[0], _trained(kind, without.values, first, 0.01)[0])
    assert not torch.equal(beside[0], beside[1])
    assert not kind(decay=0.0).is_off


def test_adamw_without_decay_is_adam() -> None:
    first = start(1, torch.float32)
    assert torch.equal(trained(optimizer.AdamW(decay=0.0), first, 0.01), trained(optimizer.Adam(), first, 0.01))


@pytest.mark.parametrize("kind", KINDS)
def test_state_is_named_and_has_a_row_for_each_member(kind: type[OptimizerTrick]) -> None:
    flat = start(3, torch.float32)
    state = kind.start(flat)
    assert set(kind.slots) <= set(state)
    assert all(state[slot].shape == flat.shape for slot in kind.slots)
    assert all(rows.shape in {(3, LAYOUT.size), (3, 1)} for rows in state.values())
    assert all(rows.data_ptr() != flat.data_ptr() for rows in state.values())


def test_a_dose_outside_its_range_is_refused() -> None:
    with pytest.raises(ValidationError, match="beta1"):
        optimizer.Adam(beta1=1.0)
