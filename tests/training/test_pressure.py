"""What presses on a ticket: penalties, margins, weights, and folded offsets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairsparse.core import Batch, InputError, Predictions
from fairsparse.fairness.cells import Cells
from fairsparse.fairness.steering.corrections import fit_offsets
from fairsparse.fairness.steering.spread import objective, spread
from fairsparse.training import Dense, Loop, state_of
from fairsparse.training.refinement import Refinement
from fairsparse.training.refinement import offsets as fold
from fairsparse.training.refinement.offsets import choose_offsets, fold_offsets, unfold_
from fairsparse.training.refinement.pressure import Pressure, check_form, weighted_loss
from helpers import equal, network, tiny, trainer_for


def held_out(model: nn.Module, data: Any) -> Predictions:
    with torch.no_grad():
        return Predictions(model(data.train.x), data.train.y, data.train.group)


def slopes(loss: Tensor, model: nn.Module) -> Tensor:
    grads = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([g.flatten() for g in grads])


@pytest.mark.parametrize("notion", ["class", "group", "class-group"])
def test_the_penalty_has_the_gradient_of_twice_the_deviation(notion: Any) -> None:
    data = tiny(groups=3)
    cells = Cells(notion, data.class_names, data.group_names)
    model = network("mlp")
    pressure = Pressure(Refinement(form="penalty"), cells, data, 0.7, torch.ones(len(cells)))
    loss = pressure.update(held_out(model, data))

    def extra(index: Tensor) -> Tensor:
        batch = data.train.batch(index)
        logits = model(batch.x)
        return slopes(loss(logits, batch) - F.cross_entropy(logits, batch.y), model)

    logits = model(data.train.x)
    p = logits.softmax(1).gather(1, data.train.y[:, None])[:, 0]
    cell = cells.index(data.train.y, data.train.group)
    s = torch.stack([p[cell == k].mean() for k in range(len(cells))])
    exact = slopes(0.7 * 2 * s.std(correction=0), model)
    everything = torch.arange(192)
    assert torch.allclose(extra(everything), exact, rtol=1e-3, atol=1e-6)
    assert exact.norm() > 1e-3
    # the mean over equal batches, most of which lack some cell, is the same: no bias
    order = torch.randperm(192, generator=torch.Generator().manual_seed(0))
    parts = torch.stack([extra(index) for index in order.split(8)])
    assert torch.allclose(parts.mean(0), exact, rtol=1e-3, atol=1e-6)


def lopsided(n: int = 60) -> Predictions:
    """Class 0 is always right, class 1 half of the time, class 2 never."""
    y = torch.arange(n) % 3
    said = torch.where((y == 2) | ((y == 1) & (torch.arange(n) % 2 == 0)), 0, y)
    return Predictions(F.one_hot(said, 3).float(), y, torch.full((n,), -1))


def pressure_for(form: Any, strength: float = 0.3, **settings: Any) -> Pressure:
    data = tiny()
    cells = Cells("class", data.class_names)
    return Pressure(Refinement(form=form, **settings), cells, data, strength, torch.full((3,), 0.5))


def test_margins_lower_the_logits_of_lagging_classes() -> None:
    pressure = pressure_for("margin")
    loss = pressure.update(lopsided())
    first = pressure.margins.clone()
    assert float(first.sum()) == pytest.approx(0, abs=1e-6)
    # s = (1, 1/2, 0) has deviation sqrt(1/6): the slopes are (2/3) (s - mean)/deviation
    step = 0.3 * 3 * (2 / 3) * 0.5 / (1 / 6) ** 0.5
    assert first.tolist() == pytest.approx([step, 0, -step], abs=1e-4)
    logits = torch.zeros(3, 3)
    batch = Batch(torch.zeros(3, 1), torch.arange(3), torch.full((3,), -1))
    expected = F.cross_entropy(logits + first, batch.y)
    assert float(loss(logits, batch)) == pytest.approx(float(expected))

    def one(k: int) -> float:
        return float(loss(logits[:1], Batch(batch.x[:1], batch.y[k : k + 1], batch.group[:1])))

    assert one(2) > one(1) > one(0)
    pressure.update(lopsided())
    assert torch.allclose(pressure.margins, 2 * first)


def test_weights_are_larger_where_accuracy_lags_and_one_outside_all_cells() -> None:
    data = tiny(groups=2)
    cells = Cells("group", data.class_names, data.group_names)
    # right are 4 of 4 in group 0 and 1 of 3 in group 1: a deviation of 1/3
    pressure = Pressure(Refinement(), cells, data, 0.5, torch.full((2,), 1 / 3))
    y = torch.zeros(8, dtype=torch.int64)
    group = torch.tensor([0, 0, 0, 0, 1, 1, 1, -1])
    logits = torch.tensor([[1.0, 0, 0]] * 4 + [[1.0, 0, 0]] + [[0, 1.0, 0]] * 2 + [[0, 0, 1.0]])
    loss = pressure.update(Predictions(logits, y, group))
    batch = Batch(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64), torch.tensor([0, 1, -1]))
    each = [
        float(loss(logits[:1], Batch(batch.x[:1], batch.y[:1], batch.group[i : i + 1])))
        for i in range(3)
    ]
    plain = float(F.cross_entropy(logits[:1], batch.y[:1]))
    # One scale above and below the mean: 1 -+ 0.5 of what is believed, 1/9 / (1/9 + variance).
    # The variance is p (1 - p) / n at Laplace's p: 5/6 of 4 people, 2/5 of 3.
    w0, w1 = 1 - 0.5 / (1 + 9 * 5 / 144), 1 + 0.5 / (1 + 9 * 0.08)
    mean = (w0 + w1) / 2
    assert [e / plain for e in each] == pytest.approx([w0 / mean, w1 / mean, 1.0], abs=1e-3)


def test_the_pressure_is_halved_when_the_cells_change_places() -> None:
    pressure = pressure_for("weights", strength=0.4)
    ahead = lopsided()
    # class 0 is never right, class 1 half of the time, class 2 always
    behind = Predictions(ahead.logits.flip(1), 2 - ahead.y, ahead.group)
    pressure.update(ahead)
    pressure.update(ahead)
    assert (pressure.strength, pressure.overshoots) == (0.4, 0)
    pressure.update(behind)
    assert (pressure.strength, pressure.overshoots) == (0.2, 1)
    pressure.update(behind)
    assert (pressure.strength, pressure.overshoots) == (0.2, 1)


def test_places_changed_by_sampling_alone_are_no_overshoot() -> None:
    """Nine right of eighteen, then ten: each lag is far inside the standard error of 0.12."""
    cells = Cells("class", ("a", "b"))
    scale = torch.full((2,), 0.5)
    pressure = Pressure(Refinement(), cells, tiny(classes=2), 0.4, scale)
    y = torch.tensor([0, 1]).repeat_interleave(18)
    for right in ((9, 10), (10, 9), (9, 10)):
        logits = torch.zeros(36, 2)
        for c, n in enumerate(right):
            hit = (torch.arange(18) < n).float()
            logits[18 * c : 18 * (c + 1), c] = 2 * hit - 1
        pressure.update(Predictions(logits, y, torch.zeros(36, dtype=torch.int64)))
    assert (pressure.strength, pressure.overshoots) == (0.4, 0)


@pytest.mark.parametrize(("right", "overshot"), [((26, 34), False), ((20, 40), True)])
def test_a_swing_well_within_the_spread_is_the_aim_reached(
    right: tuple[int, int], overshot: bool
) -> None:
    """Lags of 1/15 and of 1/6, a scale of 1/3; of 60000 each, sampling explains nothing."""
    cells = Cells("class", ("a", "b"))
    pressure = Pressure(Refinement(), cells, tiny(classes=2), 0.4, torch.full((2,), 1 / 3))
    y = torch.tensor([0, 1]).repeat_interleave(60000)
    for shares in (right, right[::-1]):
        hit = torch.cat([torch.arange(60000) % 60 < n for n in shares])
        logits = torch.where(hit, 1.0, -1.0)[:, None] * (2 * F.one_hot(y, 2) - 1)
        pressure.update(Predictions(logits, y, torch.zeros(120000, dtype=torch.int64)))
    assert pressure.overshoots == int(overshot)


def test_the_next_round_presses_harder_while_accuracy_is_left() -> None:
    data = tiny()
    settings = Refinement(strength=0.3, tolerance=0.02, growth=1.5)
    cells = Cells("class", data.class_names)
    pressure = Pressure(settings, cells, data, 0.4, torch.full((3,), 0.5))
    drops = (-0.01, 0.009, 0.011, 0.019, 0.021)
    assert [pressure.next_strength(d) for d in drops] == pytest.approx([0.6, 0.6, 0.4, 0.4, 0.2])
    pressure.strength = 1.7  # the limit is six times the setting
    assert pressure.next_strength(-0.01) == pytest.approx(1.8)
    pressure.overshoots = 1
    assert pressure.next_strength(-0.01) == 1.7


def test_a_gain_beyond_the_tolerance_leaves_the_pressure_as_it_is() -> None:
    settings = Refinement(strength=0.4, tolerance=0.02)
    pressure = Pressure(settings, Cells("class", "abc"), tiny(), 0.4, torch.full((3,), 0.5))
    assert pressure.next_strength(-0.021) == 0.4 < pressure.next_strength(-0.019)


def test_cell_weights_multiply_the_loss_of_their_examples() -> None:
    cells = Cells("class", ("a", "b"))
    loss = weighted_loss(cells, torch.tensor([0.5, 3.0]))
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.3, 0.1]])
    y = torch.tensor([0, 1, 1])
    each = F.cross_entropy(logits, y, reduction="none")
    got = loss(logits, Batch(logits, y, torch.full((3,), -1)))
    assert torch.allclose(got, (0.5 * each[0] + 3 * each[1] + 3 * each[2]) / 3)


def test_the_running_accuracy_remembers_its_share_of_the_past() -> None:
    pressure = pressure_for("weights", memory=0.75)
    pressure.update(lopsided())
    perfect = lopsided()._replace(logits=F.one_hot(lopsided().y, 3).float())
    pressure.update(perfect)
    assert pressure.running is not None
    assert pressure.running.tolist() == pytest.approx([1.0, 0.75 * 0.5 + 0.25, 0.25])


def test_equal_cells_feel_no_pressure() -> None:
    perfect = lopsided()._replace(logits=F.one_hot(lopsided().y, 3).float())
    batch = Batch(perfect.logits, perfect.y, perfect.group)
    for form in ("weights", "margin"):
        loss = pressure_for(form, strength=1.0).update(perfect)
        plain = F.cross_entropy(perfect.logits, perfect.y)
        assert float(loss(perfect.logits, batch)) == pytest.approx(float(plain), rel=1e-4)


def test_forms_that_cannot_serve_a_notion_are_refused() -> None:
    data = tiny(groups=2)
    groups = Cells("group", data.class_names, data.group_names)
    with pytest.raises(InputError, match="'margin' needs the fairness notion 'class', got 'group'"):
        check_form(Refinement(form="margin"), groups)
    parity = Cells("demographic-parity", ("no", "yes"), data.group_names)
    with pytest.raises(InputError, match="cannot reach demographic parity; use form 'penalty'"):
        check_form(Refinement(form="weights"), parity)


def weak_class(data: Any) -> nn.Module:
    """A trained network whose last bias was turned against the last class."""
    model = network("mlp")
    Loop(trainer_for(data, epochs=4), model, data.train, stage="x").finish()
    with torch.no_grad():
        model[-1].bias[2] -= 1.5  # type: ignore[index]
    return model


def folded(
    model: nn.Module,
    cal: Predictions,
    val: Predictions,
    cells: Cells,
    dense: Dense,
    tolerance: float,
) -> dict[str, Any]:
    found = choose_offsets(cal, val, cells, dense, dense.val.accuracy, tolerance)
    return fold_offsets(model, *found)


def test_folding_adds_the_fitted_offsets_to_the_logits_and_helps() -> None:
    data = tiny()
    model, cells = weak_class(data), Cells("class", data.class_names)
    trainer = trainer_for(data)
    cal, held = (trainer.predict(model, s) for s in (data.cal, data.val))
    before = state_of(model)
    reference = Dense({}, 1, spread(cells, held))
    log = folded(model, cal, held, cells, reference, 0.01)
    chosen = log["offset_strength"]
    assert chosen > 0
    after = trainer.predict(model, data.val)
    # fitted on cal: the choice on val has not seen them
    offsets, fitted = torch.tensor(log["offsets"]), fit_offsets(cal, cells, chosen)
    assert torch.allclose(after.logits - held.logits, offsets.expand(96, 3), atol=1e-5)
    part = float(offsets[2] / fitted[2])
    assert min(abs(part - p) for p in (0.25, 0.5, 0.75, 1.0)) < 1e-5
    assert torch.allclose(offsets, part * fitted)
    assert not torch.allclose(offsets, part * fit_offsets(held, cells, chosen), atol=1e-3)
    assert offsets[2] > 0.5
    changed = {n for n, t in state_of(model).items() if not torch.equal(t, before[n])}
    assert changed == {"4.bias"}
    one, two = spread(cells, held), spread(cells, after)
    assert two.accuracy >= one.accuracy
    assert objective(two, reference.val)[0] < objective(one, reference.val)[0]
    unfold_(model, log)
    torch.testing.assert_close(model[-1].bias, before["4.bias"])


def test_offsets_that_do_not_help_are_not_folded() -> None:
    data = tiny()
    model, cells = network("mlp"), Cells("class", data.class_names)
    y = data.cal.y
    held = Predictions(20 * F.one_hot(y, 3).float(), y, data.cal.group)
    before = state_of(model)
    dense = Dense({}, 1, spread(cells, held))
    log = folded(model, held, held, cells, dense, 0.01)
    assert log == {"offset_strength": 0.0, "offsets": [0.0, 0.0, 0.0]}
    unfold_(model, log)
    assert equal(before, state_of(model))


@pytest.mark.parametrize(("tolerance", "chosen"), [(0.2, [-0.5, 0.5]), (0.08, [0.0, 0.0])])
def test_as_large_a_part_is_folded_as_spends_half_the_tolerance(
    monkeypatch: pytest.MonkeyPatch, tolerance: float, chosen: list[float]
) -> None:
    """Equality by 30 losses of the one and 20 gains of the other: 5 points of accuracy."""
    margin = torch.cat([torch.full((70,), 2.0), torch.full((30,), 0.5)])  # class 0: all right
    other = torch.cat([torch.full((50,), -2.0), torch.full((20,), 0.5), torch.full((30,), 2.0)])
    logits = torch.stack([torch.cat([margin, other]), torch.zeros(200)], 1)
    held = Predictions(logits, torch.arange(2).repeat_interleave(100), torch.full((200,), -1))
    cells = Cells("class", ("a", "b"))
    dense = Dense({}, 1, spread(cells, held))
    monkeypatch.setattr(fold, "fit_offsets", lambda *_: torch.tensor([-2.0, 2.0]))
    model = nn.Sequential(nn.Linear(2, 2))
    log = folded(model, held, held, cells, dense, tolerance)
    # the whole would make every example of the one class the other's
    assert log["offsets"] == chosen


@pytest.mark.parametrize("last", [nn.Linear(4, 3, bias=False), nn.Conv2d(1, 3, 1)])
def test_offsets_need_a_bias_to_fold_into(last: nn.Module) -> None:
    with pytest.raises(InputError, match="offsets fold into the bias of the last linear layer"):
        fold_offsets(nn.Sequential(last), 0.0, None)
